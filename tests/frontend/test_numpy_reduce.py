"""Reductions, scans, sorting and order statistics on traced values agree with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special as sps
from traced import check, trace

import jitgrad as jg
from jitgrad import numpy as jnp
from jitgrad.errors import IndexBoundsError, MutationError, ShapeError, UnsupportedError
from jitgrad.scipy import special

RNG = np.random.default_rng(0)
V = RNG.normal(size=6)
M = RNG.normal(size=(3, 4)).astype(np.float32)
T = RNG.normal(size=(2, 3, 4))
I = RNG.integers(-5, 5, (3, 4)).astype(np.int32)  # noqa: E741
B = M > 0
N = np.where(RNG.random((3, 4)) < 0.3, np.nan, RNG.normal(size=(3, 4)))
MASK = np.array([[True, False, True, True]] * 3)

AXES = [None, 0, 1, -1, (0, 1), ()]
NAMES = ["sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "amax", "amin"]


@pytest.mark.parametrize("x", [M, I, B], ids=lambda x: str(x.dtype))
@pytest.mark.parametrize("name", NAMES)
def test_reductions(name: str, x: np.ndarray) -> None:
    f = getattr(np, name)
    for axis in AXES:
        if x.dtype == bool and name in ("var", "std", "mean") and axis == ():
            continue
        check(lambda a: (f(a, axis=axis), f(a, axis=axis, keepdims=True)), x)  # noqa: B023
    if name not in ("amax", "amin"):
        check(lambda a: (getattr(a, name)(), getattr(a, name)(0), getattr(a, name)(axis=1, keepdims=True)), x)


def test_three_axes() -> None:
    for axis in [(0, 2), (2, 0), (-1,), 1]:
        check(lambda a: (a.sum(axis), np.max(a, axis), np.mean(a, axis=axis, keepdims=True), a.std(axis)), T)  # noqa: B023


CASES = {
    "sum dtype": (lambda a: (np.sum(a, dtype=np.float64), a.sum(dtype=np.float32), np.prod(a, dtype=int)), I),
    "sum where": (lambda a: (np.sum(a, where=MASK), np.sum(a, axis=0, where=MASK[0]), np.sum(a, initial=2.0)), M),
    "prod where": (lambda a: (np.prod(a, axis=1, where=MASK), np.prod(a, initial=2.0)), M),
    "traced mask": (lambda a: (np.sum(a, where=a > 0), np.mean(a, where=a > 0, axis=1), np.var(a, where=a > 0)), T),
    "max where": (lambda a: (np.max(a, initial=0.5), np.max(a, where=MASK, initial=-9.0), np.min(a, initial=0.0)), M),
    "max empty": (lambda a: (np.max(a, axis=0, initial=1.0), np.max(a, axis=1, initial=1.0, keepdims=True)),
                  np.zeros((0, 3))),
    "sum empty": (lambda a: (np.sum(a), np.sum(a, 0), np.prod(a, 0), np.any(a), np.all(a)), np.zeros((0, 3))),
    "any where": (lambda a: (np.any(a, where=MASK), np.all(a, where=MASK, axis=0)), M),
    "mean dtype": (lambda a: (np.mean(a, dtype=np.float64), np.var(a, dtype=np.float64)), M),
    "ddof": (lambda a: (np.var(a, ddof=1), np.std(a, axis=0, ddof=1), a.var(1, ddof=2), np.var(a, correction=1)), M),
    "ptp": (lambda a: (np.ptp(a), np.ptp(a, 0), np.ptp(a, axis=1, keepdims=True)), M),
    "average": (lambda a: (np.average(a), np.average(a, axis=0), np.average(a, weights=[1, 2, 3, 4], axis=1)), M),
    "average traced": (lambda a, w: (np.average(a, weights=w), *np.average(a, 1, w, returned=True)), M, np.abs(M)),
    "count": (lambda a: (np.count_nonzero(a > 0), np.count_nonzero(a, axis=1), np.count_nonzero(a, 0)), I),
    "argmax": (lambda a: (np.argmax(a), a.argmax(0), np.argmin(a, axis=1), a.argmin(axis=1, keepdims=True),
                          np.argmax(a, keepdims=True)), M),
    "argmax bool": (lambda a: (np.argmax(a), np.argmin(a, axis=0)), B),
    "cumsum": (lambda a: (np.cumsum(a), a.cumsum(0), np.cumsum(a, axis=1, dtype=float), a.cumprod(1)), M),
    "cumsum ints": (lambda a: (np.cumsum(a, 0), np.cumprod(a)), I),
    "cumulative": (lambda a: (np.cumulative_sum(a), np.cumulative_sum(a, include_initial=True),
                              np.cumulative_prod(a, include_initial=True)), V),
    "sort": (lambda a: (np.sort(a), np.sort(a, 0), np.sort(a, axis=None), np.argsort(a, kind="stable"), a.argsort(0)),
             M),
    "sort bool": (lambda a: np.sort(a, 0), B),
    "sort nan": (lambda a: (np.sort(a), np.argsort(a, axis=0, kind="stable")), N),
    "partition": (lambda a: np.partition(a, 2)[2], V),
    "median": (lambda a: (np.median(a), np.median(a, 0), np.median(a, axis=1, keepdims=True), np.median(a, (0, 1))), M),
    "median nan": (lambda a: np.median(a, axis=1), N),
    "quantile": (lambda a: (np.quantile(a, 0.3), np.quantile(a, [0.1, 0.9], axis=0), np.percentile(a, 25, axis=1)), T),
    "methods": (lambda a: [np.quantile(a, 0.3, method=m) for m in ("lower", "higher", "nearest", "midpoint")], V),
    "nan": (lambda a: (np.nansum(a), np.nansum(a, 0), np.nanprod(a), np.nanmean(a, 1), np.nanvar(a), np.nanstd(a, 0),
                       np.nanmax(a), np.nanmin(a, axis=1), np.nancumsum(a, 1), np.nancumprod(a)), N),
    "nan ints": (lambda a: (np.nansum(a), np.nanmax(a, 0)), I),
    "searchsorted": (lambda a, v: (np.searchsorted(a, v), np.searchsorted(a, v, side="right"), a.searchsorted(0.1)),
                     np.sort(V), T),
    "digitize": (lambda v: (np.digitize(v, [-1.0, 0.0, 1.0]), np.digitize(v, [1.0, 0.0, -1.0]),
                            np.digitize(v, [-1.0, 0.0], right=True)), T),
    "numpy lists": (lambda a: (jnp.sum([a[0], a[1]]), jnp.max([a[0], 0.5, a[1]]), jnp.mean([[a[0]], [1]])), V),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Mean of empty", "ignore:Degrees of freedom")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_numpy(case) -> None:
    check(*case)


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.filterwarnings("ignore:Mean of empty")
def test_rows_of_nan() -> None:
    x = np.array([[np.nan, np.nan], [1.0, np.nan]])
    check(lambda a: (np.nanmax(a, axis=1), np.nanmean(a, axis=1)), x)


@pytest.mark.parametrize("x", [V, M, T, I], ids=lambda x: f"{x.dtype}{x.shape}")
def test_special_functions(x: np.ndarray) -> None:
    for axis in (None, 0, -1):
        check(lambda a: special.logsumexp(a, axis=axis), x)  # noqa: B023
        check(lambda a: special.logsumexp(a, axis=axis, keepdims=True), x)  # noqa: B023
        if x.dtype.kind == "f":
            check(lambda a: (special.softmax(a, axis=axis), special.log_softmax(a, axis=axis)), x)  # noqa: B023


def test_logsumexp_extremes() -> None:
    inf = np.inf
    x = np.array([[-inf, -inf], [-inf, 0.0], [1000.0, 1000.0], [inf, 0.0], [-1000.0, -1001.0]])
    check(lambda a: special.logsumexp(a, axis=1), x)
    check(lambda a: special.logsumexp(a, axis=1, b=np.array([1.0, 2.0])), x[[1, 2, 4]])
    check(lambda a, b: special.logsumexp(a, axis=1, b=b), x, np.abs(x > 0) * 1.0)
    check(lambda a: special.logsumexp(a, axis=1, b=np.array([1.0, -2.0]), return_sign=True), x[[2, 4]])
    check(special.logsumexp, np.zeros(0))
    check(lambda a: special.logsumexp(a, axis=1), np.zeros((2, 0)))


def test_polygamma() -> None:
    check(lambda a: (special.polygamma(1, a), special.polygamma(0, a), sps.psi(a)), np.array([0.5, 1.5]), rtol=1e-10)


ERRORS = {
    "max empty": (lambda x: np.max(x[:0]), ShapeError, "no identity"),
    "argmax empty": (lambda x: np.argmax(x[:0]), ShapeError, "empty axis"),
    "axis": (lambda x: np.sum(x, axis=2), IndexBoundsError, "out of bounds"),
    "max where": (lambda x: np.max(x, where=MASK), UnsupportedError, "initial"),
    "out": (lambda x: np.sum(x, out=np.zeros(())), MutationError, "would write"),
    "histogram": (lambda x: np.histogram_bin_edges(x, "auto"), UnsupportedError, "np.histogram_bin_edges"),
    "quantile": (lambda x: np.quantile(x, x[0, 0]), UnsupportedError, "static"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_errors(case) -> None:
    f, error, message = case
    with pytest.raises(error, match=message) as info:
        trace(f, M)
    assert "test_numpy_reduce.py" in str(info.value)


@pytest.mark.parametrize("fun", [np.nanargmin, np.nanargmax])
def test_positions_without_nan(fun: Any) -> None:
    x = np.random.default_rng(0).normal(size=(5, 6))
    x[1, 2] = x[0, 0] = x[3] = np.nan
    x[3, 4], x[3, 5] = np.inf, -np.inf
    for a in (x, x[:3].astype(np.float32), np.arange(6).reshape(2, 3), np.array([[True, False]])):
        for axis in (None, 0, 1, -1):
            for keepdims in (False, True):
                got = jg.jit(lambda a, axis=axis, keepdims=keepdims: fun(a, axis=axis, keepdims=keepdims))(a)
                want = fun(a, axis=axis, keepdims=keepdims)
                assert got.dtype == want.dtype
                np.testing.assert_array_equal(got, want)
    with pytest.raises(ValueError, match="All-NaN slice"):
        jg.jit(lambda a: fun(a, axis=1))(np.array([[1.0, 2.0], [np.nan, np.nan]]))
