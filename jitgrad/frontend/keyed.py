"""What the methods of tables with traced keys call (``keyed_tables``), which is not rewritten."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from jitgrad.errors import ConcretizationError, UnsupportedError
from jitgrad.frontend.buckets import as_growing
from jitgrad.frontend.container_changes import setitem
from jitgrad.frontend.growing import Growing, clipped
from jitgrad.frontend.held_lists import held_list
from jitgrad.frontend.indexing import as_value
from jitgrad.frontend.places import ChangesPlaces, Place
from jitgrad.frontend.primitives import cast, iota
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer, is_traced
from jitgrad.ir.location import user_location

#: So many members of a set are put in one by one.
_FEW = 4


def find(table: Any, key: Any) -> Any:
    """The place of a key among those of a table, -1 where it is none of them."""
    _check_key(key)
    keys, trace = table._keys, HOOKS["current_trace"]()
    changed = [owner for scope in trace.scopes for owner, *_ in scope.changed]
    if any(x is y for x in _lists(table) for y in changed):
        raise _changed(table)
    if not (len(keys) if type(keys) is list else keys.size):
        return -1
    if type(keys) is list and not any(map(is_traced, (key, *keys))):
        return keys.index(key) if key in keys else -1
    all_keys = as_numbers(keys)
    places = iota(all_keys, all_keys.dims, 0)
    found: Any = np.max(np.where(np.equal(all_keys, key), places, -1), initial=-1)
    return Tracer(trace, found.value, "int")


def put(table: Any, at: Any, value: Any) -> None:
    """Let the key at a place have this value."""
    if type(table._values) is list and is_traced(at):
        raise _changed(table)
    setitem(table._values, at, value)


def more(table: Any, *entry: Any) -> None:
    """Put a key, and its value, behind the last one."""
    trace: Trace = HOOKS["current_trace"]()
    lists = [getattr(table, name) for name in _names(table)]
    if trace.scopes and any(isinstance(x, Collection) and not any(x is g for g in trace.growing) for x in lists):
        raise _changed(table)
    for name, value in zip(_names(table), entry, strict=True):
        held_list(table, name, False).append(value)


def straight(table: Any, at: Any) -> bool:
    """Is it not known whether there is a key, in code that is not recorded for several times or ways?"""
    return is_traced(at) and not HOOKS["current_trace"]().scopes


def enter(table: Any, at: Any, *entry: Any) -> None:
    """Put a key, and its value, at a place, or behind the last one where that is -1: without a branch, in which no list
    gets longer."""
    trace: Trace = HOOKS["current_trace"]()
    logs: list[Growing] = []
    for name, value in zip(_names(table), entry, strict=True):
        found = getattr(table, name)
        if type(found) is list:
            size = len(found)
            found = as_growing(trace, [*found, value])  # which settles the dtype
            found.count, found.home = size, trace.scope
            setattr(table, name, found)
        logs.append(found)
    absent = at < 0
    for log, value in zip(logs, entry, strict=True):
        count = log.count
        log.append(value)
        for room, leaf in zip(log.rooms, log._leaves, strict=True):
            v = cast(trace.lift(value), leaf.type.dtype)
            HOOKS["setitem"](room, np.where(absent, as_value(trace, count), at), v)
        more = as_value(trace, count) + cast(absent, np.dtype(np.int64))
        log.count = clipped(trace, more, log.rooms[0].dims[0])


def _names(table: Any) -> list[str]:
    return [name for name in ("_keys", "_values") if name in vars(table)]


def _lists(table: Any) -> list[list[Any]]:
    return [x for name in _names(table) if type(x := getattr(table, name)) is list]


def _changed(table: Any) -> ChangesPlaces:
    """The error for lists that recorded code makes longer and reads: something else has to take their places."""
    for name in _names(table):
        held_list(table, name, False)
    return ChangesPlaces(
        "a table with traced keys gets another key in recorded code.",
        user_location(),
        [Place(getattr(table, name), None, True) for name in _names(table)],
    )


def as_numbers(values: Any) -> Tracer:
    """Numbers as an array."""
    if hasattr(type(values), "ordered"):
        return HOOKS["callee"](values.ordered)()
    trace: Trace = HOOKS["current_trace"]()
    if isinstance(values, Collection):
        found = values.array()
    else:
        found = values if isinstance(values, Tracer) else trace.lift(np.array([]) if _is_empty(values) else [*values])
    if found.ndim != 1:
        raise TypeError("unhashable type: a row of an array as a key")
    return found


def is_short(values: Any) -> bool:
    """Is it a list of so few members that they are put in one by one?"""
    return type(values) is list and len(values) <= _FEW


def _is_empty(values: Any) -> bool:
    return not isinstance(values, Tracer) and len(values) == 0


def several(values: Any) -> Any:
    """What a table is made of: numbers. Raises UnsupportedError for anything else."""
    if isinstance(values, (dict, str)) or hasattr(type(values), "value_of"):
        refuse(values, "update")
    return values


def refuse(table: Any, name: Any = "", *_: Any) -> NoReturn:
    """Raise an error for what a table with traced keys can't do."""
    if isinstance(name, str) and name.startswith("_"):
        raise AttributeError(name)
    what = f"the method {name!r}" if isinstance(name, str) and name else "an operator"
    kind = "set" if hasattr(type(table), "ordered") else "dict"
    raise UnsupportedError(
        f"{what} of a {kind} that gets traced keys. Which keys it has is not known while the function is traced. "
        "Keys that are put in, looked up, counted and looped over are followed. Otherwise keep the keys in an array.",
        user_location(),
    )


def refuse_order() -> ValueError:
    """The error for a loop over a set in an order that Python's hash table decides."""
    return ValueError(
        "a loop over a set of traced numbers, which are not small integers from 0 on. Python's order of others depends "
        "on its hash table. Write sorted(s)."
    )


def members(obj: Any) -> Any:
    """What a function works on that does not depend on the order: a set in ascending order; another object as it is."""
    return as_numbers(obj) if hasattr(type(obj), "ordered") and hasattr(obj, "_keys") else obj


def of_keys(key: Any) -> Any:
    """A function of the keys of a table: its ``get`` gives the values of those that it has."""
    table = getattr(key, "__self__", None)
    if table is None or not hasattr(type(table), "value_of") or key.__name__ != "get":
        return key
    return table.value_of


def _check_key(key: Any) -> None:
    if isinstance(key, Tracer) and not key.ndim:
        return
    if not isinstance(key, (bool, int, float, np.number, np.bool_)):
        raise ConcretizationError(
            f"a key of type {type(key).__name__} of a table that gets traced keys. Which key is equal to it is found "
            "when the program runs, for numbers only. Use numbers as keys, such as i * n + j for a pair.",
            user_location(),
        )
