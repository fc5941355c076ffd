"""Functions of arrays whose extent the run tells: orders, quantiles, slices. Against NumPy and central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg

#: Many elements, some, one, and none that are positive; more than are sorted by merges.
INPUTS = {
    "many": np.sin(1 + np.arange(40.0)),
    "some": np.array([1.0, 2.0, -1.0, 3.0, 0.5]),
    "one": np.array([-1.0, 2.0, -3.0, -4.0]),
    "none": -np.ones(4),
    "long": np.sin(1 + np.arange(3000.0)),
}

#: Programs that need an element at least, and those that need none.
ONE: dict[str, Callable[[Any], Any]] = {
    "first two": lambda x: np.sum(np.sort(x[x > 0])[:2]),
    "place of the least": lambda x: x[np.argsort(x[x > 0])[0]],
    "lower": lambda x: np.percentile(x[x > 0], 40, method="lower"),
    "higher": lambda x: np.percentile(x[x > 0], 40, method="higher"),
    "nearest": lambda x: np.percentile(x[x > 0], 43, method="nearest"),
    "midpoint": lambda x: np.percentile(x[x > 0], 43, method="midpoint"),
    "quantiles of rows": lambda x: np.sum(np.quantile(np.outer(x[x > 0], x[:4]), [0.1, 0.6], axis=0)),
    "quantile of columns": lambda x: np.sum(np.quantile(np.outer(x[x > 0], x[:4]), 0.6, axis=1)),
    "sorted": lambda x: sorted([v for v in x if v > 0])[0],
    "sorted array": lambda x: sorted(x[x > 0])[0],
    "reversed": lambda x: sorted([v for v in x if v > 0], reverse=True)[-1] * 2,
    "pairs": lambda x: sorted([(v, i) for i, v in enumerate(x) if v > 0], key=lambda p: p[0])[-1][1] * x[0],
    "interpolation": lambda x: np.interp(0.55, np.sort(x[x > 0]), x[x > 0] ** 2),
    "covariance": lambda x: np.cov(x[x > 0], x[x > 0] ** 3, ddof=0)[0, 1],
    "correlation": lambda x: np.corrcoef(x[x > 0], x[x > 0] ** 3)[0, 1],
    "groups": lambda x: sum(np.max(np.sort(x[np.arange(len(x)) % 3 == k])) for k in range(3)),
}
NONE: dict[str, Callable[[Any], Any]] = {
    "ranks": lambda x: np.sum(np.argsort(np.argsort(x[x > 0])) * x[x > 0]),
    "sort of a list": lambda x: np.sum(np.sort(np.array([v for v in x if v > 0])) * 1.5),
    "by key": lambda x: sum(i * v for i, v in enumerate(sorted([v for v in x if v > 0], key=lambda v: -v * v))),
    "rows": lambda x: np.sum(np.sort(np.outer(x[x > 0], x[:4]), axis=1)[:, 1] * x[x > 0]),
    "differences": lambda x: np.sum(np.diff(x[x > 0]) ** 2),
    "second differences": lambda x: np.sum(np.diff(x[x > 0], 2) ** 2),
    "neighbours": lambda x: np.sum((x[x > 0][1:] + x[x > 0][:-1])[1:] * x[x > 0][1:-1]),
    "slices of slices": lambda x: np.sum(x[x > 0][1:][1:] * x[x > 0][2:] * x[x > 0][:-1][:-1]),
    "without the first ones": lambda x: np.sum(x[x > 0][3:]) + np.sum(x[x > 0][:-3] * 2),
    "running maximum": lambda x: np.sum(np.maximum.accumulate(x[x > 0]) * np.minimum.accumulate(x[x > 0])),
    "rolled": lambda x: np.sum(np.roll(x[x > 0], 2) * x[x > 0]) + np.sum(np.roll(x[x > 0], -1) ** 2 * x[x > 0]),
    "trapezoid": lambda x: np.trapezoid(x[x > 0]) + np.trapezoid(x[x > 0] ** 2, x[x > 0]),
    "interpolated": lambda x: np.sum(np.interp(x[x > 0], [0.0, 0.9, 3.2], [2.0, 5.0, 4.0])),
    "the last ones": lambda x: np.sum(x[x > 0][-2:] * 3) + np.sum(x[x > 0][:2]),
}
#: Those that need two elements at least.
FEW = ("first two", "quantiles of rows", "groups", "correlation")
QUADRATIC = {
    "matrix": lambda x: np.sum(np.sort(np.outer(x[x > 0], x[x > 0][::-1]), axis=1) * np.arange(len(x[x > 0]))),
    "triangle": lambda x: np.sum(np.tril(np.outer(x[x > 0], x[x > 0] ** 2), 1) - np.triu(np.outer(x[x > 0], x[x > 0]))),
    "columns": lambda x: np.sum(np.sort(np.outer(x[x > 0], x[x > 0][::-1]), axis=0)[0]),
}


@pytest.mark.parametrize("name", [*ONE, *NONE, *QUADRATIC])
def test_values_and_gradients(name: str) -> None:
    f = {**ONE, **NONE, **QUADRATIC}[name]
    run, slope = jg.jit(f), jg.grad(f)
    for kind, x in INPUTS.items():
        few = kind in ("none", "one") and name in FEW
        if few or (kind == "none" and name not in NONE) or (kind == "long" and name in QUADRATIC):
            continue
        np.testing.assert_allclose(run(x), f(x), rtol=1e-12, atol=1e-13)
        step = 1e-7 * np.random.default_rng(0).normal(size=len(x))
        expected = (f(x + step) - f(x - step)) / 2
        np.testing.assert_allclose(slope(x) @ step, expected, rtol=1e-5, atol=1e-11)
    with jg.config.using(backend="python"):
        np.testing.assert_allclose(jg.jit(f)(INPUTS["some"]), f(INPUTS["some"]), rtol=1e-12)


@pytest.mark.parametrize("f", [np.median, np.nanmedian, lambda x: np.quantile(x, 0.3)])
def test_quantiles_of_no_elements(f: Callable[..., Any]) -> None:
    """NaN, as NumPy gives with a warning."""
    run = jg.jit(lambda x: f(x[x > 0]))
    assert np.isnan(run(INPUTS["none"]))
    for x in (INPUTS["many"], np.array([1.0, np.nan, 3.0, 2.0, -1.0])):
        np.testing.assert_allclose(run(x), f(x[x > 0]), rtol=1e-14)
    with_nan = jg.jit(lambda x: f(x[x != 0]))
    x = np.array([1.0, np.nan, 3.0, 2.0, 0.0])
    np.testing.assert_allclose(with_nan(x), f(x[x != 0]), rtol=1e-14)


def test_an_integer_quantile_of_no_elements() -> None:
    f = jg.jit(lambda i: np.percentile(i[i > 5], 50, method="lower"))
    assert f(np.arange(10)) == 7
    with pytest.raises(IndexError, match="out of bounds"):
        f(np.arange(4))


@pytest.mark.parametrize("take", [np.argmax, np.argmin])
def test_the_extreme_of_no_elements_is_no_index(take: Callable[..., Any]) -> None:
    """What is read at it is checked: rows of some length, though there may be none."""

    def f(x):
        part = x[x > 0]
        return np.sum(part[take(np.stack([part, part * 2]), axis=1)])

    run = jg.jit(f)
    for x in (INPUTS["some"], INPUTS["many"], INPUTS["long"]):
        np.testing.assert_allclose(run(x), f(x))
    for n in (5, 40):
        with pytest.raises(IndexError):
            run(-np.ones(n))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float32, np.float64, np.bool_])
def test_dtypes(dtype: type) -> None:
    x = (np.random.default_rng(0).integers(0, 100, 2000) % 7).astype(dtype)
    y = np.random.default_rng(1).permutation(100).astype(dtype)
    for values in (x, y):
        keep = np.arange(len(values)) % 3 > 0
        found = jg.jit(lambda v, k: (np.sort(v[k]), np.argsort(v[k], kind="stable"), np.unique(v[k])))(values, keep)
        part = values[keep]
        for f, e in zip(found, (np.sort(part), np.argsort(part, kind="stable"), np.unique(part)), strict=True):
            assert f.dtype == e.dtype
            np.testing.assert_array_equal(f, e)


def test_everything_that_unique_tells() -> None:
    def f(x):
        part = np.round(x[x > 0], 1)
        found = np.unique(part, return_index=True, return_inverse=True, return_counts=True)
        return sum(np.sum(a * np.arange(1, 1 + len(a))) for a in found)

    run = jg.jit(f)
    for x in INPUTS.values():
        np.testing.assert_allclose(run(x), f(x), rtol=1e-13)


def test_a_loop_of_sorts() -> None:
    """Rows of another length in each iteration."""

    def f(x, labels):
        total = 0.0
        for k in range(20):
            part = np.sort(x[labels == k])
            if len(part) > 1:
                total = total + part[1] * part[0]
        return total

    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=200), rng.integers(0, 25, 200)
    np.testing.assert_allclose(jg.jit(f)(x, labels), f(x, labels), rtol=1e-13)
    step = 1e-7 * rng.normal(size=200)
    slope = (f(x + step, labels) - f(x - step, labels)) / 2
    np.testing.assert_allclose(jg.grad(f)(x, labels) @ step, slope, rtol=1e-5)
