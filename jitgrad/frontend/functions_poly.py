"""Polynomials as arrays of coefficients, the highest first, on traced values. Zeros in front stay: whether a traced
coefficient is zero is not known while the function is traced."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad import config
from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.frontend.functions_join import concatenate_
from jitgrad.frontend.functions_select import convolve
from jitgrad.frontend.primitives import (
    broadcast_to,
    cast,
    common_dtype,
    floats,
    full,
    lift,
    lift_one,
    reshape,
    static_int,
)
from jitgrad.frontend.recording import record_for
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import ArrayLike, Tracer, contains_tracer, innermost_trace
from jitgrad.frontend.ufunc_methods import repeated
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f32, f64


@implements(np.polyval)
def polyval(p: Any, x: ArrayLike) -> Tracer:
    """Horner's rule; for many traced coefficients as a loop."""
    if not contains_tracer(p):
        return _horner(list(np.asarray(p)), x)
    coefficients = _coefficients("polyval", p, x)
    degree = coefficients.dims[0]
    if isinstance(degree, int) and degree <= config.current().unroll_limit:
        return _horner(list(coefficients), x)
    dtype = common_dtype(coefficients, x)
    at = cast(lift_one(x, p), dtype)
    coefficients = cast(coefficients, dtype)

    def step(k: Tracer, total: Tracer) -> tuple[Tracer]:
        return (call_ufunc(np.add, call_ufunc(np.multiply, total, at), coefficients[k]),)

    start = call_ufunc(np.multiply, at, 0)
    (out,) = record_for(innermost_trace(at, coefficients), 0, degree, 1, step, (start,), ("the value",))
    return out


def _horner(coefficients: list[Any], x: ArrayLike) -> Tracer:
    out: Any = call_ufunc(np.multiply, lift_one(x, coefficients), 0)
    for c in coefficients:
        out = call_ufunc(np.add, call_ufunc(np.multiply, out, x), c)
    return out


@implements(np.polyder)
def polyder(p: ArrayLike, m: int = 1) -> Tracer:
    coefficients = _coefficients("polyder", p)
    for _ in range(_order("polyder", m)):
        n = coefficients.dims[0] - 1
        coefficients = call_ufunc(np.multiply, coefficients[:-1], np.arange(n, 0, -1))
    return coefficients


@implements(np.polyint)
def polyint(p: ArrayLike, m: int = 1, k: Any = None) -> Tracer:
    """``k`` are the constants of integration, the first for the first integral; one number counts for all."""
    coefficients = _coefficients("polyint", p, k)
    order = _order("polyint", m)
    added = full(coefficients, (order,), 0, np.dtype(float)) if k is None else lift_one(k, coefficients)
    added = reshape(added, (1,)) if not added.dims else added
    if added.dims == (1,):
        added = broadcast_to(added, (order,))
    if added.ndim != 1 or added.dims[0] < order:
        raise ArgumentError(
            f"np.polyint has {order} integrals and constants of shape {added.dims}. Each integral has its constant. "
            "Give k one number, or as many as m.",
            user_location(),
        )
    for number in range(order):
        n = coefficients.dims[0]
        coefficients = call_ufunc(np.divide, coefficients, np.arange(n, 0, -1))
        coefficients = concatenate_([coefficients, added[number : number + 1]])
    return coefficients


@implements(np.polymul)
def polymul(a1: ArrayLike, a2: ArrayLike) -> Tracer:
    return convolve(_coefficients("polymul", a1, a2), _coefficients("polymul", a2, a1))


@implements(np.polyadd)
def polyadd(a1: ArrayLike, a2: ArrayLike) -> Tracer:
    return call_ufunc(np.add, *_of_one_degree("polyadd", a1, a2))


@implements(np.polysub)
def polysub(a1: ArrayLike, a2: ArrayLike) -> Tracer:
    return call_ufunc(np.subtract, *_of_one_degree("polysub", a1, a2))


@implements(np.poly)
def poly(seq_of_zeros: ArrayLike) -> Tracer:
    """Of zeros; each multiplies what there is by x - zero. Raises ShapeError for a matrix."""
    zeros = _coefficients("poly", seq_of_zeros)
    zeros = zeros if zeros.dtype == f32 else cast(zeros, f64)
    count = zeros.dims[0]
    start = concatenate_([full(zeros, (1,), 1), full(zeros, (count,), 0)])

    def times(k: Any, out: Any) -> tuple[Any]:
        return (np.append(out[:1], out[1:] - zeros[k] * out[:-1]),)

    return repeated(zeros, 0, count, times, start)


@implements(np.polydiv)
def polydiv(u: ArrayLike, v: ArrayLike) -> tuple[Tracer, Tracer]:
    """The remainder has as many coefficients as NumPy leaves it, without those in front that are almost 0, which is
    known when the program runs."""
    dividend, divisor = floats(_coefficients("polydiv", u, v), _coefficients("polydiv", v, u))
    n = divisor.dims[0]
    steps = max(dividend.dims[0] - n + 1, 0)
    scale: Any = 1.0 / divisor[0]  # pyright: ignore[reportOperatorIssue]

    def divide(k: Any, quotient: Any, rest: Any) -> tuple[Any, Any]:
        factor = scale * rest[k]
        quotient[k] = factor
        rest[k : k + n] -= factor * divisor
        return quotient, rest

    quotient, rest = full(dividend, (max(steps, 1),), 0), dividend.copy()
    if steps <= config.current().unroll_limit:
        for k in range(steps):
            divide(k, quotient, rest)
    else:
        names = ("the quotient", "the remainder")
        quotient, rest = record_for(rest.owner, 0, steps, 1, divide, (quotient, rest), names)
    large: Any = np.abs(rest) > 1e-8  # pyright: ignore[reportArgumentType, reportCallIssue]
    return quotient, rest[np.argmax(np.append(large[:-1], True)) :]


def _of_one_degree(name: str, a1: ArrayLike, a2: ArrayLike) -> list[Tracer]:
    """Both with as many coefficients, by zeros in front."""
    both = [_coefficients(name, a1, a2), _coefficients(name, a2, a1)]
    n = max(x.dims[0] for x in both)
    return [concatenate_([full(x, (n - x.dims[0],), 0, x.dtype), x]) if x.dims[0] < n else x for x in both]


def _coefficients(name: str, p: ArrayLike, *peers: ArrayLike) -> Tracer:
    """One axis of coefficients; a number is one."""
    (x,) = lift(p) if contains_tracer(p) else (lift_one(p, *peers),)
    x = reshape(x, (1,)) if not x.dims else x
    if x.ndim != 1:
        raise ShapeError(
            f"np.{name} of coefficients of shape {x.dims}. A polynomial is one axis of them. Give one polynomial.",
            user_location(),
        )
    return x


def _order(name: str, m: Any) -> int:
    order = static_int(m, "m")
    if order < 0:
        raise ArgumentError(f"np.{name} of order {order}. It must not be negative. Give 0 or more.", user_location())
    return order
