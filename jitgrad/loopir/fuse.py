"""Fusion: elementwise producers into their consumers, and nests over one index space into one nest.

The steps, each a function:

0. ``unview`` (in ``jitgrad.loopir.views``): accesses through another shape become accesses of the array itself;
   ``sink`` and ``gather`` (in ``jitgrad.loopir.gather``): sums into shifted pieces of an array become one pass over it;
   the first before the next step, the second after it.
1. ``inline``: a buffer that one pure nest fills element by element is dropped where recomputing its elements at their
   uses costs less than storing and loading them.
2. ``outward`` (in ``jitgrad.loopir.outward``): loops over axes that sums along the others keep go outside; then
   ``merge`` (in ``jitgrad.loopir.merge``): nests of equal extents become one where no iteration of the later one needs
   what another iteration of the earlier one writes.
3. ``forward`` and ``contract`` (in ``jitgrad.loopir.forward``): values stored and loaded again in the same iteration
   stay in registers, stores that nobody reads go, and temporaries that live within one iteration lose that axis.
4. ``side_by_side`` (in ``jitgrad.loopir.interchange``): a loop around a recurrence goes inside, where it is vectorised;
   ``layout`` and ``interchange`` (in modules of these names): arrays that loops walk down columns are stored by
   columns, or the loops change places; then nests that have become alike are merged.
5. ``collapse`` (in ``jitgrad.loopir.collapse``): nested loops that walk memory as one loop become one;
   ``add_products`` (in ``jitgrad.loopir.products``): sums of matrix products are left to the products.
6. ``accumulate`` and ``recognise`` (in ``jitgrad.loopir.reductions``): elements that a loop adds up stay in registers.
7. ``promote`` (in ``jitgrad.loopir.registers``): buffers of one element become locals of the kernel that uses them.
8. ``checks`` (in ``jitgrad.loopir.checks``): indices are checked after a loop and not in it;
   ``rows`` (in ``jitgrad.loopir.rows``): loops along rows of few elements are unrolled, for vectors of several rows;
   ``distribute`` (in ``jitgrad.loopir.distribute``): functions between loops are computed for many iterations at once;
   ``jam`` (in ``jitgrad.loopir.jam``): iterations of a loop that load or update the same elements run together;
   ``skew`` (in ``jitgrad.loopir.skew``): rows of a recurrence in two directions run together, each a little behind.
9. ``tile`` (in ``jitgrad.loopir.tile``): transposes walk over tiles of cache lines.

Each works on the program's statements, then in the same way on those of every loop and branch. Every refusal has a
reason, which is put into ``notes``.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jitgrad.ir.index import Dim, Sym, as_sym, interval
from jitgrad.loopir.buffers import whole_store
from jitgrad.loopir.build import reshaped_index
from jitgrad.loopir.checks import checks
from jitgrad.loopir.collapse import collapse
from jitgrad.loopir.costs import LARGEST, price
from jitgrad.loopir.deps import MANY, USUAL_TRIPS, Access, accesses, may_come_later, root_index, trips
from jitgrad.loopir.distribute import distribute
from jitgrad.loopir.forward import contract, forward
from jitgrad.loopir.gather import gather, sink
from jitgrad.loopir.interchange import interchange, side_by_side
from jitgrad.loopir.jam import jam
from jitgrad.loopir.layout import layout
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.merge import merge
from jitgrad.loopir.nodes import (
    MAX_DEPTH,
    Alloc,
    Buffer,
    Expr,
    Index,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    While,
    payloads,
)
from jitgrad.loopir.outward import outward
from jitgrad.loopir.products import add_products
from jitgrad.loopir.reductions import accumulate, forwards, recognise
from jitgrad.loopir.registers import promote
from jitgrad.loopir.rewrite import map_payloads, rewrite, substitute_index
from jitgrad.loopir.rounding import rounded
from jitgrad.loopir.rows import rows
from jitgrad.loopir.skew import skew
from jitgrad.loopir.tile import tile
from jitgrad.loopir.views import unview
from jitgrad.loopir.walk import (
    expressions,
    lists_of,
    rebuild,
    statements,
    subexpressions,
    with_lists,
    written,
    written_roots,
)

#: A store and a load of one element cost about as much as this many operations.
MEMORY_COST = 4


def fuse(program: Program, notes: list[str] | None = None, *, wide: bool = False) -> Program:
    """Run all steps; for a ``wide`` target, whose threads take an iteration each, without those that arrange loops for
    caches and vectors: 4, 8, 9 and ``outward``."""
    notes = [] if notes is None else notes
    program = unview(program)
    program = inline(sink(program), notes)
    program = gather(program, notes)
    if not wide:
        program = outward(program, notes)
    program = merge(program, notes)
    program = merge(program, notes)  # updates of one buffer may now share a nest
    program = forward(program)
    program = contract(program)
    if not wide:
        program = side_by_side(program, notes)
        program = layout(program, notes)
        program = interchange(program, notes)
    program = contract(forward(merge(program, notes)))
    program = add_products(collapse(program), notes)
    program = forwards(recognise(promote(accumulate(program))))
    if wide:
        return program
    program = rows(checks(program, notes), notes)
    program = jam(distribute(program, notes), notes)
    return tile(skew(program, notes), notes)


class Definition(NamedTuple):
    """``buffer[variables] = value`` for every index; None stands for the index 0 of an axis of extent 1."""

    buffer: Buffer
    variables: tuple[Sym | None, ...]
    value: Expr


def definition(stmt: Stmt) -> Definition | None:
    """The definition that a statement consists of, if it fills one whole buffer element by element."""
    found = whole_store(stmt)
    if found is None or found[0].buffer.base is not None:
        return None
    return Definition(found[0].buffer, found[1], found[0].value)


def cost(e: Expr, memo: dict[Expr, float]) -> float:
    """Operations that one evaluation takes, loads and index arithmetic included. Shared parts count once a parent,
    which overestimates large expressions: those are the ones not to repeat."""
    found = memo.get(e)
    if found is None:
        found = 0.0
        if isinstance(e, Scalar):
            found = float(price(e.op))
        elif isinstance(e, Load):
            found = 1.0
        found = memo[e] = min(found + sum(cost(c, memo) for c in e.children()), 1e9)
    return found


class _Use(NamedTuple):
    """One load of a buffer: the statement that it is in, and how often the statement's nest evaluates it."""

    statement: int
    share: float  # of the evaluations of the statement's own value, if that is inlined; at most 1
    evaluations: float  # if the statement stays
    looped: bool  # whether there is a loop around it, in the statement
    path: Path
    index: tuple[Dim, ...] | None  # of the definition's buffer


class _End(NamedTuple):
    """Where a definition is evaluated in the end, after the definitions that use it are inlined as well."""

    statement: int
    path: Path
    index: tuple[Dim, ...] | None  # of the definition's buffer, in terms of that place; None: not known
    through: int | None  # the last of the definitions through which it is used there


Path = tuple[tuple[int, Stmt], ...]
#: Places that are followed one by one when a definition is used through others.
_FOLLOWED = 64


def _trips(stmt: Stmt, number: int) -> Iterator[tuple[Load, Path, float, float]]:
    """Every load with its place, how often it is evaluated, were loops hoisted out of that it does not depend on, and
    the trips of the loops around it."""

    def visit(s: Stmt, path: Path, loops: tuple[tuple[Sym | None, float], ...]) -> Iterator[Any]:
        total = math.prod(n for _, n in loops)
        for e in subexpressions(expressions(s)):
            if isinstance(e, Load):
                used = e.syms()
                depth = max((k + 1 for k, (v, _) in enumerate(loops) if v is None or v in used), default=0)
                yield e, path, math.prod(n for _, n in loops[:depth]), total
        inner = loops
        if isinstance(s, Loop):
            inner = (*loops, (s.var, trips(s)))
        elif isinstance(s, While):
            inner = (*loops, (None, USUAL_TRIPS))
        lists = lists_of(s)
        for n, body in enumerate(lists):
            here = path if len(lists) == 1 else (*path, (n, s))
            for k, x in enumerate(body):
                yield from visit(x, (*here, (k, x)), inner)

    yield from visit(stmt, ((number, stmt),), ())


def _uses(body: Sequence[Stmt]) -> dict[Buffer, list[_Use]]:
    """The loads in a list of statements, by root buffer."""
    uses: dict[Buffer, list[_Use]] = {}
    for k, s in enumerate(body):
        for load, path, count, total in _trips(s, k):
            looped = any(isinstance(x, (Loop, While)) for _, x in path)
            index = root_index(load.buffer, load.index)
            use = _Use(k, count / total if total else 1.0, count, looped, path, index)
            uses.setdefault(load.buffer.root, []).append(use)
    return uses


def inline(program: Program, notes: list[str]) -> Program:
    """Substitute definitions into the statements that load them.

    A definition is inlined if nothing but nests reads it, nothing that it reads is written before the last of its
    uses, and ``cost * (evaluations - size) <= memory``: evaluating it at all its uses must cost no more than
    evaluating it once, storing it, and loading it at each use; and if no kernel becomes larger than ``LARGEST``. A
    number inside a loop costs no memory: it is inlined where it is used once, or is a load that stays outside inner
    loops. Decided from the last statement of a list to the first, so that the number of evaluations of every consumer
    is known.
    """
    return with_body(program, _Inliner(program, notes).list(program.body, top=True))


class _Inliner:
    """Inlines within one list of statements after another. What is counted once for the whole program stays true: a
    substitution in an outer list changes no count of a buffer that lives in an inner one."""

    def __init__(self, program: Program, notes: list[str]) -> None:
        self.notes = notes
        self.stores: Counter[Buffer] = Counter()
        self.loads: Counter[Buffer] = Counter()
        self.opaque: set[Buffer] = set()
        self.costs: dict[Expr, float] = {}
        for s in statements(program.body):
            if isinstance(s, (Store, LibCall, Alloc)):
                self.stores.update(written_roots((s,)))
            if isinstance(s, LibCall):
                self.opaque.update(t.root for t in s.ins)
            if isinstance(s, Alloc):
                self.opaque.add(s.buffer)
            used = {e.buffer for e in subexpressions(expressions(s)) if isinstance(e, Load)}
            self.loads.update(e.buffer.root for e in subexpressions(expressions(s)) if isinstance(e, Load))
            for t in used | ({s.buffer} if isinstance(s, Store) else set()):
                for e in subexpressions(p for n in t.shape for p in payloads(n)):
                    if isinstance(e, Load):
                        self.opaque.add(e.buffer.root)  # an extent depends on it

    def list(self, body: tuple[Stmt, ...], top: bool = False) -> tuple[Stmt, ...]:
        """A list of statements, and the lists in them. Statements at top level are kernels, which share no locals."""
        definitions = [definition(s) for s in body]
        if any(d is not None and d.buffer.kind == "temp" for d in definitions):
            stored: set[int] = set()
            uses = _uses(body)
            writes, prices, made = _Writes(body), self.prices(definitions, uses), _Decisions(len(body))
            self.decide(body, definitions, uses, writes, prices, top, stored, made)
            while more := _better_stored(definitions, made) - stored:
                stored |= more
                made.undo_to(max(more))  # what comes after is used by none of them
                self.decide(body, definitions, uses, writes, prices, top, stored, made)
            self.notes += [note for _, note in made.notes]
            body = tuple(_substitute(body, definitions, {d.buffer for k in made.ends if (d := definitions[k])}))
        new = tuple(with_lists(s, self.list) for s in body)
        return body if all(a is b for a, b in zip(new, body, strict=True)) else new

    def decide(
        self,
        body: Sequence[Stmt],
        definitions: Sequence[Definition | None],
        uses: Mapping[Buffer, Sequence[_Use]],
        writes: _Writes,
        prices: Mapping[int, float],
        top: bool,
        stored: set[int],
        made: _Decisions,
    ) -> None:
        """Decide on the definitions that ``made`` has not got to, the last one first: a decision depends on those on
        the uses, which come later. Those in ``stored`` are not inlined."""
        for k in range(made.left - 1, -1, -1):
            made.left = k
            d = definitions[k]
            if d is None or d.buffer.kind != "temp" or self.stores[d.buffer] > 1 or d.buffer in self.opaque:
                continue
            if k in stored:
                continue
            mine = uses.get(d.buffer, [])
            if len(mine) != self.loads[d.buffer] or any(u.statement <= k for u in mine):
                continue
            if any(u.index is None for u in mine):
                continue
            evaluations = made.evaluations
            total = sum(
                evaluations[u.statement] * u.share if u.statement in evaluations else u.evaluations for u in mine
            )
            price = cost(d.value, self.costs)
            if d.buffer.size == 1 and not top:
                worth = price == 0 or ((len(mine) <= 1 or price <= 1) and not any(u.looped for u in mine))
            else:
                size = _usual(d.buffer.size)
                worth = price <= 1 or prices[k] * (total - size) <= MEMORY_COST * (size + total)
                if not worth:
                    note = (
                        f"{_named(d)} is stored: computing it at each of its {len(mine)} uses would take "
                        f"{prices[k]:.0f} operations {total / max(size, 1):.1f} times an element"
                    )
                    made.notes.append((k, note))
            if not worth:
                continue
            mine_ends = _ends(mine, definitions, made.ends)
            into = {end.statement for end in mine_ends}
            work = made.work
            for n in (n for n in into if n not in work):
                work[n] = sum(cost(e, self.costs) for s in statements((body[n],)) for e in expressions(s))
            if price > 1 and d.buffer.size != 1 and any(work[n] + price > LARGEST for n in into):
                made.notes.append((k, f"{_named(d)} is stored: a kernel of more operations would take long to compile"))
                continue
            if not all(writes.unchanged(d, k, end) for end in mine_ends):
                if d.buffer.size != 1:
                    made.blocked.append((k, {end.through for end in mine_ends if end.through is not None}))
                continue
            for n in into:
                work[n] += price
            made.added.append((k, price, into))
            evaluations[k] = total
            made.ends[k] = mine_ends

    def prices(
        self, definitions: Sequence[Definition | None], uses: Mapping[Buffer, Sequence[_Use]]
    ) -> dict[int, float]:
        """What one evaluation of each definition costs, with the definitions that are used there alone: they are
        computed where it is."""
        prices: dict[int, float] = {}
        places: dict[Buffer, int] = {}
        for k, d in enumerate(definitions):
            if d is None:
                continue
            prices[k] = cost(d.value, self.costs)
            for t in {e.buffer.root for e in subexpressions((d.value,)) if isinstance(e, Load)}:
                if t in places and t.kind == "temp" and all(u.statement == k for u in uses[t]):
                    prices[k] += prices[places[t]] - 1
            places[d.buffer] = k
        return prices


class _Decisions:
    """What to inline in a list of statements, decided from its end as far as statement ``left``.

    Each of the rest is about a definition, by its number: ``ends``, where it is evaluated in the end, for those that
    are inlined, and ``evaluations``, how often. ``blocked`` are those that must be stored because something that they
    read is written where they would be evaluated, with the definitions through which it would be. ``work`` is the
    operations of one evaluation of a statement, with what is inlined into it, ``added``.
    """

    def __init__(self, count: int) -> None:
        self.left = count
        self.ends: dict[int, list[_End]] = {}
        self.evaluations: dict[int, float] = {}
        self.blocked: list[tuple[int, set[int]]] = []
        self.work: dict[int, float] = {}
        self.added: list[tuple[int, float, set[int]]] = []
        self.notes: list[tuple[int, str]] = []

    def undo_to(self, number: int) -> None:
        """Forget what was decided on the definitions up to that one: all else came before."""
        while self.added and self.added[-1][0] <= number:
            k, price, into = self.added.pop()
            del self.ends[k], self.evaluations[k]
            for n in into:
                self.work[n] -= price
        for found in (self.blocked, self.notes):
            while found and found[-1][0] <= number:
                found.pop()
        self.left = number + 1


def _better_stored(definitions: Sequence[Definition | None], made: _Decisions) -> set[int]:
    """Definitions to store, as otherwise two or more that they are computed from would have to be, or one that is as
    large: an array that is updated from its old elements. Then the update itself reads no other old elements."""
    counts = Counter(n for _, through in made.blocked for n in through)
    as_large = {
        n for k, through in made.blocked for n in through if _size_of(definitions[n]) == _size_of(definitions[k])
    }
    return {n for n, count in counts.items() if (count > 1 or n in as_large) and n in made.ends}


def _named(d: Definition) -> str:
    return d.buffer.name + (f" ({d.buffer.loc.short()})" if d.buffer.loc else "")


def _size_of(d: Definition | None) -> Dim | None:
    return None if d is None else d.buffer.size


class _Writes:
    """Where in a list of statements a buffer or a local is written."""

    def __init__(self, body: Sequence[Stmt]) -> None:
        self.body = body
        self.changed = [written((s,)) for s in body]
        self.places: dict[object, list[int]] = {}
        for k, things in enumerate(self.changed):
            for t in things:
                self.places.setdefault(t, []).append(k)
        self.stores: dict[int, list[Access]] = {}

    def unchanged(self, d: Definition, start: int, end: _End) -> bool:
        """Whether the value of a definition is the same where it is evaluated in the end."""
        for e in subexpressions((d.value,)):
            thing = e.buffer.root if isinstance(e, Load) else e if isinstance(e, Local) else None
            places = self.places.get(thing, ())
            k = bisect.bisect_right(places, start)
            if k < len(places) and places[k] < end.statement:
                return False
            if k < len(places) and places[k] == end.statement and not self.first(d, e, end):
                return False
        return True

    def first(self, d: Definition, e: Expr, end: _End) -> bool:
        """Whether a load in a definition, evaluated at its use, comes before all writes of the same element there."""
        s = self.body[end.statement]
        if not lists_of(s):
            return True  # a statement evaluates before it writes
        own = root_index(e.buffer, e.index) if isinstance(e, Load) else None
        if end.index is None or own is None:
            return False
        assert isinstance(e, Load)
        env = _environment(d, end.index)
        position = tuple(substitute_index(i, env, {}) for i in own)
        read = Access(end.path, e.buffer.root, position, None)
        if end.statement not in self.stores:
            self.stores[end.statement] = [a for a in accesses((s,), first=end.statement) if a.mode is not None]
        stores = [a for a in self.stores[end.statement] if a.root is e.buffer.root]
        if len(stores) > MANY:
            return False
        return not any(may_come_later(a, read, self.changed[end.statement]) for a in stores)


def _environment(d: Definition, index: Sequence[Dim]) -> dict[Sym, Dim]:
    """What the variables of a definition are where the element at ``index`` is computed."""
    return {v: i for v, i in zip(d.variables, index, strict=True) if v is not None and as_sym(i) is not v}


def _ends(uses: Sequence[_Use], definitions: Sequence[Definition | None], ends: dict[int, list[_End]]) -> list[_End]:
    """Where a definition with these uses is evaluated in the end."""
    found: list[_End] = []
    for u in uses:
        if u.statement not in ends:
            found.append(_End(u.statement, u.path, u.index, None))
            continue
        through = definitions[u.statement]
        assert through is not None and u.index is not None
        for end in ends[u.statement]:
            index = None
            if end.index is not None:
                env = _environment(through, end.index)
                index = tuple(substitute_index(i, env, {}) for i in u.index)
            found.append(_End(end.statement, end.path, index, u.statement if end.through is None else end.through))
    if len(found) > _FOLLOWED:
        found = [_End(k, (), None, None) for k in sorted({end.statement for end in found})]
    return found


def _usual(size: Dim) -> float:
    """A size, or a guess."""
    if isinstance(size, int):
        return size
    hi = interval(size)[1]
    return USUAL_TRIPS if hi is None else hi / 2


def _several(body: Sequence[Stmt], inlined: set[Buffer]) -> set[Buffer]:
    """The buffers that are inlined at several places."""
    places: dict[Buffer, set[tuple[int, tuple[Dim, ...] | None]]] = {}
    for k, s in enumerate(body):
        for e in subexpressions(e for x in statements((s,)) for e in expressions(x)):
            if isinstance(e, Load) and e.buffer.root in inlined:
                places.setdefault(e.buffer.root, set()).add((k, root_index(e.buffer, e.index)))
    return {t for t, found in places.items() if len(found) > 1}


def _substitute(body: Sequence[Stmt], definitions: Sequence[Definition | None], inlined: set[Buffer]) -> Iterable[Stmt]:
    """The statements with all loads of ``inlined`` buffers replaced, first to last. What is inlined at several places
    has one value at all of them: x * x - min(x * x) is 0 at its least element."""
    several = _several(body, inlined)
    ready: dict[Buffer, Definition] = {}
    applied: dict[Expr, Expr] = {}

    def replace(e: Expr) -> Expr:
        """``e`` with its loads replaced. Not recursive over chains of definitions: their values are done already."""
        found = applied.get(e)
        if found is not None:
            return found
        if isinstance(e, Load):
            index = tuple(map_payloads(i, replace) for i in e.index)
            d = ready.get(e.buffer.root)
            new: Expr = e if index == e.index else Load(e.buffer, index)
            if d is not None:
                index = reshaped_index(d.buffer.shape, e.buffer.shape, index)
                assert index is not None
                pairs = zip(d.variables, index, strict=True)
                env = {v: i for v, i in pairs if v is not None and as_sym(i) is not v}
                new = rewrite(d.value, env, {}) if env else d.value
        elif isinstance(e, Scalar):
            args = tuple(map(replace, e.args))
            new = e if args == e.args else Scalar(e.op, args, e.dtype)
        elif isinstance(e, Index):
            new = Index(map_payloads(e.index, replace))
        else:
            new = e
        applied[e] = new
        return new

    def replace_store(s: Store) -> Stmt:
        index = tuple(map_payloads(i, replace) for i in s.index)
        return s if index == s.index else dataclasses.replace(s, index=index)

    for s, d in zip(body, definitions, strict=True):
        if d is not None and d.buffer in inlined:
            value = replace(d.value)
            if value.depth <= MAX_DEPTH:
                ready[d.buffer] = d._replace(value=rounded(value) if d.buffer in several else value)
                continue
        yield rebuild(s, replace, replace_store)
