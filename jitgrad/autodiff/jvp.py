"""Forward mode: from a graph to the graph of its values and tangents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jitgrad.autodiff.activity import active_values
from jitgrad.autodiff.vjp import check_parameters
from jitgrad.errors import DifferentiationError, IRError
from jitgrad.ir.core import Builder, Graph, Op, Value
from jitgrad.ir.types import is_float
from jitgrad.ops.op import OpRule, Var, zeros


def jvp_graph(graph: Graph, wrt: Sequence[int], *, with_value: bool = True) -> Graph:
    """The graph with one tangent parameter more for each parameter in ``wrt`` (after those of the graph).

    Its results are those of ``graph`` (left out with ``with_value=False``), then one tangent for each of them, of the
    type of the result; results that do not depend differentiably on ``wrt``, and results that are not float, have
    tangents of zeros.

    Raises DifferentiationError if a parameter in ``wrt`` isn't float, or an op on the way has no rule; ArgumentError
    for a number that is no parameter.
    """
    check_parameters(graph, wrt)
    b = Builder(f"{graph.name}_jvp")
    env: dict[Value, Value] = {p: b.param(p.type, p.name) for p in graph.params}
    tangents: dict[Value, Var] = {}
    for k in wrt:
        p = graph.params[k]
        tangents[p] = Var(b, b.param(p.type, f"t_{p.name}" if p.name else None))
    active = active_values(graph, wrt)
    for op in graph.ops:
        b.copy(op, env)
        if any(r in active for r in op.results):
            push_forward(op, b, env, tangents)
    values = [env[r] for r in graph.results] if with_value else []
    return b.build(*values, *((tangents.get(r) or zeros(b, r.type)).value for r in graph.results))


def push_forward(op: Op, b: Builder, env: dict[Value, Value], tangents: dict[Value, Var]) -> None:
    """Enter the tangents of the results of one op into ``tangents``; a missing one is zero."""
    ts = [tangents.get(v) for v in op.operands]
    if all(t is None for t in ts):
        return
    rule = op.opdef
    if op.regions or not isinstance(rule, OpRule):
        raise DifferentiationError(
            f"{op.name} can't be differentiated in forward mode. It has no derivative rule. "
            "Use jg.stop_gradient on its result if its derivative is not wanted.",
            op.loc,
        )
    outs = tuple(Var(b, env[r]) for r in op.results)
    xs = [Var(b, env[v]) for v in op.operands]
    with b.at(op.loc):
        result: Any = rule.jvp(ts, outs[0] if len(outs) == 1 else outs, *xs, **op.attrs)  # pyright: ignore[reportArgumentType]
    found = (result,) if len(outs) == 1 else (None,) * len(outs) if result is None else result
    for r, t in zip(op.results, found, strict=True):
        if t is None or not is_float(r.type.dtype):
            continue
        if t.type != r.type:
            raise IRError(f"the tangent of {op.name} has type {t.type} and its result {r.type}. Its rule is wrong.")
        if r.name and t.value.name is None:
            t.value.name = f"t_{r.name}"
        tangents[r] = t
