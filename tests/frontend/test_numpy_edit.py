"""Insertion, deletion, differences, products and windows of arrays whose extents, and at positions which, only the run
tells."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import IndexBoundsError, ShapeError, UnsupportedError
from jitgrad.testing import check_grads

X = np.array([0.3, -1.5, 2.5, 4.0, -0.2, 7.0])
M = np.outer(X, X[:4])
windows = np.lib.stride_tricks.sliding_window_view


def same(f, *args) -> None:
    for k, (got, want) in enumerate(zip(jg.jit(f)(*args), f(*args), strict=True)):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14, err_msg=str(k))


def test_insert_and_delete() -> None:
    def f(x, m, k, places):
        y = x[x > 0]
        return (
            *(np.insert(y, 1, 5.0), np.insert(y, -1, y[:1]), np.insert(x, k, 9), np.insert(y, k - 4, [8.0, 9.0])),
            *(np.insert(x, [0, 2], [5.0, 6.0]), np.insert(x, [1, 1, -1], 7.0), np.insert(x, [2], [1.0, 2.0, 3.0])),
            *(np.insert(x, slice(0, 4, 2), x[:2]), np.insert(m, [0, 2], x[:, None], axis=1), np.insert(x, x.size, k)),
            *(np.insert(x, np.arange(6) < 2, [5.0, 6.0]), np.insert(m[x > 0], 1, m[0], axis=0), np.delete(y, -1)),
            *(
                np.delete(x, k),
                np.delete(y, k - 4),
                np.delete(y, [0, 2]),
                np.delete(y, slice(0, 2)),
                np.delete(x, x > 0),
            ),
            *(np.delete(x, places), np.delete(m, places, axis=0), np.delete(m, k - 1, axis=1), np.delete(y, y > 3)),
        )

    same(f, X, M, 2, np.array([1, -1, 1]))


def test_differences_and_products() -> None:
    def f(x, m):
        y, rows = x[x > 0], m[x > 0]
        return (
            *(np.gradient(y), np.gradient(y, 0.5, edge_order=2) * y, np.gradient(y**2, y), np.gradient(y[:2])),
            *(np.gradient(y**2, y, edge_order=2), *np.gradient(rows), np.gradient(rows, 2.0, axis=0, edge_order=2)),
            *(np.convolve(y, [1.0, 2.0, 3.0]), np.convolve([1.0, 2.0], y, "same"), np.convolve(y, x[:3], "valid")),
            *(np.convolve(y, y[1:]), np.convolve(y[:1], x), np.correlate(y, x[:3]), np.correlate(y, x[:2], "full")),
            *(windows(y, 3), windows(y, 3).sum(axis=1), np.unwrap(3 * y), np.fmax.accumulate(y)),
        )

    same(f, X, M)


def test_derivatives() -> None:
    def f(x):
        y = x[x > 0]
        return np.sum(np.gradient(np.insert(y, 1, x[0]), edge_order=2) * np.sum(np.delete(x, 2))) + np.sum(
            np.convolve(y, x[:3]) ** 2
        )

    check_grads(f, (X,), order=1, modes=("rev",))


def test_refused() -> None:
    cases = [
        (lambda x, k: np.insert(x, k, 9.0), IndexError, "out of bounds for axis 0"),
        (lambda x, k: np.delete(x, k), IndexError, "out of bounds for axis 0"),
        (lambda x, k: np.delete(x[x > 0], 5), IndexError, "out of bounds for axis 0"),
        (lambda x, k: np.insert(x, 8, 9.0), IndexBoundsError, "index 8 is out of bounds"),
        (lambda x, k: np.delete(x, x[0]), IndexBoundsError, "must be an integer"),
        (lambda x, k: np.insert(x[x > 0], [0, 1], 9.0), UnsupportedError, "several positions"),
        (lambda x, k: np.gradient(x[x > 5]), ValueError, "too small"),
        (lambda x, k: np.convolve(x[x > 5], x, "same"), ShapeError, "at least as many"),
        (lambda x, k: np.convolve(x[x > 5], x[x > 0], "same"), UnsupportedError, "out of the full result"),
        (lambda x, k: np.convolve(x[x > 9], x), ValueError, "cannot be empty"),
        (lambda x, k: windows(x[x > 5], 3), ValueError, "larger than input"),
    ]
    for f, error, message in cases:
        with pytest.raises(error, match=message):
            jg.jit(f)(X, 7)
