"""Which stores go past the caches.

A store into memory that is not in a cache first reads the line that it is in. Where a loop writes whole lines of an
array that no cache can hold until somebody reads it, that is a third to a half of its traffic, and non-temporal stores
do without it. They pay for arrays that only they touch: an element that the same kernel reads is in the cache anyhow.

Measured on two cores of an AMD EPYC with 32 MiB of last cache, GB/s of reading one or two arrays and writing one, by
ordinary and by non-temporal stores: arrays of 8 MiB 50 and 41, or 46 and 56; of 32 MiB 26 and 41, or 28 and 31; of
128 MiB 33 and 46, or 34 and 42.
"""

from __future__ import annotations

import dataclasses

from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.costs import price
from jitgrad.loopir.deps import without
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import Assign, Buffer, Let, Loop, Program, Scalar, Stmt, Store, payloads
from jitgrad.loopir.walk import buffers_of, expressions, read_roots, statements, subexpressions, with_lists

#: Bytes of an array whose stores go past the caches, at least: about half of what the last cache of a processor holds.
LEAST = 16 << 20
#: Iterations of a loop with such stores, at least: some at both ends are on their own.
SHORTEST = 256
#: Stores of one loop that go past the caches, at most.
MOST = 4
#: What an iteration may cost for each array that it goes through, in operations: beside a transcendental function the
#: traffic does not count.
CHEAP = 7


def stream(program: Program, notes: list[str] | None = None, least: int = LEAST) -> Program:
    """Mark the stores that go past the caches. ``least`` is how many bytes their array has. Which arrays that are goes
    into ``notes``."""
    found: dict[Buffer, None] = {}
    body = tuple(_marked(s, least, found) for s in program.body)
    if not found:
        return program
    if notes is not None:
        notes.append(f"written past the caches: {', '.join(t.name for t in found)}")
    return with_body(program, body)


def _marked(s: Stmt, least: int, found: dict[Buffer, None]) -> Stmt:
    read = read_roots((s,))
    targets = {
        x.buffer.root
        for x in statements((s,))
        if isinstance(x, Store) and x.buffer.root not in read and x.buffer.root.nbytes >= least
    }
    if not targets:
        return s

    def loops(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        return tuple(loop(x) if isinstance(x, Loop) else with_lists(x, loops) for x in body)

    def loop(s: Loop) -> Stmt:
        if any(isinstance(x, Loop) for x in statements(s.body)):
            return with_lists(s, loops)
        if s.step != 1 or (isinstance(s.lo, int) and isinstance(s.hi, int) and s.hi - s.lo < SHORTEST):
            return s
        if not all(isinstance(x, (Let, Store)) or _adds_up(x) for x in s.body):
            return s
        if _price(s) > CHEAP * len(buffers_of(s)):
            return s
        those = [x for x in s.body if isinstance(x, Store) and x.buffer.root in targets and _side_by_side(x, s)]
        if not 0 < len(those) <= MOST:
            return s
        found.update(dict.fromkeys(x.buffer.root for x in those))
        body = tuple(dataclasses.replace(x, streamed=True) if x in those else x for x in s.body)
        return dataclasses.replace(s, body=body)

    return loops((s,))[0]


def _adds_up(x: Stmt) -> bool:
    return isinstance(x, Assign) and x.mode != "="


def _side_by_side(x: Store, s: Loop) -> bool:
    """Whether the iterations of a loop write elements that lie one behind the other."""
    if x.mode != "=":
        return False
    step, rest = without(flatten_index(x.buffer.shape, x.index), s.var)
    return step == 1 and next(payloads(rest), None) is None


def _price(s: Loop) -> int:
    """What an iteration costs."""
    values = (e for x in s.body for e in expressions(x))
    return sum(price(e.op) for e in subexpressions(values) if isinstance(e, Scalar) and s.var in e.syms())
