"""Which lists a loop may change, and who holds them: variables, attributes and items.

The syntax gives the variables of a function whose lists a loop changes, or hands to other functions. That a list is
changed which an attribute or item holds shows when the loop is recorded.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jitgrad.errors import RollError
from jitgrad.frontend.carries import is_array, is_number
from jitgrad.frontend.complex_pair import Pair
from jitgrad.frontend.growing import Growing
from jitgrad.frontend.growth import Held
from jitgrad.frontend.held_lists import holders, put_in
from jitgrad.frontend.places import ChangesPlaces, Place, forget_places
from jitgrad.frontend.references import SEQUENCES, forget_frames, other_references
from jitgrad.frontend.trace import Trace
from jitgrad.ir.location import user_location

State = tuple[Any, ...]

#: How often a loop is recorded to find the lists that it changes.
_ATTEMPTS = 4


class Variable(NamedTuple):
    """A variable that may hold a list: functions that give it, and let it be another object, and how the loop uses it:
    ``otherwise`` than to append to it and read its last item, ``replaced`` by another list, ``passed`` on to functions,
    or else by those two."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], None]
    use: str


class Lists(NamedTuple):
    """Lists that a loop changes, as ``use`` says: ``sure`` by the syntax, ``perhaps`` those that it passes on."""

    sure: list[Held]
    perhaps: list[Held]


def used_otherwise(variables: Sequence[Variable], state: State, names: Sequence[str]) -> bool:
    """Is there a list that the loop does more with than to append to it and to read the last item?"""
    return any(v.use == "otherwise" and type(_value(v, state, names)) in (*SEQUENCES, Growing) for v in variables)


def has_open_end(variables: Sequence[Variable], state: State, names: Sequence[str]) -> bool:
    """Is there a list of which it is not known how long it is?"""
    return any(type(_value(v, state, names)) is Growing for v in variables)


def may_grow(variables: Sequence[tuple[Any, ...]], state: State, names: Sequence[str]) -> bool:
    """Is there a list that the loop makes longer or shorter?"""
    return any(
        v.use in ("otherwise", "appended") and type(_value(v, state, names)) in (*SEQUENCES, Growing)
        for v in itertools.starmap(Variable, variables)
    )


def indexed(variables: Sequence[Variable], state: State, names: Sequence[str]) -> list[Variable]:
    """Those whose lists hold numbers, or lists, which the loop assigns to at indices that are computed."""
    return [v for v in variables if v.use == "indexed" and _has_numbers(_value(v, state, names))]


def _has_numbers(items: Any) -> bool:
    return type(items) is list and all(type(x) is list or (is_number(x) and not is_array(x)) for x in items)


def only_names(trace: Trace, variables: Sequence[Variable], state: State, names: Sequence[str]) -> list[Variable]:
    """Those of some variables which are the only ones to refer to a list, besides ``state``."""
    values = [_value(v, state, names) for v in variables]
    others = other_references(trace, values)
    found = []
    for variable, value, more in zip(variables, values, others, strict=True):
        if type(value) not in (*SEQUENCES, Growing) or any(value is g for g in trace.growing):
            continue
        carried = sum(value is x for x in state)
        if carried <= 1 and more <= carried:
            found.append(variable)
    return found


def changes_lists(listed: tuple[Sequence[Any], ...], state: State, names: Sequence[str]) -> bool:
    """Is there an object to which a loop appends, or a variable it changes whose value is no number or array?"""
    *objects, variables = listed
    if any(objects):
        return True
    values = (_value(Variable(*v), state, names) for v in variables)
    return not all(isinstance(v, Pair) or is_number(v) for v in values)


def changes_plain_lists(listed: tuple[Sequence[Any], ...], state: State, names: Sequence[str]) -> bool:
    """Is one of those a list whose length is not followed so far?"""
    *objects, variables = listed
    values = [x for group in objects for x in group] + [_value(Variable(*v), state, names) for v in variables]
    return any(type(v) is list for v in values)


def lists_of(variables: Sequence[Variable], state: State, names: Sequence[str]) -> Lists:
    """Their lists."""
    found = Lists([], [])
    for v in variables:
        held = Held(_value(v, state, names), None if v.name in names else v.put)
        (found.perhaps if v.use == "passed" else found.sure).append(held)
    return found


def _value(variable: Variable, state: State, names: Sequence[str]) -> Any:
    if variable.name in names:
        return state[names.index(variable.name)]
    try:
        return variable.get()
    except NameError:
        return None


def with_lists(trace: Trace, grow: Callable[[Sequence[Held]], State], lists: Lists) -> State:
    """``grow(held)`` with the lists that the loop changes."""
    held = list(lists.sure)
    try:
        for _ in range(_ATTEMPTS):
            places: list[Place] = []
            try:
                return grow(held)
            except ChangesPlaces as error:
                owners = [p.owner for p in error.places if p.whole]
                more = [h for h in lists.perhaps if any(h.value is x for x in owners)]
                left = [x for x in owners if not any(h.value is x for h in more)]
                if left:
                    places = holders(trace, left, functools.partial(grow, held))
                if not more and not places:
                    raise
                held += more
                del owners, left
                forget_frames(error)
                forget_places(error)
            if any(n > 0 for n in other_references(trace, [p.read() for p in places])):
                raise RollError("it changes a list that has several names.", user_location())
            held += [_held(trace, p) for p in places]
        return grow(held)
    finally:  # who asks later for references to the lists finds none here
        held.clear()
        lists.sure.clear()
        lists.perhaps.clear()


def _held(trace: Trace, place: Place) -> Held:
    return Held(place.read(), functools.partial(put_in, place), functools.partial(_note, trace, place))


def _note(trace: Trace, place: Place) -> None:
    """An attribute or item will hold another object from here on."""
    trace.scope.note_change(place.owner, None if place.item else place.key)
