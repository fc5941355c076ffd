"""sin, cos and tan of arguments up to 2**30; larger ones are for :mod:`jitgrad.loopir.decompose` to see to.

``x = k*pi/2 + r``. pi/2 is taken in three parts of 53 bits. The first product, inside an ``fma``, is subtracted
exactly: x and ``k*HALF_PI[0]`` are multiples of 2**-52 (or their difference is exact by Sterbenz' lemma), and below 1
in difference. The second is subtracted with its rounding error kept, so that
r is a pair with an error below 2**-130: no float64 below 2**30 is nearer than 2**-62 to a multiple of pi/2 (Muller,
Elementary Functions, 3rd ed., section 11.3).

For float32 all is done in float64.
"""

from __future__ import annotations

from jitgrad.loopir.expansions import coefficients as table
from jitgrad.loopir.expansions.arithmetic import (
    Pair,
    bit_and,
    bits,
    fast_two_sum,
    fma,
    from_bits,
    in_double,
    keep_zero,
    magnitude,
    nearest,
    polynomial,
    product,
    quotient,
    shift_left,
    two_product,
    where,
)
from jitgrad.loopir.nodes import Const, Expr, scalar

#: Greatest magnitude of an argument.
LIMIT = 2.0**30


def outside(x: Expr) -> Expr:
    """Whether the expansions do not hold for x."""
    return magnitude(x) > LIMIT


def _subtract(x: Expr, k: Expr, period: tuple[float, ...]) -> Pair:
    """``x - k*period`` as a pair."""
    r = fma(k, -period[0], x)
    p, e = two_product(k, -period[1])
    h, lost = fast_two_sum(r, p)  # where r is the smaller one, it is a multiple of the last place of the sum
    return h, fma(k, -period[2], lost + e)


def _reduced(x: Expr) -> tuple[Pair, Expr]:
    """``(r, k)`` with ``x = k*pi/2 + r`` and ``|r| <= pi/4``, k in the low bits of an integer."""
    k, low = nearest(product(x, 1 / table.HALF_PI[0]))
    return _subtract(x, k, table.HALF_PI), low


def _sine(r: Pair, single: bool) -> Pair:
    """sin(r) as an unevaluated sum; ``sin(h + low) = sin(h) + low*cos(h)``, where few bits of the cosine count."""
    h, low = r
    z = product(h, h)
    if single:
        return h, product(product(h, z), polynomial(z, table.SIN_LOW))
    return h, fma(product(h, z), polynomial(z, table.SIN), product(low, fma(z, -0.5, 1.0)))


def _cosine(r: Pair, single: bool) -> Pair:
    """cos(r) as an unevaluated sum; ``1 - z/2`` is kept with its rounding error."""
    h, low = r
    z = product(h, h)
    head = fma(z, -0.5, 1.0)
    if single:
        return head, product(product(z, z), polynomial(z, table.COS_LOW))
    lost = fma(z, -0.5, 1.0 - head)
    return head, fma(product(z, z), polynomial(z, table.COS), fma(-h, low, lost))


def _odd(k: Expr) -> Expr:
    return scalar("bitwise_and", k, Const(1, k.dtype)).ne(0)


def _turned(r: Pair, k: Expr, single: bool) -> Expr:
    """``sin(r + k*pi/2)``: sin or cos by the last bit of k, with the sign of the one before."""
    sine, cosine = _sine(r, single), _cosine(r, single)
    value = where(_odd(k), cosine[0] + cosine[1], sine[0] + sine[1])
    sign = bit_and(shift_left(k, 62), -(2**63))
    return from_bits(scalar("bitwise_xor", bits(value), sign), value.dtype)


@in_double
def sin(x: Expr, *, single: bool) -> Expr:
    return keep_zero(x, _turned(*_reduced(x), single))


@in_double
def cos(x: Expr, *, single: bool) -> Expr:
    r, k = _reduced(x)
    return _turned(r, k + 1, single)


@in_double
def tan(x: Expr, *, single: bool) -> Expr:
    """``sin(r) / cos(r)``, or the negative inverse of it; the quotient is refined with the rests of both."""
    r, k = _reduced(x)
    odd = _odd(k)
    sine, cosine = fast_two_sum(*_sine(r, single)), fast_two_sum(*_cosine(r, single))
    num = where(odd, cosine[0], sine[0]), where(odd, cosine[1], sine[1])
    den = where(odd, sine[0], cosine[0]), where(odd, sine[1], cosine[1])
    value = num[0] / den[0] if single else quotient(num, den)
    return keep_zero(x, from_bits(scalar("bitwise_xor", bits(value), shift_left(k, 63)), value.dtype))
