"""Eigenvalues and eigenvectors of symmetric matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.ir.types import TensorType
from jitgrad.ops.elementwise import select
from jitgrad.ops.linalg import check_square, iota, matmul, transposed
from jitgrad.ops.op import OpRule, Sample, Var, apply, register

_i32 = np.dtype(np.int32)


def _columns(x: Var, like: Var) -> Var:
    """A number for each column, over all rows of matrices."""
    return apply("broadcast_to", apply("reshape", x, shape=(*x.shape[:-1], 1, x.shape[-1])), shape=like.shape)


def _gaps(w: Var, v: Var) -> Var:
    """``1 / (w[j] - w[i])`` at (i, j), and 0 where the two are equal, on the diagonal for one.

    Eigenvectors of equal eigenvalues can be turned into each other; what does not depend on how they are turned has a
    derivative, and in it no such pair counts.
    """
    columns = _columns(w, v)
    gap = columns - transposed(columns)
    same = gap.eq(0)
    return select(same, 0.0, 1.0 / select(same, 1.0, gap))


def _on_diagonal(x: Var) -> Var:
    """The diagonals of matrices, and zeros."""
    shape: Any = x.shape[-2:]
    return select(iota(x, shape, 0).eq(iota(x, shape, 1)), x, 0.0)


@register
class Eigh(OpRule):
    """``eigh(a) -> (w, v)``: eigenvalues of symmetric matrices in ascending order, and in the columns of ``v`` the
    eigenvectors. Reads the lower triangle of ``a`` only; LinAlgError at run time where LAPACK finds none.

    The derivative is that of the symmetric matrix, as that of cholesky.
    """

    name = "eigh"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        # Not for the gradient check: moving one entry alone leaves the symmetric matrices, where the rule holds.
        arrays = [rng.standard_normal(s) for s in ((3, 3), (2, 4, 4), (1, 1), (0, 0), (2, 0, 0), (0, 3, 3))]
        return [Sample((a + np.swapaxes(a, -1, -2),), grad=False) for a in arrays]

    def infer(self, a: TensorType) -> tuple[TensorType, TensorType]:
        check_square(self.name, a)
        return TensorType(a.dtype, a.shape[:-1]), a

    def eval(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w, v = np.linalg.eigh(a)
        return w, v

    def vjp(self, g: Any, out: Any, a: Var) -> Sequence[Var | None]:
        (w, v), (gw, gv) = out, g
        turned = matmul(v, gv, tx=True) * _gaps(w, v)
        s = matmul(matmul(v, turned + _on_diagonal(_columns(gw, v))), v, ty=True)
        return ((s + transposed(s)) * 0.5,)

    def jvp(self, ts: Sequence[Var | None], out: Any, a: Var) -> Any:
        (t,), (w, v) = ts, out
        if t is None:
            return None, None
        moved = matmul(v, matmul((t + transposed(t)) * 0.5, v), tx=True)
        return apply("reduce_sum", _on_diagonal(moved), axes=(v.ndim - 2,)), matmul(v, moved * _gaps(w, v))

    def lower(self, b: Any, a: Any) -> tuple[Any, Any]:
        n, count = a.shape[-1], math.prod(a.shape[:-2])

        def lower_triangle(*i: Any) -> Any:
            """By columns, as LAPACK reads."""
            row, col = b.index(i[-1]), b.index(i[-2])
            return b.scalar("where", col <= row, a[(*i[:-2], i[-1], i[-2])], b.const(0, a.dtype))

        z = b.pointwise(a.shape, a.dtype, lower_triangle)
        if not n * count:
            return b.pointwise(a.shape[:-1], a.dtype, lambda *i: b.const(0, a.dtype)), z
        w = b.empty(a.shape[:-1], a.dtype)
        work, iwork = b.empty((1 + 6 * n + 2 * n * n,), a.dtype), b.empty((3 + 5 * n,), _i32)
        b.libcall("syevd", [z, w, work, iwork], [z], n=n, count=count)
        return w, b.pointwise(a.shape, a.dtype, lambda *i: z[(*i[:-2], i[-1], i[-2])])
