"""The order of axes in memory: an array that innermost loops walk along another axis than the last gets that axis last.

A walk down a column reads one number a cache line and is not vectorised. Temporaries are laid out anew, which costs
nothing. Arguments and results keep the caller's layout: a loop that walks them much more often than they are large
works on a transposed copy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from jitgrad.ir.index import Dim, IndexExpr, Sym, expr
from jitgrad.loopir.deps import trips
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import (
    Alloc,
    Buffer,
    Expr,
    LibCall,
    Load,
    Loop,
    Program,
    Stmt,
    Store,
    map_payloads,
    rewrite,
    substitute_index,
)
from jitgrad.loopir.walk import expressions, lists_of, loads, rebuild, statements, subexpressions, written_roots

#: How much more often an array must be walked along another axis than along the last.
CLEARLY = 2.0
#: How many times its size an argument or a result must be walked for a copy to pay.
COPY = 8.0
#: Fewer elements than this stay in the first cache anyway.
SMALL = 256

Votes = dict[Buffer, list[float]]


def layout(program: Program, notes: list[str]) -> Program:
    """Lay out arrays for the loops that use them."""
    fixed = _fixed(program)
    votes = [_votes(s, fixed) for s in program.body]
    total: Votes = {}
    for found in votes:
        for t, weights in found.items():
            known = total.setdefault(t, [0.0] * len(weights))
            total[t] = [a + b for a, b in zip(known, weights, strict=True)]
    table: dict[Buffer, tuple[Buffer, tuple[int, ...]]] = {}
    before: list[Stmt] = []
    after: list[Stmt] = []
    body = list(program.body)
    for t, weights in total.items():
        if t.kind in ("arg", "const"):
            body = _read_only(t, votes, body, before, notes)
            continue
        axis = _best(weights)
        if axis is None or (t.kind == "out" and weights[axis] - weights[-1] < COPY * _size(t)):
            continue
        new, order = _permuted(t, axis)
        table[t] = new, order
        if t.kind == "out":
            after.append(_copy(t, new, order, back=True))
        notes.append(f"{t.name} is laid out with axis {axis} last: loops walk along it")
    if table:
        body = [_reindexed(s, table) for s in body]
    return program if not table and not before else with_body(program, (*before, *body, *after))


def _read_only(t: Buffer, votes: list[Votes], body: list[Stmt], before: list[Stmt], notes: list[str]) -> list[Stmt]:
    """Let the statements that walk an argument or a constant along another axis use a transposed copy."""
    chosen: dict[int, list[int]] = {}
    for k, found in enumerate(votes):
        axis = _best(found[t]) if t in found else None
        if axis is not None:
            chosen.setdefault(axis, []).append(k)
    for axis, where in chosen.items():
        if sum(votes[k][t][axis] - votes[k][t][-1] for k in where) < COPY * _size(t):
            continue
        new, order = _permuted(t, axis)
        if t.kind == "const":
            assert t.data is not None
            new.kind, new.data = "const", np.ascontiguousarray(t.data.transpose(order))
        else:
            before.append(_copy(t, new, order))
            notes.append(f"copy of {t.name} into {new.name}: loops walk along axis {axis}, which is last there")
        for k in where:
            body[k] = _reindexed(body[k], {t: (new, order)})
    return body


def _size(t: Buffer) -> int:
    assert isinstance(t.size, int)
    return t.size


def _best(weights: Sequence[float]) -> int | None:
    """The axis that should be last, if it is another one."""
    axis = max(range(len(weights)), key=lambda k: weights[k])
    return axis if weights[axis] > CLEARLY * weights[-1] else None


def _permuted(t: Buffer, axis: int) -> tuple[Buffer, tuple[int, ...]]:
    """A buffer with this axis last, and the order of the old axes in it."""
    order = (*(k for k in range(len(t.shape)) if k != axis), axis)
    return Buffer(f"{t.name}_t", t.dtype, tuple(t.shape[k] for k in order), loc=t.loc), order


def _copy(t: Buffer, new: Buffer, order: Sequence[int], back: bool = False) -> Stmt:
    """Copy an array into the new layout, or back."""
    variables = [Sym(f"{t.name}_{k}", 0, n - 1) for k, n in enumerate(t.shape) if isinstance(n, int)]
    index = tuple(expr(v) for v in variables)
    moved = tuple(index[k] for k in order)
    s: Stmt = Store(t, index, Load(new, moved)) if back else Store(new, moved, Load(t, index))
    for v, n in zip(reversed(variables), reversed(t.shape), strict=True):
        s = Loop(v, 0, n, (s,))
    return s


def _fixed(program: Program) -> set[Buffer]:
    """Roots that are used as a whole, through another shape, or in the heap."""
    found: set[Buffer] = {t.root for t in program.results if t.base is not None}
    for s in statements(program.body):
        if isinstance(s, LibCall):
            found.update(t.root for t in s.ins + s.outs)
        if isinstance(s, Alloc):
            found.add(s.buffer)
        used = [e.buffer for e in subexpressions(expressions(s)) if isinstance(e, Load)]
        for t in (*used, s.buffer) if isinstance(s, Store) else used:
            if t.base is not None or not t.is_static or len(t.shape) < 2 or _size(t) < SMALL or t.kind == "inout":
                found.add(t.root)
    return found


def _votes(s: Stmt, fixed: set[Buffer]) -> Votes:
    """For every array and axis, about how often an innermost loop steps along it."""
    votes: Votes = {}

    def vote(t: Buffer, index: Sequence[Dim], loops: Sequence[Loop], count: float) -> None:
        if t.root in fixed or not loops:
            return
        weights = votes.setdefault(t, [0.0] * len(t.shape))
        var = loops[-1].var
        along = [k for k, e in enumerate(index) if isinstance(e, IndexExpr) and var in e.syms()]
        if len(along) == 1 and abs(dict(index[along[0]].terms).get(var, 0)) == 1:  # pyright: ignore
            weights[along[0]] += count

    def visit(x: Stmt, loops: tuple[Loop, ...], count: float) -> None:
        for e in subexpressions(expressions(x)):
            if isinstance(e, Load):
                vote(e.buffer, e.index, loops, count)
        if isinstance(x, Store):
            vote(x.buffer, x.index, loops, count)
        if isinstance(x, Loop):
            loops, count = (*loops, x), count * trips(x)
        for body in lists_of(x):
            for y in body:
                visit(y, loops, count)

    visit(s, (), 1.0)
    return votes


def _reindexed(s: Stmt, table: dict[Buffer, tuple[Buffer, tuple[int, ...]]]) -> Stmt:
    """A statement with these arrays in another layout."""
    if not any(t in table for t in (*written_roots((s,)), *(e.buffer for e in loads((s,))))):
        return s
    memo: dict[Expr, Expr] = {}

    def moved(t: Buffer, index: Iterable[Dim]) -> tuple[Buffer, tuple[Dim, ...]]:
        new, order = table[t]
        index = tuple(index)
        return new, tuple(index[k] for k in order)

    # Indices of loads may hold loads themselves, so the ones inside come first.
    for e in sorted(loads((s,)), key=lambda e: e.depth):
        if e.buffer in table:
            memo[e] = Load(*moved(e.buffer, (substitute_index(i, {}, memo) for i in e.index)))

    def visit(e: Expr) -> Expr:
        return rewrite(e, {}, memo)

    def store(x: Store) -> Stmt:
        index = tuple(map_payloads(i, visit) for i in x.index)
        if x.buffer not in table:
            return x if index == x.index else dataclasses.replace(x, index=index)
        new, index = moved(x.buffer, index)
        return Store(new, index, x.value, x.mode)

    return rebuild(s, visit, store)
