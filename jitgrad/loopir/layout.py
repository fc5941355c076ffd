"""The order of elements in memory: an array that innermost loops walk along another axis than the last gets that axis
last; one that they walk in steps of two has its even elements apart from the odd ones.

A walk down a column, or in steps, uses a part of every cache line and is vectorised badly or not at all. Temporaries
are laid out anew, which costs nothing. Arguments and results keep the caller's layout: a loop that walks them much more
often than they are large works on a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jitgrad.ir.index import Dim, IndexExpr, Quotient, Remainder, Sym, add, as_sym, expr, floordiv, mod, mul
from jitgrad.loopir.deps import trips
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import (
    Alloc,
    Buffer,
    Expr,
    LibCall,
    Load,
    Loop,
    Program,
    Stmt,
    Store,
    While,
    payloads,
)
from jitgrad.loopir.substitute import substituted, with_accesses
from jitgrad.loopir.walk import (
    expressions,
    lists_of,
    statements,
    subexpressions,
    with_lists,
)

#: How much more often an array must be walked along another axis than along the last.
CLEARLY = 2.0
#: How many times its size an argument or a result must be walked for a copy to pay.
COPY = 8.0
#: Fewer elements than this stay in the first cache anyway.
SMALL = 256

#: The longest step for which the elements of an axis are put apart.
STEP = 4

#: For an axis and a step, about how often innermost loops go that step along that axis.
Weights = dict[tuple[int, int], float]
Votes = dict[Buffer, Weights]


class _Layout(NamedTuple):
    """Another layout of an array: the axis ``axis`` is last, or (``step`` > 1) is the last one and is two axes, of the
    remainder and the quotient of a position by ``step``."""

    buffer: Buffer
    order: tuple[int, ...]
    step: int = 1

    def place(self, index: Sequence[Dim]) -> tuple[Dim, ...]:
        """Where an element is."""
        moved = tuple(index[k] for k in self.order)
        return moved if self.step == 1 else (*moved[:-1], mod(moved[-1], self.step), floordiv(moved[-1], self.step))

    @property
    def what(self) -> str:
        return f"axis {self.order[-1]} last" if self.step == 1 else f"every {self.step} elements of a row apart"


def layout(program: Program, notes: list[str]) -> Program:
    """Lay out arrays for the loops that use them."""
    fixed = _fixed(program)
    votes = [_votes(s, fixed) for s in program.body]
    total: Votes = {}
    for found in votes:
        for t, weights in found.items():
            known = total.setdefault(t, {})
            for key, count in weights.items():
                known[key] = known.get(key, 0.0) + count
    table: dict[Buffer, _Layout] = {}
    before: list[Stmt] = []
    after: list[Stmt] = []
    body = list(program.body)
    for t, weights in total.items():
        if t.kind in ("arg", "const"):
            body = _read_only(t, votes, body, before, notes)
            continue
        best = _best(t, weights)
        if best is None or (t.kind == "out" and _gain(t, weights, best) < COPY * _size(t)):
            continue
        table[t] = new = _new_layout(t, best)
        if t.kind == "out":
            after.append(_copy(t, new, back=True))
        notes.append(f"{t.name} is laid out with {new.what}: loops walk along it")
    if table:
        body = [_reindexed(s, table) for s in body]
    if not table and not before:
        return program
    return with_body(program, (_by_steps(s) for s in (*before, *body, *after)))


def _read_only(t: Buffer, votes: list[Votes], body: list[Stmt], before: list[Stmt], notes: list[str]) -> list[Stmt]:
    """Let the statements that walk an argument or a constant in another way use a copy."""
    chosen: dict[tuple[int, int], list[int]] = {}
    for k, found in enumerate(votes):
        best = _best(t, found[t]) if t in found else None
        if best is not None:
            chosen.setdefault(best, []).append(k)
    for best, where in chosen.items():
        if sum(_gain(t, votes[k][t], best) for k in where) < COPY * _size(t):
            continue
        new = _new_layout(t, best)
        if t.kind == "const" and new.step == 1:
            assert t.data is not None
            new.buffer.kind, new.buffer.data = "const", np.ascontiguousarray(t.data.transpose(new.order))
        else:
            before.append(_copy(t, new))
            notes.append(f"copy of {t.name} into {new.buffer.name}, with {new.what}: loops walk along it")
        for k in where:
            body[k] = _reindexed(body[k], {t: new})
    return body


def _size(t: Buffer) -> int:
    assert isinstance(t.size, int)
    return t.size


def _best(t: Buffer, weights: Weights) -> tuple[int, int] | None:
    """The axis that should be last, or the step by which the last one should be apart, if that is not as it is."""
    last = len(t.shape) - 1
    best = max(weights, key=lambda key: (weights[key], key == (last, 1)))
    axis, step = best
    others = sum(count for key, count in weights.items() if key != best)
    if best == (last, 1) or (axis != last and step != 1):
        return None
    rival = weights.get((last, 1), 0.0) if step == 1 else others
    return best if weights[best] > CLEARLY * rival else None


def _gain(t: Buffer, weights: Weights, best: tuple[int, int]) -> float:
    """How much more often an array is walked in one way than as it lies."""
    return weights[best] - weights.get((len(t.shape) - 1, 1), 0.0)


def _new_layout(t: Buffer, best: tuple[int, int]) -> _Layout:
    axis, step = best
    order = (*(k for k in range(len(t.shape)) if k != axis), axis)
    shape = tuple(t.shape[k] for k in order)
    if step > 1:
        last = shape[-1]
        assert isinstance(last, int)
        shape = (*shape[:-1], step, -(-last // step))
    return _Layout(Buffer(f"{t.name}_t", t.dtype, shape, loc=t.loc), order, step)


def _copy(t: Buffer, new: _Layout, back: bool = False) -> Stmt:
    """Copy an array into the new layout, or back."""
    variables = [Sym(f"{t.name}_{k}", 0, n - 1) for k, n in enumerate(t.shape) if isinstance(n, int)]
    index = tuple(expr(v) for v in variables)
    place = new.place(index)
    s: Stmt = Store(t, index, Load(new.buffer, place)) if back else Store(new.buffer, place, Load(t, index))
    for v, n in zip(reversed(variables), reversed(t.shape), strict=True):
        s = Loop(v, 0, n, (s,))
    return s


def _fixed(program: Program) -> set[Buffer]:
    """Roots that are used as a whole, through another shape, or in the heap; and those that a ``while`` fills row by
    row: what is left when it ends early is then in one piece, never touched."""
    found: set[Buffer] = {t.root for t in program.results if t.base is not None}
    for s in statements(program.body):
        if isinstance(s, LibCall):
            found.update(t.root for t in s.ins + s.outs)
        if isinstance(s, Alloc):
            found.add(s.buffer)
        if isinstance(s, While):
            stores = (x for x in statements(s.body) if isinstance(x, Store) and x.index)
            found.update(x.buffer.root for x in stores if any(payloads(x.index[0])))
        used = [e.buffer for e in subexpressions(expressions(s)) if isinstance(e, Load)]
        for t in (*used, s.buffer) if isinstance(s, Store) else used:
            if t.base is not None or not t.is_static or not t.shape or _size(t) < SMALL or t.kind == "inout":
                found.add(t.root)
    return found


def _votes(s: Stmt, fixed: set[Buffer]) -> Votes:
    """For every array, about how often an innermost loop goes along each axis, and in which steps."""
    votes: Votes = {}

    def vote(t: Buffer, index: Sequence[Dim], loops: Sequence[Loop], count: float) -> None:
        if t.root in fixed or not loops:
            return
        weights = votes.setdefault(t, {(len(t.shape) - 1, 1): 0.0})
        var = loops[-1].var
        along = [(k, e) for k, e in enumerate(index) if isinstance(e, IndexExpr) and var in e.syms()]
        if len(along) == 1:
            ((axis, position),) = along
            step = abs(dict(position.terms).get(var, 0) * loops[-1].step)
            if 1 <= step <= STEP:
                key = axis, step
                weights[key] = weights.get(key, 0.0) + count

    def visit(x: Stmt, loops: tuple[Loop, ...], count: float) -> None:
        for e in subexpressions(expressions(x)):
            if isinstance(e, Load):
                vote(e.buffer, e.index, loops, count)
        if isinstance(x, Store):
            vote(x.buffer, x.index, loops, count)
        if isinstance(x, Loop):
            loops, count = (*loops, x), count * trips(x)
        for body in lists_of(x):
            for y in body:
                visit(y, loops, count)

    visit(s, (), 1.0)
    return votes


def _reindexed(s: Stmt, table: dict[Buffer, _Layout]) -> Stmt:
    """A statement with these arrays in another layout."""
    return with_accesses(s, lambda t, index: (table[t].buffer, table[t].place(index)) if t in table else None)


def _by_steps(s: Stmt) -> Stmt:
    """Loops along an axis whose elements lie apart, as two loops: over the quotients and over the remainders. The order
    of the iterations stays."""
    s = with_lists(s, lambda body: tuple(map(_by_steps, body)))
    if not isinstance(s, Loop) or s.lo != 0 or s.step != 1 or not isinstance(s.hi, int):
        return s
    step = max((d for x in s.body if isinstance(x, Store) for d in _divisors(x, s.var)), default=1)
    if step == 1 or s.hi % step:
        return s
    quotient, remainder = Sym(s.var.name, 0, s.hi // step - 1), Sym(f"{s.var.name}_", 0, step - 1)
    env: dict[Sym, Dim] = {s.var: add(mul(expr(quotient), step), expr(remainder))}
    memo: dict[Expr, Expr] = {}
    inner = Loop(remainder, 0, step, tuple(substituted(x, env, memo) for x in s.body))
    return Loop(quotient, 0, s.hi // step, (inner,), 1, s.kind)


def _divisors(s: Store, var: Sym) -> Iterator[int]:
    """The numbers by which a variable is divided in the indices of a statement."""
    used = [e.index for e in subexpressions(expressions(s)) if isinstance(e, Load)]
    for d in (*s.index, *(d for index in used for d in index)):
        for term, _ in d.terms if isinstance(d, IndexExpr) else ():
            if isinstance(term, (Quotient, Remainder)) and as_sym(term.base) is var:
                yield term.divisor
