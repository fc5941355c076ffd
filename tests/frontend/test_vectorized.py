"""``np.vectorize`` in traced functions."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError, UnsupportedError
from jitgrad.testing import check_grads

V = np.linspace(-1.7, 2.2, 6)
M = np.linspace(-2, 5, 60).reshape(12, 5)
scale = 2.0

leaky = np.vectorize(lambda x: x if x > 0 else 0.1 * x)
guarded = np.vectorize(lambda x: x * scale)


@np.vectorize
def step(x, y):
    """A function with branches and a loop."""
    if x > y:
        return x * y
    for _ in range(3):
        x = x * 0.5
    return x - y


@np.vectorize(otypes=[float], excluded=["p"])
def horner(x, p):
    total = 0.0
    for c in p:
        total = total * x + c
    return total


def made_inside(x):
    bound = x[0, 0]
    return np.vectorize(lambda t: t**2 if t < 3 else np.exp(bound - t))(x)


CASES = {
    "branch": (lambda x: leaky(x), V),
    "branch, matrix": (lambda x: leaky(x), M),
    "a number": (lambda x: leaky(x[0]), V),
    "two arguments": (lambda x: step(x, 0.3), M),
    "broadcast": (lambda x: step(x[:, None], x), V),
    "made inside": (made_inside, M),
    "two results": (lambda x: np.vectorize(lambda t: (t, t * 2))(x), V),
    "excluded": (lambda x: horner(x, p=[1, 2, 3]), M),
    "otypes": (lambda x: np.vectorize(lambda t: t > 0, otypes=[float])(x), V),
    "keyword": (lambda x: np.vectorize(lambda a, b=1: a * b)(x, b=x[::-1]), V),
    "empty": (lambda x: horner(x[:0], p=[1.0]), V),
}


@pytest.mark.parametrize("name", CASES)
def test_as_numpy(name):
    f, x = CASES[name]
    got, want = jg.jit(f)(x), f(x)
    for a, b in zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]:
        assert np.shape(a) == np.shape(b) and np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("name", ["branch", "two arguments", "broadcast", "made inside", "two results"])
def test_derivatives(name):
    check_grads(CASES[name][0], (CASES[name][1],), order=1)


def test_captured_values_are_guarded(monkeypatch):
    f = jg.jit(lambda x: guarded(x))
    np.testing.assert_allclose(f(V), 2 * V)
    monkeypatch.setitem(globals(), "scale", 3.0)
    np.testing.assert_allclose(f(V), 3 * V)


def test_refused():
    with pytest.raises(UnsupportedError, match="signature"):
        jg.jit(lambda x: np.vectorize(np.sum, signature="(n)->()")(x))(M)
    with pytest.raises(ArgumentError, match="no elements"):
        jg.jit(lambda x: leaky(x))(V[:0])
    with pytest.raises(ArgumentError, match="must return a number"):
        jg.jit(lambda x: np.vectorize(lambda t: np.array([t, t]))(x))(V)


def test_broadcast_numbers_have_strides():
    np.testing.assert_array_equal(jg.jit(lambda x: np.ravel(np.broadcast_arrays(x, 2.0)[1]))(V), np.full(6, 2.0))
