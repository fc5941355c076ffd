"""Assignments to attributes in traced functions, and changes of containers: both are noted, so that recorded code can
carry them."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterable
from typing import Any

from jitgrad.errors import RollError
from jitgrad.frontend.chosen_containers import refuse_change
from jitgrad.frontend.complex_pair import Pair
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import CELL, Scope
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer, contains_tracer
from jitgrad.frontend.usercode import is_user_function
from jitgrad.ir.location import user_location

_MISSING = object()


def attribute(owner: Any, name: str) -> Any:
    """The owner of an attribute that is about to be assigned to."""
    trace = HOOKS["current_trace"]()
    if trace is None or isinstance(owner, (Tracer, Pair)):
        return owner
    found = getattr(type(owner), name, None)
    if type(found) is property and is_user_function(found.fset):
        return _WithSetter(owner, name, HOOKS["current_recorder"]().prepare(found.fset))
    refuse_change(trace, owner)
    trace.scope.note_change(owner, name)
    return owner


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
    """An object in an assignment to a property of it: what the setter changes is noted, as in every function."""

    __slots__ = ("_name", "_owner", "_setter")

    def __init__(self, owner: Any, name: str, setter: Callable[[Any, Any], None]) -> None:
        for slot, value in zip(("_owner", "_name", "_setter"), (owner, name, setter), strict=True):
            object.__setattr__(self, slot, value)

    def __getattribute__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_owner"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__getattribute__(self, "_setter")(object.__getattribute__(self, "_owner"), value)


def set_attribute(owner: Any, name: str, value: Any) -> None:
    """``setattr(owner, name, value)``."""
    setattr(attribute(owner, name), name, value)


def delete_attribute(owner: Any, name: str) -> None:
    """``delattr(owner, name)``."""
    trace = HOOKS["current_trace"]()
    if trace is not None:
        refuse_change(trace, owner)
        trace.scope.note_change(owner, name)
    delattr(owner, name)
