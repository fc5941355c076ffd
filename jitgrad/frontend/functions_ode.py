"""``scipy.integrate.solve_ivp`` and ``odeint``: explicit Runge-Kutta methods whose steps are a recorded ``while`` loop.

The step control is that of SciPy's documentation (E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential
Equations I, sections II.4 and II.6; J. R. Dormand, P. J. Prince, A family of embedded Runge-Kutta formulae, 1980). The
values at the times that are asked for come from the interpolant of the step around them. Derivatives go through the
steps, as those of any program; the sizes of the steps count as constants, as the solution does not depend on them.
They are chosen for the solution: where it misses a fast mode, ``max_step`` makes them small enough for the derivative
with respect to that one. No step is taken beyond the last time that is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.integrate
from scipy.optimize import OptimizeResult

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend.assign import setitem
from jitgrad.frontend.control_flow import and_, callee, current_trace, not_
from jitgrad.frontend.primitives import emit
from jitgrad.frontend.recording import record_for, record_while
from jitgrad.frontend.required import required
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, contains_tracer
from jitgrad.ir.location import user_location

State = tuple[Any, ...]

#: A step is made shorter or longer at most by these factors, and by a little more than the error asks for.
_SHORTEST, _LONGEST, _SAFETY = 0.2, 10.0, 0.9
_EPSILON = float(np.finfo(np.float64).eps)
#: Attempted steps between two output times of ``odeint``, which has a method for stiff equations in SciPy.
_MOST_STEPS = 10_000
#: Room for the steps of ``solve_ivp`` without ``t_eval``.
_ROOM = 4096
_METHODS = {"RK45": scipy.integrate.RK45, "RK23": scipy.integrate.RK23}


class _Dense(NamedTuple):
    """The step that was taken last: where it began, its size, and the derivatives in its stages: ``(stages, n)``."""

    t: Any
    y: Any
    h: Any
    k: Any


class _At(NamedTuple):
    """Where the solver is. ``size`` is the size of the next step; ``calls`` counts those of the function, ``tries`` the
    steps tried."""

    t: Any
    y: Any
    size: Any
    rejected: Any
    failed: Any
    calls: Any
    tries: Any
    dense: _Dense

    def flat(self) -> State:
        return (*self[:-1], *self.dense)

    @staticmethod
    def of(values: Sequence[Any]) -> _At:
        return _At._make((*values[:-4], _Dense._make(values[-4:])))


_NAMES = ("t", "y", "size", "rejected", "failed", "calls", "tries", "t_old", "y_old", "h", "k")


class _Solver(NamedTuple):
    """An initial value problem, and how it is solved. ``slope(t, y)`` is the derivative, of shape ``(n,)``; ``most`` is
    how many steps may be tried for each of the times that are asked for, or None."""

    trace: Trace
    slope: Callable[[Any, Any], Any]
    method: Any
    end: Any
    direction: Any
    rtol: Any
    atol: Any
    longest: Any
    most: int | None

    def begin(self, t: Any, y: Any, slope: Any, first: Any) -> _At:
        """At the initial values, with their derivative; ``first`` is the size of the first step, or None."""
        calls = 1
        if first is None:
            first, calls = self._first_size(t, y, slope), 2
        k = jnp.stack([slope] * (self.method.n_stages + 1))
        size = self.trace.lift(first) * 1.0
        return _At(t, y, size, False, False, calls, 0, _Dense(t, y, size * 1.0, k))

    def _first_size(self, t: Any, y: Any, slope: Any) -> Any:
        """Hairer, Norsett, Wanner I, section II.4."""
        length = _constant(abs(self.end - t))
        scale = self.atol + jnp.abs(y) * self.rtol
        d0, d1 = _size(y / scale), _size(slope / scale)
        small = (d0 < 1e-5) | (d1 < 1e-5)
        h0 = jnp.minimum(jnp.where(small, 1e-6, 0.01 * d0 / jnp.where(small, 1.0, d1)), length)
        other = self.slope(t + h0 * self.direction, y + h0 * self.direction * slope)
        d2 = _size((other - slope) / scale) / h0
        most = jnp.maximum(d1, d2)
        flat = most <= 1e-15
        power = 1.0 / (self.method.error_estimator_order + 1)
        h1 = jnp.where(flat, jnp.maximum(1e-6, h0 * 1e-3), (0.01 / jnp.where(flat, 1.0, most)) ** power)
        sizes = jnp.minimum(jnp.minimum(100 * h0, h1), jnp.minimum(length, self.longest))
        return _constant(sizes)

    def advance(self, at: _At, until: Any) -> _At:
        """Take steps until that time is reached."""

        def test(*values: Any) -> Any:
            now = _At.of(values)
            return and_(
                self.direction * (now.t - until) < 0,
                lambda: and_(not_(now.failed), lambda: self.direction * (now.t - self.end) < 0),
            )

        start = at._replace(tries=0)
        found = record_while(self.trace, test, lambda *v: self.tried(_At.of(v)).flat(), start.flat(), _NAMES)
        return _At.of(found)

    def tried(self, at: _At) -> _At:
        """After one more step is tried."""
        method = self.method
        least = 10 * (_EPSILON * jnp.abs(_constant(at.t)) + 1e-300)
        size = jnp.where(at.rejected, at.size, jnp.minimum(jnp.maximum(at.size, least), self.longest))
        beyond = self.direction * (at.t + size * self.direction - self.end) > 0
        t = jnp.where(beyond, self.end, at.t + size * self.direction)
        h = t - at.t
        y, k = self._step(at.t, at.y, at.dense.k[-1], h)
        scale = self.atol + jnp.maximum(jnp.abs(at.y), jnp.abs(y)) * self.rtol
        error = _size((method.E @ k) * h / scale)
        good = error < 1.0
        power = -1.0 / (method.error_estimator_order + 1)
        wanted = jnp.where(error == 0, _LONGEST, _SAFETY * jnp.where(error == 0, 1.0, error) ** power)
        longer = jnp.minimum(jnp.where(at.rejected, 1.0, _LONGEST), wanted)
        shorter = jnp.where(wanted > _SHORTEST, wanted, _SHORTEST)  # also of an error that is NaN
        taken = _constant(jnp.abs(h))
        new = taken * jnp.where(good, longer, shorter)
        failed = ~good & (new < least)
        if self.most is not None:
            failed = failed | (at.tries + 1 >= self.most)
        dense = _Dense(*(jnp.where(good, a, b) for a, b in zip((at.t, at.y, h, k), at.dense, strict=True)))
        calls = at.calls + method.n_stages
        return _At(jnp.where(good, t, at.t), jnp.where(good, y, at.y), new, ~good, failed, calls, at.tries + 1, dense)

    def _step(self, t: Any, y: Any, slope: Any, h: Any) -> tuple[Any, Any]:
        """The solution after a step, and the derivatives in its stages, the one at its end among them."""
        method, slopes = self.method, [slope]
        for row, c in zip(method.A[1:], method.C[1:], strict=True):
            slopes.append(self.slope(t + float(c) * h, y + h * _combined(row, slopes)))
        y = y + h * _combined(method.B, slopes)
        slopes.append(self.slope(t + h, y))
        return y, jnp.stack(slopes)

    def value(self, dense: _Dense, t: Any) -> Any:
        """The interpolant of a step, at that time."""
        x = (t - dense.t) / dense.h
        powers = jnp.stack([x ** (p + 1) for p in range(self.method.P.shape[1])])
        return dense.y + dense.h * ((self.method.P @ powers) @ dense.k)


def _combined(weights: Any, slopes: Sequence[Any]) -> Any:
    terms = [float(w) * k for w, k in zip(weights, slopes, strict=False) if w]
    return functools.reduce(lambda a, b: a + b, terms)


def _constant(x: Any) -> Any:
    return emit("stop_gradient", x) if isinstance(x, Tracer) else x


def _size(x: Any) -> Any:
    """The root of the mean square, as a constant."""
    x = _constant(x)
    return jnp.sqrt(jnp.mean(x * x))


def _is_static(fun: Callable[..., Any], t: Any, y: Any, args: tuple[Any, ...], *others: Any) -> bool:
    """Does a problem have nothing to do with traced values? Then it is SciPy's to solve."""
    if current_trace() is None:
        return True
    if contains_tracer([t, y, args, *others]):
        return False
    return not contains_tracer(callee(fun)(t, np.atleast_1d(np.asarray(y, dtype=float)), *args))


def _slope(fun: Callable[..., Any], args: tuple[Any, ...], count: int, name: str) -> Callable[[Any, Any], Any]:
    """``fun(t, y, *args)`` as an array of shape ``(n,)``."""
    prepared = callee(fun)

    def slope(t: Any, y: Any) -> Any:
        found = jnp.asarray(prepared(t, y, *args), dtype=float)
        if found.size != count:
            raise ShapeError(
                f"the function that scipy.integrate.{name} solves gives a derivative of shape {found.shape} for "
                f"{count} values. It gives one number for each. Check what it returns.",
                user_location(),
            )
        return found.reshape((count,))

    return slope


def _start(name: str, y0: Any) -> Any:
    y = jnp.asarray(y0)
    if np.dtype(y.dtype).kind == "c":
        raise UnsupportedError(
            f"scipy.integrate.{name} of complex values is not supported in a traced function. Solve for the real and "
            "imaginary parts.",
            user_location(),
        )
    if y.ndim > 1 or (y.ndim == 0 and name == "solve_ivp"):
        raise ShapeError(
            f"scipy.integrate.{name}: y0 has shape {y.shape}. It is an array of one axis. Flatten it.", user_location()
        )
    return y.reshape((-1,)).astype(float) * 1.0


def _refuse(name: str, **arguments: Any) -> None:
    """Raise UnsupportedError for arguments that are given."""
    for argument, value in arguments.items():
        if value is not None and value is not False:
            raise UnsupportedError(
                f"scipy.integrate.{name}: {argument}={value!r} is not supported in a traced function. It has the "
                "explicit methods RK45 and RK23, with values at given times. Leave it out, or solve outside.",
                user_location(),
            )


def _in_order(solver: _Solver, times: Any, begin: Any) -> Any:
    """The times; a program in which they are not in the span, or not sorted, ends with SciPy's errors."""
    end, ahead = solver.end, solver.direction
    inside = jnp.all((ahead * (times - begin) >= 0) & (ahead * (times - end) <= 0))
    times = required(solver.trace, inside, times, lambda: ValueError("Values in `t_eval` are not within `t_span`."))
    increase = jnp.all((ahead * jnp.diff(times) > 0) | (begin == end))
    return required(solver.trace, increase, times, lambda: ValueError("Values in `t_eval` are not properly sorted."))


def _values(solver: _Solver, at: _At, times: Any, name: str) -> tuple[Any, _At]:
    """The solution at some times, in order: ``(len(times), n)``."""
    trace, count = solver.trace, times.shape[0]
    times = trace.lift(times)
    found = jnp.zeros((count, at.y.shape[0]))

    def body(index: Any, out: Any, *values: Any) -> State:
        now = solver.advance(_At.of(values), times[index])
        setitem(out, index, solver.value(now.dense, times[index]))
        return (out, *now.flat())

    found, *values = record_for(trace, 0, count, 1, body, (found, *at.flat()), ("y", *_NAMES), (found,))
    at = _At.of(values)
    found = required(trace, not_(at.failed), found, lambda: RuntimeError(
        f"scipy.integrate.{name}: the step size became too small, or too many steps were needed. The equation may be "
        "stiff, or its solution may not exist so far."
    ))  # fmt: skip
    return found, at


def _all_steps(solver: _Solver, at: _At) -> tuple[Any, Any, _At]:
    """The times of all steps, and the solution there: ``(steps,)`` and ``(steps, n)``."""
    trace, n = solver.trace, at.y.shape[0]
    times, found = jnp.zeros((_ROOM,)), jnp.zeros((_ROOM, n))
    setitem(times, 0, at.t)
    setitem(found, 0, at.y)

    def test(count: Any, times: Any, found: Any, *values: Any) -> Any:
        now = _At.of(values)
        return and_(solver.direction * (now.t - solver.end) < 0, lambda: and_(not_(now.failed), lambda: count < _ROOM))

    def body(count: Any, times: Any, found: Any, *values: Any) -> State:
        now = solver.tried(_At.of(values))
        setitem(times, count, now.t)
        setitem(found, count, now.y)
        return (jnp.where(now.rejected, count, count + 1), times, found, *now.flat())

    state = (1, times, found, *at.flat())
    limits = {0: (1, _ROOM - 1)}
    count, times, found, *values = record_while(
        trace, test, body, state, ("count", "ts", "ys", *_NAMES), (times, found), limits=limits
    )
    at = _At.of(values)
    reached = not_(solver.direction * (at.t - solver.end) < 0)
    found = required(trace, reached, found, lambda: RuntimeError(
        f"scipy.integrate.solve_ivp: the step size became too small, or {_ROOM} steps were needed. The equation may be "
        "stiff. Give t_eval for solutions of more steps."
    ))  # fmt: skip
    return times[:count], found[:count], at


def _solver(slope: Any, method: Any, begin: Any, end: Any, rtol: Any, atol: Any, longest: Any, most: Any) -> _Solver:
    trace = current_trace()
    assert trace is not None
    ahead = jnp.where(end == begin, 1.0, jnp.sign(end - begin))
    rtol = max(rtol, 100 * _EPSILON) if isinstance(rtol, float) else rtol
    longest = longest if longest is not None else np.inf
    return _Solver(trace, slope, method, end, _constant(ahead), _constant(rtol), _constant(atol), longest, most)


@functools.wraps(scipy.integrate.solve_ivp)
def solve_ivp(
    fun: Any,
    t_span: Any,
    y0: Any,
    method: Any = "RK45",
    t_eval: Any = None,
    dense_output: Any = False,
    events: Any = None,
    vectorized: Any = False,
    args: Any = None,
    *,
    rtol: Any = 1e-3,
    atol: Any = 1e-6,
    first_step: Any = None,
    max_step: Any = None,
    **options: Any,
) -> Any:
    """``scipy.integrate.solve_ivp``: raises RuntimeError when it runs where SciPy reports a failure."""
    original = functools.partial(
        scipy.integrate.solve_ivp, fun, t_span, y0, method, t_eval, dense_output, events, vectorized, args,
        rtol=rtol, atol=atol, first_step=first_step, **({} if max_step is None else {"max_step": max_step}), **options,
    )  # fmt: skip
    given = () if args is None else tuple(args)
    if _is_static(fun, t_span[0], y0, given, t_span, t_eval):
        return original()
    y = _start("solve_ivp", y0)
    begin, end = (jnp.asarray(t, dtype=float) * 1.0 for t in t_span)
    slope = _slope(fun, given, y.shape[0], "solve_ivp")
    first = slope(begin, y)
    _refuse("solve_ivp", dense_output=dense_output, events=events, **options)
    kind = _METHODS.get(method, method)
    if kind not in _METHODS.values():
        _refuse("solve_ivp", method=method)
    solver = _solver(slope, kind, begin, end, rtol, atol, max_step, None)
    at = solver.begin(begin, y, first, first_step)
    if t_eval is None:
        times, found, at = _all_steps(solver, at)
    else:
        times = jnp.asarray(t_eval, dtype=float)
        if times.ndim != 1:
            raise ArgumentError("scipy.integrate.solve_ivp: t_eval must be 1-dimensional.", user_location())
        found, at = _values(solver, at, _in_order(solver, times, begin), "solve_ivp")
    return OptimizeResult(
        t=times, y=found.T, sol=None, t_events=None, y_events=None, nfev=at.calls, njev=0, nlu=0, status=0,
        message="The solver successfully reached the end of the integration interval.", success=True,
    )  # fmt: skip


@functools.wraps(scipy.integrate.odeint)
def odeint(
    func: Any,
    y0: Any,
    t: Any,
    args: Any = (),
    Dfun: Any = None,
    col_deriv: Any = 0,
    full_output: Any = 0,
    ml: Any = None,
    mu: Any = None,
    rtol: Any = None,
    atol: Any = None,
    tcrit: Any = None,
    h0: Any = 0.0,
    hmax: Any = 0.0,
    hmin: Any = 0.0,
    ixpr: Any = 0,
    mxstep: Any = 0,
    mxhnil: Any = 0,
    mxordn: Any = 12,
    mxords: Any = 5,
    printmessg: Any = 0,
    tfirst: Any = False,
) -> Any:
    """``scipy.integrate.odeint``, by the method of Dormand and Prince in the place of LSODA.

    Raises RuntimeError when it runs for a problem that needs too many steps, as stiff ones do. Jacobians, and limits of
    LSODA's orders, are not needed."""
    original = functools.partial(
        scipy.integrate.odeint, func, y0, t, args, Dfun, col_deriv, full_output, ml, mu, rtol, atol, tcrit, h0, hmax,
        hmin, ixpr, mxstep, mxhnil, mxordn, mxords, printmessg, tfirst,
    )  # fmt: skip
    given = args if isinstance(args, tuple) else (args,)
    prepared = callee(func)
    ordered = prepared if tfirst else lambda t, y, *a: prepared(y, t, *a)
    if _is_static(ordered, t[0], y0, given, t):
        return original()
    y = _start("odeint", y0)
    times = jnp.asarray(t, dtype=float) * 1.0
    if times.ndim != 1 or not times.shape[0]:
        raise ShapeError("scipy.integrate.odeint: t is an array of one axis, of the times.", user_location())
    slope = _slope(ordered, given, y.shape[0], "odeint")
    first = slope(times[0], y)
    _refuse("odeint", full_output=full_output or None, tcrit=tcrit)
    rtol, atol = (1.49012e-8 if x is None else x for x in (rtol, atol))
    longest = hmax if isinstance(hmax, Tracer) or hmax else None
    solver = _solver(slope, scipy.integrate.RK45, times[0], times[-1], rtol, atol, longest, int(mxstep) or _MOST_STEPS)
    at = solver.begin(times[0], y, first, h0 if isinstance(h0, Tracer) or h0 else None)
    return _values(solver, at, times, "odeint")[0]


#: SciPy's functions, and ours.
SOLVERS: dict[Any, Callable[..., Any]] = {scipy.integrate.solve_ivp: solve_ivp, scipy.integrate.odeint: odeint}
