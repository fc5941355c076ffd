"""Regions that are none: loops that run once or never, branches that are known, carried values that stay the same.

* A ``for`` whose range is known to be empty gives what it was given; one with a single iteration is its body.
* A ``cond`` or ``switch`` over a constant is the branch that is taken. A result that is the same outer value in every
  branch is that value.
* A carried value that every iteration yields as it came in is the initial one, inside the loop and after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from jitgrad.ir.core import Block, Graph, Op, Value
from jitgrad.ir.liveness import carried
from jitgrad.ir.symbols import never_runs, renamed_attributes, renamed_type, trip_count
from jitgrad.passes.rewrite import Rewriter, array_of


def unwrap(graph: Graph, *, checkpoints: bool = False) -> Graph:
    """The graph with such regions gone; the graph itself where there are none.

    checkpoints : a checkpoint is its region. For the end, when no pass follows that would merge what it runs again
        with the first run.
    """
    if not any(op.regions for op in graph.ops):
        return graph
    new = _Unwrapper(graph, {})
    new.checkpoints = checkpoints
    new = new.run(graph)
    return graph if new.block.ops == graph.block.ops and new.results == graph.results else new


class _Unwrapper(Rewriter):
    checkpoints = False

    def _region_op(self, op: Op) -> None:
        if op.name == "checkpoint" and self.checkpoints:
            self._inline(op, op.regions[0])
            return
        if op.name == "for" and self._short_loop(op):
            return
        if op.name in ("cond", "switch") and self._known_branch(op):
            return
        if op.name in ("for", "while"):
            kept = [k for k in range(len(op.results)) if not self._unchanged(op, k)]
        else:
            kept = [k for k in range(len(op.results)) if not self._same_everywhere(op, k)]
        if len(kept) == len(op.results):
            super()._region_op(op)
        elif kept or op.stays:
            self._without(op, kept)
        else:
            self._replace(op.results, op.operands if op.name in ("for", "while") else op.regions[0].results)

    def _short_loop(self, op: Op) -> bool:
        attrs = renamed_attributes(op.attrs, self.env)
        trips = trip_count(attrs["lo"], attrs["hi"], attrs["step"])
        if never_runs(attrs["lo"], attrs["hi"], attrs["step"]):
            self._replace(op.results, op.operands)
            return True
        if trips != 1 or not isinstance(trips, int):
            return False
        (body,) = op.regions
        index = self.append("index", value=attrs["lo"])
        self._rename(body.params[:1], (index,))
        self._replace(body.params[1:], op.operands)
        self._inline(op, body)
        return True

    def _known_branch(self, op: Op) -> bool:
        value = array_of(self.env.get(op.operands[0], op.operands[0]))
        if value is None:
            return False
        number = int(not value) if op.name == "cond" else min(max(int(value), 0), len(op.regions) - 1)
        self._inline(op, op.regions[number])
        return True

    def _inline(self, op: Op, block: Block) -> None:
        self._walk(block.ops)
        self._replace(op.results, block.results)

    def _replace(self, old: Sequence[Value], new: Sequence[Value]) -> None:
        self._rename(old, [self.env.get(v, v) for v in new])

    def _unchanged(self, op: Op, k: int) -> bool:
        return op.regions[-1].results[k] is carried(op, op.regions[-1])[k]

    def _same_everywhere(self, op: Op, k: int) -> bool:
        values = {region.results[k] for region in op.regions}
        inside = {r for region in op.regions for inner in region.ops for r in inner.results}
        return len(values) == 1 and not values & inside

    def _without(self, op: Op, kept: list[int]) -> None:
        """Emit the op with some of its results only; the others are known."""
        loop = op.name in ("for", "while")
        gone = [k for k in range(len(op.results)) if k not in kept]
        for k in gone:
            known = op.operands[k] if loop else op.regions[0].results[k]
            self._replace([op.results[k]], [known])
            if loop:
                for region in op.regions:
                    self._replace([carried(op, region)[k]], [known])
        regions = []
        for region in op.regions:
            test = op.name == "while" and region is op.regions[0]
            params = [p for p in region.params if not loop or p not in [carried(op, region)[k] for k in gone]]
            results = region.results if test else [region.results[k] for k in kept]
            regions.append(self._region(Block(params, region.ops, results)))
        operands = [op.operands[k] for k in kept] if loop else op.operands
        renamed = tuple(self.env.get(v, v) for v in operands)
        results = [Value(renamed_type(op.results[k].type, self.env), op.results[k].name) for k in kept]
        attrs = renamed_attributes(op.attrs, self.env)
        self.ops.append(Op(op.opdef, renamed, attrs, tuple(results), tuple(regions), op.loc))
        self._rename([op.results[k] for k in kept], results)
