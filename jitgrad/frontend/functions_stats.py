"""Densities and distribution functions of ``scipy.stats`` on traced values.

A distribution is a row of :data:`CONTINUOUS` or :data:`DISCRETE`: formulas for location 0 and scale 1, on its support.
The rest is the same for all: location and scale, what is outside the support, and the methods that follow from others.
As in SciPy everything is computed in float64, and is NaN for parameters that are not valid.

Loaded when a program uses ``scipy.stats``, which takes long to import.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.stats

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError
from jitgrad.frontend.branches import if_return
from jitgrad.frontend.functions_rvs import name_of, sample
from jitgrad.frontend.namespace import Mirror, wrap
from jitgrad.frontend.primitives import cast, lift
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import FUNCTIONS, implements
from jitgrad.frontend.tracer import is_traced
from jitgrad.ir.location import user_location
from jitgrad.scipy import Part, linalg, special

_LOG_TWO_PI = float(np.log(2 * np.pi))
#: An eigenvalue of a covariance below so many times the largest is 0, for SciPy.
_NEGLIGIBLE = 1e6 * float(np.finfo(np.float64).eps)
_LOG_ROOT = 0.5 * _LOG_TWO_PI
Formula = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Formulas:
    """A distribution: functions of a number and of the shape parameters, for numbers on the support.

    ``log`` is the logarithm of the density or mass. ``support`` gives its ends, None for infinite ones, and ``valid``
    the shape parameters that are; by default the positive ones. ``open`` says that the density is 0 at the lower end.
    ``sf`` is 1 - ``cdf``, and either follows from the other. ``logcdf`` and ``logsf`` are given where they are more
    exact than the logarithms.
    """

    log: Formula
    support: Callable[..., tuple[Any, Any]] = lambda *shapes: (None, None)
    cdf: Formula | None = None
    sf: Formula | None = None
    logcdf: Formula | None = None
    logsf: Formula | None = None
    ppf: Formula | None = None
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


#: By SciPy's name. Shape parameters have SciPy's order.
CONTINUOUS: dict[str, Formulas] = {
    "norm": Formulas(
        lambda x: -0.5 * (x * x) - _LOG_ROOT,
        cdf=lambda x: special.ndtr(x),
        sf=lambda x: special.ndtr(-x),
        logcdf=lambda x: special.log_ndtr(x),
        logsf=lambda x: special.log_ndtr(-x),
        ppf=lambda q: special.ndtri(q),
    ),
    "halfnorm": Formulas(
        lambda x: -0.5 * (x * x) - _LOG_ROOT + np.log(2.0),
        _from(0.0),
        cdf=lambda x: special.erf(x * np.sqrt(0.5)),
        sf=lambda x: special.erfc(x * np.sqrt(0.5)),
        ppf=lambda q: special.ndtri((1.0 + q) / 2.0),
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
    ),
    "skewnorm": Formulas(
        lambda x, a: -0.5 * (x * x) - _LOG_ROOT + np.log(2.0) + special.log_ndtr(a * x), valid=lambda a: [a == a]
    ),
    "t": Formulas(_t_log, cdf=lambda x, df: special.stdtr(df, x), sf=lambda x, df: special.stdtr(df, -x)),
    "cauchy": Formulas(
        lambda x: -np.log(np.pi) - jnp.log1p(x * x),
        cdf=lambda x: 0.5 + jnp.arctan(x) / np.pi,
        sf=lambda x: 0.5 - jnp.arctan(x) / np.pi,
        ppf=lambda q: jnp.tan(np.pi * (q - 0.5)),
    ),
    "halfcauchy": Formulas(
        lambda x: np.log(2.0 / np.pi) - jnp.log1p(x * x),
        _from(0.0),
        cdf=lambda x: 2.0 / np.pi * jnp.arctan(x),
        ppf=lambda q: jnp.tan(np.pi / 2 * q),
    ),
    "laplace": Formulas(
        lambda x: -jnp.abs(x) - np.log(2.0),
        cdf=lambda x: jnp.where(x > 0, 1.0 - 0.5 * jnp.exp(-x), 0.5 * jnp.exp(x)),
        sf=lambda x: jnp.where(x > 0, 0.5 * jnp.exp(-x), 1.0 - 0.5 * jnp.exp(x)),
        ppf=lambda q: jnp.where(q > 0.5, -jnp.log(2.0 * (1.0 - q)), jnp.log(2.0 * q)),
    ),
    "logistic": Formulas(
        lambda x: special.log_expit(x) + special.log_expit(-x),
        cdf=lambda x: special.expit(x),
        sf=lambda x: special.expit(-x),
        logcdf=lambda x: special.log_expit(x),
        logsf=lambda x: special.log_expit(-x),
        ppf=lambda q: special.logit(q),
    ),
    "gumbel_r": Formulas(
        lambda x: -x - jnp.exp(-x),
        cdf=lambda x: jnp.exp(-jnp.exp(-x)),
        sf=lambda x: -jnp.expm1(-jnp.exp(-x)),
        logcdf=lambda x: -jnp.exp(-x),
        ppf=lambda q: -jnp.log(-jnp.log(q)),
    ),
    "gumbel_l": Formulas(
        lambda x: x - jnp.exp(x),
        cdf=lambda x: -jnp.expm1(-jnp.exp(x)),
        sf=lambda x: jnp.exp(-jnp.exp(x)),
        logsf=lambda x: -jnp.exp(x),
        ppf=lambda q: jnp.log(-jnp.log1p(-q)),
    ),
    "uniform": Formulas(lambda x: 0.0 * x, _between(0.0, 1.0), cdf=lambda x: x, ppf=lambda q: q),
    "expon": Formulas(
        lambda x: -x,
        _from(0.0),
        cdf=lambda x: -jnp.expm1(-x),
        sf=lambda x: jnp.exp(-x),
        logsf=lambda x: -x,
        ppf=lambda q: -jnp.log1p(-q),
    ),
    "rayleigh": Formulas(
        lambda x: jnp.log(x) - 0.5 * x * x,
        _from(0.0),
        cdf=lambda x: -jnp.expm1(-0.5 * x * x),
        sf=lambda x: jnp.exp(-0.5 * x * x),
        logsf=lambda x: -0.5 * x * x,
        ppf=lambda q: jnp.sqrt(-2.0 * jnp.log1p(-q)),
    ),
    "weibull_min": Formulas(
        lambda x, c: jnp.log(c) + special.xlogy(c - 1.0, x) - x**c,
        _from(0.0),
        cdf=lambda x, c: -jnp.expm1(-(x**c)),
        sf=lambda x, c: jnp.exp(-(x**c)),
        logsf=lambda x, c: -(x**c),
        ppf=lambda q, c: (-jnp.log1p(-q)) ** (1.0 / c),
    ),
    "pareto": Formulas(
        lambda x, b: jnp.log(b) - (b + 1.0) * jnp.log(x),
        _from(1.0),
        cdf=lambda x, b: -jnp.expm1(-b * jnp.log(x)),
        sf=lambda x, b: x**-b,
        logsf=lambda x, b: -b * jnp.log(x),
        ppf=lambda q, b: (1.0 - q) ** (-1.0 / b),
    ),
    "gamma": Formulas(
        _gamma_log,
        _from(0.0),
        cdf=lambda x, a: special.gammainc(a, x),
        sf=lambda x, a: special.gammaincc(a, x),
    ),
    "chi2": Formulas(
        lambda x, df: _gamma_log(0.5 * x, 0.5 * df) - np.log(2.0),
        _from(0.0),
        cdf=lambda x, df: special.gammainc(0.5 * df, 0.5 * x),
        sf=lambda x, df: special.gammaincc(0.5 * df, 0.5 * x),
    ),
    "invgamma": Formulas(
        lambda x, a: -(a + 1.0) * jnp.log(x) - special.gammaln(a) - 1.0 / x,
        _from(0.0),
        cdf=lambda x, a: special.gammaincc(a, 1.0 / x),
        sf=lambda x, a: special.gammainc(a, 1.0 / x),
        open=True,
    ),
    "beta": Formulas(
        _beta_log,
        _between(0.0, 1.0),
        cdf=lambda x, a, b: special.betainc(a, b, x),
        sf=lambda x, a, b: special.betaincc(a, b, x),
    ),
    "vonmises": Formulas(
        lambda x, kappa: kappa * (jnp.cos(x) - 1.0) - _LOG_TWO_PI - jnp.log(special.i0e(kappa)),
        valid=lambda kappa: [kappa >= 0],
    ),
}


def _probability(p: Any) -> Any:
    return (p >= 0) & (p <= 1)


def _binom_log(k: Any, n: Any, p: Any) -> Any:
    ways = special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
    return ways + special.xlogy(k, p) + special.xlog1py(n - k, -p)


DISCRETE: dict[str, Formulas] = {
    "poisson": Formulas(
        lambda k, mu: special.xlogy(k, mu) - special.gammaln(k + 1.0) - mu,
        _from(0.0),
        cdf=lambda k, mu: special.gammaincc(k + 1.0, mu),
        sf=lambda k, mu: special.gammainc(k + 1.0, mu),
        valid=lambda mu: [mu >= 0],
    ),
    "bernoulli": Formulas(
        lambda k, p: special.xlogy(k, p) + special.xlog1py(1.0 - k, -p),
        _between(0.0, 1.0),
        cdf=lambda k, p: jnp.where(k < 1, 1.0 - p, 1.0),
        sf=lambda k, p: jnp.where(k < 1, p, 0.0),
        valid=lambda p: [_probability(p)],
    ),
    "binom": Formulas(
        _binom_log,
        lambda n, p: (0.0, n),
        cdf=lambda k, n, p: special.betainc(n - k, k + 1.0, 1.0 - p),
        sf=lambda k, n, p: special.betainc(k + 1.0, n - k, p),
        valid=lambda n, p: [n >= 0, n == jnp.floor(n), _probability(p)],
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
    ),
    "geom": Formulas(
        lambda k, p: special.xlog1py(k - 1.0, -p) + jnp.log(p),
        _from(1.0),
        cdf=lambda k, p: -jnp.expm1(special.xlog1py(k, -p)),
        sf=lambda k, p: jnp.exp(special.xlog1py(k, -p)),
        valid=lambda p: [p > 0, p <= 1],
    ),
}  # fmt: skip


# -- the methods -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Case:
    """One call: the number with location and scale taken out, and the parameters, all traced and in float64."""

    formulas: Formulas
    x: Any
    shapes: Sequence[Any]
    scale: Any
    default_scale: bool

    def apply(self, formula: Formula | None) -> Any:
        assert formula is not None
        return formula(self.x, *self.shapes)

    def chosen(self, inside: Any, below: float, above: float) -> Any:
        """The value: ``inside`` on the support, which is open here, and the others outside. NaN of a NaN."""
        low, high = self.formulas.support(*self.shapes)
        if high is not None:
            inside = jnp.where(self.x >= high, above, inside)
        if low is not None:
            inside = jnp.where(self.x < low, below, inside)
        return self.checked(inside)

    def on_support(self, inside: Any, outside: float) -> Any:
        """The same for a support that has its ends."""
        low, high = self.formulas.support(*self.shapes)
        if high is not None:
            inside = jnp.where(self.x > high, outside, inside)
        if low is not None:
            below = self.x <= low if self.formulas.open else self.x < low
            inside = jnp.where(below, outside, inside)
        return self.checked(inside)

    def checked(self, value: Any) -> Any:
        """NaN where a parameter is not valid."""
        conditions = [*self.formulas.valid(*self.shapes), *([] if self.default_scale else [self.scale > 0])]
        for condition in conditions:
            value = jnp.where(condition, value, np.nan)
        return value


def _arguments(dist: Any, x: Any, args: Sequence[Any], kwds: dict[str, Any], discrete: bool) -> list[Any]:
    """The number and the parameters in SciPy's order, location and scale last."""
    shapes = [name.strip() for name in (dist.shapes or "").split(",") if name.strip()]
    names = [*shapes, "loc", *([] if discrete else ["scale"])]
    given = dict(zip(names, args, strict=False)) | kwds
    missing = [name for name in shapes if name not in given]
    if len(args) > len(names) or missing or set(given) - set(names) or set(names[: len(args)]) & set(kwds):
        raise ArgumentError(
            f"scipy.stats.{dist.name} got parameters that do not fit. It takes {', '.join(names)}; location and scale "
            "may be left out. Give each shape parameter once.",
            user_location(),
        )
    values = [given.get(name, 0.0 if name == "loc" else 1.0) for name in names]
    return [cast(v, np.float64) for v in lift(x, *values)]


def _continuous_case(dist: Any, formulas: Formulas, x: Any, args: Sequence[Any], kwds: dict[str, Any]) -> _Case:
    x, *shapes, loc, scale = _arguments(dist, x, args, kwds, discrete=False)
    default_scale = "scale" not in kwds and len(args) < len(shapes) + 2
    default_loc = "loc" not in kwds and len(args) < len(shapes) + 1
    x = x if default_loc else x - loc
    return _Case(formulas, x if default_scale else x / scale, shapes, scale, default_scale)


def _log_density(c: _Case) -> Any:
    log = c.apply(c.formulas.log)
    # The logarithm of a scale that is not positive, and what is divided by it, make NaN of themselves.
    return c.on_support(log if c.default_scale else log - jnp.log(c.scale), -np.inf)


def _density(c: _Case) -> Any:
    value = jnp.exp(c.apply(c.formulas.log))
    return c.on_support(value if c.default_scale else value / c.scale, 0.0)


def _cdf(c: _Case) -> Any:
    f = c.formulas
    return c.chosen(c.apply(f.cdf) if f.cdf is not None else 1.0 - c.apply(f.sf), 0.0, 1.0)


def _sf(c: _Case) -> Any:
    f = c.formulas
    return c.chosen(c.apply(f.sf) if f.sf is not None else 1.0 - c.apply(f.cdf), 1.0, 0.0)


def _logcdf(c: _Case) -> Any:
    if c.formulas.logcdf is None:
        return jnp.log(_cdf(c))
    return c.chosen(c.apply(c.formulas.logcdf), -np.inf, 0.0)


def _logsf(c: _Case) -> Any:
    if c.formulas.logsf is None:
        return jnp.log(_sf(c))
    return c.chosen(c.apply(c.formulas.logsf), 0.0, -np.inf)


_METHODS = {"logpdf": _log_density, "pdf": _density, "cdf": _cdf, "sf": _sf, "logcdf": _logcdf, "logsf": _logsf}
_OF_CDF = ("cdf", "sf", "logcdf", "logsf")


def _define_continuous(name: str, formulas: Formulas) -> None:
    dist = getattr(scipy.stats, name)

    def define(method: str, compute: Callable[[_Case], Any]) -> None:
        def handler(x: Any, *args: Any, **kwds: Any) -> Any:
            return compute(_continuous_case(dist, formulas, x, args, kwds))

        FUNCTIONS[getattr(dist, method)] = handler

    for method, compute in _METHODS.items():
        if method not in _OF_CDF or formulas.cdf is not None:
            define(method, compute)
    if formulas.ppf is not None:

        def quantile(q: Any, *args: Any, **kwds: Any) -> Any:
            q, *shapes, loc, scale = _arguments(dist, q, args, kwds, discrete=False)
            case = _Case(formulas, q, shapes, scale, False)
            low, high = formulas.support(*shapes)
            value = jnp.where(q == 0, -np.inf if low is None else low, case.apply(formulas.ppf))
            value = jnp.where(q == 1, np.inf if high is None else high, value)
            return case.checked(jnp.where(_probability(q), value * scale + loc, np.nan))

        FUNCTIONS[dist.ppf] = quantile


def _define_discrete(name: str, formulas: Formulas) -> None:
    dist = getattr(scipy.stats, name)

    def define(method: str, compute: Callable[[_Case], Any], mass: bool) -> None:
        def handler(k: Any, *args: Any, **kwds: Any) -> Any:
            k, *shapes, loc = _arguments(dist, k, args, kwds, discrete=True)
            k = k - loc
            case = _Case(formulas, k if mass else jnp.floor(k), shapes, 1.0, True)
            value = compute(case)
            if not mass:
                return value
            return case.checked(jnp.where(k == jnp.floor(k), value, -np.inf if method == "logpmf" else 0.0))

        FUNCTIONS[getattr(dist, method)] = handler

    define("logpmf", _log_density, True)
    define("pmf", _density, True)
    for method in _OF_CDF:
        define(method, _METHODS[method], False)


for _distribution, _formulas in CONTINUOUS.items():
    _define_continuous(_distribution, _formulas)
for _distribution, _formulas in DISCRETE.items():
    _define_discrete(_distribution, _formulas)


# -- several dimensions ------------------------------------------------------------------------------------------------

_mvn = scipy.stats.multivariate_normal


def _normal_parameters(mean: Any, cov: Any) -> tuple[Any, Any]:
    """Mean and covariance as a vector and a matrix."""
    if isinstance(cov, scipy.stats.Covariance):
        cov = cov.covariance
    cov = jnp.asarray(cov, dtype=np.float64)
    if mean is None:
        mean = np.zeros(cov.shape[-1] if cov.ndim else 1)
    mean = jnp.atleast_1d(jnp.asarray(mean, dtype=np.float64))
    n = mean.shape[0]
    if cov.ndim == 0:
        cov = cov * np.eye(n)
    elif cov.ndim == 1:
        cov = jnp.diag(cov)
    if mean.ndim != 1 or cov.shape != (n, n):
        raise ArgumentError(
            f"scipy.stats.multivariate_normal got a mean of shape {mean.shape} and a covariance of shape {cov.shape}. "
            "They are a vector and a square matrix of its length. Reshape them.",
            user_location(),
        )
    return mean, cov


@implements(_mvn.logpdf)
def _normal_log(x: Any, mean: Any = None, cov: Any = 1, allow_singular: Any = False) -> Any:
    """By the Cholesky factor. Like SciPy's, the covariance is read from its lower triangle. A singular one, where
    ``allow_singular``, is taken apart into eigenvectors when the program runs."""
    mean, cov = _normal_parameters(mean, cov)
    x, n = jnp.asarray(x, dtype=np.float64), mean.shape[0]
    if x.ndim == 0:
        x = x[None]
    elif x.ndim == 1 and n == 1:
        x = x[:, None]
    rows = jnp.reshape(x - mean, (-1, n))

    def regular() -> Any:
        factor = jnp.linalg.cholesky(cov)
        white = linalg.solve_triangular(factor, rows.T, lower=True)
        return -0.5 * (n * _LOG_TWO_PI + jnp.sum(white * white, axis=0)) - jnp.sum(jnp.log(jnp.diag(factor)))

    if allow_singular:
        spectrum = jnp.linalg.eigvalsh(cov)
        full = spectrum[0] > _NEGLIGIBLE * jnp.max(jnp.abs(spectrum))
        log = if_return(full, regular, lambda: _singular_normal_log(rows, cov), 0)
    else:
        log = regular()
    return jnp.squeeze(jnp.reshape(log, (x - mean).shape[:-1]))


def _singular_normal_log(rows: Any, cov: Any) -> Any:
    """The logarithm of the density on the subspace that a singular covariance spans, of points ``rows`` around the
    mean, by SciPy's limits: 0 for eigenvalues, and for what a point may be off the subspace; -inf for those further
    off. Raises ValueError when it runs for a covariance with a negative eigenvalue."""
    spectrum, basis = jnp.linalg.eigh(cov)
    limit = _NEGLIGIBLE * jnp.max(jnp.abs(spectrum))
    semidefinite, error = spectrum[0] >= -limit, ValueError("The input matrix must be symmetric positive semidefinite.")
    if is_traced(semidefinite):
        demand(semidefinite, error)
    elif not semidefinite:
        raise error
    counted = spectrum > limit
    along = rows @ basis
    squares = jnp.where(counted, along * along / jnp.where(counted, spectrum, 1.0), 0.0)
    off = jnp.sqrt(jnp.sum(jnp.where(counted, 0.0, along * along), axis=1))
    scale = jnp.sum(counted) * _LOG_TWO_PI + jnp.sum(jnp.log(jnp.where(counted, spectrum, 1.0)))
    return jnp.where(off < 1e3 * limit, -0.5 * (scale + jnp.sum(squares, axis=1)), -np.inf)


@implements(_mvn.pdf)
def _normal_density(x: Any, mean: Any = None, cov: Any = 1, allow_singular: Any = False) -> Any:
    return jnp.exp(_normal_log(x, mean, cov, allow_singular))


@implements(_mvn.entropy)
def _normal_entropy(mean: Any = None, cov: Any = 1) -> Any:
    mean, cov = _normal_parameters(mean, cov)
    n = mean.shape[0]
    return 0.5 * n * (_LOG_TWO_PI + 1.0) + jnp.sum(jnp.log(jnp.diag(jnp.linalg.cholesky(cov))))


@implements(scipy.stats.dirichlet.logpdf)
def _dirichlet_log(x: Any, alpha: Any) -> Any:
    """``x`` has a point in each column; the last coordinate may be left out. That it sums to 1 is not checked."""
    x, alpha = jnp.asarray(x, dtype=np.float64), jnp.asarray(alpha, dtype=np.float64)
    if x.shape[0] == alpha.shape[0] - 1:
        x = jnp.concatenate([x, 1.0 - jnp.sum(x, axis=0, keepdims=True)])
    if x.shape[0] != alpha.shape[0]:
        raise ArgumentError(
            f"scipy.stats.dirichlet got points with {x.shape[0]} coordinates and {alpha.shape[0]} parameters. A point "
            "has as many coordinates as there are parameters, or one less. Transpose the points.",
            user_location(),
        )
    powers = special.xlogy(jnp.reshape(alpha - 1.0, (-1, *[1] * (x.ndim - 1))), x)
    return jnp.sum(powers, axis=0) + special.gammaln(jnp.sum(alpha)) - jnp.sum(special.gammaln(alpha))


@implements(scipy.stats.dirichlet.pdf)
def _dirichlet_density(x: Any, alpha: Any) -> Any:
    return jnp.exp(_dirichlet_log(x, alpha))


# -- the objects -------------------------------------------------------------------------------------------------------


class Distribution(Mirror):
    """A distribution of SciPy whose methods take traced values. All have an error that says so where they don't."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__dict__["_original"], name)
        if name == "rvs":
            value = functools.partial(sample, self.__dict__["_original"])
        elif callable(value) and not name.startswith("_"):
            value = wrap(value)
        self.__dict__[name] = value
        return value

    def __call__(self, *args: Any, **kwds: Any) -> Any:
        return Frozen(self, args, kwds)


class Frozen:
    """A distribution with its parameters given."""

    def __init__(self, distribution: Distribution, args: tuple[Any, ...], kwds: dict[str, Any]) -> None:
        self._distribution, self.args, self.kwds = distribution, args, kwds
        self.random_state: Any = None

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Random numbers."""
        state = self.random_state if random_state is None else random_state
        named = self.kwds if size is None else {**self.kwds, "size": size}
        return self._distribution.rvs(*self.args, **named, random_state=state)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._distribution, name)
        if not callable(method) or name.startswith("_"):
            return method
        return lambda *args, **kwds: method(*args, *self.args, **self.kwds, **kwds)


_KINDS = (scipy.stats.rv_continuous, scipy.stats.rv_discrete, type(_mvn).__mro__[1])
_FROZEN = type(scipy.stats.norm()).__mro__[1]
_distributions: dict[str, Distribution] = {}


def stand_in(value: Any) -> Any:
    """What takes the place of a distribution, frozen or not, of a method of one, or of the module; None for others."""
    if value is scipy.stats:
        return stats
    if isinstance(value, _FROZEN):
        frozen = Frozen(stand_in(getattr(scipy.stats, value.dist.name)), value.args, value.kwds)
        frozen.random_state = value.random_state
        return frozen
    if isinstance(value, types.MethodType) and isinstance(value.__self__, _KINDS):
        return getattr(stand_in(value.__self__), value.__name__)
    if not isinstance(value, _KINDS):
        return None
    name = name_of(value)
    if name not in _distributions:
        _distributions[name] = Distribution(value, f"jitgrad.scipy.stats.{name}", {}, {})
    return _distributions[name]


stats = Part(scipy.stats, "jitgrad.scipy.stats", {}, {})
