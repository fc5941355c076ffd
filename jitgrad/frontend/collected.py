"""Lists that a recorded loop appends to: ``path.append(x)`` in each iteration.

A list exists only while the function is traced, and a recorded body runs once for all iterations. What it appends is
written into an array with room for all iterations; behind the loop the list gets the elements of that array.

The syntax says which lists a body does nothing else with (``syntax_nodes.only_appended``), but to read the last item,
which is a variable of the loop then. Nothing else may refer to them. For lists that attributes and items hold see
``held_lists``. What is appended is a number, or an array that the iteration has made: one that is there for longer
would have to show what is written into it later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import optree

from jitgrad.errors import RollError
from jitgrad.frontend.appended_arrays import as_names, other_names
from jitgrad.frontend.assign import setitem
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.chosen_containers import cells_in
from jitgrad.frontend.copied_items import Copy
from jitgrad.frontend.fixed import objects_in
from jitgrad.frontend.items import element, elements, listed
from jitgrad.frontend.loops import For
from jitgrad.frontend.recording import record_for
from jitgrad.frontend.references import other_references
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.core import Value
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType

State = tuple[Any, ...]

#: Values that an iteration may append.
_MOST = 32


class OfObjects(RollError):
    """A list gets objects that can be changed by other names."""


class _Leaf(NamedTuple):
    """What is appended: where it comes first among the leaves, its type, and whether it is a number, one of Python's
    perhaps."""

    place: tuple[int, int]
    type: TensorType
    scalar: bool
    weak: str | None


class _Appended(NamedTuple):
    """What an iteration appends to a list. ``items`` says, for a list of the elements of an array, which is the only
    leaf, whether they are numbers, and of which kind."""

    tree: optree.PyTreeSpec
    leaves: tuple[_Leaf, ...]
    items: tuple[bool, str | None] | None

    def rebuilt(self, leaves: Sequence[Tracer]) -> Any:
        """What is in the list for one iteration."""
        if self.items is None:
            return unflatten(self.tree, leaves)
        scalar, weak = self.items
        return elements(leaves[0], scalar=scalar, weak=weak)


class Own(NamedTuple):
    """The lists that a loop may append to. Of those in ``read``, which are not empty, it may read the last item."""

    lists: list[list[Any]]
    read: list[list[Any]]

    def clear(self) -> None:
        """Refer to them no longer."""
        self.lists.clear()
        self.read.clear()


def own_lists(trace: Trace, lists: Sequence[Any]) -> list[list[Any]]:
    """Those that are lists which only one variable refers to."""
    counts = other_references(trace, lists)
    return [obj for obj, others in zip(lists, counts, strict=True) if type(obj) is list and others <= 0]


def record_collecting(loop: For, own: Own) -> State:
    """``record_for`` of a loop that runs a known number of times and may append to lists. It does not end early."""
    trace, body, item, hints, look, begins = loop.trace, loop.body, loop.item, loop.hints, loop.look, loop.begins
    lists, read = own
    count, variables = len(loop.steps), len(loop.state)
    state = (*loop.state, *(x[-1] for x in read))
    names = (*loop.names, *("the last item of a list" for _ in read))
    taker = _Taker(trace, lists)
    held: dict[int, list[int]] = {}  # variables that hold appended arrays, and which of their leaves do

    def iteration(index: Tracer, *values: Any) -> State:
        nonlocal held
        taker.enter(values)
        _begin(read, values[variables:])
        new = body(item(index), *values[:variables])
        _refuse_names_of(values[variables:], taker, new)
        new = (*new, *(x[-1] for x in read))
        taker.take(new)
        held = other_names(trace, values[:variables], new[:variables], taker.arrays, taker.known)
        return new

    def storing(index: Tracer, *values: Any) -> State:
        new = iteration(index, *values)
        if taker.appended != appended:
            raise RollError("what it appends to a list changes.", user_location())
        for leaf, room in rooms.items():
            setitem(room, index, taker.values[leaf.place[0]][leaf.place[1]])
        return new

    trace.collecting += own
    try:
        with trace.region("a trial of a loop body") as scope:
            try:
                record_for(trace, 0, count, 1, iteration, state, names, hints, look=look, begins=begins)
            finally:
                scope.restore()
        appended = taker.appended
        rooms = {leaf: _room(trace, count, leaf) for one in appended for leaf in one.leaves}
        arrays = [[rooms[leaf] for leaf in one.leaves] for one in appended]
        result = record_for(trace, 0, count, 1, storing, state, names, (*hints, arrays), look=look, begins=begins)
    finally:
        taker.put_back()
        del trace.collecting[-len(own) :]
    if trace.scopes:
        for one in lists:
            trace.scopes[-1].note_change(one)
    last: list[list[Any]] = []
    for k in range(count):
        last = [
            [element(a, k, scalar=leaf.scalar, weak=leaf.weak) for a, leaf in zip(targets, one.leaves, strict=True)]
            for targets, one in zip(arrays, appended, strict=True)
        ]
        for number, (one, leaves) in zip(taker.targets, zip(appended, last, strict=True), strict=True):
            lists[number].append(one.rebuilt(leaves))
    # A variable that stands for what was appended last stands for that element of the list.
    pairs = list(zip(taker.same, result, strict=True))[:variables]
    all_rooms = list(rooms.values())
    return tuple(
        last[at[0]][at[1]] if at is not None else as_names(trace, v, held.get(n, ()), all_rooms)
        for n, (at, v) in enumerate(pairs)
    )


def _begin(lists: Sequence[list[Any]], lasts: Sequence[Any]) -> None:
    """Let an iteration find these items at the end of the lists."""
    for one, last in zip(lists, lasts, strict=True):
        one[-1] = last


def _refuse_names_of(lasts: Sequence[Any], taker: _Taker, new: State) -> None:
    """Raise RollError where an iteration has written into the array that is the last item of a list, or lets a variable
    stand for it: it is an element of the array with room for all."""
    arrays = [leaf for x in lasts for leaf in flatten(x)[0] if is_array(leaf)]
    kept = [leaf for x in new for leaf in flatten(x)[0] if is_array(leaf)]
    if any(taker.has_changed(x) or any(x.root is y.root for y in kept) for x in arrays):
        raise RollError("it writes into the last item of a list, or gives it another name.", user_location())


def _room(trace: Trace, count: int, leaf: _Leaf) -> Tracer:
    attrs = {"shape": (count, *leaf.type.shape), "dtype": leaf.type.dtype}
    array = Tracer(trace, trace.emit("empty", (), attrs)[0])
    array.boxed = True
    return array


class _Taker:
    """Takes off the lists what an iteration has appended.

    ``targets`` has the number of the list for each append of an iteration, ``appended`` what it is, ``values`` the
    leaves. ``same`` says of each variable which of the leaves it stands for.
    """

    def __init__(self, trace: Trace, lists: Sequence[list[Any]]) -> None:
        self.trace, self.lists = trace, lists
        self.before = [list(x) for x in lists]
        self.targets: list[int] = []
        self.appended: list[_Appended] = []
        self.values: list[list[Any]] = []
        self.same: list[tuple[int, int] | None] = []
        self._params: list[tuple[Tracer, Value]] = []

    def enter(self, state: State) -> None:
        """Take note of the arrays that the variables stand for when an iteration begins."""
        self._params = [(leaf, leaf.value) for v in state for leaf in flatten(v)[0] if is_array(leaf)]

    def has_changed(self, leaf: Any) -> bool:
        """Was an array written that was noted when the iteration began?"""
        return any(array is leaf and value is not leaf.value for array, value in self._params)

    def take(self, new: State) -> None:
        """After an iteration. Raises RollError for what can't be stored in an array."""
        self.targets, self.appended, self.values = [], [], []
        self._places: dict[int, tuple[int, int]] = {}
        trees = [one[len(before) :] for one, before in zip(self.lists, self.before, strict=True)]
        for number, items in enumerate(trees):
            for tree in items:
                self._take(number, tree)
                del tree  # references count
        self.put_back()
        self._refuse_named(trees)
        places = self._places
        changed = self.trace.scopes[-1].changed
        changed[:] = [c for c in changed if not any(c[0] is one for one in self.lists)]
        if sum(map(len, self.values)) > _MOST:
            raise RollError("an iteration appends many values to lists.", user_location())
        self.same = [places.get(id(v)) if is_array(v) else None for v in new]

    def _take(self, number: int, tree: Any) -> None:
        """Take note of one item that the list of that number has got."""
        array, items = listed(tree) if type(tree) is list else None, None
        if array is not None and len({(x.boxed, x.weak) for x in tree}) == 1:
            items = not is_array(tree[0]), tree[0].weak
        if objects_in(tree):
            raise OfObjects("it appends objects to a list.", user_location())
        leaves, spec = flatten(tree if items is None else array)
        at = [self._places.setdefault(id(leaf), (len(self.values), n)) for n, leaf in enumerate(leaves)]
        self.targets.append(number)
        self.appended.append(_Appended(spec, tuple(map(self._kind, at, leaves)), items))
        self.values.append(leaves)

    def _refuse_named(self, items: Sequence[Sequence[Any]]) -> None:
        """Raise OfObjects for lists and dicts that are items, or in items, and have other names: a change by those
        would not be seen."""
        cells = [x for one in items for x in cells_in(one)]
        if any(n > 0 for n in other_references(self.trace, cells)):
            raise OfObjects("it appends lists that have other names to a list.", user_location())

    def _kind(self, place: tuple[int, int], leaf: Any) -> _Leaf:
        if not isinstance(leaf, Tracer) or not all(isinstance(n, int) for n in leaf.dims):
            raise RollError("it appends something other than traced values of known shapes to a list.", user_location())
        scalar = not is_array(leaf)
        if not scalar:
            root, starts = leaf.root, [value for array, value in self._params if array is leaf]
            made = root.owner is self.trace and root.scope is self.trace.scope and type(root) is not Copy
            if not (starts[0] is leaf.value if starts else made):
                raise RollError("it appends an array to a list that is made before, or written again.", user_location())
        return _Leaf(place, leaf.type, scalar, leaf.weak)

    @property
    def arrays(self) -> list[tuple[Tracer, bool]]:
        """What was appended that is an array, none of which an object holds."""
        return [(x, False) for leaves in self.values for x in leaves if is_array(x)]

    @property
    def known(self) -> set[int]:
        """The variables of which it is known which items they are behind the loop."""
        return {n for n, at in enumerate(self.same) if at is not None}

    def put_back(self) -> None:
        """Give the lists what they held, as if nothing had been appended."""
        for one, before in zip(self.lists, self.before, strict=True):
            one[:] = before
