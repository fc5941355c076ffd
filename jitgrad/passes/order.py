"""One order for both: ``sort(x)`` is ``x`` gathered in its order where ``argsort(x)`` is computed too.

The derivative of a sort needs the order of the elements, so a program with both would sort twice. To gather takes a
small part of the time that sorting takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jitgrad.ir.core import Block, Graph, Op
from jitgrad.ops.op import Var, apply
from jitgrad.ops.sorting import order_index
from jitgrad.passes.rewrite import Rewriter


def order(graph: Graph) -> Graph:
    """The graph without such sorts. Orders that are computed twice then are left to ``cse``."""
    found = set(_found(graph.block))
    return _Orderer(graph, found).run(graph) if found else graph


def _found(block: Block) -> list[Op]:
    """The sorts whose order is computed in the same block."""
    found = [op for inner in block.ops for region in inner.regions for op in _found(region)]
    orders = {_key(op) for op in block.ops if op.name == "argsort"}
    return found + [op for op in block.ops if op.name == "sort" and _key(op) in orders]


def _key(op: Op) -> tuple[Any, ...]:
    return op.operands[0], op.attrs["axis"]


class _Orderer(Rewriter):
    def __init__(self, graph: Graph, found: set[Op]) -> None:
        super().__init__(graph, {})
        self.found = found

    def _walk(self, ops: Sequence[Op]) -> None:
        for op in ops:
            if op not in self.found:
                super()._walk((op,))
                continue
            self.loc = op.loc
            x = Var(self, self.env.get(op.operands[0], op.operands[0]))
            index = order_index(x, op.attrs["axis"])
            self._rename(op.results, (apply("gather", x, *index, axes=tuple(range(x.ndim)), at=0).value,))
