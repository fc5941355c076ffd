"""The library call for eigenvalues of general matrices. Conventions and statuses are those of
:mod:`jitgrad.codegen.lapack`.

* ``geev``: outs (a, wr, wi, z, work), ins (a,). ``a``, column-major, is overwritten with anything; ``wr`` and ``wi``
  take the parts of the eigenvalues. ``z`` has n + 2 columns of n elements for each matrix: the columns but the first
  and the last take the eigenvectors as LAPACK's geev packs them, the parts of a pair of conjugates side by side. So
  what reads the neighbours of a column stays in the buffer. With ``vectors`` False ``z`` is left alone. ``work`` has
  n (BLOCK + 4) + 65 BLOCK elements.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils

from jitgrad.codegen.externs import I64, call, offset
from jitgrad.codegen.lapack import BLOCK, NO_CONVERGENCE, Arrays, Status, lapack_routine


def geev_python(outs: Arrays, ins: Arrays, *, n: int, count: int, vectors: bool) -> int:
    """Eigenvalues of general matrices, and eigenvectors."""
    a, wr, wi, z = (x.reshape(count, -1) for x in outs[:4])
    geev = lapack_routine("geev", outs[0].dtype)
    for k in range(count):
        wr[k], wi[k], _, v, info = geev(a[k].reshape(n, n).T, compute_vl=0, compute_vr=int(vectors))
        if info:
            return NO_CONVERGENCE
        if vectors:
            z[k].reshape(n + 2, n)[1:-1] = v.T
    return 0


def geev_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> Any:
    n, status = static["n"], Status(builder)
    _, wr, wi, z, work = outs
    with cgutils.for_range(builder, I64(static["count"])) as loop:

        def at(pointer: Any, size: int) -> Any:
            return offset(builder, pointer, builder.mul(loop.index, I64(size)))

        v = offset(builder, at(z, n * (n + 2)), n) if static["vectors"] else z
        jobs = ["N", "V" if static["vectors"] else "N"]
        values = [at(wr, n), at(wi, n)]
        args = [*jobs, n, at(outs[0], n * n), n, *values, z, 1, v, n, work, n * (BLOCK + 4) + 65 * BLOCK, status.info]
        call(builder, "geev", out_buffers[0].dtype, args)
        status.fail_if_info(NO_CONVERGENCE, loop)
    return status.value()
