"""sort and argsort along an axis: stable, NaN last, as ``np.sort(kind="stable")``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.config import current
from jitgrad.errors import ShapeError
from jitgrad.ir.index import Dim, mul
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import is_static
from jitgrad.ir.types import TensorType, i64
from jitgrad.ops.indexing import along_axis, elements_at, from_elements_at
from jitgrad.ops.op import Cotangent, OpRule, Sample, Var, apply, register

#: Rows of fewer elements in all are sorted one after the other; of more, several at a time, at most so many.
LARGE, SLOTS = 1 << 15, 16


def check_axis(name: str, x: TensorType, axis: int) -> None:
    """Raise a ShapeError unless ``axis`` is an axis of ``x``, counted from 0."""
    if not 0 <= axis < x.ndim:
        raise ShapeError(
            f"{name} along axis {axis} of an array of shape {tuple(x.shape)}. The array has {x.ndim} axes. "
            "Name one of them.",
            user_location(),
        )


def order_index(x: Var, axis: int) -> tuple[Var, ...]:
    """Index arrays, one an axis and all of x's shape, that put x in order: ``sort(x) == x[order_index(x)]``."""
    return along_axis(apply("argsort", x, axis=axis), axis)


def to_rows(b: Any, x: Any, axis: int) -> Any:
    """A mutable copy with the given axis moved last."""
    if axis == x.ndim - 1:
        return b.copy(x)
    shape = (*x.shape[:axis], *x.shape[axis + 1 :], x.shape[axis])
    return b.pointwise(shape, x.dtype, lambda *i: x[(*i[:axis], i[-1], *i[axis:-1])])


def _sort_rows(b: Any, fn: str, outs: Sequence[Any], n: Dim) -> None:
    """Call a sort for all rows of ``n`` keys. ``outs`` are its arrays, the keys last; for each comes a workspace."""
    keys = outs[-1]
    size = keys.buffer.size
    if is_static(size, n):
        rows = size // n
        slots = min(rows, SLOTS) if current().parallel and size >= LARGE else 1
        static, ins = {"rows": rows, "n": n, "slots": slots}, [keys]
    else:
        rows, slots = TensorType(keys.dtype, keys.shape[:-1]).size, 1
        static = {"rows": None, "n": None}
        ins = [keys, *(b.pointwise((), i64, lambda e=e: b.index(e)) for e in (rows, n))]
    b.libcall(fn, [*outs, *(b.empty((mul(slots, n),), t.dtype) for t in outs)], ins, **static)


def from_rows(b: Any, rows: Any, axis: int) -> Any:
    """The last axis moved back to its place."""
    if axis == rows.ndim - 1:
        return rows
    shape = (*rows.shape[:axis], rows.shape[-1], *rows.shape[axis:-1])
    return b.pointwise(shape, rows.dtype, lambda *i: rows[(*i[:axis], *i[axis + 1 :], i[axis])])


def _samples(rng: np.random.Generator) -> list[Sample]:
    result = [
        Sample((rng.permutation(12).astype(float),), {"axis": 0}),
        Sample((rng.permutation(60).reshape(3, 5, 4) / 7.0,), {"axis": 1}),
        Sample((rng.permutation(40).reshape(2, 20) / 7.0,), {"axis": 1}),
    ]
    ties = np.round(rng.standard_normal((4, 50)))
    ties[rng.random(ties.shape) < 0.1] = np.nan
    others = [ties, rng.integers(-5, 5, (50, 2)), rng.random((2, 9)) < 0.5, np.ones((2, 0)), np.ones((0, 2))]
    others += [rng.integers(0, 9, (3, 40), dtype=np.uint8), np.array([[np.inf, -np.inf, -0.0, 0.0, np.nan]])]
    return result + [Sample((x,), {"axis": axis}, grad=False) for x in others for axis in (0, 1)]


@register
class Argsort(OpRule):
    """``argsort(x){axis}``: the int64 indices that sort ``x`` along an axis; equal elements keep their order, NaN is
    last."""

    name = "argsort"
    differentiable = False
    samples = staticmethod(_samples)

    def infer(self, x: TensorType, *, axis: int) -> TensorType:
        check_axis(self.name, x, axis)
        return TensorType(i64, x.shape)

    def eval(self, x: np.ndarray, *, axis: int) -> np.ndarray:
        return np.argsort(x, axis=axis, kind="stable").astype(np.int64, copy=False)

    def lower(self, b: Any, x: Any, *, axis: int) -> Any:
        n = x.shape[axis]
        if n in (0, 1) or 0 in x.shape:
            return b.pointwise(x.shape, i64, lambda *i: b.const(0, i64))
        keys = to_rows(b, x, axis)
        index = b.empty(keys.shape, i64)
        _sort_rows(b, "argsort_rows", [index, keys], n)
        order = from_rows(b, index, axis)
        b.indices_of(order, n)
        return order


@register
class Sort(OpRule):
    """``sort(x){axis}``: the elements in ascending order along an axis, NaN last.

    Derivatives move with the elements; among equal elements, with their original order.
    """

    name = "sort"
    samples = staticmethod(_samples)

    def infer(self, x: TensorType, *, axis: int) -> TensorType:
        check_axis(self.name, x, axis)
        return x

    def eval(self, x: np.ndarray, *, axis: int) -> np.ndarray:
        return np.sort(x, axis=axis, kind="stable")

    def pullback(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, g: Cotangent, out: Var, x: Var, *, axis: int
    ) -> Sequence[Cotangent | None]:
        return [from_elements_at(g, x, order_index(x, axis))]

    def jvp(self, ts: Sequence[Var | None], out: Var, x: Var, *, axis: int) -> Var | None:
        (t,) = ts
        return None if t is None else elements_at(t, order_index(x, axis))

    def lower(self, b: Any, x: Any, *, axis: int) -> Any:
        n = x.shape[axis]
        keys = to_rows(b, x, axis)
        if n not in (0, 1) and 0 not in x.shape:
            _sort_rows(b, "sort_rows", [keys], n)
        return from_rows(b, keys, axis)
