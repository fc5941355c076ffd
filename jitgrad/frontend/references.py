"""How many references there are to an object, besides those by which the trace looks after it."""

from __future__ import annotations

import collections
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from jitgrad.frontend.guards import references_by_guards
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace

#: What becomes longer and shorter, and something takes the place of in recorded loops.
SEQUENCES = (list, collections.deque)


def _references(objects: Sequence[Any]) -> list[int]:
    """How many references there are to each, this function's own and that of the sequence among them."""
    return [sys.getrefcount(obj) for obj in objects]


def _of_one_variable() -> int:
    """The count for a list that one variable of a function refers to; it depends on Python."""
    mine: list[Any] = []
    return _references([(lambda: mine)()])[0]


_LONE = _of_one_variable()


def _of_an_argument() -> int:
    """What a call adds to the count for a list among its arguments, as :func:`given` has them."""
    arguments: list[Any] = [[]]
    return (lambda mine: _references([mine])[0])(*arguments) - _LONE


_GIVEN = _of_an_argument()


def given(arguments: Sequence[Any]) -> dict[int, int]:
    """The references to lists that are arguments of a function which is called with ``*arguments``, but for those of
    its own variables, by identity."""
    return {id(x): _GIVEN for x in arguments if type(x) in SEQUENCES}


def other_references(trace: Trace, objects: Sequence[Any]) -> list[int]:
    """How many references there are to each, besides one: those by which the trace looks after it don't count."""
    counts = [n - _known(trace, obj) - _LONE for obj, n in zip(objects, _references(objects), strict=True)]
    return [n and n - references_by_guards(obj) for obj, n in zip(objects, counts, strict=True)]


def _known(trace: Trace, obj: Any) -> int:
    """The references to an object by which the trace looks after it."""
    known = trace.given.get(id(obj), 0)
    known += sum(obj is one for others in trace.collecting for one in others)
    known += sum(obj is one for others in trace.alternatives for one in others)
    known += sum((id(obj) in one.made) + (id(obj) in one.items) for one in trace.chosen_items)
    known += sum(id(obj) in scope.fixed for scope in (trace.top, *trace.scopes))
    for changed, name, before in (change for scope in (trace.top, *trace.scopes) for change in scope.changed):
        held = (before,)
        if name is None:
            held = before.values() if isinstance(before, dict) else before if type(before) in SEQUENCES else ()
        known += (obj is changed) + sum(obj is x for x in held)
    return known


def _of_a_way() -> int:
    """What a branch that returns adds to the count for a list of the function which is handed to it, and on."""
    mine: list[Any] = []

    def way(given: Any = mine) -> int:
        own = given
        own = (lambda x: _references([x])[0])(own)
        return own

    def other() -> Any:
        return mine

    return way() - _LONE + 0 * len(other())


_OF_A_WAY = _of_a_way()


def owned(x: Any) -> Any:
    """A list that no variable refers to but one of a function which is about to return, as another one: what recorded
    code has made itself it can change."""
    trace: Trace | None = HOOKS["current_trace"]()
    if type(x) is not list or trace is None or not trace.scopes:
        return x
    given = ((one, *one) if type(one) is tuple else (one,) for state in trace.outcomes for one in state)
    others = other_references(trace, [x])[0] - sum(x is one for some in given for one in some)
    return x if others > _OF_A_WAY else x.copy()


def forget_frames(error: BaseException | None) -> None:
    """Let the functions that an error has left not refer to anything."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
