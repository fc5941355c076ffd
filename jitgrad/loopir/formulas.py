"""Scalar functions as formulas over simpler scalar functions of Loop IR.

Both renderers expand these, so there is one definition. The formulas are free of branches (only ``where``), stable
where the textbook form is not, and share subexpressions: a renderer must compute an expression object once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jitgrad.ir.types import f64, is_float
from jitgrad.loopir.nodes import Const, Expr, Scalar, cast, scalar

_LN2 = math.log(2.0)
_PI = math.pi


def _c(value: float | int | bool, like: Expr) -> Const:
    return Const(value, like.dtype)


def select(cond: Expr, x: Expr, y: Expr) -> Expr:
    """``x`` where ``cond`` holds, else ``y``."""
    return scalar("where", cond, x, y)


def _magnitude(x: Expr) -> Expr:
    return scalar("absolute", x)


def isnan(x: Expr) -> Expr:
    return x.ne(x)


def isinf(x: Expr) -> Expr:
    return _magnitude(x).eq(np.inf)


def isfinite(x: Expr) -> Expr:
    return _magnitude(x) < np.inf


def signbit(x: Expr) -> Expr:
    return scalar("copysign", _c(1, x), x) < 0


def square(x: Expr) -> Expr:
    return x * x


def reciprocal(x: Expr) -> Expr:
    return _c(1, x) / x


def sign(x: Expr) -> Expr:
    """-1, 0 or 1, and NaN of NaN."""
    if x.dtype.kind == "u":
        return select(x.eq(0), _c(0, x), _c(1, x))
    below = select(x < 0, _c(-1, x), x if is_float(x.dtype) else _c(0, x))
    return select(x > 0, _c(1, x), select(x.eq(0), _c(0, x), below))


def maximum(x: Expr, y: Expr) -> Expr:
    """The larger one; NaN if either is."""
    keep = x >= y
    return select(keep | isnan(x) if is_float(x.dtype) else keep, x, y)


def minimum(x: Expr, y: Expr) -> Expr:
    """The smaller one; NaN if either is."""
    keep = x <= y
    return select(keep | isnan(x) if is_float(x.dtype) else keep, x, y)


def fmax(x: Expr, y: Expr) -> Expr:
    """The larger one; the other one where one is NaN."""
    keep = x >= y
    return select(keep | isnan(y) if is_float(x.dtype) else keep, x, y)


def fmin(x: Expr, y: Expr) -> Expr:
    """The smaller one; the other one where one is NaN."""
    keep = x <= y
    return select(keep | isnan(y) if is_float(x.dtype) else keep, x, y)


def heaviside(x: Expr, at_zero: Expr) -> Expr:
    below = select(x < 0, _c(0, x), x)  # what is left is NaN
    return select(x.eq(0), at_zero, select(x > 0, _c(1, x), below))


def _adjusted_fmod(x: Expr, y: Expr) -> tuple[Expr, Expr, Expr]:
    """``(fmod(x, y), the remainder with y's sign, whether y was added to get it)``, as in NumPy's ``npy_divmod``."""
    r = scalar("fmod", x, y)
    wrong = r.ne(0) & (r < 0).ne(y < 0)
    fixed = select(wrong, r + y, r)
    return r, select(r.eq(0), scalar("copysign", _c(0, y), y), fixed), wrong


def remainder(x: Expr, y: Expr) -> Expr:
    """The remainder of floats with the sign of the divisor."""
    return _adjusted_fmod(x, y)[1]


def floor_divide(x: Expr, y: Expr) -> Expr:
    """The quotient of floats, rounded down."""
    r, _, wrong = _adjusted_fmod(x, y)
    exact = (x - r) / y
    quotient = select(wrong, exact - 1, exact)
    down = scalar("floor", quotient)
    down = select((quotient - down) > 0.5, down + 1, down)
    down = select(quotient.eq(0), scalar("copysign", _c(0, x), x / y), down)
    return select(y.eq(0), x / y, down)


def _decay(x: Expr) -> Expr:
    """``exp(-|x|)``, one expression for x and -x."""
    while isinstance(x, Scalar) and x.op == "negative":
        x = x.args[0]
    return scalar("exp", -_magnitude(x))


def softplus(x: Expr) -> Expr:
    """``log(1 + exp(x))`` without overflow."""
    return scalar("maximum", x, _c(0, x)) + scalar("log1p_unit", _decay(x))


def log_expit(x: Expr) -> Expr:
    """``log(expit(x)) == -softplus(-x)`` without underflow."""
    return scalar("minimum", x, _c(0, x)) - scalar("log1p_unit", _decay(x))


def expit(x: Expr) -> Expr:
    """``1 / (1 + exp(-x))`` without overflow. Of a difference of logarithms of sums of exponentials, as derivatives of
    nested ones have it, the quotient of the sums: no logarithm is computed."""
    apart = _apart(x)
    if apart is None:
        e = _decay(x)
        return select(x < 0, e, _c(1, x)) / (_c(1, x) + e)
    (a, rest_a, _), (b, rest_b, _) = map(_terms, apart)
    w, first = _weight(a, b), a >= b
    sum_a, sum_b = (_c(1, x) if rest is None else rest + 1 for rest in (rest_a, rest_b))
    sum_a, sum_b = select(first, sum_a, sum_a * w), select(first, sum_b * w, sum_b)
    return (sum_b if _negated(x) else sum_a) / (sum_a + sum_b)


def _negated(x: Expr) -> bool:
    return isinstance(x, Scalar) and x.op == "negative" and not _negated(x.args[0])


def _apart(x: Expr) -> tuple[Expr, Expr] | None:
    """``(a, b)`` where x or -x is ``a - b`` with 0 for two equal infinities, as the partials of logaddexp have it."""
    while isinstance(x, Scalar) and x.op == "negative":
        x = x.args[0]
    if not (isinstance(x, Scalar) and x.op == "where"):
        return None
    difference = x.args[2]
    if not (isinstance(difference, Scalar) and difference.op == "subtract"):
        return None
    a, b = difference.args
    return (a, b) if x is select(a.eq(b) & scalar("isinf", a), _c(0, a), difference) else None


def _weight(a: Expr, b: Expr) -> Expr:
    """``exp(-|a - b|)``, and 1 for two equal infinities."""
    return select(a.eq(b), _c(1, a), _decay(a - b))


def logit(x: Expr) -> Expr:
    """``log(x / (1 - x))``; near 1/2 by ``log1p``, as the quotient loses digits there (scipy does the same)."""
    s = (x - 0.5) * 2
    centre = scalar("log1p", s) - scalar("log1p", -s)
    near = (x >= 0.3) & (x <= 0.65)
    return select(near, centre, scalar("log", x / (_c(1, x) - x)))


def xlogy(x: Expr, y: Expr) -> Expr:
    """``x * log(y)``, and 0 where x is 0 (unless y is NaN)."""
    return select(x.eq(0) & ~isnan(y), _c(0, x), x * scalar("log", y))


def xlog1py(x: Expr, y: Expr) -> Expr:
    """``x * log1p(y)``, and 0 where x is 0 (unless y is NaN)."""
    return select(x.eq(0) & ~isnan(y), _c(0, x), x * scalar("log1p", y))


def logaddexp(x: Expr, y: Expr) -> Expr:
    """``log(exp(x) + exp(y))`` without overflow. Where an operand is such a logarithm itself, there is one for all: the
    exponentials can then be computed side by side."""
    top, rest, terms = _merged(x, y)
    if terms == 2:
        return top + scalar("log1p_unit", rest)
    large = rest > 1
    inner = scalar("log1p_unit", select(large, (rest - 1) * 0.5, rest))
    return top + select(large, inner + _LN2, inner)


def _merged(x: Expr, y: Expr) -> tuple[Expr, Expr, int]:
    """``(top, rest, n)`` with ``log(exp(x) + exp(y)) = top + log(1 + rest)`` and ``0 <= rest < n <= 4``."""
    (a, rest_a, n), (b, rest_b, m) = _terms(x), _terms(y)
    if n + m > 4:
        a, rest_a, n = x, None, 1
    if n + m > 4:
        b, rest_b, m = y, None, 1
    w = _weight(a, b)
    zero = _c(0, a)
    below, above = (w if r is None else w * (r + 1) for r in (rest_a, rest_b))
    if rest_a is not None or rest_b is not None:
        w = select(a >= b, (rest_a or zero) + above, (rest_b or zero) + below)
    return scalar("maximum", a, b), w, n + m


def _terms(x: Expr) -> tuple[Expr, Expr | None, int]:
    """As :func:`_merged` for an operand; the rest is None for 0."""
    if isinstance(x, Scalar) and x.op == "softplus":
        return scalar("maximum", x.args[0], _c(0, x)), _decay(x.args[0]), 2
    if isinstance(x, Scalar) and x.op == "logaddexp":
        return _merged(*x.args)
    return x, None, 1


def logaddexp2(x: Expr, y: Expr) -> Expr:
    """``log2(2**x + 2**y)`` without overflow."""
    inner = scalar("log1p", scalar("exp2", -_magnitude(x - y))) * (1 / _LN2)
    return select(x.eq(y), x + 1, scalar("maximum", x, y) + inner)


# Polygamma functions

#: B_2, B_4, ..., the even Bernoulli numbers.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
#: The asymptotic series is used from here on; its first dropped term is then below the rounding error.
_SHIFT = 10


def _horner(coefficients: Sequence[float], x: Expr) -> Expr:
    """A polynomial, lowest coefficient first."""
    total: Expr = _c(coefficients[-1], x)
    for a in reversed(coefficients[:-1]):
        total = total * x + a
    return total


def _integer_power(x: Expr, n: int) -> Expr:
    result = x
    for _ in range(n - 1):
        result = result * x
    return result


def _polygamma_positive(n: int, x: Expr) -> Expr:
    """The n-th derivative of digamma for x > 0: recurrence up to x >= 10, then the series (DLMF 5.11.2, 5.15.8)."""
    sign_ = -1.0 if n % 2 == 0 else 1.0
    low = x < _SHIFT
    small = select(low, x, _c(1, x))  # keeps infinities out of the sum that is not used
    steps: Expr = _c(0, x)
    for k in range(_SHIFT):
        steps = steps + _c(1, x) / _integer_power(small + k, n + 1)
    steps = steps * (sign_ * math.factorial(n))
    large = select(low, small + _SHIFT, x)
    r = _c(1, x) / large
    even = [
        sign_ * b * math.factorial(2 * k + n - 1) / math.factorial(2 * k) for k, b in enumerate(_BERNOULLI, start=1)
    ]
    tail = _horner(even, r * r) * (r * r)
    if n == 0:
        series = scalar("log", large) - r * 0.5 + tail
    else:
        head = r * (sign_ * math.factorial(n) * 0.5) + sign_ * math.factorial(n - 1)
        series = (head + tail) * _integer_power(r, n)
    return select(low, series + steps, series)


def _cotangent_derivative(n: int) -> tuple[float, ...]:
    """Coefficients of P with ``(d/dt)^n cot(t) = P(cot(t))``, from ``cot' = -(1 + cot^2)``."""
    p = np.polynomial.Polynomial([0.0, 1.0])
    for _ in range(n):
        p = -(p.deriv() * np.polynomial.Polynomial([1.0, 0.0, 1.0]))
    return tuple(float(a) for a in p.coef)


def polygamma(n: int, x: Expr) -> Expr:
    """The n-th derivative of digamma, in double precision, by reflection for x <= 0 (DLMF 5.5.4).

    At the poles, digamma gives NaN (an infinity at 0), the odd orders infinity and the even ones NaN.
    """
    if x.dtype != f64:
        return cast(polygamma(n, cast(x, f64)), x.dtype)
    negative = x <= 0
    direct = _polygamma_positive(n, select(negative, _c(1, x) - x, x))
    near = select(x.eq(0), x, x - scalar("rint", x))  # exact, and tan has period pi; keeps the sign of zero
    cot = _c(1, x) / scalar("tan", near * _PI)
    correction = _horner(_cotangent_derivative(n), cot) * _PI ** (n + 1)
    mirrored = direct * (1.0 if n % 2 == 0 else -1.0) - correction
    pole = near.eq(0) & (x < 0 if n == 0 else negative)
    at_pole = _c(np.nan if n % 2 == 0 else np.inf, x)
    return select(negative, select(pole, at_pole, mirrored), direct)


def digamma(x: Expr) -> Expr:
    return polygamma(0, x)


def trigamma(x: Expr) -> Expr:
    return polygamma(1, x)
