"""The distributions of ``scipy.stats`` as rows of two tables: formulas for location 0 and scale 1, on the support.

``functions_stats`` makes SciPy's methods of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

import jitgrad.numpy as jnp
from jitgrad.scipy import special

LOG_TWO_PI = float(np.log(2 * np.pi))
_LOG_ROOT = 0.5 * LOG_TWO_PI
Formula = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Formulas:
    """A distribution: functions of a number and of the shape parameters, for numbers on the support.

    ``log`` is the logarithm of the density or mass. ``support`` gives its ends, None for infinite ones, and ``valid``
    the shape parameters that are; by default the positive ones. ``open`` says that the density is 0 at the lower end.
    ``sf`` is 1 - ``cdf``, and either follows from the other; ``ppf`` and ``isf`` are their inverses. ``logcdf`` and
    ``logsf`` are given where they are more exact than the logarithms.
    """

    log: Formula
    support: Callable[..., tuple[Any, Any]] = lambda *shapes: (None, None)
    cdf: Formula | None = None
    sf: Formula | None = None
    logcdf: Formula | None = None
    logsf: Formula | None = None
    ppf: Formula | None = None
    isf: Formula | None = None
    mean: Formula | None = None
    var: Formula | None = None
    entropy: Formula | None = None
    valid: Formula = lambda *shapes: [s > 0 for s in shapes]
    open: bool = False


def _from(low: float) -> Callable[..., tuple[Any, Any]]:
    return lambda *shapes: (low, None)


def _between(low: float, high: float) -> Callable[..., tuple[Any, Any]]:
    return lambda *shapes: (low, high)


def _gamma_log(x: Any, a: Any) -> Any:
    return special.xlogy(a - 1.0, x) - x - special.gammaln(a)


def _beta_log(x: Any, a: Any, b: Any) -> Any:
    return special.xlogy(a - 1.0, x) + special.xlog1py(b - 1.0, -x) - special.betaln(a, b)


def _t_log(x: Any, df: Any) -> Any:
    constant = special.gammaln((df + 1.0) / 2) - special.gammaln(df / 2) - 0.5 * jnp.log(df * np.pi)
    return constant - (df + 1.0) / 2 * jnp.log1p(x * x / df)


def _log_ratio(x: Any, s: Any) -> Any:
    return jnp.log(x) / s


def _beta_entropy(a: Any, b: Any) -> Any:
    found = special.betaln(a, b) + (a + b - 2.0) * special.psi(a + b)
    return found - (a - 1.0) * special.psi(a) - (b - 1.0) * special.psi(b)


def _gamma_entropy(a: Any) -> Any:
    return (1.0 - a) * special.psi(a) + a + special.gammaln(a)


def _beyond(x: Any, end: float, formula: Formula) -> Any:
    """The formula of x above an end, where a moment begins to be finite; else infinity."""
    return jnp.where(x > end, formula(jnp.where(x > end, x, end + 1.0)), np.inf)


def _t_var(df: Any) -> Any:
    return jnp.where(df > 1, _beyond(df, 2.0, lambda df: df / (df - 2.0)), np.nan)


def _t_entropy(df: Any) -> Any:
    half, more = 0.5 * df, 0.5 * (df + 1.0)
    return more * (special.psi(more) - special.psi(half)) + 0.5 * jnp.log(df) + special.betaln(half, 0.5)


def _f_log(x: Any, n: Any, m: Any) -> Any:
    constant = 0.5 * (special.xlogy(m, m) + special.xlogy(n, n)) - special.betaln(0.5 * n, 0.5 * m)
    return constant + special.xlogy(0.5 * n - 1.0, x) - 0.5 * (n + m) * jnp.log(m + n * x)


def _f_entropy(n: Any, m: Any) -> Any:
    a, b = 0.5 * n, 0.5 * m
    found = jnp.log(b / a) + special.betaln(a, b) + (1.0 - a) * special.psi(a) - (1.0 + b) * special.psi(b)
    return found + (a + b) * special.psi(a + b)


def _skewnorm_mean(a: Any) -> Any:
    return np.sqrt(2 / np.pi) * a / jnp.sqrt(1.0 + a * a)


def _gennorm_cdf(x: Any, beta: Any) -> Any:
    tail = 0.5 * special.gammaincc(1.0 / beta, jnp.abs(x) ** beta)
    return jnp.where(x > 0, 1.0 - tail, tail)


def _gennorm_ppf(q: Any, beta: Any) -> Any:
    tail = jnp.where(q > 0.5, 1.0 - q, q)
    return jnp.sign(q - 0.5) * special.gammainccinv(1.0 / beta, 2.0 * tail) ** (1.0 / beta)


def _rising(x: Any, c: Any) -> Any:
    """Where the density of a triangle rises."""
    return (x < c) | (c == 1.0)


def _triang_log(x: Any, c: Any) -> Any:
    rising = _rising(x, c)
    return np.log(2.0) + jnp.log(jnp.where(rising, x, 1.0 - x) / jnp.where(rising, c, 1.0 - c))


def _triang_cdf(x: Any, c: Any) -> Any:
    rising = _rising(x, c)
    part = jnp.where(rising, x, 1.0 - x) ** 2 / jnp.where(rising, c, 1.0 - c)
    return jnp.where(rising, part, 1.0 - part)


def _log_difference(p: Any, q: Any) -> Any:
    """``log(exp(p) - exp(q))``, -inf where they are the same."""
    same = p <= q
    return jnp.where(same, -np.inf, p + jnp.log(-jnp.expm1(jnp.where(same, -1.0, q - p))))


def _log_mass(a: Any, b: Any) -> Any:
    """The logarithm of the probability that a normal number is from a to b: from the side where both are small."""
    right = a > 0
    low, high = jnp.where(right, -b, a), jnp.where(right, -a, b)
    below = special.log_ndtr(low)
    side = _log_difference(special.log_ndtr(high), below)
    around = (a <= 0) & (b > 0)
    inside = special.ndtr(jnp.where(around, a, -1.0)) + special.ndtr(jnp.where(around, -b, -1.0))
    return jnp.where(around, jnp.log1p(-inside), side)


def _log_part(part: Any, rest: Any, whole: Any) -> Any:
    """The logarithm of a part of a probability, from the rest where that is small."""
    log = part - whole
    near = log > -0.1
    return jnp.where(near, jnp.log1p(-jnp.exp(jnp.where(near, rest - whole, -1.0))), log)


def _truncnorm_ppf(q: Any, a: Any, b: Any) -> Any:
    left, mass = a < 0, _log_mass(a, b)
    end = special.log_ndtr(jnp.where(left, a, -b))
    found = special.ndtri_exp(jnp.logaddexp(end, jnp.where(left, jnp.log(q), jnp.log1p(-q)) + mass))
    return jnp.where(left, found, -found)


def _truncnorm_ends(a: Any, b: Any) -> tuple[Any, Any, Any, Any]:
    """The densities at the ends, and the ends where the density is not 0 there."""
    mass = _log_mass(a, b)
    densities = [jnp.exp(-0.5 * x * x - _LOG_ROOT - mass) for x in (a, b)]
    ends = [jnp.where(jnp.isinf(x), 0.0, x) for x in (a, b)]
    return (*densities, *ends)


def _truncnorm_moments(a: Any, b: Any) -> tuple[Any, Any]:
    at_a, at_b, low, high = _truncnorm_ends(a, b)
    mean = at_a - at_b
    return mean, 1.0 + at_a * (low - mean) - at_b * (high - mean)


def _truncnorm_entropy(a: Any, b: Any) -> Any:
    at_a, at_b, low, high = _truncnorm_ends(a, b)
    return _LOG_ROOT + 0.5 + _log_mass(a, b) + 0.5 * (low * at_a - high * at_b)


def _wrapcauchy_cdf(x: Any, c: Any) -> Any:
    first, ratio = x < np.pi, (1.0 + c) / (1.0 - c)
    part = jnp.arctan(ratio * jnp.tan(jnp.where(first, x, 2.0 * np.pi - x) / 2.0)) / np.pi
    return jnp.where(first, part, 1.0 - part)


def _wrapcauchy_ppf(q: Any, c: Any) -> Any:
    first, ratio = q < 0.5, (1.0 - c) / (1.0 + c)
    part = 2.0 * jnp.arctan(ratio * jnp.tan(np.pi * jnp.where(first, q, 1.0 - q)))
    return jnp.where(first, part, 2.0 * np.pi - part)


#: By SciPy's name. Shape parameters have SciPy's order.
CONTINUOUS: dict[str, Formulas] = {
    "norm": Formulas(
        lambda x: -0.5 * (x * x) - _LOG_ROOT,
        cdf=lambda x: special.ndtr(x),
        sf=lambda x: special.ndtr(-x),
        logcdf=lambda x: special.log_ndtr(x),
        logsf=lambda x: special.log_ndtr(-x),
        ppf=lambda q: special.ndtri(q),
        isf=lambda q: -special.ndtri(q),
        mean=lambda: 0.0,
        var=lambda: 1.0,
        entropy=lambda: _LOG_ROOT + 0.5,
    ),
    "halfnorm": Formulas(
        lambda x: -0.5 * (x * x) - _LOG_ROOT + np.log(2.0),
        _from(0.0),
        cdf=lambda x: special.erf(x * np.sqrt(0.5)),
        sf=lambda x: special.erfc(x * np.sqrt(0.5)),
        ppf=lambda q: special.ndtri((1.0 + q) / 2.0),
        isf=lambda q: -special.ndtri(q / 2.0),
        mean=lambda: np.sqrt(2 / np.pi),
        var=lambda: 1 - 2 / np.pi,
        entropy=lambda: 0.5 * np.log(np.pi / 2) + 0.5,
    ),
    "lognorm": Formulas(
        lambda x, s: -0.5 * _log_ratio(x, s) ** 2 - jnp.log(s * x) - _LOG_ROOT,
        _from(0.0),
        cdf=lambda x, s: special.ndtr(_log_ratio(x, s)),
        sf=lambda x, s: special.ndtr(-_log_ratio(x, s)),
        logcdf=lambda x, s: special.log_ndtr(_log_ratio(x, s)),
        logsf=lambda x, s: special.log_ndtr(-_log_ratio(x, s)),
        ppf=lambda q, s: jnp.exp(s * special.ndtri(q)),
        open=True,
        isf=lambda q, s: jnp.exp(-s * special.ndtri(q)),
        mean=lambda s: jnp.exp(0.5 * s * s),
        var=lambda s: jnp.expm1(s * s) * jnp.exp(s * s),
        entropy=lambda s: _LOG_ROOT + 0.5 + jnp.log(s),
    ),
    "skewnorm": Formulas(
        lambda x, a: -0.5 * (x * x) - _LOG_ROOT + np.log(2.0) + special.log_ndtr(a * x),
        cdf=lambda x, a: special.ndtr(x) - 2.0 * special.owens_t(x, a),
        sf=lambda x, a: special.ndtr(-x) + 2.0 * special.owens_t(x, a),
        valid=lambda a: [a == a],
        mean=_skewnorm_mean,
        var=lambda a: 1.0 - _skewnorm_mean(a) ** 2,
    ),
    "t": Formulas(
        _t_log,
        cdf=lambda x, df: special.stdtr(df, x),
        sf=lambda x, df: special.stdtr(df, -x),
        ppf=lambda q, df: special.stdtrit(df, q),
        isf=lambda q, df: -special.stdtrit(df, q),
        mean=lambda df: jnp.where(df > 1, 0.0, np.inf),
        var=_t_var,
        entropy=_t_entropy,
    ),
    "cauchy": Formulas(
        lambda x: -np.log(np.pi) - jnp.log1p(x * x),
        cdf=lambda x: 0.5 + jnp.arctan(x) / np.pi,
        sf=lambda x: 0.5 - jnp.arctan(x) / np.pi,
        ppf=lambda q: jnp.tan(np.pi * (q - 0.5)),
        isf=lambda q: 1.0 / jnp.tan(np.pi * q),
        mean=lambda: np.nan,
        var=lambda: np.nan,
        entropy=lambda: np.log(4 * np.pi),
    ),
    "halfcauchy": Formulas(
        lambda x: np.log(2.0 / np.pi) - jnp.log1p(x * x),
        _from(0.0),
        cdf=lambda x: 2.0 / np.pi * jnp.arctan(x),
        ppf=lambda q: jnp.tan(np.pi / 2 * q),
        isf=lambda q: 1.0 / jnp.tan(np.pi / 2 * q),
        mean=lambda: np.inf,
        var=lambda: np.inf,
        entropy=lambda: LOG_TWO_PI,
    ),
    "laplace": Formulas(
        lambda x: -jnp.abs(x) - np.log(2.0),
        cdf=lambda x: jnp.where(x > 0, 1.0 - 0.5 * jnp.exp(-x), 0.5 * jnp.exp(x)),
        sf=lambda x: jnp.where(x > 0, 0.5 * jnp.exp(-x), 1.0 - 0.5 * jnp.exp(x)),
        ppf=lambda q: jnp.where(q > 0.5, -jnp.log(2.0 * (1.0 - q)), jnp.log(2.0 * q)),
        isf=lambda q: jnp.where(q > 0.5, jnp.log(2.0 * (1.0 - q)), -jnp.log(2.0 * q)),
        mean=lambda: 0.0,
        var=lambda: 2.0,
        entropy=lambda: np.log(2) + 1,
    ),
    "logistic": Formulas(
        lambda x: special.log_expit(x) + special.log_expit(-x),
        cdf=lambda x: special.expit(x),
        sf=lambda x: special.expit(-x),
        logcdf=lambda x: special.log_expit(x),
        logsf=lambda x: special.log_expit(-x),
        ppf=lambda q: special.logit(q),
        isf=lambda q: -special.logit(q),
        mean=lambda: 0.0,
        var=lambda: np.pi**2 / 3,
        entropy=lambda: 2.0,
    ),
    "gumbel_r": Formulas(
        lambda x: -x - jnp.exp(-x),
        cdf=lambda x: jnp.exp(-jnp.exp(-x)),
        sf=lambda x: -jnp.expm1(-jnp.exp(-x)),
        logcdf=lambda x: -jnp.exp(-x),
        ppf=lambda q: -jnp.log(-jnp.log(q)),
        isf=lambda q: -jnp.log(-jnp.log1p(-q)),
        mean=lambda: np.euler_gamma,
        var=lambda: np.pi**2 / 6,
        entropy=lambda: np.euler_gamma + 1,
    ),
    "gumbel_l": Formulas(
        lambda x: x - jnp.exp(x),
        cdf=lambda x: -jnp.expm1(-jnp.exp(x)),
        sf=lambda x: jnp.exp(-jnp.exp(x)),
        logsf=lambda x: -jnp.exp(x),
        ppf=lambda q: jnp.log(-jnp.log1p(-q)),
        isf=lambda q: jnp.log(-jnp.log(q)),
        mean=lambda: -np.euler_gamma,
        var=lambda: np.pi**2 / 6,
        entropy=lambda: np.euler_gamma + 1,
    ),
    "uniform": Formulas(
        lambda x: 0.0 * x,
        _between(0.0, 1.0),
        cdf=lambda x: x,
        ppf=lambda q: q,
        isf=lambda q: 1.0 - q,
        mean=lambda: 0.5,
        var=lambda: 1 / 12,
        entropy=lambda: 0.0,
    ),
    "expon": Formulas(
        lambda x: -x,
        _from(0.0),
        cdf=lambda x: -jnp.expm1(-x),
        sf=lambda x: jnp.exp(-x),
        logsf=lambda x: -x,
        ppf=lambda q: -jnp.log1p(-q),
        isf=lambda q: -jnp.log(q),
        mean=lambda: 1.0,
        var=lambda: 1.0,
        entropy=lambda: 1.0,
    ),
    "rayleigh": Formulas(
        lambda x: jnp.log(x) - 0.5 * x * x,
        _from(0.0),
        cdf=lambda x: -jnp.expm1(-0.5 * x * x),
        sf=lambda x: jnp.exp(-0.5 * x * x),
        logsf=lambda x: -0.5 * x * x,
        ppf=lambda q: jnp.sqrt(-2.0 * jnp.log1p(-q)),
        isf=lambda q: jnp.sqrt(-2.0 * jnp.log(q)),
        mean=lambda: np.sqrt(np.pi / 2),
        var=lambda: 2 - np.pi / 2,
        entropy=lambda: np.euler_gamma / 2 + 1 - 0.5 * np.log(2),
    ),
    "weibull_min": Formulas(
        lambda x, c: jnp.log(c) + special.xlogy(c - 1.0, x) - x**c,
        _from(0.0),
        cdf=lambda x, c: -jnp.expm1(-(x**c)),
        sf=lambda x, c: jnp.exp(-(x**c)),
        logsf=lambda x, c: -(x**c),
        ppf=lambda q, c: (-jnp.log1p(-q)) ** (1.0 / c),
        isf=lambda q, c: (-jnp.log(q)) ** (1.0 / c),
        mean=lambda c: special.gamma(1.0 + 1.0 / c),
        var=lambda c: special.gamma(1.0 + 2.0 / c) - special.gamma(1.0 + 1.0 / c) ** 2,
        entropy=lambda c: np.euler_gamma * (1.0 - 1.0 / c) - jnp.log(c) + 1.0,
    ),
    "pareto": Formulas(
        lambda x, b: jnp.log(b) - (b + 1.0) * jnp.log(x),
        _from(1.0),
        cdf=lambda x, b: -jnp.expm1(-b * jnp.log(x)),
        sf=lambda x, b: x**-b,
        logsf=lambda x, b: -b * jnp.log(x),
        ppf=lambda q, b: (1.0 - q) ** (-1.0 / b),
        isf=lambda q, b: q ** (-1.0 / b),
        mean=lambda b: _beyond(b, 1.0, lambda b: b / (b - 1.0)),
        var=lambda b: _beyond(b, 2.0, lambda b: b / (b - 2.0) / (b - 1.0) ** 2),
        entropy=lambda b: 1.0 + 1.0 / b - jnp.log(b),
    ),
    "gamma": Formulas(
        _gamma_log,
        _from(0.0),
        cdf=lambda x, a: special.gammainc(a, x),
        sf=lambda x, a: special.gammaincc(a, x),
        ppf=lambda q, a: special.gammaincinv(a, q),
        isf=lambda q, a: special.gammainccinv(a, q),
        mean=lambda a: a,
        var=lambda a: a,
        entropy=_gamma_entropy,
    ),
    "chi2": Formulas(
        lambda x, df: _gamma_log(0.5 * x, 0.5 * df) - np.log(2.0),
        _from(0.0),
        cdf=lambda x, df: special.gammainc(0.5 * df, 0.5 * x),
        sf=lambda x, df: special.gammaincc(0.5 * df, 0.5 * x),
        ppf=lambda q, df: 2.0 * special.gammaincinv(0.5 * df, q),
        isf=lambda q, df: 2.0 * special.gammainccinv(0.5 * df, q),
        mean=lambda df: df,
        var=lambda df: 2.0 * df,
        entropy=lambda df: _gamma_entropy(0.5 * df) + np.log(2),
    ),
    "invgamma": Formulas(
        lambda x, a: -(a + 1.0) * jnp.log(x) - special.gammaln(a) - 1.0 / x,
        _from(0.0),
        cdf=lambda x, a: special.gammaincc(a, 1.0 / x),
        sf=lambda x, a: special.gammainc(a, 1.0 / x),
        open=True,
        ppf=lambda q, a: 1.0 / special.gammainccinv(a, q),
        isf=lambda q, a: 1.0 / special.gammaincinv(a, q),
        mean=lambda a: _beyond(a, 1.0, lambda a: 1.0 / (a - 1.0)),
        var=lambda a: _beyond(a, 2.0, lambda a: 1.0 / (a - 1.0) ** 2 / (a - 2.0)),
        entropy=lambda a: a - (a + 1.0) * special.psi(a) + special.gammaln(a),
    ),
    "beta": Formulas(
        _beta_log,
        _between(0.0, 1.0),
        cdf=lambda x, a, b: special.betainc(a, b, x),
        sf=lambda x, a, b: special.betaincc(a, b, x),
        ppf=lambda q, a, b: special.betaincinv(a, b, q),
        isf=lambda q, a, b: special.betainccinv(a, b, q),
        mean=lambda a, b: a / (a + b),
        var=lambda a, b: a * b / (a + b) ** 2 / (a + b + 1.0),
        entropy=_beta_entropy,
    ),
    "f": Formulas(
        _f_log,
        _from(0.0),
        cdf=lambda x, n, m: special.fdtr(n, m, x),
        sf=lambda x, n, m: special.fdtrc(n, m, x),
        ppf=lambda q, n, m: special.fdtri(n, m, q),
        isf=lambda q, n, m: 1.0 / special.fdtri(m, n, q),
        mean=lambda n, m: _beyond(m, 2.0, lambda m: m / (m - 2.0)),
        var=lambda n, m: _beyond(m, 4.0, lambda m: 2.0 * m * m * (n + m - 2.0) / (n * (m - 2.0) ** 2 * (m - 4.0))),
        entropy=_f_entropy,
    ),
    "gennorm": Formulas(
        lambda x, beta: jnp.log(0.5 * beta) - special.gammaln(1.0 / beta) - jnp.abs(x) ** beta,
        cdf=_gennorm_cdf,
        sf=lambda x, beta: _gennorm_cdf(-x, beta),
        ppf=_gennorm_ppf,
        isf=lambda q, beta: -_gennorm_ppf(q, beta),
        mean=lambda beta: 0.0 * beta,
        var=lambda beta: jnp.exp(special.gammaln(3.0 / beta) - special.gammaln(1.0 / beta)),
        entropy=lambda beta: 1.0 / beta - jnp.log(0.5 * beta) + special.gammaln(1.0 / beta),
    ),
    "gompertz": Formulas(
        lambda x, c: jnp.log(c) + x - c * jnp.expm1(x),
        _from(0.0),
        cdf=lambda x, c: -jnp.expm1(-c * jnp.expm1(x)),
        sf=lambda x, c: jnp.exp(-c * jnp.expm1(x)),
        logsf=lambda x, c: -c * jnp.expm1(x),
        ppf=lambda q, c: jnp.log1p(-jnp.log1p(-q) / c),
        isf=lambda q, c: jnp.log1p(-jnp.log(q) / c),
    ),
    "levy": Formulas(
        lambda x: -1.5 * jnp.log(x) - _LOG_ROOT - 0.5 / x,
        _from(0.0),
        cdf=lambda x: special.erfc(jnp.sqrt(0.5 / x)),
        sf=lambda x: special.erf(jnp.sqrt(0.5 / x)),
        ppf=lambda q: special.ndtri(0.5 * q) ** -2.0,
        isf=lambda q: 0.5 * special.erfinv(q) ** -2.0,
        mean=lambda: np.inf,
        var=lambda: np.inf,
        open=True,
    ),
    "triang": Formulas(
        _triang_log,
        _between(0.0, 1.0),
        cdf=_triang_cdf,
        ppf=lambda q, c: jnp.where(q < c, jnp.sqrt(c * q), 1.0 - jnp.sqrt((1.0 - c) * (1.0 - q))),
        isf=lambda q, c: jnp.where(1.0 - q < c, jnp.sqrt(c * (1.0 - q)), 1.0 - jnp.sqrt((1.0 - c) * q)),
        valid=lambda c: [probability(c)],
        mean=lambda c: (c + 1.0) / 3.0,
        var=lambda c: (1.0 - c + c * c) / 18.0,
        entropy=lambda c: 0.5 - np.log(2) + 0.0 * c,
    ),
    "truncnorm": Formulas(
        lambda x, a, b: -0.5 * (x * x) - _LOG_ROOT - _log_mass(a, b),
        lambda a, b: (a, b),
        cdf=lambda x, a, b: jnp.exp(_log_mass(a, x) - _log_mass(a, b)),
        sf=lambda x, a, b: jnp.exp(_log_mass(x, b) - _log_mass(a, b)),
        logcdf=lambda x, a, b: _log_part(_log_mass(a, x), _log_mass(x, b), _log_mass(a, b)),
        logsf=lambda x, a, b: _log_part(_log_mass(x, b), _log_mass(a, x), _log_mass(a, b)),
        ppf=_truncnorm_ppf,
        isf=lambda q, a, b: -_truncnorm_ppf(q, -b, -a),
        valid=lambda a, b: [a < b],
        mean=lambda a, b: _truncnorm_moments(a, b)[0],
        var=lambda a, b: _truncnorm_moments(a, b)[1],
        entropy=_truncnorm_entropy,
    ),
    "wrapcauchy": Formulas(
        lambda x, c: jnp.log((1.0 - c * c) / (1.0 + c * c - 2.0 * c * jnp.cos(x))) - LOG_TWO_PI,
        _between(0.0, 2 * np.pi),
        cdf=_wrapcauchy_cdf,
        ppf=_wrapcauchy_ppf,
        isf=lambda q, c: 2.0 * np.pi - _wrapcauchy_ppf(q, c),
        valid=lambda c: [(c > 0) & (c < 1)],
        entropy=lambda c: LOG_TWO_PI + jnp.log1p(-c * c),
    ),
    "vonmises": Formulas(
        lambda x, kappa: kappa * (jnp.cos(x) - 1.0) - LOG_TWO_PI - jnp.log(special.i0e(kappa)),
        valid=lambda kappa: [kappa >= 0],
        entropy=lambda kappa: (
            kappa * (1.0 - special.i1e(kappa) / special.i0e(kappa)) + LOG_TWO_PI + jnp.log(special.i0e(kappa))
        ),
    ),
}


def probability(p: Any) -> Any:
    return (p >= 0) & (p <= 1)


def _binom_log(k: Any, n: Any, p: Any) -> Any:
    ways = special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
    return ways + special.xlogy(k, p) + special.xlog1py(n - k, -p)


def _betabinom_log(k: Any, n: Any, a: Any, b: Any) -> Any:
    ways = -jnp.log1p(n) - special.betaln(n - k + 1.0, k + 1.0)
    return ways + special.betaln(k + a, n - k + b) - special.betaln(a, b)


def _hypergeom_log(k: Any, total: Any, good: Any, drawn: Any) -> Any:
    found = special.betaln(good + 1.0, 1.0) + special.betaln(total - good + 1.0, 1.0)
    found = found + special.betaln(total - drawn + 1.0, drawn + 1.0) - special.betaln(k + 1.0, good - k + 1.0)
    return found - special.betaln(drawn - k + 1.0, total - good - drawn + k + 1.0) - special.betaln(total + 1.0, 1.0)


DISCRETE: dict[str, Formulas] = {
    "betabinom": Formulas(
        _betabinom_log,
        lambda n, a, b: (0.0, n),
        valid=lambda n, a, b: [n >= 0, n == jnp.floor(n), a > 0, b > 0],
        mean=lambda n, a, b: n * a / (a + b),
        var=lambda n, a, b: n * (a + b + n) * a * b / ((a + b) ** 2 * (a + b + 1.0)),
    ),
    "hypergeom": Formulas(
        _hypergeom_log,
        lambda total, good, drawn: (jnp.maximum(drawn - (total - good), 0.0), jnp.minimum(good, drawn)),
        valid=lambda *shapes: [
            *((s >= 0) & (s == jnp.floor(s)) for s in shapes), shapes[1] <= shapes[0], shapes[2] <= shapes[0]
        ],
        mean=lambda total, good, drawn: drawn * good / total,
        var=lambda total, good, drawn: (
            drawn * good * (total - good) * (total - drawn) / (total * total * (total - 1.0))
        ),
    ),
    "poisson": Formulas(
        lambda k, mu: special.xlogy(k, mu) - special.gammaln(k + 1.0) - mu,
        _from(0.0),
        cdf=lambda k, mu: special.gammaincc(k + 1.0, mu),
        sf=lambda k, mu: special.gammainc(k + 1.0, mu),
        valid=lambda mu: [mu >= 0],
        mean=lambda mu: mu, var=lambda mu: mu,
    ),
    "bernoulli": Formulas(
        lambda k, p: special.xlogy(k, p) + special.xlog1py(1.0 - k, -p),
        _between(0.0, 1.0),
        cdf=lambda k, p: jnp.where(k < 1, 1.0 - p, 1.0),
        sf=lambda k, p: jnp.where(k < 1, p, 0.0),
        valid=lambda p: [probability(p)],
        mean=lambda p: p, var=lambda p: p * (1.0 - p), entropy=lambda p: special.entr(p) + special.entr(1.0 - p),
    ),
    "binom": Formulas(
        _binom_log,
        lambda n, p: (0.0, n),
        cdf=lambda k, n, p: special.betainc(n - k, k + 1.0, 1.0 - p),
        sf=lambda k, n, p: special.betainc(k + 1.0, n - k, p),
        valid=lambda n, p: [n >= 0, n == jnp.floor(n), probability(p)],
        mean=lambda n, p: n * p, var=lambda n, p: n * p * (1.0 - p),
    ),
    "nbinom": Formulas(
        lambda k, n, p: (
            special.gammaln(n + k) - special.gammaln(k + 1.0) - special.gammaln(n) + n * jnp.log(p)
            + special.xlog1py(k, -p)
        ),
        _from(0.0),
        cdf=lambda k, n, p: special.betainc(n, k + 1.0, p),
        sf=lambda k, n, p: special.betaincc(n, k + 1.0, p),
        valid=lambda n, p: [n > 0, p > 0, p <= 1],
        mean=lambda n, p: n * (1.0 - p) / p, var=lambda n, p: n * (1.0 - p) / p**2,
    ),
    "geom": Formulas(
        lambda k, p: special.xlog1py(k - 1.0, -p) + jnp.log(p),
        _from(1.0),
        cdf=lambda k, p: -jnp.expm1(special.xlog1py(k, -p)),
        sf=lambda k, p: jnp.exp(special.xlog1py(k, -p)),
        valid=lambda p: [p > 0, p <= 1],
        mean=lambda p: 1.0 / p, var=lambda p: (1.0 - p) / p**2,
    ),
}  # fmt: skip
