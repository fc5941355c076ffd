"""The kernels of matrix products: every cut of the matrices, for vectors of every width, against NumPy."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.codegen import gemm_kernels
from jitgrad.codegen.gemm import shape_here
from jitgrad.codegen.gemm_kernels import Shape, emit_product, shape_for
from jitgrad.codegen.threads import control
from jitgrad.runtime import target
from jitgrad.runtime.linker import link

SHAPES = [shape_for(bits, *machine) for bits in (32, 64) for machine in ((128, 16), (128, 32), (256, 16), (512, 32))]


@functools.cache
def kernel(shape: Shape) -> Callable[..., int]:
    """A kernel as a function of three matrices; C may be added to."""
    module = target.new_module("kernel")
    emit_product(module, shape, "kernel")
    linked = link((target.compile_as_written(str(module), target.machine()),), ("kernel",), ())
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    types = [size] * 3 + [pointer, size, size] * 2 + [pointer, size, ctypes.c_bool]
    native = ctypes.CFUNCTYPE(ctypes.c_int64, *types)(linked.addresses["kernel"])

    def run(a: np.ndarray, b: np.ndarray, c: np.ndarray, add: bool = False) -> int:
        def strides(x: np.ndarray) -> list[int]:
            return [s // x.itemsize for s in x.strides]

        assert c.strides[1] == c.itemsize
        left, right = ([x.ctypes.data, *strides(x)] for x in (a, b))
        return native(*c.shape, a.shape[1], *left, *right, c.ctypes.data, strides(c)[0], add)

    run.linked = linked  # type: ignore[attr-defined]
    return run


def operands(m: int, n: int, k: int, dtype: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)


def extents(unit: int) -> list[int]:
    """Around a unit that matrices are cut by."""
    return [1, 2, unit - 1, unit, unit + 1, 2 * unit + 3]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_cut(shape: Shape) -> None:
    """Sizes around the tile's and the blocks', both orders of A and B, with and without what was there."""
    dtype = np.dtype(f"f{shape.bits // 8}")
    run = kernel(shape)
    block = shape.panels * shape.width
    sizes = [(m, n, 7) for m in extents(shape.rows) for n in extents(shape.width)]
    sizes += [(5, n, k) for n in extents(shape.lanes) for k in extents(shape.depth)]
    sizes += [(m, 2 * shape.width + 1, 3) for m in extents(gemm_kernels.PACKED * shape.rows)]
    sizes += [(m, n, 2) for m in (3, 50) for n in (block, block + 1)]
    sizes += [(m, n, 9) for m in (3, 50) for n in (shape.near, shape.near + 1)]
    for number, (m, n, k) in enumerate(sizes):
        a, b = operands(m, n, k, dtype, number)
        whole = np.full((m + 2, n + 5), np.nan, dtype)
        expected = a.astype(np.float64) @ b.astype(np.float64)
        scale = np.abs(a).astype(np.float64) @ np.abs(b) + 1
        for left in (a, np.asfortranarray(a)):
            for right in (b, np.asfortranarray(b)):
                c = whole[1:-1, 2 : 2 + n]
                c[...] = np.nan
                assert run(left, right, c) == 0
                assert np.all(np.abs(c - expected) <= k * np.finfo(dtype).eps * scale)
                c[...] = 1
                run(left, right, c, True)
                assert np.all(np.abs(c - expected - 1) <= (k + 1) * np.finfo(dtype).eps * scale)
        whole[1:-1, 2 : 2 + n] = np.nan
        assert np.isnan(whole).all(), "it wrote beyond the matrix"


@pytest.mark.parametrize("bits", [32, 64])
def test_the_bits_of_an_element_do_not_depend_on_where_it_lies(bits: int) -> None:
    shape = shape_here(bits)
    run = kernel(shape)
    m, n, k = 3 * shape.rows + 1, 2 * shape.width + 3, shape.depth + 9
    a, b = operands(m, n, k, f"f{bits // 8}")
    whole = np.empty((m, n), a.dtype)
    run(a, b, whole)
    for rows, columns in ((slice(1, 2), slice(5, None)), (slice(3, -2), slice(0, 3)), (slice(7, None), slice(1, 30))):
        part = np.empty(whole[rows, columns].shape, a.dtype)
        run(a[rows], np.asfortranarray(b[:, columns]), part)
        np.testing.assert_array_equal(part, whole[rows, columns])


def test_values_that_are_not_finite_stay_where_they_are() -> None:
    run = kernel(shape_here(64))
    a, b = operands(11, 13, 5, "f8")
    a[3, 2], b[4, 7] = np.nan, np.inf
    c = np.empty((11, 13))
    run(a, b, c)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(c, a @ b, rtol=1e-12)


THREADED = [(300, 200, 100), (9, 2500, 300), (2500, 9, 300), (150, 150, 150)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "n", "k"), THREADED)
def test_threads_do_not_change_a_bit(m: int, n: int, k: int, dtype: Any) -> None:
    def product(a, b):
        return a @ b, b.T @ a.T

    fast = jg.jit(product)
    a, b = operands(m, n, k, dtype)
    threads, launches = jg.get_num_threads(), control.launches
    results = []
    try:
        for count in range(1, threads + 1):
            jg.set_num_threads(count)
            control.rest = 0
            results.append(fast(a, b))
    finally:
        jg.set_num_threads(threads)
    assert threads == 1 or control.launches > launches
    for first, second in results:
        np.testing.assert_array_equal(first, results[0][0])
        np.testing.assert_array_equal(second, first.T)
        tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-10}
        np.testing.assert_allclose(first, a @ b, **tolerance)


def test_batches_on_threads() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 3, 70, 65, 65))

    def products(a, b):
        return a @ b, a @ b[0, 0], np.einsum("zyij,zykj->zyki", a, b)

    for found, expected in zip(jg.jit(products)(a, b), products(a, b), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11)


def test_loops_with_products_in_them_run_on_threads() -> None:
    @jg.jit
    def each(x, w):
        out = np.empty((len(x), 40, 30))
        for i in range(len(x)):
            out[i] = np.tanh(x[i] @ w)
        return out

    x, w = np.random.default_rng(1).standard_normal((200, 40, 50)), np.random.default_rng(2).standard_normal((50, 30))
    np.testing.assert_allclose(each(x, w), np.tanh(x @ w), rtol=1e-11, atol=1e-12)
    assert "runs on threads" in each.explain(x, w)


def test_one_thread_where_loops_are_not_parallel() -> None:
    a, b = operands(300, 200, 100, "f8")
    for parallel in (True, False):
        with jg.config.using(parallel=parallel):
            fast = jg.jit(lambda a, b: a @ b)
            np.testing.assert_allclose(fast(a, b), a @ b, rtol=1e-10, atol=1e-11)
            assert ("numba_parallel_for" in fast.llvm(a, b)) == parallel
