"""LU factors as values: ``lu``, whose triangles and pivots a program sees, and the order of rows that pivots stand for.

``solve``, ``inv`` and ``det`` have their factors to themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import is_static
from jitgrad.ir.types import TensorType, i32, i64
from jitgrad.ops.linalg import check_square, iota, lu_factors, matmul, matrices, transposed, triangle
from jitgrad.ops.op import OpRule, Sample, Var, apply, register


def order_of_rows(pivots: np.ndarray) -> np.ndarray:
    """The order that rows have after the exchanges of row i and row ``pivots[i]``, for i from 0 up."""
    n, count = pivots.shape[-1], math.prod(pivots.shape[:-1])
    order = np.broadcast_to(np.arange(n), pivots.shape).copy()
    for row, swaps in zip(order.reshape(count, n), pivots.reshape(count, n), strict=True):
        for i, j in enumerate(swaps):
            row[[i, j]] = row[[j, i]]
    return order


@register
class PivotOrder(OpRule):
    """``pivot_order(pivots)``: for int32 pivots (..., n), from 0, as ``lu`` gives them, the order that the rows have
    after all exchanges, int64: ``a[order] == l @ u``."""

    name = "pivot_order"
    differentiable = False

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        arrays = [
            np.array([2, 2, 2]),
            np.array([[1, 1], [0, 1]]),
            np.zeros(0),
            np.zeros((0, 2)),
            np.array([3, 2, 3, 3]),
        ]
        return [Sample((a.astype(np.int32),), grad=False) for a in arrays]

    def infer(self, pivots: TensorType) -> TensorType:
        if pivots.dtype != i32:
            raise DtypeError(f"pivot_order got dtype {pivots.dtype}. Pivots are int32.", user_location())
        if not pivots.ndim or not is_static(*pivots.shape):
            raise ShapeError(f"pivot_order got an array of shape {pivots.shape}. It takes vectors.", user_location())
        return TensorType(i64, pivots.shape)

    def eval(self, pivots: np.ndarray) -> np.ndarray:
        return order_of_rows(pivots)

    def lower(self, b: Any, pivots: Any) -> Any:
        n = pivots.shape[-1]
        order = b.pointwise(pivots.shape, i64, lambda *i: b.index(i[-1]))
        with b.loops(pivots.shape[:-1]) as z, b.loop(n, fresh=True) as i:
            other = b.dynamic(b.cast(pivots[(*z, i)], i64), n)
            first, second = b.let(order[(*z, i)]), b.let(order[(*z, other)])
            b.store(order, (*z, i), second)
            b.store(order, (*z, other), first)
        return order


@register
class LU(OpRule):
    """``lu(a) -> (lu, pivots)``: the factors of square matrices in one array, ``l`` (whose diagonal of ones is left
    out) below the diagonal and ``u`` on and above it, and int32 pivots from 0, with ``a[order] = l u`` for
    ``order = pivot_order(pivots)``. A zero pivot is no error.

    The derivative is that of A. Griewank and A. Walther (Evaluating Derivatives, 2008), at constant pivots; it raises
    LinAlgError where a pivot is exactly zero.
    """

    name = "lu"

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        result = [Sample((matrices(rng, *s),)) for s in ((3, 3), (2, 4, 4), (1, 1))]
        result.append(Sample((matrices(rng, 4, 4)[::-1].copy(),)))
        return result + [Sample((np.ones(s),), grad=False) for s in ((0, 0), (2, 0, 0), (0, 2, 2), (2, 2))]

    def infer(self, a: TensorType) -> tuple[TensorType, TensorType]:
        check_square(self.name, a)
        return a, TensorType(i32, a.shape[:-1])

    def eval(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By rows, with partial pivoting."""
        lu, pivots = a.copy(), np.zeros(a.shape[:-1], np.int32)
        n, count = a.shape[-1], math.prod(a.shape[:-2])
        for m, swaps in zip(lu.reshape(count, n, n), pivots.reshape(count, n), strict=True):
            for k in range(n):
                swaps[k] = j = k + int(np.argmax(np.abs(m[k:, k])))
                m[[k, j]] = m[[j, k]]
                if m[k, k] != 0:
                    m[k + 1 :, k] /= m[k, k]
                    m[k + 1 :, k + 1 :] -= np.outer(m[k + 1 :, k], m[k, k + 1 :])
        return lu, pivots

    def vjp(self, g: Any, out: Any, a: Var) -> Sequence[Var | None]:
        (lu, pivots), g = out, g[0]
        lower = matmul(_unit_lower(lu), triangle(g, lower=True, strict=True), tx=True)
        upper = matmul(triangle(g, lower=False), triangle(lu, lower=False), ty=True)
        inner = triangle(lower, lower=True, strict=True) + triangle(upper, lower=False)
        left = apply("triangular_solve", lu, inner, lower=True, trans=True, unit=True)
        both = transposed(apply("triangular_solve", lu, transposed(left), lower=False, trans=False, unit=False))
        return (matmul(_exchanges(pivots, a), both, tx=True),)

    def jvp(self, ts: Sequence[Var | None], out: Any, a: Var) -> Any:
        (t,), (lu, pivots) = ts, out
        if t is None:
            return None, None
        left = apply("triangular_solve", lu, matmul(_exchanges(pivots, a), t), lower=True, trans=False, unit=True)
        w = transposed(apply("triangular_solve", lu, transposed(left), lower=False, trans=True, unit=False))
        lower = matmul(_unit_lower(lu), triangle(w, lower=True, strict=True))
        return lower + matmul(triangle(w, lower=False), triangle(lu, lower=False)), None

    def lower(self, b: Any, a: Any) -> tuple[Any, Any]:
        if not math.prod(a.shape):
            return b.empty(a.shape, a.dtype), b.pointwise(a.shape[:-1], i32, lambda *i: b.const(0, i32))
        lu, pivots = lu_factors(b, a)
        packed = b.pointwise(a.shape, a.dtype, lambda *i: lu[(*i[:-2], i[-1], i[-2])])
        return packed, b.pointwise(a.shape[:-1], i32, lambda *i: pivots[i] - b.const(1, i32))


def _unit_lower(lu: Var) -> Var:
    """The lower factor, with its ones."""
    shape: Any = lu.shape[-2:]
    on_diagonal = iota(lu, shape, 0).eq(iota(lu, shape, 1))
    return apply("where", on_diagonal, 1.0, triangle(lu, lower=True, strict=True))


def _exchanges(pivots: Var, like: Var) -> Var:
    """The matrices that bring rows into the order of the factors."""
    order = apply("pivot_order", pivots)
    shape: Any = like.shape
    chosen = apply("broadcast_to", apply("reshape", order, shape=(*order.shape, 1)), shape=shape)
    return apply("cast", chosen.eq(iota(like, shape, like.ndim - 1)), dtype=like.dtype)
