"""Counting on traced values: bins and histograms."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, IndexBoundsError, ShapeError, UnsupportedError
from jitgrad.frontend.assign import add_at
from jitgrad.frontend.functions_creation import linspace
from jitgrad.frontend.functions_reduce import max_, min_, searchsorted, sum_
from jitgrad.frontend.primitives import (
    as_dtype,
    broadcast_to,
    cast,
    common_dtype,
    constant_like,
    dimension,
    emit,
    full,
    lift_one,
    reshape,
    static_int,
    where,
)
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import ArrayLike, Tracer, contains_tracer
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.ir.location import user_location
from jitgrad.ir.thrown import mark
from jitgrad.ir.types import f32, f64, i64, is_bfloat16, is_float


@implements(np.digitize)
def digitize(x: ArrayLike, bins: ArrayLike, right: bool = False) -> Tracer:
    t, edges = lift_one(x, bins), bins
    if not contains_tracer(bins):
        edges = np.asarray(bins)
        if edges.size > 1 and np.all(np.diff(edges) <= 0) and np.any(np.diff(edges) < 0):
            found = searchsorted(edges[::-1], t, "right" if not right else "left")
            return emit("subtract", constant_like(found, edges.size), found)
    return searchsorted(edges, t, "left" if right else "right")


@implements(np.bincount)
def bincount(x: ArrayLike, /, weights: ArrayLike = None, minlength: int = 0) -> Tracer:
    """With a ``minlength`` of 1 or more, the extent is that, and greater numbers raise IndexBoundsError when the
    program runs: who gives it wants one count for each of so many kinds. Without, the extent depends on the greatest
    number. It is known while tracing where the numbers are."""
    numbers = lift_one(x, weights, minlength)
    w = None if weights is None else lift_one(weights, numbers)
    if numbers.ndim != 1 or (w is not None and w.dims != numbers.dims):
        raise ShapeError(
            f"np.bincount of numbers of shape {numbers.dims}"
            + ("" if w is None else f" with weights of shape {w.dims}")
            + ". Each number has one weight. Give arrays of one axis and one shape.",
            user_location(),
        )
    if not contains_tracer(x):
        extent: Any = len(np.bincount(np.asarray(x), minlength=static_int(minlength, "minlength")))
    elif numbers.count == 0:
        extent = minlength
    else:
        numbers = cast(numbers, i64)
        extent = _extent_of_counts(numbers, minlength)
        if isinstance(extent, int):  # in bounds, so that nothing but the check says that they are not
            numbers = call_ufunc(np.minimum, numbers, extent - 1)
    counts = full(numbers, (dimension(extent, "the extent of np.bincount"),), 0, i64 if w is None else f64)
    return add_at(counts, numbers, 1 if w is None else cast(w, f64))


def _extent_of_counts(numbers: Tracer, minlength: Any) -> Any:
    """How many counts there are of traced numbers."""
    least, greatest = min_(numbers), max_(numbers)
    demand(least >= 0, ValueError("'list' argument must have no negative elements"))
    length = dimension(minlength, "minlength")
    if not isinstance(length, int) or length < 1:
        return call_ufunc(np.maximum, greatest + 1, minlength)
    too_great = IndexBoundsError(
        f"np.bincount met the number {mark(0)}, with minlength={length}. In a compiled program that is the length of "
        "the result, whose shape must be known. Give one that is greater than all numbers, or leave it out.",
        user_location(),
    )
    demand(greatest < length, too_great, greatest)
    return length


@implements(np.histogram)
def histogram(
    a: ArrayLike, bins: Any = 10, range: Any = None, density: Any = None, weights: ArrayLike = None
) -> tuple[Tracer, Tracer]:
    """The number of bins must be known while tracing; their edges may be traced."""
    x = lift_one(a, bins, range, weights)
    w = None if weights is None else lift_one(weights, x)
    if w is not None and w.dims != x.dims:
        raise ShapeError(
            f"np.histogram of shape {x.dims} with weights of shape {w.dims}. Each element has one weight. Give arrays "
            "of one shape.",
            user_location(),
        )
    x = reshape(cast(x, f32) if is_bfloat16(x.dtype) else x, (x.count,))  # for the edges of bins
    if isinstance(bins, str):
        raise UnsupportedError(
            f"np.histogram with bins={bins!r} on traced values. The data decide how many bins that makes. Give a "
            "number or an array of edges.",
            user_location(),
        )
    place, inside, edges = _sorted_into(x, bins) if np.ndim(bins) else _even_bins(x, bins, range)
    w = full(x, x.dims, 1, i64) if w is None else reshape(w, x.dims)
    none = full(x, (edges.dims[0] - 1,), 0, w.dtype)
    counts = add_at(none, where(inside, place, constant_like(place, 0)), where(inside, w, constant_like(w, 0)))
    if density:
        counts = counts / (edges[1:] - edges[:-1]) / sum_(counts)
    return counts, edges


def _even_bins(x: Tracer, bins: Any, limits: Any) -> tuple[Tracer, Tracer, Tracer]:
    """The bin of each element, whether it lies in one, and the edges, for bins of equal width. The quotient that gives
    the bin is rounded, so the edges beside it decide, as in NumPy."""
    n = static_int(bins, "bins of np.histogram")
    if n < 1:
        raise ArgumentError(f"np.histogram with {n} bins. There must be at least one.", user_location())
    if limits is None:
        limits = (0, 1) if x.count == 0 else (min_(x), max_(x))
    dtype = common_dtype(*limits, x)
    dtype = dtype if is_float(dtype) else f64
    low, high = (as_dtype(limit, dtype, x.owner) for limit in limits)
    same = emit("equal", low, high)
    low, high = where(same, low - 0.5, low), where(same, high + 0.5, high)
    edges = linspace(low, high, n + 1)
    v = cast(x, dtype)
    inside = (v >= low) & (v <= high)
    v = where(inside, v, broadcast_to(low, v.dims))
    place = cast((v - low) / (high - low) * n, i64)
    place = call_ufunc(np.minimum, place, n - 1)
    place = place - cast(v < _at(edges, place), i64)
    place = place + cast((v >= _at(edges, place + 1)) & (place != n - 1), i64)
    return place, inside, edges


def _at(edges: Tracer, place: Tracer) -> Tracer:
    """Edges by numbers that are in bounds."""
    return emit("gather", edges, place, axes=(0,), at=0)


def _sorted_into(x: Tracer, bins: Any) -> tuple[Tracer, Tracer, Tracer]:
    """As :func:`_even_bins`, for given edges."""
    edges = lift_one(bins, x)
    last = edges[-1]
    place = searchsorted(edges, x, "right") - 1 - cast(x == last, i64)
    return place, (x >= edges[0]) & (x <= last), edges
