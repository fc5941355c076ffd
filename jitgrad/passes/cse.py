"""Common subexpression elimination: of several equal ops, keep the first.

Two ops are equal when they have the same op, operands, attributes (bit by bit: ``0.0`` and ``-0.0`` differ) and result
types; the operands of commutative ops are compared without order. Ops with regions are kept, and looked into; ops with
effects are kept. Expects
no particular form and does no algebra: ``x + x`` and ``2 * x`` differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jitgrad.ir.core import Block, Graph, Op, Value, attributes_key
from jitgrad.ir.symbols import renamed_attributes, renamed_param
from jitgrad.passes.rewrite import rebuilt, renamed

#: Swapping their operands changes nothing, but for which NaN, or which of two zeros in maximum and minimum, is taken.
COMMUTATIVE = frozenset(
    (
        *("add", "multiply", "maximum", "minimum", "fmax", "fmin", "hypot", "logaddexp", "logaddexp2"),
        *("equal", "not_equal", "logical_and", "logical_or", "logical_xor"),
        *("bitwise_and", "bitwise_or", "bitwise_xor"),
    )
)


def cse(graph: Graph) -> Graph:
    """The graph with every op computed once; the graph itself where nothing is computed twice.

    An op in a region that equals one before it, there or in a block around, goes.
    """
    block = _block(graph.block, {}, {})
    return graph if block is graph.block else Graph(graph.name, block)


def _block(block: Block, env: dict[Value, Value], seen: Mapping[Any, Op]) -> Block:
    """``env`` grows by what is renamed here; ``seen`` are the ops that can be seen from the block."""
    known: dict[Any, Op] = dict(seen)
    params = []
    for p in block.params:
        new = renamed_param(p, env)
        same = new.type == p.type and (p.symbol is None or new.symbol is None or new.symbol.limits == p.symbol.limits)
        params.append(p if same else new)
        if not same:
            env[p] = new
    ops: list[Op] = []
    for op in block.ops:
        if op.regions or op.effects:
            new = _region_op(op, env, known) if op.regions else renamed(op, env)
            ops.append(new)
            first = new
        else:
            new = renamed(op, env)
            first = known.setdefault(_key(new), new)
            if first is new:
                ops.append(new)
        env.update((a, b) for a, b in zip(op.results, first.results, strict=True) if a is not b)
    results = [env.get(v, v) for v in block.results]
    old = (*block.params, *block.ops, *block.results)
    new_parts = (*params, *ops, *results)
    if len(old) == len(new_parts) and all(a is b for a, b in zip(old, new_parts, strict=True)):
        return block
    return Block(params, ops, results)


def _region_op(op: Op, env: dict[Value, Value], seen: Mapping[Any, Op]) -> Op:
    operands = tuple(env.get(v, v) for v in op.operands)
    attrs = renamed_attributes(op.attrs, env)
    # What a checkpoint runs again must not be taken from the first run.
    seen = {} if op.name == "checkpoint" else seen
    regions = tuple(_block(region, env, seen) for region in op.regions)
    old, new = (*op.operands, op.attrs, *op.regions), (*operands, attrs, *regions)
    return op if all(a is b for a, b in zip(old, new, strict=True)) else rebuilt(op, operands, attrs, regions, env)


def _key(op: Op) -> Any:
    # Values compare by identity; id() orders them within one run of the pass, while all of them are alive.
    operands = tuple(id(v) for v in op.operands)
    if op.name in COMMUTATIVE:
        operands = tuple(sorted(operands))
    return op.name, operands, attributes_key(op.attrs), tuple(r.type for r in op.results)
