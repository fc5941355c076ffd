"""Splits a joint graph into a forward and a backward graph: what is saved between the two, and what is recomputed.

The saved values are a minimum cut. Each value of the forward part is an edge whose capacity is its size in bytes; what
the backward part reads hangs at the sink; the parameters, and the results of ops that are too expensive to run twice,
hang at the source. Constants and what follows from them cost nothing. Of several minimum cuts, the one nearest to the
backward part is taken, so that no more is recomputed than memory asks for.

A value whose size is only known when the program runs is no residual; what it is made by runs again.

A parameter that the backward part reads is a residual like any other: it is copied, because the caller may write into
his array before he pulls back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jitgrad.autodiff.network import Network
from jitgrad.errors import DifferentiationError, IRError
from jitgrad.ir.core import Builder, Graph, Op, Value
from jitgrad.ir.reruns import inner_values
from jitgrad.ir.symbols import used_values
from jitgrad.ops.op import Elementwise

#: Ops besides the elementwise ones that are cheap to run twice.
_CHEAP = {"constant", "iota", "ramp", "reshape", "transpose", "broadcast_to", "slice", "pad", "concatenate"}
_CHEAP |= {"gather", "cast", "where", "stop_gradient"}
#: What one more saved array costs, in bytes: an allocation, and a slot in two calls.
_OVERHEAD = 64
_INFINITE = 1 << 60


class Split(NamedTuple):
    """``forward``: parameters -> results, residuals. ``backward``: residuals, seeds -> cotangents."""

    forward: Graph
    backward: Graph
    n_residuals: int
    recomputed: tuple[Op, ...]


def split(joint: Graph, n_results: int, n_seeds: int) -> Split:
    """Split the joint graph that ``vjp_graph(..., seed="param")`` made, optimised or not.

    Parameters
    ----------
    joint : graph whose last ``n_seeds`` parameters are output cotangents and whose first ``n_results`` results are
        values; these must not depend on the seeds.
    """
    n_params = len(joint.params) - n_seeds
    backward_values = _dependents(joint, joint.params[n_params:])
    if any(r in backward_values for r in joint.results[:n_results]):
        raise IRError("a forward result depends on an output cotangent. The graph is not a joint graph; check n_seeds.")
    backward_ops = [op for op in joint.ops if any(r in backward_values for r in op.results)]
    backward = set(backward_ops)
    forward_ops = [op for op in joint.ops if op not in backward]
    needed = _needed(backward_ops, joint.results[n_results:], backward_values)
    saved = _minimum_cut(joint.params[:n_params], forward_ops, needed)
    recomputed = _to_recompute(forward_ops, needed, saved)
    forward = _forward_graph(joint, n_params, n_results, forward_ops, saved)
    backward = _backward_graph(joint, n_params, n_results, (*recomputed, *backward_ops), saved)
    return Split(forward, backward, len(saved), tuple(op for op in recomputed if op.name != "constant"))


def _dependents(graph: Graph, roots: Sequence[Value]) -> set[Value]:
    found = set(roots)
    for op in graph.ops:
        if any(v in found for v in used_values(op)):
            found.update(op.results)
    return found


def _needed(backward_ops: Sequence[Op], results: Sequence[Value], backward_values: set[Value]) -> list[Value]:
    """Forward values that the backward part reads, in the order of first use."""
    reads = [v for op in backward_ops for v in used_values(op)] + list(results)
    inside = {v for op in backward_ops for region in op.regions for v in inner_values(region)}
    return list(dict.fromkeys(v for v in reads if v not in backward_values and v not in inside))


def _to_recompute(forward_ops: Sequence[Op], needed: Sequence[Value], saved: Sequence[Value]) -> list[Op]:
    """Forward ops that lie between the saved values and those needed, in program order."""
    missing = set(needed) - set(saved)
    have = set(saved)
    ops: list[Op] = []
    for op in reversed(forward_ops):
        if any(r in missing for r in op.results):
            ops.append(op)
            missing.update(v for v in used_values(op) if v not in have)
    return ops[::-1]


def _forward_graph(joint: Graph, n_params: int, n_results: int, ops: Sequence[Op], saved: Sequence[Value]) -> Graph:
    b = Builder(f"{joint.name}_forward")
    env = {p: b.param(p.type, p.name) for p in joint.params[:n_params]}
    _copy(b, ops, env)
    return b.build(*(env[v] for v in (*joint.results[:n_results], *saved)))


def _backward_graph(joint: Graph, n_params: int, n_results: int, ops: Sequence[Op], saved: Sequence[Value]) -> Graph:
    b = Builder(f"{joint.name}_backward")
    env = {v: b.param(v.type, v.name) for v in (*saved, *joint.params[n_params:])}
    _copy(b, ops, env)
    return b.build(*(env[v] for v in joint.results[n_results:]))


def _copy(b: Builder, ops: Sequence[Op], env: dict[Value, Value]) -> None:
    for op in ops:
        saved = {r: env[r] for r in op.results if r in env}
        b.copy(op, env)
        env.update(saved)  # a saved result of a recomputed op stays the saved one


def _bytes(value: Value) -> int:
    size = value.type.size
    return _OVERHEAD + size * value.type.dtype.itemsize if isinstance(size, int) else _INFINITE


def _may_run_twice(op: Op) -> bool:
    if any(not isinstance(r.type.size, int) for r in op.results):
        if op.effects:
            raise DifferentiationError(
                f"the backward part needs a result of {op.name} that draws random numbers, and how large it is is "
                "known only when the program runs. It can't be kept, and must not be drawn again. Use jg.grad or "
                "jg.value_and_grad, or give the array an extent that is known.",
                op.loc,
            )
        return True
    return isinstance(op.opdef, Elementwise) or op.name in _CHEAP


def _minimum_cut(params: Sequence[Value], ops: Sequence[Op], needed: Sequence[Value]) -> list[Value]:
    """The values to save, in program order."""
    values = [*params, *(r for op in ops for r in op.results)]
    index = {v: k for k, v in enumerate(values)}
    source, sink = 2 * len(values), 2 * len(values) + 1
    net = Network(2 * len(values) + 2)
    for v, k in index.items():
        net.edge(2 * k, 2 * k + 1, _bytes(v))
    for p in params:
        net.edge(source, 2 * index[p], _INFINITE)
    for op in ops:
        for r in op.results:
            if not _may_run_twice(op):
                net.edge(source, 2 * index[r], _INFINITE)
                continue
            for v in dict.fromkeys(used_values(op)):
                if v in index:
                    net.edge(2 * index[v] + 1, 2 * index[r], _INFINITE)
    for v in needed:
        net.edge(2 * index[v] + 1, sink, _INFINITE)
    net.maximise(source, sink)
    after = net.reaching(sink)
    return [v for v, k in index.items() if 2 * k + 1 in after and 2 * k not in after]
