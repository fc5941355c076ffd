"""log, log2, log10, log1p and what is made of logarithms: arcsinh, arccosh, arctanh.

``x = 2**k * (1 + f)`` with ``sqrt(1/2) <= 1 + f < sqrt(2)``, from the bits of x. With ``s = f / (2 + f)``,
``log(1 + f) = 2 * atanh(s) = f - (f**2/2 - s*(f**2/2 + s**2 * ATANH(s**2)))``, where the first term is exact and the
others are small (P. Tang, ACM Trans. Math. Softw. 16, 1990; as arranged in FreeBSD's msun, e_log.c).
"""

from __future__ import annotations

import math

import numpy as np

from jitgrad.ir.types import DTYPES, f64
from jitgrad.loopir.expansions import coefficients as table
from jitgrad.loopir.expansions.arithmetic import (
    Pair,
    bit_and,
    bits,
    const,
    copysign,
    exponent_bias,
    f32,
    fast_two_sum,
    float_of_small,
    fma,
    from_bits,
    in_double,
    magnitude,
    mantissa_bits,
    pair_sum,
    polynomial,
    product,
    shift_left,
    shift_right,
    tiny,
    two_product,
    two_sum,
    where,
)
from jitgrad.loopir.nodes import Const, Expr, scalar

#: Up to here ATANH holds for s itself.
SMALL_ATANH = 0.17


def split(x: Expr, subnormals: bool = True) -> tuple[Expr, Expr]:
    """``(k, f)`` for x > 0 with ``x = 2**k * (1 + f)``, k an integer as wide as x; ``subnormals``: x may be one."""
    dtype = x.dtype
    lift = mantissa_bits(dtype) + 2
    small = x < tiny(dtype)
    if subnormals:
        x = where(small, x * 2.0**lift, x)
    root, one = (Const(v, dtype) for v in (math.sqrt(0.5), 1.0))
    moved = bits(x) + (bits(one) - bits(root))
    k = shift_right(moved, mantissa_bits(dtype)) - exponent_bias(dtype)
    if subnormals:
        k = where(small, k - lift, k)
    mantissa = from_bits(bit_and(moved, (1 << mantissa_bits(dtype)) - 1) + bits(root), dtype)
    return k, mantissa - 1.0


def _special(x: Expr, value: Expr) -> Expr:
    """The logarithm at 0, below it, at infinity and of NaN."""
    value = where(x < np.inf, value, x)  # NaN too
    value = where(x < 0.0, const(np.nan, x), value)
    return where(x.eq(0.0), const(-np.inf, x), value)


def log(x: Expr) -> Expr:
    """In float32 the small terms are a polynomial in f: a division costs more there."""
    n, f = split(x)
    k = float_of_small(n, x.dtype)
    half_square = product(f, f) * 0.5
    if x.dtype == f32:
        hi, lo = table.LN2_F32
        rest = fma(k, lo, fma(product(product(f, f), f), polynomial(f, table.LOG_F32), -half_square))
    else:
        hi, lo = table.LN2
        s = f / (f + 2.0)
        z = product(s, s)
        rest = fma(s, fma(z, polynomial(z, table.ATANH), half_square), k * lo) - half_square
    return _special(x, fma(k, hi, f + rest))


def log1p_unit(x: Expr) -> Expr:
    """``log1p(x)`` for x from 0 to 1, in whose sum the first term is exact."""
    s = x / (x + 2.0)
    z = product(s, s)
    series = polynomial(z, table.ATANH_UNIT_F32 if x.dtype == f32 else table.ATANH_UNIT)
    return fma(s, fma(z, series, -x), x)


def log_parts(f: Expr, lost: Expr | None = None, single: bool = False) -> Pair:
    """``log(1 + f + lost)`` as a pair, for float64; ``lost`` is below the last place of ``1 + f``, and is divided by
    it to a few bits, as ``1 / (1 + f) = (1 - s) / (1 + s)``."""
    half_square = product(f, f) * 0.5
    s = f / (f + 2.0)
    z = product(s, s)
    h = f - half_square
    rest = (f - h) - half_square
    low = fma(s, fma(z, polynomial(z, table.ATANH_LOW if single else table.ATANH), half_square), rest)
    if lost is not None:
        less = 1.0 - s
        low = fma(product(lost, less), less, low)
    return h, low


def _natural(k: Expr, h: Expr, low: Expr) -> Pair:
    """``k * ln2 + h + low``."""
    s, e = two_sum(product(k, table.LN2[0]), h)
    return s, e + fma(k, table.LN2[1], low)


def log_pair(x: Expr, single: bool) -> Pair:
    """``log(x)`` for finite ``x > 0`` in float64."""
    n, f = split(x)
    return fast_two_sum(*_natural(float_of_small(n, f64), *log_parts(f, single=single)))


@in_double
def log2(x: Expr, *, single: bool) -> Expr:
    n, f = split(x, not single)
    k = float_of_small(n, f64)
    h, low = log_parts(f, single=single)
    p, e = two_product(h, table.INVERSE_LN2[0])
    e = fma(h, table.INVERSE_LN2[1], fma(low, table.INVERSE_LN2[0], e))
    s, rest = two_sum(k, p)
    return _special(x, s + (rest + e))


@in_double
def log10(x: Expr, *, single: bool) -> Expr:
    n, f = split(x, not single)
    k = float_of_small(n, f64)
    h, low = log_parts(f, single=single)
    p, e = two_product(h, table.INVERSE_LN10[0])
    e = fma(h, table.INVERSE_LN10[1], fma(low, table.INVERSE_LN10[0], e))
    s, rest = two_sum(product(k, table.LOG10_2[0]), p)
    return _special(x, s + (rest + fma(k, table.LOG10_2[1], e)))


def log_of_pair(h: Expr, low: Expr, single: bool, doublings: Expr | None = None) -> Expr:
    """``log((h + low) * 2**doublings)`` for a pair above 2**-50 in float64, relative to the result also where that is
    small."""
    n, f = split(h, False)
    down = from_bits(bits(Const(2.0, f64)) - shift_left(n, 52), f64)  # twice 2**-n, which is 0 for the largest n
    n = n if doublings is None else n + doublings
    s, e = _natural(float_of_small(n, f64), *log_parts(f, product(low, down) * 0.5, single))
    return s + e


def log1p(x: Expr) -> Expr:
    """The logarithm of ``1 + x`` as a pair; beyond 2**30 or 2**60 the 1 is not seen."""
    h, low = two_sum(const(1.0, x), x)
    if x.dtype == f32:
        value = _log_of_pair_f32(h, where(x < 2.0**30, low, 0.0))
    else:
        value = log_of_pair(h, where(x < 2.0**60, low, 0.0), False)
    value = copysign(magnitude(value), x)  # the sums lose the sign of zero
    value = where(x < np.inf, value, x)
    value = where(x < -1.0, const(np.nan, x), value)
    return where(x.eq(-1.0), const(-np.inf, x), value)


def _log_of_pair_f32(h: Expr, low: Expr) -> Expr:
    """As :func:`log`, with what is lost of f times ``1 / (1 + f)`` to a few bits."""
    n, f = split(h, False)
    down = from_bits(bits(Const(2.0, f32)) - shift_left(n, 23), f32)  # twice 2**-n, which is 0 for the largest n
    lost = product(product(low, down) * 0.5, fma(f, f - 1.0, 1.0))
    k = float_of_small(n, f32)
    square = product(f, f)
    rest = fma(product(square, f), polynomial(f, table.LOG_F32), fma(square, -0.5, lost))
    hi, lo = table.LN2_F32
    return fma(k, hi, f + fma(k, lo, rest))


@in_double
def arcsinh(x: Expr, *, single: bool) -> Expr:
    """``log(a + sqrt(a**2 + 1))`` of ``a = |x|``; ``log(2*a)`` beyond 2**60, where the square might overflow."""
    a = magnitude(x)
    large = a > 2.0**60
    b = where(large, const(0.0, x), a)
    root = sqrt_of_pair(pair_sum(two_product(b, b), (const(1.0, x), const(0.0, x))))
    h, low = pair_sum(root, (b, const(0.0, x)))
    one, zero = Const(1, DTYPES["i64"]), Const(0, DTYPES["i64"])
    value = log_of_pair(where(large, a, h), where(large, const(0.0, x), low), single, where(large, one, zero))
    return where(a < np.inf, copysign(value, x), x)


@in_double
def arccosh(x: Expr, *, single: bool) -> Expr:
    """``log(x + sqrt(x**2 - 1))``; ``log(2*x)`` beyond 2**60."""
    large = x > 2.0**60
    b = where(large, const(1.0, x), x)
    square = two_product(b, b)
    root = sqrt_of_pair(pair_sum(square, (const(-1.0, x), const(0.0, x))))
    h, low = pair_sum((b, const(0.0, x)), root)
    one, zero = Const(1, DTYPES["i64"]), Const(0, DTYPES["i64"])
    value = log_of_pair(where(large, x, h), where(large, const(0.0, x), low), single, where(large, one, zero))
    value = where(x < np.inf, value, x)
    return where(x < 1.0, const(np.nan, x), value)


@in_double
def arctanh(x: Expr, *, single: bool) -> Expr:
    """``log((1 + a) / (1 - a)) / 2`` of ``a = |x|``; where s is a itself, by the series of s alone."""
    a = magnitude(x)
    z = product(x, x)
    small = fma(product(x, z), polynomial(z, table.ATANH_LOW if single else table.ATANH) * 0.5, x)
    num, den = fast_two_sum(const(1.0, x), a), fast_two_sum(const(1.0, x), -a)
    q = num[0] / den[0]
    rest = (fma(-q, den[0], num[0]) + fma(-q, den[1], num[1])) / den[0]
    large = log_of_pair(*fast_two_sum(q, rest), single) * 0.5
    value = where(a < SMALL_ATANH, small, copysign(large, x))
    value = where(a.eq(1.0), copysign(const(np.inf, x), x), value)
    return where(a > 1.0, const(np.nan, x), value)


def sqrt_of_pair(a: Pair) -> Pair:
    """The square root of a pair; 0 of 0."""
    s = scalar("sqrt", a[0])
    rest = fma(-s, s, a[0]) + a[1]
    return s, where(s > 0.0, rest / (s + s), 0.0)
