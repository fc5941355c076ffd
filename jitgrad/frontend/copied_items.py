"""Items of lists that are copies of arrays which were there before the list.

Python's list has the arrays themselves. A copy is the same as long as nobody writes into the array: so what the array
was is noted, and the list can't be read once it is another."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from jitgrad.errors import MutationError, UnsupportedError
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.frontend.views import View
from jitgrad.ir.core import Value
from jitgrad.ir.location import user_location


class Sources:
    """Arrays of which a list has copies, with what they were. ``scopes`` are those that were open when the list was
    made: a loop that the list outlives makes the others."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.scopes: list[Scope] = [trace.top, *trace.scopes]
        self.arrays: list[tuple[Tracer, Value]] = []

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
        if not any(root is x and root.value is value for x, value in self.arrays):
            self.arrays.append((root, root.value))
        return array.copy()


def refuse_changed(arrays: Sequence[tuple[Tracer, Value]]) -> None:
    """Raise MutationError where one of these arrays is not what it was."""
    if any(not x.scope.open or x.value is not value for x, value in arrays):
        raise changed()


def changed() -> MutationError:
    return MutationError(
        "an array or list is changed that is an item of a list in recorded code, or a part of it, and then that list "
        "is read, which has copies. Put copies into it: x.copy().",
        user_location(),
    )
