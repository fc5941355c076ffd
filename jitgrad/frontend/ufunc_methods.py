"""``reduce``, ``accumulate`` and ``reduceat`` of ufuncs on traced values.

The ufuncs that have a reduction or a running form of their own use it. All others go along the axis step by step, from
the first element to the last, as NumPy does; short ones are written out, long ones are loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special as sps

from jitgrad import config
from jitgrad.errors import ArgumentError, IndexBoundsError, ShapeError
from jitgrad.frontend.functions_reduce import accumulator_dtype, is_kept
from jitgrad.frontend.iteration import range_, steps_of
from jitgrad.frontend.primitives import (
    axis_index,
    axis_tuple,
    broadcast_to,
    broadcast_together,
    cast,
    concatenate,
    constant_like,
    dtype_argument,
    element_count,
    emit,
    full,
    lift_one,
    move_axis,
    reshape,
    strong,
    take_slice,
)
from jitgrad.frontend.raising import demand
from jitgrad.frontend.recording import record_for
from jitgrad.frontend.registry import HOOKS, call, qualified_name
from jitgrad.frontend.tracer import ArrayLike, Tracer, extent, has_traced
from jitgrad.frontend.ufuncs import call_ufunc, resolve_reduction
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_, i64

Array = Any  # a Tracer, as NumPy's functions and operators take it
_NOTHING = np._NoValue  # pyright: ignore[reportAttributeAccessIssue]
#: ufunc -> the function that reduces by it.
_REDUCE = {np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min, np.logical_and: np.all,
           np.logical_or: np.any, np.logaddexp: sps.logsumexp, np.fmax: np.nanmax, np.fmin: np.nanmin}  # fmt: skip
#: Those that have ``initial=`` and ``where=``.
_STARTED = (np.sum, np.prod, np.max, np.min)
#: The ops of ``ufunc.accumulate``.
_RUNNING = {np.maximum: "cummax", np.logical_or: "cummax", np.minimum: "cummin", np.logical_and: "cummin"}
#: Those that log2(n) combinations of the array with itself, moved along the axis, accumulate.
_SHIFTED = (np.fmax, np.fmin, np.logaddexp)


def reduce(
    ufunc: np.ufunc,
    array: ArrayLike,
    axis: Any = 0,
    dtype: Any = None,
    keepdims: Any = False,
    initial: Any = _NOTHING,
    where: Any = True,
) -> Tracer:
    """``ufunc.reduce``. Raises ArgumentError for several axes of a ufunc whose order matters, ShapeError for no
    elements where it has no identity."""
    x = lift_one(array, initial, where)
    started = not (initial is _NOTHING or initial is None)
    masked = not (where is True or where is _NOTHING)
    own = _REDUCE.get(ufunc)
    if own in _STARTED or (own is not None and not started and not masked):
        x = x if own in (np.sum, np.prod) else cast(x, _loop_dtype(ufunc, x, dtype))
        given = {"axis": axis, "keepdims": is_kept(keepdims)}
        if own in (np.sum, np.prod):
            given["dtype"] = dtype
        if own in _STARTED:
            given |= {"initial": initial, "where": where}
        return call(own, (x,), given)
    x = cast(x, _loop_dtype(ufunc, x, dtype))
    if masked:
        mask = cast(lift_one(where, x), bool_)
        shape = broadcast_together(x.dims, mask.dims)
        x, mask = broadcast_to(x, shape), broadcast_to(mask, shape)
    axes = axis_tuple(axis, x.ndim)
    if len(axes) > 1 and not _any_order(ufunc):
        raise ArgumentError(
            f"{qualified_name(ufunc)}.reduce over the axes {axes}. Its order matters, so it takes at most one axis. "
            "Flatten the array before.",
            user_location(),
        )
    kept = [1 if k in axes else d for k, d in enumerate(x.dims)]
    start = cast(lift_one(initial, x), x.dtype) if started else None
    total = _along(ufunc, _merged_first(x, axes), start, _merged_first(mask, axes) if masked else None)
    return strong(reshape(total, kept) if is_kept(keepdims) else total)


def _along(ufunc: np.ufunc, rows: Tracer, start: Tracer | None, mask: Tracer | None) -> Tracer:
    """The rows combined one after the other."""
    n = rows.dims[0]
    if start is None and (n == 0 or mask is not None):
        if ufunc.identity is None:
            raise ShapeError(
                f"{qualified_name(ufunc)}.reduce of no elements, or of those that where= leaves. It has no identity. "
                "Give initial=.",
                user_location(),
            )
        start = constant_like(rows, ufunc.identity)
    total = rows[0] if start is None else broadcast_to(start, rows.dims[1:])
    first = 1 if start is None else 0

    def step(k: Any, total: Any) -> tuple[Any]:
        found = cast(call_ufunc(ufunc, total, rows[k]), rows.dtype)
        return (found if mask is None else np.where(mask[k], found, total),)

    return repeated(rows, first, n, step, total)


def repeated(x: Tracer, lo: Any, hi: Any, step: Callable[..., tuple[Any]], state: Any) -> Any:
    """The state after the steps from ``lo`` to ``hi``: some are written out, many are a loop."""
    if isinstance(lo, int) and isinstance(hi, int) and hi - lo <= config.current().unroll_limit:
        for k in range(lo, hi):
            (state,) = step(k, state)
        return state
    steps = steps_of(range_(range, *(b if isinstance(b, (int, Tracer)) else extent(x.owner, b) for b in (lo, hi))))
    assert steps is not None
    return record_for(x.owner, steps.lo, steps.hi, steps.step, step, (state,), ("the value",), (state,))[0]


def _merged_first(x: Tracer, axes: tuple[int, ...]) -> Tracer:
    """The named axes as one, in front."""
    rest = [k for k in range(x.ndim) if k not in axes]
    moved = emit("transpose", x, perm=(*axes, *rest)) if x.ndim > 1 else x
    return reshape(moved, (element_count([x.dims[k] for k in axes]), *[x.dims[k] for k in rest]))


def _any_order(ufunc: np.ufunc) -> bool:
    return ufunc.identity is not None or ufunc in (np.maximum, np.minimum, np.fmax, np.fmin)


def _loop_dtype(ufunc: np.ufunc, x: Tracer, dtype: Any) -> np.dtype:
    """The dtype of the elements that are combined."""
    if ufunc in (np.add, np.multiply) and dtype is None:
        return accumulator_dtype(x.dtype)
    return resolve_reduction(ufunc, x.dtype, dtype_argument(dtype))


# -- running forms -----------------------------------------------------------------------------------------------------


def accumulate(ufunc: np.ufunc, array: ArrayLike, axis: int = 0, dtype: Any = None) -> Tracer:
    """``ufunc.accumulate``; for fmax, fmin and logaddexp by log2(n) shifted combinations."""
    if ufunc is np.add or ufunc is np.multiply:
        return call(np.cumsum if ufunc is np.add else np.cumprod, (array,), {"axis": axis, "dtype": dtype})
    x = lift_one(array)
    x = cast(x, _loop_dtype(ufunc, x, dtype))
    axis = axis_index(axis, x.ndim)
    if ufunc in _RUNNING:
        return emit(_RUNNING[ufunc], x, axis=axis, reverse=False)
    n, shift = x.dims[axis], 1
    if ufunc not in _SHIFTED or not isinstance(n, int):
        return _running(ufunc, x, axis)
    while shift < n:
        moved = call_ufunc(ufunc, take_slice(x, axis, 0, n - shift), take_slice(x, axis, shift, n))
        x = concatenate([take_slice(x, axis, 0, shift), moved], axis)
        shift *= 2
    return x


def _running(ufunc: np.ufunc, x: Array, axis: int) -> Array:
    """What is combined of the elements up to each."""
    out = np.moveaxis(x.copy(), axis, 0)

    def step(k: Any, out: Any) -> tuple[Any]:
        out[k] = call_ufunc(ufunc, out[k - 1], out[k])
        return (out,)

    return np.moveaxis(repeated(x, 1, out.shape[0], step, out.copy()), 0, axis)


# -- segments ----------------------------------------------------------------------------------------------------------


def reduceat(ufunc: np.ufunc, array: ArrayLike, indices: ArrayLike, axis: int = 0, dtype: Any = None) -> Array:
    """``ufunc.reduceat``: of the elements from each index to the next one, or the one at the index where the next one
    is not greater. An index that is out of bounds is an IndexError, of traced indices when the program runs."""
    x = lift_one(array, indices)
    x = cast(x, _loop_dtype(ufunc, x, dtype))
    axis = axis_index(axis, x.ndim)
    rows: Array = move_axis(x, axis, 0)
    starts = _checked(ufunc, indices, rows)
    count, n = starts.shape[0], extent(x.owner, rows.dims[0])
    if count == 0:
        return move_axis(full(x, (0, *rows.dims[1:]), 0), 0, axis)
    if not has_traced(starts) and isinstance(n, int) and count <= config.current().unroll_limit:
        ends = [*starts[1:].tolist(), n]
        pieces = [rows[a : max(a + 1, b)] for a, b in zip(starts.tolist(), ends, strict=True)]
        return np.moveaxis(np.stack([reduce(ufunc, p, dtype=x.dtype) for p in pieces]), 0, axis)
    starts = lift_one(starts, x)
    ends = np.append(starts[1:], n)

    def segment(j: Any, out: Any) -> tuple[Any]:
        def step(k: Any, total: Any) -> tuple[Any]:
            return (cast(call_ufunc(ufunc, total, rows[k]), rows.dtype),)

        out[j] = repeated(x, starts[j] + 1, ends[j], step, rows[starts[j]])
        return (out,)

    out: Array = full(x, (count, *rows.dims[1:]), 0)
    return np.moveaxis(repeated(x, 0, count, segment, out), 0, axis)


def _checked(ufunc: np.ufunc, indices: ArrayLike, rows: Tracer) -> Any:
    """The indices, one axis of them, which lie in bounds."""
    n, name = extent(rows.owner, rows.dims[0]), f"{ufunc.__name__}.reduceat"
    traced = has_traced(indices) or not isinstance(n, int)
    found: Any = cast(lift_one(indices, rows), i64) if traced else np.asarray(indices).astype(np.int64)
    if found.ndim != 1:
        raise ShapeError(
            f"np.{name} with indices of shape {found.shape}. They are one axis of integers. Flatten them.",
            user_location(),
        )
    inside: Any = (found >= 0) & (found < n)
    within: Any = np.all(inside)
    if traced:
        demand(within, IndexError(f"index out-of-bounds in {name}"))
    elif not within:
        wrong = found[np.argmin(inside)]
        raise IndexBoundsError(f"index {wrong} out-of-bounds in {name} [0, {n})", user_location())
    return found


HOOKS["ufunc_reduce"] = reduce
HOOKS["ufunc_accumulate"] = accumulate
HOOKS["ufunc_reduceat"] = reduceat
