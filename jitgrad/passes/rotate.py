"""Clearing at the end of an iteration, moved to the start of the next.

    d = zeros(n)                            d = zeros(n)
    for t in ...:                           for t in ...:
        d[1:-1] += g                =>          d[1:-1] = 0
        ...                                     d[1:-1] += g
        d[1:-1] = 0                             ...
                                            d[1:-1] = 0

The adjoint of what a loop overwrites is cleared once it was read, and added to in the next iteration. Side by side the
clearing and the addition are one write (``jitgrad.passes.pieces``). The first iteration finds zeros, so no value
changes.
"""

from __future__ import annotations

from jitgrad.ir.core import Graph, Op, Value
from jitgrad.ir.symbols import used_values
from jitgrad.passes.rewrite import Rewriter, full, is_number, made_by, renamed


def rotate(graph: Graph) -> Graph:
    """The graph with such clearings moved; the graph itself where there are none."""
    if not any(op.regions for op in graph.ops):
        return graph
    new = _Rotator(graph, {}).run(graph)
    same = len(new.ops) == len(graph.ops) and all(a is b for a, b in zip(new.ops, graph.ops, strict=True))
    return graph if same else new


class _Rotator(Rewriter):
    def _region_op(self, op: Op) -> None:
        super()._region_op(op)
        loop = self.ops[-1]
        if loop.name != "for":
            return
        found = {k: clear for k in range(len(loop.results)) if (clear := _clearing(loop, k)) is not None}
        if not found:
            return
        self.ops[-1] = new = self._rotated(loop, found)
        for k, (old, fresh) in enumerate(zip(op.results, new.results, strict=True)):
            self._rename((old,), (self._cleared(fresh, found[k]) if k in found else fresh,))

    def _cleared(self, array: Value, clear: Op) -> Value:
        zeros = full(self, 0, clear.operands[1].type)
        return self.append("set_slice", array, zeros, starts=clear.attrs["starts"], steps=clear.attrs["steps"])

    def _rotated(self, loop: Op, found: dict[int, Op]) -> Op:
        (body,) = loop.regions
        env: dict[Value, Value] = {}
        with self.region() as new:
            new.params = list(body.params)
            for k, clear in found.items():
                env[body.params[k + 1]] = self._cleared(body.params[k + 1], clear)
            for op in body.ops:
                if op in found.values():
                    env[op.result] = env.get(op.operands[0], op.operands[0])
                    continue
                again = renamed(op, env)
                env.update((a, b) for a, b in zip(op.results, again.results, strict=True) if a is not b)
                self.ops.append(again)
            new.finish(*(env.get(v, v) for v in body.results))
        results = tuple(Value(r.type, r.name) for r in loop.results)
        return Op(loop.opdef, loop.operands, loop.attrs, results, (new.block,), loop.loc)


def _clearing(loop: Op, k: int) -> Op | None:
    """The last thing that an iteration does to a carried array, if that is to clear a piece of it which is zero before
    the first iteration and is first added to."""
    (body,) = loop.regions
    result, param = body.results[k], body.params[k + 1]
    clear = made_by(result, "set_slice")
    if clear is None or clear not in body.ops or not is_number(clear.operands[1], 0.0):
        return None
    fixed = (*clear.attrs["starts"], *clear.operands[1].type.shape)
    if not all(isinstance(n, int) for n in fixed) or any(s != 1 for s in clear.attrs["steps"]):
        return None
    if body.results.count(result) > 1 or any(result in used_values(op) for op in body.ops):
        return None
    first = next((op for op in body.ops if param in used_values(op)), None)
    if first is None or first.name != "add_slice" or first.operands[0] is not param:
        return None
    return clear if _is_clear(loop.operands[k], clear) else None


def _is_clear(init: Value, clear: Op) -> bool:
    """Whether the piece that an op clears is zero already."""
    before = made_by(init, "set_slice")
    if before is None:
        return is_number(init, 0.0)
    same = all(before.attrs[name] == clear.attrs[name] for name in ("starts", "steps"))
    return same and before.operands[1].type == clear.operands[1].type and is_number(before.operands[1], 0.0)
