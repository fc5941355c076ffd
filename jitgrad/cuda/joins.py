"""Fewer launches: a launch becomes part of an earlier one where one kernel can do both.

Launches that are one team follow each other in one kernel, in the place of the first or of the last. Launches with the
same rows stand side by side, if neither writes what the other one touches. What lies in between must not mind the order
either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from jitgrad.cuda.steps import Launch, Step, body_of
from jitgrad.cuda.teams import static_trips
from jitgrad.ir.index import Dim, Sym, expr
from jitgrad.loopir.nodes import Buffer, Expr, Fail, Stmt
from jitgrad.loopir.substitute import shapes_depend, substituted
from jitgrad.loopir.walk import read_roots, statements, written_roots

#: Most statements of a kernel that is made of several with many rows.
STATEMENTS = 64


class _Effects(NamedTuple):
    read: frozenset[Buffer]
    written: frozenset[Buffer]
    fails: bool
    size: int


def joined(steps: Sequence[Step]) -> list[Step]:
    """The steps with fewer launches."""
    result: list[Step] = []
    effects: list[_Effects] = []
    for s in steps:
        own = _effects(s)
        k = _place(result, effects, s, own)
        if k is None:
            k = _waiting(result, effects, s)
            if k is not None:
                first = result.pop(k)
                del effects[k]
                assert isinstance(first, Launch) and isinstance(s, Launch)
                s = _one(first, s)
                own = _effects(s)
            result.append(s)
            effects.append(own)
            continue
        first = result[k]
        assert isinstance(first, Launch) and isinstance(s, Launch)
        result[k] = _one(first, s)
        effects[k] = _effects(result[k])
    return result


def _place(steps: Sequence[Step], effects: Sequence[_Effects], s: Step, own: _Effects) -> int | None:
    """The place of the last step that a launch can become a part of."""
    if not isinstance(s, Launch):
        return None
    for k in reversed(range(len(steps))):
        x = steps[k]
        apart = _commute(effects[k], own)
        small = apart and effects[k].size + own.size <= STATEMENTS
        if isinstance(x, Launch) and _alike(x, s) and (not x.rows or small):
            return k
        if not apart:
            return None
    return None


def _waiting(steps: Sequence[Step], effects: Sequence[_Effects], s: Step) -> int | None:
    """The place of a launch of one team that can wait for another one, which comes last."""
    if not isinstance(s, Launch) or s.rows:
        return None
    for k, x in enumerate(steps):
        if isinstance(x, Launch) and not x.rows and all(_commute(effects[k], e) for e in effects[k + 1 :]):
            return k
    return None


def _alike(x: Launch, s: Launch) -> bool:
    """Whether two launches have the same rows, and the same threads for them; any threads where there is one row."""
    if not x.rows or not s.rows:
        return not x.rows and not s.rows
    shapes = [[(r.lo, r.step, static_trips(r)) for r in launch.rows] for launch in (x, s)]
    same = shapes[0] == shapes[1] and (x.team, x.block, x.lanes) == (s.team, s.block, s.lanes)
    return same and not any(shapes_depend(stmt, r.var) for z in (x, s) for stmt in z.body for r in z.rows)


def _commute(x: _Effects, s: _Effects) -> bool:
    """Whether two steps may change places: neither writes what the other one touches, or checks anything for it."""
    meeting = (x.written & (s.read | s.written)) | (s.written & x.read)
    return not meeting and not x.fails and not s.fails


def _one(x: Launch, s: Launch) -> Launch:
    """A launch that does what both do."""
    # Variables of their own: a loop in one body may have the variable of the other's rows.
    variables = [Sym(r.var.name, *r.var.limits) for r in x.rows]
    rows = tuple(dataclasses.replace(r, var=v) for r, v in zip(x.rows, variables, strict=True))
    body: list[Stmt] = []
    for launch in (x, s):
        env: dict[Sym, Dim] = {r.var: expr(v) for r, v in zip(launch.rows, variables, strict=True)}
        memo: dict[Expr, Expr] = {}
        body += [substituted(stmt, env, memo) for stmt in launch.body] if env else launch.body
    team, block = max(x.team, s.team), max(x.block, s.block)
    return dataclasses.replace(x, name=s.name, rows=rows, body=tuple(body), team=team, block=block)


def _effects(s: Step) -> _Effects:
    body = body_of(s)
    found = list(statements(body))
    fails = any(isinstance(x, Fail) for x in found)
    return _Effects(frozenset(read_roots(body)), frozenset(written_roots(body)), fails, len(found))
