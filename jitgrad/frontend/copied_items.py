"""Items of lists that are copies of arrays which were there before the list.

Python's list has the arrays themselves. A copy is the same as long as nobody writes into the array: so what the array
was is noted, and the list can't be read once it is another."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from jitgrad.errors import MutationError, UnsupportedError
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.chosen import Chosen, origins
from jitgrad.frontend.rebound import Rebound
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, leaked
from jitgrad.frontend.views import View
from jitgrad.ir.core import Value
from jitgrad.ir.location import user_location

#: An array of which a list has copies, with what it was.
Source = tuple[Tracer, Value]


def with_sources(known: Sequence[Source], arrays: Iterable[Tracer]) -> list[Source]:
    """The sources, and those that these arrays are, or are parts of, as they are now."""
    more: list[Source] = []
    for array in arrays:
        if type(array.root) is Copy:
            more += array.root.of
            continue
        more += [(x, x.value) for x in origins(array) if type(x) is not Rebound and x.scope.open]
    return all_sources(known, more)


def all_sources(*known: Sequence[Source]) -> list[Source]:
    """The sources of several lists, each once."""
    return list({(id(x), id(value)): (x, value) for sources in known for x, value in sources}.values())


class Sources:
    """Arrays of which a list has copies, with what they were. ``scopes`` are those that were open when the list was
    made: a loop that the list outlives makes the others."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.scopes: list[Scope] = [trace.top, *trace.scopes]
        self.arrays: list[Source] = []

    def own(self, value: Any) -> Any:
        """An item, with copies in the place of these arrays, and of parts of them."""
        leaves, tree = flatten(value)
        copied = [self._copied(x) if is_array(x) else x for x in leaves]
        return value if all(map(operator.is_, leaves, copied)) else unflatten(tree, copied)

    def _copied(self, array: Tracer) -> Tracer:
        root = array.root
        if root.owner is self.trace and not any(root.scope is s for s in self.scopes):
            return array
        if type(root) is not Tracer or type(array) not in (Tracer, View):
            raise UnsupportedError(
                "an array is put into a list in recorded code, and it is not known which array that is. Put in a copy: "
                "x.copy().",
                user_location(),
            )
        self.arrays = with_sources(self.arrays, [array])
        return array.copy()


class Copy(Chosen):
    """The array in which the items of a list lie, where some are copies: it can be read as long as none of the
    ``sources`` has changed, but not be written."""

    __slots__ = ()

    def __init__(self, trace: Trace, array: Tracer, sources: Sequence[Source]) -> None:
        super().__init__(trace, array.value, [])
        self._array = (array.value, list(sources))

    @property
    def of(self) -> list[Source]:
        """What it has copies of."""
        return self._array[1]

    @property
    def value(self) -> Value:  # pyright: ignore[reportIncompatibleVariableOverride]
        if not self.scope.open:
            raise leaked(self)
        refuse_changed(self.of)
        return self._array[0]

    def _no_write(self) -> MutationError:
        return changed()

    def store(self, new: Tracer) -> NoReturn:
        raise self._no_write()


def refuse_changed(arrays: Sequence[Source]) -> None:
    """Raise MutationError where one of these arrays is not what it was."""
    if any(not x.scope.open or x.value is not value for x, value in arrays):
        raise changed()


def changed() -> MutationError:
    return MutationError(
        "an array or list that is an item of a list in recorded code, or a part of it, is changed by one of its names "
        "and seen by another. That list has copies. Put copies into it: x.copy().",
        user_location(),
    )
