"""Library calls for orthogonal factorizations: QR, and singular values with and without their vectors.

All work on stacks of ``count`` matrices of ``m`` rows and ``n`` columns, column-major, by LAPACK; ``k`` is the lesser
of ``m`` and ``n``. "Column-major" means that the row-major buffer holds the transpose. Conventions and statuses are
those of :mod:`jitgrad.codegen.lapack`.

* ``geqrf``: outs (a, tau, work), ins (a,). R replaces the upper triangle, the Householder vectors what is below it;
  ``tau`` has k elements. ``work`` has ``n * BLOCK``.
* ``orgqr``: outs (q, work), ins (q, tau). The first ``k`` of the ``n <= m`` columns of ``q``, Householder vectors,
  become the first n columns of the orthogonal matrix. Here ``k`` is how many vectors there are. ``work`` as above.
* ``gesdd``: outs (a, s, work, iwork), ins (a,), with ``job`` "N": ``s`` takes the singular values, the greatest first,
  ``a`` is overwritten. With ``job`` "S" or "A" outs has (u, vt) too, which take the first k or all left singular
  vectors (columns) and right ones (rows), column-major. ``work`` has :func:`svd_work` elements, ``iwork``, of int32,
  8 k. Status 7 where the iteration does not converge, or ``a`` has a NaN.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils

from jitgrad.codegen.externs import I64, call, offset
from jitgrad.codegen.lapack import BLOCK, Arrays, Status, lapack_routine

NO_SVD = 7


def svd_work(m: int, n: int, job: str) -> int:
    """How many elements of workspace ``gesdd`` is given: what it needs at least, in all releases of LAPACK, and blocks
    of columns, without which it multiplies by one vector at a time."""
    k = min(m, n)
    least = 10 * k if job == "N" else 4 * k * k + 7 * k
    return least + max(m, n) + BLOCK * (m + n)


# Python


def geqrf_python(outs: Arrays, ins: Arrays, *, m: int, n: int, count: int) -> int:
    """Householder vectors and R, in place."""
    a, tau = outs[0].reshape(count, n, m), outs[1].reshape(count, min(m, n))
    for z in range(count):
        qr, tau[z], _, _ = lapack_routine("geqrf", a.dtype)(a[z].T)
        a[z] = qr.T
    return 0


def orgqr_python(outs: Arrays, ins: Arrays, *, m: int, n: int, k: int, count: int) -> int:
    """Orthogonal columns from Householder vectors, in place."""
    q, tau = outs[0].reshape(count, n, m), ins[1].reshape(count, k)
    for z in range(count):
        q[z] = lapack_routine("orgqr", q.dtype)(q[z].T, tau[z])[0].T
    return 0


def gesdd_python(outs: Arrays, ins: Arrays, *, m: int, n: int, count: int, job: str) -> int:
    """Singular values, and vectors unless ``job`` is "N"."""
    gesdd = lapack_routine("gesdd", outs[0].dtype)
    for z in range(count):
        a = outs[0].reshape(count, n, m)[z].T
        u, s, vt, info = gesdd(a, compute_uv=int(job != "N"), full_matrices=int(job == "A"))
        if info:
            return NO_SVD
        outs[1].reshape(count, -1)[z] = s
        if job != "N":
            outs[4].reshape(count, -1, m)[z], outs[5].reshape(count, n, -1)[z] = u.T, vt.T
    return 0


# LLVM. Each function has the arguments (builder, outs, ins, static, out_buffers, in_buffers).


def _item(builder: Any, pointer: Any, loop: Any, size: int) -> Any:
    """The part of a stack that the iteration works on."""
    return offset(builder, pointer, builder.mul(loop.index, I64(size)))


def geqrf_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> None:
    m, n, status = static["m"], static["n"], Status(builder)
    with cgutils.for_range(builder, I64(static["count"])) as loop:
        a, tau = _item(builder, outs[0], loop, m * n), _item(builder, outs[1], loop, min(m, n))
        call(builder, "geqrf", out_buffers[0].dtype, [m, n, a, m, tau, outs[2], n * BLOCK, status.info])


def orgqr_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> None:
    m, n, k, status = static["m"], static["n"], static["k"], Status(builder)
    with cgutils.for_range(builder, I64(static["count"])) as loop:
        q, tau = _item(builder, outs[0], loop, m * n), _item(builder, ins[1], loop, k)
        call(builder, "orgqr", out_buffers[0].dtype, [m, n, k, q, m, tau, outs[1], n * BLOCK, status.info])


def gesdd_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> Any:
    m, n, job, status = static["m"], static["n"], static["job"], Status(builder)
    k = min(m, n)
    columns, rows = {"N": (1, 1), "S": (k, k), "A": (m, n)}[job]
    with cgutils.for_range(builder, I64(static["count"])) as loop:
        a, s = _item(builder, outs[0], loop, m * n), _item(builder, outs[1], loop, k)
        u, vt, ldu = a, a, 1  # not referred to
        if job != "N":
            u, vt, ldu = _item(builder, outs[4], loop, m * columns), _item(builder, outs[5], loop, rows * n), m
        sizes = [outs[2], svd_work(m, n, job), outs[3], status.info]
        call(builder, "gesdd", out_buffers[0].dtype, [job, m, n, a, m, s, u, ldu, vt, rows, *sizes])
        status.fail_if_info(NO_SVD, loop)
    return status.value()
