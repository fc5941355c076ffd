"""Recording loops and branches of the user's Python as ops with regions.

A body is a function from the values of its variables to their new values. It is run once with traced values in their
place; what it changes is carried. Variables whose types do not settle after the first run are promoted, and the body
is recorded again, until they do. Arrays that the body writes into are found while it runs: each becomes a carried
value, and the handle stands for the last one afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import CarryError, ConcretizationError, MutationError, RollError
from jitgrad.frontend.carries import (
    describe,
    is_array,
    join,
    leaves_of,
    made_traced,
    rebuilt,
)
from jitgrad.frontend.cells import LoopCells
from jitgrad.frontend.chosen import Chosen, Lost, lose
from jitgrad.frontend.concrete import is_captured, thaw
from jitgrad.frontend.identity import Names, Referent, Referents
from jitgrad.frontend.objects import held_by, may_open
from jitgrad.frontend.packed import parts_of
from jitgrad.frontend.places import Places, with_places
from jitgrad.frontend.primitives import cast
from jitgrad.frontend.rebound import Rebound, parts
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.signature import flatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer
from jitgrad.frontend.views import share_memory
from jitgrad.ir.core import Block, Op, Value
from jitgrad.ir.index import Dim, IndexExpr, Sym, mod
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import block_uses, may_be_empty, set_limits, trip_count
from jitgrad.ir.types import TensorType, bool_, i64

#: A body is recorded at most so often before its types count as not settling.
_ATTEMPTS = 8

State = tuple[Any, ...]


class _Carried:
    """What a loop carries: its variables, and the arrays that it writes into."""

    def __init__(
        self, trace: Trace, names: Sequence[str], state: State, roots: Sequence[Tracer], *, begins: bool = False
    ) -> None:
        self.trace, self.start = trace, state
        self.cells = LoopCells(trace, begins=begins)
        self.variables = [describe(n, v) for n, v in zip(names, state, strict=True)]
        self.roots: list[Tracer] = []
        self.add_roots(roots)

    def add_roots(self, roots: Sequence[Tracer]) -> None:
        for r in roots:
            if not any(r is known for known in self.roots):
                self.roots.append(r)

    def enter(self, scope: Scope) -> State:
        """Parameters for everything that is carried; returns the variables' values in the region."""
        values = []
        self.params: list[tuple[Any, Tracer, Value]] = []  # the first value of each traced leaf, and its parameter
        for v, start in zip(self.variables, self.start, strict=True):
            given = leaves_of(v, start)
            params: list[Tracer] = []
            for part in parts_of(v):
                if part.shape is not None:
                    params += part.numbers(scope.param(part.type, v.name))
                    continue
                (leaf,) = part.of(given)
                p = scope.param(part.type, v.name if len(v.slots) == 1 else None, part.slot.weak)
                p.boxed = is_array(leaf)
                p.order = leaf.order if type(leaf) is Tracer else None
                params.append(p)
                self.params.append((leaf, p, p.value))
            values.append(rebuilt(v, params))
        for r in self.roots:
            r.rebind(scope.param(r.type, r.value.name).value)
        self.cells.enter(self.variables, self.start, values)
        return tuple(values)

    def names_after(self, scope: Scope, new: State) -> None:
        """Take note of which arrays the variables stand for after an iteration. ``assigned`` are the variables by whose
        names the body writes, and ``written`` those whose first arrays it may write, as numbers of traced leaves."""
        leaves = []
        for v, value in zip(self.variables, new, strict=True):
            given = leaves_of(v, value)
            leaves += [given[part.first] for part in parts_of(v) if part.shape is None]
        starts = [leaf for leaf, _, _ in self.params]
        self.names = Names(scope, starts, [p for _, p, _ in self.params], leaves)
        self.assigned = [k for k, (_, p, value) in enumerate(self.params) if p.value is not value]
        targets = {p for places in self.names.during(None) for k in self.assigned for p in places[k]}
        first = self.names.during(None)[0]
        self.written = {k for k, places in enumerate(first) if any(p.overlaps(q) for p in places for q in targets)}

    def watch(self, scope: Scope) -> list[tuple[Tracer, Value]]:
        """The arrays before the loop that it may write into, each as a value that the region, which was just entered,
        reads by other names only."""
        roots = [root for k in sorted(self.written) for root in parts(self.params[k][0].root)]
        for r in roots:
            if r.owner is self.trace and not any(r is known for known in self.roots):
                r.rebind(scope.param(r.type).value)
        return [(r, r.value) for r in roots]

    def refuse_stale(self, scope: Scope, blocks: Sequence[Block], trips: Dim | None) -> None:
        """Raise RollError where an iteration reads an array by one name after it was written by another one: each name
        has a value of its own in the loop."""
        used = {value for block in blocks for value in block_uses(block)}
        read = [k for k, (_, _, value) in enumerate(self.params) if value in used]
        for places in self.names.during(trips):
            for k in self.assigned:
                if any(p.age is None and p.root is r for p in places[k] for r in self.names.outside):
                    raise _other_name("written")
                if any(p.overlaps(q) for p in places[k] for j in read if j != k for q in places[j]):
                    raise _other_name("read")
            outside = [root for j in read for p in places[j] if p.age is None for root in parts(p.root)]
            if any(root in scope.written for root in outside):
                raise _other_name("read")

    def overlaps(self) -> bool:
        """Does an array that is written share elements with one that another name stands for?"""
        arrays = {k: leaf for k, (leaf, _, _) in enumerate(self.params) if is_array(leaf)}
        return any(share_memory(arrays[k], other) for k in self.written for j, other in arrays.items() if j != k)

    def opened(self, new: State) -> list[Any]:
        """The first objects of variables that stand for others after an iteration, and what these hold."""
        pairs = [
            (slot.value, leaf)
            for v, value in zip(self.variables, new, strict=True)
            for slot, leaf in zip(v.slots, leaves_of(v, value), strict=False)
        ]
        found = [x for x, leaf in pairs if leaf is not x and type(leaf) is type(x) and may_open(x)]
        return [*found, *held_by(found)]

    def settle(self, scope: Scope, new: State, when: str, places: Places) -> bool:
        """Join the types with those of the new values, take in arrays that were written; True if nothing changed."""
        before = self.variables
        found = (made_traced(describe(v.name, value), [scope]) for v, value in zip(before, new, strict=True))
        self.variables = [join(v, after, when) for v, after in zip(before, found, strict=True)]
        for leaf, param, value in self.params:
            if is_array(leaf) and any(root in scope.written for root in parts(leaf.root)):
                raise _other_name("written")
            if type(leaf) is np.ndarray and leaf.ndim and param.value is not value:
                raise _not_ours()
        count = len(self.roots)
        self.add_roots([r for r in scope.written if r.scope is not scope])
        same = all(a.same(b) for a, b in zip(self.variables, before, strict=True))
        same = same and self.cells.settle(self.variables, new, [p.owner for p in places.all])
        return same and len(self.roots) == count

    def yields(self, new: State) -> list[Tracer]:
        """What the region yields."""
        return [*self._fitted(new), *(Tracer(self.trace, r.value) for r in self.roots)]

    def inits(self) -> list[Value]:
        """The operands of the op."""
        return [self.trace.own(t) for t in (*self._fitted(self.start), *self.roots)]

    def _fitted(self, state: State) -> list[Tracer]:
        result = []
        for v, value in zip(self.variables, state, strict=True):
            given = leaves_of(v, value)
            result += [part.value(self.trace, part.of(given), v.name) for part in parts_of(v)]
        return result

    def leave(
        self,
        results: Sequence[Value],
        written: Sequence[Tracer],
        trips: Dim | None,
        ran: Callable[[], Tracer] | None,
    ) -> State:
        """The variables after the op, which ran ``trips`` times (None: not known); ``ran()`` tells whether it did, and
        is None where it always does. Arrays get their new values."""
        given = iter(results)
        tracers: list[Tracer] = []
        arrays: list[Tracer] = []
        for v in self.variables:
            for part in parts_of(v):
                x = Tracer(self.trace, next(given), part.slot.weak if part.shape is None else None)
                x.value.name = x.value.name or (v.name if part.shape is not None or len(v.slots) == 1 else None)
                (tracers if part.shape is None else arrays).append(x)
        for k, (leaf, _, _) in enumerate(self.params):
            tracers[k].boxed = is_array(leaf)
        for r, value in zip(self.roots, given, strict=True):
            if any(r is w for w in written):
                value.name = value.name or r.value.name
                r.store(Tracer(self.trace, value))
        final, packed = iter(self._with_identity(tracers, trips, ran)), iter(arrays)
        values = []
        for v in self.variables:
            found = ([next(final)] if part.shape is None else part.numbers(next(packed)) for part in parts_of(v))
            values.append(rebuilt(v, [x for leaves in found for x in leaves]))
        return self.cells.leave(self.variables, values, trips, ran is None)

    def _with_identity(
        self, tracers: list[Tracer], trips: Dim | None, ran: Callable[[], Tracer] | None
    ) -> list[Tracer]:
        """The arrays that the variables stand for at the end: those from before, where they are known to be some of
        them, as after ``u, v = v, u``."""
        final = self.names.finally_(trips, runs=ran is None)
        known: dict[int, Tracer] = {}
        for k, places in enumerate(final):
            leaf = places[0].leaf if len(places) == 1 and places[0].age is None else None
            if leaf is not None and leaf.type == tracers[k].type:
                known[k] = leaf
        contents = [(leaf, tracers[k]) for k, leaf in known.items()]
        if self.written and isinstance(trips, IndexExpr):
            contents += self._selected(tracers, trips)
        lost = []
        for j in sorted(self.written):
            start = self.params[j][0]
            if found := [value for leaf, value in contents if leaf is start]:
                start.store(found[0])
            else:
                lost += [start.root, *parts(start.root)]
        for root in lost:
            lose(root)
        result: list[Tracer] = []
        for k, tracer in enumerate(tracers):
            result.append(known[k] if k in known else self._new_or_chosen(k, tracer, final, result, ran))
        return result

    def _new_or_chosen(
        self,
        k: int,
        tracer: Tracer,
        final: Referents,
        before: Sequence[Tracer],
        ran: Callable[[], Tracer] | None,
    ) -> Tracer:
        """The array of a variable that stands for no known one from before the loop. Those of the variables ``before``
        it are settled."""
        if not final[k] or tracer.weak:
            return tracer
        made = all(p.age is not None for p in final[k])
        shared = [j for j in range(k) if any(p.overlaps(q) for p in final[k] for q in final[j] if p.age is not None)]
        if shared and made and final[k] == final[shared[0]] and final[k][0].leaf is not None:
            return before[shared[0]]
        if not shared and made:
            return tracer
        if not shared and self.names.always_new(k):
            return tracer if ran is None else Rebound(self.trace, tracer, self.params[k][0], ran)
        sources = [p.root for p in final[k] if p.age is None and type(p.root) is not Lost]
        return Chosen(self.trace, tracer.value, [*sources, *(before[j] for j in shared)])

    def _selected(self, tracers: list[Tracer], trips: IndexExpr) -> list[tuple[Tracer, Tracer]]:
        """The arrays that the loop only permutes with what they contain at the end, where the number of iterations is
        known only at run time."""
        history = self.names.during(None)
        cycle = [k for k in self.written if all(self._start(places[k]) in self.written for places in history)]
        powers: list[dict[int, Any]] = [{k: self._start(places[k]) for k in cycle} for places in history]
        if any(set(power.values()) != set(cycle) for power in powers):
            return []
        trace = self.trace
        (number,) = trace.emit("index", (), {"value": mod(trips, len(powers))})
        contents = {k: tracers[k] for k in cycle}
        for m, power in list(enumerate(powers))[1:]:
            (hit,) = trace.emit("equal", [Tracer(trace, number), Tracer(trace, trace.scalar(m, i64))], {})
            for k in cycle:
                old = contents[power[k]]
                contents[power[k]] = Tracer(trace, trace.emit("where", [Tracer(trace, hit), tracers[k], old], {})[0])
        return [(self.params[k][0], contents[k]) for k in cycle]

    def _start(self, places: Sequence[Referent]) -> int | None:
        """The variable that stood for this array before the loop."""
        leaf = places[0].leaf if len(places) == 1 else None
        return next((k for k, (start, _, _) in enumerate(self.params) if start is leaf and leaf is not None), None)


def hinted_roots(trace: Trace, hints: Sequence[Any]) -> list[Tracer]:
    """The arrays of this trace that lie in some objects, and can be carried. One whose contents are known so far
    becomes a traced one, as it may be written."""
    found: list[Tracer] = []
    for leaf in (leaf for hint in hints for leaf in flatten(hint)[0]):
        if is_captured(leaf):
            continue
        thaw(leaf)
        if isinstance(leaf, Tracer):
            found += [
                root
                for root in parts(leaf.root)
                if root.owner is trace and root.scope.open and not any(root is r for r in found) and root.dims
            ]
    return found


def record_for(
    trace: Trace,
    lo: Dim,
    hi: Dim,
    step: int,
    body: Callable[..., State],
    state: State,
    names: Sequence[str],
    hints: Sequence[Any] = (),
    *,
    index_name: str | None = None,
    what: str = "the body of a loop",
    look: Callable[[Block], None] = lambda block: None,
    begins: bool = False,
    resizing: bool = False,
) -> State:
    """``for i in range(lo, hi, step): state = body(i, *state)`` as one op; returns the last state.

    ``i`` is a traced Python int. ``look`` gets the recorded body, and may raise an error if that should not be a loop.
    ``begins``: the first iteration may be run apart. ``resizing``: an iteration may make containers longer and shorter,
    if they are as long after it. Raises CarryError for variables whose types do not settle, or where that would rid
    them of what hinders.
    """

    def record(places: Places) -> State:
        first = (*state, *places.read())
        carried = _Carried(trace, places.names(names), first, hinted_roots(trace, hints), begins=begins)
        return _recorded_for(trace, (lo, hi, step), places.around(body), carried, places, index_name, what, look)

    return with_places(trace, record, resizing=resizing)


def _recorded_for(
    trace: Trace,
    bounds: tuple[Dim, Dim, int],
    body: Callable[..., State],
    carried: _Carried,
    places: Places,
    index_name: str | None,
    what: str,
    look: Callable[[Block], None],
) -> State:
    location = user_location()
    lo, hi, step = bounds

    def enter(scope: Scope) -> Callable[[], State]:
        index = scope.param(TensorType(i64), index_name, "int")
        set_limits(index.value, lo, hi, step)
        values = carried.enter(scope)
        return lambda: body(index, *values)

    for _ in range(_ATTEMPTS):
        with trace.region(what) as scope:
            run = enter(scope)
            with carried.cells.hiding():
                new = run()
            carried.cells.note_changes(scope)
            places.refuse_others(scope, new, [v.name for v in carried.variables], carried.opened(new))
            places.refuse_lost_keys((carried.start, new))
            places.refuse_late_attributes(carried.start, new)
            if settled := carried.settle(scope, new, "after an iteration", places):
                carried.names_after(scope, new)
                block = scope.finish(carried.yields(new))
                written = list(scope.written)
        if settled:
            trips = trip_count(lo, hi, step)
            carried.refuse_stale(scope, [block], trips)
            _refuse_other_names(trace, carried, enter)
            look(block)
            trace.builder.loc = location
            attrs = {"lo": lo, "hi": hi, "step": step}
            results = trace.builder.emit_op("for", carried.inits(), attrs, (block,)).results
            ran = _once(trace, _is_positive, trips) if may_be_empty(lo, hi, step) else None
            return carried.leave(results, written, trips, ran)
    raise _unsettled(carried)


def record_while(
    trace: Trace,
    test: Callable[..., Any],
    body: Callable[..., State],
    state: State,
    names: Sequence[str],
    hints: Sequence[Any] = (),
    *,
    limits: Mapping[int, tuple[Dim | None, Dim | None]] | None = None,
    what: str = "the body of a loop",
    resizing: bool = False,
) -> State:
    """``while test(*state): state = body(*state)`` as one op; returns the last state.

    ``limits`` gives, by the number of a variable, inclusive bounds that an integer has whenever the body runs.
    ``resizing`` as in :func:`record_for`.
    """

    def record(places: Places) -> State:
        carried = _Carried(trace, places.names(names), (*state, *places.read()), hinted_roots(trace, hints))
        return _recorded_while(trace, places.seen_by(test), places.around(body), carried, places, limits or {}, what)

    return with_places(trace, record, resizing=resizing)


def _recorded_while(
    trace: Trace,
    test: Callable[..., Any],
    body: Callable[..., State],
    carried: _Carried,
    places: Places,
    limits: Mapping[int, tuple[Dim | None, Dim | None]],
    what: str,
) -> State:
    location = user_location()

    def enter(scope: Scope) -> Callable[[], State]:
        values = carried.enter(scope)
        for k, (lo, hi) in limits.items():
            index = values[k].value
            index.symbol = Sym(index.name or "k", lo, hi, payload=index)
        return lambda: body(*values)

    def enter_test(scope: Scope) -> Callable[[], State]:
        values = carried.enter(scope)
        return lambda: (test(*values),)

    for _ in range(_ATTEMPTS):
        with trace.region("the condition of a loop") as scope:
            decision = condition(trace, enter_test(scope)()[0], "while")
            head = scope.finish([decision])
            test_writes = [*scope.written, *places.unknown(scope.outer_changes())]
        with trace.region(what) as scope:
            run = enter(scope)
            with carried.cells.hiding():
                new = run()
            carried.cells.note_changes(scope)
            places.refuse_others(scope, new, [v.name for v in carried.variables], carried.opened(new))
            places.refuse_lost_keys((carried.start, new))
            places.refuse_late_attributes(carried.start, new)
            settled = carried.settle(scope, new, "after an iteration", places)
            if settled:
                carried.names_after(scope, new)
                block = scope.finish(carried.yields(new))
                written = list(scope.written)
        if test_writes:
            raise CarryError(
                "an array or object is written in the condition of a while loop. A condition only looks. Write it in "
                "the body.",
                location,
            )
        if settled:
            carried.refuse_stale(scope, [head, block], None)
            _refuse_other_names(trace, carried, enter)
            _refuse_other_names(trace, carried, enter_test)
            trace.builder.loc = location
            inits = carried.inits()
            results = trace.builder.emit_op("while", inits, {}, (head, block)).results
            return carried.leave(results, written, None, _once(trace, _inlined, head, inits))
    raise _unsettled(carried)


@contextlib.contextmanager
def attempt(
    trace: Trace, kinds: type[BaseException] | tuple[type[BaseException], ...] = BaseException
) -> Iterator[None]:
    """Where the code inside fails with an error of these ``kinds``, its ops with effects are taken back, and what uses
    their results: what is recorded instead would draw and print once more. Others may be used elsewhere, as handles of
    generators are. What it chose among containers is forgotten."""
    first, gone, kept = len(trace.builder.ops), set[Value](), list[Op]()
    alternatives, scope, fixed = list(trace.alternatives), trace.scope, dict(trace.scope.fixed)
    chosen = list(trace.chosen_items)
    try:
        yield
    except kinds:
        for op in trace.builder.ops[first:]:
            if op.effects or not gone.isdisjoint(_operands([op])):
                gone.update(op.results)
            else:
                kept.append(op)
        trace.builder.ops[first:] = kept
        trace.alternatives, trace.chosen_items, scope.fixed = alternatives, chosen, fixed
        raise


def _once(trace: Trace, emit: Callable[..., Tracer], *args: Any) -> Callable[[], Tracer]:
    """A function that does ``emit(trace, *args)`` in the scope that is recorded now, when it is first called."""
    scope = trace.scope
    found: list[Tracer] = []

    def get() -> Tracer:
        if not found:
            with trace.emitting_in(scope):
                found.append(emit(trace, *args))
        return found[0]

    return get


def _is_positive(trace: Trace, number: Dim) -> Tracer:
    (value,) = trace.emit("index", (), {"value": number})
    return Tracer(trace, trace.emit("greater", [Tracer(trace, value), Tracer(trace, trace.scalar(0, i64))], {})[0])


def _inlined(trace: Trace, test: Block, inits: Sequence[Value]) -> Tracer:
    """The condition of a loop for its first values. Raises RollError for one with effects: they would come twice."""
    if any(op.effects for op in test.ops):
        raise RollError(
            "a while loop whose condition draws random numbers or prints leaves an array that depends on whether it "
            "has run at all. Draw before the loop and at the end of its body, and let the condition look at that.",
            user_location(),
        )
    env = dict(zip(test.params, inits, strict=True))
    for op in test.ops:
        trace.builder.copy(op, env)
    (decision,) = test.results
    return Tracer(trace, env.get(decision, decision))


def _refuse_other_names(trace: Trace, carried: _Carried, enter: Callable[[Scope], Callable[[], State]]) -> None:
    """Raise RollError where a loop whose names stand for several arrays, which it writes into, reads one of those by
    another name: a view, a closure, a list. Which of them the other name shows changes with each iteration.

    ``enter`` makes the parameters of a region and returns what is recorded in it.
    """
    if not carried.written:
        return
    if carried.overlaps():
        raise _other_name("read")
    with trace.region("a trial of a loop") as scope:
        run = enter(scope)
        watched = carried.watch(scope)
        leaves = flatten(run())[0]
        scope.restore()
        read = any(v is value for v in _operands(scope.ops) for _, value in watched)
    found = [root for leaf in leaves if is_array(leaf) for root in parts(leaf.root)]
    if read or any(root is other for root in found for other, _ in watched):
        raise _other_name("read")


def _operands(ops: Sequence[Op]) -> Iterator[Value]:
    """What the ops read, and those in their regions."""
    for op in ops:
        yield from op.operands
        for block in op.regions:
            yield from block.results
            yield from _operands(block.ops)


def _not_ours() -> MutationError:
    return MutationError(
        "a loop writes into a NumPy array that was made outside of the traced function, or by a function that jitgrad "
        "does not see, or has a dtype that it does not support. Other names of the array would not see what is "
        "written. Make it with np.zeros or np.array, an array for each field of a structured one, or copy it with "
        "np.copy(a).",
        user_location(),
    )


def _other_name(what: str) -> RollError:
    return RollError(
        f"an array is {what} in a loop through a view or another name, while the loop lets its own name stand for "
        "other arrays too. Which name stands for which array changes with each iteration. Use copies, or a loop that "
        "is unrolled.",
        user_location(),
    )


def _unsettled(carried: _Carried) -> CarryError:
    return CarryError(
        f"the types of {', '.join(v.name for v in carried.variables)} do not settle: each iteration gives others. "
        "What a recorded loop carries keeps its type. Convert the new values with astype().",
        user_location(),
    )


def condition(trace: Trace, value: Any, what: str) -> Tracer:
    """A value as the bool scalar that decides. Raises ConcretizationError for an array."""
    if isinstance(value, (list, tuple, dict)) and not isinstance(value, Collection):
        value = len(value) > 0
    x = trace.lift(value)
    if any(n != 1 for n in x.dims):
        raise ConcretizationError(
            f"the condition of {what} is an array of shape {x.shape}. The truth value of an array with more than one "
            "element is ambiguous. Use np.any() or np.all().",
            user_location(),
        )
    x = Tracer(trace, trace.own(x))
    if x.dims:
        x = x.reshape(())
    return cast(x, bool_)
