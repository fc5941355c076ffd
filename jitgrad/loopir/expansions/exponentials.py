"""exp, exp2, expm1 and what is made of exponentials: expit, sinh, cosh, tanh.

``x = k*ln2 + r`` with ``|r| <= ln2/2``: ln 2 comes in two parts, the first with so few bits that its product with k is
exact (Cody and Waite, Software Manual for the Elementary Functions, 1980). Then ``exp(x) = 2**k * exp(r)``, where
``exp(r) = 1 + r + r**2 * EXP(r)``, and 2**k is put together from bits in two factors, so that the product overflows to
infinity or underflows to a subnormal number or zero by itself.
"""

from __future__ import annotations

import math

import numpy as np

from jitgrad.loopir.expansions import coefficients as table
from jitgrad.loopir.expansions.arithmetic import (
    Pair,
    bits,
    const,
    copysign,
    f32,
    fast_two_sum,
    fma,
    magnitude,
    mantissa_bits,
    nearest,
    polynomial,
    power_of_two,
    product,
    quotient,
    shift_right,
    where,
)
from jitgrad.loopir.nodes import Const, Expr, Scalar


def _clamp(x: Expr, lo: float, hi: float) -> Expr:
    """Keeps NaN: a comparison with NaN is false."""
    negative = isinstance(x, Scalar) and x.op == "negative" and getattr(x.args[0], "op", None) == "absolute"
    x = where(x < lo, const(lo, x), x)
    return x if negative else where(x > hi, const(hi, x), x)


def _integer(low_bits: Expr, dtype: np.dtype) -> Expr:
    """The integer that :func:`nearest` left in the low bits."""
    magic = Const(1.5 * 2.0 ** mantissa_bits(dtype), dtype)
    return low_bits - bits(magic)


def reduce(x: Expr) -> tuple[Expr, Pair]:
    """``(k, r)`` with ``x = k*ln2 + r``, k as an integer and r as a pair."""
    magic = const(1.5 * 2.0 ** mantissa_bits(x.dtype), x)
    shifted = fma(x, math.log2(math.e), magic)  # as in nearest, the product included
    k = shifted - magic
    hi, lo = table.LN2_F32 if x.dtype == f32 else table.LN2
    exact = fma(k, -hi, x)
    r = fma(k, -lo, exact)
    return _integer(bits(shifted), x.dtype), (r, fma(k, -lo, exact - r))


def _tail(r: Expr) -> Expr:
    """``exp(r) - 1 - r``."""
    return product(r, r) * polynomial(r, table.EXP_F32 if r.dtype == f32 else table.EXP)


def scaled(p: Expr, k: Expr) -> Expr:
    """``p * 2**k`` for an integer k that may be out of the range of exponents by as much again."""
    half = shift_right(k, 1)
    return p * power_of_two(half, p.dtype) * power_of_two(k - half, p.dtype)


def exp_of_reduced(r: Pair) -> Pair:
    """``exp(r)`` as an unevaluated sum."""
    h, low = fast_two_sum(const(1.0, r[0]), r[0])
    return h, low + (r[1] + _tail(r[0]))


def exp(x: Expr) -> Expr:
    """The clamp lies just outside the range of finite, nonzero results."""
    k, (r, _) = reduce(_clamp(x, -104.0, 89.0) if x.dtype == f32 else _clamp(x, -746.0, 710.0))
    h, low = fast_two_sum(const(1.0, x), r)
    half = shift_right(k, 1)
    # The first factor is exact, so it can be put in before the sum is known.
    first, second = power_of_two(half, x.dtype), power_of_two(k - half, x.dtype)
    return fma(low + _tail(r), first, product(h, first)) * second


def half_exp(x: Expr) -> Expr:
    """``exp(x) / 2`` for x >= 0, which overflows where the hyperbolic functions do."""
    limit = 90.0 if x.dtype == f32 else 711.0
    k, r = reduce(where(x > limit, const(limit, x), x))
    h, low = exp_of_reduced(r)
    return scaled(h + low, k - 1)


def exp2(x: Expr) -> Expr:
    """``2**k * 2**f`` with ``2**f = 1 + f*ln2 + f**2 * EXP2(f)``."""
    single = x.dtype == f32
    x = _clamp(x, -151.0, 129.0) if single else _clamp(x, -1076.0, 1025.0)
    k, low = nearest(x)
    return scaled(exp2_of_reduced(x - k), _integer(low, x.dtype))


def exp2_of_reduced(f: Expr, low: Expr | None = None) -> Expr:
    """``2**(f + low)`` for ``|f| <= 1/2`` and a much smaller ``low``."""
    single = f.dtype == f32
    hi, lo = table.LN2_WHOLE_F32 if single else table.LN2_WHOLE
    # f*ln2 as a pair, so that its rounding error is not seen in the sum.
    head = product(f, hi)
    lost = fma(f, hi, -head) + (product(f, lo) if low is None else fma(f, lo, low * hi))
    return fma(product(f, f), polynomial(f, table.EXP2_F32 if single else table.EXP2), lost) + head + 1.0


def expm1(x: Expr) -> Expr:
    """``2**k * (exp(r) - 1) + (2**k - 1)``; exact zero and its sign are kept by the select."""
    original = x
    x = _clamp(x, -30.0, 88.8) if x.dtype == f32 else _clamp(x, -60.0, 709.8)
    k, (r, lost) = reduce(x)
    p = r + (lost + _tail(r))
    # 2**k alone would overflow at the upper end, where k is one more than the largest exponent.
    half = power_of_two(k - 1, x.dtype)
    value = fma(half, p, half - 0.5) * 2.0
    limit = 88.722839 if x.dtype == f32 else 709.782712893384
    value = where(original > limit, const(np.inf, x), value)
    return where(original.eq(0.0), original, value)


def _expm1_pair(x: Expr) -> Pair:
    """``exp(x) - 1`` as a pair for x >= 0 below the overflow.

    With ``exp(r) - 1 = r + t``: ``2**k - 1`` is exact or large, and at least as large as ``2**k * r`` unless it is 0.
    In float32 the rounding errors of r and of that sum are left out: tanh stays below 0.9 ulp, where float64 would not.
    """
    k, (r, rest) = reduce(x)
    s = power_of_two(k, x.dtype)
    less = s - 1.0
    h = fma(s, r, less)
    if x.dtype == f32:
        return fast_two_sum(h, product(s, _tail(r)))
    lost = fma(s, r, less - h)
    h, e = fast_two_sum(h, product(s, _tail(r) + rest))
    return h, e + lost


def tanh(x: Expr) -> Expr:
    """``e / (e + 2)`` with ``e = exp(2|x|) - 1`` as a pair; the quotient is refined with the rests of both."""
    limit = 9.5 if x.dtype == f32 else 20.0
    a = magnitude(x)
    a = where(a > limit, const(limit, x), a)
    h, e = _expm1_pair(a + a)
    d = h + 2.0
    return copysign(quotient((h, e), (d, (h - (d - 2.0)) + e)), x)


def expit(x: Expr) -> Expr:
    """``1 / (1 + e)`` with ``e = exp(-|x|)``, and ``e / (1 + e)`` below 0, where e counts as a pair."""
    a = -magnitude(x)
    lowest = -104.0 if x.dtype == f32 else -746.0
    k, r = reduce(where(a < lowest, const(lowest, x), a))
    h, low = (scaled(part, k) for part in fast_two_sum(*exp_of_reduced(r)))
    inverse = 1.0 / (h + 1.0)
    return where(x < 0.0, fma(h, inverse, product(low, inverse)), inverse)


def sinh(x: Expr) -> Expr:
    """An odd polynomial up to 1, ``(exp|x| - exp(-|x|)) / 2`` above."""
    a = magnitude(x)
    z = product(x, x)
    small = fma(product(x, z), polynomial(z, table.SINH_F32 if x.dtype == f32 else table.SINH), x)
    half = half_exp(a)
    return where(a < 1.0, small, copysign(half - 0.25 / half, x))


def cosh(x: Expr) -> Expr:
    """``(exp|x| + exp(-|x|)) / 2``."""
    half = half_exp(magnitude(x))
    return half + 0.25 / half
