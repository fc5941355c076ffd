"""Tables of lists of which a traced key takes one: ``clusters[label].append(x)``.

Which list gets longer is not known while the function is traced. So a table is one list of all that is appended, with
the keys: ``put`` are the items, ``taken`` their keys. A bucket is what has its key, in that order, as a mask of the
keys selects it. It is read when it is used: so it shows what is appended by any name of it.

A table is one from where it is made on. That a traced key takes a list out of it shows later, so the function is traced
once more then (``bucket_tables``).
"""

from __future__ import annotations

import collections
import operator
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
import optree

from jitgrad.errors import MutationError, RollError, UnsupportedError
from jitgrad.frontend.copied_items import Sources, changed, refuse_changed
from jitgrad.frontend.fixed import fix
from jitgrad.frontend.growing import Growing
from jitgrad.frontend.grown_arrays import mapped
from jitgrad.frontend.held_lists import held_list
from jitgrad.frontend.indexing import as_value, place
from jitgrad.frontend.list_items import Item, described
from jitgrad.frontend.list_rooms import furnished
from jitgrad.frontend.objects import OPENED, held_by
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.signature import flatten
from jitgrad.frontend.trace import WEAK_DTYPES, Trace
from jitgrad.frontend.tracer import Collection, Tracer, is_traced
from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim
from jitgrad.ir.location import user_location


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise UnsupportedError(
        "a table of lists, out of which a traced key takes one, is used otherwise than a compiled program can follow. "
        "Its lists can be appended to and extended, and read: len(b), conditions, loops, items, slices, np.array(b), "
        "x[b] and functions of NumPy. They can't be replaced, sorted in place, shortened, or compared. Copy one with "
        "[x for x in b], or keep the keys in an array: x[keys == k].",
        user_location(),
    )


class Bucket(Collection):
    """One list of a table."""

    @property
    def __class__(self) -> Any:
        return list

    def __init__(self, table: Table, key: Any) -> None:
        self.table, self.key = table, key

    @property
    def items(self) -> Growing:
        """The list, as it is now."""
        return self.table.read(self.key)

    def append(self, value: Any) -> None:
        self.table.refuse_change()
        held_list(self.table, "taken", False).append(self.table.own(self.key))
        held_list(self.table, "put", False).append(self.table.own(value))

    def extend(self, values: Any) -> None:
        if isinstance(values, Collection):
            _refuse()
        for value in list(values):
            self.append(value)

    def __iadd__(self, values: Any) -> Bucket:
        self.extend(values)
        return self

    @property
    def root(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.items.root

    @property
    def weak(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.items.weak

    def length(self) -> Any:
        return self.items.length()

    def truth(self) -> Any:
        return self.items.truth()

    def array(self) -> Tracer:
        return self.items.array()

    def columns(self) -> tuple[optree.PyTreeSpec, list[Tracer]]:
        return self.items.columns()

    def as_items(self) -> tuple[Dim, Callable[[Any], Any]]:
        return self.items.as_items()

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]

    def __len__(self) -> int:
        return size if isinstance(size := self.items.size, int) else _refuse()

    def __bool__(self) -> bool:
        return len(self) > 0

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    def __setitem__(self, index: Any, value: Any) -> None:
        _refuse()

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # asked for by those who want to know what it is
            raise AttributeError(name)
        _refuse()


class _Kind:
    """What is the same of two tables, that a branch or loop chooses between."""

    def __init__(self, keys: list[Any] | None, items: list[Item | None], sources: list[tuple[Tracer, Value]]) -> None:
        self.keys, self.items, self.sources = keys, items, sources


class Table(Collection):
    """A table. ``keys`` are those that it has; None for a ``defaultdict``, which has all."""

    def __init__(self, keys: list[Any] | None) -> None:
        self._keys = keys
        self.taken: Any = []
        self.put: Any = []
        self._trace: Trace = HOOKS["current_trace"]()
        self._scope = self._trace.scope
        self._carried = False
        self._sources = Sources(self._trace)
        self._rows: list[tuple[list[Any], list[Any]]] = []  # lists of which the table has copies, as they were

    def refuse_change(self) -> None:
        """Raise MutationError for a table that may have other names, which don't show what is appended."""
        if self._carried:
            raise MutationError(
                "a list is appended to that is in a table which a recorded loop or branch has made, and out of which a "
                "traced key has taken one. Other names of the table would not show it. Append where the table is made, "
                "or make the table before.",
                user_location(),
            )

    def own(self, value: Any) -> Any:
        """An item, or a key, as it is appended: with copies in the place of arrays that were there before the table or
        are made beside it, which they are as long as nobody writes into those; in a loop, with traced numbers."""
        trace: Trace = HOOKS["current_trace"]()
        if trace.scope is not self._scope:
            fix(trace, value, self)
            return self._sources.own(mapped((value,), lambda x: _number(trace, x))[0])
        if any(type(x) in (list, dict) for x in held_by((value,))):
            if type(value) is not list or any(type(x) in (list, dict) for x in value):
                _refuse()
            self._rows.append((value, list(value)))
            value = list(value)
        return self._sources.own(value)

    def _check_sources(self) -> None:
        """Raise MutationError where an item has changed by another name."""
        refuse_changed(self._sources.arrays)
        if any(len(x) != len(y) or not all(map(operator.is_, x, y)) for x, y in self._rows):
            raise changed()

    def read(self, key: Any) -> Growing:
        """The items of a bucket."""
        self._check_sources()
        trace: Trace = HOOKS["current_trace"]()
        keys, items = self.taken, self.put
        if type(keys) is list and type(items) is list and not any(map(is_traced, (key, *keys))):
            return as_growing(trace, [item for k, item in zip(keys, items, strict=True) if k == key])
        keys, items = self._logs()
        found = Growing(trace, items.item, 0)
        if items.item is None:
            return found
        places = np.flatnonzero(np.equal(keys.array(), key))
        found.rooms = [HOOKS["getitem"](column, places) for column in items._columns()]
        for room in found.rooms:
            room.boxed = True
        found.count = found.rooms[0].dims[0]
        return found

    def _logs(self) -> list[Growing]:
        """The keys and the items as arrays."""
        trace: Trace = HOOKS["current_trace"]()
        logs = [x if isinstance(x, Growing) else as_growing(trace, x) for x in (self.taken, self.put)]
        if trace.scope is self._scope:
            for log, before in zip(logs, (self.taken, self.put), strict=True):
                if log is not before:
                    log.home = self._scope
            self.taken, self.put = logs
        return logs

    def opened(self) -> dict[str, Any]:
        """What a loop or branch carries: arrays, and what has to be the same."""
        trace: Trace = HOOKS["current_trace"]()
        logs = self._logs()
        if self._rows:
            _refuse()
        key = (type(self), None if self._keys is None else tuple(self._keys), *(x.item for x in logs))
        key = (*key, *((id(x), id(value)) for x, value in self._sources.arrays))
        kind = trace.tables_carried.setdefault(
            key, _Kind(self._keys, [x.item for x in logs], list(self._sources.arrays))
        )
        return {"kind": kind, "taken": _whole(logs[0]), "put": _whole(logs[1])}

    @classmethod
    def made(cls, kind: _Kind, *columns: tuple[Tracer, ...]) -> Table:
        """A table of what :meth:`opened` gives."""
        table = cls(None if kind.keys is None else list(kind.keys))
        table._sources.arrays, table._carried = list(kind.sources), True
        logs = []
        for item, rooms in zip(kind.items, columns, strict=True):
            logs.append(Growing(table._trace, item, rooms[0].dims[0] if rooms else 0))
            logs[-1].rooms = list(rooms)
            logs[-1].home = table._scope
        table.taken, table.put = logs
        return table

    def _extend(self, key: Any, values: Any) -> None:
        """Let the table have one more list."""
        trace: Trace = HOOKS["current_trace"]()
        if type(values) is not list:
            _refuse()
        if trace is not self._trace or trace.scope is not self._scope:
            raise RollError("it makes a table of lists longer.", user_location())
        assert self._keys is not None
        self._keys.append(key)
        for value in values:
            self[key].append(value)

    def keys(self) -> list[Any]:
        """The keys. Raises UnsupportedError where any is added that is looked for."""
        if self._keys is None:
            raise UnsupportedError(
                "the keys of a defaultdict that gets traced keys, or their number. Which it has is not known while "
                "the function is traced. Loop over the keys that there may be: for k in range(n).",
                user_location(),
            )
        return list(self._keys)

    def __len__(self) -> int:
        return len(self.keys())

    def __bool__(self) -> bool:
        return len(self) > 0

    def length(self) -> int:
        return len(self)

    def truth(self) -> bool:
        return bool(self)

    def _has(self, key: Any) -> bool:
        """Is there a list of that key, which is known?"""
        raise NotImplementedError

    def _checked(self, key: Any) -> Any:
        """A key as the entries have it."""
        raise NotImplementedError

    def __getitem__(self, key: Any) -> Bucket:
        return Bucket(self, self._checked(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        """``table[key] += values`` has appended them. A new list is one that there was not before."""
        if isinstance(value, Bucket):
            if value.table is not self or not _is_same(value.key, self._checked(key)):
                _refuse()
        elif is_traced(key) or self._has(key):
            _refuse()
        else:
            self._extend(key, value)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        _refuse()


class ListTable(Table):
    """A list of lists."""

    @property
    def __class__(self) -> Any:
        return list

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return [self[k] for k in range(*key.indices(len(self)))]
        return super().__getitem__(key)

    def _checked(self, key: Any) -> Any:
        if isinstance(key, Tracer):
            if key.ndim or key.dtype.kind not in "iub":
                raise TypeError(f"list indices must be integers or slices, not {key.dtype} of shape {key.shape}")
            trace: Trace = HOOKS["current_trace"]()
            return Tracer(trace, as_value(trace, place(trace, key, len(self))).value, "int")
        number = operator.index(key)
        if not -len(self) <= number < len(self):
            raise IndexError("list index out of range")
        return number % len(self)

    def _has(self, key: Any) -> bool:
        return True

    def append(self, values: Any) -> None:
        self._extend(len(self), values)

    def __iter__(self) -> Iterator[Bucket]:
        return (self[k] for k in range(len(self)))

    def as_items(self) -> tuple[Dim, Callable[[Any], Any]]:
        return len(self), self.__getitem__

    array = columns = _refuse


class DictTable(Table):
    """A dict of lists."""

    @property
    def __class__(self) -> Any:
        return dict

    def _checked(self, key: Any) -> Any:
        if not isinstance(key, Tracer):
            if not self._has(key):
                raise KeyError(key)
            return key
        if key.ndim:
            raise TypeError(f"unhashable type: an array of shape {key.shape} as a key of a dict")
        if self._keys is not None:
            found: Any = np.isin(key, np.array(self._keys)) if self._keys else np.not_equal(key, key)
            demand(found, KeyError("a traced key that the dict does not have"))
        return key

    def _has(self, key: Any) -> bool:
        return self._keys is None or key in self._keys

    def __contains__(self, key: Any) -> bool:
        if is_traced(key):
            _refuse()
        return key in self.keys()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def values(self) -> list[Bucket]:
        return [self[k] for k in self.keys()]

    def items(self) -> list[tuple[Any, Bucket]]:
        return [(k, self[k]) for k in self.keys()]

    def as_items(self) -> None:
        """No recorded loop runs over the keys."""

    array = columns = _refuse


for _name in (
    *("hash", "contains", "reversed", "repr", "str", "format", "array", "copy", "deepcopy", "reduce_ex"),
    *("eq", "ne", "lt", "le", "gt", "ge", "add", "radd", "mul", "rmul", "imul", "delitem"),
):
    for _class in (Bucket, Table):
        setattr(_class, f"__{_name}__", _refuse)
Bucket.__setitem__ = _refuse


def _is_same(a: Any, b: Any) -> bool:
    """Are these the same keys for sure?"""
    if isinstance(a, Tracer) and isinstance(b, Tracer):
        return a.value is b.value
    return not isinstance(a, Tracer) and not isinstance(b, Tracer) and a == b


def _number(trace: Trace, x: Any) -> Any:
    """A number of Python's as a traced one; anything else as it is."""
    name = type(x).__name__
    return Tracer(trace, trace.scalar(x, WEAK_DTYPES[name]), name) if type(x) in (bool, int, float) else x


def _whole(log: Growing) -> tuple[Tracer, ...]:
    """The arrays of a list, without a new op where there is no more in them."""
    full = log.first == 0 and all(room.dims[0] == log.count for room in log.rooms)
    return tuple(log.rooms if full else log._columns())


def settle(value: Any) -> None:
    """Let the tables that a branch leaves behind be arrays, while it is recorded."""
    for leaf in flatten(value)[0]:
        if isinstance(leaf, Table):
            leaf._logs()


def as_growing(trace: Trace, items: list[Any]) -> Growing:
    """A list, as its arrays."""
    found = Growing(trace, None, len(items))
    for x in items:
        fix(trace, x, found)
        item, _ = described(trace, x)
        found.item = item if found.item is None else found.item.joined(item)
    if found.item is not None:
        found.rooms = furnished(trace, found, items, len(items))
    return found


def table_of_buckets(value: Any) -> Any:
    """A table that holds what a list, dict or ``defaultdict`` of lists does; another value as it is."""
    lists = value.values() if isinstance(value, dict) else value
    if any(type(x) is not list for x in lists):
        return value
    if isinstance(value, collections.defaultdict):
        return DictTable(None) if value.default_factory is list and not value else value
    made = DictTable([]) if isinstance(value, dict) else ListTable([])
    for key, items in value.items() if isinstance(value, dict) else enumerate(value):
        made._extend(key, items)
    return made


def result(leaf: Any) -> Any:
    """A table in the result of a function, as a list or dict of lists; another leaf as it is."""
    if not isinstance(leaf, Table):
        return leaf
    return dict(leaf.items()) if isinstance(leaf, DictTable) else leaf[:]


OPENED.update((ListTable, DictTable))
HOOKS["settle_tables"] = settle
HOOKS["table_of_buckets"] = table_of_buckets
