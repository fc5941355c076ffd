"""Orders by several keys, and what is different among the elements of an array, whose number the data decide."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, UnsupportedError
from jitgrad.frontend.functions_reduce import argsort
from jitgrad.frontend.primitives import iota, lift, lift_one, reshape
from jitgrad.frontend.registry import ADVICE, implements
from jitgrad.frontend.tracer import ArrayLike, Tracer, extent
from jitgrad.ir.location import user_location
from jitgrad.ir.types import is_float

#: NumPy's named tuples, which have no public names.
_UniqueCounts, _UniqueInverse, _UniqueAll = (
    type(f(np.zeros(1))) for f in (np.unique_counts, np.unique_inverse, np.unique_all)
)


@implements(np.lexsort)
def lexsort(keys: Any, axis: int = -1) -> Tracer:
    """Indices that sort by the last key, where that is equal by the one before, and so on. Raises ArgumentError for
    keys with more than one axis each."""
    found = list(lift(*keys)) if isinstance(keys, list | tuple) else list(lift_one(keys))
    if not found or any(k.ndim != 1 for k in found):
        raise ArgumentError(
            "np.lexsort takes keys of one axis each here. Flatten them, or sort row by row.", user_location()
        )
    order = argsort(found[0])
    for key in found[1:]:
        order = order[argsort(key[order])]  # stable, so that the order by the earlier keys stays
    return order


@implements(np.unique)
def unique(
    ar: ArrayLike,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """The different elements in rising order; their number is known when the program runs. Raises UnsupportedError for
    ``axis``."""
    x = lift_one(ar)
    if axis is not None and x.ndim != 1:
        raise UnsupportedError(
            "np.unique with axis= is not supported on traced values of several axes. Compute it outside.",
            user_location(),
        )
    flat, count = reshape(x, (x.count,)), extent(x.owner, x.count)
    order = argsort(flat)
    ordered = flat[order]
    new = ordered[1:] != ordered[:-1]
    if equal_nan and is_float(x.dtype):
        new = np.logical_and(new, np.logical_not(np.isnan(ordered[:-1])))  # NaN is last, equal to no other
    first: Any = np.ones_like(ordered, dtype=bool)
    first[1:] = new
    out = [ordered[first]]
    if return_index:
        out.append(order[first])
    if return_inverse:
        out.append(reshape((np.cumsum(first) - 1)[argsort(order)], x.dims))
    if return_counts:
        starts = iota(x, (x.count,), 0)[first]
        ends: Any = np.full_like(starts, count)
        ends[:-1] = starts[1:]
        out.append(ends - starts)
    return out[0] if len(out) == 1 else tuple(out)


# -- the forms of the array API standard, in which no NaN is equal to another one --------------------------------------


@implements(np.unique_values)
def unique_values(x: ArrayLike) -> Tracer:
    """In rising order, which NumPy does not promise."""
    return unique(x, equal_nan=False)


@implements(np.unique_counts)
def unique_counts(x: ArrayLike) -> Any:
    return _UniqueCounts(*unique(x, return_counts=True, equal_nan=False))


@implements(np.unique_inverse)
def unique_inverse(x: ArrayLike) -> Any:
    return _UniqueInverse(*unique(x, return_inverse=True, equal_nan=False))


@implements(np.unique_all)
def unique_all(x: ArrayLike) -> Any:
    return _UniqueAll(*unique(x, return_index=True, return_inverse=True, return_counts=True, equal_nan=False))


ADVICE[np.sort_complex] = "Use z[np.lexsort((z.imag, z.real))], which sorts by the real part first."
