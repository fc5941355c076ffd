"""``scipy.integrate.quad`` and its kin on traced values, and where the rules of ``scipy.integrate`` are found.

The adaptive rules of QUADPACK (R. Piessens, E. de Doncker-Kapenga, C. W. Ueberhuber, D. K. Kahaner, QUADPACK, 1983): of
Gauss and Kronrod with 21 points, and with 15 for infinite ranges; the interval with the greatest error is halved.
In the place of its extrapolation for singular ends stands more room for intervals. Derivatives, with respect to limits
too, are those of the sum over the intervals that were found.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.integrate
import scipy.special

import jitgrad.numpy as jnp
from jitgrad.api import stop_gradient, vmap
from jitgrad.control import checkpoint
from jitgrad.errors import ShapeError, UnsupportedError
from jitgrad.frontend import functions_integrate
from jitgrad.frontend.control_flow import callee, current_trace
from jitgrad.frontend.required import recorded
from jitgrad.frontend.tracer import Tracer, has_traced
from jitgrad.ir.location import user_location
from jitgrad.solvers.implicit import Closed, called, is_static, plain, with_derivative

_EPSILON = float(np.finfo(np.float64).eps)
#: Room for intervals, where ``limit`` is less.
_ROOM = 200


@functools.cache
def _rule(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The 2n + 1 nodes of Kronrod on [-1, 1], their weights, and those of Gauss, with 0 at the others.

    D. Calvetti, G. H. Golub, W. B. Gragg, L. Reichel, Computation of Gauss-Kronrod quadrature rules, Mathematics of
    Computation 69, 2000, give fast ways. Here the new nodes are the roots of the polynomial of Stieltjes, from its
    moments in Legendre polynomials, and the weights those of interpolation."""
    gauss, weights = np.polynomial.legendre.leggauss(n)
    leg = np.polynomial.legendre
    points, w = leg.leggauss(2 * n + 2)
    values = leg.legvander(points, n + 1)
    # The polynomial is orthogonal, with the weight P_n, to all of degree at most n.
    products = (values * (w * values[:, n])[:, None]).T @ values
    free = np.linalg.lstsq(products[: n + 1, : n + 1], -products[: n + 1, n + 1], rcond=None)[0]
    new = leg.legroots(np.append(free, 1.0))
    nodes = np.sort(np.append(np.real(new), gauss))
    nodes = 0.5 * (nodes - nodes[::-1])
    moments = np.zeros(2 * n + 1)
    moments[0] = 2.0
    kronrod = np.linalg.solve(leg.legvander(nodes, 2 * n).T, moments)
    of_gauss = np.zeros(2 * n + 1)
    of_gauss[1::2] = weights
    return nodes, 0.5 * (kronrod + kronrod[::-1]), of_gauss


def _on_interval(f: Callable[[Any], Any], low: Any, high: Any, n: int) -> tuple[Any, Any]:
    """The integral over an interval, and QUADPACK's estimate of its error."""
    nodes, kronrod, gauss = _rule(n)
    half = 0.5 * (high - low)
    values = vmap(f)(0.5 * (low + high) + half * nodes)
    found = kronrod @ values
    error = jnp.abs((found - gauss @ values) * half)
    size, spread = kronrod @ jnp.abs(values) * half, kronrod @ jnp.abs(values - 0.5 * found) * half
    some = (spread != 0) & (error != 0)
    scaled = spread * jnp.minimum(1.0, (200 * error / jnp.where(some, spread, 1.0)) ** 1.5)
    error = jnp.maximum(jnp.where(some, scaled, error), 50 * _EPSILON * size)
    return found * half, error


@recorded
def _adaptive(rule: Any, edges: Any, epsabs: Any, epsrel: Any, room: Any) -> Any:
    """The integral, the error, the ends of intervals, how many there are, and whether the error is small enough."""
    low, high, values, errors = (jnp.zeros(room) for _ in range(4))
    count = len(edges) - 1
    for k in range(count):
        values[k], errors[k] = rule(edges[k], edges[k + 1])
        low[k], high[k] = edges[k], edges[k + 1]
    total, error = np.sum(values), np.sum(errors)
    done = error <= np.maximum(epsabs, epsrel * abs(total))
    stuck = error != error
    while not done and not stuck and count < room:
        k = np.argmax(errors)
        left, right = low[k], high[k]
        middle = 0.5 * (left + right)
        first, error_first = rule(left, middle)
        second, error_second = rule(middle, right)
        high[k], values[k], errors[k] = middle, first, error_first
        low[count], high[count], values[count], errors[count] = middle, right, second, error_second
        count += 1
        total, error = np.sum(values), np.sum(errors)
        done = error <= np.maximum(epsabs, epsrel * abs(total))
        stuck = (error != error) | (right - left < 1e-12 * right)  # else nodes fall on their ends
    return total, error, low, high, count, done


@recorded
def _sum_over(rule: Any, low: Any, high: Any, count: Any) -> Any:
    total = 0.0
    for k in range(count):
        total = total + rule(low[k], high[k])
    return total


@recorded
def _warn(ok: Any) -> None:
    if not ok:
        warnings.warn(
            "The integral may be inaccurate: the error is estimated to be greater than asked for.",
            scipy.integrate.IntegrationWarning,
            stacklevel=2,
        )


def _is_infinite(x: Any) -> bool:
    return not isinstance(x, Tracer) and bool(np.isinf(x))


def _on_unit(f: Callable[..., Any], a: Any, b: Any) -> tuple[Callable[..., Any], list[Any]]:
    """The integrand as a function of (0, 1], of the limits that are finite, and of what it closes over; and those
    limits. The transformations are QUADPACK's."""
    if not _is_infinite(a) and not _is_infinite(b):
        return lambda t, a, b, *theta: f(a + (b - a) * t, *theta) * (b - a), [a, b]
    sign = 1.0 if _is_infinite(b) and b > 0 else -1.0
    if _is_infinite(a) and _is_infinite(b):
        if (a > 0) == (b > 0):
            return lambda t, *theta: 0.0 * t, []

        def both(t: Any, *theta: Any) -> Any:
            x = (1 - t) / t
            return sign * (f(x, *theta) + f(-x, *theta)) / (t * t)

        return both, []
    upward = (b if _is_infinite(b) else a) > 0
    order = (1.0 if upward else -1.0) if _is_infinite(b) else (-1.0 if upward else 1.0)

    def half(t: Any, end: Any, *theta: Any) -> Any:
        x = (1 - t) / t
        return order * f(end + x if upward else end - x, *theta) / (t * t)

    return half, [a if _is_infinite(b) else b]


def _float(x: Any) -> Any:
    x = jnp.asarray(x, dtype=float)
    if x.size != 1:
        raise ShapeError(
            f"scipy.integrate.quad has a value of shape {x.shape} where it needs a number. Integrate one element at a "
            "time, or under jg.vmap.",
            user_location(),
        )
    return x.reshape(()) * 1.0


@functools.wraps(scipy.integrate.quad)
def quad(
    func: Any, a: Any, b: Any, args: Any = (), full_output: Any = 0, epsabs: Any = 1.49e-8, epsrel: Any = 1.49e-8,
    limit: Any = 50, points: Any = None, weight: Any = None, wvar: Any = None, wopts: Any = None, maxp1: Any = 50,
    limlst: Any = 50, complex_func: Any = False,
) -> Any:  # fmt: skip
    """What is not as accurate as asked for is a warning, as SciPy's."""
    fun = called(func, args)
    if is_static(fun, _inside(a, b), a, b, args, points, epsabs, epsrel):
        return plain(
            scipy.integrate.quad, func, a, b, args, full_output, epsabs, epsrel, limit, points, weight, wvar, wopts,
            maxp1, limlst, complex_func,
        )  # fmt: skip
    for name, value in {"full_output": full_output, "weight": weight, "complex_func": complex_func}.items():
        if value:
            raise UnsupportedError(
                f"scipy.integrate.quad with {name}= is not supported on traced values. Leave it out, or write the "
                "weight into the integrand.",
                user_location(),
            )
    trace = current_trace()
    assert trace is not None
    closed = Closed(lambda x: _float(fun(x)), trace.lift(np.float64(0.5)), name="quad")
    integrand, ends = _on_unit(closed.at, a, b)
    ends = [trace.lift(_float(x)) for x in ends]
    n, theta = 10 if len(ends) == 2 else 7, [*ends, *closed.theta]
    fixed = [stop_gradient(x) for x in theta]
    edges = jnp.asarray([0.0, 1.0])
    if points is not None:
        if n == 7:
            raise ValueError("Infinity inputs cannot be used with break points.")
        inner = jnp.sort(jnp.asarray(points, dtype=float).reshape((-1,)) - fixed[0]) / (fixed[1] - fixed[0])
        inner = jnp.clip(jnp.sort(stop_gradient(inner)), 0.0, 1.0)
        edges = jnp.concatenate([np.zeros(1), inner, np.ones(1)])
    room = max(int(limit), _ROOM) + edges.shape[0]

    def rule(low: Any, high: Any) -> Any:
        return _on_interval(lambda t: integrand(t, *fixed), low, high, n)

    value, error, low, high, count, done = _adaptive(rule, edges, epsabs, epsrel, room)
    _warn(done)

    def whole(low: Any, high: Any, count: Any, *theta: Any) -> Any:
        def part(left: Any, right: Any) -> Any:
            return _on_interval(lambda t: integrand(t, *theta), left, right, n)[0]

        # What an integrand with loops saves for its reverse would be as much as all intervals can need.
        return _sum_over(checkpoint(part) if closed.has_loops else part, stop_gradient(low), stop_gradient(high), count)

    return with_derivative(value, whole, low, high, count, *theta), stop_gradient(error)


def _inside(a: Any, b: Any) -> float:
    """A point of the range of which it is known that the integrand may be called there."""
    if has_traced([a, b]):
        return 0.5
    low, high = max(min(a, b), -1e3), min(max(a, b), 1e3)
    return 0.38 * low + 0.62 * high if low < high else float(a if np.isfinite(a) else b)


def _limit(x: Any, *at: Any) -> Any:
    """A limit that may be a function of the outer variables."""
    return callee(x)(*at) if callable(x) else x


@functools.wraps(scipy.integrate.dblquad)
def dblquad(
    func: Any, a: Any, b: Any, gfun: Any, hfun: Any, args: Any = (), epsabs: Any = 1.49e-8, epsrel: Any = 1.49e-8
) -> Any:
    """An integral of integrals."""
    given = args if isinstance(args, tuple) else (args,)
    run = callee(func)

    def inner(x: Any) -> Any:
        return quad(lambda y: run(y, x, *given), _limit(gfun, x), _limit(hfun, x), epsabs=epsabs, epsrel=epsrel)[0]

    if is_static(inner, _inside(a, b), a, b, args):
        return plain(scipy.integrate.dblquad, func, a, b, gfun, hfun, args, epsabs, epsrel)
    return quad(inner, a, b, epsabs=epsabs, epsrel=epsrel)


@functools.wraps(scipy.integrate.fixed_quad)
def fixed_quad(func: Any, a: Any, b: Any, args: Any = (), n: Any = 5) -> Any:
    if any(map(_is_infinite, (a, b))):
        raise ValueError("Gaussian quadrature is only available for finite limits.")
    nodes, weights = scipy.special.roots_legendre(n)
    values = called(func, args)((b - a) * (nodes + 1) / 2.0 + a)
    return (b - a) / 2.0 * jnp.sum(weights * values, axis=-1), None


_INTEGRALS: dict[Any, Callable[..., Any]] = {
    scipy.integrate.quad: quad,
    scipy.integrate.dblquad: dblquad,
    scipy.integrate.fixed_quad: fixed_quad,
}


def stand_in(value: Any) -> Any:
    """The function that takes traced values; None for one without, and for the module."""
    return functions_integrate.stand_in(value) or (_INTEGRALS.get(value) if callable(value) else None)
