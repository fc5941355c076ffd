"""Arrays that a recorded loop makes longer: ``xs = np.append(xs, v)``, and what else joins new parts to one.

NumPy makes a new array each time. Only the last one goes on to the next iteration, so one array with room for all of
them will do: a :class:`GrownArray` takes the place of the variable's array, as a ``Growing`` does that of a list
(``growth``). What the body sees is a view of so much of the room as is filled. A new part is written behind it, and the
result is a view of more: the views from before still show what they did, as nothing else writes into the room.

That a loop does this shows when it is recorded: the arrays are noted to which parts were joined. Those to which
a variable stands for something else after an iteration are left alone (:class:`NotGrown`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from jitgrad.errors import CarryError, RollError
from jitgrad.frontend.assign import write_box
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.growing import Growing, new_room
from jitgrad.frontend.list_items import LEAF, Item, Leaf
from jitgrad.frontend.list_trials import Wider
from jitgrad.frontend.primitives import cast, move_axis, strong
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.frontend.views import Box, View
from jitgrad.ir.index import Dim, add, mul, never_negative
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType

State = tuple[Any, ...]


class Joined(NamedTuple):
    """An array to which parts were joined along an axis: behind it, or in front of it."""

    array: Tracer
    axis: int
    front: bool


class NotGrown(CarryError):
    """A variable stands for something else than its array with more parts after an iteration."""

    def __init__(self, which: GrownArray) -> None:
        super().__init__(
            "an array that a recorded loop joins parts to is not what its variable stands for after an iteration.",
            user_location(),
        )
        self.which = which

    def without(self, arrays: Sequence[Any]) -> list[Any]:
        """The arrays but this one, of those that a loop was recorded with."""
        return [x for x in arrays if x.value is not self.which.start]


class GrownArray(Growing):
    """Stands for an array that becomes longer along ``axis``. The room has that axis first, and its elements in the
    other order if parts are put in ``front``. ``start`` is the array before the loop."""

    def __init__(self, trace: Trace, start: Any, axis: int, front: bool) -> None:
        array = trace.lift(start)
        dims = array.dims
        rest = (*dims[:axis], *dims[axis + 1 :])
        if not all(isinstance(n, int) for n in rest):
            raise RollError("an array grows whose other extents are not known.", user_location())
        item = Item(LEAF, (Leaf(TensorType(array.dtype, rest), False, None),))
        super().__init__(trace, item, dims[axis])
        self.start, self.axis, self.front = start, axis, front

    def in_room(self, part: Tracer) -> Tracer:
        """A part as it lies in the room."""
        part = move_axis(part, self.axis, 0)
        return part[::-1] if self.front else part

    def version(self) -> View:
        """The array as it is now."""
        (leaf,) = self._leaves
        room = self._ends() if self.window is not None else self.rooms[0]
        n, count = room.ndim, self.count
        starts: tuple[Dim, ...] = (add(count, -1) if self.front else 0, *[0] * (n - 1))
        axes = [*range(1, n)]
        axes.insert(self.axis, 0)
        steps = (-1 if self.front else 1, *[1] * (n - 1))
        cls = Version if self.window is None else _Ends
        return View(room, cls(starts, (count, *leaf.type.shape), steps, tuple(axes), self))

    def _ends(self) -> Tracer:
        """The last parts that went into the room, where there is none."""
        assert self.window is not None
        if not self.window:
            return new_room(self.trace, 1, self._leaves[0])
        return HOOKS["stack"]([x for (x,) in self.window])

    def last_of(self, count: int) -> list[list[Any]]:
        """The last items of the array before the loop, as there are in a window."""
        room = self.in_room(strong(self.trace.lift(self.start)))
        size = room.dims[0]
        if not isinstance(size, int):
            raise RollError(
                "a while loop makes an array longer whose length before it is not known. Make it long enough before, "
                "and count.",
                user_location(),
            )
        return [[room[k]] for k in range(max(0, size - count), size)]

    def final(self) -> Tracer:
        """An array of its own, as it is behind the loop."""
        (room,) = self.rooms
        whole = room.dims[0] == self.count and self.axis == 0 and not self.front
        array = Tracer(self.trace, room.value if whole else self.version().value)
        array.boxed = True
        return array

    def is_newest(self, x: Any) -> bool:
        """Is it the array as it is now?"""
        return type(x) is View and isinstance(x._lens, Version) and x._lens.of is self and x._lens.count == self.count

    def join(self, part: Tracer) -> None:
        """Make it longer by a part."""
        self._change_length()
        piece = self.in_room(part)
        size = piece.dims[0]
        if size == 0:
            return
        if self.window is not None:
            if not isinstance(size, int):
                raise RollError("an array grows by parts whose extents are not known.", user_location())
            rows = [[piece[k]] for k in range(size)]
            self.window = [*self.window, *rows][-self.width :] if self.width else []
            self.count = add(self.count, size)
            return
        box = self._box(self.rooms[0], self.count, size)
        kept = Box(box.starts, box.sizes, box.steps, tuple(range(len(box.sizes))))
        write_box("set", self.rooms[0], kept, piece)
        self.count, self.most = add(self.count, size), add(self.most, size)


class Version(Box):
    """What of the room an array was when this many elements were in it."""

    __slots__ = ("count", "of")
    read_only = "an array that a recorded loop makes longer"
    why_read_only = "where such writes are not followed. Write into the part before it is joined, or use a list."

    def __init__(
        self, starts: Any, sizes: Any, steps: tuple[int, ...], axes: tuple[int | None, ...], of: GrownArray
    ) -> None:
        super().__init__(starts, sizes, steps, axes)
        self.of, self.count = of, of.count

    def then(self, other: Box) -> Box | None:
        whole = super().then(other)
        return whole and _PartOfVersion(whole.starts, whole.sizes, whole.steps, whole.axes)


class _Ends(Version):
    """A version of an array of which there are the last items only, in a loop that is recorded to count its iterations.
    The base is an array of those."""

    __slots__ = ()

    def read(self, x: Tracer) -> Tracer:
        raise _needs_all()

    def then(self, other: Box) -> Box | None:
        whole = super().then(other)
        if whole is None or not isinstance(whole.sizes[0], int):
            raise _needs_all()
        (start, *starts), step = whole.starts, whole.steps[0]
        low = add(start, min(0, step) * (whole.sizes[0] - 1))
        back = add(self.count, -low)
        if not isinstance(back, int):
            raise _needs_all()
        if back > self.of.width:
            raise Wider(self.of, back)
        first = self.of.width - back + max(0, -step) * (whole.sizes[0] - 1)
        return _PartOfVersion((first, *starts), whole.sizes, whole.steps, whole.axes)


def _needs_all() -> RollError:
    return RollError(
        "a while loop that may run any number of times reads more of an array that it makes longer than its length "
        "and the items at its end, by constant indices.",
        user_location(),
    )


class _PartOfVersion(Box):
    __slots__ = ()
    read_only, why_read_only = Version.read_only, Version.why_read_only

    def then(self, other: Box) -> Box | None:
        whole = super().then(other)
        return whole and _PartOfVersion(whole.starts, whole.sizes, whole.steps, whole.axes)


def join_grown(tracers: Sequence[Tracer], axis: int, dtype: Any) -> View | None:
    """``np.concatenate`` of arrays, the first or the last of which grows in the loop that is recorded; None for others,
    which are noted."""
    first, last = tracers[0], tracers[-1]
    for x, front in ((first, False), (last, True)):
        lens = x._lens if type(x) is View else None
        if not isinstance(lens, Version):
            continue
        g = lens.of
        if g.is_newest(x) and (g.axis, g.front) == (axis, front) and x.dtype == dtype and len(tracers) > 1:
            parts = [cast(strong(t), dtype) for t in (tracers[-2::-1] if front else tracers[1:])]
            for part in parts:
                g.join(part)
            return g.version()
    for noted in first.owner.joined:
        noted += [Joined(last, axis, True), Joined(first, axis, False)]
    return None


# -- variables ---------------------------------------------------------------------------------------------------------


def mapped(state: Sequence[Any], f: Callable[[Any], Any]) -> State:
    """The state with ``f`` of its leaves; what holds none that change stays the object that it is."""
    found = []
    for value in state:
        leaves, tree = flatten(value)
        new = [f(x) for x in leaves]
        found.append(value if all(a is b for a, b in zip(leaves, new, strict=True)) else unflatten(tree, new))
    return tuple(found)


def seen(state: Sequence[Any]) -> State:
    """The state as the program sees it: arrays in the places of what stands for them."""
    return mapped(state, lambda x: x.version() if type(x) is GrownArray else x)


def hidden(state: Sequence[Any], lists: Sequence[Growing]) -> State:
    """The state with what stands for arrays in their places."""
    arrays = [g for g in lists if type(g) is GrownArray]

    def stand_in(x: Any) -> Any:
        return next((g for g in arrays if g.is_newest(x)), x)

    return mapped(state, stand_in) if arrays else tuple(state)


def refuse_other(start: State, new: State) -> None:
    """Raise NotGrown where a variable had an array that grows before an iteration, and has something else after it."""
    for before, after in zip(start, new, strict=True):
        leaves, tree = flatten(before)
        others, structure = flatten(after)
        for k, g in enumerate(leaves):
            if type(g) is GrownArray and (tree != structure or others[k] is not g):
                raise NotGrown(g)


class Watch:
    """Finds the arrays of a loop's variables that its body makes longer."""

    def __init__(self, trace: Trace, state: State) -> None:
        self.trace, self.state = trace, state
        self._params: list[tuple[int, int, Tracer]] = []
        self._noted: list[Joined] = []

    def body(self, body: Callable[..., State]) -> Callable[..., State]:
        """The body, which takes note of what its variables stand for."""

        def run(*args: Any) -> State:
            values = args[len(args) - len(self.state) :]
            self._params = [(k, j, x) for k, v in enumerate(values) for j, x in enumerate(_arrays(v)) if x is not None]
            new = body(*args)
            after = [_arrays(v) for v in new]
            changed = []
            for k, j, x in self._params:
                y = after[k][j] if j < len(after[k]) else None
                if y is None or y.dims != x.dims:
                    changed.append((k, j, x))
                if y is not None and (axis := _longer_along(x, y)) is not None:
                    self._noted.insert(0, Joined(x, axis, False))
            self._params = changed
            return new

        return run

    @contextmanager
    def looking(self) -> Iterator[None]:
        self.trace.joined.append(self._noted)
        try:
            yield
        finally:
            self.trace.joined = [x for x in self.trace.joined if x is not self._noted]

    def found(self) -> list[tuple[Any, Joined]]:
        """Leaves of the variables before the loop, and how parts are joined to them."""
        found: list[tuple[Any, Joined]] = []
        for k, j, x in self._params:
            how = next((n for n in reversed(self._noted) if self._is(n.array, x)), None)
            leaves = flatten(self.state[k])[0]
            if how is None or j >= len(leaves) or type(leaves[j]) is GrownArray or isinstance(x, Growing):
                continue
            if not any(leaves[j] is y for y, _ in found):
                found.append((leaves[j], how))
        return found

    def _is(self, noted: Tracer, x: Tracer) -> bool:
        """Is it that array? One of known contents is a constant where it is joined."""
        if x.concrete is None or type(noted) is not Tracer or noted.owner is not self.trace:
            return noted is x
        return noted.value is self.trace.array(x.concrete)


def _longer_along(x: Tracer, y: Tracer) -> int | None:
    """The axis along which one array is longer than another, if that is the only difference: where it is not noted
    what was joined, as for arrays of known contents, which NumPy joins, parts may have been joined there."""
    if x.ndim != y.ndim:
        return None
    axes = [k for k, (a, b) in enumerate(zip(x.dims, y.dims, strict=True)) if a != b]
    return axes[0] if len(axes) == 1 and never_negative(add(y.dims[axes[0]], mul(x.dims[axes[0]], -1))) else None


def _arrays(value: Any) -> list[Any]:
    """The leaves, with None for those that are no arrays."""
    return [x if isinstance(x, Tracer) and is_array(x) and x.dims else None for x in flatten(value)[0]]
