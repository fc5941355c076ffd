"""Indexing of traced values: reading ``x[index]``, ``set_at``, ``add_at``, and the take and put functions.

An index is normalised to one entry for each axis (a range, an integer, or an index array) plus the new axes. Ranges
and static integers become ``slice`` and ``reshape``; index arrays become one ``gather`` or ``scatter``. NumPy's rule
for the place of the index arrays' axes (NEP 21's "legacy" rule, ``numpy/doc/indexing``): where the first of them was
if they stand next to each other, else in front.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn

import numpy as np

from jitgrad.errors import ArgumentError, DtypeError, IndexBoundsError, MutationError, ShapeError, UnsupportedError
from jitgrad.frontend.primitives import (
    axis_index,
    broadcast_to,
    broadcast_together,
    cast,
    emit,
    insert_axes,
    lift,
    lift_one,
    reshape,
    static_int,
    strong,
    where,
)
from jitgrad.frontend.registry import ADVICE, HOOKS, implements, qualified_name
from jitgrad.frontend.tracer import ArrayLike, Tracer, contains_tracer, innermost_trace, make_view
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_, f64, i64

NEW, RANGE, INT, ARRAY = "new axis", "range", "integer", "array"


@dataclasses.dataclass
class Entry:
    """One part of a normalised index: a new axis, or what selects from one axis of the array."""

    kind: str
    range: range = range(0)  # of a RANGE, and of an INT as a range of one
    array: Any = None  # of an ARRAY: an int64 ndarray or an integer Tracer
    axis: int = -1


@dataclasses.dataclass
class Index:
    """A normalised index. ``entries`` cover every axis of the array, in order."""

    entries: list[Entry]

    @property
    def arrays(self) -> list[Entry]:
        return [e for e in self.entries if e.kind == ARRAY]

    def batch_shape(self) -> tuple[int, ...]:
        """The common shape of the index arrays."""
        try:
            return broadcast_together(*(e.array.shape for e in self.arrays))
        except ShapeError:
            shapes = " ".join(str(e.array.shape) for e in self.arrays)
            raise IndexBoundsError(
                f"index arrays of shapes {shapes} can't be broadcast together. Together they pick elements, so they "
                "need a common shape. Use np.ix_ to pick rows and columns independently.",
                user_location(),
            ) from None

    def at(self) -> int:
        """Where in the result the index arrays' axes stand. Integers count as index arrays beside arrays."""
        positions = [k for k, e in enumerate(self.entries) if e.kind in (ARRAY, INT)]
        if positions[-1] - positions[0] + 1 != len(positions):
            return 0
        return sum(e.kind in (NEW, RANGE) for e in self.entries[: positions[0]])


def normalise(x: ArrayLike, index: Any) -> Index:
    """The index of an array in normal form. Raises IndexBoundsError, ConcretizationError, UnsupportedError."""
    parts = _parts(index)
    ndim, shape = x.ndim, x.shape
    used = sum(_axes_used(p) for p in parts)
    if used > ndim:
        raise IndexBoundsError(
            f"too many indices: {used} for an array of dimension {ndim} (shape {shape}). Each axis takes one. Remove "
            "the extra ones.",
            user_location(),
        )
    if sum(p is Ellipsis for p in parts) > 1:
        raise IndexBoundsError("an index with two ellipses. Only one can stand for the rest. Remove one.",
                               user_location())  # fmt: skip
    if not any(p is Ellipsis for p in parts):
        parts = [*parts, Ellipsis]
    entries: list[Entry] = []
    axis = 0
    for p in parts:
        if p is Ellipsis:
            count = ndim - used
            entries += [Entry(RANGE, range(shape[axis + k]), axis=axis + k) for k in range(count)]
            axis += count
        elif p is None:
            entries.append(Entry(NEW))
        else:
            found = _entry(p, shape, axis)
            entries += found
            axis += _axes_used(p)
    return Index(entries)


def _parts(index: Any) -> list[Any]:
    """The parts of an index, with lists and NumPy scalars brought to arrays, tracers or ints."""
    parts = list(index) if isinstance(index, tuple) else [index]
    result: list[Any] = []
    for p in parts:
        if p is None or p is Ellipsis or isinstance(p, (slice, Tracer)):
            result.append(p)
        elif isinstance(p, (list, tuple)) and contains_tracer(p):
            result.append(HOOKS["array"](p))
        else:
            a = np.asarray(p)
            if a.size == 0 and isinstance(p, (list, tuple)):
                a = a.astype(np.int64)
            result.append(a)
    for p in result:
        if isinstance(p, (np.ndarray, Tracer)) and p.dtype.kind not in "iub":
            raise IndexBoundsError(
                f"an index of dtype {p.dtype}. Only integers, slices, None, ... and bool or integer arrays are valid "
                "indices. Convert it with astype(np.int64).",
                user_location(),
            )
    return result


def _axes_used(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    if isinstance(part, (np.ndarray, Tracer)) and part.dtype == bool_:
        return part.ndim
    return 1


def _entry(part: Any, shape: tuple[Any, ...], axis: int) -> list[Entry]:
    """The entries of one part that selects from ``axis`` on."""
    if isinstance(part, slice):
        bounds = [None if v is None else static_int(v, "a slice bound") for v in (part.start, part.stop, part.step)]
        if bounds[2] == 0:
            raise ArgumentError("a slice with step 0. It selects nothing. Use a nonzero step.", user_location())
        return [Entry(RANGE, range(*slice(*bounds).indices(shape[axis])), axis=axis)]
    if isinstance(part, Tracer):
        if part.dtype == bool_:
            raise UnsupportedError(
                "indexing with a traced boolean mask is not supported. The shape of the result depends on the mask's "
                "values. Use np.where(mask, x, 0), or jg.set_at(x, mask, v) for x[mask] = v.",
                user_location(),
            )
        return [Entry(ARRAY, array=cast(part, i64), axis=axis)]
    if part.dtype == bool_:
        return _mask_entries(part, shape, axis)
    n = shape[axis]
    if part.size and (int(part.max()) >= n or int(part.min()) < -n):
        bad = int(part.max()) if int(part.max()) >= n else int(part.min())
        raise IndexBoundsError(
            f"index {bad} is out of bounds for axis {axis} with size {n}. Valid indices run from {-n} to {n - 1}. "
            "Check the index against x.shape.",
            user_location(),
        )
    if part.ndim == 0:
        k = int(part) % n
        return [Entry(INT, range(k, k + 1), axis=axis)]
    wrapped = part.astype(np.int64)
    return [Entry(ARRAY, array=np.where(wrapped < 0, wrapped + n, wrapped), axis=axis)]


def _mask_entries(mask: np.ndarray, shape: tuple[Any, ...], axis: int) -> list[Entry]:
    """A static boolean mask as the index arrays that ``nonzero`` gives."""
    if mask.ndim == 0:
        raise UnsupportedError(
            "indexing with a bool scalar is not supported on traced values. It adds an axis of extent 0 or 1. Use "
            "x[None] or np.where.",
            user_location(),
        )
    covered = shape[axis : axis + mask.ndim]
    if mask.shape != covered:
        raise IndexBoundsError(
            f"a boolean index of shape {mask.shape} on axes of shape {covered}. A mask must have the shape of what it "
            "selects from. Broadcast it first.",
            user_location(),
        )
    return [Entry(ARRAY, array=k, axis=axis + j) for j, k in enumerate(np.nonzero(mask))]


# -- reading -----------------------------------------------------------------------------------------------------------


def getitem(x: Tracer, index: Any) -> Tracer:
    """``x[index]``. Raises IndexBoundsError where a static index is out of bounds; a traced one is checked at run
    time."""
    normal = normalise(x, index)
    result = _read(x, normal)
    if normal.arrays:
        return result
    return make_view(Tracer(result.owner, result.value), x) if result.shape or x.shape else strong(result)


def _read(x: Tracer, index: Index) -> Tracer:
    piece = _slice(x, [e for e in index.entries if e.kind != NEW])
    if not index.arrays:
        return reshape(piece, [1 if e.kind == NEW else len(e.range) for e in index.entries if e.kind != INT])
    batch = index.batch_shape()
    at = index.at()
    # Drop the integers' axes, add the new ones; then count where the arrays' axes are.
    kept = [e for e in index.entries if e.kind != INT]
    extents = iter(piece.shape)
    sizes = {id(e): next(extents) for e in index.entries if e.kind != NEW}
    piece = reshape(piece, [1 if e.kind == NEW else sizes[id(e)] for e in kept])
    axes = tuple(k for k, e in enumerate(kept) if e.kind == ARRAY)
    return emit("gather", piece, *_index_tracers(piece, index, batch), axes=axes, at=at)


def _index_tracers(x: Tracer, index: Index, batch: tuple[int, ...]) -> list[Tracer]:
    trace = innermost_trace(x, *(e.array for e in index.arrays))
    return [
        broadcast_to(e.array, batch) if isinstance(e.array, Tracer)
        else strong(trace.lift(np.ascontiguousarray(np.broadcast_to(e.array, batch))))
        for e in index.arrays
    ]  # fmt: skip


def _region(x: Tracer, entries: list[Entry]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Starts, sizes and steps of the box that the ranges and integers select; index arrays take the whole axis."""
    ranges = [range(x.shape[e.axis]) if e.kind == ARRAY else e.range for e in entries]
    starts = tuple(r.start if len(r) else 0 for r in ranges)
    return starts, tuple(len(r) for r in ranges), tuple(r.step for r in ranges)


def _slice(x: Tracer, entries: list[Entry]) -> Tracer:
    starts, sizes, steps = _region(x, entries)
    if sizes == x.shape and all(s == 1 for s in steps):
        return x
    return emit("slice", x, starts=starts, sizes=sizes, steps=steps)


# -- writing -----------------------------------------------------------------------------------------------------------


def set_at(x: ArrayLike, index: Any, values: ArrayLike) -> Any:
    """A copy of x in which ``x[index] = values`` was done: the functional form of item assignment.

    ``index`` may be whatever NumPy takes, and a traced boolean mask (then ``values`` must not depend on how many
    elements are selected). ``values`` are broadcast and converted to x's dtype. Where index arrays name an element
    twice, the last value stays. Works on plain arrays too. Raises IndexBoundsError, ShapeError.
    """
    if not contains_tracer((x, values)) and not _traced_index(index):
        out = np.array(x)
        out[index] = values
        return out
    return _write("set", x, index, values)


def add_at(x: ArrayLike, index: Any, values: ArrayLike) -> Any:
    """A copy of x in which ``np.add.at(x, index, values)`` was done: as :func:`set_at`, but added, and elements that
    index arrays name twice get both values. Raises DtypeError where the sum does not fit x's dtype."""
    if not contains_tracer((x, values)) and not _traced_index(index):
        out = np.array(x)
        np.add.at(out, index, values)
        return out
    return _write("add", x, index, values)


def _traced_index(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return contains_tracer(parts) or any(
        isinstance(p, slice) and contains_tracer([p.start, p.stop, p.step]) for p in parts
    )


def _write(mode: str, x: ArrayLike, index: Any, values: ArrayLike) -> Tracer:
    parts = index if isinstance(index, tuple) else (index,)
    target, v = lift(x, values) if not contains_tracer(parts) else _lift_beside(parts, x, values)
    if mode == "add" and not np.can_cast(v.dtype, target.dtype, "same_kind"):
        raise DtypeError(
            f"add_at of {v.dtype} values to an array of {target.dtype}. The sum can't be stored in it. Convert x "
            "with astype() first.",
            user_location(),
        )
    v = cast(v, target.dtype)
    masks = [p for p in parts if isinstance(p, Tracer) and p.dtype == bool_]
    if masks:
        return _write_mask(mode, target, parts, v)
    normal = normalise(target, index)
    if normal.arrays:
        return _scatter(mode, target, normal, v)
    shape = [1 if e.kind == NEW else len(e.range) for e in normal.entries if e.kind != INT]
    v = _fit(v, shape)
    starts, sizes, steps = _region(target, [e for e in normal.entries if e.kind != NEW])
    v = reshape(v, sizes)
    if 0 in sizes:
        return Tracer(target.owner, target.value)
    if mode == "set" and sizes == target.shape and all(s == 1 for s in steps):
        return Tracer(v.owner, v.value)
    return emit(f"{mode}_slice", target, v, starts=starts, steps=steps)


def _lift_beside(parts: tuple[Any, ...], *objects: ArrayLike) -> list[Tracer]:
    """Lift into the trace of an index, where neither the array nor the values need be traced."""
    trace = innermost_trace(*objects, *parts)
    return [strong(trace.lift(o)) for o in objects]


def _fit(v: Tracer, shape: Any) -> Tracer:
    """Values broadcast to the selected shape; as in NumPy's assignment, leading axes of extent 1 may be dropped."""
    shape = tuple(shape)
    while v.ndim > len(shape) and v.shape[0] == 1:
        v = reshape(v, v.shape[1:])
    if v.ndim > len(shape) or any(a not in (1, b) for a, b in zip(v.shape[::-1], shape[::-1], strict=False)):
        raise ShapeError(
            f"values of shape {v.shape} can't be broadcast to the shape {shape} that the index selects. Each extent "
            "must be equal or 1. Reshape the values.",
            user_location(),
        )
    return broadcast_to(v, shape)


def _scatter(mode: str, x: Tracer, index: Index, v: Tracer) -> Tracer:
    """Write through index arrays; around them, ranges and integers select a box that is written back."""
    batch, at = index.batch_shape(), index.at()
    entries = [e for e in index.entries if e.kind != NEW]
    box = _slice(x, entries)
    kept = [e for e in entries if e.kind != INT]
    piece = reshape(box, [d for d, e in zip(box.shape, entries, strict=True) if e.kind != INT])
    # The shape of x[index] with its new axes, then without them.
    rest = [1 if e.kind == NEW else len(e.range) for e in index.entries if e.kind in (NEW, RANGE)]
    new = [e.kind == NEW for e in index.entries if e.kind in (NEW, RANGE)]
    v = _fit(v, (*rest[:at], *batch, *rest[at:]))
    plain_at = at - sum(new[:at])
    plain = [d for d, is_new in zip(rest, new, strict=True) if not is_new]
    v = reshape(v, (*plain[:plain_at], *batch, *plain[plain_at:]))
    axes = tuple(k for k, e in enumerate(kept) if e.kind == ARRAY)
    written = emit(f"scatter_{mode}", piece, v, *_index_tracers(piece, index, batch), axes=axes, at=plain_at)
    if box is x:
        return written
    starts, sizes, steps = _region(x, entries)
    return emit("set_slice", x, reshape(written, sizes), starts=starts, steps=steps)


def _write_mask(mode: str, x: Tracer, parts: tuple[Any, ...], v: Tracer) -> Tracer:
    """``x[mask] = v`` for a traced mask on the leading axes, as a select."""
    mask, rest = parts[0], parts[1:]
    plain = all(p is Ellipsis or (isinstance(p, slice) and p == slice(None)) for p in rest)
    if not isinstance(mask, Tracer) or not plain or mask.shape != x.shape[: mask.ndim]:
        raise UnsupportedError(
            "a traced boolean mask beside other indices, or of another shape than the leading axes, is not supported. "
            "Which elements it selects is not known at trace time. Use np.where with a mask of the array's shape.",
            user_location(),
        )
    tail = x.shape[mask.ndim :]
    if v.ndim > len(tail) and v.shape[: v.ndim - len(tail)] != (1,) * (v.ndim - len(tail)):
        raise UnsupportedError(
            f"values of shape {v.shape} for a traced boolean mask. How many elements it selects is not known at "
            "trace time, so there can't be one value for each. Use np.where(mask, values, x) with values of x's shape.",
            user_location(),
        )
    v = _fit(v, tail)
    spread = reshape(mask, (*mask.shape, *[1] * len(tail)))
    return where(spread, v if mode == "set" else call_ufunc(np.add, x, v), x)


# -- take and put ------------------------------------------------------------------------------------------------------


@implements(np.take)
def take(a: ArrayLike, indices: ArrayLike, axis: int | None = None, *, mode: str = "raise") -> Tracer:
    x = lift_one(a, indices)
    if isinstance(indices, (list, tuple)) and not contains_tracer(indices) and np.size(indices) == 0:
        indices = np.asarray(indices, np.int64)  # an empty list would be float
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    axis = axis_index(axis, x.ndim)
    n = x.shape[axis]
    if mode == "wrap":
        indices = np.asarray(indices) % n if not contains_tracer(indices) else call_ufunc(np.remainder, indices, n)
    elif mode == "clip":
        traced = contains_tracer(indices)
        indices = HOOKS["clip"](indices, 0, n - 1) if traced else np.clip(indices, 0, n - 1)
    return Tracer(x.owner, getitem(x, (slice(None),) * axis + (indices,)).value)


def _along(x: Tracer, indices: Tracer, axis: int) -> tuple[Any, ...]:
    """The full index of ``take_along_axis``: the positions on every other axis, and the given ones on this."""
    shape = indices.shape
    result: list[Any] = []
    for k, d in enumerate(x.shape):
        if k == axis:
            result.append(indices)
        else:
            extent = [d if j == k else 1 for j in range(x.ndim)]
            if shape[k] not in (1, d) and d != 1:
                raise ShapeError(
                    f"indices of shape {shape} along axis {axis} of an array of shape {x.shape}. On the other axes "
                    "they must agree. Broadcast the indices.",
                    user_location(),
                )
            result.append(np.arange(d).reshape(extent))
    return tuple(result)


def _along_operands(arr: ArrayLike, indices: ArrayLike, axis: int | None) -> tuple[Tracer, Tracer, int]:
    x, i = lift(arr, indices)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
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
    x, i, axis = _along_operands(arr, indices, axis)
    return getitem(x, _along(x, i, axis))


def _refuse(function: Any, instead: str) -> None:
    """Register a function that writes into its argument."""

    def handler(*args: Any, **kwargs: Any) -> NoReturn:
        raise MutationError(
            f"{qualified_name(function)} writes into a traced array. Traced values are immutable. Use {instead}.",
            user_location(),
        )

    implements(function)(handler)


_refuse(np.fill_diagonal, "x = jg.set_at(x, np.diag_indices(n), v)")
_refuse(np.put_along_axis, "x = jg.set_at(x, index, v) with an index for every axis")
_refuse(np.put, "x = jg.set_at(x.ravel(), index, v).reshape(x.shape)")
_refuse(np.place, "x = np.where(mask, v, x)")
_refuse(np.putmask, "x = np.where(mask, v, x)")
_refuse(np.copyto, "x = np.where(mask, source, x)")


@implements(np.choose)
def choose(a: ArrayLike, choices: Any, *, mode: str = "raise") -> Tracer:
    selector = lift_one(a, *choices)
    if contains_tracer(choices):
        stacked = HOOKS["stack"](HOOKS["broadcast_arrays"](*choices))
    else:
        stacked = lift_one(np.stack(np.broadcast_arrays(*choices)), selector)
    shape = broadcast_together(stacked.shape[1:], selector.shape)
    spread = broadcast_to(reshape(stacked, (stacked.shape[0], *[1] * (len(shape) - stacked.ndim + 1),
                                            *stacked.shape[1:])), (stacked.shape[0], *shape))  # fmt: skip
    index = insert_axes(broadcast_to(selector, shape), [0])
    if mode != "raise":
        n = stacked.shape[0]
        index = call_ufunc(np.remainder, index, n) if mode == "wrap" else HOOKS["clip"](index, 0, n - 1)
    return reshape(take_along_axis(spread, index, 0), shape)


@implements(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(
    x: ArrayLike, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Tracer:
    """Windows as new last axes. One gather for each windowed axis, by static indices."""
    t = lift_one(x)
    windows = [static_int(w, "window_shape") for w in np.atleast_1d(np.asarray(window_shape, dtype=object))]
    axes = list(range(t.ndim)) if axis is None else [axis_index(k, t.ndim) for k in np.atleast_1d(axis).tolist()]
    if len(windows) != len(axes):
        raise ShapeError(
            f"window_shape {window_shape} for axes {axis} of an array of shape {t.shape}. There must be one extent "
            "for each axis. Give axis=.",
            user_location(),
        )
    for w, k in zip(windows, axes, strict=True):
        count = t.shape[k] - w + 1
        if w < 0 or count < 1:
            raise ShapeError(
                f"a window of extent {w} does not fit axis {k} of extent {t.shape[k]}. Use a smaller window.",
                user_location(),
            )
        index = np.arange(count)[:, None] + np.arange(w)
        t = emit("gather", t, strong(t.owner.lift(index)), axes=(k,), at=k)  # axis k becomes (count, window)
        t = emit("transpose", t, perm=(*range(k + 1), *range(k + 2, t.ndim), k + 1)) if k + 2 < t.ndim else t
    return t


def _shape_unknown(function: Any) -> UnsupportedError:
    """The error for a traced first argument, where it decides the shape of the result."""
    return UnsupportedError(
        f"{qualified_name(function)} of a traced first argument. The shape of its result depends on the data. Use "
        "np.where(mask, x, 0), or make that argument a constant.",
        user_location(),
    )


@implements(np.compress)
def compress(condition: Any, a: ArrayLike, axis: int | None = None) -> Tracer:
    """The condition must be known while tracing, as it decides the shape."""
    if contains_tracer(condition):
        raise _shape_unknown(np.compress)
    x = lift_one(a)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    return take(x, np.flatnonzero(np.asarray(condition)), axis)


@implements(np.extract)
def extract(condition: Any, arr: ArrayLike) -> Tracer:
    """As :func:`compress`."""
    if contains_tracer(condition):
        raise _shape_unknown(np.extract)
    return compress(np.ravel(condition), arr)


@implements(np.bincount)
def bincount(x: Any, /, weights: ArrayLike = None, minlength: int = 0) -> Tracer:
    """The numbers to count must be known while tracing, as they decide the shape; the weights may be traced."""
    if contains_tracer(x):
        raise _shape_unknown(np.bincount)
    counts = np.bincount(x, minlength=static_int(minlength, "minlength"))
    w = lift_one(weights)
    if w.shape != np.shape(x):
        raise ShapeError(
            f"np.bincount of numbers of shape {np.shape(x)} with weights of shape {w.shape}. Each number has one "
            "weight. Give arrays of one shape.",
            user_location(),
        )
    return add_at(np.zeros(len(counts)), np.asarray(x), cast(w, f64))


HOOKS["getitem"] = getitem
ADVICE[np.ix_] = "Use index arrays with None: x[rows[:, None], columns]."
ADVICE[np.lib.stride_tricks.as_strided] = "Traced values have no strides. Use sliding_window_view."
