"""Lists in recorded code that become longer, or whose items are read and written at traced indices.

A list exists only while the function is traced. While a loop is recorded, a :class:`Growing` takes its place: an array
for each leaf of its items, with room for all that there may be, and a count, which is an index expression. ``append``
writes the place behind the last item and moves the count on; ``len`` is the count; ``xs[-1]``, ``xs[i]`` and slices
read the arrays, with indices checked against the count. Where the count is a closed form of the loops' indices, these
are accesses like any other; otherwise it is carried (``growth``).

A list whose items are lists of numbers, a table, is one array; an item of it is a ``Growing`` of fixed length on a part
of that array. Objects of plain classes lie in an array for each attribute; one that was appended, or is made of what
the arrays hold at an index, has to stay as it is (``fixed``). What a list can do and this can't raises RollError: the
loop is unrolled then, if it can be.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from jitgrad.errors import CarryError, JitgradError, RollError
from jitgrad.frontend.assign import fit, write_box
from jitgrad.frontend.carries import Slot, Variable, is_array, is_number, join
from jitgrad.frontend.fixed import fix, objects_in
from jitgrad.frontend.indexing import as_value, place, slice_extent
from jitgrad.frontend.objects import closed, flatten_opened
from jitgrad.frontend.primitives import broadcast_to, cast, concatenate, strong
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer, contains_tracer
from jitgrad.frontend.views import Box, View, view_box, view_slice
from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim, add, expr, never_negative
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import symbol_of
from jitgrad.ir.types import TensorType

#: What an unusable list is called in messages.
_OTHERWISE = "it uses a list that it changes in a way that needs the list itself"


class Leaf(NamedTuple):
    """One leaf of the items: its type, whether it is a number (not an array of no axes), one of Python's perhaps."""

    type: TensorType
    scalar: bool
    weak: str | None


class Item(NamedTuple):
    """What all items of a list are. ``depth`` is that of lists of numbers, which are one leaf; else 0. Objects are
    opened in the tree; ``same`` are its leaves that are no numbers and the same in all items, with their positions."""

    tree: optree.PyTreeSpec
    leaves: tuple[Leaf, ...]
    depth: int = 0
    same: tuple[tuple[int, Any], ...] = ()

    def made(self, leaves: Sequence[Any]) -> Any:
        """The item with these leaves."""
        given, same = iter(leaves), dict(self.same)
        found = [same[k] if k in same else next(given) for k in range(self.tree.num_leaves)]
        return closed(unflatten(self.tree, found))

    def joined(self, other: Item) -> Item:
        """What either is. Raises CarryError where they have nothing in common."""
        if self == other:
            return self
        if self.depth != other.depth or self.same != other.same or self.tree != other.tree:
            raise RollError("the items of a list are of different structure.", user_location())
        some = flatten([0.0] * len(self.leaves))[1]
        kinds = (tuple(Slot(v.type, v.weak) for v in x.leaves) for x in (self, other))
        a, b = (Variable("an item of a list", some, slots) for slots in kinds)
        slots = join(a, b, "in another item").slots
        pairs = zip(slots, self.leaves, other.leaves, strict=True)
        return Item(
            self.tree,
            tuple(Leaf(s.type, x.scalar and y.scalar, s.weak) for s, x, y in pairs if s.type),
            self.depth,
            self.same,
        )


#: The structure of a number or an array.
LEAF = flatten(0)[1]


def described(trace: Trace, value: Any) -> tuple[Item, list[Any]]:
    """What an item is, and its leaves. Raises RollError for what can't be stored in arrays."""
    if type(value) is list:
        return _row(trace, value)
    leaves, tree = flatten_opened(value)
    found, same, own = [], [], []
    for k, leaf in enumerate(leaves):
        if isinstance(leaf, Collection) or (isinstance(leaf, np.ndarray) and not isinstance(leaf, Tracer)):
            raise RollError("a list gets items that are no numbers or traced arrays.", user_location())
        if not is_number(leaf):
            same.append((k, leaf))
            continue
        dims = leaf.dims if isinstance(leaf, Tracer) else ()
        if not all(isinstance(n, int) for n in dims):
            raise RollError("a list gets arrays of shapes that are not known.", user_location())
        found.append(_leaf(leaf))
        own.append(leaf)
    if same and not (own and objects_in(value)):
        raise RollError("a list gets items that are no numbers or traced arrays.", user_location())
    return Item(tree, tuple(found), 0, tuple(same)), own


def _leaf(leaf: Any) -> Leaf:
    if isinstance(leaf, Tracer):
        return Leaf(leaf.type, not is_array(leaf), leaf.weak)
    weak = type(leaf).__name__ if type(leaf) in (bool, int, float) else None
    try:
        return Leaf(TensorType(np.asarray(leaf, np.int64 if weak == "int" else None).dtype), True, weak)
    except OverflowError:
        raise RollError("a list has integers of more than 64 bits.", user_location()) from None


def _row(trace: Trace, value: list[Any]) -> tuple[Item, list[Any]]:
    """A list of numbers, or of such lists of one length, as an item."""
    shape: list[int] = []
    level: list[Any] = [value]
    while all(type(x) is list for x in level):
        if len({len(x) for x in level}) != 1 or not level[0]:
            raise RollError("a list has lists of different lengths.", user_location())
        shape.append(len(level[0]))
        level = [y for x in level for y in x]
    if not all(is_number(x) and not is_array(x) and not isinstance(x, np.ndarray) for x in level):
        raise RollError("a list has lists of other things than numbers.", user_location())
    kinds = {_leaf(x)[2] for x in level}
    weak = None if None in kinds else max(kinds, key=("bool", "int", "float").index)
    try:
        array = (
            strong(HOOKS["array"](value)) if contains_tracer(value) else Tracer(trace, trace.array(np.asarray(value)))
        )
    except JitgradError:
        raise RollError("a list has lists of numbers that are no array.", user_location()) from None
    if array.dims != tuple(shape):
        raise RollError("a list has lists of arrays.", user_location())
    return Item(LEAF, (Leaf(array.type, True, weak),), len(shape)), [array]


class Growing(Collection):
    """Stands for a list. ``rooms`` are the arrays, with the items along their first axes; ``count`` is how many there
    are. ``scope`` is the one in which it may become longer now; ``most`` says how much longer it may have become since
    that was set. ``kept`` are the arrays that were appended, with their values of then. ``probing``: what is recorded
    is dropped, so items may turn out to be of other types. ``whole`` is the list that a fixed row is an item of.
    ``named``: an object that it had at the start has another name.

    With a ``window`` it has no rooms, but the leaves of the last ``width`` items only."""

    @property
    def __class__(self) -> Any:
        return list

    def __init__(self, trace: Trace, item: Item | None, count: Dim, whole: Growing | None = None) -> None:
        self.trace, self.item, self.count, self.whole = trace, item, count, whole
        self.rooms: list[Tracer] = []
        self.scope: Scope | None = None
        self.home: Scope | None = None
        self.most: Dim = 0
        self.region: Scope | None = None
        self.kept: list[tuple[Tracer, Value, int, Dim]] = []
        self.window: list[list[Any]] | None = None
        self.width = 0
        self.probing = self.viewed = self.rewritten = self.touched = self.popped = self.named = False

    def noted(self) -> tuple[Any, ...]:
        """What a trial changes that is dropped, for :meth:`put_back`."""
        return self.count, self.most, self.scope, self.window, list(self.kept)

    def put_back(self, noted: tuple[Any, ...]) -> None:
        self.count, self.most, self.scope, self.window, self.kept[:] = noted

    # -- what a list does ----------------------------------------------------------------------------------------

    def append(self, value: Any) -> None:
        self._change_length()
        leaves = self._accepted(value)
        if self.window is not None:
            self.window = [*self.window, leaves][-self.width :] if self.width else []
        else:
            self._store(self.count, leaves)
        self._keep(leaves)
        fix(self.trace, value, self, appended=self.count)
        self.count, self.most = add(self.count, 1), add(self.most, 1)

    def extend(self, values: Any) -> None:
        if isinstance(values, Collection):
            raise _refused()
        for value in values if isinstance(values, Tracer) else list(values):
            self.append(value)

    def __iadd__(self, values: Any) -> Growing:
        self.extend(values)
        return self

    def pop(self, index: Any = -1) -> Any:
        self._change_length()
        if type(index) is not int or index != -1 or (self._has_arrays and self.viewed) or self.window is not None:
            raise _refused()
        self._refuse_named()
        at = place(self.trace, -1, self.count)
        found = self._item_at(at, copy=True)
        self.count, self.rewritten, self.popped = add(self.count, -1), True, True
        return found

    def __len__(self) -> int:
        if not isinstance(self.count, int):
            raise _refused()
        return self.count

    def __bool__(self) -> bool:
        if not never_negative(add(self.count, -1)):
            raise _refused()
        return True

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._part(index)
        if self.item is None:
            raise CarryError("an item of a list is read that has none in the first iteration.", user_location())
        if self.window is not None:
            return self._in_window(index)
        return self._item_at(place(self.trace, self._index(index), self.count))

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice) or self.item is None or self.window is not None:
            raise _refused()
        if self.item.depth and not isinstance(value, Growing):
            raise _refused()
        at = place(self.trace, self._index(index), self.count)
        if self._is_item(value, at):
            return  # xs[i] op= v has written it
        if isinstance(value, Growing) or (self._has_arrays and self.viewed):
            raise _refused()
        leaves = self._accepted(value)
        self._refuse_named()
        self._top.rewritten = True
        self._store(at, leaves)
        self._keep(leaves)
        fix(self.trace, value, self, appended=at)

    def _refuse_named(self) -> None:
        if self.named:
            raise RollError("it takes objects out of a list that have other names.", user_location())

    def _in_window(self, index: Any) -> Any:
        if isinstance(index, Tracer) or not index < 0:
            raise RollError(
                "a while loop that may run any number of times reads items of a list that it makes longer, and not "
                "from its end by a constant index.",
                user_location(),
            )
        if -index > self.width:
            raise Wider(self, -index)
        assert self.item is not None and self.window is not None
        if self.item.depth:
            raise _refused()
        return self._made(self.window[index])

    def _made(self, leaves: Sequence[Any]) -> Any:
        """An item, of what the arrays hold."""
        assert self.item is not None
        if any(node in (list, dict) for node in _types(self.item.tree)):
            raise _refused()  # they can be changed in many ways
        found = self.item.made(leaves)
        fix(self.trace, found, self)
        return found

    def _part(self, index: slice) -> Any:
        """A slice: a list where its length is known."""
        if self.item is None or self.window is not None:
            raise _refused()
        start, size, step = slice_extent(self.trace, index, self.count)
        if isinstance(size, int):
            return [self._item_at(add(start, k * step)) for k in range(size)]
        if step != 1 or self.item.depth or len(self.rooms) != 1:
            raise _refused()
        part = Growing(self.trace, self.item, size, self)
        part.rooms = [Tracer(self.trace, view_slice(r, 0, start, size).value) for r in self.rooms]
        return part

    @property
    def last(self) -> list[Any]:
        """The leaves of the items of the window."""
        return [leaf for leaves in self.window or () for leaf in leaves]

    def set_last(self, given: Iterator[Any]) -> None:
        """Let the window have these leaves."""
        if self.window:
            self.window = [[next(given) for _ in leaves] for leaves in self.window]

    # -- as what else it is seen -----------------------------------------------------------------------------------

    @property
    def root(self) -> Tracer | None:
        return self.rooms[0] if self.rooms else Tracer(self.trace, self.trace.scalar(0, np.dtype(np.int64)))

    @property
    def weak(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.item.leaves[0].weak if self.item is not None and len(self.item.leaves) == 1 else None

    def length(self) -> Any:
        """``len``: a number, or a traced one."""
        return (
            self.count
            if isinstance(self.count, int)
            else Tracer(self.trace, as_value(self.trace, self.count).value, "int")
        )

    def truth(self) -> Any:
        """``bool``, which may be traced."""
        if isinstance(self.count, int) or never_negative(add(self.count, -1)):
            return self.count != 0
        (found,) = self.trace.emit("greater", [as_value(self.trace, self.count), as_value(self.trace, 0)], {})
        return Tracer(self.trace, found, "bool")

    def array(self) -> Tracer:
        """What ``np.array`` makes of it."""
        if self.window is not None:
            raise _refused()
        if self.item is None:
            raise CarryError("a list is made an array that has no items in the first iteration.", user_location())
        parts = [strong(Tracer(self.trace, view_slice(r, 0, 0, self.count).value)) for r in self.rooms]
        if len(parts) == 1 and self.item.tree == LEAF:
            return parts[0]
        if (
            self.item.tree.type is not tuple
            or len({x.dims for x in parts}) != 1
            or len(parts) != self.item.tree.num_children
        ):
            raise _refused()
        return HOOKS["stack"](parts, axis=1)

    def as_items(self) -> tuple[Dim, Callable[[Any], Any]]:
        """How many there are, and a function of an index that gives one."""
        if self.window is not None:
            raise _refused()
        return self.count, self.__getitem__

    # -- its arrays ------------------------------------------------------------------------------------------------

    @property
    def _top(self) -> Growing:
        return self if self.whole is None else self.whole._top

    @property
    def _leaves(self) -> tuple[Leaf, ...]:
        return self.item.leaves if self.item is not None else ()

    def _nothing(self, leaf: Leaf) -> Tracer:
        """Room for one item, which is about to be written."""
        zero = Tracer(self.trace, self.trace.scalar(0, leaf.type.dtype))
        return broadcast_to(zero, (1, *leaf.type.shape))

    @property
    def _has_arrays(self) -> bool:
        return self.item is not None and not all(x.scalar for x in self.item.leaves)

    def _index(self, index: Any) -> Any:
        return index if isinstance(index, Tracer) else operator.index(index)

    def _change_length(self) -> None:
        if self.scope is None and self.home is self.trace.scope and self.whole is None:
            self.rooms = [concatenate([r, self._nothing(x)], 0) for r, x in zip(self.rooms, self._leaves, strict=True)]
        elif self.whole is not None or self.trace.scope is not self.scope:
            raise RollError(
                "a list becomes longer or shorter in code that is recorded once for all times that it runs, where its "
                "length is not followed.",
                user_location(),
            )
        self.touched = True

    def _accepted(self, value: Any) -> list[Any]:
        """The leaves of a new item, which has to be what the others are."""
        found, leaves = described(self.trace, value)
        joined = found if self.item is None else self.item.joined(found)
        if joined != self.item:
            self._become(joined)
        return leaves

    def _become(self, item: Item) -> None:
        if not self._top.probing:
            raise RollError("the items of a list are of different types.", user_location())
        if self.whole is not None:  # a row: its list gets other rooms
            whole, outer = self.whole, self.whole.item
            assert outer is not None
            (leaf,), (mine,) = outer.leaves, item.leaves
            wider = Leaf(leaf.type._replace(dtype=mine.type.dtype), True, mine.weak)
            whole._become(outer._replace(leaves=(wider,)))
            self.item = item
            with self.trace.emitting_in(self._top.home or self.trace.scope):
                self.rooms = [new_room(self.trace, self.count, mine)]
            return
        self.item = item
        if self.window is None:
            with self.trace.emitting_in(self.home or self.trace.scope):
                self.rooms = [new_room(self.trace, MANY, leaf) for leaf in item.leaves]

    def _box(self, room: Tracer, at: Dim, size: Dim = 1) -> Box:
        """The box of so many items of a room from a place on, without the axis of the items."""
        dims, n = room.dims, room.ndim
        last = add(dims[0], _minus(size))
        if not (never_negative(at) and never_negative(add(last, _minus(at)))):
            value = as_value(self.trace, at)
            (found,) = self.trace.emit("wrap_index", [value], {"extent": add(last, 1), "check": False})
            at = expr(symbol_of(found))
        return Box((at, *[0] * (n - 1)), (size, *dims[1:]), (1,) * n, tuple(range(1, n)))

    def _store(self, at: Dim, leaves: Sequence[Any]) -> None:
        assert self.item is not None
        for room, leaf, v in zip(self.rooms, self.item.leaves, leaves, strict=True):
            box = self._box(room, at)
            write_box("set", room, box, fit(cast(strong(self.trace.lift(v)), leaf.type.dtype), box.dims))

    def _keep(self, leaves: Sequence[Any]) -> None:
        for k, leaf in enumerate(leaves):
            if is_array(leaf) and not (self.item and self.item.depth):
                self.kept.append((leaf, leaf.value, k, self.count))

    def _item_at(self, at: Dim, *, copy: bool = False) -> Any:
        assert self.item is not None
        item = self.item
        if item.depth:
            (leaf,), (room,) = item.leaves, self.rooms
            row = Growing(self.trace, _inner(item, leaf), room.dims[1], self)
            row.rooms = [view_box(room, self._box(room, at))]
            return row
        return self._made([self._leaf_at(r, x, at, copy) for r, x in zip(self.rooms, item.leaves, strict=True)])

    def _leaf_at(self, room: Tracer, leaf: Leaf, at: Dim, copy: bool) -> Tracer:
        box = self._box(room, at)
        if leaf.scalar or copy:
            value = view_box(room, box).value if type(room) is View else box.read(room).value
            found = Tracer(self.trace, value, leaf.weak)
            found.boxed = not leaf.scalar
            return found
        self.viewed = True
        return view_box(room, _ReadOnly(box.starts, box.sizes, box.steps, box.axes))

    def _is_item(self, value: Any, at: Dim) -> bool:
        """Is it this very item, as it was read?"""
        if isinstance(value, Growing):
            return value.whole is self and value.rooms[0]._lens.key() == self._box(self.rooms[0], at).key()
        if type(value) is not View or len(self.rooms) != 1:
            return False
        mine = view_box(self.rooms[0], self._box(self.rooms[0], at))
        its, own = value._lens, mine._lens
        return value._base is mine._base and isinstance(its, Box) and isinstance(own, Box) and its.key() == own.key()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by those who want to know what it is
            raise AttributeError(name)
        raise _refused()


class _ReadOnly(Box):
    """The box of an item that is an array: it is the array that was appended only as long as nobody writes into it."""

    __slots__ = ()
    read_only = "an array that is an item of a list in a recorded loop"

    def then(self, other: Box) -> Box | None:
        whole = super().then(other)
        return whole and _ReadOnly(whole.starts, whole.sizes, whole.steps, whole.axes)


class Wider(RollError):
    """An item is read that the window of a list does not have."""

    def __init__(self, of: Growing, width: int) -> None:
        super().__init__("a while loop reads items of a list far from its end.", user_location())
        self.of, self.width = of, width


#: Room for the items of a list whose number is not known yet; what is recorded with it is dropped.
MANY = 1 << 31


def new_room(trace: Trace, capacity: Dim, leaf: Leaf) -> Tracer:
    """An array for so many items."""
    attrs = {"shape": (capacity, *leaf.type.shape), "dtype": leaf.type.dtype}
    room = Tracer(trace, trace.emit("empty", (), attrs)[0])
    room.boxed = True
    return room


def _inner(item: Item, leaf: Leaf) -> Item:
    """What the items of a row are."""
    return Item(LEAF, (Leaf(TensorType(leaf.type.dtype, leaf.type.shape[1:]), True, leaf.weak),), item.depth - 1)


def _types(tree: optree.PyTreeSpec) -> Iterator[Any]:
    yield tree.type
    for child in optree.treespec_children(tree) if not tree.is_leaf() else ():
        yield from _types(child)


def _minus(d: Dim) -> Dim:
    return -d


def _refused(*_: Any, **__: Any) -> RollError:
    return RollError(f"{_OTHERWISE}.", user_location())


def _refuse(*args: Any, **kwargs: Any) -> Any:
    raise _refused()


for _name in [
    "hash",
    "contains",
    "reversed",
    "delitem",
    "repr",
    "str",
    "format",
    "array",
    "copy",
    "deepcopy",
    "reduce_ex",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "add",
    "radd",
    "mul",
    "rmul",
    "imul",
]:
    setattr(Growing, f"__{_name}__", _refuse)
