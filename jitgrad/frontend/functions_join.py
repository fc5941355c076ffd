"""Joining, splitting, repeating and padding of traced arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, ConcretizationError, ShapeError, UnsupportedError
from jitgrad.frontend.functions_shape import array_of, atleast_1d, atleast_2d, atleast_3d
from jitgrad.frontend.grown_arrays import join_grown
from jitgrad.frontend.items import as_array
from jitgrad.frontend.primitives import (
    axis_index,
    broadcast_to,
    cast,
    common_dtype,
    concatenate,
    dimension,
    dtype_argument,
    emit,
    floating,
    full,
    insert_axes,
    lift,
    lift_one,
    move_axis,
    reduce,
    reshape,
    static_int,
    strong,
    take_slice,
)
from jitgrad.frontend.registry import HOOKS, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer, innermost_trace
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.ir.index import Dim
from jitgrad.ir.location import user_location

#: An axis is extended by at most so many pieces; else by one gather.
_PIECES = 8

# -- joining -----------------------------------------------------------------------------------------------------------


def _rows(arrays: Any) -> list[Tracer]:
    """The operands of a joining function: a sequence of array-likes, or one array taken apart along its first axis."""
    return lift(*list(arrays))


def _whole(arrays: Any) -> Tracer | None:
    """An array of the operands along a new first axis, where they are elements of one; else None."""
    if isinstance(arrays, Tracer) and arrays.dims and not isinstance(arrays.dims[0], int):
        return arrays
    return as_array(innermost_trace(arrays), arrays) if isinstance(arrays, (list, tuple)) else None


def _join(tracers: Sequence[Tracer], axis: int, dtype: Any = None) -> Tracer:
    """Concatenate after promotion. Raises ShapeError."""
    target = dtype_argument(dtype) or common_dtype(*tracers)
    first = tracers[0]
    for t in tracers:
        same = t.ndim == first.ndim and all(
            a == b for k, (a, b) in enumerate(zip(t.dims, first.dims, strict=True)) if k != axis
        )
        if not same:
            raise ShapeError(
                f"arrays of shapes {first.dims} and {t.dims} can't be joined along axis {axis}. All other extents "
                "must be equal. Reshape or broadcast one of them.",
                user_location(),
            )
    grown = join_grown(tracers, axis, target)
    return grown if grown is not None else strong(concatenate([cast(t, target) for t in tracers], axis))


@implements(np.concatenate)
def concatenate_(arrays: Any, axis: int | None = 0, *, dtype: Any = None, casting: str = "same_kind") -> Tracer:
    whole = _whole(arrays)
    if whole is not None and whole.ndim > 1 and axis is not None:
        at = axis_index(axis, whole.ndim - 1)
        dims = list(whole.dims[1:])
        dims[at] = dims[at] * whole.dims[0]
        return _join([reshape(move_axis(whole, 0, at), dims)], 0, dtype)
    tracers = _rows(arrays)
    if axis is None:
        return _join([reshape(t, (t.count,)) for t in tracers], 0, dtype)
    if tracers[0].ndim == 0:
        raise ShapeError(
            "np.concatenate of scalars. They have no axis to join along. Use np.stack or np.array.", user_location()
        )
    return _join(tracers, axis_index(axis, tracers[0].ndim), dtype)


@implements(np.append)
def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> Tracer:
    return concatenate_(lift(arr, values), axis)


@implements(np.stack)
def stack(arrays: Any, axis: int = 0, *, dtype: Any = None, casting: str = "same_kind") -> Tracer:
    whole = _whole(arrays)
    if whole is not None:
        return _join([move_axis(whole, 0, axis_index(axis, whole.ndim))], 0, dtype)
    tracers = _rows(arrays)
    if any(t.dims != tracers[0].dims for t in tracers):
        raise ShapeError(
            f"np.stack of arrays of shapes {', '.join(str(t.dims) for t in tracers)}. All must have one shape. Use "
            "np.concatenate, or np.broadcast_to first.",
            user_location(),
        )
    axis = axis_index(axis, tracers[0].ndim + 1)
    return _join([insert_axes(t, [axis]) for t in tracers], axis, dtype)


@implements(getattr(np, "unstack", None))  # NumPy 2.1
def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[Tracer, ...]:
    t = array_of(x)
    before = (slice(None),) * axis_index(axis, t.ndim)
    return tuple(t[(*before, k)] for k in range(static_int(t.shape[len(before)], "the extent of the axis")))


@implements(np.vstack)
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Tracer:
    whole = _whole(tup)
    if whole is not None and whole.ndim == 2:
        return _join([whole], 0, dtype)
    return _join([atleast_2d(t) for t in _rows(tup)], 0, dtype)


@implements(np.hstack)
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Tracer:
    tracers = [atleast_1d(t) for t in _rows(tup)]
    return _join(tracers, 0 if tracers[0].ndim == 1 else 1, dtype)


@implements(np.dstack)
def dstack(tup: Any) -> Tracer:
    return _join([atleast_3d(t) for t in _rows(tup)], 2)


@implements(np.column_stack)
def column_stack(tup: Any) -> Tracer:
    return _join([reshape(t, (t.count, 1)) if t.ndim < 2 else t for t in _rows(tup)], 1)


@implements(np.block)
def block(arrays: Any) -> Tracer:
    depth = _depth(arrays)
    flat = _flatten(arrays)
    tracers = iter(lift(*flat))
    ndim = max(depth, *(np.ndim(a) for a in flat))
    return _block(arrays, depth, ndim, tracers)


def _depth(arrays: Any) -> int:
    return 1 + max((_depth(a) for a in arrays), default=0) if isinstance(arrays, list) else 0


def _flatten(arrays: Any) -> list[Any]:
    return [leaf for a in arrays for leaf in _flatten(a)] if isinstance(arrays, list) else [arrays]


def _block(arrays: Any, depth: int, ndim: int, tracers: Any) -> Tracer:
    if not isinstance(arrays, list):
        t = next(tracers)
        return reshape(t, (*[1] * (ndim - t.ndim), *t.dims))
    return _join([_block(a, depth - 1, ndim, tracers) for a in arrays], ndim - depth)


# -- splitting ---------------------------------------------------------------------------------------------------------


def _cut(x: Tracer, points: Sequence[int], axis: int) -> list[Tracer]:
    before = (slice(None),) * axis
    return [x[(*before, slice(a, b))] for a, b in zip([0, *points], [*points, None], strict=True)]


@implements(np.array_split)
def array_split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[Tracer]:
    x = array_of(ary)
    axis = axis_index(axis, x.ndim)
    if not isinstance(indices_or_sections, Tracer) and np.ndim(indices_or_sections):
        return _cut(x, [static_int(i, "indices_or_sections") for i in indices_or_sections], axis)
    sections = static_int(indices_or_sections, "indices_or_sections")
    if sections <= 0:
        raise ArgumentError(
            f"np.array_split into {sections} sections. There must be at least one. Give a positive number.",
            user_location(),
        )
    each, extra = divmod(x.dims[axis], sections)
    sizes = [each + 1] * extra + [each] * (sections - extra)
    return _cut(x, np.cumsum(sizes)[:-1].tolist(), axis)


@implements(np.split)
def split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[Tracer]:
    x = array_of(ary)
    axis = axis_index(axis, x.ndim)
    if isinstance(indices_or_sections, Tracer) or np.ndim(indices_or_sections) == 0:
        sections = static_int(indices_or_sections, "indices_or_sections")
        if sections <= 0 or x.dims[axis] % sections:
            raise ShapeError(
                f"np.split of {x.dims[axis]} rows into {sections} sections. They would not be equal. Use "
                "np.array_split.",
                user_location(),
            )
    return array_split(x, indices_or_sections, axis)


@implements(np.hsplit)
def hsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Tracer]:
    return split(ary, indices_or_sections, 0 if lift_one(ary).ndim == 1 else 1)


@implements(np.vsplit)
def vsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Tracer]:
    return split(ary, indices_or_sections, 0)


@implements(np.dsplit)
def dsplit(ary: ArrayLike, indices_or_sections: Any) -> list[Tracer]:
    return split(ary, indices_or_sections, 2)


# -- repeating ---------------------------------------------------------------------------------------------------------


@implements(np.tile)
def tile(A: ArrayLike, reps: Any) -> Tracer:
    x = lift_one(A, reps)
    single = isinstance(reps, Tracer) or (not isinstance(reps, (list, tuple)) and np.ndim(reps) == 0)
    counts: list[Dim] = [dimension(r, "reps") for r in ([reps] if single else reps)]
    ndim = max(len(counts), x.ndim)
    counts = [1] * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - x.ndim) + x.dims
    # (r0, n0, r1, n1, ...): a stretched axis before each own one, then merge the pairs.
    spread = reshape(x, [e for d in shape for e in (1, d)])
    stretched = broadcast_to(spread, [e for r, d in zip(counts, shape, strict=True) for e in (r, d)])
    return strong(reshape(stretched, [r * d for r, d in zip(counts, shape, strict=True)]))


@implements(np.repeat)
def repeat(a: ArrayLike, repeats: Any, axis: int | None = None) -> Tracer:
    x = lift_one(a, repeats)
    if isinstance(repeats, Tracer) and repeats.dims:
        raise ConcretizationError(
            "np.repeat with traced numbers of repeats, one for each element. The shape of the result depends on them. "
            "Give one number for all, or make them static.",
            user_location(),
        )
    if axis is None:
        x, axis = reshape(x, (x.count,)), 0
    axis = axis_index(axis, x.ndim)
    counts = repeats if isinstance(repeats, Tracer) else np.atleast_1d(np.asarray(repeats))
    n = x.dims[axis]
    if counts.size == 1:
        r = dimension(counts if isinstance(counts, Tracer) else counts.reshape(-1)[0], "repeats")
        stretched = broadcast_to(insert_axes(x, [axis + 1]), (*x.dims[: axis + 1], r, *x.dims[axis + 1 :]))
        return strong(reshape(stretched, (*x.dims[:axis], n * r, *x.dims[axis + 1 :])))
    if counts.shape != (n,):
        raise ShapeError(
            f"np.repeat with {counts.size} counts on an axis of extent {n}. There must be one count, or one for each "
            "element.",
            user_location(),
        )
    return HOOKS["getitem"](x, (slice(None),) * axis + (np.repeat(np.arange(n), counts),))


@implements(np.resize)
def resize(a: ArrayLike, new_shape: Any) -> Tracer:
    x = lift_one(a)
    shape = tuple(np.atleast_1d(new_shape).tolist())
    size = int(np.prod(shape))
    if x.count == 0:
        return full(x, shape, 0)
    flat = tile(reshape(x, (x.count,)), -(-size // x.count) or 1)
    return reshape(take_slice(flat, 0, 0, size), shape)


# -- padding -----------------------------------------------------------------------------------------------------------


@implements(np.pad)
def pad(array: ArrayLike, pad_width: Any, mode: str | Callable[..., Any] = "constant", **kwargs: Any) -> Tracer:
    """Modes constant, edge, reflect, symmetric, wrap, mean, maximum, minimum and empty."""
    x = lift_one(array)
    if isinstance(pad_width, dict):
        widths = [pad_width.get(k, pad_width.get(k - x.ndim, 0)) for k in range(x.ndim)]
        pad_width = [(w, w) if isinstance(w, int) else w for w in widths]
    pairs = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist() if x.ndim else []
    if any(w < 0 for pair in pairs for w in pair):
        raise ArgumentError(
            f"np.pad by {pad_width}. Widths can't be negative. Use slicing to cut elements off.", user_location()
        )
    if mode in ("constant", "empty"):
        return _pad_constant(x, pairs, kwargs.get("constant_values", 0))
    if mode in ("mean", "maximum", "minimum") and kwargs.get("stat_length") is None:
        return _pad_statistic(x, pairs, str(mode))
    if mode in ("edge", "reflect", "symmetric", "wrap") and kwargs.get("reflect_type", "even") == "even":
        # NumPy's own result on the indices says which element goes where.
        for axis, (low, high) in enumerate(pairs):
            if low or high:
                x = extended_along(x, axis, np.pad(np.arange(x.dims[axis]), (low, high), mode=mode), low)
        return x
    raise UnsupportedError(
        f"np.pad with mode {mode!r} (and these options) is not supported on traced values. constant, edge, reflect, "
        "symmetric, wrap, mean, maximum and minimum are. Use np.concatenate.",
        user_location(),
    )


def extended_along(x: Tracer, axis: int, places: np.ndarray, low: int) -> Tracer:
    """The elements at ``places`` along an axis, of which those from ``low`` on are the array itself: slices side by
    side, or one gather where that takes many."""
    n = x.dims[axis]
    runs = [*_runs(places[:low]), (0, 1, n), *_runs(places[low + n :])]
    if len(runs) > _PIECES:
        return HOOKS["getitem"](x, (slice(None),) * axis + (places,))
    return concatenate([_run(x, axis, *run) for run in runs], axis)


def _runs(places: np.ndarray) -> list[tuple[int, int, int]]:
    """Index arrays as runs: first place, step (1, -1 or 0), and length."""
    found: list[tuple[int, int, int]] = []
    for place in places.tolist():
        if found:
            first, step, count = found[-1]
            if count == 1 and abs(place - first) <= 1:
                found[-1] = (first, place - first, 2)
                continue
            if count > 1 and place == first + step * count:
                found[-1] = (first, step, count + 1)
                continue
        found.append((place, 1, 1))
    return found


def _run(x: Tracer, axis: int, first: int, step: int, count: int) -> Tracer:
    if step == 0:
        shape = [count if k == axis else d for k, d in enumerate(x.dims)]
        return broadcast_to(take_slice(x, axis, first, first + 1), shape)
    return take_slice(x, axis, first, first + step * count, step)


def _pad_constant(x: Tracer, pairs: list[list[int]], values: Any) -> Tracer:
    if isinstance(values, (bool, int, float, np.number)) and values == 0:
        low, high = tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
        return emit("pad", x, low=low, high=high) if any(low) or any(high) else strong(x)
    fills = lift_one(values, x)
    fills = broadcast_to(cast(fills, x.dtype), (x.ndim, 2))
    for axis, (low, high) in enumerate(pairs):
        pieces = [x]
        for width, side in ((low, 0), (high, 1)):
            if width:
                shape = [width if k == axis else d for k, d in enumerate(x.dims)]
                piece = broadcast_to(fills[axis, side], shape)
                pieces = [piece, *pieces] if side == 0 else [*pieces, piece]
        x = concatenate(pieces, axis)
    return strong(x)


def _pad_statistic(x: Tracer, pairs: list[list[int]], mode: str) -> Tracer:
    for axis, (low, high) in enumerate(pairs):
        n = x.dims[axis]
        if mode == "mean":
            total = reduce("sum", floating(x), [axis], keepdims=True)
            value = call_ufunc(np.divide, total, n)
            value = cast(emit("rint", value) if x.dtype.kind in "iu" else value, x.dtype)
        else:
            value = reduce(mode[:3], x, [axis], keepdims=True)
        low_part, high_part = (
            broadcast_to(value, [w if k == axis else d for k, d in enumerate(x.dims)]) for w in (low, high)
        )
        x = concatenate([p for p, w in ((low_part, low), (x, 1), (high_part, high)) if w], axis)
    return x


HOOKS["stack"] = stack
