"""Elementwise functions of ``scipy.special``, and softplus."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import scipy.special

from jitgrad.errors import DifferentiationError
from jitgrad.ops.elementwise import SPECIAL, Ufunc, binary, select, unary
from jitgrad.ops.op import Number, Var, apply, register

Partials = Sequence[Var | Number | None]
_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)


@register
class Erf(Ufunc):
    name, numpy = "erf", scipy.special.erf
    samples = unary(-2, 2)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("exp", -(xs[0] * xs[0])) * _TWO_OVER_SQRT_PI,)


@register
class Erfc(Ufunc):
    name, numpy = "erfc", scipy.special.erfc
    samples = unary(-2, 2)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("exp", -(xs[0] * xs[0])) * -_TWO_OVER_SQRT_PI,)


@register
class Expit(Ufunc):
    """The logistic function ``1 / (1 + exp(-x))``."""

    name, numpy = "expit", scipy.special.expit
    samples = unary(-4, 4)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (out * (1.0 - out),)


@register
class Logit(Ufunc):
    """``log(x / (1 - x))``, the inverse of expit."""

    name, numpy = "logit", scipy.special.logit
    samples = unary(0.15, 0.85)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (1.0 / (xs[0] * (1.0 - xs[0])),)


@register
class Softplus(Ufunc):
    """``log(1 + exp(x))``, without overflow."""

    name = "softplus"
    samples = unary(-4, 4)

    @staticmethod
    def numpy(x: np.ndarray) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        return np.logaddexp(np.zeros_like(x), x)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("expit", xs[0]),)


@register
class LogExpit(Ufunc):
    """``log(expit(x))``, which is ``-softplus(-x)``."""

    name, numpy = "log_expit", scipy.special.log_expit
    samples = unary(-4, 4)

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("expit", -xs[0]),)


class _TimesLog(Ufunc):
    """``x * f(y)`` with f a logarithm, and 0 where x is 0.

    Where x is 0 and f(y) is infinite or NaN, both partials are 0, as the function is 0 by convention there. Only
    there: elsewhere on x = 0 the mixed second derivative needs them.
    """

    arity = 2
    shift: ClassVar[float]  # f(y) is log(y + shift)
    log: ClassVar[str]

    def partials(self, *xs: Var, out: Var) -> Partials:
        x, y = xs
        inside = y + self.shift if self.shift else y
        flat = x.eq(0) & (y <= -self.shift)
        return select(flat, 0, apply(self.log, y)), select(flat, 0, x / inside)


@register
class Xlogy(_TimesLog):
    """``x * log(y)``, and 0 where x is 0."""

    name, numpy, shift, log = "xlogy", scipy.special.xlogy, 0.0, "log"
    samples = binary((-2, 2), (0.5, 2))


@register
class Xlog1py(_TimesLog):
    """``x * log1p(y)``, and 0 where x is 0."""

    name, numpy, shift, log = "xlog1py", scipy.special.xlog1py, 1.0, "log1p"
    samples = binary((-2, 2), (-0.5, 2))


@register
class Gammaln(Ufunc):
    """``log(abs(gamma(x)))``. At -inf compiled code gives inf, as C does; SciPy gives -inf."""

    name, numpy = "gammaln", scipy.special.gammaln
    samples = unary(0.3, 4, special=np.append(SPECIAL[~(SPECIAL < -1e30)], [-1.5, -20.3, 170.5]))

    def partials(self, *xs: Var, out: Var) -> Partials:
        return (apply("digamma", xs[0]),)


class _Polygamma(Ufunc):
    """A derivative of digamma. Compiled code is right for all reals but the poles; ``eval`` is SciPy's, which from
    order 1 up is right for x > 0 only."""

    next: ClassVar[str | None]

    def partials(self, *xs: Var, out: Var) -> Partials:
        if self.next is None:
            raise DifferentiationError(
                f"{self.name} has no derivative here. jitgrad differentiates gammaln five times at most. "
                "Lower the order of differentiation."
            )
        return (apply(self.next, xs[0]),)


_POSITIVE = np.array([1e-3, 0.5, 1.0, 2.0, 9.5, 10.0, 10.5, 100.0, 1e10, np.inf, np.nan])


@register
class Digamma(_Polygamma):
    """The derivative of gammaln."""

    name, numpy, next = "digamma", scipy.special.digamma, "trigamma"
    samples = unary(0.3, 4, special=np.concatenate([_POSITIVE, [0.0, -0.5, -1.0, -1.5, -20.3, -np.inf]]))


@register
class Trigamma(_Polygamma):
    """The second derivative of gammaln."""

    name, numpy, next = "trigamma", staticmethod(functools.partial(scipy.special.polygamma, 1)), "polygamma2"
    samples = unary(0.3, 4, special=_POSITIVE)


def _define(order: int, last: int) -> None:
    members = {
        "__doc__": f"The derivative of digamma of order {order}.",
        "name": f"polygamma{order}",
        "numpy": staticmethod(functools.partial(scipy.special.polygamma, order)),
        "next": None if order == last else f"polygamma{order + 1}",
        "samples": unary(0.5, 4, special=_POSITIVE[1:], grad=order + 2 <= last),
    }
    register(type(f"Polygamma{order}", (_Polygamma,), members))


for _order in (2, 3, 4):
    _define(_order, 4)
