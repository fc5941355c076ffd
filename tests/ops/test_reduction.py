"""Reductions and scans: NumPy's values and corner cases, and derivatives where a rule could go wrong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from opcheck import cotangents, hessian_product, jacobian, pull_back, tangent, value

from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.core import Builder
from jitgrad.ir.types import TensorType, f32, f64, i64

NUMPY = {
    "reduce_sum": np.sum,
    "reduce_prod": np.prod,
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_any": np.any,
    "reduce_all": np.all,
}
AXES = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("axes", AXES)
def test_values_are_numpys(name: str, axes: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4)).round(1)
    x[0, :, 1] = 0.0
    np.testing.assert_allclose(value(name, x, axes=axes), NUMPY[name](x, axis=axes), rtol=1e-14)


@pytest.mark.parametrize("name", ["reduce_max", "reduce_min", "reduce_sum", "reduce_prod"])
def test_nan_reaches_the_result(name: str) -> None:
    x = np.array([[1.0, np.nan, 3.0], [np.nan, np.inf, -np.inf], [1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(np.isnan(value(name, x, axes=(1,))), [True, True, False])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.float32])
def test_dtype_is_kept(dtype: type) -> None:
    x = np.array([[100, 100], [3, 4]], dtype)
    out = value("reduce_sum", x, axes=(1,))
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, np.sum(x, axis=1, dtype=dtype))


def test_sum_of_bool_is_any_and_product_is_all() -> None:
    x = np.array([[True, True], [True, False], [False, False]])
    np.testing.assert_array_equal(value("reduce_sum", x, axes=(1,)), [True, True, False])
    np.testing.assert_array_equal(value("reduce_prod", x, axes=(1,)), [True, False, False])
    np.testing.assert_array_equal(value("reduce_max", x, axes=(1,)), [True, True, False])
    np.testing.assert_array_equal(value("reduce_min", x, axes=(1,)), [True, False, False])


def test_empty_reductions_give_the_identity() -> None:
    x = np.zeros((3, 0))
    for name, identity in [("reduce_sum", 0), ("reduce_prod", 1), ("reduce_any", False), ("reduce_all", True)]:
        np.testing.assert_array_equal(value(name, x, axes=(1,)), np.full(3, identity))


@pytest.mark.parametrize("name", ["reduce_max", "reduce_min"])
@pytest.mark.parametrize("axes", [(1,), (0, 1)])
def test_empty_extremum_raises_as_numpy(name: str, axes: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"zero-size array to reduction operation .*imum which has no identity"):
        value(name, np.zeros((3, 0)), axes=axes)
    assert value(name, np.zeros((3, 0)), axes=(0,)).shape == (0,)


@pytest.mark.parametrize(
    ("axes", "message"), [((2,), "axis 2 is out of bounds"), ((1, 1), "duplicate"), ((1, 0), "sorted")]
)
def test_wrong_axes_are_rejected(axes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        value("reduce_sum", np.zeros((2, 3)), axes=axes)


def test_ties_split_evenly() -> None:
    x = np.array([[1.0, 2.0, 2.0], [2.0, 0.0, 2.0]])
    np.testing.assert_allclose(cotangents("reduce_max", [1.0, 3.0], x, axes=(1,))[0], [[0, 0.5, 0.5], [1.5, 0, 1.5]])
    np.testing.assert_allclose(cotangents("reduce_max", 1.0, x, axes=(0, 1))[0], [[0, 0.25, 0.25], [0.25, 0, 0.25]])
    np.testing.assert_allclose(cotangents("reduce_min", [1.0, 2.0, 4.0], x, axes=(0,))[0], [[1, 0, 2], [0, 2, 2]])
    t = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(tangent("reduce_max", [t], x, axes=(1,)), [1.5, 4.0])


def test_nan_is_the_extremum_in_derivatives_too() -> None:
    x = np.array([1.0, np.nan, 3.0, np.nan])
    np.testing.assert_allclose(cotangents("reduce_max", 1.0, x, axes=(0,))[0], [0, 0.5, 0, 0.5])


def test_tangent_of_an_element_that_lost_is_not_read() -> None:
    assert tangent("reduce_max", [[np.inf, 2.0]], [1.0, 5.0], axes=(0,)) == 2.0


def products(x: np.ndarray, without: tuple[int, ...]) -> float:
    """The product of all elements but some, by its definition."""
    return float(np.prod([v for k, v in enumerate(x.ravel()) if k not in without]))


@pytest.mark.parametrize("zeros", [(), (1,), (0, 2), (0, 1, 3)])
def test_derivatives_of_a_product_with_zeros(zeros: tuple[int, ...]) -> None:
    x = np.array([2.0, -3.0, 0.5, 7.0])
    x[list(zeros)] = 0.0
    n = x.size
    np.testing.assert_allclose(jacobian("reduce_prod", x, axes=(0,)), [products(x, (k,)) for k in range(n)])
    hessian = np.array([[0.0 if j == k else products(x, (j, k)) for j in range(n)] for k in range(n)])
    for t in np.eye(n):
        np.testing.assert_allclose(hessian_product("reduce_prod", 1.5, t, x, axes=(0,)), 1.5 * hessian @ t)


def test_derivative_of_a_product_over_two_axes() -> None:
    x = np.random.default_rng(2).normal(size=(2, 3, 2))
    x[1, 0, 1] = 0.0
    expected = np.zeros((3, 2, 3, 2))
    for j in range(3):
        part = x[:, j, :]
        expected[j, :, j, :] = np.reshape([products(part, (k,)) for k in range(4)], (2, 2))
    np.testing.assert_allclose(jacobian("reduce_prod", x, axes=(0, 2)), expected)


@pytest.mark.parametrize(("name", "reference"), [("argmax", np.argmax), ("argmin", np.argmin)])
@pytest.mark.parametrize("axis", [0, 1])
def test_position_of_the_extremum(name: str, reference: object, axis: int) -> None:
    x = np.array([[1.0, np.nan, np.nan, 3.0], [np.inf, 2.0, np.inf, 3.0], [-0.0, 0.0, -0.0, 3.0]])
    out = value(name, x, axis=axis)
    assert out.dtype == np.int64
    np.testing.assert_array_equal(out, reference(x, axis=axis))
    np.testing.assert_array_equal(value(name, x > 1, axis=axis), reference(x > 1, axis=axis))


def test_position_in_an_empty_axis_raises_as_numpy() -> None:
    with pytest.raises(ShapeError, match="attempt to get argmax of an empty sequence"):
        value("argmax", np.zeros((2, 0)), axis=1)
    with pytest.raises(ShapeError, match="axis 2 is out of bounds for array of dimension 2"):
        value("argmin", np.zeros((2, 3)), axis=2)


def test_masks_are_repeated_and_extrema_give_one() -> None:
    x = np.array([[1.0, 2.0], [4.0, 3.0]])
    g, mask = np.array([5.0, 0.0]), np.array([True, False])
    ((cotangent, moved),) = pull_back("reduce_sum", g, mask, x, axes=(1,))
    np.testing.assert_array_equal(cotangent, [[5, 5], [0, 0]])
    np.testing.assert_array_equal(moved, [[True, True], [False, False]])
    ((cotangent, moved),) = pull_back("reduce_max", g, mask, x, axes=(1,))
    np.testing.assert_array_equal(cotangent, [[0, 5], [0, 0]])
    np.testing.assert_array_equal(moved, [[False, True], [False, False]])
    ((_, moved),) = pull_back("reduce_max", g, None, x, axes=(1,))
    np.testing.assert_array_equal(moved, [[False, True], [True, False]])
    x[1] = np.inf
    ((cotangent, moved),) = pull_back("reduce_prod", g, mask, x, axes=(1,))
    np.testing.assert_array_equal(cotangent, [[10, 5], [0, 0]])
    np.testing.assert_array_equal(moved, [[True, True], [False, False]])


# Scans


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("name", "reference"), [("cumsum", np.cumsum), ("cumprod", np.cumprod)])
def test_scans_are_numpys(name: str, reference: object, axis: int, reverse: bool) -> None:
    x = np.random.default_rng(3).normal(size=(2, 3, 4))
    flipped = np.flip(x, axis) if reverse else x
    expected = reference(flipped, axis=axis)
    expected = np.flip(expected, axis) if reverse else expected
    np.testing.assert_allclose(value(name, x, axis=axis, reverse=reverse), expected, rtol=1e-14)


def test_scans_keep_dtype_and_sign_of_zero() -> None:
    x = np.array([100, 100, -3], np.int8)
    np.testing.assert_array_equal(value("cumsum", x, axis=0, reverse=False), np.cumsum(x, dtype=np.int8))
    out = value("cumsum", np.array([-0.0, -0.0]), axis=0, reverse=False)
    np.testing.assert_array_equal(np.signbit(out), [True, True])
    b = np.array([False, True, False])
    np.testing.assert_array_equal(value("cumsum", b, axis=0, reverse=False), [False, True, True])
    np.testing.assert_array_equal(value("cumprod", ~b, axis=0, reverse=False), [True, False, False])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("zeros", [(), (0,), (4,), (1, 3), (2, 3)])
def test_derivatives_of_running_products_with_zeros(zeros: tuple[int, ...], reverse: bool) -> None:
    x = np.array([2.0, -3.0, 0.5, 7.0, 1.5])
    x[list(zeros)] = 0.0
    n = x.size
    inside = [range(k, n) if reverse else range(k + 1) for k in range(n)]  # the factors of each result

    def partial(k: int, *by: int) -> float:
        if len(set(by)) < len(by) or any(j not in inside[k] for j in by):
            return 0.0
        return float(np.prod([x[j] for j in inside[k] if j not in by]))

    expected = [[partial(k, j) for j in range(n)] for k in range(n)]
    np.testing.assert_allclose(jacobian("cumprod", x, axis=0, reverse=reverse), expected)
    g, t = np.array([1.0, 2.0, -1.0, 3.0, 0.5]), np.array([0.3, -1.0, 2.0, 1.0, -0.7])
    second = np.zeros(n)
    for k, i, j in itertools.product(range(n), repeat=3):
        second[i] += g[k] * partial(k, i, j) * t[j]
    np.testing.assert_allclose(hessian_product("cumprod", g, t, x, axis=0, reverse=reverse), second, atol=1e-12)


def test_linear_scan_is_its_recurrence() -> None:
    a, b = np.array([np.nan, 2.0, 0.0, 3.0]), np.array([1.0, 1.0, 5.0, 1.0])
    np.testing.assert_array_equal(value("linear_scan", a, b, axis=0, reverse=False), [1, 3, 5, 16])
    a = np.array([2.0, 0.0, 3.0, np.nan])
    np.testing.assert_array_equal(value("linear_scan", a, b, axis=0, reverse=True), [3, 1, 8, 1])


def test_linear_scan_rejects_what_it_cannot_compute() -> None:
    builder = Builder("g")
    x, y, n = (builder.param(t) for t in (TensorType(f64, (3,)), TensorType(f32, (3,)), TensorType(i64, (3,))))
    with pytest.raises(ShapeError, match="one dtype and shape"):
        builder.emit("linear_scan", x, y, axis=0)
    with pytest.raises(DtypeError, match="does not take i64"):
        builder.emit("linear_scan", n, n, axis=0)
    with pytest.raises(ShapeError, match="axis 1 is out of bounds"):
        builder.emit("cumsum", x, axis=1, reverse=False)


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_masks_of_scans_reach_back(name: str) -> None:
    x, g = np.array([1.0, 2.0, np.inf, 3.0]), np.array([1.0, 1.0, 0.0, 0.0])
    ((cotangent, mask),) = pull_back(name, g, [True, True, False, False], x, axis=0)
    np.testing.assert_array_equal(mask, [True, True, False, False])
    np.testing.assert_array_equal(cotangent, {"cumsum": [2, 1, 0, 0], "cumprod": [3, 1, 0, 0]}[name])
