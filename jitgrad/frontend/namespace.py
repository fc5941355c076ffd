"""Stand-ins for NumPy's and SciPy's modules and functions that also take traced values."""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy as np

from jitgrad.errors import ConcretizationError
from jitgrad.frontend.concrete import adopt, adopt_made
from jitgrad.frontend.registry import ADVICE, FUNCTIONS, WRITERS, call, unsupported
from jitgrad.frontend.tracer import Collection, contains_tracer
from jitgrad.frontend.ufuncs import array_ufunc


class UfuncWrapper:
    """A ufunc that also takes lists with traced values in them; everything else is the ufunc's."""

    def __init__(self, ufunc: np.ufunc) -> None:
        self.__wrapped__ = ufunc
        self.__doc__ = ufunc.__doc__
        self.__name__ = ufunc.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if contains_tracer(args) or "out" in kwargs:
            return array_ufunc(self.__wrapped__, "__call__", tuple(map(_as_array, args)), kwargs)
        return adopt(self.__wrapped__(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__wrapped__, name)
        return functools.partial(_of_arrays, found) if callable(found) else found

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __reduce__(self) -> tuple[Any, ...]:
        return wrap, (self.__wrapped__,)

    def __eq__(self, other: object) -> bool:
        return other is self.__wrapped__ or (isinstance(other, UfuncWrapper) and other.__wrapped__ is self.__wrapped__)

    def __hash__(self) -> int:
        return hash(self.__wrapped__)


def _of_arrays(method: Any, *args: Any, **kwargs: Any) -> Any:
    """A method of a ufunc, which NumPy routes where traced arrays are given, of lists with traced values in them. A
    tuple of arrays is an index of ``at``."""
    lists = (list, Collection) if method.__name__ == "at" else (list, tuple, Collection)
    arrays = [call(np.array, (a,), {}) if isinstance(a, lists) and contains_tracer(a) else a for a in args]
    return method(*arrays, **kwargs)


@functools.cache
def wrap(function: Any) -> Any:
    """The function with traced arguments routed to its handler, or to a clear error where there is none. Without them
    it is the original."""
    if isinstance(function, np.ufunc):
        return UfuncWrapper(function)

    @functools.wraps(function)
    def routed(*args: Any, **kwargs: Any) -> Any:
        if contains_tracer(args) or contains_tracer(kwargs):
            return call(function, tuple(map(_as_array, args)), kwargs)
        return adopt_made(function, args, kwargs)

    return routed


def _as_array(obj: Any) -> Any:
    """What stands for a list as the array that NumPy makes of it."""
    return obj.array() if isinstance(obj, Collection) else obj


@functools.cache
def tried(function: Any) -> Any:
    """A function of SciPy without a handler. Some are made of functions that have one; of the others the error says
    that they don't take traced values, and not what inside of them did not."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return adopt_made(function, args, kwargs)
        except ConcretizationError:
            if contains_tracer(args) or contains_tracer(kwargs):
                raise unsupported(function) from None
            raise

    return run


def stand_in(value: Any) -> Any:
    """What a mirrored module gives for one of its attributes: functions with a handler (or with advice why there is
    none) are wrapped, everything else is the original object."""
    if isinstance(value, np.ufunc):
        return wrap(value)
    if not callable(value) or isinstance(value, type):
        return value
    try:
        if value in FUNCTIONS or value in WRITERS or value in ADVICE:
            return wrap(value)
    except TypeError:  # unhashable
        return value
    return value


class Mirror(types.ModuleType):
    """A module that gives the attributes of another, with stand-ins for what takes traced values."""

    def __init__(self, original: Any, name: str, submodules: dict[str, Any], extra: dict[str, Any]) -> None:
        super().__init__(name, original.__doc__)
        self.__dict__["_original"] = original
        self.__dict__.update(submodules)
        self.__dict__.update(extra)

    def __getattr__(self, name: str) -> Any:
        value = stand_in(getattr(self.__dict__["_original"], name))
        self.__dict__[name] = value
        return value

    def __dir__(self) -> list[str]:
        return sorted({*dir(self.__dict__["_original"]), *(k for k in self.__dict__ if not k.startswith("_"))})
