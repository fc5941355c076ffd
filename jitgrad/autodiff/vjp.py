"""Reverse mode: from a graph to the joint graph of its values and cotangents.

The block is walked backwards, see ``jitgrad.autodiff.adjoints``; regions by ``jitgrad.autodiff.loops``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jitgrad.autodiff.activity import active_values
from jitgrad.autodiff.adjoints import Adjoints
from jitgrad.autodiff.checkpoints import choose_segments, segmented
from jitgrad.autodiff.loops import Reversal, number_loops
from jitgrad.autodiff.replays import with_states
from jitgrad.errors import ArgumentError, DifferentiationError
from jitgrad.ir.core import Block, Builder, Graph, Op, Value
from jitgrad.ir.custom import resolve
from jitgrad.ir.types import is_float
from jitgrad.ops.op import Cotangent, Var


def vjp_graph(
    graph: Graph,
    wrt: Sequence[int],
    *,
    with_value: bool = True,
    seed: str = "ones",
    outputs: Sequence[int] | None = None,
    notes: list[str] | None = None,
    memory_budget: int | None = None,
) -> Graph:
    """The joint graph: the results of ``graph``, then the cotangents of the parameters ``wrt``.

    Parameters
    ----------
    wrt : indices of float parameters.
    with_value : False leaves the results out.
    seed : ``"ones"``: the cotangent of the outputs is 1; they must be scalar. ``"param"``: the cotangents of the
        outputs are extra parameters, after those of the graph.
    notes : gets a line for each value that is saved in a loop, for reading.
    memory_budget : bytes that the tapes of all loops may take together. Loops that would take more save what they
        carry only every so many iterations, and run the iterations in between again. None: no limit.
    outputs : which results take a cotangent. By default the first one (``"ones"``) or all float ones (``"param"``).

    Raises DifferentiationError if a parameter or output isn't float, or an output isn't scalar where it must be;
    ArgumentError for a number that is no parameter or result.
    """
    if seed not in ("ones", "param"):
        raise ArgumentError(
            f"seed is {seed!r}. It says where the cotangents of the outputs come from. Give 'ones' or 'param'."
        )
    if outputs is None:
        outputs = [0] if seed == "ones" else [k for k, r in enumerate(graph.results) if is_float(r.type.dtype)]
    _check_differentiable(graph, wrt, outputs, scalar=seed == "ones")
    lines: list[str] = []
    options: dict[str, Any] = {"with_value": with_value, "seed": seed, "budget": memory_budget}
    joint, tapes = _reverse(graph, wrt, outputs, lines, {}, **options)
    if memory_budget is not None:
        segments = choose_segments(graph, tapes, memory_budget)
        if segments:
            lines = [f"memory budget of {memory_budget} bytes: {text}" for text in segments.values()]
            lengths = {k: s.length for k, s in segments.items()}
            joint, _ = _reverse(graph, wrt, outputs, lines, lengths, **options)
    if notes is not None:
        notes += lines
    return joint


def _reverse(
    graph: Graph,
    wrt: Sequence[int],
    outputs: Sequence[int],
    notes: list[str],
    segments: Mapping[int, int],
    *,
    with_value: bool,
    seed: str,
    budget: int | None,
) -> tuple[Graph, dict[int, int | None]]:
    """The joint graph, and the bytes on tapes for each loop, by the number of its op. ``segments`` gives the number of
    iterations between checkpoints for some of them."""
    b, copy = _fresh_copy(graph, f"{graph.name}_vjp")
    seeds = [b.param(graph.results[k].type, f"d_out{k}") for k in outputs] if seed == "param" else None
    numbers = {op.results[0]: k for k, op in enumerate(copy.ops) if op.results}
    ops: list[Op] = []
    for k, op in enumerate(copy.ops):
        ops += segmented(op, segments[k]) if k in segments else [op]
    active = active_values(Graph(copy.name, Block(copy.params, ops, copy.results)), wrt)
    ops = with_states(number_loops(ops, b, active))
    b.ops[:] = ops
    adjoints = Adjoints(b)
    for n, k in enumerate(outputs):
        result = copy.results[k]
        if result in active:
            one = Var(b, seeds[n]) if seeds else Var(b, b.constant(1, result.type.dtype))
            adjoints.add(result, Cotangent(one))
    reversal = Reversal(active, notes, room=budget)
    reversal.block(ops, adjoints)
    gradients = [adjoints.value(copy.params[k]).value for k in wrt]
    values = list(copy.results) if with_value else []
    taped = {numbers[op.results[0]]: n for op, n in reversal.taped.items() if op.results[0] in numbers}
    joint = resolve(b.build(*values, *gradients), lambda op: _is_reversed(op, active))
    return joint, taped


def _is_reversed(op: Op, active: set[Value]) -> bool:
    """Whether a ``custom`` op has been differentiated by a rule that is for reverse mode only: what comes next, in
    either mode, differentiates what the rule does."""
    return op.attrs["rule"].pushforward is None and not active.isdisjoint(op.results)


def _fresh_copy(graph: Graph, name: str) -> tuple[Builder, Graph]:
    """The graph with values of its own, and a builder that goes on from there."""
    b = Builder(name)
    env: dict[Value, Value] = {p: b.param(p.type, p.name) for p in graph.params}
    for op in graph.ops:
        b.copy(op, env)
    return b, Graph(name, Block([env[p] for p in graph.params], b.ops, [env[r] for r in graph.results]))


def check_parameters(graph: Graph, wrt: Sequence[int]) -> None:
    """Raise ArgumentError for a number that is no parameter of ``graph``, DifferentiationError for one that is not
    float."""
    for k in wrt:
        if not 0 <= k < len(graph.params):
            raise ArgumentError(
                f"wrt has {k}, and {graph.name} has {len(graph.params)} parameters. Parameters are counted from 0. "
                "Choose one of them."
            )
        p = graph.params[k]
        if not is_float(p.type.dtype):
            raise DifferentiationError(
                f"parameter {k} ({p.name or 'unnamed'}) of {graph.name} has type {p.type}. Only floats are "
                "differentiated. Leave it out of wrt, or make it float."
            )


def _check_differentiable(graph: Graph, wrt: Sequence[int], outputs: Sequence[int], *, scalar: bool) -> None:
    check_parameters(graph, wrt)
    for k in outputs:
        if not 0 <= k < len(graph.results):
            raise ArgumentError(
                f"outputs has {k}, and {graph.name} has {len(graph.results)} results. Results are counted from 0. "
                "Choose one of them."
            )
        r = graph.results[k]
        if not is_float(r.type.dtype):
            raise DifferentiationError(
                f"result {k} of {graph.name} has type {r.type}. Only floats are differentiated. "
                "Leave it out of outputs, or cast it to float."
            )
        if scalar and r.type.shape:
            raise DifferentiationError(
                f"result {k} of {graph.name} has type {r.type}. A gradient needs a scalar. "
                "Reduce it (sum, mean), or give the cotangent with seed='param'."
            )
