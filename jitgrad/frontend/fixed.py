"""Objects that have to stay as they are, as a list that lies in arrays has copies of what they hold.

An item of such a list (``growing``) is an object only while the function is traced: one that was appended, whose
attributes are in the arrays by now, or one that is made of what the arrays hold at an index. Python would show a change
of it in the list, by every name. Here a change of it is refused, for as long as the code that is recorded may use it.
Which of them are one and the same object is not known either, so they are not compared as objects.
"""

from __future__ import annotations

import collections
import functools
import sys
from collections.abc import Iterable, Sequence
from types import CellType
from typing import Any, NamedTuple

import numpy as np

from jitgrad.errors import MutationError, RollError
from jitgrad.frontend.bucket_tables import refuse_traced_number
from jitgrad.frontend.objects import held_by, is_plain
from jitgrad.frontend.references import other_references
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer
from jitgrad.ir.index import Dim
from jitgrad.ir.location import user_location


class Fixed(NamedTuple):
    """An object that has to stay as it is, for the list ``source``. ``lasts``: for all that follows, where it can be
    reached from outside of the region that is recorded. ``appended``: the list got it here, as the item of this number.
    ``held``: another object of these holds it. ``certain``: it is there at the end of the region, as no
    branch and no inner loop has put it there."""

    obj: Any
    source: Any
    lasts: bool
    appended: Dim | None
    held: bool
    certain: bool = True


def is_object(x: Any) -> bool:
    """Has it attributes that can be assigned to?"""
    params = getattr(type(x), "__dataclass_params__", None)
    return not params.frozen if params is not None else is_plain(type(x))


def is_cell(x: Any) -> bool:
    return (type(x) in (list, dict) and not isinstance(x, Collection)) or is_object(x)


def objects_in(value: Any) -> list[Any]:
    """The objects that a value is, or holds."""
    if isinstance(value, (Tracer, int, float, np.generic, np.ndarray)):
        return []
    return [x for x in held_by((value,)) if is_object(x)]


def fix(trace: Trace, value: Any, source: Any, *, lasts: bool = True, appended: Dim | None = None) -> None:
    """Let the objects and containers in an item of a list stay as they are. Raises RollError for one that gets into a
    list and is an item of one."""
    if isinstance(value, (Tracer, int, float, np.generic, np.ndarray)):
        return
    for k, x in enumerate(held_by((value,))):
        if is_cell(x):
            if appended is not None and fixed(trace, x) is not None:
                raise RollError("a list gets an object that is an item of a list.", user_location())
            trace.scope.fixed[id(x)] = Fixed(x, source, lasts, appended, k > 0)


def fixed(trace: Trace, obj: Any) -> Fixed | None:
    """What is known of an object that has to stay as it is; None for others."""
    for scope in (*reversed(trace.scopes), trace.top):
        found = scope.fixed.get(id(obj))
        if found is not None:
            return found
    return None


class ItemChanged(MutationError):
    """A change of an object that has to stay as it is."""


def refuse_fixed(trace: Trace, obj: Any) -> None:
    """Raise MutationError for a change of an object that has to stay as it is."""
    if fixed(trace, obj) is not None:
        raise ItemChanged(
            f"a {type(obj).__name__} is changed that is an item of a list in recorded code, or that an item holds. The "
            "list has what it holds in arrays, and would not show the change. Change it before it is appended, put a "
            "new object into the list, or keep what changes in an array.",
            user_location(),
        )


def refuse_names(trace: Trace, source: Any) -> None:
    """An item of a list is written, that is a list. Raises RollError where a list which was appended can still be seen
    by another name, that would not show it."""
    rows = [one.obj for s in (trace.top, *trace.scopes) for one in s.fixed.values() if one.source is source]
    if any(n >= 0 for n in other_references(trace, rows)):
        raise RollError("it writes into an item of a list that has another name.", user_location())


def appended_objects(trace: Trace, state: Sequence[Any]) -> dict[int, Fixed]:
    """At the end of an iteration which leaves these variables: those which stand for an object that it has appended.
    Raises RollError for an appended object that others refer to: one that was there before, or is appended twice, or
    that something holds which the loop does not carry."""
    known = [e for e in trace.scope.fixed.values() if e.appended is not None]
    if not known:
        return {}
    others = other_references(trace, [e.obj for e in known])
    for e, n in zip(known, others, strict=True):
        # A variable of the loop is one of the program too. Attributes that the body has assigned will be carried.
        carried = 2 * sum(e.obj is x for x in state) + sum(_holds(change, e.obj) for change in trace.scope.changed)
        if n >= (1 if e.held else carried) or _is_chosen(trace, e.obj):
            raise RollError(
                "a list gets an object that has other names, or was made before: Python would show a change of it by "
                "all of them.",
                user_location(),
            )
    return {n: e for n, x in enumerate(state) for e in known if e.obj is x}


def _holds(change: tuple[Any, str | None, Any], obj: Any) -> bool:
    owner, name, _ = change
    return name is not None and type(owner) is not CellType and getattr(owner, name, None) is obj


def _is_chosen(trace: Trace, obj: Any) -> bool:
    """May it be another object that there still is?"""
    for value, *ways in trace.alternatives:
        if value is obj and any(n >= 0 for n in other_references(trace, ways)):
            return True
    return False


def is_same(a: Any, b: Any) -> bool:
    """``a is b``."""
    refuse_comparison(a, b)
    return a is b


def refuse_equality(a: Any, b: Any) -> None:
    """Raise RollError for ``a == b`` of such objects, where that means ``a is b``."""
    if type(a).__eq__ is object.__eq__ and type(b).__eq__ is object.__eq__:
        refuse_comparison(a, b)


def refuse_key(x: Any, keys: Iterable[Any] = ()) -> None:
    """Raise RollError for a key or member that is such an object, or is looked for where one is."""
    if is_object(x) and any(scope.fixed for scope in _scopes()):
        for y in (x, *keys):
            refuse_comparison(x, y)


def refuse_search(x: Any, container: Any) -> None:
    """Raise RollError for ``x`` that is looked for in a container where such objects would be found by identity."""
    if isinstance(container, (dict, set, frozenset)):
        refuse_key(x, container)
    elif isinstance(container, (list, tuple, collections.deque)) and is_object(x):
        for y in () if isinstance(container, Collection) else container:
            refuse_equality(x, y)


def searching(function: Any) -> Any:
    """A method of a container that looks for its first argument."""

    @functools.wraps(function, assigned=(), updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        if args:
            refuse_search(args[0], function.__self__)
            owner, reads = function.__self__, function.__name__ == "get"
            if refuse_traced_number(owner, args[0], args[1] if len(args) > 1 else 0, reads=reads):
                return HOOKS["callee"](HOOKS["keyed_table"](owner).get)(*args, **kwargs)
        return function(*args, **kwargs)

    return call


def id_(x: Any, /) -> int:
    """``id``."""
    refuse_key(x)
    return id(x)


def hash_(x: Any, /) -> int:
    """``hash``."""
    refuse_key(x)
    return hash(x)


def refuse_attributes(obj: Any) -> None:
    """Raise RollError for what an object holds as a dict, which can be changed, of such an object."""
    trace = HOOKS["current_trace"]()
    if trace is not None and fixed(trace, obj) is not None:
        raise RollError(f"the __dict__ of a {type(obj).__name__} is used that is an item of a list.", user_location())


def vars_(*args: Any) -> Any:
    """``vars``."""
    for obj in args:
        refuse_attributes(obj)
    return vars(*args) if args else sys._getframe(1).f_locals


def _scopes() -> Sequence[Any]:
    trace: Trace | None = HOOKS["current_trace"]()
    return () if trace is None else (trace.top, *trace.scopes)


def refuse_comparison(a: Any, b: Any) -> None:
    """Raise RollError where it is asked whether two objects are the same one, and either is such an object."""
    if not (is_object(a) and is_object(b)):
        return
    trace = HOOKS["current_trace"]()
    if trace is not None and (fixed(trace, a) is not None or fixed(trace, b) is not None):
        raise RollError(
            f"a {type(a).__name__} that is an item of a list in recorded code is compared with another object. Whether "
            "they are the same one is not known while the function is traced. Compare their indices, or numbers that "
            "they hold.",
            user_location(),
        )
