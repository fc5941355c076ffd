"""``scipy.stats.gaussian_kde`` of traced data, and at traced points. Loaded with ``functions_stats``."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError
from jitgrad.frontend.functions_summaries import refused
from jitgrad.ir.location import user_location
from jitgrad.scipy import linalg, special


def _bad(what: str) -> ArgumentError:
    return ArgumentError(f"scipy.stats.gaussian_kde: {what}", user_location())


class GaussianKde:
    """A density estimate with SciPy's attributes. The points are compared with the data pair by pair, after both were
    multiplied by the inverse Cholesky factor of the covariance."""

    def __init__(self, dataset: Any, bw_method: Any = None, weights: Any = None) -> None:
        self.dataset = jnp.atleast_2d(jnp.asarray(dataset)) * 1.0
        self.d, self.n = self.dataset.shape
        if not self.d * self.n > 1:
            raise _bad("`dataset` input should have multiple elements.")
        if self.d > self.n:
            raise _bad("there are more dimensions than samples. A point is a column of dataset. Transpose it.")
        if weights is None:
            self.weights = np.full(self.n, 1.0 / self.n)
        else:
            weights = jnp.atleast_1d(jnp.asarray(weights)) * 1.0
            if weights.shape != (self.n,):
                raise _bad("`weights` input should be of length n")
            self.weights = weights / jnp.sum(weights)
        self.neff = 1.0 / jnp.sum(self.weights * self.weights)
        self.set_bandwidth(bw_method)

    def scotts_factor(self) -> Any:
        return self.neff ** (-1.0 / (self.d + 4))

    def silverman_factor(self) -> Any:
        return (self.neff * (self.d + 2.0) / 4.0) ** (-1.0 / (self.d + 4))

    def covariance_factor(self) -> Any:
        return self.factor

    def set_bandwidth(self, bw_method: Any = None) -> None:
        """By a rule's name, a number, which may be traced, or a function of this object."""
        named = {None: self.scotts_factor, "scott": self.scotts_factor, "silverman": self.silverman_factor}
        if bw_method is None or isinstance(bw_method, str):
            if bw_method not in named:
                raise _bad("`bw_method` should be 'scott', 'silverman', a scalar or a callable.")
            self.factor = named[bw_method]()
        else:
            self.factor = bw_method(self) if callable(bw_method) else bw_method
        centred = self.dataset - jnp.sum(self.dataset * self.weights, axis=1)[:, None]
        free = 1.0 - jnp.sum(self.weights * self.weights)
        factor: Any = self.factor
        self.covariance = (centred * self.weights) @ centred.T / free * factor**2
        self.cho_cov = jnp.linalg.cholesky(self.covariance)
        self.log_det = 2.0 * jnp.sum(jnp.log(jnp.diag(self.cho_cov) * np.sqrt(2 * np.pi)))

    @property
    def inv_cov(self) -> Any:
        return jnp.linalg.inv(self.covariance)

    def _energies(self, points: Any) -> Any:
        """Half the squared distance of each point from each sample, in the metric of the covariance."""
        points = jnp.atleast_2d(jnp.asarray(points)) * 1.0
        if points.shape[0] != self.d:
            if points.shape != (1, self.d):
                raise _bad(f"points have dimension {points.shape[0]}, dataset has dimension {self.d}")
            points = points.T
        samples, points = (linalg.solve_triangular(self.cho_cov, t, lower=True) for t in (self.dataset, points))
        difference = points[:, :, None] - samples[:, None, :]
        return 0.5 * jnp.sum(difference * difference, axis=0)

    def evaluate(self, points: Any) -> Any:
        kernels = jnp.exp(-self._energies(points))
        return jnp.sum(kernels * self.weights, axis=1) * jnp.exp(-0.5 * self.log_det)

    __call__ = pdf = evaluate

    def logpdf(self, x: Any) -> Any:
        return special.logsumexp(-self._energies(x), axis=1, b=self.weights) - 0.5 * self.log_det

    def integrate_box_1d(self, low: Any, high: Any) -> Any:
        if self.d != 1:
            raise _bad("integrate_box_1d() only handles 1D pdfs")
        ends = [special.ndtr((t - self.dataset[0]) / self.cho_cov[0, 0]) for t in (low, high)]
        return jnp.sum(self.weights * (ends[1] - ends[0]))

    def __getattr__(self, name: str) -> Any:
        if hasattr(scipy.stats.gaussian_kde, name):
            raise refused("gaussian_kde", f"and its {name}", "Use evaluate, logpdf or integrate_box_1d.")
        raise AttributeError(name)


def of_fixed(kde: Any) -> GaussianKde:
    """What stands for an estimate that was made outside of the traced function."""
    return GaussianKde(kde.dataset, kde.factor, kde.weights)
