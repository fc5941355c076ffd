"""Ranges whose step is traced, numbered products of ranges, and which short loops are tried."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.frontend import control_flow
from jitgrad.testing import check_grads

BOUNDS = [(0, 10, 3), (10, 0, -3), (10, 1, -3), (0, 5, -1), (5, 5, 2), (-7, 8, 5), (0, -1, 1), (3, 4, 9)]


def sieve(n):
    prime = np.ones(100, dtype=bool)
    prime[:2] = False
    for i in range(2, n):
        if prime[i]:
            for j in range(i * i, 100, i):
                prime[j] = False
    return prime


def totients(n):
    phi = np.arange(100)
    for i in range(2, n):
        if phi[i] == i:
            multiples = np.arange(i, 100, i)
            phi[multiples] -= phi[multiples] // i
    return phi


def digits(a, b, c):
    s = 0
    for i in range(a, b, c):
        s = s * 3 % 1000 + i
    return s, np.sum(np.arange(a, b, c) ** 2), len(np.arange(a, b, c))


@pytest.mark.parametrize("bounds", BOUNDS)
def test_traced_steps(bounds: tuple[int, int, int]) -> None:
    got, want = jg.jit(digits)(*bounds), digits(*bounds)
    assert [np.asarray(x).dtype for x in got] == [np.asarray(x).dtype for x in want]
    assert got == want


@pytest.mark.parametrize("fun", [sieve, totients])
def test_sieves_are_recorded(fun: Any) -> None:
    np.testing.assert_array_equal(jg.jit(fun)(99), fun(99))
    assert "unrolled" not in jg.jit(fun).explain(99)


def test_gradient_with_a_traced_step() -> None:
    def every(x, k):
        s = 0.0
        for j in range(1, len(x), k):
            s = 0.5 * s + x[j] ** 2
        return s

    check_grads(lambda x: every(x, 3), (np.arange(1.0, 12.0),), order=1)
    np.testing.assert_array_equal(jg.grad(every)(np.ones(6), 4), [0.0, 1.0, 0.0, 0.0, 0.0, 2.0])


def test_a_traced_step_of_zero() -> None:
    with pytest.raises(ValueError, match="must not be zero"):
        jg.jit(lambda k: sum(i for i in range(0, 5, k)))(0)
    with pytest.raises(ZeroDivisionError):
        jg.jit(lambda k: np.sum(np.arange(0, 5, k)))(0)


def test_numbered_products() -> None:
    def windows(a):
        h, w = a.shape
        rows = np.zeros((h * w, 2))
        for k, (i, j) in enumerate(itertools.product(range(h), range(w))):
            rows[k] = a[i, j], k + i - j
        return rows

    def weighted(a):
        s = 0.0
        for k, (place, v) in enumerate(np.ndenumerate(a), 2):
            s += k * v + place[0]
        for k, (i, j) in enumerate(itertools.product(range(2, 9, 3), range(9, 0, -2))):
            s += a[i, j] * k
        return s

    a = np.random.default_rng(0).random((10, 10))
    assert "unrolled" not in jg.jit(windows).explain(a)
    for fun in (windows, weighted):
        np.testing.assert_allclose(jg.jit(fun)(a), fun(a), rtol=1e-12)
        check_grads(lambda a, fun=fun: np.sum(fun(a) ** 2), (a,), order=1)


def test_short_loops_that_write_arrays_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def corners(a):
        s = np.zeros((2, 2))
        for i in range(2):
            for j in range(2):
                s[i, j] += a[i, j] * 1j.imag
        return s

    def refuse(*_: Any) -> bool:
        raise AssertionError("a loop that can make no list longer was tried")

    monkeypatch.setattr(control_flow, "is_unrollable", refuse)
    a = np.arange(4.0).reshape(2, 2)
    np.testing.assert_array_equal(jg.jit(corners)(a), a)


def test_ranges_as_operands() -> None:
    x = np.array([1.0, 2.0, 3.0])
    for fun in (lambda x: range(3) + x, lambda x: x * range(3), lambda x: x < range(3), lambda x: (x + range(3)) / 2):
        got, want = jg.jit(fun)(x), fun(x)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
