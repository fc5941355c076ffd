"""Elementwise functions of ``scipy.special`` that SciPy's own code computes: inverses of incomplete integrals, elliptic
integrals, hypergeometric functions, and what is expressed by them.

Parameters have no derivative, as in ``special_scipy``. Derivatives that are quotients of small differences somewhere
are hypergeometric functions there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import scipy.special as sps

from jitgrad.ops.elementwise import Ufunc, binary, select, unary
from jitgrad.ops.op import Number, Sample, Var, apply, full_like, register
from jitgrad.ops.special_scipy import Incomplete, OfOrder, beta_density, gamma_density, student_density

Partials = Sequence[Var | Number | None]
_ROOT_PI = math.sqrt(math.pi)


# -- inverses ----------------------------------------------------------------------------------------------------------


class _Inverse(Incomplete):
    """The upper end of an integral of a density, from its value; ``sign`` is -1 where that is the rest."""

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (*[math.nan] * (len(xs) - 1), self.sign / self.density(*xs[:-1], out))


class _InverseGamma(_Inverse):
    arity, parameters, low, high = 2, (1.7,), 0.05, 0.95
    density = staticmethod(gamma_density)


@register
class Gammaincinv(_InverseGamma):
    name, numpy = "gammaincinv", sps.gammaincinv


@register
class Gammainccinv(_InverseGamma):
    name, numpy, sign = "gammainccinv", sps.gammainccinv, -1.0


class _InverseBeta(_Inverse):
    arity, parameters, low, high = 3, (1.7, 2.4), 0.05, 0.95
    density = staticmethod(beta_density)


@register
class Betaincinv(_InverseBeta):
    name, numpy = "betaincinv", sps.betaincinv


@register
class Betainccinv(_InverseBeta):
    name, numpy, sign = "betainccinv", sps.betainccinv, -1.0


@register
class Stdtrit(_Inverse):
    """The quantile function of Student's t."""

    name, numpy, arity = "stdtrit", sps.stdtrit, 2
    parameters, low, high = (3.5,), 0.05, 0.95
    density = staticmethod(student_density)


# -- hypergeometric functions ------------------------------------------------------------------------------------------


class _Hypergeometric(Ufunc):
    """Parameters, then a number. The derivative is the function of parameters that are larger by one, times a factor
    (DLMF 15.5.1, 13.3.15, 13.3.22)."""

    parameters: ClassVar[tuple[float, ...]]
    factor: ClassVar[Callable[..., Var]]

    @classmethod
    def samples(cls, rng: np.random.Generator) -> list[Sample]:
        # Not for the gradient check, which moves the parameters too.
        return [
            Sample((*(np.array(p, d) for p in cls.parameters), rng.uniform(0.1, 0.8, s).astype(d)), grad=False)
            for s in ((3,), (), (2, 0))
            for d in (np.float64, np.float32)
        ]

    def partials(self, *xs: Var, out: Var) -> Partials:
        *parameters, x = xs
        slope = self.factor(*parameters) * apply(self.name, *(p + 1.0 for p in parameters), x)
        return (*[math.nan] * len(parameters), slope)


@register
class Hyp2f1(_Hypergeometric):
    name, numpy, arity, parameters = "hyp2f1", sps.hyp2f1, 4, (0.7, 1.2, 2.3)
    factor = staticmethod(lambda a, b, c: a * b / c)


@register
class Hyp1f1(_Hypergeometric):
    name, numpy, arity, parameters = "hyp1f1", sps.hyp1f1, 3, (0.7, 1.2)
    factor = staticmethod(lambda a, b: a / b)


@register
class Hyp0f1(_Hypergeometric):
    name, numpy, arity, parameters = "hyp0f1", sps.hyp0f1, 2, (0.7,)
    factor = staticmethod(lambda b: 1.0 / b)


@register
class Hyperu(_Hypergeometric):
    name, numpy, arity, parameters = "hyperu", sps.hyperu, 3, (0.7, 1.2)
    factor = staticmethod(lambda a, b: -a)


def _of_halves(x: Var, *halves: int) -> Var:
    """``hyp2f1`` of three parameters that are so many halves."""
    return apply("hyp2f1", *(full_like(x, h / 2.0) for h in halves), x)


@register
class Exprel(Ufunc):
    """``(exp(x) - 1) / x``, which is hyp1f1(1, 2, x)."""

    name, numpy = "exprel", sps.exprel
    samples = unary(-2, 2)

    def partials(self, *xs: Var, out: Var) -> Partials:
        (x,) = xs
        large = x > 50.0  # from where SciPy's hyp1f1 takes longer and longer
        near, far = select(large, 0.0, x), select(large, x, 50.0)
        slope = 0.5 * apply("hyp1f1", full_like(x, 2.0), full_like(x, 3.0), near)
        return (select(large, apply("exp", far) / far * (1.0 - 1.0 / far), slope),)


# -- elliptic integrals ------------------------------------------------------------------------------------------------


@register
class Ellipk(Ufunc):
    """The complete elliptic integral of the first kind, of the parameter m (DLMF 19.5.1)."""

    name, numpy = "ellipk", sps.ellipk
    samples = unary(-0.8, 0.8, special=np.array([-1e3, -1.0, 0.0, 0.5, 0.999, 1.0, 1.5, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (math.pi / 8.0 * _of_halves(xs[0], 3, 3, 4),)


@register
class Ellipkm1(Ufunc):
    """``ellipk(1 - p)``."""

    name, numpy = "ellipkm1", sps.ellipkm1
    samples = unary(0.2, 1.8, special=np.array([-1.0, 0.0, 1e-300, 1e-3, 0.5, 1.0, 3.0, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        (p,) = xs
        near = p < 0.5  # m is near 1, and 1 - p has lost digits of p
        small, m = select(near, p, 0.25), 1.0 - p
        left = (apply("ellipe", 1.0 - small) / small - out) / (2.0 * (1.0 - small))
        return (-select(near, left, math.pi / 8.0 * _of_halves(select(near, 0.5, m), 3, 3, 4)),)


@register
class Ellipe(Ufunc):
    """The complete elliptic integral of the second kind, of the parameter m (DLMF 19.5.2)."""

    name, numpy = "ellipe", sps.ellipe
    samples = unary(-0.8, 0.8, special=np.array([-1e3, -1.0, 0.0, 0.5, 0.999, 1.0, 1.5, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (-math.pi / 8.0 * _of_halves(xs[0], 1, 3, 4),)


# -- others ------------------------------------------------------------------------------------------------------------


@register
class Erfi(Ufunc):
    """``-i * erf(i * x)``."""

    name, numpy = "erfi", sps.erfi
    samples = unary(-2, 2)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (2.0 / _ROOT_PI * apply("exp", xs[0] * xs[0]),)


@register
class NdtriExp(Ufunc):
    """The quantile function of the normal distribution, of the logarithm of a probability."""

    name, numpy = "ndtri_exp", sps.ndtri_exp
    samples = unary(-8, -0.1, special=np.array([-np.inf, -1e3, -1.0, -1e-9, 0.0, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("exp", xs[0] + out * out * 0.5) * math.sqrt(2.0 * math.pi),)


@register
class OwensT(Ufunc):
    """Owen's T function."""

    name, numpy, arity = "owens_t", sps.owens_t, 2
    samples = binary((-2, 2), special=np.array([-1.0, 0.0, 0.5, 1.0, 8.0, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        h, a = xs
        by_h = apply("exp", h * h * -0.5) * apply("erf", a * h * math.sqrt(0.5)) * (-0.5 / math.sqrt(2.0 * math.pi))
        square = 1.0 + a * a
        return by_h, apply("exp", h * h * square * -0.5) / (2.0 * math.pi * square)


@register
class Binom(Ufunc):
    """The binomial coefficient, of real numbers."""

    name, numpy, arity = "binom", sps.binom, 2
    samples = binary((2, 4), (0.2, 1.8), special=np.array([0.5, 1.0, 2.0, 20.0, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        n, k = xs
        rest = apply("digamma", n - k + 1.0)
        return out * (apply("digamma", n + 1.0) - rest), out * (rest - apply("digamma", k + 1.0))


@register
class Poch(Ufunc):
    """``gamma(z + m) / gamma(z)``."""

    name, numpy, arity = "poch", sps.poch, 2
    samples = binary((0.5, 3), special=np.array([0.5, 1.0, 2.0, 20.0, np.nan]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        z, m = xs
        both = apply("digamma", z + m)
        return out * (both - apply("digamma", z)), out * both


@register
class Expn(OfOrder):
    """The exponential integral of an order (DLMF 8.19.13). Of order 0 it is ``exp(-x) / x``."""

    name, numpy = "expn", sps.expn

    @staticmethod
    def samples(rng: np.random.Generator) -> list[Sample]:
        # Not for the gradient check, which moves the order too.
        return [
            Sample((np.array([0.0, 1.0, 3.0], d), rng.uniform(0.6, 4.0, s).astype(d)), grad=False)
            for s in ((3,), (2, 1), (0, 3))
            for d in (np.float64, np.float32)
        ]

    def partials(self, *xs: Var, out: Var) -> Partials:
        n, x = xs
        first = n < 0.5
        below = apply("expn", select(first, 0.0, n - 1.0), x)
        return math.nan, -select(first, below * (1.0 + 1.0 / x), below)


class _Struve(OfOrder):
    """DLMF 11.4.26, 11.4.30."""

    def partials(self, *xs: Var, out: Var) -> Partials:
        v, x = xs
        extra = apply("power", x * 0.5, v) * apply("rgamma", v + 1.5) * (0.5 / _ROOT_PI)
        return math.nan, self.slope(*xs) + extra


@register
class Struve(_Struve):
    name, numpy, above = "struve", sps.struve, -1.0


@register
class Modstruve(_Struve):
    name, numpy = "modstruve", sps.modstruve
