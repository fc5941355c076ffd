"""Merging: nests over one index space become one nest."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from jitgrad.ir.index import Dim, as_sym
from jitgrad.loopir.buffers import copy_of, whole_store
from jitgrad.loopir.build import flatten_index, unflatten_index
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import (
    Assign,
    Block,
    Buffer,
    Const,
    Expr,
    If,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Stmt,
    Store,
)
from jitgrad.loopir.walk import expressions, subexpressions, written_roots

#: How far back a nest looks for one to merge with, in statements that it does not depend on.
WINDOW = 24


class Facts(NamedTuple):
    """What a statement touches, the statements in it included. Buffers are roots.

    ``indices`` are those of every load and store, as accesses of the root.
    """

    reads: frozenset[Buffer] = frozenset()
    writes: frozenset[Buffer] = frozenset()
    used: frozenset[Expr] = frozenset()  # locals that are read
    assigned: frozenset[Expr] = frozenset()  # locals that are written
    indices: frozenset[tuple[Buffer, tuple[Dim, ...]]] = frozenset()
    library: bool = False  # whether it calls a library function

    @property
    def touched(self) -> frozenset[Buffer]:
        return self.reads | self.writes

    def union(self, *others: Facts) -> Facts:
        columns = list(zip(self, *others, strict=True))
        sets = [column[0].union(*column[1:]) for column in columns[:-1]]  # pyright: ignore[reportAttributeAccessIssue]
        return Facts(*sets, library=any(columns[-1]))

    def must_follow(self, earlier: Facts) -> bool:
        """Whether a statement with these facts must stay after one with the ``earlier`` facts."""
        return bool(
            self.reads & earlier.writes
            or self.writes & earlier.touched
            or self.used & earlier.assigned
            or self.assigned & (earlier.used | earlier.assigned)
        )


def normal_index(buffer: Buffer, index: Sequence[Dim]) -> tuple[Dim, ...]:
    """An access through an alias, as an access of its root."""
    root = buffer.root
    if root is buffer or root.shape == buffer.shape:
        return tuple(index)
    return unflatten_index(root.shape, flatten_index(buffer.shape, index))


class _Merger:
    """Fuses statements. Facts are kept by statement: statements are immutable, and no alias changes meanwhile."""

    def __init__(self) -> None:
        self._facts: dict[Stmt, Facts] = {}

    def facts(self, s: Stmt) -> Facts:
        found = self._facts.get(s)
        if found is None:
            found = _own_facts(s)
            children = (*s.then, *s.orelse) if isinstance(s, If) else getattr(s, "body", ())
            if children:
                found = found.union(*map(self.facts, children))
            self._facts[s] = found
        return found

    def append(self, done: list[Stmt], s: Stmt, alone: Container[Stmt] = ()) -> int | None:
        """Append a statement to a list, fused with an earlier one where that is legal and useful; the place of that.

        Statements in ``alone`` are not fused with.
        """
        if isinstance(s, Let) and isinstance(s.value, Const):
            done.insert(0, s)  # an accumulator's declaration: nothing before it can depend on it
            return None
        if not isinstance(s, (Loop, Block)):
            done.append(s)
            return None
        mine = self.facts(s)
        for k in range(len(done) - 1, max(len(done) - 1 - WINDOW, -1), -1):
            candidate = done[k]
            theirs = self.facts(candidate)
            if isinstance(candidate, (Loop, Block)) and candidate not in alone and _share_data(theirs, mine):
                fused = self._fuse_pair(candidate, s)
                if fused is not None:
                    done[k] = fused
                    return k
            if mine.must_follow(theirs):
                break
        done.append(s)
        return None

    def _fuse_pair(self, a: Loop | Block, b: Loop | Block) -> Stmt | None:
        """``a`` then ``b`` as one statement, or None."""
        if isinstance(a, Loop) and isinstance(b, Loop):
            if not self._fusible(a, b):
                return None
            body = list(a.body)
            for s in b.body:
                self.append(body, s)
            return dataclasses.replace(a, body=tuple(body))
        body = list(a.body if isinstance(a, Block) else (a,))
        fused = False
        for s in b.body if isinstance(b, Block) else (b,):
            fused |= self.append(body, s) is not None
        return Block(tuple(body)) if fused else None

    def _fusible(self, a: Loop, b: Loop) -> bool:
        """Whether ``b`` may run in the iterations of ``a``, after its body.

        Proof: take a buffer that one of them writes and the other accesses. If some axis of every access to it is
        indexed by the loop variable itself, then different iterations touch different elements, so only the order
        within one iteration matters, and that is kept.
        """
        if a.lo != b.lo or a.hi != b.hi or a.step != b.step or a.var is not b.var:
            return False
        first, second = self.facts(a), self.facts(b)
        if first.library or second.library:
            return False
        # A local that one of them updates across iterations must not be used by the other.
        if first.assigned & second.used or second.assigned & first.used:
            return False
        axes: dict[Buffer, set[int]] = {}
        shared = (first.writes & second.touched) | (second.writes & first.touched)
        for root, index in (*first.indices, *second.indices):
            if root in shared:
                along = {k for k, i in enumerate(index) if as_sym(i) is a.var}
                axes[root] = axes.get(root, along) & along
        return all(axes.values())


def _own_facts(s: Stmt) -> Facts:
    """Of the statement itself, not of those in it."""
    if isinstance(s, LibCall):
        ins, outs = frozenset(t.root for t in s.ins), frozenset(t.root for t in s.outs)
        return Facts(ins, outs, library=True)
    parts = list(subexpressions(expressions(s)))
    loads = [e for e in parts if isinstance(e, Load)]
    reads = {e.buffer.root for e in loads}
    indices = {(e.buffer.root, normal_index(e.buffer, e.index)) for e in loads}
    used = {e for e in parts if isinstance(e, Local)}
    if isinstance(s, Store):
        root = s.buffer.root
        indices.add((root, normal_index(s.buffer, s.index)))
        reads = reads | {root} if s.mode != "=" else reads
        return Facts(frozenset(reads), frozenset((root,)), frozenset(used), indices=frozenset(indices))
    assigned = frozenset((s.local,)) if isinstance(s, (Let, Assign)) else frozenset()
    return Facts(frozenset(reads), frozenset(), frozenset(used), assigned, frozenset(indices))


def _share_data(a: Facts, b: Facts) -> bool:
    """Whether two nests share data that is larger than a scalar."""
    return any(t.size > 1 for t in a.touched & b.touched)


def _fills(s: Stmt) -> Buffer | None:
    """The buffer that a statement fills with values that depend on no other buffer."""
    found = whole_store(s)
    if found is None or found[0].buffer.base is not None:
        return None
    store = found[0]
    return None if any(isinstance(e, Load) for e in subexpressions((store.value,))) else store.buffer


def _copies_update(s: Stmt, updated: set[Buffer]) -> bool:
    """Whether a statement starts a buffer that is updated in place later, as a plain copy of a temporary. Left by
    itself, because placement may drop it."""
    pair = copy_of(s)
    return pair is not None and pair[0] in updated and pair[1].root.kind == "temp"


def merge(program: Program, notes: list[str]) -> Program:
    """Fuse top-level nests, each into the nearest earlier one that it may join."""
    merger = _Merger()
    counts: dict[Buffer, int] = {}
    for s in program.body:
        for t in written_roots((s,)):
            counts[t] = counts.get(t, 0) + 1
    updated = {t for t, n in counts.items() if n > 1}
    done: list[Stmt] = []
    fills: dict[Buffer, Stmt] = {}
    seen: set[Buffer] = set()
    alone: set[Stmt] = set()
    fused = 0
    for s in program.body:
        # Only the first access of a buffer may be put off: a later fill must stay after what came before it.
        filled = _fills(s)
        if filled is not None and filled in updated and filled not in seen:
            fills[filled] = s
            seen.add(filled)
            continue
        touched = merger.facts(s).touched
        seen |= touched
        place = None
        if _copies_update(s, updated):
            alone.add(s)
            done.append(s)
        else:
            place = merger.append(done, s, alone)
        fused += place is not None
        # What this statement accumulates into is filled just before it, wherever it went.
        for t in [t for t in fills if t in touched]:
            done.insert(len(done) - 1 if place is None else place, fills.pop(t))
            place = None if place is None else place + 1
    done.extend(fills.values())
    if fused:
        notes.append(f"nests merged into earlier ones: {fused}")
    return with_body(program, _group(done))


def _group(body: Sequence[Stmt]) -> Iterable[Stmt]:
    """Stores of scalars join the statement before them, so that a scalar program is one kernel."""
    group: list[Stmt] = []
    for s in body:
        if isinstance(s, Store) and group and isinstance(group[-1], (Store, Block)):
            last = group.pop()
            group.append(Block((*(last.body if isinstance(last, Block) else (last,)), s)))
        elif isinstance(s, Block) and group and isinstance(group[-1], Store):
            group[-1] = Block((group[-1], *s.body))
        else:
            group.append(s)
    return group
