"""What recorded code changes of Python's objects: attributes, and what dicts and lists hold.

An object exists only while the function is traced, and a recorded body runs once for all iterations. So an attribute
that a body assigns to is carried as a variable of the loop is: the body finds the value of the iteration before in it,
and behind the loop it has the last one. A dict or list of which the body replaces items is carried with all that it
holds; its keys, or its length, stay.

Which places those are shows when the body runs. It is then recorded again, with them among its variables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from jitgrad.errors import RollError
from jitgrad.frontend.carries import UNBOUND
from jitgrad.frontend.scopes import Change
from jitgrad.frontend.signature import flatten
from jitgrad.frontend.trace import Trace
from jitgrad.ir.location import Location

State = tuple[Any, ...]
Body = Callable[..., State]

#: How often a body is recorded to find what it changes: objects that it makes anew each time are never all found.
_ATTEMPTS = 4
#: Values that a dict or list may hold to be carried. One with more would better be an array.
_MOST = 64


class Place(Change):
    """An attribute of an object, or with ``name`` None all that a dict or list holds."""

    @property
    def label(self) -> str:
        """What messages, and values of the graph, call it."""
        kind = type(self.owner).__name__
        return f"a {kind}" if self.name is None else f"{kind}.{self.name}"

    def same(self, other: Place) -> bool:
        """Is it the same attribute of the same object?"""
        return self.owner is other.owner and self.name == other.name

    def read(self) -> Any:
        """What it holds; UNBOUND for an attribute that there is not."""
        if self.name is None:
            return self.owner.copy()
        return getattr(self.owner, self.name, UNBOUND)

    def write(self, trace: Trace, value: Any) -> None:
        """Let it hold that. The scope that is recorded takes note of what it held."""
        trace.scope.note_change(self.owner, self.name)
        if self.name is not None:
            if value is not UNBOUND:
                setattr(self.owner, self.name, value)
            elif self.name in getattr(self.owner, "__dict__", ()):
                delattr(self.owner, self.name)
        elif isinstance(self.owner, list):
            self.owner[:] = value
        else:
            self.owner.update(value)

    def can_be_carried(self) -> bool:
        """Does assigning to it only store the value, and are those few?"""
        if self.name is not None:
            found = getattr(type(self.owner), self.name, None)
            plain = not hasattr(type(found), "__set__") or isinstance(
                found, MemberDescriptorType | GetSetDescriptorType
            )
            return plain and type(self.owner).__setattr__ is object.__setattr__
        return type(self.owner) in (dict, list) and len(flatten(self.owner)[0]) <= _MOST


class ChangesPlaces(RollError):
    """Recorded code changes what belongs to Python. ``places`` are those that are not carried yet."""

    def __init__(self, message: str, location: Location | None, places: Sequence[Place]) -> None:
        super().__init__(message, location)
        self.places = places


class Places:
    """The places that a recorded body changes, and are variables of it."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.all: list[Place] = []
        self._refusal: tuple[str, Location | None] = ("", None)

    def take_in(self, refused: ChangesPlaces) -> None:
        """Carry what is changed, too."""
        self.all += refused.places
        self._refusal = refused.message, refused.location

    def unknown(self, changes: Sequence[Change]) -> list[Place]:
        """Those of some changes that are not among these."""
        found = [Place(change.owner, change.name) for change in changes]
        return [p for p in found if not any(p.same(known) for known in self.all)]

    def names(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names of the variables, with those of the places behind them."""
        return (*names, *(p.label for p in self.all))

    def read(self) -> State:
        """What the places hold."""
        return tuple(p.read() for p in self.all)

    def write(self, values: Sequence[Any]) -> None:
        """Let the places hold these values."""
        for place, value in zip(self.all, values, strict=True):
            place.write(self.trace, value)

    def around(self, body: Body) -> Body:
        """``body`` with the values of the places behind its arguments and its results. Raises RollError where it puts
        something into a dict or list, or takes it out."""

        def carrying(*values: Any) -> State:
            count = len(values) - len(self.all)
            self.write(values[count:])
            result, after = body(*values[:count]), self.read()
            for place, old, new in zip(self.all, values[count:], after, strict=True):
                if place.name is None and flatten(old)[1] != flatten(new)[1]:
                    raise RollError(*self._refusal)
            return (*result, *after)

        return carrying

    def seen_by(self, test: Callable[..., Any]) -> Callable[..., Any]:
        """``test`` with the values of the places behind its arguments."""

        def looking(*values: Any) -> Any:
            count = len(values) - len(self.all)
            self.write(values[count:])
            return test(*values[:count])

        return looking


def with_places(trace: Trace, record: Callable[[Places], State]) -> State:
    """``record(places)``, which raises ChangesPlaces for what it has to carry besides; the state without the places,
    which have got their values. Raises RollError for what can't be carried."""
    places = Places(trace)
    for left in reversed(range(_ATTEMPTS)):
        try:
            result = record(places)
        except ChangesPlaces as error:
            if not left or not all(p.can_be_carried() for p in error.places):
                raise
            places.take_in(error)
            continue
        count = len(result) - len(places.all)
        places.write(result[count:])
        return result[:count]
    raise AssertionError("the last attempt returns or raises")
