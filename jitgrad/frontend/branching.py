"""Recording branches of the user's Python as ops with regions: see ``recording`` for loops.

Each branch is run once, in a region of its own. What a variable is after them has the type that all outcomes have in
common; a branch that raises has none, and becomes a check.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from jitgrad.frontend.carries import (
    UNBOUND,
    Slot,
    Variable,
    describe,
    is_array,
    join,
    leaves_of,
    made_traced,
    rebuilt,
    traced_slot,
)
from jitgrad.frontend.cells import chosen_cells
from jitgrad.frontend.chosen import Chosen, origins
from jitgrad.frontend.packed import Part, parts_of
from jitgrad.frontend.places import Places, with_places
from jitgrad.frontend.raising import fail_in, sealed
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.core import Block, Value
from jitgrad.ir.location import user_location

State = tuple[Any, ...]


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
    branch.

    Where a branch of a ``cond`` raises, what is left is a check, and the other branch.
    """

    def record(places: Places) -> State:
        before = places.read()
        around = [functools.partial(places.around(branch), *before) for branch in branches]
        count = len(trace.outcomes)
        try:
            return _recorded_branches(trace, op, selector, around, places.names(names), places, what)
        finally:
            del trace.outcomes[count:]

    return with_places(trace, record, resizing=True)


def _recorded_branches(
    trace: Trace,
    op: str,
    selector: Tracer | None,
    branches: Sequence[Callable[[], State]],
    names: Sequence[str],
    places: Places,
    what: str,
) -> State:
    location = user_location()
    outcomes: list[State] = []
    scopes: list[Scope] = []
    finals: list[list[tuple[Tracer, Value]]] = []
    for number, branch in enumerate(branches):
        failing = None
        with trace.region(what) as scope:
            try:
                outcomes.append(branch())
                HOOKS["settle_tables"](outcomes[-1])
            except Exception as error:
                failing = sealed(trace, scope, error) if op == "cond" else None
                if failing is None:
                    raise
                scope.restore()
            else:
                places.refuse_others(scope, outcomes[-1], names)
                trace.outcomes.append(outcomes[-1])
                finals.append([(r, r.value) for r in scope.written])
                scopes.append(scope)
        if failing is not None and selector is not None:
            fail_in(trace, selector, number, failing)
            return branches[1 - number]()  # part of the code around it
    places.refuse_lost_keys(outcomes)
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
    parts = [_parts(v, k, outcomes) for k, v in enumerate(variables)]
    blocks: list[Block] = []
    for state, scope, final in zip(outcomes, scopes, finals, strict=True):
        with _reopened(trace, scope, final):
            results: list[Any] = []
            for v, value, of_variable in zip(variables, state, parts, strict=True):
                leaves = leaves_of(v, value)
                results += [part.value(trace, part.of(leaves), v.name) for part in of_variable]
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
        for part in parts[k]:
            value = next(given)
            value.name = value.name or (v.name if len(v.slots) == 1 else None)
            if part.shape is None:
                leaves = [leaves_of(v, s[k])[part.first] for s in outcomes]
                tracers.append(_outcome(trace, value, part.slot, leaves, scopes, arrays))
            else:
                tracers += part.numbers(Tracer(trace, value))
        result.append(rebuilt(v, tracers))
    return chosen_cells(trace, variables, result, outcomes, places)


def _parts(v: Variable, k: int, outcomes: Sequence[State]) -> list[Part]:
    """What the branches yield for variable ``k``. Arrays in it are values of their own, as there may be other names of
    them."""
    if any(is_array(x) for state in outcomes for x in leaves_of(v, state[k])):
        return [Part(n, slot) for n, slot in enumerate(v.slots) if slot.type is not None]
    return parts_of(v)


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
    for k, slot in enumerate(made_traced(total, scopes).slots):
        if slot.type is None and slot.value is not UNBOUND:
            values = [v.slots[k].value for v in found if len(v.slots) > k]
            if any(x is UNBOUND for x in values) and type(slot.value) in (bool, int, float):
                slot = traced_slot(slot.value)
        slots.append(slot)
    return Variable(total.name, total.tree, tuple(slots))


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
