"""Erase what only differentiation looks at: ``stop_gradient(x)`` and ``no_derivative(x)`` are x, and ``safe_sqrt(x)``
has the value of ``sqrt``.

Run once everything has been differentiated; a graph that went through this pass must not be differentiated again.
"""

from __future__ import annotations

from jitgrad.ir.core import Graph, Value
from jitgrad.passes.rewrite import Node, Rewriter


def erase(graph: Graph) -> Graph:
    """The graph without its markers for differentiation."""
    return Rewriter(graph, {"stop_gradient": [_operand], "no_derivative": [_operand], "safe_sqrt": [_safe_sqrt]}).run(
        graph
    )


def _operand(r: Rewriter, node: Node) -> Value:
    return node.operands[0]


def _safe_sqrt(r: Rewriter, node: Node) -> Value:
    return r.emit("sqrt", *node.operands)
