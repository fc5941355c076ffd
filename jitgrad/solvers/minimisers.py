"""``scipy.optimize.minimize`` and ``minimize_scalar``.

All methods that use gradients are one: BFGS with a search for Wolfe's conditions (J. Nocedal, S. J. Wright, Numerical
Optimization, 2006, algorithms 3.5 and 6.1), on the variables that no bound holds (D. P. Bertsekas, SIAM Journal on
Control and Optimization 20, 1982). It ends where SciPy's BFGS does, by ``gtol``, so the minimum agrees to that
tolerance, and where it is one of several it may be another. The gradient is ``jac``, or that of reverse mode. In the
derivative of the minimum the Hessian is exact, by forward mode of the gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from scipy.optimize import OptimizeResult

import jitgrad.numpy as jnp
from jitgrad.api import grad, stop_gradient, value_and_grad
from jitgrad.errors import ArgumentError, UnsupportedError
from jitgrad.frontend.control_flow import current_trace
from jitgrad.frontend.required import recorded, required
from jitgrad.ir.location import user_location
from jitgrad.solvers.implicit import Closed, called, implicit, is_static, plain

_METHODS = frozenset(
    ("bfgs", "cg", "newton-cg", "l-bfgs-b", "tnc", "slsqp", "dogleg", "trust-ncg", "trust-krylov", "trust-exact",
     "trust-constr")
)  # fmt: skip
_DONE = "Optimization terminated where the gradient is small, or not: see success."
#: Trials of a line search.
_TRIALS = 60


@recorded
def _bfgs(fg: Any, x: Any, lo: Any, hi: Any, gtol: Any, maxiter: Any) -> Any:
    """The minimum, the inverse Hessian, numbers of iterations and of calls, whether the gradient is small, and whether
    a line search has failed. Bounds are None where there are none."""
    f, g = fg(x)
    inverse = np.eye(len(x)) + 0.0 * f
    steps, calls, failed = 0, 1, f != f
    small = np.max(abs(projected(x, g, lo, hi))) <= gtol
    while not small and not failed and steps < maxiter:
        d = _direction(inverse, x, g, lo, hi)
        share, low, high, trials, good = (
            np.where(steps == 0, 1 / np.maximum(1.0, np.sum(abs(g))), 1.0),
            0.0,
            np.inf,
            0,
            False,
        )
        new, fnew, gnew = x, f, g
        while not good and trials < _TRIALS:
            new = clipped(x + share * d, lo, hi)
            fnew, gnew = fg(new)
            down, up = g @ (new - x), gnew @ (new - x)
            # The second one, of Hager and Zhang (2005), holds where f is flat to rounding.
            falls = (fnew <= f + 1e-4 * down) | ((fnew <= f + 1e-14 * abs(f)) & (up <= -0.9998 * down))
            steep = (up < 0.9 * down) & (lo is None)
            good = falls & ~steep
            high, low = np.where(falls, high, share), np.where(falls & steep, share, low)
            share = np.where(good, share, np.where(np.isfinite(high), 0.5 * (low + high), 2.0 * share))
            trials += 1
        failed = ~good
        s, y = new - x, gnew - g
        inverse = _updated(inverse, s, y, steps)
        better = good | (fnew < f)
        x, f, g = np.where(better, new, x), np.where(better, fnew, f), np.where(better, gnew, g)
        small = np.max(abs(projected(x, g, lo, hi))) <= gtol
        calls, steps = calls + trials, steps + 1
    return x, inverse, steps, calls, small, failed


def _updated(inverse: Any, s: Any, y: Any, steps: Any) -> Any:
    """After a step; as it is where the curvature along the step is not positive. The first step gives its scale."""
    curvature, size = s @ y, y @ y
    ok = curvature > 1e-16 * jnp.sqrt((s @ s) * size)
    safe = jnp.where(ok, curvature, 1.0)
    eye = np.eye(inverse.shape[0])
    inverse = jnp.where(ok & (steps == 0), curvature / jnp.where(size > 0, size, 1.0) * eye, inverse)
    left = eye - jnp.outer(s, y) / safe
    return jnp.where(ok, left @ inverse @ left.T + jnp.outer(s, s) / safe, inverse)


def clipped(x: Any, lo: Any, hi: Any) -> Any:
    return x if lo is None else jnp.clip(x, lo, hi)


def projected(x: Any, g: Any, lo: Any, hi: Any) -> Any:
    """The gradient; with bounds the step that it takes within them, which is 0 at a minimum."""
    if lo is None:
        return g
    to = x - g
    return x - jnp.where(to < lo, lo, jnp.where(to > hi, hi, to))


def _direction(inverse: Any, x: Any, g: Any, lo: Any, hi: Any) -> Any:
    """Newton's, of the variables that no bound holds: the inverse of their part of the Hessian is a Schur complement
    in the inverse of the whole."""
    if lo is None:
        return -(inverse @ g)
    held = jnp.where(((x <= lo) & (g > 0)) | ((x >= hi) & (g < 0)), 1.0, 0.0)
    free = 1.0 - held
    step = inverse @ (free * g)
    part = inverse * jnp.outer(held, held) + jnp.diag(free)
    return -free * (step - inverse @ (held * jnp.linalg.solve(part, held * step)))


def limits(bounds: Any, n: int) -> tuple[Any, Any]:
    """The bounds as two arrays; None where there are none."""
    if bounds is None:
        return None, None
    if isinstance(bounds, scipy.optimize.Bounds):
        low, high = bounds.lb, bounds.ub
    else:
        pairs = list(bounds)
        if len(pairs) != n:
            raise ValueError("The number of bounds is not compatible with the length of `x0`.")
        low = [-np.inf if pair[0] is None else pair[0] for pair in pairs]
        high = [np.inf if pair[1] is None else pair[1] for pair in pairs]
    return tuple(jnp.broadcast_to(jnp.asarray(b, dtype=float), (n,)) * 1.0 for b in (low, high))


def refuse(name: str, argument: str, value: Any, why: str) -> None:
    """Raise UnsupportedError for an argument that is given."""
    if value is None or (isinstance(value, (tuple, list)) and not value):
        return
    raise UnsupportedError(
        f"scipy.optimize.{name} with {argument}= is not supported on traced values. {why}", user_location()
    )


def _with_gradient(value: Callable[[Any], Any], both: Callable[[Any], Any], jac: Any, args: Any) -> Any:
    """The objective and its gradient: by ``jac``, or in reverse mode."""

    def number(x: Any) -> Any:
        return jnp.asarray(value(x), dtype=float).reshape(())

    def run(x: Any) -> Any:
        if jac is True:
            f, g = both(x)
        elif callable(jac):
            f, g = number(x), called(jac, args)(x)
        else:
            f, g = value_and_grad(number)(x)
        return jnp.asarray(f, dtype=float).reshape(()) * 1.0, jnp.asarray(g, dtype=float).reshape(x.shape) * 1.0

    return run


@functools.wraps(scipy.optimize.minimize)
def minimize(
    fun: Any, x0: Any, args: Any = (), method: Any = None, jac: Any = None, hess: Any = None, hessp: Any = None,
    bounds: Any = None, constraints: Any = (), tol: Any = None, callback: Any = None, options: Any = None,
) -> Any:  # fmt: skip
    """``success`` is a traced bool, and ``status`` 0, 1 (too many iterations) or 2 (no smaller value found)."""
    both = called(fun, args)
    value = (lambda x: both(x)[0]) if jac is True else both
    if is_static(value, x0, args, bounds, vector=True):
        return plain(
            scipy.optimize.minimize, fun, x0, args, method, jac, hess, hessp, bounds, constraints, tol, callback,
            options,
        )  # fmt: skip
    trace = current_trace()
    assert trace is not None
    if method is not None and (callable(method) or method.lower() not in _METHODS):
        raise UnsupportedError(
            f"scipy.optimize.minimize with method={method!r} is not supported on traced values. It has the methods "
            "that use gradients, all as BFGS. Leave it out, or minimise outside of the traced function.",
            user_location(),
        )
    refuse("minimize", "constraints", constraints, "It takes bounds. Put the constraints into the variables.")
    refuse("minimize", "callback", callback, "The loop is compiled. Leave it out.")
    x = jnp.atleast_1d(jnp.asarray(x0, dtype=float))
    if x.ndim != 1:
        raise ValueError("'x0' must only have one dimension.")
    x = stop_gradient(trace.lift(x * 1.0))
    n = x.shape[0]

    closed = Closed(_with_gradient(value, both, jac, args), x, name="minimize")
    low, high = limits(bounds, n)
    given = dict(options or {})
    gtol = given.get("gtol", 1e-5 if tol is None else tol)
    ends = (None, None) if low is None else (stop_gradient(trace.lift(low)), stop_gradient(trace.lift(high)))
    start = clipped(x, *ends)
    found = _bfgs(closed.fixed, start, *ends, gtol, given.get("maxiter") or 200 * n)
    x, inverse, steps, calls, small, failed = found

    def zero(x: Any, *theta: Any) -> Any:
        if low is None:
            return closed.at(x, *theta)[1]
        return projected(x, closed.at(x, *theta[:-2])[1], *theta[-2:])

    theta = closed.theta if low is None else [*closed.theta, trace.lift(low), trace.lift(high)]
    x = implicit(x, zero, theta)
    f, g = closed(x)
    status = jnp.where(small, 0, jnp.where(failed, 2, 1))
    return OptimizeResult(
        x=x, fun=f, jac=g, hess_inv=stop_gradient(inverse), nit=steps, nfev=calls, njev=calls, success=small,
        status=status, message=_DONE,
    )  # fmt: skip


@recorded
def _bracket(f: Any, a: Any, b: Any, most: Any) -> Any:
    """Three points, the middle one the lowest, by steps downhill; how many there were, and whether that was found."""
    fa, fb = f(a), f(b)
    up = fa < fb
    a, b, fb = np.where(up, b, a), np.where(up, a, b), np.where(up, fa, fb)
    c = b + 1.618034 * (b - a)
    fc = f(c)
    steps = 3
    while fc < fb and steps < most:
        a, b, fb = b, c, fc
        c = b + 1.618034 * (b - a)
        fc = f(c)
        steps += 1
    return a, b, c, steps, ~(fc < fb)


@recorded
def _brent(f: Any, low: Any, high: Any, x: Any, rtol: Any, atol: Any, maxiter: Any) -> Any:
    """R. P. Brent, Algorithms for Minimization without Derivatives, 1973, chapter 5: golden sections, and parabolas
    through the three lowest points ``x``, ``w``, ``v``."""
    w, v, fx = x, x, f(x)
    fw, fv, last, before, steps = fx, fx, 0.0, 0.0, 0
    middle, least = 0.5 * (low + high), rtol * abs(x) + atol
    while abs(x - middle) > 2 * least - 0.5 * (high - low) and steps < maxiter:
        r, q = (x - w) * (fx - fv), (x - v) * (fx - fw)
        p, q = (x - v) * q - (x - w) * r, 2 * (q - r)
        p, q = np.where(q > 0, -p, p), abs(q)
        fits = (abs(before) > least) & (abs(p) < abs(0.5 * q * before)) & (p > q * (low - x)) & (p < q * (high - x))
        parabola = p / np.where(fits, q, 1.0)
        near = (x + parabola - low < 2 * least) | (high - x - parabola < 2 * least)
        parabola = np.where(near, np.where(x < middle, least, -least), parabola)
        rest = np.where(x >= middle, low - x, high - x)
        step = np.where(fits, parabola, 0.381966011250105 * rest)
        before = np.where(fits, last, rest)
        last = step
        u = x + np.where(abs(step) >= least, step, np.where(step > 0, least, -least))
        fu = f(u)
        lower = fu <= fx
        high = np.where(lower, np.where(u >= x, high, x), np.where(u < x, high, u))
        low = np.where(lower, np.where(u >= x, x, low), np.where(u < x, u, low))
        second = ~lower & ((fu <= fw) | (w == x))
        third = ~lower & ~second & ((fu <= fv) | (v == x) | (v == w))
        v, fv = (
            np.where(lower | second, w, np.where(third, u, v)),
            np.where(lower | second, fw, np.where(third, fu, fv)),
        )
        w, fw = np.where(lower, x, np.where(second, u, w)), np.where(lower, fx, np.where(second, fu, fw))
        x, fx = np.where(lower, u, x), np.where(lower, fu, fx)
        middle, least = 0.5 * (low + high), rtol * abs(x) + atol
        steps += 1
    return x, steps, abs(x - middle) <= 2 * least - 0.5 * (high - low)


@functools.wraps(scipy.optimize.minimize_scalar)
def minimize_scalar(
    fun: Any, bracket: Any = None, bounds: Any = None, args: Any = (), method: Any = None, tol: Any = None,
    options: Any = None,
) -> Any:  # fmt: skip
    """Brent's method, whichever is asked for, from a bracket that is found without parabolas."""
    value = called(fun, args)
    start = bounds if bounds is not None else bracket if bracket is not None else (0.0, 1.0)
    if is_static(value, start[0], args, bracket, bounds, tol):
        return plain(scipy.optimize.minimize_scalar, fun, bracket, bounds, args, method, tol, options)
    trace = current_trace()
    assert trace is not None
    method = (("brent" if bounds is None else "bounded") if method is None else method).lower()
    if method not in ("brent", "golden", "bounded"):
        raise ValueError(f"Unknown solver {method}")
    if (bounds is None) == (method == "bounded"):
        raise ValueError(f"The `bounds` parameter goes with method 'bounded', and the method is {method!r}.")
    points = [trace.lift(jnp.asarray(x, dtype=float).reshape(()) * 1.0) for x in start]
    fixed = [stop_gradient(x) for x in points]
    closed = Closed(lambda x: jnp.asarray(value(x), dtype=float).reshape(()) * 1.0, points[0], name="minimize_scalar")
    given = dict(options or {})
    limit, calls = given.get("maxiter") or 500, 1
    if method == "bounded":
        low, high = fixed
        low = required(trace, low <= high, low, lambda: ValueError("The lower bound exceeds the upper bound."))
        first, tolerances = low + 0.381966011250105 * (high - low), (1.5e-8, given.get("xatol", tol or 1e-5) / 3)
    else:
        low, first, high, calls = _bracketed_minimum(closed.fixed, fixed)
        tolerances = (given.get("xtol", tol or 1.48e-8), 1e-11)
    low, high = jnp.minimum(low, high), jnp.maximum(low, high)
    x, steps, done = _brent(closed.fixed, low, high, first, *tolerances, limit)

    def zero(x: Any, *theta: Any) -> Any:
        if method != "bounded":
            return grad(lambda y: closed.at(y, *theta))(x)
        return projected(x, grad(lambda y: closed.at(y, *theta[:-2]))(x), *theta[-2:])

    theta = [*closed.theta, *points] if method == "bounded" else closed.theta
    x = implicit(x, zero, theta, elementwise=True)
    return OptimizeResult(
        x=x, fun=closed(x), nit=steps, nfev=steps + calls, success=done, status=jnp.where(done, 0, 1), message=_DONE,
    )  # fmt: skip


def _bracketed_minimum(f: Any, points: list[Any]) -> tuple[Any, Any, Any, Any]:
    """A bracket, from two points or three, and how many calls that took. Raises RuntimeError when it runs."""
    trace = current_trace()
    assert trace is not None
    if len(points) not in (2, 3):
        raise ArgumentError("scipy.optimize.minimize_scalar: a bracket has two points or three.", user_location())
    if len(points) == 3:
        a, b, c = points
        inside = (f(b) < f(a)) & (f(b) < f(c)) & (((a < b) & (b < c)) | ((a > b) & (b > c)))
        b = required(trace, inside, b, lambda: ValueError("Bracketing values do not fulfill the bracketing property."))
        return a, b, c, 3
    a, b, c, calls, found = _bracket(f, *points, 1000)
    b = required(trace, found, b, lambda: RuntimeError("The algorithm terminated without finding a valid bracket."))
    return a, b, c, calls


#: SciPy's functions, and ours.
MINIMISERS: dict[Any, Callable[..., Any]] = {
    scipy.optimize.minimize: minimize,
    scipy.optimize.minimize_scalar: minimize_scalar,
}
