"""Distributions of ``scipy.stats``: values on the support, at its ends and outside, derivatives, forms of a call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy
import scipy.optimize
import scipy.signal
import scipy.spatial.distance
import scipy.stats
from scipy import stats
from scipy.stats import multivariate_normal as mvn
from scipy.stats import norm

import jitgrad as jg
from jitgrad.frontend.functions_stats import CONTINUOUS, DISCRETE
from jitgrad.testing import check_grads

#: Valid shape parameters of a distribution, by name; those of the others are 1.7 and 2.4.
SHAPES = {
    "triang": (0.35,),
    "wrapcauchy": (0.4,),
    "truncnorm": (-0.7, 1.9),
    "hypergeom": (12.0, 7.0, 8.0),
    "betabinom": (8.0, 1.7, 2.4),
    "binom": (7.0, 0.3),
    "bernoulli": (0.3,),
    "nbinom": (2.5, 0.3),
    "geom": (0.3,),
    "poisson": (2.2,),
}
#: Where SciPy's own formula has lost digits.
RTOL = {"truncnorm": 1e-9, "skewnorm": 1e-9}
METHODS = ("logpdf", "pdf", "cdf", "sf", "logcdf", "logsf", "ppf", "isf")
MASSES = ("logpmf", "pmf", "cdf", "sf", "logcdf", "logsf")
POINTS = np.array([-3.0, -0.4, 0.0, 0.3, 0.8, 1.0, 1.5, 4.0, np.nan])


def shapes_of(name: str) -> tuple[float, ...]:
    given = getattr(stats, name).shapes
    return SHAPES.get(name, (1.7, 2.4)[: len(given.split(",")) if given else 0])


def quietly(fun: Callable[..., Any], *args: Any, **kwds: Any) -> Any:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return fun(*args, **kwds)


def methods_of(name: str, formulas: Any) -> list[str]:
    names = METHODS if name in CONTINUOUS else MASSES
    return [
        method
        for method in names
        if (method in ("ppf", "isf") and formulas.ppf)
        or (method not in ("ppf", "isf") and (formulas.cdf or "pdf" in method or "pmf" in method))
    ]


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous(name: str) -> None:
    shapes = shapes_of(name)
    wrong = [(*shapes[:k], -1.0, *shapes[k + 1 :]) for k in range(len(shapes))]
    moved = (*shapes, 0.25, 1.5)
    every = [shapes, moved, *((*shapes, *p) for p in ((0.25,), (0.25, 0.0), (0.0, -1.0))), *wrong]
    calls = [
        (getattr(getattr(stats, name), method), p)
        for method in methods_of(name, CONTINUOUS[name])
        for p in (every if method in ("pdf", "cdf", "ppf") else [moved])
    ]
    found = jg.jit(lambda x: [fun(x, *p) for fun, p in calls])(POINTS)
    for values, (fun, p) in zip(found, calls, strict=True):
        wanted = quietly(fun, POINTS, *p)
        np.testing.assert_allclose(values, wanted, rtol=RTOL.get(name, 1e-11), atol=1e-14, err_msg=f"{fun} {p}")


@pytest.mark.parametrize("name", CONTINUOUS)
def test_derivatives_of_continuous(name: str) -> None:
    methods = [getattr(getattr(stats, name), m) for m in methods_of(name, CONTINUOUS[name]) if m not in ("ppf", "isf")]
    shapes, x = shapes_of(name), np.array([0.45, 0.62, 0.81]) + (2.0 if name == "pareto" else 0.0)
    quantiles = [] if CONTINUOUS[name].ppf is None else [getattr(stats, name).ppf, getattr(stats, name).isf]

    def all_methods(x: Any, loc: Any, scale: Any, q: Any, width: Any) -> list[Any]:
        values = [f(x, *shapes, loc, scale) for f in methods]
        return [*values, *(f(q, *shapes, 0.1, width) for f in quantiles)]

    check_grads(all_methods, (x, 0.1, 1.3, np.array([0.2, 0.7]), 1.3), order=1)


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete(name: str) -> None:
    methods, shapes = [getattr(getattr(stats, name), m) for m in methods_of(name, DISCRETE[name])], shapes_of(name)
    k = np.array([-2.0, 0.0, 0.5, 1.0, 2.0, 5.0, 7.0, 8.0, 9.0])
    calls = [(fun, p) for fun in methods for p in (shapes, (*shapes, 1))]
    calls += [(fun, (*shapes[:-1], -0.5)) for fun in methods[:2]]
    found = jg.jit(lambda k: [fun(k, *p) for fun, p in calls])(k)
    wanted = [quietly(fun, k, *p) for fun, p in calls]
    for values, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-11, atol=1e-14)
    first = DISCRETE[name].support(*shapes)[0]
    if name == "hypergeom":  # all of its parameters are integers
        return
    check_grads(lambda p: [fun(first, *shapes[:-1], p) for fun in methods], (shapes[-1],), order=1)


@pytest.mark.parametrize("name", ["t", "beta", "gamma", "invgamma", "lognorm", "weibull_min", "vonmises", "chi2"])
def test_densities_have_derivatives_in_their_shapes(name: str) -> None:
    for method in ("logpdf", "pdf"):
        fun = getattr(getattr(stats, name), method)
        check_grads(lambda *s, fun=fun: fun(np.array([0.45, 0.62]), *s), shapes_of(name), order=1)


def test_distribution_functions_have_none() -> None:
    with pytest.raises(jg.errors.DifferentiationError, match="shape parameter"):
        jg.grad(lambda a: stats.gamma.cdf(1.0, a))(2.0)


@pytest.mark.parametrize("name", [n for n, f in {**CONTINUOUS, **DISCRETE}.items() if f.mean or f.entropy])
def test_moments(name: str) -> None:
    dist, formulas = getattr(stats, name), {**CONTINUOUS, **DISCRETE}[name]
    discrete = name in DISCRETE
    methods = [m for m in (dist.mean, dist.var, dist.std) if formulas.mean] + [dist.entropy] * bool(formulas.entropy)
    methods += [dist.median, partial(dist.interval, 0.9)] if formulas.ppf else []
    parameters = (
        [(*shapes_of(name), 0.4)] if discrete else [(*shapes_of(name), 0.4, 1.3), (*shapes_of(name), 0.4, -1.0)]
    )
    if name in ("t", "pareto", "invgamma", "f"):
        parameters += [(*[k] * len(shapes_of(name)), 0.4, 1.3) for k in (1.0, 2.0, 5.0)]
    found = jg.jit(lambda *ps: [[m(*p) for m in methods] for p in ps])(*parameters)
    for values, p in zip(found, parameters, strict=True):
        for value, method in zip(values, methods, strict=True):
            np.testing.assert_allclose(value, quietly(method, *p), rtol=1e-9, atol=1e-13, err_msg=f"{method} {p}")
    if not discrete:
        smooth = [m for m in methods[: len(methods) - 2 * bool(formulas.ppf)] if np.isfinite(m(*parameters[0]))]
        check_grads(lambda *p: [m(*p) for m in smooth], parameters[0], order=1)


def test_forms_of_a_call() -> None:
    x, mean = np.array([[0.1], [0.7]]), np.array([0.2, 0.3, -0.4])
    frozen, logpdf = norm(0.5, 2.0), norm.logpdf
    for fun in (
        lambda x: norm.logpdf(x, mean, 2.0),
        lambda x: norm.logpdf(x, loc=mean, scale=2.0),
        lambda x: norm.logpdf(x, scale=2.0),
        lambda x: stats.norm.logpdf(x, mean),
        lambda x: scipy.stats.norm.pdf(x, mean),
        lambda x: norm(mean, 2.0).logpdf(x) + frozen.logpdf(x) + frozen.mean(),
        lambda x: logpdf(x, mean) + stats.norm(scale=2.0).cdf(x),
        lambda x: norm.logpdf([x[0, 0], 1.0], mean[:2]),
    ):
        np.testing.assert_allclose(jg.jit(fun)(x), fun(x), rtol=1e-13)
        check_grads(fun, (x,), order=1)
    check_grads(lambda s: norm(0.0, s).logpdf(x), (1.2,))
    np.testing.assert_allclose(jg.jit(partial(norm.logpdf, loc=1.0))(x), norm.logpdf(x, loc=1.0))
    assert jg.jit(norm.logpdf)(x.astype(np.float32)).dtype == np.float64  # SciPy computes in float64


def test_what_fits_not() -> None:
    with pytest.raises(jg.errors.UnsupportedError, match=r"scipy\.stats\.burr\.ppf is not supported"):
        jg.jit(lambda q: stats.burr.ppf(q, 1.0, 2.0))(0.5)
    with pytest.raises(jg.errors.UnsupportedError, match=r"scipy\.stats\.norminvgauss\.logpdf is not supported"):
        jg.jit(lambda x: stats.norminvgauss.logpdf(x, 1.0, 0.5))(0.5)
    for call in (lambda x: stats.t.logpdf(x), lambda x: norm.pdf(x, 0, 1, 2), lambda x: norm.pdf(x, 0, loc=1)):
        with pytest.raises(jg.errors.ArgumentError, match="parameters that do not fit"):
            jg.jit(call)(0.5)


def symmetric(a: Any) -> Any:
    return a @ a.T + np.eye(3)


def test_multivariate_normal() -> None:
    rng = np.random.default_rng(0)
    x, mean, a = rng.normal(size=(2, 4, 3)), rng.normal(size=3), rng.normal(size=(3, 3))
    for fun in (mvn.logpdf, mvn.pdf):
        for point in (x[0, 0], x[0], x):
            check_grads(lambda x, m, a, fun=fun: fun(x, m, symmetric(a)), (point, mean, a), order=1)
            np.testing.assert_allclose(
                jg.jit(lambda x, m, a, fun=fun: fun(x, m, symmetric(a)))(point, mean, a),
                fun(point, mean, symmetric(a)),
                rtol=1e-11,
            )
    check_grads(lambda m, a: mvn.entropy(m, symmetric(a)), (mean, a))
    np.testing.assert_allclose(jg.jit(mvn.entropy)(mean, symmetric(a)), mvn.entropy(mean, symmetric(a)))
    for fun in (
        lambda x: mvn.logpdf(x, mean),
        lambda x: mvn.logpdf(x, mean, 2.0),
        lambda x: mvn.logpdf(x, mean, np.array([1.0, 2.0, 3.0])),
        lambda x: mvn(mean, np.diag([1.0, 2.0, 3.0])).logpdf(x),
        lambda x: mvn.logpdf(x, cov=np.eye(3)),
        lambda x: mvn.logpdf(x[0, 0]),
        lambda x: mvn.logpdf(x[0]),
    ):
        np.testing.assert_allclose(jg.jit(fun)(x[0]), fun(x[0]), rtol=1e-12)
    with pytest.raises(jg.errors.LinAlgError):
        jg.jit(lambda c: mvn.logpdf(x, mean, c))(-np.eye(3))
    with pytest.raises(jg.errors.ArgumentError, match="covariance of shape"):
        jg.jit(lambda c: mvn.logpdf(x, mean, c))(np.eye(2))


def test_singular_multivariate_normal() -> None:
    """Points on the subspace that the covariance spans, and off it; the derivative of a regular one, which may have
    equal eigenvalues."""

    def log(x: Any, cov: Any) -> Any:
        return mvn.logpdf(x, np.zeros(3), cov, allow_singular=True)

    corner = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    points = np.array([[1.0, 2.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    for cov in (np.eye(3), np.diag([1.0, 2.0, 0.0]), corner, np.ones((3, 3)), np.zeros((3, 3)), symmetric(points)):
        for x in (np.zeros(3), np.ones(3), points):
            np.testing.assert_allclose(jg.jit(log)(x, cov), log(x, cov), rtol=1e-10)
            np.testing.assert_allclose(jg.jit(lambda x, cov=cov: log(x, cov))(x), log(x, cov), rtol=1e-10)
    check_grads(lambda x, a: log(x, symmetric(0.0 * a) + 0.1 * (a + a.T)), (points, np.ones((3, 3)) / 7), order=1)
    check_grads(
        lambda x: mvn.pdf(np.append(x, 0.0), np.zeros(3), corner, allow_singular=True), (points[0, :2],), order=1
    )
    with pytest.raises(ValueError, match="positive semidefinite"):
        jg.jit(log)(np.zeros(3), -np.eye(3))
    with pytest.raises(ValueError, match="positive semidefinite"):
        jg.jit(lambda x: log(x, -np.eye(3)))(np.zeros(3))


def test_dirichlet() -> None:
    alpha, points = np.array([0.7, 1.5, 3.0]), np.random.default_rng(0).dirichlet([2.0, 2.0, 2.0], 4).T
    for fun in (stats.dirichlet.logpdf, stats.dirichlet.pdf):
        for x in (points, points[:, 0], points[:-1]):
            np.testing.assert_allclose(jg.jit(fun)(x, alpha), fun(x, alpha), rtol=1e-12)
        check_grads(lambda x, a, fun=fun: fun(x / np.sum(x), a), (points[:, 0], alpha))


def test_other_distributions_of_several_dimensions() -> None:
    rng = np.random.default_rng(0)
    x, loc, a, p = rng.normal(size=(2, 4, 3)), rng.normal(size=3), rng.normal(size=(3, 3)), np.array([0.2, 0.5, 0.3])
    counts = np.array([[1, 2, 3], [0, 6, 0], [1, 1, 1], [-1, 4, 3]])

    def f(x: Any, loc: Any, a: Any, p: Any, df: Any) -> Any:
        shape = symmetric(a)
        return [
            stats.multivariate_t.logpdf(x, loc, shape, df), stats.multivariate_t.pdf(x[0, 0], loc, shape, 2),
            stats.multivariate_t(loc, shape, df).logpdf(x), stats.multivariate_t.logpdf(x[0, 0, 0], df=df),
            stats.multinomial.logpmf(counts[:1], 6, p / np.sum(p)), stats.multinomial.pmf(counts[0], 6, p / np.sum(p)),
            stats.dirichlet_multinomial.logpmf(counts[:2], p, 6), stats.dirichlet_multinomial.pmf(counts[1], 3 * p, 6),
            stats.wishart.logpdf(shape, df + 3.0, symmetric(a.T)), stats.wishart.pdf(p[0], df, p[1]),
            stats.wishart.logpdf(np.stack([shape, symmetric(a.T)], axis=-1), df + 3, 2 * p),
        ]  # fmt: skip

    args = (x, loc, a, p, 2.7)
    for value, wanted in zip(jg.jit(f)(*args), f(*args), strict=True):
        assert np.shape(value) == np.shape(wanted)
        np.testing.assert_allclose(value, wanted, rtol=1e-11)
    check_grads(lambda x, a, p, df: [
        stats.multivariate_t.logpdf(x, None, symmetric(a), df), stats.wishart.logpdf(symmetric(a), df + 3.0, np.eye(3)),
        stats.dirichlet_multinomial.logpmf(counts[0], p, 6), stats.multinomial.pmf(counts[0], 6, p / np.sum(p)),
    ], (x[0], a, p, 2.7), order=1)  # fmt: skip
    for dist in (lambda x, p: stats.multinomial.logpmf(x, 6, p), lambda x, p: stats.dirichlet_multinomial.pmf(x, p, 6)):
        found = jg.jit(lambda p, dist=dist: dist(counts, p))(p)
        np.testing.assert_allclose(found[:3], [quietly(dist, c, p) for c in counts[:3]], rtol=1e-11)


@pytest.mark.parametrize(
    ("fun", "name"),
    [
        (lambda y: scipy.signal.medfilt(y), "scipy.signal.medfilt"),
        (lambda y: scipy.spatial.distance.dice(y > 0, y > 1), "scipy.spatial.distance.dice"),
        (lambda y: stats.weightedtau(y, y), "scipy.stats.weightedtau"),
    ],
)
def test_other_functions_of_scipy_say_so(fun: Any, name: str) -> None:
    y = np.array([0.1, 0.2])
    with pytest.raises(jg.errors.UnsupportedError, match=f"^{name.replace('.', '[.]')} is not supported"):
        jg.jit(fun)(y)


def test_other_functions_of_scipy_of_what_is_known() -> None:
    def f(y: Any) -> Any:
        nearest = scipy.optimize.minimize(lambda z: (z - 1.0) ** 2, 3.0).x
        return y * nearest + stats.zscore(np.array([1.0, 2.0]))

    y = np.array([0.1, 0.2])
    np.testing.assert_allclose(jg.jit(f)(y), f(y))
