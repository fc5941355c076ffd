"""float16 and bfloat16 are formats of memory: what computes on them does so in float32.

Every op that computes gets float32 operands, by casts, and its results are rounded to the short dtype at once. That is
what NumPy and ml_dtypes do, and for ``+ - * /`` and ``sqrt`` gives the number nearest to the exact result, since
float32 has more than twice its digits. A sum or a product of matrices is an op too: it accumulates in float32 and is
rounded once. Ops that only move elements, and those with regions, keep the dtype (``OpDef.wide`` is False), and so do
the parameters, results and carried values of a graph.

The passes after this one see float32 arithmetic between casts. A cast to a short dtype is no part of any rule that
drops casts, as it rounds; one from it is exact. So nothing below knows arithmetic in it: it is loaded, stored, selected
and cast.
"""

from __future__ import annotations

from collections.abc import Sequence

from jitgrad.ir.core import Block, Graph, Op, Value
from jitgrad.ir.symbols import renamed_attributes
from jitgrad.ir.types import f32, is_short
from jitgrad.passes.rewrite import Node, Rewriter, made_by


def widen(graph: Graph) -> Graph:
    """The graph with float16 and bfloat16 in ops that move elements only; the graph itself where it has no others."""
    return _Widen(graph).run(graph) if _any(graph.block) else graph


def _any(block: Block) -> bool:
    return any(_computes(op) or any(map(_any, op.regions)) for op in block.ops)


#: What stays as it is in a region, where each sum is rounded: a whole array would be converted there for the few
#: elements that are added to.
_IN_PLACE = "scatter_add"


def _computes(op: Op) -> bool:
    return op.opdef.wide and any(is_short(v.type.dtype) for v in (*op.operands, *op.results))


class _Widen(Rewriter):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph, {})
        self._depth = 0

    def _region(self, block: Block) -> Block:
        self._depth += 1
        found = super()._region(block)
        self._depth -= 1
        return found

    def _walk(self, ops: Sequence[Op]) -> None:
        for op in ops:
            if not _computes(op) or (self._depth and op.name == _IN_PLACE):
                super()._walk((op,))
                continue
            self.loc = op.loc
            operands = [self._wide(self.env.get(v, v)) for v in op.operands]
            new = self.emit_op(op.opdef, operands, renamed_attributes(op.attrs, self.env))
            self._rename(op.results, [self._narrow(a, b) for a, b in zip(op.results, new.results, strict=True)])
        self.loc = None

    def _wide(self, v: Value) -> Value:
        return self.append("cast", v, dtype=f32) if is_short(v.type.dtype) else v

    def _narrow(self, old: Value, new: Value) -> Value:
        if not is_short(old.type.dtype):
            new.name = old.name
            return new
        found = self.append("cast", new, dtype=old.type.dtype)
        found.name = old.name
        return found


def narrow(graph: Graph) -> Graph:
    """The graph with products of matrices that were float16, or bfloat16, as such, with results of float32: for
    libraries that take them so. Nothing rewrites a graph after this pass."""
    return Rewriter(graph, {"einsum": [_narrow_product]}).run(graph)


def _narrow_product(r: Rewriter, node: Node) -> Value | None:
    casts = [made_by(v, "cast") for v in node.operands]
    sources = [op.operands[0] for op in casts if op is not None]
    if len(sources) != 2 or node.type.dtype != f32:
        return None
    x, y = (v.type.dtype for v in sources)
    if x != y or not is_short(x):
        return None
    return r.append("einsum", *sources, spec=node.attrs["spec"], dtype=f32)
