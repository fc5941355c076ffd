"""Elementwise exponentials, logarithms, trigonometric and hyperbolic functions. Partials prefer the output."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jitgrad.ops.elementwise import Ufunc, binary, select, unary
from jitgrad.ops.op import Number, Var, apply, register

Partials = Sequence[Var | Number | None]
_LN2, _LN10 = math.log(2.0), math.log(10.0)


@register
class Exp(Ufunc):
    name, numpy = "exp", np.exp
    samples = unary(-3, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (out,)


@register
class Exp2(Ufunc):
    name, numpy = "exp2", np.exp2
    samples = unary(-3, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (out * _LN2,)


@register
class Expm1(Ufunc):
    name, numpy = "expm1", np.expm1
    samples = unary(-3, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (out + 1.0,)


@register
class Log(Ufunc):
    name, numpy = "log", np.log
    samples = unary(0.3, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (1.0 / xs[0],)


@register
class Log2(Ufunc):
    name, numpy = "log2", np.log2
    samples = unary(0.3, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return ((1.0 / _LN2) / xs[0],)


@register
class Log10(Ufunc):
    name, numpy = "log10", np.log10
    samples = unary(0.3, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return ((1.0 / _LN10) / xs[0],)


@register
class Log1p(Ufunc):
    name, numpy = "log1p", np.log1p
    samples = unary(-0.6, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (1.0 / (xs[0] + 1.0),)


@register
class Sin(Ufunc):
    name, numpy = "sin", np.sin
    samples = unary(-4, 4)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("cos", xs[0]),)


@register
class Cos(Ufunc):
    name, numpy = "cos", np.cos
    samples = unary(-4, 4)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (-apply("sin", xs[0]),)


@register
class Tan(Ufunc):
    name, numpy = "tan", np.tan
    samples = unary(-1.2, 1.2)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (out * out + 1.0,)


def _one_minus_square(x: Var) -> Var:
    """``1 - x**2``, exact near x = 1."""
    return (1.0 - x) * (x + 1.0)


@register
class Arcsin(Ufunc):
    name, numpy = "arcsin", np.arcsin
    samples = unary(-0.8, 0.8)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (1.0 / apply("sqrt", _one_minus_square(xs[0])),)


@register
class Arccos(Ufunc):
    name, numpy = "arccos", np.arccos
    samples = unary(-0.8, 0.8)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (-1.0 / apply("sqrt", _one_minus_square(xs[0])),)


@register
class Arctan(Ufunc):
    name, numpy = "arctan", np.arctan
    samples = unary(-3, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (1.0 / (xs[0] * xs[0] + 1.0),)


@register
class Sinh(Ufunc):
    name, numpy = "sinh", np.sinh
    samples = unary(-2, 2)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("cosh", xs[0]),)


@register
class Cosh(Ufunc):
    name, numpy = "cosh", np.cosh
    samples = unary(-2, 2)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("sinh", xs[0]),)


@register
class Tanh(Ufunc):
    name, numpy = "tanh", np.tanh
    samples = unary(-3, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (1.0 - out * out,)


@register
class Arcsinh(Ufunc):
    name, numpy = "arcsinh", np.arcsinh
    samples = unary(-3, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (1.0 / apply("sqrt", xs[0] * xs[0] + 1.0),)


@register
class Arccosh(Ufunc):
    name, numpy = "arccosh", np.arccosh
    samples = unary(1.3, 4)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (1.0 / apply("sqrt", (xs[0] - 1.0) * (xs[0] + 1.0)),)


@register
class Arctanh(Ufunc):
    name, numpy = "arctanh", np.arctanh
    samples = unary(-0.7, 0.7)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (1.0 / _one_minus_square(xs[0]),)


@register
class Arctan2(Ufunc):
    """The angle of the point (y, x): the first operand is the ordinate."""

    name, numpy, arity = "arctan2", np.arctan2, 2
    samples = binary((-2, 2), (0.5, 2))

    def partials(self, *xs: Var, out: Var) -> Partials:
        y, x = xs
        r = 1.0 / (x * x + y * y)
        return x * r, -(y * r)


def _difference(x: Var, y: Var) -> Var:
    """``x - y``, and 0 for two equal infinities. Equal finite operands keep their difference and its derivative."""
    return select(x.eq(y) & apply("isinf", x), 0, x - y)


@register
class Logaddexp(Ufunc):
    """``log(exp(x) + exp(y))``. Two equal infinities give each operand the partial 1/2, as any two equal numbers do."""

    name, numpy, arity = "logaddexp", np.logaddexp, 2
    samples = binary((-3, 3))

    def partials(self, *xs: Var, out: Var) -> Partials:
        d = _difference(*xs)
        return apply("expit", d), apply("expit", -d)


@register
class Logaddexp2(Ufunc):
    """``log2(2**x + 2**y)``; equal infinities as in logaddexp."""

    name, numpy, arity = "logaddexp2", np.logaddexp2, 2
    samples = binary((-3, 3))

    def partials(self, *xs: Var, out: Var) -> Partials:
        d = _difference(*xs) * _LN2
        return apply("expit", d), apply("expit", -d)
