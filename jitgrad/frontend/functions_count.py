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
    element_count,
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
    _refuse_rule(bins, "histogram")
    place, inside, edges = _sorted_into(x, bins) if np.ndim(bins) else _even_bins(x, bins, range)
    w = full(x, x.dims, 1, i64) if w is None else reshape(w, x.dims)
    none = full(x, (edges.dims[0] - 1,), 0, w.dtype)
    counts = add_at(none, where(inside, place, constant_like(place, 0)), where(inside, w, constant_like(w, 0)))
    if density:
        counts = counts / (edges[1:] - edges[:-1]) / sum_(counts)
    return counts, edges


def _refuse_rule(bins: Any, name: str) -> None:
    if isinstance(bins, str):
        raise UnsupportedError(
            f"np.{name} with bins={bins!r} on traced values. The data decide how many bins that makes. Give a "
            "number or an array of edges.",
            user_location(),
        )


@implements(np.histogram_bin_edges)
def histogram_bin_edges(a: ArrayLike, bins: Any = 10, range: Any = None, weights: ArrayLike = None) -> Tracer:
    """As of :func:`histogram`."""
    _refuse_rule(bins, "histogram_bin_edges")
    x = lift_one(a, bins, range, weights)
    if np.ndim(bins):
        return lift_one(bins, x)
    x = cast(x, f32) if is_bfloat16(x.dtype) else x
    return _even_edges(reshape(x, (x.count,)), _number_of_bins(bins), range)[2]


@implements(np.histogramdd)
def histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: ArrayLike = None
) -> tuple[Tracer, tuple[Tracer, ...]]:
    """``sample`` has a row for each point, or is a list of the coordinates. Counts are float64."""
    columns = _coordinates(sample, bins, range, weights)
    several = isinstance(bins, (list, tuple)) or np.ndim(bins) > 0
    kinds = list(bins) if several else [bins] * len(columns)
    limits = [None] * len(columns) if range is None else list(range)
    if len(kinds) != len(columns) or len(limits) != len(columns):
        raise ArgumentError(
            f"np.histogramdd of {len(columns)} dimensions with {len(kinds)} bins and {len(limits)} ranges. Each "
            "dimension has its own. Give as many.",
            user_location(),
        )
    place: Any = 0
    inside: Any = True
    edges = []
    for x, kind, limit in zip(columns, kinds, limits, strict=True):
        found = (
            kind
            if isinstance(kind, (list, tuple)) or np.ndim(kind)
            else _even_edges(x, _number_of_bins(kind), limit)[2]
        )
        number, within, found = _sorted_into(x, found)
        edges.append(found)
        place = place * (found.dims[0] - 1) + number
        inside = np.logical_and(within, inside)
    shape = [e.dims[0] - 1 for e in edges]
    w: Any = 1.0 if weights is None else cast(lift_one(weights, columns[0]), f64)
    none = full(columns[0], (element_count(shape),), 0, f64)
    counts: Any = reshape(add_at(none, np.where(inside, place, 0), np.where(inside, w, 0.0)), shape)
    if density:
        counts = counts / sum_(counts)
        for k, e in enumerate(edges):
            counts = counts / np.expand_dims(np.diff(e), [j for j in np.arange(len(shape)) if j != k])
    return counts, tuple(edges)


@implements(np.histogram2d)
def histogram2d(
    x: ArrayLike, y: ArrayLike, bins: Any = 10, range: Any = None, density: Any = None, weights: ArrayLike = None
) -> tuple[Tracer, Tracer, Tracer]:
    several = isinstance(bins, (list, tuple)) or np.ndim(bins) > 0
    if several and len(bins) > 2:
        bins = [bins, bins]
    counts, edges = histogramdd([x, y], bins, range, density, weights)
    return counts, edges[0], edges[1]


def _coordinates(sample: Any, *others: Any) -> list[Tracer]:
    """An array of each coordinate of points, all of one dtype."""
    if isinstance(sample, (list, tuple)):
        columns = list(np.stack([lift_one(c, sample, *others) for c in sample]))  # pyright: ignore[reportArgumentType]
    else:
        x = lift_one(sample, *others)
        columns = [x] if x.ndim == 1 else list(np.transpose(x))  # pyright: ignore[reportArgumentType]
    columns = [cast(c, f32) if is_bfloat16(c.dtype) else c for c in columns]
    if any(c.ndim != 1 for c in columns):
        raise ShapeError("np.histogramdd of points that are no rows of one array. Reshape the array.", user_location())
    return columns


def _even_bins(x: Tracer, bins: Any, limits: Any) -> tuple[Tracer, Tracer, Tracer]:
    """The bin of each element, whether it lies in one, and the edges, for bins of equal width. The quotient that gives
    the bin is rounded, so the edges beside it decide, as in NumPy."""
    n = _number_of_bins(bins)
    low, high, edges = _even_edges(x, n, limits)
    v = cast(x, low.dtype)
    inside = (v >= low) & (v <= high)
    v = where(inside, v, broadcast_to(low, v.dims))
    place = cast((v - low) / (high - low) * n, i64)
    place = call_ufunc(np.minimum, place, n - 1)
    place = place - cast(v < _at(edges, place), i64)
    place = place + cast((v >= _at(edges, place + 1)) & (place != n - 1), i64)
    return place, inside, edges


def _number_of_bins(bins: Any) -> int:
    n = static_int(bins, "bins of np.histogram")
    if n < 1:
        raise ArgumentError(f"np.histogram with {n} bins. There must be at least one.", user_location())
    return n


def _even_edges(x: Tracer, n: int, limits: Any) -> tuple[Tracer, Tracer, Tracer]:
    """The first and the last edge of bins of equal width, and all edges."""
    if limits is None:
        limits = (0, 1) if x.count == 0 else (min_(x), max_(x))
    dtype = common_dtype(*limits, x)
    dtype = dtype if is_float(dtype) else f64
    low, high = (as_dtype(limit, dtype, x.owner) for limit in limits)
    same = emit("equal", low, high)
    low, high = where(same, low - 0.5, low), where(same, high + 0.5, high)
    return low, high, linspace(low, high, n + 1)


def _at(edges: Tracer, place: Tracer) -> Tracer:
    """Edges by numbers that are in bounds."""
    return emit("gather", edges, place, axes=(0,), at=0)


def _sorted_into(x: Tracer, bins: Any) -> tuple[Tracer, Tracer, Tracer]:
    """As :func:`_even_bins`, for given edges."""
    edges = lift_one(bins, x)
    last = edges[-1]
    place = searchsorted(edges, x, "right") - 1 - cast(x == last, i64)
    return place, (x >= edges[0]) & (x <= last), edges
