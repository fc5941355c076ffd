"""Functions that rendered Python source calls by name, as ``h.name(...)``.

Each runs under CPython on NumPy scalars and under ``numba.njit``. Under CPython they return Python floats for the
caller to convert; ``math.lgamma`` and ``math.erf`` raise or return double where NumPy would not.
"""

from __future__ import annotations

import math

from numba.extending import register_jitable


@register_jitable
def lgamma(x):
    """``log(abs(gamma(x)))``; infinity at the poles, where ``math.lgamma`` raises, and where it overflows."""
    if x < -1e15 or x > 2.5e305:
        return math.inf  # every such negative number is an integer
    if x <= 0 and x == math.floor(x):
        return math.inf
    return math.lgamma(x)


@register_jitable
def left_shift(x, n, bits):
    """``x << n`` with NumPy's meaning: 0 where n is negative or at least the number of bits."""
    return x << n if 0 <= n < bits else x ^ x


@register_jitable
def right_shift(x, n, bits):
    """``x >> n`` with NumPy's meaning: 0 (or -1 for negative x) where n is out of range."""
    if 0 <= n < bits:
        return x >> n
    return x >> (bits - 1) if x < 0 else x ^ x


@register_jitable
def power(x, n, one):
    """``x**n`` for integers, by squaring, wrapping around; 0 for a negative exponent, which NumPy refuses.

    ``one`` is a 1 of x's dtype.
    """
    result = one
    if n < 0:
        return one ^ one
    while n > 0:
        if n & 1:
            result = result * x
        x = x * x
        n = n >> 1
    return result
