"""Sums that loops compute: an element that all iterations update stays in a register, and what is only summed up may be
summed in any order, so that the loop is vectorised.

``accumulate`` takes an element out of a loop where no other access in the loop can be of that element, or where all
only add to it; ``recognise`` turns ``s = s + e`` into ``s += e`` where the loop uses ``s`` for nothing else (a
compensated sum uses its partial sums, so it is left as it is); ``forwards`` lets loops count up where the order is
free.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence, Set

from jitgrad.ir.index import Dim, Sym, add, interval, mul
from jitgrad.ir.types import kind_letter
from jitgrad.loopir.build import IDENTITIES
from jitgrad.loopir.deps import COMMUTE, MANY, Access, accesses, never_at_any_time, only_at_once, root_index, varies
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import (
    Alloc,
    Assign,
    Block,
    Buffer,
    Const,
    Expr,
    Fail,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    While,
    scalar,
)
from jitgrad.loopir.rewrite import map_payloads, rewrite
from jitgrad.loopir.walk import expressions, lists_of, loads, rebuild, statements, subexpressions, with_lists, written


def accumulate(program: Program) -> Program:
    """Keep elements that every iteration of a loop updates in locals meanwhile."""
    body: list[Stmt] = []
    for s in program.body:
        new = _taken_out(s)
        body.append(new[0] if len(new) == 1 else Block(tuple(new)))
    return with_body(program, body)


def _taken_out(s: Stmt) -> list[Stmt]:
    """A statement with the loops in it done, innermost ones first."""
    s = with_lists(s, _list)
    return _loop(s) if isinstance(s, Loop) else [s]


def _list(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    new = tuple(x for s in body for x in _taken_out(s))
    return body if len(new) == len(body) and all(a is b for a, b in zip(new, body, strict=True)) else new


def _loop(s: Loop) -> list[Stmt]:
    """What takes the place of one loop."""
    found = list(accesses((s,)))
    stores: dict[tuple[Buffer, tuple[Dim, ...]], Access] = {}
    for a in found:
        if a.mode is not None and a.index is not None and a.root.size != 1:
            stores.setdefault((a.root, a.index), a)
    if not stores or len(found) > MANY:
        return [s]
    inner = {x.var for x in statements((s,)) if isinstance(x, Loop)}
    changed = written((s,))
    before: list[Stmt] = []
    after: list[Stmt] = []
    for (root, index), first in stores.items():
        if not _invariant(index, inner, changed) or not _updates(s, root, index):
            continue
        if next(a.mode for a in found if a.root is root and a.index == index) == "=":
            continue  # written anew before it is read: there may be nothing to start from
        others = [a for a in found if a.root is root and a.index != index]
        start: Expr = Load(root, index)
        mode = "="
        if any(a.index is None or not never_at_any_time(index, a.index, inner, changed) for a in others):
            # Others may be of the same element. Where all only add to what is there, the sum can be added at the end.
            if first.mode not in COMMUTE or any(a.mode != first.mode for a in found if a.root is root):
                continue
            start, mode = Const(IDENTITIES[first.mode](root.dtype), root.dtype), first.mode
        guarded = not in_bounds(root, index)
        if guarded and (len(first.path) != 2 or not _runs(s)):
            continue
        places = map(str, index) if all(isinstance(i, int) for i in index) else [""]
        local = Local("_".join([root.name, *places]), root.dtype)
        new = _with_local(s, root, index, local)
        assert isinstance(new, Loop)
        s = new
        before.append(Let(local, start))
        after.append(Store(root, index, local, mode))
    return [*before, s, *after]


def _invariant(index: Sequence[Dim], inner: set[Sym], changed: set[object]) -> bool:
    return not any(varies(v, inner, changed) for e in index if not isinstance(e, int) for v in e.syms())


def _updates(s: Loop, root: Buffer, index: tuple[Dim, ...]) -> bool:
    """Whether an element is read and written in a loop."""
    for x in statements((s,)):
        if isinstance(x, Store) and x.mode != "=" and x.buffer.root is root and root_index(x.buffer, x.index) == index:
            return True
    return any(e.buffer.root is root and root_index(e.buffer, e.index) == index for e in loads((s,)))


def in_bounds(root: Buffer, index: Sequence[Dim]) -> bool:
    """Whether an index is known to be within the array, whether the loop runs or not."""
    for e, extent in zip(index, root.shape, strict=True):
        low, room = interval(e)[0], interval(add(extent, mul(e, -1)))[0]
        if low is None or low < 0 or room is None or room < 1:
            return False
    return True


def _runs(s: Loop) -> bool:
    """Whether a loop is known to run at least once."""
    distance = add(s.hi, mul(s.lo, -1)) if s.step > 0 else add(s.lo, mul(s.hi, -1))
    low = interval(distance)[0]
    return low is not None and low >= 1


def _with_local(s: Stmt, root: Buffer, index: tuple[Dim, ...], local: Local) -> Stmt:
    """The statement with a local in place of one element."""
    memo: dict[Expr, Expr] = {
        e: local for e in loads((s,)) if e.buffer.root is root and root_index(e.buffer, e.index) == index
    }

    def visit(e: Expr) -> Expr:
        return rewrite(e, {}, memo)

    def store(x: Store) -> Stmt:
        if x.buffer.root is root and root_index(x.buffer, x.index) == index:
            return Assign(local, x.value, x.mode)
        position = tuple(map_payloads(i, visit) for i in x.index)
        return x if position == x.index else dataclasses.replace(x, index=position)

    return rebuild(s, visit, store)


#: What an operation on an old value and a new one is as an update.
_UPDATES = {"add": "+=", "multiply": "*=", "maximum": "max=", "minimum": "min="}


def forwards(program: Program) -> Program:
    """Let innermost loops that count down count up, where the order of the iterations does not matter: such loops are
    vectorised better."""
    return with_body(program, (_forwards(s) for s in program.body))


def _forwards(s: Stmt) -> Stmt:
    def inside(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        new = tuple(map(_forwards, body))
        return body if all(a is b for a, b in zip(new, body, strict=True)) else new

    s = with_lists(s, inside)
    if isinstance(s, Loop) and s.step == -1 and any_order(s):
        return dataclasses.replace(s, lo=add(s.hi, 1), hi=add(s.lo, 1), step=1)
    return s


def any_order(s: Loop, nested: bool = False, private: Set[Local | Buffer] = frozenset()) -> bool:
    """Whether a loop's iterations may run in any order. One with loops inside counts only if ``nested``.

    private : numbers that every iteration computes for itself, besides the locals that are declared in the loop.
    """
    private = set(private)
    inner = {s.var}
    for x in statements(s.body):
        if isinstance(x, (While, LibCall, Fail, Alloc)) or (isinstance(x, Loop) and not nested):
            return False
        if isinstance(x, Loop):
            inner.add(x.var)
        if isinstance(x, Let):
            private.add(x.local)
    uses = _reads(s)
    updates: dict[Local, list[str]] = {}
    for x in statements(s.body):
        if isinstance(x, Assign) and x.local not in private:
            updates.setdefault(x.local, []).append(x.mode)
    if any(modes[0] == "=" or len(set(modes)) > 1 or uses[t] > len(modes) for t, modes in updates.items()):
        return False
    found = list(accesses(s.body))
    written_here = {a.root for a in found if a.mode is not None} - private
    found = [a for a in found if a.root in written_here]
    if len(found) > MANY:
        return False
    changed = written((s,))
    for a in found:
        for b in found:
            if a.root is not b.root or (a.mode is None and b.mode is None) or (a.mode == b.mode and a.mode in COMMUTE):
                continue
            if not only_at_once(a, b, s.var, lambda v: varies(v, inner, changed), s.step):
                return False
    return True


def recognise(program: Program) -> Program:
    """Write updates of locals as updates, where the order does not matter."""
    return with_body(program, (_recognised(s, {}, False) for s in program.body))


def _recognised(s: Stmt, uses: dict[Local, int], looped: bool) -> Stmt:
    """``uses`` counts how often the innermost loop around a statement reads each local."""
    if isinstance(s, (Loop, While)):
        uses, looped = _reads(s), True
    if isinstance(s, Assign) and looped and s.mode == "=" and s.local.dtype.kind != "b":
        return _as_update(s, uses)

    def inside(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        new = tuple(_recognised(x, uses, looped) for x in body)
        return body if all(a is b for a, b in zip(new, body, strict=True)) else new

    return with_lists(s, inside) if lists_of(s) else s


def _reads(loop: Loop | While) -> dict[Local, int]:
    found: dict[Local, int] = {}
    for s in statements((loop,)):
        for e in subexpressions(expressions(s)):
            if isinstance(e, Local):
                found[e] = found.get(e, 0) + 1
        if isinstance(s, Assign) and s.mode != "=":
            found[s.local] = found.get(s.local, 0) + 1
    return found


def _as_update(s: Assign, uses: dict[Local, int]) -> Stmt:
    e = s.value
    if uses.get(s.local) != 1 or not isinstance(e, Scalar) or len(e.args) != 2:
        return s
    if e.op in ("add", "subtract") and kind_letter(s.local.dtype) in "fi":
        added = _added(e, s.local)
        return s if added is None else Assign(s.local, added, "+=")
    mode = _UPDATES.get(e.op)
    if mode is None:
        return s
    for old, new in (e.args, e.args[::-1]):
        if old is s.local and _free(new, s.local):
            return Assign(s.local, new, mode)
    return s


def _added(e: Expr, local: Local) -> Expr | None:
    """What a sum adds to a local; None where it is something else."""
    if not isinstance(e, Scalar) or e.op not in ("add", "subtract"):
        return None
    for old, new in (e.args, e.args[::-1])[: 1 if e.op == "subtract" else 2]:
        if not _free(new, local):
            continue
        if old is local:
            return new if e.op == "add" else scalar("negative", new)
        more = _added(old, local)
        if more is not None:
            return scalar(e.op, more, new)
    return None


def _free(e: Expr, local: Local) -> bool:
    return all(x is not local for x in subexpressions((e,)))
