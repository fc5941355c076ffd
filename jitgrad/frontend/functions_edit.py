"""``np.insert`` and ``np.delete`` on traced values, also of arrays and at positions that only the run tells."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import IndexBoundsError, UnsupportedError
from jitgrad.frontend.concrete import unwrap
from jitgrad.frontend.functions_join import concatenate_
from jitgrad.frontend.primitives import (
    axis_index,
    broadcast_to,
    broadcast_together,
    cast,
    full,
    lift,
    lift_one,
    move_axis,
    reshape,
)
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import ArrayLike, Tracer, extent, has_traced
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_, i64

Array = Any  # a Tracer, as NumPy's functions and operators take it


@implements(np.insert)
def insert(arr: ArrayLike, obj: Any, values: ArrayLike, axis: int | None = None) -> Tracer:
    """At one position, which may be traced, or at several that are known. Raises UnsupportedError for others."""
    x, v, axis = _operands(arr, values, axis)
    n = extent(x.owner, x.dims[axis])
    if _is_one(obj):
        if v.ndim:  # as NumPy: for a scalar position the values' first axis goes to the place of insertion
            v = move_axis(reshape(v, (*[1] * (x.ndim - v.ndim), *v.dims)), 0, axis)
        rest = tuple(1 if k == axis else d for k, d in enumerate(x.dims))
        v = broadcast_to(v, broadcast_together(v.dims, rest))
        at, around = _place(obj, n, n + 1, x, axis), (slice(None),) * axis
        return concatenate_([x[(*around, slice(None, at))], v, x[(*around, slice(at, None))]], axis)
    if has_traced(obj) or not isinstance(n, int):
        raise UnsupportedError(
            "np.insert at several positions that are traced, or into an array whose extent is, is not supported. "
            "Insert one after the other, or use np.concatenate of the pieces.",
            user_location(),
        )
    places = np.arange(n)[obj] if isinstance(obj, slice) else np.asarray(unwrap(obj))
    v = reshape(v, (*[1] * (x.ndim - v.ndim), *v.dims))
    several = len(np.flatnonzero(places) if places.dtype == bool_ else places.reshape(-1))
    shape = [d if k != axis else v.dims[axis] if several == 1 else several for k, d in enumerate(x.dims)]
    joined = concatenate_([x, broadcast_to(v, shape)], axis)
    # NumPy's own result on the numbers of the elements says which one goes where.
    order = np.insert(np.arange(n), unwrap(obj), n + np.arange(shape[axis]))
    return joined[(*(slice(None),) * axis, order)]


@implements(np.delete)
def delete(arr: ArrayLike, obj: Any, axis: int | None = None) -> Tracer:
    """Where positions are traced, and several or in a mask, the extent of the result gets known when the program
    runs."""
    x, _, axis = _operands(lift_one(arr, obj), 0, axis)
    n, around = extent(x.owner, x.dims[axis]), (slice(None),) * axis
    if isinstance(n, int) and not has_traced(obj):
        return x[(*around, np.delete(np.arange(n), unwrap(obj)))]
    if _is_one(obj) and isinstance(n, int):
        at = _place(obj, n, n, x, axis)
        others = np.arange(max(n - 1, 0))
        return x[(*around, others + (others >= at))]
    kept: Array = full(x, (x.dims[axis],), True, bool_).copy()
    kept[_place(obj, n, n, x, axis) if _is_one(obj) else obj] = False
    return x[(*around, kept)]


def _operands(arr: ArrayLike, values: ArrayLike, axis: int | None) -> tuple[Array, Tracer, int]:
    x, v = lift(arr, values)
    if axis is None:
        x, axis = reshape(x, (x.count,)), 0
    return x, cast(v, x.dtype), axis_index(axis, x.ndim)


def _is_one(obj: Any) -> bool:
    return not isinstance(obj, slice) and np.ndim(obj) == 0


def _place(obj: Any, n: Any, count: Any, x: Tracer, axis: int) -> Any:
    """One of ``count`` positions, without a sign. Another one is an IndexError, when the program runs where it is not
    known before."""
    known = not has_traced(obj)
    if (np.asarray(unwrap(obj)) if known else lift_one(obj)).dtype.kind not in "iu":
        raise IndexBoundsError(f"the position {obj!r}. It must be an integer.", user_location())
    at: Array = int(unwrap(obj)) if known else cast(lift_one(obj, x), i64)
    low = -n
    inside = (at >= low) & (at < count)
    if not isinstance(inside, (bool, np.bool_)):
        demand(inside, IndexError(f"index is out of bounds for axis {axis}"))
        return at if known and at >= 0 else np.where(at < 0, at + n, at)
    if not inside:
        raise IndexBoundsError(f"index {at} is out of bounds for axis {axis} with size {n}.", user_location())
    return at + n if at < 0 else at
