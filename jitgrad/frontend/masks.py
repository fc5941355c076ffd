"""Traced boolean masks as indices: ``a[mask]``, ``a[mask] = v``, ``np.nonzero(mask)``.

How many elements a mask selects is known only when the program runs. The number is a value of the program, and the
extent of what is selected is that value, as for a slice with traced bounds. The places are found once for each mask;
from there on they are an index array like any other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jitgrad.errors import IndexBoundsError, UnsupportedError
from jitgrad.frontend.indexing import as_value
from jitgrad.frontend.primitives import cast, emit, reduce, reshape
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import index_of
from jitgrad.ir.types import bool_, i64


def is_mask(part: Any) -> bool:
    """Is this part of an index a traced mask?"""
    return isinstance(part, Tracer) and part.dtype == bool_


def positions(trace: Trace, mask: Tracer) -> Tracer:
    """Where a mask of one axis is true, in order: what ``np.flatnonzero`` gives."""
    if mask.dims == (0,):
        return trace.lift(np.zeros(0, i64))
    value = trace.first_of(trace.own(mask))
    key = ("positions", value)
    found = trace.remembered(key)
    if found is None:
        mask = Tracer(trace, value)
        # The count is what mask.sum() is, which may be an extent as well: so it is taken of the mask as it was written.
        flat = value.op is not None and value.op.name == "reshape"
        written = Tracer(trace, value.op.operands[0]) if flat and value.op is not None else mask
        total = trace.first_of(reduce("sum", cast(written, i64), tuple(range(written.ndim))).value)
        total.name = "count"
        found = emit("positions", mask, count=index_of(total)).value
        trace.remember(key, found)
    return Tracer(trace, found)


def without_masks(trace: Trace, x: Tracer, parts: list[Any]) -> tuple[Tracer, list[Any]]:
    """An array and an index with index arrays in the place of masks: the axes that a mask covers are made one."""
    dims, index, axis = list(x.dims), [], 0
    before_ellipsis = True
    for k, part in enumerate(parts):
        if is_mask(part):
            if part.ndim == 0:
                raise UnsupportedError(
                    "indexing with a traced bool. It adds an axis of extent 0 or 1. Use np.where.", user_location()
                )
            covered = tuple(dims[axis : axis + part.ndim])
            if part.dims != covered:
                raise IndexBoundsError(
                    f"a boolean index of shape {part.dims} on axes of shape {covered}. A mask must have the shape of "
                    "what it selects from. Broadcast it first.",
                    user_location(),
                )
            dims[axis : axis + part.ndim] = [math.prod(covered)]
            index.append(positions(trace, reshape(part, (dims[axis],))))
            axis += 1
            continue
        index.append(part)
        if part is Ellipsis and before_ellipsis:
            before_ellipsis = False
            axis = x.ndim - sum(_axes_used(p) for p in parts[k + 1 :])
            axis -= x.ndim - len(dims)
        else:
            axis += _axes_used(part)
    return reshape(x, dims), index


def _axes_used(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if getattr(part, "dtype", None) == bool_ else 1


def nonzero(x: Tracer) -> tuple[Tracer, ...]:
    """The index arrays that ``np.nonzero`` gives."""
    flat = positions(x.owner, reshape(cast(x, bool_), (x.count,)))
    found = []
    for n in x.dims[:0:-1]:
        extent = as_value(x.owner, n)
        found.append(emit("remainder", flat, extent))
        flat = emit("floor_divide", flat, extent)
    return (flat, *found[::-1])
