"""Statistics of labelled elements, of ``scipy.ndimage``, on traced values. Loaded with ``functions_ndimage``.

Each label is compared with all elements: O(labels * elements), without index arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.ndimage as ndi

import jitgrad.numpy as jnp
from jitgrad.errors import ShapeError
from jitgrad.frontend.primitives import broadcast_to, broadcast_together, cast, lift_one
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64, is_float


def _marked(name: str, input: Any, labels: Any, index: Any) -> tuple[Tracer, Any]:
    """The elements as a vector, and which of them have which label: an array of bools with the shape of ``index``, and
    one more axis. Without labels it is None: all elements belong together; without an index those with labels > 0."""
    x = lift_one(input, labels, index)
    if labels is None:
        if index is not None:
            raise ShapeError(f"scipy.ndimage.{name} with index= needs labels.", user_location())
        return jnp.ravel(x), None
    found = jnp.asarray(labels)
    shape = broadcast_together(x.dims, np.shape(found))
    flat, of = jnp.ravel(broadcast_to(x, shape)), jnp.ravel(jnp.broadcast_to(found, shape))
    if index is None:
        return flat, of > 0
    return flat, of == jnp.expand_dims(jnp.asarray(index), -1)


def _total(x: Tracer, marked: Any) -> Any:
    return jnp.sum(x) if marked is None else jnp.sum(jnp.where(marked, x, 0.0), axis=-1)


def _count(x: Tracer, marked: Any) -> Any:
    return float(x.count) if marked is None else jnp.sum(marked, axis=-1) * 1.0


@implements(ndi.sum_labels, ndi.sum)
def sum_labels(input: Any, labels: Any = None, index: Any = None) -> Tracer:
    x, marked = _marked("sum_labels", input, labels, index)
    if marked is None or index is None:  # NumPy's sum of some elements, in its own dtype
        return jnp.sum(x if marked is None else jnp.where(marked, x, x.dtype.type(0)))
    return _total(cast(x, f64), marked)


@implements(ndi.mean)
def mean(input: Any, labels: Any = None, index: Any = None) -> Tracer:
    x, marked = _marked("mean", input, labels, index)
    x = cast(x, f64)
    return _total(x, marked) / _count(x, marked)


@implements(ndi.variance)
def variance(input: Any, labels: Any = None, index: Any = None) -> Tracer:
    x, marked = _marked("variance", input, labels, index)
    x = cast(x, f64)
    count = _count(x, marked)
    middle = _total(x, marked) / count
    away = x - (middle if marked is None else jnp.expand_dims(middle, -1))
    return _total(away * away, marked) / count


@implements(ndi.standard_deviation)
def standard_deviation(input: Any, labels: Any = None, index: Any = None) -> Tracer:
    return jnp.sqrt(variance(input, labels, index))


def _extreme(name: str, reduce: Callable[..., Any], worst: float) -> Callable[..., Tracer]:
    def handler(input: Any, labels: Any = None, index: Any = None) -> Tracer:
        """0 for a label that no element has."""
        x, marked = _marked(name, input, labels, index)
        if marked is None:
            return reduce(x)
        none = worst
        if not is_float(x.dtype):
            kind = np.iinfo(x.dtype) if x.dtype.kind in "iu" else None
            none = 0 if kind is None else int(kind.max if worst > 0 else kind.min)
        found = reduce(jnp.where(marked, x, x.dtype.type(none)), axis=-1)
        return jnp.where(jnp.any(marked, axis=-1), found, x.dtype.type(0))

    return handler


maximum = implements(ndi.maximum)(_extreme("maximum", jnp.max, -np.inf))
minimum = implements(ndi.minimum)(_extreme("minimum", jnp.min, np.inf))


@implements(ndi.center_of_mass)
def center_of_mass(input: Any, labels: Any = None, index: Any = None) -> Any:
    """Of a vector of labels a list of tuples, as in SciPy."""
    x = lift_one(input, labels, index)
    weight = sum_labels(x, labels, index)
    places = [sum_labels(x * grid, labels, index) / weight for grid in np.indices(x.dims)]
    if np.ndim(places[0]) == 0:
        return tuple(places)
    return [tuple(p[k] for p in places) for k in range(np.shape(places[0])[0])]
