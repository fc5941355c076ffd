"""The QR factorization of a stack of matrices of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.errors import ShapeError
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType
from jitgrad.ops.checks import check_float, check_static
from jitgrad.ops.linalg import WORK_COLUMNS, matmul, transposed, triangle
from jitgrad.ops.op import OpRule, Sample, Var, apply, register


def check_matrices(name: str, a: TensorType) -> None:
    """Raise a ShapeError, UnsupportedError or DtypeError unless ``a`` is a stack of float matrices of known extents."""
    if a.ndim < 2:
        raise ShapeError(
            f"{name} got an array of shape {tuple(a.shape)}. It takes matrices in the last two axes. Reshape the "
            "array.",
            user_location(),
        )
    check_static(name, a.shape, "Factorizations")
    check_float(name, a)


def extents(a: Any) -> tuple[tuple[int, ...], int, int, int]:
    """The stack, the rows, the columns and the lesser of the two, of an array or type that was checked."""
    *stack, m, n = a.shape
    return tuple(stack), m, n, min(m, n)


def part(x: Var, axis: int, start: int, stop: int) -> Var:
    """``x[start:stop]`` along an axis, counted from the end."""
    starts, sizes = [0] * x.ndim, list(x.shape)
    starts[axis], sizes[axis] = start, stop - start
    return apply("slice", x, starts=tuple(starts), sizes=tuple(sizes), steps=(1,) * x.ndim)


def join(axis: int, *parts: Var) -> Var:
    """``concatenate`` along an axis, counted from the end."""
    return apply("concatenate", *parts, axis=parts[0].ndim + axis)


def solved_from_the_right(x: Var, r: Var, trans: bool = False) -> Var:
    """``x R^-1``, or ``x R^-T`` with ``trans``, for upper triangular matrices R."""
    return transposed(apply("triangular_solve", r, transposed(x), lower=False, trans=not trans, unit=False))


def lower_identity(b: Any, shape: Sequence[int], dtype: np.dtype) -> Any:
    """Matrices with ones on the diagonal, in Loop IR."""

    def entry(*i: Any) -> Any:
        return b.scalar("where", b.index(i[-2]).eq(b.index(i[-1])), b.const(1, dtype), b.const(0, dtype))

    return b.pointwise(shape, dtype, entry)


@register
class QR(OpRule):
    """``qr(a){full} -> (q, r)``: orthonormal columns ``q`` and an upper triangular ``r`` with ``a = q r``.

    For a of shape (..., m, n) and k = min(m, n), q is (..., m, k) and r (..., k, n); with ``full``, q is (..., m, m)
    and r (..., m, n). By Householder vectors, so the diagonal of r has any signs.

    The derivative is defined where the first k columns of a are linearly independent; elsewhere it raises LinAlgError
    or has infinities. For m >= n it is that of S. F. Walter and L. Lehmann (Optimization Methods and Software 28,
    2013), for m < n, where r = (U, V) and the first columns of a are qU, that of D. A. O. Roberts and L. R. Roberts
    (arXiv:2009.10071). The last m - k columns of q in a full factorization are some basis of the complement; they move
    as if they did not turn among themselves, so what depends on the complement only has its derivative.
    """

    name = "qr"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        shapes = ((3, 3), (4, 2), (2, 4), (2, 3, 2), (1, 1), (2, 2, 3))
        result = [Sample((rng.standard_normal(s),), {"full": False}) for s in shapes]
        result += [Sample((rng.standard_normal(s),), {"full": True}) for s in ((3, 3), (2, 4))]
        others = ((4, 2), (2, 5, 1), (3, 0), (0, 3), (0, 3, 2))
        result += [Sample((rng.standard_normal(s),), {"full": True}, grad=False) for s in others]
        return [*result, Sample((np.ones((3, 0)),), {"full": False}, grad=False)]

    def infer(self, a: TensorType, *, full: bool) -> tuple[TensorType, TensorType]:
        check_matrices(self.name, a)
        stack, m, n, k = extents(a)
        columns = m if full else k
        return TensorType(a.dtype, (*stack, m, columns)), TensorType(a.dtype, (*stack, columns, n))

    def eval(self, a: np.ndarray, *, full: bool) -> tuple[np.ndarray, np.ndarray]:
        q, r = np.linalg.qr(a, "complete" if full else "reduced")
        return q, r

    def vjp(self, g: Any, out: Any, a: Var, *, full: bool) -> Sequence[Var | None]:
        (gq, gr), (q, r), (_, m, n, k) = g, out, extents(a)
        rest: Var | None = None
        if full and m > n:
            # dQ2 = -Q1 (Q2^T dQ1)^T
            q2, gq2 = part(q, -1, n, m), part(gq, -1, n, m)
            q, gq, r, gr = part(q, -1, 0, n), part(gq, -1, 0, n), part(r, -2, 0, n), part(gr, -2, 0, n)
            rest = matmul(q2, matmul(gq2, q, tx=True))
        if m < n:
            left, right = (part(x, -1, 0, k) for x in (r, gr))
            gv = part(gr, -1, k, n)
            moved = self._square(gq + matmul(part(a, -1, k, n), gv, ty=True), right, q, left, None)
            return (join(-1, moved, matmul(q, gv)),)
        return (self._square(gq, gr, q, r, rest),)

    @staticmethod
    def _square(gq: Var, gr: Var, q: Var, r: Var, rest: Var | None) -> Var:
        """The cotangent of ``a`` for a square ``r``: ``(gq + q copyltu(r gr^T - gq^T q) - rest) r^-T``, where copyltu
        copies the lower triangle to the upper one."""
        inner = matmul(r, gr, ty=True) - matmul(gq, q, tx=True)
        inner = triangle(inner, lower=True) + transposed(triangle(inner, lower=True, strict=True))
        total = gq + matmul(q, inner)
        return solved_from_the_right(total if rest is None else total - rest, r, trans=True)

    def jvp(self, ts: Sequence[Var | None], out: Any, a: Var, *, full: bool) -> Any:
        (t,), (q, r), (_, m, n, _) = ts, out, extents(a)
        if t is None:
            return None, None
        if m < n:
            left, moved = part(r, -1, 0, m), part(t, -1, m, n)
            tq, tu = self._moved(part(t, -1, 0, m), q, left)
            tv = matmul(tq, part(a, -1, m, n), tx=True) + matmul(q, moved, tx=True)
            return tq, join(-1, tu, tv)
        if not full or m == n:
            return self._moved(t, q, r)
        q1, q2 = part(q, -1, 0, n), part(q, -1, n, m)
        tq1, tr1 = self._moved(t, q1, part(r, -2, 0, n))
        tq2 = -matmul(q1, matmul(tq1, q2, tx=True))
        below = part(r, -2, n, m)
        return join(-1, tq1, tq2), join(-2, tr1, below * 0.0)

    @staticmethod
    def _moved(t: Var, q: Var, r: Var) -> tuple[Var, Var]:
        """The tangents of ``q`` and of a square ``r``."""
        scaled = solved_from_the_right(t, r)
        inner = matmul(q, scaled, tx=True)
        below = triangle(inner, lower=True, strict=True)
        turned = below - transposed(below)
        return matmul(q, turned - inner) + scaled, matmul(inner - turned, r)

    def lower(self, b: Any, a: Any, *, full: bool) -> tuple[Any, Any]:
        stack, m, n, k = extents(a)
        count = math.prod(stack)
        columns = m if full else k
        if not k * count:
            return lower_identity(b, (*stack, m, columns), a.dtype), b.pointwise(
                (*stack, columns, n), a.dtype, lambda *i: b.const(0, a.dtype)
            )
        factored = b.pointwise((*stack, n, m), a.dtype, lambda *i: a[(*i[:-2], i[-1], i[-2])])
        tau, work = b.empty((*stack, k), a.dtype), b.empty((n * WORK_COLUMNS,), a.dtype)
        b.libcall("geqrf", [factored, tau, work], [factored], m=m, n=n, count=count)
        zero = b.const(0, a.dtype)

        def vectors(*i: Any) -> Any:
            """The Householder vectors, by columns; there are k of them."""
            if columns == k:
                return factored[i]
            inside = b.index(i[-2]) < b.index(k)
            column = b.dynamic(b.scalar("minimum", b.index(i[-2]), b.index(k - 1)), k)
            return b.scalar("where", inside, factored[(*i[:-2], column, i[-1])], zero)

        def upper(*i: Any) -> Any:
            row, column = b.index(i[-2]), b.index(i[-1])
            return b.scalar("where", row <= column, factored[(*i[:-2], i[-1], i[-2])], zero)

        r = b.pointwise((*stack, columns, n), a.dtype, upper)
        q, work = b.pointwise((*stack, columns, m), a.dtype, vectors), b.empty((columns * WORK_COLUMNS,), a.dtype)
        b.libcall("orgqr", [q, work], [q, tau], m=m, n=columns, k=k, count=count)
        return b.pointwise((*stack, m, columns), a.dtype, lambda *i: q[(*i[:-2], i[-1], i[-2])]), r
