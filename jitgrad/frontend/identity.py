"""Which arrays the variables of a recorded loop stand for.

A body is recorded once, with a parameter in the place of each array that a variable stands for. What its variables
stand for after an iteration is seen in the objects that it returns: the array of another variable, one from outside
of the loop, or one that was made in the iteration. Followed from iteration to iteration, this tells which names stand
for one and the same array at any time, and which arrays they stand for at the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jitgrad.frontend.carries import is_array
from jitgrad.frontend.chosen import origins
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.tracer import Tracer
from jitgrad.frontend.views import share_memory

#: More iterations than that are not followed. Swaps of n names return to where they began after far fewer.
_LONGEST = 256


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Referent:
    """An array that a variable may stand for. ``leaf`` is the array itself, or None for a part of ``root`` that is not
    known. One that the loop made was made ``age`` iterations before the last one; for others ``age`` is None."""

    root: Tracer
    leaf: Tracer | None
    age: int | None = None

    @property
    def _key(self) -> tuple[int, int, int | None]:
        return id(self.root), id(self.leaf), self.age

    def __eq__(self, other: object) -> bool:  # arrays have == of their own
        return isinstance(other, Referent) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def overlaps(self, other: Referent) -> bool:
        """May the two share elements?"""
        if self.root is not other.root or self.age != other.age:
            return False
        return self.leaf is None or other.leaf is None or share_memory(self.leaf, other.leaf)


#: What each variable may stand for at one time; nothing for what is not an array.
Referents = list[list[Referent]]


class _Variable(NamedTuple):
    """The array of variable ``number`` when an iteration begins, or a part of it."""

    number: int
    whole: bool


def _first(start: Tracer) -> list[Referent]:
    """What a variable stands for before the loop: itself, and parts of what it may have been chosen among."""
    return [Referent(start.root, start), *(Referent(root, None) for root in origins(start) if root is not start.root)]


class Names:
    """What the array variables of a loop stand for, iteration by iteration.

    ``starts`` are their first values, ``params`` what stands for them in the region ``scope``, ``leaves`` what they are
    after it.
    """

    def __init__(self, scope: Scope, starts: Sequence[Any], params: Sequence[Tracer], leaves: Sequence[Any]) -> None:
        self._scope, self._params = scope, params
        self._targets = [
            # A number in the place of an array of no axes is no name of that.
            [Referent(leaf, None, 0)] if is_array(start) and not is_array(leaf) else list(self._found(leaf))
            for start, leaf in zip(starts, leaves, strict=True)
        ]
        #: Arrays from outside that the body gives names to.
        self.outside = [
            t.root for targets in self._targets for t in targets if isinstance(t, Referent) and t.age is None
        ]
        self._history: list[Referents] = [[_first(s) if is_array(s) else [] for s in starts]]
        self._period: int | None = None
        while self._period is None and len(self._history) < _LONGEST:
            new = [self._after(targets) for targets in self._targets]
            if new in self._history:
                self._period = len(self._history) - self._history.index(new)
            else:
                self._history.append(new)

    def _found(self, leaf: Any) -> Iterable[_Variable | Referent]:
        """What a value at the end of an iteration may stand for."""
        if not is_array(leaf):
            return
        for root in origins(leaf):
            number = next((k for k, p in enumerate(self._params) if p is root), None)
            if number is not None:
                yield _Variable(number, leaf is root)
                continue
            made = root.scope is self._scope
            known = root is leaf.root and (made or leaf.scope is not self._scope)
            yield Referent(root, leaf if known else None, 0 if made else None)

    def _after(self, targets: Sequence[_Variable | Referent]) -> list[Referent]:
        """What a variable may stand for after one more iteration than those of the history."""
        found: dict[Referent, None] = {}  # in order
        for target in targets:
            if isinstance(target, Referent):
                found[target] = None
                continue
            for p in self._history[-1][target.number]:
                age = None if p.age is None else p.age + 1
                found[Referent(p.root, p.leaf if target.whole else None, age)] = None
        return list(found)

    def always_new(self, number: int) -> bool:
        """Is what variable ``number`` stands for made in each iteration?"""
        return all(isinstance(t, Referent) and t.age == 0 for t in self._targets[number])

    def during(self, trips: Any) -> list[Referents]:
        """What the variables may stand for when an iteration begins."""
        return self._history[:trips] if isinstance(trips, int) else self._history

    def finally_(self, trips: Any, *, runs: bool) -> Referents:
        """What the variables may stand for after the loop; ``trips`` is how often it runs, where that is known, and
        ``runs`` says that it runs at least once."""
        last = len(self._history)
        if isinstance(trips, int) and trips < last:
            return self._history[trips]
        if isinstance(trips, int) and self._period is not None:
            first = last - self._period
            return self._history[first + (trips - first) % self._period]
        columns = zip(*self._history[runs and last > 1 :], strict=True)
        return [list(dict.fromkeys(p for referents in column for p in referents)) for column in columns]
