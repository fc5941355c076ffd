"""arcsin, arccos, arctan and arctan2.

arctan of ``a/b`` with ``a, b >= 0``: the angle is 0, pi/4 or pi/2 plus the arctangent of ``a/b``, of ``(a - b)/(a +
b)`` or of ``-b/a``, which is at most ``tan(pi/8)`` in size; one division does for all three. arcsin above 1/2 is
``pi/2 - 2*arcsin(sqrt((1 - x)/2))``. (Moshier's Cephes reduces likewise.)
"""

from __future__ import annotations

import math

import numpy as np

from jitgrad.loopir.expansions import coefficients as table
from jitgrad.loopir.expansions.arithmetic import (
    const,
    copysign,
    fast_two_sum,
    fma,
    in_double,
    magnitude,
    polynomial,
    product,
    two_sum,
    where,
)
from jitgrad.loopir.nodes import Expr, scalar

#: Multiples of pi/4 in two parts.
_QUARTERS = ((0.0, 0.0), table.QUARTER_PI, table.HALF_PI[:2], table.THREE_QUARTERS_PI, table.PI)


def _arctan_of_quotient(a: Expr, b: Expr, left: Expr | None, single: bool) -> Expr:
    """The angle of the point (b, a) for ``a, b >= 0``; that of (-b, a) where ``left``."""
    steep = a > b * (math.sqrt(2) + 1)
    middle = a > b * (math.sqrt(2) - 1)
    zero = const(0.0, a)
    n = where(steep, -b, where(middle, a - b, a))
    d = where(steep, a, where(middle, a + b, b))
    d = where(d.eq(0.0), const(1.0, a), d)
    if single:
        t = n / d
        z = product(t, t)
        t = fma(product(t, z), polynomial(z, table.ATAN_LOW), t)
    else:
        inverse = 1.0 / d
        t = product(n, inverse)
        lost = where(middle & ~steep, two_sum(a, b)[1], 0.0)
        rest = where(d < np.inf, (fma(-t, d, n) - t * lost) * inverse, 0.0)
        z = product(t, t)
        t = t + fma(product(t, z), polynomial(z, table.ATAN), rest)

    def base(k: int) -> Expr:
        quarters = [const(angle[k], a) for angle in _QUARTERS]
        right = where(steep, quarters[2], where(middle, quarters[1], zero))
        if left is None:
            return right
        return where(left, where(steep, quarters[2], where(middle, quarters[3], quarters[4])), right)

    t = t if left is None else where(left, -t, t)
    return base(0) + (base(1) + t)


@in_double
def arctan(x: Expr, *, single: bool) -> Expr:
    return copysign(_arctan_of_quotient(magnitude(x), const(1.0, x), None, single), x)


@in_double
def arctan2(y: Expr, x: Expr, *, single: bool) -> Expr:
    """With the special values of C99, annex F.9.1.4."""
    a, b = magnitude(y), magnitude(x)
    both = a.eq(np.inf) & b.eq(np.inf)
    a, b = where(both, const(1.0, a), a), where(both, const(1.0, b), b)
    if not single:
        # a + b might overflow, and the multiples of b that a is compared with be inexact.
        scale = where(a > 2.0**1000, const(0.25, a), where(b < 2.0**-900, const(2.0**100, a), 1.0))
        a, b = a * scale, b * scale
    left = copysign(const(1.0, x), x) < 0.0
    return copysign(_arctan_of_quotient(a, b, left, single), y)


def _arcsin_reduced(x: Expr, single: bool) -> tuple[Expr, Expr, Expr]:
    """``(s, arcsin(s) - s, whether |x| > 1/2)``, where s is ``|x|`` or, above 1/2, ``sqrt((1 - |x|)/2)``."""
    a = magnitude(x)
    large = a > 0.5
    z = where(large, fma(a, -0.5, 0.5), product(a, a))
    s = where(large, scalar("sqrt", z), a)
    return s, product(product(s, z), polynomial(z, table.ASIN_LOW if single else table.ASIN)), large


@in_double
def arcsin(x: Expr, *, single: bool) -> Expr:
    s, rest, large = _arcsin_reduced(x, single)
    hi, lo = _QUARTERS[2]
    h, low = fast_two_sum(const(hi, x), s * -2.0)
    return copysign(where(large, h + (low + fma(rest, -2.0, lo)), s + rest), x)


@in_double
def arccos(x: Expr, *, single: bool) -> Expr:
    s, rest, large = _arcsin_reduced(x, single)
    (hi, lo), (whole, whole_lo) = _QUARTERS[2], _QUARTERS[4]
    angle = (s + rest) * 2.0
    near_ends = where(x < 0.0, whole - (angle - whole_lo), angle)
    signed = copysign(s, x)
    return where(large, near_ends, hi - (signed - (lo - copysign(rest, x))))
