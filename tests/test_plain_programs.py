"""Whole programs in plain Python and NumPy, with the functions of numbers that such programs use: against Python and
central differences."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import optree
import pytest

import jitgrad as jg

RNG = np.random.default_rng(7)


class Bodies(NamedTuple):
    pos: np.ndarray
    vel: np.ndarray
    mass: np.ndarray


def pull(bodies):
    d = bodies.pos[None, :, :] - bodies.pos[:, None, :]
    strength = ((d**2).sum(-1) + 1e-2) ** -1.5
    np.fill_diagonal(strength, 0.0)
    return (d * (bodies.mass[None, :, None] * strength[..., None])).sum(axis=1)


def adaptive_leapfrog(bodies):
    """Steps as long as the largest acceleration allows; then the energy."""
    t, steps = 0.0, 0
    while t < 0.2 and steps < 100:
        a = pull(bodies)
        h = min(0.02, 0.05 / float(np.max(np.linalg.norm(a, axis=1))))
        half = bodies.vel + 0.5 * h * a
        bodies = bodies._replace(pos=bodies.pos + h * half)
        bodies = bodies._replace(vel=half + 0.5 * h * pull(bodies))
        t, steps = t + h, steps + 1
    energy = 0.5 * np.sum(bodies.mass * np.sum(bodies.vel**2, axis=1))
    for i, j in itertools.combinations(range(len(bodies.mass)), 2):
        energy -= bodies.mass[i] * bodies.mass[j] / math.dist(bodies.pos[i], bodies.pos[j])
    return energy


def implied_volatility(spot, strike, rate, price):
    """Newton's method on the Black-Scholes formula."""

    def cdf(x):
        return 0.5 * (1 + math.erf(x / math.sqrt(2)))

    vol = 0.2
    for _ in range(50):
        d1 = (math.log(spot / strike) + rate + vol * vol / 2) / vol
        value = spot * cdf(d1) - strike * math.exp(-rate) * cdf(d1 - vol)
        vega = spot * math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
        if math.isclose(value, price, rel_tol=1e-13):
            break
        vol -= (value - price) / vega
    return vol


def warping(a, b, weights):
    """Dynamic time warping in a band, and the length of the way back."""
    n, m = len(a), len(b)
    cost = np.full((n + 1, m + 1), np.inf)
    cost[0, 0] = 0.0
    for i in range(1, n + 1):
        for j in range(max(1, i - 8), min(m, i + 8) + 1):
            step = (a[i - 1] - b[j - 1]) ** 2 * weights[2]
            cost[i, j] = step + min(cost[i - 1, j] + weights[0], cost[i, j - 1] + weights[1], cost[i - 1, j - 1])
    i, j, length = n, m, 0
    while i > 0 and j > 0:
        length += 1
        k = int(np.argmin([cost[i - 1, j - 1], cost[i - 1, j], cost[i, j - 1]]))
        if k in (0, 1):
            i -= 1
        if k in (0, 2):
            j -= 1
    return cost[n, m] + length


def bilateral(image, spread):
    """A filter that keeps edges, and the two brightest rows of what it gives."""
    out = np.empty_like(image)
    height, width = image.shape
    for y, x in np.ndindex(image.shape):
        patch = image[max(y - 1, 0) : min(y + 2, height), max(x - 1, 0) : min(x + 2, width)]
        weight = np.exp(-((patch - image[y, x]) ** 2) / (2 * spread**2))
        out[y, x] = np.sum(weight * patch) / np.sum(weight)
    rows = sorted(out, key=lambda row: -float(row.sum()))
    return sum(float(r @ r) for r in rows[:2]) + max(out.tolist()[0])


def hidden_states(moves, letters):
    """The likelihood of a text, and its most likely states."""
    text = [" ab".index(c) - 1 for c in "abbabaabbb"]
    moves, letters = moves / moves.sum(1, keepdims=True), letters / letters.sum(1, keepdims=True)
    alpha, best = np.full(2, 0.5) * letters[:, text[0]], np.log(letters[:, text[0]])
    total, back = 0.0, np.zeros((len(text), 2), dtype=int)
    for t, c in enumerate(text[1:], start=1):
        total += math.log(alpha.sum())
        alpha = (alpha / alpha.sum()) @ moves * letters[:, c]
        scores = best[:, None] + np.log(moves)
        back[t] = scores.argmax(axis=0)
        best = scores.max(axis=0) + np.log(letters[:, c])
    state = int(best.argmax())
    path = [state]
    for t in range(len(text) - 1, 0, -1):
        state = back[t, state]
        path.append(state)
    return total + math.log(math.fsum(alpha)) + max(best) + sum(path) / len(path)


PROGRAMS = {
    adaptive_leapfrog: (
        Bodies(RNG.normal(size=(4, 3)), 0.3 * RNG.normal(size=(4, 3)), np.array([1.0, 0.5, 0.8, 0.3])),
    ),
    implied_volatility: (100.0, 95.0, 0.05, 14.2),
    warping: (RNG.normal(size=12), RNG.normal(size=15), np.array([0.53, 1.07, 0.71])),
    bilateral: (RNG.random((12, 14)), 0.3),
    hidden_states: (np.array([[0.9, 0.15], [0.2, 0.8]]), RNG.random((2, 2)) + 0.2),
}


@pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)
def test_value_and_gradient(fun):
    args = PROGRAMS[fun]
    leaves, tree = optree.tree_flatten(args)
    value, grad = jg.value_and_grad(fun, argnums=tuple(range(len(args))))(*args)
    np.testing.assert_allclose(value, fun(*args), rtol=1e-11)
    np.testing.assert_allclose(jg.jit(fun)(*args), value, rtol=1e-11)
    directions = [np.random.default_rng(k).normal(size=np.shape(x)) for k, x in enumerate(leaves)]
    h = 1e-6
    there, back = (
        fun(*optree.tree_unflatten(tree, [x + s * h * d for x, d in zip(leaves, directions, strict=True)]))
        for s in (1, -1)
    )
    slope = sum(np.sum(g * d) for g, d in zip(optree.tree_leaves(grad), directions, strict=True))
    np.testing.assert_allclose(slope, (there - back) / (2 * h), rtol=2e-6, atol=1e-8)
