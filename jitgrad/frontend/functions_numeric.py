"""Phases and fits of polynomials, on traced values."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import ShapeError, UnsupportedError
from jitgrad.frontend.functions_factors import lstsq
from jitgrad.frontend.functions_reduce import cumsum, sum_
from jitgrad.frontend.functions_select import diff, vander
from jitgrad.frontend.primitives import (
    axis_index,
    cast,
    common_dtype,
    constant_like,
    emit,
    floats,
    insert_axes,
    lift_one,
    static_int,
    where,
)
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.ir.location import user_location
from jitgrad.ir.types import is_bfloat16

# -- phases ------------------------------------------------------------------------------------------------------------


@implements(np.unwrap)
def unwrap(p: ArrayLike, discont: Any = None, axis: int = -1, *, period: Any = 2 * np.pi) -> Tracer:
    """The multiples of the period that are added have no derivative."""
    x = lift_one(p, discont, period)
    x = cast(x, common_dtype(x, period)) if is_bfloat16(x.dtype) else x
    axis = axis_index(axis, x.ndim)
    step = emit("stop_gradient", diff(x, axis=axis))
    whole = common_dtype(step, period).kind in "iu"
    half = period // 2 if whole else period / 2
    turned = call_ufunc(np.remainder, step + half, period) - half
    if not whole or period % 2 == 0:  # else no step is just half of a period
        up = call_ufunc(np.logical_and, call_ufunc(np.equal, turned, -half), call_ufunc(np.greater, step, 0))
        turned = where(up, cast(lift_one(half, x), turned.dtype), turned)
    small = call_ufunc(np.less, emit("absolute", step), period / 2 if discont is None else discont)
    added = turned - step
    added = cumsum(where(small, constant_like(added, 0), added), axis=axis)
    around = (slice(None),) * axis
    first, rest = x[(*around, slice(None, 1))], x[(*around, slice(1, None))]
    return emit("concatenate", cast(first, added.dtype), rest + added, axis=axis)


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
