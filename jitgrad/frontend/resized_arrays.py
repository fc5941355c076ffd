"""Arrays whose extents change by the same number in each iteration: ``v = p * v[1:] + q * v[:-1]``, ``d = np.diff(d)``.

What a loop carries keeps its shape. So the variable of such an array is a room of the greatest extents that it has, and
the array lies at its front: in iteration ``k`` the body sees a view of ``n + k*c`` elements along an axis that changes
by ``c``. What it makes of it, with ``c`` elements more, is written to the front of the room. What lies behind it is
read by nobody. Where parts are only joined to an array, ``grown_arrays`` does it without a copy.

By how much extents change shows when the body is run for the first iteration, in a trial. Nobody may write into an
array that such a variable stands for: it is another one in each iteration, and may be seen by other names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import CarryError, JitgradError, RollError
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.growing import Growing
from jitgrad.frontend.iteration import Steps
from jitgrad.frontend.list_holders import forget_frames
from jitgrad.frontend.loops import For
from jitgrad.frontend.primitives import broadcast_to, cast
from jitgrad.frontend.rebound import parts
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.frontend.views import Box, View
from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim, add, mul, never_negative
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import index_of

State = tuple[Any, ...]
Errors = tuple[type[JitgradError], ...]


class NotResized(CarryError):
    """An array's extents do not change by the same numbers in each iteration."""

    def __init__(self) -> None:
        super().__init__("the extents of an array do not change by the same number each time.", user_location())


class _Front(Box):
    """What of a room an array is: so many elements from the first one on."""

    __slots__ = ()
    read_only = "an array of which a recorded loop makes a longer or shorter one"
    why_read_only = "where such writes are not followed. Write into the new array, in the iteration that makes it."

    @classmethod
    def of(cls, dims: Sequence[Dim]) -> _Front:
        n = len(dims)
        return cls((0,) * n, tuple(dims), (1,) * n, tuple(range(n)))

    def then(self, other: Box) -> Box | None:
        whole = super().then(other)
        return whole and _Front(whole.starts, whole.sizes, whole.steps, whole.axes)


class _Resized:
    """An array: leaf ``place[1]`` of variable ``place[0]``, and by how much an iteration changes its extents."""

    def __init__(self, trace: Trace, place: tuple[int, int], given: Any, by: Sequence[int]) -> None:
        self.trace, self.place, self.given, self.by = trace, place, given, by
        self.dims = _dims(given) or ()

    def at(self, number: Dim) -> tuple[Dim, ...]:
        """The extents after so many iterations."""
        return tuple(add(n, mul(number, c)) for n, c in zip(self.dims, self.by, strict=True))

    def room(self, count: Dim) -> Tracer:
        """The room for ``count`` iterations, with the array before the loop in it. Raises NotResized where that becomes
        shorter than nothing."""
        trace, last = self.trace, self.at(count)
        if not all(map(never_negative, last)):
            raise NotResized
        room = start = Tracer(trace, trace.own(trace.lift(self.given)))
        dims = tuple(b if c > 0 else a for a, b, c in zip(self.dims, last, self.by, strict=True))
        if dims != self.dims:
            zero = Tracer(trace, trace.scalar(0, start.dtype))
            room = _Front.of(self.dims).write(broadcast_to(zero, dims), start)
        room.boxed = True
        return room


def with_resized_arrays(loop: For, record: Callable[[For], State], refused: Errors) -> State:
    """``record(loop)``; where that raises one of the errors ``refused``, with rooms in the places of the arrays whose
    extents change by the same number in each iteration, if there are any."""
    notes = len(loop.trace.notes)
    try:
        return record(loop)
    except refused as error:
        arrays = _found(loop)
        if not arrays:
            raise
        forget_frames(error)
        first = error
    del loop.trace.notes[notes:]
    resizing = _Resizing(loop, arrays)
    try:
        return resizing.final(record(resizing.loop()))
    except NotResized:
        raise first from None


def _found(loop: For) -> list[_Resized]:
    """The arrays whose extents the first iteration changes, by known numbers."""
    trace, state = loop.trace, loop.state
    if loop.steps.count == 0 or not any(_dims(x) for v in state for x in flatten(v)[0]):
        return []
    notes = len(trace.notes)
    with trace.region("a trial of a loop") as scope:
        try:
            new = loop.body(loop.item(0), *state)
        except JitgradError:
            return []
        finally:
            del trace.notes[notes:]
            scope.restore()
        after = [(tree, [_dims(x) for x in leaves]) for leaves, tree in map(flatten, new)]
    found = []
    for k, (value, (structure, dims)) in enumerate(zip(state, after, strict=True)):
        leaves, tree = flatten(value)
        for j, x in enumerate(leaves if tree == structure else ()):
            was, now = _dims(x), dims[j]
            if was is None or now is None or len(was) != len(now):
                continue
            by = [add(a, mul(b, -1)) for a, b in zip(now, was, strict=True)]
            known = [c for c in by if isinstance(c, int)]
            if any(by) and len(known) == len(by):
                found.append(_Resized(trace, (k, j), x, known))
    return found


class _Resizing:
    """A loop with rooms in the places of some arrays."""

    def __init__(self, inner: For, arrays: Sequence[_Resized]) -> None:
        self.inner, self.trace, self.arrays = inner, inner.trace, arrays

    def loop(self) -> For:
        """The loop to record. Its items are the numbers of the iterations. Raises NotResized."""
        inner = self.inner
        count = inner.steps.count
        state = self._with(inner.state, [r.room(count) for r in self.arrays])
        hints = [h for h in inner.hints if not any(h is r.given for r in self.arrays)]
        steps = Steps(0, count, 1, lambda number: number)
        return inner._replace(steps=steps, body=self._iteration, state=state, hints=hints)

    def final(self, state: State) -> State:
        """The variables behind the loop. An array that may be the one from before it is read only."""
        count = self.inner.steps.count
        arrays: list[Tracer] = []
        for r, room in zip(self.arrays, self._of(state), strict=True):
            array = View(room, _Front.of(r.at(count)))
            if never_negative(add(count, -1)):
                arrays.append(Tracer(self.trace, array.value))
                arrays[-1].boxed = True
            else:
                arrays.append(array)
        return self._with(state, arrays)

    def _iteration(self, number: Any, *values: Any) -> State:
        inner, trace = self.inner, self.trace
        k = index_of(trace.own(number)) if isinstance(number, Tracer) else number
        rooms = self._of(values)
        entered = [(x, x.value) for x in self._others(values)]
        fronts = [View(room, _Front.of(r.at(k))) for r, room in zip(self.arrays, rooms, strict=True)]
        new = inner.body(inner.item(number), *self._with(values, fronts))
        if inner.flagged is not None and new[inner.flagged] is not False:
            raise RollError(
                "a loop that makes arrays longer or shorter may end early: how long they are then is not known.",
                user_location(),
            )
        arrays = self._of(new)
        for r, x in zip(self.arrays, arrays, strict=True):
            if _dims(x) != r.at(add(k, 1)) or isinstance(x, Growing):
                raise NotResized
        arrays = [trace.lift(x) for x in arrays]
        self._refuse_other_names(rooms, entered, arrays, new)
        # The last one made is stored first: an array may be computed from others, of which then the rooms still have
        # what those were computed from, and needs no memory of its own before it is stored.
        made = {value: n for n, op in enumerate(trace.builder.ops) for value in op.results}
        order = sorted(range(len(arrays)), key=lambda j: made.get(arrays[j].value, -1), reverse=True)
        stored = {j: self._stored(rooms[j], arrays[j]) for j in order}
        return self._with(new, [stored[j] for j in range(len(arrays))])

    def _stored(self, room: Tracer, array: Tracer) -> Tracer:
        """The room with an array at its front."""
        if room.dtype != array.dtype:
            if self.inner.begins:
                raise CarryError("an array has another dtype after the first iteration.", user_location())
            dtype = np.result_type(room.dtype, array.dtype)
            room, array = cast(room, dtype), cast(array, dtype)
        stored = Tracer(self.trace, _Front.of(array.dims).write(room, array).value)
        stored.boxed = True
        return stored

    def _refuse_other_names(
        self, rooms: Sequence[Tracer], entered: Sequence[tuple[Tracer, Value]], arrays: Sequence[Tracer], new: State
    ) -> None:
        """Raise RollError where an array may be written by another name: a room does not show it. ``entered`` are the
        other arrays among the variables, with their values when the iteration began; ``arrays`` are the new ones."""
        scope = self.trace.scope
        before = [root for r in self.arrays if isinstance(r.given, Tracer) for root in parts(r.given.root)]
        starts = [x for x, _ in zip(self._others(self.inner.state), entered, strict=True)]
        written = [x for x, (p, value) in zip(starts, entered, strict=True) if p.value is not value]
        if any(root in scope.written for root in before) or _share(before, written):
            raise _other_name()
        after = [x for x in arrays if not any(x.root is room for room in rooms)]
        roots = [root for x in after for root in parts(x.root)]
        if any(root in scope.written for root in roots) or _share(roots, self._others(new)):
            raise _other_name()
        if scope.changed and any(type(x) is View and x.root.scope is scope for x in after):
            raise _other_name()  # an attribute may hold what it is a view of

    # -- places in the variables -----------------------------------------------------------------------------------

    def _of(self, state: Sequence[Any]) -> list[Any]:
        """What is in the places of the arrays. Raises NotResized where there are none any more."""
        trees = [flatten(v)[1] for v in self.inner.state]
        found = [flatten(v) for v in state]
        if any(found[r.place[0]][1] != trees[r.place[0]] for r in self.arrays):
            raise NotResized
        return [found[k][0][j] for k, j in (r.place for r in self.arrays)]

    def _with(self, state: Sequence[Any], arrays: Sequence[Tracer]) -> State:
        """The variables with others in the places of the arrays."""
        given, result = {r.place: x for r, x in zip(self.arrays, arrays, strict=True)}, list(state)
        for k in {k for k, _ in given}:
            leaves, tree = flatten(state[k])
            result[k] = unflatten(tree, [given.get((k, j), x) for j, x in enumerate(leaves)])
        return tuple(result)

    def _others(self, state: Sequence[Any]) -> Iterator[Tracer]:
        """The other arrays among the variables."""
        places = {r.place for r in self.arrays}
        for k, value in enumerate(state):
            yield from (x for j, x in enumerate(flatten(value)[0]) if is_array(x) and (k, j) not in places)


def _share(roots: Sequence[Tracer], arrays: Iterator[Tracer] | Sequence[Tracer]) -> bool:
    """Is one of them among the arrays that hold the elements of others?"""
    return any(root is other for x in arrays for other in parts(x.root) for root in roots)


def _other_name() -> RollError:
    return RollError(
        "an array of which a loop makes a longer or shorter one may be written by another name.", user_location()
    )


def _dims(x: Any) -> tuple[Dim, ...] | None:
    """The extents of an array that has any; None for anything else."""
    if isinstance(x, Tracer):
        return x.dims if is_array(x) and x.dims else None
    return x.shape if isinstance(x, np.ndarray) and x.shape else None
