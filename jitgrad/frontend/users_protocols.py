"""Objects of the user's classes where Python asks them by itself: in loops, ``len``, ``in``, conditions, conversions to
numbers and ``with``. The methods that it calls run in their rewritten form, as other methods do."""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any

from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.tracer import is_traced
from jitgrad.frontend.usercode import is_user_class
from jitgrad.frontend.users_operators import USUAL, method

#: Conversions of numbers -> the methods that they ask, in order.
_CONVERSIONS = {"float": ("__float__", "__index__"), "int": ("__int__", "__index__"), "complex": ("__complex__",)}


class Started:
    """``iter(x)`` of what can be looped over by a recorded loop: ``steps``, none of which has been taken."""

    def __init__(self, steps: Any) -> None:
        self.steps = steps
        self._items: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._items is None:
            self._items = iter(self.steps)
        return next(self._items)

    @property
    def begun(self) -> bool:
        """Has an item been taken?"""
        return self._items is not None


class _Taken:
    """The items that ``take`` gives until it raises StopIteration."""

    def __init__(self, take: Callable[[], Any]) -> None:
        self._take = take

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._take()


def iterated(obj: Any) -> Any:
    """What a loop over an object runs over: the object itself, or what the methods of its class say."""
    cls = type(obj)
    if cls in USUAL or not is_user_class(cls):
        return obj
    if (start := method(obj, "__iter__")) is not None:
        found = start()
        if type(found) is Started:
            return found if found.begun else found.steps
        take = method(found, "__next__")
        return found if take is None else _Taken(take)
    if hasattr(cls, "__iter__") or (get := method(obj, "__getitem__")) is None:
        return obj
    size = length(obj) if method(obj, "__len__") is not None else None
    if isinstance(size, int) and not isinstance(size, bool) and _ends(get, size):
        return HOOKS["steps"](0, size, get)
    return _numbered(get)


def _ends(get: Callable[[Any], Any], number: int) -> bool:
    """Does a loop, which goes on until there is no item, end before that number?"""
    try:
        get(number)
    except IndexError:
        return True
    return False


def _numbered(get: Callable[[Any], Any]) -> Iterator[Any]:
    for number in itertools.count():
        try:
            item = get(number)
        except IndexError:
            return
        yield item


def backwards(obj: Any) -> Any:
    """What ``reversed(obj)`` runs over; None for objects that are not the user's."""
    if (start := method(obj, "__reversed__")) is not None:
        return iterated(start())
    get, size = method(obj, "__getitem__"), method(obj, "__len__")
    if get is None or size is None or hasattr(type(obj), "__reversed__"):
        return None
    return HOOKS["runtime"]().reversed_(reversed, HOOKS["steps"](0, size(), get))


def length(obj: Any) -> Any:
    """``len(obj)`` by the method of a class of the user's, which may be traced; None where there is none."""
    found = method(obj, "__len__")
    if found is None:
        return None
    size = found()
    if is_traced(size):
        return size
    size = operator.index(size)
    if size < 0:
        raise ValueError("__len__() should return >= 0")
    return size


def contains(value: Any, container: Any) -> Any:
    """``value in container`` by the method of a class of the user's; None where there is none."""
    found = method(container, "__contains__")
    return None if found is None else _as_bool(truth(found(value)))


def truth(obj: Any) -> Any:
    """The object, or what the methods of its class say of it in a condition."""
    cls = type(obj)
    if cls in USUAL or not is_user_class(cls):
        return obj
    if (found := method(obj, "__bool__")) is not None:
        result = found()
        if is_traced(result) or isinstance(result, bool):
            return result
        raise TypeError(f"__bool__ should return bool, returned {type(result).__name__}")
    if hasattr(cls, "__bool__") or (size := length(obj)) is None:
        return obj
    return size != 0


def _as_bool(x: Any) -> Any:
    return HOOKS["python_number"](x, "bool", "bool()") if is_traced(x) else bool(x)


def number(obj: Any, kind: str) -> Any:
    """What the method of a class of the user's gives for ``float(obj)``, ``int(obj)`` or ``complex(obj)``; else the
    object."""
    if type(obj) in USUAL or not is_user_class(type(obj)):
        return obj
    found = (method(obj, name) for name in _CONVERSIONS[kind])
    return next((convert() for convert in found if convert is not None), obj)


class _Managed:
    """An object of the user's as the context of a ``with``."""

    def __init__(self, enter: Callable[[], Any], leave: Callable[..., Any]) -> None:
        self._enter, self._leave = enter, leave

    def __enter__(self) -> Any:
        return self._enter()

    def __exit__(self, *error: Any) -> Any:
        return self._leave(*error)


def managed(context: Any) -> contextlib.AbstractContextManager[Any]:
    """The context of a ``with`` statement."""
    enter, leave = method(context, "__enter__"), method(context, "__exit__")
    if enter is None and leave is None:
        return context
    cls = type(context)
    if not hasattr(cls, "__enter__") or not hasattr(cls, "__exit__"):
        return context  # Python says what it lacks
    return _Managed(enter or context.__enter__, leave or context.__exit__)
