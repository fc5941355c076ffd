"""Recording loops and branches of the user's Python as ops with regions.

A body is a function from the values of its variables to their new values. It is run once with traced values in their
place; what it changes is carried. Variables whose types do not settle after the first run are promoted, and the body
is recorded again, until they do. Arrays that the body writes into are found while it runs: each becomes a carried
value, and the handle stands for the last one afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jitgrad.errors import CarryError, ConcretizationError, RollError
from jitgrad.frontend.carries import (
    UNBOUND,
    Variable,
    describe,
    fit,
    join,
    leaves_of,
    rebuilt,
    traced_slot,
)
from jitgrad.frontend.concrete import is_captured, thaw
from jitgrad.frontend.primitives import cast
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.signature import flatten
from jitgrad.frontend.tracer import Trace, Tracer
from jitgrad.ir.core import Block, Value
from jitgrad.ir.index import Dim, Sym
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import set_limits
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
        for v in self.variables:
            params = [scope.param(s.type, v.name if len(v.slots) == 1 else None, s.weak) for s in v.slots if s.type]
            values.append(rebuilt(v, params))
        for r in self.roots:
            r.rebind(scope.param(r.type, r.value.name).value)
        return tuple(values)

    def settle(self, scope: Scope, new: State, when: str) -> bool:
        """Join the types with those of the new values, and take in arrays that were written; True if all is as it was."""
        before = self.variables
        self.variables = [join(v, describe(v.name, value), when) for v, value in zip(before, new, strict=True)]
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
                    result.append(fit(self.trace, leaf, slot))
        return result

    def leave(self, results: Sequence[Value], written: Sequence[Tracer]) -> State:
        """The variables after the op; arrays get their new values."""
        given = iter(results)
        values = []
        for v in self.variables:
            tracers = [Tracer(self.trace, next(given), s.weak) for s in v.slots if s.type is not None]
            for t in tracers:
                t.value.name = t.value.name or (v.name if len(v.slots) == 1 else None)
            values.append(rebuilt(v, tracers))
        for r, value in zip(self.roots, given, strict=True):
            if any(r is w for w in written):
                value.name = value.name or r.value.name
                r.store(Tracer(self.trace, value))
        return tuple(values)


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
) -> State:
    """``for i in range(lo, hi, step): state = body(i, *state)`` as one op; returns the last state.

    ``i`` is a traced Python int. Raises CarryError for variables whose types do not settle.
    """
    location = user_location()
    carried = _Carried(trace, names, state, hinted_roots(trace, hints))
    for _ in range(_ATTEMPTS):
        with trace.region(what) as scope:
            index = scope.param(TensorType(i64), index_name, "int")
            set_limits(index.value, lo, hi, step)
            new = body(index, *carried.enter(scope))
            _refuse_changes(scope)
            if settled := carried.settle(scope, new, "after an iteration"):
                block = scope.finish(carried.yields(new))
                written = list(scope.written)
        if settled:
            trace.builder.loc = location
            attrs = {"lo": lo, "hi": hi, "step": step}
            results = trace.builder.emit_op("for", carried.inits(), attrs, (block,)).results
            return carried.leave(results, written)
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
    for _ in range(_ATTEMPTS):
        with trace.region("the condition of a loop") as scope:
            decision = condition(trace, test(*carried.enter(scope)), "while")
            head = scope.finish([decision])
            test_writes = list(scope.written)
        with trace.region(what) as scope:
            values = carried.enter(scope)
            for k, (lo, hi) in (limits or {}).items():
                index = values[k].value
                index.symbol = Sym(index.name or "k", lo, hi, payload=index)
            new = body(*values)
            _refuse_changes(scope)
            settled = carried.settle(scope, new, "after an iteration")
            if settled:
                block = scope.finish(carried.yields(new))
                written = list(scope.written)
        if test_writes:
            raise CarryError(
                "an array is written in the condition of a while loop. A condition only looks. Write it in the body.",
                location,
            )
        if settled:
            trace.builder.loc = location
            results = trace.builder.emit_op("while", carried.inits(), {}, (head, block)).results
            return carried.leave(results, written)
    raise _unsettled(carried)


def _refuse_changes(scope: Scope) -> None:
    """Raise RollError where code that is recorded once changed a list, dict or set from outside."""
    changed = scope.outer_changes()
    if changed:
        raise RollError(
            f"a {type(changed[0]).__name__} is changed in {scope.what}, which is recorded once for all times that it "
            f"runs. The {type(changed[0]).__name__} exists only while the function is traced. Use an array that is "
            "made before, with np.zeros for example, or a loop that is unrolled.",
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
    finals: list[dict[int, Value]] = []
    for branch in branches:
        with trace.region(what) as scope:
            outcomes.append(branch())
            _refuse_changes(scope)
            finals.append({id(r): r.value for r in scope.written})
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
        variables.append(_all_traced(total, found))
    blocks: list[Block] = []
    for state, scope, final in zip(outcomes, scopes, finals, strict=True):
        with _reopened(trace, scope):
            results: list[Any] = []
            for v, value in zip(variables, state, strict=True):
                pairs = zip(v.slots, leaves_of(v, value), strict=True)
                results += [fit(trace, leaf, slot) for slot, leaf in pairs if slot.type is not None]
            results += [Tracer(trace, final.get(id(r), r.value)) for r in roots]
            blocks.append(scope.finish(results))
    trace.builder.loc = location
    operands = [] if selector is None else [trace.own(selector)]
    values = iter(trace.builder.emit_op(op, operands, {}, tuple(blocks)).results)
    result = []
    for v in variables:
        tracers = [Tracer(trace, next(values), s.weak) for s in v.slots if s.type is not None]
        for t in tracers:
            t.value.name = t.value.name or (v.name if len(v.slots) == 1 else None)
        result.append(rebuilt(v, tracers))
    for r, value in zip(roots, values, strict=True):
        value.name = value.name or r.value.name
        r.store(Tracer(trace, value))
    return tuple(result)


def _all_traced(total: Variable, found: Sequence[Variable]) -> Variable:
    """A slot that is static in all branches but not the same becomes traced, by ``join``; the rest stays."""
    slots = []
    for k, slot in enumerate(total.slots):
        if slot.type is None and slot.value is not UNBOUND:
            values = [v.slots[k].value for v in found if len(v.slots) > k]
            if any(x is UNBOUND for x in values) and type(slot.value) in (bool, int, float):
                slot = traced_slot(slot.value)
        slots.append(slot)
    return Variable(total.name, total.tree, tuple(slots))


class _reopened:
    """Go on recording a scope that was left."""

    def __init__(self, trace: Trace, scope: Scope) -> None:
        self.trace, self.scope = trace, scope

    def __enter__(self) -> None:
        trace, scope = self.trace, self.scope
        self.before = trace.builder.ops, trace.scope
        scope.open = True
        trace.scopes.append(scope)
        trace.builder.ops, trace.scope = scope.ops, scope

    def __exit__(self, *error: object) -> None:
        trace, scope = self.trace, self.scope
        scope.open = False
        trace.scopes.pop()
        trace.builder.ops, trace.scope = self.before
