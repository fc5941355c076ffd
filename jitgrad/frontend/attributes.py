"""Attributes in traced functions. What is assigned to them is noted, as changes of containers are, so that recorded
code can carry it. The code of the user's that a read or an assignment runs is run in its rewritten form: properties,
other descriptors, ``__getattr__`` and ``__setattr__``."""

from __future__ import annotations

import collections
import functools
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from jitgrad.errors import RollError
from jitgrad.frontend.chosen_containers import refuse_change
from jitgrad.frontend.complex_pair import Pair
from jitgrad.frontend.fixed import refuse_attributes
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import CELL, Scope
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer, contains_tracer
from jitgrad.frontend.usercode import is_user_class, is_user_function
from jitgrad.frontend.users_operators import USUAL, method
from jitgrad.ir.location import user_location

_MISSING = object()
_NOTHING: dict[str, Any] = {}
#: What reads attributes of objects and of classes, unless a class has a method of its own for it.
_READERS = (object.__getattribute__, type.__getattribute__)


def read(owner: Any, name: str) -> Any:
    """``owner.name``."""
    try:
        return _found(owner, name)
    except AttributeError:
        _note_missing(owner, name)
        raise


def _note_missing(owner: Any, name: str) -> None:
    """Take note of an attribute that code has looked for, and not found. Its object may go."""
    trace: Trace | None = HOOKS["current_trace"]()
    if trace is not None and trace.scopes and hasattr(type(owner), "__weakref__"):
        trace.missing.append((weakref.ref(owner), name))


def _found(owner: Any, name: str) -> Any:
    cls = type(owner)
    if cls in USUAL:
        return getattr(owner, name)
    if cls.__getattribute__ is object.__getattribute__:  # most reads are of what an object holds, or of a method
        for base in cls.__mro__:
            members = base.__dict__
            if name in members:
                if type(members[name]) is types.FunctionType:
                    return getattr(owner, name)
                break
        else:
            found = getattr(owner, "__dict__", _NOTHING).get(name, _MISSING)
            if found is not _MISSING:
                return found
    elif cls is super:
        return _read_super(owner, name)
    if not is_user_class(cls):
        return getattr(owner, name)
    if getattr(cls, "__getattr__", None) is None:
        return _read(owner, cls, name)
    try:
        return _read(owner, cls, name)
    except AttributeError:
        if (made_up := method(owner, "__getattr__")) is None:
            raise
    return made_up(name)


def _read(owner: Any, cls: type, name: str) -> Any:
    """What is found without ``__getattr__``."""
    if name == "__dict__":
        refuse_attributes(owner)
        _note_missing(owner, name)  # who gets it may look for any
    if cls.__getattribute__ not in _READERS and (reader := method(owner, "__getattribute__")) is not None:
        return reader(name)
    found = _described(cls.__mro__, name)
    getter = None if found is _MISSING else _getter(found, owner, cls, name)
    plain: Any = cls.__getattribute__
    return plain(owner, name) if getter is None else getter()


def _read_super(owner: Any, name: str) -> Any:
    """``super().name``: an attribute of a class further up."""
    held, cls = owner.__self__, owner.__self_class__
    if held is None or cls is held or not is_user_class(cls):
        return getattr(owner, name)
    found = _described(cls.__mro__[cls.__mro__.index(owner.__thisclass__) + 1 :], name)
    getter = _getter(found, held, cls, name) if isinstance(found, property) else None
    return getattr(owner, name) if getter is None else getter()


def _described(classes: Iterable[type], name: str) -> Any:
    for base in classes:
        members = base.__dict__
        if name in members:
            return members[name]
    return _MISSING


def _getter(found: Any, owner: Any, cls: type, name: str) -> Callable[[], Any] | None:
    """What gives an attribute that a class describes, where that is code of the user's."""
    kind = type(found)
    if kind is types.FunctionType:
        return None
    if isinstance(found, property):
        if kind.__get__ is not property.__get__ or not is_user_function(found.fget):
            return None
        return _bound(found.fget, owner)
    if isinstance(found, functools.cached_property):
        if name in owner.__dict__ or found.attrname != name or not is_user_function(found.func):
            return None
        return functools.partial(_cached, found, owner, name)
    if kind in USUAL or not hasattr(kind, "__get__") or (get := method(found, "__get__")) is None:
        return None
    if name in getattr(owner, "__dict__", {}) and not hasattr(kind, "__set__") and not hasattr(kind, "__delete__"):
        return None
    return functools.partial(get, owner, cls)


def _bound(function: Any, owner: Any) -> Callable[..., Any]:
    """A function of the user's as a method, rewritten."""
    return HOOKS["callee"](types.MethodType(function, owner))


def _cached(found: functools.cached_property[Any], owner: Any, name: str) -> Any:
    """The value of a property that is computed once, and kept in the object as an attribute."""
    value = _bound(found.func, owner)()
    trace: Trace | None = HOOKS["current_trace"]()
    if trace is not None:
        refuse_change(trace, owner)
        trace.scope.note_change(owner, name)
    owner.__dict__[name] = value
    return value


def called(owner: Any, name: str) -> Any:
    """What to call for ``owner.name(...)``."""
    return HOOKS["callee"](read(owner, name))


def getattr_(owner: Any, name: Any, *default: Any) -> Any:
    """``getattr``."""
    if not isinstance(name, str):
        return getattr(owner, name, *default)
    try:
        return read(owner, name)
    except AttributeError:
        if not default:
            raise
    return default[0]


def hasattr_(owner: Any, name: Any, /) -> bool:
    """``hasattr``."""
    return hasattr(owner, name) if type(owner) in USUAL else getattr_(owner, name, _MISSING) is not _MISSING


def attribute(owner: Any, name: str) -> Any:
    """The owner of an attribute that is about to be assigned to."""
    trace = HOOKS["current_trace"]()
    if trace is None or isinstance(owner, (Tracer, Pair)):
        return owner
    if (setter := _setter(owner, name)) is not None:
        return _WithSetter(owner, setter)
    refuse_change(trace, owner)
    trace.scope.note_change(owner, name)
    return owner


def _setter(owner: Any, name: str) -> Callable[[Any], Any] | None:
    """What assigns to an attribute, where that is code of the user's."""
    cls = type(owner)
    if cls in USUAL:
        return None
    if not is_user_class(cls):
        return None
    if cls.__setattr__ is not object.__setattr__ and (assign := method(owner, "__setattr__")) is not None:
        if assign.__func__.__code__.co_filename != "<string>":  # a frozen dataclass says no
            return functools.partial(assign, name)
        return None
    found = _described(cls.__mro__, name)
    if isinstance(found, property):
        return _bound(found.fset, owner) if is_user_function(found.fset) else None
    assign = None if found is _MISSING else method(found, "__set__")
    return None if assign is None else functools.partial(assign, owner)


def note_change(a: Any) -> None:
    """Remember what a list, dict or set held before it is changed in a region. Raises MutationError for one of which it
    is not known which it is."""
    if isinstance(a, (list, dict, set, collections.deque)) and not isinstance(a, Collection):
        trace = HOOKS["current_trace"]()
        if trace is None:
            return
        refuse_change(trace, a)
        if trace.scopes:
            trace.scopes[-1].note_change(a)


def note_variables(read: Callable[[], Any]) -> tuple[Scope, list[Any]] | None:
    """Take note of variables that a function or a part of one assigns, and other functions see (``nonlocal``), by a
    function that reads them; for :func:`handed_over`. They are what their cells hold."""
    trace: Trace | None = HOOKS["current_trace"]()
    if trace is None:
        return None
    return trace.scope, [cell for cell in read.__closure__ or () if trace.scope.note_change(cell, CELL)]


def own_variables(read: Callable[[], Any]) -> None:
    """The variables of a function that starts, which closures assign, by a function that reads them."""
    trace: Trace | None = HOOKS["current_trace"]()
    if trace is not None:
        trace.shared.update((id(cell), (cell, trace.scope)) for cell in read.__closure__ or ())


def handed_over(noted: tuple[Scope, list[Any]] | None, state: Any) -> Any:
    """``state``, by which the part of a function hands over what it assigned: there is no other change."""
    if noted is not None:
        scope, cells = noted
        for cell in cells:
            scope.forget(cell)
    return state


def keeping_globals(fun: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    """A function that assigns ``global`` names, which runs as it is. In code that is recorded once, whichever way is
    taken and however often it runs, it raises RollError if it has changed one, which holds what it held again. What
    was None may get an untraced value: that is made once, and kept."""

    @functools.wraps(fun)
    def run(*args: Any, **kwargs: Any) -> Any:
        trace: Trace | None = HOOKS["current_trace"]()
        if trace is None or not trace.scopes:
            return fun(*args, **kwargs)
        variables = fun.__globals__
        before = {name: variables.get(name, _MISSING) for name in names}
        changed: list[str] = []
        done = False
        try:
            result = fun(*args, **kwargs)
            done = True
        finally:
            for name, old in before.items():
                new = variables.get(name, _MISSING)
                if new is old or (done and (old is None or old is _MISSING) and not contains_tracer((new,))):
                    continue
                changed.append(name)
                if old is _MISSING:
                    del variables[name]
                else:
                    variables[name] = old
        if changed:
            raise RollError(
                f"{fun.__qualname__} assigns the global variable {changed[0]!r} in {trace.scope.what}, which is "
                "recorded once: the variables of modules are Python's, which runs only while the function is traced. "
                "Return the value, or keep it in an attribute or in a variable of a function around (nonlocal).",
                user_location(),
            )
        return result

    return run


def augmented_attribute(owner: Any, name: str) -> Any:
    """The owner of an attribute, before ``owner.name op= b``, which changes in place what it holds if that is a
    container."""
    note_change(getattr(owner, "__dict__", {}).get(name))
    return attribute(owner, name)


class _WithSetter:
    """An object in an assignment to an attribute of it: what the setter changes is noted, as in every function."""

    __slots__ = ("_owner", "_setter")

    def __init__(self, owner: Any, setter: Callable[[Any], Any]) -> None:
        object.__setattr__(self, "_owner", owner)
        object.__setattr__(self, "_setter", setter)

    def __getattribute__(self, name: str) -> Any:
        return read(object.__getattribute__(self, "_owner"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__getattribute__(self, "_setter")(value)


def set_attribute(owner: Any, name: str, value: Any) -> None:
    """``setattr(owner, name, value)``."""
    setattr(attribute(owner, name), name, value)


def set_plainly(owner: Any, name: str, value: Any) -> None:
    """``object.__setattr__(owner, name, value)``."""
    trace = HOOKS["current_trace"]()
    if trace is not None and not isinstance(owner, (Tracer, Pair)):
        refuse_change(trace, owner)
        trace.scope.note_change(owner, name)
    object.__setattr__(owner, name, value)


def delete_attribute(owner: Any, name: str) -> None:
    """``delattr(owner, name)``."""
    trace = HOOKS["current_trace"]()
    if trace is not None:
        refuse_change(trace, owner)
        trace.scope.note_change(owner, name)
    delattr(owner, name)
