"""Other index expressions in the place of loop variables, and other accesses in the place of accesses, throughout a
statement."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from jitgrad.ir.index import Dim, IndexExpr, Sym, expr
from jitgrad.loopir.build import loop_limits
from jitgrad.loopir.nodes import Assign, Block, Buffer, Expr, Fetch, If, Let, Load, Local, Loop, Stmt, Store, While
from jitgrad.loopir.rewrite import map_payloads, rewrite, substitute_index
from jitgrad.loopir.walk import expressions, loads, rebuild, statements, subexpressions

#: An access: an array, and an index in it.
Place = tuple[Buffer, tuple[Dim, ...]]


def with_variable(loop: Loop, var: Sym) -> Loop | None:
    """The loop with ``var``, which has the same limits, in the place of its variable; None where the shape of an
    array depends on that."""
    if loop.var is var:
        return loop
    if shapes_depend(loop, loop.var):
        return None
    env: dict[Sym, Dim] = {loop.var: expr(var)}
    memo: dict[Expr, Expr] = {}
    return dataclasses.replace(loop, var=var, body=tuple(substituted(s, env, memo) for s in loop.body))


def substituted(s: Stmt, env: Mapping[Sym, Dim], memo: dict[Expr, Expr]) -> Stmt:
    """A statement with loop variables replaced. ``memo`` is for one ``env`` only, as in ``rewrite``.

    A loop inside whose bounds change gets a variable of its own: limits are part of a variable. So does one whose
    variable is among those put in: loops side by side may share one. A local that ``memo`` maps to another one is
    renamed where it is written too.
    """

    def visit(e: Expr) -> Expr:
        return rewrite(e, env, memo)

    if isinstance(s, Loop):
        lo, hi = substitute_index(s.lo, env, memo), substitute_index(s.hi, env, memo)
        if lo != s.lo or hi != s.hi or any(_names(value, s.var) for value in env.values()):
            var = Sym(s.var.name, *loop_limits(lo, hi, s.step))
            env = {**env, s.var: expr(var)}
            memo = {e: new for e, new in memo.items() if isinstance(e, Local)}
            return Loop(var, lo, hi, tuple(substituted(x, env, memo) for x in s.body), s.step, s.kind)
        return dataclasses.replace(s, body=tuple(substituted(x, env, memo) for x in s.body))
    if isinstance(s, Block):
        return Block(tuple(substituted(x, env, memo) for x in s.body))
    if isinstance(s, While):
        return While(visit(s.cond), tuple(substituted(x, env, memo) for x in s.body))
    if isinstance(s, If):
        then, orelse = (tuple(substituted(x, env, memo) for x in body) for body in (s.then, s.orelse))
        return If(visit(s.cond), then, orelse, s.rare)
    if isinstance(s, Store):
        index = tuple(substitute_index(i, env, memo) for i in s.index)
        return dataclasses.replace(s, index=index, value=visit(s.value))
    if isinstance(s, Fetch):
        return Fetch(s.buffer, tuple(substitute_index(i, env, memo) for i in s.index))
    if isinstance(s, (Let, Assign)):
        return dataclasses.replace(s, local=memo.get(s.local, s.local), value=visit(s.value))
    return s


def _names(d: Dim, var: Sym) -> bool:
    return isinstance(d, IndexExpr) and var in d.syms()


def with_accesses(s: Stmt, place: Callable[[Buffer, tuple[Dim, ...]], Place | None]) -> Stmt:
    """The statement with its loads and stores where ``place`` says: another array and an index there, for an array and
    an index; None where an access stays."""
    memo: dict[Expr, Expr] = {}
    # Indices of loads may hold loads themselves, so the ones inside come first.
    for e in sorted(loads((s,)), key=lambda e: e.depth):
        index = tuple(substitute_index(i, {}, memo) for i in e.index)
        new = place(e.buffer, index)
        if new is not None:
            memo[e] = Load(*new)
        elif index != e.index:
            memo[e] = Load(e.buffer, index)
    if not memo and all(place(x.buffer, x.index) is None for x in statements((s,)) if isinstance(x, Store)):
        return s

    def visit(e: Expr) -> Expr:
        return rewrite(e, {}, memo)

    def store(x: Store) -> Stmt:
        index = tuple(map_payloads(i, visit) for i in x.index)
        new = place(x.buffer, index)
        if new is not None:
            return Store(*new, x.value, x.mode)
        return x if index == x.index else dataclasses.replace(x, index=index)

    return rebuild(s, visit, store)


def shapes_depend(s: Stmt, var: Sym) -> bool:
    """Whether an array that a statement uses has an extent that names ``var``."""
    for x in statements((s,)):
        used = [e.buffer for e in subexpressions(expressions(x)) if isinstance(e, Load)]
        for t in (*used, x.buffer) if isinstance(x, Store) else used:
            for n in (*t.shape, *t.root.shape):
                if _names(n, var):
                    return True
    return False
