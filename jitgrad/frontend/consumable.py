"""Generators of the user's that a loop can consume: those that run as plain functions, and have not been started."""

from __future__ import annotations

import functools
import inspect
import types
import weakref
from collections.abc import Callable
from typing import Any

from jitgrad.frontend.syntax import rewrite_generator

#: What runs a generator as a plain function.
_runs: weakref.WeakKeyDictionary[types.GeneratorType[Any, Any, Any], Callable[[], Any]] = weakref.WeakKeyDictionary()


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
        made = function(*args, **kwargs)
        _runs[made] = functools.partial(run, *owner, *args, **kwargs)
        return made

    return call


def run_of(iterable: Any) -> Callable[[], Any] | None:
    """What runs a generator that has not been started; None for other iterables."""
    if type(iterable) is not types.GeneratorType or inspect.getgeneratorstate(iterable) != inspect.GEN_CREATED:
        return None
    return _runs.get(iterable)
