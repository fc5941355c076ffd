"""Ops that run again, or ahead of the run that counts: they draw from other generators, and don't print."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from jitgrad.ir.core import Block, Graph, Op, Value, operations
from jitgrad.ir.custom import CustomRule

#: Ops with handles of generators as operands.
_TAKE_HANDLES = {"draw", "generator_state"}


def inner_values(block: Block) -> Iterator[Value]:
    """Every value that a block defines, in its regions too."""
    yield from block.params
    for op in block.ops:
        yield from op.results
        for region in op.regions:
            yield from inner_values(region)


def handles_of(ops: Sequence[Op]) -> list[Value]:
    """The handles from outside that some ops draw from, in their regions too."""
    inside = set(inner_values(Block((), ops, ())))
    found: dict[Value, None] = {}

    for op in operations(ops):
        if op.name in _TAKE_HANDLES:
            taken = op.operands if op.name == "generator_state" else op.operands[:1]
            found.update((v, None) for v in taken if v not in inside)
    return list(found)


def from_handles(op: Op, handles: Mapping[Value, Value]) -> Op:
    """An op that draws from other generators, which are given by those that it draws from. Its results stay the same
    values."""
    regions = tuple(Block(r.params, [from_handles(inner, handles) for inner in r.ops], r.results) for r in op.regions)
    operands = tuple(handles.get(v, v) for v in op.operands)
    return Op(op.opdef, operands, op.attrs, op.results, regions, op.loc)


def silent(op: Op) -> Op:
    """An op of a run that is not the first, without what prints in its regions. Its results stay the same values."""
    if op.effects and op.name == "custom":
        rule: CustomRule = op.attrs["rule"]
        graphs = {k: _silent_graph(g) for k in ("graph", "saving") if (g := getattr(rule, k)) is not None}
        return Op(op.opdef, op.operands, {"rule": dataclasses.replace(rule, **graphs)}, op.results, (), op.loc)
    if not op.effects or not op.regions:
        return op
    regions = tuple(
        Block(r.params, [silent(inner) for inner in r.ops if inner.name != "show"], r.results) for r in op.regions
    )
    return Op(op.opdef, op.operands, op.attrs, op.results, regions, op.loc)


def _silent_graph(graph: Graph) -> Graph:
    """The graph without what prints."""
    block = graph.block
    ops = [silent(op) for op in block.ops if op.name != "show"]
    return Graph(graph.name, Block(block.params, ops, block.results))
