"""Maxima that are only taken out: where results do not depend on ``m = max(x)``, no derivative goes through it.

    e = exp(x - m)                  e = exp(x - stop_gradient(m))
    p = e / sum(e)           =>     p = e / sum(e)

If m were larger by d, x - m would be smaller by d, e and its sum would be smaller by the factor exp(-d), and p would be
the same. So the derivative of p with respect to m is zero, whatever m is, as an identity of real numbers; computed, it
is the rounding error of a sum that takes a pass over the array, and keeps x alive to find where its maximum was. The
same holds for log(sum(e)) + m, and for (x - m) - log(sum(e)), also where elements are picked of x - m.

The pass follows m from op to op. Every value that it reaches must change by a multiple of d, or by a power of exp(d),
and with the same d in all of a row, until nothing of it is left; what it can't follow keeps its derivative.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jitgrad.ir.core import Block, Graph, Op, Value
from jitgrad.ir.index import Dim
from jitgrad.ir.symbols import used_values
from jitgrad.ir.types import is_float
from jitgrad.passes.rewrite import Rewriter, array_of


def invariant(graph: Graph, notes: list[str] | None = None) -> Graph:
    """The graph without derivatives of maxima (and minima) that its results do not depend on. A line for each is
    appended to ``notes``."""
    found = set(_found(graph.block))
    return _Stopper(graph, found, notes if notes is not None else []).run(graph) if found else graph


class _Stopper(Rewriter):
    """Puts a ``stop_gradient`` after some ops."""

    def __init__(self, graph: Graph, found: set[Op], notes: list[str]) -> None:
        super().__init__(graph, {})
        self.found, self.notes = found, notes

    def _walk(self, ops: Sequence[Op]) -> None:
        for op in ops:
            super()._walk((op,))
            if op not in self.found:
                continue
            self.loc = op.loc
            stopped = self.append("stop_gradient", self.env.get(op.result, op.result))
            self._rename((op.result,), (stopped,))
            where = f"{op.loc.file}:{op.loc.line}: " if op.loc else ""
            line = f"{where}the result does not depend on {op.name[7:]}(x), which is taken out: it has no derivative"
            if line not in self.notes:
                self.notes.append(line)


def _found(block: Block) -> list[Op]:
    """The maxima of a block, and of those in it, that nothing depends on."""
    found = [op for inner in block.ops for region in inner.regions for op in _found(region)]
    tops = [k for k, op in enumerate(block.ops) if op.name in ("reduce_max", "reduce_min")]
    if tops:
        users: dict[Value, list[int]] = {}
        for k, op in enumerate(block.ops):
            for v in set(used_values(op)):
                users.setdefault(v, []).append(k)
        found += [block.ops[k] for k in tops if _cancels(block, block.ops[k], users)]
    return found


class _Shift(NamedTuple):
    """How a value changes with m + d: by ``times * d``, or if ``exponential`` by the factor ``exp(times * d)``. Element
    d[i, j, ...] counts where the index along ``axes[0]`` is i, along ``axes[1]`` is j, and so on. Axes of m of extent 1
    are left out: they have one d."""

    times: int
    exponential: bool
    axes: tuple[int, ...]


class _LostError(Exception):
    """An op does not pass the shift on in a way that can be followed."""


def _cancels(block: Block, top: Op, users: Mapping[Value, Sequence[int]]) -> bool:
    """Whether everything that is computed from a maximum is the same when the maximum is shifted."""
    m = top.result
    if not is_float(m.type.dtype) or all(block.ops[k].name == "stop_gradient" for k in users.get(m, ())):
        return False
    shifts = {m: _Shift(1, False, tuple(k for k, n in enumerate(m.type.shape) if n != 1))}
    pending = list(users[m])
    heapq.heapify(pending)
    done = -1
    try:
        while pending:
            k = heapq.heappop(pending)
            if k == done:
                continue
            done, op = k, block.ops[k]
            shift = _after(op, shifts)
            if shift is not None and shift.times:
                shifts[op.result] = shift
                for user in users.get(op.result, ()):
                    heapq.heappush(pending, user)
    except _LostError:
        return False
    return not any(v in shifts for v in block.results)


def _after(op: Op, shifts: Mapping[Value, _Shift]) -> _Shift | None:
    """How the result of an op is shifted; None where it is not. Raises _LostError."""
    if op.name == "stop_gradient":
        return None
    if op.regions or len(op.results) != 1 or not any(v in shifts for v in op.operands):
        raise _LostError  # it is used in a region, or as an extent
    mine = [shifts.get(v) for v in op.operands]
    rank = len(op.result.type.shape)
    if op.name in ("add", "subtract", "multiply", "divide"):
        a, b = (s and _aligned(s, v, rank) for s, v in zip(mine, op.operands, strict=True))
        return _combined(op.name, a, b)
    first = mine[0]
    if first is None or any(s is not None for s in mine[1:]):
        if op.name == "einsum":
            return _product(op, mine)
        raise _LostError
    match op.name:
        case "negative":
            return first if first.exponential else first._replace(times=-first.times)
        case "exp" if not first.exponential:
            return first._replace(exponential=True)
        case "log" if first.exponential:
            return first._replace(exponential=False)
        case "broadcast_to":
            return _aligned(first, op.operands[0], rank)
        case "reshape":
            return first._replace(axes=_kept(op.operands[0].type.shape, op.result.type.shape, first.axes))
        case "transpose":
            return first._replace(axes=tuple(op.attrs["perm"].index(k) for k in first.axes))
        case "reduce_sum" if first.exponential and not set(first.axes) & set(op.attrs["axes"]):
            rest = [k for k in range(len(op.operands[0].type.shape)) if k not in op.attrs["axes"]]
            return first._replace(axes=tuple(map(rest.index, first.axes)))
        case "gather":
            return first._replace(axes=tuple(_gathered(op, k) for k in first.axes))
        case "einsum":
            return _product(op, mine)
        case _:
            raise _LostError


def _aligned(s: _Shift, v: Value, rank: int) -> _Shift:
    """The shift of a value that is broadcast to a rank."""
    return s._replace(axes=tuple(k + rank - len(v.type.shape) for k in s.axes))


def _combined(name: str, a: _Shift | None, b: _Shift | None) -> _Shift | None:
    """The shift of a sum, difference, product or quotient."""
    known = a or b
    assert known is not None
    products = name in ("multiply", "divide")
    if a is not None and b is not None and (a.axes != b.axes or a.exponential != b.exponential):
        raise _LostError
    if known.exponential != products:
        # a sum of exponentials keeps a factor that both have
        if not products and a is not None and b is not None and a.times == b.times:
            return a
        raise _LostError
    sign = -1 if name in ("subtract", "divide") else 1
    return known._replace(times=(a.times if a else 0) + sign * (b.times if b else 0))


def _product(op: Op, mine: Sequence[_Shift | None]) -> _Shift:
    """The shift of a sum of products, one factor of which is shifted."""
    shifted = [k for k, s in enumerate(mine) if s is not None]
    s = mine[shifted[0]]
    assert s is not None
    if len(shifted) != 1 or not s.exponential:
        raise _LostError
    inputs, _, output = op.attrs["spec"].partition("->")
    letters = [inputs.split(",")[shifted[0]][k] for k in s.axes]
    if any(letter not in output for letter in letters):
        raise _LostError
    return s._replace(axes=tuple(map(output.index, letters)))


def _kept(old: Sequence[Dim], new: Sequence[Dim], axes: Sequence[int]) -> tuple[int, ...]:
    """Where axes are after a reshape that only puts in, or takes out, axes of extent 1."""
    before = [k for k, n in enumerate(old) if n != 1]
    after = [k for k, n in enumerate(new) if n != 1]
    if [old[k] for k in before] != [new[k] for k in after]:
        raise _LostError
    return tuple(after[before.index(k)] for k in axes)


def _gathered(op: Op, axis: int) -> int:
    """Where an axis is after a gather: one that is not indexed, or is by 0, 1, 2, ... along some axis."""
    x, *idx = op.operands
    axes, at, shape = op.attrs["axes"], op.attrs["at"], idx[0].type.shape
    if axis not in axes:
        rest = [k for k in range(len(x.type.shape)) if k not in axes]
        place = rest.index(axis)
        return place if place < at else place + len(shape)
    index, extent = array_of(idx[axes.index(axis)]), x.type.shape[axis]
    if index is None or not isinstance(extent, int):
        raise _LostError
    for k, n in enumerate(shape):
        counted = np.arange(extent).reshape(tuple(-1 if j == k else 1 for j in range(len(shape))))
        if n == extent and np.array_equal(index, np.broadcast_to(counted, index.shape)):
            return at + k
    raise _LostError
