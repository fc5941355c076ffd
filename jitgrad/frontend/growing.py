"""Lists in recorded code that become longer, or whose items are read and written at traced indices.

A list exists only while the function is traced. While a loop is recorded, a :class:`Growing` takes its place: an array
for each leaf of its items, with room for all that there may be, and two index expressions: the place of the first item
and that behind the last one, the count. ``append`` writes the place behind the last item and moves the count on,
``pop(0)`` moves the first place on; ``len`` is the difference; ``xs[-1]``, ``xs[i]`` and slices read the arrays, with
indices checked against the length. Where the places are closed forms of the loops' indices, these are accesses like
any other; otherwise they are carried (``growth``). No place is used again for what is put at the other end: so the
gradient of a queue saves nothing.

A list whose items are lists of numbers, a table, is one array; an item of it is a ``Growing`` of fixed length on a part
of that array. Objects of plain classes lie in an array for each attribute; one that was appended, or is made of what
the arrays hold at an index, has to stay as it is (``fixed``). What a list can do and this can't raises RollError: the
loop is unrolled then, if it can be.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import optree

from jitgrad.errors import RollError
from jitgrad.frontend import list_methods, table_rows
from jitgrad.frontend.assign import fit, write_box
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.chosen_containers import refuse_several
from jitgrad.frontend.copied_items import Copy, Source, refuse_changed, with_sources
from jitgrad.frontend.fixed import fix, refuse_names
from jitgrad.frontend.indexing import as_value, place
from jitgrad.frontend.items import nested
from jitgrad.frontend.list_items import LEAF, Item, Leaf, described, inner
from jitgrad.frontend.list_methods import become, joined, refused
from jitgrad.frontend.list_trials import Again, NoItems, Wider
from jitgrad.frontend.places import ChangesPlaces, Place
from jitgrad.frontend.primitives import broadcast_to, cast, concatenate, strong
from jitgrad.frontend.references import other_references
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer, extent
from jitgrad.frontend.views import Box, ReadOnly, View, view_box, view_slice
from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim, add, expr, never_negative
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import index_of, symbol_of


class Growing(Collection):
    """Stands for a list. ``rooms`` are the arrays, with the items along their first axes, from the place ``first`` to
    that before ``count``. ``shifts``: the first place moves, ``leftward``: to the left. ``scope`` is the one in which
    it may become longer now; ``most`` says how much longer it may have become since that was set. ``kept`` are the
    arrays that were appended, with the values of then of what they are parts of. ``probing``: what is recorded is
    dropped, so items may turn out to be of other types. ``whole`` is the list that a fixed row is an item of.
    ``named``: an object that it had at the start has another name.

    With a ``window`` it has no rooms, but the leaves of the last ``width`` items only. ``elastic``: how much room it
    needs is found by running the loop, so places are kept within the room that there is; ``tallied``: that loop is run
    now, and adds up how many items there are at most. ``bursts``: once it gets more
    items than there is room for, its count is beyond all capacities, whatever is taken from it afterwards. ``maxlen``
    is that of a deque; ``full``: it always has as many. ``unrolls``: the loop in which it grows could be unrolled, as
    no branch that is recorded, where it is ``branched``, changes its length. ``copies``: its items are read as copies
    that can't be changed, as it pops and the next one that is appended takes their place. ``sources`` are arrays of
    which it has copies (``copied_items``), ``copied`` those that the loop has put into it. ``written``: a part of an
    item is written. ``aliased``: arrays that it gets have other names."""

    @property
    def __class__(self) -> Any:
        return list

    def __init__(self, trace: Trace, item: Item | None, count: Dim, whole: Growing | None = None) -> None:
        self.trace, self.item, self.count, self.whole = trace, item, count, whole
        self.first: Dim = 0
        self.rooms: list[Tracer] = []
        self.scope: Scope | None = None
        self.home: Scope | None = None
        self.most: Dim = 0
        self.region: Scope | None = None
        self.kept: list[tuple[Tracer, Value, int, Dim]] = []
        self.window: list[list[Any]] | None = None
        self.width = 0
        self.probing = self.viewed = self.rewritten = self.touched = self.popped = self.named = False
        self.shifts = self.leftward = self.elastic = self.tallied = self.bursts = self.full = self.unrolls = False
        self.branched = self.copies = self.written = self.aliased = False
        self.maxlen: int | None = None
        self.sources: Sequence[Source] = ()
        self.copied: Sequence[Source] = ()
        self.moved = self.was_row = False
        self.readers: list[weakref.ref[Growing]] = []
        self.place: Dim | None = None
        self.doubled: Dim | None = None

    def noted(self) -> tuple[Any, ...]:
        """What a trial changes that is dropped, for :meth:`put_back`."""
        return self.first, self.count, self.most, self.scope, self.window, self.doubled, list(self.kept)

    def put_back(self, noted: tuple[Any, ...]) -> None:
        self.first, self.count, self.most, self.scope, self.window, self.doubled, self.kept[:] = noted

    @property
    def limit(self) -> Dim:
        """What its places are at most."""
        return _BEYOND if self.elastic or not self.rooms else self.rooms[0].dims[0]

    @property
    def size(self) -> Dim:
        """How many items there are. None in a trial that has not yet shown what an item is."""
        return 0 if self.probing and self.item is None else add(self.count, _minus(self.first))

    @property
    def shown(self) -> Dim:
        """How many items there are, and none where there is no room for them: what is left of the iteration counts for
        nothing then, and loops in it should end."""
        return self._beyond(0, self.size) if self.bursts else self.size

    def _beyond(self, then: Dim, otherwise: Dim) -> Dim:
        """What is chosen by whether there are more items than there is room for."""
        trace, capacity = self.trace, self.rooms[0].dims[0]
        (found,) = trace.emit("greater", [as_value(trace, self.count), as_value(trace, capacity)], {})
        values = [Tracer(trace, found), as_value(trace, then), as_value(trace, otherwise)]
        return index_of(trace.emit("where", values, {})[0])

    # -- what a list does ----------------------------------------------------------------------------------------

    def append(self, value: Any) -> None:
        if self.maxlen is not None:
            self._need_all()
            self._change_first()
        self._change_length()
        leaves = self._accepted(value)
        if self.window is not None:
            self.window = [*self.window, leaves][-self.width :] if self.width else []
        else:
            self._store(self.count, leaves)
        self._keep(leaves, self.count)
        fix(self.trace, value, self, appended=self.count)
        self.count, self.most = add(self.count, 1), add(self.most, 1)
        if self.bursts:
            self.count = self._beyond(add(self.count, MANY), self.count)
        if self.maxlen is not None:
            self._rewrite()
            least = add(self.count, -self.maxlen)
            self.first = least if self.full else self._extreme("maximum", self.first, least)

    def extend(self, values: Any) -> None:
        if isinstance(values, Collection) and self.scope is None:
            become(self, joined(self, values))
        elif isinstance(values, Collection) or (isinstance(values, Tracer) and not isinstance(values.dims[0], int)):
            list_methods.for_each(values, self.append)
        elif type(values) is not list or not list_methods.extend_by_elements(self, values):
            for value in values if isinstance(values, Tracer) else list(values):
                self.append(value)

    copy, reverse, sort, index = list_methods.copied, list_methods.reverse, list_methods.sort, list_methods.index
    rotate, __add__ = list_methods.rotate, joined

    def __radd__(self, other: Any) -> Any:
        return joined(other, self)

    def __iadd__(self, values: Any) -> Growing:
        self.extend(values)
        return self

    def insert(self, index: Any, value: Any) -> None:
        if type(index) is not int or index != 0 or self.whole is not None:
            raise refused()
        self._need_all()
        self._change_length(front=True)
        if self.bursts:
            raise RollError("how many items it puts in front of a list is not limited.", user_location())
        if not self.leftward:
            self.leftward = True
            self._change_first()
        leaves = self._accepted(value)
        self._change_first()
        self._rewrite()
        self.first, self.most = add(self.first, -1), add(self.most, 1)
        self._store(self.first, leaves)
        self._keep(leaves, self.first)
        fix(self.trace, value, self, appended=self.first)
        if self.maxlen is not None:
            most, self.popped = add(self.first, self.maxlen), True
            self.count = most if self.full else self._extreme("minimum", self.count, most)

    def appendleft(self, value: Any) -> None:
        if self.maxlen is not None and self.maxlen == 0:
            return
        self.insert(0, value)

    def extendleft(self, values: Any) -> None:
        if isinstance(values, Collection):
            raise refused()
        for value in list(values):
            self.appendleft(value)

    def popleft(self) -> Any:
        return self.pop(0)

    def _extreme(self, op: str, a: Dim, b: Dim) -> Dim:
        """The larger or smaller one of two places."""
        if isinstance(more := add(b, _minus(a)), int):
            return b if (more > 0) == (op == "maximum") else a
        (found,) = self.trace.emit(op, [as_value(self.trace, a), as_value(self.trace, b)], {})
        return index_of(found)

    def _not_full(self) -> None:
        if self.full:
            self.full = False
            if self.scope is not None:
                raise Again(self)

    def pop(self, index: Any = -1) -> Any:
        if type(index) is not int or index not in (0, -1):
            raise refused()
        if self._has_arrays and self.viewed:
            if self.copies or self.scope is None:
                raise refused()
            self.copies = True
            raise Again(self)
        self._need_all()
        self._not_full()
        self._change_length()
        if self.item is None:
            raise NoItems(self, "an item of a list is taken that has none in the first iteration.")
        self.aliased |= any(n > 0 for n in other_references(self.trace, [leaf for leaf, *_ in self.kept]))
        found = self._item_at(add(self.first, place(self.trace, index, self.size)), copy=True)
        self._rewrite()
        if index == 0:
            self._change_first()
            self.first = add(self.first, 1)
        else:
            self.count, self.popped = add(self.count, -1), True
        return found

    def clear(self) -> None:
        self._need_all()
        self._not_full()
        self._change_length()
        self._rewrite()
        self.count, self.popped = self.first, True

    def __delitem__(self, index: Any) -> None:
        self.pop(index)

    def _change_first(self) -> None:
        if not self.shifts:
            self.shifts = True
            if self.scope is not None:
                raise Again(self)

    def _need_all(self) -> None:
        """The last items are not enough."""
        if self.window is not None:
            raise Wider(self, None)

    def __len__(self) -> int:
        if not isinstance(self.size, int):
            raise refused()
        return self.size

    def __bool__(self) -> bool:
        if self.size == 0:
            return False
        if not never_negative(add(self.size, -1)):
            raise refused()
        return True

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return list_methods.part(self, index)
        if self.item is None:
            raise NoItems(self, "an item of a list is read that has none in the first iteration.")
        if self.window is not None:
            return self._in_window(index)
        return self._item_at(add(self.first, place(self.trace, self._index(index), self.size)))

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice) or self.item is None:
            raise refused()
        self._need_all()
        at = add(self.first, place(self.trace, self._index(index), self.size))
        if self._is_item(value, at):
            return  # xs[i] op= v has written it
        if self.item.depth:
            return table_rows.replace(self, at, value)
        if isinstance(value, Growing) or (self._has_arrays and self.viewed):
            raise refused()
        leaves = self._accepted(value)
        if self.whole is not None:
            self._top.written = True
            refuse_names(self.trace, self._top)
        self._rewrite()
        self._store(at, leaves)
        self._keep(leaves, at)
        fix(self.trace, value, self, appended=at)

    def _rewrite(self) -> None:
        """Items leave the list, or get other places. Raises RollError where one has another name, since those that stay
        are made again of what the arrays hold."""
        refuse_several(self.trace, self)
        if self.named:
            raise RollError("it takes objects out of a list that have other names.", user_location())
        table_rows.refuse_doubled(self._top)
        self._top.rewritten = True

    def _in_window(self, index: Any) -> Any:
        if isinstance(index, Tracer) or not index < 0:
            raise Wider(self, None)
        if -index > self.width:
            raise Wider(self, -index)
        assert self.item is not None and self.window is not None
        if self.item.depth:
            raise refused()
        return self._made(self.window[index])

    def _made(self, leaves: Sequence[Any]) -> Any:
        """An item, of what the arrays hold."""
        assert self.item is not None
        if self.item.holds_containers:
            raise refused()  # they can be changed in many ways
        found = self.item.made(leaves)
        fix(self.trace, found, self)
        return found

    @property
    def last(self) -> list[Any]:
        """The leaves of the items of the window."""
        return [leaf for leaves in self.window or () for leaf in leaves]

    def set_last(self, given: Iterator[Any]) -> None:
        """Let the window have these leaves."""
        if self.window:
            self.window = [[next(given) for _ in leaves] for leaves in self.window]

    @property
    def span(self) -> tuple[Dim, Dim]:
        """The first place and the number of items, as a part of the rooms that their ops show to be one."""
        first, size = self.first, self.shown
        if not self.rooms or (isinstance(first, int) and not (self.elastic and self.scope is not None)):
            return first, size
        capacity = self.rooms[0].dims[0]
        first = clipped(self.trace, as_value(self.trace, first), capacity)
        if not isinstance(size, int):  # a difference of two places, as of a slice: so none is out of bounds
            last = clipped(self.trace, as_value(self.trace, add(self.first, size)), capacity)
            size = add(self._extreme("maximum", last, first), _minus(first))
        return first, size

    # -- as what else it is seen -----------------------------------------------------------------------------------

    @property
    def root(self) -> Tracer | None:
        return self.rooms[0] if self.rooms else Tracer(self.trace, self.trace.scalar(0, np.dtype(np.int64)))

    @property
    def weak(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.item.leaves[0].weak if self.item is not None and len(self.item.leaves) == 1 else None

    def length(self) -> Any:
        """``len``: a number, or a traced one."""
        return extent(self.trace, self.shown)

    def truth(self) -> Any:
        """``bool``, which may be traced."""
        size = self.shown
        if isinstance(size, int) or never_negative(add(size, -1)):
            return size != 0
        (found,) = self.trace.emit("greater", [as_value(self.trace, size), as_value(self.trace, 0)], {})
        return Tracer(self.trace, found, "bool")

    def columns(self) -> tuple[optree.PyTreeSpec, list[Tracer]]:
        """The structure of an item, and for each leaf an array of those of all items; none of a list that never had an
        item."""
        if self.item is None:
            return LEAF, []
        if self.item.depth or self.item.of_objects:
            raise refused()
        return self.item.tree, self._columns()

    def _columns(self) -> list[Tracer]:
        self._need_all()
        refuse_changed(self.sources)
        return [strong(Tracer(self.trace, view_slice(r, 0, *self.span).value)) for r in self.rooms]

    def array(self) -> Tracer:
        """What ``np.array`` makes of it."""
        if self.item is None:
            raise NoItems(self, "a list is made an array that has no items in the first iteration.")
        parts = self._columns()
        if len(parts) == 1 and self.item.tree == LEAF:
            return parts[0]
        if (
            self.item.tree.type is not tuple
            or len({x.dims for x in parts}) != 1
            or len(parts) != self.item.tree.num_children
        ):
            raise refused()
        return HOOKS["stack"](parts, axis=1)

    def as_items(self) -> tuple[Dim, Callable[[Any], Any]]:
        """How many there are, and a function of an index that gives one."""
        self._need_all()
        return self.shown, self.__getitem__

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

    def _change_length(self, *, front: bool = False) -> None:
        if self.scope is None and self.home is self.trace.scope and self.whole is None:
            more = [[r, self._nothing(x)] for r, x in zip(self.rooms, self._leaves, strict=True)]
            self.rooms = [concatenate(parts[::-1] if front else parts, 0) for parts in more]
            if front:
                self.first, self.count = add(self.first, 1), add(self.count, 1)
        elif self.whole is not None or self.was_row or self.trace.scope is not self.scope:
            followed = self.scope is None and self.whole is None and not self.was_row
            message = "a list becomes longer or shorter in recorded code where its length is not followed."
            raise ChangesPlaces(message, user_location(), [Place(self, None, True)] if followed else [])
        refuse_several(self.trace, self)
        self.touched = True
        self.unrolls &= not self.branched

    def _accepted(self, value: Any) -> list[Any]:
        """The leaves of a new item, which has to be what the others are."""
        found, leaves = described(self.trace, value)
        joined = found if self.item is None else self.item.joined(found)
        if joined.of_objects and (not joined.leaves or (self.unrolls and any(x.weak in _KNOWN for x in joined.leaves))):
            raise RollError(
                "a list gets objects of numbers that are known where the loop is unrolled.", user_location()
            )
        if joined != self.item:
            self._become(joined)
        return leaves if joined.same == found.same else joined.leaves_of(value)

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
        had, self.item = self.item, item
        if self.window and had is not None and len(had.leaves) != len(item.leaves):
            raise Again(self)  # the window has other leaves from now on
        if self.window is None:
            with self.trace.emitting_in(self.home or self.trace.scope):
                self.rooms = [new_room(self.trace, MANY, leaf) for leaf in item.leaves]

    def _box(self, room: Tracer, at: Dim, size: Dim = 1) -> Box:
        """The box of so many items of a room from a place on, without the axis of the items."""
        dims, n = room.dims, room.ndim
        last = add(dims[0], _minus(size))
        within = never_negative(at) and never_negative(add(last, _minus(at)))
        if not within and self._top.elastic and self.whole is None:
            at = clipped(self.trace, as_value(self.trace, at), last)
        elif not within:
            value = as_value(self.trace, at)
            (found,) = self.trace.emit("wrap_index", [value], {"extent": add(last, 1), "check": False})
            at = expr(symbol_of(found))
        return Box((at, *[0] * (n - 1)), (size, *dims[1:]), (1,) * n, tuple(range(1, n)))

    def _store(self, at: Dim, leaves: Sequence[Any]) -> None:
        assert self.item is not None
        for room, leaf, v in zip(self.rooms, self.item.leaves, leaves, strict=True):
            box = self._box(room, at)
            write_box("set", room, box, fit(cast(strong(self.trace.lift(v)), leaf.type.dtype), box.dims))

    def _keep(self, leaves: Sequence[Any], at: Dim) -> None:
        for k, leaf in enumerate(leaves):
            if is_array(leaf) and not (self.item and self.item.depth):
                self.kept.append((leaf, leaf.root.value, k, at))
                if self.scope is None:  # no loop looks at what is kept
                    self.sources = with_sources(self.sources, [leaf])

    def _item_at(self, at: Dim, *, copy: bool = False) -> Any:
        assert self.item is not None
        refuse_changed(self.sources)
        item = self.item
        if item.depth:
            (leaf,), (room,) = item.leaves, self.rooms
            if copy:
                return nested(Tracer(self.trace, self._box(room, at).read(room).value), leaf.weak, item.depth)
            row = Growing(self.trace, inner(item, leaf), room.dims[1], self)
            row.rooms = [view_box(room, self._box(room, at))]
            row.home, row.place, row.was_row = self.trace.scope, at, True
            self._top.readers = [*(r for r in self._top.readers if r() is not None), weakref.ref(row)]
            return row
        return self._made([self._leaf_at(r, x, at, copy) for r, x in zip(self.rooms, item.leaves, strict=True)])

    def _leaf_at(self, room: Tracer, leaf: Leaf, at: Dim, copy: bool) -> Tracer:
        box = self._box(room, at)
        if leaf.scalar or copy or self.copies:
            value = view_box(room, box).value if type(room) is View else box.read(room).value
            found = Tracer(self.trace, value, leaf.weak)
            found.boxed = not leaf.scalar
            fixed = self.sources or self.aliased or (self.copies and not copy)
            return Copy(self.trace, found, self.sources) if fixed and not leaf.scalar else found
        self.viewed = True
        return view_box(room, ReadOnly(box.starts, box.sizes, box.steps, box.axes))

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
        raise refused()


def clipped(trace: Trace, count: Tracer, capacity: Dim) -> Dim:
    """A count that is between 0 and the capacity, as its ops show."""
    (low,) = trace.emit("maximum", [strong(count), as_value(trace, 0)], {})
    (value,) = trace.emit("minimum", [Tracer(trace, low), as_value(trace, capacity)], {})
    return index_of(value)


#: Room for the items of a list whose number is not known yet; what is recorded with it is dropped.
MANY = 1 << 31


def summed(a: Dim, b: Dim) -> Dim:
    """The sum of two numbers of items, each MANY or more where it is not limited."""
    return MANY if any(isinstance(n, int) and n >= MANY for n in (a, b)) else add(a, b)


#: The kinds of numbers that may be known where a loop is unrolled, as its index is.
_KNOWN = ("int", "bool")
#: More than any capacity.
_BEYOND = 1 << 40


def new_room(trace: Trace, capacity: Dim, leaf: Leaf) -> Tracer:
    """An array for so many items."""
    attrs = {"shape": (capacity, *leaf.type.shape), "dtype": leaf.type.dtype}
    room = Tracer(trace, trace.emit("empty", (), attrs)[0])
    room.boxed = True
    return room


def _minus(d: Dim) -> Dim:
    return -d


def _refuse(*args: Any, **kwargs: Any) -> Any:
    raise refused()


for _name in (
    *("hash", "contains", "reversed", "repr", "str", "format", "array", "copy", "deepcopy", "reduce_ex"),
    *("eq", "ne", "lt", "le", "gt", "ge", "mul", "rmul", "imul"),
):
    setattr(Growing, f"__{_name}__", _refuse)
