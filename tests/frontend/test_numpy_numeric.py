"""Quantiles without NaN, phases, fits, rules for sampled functions and filters: values and derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.signal
from compared import check, normal

import jitgrad as jg
from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError

HOLES = np.array([[False, True, False, False, False], [True] * 5, [False, False, True, False, True]])


def _nan_quantiles(a: Any) -> Any:
    a = np.where(HOLES[: a.shape[0]], np.nan, a)
    return (
        np.nanmedian(a),
        np.nanmedian(a[::2], axis=1),
        np.nanquantile(a, 0.3, axis=0),
        np.nanpercentile(a[::2], 60.0, axis=1, keepdims=True),
        np.nanquantile(a, 0.2, axis=(0, 1)),
    )


def test_quantiles_without_nan() -> None:
    check(_nan_quantiles, normal(3, 5), grads=True)
    check(_nan_quantiles, normal(3, 5).astype(np.float32), tol=1e-5)
    check(lambda a: np.nanquantile(np.where(HOLES, np.nan, a), [0.1, 0.9], axis=1), normal(3, 5))
    check(lambda a: np.nanmedian(a), np.array([np.inf, 1.0, np.nan, np.inf]))
    check(lambda a: np.nanmedian(a), np.array([3, 1, 2, 7]))
    check(lambda a: (np.nanmedian(a[:0]), np.nanquantile(a[:0], 0.5)), normal(3))


@pytest.mark.parametrize("q", [0.5, np.float64(0.3), np.float32(0.3), [0.1, 0.9], np.array([0.5], np.float32)])
def test_dtypes_of_quantiles(q: Any) -> None:
    functions = (np.quantile, np.percentile, np.nanquantile, np.nanpercentile)
    for dtype in (np.float64, np.float32, np.int8):
        check(lambda a: [f(a, q) for f in functions], np.array([3, 1, 2, 7], dtype), tol=1e-6)


def test_unwrap() -> None:
    check(
        lambda a: (np.unwrap(4 * a), np.unwrap(4 * a, axis=0), np.unwrap(4 * a, period=3.0)), normal(4, 6), grads=True
    )
    check(lambda a: (np.unwrap(4 * a, 2.0), np.unwrap(4 * a, discont=5.0)), normal(6), grads=True)
    check(lambda a: np.unwrap(a), np.array([0, np.pi, 0, -np.pi, 2 * np.pi]))
    for period in (4, 5, 4.0):
        check(lambda a, p=period: np.unwrap(a, period=p), np.array([0, 3, 9, 2, 0, 2, 4, 2]))


def test_polyfit() -> None:
    x, y, w = np.arange(7.0) ** 1.1, normal(7), 1.0 + normal(7, seed=1) ** 2
    check(lambda x, y: (np.polyfit(x, y, 2), np.polyfit(x, np.stack([y, x], axis=1), 1)), x, y, grads=True)
    check(lambda x, y, w: np.polyfit(x, y, 1, w=w), x, y, w, grads=True)


def test_sampled_functions() -> None:
    def f(y: Any, x: Any) -> Any:
        return (
            scipy.integrate.trapezoid(y, x),
            scipy.integrate.cumulative_trapezoid(y, x),
            scipy.integrate.cumulative_trapezoid(y, dx=0.1, axis=0, initial=0),
            scipy.integrate.simpson(y, x=x),
            scipy.integrate.simpson(y[:, :4], x=x[:4]),
            scipy.integrate.simpson(y[:, :4], x=y[:, :4] ** 2 + x[:4]),
            [scipy.integrate.simpson(y[:, :n], dx=0.5) for n in (1, 2, 3, 4, 5)],
            scipy.integrate.simpson(y, axis=0),
        )

    check(f, normal(3, 5), np.array([0.0, 1.0, 3.0, 4.0, 6.0]), grads=True)
    y = normal(3, 5).astype(np.float32)
    check(lambda y: (scipy.integrate.simpson(y), scipy.integrate.simpson(y[:, :4])), y, tol=1e-5)


@pytest.mark.parametrize(
    ("b", "a"), [([1.0], [1.0, -0.5]), ([1.0, 0.2, 0.3], [2.0]), ([0.5, 0.2], [1.5, 0.3, -0.2, 0.1])]
)
def test_filters(b: list[float], a: list[float]) -> None:
    x = normal(3, 7)
    check(lambda x: (scipy.signal.lfilter(b, a, x[0]), scipy.signal.lfilter(b, a, x, axis=0)), x, grads=True)
    check(lambda b, a, x: scipy.signal.lfilter(b, a, x), np.array(b), np.array(a), x[0], grads=True)


def test_a_filter_is_a_loop() -> None:
    text = jg.grad(lambda x: np.sum(scipy.signal.lfilter([1.0], [1.0, -0.5], x))).ir(normal(10_000), stage="optimised")
    assert text.count(" = for") == 1 and len(text.splitlines()) < 60


ERRORS = {
    "quantile method": (lambda a: np.nanquantile(a, 0.5, method="lower"), UnsupportedError, "Use 'linear'"),
    "empty quantile": (lambda a: np.quantile(a[:0], 0.5, method="lower"), ShapeError, "empty axis"),
    "polyfit": (lambda a: np.polyfit(a, a[1:], 1), ShapeError, "y has a row for each"),
    "full fit": (lambda a: np.polyfit(a, a, 1, full=True), UnsupportedError, "Only the coefficients"),
    "initial": (lambda a: scipy.integrate.cumulative_trapezoid(a, initial=1), ArgumentError, "None or 0"),
    "simpson": (lambda a: scipy.integrate.simpson(a, x=a[1:]), ShapeError, "one point for each sample"),
    "zi": (lambda a: scipy.signal.lfilter([1.0], [1.0], a, zi=a), ShapeError, "zi of shape"),
    "lfilter": (lambda a: scipy.signal.lfilter([], [1.0], a), ShapeError, "not empty"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_errors(case: Any) -> None:
    f, error, message = case
    with pytest.raises(error, match=message) as info:
        jg.jit(f)(normal(5))
    assert "test_numpy_numeric.py" in str(info.value)
