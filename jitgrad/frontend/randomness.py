"""Random numbers that are drawn while a function is traced: they become constants of its program, so jitgrad warns.

Seen are the functions of ``np.random``, and methods of generators that a traced function finds in its module or its
closure. A generator with a seed that the function makes itself draws the same numbers at each call anyhow.
"""

from __future__ import annotations

import functools
import random
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jitgrad.errors import JitgradWarning, RollError
from jitgrad.frontend.concrete import adopt
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace
from jitgrad.ir.location import user_location

_STATE = frozenset(("seed", "get_state", "set_state", "bit_generator", "spawn"))
_warned: weakref.WeakSet[Trace] = weakref.WeakSet()


def warn_of_draw(what: str) -> None:
    """Warn, once a trace, that ``what`` draws random numbers while a function is traced."""
    trace = HOOKS["current_trace"]()
    if trace is None or trace in _warned:
        return
    _warned.add(trace)
    message = (
        f"{what} draws random numbers while {trace.name} is traced. They become constants of the compiled program, the "
        "same ones at each call. Draw outside the function and pass the numbers in as an argument."
    )
    location = user_location()
    if location is None:
        warnings.warn(message, JitgradWarning, stacklevel=2)
    else:
        warnings.warn_explicit(message, JitgradWarning, location.file, location.line)


def warn_of_generator(name: str, value: Any, methods: Iterable[str]) -> None:
    """Warn if ``value`` is a generator and one of ``methods``, which the traced function reads, draws from it."""
    if not isinstance(value, (np.random.Generator, np.random.RandomState)):
        return
    for method in methods:
        if method not in _STATE and callable(getattr(value, method, None)):
            warn_of_draw(f"{name}.{method}")


def drawing(function: Callable[..., Any]) -> Callable[..., Any]:
    """What to call in the place of a function: arrays that a method of a generator draws can be assigned into. Raises
    RollError for one that is called in the body of a loop that is recorded."""
    owner = getattr(function, "__self__", None)
    if not isinstance(owner, (np.random.Generator, np.random.RandomState, random.Random)):
        return function
    name = getattr(function, "__name__", "")
    if name in _STATE or name in ("getstate", "setstate"):
        return function
    _check_scopes(f"{type(owner).__name__}.{name}")
    return lambda *args, **kwargs: adopt(function(*args, **kwargs))


def _check_scopes(what: str) -> None:
    trace = HOOKS["current_trace"]()
    if trace is not None and any("loop" in scope.what for scope in trace.scopes):
        raise RollError(
            f"{what} draws random numbers in the body of a loop, which is recorded once for all times that it runs: "
            "all of them would get the same numbers. Draw them before the loop, all at once, and index the array.",
            user_location(),
        )


def _drawing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def draw(*args: Any, **kwargs: Any) -> Any:
        seeded = name == "default_rng" and (args or kwargs) and (*args, *kwargs.values())[0] is not None
        if not seeded:
            _check_scopes(f"np.random.{name}")
            warn_of_draw(f"np.random.{name}")
        return adopt(function(*args, **kwargs))

    return draw


#: Function of ``np.random`` -> the same with the warning.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: _drawing(name, getattr(np.random, name))
    for name in np.random.__all__
    if name not in _STATE and not isinstance(getattr(np.random, name), type)
}
