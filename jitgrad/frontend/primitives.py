"""IR ops on tracers, one function each: what the handlers of NumPy functions are made of.

All take tracers and strict dtypes; promotion is done by ``ufuncs`` and by the handlers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, AxisError, ConcretizationError, DtypeError, JitgradError, ShapeError
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace, as_numpy
from jitgrad.frontend.tracer import ArrayLike, Tracer, innermost_trace
from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim, IndexExpr
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import index_of, renamed_dim
from jitgrad.ir.types import bool_, broadcast_shapes, check_dtype, f16, f64, i64, is_float

Shape = tuple[Any, ...]


def emit(name: str, *tracers: Tracer, **attrs: Any) -> Tracer:
    """Emit an op with one result into the innermost trace of its operands."""
    (result,) = emit_all(name, *tracers, **attrs)
    return result


def emit_all(name: str, *tracers: Tracer, **attrs: Any) -> tuple[Tracer, ...]:
    """As :func:`emit`, for an op with several results."""
    trace = innermost_trace(*tracers)
    return tuple(Tracer(trace, v) for v in trace.emit(name, tracers, attrs))


def lift(*objects: ArrayLike) -> list[Tracer]:
    """Array-likes as strong tracers of the innermost trace among them."""
    trace = innermost_trace(*objects)
    return [strong(trace.lift(o)) for o in objects]


def lift_one(obj: ArrayLike, *peers: ArrayLike) -> Tracer:
    """One array-like as a strong tracer, where another argument may be the one that is traced."""
    return strong(innermost_trace(obj, *peers).lift(obj))


def strong(x: Tracer) -> Tracer:
    """The same value without weak promotion, as NumPy functions treat Python scalars."""
    return Tracer(x.owner, x.value) if x.weak else x


def constant_like(x: Tracer, number: Any, dtype: Any = None) -> Tracer:
    """A scalar constant in x's trace, of x's dtype unless given."""
    return Tracer(x.owner, x.owner.scalar(number, np.dtype(x.dtype if dtype is None else dtype)))


def cast(x: Tracer, dtype: Any) -> Tracer:
    """x in another dtype; the result is strong. A scalar constant is converted at once."""
    dtype = supported(np.dtype(dtype))
    if x.dtype == dtype:
        return strong(x)
    op = x.value.op
    if op is not None and op.name == "constant" and not x.dims:
        with np.errstate(all="ignore"):
            return Tracer(x.owner, x.owner.scalar(op.attrs["value"].astype(dtype), dtype))
    return emit("cast", x, dtype=dtype)


def supported(dtype: np.dtype) -> np.dtype:
    """The dtype in native order, or DtypeError with the user's line."""
    try:
        return check_dtype(dtype)
    except DtypeError as error:
        raise DtypeError(error.message, user_location()) from None


def dtype_argument(dtype: Any) -> np.dtype | None:
    """A ``dtype=`` argument; None stays None."""
    return None if dtype is None else supported(np.dtype(dtype))


def promotion_sample(obj: ArrayLike, weak: bool = True) -> Any:
    """What stands for an array-like in ``np.result_type``: a dtype, or 0 or 0.0 for a Python scalar."""
    if isinstance(obj, Tracer):
        return WEAK_SAMPLES[obj.weak] if obj.weak and weak else obj.dtype
    if weak and type(obj) in (int, float):
        return WEAK_SAMPLES[type(obj).__name__]
    return as_numpy(obj).dtype


#: What stands for a weak scalar of each kind in ``np.result_type``.
WEAK_SAMPLES: dict[str, Any] = {"bool": np.dtype(np.bool_), "int": 0, "float": 0.0}


def common_dtype(*objects: ArrayLike, weak: bool = True) -> np.dtype:
    """``np.result_type`` of array-likes; Python scalars are weak unless ``weak`` is False."""
    return promoted(*(promotion_sample(o, weak) for o in objects))


def promoted(*samples: Any) -> np.dtype:
    """``np.result_type`` of dtypes, and numbers that are weak. Raises DtypeError where there is none: bfloat16 and
    float16 have no common dtype, nor have it and integers of more than 8 bits."""
    try:
        return supported(np.result_type(*samples))
    except TypeError:
        names = [type(s).__name__ if type(s) in (int, float) else str(s) for s in samples]
        raise DtypeError(
            f"{' and '.join(dict.fromkeys(names))} have no common dtype in NumPy. It does not choose one that holds "
            "all of their values. Convert one of them with astype().",
            user_location(),
        ) from None


def as_dtype(obj: ArrayLike, dtype: np.dtype, trace: Trace) -> Tracer:
    """An array-like as a strong tracer of a dtype; a number becomes a constant of that dtype at once."""
    if type(obj) in (bool, int, float):
        return Tracer(trace, trace.scalar(obj, dtype))
    return cast(trace.lift(obj), dtype)


def promote(*objects: ArrayLike, weak: bool = True) -> list[Tracer]:
    """Array-likes as tracers of their common dtype (:func:`common_dtype`)."""
    trace = innermost_trace(*objects)
    objects = tuple(trace.lift(o) if isinstance(o, (list, tuple)) else o for o in objects)
    dtype = common_dtype(*objects, weak=weak)
    return [as_dtype(o, dtype, trace) for o in objects]


def floating(x: Tracer) -> Tracer:
    """x as floats: float64 for integers and bool, as it is for floats."""
    return x if is_float(x.dtype) else cast(x, f64)


def inexact(x: Tracer) -> Tracer:
    """x as floats where NumPy asks for one of its own: it takes bfloat16 for no float, and float64 for it too."""
    return x if x.dtype.kind == "f" else cast(x, f64)


def floats(*objects: ArrayLike) -> list[Tracer]:
    """Array-likes promoted to one float dtype; what LAPACK functions compute in."""
    tracers = lift(*objects)
    dtype = common_dtype(*tracers)
    dtype = dtype if is_float(dtype) else f64
    return [cast(t, dtype) for t in tracers]


def matrix_floats(function: str, *objects: ArrayLike) -> list[Tracer]:
    """:func:`floats` for LAPACK, :func:`inexact`. Raises DtypeError for float16, as NumPy does."""
    tracers = [inexact(t) for t in floats(*objects)]
    if tracers[0].dtype == f16:
        raise DtypeError(
            f"{function} of float16. As in NumPy, array type float16 is unsupported in linalg: LAPACK computes in "
            "float32 and float64. Convert the array with astype(np.float32).",
            user_location(),
        )
    return tracers


def reshape(x: Tracer, shape: Sequence[Any]) -> Tracer:
    shape = tuple(shape)
    return x if x.dims == shape else emit("reshape", x, shape=shape)


def transpose(x: Tracer, perm: Sequence[int]) -> Tracer:
    perm = tuple(perm)
    return x if perm == tuple(range(x.ndim)) else emit("transpose", x, perm=perm)


def broadcast_to(x: Tracer, shape: Sequence[Any]) -> Tracer:
    shape = tuple(shape)
    return x if x.dims == shape else emit("broadcast_to", x, shape=shape)


def broadcast_together(*shapes: Shape) -> Shape:
    """The common shape. Raises ShapeError at the user's line."""
    try:
        return broadcast_shapes(*shapes)
    except JitgradError as error:
        raise ShapeError(error.message, user_location()) from None


def reduce(name: str, x: Tracer, axes: Sequence[int], keepdims: bool = False) -> Tracer:
    """``reduce_<name>`` over sorted axes."""
    axes = tuple(sorted(axes))
    out = emit(f"reduce_{name}", x, axes=axes) if axes else x
    if not keepdims or not axes:
        return out
    return reshape(out, [1 if k in axes else d for k, d in enumerate(x.dims)])


def take_slice(x: Tracer, axis: int, start: int, stop: int, step: int = 1) -> Tracer:
    """``x[:, ..., start:stop:step]`` on one axis; start and stop as ``range`` takes them."""
    size = len(range(start, stop, step))
    if start == 0 and step == 1 and size == x.dims[axis]:
        return x
    starts, sizes, steps = [0] * x.ndim, list(x.dims), [1] * x.ndim
    starts[axis], sizes[axis], steps[axis] = (start if size else 0), size, step
    return emit("slice", x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))


def concatenate(tracers: Sequence[Tracer], axis: int) -> Tracer:
    return tracers[0] if len(tracers) == 1 else emit("concatenate", *tracers, axis=axis)


def where(condition: Tracer, x: Tracer, y: Tracer) -> Tracer:
    """Elementwise choice, operands broadcast by the op; x and y have one dtype."""
    return emit("where", cast(condition, bool_), x, y)


def iota(x: Tracer, shape: Sequence[Any], axis: int, dtype: Any = i64) -> Tracer:
    """The index along an axis, as an array; in x's trace."""
    trace = x.owner
    (value,) = trace.emit("iota", (), {"shape": tuple(shape), "axis": axis, "dtype": np.dtype(dtype)})
    return Tracer(trace, value)


def windows(x: Tracer, shape: Sequence[Dim], steps: Sequence[int] = (1, 1), start: int = 0, axis: int = 0) -> Tracer:
    """``x[start + i * steps[0] + j * steps[1]]`` along an axis of x, in the place of which come those of i and j."""
    (places,) = x.owner.emit("ramp", (), {"shape": tuple(shape), "start": start, "steps": tuple(steps)})
    return emit("gather", x, Tracer(x.owner, places), axes=(axis,), at=axis)


def full(x: Tracer, shape: Sequence[Any], number: Any, dtype: Any = None) -> Tracer:
    """A constant array in x's trace."""
    return broadcast_to(constant_like(x, number, dtype), shape)


def move_axis(x: Tracer, source: int, destination: int) -> Tracer:
    """``np.moveaxis`` for one non-negative axis."""
    perm = [k for k in range(x.ndim) if k != source]
    perm.insert(destination, source)
    return transpose(x, perm)


def insert_axes(x: Tracer, axes: Sequence[int]) -> Tracer:
    """``np.expand_dims`` at sorted non-negative positions of the result."""
    shape = list(x.dims)
    for axis in sorted(axes):
        shape.insert(axis, 1)
    return reshape(x, shape)


def axis_index(axis: Any, ndim: int, name: str = "axis") -> int:
    """A non-negative axis. Raises AxisError, or ConcretizationError for a traced one."""
    k = static_int(axis, name)
    if not -ndim <= k < ndim:
        raise AxisError(
            f"{name} {k} is out of bounds for an array of dimension {ndim}. Axes run from {-ndim} to {ndim - 1}. "
            f"Check the array's shape.",
            user_location(),
        )
    return k % ndim


def axis_tuple(axis: Any, ndim: int, name: str = "axis") -> tuple[int, ...]:
    """An ``axis=`` argument as sorted non-negative axes; None is all. Raises AxisError, ArgumentError.

    As in NumPy, 0 and -1 are no axes of a scalar, but may be given.
    """
    if axis is None or (ndim == 0 and type(axis) is int and axis in (0, -1)):
        return tuple(range(ndim))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    result = tuple(sorted(axis_index(a, ndim, name) for a in axes))
    if len(set(result)) != len(result):
        raise ArgumentError(
            f"{name} {axis} names an axis twice. Each can be used once. Remove the duplicate.", user_location()
        )
    return result


def static_int(value: Any, name: str) -> int:
    """A Python int. Raises ConcretizationError for a traced value, ArgumentError for what is no integer."""
    if isinstance(value, Tracer) and value.concrete is None:
        known = dimension(value, name)
        if isinstance(known, int):
            return known
        raise ConcretizationError(
            f"{name} is the traced value {value!r}. It must be known at trace time, because the shape of the result "
            "depends on it. Take it from x.shape, or make the argument static with jit(static_argnames=...).",
            user_location(),
        )
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    try:
        return value.__index__()
    except AttributeError:
        raise ArgumentError(
            f"{name} is {value!r}. It must be an integer. Convert it with int().", user_location()
        ) from None


def dimension(value: Any, name: str) -> Dim:
    """An extent: an integer, or an index expression for a traced one. Raises ConcretizationError for traced values
    that are no integers, ArgumentError for others."""
    if not isinstance(value, Tracer) or value.concrete is not None:
        return static_int(value, name)
    if value.dims or value.dtype.kind not in "iu":
        raise ConcretizationError(
            f"{name} is the traced value {value!r}. It must be an integer that is known at trace time, or a traced "
            "integer. Take it from x.shape, or make the argument static with jit(static_argnames=...).",
            user_location(),
        )
    trace = innermost_trace(value)
    found = index_of(trace.own(cast(value, i64)))
    if not isinstance(found, IndexExpr):
        return found
    # One name for what is computed twice: mask.sum() is the number of elements that the mask selects.
    named = [s.payload for s in found.syms() if isinstance(s.payload, Value)]
    return renamed_dim(found, {v: trace.first_of(v) for v in named})


def static_shape(shape: Any, name: str = "shape") -> Shape:
    """A shape argument: an integer or a sequence of them. Traced integers become index expressions."""
    if isinstance(shape, Tracer) and shape.concrete is not None:
        shape = shape.concrete
    if isinstance(shape, (tuple, list)):
        return tuple(dimension(d, name) for d in shape)
    if isinstance(shape, np.ndarray) and not isinstance(shape, Tracer):
        return tuple(int(d) for d in np.atleast_1d(shape))
    return (dimension(shape, name),)


def element_count(shape: Sequence[Any]) -> Any:
    return math.prod(shape)


HOOKS["cast"] = cast
