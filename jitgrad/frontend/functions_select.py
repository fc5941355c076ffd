"""Choosing, rounding, differences and other elementwise-like functions on traced values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend.assign import add_at
from jitgrad.frontend.functions_join import concatenate_
from jitgrad.frontend.functions_linalg import dot
from jitgrad.frontend.functions_reduce import all_, mean, searchsorted, sum_
from jitgrad.frontend.functions_shape import ravel
from jitgrad.frontend.indexing import as_value
from jitgrad.frontend.primitives import (
    axis_index,
    axis_tuple,
    broadcast_to,
    broadcast_together,
    cast,
    constant_like,
    emit,
    floating,
    floats,
    full,
    inexact,
    insert_axes,
    iota,
    lift,
    lift_one,
    promote,
    promoted,
    promotion_sample,
    reshape,
    static_int,
    strong,
    take_slice,
    windows,
)
from jitgrad.frontend.primitives import where as select_where
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import HOOKS, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer, contains_tracer, extent
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_, f32, is_bfloat16, is_float, is_short, largest


@implements(np.where)
def where(condition: ArrayLike, x: Any = None, y: Any = None, /) -> Tracer:
    if x is None or y is None:
        return HOOKS["nonzero"](condition)
    mask = lift_one(condition, x, y)
    a, b = promote(x, y) if contains_tracer([x, y]) else _beside(mask, x, y)
    shape = broadcast_together(mask.dims, a.dims, b.dims)
    return broadcast_to(select_where(mask, a, b), shape)


def _beside(peer: Tracer, *objects: ArrayLike) -> list[Tracer]:
    """Untraced operands of a common dtype, in the trace of another argument."""
    dtype = promoted(*(o if type(o) in (int, float) else np.asarray(o).dtype for o in objects))
    return [cast(strong(peer.owner.lift(np.asarray(o, dtype))), dtype) for o in objects]


@implements(np.select)
def select(condlist: Sequence[ArrayLike], choicelist: Sequence[ArrayLike], default: ArrayLike = 0) -> Tracer:
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ArgumentError(
            "np.select needs as many choices as conditions, and at least one. Check the lists.", user_location()
        )
    # One promotion over all choices, so that the first of them does not decide alone.
    values = [*choicelist, default]
    peer = lift_one(next(iter(condlist)), *condlist, *values)
    choices = promote(*values) if contains_tracer(values) else _beside(peer, *values)
    *choices, out = choices
    shape = broadcast_together(*(lift_one(c, peer).dims for c in condlist), *(c.dims for c in choices), out.dims)
    for c, v in zip(list(condlist)[::-1], choices[::-1], strict=True):
        out = select_where(lift_one(c, peer), v, out)
    return broadcast_to(out, shape)


@implements(np.piecewise)
def piecewise(x: ArrayLike, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Tracer:
    """Every function is evaluated on all of x; NumPy evaluates each only where its condition holds."""
    t = lift_one(x)
    conditions = list(condlist) if isinstance(condlist, (list, tuple)) else [condlist]
    masks = [cast(lift_one(c, t), bool_) for c in conditions]
    functions = list(funclist)
    out = full(t, t.dims, 0)
    if len(functions) == len(masks) + 1:
        out = cast(_evaluated(functions.pop(), t, args, kw), t.dtype)
    if len(functions) != len(masks):
        raise ArgumentError("np.piecewise needs one function for each condition, and at most one more as the default. "
                            "Check the lists.", user_location())  # fmt: skip
    for m, f in zip(masks, functions, strict=True):
        out = select_where(m, cast(_evaluated(f, t, args, kw), t.dtype), out)
    return broadcast_to(out, t.dims)


def _evaluated(function: Any, x: Tracer, args: tuple[Any, ...], kw: dict[str, Any]) -> Tracer:
    return lift_one(function(x, *args, **kw) if callable(function) else function, x)


@implements(np.clip)
def clip(
    a: ArrayLike, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None, dtype: Any = None
) -> Tracer:
    low, high = (a_min if a_min is not None else min), (a_max if a_max is not None else max)
    kind = promotion_sample(a)
    if isinstance(kind, np.dtype) and kind.kind in "iu":  # bounds beyond the dtype bound nothing, as in NumPy
        info = np.iinfo(kind)
        low = None if type(low) is int and low <= info.min else low
        high = None if type(high) is int and high >= info.max else high
    if isinstance(kind, np.dtype) and is_bfloat16(kind) and dtype is None and low is not None and high is not None:
        # NumPy's ufunc of three operands has no loop for it; those of two have.
        samples = map(promotion_sample, (a, low, high))
        dtype = np.clip(*(np.empty(0, s) if isinstance(s, np.dtype) else s for s in samples)).dtype
    out = a
    if low is not None:
        out = call_ufunc(np.maximum, out, low, dtype=dtype)
    if high is not None:
        out = call_ufunc(np.minimum, out, high, dtype=dtype)
    return lift_one(out) if low is None and high is None else out


@implements(np.round, np.around)
def round_(a: ArrayLike, decimals: int = 0) -> Tracer:
    """Half to even; by scaling, as NumPy."""
    x, decimals = lift_one(a), static_int(decimals, "decimals")
    if x.dtype == bool_:
        x = cast(x, np.int64)
    if not is_float(x.dtype):
        if decimals >= 0:
            return x
        rounded = _scaled_round(floating(x), decimals)
        return cast(rounded, x.dtype)
    return emit("rint", x) if decimals == 0 else _scaled_round(x, decimals)


def _scaled_round(x: Tracer, decimals: int) -> Tracer:
    scale = constant_like(x, 10.0 ** abs(decimals))
    first, second = ("multiply", "divide") if decimals > 0 else ("divide", "multiply")
    return emit(second, emit("rint", emit(first, x, scale)), scale)


@implements(np.fix)
def fix(x: ArrayLike) -> Tracer:
    return call_ufunc(np.trunc, x)


@implements(np.nan_to_num)
def nan_to_num(x: ArrayLike, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Tracer:
    t = lift_one(x)
    if not copy and (t.dims or t.boxed):
        if is_float(t.dtype):
            t[...] = nan_to_num(t, True, nan, posinf, neginf)
        return t
    if not is_float(t.dtype):
        return Tracer(t.owner, t.value)
    high = largest(t.dtype) if posinf is None else posinf
    low = -largest(t.dtype) if neginf is None else neginf
    infinite = emit("isinf", t)
    positive = emit("greater", t, constant_like(t, 0.0))

    def value(v: Any) -> Tracer:
        return cast(lift_one(v, t), t.dtype)

    out = select_where(emit("isnan", t), value(nan), t)
    out = select_where(emit("logical_and", infinite, positive), value(high), out)
    return select_where(emit("logical_and", infinite, emit("logical_not", positive)), value(low), out)


@implements(np.isclose)
def isclose(a: ArrayLike, b: ArrayLike, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Tracer:
    x, y = promote(a, b)
    x, y = floating(x), floating(y)
    bound = call_ufunc(np.add, call_ufunc(np.multiply, call_ufunc(np.absolute, y), rtol), atol)
    near = call_ufunc(np.less_equal, call_ufunc(np.absolute, emit("subtract", x, y)), bound)
    out = emit("logical_or", emit("logical_and", near, emit("isfinite", y)), emit("equal", x, y))
    if equal_nan:
        out = emit("logical_or", out, emit("logical_and", emit("isnan", x), emit("isnan", y)))
    return out


@implements(np.allclose)
def allclose(a: ArrayLike, b: ArrayLike, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Tracer:
    return _python_bool(all_(isclose(a, b, rtol, atol, equal_nan)))


def _python_bool(x: Tracer) -> Tracer:
    """As a Python bool, which is what NumPy returns here."""
    return Tracer(x.owner, x.value, "bool")


@implements(np.array_equal)
def array_equal(a1: ArrayLike, a2: ArrayLike, equal_nan: bool = False) -> Any:
    x, y = lift(a1, a2)
    if x.dims != y.dims:
        return False
    same = call_ufunc(np.equal, x, y)
    if equal_nan:
        both = emit("logical_and", call_ufunc(np.isnan, x), call_ufunc(np.isnan, y))
        same = emit("logical_or", same, both)
    return _python_bool(all_(same))


@implements(np.array_equiv)
def array_equiv(a1: ArrayLike, a2: ArrayLike) -> Any:
    return _python_bool(all_(call_ufunc(np.equal, a1, a2)))


@implements(np.isposinf)
def isposinf(x: ArrayLike) -> Tracer:
    return call_ufunc(np.logical_and, call_ufunc(np.isinf, x), call_ufunc(np.greater, x, 0))


@implements(np.isneginf)
def isneginf(x: ArrayLike) -> Tracer:
    return call_ufunc(np.logical_and, call_ufunc(np.isinf, x), call_ufunc(np.less, x, 0))


@implements(np.sinc)
def sinc(x: ArrayLike) -> Tracer:
    t = floating(lift_one(x))
    t = cast(t, f32) if is_bfloat16(t.dtype) else t  # as its product with a number is
    angle = emit("multiply", t, constant_like(t, np.pi))
    # At 0 the quotient is 0/0, and near it its derivatives lose their digits. There the power series
    # sum((-1)^k angle^2k / (2k+1)!) takes its place: for |angle| < 1/2 the first term left out is below 4e-23.
    small = emit("less", emit("absolute", angle), constant_like(t, 0.5))
    square = emit("square", select_where(small, angle, constant_like(t, 0.0)))
    series = constant_like(t, 0.0)
    for k in range(8, -1, -1):
        term = constant_like(t, (-1) ** k / math.factorial(2 * k + 1))
        series = term if k == 8 else emit("add", emit("multiply", series, square), term)
    angle = select_where(small, constant_like(t, 1.0), angle)
    return select_where(small, series, emit("divide", emit("sin", angle), angle))


@implements(np.angle)
def angle(z: ArrayLike, deg: bool = False) -> Tracer:
    # Of a real number it is 0 or pi, and constant: the formula of arctan2 has the derivative 0 / 0 at 0.
    angles = call_ufunc(np.arctan2, 0, emit("stop_gradient", lift_one(z)))
    return emit("multiply", angles, constant_like(angles, 180.0 / np.pi)) if deg else angles


# -- differences and sums along an axis --------------------------------------------------------------------------------


@implements(np.diff)
def diff(a: ArrayLike, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Tracer:
    x = lift_one(a, prepend, append)
    axis = axis_index(axis, x.ndim)
    missing = np._NoValue  # pyright: ignore[reportAttributeAccessIssue]
    pieces: list[Any] = []
    for extra in (prepend, append):
        if extra is None or extra is missing:
            pieces.append(None)
            continue
        e = lift_one(extra, x)
        pieces.append(broadcast_to(e, [1 if k == axis else d for k, d in enumerate(x.dims)]) if e.ndim == 0 else e)
    joined = [p for p in (pieces[0], x, pieces[1]) if p is not None]
    x = concatenate_(joined, axis) if len(joined) > 1 else x
    around = (slice(None),) * axis
    for _ in range(static_int(n, "n")):
        upper, lower = x[(*around, slice(1, None))], x[(*around, slice(None, -1))]
        x = emit("logical_xor", upper, lower) if x.dtype == bool_ else emit("subtract", upper, lower)
    return x


@implements(np.ediff1d)
def ediff1d(ary: ArrayLike, to_end: Any = None, to_begin: Any = None) -> Tracer:
    x = lift_one(ary, to_end, to_begin)
    d = diff(ravel(x))
    ends = [None if e is None else ravel(cast(lift_one(e, x), x.dtype)) for e in (to_begin, to_end)]
    parts = [p for p in (ends[0], d, ends[1]) if p is not None]
    return concatenate_(parts) if len(parts) > 1 else d


@implements(np.gradient)
def gradient(f: ArrayLike, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Central differences for scalar spacings or one coordinate array for each axis; ``edge_order`` 1 or 2."""
    x = inexact(lift_one(f, *varargs))
    given = axis is not None and not isinstance(axis, (tuple, list))
    axes = axis_tuple(axis, x.ndim) if axis is None or given else tuple(axis_index(k, x.ndim) for k in axis)
    spacings = list(varargs) or [1.0]
    spacings = spacings * len(axes) if len(spacings) == 1 else spacings
    if len(spacings) != len(axes):
        raise ArgumentError("np.gradient needs one spacing, or one for each axis. Check the arguments.",
                            user_location())  # fmt: skip
    wide = cast(x, f32) if is_short(x.dtype) else x  # the weights of the slopes would round
    out = [cast(_gradient_along(wide, s, k, edge_order), x.dtype) for s, k in zip(spacings, axes, strict=True)]
    return out[0] if len(out) == 1 else tuple(out)


def _gradient_along(x: Tracer, spacing: Any, axis: int, edge_order: int) -> Tracer:
    n = x.dims[axis]
    if not isinstance(n, int):
        return _gradient_of_unknown_length(x, spacing, axis, edge_order)
    if n < edge_order + 1:
        raise ShapeError(
            f"np.gradient needs at least {edge_order + 1} elements along axis {axis}, not {n}. Use a longer array.",
            user_location(),
        )
    h = np.shape(spacing) if not isinstance(spacing, Tracer) else spacing.dims
    if h == ():
        steps = broadcast_to(cast(lift_one(spacing, x), x.dtype), (n - 1,))
    else:
        steps = cast(diff(lift_one(spacing, x)), x.dtype)
    steps = reshape(steps, [n - 1 if k == axis else 1 for k in range(x.ndim)])

    def at(t: Tracer, start: int, stop: int) -> Tracer:
        return take_slice(t, axis, start, stop)

    slopes = (at(x, 1, n) - at(x, 0, n - 1)) / steps
    first, last = at(slopes, 0, 1), at(slopes, n - 2, n - 1)
    if n == 2:
        return concatenate_([first, last], axis)
    # The parabola through three points: slopes on both sides, each weighted by the other side's step.
    left, right = at(steps, 0, n - 2), at(steps, 1, n - 1)
    inner = (at(slopes, 0, n - 2) * right + at(slopes, 1, n - 1) * left) / (left + right)
    if edge_order == 2:
        k = n - 3
        first = first - (at(slopes, 1, 2) - first) / (at(left, 0, 1) + at(right, 0, 1)) * at(left, 0, 1)
        last = last + (last - at(slopes, n - 3, n - 2)) / (at(left, k, k + 1) + at(right, k, k + 1)) * at(
            right, k, k + 1
        )
    return concatenate_([first, inner, last], axis)


def _gradient_of_unknown_length(x: Tracer, spacing: Any, axis: int, edge_order: int) -> Tracer:
    """As :func:`_gradient_along`, by the numbers of the slopes on both sides of each element."""
    n: Any = extent(x.owner, x.dims[axis])
    demand(n >= edge_order + 1, ValueError("Shape of array too small to calculate a numerical gradient"))
    around = (slice(None),) * axis
    spread = [x.dims[axis] if k == axis else 1 for k in range(x.ndim)]
    points: Any = None if np.ndim(spacing) == 0 else cast(lift_one(spacing, x), x.dtype)
    step: Any = cast(lift_one(spacing, x), x.dtype) if points is None else None

    def slope(k: Any) -> tuple[Any, Any]:
        """The step after the k-th element, and the slope there."""
        k = np.minimum(np.maximum(k, 0), n - 2)
        width = step if points is None else reshape(points[k + 1] - points[k], spread)
        return width, (x[(*around, k + 1)] - x[(*around, k)]) / width

    i: Any = iota(x, (x.dims[axis],), 0)
    (left, before), (right, behind) = slope(i - 1), slope(i)
    inner = (before * right + behind * left) / (left + right)
    first, last = behind, before
    if edge_order == 2:
        (after, following), (earlier, previous) = slope(i + 1), slope(i - 2)
        first = first - (following - first) / (right + after) * right
        last = last + (last - previous) / (earlier + left) * left
    i = reshape(i, spread)
    return np.where(i == 0, first, np.where(i == n - 1, last, inner))


@implements(np.trapezoid)
def trapezoid(y: ArrayLike, x: ArrayLike = None, dx: Any = 1.0, axis: int = -1) -> Tracer:
    t = lift_one(y, x, dx)
    axis = axis_index(axis, t.ndim)
    if x is None:
        steps: Any = dx
    else:
        points = lift_one(x, t)
        if points.ndim == 1:
            steps = diff(points)
            steps = reshape(steps, [steps.dims[0] if k == axis else 1 for k in range(t.ndim)])
        else:
            steps = diff(points, axis=axis)
    whole = [slice(None)] * axis
    pairs = call_ufunc(np.add, t[(*whole, slice(1, None))], t[(*whole, slice(None, -1))])
    return sum_(call_ufunc(np.divide, call_ufunc(np.multiply, pairs, steps), 2.0), axis)


@implements(np.interp)
def interp(
    x: ArrayLike, xp: ArrayLike, fp: ArrayLike, left: Any = None, right: Any = None, period: Any = None
) -> Tracer:
    """Linear interpolation at increasing xp. ``period=`` is not supported."""
    if period is not None:
        raise UnsupportedError(
            "np.interp with period= is not supported on traced values. It sorts the points modulo the period. "
            "Extend the points by one period on each side.",
            user_location(),
        )
    t, points, values = (floating(v) for v in floats(x, xp, fp))
    t, points, values = (cast(v, np.float64) for v in (t, points, values))  # as NumPy, which computes in float64
    n = points.dims[0]
    if n == 1:
        inside = broadcast_to(values[0], t.dims)
    else:
        k = searchsorted(points, t, "right")
        k = clip(emit("subtract", k, constant_like(k, 1)), 0, extent(k.owner, n) - 2)
        x0, x1, y0, y1 = points[k], points[k + 1], values[k], values[k + 1]
        inside = y0 + (y1 - y0) / (x1 - x0) * (t - x0)
    low = values[0] if left is None else cast(lift_one(left, t), t.dtype)
    high = values[-1] if right is None else cast(lift_one(right, t), t.dtype)
    out = select_where(emit("less", t, points[0]), low, inside)
    out = select_where(emit("greater", t, points[-1]), high, out)
    at_end = emit("equal", t, points[-1])
    return select_where(at_end, values[-1], out)


@implements(np.convolve)
def convolve(a: ArrayLike, v: ArrayLike, mode: str = "full") -> Tracer:
    """By the windows of one operand: a matrix product, O(n m)."""
    x, y = promote(*(t if contains_tracer(t) else np.atleast_1d(t) for t in (a, v)))
    x, y = (insert_axes(t, [0]) if t.ndim == 0 else t for t in (x, y))
    if x.ndim != 1 or y.ndim != 1 or 0 in (x.count, y.count):
        raise ShapeError(
            f"np.convolve of shapes {x.dims} and {y.dims}. It takes two vectors that are not empty. Use ravel().",
            user_location(),
        )
    x, y = _longer_first(x, y, mode)
    n, m = x.count, y.count
    if not isinstance(m, int):
        places = reshape(iota(x, (n,), 0), (n, 1)) + reshape(iota(y, (m,), 0), (1, m))
        return add_at(full(x, (n + m - 1,), 0), places, reshape(x, (n, 1)) * reshape(y, (1, m)))
    # NumPy keeps the middle of the full result: its start is (m - 1) // 2.
    spread = {"full": (m - 1, m - 1), "same": (m - 1 - (m - 1) // 2, (m - 1) // 2), "valid": (0, 0)}
    if mode not in spread:
        raise ArgumentError(f"np.convolve got mode {mode!r}. Use 'full', 'same' or 'valid'.", user_location())
    low, high = spread[mode]
    padded = x if mode == "valid" or (low, high) == (0, 0) else emit("pad", x, low=(low,), high=(high,))
    return dot(windows(padded, (n + low + high - m + 1, m)), y[::-1])


def _longer_first(x: Tracer, y: Tracer, mode: str) -> tuple[Tracer, Tracer]:
    """Where one of them has an extent that only the run tells, that must be the longer one, if the mode depends on it,
    and none may be empty; else the program ends with an exception."""
    if isinstance(x.count, int) and (not isinstance(y.count, int) or y.count > x.count):
        x, y = y, x
    n, m = (extent(t.owner, t.count) for t in (x, y))
    if isinstance(n, int):
        return x, y
    if not isinstance(m, int) and mode != "full":
        raise UnsupportedError(
            f"np.convolve with mode {mode!r} of two arrays whose extents only the run tells is not supported. Cut it "
            "out of the full result.",
            user_location(),
        )
    if mode == "full":
        demand(np.logical_and(n > 0, m > 0), ValueError("a cannot be empty"))
    else:
        message = f"np.convolve with mode {mode!r} of fewer elements than the other array has, {m}"
        demand(n >= m, ShapeError(f"{message}. In a compiled program there must be at least as many.", user_location()))
    return x, y


@implements(np.correlate)
def correlate(a: ArrayLike, v: ArrayLike, mode: str = "valid") -> Tracer:
    x, y = promote(a, v)
    if isinstance(x.count, int) and isinstance(y.count, int) and y.count > x.count and mode == "same":
        return convolve(y, x[::-1], mode)[::-1]  # NumPy swaps them, which decides where the middle is
    return convolve(x, y[::-1], mode)


@implements(np.vander)
def vander(x: ArrayLike, N: int | None = None, increasing: bool = False) -> Tracer:
    t = lift_one(x)
    t = cast(t, promoted(t.dtype, np.dtype(np.int_)))
    n = t.dims[0] if N is None else static_int(N, "N")
    columns = [t**k for k in range(n)]
    return HOOKS["stack"](columns if increasing else columns[::-1], axis=1)


@implements(np.cov)
def cov(m: ArrayLike, y: ArrayLike = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None) -> Tracer:
    """Covariances of the rows; without weights."""
    x = _variables(m, y, rowvar)
    n = x.dims[1]
    centred = call_ufunc(np.subtract, x, mean(x, 1, keepdims=True))
    lost = ddof if ddof is not None else 0 if bias else 1
    free = call_ufunc(np.maximum, as_value(x.owner, n) - lost, 0)
    out = call_ufunc(np.divide, dot(centred, centred.T), cast(free, x.dtype))
    return reshape(out, [d for d in out.dims if d != 1]) if out.dims == (1, 1) else out


def _variables(m: ArrayLike, y: ArrayLike, rowvar: bool) -> Tracer:
    dtype = np.dtype(np.float64)  # NumPy computes covariances in double precision

    def rows(a: ArrayLike) -> Tracer:
        t = cast(lift_one(a, m, y), dtype)
        t = reshape(t, (1, t.count)) if t.ndim < 2 else t
        return t.T if not rowvar and t.dims[0] != 1 else t

    return rows(m) if y is None else concatenate_([rows(m), rows(y)], 0)


@implements(np.corrcoef)
def corrcoef(x: ArrayLike, y: ArrayLike = None, rowvar: bool = True) -> Tracer:
    c = cov(x, y, rowvar)
    if c.ndim == 0:
        return call_ufunc(np.divide, c, c)
    scale = call_ufunc(np.sqrt, HOOKS["diagonal"](c))
    out = c / scale[:, None] / scale[None, :]
    return clip(out, -1, 1)


@implements(np.apply_along_axis)
def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: ArrayLike, *args: Any, **kwargs: Any) -> Tracer:
    """The function traced once for each vector: fine for few of them."""
    x = lift_one(arr)
    axis = axis_index(axis, x.ndim)
    rest = [d for k, d in enumerate(x.dims) if k != axis]
    results = []
    for position in np.ndindex(*rest):
        index: list[Any] = list(position)
        index.insert(axis, slice(None))
        results.append(lift_one(func1d(x[tuple(index)], *args, **kwargs), x))
    stacked = HOOKS["stack"](results)
    out_shape = results[0].dims
    joined = reshape(stacked, (*rest, *out_shape))
    moved = len(out_shape)
    order = [*range(axis), *range(len(rest), len(rest) + moved), *range(axis, len(rest))]
    return emit("transpose", joined, perm=tuple(order)) if order else joined


@implements(np.diag_indices_from)
def diag_indices_from(arr: ArrayLike) -> tuple[np.ndarray, ...]:
    shape = lift_one(arr).dims
    return np.diag_indices(shape[0], len(shape))


@implements(np.tril_indices_from)
def tril_indices_from(arr: ArrayLike, k: int = 0) -> tuple[np.ndarray, ...]:
    return np.tril_indices(lift_one(arr).dims[0], k, lift_one(arr).dims[1])


@implements(np.triu_indices_from)
def triu_indices_from(arr: ArrayLike, k: int = 0) -> tuple[np.ndarray, ...]:
    return np.triu_indices(lift_one(arr).dims[0], k, lift_one(arr).dims[1])


HOOKS["clip"] = clip
