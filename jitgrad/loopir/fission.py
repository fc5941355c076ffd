"""Fission: a loop as several loops that run one after the other, each with a part of the statements.

    for i in n - 1 .. 0 step -1:            for i in n - 1 .. 0 step -1:
        g[i - 1] += g[i] * a[i]       =>        g[i - 1] += g[i] * a[i]
        g[i] = g[i] * b[i]                  for i in n - 1 .. 0 step -1:
                                                g[i] = g[i] * b[i]

What has to happen before what between two statements, in one iteration or from one to a later one, is an arrow of a
graph; statements on a circle stay together, and the parts run in the order of the arrows. See Allen and Kennedy,
Optimizing Compilers for Modern Architectures, 2001, section 5.3. Sums into one array may be added up in any order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jitgrad.loopir.deps import COMMUTE, MANY, Access, accesses, may_come_later
from jitgrad.loopir.nodes import Local, Loop, Store
from jitgrad.loopir.walk import expressions, subexpressions, written


def parts_of(s: Loop) -> list[Loop]:
    """A loop whose body only stores elements as loops of as few statements as possible, in an order in which they do
    the same; the loop itself where that is one, or the body has other statements."""
    if len(s.body) < 2 or not all(isinstance(x, Store) for x in s.body):
        return [s]
    if any(isinstance(e, Local) for x in s.body for e in subexpressions(expressions(x))):
        return [s]  # its value may be that of an iteration
    found = list(accesses((s,)))
    if len(found) > MANY:
        return [s]
    mine = [[a for a in found if a.path[1][1] is x] for x in s.body]
    count, changed = len(s.body), written((s,))
    before = [[j != k and _ordered(mine[j], mine[k], changed) for k in range(count)] for j in range(count)]
    for via in range(count):  # and by others between
        for j in range(count):
            for k in range(count):
                before[j][k] |= before[j][via] and before[via][k]
    left, loops = list(range(count)), []
    while left:
        # the first of those that nothing waits for but what they wait for themselves
        first = next(k for k in left if all(before[k][j] for j in left if before[j][k]))
        part = [k for k in left if k == first or (before[k][first] and before[first][k])]
        left = [k for k in left if k not in part]
        loops.append(dataclasses.replace(s, body=tuple(s.body[k] for k in part)))
    return loops if len(loops) > 1 else [s]


def _ordered(first: Sequence[Access], second: Sequence[Access], changed: set[object]) -> bool:
    """Whether some access of the first statement has to come before one of the second."""
    return any(a.root is b.root and not _commute(a, b) and may_come_later(a, b, changed) for a in first for b in second)


def _commute(a: Access, b: Access) -> bool:
    """Whether two accesses may change places: loads, and updates that add up."""
    return a.mode == b.mode and (a.mode is None or a.mode in COMMUTE)
