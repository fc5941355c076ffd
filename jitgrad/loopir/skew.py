"""Skewing: several rows of a nest whose iterations need those before them, in the row and in the row above, run in one
loop, each row a few columns behind the one above it (a wavefront).

    for i < 96:                               for i in 0 .. 96 step 4:
      for j < n:                                columns 0 .. 3 - r of row i + r, for r < 4
        y[i, j] = f(y[i - 1, j], y[i, j - 1])   for j in 3 .. n:
                                                  for r < 4:
                                                    y[i + r, j - r] = f(y[i + r - 1, j - r], y[i + r, j - r - 1])
                                                columns n - r .. n of row i + r, for r < 4

The iterations over ``r`` do not depend on each other: their chains of operations overlap, and where they call functions
that take long, they are vectorised. Rows are ``s`` columns apart, the *slope*: with distances ``(di, dj)``, in rows and
in columns, from an access to a later one of the same element, ``dj + s * di > 0`` wherever ``di > 0``. That holds for
sums into elements too, so what an array gets does not depend on the transformation. See Wolfe, Loop
skewing: the wavefront method revisited, 1986, and Lamport, The parallel execution of DO loops, 1974.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from jitgrad.ir.index import Dim, Sym, add, expr, floordiv, interval, mul
from jitgrad.loopir.build import loop_limits
from jitgrad.loopir.costs import TRANSCENDENTAL, price
from jitgrad.loopir.deps import COMMUTE, MANY, Access, Interval, accesses, distance, span, varies
from jitgrad.loopir.jam import copies, same_range
from jitgrad.loopir.lower import with_loops
from jitgrad.loopir.nodes import Assign, Expr, Let, Local, Loop, Program, Scalar, Stmt, Store
from jitgrad.loopir.reductions import any_order
from jitgrad.loopir.substitute import shapes_depend, substituted
from jitgrad.loopir.walk import expressions, subexpressions, written

#: Rows that run together: as one loop that is vectorised, or one after the other.
LANES, ROWS = 8, 4
#: The columns that are outside the common loop may be so large a part of all.
OUTSIDE = 0.25


def skew(program: Program, notes: list[str]) -> Program:
    """Run rows of recurrences in two directions together."""
    return with_loops(program, _skewed, notes, "loops whose rows run together, each behind the one before")


def _skewed(s: Stmt) -> list[Stmt] | None:
    """A loop over rows as one over bands of rows and one over the rest; None where it should or may not be."""
    if not isinstance(s, Loop) or abs(s.step) != 1 or len(s.body) != 1:
        return None
    (inner,) = s.body
    if not isinstance(inner, Loop) or abs(inner.step) != 1 or s.kind == "parallel" or inner.kind == "parallel":
        return None
    if not all(isinstance(x, (Let, Assign, Store)) for x in inner.body) or shapes_depend(s, s.var):
        return None
    if not same_range(inner, s) or _pointless(inner):
        return None
    heavy = _heavy(inner)
    rows = LANES if heavy else ROWS
    slope = _slope(s, inner, rows)
    width, count = interval(span(inner))[0], interval(span(s))[0]
    if slope is None or width is None or count is None or count < rows:
        return None
    if slope * (rows - 1) > OUTSIDE * width:
        return None
    return list(_bands(s, inner, rows, slope, heavy))


def _pointless(inner: Loop) -> bool:
    """Whether the columns of a row do not need each other: then a row is vectorised as it is."""
    return any_order(inner)


def _heavy(inner: Loop) -> bool:
    """Whether the operations take so long that gathering what several rows need for vectors costs little."""
    return any(price(e.op) >= TRANSCENDENTAL for e in _evaluated(inner) if isinstance(e, Scalar))


def _evaluated(inner: Loop) -> Iterable[Expr]:
    return subexpressions(e for s in inner.body for e in expressions(s))


def _slope(loop: Loop, inner: Loop, rows: int) -> int | None:
    """How many columns a row must be behind the one before it; None where no number is enough."""
    inside = frozenset((loop.var, inner.var))
    changed = written((loop,))
    own = {s.local for s in inner.body if isinstance(s, Let)}
    sums = [s for s in inner.body if isinstance(s, Assign) and s.local not in own]
    read = {e for e in _evaluated(inner) if isinstance(e, Local)}
    if any(s.mode not in COMMUTE or s.local in read for s in sums):
        return None
    found = list(accesses(inner.body))
    stored = {a.root for a in found if a.mode is not None}
    found = [a for a in found if a.root in stored]
    if len(found) > MANY:
        return None
    slope = 0
    for x in found:
        for y in found:
            if x.root is not y.root or x.mode is y.mode is None:
                continue
            if x.index is None or y.index is None:
                return None
            down, right = (_later(x, y, s, lambda v: varies(v, inside, changed)) for s in (loop, inner))
            if down is None or right is None:
                continue  # never the same element
            (low, high), (left, _) = down, right
            low = 1 if low is None else max(low, 1)
            if (high is not None and high < low) or low >= rows:
                continue  # in the same row, in the other order, or too far away
            if left is None:
                return None
            slope = max(slope, -((left - 1) // low))
    return slope


def _later(x: Access, y: Access, loop: Loop, may_vary: Callable[[Sym], bool]) -> Interval | None:
    """How many iterations of a loop the second access may come after the first, where both are of one element."""
    assert x.index is not None and y.index is not None
    found = distance(x.index, y.index, loop.var, may_vary)
    if found is None or loop.step > 0:
        return found
    lo, hi = found
    return None if hi is None else -hi, None if lo is None else -lo


def _bands(loop: Loop, inner: Loop, rows: int, slope: int, heavy: bool) -> Iterator[Stmt]:
    count = span(loop)
    down, right = loop.step, inner.step
    whole = mul(floordiv(count, rows), rows)  # rows in bands
    end = add(loop.lo, mul(whole, down))
    first = Sym(loop.var.name, *loop_limits(loop.lo, end, down * rows))
    start = add(inner.lo, slope * (rows - 1) * right)
    column = Sym(inner.var.name, *loop_limits(start, inner.hi, right))

    def place(row: Dim) -> dict[Sym, Dim]:
        return {
            loop.var: add(expr(first), mul(row, down)),
            inner.var: add(expr(column), mul(row, -slope * right)),
        }

    def corner(lo: Dim, hi: Dim, row: Sym) -> Stmt:
        """Some columns of a band, row by row."""
        column = Sym(inner.var.name, *loop_limits(lo, hi, right))
        env = {loop.var: add(expr(first), mul(expr(row), down)), inner.var: expr(column)}
        memo: dict[Expr, Expr] = {}
        return Loop(column, lo, hi, tuple(substituted(x, env, memo) for x in inner.body), right)

    band: list[Stmt] = []
    row = Sym("row", 0, rows - 1)
    if heavy:
        memo: dict[Expr, Expr] = {}
        env = place(expr(row))
        middle = (Loop(row, 0, rows, tuple(substituted(x, env, memo) for x in inner.body)),)
    else:
        middle = tuple(copies(inner.body, [place(k) for k in range(rows)]))
    band.append(Loop(column, start, inner.hi, middle, right))
    if slope:
        upper, lower = Sym("row", 0, rows - 2), Sym("row", 1, rows - 1)
        behind = add(mul(expr(upper), -slope * right), slope * (rows - 1) * right)
        band.insert(0, Loop(upper, 0, rows - 1, (corner(inner.lo, add(inner.lo, behind), upper),)))
        ahead = mul(expr(lower), -slope * right)
        band.append(Loop(lower, 1, rows, (corner(add(inner.hi, ahead), inner.hi, lower),)))
    yield Loop(first, loop.lo, end, tuple(band), down * rows)
    if whole != count:
        yield dataclasses.replace(loop, lo=end)
