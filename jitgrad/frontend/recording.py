"""Recording loops and branches of the user's Python as ops with regions.

A body is a function from the values of its variables to their new values. It is run once with traced values in their
place; what it changes is carried. Variables whose types do not settle after the first run are promoted, and the body
is recorded again, until they do. Arrays that the body writes into are found while it runs: each becomes a carried
value, and the handle stands for the last one afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jitgrad.errors import CarryError, ConcretizationError, RollError
from jitgrad.frontend.carries import (
    UNBOUND,
    Slot,
    Variable,
    describe,
    fit,
    is_array,
    join,
    leaves_of,
    rebuilt,
    traced_slot,
)
from jitgrad.frontend.chosen import Chosen, Lost, lose, origins
from jitgrad.frontend.concrete import is_captured, thaw
from jitgrad.frontend.identity import Names, Place, Places
from jitgrad.frontend.primitives import cast
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.signature import flatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
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

    def __init__(self, trace: Trace, names: Sequence[str], state: State, roots: Sequence[Tracer]) -> None:
        self.trace, self.start = trace, state
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
            params = []
            for slot, leaf in zip(v.slots, given, strict=True):
                if slot.type is not None:
                    p = scope.param(slot.type, v.name if len(v.slots) == 1 else None, slot.weak)
                    p.boxed = is_array(leaf)
                    p.order = leaf.order if type(leaf) is Tracer else None
                    params.append(p)
                    self.params.append((leaf, p, p.value))
            values.append(rebuilt(v, params))
        for r in self.roots:
            r.rebind(scope.param(r.type, r.value.name).value)
        return tuple(values)

    def names_after(self, scope: Scope, new: State) -> None:
        """Take note of which arrays the variables stand for after an iteration. ``assigned`` are the variables by whose
        names the body writes, and ``written`` those whose first arrays it may write, as numbers of traced leaves."""
        leaves = []
        for v, value in zip(self.variables, new, strict=True):
            leaves += [x for slot, x in zip(v.slots, leaves_of(v, value), strict=True) if slot.type is not None]
        starts = [leaf for leaf, _, _ in self.params]
        self.names = Names(scope, starts, [p for _, p, _ in self.params], leaves)
        self.assigned = [k for k, (_, p, value) in enumerate(self.params) if p.value is not value]
        targets = {p for places in self.names.during(None) for k in self.assigned for p in places[k]}
        first = self.names.during(None)[0]
        self.written = {k for k, places in enumerate(first) if any(p.overlaps(q) for p in places for q in targets)}

    def watch(self, scope: Scope) -> list[tuple[Tracer, Value]]:
        """The arrays before the loop that it may write into, each as a value that the region, which was just entered,
        reads by other names only."""
        roots = [self.params[k][0].root for k in sorted(self.written)]
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
            if any(p.age is None and p.root in scope.written for j in read for p in places[j]):
                raise _other_name("read")

    def overlaps(self) -> bool:
        """Does an array that is written share elements with one that another name stands for?"""
        arrays = {k: leaf for k, (leaf, _, _) in enumerate(self.params) if is_array(leaf)}
        return any(share_memory(arrays[k], other) for k in self.written for j, other in arrays.items() if j != k)

    def settle(self, scope: Scope, new: State, when: str) -> bool:
        """Join the types with those of the new values, take in arrays that were written; True if nothing changed."""
        before = self.variables
        found = (_made_traced(describe(v.name, value), [scope]) for v, value in zip(before, new, strict=True))
        self.variables = [join(v, after, when) for v, after in zip(before, found, strict=True)]
        for leaf, _, _ in self.params:
            if is_array(leaf) and any(leaf.root is r for r in scope.written):
                raise _other_name("written")
        count = len(self.roots)
        self.add_roots([r for r in scope.written if r.scope is not scope])
        same = all(a.same(b) for a, b in zip(self.variables, before, strict=True))
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
            for slot, leaf in zip(v.slots, leaves_of(v, value), strict=True):
                if slot.type is not None:
                    result.append(fit(self.trace, leaf, slot, v.name))
        return result

    def leave(self, results: Sequence[Value], written: Sequence[Tracer], trips: Dim | None, *, runs: bool) -> State:
        """The variables after the op, which ran ``trips`` times (None: not known), and at least once if ``runs``;
        arrays get their new values."""
        given = iter(results)
        tracers = []
        for v in self.variables:
            for slot in v.slots:
                if slot.type is not None:
                    tracers.append(Tracer(self.trace, next(given), slot.weak))
                    tracers[-1].value.name = tracers[-1].value.name or (v.name if len(v.slots) == 1 else None)
        for k, (leaf, _, _) in enumerate(self.params):
            tracers[k].boxed = is_array(leaf)
        for r, value in zip(self.roots, given, strict=True):
            if any(r is w for w in written):
                value.name = value.name or r.value.name
                r.store(Tracer(self.trace, value))
        final = iter(self._with_identity(tracers, trips, runs))
        return tuple(rebuilt(v, [next(final) for s in v.slots if s.type is not None]) for v in self.variables)

    def _with_identity(self, tracers: list[Tracer], trips: Dim | None, runs: bool) -> list[Tracer]:
        """The arrays that the variables stand for at the end: those from before, where they are known to be some of
        them, as after ``u, v = v, u``."""
        final = self.names.finally_(trips, runs=runs)
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
                lost.append(start.root)
        for root in lost:
            lose(root)
        result: list[Tracer] = []
        for k, tracer in enumerate(tracers):
            result.append(known[k] if k in known else self._new_or_chosen(k, tracer, final, result))
        return result

    def _new_or_chosen(self, k: int, tracer: Tracer, final: Places, before: Sequence[Tracer]) -> Tracer:
        """The array of a variable that stands for no known one from before the loop. Those of the variables ``before``
        it are settled."""
        if not final[k] or tracer.weak:
            return tracer
        made = all(p.age is not None for p in final[k])
        shared = [j for j in range(k) if any(p.overlaps(q) for p in final[k] for q in final[j] if p.age is not None)]
        if shared and made and final[k] == final[shared[0]] and final[k][0].leaf is not None:
            return before[shared[0]]
        if not shared and (made or self.names.always_new(k)):
            return tracer
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

    def _start(self, places: Sequence[Place]) -> int | None:
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
            root = leaf.root
            if root.owner is trace and root.scope.open and not any(root is r for r in found) and root.dims:
                found.append(root)
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
) -> State:
    """``for i in range(lo, hi, step): state = body(i, *state)`` as one op; returns the last state.

    ``i`` is a traced Python int. ``look`` gets the recorded body, and may raise an error if that should not be a loop.
    Raises CarryError for variables whose types do not settle.
    """
    location = user_location()
    carried = _Carried(trace, names, state, hinted_roots(trace, hints))

    def enter(scope: Scope) -> Callable[[], State]:
        index = scope.param(TensorType(i64), index_name, "int")
        set_limits(index.value, lo, hi, step)
        values = carried.enter(scope)
        return lambda: body(index, *values)

    for _ in range(_ATTEMPTS):
        with trace.region(what) as scope:
            new = enter(scope)()
            _refuse_changes(scope)
            if settled := carried.settle(scope, new, "after an iteration"):
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
            return carried.leave(results, written, trips, runs=not may_be_empty(lo, hi, step))
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
) -> State:
    """``while test(*state): state = body(*state)`` as one op; returns the last state.

    ``limits`` gives, by the number of a variable, inclusive bounds that an integer has whenever the body runs.
    """
    location = user_location()
    carried = _Carried(trace, names, state, hinted_roots(trace, hints))

    def enter(scope: Scope) -> Callable[[], State]:
        values = carried.enter(scope)
        for k, (lo, hi) in (limits or {}).items():
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
            test_writes = list(scope.written)
        with trace.region(what) as scope:
            new = enter(scope)()
            _refuse_changes(scope)
            settled = carried.settle(scope, new, "after an iteration")
            if settled:
                carried.names_after(scope, new)
                block = scope.finish(carried.yields(new))
                written = list(scope.written)
        if test_writes:
            raise CarryError(
                "an array is written in the condition of a while loop. A condition only looks. Write it in the body.",
                location,
            )
        if settled:
            carried.refuse_stale(scope, [head, block], None)
            _refuse_other_names(trace, carried, enter)
            _refuse_other_names(trace, carried, enter_test)
            trace.builder.loc = location
            results = trace.builder.emit_op("while", carried.inits(), {}, (head, block)).results
            return carried.leave(results, written, None, runs=False)
    raise _unsettled(carried)


def _refuse_changes(scope: Scope) -> None:
    """Raise RollError where code that is recorded once changed a list, dict or set from outside."""
    changed = scope.outer_changes()
    if changed:
        raise RollError(
            f"{changed[0]} is changed in {scope.what}, which is recorded once for all times that it runs. Python "
            "objects exist only while the function is traced. Use a variable, an array that is made before (with "
            "np.zeros for example), or a loop that is unrolled (jit(..., loops='unroll')).",
            user_location(),
        )


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
    if read or any(is_array(leaf) and leaf.root is root for leaf in leaves for root, _ in watched):
        raise _other_name("read")


def _operands(ops: Sequence[Op]) -> Iterator[Value]:
    """What the ops read, and those in their regions."""
    for op in ops:
        yield from op.operands
        for block in op.regions:
            yield from block.results
            yield from _operands(block.ops)


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
    x = trace.lift(value)
    if x.dims not in ((), (1,)):
        raise ConcretizationError(
            f"the condition of {what} is an array of shape {x.shape}. The truth value of an array with more than one "
            "element is ambiguous. Use np.any() or np.all().",
            user_location(),
        )
    x = Tracer(trace, trace.own(x))
    if x.dims:
        x = x.reshape(())
    return cast(x, bool_)


def record_branches(
    trace: Trace,
    op: str,
    selector: Tracer | None,
    branches: Sequence[Callable[[], State]],
    names: Sequence[str],
    *,
    what: str = "a branch",
) -> State:
    """``cond`` or ``switch``: the state that the branch taken returns. ``checkpoint``, without a selector, is its only
    branch."""
    location = user_location()
    outcomes: list[State] = []
    scopes: list[Scope] = []
    finals: list[list[tuple[Tracer, Value]]] = []
    for branch in branches:
        with trace.region(what) as scope:
            outcomes.append(branch())
            _refuse_changes(scope)
            finals.append([(r, r.value) for r in scope.written])
            scopes.append(scope)
    roots: list[Tracer] = []
    for scope in scopes:
        roots += [r for r in scope.written if not any(r is known for known in roots)]
    variables: list[Variable] = []
    for k, name in enumerate(names):
        found = [describe(name, state[k], static_numbers=True) for state in outcomes]
        total = found[0]
        for other in found[1:]:
            total = join(total, other, "in another branch")
        variables.append(_all_traced(total, found, scopes))
    blocks: list[Block] = []
    for state, scope, final in zip(outcomes, scopes, finals, strict=True):
        with _reopened(trace, scope, final):
            results: list[Any] = []
            for v, value in zip(variables, state, strict=True):
                pairs = zip(v.slots, leaves_of(v, value), strict=True)
                results += [fit(trace, leaf, slot, v.name) for slot, leaf in pairs if slot.type is not None]
            results += [Tracer(trace, r.value) for r in roots]
            blocks.append(scope.finish(results))
    trace.builder.loc = location
    operands = [] if selector is None else [trace.own(selector)]
    values = trace.builder.emit_op(op, operands, {}, tuple(blocks)).results
    for r, value in zip(reversed(roots), reversed(values), strict=False):  # before a variable may stand for one of them
        value.name = value.name or r.value.name
        r.store(Tracer(trace, value))
    given = iter(values)
    result = []
    arrays: list[tuple[list[Any], Tracer]] = []  # what array variables are in each branch, and after it
    for k, v in enumerate(variables):
        tracers = []
        for n, slot in enumerate(v.slots):
            if slot.type is not None:
                value = next(given)
                value.name = value.name or (v.name if len(v.slots) == 1 else None)
                leaves = [leaves_of(v, s[k])[n] for s in outcomes]
                tracers.append(_outcome(trace, value, slot, leaves, scopes, arrays))
        result.append(rebuilt(v, tracers))
    return tuple(result)


def _outcome(
    trace: Trace,
    value: Value,
    slot: Slot,
    leaves: list[Any],
    scopes: Sequence[Scope],
    arrays: list[tuple[list[Any], Tracer]],
) -> Tracer:
    """A variable after branches, in which it is one of ``leaves``. Where it may stand for an array from outside, or for
    that of another variable, it is one of several. ``arrays`` has what earlier variables are."""
    if slot.weak or not any(map(is_array, leaves)):
        return Tracer(trace, value, slot.weak)
    same = [x for others, x in arrays if all(a is b for a, b in zip(leaves, others, strict=True))]
    if same and same[0].type == value.type:
        return same[0]
    roots = [root for x in leaves if is_array(x) for root in origins(x)]
    outside = [x for x in roots if not any(x.scope is s for s in scopes)]
    shared = [x for others, x in arrays if any(map(_share_root, leaves, others))]
    if outside or shared:
        result = Chosen(trace, value, [*outside, *shared])
    else:
        result = Tracer(trace, value)
        result.boxed = True
    arrays.append((leaves, result))
    return result


def _share_root(a: Any, b: Any) -> bool:
    if not (is_array(a) and is_array(b)):
        return False
    return any(x is y for x in origins(a) for y in origins(b))


def _all_traced(total: Variable, found: Sequence[Variable], scopes: Sequence[Scope]) -> Variable:
    """A slot that is static in all branches but not the same becomes traced, by ``join``, and so does an array that was
    made in a branch; the rest stays."""
    slots = []
    for k, slot in enumerate(_made_traced(total, scopes).slots):
        if slot.type is None and slot.value is not UNBOUND:
            values = [v.slots[k].value for v in found if len(v.slots) > k]
            if any(x is UNBOUND for x in values) and type(slot.value) in (bool, int, float):
                slot = traced_slot(slot.value)
        slots.append(slot)
    return Variable(total.name, total.tree, tuple(slots))


def _made_traced(variable: Variable, scopes: Sequence[Scope]) -> Variable:
    """The variable with traced slots for arrays that were made in these scopes: they do not exist outside."""
    made = [is_array(slot.value) and any(slot.value.scope is s for s in scopes) for slot in variable.slots]
    slots = (traced_slot(slot.value) if new else slot for slot, new in zip(variable.slots, made, strict=True))
    return variable._replace(slots=tuple(slots))


class _reopened:
    """Go on recording a scope that was left, with the arrays that were written in it as they were at its end."""

    def __init__(self, trace: Trace, scope: Scope, written: Sequence[tuple[Tracer, Value]]) -> None:
        self.trace, self.scope, self.written = trace, scope, written

    def __enter__(self) -> None:
        trace, scope = self.trace, self.scope
        self.before = trace.builder.ops, trace.scope
        scope.open = True
        trace.scopes.append(scope)
        trace.builder.ops, trace.scope = scope.ops, scope
        for root, value in self.written:
            root.rebind(value)

    def __exit__(self, *error: object) -> None:
        trace = self.trace
        self.scope.leave()
        trace.scopes.pop()
        trace.builder.ops, trace.scope = self.before
