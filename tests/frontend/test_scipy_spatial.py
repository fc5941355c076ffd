"""``scipy.spatial.distance`` and ``scipy.cluster.vq``: values, derivatives, and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compared import check, normal
from scipy.cluster import vq
from scipy.spatial import distance
from scipy.spatial.distance import cdist, pdist, squareform

import jitgrad as jg
from jitgrad import errors
from jitgrad.testing import check_grads

NAMES = ["euclidean", "sqeuclidean", "cityblock", "chebyshev", "cosine", "correlation", "braycurtis", "canberra"]
NAMES += ["hamming", "jaccard", "minkowski"]
U, V, W = normal(5), normal(5, seed=1), np.abs(normal(5, seed=2)) + 0.2
VI = np.linalg.inv(np.cov(normal(5, 30)))


def test_vectors() -> None:
    def f(u: Any, v: Any, w: Any) -> Any:
        found = [getattr(distance, n)(u, v) for n in NAMES] + [getattr(distance, n)(u, v, w=w) for n in NAMES]
        found += [distance.minkowski(u, v, p) for p in (1, 3.5, np.inf)] + [distance.mahalanobis(u, v, VI)]
        return [*found, distance.seuclidean(u, v, w), distance.jensenshannon(u * u, v * v, 2.0)]

    check(f, U, V, W)
    check_grads(f, (U, V, W), order=1, modes=("rev",))


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_dtypes(dtype: Any) -> None:
    def f(u: Any, v: Any) -> Any:
        return [getattr(distance, n)(u, v) for n in NAMES]

    check(f, np.array([1, 0, 3, 2], dtype), np.array([0, 0, 5, 2], dtype), tol=1e-6)


def test_all_pairs() -> None:
    a, b = normal(9, 5), normal(3, 5, seed=1)

    def f(a: Any, b: Any) -> Any:
        found = [cdist(a, b, n) for n in NAMES] + [pdist(a, n) for n in NAMES]
        found += [cdist(a, b, "mi", p=3), cdist(a, b, "mahalanobis", VI=VI), cdist(a, b, "se", V=W)]
        found += [cdist(a, b, "seuclidean"), cdist(a, b, distance.cosine), cdist(a, b, w=W), pdist(a, "mahalanobis")]
        return [*found, pdist(a, "seuclidean"), squareform(pdist(a)), squareform(squareform(pdist(a)))]

    check(f, a, b, tol=1e-9)
    names = ("euclidean", "correlation", "minkowski")
    check_grads(
        lambda a, b: [*(cdist(a, b, n) for n in names), pdist(b, "cosine"), pdist(a)], (a, b), order=1, modes=("rev",)
    )


def test_gradient_at_equal_points_is_zero() -> None:
    def f(a: Any) -> Any:
        return sum(np.sum(cdist(a, a, n)) for n in ("euclidean", "minkowski", "canberra")) + np.sum(
            cdist(a, a, "minkowski", p=1.5)
        )

    assert not np.any(jg.grad(f)(np.ones((2, 3))))


def test_vector_quantisation() -> None:
    def f(x: Any, codes: Any) -> Any:
        return [*vq.vq(x, codes), vq.whiten(x)]

    check(f, normal(10, 2), normal(3, 2, seed=1), grads=True)
    check(f, normal(10).astype(np.float32), normal(3, seed=1).astype(np.float32), tol=1e-5)


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda x: squareform(x), errors.ShapeError, "square matrix"),
        (lambda x: squareform(x[:, :4]), ValueError, "must be symmetric"),
        (lambda x: cdist(x, x, "dice"), errors.UnsupportedError, "metric 'dice'"),
        (lambda x: cdist(x, x, lambda u, v: 1.0), errors.UnsupportedError, "differences of all pairs"),
        (lambda x: cdist(x, x, p=3), errors.UnsupportedError, "p="),
        (lambda x: cdist(x, x[:, :2]), errors.ShapeError, "equally many columns"),
        (lambda x: distance.euclidean(x, x), errors.ShapeError, "two vectors"),
        (lambda x: vq.kmeans(x, 2), errors.UnsupportedError, "iterates"),
    ],
)
def test_errors(function: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        jg.jit(function)(normal(4, 5))
