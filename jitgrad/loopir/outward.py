"""Sums along the axes around another one, as those of batch norm: the loop over that axis goes outside.

    for n in range(N):                           for c in range(C):
        for c in range(C):                           for n in range(N):
            for k in range(K):            =>             for k in range(K):
                total[c] += x[n, c, k]                       total[c] += x[n, c, k]

Then all that is done with one ``c`` can be one iteration, as nests that touch the same array are turned alike: passes
over a whole array become passes over a part of it, which the cache may hold.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from jitgrad.ir.index import Dim, Sym, as_sym, expr
from jitgrad.loopir.deps import COMMUTE, accesses
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import Block, Buffer, Expr, Loop, Program, Stmt
from jitgrad.loopir.reductions import any_order
from jitgrad.loopir.substitute import substituted
from jitgrad.loopir.walk import with_lists

#: Bytes that lie together where the other axes stay: walking to the next ones is no worse then than walking on.
RUN = 1024
#: Iterations of the outer loops, for threads.
ENOUGH = 16

#: The axes of an array that the outer loops are for.
Axes = tuple[int, ...]


class _Nest(NamedTuple):
    """Loops of which each but the last has nothing but the next one in it."""

    loops: tuple[Loop, ...]

    @property
    def variables(self) -> tuple[Sym, ...]:
        return tuple(loop.var for loop in self.loops)

    def turned(self, outside: Sequence[Sym]) -> Stmt:
        """The nest with these loops outside, in their order. Other nests may use its variables in another order, so it
        gets its own."""
        env: dict[Sym, Dim] = {v: expr(Sym(v.name, *v.limits)) for v in self.variables}
        memo: dict[Expr, Expr] = {}
        body = tuple(substituted(s, env, memo) for s in self.loops[-1].body)
        order = [loop for loop in self.loops if loop.var in outside]
        order += [loop for loop in self.loops if loop.var not in outside]
        for loop in reversed(order):
            var = as_sym(env[loop.var])
            assert var is not None
            body = (dataclasses.replace(loop, var=var, body=body),)
        return body[0]


def outward(program: Program, notes: list[str]) -> Program:
    """Turn the nests at top level, and those beside the number that they add up to."""
    # Whether loops may run in any order takes long to find out: it is asked last.
    perfect = {s: nest for s in _tops(program.body) if (nest := _perfect(s)) is not None}
    wanted: dict[Buffer, Axes] = {}
    for nest in perfect.values():
        if _kept(nest):
            wanted.update(_wanted(_in_any_order(nest)))
    if not wanted:
        return program
    turned = 0

    def turn(s: Stmt) -> Stmt:
        nonlocal turned
        if isinstance(s, Block):
            return with_lists(s, lambda body: tuple(map(turn, body)))
        nest = perfect.get(s)
        if nest is None or all(root not in wanted for root, _, _ in _positions(nest)):
            return s
        nest = _in_any_order(nest)
        outside = _outside(nest, wanted)
        if outside is None or nest.variables[: len(outside)] == outside:
            return s
        turned += 1
        return nest.turned(outside)

    program = with_body(program, map(turn, program.body))
    if turned:
        notes.append(f"nests turned, for sums along the axes around another one: {turned}")
    return program


def _tops(body: Iterable[Stmt]) -> Iterator[Stmt]:
    for s in body:
        yield from _tops(s.body) if isinstance(s, Block) else (s,)


def _perfect(s: Stmt) -> _Nest | None:
    """Loops in each other with known bounds, in whatever order they have to run."""
    loops: list[Loop] = []
    while isinstance(s, Loop) and isinstance(s.lo, int) and isinstance(s.hi, int):
        loops.append(s)
        if len(s.body) != 1:
            break
        s = s.body[0]
    return _Nest(tuple(loops)) if len(loops) > 1 else None


def _in_any_order(nest: _Nest) -> _Nest:
    """The outer loops of a nest, as far as they may run in any order."""
    return _Nest(tuple(itertools.takewhile(lambda loop: any_order(loop, nested=True), nest.loops)))


def _positions(nest: _Nest) -> Iterator[tuple[Buffer, dict[Sym, int], str | None]]:
    """The accesses whose indices are loop variables and numbers: the array, the axis of each variable, the mode."""
    for a in accesses(nest.loops):
        if a.index is not None:
            found = {v: axis for axis, i in enumerate(a.index) if (v := _variable(i)) is not None}
            if len(found) == sum(not isinstance(i, int) for i in a.index):
                yield a.root, found, a.mode


def _variable(i: Dim) -> Sym | None:
    return None if isinstance(i, int) else as_sym(i)


def _kept(nest: _Nest) -> tuple[Sym, ...]:
    """The variables of which there is a sum for each value, unless they are the outermost ones. Where those of a nest
    are, those of its outer loops are too."""
    sums = [set(at) for _, at, mode in _positions(nest) if mode in COMMUTE]
    kept = tuple(v for v in nest.variables if any(v in at for at in sums))
    return () if nest.variables[: len(kept)] == kept else kept


def _wanted(nest: _Nest) -> Mapping[Buffer, Axes]:
    """The arrays that a nest sums up along the axes around others, which are to be outside."""
    kept = _kept(nest)
    if not kept:
        return {}
    trips = {loop.var: len(range(loop.lo, loop.hi, loop.step)) for loop in nest.loops}  # pyright: ignore[reportArgumentType]
    if math.prod(trips[v] for v in kept) < ENOUGH:
        return {}
    return {
        root: tuple(at[v] for v in kept)
        for root, at, mode in _positions(nest)
        if mode is None and all(v in at for v in nest.variables) and _run(root, max(at[v] for v in kept)) >= RUN
    }


def _run(t: Buffer, axis: int) -> float:
    """Bytes of an array from one index on an axis to the next."""
    extents = t.shape[axis + 1 :]
    return math.prod(extents) * t.dtype.itemsize if all(isinstance(n, int) for n in extents) else 0  # pyright: ignore[reportReturnType]


def _outside(nest: _Nest, wanted: Mapping[Buffer, Axes]) -> tuple[Sym, ...] | None:
    """The variables of the loops to put outside, for the arrays that a nest touches; None where they disagree."""
    found: set[tuple[Sym, ...]] = set()
    for root, at, _ in _positions(nest):
        if root in wanted:
            by_axis = {axis: v for v, axis in at.items()}
            found.add(tuple(by_axis[axis] for axis in wanted[root] if axis in by_axis))
    if len(found) != 1:
        return None
    (outside,) = found
    return outside if set(outside) <= set(nest.variables) else None
