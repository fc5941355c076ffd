"""``scipy.spatial.distance`` on traced values. Loaded when a program uses it.

Distances of vectors are reductions of the last axis of differences, which are not stored. Where two points are equal
the gradient of their distance is 0.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.spatial.distance as sd

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend.namespace import wrap
from jitgrad.frontend.primitives import cast, emit, floating, floats, lift_one, promote
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import FUNCTIONS, implements, unsupported_argument
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64

#: A metric of arrays that broadcast, of their last axes, with its parameters.
Metric = Callable[..., Any]
METRICS: dict[str, Metric] = {}

_OTHER_NAMES = {
    "euclidean": "euclid eu e",
    "sqeuclidean": "sqeuclid sqe",
    "cityblock": "cblock cb c",
    "chebyshev": "chebychev cheby cheb ch",
    "minkowski": "mi m pnorm",
    "cosine": "cos",
    "correlation": "co",
    "hamming": "matching hamm ha h",
    "jaccard": "jacc ja j",
    "mahalanobis": "mahal mah",
    "seuclidean": "se s",
}
_NAMES = {other: name for name, others in _OTHER_NAMES.items() for other in others.split()}
#: Metrics without a quotient: all pairs of rows are as good as those of different ones.
_SAFE = ("euclidean", "sqeuclidean", "cityblock", "chebyshev", "minkowski", "seuclidean", "canberra", "hamming")


def _metric(name: str) -> Callable[[Metric], Metric]:
    def decorate(function: Metric) -> Metric:
        METRICS[name] = function
        return function

    return decorate


def _root(x: Any) -> Tracer:
    return emit("safe_sqrt", floating(x))


def _quotient(a: Any, b: Any) -> Any:
    """``a / b``, and 0 where b is 0."""
    zero = b == 0
    return jnp.where(zero, 0.0, a / jnp.where(zero, 1.0, b))


def _weighted(x: Any, w: Any) -> Any:
    return x if w is None else x * w


@_metric("sqeuclidean")
def _sqeuclidean(u: Any, v: Any, w: Any = None) -> Any:
    d = u - v
    return jnp.sum(_weighted(d * d, w), axis=-1)


@_metric("euclidean")
def _euclidean(u: Any, v: Any, w: Any = None) -> Any:
    return _root(_sqeuclidean(u, v, w))


@_metric("seuclidean")
def _seuclidean(u: Any, v: Any, V: Any) -> Any:
    d = u - v
    return _root(jnp.sum(d * d / V, axis=-1))


@_metric("cityblock")
def _cityblock(u: Any, v: Any, w: Any = None) -> Any:
    return jnp.sum(_weighted(jnp.abs(u - v), w), axis=-1)


@_metric("chebyshev")
def _chebyshev(u: Any, v: Any, w: Any = None) -> Any:
    d = jnp.abs(u - v)
    return jnp.max(d if w is None else d * (jnp.asarray(w) > 0), axis=-1)


@_metric("minkowski")
def _minkowski(u: Any, v: Any, p: Any = 2, w: Any = None) -> Any:
    if not isinstance(p, Tracer):
        if p <= 0:
            raise ArgumentError(f"a Minkowski distance with p={p}. p must be greater than 0.", user_location())
        if np.isinf(p):
            return _chebyshev(u, v, w)
        if p in (1, 2):
            return _cityblock(u, v, w) if p == 1 else _euclidean(u, v, w)
    d = jnp.abs(u - v)
    zero = d == 0
    total = jnp.sum(_weighted(jnp.where(zero, 0.0, jnp.where(zero, 1.0, d) ** p), w), axis=-1)
    none = total == 0
    return jnp.where(none, 0.0, jnp.where(none, 1.0, total) ** (1.0 / p))


@_metric("cosine")
def _cosine(u: Any, v: Any, w: Any = None) -> Any:
    uv, uu, vv = (jnp.sum(_weighted(a * b, w), axis=-1) for a, b in ((u, v), (u, u), (v, v)))
    return jnp.clip(1.0 - uv / jnp.sqrt(uu * vv), 0.0, 2.0)


@_metric("correlation")
def _correlation(u: Any, v: Any, w: Any = None, centered: bool = True) -> Any:
    if not centered:
        return _cosine(u, v, w)
    if w is None:
        u, v = (x - jnp.mean(x, axis=-1, keepdims=True) for x in (u, v))
        return _cosine(u, v)
    w = w / jnp.sum(w)
    u, v = (x - jnp.sum(x * w, axis=-1, keepdims=True) for x in (u, v))
    return _cosine(u, v, w)


@_metric("braycurtis")
def _braycurtis(u: Any, v: Any, w: Any = None) -> Any:
    return jnp.sum(_weighted(jnp.abs(u - v), w), axis=-1) / jnp.sum(_weighted(jnp.abs(u + v), w), axis=-1)


@_metric("canberra")
def _canberra(u: Any, v: Any, w: Any = None) -> Any:
    return jnp.sum(_weighted(_quotient(jnp.abs(u - v), jnp.abs(u) + jnp.abs(v)), w), axis=-1)


@_metric("hamming")
def _hamming(u: Any, v: Any, w: Any = None) -> Any:
    differ = u != v
    return jnp.mean(differ, axis=-1) if w is None else jnp.sum(differ * (w / jnp.sum(w)), axis=-1)


@_metric("jaccard")
def _jaccard(u: Any, v: Any, w: Any = None) -> Any:
    one, other = u != 0, v != 0
    return _quotient(*(jnp.sum(_weighted(x * 1.0, w), axis=-1) for x in (one ^ other, one | other)))


@_metric("mahalanobis")
def _mahalanobis(u: Any, v: Any, VI: Any) -> Any:
    d = u - v
    return _root(jnp.sum((d @ VI) * d, axis=-1))


# -- two vectors -------------------------------------------------------------------------------------------------------


def _vectors(name: str, u: Any, v: Any, peer: Any) -> tuple[Tracer, Tracer]:
    x, y = promote(lift_one(u, v, peer), lift_one(v, u, peer))
    if x.ndim != 1 or x.dims != y.dims:
        raise ShapeError(
            f"scipy.spatial.distance.{name} of shapes {x.dims} and {y.dims}. It takes two vectors of one length. Use "
            "cdist for the distances of all rows.",
            user_location(),
        )
    return x, y


def _of_vectors(name: str) -> Callable[..., Any]:
    metric = METRICS[name]

    def handler(u: Any, v: Any, w: Any = None) -> Any:
        x, y = _vectors(name, u, v, w)
        found = metric(*((x, y) if name in ("cityblock", "chebyshev") else map(floating, (x, y))), w=w)
        return cast(found, f64) if name == "euclidean" else found

    return handler


for _name in ("sqeuclidean", "euclidean", "cityblock", "chebyshev", "cosine", "hamming", "jaccard"):
    implements(getattr(sd, _name))(_of_vectors(_name))


@implements(sd.braycurtis)
def braycurtis(u: Any, v: Any, w: Any = None) -> Any:
    x, y = _vectors("braycurtis", u, v, w)
    return _braycurtis(cast(x, f64), cast(y, f64), w)


@implements(sd.canberra)
def canberra(u: Any, v: Any, w: Any = None) -> Any:
    x, y = _vectors("canberra", u, v, w)
    return _canberra(cast(x, f64), cast(y, f64), w)


@implements(sd.minkowski)
def minkowski(u: Any, v: Any, p: Any = 2, w: Any = None) -> Any:
    x, y = _vectors("minkowski", u, v, (p, w))
    found = _minkowski(floating(x), floating(y), p, w)
    return cast(found, f64) if not isinstance(p, Tracer) and p == 2 else found


@implements(sd.correlation)
def correlation(u: Any, v: Any, w: Any = None, centered: bool = True) -> Any:
    x, y = _vectors("correlation", u, v, w)
    return _correlation(floating(x), floating(y), w, centered)


@implements(sd.seuclidean)
def seuclidean(u: Any, v: Any, V: Any) -> Any:
    x, y = _vectors("seuclidean", u, v, V)
    return _seuclidean(floating(x), floating(y), cast(lift_one(V, x), f64))


@implements(sd.mahalanobis)
def mahalanobis(u: Any, v: Any, VI: Any) -> Any:
    x, y = _vectors("mahalanobis", u, v, VI)
    return _mahalanobis(floating(x), floating(y), jnp.atleast_2d(VI))


@implements(sd.jensenshannon)
def jensenshannon(p: Any, q: Any, base: Any = None, *, axis: int = 0, keepdims: bool = False) -> Any:
    """From the relative entropies with the mean of both; 0 for equal distributions, and the gradient too."""
    x, y = floats(p, q)
    x, y = (t / jnp.sum(t, axis=axis, keepdims=True) for t in (x, y))
    middle = (x + y) / 2.0
    total: Any = 0.0
    for t in (x, y):
        total = total + jnp.sum(_relative_entropy(t, middle), axis=axis, keepdims=keepdims)
    total = total / jnp.log(base) if base is not None else total
    return _root(jnp.maximum(total, 0.0) / 2.0)


def _relative_entropy(x: Any, y: Any) -> Any:
    zero = x == 0
    ratio = jnp.where(zero, 1.0, x) / jnp.where(zero, 1.0, y)
    return jnp.where(zero, 0.0, x * jnp.log(ratio))


# -- all pairs ---------------------------------------------------------------------------------------------------------


def _named(function: str, metric: Any) -> str:
    """The name of a metric. Raises UnsupportedError for another function."""
    name = getattr(metric, "__name__", "") if callable(metric) else str(metric).lower()
    known = not callable(metric) or getattr(metric, "__module__", None) == sd.__name__
    name = _NAMES.get(name, name)
    if name not in METRICS or not known:
        raise UnsupportedError(
            f"scipy.spatial.distance.{function} with metric {metric!r} is not supported on traced values. The metrics "
            f"{', '.join(METRICS)} are. Write it with the differences of all pairs: x[:, None] - y[None].",
            user_location(),
        )
    return name


def _parameters(function: str, name: str, rows: tuple[Tracer, ...], given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a metric, with SciPy's defaults, which come from all rows. Raises UnsupportedError."""
    needed = {"seuclidean": "V", "mahalanobis": "VI"}.get(name)
    accepted = (needed,) if needed else ("w", "p") if name == "minkowski" else ("w",)
    found = {k: v for k, v in given.items() if v is not None}
    for k in found:
        if k not in accepted:
            raise unsupported_argument(f"scipy.spatial.distance.{function} with metric {name!r}", k)
    if needed is None or needed in found:
        return found
    data = rows[0] if len(rows) == 1 else jnp.concatenate(rows)
    if needed == "V":
        return {"V": jnp.var(data, axis=0, ddof=1)}
    return {"VI": jnp.linalg.inv(jnp.atleast_2d(jnp.cov(data.T))).T}


def _rows(function: str, *objects: Any) -> tuple[Tracer, ...]:
    found = tuple(cast(lift_one(x, *objects), f64) for x in objects)
    if any(t.ndim != 2 for t in found) or len({t.dims[1] for t in found}) != 1:
        raise ShapeError(
            f"scipy.spatial.distance.{function} of shapes {', '.join(str(t.dims) for t in found)}. It takes matrices "
            "with a point in each row, and with equally many columns. Reshape them.",
            user_location(),
        )
    return found


@implements(sd.cdist)
def cdist(XA: Any, XB: Any, metric: Any = "euclidean", **kwargs: Any) -> Tracer:
    peers = tuple(kwargs.values())
    x, y = _rows("cdist", lift_one(XA, XB, *peers), lift_one(XB, XA, *peers))
    name = _named("cdist", metric)
    return METRICS[name](x[:, None], y[None], **_parameters("cdist", name, (x, y), kwargs))


@implements(sd.pdist)
def pdist(X: Any, metric: Any = "euclidean", **kwargs: Any) -> Tracer:
    (x,) = _rows("pdist", lift_one(X, *kwargs.values()))
    name = _named("pdist", metric)
    given = _parameters("pdist", name, (x,), kwargs)
    rows, columns = np.triu_indices(x.dims[0], 1)
    if name in _SAFE:
        return METRICS[name](x[:, None], x[None], **given)[rows, columns]
    return METRICS[name](x[rows], x[columns], **given)


@implements(sd.squareform)
def squareform(X: Any, force: Any = "no", checks: Any = True) -> Tracer:
    """A matrix that is no distance matrix is a ValueError when the program runs, unless ``checks`` is False."""
    x = lift_one(X)
    if str(force).lower() in ("tomatrix", "tovector") and x.ndim != (1 if force.lower() == "tomatrix" else 2):
        raise ShapeError(f"scipy.spatial.distance.squareform of shape {x.dims} with force={force!r}.", user_location())
    if x.ndim == 1:
        n = round((1 + np.sqrt(1 + 8 * x.dims[0])) / 2)
        if n * (n - 1) != 2 * x.dims[0]:
            raise ShapeError(
                f"scipy.spatial.distance.squareform of {x.dims[0]} distances. n points have n * (n - 1) / 2.",
                user_location(),
            )
        if not x.dims[0]:
            return jnp.zeros_like(x, shape=(1, 1))
        places = np.zeros((n, n), np.int64)
        places[np.triu_indices(n, 1)] = np.arange(x.dims[0])
        return jnp.where(np.eye(n, dtype=bool), x.dtype.type(0), x[places + places.T])
    if x.ndim != 2 or x.dims[0] != x.dims[1]:
        raise ShapeError(
            f"scipy.spatial.distance.squareform of shape {x.dims}. It takes a vector or a square matrix.",
            user_location(),
        )
    if checks:
        demand(jnp.all(x == x.T), ValueError("Distance matrix 'X' must be symmetric."))
        demand(jnp.all(jnp.diagonal(x) == 0), ValueError("Distance matrix 'X' diagonal must be zero."))
    return x[np.triu_indices(x.dims[0], 1)]


def stand_in(value: Any) -> Any:
    """The wrapped function; None for one without a handler, and for the module."""
    return wrap(value) if isinstance(value, types.FunctionType) and value in FUNCTIONS else None
