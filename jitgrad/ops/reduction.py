"""Reductions over axes: sum, prod, max, min, any, all, argmax, argmin.

``axes`` is a tuple of sorted, distinct, non-negative ints; the result lacks those axes (``keepdims`` is a reshape that
the front end adds). The result has the operand's dtype: the front end casts first where NumPy would widen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from jitgrad.errors import ShapeError
from jitgrad.ir.index import Dim, add, never_negative
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType, bool_, i32, i64, is_float
from jitgrad.ops.op import Cotangent, Linear, OpRule, Sample, Var, apply, register
from jitgrad.ops.scans import exclusive_products

#: The longest rows in which argmax and argmin look at each element once, and branch.
_SHORT = 16


def check_axis(name: str, axis: int, ndim: int) -> None:
    """Raise a ShapeError unless ``0 <= axis < ndim``."""
    if 0 <= axis < ndim:
        return
    raise ShapeError(
        f"{name}: axis {axis} is out of bounds for array of dimension {ndim}. Axes run from 0 to {ndim - 1}. "
        "Pass an axis that the array has.",
        user_location(),
    )


def keep_axes(v: Var, axes: Sequence[int]) -> Var:
    """A reduced value with the reduced ``axes`` back, of extent 1."""
    if not axes:
        return v
    rest = iter(v.shape)
    shape = tuple(1 if k in axes else next(rest) for k in range(v.ndim + len(axes)))
    return apply("reshape", v, shape=shape)


def expand(v: Var, axes: Sequence[int], shape: tuple[Dim, ...]) -> Var:
    """A reduced value repeated along ``axes``, up to ``shape``: the transpose of a sum (of any, for a mask)."""
    kept = keep_axes(v, axes)
    return kept if kept.shape == shape else apply("broadcast_to", kept, shape=shape)


class Reduction(OpRule):
    """Shared parts: shapes, evaluation by a ufunc's ``reduce``, and lowering by the mode of a store."""

    ufunc: ClassVar[np.ufunc]
    #: Modes of a Loop IR store, for numbers and for bool.
    mode: ClassVar[str]
    bool_mode: ClassVar[str]
    #: False where an empty reduction has no value, as for max.
    has_identity: ClassVar[bool] = True

    def infer(self, *types: TensorType, axes: tuple[int, ...]) -> TensorType:
        (x,) = types
        for axis in axes:
            check_axis(self.name, axis, x.ndim)
        if tuple(sorted(set(axes))) != tuple(axes):
            raise ShapeError(
                f"{self.name}: duplicate value in 'axis': {tuple(axes)}. The IR takes sorted, distinct axes. "
                "Name each axis once.",
                user_location(),
            )
        shape = tuple(n for k, n in enumerate(x.shape) if k not in axes)
        if not self.has_identity and any(x.shape[k] == 0 for k in axes):
            raise ShapeError(
                f"zero-size array to reduction operation {self.ufunc.__name__} which has no identity. "
                f"The operand has shape {x.shape} and is reduced over the axes {tuple(axes)}. "
                "Reduce over axes that are not empty, or handle the empty case before.",
                user_location(),
            )
        return TensorType(self.result_dtype(x.dtype), shape)

    def result_dtype(self, dtype: np.dtype) -> np.dtype:
        return dtype

    def eval(self, *arrays: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        (x,) = arrays
        with np.errstate(all="ignore"):
            if self.has_identity:
                out = self.ufunc.reduce(x, axis=axes, dtype=self.result_dtype(x.dtype))
            else:
                out = self.ufunc.reduce(x, axis=axes)
        return np.asarray(out, dtype=self.result_dtype(x.dtype))

    def lower(self, b: Any, *tensors: Any, axes: tuple[int, ...]) -> Any:
        (x,) = tensors
        mode = self.bool_mode if x.dtype == bool_ else self.mode
        return b.reduce(x.shape, axes, mode, x.dtype, lambda *index: x[index])


def _arrays(rng: np.random.Generator) -> list[Sample]:
    """Operands that suit every reduction: ranks 0 to 4, empty axes that are kept, all kinds of dtypes."""
    one, two, three = rng.normal(size=5), rng.normal(size=(3, 4)), rng.normal(size=(2, 3, 4))
    small = rng.integers(-5, 6, size=(3, 4))
    special = np.array([[1.0, np.nan, -np.inf], [np.inf, 2.0, 3.0], [-0.0, 0.0, 7.0]])
    samples = [
        Sample((np.array(1.5),), {"axes": ()}),
        Sample((one,), {"axes": (0,)}),
        *(Sample((two,), {"axes": axes}) for axes in [(), (0,), (1,), (0, 1)]),
        *(Sample((three,), {"axes": axes}) for axes in [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]),
        Sample((rng.normal(size=(2, 1, 3, 2)),), {"axes": (1, 3)}),
        Sample((np.zeros((0, 3)),), {"axes": (1,)}),
        Sample((np.zeros((0, 3, 0)),), {"axes": (1,)}),
        Sample((three.astype(np.float32),), {"axes": (1,)}, grad=False),
        Sample((rng.normal(size=(7, 33)).astype(np.float32),), {"axes": (0, 1)}, grad=False),
        *(Sample((small.astype(d),), {"axes": (1,)}, grad=False) for d in (np.int64, np.int32, np.int8)),
        Sample((small.astype(np.uint8),), {"axes": (0,)}, grad=False),
        Sample((small > 2,), {"axes": (0,)}, grad=False),
        Sample((small > -4,), {"axes": (0, 1)}, grad=False),
        *(Sample((special,), {"axes": axes}, grad=False) for axes in [(0,), (1,)]),
    ]
    return samples


def _with_empty(rng: np.random.Generator) -> list[Sample]:
    """The same, and reductions of nothing, which give the identity."""
    return [
        *_arrays(rng),
        Sample((np.zeros((0, 3)),), {"axes": (0,)}),
        Sample((np.zeros((0, 0)),), {"axes": (0,)}),
        Sample((np.zeros((2, 0, 3)),), {"axes": (0, 1)}),
        Sample((np.zeros(0, bool),), {"axes": (0,)}, grad=False),
    ]


def _with_zeros(rng: np.random.Generator) -> list[Sample]:
    """The same, and factors of zero: none, one, two in a product."""
    x = rng.normal(size=(4, 3))
    x[1, 1] = x[0, 2] = x[3, 2] = 0.0
    return [*_with_empty(rng), Sample((x,), {"axes": (0,)}), Sample((x,), {"axes": (0, 1)})]


@register
class ReduceSum(Linear, Reduction):
    """``np.sum`` without widening. The sum of bool is "any"."""

    name, ufunc, mode, bool_mode = "reduce_sum", np.add, "+=", "or="
    moves = True
    samples = staticmethod(_with_empty)

    def transpose(self, g: Var, *xs: Var, axes: tuple[int, ...]) -> Var:
        return expand(g, axes, xs[0].shape)


@register
class ReduceProd(Reduction):
    """``np.prod`` without widening. The product of bool is "all".

    The partial is the product of all other factors. It is made from running products from both sides, without
    division, so zeros among the factors are right, to every order.
    """

    name, ufunc, mode, bool_mode = "reduce_prod", np.multiply, "*=", "and="
    samples = staticmethod(_with_zeros)

    def _partial(self, x: Var, axes: tuple[int, ...]) -> Var:
        if len(axes) == 1:
            return exclusive_products(x, axes[0])
        # One run through all reduced axes: bring them to the end and flatten them.
        kept = tuple(k for k in range(x.ndim) if k not in axes)
        perm = (*kept, *axes)
        moved = apply("transpose", x, perm=perm)
        size: Dim = 1
        for k in axes:
            size = size * x.shape[k]
        flat = apply("reshape", moved, shape=(*(x.shape[k] for k in kept), size))
        partial = apply("reshape", exclusive_products(flat, len(kept)), shape=moved.shape)
        return apply("transpose", partial, perm=tuple(int(k) for k in np.argsort(perm)))

    def pullback(self, g: Cotangent, out: Var, *xs: Var, axes: tuple[int, ...]) -> Sequence[Cotangent | None]:
        (x,) = xs
        if not axes:
            return [g]
        value = keep_axes(g.value, axes) * self._partial(x, axes)
        if g.mask is None:
            return [Cotangent(value)]
        mask = expand(g.mask, axes, x.shape)
        return [Cotangent(apply("where", mask, value, 0), mask)]

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, axes: tuple[int, ...]) -> Var | None:
        (t,), (x,) = ts, xs
        if t is None or not axes:
            return t
        return apply("reduce_sum", t * self._partial(x, axes), axes=axes)


class Extremum(Reduction):
    """Max and min: NaN wins, and equal winners share the derivative evenly."""

    has_identity = False

    def _active(self, out: Var, x: Var, axes: tuple[int, ...]) -> tuple[Var, Var]:
        """Which elements are the extremum (``x``'s shape), and how many (``out``'s shape, ``x``'s dtype)."""
        active = x.eq(keep_axes(out, axes)) | apply("isnan", x)  # NaNs, where there are any, are the extremum
        return active, apply("reduce_sum", apply("cast", active, dtype=x.dtype), axes=axes)

    def pullback(self, g: Cotangent, out: Var, *xs: Var, axes: tuple[int, ...]) -> Sequence[Cotangent | None]:
        (x,) = xs
        if not axes:
            return [g]
        active, count = self._active(out, x, axes)
        value = apply("where", active, keep_axes(g.value / count, axes), 0)
        mask = active if g.mask is None else active & keep_axes(g.mask, axes)
        return [Cotangent(value, mask)]

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, axes: tuple[int, ...]) -> Var | None:
        (t,), (x,) = ts, xs
        if t is None or not axes:
            return t
        active, count = self._active(out, x, axes)
        return apply("reduce_sum", apply("where", active, t, 0), axes=axes) / count


def _with_ties(rng: np.random.Generator) -> list[Sample]:
    ties = np.array([[1.0, 2.0, 2.0], [2.0, 0.0, 2.0]])
    return [*_arrays(rng), *(Sample((ties,), {"axes": axes}, grad=False) for axes in [(0,), (1,), (0, 1)])]


@register
class ReduceMax(Extremum):
    """``np.max``; of bool, "any"."""

    name, ufunc, mode, bool_mode = "reduce_max", np.maximum, "max=", "or="
    samples = staticmethod(_with_ties)


@register
class ReduceMin(Extremum):
    """``np.min``; of bool, "all"."""

    name, ufunc, mode, bool_mode = "reduce_min", np.minimum, "min=", "and="
    samples = staticmethod(_with_ties)


class Quantifier(Reduction):
    """Any and all: the result is bool; numbers count as True where they differ from 0 (NaN does)."""

    differentiable = False

    def result_dtype(self, dtype: np.dtype) -> np.dtype:
        return bool_

    def lower(self, b: Any, *tensors: Any, axes: tuple[int, ...]) -> Any:
        (x,) = tensors
        return b.reduce(
            x.shape, axes, self.mode, bool_, lambda *index: x[index] if x.dtype == bool_ else x[index].ne(0)
        )


@register
class ReduceAny(Quantifier):
    """``np.any``."""

    name, ufunc, mode = "reduce_any", np.logical_or, "or="
    samples = staticmethod(_with_empty)


@register
class ReduceAll(Quantifier):
    """``np.all``."""

    name, ufunc, mode = "reduce_all", np.logical_and, "and="
    samples = staticmethod(_with_empty)


class ArgExtremum(OpRule):
    """Position of the first extremum along one axis, as int64; the first NaN wins over every number."""

    differentiable = False
    numpy: ClassVar[Any]
    #: The scalar comparison by which a later element takes over, and how elements are combined into the extremum.
    better: ClassVar[str]
    mode: ClassVar[str]

    def infer(self, *types: TensorType, axis: int) -> TensorType:
        (x,) = types
        check_axis(self.name, axis, x.ndim)
        if x.shape[axis] == 0:
            raise ShapeError(
                f"attempt to get {self.name} of an empty sequence. Axis {axis} of the operand of shape {x.shape} is "
                "empty. Reduce over an axis that is not, or handle the empty case before.",
                user_location(),
            )
        return TensorType(i64, (*x.shape[:axis], *x.shape[axis + 1 :]))

    def eval(self, *arrays: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(type(self).numpy(arrays[0], axis=axis), dtype=np.int64)

    def lower(self, b: Any, *tensors: Any, axis: int) -> Any:
        (x,) = tensors
        n = x.shape[axis]
        out = self._in_one_pass(b, x, axis) if isinstance(n, int) and n <= _SHORT else self._in_two(b, x, axis)
        if never_negative(add(n, -1)):  # of no elements it is no index
            b.indices_of(out, n)
        return out

    def _in_one_pass(self, b: Any, x: Any, axis: int) -> Any:
        dtype = i32 if x.dtype == bool_ else x.dtype
        out = b.empty((*x.shape[:axis], *x.shape[axis + 1 :]), i64)
        with b.loops(out.shape) as index:
            before, after = index[:axis], index[axis:]
            best = b.let(b.cast(x[(*before, 0, *after)], dtype), "best")
            where = b.let(b.const(0, i64), "where")
            with b.loop(x.shape[axis], lo=1) as k:
                value = b.cast(x[(*before, k, *after)], dtype)
                takes = b.scalar(self.better, value, best)
                if is_float(dtype):
                    takes = takes | (b.scalar("isnan", value) & ~b.scalar("isnan", best))
                with b.when(takes):
                    b.assign(best, value)
                    b.assign(where, b.index(k))
            b.store(out, index, where)
        return out

    def _in_two(self, b: Any, x: Any, axis: int) -> Any:
        """The extremum, then the least of the places where it is: neither loop branches, so both become vectors."""
        dtype = i32 if x.dtype == bool_ else x.dtype
        found = b.reduce(x.shape, (axis,), self.mode, dtype, lambda *i: b.cast(x[i], dtype))
        n = x.shape[axis]
        count = i32 if dtype.itemsize <= 4 and isinstance(n, int) and n < 1 << 31 else i64  # as wide as the elements

        def place(*index: Dim) -> Any:
            value = b.cast(x[index], dtype)
            here = value.eq(found[(*index[:axis], *index[axis + 1 :])])
            if is_float(dtype):
                here = here | b.scalar("isnan", value)  # then that is what was found
            return b.scalar("where", here, *(b.cast(b.index(k), count) for k in (index[axis], n)))

        places = b.reduce(x.shape, (axis,), "min=", count, place)
        return places if count == i64 else b.pointwise(places.shape, i64, lambda *i: b.cast(places[i], i64))


def _arg_samples(rng: np.random.Generator) -> list[Sample]:
    special = np.array([[1.0, np.nan, np.nan], [np.inf, 2.0, np.inf], [-0.0, 0.0, -0.0]])
    small = rng.integers(-3, 4, size=(3, 5))
    return [
        Sample((rng.normal(size=6),), {"axis": 0}),
        *(Sample((rng.normal(size=(2, 3, 4)),), {"axis": k}) for k in range(3)),
        *(Sample((special,), {"axis": k}) for k in range(2)),
        Sample((small,), {"axis": 1}),
        Sample((small.astype(np.float32),), {"axis": 0}),
        Sample((small > 0,), {"axis": 1}),
        Sample((np.ones((1, 2)),), {"axis": 0}),
        Sample((np.zeros((0, 2)),), {"axis": 1}),
    ]


@register
class ArgMax(ArgExtremum):
    """``np.argmax`` along one axis."""

    name, numpy, better, mode = "argmax", np.argmax, "greater", "max="
    samples = staticmethod(_arg_samples)


@register
class ArgMin(ArgExtremum):
    """``np.argmin`` along one axis."""

    name, numpy, better, mode = "argmin", np.argmin, "less", "min="
    samples = staticmethod(_arg_samples)
