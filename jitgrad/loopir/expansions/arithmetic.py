"""What the expansions are written in: constants, selects, polynomials, bits of floats, and pairs.

A *pair* ``(h, l)`` stands for the number ``h + l``, with ``|l|`` at most half a unit in the last place of ``h``: twice
the precision. The error-free transformations are those of Dekker (1971) and Knuth; see Muller et al., Handbook of
Floating-Point Arithmetic, 2nd ed., chapters 4 and 5.

LLVM may fuse a product with a sum that uses it (the flag ``contract``). Where a proof needs the product as it is when
rounded, it is made by :func:`product`, which is never fused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from jitgrad.ir.types import DTYPES, f64
from jitgrad.loopir.nodes import Const, Expr, Scalar, cast, scalar

f32 = DTYPES["f32"]
Pair = tuple[Expr, Expr]


def const(value: float, like: Expr) -> Const:
    """A constant of the dtype of ``like``."""
    return Const(value, like.dtype)


def where(cond: Expr, a: Expr, b: Expr | float) -> Expr:
    """``a`` where ``cond`` holds, else ``b``."""
    return scalar("where", cond, a, b if isinstance(b, Expr) else const(b, a))


def fma(a: Expr, b: Expr | float, c: Expr | float) -> Expr:
    """``a * b + c``, rounded once."""
    return scalar("fma", a, b if isinstance(b, Expr) else const(b, a), c if isinstance(c, Expr) else const(c, a))


def magnitude(x: Expr) -> Expr:
    return scalar("absolute", x)


def copysign(x: Expr, sign: Expr) -> Expr:
    return scalar("copysign", x, sign)


def product(a: Expr, b: Expr | float) -> Expr:
    """``a * b`` rounded, whatever is done with it."""
    return scalar("product", a, b if isinstance(b, Expr) else const(b, a))


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """A polynomial, lowest coefficient first: above degree 8 its even and its odd part by Horner's rule, side by side,
    as half the latency is worth one more product."""
    if len(coefficients) <= 9:
        return _horner(x, coefficients)
    square = product(x, x)
    return fma(_horner(square, coefficients[1::2]), x, _horner(square, coefficients[::2]))


def _horner(x: Expr, coefficients: Sequence[float]) -> Expr:
    p: Expr = const(coefficients[-1], x)
    for c in reversed(coefficients[:-1]):
        p = fma(p, x, c)
    return p


def in_double(f: Callable[..., Expr]) -> Callable[..., Expr]:
    """A function of float64 for float32 too: computed in float64 and rounded.

    ``f`` takes a keyword ``single``, true where only the accuracy of float32 is wanted."""

    @functools.wraps(f)
    def function(*args: Expr) -> Expr:
        if args[0].dtype == f64:
            return f(*args, single=False)
        return cast(f(*(cast(x, f64) for x in args), single=True), args[0].dtype)

    return function


# Bits


def mantissa_bits(dtype: np.dtype) -> int:
    return 23 if dtype == f32 else 52


def exponent_bias(dtype: np.dtype) -> int:
    return 127 if dtype == f32 else 1023


def bits(x: Expr) -> Expr:
    """The bits of a float as an integer of the same width."""
    return Scalar("bitcast", (x,), DTYPES["i32" if x.dtype == f32 else "i64"])


def from_bits(x: Expr, dtype: np.dtype) -> Expr:
    return Scalar("bitcast", (x,), dtype)


def shift_left(x: Expr, n: int) -> Expr:
    return scalar("left_shift", x, Const(n, x.dtype))


def shift_right(x: Expr, n: int) -> Expr:
    """Keeps the sign."""
    return scalar("right_shift", x, Const(n, x.dtype))


def bit_and(x: Expr, mask: int) -> Expr:
    return scalar("bitwise_and", x, Const(mask, x.dtype))


def power_of_two(k: Expr, dtype: np.dtype) -> Expr:
    """2**k for an integer k (as wide as the float) within the normal range."""
    return from_bits(shift_left(k + exponent_bias(dtype), mantissa_bits(dtype)), dtype)


def nearest(x: Expr) -> Pair:
    """The nearest integer k as a float, and a number in the low bits of whose bits it stands.

    Adding 1.5 * 2**(mantissa bits) rounds, and leaves the integer in the low bits of the sum (no conversion to a 64-bit
    integer exists in AVX2). Right below 2**(mantissa bits - 1).
    """
    magic = const(1.5 * 2.0 ** mantissa_bits(x.dtype), x)
    shifted = x + magic
    return shifted - magic, bits(shifted)


def float_of_small(k: Expr, dtype: np.dtype) -> Expr:
    """An integer below 2**(mantissa bits - 1) as a float, by adding it to the bits of the magic constant."""
    magic = Const(1.5 * 2.0 ** mantissa_bits(dtype), dtype)
    return from_bits(bits(magic) + k, dtype) - magic


def int_of_small(k: Expr) -> Expr:
    """A float with a value that is an integer below 2**(mantissa bits - 1), as an integer of the same width."""
    magic = const(1.5 * 2.0 ** mantissa_bits(k.dtype), k)
    return bits(k + magic) - bits(magic)


def tiny(dtype: np.dtype) -> float:
    """The smallest normal number."""
    return float(np.finfo(dtype).tiny)


# Pairs


def fast_two_sum(a: Expr, b: Expr) -> Pair:
    """``a + b`` exactly, where ``|a| >= |b|`` or a is 0."""
    s = a + b
    return s, b - (s - a)


def two_sum(a: Expr, b: Expr) -> Pair:
    """``a + b`` exactly."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a: Expr, b: Expr | float) -> Pair:
    """``a * b`` exactly, but for underflow."""
    p = product(a, b)
    return p, fma(a, b, -p)


def pair_product(a: Pair, b: Pair) -> Pair:
    """The product of two pairs; the error is some 2**-102 of it."""
    p, e = two_product(a[0], b[0])
    return fast_two_sum(p, fma(a[0], b[1], fma(a[1], b[0], e)))


def pair_sum(a: Pair, b: Pair) -> Pair:
    """The sum of two pairs, accurate where they do not cancel."""
    s, e = two_sum(a[0], b[0])
    return fast_two_sum(s, e + (a[1] + b[1]))


def quotient(a: Pair, b: Pair) -> Expr:
    """The quotient of two pairs, rounded: the quotient of the first parts, refined with the rests of both."""
    inverse = 1.0 / b[0]
    q = product(a[0], inverse)
    return fma(fma(-q, b[1], fma(-q, b[0], a[0]) + a[1]), inverse, q)


def keep_zero(x: Expr, value: Expr) -> Expr:
    """``value``, but x where that is a zero: sums lose its sign."""
    return where(x.eq(0.0), x, value)
