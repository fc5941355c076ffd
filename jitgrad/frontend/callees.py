"""What is called in the place of a function that a traced function calls: the user's own functions, methods and classes
in their rewritten form; methods of generators as draws; and others' code with what stands for generators in it.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.frontend import attributes, plain_lists
from jitgrad.frontend.consumable import noting
from jitgrad.frontend.fixed import searching
from jitgrad.frontend.held_lists import seek_in_closure
from jitgrad.frontend.python_functions import class_call, sort_list
from jitgrad.frontend.randomness import drawing, passed, refuse_new
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.frontend.tracer import contains_tracer
from jitgrad.frontend.usercode import call_method, is_user_class, is_user_function

#: Methods of containers that change them.
_CHANGES = frozenset(
    (
        *("append", "extend", "insert", "pop", "remove", "clear", "reverse", "sort"),
        *("appendleft", "extendleft", "popleft", "rotate"),
        *("update", "setdefault", "popitem", "add", "discard"),
    )
)

#: Methods of containers that look for an object.
_SEARCHES = frozenset(("index", "count", "remove", "get", "pop", "setdefault", "add", "discard"))

#: Methods of arrays that take other arrays and change nothing, with the parameters of NumPy's functions.
_OF_ARRAYS = frozenset(
    (
        "all",
        "any",
        "choose",
        "clip",
        "dot",
        "max",
        "mean",
        "min",
        "prod",
        "repeat",
        "searchsorted",
        "std",
        "sum",
        "take",
        "var",
    )
)

_CONTAINERS = (list, dict, set, tuple, collections.deque)


def callee(function: Any) -> Any:
    """What to call in the place of a function: methods and functions of the user's are rewritten too."""
    kind = type(function)
    if isinstance(function, type):
        made = class_call(function)
        return made if made is not None else _maker(function) or _others(function)
    if kind is types.BuiltinMethodType:
        if function is setattr:
            return attributes.set_attribute
        if function is delattr:
            return attributes.delete_attribute
        if function.__name__ in _CHANGES:
            attributes.note_change(function.__self__)
        if function.__name__ == "sort" and type(function.__self__) is list:
            return functools.partial(sort_list, function.__self__)
        if type(function.__self__) in (list, tuple) and function.__name__ in plain_lists.METHODS:
            return plain_lists.method(function)
        if isinstance(function.__self__, _CONTAINERS):
            return searching(function) if function.__name__ in _SEARCHES else function
        if type(function.__self__) is np.ndarray and function.__name__ in _OF_ARRAYS:
            return functools.partial(_array_method, function)
        return _others(function)
    if function is dataclasses.replace:
        return _replaced
    if function is object.__setattr__:
        return attributes.set_plainly
    if kind is types.MethodWrapperType and _is_plain_setter(function):  # super().__setattr__
        return functools.partial(attributes.set_plainly, function.__self__)
    if kind is functools.partial:
        return functools.partial(callee(function.func), *function.args, **function.keywords)
    if kind is types.FunctionType or kind is types.MethodType or _is_user_object(function):
        recorder = HOOKS["current_recorder"]()
        if is_user_function(_code_of(function)):
            if recorder is None:
                return function
            prepared = recorder.prepare(function)
            seek_in_closure(prepared)
            return noting(prepared)
    return _others(function)


def _array_method(function: Any, *args: Any, **kwargs: Any) -> Any:
    """A method of an array that is none of the trace, as one that an object from outside holds. Others than ufuncs
    don't ask their arguments whether they are traced."""
    if not contains_tracer((args, kwargs)):
        return function(*args, **kwargs)
    return call(getattr(np, function.__name__), (function.__self__, *args), kwargs)


def _is_plain_setter(function: types.MethodWrapperType) -> bool:
    return function.__name__ == "__setattr__" and function.__objclass__ is object


def _is_user_object(obj: Any) -> bool:
    return not isinstance(obj, type) and is_user_class(type(obj))


def _code_of(function: Any) -> Any:
    """The Python function that runs when an object is called, if it is one."""
    if isinstance(function, types.MethodType):
        return function.__func__
    return function if isinstance(function, types.FunctionType) else call_method(function)


def _others(function: Any) -> Any:
    """A function that runs as it is. It calls no method of a generator itself: that would draw while it is traced."""
    if HOOKS["current_trace"]() is None:
        return function
    found = drawing(function)
    if found is not function:
        return found
    found = _of_scipy(function)
    if found is not None:
        return found

    @functools.wraps(function, assigned=(), updated=())
    def run(*args: Any, **kwargs: Any) -> Any:
        result = function(*map(passed, args), **{name: passed(x) for name, x in kwargs.items()})
        refuse_new(function, result)
        return result

    return run


def _of_scipy(function: Any) -> Any:
    """What stands for an interpolant that an attribute or an item holds, or for a method of one; None for others."""
    of = function.__self__ if isinstance(function, types.MethodType) else function
    if not type(of).__module__.startswith("scipy.interpolate"):
        return None
    from jitgrad.frontend.substitute_table import replacement

    found = replacement(of)
    return found if of is function or found is None else getattr(found, function.__name__, None)


def _maker(cls: type) -> Callable[..., Any] | None:
    """What makes objects of a class of the user's, with its ``__init__`` rewritten; None for other classes."""
    recorder = HOOKS["current_recorder"]()
    init: Any = cls.__init__
    plain = type(cls).__call__ is type.__call__ and cls.__new__ is object.__new__
    if recorder is None or not plain or not is_user_function(init):
        return None

    def make(*args: Any, **kwargs: Any) -> Any:
        obj: Any = object.__new__(cls)
        after = getattr(obj, "__post_init__", None) if dataclasses.is_dataclass(cls) else None
        held = getattr(obj, "__dict__", None)
        if held is not None and isinstance(after, types.MethodType):
            # dataclasses writes the __init__, which calls what it finds in the object first.
            held["__post_init__"] = callee(after)
        try:
            recorder.prepare(init)(obj, *args, **kwargs)
        finally:
            if held is not None and isinstance(after, types.MethodType):
                held.pop("__post_init__", None)
        HOOKS["current_trace"]().scope.forget(obj)
        return obj

    return make


def _replaced(obj: Any, /, **changes: Any) -> Any:
    """``dataclasses.replace``."""
    cls = type(obj)
    of_users = dataclasses.is_dataclass(cls) and _is_user_object(obj)
    if not of_users or any(not f.init and f.name in changes for f in dataclasses.fields(obj)):
        return dataclasses.replace(obj, **changes)
    held = {f.name: getattr(obj, f.name) for f in dataclasses.fields(obj) if f.init and f.name not in changes}
    return callee(cls)(**held, **changes)


HOOKS["callee"] = callee
