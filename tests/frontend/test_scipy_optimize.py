"""Solvers of ``scipy.optimize``: SciPy's values, and implicit derivatives against central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
from compared import agrees, check
from scipy.optimize import (
    approx_fprime,
    brentq,
    check_grad,
    curve_fit,
    fixed_point,
    fsolve,
    least_squares,
    leastsq,
    linear_sum_assignment,
    minimize,
    minimize_scalar,
    newton,
    nnls,
    root,
    root_scalar,
    rosen,
    rosen_der,
    rosen_hess,
    rosen_hess_prod,
)

import jitgrad as jg
from jitgrad.errors import LinAlgError, ShapeError, UnsupportedError
from jitgrad.testing import check_grads

A = np.array([2.5, 0.7])
TIMES = np.linspace(0.0, 3.0, 15)
SEEN = 1.3 * np.exp(-0.7 * TIMES) + 0.1 * np.sin(40 * TIMES)


def cubic(t, a):
    return t**3 - a[0] + np.sin(a[1]) * t


def slope(t, a):
    return 3 * t * t + np.sin(a[1])


# Roots of one function


def test_brackets() -> None:
    def roots(a):
        found = [
            getattr(scipy.optimize, name)(lambda t: cubic(t, a), 0, 3)
            for name in ("bisect", "brentq", "brenth", "ridder", "toms748")
        ]
        by_result = root_scalar(cubic, (a,), bracket=(0.0, 3.0))
        x, result = brentq(cubic, 0, a[0], (a,), 1e-9, full_output=True)
        return *found, by_result.root, 1.0 * by_result.converged, x, result.root, 1.0 * result.converged

    agrees(roots, A)
    check(lambda a: brentq(lambda t: (t - a) * 1e9 if t > a else -1e-9, 0, 10, xtol=1e-5), 3.3, tol=2e-5)


def test_derivatives_of_roots_are_right_to_any_order() -> None:
    cube_root = lambda a: brentq(lambda t: t**3 - a, 0.0, 3.0)  # noqa: E731
    check_grads(lambda a: brentq(cubic, 0.0, 3.0, (a,), 1e-14), (A,), modes=("fwd",))
    third = jg.grad(jg.grad(jg.grad(cube_root)))(8.0)
    np.testing.assert_allclose(third, 10 / 27 * 8 ** (-8 / 3), rtol=1e-12)
    values = np.arange(1.0, 6.0)
    np.testing.assert_allclose(jg.vmap(jg.grad(cube_root))(values), values ** (-2 / 3) / 3, rtol=1e-10)
    assert jg.grad(cube_root)(27.0) == pytest.approx(1 / 27)  # the end of the bracket is the root
    assert jg.grad(cube_root)(np.float32(8)).dtype == np.float32
    with jg.config.using(backend="python"):
        assert jg.grad(cube_root)(8.0) == pytest.approx(1 / 12)


def test_newton() -> None:
    def roots(a):
        return (
            newton(lambda t: cubic(t, a), 1.5),
            newton(cubic, 1.5, slope, (a,)),
            newton(cubic, 1.5, slope, (a,), fprime2=lambda t, a: 6 * t),
            newton(cubic, 1.5, None, (a,), x1=2.0, rtol=1e-10),
            newton(lambda t: t**3 - a * t - 1, np.array([1.5, 2.0]), lambda t: 3 * t * t - a),
            root_scalar(lambda t: (cubic(t, a), slope(t, a)), x0=1.5, fprime=True).root,
            root_scalar(cubic, (a,), "halley", x0=1.5, fprime=slope, fprime2=lambda t, a: 6 * t).root,
            1.0 * root_scalar(cubic, (a,), x0=1.5, x1=1.0).iterations,
        )

    agrees(roots, A, 1e-7)


def test_fixed_points() -> None:
    def points(a):
        one = fixed_point(lambda x: np.cos(a[0] * x) * a[1], 0.3)
        return one, fixed_point(lambda x: np.sqrt(a / (x + 1) + 0.1 * x[::-1]), [0.3, 0.4], (), 1e-12, 500, "iteration")

    agrees(points, A)


@pytest.mark.parametrize(
    ("fun", "error", "words"),
    [
        (lambda a: brentq(lambda t: t**2 + a, 0, 3), ValueError, "must have different signs"),
        (lambda a: brentq(lambda t: np.sqrt(t - a), 0, 1), ValueError, "NaN"),
        (lambda a: brentq(lambda t: t**3 - a, 0, 3, maxiter=3), RuntimeError, "converge after 3 iterations"),
        (lambda a: brentq(lambda t: t**3 - a, 0, 3, xtol=-1), ValueError, "xtol too small"),
        (lambda a: newton(lambda t: t**2 + a, 0.0, lambda t: 2 * t), RuntimeError, "derivative was zero"),
        (lambda a: newton(lambda t: t**2 + a, 1.0), RuntimeError, "converge after 50 iterations"),
        (lambda a: fixed_point(lambda t: t + a, 1.0, maxiter=5, method="iteration"), RuntimeError, "5 iterations"),
        (lambda a: curve_fit(lambda x, p: np.exp(p * x) * a, TIMES, SEEN, maxfev=1)[0], RuntimeError, "not found"),
        (lambda a: brentq(lambda t: np.array([t, t]) - a, 0, 3), ShapeError, "needs a number"),
        (lambda a: fsolve(lambda x: x[:1] - a, [0.0, 1.0]), ShapeError, "1 values of 2 variables"),
        (lambda a: minimize(lambda x: x @ x * a, [1.0], method="Powell").x, UnsupportedError, "as BFGS"),
        (lambda a: minimize(lambda x: x @ x * a, [1.0], constraints={"type": "eq"}).x, UnsupportedError, "constraints"),
        (lambda a: least_squares(lambda x: x - a, [1.0], loss="huber").x, UnsupportedError, "linear loss"),
        (lambda a: root(lambda x: x - a, [1.0], method="krylov").x, UnsupportedError, "'hybr' or 'lm'"),
        (lambda a: linear_sum_assignment(a * np.eye(2)), UnsupportedError, "Sinkhorn"),
        (lambda a: minimize_scalar(lambda x: -a * x).x, RuntimeError, "valid bracket"),
    ],
)
def test_errors(fun: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words), np.errstate(all="ignore"):
        jg.jit(fun)(2.0)


def test_in_a_try_what_fails_is_nan() -> None:
    @jg.jit
    def caught(a):
        try:
            return brentq(lambda t: t**3 - a, 0, 3)
        except ValueError:
            return -1.0

    assert caught(8.0) == pytest.approx(2.0)
    assert np.isnan(caught(-8.0))


def test_in_a_loop() -> None:
    def walk(a):
        x, total = a[0], 0.0
        for _ in range(30):
            x = brentq(lambda t, x=x: t**3 + t - x - a[1], 0, 3)
            total += x * x
        return total

    agrees(walk, A)


# Minima


def valley(x, a):
    return (1 - x[0]) ** 2 * a[0] + 10 * (x[1] - x[0] ** 2) ** 2 + a[1] * x[0]


def test_minimize() -> None:
    def minima(a):
        r = minimize(valley, [-1.0, 2.0], (a,), tol=1e-9)
        bowl = lambda x: np.sum((x - a) ** 2 + x**4)  # noqa: E731
        by_jac = minimize(bowl, np.zeros(2), jac=lambda x: 2 * (x - a) + 4 * x**3, method="CG", tol=1e-9)
        both = minimize(lambda x: (bowl(x), 2 * (x - a) + 4 * x**3), np.zeros(2), jac=True, tol=1e-9)
        held = minimize(lambda x: valley(x, a), [-1.0, 2.0], bounds=[(None, a[1]), (-2, 3)], options={"ftol": 1e-14})
        return r.x, r.fun, by_jac.x, both.x, held.x

    check(minima, A, tol=1e-6)

    def counted(a):
        r = minimize(lambda x: (x - a) ** 4, 0.0, options={"maxiter": 3})
        return r.success, r.status, r.nit

    check(counted, 1.0)


def test_derivatives_of_minima() -> None:
    def held(a):
        """One variable at a bound that moves, one at one that does not, one within."""

        def f(x):
            return np.sum((x - a[0]) ** 2) + x[2] * x[1] * a[1] + x[0] * x[1]

        return minimize(f, np.zeros(3), bounds=[(0, 1), (None, None), (5 * a[1], 9)], tol=1e-10).x

    agrees(held, A, 1e-5)

    def many(a):
        x = minimize(lambda x: np.sum((x - a) ** 2 + x**4) + x[1:] @ x[:-1], np.zeros(6), tol=1e-10).x
        return np.sum(x), x

    gradient, x = jg.grad(many, has_aux=True)(np.linspace(-1, 1, 6))
    hessian = np.diag(2 + 12 * x**2) + np.eye(6, k=1) + np.eye(6, k=-1)
    np.testing.assert_allclose(gradient, 2 * np.linalg.solve(hessian, np.ones(6)), rtol=1e-6)


def test_minimize_scalar() -> None:
    def minima(a):
        f = lambda x: (x - a[0]) ** 2 + 0.1 * np.cos(x * a[1])  # noqa: E731
        results = (
            minimize_scalar(f),
            minimize_scalar(f, bounds=(0, a[0] + 5), options={"xatol": 1e-8}),
            minimize_scalar(f, bounds=(0, a[1] + 1), options={"xatol": 1e-8}),
        )
        return [(r.x, r.fun, 1.0 * r.success) for r in results]

    agrees(minima, A, 1e-5, eps=1e-2)


# Systems and least squares


def pair(x, a):
    return [x[0] * np.cos(x[1]) - a[0], x[1] * x[0] - x[1] - 2 * a[1]]


def test_systems() -> None:
    def roots(a):
        r = root(pair, [1.0, 1.0], (a,), method="lm")
        jac = lambda x: [[np.cos(x[1]), -x[0] * np.sin(x[1])], [x[1], x[0] - 1]]  # noqa: E731
        x, info, found, _ = fsolve(pair, [1.0, 1.0], (a,), full_output=True)
        return (
            fsolve(lambda x: pair(x, a), [1.0, 1.0]), r.x, 1.0 * r.success, x, info["fvec"], 1.0 * found,
            fsolve(lambda x: pair(x, a), [1.0, 1.0], fprime=jac), fsolve(lambda x: x**3 - a[0], 1.0),
        )  # fmt: skip

    agrees(roots, A)
    failing = jg.jit(lambda a: (fsolve(lambda x: x * x + a, 1.0), root(lambda x: x * x + a, [1.0]).success))
    with pytest.warns(RuntimeWarning, match="has not found a root"):
        assert not failing(2.0)[1]
    with pytest.raises(LinAlgError, match="Singular"):
        jg.grad(lambda a: np.sum(fsolve(lambda x: a * x * x, [0.0, 0.0])))(2.0)


def decay(t, p, q):
    return p * np.exp(-q * t)


def test_least_squares() -> None:
    def fits(a):
        fun = lambda p: decay(TIMES, *p) - SEEN * a[0] - a[1] * np.sin(TIMES)  # noqa: E731
        r = least_squares(fun, [1.0, 1.0], ftol=1e-13, xtol=1e-13, gtol=1e-13)
        held = least_squares(fun, [1.0, 1.5], bounds=([0, a[1]], np.inf), ftol=1e-13, xtol=1e-13, gtol=1e-13)
        return r.x, r.cost, r.fun, r.jac, 1.0 * r.success, held.x, 1.0 * held.active_mask

    agrees(fits, A, 2e-6)


def test_curve_fit() -> None:
    tight = {"ftol": 1e-14, "xtol": 1e-14, "gtol": 1e-14}

    def fits(a):
        y = SEEN * a[0] + a[1] * np.sin(TIMES)
        return (
            curve_fit(decay, TIMES, y, [1, 2], 1 + TIMES, **tight),
            curve_fit(decay, TIMES, y, bounds=([0, 0], [9, 0.2]), **tight)[0],
        )

    agrees(fits, A)

    def variants(a):
        covariances = np.diag(1 + TIMES)
        line = lambda x, p, q: p * x + q  # noqa: E731
        known = curve_fit(line, list(TIMES), SEEN * a, sigma=covariances, absolute_sigma=True)
        return known, curve_fit(line, TIMES, SEEN * a), leastsq(lambda x: x**2 - a, [1.0, 2.0])[0]

    check(variants, 2.0, tol=1e-7)


def test_nnls() -> None:
    rng = np.random.default_rng(0)
    compiled = jg.jit(nnls)
    for _ in range(10):
        a, b = rng.normal(size=(8, 5)), rng.normal(size=8)
        for found, wanted in zip(compiled(a, b), nnls(a, b), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)  # iterated, and not exact as SciPy's
    agrees(lambda b: nnls(a, b), b)


def test_test_functions_and_differences() -> None:
    x = np.array([0.1, 0.4, -0.3])
    check(lambda x: (rosen(x), rosen_der(x), rosen_hess(x), rosen_hess_prod(x, x)), x, grads=True)
    check(rosen, np.arange(6).reshape(3, 2))
    check(lambda a: approx_fprime(a, lambda x: np.sin(x) * x[0]), x, tol=1e-6)
    assert jg.jit(lambda a: check_grad(rosen, rosen_der, a))(x) < 1e-12


def test_nothing_traced_is_scipys() -> None:
    def f(a):
        start = np.zeros(2)
        powell = minimize(lambda x: np.sum((x - 1) ** 2), start, method="Powell").x
        return a * powell, a * brentq(lambda t: t**3 - 2, 0, 3), a * curve_fit(decay, TIMES, SEEN)[0]

    check(f, 2.0)
