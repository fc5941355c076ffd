"""Loops over the axes that sums keep go outside: what is turned, what is left, and that results stay the same."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.compiler import optimise
from jitgrad.loopir import outward
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.loopir.nodes import Loop, Program
from jitgrad.loopir.verify import verify
from jitgrad.loopir.walk import statements


def batch_norm(x, scale, weight):
    centred = x - np.mean(x, axis=(0, 2, 3), keepdims=True)
    variance = np.mean(centred**2, axis=(0, 2, 3), keepdims=True)
    return np.mean(weight * scale[:, None, None] * centred / np.sqrt(variance + 1e-5))


def images(n=3, channels=16, size=12):
    rng = np.random.default_rng(0)
    shape = (n, channels, size, size)
    return rng.normal(size=shape), rng.normal(size=channels), rng.normal(size=shape)


def fused(fun, *args) -> tuple[Program, bool]:
    """The program, and whether a nest of it was turned."""
    notes: list[str] = []
    program = fuse(lower(optimise(jg.trace(fun, *args))), notes)
    verify(program)
    return program, any(note.startswith("nests turned") for note in notes)


def outermost(program: Program) -> list[Loop]:
    """The loops at top level that have loops in them."""
    tops = [s for top in program.body for s in getattr(top, "body", ()) if not isinstance(top, Loop)]
    tops += [s for s in program.body if isinstance(s, Loop)]
    return [s for s in tops if isinstance(s, Loop) and any(isinstance(x, Loop) for x in statements(s.body))]


def check(fun, args, argnums):
    """Values against NumPy, gradients against central differences in a random direction."""
    value, gradients = jg.value_and_grad(fun, argnums=argnums)(*args)
    np.testing.assert_allclose(value, fun(*args), rtol=1e-11, atol=1e-12)
    rng = np.random.default_rng(1)
    for k, got in zip(argnums, gradients, strict=True):
        d = rng.normal(size=args[k].shape)
        ends = [fun(*(a + h * d if j == k else a for j, a in enumerate(args))) for h in (1e-6, -1e-6)]
        np.testing.assert_allclose(np.sum(got * d), (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-8)


def test_batch_norm_with_its_gradient_is_one_loop_over_channels():
    args = images()
    program, turned = fused(jg.value_and_grad(batch_norm, argnums=(0, 1)), *args)
    assert turned
    assert [(s.lo, s.hi) for s in outermost(program)] == [(0, 16)]
    check(batch_norm, args, (0, 1))


@pytest.mark.parametrize(
    ("fun", "shape"),
    [
        pytest.param(lambda x: np.sum(np.mean(x, axis=0) ** 2), (5, 300), id="the last axis is kept"),
        pytest.param(lambda x: np.sum(np.mean(x, axis=(0, 2)) ** 2), (5, 8, 300), id="too few for threads"),
        pytest.param(lambda x: np.sum(np.mean(x, axis=(0, 2)) ** 2), (5, 20, 30), id="short runs"),
        pytest.param(lambda x: np.sum(np.mean(x, axis=(1, 2)) ** 2), (20, 5, 300), id="kept outside already"),
    ],
)
def test_others_are_left(fun, shape):
    assert not fused(fun, np.ones(shape))[1]


def test_axes_that_are_kept_stay_in_their_order():
    x = np.random.default_rng(0).normal(size=(3, 4, 2, 5, 150))

    def fun(x):
        total = np.sum(x, axis=(0, 2, 4))
        return np.sum((x - total[:, None, :, None] / 7) ** 3)

    program, turned = fused(fun, x)
    assert turned
    (loop,) = outermost(program)
    assert loop.hi == 4
    check(fun, (x,), (0,))


def test_nests_that_want_different_loops_outside_are_left():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 16, 130)), rng.normal(size=(16, 16, 130))

    def fun(x, y):
        a, b = np.sum(x, axis=(0, 2)), np.sum(y, axis=(0, 2))
        return np.sum(x * np.transpose(y, (1, 0, 2)) * a[:, None] * b[:, None, None])

    check(fun, (x, y), (0, 1))


def _random_program(rng: np.random.Generator):
    """Sums along random axes, used in what other sums are of."""
    rank = int(rng.integers(3, 5))
    shape = tuple(int(n) for n in rng.integers(2, 5, size=rank))
    steps = [tuple(np.flatnonzero(rng.random(rank) < 0.6).tolist()) for _ in range(4)]
    kinds = rng.integers(0, 4, size=4).tolist()

    def fun(x, y):
        z, total = x, 0.0
        for axes, kind in zip(steps, kinds, strict=True):
            s = np.sum(z * y, axis=axes, keepdims=True)
            z = (z - 0.1 * s, np.tanh(z) * s, z + np.max(z, axis=axes, keepdims=True) * 0.3, z * y + s**2 * 0.01)[kind]
            total = total + np.sum(z * s) * 0.1 + np.sum(np.sum(z, axis=axes) ** 2) * 0.01
        return total + np.sum(z**2)

    return fun, (rng.normal(size=shape), rng.normal(size=shape))


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(k, marks=pytest.mark.slow) for k in range(12, 40))])
def test_random_sums(monkeypatch, seed):
    monkeypatch.setattr(outward, "RUN", 1)
    monkeypatch.setattr(outward, "ENOUGH", 1)
    fun, args = _random_program(np.random.default_rng(seed))
    check(fun, args, (0, 1))


def test_random_sums_are_turned(monkeypatch):
    monkeypatch.setattr(outward, "RUN", 1)
    monkeypatch.setattr(outward, "ENOUGH", 1)
    made = [_random_program(np.random.default_rng(seed)) for seed in range(12)]
    assert sum(fused(jg.grad(fun), *args)[1] for fun, args in made) >= 5
