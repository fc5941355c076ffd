"""Register tiling: several iterations of a loop around an innermost loop run in that loop at once (unroll and jam).

    for k < m:                              for k in 0 .. m - 3 step 4:
        for j < n:                   =>         for j < n:
            c[j] += a[k] * b[k, j]                  c[j] += a[k]*b[k, j] + ... + a[k + 3]*b[k + 3, j]
                                            for k in 4 * (m // 4) .. m:
                                                ... as before

What the iterations share is loaded, and stored, once for all of them. See Allen and Kennedy, Optimizing Compilers for
Modern Architectures, section 8.4.

An inner loop in which each iteration waits for the number that the one before has computed, as in a cumulative sum,
leaves the processor idle: several such loops at once take hardly longer than one. A temporary array that every
iteration of the outer loop fills for itself, one row of the sums, is then one for each of those that run at once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jitgrad.ir.index import Dim, IndexExpr, Sym, add, expr, floordiv, interval, mul
from jitgrad.loopir.costs import price
from jitgrad.loopir.deps import trips, upwards, varies
from jitgrad.loopir.lower import with_loops
from jitgrad.loopir.nodes import (
    Assign,
    Buffer,
    Expr,
    Let,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    scalar,
)
from jitgrad.loopir.private import own, uses_of
from jitgrad.loopir.reductions import any_order
from jitgrad.loopir.substitute import shapes_depend, substituted, with_accesses
from jitgrad.loopir.walk import expressions, statements, subexpressions, written

#: How many iterations run at once: many, or few where they need many registers.
MANY, FEW = 4, 2
#: Loads, stores and sums of an inner loop that so many iterations may need together.
REGISTERS = 24
#: What part of the work of the inner loops must be saved.
WORTH = 0.1
#: Loops that run less often are left.
SHORT = 8.0
#: Bytes of the arrays that iterations which run at once may have for themselves: they should stay in the cache.
OWN_BYTES = 1 << 17


def jam(program: Program, notes: list[str]) -> Program:
    """Tile all loops where it pays and where their iterations may run in any order."""
    tiled = functools.partial(_tiled, uses=uses_of(program.body))
    return with_loops(program, tiled, notes, "loops that run several iterations at once in their inner loop")


def _tiled(s: Stmt, uses: Mapping[Buffer, int]) -> list[Stmt] | None:
    """A loop as one over tiles and one over the rest; None where it should or may not be. ``uses`` counts the
    statements of the whole program that touch a root."""
    if not isinstance(s, Loop) or abs(s.step) != 1 or trips(s) < SHORT:
        return None
    inner = [x for x in s.body if isinstance(x, Loop)]
    if not inner or not all(flat(x) for x in s.body) or not all(same_range(x, s) for x in inner):
        return None
    lo, hi = upwards(s)
    count = add(hi, mul(lo, -1))
    least = interval(count)[0]
    if least is None or least < 0:
        return None
    factor = _factor(s, inner)
    if factor == 1 or shapes_depend(s, s.var):
        return None
    # What is inside is as it was: a loop that was tiled itself is none of simple statements.
    inside = uses_of(s.body)
    private = [t for t, n in inside.items() if t.kind == "temp" and t.size != 1 and n == uses[t] and own(t, s.body)]
    if sum(t.nbytes for t in private) * factor > OWN_BYTES:
        private = []
    if not any_order(s, nested=True, private=frozenset(private)):
        return None
    tile = Sym(s.var.name, lo, add(hi, -factor))
    main = Loop(tile, lo, add(hi, 1 - factor), tuple(_jammed(s, tile, factor, private)), factor)
    if isinstance(count, int) and count % factor == 0:
        return [main]
    return [main, Loop(s.var, add(lo, mul(floordiv(count, factor), factor)), hi, s.body)]


def flat(s: Stmt) -> bool:
    """Whether a statement is a simple one or an innermost loop of simple ones."""
    simple = (Let, Assign, Store)
    return isinstance(s, simple) or (isinstance(s, Loop) and all(isinstance(x, simple) for x in s.body))


def same_range(inner: Loop, loop: Loop) -> bool:
    """Whether an inner loop runs over the same range in every iteration of the one around it."""
    changed = written((loop,))
    symbols = [v for d in (inner.lo, inner.hi) if isinstance(d, IndexExpr) for v in d.syms()]
    return not any(varies(v, {loop.var}, changed) for v in symbols)


def _factor(loop: Loop, inner: Sequence[Loop]) -> int:
    """How many iterations to run at once; 1 where it does not pay."""
    saved = work = 0.0
    streams = 0
    if any(_waits(nest) for nest in inner if trips(nest) >= SHORT):
        return MANY if all(price(e.op) <= 1 for x in inner for e in _evaluated(x) if isinstance(e, Scalar)) else 1
    for nest in inner:
        if trips(nest) < SHORT:
            continue
        sums: set[Local] = set()
        for e in _evaluated(nest):
            if isinstance(e, Scalar) and nest.var in e.syms():
                if price(e.op) > 1:  # beside such a function loads do not matter
                    return 1
                work += 0.5
            elif isinstance(e, Load) and nest.var in e.syms():
                shared = loop.var not in e.syms()
                work, saved, streams = work + 1, saved + shared, streams + (not shared)
        for s in nest.body:
            if isinstance(s, Store):
                touched = frozenset().union(*(d.syms() for d in s.index if isinstance(d, IndexExpr)))
                shared = s.mode == "+=" and nest.var in touched and loop.var not in touched
                cost = 1 if s.mode == "=" else 2
                work, saved, streams = work + cost, saved + cost * shared, streams + (not shared)
            elif isinstance(s, Assign):
                sums.add(s.local)
        streams += 2 * len(sums)
    factor = MANY if streams * MANY <= REGISTERS else FEW if streams * FEW <= REGISTERS else 1
    return factor if saved and saved * (1 - 1 / factor) >= WORTH * work else 1


def _waits(nest: Loop) -> bool:
    """Whether an iteration of an innermost loop needs a number that the one before has computed."""
    declared = {x.local for x in nest.body if isinstance(x, Let)}
    carried = (x for x in nest.body if isinstance(x, Assign) and x.mode == "=" and x.local not in declared)
    return any(e is x.local for x in carried for e in subexpressions(expressions(x)))


def _evaluated(nest: Loop) -> Iterable[Expr]:
    return subexpressions(e for s in nest.body for e in expressions(s))


def _jammed(loop: Loop, tile: Sym, factor: int, private: Sequence[Buffer]) -> Iterator[Stmt]:
    """The body of the loop over tiles: each statement for all iterations of a tile, before the next statement."""
    yield from copies(loop.body, [{loop.var: add(expr(tile), k)} for k in range(factor)], private)


def copies(body: Sequence[Stmt], places: Sequence[Mapping[Sym, Dim]], arrays: Sequence[Buffer] = ()) -> Iterator[Stmt]:
    """Statements, and those of innermost loops, each once for every one of ``places`` of loop variables, and with
    ``arrays`` of its own."""
    private = [s.local for s in statements(body) if isinstance(s, Let)]
    memos: list[dict[Expr, Expr]] = [
        {t: Local(f"{t.name}_{k}", t.dtype) for t in private} if k else {} for k in range(len(places))
    ]

    mine = [{t: Buffer(f"{t.name}_{k}", t.dtype, t.shape, loc=t.loc) for t in arrays} for k in range(len(places))]

    def copy(s: Stmt, k: int) -> Stmt:
        new = substituted(s, places[k], memos[k])
        return with_accesses(new, lambda t, index: (mine[k][t], index) if t in mine[k] else None) if arrays else new

    def each(s: Stmt) -> Iterable[Stmt]:
        return _combined([copy(s, k) for k in range(len(places))])

    for s in body:
        if isinstance(s, Loop):
            yield dataclasses.replace(s, body=tuple(y for x in s.body for y in each(x)))
        else:
            yield from each(s)


def _combined(copies: list[Stmt]) -> list[Stmt]:
    """Several updates of one element, or of one local, by sums: as one."""
    first = copies[0]
    if not isinstance(first, (Store, Assign)) or first.mode != "+=":
        return copies
    if any(_target(s) != _target(first) for s in copies):
        return copies
    values = [s.value for s in copies if isinstance(s, (Store, Assign))]
    return [dataclasses.replace(first, value=functools.reduce(lambda a, b: scalar("add", a, b), values))]


def _target(s: Stmt) -> object:
    return (s.buffer, s.index) if isinstance(s, Store) else s.local if isinstance(s, Assign) else None
