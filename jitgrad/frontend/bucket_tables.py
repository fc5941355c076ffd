"""Where tables of lists are made out of which a traced key takes a list: see ``buckets``.

That shows behind the place where the table is made, perhaps far behind. It is an error then, since another list would
have to get longer for each value of the key. The function is traced once more, with a table of buckets in the place of
each that is made on that line."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from jitgrad.errors import UnsupportedError
from jitgrad.frontend.references import forget_frames
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.tracer import Tracer, is_traced
from jitgrad.ir.location import Location, user_location

T = TypeVar("T")
#: What may turn out to get traced numbers as keys.
_KEYED = (dict, set, collections.defaultdict, collections.Counter)
#: A function is traced so often, for tables of several lines.
_ATTEMPTS = 8


class _State(threading.local):
    """``lines`` where tables of buckets are made, and ``keyed`` where tables of numbers with traced keys are."""

    lines: frozenset[Location] = frozenset()
    keyed: frozenset[Location] = frozenset()


_state = _State()


class TracedKey(UnsupportedError):
    """A traced key takes a list out of a table that is made on a ``line``, if that is known; or it is one of a dict of
    numbers or of a set: ``keyed``."""

    def __init__(self, message: str, location: Location | None, line: Location | None, *, keyed: bool = False) -> None:
        super().__init__(message, location)
        self.line, self.keyed = line, keyed


def table(value: Any) -> Any:
    """A list or dict of lists as it is made, or another dict or a set: itself, or what takes traced keys."""
    line, trace = user_location(), HOOKS["current_trace"]()
    if trace is None or line is None:
        return value
    if line in _state.keyed and type(value) in _KEYED:
        return HOOKS["keyed_table"](value)
    if line in _state.lines:
        return HOOKS["table_of_buckets"](value)
    trace.tables[id(value)] = line  # without a reference, as they are counted; who has its place, has its line
    return value


def set_of(members: list[Any]) -> Any:
    """``{a, b}``."""
    return set() if type(members) is list and not members else HOOKS["callee"](set)(members)


def dict_of(items: list[Any]) -> Any:
    """``{a: x, **b}``, of pairs and dicts."""
    if any(type(x) is tuple and is_traced(x[0]) for x in items):
        return HOOKS["keyed_pairs"](items)
    made: dict[Any, Any] = {}
    for x in items:
        made.update([x] if type(x) is tuple else x)
    return table(made)


def refuse_traced_key(owner: Any, key: Any) -> None:
    """Raise TracedKey where a list is taken out of a table to be changed, and which one is not known."""
    if not is_traced(key) or type(owner) not in (list, dict, collections.defaultdict):
        return
    if type(owner) is collections.defaultdict and not owner and owner.default_factory is not list:
        return
    lists = owner.values() if isinstance(owner, dict) else owner
    if any(type(x) is not list for x in lists) or (type(owner) is dict and not owner) or not _of_numbers(owner):
        return
    line = HOOKS["current_trace"]().tables.get(id(owner))
    raise TracedKey(
        "a traced key takes a list out of a table of lists. Which of them that is, and gets longer, is not known while "
        "the function is traced. jitgrad follows it for tables that are made in traced code by [[] for ...], "
        "{k: [] for ...} and the like, and defaultdict(list). Otherwise keep the keys in an array, and select: "
        "x[keys == k].",
        user_location(),
        line,
    )


def refuse_traced_number(owner: Any, key: Any, value: Any = 0, *, reads: bool = False) -> bool:
    """Raise TracedKey where a dict of numbers, or a set, is asked for a traced key, or gets one with a ``value``. One
    that nobody knows where it is made can be read all the same: True."""
    if type(owner) not in _KEYED or not isinstance(key, Tracer) or not is_traced(key) or key.ndim:
        return False
    held = (value, *owner.values()) if isinstance(owner, dict) else (value,)
    if not all(map(_is_number, held)) or not all(map(_is_number, owner)):
        return False
    line = HOOKS["current_trace"]().tables.get(id(owner))
    if line is None and reads:
        return True
    raise TracedKey(
        f"a traced number is a key of a {type(owner).__name__}. Which key that is, is not known while the function is "
        "traced. jitgrad follows it for dicts of numbers and sets that are made in traced code by {}, {k: 0, ...}, "
        "set(), defaultdict(int) or Counter(). Otherwise keep the keys in an array: np.unique(x, return_counts=True) "
        "counts, and x[keys == k] selects.",
        user_location(),
        line,
        keyed=True,
    )


def _is_number(x: Any) -> bool:
    return isinstance(x, (bool, int, float, np.number, np.bool_)) or (isinstance(x, Tracer) and not x.ndim)


def _of_numbers(owner: Any) -> bool:
    """Can a traced key be one that it has?"""
    return not isinstance(owner, dict) or all(isinstance(k, (bool, int, float, np.number, np.bool_)) for k in owner)


def with_tables(build: Callable[[], T]) -> T:
    """What ``build`` gives, which traces a function; once more with tables of buckets where it fails without."""
    before = _state.lines, _state.keyed
    lines: frozenset[Location] = frozenset()
    keyed: frozenset[Location] = frozenset()
    try:
        for attempt in range(_ATTEMPTS):
            _state.lines, _state.keyed = lines, keyed
            try:
                return build()
            except TracedKey as error:
                known = keyed if error.keyed else lines
                if error.line is None or error.line in known or attempt == _ATTEMPTS - 1:
                    raise
                forget_frames(error)
                if error.keyed:
                    keyed |= {error.line}
                else:
                    lines |= {error.line}
    finally:
        _state.lines, _state.keyed = before
    raise AssertionError
