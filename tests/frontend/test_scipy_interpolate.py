"""``scipy.interpolate``: interpolants of traced data, and known ones at traced points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compared import check, normal
from scipy import interpolate
from scipy.interpolate import CubicSpline, RegularGridInterpolator, interp1d

import jitgrad as jg
from jitgrad import errors
from jitgrad.testing import check_grads

X = np.array([0.5, 1.0, 1.7, 2.1, 2.9, 3.6, 4.2, 5.0])
Y, Y2 = normal(8), normal(8, 2, seed=1)
INSIDE = np.array([0.51, 1.234, 2.2, 2.12, 4.9, 3.3])
AROUND = np.array([[-1.0, 0.6], [2.5, 6.0]])


@pytest.mark.parametrize("ends", ["not-a-knot", "natural", ((1, 0.3), (2, -0.4))])
def test_cubic_splines(ends: Any) -> None:
    def f(x: Any, y: Any, t: Any) -> Any:
        curve = CubicSpline(x, y, bc_type=ends)
        return [curve(t), curve(AROUND), curve(t, 1), curve.derivative(2)(t), curve.integrate(0.7, t[1])]

    check(f, X, Y, INSIDE, tol=1e-8)
    if ends == "natural":
        check_grads(lambda x, y, t: CubicSpline(x, y, bc_type=ends)(t), (X, Y, INSIDE), order=1, modes=("rev",))


def test_other_splines() -> None:
    def f(y: Any, y2: Any, t: Any) -> Any:
        whole = np.concatenate([y[:-1], y[:1]])
        found = [CubicSpline(X[:n], whole[8 - n :], bc_type="periodic")(AROUND) for n in (8,)]
        found += [CubicSpline(X[:n], y[:n])(t) for n in (2, 3)]
        found += [CubicSpline(X, y2.T, axis=1)(AROUND), CubicSpline(X, y, extrapolate=False)(AROUND)]
        found += [CubicSpline(X, y)(t, 4), CubicSpline(X, y)(1.3), CubicSpline(X, y).antiderivative(2)(t)]
        found += [interpolate.PchipInterpolator(X, y2)(t), interpolate.PchipInterpolator(X, np.floor(y))(t)]
        found += [interpolate.PchipInterpolator(X[:2], y[:2])(t), interpolate.Akima1DInterpolator(X, y)(AROUND)]
        found += [interpolate.Akima1DInterpolator(X, y, method="makima")(t)]
        return [*found, interpolate.CubicHermiteSpline(X, y, y * 2)(t)]

    check(f, Y, Y2, INSIDE, tol=1e-8)

    def smooth(y: Any, t: Any) -> Any:
        whole = np.concatenate([y[:4], y[:1]])
        curves = interpolate.PchipInterpolator(X, y), interpolate.Akima1DInterpolator(X, y)
        return [*(c(t) for c in curves), CubicSpline(X[:5], whole, bc_type="periodic")(t)]

    check_grads(smooth, (Y, INSIDE), order=1, modes=("rev",))


def test_b_splines() -> None:
    known = interpolate.make_interp_spline(X, Y)

    def f(y: Any, t: Any) -> Any:
        found = [interpolate.make_interp_spline(X, y, k)(t) for k in (1, 2, 3)]
        found += [interpolate.make_interp_spline(X, y, bc_type="natural")(t), known(t, 1), known.derivative(2)(t)]
        found += [interpolate.BSpline(known.t, y, 3)(AROUND), interpolate.BSpline(known.t, y, 3)(X)]
        return [*found, interpolate.BSpline(known.t, y, 3, extrapolate=False)(AROUND)]

    check(f, Y, INSIDE, tol=1e-9)
    check_grads(lambda y, t: interpolate.BSpline(known.t, y, 3)(t), (Y, INSIDE), order=1, modes=("rev",))


class Table:
    """Holds an interpolant."""

    def __init__(self, curve: Any) -> None:
        self.curve = curve

    def __call__(self, t: Any) -> Any:
        return self.curve(t) + self.curve.integrate(0.6, t[1])


def test_known_interpolants_at_traced_points() -> None:
    spline, table = CubicSpline(X, Y), Table(CubicSpline(X, Y2[:, 0]))
    curves = [spline, spline.derivative(), interpolate.PchipInterpolator(X, Y2), interp1d(X, Y)]
    curves += [interp1d(X, Y2, "cubic", axis=0, fill_value="extrapolate"), interpolate.BarycentricInterpolator(X, Y2)]
    curves += [interpolate.UnivariateSpline(X, Y, s=0.1), interpolate.InterpolatedUnivariateSpline(X, Y)]
    a, b, c, d, e, g, h, k = curves
    tck = interpolate.splrep(X, Y)

    def f(t: Any) -> Any:
        called = [a(t), b(t), c(t), d(t), e(t), g(t), h(t), k(t, 1), table(t), a(t, 1), CubicSpline(X, Y)(t)]
        return [*called, interpolate.splev(t, tck, 2), interp1d(X, Y, "quadratic")(t), a.derivative()(t)]

    check(f, INSIDE)
    check_grads(lambda t: [a(t), g(t), h(t), k(t, 1), table(t)], (INSIDE,), order=1, modes=("rev",))


def test_interp1d() -> None:
    order = np.array([3, 1, 0, 2, 5, 4, 7, 6])
    kinds = ("linear", "nearest", "nearest-up", "previous", "next", "zero", "quadratic", "cubic")

    def f(y: Any, y2: Any, t: Any) -> Any:
        found = []
        for kind in kinds:
            found += [interp1d(X, y2.T, kind)(t), interp1d(X[order], y[order], kind, fill_value="extrapolate")(AROUND)]
            found += [interp1d(X, y, kind, bounds_error=False, fill_value=(1.0, 2.0))(AROUND), interp1d(X, y, kind)(X)]
        return [*found, interp1d(X, y, bounds_error=False)(AROUND), interp1d(X, y)(2.5)]

    check(f, Y, Y2, INSIDE, tol=1e-9)
    check_grads(lambda x, y, t: interp1d(x, y)(t), (X, Y, INSIDE), order=1)


def test_grids() -> None:
    grid = np.array([0.0, 1, 3]), np.array([0.0, 0.5, 2, 4]), np.array([2.0, 1.0])
    values, more = normal(3, 4, 2), normal(3, 4, 2, 2, seed=1)
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(0, 3, 5), rng.uniform(0, 4, 5), rng.uniform(1, 2, 5)])
    outside = points.copy()
    outside[[0, 1, 2], [0, 1, 2]] = -1, 9, np.nan
    known = RegularGridInterpolator(grid, more)

    def f(v: Any, p: Any) -> Any:
        found = [RegularGridInterpolator(grid, v)(p), RegularGridInterpolator(grid, v, "nearest")(p), known(p)]
        found += [interpolate.interpn(grid, v, p), known((p[:, 0], p[:, 1], 1.5)), known(p[0])]
        found += [RegularGridInterpolator(grid, v, bounds_error=False, fill_value=n)(outside) for n in (np.nan, None)]
        return found

    check(f, values, points)
    check_grads(lambda v, p: RegularGridInterpolator(grid, v)(p), (values, points), order=1, modes=("rev",))
    with pytest.raises(ValueError, match="out of bounds in dimension 0"):
        jg.jit(lambda p: known(p))(outside)


def test_polynomials_and_radial_functions() -> None:
    def f(x: Any, y: Any, t: Any) -> Any:
        return [interpolate.BarycentricInterpolator(x, y)(t), interpolate.barycentric_interpolate(x, y, t)]

    check(f, X, Y, np.concatenate([INSIDE[:2], X[2:4]]), tol=1e-8)
    nodes = np.concatenate([INSIDE[:2], X[2:4]])
    check_grads(lambda y, t: interpolate.barycentric_interpolate(X, y, t), (Y, nodes), order=1, modes=("rev",))
    y, d, q = normal(9, 2), normal(9, 3, seed=1), normal(4, 2, seed=2)
    kernels = ["linear", "cubic", "quintic", "inverse_multiquadric"]
    known = interpolate.RBFInterpolator(y, d)

    def radial(y: Any, d: Any, q: Any) -> Any:
        found = [interpolate.RBFInterpolator(y, d, kernel=k, epsilon=1.3, smoothing=0.1)(q) for k in kernels]
        return [*found, known(q), interpolate.RBFInterpolator(y, d[:, 0], kernel="gaussian", epsilon=1.0, degree=1)(q)]

    check(radial, y, d, q, tol=1e-7)
    check_grads(lambda y, d, q: interpolate.RBFInterpolator(y, d)(q), (y, d, q), order=1, modes=("rev",))


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda y: interp1d(X, Y)(y + 9), ValueError, "above the interpolation range"),
        (lambda y: CubicSpline(X, y, bc_type="periodic")(y), ValueError, "must be identical"),
        (lambda y: CubicSpline(-y * y, y)(y), ValueError, "strictly increasing"),
        (lambda y: CubicSpline(X, y, bc_type="foo"), errors.ArgumentError, "bc_type='foo'"),
        (lambda y: CubicSpline(X[:3], y), errors.ShapeError, "one for each value"),
        (lambda y: CubicSpline(X, y).roots(), errors.UnsupportedError, "'roots'"),
        (lambda y: interp1d(X, y, "foo"), errors.ArgumentError, "kind='foo'"),
        (lambda y: interpolate.make_interp_spline(y, y), errors.ConcretizationError, "CubicSpline"),
        (lambda y: interpolate.UnivariateSpline(X, y), errors.UnsupportedError, "of traced data"),
        (lambda y: interpolate.griddata(Y2, y, Y2), errors.UnsupportedError, "griddata"),
        (lambda y: interpolate.RBFInterpolator(Y2, y, neighbors=3), errors.UnsupportedError, "neighbors="),
        (lambda y: RegularGridInterpolator((X,), y, "cubic")(y), errors.UnsupportedError, "'cubic'"),
    ],
)
def test_errors(function: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        jg.jit(function)(Y)
