"""Register tiling: several iterations of a loop around an innermost loop run in that loop at once (unroll and jam).

    for k < m:                              for k in 0 .. m - 3 step 4:
        for j < n:                   =>         for j < n:
            c[j] += a[k] * b[k, j]                  c[j] += a[k]*b[k, j] + ... + a[k + 3]*b[k + 3, j]
                                            for k in 4 * (m // 4) .. m:
                                                ... as before

What the iterations share is loaded, and stored, once for all of them. See Allen and Kennedy, Optimizing Compilers for
Modern Architectures, section 8.4.
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
from jitgrad.loopir.reductions import any_order
from jitgrad.loopir.substitute import shapes_depend, substituted
from jitgrad.loopir.walk import expressions, statements, subexpressions, written

#: How many iterations run at once: many, or few where they need many registers.
MANY, FEW = 4, 2
#: Loads, stores and sums of an inner loop that so many iterations may need together.
REGISTERS = 24
#: What part of the work of the inner loops must be saved.
WORTH = 0.1
#: Loops that run less often are left.
SHORT = 8.0


def jam(program: Program, notes: list[str]) -> Program:
    """Tile all loops where it pays and where their iterations may run in any order."""
    return with_loops(program, _tiled, notes, "loops that run several iterations at once in their inner loop")


def _tiled(s: Stmt) -> list[Stmt] | None:
    """A loop as one over tiles and one over the rest; None where it should or may not be."""
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
    if factor == 1 or shapes_depend(s, s.var) or not any_order(s, nested=True):
        return None
    tile = Sym(s.var.name, lo, add(hi, -factor))
    main = Loop(tile, lo, add(hi, 1 - factor), tuple(_jammed(s, tile, factor)), factor)
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


def _evaluated(nest: Loop) -> Iterator[Expr]:
    return subexpressions(e for s in nest.body for e in expressions(s))


def _jammed(loop: Loop, tile: Sym, factor: int) -> Iterator[Stmt]:
    """The body of the loop over tiles: each statement for all iterations of a tile, before the next statement."""
    yield from copies(loop.body, [{loop.var: add(expr(tile), k)} for k in range(factor)])


def copies(body: Sequence[Stmt], places: Sequence[Mapping[Sym, Dim]]) -> Iterator[Stmt]:
    """Statements, and those of innermost loops, each once for every one of ``places`` of loop variables."""
    private = [s.local for s in statements(body) if isinstance(s, Let)]
    memos: list[dict[Expr, Expr]] = [
        {t: Local(f"{t.name}_{k}", t.dtype) for t in private} if k else {} for k in range(len(places))
    ]

    def each(s: Stmt) -> Iterable[Stmt]:
        return _combined([substituted(s, env, memo) for env, memo in zip(places, memos, strict=True)])

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
