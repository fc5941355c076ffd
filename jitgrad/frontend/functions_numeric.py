"""Quantiles without NaN, phases and fits of polynomials, on traced values."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import ShapeError, UnsupportedError
from jitgrad.frontend.functions_factors import lstsq
from jitgrad.frontend.functions_index import take_along_axis
from jitgrad.frontend.functions_reduce import cumsum, merged_last, static_q, sum_
from jitgrad.frontend.functions_select import diff, vander
from jitgrad.frontend.primitives import (
    axis_index,
    axis_tuple,
    cast,
    constant_like,
    emit,
    floating,
    floats,
    insert_axes,
    lift_one,
    reduce,
    reshape,
    static_int,
    take_slice,
    where,
)
from jitgrad.frontend.registry import HOOKS, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64, i64

# -- quantiles ---------------------------------------------------------------------------------------------------------


@implements(np.nanmedian)
def nanmedian(a: ArrayLike, axis: Any = None, *, overwrite_input: bool = False, keepdims: Any = False) -> Tracer:
    return _nan_quantiles(lift_one(a), np.float64(0.5), axis, keepdims, "linear")


@implements(np.nanquantile)
def nanquantile(
    a: ArrayLike, q: Any, axis: Any = None, *, overwrite_input: bool = False, method: str = "linear",
    keepdims: Any = False,
) -> Tracer:  # fmt: skip
    return _nan_quantiles(lift_one(a, q), static_q(q), axis, keepdims, method)


@implements(np.nanpercentile)
def nanpercentile(
    a: ArrayLike, q: Any, axis: Any = None, *, overwrite_input: bool = False, method: str = "linear",
    keepdims: Any = False,
) -> Tracer:  # fmt: skip
    return _nan_quantiles(lift_one(a, q), static_q(q, 100), axis, keepdims, method)


def _nan_quantiles(x: Tracer, q: Any, axis: Any, keepdims: Any, method: str) -> Tracer:
    """Quantiles at static q of the elements that are not NaN, which sorting puts first; NaN where there is none."""
    if method != "linear":
        raise UnsupportedError(
            f"np.nanquantile with method {method!r} is not supported on traced values. Use 'linear'.", user_location()
        )
    x = floating(x)
    axes = axis_tuple(axis, x.ndim)
    merged = merged_last(x, axes)
    if merged.dims[-1] == 0:
        raise ShapeError(
            "a quantile over an empty axis. There is no element to read. Check the shape.", user_location()
        )
    last = merged.ndim - 1
    ordered = emit("sort", merged, axis=last)
    present = cast(emit("logical_not", emit("isnan", merged)), i64)
    highest = call_ufunc(np.maximum, reduce("sum", present, [last], keepdims=True) - 1, 0)
    keep = bool(keepdims) and keepdims is not np._NoValue  # pyright: ignore[reportAttributeAccessIssue]
    kept = [1 if k in axes else d for k, d in enumerate(x.dims)] if keep else merged.dims[:-1]
    q = np.asarray(q)
    rows = [reshape(_interpolated(ordered, cast(highest, f64) * float(p)), kept) for p in q.reshape(-1)]
    return rows[0] if q.ndim == 0 else reshape(HOOKS["stack"](rows), (*q.shape, *rows[0].dims))


def _interpolated(ordered: Tracer, position: Tracer) -> Tracer:
    """The elements at a fractional index along the last axis."""
    low, high = (cast(emit(name, position), i64) for name in ("floor", "ceil"))
    weight = cast(emit("subtract", position, cast(low, f64)), ordered.dtype)
    first, second = (take_along_axis(ordered, i, axis=-1) for i in (low, high))
    # Where the index is whole the other element is the same one, and may be infinite: inf - inf is NaN.
    step = emit("multiply", emit("subtract", second, first), weight)
    return where(emit("equal", low, high), first, emit("add", first, step))


# -- phases ------------------------------------------------------------------------------------------------------------


@implements(np.unwrap)
def unwrap(p: ArrayLike, discont: Any = None, axis: int = -1, *, period: Any = 2 * np.pi) -> Tracer:
    """The multiples of the period that are added have no derivative."""
    x = floating(lift_one(p, discont, period))
    axis = axis_index(axis, x.ndim)
    half, step = period / 2, emit("stop_gradient", diff(x, axis=axis))
    turned = call_ufunc(np.remainder, step + half, period) - half
    up = call_ufunc(np.logical_and, call_ufunc(np.equal, turned, -half), call_ufunc(np.greater, step, 0))
    added = where(up, cast(lift_one(half, x), x.dtype), turned) - step
    small = call_ufunc(np.less, emit("absolute", step), half if discont is None else discont)
    added = cumsum(where(small, constant_like(x, 0.0), added), axis=axis)
    first, rest = take_slice(x, axis, 0, 1), take_slice(x, axis, 1, x.dims[axis])
    return emit("concatenate", first, rest + added, axis=axis)


# -- polynomials -------------------------------------------------------------------------------------------------------


@implements(np.polyfit)
def polyfit(
    x: ArrayLike, y: ArrayLike, deg: Any, rcond: Any = None, full: bool = False, w: ArrayLike = None, cov: Any = False
) -> Tracer:
    """The coefficients alone, by least squares of scaled columns, as NumPy."""
    if full or cov:
        raise UnsupportedError(
            "np.polyfit with full= or cov= is not supported on traced values. Only the coefficients are. Use "
            "np.linalg.lstsq of np.vander(x, deg + 1) for the others.",
            user_location(),
        )
    points, values = floats(x, y) if w is None else floats(x, y, w)[:2]
    degree = static_int(deg, "deg")
    if points.ndim != 1 or values.ndim not in (1, 2) or points.dims != values.dims[:1] or degree < 0:
        raise ShapeError(
            f"np.polyfit of degree {degree} for x of shape {points.dims} and y of shape {values.dims}. x is a vector, "
            "y has a row for each of its elements, and the degree is not negative. Check the arguments.",
            user_location(),
        )
    columns = vander(points, degree + 1)
    if w is not None:
        weights = cast(lift_one(w, points), values.dtype)
        columns = columns * insert_axes(weights, [1])
        values = values * (insert_axes(weights, [1]) if values.ndim == 2 else weights)
    scale = emit("sqrt", sum_(emit("square", columns), 0))
    cutoff = points.dims[0] * float(np.finfo(points.dtype).eps) if rcond is None else rcond
    found = lstsq(columns / scale, values, cutoff)[0]
    return found / (insert_axes(scale, [1]) if values.ndim == 2 else scale)
