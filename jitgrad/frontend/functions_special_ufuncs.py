"""Functions of ``scipy.special`` that are made of others, on traced values: transformations of data, losses,
distribution functions by their integrals, polynomials, counts, and sums.

Where a formula divides 0 by 0, or multiplies 0 by infinity, its operands are replaced before it, so that derivatives
are right there too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special as sps

from jitgrad.errors import UnsupportedError
from jitgrad.frontend.primitives import cast, emit, floating, full, lift, lift_one, promote
from jitgrad.frontend.registry import ADVICE, implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.frontend.ufuncs import SPECIAL, descriptor, resolve
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f32, f64, is_short

Array = Any  # a Tracer, as NumPy's functions and operators take it


def _cast(x: Array, dtype: Any) -> Array:
    return cast(x, dtype)


def _operands(args: tuple[Any, ...], dtype: Any = None) -> tuple[list[Array], Any]:
    """In double precision, as SciPy computes, and the dtype of the result: that of the floats, but no short one."""
    found = [floating(x) for x in promote(*args)]
    result = dtype if dtype is not None else f32 if is_short(found[0].dtype) else found[0].dtype
    return [cast(x, f64) for x in found], result


def _beside(n: Any, args: tuple[Any, ...], dtype: Any) -> tuple[list[Array], Any]:
    """Operands beside an integer, for which SciPy has functions of double precision only."""
    if dtype is None and (n if isinstance(n, Tracer) else np.asarray(n)).dtype.kind in "iu":
        args = tuple(cast(x, f64) for x in lift(*args))
    return _operands(args, dtype)


def _made_of(ufunc: Any) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Decorator: the function computes the ufunc of numbers in double precision."""

    def decorate(function: Callable[..., Array]) -> Callable[..., Array]:
        def handler(*args: Any, dtype: Any = None) -> Array:
            operands, result = _operands(args, dtype)
            if dtype is None:
                result = resolve(ufunc, tuple(descriptor(x) for x in args), None)[-1]  # int8 is float32, int16 float64
            return cast(function(*operands), result)

        SPECIAL[ufunc] = handler
        return function

    return decorate


def _unsupported(name: str, what: str, instead: str) -> UnsupportedError:
    return UnsupportedError(
        f"scipy.special.{name} {what} is not supported on traced values. {instead}", user_location()
    )


# -- transformations, and losses ---------------------------------------------------------------------------------------


def _power_of_log(logs: Array, lmbda: Array) -> Array:
    """``(exp(lmbda * logs) - 1) / lmbda``, whose limit at 0 is ``logs``."""
    at_zero = (lmbda == 0) & np.isinf(logs)  # 0 * inf
    lost = lmbda * np.where(at_zero, 0.0, logs) < -700.0  # nothing is left of exp, and inf * 0 is NaN
    inner = np.where(lost | at_zero, 0.0, logs)
    found = inner * sps.exprel(lmbda * inner)
    found = np.where(lost, -1.0 / np.where(lost, lmbda, 1.0), found)
    return np.where(at_zero, logs, found)


def _log_of_power(y: Array, lmbda: Array) -> Array:
    """``log1p(lmbda * y) / lmbda``, whose limit at 0 is y."""
    at_zero = (lmbda == 0) & np.isinf(y)
    inner = np.where(at_zero, 0.0, y)
    z = lmbda * inner
    near = np.abs(z) < 0.5
    small, large = np.where(near, z, 0.0), np.where(near, 1.0, z)
    ratio = np.where(near, sps.hyp2f1(1.0, 1.0, 2.0, -small), np.log1p(large) / large)
    infinite = z == np.inf
    found = np.where(infinite, z / np.where(infinite, lmbda, 1.0), inner * ratio)
    return np.where(at_zero, y, found)


@_made_of(sps.boxcox)
def _boxcox(x: Array, lmbda: Array) -> Array:
    return _power_of_log(np.log(x), lmbda)


@_made_of(sps.boxcox1p)
def _boxcox1p(x: Array, lmbda: Array) -> Array:
    return _power_of_log(np.log1p(x), lmbda)


@_made_of(sps.inv_boxcox)
def _inv_boxcox(y: Array, lmbda: Array) -> Array:
    return np.exp(_log_of_power(y, lmbda))


@_made_of(sps.inv_boxcox1p)
def _inv_boxcox1p(y: Array, lmbda: Array) -> Array:
    return np.expm1(_log_of_power(y, lmbda))


@_made_of(sps.cosm1)
def _cosm1(x: Array) -> Array:
    return -2.0 * np.square(np.sin(0.5 * x))


@_made_of(sps.round)
def _round(x: Array) -> Array:
    return np.rint(x)


@_made_of(sps.huber)
def _huber(delta: Array, r: Array) -> Array:
    size = np.abs(r)
    found = np.where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta))
    return np.where(delta < 0, np.inf, found)


@_made_of(sps.pseudo_huber)
def _pseudo_huber(delta: Array, r: Array) -> Array:
    """``delta**2 * (sqrt(1 + (r / delta)**2) - 1)``, without the difference."""
    infinite, good = np.isinf(r), delta > 0
    inner = np.where(infinite, 0.0, r)
    found = inner * (inner / (np.hypot(1.0, inner / np.where(good, delta, 1.0)) + 1.0))
    found = np.where(good, np.where(infinite, np.inf, found), 0.0)
    return np.where(delta < 0, np.inf, np.where(np.isnan(delta), np.nan, found))


@_made_of(sps.agm)
def _agm(a: Array, b: Array) -> Array:
    """By the complete elliptic integral (DLMF 19.8.5). NaN of numbers with different signs."""
    total = a + b
    infinite, zero = np.isinf(total), total == 0
    scale = np.where(zero | infinite, 1.0, total)
    # 1 - m, which has no loss where one is much smaller.
    rest = np.where(zero | infinite, 1.0, 4.0 * (a / scale) * (b / scale))
    found = np.where(infinite, total, np.pi / 4 * scale / sps.ellipkm1(rest))
    return np.where(a * b < 0, np.nan, np.where((a == 0) | (b == 0), 0.0 * total, found))


# -- distribution functions --------------------------------------------------------------------------------------------


@_made_of(sps.chdtr)
def _chdtr(v: Array, x: Array) -> Array:
    return sps.gammainc(0.5 * v, 0.5 * x)


@_made_of(sps.chdtrc)
def _chdtrc(v: Array, x: Array) -> Array:
    return sps.gammaincc(0.5 * v, 0.5 * x)


@_made_of(sps.chdtri)
def _chdtri(v: Array, p: Array) -> Array:
    return 2.0 * sps.gammainccinv(0.5 * v, p)


def _share(dfn: Array, dfd: Array, x: Array) -> Array:
    """The number with a beta distribution that belongs to one with an F distribution."""
    infinite = x == np.inf
    inner = dfn * np.where(infinite, 0.0, x)
    return np.where(infinite, 1.0, inner / (dfd + inner))


@_made_of(sps.fdtr)
def _fdtr(dfn: Array, dfd: Array, x: Array) -> Array:
    return sps.betainc(0.5 * dfn, 0.5 * dfd, _share(dfn, dfd, x))


@_made_of(sps.fdtrc)
def _fdtrc(dfn: Array, dfd: Array, x: Array) -> Array:
    return sps.betaincc(0.5 * dfn, 0.5 * dfd, _share(dfn, dfd, x))


@_made_of(sps.fdtri)
def _fdtri(dfn: Array, dfd: Array, p: Array) -> Array:
    y = sps.betaincinv(0.5 * dfn, 0.5 * dfd, p)
    return dfd * y / (dfn * (1.0 - y))


@_made_of(sps.gdtr)
def _gdtr(a: Array, b: Array, x: Array) -> Array:
    return sps.gammainc(b, a * x)


@_made_of(sps.gdtrc)
def _gdtrc(a: Array, b: Array, x: Array) -> Array:
    return sps.gammaincc(b, a * x)


@_made_of(sps.pdtr)
def _pdtr(k: Array, m: Array) -> Array:
    return np.where(k < 0, np.nan, sps.gammaincc(np.floor(k) + 1.0, m))


@_made_of(sps.pdtrc)
def _pdtrc(k: Array, m: Array) -> Array:
    return np.where(k < 0, np.nan, sps.gammainc(np.floor(k) + 1.0, m))


def _of_successes(k: Array, n: Array, p: Array, integral: Any, above: float) -> Array:
    """The distribution function of a binomial distribution, or the rest; all is below n. Of n SciPy takes what
    is before the point."""
    k, n = np.floor(k), np.trunc(n)
    valid, inside = (k >= 0) & (k <= n), k < n
    found = integral(np.where(inside, n - k, 1.0), np.where(valid, k, 0.0) + 1.0, 1.0 - p)
    return np.where(valid, np.where(inside, found, above), np.nan)


@_made_of(sps.bdtr)
def _bdtr(k: Array, n: Array, p: Array) -> Array:
    return _of_successes(k, n, p, sps.betainc, 1.0)


@_made_of(sps.bdtrc)
def _bdtrc(k: Array, n: Array, p: Array) -> Array:
    return np.where(k < 0, 1.0, _of_successes(k, n, p, sps.betaincc, 0.0))


@_made_of(sps.nbdtr)
def _nbdtr(k: Array, n: Array, p: Array) -> Array:
    return sps.betainc(n, k + 1.0, p)


@_made_of(sps.nbdtrc)
def _nbdtrc(k: Array, n: Array, p: Array) -> Array:
    return sps.betaincc(n, k + 1.0, p)


def _expn(n: Any, x: Any, dtype: Any = None) -> Array:
    """Of an integer order; SciPy's ufunc takes an integer and a float, and cuts off what is behind the point."""
    (order, x), result = _beside(n, (n, x), dtype)
    order = np.clip(np.trunc(order), -1.0, 1e6)  # SciPy's code warns of what is no integer of C
    return cast(emit("expn", emit("no_derivative", order), x), result)


SPECIAL[sps.expn] = _expn


@_made_of(sps.kolmogorov)
def _kolmogorov(y: Array) -> Array:
    """By the sum of exponentials that converges fast: for small y the one that Poisson's summation gives."""
    small = y < 1.0
    low, high = np.where(small & (y > 0.04), y, 1.0), np.where(small, 1.0, y)
    left = sum(np.exp(-((2 * k - 1) ** 2) * np.pi**2 / 8.0 / (low * low)) for k in range(1, 5))
    right = sum((-1) ** (k - 1) * np.exp(-2.0 * k * k * high * high) for k in range(1, 5))
    found = np.where(small, 1.0 - np.sqrt(2.0 * np.pi) / low * left, 2.0 * right)
    return np.where(y <= 0.04, 1.0, found)


# -- polynomials -------------------------------------------------------------------------------------------------------

#: From this degree on polynomials are not written out.
_LONGEST = 256


def _degree(name: str, n: Any) -> int:
    known = n.concrete if isinstance(n, Tracer) else n
    if known is None or np.ndim(known) or known != int(known) or not 0 <= known < _LONGEST:
        raise _unsupported(
            name,
            f"of degree {n!r}",
            f"The recurrence is written out for a degree from 0 to {_LONGEST - 1} that is known. Make it static.",
        )
    return int(known)


def _polynomial(ufunc: Any, first: Callable[..., Array], following: Callable[..., Array], shift: bool = False) -> None:
    """A family of orthogonal polynomials (DLMF 18.9): that of degree 1, and of degree n + 1 from n, x, and those of
    degrees n and n - 1; parameters come last. ``shift`` takes ``2 * x - 1`` for x."""
    name = ufunc.__name__

    def handler(n: Any, *args: Any, dtype: Any = None) -> Array:
        degree = _degree(name, n)
        (*parameters, x), result = _beside(n, args, dtype)
        x = 2.0 * x - 1.0 if shift else x
        before, now = full(x, x.dims, 1.0), first(x, *parameters)
        if degree == 0:
            return cast(before + 0.0 * now, result)
        for k in range(1, degree):
            before, now = now, following(float(k), x, now, before, *parameters)
        return cast(now, result)

    SPECIAL[ufunc] = handler


def _identity(x: Array) -> Array:
    return x


def _double(x: Array) -> Array:
    return 2.0 * x


def _chebyshev(n: float, x: Array, p: Array, q: Array) -> Array:
    return 2.0 * x * p - q


def _legendre(n: float, x: Array, p: Array, q: Array) -> Array:
    return ((2.0 * n + 1.0) * x * p - n * q) / (n + 1.0)


def _generalised_laguerre(n: float, x: Array, p: Array, q: Array, alpha: Any = 0.0) -> Array:
    return ((2.0 * n + 1.0 + alpha - x) * p - (n + alpha) * q) / (n + 1.0)


def _jacobi(n: float, x: Array, p: Array, q: Array, a: Array, b: Array) -> Array:
    both = 2.0 * n + a + b
    scale = 2.0 * (n + 1.0) * (n + a + b + 1.0) * both
    linear = (both + 1.0) * ((both + 2.0) * both * x + a * a - b * b)
    return (linear * p - 2.0 * (n + a) * (n + b) * (both + 2.0) * q) / scale


for _shifted, _prefix in ((False, "eval_"), (True, "eval_sh_")):
    _polynomial(getattr(sps, f"{_prefix}legendre"), _identity, _legendre, _shifted)
    _polynomial(getattr(sps, f"{_prefix}chebyt"), _identity, _chebyshev, _shifted)
    _polynomial(getattr(sps, f"{_prefix}chebyu"), _double, _chebyshev, _shifted)
_polynomial(sps.eval_hermite, _double, lambda n, x, p, q: 2.0 * (x * p - n * q))
_polynomial(sps.eval_hermitenorm, _identity, lambda n, x, p, q: x * p - n * q)
_polynomial(sps.eval_laguerre, lambda x: 1.0 - x, _generalised_laguerre)
_polynomial(sps.eval_genlaguerre, lambda x, alpha: 1.0 + alpha - x, _generalised_laguerre)
_polynomial(
    sps.eval_gegenbauer,
    lambda x, a: 2.0 * a * x,
    lambda n, x, p, q, a: (2.0 * (n + a) * x * p - (n + 2.0 * a - 1.0) * q) / (n + 1.0),
)
_polynomial(sps.eval_jacobi, lambda x, a, b: (a + 1.0) + (a + b + 2.0) * (x - 1.0) / 2.0, _jacobi)


# -- counts ------------------------------------------------------------------------------------------------------------


def _counts(name: str, exact: Any, *args: Any) -> tuple[list[Array], Any]:
    if exact:
        raise _unsupported(name, "with exact=True", "It gives Python's integers. Leave it out, for a float.")
    return _operands(args)


@implements(sps.comb)
def comb(N: Any, k: Any, *, exact: Any = False, repetition: Any = False) -> Array:
    (n, k), result = _counts("comb", exact, N, k)
    if repetition:
        alone = (k == 0) & (n >= 0)
        return _cast(np.where(alone, 1.0, sps.binom(np.where(alone, 1.0, n + k - 1.0), k)), result)
    good = (k <= n) & (n >= 0) & (k >= 0)
    return _cast(np.where(good, sps.binom(np.where(good, n, 2.0), np.where(good, k, 1.0)), 0.0), result)


@implements(sps.perm)
def perm(N: Any, k: Any, exact: Any = False) -> Array:
    (n, k), result = _counts("perm", exact, N, k)
    good = (k <= n) & (n >= 0) & (k >= 0)
    return _cast(np.where(good, sps.poch(np.where(good, n - k, 1.0) + 1.0, np.where(good, k, 1.0)), 0.0), result)


@implements(sps.factorial)
def factorial(n: Any, exact: Any = False, extend: str = "zero") -> Array:
    """0 of negative numbers."""
    if extend != "zero":
        raise _unsupported("factorial", f"with extend={extend!r}", "Use scipy.special.gamma(n + 1).")
    (n,), _ = _counts("factorial", exact, n)
    return np.where(n < 0, 0.0, sps.gamma(np.where(n < 0, 0.0, n) + 1.0))


@implements(sps.factorial2)
def factorial2(n: Any, exact: Any = False, extend: str = "zero") -> Array:
    """Of integers: the product of every second number down to 1 or 2."""
    given = lift_one(n)
    if extend != "zero" or given.dtype.kind not in "iu":
        raise _unsupported("factorial2", f"of {given.dtype} with extend={extend!r}", "Give integers.")
    (n,), _ = _counts("factorial2", exact, n)
    half, odd = 0.5 * np.maximum(n, 0.0), 0.5 * n != np.floor(0.5 * n)
    found = np.exp2(half) * sps.gamma(half + 1.0) * np.where(odd, math.sqrt(2.0 / math.pi), 1.0)
    return np.where(n < 0, 0.0, np.rint(found))


# -- sums --------------------------------------------------------------------------------------------------------------

#: Terms that are summed, and Bernoulli numbers divided by factorials, of 2, 4, ... (DLMF 25.11.5 with 25.2.9).
_TERMS = 10
_CORRECTIONS = [float(b) / math.factorial(k) for k, b in enumerate(sps.bernoulli(24)) if k and k % 2 == 0]


def _hurwitz(s: Array, q: Array) -> Array:
    """The sum of ``(q + k) ** -s`` for s > 1 and q > 0, by Euler and Maclaurin."""
    total = sum(np.power(q + float(k), -s) for k in range(_TERMS))
    end = q + float(_TERMS)
    power = np.power(end, -s)
    total = total + end * power / (s - 1.0) + 0.5 * power
    factor = s * power / end
    for k, number in enumerate(_CORRECTIONS):
        total = total + number * factor
        factor = factor * ((s + (2.0 * k + 1.0)) / end) * ((s + (2.0 * k + 2.0)) / end)
    return total


@implements(sps.zeta)
def zeta(x: Any, q: Any = None, out: Any = None) -> Array:
    """Riemann's function, for s < 0 by its reflection (DLMF 25.4.1); with q that of Hurwitz, for s > 1 and q > 0."""
    if q is not None:
        (s, q), result = _operands((x, q))
        good = (s > 1.0) & (q > 0.0)
        found = _hurwitz(np.where(good, s, 2.0), np.where(good, q, 1.0))
        pole = (s == 1.0) | ((q <= 0.0) & (q == np.floor(q)) & (s >= 1.0))
        return _cast(np.where(good, found, np.where(pole, np.inf, np.nan)), result)
    (s,), result = _operands((x,))
    pole, left = s == 1.0, s < 0.0
    right = np.where(pole, 2.0, np.where(left, 1.0 - s, s))
    found = _hurwitz(np.minimum(right, 200.0), np.ones_like(right))
    t = np.where(left, s, -1.0)
    # sin(pi * t / 2) by what is left of half turns: it is 0 at even integers.
    rest = t - 4.0 * np.floor(0.25 * t)
    back = rest > 2.0
    rest = np.where(back, rest - 2.0, rest)
    sine = np.where(back, -1.0, 1.0) * np.sin(0.5 * np.pi * np.where(rest > 1.0, 2.0 - rest, rest))
    reflected = 2.0 * np.exp((t - 1.0) * math.log(2.0 * math.pi)) * sine * sps.gamma(1.0 - t) * found
    found = np.where(left, reflected, found)
    return _cast(np.where(np.isnan(s), np.nan, np.where(pole, np.inf, found)), result)


@implements(sps.diric)
def diric(x: Any, n: Any) -> Array:
    """``sin(n * x / 2) / (n * sin(x / 2))``, as the sum of cosines that it is."""
    known = n.concrete if isinstance(n, Tracer) else n
    if known is None or np.ndim(known) or not 0 < known < _LONGEST or known != int(known):
        raise _unsupported("diric", f"with n={n!r}", f"Give an integer from 1 to {_LONGEST - 1} that is known.")
    ((x,), _), n = _operands((x,)), int(known)
    total = sum((2.0 * np.cos(0.5 * k * x) for k in range(n - 1, 0, -2)), start=1.0 if n % 2 else 0.0)
    return (total + 0.0 * x) / n


for _name in ("sici", "fresnel", "ellipj", "airy"):
    ADVICE[getattr(sps, _name)] = "It has several results. Compute it outside the traced function."
for _name in ("lambertw", "wofz", "hankel1", "hankel2"):
    ADVICE[getattr(sps, _name)] = "Its result is complex. Compute it outside the traced function."
