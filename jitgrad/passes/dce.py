"""Dead code elimination: remove the ops none of whose results is used.

An op is live when the graph returns one of its results or a live op uses one. Parameters stay: they are the graph's
signature. Ops have no effects, so removing one is never seen, with one exception: an index that is out of bounds in a
``gather`` whose result nobody uses is no longer reported.
"""

from __future__ import annotations

from jitgrad.ir.core import Block, Graph, Op, Value
from jitgrad.passes.rewrite import used_values


def dce(graph: Graph) -> Graph:
    """The graph without its dead ops; the graph itself where there are none."""
    live: set[Value] = set(graph.results)
    kept: list[Op] = []
    for op in reversed(graph.ops):
        if any(r in live for r in op.results):
            kept.append(op)
            live.update(used_values(op))
    if len(kept) == len(graph.ops):
        return graph
    return Graph(graph.name, Block(graph.params, kept[::-1], graph.results))
