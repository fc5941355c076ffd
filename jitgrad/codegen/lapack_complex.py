"""Library calls for complex matrices. Loop IR is real: a complex matrix is a buffer with a last axis of two, the real
and the imaginary part, which is what LAPACK takes.

All work on stacks of ``count`` matrices of order ``n``, column-major. Conventions and statuses are those of
:mod:`jitgrad.codegen.lapack`.

* ``getrf_complex``: outs (lu, pivots), ins (lu,): as ``getrf``.
* ``heevd``: outs (a, w, work, rwork, iwork), ins (a,). The lower triangles of Hermitian matrices are replaced by the
  eigenvectors; ``w`` takes the eigenvalues. ``work`` has 2 (2 n + n^2) elements, ``rwork`` 1 + 5 n + 2 n^2 and
  ``iwork``, of int32, 3 + 5 n.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from jitgrad.codegen.externs import I64, call, offset
from jitgrad.codegen.lapack import NO_CONVERGENCE, Arrays, Status, lapack_routine


def whole(dtype: np.dtype) -> np.dtype:
    """The complex dtype with such parts."""
    return np.result_type(dtype, np.complex64)


def heevd_sizes(n: int) -> tuple[int, int, int]:
    """Elements of ``work`` (complex), ``rwork`` and ``iwork``."""
    return 2 * n + n * n, 1 + 5 * n + 2 * n * n, 3 + 5 * n


def _matrices(array: np.ndarray, n: int) -> np.ndarray:
    """A view of the stack as complex, (count, n, n)."""
    return array.reshape(-1).view(whole(array.dtype)).reshape(-1, n, n)


# Python


def getrf_python(outs: Arrays, ins: Arrays, *, n: int, count: int) -> int:
    """LU factors with partial pivoting, in place."""
    getrf = lapack_routine("getrf", whole(outs[0].dtype))
    for z, a in enumerate(_matrices(outs[0], n)):
        lu, pivots, _ = getrf(a.T)
        a[...] = lu.T
        outs[1].reshape(-1, n)[z] = pivots + 1
    return 0


def heevd_python(outs: Arrays, ins: Arrays, *, n: int, count: int) -> int:
    """Eigenvectors of Hermitian matrices, in place, and eigenvalues."""
    heevd = lapack_routine("heevd", whole(outs[0].dtype))
    for z, a in enumerate(_matrices(outs[0], n)):
        w, v, info = heevd(a.T, compute_v=1, lower=1)
        if info:
            return NO_CONVERGENCE
        outs[1].reshape(-1, n)[z] = w
        a[...] = v.T
    return 0


# LLVM. Each function has the arguments (builder, outs, ins, static, out_buffers, in_buffers).


def _matrix(builder: ir.IRBuilder, pointer: Any, item: Any, n: int) -> Any:
    return offset(builder, pointer, builder.mul(item, I64(2 * n * n)))


def getrf_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> None:
    n, status = static["n"], Status(builder)
    with cgutils.for_range(builder, I64(static["count"])) as loop:
        a = _matrix(builder, outs[0], loop.index, n)
        pivots = offset(builder, outs[1], builder.mul(loop.index, I64(n)))
        call(builder, "getrf", whole(out_buffers[0].dtype), [n, n, a, n, pivots, status.info])


def heevd_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> Any:
    n, status = static["n"], Status(builder)
    _, w, work, rwork, iwork = outs
    sizes = heevd_sizes(n)
    with cgutils.for_range(builder, I64(static["count"])) as loop:
        a = _matrix(builder, outs[0], loop.index, n)
        values = offset(builder, w, builder.mul(loop.index, I64(n)))
        spaces = [work, sizes[0], rwork, sizes[1], iwork, sizes[2]]
        call(builder, "heevd", whole(out_buffers[0].dtype), ["V", "L", n, a, n, values, *spaces, status.info])
        status.fail_if_info(NO_CONVERGENCE, loop)
    return status.value()
