"""What recorded code changes of Python's objects: attributes, and what dicts and lists hold.

An object exists only while the function is traced, and a recorded body runs once for all iterations. So an attribute
that a body assigns to, or an item of a dict or list, is carried as a variable of the loop is: the body finds the value
of the iteration before in it, and behind the loop it has the last one. Branches may make a list longer or shorter, or
give a dict other keys, if all of them do; then all that it holds is one variable.

Which places those are shows when the body runs. It is then recorded again, with them among its variables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jitgrad.errors import CarryError, RollError
from jitgrad.frontend.carries import UNBOUND
from jitgrad.frontend.objects import held_by
from jitgrad.frontend.scopes import ITEMS, Change, Scope, drop, held, put
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection
from jitgrad.ir.location import Location, user_location

State = tuple[Any, ...]
Body = Callable[..., State]

#: How often a body is recorded to find what it changes: objects that it makes anew each time are never all found.
_ATTEMPTS = 6


class Place(Change):
    """An attribute of an object, an item of a dict or list, or all that a container holds."""

    @property
    def whole(self) -> bool:
        return self.item and self.key is None

    @property
    def label(self) -> str:
        """What messages, and values of the graph, call it."""
        kind = type(self.owner).__name__
        if self.of_cell:
            return "nonlocal"
        if self.whole or self.key is ITEMS:
            return f"a {kind}"
        return f"{kind}[{self.key!r}]" if self.item else f"{kind}.{self.key}"

    def same(self, other: Place) -> bool:
        """Is it the same place of the same object, or one among all its items?"""
        if self.owner is not other.owner or self.item != other.item:
            return False
        return self.key == other.key or (other.key is ITEMS and self.key is not None)

    def read(self) -> Any:
        """What it holds; UNBOUND for an attribute or key that there is not."""
        if not self.item:
            return held(self.owner, self.key, UNBOUND)
        if self.key is None or self.key is ITEMS:
            return self.owner.copy()
        return self.owner.get(self.key, UNBOUND) if isinstance(self.owner, dict) else self.owner[self.key]

    def write(self, trace: Trace, value: Any) -> None:
        """Let it hold that. The scope that is recorded takes note of what it held."""
        owner, key = self.owner, self.key
        if not self.item:
            trace.scope.note_change(owner, key)
            if value is not UNBOUND:
                put(owner, key, value)
            elif self.of_cell:
                del owner.cell_contents
            elif key in getattr(owner, "__dict__", ()):
                drop(owner, key)
            return
        if trace.scopes:
            trace.scope.note_change(owner)
        if key is ITEMS:
            owner[:] = value
        elif key is None:
            owner.clear()
            owner.update(value) if hasattr(owner, "update") else owner.extend(value)
        elif value is not UNBOUND:
            owner[key] = value
        else:
            owner.pop(key, None)


class ChangesPlaces(RollError):
    """Recorded code changes what belongs to Python. ``places`` are those that are not carried yet."""

    def __init__(self, message: str, location: Location | None, places: Sequence[Place]) -> None:
        super().__init__(message, location)
        self.places = places


def forget_places(error: BaseException | None) -> None:
    """Let errors not refer to places any longer, nor to the functions that they have left, as references to what is
    there count."""
    while error is not None:
        error.__traceback__ = None
        if isinstance(error, ChangesPlaces):
            error.places = []
        error = error.__context__


class SeveralNames(RollError):
    """Recorded code changes ``owners``, or others, by names that stand for others too."""

    def __init__(self, owners: Sequence[Any] = ()) -> None:
        super().__init__(
            "an object or container is changed in a loop or branch that lets several names stand for it, or its own "
            "name for others too. Which name stands for which object is not known while the function is traced. Copy "
            "it, or use a loop that is unrolled.",
            user_location(),
        )
        self.owners = owners


class Places:
    """The places that a recorded body changes, and are variables of it."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.all: list[Place] = []
        self._missing = len(trace.missing)

    def unknown(self, changes: Sequence[Change]) -> list[Place]:
        """Those of some changes that are not among these."""
        found = [Place(*change) for change in changes]
        return [p for p in found if not any(p.same(known) for known in self.all)]

    def refuse_others(self, scope: Scope, new: State, names: Sequence[str], opened: Sequence[Any] = ()) -> None:
        """Raise ChangesPlaces where the code that is recorded in ``scope`` and has returned ``new``, for variables and
        places of these ``names``, has changed other places of objects from outside; all have got back what they held.
        Objects in ``opened`` will be carried as what the variables stand for.
        """
        # The variables of the program refer to what they stand for until it gets their values behind the loop. What
        # has another label than a name is a result, or a place.
        count = len(new) - len(self.all)
        named = [k for k, name in enumerate(names) if k >= count or name.isidentifier()]
        unknown = self.unknown(scope.outer_changes([*held_by(new), *(new[k] for k in named)]))
        unknown = [p for p in unknown if not any(p.owner is x for x in opened)]
        if unknown:
            raise ChangesPlaces(
                f"{unknown[0]} is changed in {scope.what}, which is recorded once for all times that it runs. Python "
                "objects exist only while the function is traced. Use a variable, an array that is made before (with "
                "np.zeros for example), or a loop that is unrolled (jit(..., loops='unroll')).",
                user_location(),
                unknown,
            )

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

    def refuse_lost_keys(self, states: Sequence[State]) -> None:
        """Raise CarryError for a key that a dict has in some of these states and not in others: what ``get``, ``in``
        and ``len`` say of it then is not known while the function is traced. The places stand behind the variables."""
        for k, place in enumerate(reversed(self.all), 1):
            missing = [state[-k] is UNBOUND for state in states]
            if place.item and any(missing) and not all(missing):
                raise CarryError(
                    f"a dict has the key {place.key!r} after one way through recorded code, and not after another. "
                    "What the dict holds is not known then. Give the key a value before.",
                    user_location(),
                )

    def refuse_late_attributes(self, start: State, new: State) -> None:
        """Raise CarryError for an attribute that the body of a loop looks for in vain in the first iteration, which
        assigns it: in later ones the body finds it. The places stand behind the variables."""
        missing = [(owner(), name) for owner, name in self.trace.missing[self._missing :]]
        for place, before, after in zip(reversed(self.all), reversed(start), reversed(new), strict=False):
            late = not place.item and before is UNBOUND and after is not UNBOUND
            if late and any(owner is place.owner and name in (place.key, "__dict__") for owner, name in missing):
                raise CarryError(
                    f"the attribute {place.key!r} of a {type(place.owner).__name__} is looked for in a loop whose "
                    "first iteration assigns it. Whether there is one is not known when a body is recorded for all "
                    "iterations. Assign it before the loop, None for example.",
                    user_location(),
                )

    def around(self, body: Body) -> Body:
        """``body`` with the values of the places behind its arguments and its results."""

        def carrying(*values: Any) -> State:
            count = len(values) - len(self.all)
            self.write(values[count:])
            return (*body(*values[:count]), *self.read())

        return carrying

    def seen_by(self, test: Callable[..., Any]) -> Callable[..., Any]:
        """``test`` with the values of the places behind its arguments."""

        def looking(*values: Any) -> Any:
            count = len(values) - len(self.all)
            self.write(values[count:])
            return test(*values[:count])

        return looking


def with_places(trace: Trace, record: Callable[[Places], State], *, resizing: bool = False) -> State:
    """``record(places)``, which raises ChangesPlaces for what it has to carry besides; the state without the places,
    which have got their values. Raises RollError for containers that become longer or shorter, unless ``resizing``."""
    places = Places(trace)
    variables: list[Any] = []  # objects that are not changed as they are, but in the places of variables
    for left in reversed(range(_ATTEMPTS)):
        try:
            result = record(places)
        except CarryError as error:
            resized = [p for p in places.all if p.whole]
            if not resized:
                raise
            raise ChangesPlaces(error.message, error.location, resized) from error
        except ChangesPlaces as error:
            whole = [p.owner for p in error.places if p.whole]
            if not left or (not resizing and whole) or any(isinstance(x, Collection) for x in whole):
                raise
            if any(p.owner is x for p in error.places for x in variables):
                raise SeveralNames from error
            places.all = [p for p in places.all if not any(p.same(new) for new in error.places)] + list(error.places)
            continue
        except SeveralNames as error:
            if not left or not error.owners:
                raise
            variables += error.owners
            places.all = [p for p in places.all if not any(p.owner is x for x in variables)]
            continue
        count = len(result) - len(places.all)
        places.write(result[count:])
        return result[:count]
    raise AssertionError("the last attempt returns or raises")
