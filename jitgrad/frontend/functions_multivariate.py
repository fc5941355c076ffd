"""Distributions of several dimensions of ``scipy.stats`` on traced values. Loaded with ``functions_stats``."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError
from jitgrad.frontend.branches import if_return
from jitgrad.frontend.distribution_formulas import LOG_TWO_PI
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import is_traced
from jitgrad.ir.location import user_location
from jitgrad.scipy import linalg, special

#: An eigenvalue of a covariance below so many times the largest is 0, for SciPy.
_NEGLIGIBLE = 1e6 * float(np.finfo(np.float64).eps)
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


def _points(x: Any, mean: Any) -> tuple[Any, Any]:
    """Points with their coordinates along the last axis, and how far they are from the mean, as rows."""
    x, n = jnp.asarray(x, dtype=np.float64), mean.shape[0]
    if x.ndim == 0:
        x = x[None]
    elif x.ndim == 1 and n == 1:
        x = x[:, None]
    return x, jnp.reshape(x - mean, (-1, n))


@implements(_mvn.logpdf)
def _normal_log(x: Any, mean: Any = None, cov: Any = 1, allow_singular: Any = False) -> Any:
    """By the Cholesky factor. Like SciPy's, the covariance is read from its lower triangle. A singular one, where
    ``allow_singular``, is taken apart into eigenvectors when the program runs."""
    mean, cov = _normal_parameters(mean, cov)
    n = mean.shape[0]
    x, rows = _points(x, mean)

    def regular() -> Any:
        factor = jnp.linalg.cholesky(cov)
        white = linalg.solve_triangular(factor, rows.T, lower=True)
        return -0.5 * (n * LOG_TWO_PI + jnp.sum(white * white, axis=0)) - jnp.sum(jnp.log(jnp.diag(factor)))

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
    scale = jnp.sum(counted) * LOG_TWO_PI + jnp.sum(jnp.log(jnp.where(counted, spectrum, 1.0)))
    return jnp.where(off < 1e3 * limit, -0.5 * (scale + jnp.sum(squares, axis=1)), -np.inf)


@implements(_mvn.pdf)
def _normal_density(x: Any, mean: Any = None, cov: Any = 1, allow_singular: Any = False) -> Any:
    return jnp.exp(_normal_log(x, mean, cov, allow_singular))


@implements(_mvn.entropy)
def _normal_entropy(mean: Any = None, cov: Any = 1) -> Any:
    mean, cov = _normal_parameters(mean, cov)
    n = mean.shape[0]
    return 0.5 * n * (LOG_TWO_PI + 1.0) + jnp.sum(jnp.log(jnp.diag(jnp.linalg.cholesky(cov))))


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


# -- others ------------------------------------------------------------------------------------------------------------


@implements(scipy.stats.multivariate_t.logpdf)
def _t_log(x: Any, loc: Any = None, shape: Any = 1, df: Any = 1) -> Any:
    """By the Cholesky factor of the shape matrix."""
    loc, shape = _normal_parameters(loc, shape)
    n = loc.shape[0]
    x, rows = _points(x, loc)
    factor = jnp.linalg.cholesky(shape)
    white = linalg.solve_triangular(factor, rows.T, lower=True)
    df = jnp.asarray(df, dtype=np.float64)
    constant = special.gammaln(0.5 * (df + n)) - special.gammaln(0.5 * df) - 0.5 * n * jnp.log(df * np.pi)
    log = constant - 0.5 * (df + n) * jnp.log1p(jnp.sum(white * white, axis=0) / df)
    log = log - jnp.sum(jnp.log(jnp.diag(factor)))
    return jnp.squeeze(jnp.reshape(log, (x - loc).shape[:-1]))


@implements(scipy.stats.multivariate_t.pdf)
def _t_density(x: Any, loc: Any = None, shape: Any = 1, df: Any = 1, allow_singular: Any = False) -> Any:
    return jnp.exp(_t_log(x, loc, shape, df))


def _whole(x: Any, n: Any) -> Any:
    """Which points are numbers of occurrences of the categories, n in all."""
    return jnp.all((x >= 0) & (x == jnp.floor(x)), axis=-1) & (jnp.sum(x, axis=-1) == n)


@implements(scipy.stats.multinomial.logpmf)
def _multinomial_log(x: Any, n: Any, p: Any) -> Any:
    """As in SciPy, the last probability is what the others leave where they do not sum to 1."""
    x, n, p = (jnp.asarray(t, dtype=np.float64) for t in (x, n, p))
    off = jnp.abs(1.0 - jnp.sum(p, axis=-1, keepdims=True)) > np.finfo(np.float64).eps * 10
    last = jnp.where(off, 1.0 - jnp.sum(p[..., :-1], axis=-1, keepdims=True), p[..., -1:])
    p = jnp.concatenate([p[..., :-1], last], axis=-1)
    log = special.gammaln(n + 1.0) + jnp.sum(special.xlogy(x, p) - special.gammaln(x + 1.0), axis=-1)
    log = jnp.where(_whole(x, n), log, -np.inf)
    return jnp.where(jnp.all((p >= 0) & (p <= 1), axis=-1) & (n >= 0), log, np.nan)


@implements(scipy.stats.multinomial.pmf)
def _multinomial_mass(x: Any, n: Any, p: Any) -> Any:
    return jnp.exp(_multinomial_log(x, n, p))


@implements(scipy.stats.dirichlet_multinomial.logpmf)
def _dirichlet_multinomial_log(x: Any, alpha: Any, n: Any) -> Any:
    x, alpha, n = (jnp.asarray(t, dtype=np.float64) for t in (x, alpha, n))
    total = jnp.sum(alpha, axis=-1)
    log = special.gammaln(total) + special.gammaln(n + 1.0) - special.gammaln(n + total)
    terms = special.gammaln(x + alpha) - special.gammaln(alpha) - special.gammaln(x + 1.0)
    return jnp.where(_whole(x, n), log + jnp.sum(terms, axis=-1), -np.inf)


@implements(scipy.stats.dirichlet_multinomial.pmf)
def _dirichlet_multinomial_mass(x: Any, alpha: Any, n: Any) -> Any:
    return jnp.exp(_dirichlet_multinomial_log(x, alpha, n))


@implements(scipy.stats.wishart.logpdf)
def _wishart_log(x: Any, df: Any, scale: Any) -> Any:
    """Of one matrix, or of several that are stacked along the last axis."""
    x, df, scale = (jnp.asarray(t, dtype=np.float64) for t in (x, df, scale))
    scale = jnp.diag(scale) if scale.ndim == 1 else jnp.reshape(scale, (1, 1)) if scale.ndim == 0 else scale
    n = scale.shape[0]
    if x.ndim < 2:
        x = jnp.reshape(x, (1, 1, -1)) if n == 1 else x * np.eye(n)
    if x.shape[:2] != scale.shape:
        raise ArgumentError(
            f"scipy.stats.wishart got matrices of shape {x.shape[:2]} and a scale of shape {scale.shape}. They are "
            "square and of one size. Reshape them.",
            user_location(),
        )
    matrices = jnp.moveaxis(x, 2, 0) if x.ndim == 3 else x
    factors = [jnp.linalg.cholesky(t) for t in (matrices, scale)]
    logs = [2.0 * jnp.sum(jnp.log(jnp.diagonal(t, axis1=-2, axis2=-1)), axis=-1) for t in factors]
    trace = jnp.sum(jnp.linalg.inv(scale) * matrices, axis=(-2, -1))
    constant = 0.5 * df * (n * np.log(2.0) + logs[1]) + special.multigammaln(0.5 * df, n)
    return jnp.squeeze(0.5 * (df - n - 1.0) * logs[0] - 0.5 * trace - constant)


@implements(scipy.stats.wishart.pdf)
def _wishart_density(x: Any, df: Any, scale: Any) -> Any:
    return jnp.exp(_wishart_log(x, df, scale))
