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
Loops beside long straight lines (products of matrices beside their factors) are unrolled for the sake of those lines.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence, Set

from jitgrad.ir.index import Dim, IndexExpr, Sym
from jitgrad.loopir.costs import TRANSCENDENTAL, price
from jitgrad.loopir.deps import COMMUTE, trips
from jitgrad.loopir.lower import with_loops
from jitgrad.loopir.nodes import Assign, Buffer, Expr, Let, Local, Loop, Program, Scalar, Stmt, Store
from jitgrad.loopir.private import uses_of
from jitgrad.loopir.reductions import accumulate, any_order
from jitgrad.loopir.rewrite import rewrite
from jitgrad.loopir.substitute import shapes_depend, substituted
from jitgrad.loopir.walk import expressions, loads, rebuild, statements, subexpressions

#: The longest row, and how many elements make a vector: a row of one stays a loop unless something is summed.
LONGEST, VECTOR = 11, 8
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
    if not any(isinstance(x, Loop) for x in s.body) or not all(map(_is_short, statements(s.body))) or not _pays(s.body):
        return None
    inside = uses_of(s.body)
    private = frozenset(t for t, n in inside.items() if t.kind == "temp" and n == uses[t])
    if shapes_depend(s, s.var) or not any_order(s, nested=True, private=private):
        return None
    if any(isinstance(x, Store) and x.buffer.root not in private and not _is_own(x, s) for x in statements(s.body)):
        return None
    body = _numbers(list(_straight(s.body)), private)
    return None if body is None else [dataclasses.replace(s, body=tuple(body))]


def _is_own(x: Store, s: Loop) -> bool:
    """Whether an iteration stores to a place that is its own, and known without looking at any array; or adds to one
    that is the same in all iterations."""
    symbols = {v for d in x.index if isinstance(d, IndexExpr) for v in d.syms()}
    return (s.var in symbols or x.mode in COMMUTE) and all(v.payload is None for v in symbols)


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
    found = subexpressions(e for x in inside for e in expressions(x))
    heavy = any(isinstance(e, Scalar) and price(e.op) >= TRANSCENDENTAL for e in found)
    return heavy and sum(_cost(s) for s in body if isinstance(s, Loop)) <= MOST


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
    before, or an index is no number."""
    numbers: dict[tuple[Buffer, tuple[Dim, ...]], Local] = {}
    result: list[Stmt] = []
    for s in body:
        mine = [e for e in loads((s,)) if e.buffer.root in private]
        if any((e.buffer, e.index) not in numbers for e in mine):
            return None
        memo: dict[Expr, Expr] = {e: numbers[e.buffer, e.index] for e in mine}
        new = _with(s, memo) if memo else s
        if not isinstance(new, Store) or new.buffer.root not in private:
            result.append(new)
            continue
        place = new.buffer, new.index
        if place in numbers:
            result.append(Assign(numbers[place], new.value, new.mode))
        elif new.mode != "=" or new.buffer.base is not None or not all(isinstance(i, int) for i in new.index):
            return None
        else:
            name = "_".join([new.buffer.name, *map(str, new.index)])
            numbers[place] = Local(name, new.buffer.dtype)
            result.append(Let(numbers[place], new.value))
    return None if any(e.buffer.root in private for e in loads(result)) else result  # in indices


def _with(s: Stmt, memo: dict[Expr, Expr]) -> Stmt:
    return rebuild(s, lambda e: rewrite(e, {}, memo))
