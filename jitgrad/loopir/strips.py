"""Strips: a loop whose iterations depend on each other, over loops along independent columns, becomes a parallel loop
over strips of the columns.

    for t < 100:                          parallel for strip < 8:
      for i < 800:                          for t < 100:
        y[i] = y[i] * x[i] + c[t]             for i in 100 * strip .. 100 * strip + 100:
                                                y[i] = y[i] * x[i] + c[t]

That is one launch in place of many small ones that would not pay. (Inner loops that are worth a launch each are better
left whole: longer rows make faster loops.) What the loops add up, each strip adds up for itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jitgrad.ir.index import Sym, add, expr, floordiv, mul
from jitgrad.loopir.deps import by_root, independent, varies
from jitgrad.loopir.nodes import Assign, Const, If, Let, Loop, Store
from jitgrad.loopir.substitute import with_variable
from jitgrad.loopir.walk import expressions, statements, subexpressions, written

#: Columns in a strip, at least: it is a few vectors, and more than a cache line.
WIDTH = 64


def strips(s: Loop, most: int) -> Loop | None:
    """The loop over strips, at most ``most``, that takes the place of a loop; None where columns depend on others.
    Locals that it updates are still to become one for each strip."""
    inner = [x for x in s.body if isinstance(x, Loop)]
    if not inner or not all(isinstance(x, (Loop, Let, Assign)) for x in s.body) or not all(map(_plain, inner)):
        return None
    lo, hi = inner[0].lo, inner[0].hi
    if not isinstance(lo, int) or not isinstance(hi, int) or any((x.lo, x.hi) != (lo, hi) for x in inner):
        return None
    if not _sums_apart(s, inner):
        return None
    n = hi - lo
    count = min(most, n // WIDTH)
    column = Sym(inner[0].var.name, lo, hi - 1)
    if count < 2 or not _columns_apart(s, column):
        return None
    strip = Sym("strip", 0, count - 1)
    at = expr(strip)
    bounds = [add(lo, floordiv(mul(k, n), count)) for k in (at, add(at, 1))]
    body = tuple(dataclasses.replace(x, lo=bounds[0], hi=bounds[1]) if isinstance(x, Loop) else x for x in s.body)
    return Loop(strip, 0, count, (dataclasses.replace(s, body=body),), 1, "parallel")


def _plain(x: Loop) -> bool:
    return x.step == 1 and all(isinstance(y, (Store, Let, Assign, If)) for y in statements(x.body))


def _sums_apart(s: Loop, inner: Sequence[Loop]) -> bool:
    """Whether what a loop adds up over its columns only goes into sums over all iterations: then each strip may have
    its own sums. Those over all iterations are not declared in the loop, and not read in it."""
    columns = {x.local for x in statements(s.body) if isinstance(x, Let)} - {
        x.local for x in s.body if isinstance(x, Let)
    }
    rows = {x.local: x.value for x in s.body if isinstance(x, Let)}
    summed = {x.local for x in statements(inner) if isinstance(x, Assign)} - columns
    changed = [x for x in s.body if isinstance(x, Assign)]
    for x in (*changed, *(x for x in statements(inner) if isinstance(x, Assign) and x.local in summed & set(rows))):
        if x.mode != "+=":
            return False
    if any(x.local in rows or x.value not in summed for x in changed):
        return False
    if any(rows[t] is not Const(0, t.dtype) for t in summed & set(rows)):
        return False
    others = (e for x in statements(s.body) if x not in changed for e in expressions(x))
    return not any(e in summed for e in subexpressions(others))


def _columns_apart(s: Loop, column: Sym) -> bool:
    """Whether no column touches what another one writes, in any iteration of the loop."""
    renamed = [with_variable(x, column) if isinstance(x, Loop) else x for x in s.body]
    if any(x is None for x in renamed):
        return False
    found = by_root((dataclasses.replace(s, body=tuple(x for x in renamed if x is not None)),))
    changed = written(s.body)
    inner = frozenset((s.var, column))
    return all(independent(those, column, lambda v: varies(v, inner, changed)) for those in found.values())
