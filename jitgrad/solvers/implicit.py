"""Functions of the user's as graphs of what they close over, and derivatives of solutions by the implicit function
theorem.

A solver runs on constants. What it finds gets its derivative behind it: where ``F(x, theta) = 0``, ``dx`` is
``-(dF/dx)^-1 (dF/dtheta) dtheta``. That rule is itself a function of the solution, whose derivative is the rule again,
so it holds in both modes and to any order. A differentiable step of Newton's method at the solution, the usual way,
would be right to the first order only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import jitgrad.numpy as jnp
from jitgrad.api import grad, jvp, stop_gradient, vmap
from jitgrad.custom import custom_jvp
from jitgrad.errors import UnsupportedError
from jitgrad.frontend.capture import Recorder
from jitgrad.frontend.concrete import adopt, unwrap
from jitgrad.frontend.control_flow import callee, current_trace
from jitgrad.frontend.signature import LeafSpec, flatten, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, has_traced
from jitgrad.ir.location import user_location
from jitgrad.passes.pipeline import prepare
from jitgrad.tracing import current_recorder, declare, run_traced

#: Up to so many directions the derivatives along each stand in the program, and not in a loop.
_FEW = 3


class Closed:
    """A function of arrays as a graph of these and of the traced values that it uses, ``theta``.

    It is traced once. Calls add the graph to the trace that runs.
    """

    def __init__(self, fun: Callable[..., Any], *like: Any, name: str) -> None:
        outer = current_trace()
        assert outer is not None
        xs = [outer.lift(x) for x in like]
        inner = Trace(name, outer.options)
        params = declare(inner, [LeafSpec(x.type) for x in xs], [f"x{k}" for k in range(len(xs))])
        graph, self._tree, _ = run_traced(fun, inner, current_recorder() or Recorder(), params, {}, name)
        notes: list[str] = []
        self._graph = prepare(graph, notes)
        for text in (*inner.notes, *notes):
            outer.note(text)
        self.theta = [x for x, _ in inner.captures]
        self._fixed = [stop_gradient(x) for x in self.theta]
        if any(not isinstance(n, int) for x in self.theta for n in x.dims):
            raise UnsupportedError(
                f"{name} of a function that uses an array whose extent is known only when the program runs. Let it use "
                "arrays of known shapes.",
                user_location(),
            )

    @property
    def has_loops(self) -> bool:
        """Does it have loops or branches?"""
        return any(op.regions for op in self._graph.ops)

    def at(self, *values: Any) -> Any:
        """The function, of its arguments and then of ``theta``."""
        trace = current_trace()
        assert trace is not None
        return unflatten(self._tree, trace.inline(self._graph, values))

    def __call__(self, *xs: Any) -> Any:
        return self.at(*xs, *self.theta)

    def fixed(self, *xs: Any) -> Any:
        """The function for constant ``theta``: what a solver calls, of which there is no derivative."""
        return self.at(*xs, *self._fixed)


def called(fun: Callable[..., Any], args: Any) -> Callable[..., Any]:
    """``fun(x, *args)`` as a function of x, in the form in which the user's functions are run."""
    prepared = callee(fun)
    given = args if isinstance(args, tuple) else (args,)
    return lambda x: prepared(x, *given)


def is_static(fun: Callable[[Any], Any], x: Any, *others: Any, vector: bool = False) -> bool:
    """Does a problem have nothing to do with traced values? Then it is SciPy's to solve, by :func:`plain`. ``vector``:
    the function gets an array of one axis."""
    if current_trace() is None:
        return True
    if has_traced(flatten([x, *others])[0]):
        return False
    point = np.array(unwrap(x), dtype=float)
    return not has_traced(flatten(fun(point.reshape((-1,)) if vector else point[()]))[0])


def plain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """SciPy's function of values, and of functions of the user's, that have nothing to do with traced ones."""
    if current_trace() is None:
        return function(*args, **kwargs)
    return adopt(function(*map(_plain, args), **{name: _plain(x) for name, x in kwargs.items()}))


def _plain(x: Any) -> Any:
    if not callable(x) or isinstance(x, type):
        return unwrap(x)
    prepared = callee(x)

    @functools.wraps(x)
    def run(*args: Any, **kwargs: Any) -> Any:
        return unwrap(prepared(*args, **kwargs))

    return run


def jacobian(fun: Callable[[Any], Any], x: Any) -> Any:
    """``(m, n)``, of a function from ``(n,)`` to ``(m,)``."""

    def along(direction: Any) -> Any:
        return jvp(fun, (x,), (direction,))[1]

    units = np.eye(x.shape[0])
    if len(units) <= _FEW:
        return jnp.stack([along(unit) for unit in units], axis=-1)
    return vmap(along, out_axes=-1)(units)


def slope(fun: Callable[[Any], Any], x: Any) -> Any:
    """The derivative of a function that works element by element."""
    return jvp(fun, (x,), (jnp.ones_like(x),))[1]


def gradient(fun: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Of a function from ``(n,)`` or a number to a number."""
    return grad(fun)


def implicit(x: Any, zero: Callable[..., Any], theta: Sequence[Any], *, elementwise: bool = False) -> Any:
    """``x``, with the derivative of the root of ``zero(x, *theta)`` that it is. Raises LinAlgError, where that is
    computed, for a singular Jacobian."""
    x = stop_gradient(x)
    if not any(isinstance(t, Tracer) and np.dtype(t.dtype).kind == "f" for t in theta):
        return x

    @custom_jvp
    def solution(x: Any, *theta: Any) -> Any:
        return x * 1.0

    @solution.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        x, *theta = primals
        x = solution(*primals)
        moving = [k for k, t in enumerate(tangents[1:]) if t is not None]

        def of(*values: Any) -> Any:
            given = dict(zip(moving, values, strict=True))
            return zero(x, *(given.get(k, t) for k, t in enumerate(theta)))

        change = jvp(of, tuple(theta[k] for k in moving), tuple(tangents[1 + k] for k in moving))[1]
        if elementwise:
            return x, -change / slope(lambda y: zero(y, *theta), x)
        return x, -jnp.linalg.solve(jacobian(lambda y: zero(y, *theta), x), change)

    return solution(x, *theta)


def with_derivative(value: Any, fun: Callable[..., Any], *args: Any) -> Any:
    """``value``, with the derivative of ``fun(*args)``, which is the same but for what was rounded or cut off. Without
    a derivative the function does not run."""

    @custom_jvp
    def same(value: Any, *args: Any) -> Any:
        return value * 1.0

    @same.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        moving = [k for k, t in enumerate(tangents[1:]) if t is not None]

        def of(*values: Any) -> Any:
            given = dict(zip(moving, values, strict=True))
            return fun(*(given.get(k, x) for k, x in enumerate(primals[1:])))

        points = tuple(primals[1 + k] for k in moving)
        return same(*primals), jvp(of, points, tuple(tangents[1 + k] for k in moving))[1]

    return same(stop_gradient(value), *args)
