"""gammaln, the logarithm of the absolute value of the gamma function.

From 8.5 on Stirling's series (DLMF 5.11.1). Below, a polynomial for ``gammaln(2 + w)``, ``|w| <= 1/2``, to which the
recurrence ``gamma(x + 1) = x * gamma(x)`` leads: the logarithm of the factors is added or subtracted, and as the two
cancel between 1 and 2, both are pairs. For negative x, by reflection (DLMF 5.5.3), where a result near 0 has a small
absolute error only.
"""

from __future__ import annotations

import math

import numpy as np

from jitgrad.loopir.expansions import coefficients as table
from jitgrad.loopir.expansions.arithmetic import (
    const,
    fast_two_sum,
    fma,
    in_double,
    magnitude,
    polynomial,
    product,
    two_product,
    two_sum,
    where,
)
from jitgrad.loopir.expansions.logarithms import log, log_pair
from jitgrad.loopir.nodes import Expr, scalar

_LARGE = 8.5


def _positive(a: Expr, single: bool) -> Expr:
    """For a > 0."""
    large = a >= _LARGE
    one = const(1.0, a)
    up_two, up_one = a < 0.5, a < 1.5
    # Between 1.5 and 2.5 nothing is shifted; above, w is what is left after so many factors.
    steps = scalar("rint", a - 2.0)
    w = where(up_two, a, where(up_one, a - 1.0, where(a < 2.5, a - 2.0, (a - 2.0) - steps)))
    factors = where(up_two, fma(a, a, a), where(up_one, a, one))
    for j in range(1, 7):
        factors = where((steps >= float(j)) & (a >= 2.5), factors * (a - float(j)), factors)
    h, low = log_pair(where(large, a, factors), single)

    c = table.GAMMALN_LOW if single else table.GAMMALN
    head, lost = two_product(w, c[0])
    base = fast_two_sum(head, fma(product(w, w), polynomial(w, c[2:]), fma(w, c[1], lost)))
    sign = where(up_one, const(-1.0, a), one)
    s, e = two_sum(sign * h, base[0])
    near = s + (e + (sign * low + base[1]))

    r = one / a
    series = product(r, polynomial(product(r, r), table.STIRLING_LOW if single else table.STIRLING))
    b = a - 0.5
    p, e = two_product(b, h - 1.0)
    far = p + (e + (b * low + (series + (0.5 * math.log(2 * math.pi) - 0.5))))
    far = where(p < np.inf, far, p)
    return where(large, far, near)


@in_double
def gammaln(x: Expr, *, single: bool) -> Expr:
    a = magnitude(x)
    value = _positive(a, single)
    # |sin(pi*x)| from the distance to the nearest integer, which is exact.
    t = (a - scalar("rint", a)) * math.pi
    z = product(t, t)
    sine = magnitude(fma(product(t, z), polynomial(z, table.SIN_HALF), t))
    mirrored = math.log(math.pi) - log(product(a, sine)) - value
    # Near 0 both signs have the logarithm of |x|, and the product above would underflow.
    value = where((x < 0.0) & (a > 2.0**-60), mirrored, value)
    pole = (x <= 0.0) & scalar("rint", x).eq(x)
    return where(pole | a.eq(np.inf), const(np.inf, x), where(x.ne(x), x, value))
