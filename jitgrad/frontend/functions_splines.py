"""Piecewise polynomials and B-splines of ``scipy.interpolate`` on traced values. Loaded with ``functions_interpolate``.

The slopes of cubic splines solve a banded system (C. de Boor, A Practical Guide to Splines, 1978, chapter IV). A point
is found among the breakpoints by bisection, and its value comes from the coefficients of that interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.interpolate as si

import jitgrad.numpy as jnp
import jitgrad.scipy as jsp
from jitgrad.errors import ArgumentError, ConcretizationError, ShapeError, UnsupportedError
from jitgrad.frontend.concrete import run, survey, unwrap
from jitgrad.frontend.primitives import axis_index, cast, lift_one, static_int
from jitgrad.frontend.raising import demand
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64


def is_plain(*values: Any) -> bool:
    """Is nothing in them traced?"""
    return not survey(values, {})[0]


def doubles(x: Any) -> Any:
    """As float64, traced or not."""
    return cast(x, f64) if isinstance(x, Tracer) else np.asarray(unwrap(x), np.float64)


def required(ok: Any, message: str) -> None:
    """ValueError with that message: at once where the arrays are known, else when the program runs."""
    if isinstance(ok, Tracer) and not is_plain(ok):
        demand(ok, ValueError(message))
    elif not unwrap(ok):
        raise ValueError(message)


class Curve:
    """A function of points that a class of SciPy makes of data. ``plain`` is SciPy's own where the data are known."""

    plain: Any = None

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if self.plain is not None and is_plain(x, *args, *kwargs.values()):
            return run(self.plain, (x, *args), kwargs)
        return self.at(x, *args, **kwargs)

    def at(self, x: Any) -> Any:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        plain = type(self).plain if name == "plain" else self.__dict__.get("plain")
        if plain is not None:
            return getattr(plain, name)
        if name.startswith("__"):
            raise AttributeError(name)
        raise UnsupportedError(
            f"attribute {name!r} of a {type(self).__name__} made of traced values. It can be called, and has what its "
            "documentation in jitgrad lists. Make it of plain arrays outside of the traced function.",
            user_location(),
        )


def placed(values: Any, points: Any, axis: int) -> Any:
    """Values at points, whose axes come first, with those in the place of the axis of the data."""
    n = np.ndim(points)
    return jnp.moveaxis(values, range(n), range(axis, axis + n)) if axis and n else values


def behind(points: Any, like: Any, skip: int) -> Any:
    """The points with one more axis of extent 1 for each axis of the data, of which ``skip`` are the points' own."""
    return jnp.reshape(points, (*np.shape(points), *[1] * (np.ndim(like) - skip)))


def _wrapped(x: Any, start: Any, end: Any) -> Any:
    return start + jnp.remainder(x - start, end - start)


def _outside(values: Any, x: Any, start: Any, end: Any) -> Any:
    beyond = (x < start) | (x > end)
    return jnp.where(behind(beyond, values, np.ndim(x)), np.nan, values)


def interval(breaks: Any, x: Any) -> Any:
    """The number of the interval in which a point lies; of one outside that of the nearest."""
    return jnp.clip(jnp.searchsorted(breaks, x, side="right") - 1, 0, np.shape(breaks)[0] - 2)


class Piecewise(Curve):
    """``scipy.interpolate.PPoly``: the coefficients ``c`` of falling powers, for each interval of ``x``. It can be
    called, and has derivative, antiderivative and integrate."""

    def __init__(self, c: Any, x: Any, extrapolate: Any = None, axis: int = 0) -> None:
        self.c, self.x, self.axis = doubles(c), doubles(x), axis
        self.extrapolate = True if extrapolate is None else extrapolate

    @staticmethod
    def of(curve: Any) -> Piecewise:
        found = Piecewise(curve.c, curve.x, curve.extrapolate, curve.axis)
        found.plain = curve
        return found

    def at(self, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
        if nu < 0:
            return self.antiderivative(-nu).at(x, 0, extrapolate)
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        points = doubles(jnp.asarray(x))
        breaks = jnp.asarray(self.x)
        if extrapolate == "periodic":
            points = _wrapped(points, breaks[0], breaks[-1])
        k = interval(breaks, points)
        c = jnp.asarray(self._sloped(nu))
        step = behind(points - breaks[k], c, 2)
        total = c[0][k]
        for j in range(1, c.shape[0]):
            total = total * step + c[j][k]
        if not extrapolate:
            total = _outside(total, points, breaks[0], breaks[-1])
        total = total + 0.0 * step if c.shape[0] == 1 else total
        return placed(total, points, self.axis)

    def _sloped(self, nu: int) -> Any:
        order = self.c.shape[0]
        if nu >= order:
            return self.c[:1] * 0.0
        powers = np.arange(order - 1.0, nu - 1, -1)
        factors = np.prod([powers - i for i in range(nu)], axis=0) if nu else np.ones(order)
        return self.c[: order - nu] * factors.reshape((-1, *[1] * (self.c.ndim - 1)))

    def derivative(self, nu: int = 1) -> Piecewise:
        if nu < 0:
            return self.antiderivative(-nu)
        return Piecewise(self._sloped(nu), self.x, self.extrapolate, self.axis)

    def antiderivative(self, nu: int = 1) -> Piecewise:
        if nu <= 0:
            return self.derivative(-nu)
        found = self
        for _ in range(nu):
            order = found.c.shape[0]
            shape = (-1, *[1] * (found.c.ndim - 1))
            c = found.c / np.arange(order, 0.0, -1).reshape(shape)
            steps = jnp.reshape(jnp.diff(jnp.asarray(found.x)), shape[:1] + shape[2:])
            areas: Any = 0.0
            for j in range(order):
                areas = (areas + c[j]) * steps
            start = jnp.concatenate([areas[:1] * 0.0, jnp.cumsum(areas, axis=0)[:-1]])
            extrapolate = False if found.extrapolate == "periodic" else found.extrapolate
            found = Piecewise(jnp.concatenate([c, start[None]]), found.x, extrapolate, found.axis)
        return found

    def integrate(self, a: Any, b: Any, extrapolate: Any = None) -> Any:
        """Over a span that is not wrapped around."""
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        if extrapolate == "periodic":
            raise UnsupportedError(
                "integrate() of a periodic spline is not supported on traced values. The span is wrapped around at its "
                "ends. Use antiderivative() of a spline with extrapolate=True.",
                user_location(),
            )
        whole = self.antiderivative()
        return whole.at(b, 0, extrapolate) - whole.at(a, 0, extrapolate)


# -- cubic splines -----------------------------------------------------------------------------------------------------


def _samples(name: str, x: Any, y: Any, axis: Any, least: int = 2) -> tuple[Any, Any, Any, Any, int]:
    """The points and the values, their distances and slopes, shaped like the values, and the axis."""
    points, values = jnp.asarray(doubles(x)), lift_one(y, x)
    axis = axis_index(axis, values.ndim)
    values = jnp.moveaxis(cast(values, f64), axis, 0)
    n = values.shape[0]
    if points.ndim != 1 or points.shape[0] != n or n < least:
        raise ShapeError(
            f"scipy.interpolate.{name} of values of shape {np.shape(y)} at x of shape {points.shape}. x is a vector of "
            f"at least {least} points, one for each value along the axis.",
            user_location(),
        )
    steps = jnp.diff(points)
    required(jnp.all(steps > 0), "`x` must be strictly increasing sequence.")
    h = jnp.reshape(steps, (n - 1, *[1] * (values.ndim - 1)))
    return points, values, h, jnp.diff(values, axis=0) / h, axis


def _hermite(x: Any, y: Any, h: Any, slope: Any, s: Any, extrapolate: Any, axis: int) -> Piecewise:
    """The cubics with given values and derivatives at the breakpoints."""
    t = (s[:-1] + s[1:] - 2.0 * slope) / h
    c = jnp.stack([t / h, (slope - s[:-1]) / h - t, s[:-1], y[:-1]])
    return Piecewise(c, x, extrapolate, axis)


def cubic_hermite(x: Any, y: Any, dydx: Any, axis: Any = 0, extrapolate: Any = None) -> Piecewise:
    points, values, h, slope, axis = _samples("CubicHermiteSpline", x, lift_one(y, x, dydx), axis)
    s = jnp.moveaxis(doubles(jnp.asarray(dydx)), axis, 0)
    return _hermite(points, values, h, slope, s, extrapolate, axis)


def _ends(bc_type: Any) -> list[Any]:
    """What holds at both ends: "not-a-knot", or the order and the value of a derivative."""
    both = [bc_type] * 2 if isinstance(bc_type, str) else list(bc_type)
    known = {"natural": (2, 0.0), "clamped": (1, 0.0), "not-a-knot": "not-a-knot"}
    found = [known.get(b) if isinstance(b, str) else tuple(b) for b in both]
    if len(found) != 2 or any(b is None or (b != "not-a-knot" and b[0] not in (1, 2)) for b in found):
        raise ArgumentError(
            f"bc_type={bc_type!r} of a cubic spline. It is 'not-a-knot', 'periodic', 'clamped' or 'natural', or a pair "
            "of such and of (order, value) with order 1 or 2.",
            user_location(),
        )
    return found


def _end(what: Any, h: Any, slope: Any) -> tuple[Any, Any, Any]:
    """The first equation: the factors of the first two slopes, and the right-hand side. ``h`` and ``slope`` begin at
    that end; at the other one both are reversed, and second derivatives have the other sign."""
    if what == "not-a-knot":
        d = h[0] + h[1]
        return h[1], d, ((h[0] + 2.0 * d) * h[1] * slope[0] + h[0] * h[0] * slope[1]) / d
    order, value = what
    if order == 1:
        return h[0] * 0.0 + 1.0, h[0] * 0.0, slope[0] * 0.0 + value
    return 2.0 * h[0], h[0], 3.0 * h[0] * slope[0] - 0.5 * value * h[0] * h[0]


def _banded(lower: Any, middle: Any, upper: Any, b: Any) -> Any:
    """Solve a tridiagonal system for the first axis of b. Both outer diagonals have their gap where they begin."""
    zero = np.zeros(1)
    above, below = jnp.concatenate([zero, upper]), jnp.concatenate([lower, zero])
    rows = jnp.stack([above, jnp.ravel(middle), below])
    flat = jnp.reshape(b, (b.shape[0], -1))
    return jnp.reshape(jsp.linalg.solve_banded((1, 1), rows, flat), b.shape)


def _slopes(h: Any, slope: Any, first: Any, last: Any) -> Any:
    """The derivatives at the breakpoints that make the second derivative continuous."""
    n = h.shape[0] + 1
    if n == 2 and "not-a-knot" in (first, last):
        known = [b for b in (first, last) if b != "not-a-knot"]
        first = last = (1, slope[0])
        if known:
            raise UnsupportedError("a cubic spline of two points needs both derivatives, or none.", user_location())
    if n == 3 and first == last == "not-a-knot":  # a parabola
        middle = (h[1] * slope[0] + h[0] * slope[1]) / (h[0] + h[1])
        return jnp.stack([2.0 * slope[0] - middle, middle, 2.0 * slope[1] - middle])
    if last != "not-a-knot" and last[0] == 2:
        last = (2, -last[1])
    one, two = _end(first, h, slope), _end(last, h[::-1], slope[::-1])
    flat = jnp.ravel(h)
    upper = jnp.concatenate([jnp.ravel(one[1]), flat[:-1]])
    lower = jnp.concatenate([flat[1:], jnp.ravel(two[1])])
    middle = jnp.concatenate([jnp.ravel(one[0]), 2.0 * (flat[:-1] + flat[1:]), jnp.ravel(two[0])])
    b = jnp.concatenate([one[2][None], 3.0 * (h[1:] * slope[:-1] + h[:-1] * slope[1:]), two[2][None]])
    return _banded(lower, middle, upper, b)


def _periodic_slopes(h: Any, slope: Any) -> Any:
    """As above, where the last point stands for the first. All but the last unknown are solved for it."""
    m = h.shape[0]
    if m == 1:
        return jnp.concatenate([slope, slope]) * 0.0
    if m == 2:
        t = jnp.sum(slope / h, axis=0, keepdims=True) / jnp.sum(1.0 / h, axis=0, keepdims=True)
        return jnp.concatenate([t, t, t])
    before, slope_before = jnp.roll(h, 1, axis=0), jnp.roll(slope, 1, axis=0)
    b = 3.0 * (h * slope_before + before * slope)
    diagonal = 2.0 * (before + h)
    flat = jnp.ravel(h)
    # Row i has the factor h[i] before, and h[i - 1] after the diagonal.
    lower, upper = flat[1 : m - 1], jnp.roll(flat, 1)[: m - 2]
    ends = [flat[:1], *([np.zeros(m - 3)] if m > 3 else []), flat[m - 3 : m - 2]]
    rest = -jnp.concatenate(ends)
    middle = jnp.ravel(diagonal)[: m - 1]
    s1 = _banded(lower, middle, upper, b[:-1])
    s2 = jnp.reshape(_banded(lower, middle, upper, rest[:, None]), (m - 1, *[1] * (b.ndim - 1)))
    t = (b[-1] - h[-1] * s1[-1] - h[-2] * s1[0]) / (diagonal[-1] + h[-1] * s2[-1] + h[-2] * s2[0])
    s = s1 + t * s2
    return jnp.concatenate([s, t[None], s[:1]])


def cubic_spline(x: Any, y: Any, axis: Any = 0, bc_type: Any = "not-a-knot", extrapolate: Any = None) -> Piecewise:
    points, values, h, slope, axis = _samples("CubicSpline", x, y, axis)
    if isinstance(bc_type, str) and bc_type == "periodic":
        same = jnp.all(jnp.abs(values[0] - values[-1]) <= 1e-15 + 1e-15 * jnp.abs(values[-1]))
        required(same, "The first and last `y` point along axis 0 must be identical (within machine precision) when "
                 "bc_type='periodic'.")  # fmt: skip
        s = _periodic_slopes(h, slope)
        extrapolate = "periodic" if extrapolate is None else extrapolate
    else:
        s = _slopes(h, slope, *_ends(bc_type))
    return _hermite(points, values, h, slope, s, extrapolate, axis)


def pchip(x: Any, y: Any, axis: Any = 0, extrapolate: Any = None) -> Piecewise:
    """Slopes by F. N. Fritsch and J. Butland, SIAM Journal on Scientific and Statistical Computing 5, 1984."""
    points, values, h, slope, axis = _samples("PchipInterpolator", x, y, axis)
    if h.shape[0] == 1:
        return _hermite(points, values, h, slope, jnp.concatenate([slope, slope]), extrapolate, axis)
    before, after = slope[:-1], slope[1:]
    flat = before * after <= 0
    one, other = 2.0 * h[1:] + h[:-1], h[1:] + 2.0 * h[:-1]
    mean = (one / jnp.where(flat, 1.0, before) + other / jnp.where(flat, 1.0, after)) / (one + other)
    inner = jnp.where(flat, 0.0, 1.0 / mean)
    first, last = _pchip_end(h, slope), _pchip_end(h[::-1], slope[::-1])
    s = jnp.concatenate([first[None], inner, last[None]])
    return _hermite(points, values, h, slope, s, extrapolate, axis)


def _pchip_end(h: Any, slope: Any) -> Any:
    """The derivative of the parabola through three points, kept within what leaves the curve monotone."""
    d = ((2.0 * h[0] + h[1]) * slope[0] - h[0] * slope[1]) / (h[0] + h[1])
    other = jnp.sign(d) != jnp.sign(slope[0])
    steep = (jnp.sign(slope[0]) != jnp.sign(slope[1])) & (jnp.abs(d) > 3.0 * jnp.abs(slope[0]))
    return jnp.where(other, 0.0, jnp.where(steep, 3.0 * slope[0], d))


def akima(x: Any, y: Any, axis: Any = 0, *, method: Any = "akima", extrapolate: Any = None) -> Piecewise:
    """H. Akima, Journal of the ACM 17, 1970."""
    points, values, h, slope, axis = _samples("Akima1DInterpolator", x, y, axis)
    if method not in ("akima", "makima"):
        raise ArgumentError(f"Akima1DInterpolator got method={method!r}. Use 'akima' or 'makima'.", user_location())
    extrapolate = False if extrapolate is None else extrapolate
    if h.shape[0] == 1:
        return _hermite(points, values, h, slope, jnp.concatenate([slope, slope]), extrapolate, axis)
    low, high = 2.0 * slope[:1] - slope[1:2], 2.0 * slope[-1:] - slope[-2:-1]
    m = jnp.concatenate([2.0 * low - slope[:1], low, slope, high, 2.0 * high - slope[-1:]])
    change = jnp.abs(jnp.diff(m, axis=0))
    if method == "makima":
        change = change + 0.5 * jnp.abs(m[1:] + m[:-1])
    after, before = change[2:], change[:-2]
    both = after + before
    usual = both > 1e-9 * jnp.max(both)
    share = before / jnp.where(usual, both, 1.0)
    s = jnp.where(usual, m[1:-2] + share * (m[2:-1] - m[1:-2]), 0.5 * (m[3:] + m[:-3]))
    return _hermite(points, values, h, slope, s, extrapolate, axis)


# -- B-splines ---------------------------------------------------------------------------------------------------------


class BSpline(Curve):
    """``scipy.interpolate.BSpline``: it can be called, and has derivative."""

    def __init__(self, t: Any, c: Any, k: Any, extrapolate: Any = True, axis: int = 0) -> None:
        self.t, self.k, self.axis = doubles(t), static_int(k, "k"), axis
        self.c = doubles(c)
        self.c = jnp.moveaxis(self.c, axis, 0) if axis else self.c
        self.extrapolate = extrapolate
        count = np.shape(self.t)[0] - self.k - 1
        if count < self.k + 1 or np.shape(self.c)[0] < count:
            raise ShapeError(
                f"a B-spline of degree {self.k} with {np.shape(self.t)[0]} knots and {np.shape(self.c)[0]} "
                "coefficients. There are at least 2 * k + 2 knots, and n + k + 1 knots for n coefficients.",
                user_location(),
            )

    @staticmethod
    def of(curve: Any) -> BSpline:
        found = BSpline(curve.t, curve.c, curve.k, curve.extrapolate)  # its axis is the first one already
        found.axis, found.plain = curve.axis, curve
        return found

    @property
    def tck(self) -> tuple[Any, Any, int]:
        return self.t, self.c, self.k

    def derivative(self, nu: int = 1) -> BSpline:
        t, c, k = self.t, self.c, self.k
        for _ in range(nu):
            if k == 0:
                c = c * 0.0
                continue
            n = np.shape(t)[0] - k - 1
            gaps = jnp.reshape(t[k + 1 : n + k] - t[1:n], (-1, *[1] * (np.ndim(c) - 1)))
            none = gaps == 0
            c = jnp.where(none, 0.0, k * jnp.diff(c[:n], axis=0) / jnp.where(none, 1.0, gaps))
            t, k = t[1:-1], k - 1
        found = BSpline(t, c, k, self.extrapolate)
        found.axis = self.axis
        return found

    def at(self, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        if nu:
            return self.derivative(nu).at(x, 0, extrapolate)
        points, t, c, k = doubles(jnp.asarray(x)), jnp.asarray(self.t), jnp.asarray(self.c), self.k
        inner = t[k : t.shape[0] - k]
        if extrapolate == "periodic":
            points = _wrapped(points, inner[0], inner[-1])
        # The last point belongs to the last interval that is not empty.
        places = jnp.minimum(jnp.searchsorted(inner, points, side="right"), jnp.searchsorted(inner, inner[-1], "left"))
        at = jnp.maximum(places - 1, 0) + k
        near = [c[at - k + j] for j in range(k + 1)]
        for r in range(1, k + 1):  # de Boor's algorithm
            for j in range(k, r - 1, -1):
                low, high = t[at + (j - k)], t[at + (j + 1 - r)]
                share = behind((points - low) / (high - low), c, 1)
                near[j] = (1.0 - share) * near[j - 1] + share * near[j]
        found = near[k] if extrapolate else _outside(near[k], points, inner[0], inner[-1])
        return placed(found, points, self.axis)


def make_interp_spline(
    x: Any, y: Any, k: Any = 3, t: Any = None, bc_type: Any = None, axis: Any = 0, check_finite: bool = True
) -> BSpline:
    """Of values at known points. The coefficients are a product of a known matrix and the values."""
    if not is_plain(x, t):
        raise ConcretizationError(
            "scipy.interpolate.make_interp_spline at traced points. Its knots come from the points. Use CubicSpline, "
            "which takes traced ones.",
            user_location(),
        )
    if not (bc_type is None or isinstance(bc_type, str)):
        raise UnsupportedError(
            "scipy.interpolate.make_interp_spline with derivatives at the ends is not supported on traced values. Use "
            "bc_type='clamped', 'natural', 'not-a-knot' or 'periodic', or CubicSpline.",
            user_location(),
        )
    values = lift_one(y)
    axis = axis_index(axis, values.ndim)
    unit = np.eye(values.dims[axis])
    if bc_type == "periodic":
        unit[-1] = unit[0]
    known = si.make_interp_spline(unwrap(x), unit, k, None if t is None else unwrap(t), bc_type)
    c = jnp.tensordot(known.c, jnp.moveaxis(cast(values, f64), axis, 0), axes=1)
    found = BSpline(known.t, c, known.k, known.extrapolate)
    found.axis = axis
    return found


def splev(x: Any, tck: Any, der: int = 0, ext: int = 0) -> Any:
    """Of the knots, coefficients and degree of a spline of one variable."""
    if isinstance(tck, BSpline):
        curve = tck
    elif isinstance(tck, si.BSpline):
        curve = BSpline.of(tck)
    else:
        t, c, k = tck
        curve = BSpline(t, c[: np.shape(t)[0] - k - 1], k)
    points = doubles(jnp.asarray(x))
    start, end = curve.t[curve.k], curve.t[-curve.k - 1]
    beyond = (points < start) | (points > end)
    if ext == 2:
        required(jnp.logical_not(jnp.any(beyond)), "x value outside of the knot interval.")
    if ext == 3:
        points = jnp.clip(points, start, end)
    found = curve.at(points, der, True)
    return jnp.where(beyond, 0.0, found) if ext == 1 else found


#: Class of SciPy -> what makes a curve of traced data.
MAKERS: dict[Any, Callable[..., Curve]] = {
    si.PPoly: Piecewise,
    si.CubicSpline: cubic_spline,
    si.CubicHermiteSpline: cubic_hermite,
    si.PchipInterpolator: pchip,
    si.Akima1DInterpolator: akima,
    si.BSpline: BSpline,
}
