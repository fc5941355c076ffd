"""erf and erfc.

Up to 1, ``erf(x) = x + x * ERF(x**2)``; above, ``erf(x) = 1 - exp(-ERF_TAIL(x))``, where the polynomial is that of
``-log(erfc(x))`` and needs the accuracy only that counts in the difference. From 1/2 on, ``erfc(x) = exp(-x**2) * r *
ERFC(t)`` with ``r = 1 / (x + 2)`` and ``t = (x - 2) / (x + 2)``, a variable in which the last factor is smooth up to
infinity (M. Shepherd and J. Laframboise, Math. Comp. 36, 1981). x**2, r, t and the exponential are pairs.
"""

from __future__ import annotations

from jitgrad.loopir.expansions import coefficients as table
from jitgrad.loopir.expansions.arithmetic import (
    const,
    copysign,
    f32,
    fast_two_sum,
    fma,
    in_double,
    magnitude,
    pair_product,
    polynomial,
    power_of_two,
    product,
    two_product,
    two_sum,
    where,
)
from jitgrad.loopir.expansions.exponentials import exp_of_reduced, reduce, scaled
from jitgrad.loopir.nodes import Expr


def erf(x: Expr) -> Expr:
    single = x.dtype == f32
    a = magnitude(x)
    limit = 3.95 if single else 5.95  # from here on erf is 1
    b = where(a > limit, const(limit, x), a)
    k, (r, _) = reduce(-polynomial(b, table.ERF_TAIL_F32 if single else table.ERF_TAIL))
    scale = power_of_two(k, x.dtype)
    less = fma(product(r, r), polynomial(r, table.EXP_SHORT_F32 if single else table.EXP), r)
    tail = fma(-scale, less, 1.0 - scale)
    small = fma(x, polynomial(product(x, x), table.ERF_F32 if single else table.ERF), x)
    return where(a <= 1.0, small, copysign(where(a > 1.0, tail, a), x))


@in_double
def erfc(x: Expr, *, single: bool) -> Expr:
    a = magnitude(x)
    a = where(a > 30.0, const(30.0, x), a)
    square, e = two_product(a, a)
    k, (r, rest) = reduce(-square)
    power = fast_two_sum(*exp_of_reduced(fast_two_sum(r, rest - e)))
    d, lost = two_sum(a, const(2.0, x))
    inverse = 1.0 / d
    inverse = inverse, (fma(-inverse, d, 1.0) - inverse * lost) * inverse
    t = fma(inverse[0], -4.0, 1.0)
    t_low = fma(inverse[0], -4.0, 1.0 - t) + inverse[1] * -4.0
    c = table.ERFC_LOW if single else table.ERFC
    slope = polynomial(t, c[2:])
    head, tail = two_product(t, slope)
    series = fast_two_sum(const(c[0], x), head)
    series = series[0], series[1] + (fma(t_low, slope, tail) + c[1])
    h, low = pair_product(pair_product(power, inverse), series)
    value = scaled(h + low, k)
    near = 1.0 - fma(x, polynomial(product(x, x), table.ERF), x)
    value = where(a < 0.5, near, where(x < 0.0, 2.0 - value, value))
    return where(x.ne(x), x, value)
