"""Draws from generators of all kinds, and prints what came of it, and whether the code was from the cache."""

import json
import random

import numpy as np

import jitgrad as jg
from jitgrad.runtime import cache

rng, other = np.random.default_rng(1), np.random.default_rng(2)


@jg.jit
def f(x, g, seed):
    total = x + rng.normal() * 2.0 + other.normal(size=3) + g.random() + np.random.rand() + random.random()
    for _ in range(30):
        total = total + np.random.default_rng(seed).normal() + rng.integers(0, 10)
    return total


@jg.grad
def slope(x, g):
    def step(h):
        return np.tanh(h + g.normal())

    for _ in range(10):
        x = jg.checkpoint(step)(x)
    return x


np.random.seed(3)
random.seed(3)
g = np.random.default_rng(4)
found = [list(map(float, f(1.0, g, 5))) for _ in range(2)] + [
    float(slope(0.5, g)),
    float(rng.random()),
    float(g.random()),
]
print(json.dumps({"found": found, "hits": cache.cache_info().hits}))
