"""Functions of ``scipy.ndimage``: values in all modes, derivatives, and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compared import check, normal
from scipy import ndimage as ndi

import jitgrad as jg
from jitgrad import errors
from jitgrad.testing import check_grads

X = normal(7, 9)
CROSS = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
SLOPE = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize("mode", ["reflect", "constant", "mirror"])
def test_filters(mode: str) -> None:
    def f(x: Any) -> Any:
        weights = np.arange(12.0).reshape(3, 4)
        return [
            ndi.gaussian_filter(x, (1.3, 0.6), mode=mode, cval=0.7),
            ndi.gaussian_filter1d(x, 0.8, axis=0, order=1, mode=mode),
            ndi.uniform_filter(x, (3, 11), mode=mode, cval=0.3, origin=(1, -1)),
            ndi.correlate1d(x, [1.0, 2, 3, 4], axis=0, mode=mode, origin=1),
            ndi.convolve1d(x, [1.0, 2, 3, 4], mode=mode, origin=-1),
            ndi.correlate(x, weights, mode=mode, cval=0.2, origin=(1, -1)),
            ndi.convolve(x, weights, mode=mode, cval=0.2),
            ndi.sobel(x, 0, mode=mode),
            ndi.prewitt(x, mode=mode),
            ndi.laplace(x, mode=mode),
        ]

    check(f, X)


def test_derivatives_of_filters() -> None:
    def f(x: Any) -> Any:
        smooth = ndi.gaussian_filter(x, 0.6), ndi.uniform_filter(x, 3, mode="mirror"), ndi.sobel(x, mode="wrap")
        return [*smooth, ndi.maximum_filter(x, 9), ndi.median_filter(x, footprint=CROSS, mode="nearest")]

    check_grads(f, (X,), order=1, modes=("rev",))


@pytest.mark.parametrize("mode", ["reflect", "constant"])
def test_ranks(mode: str) -> None:
    def f(x: Any) -> Any:
        return [
            ndi.maximum_filter(x, 3, mode=mode, cval=0.1),
            ndi.minimum_filter(x, (4, 9), mode=mode, origin=(1, -1)),
            ndi.maximum_filter(x, footprint=CROSS, mode=mode),
            ndi.median_filter(x, 3, mode=mode),
            ndi.median_filter(x, footprint=CROSS, mode=mode),
            ndi.percentile_filter(x, 30, (2, 3), mode=mode),
            ndi.rank_filter(x, -1, 3, mode=mode),
            ndi.grey_erosion(x, structure=SLOPE, mode=mode),
            ndi.grey_dilation(x, structure=SLOPE, mode=mode),
            ndi.grey_dilation(x, (3, 2), mode=mode),
        ]

    check(f, X)


def test_traced_weights_and_widths() -> None:
    def f(v: Any, w: Any, c: Any, s: Any) -> Any:
        return [
            ndi.convolve1d(v, w, mode="constant", cval=c),
            ndi.gaussian_filter1d(v, s, radius=4),
            ndi.gaussian_filter1d(v, s, radius=4, order=2),
        ]

    args = normal(11), np.array([1.0, 0.5, 2.0]), np.array(0.4), np.array(1.4)
    check(f, *args)
    check_grads(f, args, order=1, modes=("rev",))


def test_wide_filters_and_axes() -> None:
    def f(v: Any, x: Any) -> Any:
        return [
            ndi.gaussian_filter1d(v, 20.0),
            ndi.uniform_filter1d(v, 30),
            ndi.maximum_filter1d(v, 25, mode="grid-wrap"),
            ndi.gaussian_filter(x, 1.5, axes=0),
            ndi.median_filter(x, 3, axes=(0,)),
            ndi.convolve(x, [1.0, 2, 3], axes=(0,)),
            ndi.gaussian_laplace(x, 1.0, axes=(0,)),
            ndi.gaussian_gradient_magnitude(x, 1.1),
        ]

    check(f, normal(11), X)
    assert not np.any(jg.grad(lambda x: np.sum(ndi.gaussian_gradient_magnitude(x, 1.0)))(np.zeros((4, 4))))


def test_shifted_slices_are_added_in_one_loop() -> None:
    source = jg.jit(lambda x: ndi.correlate1d(x, [1.0, 2.0, 3.0], mode="constant")).source(normal(50))
    assert source.count("3.0") == 1 and "2.0" in source


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.float32])
def test_dtypes(dtype: Any) -> None:
    x = (normal(6, 7) * 20 + 60).astype(dtype)

    def f(x: Any) -> Any:
        filters = (ndi.maximum_filter, ndi.median_filter, ndi.uniform_filter)
        found = [*(f(x, 3) for f in filters), ndi.sobel(x), ndi.laplace(x)]
        if x.dtype == bool:  # which are rounded down
            return found
        return [*found, ndi.gaussian_filter(x, 1.3), ndi.zoom(x, 2, order=1)]

    check(f, x, tol=1e-5)


def test_complex() -> None:
    check(lambda x: ndi.gaussian_filter(x, 1.3, mode="constant", cval=1 + 2j), X + 1j * X[::-1])


MODES = [(0, "reflect"), (1, "constant"), (1, "wrap"), (1, "grid-wrap"), (2, "nearest"), (3, "mirror")]


@pytest.mark.parametrize(("order", "mode"), [*MODES, (5, "grid-constant")])
def test_interpolation(order: int, mode: str) -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform(-6, 15, size=(2, 40))

    def f(x: Any) -> Any:
        options: dict[str, Any] = {"order": order, "mode": mode}
        return [
            ndi.map_coordinates(x, points, cval=0.3, **options),
            ndi.shift(x, (1.3, -0.6), cval=0.2, **options),
            ndi.zoom(x, (1.7, 0.6), **options),
            ndi.zoom(x, 1.5, grid_mode=True, **options),
            ndi.affine_transform(x, [[0.9, 0.2], [-0.1, 1.1]], (0.5, -1.0), (6, 7), **options),
            ndi.rotate(x, 33, **options),
        ]

    check(f, X, tol=1e-9)


def test_traced_transformations() -> None:
    def f(x: Any, c: Any, angle: Any, s: Any) -> Any:
        turned = ndi.rotate(x, angle, reshape=False, order=1)
        return [ndi.map_coordinates(x, c, order=2), turned, ndi.shift(x, s, order=1)]

    points = np.random.default_rng(1).uniform(1.1, 5.8, size=(2, 3))
    args = X, points, np.array(13.0), np.array(0.93)
    check(f, *args, tol=1e-9)
    check_grads(f, args, order=1, modes=("rev",))


def test_other_axes_and_long_splines() -> None:
    def f(x: Any, v: Any) -> Any:
        return [ndi.rotate(x, 20, axes=(2, 0)), ndi.zoom(x, (2, 1, 1)), ndi.spline_filter1d(v, mode="reflect")]

    check(f, normal(4, 5, 3), normal(600), tol=1e-9)


def test_labels() -> None:
    labels = np.random.default_rng(0).integers(0, 4, size=X.shape)

    def f(x: Any) -> Any:
        found = []
        for function in (ndi.sum_labels, ndi.mean, ndi.variance, ndi.standard_deviation, ndi.maximum, ndi.minimum):
            found += [function(x, labels, k) for k in ([1, 2, 3], 2)] + [function(x)]
        return [*found, ndi.maximum(x, labels, [5]), ndi.sum(x, labels), *ndi.center_of_mass(x * x)]

    check(f, X)
    check_grads(lambda x: ndi.standard_deviation(x, labels, [1, 2]), (X,), order=1)


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda x: ndi.label(x), errors.UnsupportedError, "belong together"),
        (lambda x: ndi.distance_transform_edt(x), errors.UnsupportedError, "nearest"),
        (lambda x: ndi.generic_filter(x, np.sum, 3), errors.UnsupportedError, "sliding_window_view"),
        (lambda x: ndi.zoom(x, x[0, 0]), errors.ConcretizationError, "traced factor"),
        (lambda x: ndi.gaussian_filter(x, x[0, 0]), errors.ConcretizationError, "needs radius="),
        (lambda x: ndi.gaussian_filter(x, 1, mode="what"), errors.ArgumentError, "mode 'what'"),
        (lambda x: ndi.maximum_filter(x), errors.ArgumentError, "needs a size"),
        (lambda x: ndi.convolve(x, [1.0]), errors.ShapeError, "as many axes"),
        (lambda x: ndi.convolve1d(x, [1.0, 2], origin=4), errors.ArgumentError, "origin"),
        (lambda x: ndi.map_coordinates(x, [[1.0]]), errors.ShapeError, "first axis"),
        (lambda x: ndi.rotate(x, x[0, 0]), errors.ConcretizationError, "reshape=False"),
        (lambda x: ndi.sobel(x, output=np.zeros((7, 9))), errors.UnsupportedError, "output="),
    ],
)
def test_errors(function: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        jg.jit(function)(X)


def test_vmap_and_python() -> None:
    batch = normal(3, 8)
    wanted = np.stack([ndi.gaussian_filter1d(v, 1.0) for v in batch])
    np.testing.assert_allclose(jg.vmap(lambda v: ndi.gaussian_filter1d(v, 1.0))(batch), wanted, rtol=1e-12)
    with jg.config.using(backend="python"):
        np.testing.assert_allclose(jg.jit(lambda v: ndi.gaussian_filter1d(v, 1.0))(batch), wanted, rtol=1e-12)
