"""Fusion: elementwise producers into their consumers, and nests over one index space into one nest.

The steps, each a function:

1. ``inline``: a buffer that one pure nest fills element by element is dropped where recomputing its elements at their
   uses costs less than storing and loading them.
2. ``merge`` (in ``jitgrad.loopir.merge``): nests of equal extents become one where no iteration of the later one needs
   what another iteration of the earlier one writes.
3. ``elide_copies`` (in ``jitgrad.loopir.buffers``): an array that is updated takes the place of the one it was
   copied from.
4. ``forward`` and ``contract`` (in ``jitgrad.loopir.forward``): values stored and loaded again in the same iteration
   stay in registers, stores that nobody reads go, and temporaries that live within one iteration lose that axis.
5. ``collapse`` (in ``jitgrad.loopir.collapse``): nested loops that walk memory as one loop become one.

Every refusal has a reason, which is put into ``notes``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from jitgrad.ir.index import Dim, IndexExpr, Sym, as_sym, substitute
from jitgrad.loopir.buffers import elide_copies, whole_store
from jitgrad.loopir.build import flatten_index, unflatten_index
from jitgrad.loopir.collapse import collapse
from jitgrad.loopir.forward import contract, forward
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.merge import merge
from jitgrad.loopir.nodes import (
    MAX_DEPTH,
    PREDICATES,
    Buffer,
    Expr,
    Index,
    LibCall,
    Load,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    dynamic,
    rewrite,
)
from jitgrad.loopir.walk import (
    expressions,
    rebuild,
    statements,
    subexpressions,
    written_roots,
)

#: What one evaluation of a scalar function costs, in simple arithmetic operations. Others cost 1.
COSTS = {"divide": 4, "sqrt": 5, "safe_sqrt": 5, "remainder": 10, "floor_divide": 10, "fmod": 20, "cast": 1, "where": 1}
TRANSCENDENTAL = 16
_CHEAP = PREDICATES | {
    "add",
    "subtract",
    "multiply",
    "negative",
    "absolute",
    "square",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "floor",
    "ceil",
    "rint",
    "trunc",
    "copysign",
    "where",
    "cast",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "invert",
    "left_shift",
    "right_shift",
    "stop_gradient",
    "sign",
    "fma",
    "bitcast",
}
#: A store and a load of one element cost about as much as this many operations.
MEMORY_COST = 4


def fuse(program: Program, notes: list[str] | None = None) -> Program:
    """Run all steps."""
    notes = [] if notes is None else notes
    program = inline(program, notes)
    program = merge(program, notes)
    program = elide_copies(program, notes)
    program = merge(program, notes)  # updates of one buffer may now share a nest
    program = forward(program)
    program = contract(program)
    return collapse(program)


class Definition(NamedTuple):
    """``buffer[variables] = value`` for every index; None stands for the index 0 of an axis of extent 1."""

    buffer: Buffer
    variables: tuple[Sym | None, ...]
    value: Expr


def definition(stmt: Stmt) -> Definition | None:
    """The definition that a statement consists of, if it fills one whole buffer element by element."""
    found = whole_store(stmt)
    if found is None or found[0].buffer.base is not None:
        return None
    return Definition(found[0].buffer, found[1], found[0].value)


def cost(e: Expr, memo: dict[Expr, float]) -> float:
    """Operations that one evaluation takes, loads and index arithmetic included. Shared parts count once a parent,
    which overestimates large expressions: those are the ones not to repeat."""
    found = memo.get(e)
    if found is None:
        found = 0.0
        if isinstance(e, Scalar):
            found = float(COSTS.get(e.op, 1 if e.op in _CHEAP else TRANSCENDENTAL))
        elif isinstance(e, Load):
            found = 1.0
        found = memo[e] = min(found + sum(cost(c, memo) for c in e.children()), 1e9)
    return found


class _Use(NamedTuple):
    """One load of a buffer: the statement that it is in, and how often the statement's nest evaluates it."""

    statement: int
    share: float  # of the evaluations of the statement's own value, if that is inlined; at most 1
    evaluations: float  # if the statement stays


def _trips(stmt: Stmt) -> list[tuple[Load, float, float]]:
    """Every load with how often it is evaluated, were loops hoisted out of that it does not depend on, and the trips
    of the loops around it."""
    found: list[tuple[Load, float, float]] = []

    def visit(s: Stmt, loops: tuple[tuple[Sym, float], ...]) -> None:
        total = 1.0
        for _, n in loops:
            total *= n
        for e in subexpressions(expressions(s)):
            if isinstance(e, Load):
                used = e.syms()
                depth = max((k + 1 for k, (v, _) in enumerate(loops) if v in used), default=0)
                count = 1.0
                for _, n in loops[:depth]:
                    count *= n
                found.append((e, count, total))
        if isinstance(s, Loop):
            n = float(s.hi - s.lo) if isinstance(s.hi, int) and isinstance(s.lo, int) else 1e3
            for x in s.body:
                visit(x, (*loops, (s.var, max(n, 0.0))))
        else:
            for x in statements((s,)):
                if x is not s:
                    visit(x, loops)

    visit(stmt, ())
    return found


def inline(program: Program, notes: list[str]) -> Program:
    """Substitute definitions into the statements that load them.

    A definition is inlined if nothing but nests reads it and ``cost * (evaluations - size) <= memory``: evaluating it
    at all its uses must cost no more than evaluating it once, storing it, and loading it at each use. Decided from the
    last statement to the first, so that the number of evaluations of every consumer is known.
    """
    body = program.body
    stores: dict[Buffer, int] = {}
    for s in statements(body):
        for t in written_roots((s,)) if isinstance(s, (Store, LibCall)) else ():
            stores[t] = stores.get(t, 0) + 1
    uses: dict[Buffer, list[_Use]] = {}
    opaque: set[Buffer] = set()
    definitions = [definition(s) for s in body]
    for k, s in enumerate(body):
        if isinstance(s, LibCall):
            opaque.update(t.root for t in s.ins)
            continue
        for load, count, total in _trips(s):
            uses.setdefault(load.buffer.root, []).append(_Use(k, count / total if total else 1.0, count))
    inlined: set[Buffer] = set()
    evaluations: dict[int, float] = {}
    costs: dict[Expr, float] = {}
    for k in range(len(body) - 1, -1, -1):
        d = definitions[k]
        if d is None or d.buffer.kind != "temp":
            continue
        mine = uses.get(d.buffer, [])
        total = sum(evaluations[u.statement] * u.share if u.statement in evaluations else u.evaluations for u in mine)
        if stores[d.buffer] > 1 or d.buffer in opaque:
            continue
        price = cost(d.value, costs)
        if price > 1 and price * (total - d.buffer.size) > MEMORY_COST * (d.buffer.size + total):
            where = f" ({d.buffer.loc.short()})" if d.buffer.loc else ""
            notes.append(
                f"{d.buffer.name}{where} is stored: computing it at each of its {len(mine)} uses would take "
                f"{price:.0f} operations {total / max(d.buffer.size, 1):.1f} times an element"
            )
            continue
        inlined.add(d.buffer)
        evaluations[k] = total
    return with_body(program, _substitute(body, definitions, inlined))


def _substitute(body: Sequence[Stmt], definitions: Sequence[Definition | None], inlined: set[Buffer]) -> Iterable[Stmt]:
    """The statements with all loads of ``inlined`` buffers replaced, first to last."""
    ready: dict[Buffer, Definition] = {}
    applied: dict[Expr, Expr] = {}

    def replace(e: Expr) -> Expr:
        """``e`` with its loads replaced. Not recursive over chains of definitions: their values are done already."""
        found = applied.get(e)
        if found is not None:
            return found
        if isinstance(e, Load):
            index = tuple(_replace_dynamic(i, replace) for i in e.index)
            d = ready.get(e.buffer.root)
            new: Expr = e if index == e.index else Load(e.buffer, index)
            if d is not None:
                if e.buffer is not d.buffer:
                    index = unflatten_index(d.buffer.shape, flatten_index(e.buffer.shape, index))
                pairs = zip(d.variables, index, strict=True)
                env = {v: i for v, i in pairs if v is not None and as_sym(i) is not v}
                new = rewrite(d.value, env, {}) if env else d.value
        elif isinstance(e, Scalar):
            args = tuple(map(replace, e.args))
            new = e if args == e.args else Scalar(e.op, args, e.dtype)
        elif isinstance(e, Index):
            new = Index(_replace_dynamic(e.index, replace))
        else:
            new = e
        applied[e] = new
        return new

    def replace_store(s: Store) -> Stmt:
        index = tuple(_replace_dynamic(i, replace) for i in s.index)
        return s if index == s.index else dataclasses.replace(s, index=index)

    for s, d in zip(body, definitions, strict=True):
        if d is not None and d.buffer in inlined:
            value = replace(d.value)
            if value.depth <= MAX_DEPTH:
                ready[d.buffer] = d._replace(value=value)
                continue
        yield rebuild(s, replace, replace_store)


def _replace_dynamic(e: Dim, replace: Callable[[Expr], Expr]) -> Dim:
    """An index with the loads in its dynamic parts replaced."""
    if not isinstance(e, IndexExpr):
        return e
    env: dict[Sym, Dim] = {}
    for s in e.syms():
        if s.payload is not None:
            new = replace(s.payload)
            if new is not s.payload:
                env[s] = dynamic(new, (s.bounds[1] or 0) + 1)
    return substitute(e, env) if env else e
