"""Indices of traced values in normal form: one entry for each axis (a range, an integer, or an index array) plus the
new axes. Ranges and integers make a box (see ``views``); index arrays become one ``gather`` or ``scatter``.

Integers and the bounds of slices may be traced: they become index expressions. Where the limits of the values in them
prove that NumPy's wrapping and clipping changes nothing they are used as they are, so that the positions of accesses
can be compared; else the wrapped or clipped value is computed.

NumPy's rule for the place of the index arrays' axes (NEP 21's "legacy" rule, ``numpy/doc/indexing``): where the first
of them was if they stand next to each other, else in front.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jitgrad import config as _config
from jitgrad.errors import ArgumentError, IndexBoundsError, ShapeError, UnsupportedError
from jitgrad.frontend.primitives import broadcast_together, cast, static_int
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer, contains_tracer, extent, innermost_trace
from jitgrad.frontend.views import Box
from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim, add, as_sym, expr, floordiv, interval, never_negative
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import index_of, symbol_of
from jitgrad.ir.types import bool_, i64

NEW, RANGE, INT, ARRAY = "new axis", "range", "integer", "array"


@dataclasses.dataclass(slots=True)
class Entry:
    """One part of a normalised index: a new axis, or what selects from one axis of the array."""

    kind: str
    axis: int = -1
    start: Dim = 0  # of a RANGE or an INT
    size: Dim = 1
    step: int = 1
    array: Any = None  # of an ARRAY: an int64 ndarray or an integer Tracer


@dataclasses.dataclass(slots=True)
class Index:
    """A normalised index. ``entries`` cover every axis of the array, in order; ``trace`` is where it can be used."""

    entries: list[Entry]
    trace: Trace

    @property
    def arrays(self) -> list[Entry]:
        return [e for e in self.entries if e.kind == ARRAY]

    def box(self, dims: tuple[Dim, ...]) -> Box:
        """The piece that the ranges and integers select; index arrays take the whole axis."""
        starts, sizes, steps = [], [], []
        axes: list[int | None] = []
        for e in self.entries:
            if e.kind == NEW:
                axes.append(None)
                continue
            whole = e.kind == ARRAY
            starts.append(0 if whole else e.start)
            sizes.append(dims[e.axis] if whole else e.size)
            steps.append(1 if whole else e.step)
            if e.kind != INT:
                axes.append(e.axis)
        return Box(tuple(starts), tuple(sizes), tuple(steps), tuple(axes))

    def batch_shape(self) -> tuple[Dim, ...]:
        """The common shape of the index arrays."""
        shapes = [e.array.dims if isinstance(e.array, Tracer) else e.array.shape for e in self.arrays]
        try:
            return broadcast_together(*shapes)
        except ShapeError:
            raise IndexBoundsError(
                f"index arrays of shapes {' '.join(map(str, shapes))} can't be broadcast together. Together they pick "
                "elements, so they need a common shape. Use np.ix_ to pick rows and columns independently.",
                user_location(),
            ) from None

    def at(self) -> int:
        """Where in the result the index arrays' axes stand. Integers count as index arrays beside arrays."""
        positions = [k for k, e in enumerate(self.entries) if e.kind in (ARRAY, INT)]
        if positions[-1] - positions[0] + 1 != len(positions):
            return 0
        return sum(e.kind in (NEW, RANGE) for e in self.entries[: positions[0]])


def normalise(x: Tracer, index: Any) -> Index:
    """The index of an array in normal form, without traced masks (see ``masks``). Raises IndexBoundsError,
    ConcretizationError, UnsupportedError."""
    parts = index_parts(index)
    dims = x.dims
    ndim = len(dims)
    used = sum(_axes_used(p) for p in parts)
    if used > ndim:
        raise IndexBoundsError(
            f"too many indices: {used} for an array of dimension {ndim} (shape {dims}). Each axis takes one. Remove "
            "the extra ones.",
            user_location(),
        )
    ellipses = sum(p is Ellipsis for p in parts)
    if ellipses > 1:
        raise IndexBoundsError("an index with two ellipses. Only one can stand for the rest. Remove one.",
                               user_location())  # fmt: skip
    trace = innermost_trace(x, *parts, *(v for p in parts if isinstance(p, slice) for v in (p.start, p.stop)))
    entries: list[Entry] = []
    axis = 0
    for p in parts if ellipses else [*parts, Ellipsis]:
        if p is Ellipsis:
            entries += [Entry(RANGE, k, 0, dims[k]) for k in range(axis, axis + ndim - used)]
            axis += ndim - used
        elif p is None:
            entries.append(Entry(NEW))
        else:
            entries += _entry(trace, p, dims, axis)
            axis += _axes_used(p)
    return Index(entries, trace)


def index_parts(index: Any) -> list[Any]:
    """The parts of an index, with lists and NumPy scalars brought to ints, arrays or tracers."""
    result: list[Any] = []
    for p in index if isinstance(index, tuple) else (index,):
        if type(p) is int or p is None or p is Ellipsis or isinstance(p, slice):
            result.append(p)
            continue
        if isinstance(p, Tracer):
            p = p if p.concrete is None else p.concrete
        elif isinstance(p, (list, tuple)) and contains_tracer(p):
            p = HOOKS["array"](p)
        else:
            a = np.asarray(p)
            p = a.astype(np.int64) if a.size == 0 and isinstance(p, (list, tuple)) else a
        if p.dtype.kind not in "iub":
            raise IndexBoundsError(
                f"an index of dtype {p.dtype}. Only integers, slices, None, ... and bool or integer arrays are valid "
                "indices. Convert it with astype(np.int64).",
                user_location(),
            )
        result.append(int(p) if p.ndim == 0 and p.dtype != bool_ and not isinstance(p, Tracer) else p)
    return result


def _axes_used(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    if isinstance(part, (np.ndarray, Tracer)) and part.dtype == bool_:
        return part.ndim
    return 1


def _entry(trace: Trace, part: Any, dims: tuple[Dim, ...], axis: int) -> list[Entry]:
    """The entries of one part that selects from ``axis`` on."""
    n = dims[axis] if axis < len(dims) else 0
    if type(part) is int:
        if isinstance(n, int):
            return [Entry(INT, axis, _static_position(part, n, axis))]
        return [Entry(INT, axis, _checked(trace, as_value(trace, part).value, part, n))]
    if isinstance(part, slice):
        return [Entry(RANGE, axis, *slice_extent(trace, part, n))]
    if isinstance(part, Tracer):
        if part.dims == ():
            return [Entry(INT, axis, position(trace, part, n))]
        return [Entry(ARRAY, axis, array=cast(part, i64))]
    if part.dtype == bool_:
        return _mask_entries(part, dims, axis)
    if not isinstance(n, int):
        return [Entry(ARRAY, axis, array=part.astype(np.int64))]
    if part.size and (int(part.max()) >= n or int(part.min()) < -n):
        raise _out_of_bounds(int(part.max()) if int(part.max()) >= n else int(part.min()), n, axis)
    wrapped = part.astype(np.int64)
    return [Entry(ARRAY, axis, array=np.where(wrapped < 0, wrapped + n, wrapped))]


def _out_of_bounds(k: int, n: int, axis: int) -> IndexBoundsError:
    return IndexBoundsError(
        f"index {k} is out of bounds for axis {axis} with size {n}. Valid indices run from {-n} to {n - 1}. "
        "Check the index against x.shape.",
        user_location(),
    )


def _static_position(k: int, n: int, axis: int) -> int:
    if not -n <= k < n:
        raise _out_of_bounds(k, n, axis)
    return k + n if k < 0 else k


def position(trace: Trace, k: Tracer, n: Dim) -> Dim:
    """A traced integer as a position on an axis of extent ``n``: as it is where its limits prove that it is one, else
    wrapped and, under ``config.check_bounds``, checked when the program runs."""
    value = trace.own(cast(k, i64))
    e = index_of(value)
    if isinstance(e, int) and isinstance(n, int):
        return _static_position(e, n, 0)
    return _checked(trace, value, e, n)


def place(trace: Trace, k: Any, n: Dim) -> Dim:
    """An index, a number or a traced integer, as a position in what has ``n`` items."""
    if isinstance(k, Tracer):
        return position(trace, k, n)
    return _static_position(k, n, 0) if isinstance(n, int) else _checked(trace, as_value(trace, k).value, k, n)


def _checked(trace: Trace, value: Value, e: Dim, n: Dim) -> Dim:
    """The position that the value of ``e`` stands for."""
    if never_negative(e):
        if never_negative(add(n, -1) - e):
            return e
    elif never_negative(-1 - e) and never_negative(e + n):
        return e + n
    key = ("wrap_index", value, n)
    found = trace.remembered(key)
    if found is None:
        check = _config.current().check_bounds
        (found,) = trace.emit("wrap_index", (Tracer(trace, value),), {"extent": n, "check": check})
        trace.remember(key, found)
    return expr(symbol_of(found))


# -- slices ------------------------------------------------------------------------------------------------------------


def slice_extent(trace: Trace, s: slice, n: Dim) -> tuple[Dim, Dim, int]:
    """Start, size and step of a slice of an axis of extent ``n``, as ``slice.indices`` has them. Start and stop may be
    traced; the step is static."""
    step = 1 if s.step is None else static_int(s.step, "the step of a slice")
    if step == 0:
        raise ArgumentError("a slice with step 0. It selects nothing. Use a nonzero step.", user_location())
    start, stop = (_bound(trace, b) for b in (s.start, s.stop))
    if isinstance(n, int) and not any(isinstance(b, Tracer) for b in (start, stop)):
        r = range(*slice(start, stop, step).indices(n))
        return (r.start if len(r) else 0), len(r), step
    if step == 1 and _cuts_ends(start, stop):
        # One expression for all slices that leave out as much: the operands of ``x[1:] - x[:-1]`` have one shape.
        size = _rest(trace, n, (start or 0) - (stop or 0))
        return (_clipped(trace, start, n, 0, n) if start else 0), size, 1
    if step > 0:
        first = 0 if start is None else _clipped(trace, start, n, 0, n)
        last = n if stop is None else _clipped(trace, stop, n, 0, n)
    else:
        first = add(n, -1) if start is None else _clipped(trace, start, n, -1, add(n, -1))
        last = -1 if stop is None else _clipped(trace, stop, n, -1, add(n, -1))
    distance = last - first if step > 0 else first - last
    if not never_negative(distance) and distance != n:
        # The stop is moved to the start, so that the size is a difference of the two: no position is out of bounds,
        # by the limits of the symbols alone.
        last = _chosen(trace, "maximum" if step > 0 else "minimum", last, first)
        distance = last - first if step > 0 else first - last
    size = distance if abs(step) == 1 else floordiv(add(distance, abs(step) - 1), abs(step))
    return (first if size != 0 else 0), size, step


def _cuts_ends(start: Any, stop: Any) -> bool:
    """Does a slice take all but a number of elements at the front, and all but a number of them at the end?"""
    return (start is None or (type(start) is int and start >= 0)) and (stop is None or (type(stop) is int and stop < 0))


def _rest(trace: Trace, n: Dim, k: int) -> Dim:
    """``max(n - k, 0)``, for k and n that are not negative: what is left of n elements without k."""
    if k == 0 or never_negative(add(n, -k)):
        return add(n, -k)
    symbol = as_sym(n)
    op = symbol.payload.op if symbol is not None and isinstance(symbol.payload, Value) else None
    if op is not None and op.name == "maximum" and index_of(op.operands[1]) == 0:
        return _rest(trace, index_of(op.operands[0]), k)
    return _chosen(trace, "maximum", add(n, -k), 0)


def _bound(trace: Trace, b: Any) -> Any:
    """The bound of a slice: None, an int, or a traced integer."""
    if isinstance(b, Tracer) and b.concrete is None:
        if b.dims or b.dtype.kind not in "iu":
            raise IndexBoundsError(
                f"a slice bound that is {b!r}. Bounds are integers. Convert it with astype(np.int64).", user_location()
            )
        value = trace.first_of(trace.own(cast(b, i64)))
        e = index_of(value)
        return e if isinstance(e, int) else Tracer(trace, value)
    return None if b is None else static_int(b, "a slice bound")


def _clipped(trace: Trace, bound: Any, n: Dim, low: int, high: Dim) -> Dim:
    """A bound of a slice, counted from the end where it is negative, and clipped to ``low .. high``."""
    e: Dim = index_of(trace.own(cast(bound, i64))) if isinstance(bound, Tracer) else bound
    if e == n:
        return high  # an extent is never negative
    lo, hi = interval(e)
    if hi is not None and hi < 0:
        e = e + n
    elif lo is None or lo < 0:
        e = _wrapped(trace, e, n)
    if not never_negative(high - e):
        e = _chosen(trace, "minimum", e, high)
    if not never_negative(e - low):
        e = _chosen(trace, "maximum", e, low)
    return e


def _wrapped(trace: Trace, e: Dim, n: Dim) -> Dim:
    """``e + n if e < 0 else e``."""
    key = ("wrapped", e, n)
    found = trace.remembered(key)
    if found is None:
        x, zero = as_value(trace, e), Tracer(trace, trace.scalar(0, i64))
        (negative,) = trace.emit("less", (x, zero), {})
        moved = as_value(trace, add(e, n))
        (found,) = trace.emit("where", (Tracer(trace, negative), moved, x), {})
        trace.remember(key, found)
    return index_of(found)


def _chosen(trace: Trace, name: str, a: Dim, b: Dim) -> Dim:
    """``minimum`` or ``maximum`` of two index expressions."""
    key = (name, a, b)
    found = trace.remembered(key)
    if found is None:
        (found,) = trace.emit(name, (as_value(trace, a), as_value(trace, b)), {})
        trace.remember(key, found)
    return index_of(found)


def clipped_count(trace: Trace, first: Dim, last: Dim, step: int, extent: Dim = 0) -> Dim:
    """``len(range(first, last, step))``; ``extent`` is not negative, whatever is known of it."""
    distance = last - first if step > 0 else first - last
    if not never_negative(distance) and distance != extent:
        distance = max(0, distance) if isinstance(distance, int) else _chosen(trace, "maximum", distance, 0)
    return distance if abs(step) == 1 else floordiv(add(distance, abs(step) - 1), abs(step))


def length(obj: Any) -> Any:
    """``len``, which gives a traced integer for an extent that is not known. Stands for it in traced functions."""
    if isinstance(obj, Collection):
        return obj.length()
    if isinstance(obj, Tracer) and obj.dims and not isinstance(obj.dims[0], int):
        return extent(obj.owner, obj.dims[0])
    return len(obj)


def count_by(lo: Tracer, hi: Tracer, step: Tracer) -> Dim:
    """How many numbers ``range(lo, hi, step)`` has, for a traced step that is not 0."""
    # ceil((hi - lo) / step) by floor division
    count: Any = np.maximum((hi - lo + step - np.sign(step)) // step, 0)
    return index_of(count.owner.own(count))


def as_value(trace: Trace, e: Dim) -> Tracer:
    """An index expression as a traced i64 scalar."""
    if isinstance(e, int):
        return Tracer(trace, trace.scalar(e, i64))
    symbol = as_sym(e)
    if symbol is not None and isinstance(symbol.payload, Value):
        return Tracer(trace, symbol.payload)
    (value,) = trace.emit("index", (), {"value": e})
    return Tracer(trace, value)


def _mask_entries(mask: np.ndarray, dims: tuple[Dim, ...], axis: int) -> list[Entry]:
    """A static boolean mask as the index arrays that ``nonzero`` gives."""
    if mask.ndim == 0:
        raise UnsupportedError(
            "indexing with a bool scalar is not supported on traced values. It adds an axis of extent 0 or 1. Use "
            "x[None] or np.where.",
            user_location(),
        )
    covered = dims[axis : axis + mask.ndim]
    if mask.shape != covered:
        raise IndexBoundsError(
            f"a boolean index of shape {mask.shape} on axes of shape {covered}. A mask must have the shape of what it "
            "selects from. Broadcast it first.",
            user_location(),
        )
    return [Entry(ARRAY, axis + j, array=k) for j, k in enumerate(np.nonzero(mask))]


def index_values(index: Index) -> list[Value]:
    """The index arrays as values of one shape, for ``gather`` and ``scatter``."""
    batch: Any = index.batch_shape()
    trace = index.trace
    values = []
    for e in index.arrays:
        if not isinstance(e.array, Tracer) and all(isinstance(d, int) for d in batch):
            values.append(trace.array(np.ascontiguousarray(np.broadcast_to(e.array, batch))))
            continue
        value = trace.own(e.array) if isinstance(e.array, Tracer) else trace.array(e.array)
        if value.type.shape != batch:
            (value,) = trace.emit("broadcast_to", (Tracer(trace, value),), {"shape": batch})
        values.append(value)
    return values
