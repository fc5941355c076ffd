"""Searches in sorted arrays, and sets, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError

RNG = np.random.default_rng(0)


def same(found: Any, expected: Any) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)


# Searches


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.int16, np.uint8, np.bool_])
def test_searches(dtype: type, side: Any) -> None:
    run = jg.jit(lambda a, v: np.searchsorted(a, v, side))
    for n in (0, 1, 2, 3, 5, 8, 17, 1000, 4097):
        a = np.sort((RNG.normal(size=n) * 50).astype(dtype))
        v = (RNG.normal(size=(7, 30)) * 60).astype(dtype)
        v.ravel()[: min(n, 20)] = a[:20]
        same(run(a, v), np.searchsorted(a, v, side))
        with jg.config.using(backend="python"):
            same(run(a, v[0]), np.searchsorted(a, v[0], side))


@pytest.mark.parametrize("side", ["left", "right"])
def test_nan_comes_last(side: Any) -> None:
    for a in (np.array([1.0, 2.0, np.nan, np.nan]), np.array([np.nan]), np.array([-np.inf, np.inf])):
        v = np.array([np.nan, 3.0, 0.0, np.inf, -np.inf])
        same(jg.jit(lambda a, v: np.searchsorted(a, v, side))(a, v), np.searchsorted(a, v, side))


def test_searches_in_the_common_dtype() -> None:
    single = np.array([0.3, 0.5], np.float32)
    for a, v in ((single, 0.3), (np.arange(5), 2.5), (np.arange(3, dtype=np.int8), 300), (single, np.arange(3))):
        for side in ("left", "right"):
            found = jg.jit(lambda a, side=side, v=v: np.searchsorted(a, v, side))(a)
            np.testing.assert_array_equal(found, np.searchsorted(a, v, side))


def test_searches_in_parts_and_by_order() -> None:
    x = RNG.normal(size=50)

    def f(x):
        part = x[x > 0]
        return np.searchsorted(np.sort(part), x), np.searchsorted(part, x[:5], sorter=np.argsort(part))

    for found, expected in zip(jg.jit(f)(x), f(x), strict=True):
        same(found, expected)


def test_a_search_for_each_example() -> None:
    a, v = np.sort(RNG.normal(size=(4, 9)), axis=1), RNG.normal(size=(4, 3))
    same(jg.vmap(np.searchsorted)(a, v), np.stack([np.searchsorted(x, y) for x, y in zip(a, v, strict=True)]))
    same(jg.vmap(np.searchsorted, in_axes=(None, 0))(a[0], v), np.searchsorted(a[0], v))


def test_many_bins() -> None:
    """Drawing by a cumulative distribution, and its interpolation, take a time that hardly grows with the bins."""
    p = RNG.random(100_000)
    cdf, u = np.cumsum(p) / p.sum(), RNG.random(100_000)
    same(jg.jit(np.searchsorted)(cdf, u), np.searchsorted(cdf, u))
    grid = np.linspace(0.0, 1.0, len(cdf))
    np.testing.assert_allclose(jg.jit(np.interp)(u, cdf, grid), np.interp(u, cdf, grid), rtol=1e-11)


def test_bad_searches() -> None:
    for f, error, text in (
        (lambda a: np.searchsorted(a[None], 1.0), ShapeError, "one axis"),
        (lambda a: np.searchsorted(a, 1.0, "middle"), ArgumentError, "'left' or 'right'"),
    ):
        with pytest.raises(error, match=text) as caught:
            jg.jit(f)(np.arange(3.0))
        assert caught.value.location is not None
    with pytest.raises(DtypeError, match="must be equal"):
        jg.ir.core.OPS["searchsorted"].infer(
            jg.TensorType(np.dtype(np.float64), (3,)), jg.TensorType(np.dtype(np.int64), (3,)), side="left"
        )


# Sets

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "isin": np.isin,
    "isin, inverted": lambda a, b: np.isin(a, b, invert=True),
    "union1d": np.union1d,
    "intersect1d": np.intersect1d,
    "setxor1d": np.setxor1d,
    "setdiff1d": np.setdiff1d,
    "setdiff1d in order": lambda a, b: np.setdiff1d(a, b, assume_unique=True),
    "isin a part": lambda a, b: np.isin(a, b[b > 3]),
    "isin nothing": lambda a, b: np.isin(a, b[b > 300]),
    "intersect1d of parts": lambda a, b: np.intersect1d(a[a > 1], b[b < 5]),
    "setdiff1d of parts": lambda a, b: np.setdiff1d(a[a > 2], b[b > 3]),
    "setxor1d of parts": lambda a, b: np.setxor1d(a[a > 2], b[b > 3]),
    "union1d of parts": lambda a, b: np.union1d(a[a > 2], b[b > 3]),
}
OPERANDS = {
    "integers": (RNG.integers(0, 9, 12), RNG.integers(0, 9, 7)),
    "floats and integers": (RNG.integers(0, 9, 12) / 2, RNG.integers(0, 9, 7)),
    "nan": (np.array([1.0, np.nan, 2.0]), np.array([np.nan, 2.0])),
    "nothing": (np.zeros(0), np.ones(2)),
    "in nothing": (np.ones(2), np.zeros(0)),
    "matrix": (RNG.integers(0, 9, (3, 4)), np.array([3])),
    "narrow": (RNG.integers(0, 9, 12).astype(np.int8), RNG.integers(0, 9, 7).astype(np.uint8)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sets(name: str) -> None:
    f = FUNCTIONS[name]
    for a, b in OPERANDS.values():
        same(jg.jit(f)(a, b), f(a, b))
        same(jg.jit(lambda a, f=f, b=b: f(a, b))(a), f(a, b))


@pytest.mark.parametrize("trim", ["fb", "f", "b"])
def test_trim_zeros(trim: Any) -> None:
    run = jg.jit(lambda x: np.trim_zeros(x, trim))
    for values in ([0, 0, 1, 2, 0, 3, 0, 0], [0, 0], [1], [], [0, 1.5], [2, 0]):
        x = np.array(values, float)
        same(run(x), np.trim_zeros(x, trim))


def test_gradients_pass_through_sets() -> None:
    x = np.array([3.0, 1.0, 2.0, 5.0])
    y = np.array([2.0, 5.0, 7.0])
    np.testing.assert_array_equal(jg.grad(lambda x: np.sum(np.setdiff1d(x, y) ** 2))(x), [6, 2, 0, 0])
    np.testing.assert_array_equal(jg.grad(lambda x: np.sum(x[np.isin(x, y)] ** 2))(x), [0, 0, 4, 10])


def test_bad_sets() -> None:
    x = np.arange(4.0)
    for f, error, text in (
        (lambda x: np.intersect1d(x, x, return_indices=True), UnsupportedError, "return_indices"),
        (lambda x: np.trim_zeros(x, "middle"), ArgumentError, "'f', 'b' or 'fb'"),
        (lambda x: np.trim_zeros(x.reshape(2, 2)), UnsupportedError, "takes a vector"),
    ):
        with pytest.raises(error, match=text) as caught:
            jg.jit(f)(x)
        assert caught.value.location is not None


# Numbers of elements


@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_and_places_of_elements(order: Any) -> None:
    shape = (4, 5, 6)
    numbers = RNG.integers(0, 120, (3, 7)).astype(np.int32)
    places = np.unravel_index(numbers, shape, order)
    for found, expected in zip(jg.jit(lambda k: np.unravel_index(k, shape, order))(numbers), places, strict=True):
        same(found, expected)
    run: Any = jg.jit(lambda *p: np.ravel_multi_index(p, shape, order=order))
    same(run(*places), np.ravel_multi_index(places, shape, order=order))
    for mode in ("wrap", "clip", ("clip", "wrap", "raise")):
        beside = (RNG.integers(-9, 9, 8), RNG.integers(-9, 9, 8), RNG.integers(0, 6, 8))
        run = jg.jit(lambda *p, mode=mode: np.ravel_multi_index(p, shape, mode=mode, order=order))
        same(run(*beside), np.ravel_multi_index(beside, shape, mode=mode, order=order))


def test_the_place_of_the_greatest_element() -> None:
    def f(m):
        i, j = np.unravel_index(np.argmax(m), m.shape)
        return m[i, j] ** 2 + i

    m = RNG.normal(size=(5, 40))
    np.testing.assert_allclose(jg.jit(f)(m), f(m))
    np.testing.assert_allclose(jg.grad(f)(m), np.where(m == m.max(), 2 * m, 0))


def test_places_out_of_bounds() -> None:
    k = np.array([3, 30])
    for f in (lambda k: np.unravel_index(k, (4, 5)), lambda k: np.ravel_multi_index((k, k), (4, 50))):
        with pytest.raises(ValueError, match=r"out of bounds|invalid entry"):
            f(k)
        with pytest.raises(ValueError, match=r"out of bounds|invalid entry"):
            jg.jit(f)(k)
    with pytest.raises(IndexError, match="Indices are integers"):
        jg.jit(lambda x: np.unravel_index(x, (4, 5)))(np.ones(3))
    with pytest.raises(ShapeError, match="Each axis has one"):
        jg.jit(lambda k: np.ravel_multi_index((k, k), (4, 5, 6)))(k)
