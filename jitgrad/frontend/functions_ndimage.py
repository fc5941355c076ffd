"""Filters of ``scipy.ndimage`` on traced values. Loaded when a program uses it.

An axis is extended as the mode says, by pieces of the array; a filter adds, or compares, shifted slices of that, in one
loop where there are few of them. Floats are filtered in their own precision, where SciPy's inner sums are float64.
"""

from __future__ import annotations

import functools
import itertools
import operator
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.ndimage as ndi

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, ConcretizationError, DtypeError, ShapeError
from jitgrad.frontend import functions_ndimage_geometry, functions_ndimage_labels
from jitgrad.frontend.complex_calls import LINEAR
from jitgrad.frontend.namespace import wrap
from jitgrad.frontend.ndimage_edges import extended, one_mode, typed
from jitgrad.frontend.primitives import axis_index, axis_tuple, cast, emit, floating, lift_one, static_int, take_slice
from jitgrad.frontend.registry import ADVICE, FUNCTIONS, implements
from jitgrad.frontend.tracer import Tracer, contains_tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import is_short

_modules = (functions_ndimage_geometry, functions_ndimage_labels)  # their handlers

#: Up to so many shifted slices are added in one loop. More of them are products of windows.
_MANY = 64
#: From so many equal weights on, sums and extremes of windows are those of halves.
_WIDE = 8

Combine = Callable[[Any, Any], Any]


def _input(name: str, *objects: Any) -> Tracer:
    """The array. Raises DtypeError for float16, as SciPy does."""
    x = lift_one(*objects)
    if is_short(x.dtype):
        raise DtypeError(
            f"scipy.ndimage.{name} of {x.dtype}. As in SciPy, that array type is not supported. Convert the array with "
            "astype(np.float32).",
            user_location(),
        )
    return x


def _each(value: Any, count: int, name: str) -> list[Any]:
    """A parameter for each of the axes that are filtered. Raises ArgumentError."""
    if isinstance(value, str) or np.ndim(value) == 0:
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise ArgumentError(
            f"{name} has {len(values)} entries for {count} axes that are filtered. Give one number, or one for each.",
            user_location(),
        )
    return values


def _widths(size: int, origin: Any) -> tuple[int, int]:
    """By how many elements a filter of that size reaches beyond both ends. Raises ArgumentError."""
    low = size // 2 + static_int(origin, "origin")
    if size < 1 or not 0 <= low < size:
        raise ArgumentError(
            f"a filter of size {size} with origin {origin}. The size is at least 1, and the origin lies between "
            f"{-(size // 2)} and {(size - 1) // 2}. Change one of them.",
            user_location(),
        )
    return low, size - 1 - low


# -- sums of products --------------------------------------------------------------------------------------------------


def _weights(weights: Any) -> Any:
    """The weights of a filter: numbers where they are known."""
    return weights if contains_tracer(weights) else np.asarray(weights, np.float64)


def _correlated(x: Tracer, weights: Any, widths: Sequence[tuple[int, int]], modes: Sequence[str], cval: Any) -> Tracer:
    """The sums of products of the weights, one axis for each of x, with the windows of x, in the dtype of x."""
    work = floating(x)
    for axis, (low, high) in enumerate(widths):
        work = extended(work, axis, low, high, modes[axis], cval)
    if contains_tracer(weights):
        weights = jnp.asarray(weights).astype(work.dtype)
    shape = np.shape(weights)
    if weights.size > _MANY:
        kept = [k for k, n in enumerate(shape) if n > 1]
        views = jnp.lib.stride_tricks.sliding_window_view(work, [shape[k] for k in kept], axis=kept)
        of = weights.reshape([shape[k] for k in kept])
        of = of if isinstance(of, Tracer) else of.astype(work.dtype)
        return cast(jnp.tensordot(views, of, axes=len(kept)), x.dtype)
    total: Any = None
    for place in np.ndindex(*shape):
        weight = weights[place]
        if not isinstance(weight, Tracer):
            if weight == 0 and total is not None:
                continue
            weight = float(weight)
        piece = work
        for axis, k in enumerate(place):
            piece = take_slice(piece, axis, k, k + x.dims[axis])
        term = piece if isinstance(weight, float) and weight == 1 else piece * weight
        total = term if total is None else total + term
    return cast(total, x.dtype)


@implements(ndi.correlate1d)
def correlate1d(
    input: Any, weights: Any, axis: int = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0,
    origin: Any = 0,
) -> Tracer:  # fmt: skip
    x, weights = _input("correlate1d", input, weights, cval), _weights(weights)
    axis = axis_index(axis, x.ndim)
    if np.ndim(weights) != 1 or not np.size(weights):
        raise ShapeError(
            f"weights of shape {np.shape(weights)} for a filter along one axis. They are a vector that is not empty. "
            "Use ravel().",
            user_location(),
        )
    x = typed(x, output)
    size = np.size(weights)
    widths, modes = [(0, 0)] * x.ndim, ["constant"] * x.ndim
    widths[axis], modes[axis] = _widths(size, origin), one_mode(mode)
    weights = weights.reshape([size if k == axis else 1 for k in range(x.ndim)])
    return _correlated(x, weights, widths, modes, cval)


@implements(ndi.convolve1d)
def convolve1d(
    input: Any, weights: Any, axis: int = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0,
    origin: Any = 0,
) -> Tracer:  # fmt: skip
    weights = _weights(weights)
    weights = weights[::-1]
    origin = -static_int(origin, "origin") - (0 if np.size(weights) % 2 else 1)
    return correlate1d(lift_one(input, weights, cval), weights, axis, output, mode, cval, origin)


@implements(ndi.correlate)
def correlate(
    input: Any, weights: Any, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0, *,
    axes: Any = None,
) -> Tracer:  # fmt: skip
    x, weights = _input("correlate", input, weights, cval), _weights(weights)
    return _over_axes(x, weights, output, one_mode(mode), cval, origin, axes)


@implements(ndi.convolve)
def convolve(
    input: Any, weights: Any, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0, *,
    axes: Any = None,
) -> Tracer:  # fmt: skip
    x, weights = _input("convolve", input, weights, cval), _weights(weights)
    origins = _each(origin, np.ndim(weights), "origin")
    pairs = zip(origins, np.shape(weights), strict=True)
    origins = [-static_int(o, "origin") - (0 if n % 2 else 1) for o, n in pairs]
    return _over_axes(x, jnp.flip(weights), output, one_mode(mode), cval, origins, axes)


def _over_axes(x: Tracer, weights: Any, output: Any, mode: str, cval: Any, origin: Any, axes: Any) -> Tracer:
    along = axis_tuple(axes, x.ndim, "axes")
    shape = np.shape(weights)
    if len(shape) != len(along) or not np.size(weights):
        raise ShapeError(
            f"weights of shape {shape} for a filter along {len(along)} axes. They have as many axes, and are not "
            "empty. Reshape them, or give axes=.",
            user_location(),
        )
    widths = [(0, 0)] * x.ndim
    for axis, n, o in zip(along, shape, _each(origin, len(along), "origin"), strict=True):
        widths[axis] = _widths(n, o)
    full = [1] * x.ndim
    for axis, n in zip(along, shape, strict=True):
        full[axis] = n
    return _correlated(typed(x, output), weights.reshape(full), widths, [mode] * x.ndim, cval)


# -- Gaussians ---------------------------------------------------------------------------------------------------------


def _gaussian(sigma: Any, order: int, radius: int) -> Any:
    """The weights of a Gaussian, or of its derivative of that order: ``q(x) exp(-x^2 / (2 sigma^2))``, where
    differentiation makes ``q' - x q / sigma^2`` of q. Those of order 0 have sum 1."""
    x = np.arange(-radius, radius + 1.0)
    bell = jnp.exp(-0.5 / (sigma * sigma) * x**2)
    bell = bell / jnp.sum(bell)
    q: list[Any] = [1.0]
    for _ in range(order):
        moved = [0.0, *(-c / (sigma * sigma) for c in q)]
        slope = [k * c for k, c in enumerate(q)][1:]
        q = [a + b for a, b in itertools.zip_longest(moved, slope, fillvalue=0.0)]
    return bell * functools.reduce(lambda total, c: total * x + c, q[::-1])


@implements(ndi.gaussian_filter1d)
def gaussian_filter1d(
    input: Any, sigma: Any, axis: int = -1, order: Any = 0, output: Any = None, mode: Any = "reflect",
    cval: Any = 0.0, truncate: Any = 4.0, *, radius: Any = None,
) -> Tracer:  # fmt: skip
    """A traced sigma needs a radius: how many weights there are is known at trace time."""
    x = _input("gaussian_filter1d", input, sigma, cval)
    if radius is None and (isinstance(sigma, Tracer) or isinstance(truncate, Tracer)):
        raise ConcretizationError(
            "a Gaussian filter with a traced sigma needs radius=. Without it the number of weights would depend on a "
            "traced value. Give one that is large enough for the greatest sigma.",
            user_location(),
        )
    radius = int(truncate * float(sigma) + 0.5) if radius is None else static_int(radius, "radius")
    order = static_int(order, "order")
    if radius < 0 or order < 0:
        raise ArgumentError("the radius and the order of a Gaussian filter are not negative.", user_location())
    weights = _gaussian(sigma, order, radius)
    return correlate1d(x, weights[::-1], axis, output, mode, cval)


@implements(ndi.gaussian_filter)
def gaussian_filter(
    input: Any, sigma: Any, order: Any = 0, output: Any = None, mode: Any = "reflect", cval: Any = 0.0,
    truncate: Any = 4.0, *, radius: Any = None, axes: Any = None,
) -> Tracer:  # fmt: skip
    x = _input("gaussian_filter", input, sigma, cval)
    along = axis_tuple(axes, x.ndim, "axes")
    each = [
        _each(v, len(along), n) for v, n in ((sigma, "sigma"), (order, "order"), (mode, "mode"), (radius, "radius"))
    ]
    out = typed(x, output)
    for axis, s, o, m, r in zip(along, *each, strict=True):
        if isinstance(s, Tracer) or s > 1e-15:
            out = gaussian_filter1d(out, s, axis, o, None, m, cval, truncate, radius=r)
    return out


def _derivative_axes(x: Tracer, axes: Any, order: int) -> list[list[int]]:
    """For each axis the orders of the derivatives along all."""
    return [[order if k == axis else 0 for k in range(x.ndim)] for axis in axis_tuple(axes, x.ndim, "axes")]


@implements(ndi.gaussian_laplace)
def gaussian_laplace(
    input: Any, sigma: Any, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, *, axes: Any = None,
    **kwargs: Any,
) -> Tracer:  # fmt: skip
    x = typed(_input("gaussian_laplace", input, sigma, cval), output)
    along = axis_tuple(axes, x.ndim, "axes")
    sigmas: list[Any] = [0] * x.ndim
    for axis, s in zip(along, _each(sigma, len(along), "sigma"), strict=True):
        sigmas[axis] = s
    modes = _each(mode, len(along), "mode")
    parts = [
        gaussian_filter(x, sigmas, order, None, m, cval, **kwargs)
        for order, m in zip(_derivative_axes(x, axes, 2), modes, strict=True)
    ]
    return functools.reduce(operator.add, parts) if parts else x


@implements(ndi.gaussian_gradient_magnitude)
def gaussian_gradient_magnitude(
    input: Any, sigma: Any, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, *, axes: Any = None,
    **kwargs: Any,
) -> Tracer:  # fmt: skip
    """The gradient is 0 where the magnitude is."""
    x = typed(_input("gaussian_gradient_magnitude", input, sigma, cval), output)
    modes = _each(mode, len(axis_tuple(axes, x.ndim, "axes")), "mode")
    parts = [
        gaussian_filter(x, sigma, order, None, m, cval, **kwargs)
        for order, m in zip(_derivative_axes(x, axes, 1), modes, strict=True)
    ]
    return _length(x, parts)


def _length(x: Tracer, parts: list[Any]) -> Tracer:
    if not parts:
        return x
    return cast(emit("safe_sqrt", floating(functools.reduce(operator.add, [p * p for p in parts]))), x.dtype)


# -- differences -------------------------------------------------------------------------------------------------------


def _edge(input: Any, axis: Any, output: Any, mode: Any, cval: Any, name: str, across: Sequence[float]) -> Tracer:
    """Central differences along one axis, and weighted sums along all others."""
    x = typed(_input(name, input, cval), output)
    axis = axis_index(axis, x.ndim)
    modes = _each(mode, x.ndim, "mode")
    out = correlate1d(x, [-1, 0, 1], axis, None, modes[axis], cval)
    for k in range(x.ndim):
        if k != axis:
            out = correlate1d(out, across, k, None, modes[k], cval)
    return out


@implements(ndi.prewitt)
def prewitt(input: Any, axis: int = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0) -> Tracer:
    return _edge(input, axis, output, mode, cval, "prewitt", [1, 1, 1])


@implements(ndi.sobel)
def sobel(input: Any, axis: int = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0) -> Tracer:
    return _edge(input, axis, output, mode, cval, "sobel", [1, 2, 1])


@implements(ndi.laplace)
def laplace(input: Any, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, *, axes: Any = None) -> Tracer:
    x = typed(_input("laplace", input, cval), output)
    along = axis_tuple(axes, x.ndim, "axes")
    modes = _each(mode, len(along), "mode")
    parts = [correlate1d(x, [1, -2, 1], k, None, m, cval) for k, m in zip(along, modes, strict=True)]
    return functools.reduce(operator.add, parts) if parts else x


# -- equal weights -----------------------------------------------------------------------------------------------------


def _over_windows(x: Tracer, axis: int, size: int, combine: Combine) -> Tracer:
    """What ``combine`` makes of the elements of each window. Wide windows are put together from windows whose sizes are
    powers of 2, and those of halves."""
    n = x.dims[axis] - size + 1
    if size <= _WIDE:
        return functools.reduce(combine, [take_slice(x, axis, k, k + n) for k in range(size)])
    out, start, width = None, 0, 1
    while width <= size:
        if size & width:
            piece = take_slice(x, axis, start, start + n)
            out, start = piece if out is None else combine(out, piece), start + width
        if 2 * width <= size:
            m = x.dims[axis] - width
            x = combine(take_slice(x, axis, 0, m), take_slice(x, axis, width, width + m))
        width *= 2
    assert out is not None
    return out


@implements(ndi.uniform_filter1d)
def uniform_filter1d(
    input: Any, size: Any, axis: int = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0,
    origin: Any = 0,
) -> Tracer:  # fmt: skip
    x = typed(_input("uniform_filter1d", input, cval), output)
    axis, size = axis_index(axis, x.ndim), static_int(size, "size")
    low, high = _widths(size, origin)
    work = extended(floating(x), axis, low, high, one_mode(mode), cval)
    return cast(_over_windows(work, axis, size, operator.add) / size, x.dtype)


@implements(ndi.uniform_filter)
def uniform_filter(
    input: Any, size: Any = 3, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0, *,
    axes: Any = None,
) -> Tracer:  # fmt: skip
    return _separably(_input("uniform_filter", input, cval), uniform_filter1d, size, output, mode, cval, origin, axes)


def _separably(
    x: Tracer, filter1d: Callable[..., Tracer], size: Any, output: Any, mode: Any, cval: Any, origin: Any, axes: Any
) -> Tracer:
    along = axis_tuple(axes, x.ndim, "axes")
    each = [_each(v, len(along), n) for v, n in ((size, "size"), (mode, "mode"), (origin, "origin"))]
    out = typed(x, output)
    for axis, s, m, o in zip(along, *each, strict=True):
        if s > 1:
            out = filter1d(out, s, axis, None, m, cval, o)
    return out


# -- extremes and ranks ------------------------------------------------------------------------------------------------


def _extremes(name: str, combine: Combine) -> Callable[..., Tracer]:
    def filter1d(
        input: Any, size: Any, axis: int = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0,
        origin: Any = 0,
    ) -> Tracer:  # fmt: skip
        x = typed(_input(name, input, cval), output)
        axis, size = axis_index(axis, x.ndim), static_int(size, "size")
        low, high = _widths(size, origin)
        return _over_windows(extended(x, axis, low, high, one_mode(mode), cval), axis, size, combine)

    return filter1d


minimum_filter1d = implements(ndi.minimum_filter1d)(_extremes("minimum_filter1d", jnp.minimum))
maximum_filter1d = implements(ndi.maximum_filter1d)(_extremes("maximum_filter1d", jnp.maximum))


def _members(
    x: Tracer, footprint: np.ndarray, output: Any, mode: Any, cval: Any, origin: Any, axes: Any, heights: Any = None
) -> list[Any]:
    """Arrays of the elements that lie under each place of a footprint, with the height there added."""
    along = axis_tuple(axes, x.ndim, "axes")
    if footprint.ndim != len(along):
        raise ShapeError(
            f"a footprint with {footprint.ndim} axes for a filter along {len(along)}. They are as many. Reshape it, or "
            "give axes=.",
            user_location(),
        )
    work = typed(x, output)
    sizes = dict(zip(along, footprint.shape, strict=True))
    for axis, o, m in zip(along, _each(origin, len(along), "origin"), _each(mode, len(along), "mode"), strict=True):
        work = extended(work, axis, *_widths(sizes[axis], o), one_mode(m), cval)
    found = []
    for place in np.argwhere(footprint):
        piece = work
        for axis, k in zip(along, place.tolist(), strict=True):
            piece = take_slice(piece, axis, k, k + x.dims[axis])
        found.append(piece if heights is None else piece + heights[tuple(place)])
    return found


def _footprint(name: str, size: Any, footprint: Any, count: int) -> np.ndarray:
    """Raises ArgumentError where there is none, or where it is empty."""
    if contains_tracer(footprint):
        raise ConcretizationError(
            f"scipy.ndimage.{name} with a traced footprint. Which elements are compared is known at trace time. Make "
            "it of plain arrays.",
            user_location(),
        )
    if footprint is None and size is None:
        raise ArgumentError(f"scipy.ndimage.{name} needs a size or a footprint.", user_location())
    if footprint is None:
        return np.ones([static_int(s, "size") for s in _each(size, count, "size")], bool)
    found = np.asarray(footprint, bool)
    if not found.any():
        raise ArgumentError(f"scipy.ndimage.{name} with a footprint of zeros. Set an element of it.", user_location())
    return found


def _extreme(
    name: str, filter1d: Callable[..., Tracer], combine: Combine, input: Any, size: Any, footprint: Any, output: Any,
    mode: Any, cval: Any, origin: Any, axes: Any,
) -> Tracer:  # fmt: skip
    x = _input(name, input, cval)
    marked = _footprint(name, size, footprint, len(axis_tuple(axes, x.ndim, "axes")))
    if marked.all():
        return _separably(x, filter1d, marked.shape, output, mode, cval, origin, axes)
    return functools.reduce(combine, _members(x, marked, output, mode, cval, origin, axes))


@implements(ndi.minimum_filter)
def minimum_filter(
    input: Any, size: Any = None, footprint: Any = None, output: Any = None, mode: Any = "reflect", cval: Any = 0.0,
    origin: Any = 0, *, axes: Any = None,
) -> Tracer:  # fmt: skip
    return _extreme("minimum_filter", minimum_filter1d, jnp.minimum, input, size, footprint, output, mode, cval,
                    origin, axes)  # fmt: skip


@implements(ndi.maximum_filter)
def maximum_filter(
    input: Any, size: Any = None, footprint: Any = None, output: Any = None, mode: Any = "reflect", cval: Any = 0.0,
    origin: Any = 0, *, axes: Any = None,
) -> Tracer:  # fmt: skip
    return _extreme("maximum_filter", maximum_filter1d, jnp.maximum, input, size, footprint, output, mode, cval,
                    origin, axes)  # fmt: skip


def _ranked(
    name: str, rank: Callable[[int], int], input: Any, size: Any, footprint: Any, output: Any, mode: Any, cval: Any,
    origin: Any, axes: Any,
) -> Tracer:  # fmt: skip
    x = _input(name, input, cval)
    marked = _footprint(name, size, footprint, len(axis_tuple(axes, x.ndim, "axes")))
    count = int(marked.sum())
    at = rank(count)
    if not -count <= at < count:
        raise ArgumentError(f"scipy.ndimage.{name}: rank {at} of {count} elements.", user_location())
    at %= count
    if at in (0, count - 1):
        kind = maximum_filter if at else minimum_filter
        return kind(x, None, marked, output, mode, cval, origin, axes=axes)
    return jnp.sort(jnp.stack(_members(x, marked, output, mode, cval, origin, axes), -1))[..., at]


@implements(ndi.rank_filter)
def rank_filter(
    input: Any, rank: Any, size: Any = None, footprint: Any = None, output: Any = None, mode: Any = "reflect",
    cval: Any = 0.0, origin: Any = 0, *, axes: Any = None,
) -> Tracer:  # fmt: skip
    at = static_int(rank, "rank")
    return _ranked("rank_filter", lambda n: at, input, size, footprint, output, mode, cval, origin, axes)


@implements(ndi.median_filter)
def median_filter(
    input: Any, size: Any = None, footprint: Any = None, output: Any = None, mode: Any = "reflect", cval: Any = 0.0,
    origin: Any = 0, *, axes: Any = None,
) -> Tracer:  # fmt: skip
    return _ranked("median_filter", lambda n: n // 2, input, size, footprint, output, mode, cval, origin, axes)


@implements(ndi.percentile_filter)
def percentile_filter(
    input: Any, percentile: Any, size: Any = None, footprint: Any = None, output: Any = None, mode: Any = "reflect",
    cval: Any = 0.0, origin: Any = 0, *, axes: Any = None,
) -> Tracer:  # fmt: skip
    if isinstance(percentile, Tracer):
        raise ConcretizationError(
            "scipy.ndimage.percentile_filter with a traced percentile. Which element is taken is known at trace time. "
            "Make it a number.",
            user_location(),
        )
    share = percentile + 100.0 if percentile < 0 else percentile
    if not 0 <= share <= 100:
        raise ArgumentError(f"percentile {percentile} is not between -100 and 100.", user_location())

    def rank(count: int) -> int:
        return count - 1 if share == 100 else int(float(count) * share / 100.0)

    return _ranked("percentile_filter", rank, input, size, footprint, output, mode, cval, origin, axes)


# -- morphology --------------------------------------------------------------------------------------------------------


def _morphed(
    name: str, combine: Combine, sign: int, input: Any, size: Any, footprint: Any, structure: Any, output: Any,
    mode: Any, cval: Any, origin: Any, axes: Any,
) -> Tracer:  # fmt: skip
    x = _input(name, input, structure, cval)
    along = axis_tuple(axes, x.ndim, "axes")
    heights = None if structure is None else _weights(structure)
    if footprint is None and heights is not None:
        footprint = np.ones(heights.shape, bool)
    marked = _footprint(name, size, footprint, len(along))
    origins = _each(origin, len(along), "origin")
    if sign > 0:  # a dilation is by the reflected structure
        marked, heights = np.flip(marked), None if heights is None else jnp.flip(heights)
        pairs = zip(origins, marked.shape, strict=False)
        origins = [-static_int(o, "origin") - (0 if n % 2 else 1) for o, n in pairs]
    if heights is not None:
        parts = _members(typed(x, output), marked, None, mode, cval, origins, axes, sign * heights)
        return cast(functools.reduce(combine, parts), typed(x, output).dtype)
    kind = maximum_filter if sign > 0 else minimum_filter
    return kind(x, None, marked, output, mode, cval, origins, axes=axes)


@implements(ndi.grey_erosion)
def grey_erosion(
    input: Any, size: Any = None, footprint: Any = None, structure: Any = None, output: Any = None,
    mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0, *, axes: Any = None,
) -> Tracer:  # fmt: skip
    return _morphed("grey_erosion", jnp.minimum, -1, input, size, footprint, structure, output, mode, cval, origin,
                    axes)  # fmt: skip


@implements(ndi.grey_dilation)
def grey_dilation(
    input: Any, size: Any = None, footprint: Any = None, structure: Any = None, output: Any = None,
    mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0, *, axes: Any = None,
) -> Tracer:  # fmt: skip
    return _morphed("grey_dilation", jnp.maximum, 1, input, size, footprint, structure, output, mode, cval, origin,
                    axes)  # fmt: skip


for _f in (ndi.correlate1d, ndi.convolve1d, ndi.correlate, ndi.convolve, ndi.gaussian_filter1d, ndi.gaussian_filter,
           ndi.gaussian_laplace, ndi.prewitt, ndi.sobel, ndi.laplace, ndi.uniform_filter1d,
           ndi.uniform_filter):  # fmt: skip
    LINEAR[_f] = ("input", "cval")
_RUN = "Which elements belong together is found by code that only plain arrays run through. Compute it outside of the "
_RUN += "traced function, and pass the result."
ADVICE |= dict.fromkeys((ndi.label, ndi.find_objects, ndi.watershed_ift), _RUN)
ADVICE |= dict.fromkeys(
    (ndi.distance_transform_edt, ndi.distance_transform_cdt, ndi.distance_transform_bf),
    "Which element is nearest is found by code that only plain arrays run through. Compute it outside of the traced "
    "function, and pass the result.",
)
ADVICE |= dict.fromkeys(
    (ndi.generic_filter, ndi.generic_filter1d),
    "It calls a function for each element. Use np.lib.stride_tricks.sliding_window_view, and a function of its last "
    "axes.",
)


def stand_in(value: Any) -> Any:
    """The wrapped function; None for one without a handler, and for the module."""
    return wrap(value) if isinstance(value, types.FunctionType) and (value in FUNCTIONS or value in ADVICE) else None
