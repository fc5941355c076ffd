"""Generators of the user's that a loop can consume: those that run as plain functions, and have not been started."""

from __future__ import annotations

import functools
import inspect
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from jitgrad.errors import RollError
from jitgrad.frontend.syntax import rewrite_generator
from jitgrad.frontend.trace import Trace
from jitgrad.ir.location import user_location


class Generator:
    """What is known of a generator: ``run`` runs it as a plain function; its ``position`` is None before a loop has
    consumed it."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self.run = run
        self.position: str | None = None

    def items(self, generator: Iterator[Any]) -> Iterator[Any]:
        """What Python finds when it iterates over the generator itself."""
        self._refuse_if_unknown()
        if self.position is None:
            yield from generator

    def leave(self, trace: Trace, ended: Any) -> None:
        """A recorded loop has consumed it; ``ended`` says whether by a ``break``, and may be traced. That is a change
        of an object: a trial takes it back, and a loop that is recorded around it knows that it is one."""
        trace.scope.note_change(self, "position")
        self.position = "exhausted" if ended is False else "at a place that is known when the program runs"

    def _refuse_if_unknown(self) -> None:
        if self.position not in (None, "exhausted"):
            raise RollError(
                "a generator is used again after a loop that may have ended early. How far it has come is known only "
                "when the program runs. Make another one, or use one loop for all that it gives.",
                user_location(),
            )


#: The generators that can be consumed.
_made: weakref.WeakKeyDictionary[types.GeneratorType[Any, Any, Any], Generator] = weakref.WeakKeyDictionary()


def noting(function: Any) -> Any:
    """A prepared generator function of the user's, or a method that is one; notes of the generators that it makes how a
    loop can consume them. Other functions are given back."""
    plain = function.__func__ if isinstance(function, types.MethodType) else function
    if not isinstance(plain, types.FunctionType) or not plain.__code__.co_flags & inspect.CO_GENERATOR:
        return function
    code = rewrite_generator(plain)
    if code is None:
        return function
    run = types.FunctionType(code, plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__)
    run.__kwdefaults__ = plain.__kwdefaults__
    owner = (function.__self__,) if isinstance(function, types.MethodType) else ()

    @functools.wraps(plain, assigned=(), updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        found = Generator(functools.partial(run, *owner, *args, **kwargs))
        made: Any = found.items(function(*args, **kwargs))
        _made[made] = found
        return made

    return call


def consumable(iterable: Any) -> Generator | None:
    """What is known of a generator that a recorded loop can consume; None for other iterables."""
    if type(iterable) is not types.GeneratorType or inspect.getgeneratorstate(iterable) != inspect.GEN_CREATED:
        return None
    found = _made.get(iterable)
    return found if found is not None and found.position is None else None
