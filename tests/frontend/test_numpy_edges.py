"""Edges of NumPy functions: dtypes of results, empty axes, bounds outside the dtype, mixed signs."""

from __future__ import annotations

import operator
import warnings

import numpy as np
import pytest

import jitgrad as jg

U8 = np.array([0, 200, 5, 3], np.uint8)
U64 = np.array([0, 3, 2**64 - 1, 2**63], np.uint64)
I64 = np.array([-1, 3, -1, 2**63 - 1])
SMALL = np.array([-4, 3, 2, 7])
F32 = np.float32(3)
ROWS = np.random.default_rng(0).random((3, 5)).astype(np.float32)

CASES = {
    "clip below an unsigned dtype": (lambda x: x.clip(-1, 1), U8),
    "clip above an unsigned dtype": (lambda x: x.clip(-1, 300), U8),
    "clip from one side": (lambda x: np.clip(x, -5, None), U64),
    "mean in an integer dtype": (lambda x: np.mean(x, dtype=np.int64), SMALL),
    "mean in float32": (lambda x: np.mean(x, dtype=np.float32), SMALL),
    "multi_dot of two stacks": (lambda x: np.linalg.multi_dot([x, x]), np.ones((2, 2, 2))),
    "linspace from float32": (lambda x: np.linspace(x, 1, 4), F32),
    "linspace to a float32 array": (lambda x: np.linspace(0, x, 4), np.ones((2, 1), np.float32)),
    "linspace of integers": (lambda x: np.linspace(0, x, 4), 2),
    "logspace of float32": (lambda x: np.logspace(0, x, 4), F32),
    "geomspace": (lambda x: np.geomspace(1, x, 4), F32),
    "geomspace of an array": (lambda x: np.geomspace(1, x, 4, axis=1), np.full(2, 5.0)),
    "geomspace without end": (lambda x: np.geomspace(x, 7, 4, endpoint=False), F32),
    "infinity norm of nothing": (lambda x: np.linalg.norm(x, np.inf), np.zeros(0)),
    "matrix norm of empty rows": (lambda x: np.linalg.norm(x, np.inf), np.zeros((3, 0))),
    "matrix norm without columns": (lambda x: np.linalg.norm(x, 1), np.zeros((3, 0))),
    "take of nothing": (lambda x: np.take(x, []), SMALL),
    "covariance of nothing": (lambda x: np.cov(x), np.zeros((3, 0))),
    "covariance of float32": (lambda x: np.cov(x), ROWS),
    "correlation of float32": (lambda x: np.corrcoef(x), ROWS),
    "angle": (np.angle, np.array([1, -1, np.nan, -0.0, np.inf])),
    "angle of integers": (np.angle, SMALL.astype(np.int16)),
    "sign bits of small integers": (np.signbit, SMALL.astype(np.int8)),
    "comparison of Python integers": (lambda x: np.less(x, 3), 2),
    "equality of Python integers": (lambda x: np.equal(x, x), 2),
    "variance without freedom": (lambda x: np.nanvar(x, axis=1, ddof=10), ROWS),
    "deviation of some": (lambda x: np.nanstd(x, axis=0, ddof=1), np.array([[1.0, np.nan], [3.0, 2.0]])),
    "angle in degrees": (lambda x: np.angle(x, deg=True), np.array([1, -1, np.nan, -0.0])),
    "integer product from a float": (lambda x: np.prod(x, initial=2.5), SMALL),
    "integer sum from a float": (lambda x: np.sum(x, initial=2.5), SMALL),
    "integer max from a float": (lambda x: np.max(x, initial=9.5), SMALL),
    "bool max from True": (lambda x: np.max(x, initial=True), SMALL > 9),
    "median of nothing": (np.median, np.zeros(0)),
    "medians of empty columns": (lambda x: np.median(x, axis=1), np.zeros((2, 0, 3))),
    "medians of no columns": (lambda x: np.median(x, axis=0), np.zeros((2, 0, 3))),
    "the only axis, named": (lambda x: x.transpose(0), ROWS[0]),
    "a transpose without elements": (lambda x: x.T[:0] * 2, ROWS),
    "a transpose without elements, cast": (lambda x: x[:0].T.astype(np.int64), ROWS),
    "squares of bools": (lambda x: x**2, ROWS > 0.5),
    "other powers of bools": (lambda x: x**3, ROWS > 0.5),
    "percentiles in float64": (lambda x: np.percentile(x, [10, 50]), ROWS),
    "a quantile in float64": (lambda x: np.quantile(x, np.float64(0.3)), ROWS),
    "a quantile in float32": (lambda x: np.quantile(x, 0.3), ROWS),
    "powers of float32": (lambda x: np.vander(x, 3), ROWS[0]),
    "average of small integers": (lambda x: np.average(x, weights=x), U8),
    "mean beside bools": (lambda x: np.pad(x, 1, mode="mean"), ROWS > 0.5),
    "correlation with a longer one": (lambda x: np.correlate(x, [1, 2.5, 0.5, 2]), ROWS[0, :2]),
    "middle of such a correlation": (lambda x: np.correlate(x, [1, 2.5, 0.5, 2], "same"), ROWS[0, :2]),
    "convolution with a number": (lambda x: np.convolve(x, 2.0), ROWS[0]),
    "small indices, wrapped": (lambda i: np.take(np.arange(1000), i, mode="wrap"), U8),
    "small indices, clipped": (lambda i: np.take(np.arange(1000), i, mode="clip"), SMALL.astype(np.int8)),
    "no indices, clipped": (lambda i: np.take(np.zeros(0), i, mode="clip"), U64[:0]),
    "a choice by small indices": (lambda i: np.choose(i, [SMALL, 2 * SMALL], mode="clip"), U8),
}


@pytest.mark.parametrize("name", CASES)
def test_as_in_numpy(name):
    function, x = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.asarray(function(x))
    found = np.asarray(jg.jit(function)(x))
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6 if expected.dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne])
def test_comparisons_of_mixed_integers_are_exact(compare):
    pairs = [(U64, I64), (I64, U64), (U64, I64.astype(np.int32)), (U64, -1), (-1, U8), (U8, -1), (300, U8), (U8, I64)]
    for a, b in pairs:
        np.testing.assert_array_equal(jg.jit(compare)(a, b), compare(a, b))
        np.testing.assert_array_equal(jg.jit(lambda x, b=b: compare(x, b))(a), compare(a, b))


def test_a_chain_of_stacks_is_refused():
    with pytest.raises(jg.errors.ShapeError, match="stacks of matrices"):
        jg.jit(lambda x: np.linalg.multi_dot([x, x, x]))(np.ones((2, 2, 2)))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("function", [np.fmod, np.remainder, np.floor_divide], ids=lambda f: f.__name__)
def test_a_remainder_by_nan_is_nan(function, dtype):
    found = jg.jit(lambda x: function(x, float("nan")))(np.ones(3, dtype))
    np.testing.assert_array_equal(found, np.full(3, np.nan))
