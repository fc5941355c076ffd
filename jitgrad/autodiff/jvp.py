"""Forward mode: from a graph to the graph of its values and tangents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jitgrad.autodiff.activity import active_values
from jitgrad.autodiff.vjp import check_parameters
from jitgrad.errors import DifferentiationError, IRError
from jitgrad.ir.core import Block, Builder, Graph, Op, Value
from jitgrad.ir.liveness import carried
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
        p = env[graph.params[k]]
        tangents[p] = Var(b, b.param(p.type, f"t_{p.name}" if p.name else None))
    with b.region() as copies:
        for op in graph.ops:
            b.copy(op, env)
    params, results = [env[p] for p in graph.params], [env[r] for r in graph.results]
    active = active_values(Graph(graph.name, Block(params, copies.ops, results)), wrt)
    _block(copies.ops, b, tangents, active)
    values = results if with_value else []
    return b.build(*values, *(_tangent(b, r, tangents) for r in results))


def _tangent(b: Builder, value: Value, tangents: dict[Value, Var]) -> Value:
    """The tangent of a value, with zeros filled in."""
    return (tangents.get(value) or zeros(b, value.type)).value


def _block(ops: Sequence[Op], b: Builder, tangents: dict[Value, Var], active: set[Value]) -> None:
    """Emit the ops, each with its tangent."""
    for op in ops:
        if op.regions and any(r in active for r in op.results):
            _regions(op, b, tangents, active)
            continue
        b.ops.append(op)
        if any(r in active for r in op.results):
            push_forward(op, b, {}, tangents)


def _regions(op: Op, b: Builder, tangents: dict[Value, Var], active: set[Value]) -> None:
    """Emit an op with regions that gives the tangents of its active results as further results. A loop carries them
    along with the values."""
    moving = [k for k, r in enumerate(op.results) if r in active]
    loop = op.name in ("for", "while")
    with b.at(op.loc):
        starts = [_tangent(b, op.operands[k], tangents) for k in moving] if loop else []
    blocks = []
    for region in op.regions:
        test = op.name == "while" and region is op.regions[0]
        with b.region() as new:
            new.params = list(region.params)
            inner = dict(tangents)
            for k, start in zip(moving, starts, strict=False):
                p = carried(op, region)[k]
                inner[p] = Var(b, new.param(start.type, f"t_{p.name}" if p.name else None))
            if test:
                b.ops.extend(region.ops)
                new.finish(*region.results)
            else:
                _block(region.ops, b, inner, active)
                with b.at(op.loc):
                    ends = [_tangent(b, region.results[k], inner) for k in moving]
                new.finish(*region.results, *ends)
        blocks.append(new.block)
    extra = tuple(Value(op.results[k].type) for k in moving)
    b.ops.append(Op(op.opdef, (*op.operands, *starts), op.attrs, (*op.results, *extra), tuple(blocks), op.loc))
    for k, t in zip(moving, extra, strict=True):
        tangents[op.results[k]] = Var(b, t)


def push_forward(op: Op, b: Builder, env: dict[Value, Value], tangents: dict[Value, Var]) -> None:
    """Enter the tangents of the results of one op into ``tangents``; a missing one is zero. ``env`` maps the op's
    values to those of ``b``, where they differ."""
    ts = [tangents.get(v) for v in op.operands]
    if all(t is None for t in ts):
        return
    rule = op.opdef
    if not isinstance(rule, OpRule):
        raise DifferentiationError(
            f"{op.name} can't be differentiated in forward mode. It has no derivative rule. "
            "Use jg.stop_gradient on its result if its derivative is not wanted.",
            op.loc,
        )
    outs = tuple(Var(b, env.get(r, r)) for r in op.results)
    xs = [Var(b, env.get(v, v)) for v in op.operands]
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
