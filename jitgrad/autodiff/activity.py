"""Which values take part in a derivative."""

from __future__ import annotations

from collections.abc import Sequence

from jitgrad.ir.core import Graph, Op, Value
from jitgrad.ir.liveness import carried
from jitgrad.ir.types import is_float


def active_values(graph: Graph, wrt: Sequence[int]) -> set[Value]:
    """The float values that depend differentiably on the parameters ``wrt``, those in regions included."""
    active = {graph.params[k] for k in wrt}
    mark_active(graph.ops, active)
    return active


def mark_active(ops: Sequence[Op], active: set[Value]) -> None:
    """Enter the active values of a block, given those before it."""
    for op in ops:
        if op.name in ("for", "while"):
            _mark_loop(op, active)
        elif op.regions:
            for region in op.regions:
                mark_active(region.ops, active)
                active.update(r for r, y in zip(op.results, region.results, strict=True) if y in active)
        elif getattr(op.opdef, "differentiable", True) and any(v in active for v in op.operands):
            active.update(r for r in op.results if is_float(r.type.dtype))


def _mark_loop(op: Op, active: set[Value]) -> None:
    """A carried value is active if it is so at the start or after any iteration."""
    body = op.regions[-1]
    while True:
        before = len(active)
        for k, (init, result) in enumerate(zip(op.operands, op.results, strict=True)):
            if init in active or body.results[k] in active:
                active.update(carried(op, region)[k] for region in op.regions)
                active.add(result)
        mark_active(body.ops, active)
        if len(active) == before:
            return
