"""Checks of functions of ``(x, w)`` whose loops make lists longer."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

import jitgrad as jg
from jitgrad import config
from jitgrad.testing import differences

X = np.random.default_rng(0).normal(size=20)
W = np.random.default_rng(1).normal(size=(20, 3))


def total_of(result):
    """A number that depends on all of a result."""
    parts = result if isinstance(result, tuple) else (result,)
    return sum(np.sum(np.cos(k + p) * p) for k, p in enumerate(parts))


def leaves(result):
    return [np.asarray(r) for r in (result if isinstance(result, tuple) else (result,))]


@functools.lru_cache(maxsize=256)
def _gradients(fun: Callable, how: str, _: config.Config) -> tuple[np.ndarray, ...]:
    def total(x, w):
        return total_of(fun(x, w))

    return jg.jit(jg.grad(total, argnums=(0, 1)), loops=how)(X, W)


def gradients_of(fun: Callable, how: str = "auto") -> tuple[np.ndarray, ...]:
    """Those of :func:`total_of` what a function gives. Several checks of one function compile them once."""
    return _gradients(fun, how, config.current())


def check(fun: Callable) -> Callable:
    """Values as NumPy's; gradients as the slopes; reverse and forward mode agree. Returns the compiled function."""
    compiled = jg.jit(fun)
    for a, b in zip(leaves(compiled(X, W)), leaves(fun(X, W)), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-11)

    def total(x, w):
        return total_of(fun(x, w))

    rng = np.random.default_rng(2)
    direction = [rng.normal(size=X.shape), rng.normal(size=W.shape)]
    gradients = gradients_of(fun)
    slope = differences(lambda x, w: (total(x, w),), [X, W], direction, 1e-6)[0]
    found = sum(np.sum(g * d) for g, d in zip(gradients, direction, strict=True))
    np.testing.assert_allclose(found, slope, rtol=1e-5, atol=1e-5)
    _, forward = jg.jvp(total, (X, W), tuple(direction))
    np.testing.assert_allclose(forward, found, rtol=1e-9, atol=1e-9)
    return compiled


def loops(fun: Callable) -> list[str]:
    """What ``explain`` says of the loops of a function, or of a compiled one."""
    lines = (fun if hasattr(fun, "explain") else jg.jit(fun)).explain(X, W).splitlines()
    return [line.split(": ", 1)[1] for line in lines if line.startswith(("for at", "while at"))]


def check_recorded(fun: Callable) -> None:
    how = loops(check(fun))
    assert how and all(h == "rolled" or "the first iteration apart" in h for h in how), how


def check_unrolled(fun: Callable) -> None:
    """The gradients are those of the unrolled loops."""
    for a, b in zip(gradients_of(fun), gradients_of(fun, "unroll"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
