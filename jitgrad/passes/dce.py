"""Dead code elimination: remove the ops none of whose results is used, also in regions.

An op is live when it has an effect (``check``), the graph returns one of its results, or a live op uses one. A loop
loses the values that it carries for nobody. Parameters of the graph stay: they are its signature. That an op was
removed is never seen, with one exception: an index that is out of bounds in a ``gather`` whose result nobody uses is no
longer reported.
"""

from __future__ import annotations

from jitgrad.ir.core import Graph
from jitgrad.ir.liveness import live_values, pruned


def dce(graph: Graph) -> Graph:
    """The graph without its dead ops; the graph itself where there are none."""
    block = pruned(graph.block, live_values(graph.block, graph.results))
    return graph if block is graph.block else Graph(graph.name, block)
