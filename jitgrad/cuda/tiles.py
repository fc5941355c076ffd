"""Transposes: rows in square tiles, which pass through shared memory.

Neighbouring threads run neighbouring iterations of the innermost row loop, *along* which most arrays are read and
written element by element. An array that is read that way along another row loop, *across*, would be read a whole row
apart by each thread. So blocks take tiles of :data:`SIDE` iterations of either loop. Before the body they load the
tiles of such arrays into shared memory, with neighbouring threads across; the body reads those, with neighbouring
threads along.

Thread ``e`` has the elements ``(e // SIDE + STRIPE * k, e % SIDE)`` of a tile, or with neighbouring threads across
those of the transpose. A row of a tile has one more column than is used: in memory of 32 banks, 32 elements above each
other then lie in different ones, as those beside each other do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from jitgrad.cuda.steps import Launch
from jitgrad.cuda.teams import static_trips
from jitgrad.ir.index import Dim, IndexExpr, Sym, Term, add, expr, floordiv, mod, mul
from jitgrad.ir.types import i64
from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.nodes import (
    Assign,
    Buffer,
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
from jitgrad.loopir.substitute import substituted
from jitgrad.loopir.walk import expressions, statements, subexpressions, written_roots

#: Elements of a side of a tile, threads of a block, and rows of a tile that those have at once.
SIDE, THREADS = 32, 256
STRIPE = THREADS // SIDE
#: Iterations of a loop that are worth a tile: it is half full.
LEAST_TRIPS = SIDE // 2
#: Elements apart, from which on neighbouring threads share nothing that comes from memory at once.
APART = 8
#: Bytes of the tiles of a block: four of float32. With so many, the threads of all blocks still fill a multiprocessor.
BYTES = 4 * SIDE * (SIDE + 1) * 4


def tiled(s: Launch, known: dict[Loop, bool]) -> Launch:
    """The launch with its rows in tiles, if a thread runs each and some of its loads move across; else as it is.

    ``known`` is told that teams share out the loops over the elements of a tile: the rows were independent.
    """
    if s.team != 1 or not s.rows or not _plain(s.body) or not _long(s.rows[-1]):
        return s
    along = s.rows[-1]
    found = [(x, _turned(s.body, x, along)) for x in s.rows[:-1] if _long(x)]
    across, turned = max(found, key=lambda pair: _nbytes(pair[1]), default=(along, []))
    return _in_tiles(s, across, along, turned, known) if turned else s


def _plain(body: Sequence[Stmt]) -> bool:
    """Whether a body is without loops and checks, and only stores whole values: updates may be atomic."""
    found = list(statements(body))
    return all(isinstance(x, (Let, Assign, If)) or (isinstance(x, Store) and x.mode == "=") for x in found)


def _long(s: Loop) -> bool:
    return trips(s) >= LEAST_TRIPS


def trips(s: Loop) -> int:
    """How often a loop of rows runs."""
    n = static_trips(s)
    assert n is not None, "the bounds of rows are numbers"
    return n


def _nbytes(tiles: Iterable[Load]) -> int:
    return sum(SIDE * (SIDE + 1) * e.dtype.itemsize for e in tiles)


# What is read through tiles


def _turned(body: Sequence[Stmt], across: Loop, along: Loop) -> list[Load]:
    """The loads that move across, as far as there is room for their tiles.

    Tiles are loaded before the body runs. So these are loads that the body always makes, not only in a branch, and
    that don't depend on what it does.
    """
    written = written_roots(body)
    chosen: list[Load] = []
    for e in dict.fromkeys(e for s in body for e in in_order(expressions(s))):
        fits = _nbytes((*chosen, e)) <= BYTES
        if fits and moves_across(e, across, along) and not needs_body(e, written):
            chosen.append(e)
    return chosen


def in_order(roots: Iterable[Expr]) -> list[Load]:
    """The loads of some expressions, in an order that depends on their structure only."""
    found: dict[Load, None] = {}
    stack = list(roots)[::-1]
    while stack:
        e = stack.pop()
        if isinstance(e, Load):
            found.setdefault(e)
        stack += reversed(e.children())
    return list(found)


def needs_body(e: Load, written: Collection[Buffer]) -> bool:
    """Whether a load is of what the body writes, or from where its locals say."""
    parts = subexpressions((e,))
    return any(isinstance(x, Local) or (isinstance(x, Load) and x.buffer.root in written) for x in parts)


def moves_across(e: Load | Store, across: Loop, along: Loop) -> bool:
    """Whether a load goes to the neighbouring element from one iteration across to the next, and far along."""
    offset = flatten_index(e.buffer.shape, e.index)
    if not isinstance(offset, IndexExpr):
        return False
    steps = dict(offset.terms)
    others = frozenset[Sym]().union(*(_variables(v) for v in steps if v not in (across.var, along.var)))
    if abs(steps.get(across.var, 0) * across.step) != 1 or across.var in others:
        return False
    return abs(steps.get(along.var, 0) * along.step) >= APART or along.var in others


def _variables(term: Term) -> frozenset[Sym]:
    """The symbols of a term of an index, those of its dynamic parts included."""
    own = term.syms()
    return own.union(*(v.payload.syms() for v in own if v.payload is not None))


# Tiles

#: An element of a tile, and loop variables with what takes their place.
Place = tuple[Dim, Dim]
_Env = Mapping[Sym, Dim]


def _in_tiles(s: Launch, across: Loop, along: Loop, turned: Sequence[Load], known: dict[Loop, bool]) -> Launch:
    """The launch with a block for each tile, and some loads through shared memory."""
    tiles = {e: Buffer(f"{e.buffer.root.name}_tile", e.dtype, (SIDE, SIDE + 1), "shared") for e in turned}
    counts = {x: -(-trips(x) // SIDE) for x in (across, along)}
    rows = {x: Loop(Sym("tile", 0, n - 1), 0, n, ()) for x, n in counts.items()}

    def load(at: Place, env: _Env) -> list[Stmt]:
        return [Store(tile, at, rewrite(e, env, {})) for e, tile in tiles.items()]

    def run(at: Place, env: _Env) -> list[Stmt]:
        memo: dict[Expr, Expr] = {e: Load(tile, at) for e, tile in tiles.items()}
        return [substituted(x, env, memo) for x in s.body]

    body = _elements(rows, load, turn=True), _elements(rows, run, turn=False)
    known.update(dict.fromkeys(body, True))
    return Launch(s.name, tuple(rows.get(x, x) for x in s.rows), body, THREADS, THREADS, unit="tiles")


def _elements(rows: Mapping[Loop, Loop], make: Callable[[Place, _Env], list[Stmt]], *, turn: bool) -> Loop:
    """A loop over the threads of a block, each with its elements of a tile. ``rows`` are the loops across and along,
    with those over tiles. With ``turn`` neighbouring threads have neighbours across, else along."""
    e, k = Sym("e", 0, THREADS - 1), Sym("k", 0, SIDE // STRIPE - 1)
    tx, ty = Local("tx", i64), Local("ty", i64)
    near = dynamic_between(tx, 0, SIDE - 1)
    far = add(dynamic_between(ty, 0, STRIPE - 1), mul(expr(k), STRIPE))
    at = (near, far) if turn else (far, near)
    counts = {s: add(mul(expr(tile.var), SIDE), p) for (s, tile), p in zip(rows.items(), at, strict=True)}
    body = make(at, {s.var: add(s.lo, mul(n, s.step)) for s, n in counts.items()})
    # The last tiles may not be full.
    inside = [scalar("less", Index(n), Const(trips(s), i64)) for s, n in counts.items() if trips(s) % SIDE]
    if inside:
        body = [If(functools.reduce(lambda a, b: a & b, inside), tuple(body))]
    first = Let(tx, Index(mod(expr(e), SIDE))), Let(ty, Index(floordiv(expr(e), SIDE)))
    return Loop(e, 0, THREADS, (*first, Loop(k, 0, SIDE // STRIPE, tuple(body))))
