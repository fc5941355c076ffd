"""Lists that attributes or items hold and a recorded loop appends to: ``self.log.append(x)``, ``h["k"].append(x)``.

No syntax shows what the methods that a body calls do with such a list. That the body makes it longer shows when it is
recorded. Another object then takes the list's place while the loop is recorded once more: what is appended goes into a
list of its own, and the body may read the last item, but nothing else (``collected``). Behind the loop the list itself
gets what was appended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jitgrad.errors import RollError
from jitgrad.frontend.assign import getitem
from jitgrad.frontend.collected import Own
from jitgrad.frontend.places import ChangesPlaces, Place
from jitgrad.frontend.references import SEQUENCES, other_references
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import CELL, held, put
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection
from jitgrad.ir.location import user_location

State = tuple[Any, ...]
Body = Callable[..., State]
#: Records a loop with that body, which appends to some lists.
Record = Callable[[Body, Own], State]

#: How often a loop is recorded to find the lists that it appends to.
_ATTEMPTS = 4


class UsedOtherwise(RollError):
    """A list is used in a way that what takes its place here has not."""


def _refuse(*_: Any) -> NoReturn:
    raise UsedOtherwise("it appends to a list that it uses otherwise too.", user_location())


class _Longer:
    """Stands for a list that a loop appends to, and refuses all else. ``items`` are the ones appended, behind the last
    one of the list before the loop. ``reads`` says that the last item is read, which works if it is ``carried``."""

    def __init__(self, before: list[Any], carried: bool) -> None:
        self.items = before[-1:]
        self.had = len(self.items)
        self.carried = carried and self.had > 0
        self.reads = False

    @property
    def __class__(self) -> Any:
        return list

    def append(self, value: Any) -> None:
        held_list(self, "items", False).append(value)

    def __getitem__(self, index: Any) -> Any:
        if type(index) is not int or index != -1 or not self.had:
            _refuse()
        self.reads = True
        return self.items[-1] if self.carried else _refuse()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by those who want to know what it is
            raise AttributeError(name)
        _refuse()


_REFUSED = (
    "len iter contains bool reversed setitem delitem hash repr str format array copy deepcopy reduce_ex "
    "eq ne lt le gt ge add radd iadd mul rmul imul"
)
for _name in _REFUSED.split():
    setattr(_Longer, f"__{_name}__", _refuse)


def held_list(owner: Any, key: Any, item: bool) -> Any:
    """``owner.key``, or ``owner[key]``, which is about to be appended to."""
    found = getitem(owner, key) if item else getattr(owner, key)
    trace: Trace | None = HOOKS["current_trace"]()
    if trace is None or not _is_list(found):
        return found
    if trace.scopes and type(found) in SEQUENCES:
        trace.scopes[-1].note_change(found)
    _found_in(trace, found, Place(owner, key, item))
    return found


def seek_in_closure(function: Any) -> None:
    """Look for lists in the variables of functions around one that is about to be called."""
    trace: Trace | None = HOOKS["current_trace"]()
    if trace is not None and trace.sought:
        for cell in getattr(function, "__closure__", None) or ():
            _found_in(trace, held(cell, CELL, None), Place(cell, CELL, False))


def _found_in(trace: Trace, obj: Any, place: Place) -> None:
    for lists, places in trace.sought:
        if any(obj is x for x in lists) and not any(place.same(p) for p in places):
            places.append(place)


def _is_list(x: Any) -> bool:
    """Is it a list, or what stands for one whose length the run tells?"""
    return type(x) in SEQUENCES or (isinstance(x, Collection) and hasattr(type(x), "columns") and "rooms" in vars(x))


def with_held_lists(trace: Trace, body: Body, record: Record, own: Own, *, known: bool) -> State:
    """``record(body, own)`` with those lists besides among which the body appends to that an attribute or item holds.
    ``known``: so is the number of iterations. Raises RollError where such a list is used otherwise."""
    places: list[Place] = []
    read: list[Place] = []

    def attempt() -> State:
        return _attempt(trace, body, record, own, places, read)

    for _ in range(_ATTEMPTS):
        before = len(places), len(read)
        try:
            return attempt()
        except RollError as error:
            if (
                known
                and isinstance(error, ChangesPlaces)
                and all(type(p.owner) is list for p in error.places if p.whole)
            ):
                places += holders(trace, [p.owner for p in error.places if p.whole], attempt)
            if (len(places), len(read)) == before:
                raise
    return attempt()


def holders(trace: Trace, lists: Sequence[list[Any]], run: Callable[[], State]) -> list[Place]:
    """The places that hold these lists, which ``run``, which fails, appends to. None if some can't be found."""
    found: list[Place] = []
    if not lists or not all(map(_is_list, lists)):
        return found
    trace.sought.append((lists, found))
    try:
        run()
    except RollError:
        pass
    finally:
        trace.sought.pop()
    return found if len(found) == len(lists) and all(map(_may_put, found)) else []


def _may_put(place: Place) -> bool:
    """Can another object take the place without running code of the user's?"""
    if place.item:
        return isinstance(place.owner, (dict, list))
    return place.of_cell or (not isinstance(place.owner, type) and place.key in getattr(place.owner, "__dict__", ()))


def put_in(place: Place, value: Any) -> None:
    if place.of_cell:
        put(place.owner, place.key, value)
    elif not place.item:
        vars(place.owner)[place.key] = value
    elif isinstance(place.owner, dict):
        dict.__setitem__(place.owner, place.key, value)
    else:
        list.__setitem__(place.owner, place.key, value)


def _attempt(trace: Trace, body: Body, record: Record, own: Own, places: Sequence[Place], read: list[Place]) -> State:
    """Record the loop with the lists in those places replaced. ``read`` gets those whose last items are read."""
    if not places:
        return record(body, own)
    lists = [p.read() for p in places]
    if any(n > 0 for n in other_references(trace, lists)):
        raise RollError("it appends to a list that has several names.", user_location())
    stand_ins = [_Longer(x, any(p is known for known in read)) for p, x in zip(places, lists, strict=True)]
    for place, stand_in in zip(places, stand_ins, strict=True):
        put_in(place, stand_in)
    before = other_references(trace, stand_ins)

    def checked(*values: Any) -> State:
        new = body(*values)
        if other_references(trace, stand_ins) != before:
            raise RollError("it appends to a list that it gives another name.", user_location())
        return new

    items = [x.items for x in stand_ins]
    trace.collecting += [*own, items]
    try:
        read_items = [*own.read, *(x.items for x in stand_ins if x.carried)]
        result = record(checked, Own([*own.lists, *items], read_items))
    finally:
        del trace.collecting[-len(own) - 1 :]
        for place, one, stand_in in zip(places, lists, stand_ins, strict=True):
            put_in(place, one)
            if stand_in.reads and not stand_in.carried:
                read.append(place)
    for one, stand_in in zip(lists, stand_ins, strict=True):
        if trace.scopes:
            trace.scopes[-1].note_change(one)
        one += stand_in.items[stand_in.had :]
    return result
