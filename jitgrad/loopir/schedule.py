"""Which loops threads share.

A loop is parallel if its iterations are independent (proved by ``deps``), and there is enough work in it to pay for the
launch. Of loops in each other the outermost one that qualifies is chosen, so that there is one launch, and no loop
inside a parallel one is parallel. Where a bound depends on what is around the loop, the work is an index expression,
and the comparison is made when the program runs.

What stands in the way of independence can be taken away by cutting the loop into at most :data:`CHUNKS` chunks that
run serially inside, each with storage of its own:

* numbers and small arrays that all iterations add to: each chunk starts from zero, and they are added up in order;
* temporary arrays that each iteration fills before it reads them.

A loop whose iterations do depend on each other, and in which no loop has enough work, may be cut the other way, see
``strips``.
The number of chunks does not depend on the number of threads, and neither do the results, to the last bit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.ir.index import Dim, IndexExpr, Sym, add, expr, floordiv, interval, mul, substitute
from jitgrad.loopir.build import IDENTITIES
from jitgrad.loopir.costs import price
from jitgrad.loopir.deps import COMMUTE, USUAL_TRIPS, by_root, independent, span, trips, varies
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
    If,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    While,
)
from jitgrad.loopir.private import own, uses_of
from jitgrad.loopir.strips import strips
from jitgrad.loopir.substitute import with_accesses
from jitgrad.loopir.walk import expressions, statements, subexpressions, with_lists, written

#: The greatest and the least number of chunks of a loop whose iterations are not independent as they stand.
CHUNKS = 32
LEAST_CHUNKS = 4
#: Innermost loops are cut at multiples of this many iterations: vectors and cache lines stay whole.
GRAIN = 64
#: That is done where each chunk has so many of them, or chunks would not be equally long.
GRAINS = 4
#: The work of a parallel loop, in operations on bytes: 20 to 30 times what a launch costs where that is cheapest.
LEAST = 4 << 20
#: A loop of fewer iterations is parallel only if no loop inside it is.
FEW = 8
#: Bytes that the chunks of one loop may have for themselves.
PRIVATE_BYTES = 1 << 26
#: How many times the work of adding up the chunks' arrays a loop must have. An element of a chunk is four operations.
COMBINED = 64
#: How many times the work of another parallel loop a loop in chunks must have: chunks cost something in themselves.
CHUNKED = 2


def schedule(program: Program, notes: list[str] | None = None, least: int = LEAST) -> Program:
    """Mark the loops that threads share. ``least`` is the work that makes a loop parallel. What is decided about loops
    with that much work goes into ``notes``."""
    scheduler = _Scheduler(program, least, [] if notes is None else notes)
    new = with_body(program, scheduler.list(program.body, top=True))
    if scheduler.small:
        loops = "1 loop is" if scheduler.small == 1 else f"{scheduler.small} loops are"
        scheduler.notes.append(f"{loops} serial: too little work for threads")
    return new


class Plan(NamedTuple):
    """How a loop becomes parallel: in how many chunks (0: its iterations are independent), and what each needs."""

    chunks: int = 0
    sums: tuple[tuple[Local, str], ...] = ()  # locals that are only updated, with the mode
    totals: tuple[tuple[Buffer, str], ...] = ()  # arrays that are only updated
    private: tuple[Buffer, ...] = ()  # temporaries that each iteration fills anew


class _Scheduler:
    def __init__(self, program: Program, least: int, notes: list[str]) -> None:
        self.least, self.notes = least, notes
        self.small = 0
        self.uses = uses_of(program.body)

    def list(self, body: tuple[Stmt, ...], top: bool = False) -> tuple[Stmt, ...]:
        """The statements of one list with the loops in it scheduled. A kernel stays one statement."""
        result: list[Stmt] = []
        for s in body:
            if isinstance(s, Loop):
                new = self.loop(s)
            else:
                new = [self.call(s) if isinstance(s, LibCall) else with_lists(s, self.list)]
            result += [Block(tuple(new))] if top and len(new) > 1 else new
        return (
            body
            if len(result) == len(body) and all(a is b for a, b in zip(result, body, strict=True))
            else tuple(result)
        )

    def call(self, s: LibCall) -> LibCall:
        """A library call; matrix products are shared by threads if they are large."""
        if s.fn != "gemm" or gemm_work(dict(s.static), s.outs[0].dtype) < self.least:
            return s
        self.notes.append(f"the matrix product{_target(s)} runs on threads")
        return dataclasses.replace(s, static=tuple(sorted({**dict(s.static), "threads": True}.items())))

    def loop(self, s: Loop) -> list[Stmt]:
        """What takes the place of a loop."""
        each = _mean(s, work(s.body))
        n = interval(span(s))[1]
        most = None if n is None else interval(mul(each, -(-n // abs(s.step))))[1]
        if most is not None and most < self.least:
            self.small += 1
            return [s]
        if n is not None and n < FEW * abs(s.step):
            known = len(self.notes)
            inside = with_lists(s, self.list)
            if _shared(inside) or n <= abs(s.step):
                return [inside]
            del self.notes[known:]
        plan = self.plan(s, each)
        if isinstance(plan, str):
            before = len(self.notes), self.small
            inside = with_lists(s, self.list)
            if _shared(inside):
                return [inside]
            sums, cut = loop_sums(s), strips(s, CHUNKS)
            if cut is None or isinstance(sums, str):
                self.notes.append(f"{_named(s)} is serial: {plan}")
                return [inside]
            del self.notes[before[0] :]
            self.small = before[1]
            self.notes.append(f"{_named(s)} runs on threads, in {cut.hi} strips of the loops in it")
            assert isinstance(cut.hi, int)
            return own_sums(dataclasses.replace(cut, work=floordiv(mul(_trips(s), each), cut.hi)), sums)
        if not plan.chunks:
            self.notes.append(f"{_named(s)} runs on threads")
            return [dataclasses.replace(s, kind="parallel", work=each)]
        self.notes.append(f"{_named(s)} runs on threads, in {plan.chunks} chunks: {_reasons(plan)}")
        return chunked(s, plan, each)

    def plan(self, s: Loop, each: Dim) -> Plan | str:
        """How to make a loop parallel, or why it can't be."""
        if any(isinstance(x, Fail) and x.error is not None for x in statements(s.body)):
            return "it may raise, and the first iteration that does comes first"
        plan = needs(s, self.uses)
        if isinstance(plan, str) or plan == Plan():
            return plan
        n = _iterations(s)
        total = None if n is None else interval(mul(n, each))[0]
        if n is None or total is None:
            return "its iterations share memory, and their number is known only when it runs"
        if total < CHUNKED * self.least:
            return "its iterations share memory, and it has too little work for chunks with memory of their own"
        chunks = min(CHUNKS, n)
        summed = sum(t.nbytes for t, _ in plan.totals)
        if summed:
            fitting = int(total / (COMBINED * 4 * summed))
            chunks = min(chunks, 1 << fitting.bit_length() - 1 if fitting else 0)  # a power of 2 is shared out evenly
        if chunks < min(LEAST_CHUNKS, n) or chunks * (summed + sum(t.nbytes for t in plan.private)) > PRIVATE_BYTES:
            return "its iterations share memory, and there is too much of it for each chunk to have its own"
        return plan._replace(chunks=chunks)


#: Library calls that take the interpreter's lock, so that threads would wait for each other.
_CALLS_PYTHON = {"show": "it prints", "fourier": "it calls back into Python"}


def needs(s: Loop, around: Mapping[Buffer, int]) -> Plan | str:
    """What each chunk of a loop needs for itself, so that chunks are independent (nothing: so are the iterations); or
    why that does not help. ``around`` is how many statements of the program touch a root, see ``private.uses_of``."""
    inside = list(statements(s.body))
    for x in inside:
        if isinstance(x, LibCall) and x.fn != "gemm":
            if x.fn in IN_ORDER:
                return _CALLS_PYTHON.get(x.fn, "it draws random numbers")
            return _CALLS_PYTHON.get(x.fn, f"it calls {x.fn}, which has threads of its own")
        if isinstance(x, Alloc):
            return "it allocates memory"
    sums = loop_sums(s)
    if isinstance(sums, str):
        return sums
    inner = {s.var} | {x.var for x in inside if isinstance(x, Loop)}
    changed = written(s.body)
    totals: list[tuple[Buffer, str]] = []
    private: list[Buffer] = []
    within = uses_of(s.body)
    for root, those in by_root(s.body).items():
        if independent(those, s.var, lambda v: varies(v, inner, changed), s.step):
            continue
        modes = {a.mode for a in those}
        (mode,) = modes if len(modes) == 1 else (None,)
        if root.kind == "temp" and within[root] == around[root] and own(root, s.body):
            private.append(root)
        elif mode is not None and mode in COMMUTE and _summed(root, s.body):
            totals.append((root, mode))
        else:
            return f"an iteration may need what another one writes into {root.name}"
    return Plan(0, tuple(sums), tuple(totals), tuple(private))


def _shared(s: Stmt) -> bool:
    return any(isinstance(x, Loop) and x.kind == "parallel" for x in statements((s,)))


# Work


def work(stmts: Sequence[Stmt]) -> Dim:
    """About how much some statements do: operations, each counted as the bytes of its result, so that it is about
    proportional to the time that vectorised code takes."""
    total: Dim = 0
    seen: set[Expr] = set()
    for s in stmts:
        own = 0
        for e in subexpressions(expressions(s), seen):
            if isinstance(e, Load):
                own += e.dtype.itemsize
            elif isinstance(e, Scalar):
                own += price(e.op) * e.dtype.itemsize
        if isinstance(s, Store):
            own += s.buffer.dtype.itemsize * (1 if s.mode == "=" else 2)
        elif isinstance(s, Assign):
            own += s.local.dtype.itemsize
        elif isinstance(s, LibCall) and s.fn == "gemm":
            own += gemm_work(dict(s.static), s.outs[0].dtype)
        total = add(total, own)
        if isinstance(s, Loop):
            total = add(total, mul(_trips(s), _mean(s, work(s.body))))
        elif isinstance(s, If):
            total = add(total, add(work(s.then), work(s.orelse)))
        elif isinstance(s, While):
            total = add(total, mul(work(s.body), int(USUAL_TRIPS)))
        elif isinstance(s, Block):
            total = add(total, work(s.body))
    return total


def gemm_work(static: Mapping[str, Any], dtype: np.dtype) -> int:
    """The work of matrix products. 10^6 multiply-adds of float64, which take 20 to 40 microseconds, are as much as
    :data:`LEAST`."""
    return math.prod((*static.get("batch", ()), static["m"], static["n"], static["k"])) * dtype.itemsize // 2


def _iterations(s: Loop) -> int | None:
    """How often a loop runs, if that is known, and the loop can be cut into chunks."""
    n = span(s)
    return max(-(-n // abs(s.step)), 0) if isinstance(n, int) and s.step >= -1 else None


def _trips(s: Loop) -> Dim:
    """How often a loop runs, in terms of the variables around; a guess where that depends on other things."""
    n = span(s)
    if isinstance(n, int):
        return max(-(-n // abs(s.step)), 0)
    if any(v.payload is not None for v in n.syms()):
        return int(trips(s))
    return n if abs(s.step) == 1 else floordiv(n, abs(s.step))


def _mean(s: Loop, each: Dim) -> Dim:
    """The work of an iteration, at the middle of a loop."""
    if not isinstance(each, IndexExpr) or s.var not in each.syms():
        return each
    middle = floordiv(add(s.lo, s.hi), 2)
    if isinstance(middle, IndexExpr) and any(v.payload is not None for v in middle.syms()):
        low, high = s.var.bounds
        middle = int(USUAL_TRIPS) if low is None or high is None else (low + high) // 2
    return substitute(each, {s.var: middle})


# Independence


def loop_sums(s: Loop) -> list[tuple[Local, str]] | str:
    """The locals from outside that a loop only updates; or what it does with others."""
    own = {x.local for x in statements(s.body) if isinstance(x, Let)}
    modes: dict[Local, set[str]] = {}
    for x in statements(s.body):
        if isinstance(x, Assign) and x.local not in own:
            modes.setdefault(x.local, set()).add(x.mode)
    read = {e for x in statements(s.body) for e in subexpressions(expressions(x)) if isinstance(e, Local)}
    for local, found in modes.items():
        if local in read or len(found) > 1 or not found <= set(COMMUTE):
            return f"each iteration needs {local.name} of the one before"
    return [(local, mode) for local, (mode,) in modes.items()]


def _summed(root: Buffer, body: Sequence[Stmt]) -> bool:
    """Whether an array that is only updated can be one for each chunk."""
    stores = (x for x in statements(body) if isinstance(x, Store))
    return root.is_static and all(x.buffer is root for x in stores if x.buffer.root is root)


# Chunks


def chunked(s: Loop, plan: Plan, each: Dim) -> list[Stmt]:
    """A parallel loop over chunks of a loop, and after it the loops that add up what the chunks have summed."""
    lo, step = (s.lo, s.step) if s.step > 0 else (add(s.hi, 1), 1)
    n = _iterations(s)
    assert n is not None
    chunks = plan.chunks
    chunk = Sym("chunk", 0, chunks - 1)
    at = expr(chunk)
    body: list[Stmt] = []
    after: list[Stmt] = []
    own: dict[Buffer, Buffer] = {}
    for t in plan.private:
        own[t] = Buffer(t.name, t.dtype, (chunks, *t.shape), loc=t.loc)
    for t, mode in plan.totals:
        own[t] = Buffer(f"{t.name}_parts", t.dtype, (chunks, *t.shape), loc=t.loc)
        size = t.size
        whole, parts = _flat(t, (size,)), _flat(own[t], (chunks, size))
        k, m, part = (Sym(name, 0, add(n, -1)) for name, n in (("i", size), ("i", size), ("chunk", chunks)))
        zero = Const(IDENTITIES[mode](t.dtype), t.dtype)
        body.append(Loop(k, 0, size, (Store(parts, (at, expr(k)), zero),)))
        total = Store(whole, (expr(m),), Load(parts, (expr(part), expr(m))), mode)
        after.append(Loop(part, 0, chunks, (Loop(m, 0, size, (total,)),)))
    grain = GRAIN if is_innermost(s) and n >= chunks * GRAINS * GRAIN else 1
    first, last = (add(lo, mul(_start(k, n, chunks, grain), step)) for k in (at, add(at, 1)))
    inner: Stmt = dataclasses.replace(s, lo=first, hi=add(last, 1 - step), step=step)

    def place(t: Buffer, index: tuple[Dim, ...]) -> tuple[Buffer, tuple[Dim, ...]] | None:
        if t.root not in own:
            return None
        if t not in own:
            own[t] = Buffer(t.name, t.dtype, (chunks, *t.shape), base=own[t.root])
        return own[t], (at, *index)

    inner = with_accesses(inner, place)
    body.append(inner)
    loop = Loop(chunk, 0, chunks, tuple(body), 1, "parallel", mul(each, -(-n // chunks)))
    return [*own_sums(loop, plan.sums), *after]


def _start(k: Dim, n: int, chunks: int, grain: int) -> Dim:
    """The iteration at which a chunk of ``n`` iterations starts, ``n`` behind the last one. A chunk has whole grains,
    and the last one what is left."""
    whole = mul(floordiv(mul(k, n // grain), chunks), grain)
    return add(whole, mul(floordiv(k, chunks), n % grain))


def is_innermost(s: Loop) -> bool:
    return not any(isinstance(x, (Loop, While)) for x in statements(s.body))


def own_sums(s: Loop, sums: Sequence[tuple[Local, str]]) -> list[Stmt]:
    """A parallel loop whose iterations add up locals for themselves, and after it the loops that add those up."""
    n = s.hi
    before: list[Stmt] = []
    ends: list[Stmt] = []
    after: list[Stmt] = []
    locals_: dict[Local, Local] = {}
    for local, mode in sums:
        parts = Buffer(f"{local.name}_parts", local.dtype, (n,))
        mine = locals_[local] = Local(local.name, local.dtype)
        before.append(Let(mine, Const(IDENTITIES[mode](local.dtype), local.dtype)))
        ends.append(Store(parts, (expr(s.var),), mine))
        part = Sym(s.var.name, 0, add(n, -1))
        after.append(Loop(part, 0, n, (Assign(local, Load(parts, (expr(part),)), mode),)))
    body = (*before, *(_renamed(x, locals_) for x in s.body), *ends)
    return [dataclasses.replace(s, body=body), *after]


def _flat(t: Buffer, shape: tuple[Dim, ...]) -> Buffer:
    """An array in another shape."""
    return t if t.shape == shape else Buffer(f"{t.name}_flat", t.dtype, shape, t.kind, base=t)


def _renamed(s: Stmt, locals_: Mapping[Local, Local]) -> Stmt:
    """A statement that updates other locals."""
    if isinstance(s, Assign):
        return dataclasses.replace(s, local=locals_.get(s.local, s.local))
    return with_lists(s, lambda body: tuple(_renamed(x, locals_) for x in body))


# Notes


def _named(s: Loop) -> str:
    lo = "" if s.lo == 0 else f"{s.lo} .. "
    return f"the loop of {s.var.name} over {lo}{s.hi}{_target(s)}"


def _target(s: Loop | LibCall) -> str:
    """What a loop or call writes, and the user's lines."""
    stores = (x.buffer.root for x in statements((s,)) if isinstance(x, Store))
    targets = dict.fromkeys((t.root for t in s.outs) if isinstance(s, LibCall) else stores)
    if not targets:
        return ""
    places = ", ".join(dict.fromkeys(t.loc.short() for t in targets if t.loc is not None))
    return f", which writes {', '.join(t.name for t in targets)}{f' ({places})' if places else ''},"


def _reasons(plan: Plan) -> str:
    parts: list[str] = []
    summed = [*(local.name for local, _ in plan.sums), *(t.name for t, _ in plan.totals)]
    if summed:
        parts.append(f"each sums up {', '.join(summed)} for itself")
    if plan.private:
        parts.append(f"each has its own {', '.join(t.name for t in plan.private)}")
    return " and ".join(parts)


def parallel_loops(program: Program) -> Iterator[Loop]:
    """The parallel loops of a program."""
    return (s for s in statements(program.body) if isinstance(s, Loop) and s.kind == "parallel")


def uses_threads(program: Program) -> bool:
    """Whether a program has parallel loops, or calls with parts for threads."""
    calls = (s for s in statements(program.body) if isinstance(s, LibCall))
    return any(dict(s.static).get("slots", 1) > 1 for s in calls) or next(parallel_loops(program), None) is not None
