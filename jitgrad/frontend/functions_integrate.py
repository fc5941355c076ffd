"""Rules of ``scipy.integrate`` for sampled functions, on traced values. Loaded when a program uses it."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import scipy.integrate

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.frontend.functions_ode import SOLVERS
from jitgrad.frontend.namespace import wrap
from jitgrad.frontend.primitives import axis_index, cast, floating, lift
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import FUNCTIONS, implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location


@implements(scipy.integrate.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tracer:
    return jnp.trapezoid(y, x, dx, axis)


def _samples(function: str, y: Any, x: Any, axis: int) -> tuple[Tracer, Any]:
    """The samples and the spacings, None for equal ones, with the axis last. Raises ShapeError."""
    t = lift(y, 0 if x is None else x)[0]
    axis = axis_index(axis, t.ndim)
    values = jnp.moveaxis(t, axis, -1)
    if values.shape[-1] == 0:
        raise ShapeError(f"scipy.integrate.{function} of no samples. Give at least one.", user_location())
    if x is None:
        return values, None
    points = lift(x, t)[0]
    points = points if points.ndim == 1 else jnp.moveaxis(points, axis, -1)
    if points.ndim not in (1, t.ndim) or points.shape[-1] != values.shape[-1]:
        raise ShapeError(
            f"scipy.integrate.{function} of samples of shape {t.shape} at x of shape {points.shape}. x has one point "
            "for each sample along the axis, in one dimension or in all. Check the shapes.",
            user_location(),
        )
    return values, jnp.diff(points)


@implements(scipy.integrate.cumulative_trapezoid)
def cumulative_trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: Any = None) -> Tracer:
    values, steps = _samples("cumulative_trapezoid", y, x, axis)
    if initial is not None and (isinstance(initial, Tracer) or initial != 0):
        raise ArgumentError("scipy.integrate.cumulative_trapezoid takes initial=None or 0.", user_location())
    areas = (dx if steps is None else steps) * (values[..., 1:] + values[..., :-1]) / 2.0
    out = jnp.cumsum(areas, axis=-1)
    if initial is not None:
        out = jnp.concatenate([jnp.zeros_like(out, shape=(*out.shape[:-1], 1)), out], axis=-1)
    return jnp.moveaxis(out, -1, axis)


def _ratio(a: Any, b: Any) -> Any:
    """``a / b``, and 0 where b is 0."""
    zero = b == 0
    return jnp.where(zero, 0.0, a / jnp.where(zero, 1.0, b))


@implements(scipy.integrate.simpson)
def simpson(y: Any, x: Any = None, *, dx: Any = 1.0, axis: int = -1) -> Tracer:
    """For an even number of samples the last interval is that of the parabola through the last three, as SciPy has it
    (K. V. Cartwright, Journal of Mathematical Sciences and Mathematics Education 12, 2017)."""
    values, steps = _samples("simpson", y, x, axis)
    values = floating(values)
    n = values.shape[-1]
    if n % 2:
        return _pairs(values, steps, dx)
    if n == 2:
        return 0.5 * (dx if steps is None else steps[..., 0]) * (values[..., 1] + values[..., 0])
    total = _pairs(values[..., :-1], None if steps is None else steps[..., :-1], dx)
    h0, h1 = (dx, dx) if steps is None else (steps[..., -2], steps[..., -1])
    last = _ratio(2 * h1**2 + 3 * h0 * h1, jnp.asarray(6 * (h1 + h0)))
    middle = _ratio(h1**2 + 3.0 * h0 * h1, jnp.asarray(6 * h0))
    first = _ratio(h1**3, jnp.asarray(6 * h0 * (h0 + h1)))
    rest = last * values[..., -1] + middle * values[..., -2] - first * values[..., -3]
    return total + cast(rest, total.dtype)


def _pairs(values: Any, steps: Any, dx: Any) -> Any:
    """Simpson's rule over pairs of intervals."""
    left, middle, right = values[..., :-2:2], values[..., 1::2], values[..., 2::2]
    if steps is None:
        return jnp.sum(left + 4.0 * middle + right, axis=-1) * (dx / 3.0)
    h0, h1 = steps[..., ::2], steps[..., 1::2]
    both, ratio = h0 + h1, _ratio(h0, h1)
    terms = left * (2.0 - _ratio(1.0, ratio)) + middle * (both * _ratio(both, h0 * h1)) + right * (2.0 - ratio)
    return jnp.sum(both / 6.0 * terms, axis=-1)


@implements(scipy.integrate.cumulative_simpson)
def cumulative_simpson(y: Any, *, x: Any = None, dx: Any = 1.0, axis: int = -1, initial: Any = None) -> Tracer:
    """The interval between two points is that of the parabola through these and the next one, or the one before, in
    turn, as SciPy has it (Cartwright, as for ``simpson``)."""
    values, steps = _samples("cumulative_simpson", y, x, axis)
    values, n = floating(values), values.shape[-1]
    if steps is None:
        steps = jnp.broadcast_to(dx, (*values.shape[:-1], n - 1))
    else:
        demand(jnp.all(steps > 0), ValueError("Input x must be strictly increasing."))
        steps = jnp.broadcast_to(steps, (*values.shape[:-1], n - 1))
    if n < 3:
        areas = steps * (values[..., 1:] + values[..., :-1]) / 2.0
    else:
        first, second = _first_part(values, steps), _first_part(values[..., ::-1], steps[..., ::-1])[..., ::-1]
        even = np.arange(n - 2) % 2 == 0
        ends = (first[..., :1], second[..., -1:])
        areas = jnp.concatenate([ends[0], jnp.where(even, second, jnp.roll(first, -1, axis=-1))[..., :-1], ends[1]], -1)
    out = jnp.cumsum(areas, axis=-1)
    if initial is not None:
        shape = jnp.moveaxis(out[..., :1], -1, axis).shape
        start = jnp.moveaxis(jnp.broadcast_to(initial, shape), axis, -1)
        out = jnp.concatenate([start, out + start], axis=-1)
    return jnp.moveaxis(out, -1, axis)


def _first_part(values: Any, steps: Any) -> Any:
    """The integral over the first of two intervals of the parabola through their three ends."""
    h, both = steps[..., :-1], steps[..., :-1] + steps[..., 1:]
    part, bend = h / both, h * h / (both * steps[..., 1:])
    left, middle, right = values[..., :-2], values[..., 1:-1], values[..., 2:]
    return h / 6.0 * ((3.0 - part) * left + (3.0 + bend + part) * middle - bend * right)


@implements(scipy.integrate.romb)
def romb(y: Any, dx: Any = 1.0, axis: int = -1, show: Any = False) -> Tracer:
    """Richardson's extrapolation of trapezoids (W. H. Press et al., Numerical Recipes, section 4.3)."""
    values, _ = _samples("romb", y, None, axis)
    values = floating(values)
    count = values.shape[-1] - 1
    order = count.bit_length() - 1
    if count < 1 or count != 1 << order:
        raise ValueError("Number of samples must be one plus a non-negative power of 2.")
    row: list[Any] = []
    for k in range(order + 1):
        stride = count >> k
        some = values[..., ::stride]
        new = [(jnp.sum(some, axis=-1) - 0.5 * (some[..., 0] + some[..., -1])) * (stride * dx)]
        for j, before in enumerate(row):
            new.append(new[j] + (new[j] - before) / (4.0 ** (j + 1) - 1))
        row = new
    return row[-1]


def stand_in(value: Any) -> Any:
    """The wrapped function; None for one without a handler, and for the module."""
    if not isinstance(value, types.FunctionType):
        return None
    return SOLVERS.get(value) or (wrap(value) if value in FUNCTIONS else None)
