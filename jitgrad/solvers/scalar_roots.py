"""``scipy.optimize``: roots of functions of one variable, ``bisect`` to ``toms748``, ``newton`` and ``root_scalar``.

All bracketing methods are Chandrupatla's (T. R. Chandrupatla, Advances in Engineering Software 28, 1997): inverse
quadratic interpolation where that is safe, and bisection elsewhere. Roots agree with SciPy's to the tolerances;
numbers of iterations do not, and of several roots in a bracket another may be found.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.optimize
from scipy.optimize import RootResults

import jitgrad.numpy as jnp
from jitgrad.api import stop_gradient
from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend.control_flow import callee, current_trace
from jitgrad.frontend.required import recorded, required
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.solvers.implicit import Closed, called, implicit, is_static, plain

_XTOL, _RTOL, _MAXITER = 2e-12, 8.881784197001252e-16, 100
_BRACKETING = ("bisect", "brentq", "brenth", "ridder", "toms748")


@recorded
def _bracketed(f: Any, a: Any, fa: Any, b: Any, fb: Any, xtol: Any, rtol: Any, maxiter: Any) -> Any:
    """The root, the number of iterations, and whether it is within the tolerance."""
    c, fc, share, steps = a, fa, 0.5, 0
    done = (fa == 0) | (fb == 0)
    while not done and steps < maxiter:
        x = a + share * (b - a)
        fx = f(x)
        same = np.sign(fx) == np.sign(fa)
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        best = np.where(abs(fa) < abs(fb), a, b)
        limit = 0.5 * (xtol + rtol * abs(best)) / abs(b - a)
        done = (limit > 0.5) | (fa == 0) | np.isnan(fa)
        xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
        inside = (phi * phi < xi) & ((1 - phi) ** 2 < 1 - xi)
        wanted = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        wanted = np.where(inside & np.isfinite(wanted), wanted, 0.5)
        share = np.minimum(1 - limit, np.maximum(limit, wanted))
        steps += 1
    return np.where(np.isnan(fa) | (abs(fa) < abs(fb)), a, b), steps, done, np.isnan(fa)


def _number(name: str, x: Any) -> Any:
    """A number as a float, which is not a Python number."""
    x = jnp.asarray(x, dtype=float)
    if x.size != 1:
        raise ShapeError(
            f"scipy.optimize.{name} has a value of shape {x.shape} where it needs a number. Solve for one root at a "
            "time, or under jg.vmap.",
            user_location(),
        )
    return x.reshape(())


def _in_bracket(
    name: str, f: Any, ends: Sequence[Any], args: Any, tolerances: Sequence[Any], *, strict: bool
) -> tuple[Any, Any, Any]:
    """The root, iterations, whether it is found; ``strict``: what is not found is an error. ``tolerances`` are xtol,
    rtol and the greatest number of iterations."""
    xtol, rtol, maxiter = tolerances
    trace = current_trace()
    assert trace is not None
    fun = called(f, args)
    a, b = (stop_gradient(trace.lift(_number(name, x))) for x in ends)
    closed = Closed(lambda x: _number(name, fun(x)), a, name=name)
    _tolerances(xtol, rtol, maxiter)
    fa, fb = closed.fixed(a), closed.fixed(b)
    a = required(trace, ~(fa * fb > 0), a, lambda: ValueError("f(a) and f(b) must have different signs"))
    x, steps, done, nan = _bracketed(closed.fixed, a, fa, b, fb, xtol, rtol, maxiter)
    x = required(trace, ~nan, x, lambda: ValueError("The function value at x is NaN; solver cannot continue."))
    if strict:
        x = required(trace, done, x, lambda: RuntimeError(f"Failed to converge after {maxiter} iterations."))
    return implicit(x, closed.at, closed.theta, elementwise=True), steps, done


def _tolerances(xtol: Any, rtol: Any, maxiter: Any) -> None:
    """SciPy's errors for tolerances and limits that are known."""
    if not isinstance(xtol, Tracer) and xtol <= 0:
        raise ValueError(f"xtol too small ({xtol:g} <= 0)")
    if not isinstance(rtol, Tracer) and rtol < _RTOL:
        raise ValueError(f"rtol too small ({rtol:g} < {_RTOL:g})")
    if not isinstance(maxiter, Tracer) and maxiter < 1:
        raise ValueError("maxiter must be greater than 0")


def _results(x: Any, steps: Any, done: Any, calls: Any, method: str) -> RootResults:
    found = RootResults(x, steps, calls, 0, method)
    found["converged"] = done
    return found


def _bracketing(original: Callable[..., Any], *, first: int = 0) -> Callable[..., Any]:
    """SciPy's function; ``first`` parameters stand between ``args`` and ``xtol``."""
    name = original.__name__

    @functools.wraps(original)
    def run(f: Any, a: Any, b: Any, args: Any = (), *rest: Any, **options: Any) -> Any:
        if is_static(called(f, args), a, b, args, *rest, *options.values()):
            return plain(original, f, a, b, args, *rest, **options)
        options.pop("k", None)
        names = ("xtol", "rtol", "maxiter", "full_output", "disp")
        given = dict(zip(names, rest[first:], strict=False)) | options
        tolerances = given.get("xtol", _XTOL), given.get("rtol", _RTOL), given.get("maxiter", _MAXITER)
        x, steps, done = _in_bracket(name, f, (a, b), args, tolerances, strict=given.get("disp", True))
        return (x, _results(x, steps, done, steps + 2, name)) if given.get("full_output", False) else x

    return run


@recorded
def _newton(f: Any, fprime: Any, fprime2: Any, x: Any, tol: Any, rtol: Any, maxiter: Any) -> Any:
    """Newton's method, or Halley's, element by element, with SciPy's steps and end. Returns what is found, the number
    of iterations, and what has converged."""
    done, steps, lost = np.zeros(x.shape, dtype=bool), 0, np.zeros(x.shape, dtype=bool)
    while steps < maxiter and not np.all(done | lost):
        at, down = f(x), fprime(x)
        done = done | (~lost & (at == 0))
        lost = lost | (~done & (down == 0))
        step = at / np.where(down == 0, 1.0, down)
        if fprime2 is not None:
            change = 0.5 * step * fprime2(x) / np.where(down == 0, 1.0, down)
            step = step / np.where(abs(change) < 1, 1 - change, 1.0)
        new = np.where(done | lost, x, x - step)
        done = done | (~lost & (abs(new - x) <= tol + rtol * abs(x)))
        x = new
        steps += 1
    return x, steps, done


@recorded
def _secant(f: Any, x0: Any, x1: Any, tol: Any, rtol: Any, maxiter: Any) -> Any:
    """The method of secants, as ``_newton``."""
    f0, f1 = f(x0), f(x1)
    swap = abs(f1) < abs(f0)
    x0, x1 = np.where(swap, x1, x0), np.where(swap, x0, x1)
    f0, f1 = np.where(swap, f1, f0), np.where(swap, f0, f1)
    done, steps, lost = np.zeros(x0.shape, dtype=bool), 0, np.zeros(x0.shape, dtype=bool)
    while steps < maxiter and not np.all(done | lost):
        flat = f1 == f0
        lost = lost | (~done & flat & (x1 != x0))
        steep = abs(f1) > abs(f0)
        ratio = np.where(steep, f0, f1) / np.where(flat, 1.0, np.where(steep, f1, f0))
        new = (np.where(steep, x0, x1) - ratio * np.where(steep, x1, x0)) / np.where(flat, 1.0, 1 - ratio)
        new = np.where(flat, 0.5 * (x0 + x1), new)
        still = done | lost
        close = flat | (abs(new - x1) <= tol + rtol * abs(x1))
        x0, f0 = np.where(still, x0, x1), np.where(still, f0, f1)
        x1 = np.where(still, x1, new)
        done = done | (~lost & close)
        f1 = f(x1)
        steps += 1
    return x1, steps, done


def _second(x: Any) -> Any:
    """SciPy's second point of the secant."""
    return x * (1 + 1e-4) + jnp.where(x >= 0, 1e-4, -1e-4)


def _by_derivatives(
    f: Any, x0: Any, fprime: Any, args: Any, tol: Any, maxiter: Any, fprime2: Any, x1: Any, rtol: Any, *, strict: bool
) -> Any:
    """The root, the number of iterations and of calls, and what has converged."""
    trace = current_trace()
    assert trace is not None
    if not isinstance(tol, Tracer) and tol <= 0:
        raise ValueError(f"tol too small ({tol:g} <= 0)")
    x = stop_gradient(trace.lift(jnp.asarray(x0, dtype=float) * 1.0))

    def of(g: Any) -> Closed:
        fun = called(g, args)
        return Closed(lambda y: jnp.broadcast_to(jnp.asarray(fun(y), dtype=float), x.shape), x, name="newton")

    closed = of(f)
    if fprime is None:
        other = _second(x) if x1 is None else stop_gradient(trace.lift(jnp.asarray(x1, dtype=float) * 1.0))
        if x1 is not None:
            other = required(trace, jnp.all(other != x), other, lambda: ValueError("x1 and x0 must be different"))
        x, steps, done = _secant(closed.fixed, x, other, tol, rtol, maxiter)
        calls = steps + 2
    else:
        further = None if fprime2 is None else of(fprime2).fixed
        x, steps, done = _newton(closed.fixed, of(fprime).fixed, further, x, tol, rtol, maxiter)
        calls = steps * (2 if further is None else 3)
    if strict:
        x = required(trace, jnp.all(done), x, lambda: RuntimeError(
            f"Failed to converge after {maxiter} iterations, or the derivative was zero."
        ))  # fmt: skip
    return implicit(x, closed.at, closed.theta, elementwise=True), steps, calls, done


@functools.wraps(scipy.optimize.newton)
def newton(
    func: Any, x0: Any, fprime: Any = None, args: Any = (), tol: Any = 1.48e-8, maxiter: Any = 50, fprime2: Any = None,
    x1: Any = None, rtol: Any = 0.0, full_output: Any = False, disp: Any = True,
) -> Any:  # fmt: skip
    """An array of roots, too; one that is not found is an error then, where SciPy warns."""
    if is_static(called(func, args), x0, args, x1, tol, rtol):
        return plain(
            scipy.optimize.newton, func, x0, fprime, args, tol, maxiter, fprime2, x1, rtol, full_output=full_output,
            disp=disp,
        )  # fmt: skip
    found = _by_derivatives(func, x0, fprime, args, tol, maxiter, fprime2, x1, rtol, strict=bool(disp))
    x, steps, calls, done = found
    if not full_output:
        return x
    if x.shape:
        return x, done, ~done
    return x, _results(x, steps, done, calls, "secant" if fprime is None else "halley" if fprime2 else "newton")


def _separated(f: Any, fprime: Any, fprime2: Any) -> tuple[Any, Any, Any]:
    """A function, and its derivatives where it returns them too."""
    prepared, parts = callee(f), 1 + (fprime is True) + (fprime2 is True)
    if parts == 1:
        return f, fprime, fprime2
    value, first, second = (lambda *a, k=k: prepared(*a)[k] for k in range(3))
    return value, first if fprime is True else fprime, second if fprime2 is True else fprime2


@functools.wraps(scipy.optimize.root_scalar)
def root_scalar(
    f: Any, args: Any = (), method: Any = None, bracket: Any = None, fprime: Any = None, fprime2: Any = None,
    x0: Any = None, x1: Any = None, xtol: Any = None, rtol: Any = None, maxiter: Any = None, options: Any = None,
) -> Any:  # fmt: skip
    """``converged`` is a traced bool: what has not converged is no error."""
    args = args if isinstance(args, tuple) else (args,)
    value, first, second = _separated(f, fprime or None, fprime2 or None)
    start = x0 if bracket is None else bracket[0]
    if start is None or is_static(called(value, args), start, args, bracket, x0, x1, xtol, rtol):
        return plain(
            scipy.optimize.root_scalar, f, args, method, bracket, fprime, fprime2, x0, x1, xtol, rtol, maxiter, options,
        )  # fmt: skip
    if method is None:
        method = "brentq" if bracket is not None else "halley" if second else "newton" if first else "secant"
    method = method.lower()
    if method in _BRACKETING:
        if bracket is None:
            raise ValueError(f"Bracket needed for {method}")
        limits = (_XTOL if xtol is None else xtol, _RTOL if rtol is None else rtol, maxiter or _MAXITER)
        x, steps, done = _in_bracket(method, value, bracket, args, limits, strict=False)
        return _results(x, steps, done, steps + 2, method)
    if method not in ("newton", "secant", "halley") or x0 is None:
        raise ArgumentError(
            f"scipy.optimize.root_scalar with method={method!r} needs x0 and a method that SciPy has.", user_location()
        )
    if method == "halley" and not second:
        raise ValueError(f"fprime2 must be specified for {method}")
    first = None if method == "secant" else first
    limits = {"tol": 1.48e-8 if xtol is None else xtol, "rtol": 0.0 if rtol is None else rtol}
    x, steps, calls, done = _by_derivatives(
        value, x0, first, args, limits["tol"], maxiter or 50, second if method == "halley" else None, x1,
        limits["rtol"], strict=False,
    )  # fmt: skip
    return _results(x, steps, done, calls, method)


@recorded
def _iterated(f: Any, x: Any, xtol: Any, maxiter: Any, accelerate: Any) -> Any:
    steps, done = 0, np.any(np.zeros(1, dtype=bool))
    while steps < maxiter and not done:
        new = f(x)
        if accelerate:  # Aitken's, as SciPy
            further = f(new)
            second = further - 2.0 * new + x
            new = np.where(second != 0, x - (new - x) ** 2 / np.where(second != 0, second, 1.0), further)
        change = np.where(x != 0, (new - x) / np.where(x != 0, x, 1.0), new)
        done = np.all(abs(change) < xtol)
        x = new
        steps += 1
    return x, done


@functools.wraps(scipy.optimize.fixed_point)
def fixed_point(func: Any, x0: Any, args: Any = (), xtol: Any = 1e-8, maxiter: Any = 500, method: Any = "del2") -> Any:
    if is_static(called(func, args), x0, args, xtol):
        return plain(scipy.optimize.fixed_point, func, x0, args, xtol, maxiter, method)
    trace = current_trace()
    assert trace is not None
    if method not in ("del2", "iteration"):
        raise UnsupportedError(f"scipy.optimize.fixed_point has the methods del2 and iteration, not {method!r}.")
    start = stop_gradient(trace.lift(jnp.asarray(x0, dtype=float) * 1.0))
    fun = called(func, args)
    closed = Closed(lambda x: jnp.asarray(fun(x), dtype=float).reshape(start.shape), start, name="fixed_point")
    x, done = _iterated(closed.fixed, start, xtol, maxiter, method == "del2")
    x = required(trace, done, x, lambda: RuntimeError(f"Failed to converge after {maxiter} iterations."))

    def zero(x: Any, *theta: Any) -> Any:
        return x - closed.at(x.reshape(start.shape), *theta).reshape((-1,))

    return implicit(x.reshape((-1,)), zero, closed.theta).reshape(start.shape)


#: SciPy's functions, and ours.
SCALAR_ROOTS: dict[Any, Callable[..., Any]] = {
    **{getattr(scipy.optimize, name): _bracketing(getattr(scipy.optimize, name)) for name in _BRACKETING[:-1]},
    scipy.optimize.toms748: _bracketing(scipy.optimize.toms748, first=1),
    scipy.optimize.newton: newton,
    scipy.optimize.root_scalar: root_scalar,
    scipy.optimize.fixed_point: fixed_point,
}
