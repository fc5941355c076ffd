"""Functions that rendered Python source calls by name, as ``h.name(...)``.

Each runs under CPython on NumPy scalars and under ``numba.njit``. Under CPython they return Python floats for the
caller to convert; ``math.lgamma`` and ``math.erf`` raise or return double where NumPy would not.

Functions that SciPy computes have their own names here (``h.jv``): SciPy's ufuncs under CPython, and its C functions
under Numba.
"""

from __future__ import annotations

import math

import scipy.special
from numba.extending import overload, register_jitable

from jitgrad.codegen import scipy_special
from jitgrad.loopir.scalars import OF_SCIPY


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


@register_jitable
def gamma(x):
    """The gamma function; NaN at the negative integers, where ``math.gamma`` raises, infinity where it overflows."""
    if x == 0:
        return math.copysign(math.inf, x)
    if x < -1e15 or (x < 0 and x == math.floor(x)):
        return math.nan
    if x > 171.7:
        return math.inf
    return math.gamma(x)


def _of_scipy(name, arity):
    """A function of SciPy's that also runs under Numba."""

    def function(*args):
        return float(getattr(scipy.special, name)(*map(float, args)))

    # Numba wants the number of arguments to be known.
    def one(x):
        call = scipy_special.pointer(name, 1)
        return (lambda x: call(x, 0)) if len(call.argtypes) == 2 else (lambda x: call(x))

    def two(x, y):
        call = scipy_special.pointer(name, 2)
        return (lambda x, y: call(x, y, 0)) if len(call.argtypes) == 3 else (lambda x, y: call(x, y))

    def three(x, y, z):
        call = scipy_special.pointer(name, 3)
        return (lambda x, y, z: call(x, y, z, 0)) if len(call.argtypes) == 4 else (lambda x, y, z: call(x, y, z))

    def four(x, y, z, w):
        call = scipy_special.pointer(name, 4)
        return (
            (lambda x, y, z, w: call(x, y, z, w, 0))
            if len(call.argtypes) == 5
            else (lambda x, y, z, w: call(x, y, z, w))
        )

    overload(function)({1: one, 2: two, 3: three, 4: four}[arity])
    return function


def __getattr__(name):
    """The functions of SciPy, each made when it is first asked for."""
    arity = next((n for n, names in OF_SCIPY.items() if name in names.split()), None)
    if arity is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = made = _of_scipy(name, arity)
    return made
