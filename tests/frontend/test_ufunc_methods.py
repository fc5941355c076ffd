"""Reductions, running forms and segments of ufuncs, and the ufuncs on divisors, exponents, neighbours and bits."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError, DtypeError, IndexBoundsError, ShapeError
from jitgrad.testing import check_grads

X = np.array([0.3, -1.5, 2.5, 4.1, -0.2, 7.0])
M = np.linspace(0.5, 2.0, 60).reshape(3, 20) * np.tile([1.0, -1.2], 30).reshape(3, 20)
MASK = np.arange(60).reshape(3, 20) % 3 > 0


def same(f, *args) -> None:
    """All results agree with NumPy's, dtypes and the signs of zeros too."""
    with np.errstate(all="ignore"):
        expected = f(*args)
    for found, want in zip(jg.jit(f)(*args), expected, strict=True):
        found, want = np.asarray(found), np.asarray(want)
        assert found.dtype == want.dtype
        np.testing.assert_allclose(found.astype(float), want.astype(float), rtol=1e-12, atol=0)
        if want.dtype.kind not in "iub":
            where = ~np.isnan(want)
            np.testing.assert_array_equal(np.signbit(found)[where], np.signbit(want)[where])


def test_reductions_step_by_step() -> None:
    def f(m, mask, k):
        big = np.subtract.reduce(m, axis=1)
        return (
            *(np.subtract.reduce(m), np.subtract.reduce(m, -1, keepdims=True), np.divide.reduce(m, axis=1), big),
            *(np.hypot.reduce(m, axis=None), np.hypot.reduce(m, axis=(0, 1), keepdims=True), np.hypot.reduce(m[0, 0])),
            *(np.logical_xor.reduce(m > 1, axis=1), np.fmax.reduce(m, axis=1), np.fmin.reduce(m, initial=0.5)),
            *(np.subtract.reduce(m, axis=1, initial=10, dtype=np.float32), np.logaddexp2.reduce(m, axis=1)),
            *(np.subtract.reduce(m, axis=1, where=mask, initial=2), np.hypot.reduce(m, axis=1, where=mask[0])),
            *(np.bitwise_xor.reduce(k), np.bitwise_and.reduce(k, keepdims=True), np.gcd.reduce(k), np.lcm.reduce(k)),
            *(np.logical_and.reduce(m, initial=False), np.logical_or.reduce(m > 9, axis=1, where=mask)),
            *(np.maximum.reduce(m, dtype=np.float32), np.logaddexp.reduce(m, axis=1), np.hypot.reduce(m[:, :0], 1)),
        )

    same(f, M, MASK, np.array([36, 60, 132, 12], np.int16))


def test_running_forms_and_segments() -> None:
    def f(m, k, at):
        return (
            *(np.subtract.accumulate(m, axis=1), np.subtract.accumulate(m), np.bitwise_or.accumulate(k)),
            *(np.power.accumulate(np.abs(m[:, :3]), axis=1, dtype=np.float32), np.subtract.accumulate(m[0][m[0] > 0])),
            *(np.fmax.accumulate(m[0][m[0] > 1]), np.add.reduceat(k, [0, 3, 1]), np.maximum.reduceat(m, [2, 0])),
            *(np.add.reduceat(m, [0, 4, 2, 10, 19], axis=1), np.multiply.reduceat(m, np.arange(19), axis=-1)),
            *(np.subtract.reduceat(m, at, axis=1), np.logical_and.reduceat(m > 0, at, axis=1)),
            *(np.minimum.reduceat(m, at, axis=1, dtype=np.float32), np.add.reduceat(m[0][m[0] > 0], [0, 3, 8])),
            *(np.add.reduceat(m, [], axis=0), np.add.reduce([m[0, 0], 2.0]), np.multiply.outer([m[0, 0]], m[1])),
        )

    same(f, M, np.array([3, -5, 6, 1], np.int8), np.array([0, 7, 7, 3, 18]))


def test_derivatives_of_reductions() -> None:
    def f(m):
        steps = np.subtract.reduce(m, axis=1) * np.divide.reduce(m, axis=1) + np.hypot.reduce(m, axis=1)
        segments = np.multiply.reduceat(m, np.arange(10), axis=1) * np.arange(10)
        few = np.add.reduceat(m, [0, 4, 2, 10], axis=1) * np.arange(4) + np.maximum.reduceat(m, [0, 2, 4, 6], axis=1)
        return np.sum(steps) + np.sum(segments) + np.sum(few) + np.sum(np.hypot.accumulate(m, axis=1) * m)

    check_grads(f, (np.random.default_rng(0).uniform(0.5, 2.0, (2, 11)),), order=1)


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda m, k: np.subtract.reduce(m, axis=(0, 1)), ArgumentError, "at most one axis"),
        (lambda m, k: np.subtract.reduce(m[:, :0], axis=1), ShapeError, "no identity"),
        (lambda m, k: np.subtract.reduce(m, where=m > 0), ShapeError, "no identity"),
        (lambda m, k: np.less.reduce(m), DtypeError, "does not combine"),
        (lambda m, k: np.add.reduceat(m, [0, 3]), IndexBoundsError, "index 3 out-of-bounds"),
        (lambda m, k: np.add.reduceat(m, k), IndexError, "index out-of-bounds"),
        (lambda m, k: np.add.reduceat(m, k[:, None]), ShapeError, "one axis"),
        (lambda m, k: np.gcd(k, 1.5), DtypeError, "np.gcd does not take"),
        (lambda m, k: np.bitwise_count(m), DtypeError, "np.bitwise_count does not take"),
    ],
)
def test_refused(f, error, message) -> None:
    with pytest.raises(error, match=message):
        jg.jit(f)(M, np.array([0, -1]))


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint64])
def test_divisors_and_bits(dtype) -> None:
    rng, info = np.random.default_rng(0), np.iinfo(dtype)
    a, b = rng.integers(info.min, info.max, (2, 60), dtype=dtype, endpoint=True)
    a[:4], b[:4], b[4:40] = [0, info.min, info.max, 0], [0, 0, info.min, info.min], b[4:40] % 9
    a[20:40] = (a[20:40] % 12) * b[20:40]
    same(lambda a, b: (np.gcd(a, b), np.lcm(a, b), np.bitwise_count(a), np.gcd(a[:, None], b), np.gcd(a, 12)), a, b)


def floats(dtype) -> np.ndarray:
    """Powers of two with their neighbours, and what is special."""
    info = ml_dtypes.finfo(dtype)
    with np.errstate(all="ignore"):
        powers = np.exp2(np.arange(int(info.minexp) - int(info.nmant), int(info.maxexp)).astype(float)).astype(dtype)
        near = np.nextafter(powers, np.array([0.0], dtype)), np.nextafter(powers, np.array([np.inf], dtype))
        special = np.array([0.0, np.inf, np.nan, info.max, info.smallest_normal, 3.0]).astype(dtype)
        found = np.concatenate([powers, *near, special])
        return np.concatenate([found, -found])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16], ids=lambda d: d.__name__)
def test_exponents_and_neighbours(dtype) -> None:
    x = floats(dtype)

    def f(x, y):
        return (*np.frexp(x), np.spacing(x), np.nextafter(x, y), np.nextafter(x, x), np.nextafter(x, x * 0))

    same(f, x, np.roll(x, 7))
    n = np.tile([-2200, -1050, -30, -3, 5, 40, 1500, 2200], len(x) // 8 + 1)[: len(x)]
    if dtype is not ml_dtypes.bfloat16:
        same(lambda x, n: (np.ldexp(x, n), np.ldexp(x, n.astype(np.int8)), np.ldexp(x, 3)), x, n)


def test_derivatives_of_exponents() -> None:
    check_grads(
        lambda x: np.sum(np.frexp(x)[0] * x + np.nextafter(x, 1.0) * x + np.ldexp(x, 3) + np.spacing(x)), (X,), order=1
    )
    g = jg.grad(lambda x: np.frexp(x)[0])
    assert [g(x) for x in (3.0, 0.75, 2.0**-1040)] == [0.25, 1.0, 2.0**1000 * 2.0**39]


def test_as_loops_and_by_rows() -> None:
    k = np.array([[36, 60, 132], [7, 14, 21]])
    np.testing.assert_array_equal(jg.vmap(lambda k: np.gcd(k, 24))(k), np.gcd(k, 24))
    np.testing.assert_array_equal(jg.vmap(lambda k: np.gcd.reduce(k))(k), [12, 7])
    at = np.arange(12)
    np.testing.assert_allclose(jg.vmap(lambda m: np.subtract.reduceat(m, at))(M), np.subtract.reduceat(M, at, axis=1))
    with jg.config.using(backend="python"):
        np.testing.assert_array_equal(jg.jit(lambda x: np.nextafter(x, 0.0))(X), np.nextafter(X, 0.0))
    # NumPy 2.4 raises the first element to the power of the last one only.
    power = jg.jit(lambda x: np.power.reduce(x))(np.array([0.5, 1.5, 2.5]))
    assert power == pytest.approx(functools.reduce(np.power, [0.5, 1.5, 2.5]))
