"""``scipy.optimize``: systems of equations and least squares, ``fsolve``, ``root``, ``least_squares``, ``curve_fit``,
``nnls``.

All are the method of Levenberg and Marquardt with columns of length 1 (J. J. More, The Levenberg-Marquardt algorithm,
1978), by QR, and projected onto bounds (C. Kanzow, N. Yamashita, M. Fukushima, Journal of Computational and Applied
Mathematics 172, 2004). The Jacobian is the user's, or that of forward mode. In the derivative of a least squares
solution the Hessian is exact, with the second derivatives of the residuals.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from scipy.optimize import OptimizeResult, OptimizeWarning

import jitgrad.numpy as jnp
import jitgrad.scipy as jsp
from jitgrad.api import grad, stop_gradient
from jitgrad.errors import ShapeError, UnsupportedError
from jitgrad.frontend.control_flow import callee, current_trace
from jitgrad.frontend.required import recorded, required
from jitgrad.ir.location import user_location
from jitgrad.solvers.implicit import Closed, called, implicit, is_static, jacobian, plain
from jitgrad.solvers.minimisers import clipped, limits, projected, refuse

_DONE = "The tolerances are met, or not: see success."


@recorded
def _levenberg(rj: Any, x: Any, lo: Any, hi: Any, ftol: Any, xtol: Any, gtol: Any, maxiter: Any) -> Any:
    """The solution, the number of iterations, and why it ended, as ``least_squares`` numbers it: 0 too many iterations,
    1 ``gtol``, 2 ``ftol``, 3 ``xtol``."""
    r, j = rj(x)
    damping, steps = 1e-3, 0
    status = np.where(np.max(abs(projected(x, r @ j, lo, hi))) <= gtol, 1, 0)
    while status == 0 and steps < maxiter:
        step = _damped(j, r, damping, x, lo, hi)
        new = clipped(x + step, lo, hi)
        rnew, jnew = rj(new)
        moved, old = new - x, r @ r
        falls, model = old - rnew @ rnew, old - np.sum((r + j @ moved) ** 2)
        good = falls > 0
        ratio = falls / np.where(model > 0, model, np.inf)
        damping = np.where(good & (ratio > 0.75), 0.1, np.where(good & (ratio > 0.25), 1.0, 4.0)) * damping
        damping = np.maximum(damping, 1e-16)
        little = (model <= ftol * old) & (~good | (falls <= ftol * old))
        short = np.sqrt(moved @ moved) <= xtol * (xtol + np.sqrt(x @ x))
        x, r, j = np.where(good, new, x), np.where(good, rnew, r), np.where(good, jnew, j)
        flat = np.max(abs(projected(x, r @ j, lo, hi))) <= gtol
        status = np.where(flat, 1, np.where(little, 2, np.where(short, 3, 0)))
        steps += 1
    return x, steps, status


def _damped(j: Any, r: Any, damping: Any, x: Any, lo: Any, hi: Any) -> Any:
    """The step of the damped problem, of the variables that no bound holds."""
    n = j.shape[1]
    if lo is not None:
        g = r @ j
        j = jnp.where(((x <= lo) & (g > 0)) | ((x >= hi) & (g < 0)), 0.0, j)
    size = jnp.sqrt(jnp.sum(j * j, axis=0))
    size = jnp.where(size > 0, size, 1.0)
    both = jnp.concatenate([j / size, jnp.sqrt(damping) * np.eye(n)])
    q, upper = jnp.linalg.qr(both)
    return -jsp.linalg.solve_triangular(upper, r @ q[: j.shape[0]]) / size


class _System(NamedTuple):
    """Residuals and their Jacobian as a graph, and where to begin."""

    closed: Closed
    start: Any


def _system(name: str, fun: Callable[[Any], Any], jac: Callable[[Any], Any] | None, x0: Any, *, pair: bool) -> _System:
    """``pair``: the function returns its Jacobian too."""
    trace = current_trace()
    assert trace is not None
    start = stop_gradient(trace.lift(jnp.asarray(x0, dtype=float).reshape((-1,)) * 1.0))

    def residuals(x: Any) -> Any:
        r = jnp.asarray(fun(x)[0] if pair else fun(x), dtype=float)
        if r.ndim > 1:
            raise ShapeError(
                f"scipy.optimize.{name} of a function whose value has shape {r.shape}. It has one axis at most. "
                "Flatten it.",
                user_location(),
            )
        return r.reshape((-1,)) * 1.0

    def both(x: Any) -> Any:
        r = residuals(x)
        own = fun(x)[1] if pair else jac(x) if jac is not None else None
        found = jacobian(residuals, x) if own is None else jnp.asarray(own, dtype=float)
        return r, found.reshape((r.shape[0], x.shape[0])) * 1.0

    return _System(Closed(both, start, name=name), start)


def _root_of(name: str, system: _System, xtol: Any, maxiter: Any) -> tuple[Any, Any, Any, Any]:
    """The root, the values there, the number of iterations, and whether it is one."""
    closed, x = system
    x, steps, status = _levenberg(closed.fixed, x, None, None, 0.0, xtol, 0.0, maxiter)
    r, j = closed.fixed(x)
    if r.shape != x.shape:
        raise ShapeError(
            f"scipy.optimize.{name} of a function with {r.shape[0]} values of {x.shape[0]} variables. There are as "
            "many of both. Use least_squares.",
            user_location(),
        )
    # A minimum of the residual is no root: a small change of the variables would have to explain what is left.
    found = (status > 0) & jnp.all(jnp.abs(r) <= 1e-6 * (jnp.abs(j) @ (jnp.abs(x) + 1.0)))
    x = implicit(x, lambda x, *theta: closed.at(x, *theta)[0], closed.theta)
    return x, closed(x)[0], steps, found


@recorded
def _warn(ok: Any) -> None:
    if not ok:
        warnings.warn("The iteration has not found a root.", RuntimeWarning, stacklevel=2)


@functools.wraps(scipy.optimize.fsolve)
def fsolve(
    func: Any, x0: Any, args: Any = (), fprime: Any = None, full_output: Any = 0, col_deriv: Any = 0,
    xtol: Any = 1.49012e-8, maxfev: Any = 0, band: Any = None, epsfcn: Any = None, factor: Any = 100, diag: Any = None,
) -> Any:  # fmt: skip
    """By the method of Levenberg and Marquardt, in the place of Powell's."""
    fun = called(func, args)
    if is_static(fun, x0, args, xtol, vector=True):
        return plain(
            scipy.optimize.fsolve, func, x0, args, fprime, full_output, col_deriv, xtol, maxfev, band, epsfcn, factor,
            diag,
        )  # fmt: skip
    jac = None if fprime is None else called(fprime, args)
    used = (lambda x: jnp.asarray(jac(x)).T) if jac is not None and col_deriv else jac
    system = _system("fsolve", fun, used, x0, pair=False)
    x, values, steps, found = _root_of("fsolve", system, xtol, maxfev or 200 * (system.start.shape[0] + 1))
    if full_output:
        return x, {"nfev": steps + 1, "fvec": values}, jnp.where(found, 1, 5), _DONE
    _warn(found)
    return x


@functools.wraps(scipy.optimize.root)
def root(
    fun: Any, x0: Any, args: Any = (), method: Any = "hybr", jac: Any = None, tol: Any = None, callback: Any = None,
    options: Any = None,
) -> Any:  # fmt: skip
    """By the method of Levenberg and Marquardt, whichever is asked for. ``success`` is a traced bool."""
    value = called(fun, args)
    if is_static(value, x0, args, tol, vector=True):
        return plain(scipy.optimize.root, fun, x0, args, method, jac, tol, callback, options)
    if method not in ("hybr", "lm"):
        raise UnsupportedError(
            f"scipy.optimize.root with method={method!r} is not supported on traced values. Use 'hybr' or 'lm'.",
            user_location(),
        )
    refuse("root", "callback", callback, "The loop is compiled. Leave it out.")
    given = dict(options or {})
    system = _system("root", value, called(jac, args) if callable(jac) else None, x0, pair=jac is True)
    xtol = given.get("xtol", 1.49012e-8 if tol is None else tol)
    x, values, steps, found = _root_of("root", system, xtol, given.get("maxfev") or 200 * (system.start.shape[0] + 1))
    return OptimizeResult(
        x=x, fun=values, success=found, status=jnp.where(found, 1, 5), nfev=steps + 1, njev=steps + 1, message=_DONE
    )


def _fitted(system: _System, bounds: Any, tolerances: Sequence[Any], maxiter: Any) -> tuple[Any, Any, Any]:
    """The solution of least squares, the number of iterations, and why it ended. ``tolerances`` are ftol, xtol and
    gtol."""
    trace = current_trace()
    assert trace is not None
    closed, start = system
    low, high = bounds
    ends = (None, None) if low is None else (stop_gradient(trace.lift(low)), stop_gradient(trace.lift(high)))
    x, steps, status = _levenberg(closed.fixed, clipped(start, *ends), *ends, *tolerances, maxiter)

    def slope(x: Any, *theta: Any) -> Any:
        return grad(lambda y: 0.5 * jnp.sum(closed.at(y, *theta)[0] ** 2))(x)

    if low is None:
        return implicit(x, slope, closed.theta), steps, status

    def zero(x: Any, *theta: Any) -> Any:
        return projected(x, slope(x, *theta[:-2]), *theta[-2:])

    return implicit(x, zero, [*closed.theta, trace.lift(low), trace.lift(high)]), steps, status


def _pair_of_bounds(bounds: Any, n: int) -> tuple[Any, Any]:
    """Bounds of ``least_squares`` as two arrays; None where there are none."""
    if not isinstance(bounds, scipy.optimize.Bounds):
        low, high = bounds
        if all(isinstance(b, (int, float)) and np.isinf(b) for b in (low, high)):
            return None, None
        bounds = list(zip(*(jnp.broadcast_to(jnp.asarray(b, dtype=float), (n,)) for b in (low, high)), strict=True))
    return limits(bounds, n)


@functools.wraps(scipy.optimize.least_squares)
def least_squares(
    fun: Any, x0: Any, jac: Any = "2-point", bounds: Any = (-np.inf, np.inf), method: Any = "trf", ftol: Any = 1e-8,
    xtol: Any = 1e-8, gtol: Any = 1e-8, x_scale: Any = None, loss: Any = "linear", f_scale: Any = 1.0,
    diff_step: Any = None, tr_solver: Any = None, tr_options: Any = None, jac_sparsity: Any = None,
    max_nfev: Any = None, verbose: Any = 0, args: Any = (), kwargs: Any = None, callback: Any = None,
    workers: Any = None,
) -> Any:  # fmt: skip
    """By the method of Levenberg and Marquardt, whichever is asked for. ``success`` is a traced bool."""
    named = dict(kwargs or {})
    value = called(functools.partial(fun, **named) if named else fun, args)
    if is_static(value, x0, args, named, bounds, vector=True):
        others = {"x_scale": x_scale, "tr_options": tr_options, "callback": callback, "workers": workers}
        return plain(
            scipy.optimize.least_squares, fun, x0, jac, bounds, method, ftol, xtol, gtol, loss=loss, f_scale=f_scale,
            diff_step=diff_step, tr_solver=tr_solver, jac_sparsity=jac_sparsity, max_nfev=max_nfev, verbose=verbose,
            args=args, kwargs=named, **{name: x for name, x in others.items() if x is not None},
        )  # fmt: skip
    refuse("least_squares", "callback", callback, "The loop is compiled. Leave it out.")
    if loss != "linear":
        refuse("least_squares", "loss", loss, "It takes the linear loss. Minimise the loss with minimize.")
    own = called(functools.partial(jac, **named) if named else jac, args) if callable(jac) else None
    system = _system("least_squares", value, own, x0, pair=False)
    n = system.start.shape[0]
    ends = _pair_of_bounds(bounds, n)
    tolerances = [0.0 if t is None else t for t in (ftol, xtol, gtol)]
    x, steps, status = _fitted(system, ends, tolerances, max_nfev or 100 * n)
    r, j = system.closed(x)
    g = r @ j
    held = np.zeros(n, dtype=int) if ends[0] is None else jnp.where(x <= ends[0], -1, jnp.where(x >= ends[1], 1, 0))
    return OptimizeResult(
        x=x, cost=0.5 * jnp.sum(r * r), fun=r, jac=j, grad=g, optimality=jnp.max(jnp.abs(projected(x, g, *ends))),
        active_mask=held, nfev=steps + 1, njev=steps + 1, status=status, success=status > 0, message=_DONE,
    )  # fmt: skip


@functools.wraps(scipy.optimize.leastsq)
def leastsq(
    func: Any, x0: Any, args: Any = (), Dfun: Any = None, full_output: Any = False, col_deriv: Any = False,
    ftol: Any = 1.49012e-8, xtol: Any = 1.49012e-8, gtol: Any = 0.0, maxfev: Any = 0, epsfcn: Any = None,
    factor: Any = 100, diag: Any = None,
) -> Any:  # fmt: skip
    fun = called(func, args)
    if is_static(fun, x0, args, vector=True):
        return plain(
            scipy.optimize.leastsq, func, x0, args, Dfun, full_output, col_deriv, ftol, xtol, gtol, maxfev, epsfcn,
            factor, diag,
        )  # fmt: skip
    refuse("leastsq", "full_output", full_output or None, "Use least_squares.")
    system = _system("leastsq", fun, None, x0, pair=False)
    x, _, status = _fitted(system, (None, None), (ftol, xtol, gtol), maxfev or 100 * (system.start.shape[0] + 1))
    return x, jnp.where(status > 0, status, 5)


def _first_guess(f: Any, bounds: Any) -> Any:
    """SciPy's: ones, and with bounds the middle, or 1 within the one that there is."""
    parameters = inspect.signature(f).parameters.values()
    n = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) - 1
    if n < 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise ValueError("Unable to determine number of fit parameters.")
    low, high = _pair_of_bounds(bounds, n)
    if low is None:
        return np.ones(n)
    left, right = jnp.isfinite(low), jnp.isfinite(high)
    a, b = jnp.where(left, low, 0.0), jnp.where(right, high, 0.0)
    return jnp.where(left & right, 0.5 * (a + b), jnp.where(left, a + 1, jnp.where(right, b - 1, 1.0)))


@functools.wraps(scipy.optimize.curve_fit)
def curve_fit(
    f: Any, xdata: Any, ydata: Any, p0: Any = None, sigma: Any = None, absolute_sigma: Any = False,
    check_finite: Any = None, bounds: Any = (-np.inf, np.inf), method: Any = None, jac: Any = None, *,
    full_output: Any = False, nan_policy: Any = None, **kwargs: Any,
) -> Any:  # fmt: skip
    """The Jacobian is that of forward mode, also where one is given."""
    guess = _first_guess(f, bounds) if p0 is None else p0
    points = jnp.asarray(xdata, dtype=float) if isinstance(xdata, (list, tuple)) else xdata
    run = callee(f)

    def model(p: Any) -> Any:
        return run(points, *p)

    if is_static(model, guess, xdata, ydata, sigma, bounds, vector=True):
        return plain(
            scipy.optimize.curve_fit, f, xdata, ydata, p0, sigma, absolute_sigma, check_finite, bounds, method, jac,
            full_output=full_output, nan_policy=nan_policy, **kwargs,
        )  # fmt: skip
    refuse("curve_fit", "full_output", full_output or None, "Use least_squares.")
    y = jnp.asarray(ydata, dtype=float)
    sizes = None if sigma is None else jnp.asarray(sigma, dtype=float)

    def residuals(p: Any) -> Any:
        r = (jnp.asarray(model(p), dtype=float) - y).reshape((-1,))
        if sizes is None:
            return r
        if sizes.ndim == 2:
            return jsp.linalg.solve_triangular(jnp.linalg.cholesky(sizes), r, lower=True)
        return r / sizes

    system = _system("curve_fit", residuals, None, guess, pair=False)
    n = system.start.shape[0]
    ends = _pair_of_bounds(bounds, n)
    most = kwargs.get("max_nfev") or kwargs.get("maxfev") or 200 * (n + 1)
    p, _, status = _fitted(system, ends, [kwargs.get(t, 1e-8) for t in ("ftol", "xtol", "gtol")], most)
    trace = current_trace()
    assert trace is not None
    p = required(trace, status > 0, p, lambda: RuntimeError("Optimal parameters not found: too many iterations."))
    return p, _covariance(*system.closed(p), absolute=bool(absolute_sigma))


def _covariance(r: Any, j: Any, *, absolute: bool) -> Any:
    """Of the parameters, from the residuals and their Jacobian."""
    m, n = j.shape
    inverse = jnp.linalg.pinv(j)
    cov = inverse @ inverse.T
    if absolute:
        return cov
    if m > n:
        return cov * (jnp.sum(r * r) / (m - n))
    warnings.warn("Covariance of the parameters could not be estimated", OptimizeWarning, stacklevel=2)
    return jnp.full((n, n), np.inf)


@functools.wraps(scipy.optimize.nnls)
def nnls(A: Any, b: Any, *, maxiter: Any = None, atol: Any = None) -> Any:
    def fun(x: Any) -> Any:
        return jnp.asarray(A, dtype=float) @ x - jnp.asarray(b, dtype=float)

    n = np.shape(A)[1] if isinstance(A, (list, np.ndarray)) else A.shape[1]
    if is_static(fun, np.zeros(n), A, b, vector=True):
        return plain(scipy.optimize.nnls, A, b, maxiter=maxiter)
    system = _system("nnls", fun, lambda x: jnp.asarray(A, dtype=float), np.zeros(n), pair=False)
    trace = current_trace()
    assert trace is not None
    ends = (jnp.zeros(n), jnp.full((n,), np.inf))
    x, _, status = _fitted(system, ends, (0.0, 1e-14, 0.0), maxiter or 10 * n + 100)
    x = required(trace, status > 0, x, lambda: RuntimeError("Maximum number of iterations reached."))
    return x, jnp.linalg.norm(system.closed(x)[0])


#: SciPy's functions, and ours.
LEAST_SQUARES: dict[Any, Callable[..., Any]] = {
    scipy.optimize.fsolve: fsolve,
    scipy.optimize.root: root,
    scipy.optimize.least_squares: least_squares,
    scipy.optimize.leastsq: leastsq,
    scipy.optimize.curve_fit: curve_fit,
    scipy.optimize.nnls: nnls,
}
