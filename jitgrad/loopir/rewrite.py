"""Other expressions in the place of loop variables and of expressions, throughout an expression or an index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jitgrad.ir.index import Dim, IndexExpr, Sym, substitute
from jitgrad.loopir.nodes import Expr, Index, Load, Scalar, dynamic_between


def rewrite(e: Expr, env: Mapping[Sym, Dim], memo: dict[Expr, Expr]) -> Expr:
    """Replace loop variables. ``memo`` starts as a map of expressions to replace wholesale (it may be empty) and
    caches results; one memo serves one ``env`` only."""
    found = memo.get(e)
    if found is not None:
        return found
    if isinstance(e, Scalar):
        args = tuple(rewrite(a, env, memo) for a in e.args)
        new: Expr = e if args == e.args else Scalar(e.op, args, e.dtype)
    elif isinstance(e, Load):
        index = tuple(substitute_index(i, env, memo) for i in e.index)
        new = e if index == e.index else Load(e.buffer, index)
        if not env:  # a load to replace may come out of a replaced index; after renaming, memo is about other names
            new = memo.get(new, new)
    elif isinstance(e, Index):
        new = Index(substitute_index(e.index, env, memo))
    else:
        new = e
    memo[e] = new
    return new


def substitute_index(e: Dim, env: Mapping[Sym, Dim], memo: dict[Expr, Expr]) -> Dim:
    """Replace loop variables in an index, inside dynamic parts too."""
    if not isinstance(e, IndexExpr):
        return e
    full = dict(env)
    for s in e.syms():
        if s.payload is not None:
            new = rewrite(s.payload, env, memo)
            if new is not s.payload:
                lo, hi = (x if x is None else substitute_index(x, env, memo) for x in s.limits)
                full[s] = dynamic_between(new, lo, hi)
    return substitute(e, full)


def map_payloads(e: Dim, fn: Callable[[Expr], Expr]) -> Dim:
    """An index with the scalar expressions in its dynamic parts mapped."""
    if not isinstance(e, IndexExpr):
        return e
    env: dict[Any, Dim] = {}
    for s in e.syms():
        if s.payload is not None:
            new = fn(s.payload)
            if new is not s.payload:
                env[s] = dynamic_between(new, *s.limits)
    return substitute(e, env) if env else e
