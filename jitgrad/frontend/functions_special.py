"""Functions of scipy.special that do not dispatch, on traced values."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special as sps

from jitgrad.errors import UnsupportedError
from jitgrad.frontend.functions_reduce import max_, sum_
from jitgrad.frontend.primitives import (
    axis_tuple,
    broadcast_to,
    broadcast_together,
    cast,
    constant_like,
    emit,
    floating,
    floats,
    inexact,
    lift_one,
    reshape,
    where,
)
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.ir.location import user_location


def _shift(x: Tracer, axes: tuple[int, ...]) -> Tracer:
    """The maximum, without derivative: subtracting it changes the rounding, not the function. Finite always."""
    m = emit("stop_gradient", max_(x, axes, keepdims=True, initial=-np.inf if 0 in x.dims else None))
    return where(emit("isfinite", m), m, constant_like(m, 0.0))


@implements(sps.logsumexp)
def logsumexp(
    a: ArrayLike, axis: Any = None, b: ArrayLike = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """``log(sum(b * exp(a)))``, shifted by the maximum. A row that is all -inf gives -inf, with gradient 0."""
    if b is None:
        x, weights = inexact(lift_one(a)), None
    else:
        x, weights = map(inexact, floats(a, b))
        shape = broadcast_together(x.dims, weights.dims)
        x, weights = broadcast_to(x, shape), broadcast_to(weights, shape)
        # Where the weight is zero the exponent may be infinite, and 0 * inf is NaN.
        x = where(emit("equal", weights, constant_like(weights, 0.0)), constant_like(x, -np.inf), x)
    axes = axis_tuple(axis, x.ndim)
    shift = _shift(x, axes)
    terms = emit("exp", emit("subtract", x, shift))
    total = sum_(terms if weights is None else emit("multiply", terms, weights), axes, keepdims=True)
    zero = constant_like(total, 0.0)
    sign = emit("sign", total)
    size = emit("absolute", total) if return_sign else total
    # log has an infinite derivative at 0; the select turns it off for rows that are all -inf.
    out = where(emit("equal", size, zero), constant_like(total, -np.inf), emit("log", size))
    out = emit("add", out, shift)
    if not keepdims:
        shape = [d for k, d in enumerate(x.dims) if k not in axes]
        out, sign = reshape(out, shape), reshape(sign, shape)
    return (out, sign) if return_sign else out


@implements(sps.softmax)
def softmax(x: ArrayLike, axis: Any = None) -> Tracer:
    t = floating(lift_one(x))
    axes = axis_tuple(axis, t.ndim)
    e = emit("exp", emit("subtract", t, emit("stop_gradient", max_(t, axes, keepdims=True))))
    return emit("divide", e, sum_(e, axes, keepdims=True))


@implements(sps.log_softmax)
def log_softmax(x: ArrayLike, axis: Any = None) -> Tracer:
    t = floating(lift_one(x))
    axes = axis_tuple(axis, t.ndim)
    shifted = emit("subtract", t, _shift(t, axes))
    return emit("subtract", shifted, emit("log", sum_(emit("exp", shifted), axes, keepdims=True)))


@implements(sps.polygamma)
def polygamma(n: Any, x: ArrayLike) -> Tracer:
    """Orders 0 to 4."""
    if np.ndim(n) or n not in range(5):
        raise UnsupportedError(
            f"scipy.special.polygamma of order {n!r} is not supported on traced values. Only orders 0 to 4 are. "
            "Compute it outside the traced function.",
            user_location(),
        )
    # SciPy computes it in float64 whatever the argument.
    op = {0: "digamma", 1: "trigamma"}.get(int(n), f"polygamma{int(n)}")
    return emit(op, cast(lift_one(x), np.float64))


@implements(sps.multigammaln)  # pyright: ignore[reportAttributeAccessIssue]
def multigammaln(a: ArrayLike, d: Any) -> Tracer:
    """The logarithm of the gamma function of dimension ``d``."""
    t = floating(lift_one(a))
    total = constant_like(t, 0.25 * d * (d - 1) * np.log(np.pi))
    for k in range(int(d)):
        total = emit("add", total, emit("gammaln", emit("subtract", t, constant_like(t, 0.5 * k))))
    return total


@implements(np.i0)
def i0(x: ArrayLike) -> Tracer:
    return emit("i0", inexact(lift_one(x)))


if hasattr(sps, "softplus"):

    @implements(sps.softplus)
    def softplus(x: ArrayLike) -> Tracer:
        return emit("softplus", floating(lift_one(x)))
