"""Transcendental functions as scalar arithmetic (:mod:`jitgrad.loopir.expansions`), so that LLVM vectorises the loop
around them. Without it ``exp`` in a loop is a scalar call of the C library.

An expansion that holds for a part of the arguments only (``sin``, up to 2**30) is used where the statements around it
can be run again: a local notes whether any argument was out of range, and where one was, the same statements follow
once more with calls of the C library for such arguments. So the usual case costs a comparison, and no branch is in the
loop::

    large = False
    for i in range(n):
        large |= abs(x[i]) > 2**30
        y[i] = <sin of x[i]>
    if large:
        for i in range(n):
            y[i] = sin(x[i]) if abs(x[i]) > 2**30 else <sin of x[i]>

The second loop is marked as rare, and so is not vectorised: a vector of calls is as many calls in a row, which took as
long to compile as all else.

A loop that writes what it reads can't be run again. There the arguments are looked at in a loop of their own before,
and one of the two follows. A parallel loop is cut into runs of iterations, each with a note of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from jitgrad.ir.index import Dim, Sym, add, expr, floordiv, mul
from jitgrad.ir.types import bool_, is_float
from jitgrad.loopir.deps import MANY, accesses, never_at_any_time
from jitgrad.loopir.expansions import EXPANSIONS, Expansion
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import (
    Alloc,
    Assign,
    Block,
    Buffer,
    Const,
    Expr,
    Fail,
    If,
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
    While,
    scalar,
)
from jitgrad.loopir.private import own_part
from jitgrad.loopir.reductions import any_order
from jitgrad.loopir.scalars import SCALARS
from jitgrad.loopir.walk import expressions, lists_of, rebuild, statements, subexpressions, with_lists, written

#: Formulas over others that LLVM has instructions for.
_KEPT = ("square", "reciprocal", "maximum", "minimum", "fmax", "fmin")
#: What is expanded also where nothing is vectorised: measured against glibc, in chains and in independent calls.
_IN_SEQUENCE = ("expm1", "hypot", "log1p_unit", "sinh", "tanh")
#: About how many iterations of a parallel loop have one note.
RUN = 1024


class _Visitor:
    """Maps expressions: functions of the table are expanded, and formulas of functions that are composed of others
    (``logaddexp``, ``softplus``, ...) put in."""

    def __init__(self, table: Mapping[str, Expansion]) -> None:
        self.table = table
        self.done: dict[Expr, Expr] = {}

    def visit(self, e: Expr) -> Expr:
        found = self.done.get(e)
        if found is None:
            found = self.done[e] = self._visit(e)
        return found

    def _visit(self, e: Expr) -> Expr:
        if isinstance(e, (Load, Index)) or not isinstance(e, Scalar):
            return e  # indices are integer arithmetic: nothing to expand
        args = tuple(map(self.visit, e.args))
        if is_float(e.args[0].dtype):
            if e.op in self.table:
                return self.table[e.op].expand(*args)
            spec = SCALARS.get(e.op)
            if spec is not None and spec.compose is not None and e.op not in _KEPT:
                return self.visit(spec.compose(*e.args))  # a formula may look at what its operands are
        return e if args == e.args else Scalar(e.op, args, e.dtype)


def decompose(program: Program) -> Program:
    """The program with every function of :data:`EXPANSIONS` expanded where that is of use.

    In an innermost loop whose iterations need each other nothing is vectorised, and most functions of the C library are
    faster: there only :data:`_IN_SEQUENCE` are expanded.
    """
    return with_body(program, _Decomposition().top_level(program.body))


def _with_call(name: str, f: Expansion) -> Expansion:
    """The function for all arguments: as usual where the expansion holds, so that an element does not depend on its
    neighbours, and by a call elsewhere."""
    outside = f.outside
    if outside is None:
        return f

    def expand(*args: Expr) -> Expr:
        return scalar("where", outside(*args), scalar(name, *args), f.expand(*args))

    return Expansion(expand)


class _Decomposition:
    def __init__(self) -> None:
        self.calls = _Visitor({})
        self.anywhere = _Visitor({name: f for name, f in EXPANSIONS.items() if f.outside is None})
        self.inside = _Visitor(EXPANSIONS)
        self.whole = _Visitor({name: _with_call(name, f) for name, f in EXPANSIONS.items()})
        self.sequential = _Visitor({n: EXPANSIONS[n] for n in _IN_SEQUENCE})

    def top_level(self, body: tuple[Stmt, ...]) -> Iterator[Stmt]:
        for s in body:
            if isinstance(s, Block):
                yield Block(self.all_guarded(s.body))
            else:
                new = self.guarded(s)
                yield new[0] if len(new) == 1 else Block(new)

    # Functions whose expansion holds for a part of the arguments

    def all_guarded(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        return tuple(x for s in body for x in self.guarded(s))

    def guarded(self, s: Stmt) -> tuple[Stmt, ...]:
        """What takes the place of a statement."""
        if lists_of(s) and any(self.conditions(x) for x in statements((s,))):
            if _repeatable(s):
                return self.repeated(s)
            if not _innermost(s):
                return (self.header(with_lists(s, self.all_guarded), self.anywhere),)
            if isinstance(s, Loop) and s.kind == "parallel" and s.step == 1:
                return self.in_runs(s)
            if isinstance(s, Loop) and s.kind == "serial" and any_order(s):
                return self.looked_at(s)
        return self.expanded(s, self.anywhere)

    def conditions(self, s: Stmt) -> list[Expr]:
        """What tells of the functions in a statement's value that their expansions do not hold."""
        if not isinstance(s, (Store, Let, Assign)):
            return []
        found: dict[Expr, None] = {}
        for e in subexpressions((self.calls.visit(s.value),)):
            if isinstance(e, Scalar) and e.op in EXPANSIONS and is_float(e.args[0].dtype):
                outside = EXPANSIONS[e.op].outside
                if outside is not None:
                    found[outside(*map(self.inside.visit, e.args))] = None
        return list(found)

    def noted(self, s: Stmt, large: Local) -> tuple[Stmt, ...]:
        return tuple(Assign(large, c, "or=") for c in self.conditions(s))

    def repeated(self, s: Stmt) -> tuple[Stmt, ...]:
        """The statement with a note whether an argument was out of range, and for that case the same with calls."""
        large = Local("large", bool_)
        first = self.expanded(s, self.inside, large)
        if not any(isinstance(x, Assign) and x.local is large for x in statements(first)):
            return first  # all in sequential loops, with calls
        own = {x.local for x in statements((s,)) if isinstance(x, Let)}
        changed = {x.local: None for x in statements((s,)) if isinstance(x, Assign) and x.local not in own}
        old = {v: Local(f"{v.name}_before", v.dtype) for v in changed}
        return (
            Let(large, Const(False, bool_)),
            *(Let(before, v) for v, before in old.items()),
            *first,
            If(large, (*(Assign(v, before) for v, before in old.items()), rebuild(s, self.whole.visit)), rare=True),
        )

    def looked_at(self, s: Loop) -> tuple[Stmt, ...]:
        """A look at the arguments in an innermost loop, and the loop in one form or the other."""
        large = Local("large", bool_)
        look = self.look(s.body, large, {x.local for x in statements(s.body) if isinstance(x, Let)}, set())
        if look is None:
            return self.expanded(s, self.anywhere)
        return (
            Let(large, Const(False, bool_)),
            dataclasses.replace(s, body=look),
            If(large, (rebuild(s, self.whole.visit),), (rebuild(s, self.inside.visit),), rare=True),
        )

    def look(
        self, body: tuple[Stmt, ...], large: Local, private: set[Local], stored: set[Buffer]
    ) -> tuple[Stmt, ...] | None:
        """What computes the arguments in a loop's body; None where an earlier store there may count for them."""
        found: list[Stmt] = []
        for s in body:
            if stored and any(isinstance(e, Load) and e.buffer.root in stored for e in subexpressions(expressions(s))):
                return None
            found.extend(self.noted(s, large))
            if isinstance(s, If):
                then, orelse = (self.look(x, large, private, stored) for x in (s.then, s.orelse))
                if then is None or orelse is None:
                    return None
                found.append(If(self.inside.visit(s.cond), then, orelse))
            elif isinstance(s, Let) or (isinstance(s, Assign) and s.local in private):
                found.append(rebuild(s, self.inside.visit))
            elif isinstance(s, Store):
                stored.add(s.buffer.root)
        return tuple(found)

    def in_runs(self, s: Loop) -> tuple[Stmt, ...]:
        """A parallel loop over runs of iterations, each of which notes its own arguments, and the iterations left."""
        count = add(s.hi, mul(s.lo, -1))
        length = _run_length(count)
        n = floordiv(count, length)
        run = Sym("run", 0, None)
        first = add(s.lo, mul(expr(run), length))
        inner = dataclasses.replace(s, lo=first, hi=add(first, length), kind="serial", work=0)
        outer = Loop(run, 0, n, self.guarded(inner), kind="parallel", work=mul(s.work, length))
        if mul(n, length) == count:
            return (outer,)
        return (outer, *self.guarded(dataclasses.replace(s, lo=add(s.lo, mul(n, length)), kind="serial", work=0)))

    # Expansion

    def expanded(self, s: Stmt, visitor: _Visitor, large: Local | None = None) -> tuple[Stmt, ...]:
        """The statement with its functions expanded, and with notes in ``large`` where that is given.

        Sequential innermost loops keep most of their calls."""
        if not lists_of(s):
            notes = self.noted(s, large) if large is not None else ()
            return (*notes, rebuild(s, visitor.visit))
        if _innermost(s) and isinstance(s, (Loop, While)) and not (isinstance(s, Loop) and any_order(s)):
            return (rebuild(s, self.sequential.visit),)
        new = with_lists(s, lambda body: tuple(y for x in body for y in self.expanded(x, visitor, large)))
        return (self.header(new, self.anywhere),)

    def header(self, s: Stmt, visitor: _Visitor) -> Stmt:
        """The statement with its condition expanded."""
        return dataclasses.replace(s, cond=visitor.visit(s.cond)) if isinstance(s, (If, While)) else s


def _run_length(count: Dim) -> int:
    """How long runs are: such that no iterations are left where that can be, for they would be the same code again.
    Of several lengths the one that the most powers of two divide, for whole vectors."""
    fitting = [d for d in range(2 * RUN, RUN // 2, -1) if isinstance(count, int) and count % d == 0]
    return max(fitting, key=lambda d: d & -d, default=RUN)


def _innermost(s: Stmt) -> bool:
    """Whether no loop is in a statement's lists."""
    return not any(isinstance(x, (Loop, While)) for body in lists_of(s) for x in statements(body))


def _repeatable(s: Stmt) -> bool:
    """Whether a second run of a statement does what the first did: what it writes, it reads in no iteration, but for
    temporaries that each iteration fills before."""
    inner: set[Sym] = set()
    for x in statements((s,)):
        if isinstance(x, (While, LibCall, Fail, Alloc)) or (isinstance(x, Loop) and x.kind != "serial"):
            return False
        if isinstance(x, Loop):
            inner.add(x.var)
    found = list(accesses((s,)))
    stored = {a.root for a in found if a.mode is not None}
    found = [a for a in found if a.root in stored]
    changed = written((s,))
    if len(found) > MANY:
        return False
    reads = {
        a.root
        for a in found
        for b in found
        if a.mode is not None
        and a.root is b.root
        and b.mode != "="
        and (a.index is None or b.index is None or not never_at_any_time(a.index, b.index, inner, changed))
    }
    return not reads or (isinstance(s, Loop) and all(t.kind == "temp" and own_part(t, s) for t in reads))
