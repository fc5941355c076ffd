"""Tiling of transposes: where some arrays of a nest are walked along rows and others down columns, in any order of the
loops, they run over tiles as wide and as high as a cache line.

    for i < 200:                            for j_tile in 0 .. 193 step 8:
        for j < 200:              =>            for i_tile in 0 .. 193 step 8:
            y[j, i] = x[i, j]                       for i in i_tile .. i_tile + 8:
                                                        for j in j_tile .. j_tile + 8:
                                                            y[j, i] = x[i, j]

So a line of an array that is walked down its columns is used up while it is in the cache, and LLVM transposes a tile in
registers. See Wolf and Lam, A data locality optimizing algorithm, 1991.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jitgrad.ir.index import Dim, Sym, add, coefficients, expr, floordiv, interval, mul
from jitgrad.loopir.build import flatten_index, loop_limits
from jitgrad.loopir.deps import span, trips
from jitgrad.loopir.jam import same_range
from jitgrad.loopir.lower import with_loops
from jitgrad.loopir.nodes import Buffer, Expr, Let, Load, Loop, Program, Stmt, Store
from jitgrad.loopir.reductions import any_order
from jitgrad.loopir.substitute import shapes_depend, substituted
from jitgrad.loopir.walk import expressions, subexpressions

#: Bytes that a processor loads at a time.
LINE = 64
#: Lines so many bytes apart share few places in a cache. Where rows are others, tiles are no faster (measured).
SET = 512
#: Loops that run less often than so many lines have elements are left.
SHORT = 4


def tile(program: Program, notes: list[str]) -> Program:
    """Tile all nests that walk arrays in conflicting orders."""
    return with_loops(program, _tiled, notes, "transposing loops over tiles of cache lines")


def _tiled(s: Stmt) -> list[Stmt] | None:
    """A nest of two loops as a nest over tiles and what is left; None where it should or may not be."""
    if not isinstance(s, Loop) or s.step != 1 or len(s.body) != 1:
        return None
    (inner,) = s.body
    if not isinstance(inner, Loop) or inner.step != 1 or not same_range(inner, s):
        return None
    if not all(isinstance(x, (Let, Store)) for x in inner.body):
        return None
    places = [*_places(inner)]
    line = LINE // max((buffer.dtype.itemsize for buffer, _ in places), default=LINE)
    if min(trips(s), trips(inner)) < SHORT * line or not _conflict(places, s.var, inner.var):
        return None
    least = [interval(span(x))[0] for x in (s, inner)]
    if any(n is None or n < 0 for n in least):
        return None  # where a loop ends before it starts, there would be a rest of tiles
    if shapes_depend(s, s.var) or shapes_depend(s, inner.var) or not (any_order(s, nested=True) and any_order(inner)):
        return None
    return list(_tiles(s, inner, line))


def _tiles(loop: Loop, inner: Loop, line: int) -> Iterator[Stmt]:
    """The nest over whole tiles, then over the rest of the rows and of the columns."""
    below, right = (add(x.lo, mul(floordiv(span(x), line), line)) for x in (loop, inner))
    row, column = (Sym(f"{x.var.name}_tile", x.lo, add(end, -line)) for x, end in ((loop, below), (inner, right)))
    i, j = expr(row), expr(column)
    tile = _piece(loop, inner, (i, add(i, line)), (j, add(j, line)))
    if _down(inner, loop.var):
        yield Loop(row, loop.lo, below, (Loop(column, inner.lo, right, (tile,), line),), line)
    else:
        yield Loop(column, inner.lo, right, (Loop(row, loop.lo, below, (tile,), line),), line)
    if below != loop.hi:
        yield _piece(loop, inner, (below, loop.hi), (inner.lo, right))
    if right != inner.hi:
        yield _piece(loop, inner, (loop.lo, loop.hi), (right, inner.hi))


def _down(inner: Loop, row: Sym) -> bool:
    """Whether the variable of the outer loop is a row of what is stored, rather than a column. Of the loops over tiles
    the one over those is outside: lines that are written are best written one after the other."""
    stores = (s for s in inner.body if isinstance(s, Store))
    views = (coefficients(flatten_index(s.buffer.shape, s.index)) for s in stores)
    return any(view is not None and abs(view[1].get(row, 0)) != 1 for view in views)


def _piece(loop: Loop, inner: Loop, rows: tuple[Dim, Dim], columns: tuple[Dim, Dim]) -> Loop:
    """The nest over a part of the rows and columns."""
    row, column = Sym(loop.var.name, *loop_limits(*rows, 1)), Sym(inner.var.name, *loop_limits(*columns, 1))
    env: dict[Sym, Dim] = {loop.var: expr(row), inner.var: expr(column)}
    memo: dict[Expr, Expr] = {}
    return Loop(row, *rows, (Loop(column, *columns, tuple(substituted(x, env, memo) for x in inner.body)),))


def _places(inner: Loop) -> Iterator[tuple[Buffer, tuple[Dim, ...]]]:
    """Every array and index that an innermost loop uses."""
    for s in inner.body:
        for e in subexpressions(expressions(s)):
            if isinstance(e, Load):
                yield e.buffer, e.index
        if isinstance(s, Store):
            yield s.buffer, s.index


def _conflict(places: Iterable[tuple[Buffer, tuple[Dim, ...]]], outer: Sym, inner: Sym) -> bool:
    """Whether the inner loop walks one array along its lines, and one across them that the outer loop walks along, and
    whose lines do not stay in the cache meanwhile."""
    along = across = False
    for buffer, index in places:
        view = coefficients(flatten_index(buffer.shape, index))
        if view is None:
            return False
        rows, columns = abs(view[1].get(outer, 0)), abs(view[1].get(inner, 0))
        stride = columns * buffer.dtype.itemsize
        along |= columns == 1
        across |= rows == 1 and stride > 0 and stride % SET == 0
    return along and across
