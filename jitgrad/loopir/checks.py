"""Index checks of a loop, made after it, so that nothing in the loop decides how it goes on and it can be vectorised.

    for i < n:                                      failed = False
        if not 0 <= k[i] < m:                       for i < n:
            fail                            =>          failed |= not 0 <= k[i] < m
        s += exp(x[k[i]])                               s += exp(x[min(max(k[i], 0), m - 1)])
                                                    if failed:
                                                        fail

An index out of bounds is moved to the next place in the array. What is computed from that is lost with all results of
the program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from jitgrad.ir.index import Dim, IndexExpr, Sym, substitute
from jitgrad.ir.types import bool_
from jitgrad.loopir.costs import TRANSCENDENTAL, price
from jitgrad.loopir.deps import COMMUTE, trips
from jitgrad.loopir.lower import with_loops
from jitgrad.loopir.nodes import (
    Assign,
    Buffer,
    Const,
    Expr,
    Fail,
    If,
    Let,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    dynamic_between,
    scalar,
)
from jitgrad.loopir.reductions import any_order, in_bounds
from jitgrad.loopir.substitute import with_accesses
from jitgrad.loopir.walk import expressions, loads, statements, subexpressions, with_lists

#: Iterations that there must be.
LEAST = 8


class Checked(NamedTuple):
    """A loop without index checks, what comes before it and what comes after it."""

    before: list[Stmt]
    loop: Loop
    after: list[Stmt]


def checks(program: Program, notes: list[str]) -> Program:
    """Move the index checks of the innermost loops that are vectorised without them."""
    return with_loops(program, _vectorised, notes, "loops whose index checks are made after them")


def _vectorised(s: Stmt) -> list[Stmt] | None:
    """What takes the place of a loop that calls functions; None where there is nothing to check, or it would not
    help."""
    if not isinstance(s, Loop) or s.step != 1 or trips(s) < LEAST or not any(map(_is_check, s.body)):
        return None
    found = checked_after(s)
    if found is None or not all(isinstance(x, (Let, Assign, Store)) for x in found.loop.body):
        return None
    if not calls(found.loop.body) or not any_order(found.loop) or not all(stores_own(x, s) for x in found.loop.body):
        return None
    return [*found.before, found.loop, *found.after]


def checked_after(s: Loop) -> Checked | None:
    """A loop with its index checks after it; None where it would touch what lies outside of an array meanwhile."""
    if not any(map(_is_check, statements(s.body))):
        return Checked([], s, [])
    flags: dict[Fail, Local] = {}
    loop = with_accesses(_noted(s, flags), _moved)
    assert isinstance(loop, Loop)
    if not all(_is_inside(*at) for at in _places(loop)):
        return None
    before: list[Stmt] = [Let(failed, Const(False, bool_)) for failed in flags.values()]
    after: list[Stmt] = [If(failed, (fail,), rare=True) for fail, failed in flags.items()]
    return Checked(before, loop, after)


def _is_check(s: Stmt) -> bool:
    """Whether a statement only ends the program if a condition holds."""
    return (
        isinstance(s, If) and not s.orelse and len(s.then) == 1 and isinstance(s.then[0], Fail) and not s.then[0].error
    )


def _noted(s: Loop, flags: dict[Fail, Local]) -> Loop:
    """The loop with a note of each check that fails, in the local that ``flags`` gets for it."""

    def inside(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        return tuple(map(noted, body))

    def noted(x: Stmt) -> Stmt:
        if not _is_check(x):
            return with_lists(x, inside) if isinstance(x, Loop) else x
        assert isinstance(x, If) and isinstance(x.then[0], Fail)
        return Assign(flags.setdefault(x.then[0], Local("failed", bool_)), x.cond, "or=")

    return dataclasses.replace(s, body=inside(s.body))


# Places


def _moved(t: Buffer, index: tuple[Dim, ...]) -> tuple[Buffer, tuple[Dim, ...]] | None:
    """An access with indices that lie within the limits that they have if no check fails."""
    found = {v: _within(v) for i in index if isinstance(i, IndexExpr) for v in i.syms() if v.payload is not None}
    return (t, tuple(substitute(i, found) for i in index)) if found else None


def _within(v: Sym) -> Dim:
    low, high = v.limits
    e = v.payload
    assert isinstance(e, Expr)
    if isinstance(low, int):
        e = scalar("maximum", e, Const(low, e.dtype))
    if isinstance(high, int):
        e = scalar("minimum", e, Const(high, e.dtype))
    return dynamic_between(e, low, high)


def _places(s: Loop) -> list[tuple[Buffer, tuple[Dim, ...]]]:
    """What a loop touches."""
    found = [(e.buffer, e.index) for e in loads(s.body)]
    return found + [(x.buffer, x.index) for x in statements(s.body) if isinstance(x, Store)]


def _is_inside(t: Buffer, index: tuple[Dim, ...]) -> bool:
    """Whether a place lies in the array whatever is in arrays of indices."""
    computed = [v for i in index if isinstance(i, IndexExpr) for v in i.syms() if v.payload is not None]
    return not computed or (all(map(_is_limited, computed)) and in_bounds(t, index))


def _is_limited(v: Sym) -> bool:
    return all(isinstance(limit, int) for limit in v.limits)


# What is vectorised


def calls(stmts: Iterable[Stmt]) -> bool:
    """Whether statements themselves, and not those in them, call functions that take long."""
    found = subexpressions(e for x in stmts for e in expressions(x))
    return any(isinstance(e, Scalar) and price(e.op) >= TRANSCENDENTAL for e in found)


def stores_own(x: Stmt, s: Loop) -> bool:
    """Whether an iteration stores to a place that is its own, and known without looking at any array; or adds to one
    that is the same in all iterations. So does what stores nothing."""
    if not isinstance(x, Store):
        return True
    symbols = {v for d in x.index if isinstance(d, IndexExpr) for v in d.syms()}
    return (s.var in symbols or x.mode in COMMUTE) and all(v.payload is None for v in symbols)
