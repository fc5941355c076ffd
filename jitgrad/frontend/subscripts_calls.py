"""What rewritten functions call for assignments to items, for method calls that change containers, and for calls."""

from __future__ import annotations

import collections
import functools
import types
from collections.abc import Callable
from typing import Any

from jitgrad.frontend import assign, attributes, texts
from jitgrad.frontend.carries import UNBOUND
from jitgrad.frontend.chosen_containers import refuse_change
from jitgrad.frontend.held_lists import held_list
from jitgrad.frontend.python_functions import CLASSES, sort_list
from jitgrad.frontend.randomness import drawing
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.tracer import Collection
from jitgrad.frontend.usercode import is_user_class, is_user_function

#: Methods of containers that change them.
_CHANGES = frozenset(
    (
        *("append", "extend", "insert", "pop", "remove", "clear", "reverse", "sort"),
        *("update", "setdefault", "popitem", "add", "discard"),
    )
)


class _Subscript:
    """Gives back what is in the brackets."""

    def __getitem__(self, index: Any) -> Any:
        return index


s_ = _Subscript()


def hint(*values: Callable[[], Any]) -> list[Any]:
    """The objects that there are, of some that a loop may write into."""
    found = []
    for value in values:
        try:
            obj = value()
        except (NameError, AttributeError, LookupError, TypeError):
            continue
        if obj is not UNBOUND:
            found.append(obj)
    return found


def setitem(a: Any, index: Any, value: Any) -> None:
    """``a[index] = value``. A list or dict from outside can't be changed in a recorded region."""
    _note_change(a)
    assign.setitem(a, index, value)


def augitem(a: Any, index: Any, op: str, value: Any) -> None:
    """``a[index] op= value``."""
    _note_change(a)
    assign.augitem(a, index, op, value)


def _note_change(a: Any) -> None:
    """Remember what a list, dict or set held before it is changed in a region."""
    if isinstance(a, (list, dict, set, collections.deque)) and not isinstance(a, Collection):
        trace = HOOKS["current_trace"]()
        if trace is None:
            return
        refuse_change(trace, a)
        if trace.scopes:
            trace.scopes[-1].note_change(a)


def extended(a: Any) -> None:
    """Before ``a += b``."""
    if type(a) is list:
        _note_change(a)


def callee(function: Any) -> Any:
    """What to call in the place of a function: methods and functions of the user's are rewritten too."""
    kind = type(function)
    if kind is type:
        return CLASSES.get(function, function)
    if kind is types.BuiltinMethodType:
        if function is setattr:
            return attributes.set_attribute
        if function is delattr:
            return attributes.delete_attribute
        if function.__name__ in _CHANGES:
            _note_change(function.__self__)
        if function.__name__ == "sort" and type(function.__self__) is list:
            return functools.partial(sort_list, function.__self__)
        return drawing(function)
    if kind is types.FunctionType or kind is types.MethodType or _is_user_object(function):
        recorder = HOOKS["current_recorder"]()
        if recorder is not None and is_user_function(_code_of(function)):
            return recorder.prepare(function)
    return drawing(function) if kind is types.MethodType else function


def show(function: Any, arguments: texts.Arguments) -> Any:
    """``function(*args, **kwargs)`` for what may write a text; ``arguments()`` gives ``args`` and ``kwargs``."""
    to = texts.receiver(function)
    if to is not None:
        return texts.show(to, function, arguments)
    called = callee(function)
    args, kwargs = arguments()
    return called(*args, **kwargs)


def appender(owner: Any, key: Any, item: bool) -> Any:
    """``owner.key.append``, or ``owner[key].append``."""
    return callee(held_list(owner, key, item).append)


def _is_user_object(obj: Any) -> bool:
    return not isinstance(obj, type) and is_user_class(type(obj))


def _code_of(function: Any) -> Any:
    """The Python function that runs when an object is called, if it is one."""
    if isinstance(function, types.MethodType):
        return function.__func__
    return function if isinstance(function, types.FunctionType) else getattr(type(function), "__call__", None)  # noqa: B004
