"""Polynomials as arrays of coefficients."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.testing import check_grads

P = np.arange(1.0, 7.0)
LONG = np.random.default_rng(0).normal(size=40)

CASES = {
    "polyval": (lambda p: np.polyval(p, np.arange(3.0)), P),
    "polyval of a number": (lambda p: np.polyval(p, 0.5), P),
    "polyval, long": (lambda p: np.polyval(p, np.linspace(-1, 1, 6).reshape(2, 3)), LONG),
    "polyval, long, of a number": (lambda p: np.polyval(p, 0.5), LONG),
    "polyval, long, of itself": (lambda p: np.polyval(p, p / 4), LONG),
    "polyval, long, integers": (lambda p: np.polyval(p, 2), np.arange(20)),
    "polyval, known": (lambda x: np.polyval([1, 2, 3], x), P),
    "polyder": (np.polyder, P),
    "polyder, 0": (lambda p: np.polyder(p, 0), P),
    "polyder, 2": (lambda p: np.polyder(p, 2), P),
    "polyder, all": (lambda p: np.polyder(p, 7), P),
    "polyint": (np.polyint, P),
    "polyint, integers": (np.polyint, np.arange(1, 5)),
    "polyint, 2": (lambda p: np.polyint(p, 2), P),
    "polyint, one constant": (lambda p: np.polyint(p, 2, 2.5), P),
    "polyint, constants": (lambda p: np.polyint(p[2:], 2, p[:2]), P),
    "polymul": (lambda p: np.polymul(p[:4], p[3:]), P),
    "polymul, a number": (lambda p: np.polymul(p, 2.0), P),
    "polyadd": (lambda p: np.polyadd(p, p[:2]), P),
    "polyadd, known": (lambda p: np.polyadd([1, 2], p), P),
    "polysub": (lambda p: np.polysub(p[:2], p), P),
}


@pytest.mark.parametrize("name", CASES)
def test_as_numpy(name):
    f, p = CASES[name]
    got, want = jg.jit(lambda p: f(p))(p), f(p)
    assert np.asarray(got).dtype == np.asarray(want).dtype
    np.testing.assert_allclose(got, want, rtol=1e-12)
    if p.dtype.kind == "f":
        check_grads(lambda p: f(p), (p / 8,))


def test_many_coefficients_are_a_loop():
    text = jg.jit(lambda p, x: np.polyval(p, x)).ir(LONG, P, stage="traced")
    assert "for(" in text and text.count("multiply") <= 2


def test_refused():
    with pytest.raises(ShapeError, match="one axis"):
        jg.jit(lambda p: np.polyder(p))(np.ones((2, 2)))
    with pytest.raises(ArgumentError, match="must not be negative"):
        jg.jit(lambda p: np.polyint(p, -1))(P)
    with pytest.raises(ArgumentError, match="2 integrals and constants of shape"):
        jg.jit(lambda p: np.polyint(p, 2, [1.0, 2.0, 3.0][:0]))(P)


def test_products_of_zeros_and_division() -> None:
    u, v = np.array([2.0, -3.0, 1.0, 0.5, 4.0]), np.array([1.0, 2.0])

    def f(u, v):
        k = np.arange(3)
        exact = np.convolve(v, [1.0, 1.0])
        return (
            *(np.poly(u), np.poly(u.astype(np.float32)), np.poly(k + v[0].astype(int))),
            *(*np.polydiv(u, v), *np.polydiv(v, u), *np.polydiv(exact, v), *np.polydiv(u.astype(np.float32), 2)),
            *(np.poly(np.repeat(u, 3)), *np.polydiv(np.repeat(u, 4), v)),
        )

    for found, want in zip(jg.jit(f)(u, v), f(u, v), strict=True):
        assert found.dtype == want.dtype
        assert found.shape == want.shape
        np.testing.assert_allclose(found, want, rtol=1e-9)
    check_grads(lambda u, v: np.sum(np.poly(u)) + np.sum(np.polydiv(u, v)[0] ** 2), (u, v), order=1)
    check_grads(lambda u: np.sum(np.poly(u) ** 2) + np.sum(np.polydiv(u, u[:2])[1]), (P,), order=1)
