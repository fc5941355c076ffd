"""Running extremes, places of extremes in long rows, and windows, against NumPy and central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg

import jitgrad as jg
from jitgrad.ir.core import operations

RNG = np.random.default_rng(0)
OPERANDS = {
    "vector": RNG.normal(size=9),
    "matrix": RNG.normal(size=(3, 5)),
    "single": RNG.normal(size=(2, 3, 40)).astype(np.float32),
    "nan": np.array([1.0, np.nan, 2.0, 3.0, np.nan]),
    "integers": RNG.integers(0, 5, (4, 4)),
    "bytes": RNG.integers(0, 200, 50).astype(np.uint8),
    "bool": RNG.integers(0, 2, 7) > 0,
    "long": RNG.normal(size=5000),
    "infinite": np.array([-np.inf, -np.inf, 1.0, np.inf, 2.0]),
}


def same(found: Any, expected: Any) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", OPERANDS)
@pytest.mark.parametrize("ufunc", [np.maximum, np.minimum, np.logical_or, np.logical_and, np.fmax, np.fmin])
def test_running_extremes(ufunc: np.ufunc, name: str) -> None:
    x = OPERANDS[name]
    for axis in range(x.ndim):
        same(jg.jit(lambda x, axis=axis: ufunc.accumulate(x, axis=axis))(x), ufunc.accumulate(x, axis=axis))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("ufunc", [np.maximum, np.minimum])
def test_derivatives_of_running_extremes(ufunc: np.ufunc, axis: int) -> None:
    x, w, step = RNG.normal(size=(4, 6)), RNG.normal(size=(4, 6)), 1e-6 * RNG.normal(size=(4, 6))

    def f(x):
        return np.sum(ufunc.accumulate(x, axis=axis) ** 2 * w)

    slope = (f(x + step) - f(x - step)) / 2
    np.testing.assert_allclose(np.sum(jg.grad(f)(x) * step), slope, rtol=1e-6)
    np.testing.assert_allclose(jg.jvp(f, (x,), (step,))[1], slope, rtol=1e-6)
    change = jg.grad(f)(x + step) - jg.grad(f)(x - step)
    np.testing.assert_allclose(np.tensordot(jg.hessian(f)(x), step, 2), change / 2, rtol=1e-5, atol=1e-14)
    np.testing.assert_array_equal(jg.vmap(lambda r: ufunc.accumulate(r))(x), ufunc.accumulate(x, axis=1))


def test_the_derivative_goes_to_the_first_of_equal_ones() -> None:
    x = np.array([1.0, 3.0, 3.0, 2.0])
    np.testing.assert_array_equal(jg.grad(lambda x: np.sum(np.maximum.accumulate(x)))(x), [1, 3, 0, 0])


# Places of extremes


@pytest.mark.parametrize("function", [np.argmax, np.argmin])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint16, np.bool_])
def test_places_of_extremes(dtype: type, function: Any) -> None:
    """In rows that are looked through once, and in those that are looked through twice; the first of equal ones."""
    for shape in ((1,), (16,), (17,), (1000,), (3, 40), (40, 3), (20, 5, 20)):
        x = (RNG.normal(size=shape) * 3).astype(dtype)
        same(jg.jit(function)(x), function(x))
        for axis in range(x.ndim):
            same(jg.jit(lambda x, axis=axis: function(x, axis=axis))(x), function(x, axis=axis))


@pytest.mark.parametrize("function", [np.argmax, np.argmin])
def test_places_of_nan_and_infinity(function: Any) -> None:
    special: list[tuple[Any, float]] = [([3], np.nan), ([1, 4], np.nan), ([0, -1], np.inf), ([2], -np.inf)]
    for n in (5, 40):
        for places, value in (*special, (slice(None), -np.inf)):
            x = RNG.normal(size=n)
            x[places] = value
            same(jg.jit(function)(x), function(x))
            same(jg.jit(lambda x: function(np.stack([x, -x]), axis=1))(x), function(np.stack([x, -x]), axis=1))
    zeros = np.zeros(40)
    zeros[::2] = -0.0
    same(jg.jit(function)(zeros), function(zeros))


# Windows


def index_arrays(f: Any, *args: Any) -> int:
    """The number of elements of the largest constant."""
    graph = jg.trace(f, *args)
    return max((int(op.attrs["value"].size) for op in operations(graph.ops) if op.name == "constant"), default=0)


def test_windows_have_no_index_arrays() -> None:
    x, v = RNG.normal(size=3000), RNG.normal(size=50)
    programs = {
        "windows": (lambda x, v: np.lib.stride_tricks.sliding_window_view(x, 50).mean(axis=1), x, v),
        "convolve": (np.convolve, x, v),
        "same": (lambda x, v: np.convolve(x, v, "same"), x, v),
        "correlate": (np.correlate, x, v),
        "toeplitz": (scipy.linalg.toeplitz, x[:60], x[100:140]),
        "hankel": (scipy.linalg.hankel, x[:60], x[100:140]),
    }
    for name, (f, *args) in programs.items():
        run: Any = jg.jit(f)
        np.testing.assert_allclose(run(*args), f(*args), rtol=1e-11, atol=1e-12, err_msg=name)
        assert index_arrays(f, *args) <= 1, name
        step, weights = RNG.normal(size=args[0].shape), RNG.normal(size=f(*args).shape)
        slope = jg.grad(lambda x, v, f=f, weights=weights: np.sum(f(x, v) * weights))(*args) @ step
        change = np.sum((f(args[0] + step, args[1]) - f(*args)) * weights)  # they are affine
        np.testing.assert_allclose(slope, change, rtol=1e-9, atol=1e-9, err_msg=name)


def test_windows_in_a_loop_and_for_each_example() -> None:
    def f(x):
        total = np.zeros(6)
        for _ in range(12):
            windows = np.lib.stride_tricks.sliding_window_view(x, 3)
            x = np.pad(windows.sum(axis=1) / 3, 1)
            total = total + x[:6]
        return total

    x = RNG.normal(size=(2, 8))
    np.testing.assert_allclose(jg.jit(f)(x[0]), f(x[0]), rtol=1e-12)
    np.testing.assert_allclose(jg.vmap(f)(x), np.stack([f(x[0]), f(x[1])]), rtol=1e-12)
