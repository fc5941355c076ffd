"""Storage that is taken over: an array that is written where another one is read for the last time lies in its place.

    for i: for j: e[i, j] = exp(x[i, j] - m[i])         for i: for j: x[i, j] = exp(x[i, j] - m[i])
    for i: for j: y[i, j] = e[i, j] / s[i]        =>    for i: for j: x[i, j] = x[i, j] / s[i]

The arena gives two temporaries the same bytes where the one is dead before the statement in which the other is born.
Here both live in one statement, and that is right under two conditions:

* the dying array, which has the same shape and dtype, is used in no later statement, and the new one in no earlier;
* no access of the dying array, read or write, comes after a write of the new one to the element of the same index
  (``deps.may_come_later``; what can't be told counts as "it may").

Then whatever is read of the dying array is read before its element is overwritten, and whatever is read of the new one
was written to it before, and by the second condition not overwritten since. The new array may be a result: then the
dying one is put into the memory of that from the start.

A third condition is for speed: both accesses are in the same iteration of all loops around both, so that the loops stay
as independent as they were.

A store to the new array often stands before another statement that reads the same elements. So stores go to the end of
their list first, past statements that neither touch the new array nor write what the store reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple

from jitgrad.ir.index import Sym
from jitgrad.ir.types import is_float
from jitgrad.loopir.deps import MANY, Access, Touch, distance, may_come_later, offset, root_index, touches, varies
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import Block, Buffer, LibCall, Load, Loop, Program, Stmt, Store
from jitgrad.loopir.substitute import Place, with_accesses
from jitgrad.loopir.walk import buffers_of, expressions, read_roots, subexpressions, with_lists, written

#: Smaller arrays stay where they are.
LEAST_BYTES = 1 << 12


def share(program: Program, notes: list[str]) -> Program:
    """Let arrays take over the storage of others."""
    sharer = _Sharer(program)
    if not sharer.taken:
        return program
    notes += [f"{new.name} takes the place of {old.name}" for new, old in sharer.taken]
    return with_body(program, (_moved(s, sharer.homes, {}) for s in sharer.body))


class _Late(NamedTuple):
    """A statement of which the stores to one array are as late as they may be, what it accesses, and what it writes."""

    statement: Stmt
    touches: list[Touch]
    written: Set[object]


def _late(statement: Stmt, k: int) -> _Late:
    return _Late(statement, list(touches((statement,), first=k)), written((statement,)))


class _Sharer:
    """Walks over the statements at top level. ``homes`` maps an array to the one in whose storage it lies."""

    def __init__(self, program: Program) -> None:
        self.body = list(program.body)
        self.homes: dict[Buffer, Buffer] = {}
        self.taken: list[tuple[Buffer, Buffer]] = []
        self.first: dict[Buffer, int] = {}
        self.last: dict[Buffer, int] = {}
        self._late: _Late | None = None
        touched = [buffers_of(s) for s in self.body]
        for k, those in enumerate(touched):
            for t in those:
                self.first.setdefault(t, k)
                self.last[t] = k
        for k, those in enumerate(touched):
            if isinstance(self.body[k], (Loop, Block)):
                self.statement(k, those)

    def statement(self, k: int, touched: list[Buffer]) -> None:
        """Let what is born in a statement take over what dies in it."""
        here = dict.fromkeys(map(self.home, touched))
        for new in touched:
            if new.kind not in ("temp", "out") or self.first[new] != k or not _fits(new, new):
                continue
            late: _Late | None = None
            for old in list(here):
                if old.kind != "temp" or self.last[old] != k or self.first[old] >= k or not _fits(old, new):
                    continue
                late = late or self.written_late(k, new)
                if self.in_place(late, old, new):
                    self.body[k] = late.statement
                    self.taken.append((new, old))
                    stays, goes = (new, old) if new.kind == "out" else (old, new)
                    self.homes[goes] = stays
                    self.first[stays], self.last[stays] = self.first[old], self.last[new]
                    del here[old]
                    break

    def home(self, t: Buffer) -> Buffer:
        """Where an array lies now."""
        while t in self.homes:
            t = self.homes[t]
        return t

    def written_late(self, k: int, new: Buffer) -> _Late:
        """Statement ``k`` with the stores to an array as late as they may be."""
        now = self._late
        if now is None or now.statement is not self.body[k]:
            now = self._late = _late(self.body[k], k)
        stores = (t for t in now.touches if t.buffer.root is new and t.mode is not None)
        around = {id(s) for t in stores for _, s in t.path}
        changed = with_lists(self.body[k], lambda body: self.sunk(body, new, around))
        return now if changed is self.body[k] else _late(changed, k)

    def in_place(self, late: _Late, old: Buffer, new: Buffer) -> bool:
        """Whether ``new`` may lie where ``old`` does, in a statement that stores to it as late as it may."""
        before = [t for t in late.touches if self.home(t.buffer.root) is old]
        after = [t for t in late.touches if t.buffer.root is new]
        if not after or after[0].mode != "=":
            return False  # it must be written before it is read
        after = [t for t in after if t.mode is not None]
        if len(before) * len(after) > MANY * MANY:
            return False
        things = late.written | self.things(late.written)
        for place in (root_index, offset):
            reads, writes = ([t.access(place) for t in those] for those in (before, after))
            if not any(
                may_come_later(y, x, things) or not _same_iteration(x, y, things) for y in writes for x in reads
            ):
                return True
        return False

    def sunk(self, body: tuple[Stmt, ...], new: Buffer, around: Set[int]) -> tuple[Stmt, ...]:
        """A list of statements with the stores to an array as far down as they may go. ``around`` has the ids of the
        stores, and of the statements that they are in."""
        if not any(id(s) in around for s in body):
            return body
        result = [with_lists(s, lambda inner: self.sunk(inner, new, around)) if id(s) in around else s for s in body]
        for k in range(len(result) - 2, -1, -1):
            s = result[k]
            if not isinstance(s, Store) or s.buffer.root is not new or s.mode != "=":
                continue
            reads = self.things(e.buffer.root if isinstance(e, Load) else e for e in subexpressions(expressions(s)))
            place = k
            while place + 1 < len(result) and self.may_pass(reads, new, result[place + 1]):
                result[place] = result[place + 1]
                place += 1
            result[place] = s
        return body if all(a is b for a, b in zip(result, body, strict=True)) else tuple(result)

    def may_pass(self, reads: Set[object], new: Buffer, s: Stmt) -> bool:
        """Whether a store to an array, which reads these things, may come after a statement instead of before it."""
        changed = self.things(written((s,)))
        return new not in changed and not reads & changed and new not in read_roots((s,))

    def things(self, found: Iterable[object]) -> set[object]:
        """Arrays as where they lie now, and whatever else there is."""
        return {self.home(t) if isinstance(t, Buffer) else t for t in found}


def _same_iteration(x: Access, y: Access, changed: Set[object]) -> bool:
    """Whether two accesses of one element are always in the same iteration of the loops around both."""
    assert x.index is not None and y.index is not None
    inner: set[Sym] = {s.var for path in (x.path, y.path) for _, s in path if isinstance(s, Loop)}
    for (_, s), (_, other) in zip(x.path, y.path, strict=False):
        if s is not other:
            break
        if isinstance(s, Loop):
            found = distance(x.index, y.index, s.var, lambda v: varies(v, inner, changed), s.step)
            if found is None:
                return True
            if found != (0, 0):
                return False
            inner.discard(s.var)
    return True


def _fits(old: Buffer, new: Buffer) -> bool:
    """Whether an array is worth taking over, and can be by another one."""
    same = old.shape == new.shape and old.dtype == new.dtype
    return same and old.is_static and is_float(old.dtype) and old.nbytes >= LEAST_BYTES


def _moved(s: Stmt, homes: Mapping[Buffer, Buffer], views: dict[Buffer, Buffer]) -> Stmt:
    """A statement with arrays, and views of them, where they lie now."""

    def at(t: Buffer) -> Buffer:
        home = t.root
        while home in homes:
            home = homes[home]
        if home is t.root or t.base is None:
            return home if home is not t.root else t
        if t not in views:
            views[t] = Buffer(t.name, t.dtype, t.shape, home.kind, base=home, loc=t.loc)
        return views[t]

    def place(t: Buffer, index: Any) -> Place | None:
        return None if at(t) is t else (at(t), index)

    def calls(x: Stmt) -> Stmt:
        if isinstance(x, LibCall):
            outs, ins = tuple(map(at, x.outs)), tuple(map(at, x.ins))
            return x if outs == x.outs and ins == x.ins else dataclasses.replace(x, outs=outs, ins=ins)
        return with_lists(x, inside)

    def inside(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        new = tuple(map(calls, body))
        return body if all(a is b for a, b in zip(new, body, strict=True)) else new

    return with_accesses(calls(s), place)
