"""Rules of ``scipy.optimize`` on traced values. Loaded when a program uses it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize

import jitgrad.numpy as jnp
from jitgrad.errors import ShapeError
from jitgrad.frontend.namespace import wrap
from jitgrad.frontend.primitives import floats
from jitgrad.frontend.registry import ADVICE, FUNCTIONS, implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.solvers.implicit import called, is_static, jacobian, plain
from jitgrad.solvers.least_squares import LEAST_SQUARES
from jitgrad.solvers.minimisers import MINIMISERS
from jitgrad.solvers.scalar_roots import SCALAR_ROOTS


@implements(scipy.optimize.rosen)
def rosen(x: Any) -> Tracer:
    (x,) = floats(x)
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0, axis=0)


@implements(scipy.optimize.rosen_der)
def rosen_der(x: Any) -> Tracer:
    (x,) = floats(x)
    left, right = x[:-1], x[1:] - x[:-1] ** 2
    zero = jnp.zeros_like(x[:1])
    first = -400.0 * left * right - 2.0 * (1.0 - left)
    return jnp.concatenate([first, zero]) + jnp.concatenate([zero, 200.0 * right])


@implements(scipy.optimize.rosen_hess)
def rosen_hess(x: Any) -> Tracer:
    (x,) = floats(x)
    zero = jnp.zeros_like(x[:1])
    first = jnp.concatenate([1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0, zero])
    middle = jnp.diag(first + jnp.concatenate([zero, 200.0 + 0.0 * x[:-1]]))
    return middle - jnp.diag(400.0 * x[:-1], 1) - jnp.diag(400.0 * x[:-1], -1)


@implements(scipy.optimize.rosen_hess_prod)
def rosen_hess_prod(x: Any, p: Any) -> Tracer:
    return rosen_hess(x) @ p


@functools.wraps(scipy.optimize.approx_fprime)
def approx_fprime(xk: Any, f: Any, epsilon: Any = 1.4901161193847656e-08, *args: Any) -> Any:
    """The derivative, in the place of differences."""
    fun = called(f, args)
    if is_static(fun, xk, args, epsilon, vector=True):
        return plain(scipy.optimize.approx_fprime, xk, f, epsilon, *args)
    x = jnp.atleast_1d(jnp.asarray(xk, dtype=float)) * 1.0
    if x.ndim != 1:
        raise ShapeError(f"scipy.optimize.approx_fprime at a point of shape {x.shape}. Flatten it.", user_location())
    shape = jnp.asarray(fun(x)).shape
    found = jacobian(lambda y: jnp.asarray(fun(y), dtype=float).reshape((-1,)), x)
    return found.reshape((*shape, x.shape[0]))


@functools.wraps(scipy.optimize.check_grad)
def check_grad(func: Any, grad: Any, x0: Any, *args: Any, **options: Any) -> Any:
    """The distance of the gradient from the derivative, where SciPy has differences."""
    if is_static(called(func, args), x0, args):
        return plain(scipy.optimize.check_grad, func, grad, x0, *args, **options)
    difference = jnp.asarray(called(grad, args)(x0)) - approx_fprime(x0, func, 0.0, *args)
    return jnp.sqrt(jnp.sum(jnp.abs(difference) ** 2))


_SOLVERS: dict[Any, Callable[..., Any]] = {
    **SCALAR_ROOTS,
    **MINIMISERS,
    **LEAST_SQUARES,
    scipy.optimize.approx_fprime: approx_fprime,
    scipy.optimize.check_grad: check_grad,
}
ADVICE[scipy.optimize.linear_sum_assignment] = (
    "Its result is a permutation, which has no derivative. Compute it outside, and pass the indices, or relax it: "
    "Sinkhorn's iteration gives a matrix that can be differentiated."
)


def stand_in(value: Any) -> Any:
    """The function that takes traced values; None for one without, and for the module."""
    if not callable(value) or isinstance(value, (type, np.ufunc)):
        return None
    return _SOLVERS.get(value) or (wrap(value) if value in FUNCTIONS or value in ADVICE else None)
