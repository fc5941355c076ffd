"""Sums into shifted pieces of one array, as one pass over that array.

The adjoint of a stencil adds one array into several shifted pieces of another: ``B[1:-1] += t``, ``B[:-2] += t``,
``B[2:] += t``. Each is a pass that loads and stores. Seen from an element of ``B`` it is a stencil again, ``B[p] +=
t[p-1] + t[p] + t[p-2]``, except near the borders, where some of the terms are missing. ``gather`` rewrites such nests,
and ``sink`` moves what overwrites the array behind ``t`` (an adjoint that is set to zero once it is read) behind them,
so that ``t`` need not be stored.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from jitgrad.ir.index import Dim, IndexExpr, Sym, add, expr, mul
from jitgrad.loopir.buffers import whole_store
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.merge import Facts, facts_of
from jitgrad.loopir.nodes import Buffer, Expr, Load, Loop, Program, Scalar, Stmt, Store, scalar
from jitgrad.loopir.rewrite import rewrite
from jitgrad.loopir.walk import subexpressions, with_lists

#: How far a statement is moved, and how far apart nests are that become one.
WINDOW = 32
#: Terms with more operations than this are computed once and stored.
CHEAP = 6
#: Elements near a border that are written out one by one, at most.
PEELED = 4


def sink(program: Program) -> Program:
    """Move statements that overwrite an array behind the uses of what was read from it before."""
    facts: dict[Stmt, Facts] = {}

    def visit(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        new = _sunk(body, facts) if len(body) > 2 else body
        inner = tuple(with_lists(s, visit) for s in new)
        return body if len(inner) == len(body) and all(a is b for a, b in zip(inner, body, strict=True)) else inner

    return with_body(program, visit(program.body))


def _sunk(body: tuple[Stmt, ...], facts: dict[Stmt, Facts]) -> tuple[Stmt, ...]:
    """One list. What was read is a whole temporary; what overwrites is a loop that writes one array only."""
    result = list(body)
    moved = False
    k = 0
    while k < len(result):
        found = whole_store(result[k])
        target = _behind_uses(result, k, found[0], facts) if found is not None else None
        if target is not None:
            place, end = target
            result.insert(end, result.pop(place))
            moved = True
            continue
        k += 1
    return tuple(result) if moved else body


def _behind_uses(body: list[Stmt], k: int, store: Store, facts: dict[Stmt, Facts]) -> tuple[int, int] | None:
    """``(place, end)``: a statement that keeps the definition at ``k`` from being computed where it is used, and the
    last use, behind which it may go."""
    d, reads = store.buffer, facts_of(body[k], facts).reads
    if d.kind != "temp" or d.size == 1:
        return None
    near = range(k + 1, min(k + WINDOW, len(body)))
    uses: list[int] = []
    read = {d}
    for j in near:
        if facts_of(body[j], facts).reads & read:
            uses.append(j)
            through = whole_store(body[j])
            if through is not None and through[0].buffer.kind == "temp":
                read.add(through[0].buffer)  # may be computed where that is used, in turn
    writers = [j for j in near if facts_of(body[j], facts).writes & reads]
    if not uses or not writers or writers[0] >= uses[-1]:
        return None
    place, end = writers[0], uses[-1]
    mine = facts_of(body[place], facts)  # no use itself: two that are would go behind each other for ever
    if not isinstance(body[place], Loop) or len(mine.writes) != 1 or mine.effects or mine.used or mine.assigned:
        return None
    if read & mine.touched or any(facts_of(body[j], facts).must_follow(mine) for j in range(place + 1, end + 1)):
        return None
    return place, end


class _Sum(NamedTuple):
    """A nest that adds ``value`` to ``buffer[fixed or variable + shift, ...]``."""

    buffer: Buffer
    loops: tuple[Loop, ...]  # in the order of the axes that they run along
    axes: tuple[int, ...]
    fixed: tuple[Dim | None, ...]  # None on the axes that loops run along
    shifts: tuple[int, ...]
    value: Expr


def gather(program: Program, notes: list[str]) -> Program:
    """Rewrite groups of sums into shifted pieces."""
    facts: dict[Stmt, Facts] = {}
    count = 0

    def visit(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        nonlocal count
        new, n = _gathered(body, facts)
        count += n
        inner = tuple(with_lists(s, visit) if s in known else s for s in new) if (known := set(body)) else new
        return body if len(inner) == len(body) and all(a is b for a, b in zip(inner, body, strict=True)) else inner

    body = visit(program.body)
    if count:
        notes.append(f"sums into shifted pieces of an array that became one pass: {count}")
    return with_body(program, body)


def _gathered(body: tuple[Stmt, ...], facts: dict[Stmt, Facts]) -> tuple[tuple[Stmt, ...], int]:
    """One list with its groups rewritten, and how many sums they have."""
    sums = [_as_sum(s) for s in body]
    if sum(s is not None for s in sums) < 2:
        return body, 0
    defined: set[Buffer] = set()  # before the current statement
    result: list[Stmt] = []
    done: set[int] = set()
    count = 0
    for k, first in enumerate(sums):
        filled = whole_store(body[k])
        if filled is not None:
            defined.add(filled[0].buffer)
        if k in done:
            continue
        group = [k]
        if first is not None and _suits(first, defined):
            group += _joined(body, sums, k, facts, defined)
        if len(group) < 2 or len({sums[j].shifts for j in group}) < 2:  # pyright: ignore[reportOptionalMemberAccess]
            result.append(body[k])
            continue
        members = [s for j in group if (s := sums[j]) is not None]
        if not _wide_enough(members):
            result.append(body[k])
            continue
        result += _pass(members)
        done.update(group)
        count += len(group)
    return tuple(result), count


def _as_sum(s: Stmt) -> _Sum | None:
    loops: list[Loop] = []
    while isinstance(s, Loop) and len(s.body) == 1 and s.step == 1:
        loops.append(s)
        s = s.body[0]
    if not loops or not isinstance(s, Store) or s.mode != "+=" or s.buffer.base is not None:
        return None
    by_variable = {loop.var: loop for loop in loops}
    if any(v in by_variable for loop in loops for e in (loop.lo, loop.hi) for v in _syms(e)):
        return None
    along: list[Loop] = []
    axes: list[int] = []
    shifts: list[int] = []
    fixed: list[Dim | None] = []
    for axis, e in enumerate(s.index):
        found = [v for v in _syms(e) if v in by_variable]
        fixed.append(None if found else e)
        if not found:
            continue
        shift = add(e, mul(expr(found[0]), -1))
        if len(found) > 1 or not isinstance(shift, int) or by_variable[found[0]] in along:
            return None
        along.append(by_variable[found[0]])
        axes.append(axis)
        shifts.append(shift)
    if len(along) != len(loops):
        return None
    return _Sum(s.buffer, tuple(along), tuple(axes), tuple(fixed), tuple(shifts), s.value)


def _syms(e: Dim) -> frozenset[Sym]:
    return e.syms() if isinstance(e, IndexExpr) else frozenset()


def _suits(s: _Sum, defined: set[Buffer]) -> bool:
    """Whether a sum is cheap, and of arrays that are there anyway."""
    parts = list(subexpressions((s.value,)))
    if sum(isinstance(e, Scalar) for e in parts) > CHEAP:
        return False
    return all(e.buffer.root is not s.buffer and e.buffer.root not in defined for e in parts if isinstance(e, Load))


def _joined(
    body: Sequence[Stmt], sums: Sequence[_Sum | None], k: int, facts: dict[Stmt, Facts], defined: set[Buffer]
) -> list[int]:
    """The later sums that may be computed together with number ``k``."""
    first = sums[k]
    assert first is not None
    found: list[int] = []
    between: list[Facts] = []
    for j in range(k + 1, min(k + WINDOW, len(body))):
        s, mine = sums[j], facts_of(body[j], facts)
        same = (
            s is not None
            and s.buffer is first.buffer
            and s.axes == first.axes
            and s.fixed == first.fixed
            and all(a.lo == b.lo and a.hi == b.hi for a, b in zip(s.loops, first.loops, strict=True))
        )
        if same and _suits(s, defined) and not any(mine.must_follow(other) for other in between):  # pyright: ignore[reportArgumentType]
            found.append(j)
        else:
            between.append(mine)
    return found


def _wide_enough(members: Sequence[_Sum]) -> bool:
    """Whether there are elements to which all terms are added, along each axis."""
    for d, loop in enumerate(members[0].loops):
        shifts = [s.shifts[d] for s in members]
        extent = add(loop.hi, mul(loop.lo, -1))
        if not isinstance(extent, int) or extent <= 2 * (max(shifts) - min(shifts)):
            return False
    return True


def _pass(members: Sequence[_Sum], known: tuple[Dim, ...] = ()) -> list[Stmt]:
    """The statements that add all terms at positions that start with ``known``.

    The next axis is cut where a term begins or ends; in each piece the same terms are there.
    """
    d = len(known)
    if d == len(members[0].loops):
        total: Expr | None = None
        for s in members:
            value = _term(s, known)
            total = value if total is None else scalar("add", total, value)
        assert total is not None
        return [Store(members[0].buffer, _position(members[0], known), total, "+=")]
    result: list[Stmt] = []
    loop = members[0].loops[d]
    shifts = sorted({s.shifts[d] for s in members})
    cuts = [add(end, shift) for end in (loop.lo, loop.hi) for shift in shifts]
    for k, (lo, hi) in enumerate(itertools.pairwise(cuts)):
        there = set(shifts[max(k + 1 - len(shifts), 0) : k + 1])
        present = [s for s in members if s.shifts[d] in there]
        width = add(hi, mul(lo, -1))
        if isinstance(width, int) and width <= (PEELED if d + 1 == len(members[0].loops) else 1):
            for place in range(width):
                result += _pass(present, (*known, add(lo, place)))
            continue
        v = Sym("pqrstu"[d] if d < 6 else "p", lo, add(hi, -1))
        result.append(Loop(v, lo, hi, tuple(_pass(present, (*known, expr(v))))))
    return result


def _position(s: _Sum, index: Sequence[Dim]) -> tuple[Dim, ...]:
    rest = iter(index)
    return tuple(next(rest) if e is None else e for e in s.fixed)


def _term(s: _Sum, index: Sequence[Dim]) -> Expr:
    """What a sum adds at a position."""
    env = {loop.var: add(p, -shift) for loop, p, shift in zip(s.loops, index, s.shifts, strict=True)}
    return rewrite(s.value, env, {})
