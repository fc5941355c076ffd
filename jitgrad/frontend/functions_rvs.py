"""Random numbers of the distributions of ``scipy.stats``: SciPy's own functions, on what stands for a generator."""

from __future__ import annotations

from typing import Any

import scipy.stats

from jitgrad.errors import ConcretizationError, UnsupportedError
from jitgrad.frontend.randomness import passed
from jitgrad.frontend.tracer import Tracer, contains_tracer
from jitgrad.ir.location import user_location


def name_of(dist: Any) -> str:
    """What SciPy calls a distribution."""
    return getattr(dist, "name", None) or type(dist).__name__.removesuffix("_gen")


def _known(x: Any) -> Any:
    return x.concrete if isinstance(x, Tracer) and x.concrete is not None else x


def sample(dist: Any, /, *args: Any, random_state: Any = None, **kwds: Any) -> Any:
    """``dist.rvs``: SciPy's own, which gets what stands for its generator, and so is recorded."""
    args, kwds = tuple(map(_known, args)), {name: _known(x) for name, x in kwds.items()}
    if contains_tracer((args, list(kwds.values()))):
        raise UnsupportedError(
            f"scipy.stats.{name_of(dist)}.rvs is not supported on traced values. Its parameters are numbers that are "
            "known while the function is traced. Use the method of a generator: generator.normal(loc, scale).",
            user_location(),
        )
    kwds["random_state"] = passed(dist.random_state if random_state is None else random_state)
    # Of a number SciPy takes int(), which a traced one has not.
    number = isinstance(dist, scipy.stats.rv_discrete) and len(args) < dist.numargs + 2 and kwds.get("size") is None
    try:
        found: Any = dist.rvs(*args, **(kwds | {"size": 1} if number else kwds))
    except ConcretizationError as error:
        raise UnsupportedError(
            f"scipy.stats.{name_of(dist)}.rvs computes with what it draws as a traced function can't. Draw outside and "
            "pass the numbers in, or use a method of a generator.",
            user_location(),
        ) from error
    return found[0].item() if number else found
