"""Kernels whose threads compute several neighbouring elements, with loads and stores of 16 bytes, of float16 and
bfloat16 8 bytes.

That holds for a row nest whose body only stores, without control flow: then a thread takes ``width`` iterations of the
innermost row loop, and an access that moves by one element an iteration, from an aligned place, is one access for all
of them. Pointers are aligned to 16 bytes. What is float16 or bfloat16 in memory is computed with in float32, so that a
thread takes as many of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from jitgrad.cuda.teams import static_trips
from jitgrad.ir.index import Dim, IndexExpr, Sym
from jitgrad.ir.types import bool_, f32, is_short
from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.nodes import Buffer, Load, Local, Loop, Stmt, Store
from jitgrad.loopir.walk import expressions, loads, subexpressions

#: Bytes of one access.
BYTES = 16


def width(rows: Sequence[Loop], body: Sequence[Stmt]) -> int:
    """How many iterations of the innermost row loop a thread may take: 1, 2 or 4."""
    if not rows or not all(isinstance(s, Store) and s.mode == "=" for s in body):
        return 1
    last = rows[-1]
    written = {s.buffer.root for s in body if isinstance(s, Store)}
    found = list(loads(body))
    if any(e.buffer.root in written for e in found) or (last.lo, last.step) != (0, 1):
        return 1
    if any(isinstance(e, Local) for s in body for e in subexpressions(expressions(s))):
        return 1
    moving = [e.buffer for e in found if _moves(e.buffer, e.index, last.var)]
    moving += [s.buffer for s in body if isinstance(s, Store) and _moves(s.buffer, s.index, last.var)]
    sizes = {_size(t) for t in moving if t.dtype != bool_} & {4, 8}
    lanes = BYTES // max(sizes, default=BYTES)
    trips = static_trips(last) or 0
    return lanes if trips >= lanes and trips % lanes == 0 else 1


def is_wide(buffer: Buffer, index: Sequence[Dim], var: Sym, lanes: int) -> bool:
    """Whether the accesses of ``lanes`` iterations, the first of which is a multiple of that, are one of 16 bytes, or
    of 8 where they are of float16 or bfloat16."""
    offset = flatten_index(buffer.shape, index)
    if _size(buffer) * lanes != BYTES or not _moves(buffer, index, var):
        return False
    assert isinstance(offset, IndexExpr)
    others = [c for term, c in offset.terms if term is not var]
    return all(c % lanes == 0 for c in (offset.constant, *others))


def _size(buffer: Buffer) -> int:
    """Bytes of an element where it is computed with."""
    return f32.itemsize if is_short(buffer.dtype) else buffer.dtype.itemsize


def _moves(buffer: Buffer, index: Sequence[Dim], var: Sym) -> bool:
    """Whether an access goes to the next element as a variable goes up by one."""
    offset = flatten_index(buffer.shape, index)
    if not isinstance(offset, IndexExpr) or dict(offset.terms).get(var) != 1:
        return False
    return all(var not in term.syms() for term, _ in offset.terms if term is not var)


def wide_loads(body: Sequence[Stmt], var: Sym, lanes: int) -> list[Load]:
    """The loads of a body that are one for all lanes."""
    return [e for e in loads(body) if is_wide(e.buffer, e.index, var, lanes)]
