"""Merging: nests over one index space become one nest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jitgrad.ir.index import Dim, IndexExpr, Sym
from jitgrad.loopir.buffers import whole_store
from jitgrad.loopir.costs import LARGEST, price
from jitgrad.loopir.deps import COMMUTE, MANY, accesses, by_root, distance, independent, root_index, varies
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import (
    IN_ORDER,
    Alloc,
    Assign,
    Block,
    Buffer,
    Const,
    Expr,
    Fail,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
)
from jitgrad.loopir.substitute import with_variable
from jitgrad.loopir.walk import expressions, lists_of, subexpressions, with_lists, written

#: How far back a nest looks for one to merge with, in statements that it does not depend on.
WINDOW = 24
#: Bytes of an array that is too large for each thread to have its own.
SHARED = 1 << 20


class Facts(NamedTuple):
    """What a statement touches, the statements in it included. Buffers are roots.

    ``accesses`` are all loads and stores, as accesses of the root (None: of some element).
    """

    reads: frozenset[Buffer] = frozenset()
    writes: frozenset[Buffer] = frozenset()
    used: frozenset[Expr] = frozenset()  # locals that are read
    assigned: frozenset[Expr] = frozenset()  # locals that are written
    accesses: frozenset[tuple[Buffer, tuple[Dim, ...] | None, str | None]] = frozenset()  # root, index, mode of a store
    variables: frozenset[Sym] = frozenset()  # of the loops in it
    effects: frozenset[str] = frozenset()  # of "library" (a call), "fails", and "raises" (or shows) as the user says

    @property
    def touched(self) -> frozenset[Buffer]:
        return self.reads | self.writes

    def union(self, *others: Facts) -> Facts:
        columns: Any = zip(self, *others, strict=True)
        return Facts(*(column[0].union(*column[1:]) for column in columns))

    def must_follow(self, earlier: Facts) -> bool:
        """Whether a statement with these facts must stay after one with the ``earlier`` facts."""
        return bool(
            self.reads & earlier.writes
            or self.writes & earlier.touched
            or self.used & earlier.assigned
            or self.assigned & (earlier.used | earlier.assigned)
            or self.shows_after(earlier)
        )

    def shows_after(self, earlier: Facts) -> bool:
        """Whether it is seen which of the two ends the program, or writes a text, first: the user's statements keep
        their order, and checks of indices theirs with respect to those."""
        if "raises" in self.effects:
            return bool(earlier.effects & {"raises", "fails"})
        return "fails" in self.effects and "raises" in earlier.effects


def facts_of(s: Stmt, known: dict[Stmt, Facts]) -> Facts:
    """The facts of a statement. ``known`` keeps those of all statements: statements are immutable."""
    found = known.get(s)
    if found is None:
        found = _own_facts(s)
        children = [x for body in lists_of(s) for x in body]
        if children:
            found = found.union(*(facts_of(x, known) for x in children))
        known[s] = found
    return found


class _Merger:
    """Fuses statements. Facts are kept by statement: statements are immutable, and no alias changes meanwhile."""

    def __init__(self) -> None:
        self._facts: dict[Stmt, Facts] = {}
        self._work: dict[Stmt, float] = {}
        self._scattering: dict[Stmt, bool] = {}
        self.fused = 0

    def work(self, s: Stmt) -> float:
        """Operations of a statement, and of those in it, were each evaluated once."""
        found = self._work.get(s)
        if found is None:
            own = sum(price(e.op) for e in subexpressions(expressions(s)) if isinstance(e, Scalar))
            found = self._work[s] = own + sum(self.work(x) for body in lists_of(s) for x in body)
        return found

    def fits(self, a: Stmt, b: Stmt) -> bool:
        """Whether two statements together are not too large to be one kernel."""
        return self.work(a) + self.work(b) <= LARGEST

    def facts(self, s: Stmt) -> Facts:
        return facts_of(s, self._facts)

    def inside(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        """A list of statements inside a kernel, and the lists in them."""
        loops = sum(isinstance(s, Loop) for s in body)
        merged = tuple(self.list(body)) if loops > 1 else body
        new = tuple(with_lists(s, self.inside) for s in merged)
        return body if len(new) == len(body) and all(a is b for a, b in zip(new, body, strict=True)) else new

    def list(self, body: Sequence[Stmt]) -> list[Stmt]:
        """One list of statements, with the nests in it fused."""
        counts: dict[Buffer, int] = {}
        for s in body:
            for t in self.facts(s).writes:
                counts[t] = counts.get(t, 0) + 1
        updated = {t for t, n in counts.items() if n > 1}
        done: list[Stmt] = []
        fills: dict[Buffer, Stmt] = {}
        seen: set[Buffer] = set()
        for s in body:
            # Only the first access of a buffer may be put off: a later fill must stay after what came before it.
            filled = _fills(s)
            if filled is not None and filled in updated and filled not in seen:
                fills[filled] = s
                seen.add(filled)
                continue
            touched = self.facts(s).touched
            seen |= touched
            count = len(done)
            place = self.append(done, s)
            self.fused += len(done) == count
            # What this statement accumulates into is filled just before it, wherever it went, or in it.
            for t in [t for t in fills if t in touched]:
                fill, user = fills.pop(t), done[place]
                fused = self._filled_in(fill, user, t)
                if fused is None:
                    done.insert(place, fill)
                    place += 1
                else:
                    done[place] = fused
                    self.fused += 1
        done.extend(fills.values())
        return done

    def _filled_in(self, fill: Stmt, user: Stmt, t: Buffer) -> Stmt | None:
        """A nest that fills a temporary, and the one that uses it, as one, if each iteration then has its own part of
        the temporary; else None."""
        if t.kind != "temp" or not isinstance(fill, Loop) or not isinstance(user, (Loop, Block)):
            return None
        fused = self._fuse_pair(fill, user) if self.fits(fill, user) else None
        parts = fused.body if isinstance(fused, Block) else () if fused is None else (fused,)
        touching = [s for s in parts if t in self.facts(s).touched]
        if len(touching) != 1 or not isinstance(touching[0], Loop):
            return None
        loop, changed = touching[0], written(touching)
        inner = self.facts(loop).variables
        those = [a for a in accesses(loop.body) if a.root is t]
        return fused if independent(those, loop.var, lambda v: varies(v, inner, changed)) else None

    def append(self, done: list[Stmt], s: Stmt) -> int:
        """Append a statement to a list, fused with an earlier one where that is legal and useful; its place."""
        if _declares(s):
            first = next((k for k, x in enumerate(done) if not _declares(x)), len(done))
            done.insert(first, s)  # nothing before it can depend on it
            return first
        mine = self.facts(s)
        if not isinstance(s, (Loop, Block)):
            place = len(done)
            if isinstance(s, Store):  # a number: before the nests that it does not need, which it would keep apart
                while place and isinstance(done[place - 1], Loop) and not mine.must_follow(self.facts(done[place - 1])):
                    place -= 1
            done.insert(place, s)
            return place
        for k in range(len(done) - 1, max(len(done) - 1 - WINDOW, -1), -1):
            candidate = done[k]
            theirs = self.facts(candidate)
            if isinstance(candidate, (Loop, Block)) and _share_data(theirs, mine) and self.fits(candidate, s):
                fused = self._fuse_pair(candidate, s)
                if fused is not None:
                    done[k] = fused
                    return k
            if mine.must_follow(theirs):
                break
        done.append(s)
        return len(done) - 1

    def _fuse_pair(self, a: Loop | Block, b: Loop | Block) -> Stmt | None:
        """``a`` then ``b`` as one statement, or None."""
        if isinstance(a, Loop) and isinstance(b, Loop):
            if a.lo != b.lo or a.hi != b.hi or a.step != b.step:
                return None
            renamed = with_variable(b, a.var)
            if renamed is None or not self._fusible(a, renamed):
                return None
            body = list(a.body)
            for s in renamed.body:
                self.append(body, s)
            return dataclasses.replace(a, body=tuple(body))
        body = list(a.body if isinstance(a, Block) else (a,))
        fused = False
        for s in b.body if isinstance(b, Block) else (b,):
            count = len(body)
            self.append(body, s)
            fused |= len(body) == count
        return Block(tuple(body)) if fused else None

    def _fusible(self, a: Loop, b: Loop) -> bool:
        """Whether ``b`` may run in the iterations of ``a``, after its body.

        That changes the order of two accesses where the one in ``b`` belongs to an earlier iteration than the one in
        ``a``. So of two accesses to one element, one of them a write, the one in ``b`` must be as late or later; where
        both only accumulate (``+=``) the order does not matter. Innermost loops are fused only if both accesses are of
        the same element in every iteration: one that two iterations may touch keeps a loop from being vectorised, and
        so do two rows of one array that LLVM can't tell apart.
        """
        first, second = self.facts(a), self.facts(b)
        if "library" in first.effects | second.effects or second.shows_after(first):
            return False
        if self.scatters(a) != self.scatters(b):
            return False  # threads may share the other one
        # A local that one of them updates across iterations must not be used by the other.
        if first.assigned & second.used or second.assigned & first.used:
            return False
        shared = (first.writes & second.touched) | (second.writes & first.touched)
        if not shared:
            return True
        inner = first.variables | second.variables
        changed = first.writes | second.writes | first.assigned | second.assigned
        left = [x for x in first.accesses if x[0] in shared]
        right = [x for x in second.accesses if x[0] in shared]
        if len(left) * len(right) > MANY * MANY:
            return False
        nested = any(isinstance(s, Loop) for s in (*a.body, *b.body))
        return all(
            self._in_order(x, y, a, inner, changed, nested)
            for x in left
            for y in right
            if x[0] is y[0] and (x[2] is not None or y[2] is not None)
        )

    def scatters(self, s: Loop) -> bool:
        """Whether a loop stores at computed places of an array that is too large for each thread to have its own."""
        found = self._scattering.get(s)
        if found is None:
            found = self._scattering[s] = self._scatters(s)
        return found

    def _scatters(self, s: Loop) -> bool:
        facts = self.facts(s)
        found = {
            root
            for root, index, mode in facts.accesses
            if mode is not None and isinstance(root.size, int) and root.nbytes >= SHARED
            if index is None or any(v.payload is not None for i in index if isinstance(i, IndexExpr) for v in i.syms())
        }
        if not found:
            return False
        those = by_root(s.body)
        changed = written((s,))
        return not all(independent(those[t], s.var, lambda v: varies(v, facts.variables, changed)) for t in found)

    def _in_order(
        self, x: Any, y: Any, loop: Loop, inner: frozenset[Sym], changed: frozenset[object], nested: bool
    ) -> bool:
        """Whether an access ``y`` in a later loop is never of an earlier iteration than ``x``, for one element."""
        if nested and x[2] == y[2] and x[2] in COMMUTE:
            return True
        if x[1] is None or y[1] is None:
            return False
        found = distance(x[1], y[1], loop.var, lambda v: varies(v, inner, changed))
        if found is None:
            return True
        lo, hi = found if loop.step > 0 else (None if x is None else -x for x in reversed(found))
        return lo is not None and lo >= 0 and (nested or (hi == 0 and x[1] == y[1]))


def _declares(s: Stmt) -> bool:
    """Whether a statement is the declaration of an accumulator."""
    return isinstance(s, Let) and isinstance(s.value, Const)


def _own_facts(s: Stmt) -> Facts:
    """Of the statement itself, not of those in it."""
    if isinstance(s, LibCall):
        ins, outs = frozenset(t.root for t in s.ins), frozenset(t.root for t in s.outs)
        effects = frozenset(("library", "raises" if s.fn in IN_ORDER else "fails"))
        return Facts(ins, outs, accesses=frozenset((t, None, "=") for t in ins | outs), effects=effects)
    if isinstance(s, Fail):
        return Facts(effects=frozenset(("fails" if s.error is None else "raises",)))
    if isinstance(s, Alloc):
        return Facts(writes=frozenset((s.buffer,)))
    parts = list(subexpressions(expressions(s)))
    loads = [e for e in parts if isinstance(e, Load)]
    reads = {e.buffer.root for e in loads}
    touched: set[tuple[Buffer, tuple[Dim, ...] | None, str | None]]
    touched = {(e.buffer.root, root_index(e.buffer, e.index), None) for e in loads}
    used = frozenset(e for e in parts if isinstance(e, Local))
    if isinstance(s, Store):
        root = s.buffer.root
        touched.add((root, root_index(s.buffer, s.index), s.mode))
        reads = reads | {root} if s.mode != "=" else reads
        return Facts(frozenset(reads), frozenset((root,)), used, accesses=frozenset(touched))
    assigned = frozenset((s.local,)) if isinstance(s, (Let, Assign)) else frozenset()
    variables = frozenset((s.var,)) if isinstance(s, Loop) else frozenset()
    return Facts(frozenset(reads), frozenset(), used, assigned, frozenset(touched), variables)


def _share_data(a: Facts, b: Facts) -> bool:
    """Whether two nests share data that is larger than a scalar."""
    return any(t.size != 1 for t in a.touched & b.touched)


def _fills(s: Stmt) -> Buffer | None:
    """The buffer that a statement fills with values that depend on no other buffer, nor on a local."""
    found = whole_store(s)
    if found is None or found[0].buffer.base is not None:
        return None
    store = found[0]
    return None if any(isinstance(e, (Load, Local)) for e in subexpressions((store.value,))) else store.buffer


def merge(program: Program, notes: list[str]) -> Program:
    """Fuse nests, each into the nearest earlier one in its list that it may join; then those inside."""
    merger = _Merger()
    body = tuple(_group(merger.list(program.body)))
    body = tuple(with_lists(s, merger.inside) for s in body)
    if merger.fused:
        notes.append(f"nests merged into earlier ones: {merger.fused}")
    return with_body(program, body)


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
