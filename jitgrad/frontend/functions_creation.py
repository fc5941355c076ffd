"""Functions that make arrays, with traced values among their arguments: what NumPy's protocols can't route."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.frontend.functions_shape import boxed, ordered_copy, put_in_order
from jitgrad.frontend.indexing import as_value, clipped_count, count_by
from jitgrad.frontend.items import as_array, picked
from jitgrad.frontend.primitives import (
    as_dtype,
    broadcast_to,
    broadcast_together,
    cast,
    common_dtype,
    constant_like,
    dimension,
    dtype_argument,
    emit,
    lift_one,
    promoted,
    reshape,
    static_int,
    static_shape,
    strong,
)
from jitgrad.frontend.primitives import where as call_where
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import HOOKS, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer, contains_tracer, innermost_trace, is_traced
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.frontend.views import View, is_contiguous, view_transposed
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64, i64


@implements(np.array)
def array(
    object: Any, dtype: Any = None, *, copy: Any = True, order: str = "K", subok: bool = False, ndmin: int = 0,
    like: Any = None,
) -> Tracer:  # fmt: skip
    """An array from nested lists with traced values in them; shapes must agree. Raises ShapeError."""
    if isinstance(object, Tracer) and not copy and (object.dims or object.boxed):
        same = object.weak is None and (dtype is None or np.dtype(dtype) == object.dtype)
        if same and ndmin <= object.ndim and _lies_in(object, order):
            return object
    trace = innermost_trace(object)
    whole = as_array(trace, object)
    leaves, shape = ([], ()) if whole is not None else _leaves(object)
    if whole is None:
        whole = picked(trace, leaves, shape)
    if whole is not None:
        out = cast(whole, dtype_argument(dtype) or whole.dtype)
        return put_in_order(boxed(reshape(out, (*[1] * (ndmin - out.ndim), *out.dims))), order, object)
    tracers = [strong(trace.lift(leaf)) for leaf in leaves]
    # One after the other: bfloat16, float and int together have no common dtype.
    target = dtype_argument(dtype) or functools.reduce(promoted, (t.dtype for t in tracers))
    if any(t.dims != tracers[0].dims for t in tracers):
        raise ShapeError(
            f"np.array of parts of shapes {sorted({t.dims for t in tracers})}. All parts of one depth must have one "
            "shape. Reshape or broadcast them first.",
            user_location(),
        )
    inner = tracers[0].dims
    if not shape:
        out = Tracer(tracers[0].owner, cast(tracers[0], target).value)
    else:
        parts = [reshape(cast(t, target), (1, *inner)) for t in tracers]
        joined = emit("concatenate", *parts, axis=0) if len(parts) > 1 else parts[0]
        out = reshape(joined, (*shape, *inner))
    return put_in_order(boxed(reshape(out, (*[1] * (ndmin - out.ndim), *out.dims))), order, object)


def _leaves(obj: Any) -> tuple[list[Any], tuple[int, ...]]:
    """The parts of nested lists that are no lists with tracers in them, and the shape of the nesting."""
    if not isinstance(obj, (list, tuple)):
        return [obj], ()
    if not contains_tracer(obj):
        return [np.asarray(obj)], ()
    found = [_leaves(o) for o in obj]
    depth = {s for _, s in found}
    if len(depth) > 1:
        # A row without tracers is one leaf: split it as the rows beside it are split.
        longest = max(depth, key=len)
        found = [f if f[1] == longest else _split(f[0], longest) for f in found]
    return [leaf for leaves, _ in found for leaf in leaves], (len(obj), *found[0][1])


def _split(leaves: list[Any], shape: tuple[int, ...]) -> tuple[list[Any], tuple[int, ...]]:
    part = leaves[0]
    if len(leaves) != 1 or isinstance(part, Tracer) or np.shape(part)[: len(shape)] != shape:
        raise ShapeError(
            f"np.array of rows of different lengths or depths (one has shape {shape}). An array has one shape. Give "
            "rows of equal length.",
            user_location(),
        )
    a = np.asarray(part)
    return list(a.reshape(-1, *a.shape[len(shape) :])), shape


def _lies_in(x: Tracer, order: str) -> bool:
    """Do the elements lie behind each other in C or Fortran order, if that is asked for?"""
    if order == "C":
        return is_contiguous(x)
    return order != "F" or is_contiguous(view_transposed(x, range(x.ndim)[::-1]))


@implements(np.asarray, np.asanyarray, np.asarray_chkfinite)
def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None) -> Tracer:
    """The traced value itself where nothing changes, as NumPy returns the array itself."""
    return array(a, dtype, copy=bool(copy), order=order or "K")


@implements(np.ascontiguousarray)
def ascontiguousarray(a: Any, dtype: Any = None) -> Tracer:
    return array(a, dtype, copy=False, order="C", ndmin=1)


@implements(np.asfortranarray)
def asfortranarray(a: Any, dtype: Any = None) -> Tracer:
    return array(a, dtype, copy=False, order="F", ndmin=1)


#: The orders that the requirements of ``np.require`` ask for.
_REQUIRED = {"C": "C", "CONTIGUOUS": "C", "C_CONTIGUOUS": "C", "F": "F", "FORTRAN": "F", "F_CONTIGUOUS": "F"}


@implements(np.require)
def require(a: Any, dtype: Any = None, requirements: Any = None) -> Tracer:
    names = [name.upper() for name in requirements or ()]
    x = array(a, dtype, copy=False, order=next((_REQUIRED[n] for n in names if n in _REQUIRED), "K"))
    owned = {"O", "OWNDATA"}.intersection(names) and isinstance(x, View)
    return ordered_copy(x, "K") if owned else x


HOOKS["array"] = array


@implements(np.full)
def full(shape: Any, fill_value: ArrayLike, dtype: Any = None, order: str = "C") -> Tracer:
    target = static_shape(shape)
    fill = lift_one(fill_value)
    out = strong(broadcast_to(cast(fill, dtype_argument(dtype) or fill.dtype), target))
    return boxed(out)


def _filled(number: int) -> Any:
    """The handler of ``np.zeros`` and ``np.ones`` for traced extents."""

    def handler(shape: Any, dtype: Any = float, order: str = "C", *, device: Any = None) -> Tracer:
        trace, dims = innermost_trace(shape), static_shape(shape)
        return boxed(broadcast_to(Tracer(trace, trace.scalar(number, dtype_argument(dtype) or f64)), dims))

    return handler


implements(np.zeros)(_filled(0))
implements(np.ones)(_filled(1))


@implements(np.empty)
def empty(shape: Any, dtype: Any = float, order: str = "C", *, device: Any = None) -> Tracer:
    trace = innermost_trace(shape)
    attrs = {"shape": static_shape(shape), "dtype": dtype_argument(dtype) or f64}
    return boxed(Tracer(trace, trace.emit("empty", (), attrs)[0]))


@implements(np.arange)
def arange(*args: Any, step: Any = None, dtype: Any = None, like: Any = None, device: Any = None) -> Tracer:
    """``arange(stop)``, ``arange(start, stop)`` and ``arange(start, stop, step)`` of integers. Raises ZeroDivisionError
    where a traced step is 0 when the program runs."""
    if not 1 <= len(args) <= 3:
        raise ArgumentError("np.arange takes one to three positional arguments. Give start, stop and step.",
                            user_location())  # fmt: skip
    start, stop = (0, args[0]) if len(args) == 1 else args[:2]
    step = args[2] if len(args) == 3 else 1 if step is None else step
    trace = innermost_trace(*args, step)
    if is_traced(step) and step.dtype.kind in "iu" and not step.dims:
        first, last = (dimension(b, "a bound of np.arange") for b in (start, stop))
        demand(step != 0, ZeroDivisionError("division by zero"))
        step = cast(step, i64)
        count = count_by(as_value(trace, first), as_value(trace, last), step)
    else:
        step = static_int(step, "step of np.arange")
        first, last = (dimension(b, "a bound of np.arange") for b in (start, stop))
        # np.zeros(n) is as long as np.arange(n): a negative n, where it is not known, is as good as 0.
        count = clipped_count(trace, first, last, step, extent=last if first == 0 else 0)
    (value,) = trace.emit("iota", (), {"shape": (count,), "axis": 0, "dtype": i64})
    numbers = Tracer(trace, value)
    if is_traced(step):
        numbers = numbers * step
    elif step != 1:
        numbers = emit("multiply", numbers, constant_like(numbers, step))
    if first != 0:
        numbers = emit("add", numbers, as_value(trace, first))
    return boxed(cast(numbers, dtype_argument(dtype) or i64))


@implements(np.eye)
def eye(N: Any, M: Any = None, k: int = 0, dtype: Any = float, order: str = "C", *, device: Any = None) -> Tracer:
    trace = innermost_trace(N, M)
    shape = tuple(dimension(n, "an extent of np.eye") for n in (N, N if M is None else M))
    rows, columns = (
        Tracer(trace, trace.emit("iota", (), {"shape": shape, "axis": axis, "dtype": i64})[0]) for axis in (0, 1)
    )
    shift = constant_like(rows, static_int(k, "k"))
    on = emit("equal", emit("add", rows, shift), columns)
    return boxed(cast(on, dtype_argument(dtype) or f64))


@implements(np.identity)
def identity(n: Any, dtype: Any = float) -> Tracer:
    return eye(n, dtype=dtype)


def _needs_static(name: str) -> Any:
    """A handler for functions whose traced argument can only be a size: it raises ConcretizationError."""

    def handler(*args: Any, **kwargs: Any) -> Any:
        for a in (*args, *kwargs.values()):
            for b in a if isinstance(a, (list, tuple)) else [a]:
                if isinstance(b, Tracer):
                    static_int(b, f"a size or argument of {name}")
        raise AssertionError("called without a traced argument")

    return handler


for _name in [
    "tri",
    "indices",
    "fromfunction",
    "diag_indices",
    "tril_indices",
    "triu_indices",
    "hanning",
    "hamming",
    "blackman",
    "bartlett",
]:
    implements(getattr(np, _name))(_needs_static(f"np.{_name}"))


@implements(np.linspace)
def linspace(
    start: ArrayLike, stop: ArrayLike, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None,
    axis: int = 0, *, device: Any = None,
) -> Any:  # fmt: skip
    """Traced endpoints; ``num`` must be static."""
    num = static_int(num, "num of np.linspace")
    trace, target = innermost_trace(start, stop), common_dtype(start, stop)
    a, b = (as_dtype(t, target if target.kind == "f" else f64, trace) for t in (start, stop))
    shape = broadcast_together(a.dims, b.dims)
    a, b = (broadcast_to(t, shape) for t in (a, b))
    steps = num - 1 if endpoint else num
    index = reshape(strong(a.owner.lift(np.arange(num, dtype=a.dtype))), (num, *[1] * len(shape)))
    delta = emit("subtract", b, a)
    if steps > 0:
        step = emit("divide", delta, constant_like(delta, steps))
        points = emit("add", emit("multiply", index, step), a)
    else:
        step = constant_like(delta, np.nan)
        points = emit("add", emit("multiply", index, delta), a)
    if endpoint and num > 1:
        last = strong(a.owner.lift(np.arange(num) == num - 1))
        points = emit("where", reshape(last, index.dims), b, points)  # exact at the end, as in NumPy
    if dtype is not None:
        whole = np.dtype(dtype).kind in "iu"
        points = cast(emit("floor", points) if whole else points, dtype)
    points = HOOKS["moveaxis"](points, 0, axis) if axis != 0 else points
    return (points, step) if retstep else points


@implements(np.logspace)
def logspace(
    start: ArrayLike, stop: ArrayLike, num: int = 50, endpoint: bool = True, base: ArrayLike = 10.0,
    dtype: Any = None, axis: int = 0,
) -> Tracer:  # fmt: skip
    exponents = (
        linspace(start, stop, num, endpoint, axis=axis)
        if contains_tracer([start, stop])
        else np.linspace(start, stop, num, endpoint, axis=axis)
    )
    out = call_ufunc(np.power, base, exponents)
    return out if dtype is None else cast(out, dtype)


@implements(np.geomspace)
def geomspace(
    start: ArrayLike, stop: ArrayLike, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Tracer:
    """For positive endpoints."""
    trace, target = innermost_trace(start, stop), common_dtype(start, stop, weak=False)
    a, b = (as_dtype(t, target if target.kind == "f" else f64, trace) for t in (start, stop))
    num = static_int(num, "num of np.geomspace")
    out = call_ufunc(np.power, 10.0, linspace(emit("log10", a), emit("log10", b), num, endpoint))
    index = np.arange(num).reshape(num, *[1] * (out.ndim - 1))
    out = call_where(a.owner.lift(index == 0), a, out)  # exact at the ends, as in NumPy
    if endpoint and num > 1:
        out = call_where(a.owner.lift(index == num - 1), b, out)
    out = HOOKS["moveaxis"](out, 0, axis) if axis != 0 else out
    return out if dtype is None else cast(out, dtype)


# -- from what an iterable gives ---------------------------------------------------------------------------------------


def fromiter(iter: Iterable[Any], dtype: Any, count: int = -1, *, like: Any = None) -> Any:
    """``np.fromiter``, also of generators that give traced numbers. Raises ArgumentError for too few."""
    if HOOKS["current_trace"]() is None:
        return np.fromiter(iter, dtype, count, like=like)
    callee = HOOKS["callee"]
    items = callee(list)(iter if count < 0 else callee(itertools.islice)(iter, count))
    if not contains_tracer(items):
        return HOOKS["run"](np.fromiter, (items, dtype, count), {})
    x = array(items, dtype)
    if count >= 0 and x.dims[0] != count:
        raise ArgumentError(
            f"np.fromiter of {x.dims[0]} numbers with count={count}. The iterator is too short. Leave the count out.",
            user_location(),
        )
    return x
