"""The order of nested loops: a loop that walks down columns goes outside one that walks along rows.

    for j in range(n):                      acc = zeros(n)
        acc = 0                             for k in range(m):
        for k in range(m):           =>         for j in range(n):
            acc += a[i, k] * b[k, j]                acc[j] += a[i, k] * b[k, j]
        c[i, j] -= acc                      for j in range(n):
                                                c[i, j] -= acc[j]

The inner loop is taken out of the outer one, after it or between two halves of it, where no iteration needs what a
later one does first; numbers that it shares with the rest become arrays. Then the two loops change places. A triangle
whose rows need the rows before is turned where it is (``jitgrad.loopir.turn``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from jitgrad.ir.index import Dim, IndexExpr, Sym, add, coefficients, expr, interval, mul
from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.deps import COMMUTE, MANY, Access, accesses, distance, trips, upwards, varies
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import Assign, Block, Buffer, Expr, Let, Load, Local, Loop, Program, Scalar, Stmt, Store
from jitgrad.loopir.reductions import any_order
from jitgrad.loopir.rewrite import map_payloads, rewrite
from jitgrad.loopir.substitute import substituted
from jitgrad.loopir.turn import at_positions, turned
from jitgrad.loopir.walk import expressions, rebuild, statements, subexpressions, with_lists, written

#: What a step along a row and any other step cost.
ROW, OTHER = 1, 8
#: Outer loops that run less often are left.
FEW = 8.0

#: How many recurrences run side by side: enough for vectors, and few enough for what they carry to stay in the cache.
MANY_LANES, LANES = 16, 1 << 14

Number = Local | Buffer


def interchange(program: Program, notes: list[str]) -> Program:
    """Reorder loops everywhere."""
    worker = _Worker(_everywhere(program))
    body: list[Stmt] = []
    for s in program.body:
        body += worker.statement(s)
    if worker.count:
        notes.append(f"loops that went outside, so that the innermost one walks along rows: {worker.count}")
    return with_body(program, body) if worker.count else program


def side_by_side(program: Program, notes: list[str]) -> Program:
    """Run recurrences that are independent of each other side by side, so that they are vectorised.

    for i in range(m):                      y = zeros(m)
        y = 0                               for k in range(n):
        for k in range(n):          =>          for i in range(m):
            y = y * x[i] + c[k]                     y[i] = y[i] * x[i] + c[k]
        z[i] = y                            z[:] = y
    """
    worker = _Worker(_everywhere(program))
    body = [new for s in program.body for new in worker.recurrences(s)]
    if worker.count:
        notes.append(f"loops that run their recurrences side by side: {worker.count}")
    return with_body(program, body) if worker.count else program


def _everywhere(program: Program) -> dict[Number, int]:
    """How many statements use each number."""
    found: dict[Number, int] = {}
    for s in statements(program.body):
        for t in _numbers(s):
            found[t] = found.get(t, 0) + 1
    return found


def _numbers(s: Stmt) -> set[Number]:
    """The locals, and the temporaries of one element, that a statement itself uses."""
    found: set[Number] = set()
    for e in subexpressions(expressions(s)):
        if isinstance(e, Local):
            found.add(e)
        elif isinstance(e, Load) and e.buffer.root.size == 1 and e.buffer.root.kind == "temp":
            found.add(e.buffer.root)
    if isinstance(s, (Let, Assign)):
        found.add(s.local)
    elif isinstance(s, Store) and s.buffer.root.size == 1 and s.buffer.root.kind == "temp":
        found.add(s.buffer.root)
    return found


class _Bounds(NamedTuple):
    """The two loops after the exchange: the new variables with their ranges."""

    outer: Sym
    inner: Sym
    ranges: tuple[tuple[Dim, Dim], tuple[Dim, Dim]]


class _Worker:
    def __init__(self, elsewhere: dict[Number, int]) -> None:
        self.elsewhere = elsewhere
        self.count = 0

    def statement(self, s: Stmt) -> list[Stmt]:
        """What takes the place of a statement."""

        def inside(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
            new = tuple(x for y in body for x in self.statement(y))
            return body if len(new) == len(body) and all(a is b for a, b in zip(new, body, strict=True)) else new

        s = with_lists(s, inside)
        if isinstance(s, Block) or not isinstance(s, Loop):
            return [s]
        found = self.split(s)
        return [s] if found is None else [x for y in found for x in self.statement(y)]

    def split(self, loop: Loop) -> list[Stmt] | None:
        """A loop with one of its inner loops taken out and exchanged with it; None where none should or may be."""
        plain = all(isinstance(s, (Store, Let, Assign)) or _innermost(s) for s in loop.body)
        low = interval(expr(loop.var))[0]
        if abs(loop.step) != 1 or not plain or low is None or low < 0 or trips(loop) < FEW:
            return None
        for k, inner in enumerate(loop.body):
            if not isinstance(inner, Loop) or abs(inner.step) != 1:
                continue
            bounds = _exchanged(loop, inner)
            found = None if bounds is None else self.piece(loop, k, inner, bounds)
            if found is None:
                apart = at_positions(loop, k)
                found = turned(loop, k, apart) if _pays(loop, apart) else None
            if found is not None:
                self.count += 1
                return found
        return None

    def piece(self, loop: Loop, k: int, inner: Loop, bounds: _Bounds) -> list[Stmt] | None:
        """A loop with its inner loop number ``k``, or one statement of that, taken out and exchanged with it."""
        for rest, single in _pieces(inner):
            whole = dataclasses.replace(loop, body=(*loop.body[:k], *rest, single, *loop.body[k + 1 :]))
            if _pays(loop, single) and _free(loop, single):
                found = self.taken_out(whole, k + len(rest), single, bounds)
                if found is not None:
                    return found
        return None

    def taken_out(self, loop: Loop, k: int, inner: Loop, bounds: _Bounds) -> list[Stmt] | None:
        before, after = loop.body[:k], loop.body[k + 1 :]
        private = self.private(loop)
        shared = self.shared(inner, (*before, *after), private)
        if shared is None:
            return None
        size = interval(expr(loop.var))[1]
        if shared and size is None:
            return None
        if _may_follow(loop, inner, before, after, private):
            parts = [(*before, *after), (inner,)]
        elif _may_part(loop, (before, (inner,), after), private):
            parts = [before, (inner,), after]
        else:
            return None
        arrays = {t: Buffer(f"{t.name}_", t.dtype, ((size or 0) + 1,)) for t in sorted(shared, key=lambda t: t.name)}
        result: list[Stmt] = []
        for part in parts:
            if not part:
                continue
            new = tuple(_expanded(s, arrays, expr(loop.var)) for s in part)
            if part == (inner,):
                (nest,) = new
                assert isinstance(nest, Loop)
                result.append(_nest(nest, loop.var, bounds))
            else:
                result.append(dataclasses.replace(loop, body=new))
        return result

    def recurrences(self, s: Stmt) -> list[Stmt]:
        """As :meth:`statement`, for :func:`side_by_side`."""
        s = with_lists(s, lambda body: tuple(new for x in body for new in self.recurrences(x)))
        found = self.apart(s) if isinstance(s, Loop) else None
        return [s] if found is None else found

    def apart(self, loop: Loop) -> list[Stmt] | None:
        """A loop around one recurrence as three loops: before it, the recurrence with the loops exchanged, after it."""
        plain = all(isinstance(s, (Store, Let, Assign)) or _innermost(s) for s in loop.body)
        places = [k for k, s in enumerate(loop.body) if isinstance(s, Loop)]
        loop = dataclasses.replace(loop, body=tuple(map(_as_update, loop.body)))
        lo, size = interval(expr(loop.var))
        if (
            not plain
            or len(places) != 1
            or lo is None
            or lo < 0
            or size is None
            or size >= LANES
            or trips(loop) < MANY_LANES
        ):
            return None
        k = places[0]
        before, inner, after = loop.body[:k], loop.body[k], loop.body[k + 1 :]
        assert isinstance(inner, Loop)
        changed = written((loop,))
        bounds = [v for d in (inner.lo, inner.hi) for v in _syms(d)]
        if any_order(inner) or any(varies(v, {loop.var}, changed) for v in bounds):
            return None
        private = self.private(loop)
        shared = self.shared(inner, (*before, *after), private)
        if shared is None or not any_order(loop, nested=True, private=private):
            return None
        arrays = {t: Buffer(f"{t.name}_", t.dtype, (size + 1,)) for t in sorted(shared, key=lambda t: t.name)}
        exchanged = dataclasses.replace(inner, body=(dataclasses.replace(loop, body=inner.body),))
        parts = (dataclasses.replace(loop, body=before), exchanged, dataclasses.replace(loop, body=after))
        self.count += 1
        return [_expanded(s, arrays, expr(loop.var)) for s in parts if s.body]

    def private(self, loop: Loop) -> set[Number]:
        """The numbers that every iteration computes for itself."""
        counts: dict[Number, int] = {}
        for s in statements(loop.body):
            for t in _numbers(s):
                counts[t] = counts.get(t, 0) + 1
        found: set[Number] = set()
        seen: set[Number] = set()
        for s in loop.body:
            made: Number | None = s.local if isinstance(s, Let) else None
            if isinstance(s, Store) and s.mode == "=" and s.buffer.root.size == 1 and s.buffer.root.kind == "temp":
                made = s.buffer.root
            reads = {e if isinstance(e, Local) else e.buffer.root for e in _leaves(s)}
            if made is not None and made not in seen | reads and counts.get(made) == self.elsewhere.get(made):
                found.add(made)
            for x in statements((s,)):
                seen |= _numbers(x)
        return found

    def shared(self, inner: Loop, others: Iterable[Stmt], private: set[Number]) -> set[Number] | None:
        """The private numbers that an inner loop shares with the rest; None where it uses others that change."""
        mine = set().union(*(_numbers(s) for s in statements((inner,))))
        own = {s.local for s in statements(inner.body) if isinstance(s, Let)}
        changed = written((inner,)) | written(others)
        if any(t in changed for t in mine - private - own if isinstance(t, Local)):
            return None
        theirs = set().union(*(_numbers(s) for s in statements(others)))
        return mine & theirs & private


def _as_update(s: Stmt) -> Stmt:
    """``t[] = t[] + e`` as ``t[] += e``."""
    if not isinstance(s, Store) or s.mode != "=" or s.buffer.root.size != 1 or not isinstance(s.value, Scalar):
        return s
    own = Load(s.buffer, s.index)
    if s.value.op != "add" or own not in s.value.args:
        return s
    other = s.value.args[s.value.args[0] is own]
    if any(isinstance(e, Load) and e.buffer.root is s.buffer.root for e in subexpressions((other,))):
        return s
    return dataclasses.replace(s, value=other, mode="+=")


def _leaves(s: Stmt) -> Iterable[Local | Load]:
    return (e for e in subexpressions(expressions(s)) if isinstance(e, (Local, Load)))


def _innermost(s: Stmt) -> bool:
    return isinstance(s, Loop) and all(isinstance(x, (Store, Let, Assign)) for x in s.body)


def _pieces(inner: Loop) -> Iterator[tuple[tuple[Loop, ...], Loop]]:
    """An inner loop, as a whole and as one statement of it after a loop of the others."""
    yield (), inner
    if len(inner.body) < 2 or not all(isinstance(s, Store) for s in inner.body):
        return
    for s in inner.body:
        others = tuple(x for x in inner.body if x is not s)
        if not any(True for _ in _conflicts(inner, (s,), others, set())):
            yield (dataclasses.replace(inner, body=others),), dataclasses.replace(inner, body=(s,))


def _pays(loop: Loop, inner: Loop) -> bool:
    """Whether the innermost loop would walk along rows much more than it does."""
    costs = {loop.var: 0, inner.var: 0}
    for s in inner.body:
        places = [(e.buffer, e.index, 1) for e in subexpressions(expressions(s)) if isinstance(e, Load)]
        if isinstance(s, Store):
            places.append((s.buffer, s.index, 1 if s.mode == "=" else 2))
        if isinstance(s, Assign):
            costs[loop.var] += 2  # it becomes an array
        for buffer, index, weight in places:
            view = coefficients(flatten_index(buffer.shape, index))
            if view is None:
                return False
            for v in costs:
                stride = abs(view[1].get(v, 0))
                costs[v] += 0 if stride == 0 else weight * (ROW if stride == 1 else OTHER)
    return costs[inner.var] >= OTHER and costs[inner.var] > 2 * costs[loop.var]


def _exchanged(loop: Loop, inner: Loop) -> _Bounds | None:
    """The bounds after the exchange: of a rectangle, or of a triangle where one bound is the outer variable."""
    (lo, hi), (a, b) = upwards(loop), upwards(inner)
    v = loop.var
    in_a, in_b = v in _syms(a), v in _syms(b)
    if not in_a and not in_b:
        outer = Sym(inner.var.name, a, add(b, -1))
        return _Bounds(outer, Sym(v.name, lo, add(hi, -1)), ((a, b), (lo, hi)))
    c = add(b if in_b else a, mul(expr(v), -1))
    if (in_a and in_b) or v in _syms(c):
        return None
    if in_b:  # inner in [a, v + c): v in [inner - c + 1, hi)
        if not _at_least(add(add(a, mul(c, -1)), 1), lo):
            return None
        outer = Sym(inner.var.name, a, add(add(hi, c), -2))
        start = add(add(expr(outer), mul(c, -1)), 1)
        return _Bounds(outer, Sym(v.name, start, add(hi, -1)), ((a, add(add(hi, c), -1)), (start, hi)))
    if not _at_least(hi, add(b, mul(c, -1))):  # inner in [v + c, b): v in [lo, inner - c + 1)
        return None
    outer = Sym(inner.var.name, add(lo, c), add(b, -1))
    end = add(add(expr(outer), mul(c, -1)), 1)
    return _Bounds(outer, Sym(v.name, lo, add(end, -1)), ((add(lo, c), b), (lo, end)))


def _syms(e: Dim) -> frozenset[Sym]:
    return e.syms() if isinstance(e, IndexExpr) else frozenset()


def _at_least(x: Dim, y: Dim) -> bool:
    low = interval(add(x, mul(y, -1)))[0]
    return low is not None and low >= 0


def _nest(inner: Loop, var: Sym, bounds: _Bounds) -> Stmt:
    """The inner loop outside, over one that takes the place of the outer loop, whose variable is ``var``."""
    env: dict[Sym, Dim] = {inner.var: expr(bounds.outer), var: expr(bounds.inner)}
    memo: dict[Expr, Expr] = {}
    body = tuple(substituted(s, env, memo) for s in inner.body)
    (a, b), (lo, hi) = bounds.ranges
    return Loop(bounds.outer, a, b, (Loop(bounds.inner, lo, hi, body),))


def _expanded(s: Stmt, arrays: dict[Number, Buffer], at: Dim) -> Stmt:
    """A statement with an element of an array in place of each of these numbers."""
    if not arrays:
        return s
    memo: dict[Expr, Expr] = {}
    for x in statements((s,)):
        for e in _leaves(x):
            t = e if isinstance(e, Local) else e.buffer.root
            if t in arrays:
                memo[e] = Load(arrays[t], (at,))

    def visit(e: Expr) -> Expr:
        return rewrite(e, {}, memo)

    def store(x: Store) -> Stmt:
        if x.buffer.root in arrays:
            return Store(arrays[x.buffer.root], (at,), x.value, x.mode)
        index = tuple(map_payloads(i, visit) for i in x.index)
        return x if index == x.index else dataclasses.replace(x, index=index)

    def declared(x: Stmt) -> Stmt:
        """Locals as stores; they are not in loops deeper than one."""
        if isinstance(x, (Let, Assign)) and x.local in arrays:
            return Store(arrays[x.local], (at,), x.value, getattr(x, "mode", "="))
        return with_lists(x, lambda body: tuple(map(declared, body)))

    return declared(rebuild(s, visit, store))


# Legality


def _conflicts(
    loop: Loop, first: Sequence[Stmt], second: Sequence[Stmt], private: set[Number]
) -> Iterable[tuple[int | None, int | None]]:
    """For every two accesses of one element, how many iterations the one in ``second`` may come after the other."""
    inner = {s.var for s in statements((loop,)) if isinstance(s, Loop)}
    changed = written((loop,))
    left, right = list(accesses(first)), list(accesses(second))
    if len(left) * len(right) > MANY * MANY:
        yield None, None
        return
    for x in left:
        for y in right:
            if x.root is not y.root or x.root in private or not _matters(x, y):
                continue
            if x.index is None or y.index is None:
                yield None, None
                continue
            found = distance(x.index, y.index, loop.var, lambda v: varies(v, inner, changed))
            if found is not None:
                lo, hi = found
                yield (lo, hi) if loop.step > 0 else (None if hi is None else -hi, None if lo is None else -lo)


def _matters(x: Access, y: Access) -> bool:
    """Whether the order of two accesses of one element matters."""
    return (x.mode is not None or y.mode is not None) and not (x.mode == y.mode and x.mode in COMMUTE)


def _may_follow(loop: Loop, inner: Loop, before: Sequence[Stmt], after: Sequence[Stmt], private: set[Number]) -> bool:
    """Whether all iterations of the inner loop may come after all of the rest."""
    numbers = written((inner,)) & private
    if any(numbers & _numbers(x) for s in after for x in statements((s,))):
        return False
    return all(hi is not None and hi <= 0 for _, hi in _conflicts(loop, (inner,), before, private)) and all(
        hi is not None and hi < 0 for _, hi in _conflicts(loop, (inner,), after, private)
    )


def _may_part(loop: Loop, parts: Sequence[Sequence[Stmt]], private: set[Number]) -> bool:
    """Whether all iterations of one part may come before all of the next."""
    # Numbers that two parts share, other than those that become arrays.
    used = [set().union(*(_numbers(x) for x in statements(part))) for part in parts]
    if (used[0] & used[2]) - used[1]:
        return False
    return all(
        lo is not None and lo >= 0
        for j in range(3)
        for i in range(j)
        for lo, _ in _conflicts(loop, parts[i], parts[j], private)
    )


def _free(loop: Loop, inner: Loop) -> bool:
    """Whether the iterations of the two loops may run in any order."""
    inside = {loop.var, inner.var}
    changed = written((inner,))
    found = list(accesses(inner.body))
    own = {s.local for s in inner.body if isinstance(s, Let)}
    if any(isinstance(s, Assign) and s.local not in own and s.mode not in COMMUTE for s in inner.body):
        return False
    if len(found) > MANY:
        return False
    for x in found:
        for y in found:
            if x.root is not y.root or not _matters(x, y):
                continue
            if x.index is None or y.index is None:
                return False
            for v in (loop.var, inner.var):
                if distance(x.index, y.index, v, lambda s: varies(s, inside, changed)) not in (None, (0, 0)):
                    return False
    return True
