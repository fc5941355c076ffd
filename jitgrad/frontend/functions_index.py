"""NumPy's functions of indexing on traced values: take, choose, windows, compress and others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, IndexBoundsError, ShapeError
from jitgrad.frontend import masks
from jitgrad.frontend.concrete import unwrap
from jitgrad.frontend.primitives import (
    axis_index,
    broadcast_to,
    broadcast_together,
    cast,
    concatenate,
    dimension,
    emit,
    insert_axes,
    lift_one,
    reshape,
    static_int,
    static_shape,
    windows,
)
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import ADVICE, HOOKS, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer, contains_tracer, extent, has_traced
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_, i64

# -- take and put ------------------------------------------------------------------------------------------------------


def in_bounds(indices: ArrayLike, n: Any, mode: str) -> Any:
    """The indices of an axis of extent ``n``, with those outside wrapped around or moved to its ends. They are int64
    then: a smaller dtype may not hold ``n``."""
    if has_traced(indices):
        x = lift_one(indices)
        x = cast(x, i64) if x.dtype.kind in "iu" else x
        return call_ufunc(np.remainder, x, n) if mode == "wrap" else HOOKS["clip"](x, 0, n - 1)
    indices = np.asarray(unwrap(indices)).astype(np.int64, casting="same_kind")
    return indices % n if mode == "wrap" else np.clip(indices, 0, n - 1)


@implements(np.take)
def take(a: ArrayLike, indices: ArrayLike, axis: int | None = None, *, mode: str = "raise") -> Tracer:
    x = lift_one(a, indices)
    if isinstance(indices, (list, tuple)) and not contains_tracer(indices) and np.size(indices) == 0:
        indices = np.asarray(indices, np.int64)  # an empty list would be float
    if axis is None:
        x, axis = reshape(x, (x.count,)), 0
    axis = axis_index(axis, x.ndim)
    n = x.dims[axis]
    if mode != "raise":
        indices = in_bounds(indices, n, mode)
    result = x[(slice(None),) * axis + (indices,)]
    return Tracer(result.owner, result.value)


def along(x: Tracer, indices: Tracer, axis: int) -> tuple[Any, ...]:
    """The full index of ``take_along_axis``: the positions on every other axis, and the given ones on this."""
    shape = indices.dims
    result: list[Any] = []
    for k, d in enumerate(x.dims):
        if k == axis:
            result.append(indices)
        else:
            extent = [d if j == k else 1 for j in range(x.ndim)]
            if shape[k] not in (1, d) and d != 1:
                raise ShapeError(
                    f"indices of shape {shape} along axis {axis} of an array of shape {x.dims}. On the other axes "
                    "they must agree. Broadcast the indices.",
                    user_location(),
                )
            result.append(np.arange(d).reshape(extent))
    return tuple(result)


def along_axis(
    arr: ArrayLike, indices: ArrayLike, axis: int | None, flat: Callable[[Tracer], Tracer]
) -> tuple[Tracer, Tracer, int]:
    """The operands of ``take_along_axis`` and ``put_along_axis``; ``flat`` is applied to the array for axis None."""
    x = lift_one(arr, indices)
    i = lift_one(indices, x)
    if axis is None:
        x, axis = flat(x), 0
    axis = axis_index(axis, x.ndim)
    if i.ndim != x.ndim:
        raise ShapeError(
            f"indices of dimension {i.ndim} for an array of dimension {x.ndim}. They must be equal. Use np.take, or "
            "np.expand_dims on the indices.",
            user_location(),
        )
    return x, i, axis


@implements(np.take_along_axis)
def take_along_axis(arr: ArrayLike, indices: ArrayLike, axis: int | None = -1) -> Tracer:
    x, i, axis = along_axis(arr, indices, axis, lambda t: reshape(t, (t.count,)))
    return x[along(x, i, axis)]


@implements(np.choose)
def choose(a: ArrayLike, choices: Any, *, mode: str = "raise") -> Tracer:
    selector = lift_one(a, *choices)
    if contains_tracer(choices):
        stacked = HOOKS["stack"](HOOKS["broadcast_arrays"](*choices))
    else:
        stacked = lift_one(np.stack(np.broadcast_arrays(*choices)), selector)
    shape = broadcast_together(stacked.dims[1:], selector.dims)
    spread = broadcast_to(reshape(stacked, (stacked.dims[0], *[1] * (len(shape) - stacked.ndim + 1),
                                            *stacked.dims[1:])), (stacked.dims[0], *shape))  # fmt: skip
    index = insert_axes(broadcast_to(selector, shape), [0])
    if mode != "raise":
        index = in_bounds(index, stacked.dims[0], mode)
    return reshape(take_along_axis(spread, index, 0), shape)


@implements(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(
    x: ArrayLike, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Tracer:
    """Windows as new last axes. One gather for each windowed axis."""
    t = lift_one(x)
    extents = [static_int(w, "window_shape") for w in np.atleast_1d(np.asarray(window_shape, dtype=object))]
    axes = list(range(t.ndim)) if axis is None else [axis_index(k, t.ndim) for k in np.atleast_1d(axis).tolist()]
    if len(extents) != len(axes):
        raise ShapeError(
            f"window_shape {window_shape} for axes {axis} of an array of shape {t.dims}. There must be one extent "
            "for each axis. Give axis=.",
            user_location(),
        )
    for w, k in zip(extents, axes, strict=True):
        count = t.dims[k] - w + 1
        if w >= 0 and not isinstance(count, int):
            least: Any = extent(t.owner, t.dims[k])
            demand(least >= w, ValueError("window shape cannot be larger than input array shape"))
            count = dimension(call_ufunc(np.maximum, least - w + 1, 0), "the number of windows")
        elif w < 0 or count < 1:
            raise ShapeError(
                f"a window of extent {w} does not fit axis {k} of extent {t.dims[k]}. Use a smaller window.",
                user_location(),
            )
        t = windows(t, (count, w), axis=k)
        t = emit("transpose", t, perm=(*range(k + 1), *range(k + 2, t.ndim), k + 1)) if k + 2 < t.ndim else t
    return t


@implements(np.nonzero)
def nonzero(a: ArrayLike) -> tuple[Tracer, ...]:
    return masks.nonzero(lift_one(a))


@implements(np.flatnonzero)
def flatnonzero(a: ArrayLike) -> Tracer:
    x = lift_one(a)
    return masks.nonzero(reshape(x, (x.count,)))[0]


@implements(np.argwhere)
def argwhere(a: ArrayLike) -> Tracer:
    return concatenate([insert_axes(k, [1]) for k in nonzero(a)], 1)


@implements(np.compress)
def compress(condition: Any, a: ArrayLike, axis: int | None = None) -> Tracer:
    x = lift_one(a, condition)
    if axis is None:
        x, axis = reshape(x, (x.count,)), 0
    return take(x, flatnonzero(condition) if contains_tracer(condition) else np.flatnonzero(condition), axis)


@implements(np.extract)
def extract(condition: Any, arr: ArrayLike) -> Tracer:
    if contains_tracer(condition):
        condition = lift_one(condition, arr)
        condition = reshape(condition, (condition.count,))
    return compress(condition, arr)


ADVICE[np.lib.stride_tricks.as_strided] = "Traced values have no strides. Use sliding_window_view."
HOOKS["nonzero"] = nonzero


@implements(np.ix_)
def ix_(*args: ArrayLike) -> tuple[Any, ...]:
    """An open mesh: each vector along an axis of its own. Of bools it is the places where they are true."""
    mesh = []
    for k, part in enumerate(args):
        x: Any = lift_one(part) if contains_tracer(part) else np.asarray(unwrap(part))
        if x.ndim != 1:
            raise ShapeError(
                f"np.ix_ of an array of {x.ndim} axes. Each argument lists the places of one axis. Pass vectors.",
                user_location(),
            )
        if x.dtype == bool_:
            (x,) = masks.nonzero(x) if isinstance(x, Tracer) else np.nonzero(x)
        elif x.size == 0 and not isinstance(x, Tracer):
            x = x.astype(np.intp)  # an empty list would be float
        axes = [axis for axis in range(len(args)) if axis != k]
        mesh.append(insert_axes(x, axes) if isinstance(x, Tracer) else np.expand_dims(x, axes))
    return tuple(mesh)


# -- numbers of elements -----------------------------------------------------------------------------------------------


@implements(np.unravel_index)
def unravel_index(indices: ArrayLike, shape: Any, order: str = "C") -> tuple[Tracer, ...]:
    """The places of elements by their numbers. A number that is out of bounds is a ValueError when the program runs."""
    rest, dims = _numbers(indices), static_shape(shape)
    size = math.prod(dims)
    _demand_within(rest, size, f"index is out of bounds for array with size {size}")
    found: list[Tracer] = []
    forward = 1 if _is_by_columns(order, "unravel_index") else -1
    for n in dims[::forward]:
        found.append(call_ufunc(np.remainder, rest, max(n, 1)))
        rest = call_ufunc(np.floor_divide, rest, max(n, 1))
    return tuple(found[::forward])


@implements(np.ravel_multi_index)
def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: str = "C") -> Tracer:
    """The numbers of elements by their places. One that is out of bounds is a ValueError when the program runs."""
    shape = static_shape(dims)
    parts = [_numbers(p, *multi_index) for p in multi_index]
    modes = mode if isinstance(mode, tuple) else (mode,) * len(shape)
    if len(parts) != len(shape) or len(modes) != len(shape):
        raise ShapeError(
            f"np.ravel_multi_index of {len(parts)} index arrays, for an array of shape {shape}. Each axis has one.",
            user_location(),
        )
    total: Any = 0
    axes = list(zip(parts, shape, modes, strict=True))
    for part, n, how in axes[::-1] if _is_by_columns(order, "ravel_multi_index") else axes:
        if how == "raise":
            _demand_within(part, n, "invalid entry in coordinates array")
            inside = part
        else:
            inside = in_bounds(part, n, how)
        total = inside + total * n
    return total


def _numbers(x: ArrayLike, *others: Any) -> Tracer:
    """Integers as int64. Raises IndexBoundsError for others."""
    t = lift_one(x, *others)
    if t.dtype.kind not in "iu":
        raise IndexBoundsError(
            f"an index array of dtype {t.dtype}. Indices are integers. Convert it with astype(np.int64).",
            user_location(),
        )
    return cast(t, i64)


def _is_by_columns(order: str, name: str) -> bool:
    if order not in ("C", "F"):
        raise ArgumentError(f"np.{name} with order={order!r}. It is 'C' or 'F'.", user_location())
    return order == "F"


def _demand_within(x: Tracer, n: int, message: str) -> None:
    demand(np.all(np.logical_and(x >= 0, x < n)), ValueError(message))  # pyright: ignore[reportArgumentType]
