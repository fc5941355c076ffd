"""The library call ``gemm``: batched matrix products of strided views, by BLAS.

    C[z][i, j] = sum over p of A[z][i, p] * B[z][p, j]        z: a batch index, i < m, j < n, p < k

Buffers are flat. Static parameters: ``m``, ``n``, ``k``; ``batch``, a tuple of extents; ``a``, ``b`` and ``c``, the
(row, column) strides of one matrix, one of which is 1; ``a_batch``, ``b_batch`` and ``c_batch``, the strides along
each axis of ``batch`` (0 repeats a matrix). Strides count elements. The dtype is float32 or float64. With ``add`` the
product is added to what is in C, which then is also the last of the arrays that are read. Where ``m`` or ``n`` is 1
this is a product with a vector, by ``gemv``, and the vectors may have any stride.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from jitgrad.codegen.externs import I64, call, linear, offset

Strides = tuple[int, int]


def strided(flat: np.ndarray, shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    """A view of a contiguous array with strides in elements."""
    flat = flat.reshape(-1)
    return np.lib.stride_tricks.as_strided(flat, tuple(shape), tuple(s * flat.itemsize for s in strides))


def gemm_python(
    outs: Sequence[np.ndarray],
    ins: Sequence[np.ndarray],
    *,
    m: int,
    n: int,
    k: int,
    a: Strides,
    b: Strides,
    c: Strides,
    batch: tuple[int, ...] = (),
    a_batch: tuple[int, ...] = (),
    b_batch: tuple[int, ...] = (),
    c_batch: tuple[int, ...] = (),
    add: bool = False,
) -> int:
    """The product by ``np.matmul``; see the module's docstring. Returns 0."""
    left = strided(ins[0], (*batch, m, k), (*a_batch, *a))
    right = strided(ins[1], (*batch, k, n), (*b_batch, *b))
    target = strided(outs[0], (*batch, m, n), (*c_batch, *c))
    target[...] = np.matmul(left, right) + (target if add else 0)
    return 0


def _leading(rows: int, cols: int, strides: Strides) -> tuple[bool, int] | None:
    """``(by_rows, leading dimension)`` of a matrix, or None where neither axis is contiguous."""
    if strides[1] == 1 or cols == 1:
        return True, max(strides[0], cols)
    if strides[0] == 1 or rows == 1:
        return False, max(strides[1], rows)
    return None


@contextlib.contextmanager
def batch_loops(builder: ir.IRBuilder, batch: Sequence[int]) -> Any:
    """Emit a nest of loops over ``batch``; yields the index, one i64 an axis."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(cgutils.for_range(builder, I64(extent))).index for extent in batch]


def gemm_emit(
    builder: ir.IRBuilder,
    outs: Sequence[Any],
    ins: Sequence[Any],
    static: dict[str, Any],
    out_buffers: Sequence[Any],
    in_buffers: Sequence[Any],
) -> None:
    """Call BLAS, in loops over the batch."""
    m, n, k = static["m"], static["n"], static["k"]
    batch = static.get("batch", ())
    left = (ins[0], static["a"], static.get("a_batch", ()))
    right = (ins[1], static["b"], static.get("b_batch", ()))
    c, c_batch = static["c"], static.get("c_batch", ())
    by_rows, ldc = _leading(m, n, c) or (True, 0)
    if not by_rows or (m == 1 and n > 1):  # C lies by columns: C^T = B^T A^T lies by rows. A vector: make it a column.
        m, n = n, m
        left, right = (right[0], right[1][::-1], right[2]), (left[0], left[1][::-1], left[2])
        c = c[::-1]
    a_rows, lda = _leading(m, k, left[1]) or (True, 0)
    b_rows, ldb = _leading(k, n, right[1]) or (True, 0)
    dtype, kept = out_buffers[0].dtype, float(static.get("add", False))
    assert ldc and lda and ldb, static
    with batch_loops(builder, batch) as index:
        pa = offset(builder, left[0], linear(builder, index, left[2]))
        pb = offset(builder, right[0], linear(builder, index, right[2]))
        pc = offset(builder, outs[0], linear(builder, index, c_batch))
        if n == 1:
            shape = ("T", k, m) if a_rows else ("N", m, k)
            call(builder, "gemv", dtype, [*shape, 1.0, pa, lda, pb, max(right[1][0], 1), kept, pc, max(c[0], 1)])
        else:
            # Row-major C is column-major C^T = B^T A^T, and row-major A is column-major A^T.
            flags = ("N" if b_rows else "T", "N" if a_rows else "T")
            call(builder, "gemm", dtype, [*flags, n, m, k, 1.0, pb, ldb, pa, lda, kept, pc, ldc])
