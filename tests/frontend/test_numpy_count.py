"""Histograms of several dimensions, weighted quantiles, bits of bytes, and arrays of what Python code gives."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from jitgrad.testing import check_grads

X = np.array([0.3, -1.5, 2.5, 4.0, -0.2, 7.0])
W = np.array([0.5, 1.0, 0.0, 2.0, 1.5, 0.25])
M = np.array([[3.0, 1.0, 2.0, 2.0], [5.0, 4.0, 4.0, 1.0]])


def leaves(result) -> list:
    return [leaf for r in result for leaf in leaves(r)] if isinstance(result, (tuple, list)) else [result]


def same(f, *args) -> None:
    found, want = jg.jit(f)(*args), f(*args)
    for k, (a, b) in enumerate(zip(leaves(found), leaves(want), strict=True)):
        assert np.asarray(a).dtype == np.asarray(b).dtype, k
        np.testing.assert_allclose(a, b, rtol=1e-12, err_msg=str(k))


def test_histograms() -> None:
    def f(x, w, m):
        y = x[::-1]
        return (
            *(np.histogram2d(x, y), np.histogram2d(x, y, [3, 4], weights=w), np.histogram2d(x, y, np.arange(4.0))),
            *(np.histogram2d(x, y, [[0, 1, 5], [0.0, 2.0, 3.0, 9.0]]), np.histogram2d(x, y, [3, [x[1], 0, 1, 4]])),
            *(np.histogram2d(x, y, 3, range=[[0, 5], [0, 4]], density=True), np.histogramdd(m, 3)),
            *(np.histogramdd(m, (2, 3, 2, 1), weights=m[:, 0]), np.histogramdd((x, x + 1, w), 2, density=True)),
            *(np.histogramdd(x.astype(np.float32), 2), np.histogramdd((m > 2)[:, :2].astype(int), 2)),
            *(np.histogram_bin_edges(x, 5), np.histogram_bin_edges(x, 5, (0, 3)), np.histogram_bin_edges(m, [1, 2])),
        )

    same(f, X, W, M)
    check_grads(lambda w: np.sum(np.histogram2d(X, X[::-1], 3, weights=w)[0] ** 2), (W,), order=1)


def test_weighted_quantiles() -> None:
    def f(x, w, m):
        method = "inverted_cdf"
        at = [0.0, 0.3, 0.5, 1.0]
        nan = np.where(x > 6, np.nan, x)
        return (
            *(np.quantile(x, at, weights=w, method=method), np.percentile(x, 40, weights=w, method=method)),
            *(np.quantile(m, at, axis=1, weights=w[:4], method=method, keepdims=True), np.quantile(x, 0.5)),
            *(np.quantile(m, 0.4, axis=(1, 0), weights=np.arange(8.0).reshape(4, 2), method=method), nan[5]),
            *(np.quantile(m.astype(int), at, axis=0, weights=m, method=method), np.nanquantile(m, 0.7, 1)),
            *(np.quantile(nan, at, weights=w, method=method), np.nanquantile(nan, at, weights=w, method=method)),
            *(np.nanpercentile(m, 30, axis=1, weights=m[::-1], method=method), np.quantile(m.astype(np.float32), 0.5)),
        )

    same(f, X, W, M)
    check_grads(lambda x: np.sum(np.quantile(x, [0.2, 0.6], weights=W, method="inverted_cdf") ** 2), (X,), order=1)


def test_bits() -> None:
    def f(k, b):
        return (
            *(np.packbits(k > 1), np.packbits(k, axis=1, bitorder="little"), np.packbits(k, axis=0), np.unpackbits(b)),
            *(np.unpackbits(b, axis=0, count=5, bitorder="little"), np.unpackbits(b, axis=1, count=-3)),
            *(np.unpackbits(b, axis=1, count=40), np.packbits(k[:, :0], axis=1)),
        )

    same(f, np.arange(40).reshape(2, 20) % 3, (np.arange(8) * 31).astype(np.uint8).reshape(2, 4))


def test_places_and_axes() -> None:
    def f(x, m):
        y, z = x.copy(), m.copy()
        np.place(y, y > 0, [1.0, 2.0, 3.0])
        np.place(z, z > 1, x[:2] * 2)
        return (
            y,
            z,
            np.apply_over_axes(np.sum, m, [0, 1]),
            np.apply_over_axes(np.max, m, -1),
            m[np.mask_indices(2, np.triu)],
        )

    same(f, X, M)
    check_grads(lambda x: np.sum(f(x, M)[1] * M) + np.sum(f(x, M)[0] * x), (X,), order=1)


def test_arrays_of_what_python_gives() -> None:
    def f(x):
        larger = np.frompyfunc(lambda a, b: a if a > b else 2.0 * b, 2, 1)
        both = np.frompyfunc(lambda a: (a, 3.0 * a), 1, 2)
        return (
            *(larger(x, x[::-1]).astype(float), both(x)[1].astype(float), np.fromiter((2.0 * v for v in x), float)),
            *(np.fromiter((x[k] * k for k in itertools.count()), np.float32, count=4), np.fromiter(range(3), int)),
            *(np.fromiter([x[0], x[1]], float, 2), np.fromiter((v for v in x if v > 0), float)),
        )

    same(f, X)
    half = X.astype(ml_dtypes.bfloat16)
    same(lambda x: (np.array([x[0], 1.0, 2]), np.array([x[0], x[1]]), np.array([[x[0], True], [x[1], False]])), half)


def test_refused() -> None:
    made = np.frompyfunc(lambda a: a, 1, 1)
    cases = [
        (lambda x: np.histogram_bin_edges(x, "auto"), UnsupportedError, "data decide how many"),
        (lambda x: np.histogramdd((x, x), [2, 3, 4]), ArgumentError, "2 dimensions with 3 bins"),
        (lambda x: np.quantile(x, 0.5, weights=x), UnsupportedError, "'inverted_cdf' with weights"),
        (lambda x: np.quantile(x, 0.5, weights=x[:2], method="inverted_cdf"), ShapeError, "shape of the array"),
        (lambda x: np.quantile(x, 0.5, weights=x, method="inverted_cdf"), ValueError, "non-negative"),
        (lambda x: np.quantile(x, 0.5, weights=x * 0, method="inverted_cdf"), ValueError, "all zero"),
        (lambda x: np.packbits(x), DtypeError, "integers or booleans"),
        (lambda x: np.unpackbits(x), DtypeError, "takes uint8"),
        (lambda x: np.packbits(x > 0, bitorder="middle"), ArgumentError, "'big' or 'little'"),
        (lambda x: np.sort_complex(x), UnsupportedError, "np.lexsort"),
        (lambda x: np.apply_over_axes(lambda a, k: a[0, 0], x[:, None] * x, 0), ShapeError, "keep the axes"),
        (lambda x: np.fromiter((v for v in x), float, count=9), ArgumentError, "too short"),
        (lambda x: made(x), UnsupportedError, "inside the traced function"),
    ]
    for f, error, message in cases:
        with pytest.raises(error, match=message):
            jg.jit(f)(X)
