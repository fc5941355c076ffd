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
from jitgrad.frontend.tracer import is_traced
from jitgrad.ir.location import Location, user_location

T = TypeVar("T")
#: A function is traced so often, for tables of several lines.
_ATTEMPTS = 8


class _State(threading.local):
    """``lines`` where tables of buckets are made."""

    lines: frozenset[Location] = frozenset()


_state = _State()


class TracedKey(UnsupportedError):
    """A traced key takes a list out of a table that is made on a ``line``, if that is known."""

    def __init__(self, message: str, location: Location | None, line: Location | None) -> None:
        super().__init__(message, location)
        self.line = line


def table(value: Any) -> Any:
    """A list or dict of lists as it is made: itself, or a table of buckets."""
    line, trace = user_location(), HOOKS["current_trace"]()
    if trace is None or line is None:
        return value
    if line in _state.lines:
        return HOOKS["table_of_buckets"](value)
    trace.tables[id(value)] = line  # without a reference, as they are counted; who has its place, has its line
    return value


def refuse_traced_key(owner: Any, key: Any) -> None:
    """Raise TracedKey where a list is taken out of a table to be changed, and which one is not known."""
    if not is_traced(key) or type(owner) not in (list, dict, collections.defaultdict):
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


def _of_numbers(owner: Any) -> bool:
    """Can a traced key be one that it has?"""
    return not isinstance(owner, dict) or all(isinstance(k, (bool, int, float, np.number, np.bool_)) for k in owner)


def with_tables(build: Callable[[], T]) -> T:
    """What ``build`` gives, which traces a function; once more with tables of buckets where it fails without."""
    before = _state.lines
    lines: frozenset[Location] = frozenset()
    try:
        for attempt in range(_ATTEMPTS):
            _state.lines = lines
            try:
                return build()
            except TracedKey as error:
                if error.line is None or error.line in lines or attempt == _ATTEMPTS - 1:
                    raise
                forget_frames(error)
                lines |= {error.line}
    finally:
        _state.lines = before
    raise AssertionError
