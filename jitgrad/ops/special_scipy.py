"""Elementwise functions of ``scipy.special`` that SciPy's own code computes, and gamma.

A derivative with respect to an order or a shape parameter is not there: it is NaN, and the frontend passes such an
operand through ``no_derivative``, which says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import scipy.special as sps

from jitgrad.errors import DifferentiationError
from jitgrad.ir.location import user_location
from jitgrad.ops.elementwise import Samples, Ufunc, binary, select, unary
from jitgrad.ops.op import Cotangent, Number, Sample, Var, apply, full_like, register

Partials = Sequence[Var | Number | None]
#: What functions of positive numbers are compared with SciPy at.
_POSITIVE = np.array([0.5, 1.0, 2.0, 30.0, 1e-3, np.nan])
_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)


@register
class NoDerivative(Ufunc):
    """The identity; an error where it would be differentiated."""

    name, kinds = "no_derivative", "f"
    wide = False
    numpy = staticmethod(np.copy)
    samples = unary(-2.0, 2.0, grad=False)

    @staticmethod
    def _refuse() -> DifferentiationError:
        return DifferentiationError(
            "there is no derivative with respect to the order or shape parameter of a function of scipy.special or "
            "scipy.stats, or of a distribution that is drawn from. No formula for it is known that jitgrad could use. "
            "Use jg.stop_gradient on the parameter if its derivative is not wanted.",
            user_location(),
        )

    def pullback(self, g: Cotangent, out: Var, *xs: Var, **attrs: Any) -> Sequence[Cotangent | None]:
        raise self._refuse()

    def jvp(self, ts: Sequence[Var | None], out: Var, *xs: Var, **attrs: Any) -> Var | None:
        raise self._refuse()

    def lower(self, b: Any, *tensors: Any) -> Any:
        return tensors[0]


# -- functions of one number -------------------------------------------------------------------------------------------


@register
class Gamma(Ufunc):
    name, numpy = "gamma", sps.gamma
    samples = unary(0.5, 4, special=np.array([0.5, 1.0, 5.0, 170.0, 180.0, -0.5, -1.0, -1.5, np.inf, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (out * apply("digamma", xs[0]),)


@register
class Rgamma(Ufunc):
    """``1 / gamma(x)``, which is 0 at the poles of gamma."""

    name, numpy = "rgamma", sps.rgamma
    samples = unary(0.5, 4, special=np.array([0.5, 1.0, 5.0, 170.0, -0.5, 0.0, -1.0, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (-(out * apply("digamma", xs[0])),)


@register
class Erfcx(Ufunc):
    """``exp(x * x) * erfc(x)``."""

    name, numpy = "erfcx", sps.erfcx
    samples = unary(-1, 3)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (2.0 * (xs[0] * out) - 2.0 / math.sqrt(math.pi),)


@register
class Dawsn(Ufunc):
    """Dawson's integral, ``exp(-x * x)`` times the integral of ``exp(t * t)`` from 0 to x."""

    name, numpy = "dawsn", sps.dawsn
    samples = unary(-2, 2)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (1.0 - 2.0 * (xs[0] * out),)


@register
class Erfinv(Ufunc):
    name, numpy = "erfinv", sps.erfinv
    samples = unary(-0.8, 0.8, special=np.array([-1.0, 0.0, 0.5, 0.999, 1.0, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("exp", out * out) * (0.5 * math.sqrt(math.pi)),)


@register
class Erfcinv(Ufunc):
    name, numpy = "erfcinv", sps.erfcinv
    samples = unary(0.2, 1.8, special=np.array([0.0, 1e-3, 0.5, 1.0, 2.0, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("exp", out * out) * (-0.5 * math.sqrt(math.pi)),)


@register
class Ndtri(Ufunc):
    """The quantile function of the normal distribution."""

    name, numpy = "ndtri", sps.ndtri
    samples = unary(0.1, 0.9, special=np.array([0.0, 1e-3, 0.5, 0.999, 1.0, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("exp", out * out * 0.5) * _ROOT_TWO_PI,)


@register
class LogNdtr(Ufunc):
    """The logarithm of the distribution function of the normal distribution."""

    name, numpy = "log_ndtr", sps.log_ndtr
    samples = unary(-3, 3, special=np.array([-1e3, -20.0, -1.0, 0.0, 1.0, 10.0, 1e3, np.inf, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        # Far to the left exp(-x * x / 2) and the function itself underflow; their quotient is sqrt(2 / pi) / erfcx.
        x = xs[0]
        left = math.sqrt(2.0 / math.pi) / apply("erfcx", x * -math.sqrt(0.5))
        return (select(x < 0, left, apply("exp", x * x * -0.5 - out) / _ROOT_TWO_PI),)


@register
class Exp1(Ufunc):
    """The exponential integral E1."""

    name, numpy = "exp1", sps.exp1
    samples = unary(0.4, 3, special=_POSITIVE)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (-(apply("exp", -xs[0]) / xs[0]),)


@register
class Expi(Ufunc):
    """The exponential integral Ei."""

    name, numpy = "expi", sps.expi
    samples = unary(0.4, 3, special=_POSITIVE)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("exp", xs[0]) / xs[0],)


@register
class Spence(Ufunc):
    """The dilogarithm: the integral of ``log(t) / (1 - t)`` from 1 to x."""

    name, numpy = "spence", sps.spence
    samples = unary(0.2, 0.8, special=np.array([0.0, 0.5, 1.0, 3.0, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        x = xs[0]
        at_one = x.eq(1)
        return (select(at_one, -1.0, apply("log", x) / select(at_one, 1.0, 1.0 - x)),)


# -- Bessel functions --------------------------------------------------------------------------------------------------


def _bessel(name: str, doc: str, samples: Samples, partial: Callable[[Var, Var], Var]) -> None:
    """A Bessel function of order 0 or 1; ``partial(x, out)`` is its derivative."""

    def partials(self: Ufunc, *xs: Var, out: Var) -> Partials:
        return (partial(xs[0], out),)

    members = {"__doc__": doc, "name": name, "numpy": getattr(sps, name), "samples": samples, "partials": partials}
    register(type(name.capitalize(), (Ufunc,), members))


def _order_two(name: str, x: Var) -> Var:
    return apply(name, full_like(x, 2.0), x)


_BOTH = unary(-4, 4, special=np.array([-9.5, 0.0, 1e-3, 2.0, 30.0, np.nan]))
_RIGHT = unary(0.6, 4, special=_POSITIVE)

_bessel("j0", "J of order 0.", _BOTH, lambda x, out: -apply("j1", x))
_bessel("j1", "J of order 1.", _BOTH, lambda x, out: 0.5 * (apply("j0", x) - _order_two("jv", x)))
_bessel("y0", "Y of order 0.", _RIGHT, lambda x, out: -apply("y1", x))
_bessel("y1", "Y of order 1.", _RIGHT, lambda x, out: 0.5 * (apply("y0", x) - _order_two("yv", x)))
_bessel("i0", "I of order 0.", _BOTH, lambda x, out: apply("i1", x))
_bessel("i1", "I of order 1.", _BOTH, lambda x, out: 0.5 * (apply("i0", x) + _order_two("iv", x)))
_bessel("i0e", "``exp(-abs(x)) * i0(x)``.", _BOTH, lambda x, out: apply("i1e", x) - apply("sign", x) * out)
_bessel(
    "i1e",
    "``exp(-abs(x)) * i1(x)``.",
    _BOTH,
    lambda x, out: 0.5 * (apply("i0e", x) + _order_two("ive", x)) - apply("sign", x) * out,
)
_bessel("k0", "K of order 0.", _RIGHT, lambda x, out: -apply("k1", x))
_bessel("k1", "K of order 1.", _RIGHT, lambda x, out: -0.5 * (apply("k0", x) + _order_two("kv", x)))
_bessel("k0e", "``exp(x) * k0(x)``.", _RIGHT, lambda x, out: out - apply("k1e", x))
_bessel("k1e", "``exp(x) * k1(x)``.", _RIGHT, lambda x, out: out - 0.5 * (apply("k0e", x) + _order_two("kve", x)))


class OfOrder(Ufunc):
    """A function of an order, which has no derivative, and a number. The derivative is a sum of the functions of the
    orders beside it, ``(below * f(v - 1, x) + above * f(v + 1, x)) / 2``."""

    arity = 2
    below: ClassVar[float] = 1.0
    above: ClassVar[float] = 1.0

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        # Not for the gradient check, which moves the order too.
        draws = [((2.5, 0.0, -1.3), (3,)), ((1.0,), (2, 3)), ((3.0,), (0, 1))]
        return [
            Sample((np.array(order, dtype), rng.uniform(0.6, 4.0, shape).astype(dtype)), grad=False)
            for order, shape in draws
            for dtype in (np.float64, np.float32)
        ]

    def slope(self, *xs: Var) -> Var:
        """The derivative with respect to the number, but for a factor of exp in the function."""
        v, x = xs
        below, above = apply(self.name, v - 1.0, x), apply(self.name, v + 1.0, x)
        return (below * self.below + above * self.above) * 0.5

    def partials(self, *xs: Var, out: Var) -> Partials:
        return math.nan, self.slope(*xs)


@register
class Jv(OfOrder):
    name, numpy, above = "jv", sps.jv, -1.0


@register
class Yv(OfOrder):
    name, numpy, above = "yv", sps.yv, -1.0


@register
class Iv(OfOrder):
    name, numpy = "iv", sps.iv


@register
class Kv(OfOrder):
    name, numpy, below, above = "kv", sps.kv, -1.0, -1.0


@register
class Ive(OfOrder):
    """``exp(-abs(x)) * iv(v, x)``."""

    name, numpy = "ive", sps.ive

    def partials(self, *xs: Var, out: Var) -> Partials:
        return math.nan, self.slope(*xs) - apply("sign", xs[1]) * out


@register
class Kve(OfOrder):
    """``exp(x) * kv(v, x)``."""

    name, numpy, below, above = "kve", sps.kve, -1.0, -1.0

    def partials(self, *xs: Var, out: Var) -> Partials:
        return math.nan, self.slope(*xs) + out


# -- beta, and incomplete integrals ------------------------------------------------------------------------------------

_BETA = binary((0.5, 3), (0.5, 3), special=np.array([0.5, 1.0, 2.0, 20.0, np.nan]))


@register
class Beta(Ufunc):
    name, numpy, arity = "beta", sps.beta, 2
    samples = _BETA

    def partials(self, *xs: Var, out: Var) -> Partials:
        both = apply("digamma", xs[0] + xs[1])
        return out * (apply("digamma", xs[0]) - both), out * (apply("digamma", xs[1]) - both)


@register
class Betaln(Ufunc):
    """``log(abs(beta(a, b)))``."""

    name, numpy, arity = "betaln", sps.betaln, 2
    samples = _BETA

    def partials(self, *xs: Var, out: Var) -> Partials:
        both = apply("digamma", xs[0] + xs[1])
        return apply("digamma", xs[0]) - both, apply("digamma", xs[1]) - both


class Incomplete(Ufunc):
    """An integral up to its last operand; the others are parameters without derivative. ``density`` is the integrand,
    ``sign`` is -1 for the rest of the integral."""

    sign: ClassVar[float] = 1.0
    parameters: ClassVar[tuple[float, ...]]
    low: ClassVar[float]
    high: ClassVar[float]
    density: ClassVar[Callable[..., Var]]

    @classmethod
    def samples(cls, rng: np.random.Generator) -> list[Sample]:
        # Not for the gradient check, which moves the parameters too.
        return [
            Sample((*(np.array(p, d) for p in cls.parameters), rng.uniform(cls.low, cls.high, s).astype(d)), grad=False)
            for s in ((3,), (), (2, 0))
            for d in (np.float64, np.float32)
        ]

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (*[math.nan] * (len(xs) - 1), self.density(*xs) * self.sign)


def gamma_density(a: Var, x: Var) -> Var:
    return apply("exp", apply("xlogy", a - 1.0, x) - x - apply("gammaln", a))


class _IncompleteGamma(Incomplete):
    arity, parameters, low, high = 2, (1.7,), 0.2, 4.0
    density = staticmethod(gamma_density)


@register
class Gammainc(_IncompleteGamma):
    """The regularised lower incomplete gamma function."""

    name, numpy = "gammainc", sps.gammainc


@register
class Gammaincc(_IncompleteGamma):
    """The regularised upper incomplete gamma function."""

    name, numpy, sign = "gammaincc", sps.gammaincc, -1.0


def beta_density(a: Var, b: Var, x: Var) -> Var:
    logs = apply("xlogy", a - 1.0, x) + apply("xlog1py", b - 1.0, -x)
    return apply("exp", logs - apply("betaln", a, b))


class _IncompleteBeta(Incomplete):
    arity, parameters, low, high = 3, (1.7, 2.4), 0.1, 0.9
    density = staticmethod(beta_density)


@register
class Betainc(_IncompleteBeta):
    """The regularised incomplete beta function."""

    name, numpy = "betainc", sps.betainc


@register
class Betaincc(_IncompleteBeta):
    """``1 - betainc(a, b, x)``."""

    name, numpy, sign = "betaincc", sps.betaincc, -1.0


def student_density(df: Var, t: Var) -> Var:
    scale = apply("betaln", df * 0.5, full_like(df, 0.5)) + apply("log", df) * 0.5
    return apply("exp", (df + 1.0) * -0.5 * apply("log1p", t * t / df) - scale)


@register
class Stdtr(Incomplete):
    """The distribution function of Student's t."""

    name, numpy, arity = "stdtr", sps.stdtr, 2
    parameters, low, high = (3.5,), -3.0, 3.0
    density = staticmethod(student_density)
