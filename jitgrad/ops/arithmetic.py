"""Elementwise arithmetic: sums, products, powers, division, extrema, rounding.

Sub-derivatives where there is no derivative: ``absolute`` and ``copysign`` at 0 give 0; ``maximum``, ``minimum``,
``fmax`` and ``fmin`` give each operand 1/2 where they are equal, so ``maximum(x, 0)`` at 0 gives 0.5; ``sign``,
``floor``, ``ceil``, ``rint``, ``trunc``, ``floor_divide`` give 0 everywhere, jumps included; ``hypot`` and
``safe_sqrt`` at 0 give 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jitgrad.ir.index import Dim
from jitgrad.ir.types import bool_
from jitgrad.ops.elementwise import (
    SPECIAL,
    Selecting,
    Ufunc,
    binary,
    constant_number,
    off_integers,
    off_zero,
    select,
    unary,
)
from jitgrad.ops.op import Number, Var, apply, register

Partials = Sequence[Var | Number | None]


def _apart(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Operands that differ clearly: the first has even tenths, the second odd ones."""
    return np.rint(x * 5) / 5, np.rint(y * 5) / 5 + 0.1


@register
class Add(Ufunc):
    name, numpy, arity, kinds, on_bool = "add", np.add, 2, "fiub", "logical_or"
    singular = False
    samples = binary((-2, 2), kinds="fiub")

    def partials(self, *xs: Var, out: Var) -> Partials:
        return 1, 1


@register
class Subtract(Ufunc):
    name, numpy, arity, kinds = "subtract", np.subtract, 2, "fiu"
    singular = False
    samples = binary((-2, 2), kinds="fiu")

    def partials(self, *xs: Var, out: Var) -> Partials:
        return 1, -1


def _chosen(x: Var) -> Var | None:
    """Where ``x`` can be other than zero if it is a mask: a bool as a number, ``where(c, a, 0)``, an array of zeros and
    ones. None for what is no mask."""
    op = x.value.op
    if op is None:
        return None
    if op.name == "cast":
        mask = Var(x.b, op.operands[0])
        return mask if mask.dtype == bool_ else _chosen(mask)
    if op.name == "where":
        c, *branches = (Var(x.b, v) for v in op.operands)
        zero = [constant_number(branch) == 0 for branch in branches]
        if zero[0] == zero[1]:
            return None
        return c if zero[1] else ~c
    if op.name in ("reshape", "broadcast_to", "transpose"):
        mask = _chosen(Var(x.b, op.operands[0]))
        return None if mask is None else apply(op.name, _spread(mask, op.operands[0].type.shape), **op.attrs)
    if op.name == "constant" and x.shape and np.isin(op.attrs["value"], (0, 1)).all():
        return Var(x.b, x.b.constant(op.attrs["value"] != 0))
    return None


def _spread(mask: Var, shape: tuple[Dim, ...]) -> Var:
    return mask if mask.shape == shape else apply("broadcast_to", mask, shape=shape)


@register
class Multiply(Ufunc):
    """``x * y``. A product with a mask turns cotangents off as a select does: 0 times infinity stays 0 there."""

    name, numpy, arity, kinds, on_bool = "multiply", np.multiply, 2, "fiub", "logical_and"
    samples = binary((-2, 2), kinds="fiub")

    def partials(self, *xs: Var, out: Var) -> Partials:
        x, y = xs
        return y, x

    def active(self, *xs: Var, out: Var) -> Sequence[Var | None]:
        x, y = xs
        return _chosen(y), _chosen(x)


@register
class Divide(Ufunc):
    name, numpy, arity = "divide", np.divide, 2
    samples = binary((-2, 2), (0.5, 2))

    def partials(self, *xs: Var, out: Var) -> Partials:
        r = 1.0 / xs[1]
        return r, -(out * r)


@register
class FloorDivide(Ufunc):
    name, numpy, arity, kinds = "floor_divide", np.floor_divide, 2, "fiu"
    singular = False
    # Powers of two and fractions of them: the quotients are exact, and off the jumps.
    samples = binary((-3, 3), kinds="fiu", fix=lambda x, y: (off_integers(np.rint(x)), np.where(y > 0, 1.0, -1.0)))

    def partials(self, *xs: Var, out: Var) -> Partials:
        return 0, 0


def _fraction(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A dividend that is not near a multiple of any divisor: the divisors are +-2, the dividends odd."""
    return 2 * np.rint(x) + 1 + 0.2 * (x - np.rint(x)), np.where(y > 0, 2.0, -2.0)


@register
class Remainder(Ufunc):
    """``x - floor(x / y) * y``."""

    name, numpy, arity, kinds = "remainder", np.remainder, 2, "fiu"
    samples = binary((-3, 3), kinds="fiu", fix=_fraction)

    def partials(self, *xs: Var, out: Var) -> Partials:
        x, y = xs
        return 1, apply("rint", (out - x) / y)


@register
class Fmod(Ufunc):
    """``x - trunc(x / y) * y``."""

    name, numpy, arity, kinds = "fmod", np.fmod, 2, "fiu"
    samples = binary((-3, 3), kinds="fiu", fix=_fraction)

    def partials(self, *xs: Var, out: Var) -> Partials:
        x, y = xs
        return 1, apply("rint", (out - x) / y)


@register
class Power(Ufunc):
    """``x ** y``.

    d/dx is 0 where y is 0, also at x = 0. d/dy at x = 0 is 0 where y >= 0; for negative x it is NaN, as there is no
    real power at neighbouring exponents. The guards change only those points, so higher derivatives hold elsewhere.
    A negative integer power of an integer is 0 in compiled code; NumPy raises for it.
    """

    name, numpy, arity, kinds = "power", np.power, 2, "fiu"
    # NumPy computes x ** 0.5 in two ways, which differ at -inf.
    samples = binary((0.5, 2), (-2, 2), kinds="fiu", low=0, special=SPECIAL[SPECIAL != 0.5])

    def partials(self, *xs: Var, out: Var) -> Partials:
        x, y = xs
        exponent = constant_number(y)
        if exponent is not None:
            return self._by_base(x, exponent, out), None
        zero_to_zero = (y.eq(0)) & ~(apply("absolute", x) > 0)  # also NaN ** 0, which is 1
        by_base = y * select(zero_to_zero, 0, apply("power", x, y - 1))
        flat = x.eq(0) & (y >= 0)
        return by_base, out * apply("log", select(flat, 1, x))

    @staticmethod
    def _by_base(x: Var, exponent: float, out: Var) -> Var | Number:
        if exponent == 0:
            return 0
        if exponent == 1:
            return 1
        if exponent == 2:
            return x * 2
        if exponent == 0.5:
            return 0.5 / out
        if exponent == -1:
            return -(out * out)
        return apply("power", x, exponent - 1) * exponent


@register
class Negative(Ufunc):
    name, numpy, kinds = "negative", np.negative, "fiu"
    singular = False
    samples = unary(-2, 2, kinds="fiu")

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (-1,)


@register
class Reciprocal(Ufunc):
    name, numpy = "reciprocal", np.reciprocal
    samples = unary(0.5, 2)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (-(out * out),)


@register
class Absolute(Ufunc):
    name, numpy, kinds = "absolute", np.absolute, "fiu"
    samples = unary(-2, 2, kinds="fiu", fix=off_zero)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("sign", xs[0]),)


class _Step(Ufunc):
    """A function that is constant between jumps."""

    singular = False

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (0,) * self.arity


@register
class Sign(_Step):
    name, numpy, kinds = "sign", np.sign, "fiu"
    samples = unary(-2, 2, kinds="fiu", fix=off_zero)


@register
class Floor(_Step):
    name, numpy = "floor", np.floor
    samples = unary(-3, 3, fix=off_integers)


@register
class Ceil(_Step):
    name, numpy = "ceil", np.ceil
    samples = unary(-3, 3, fix=off_integers)


@register
class Rint(_Step):
    name, numpy = "rint", np.rint
    samples = unary(-3, 3, fix=lambda x: off_integers(x) + 0.5, special=np.append(SPECIAL, [1.5, 2.5, -1.5]))


@register
class Trunc(_Step):
    name, numpy = "trunc", np.trunc
    samples = unary(-3, 3, fix=off_integers)


@register
class Square(Ufunc):
    name, numpy, kinds = "square", np.square, "fiu"
    samples = unary(-2, 2, kinds="fiu")

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (xs[0] * 2,)


@register
class Sqrt(Ufunc):
    name, numpy = "sqrt", np.sqrt
    samples = unary(0.3, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (0.5 / out,)


@register
class SafeSqrt(Ufunc):
    """The square root, with derivative 0 at 0: for norms and standard deviations, whose minimum-norm subgradient is 0
    where they vanish."""

    name, numpy, scalar = "safe_sqrt", np.sqrt, "sqrt"
    samples = unary(0.3, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (select(out.eq(0), 0, 0.5 / out),)


@register
class Cbrt(Ufunc):
    name, numpy = "cbrt", np.cbrt
    samples = unary(-3, 3, fix=off_zero)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (1.0 / (out * out * 3.0),)


@register
class Hypot(Ufunc):
    """``sqrt(x**2 + y**2)``; the derivative at (0, 0) is 0."""

    name, numpy, arity = "hypot", np.hypot, 2
    samples = binary((-2, 2), (0.5, 2))

    def partials(self, *xs: Var, out: Var) -> Partials:
        x, y = xs
        zero = out.eq(0)
        return select(zero, 0, x / out), select(zero, 0, y / out)


@register
class Copysign(Ufunc):
    """The magnitude of x with the sign of y; the derivative at x = 0 is 0."""

    name, numpy, arity = "copysign", np.copysign, 2
    samples = binary((-2, 2), fix=lambda x, y: (off_zero(x), off_zero(y)))

    def partials(self, *xs: Var, out: Var) -> Partials:
        x, y = xs
        return apply("sign", x) * apply("copysign", 1.0, y), 0


@register
class Heaviside(Selecting):
    """0 for negative x, 1 for positive x, and y where x is 0."""

    name, numpy, arity = "heaviside", np.heaviside, 2
    samples = binary((-2, 2), fix=lambda x, y: (np.where(x > 0.5, 0.0, off_zero(x)), y), grad=False)

    def routes(self, *xs: Var) -> Sequence[tuple[Var, Var | None] | None]:
        return None, (xs[0].eq(0), None)


class _Extremum(Selecting):
    arity, kinds = 2, "fiub"
    samples = binary((-2, 2), kinds="fiub", fix=_apart)


def _halved(first: Var, second: Var) -> tuple[tuple[Var, Var], tuple[Var, Var]]:
    """Routes to either operand where it is chosen; ties follow from the two masks, which are all that a tape needs."""
    tie = first & second
    return (first, tie), (second, tie)


@register
class Maximum(_Extremum):
    """The larger operand. Where both are equal, or one is NaN and so is the result, each gets half its cotangent."""

    name, numpy, on_bool = "maximum", np.maximum, "logical_or"

    def routes(self, *xs: Var) -> Sequence[tuple[Var, Var | None] | None]:
        return _halved(*(~(a < b) for a, b in (xs, reversed(xs))))


@register
class Minimum(_Extremum):
    """The smaller operand. Where both are equal, or one is NaN and so is the result, each gets half its cotangent."""

    name, numpy, on_bool = "minimum", np.minimum, "logical_and"

    def routes(self, *xs: Var) -> Sequence[tuple[Var, Var | None] | None]:
        return _halved(*(~(a > b) for a, b in (xs, reversed(xs))))


@register
class Fmax(_Extremum):
    """The larger operand, or the one that is not NaN, which then gets the whole cotangent."""

    name, numpy, on_bool = "fmax", np.fmax, "logical_or"

    def routes(self, *xs: Var) -> Sequence[tuple[Var, Var | None] | None]:
        x, y = xs
        tie = x.eq(y)
        return ((x >= y) | y.ne(y), tie), ((y >= x) | (x.ne(x) & y.eq(y)), tie)


@register
class Fmin(_Extremum):
    """The smaller operand, or the one that is not NaN, which then gets the whole cotangent."""

    name, numpy, on_bool = "fmin", np.fmin, "logical_and"

    def routes(self, *xs: Var) -> Sequence[tuple[Var, Var | None] | None]:
        x, y = xs
        tie = x.eq(y)
        return ((x <= y) | y.ne(y), tie), ((y <= x) | (x.ne(x) & y.eq(y)), tie)
