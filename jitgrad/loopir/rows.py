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
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

from jitgrad.ir.index import Dim, IndexExpr, Sym
from jitgrad.loopir.costs import TRANSCENDENTAL, price
from jitgrad.loopir.deps import trips
from jitgrad.loopir.jam import flat
from jitgrad.loopir.lower import with_loops
from jitgrad.loopir.nodes import Assign, Buffer, Expr, Let, Local, Loop, Program, Scalar, Stmt, Store
from jitgrad.loopir.private import own, uses_of
from jitgrad.loopir.reductions import any_order
from jitgrad.loopir.rewrite import rewrite
from jitgrad.loopir.substitute import shapes_depend, substituted
from jitgrad.loopir.walk import expressions, loads, rebuild, statements, subexpressions

#: The longest row, and how many elements make a vector: a row of one stays a loop unless something is summed.
LONGEST, VECTOR = 11, 8
#: Rows that there must be.
LEAST = 64
#: What a row may cost, unrolled: LLVM compiles all of it for vectors.
MOST = 1000


def rows(program: Program, notes: list[str]) -> Program:
    """Unroll the loops along short rows where that pays."""
    unrolled = functools.partial(_unrolled, uses=uses_of(program.body))
    return with_loops(program, unrolled, notes, "loops that compute several short rows at once")


def _unrolled(s: Stmt, uses: Mapping[Buffer, int]) -> list[Stmt] | None:
    """A loop over rows with the loops in it unrolled; None where they should or may not be. ``uses`` counts the
    statements of the whole program that touch a root."""
    if not isinstance(s, Loop) or s.step != 1 or not all(map(flat, s.body)) or trips(s) < LEAST:
        return None
    inner = [x for x in s.body if isinstance(x, Loop)]
    if not inner or not all(map(_is_short, inner)) or not _pays(inner):
        return None
    inside = uses_of(s.body)
    private = {t for t, n in inside.items() if t.kind == "temp" and n == uses[t] and own(t, s.body)}
    if shapes_depend(s, s.var) or not any_order(s, nested=True, private=frozenset(private)):
        return None
    if any(isinstance(x, Store) and x.buffer not in private and not _is_own(x, s) for x in statements(s.body)):
        return None
    body = _numbers(list(_straight(s.body)), private)
    return None if body is None else [dataclasses.replace(s, body=tuple(body))]


def _is_own(x: Store, s: Loop) -> bool:
    """Whether an iteration stores to a place that is its own, and known without looking at any array."""
    symbols = {v for d in x.index if isinstance(d, IndexExpr) for v in d.syms()}
    return s.var in symbols and all(v.payload is None for v in symbols)


# Whether it pays


def _is_short(x: Loop) -> bool:
    if not isinstance(x.lo, int) or not isinstance(x.hi, int):
        return False
    return 0 < len(range(x.lo, x.hi, x.step)) <= LONGEST


def _pays(inner: Sequence[Loop]) -> bool:
    """Whether the loops call functions, and not too many; rows of one vector are loops unless something is summed."""
    cost = 0.0
    heavy = False
    for x in inner:
        found = [e for e in subexpressions(e for y in x.body for e in expressions(y)) if isinstance(e, Scalar)]
        heavy |= any(price(e.op) >= TRANSCENDENTAL for e in found)
        cost += trips(x) * sum(price(e.op) for e in found)
    sums = any(isinstance(y, Assign) for x in inner for y in x.body)
    return heavy and cost <= MOST and (sums or all(trips(x) != VECTOR for x in inner))


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
            yield from (substituted(x, env, memo) for x in s.body)


def _numbers(body: Sequence[Stmt], private: set[Buffer]) -> list[Stmt] | None:
    """The statements with a local for each element of the ``private`` arrays; None where an index is no number."""
    numbers: dict[tuple[Buffer, tuple[Dim, ...]], Local] = {}
    result: list[Stmt] = []
    for s in body:
        mine = [e for e in loads((s,)) if e.buffer in private]
        if any((e.buffer, e.index) not in numbers for e in mine):
            return None
        memo: dict[Expr, Expr] = {e: numbers[e.buffer, e.index] for e in mine}
        new = _with(s, memo) if memo else s
        if not isinstance(new, Store) or new.buffer not in private:
            result.append(new)
        elif not all(isinstance(i, int) for i in new.index):
            return None
        elif (new.buffer, new.index) in numbers:
            result.append(Assign(numbers[new.buffer, new.index], new.value, new.mode))
        elif new.mode != "=":
            return None
        else:
            name = "_".join([new.buffer.name, *map(str, new.index)])
            local = numbers[new.buffer, new.index] = Local(name, new.buffer.dtype)
            result.append(Let(local, new.value))
    return result


def _with(s: Stmt, memo: dict[Expr, Expr]) -> Stmt:
    return rebuild(s, lambda e: rewrite(e, {}, memo))
