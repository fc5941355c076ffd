"""Correlations, regression, t-tests and distances between samples of ``scipy.stats``, on traced values.

The results have SciPy's fields, by name and in its order. Where it finds a p-value by a search or a table that depends
on the data, the result has none, and says so where it is read. Loaded with ``functions_stats``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import scipy.special as sps
import scipy.stats

from jitgrad.errors import ShapeError
from jitgrad.frontend.functions_reduce import counted
from jitgrad.frontend.functions_summaries import (
    Array,
    axes_of,
    bad,
    kept,
    propagates,
    rankdata,
    refused,
    rows,
)
from jitgrad.frontend.primitives import (
    broadcast_to,
    broadcast_together,
    cast,
    constant_like,
    emit,
    floating,
    floats,
    lift,
    lift_one,
    promote,
    reshape,
    static_int,
)
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64, i64
from jitgrad.ops.checks import check_static


class _Result:
    """What a test gives: fields by name, and some of them one after the other."""

    _name: ClassVar[str]
    _sequence: ClassVar[tuple[str, ...]] = ("statistic", "pvalue")

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self._sequence)

    def __len__(self) -> int:
        return len(self._sequence)

    def __getitem__(self, k: Any) -> Any:
        return getattr(self, self._sequence[k])

    def confidence_interval(self, *args: Any, **kwds: Any) -> Any:
        raise refused(self._name, "and its confidence_interval", "Compute it from the statistic.")


@dataclasses.dataclass
class SignificanceResult(_Result):
    """A correlation."""

    _name = "spearmanr"
    statistic: Any
    pvalue: Any

    @property
    def correlation(self) -> Any:
        return self.statistic


@dataclasses.dataclass
class PearsonRResult(SignificanceResult):
    """What ``pearsonr`` gives."""

    _name = "pearsonr"


@dataclasses.dataclass
class LinregressResult(_Result):
    """A straight line through points."""

    _name = "linregress"
    _sequence = ("slope", "intercept", "rvalue", "pvalue", "stderr")
    slope: Any
    intercept: Any
    rvalue: Any
    pvalue: Any
    stderr: Any
    intercept_stderr: Any


@dataclasses.dataclass
class TtestResult(_Result):
    """What a t-test gives."""

    _name = "ttest"
    statistic: Any
    pvalue: Any
    df: Any


@dataclasses.dataclass
class KstestResult(_Result):
    """What a test of Kolmogorov and Smirnov gives, without its p-value."""

    _name = "kstest"
    statistic: Any
    statistic_location: Any
    statistic_sign: Any

    @property
    def pvalue(self) -> Any:
        raise refused("kstest", "and its pvalue", "Read the statistic alone, or compute the p-value outside.")


# -- p-values ----------------------------------------------------------------------------------------------------------


def _one_of(name: str, alternative: Any) -> None:
    if alternative not in ("two-sided", "less", "greater"):
        raise bad(name, "`alternative` must be 'less', 'greater', or 'two-sided'.")


def _tails(statistic: Array, alternative: str, below: Any) -> Array:
    """The p-value by a distribution function that is symmetric around 0."""
    if alternative == "less":
        return below(statistic)
    return 2.0 * below(-np.abs(statistic)) if alternative == "two-sided" else below(-statistic)


def _of_student(t: Array, df: Any, alternative: str) -> Array:
    df = df if isinstance(df, Tracer) else constant_like(t, df)
    return _tails(t, alternative, lambda x: sps.stdtr(cast(df, x.dtype), x))


def _pairs(name: str, x: Any, y: Any, axis: Any) -> tuple[Array, Array, Any]:
    """Two samples with the axes as one, at the end; and the shape that a result has with the axes kept."""
    x, y = floats(x, y)
    if axis is None:
        x, y, axis = reshape(x, (x.count,)), reshape(y, (y.count,)), 0
    ndim = max(x.ndim, y.ndim)
    x, y = (reshape(t, (*[1] * (ndim - t.ndim), *t.dims)) for t in (x, y))
    if any(x.dims[k] != y.dims[k] for k in axes_of(x, axis)):
        raise ShapeError(
            f"scipy.stats.{name} of samples of shapes {x.dims} and {y.dims}. They must have the same length along the "
            "axis. Check the shapes.",
            user_location(),
        )
    shape = broadcast_together(x.dims, y.dims)
    (x, kept_shape), (y, _) = (rows(broadcast_to(t, shape), axis) for t in (x, y))
    return x, y, kept_shape


# -- correlations ------------------------------------------------------------------------------------------------------


def _centred(x: Array) -> Array:
    """With mean 0 and length 1; NaN where all is the same. The largest element is divided out against overflow."""
    distance = x - np.mean(x, axis=-1, keepdims=True)
    constant = np.max(x, axis=-1, keepdims=True) == np.min(x, axis=-1, keepdims=True)
    largest: Array = emit("stop_gradient", np.max(np.abs(distance), axis=-1, keepdims=True))
    distance = distance / np.where(constant, np.nan, largest)
    return distance / np.sqrt(np.sum(np.square(distance), axis=-1, keepdims=True))


@implements(scipy.stats.pearsonr)
def pearsonr(x: Any, y: Any, *, alternative: str = "two-sided", method: Any = None, axis: Any = 0) -> PearsonRResult:
    """The p-value by the beta distribution."""
    _one_of("pearsonr", alternative)
    if method is not None:
        raise refused("pearsonr", "with method=", "Leave it out.")
    x, y, _ = _pairs("pearsonr", x, y, axis)
    n = counted(x, (x.ndim - 1,), True, False)
    if isinstance(n, float) and n < 2:
        raise bad("pearsonr", "`x` and `y` must have length at least 2.")
    r = np.clip(np.sum(_centred(x) * _centred(y), axis=-1), -1.0, 1.0)
    if isinstance(n, float) and n == 2:
        return PearsonRResult(np.sign(r), np.where(np.isnan(r), r, np.ones_like(r)))
    half = cast(lift_one(n / 2.0 - 1.0, r), r.dtype)
    return PearsonRResult(r, _tails(r, alternative, lambda r: sps.betainc(half, half, (r + 1.0) / 2.0)))


@implements(scipy.stats.spearmanr)
def spearmanr(
    a: Any, b: Any = None, axis: Any = 0, nan_policy: Any = "propagate", alternative: str = "two-sided"
) -> SignificanceResult:
    """Of two samples a number, of more the matrix. Its derivatives are 0."""
    propagates("spearmanr", nan_policy)
    _one_of("spearmanr", alternative)
    given = [lift_one(a, b)] if b is None else lift(a, b)
    given = [reshape(t, (t.count,)) if axis is None else t for t in given]
    along = 0 if axis is None else static_int(axis, "axis") % max(given[0].ndim, 1)
    if any(t.ndim > 2 for t in given) or (b is None and given[0].ndim < 2):
        raise bad("spearmanr", "it takes two vectors, or the columns of matrices.")
    columns = [t if t.ndim == 1 or along == 0 else t.T for t in given]
    ranked: Array = np.column_stack([rankdata(t, axis=0) for t in columns])
    found, n = np.corrcoef(ranked, rowvar=False), counted(ranked, (0,), True, False)
    odds = (n - 2.0) / ((found + 1.0) * (1.0 - found))
    t = found * np.sqrt(np.maximum(odds, 0.0))
    pvalue = _of_student(t, n - 2.0, alternative)
    if found.shape == (2, 2):
        found, pvalue = found[1, 0], pvalue[1, 0]
    return SignificanceResult(found, pvalue)


#: Of up to so many numbers SciPy gives the exact p-value of Kendall's tau.
_FEW = 33


def _exact_kendall(n: int) -> np.ndarray:
    """For each number of concordant pairs of n different numbers: how probable it is that there are at least as many,
    if all orders are. By the numbers of permutations with so many inversions. Of many numbers only the two first and
    last entries are right, and read."""
    if n > _FEW:
        table = np.ones(n * (n - 1) // 2 + 1)
        table[-2:] = sps.rgamma(n + 0.0), sps.rgamma(n + 1.0)
        return table
    ways = np.ones(1)
    for k in range(2, n + 1):
        ways = np.convolve(ways, np.ones(k)) / k
    return np.minimum(np.cumsum(ways[::-1])[::-1], 1.0)


@implements(scipy.stats.kendalltau)
def kendalltau(
    x: Any,
    y: Any,
    *,
    nan_policy: Any = "propagate",
    method: str = "auto",
    variant: str = "b",
    alternative: str = "two-sided",
) -> SignificanceResult:
    """By all pairs of elements. Its derivatives are 0."""
    propagates("kendalltau", nan_policy)
    _one_of("kendalltau", alternative)
    if method not in ("auto", "asymptotic"):
        raise refused("kendalltau", f"with method={method!r}", "Use 'auto' or 'asymptotic'.")
    if variant not in ("b", "c"):
        raise bad("kendalltau", f"Unknown variant of the method chosen: {variant}. variant must be 'b' or 'c'.")
    x, y = (reshape(t, (t.count,)) for t in lift(x, y))
    if x.dims != y.dims:
        raise ShapeError(
            f"scipy.stats.kendalltau of {x.count} and {y.count} elements. It takes pairs. Check the shapes.",
            user_location(),
        )
    check_static("scipy.stats.kendalltau", x.dims, "Its p-values")
    n = x.dims[0]
    steps, equal = zip(*(_compared(t) for t in (x, y)), strict=True)
    balance = np.sum(steps[0] * steps[1]) / 2.0  # concordant pairs, less those that are not
    others = [np.sum(e, axis=1) - 1.0 for e in equal]  # to how many an element is equal
    ties = [np.sum(k) / 2.0 for k in others]
    pairs = n * (n - 1) / 2.0
    untied = [np.where(t < pairs, pairs - t, np.nan) for t in ties]
    if variant == "b":
        tau = balance / np.sqrt(untied[0]) / np.sqrt(untied[1])
    else:
        classes = np.minimum(*(np.sum(1.0 / (k + 1.0)) for k in others))
        tau = 2.0 * balance / (n * n * (classes - 1.0) / classes) + 0.0 * (untied[0] + untied[1])
    missing = np.any(np.isnan(floating(x)) | np.isnan(floating(y)))
    tau = np.where(missing, np.nan, np.clip(tau, -1.0, 1.0))
    pvalue = _of_kendall(n, balance, others, ties, method == "auto", alternative)
    return SignificanceResult(tau, np.where(np.isnan(tau), np.nan, pvalue))


def _compared(x: Array) -> tuple[Array, Array]:
    """For all pairs the sign of the difference, and whether they are equal, as numbers."""
    later, earlier = x[:, None], x[None, :]
    more, less = cast(later > earlier, f64), cast(later < earlier, f64)
    return more - less, 1.0 - more - less


def _of_kendall(n: int, balance: Array, others: Any, ties: Any, exact: bool, alternative: str) -> Array:
    """Exactly where no elements are equal and they are few, or almost all pairs agree; else by the normal
    distribution."""
    size = n * (n - 1.0)
    ones, twos = ([np.sum(k * f(k)) + k[0] * 0.0 for k in others] for f in (lambda k: 2.0 * k + 7.0, lambda k: k - 1.0))
    variance = (size * (2 * n + 5) - ones[0] - ones[1]) / 18 + 2.0 * ties[0] * ties[1] / max(size, 1.0)
    if n > 2:
        variance = variance + twos[0] * twos[1] / (9.0 * size * (n - 2))
    found = _tails(-balance / np.sqrt(variance), {"less": "greater", "greater": "less"}.get(alternative, alternative),
                   sps.ndtr)  # fmt: skip
    if not exact:
        return found
    pairs = n * (n - 1) // 2
    concordant = (balance + pairs) / 2.0
    few = np.minimum(concordant, pairs - concordant)
    table = _exact_kendall(n)
    at = cast(np.clip(np.rint(concordant), 0, pairs), i64)
    more, less = (lift_one(t, at)[at] for t in (table, table[::-1]))
    certain = {"greater": more, "less": less}.get(alternative, np.minimum(2.0 * np.minimum(more, less), 1.0))
    alone = (ties[0] == 0) & (ties[1] == 0)
    return np.where(alone & ((few <= 1) | (n <= _FEW)), certain, found)


# -- regression --------------------------------------------------------------------------------------------------------


@implements(scipy.stats.linregress)
def linregress(
    x: Any,
    y: Any,
    alternative: str = "two-sided",
    *,
    axis: Any = 0,
    nan_policy: Any = "propagate",
    keepdims: Any = False,
) -> LinregressResult:
    """Raises ValueError when it runs where all x are the same."""
    propagates("linregress", nan_policy)
    _one_of("linregress", alternative)
    x, y, shape = _pairs("linregress", x, y, axis)
    x, y = cast(x, f64), cast(y, f64)
    differ: Array = np.all(np.logical_not(np.max(x, axis=-1) == np.min(x, axis=-1)))
    demand(differ, ValueError("Cannot calculate a linear regression if all x values are identical"))
    n = counted(x, (x.ndim - 1,), True, False)
    means = [np.mean(t, axis=-1, keepdims=True) for t in (x, y)]
    centred = [t - m for t, m in zip((x, y), means, strict=True)]
    xx, yy, xy = (np.mean(centred[j] * centred[k], axis=-1) for j, k in ((0, 0), (1, 1), (0, 1)))
    flat = yy == 0
    r = np.where(flat, np.where(xy == 0, np.nan, 0.0), np.clip(xy / np.sqrt(xx * np.where(flat, 1.0, yy)), -1.0, 1.0))
    slope = xy / xx
    x_mean, y_mean = (m[..., 0] for m in means)
    if isinstance(n, float) and n == 2:
        pvalue, error, of_intercept = np.where(y[..., 0] == y[..., 1], 1.0, 0.0), slope * 0.0, slope * 0.0
    else:
        free = n - 2.0
        t = r * np.sqrt(free / ((1.0 - r + 1e-20) * (1.0 + r + 1e-20)))
        pvalue = _of_student(t, free, alternative)
        error: Array = emit("safe_sqrt", (1.0 - r * r) * yy / xx / free)
        of_intercept = error * np.sqrt(xx + np.square(x_mean))
    found = (slope, y_mean - slope * x_mean, r, pvalue, error, of_intercept)
    return LinregressResult(*(kept(f, shape, keepdims) for f in found))


# -- t-tests -----------------------------------------------------------------------------------------------------------


def _ttest(difference: Array, error: Array, df: Any, alternative: str, shape: Any, keepdims: Any) -> TtestResult:
    t = difference / error
    found = (t, _of_student(t, df, alternative), broadcast_to(lift_one(df, t), t.dims))
    return TtestResult(*(kept(f, shape, keepdims) for f in found))


@implements(scipy.stats.ttest_1samp)
def ttest_1samp(
    a: Any,
    popmean: Any,
    axis: Any = 0,
    nan_policy: Any = "propagate",
    alternative: str = "two-sided",
    *,
    keepdims: Any = False,
) -> TtestResult:
    propagates("ttest_1samp", nan_policy)
    _one_of("ttest_1samp", alternative)
    a, popmean = map(floating, promote(a, popmean))
    ndim = max(a.ndim, popmean.ndim)
    a = reshape(a, (*[1] * (ndim - a.ndim), *a.dims))
    if axis is None and popmean.ndim:
        raise bad("ttest_1samp", "popmean is a number where axis is None.")
    popmean = reshape(popmean, (*[1] * (ndim - popmean.ndim), *popmean.dims))
    if any(popmean.dims[k] != 1 for k in axes_of(a, axis)):
        raise bad("ttest_1samp", "`popmean.shape[axis]` must equal 1.")
    # The distances have the same variance, and the shape of both.
    x, shape = rows(a - popmean, axis)
    n = counted(x, (x.ndim - 1,), True, False)
    error = np.sqrt(np.var(x, axis=-1, ddof=1) / cast(lift_one(n, x), x.dtype))
    df = cast(lift_one(n - 1.0, x), i64)
    return _ttest(np.mean(x, axis=-1), error, df, alternative, shape, keepdims)


@implements(scipy.stats.ttest_rel)
def ttest_rel(
    a: Any,
    b: Any,
    axis: Any = 0,
    nan_policy: Any = "propagate",
    alternative: str = "two-sided",
    *,
    keepdims: Any = False,
) -> TtestResult:
    propagates("ttest_rel", nan_policy)
    a, b = floats(a, b)
    return ttest_1samp(a - b, 0.0, axis, alternative=alternative, keepdims=keepdims)


@implements(scipy.stats.ttest_ind)
def ttest_ind(
    a: Any,
    b: Any,
    *,
    axis: Any = 0,
    equal_var: Any = True,
    nan_policy: Any = "propagate",
    alternative: str = "two-sided",
    trim: Any = 0,
    method: Any = None,
    keepdims: Any = False,
) -> TtestResult:
    """Welch's where ``equal_var`` is false: its degrees of freedom depend on the data, so that the p-value has no
    derivative."""
    propagates("ttest_ind", nan_policy)
    _one_of("ttest_ind", alternative)
    if method is not None or trim != 0:
        raise refused("ttest_ind", "with method= or trim=", "Leave them out.")
    a, b = floats(a, b)
    ndim = max(a.ndim, b.ndim) if axis is not None else 1
    given = [reshape(t, (t.count,) if axis is None else (*[1] * (ndim - t.ndim), *t.dims)) for t in (a, b)]
    (x, shape), (y, other) = (rows(t, 0 if axis is None else axis) for t in given)
    n, m = (counted(t, (t.ndim - 1,), True, False) for t in (x, y))
    v, w = (np.var(t, axis=-1, ddof=1) for t in (x, y))
    df, error = _pooled(v, n, w, m) if equal_var else _unpooled(v / n, n, w / m, m)
    df = cast(lift_one(df, v), v.dtype)
    shape = (1,) * max(a.ndim, b.ndim) if axis is None else broadcast_together(shape, other)
    return _ttest(np.mean(x, axis=-1) - np.mean(y, axis=-1), error, df, alternative, shape, keepdims)


def _pooled(v: Array, n: Any, w: Array, m: Any) -> tuple[Any, Array]:
    """The degrees of freedom and the standard error from two variances. That of one element counts nothing."""
    v, w = (np.zeros_like(t) if isinstance(k, float) and k == 1 else t for t, k in ((v, n), (w, m)))
    free = n + m - 2.0
    return free, np.sqrt(((n - 1.0) * v + (m - 1.0) * w) / free * (1.0 / n + 1.0 / m))


def _unpooled(v: Array, n: Any, w: Array, m: Any) -> tuple[Array, Array]:
    """The same, by Welch, from variances of the means."""
    free = np.square(v + w) / (np.square(v) / (n - 1.0) + np.square(w) / (m - 1.0))
    return np.where(np.isnan(free), 1.0, free), np.sqrt(v + w)


# -- distances between distributions -----------------------------------------------------------------------------------


def _cumulated(name: str, values: Any, weights: Any, at: Array) -> Array:
    """The part of a sample that is not above each of some numbers."""
    x: Array = values
    order = np.argsort(x)
    found = np.searchsorted(x[order], at, side="right")
    if weights is None:
        return found / counted(x, (0,), True, False)
    w: Array = cast(lift_one(weights, at), f64)
    if w.dims != x.dims:
        raise bad(name, "Value and weight array-likes for the same empirical distribution must be of the same size.")
    sums = np.concatenate([np.zeros(1), np.cumsum(w[order])])
    return sums[found] / sums[-1]


def _between(name: str, u: Any, v: Any, u_weights: Any, v_weights: Any) -> tuple[Array, Array]:
    """The differences of the distribution functions of two samples, and the lengths that they hold for."""
    values = [cast(lift_one(t, u, v, u_weights, v_weights), f64) for t in (u, v)]
    if any(t.ndim != 1 or t.dims[0] == 0 for t in values):
        raise bad(name, "it takes two vectors that are not empty.")
    every = np.sort(np.concatenate(values))
    parts = [_cumulated(name, t, w, every[:-1]) for t, w in zip(values, (u_weights, v_weights), strict=True)]
    return parts[0] - parts[1], np.diff(every)


@implements(scipy.stats.wasserstein_distance)
def wasserstein_distance(u_values: Any, v_values: Any, u_weights: Any = None, v_weights: Any = None) -> Array:
    difference, length = _between("wasserstein_distance", u_values, v_values, u_weights, v_weights)
    return np.sum(np.abs(difference) * length)


@implements(scipy.stats.energy_distance)
def energy_distance(u_values: Any, v_values: Any, u_weights: Any = None, v_weights: Any = None) -> Array:
    """Its derivative at 0 is taken as 0."""
    difference, length = _between("energy_distance", u_values, v_values, u_weights, v_weights)
    return emit("safe_sqrt", 2.0 * np.sum(np.square(difference) * length))


def _side(name: str, alternative: Any) -> str:
    sides = {"t": "two-sided", "g": "greater", "l": "less"}
    found = sides.get(str(alternative).lower()[:1])
    if found is None:
        raise bad(name, f"Unexpected value alternative={alternative!r}.")
    return found


def _larger(above: Array, below: Array, x: Array, lower: Array, side: str) -> KstestResult:
    """The largest of the distances ``above``, found at x, or of those ``below``, found at ``lower``."""
    found = []
    for distance, where in ((above, x), (below, lower)):
        at = np.argmax(distance, axis=-1, keepdims=True)
        found.append(tuple(np.take_along_axis(t, at, axis=-1)[..., 0] for t in (distance, where)))
    (up, at_up), (down, at_down) = found
    upper = {"greater": True, "less": False}.get(side)
    choice: Any = up > down if upper is None else np.full_like(up, upper, dtype=bool)
    return KstestResult(
        np.where(choice, up, down), np.where(choice, at_up, at_down), np.where(choice, np.int8(1), np.int8(-1))
    )


@implements(scipy.stats.ks_1samp)
def ks_1samp(
    x: Any,
    cdf: Any,
    args: Any = (),
    alternative: str = "two-sided",
    method: str = "auto",
    *,
    axis: Any = 0,
    nan_policy: Any = "propagate",
) -> KstestResult:
    """The statistic; the derivative is that at the element where the distance is largest."""
    propagates("ks_1samp", nan_policy)
    side = _side("ks_1samp", alternative)
    ordered: Array = np.sort(rows(floating(lift_one(x)), axis)[0], axis=-1)
    check_static("scipy.stats.ks_1samp", (ordered.dims[-1],), "Its distances")
    values, n = cdf(ordered, *args), ordered.dims[-1]
    above = np.arange(1.0, n + 1) / n - values
    below = values - np.arange(0.0, n) / n
    return _larger(above, below, ordered, ordered, side)


@implements(scipy.stats.ks_2samp)
def ks_2samp(
    data1: Any, data2: Any, alternative: str = "two-sided", method: str = "auto", *, nan_policy: Any = "propagate"
) -> KstestResult:
    """The statistic, of vectors. Its derivatives are 0."""
    propagates("ks_2samp", nan_policy)
    side = _side("ks_2samp", alternative)
    values = floats(data1, data2)
    if any(t.ndim != 1 or t.dims[0] == 0 for t in values):
        raise bad("ks_2samp", "Data passed to ks_2samp must be vectors that are not empty.")
    every = np.concatenate([np.sort(t) for t in values])
    first, second = (_cumulated("ks_2samp", t, None, every) for t in values)
    return _larger(first - second, np.maximum(second - first, 0.0), every, every, side)
