"""Elementary functions of complex numbers, in real arithmetic on the parts. Each takes pairs ``(re, im)`` of traced
floats of one dtype and gives such a pair, or a real value.

Branch cuts and signed zeros are those of C99, annex G, which NumPy follows. Formulas of the inverse functions are from
W. Kahan, "Branch cuts for complex elementary functions" (1987); division is R. L. Smith's, Communications of the ACM 5
(1962) 435, as NumPy has it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from jitgrad.frontend.primitives import constant_like as _like

Z = tuple[Any, Any]


def _where(condition: Any, x: Any, y: Any) -> Any:
    return np.where(condition, x, y)


def _choose(condition: Any, a: Z, b: Z) -> Z:
    return _where(condition, a[0], b[0]), _where(condition, a[1], b[1])


def _is_zero(part: Any) -> bool:
    """Is it the constant +0?"""
    op = part.value.op
    if op is None or op.name != "constant" or part.dims:
        return False
    number = op.attrs["value"]
    return bool(number == 0 and not np.signbit(number))


# -- arithmetic --------------------------------------------------------------------------------------------------------


def add(a: Z, b: Z) -> Z:
    return a[0] + b[0], a[1] + b[1]


def subtract(a: Z, b: Z) -> Z:
    return a[0] - b[0], a[1] - b[1]


def multiply(a: Z, b: Z) -> Z:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def divide(a: Z, b: Z) -> Z:
    """By the part of ``b`` that is larger; a real ``b`` divides both parts."""
    (x, y), (c, d) = a, b
    if _is_zero(d):
        return x / c, y / c
    size, other = abs(c), abs(d)
    first = size >= other
    larger, smaller = _choose(first, (c, d), (d, c))
    nought = larger == 0
    ratio = smaller / _where(nought, 1.0, larger)
    scale = 1.0 / _where(nought, 1.0, larger + smaller * ratio)
    re, im = _choose(first, (x + y * ratio, y - x * ratio), (x * ratio + y, y * ratio - x))
    return _choose(nought, (x / size, y / size), (re * scale, im * scale))


def negative(a: Z) -> Z:
    return -a[0], -a[1]


def positive(a: Z) -> Z:
    return a


def conjugate(a: Z) -> Z:
    return a[0], -a[1]


def square(a: Z) -> Z:
    x, y = a
    product = x * y
    return x * x - y * y, product + product


def reciprocal(a: Z) -> Z:
    x, y = a
    first = abs(y) <= abs(x)
    larger, smaller = _choose(first, (x, y), (y, x))
    ratio = smaller / larger
    scale = larger + smaller * ratio
    return _choose(first, (1.0 / scale, -ratio / scale), (ratio / scale, -1.0 / scale))


def absolute(a: Z) -> Any:
    return np.hypot(*a)


def sign(a: Z) -> Z:
    """``z / abs(z)``, and 0 at 0. Where one part is infinite, the other one counts for nothing."""
    size = absolute(a)
    nought = size == 0
    size = _where(nought, 1.0, size)
    nothing = _like(size, 0.0)
    infinite = np.isinf(a[0]), np.isinf(a[1])
    ends = tuple(_where(i, np.copysign(_like(p, 1.0), p), nothing) for i, p in zip(infinite, a, strict=True))
    finite = _where(nought, nothing, a[0] / size), _where(nought, nothing, a[1] / size)
    return _choose(np.logical_xor(*infinite), (ends[0], ends[1]), finite)


def angle(a: Z) -> Any:
    return np.arctan2(a[1], a[0])


def rint(a: Z) -> Z:
    return np.rint(a[0]), np.rint(a[1])


# -- powers ------------------------------------------------------------------------------------------------------------


def integer_power(a: Z, n: int) -> Z:
    """By squaring; NumPy does the same for small exponents."""
    result: Z | None = None
    factor, k = a, abs(n)
    while k:
        if k & 1:
            result = factor if result is None else multiply(result, factor)
        k >>= 1
        if k:
            factor = square(factor)
    if result is None:
        return np.ones_like(a[0]), np.zeros_like(a[1])  # of NaN and infinities too
    return reciprocal(result) if n < 0 else result


def power(a: Z, b: Z) -> Z:
    """``exp(b log a)``; 0 to a power is 1, 0 or NaN as in NumPy."""
    nought = np.logical_and(a[0] == 0, a[1] == 0)
    base = _where(nought, 1.0, a[0]), _where(nought, 0.0, a[1])
    re, im = exp(multiply(b, log(base)))
    none = np.logical_and(b[0] == 0, b[1] == 0)
    good = np.logical_and(b[0] > 0, b[1] == 0)
    zero = _where(good, _like(re, 0.0), _like(re, np.nan))
    re, im = _choose(nought, (zero, zero), (re, im))
    return _where(none, 1.0, re), _where(none, 0.0, im)


def sqrt(a: Z) -> Z:
    x, y = a
    left, up = np.signbit(x), np.copysign(_like(y, 1.0), y)
    # Not abs(x) and abs(y): their derivative at 0 is 0, and these are what they are on the side of the signed zero.
    half = 0.5 * _where(left, -x, x) + 0.5 * np.hypot(x, y)
    t = np.sqrt(half)
    other = _where(half == 0, y, y / (t + t))
    re, im = _choose(left, (other * up, t * up), (t, other))
    infinite = np.isinf(y)
    return _where(infinite, np.inf, re), _where(infinite, y, im)


# -- exponentials and logarithms ---------------------------------------------------------------------------------------


def exp(a: Z) -> Z:
    x, y = a
    size = np.exp(x)
    vanishes = np.logical_and(np.isneginf(x), np.logical_not(np.isfinite(y)))
    angle = _where(vanishes, 0.0, y)
    return size * np.cos(angle), _times(size, np.sin(angle), y)


def _times(size: Any, factor: Any, at: Any) -> Any:
    """``size * factor``, and not NaN where the size is infinite and the factor, which is 0 at 0, is 0."""
    return _where(np.logical_and(at == 0, np.isinf(size)), factor, size * factor)


def log(a: Z) -> Z:
    return np.log(absolute(a)), angle(a)


def _scaled(a: Z, factor: float) -> Z:
    return a[0] * factor, a[1] * factor


def exp2(a: Z) -> Z:
    return exp(_scaled(a, float(np.log(2.0))))


def expm1(a: Z) -> Z:
    x, y = a
    half = np.sin(0.5 * y)
    return np.expm1(x) * np.cos(y) - 2.0 * half * half, np.exp(x) * np.sin(y)


def log1p(a: Z) -> Z:
    x, y = a
    near = np.logical_and(np.abs(x) < 0.5, np.abs(y) < 0.5)
    u, v = _where(near, x, 0.0), _where(near, y, 0.0)
    close = 0.5 * np.log1p(u * (2.0 + u) + v * v)
    far = np.log(np.hypot(_where(near, 1.0, 1.0 + x), _where(near, 0.0, y)))
    return _where(near, close, far), np.arctan2(y, 1.0 + x)


def log2(a: Z) -> Z:
    return _scaled(log(a), float(1.0 / np.log(2.0)))


def log10(a: Z) -> Z:
    return _scaled(log(a), float(1.0 / np.log(10.0)))


# -- trigonometric and hyperbolic --------------------------------------------------------------------------------------


def _times_i(a: Z) -> Z:
    return -a[1], a[0]


def _over_i(a: Z) -> Z:
    return a[1], -a[0]


def sinh(a: Z) -> Z:
    x, y = a
    return _times(np.cos(y), np.sinh(x), x), _times(np.cosh(x), np.sin(y), y)


def cosh(a: Z) -> Z:
    x, y = a
    size = np.sinh(x)
    im = _where(np.logical_and(y == 0, np.isinf(size)), np.copysign(_like(x, 1.0), x) * y, size * np.sin(y))
    return np.cosh(x) * np.cos(y), im


def tanh(a: Z) -> Z:
    """``tan(y) = t``, ``sinh(x) = s``; for large ``x`` the imaginary part is as good as ``2 sin(2y) exp(-2|x|)``."""
    x, y = a
    far = np.abs(x) > (11.0 if x.dtype == np.float32 else 22.0)
    near = _where(far, 0.0, x)
    t, s = np.tan(y), np.sinh(near)
    beta = 1.0 + t * t
    scale = 1.0 / (1.0 + beta * s * s)
    small = _where(far, np.abs(x), 1.0)
    bounded = _where(np.isfinite(y), y, 0.0)
    tail = 4.0 * np.sin(bounded) * np.cos(bounded) * np.exp(-2.0 * small)
    re, im = beta * np.sqrt(1.0 + s * s) * s * scale, t * scale
    return _choose(far, (np.copysign(_like(x, 1.0), x), tail), (re, im))


def sin(a: Z) -> Z:
    return _over_i(sinh(_times_i(a)))


def cos(a: Z) -> Z:
    return cosh(_times_i(a))


def tan(a: Z) -> Z:
    return _over_i(tanh(_times_i(a)))


def _roots(a: Z) -> tuple[Z, Z]:
    """The square roots of 1 - z and 1 + z."""
    x, y = a
    return sqrt((1.0 - x, -y)), sqrt((1.0 + x, y))


def arcsin(a: Z) -> Z:
    (p, q), (r, s) = _roots(a)
    return np.arctan2(a[0], p * r - q * s), np.arcsinh(p * s - q * r)


def arccos(a: Z) -> Z:
    (p, q), (r, s) = _roots(a)
    return 2.0 * np.arctan2(p, r), np.arcsinh(r * q - s * p)


def arccosh(a: Z) -> Z:
    x, y = a
    (p, q), (r, s) = sqrt((x - 1.0, y)), sqrt((x + 1.0, y))
    return np.arcsinh(p * r + q * s), 2.0 * np.arctan2(q, r)


def arcsinh(a: Z) -> Z:
    return _over_i(arcsin(_times_i(a)))


def arctanh(a: Z) -> Z:
    x, y = a
    gap, wide = np.hypot(1.0 - x, y), np.hypot(1.0 + x, y)
    near = np.abs(x) < 0.5
    u = _where(near, gap, 1.0)
    close = 0.25 * np.log1p(4.0 * _where(near, x, 0.0) / (u * u))
    re = _where(near, close, 0.5 * (np.log(wide) - np.log(gap)))
    return re, 0.5 * np.arctan2(2.0 * y, (1.0 - x) * (1.0 + x) - y * y)


def arctan(a: Z) -> Z:
    return _over_i(arctanh(_times_i(a)))


# -- tests and comparisons ---------------------------------------------------------------------------------------------


def isnan(a: Z) -> Any:
    return np.logical_or(np.isnan(a[0]), np.isnan(a[1]))


def isinf(a: Z) -> Any:
    return np.logical_or(np.isinf(a[0]), np.isinf(a[1]))


def isfinite(a: Z) -> Any:
    return np.logical_and(np.isfinite(a[0]), np.isfinite(a[1]))


def truth(a: Z) -> Any:
    return np.logical_or(a[0] != 0, a[1] != 0)


def equal(a: Z, b: Z) -> Any:
    return np.logical_and(a[0] == b[0], a[1] == b[1])


def not_equal(a: Z, b: Z) -> Any:
    return np.logical_or(a[0] != b[0], a[1] != b[1])


def _ordered(compare: Any, a: Z, b: Z) -> Any:
    """By the real parts, and by the imaginary parts where those are equal."""
    strict = np.less if compare in (np.less, np.less_equal) else np.greater
    known = np.logical_not(np.logical_or(np.isnan(a[1]), np.isnan(b[1])))
    first = np.logical_and(strict(a[0], b[0]), known)
    return np.logical_or(first, np.logical_and(a[0] == b[0], compare(a[1], b[1])))


def maximum(a: Z, b: Z) -> Z:
    return _choose(np.logical_or(_ordered(np.greater_equal, a, b), isnan(a)), a, b)


def minimum(a: Z, b: Z) -> Z:
    return _choose(np.logical_or(_ordered(np.less_equal, a, b), isnan(a)), a, b)


def logical_and(a: Z, b: Z) -> Any:
    return np.logical_and(truth(a), truth(b))


def logical_or(a: Z, b: Z) -> Any:
    return np.logical_or(truth(a), truth(b))


def logical_xor(a: Z, b: Z) -> Any:
    return np.logical_xor(truth(a), truth(b))


def logical_not(a: Z) -> Any:
    return np.logical_not(truth(a))


#: ufunc -> the function of pairs.
TABLE: dict[np.ufunc, Any] = {
    getattr(np, f.__name__): f
    for f in (
        add, subtract, multiply, divide, negative, positive, conjugate, square, reciprocal, absolute, sign, rint,
        power, sqrt, exp, log, exp2, expm1, log1p, log2, log10, sinh, cosh, tanh, sin, cos, tan, arcsin, arccos,
        arccosh, arcsinh, arctanh, arctan, isnan, isinf, isfinite, equal, not_equal, maximum, minimum, logical_and,
        logical_or, logical_xor, logical_not,
    )
}  # fmt: skip
TABLE[np.float_power] = power
for _compare in (np.less, np.less_equal, np.greater, np.greater_equal):
    TABLE[_compare] = functools.partial(_ordered, _compare)
