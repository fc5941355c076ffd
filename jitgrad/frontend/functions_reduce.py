"""Reductions, scans and sorting on traced values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from jitgrad.frontend.indexing import as_value
from jitgrad.frontend.primitives import (
    axis_index,
    axis_tuple,
    broadcast_to,
    broadcast_together,
    cast,
    constant_like,
    dtype_argument,
    element_count,
    emit,
    floating,
    insert_axes,
    lift,
    lift_one,
    promote,
    reduce,
    reshape,
    strong,
    where,
)
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import HOOKS, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.frontend.ufuncs import call_ufunc
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_, f32, f64, is_float, is_short

_NOTHING = np._NoValue  # pyright: ignore[reportAttributeAccessIssue]


@functools.lru_cache(maxsize=256)
def accumulator_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype that NumPy sums in: int64 for small integers and bool, else the array's own."""
    return np.sum(np.zeros(1, dtype)).dtype


def _masked(x: Tracer, mask: ArrayLike, neutral: Any) -> Tracer:
    """x with the elements outside a ``where=`` mask replaced by the reduction's neutral element."""
    if mask is True or mask is _NOTHING:
        return x
    m = cast(lift_one(mask, x), bool_)
    shape = broadcast_together(x.dims, m.dims)
    return where(m, broadcast_to(x, shape), constant_like(x, neutral))


def _finish(out: Tracer, initial: Any, ufunc: np.ufunc) -> Tracer:
    """Combine with ``initial=``, and forget weakness."""
    if initial is _NOTHING or initial is None:
        return strong(out)
    return strong(emit(ufunc.__name__, out, cast(lift_one(initial, out), out.dtype)))


def is_kept(keepdims: Any) -> bool:
    return bool(keepdims) and keepdims is not _NOTHING


@implements(np.sum)
def sum_(
    a: ArrayLike, axis: Any = None, dtype: Any = None, *, keepdims: Any = False, initial: Any = None, where: Any = True
) -> Tracer:
    x = lift_one(a, where, initial)
    x = cast(x, dtype_argument(dtype) or accumulator_dtype(x.dtype))
    x = _masked(x, where, 0)
    return _finish(reduce("sum", x, axis_tuple(axis, x.ndim), is_kept(keepdims)), initial, np.add)


@implements(np.prod)
def prod(
    a: ArrayLike, axis: Any = None, dtype: Any = None, *, keepdims: Any = False, initial: Any = None, where: Any = True
) -> Tracer:
    x = lift_one(a, where, initial)
    x = cast(x, dtype_argument(dtype) or accumulator_dtype(x.dtype))
    x = _masked(x, where, 1)
    return _finish(reduce("prod", x, axis_tuple(axis, x.ndim), is_kept(keepdims)), initial, np.multiply)


def lowest(dtype: np.dtype) -> Any:
    """The neutral element of max."""
    return -np.inf if is_float(dtype) else False if dtype.kind == "b" else np.iinfo(dtype).min


def highest(dtype: np.dtype) -> Any:
    """The neutral element of min."""
    return np.inf if is_float(dtype) else True if dtype.kind == "b" else np.iinfo(dtype).max


def _extremum(name: str, a: ArrayLike, axis: Any, keepdims: Any, initial: Any, mask: Any) -> Tracer:
    x = lift_one(a, mask, initial)
    ufunc, neutral = (np.maximum, lowest) if name == "max" else (np.minimum, highest)
    axes = axis_tuple(axis, x.ndim)
    started = initial is not _NOTHING and initial is not None
    if mask is not True and mask is not _NOTHING and not started:
        raise UnsupportedError(
            f"np.{name} with where= but without initial=. It has no value where the mask is empty. Give initial=.",
            user_location(),
        )
    if 0 in [x.dims[k] for k in axes]:
        if not started:
            raise ShapeError(
                f"np.{name} over an empty axis of an array of shape {x.dims}. It has no identity. Give initial=.",
                user_location(),
            )
        shape = [1 if k in axes else d for k, d in enumerate(x.dims)]
        kept = broadcast_to(cast(lift_one(initial, x), x.dtype), shape)
        return kept if is_kept(keepdims) else reshape(kept, [d for k, d in enumerate(x.dims) if k not in axes])
    x = _masked(x, mask, neutral(x.dtype))
    if x.dtype == bool_:
        out = reduce("any" if name == "max" else "all", x, axes, is_kept(keepdims))
    else:
        out = reduce(name, x, axes, is_kept(keepdims))
    return _finish(out, initial, ufunc)


@implements(np.max, np.amax)
def max_(a: ArrayLike, axis: Any = None, *, keepdims: Any = False, initial: Any = None, where: Any = True) -> Tracer:
    return _extremum("max", a, axis, keepdims, initial, where)


@implements(np.min, np.amin)
def min_(a: ArrayLike, axis: Any = None, *, keepdims: Any = False, initial: Any = None, where: Any = True) -> Tracer:
    return _extremum("min", a, axis, keepdims, initial, where)


@implements(np.ptp)
def ptp(a: ArrayLike, axis: Any = None, *, keepdims: Any = False) -> Tracer:
    return emit("subtract", max_(a, axis, keepdims=keepdims), min_(a, axis, keepdims=keepdims))


@implements(np.any)
def any_(a: ArrayLike, axis: Any = None, *, keepdims: Any = False, where: Any = True) -> Tracer:
    x = _masked(cast(lift_one(a, where), bool_), where, False)
    return strong(reduce("any", x, axis_tuple(axis, x.ndim), is_kept(keepdims)))


@implements(np.all)
def all_(a: ArrayLike, axis: Any = None, *, keepdims: Any = False, where: Any = True) -> Tracer:
    x = _masked(cast(lift_one(a, where), bool_), where, True)
    return strong(reduce("all", x, axis_tuple(axis, x.ndim), is_kept(keepdims)))


@implements(np.count_nonzero)
def count_nonzero(a: ArrayLike, axis: Any = None, *, keepdims: Any = False) -> Tracer:
    return sum_(cast(lift_one(a), bool_), axis, keepdims=keepdims)


@implements(np.mean)
def mean(a: ArrayLike, axis: Any = None, dtype: Any = None, *, keepdims: Any = False, where: Any = True) -> Tracer:
    x, result = _averaged(lift_one(a, where), dtype)
    axes = axis_tuple(axis, x.ndim)
    total = sum_(x, axes, x.dtype, keepdims=keepdims, where=where)
    return cast(call_ufunc(np.divide, total, counted(x, axes, where, keepdims)), result)


def _averaged(x: Tracer, dtype: Any) -> tuple[Tracer, np.dtype]:
    """What a mean is taken of, and the dtype of the mean: that of float16 or bfloat16 is computed in float32 and
    rounded once."""
    x = floating(x) if dtype is None else cast(x, dtype)
    return (cast(x, f32), x.dtype) if is_short(x.dtype) else (x, x.dtype)


def counted(x: Tracer, axes: tuple[int, ...], mask: Any, keepdims: Any) -> Any:
    """How many elements are reduced: a number, or an array where a mask says."""
    if mask is True or mask is _NOTHING:
        count = element_count([x.dims[k] for k in axes])
        return float(count) if isinstance(count, int) else cast(as_value(x.owner, count), x.dtype)
    ones = broadcast_to(cast(lift_one(mask, x), x.dtype), x.dims)
    return sum_(ones, axes, keepdims=keepdims)


@implements(np.average)
def average(
    a: ArrayLike, axis: Any = None, weights: ArrayLike = None, returned: bool = False, *, keepdims: Any = False
) -> Any:
    if weights is None:
        out = mean(a, axis, keepdims=keepdims)
        x = lift_one(a)
        count = counted(x, axis_tuple(axis, x.ndim), True, keepdims)
        count = cast(lift_one(count, out), out.dtype)
        return (out, broadcast_to(count, out.dims)) if returned else out
    x, w = lift(a, weights)
    if not is_float(x.dtype):
        x, w = cast(x, f64), cast(w, f64)  # products of integers would overflow
    axes = axis_tuple(axis, x.ndim)
    if w.dims != x.dims:
        if axis is None or w.dims != tuple(x.dims[k] for k in axes):
            raise ShapeError(
                f"np.average of shape {x.dims} with weights of shape {w.dims}. The weights must have the array's "
                "shape, or that of the axes. Give axis=.",
                user_location(),
            )
        w = reshape(w, [d if k in axes else 1 for k, d in enumerate(x.dims)])
    scale = sum_(broadcast_to(w, x.dims), axes, keepdims=keepdims)
    total = sum_(call_ufunc(np.multiply, x, w), axes, keepdims=keepdims)
    out = call_ufunc(np.divide, total, scale)
    return (out, cast(scale, out.dtype)) if returned else out


@implements(np.var)
def var(
    a: ArrayLike,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: Any = 0,
    keepdims: Any = False,
    where: Any = True,
    mean: Any = None,
    correction: Any = None,
) -> Tracer:
    """As NumPy computes it: the mean of the squared distances from the mean."""
    x, result = _averaged(lift_one(a, where), dtype)
    axes = axis_tuple(axis, x.ndim)
    if correction is not None and correction is not _NOTHING:
        ddof = correction
    if mean is None or mean is _NOTHING:
        count = counted(x, axes, where, True)
        mean = call_ufunc(np.divide, sum_(x, axes, keepdims=True, where=where), count)
    d = call_ufunc(np.subtract, x, mean)
    squares = sum_(emit("square", d), axes, keepdims=keepdims, where=where)
    count = counted(x, axes, where, keepdims)
    free = max(count - ddof, 0.0) if isinstance(count, float) else call_ufunc(np.maximum, count - ddof, 0.0)
    return cast(call_ufunc(np.divide, squares, free), result)


@implements(np.std)
def std(
    a: ArrayLike,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: Any = 0,
    keepdims: Any = False,
    where: Any = True,
    mean: Any = None,
    correction: Any = None,
) -> Tracer:
    """The square root of var; its derivative at 0 is taken as 0."""
    v = var(a, axis, dtype, ddof=ddof, keepdims=keepdims, where=where, mean=mean, correction=correction)
    return emit("safe_sqrt", v)


# -- NaN-aware forms ---------------------------------------------------------------------------------------------------


def _without_nan(x: Tracer, fill: Any) -> tuple[Tracer, Tracer]:
    """x with its NaNs replaced, and where they were not."""
    nan = emit("isnan", x) if is_float(x.dtype) else broadcast_to(constant_like(x, False, bool_), x.dims)
    clean = where(nan, constant_like(x, fill), x) if is_float(x.dtype) else x
    return clean, emit("logical_not", nan)


@implements(np.nansum)
def nansum(a: ArrayLike, axis: Any = None, dtype: Any = None, *, keepdims: Any = False) -> Tracer:
    return sum_(_without_nan(lift_one(a), 0)[0], axis, dtype, keepdims=keepdims)


@implements(np.nanprod)
def nanprod(a: ArrayLike, axis: Any = None, dtype: Any = None, *, keepdims: Any = False) -> Tracer:
    return prod(_without_nan(lift_one(a), 1)[0], axis, dtype, keepdims=keepdims)


@implements(np.nanmean)
def nanmean(a: ArrayLike, axis: Any = None, dtype: Any = None, *, keepdims: Any = False) -> Tracer:
    x, good = _without_nan(floating(lift_one(a)), 0)
    return mean(x, axis, dtype, keepdims=keepdims, where=good)


@implements(np.nanvar)
def nanvar(a: ArrayLike, axis: Any = None, dtype: Any = None, *, ddof: Any = 0, keepdims: Any = False) -> Tracer:
    """NaN where no degree of freedom is left (var gives infinity there)."""
    x, good = _without_nan(floating(lift_one(a)), 0)
    found = var(x, axis, dtype, ddof=ddof, keepdims=keepdims, where=good)
    free = emit("greater", sum_(cast(good, found.dtype), axis, keepdims=keepdims), constant_like(found, ddof))
    return where(free, found, constant_like(found, np.nan))


@implements(np.nanstd)
def nanstd(a: ArrayLike, axis: Any = None, dtype: Any = None, *, ddof: Any = 0, keepdims: Any = False) -> Tracer:
    return emit("safe_sqrt", nanvar(a, axis, dtype, ddof=ddof, keepdims=keepdims))


def _nan_extremum(a: ArrayLike, axis: Any, keepdims: Any, name: str) -> Tracer:
    x = lift_one(a)
    clean, good = _without_nan(x, lowest(x.dtype) if name == "max" else highest(x.dtype))
    out = _extremum(name, clean, axis, keepdims, None, True)
    if not is_float(x.dtype):
        return out
    return where(any_(good, axis, keepdims=keepdims), out, constant_like(x, np.nan))


@implements(np.nanmax)
def nanmax(a: ArrayLike, axis: Any = None, *, keepdims: Any = False) -> Tracer:
    return _nan_extremum(a, axis, keepdims, "max")


@implements(np.nanmin)
def nanmin(a: ArrayLike, axis: Any = None, *, keepdims: Any = False) -> Tracer:
    return _nan_extremum(a, axis, keepdims, "min")


# -- positions, scans, sorting -----------------------------------------------------------------------------------------


def _arg(name: str, a: ArrayLike, axis: int | None, keepdims: Any) -> Tracer:
    x = lift_one(a)
    ndim = x.ndim
    if axis is None:
        x, k = reshape(x, (x.count,)), 0
    else:
        k = axis_index(axis, ndim)
    if x.dims[k] == 0:
        raise ShapeError(f"np.{name} over an empty axis. There is no element to find.", user_location())
    out = emit(name, x if x.dtype != bool_ else cast(x, np.int8), axis=k)
    if not is_kept(keepdims):
        return out
    return reshape(out, (1,) * ndim) if axis is None else insert_axes(out, [k])


@implements(np.argmax)
def argmax(a: ArrayLike, axis: int | None = None, *, keepdims: Any = False) -> Tracer:
    return _arg("argmax", a, axis, keepdims)


@implements(np.argmin)
def argmin(a: ArrayLike, axis: int | None = None, *, keepdims: Any = False) -> Tracer:
    return _arg("argmin", a, axis, keepdims)


def _nan_arg(name: str, a: ArrayLike, axis: int | None, keepdims: Any) -> Tracer:
    """The position of the extremum of what is no NaN. Raises ValueError when it runs where all is NaN."""
    x = lift_one(a)
    infinite = float("-inf" if name == "argmax" else "inf")  # as NumPy: an infinity may be found before the NaN is
    clean, good = _without_nan(x, infinite if is_float(x.dtype) else 0)
    if is_float(x.dtype):
        demand(all_(any_(good, axis)), ValueError("All-NaN slice encountered"))
    return _arg(name, clean, axis, keepdims)


@implements(np.nanargmax)
def nanargmax(a: ArrayLike, axis: int | None = None, *, keepdims: Any = False) -> Tracer:
    return _nan_arg("argmax", a, axis, keepdims)


@implements(np.nanargmin)
def nanargmin(a: ArrayLike, axis: int | None = None, *, keepdims: Any = False) -> Tracer:
    return _nan_arg("argmin", a, axis, keepdims)


def _scan(name: str, a: ArrayLike, axis: int | None, dtype: Any) -> Tracer:
    x = lift_one(a)
    x = cast(x, dtype_argument(dtype) or accumulator_dtype(x.dtype))
    if axis is None:
        x, axis = reshape(x, (x.count,)), 0
    attrs = {"reverse": False} if name == "cumsum" else {}
    return emit(name, x, axis=axis_index(axis, x.ndim), **attrs)


@implements(np.cumsum)
def cumsum(a: ArrayLike, axis: int | None = None, dtype: Any = None) -> Tracer:
    return _scan("cumsum", a, axis, dtype)


@implements(np.cumprod)
def cumprod(a: ArrayLike, axis: int | None = None, dtype: Any = None) -> Tracer:
    return _scan("cumprod", a, axis, dtype)


@implements(getattr(np, "cumulative_sum", None))  # NumPy 2.1
def cumulative_sum(
    x: ArrayLike, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tracer:
    return _with_initial(_scan("cumsum", x, _only_axis(x, axis), dtype), _only_axis(x, axis), include_initial, 0)


@implements(getattr(np, "cumulative_prod", None))  # NumPy 2.1
def cumulative_prod(
    x: ArrayLike, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tracer:
    return _with_initial(_scan("cumprod", x, _only_axis(x, axis), dtype), _only_axis(x, axis), include_initial, 1)


def _only_axis(x: ArrayLike, axis: int | None) -> int:
    ndim = lift_one(x).ndim
    if axis is None and ndim != 1:
        raise ShapeError(f"axis= is needed for an array of dimension {ndim}. Give the axis.", user_location())
    return axis_index(0 if axis is None else axis, ndim)


def _with_initial(x: Tracer, axis: int, include: bool, number: int) -> Tracer:
    if not include:
        return x
    first = broadcast_to(constant_like(x, number), [1 if k == axis else d for k, d in enumerate(x.dims)])
    return emit("concatenate", first, x, axis=axis)


@implements(np.nancumsum)
def nancumsum(a: ArrayLike, axis: int | None = None, dtype: Any = None) -> Tracer:
    return cumsum(_without_nan(lift_one(a), 0)[0], axis, dtype)


@implements(np.nancumprod)
def nancumprod(a: ArrayLike, axis: int | None = None, dtype: Any = None) -> Tracer:
    return cumprod(_without_nan(lift_one(a), 1)[0], axis, dtype)


def _sorted(name: str, a: ArrayLike, axis: int | None) -> Tracer:
    x = lift_one(a)
    if axis is None:
        x, axis = reshape(x, (x.count,)), 0
    axis = axis_index(axis, x.ndim)
    if x.dtype == bool_:
        out = emit(name, cast(x, np.int8), axis=axis)
        return out if name == "argsort" else cast(out, bool_)
    return emit(name, x, axis=axis)


@implements(np.sort)
def sort(a: ArrayLike, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Tracer:
    _no_fields(order)
    return _sorted("sort", a, axis)


@implements(np.argsort)
def argsort(a: ArrayLike, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Tracer:
    """Always stable; NumPy's default is not, so equal elements may come in another order there."""
    _no_fields(order)
    return _sorted("argsort", a, axis)


def _no_fields(order: Any) -> None:
    if order is not None and order not in ("C", "K", "A"):
        raise DtypeError(
            "sorting by fields (order=). Structured arrays are not supported. Use several arrays.", user_location()
        )


@implements(np.partition)
def partition(a: ArrayLike, kth: Any, axis: int | None = -1, kind: Any = None, order: Any = None) -> Tracer:
    """Fully sorted, which is a partition at every kth."""
    return _sorted("sort", a, axis)


@implements(np.argpartition)
def argpartition(a: ArrayLike, kth: Any, axis: int | None = -1, kind: Any = None, order: Any = None) -> Tracer:
    return _sorted("argsort", a, axis)


@implements(np.searchsorted)
def searchsorted(a: ArrayLike, v: ArrayLike, side: str = "left", sorter: Any = None) -> Tracer:
    """The places of v in the sorted vector a: how many elements are less than v (side left) or not greater (right)."""
    x, y = promote(a, v, weak=False)
    if sorter is not None:
        x = HOOKS["getitem"](x, sorter)
    if side not in ("left", "right"):
        raise ArgumentError(f"np.searchsorted with side {side!r}. It is 'left' or 'right'.", user_location())
    return emit("searchsorted", x, y, side=side)


@implements(np.apply_over_axes)
def apply_over_axes(func: Callable[..., Any], a: ArrayLike, axes: Any) -> Any:
    """``func(a, axis)`` for one axis after the other; an axis that it takes away comes back with one element."""
    x = lift_one(a)
    out: Any = x
    for axis in [axes] if np.ndim(axes) == 0 else list(axes):
        found = func(out, axis_index(axis, x.ndim))
        out = found if found.ndim == x.ndim else np.expand_dims(found, axis_index(axis, x.ndim))
        if out.ndim != x.ndim:
            raise ShapeError(
                f"np.apply_over_axes with a function that returns an array of shape {found.shape}. It must keep the "
                "axes, or take the one away that it gets.",
                user_location(),
            )
    return out


HOOKS["sum"] = sum_
