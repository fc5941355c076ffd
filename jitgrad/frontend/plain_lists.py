"""Methods of Python's own lists and tuples of numbers, with traced numbers for what is looked for, or where.

``index``, ``count`` and ``remove`` compare the numbers as an array. What ``remove``, ``pop``, ``insert`` and ``del``
leave of a list at a traced place is a selection of its numbers: the list has a known length before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.frontend.assign import getitem, set_at
from jitgrad.frontend.carries import is_number
from jitgrad.frontend.complex_pair import holds_complex
from jitgrad.frontend.fixed import searching
from jitgrad.frontend.indexing import as_value, position
from jitgrad.frontend.items import elements
from jitgrad.frontend.primitives import cast, common_dtype, strong
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.frontend.trace import WEAK_DTYPES, Trace
from jitgrad.frontend.tracer import Tracer, contains_tracer, has_traced

#: The methods whose first argument is compared with the numbers, and those where it is a place.
_COMPARE, _PLACE = {"index", "count", "remove"}, {"pop", "insert"}
METHODS = _COMPARE | _PLACE


def method(function: Callable[..., Any]) -> Callable[..., Any]:
    """What to call in the place of a method of a list or tuple, which is one of those. A list is noted as changed."""
    items, name = function.__self__, function.__name__  # pyright: ignore[reportFunctionMemberAccess]
    other = searching(function)

    def run(*args: Any) -> Any:
        traced = has_traced(args[:1]) or (bool(args) and name in _COMPARE and has_traced([*items, *args]))
        return _FUNCTIONS[name](items, *args) if traced and _of_numbers((*items, *args)) else other(*args)

    return run


def delete(items: list[Any], index: Any) -> bool:
    """``del items[index]`` at a traced place; False where that is for Python to do."""
    if type(items) is not list or not has_traced(index) or isinstance(index, slice) or not _of_numbers(items):
        return False
    _pop(items, index)
    return True


def assign(items: list[Any], index: Any, value: Any) -> bool:
    """``items[index] = value`` at a traced place; False where that is for Python to do."""
    if type(items) is not list or isinstance(index, slice) or not has_traced(index):
        return False
    if not items or not _of_numbers((*items, value)) or holds_complex((*items, value)):
        return False
    trace: Trace = HOOKS["current_trace"]()
    at = Tracer(trace, as_value(trace, position(trace, index, len(items))).value, "int")
    kinds = {_kind(x) for x in (*items, value)}
    old = strong(trace.lift(_array(items)))
    dtype = common_dtype(old, strong(trace.lift(value)))
    found = set_at(cast(old, dtype), at, value)
    items[:] = elements(found, scalar=True, weak=_python_kind(kinds))
    return True


def _of_numbers(values: Sequence[Any]) -> bool:
    return all(is_number(x) and not np.ndim(x) for x in values)


def _array(values: Sequence[Any]) -> Any:
    return (HOOKS["array"] if contains_tracer(values) else np.array)(list(values))


def _hits(items: Sequence[Any], value: Any) -> Any:
    return _array(items) == value


def _index(items: Sequence[Any], value: Any, *bounds: Any) -> Tracer:
    here = range(*slice(*bounds or (None,), *(None,) * (len(bounds) == 1)).indices(len(items)))
    hits = _hits(items[here.start : here.stop], value)
    demand(call(np.any, (hits,), {}), ValueError("a value is not in list"))
    return _python_int(call(np.argmax, (hits,), {}) + here.start)


def _count(items: Sequence[Any], value: Any) -> Tracer:
    return _python_int(call(np.count_nonzero, (_hits(items, value),), {}))


def _remove(items: list[Any], value: Any) -> None:
    _take_out(items, _index(items, value))


def _pop(items: list[Any], index: Any) -> Any:
    trace: Trace = HOOKS["current_trace"]()
    at = Tracer(trace, as_value(trace, position(trace, index, len(items))).value, "int")
    found = getitem(items, at)
    _take_out(items, at)
    return found


def _insert(items: list[Any], index: Any, value: Any) -> None:
    n = len(items)
    at = np.clip(np.where(index < 0, index + n, index), 0, n)
    places = np.arange(n + 1)
    _become(items, [*items, value], np.where(places == at, n, places - (places > at)))


def _take_out(items: list[Any], at: Tracer) -> None:
    places = np.arange(len(items) - 1)
    _become(items, items, places + (places >= at))


def _become(items: list[Any], among: Sequence[Any], places: Any) -> None:
    """Let a list have the numbers at these places of some."""
    kinds = {_kind(x) for x in among}
    if not places.shape[0]:
        items.clear()
        return
    found = strong(getitem(_array(among), places))
    items[:] = elements(found, scalar=True, weak=_python_kind(kinds))


def _kind(x: Any) -> str | None:
    """The type of Python's that a number has, or counts as."""
    return x.weak if isinstance(x, Tracer) else type(x).__name__


def _python_kind(kinds: set[str | None]) -> str | None:
    """The one that all of some numbers have; None where they have none."""
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    return kind if kind in WEAK_DTYPES else None


def _python_int(x: Tracer) -> Tracer:
    return Tracer(x.owner, cast(x, np.int64).value, "int")


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "index": _index, "count": _count, "remove": _remove, "pop": _pop, "insert": _insert,
}  # fmt: skip
HOOKS["assign_item"] = assign
