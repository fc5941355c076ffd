"""Programs that draw random numbers, for tests: ``(x, generator)`` first, then what they take besides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import jitgrad as jg


def geometric_brownian(s0: Any, rng: Any, n: int = 60) -> Any:
    s = s0
    for _ in range(n):
        s = s * np.exp(0.01 + 0.1 * s0 * rng.standard_normal())
    return np.maximum(s - 0.1, 0)


def paths(s0: Any, rng: Any) -> Any:
    s = np.full(100, s0)
    for _ in range(50):
        s = s * np.exp(0.01 - s * s + 0.2 * rng.standard_normal(100))
    return s.mean()


def option(sigma: Any, rng: Any) -> Any:
    z = rng.normal(-0.5 * sigma**2, sigma, size=2000)
    return np.mean(np.maximum(np.exp(z) - 1.0, 0.0))


def walk(x: Any, rng: Any) -> Any:
    place, out = 0, np.zeros(100)
    for t in range(100):
        place += 1 if rng.random() < 0.5 else -1
        out[t] = place * x
    return out.sum()


def circle(x: Any, rng: Any) -> Any:
    count = 0
    for _ in range(500):
        a, b = rng.random(), rng.random()
        if a * a + b * b < 1:
            count += 1
    return 4 * count / 500 * x


def rejection(s: Any, rng: Any) -> Any:
    total = 0.0
    for _ in range(20):
        x = rng.normal(s, 1.0)
        while x < 1.0:
            x = 0.5 * x + rng.normal(s, 1.0) + 0.1 * np.sin(x)
        total = total * 0.5 + np.sin(x * s)
    return total


def until(s: Any, rng: Any) -> Any:
    k = 0
    while True:
        x, y = rng.uniform(-1, 1), rng.uniform(-1, 1)
        k += 1
        if x * x + y * y < 0.3:
            break
    return s * (x + y) + k


def metropolis(x0: Any, rng: Any) -> Any:
    x, accepted, chain = x0, 0, []
    for _ in range(200):
        y = x + rng.normal(0, 0.5)
        if np.log(rng.random()) < 0.5 * x * x - 0.5 * y * y:
            x, accepted = y, accepted + 1
        chain.append(x)
    return np.mean(np.array(chain)) + accepted


def langevin(a: Any, rng: Any) -> Any:
    x = np.zeros(5)
    for _ in range(60):
        x = x - 0.1 * a * x + np.sqrt(0.2) * rng.standard_normal(5)
    return np.sum(x**2)


def dropout(w: Any, rng: Any) -> Any:
    h = np.ones(10)
    for _ in range(12):
        kept = rng.random(10) < 0.8
        h = np.where(kept, np.tanh(w * h + 0.1), 0) / 0.8
    return np.sum(h)


def branches(s: Any, rng: Any) -> Any:
    total = 0.0
    for _ in range(20):
        if rng.random() < 0.5:
            total = total + np.sin(s * rng.normal())
        else:
            total = total * np.cos(s) * rng.exponential(s)
    return total


def mini_batches(w: Any, rng: Any) -> Any:
    data = np.linspace(-1.0, 1.0, 60).reshape(20, 3)
    for _ in range(2):
        order = rng.permutation(20)
        for k in range(0, 20, 4):
            w = w - 0.1 * (w - data[order[k : k + 4]].mean(axis=0))
    for _ in range(20):
        w = w - 0.1 * np.tanh(w - data[rng.integers(0, 20, size=4)].mean(axis=0))
    return np.sum(w * w)


def checkpointed(s: Any, rng: Any) -> Any:
    def block(h: Any) -> Any:
        for _ in range(3):
            h = np.tanh(h * s + rng.normal(size=3))
        return h * rng.random(3)

    run = jg.checkpoint(block)
    return np.sum(run(run(np.ones(3))) ** 2) * rng.random()


def checkpoints_in_a_loop(s: Any, rng: Any) -> Any:
    run = jg.checkpoint(lambda h: np.tanh(h * s + rng.normal(size=3) * np.random.default_rng(3).random()))
    h = np.ones(3)
    for _ in range(30):
        h = run(h)
    return np.sum(h**2) * rng.random()


PROGRAMS: dict[str, tuple[Callable[..., Any], Any]] = {
    f.__name__: (f, x)
    for f, x in [
        (geometric_brownian, 1.0),
        (paths, 1.0),
        (option, 0.3),
        (walk, 2.0),
        (circle, 1.5),
        (rejection, 0.3),
        (until, 0.7),
        (metropolis, 0.3),
        (langevin, 0.8),
        (dropout, np.linspace(0.5, 1.0, 10)),
        (branches, 0.7),
        (mini_batches, np.array([0.5, 1.0, 2.0])),
        (checkpointed, 0.7),
        (checkpoints_in_a_loop, 0.7),
    ]
}
