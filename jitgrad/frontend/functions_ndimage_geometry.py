"""Interpolation of images, of ``scipy.ndimage``, on traced values. Loaded with ``functions_ndimage``.

A value is a sum over the elements around a point, weighted by B-splines of the order. Orders from 2 on take the
coefficients of the spline, which a linear filter makes of the elements (M. Unser, Splines, IEEE Signal Processing
Magazine 16, 1999).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.ndimage as ndi
import scipy.special

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, ConcretizationError, ShapeError
from jitgrad.frontend.complex_calls import LINEAR
from jitgrad.frontend.ndimage_edges import extended, one_mode, typed
from jitgrad.frontend.primitives import axis_index, cast, lift_one, static_int
from jitgrad.frontend.registry import ADVICE, implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64, is_float

#: Where the spline's coefficients have their boundary beyond the array, it is made longer by so many elements.
_MORE = 12
#: Up to so many elements of an axis, the filter that makes the coefficients is a matrix.
_DENSE = 512
#: Beyond so many elements the weights of that filter, of order 5 at most, are below 1e-17.
_REACH = 46


# -- coefficients ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _matrix(n: int, order: int, mode: str) -> np.ndarray:
    return ndi.spline_filter1d(np.eye(n), order, axis=0, mode=mode)


def _coefficients(x: Tracer, axis: int, order: int, mode: str) -> Tracer:
    n = x.dims[axis]
    if order < 2 or n == 1:
        return x
    if n <= _DENSE:
        return jnp.moveaxis(jnp.tensordot(_matrix(n, order, mode), x, axes=(1, axis)), 0, axis)
    weights = _matrix(2 * _REACH + 1, order, "mirror")[_REACH]
    like = {"reflect": "reflect", "grid-mirror": "reflect", "nearest": "reflect", "grid-wrap": "wrap"}
    wide = extended(x, axis, _REACH, _REACH, like.get(mode, "mirror"), 0.0)
    return jnp.tensordot(jnp.lib.stride_tricks.sliding_window_view(wide, len(weights), axis=axis), weights, axes=1)


def _order(order: Any, least: int = 0) -> int:
    k = static_int(order, "order")
    if not least <= k <= 5:
        raise ArgumentError(f"spline order {k} is not supported. It is between {least} and 5.", user_location())
    return k


@implements(ndi.spline_filter1d)
def spline_filter1d(
    input: Any, order: Any = 3, axis: int = -1, output: Any = np.float64, mode: Any = "mirror"
) -> Tracer:
    x = lift_one(input)
    found = _coefficients(cast(x, f64), axis_index(axis, x.ndim), _order(order), one_mode(mode))
    return typed(found, output)


@implements(ndi.spline_filter)
def spline_filter(input: Any, order: Any = 3, output: Any = np.float64, mode: Any = "mirror") -> Tracer:
    out = cast(lift_one(input), f64)
    for axis in range(out.ndim):
        out = _coefficients(out, axis, _order(order, 2), one_mode(mode))
    return typed(out, output)


# -- one point ---------------------------------------------------------------------------------------------------------


def _inside(c: Any, n: int, mode: str) -> Any:
    """The coordinate in ``[0, n - 1]``, up to the elements around its ends, that one outside stands for."""
    if mode in ("constant", "grid-constant"):
        return c
    if mode == "nearest":
        return jnp.clip(c, 0.0, n - 1.0)
    if n == 1:
        return c * 0.0
    if mode == "mirror":
        size = 2.0 * (n - 1)
        found = jnp.abs(jnp.remainder(c + (n - 1.0), size) - (n - 1.0))
    elif mode in ("reflect", "grid-mirror"):
        found = jnp.remainder(c + 0.5, 2.0 * n)
        found = jnp.where(found > n, 2.0 * n - found, found) - 0.5
    else:
        size = n - 1.0 if mode == "wrap" else float(n)
        found = jnp.remainder(c, size)
    return jnp.where((c < 0) | (c > n - 1.0), found, c)


def _place(k: Any, n: int, mode: str) -> Any:
    """The element that stands at an integer place, which may be beyond the ends."""
    if mode == "mirror" and n > 1:
        return jnp.abs(jnp.remainder(k + (n - 1), 2 * (n - 1)) - (n - 1))
    if mode in ("reflect", "grid-mirror"):
        k = jnp.remainder(k, 2 * n)
        return jnp.where(k >= n, 2 * n - 1 - k, k)
    if mode == "grid-wrap":
        return jnp.remainder(k, n)
    if mode in ("constant", "wrap") and n > 1:  # the splines of these modes mirror
        return jnp.abs(jnp.remainder(k + (n - 1), 2 * (n - 1)) - (n - 1))
    return jnp.clip(k, 0, n - 1)


def _around(c: Any, n: int, order: int, mode: str, pad: int) -> tuple[list[tuple[Any, Any, Any]], Any]:
    """The elements around a coordinate, along one axis of extent n after it was made longer by ``pad`` on both sides:
    for each its place, its weight, and whether it is an element at all (None for yes); and whether the point is outside
    (None for no)."""
    outside = (c < 0) | (c > n - 1.0) if mode == "constant" else None
    n = n + 2 * pad
    c = _inside(c + float(pad), n, "nearest" if outside is not None else mode)
    below = jnp.floor(c if order % 2 else c + 0.5)
    t = c - below if order % 2 else c - below + 0.5
    weights: list[Any] = [1.0]
    for d in range(1, order + 1):  # the recursion of Cox and de Boor, at knots of distance 1
        one = [0.0, *weights]
        other = [*weights, 0.0]
        weights = [((t + (d - j)) * one[j] + ((1.0 + j) - t) * other[j]) / d for j in range(d + 1)]
    first = jnp.asarray(below).astype(np.int64) - order // 2
    found = []
    for j, weight in enumerate(weights):
        k = first + j
        real = (k >= 0) & (k < n) if mode == "grid-constant" else None
        found.append((_place(k, n, mode), weight, real))
    return found, outside


def _sampled(
    x: Tracer, axes: Sequence[int], points: Sequence[Any], order: int, mode: str, cval: Any, pad: int
) -> Tracer:
    """The values at points, whose coordinates along some axes are arrays of one shape. Those axes come first."""
    sizes = [x.dims[k] - 2 * pad for k in axes]
    each = [_around(c, n, order, mode, pad) for c, n in zip(points, sizes, strict=True)]
    x = jnp.moveaxis(x, axes, range(len(axes)))
    rest = (1,) * (x.ndim - len(axes))

    def spread(values: Any) -> Any:
        return jnp.reshape(values, (*np.shape(values), *rest)) if rest else values

    total: Any = None
    for chosen in itertools.product(*(found for found, _ in each)):
        value = x[tuple(place for place, _, _ in chosen)]
        real = [r for _, _, r in chosen if r is not None]
        if real:
            value = jnp.where(spread(functools.reduce(lambda a, b: a & b, real)), value, cval)
        weight = functools.reduce(lambda a, b: a * b, [w for _, w, _ in chosen])
        term = value if order == 0 else value * spread(weight)
        total = term if total is None else total + term
    outside = [o for _, o in each if o is not None]
    if outside:
        total = jnp.where(spread(functools.reduce(lambda a, b: a | b, outside)), cval, total)
    return total


def _prepared(x: Tracer, order: int, mode: str, cval: Any, prefilter: Any, skip: Sequence[int] = ()) -> tuple[Any, int]:
    """The coefficients of the spline, and by how many elements the axes are longer on both sides."""
    x = x if is_float(x.dtype) and order < 2 else cast(x, f64)
    if order < 2 or not prefilter:
        return x, 0
    pad = _MORE if mode in ("nearest", "grid-constant") else 0
    for axis in range(x.ndim):
        if axis not in skip:
            x = _coefficients(extended(x, axis, pad, pad, mode, cval), axis, order, mode)
    return x, pad


def _stored(value: Any, dtype: np.dtype) -> Tracer:
    """Values as SciPy stores them: those of integers are rounded."""
    if dtype.kind in "iu":
        value = jnp.trunc(value + jnp.where(value > 0, 0.5, -0.5))
        value = jnp.maximum(value, 0.0) if dtype.kind == "u" else value
    return cast(value, dtype)


def _real(points: Any) -> Any:
    """Coordinates as float64."""
    return cast(points, f64) if isinstance(points, Tracer) else np.asarray(points, np.float64)


# -- functions ---------------------------------------------------------------------------------------------------------


@implements(ndi.map_coordinates)
def map_coordinates(
    input: Any, coordinates: Any, output: Any = None, order: Any = 3, mode: Any = "constant", cval: Any = 0.0,
    prefilter: Any = True,
) -> Tracer:  # fmt: skip
    x, order, mode = lift_one(input, coordinates, cval), _order(order), one_mode(mode)
    points = jnp.asarray(coordinates)
    if points.ndim < 1 or points.shape[0] != x.ndim:
        raise ShapeError(
            f"scipy.ndimage.map_coordinates of an array of shape {x.dims} at coordinates of shape {points.shape}. The "
            "first axis of the coordinates has one entry for each axis of the array.",
            user_location(),
        )
    data, pad = _prepared(x, order, mode, cval, prefilter)
    each = [_real(points[k]) for k in range(x.ndim)]
    return _stored(_sampled(data, range(x.ndim), each, order, mode, cval, pad), typed(x, output).dtype)


def _separately(
    x: Tracer, points: Sequence[Any], output: Any, order: int, mode: str, cval: Any, prefilter: Any
) -> Tracer:
    """The values at the points of a grid, one axis after the other; None for the points of an axis that stays."""
    skip = [k for k, p in enumerate(points) if p is None]
    data, pad = _prepared(x, order, mode, cval, prefilter, skip if order > 1 else ())
    for axis, c in enumerate(points):
        if c is not None:
            data = jnp.moveaxis(_sampled(data, [axis], [c], order, mode, cval, pad), 0, axis)
    return _stored(data, typed(x, output).dtype)


def _numbers(value: Any, count: int, name: str) -> list[Any]:
    """A number for each axis."""
    values = [value] * count if np.ndim(value) == 0 else [value[k] for k in range(np.shape(value)[0])]
    if len(values) != count:
        raise ArgumentError(f"{name} has {len(values)} entries for an array of {count} axes.", user_location())
    return values


@implements(ndi.shift)
def shift(
    input: Any, shift: Any, output: Any = None, order: Any = 3, mode: Any = "constant", cval: Any = 0.0,
    prefilter: Any = True,
) -> Tracer:  # fmt: skip
    x, order, mode = lift_one(input, shift, cval), _order(order), one_mode(mode)
    moves = _numbers(shift, x.ndim, "shift")
    points = [np.arange(float(n)) - _real(s) for n, s in zip(x.dims, moves, strict=True)]
    return _separately(x, points, output, order, mode, cval, prefilter)


@implements(ndi.zoom)
def zoom(
    input: Any, zoom: Any, output: Any = None, order: Any = 3, mode: Any = "constant", cval: Any = 0.0,
    prefilter: Any = True, *, grid_mode: Any = False,
) -> Tracer:  # fmt: skip
    x, order, mode = lift_one(input, cval, zoom), _order(order), one_mode(mode)
    factors = _numbers(zoom, x.ndim, "zoom")
    if any(isinstance(z, Tracer) for z in factors):
        raise ConcretizationError(
            "scipy.ndimage.zoom by a traced factor. The shape of its result would depend on a traced value. Make the "
            "factor a number, or use scipy.ndimage.affine_transform with a fixed output_shape.",
            user_location(),
        )
    points = []
    for n, z in zip(x.dims, factors, strict=True):
        m = round(n * z)
        over, under = (n, m) if grid_mode else (n - 1, m - 1)
        by = over / under if under else 1.0
        middle = 0.5 if grid_mode else 0.0
        points.append((np.arange(float(m)) + middle) * by - middle)
    return _separately(x, points, output, order, mode, cval, prefilter)


@implements(ndi.affine_transform)
def affine_transform(
    input: Any, matrix: Any, offset: Any = 0.0, output_shape: Any = None, output: Any = None, order: Any = 3,
    mode: Any = "constant", cval: Any = 0.0, prefilter: Any = True,
) -> Tracer:  # fmt: skip
    x, order, mode = lift_one(input, matrix, offset, cval), _order(order), one_mode(mode)
    by, n = _real(matrix), x.ndim
    if by.ndim == 2 and by.shape[1] == n + 1 and by.shape[0] in (n, n + 1):
        offset, by = by[:n, n], by[:n, :n]
    if by.shape not in ((n,), (n, n)):
        raise ShapeError(
            f"scipy.ndimage.affine_transform of an array of {n} axes by a matrix of shape {by.shape}. It has shape "
            f"{(n,)}, {(n, n)}, {(n, n + 1)} or {(n + 1, n + 1)}.",
            user_location(),
        )
    shape = x.dims if output_shape is None else tuple(static_int(m, "output_shape") for m in output_shape)
    starts = [_real(s) for s in _numbers(offset, n, "offset")]
    if by.ndim == 1:
        points = [np.arange(float(m)) * by[k] + starts[k] for k, m in enumerate(shape)]
        return _separately(x, points, output, order, mode, cval, prefilter)
    data, pad = _prepared(x, order, mode, cval, prefilter)
    points = _transformed(by, starts, shape)
    return _stored(_sampled(data, range(n), points, order, mode, cval, pad), typed(x, output).dtype)


def _transformed(by: Any, starts: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    """For each axis the coordinates of the points of a grid after a linear map."""
    grid = np.indices(shape).astype(np.float64)
    return [sum((by[k, j] * grid[j] for j in range(len(shape))), start=starts[k]) for k in range(len(starts))]


@implements(ndi.rotate)
def rotate(
    input: Any, angle: Any, axes: Any = (1, 0), reshape: Any = True, output: Any = None, order: Any = 3,
    mode: Any = "constant", cval: Any = 0.0, prefilter: Any = True,
) -> Tracer:  # fmt: skip
    x, order, mode = lift_one(input, angle, cval), _order(order), one_mode(mode)
    plane = sorted(axis_index(a, x.ndim, "axes") for a in axes)
    if len(set(plane)) != 2:
        raise ArgumentError(f"scipy.ndimage.rotate in the plane of axes {axes}. Give two axes.", user_location())
    if isinstance(angle, Tracer):
        if reshape:
            raise ConcretizationError(
                "scipy.ndimage.rotate by a traced angle with reshape=True. The shape of its result would depend on a "
                "traced value. Give reshape=False.",
                user_location(),
            )
        turn = angle * (math.pi / 180.0)
        by = jnp.array([[jnp.cos(turn), jnp.sin(turn)], [-jnp.sin(turn), jnp.cos(turn)]])
    else:
        c, s = scipy.special.cosdg(angle), scipy.special.sindg(angle)
        by = np.array([[c, s], [-s, c]])
    old = np.array([x.dims[k] for k in plane])
    new = old
    if reshape:
        corners = np.asarray(by) @ [[0, 0, old[0], old[0]], [0, old[1], 0, old[1]]]
        new = (np.ptp(corners, axis=1) + 0.5).astype(int)
    start = (old - 1) / 2 - by @ ((new - 1) / 2)
    rest = [k for k in range(x.ndim) if k not in plane]
    data, pad = _prepared(x, order, mode, cval, prefilter, rest)
    points = _transformed(by, [start[0], start[1]], new.tolist())
    found = _sampled(data, plane, points, order, mode, cval, pad)
    return _stored(jnp.moveaxis(found, [0, 1], plane), typed(x, output).dtype)


for _f in (ndi.map_coordinates, ndi.shift, ndi.zoom, ndi.affine_transform, ndi.rotate, ndi.spline_filter1d):
    LINEAR[_f] = ("input", "cval") if _f is not ndi.spline_filter1d else ("input",)
ADVICE[ndi.geometric_transform] = (
    "It calls a function for each point. Compute the coordinates of all points, and use scipy.ndimage.map_coordinates."
)
