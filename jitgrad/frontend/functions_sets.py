"""Sets of numbers, as sorted arrays without repetitions. How many elements a result has gets known when the program
runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, UnsupportedError
from jitgrad.frontend.functions_order import unique
from jitgrad.frontend.functions_reduce import searchsorted
from jitgrad.frontend.functions_shape import ravel
from jitgrad.frontend.primitives import full, lift_one, promote, reshape
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import ArrayLike, Tracer, extent
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_

Array = Any  # a Tracer, as NumPy's functions and operators take it


@implements(np.isin)
def isin(
    element: ArrayLike,
    test_elements: ArrayLike,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: str | None = None,
) -> Array:
    """For each element whether it is one of the others, by bisection; NaN is none. ``kind`` makes no difference."""
    x, others = promote(element, test_elements, weak=False)
    others = _sorted(others)
    if others.dims == (0,):
        return full(x, x.dims, invert, bool_)
    if not isinstance(others.dims[0], int):  # there may be none, and then the one here is not found
        found = searchsorted(others, x, "right") - searchsorted(others, x, "left") > 0
        found = np.logical_and(found, x == x)
    else:
        place = np.minimum(searchsorted(others, x), others.dims[0] - 1)
        found = others[place] == x
    return np.logical_not(found) if invert else found


@implements(np.union1d)
def union1d(ar1: ArrayLike, ar2: ArrayLike) -> Array:
    return unique(np.concatenate([ravel(x) for x in promote(ar1, ar2, weak=False)]))


@implements(np.intersect1d)
def intersect1d(ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False, return_indices: bool = False) -> Array:
    """Raises UnsupportedError for ``return_indices``."""
    if return_indices:
        raise UnsupportedError(
            "np.intersect1d with return_indices=True is not supported on traced values. Use "
            "np.flatnonzero(np.isin(a, b)).",
            user_location(),
        )
    ordered = _both(ar1, ar2, assume_unique=assume_unique)
    return ordered[1:][ordered[1:] == ordered[:-1]]


@implements(np.setxor1d)
def setxor1d(ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False) -> Array:
    ordered = _both(ar1, ar2, assume_unique=assume_unique)
    differ = ordered[1:] != ordered[:-1]
    alone: Array = np.ones_like(ordered, dtype=bool)
    alone[1:] = differ
    alone[:-1] = np.logical_and(alone[:-1], differ)
    return ordered[alone]


@implements(np.setdiff1d)
def setdiff1d(ar1: ArrayLike, ar2: ArrayLike, assume_unique: bool = False) -> Array:
    x = lift_one(ar1, ar2)
    x = ravel(x) if assume_unique else unique(x)
    return x[isin(x, ar2, invert=True)]


@implements(np.trim_zeros)
def trim_zeros(filt: ArrayLike, trim: str = "fb", axis: Any = None) -> Array:
    """Of a vector. Raises UnsupportedError for several axes, ArgumentError for another ``trim``."""
    x = lift_one(filt)
    if x.ndim != 1:
        raise UnsupportedError(
            f"np.trim_zeros of an array of shape {x.dims} is not supported on traced values. It takes a vector.",
            user_location(),
        )
    ends = trim.lower()
    if ends not in ("f", "b", "fb", "bf"):
        raise ArgumentError(f"np.trim_zeros with trim={trim!r}. It is 'f', 'b' or 'fb'.", user_location())
    if x.dims == (0,):
        return x.copy()
    kept: Array = x != 0
    places = np.flatnonzero(kept)
    count = extent(x.owner, x.dims[0])
    some = np.any(kept)
    least = np.min(places, initial=count) if "f" in ends else 0
    most = np.max(places, initial=-1) + 1 if "b" in ends else count
    return x[least : np.where(some, most, least)]


def _sorted(x: Tracer) -> Array:
    return np.sort(reshape(x, (x.count,)))


def _both(ar1: ArrayLike, ar2: ArrayLike, *, assume_unique: bool) -> Array:
    """The elements of both in order, those that are in both twice."""
    pair = promote(ar1, ar2, weak=False)
    return np.sort(np.concatenate([ravel(x) if assume_unique else unique(x) for x in pair]))
