"""Short rows: the loops along a row of few elements are unrolled where they call functions, so that LLVM computes
several rows at once, each in a lane.

    for i < n:                              for i < n:
        for k < 3:                              let t_0 = cos(x[i, 0])
            t[k] = cos(x[i, k])      =>         let t_1 = cos(x[i, 1])
        for k < 2:                              let t_2 = cos(x[i, 2])
            y[i, k] = t[k] + t[k + 1]           y[i, 0] = t_0 + t_1
                                                y[i, 1] = t_1 + t_2

Along such a row whole vectors do not fit. LLVM would unroll these loops itself, but not where functions make them long,
and not always in time to see that no iteration needs what another one has left in a temporary. Those are numbers here.
An element at a place that the row itself computes, as the score of its label, is compared with all places, and indices
are checked after the loop, see ``jitgrad.loopir.checks``: LLVM computes several rows at once only if all do the same.
Loops beside long straight lines (products of matrices beside their factors) are unrolled for the sake of those lines.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence, Set

from jitgrad.ir.index import Dim, Sym
from jitgrad.loopir.checks import calls, checked_after, stores_own
from jitgrad.loopir.costs import price
from jitgrad.loopir.deps import trips
from jitgrad.loopir.lower import with_loops
from jitgrad.loopir.nodes import (
    UPDATES,
    Assign,
    Buffer,
    Expr,
    Index,
    Let,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    scalar,
)
from jitgrad.loopir.private import uses_of
from jitgrad.loopir.reductions import accumulate, any_order
from jitgrad.loopir.rewrite import map_payloads, rewrite, substitute_index
from jitgrad.loopir.substitute import shapes_depend, substituted
from jitgrad.loopir.walk import expressions, loads, rebuild, statements, subexpressions, written

#: The longest row, and how many elements make a vector: a row of one stays a loop unless something is summed.
LONGEST, VECTOR = 15, 8
#: Rows that there must be.
LEAST = 64
#: What a row may cost, unrolled: LLVM compiles all of it for vectors.
MOST = 1000
#: How often what the straight lines beside them cost loops may cost that are unrolled for the sake of those.
LINES = 2


def rows(program: Program, notes: list[str]) -> Program:
    """Unroll the loops along short rows where that pays."""
    unrolled = functools.partial(_unrolled, uses=uses_of(program.body))
    new = with_loops(program, unrolled, notes, "loops that compute several short rows at once")
    return new if new is program else accumulate(new)  # what was one sum of an element in each iteration


def _unrolled(s: Stmt, uses: Mapping[Buffer, int]) -> list[Stmt] | None:
    """A loop over rows with the loops in it unrolled; None where they should or may not be. ``uses`` counts the
    statements of the whole program that touch a root."""
    if not isinstance(s, Loop) or s.step != 1 or trips(s) < LEAST:
        return None
    if not any(isinstance(x, Loop) for x in s.body) or not _pays(s.body):
        return None
    checked = checked_after(s)
    if checked is None or not all(map(_is_short, statements(checked.loop.body))):
        return None
    s = checked.loop
    inside = uses_of(s.body)
    private = frozenset(t for t, n in inside.items() if t.kind == "temp" and n == uses[t])
    if shapes_depend(s, s.var) or not any_order(s, nested=True, private=private):
        return None
    if not all(stores_own(x, s) for x in statements(s.body) if private.isdisjoint(written((x,)))):
        return None
    body = _numbers(list(_straight(s.body)), private)
    return None if body is None else [*checked.before, dataclasses.replace(s, body=tuple(body)), *checked.after]


# Whether it pays


def _is_short(x: Stmt) -> bool:
    if not isinstance(x, Loop):
        return isinstance(x, (Let, Assign, Store))
    return isinstance(x.lo, int) and isinstance(x.hi, int) and 0 < len(range(x.lo, x.hi, x.step)) <= LONGEST


def _pays(body: Sequence[Stmt]) -> bool:
    """Whether the loops call functions, and not too many; rows of one vector are loops unless something is summed."""
    if _is_beside_lines(body):
        return True
    inside = [x for s in body if isinstance(s, Loop) for x in statements((s,))]
    sums = any(isinstance(x, Assign) for x in inside)
    if not sums and any(isinstance(x, Loop) and trips(x) == VECTOR for x in inside):
        return False
    return calls(inside) and sum(_cost(s) for s in body if isinstance(s, Loop)) <= MOST


def _is_beside_lines(body: Sequence[Stmt]) -> bool:
    """Whether most of an iteration is straight lines already, which would do without vectors for the sake of some short
    loops: products of small matrices beside their factors."""
    lines = [x for x in body if not isinstance(x, Loop)]
    found = [e.op for e in subexpressions(e for x in lines for e in expressions(x)) if isinstance(e, Scalar)]
    if "divide" not in found and "sqrt" not in found:
        return False
    return sum(_cost(s) for s in body if isinstance(s, Loop)) <= LINES * sum(map(price, found)) <= LINES * MOST


def _cost(s: Loop) -> float:
    """What a loop costs, unrolled."""
    simple = [e for x in s.body if not isinstance(x, Loop) for e in expressions(x)]
    own = sum(price(e.op) for e in subexpressions(simple) if isinstance(e, Scalar))
    return trips(s) * (own + sum(_cost(x) for x in s.body if isinstance(x, Loop)))


# Straight lines


def _straight(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """The statements, those of loops once for each iteration and with locals of their own."""
    for s in body:
        if not isinstance(s, Loop):
            yield s
            continue
        assert isinstance(s.lo, int) and isinstance(s.hi, int)
        for k in range(s.lo, s.hi, s.step):
            env: dict[Sym, Dim] = {s.var: k}
            memo: dict[Expr, Expr] = {
                x.local: Local(f"{x.local.name}_{k}", x.local.dtype) for x in s.body if isinstance(x, Let)
            }
            yield from _straight([substituted(x, env, memo) for x in s.body])


def _numbers(body: Sequence[Stmt], private: Set[Buffer]) -> list[Stmt] | None:
    """The statements with a local for each element of the ``private`` arrays; None where one is used that was not set
    before."""
    row = _Row(private)
    found: list[Stmt] = []
    for s in body:
        new = row.reads(s)
        new = None if new is None else [*new[:-1], *(row.stored(new[-1]) or ())]
        if not new:
            return None
        found += new
    return found


class _Row:
    """The elements of ``private`` arrays that were set so far, as locals."""

    def __init__(self, private: Set[Buffer]) -> None:
        self.private = private
        self.numbers: dict[Buffer, dict[tuple[Dim, ...], Local]] = {}

    def reads(self, s: Stmt) -> list[Stmt] | None:
        """The statement without loads of the arrays, after what chooses elements for it; None where one was not set."""
        chosen: list[Stmt] = []
        memo: dict[Expr, Expr] = {}
        for e in sorted(loads((s,)), key=lambda e: e.depth):  # those in indices of others come first
            if e.buffer.root not in self.private:
                continue
            known, index = self.numbers.get(e.buffer, {}), tuple(substitute_index(i, {}, memo) for i in e.index)
            if index in known:
                memo[e] = known[index]
                continue
            if not self.is_whole(e.buffer) or _is_number(index):
                return None
            last, *others = reversed(known.items())
            value: Expr = last[1]
            for place, number in others:
                value = scalar("where", _is_at(index, place), number, value)
            memo[e] = local = Local(e.buffer.name, e.dtype)
            chosen.append(Let(local, value))
        return [*chosen, _with(s, memo) if memo else s]

    def stored(self, s: Stmt) -> list[Stmt] | None:
        """What takes the place of a store to the arrays; None where what it updates was not set. Others stay."""
        if not isinstance(s, Store) or s.buffer.root not in self.private:
            return [s]
        known = self.numbers.setdefault(s.buffer, {})
        if s.index in known:
            return [Assign(known[s.index], s.value, s.mode)]
        if _is_number(s.index):
            if s.mode != "=" or s.buffer.base is not None:
                return None
            known[s.index] = Local("_".join([s.buffer.name, *map(str, s.index)]), s.buffer.dtype)
            return [Let(known[s.index], s.value)]
        if not self.is_whole(s.buffer):
            return None
        value = Local(s.buffer.name, s.buffer.dtype)
        return [Let(value, s.value), *(_updated(s, place, number, value) for place, number in known.items())]

    def is_whole(self, t: Buffer) -> bool:
        """Whether all elements of an array were set, and are few."""
        known = len(self.numbers.get(t, ()))
        return known == t.size and known <= LONGEST


def _is_number(index: Sequence[Dim]) -> bool:
    return all(isinstance(i, int) for i in index)


def _is_at(index: Sequence[Dim], place: Sequence[Dim]) -> Expr:
    """Whether a computed place is that place."""
    same = [Index(i).eq(Index(k)) for i, k in zip(index, place, strict=True) if i != k]
    return functools.reduce(lambda a, b: a & b, same)


def _updated(s: Store, place: Sequence[Dim], number: Local, value: Local) -> Stmt:
    """A store to a computed place, as far as one element is concerned."""
    new = value if s.mode == "=" else scalar(UPDATES[s.mode], number, value, dtype=number.dtype)
    return Assign(number, scalar("where", _is_at(s.index, place), new, number))


def _with(s: Stmt, memo: dict[Expr, Expr]) -> Stmt:
    def visit(e: Expr) -> Expr:
        return rewrite(e, {}, memo)

    def store(x: Store) -> Stmt:
        return dataclasses.replace(x, index=tuple(map_payloads(i, visit) for i in x.index))

    return rebuild(s, visit, store)
