"""Compares what a function computes when it is compiled with what it computes in plain NumPy or SciPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from traced import leaves

import jitgrad as jg
from jitgrad.testing import differences


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def check(f: Callable[..., Any], *args: Any, tol: float = 1e-10, grads: bool = False) -> None:
    """The compiled function has the values, dtypes and shapes that it has without, and with ``grads`` both derivatives
    agree with differences."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of rows without elements for one
        expected = leaves(f(*args))
    for found, wanted in zip(leaves(jg.jit(f)(*args)), expected, strict=True):
        wanted = np.asarray(wanted)
        assert np.asarray(found).dtype == wanted.dtype
        assert np.shape(found) == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=tol, atol=tol)
    if grads:
        jg.testing.check_grads(f, args, order=1)


def assert_same(got: Any, expected: Any) -> None:
    """These lists and tuples, or what is in them, are of the same kinds, lengths, shapes and values."""
    if isinstance(expected, (list, tuple)):
        assert type(got) is type(expected)
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            assert_same(a, b)
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-12)
        assert np.shape(got) == np.shape(expected)


def check_slope(fun: Callable[..., Any], *args: Any, rtol: float = 1e-6) -> Any:
    """Values and dtypes, and the derivative of a sum of the results along a direction; the compiled function."""
    compiled = jg.jit(fun)
    got, want = (leaves(f(*map(np.copy, args))) for f in (compiled, fun))
    for a, b in zip(got, want, strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_allclose(a, b, rtol=1e-12)
    rng = np.random.default_rng(2)
    weights = [rng.normal(size=np.shape(a)) for a in want]
    direction = [rng.normal(size=np.shape(a)) for a in args]

    def total(*args: Any) -> Any:
        return sum(np.sum(s * r) for s, r in zip(weights, leaves(fun(*args)), strict=True))

    gradients = jg.grad(total, argnums=tuple(range(len(args))))(*args)
    slope = differences(lambda *args: (total(*map(np.copy, args)),), args, direction, 1e-5)[0]
    found = sum(np.sum(g * d) for g, d in zip(gradients, direction, strict=True))
    np.testing.assert_allclose(found, slope, rtol=rtol, atol=0.1 * rtol)
    return compiled


def agrees(f: Callable[..., Any], a: Any, tol: float = 1e-6, eps: float = 1e-4) -> None:
    """Values are SciPy's, and the gradient of a sum of them agrees with differences."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=np.shape(x)) for x in leaves(f(a))]

    def both(a):
        found = leaves(f(a))
        return sum(np.sum(w * x) for w, x in zip(weights, found, strict=True)), found

    compiled = jg.value_and_grad(both, has_aux=True)
    (_, found), gradient = compiled(a)
    for x, wanted in zip(found, leaves(f(a)), strict=True):
        assert x.shape == np.shape(wanted)
        np.testing.assert_allclose(x, wanted, rtol=tol, atol=tol)
    for k, unit in enumerate(np.eye(len(a))):
        difference = (compiled(a + eps * unit)[0][0] - compiled(a - eps * unit)[0][0]) / (2 * eps)
        np.testing.assert_allclose(gradient[k], difference, rtol=10 * tol, atol=10 * tol)


def same(fun: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Results, and arguments afterwards, are those of plain NumPy."""
    plain, traced = ([np.array(a) if isinstance(a, np.ndarray) else a for a in args] for _ in range(2))
    expected = fun(*plain)
    found = jg.jit(fun, **options)(*traced)
    for a, b in zip(np.atleast_1d(found), np.atleast_1d(expected), strict=True):
        np.testing.assert_allclose(a, b)
    for a, b in zip(traced, plain, strict=True):
        np.testing.assert_allclose(a, b)
