"""``scipy.interpolate`` on traced values: interpolants made of traced data, and known ones at traced points.

Loaded when a program uses it."""

from __future__ import annotations

import functools
import itertools
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.interpolate as si

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend.concrete import run, unwrap
from jitgrad.frontend.functions_splines import (
    MAKERS,
    BSpline,
    Curve,
    Piecewise,
    behind,
    cubic_spline,
    doubles,
    interval,
    is_plain,
    make_interp_spline,
    placed,
    required,
    splev,
)
from jitgrad.frontend.primitives import axis_index, cast, emit, lift_one
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64, is_float

# -- one variable ------------------------------------------------------------------------------------------------------


class Interp1d(Curve):
    """``scipy.interpolate.interp1d``: it can be called."""

    def __init__(
        self, x: Any, y: Any, kind: Any = "linear", axis: int = -1, copy: Any = True, bounds_error: Any = None,
        fill_value: Any = np.nan, assume_sorted: Any = False,
    ) -> None:  # fmt: skip
        points, values = jnp.asarray(doubles(x)), lift_one(y, x)
        self.axis = axis_index(axis, values.ndim)
        values = jnp.moveaxis(values if is_float(values.dtype) else cast(values, f64), self.axis, 0)
        if points.ndim != 1 or points.shape[0] != values.shape[0] or not points.shape[0]:
            raise ShapeError(
                f"scipy.interpolate.interp1d of values of shape {np.shape(y)} at x of shape {points.shape}. x is a "
                "vector with one point for each value along the axis.",
                user_location(),
            )
        if not assume_sorted:
            order = jnp.argsort(points, kind="stable")
            points, values = points[order], values[order]
        self.x, self.y = points, values
        kind = {0: "zero", 1: "linear", 2: "quadratic", 3: "cubic", "slinear": "linear"}.get(kind, kind)
        self.kind, self.zero = "previous" if kind == "zero" else kind, kind == "zero"
        self.curve: Any = None
        if kind == "cubic":
            self.curve = cubic_spline(points, values)
        elif kind == "quadratic":
            self.curve = make_interp_spline(points, values, 2)
        elif self.kind not in _RULES:
            raise ArgumentError(
                f"scipy.interpolate.interp1d with kind={kind!r} is not supported on traced values. Use 'linear', "
                "'nearest', 'nearest-up', 'previous', 'next', 'zero', 'quadratic' or 'cubic'.",
                user_location(),
            )
        self._filled(bounds_error, fill_value)

    def _filled(self, bounds_error: Any, fill_value: Any) -> None:
        """What a point outside means."""
        self.extrapolate = isinstance(fill_value, str) and fill_value == "extrapolate"
        self.fill: tuple[Any, Any] | None = None
        self.bounds_error = bool(not self.extrapolate if bounds_error is None else bounds_error)
        if self.extrapolate and self.kind == "previous" and not self.zero:
            self.fill = (np.nan, self.y[-1])
        elif self.extrapolate and self.kind == "next":
            self.fill = (self.y[0], np.nan)
        elif not self.extrapolate:
            self.fill = fill_value if isinstance(fill_value, tuple) else (fill_value, fill_value)

    @staticmethod
    def of(plain: Any) -> Interp1d:
        found = Interp1d.__new__(Interp1d)
        values = np.moveaxis(plain.y, plain.axis, 0)
        found.plain, found.x, found.y, found.axis = plain, plain.x, values, plain.axis % plain.y.ndim
        found.kind, found.curve, found.zero = plain._kind, None, False
        if plain._kind not in _RULES:
            found.curve = BSpline.of(plain._spline)
        found._filled(plain.bounds_error, plain.fill_value)
        return found

    def at(self, x: Any) -> Any:
        points = doubles(jnp.asarray(x))
        start, end = self.x[0], self.x[-1]
        if self.bounds_error:
            required(jnp.logical_not(jnp.any(points < start)), "A value in x_new is below the interpolation range.")
            required(jnp.logical_not(jnp.any(points > end)), "A value in x_new is above the interpolation range.")
        if self.curve is None:
            found = _RULES[self.kind](jnp.asarray(self.x), jnp.asarray(self.y), points)
        else:
            flat = self.curve.at(jnp.ravel(points), 0, True)
            found = jnp.reshape(flat, (*points.shape, *np.shape(self.y)[1:]))
        if self.fill is not None:
            low, high = self.fill
            found = jnp.where(behind(points < start, found, points.ndim), low, found)
            found = jnp.where(behind(points > end, found, points.ndim), high, found)
        return placed(found, points, self.axis)


def _linear(x: Any, y: Any, points: Any) -> Any:
    if x.shape[0] == 1:
        return y[jnp.zeros_like(points, dtype=np.int64)]
    k = interval(x, points)
    low, high = x[k], x[k + 1]
    slope = (y[k + 1] - y[k]) / behind(high - low, y, 1)
    return slope * behind(points - low, y, 1) + y[k]


def _step(side: str, offset: int, middle: bool) -> Callable[[Any, Any, Any], Any]:
    """The value at one of the two points around."""

    def rule(x: Any, y: Any, points: Any) -> Any:
        breaks = x[:-1] / 2.0 + x[1:] / 2.0 if middle else x
        k = jnp.searchsorted(breaks, points, side=side) - offset
        return _as_points(y[jnp.clip(k, 0, x.shape[0] - 1)], points)

    return rule


def _as_points(values: Any, points: Any) -> Any:
    """NaN for a point that is NaN."""
    return jnp.where(behind(jnp.isnan(points), values, points.ndim), np.nan, values)


_RULES: dict[Any, Callable[[Any, Any, Any], Any]] = {
    "linear": _linear,
    "nearest": _step("left", 0, True),
    "nearest-up": _step("right", 0, True),
    "previous": _step("right", 1, False),
    "next": _step("left", 0, False),
}


class Barycentric(Curve):
    """``scipy.interpolate.BarycentricInterpolator``, by Lagrange's products: they have derivatives at the nodes too."""

    def __init__(self, xi: Any, yi: Any = None, axis: int = 0) -> None:
        if yi is None:
            raise UnsupportedError(
                "scipy.interpolate.BarycentricInterpolator without values is not supported on traced values. Give yi.",
                user_location(),
            )
        self.xi = jnp.asarray(doubles(xi))
        values = cast(lift_one(yi, xi), f64)
        self.axis = axis_index(axis, values.ndim)
        self.yi = jnp.moveaxis(values, self.axis, 0)

    @staticmethod
    def of(plain: Any) -> Barycentric:
        found = Barycentric.__new__(Barycentric)
        values = np.reshape(plain.yi, (plain.n, *plain._y_extra_shape))
        found.plain, found.xi, found.yi, found.axis = plain, plain.xi, values, plain._y_axis
        return found

    def at(self, x: Any) -> Any:
        points, nodes = doubles(jnp.asarray(x)), jnp.asarray(self.xi)
        own = np.eye(nodes.shape[0], dtype=bool)
        gaps = jnp.where(own, 1.0, nodes[:, None] - nodes[None])
        away = jnp.expand_dims(points, (-1, -2)) - nodes[None]
        weights = jnp.prod(jnp.where(own, 1.0, away / gaps), axis=-1)
        return placed(jnp.tensordot(weights, self.yi, axes=1), points, self.axis)


def barycentric_interpolate(xi: Any, yi: Any, x: Any, axis: int = 0, **kwargs: Any) -> Any:
    return Barycentric(xi, lift_one(yi, xi, x), axis)(x)


# -- grids -------------------------------------------------------------------------------------------------------------


class Grid(Curve):
    """``scipy.interpolate.RegularGridInterpolator``, linear or nearest: it can be called."""

    def __init__(
        self, points: Any, values: Any, method: str = "linear", bounds_error: Any = True, fill_value: Any = np.nan,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        grid = [doubles(p) for p in points]
        values = lift_one(values, *grid)
        self.values = values if is_float(values.dtype) else cast(values, f64)
        shape = tuple(np.shape(p)[0] for p in grid)
        if values.dims[: len(shape)] != shape:
            raise ShapeError(
                f"scipy.interpolate.RegularGridInterpolator of values of shape {values.dims} on a grid of shape "
                f"{shape}. The first axes of the values are those of the grid.",
                user_location(),
            )
        for axis, p in enumerate(grid):
            if is_plain(p) and len(p) > 1 and p[0] > p[-1]:
                grid[axis] = p[::-1]
                self.values = jnp.flip(self.values, axis)
            required(jnp.all(jnp.diff(jnp.asarray(grid[axis])) > 0),
                     f"The points in dimension {axis} must be strictly ascending or descending")  # fmt: skip
        self.grid, self.method, self.bounds_error, self.fill_value = grid, method, bounds_error, fill_value

    @staticmethod
    def of(plain: Any) -> Grid:
        found = Grid.__new__(Grid)
        found.plain, found.grid, found.values = plain, list(plain.grid), plain.values
        found.method, found.bounds_error, found.fill_value = plain.method, plain.bounds_error, plain.fill_value
        return found

    def at(self, xi: Any, method: Any = None, **kwargs: Any) -> Any:
        method = self.method if method is None else method
        if method not in ("linear", "nearest") or any(v is not None for v in kwargs.values()):
            raise UnsupportedError(
                f"interpolation on a grid with method={method!r} at traced points, or with other arguments than "
                "method=, is not supported. Use 'linear' or 'nearest'.",
                user_location(),
            )
        each = _coordinates(xi, len(self.grid))
        grid = [jnp.asarray(p) for p in self.grid]
        within = [(c >= p[0]) & (c <= p[-1]) for c, p in zip(each, grid, strict=True)]
        if self.bounds_error:
            for axis, (c, ok) in enumerate(zip(each, within, strict=True)):
                message = f"One of the requested xi is out of bounds in dimension {axis}"
                required(jnp.all(ok | jnp.isnan(c)), message)
        found = self._found(grid, each, method)
        outside = np.False_
        for c, ok in zip(each, within, strict=True):
            found = jnp.where(behind(jnp.isnan(c), found, c.ndim), np.nan, found)
            outside = outside | ~(ok | jnp.isnan(c))
        if self.bounds_error or self.fill_value is None:
            return found
        return jnp.where(behind(outside, found, each[0].ndim), self.fill_value, found)

    def _found(self, grid: Sequence[Any], each: Sequence[Any], method: str) -> Any:
        values = jnp.asarray(self.values)
        places, shares = [], []
        for c, p in zip(each, grid, strict=True):
            if p.shape[0] == 1:
                places.append(jnp.zeros_like(c, dtype=np.int64))
                shares.append(c * 0.0)
                continue
            k = interval(p, c)
            places.append(k)
            shares.append((c - p[k]) / (p[k + 1] - p[k]))
        if method == "nearest":
            return values[tuple(k + (s > 0.5) for k, s in zip(places, shares, strict=True))]
        total: Any = 0.0
        for corner in itertools.product((0, 1), repeat=len(grid)):
            at, weight = [], 1.0
            for bit, p, k, s in zip(corner, grid, places, shares, strict=True):
                at.append(jnp.minimum(k + bit, p.shape[0] - 1))
                weight = weight * (s if bit else 1.0 - s)
            value = values[tuple(at)]
            total = total + value * behind(weight, value, np.ndim(weight))
        return total


def _coordinates(xi: Any, count: int) -> list[Any]:
    """The coordinates of points as one array for each axis. Raises ShapeError."""
    if isinstance(xi, tuple):
        parts = jnp.broadcast_arrays(*(doubles(jnp.asarray(x)) for x in xi))
        found = [jnp.asarray(p) for p in parts]
    else:
        points = doubles(jnp.asarray(xi))
        if count == 1 and points.ndim == 1:
            points = points[:, None]
        found = [points[..., k] for k in range(points.shape[-1])] if points.ndim else [points]
        found = [f[None] for f in found] if points.ndim == 1 else found
    if len(found) != count:
        raise ShapeError(
            f"points with {len(found)} coordinates on a grid of {count} axes. The last axis of the points has one "
            "entry for each axis of the grid.",
            user_location(),
        )
    return found


def interpn(
    points: Any, values: Any, xi: Any, method: str = "linear", bounds_error: Any = True, fill_value: Any = np.nan
) -> Any:
    if is_plain(points, values, xi):
        return run(si.interpn, (points, values, xi, method, bounds_error, fill_value), {})
    flat = [xi] if not isinstance(xi, tuple) else list(xi)
    return Grid(points, lift_one(values, *points, *flat), method, bounds_error, fill_value).at(xi)


# -- scattered points --------------------------------------------------------------------------------------------------


def _times_root(power: int, sign: float) -> Callable[[Any], Any]:
    """``sign * r ** (2 * power + 1)`` of the square of r, with derivative 0 at 0."""

    def kernel(s: Any) -> Any:
        root = emit("safe_sqrt", s) if isinstance(s, Tracer) else np.sqrt(s)
        return sign * s**power * root if power else sign * root

    return kernel


def _thin_plate(s: Any) -> Any:
    zero = s == 0
    return jnp.where(zero, 0.0, 0.5 * s * jnp.log(jnp.where(zero, 1.0, s)))


#: Kernel -> its function of the squared distance, and the least degree of the polynomial beside it.
_KERNELS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "linear": (_times_root(0, -1.0), 0),
    "thin_plate_spline": (_thin_plate, 1),
    "cubic": (_times_root(1, 1.0), 1),
    "quintic": (_times_root(2, -1.0), 2),
    "multiquadric": (lambda s: -jnp.sqrt(s + 1.0), 0),
    "inverse_multiquadric": (lambda s: 1.0 / jnp.sqrt(s + 1.0), -1),
    "inverse_quadratic": (lambda s: 1.0 / (s + 1.0), -1),
    "gaussian": (lambda s: jnp.exp(-s), -1),
}
_SCALE_FREE = ("linear", "thin_plate_spline", "cubic", "quintic")


class Rbf(Curve):
    """``scipy.interpolate.RBFInterpolator`` with all neighbours: it can be called."""

    def __init__(
        self, y: Any, d: Any, neighbors: Any = None, smoothing: Any = 0.0, kernel: str = "thin_plate_spline",
        epsilon: Any = None, degree: Any = None,
    ) -> None:  # fmt: skip
        if neighbors is not None:
            raise _neighbours()
        if kernel not in _KERNELS:
            raise ArgumentError(f"RBFInterpolator got kernel={kernel!r}. Use one of {', '.join(_KERNELS)}.",
                                user_location())  # fmt: skip
        if epsilon is None and kernel not in _SCALE_FREE:
            raise ArgumentError(f"RBFInterpolator with kernel={kernel!r} needs epsilon.", user_location())
        self.kernel, self.epsilon = kernel, 1.0 if epsilon is None else epsilon
        peers = (y, d, smoothing, epsilon)
        self.y = cast(lift_one(y, *peers), f64)
        values = cast(lift_one(d, *peers), f64)
        if self.y.ndim != 2 or not values.ndim or values.dims[0] != self.y.dims[0]:
            raise ShapeError(
                f"scipy.interpolate.RBFInterpolator of values of shape {values.dims} at points of shape {self.y.dims}. "
                "The points are the rows of a matrix, with a value for each.",
                user_location(),
            )
        degree = max(_KERNELS[kernel][1], 0) if degree is None else int(degree)
        self.powers = _monomials(self.y.dims[1], degree)
        high, low = jnp.max(self.y, axis=0), jnp.min(self.y, axis=0)
        self.shift, scale = (high + low) / 2.0, (high - low) / 2.0
        self.scale = jnp.where(scale == 0, 1.0, scale)
        self.shape = values.dims[1:]
        self.weights = self._solved(jnp.reshape(values, (values.dims[0], -1)), smoothing)

    @staticmethod
    def of(plain: Any) -> Rbf:
        if plain.neighbors is not None:
            raise _neighbours()
        found = Rbf.__new__(Rbf)
        found.plain, found.kernel, found.epsilon, found.y = plain, plain.kernel, plain.epsilon, plain.y
        found.powers, found.shift, found.scale = plain.powers, plain._shift, plain._scale
        found.weights, found.shape = plain._coeffs, plain.d_shape
        return found

    def _solved(self, values: Any, smoothing: Any) -> Any:
        n, m = values.shape[0], len(self.powers)
        kernel = self._kernel(self.y) + jnp.diag(jnp.broadcast_to(jnp.asarray(smoothing) * 1.0, (n,)))
        if not m:
            return jnp.linalg.solve(kernel, values)
        beside = self._polynomials(self.y)
        matrix = jnp.block([[kernel, beside], [beside.T, np.zeros((m, m))]])
        right = jnp.concatenate([values, np.zeros((m, values.shape[1]))])
        return jnp.linalg.solve(matrix, right)

    def _kernel(self, x: Any) -> Any:
        away = x[:, None] - self.y[None]
        return _KERNELS[self.kernel][0](jnp.sum(away * away, axis=-1) * (self.epsilon * self.epsilon))

    def _polynomials(self, x: Any) -> Any:
        scaled = (x - self.shift) / self.scale
        columns = []
        for powers in self.powers:
            column = jnp.ones_like(scaled[:, 0])
            for k, power in enumerate(powers.tolist()):
                column = column * scaled[:, k] ** power if power else column
            columns.append(column)
        return jnp.stack(columns, axis=1)

    def at(self, x: Any) -> Any:
        points = lift_one(doubles(x), self.weights)
        if points.ndim != 2 or points.dims[1] != np.shape(self.y)[1]:
            raise ShapeError(
                f"points of shape {points.dims} for an RBFInterpolator of {np.shape(self.y)[1]} coordinates. They are "
                "the rows of a matrix.",
                user_location(),
            )
        n = np.shape(self.y)[0]
        weights = jnp.asarray(self.weights)
        found = self._kernel(points) @ weights[:n]
        if len(self.powers):
            found = found + self._polynomials(points) @ weights[n:]
        return jnp.reshape(found, (points.dims[0], *self.shape))


def _monomials(count: int, degree: int) -> np.ndarray:
    """The powers of all monomials of up to that degree."""
    rows = [
        [chosen.count(k) for k in range(count)]
        for total in range(degree + 1)
        for chosen in itertools.combinations_with_replacement(range(count), total)
    ]
    return np.array(rows, np.int64).reshape(-1, count)


def _neighbours() -> UnsupportedError:
    return UnsupportedError(
        "scipy.interpolate.RBFInterpolator with neighbors= is not supported on traced values. Which points are the "
        "nearest depends on the data. Leave it out.",
        user_location(),
    )


# -- what takes the place of SciPy's -----------------------------------------------------------------------------------


class Maker:
    """What takes the place of a class: it makes SciPy's object of known data, and ours of traced data."""

    def __init__(self, plain: type, make: Callable[..., Curve]) -> None:
        self.__wrapped__, self._make = plain, make
        self.__doc__, self.__name__ = plain.__doc__, plain.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if is_plain(*args, *kwargs.values()):
            made = self.__wrapped__(*unwrap(args), **unwrap(kwargs))
            return stand_in(made)
        return self._make(*args, **kwargs)

    def __instancecheck__(self, obj: Any) -> bool:
        return isinstance(getattr(obj, "plain", obj), self.__wrapped__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)


_CLASSES: dict[Any, Callable[..., Curve]] = {
    **MAKERS,
    si.interp1d: Interp1d,
    si.BarycentricInterpolator: Barycentric,
    si.RegularGridInterpolator: Grid,
    si.RBFInterpolator: Rbf,
}
_MADE: dict[Any, Maker] = {plain: Maker(plain, make) for plain, make in _CLASSES.items()}
#: Classes of objects that are known outside of the traced function -> what stands for them in it.
_OBJECTS: dict[Any, Callable[[Any], Curve]] = {
    si.PPoly: Piecewise.of,
    si.BSpline: BSpline.of,
    si.interp1d: Interp1d.of,
    si.BarycentricInterpolator: Barycentric.of,
    si.RegularGridInterpolator: Grid.of,
    si.RBFInterpolator: Rbf.of,
}


def _refused(plain: type, *args: Any, **kwargs: Any) -> Any:
    raise UnsupportedError(
        f"scipy.interpolate.{plain.__name__} of traced data is not supported. The classes "
        f"{', '.join(c.__name__ for c in _CLASSES)} are. Use one of them, or make it of plain arrays outside of the "
        "traced function.",
        user_location(),
    )


def _routed(function: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """SciPy's function for known values, and ours for traced ones."""

    def routed(*args: Any, **kwargs: Any) -> Any:
        if is_plain(*args, *kwargs.values()) and not any(isinstance(a, Curve) and a.plain is None for a in args):
            found = run(function, tuple(a.plain if isinstance(a, Curve) else a for a in args), kwargs)
            return stand_in(found) or found
        return ours(*args, **kwargs)

    return routed


_FUNCTIONS = {
    f: _routed(f, ours)
    for f, ours in {
        si.make_interp_spline: make_interp_spline,
        si.splev: splev,
        si.interpn: interpn,
        si.barycentric_interpolate: barycentric_interpolate,
        si.pchip_interpolate: lambda xi, yi, x, der=0, axis=0: MAKERS[si.PchipInterpolator](xi, yi, axis)(x, der),
    }.items()
}


def stand_in(value: Any) -> Any:
    """What takes the place of a class, of one of its objects, or of a function; None for others, and for the module."""
    if isinstance(value, type):
        if value not in _MADE:
            _MADE[value] = Maker(value, functools.partial(_refused, value))
        return _MADE[value]
    if isinstance(value, types.FunctionType):
        return _FUNCTIONS.get(value)
    for plain, make in _OBJECTS.items():
        if isinstance(value, plain):
            return make(value)
    if isinstance(value, si.UnivariateSpline):
        t, c, k = value._eval_args
        return Univariate(value, BSpline(t, c[: len(t) - k - 1], k))
    return None


class Univariate(Curve):
    """A ``scipy.interpolate.UnivariateSpline`` made of known data."""

    def __init__(self, plain: Any, curve: BSpline) -> None:
        self.plain, self.curve = plain, curve

    def at(self, x: Any, nu: int = 0, ext: Any = None) -> Any:
        names: dict[str, int] = {"extrapolate": 0, "zeros": 1, "raise": 2, "const": 3}
        ext = self.plain.ext if ext is None else ext
        return splev(x, self.curve, nu, names[ext] if isinstance(ext, str) else ext)
