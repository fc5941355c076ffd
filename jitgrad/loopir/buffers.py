"""Buffer placement: where every temporary lies, in the arena or in the memory of a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jitgrad.ir.index import Sym, as_sym
from jitgrad.loopir.nodes import Buffer, Load, Loop, Program, Stmt, Store
from jitgrad.loopir.walk import buffers_of

_ALIGNMENT = 64


#: Smaller temporaries always lie in the arena, which is in the cache from the last call.
LARGE = 1 << 16


class Place(NamedTuple):
    """Bytes behind the start of a result's memory, or of the arena (None)."""

    result: Buffer | None
    offset: int


class Placement(NamedTuple):
    """Where the temporaries lie, the arena's size, and the size without reuse."""

    places: dict[Buffer, Place]
    nbytes: int
    total: int


def place(program: Program) -> Placement:
    """Give every temporary a place: in the memory of a result that is written later, or in one arena.

    Two temporaries share bytes only if their lifetimes, counted in top-level statements, do not meet: what a loop's
    body uses lives for the whole loop. One lies in a result only if its lifetime ends before that of the result begins.
    Buffers in the heap have no place. Larger ones are placed first, each at the lowest offset that is free for its
    whole lifetime; in the first result that has room.
    """
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for k, s in enumerate(program.body):
        for t in buffers_of(s):
            if t.kind == "out" or (t.kind == "temp" and t.capacity is not None):
                first.setdefault(t, k)
                last[t] = k
    hosts = [r for r in first if r.kind == "out" and r.nbytes >= LARGE]
    temporaries = [t for t in first if t.kind == "temp"]
    places: dict[Buffer, Place] = {}
    taken: dict[Buffer | None, list[tuple[int, int, int, int]]] = {}  # offset, end, first, last; sorted by offset
    nbytes = 0
    for t in sorted(temporaries, key=lambda t: (-t.nbytes, first[t])):
        size = -(-max(t.nbytes, 1) // _ALIGNMENT) * _ALIGNMENT
        for host in (*(r for r in hosts if t.nbytes >= LARGE and last[t] < first[r]), None):
            offset = _free(taken.setdefault(host, []), size, first[t], last[t])
            if host is None or offset + t.nbytes <= host.nbytes:
                break
        places[t] = Place(host, offset)
        if host is None:
            nbytes = max(nbytes, offset + size)
        taken[host].append((offset, offset + size, first[t], last[t]))
        taken[host].sort()
    return Placement(places, nbytes, sum(t.nbytes for t in temporaries))


def _free(taken: Sequence[tuple[int, int, int, int]], size: int, first: int, last: int) -> int:
    """The lowest offset where so many bytes are free from one statement to another."""
    offset = 0
    for start, end, a, z in taken:
        if z < first or last < a:
            continue
        if offset + size <= start:
            break
        offset = max(offset, end)
    return offset


def whole_store(stmt: Stmt, modes: Sequence[str] = ("=",)) -> tuple[Store, tuple[Sym | None, ...]] | None:
    """The store that a plain nest consists of, if it fills its whole buffer element by element (or updates it, by
    ``modes``), with the loop variable of every axis (None for an axis of extent 1)."""
    loops: list[Loop] = []
    while isinstance(stmt, Loop):
        if stmt.lo != 0 or stmt.step != 1 or len(stmt.body) != 1:
            return None
        loops.append(stmt)
        stmt = stmt.body[0]
    if not isinstance(stmt, Store) or stmt.mode not in modes:
        return None
    variables: list[Sym | None] = []
    remaining = iter(loops)
    for extent, index in zip(stmt.buffer.shape, stmt.index, strict=True):
        if extent == 1 and index == 0:
            variables.append(None)
            continue
        loop = next(remaining, None)
        if loop is None or loop.hi != extent or as_sym(index) is not loop.var:
            return None
        variables.append(loop.var)
    return None if next(remaining, None) is not None else (stmt, tuple(variables))


def copy_of(stmt: Stmt) -> tuple[Buffer, Buffer] | None:
    """``(target, source)`` where a statement only copies one whole buffer into another, element for element."""
    found = whole_store(stmt)
    if found is None or not isinstance(found[0].value, Load):
        return None
    target, source = found[0].buffer, found[0].value.buffer
    same = target.shape == source.shape and found[0].value.index == found[0].index
    return (target, source) if same else None
