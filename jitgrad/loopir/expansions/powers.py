"""power, cbrt and hypot.

``|x|**y = 2**(y * log2|x|)``, with the logarithm as a pair: for a result near the overflow, an error of 2**-64 in
``log2|x|`` is one of about an ulp in the result. The first two terms of the series of ``atanh(s)`` are therefore pairs.
For float32 all is done in float64 without pairs.
"""

from __future__ import annotations

import numpy as np

from jitgrad.ir.types import f64
from jitgrad.loopir.expansions import coefficients as table
from jitgrad.loopir.expansions.arithmetic import (
    Pair,
    bit_and,
    bits,
    const,
    copysign,
    fast_two_sum,
    float_of_small,
    fma,
    from_bits,
    in_double,
    int_of_small,
    magnitude,
    nearest,
    pair_product,
    polynomial,
    power_of_two,
    product,
    shift_right,
    tiny,
    two_product,
    where,
)
from jitgrad.loopir.expansions.exponentials import exp2_of_reduced, scaled
from jitgrad.loopir.expansions.logarithms import split
from jitgrad.loopir.nodes import Const, Expr, scalar


def _constant(pair: tuple[float, ...]) -> Pair:
    return Const(pair[0], f64), Const(pair[1], f64)


def _log2_pair(x: Expr) -> Pair:
    """``log2(x)`` for x > 0, ``2 / ln2 * s * (1 + z * (1/3 + z * ATANH_TAIL(z)))`` with ``z = s**2``."""
    n, f = split(x)
    k = float_of_small(n, f64)
    d = f + 2.0
    lost = f - (d - 2.0)
    inverse = 1.0 / d
    s = product(f, inverse)
    s = fast_two_sum(s, fma(-s, lost, fma(-s, d, f)) * inverse)
    z = pair_product(s, s)
    third = _constant(table.THIRD)
    tail = product(z[0], polynomial(z[0], table.ATANH_TAIL))
    inner = fast_two_sum(third[0], tail)
    inner = inner[0], inner[1] + third[1]
    cubic = pair_product(z, inner)
    one_plus = fast_two_sum(const(1.0, x), cubic[0])
    one_plus = one_plus[0], one_plus[1] + cubic[1]
    h, low = pair_product(pair_product(s, _constant(table.TWO_OVER_LN2)), one_plus)
    total, rest = fast_two_sum(k, h)  # k is 0 or larger
    return fast_two_sum(total, rest + low)


def _log2_single(x: Expr) -> Expr:
    """As :func:`_log2_pair`, to what float32 needs."""
    n, f = split(x, subnormals=False)
    s = f / (f + 2.0)
    z = product(s, s)
    series = fma(product(z, 0.5), polynomial(z, table.ATANH_LOW), 1.0)
    return fma(product(s, table.TWO_OVER_LN2[0]), series, float_of_small(n, f64))


def _exp2_of_pair(h: Expr, low: Expr) -> Expr:
    """``2**(h + low)``."""
    inside = magnitude(h) < 1100.0
    h, low = where(inside, h, copysign(const(1100.0, h), h)), where(inside, low, 0.0)
    k, _ = nearest(h)
    f, low = fast_two_sum(h - k, low)  # the difference is 0 or not less than half a unit in the last place of h
    return scaled(exp2_of_reduced(f, low), int_of_small(k))


def _exp2_single(h: Expr) -> Expr:
    h = where(h < -200.0, const(-200.0, h), where(h > 200.0, const(200.0, h), h))
    k, _ = nearest(h)
    f = h - k
    p = fma(product(f, f), polynomial(f, table.EXP2_LOW), product(f, table.LN2_WHOLE[0])) + 1.0
    return scaled(p, int_of_small(k))


@in_double
def power(x: Expr, y: Expr, *, single: bool) -> Expr:
    """With the special values of C99, annex F.9.4.4."""
    a = magnitude(x)
    # An exponent beyond 2**66 overflows or underflows, unless x is 1; infinity times the logarithm would be NaN there.
    top = where(magnitude(y) > 2.0**66, copysign(const(2.0**66, y), y), y)
    if single:
        value = _exp2_single(product(top, _log2_single(a)))
    else:
        h, low = _log2_pair(a)
        p, e = two_product(h, top)
        value = _exp2_of_pair(p, fma(low, top, e))
    # 0 and infinity, where the logarithm above is none.
    above = (a > 1.0).eq(y > 0.0)
    ends = where(above, const(np.inf, x), 0.0)
    value = where(a.eq(0.0) | a.eq(np.inf) | (magnitude(y).eq(np.inf) & a.ne(1.0)), ends, value)
    whole = scalar("trunc", y).eq(y)
    half = product(y, 0.5)
    odd = whole & scalar("trunc", half).ne(half)
    value = where(odd, copysign(value, x), value)
    value = where((x < 0.0) & ~whole & (a < np.inf), const(np.nan, x), value)
    value = where(x.ne(x), x, where(y.ne(y), y, value))
    return where(x.eq(1.0) | y.eq(0.0), const(1.0, x), value)


@in_double
def cbrt(x: Expr, *, single: bool) -> Expr:
    """``x = 2**(3*q) * m`` with ``1 <= m < 8``: an approximation t of ``m**(-1/3)`` is refined by three terms of
    ``(1 - h)**(-1/3)`` with ``h = 1 - m*t**3``, and the result ``m * t**2`` by a step of Newton's method."""
    a = magnitude(x)
    subnormal = a < tiny(f64)
    lifted = bits(where(subnormal, a * 2.0**54, a))
    exponent = float_of_small(shift_right(lifted, 52), f64) - 1023.0
    q, _ = nearest(fma(exponent, 1 / 3, -1 / 3))
    mantissa = from_bits(bit_and(lifted, 2**52 - 1) + bits(Const(1.0, f64)), f64)
    remainder = fma(q, -3.0, exponent)
    two, one = remainder > 1.5, remainder > 0.5
    m = mantissa * where(two, const(4.0, x), where(one, const(2.0, x), 1.0))
    root = where(two, const(4.0 ** (-1 / 3), x), where(one, const(2.0 ** (-1 / 3), x), 1.0))
    t = polynomial(mantissa, table.CBRT) * root
    h = fma(product(m, product(t, t)), -t, 1.0)
    t = fma(product(t, h), polynomial(h, (1 / 3, 2 / 9, 14 / 81)), t)
    square = product(t, t)
    y = product(m, square)
    if not single:
        p, e = two_product(y, y)
        y = fma(fma(-p, y, m) - e * y, square * (1 / 3), y)
    y = y * power_of_two(int_of_small(q - where(subnormal, const(18.0, x), 0.0)), f64)
    return where((a > 0.0) & (a < np.inf), copysign(y, x), x)


@in_double
def hypot(x: Expr, y: Expr, *, single: bool) -> Expr:
    """The square root of the sum of squares, scaled by a power of two where a square would overflow or underflow."""
    a, b = magnitude(x), magnitude(y)
    if single:
        value = scalar("sqrt", fma(a, a, product(b, b)))
    else:
        first = a > b
        a, b = where(first, a, b), where(first, b, a)
        large, small = a > 2.0**500, a < 2.0**-500
        factor = where(large, const(2.0**-600, x), where(small, const(2.0**600, x), 1.0))
        back = where(large, const(2.0**600, x), where(small, const(2.0**-600, x), 1.0))
        a, b = a * factor, b * factor
        value = scalar("sqrt", fma(a, a, product(b, b))) * back
    infinite = magnitude(x).eq(np.inf) | magnitude(y).eq(np.inf)
    return where(infinite, const(np.inf, x), value)
