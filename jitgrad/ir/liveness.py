"""Which values of a block are used, regions included, and the block without the others.

An op with an effect is live. A carried value of a loop is live when a result of the loop is used, or when an iteration
uses it for something that is. One that only carries itself on is dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from jitgrad.ir.core import Block, Op, Value
from jitgrad.ir.symbols import (
    named_values,
    renamed_attributes,
    renamed_param,
    renamed_type,
    used_values,
)


def live_values(block: Block, wanted: Iterable[Value]) -> set[Value]:
    """The values that ``wanted`` depend on. A result or parameter of a loop is in it if it must be carried."""
    live = set(wanted)
    _mark(block.ops, live)
    return live


def _mark(ops: Iterable[Op], live: set[Value]) -> None:
    for op in reversed(tuple(ops)):
        if not op.stays and not any(r in live for r in op.results):
            continue
        if not op.regions:
            live.update(used_values(op))
            continue
        for attr in op.attrs.values():
            live.update(named_values(attr))
        if op.name in ("for", "while"):
            _mark_loop(op, live)
        else:
            live.update(op.operands)
            for region in op.regions:
                live.update(y for r, y in zip(op.results, region.results, strict=True) if r in live)
                _mark(region.ops, live)


def carried(op: Op, region: Block) -> tuple[Value, ...]:
    """The parameters of a loop's region that stand for its carried values."""
    return region.params[1:] if op.name == "for" else region.params


def _mark_loop(op: Op, live: set[Value]) -> None:
    body = op.regions[-1]
    if op.name == "while":
        live.update(op.regions[0].results)
    while True:
        before = len(live)
        for region in op.regions:
            _mark(region.ops, live)
        for k, r in enumerate(op.results):
            if r in live or any(carried(op, region)[k] in live for region in op.regions):
                live.update((r, op.operands[k], body.results[k]))
                live.update(carried(op, region)[k] for region in op.regions)
        if len(live) == before:
            break
    for region in op.regions:
        for p in region.params:
            if p in live:
                live.update(named_values(p.type.shape))


def pruned(
    block: Block,
    live: set[Value],
    outer: Mapping[Value, Value] | None = None,
    regions: dict[Block, Block] | None = None,
) -> Block:
    """The block with its live ops only, loops without their dead carried values, branches without dead results.

    The block itself where nothing changes. ``outer`` renames values of the blocks around; ``regions`` gets the new
    region for each one inside that changes.
    """
    env: dict[Value, Value] = dict(outer or {})
    params = []
    for p in block.params:
        new = p
        if env and any(v in env for v in _param_names(p)):
            new = env[p] = renamed_param(p, env)
        params.append(new)
    ops: list[Op] = []
    changed = False
    for op in block.ops:
        if not op.stays and not any(r in live for r in op.results):
            changed = True
            continue
        new = _pruned_op(op, live, env, regions)
        changed |= new is not op
        ops.append(new)
    results = [env.get(v, v) for v in block.results]
    if not changed and _same(params, block.params) and _same(results, block.results):
        return block
    return Block(params, ops, results)


def _same(a: Sequence[object], b: Sequence[object]) -> bool:
    return all(x is y for x, y in zip(a, b, strict=True))


def _param_names(p: Value) -> set[Value]:
    found = named_values(p.type.shape)
    return found if p.symbol is None else found | named_values(p.symbol.limits)


def _pruned_op(op: Op, live: set[Value], env: dict[Value, Value], blocks: dict[Block, Block] | None) -> Op:
    kept = [k for k, r in enumerate(op.results) if r in live] if op.regions else list(range(len(op.results)))
    regions = tuple(_pruned_region(op, region, kept, live, env, blocks) for region in op.regions)
    if blocks is not None:
        blocks.update((a, b) for a, b in zip(op.regions, regions, strict=True) if a is not b)
    same = len(kept) == len(op.results) and _same(regions, op.regions)
    if same and not (env and any(v in env for v in used_values(op))):
        return op
    loop = op.name in ("for", "while")
    operands = [op.operands[k] for k in kept] if loop else op.operands
    results = tuple(Value(renamed_type(op.results[k].type, env), op.results[k].name) for k in kept)
    attrs = renamed_attributes(op.attrs, env)
    new = Op(op.opdef, tuple(env.get(v, v) for v in operands), attrs, results, regions, op.loc)
    for k, r in zip(kept, results, strict=True):
        env[op.results[k]] = r
        r.symbol = None
    return new


def _pruned_region(
    op: Op,
    region: Block,
    kept: list[int],
    live: set[Value],
    env: Mapping[Value, Value],
    blocks: dict[Block, Block] | None,
) -> Block:
    is_test = op.name == "while" and region is op.regions[0]
    if len(kept) < len(op.results):
        params = region.params
        if op.name in ("for", "while"):
            first = len(region.params) - len(op.results)
            params = (*region.params[:first], *(carried(op, region)[k] for k in kept))
        results = region.results if is_test else [region.results[k] for k in kept]
        region = Block(params, region.ops, results)
    return pruned(region, live, env, blocks)
