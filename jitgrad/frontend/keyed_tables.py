"""Dicts of numbers and sets whose keys are traced numbers: ``counts[k] = counts.get(k, 0) + 1``, ``seen.add(k)``.

This file is treated as code of the user's: its methods are rewritten, and loops and branches in them recorded. The keys
lie in a list, in the order in which they were put in, and the values in another one. To look for a key compares it with
all keys. ``keyed`` says where such tables are made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.frontend.keyed import as_numbers, enter, find, is_short, more, put, refuse, refuse_order, several, straight

NOT_PUT_IN = (
    "a key that a defaultdict does not have is read in recorded code, which would put it in. Use d.get(k, 0), or "
    "assign it before."
)


class KeyedDict:
    """A dict. ``default`` is what a key that it has not stands for, if that is no error; ``inserts``: it gets the key
    where that is asked for, as a ``defaultdict`` does."""

    def __init__(self, default: Any = None, inserts: bool = False) -> None:
        self._keys: Any = []
        self._values: Any = []
        self._default, self._inserts = default, inserts

    def __getitem__(self, key: Any) -> Any:
        at = find(self, key)
        if self._default is None:
            if at < 0:
                raise KeyError("a traced key that the dict does not have")
            return self._values[at]
        if self._inserts and straight(self, at):
            enter(self, at, key, self._values[at] if at >= 0 else self._default)
        elif self._inserts and at < 0:
            raise KeyError(NOT_PUT_IN)
        return self._values[at] if at >= 0 else self._default

    def _item_to_change(self, key: Any) -> Any:
        """The value that ``table[key] += 1`` is about to replace."""
        at = find(self, key)
        if self._default is None and at < 0:
            raise KeyError("a traced key that the dict does not have")
        return self._values[at] if at >= 0 else 0 if self._default is None else self._default

    def __setitem__(self, key: Any, value: Any) -> None:
        at = find(self, key)
        if straight(self, at):
            enter(self, at, key, value)
        elif at >= 0:
            put(self, at, value)
        else:
            more(self, key, value)

    def get(self, key: Any, default: Any = None) -> Any:
        at = find(self, key)
        return self._values[at] if at >= 0 else default

    def value_of(self, key: Any) -> Any:
        """The value of a key that it has: ``max(counts, key=counts.get)``."""
        return self._values[find(self, key)]

    def setdefault(self, key: Any, default: Any = None) -> Any:
        at = find(self, key)
        if straight(self, at):
            enter(self, at, key, self._values[at] if at >= 0 else default)
        elif at < 0:
            more(self, key, default)
        return self._values[at] if at >= 0 else default

    def __contains__(self, key: Any) -> Any:
        return find(self, key) >= 0

    def __len__(self) -> Any:
        return len(self._keys)

    def __iter__(self) -> Any:
        return [k for k in self._keys]  # noqa: C416  (a list of a known kind, whatever stands for the keys)

    def keys(self) -> Any:
        return [k for k in self._keys]  # noqa: C416

    def values(self) -> Any:
        return [v for v in self._values]  # noqa: C416

    def items(self) -> Any:
        return [(self._keys[i], self._values[i]) for i in range(len(self._keys))]

    def __getattr__(self, name: str) -> Any:
        return refuse(self, name)

    __delitem__ = __eq__ = __or__ = __ior__ = __and__ = __add__ = __sub__ = refuse  # pyright: ignore[reportAssignmentType]


class KeyedCounter(KeyedDict):
    """A ``collections.Counter``."""

    def __init__(self, values: Any = None) -> None:
        KeyedDict.__init__(self, 0)
        if values is not None:
            self.update(values)

    def update(self, values: Any) -> None:
        for key in several(values):
            self[key] = self.get(key, 0) + 1

    def total(self) -> Any:
        return sum(self._values)

    def most_common(self, n: Any = None) -> Any:
        counts = np.array(self._values)
        if n == 1:
            at = np.argmax(counts)
            return [(self._keys[at], self._values[at])]
        order = np.argsort(-counts, kind="stable")
        pairs = [(self._keys[i], self._values[i]) for i in order]
        return pairs if n is None else pairs[:n]


class KeyedSet:
    """A set."""

    def __init__(self, values: Any = None) -> None:
        self._keys: Any = []
        if is_short(values):
            for key in values:
                self.add(key)
        elif values is not None:
            for key in np.unique(as_numbers(values)):
                self._keys.append(key)

    def add(self, key: Any) -> None:
        at = find(self, key)
        if straight(self, at):
            enter(self, at, key)
        elif at < 0:
            more(self, key)

    def update(self, values: Any) -> None:
        for key in several(values):
            self.add(key)

    def __contains__(self, key: Any) -> Any:
        return find(self, key) >= 0

    def __len__(self) -> Any:
        return len(self._keys)

    def __iter__(self) -> Any:
        ordered = self.ordered()
        n = len(self._keys)
        if n > 0:
            least, most = ordered[0], ordered[-1]
            # CPython's hash table has 8 places, 16 or more for 5 members, and always more than there are members.
            whole = np.all(ordered == np.floor(ordered))
            if not (whole and least >= 0 and (most < 8 or most < n or (most < 16 and n >= 5))):
                raise refuse_order()
        return [k for k in ordered]  # noqa: C416

    def ordered(self) -> Any:
        """The members in ascending order, as an array."""
        return np.sort(as_numbers(self._keys))

    def __and__(self, other: Any) -> Any:
        return KeyedSet(np.intersect1d(self.ordered(), as_numbers(other)))

    def __or__(self, other: Any) -> Any:
        return KeyedSet(np.union1d(self.ordered(), as_numbers(other)))

    def __sub__(self, other: Any) -> Any:
        return KeyedSet(np.setdiff1d(self.ordered(), as_numbers(other)))

    union, intersection, difference = __or__, __and__, __sub__

    def __getattr__(self, name: str) -> Any:
        return refuse(self, name)

    __eq__ = __le__ = __lt__ = __xor__ = refuse  # pyright: ignore[reportAssignmentType]
