"""Loops that save what they carry every so many iterations, and run the iterations in between again in reverse.

With ``T`` iterations, ``c`` bytes carried and ``t`` bytes on tapes an iteration, segments of ``B`` iterations take
``T/B * c + B * t`` bytes, least for ``B = sqrt(T * c / t)``: of the order of the square root of the whole tape
(A. Griewank, "Achieving logarithmic growth of temporal and spatial complexity in reverse automatic differentiation",
1992, with one level). Every iteration then runs once more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from jitgrad.ir.core import OPS, Block, Graph, Op, Value
from jitgrad.ir.index import Dim, add, expr, mul
from jitgrad.ir.symbols import copied_op, set_limits, symbol_of, trip_count
from jitgrad.ir.types import TensorType, i64


class Segments(NamedTuple):
    """A loop is cut into segments of ``length`` iterations; its memory goes from ``before`` to ``after`` bytes."""

    name: str
    length: int
    before: int
    after: int

    def __str__(self) -> str:
        return (
            f"{self.name} is saved every {self.length} iterations, which takes {self.after} bytes instead of "
            f"{self.before}"
        )


def choose_segments(graph: Graph, tapes: Mapping[int, int | None], budget: int) -> dict[int, Segments]:
    """Which loops to cut, by the number of their op, so that all tapes fit into the budget; the largest first.

    ``tapes`` has the bytes on tapes of each loop. Loops of unknown length stay as they are.
    """
    total = sum(n for n in tapes.values() if n is not None)
    chosen: dict[int, Segments] = {}
    for k, n in sorted(tapes.items(), key=lambda item: -(item[1] or 0)):
        op = graph.ops[k]
        if total <= budget or n is None or op.name != "for":
            continue
        trips = trip_count(op.attrs["lo"], op.attrs["hi"], op.attrs["step"])
        carried = sum(v.type.size * v.type.dtype.itemsize for v in op.operands)
        if not isinstance(trips, int) or not isinstance(carried, int) or trips < 4 or n == 0:
            continue
        length = min(max(round(math.sqrt(trips * max(carried, 1) * trips / n)), 1), trips)
        after = -(-trips // length) * carried + length * n // trips
        if after >= n:
            continue
        where = f"the loop at {op.loc.short()}" if op.loc else "a loop"
        chosen[k] = Segments(where, length, n, after)
        total += after - n
    return chosen


def segmented(op: Op, length: int) -> list[Op]:
    """A ``for`` of known length as a loop over segments, each a checkpointed loop, and one over what is left.

    The results stay the same values.
    """
    lo, hi, step = op.attrs["lo"], op.attrs["hi"], op.attrs["step"]
    trips = trip_count(lo, hi, step)
    assert isinstance(trips, int)
    count, rest = divmod(trips, length)
    number = Value(TensorType(i64), "segment")
    set_limits(number, 0, count, 1)
    first = add(lo, mul(expr(symbol_of(number)), length * step))
    inits = [Value(v.type, v.name) for v in op.results]
    inner_results = [Value(v.type, v.name) for v in op.results]
    whole_results = [Value(v.type, v.name) for v in op.results]
    inner = _loop(op, tuple(inits), tuple(inner_results), first, add(first, length * step))
    wrapped = Op(OPS["checkpoint"], (), {}, tuple(whole_results), (Block((), [inner], inner_results),), op.loc)
    outer_body = Block([number, *inits], [wrapped], whole_results)
    results = op.results if not rest else tuple(Value(v.type, v.name) for v in op.results)
    attrs = {"lo": 0, "hi": count, "step": 1}
    outer = Op(op.opdef, op.operands, attrs, results, (outer_body,), op.loc)
    if not rest:
        return [outer]
    left = _loop(op, results, op.results, add(lo, count * length * step), hi)
    return [outer, left]


def _loop(op: Op, operands: tuple[Value, ...], results: tuple[Value, ...], lo: Dim, hi: Dim) -> Op:
    """A copy of the loop over another range."""
    body, step = op.regions[0], op.attrs["step"]
    index = Value(TensorType(i64), body.params[0].name)
    set_limits(index, lo, hi, step)
    params = [Value(p.type, p.name) for p in body.params[1:]]
    env = dict(zip(body.params, (index, *params), strict=True))
    ops = [copied_op(inner, env) for inner in body.ops]
    block = Block([index, *params], ops, [env.get(v, v) for v in body.results])
    return Op(op.opdef, operands, {"lo": lo, "hi": hi, "step": step}, results, (block,), op.loc)
