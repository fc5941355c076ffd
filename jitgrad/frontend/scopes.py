"""Scopes of a trace: the function as a whole, and every region that is being recorded inside it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from jitgrad.frontend.guards import references_by_guards
from jitgrad.frontend.tracer import Collection, Tracer, contains_tracer

if TYPE_CHECKING:
    from jitgrad.frontend.trace import Trace
    from jitgrad.ir.core import Block, Op, Region, Value
    from jitgrad.ir.types import TensorType

V = TypeVar("V")
_MISSING = object()
#: The attribute of a cell that holds the variable.
CELL = "cell_contents"


class _Items:
    """The key for all items of a list that keeps its length."""

    def __repr__(self) -> str:
        return ":"


ITEMS = _Items()
#: More items of a list that are changed are one place, which may be an array.
_APART = 31


class ByIdentity(MutableMapping["Tracer", V], Generic[V]):
    """A dictionary whose keys are tracers, which are not hashable: they are told apart by identity."""

    def __init__(self) -> None:
        self._items: dict[int, tuple[Tracer, V]] = {}

    def __getitem__(self, key: Tracer) -> V:
        return self._items[id(key)][1]

    def __setitem__(self, key: Tracer, value: V) -> None:
        self._items[id(key)] = (key, value)

    def __delitem__(self, key: Tracer) -> None:
        del self._items[id(key)]

    def __contains__(self, key: object) -> bool:
        return id(key) in self._items

    def __iter__(self) -> Iterator[Tracer]:
        return iter([key for key, _ in self._items.values()])

    def __len__(self) -> int:
        return len(self._items)


class Change(NamedTuple):
    """What was changed of an object: its attribute ``key``; with ``item`` the item ``key`` of a list or dict, or with
    None as the key all of a container, which has become longer or shorter perhaps, and ITEMS all items of a list that
    has not."""

    owner: Any
    key: Any
    item: bool

    @property
    def of_cell(self) -> bool:
        """Is it a variable that several functions see?"""
        return type(self.owner) is CellType

    def __str__(self) -> str:
        kind = type(self.owner).__name__
        if not self.item:
            return "a variable of a function around" if self.of_cell else f"the attribute {self.key!r} of a {kind}"
        return f"a {kind}" if self.key is None else f"the item {self.key!r} of a {kind}"


class Scope:
    """A list of ops that is being recorded. Values that are made in it can be used while it is open.

    ``written`` has the arrays from outside that were written in it, with their values before the first write;
    ``saved`` has what they get back when the region is left. ``what`` is how messages call it.
    """

    __slots__ = (
        "_lists",
        "changed",
        "fixed",
        "grown",
        "open",
        "ops",
        "parent",
        "region",
        "saved",
        "trace",
        "what",
        "written",
    )

    def __init__(
        self,
        trace: Trace,
        ops: list[Op],
        parent: Scope | None = None,
        region: Region | None = None,
        what: str = "the function",
    ) -> None:
        self.trace, self.ops, self.parent, self.region, self.what = trace, ops, parent, region, what
        self.open = True
        self.written: ByIdentity[Value] = ByIdentity()
        self.saved: ByIdentity[Value] = ByIdentity()
        self.changed: list[tuple[Any, str | None, Any]] = []  # what was changed in it, and what it held before
        self.fixed: dict[int, Any] = {}  # objects that have to stay as they are (``frontend.fixed``), by identity
        #: Lists that something else has taken the place of, and what gives them back their places.
        self.grown: list[tuple[Callable[[Any], None], Any]] = []
        # What stands for lists in the loops around: the list of them itself, as they are asked how many refer to them.
        self._lists: tuple[list[Any], list[Any]] = trace.growing, [g.noted() for g in trace.growing]

    def param(self, type: TensorType, name: str | None = None, weak: str | None = None) -> Tracer:
        """A new parameter of the region's block."""
        assert self.region is not None
        return Tracer(self.trace, self.region.param(type, name), weak)

    def finish(self, results: Sequence[Any]) -> Block:
        """The block, which yields these values (anything that the trace can lift)."""
        assert self.region is not None
        trace = self.trace
        return self.region.finish(*(trace.own(trace.lift(r)) for r in results))

    def note_change(self, obj: Any, name: str | None = None) -> bool:
        """Remember what a container holds, or an attribute, before it is changed; the first time. Was it the first?"""
        _, made = self.trace.shared.get(id(obj), (None, None))
        if made is self or (made is not None and not made.open):
            return False  # a variable that was made in the scope, or has gone with its own
        if any(obj is known and name == other for known, other, _ in self.changed):
            return False
        if name is None:
            before = copy.copy(obj)
        elif hasattr(getattr(type(obj), name, None), "__set__") or not hasattr(obj, "__dict__"):  # a property, a slot
            before = held(obj, name, _MISSING)
        else:
            before = vars(obj).get(name, _MISSING)
        self.changed.append((obj, name, before))
        return True

    def forget(self, obj: Any) -> None:
        """Take no note of the attributes that an object has got so far: it has been made with them in this scope."""
        self.changed[:] = [change for change in self.changed if change[0] is not obj]

    def changes_of(self, objects: Sequence[Any]) -> list[tuple[int, tuple[Any, bool]]]:
        """What was changed of some objects, which have taken the places of others in this scope: the number of the
        object, and the name, or the index or key with True. That is no change of what is outside."""
        self._put_grown_back()
        found: list[tuple[int, tuple[Any, bool]]] = []
        others: list[tuple[Any, str | None, Any]] = []
        for change in self.changed:
            obj, name, before = change
            number = next((k for k, x in enumerate(objects) if x is obj), None)
            if number is None:
                others.append(change)
            elif name is None:
                keys = _changed_keys(obj, before)
                keys = keys if keys != [None] else list(obj if isinstance(obj, dict) else range(len(obj)))
                found += [(number, (key, True)) for key in keys]
            elif getattr(obj, name, _MISSING) is not before:
                found.append((number, (name, False)))
        self.changed = others
        return found

    def outer_changes(self, besides: Sequence[Any] = ()) -> list[Change]:
        """What was changed in the scope of containers and objects from outside; they get back what they held.

        One that was made inside is held by nothing but this list by now, as the code that made it has returned, and by
        what holds it besides: ``besides`` has it as often as that does.
        """
        self._put_grown_back()
        count = None
        while count != len(self.changed):  # what one that was made inside held may be held by nothing else
            count = len(self.changed)
            self.changed = [change for change in self.changed if self._is_held(change, besides)]
        found: list[Change] = []
        while self.changed:
            if self._is_held(self.changed[-1], besides, found):
                found += _undone(*self.changed.pop())
            else:
                self.changed.pop()
        return found

    def _is_held(self, change: tuple[Any, ...], besides: Sequence[Any], found: Sequence[Change] = ()) -> bool:
        """Is there a reference to what was changed besides the notes of its changes, and those of which it is known?"""
        obj = change[0]
        known = sum(c[0] is obj for c in self.changed) + sum(c.owner is obj for c in found)
        known += sum(obj is x for others in (*self.trace.alternatives, besides, besides) for x in others)
        known += sum(id(obj) in scope.fixed for scope in (self.trace.top, *self.trace.scopes))
        return sys.getrefcount(obj) > 2 + known  # the name here, and the argument

    def restore(self) -> None:
        """Give everything that was changed what it held; for when the code that changed it has failed."""
        self._put_grown_back()
        while self.changed:
            _put_back(*self.changed.pop())
        self.restore_lists()
        self.fixed.clear()

    def restore_lists(self) -> None:
        """Let what takes the places of lists that loops around make longer be as it was when the scope began."""
        for g, noted in zip(*self._lists, strict=False):
            g.put_back(noted)

    def _put_grown_back(self) -> None:
        while self.grown:
            put, obj = self.grown.pop()
            put(obj)
            if not any(obj is known and name is None for known, name, _ in self.changed):
                self.changed.append((obj, None, _Grown(() if isinstance(obj, Collection) else obj)))

    def forget_traced_attributes(self) -> list[str]:
        """Attributes that hold traced values get back what they held; returns the names of those that can be seen: of
        objects that there is another reference to. For the end of a trace."""
        self.trace.alternatives.clear()
        self.trace.chosen_items.clear()  # they are references that are no reason to warn
        owners: dict[int, tuple[Any, list[str]]] = {}
        while self.changed:
            obj, name, before = self.changed.pop()
            if name is not None and contains_tracer(held(obj, name, None)):
                _put_back(obj, name, before)
                label = "a variable of a function around" if type(obj) is CellType else f"{type(obj).__name__}.{name}"
                owners.setdefault(id(obj), (obj, []))[1].append(label)
        obj = before = count = None
        while count != len(owners):  # one that goes may have held others
            count = len(owners)
            owners = {key: one for key, one in owners.items() if _is_seen(one)}
        return [name for _, names in owners.values() for name in names]

    def forget_attributes(self) -> None:
        """All attributes get back what they held: the function is traced once more."""
        while self.changed:
            obj, name, before = self.changed.pop()
            if name is not None:
                _put_back(obj, name, before)

    def leave(self) -> Scope:
        """Close the scope: arrays from outside have their old values again. Returns the scope around it."""
        assert self.parent is not None
        self.open = False
        self._lists = [], []
        self._put_grown_back()
        for root, value in self.saved.items():
            root.restore(value)
        for key in list(self.fixed):  # objects before what they hold
            one = self.fixed.pop(key)
            if one.lasts and _references(one.obj) > _IN_A_TUPLE:
                self.parent.fixed[key] = one._replace(certain=False)
        return self.parent


def _undone(obj: Any, name: str | None, before: Any) -> list[Change]:
    """What a change was, of what gets back what it held."""
    if name is None:
        keys = _changed_keys(obj, before)
        together = isinstance(obj, list) and len(keys) > _APART
        found = [Change(obj, key, True) for key in ([ITEMS] if together else keys)]
    elif type(obj) is not CellType or held(obj, name, _MISSING) is not before:
        found = [Change(obj, name, False)]
    else:
        found = []
    _put_back(obj, name, before)
    return found


def _references(obj: Any) -> int:
    """How many references there are to an object, those by which this function is given it among them."""
    return sys.getrefcount(obj)


#: The count for an object that only a tuple holds; it depends on Python.
_IN_A_TUPLE = (lambda one: _references(one[0]))((object(),))


def _is_seen(one: tuple[Any, list[str]]) -> bool:
    """Is there a reference to the object in this tuple besides it and guards?"""
    others = _references(one[0]) - _IN_A_TUPLE
    return others > 0 and others > references_by_guards(one[0])


class _Grown(list):
    """What a list held that has become longer since, which does not show in it."""


def _changed_keys(obj: Any, before: Any) -> list[Any]:
    """The items of a list or dict that are others than before; None stands for all of a container that has become
    longer or shorter, or has lost a key."""
    if isinstance(obj, list) and type(before) is not _Grown and len(obj) == len(before):
        return [k for k, x in enumerate(obj) if x is not before[k]]
    if isinstance(obj, dict) and None not in obj and all(key in obj for key in before):
        return [key for key, x in obj.items() if key not in before or x is not before[key]]
    return [None]


def held(obj: Any, name: str, default: Any) -> Any:
    """What an attribute is; ``default`` where there is none, as in an empty cell."""
    try:
        return getattr(obj, name, default)
    except ValueError:
        if type(obj) is not CellType:
            raise
        return default


def put(obj: Any, name: str, value: Any) -> None:
    """Let an attribute be what it was or becomes, whatever code of the user's would run when it is assigned to."""
    by_hand = isinstance(type(obj).__setattr__, FunctionType) and not isinstance(obj, type)
    (object.__setattr__ if by_hand else setattr)(obj, name, value)


def drop(obj: Any, name: str) -> None:
    """Delete an attribute likewise."""
    by_hand = isinstance(type(obj).__delattr__, FunctionType) and not isinstance(obj, type)
    (object.__delattr__ if by_hand else delattr)(obj, name)


def _put_back(obj: Any, name: str | None, before: Any) -> None:
    if name is not None:
        if before is _MISSING and type(obj) is CellType:
            del obj.cell_contents
        elif before is _MISSING:
            if hasattr(obj, name) and name in getattr(obj, "__dict__", (name,)):
                drop(obj, name)
        else:
            put(obj, name, before)
    elif isinstance(obj, Collection):
        pass  # what stood for a list is as it was
    elif isinstance(obj, list):
        obj[:] = before
    else:
        obj.clear()
        obj.extend(before) if hasattr(obj, "extend") else obj.update(before)
