"""Eigenvalues and eigenvectors of symmetric matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.ir.types import TensorType
from jitgrad.ops.elementwise import select
from jitgrad.ops.linalg import WORK_COLUMNS, check_square, iota, matmul, over_matrix, transposed
from jitgrad.ops.op import OpRule, Sample, Var, apply, apply_all, register

_i32 = np.dtype(np.int32)


def columns(x: Var, like: Var) -> Var:
    """A number for each column, over all rows of matrices."""
    return apply("broadcast_to", apply("reshape", x, shape=(*x.shape[:-1], 1, x.shape[-1])), shape=like.shape)


def gaps(w: Var, like: Var) -> Var:
    """``1 / (w[j] - w[i])`` at (i, j), and 0 where the two are equal, on the diagonal for one.

    Vectors of equal values can be turned into each other, so they have no derivative. What would not depend on that
    turn if their values differed either, the projection onto all of them for one, has one, and in it no such pair
    counts. (A function of the matrix, ``(v * f(w)) @ v^T``, is not of that kind.) LAPACK finds values up to a rounding
    of the greatest one, so those that are not further apart than that count as equal.
    """
    n = w.shape[-1]
    right = columns(w, like)
    gap = right - transposed(right)
    if not isinstance(n, int) or n == 0:
        same = gap.eq(0)
    else:
        greatest = apply("reduce_max", apply("absolute", w), axes=(w.ndim - 1,)) * (n * float(np.finfo(w.dtype).eps))
        same = apply("absolute", gap) <= over_matrix(greatest, like)
    return select(same, 0.0, 1.0 / select(same, 1.0, gap))


def on_diagonal(x: Var) -> Var:
    """The diagonals of matrices, and zeros."""
    shape: Any = x.shape[-2:]
    return select(iota(x, shape, 0).eq(iota(x, shape, 1)), x, 0.0)


def _lower_eigen(b: Any, a: Any, vectors: bool) -> tuple[Any, Any]:
    """Eigenvalues, and eigenvectors by columns, of symmetric matrices that are not empty."""
    n = a.shape[-1]

    def lower_triangle(*i: Any) -> Any:
        """By columns, as LAPACK reads."""
        row, col = b.index(i[-1]), b.index(i[-2])
        return b.scalar("where", col <= row, a[(*i[:-2], i[-1], i[-2])], b.const(0, a.dtype))

    z, w = b.pointwise(a.shape, a.dtype, lower_triangle), b.empty(a.shape[:-1], a.dtype)
    sizes = (1 + 6 * n + 2 * n * n, 3 + 5 * n) if vectors else (n * (WORK_COLUMNS + 2), 1)
    work, iwork = b.empty(sizes[:1], a.dtype), b.empty(sizes[1:], _i32)
    b.libcall("syevd", [z, w, work, iwork], [z], n=n, count=math.prod(a.shape[:-2]), vectors=vectors)
    return w, z


def _symmetric_samples(rng: np.random.Generator) -> list[Sample]:
    """Not for the gradient check: moving one entry alone leaves the symmetric matrices, where the rules hold."""
    arrays = [rng.standard_normal(s) for s in ((3, 3), (2, 4, 4), (1, 1), (0, 0), (2, 0, 0), (0, 3, 3))]
    return [Sample((a + np.swapaxes(a, -1, -2),), grad=False) for a in arrays]


@register
class Eigh(OpRule):
    """``eigh(a) -> (w, v)``: eigenvalues of symmetric matrices in ascending order, and in the columns of ``v`` the
    eigenvectors. Reads the lower triangle of ``a`` only; LinAlgError at run time where LAPACK finds none.

    The derivative is that of the symmetric matrix, as that of cholesky.
    """

    name = "eigh"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        return _symmetric_samples(rng)

    def infer(self, a: TensorType) -> tuple[TensorType, TensorType]:
        check_square(self.name, a)
        return TensorType(a.dtype, a.shape[:-1]), a

    def eval(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w, v = np.linalg.eigh(a)
        return w, v

    def vjp(self, g: Any, out: Any, a: Var) -> Sequence[Var | None]:
        (w, v), (gw, gv) = out, g
        turned = matmul(v, gv, tx=True) * gaps(w, v)
        s = matmul(matmul(v, turned + on_diagonal(columns(gw, v))), v, ty=True)
        return ((s + transposed(s)) * 0.5,)

    def jvp(self, ts: Sequence[Var | None], out: Any, a: Var) -> Any:
        (t,), (w, v) = ts, out
        if t is None:
            return None, None
        moved = matmul(v, matmul((t + transposed(t)) * 0.5, v), tx=True)
        return apply("reduce_sum", on_diagonal(moved), axes=(v.ndim - 2,)), matmul(v, moved * gaps(w, v))

    def lower(self, b: Any, a: Any) -> tuple[Any, Any]:
        if not math.prod(a.shape):
            return b.pointwise(a.shape[:-1], a.dtype, lambda *i: b.const(0, a.dtype)), b.empty(a.shape, a.dtype)
        w, z = _lower_eigen(b, a, vectors=True)
        return w, b.pointwise(a.shape, a.dtype, lambda *i: z[(*i[:-2], i[-1], i[-2])])


@register
class Eigvalsh(OpRule):
    """``eigvalsh(a)``: the eigenvalues of eigh alone. An ``eigh`` of whose vectors nothing is needed becomes this one;
    it costs LAPACK a tenth."""

    name = "eigvalsh"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        return _symmetric_samples(rng)

    def infer(self, a: TensorType) -> TensorType:
        check_square(self.name, a)
        return TensorType(a.dtype, a.shape[:-1])

    def eval(self, a: np.ndarray) -> np.ndarray:
        return np.linalg.eigvalsh(a)

    def vjp(self, g: Var, out: Var, a: Var) -> Sequence[Var | None]:
        _, v = apply_all("eigh", a)
        return (matmul(v * columns(g, v), v, ty=True),)

    def jvp(self, ts: Sequence[Var | None], out: Var, a: Var) -> Var | None:
        (t,) = ts
        if t is None:
            return None
        _, v = apply_all("eigh", a)
        return apply("reduce_sum", v * matmul((t + transposed(t)) * 0.5, v), axes=(v.ndim - 2,))

    def lower(self, b: Any, a: Any) -> Any:
        if not math.prod(a.shape):
            return b.pointwise(a.shape[:-1], a.dtype, lambda *i: b.const(0, a.dtype))
        return _lower_eigen(b, a, vectors=False)[0]
