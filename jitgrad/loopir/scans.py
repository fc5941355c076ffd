"""Scans: loops in which each iteration adds something to a number, and uses what all before it have added up.

What the iterations add does not depend on the sums, and sums can be added up in any grouping. So such a loop is three:
what is added, the sums of that, and the rest of the iterations, each given its sum (Blelloch, *Prefix Sums and Their
Applications*, 1990). The three run in chunks: first the totals of all, then a scan of those, then all chunks at once.

So do recurrences ``s = a * s + b``, where neither a nor b depends on s (``affine``): what an iteration adds is a pair.
Products of many factors may overflow though the sums don't: where s is then 0 it stays so, elsewhere it gets infinite.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from jitgrad.ir.index import Dim, IndexExpr, Sym, add, expr, floordiv, mul, substitute
from jitgrad.ir.types import f32, f64, i32, i64, is_float
from jitgrad.loopir.affine import Line, depends, is_scaled, line, scaled
from jitgrad.loopir.build import IDENTITIES
from jitgrad.loopir.deps import span
from jitgrad.loopir.nodes import Assign, Buffer, Const, Expr, Fail, Let, Load, Local, Loop, Scalar, Stmt, Store, scalar
from jitgrad.loopir.rewrite import rewrite
from jitgrad.loopir.schedule import loop_sums
from jitgrad.loopir.substitute import substituted
from jitgrad.loopir.walk import expressions, loads, read_roots, statements, subexpressions, written_roots

#: Ways to add up, and the operations that they are.
OPERATIONS = {"+=": "add", "*=": "multiply", "max=": "maximum", "min=": "minimum"}
_DTYPES = (f32, f64, i32, i64)


class Carried(NamedTuple):
    """A local that a loop carries, how it is added up, and the local that is what an iteration adds. With a ``factor``
    the local is multiplied by that first."""

    local: Local
    mode: str
    part: Local
    factor: Local | None = None

    @property
    def parts(self) -> tuple[Local, ...]:
        """What an iteration adds, and its factor."""
        return (self.part,) if self.factor is None else (self.factor, self.part)


class Scan(NamedTuple):
    """A loop that carries sums.

    first : what an iteration adds. The statements set all parts, store nothing and read no sums.
    rest : the iteration, given the parts, and the sums of the iterations before.
    apart : the loop as if nobody used the sums. Only where its iterations are independent is the loop a scan.
    """

    carried: tuple[Carried, ...]
    first: tuple[Stmt, ...]
    rest: tuple[Stmt, ...]
    apart: Loop


def sums_beside(scan: Scan) -> list[tuple[Local, str]]:
    """The locals that a scan only updates, beside those that it carries, with the mode."""
    found = loop_sums(scan.apart)
    assert not isinstance(found, str), found
    parts = {x for c in scan.carried for x in c.parts}
    return [(local, mode) for local, mode in found if local not in parts]


def scan_of(s: Loop) -> Scan | None:
    """A loop as a scan, if its iterations are those of one, but for what they share in memory."""
    inside = list(statements(s.body))
    own = {x.local for x in inside if isinstance(x, Let)}
    read = {e for x in inside for e in subexpressions(expressions(x)) if isinstance(e, Local)}
    assigned = [x for x in inside if isinstance(x, Assign) and x.local not in own and x.local in read]
    changed = {x.local for x in inside if isinstance(x, Assign)}
    lets = {x.local: x.value for x in s.body if isinstance(x, Let) and x.local not in changed}
    carried: dict[Stmt, Carried] = {}
    adding: dict[Stmt, tuple[Assign, ...]] = {}
    lines: dict[Stmt, list[Stmt]] = {}
    for x in assigned:
        if x not in s.body or x.local in {c.local for c in carried.values()}:
            return None
        found = _addition(x, _named(x, lets, changed))
        if found is not None:
            carried[x] = Carried(x.local, found[0], Local("part", x.local.dtype))
            adding[x] = (Assign(carried[x].part, found[1]),)
            continue
        recurrence = _recurrence(s.body, x, lines)
        if recurrence is None:
            return None
        carried[x] = Carried(x.local, "+=", *(Local(name, x.local.dtype) for name in ("part", "factor")))
        adding[x] = tuple(Assign(p, e) for p, e in zip(carried[x].parts, recurrence, strict=True))
    if not carried or any(isinstance(x, Fail) for x in inside):
        return None
    needed = _needed(s.body, adding, lines)
    first = [y for x in s.body for y in adding.get(x, needed.get(x, ()))]
    if written_roots(first) or _locals(first) & {c.local for c in carried.values()}:
        return None
    for k, x in enumerate(s.body):  # all this comes before anything is stored
        if read_roots(adding.get(x, needed.get(x, ()))) & written_roots(s.body[:k]):
            return None
    body: list[Stmt] = []
    apart: list[Stmt] = []
    for x in s.body:
        c = carried.get(x)
        body.append(x if c is None or c.factor is not None else Assign(c.local, c.part, c.mode))
        if c is None:
            apart += dict.fromkeys((x, *needed.get(x, ())))
        else:
            apart += (dataclasses.replace(y, mode=c.mode) for y in adding[x])
    rest = _without(body, needed)
    return Scan(tuple(carried.values()), tuple(first), tuple(rest), dataclasses.replace(s, body=tuple(apart)))


def _recurrence(body: Sequence[Stmt], x: Assign, lines: dict[Stmt, list[Stmt]]) -> tuple[Expr, Expr] | None:
    """The factor and the rest of an assignment ``local = factor * local + rest``. ``lines`` gets, for statements before
    it that give names to what depends on the local, those that give names to factors and rests of it."""
    dtype = x.local.dtype
    if dtype not in _DTYPES or x.mode not in ("=", "+="):
        return None
    known: dict[Local, Line | None] = {x.local: Line(Const(1, dtype), None)}
    for y in body[: body.index(x)]:
        if isinstance(y, (Let, Assign)) and (isinstance(y, Let) or y.mode == "="):
            known.pop(y.local, None)
            if not depends(y.value, known):
                continue
            found = known[y.local] = line(y.value, known) if y.local.dtype == dtype else None
            if found is not None:
                names = [None if e is None else Local(y.local.name, dtype) for e in found]
                named = zip(names, found, strict=True)
                lines.setdefault(y, []).extend(Let(n, e) for n, e in named if n is not None and e is not None)
                known[y.local] = Line(*names)
        elif any(z in known for z in _locals((y,))):
            known.update(dict.fromkeys(_set(y)))
        else:
            known.update(dict.fromkeys(_set(y) & known.keys()))
    value = x.value if x.mode == "=" else x.local + x.value
    found = line(value, known)
    if found is None:
        return None
    zero = Const(0, dtype)
    factor, rest = (zero if e is None else e for e in found)
    guarded = any(is_scaled(e) for e in subexpressions((value,)))
    if is_float(dtype) and not isinstance(factor, Const) and not guarded:
        rest = rest + factor * 0  # what an infinite factor leaves is not a number, also where it meets a 0
    return factor, rest


def _named(x: Assign, lets: Mapping[Local, Expr], changed: set[Local]) -> Expr:
    """What is assigned; of a local that has a name only, what that is, if it is still the same."""
    value = lets.get(x.value, x.value) if isinstance(x.value, Local) else x.value
    stale = (changed - {x.local}) & {e for e in subexpressions((value,)) if isinstance(e, Local)}
    return x.value if stale else value


def _addition(x: Assign, value: Expr) -> tuple[str, Expr] | None:
    """An assignment as an addition to a local: how, and of what."""
    if x.local.dtype not in _DTYPES:
        return None
    if x.mode in OPERATIONS:
        return None if x.local in subexpressions((value,)) else (x.mode, value)
    for mode, op in OPERATIONS.items():
        added = _added(value, x.local, op) if x.mode == "=" else None
        if added is not None:
            return mode, added
    return None


def _added(e: Expr, local: Local, op: str) -> Expr | None:
    """What ``e`` adds to a local: it is ``op(local, x)`` for the returned ``x``, in which the local is not."""
    if not isinstance(e, Scalar) or e.op not in (op, "subtract" if op == "add" else op):
        return None
    for x, y in (e.args, e.args[::-1])[: 2 if e.op == op else 1]:
        if local in subexpressions((y,)):
            continue
        if e.op != op:
            y = -y
        if x is local:
            return y
        inner = _added(x, local, op)
        if inner is not None:
            return scalar(op, inner, y)
    return None


def _locals(stmts: Sequence[Stmt]) -> set[Local]:
    """The locals that some statements mention."""
    found = {x.local for x in statements(stmts) if isinstance(x, (Let, Assign))}
    for x in statements(stmts):
        found.update(e for e in subexpressions(expressions(x)) if isinstance(e, Local))
    return found


def _set(s: Stmt) -> set[Local]:
    return {x.local for x in statements((s,)) if isinstance(x, (Let, Assign))}


def _needed(
    body: Sequence[Stmt], adding: Mapping[Stmt, Sequence[Assign]], lines: Mapping[Stmt, Sequence[Stmt]]
) -> dict[Stmt, tuple[Stmt, ...]]:
    """The statements of a body that set locals which what is added depends on, before it is: for each, itself or what
    ``lines`` has for it."""
    wanted: set[Local] = set()
    found: dict[Stmt, tuple[Stmt, ...]] = {}
    for s in reversed(body):
        if s in adding:
            wanted |= _locals(adding[s])
            continue
        chosen = tuple(x for x in (s, *lines.get(s, ())) if _set(x) & wanted)
        if chosen:
            found[s] = chosen
            wanted |= _locals(chosen)
    return found


def _without(stmts: Sequence[Stmt], needed: Collection[Stmt]) -> list[Stmt]:
    """Statements without those of the needed ones that only served to know what is added."""
    kept: list[Stmt] = []
    for s in reversed(stmts):
        if s not in needed or _set(s) & _locals(kept):
            kept.insert(0, s)
    return kept


# What is carried in memory


def carried_in_locals(s: Loop) -> list[Stmt]:
    """A loop that stores elements, and in the next iteration reads them to compute the next ones, with those numbers in
    locals, which are declared before it."""
    n = span(s)
    if not isinstance(n, int) or n <= 0:
        return [s]  # it may not run, and then nothing is read
    before: list[Stmt] = []
    for store in s.body:
        new = _with_local(s, store) if isinstance(store, Store) and store.mode in ("=", "+=") else None
        if new is not None:
            before.append(new[0])
            s = new[1]
    return [*before, s]


def _with_local(s: Loop, store: Store) -> tuple[Let, Loop] | None:
    """A loop with what one statement stores in a local, if that is the only one to write the array, and apart from it
    only its last element is read."""
    t = store.buffer
    k = next((k for k, x in enumerate(s.body) if isinstance(x, Store) and x.buffer.root is t.root), 0)
    store = s.body[k]  # pyright: ignore[reportAssignmentType]  (others may be in locals by now, and it reads those)
    index = tuple(substitute(i, {s.var: add(expr(s.var), -s.step)}) for i in store.index)
    last, here = Load(t, index), Load(t, store.index)
    stores = [x for x in statements(s.body) if isinstance(x, Store) and x.buffer.root is t.root]
    read = {e for e in loads(s.body) if e.buffer.root is t.root}
    if len(stores) > 1 or last is here or last not in read or read - {last, here}:
        return None
    if any(v.payload is not None for i in index for v in _symbols(i)):
        return None
    local = Local(t.name, t.dtype)
    memo: dict[Expr, Expr] = {last: local}
    value = rewrite(store.value, {}, memo)
    if store.mode == "+=":
        value = here + value
    new: list[Stmt] = [Assign(local, value), Store(t, store.index, local)]
    after = s.body[k + 1 :]
    if last in loads(after):  # the local has the next one by then
        old = Local(t.name, t.dtype)
        new.insert(0, Let(old, local))
        later: dict[Expr, Expr] = {last: old}
        after = tuple(substituted(x, {}, later) for x in after)
    body = (*(substituted(x, {}, memo) for x in s.body[:k]), *new, *after)
    first = tuple(substitute(i, {s.var: s.lo}) for i in index)
    return Let(local, Load(t, first)), dataclasses.replace(s, body=body)


def _symbols(i: Dim) -> frozenset[Sym]:
    return i.syms() if isinstance(i, IndexExpr) else frozenset()


# Chunks


class Chunks(NamedTuple):
    """A scan in chunks: a loop over them that stores their totals, one that makes of these the sums of all before each
    chunk, and one that runs the chunks. The first and the last have independent iterations."""

    totals: Loop
    starts: Loop
    run: Loop


def in_chunks(s: Loop, scan: Scan, chunks: int) -> Chunks:
    """A loop that runs a known number of times, as a scan in chunks."""
    n = span(s)
    assert isinstance(n, int)
    trips = -(-n // abs(s.step))

    def chunk(at: Dim, body: Sequence[Stmt]) -> Loop:
        lo, hi = (add(s.lo, mul(floordiv(mul(k, trips), chunks), s.step)) for k in (at, add(at, 1)))
        return dataclasses.replace(s, lo=lo, hi=hi, body=tuple(body))

    def over_chunks() -> tuple[Sym, Dim]:
        var = Sym("chunk", 0, chunks - 1)
        return var, expr(var)

    def stored(c: Carried, what: str) -> Buffer:
        return Buffer(f"{c.local.name}_{what}", c.local.dtype, (chunks,))

    totals = {c: stored(c, "parts") for c in scan.carried}
    factors = {c: stored(c, "factors") for c in scan.carried if c.factor is not None}
    starts = {c: stored(c, "starts") for c in scan.carried}

    var, at = over_chunks()
    mine: dict[Carried, Local] = {c: Local(c.local.name, c.local.dtype) for c in scan.carried}
    products = {c: Local(f"{c.local.name}_factor", c.local.dtype) for c in factors}
    zeros = [Let(x, Const(IDENTITIES[c.mode](x.dtype), x.dtype)) for c, x in mine.items()]
    zeros += [Let(x, Const(1, x.dtype)) for x in products.values()]
    sums = {c.part: c for c in scan.carried}
    added: list[Stmt] = []
    for x in scan.first:
        c = sums.get(x.local) if isinstance(x, Assign) else None
        if isinstance(x, Assign) and c is not None and c.factor is None:
            added.append(Assign(mine[c], x.value, c.mode))
        elif isinstance(x, Assign) and c is not None and c.factor is not None:
            added += (
                Let(c.part, x.value),
                Assign(mine[c], scaled(c.factor, mine[c]) + c.part),
                Assign(products[c], c.factor, "*="),
            )
        elif isinstance(x, Assign) and x.local in {c.factor for c in factors}:
            added.append(Let(x.local, x.value))
        else:
            added.append(x)
    ends = [Store(totals[c], (at,), x) for c, x in mine.items()]
    ends += [Store(factors[c], (at,), x) for c, x in products.items()]
    first = Loop(var, 0, chunks, (*zeros, chunk(at, added), *ends))

    var, at = over_chunks()
    before = [Store(starts[c], (at,), c.local) for c in scan.carried]
    more: list[Stmt] = []
    for c in scan.carried:
        total = Load(totals[c], (at,))
        whole = scaled(Load(factors[c], (at,)), c.local) + total if c in factors else None
        more.append(Assign(c.local, total, c.mode) if whole is None else Assign(c.local, whole))
    middle = Loop(var, 0, chunks, (*before, *more))

    var, at = over_chunks()
    mine = {c: Local(c.local.name, c.local.dtype) for c in scan.carried}
    renamed: dict[Expr, Expr] = {c.local: x for c, x in mine.items()}
    begin = [Let(x, Load(starts[c], (at,))) for c, x in mine.items()]
    body = [substituted(x, {}, renamed) for x in s.body]
    return Chunks(first, middle, Loop(var, 0, chunks, (*begin, chunk(at, body))))
