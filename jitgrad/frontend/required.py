"""Run-time errors of handlers, and their loops as graphs."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

import jitgrad.numpy as jnp
from jitgrad.frontend.filtered import rewritten
from jitgrad.frontend.raising import fail_in, sealed, thrown
from jitgrad.frontend.recording import condition
from jitgrad.frontend.trace import Trace


def required(trace: Trace, ok: Any, values: Any, error: Callable[[], Exception]) -> Any:
    """``values``; where ``ok`` is False the program ends with that error. In a ``try``, whose handler could not run, it
    goes on with NaN."""
    if isinstance(ok, (bool, np.bool_)) and ok:
        return values
    with trace.region("a check") as scope:
        failing = sealed(trace, scope, thrown(error))
    if failing is None:
        return jnp.where(ok, values, np.nan)
    fail_in(trace, condition(trace, ok, "a check"), 1, failing)
    return values


def recorded(fun: types.FunctionType) -> Callable[..., Any]:
    """Decorator: loops and branches of a handler's function are recorded as those of the user's."""
    form = functools.cache(lambda: rewritten(fun))

    @functools.wraps(fun)
    def run(*args: Any) -> Any:
        return form()(*args)

    return run
