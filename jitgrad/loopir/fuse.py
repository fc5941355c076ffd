"""Fusion: elementwise producers into their consumers, and nests over one index space into one nest.

The steps, each a function:

1. ``inline``: a buffer that one pure nest fills element by element is dropped where recomputing its elements at their
   uses costs less than storing and loading them.
2. ``merge``: nests of equal extents become one where no iteration of the later one needs what another iteration of
   the earlier one writes.
3. ``elide_copies`` (in ``jitgrad.loopir.buffers``): an array that is updated takes the place of the one it was
   copied from.
4. ``forward`` and ``contract`` (in ``jitgrad.loopir.forward``): values stored and loaded again in the same iteration
   stay in registers, stores that nobody reads go, and temporaries that live within one iteration lose that axis.

Every refusal has a reason, which is put into ``notes``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterable, Sequence
from typing import NamedTuple

from jitgrad.ir.index import Dim, IndexExpr, Sym, as_sym, substitute
from jitgrad.loopir.buffers import copy_of, elide_copies, whole_store
from jitgrad.loopir.build import flatten_index, unflatten_index
from jitgrad.loopir.collapse import collapse
from jitgrad.loopir.forward import contract, forward
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import (
    Block,
    Buffer,
    Const,
    Expr,
    Index,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    dynamic,
    rewrite,
)
from jitgrad.loopir.walk import (
    expressions,
    loads,
    read_roots,
    rebuild,
    statements,
    subexpressions,
    written,
    written_roots,
)

#: What one evaluation of a scalar function costs, in simple arithmetic operations. Others cost 1.
COSTS = {"divide": 4, "sqrt": 5, "safe_sqrt": 5, "remainder": 10, "floor_divide": 10, "fmod": 20, "cast": 1, "where": 1}
TRANSCENDENTAL = 16
_CHEAP = frozenset(
    [
        "add",
        "subtract",
        "multiply",
        "negative",
        "absolute",
        "square",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "floor",
        "ceil",
        "rint",
        "trunc",
        "copysign",
        "where",
        "cast",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "equal",
        "not_equal",
        "logical_and",
        "logical_or",
        "logical_not",
        "logical_xor",
        "isnan",
        "isinf",
        "isfinite",
        "signbit",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "invert",
        "left_shift",
        "right_shift",
        "stop_gradient",
        "sign",
        "fma",
        "bitcast",
    ]
)
#: A store and a load of one element cost about as much as this many operations.
MEMORY_COST = 4
#: Longest chain of operations in one expression. Beyond it a value is stored, so that no walk over expressions is deep.
MAX_DEPTH = 32
#: How far back a nest looks for one to merge with, in statements that it does not depend on.
WINDOW = 24


def fuse(program: Program, notes: list[str] | None = None) -> Program:
    """Run all steps."""
    notes = [] if notes is None else notes
    program = inline(program, notes)
    program = merge(program, notes)
    program = elide_copies(program, notes)
    program = merge(program, notes)  # updates of one buffer may now share a nest
    program = forward(program)
    program = contract(program)
    return collapse(program)


# Step 1


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
            found = float(COSTS.get(e.op, 1 if e.op in _CHEAP else TRANSCENDENTAL))
        elif isinstance(e, Load):
            found = 1.0
        found = memo[e] = min(found + sum(cost(c, memo) for c in e.children()), 1e9)
    return found


class _Use(NamedTuple):
    """One load of a buffer: the statement that it is in, and how often the statement's nest evaluates it."""

    statement: int
    share: float  # of the evaluations of the statement's own value, if that is inlined; at most 1
    evaluations: float  # if the statement stays


def _trips(stmt: Stmt) -> list[tuple[Load, float, float]]:
    """Every load with how often it is evaluated, were loops hoisted out of that it does not depend on, and the trips
    of the loops around it."""
    found: list[tuple[Load, float, float]] = []

    def visit(s: Stmt, loops: tuple[tuple[Sym, float], ...]) -> None:
        total = 1.0
        for _, n in loops:
            total *= n
        for e in subexpressions(expressions(s)):
            if isinstance(e, Load):
                used = e.syms()
                depth = max((k + 1 for k, (v, _) in enumerate(loops) if v in used), default=0)
                count = 1.0
                for _, n in loops[:depth]:
                    count *= n
                found.append((e, count, total))
        if isinstance(s, Loop):
            n = float(s.hi - s.lo) if isinstance(s.hi, int) and isinstance(s.lo, int) else 1e3
            for x in s.body:
                visit(x, (*loops, (s.var, max(n, 0.0))))
        else:
            for x in statements((s,)):
                if x is not s:
                    visit(x, loops)

    visit(stmt, ())
    return found


def inline(program: Program, notes: list[str]) -> Program:
    """Substitute definitions into the statements that load them.

    A definition is inlined if nothing but nests reads it and ``cost * (evaluations - size) <= memory``: evaluating it
    at all its uses must cost no more than evaluating it once, storing it, and loading it at each use. Decided from the
    last statement to the first, so that the number of evaluations of every consumer is known.
    """
    body = program.body
    stores: dict[Buffer, int] = {}
    for s in statements(body):
        for t in written_roots((s,)) if isinstance(s, (Store, LibCall)) else ():
            stores[t] = stores.get(t, 0) + 1
    uses: dict[Buffer, list[_Use]] = {}
    opaque: set[Buffer] = set()
    definitions = [definition(s) for s in body]
    for k, s in enumerate(body):
        if isinstance(s, LibCall):
            opaque.update(t.root for t in s.ins)
            continue
        for load, count, total in _trips(s):
            uses.setdefault(load.buffer.root, []).append(_Use(k, count / total if total else 1.0, count))
    inlined: set[Buffer] = set()
    evaluations: dict[int, float] = {}
    costs: dict[Expr, float] = {}
    for k in range(len(body) - 1, -1, -1):
        d = definitions[k]
        if d is None or d.buffer.kind != "temp":
            continue
        mine = uses.get(d.buffer, [])
        total = sum(evaluations[u.statement] * u.share if u.statement in evaluations else u.evaluations for u in mine)
        if stores[d.buffer] > 1 or d.buffer in opaque:
            continue
        price = cost(d.value, costs)
        if price > 1 and price * (total - d.buffer.size) > MEMORY_COST * (d.buffer.size + total):
            where = f" ({d.buffer.loc.short()})" if d.buffer.loc else ""
            notes.append(
                f"{d.buffer.name}{where} is stored: computing it at each of its {len(mine)} uses would take "
                f"{price:.0f} operations {total / max(d.buffer.size, 1):.1f} times an element"
            )
            continue
        inlined.add(d.buffer)
        evaluations[k] = total
    return with_body(program, _substitute(body, definitions, inlined))


def _substitute(body: Sequence[Stmt], definitions: Sequence[Definition | None], inlined: set[Buffer]) -> Iterable[Stmt]:
    """The statements with all loads of ``inlined`` buffers replaced, first to last."""
    ready: dict[Buffer, Definition] = {}
    applied: dict[Expr, Expr] = {}

    def replace(e: Expr) -> Expr:
        """``e`` with its loads replaced. Not recursive over chains of definitions: their values are done already."""
        found = applied.get(e)
        if found is not None:
            return found
        if isinstance(e, Load):
            index = tuple(_replace_dynamic(i, replace) for i in e.index)
            d = ready.get(e.buffer.root)
            new: Expr = e if index == e.index else Load(e.buffer, index)
            if d is not None:
                if e.buffer is not d.buffer:
                    index = unflatten_index(d.buffer.shape, flatten_index(e.buffer.shape, index))
                pairs = zip(d.variables, index, strict=True)
                env = {v: i for v, i in pairs if v is not None and as_sym(i) is not v}
                new = rewrite(d.value, env, {}) if env else d.value
        elif isinstance(e, Scalar):
            args = tuple(map(replace, e.args))
            new = e if args == e.args else Scalar(e.op, args, e.dtype)
        elif isinstance(e, Index):
            new = Index(_replace_dynamic(e.index, replace))
        else:
            new = e
        applied[e] = new
        return new

    def replace_store(s: Store) -> Stmt:
        index = tuple(_replace_dynamic(i, replace) for i in s.index)
        return s if index == s.index else dataclasses.replace(s, index=index)

    for s, d in zip(body, definitions, strict=True):
        if d is not None and d.buffer in inlined:
            value = replace(d.value)
            if value.depth <= MAX_DEPTH:
                ready[d.buffer] = d._replace(value=value)
                continue
        yield rebuild(s, replace, replace_store)


def _replace_dynamic(e: Dim, replace: Callable[[Expr], Expr]) -> Dim:
    """An index with the loads in its dynamic parts replaced."""
    if not isinstance(e, IndexExpr):
        return e
    env: dict[Sym, Dim] = {}
    for s in e.syms():
        if s.payload is not None:
            new = replace(s.payload)
            if new is not s.payload:
                env[s] = dynamic(new, (s.bounds[1] or 0) + 1)
    return substitute(e, env) if env else e


# Step 2


def normal_index(buffer: Buffer, index: Sequence[Dim]) -> tuple[Dim, ...]:
    """An access through an alias, as an access of its root."""
    root = buffer.root
    if root is buffer or root.shape == buffer.shape:
        return tuple(index)
    return unflatten_index(root.shape, flatten_index(buffer.shape, index))


def accesses(s: Stmt, roots: set[Buffer]) -> Iterable[tuple[Buffer, tuple[Dim, ...]]]:
    """Every load and store of these buffers, as accesses of the roots."""
    for e in loads((s,)):
        if e.buffer.root in roots:
            yield e.buffer.root, normal_index(e.buffer, e.index)
    for x in statements((s,)):
        if isinstance(x, Store) and x.buffer.root in roots:
            yield x.buffer.root, normal_index(x.buffer, x.index)


class _Access(NamedTuple):
    reads: set[Buffer]
    writes: set[object]  # buffers and locals
    locals: set[object]


def _access(s: Stmt) -> _Access:
    used = {e for x in statements((s,)) for e in subexpressions(expressions(x)) if not isinstance(e, (Load, Const))}
    return _Access(read_roots((s,)), written((s,)), {e for e in used if isinstance(e, Local)})


def _depends(later: _Access, earlier: _Access) -> bool:
    """Whether two statements must stay in order."""
    return bool(
        (later.reads | later.locals) & earlier.writes  # pyright: ignore[reportOperatorIssue]
        or later.writes & (earlier.reads | earlier.locals)  # pyright: ignore[reportOperatorIssue]
        or later.writes & earlier.writes
    )


def _fusible(a: Loop, b: Loop) -> bool:
    """Whether ``b`` may run in the iterations of ``a``, after its body.

    Proof: take a buffer that one of them writes and the other accesses. If some axis of every access to it is indexed
    by the loop variable itself, then different iterations touch different elements, so only the order within one
    iteration matters, and that is kept.
    """
    if a.lo != b.lo or a.hi != b.hi or a.step != b.step or a.var is not b.var:
        return False
    touched_a, touched_b = _touched(a), _touched(b)
    shared = (written_roots((a,)) & touched_b) | (written_roots((b,)) & touched_a)
    if any(isinstance(x, LibCall) for x in statements((a, b))):
        return False
    axes: dict[Buffer, set[int]] = {}
    for part in (a, b):
        for root, index in accesses(part, shared):
            along = {k for k, i in enumerate(index) if as_sym(i) is a.var}
            axes[root] = axes.get(root, along) & along
            if not axes[root]:
                return False
    # A local that one of them updates across iterations must not be used by the other.
    la, lb = (
        {x for x in written((a,)) if not isinstance(x, Buffer)},
        {x for x in written((b,)) if not isinstance(x, Buffer)},
    )
    return not (la & _access(b).locals or lb & _access(a).locals)


def _touched(s: Stmt) -> set[Buffer]:
    return read_roots((s,)) | written_roots((s,))


def _worthwhile(a: Stmt, b: Stmt) -> bool:
    """Whether two nests share data that is larger than a scalar."""
    return any(t.size > 1 for t in _touched(a) & _touched(b))


def append(done: list[Stmt], s: Stmt, alone: Container[Stmt] = ()) -> int | None:
    """Append a statement to a list, fused with an earlier one where that is legal and useful; the place of that one.

    Statements in ``alone`` are not fused with.
    """
    if isinstance(s, Let) and isinstance(s.value, Const):
        done.insert(0, s)  # an accumulator's declaration: nothing before it can depend on it
        return None
    if not isinstance(s, (Loop, Block)):
        done.append(s)
        return None
    mine = _access(s)
    for k in range(len(done) - 1, max(len(done) - 1 - WINDOW, -1), -1):
        candidate = done[k]
        if isinstance(candidate, (Loop, Block)) and candidate not in alone and _worthwhile(candidate, s):
            fused = _fuse_pair(candidate, s)
            if fused is not None:
                done[k] = fused
                return k
        if _depends(mine, _access(candidate)):
            break
    done.append(s)
    return None


def _fuse_pair(a: Loop | Block, b: Loop | Block) -> Stmt | None:
    """``a`` then ``b`` as one statement, or None."""
    if isinstance(a, Loop) and isinstance(b, Loop):
        if not _fusible(a, b):
            return None
        body = list(a.body)
        for s in b.body:
            append(body, s)
        return dataclasses.replace(a, body=tuple(body))
    first = a.body if isinstance(a, Block) else (a,)
    second = b.body if isinstance(b, Block) else (b,)
    body, fused = list(first), False
    for s in second:
        fused |= append(body, s) is not None
    return Block(tuple(body)) if fused else None


def _copies_update(s: Stmt, updated: set[Buffer]) -> bool:
    """Whether a statement starts a buffer that is updated in place later, as a plain copy of a temporary. Left by
    itself, because placement may drop it."""
    pair = copy_of(s)
    return pair is not None and pair[0] in updated and pair[1].root.kind == "temp"


def _fills(s: Stmt) -> Buffer | None:
    """The buffer that a statement fills with values that depend on no other buffer."""
    d = definition(s)
    return d.buffer if d is not None and not any(isinstance(e, Load) for e in subexpressions((d.value,))) else None


def merge(program: Program, notes: list[str]) -> Program:
    """Fuse top-level nests, each into the nearest earlier one that it may join."""
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
        if (filled := _fills(s)) in updated and filled is not None and filled not in seen:
            fills[filled] = s
            seen.add(filled)
            continue
        touched = _touched(s)
        seen |= touched
        if _copies_update(s, updated):
            alone.add(s)
            place = None
            done.append(s)
        else:
            place = append(done, s, alone)
        fused += place is not None
        # What this statement accumulates into is filled just before it, wherever it went.
        for t in [t for t in fills if t in touched]:
            done.insert(len(done) - 1 if place is None else place, fills.pop(t))
            place = None if place is None else place + 1
    done.extend(fills.values())
    if fused:
        notes.append(f"{fused} nests were merged into earlier ones")
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
