"""Triangular recurrences: a sum over the iterations before becomes updates for those to come, and the other way round.

    for j in range(n):                          s = zeros(n)
        acc = 0                                 for j in range(n):
        for k in range(j):                          x[j] = (b[j] - s[j]) / u[j, j]
            acc += x[k] * u[k, j]       <=>         for m in range(j + 1, n):
        x[j] = (b[j] - acc) / u[j, j]                   s[m] += x[j] * u[j, m]

The first walks down columns of ``u``, the second along rows. Neither loop can be taken out of the other, as each
iteration needs the one before. An addend may move between the end of iteration k and iteration j where what it reads
is not written in between.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from jitgrad.ir.index import Dim, IndexExpr, Sym, add, expr, interval, mul
from jitgrad.loopir.deps import COMMUTE, MANY, Access, accesses, distance, upwards, varies
from jitgrad.loopir.nodes import Assign, Buffer, Const, Let, Load, Local, Loop, Stmt, Store
from jitgrad.loopir.substitute import substituted
from jitgrad.loopir.walk import expressions, statements, subexpressions, written


class _Turn(NamedTuple):
    """The inner loop after the exchange of the two variables."""

    var: Sym
    lo: Dim
    hi: Dim


def at_positions(loop: Loop, place: int) -> Loop:
    """The inner loop at ``place`` of the body of a loop, as one over positions, and, where that is possible, free of
    numbers that the body computes."""
    inner = loop.body[place]
    assert isinstance(inner, Loop)
    return _absolute(loop.var, _without_numbers(inner, loop.body[:place]))


def turned(loop: Loop, place: int, inner: Loop) -> list[Stmt] | None:
    """A loop with the inner loop at ``place`` of its body, which ``inner`` is in another form, turned; None where it
    may not be."""
    if abs(loop.step) != 1 or abs(inner.step) != 1 or len(inner.body) != 1:
        return None
    before, after = loop.body[:place], loop.body[place + 1 :]
    (s,) = inner.body
    if isinstance(s, Assign) and s.mode == "+=":
        turn = _turn(loop, inner, earlier=True)
        return None if turn is None else _pushed(loop, inner, s, turn, before, after)
    if isinstance(s, Store) and s.mode == "+=" and not after:
        turn = _turn(loop, inner, earlier=False)
        return None if turn is None else _pulled(loop, inner, s, turn, before)
    return None


def _without_numbers(inner: Loop, before: Sequence[Stmt]) -> Loop:
    """An inner loop with the values of numbers that were computed before it and are still the same, but for what the
    inner loop itself writes into arrays."""
    for k, s in enumerate(before):
        if isinstance(s, Let):
            number, name = s.local, s.local
        elif isinstance(s, Store) and s.mode == "=" and s.buffer.root.size == 1 and s.buffer.root.kind == "temp":
            number, name = s.buffer.root, Load(s.buffer, s.index)
        else:
            continue
        if number in written((*before[:k], *before[k + 1 :], inner)):
            continue
        sources = {e.buffer.root if isinstance(e, Load) else e for e in subexpressions((s.value,))}
        if not sources & (written(before[k + 1 :]) | {t for t in written((inner,)) if isinstance(t, Local)}):
            inner = dataclasses.replace(inner, body=tuple(substituted(x, {}, {name: s.value}) for x in inner.body))
    return inner


def _absolute(v: Sym, inner: Loop) -> Loop:
    """An inner loop that counts from the outer variable on, ``x[v + k + 1] for k < n - v``, as one over positions."""
    for x in inner.body:
        used = [d for e in subexpressions(expressions(x)) if isinstance(e, Load) for d in e.index]
        for d in (*used, *x.index) if isinstance(x, Store) else used:
            if isinstance(d, IndexExpr) and {(v, 1), (inner.var, 1)} <= set(d.terms):
                shift = add(d, mul(expr(inner.var), -1))
                lo, hi = (add(e, shift) for e in upwards(inner))
                position = Sym(inner.var.name, lo, add(hi, -1))
                env: dict[Sym, Dim] = {inner.var: add(expr(position), mul(shift, -1))}
                return Loop(position, lo, hi, tuple(substituted(x, env, {}) for x in inner.body))
    return inner


def _turn(loop: Loop, inner: Loop, *, earlier: bool) -> _Turn | None:
    """If the inner loop runs over all earlier (later) iterations of the outer one: a loop over all later (earlier)
    ones."""
    (lo, hi), (a, b) = upwards(loop), upwards(inner)
    v = loop.var
    below = (loop.step > 0) == earlier  # the variable of the inner loop is less than that of the outer one
    fixed, moving, limit = (a, b, lo) if below else (b, a, hi)
    c = add(moving, mul(expr(v), -1))
    if not isinstance(c, int) or fixed != limit or (c > 0 if below else c < 1):
        return None
    edge = add(add(expr(v), -c), 1)
    start, end = (edge, hi) if below else (lo, edge)
    return _Turn(Sym(inner.var.name, start, add(end, -1)), start, end)


def _exchanged(s: Stmt, outer: Sym, inner: Sym, new: Sym) -> Stmt:
    """An addend with the two variables exchanged: ``outer`` for ``inner``, and ``new`` for ``outer``."""
    return substituted(s, {inner: expr(outer), outer: expr(new)}, {})


def _pushed(
    loop: Loop, inner: Loop, s: Assign, turn: _Turn, before: Sequence[Stmt], after: Sequence[Stmt]
) -> list[Stmt] | None:
    """A sum becomes an array, to which every iteration adds what it knows."""
    starts = [k for k, x in enumerate(before) if isinstance(x, Let) and x.local is s.local]
    zero = before[starts[0]] if len(starts) == 1 else None
    size = interval(expr(loop.var))[1]
    if not isinstance(zero, Let) or not isinstance(zero.value, Const) or zero.value.value != 0 or size is None:
        return None
    others = (*before[: starts[0]], *before[starts[0] + 1 :])
    if s.local in _locals(others) | written(others) or _locals((s,)) & written(loop.body):
        return None
    new = _exchanged(s, loop.var, inner.var, turn.var)
    assert isinstance(new, Assign)
    # The addend is now computed at the end of an iteration: all that is written to what it reads must be before.
    reads = [x for x in accesses((new,)) if x.mode is None]
    writes = [x for x in accesses((*before, *after)) if x.mode is not None]
    if not _all_before(reads, writes, loop, {turn.var}):
        return None
    (lo, hi) = upwards(loop)
    sums = Buffer(f"{s.local.name}_", s.local.dtype, (size + 1,))
    first = Sym(inner.var.name, lo, add(hi, -1))
    clear = Loop(first, lo, hi, (Store(sums, (expr(first),), zero.value),))
    start = Let(s.local, Load(sums, (expr(loop.var),)))
    push = Loop(turn.var, turn.lo, turn.hi, (Store(sums, (expr(turn.var),), new.value, "+="),))
    body = (*before[: starts[0]], start, *before[starts[0] + 1 :], *after, push)
    return [clear, dataclasses.replace(loop, body=body)]


def _pulled(loop: Loop, inner: Loop, s: Store, turn: _Turn, before: Sequence[Stmt]) -> list[Stmt] | None:
    """Updates of what later iterations need become a sum at the start of each of those."""
    if _locals((s,)) & written(loop.body):
        return None
    new = _exchanged(s, loop.var, inner.var, turn.var)
    assert isinstance(new, Store)
    if any(isinstance(d, IndexExpr) and (turn.var in d.syms() or _dynamic(d)) for d in new.index):
        return None
    # The reads move to later iterations: nothing may write what they read after the iteration that they come from.
    reads = [x for x in accesses((s,)) if x.mode is None]
    writes = [x for x in accesses(before) if x.mode is not None]
    if not _all_before(reads, writes, loop, {inner.var}):
        return None
    # The element itself: before the iteration that now updates it nothing else may touch it; what the addends read of
    # its array must be complete in the iteration that they come from.
    (update,) = (x for x in accesses((new,)) if x.mode is not None)
    if not _none_before(update, list(accesses(before)), loop) or not _all_before(reads, [update], loop, {inner.var}):
        return None
    total = Local("sum", s.buffer.dtype)
    pull = Loop(turn.var, turn.lo, turn.hi, (Assign(total, new.value, "+="),))
    body = (Let(total, Const(0, total.dtype)), pull, dataclasses.replace(new, value=total), *before)
    return [dataclasses.replace(loop, body=body)]


def _locals(stmts: Sequence[Stmt]) -> set[Local]:
    """The locals that statements read."""
    return {e for x in statements(stmts) for e in subexpressions(expressions(x)) if isinstance(e, Local)}


def _dynamic(d: IndexExpr) -> bool:
    return any(v.payload is not None for v in d.syms())


def _distances(
    xs: Sequence[Access], ys: Sequence[Access], loop: Loop, inner: set[Sym]
) -> list[tuple[int | None, int | None]] | None:
    """How many iterations each of ``ys`` may come after each of ``xs``, where both may be of one element; None where
    that can't be told."""
    found: list[tuple[int | None, int | None]] = []
    if len(xs) * len(ys) > MANY * MANY:
        return None
    changed = written(loop.body)
    inside = inner | {loop.var} | {x.var for x in statements(loop.body) if isinstance(x, Loop)}
    for x in xs:
        for y in ys:
            if x.root is not y.root:
                continue
            if x.index is None or y.index is None:
                return None
            apart = distance(x.index, y.index, loop.var, lambda v: varies(v, inside, changed))
            if apart is not None:
                lo, hi = apart
                ordered = (lo, hi) if loop.step > 0 else (None if hi is None else -hi, None if lo is None else -lo)
                found.append(ordered)
    return found


def _all_before(reads: Sequence[Access], writes: Sequence[Access], loop: Loop, inner: set[Sym]) -> bool:
    """Whether every write of what is read is in the iteration of the read or an earlier one."""
    found = _distances(writes, reads, loop, inner)
    return found is not None and all(lo is not None and lo >= 0 for lo, _ in found)


def _none_before(update: Access, others: Sequence[Access], loop: Loop) -> bool:
    """Whether nothing but commuting updates touches the element before the iteration of the update."""
    others = [x for x in others if not (x.mode == update.mode and x.mode in COMMUTE)]
    found = _distances([update], others, loop, set())
    return found is not None and all(lo is not None and lo >= 0 for lo, _ in found)
