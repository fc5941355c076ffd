"""What the threads of a team may share out among themselves.

A team (one thread, a warp, or a block) runs a list of statements together: every thread runs all of it and has the same
values in its locals, except where a loop is *distributed*. Then each thread runs some of its iterations; what it sums
up is added up over the team when the loop ends. Only one thread of a team stores what is outside such loops. A loop
that carries sums is distributed too, where it is a scan: what the threads add is added up at each step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jitgrad.ir.index import Dim, IndexExpr, Sym, expr, substitute
from jitgrad.ir.types import f32, f64, i32, i64
from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.deps import (
    COMMUTE,
    Access,
    accesses,
    by_root,
    distance,
    independent,
    never_at_any_time,
    span,
    trips,
    varies,
)
from jitgrad.loopir.nodes import Alloc, Buffer, Fail, LibCall, Load, Loop, Stmt, Store, While
from jitgrad.loopir.rewrite import substitute_index
from jitgrad.loopir.scans import Scan, scan_of
from jitgrad.loopir.schedule import loop_sums
from jitgrad.loopir.walk import expressions, lists_of, loads, statements, subexpressions, written

#: Threads of a warp, and most threads of a block.
WARP, MOST_THREADS = 32, 1024

_U32, _U64 = np.dtype(np.uint32), np.dtype(np.uint64)
#: What atomic updates there are.
_ATOMIC = {mode: frozenset((f32, f64, i32, i64, _U32, _U64)) for mode in ("+=", "*=", "max=", "min=")}


def summable(dtype: np.dtype) -> bool:
    """Whether a team can add up numbers of a dtype: shuffles know 32 and 64 bits, and 64 bits with a sign."""
    return dtype != _U64


def atomics(stmts: Sequence[Stmt]) -> frozenset[Buffer]:
    """The roots that some statements only update, all in one way for which there is an atomic operation."""
    return _updated(by_root(stmts))


def _updated(found: Mapping[Buffer, Sequence[Access]]) -> frozenset[Buffer]:
    """As :func:`atomics`, of accesses."""
    modes = {root: {a.mode for a in those} for root, those in found.items()}
    return frozenset(
        root
        for root, own in modes.items()
        if len(own) == 1 and all(root.dtype in _ATOMIC.get(mode or "", ()) for mode in own)
    )


def shares_nothing(s: Loop, fixed: Iterable[Sym] = (), *, atomic: bool = True) -> bool:
    """Whether iterations of a loop can run at once, in any order, apart from sums in locals and, if allowed, from
    atomic updates.

    ``fixed`` are variables of loops inside that have the same value in both iterations that are compared.
    """
    inside = list(statements(s.body))
    if any(isinstance(x, (LibCall, Alloc)) for x in inside):
        return False
    sums = loop_sums(s)
    if isinstance(sums, str) or any(not summable(local.dtype) or mode not in COMMUTE for local, mode in sums):
        return False
    inner = {s.var} | {x.var for x in inside if isinstance(x, Loop)}
    inner.difference_update(fixed)
    changed = written(s.body)
    found = by_root(s.body)
    updated = _updated(found) if atomic else frozenset()
    return all(
        root in updated or independent(those, s.var, lambda v: varies(v, inner, changed), s.step)
        for root, those in found.items()
    )


def conflicting(s: Loop) -> frozenset[Buffer]:
    """The roots that iterations of a loop that :func:`shares_nothing` update by atomic operations."""
    inner = {s.var} | {x.var for x in statements(s.body) if isinstance(x, Loop)}
    changed = written(s.body)
    found = by_root(s.body)
    return frozenset(
        root
        for root in _updated(found)
        if not independent(found[root], s.var, lambda v: varies(v, inner, changed), s.step)
    )


def distributable(s: Loop) -> bool:
    """Whether the threads of a team can share out a loop's iterations.

    One that fails in a loop inside is not: the thread could not leave that loop and still meet the others.
    """
    loops = (x for x in statements(s.body) if isinstance(x, (Loop, While)))
    if any(isinstance(y, Fail) for x in loops for y in statements(x.body)):
        return False
    bounds = {e.buffer.root for e in loads((dataclasses.replace(s, body=()),))}
    if bounds & written(s.body):
        return False  # a thread that is ahead would move the end for the others
    return s.step != 0 and shares_nothing(s)


def scanned(s: Loop) -> Scan | None:
    """A loop as a scan that the threads of a team can run together."""
    scan = scan_of(s)
    return scan if scan is not None and distributable(scan.apart) else None


def usual_trips(s: Loop) -> float:
    """About how often a loop runs: in the middle of the loops around it, where its bounds depend on those."""
    n = span(s)
    if isinstance(n, IndexExpr):
        middle: dict[Sym, Dim] = {}
        for v in n.syms():
            lo, hi = v.bounds
            if v.payload is not None or lo is None or hi is None:
                return trips(s)
            middle[v] = (lo + hi) // 2
        n = substitute(n, middle)
    assert isinstance(n, int)
    return float(max(-(-n // abs(s.step)), 0))


def shared_out(s: Loop, known: dict[Loop, bool]) -> bool:
    """Whether the threads of a team share out this loop: not, if it is better to share out one inside, which has more
    iterations, or in which neighbours read and write neighbouring elements. ``known`` keeps the answers."""
    if s not in known:
        known[s] = (distributable(s) or scanned(s) is not None) and not _better_inside(s, known)
    return known[s]


def _better_inside(s: Loop, known: dict[Loop, bool]) -> bool:
    own, inside = usual_trips(s), widest(s.body, known)
    if own < WARP:
        return inside >= 2 * own
    return inside >= 4 * WARP and streams_inside(s.body, known) > streams(s.body, s.var)


def widest(stmts: Sequence[Stmt], known: dict[Loop, bool]) -> float:
    """The most iterations of a loop that a team shares out in some statements; 0 where there is none."""
    most = 0.0
    for s in stmts:
        if isinstance(s, Loop):
            most = max(most, usual_trips(s) if shared_out(s, known) else widest(s.body, known))
        else:
            most = max([most, *(widest(x, known) for x in lists_of(s))])
    return most


def streams(body: Sequence[Stmt], var: Sym) -> float:
    """How many accesses go to neighbouring elements as a variable goes up."""
    return sum(times for offset, times, _ in _offsets(body) if _near(offset, var))


def streams_inside(body: Sequence[Stmt], known: dict[Loop, bool]) -> float:
    """As :func:`streams`, for the variables of the loops that a team shares out."""
    found = 0.0
    for offset, times, around in _offsets(body):
        shared = next((s for s in around if shared_out(s, known)), None)
        found += times if shared is not None and _near(offset, shared.var) else 0
    return found


def _offsets(
    stmts: Sequence[Stmt], around: tuple[Loop, ...] = ()
) -> Iterator[tuple[IndexExpr, float, tuple[Loop, ...]]]:
    """The places of all accesses that move, how often each is made in iterations of loops that it depends on, and the
    loops around it."""
    for s in stmts:
        found = [e for e in subexpressions(expressions(s)) if isinstance(e, Load)]
        for x in (*found, s) if isinstance(s, Store) else found:
            offset = flatten_index(x.buffer.shape, x.index)
            if isinstance(offset, IndexExpr):
                moving = offset.syms()
                yield offset, math.prod(usual_trips(k) for k in around if k.var in moving), around
        for body in lists_of(s):
            yield from _offsets(body, (*around, s) if isinstance(s, Loop) else around)


def _near(offset: IndexExpr, var: Sym) -> bool:
    return abs(dict(offset.terms).get(var, 0)) == 1


class Touch(NamedTuple):
    """An access by threads of a team: ``loop`` is the distributed loop that it lies in; None where all threads read,
    and one of them writes."""

    access: Access
    loop: Loop | None
    atomic: bool
    inner: frozenset[Sym]  # variables of loops inside the distributed one


def touches(s: Stmt, loop: Loop | None, atomic: frozenset[Buffer]) -> list[Touch]:
    """What a statement accesses."""
    inner = frozenset(x.var for x in statements((s,)) if isinstance(x, Loop) and x is not loop)
    return [Touch(a, loop, a.root in atomic and a.mode is not None, inner) for a in accesses((s,))]


def may_meet(first: Touch, second: Touch, changed: set[object], varying: frozenset[Sym] = frozenset()) -> bool:
    """Whether two threads of a team may touch one element, one by the first and another one by the second access, not
    both of them reading. ``changed`` is what is written meanwhile, and ``varying`` are the variables of loops around
    both that may have changed."""
    a, b = first.access, second.access
    if a.root is not b.root or (a.mode is None and b.mode is None):
        return False
    if first.atomic and second.atomic and a.mode == b.mode:
        return False
    if first.loop is None and second.loop is None:
        return a.mode is None or b.mode is None  # one thread does all the writing
    if a.index is None or b.index is None:
        return True
    x, y = first.loop, second.loop
    if x is None or y is None:
        inner = {*first.inner, *second.inner, *varying, *(s.var for s in (x, y) if s is not None)}
        return not never_at_any_time(a.index, b.index, inner, changed)
    if not isinstance(x.lo, int) or (x.lo, x.step) != (y.lo, y.step):
        return True
    # The same thread has the same iterations of both loops: do the accesses meet in the same iteration only?
    (lo, hi), (low, high) = x.var.bounds, y.var.bounds
    least = None if lo is None or low is None else min(lo, low)
    most = None if hi is None or high is None else max(hi, high)
    same = Sym("iteration", least, most)
    i, j = (tuple(substitute_index(k, {s.var: expr(same)}, {}) for k in t) for s, t in ((x, a.index), (y, b.index)))
    inner = {same, *first.inner, *second.inner, *varying}
    return distance(i, j, same, lambda v: varies(v, inner, changed), x.step) not in (None, (0, 0))


def static_trips(s: Loop) -> int | None:
    """How often a loop runs, where its bounds are numbers."""
    if isinstance(s.lo, IndexExpr) or isinstance(s.hi, IndexExpr):
        return None
    return len(range(s.lo, s.hi, s.step))
