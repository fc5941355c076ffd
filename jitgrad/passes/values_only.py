"""Ask for eigenvalues and singular values alone where the vectors are not used: that costs LAPACK a tenth.

Programs say ``eigh`` and ``svd`` until all is differentiated, since the derivatives need the vectors. So this runs once
nobody will differentiate the graph any more, and after dead ops are gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from jitgrad.ir.core import OPS, Graph, Op, Value
from jitgrad.ir.liveness import live_values
from jitgrad.ir.symbols import renamed_type
from jitgrad.passes.rewrite import Rewriter

#: Op -> which of its results are the values, and the op that computes nothing else.
VALUES = {"eigh": ((0,), "eigvalsh"), "svd": ((1,), "svdvals"), "eig": ((0, 1), "eigvals")}


def values_only(graph: Graph) -> Graph:
    """The graph with the ops that compute values alone; the graph itself where there is nothing to replace."""
    rewriter = _ValuesOnly(graph)
    found = rewriter.run(graph)
    return found if rewriter.replaced else graph


class _ValuesOnly(Rewriter):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph, {})
        self.live = live_values(graph.block, graph.results)
        self.replaced = False

    def _walk(self, ops: Sequence[Op]) -> None:
        for op in ops:
            if op.name not in VALUES or self._uses_vectors(op):
                super()._walk((op,))
                continue
            places, name = VALUES[op.name]
            values = tuple(op.results[k] for k in places)
            results = tuple(Value(renamed_type(v.type, self.env), v.name) for v in values)
            self.ops.append(Op(OPS[name], tuple(self.env.get(v, v) for v in op.operands), {}, results, (), op.loc))
            self._rename(values, results)
            self.replaced = True

    def _uses_vectors(self, op: Op) -> bool:
        places = VALUES[op.name][0]
        return any(r in self.live for k, r in enumerate(op.results) if k not in places)
