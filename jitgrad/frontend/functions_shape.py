"""Shape functions of NumPy on traced values: reshaping, axes, broadcasting, flips and diagonals."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.frontend.primitives import (
    axis_index,
    axis_tuple,
    broadcast_to,
    broadcast_together,
    concatenate,
    constant_like,
    dimension,
    element_count,
    emit,
    full,
    iota,
    lift,
    lift_one,
    reshape,
    static_int,
    static_shape,
    take_slice,
    transpose,
    where,
)
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import HOOKS, call, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer, extent
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.frontend.views import (
    Box,
    Derived,
    View,
    is_contiguous,
    laid_out_like,
    memory_order,
    strides_of,
    view_all,
    view_box,
    view_reshaped,
    view_transposed,
    whole_box,
)
from jitgrad.ir.index import Dim, interval, never_negative
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import is_static
from jitgrad.ir.thrown import mark


def boxed(x: Tracer) -> Tracer:
    """A new array with these elements; of a scalar a 0-d array, which can be assigned into."""
    out = Tracer(x.owner, x.value)
    out.boxed = True
    return out


def array_of(a: ArrayLike, *peers: ArrayLike) -> Tracer:
    """The array that a view is made of: the argument itself, or a new array for a scalar or a list."""
    x = lift_one(a, *peers)
    return x if x.dims or x.boxed else Tracer(x.owner, x.value)


# -- reshaping ---------------------------------------------------------------------------------------------------------


@implements(np.reshape)
def reshape_(
    a: ArrayLike, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: bool | None = None
) -> Tracer:
    x = array_of(a)
    wanted = static_shape(newshape if shape is None else shape)
    _check_order(order, "np.reshape")
    if not all(isinstance(d, int) for d in x.dims) and order == "C" and not _fills(x, wanted):
        return _filled(x, wanted)
    target = resolve_shape(x, wanted)
    if x.ndim > 1 and memory_order(x, order) == (*range(x.ndim)[::-1],):
        # Column-major: reverse the axes, reshape to the reversed shape, reverse back.
        out = view_reshaped(view_transposed(x, range(x.ndim)[::-1]), target[::-1])
        out = view_transposed(out, range(len(target))[::-1])
    else:
        out = view_reshaped(x, target)
    return Tracer(out.owner, out.value) if copy else out


def resolve_shape(x: Tracer, shape: Sequence[Dim]) -> tuple[Dim, ...]:
    """The shape with its -1 filled in. Raises ShapeError."""
    size = x.count
    known = element_count([d for d in shape if d != -1])
    unknown = sum(d == -1 for d in shape)
    if unknown == 0 and known == size:
        return tuple(shape)
    if unknown == 1:
        rest = _quotient(x.dims, [d for d in shape if d != -1])
        if rest is not None:
            return tuple(rest if d == -1 else d for d in shape)
    if not all(isinstance(d, int) for d in (*x.dims, *shape)):
        raise ShapeError(
            f"can't reshape an array of shape {x.dims} into {tuple(shape)}. Some extents are traced, so that nothing "
            "says whether the elements fill that shape. Make what they depend on static with jit(static_argnames=...).",
            user_location(),
        )
    raise ShapeError(
        f"can't reshape an array of shape {x.dims} into {tuple(shape)}. The number of elements ({size}) differs. Use "
        "-1 for at most one extent, and let the others divide the size.",
        user_location(),
    )


def _fills(x: Tracer, shape: Sequence[Dim]) -> bool:
    """Is it known while the function is traced that the elements fill that shape, or that it is no shape?"""
    if sum(d == -1 for d in shape) == 1:
        return _quotient(x.dims, [d for d in shape if d != -1]) is not None
    return -1 in shape or element_count(shape) == x.count


def _filled(x: Tracer, shape: Sequence[Dim]) -> Tracer:
    """The elements in that shape. How many there are is known when the program runs: what does not fit is a ValueError
    then."""
    count: Any = extent(x.owner, x.count)
    wanted: Any = extent(x.owner, element_count([d for d in shape if d != -1]))
    fits = count == wanted
    if -1 in shape:
        fits = np.logical_and(wanted > 0, count % np.maximum(wanted, 1) == 0)
        rest = dimension(call_ufunc(np.floor_divide, count, np.maximum(wanted, 1)), "an extent of a new shape")
        shape = [rest if d == -1 else d for d in shape]
    text = ",".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    demand(fits, ValueError(f"cannot reshape array of size {mark(0)} into shape ({text})"), count)
    places = reshape(iota(x, (element_count(shape),), 0), shape)
    places = call_ufunc(np.minimum, places, call_ufunc(np.maximum, count - 1, 0))  # where nothing fits
    return emit("gather", reshape(x, (x.count,)), places, axes=(0,), at=0)


def _quotient(dims: Sequence[Dim], known: Sequence[Dim]) -> Dim | None:
    """The product of ``dims`` divided by that of ``known``; None where it is no whole number, or not known."""
    left = list(dims)
    numbers = 1
    for d in known:
        if d in left:
            left.remove(d)
        elif isinstance(d, int):
            numbers *= d
        else:
            return None
    size = element_count(left)
    if numbers <= 0 or 0 in known:
        return None
    return None if size % numbers != 0 else size // numbers


def _check_order(order: str, function: str) -> None:
    if order not in ("C", "F", "A", "K"):
        raise ArgumentError(f"{function} got order {order!r}. It must be C, F, A or K. Use 'C'.", user_location())


@implements(np.ravel)
def ravel(a: ArrayLike, order: str = "C") -> Tracer:
    _check_order(order, "np.ravel")
    x = array_of(a)
    x = view_transposed(x, memory_order(x, order))
    # Unlike reshape, ravel copies whatever is not contiguous: x[::-1] too.
    return view_reshaped(x, (x.count,)) if is_contiguous(x) else Tracer(x.owner, reshape(x, (x.count,)).value)


@implements(np.copy)
def copy(a: ArrayLike, order: str = "K", subok: bool = False) -> Tracer:
    x = lift_one(a)
    return ordered_copy(x, order)


def ordered_copy(x: Tracer, order: str | None) -> Tracer:
    """A new array in C or Fortran order, or in that of the argument (K, A)."""
    return put_in_order(boxed(x), order, x)


def put_in_order(new: Tracer, order: str | None, like: Any) -> Tracer:
    """A new array, which is to lie in memory in this order."""
    if order == "C":
        return new
    if order == "F":
        new.order = tuple(reversed(range(new.ndim)))
        return new
    return laid_out_like(new, (like,))


@implements(np.expand_dims)
def expand_dims(a: ArrayLike, axis: Any) -> Tracer:
    x = array_of(a)
    new = axis_tuple(axis, x.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1))
    old = iter(range(x.ndim))
    return view_box(x, whole_box(x.dims, [None if k in new else next(old) for k in range(x.ndim + len(new))]))


@implements(np.squeeze)
def squeeze(a: ArrayLike, axis: Any = None) -> Tracer:
    x = array_of(a)
    axes = [k for k, d in enumerate(x.dims) if d == 1] if axis is None else axis_tuple(axis, x.ndim)
    if axis is None and any(_may_be_one(d) for d in x.dims):
        raise ShapeError(
            f"np.squeeze of an array of shape {x.dims}. Which extents are 1 is not known while the function is traced. "
            "Name the axis.",
            user_location(),
        )
    if any(x.dims[k] != 1 for k in axes):
        raise ShapeError(
            f"can't squeeze axis {axis} of an array of shape {x.dims}. Its extent is not 1. Choose an axis of "
            "extent 1.",
            user_location(),
        )
    return view_box(x, whole_box(x.dims, [k for k in range(x.ndim) if k not in axes]))


def _may_be_one(d: Dim) -> bool:
    lo, hi = interval(d)
    return not isinstance(d, int) and (lo is None or lo < 2) and (hi is None or hi > 0)


def _at_least(count: int, arrays: Sequence[ArrayLike]) -> Any:
    results = []
    for a in arrays:
        x = array_of(a, *arrays)
        if x.ndim >= count:
            results.append(x)
            continue
        axes: list[int | None] = [*[None] * (count - x.ndim), *range(x.ndim)]
        if count == 3 and x.ndim:  # NumPy puts new axes behind as well
            axes = [0, 1, None] if x.ndim == 2 else [None, 0, None]
        results.append(view_box(x, whole_box(x.dims, axes)))
    return results[0] if len(results) == 1 else tuple(results)


@implements(np.atleast_1d)
def atleast_1d(*arys: ArrayLike) -> Any:
    return _at_least(1, arys)


@implements(np.atleast_2d)
def atleast_2d(*arys: ArrayLike) -> Any:
    return _at_least(2, arys)


@implements(np.atleast_3d)
def atleast_3d(*arys: ArrayLike) -> Any:
    return _at_least(3, arys)


# -- the order of axes -------------------------------------------------------------------------------------------------


@implements(np.transpose, np.permute_dims)
def transpose_(a: ArrayLike, axes: Any = None) -> Tracer:
    x = array_of(a)
    if axes is None:
        return view_transposed(x, range(x.ndim)[::-1])
    axes = axes if np.iterable(axes) else (axes,)
    perm = [axis_index(k, x.ndim) for k in axes]
    if sorted(perm) != list(range(x.ndim)):
        raise ArgumentError(
            f"axes {tuple(axes)} do not fit an array of dimension {x.ndim}. Each axis must be named once. Give a "
            f"permutation of {tuple(range(x.ndim))}.",
            user_location(),
        )
    return view_transposed(x, perm)


@implements(np.swapaxes)
def swapaxes(a: ArrayLike, axis1: int, axis2: int) -> Tracer:
    x = array_of(a)
    perm = list(range(x.ndim))
    i, j = axis_index(axis1, x.ndim, "axis1"), axis_index(axis2, x.ndim, "axis2")
    perm[i], perm[j] = perm[j], perm[i]
    return view_transposed(x, perm)


@implements(np.moveaxis)
def moveaxis(a: ArrayLike, source: Any, destination: Any) -> Tracer:
    x = array_of(a)
    sources = [axis_index(k, x.ndim, "source") for k in np.atleast_1d(source).tolist()]
    targets = [axis_index(k, x.ndim, "destination") for k in np.atleast_1d(destination).tolist()]
    if len(sources) != len(targets) or len(set(sources)) != len(sources) or len(set(targets)) != len(targets):
        raise ArgumentError(
            f"np.moveaxis from {source} to {destination}. Both must name the same number of distinct axes. Give one "
            "destination for each source.",
            user_location(),
        )
    perm = [k for k in range(x.ndim) if k not in sources]
    for target, s in sorted(zip(targets, sources, strict=True)):
        perm.insert(target, s)
    return view_transposed(x, perm)


@implements(np.rollaxis)
def rollaxis(a: ArrayLike, axis: int, start: int = 0) -> Tracer:
    x = array_of(a)
    axis = axis_index(axis, x.ndim)
    start = start + x.ndim if start < 0 else start
    perm = [k for k in range(x.ndim) if k != axis]
    perm.insert(start - 1 if axis < start else start, axis)
    return view_transposed(x, perm)


@implements(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: ArrayLike, /) -> Tracer:
    t = array_of(x)
    if t.ndim < 2:
        raise ShapeError(
            f"the matrix transpose of an array of shape {t.dims}. It needs two axes. Insert one with None.",
            user_location(),
        )
    return view_transposed(t, (*range(t.ndim - 2), t.ndim - 1, t.ndim - 2))


# -- broadcasting ------------------------------------------------------------------------------------------------------


@implements(np.broadcast_to)
def broadcast_to_(array: ArrayLike, shape: Any, subok: bool = False) -> Tracer:
    x, target = array_of(array), static_shape(shape)
    if broadcast_together(x.dims, target) != target:
        raise ShapeError(
            f"an array of shape {x.dims} can't be broadcast to {target}. Only axes of extent 1 stretch, and new axes "
            "come in front. Reshape it first.",
            user_location(),
        )
    return _broadcast_view(x, target)


def _broadcast_view(x: Tracer, dims: tuple[Dim, ...]) -> Tracer:
    if not isinstance(x, Tracer) or x.dims == dims:
        return view_all(x)
    strides = strides_of(x)
    stretched = [d == 1 and n != 1 for d, n in zip(x.dims, dims[len(dims) - x.ndim :], strict=True)]
    layout = None
    if strides is not None:
        kept = (0 if new else s for s, new in zip(strides, stretched, strict=True))
        layout = (*(0,) * (len(dims) - x.ndim), *kept)
    compute = functools.partial(broadcast_to, shape=dims)
    return View(x, Derived(dims, compute, "the result of np.broadcast_to", layout))


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: ArrayLike, subok: bool = False) -> tuple[Tracer, ...]:
    tracers = [array_of(a, *args) for a in args]
    shape = broadcast_together(*(t.dims for t in tracers))
    return tuple(_broadcast_view(t, shape) for t in tracers)


@implements(np.meshgrid)
def meshgrid(*xi: ArrayLike, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Tracer, ...]:
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"np.meshgrid got indexing {indexing!r}. Use 'xy' or 'ij'.", user_location())
    tracers = lift(*xi)
    n = len(tracers)
    position = list(range(n))
    if indexing == "xy" and n > 1:
        position[0], position[1] = 1, 0
    grids = [reshape(t, [t.count if k == p else 1 for k in range(n)]) for t, p in zip(tracers, position, strict=True)]
    if sparse:
        return tuple(grids)
    shape = broadcast_together(*(g.dims for g in grids))
    return tuple(broadcast_to(g, shape) for g in grids)


# -- flips, rolls, diagonals -------------------------------------------------------------------------------------------


@implements(np.flip)
def flip(m: ArrayLike, axis: Any = None) -> Tracer:
    x = array_of(m)
    axes = axis_tuple(axis, x.ndim)
    starts = tuple(d - 1 if k in axes and d != 0 else 0 for k, d in enumerate(x.dims))
    steps = tuple(-1 if k in axes else 1 for k in range(x.ndim))
    return view_box(x, Box(starts, x.dims, steps, tuple(range(x.ndim))))


@implements(np.fliplr)
def fliplr(m: ArrayLike) -> Tracer:
    return flip(m, 1)


@implements(np.flipud)
def flipud(m: ArrayLike) -> Tracer:
    return flip(m, 0)


@implements(np.rot90)
def rot90(m: ArrayLike, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tracer:
    x = array_of(m)
    i, j = (axis_index(a, x.ndim, "axes") for a in axes)
    turns = static_int(k, "k") % 4
    if turns == 0:
        return view_all(x)
    if turns == 2:
        return flip(x, (i, j))
    return swapaxes(flip(x, j), i, j) if turns == 1 else flip(swapaxes(x, i, j), j)


@implements(np.roll)
def roll(a: ArrayLike, shift: Any, axis: Any = None) -> Tracer:
    x = lift_one(a, shift)
    shifts = [s if _is_open(s) else static_int(s, "shift") for s in _listed(shift)]
    if axis is None:
        flat = reshape(x, (x.count,))
        return reshape(roll(flat, functools.reduce(operator.add, shifts, 0), 0), x.dims)
    axes = _listed(axis)
    count = max(len(shifts), len(axes))
    for s, k in zip(*(one * count if len(one) == 1 else one for one in (shifts, axes)), strict=True):
        k = axis_index(k, x.ndim)
        n = x.dims[k]
        if _is_open(s) or not isinstance(n, int):
            size = extent(x.owner, n)
            x = call(np.take, (x, (iota(x, (n,), 0) - s) % size), {"axis": k}) if n != 0 else x
            continue
        s = s % n if n else 0
        if s:
            x = concatenate([take_slice(x, k, n - s, n), take_slice(x, k, 0, n - s)], k)
    return Tracer(x.owner, x.value)


def _is_open(value: Any) -> bool:
    """Is it a traced integer whose value is known only when the program runs?"""
    return isinstance(value, Tracer) and value.concrete is None and value.dtype.kind in "iu"


def _listed(value: Any) -> list[Any]:
    one = not value.dims if isinstance(value, Tracer) else not isinstance(value, (list, tuple)) and np.ndim(value) == 0
    return [value] if one else list(value)


def diagonal_last(x: Tracer, offset: int = 0) -> Tracer:
    """The diagonal of the last two axes, as the last axis: a strided slice of the flattened matrix."""
    *batch, rows, columns = x.dims
    row, column = max(-offset, 0), max(offset, 0)
    if not isinstance(rows, int) or not isinstance(columns, int):
        return _diagonal_by_index(x, row, column)
    size = max(0, min(rows - row, columns - column))
    flat = reshape(x, (*batch, rows * columns))
    start = row * columns + column if size else 0
    zeros, ones = (0,) * len(batch), (1,) * len(batch)
    return emit("slice", flat, starts=(*zeros, start), sizes=(*batch, size), steps=(*ones, columns + 1))


def _diagonal_by_index(x: Tracer, row: int, column: int) -> Tracer:
    """The diagonal of a matrix whose extents are not known: one gather."""
    *batch, rows, columns = x.dims
    height, width = rows - row, columns - column
    if never_negative(width - height):
        size = height
    elif never_negative(height - width):
        size = width
    else:
        raise ShapeError(
            f"the diagonal of an array of shape {x.dims}. Which extent is the lesser is not known while the function "
            "is traced. Cut it to a square first.",
            user_location(),
        )
    k = iota(x, (size,), 0)
    i, j = (emit("add", k, constant_like(k, n)) for n in (row, column))
    axis = len(batch)
    return emit("gather", x, i, j, axes=(axis, axis + 1), at=axis)


def _diagonal(x: Tracer, offset: int, axis1: int, axis2: int) -> Tracer:
    if x.ndim < 2:
        raise ShapeError(
            f"the diagonal of an array of shape {x.dims}. It needs two axes. Use np.diag to make a matrix of a vector.",
            user_location(),
        )
    i, j = axis_index(axis1, x.ndim, "axis1"), axis_index(axis2, x.ndim, "axis2")
    if i == j:
        raise ArgumentError("axis1 and axis2 are the same axis. A diagonal needs two. Change one.", user_location())
    rest = [k for k in range(x.ndim) if k not in (i, j)]
    return diagonal_last(transpose(x, (*rest, i, j)), static_int(offset, "offset"))


@implements(np.diagonal)
def diagonal(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tracer:
    x = array_of(a)
    piece = _diagonal(x, offset, axis1, axis2)  # raises what there is to raise
    i, j, strides = axis_index(axis1, x.ndim), axis_index(axis2, x.ndim), strides_of(x)
    layout = strides and (*(s for k, s in enumerate(strides) if k not in (i, j)), strides[i] + strides[j])
    compute = functools.partial(_diagonal, offset=offset, axis1=axis1, axis2=axis2)
    return View(x, Derived(piece.dims, compute, "the result of np.diagonal", layout))


@implements(np.linalg.diagonal)
def linalg_diagonal(x: ArrayLike, /, *, offset: int = 0) -> Tracer:
    return diagonal(x, offset, -2, -1)


@implements(np.trace)
def trace(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Tracer:
    d = _diagonal(lift_one(a), offset, axis1, axis2)
    return HOOKS["sum"](d, axis=-1, dtype=dtype)


@implements(np.linalg.trace)
def linalg_trace(x: ArrayLike, /, *, offset: int = 0, dtype: Any = None) -> Tracer:
    return trace(x, offset, -2, -1, dtype)


@implements(np.diag)
def diag(v: ArrayLike, k: int = 0) -> Tracer:
    x, k = lift_one(v), static_int(k, "k")
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ShapeError(
            f"np.diag of an array of shape {x.dims}. It takes one or two axes. Use np.diagonal for more.",
            user_location(),
        )
    return embed_diagonal(x, k)


def embed_diagonal(x: Tracer, k: int = 0) -> Tracer:
    """The matrix with a vector on its k-th diagonal: rows of n+1 elements whose first is x, flattened and cut."""
    n = x.dims[0]
    size = n + abs(k)
    zeros = full(x, (size * size,), 0)
    start = k if k >= 0 else -k * size
    if n == 0:
        return reshape(zeros, (size, size))
    placed = emit("set_slice", zeros, x, starts=(start,), steps=(size + 1,))
    return reshape(placed, (size, size))


@implements(np.diagflat)
def diagflat(v: ArrayLike, k: int = 0) -> Tracer:
    x = lift_one(v)
    return embed_diagonal(reshape(x, (x.count,)), static_int(k, "k"))


def _triangle(m: ArrayLike, k: Any, lower: bool) -> Tracer:
    x = lift_one(m)
    if x.ndim == 0:
        raise ShapeError("np.tril of a scalar. It needs axes. Pass a matrix.", user_location())
    if x.ndim == 1:  # as NumPy: the rows are copies of the vector
        x = broadcast_to(x, (x.dims[0], x.dims[0]))
    k = static_int(k, "k")
    rows, columns = x.dims[-2:]
    if is_static(rows, columns):
        mask = np.tri(rows, columns, k if lower else k - 1, dtype=bool)
        keep = x.owner.lift(mask if lower else ~mask)
    else:
        distance = iota(x, (rows, columns), 1) - iota(x, (rows, columns), 0)
        keep = distance <= k if lower else distance >= k
    return where(keep, x, constant_like(x, 0))


@implements(np.tril)
def tril(m: ArrayLike, k: int = 0) -> Tracer:
    return _triangle(m, k, lower=True)


@implements(np.triu)
def triu(m: ArrayLike, k: int = 0) -> Tracer:
    return _triangle(m, k, lower=False)


HOOKS["diagonal"] = diagonal
HOOKS["broadcast_arrays"] = broadcast_arrays
HOOKS["moveaxis"] = moveaxis
