"""Strips: a loop whose iterations depend on each other, over loops along independent columns, becomes a parallel loop
over strips of the columns.

    for t < 100:                          parallel for strip < 8:
      for i < 800:                          for t < 100:
        y[i] = y[i] * x[i] + c[t]             for i in 100 * strip .. 100 * strip + 100:
                                                y[i] = y[i] * x[i] + c[t]

That is one launch in place of many small ones, and a strip may stay in the cache from one iteration to the next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from jitgrad.ir.index import Sym, add, expr, floordiv, mul
from jitgrad.loopir.deps import Access, accesses, varies
from jitgrad.loopir.nodes import Assign, Expr, If, Let, Load, Loop, Stmt, Store, rewrite
from jitgrad.loopir.walk import rebuild, statements, written

#: Columns in a strip, at least: it is a few vectors, and more than a cache line.
WIDTH = 64


def strips(
    s: Loop, most: int, independent: Callable[[Sequence[Access], Sym, Callable[[Sym], bool]], bool]
) -> Loop | None:
    """The loop over strips, at most ``most``, that takes the place of a loop; None where columns are not independent.

    ``independent`` tells of the accesses of one array whether none is of an element that an iteration for another
    value of a variable writes.
    """
    inner = [x for x in s.body if isinstance(x, Loop)]
    if not inner or not all(isinstance(x, (Loop, Let)) for x in s.body) or not all(map(_plain, inner)):
        return None
    lo, hi = inner[0].lo, inner[0].hi
    if not isinstance(lo, int) or not isinstance(hi, int) or any((x.lo, x.hi) != (lo, hi) for x in inner):
        return None
    own = {x.local for x in statements(s.body) if isinstance(x, Let)}
    if any(isinstance(x, Assign) and x.local not in own for x in statements(s.body)):
        return None
    n = hi - lo
    count = min(most, n // WIDTH)
    column = Sym(inner[0].var.name, lo, hi - 1)
    if count < 2 or not _columns_apart(s, column, independent):
        return None
    strip = Sym("strip", 0, count - 1)
    at = expr(strip)
    bounds = [add(lo, floordiv(mul(k, n), count)) for k in (at, add(at, 1))]
    body = tuple(dataclasses.replace(x, lo=bounds[0], hi=bounds[1]) if isinstance(x, Loop) else x for x in s.body)
    return Loop(strip, 0, count, (dataclasses.replace(s, body=body),), 1, "parallel")


def _plain(x: Loop) -> bool:
    return x.step == 1 and all(isinstance(y, (Store, Let, Assign, If)) for y in statements(x.body))


def _columns_apart(s: Loop, column: Sym, independent: Callable[..., bool]) -> bool:
    """Whether no column touches what another one writes, in any iteration of the loop."""
    renamed = dataclasses.replace(s, body=tuple(_renamed(x, column) for x in s.body))
    found: dict[object, list[Access]] = {}
    for a in accesses((renamed,)):
        found.setdefault(a.root, []).append(a)
    changed = written(s.body)
    inner = frozenset((s.var, column))
    return all(independent(those, column, lambda v: varies(v, inner, changed)) for those in found.values())


def _renamed(s: Stmt, column: Sym) -> Stmt:
    """A loop with another variable."""
    if not isinstance(s, Loop):
        return s
    env = {s.var: expr(column)}
    memo: dict[Expr, Expr] = {}

    def visit(e: Expr) -> Expr:
        return rewrite(e, env, memo)

    def store(x: Store) -> Stmt:
        new = visit(Load(x.buffer, x.index))
        assert isinstance(new, Load)
        return dataclasses.replace(x, index=new.index)

    return dataclasses.replace(s, var=column, body=tuple(rebuild(x, visit, store) for x in s.body))
