"""Summaries of samples, correlations, tests and density estimates of ``scipy.stats``: values for all axes, dtypes and
forms of a call, ties, NaN and constants; derivatives; what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.stats import gaussian_kde

import jitgrad as jg
from jitgrad.errors import ArgumentError, DifferentiationError, ShapeError, UnsupportedError
from jitgrad.testing import check_grads

RNG = np.random.default_rng(0)
X = RNG.uniform(0.5, 3.0, (4, 5))
X[0] = X[1]
W = RNG.uniform(0.5, 1.0, (4, 5))
COUNTS = np.array([[3, 1, 2, 3], [1, 1, 2, 2], [5, 4, 5, 4]])
Y = 0.5 * X + RNG.normal(size=X.shape)
A, B = RNG.normal(size=8), RNG.normal(size=8)
TIED = np.array([1.0, 2, 2, 3, 5, 2, 1]), np.array([2.0, 1, 2, 4, 4, 0, 1])
FIELDS = ("statistic", "pvalue", "df", "slope", "intercept", "rvalue", "stderr", "intercept_stderr")


def leaves(result: Any) -> list[Any]:
    if any(hasattr(result, name) for name in FIELDS):
        return [getattr(result, name) for name in FIELDS if hasattr(result, name)]
    return [x for part in result for x in leaves(part)] if isinstance(result, tuple) else [result]


def compare(funs: list[Callable[..., Any]], *args: Any, rtol: float = 1e-11) -> None:
    """All of them in one program."""
    found = jg.jit(lambda *args: [leaves(f(*args)) for f in funs])(*args)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        wanted = [leaves(f(*args)) for f in funs]
    for k, (some, others) in enumerate(zip(found, wanted, strict=True)):
        for value, expected in zip(some, others, strict=True):
            assert np.shape(value) == np.shape(expected), k
            assert np.asarray(value).dtype == np.asarray(expected).dtype, k
            np.testing.assert_allclose(value, expected, rtol=rtol, atol=1e-14 * rtol / 1e-11, err_msg=f"{k}")


def plain(axis: Any, x: Any) -> list[Any]:
    """What takes integers too."""
    return [
        *(getattr(stats, name)(x, axis=axis) for name in ("zscore", "sem", "skew", "kurtosis", "variation")),
        *(getattr(stats, name)(x, axis=axis) for name in ("gmean", "hmean", "iqr", "entropy", "circmean", "circvar")),
        stats.trim_mean(x, 0.2, axis=axis), stats.tmean(x, (1, None), (False, True), axis=axis),
        stats.describe(x, axis=axis), stats.median_abs_deviation(x, axis=axis), stats.gzscore(x, axis=axis),
    ]  # fmt: skip


def weighted(axis: Any, x: Any, w: Any) -> list[Any]:
    return [
        stats.zmap(x, w, axis=axis, ddof=1), stats.zscore(x, axis=axis, ddof=1),
        stats.gmean(x, axis=axis, weights=w), stats.hmean(x, axis=axis, weights=w, keepdims=True),
        stats.pmean(x, 2, axis=axis, weights=w), stats.pmean(x, -1.5, axis=axis), stats.pmean(x, 0, axis=axis),
        stats.skew(x, axis=axis, bias=False, keepdims=True), stats.kurtosis(x, axis=axis, bias=False, fisher=False),
        stats.moment(x, [0, 1, 5], axis=axis), stats.moment(x, 3, axis=axis, center=1.0),
        stats.tmean(x, (0.75, 2.05), axis=axis), stats.tmean(x, axis=axis),
        stats.variation(x, axis=axis, ddof=1), stats.entropy(x, w, base=2, axis=axis, keepdims=True),
        stats.iqr(x, axis=axis, rng=(80, 10), scale="normal", interpolation="midpoint", keepdims=True),
        stats.median_abs_deviation(x, axis=axis, center=np.mean, scale="normal", keepdims=True),
        stats.circmean(60 * x, 180, -180, axis=axis, keepdims=True), stats.circstd(60 * x, 180, -180, axis=axis),
        stats.circstd(x, axis=axis, normalize=True), stats.describe(x, axis=axis, ddof=0, bias=False),
    ]  # fmt: skip


def test_summaries() -> None:
    axes = (0, None)
    compare([lambda x, c, k=k: tuple(plain(k, x) + plain(k, c)) for k in axes], X, COUNTS)
    compare([lambda x, k=k: tuple(plain(k, x)) for k in axes[:1]], X.astype(np.float32), rtol=2e-4)
    compare([lambda x, w, k=k: tuple(weighted(k, x, w)) for k in (1, None)], X, W)
    compare([lambda x: (stats.sem(x, axis=(0, 2)), stats.skew(x, axis=(0, 2), keepdims=True),
                        stats.trim_mean(x, 0.1, axis=(0, 1)))], RNG.normal(size=(3, 4, 2)))  # fmt: skip


def test_nan_constants_and_few_elements() -> None:
    def one(x: Any) -> Any:
        return tuple(
            f(x)
            for f in (stats.zscore, stats.sem, stats.skew, stats.kurtosis, stats.variation, stats.circstd, stats.iqr)
        )

    compare([one, lambda x: (stats.entropy(x), stats.rankdata(x), stats.mode(x), stats.trim_mean(x, 0.3))],
            np.array([1.0, np.nan, 2.0, np.nan]))  # fmt: skip
    for x in (np.full(5, 0.1), np.ones(1)):
        compare([one, lambda x: tuple(stats.variation(x, ddof=k) for k in (1, 5, 6))], x)


def test_derivatives_of_summaries() -> None:
    # Apart, since ties and the median of two have no derivative.
    x = np.array([[0.7, 2.9, 1.6, 0.9, 2.2], [1.2, 0.6, 2.6, 2.1, 1.5], [1.9, 1.1, 0.8, 2.5, 2.8]])
    check_grads(lambda x: plain(1, x)[:-2], (x,), order=1)
    check_grads(lambda x, w: weighted(1, x, w)[1:-1], (x, W[:3]), order=1)
    # At the places where a plain formula divides 0 by 0.
    np.testing.assert_array_equal(jg.grad(stats.sem)(np.ones(4)), 0.0)
    np.testing.assert_array_equal(jg.grad(stats.circstd)(np.zeros(4)), 0.0)
    found = jg.grad(lambda x: np.sum(np.where(np.isnan(stats.skew(x)), 0.0, stats.skew(x))))
    assert np.isfinite(found(np.stack([x[0], x[0]]).T)).all()


def test_boxcox() -> None:
    compare([lambda x, m, lmbda=lmbda: (stats.boxcox(x, lmbda), stats.boxcox_llf(lmbda, x, axis=1),
                                       stats.boxcox_llf(m, x, keepdims=True))
             for lmbda in (-1.3, 0)], X, 0.3)  # fmt: skip
    check_grads(lambda lmbda, x: stats.boxcox_llf(lmbda, x), (0.0, A**2 + 0.1), order=1)


def test_ranks_and_modes() -> None:
    methods = ("average", "min", "max", "dense", "ordinal")
    compare([lambda x, c, m=m, k=k: (stats.rankdata(x, m, axis=k), stats.rankdata(c, m, axis=k))
             for m in methods for k in (None, 0, -1)], X.round(1), COUNTS)  # fmt: skip
    compare([lambda x, c, k=k: (stats.mode(x, axis=k), stats.mode(c, axis=k, keepdims=True)) for k in (None, 0, 1)],
            X.round(), COUNTS)  # fmt: skip
    np.testing.assert_array_equal(jg.vmap(lambda x: stats.rankdata(x))(X), stats.rankdata(X, axis=1))
    with pytest.raises(ValueError, match="rank of NaN"):
        jg.jit(lambda x: stats.rankdata(x, "min"))(np.array([1.0, np.nan]))


def test_of_unknown_length() -> None:
    def f(x: Any, y: Any) -> Any:
        x, y = x[x > 0], y[x > 0]
        return (stats.sem(x), stats.skew(x, bias=False), stats.rankdata(x), stats.mode(x), stats.pearsonr(x, y),
                stats.spearmanr(x, y), stats.ttest_1samp(x, 0.1), stats.linregress(x, y), stats.variation(x, ddof=1),
                stats.zscore(x, ddof=1), stats.ttest_ind(x, y, equal_var=False))  # fmt: skip

    compare([f], A, B)


def ks(x: Any, y: Any, alternative: Any) -> list[Any]:
    results = [stats.ks_2samp(x, y, alternative), stats.ks_1samp(x, stats.norm.cdf, (0.1, 2.0), alternative)]
    return [(r.statistic, r.statistic_location, r.statistic_sign) for r in results]


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
def test_results_of_tests(alternative: Any) -> None:
    a: dict[str, Any] = {"alternative": alternative}
    axes = (0, None) if alternative == "two-sided" else (1,)
    compare([
        lambda x, y, k=k: (
            stats.pearsonr(x, y, axis=k, **a), stats.ttest_1samp(x, 1.5, axis=k, **a),
            stats.ttest_rel(x, y, axis=k, keepdims=True, **a), stats.ttest_ind(x, y, axis=k, **a),
            stats.ttest_ind(x, y, axis=k, equal_var=False, keepdims=True, **a), stats.linregress(x, y, axis=k, **a),
        ) for k in axes
    ], X, Y)  # fmt: skip
    few = np.arange(40.0), np.r_[1.0, 0, 2:40]
    cases = ((A, B), TIED, (A, -A), (A, 0 * A), few) if alternative == "greater" else ((A, B), TIED)
    for x, y in cases:
        compare([lambda x, y: (
            stats.kendalltau(x, y, **a), stats.kendalltau(x, y, variant="c", method="asymptotic", **a),
            stats.spearmanr(x, y, **a), stats.pearsonr(x, y, **a),
        )], x, y)  # fmt: skip
    for x, y in ((A, B[:5]), TIED)[alternative != "two-sided" :]:
        found = jg.jit(lambda x, y: ks(x, y, alternative))(x, y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of p-values that SciPy can't compute exactly
            np.testing.assert_allclose(found, ks(x, y, alternative), rtol=1e-12)


def test_other_forms_of_tests() -> None:
    compare([
        lambda x, y: (
            stats.ttest_1samp(x, y[:1]), stats.ttest_1samp(x, y[0]), stats.ttest_ind(x[:, 0], y[:1, 0]),
            stats.spearmanr(x, y), stats.spearmanr(x, y, axis=1), stats.spearmanr(x), stats.spearmanr(x, y, axis=None),
            stats.linregress(x[:2, 0], y[:2, 0]), stats.pearsonr(x[:2, 0], y[:2, 0]),
            stats.pearsonr(1e-200 * x[:, 0], y[:, 0]),
        )
    ], Y, X)  # fmt: skip
    compare([lambda x, c: (stats.ttest_1samp(x, 2), stats.pearsonr(x, x * x))], X.astype(np.float32), COUNTS, rtol=2e-4)
    compare([lambda x, y: (stats.kendalltau(x, y), stats.spearmanr(x, y))], np.array([1, 2, np.nan]), np.arange(3.0))
    compare([lambda u, v, w: (
        stats.wasserstein_distance(u, v), stats.energy_distance(u, v), stats.wasserstein_distance(u, v, w, w[:3]),
        stats.energy_distance(u, v, v_weights=w[:3]),
    )], A, B[:3], A**2)  # fmt: skip


def test_derivatives_of_tests() -> None:
    def f(x: Any, y: Any) -> Any:
        slope, intercept, r, p, error = stats.linregress(x, y)
        statistic, pvalue = stats.ttest_rel(x, y)
        found = [slope, intercept, r, p, error, statistic, pvalue, stats.pearsonr(x, y).correlation]
        found += [*stats.pearsonr(x, y), *stats.ttest_ind(x, y[:5]), stats.ttest_ind(x, y, equal_var=False)[0]]
        found += [stats.wasserstein_distance(x, y[:3]), stats.energy_distance(x, y[:3])]
        return [*found, stats.ks_1samp(x, stats.norm.cdf).statistic]

    check_grads(f, (A, B), order=1)
    with jg.config.using(backend="python"):
        np.testing.assert_allclose(jg.jit(f)(A, B), f(A, B), rtol=1e-12)
    with pytest.raises(DifferentiationError, match="shape parameter"):
        jg.grad(lambda x: stats.ttest_ind(x, x**2, equal_var=False).pvalue)(A)


def test_gaussian_kde() -> None:
    x, points, weights = RNG.normal(size=(2, 9)), RNG.normal(size=(2, 3)), RNG.uniform(1.0, 2.0, 9)
    fixed = stats.gaussian_kde(x, "silverman", weights)

    def f(x: Any, points: Any, weights: Any, width: Any) -> Any:
        one, rule = stats.gaussian_kde(x[0]), gaussian_kde(x, "silverman", weights)
        return (
            one(points[0]), one.pdf(0.3), one.logpdf(points[1]), one.integrate_box_1d(-1.0, 0.3), one.covariance,
            rule(points), rule.logpdf(points), rule.evaluate(points[:, 0]), rule.neff, rule.inv_cov, fixed(points),
            gaussian_kde(x, 0.4)(points), gaussian_kde(x, lambda kde: kde.scotts_factor() / 2)(points),
        ) + (() if width is None else (gaussian_kde(x, width * 1.0).pdf(points),))  # fmt: skip

    compare([lambda *args: f(*args, None)], x, points, weights)
    check_grads(lambda *args: [f(*args)[k] for k in (0, 2, 3, 7, -1)], (x, points, weights, 0.4), order=1)


def test_what_is_refused() -> None:
    for call, error, match in (
        (
            lambda x: stats.zscore(x, nan_policy="omit"),
            UnsupportedError,
            r"^scipy\.stats\.zscore with nan_policy='omit'",
        ),
        (lambda x: stats.ks_2samp(x, x).pvalue, UnsupportedError, "pvalue is not supported"),
        (lambda x: stats.ttest_rel(x, -x).confidence_interval(), UnsupportedError, "confidence_interval"),
        (lambda x: stats.boxcox(x), UnsupportedError, "without lmbda"),
        (lambda x: gaussian_kde(x).resample(3), UnsupportedError, "resample"),
        (lambda x: stats.pmean(x, x[0]), UnsupportedError, "with p="),
        (lambda x: stats.moment(x, 1.5), ArgumentError, "Round it"),
        (lambda x: stats.trim_mean(x, 0.7), ArgumentError, "too big"),
        (lambda x: stats.rankdata(x, "first"), ArgumentError, "unknown method"),
        (lambda x: stats.pearsonr(x, x[:3]), ShapeError, "same length"),
        (lambda x: stats.ttest_1samp(x, 0.0, alternative="more"), ArgumentError, "two-sided"),
        (lambda x: stats.tmean(x, (50.0, 60.0)), ValueError, "No array values within given limits"),
        (lambda x: stats.linregress(0 * x, x), ValueError, "all x values are identical"),
    ):
        with pytest.raises(error, match=match):
            jg.jit(call)(A)
