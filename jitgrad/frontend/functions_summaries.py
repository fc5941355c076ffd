"""Summaries of samples on traced values: the means, moments, quantiles and ranks of ``scipy.stats``.

They take SciPy's ``axis`` (one, several or None) and ``keepdims``. Of the policies for NaN only "propagate" is there:
the others leave out as many elements as the data say. Loaded with ``functions_stats``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special as sps
import scipy.stats

from jitgrad.errors import ArgumentError, UnsupportedError
from jitgrad.frontend.functions_quantiles import merged_last
from jitgrad.frontend.functions_reduce import counted
from jitgrad.frontend.primitives import (
    axis_tuple,
    broadcast_to,
    broadcast_together,
    cast,
    emit,
    floating,
    floats,
    iota,
    lift_one,
    reshape,
    static_int,
)
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import Tracer, contains_tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64, i64, is_float
from jitgrad.ops.checks import check_static

Array = Any  # a Tracer, as NumPy's functions and operators take it
Axes = tuple[int, ...]


def propagates(name: str, nan_policy: Any) -> None:
    """Raise UnsupportedError for a policy other than "propagate"."""
    if nan_policy != "propagate":
        raise UnsupportedError(
            f"scipy.stats.{name} with nan_policy={nan_policy!r} is not supported on traced values. Which elements are "
            "left out depends on the data. Leave the argument out, or use np.nanmean, np.nanstd and the like.",
            user_location(),
        )


def refused(name: str, what: str, instead: str) -> UnsupportedError:
    """The error for a form of a function that is not there."""
    return UnsupportedError(f"scipy.stats.{name} {what} is not supported on traced values. {instead}", user_location())


def bad(name: str, what: str) -> ArgumentError:
    """The error for an argument that SciPy does not take either."""
    return ArgumentError(f"scipy.stats.{name}: {what}", user_location())


def axes_of(x: Tracer, axis: Any) -> Axes:
    return axis_tuple(axis, x.ndim)


def rows(x: Tracer, axis: Any) -> tuple[Array, tuple[Any, ...]]:
    """The axes as one, at the end; and the shape that a result has with them kept."""
    axes = axes_of(x, axis)
    return merged_last(x, axes), tuple(1 if k in axes else d for k, d in enumerate(x.dims))


def kept(result: Array, shape: Sequence[Any], keepdims: Any) -> Array:
    return reshape(result, shape) if keepdims else result


def _variance(x: Array, axis: Any, ddof: Any, mean: Array) -> Array:
    """With the axes kept. NaN where no degree of freedom is left, as in SciPy; ``np.var`` divides by 0 there."""
    found = np.mean(np.square(x - mean), axis=axis, keepdims=True)
    if type(ddof) is int and ddof == 0:
        return found
    n = counted(x, axes_of(x, axis), True, False)
    free = n - ddof
    if isinstance(free, float):
        return found * (n / free if free > 0 else np.nan)
    return cast(found * np.where(free > 0, n / free, np.nan), x.dtype)


# -- scores ------------------------------------------------------------------------------------------------------------


@implements(scipy.stats.zmap)
def zmap(scores: Any, compare: Any, axis: Any = 0, ddof: Any = 0, nan_policy: Any = "propagate") -> Array:
    """What is constant has no scores of its own: they are NaN."""
    propagates("zmap", nan_policy)
    own = scores is compare
    x, others = (floating(lift_one(scores)),) * 2 if own else floats(scores, compare)
    mean = np.mean(others, axis=axis, keepdims=True)
    spread: Array = emit("safe_sqrt", _variance(others, axis, ddof, mean))
    found = (x - mean) / spread
    if not own:
        return found
    return np.where(spread <= np.abs(np.finfo(x.dtype).eps * mean), np.nan, found)


@implements(scipy.stats.zscore)
def zscore(a: Any, axis: Any = 0, ddof: Any = 0, nan_policy: Any = "propagate") -> Array:
    propagates("zscore", nan_policy)
    return zmap(a, a, axis, ddof)


@implements(scipy.stats.gzscore)
def gzscore(a: Any, *, axis: Any = 0, ddof: Any = 0, nan_policy: Any = "propagate") -> Array:
    propagates("gzscore", nan_policy)
    logs = np.log(floating(lift_one(a)))
    return zmap(logs, logs, axis, ddof)


@implements(scipy.stats.sem)
def sem(a: Any, axis: Any = 0, ddof: Any = 1, nan_policy: Any = "propagate", *, keepdims: Any = False) -> Array:
    propagates("sem", nan_policy)
    x = floating(lift_one(a))
    n = counted(x, axes_of(x, axis), True, False)
    found = np.std(x, axis=axis, ddof=ddof, keepdims=keepdims) / n**0.5
    return found * np.nan if isinstance(n, float) and n < 2 else cast(found, x.dtype)


@implements(scipy.stats.variation)
def variation(a: Any, axis: Any = 0, nan_policy: Any = "propagate", ddof: Any = 0, *, keepdims: Any = False) -> Array:
    propagates("variation", nan_policy)
    x = floating(lift_one(a))
    mean = np.mean(x, axis=axis, keepdims=keepdims)
    spread = np.std(x, axis=axis, keepdims=keepdims)
    n = counted(x, axes_of(x, axis), True, False)
    free = n - ddof
    corrected = spread * np.sqrt(n / np.where(free > 0, free, np.nan)) / mean
    none_left = np.where(spread > 0, np.copysign(np.inf, mean), np.nan)
    found: Array = np.where(free == 0, none_left, corrected)
    return cast(found, x.dtype)


# -- moments -----------------------------------------------------------------------------------------------------------


@implements(scipy.stats.moment)
def moment(
    a: Any, order: Any = 1, axis: Any = 0, nan_policy: Any = "propagate", *, center: Any = None, keepdims: Any = False
) -> Array:
    propagates("moment", nan_policy)
    if contains_tracer(order) or np.ndim(order) > 1 or np.size(order) == 0:
        raise refused("moment", f"of order {order!r}", "Give an integer, or a list of them.")
    x = floating(lift_one(a, center))
    if np.any(np.not_equal(order, np.round(order))):
        raise bad("moment", f"order is {order!r}. It is an integer. Round it.")
    found = [_moment(x, int(k), axis, center, keepdims) for k in np.ravel(order)]
    return np.stack(found) if np.ndim(order) else found[0]


def _moment(x: Array, order: int, axis: Any, center: Any = None, keepdims: Any = False) -> Array:
    if center is not None:
        center = cast(lift_one(center, x), x.dtype)
    if order == 0 or (order == 1 and center is None):
        return np.mean(np.full_like(x, 1.0 - order), axis=axis, keepdims=keepdims)
    distance = x - (np.mean(x, axis=axis, keepdims=True) if center is None else center)
    return np.mean(distance**order, axis=axis, keepdims=keepdims)


def _shape(x: Array, order: int, axis: Any, keepdims: Any) -> tuple[Array, Array, Any]:
    """A moment divided by the power of the second that makes it a number of the shape, and where that is not defined:
    for what is constant. And the number of elements."""
    second, found = (_moment(x, k, axis, keepdims=keepdims) for k in (2, order))
    mean = np.mean(x, axis=axis, keepdims=keepdims)
    flat = second <= (np.finfo(x.dtype).eps * mean) ** 2
    scale = np.where(flat, 1.0, second)
    return found / scale ** (order / 2), flat, counted(x, axes_of(x, axis), True, False)


def _corrected(found: Array, better: Any, enough: Any) -> Array:
    return cast(np.where(enough, better, found), found.dtype)


@implements(scipy.stats.skew)
def skew(a: Any, axis: Any = 0, bias: Any = True, nan_policy: Any = "propagate", *, keepdims: Any = False) -> Array:
    propagates("skew", nan_policy)
    x = floating(lift_one(a))
    found, flat, n = _shape(x, 3, axis, keepdims)
    if not bias:
        free = np.maximum(n - 2.0, 1.0)  # where it is less there is no correction
        found = _corrected(found, np.sqrt((n - 1.0) * n) / free * found, n > 2)
    return np.where(flat, np.nan, found)


@implements(scipy.stats.kurtosis)
def kurtosis(
    a: Any,
    axis: Any = 0,
    fisher: Any = True,
    bias: Any = True,
    nan_policy: Any = "propagate",
    *,
    keepdims: Any = False,
) -> Array:
    propagates("kurtosis", nan_policy)
    x = floating(lift_one(a))
    found, flat, n = _shape(x, 4, axis, keepdims)
    if not bias:
        free = np.maximum((n - 2.0) * (n - 3.0), 1.0)
        better = ((n * n - 1.0) * found - 3.0 * (n - 1.0) ** 2) / free + 3.0
        found = _corrected(found, better, n > 3)
    return np.where(flat, np.nan, found - 3.0 if fisher else found)


class DescribeResult(NamedTuple):
    """What ``describe`` gives."""

    nobs: Any
    minmax: tuple[Any, Any]
    mean: Any
    variance: Any
    skewness: Any
    kurtosis: Any


@implements(scipy.stats.describe)
def describe(a: Any, axis: Any = 0, ddof: Any = 1, bias: Any = True, nan_policy: Any = "propagate") -> DescribeResult:
    propagates("describe", nan_policy)
    given = lift_one(a)
    given = reshape(given, (given.count,)) if axis is None or given.ndim == 0 else given
    axis, x = 0 if axis is None else axis, floating(given)
    if x.dims[axes_of(x, axis)[0]] == 0:
        raise bad("describe", "The input must not be empty.")
    mean = np.mean(x, axis=axis, keepdims=True)
    return DescribeResult(
        cast(lift_one(counted(x, axes_of(x, axis), True, False), x), i64),
        (np.min(given, axis=axis), np.max(given, axis=axis)),
        np.mean(x, axis=axis),
        reshape(_variance(x, axis, ddof, mean), np.mean(x, axis=axis).dims),
        skew(x, axis, bias),
        kurtosis(x, axis, True, bias),
    )


# -- means -------------------------------------------------------------------------------------------------------------


def _weighted(
    a: Any, weights: Any, dtype: Any, axis: Any, keepdims: Any, change: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """The mean of what ``change`` makes of the elements, and the elements."""
    if dtype is not None:
        a, weights = (None if x is None else cast(lift_one(x, a, weights), dtype) for x in (a, weights))
    if weights is None:
        x = floating(lift_one(a))
        return np.mean(change(x), axis=axis, keepdims=keepdims), x
    x, w = floats(a, weights)
    shape = broadcast_together(x.dims, w.dims)
    x, w = broadcast_to(x, shape), broadcast_to(w, shape)
    total = np.sum(w, axis=axis, keepdims=keepdims)
    return np.sum(change(x) * w, axis=axis, keepdims=keepdims) / total, x


@implements(scipy.stats.gmean)
def gmean(
    a: Any, axis: Any = 0, dtype: Any = None, weights: Any = None, *, nan_policy: Any = "propagate",
    keepdims: Any = False,
) -> Array:  # fmt: skip
    propagates("gmean", nan_policy)
    return np.exp(_weighted(a, weights, dtype, axis, keepdims, np.log)[0])


def _positive(x: Array) -> Array:
    return np.where(x < 0, np.nan, x)


@implements(scipy.stats.hmean)
def hmean(
    a: Any, axis: Any = 0, dtype: Any = None, *, weights: Any = None, nan_policy: Any = "propagate",
    keepdims: Any = False,
) -> Array:  # fmt: skip
    propagates("hmean", nan_policy)
    return 1.0 / _weighted(a, weights, dtype, axis, keepdims, lambda x: 1.0 / _positive(x))[0]


@implements(scipy.stats.pmean)
def pmean(
    a: Any, p: Any, *, axis: Any = 0, dtype: Any = None, weights: Any = None, nan_policy: Any = "propagate",
    keepdims: Any = False,
) -> Array:  # fmt: skip
    """Of an exponent that is known while the function is traced."""
    propagates("pmean", nan_policy)
    if not isinstance(p, (int, float)) or np.isinf(p):
        raise refused("pmean", f"with p={p!r}", "Give a finite number that is known while the function is traced.")
    if p == 0:
        return gmean(a, axis, dtype, weights, keepdims=keepdims)
    return _weighted(a, weights, dtype, axis, keepdims, lambda x: _positive(x) ** float(p))[0] ** (1 / p)


@implements(scipy.stats.tmean)
def tmean(
    a: Any,
    limits: Any = None,
    inclusive: Any = (True, True),
    axis: Any = None,
    *,
    nan_policy: Any = "propagate",
    keepdims: Any = False,
) -> Array:
    """Raises ValueError when it runs where no element is within the limits."""
    propagates("tmean", nan_policy)
    x: Array = lift_one(a, limits)
    if limits is None:
        return np.mean(x, axis=axis, keepdims=keepdims)
    out: Array = np.zeros_like(x, dtype=bool)
    for limit, included, below in zip(limits, inclusive, (True, False), strict=True):
        if limit is not None:
            beyond = x < limit if below else x > limit
            out = out | beyond | (np.False_ if included else x == limit)
    demand(np.logical_not(np.all(out)), ValueError("No array values within given limits"))
    total = np.sum(np.where(out, np.zeros((), x.dtype), x), axis=axis, keepdims=keepdims)
    count = np.sum(np.logical_not(out), axis=axis, keepdims=keepdims)
    return cast(total / np.where(count > 0, count, np.nan), x.dtype if is_float(x.dtype) else f64)


@implements(scipy.stats.trim_mean)
def trim_mean(
    a: Any, proportiontocut: Any, axis: Any = 0, *, nan_policy: Any = "propagate", keepdims: Any = False
) -> Array:
    propagates("trim_mean", nan_policy)
    x, shape = rows(lift_one(a), axis)
    n = x.dims[-1]
    check_static("scipy.stats.trim_mean", (n,), "Which elements are cut")
    cut = int(proportiontocut * n)
    if 2 * cut > n:
        raise bad("trim_mean", "Proportion too big.")
    ordered = np.sort(x, axis=-1)
    found = np.mean(ordered[..., cut : n - cut], axis=-1)
    if n and is_float(x.dtype):  # NaN is last, and would be cut
        found = np.where(np.isnan(ordered[..., -1]), np.nan, found)
    return kept(found, shape, keepdims)


# -- quantiles ---------------------------------------------------------------------------------------------------------


@implements(scipy.stats.iqr)
def iqr(
    x: Any, axis: Any = None, rng: Any = (25, 75), scale: Any = 1.0, nan_policy: Any = "propagate",
    interpolation: str = "linear", keepdims: Any = False,
) -> Array:  # fmt: skip
    propagates("iqr", nan_policy)
    if isinstance(scale, str):
        if scale.lower() != "normal":
            raise bad("iqr", f"{scale} not a valid scale for `iqr`")
        scale = 2 * np.sqrt(2) * sps.erfinv(0.5)
    low, high = sorted(map(float, rng))
    t = floating(lift_one(x))
    ends = [np.percentile(t, q, axis=axis, method=interpolation, keepdims=keepdims) for q in (low, high)]  # pyright: ignore[reportCallIssue, reportArgumentType]
    return (ends[1] - ends[0]) / float(scale)


@implements(scipy.stats.median_abs_deviation)
def median_abs_deviation(
    x: Any,
    axis: Any = 0,
    center: Any = None,
    scale: Any = 1.0,
    nan_policy: Any = "propagate",
    *,
    keepdims: Any = False,
) -> Array:
    propagates("median_abs_deviation", nan_policy)
    if isinstance(scale, str):
        if scale.lower() != "normal":
            raise bad("median_abs_deviation", f"{scale} is not a valid scale value.")
        scale = 0.6744897501960817  # the upper quartile of the normal distribution
    t, shape = rows(floating(lift_one(x)), axis)
    middle = np.median(t, axis=-1) if center is None else center(t, axis=-1)
    return kept(np.median(np.abs(t - middle[..., None]), axis=-1) / scale, shape, keepdims)


@implements(scipy.stats.entropy)
def entropy(
    pk: Any, qk: Any = None, base: Any = None, axis: Any = 0, *, nan_policy: Any = "propagate", keepdims: Any = False
) -> Array:
    propagates("entropy", nan_policy)
    if base is not None and not contains_tracer(base) and base <= 0:
        raise bad("entropy", "`base` must be a positive number or `None`.")
    given = [pk] if qk is None else [pk, qk]
    shares = [x / np.sum(x, axis=axis, keepdims=True) for x in floats(*given)]
    terms: Array = sps.entr(*shares) if qk is None else sps.rel_entr(*shares)
    total = np.sum(terms, axis=axis, keepdims=keepdims)
    return total if base is None else total / np.log(base)


# -- ranks -------------------------------------------------------------------------------------------------------------


def _at(x: Array, index: Array) -> Array:
    """Elements along the last axis. A vector's length may be unknown."""
    return x[index] if x.ndim == 1 else np.take_along_axis(x, index, axis=-1)


def _groups(x: Array) -> tuple[Array, Array, Array, Array]:
    """Along the last axis: what sorts it, whether a group of equal elements begins there, and the positions of the
    first and the last of the group. NaN is equal to no other."""
    order = np.argsort(x, axis=-1)
    ordered = _at(x, order)
    new: Array = np.ones_like(ordered, dtype=bool)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    last: Array = np.ones_like(ordered, dtype=bool)
    last[..., :-1] = new[..., 1:]
    place: Array = iota(x, x.dims, x.ndim - 1)
    count = x.shape[-1]
    first = np.maximum.accumulate(np.where(new, place, 0), axis=-1)
    end = emit("cummin", np.where(last, place, count), axis=x.ndim - 1, reverse=True)
    return order, new, first, end


@implements(scipy.stats.rankdata)
def rankdata(a: Any, method: str = "average", *, axis: Any = None, nan_policy: Any = "propagate") -> Array:
    """Derivatives are 0. Of NaN "average" gives NaN; the others give integers, and raise ValueError when they run."""
    propagates("rankdata", nan_policy)
    if method not in ("average", "min", "max", "dense", "ordinal"):
        raise bad("rankdata", f'unknown method "{method}"')
    x: Array = lift_one(a)
    x = reshape(x, (x.count,)) if axis is None else x
    axis = -1 if axis is None else static_int(axis, "axis")
    t: Array = np.moveaxis(x, axis, -1)
    dtype = f64 if method == "average" else i64
    if 0 in t.dims:
        return np.zeros_like(x, dtype=dtype)
    order, new, first, last = _groups(t)
    back = np.argsort(order, axis=-1)
    if method == "ordinal":
        ranks: Array = back + 1
    elif method == "dense":
        ranks = _at(np.cumsum(new, axis=-1), back)
    else:
        ranks = {"average": (first + last) * 0.5, "min": first, "max": last}[method] + 1
        ranks = _at(ranks, back)
    if is_float(t.dtype):
        holds_nan = np.any(np.isnan(t), axis=-1, keepdims=True)
        if method == "average":
            ranks = np.where(holds_nan, np.nan, ranks)
        else:
            message = f"rankdata with method={method!r} gives integers, and the rank of NaN is none"
            demand(np.logical_not(np.any(holds_nan)), ValueError(message))
    ranks = cast(ranks, dtype)
    return np.moveaxis(ranks, -1, axis)


class ModeResult(NamedTuple):
    """What ``mode`` gives."""

    mode: Any
    count: Any


@implements(scipy.stats.mode)
def mode(a: Any, axis: Any = 0, nan_policy: Any = "propagate", keepdims: Any = False) -> ModeResult:
    """The smallest of the most frequent elements. NaN counts as one of them, the last."""
    propagates("mode", nan_policy)
    x, shape = rows(lift_one(a), axis)
    if x.dims[-1] == 0:
        raise bad("mode", "an empty axis has no most frequent element.")
    order, _, first, last = _groups(x)
    counts = last - first + 1
    ordered = _at(x, order)
    if is_float(x.dtype):
        counts = np.where(np.isnan(ordered), np.sum(np.isnan(x), axis=-1, keepdims=True), counts)
    at = np.argmax(counts, axis=-1, keepdims=True)
    found, number = (_at(t, at)[..., 0] for t in (ordered, counts))
    return ModeResult(kept(found, shape, keepdims), kept(cast(number, i64), shape, keepdims))


# -- transformations, and directions -----------------------------------------------------------------------------------


@implements(scipy.stats.boxcox)
def boxcox(x: Any, lmbda: Any = None, alpha: Any = None, optimizer: Any = None) -> Array:
    if lmbda is None:
        raise refused("boxcox", "without lmbda", "The best one is searched for. Give it, or maximise boxcox_llf.")
    return sps.boxcox(*floats(x, lmbda))


@implements(scipy.stats.boxcox_llf)
def boxcox_llf(lmb: Any, data: Any, *, axis: Any = 0, keepdims: Any = False, nan_policy: Any = "propagate") -> Array:
    propagates("boxcox_llf", nan_policy)
    x, power = floats(data, lmb)
    n = counted(x, axes_of(x, axis), True, False)
    logs = np.sum(np.log(x), axis=axis, keepdims=keepdims)
    spread = np.var(sps.boxcox(x, power), axis=axis, keepdims=keepdims)
    return cast((power - 1.0) * logs - n / 2 * np.log(spread), x.dtype)


def _direction(samples: Any, high: Any, low: Any, axis: Any, keepdims: Any) -> tuple[Array, Array, Any]:
    """The mean sine and cosine, and the period."""
    x, high, low = (
        floats(samples, high, low) if contains_tracer((high, low)) else (floating(lift_one(samples)), high, low)
    )
    period = high - low
    angle = x * (2.0 * np.pi / period)
    sine, cosine = (np.mean(f(angle), axis=axis, keepdims=keepdims) for f in (np.sin, np.cos))
    return sine, cosine, period


def _length(sine: Array, cosine: Array) -> Array:
    return np.minimum(np.hypot(sine, cosine), 1.0)


@implements(scipy.stats.circmean)
def circmean(
    samples: Any, high: Any = 2 * np.pi, low: Any = 0, axis: Any = None, nan_policy: Any = "propagate", *,
    keepdims: Any = False,
) -> Array:  # fmt: skip
    propagates("circmean", nan_policy)
    sine, cosine, period = _direction(samples, high, low, axis, keepdims)
    return (np.arctan2(sine, cosine) * (period / (2.0 * np.pi)) - low) % period + low


@implements(scipy.stats.circvar)
def circvar(
    samples: Any, high: Any = 2 * np.pi, low: Any = 0, axis: Any = None, nan_policy: Any = "propagate", *,
    keepdims: Any = False,
) -> Array:  # fmt: skip
    propagates("circvar", nan_policy)
    return 1.0 - _length(*_direction(samples, high, low, axis, keepdims)[:2])


@implements(scipy.stats.circstd)
def circstd(
    samples: Any, high: Any = 2 * np.pi, low: Any = 0, axis: Any = None, nan_policy: Any = "propagate", *,
    normalize: Any = False, keepdims: Any = False,
) -> Array:  # fmt: skip
    """Its derivative at 0 is taken as 0."""
    propagates("circstd", nan_policy)
    sine, cosine, period = _direction(samples, high, low, axis, keepdims)
    found: Array = emit("safe_sqrt", np.abs(-2.0 * np.log(_length(sine, cosine))))
    return found if normalize else found * (period / (2.0 * np.pi))
