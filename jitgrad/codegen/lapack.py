"""Library calls for linear algebra: Cholesky and LU factorization, solves with the factors, inverse, adjugate.

All work on stacks of square matrices, by LAPACK. ``static`` has ``n``, the order, and ``count``, the number of
matrices, except where said. "Column-major" below means that the row-major buffer holds the transpose. Every function
returns a status (a key of ``jitgrad.loopir.failures.FAILURES``): 0, 2 (singular), 3 (not positive definite), 6 (no
convergence).
An array that is both in ``outs`` and ``ins`` is overwritten.

* ``potrf``: outs (l,), ins (l,). The lower triangle is replaced by the Cholesky factor; the rest is left alone.
* ``getrf``: outs (lu, pivots), ins (lu,). ``lu`` is column-major; pivots are int32, from 1, as LAPACK has them. A zero
  pivot is not an error here.
* ``getrs``: outs (x,), ins (x, lu, pivots). ``x`` is (..., n, k), row-major, replaced by the solution of ``A x = b``,
  or of ``A^T x = b`` with ``trans``. ``batch`` is the shape of the stack of right sides and ``lu_batch`` the strides of
  the matrices along it (0 repeats one), in matrices. Status 2 where a pivot is zero.
* ``trtrs``: outs (x,), ins (x, a): the same for a triangular matrix ``a``, row-major, of which only the ``lower`` (or
  upper) triangle is read; with ``unit``, the diagonal is taken as 1 and not read. ``a_batch`` as ``lu_batch``.
* ``getri``: outs (a, work), ins (a, pivots). The column-major LU factors are replaced by the inverse, column-major.
* ``gbsv``: outs (x, ab, pivots), ins (x, ab). ``x``, of n rows and k columns, column-major, is replaced by the
  solution of ``A x = b``, or of ``A^T x = b`` with ``trans``. ``ab`` has 2 ``below`` + ``above`` + 1 rows,
  column-major, of which the first ``below`` are workspace, and is overwritten. Status 2 where a pivot is zero. There is
  one matrix.
* ``adjugate``: outs (adj, work, scratch, swaps), ins (a, lu, pivots), all matrices column-major: ``det(A) * A^-1``,
  and its limit where ``A`` is singular. ``scratch`` has n*n elements; ``swaps`` is int32 of 2*n.
* ``syevd``: outs (a, w, work, iwork), ins (a,). The lower triangles of symmetric matrices, column-major, are replaced
  by the eigenvectors, column-major; ``w`` takes the eigenvalues. ``work`` has 1 + 6 n + 2 n^2 elements here, and
  ``iwork``, of int32, 3 + 5 n. With ``vectors`` False the matrices are overwritten with anything, ``work`` has
  ``n * (BLOCK + 2)`` elements and ``iwork`` 1.

``work`` has ``n * BLOCK`` elements elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from jitgrad.codegen.externs import I1, I32, I64, call, linear, llvm_type, load_element, offset, store_element

SINGULAR, NOT_POSITIVE_DEFINITE, NO_CONVERGENCE = 2, 3, 6

#: Columns of workspace for ``getri``; LAPACK's block size is at most this.
BLOCK = 64

Arrays = Sequence[np.ndarray]


def lapack_routine(name: str, dtype: np.dtype) -> Any:
    """SciPy's wrapper of a LAPACK routine."""
    from scipy.linalg import lapack

    return lapack.get_lapack_funcs(name, dtype=dtype)


def _matrices(array: np.ndarray, n: int) -> np.ndarray:
    """A view of the stack as (count, n, n)."""
    return array.reshape(-1, n, n)


# Python


def potrf_python(outs: Arrays, ins: Arrays, *, n: int, count: int) -> int:
    """Cholesky factors of lower triangles, in place."""
    potrf = lapack_routine("potrf", outs[0].dtype)
    for z in range(count):
        a = _matrices(outs[0], n)[z]
        factor, info = potrf(a.T, lower=0, clean=0)
        if info:
            return NOT_POSITIVE_DEFINITE
        a[...] = np.tril(factor.T) + np.triu(a, 1)
    return 0


def getrf_python(outs: Arrays, ins: Arrays, *, n: int, count: int) -> int:
    """LU factors with partial pivoting, in place."""
    getrf = lapack_routine("getrf", outs[0].dtype)
    for z in range(count):
        a = _matrices(outs[0], n)[z]
        lu, pivots, _ = getrf(a.T)
        a[...] = lu.T
        outs[1].reshape(-1, n)[z] = pivots + 1
    return 0


def offsets(batch: Sequence[int], strides: Sequence[int]) -> list[int]:
    """The number of the matrix that belongs to each item of a stack of shape ``batch``."""
    index = itertools.product(*(range(e) for e in batch))
    return [sum(i * s for i, s in zip(z, strides, strict=True)) for z in index]


def getrs_python(
    outs: Arrays, ins: Arrays, *, n: int, k: int, batch: tuple[int, ...], lu_batch: tuple[int, ...], trans: bool
) -> int:
    """Solve with LU factors, in place."""
    getrs = lapack_routine("getrs", outs[0].dtype)
    x, lu, pivots = outs[0].reshape(-1, n, k), _matrices(ins[1], n), ins[2].reshape(-1, n)
    for z, at in enumerate(offsets(batch, lu_batch)):
        if not np.all(np.diagonal(lu[at])):
            return SINGULAR
        x[z] = getrs(lu[at].T, pivots[at] - 1, x[z], trans=int(trans))[0]
    return 0


def trtrs_python(
    outs: Arrays,
    ins: Arrays,
    *,
    n: int,
    k: int,
    batch: tuple[int, ...],
    a_batch: tuple[int, ...],
    lower: bool,
    trans: bool,
    unit: bool,
) -> int:
    """Solve with a triangular matrix, in place."""
    trtrs = lapack_routine("trtrs", outs[0].dtype)
    x, a = outs[0].reshape(-1, n, k), _matrices(ins[1], n)
    for z, at in enumerate(offsets(batch, a_batch)):
        x[z], info = trtrs(a[at], x[z], lower=int(lower), trans=int(trans), unitdiag=int(unit))
        if info:
            return SINGULAR
    return 0


def getri_python(outs: Arrays, ins: Arrays, *, n: int, count: int) -> int:
    """Inverses from LU factors, in place."""
    getri = lapack_routine("getri", outs[0].dtype)
    for z in range(count):
        a = _matrices(outs[0], n)[z]
        inverse, info = getri(a.T, ins[1].reshape(-1, n)[z] - 1)
        if info:
            return SINGULAR
        a[...] = inverse.T
    return 0


def gbsv_python(outs: Arrays, ins: Arrays, *, n: int, k: int, below: int, above: int, trans: bool) -> int:
    """Solve with a banded matrix, in place."""
    x, ab = outs[0].reshape(k, n), outs[1].reshape(n, -1)
    lu, pivots, info = lapack_routine("gbtrf", ab.dtype)(ab.T, below, above)
    if info:
        return SINGULAR
    x[...] = lapack_routine("gbtrs", ab.dtype)(lu, below, above, x.T, pivots, trans=int(trans))[0].T
    return 0


def syevd_python(outs: Arrays, ins: Arrays, *, n: int, count: int, vectors: bool) -> int:
    """Eigenvectors of symmetric matrices, in place, and eigenvalues."""
    syevd = lapack_routine("syevd", outs[0].dtype)
    for z in range(count):
        a = _matrices(outs[0], n)[z]
        w, v, info = syevd(a.T, compute_v=int(vectors), lower=1)
        if info:
            return NO_CONVERGENCE
        outs[1].reshape(-1, n)[z] = w
        if vectors:
            a[...] = v.T
    return 0


def adjugate_matrix(a: np.ndarray) -> np.ndarray:
    """``det(a) * inv(a)`` of one square matrix, or its limit where that is singular, from the singular values."""
    u, s, vh = np.linalg.svd(a)
    others = np.array([np.prod(np.delete(s, i)) for i in range(len(s))], a.dtype)
    return np.linalg.det(u) * np.linalg.det(vh) * (vh.T * others) @ u.T


def adjugate_python(outs: Arrays, ins: Arrays, *, n: int, count: int) -> int:
    """Adjugates."""
    for z in range(count):
        _matrices(outs[0], n)[z] = adjugate_matrix(_matrices(ins[0], n)[z].T).T
    return 0


# LLVM. Each function has the arguments (builder, outs, ins, static, out_buffers, in_buffers).


class Status:
    """The status of a call and the flag word that LAPACK writes."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder
        self.status = cgutils.alloca_once_value(builder, I64(0))
        self.info = cgutils.alloca_once(builder, I32)

    def fail_if(self, failed: Any, code: int, loop: Any) -> None:
        """Leave a ``for_range`` loop with a status where ``failed``."""
        with self.builder.if_then(failed, likely=False):
            self.builder.store(I64(code), self.status)
            loop.do_break()

    def fail_if_info(self, code: int, loop: Any) -> None:
        """The same where LAPACK's info is not zero."""
        self.fail_if(self.builder.icmp_signed("!=", self.builder.load(self.info), I32(0)), code, loop)

    def value(self) -> Any:
        return self.builder.load(self.status)


def potrf_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> Any:
    n, status = static["n"], Status(builder)
    with cgutils.for_range(builder, I64(static["count"])) as loop:
        a = offset(builder, outs[0], builder.mul(loop.index, I64(n * n)))
        # The lower triangle by rows is the upper one by columns; U^T U = A there is L L^T = A here.
        call(builder, "potrf", out_buffers[0].dtype, ["U", n, a, n, status.info])
        status.fail_if_info(NOT_POSITIVE_DEFINITE, loop)
    return status.value()


def getrf_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> None:
    n, status = static["n"], Status(builder)
    with cgutils.for_range(builder, I64(static["count"])) as loop:
        a = offset(builder, outs[0], builder.mul(loop.index, I64(n * n)))
        pivots = offset(builder, outs[1], builder.mul(loop.index, I64(n)))
        call(builder, "getrf", out_buffers[0].dtype, [n, n, a, n, pivots, status.info])


def has_zero_diagonal(builder: Any, a: Any, n: int) -> Any:
    """An i1: one of the diagonal entries of a matrix is zero."""
    zero = cgutils.alloca_once(builder, I1)
    builder.store(I1(0), zero)
    with cgutils.for_range(builder, I64(n)) as loop:
        entry = load_element(builder, a, builder.mul(loop.index, I64(n + 1)))
        is_zero = builder.fcmp_ordered("==", entry, ir.Constant(entry.type, 0.0))
        builder.store(builder.or_(builder.load(zero), is_zero), zero)
    return builder.load(zero)


def _emit_swaps(builder: Any, x: Any, pivots: Any, n: int, k: int, dtype: np.dtype, backward: bool) -> None:
    """Exchange the rows of ``x`` (n, k) as the pivots say, first to last or last to first."""
    with cgutils.for_range(builder, I64(n)) as loop:
        row = builder.sub(I64(n - 1), loop.index) if backward else loop.index
        other = builder.sub(builder.sext(load_element(builder, pivots, row), I64), I64(1))
        with builder.if_then(builder.icmp_signed("!=", row, other)):
            p, q = (offset(builder, x, builder.mul(r, I64(k))) for r in (row, other))
            call(builder, "swap", dtype, [k, p, 1, q, 1])


def _emit_triangular(
    builder: Any, a: Any, x: Any, n: int, k: int, dtype: np.dtype, upper: bool, trans: bool, unit: bool
) -> None:
    """``op(A) x = b`` in place: A triangular, column-major; x (n, k) row-major, so the columns' x^T op(A)^T = b^T."""
    uplo, diag = "U" if upper else "L", "U" if unit else "N"
    if k == 1:
        call(builder, "trsv", dtype, [uplo, "T" if trans else "N", diag, n, a, n, x, 1])
    else:
        call(builder, "trsm", dtype, ["R", uplo, "N" if trans else "T", diag, k, n, 1.0, a, n, x, k])


def _place(builder: Any, item: Any, batch: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    """Which matrix belongs to item number ``item`` of a stack of shape ``batch``. One loop runs over the whole stack,
    not one an axis, so that a failure can leave it."""
    index = []
    for extent in reversed(batch):
        index.append(builder.urem(item, I64(extent)))
        item = builder.udiv(item, I64(extent))
    return linear(builder, index[::-1], strides)


def getrs_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> Any:
    n, k, trans, batch = static["n"], static["k"], static["trans"], static["batch"]
    dtype, status = out_buffers[0].dtype, Status(builder)
    with cgutils.for_range(builder, I64(int(np.prod(batch)))) as loop:
        at = _place(builder, loop.index, batch, static["lu_batch"])
        x = offset(builder, outs[0], builder.mul(loop.index, I64(n * k)))
        lu = offset(builder, ins[1], builder.mul(at, I64(n * n)))
        pivots = offset(builder, ins[2], builder.mul(at, I64(n)))
        status.fail_if(has_zero_diagonal(builder, lu, n), SINGULAR, loop)
        if not trans:  # A = P L U
            _emit_swaps(builder, x, pivots, n, k, dtype, backward=False)
        for upper in (trans, not trans):
            _emit_triangular(builder, lu, x, n, k, dtype, upper=upper, trans=trans, unit=not upper)
        if trans:  # A^T = U^T L^T P^T
            _emit_swaps(builder, x, pivots, n, k, dtype, backward=True)
    return status.value()


def trtrs_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> Any:
    n, k, batch, unit = static["n"], static["k"], static["batch"], static["unit"]
    status = Status(builder)
    with cgutils.for_range(builder, I64(int(np.prod(batch)))) as loop:
        at = _place(builder, loop.index, batch, static["a_batch"])
        a = offset(builder, ins[1], builder.mul(at, I64(n * n)))
        x = offset(builder, outs[0], builder.mul(loop.index, I64(n * k)))
        if not unit:
            status.fail_if(has_zero_diagonal(builder, a, n), SINGULAR, loop)
        # By columns the buffer holds A^T, whose triangle is the other one.
        _emit_triangular(
            builder, a, x, n, k, out_buffers[0].dtype, upper=static["lower"], trans=not static["trans"], unit=unit
        )
    return status.value()


def getri_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> Any:
    n, status = static["n"], Status(builder)
    with cgutils.for_range(builder, I64(static["count"])) as loop:
        a = offset(builder, outs[0], builder.mul(loop.index, I64(n * n)))
        pivots = offset(builder, ins[1], builder.mul(loop.index, I64(n)))
        call(builder, "getri", out_buffers[0].dtype, [n, a, n, pivots, outs[1], n * BLOCK, status.info])
        status.fail_if_info(SINGULAR, loop)
    return status.value()


def gbsv_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> Any:
    n, below, above, status = static["n"], static["below"], static["above"], Status(builder)
    rows, dtype, trans = 2 * below + above + 1, out_buffers[0].dtype, "T" if static["trans"] else "N"
    call(builder, "gbtrf", dtype, [n, n, below, above, outs[1], rows, outs[2], status.info])
    regular = builder.icmp_signed("==", builder.load(status.info), I32(0))
    with builder.if_else(regular) as (then, otherwise):
        with then:
            bands = [below, above, static["k"], outs[1], rows]
            call(builder, "gbtrs", dtype, [trans, n, *bands, outs[2], outs[0], n, status.info])
        with otherwise:
            builder.store(I64(SINGULAR), status.status)
    return status.value()


def syevd_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> Any:
    n, status = static["n"], Status(builder)
    with cgutils.for_range(builder, I64(static["count"])) as loop:
        a = offset(builder, outs[0], builder.mul(loop.index, I64(n * n)))
        w = offset(builder, outs[1], builder.mul(loop.index, I64(n)))
        sizes = (1 + 6 * n + 2 * n * n, 3 + 5 * n) if static["vectors"] else (n * (BLOCK + 2), 1)
        job = "V" if static["vectors"] else "N"
        args = [job, "L", n, a, n, w, outs[2], sizes[0], outs[3], sizes[1], status.info]
        call(builder, "syevd", out_buffers[0].dtype, args)
        status.fail_if_info(NO_CONVERGENCE, loop)
    return status.value()


def _emit_copy(builder: Any, target: Any, source: Any, count: int) -> None:
    with cgutils.for_range(builder, I64(count)) as loop:
        store_element(builder, target, loop.index, load_element(builder, source, loop.index))


def _emit_scale(builder: Any, target: Any, count: int, factor: Any) -> None:
    with cgutils.for_range(builder, I64(count)) as loop:
        value = builder.fmul(load_element(builder, target, loop.index), factor)
        store_element(builder, target, loop.index, value)


def _emit_determinant(builder: Any, lu: Any, swaps: Sequence[Any], n: int) -> Any:
    """The product of the diagonal, negated once for every row of ``swaps`` that names another row than its own."""
    total = cgutils.alloca_once(builder, lu.type.pointee)
    builder.store(ir.Constant(lu.type.pointee, 1.0), total)
    with cgutils.for_range(builder, I64(n)) as loop:
        value = builder.fmul(builder.load(total), load_element(builder, lu, builder.mul(loop.index, I64(n + 1))))
        own = builder.add(builder.trunc(loop.index, I32), I32(1))
        for pivots in swaps:
            moved = builder.icmp_signed("!=", load_element(builder, pivots, loop.index), own)
            value = builder.select(moved, builder.fneg(value), value)
        builder.store(value, total)
    return builder.load(total)


def adjugate_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> None:
    """From the inverse, or, where a pivot is zero, from LU factors with complete pivoting.

    ``getc2`` puts zero pivots last and replaces them with a tiny number d. The adjugate is a polynomial in the matrix,
    so this changes it by O(d) only, and d cancels between the determinant and the inverse.
    """
    n, dtype, status = static["n"], out_buffers[0].dtype, Status(builder)
    work, scratch, rows = outs[1], outs[2], outs[3]
    columns = offset(builder, rows, n)
    scale = cgutils.alloca_once(builder, llvm_type(dtype))
    with cgutils.for_range(builder, I64(static["count"])) as loop:
        adj, a, lu = (offset(builder, p, builder.mul(loop.index, I64(n * n))) for p in (outs[0], ins[0], ins[1]))
        pivots = offset(builder, ins[2], builder.mul(loop.index, I64(n)))
        with builder.if_else(has_zero_diagonal(builder, lu, n), likely=False) as (singular, regular):
            with regular:
                _emit_copy(builder, adj, lu, n * n)
                call(builder, "getri", dtype, [n, adj, n, pivots, work, n * BLOCK, status.info])
                _emit_scale(builder, adj, n * n, _emit_determinant(builder, lu, [pivots], n))
            with singular:
                _emit_copy(builder, scratch, a, n * n)
                call(builder, "getc2", dtype, [n, scratch, n, rows, columns, status.info])
                det = _emit_determinant(builder, scratch, [rows, columns], n)
                with cgutils.for_range(builder, I64(n)) as column:
                    x = offset(builder, adj, builder.mul(column.index, I64(n)))
                    with cgutils.for_range(builder, I64(n)) as row:
                        one = builder.icmp_signed("==", row.index, column.index)
                        store_element(builder, x, row.index, builder.uitofp(one, llvm_type(dtype)))
                    call(builder, "gesc2", dtype, [n, scratch, n, x, rows, columns, scale])
                    _emit_scale(builder, x, n, builder.fdiv(det, builder.load(scale)))
