"""Common subexpression elimination: of several equal ops, keep the first.

Two ops are equal when they have the same op, operands, attributes (bit by bit: ``0.0`` and ``-0.0`` differ) and result
types; the operands of commutative ops are compared without order. Ops with regions are left alone. Expects no
particular form and does no algebra: ``x + x`` and ``2 * x`` differ.
"""

from __future__ import annotations

from typing import Any

from jitgrad.ir.core import Block, Graph, Op, Value, attributes_key
from jitgrad.passes.rewrite import renamed

#: Swapping their operands changes nothing, but for which NaN, or which of two zeros in maximum and minimum, is taken.
COMMUTATIVE = frozenset(
    (
        *("add", "multiply", "maximum", "minimum", "fmax", "fmin", "hypot", "logaddexp", "logaddexp2"),
        *("equal", "not_equal", "logical_and", "logical_or", "logical_xor"),
        *("bitwise_and", "bitwise_or", "bitwise_xor"),
    )
)


def cse(graph: Graph) -> Graph:
    """The graph with every op computed once; the graph itself where nothing is computed twice."""
    env: dict[Value, Value] = {}
    seen: dict[Any, Op] = {}
    ops: list[Op] = []
    for op in graph.ops:
        new = renamed(op, env)
        first = None if op.regions else seen.setdefault(_key(new), new)
        if first is None or first is new:
            ops.append(new)
            first = new
        env.update((a, b) for a, b in zip(op.results, first.results, strict=True) if a is not b)
    if len(ops) == len(graph.ops):
        return graph
    return Graph(graph.name, Block(graph.params, ops, [env.get(v, v) for v in graph.results]))


def _key(op: Op) -> Any:
    # Values compare by identity; id() orders them within one run of the pass, while all of them are alive.
    operands = tuple(id(v) for v in op.operands)
    if op.name in COMMUTATIVE:
        operands = tuple(sorted(operands))
    return op.name, operands, attributes_key(op.attrs), tuple(r.type for r in op.results)
