"""Buffers of one element become locals, which live in registers: the numbers that a loop carries, and those that its
body computes.

A buffer that only one kernel uses is a local of the innermost block that has all its uses. One that several kernels
use is kept in a local by each kernel that writes it in a loop: read before and written back after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import (
    Alloc,
    Assign,
    Block,
    Buffer,
    Const,
    Expr,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Stmt,
    Store,
    While,
    payloads,
)
from jitgrad.loopir.rewrite import map_payloads, rewrite
from jitgrad.loopir.walk import (
    expressions,
    lists_of,
    loads,
    rebuild,
    statements,
    subexpressions,
    with_lists,
    written_roots,
)


def promote(program: Program) -> Program:
    """Turn buffers of one element into locals, kernel by kernel."""
    candidates = _candidates(program)
    if not candidates:
        return program
    touched = [_touched(s, candidates) for s in program.body]
    places: dict[Buffer, list[int]] = {}
    for k, found in enumerate(touched):
        for t in found:
            places.setdefault(t, []).append(k)
    body: list[Stmt] = []
    for k, s in enumerate(program.body):
        if isinstance(s, Store):
            body.append(s)
            continue
        inside = {t for t in touched[k] if places[t] == [k] and t.kind == "temp"}
        changed = written_roots(_looped(s))
        kept = {t for t in touched[k] if t not in inside and t in changed}
        body.append(_kernel(s, inside, kept, {t for t in kept if t.kind == "out" or places[t][-1] > k}, places, k))
    return with_body(program, body)


def _candidates(program: Program) -> set[Buffer]:
    """Roots of one element that no library call sees and no extent depends on."""
    found: dict[Buffer, None] = {}
    refused: set[Buffer] = set()
    for s in statements(program.body):
        if isinstance(s, LibCall):
            refused.update(t.root for t in s.ins + s.outs)
        used = {e.buffer for e in subexpressions(expressions(s)) if isinstance(e, Load)}
        if isinstance(s, (Store, Alloc)):
            used.add(s.buffer)
        for t in used:
            if t.root.size == 1 and t.root.kind in ("temp", "out"):
                found[t.root] = None
            if not t.is_static:
                parts = subexpressions(p for n in t.shape for p in payloads(n))
                refused.update(e.buffer.root for e in parts if isinstance(e, Load))
    return set(found) - refused


def _touched(s: Stmt, candidates: set[Buffer]) -> dict[Buffer, None]:
    """The candidates that a statement touches, in a fixed order."""
    found: dict[Buffer, None] = {}
    for x in statements((s,)):
        if isinstance(x, Store) and x.buffer.root in candidates:
            found[x.buffer.root] = None
        used = {e.buffer.root for e in subexpressions(expressions(x)) if isinstance(e, Load)} & candidates
        found.update(dict.fromkeys(sorted(used, key=lambda t: t.name)))
    return found


def _looped(s: Stmt) -> tuple[Stmt, ...]:
    """The loops in a statement that are in no other loop."""
    if isinstance(s, (Loop, While)):
        return (s,)
    return tuple(found for body in lists_of(s) for x in body for found in _looped(x))


def _kernel(
    s: Stmt, inside: set[Buffer], kept: set[Buffer], later: set[Buffer], places: dict[Buffer, list[int]], k: int
) -> Stmt:
    """A kernel with these buffers in locals: ``inside`` are used here only, ``kept`` elsewhere too."""
    if not inside and not kept:
        return s
    locals_ = {t: Local(t.name, t.dtype) for t in (*inside, *kept)}
    body = list(s.body if isinstance(s, Block) else (s,))
    if inside:
        body = _declared(body, inside, locals_)
    new = [_renamed(x, locals_) for x in body]
    before: list[Stmt] = []
    after: list[Stmt] = []
    for t in sorted(kept, key=lambda t: t.name):
        at = (0,) * len(t.shape)
        start: Expr = Load(t, at) if places[t][0] < k else Const(0, t.dtype)
        before.append(Let(locals_[t], start))
        if t in later:
            after.append(Store(t, at, locals_[t]))
    return Block((*before, *new, *after))


def _declared(body: Sequence[Stmt], inside: set[Buffer], locals_: dict[Buffer, Local]) -> list[Stmt]:
    """The list with each buffer declared as a local in the innermost list that has all its uses."""
    touched = [_touched(s, inside) for s in body]
    homes: dict[Buffer, list[int]] = {}
    for k, found in enumerate(touched):
        for t in found:
            homes.setdefault(t, []).append(k)
    declare: dict[int, list[Buffer]] = {}
    deeper: dict[int, set[Buffer]] = {}
    for t, where in homes.items():
        s = body[where[0]]
        lists = lists_of(s)
        one_list = len(where) == 1 and sum(t in _all_touched(x, inside) for x in lists) == 1
        if one_list and t not in _header(s):
            deeper.setdefault(where[0], set()).add(t)
        else:
            declare.setdefault(where[0], []).append(t)
    result: list[Stmt] = []
    for k, s in enumerate(body):
        here = declare.get(k, ())
        first = s.buffer.root if isinstance(s, Store) and s.mode == "=" else None
        first = first if first in here and first not in _header(s) else None
        result.extend(Let(locals_[t], Const(0, t.dtype)) for t in here if t is not first)
        if first is not None:
            assert isinstance(s, Store)
            result.append(Let(locals_[first], s.value))
        elif k in deeper:
            result.append(with_lists(s, lambda x, names=deeper[k]: tuple(_declared(x, names, locals_))))
        else:
            result.append(s)
    return result


def _all_touched(body: Sequence[Stmt], candidates: set[Buffer]) -> set[Buffer]:
    return set().union(*(_touched(s, candidates) for s in body))


def _header(s: Stmt) -> set[Buffer]:
    """The roots that a statement itself reads."""
    return {e.buffer.root for e in subexpressions(expressions(s)) if isinstance(e, Load)}


def _renamed(s: Stmt, locals_: dict[Buffer, Local]) -> Stmt:
    """The statement with these buffers' loads and stores replaced by uses of locals."""
    memo: dict[Expr, Expr] = {e: locals_[e.buffer.root] for e in loads((s,)) if e.buffer.root in locals_}

    def visit(e: Expr) -> Expr:
        return rewrite(e, {}, memo)

    def store(x: Store) -> Stmt:
        if x.buffer.root in locals_:
            return Assign(locals_[x.buffer.root], x.value, x.mode)
        index = tuple(map_payloads(i, visit) for i in x.index)
        return x if index == x.index else dataclasses.replace(x, index=index)

    return rebuild(s, visit, store)
