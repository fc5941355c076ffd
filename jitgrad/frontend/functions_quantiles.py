"""Medians, quantiles and percentiles on traced values, with and without those of NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.errors import ShapeError, UnsupportedError
from jitgrad.frontend.functions_index import take_along_axis
from jitgrad.frontend.functions_reduce import is_kept
from jitgrad.frontend.primitives import (
    axis_index,
    axis_tuple,
    broadcast_to,
    cast,
    concatenate,
    constant_like,
    element_count,
    emit,
    full,
    lift_one,
    reduce,
    reshape,
    strong,
    take_slice,
    transpose,
    where,
)
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import HOOKS, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer, contains_tracer, extent
from jitgrad.frontend.ufuncs import call_ufunc, resolve
from jitgrad.ir.index import Dim
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64, i64, is_bfloat16, is_float

#: The quantile at p of n elements that are sorted along the last axis, by a method.
OfSorted = Callable[[Tracer, Dim, float, str], Tracer]
#: By which functions the two elements are found that a quantile lies between.
_ROUNDING: dict[str, tuple[str, str]] = dict.fromkeys(("linear", "midpoint"), ("floor", "ceil"))
_ROUNDING |= {"lower": ("floor", "floor"), "higher": ("ceil", "ceil"), "nearest": ("rint", "rint")}


def _implement(whole: int, function: Any, of_sorted: OfSorted, methods: tuple[str, ...]) -> None:
    """``function(a, q)`` is the quantile at the part ``q`` of ``whole``."""

    @implements(function)
    def handler(
        a: ArrayLike, q: Any, axis: Any = None, *, overwrite_input: bool = False, method: str = "linear",
        keepdims: Any = False, weights: ArrayLike = None,
    ) -> Tracer:  # fmt: skip
        x = lift_one(a, q, weights)
        if contains_tracer(q):
            raise UnsupportedError(
                f"np.{function.__name__} at a traced q is not supported. q decides which elements are read. Make it "
                "static.",
                user_location(),
            )
        if weights is not None and method == "inverted_cdf":
            q = np.asarray(q) / whole
            return _weighted(x, q, lift_one(weights, x), axis, keepdims, without_nan=of_sorted is _without_nan)
        if method not in methods or weights is not None:
            raise UnsupportedError(
                f"np.{function.__name__} with method {method!r} is not supported on traced values. Use one of "
                f"{', '.join(map(repr, methods))}, or 'inverted_cdf' with weights.",
                user_location(),
            )
        # A number has no say in the dtype of the result; an array has.
        q = q / whole if type(q) in (bool, int, float) else np.true_divide(q, whole)
        return _quantiles(x, q, axis, keepdims, method, of_sorted)


def _implement_median(function: Any, of_sorted: OfSorted) -> None:
    @implements(function)
    def handler(a: ArrayLike, axis: Any = None, *, overwrite_input: bool = False, keepdims: Any = False) -> Tracer:
        x = lift_one(a)
        return cast(_quantiles(x, 0.5, axis, keepdims, "linear", of_sorted), x.dtype if is_float(x.dtype) else f64)


def _quantiles(x: Tracer, q: Any, axis: Any, keepdims: Any, method: str, of_sorted: OfSorted) -> Tracer:
    """Quantiles at static q by sorting."""
    if method in ("linear", "midpoint"):
        x = cast(x, _dtype_beside(x.dtype, q))
    axes = axis_tuple(axis, x.ndim)
    kept = [1 if k in axes else d for k, d in enumerate(x.dims)]
    merged = merged_last(x, axes)
    if merged.dims[-1] == 0:
        if method != "linear" or not is_float(x.dtype):
            raise ShapeError(
                "a quantile over an empty axis. There is no element to read. Check the shape.", user_location()
            )
        merged = full(x, (*merged.dims[:-1], 1), np.nan)  # NumPy gives NaN
    n = merged.dims[-1]
    if not isinstance(n, int) and is_float(merged.dtype):  # there is one to be read where there are no elements
        merged = concatenate([merged, full(merged, (*merged.dims[:-1], 1), np.nan)], merged.ndim - 1)
    ordered = emit("sort", merged, axis=merged.ndim - 1)
    q = np.asarray(q)
    rows = [of_sorted(ordered, n, float(p), method) for p in q.reshape(-1)]
    rows = [reshape(r, kept) if is_kept(keepdims) else r for r in rows]
    out = rows[0] if q.ndim == 0 else reshape(HOOKS["stack"](rows), (*q.shape, *rows[0].dims))
    return strong(out)


def _dtype_beside(dtype: np.dtype, q: Any) -> np.dtype:
    """The dtype of elements that are interpolated at q. That of bfloat16 is that of a product."""
    if not is_bfloat16(dtype):
        return np.result_type(dtype, q)
    return resolve(np.multiply, (dtype, type(q) if type(q) in (int, float) else np.asarray(q).dtype), None)[-1]


def merged_last(x: Tracer, axes: tuple[int, ...]) -> Tracer:
    """The named axes as one, at the end."""
    rest = [k for k in range(x.ndim) if k not in axes]
    moved = emit("transpose", x, perm=(*rest, *axes)) if x.ndim > 1 else x
    return reshape(moved, (*[x.dims[k] for k in rest], element_count([x.dims[k] for k in axes])))


def _of_all(ordered: Tracer, n: Dim, p: float, method: str) -> Tracer:
    """NaN where a NaN is among the elements, as in NumPy."""
    if not isinstance(n, int):
        return _of_unknown_number(ordered, n, p, method)
    last = ordered.ndim - 1
    position = p * (n - 1)
    low, high = (int(getattr(np, name)(position)) for name in _ROUNDING[method])
    weight = 0.5 if method == "midpoint" and low != high else position - low

    def at(k: int) -> Tracer:
        piece = take_slice(ordered, last, k, k + 1)
        return reshape(piece, ordered.dims[:-1])

    value = at(low)
    if low != high:
        step = emit("multiply", emit("subtract", at(high), value), constant_like(value, weight))
        value = emit("add", value, step)
    if not is_float(ordered.dtype):
        return value
    return where(emit("isnan", at(n - 1)), constant_like(value, np.nan), value)  # NaN sorts to the end


def _of_unknown_number(ordered: Tracer, n: Dim, p: float, method: str) -> Tracer:
    """As :func:`_of_all`, of as many elements as the run tells: NaN for none. Of integers there must be one."""
    end: Any = np.maximum(extent(ordered.owner, n) - 1, 0)
    position = cast(end, f64) * p
    low, high = (cast(emit(name, position), i64) for name in _ROUNDING[method])
    value, above = ordered[..., low], ordered[..., high]
    if method in ("linear", "midpoint"):
        weight = 0.5 if method == "midpoint" else cast(position - low, ordered.dtype)
        # Where they are one element it may be infinite: inf - inf is NaN.
        value = where(emit("equal", low, high), value, value + (above - value) * weight)
    if not is_float(ordered.dtype):
        return value
    return where(emit("isnan", ordered[..., end]), constant_like(value, np.nan), value)


def _without_nan(ordered: Tracer, n: Dim, p: float, method: str) -> Tracer:
    """Of the elements that are not NaN, which come first; NaN where there is none."""
    last = ordered.ndim - 1
    present = cast(emit("logical_not", emit("isnan", ordered)), i64)
    highest = call_ufunc(np.maximum, reduce("sum", present, [last], keepdims=True) - 1, 0)
    position = cast(highest, f64) * p
    low, high = (cast(emit(name, position), i64) for name in ("floor", "ceil"))
    weight = cast(emit("subtract", position, cast(low, f64)), ordered.dtype)
    first, second = (take_along_axis(ordered, i, axis=-1) for i in (low, high))
    # Where the index is whole the other element is the same one, and may be infinite: inf - inf is NaN.
    step = emit("multiply", emit("subtract", second, first), weight)
    value = where(emit("equal", low, high), first, emit("add", first, step))
    return reshape(value, ordered.dims[:-1])


def _spread(weights: Tracer, x: Tracer, axis: Any, axes: tuple[int, ...]) -> Tracer:
    """A weight for each element, of weights for the elements of the axes, in the order in which ``axis`` names them."""
    if weights.dims == x.dims:
        return weights
    named = [axis_index(k, x.ndim) for k in (axis if isinstance(axis, (tuple, list)) else axes)]
    if axis is None or weights.dims != tuple(x.dims[k] for k in named):
        raise ShapeError(
            f"a quantile of an array of shape {x.dims} over axis {axis} with weights of shape {weights.dims}. They "
            "have the shape of the array, or that of the axis. Check them.",
            user_location(),
        )
    ordered = transpose(weights, [named.index(k) for k in axes])
    return broadcast_to(reshape(ordered, [d if k in axes else 1 for k, d in enumerate(x.dims)]), x.dims)


def _weighted(x: Tracer, q: np.ndarray, weights: Tracer, axis: Any, keepdims: Any, *, without_nan: bool) -> Tracer:
    """The first element at which the weights of those up to it reach the part q of all. Raises ShapeError."""
    axes = axis_tuple(axis, x.ndim)
    weights = _spread(weights, x, axis, axes)
    kept = [1 if k in axes else d for k, d in enumerate(x.dims)]
    rows, w = merged_last(x, axes), cast(merged_last(weights, axes), f64)
    demand(np.all(np.logical_not(w < 0)), ValueError("Weights must be non-negative."))  # pyright: ignore
    if without_nan and is_float(rows.dtype):
        w = where(emit("isnan", rows), constant_like(w, 0), w)
    order = emit("argsort", rows, axis=rows.ndim - 1)
    ordered, w = (take_along_axis(t, order, axis=-1) for t in (rows, w))
    share: Any = np.cumsum(w, axis=-1)  # pyright: ignore[reportArgumentType, reportCallIssue]
    share = share / share[..., -1:]
    fine: Any = np.all(np.isfinite(share[..., -1]))
    if not without_nan:
        demand(fine, ValueError("Weights included NaN, inf or were all zero."))
    if q.size and q.min() == 0:
        share = np.where(share == 0, -1, share)
    found = []
    for p in q.reshape(-1):
        place = np.minimum(np.sum(share < float(p), axis=-1, keepdims=True), rows.dims[-1] - 1)
        value = reshape(take_along_axis(ordered, place, axis=-1), rows.dims[:-1])
        if not without_nan and is_float(rows.dtype):
            value = where(emit("isnan", ordered[..., -1]), constant_like(value, np.nan), value)
        found.append(reshape(value, kept) if is_kept(keepdims) else value)
    return found[0] if q.ndim == 0 else reshape(HOOKS["stack"](found), (*q.shape, *found[0].dims))


for _whole, _function in ((1, np.quantile), (100, np.percentile)):
    _implement(_whole, _function, _of_all, ("linear", "lower", "higher", "nearest", "midpoint"))
for _whole, _function in ((1, np.nanquantile), (100, np.nanpercentile)):
    _implement(_whole, _function, _without_nan, ("linear",))
_implement_median(np.median, _of_all)
_implement_median(np.nanmedian, _without_nan)
