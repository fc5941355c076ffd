"""Rows in groups: sums over arrays that are read in two orders, or across the order of their rows.

A team has a row, and its threads lie *along* the loops in its body; or a thread has a row, and neighbouring threads lie
*across*. Where such loops read one array along and another one across, as ``(x.T * y).sum(1)`` does, or all of them the
other way, neighbouring threads read memory far apart. So a block takes :data:`ROWS` rows at once. It runs the loops of
their bodies in tiles of :data:`ROWS` rows and :data:`COLUMNS` iterations, with its threads along or across, as most
arrays want it. The others come through shared memory (see ``tiles``): before a tile is computed they are loaded with
the threads the other way.

:data:`LANES` threads have a row, in either way. Each adds up what it computes in an element of shared memory of its
own; when the loop ends, one thread a row adds those up. What a row computes outside of loops is done by one thread, and
its locals are arrays in shared memory, one element a row.

Eight rows are what a sector of 32 bytes has of float32, the least that comes from memory at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from jitgrad.cuda.steps import Launch, row_count
from jitgrad.cuda.teams import distributable, scanned, static_trips
from jitgrad.cuda.tiles import Place, in_order, moves_across, needs_body, trips
from jitgrad.ir.index import Dim, Sym, add, expr, floordiv, mod, mul
from jitgrad.ir.types import i64
from jitgrad.loopir.build import IDENTITIES
from jitgrad.loopir.nodes import (
    Assign,
    Buffer,
    Comment,
    Const,
    Expr,
    If,
    Index,
    Let,
    Load,
    Local,
    Loop,
    Stmt,
    Store,
    dynamic_between,
    scalar,
)
from jitgrad.loopir.rewrite import rewrite
from jitgrad.loopir.schedule import loop_sums
from jitgrad.loopir.substitute import shapes_depend, substituted
from jitgrad.loopir.walk import expressions, statements, with_lists, written_roots

#: Rows of a group, threads of a block, and threads that have one row.
ROWS, THREADS = 8, 256
LANES = THREADS // ROWS
#: Iterations of a thread in a tile, and all iterations of a tile.
EACH = 4
COLUMNS = LANES * EACH
#: Elements of a row of a tile that are not used. Threads across write eight elements above each other and four beside
#: each other: so each lies in a bank of its own.
PADDING = 32 // ROWS
#: Iterations of a loop that are worth a tile: it is half full.
LEAST_TRIPS = COLUMNS // 2
#: Groups that keep a device busy.
LEAST_GROUPS = 64
#: Bytes of shared memory of a block: five blocks of 256 threads fit on a multiprocessor with 100 KB.
BYTES = 20 << 10


def grouped(s: Launch, known: dict[Loop, bool], *, least: int = LEAST_GROUPS) -> Launch:
    """The launch with its rows in groups, if that makes its threads read memory in order; else as it is. ``least`` is
    the least number of groups.

    ``known`` is told which of the new loops teams share out.
    """
    if s.lanes > 1 or not s.rows or not _plain(s.body):
        return s
    loops = [x for x in s.body if isinstance(x, Loop)]
    if s.team > 1:  # its threads are along the loops
        strays = sum(any(_across(a, r, x) for r in s.rows) for x in loops for a in _accesses(x))
    else:
        strays = sum(_along(a, s.rows[-1], x) for x in loops for a in _accesses(x))
    found = [plan for r in s.rows if strays and (plan := _plan(s, r, loops, least)) is not None]
    best = min(found, key=_cost, default=None)
    return s if best is None or best.strays >= strays else _Maker(s, best, known).launch()


def wants_groups(s: Loop, count: int, least: int) -> bool:
    """Whether it is worth it to make a loop of so many iterations the rows of a launch, as :func:`grouped` has them."""
    inside = [x for x in s.body if isinstance(x, Loop) and (static_trips(x) or 0) >= LEAST_TRIPS]
    return count >= least * ROWS and any(_across(a, s, x) for x in inside for a in _accesses(x))


class _Plan(NamedTuple):
    """How rows become groups: the loop over them, whether threads lie across, and for each loop of the body what comes
    through tiles. ``strays`` are the accesses that stay far apart."""

    rows: Loop
    across: bool
    turned: Mapping[Loop, Sequence[Load]]
    strays: int
    nbytes: int


def _cost(plan: _Plan) -> tuple[int, int]:
    return plan.strays, plan.nbytes


def _plan(s: Launch, r: Loop, loops: Sequence[Loop], least: int) -> _Plan | None:
    """The better way to take the rows of one loop in groups, threads along if both are as good."""
    groups = row_count(s.rows) // max(trips(r), 1) * -(-trips(r) // ROWS)
    if trips(r) < ROWS or groups < least or any(shapes_depend(x, r.var) for x in s.body):
        return None
    sums = [local for x in loops for local, _ in _sums(x)]
    own = sum(ROWS * local.dtype.itemsize for local in _locals(s.body))
    own += sum(THREADS * local.dtype.itemsize for local in sums)
    found = [_way(r, loops, own, across) for across in (False, True)]
    best = min(found, key=_cost)
    return best if best.nbytes <= BYTES else None


def _way(r: Loop, loops: Sequence[Loop], own: int, across: bool) -> _Plan:
    """What comes through tiles with threads along or across, as far as there is room beside ``own`` bytes."""
    turned: dict[Loop, list[Load]] = {}
    strays = 0
    for x in loops:
        wrong = [a for a in _accesses(x) if (_along if across else _across)(a, r, x)]
        turned[x] = []
        changed = written_roots(x.body)
        for e in dict.fromkeys(e for y in x.body for e in in_order(expressions(y))):
            if e in wrong and not needs_body(e, changed) and own + _tile_bytes(e) <= BYTES:
                turned[x].append(e)
                own += _tile_bytes(e)
        strays += len(wrong) - len(turned[x])
    return _Plan(r, across, turned, strays, own)


def _tile_bytes(e: Load) -> int:
    return ROWS * (COLUMNS + PADDING) * e.dtype.itemsize


def _accesses(s: Loop) -> list[Load | Store]:
    """The loads of a loop, each once, and its stores."""
    stores = [x for x in statements(s.body) if isinstance(x, Store)]
    return [*dict.fromkeys(e for x in statements(s.body) for e in in_order(expressions(x))), *stores]


def _across(a: Load | Store, row: Loop, loop: Loop) -> bool:
    """Whether an access wants its threads to be in neighbouring rows."""
    return moves_across(a, row, loop)


def _along(a: Load | Store, row: Loop, loop: Loop) -> bool:
    """Whether an access wants its threads to be in neighbouring iterations of a loop."""
    return moves_across(a, loop, row)


def _sums(s: Loop) -> list[tuple[Local, str]]:
    found = loop_sums(s)
    assert not isinstance(found, str), found
    return found


def _locals(body: Sequence[Stmt]) -> list[Local]:
    """The locals that a row declares outside of loops."""
    outside = statements([x for x in body if not isinstance(x, Loop)])
    return list(dict.fromkeys(x.local for x in outside if isinstance(x, Let)))


def _plain(body: Sequence[Stmt]) -> bool:
    """Whether a body is a list of loops without loops in them, of known lengths, whose iterations threads can share
    out, and of statements around them; nothing fails, and what is stored is stored whole."""
    loops = [x for x in body if isinstance(x, Loop)]
    for x in loops:
        n = static_trips(x)
        if n is None or not distributable(x) or scanned(x) is not None:
            return False
    if not any(trips(x) >= LEAST_TRIPS for x in loops):
        return False
    allowed = (Let, Assign, If, Store, Comment)
    inside = [y for x in loops for y in statements(x.body)]
    outside = statements([x for x in body if not isinstance(x, Loop)])
    if not all(isinstance(y, allowed) for y in (*inside, *outside)):
        return False
    return all(y.mode == "=" for y in inside if isinstance(y, Store))


# Groups

_Env = Mapping[Sym, Dim]


class _Maker:
    """Makes the launch of a plan."""

    def __init__(self, s: Launch, plan: _Plan, known: dict[Loop, bool]) -> None:
        self.s, self.plan, self.known = s, plan, known
        rows = plan.rows
        self.count = trips(rows)
        groups = -(-self.count // ROWS)
        self.rows = Loop(Sym("group", 0, groups - 1), 0, groups, ())
        self.kept = {x: Buffer(x.name, x.dtype, (ROWS,), "shared") for x in _locals(s.body)}

    def launch(self) -> Launch:
        """A block for each group."""
        body: list[Stmt] = []
        waiting: list[Callable[[Dim], list[Stmt]]] = []  # what one thread does for its row

        def flush() -> None:
            if waiting:
                body.append(self.by_row(tuple(waiting)))
                waiting.clear()

        for x in self.s.body:
            if isinstance(x, Loop):
                flush()
                loops, after = self.loop(x)
                body += loops
                waiting += after
            else:
                waiting.append(functools.partial(self.outside, x))
        flush()
        rows = tuple(self.rows if x is self.plan.rows else x for x in self.s.rows)
        unit = f"groups of {ROWS} rows"
        return Launch(self.s.name, rows, tuple(body), THREADS, THREADS, unit=unit)

    def shared_out(self, s: Loop) -> Loop:
        """A new loop, which teams share out."""
        self.known[s] = True
        return s

    def row(self, r: Dim) -> tuple[_Env, list[Expr]]:
        """The variable of row ``r`` of the group, and the conditions under which there is one."""
        n, s = add(mul(expr(self.rows.var), ROWS), r), self.plan.rows
        inside: list[Expr] = [scalar("less", Index(n), Const(self.count, i64))] if self.count % ROWS else []
        return {s.var: add(s.lo, mul(n, s.step))}, inside

    def values(self, r: Dim) -> dict[Expr, Expr]:
        """The locals of row ``r``, where they are kept."""
        return {local: Load(t, (r,)) for local, t in self.kept.items()}

    def by_row(self, parts: Sequence[Callable[[Dim], list[Stmt]]]) -> Loop:
        """What is outside of the loops of rows: a thread does it for each."""
        var = Sym("r", 0, ROWS - 1)
        _, inside = self.row(expr(var))
        return self.shared_out(Loop(var, 0, ROWS, _where(inside, [x for part in parts for x in part(expr(var))])))

    def outside(self, s: Stmt, r: Dim) -> list[Stmt]:
        """A statement of row ``r``, with its locals in memory."""
        env, _ = self.row(r)
        memo = self.values(r)

        def kept(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
            return tuple(one(x) for x in body)

        def one(x: Stmt) -> Stmt:
            if isinstance(x, If):
                return with_lists(If(rewrite(x.cond, env, memo), x.then, x.orelse), kept)
            if isinstance(x, (Let, Assign)):
                value = rewrite(x.value, env, memo)
                return Store(self.kept[x.local], (r,), value, "=" if isinstance(x, Let) else x.mode)
            return substituted(x, env, dict(memo))

        return [one(s)]

    def loop(self, s: Loop) -> tuple[list[Stmt], list[Callable[[Dim], list[Stmt]]]]:
        """A loop of the rows in tiles, and what is to be done for each row after it."""
        sums, n = _sums(s), trips(s)
        parts = {local: Buffer(f"{local.name}_parts", local.dtype, (THREADS,), "shared") for local, _ in sums}
        tiles = {
            e: Buffer(f"{e.buffer.root.name}_tile", e.dtype, (ROWS, COLUMNS + PADDING), "shared")
            for e in self.plan.turned[s]
        }
        count = -(-n // COLUMNS)
        tile = Sym("tile", 0, count - 1)

        def elements(across: bool, make: Callable[[_Env, Place], list[Stmt]], *, sum_up: bool) -> Loop:
            """A loop over the threads, each with its elements of a tile; with ``sum_up`` it adds up sums of its own."""
            e, k = Sym("e", 0, THREADS - 1), Sym("k", 0, EACH - 1)
            tr, tc = Local("tr", i64), Local("tc", i64)
            near, far = mod(expr(e), ROWS if across else LANES), floordiv(expr(e), ROWS if across else LANES)
            first = (Let(tr, Index(near if across else far)), Let(tc, Index(far if across else near)))
            r = dynamic_between(tr, 0, ROWS - 1)
            c = add(dynamic_between(tc, 0, LANES - 1), mul(expr(k), LANES))
            env, inside = self.row(r)
            at = add(mul(expr(tile), COLUMNS), c)
            if n % COLUMNS:
                inside = [*inside, scalar("less", Index(at), Const(n, i64))]
            env = {**env, s.var: add(s.lo, mul(at, s.step))}
            loop = Loop(k, 0, EACH, _where(inside, make(env, (r, c))))
            begin = [Let(own[x], _zero(x, mode)) for x, mode in sums if sum_up]
            end = [Store(parts[x], (expr(e),), own[x], mode) for x, mode in sums if sum_up]
            return self.shared_out(Loop(e, 0, THREADS, (*first, *begin, loop, *end)))

        own = {local: Local(local.name, local.dtype) for local, _ in sums}

        def load(env: _Env, at: Place) -> list[Stmt]:
            return [Store(t, at, rewrite(e, env, {})) for e, t in tiles.items()]

        def run(env: _Env, at: Place) -> list[Stmt]:
            memo: dict[Expr, Expr] = {**self.values(at[0]), **own, **{e: Load(t, at) for e, t in tiles.items()}}
            return [substituted(x, env, memo) for x in s.body]

        across = self.plan.across
        body = [elements(not across, load, sum_up=False)] if tiles else []
        whole = Loop(tile, 0, count, (*body, elements(across, run, sum_up=True)))
        self.known[whole] = False  # the block runs its tiles together
        before: list[Stmt] = []
        if sums:
            e = Sym("e", 0, THREADS - 1)
            zeros = tuple(Store(parts[x], (expr(e),), _zero(x, mode)) for x, mode in sums)
            before.append(self.shared_out(Loop(e, 0, THREADS, zeros)))
        after = [functools.partial(self.total, parts[x], self.kept[x], x, mode) for x, mode in sums]
        return [*before, whole], after

    def total(self, parts: Buffer, kept: Buffer, local: Local, mode: str, r: Dim) -> list[Stmt]:
        """Add what the threads of row ``r`` have added up to its local."""
        q = Sym("q", 0, LANES - 1)
        at = add(mul(expr(q), ROWS), r) if self.plan.across else add(mul(r, LANES), expr(q))
        total = Local("total", local.dtype)
        return [
            Let(total, _zero(local, mode)),
            Loop(q, 0, LANES, (Assign(total, Load(parts, (at,)), mode),)),
            Store(kept, (r,), total, mode),
        ]


def _where(conditions: Sequence[Expr], body: Sequence[Stmt]) -> tuple[Stmt, ...]:
    return (If(functools.reduce(lambda a, b: a & b, conditions), tuple(body)),) if conditions else tuple(body)


def _zero(local: Local, mode: str) -> Const:
    return Const(IDENTITIES[mode](local.dtype), local.dtype)
