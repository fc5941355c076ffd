"""Other index expressions in the place of loop variables, throughout a statement."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jitgrad.ir.index import Dim, IndexExpr, Sym, expr
from jitgrad.loopir.build import loop_limits
from jitgrad.loopir.nodes import (
    Assign,
    Block,
    Expr,
    If,
    Let,
    Load,
    Local,
    Loop,
    Stmt,
    Store,
    While,
    rewrite,
    substitute_index,
)
from jitgrad.loopir.walk import expressions, statements, subexpressions


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

    A loop inside whose bounds change gets a variable of its own: limits are part of a variable. A local that ``memo``
    maps to another one is renamed where it is written too.
    """

    def visit(e: Expr) -> Expr:
        return rewrite(e, env, memo)

    if isinstance(s, Loop):
        lo, hi = substitute_index(s.lo, env, memo), substitute_index(s.hi, env, memo)
        if lo != s.lo or hi != s.hi:
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
        return If(visit(s.cond), then, orelse)
    if isinstance(s, Store):
        index = tuple(substitute_index(i, env, memo) for i in s.index)
        return dataclasses.replace(s, index=index, value=visit(s.value))
    if isinstance(s, (Let, Assign)):
        return dataclasses.replace(s, local=memo.get(s.local, s.local), value=visit(s.value))
    return s


def shapes_depend(s: Stmt, var: Sym) -> bool:
    """Whether an array that a statement uses has an extent that names ``var``."""
    for x in statements((s,)):
        used = [e.buffer for e in subexpressions(expressions(x)) if isinstance(e, Load)]
        for t in (*used, x.buffer) if isinstance(x, Store) else used:
            for n in (*t.shape, *t.root.shape):
                if isinstance(n, IndexExpr) and var in n.syms():
                    return True
    return False
