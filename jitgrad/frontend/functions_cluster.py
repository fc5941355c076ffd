"""``scipy.cluster.vq`` on traced values. Loaded when a program uses it."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import scipy.cluster.vq

import jitgrad.numpy as jnp
from jitgrad.errors import ShapeError
from jitgrad.frontend.namespace import wrap
from jitgrad.frontend.primitives import cast, emit, floating, floats, lift_one
from jitgrad.frontend.registry import ADVICE, FUNCTIONS, implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location

_vq = scipy.cluster.vq


@implements(_vq.vq)
def vq(obs: Any, code_book: Any, check_finite: bool = True) -> tuple[Tracer, Tracer]:
    """The number of the nearest code of each observation, and the distance, whose gradient is 0 at the code."""
    x, codes = floats(obs, code_book)
    if x.ndim != codes.ndim or x.ndim not in (1, 2) or x.dims[1:] != codes.dims[1:]:
        raise ShapeError(
            f"scipy.cluster.vq.vq of observations of shape {x.dims} and codes of shape {codes.dims}. Both are matrices "
            "with equally many columns, or both are vectors.",
            user_location(),
        )
    x, codes = (t if t.ndim == 2 else t[:, None] for t in (x, codes))
    away = x[:, None] - codes[None]
    squares = jnp.sum(away * away, axis=-1)
    return cast(jnp.argmin(squares, axis=1), np.int32), emit("safe_sqrt", jnp.min(squares, axis=1))


@implements(_vq.whiten)
def whiten(obs: Any, check_finite: bool = True) -> Tracer:
    """A column of equal elements stays, without SciPy's warning."""
    x = floating(lift_one(obs))
    deviation = jnp.std(x, axis=0)
    return x / jnp.where(deviation == 0, 1.0, deviation)


for _f in (_vq.kmeans, _vq.kmeans2):
    ADVICE[_f] = (
        "How often it iterates depends on the data. Write the iterations, with scipy.cluster.vq.vq for the codes."
    )


def stand_in(value: Any) -> Any:
    """The wrapped function; None for one without a handler, and for the module."""
    return wrap(value) if isinstance(value, types.FunctionType) and (value in FUNCTIONS or value in ADVICE) else None
