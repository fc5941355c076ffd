"""Random numbers in what runs again in reverse: it draws the same numbers from generators of its own.

Before each region that may run again, the states of the generators that it draws from are saved (``generator_state``);
where it does run again, it gets new generators in those states. States of what does not run again are dead. So reverse
mode never draws from the program's generators, and a region that runs again needs no memory for what it has drawn.

Nor does it print again: see :func:`silent`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jitgrad.autodiff.links import inner_values
from jitgrad.ir.core import OPS, Block, Builder, Op, Value
from jitgrad.ir.generators import STATE_BYTES, new_site
from jitgrad.ir.types import TensorType

_BYTE = np.dtype(np.uint8)
#: Ops with handles of generators as operands.
_TAKE_HANDLES = {"draw", "generator_state"}


def with_states(ops: Sequence[Op]) -> list[Op]:
    """The ops of a block with the states of generators before each loop and checkpoint that draws, in regions too.
    Results stay the same values."""
    new: list[Op] = []
    for op in ops:
        if op.regions and op.effects:
            regions = tuple(Block(r.params, with_states(r.ops), r.results) for r in op.regions)
            if any(r.ops != q.ops for r, q in zip(regions, op.regions, strict=True)):
                op = Op(op.opdef, op.operands, op.attrs, op.results, regions, op.loc)
            handles = _handles(op) if op.name in ("for", "while", "checkpoint") else []
            if handles and not (new and new[-1].name == "generator_state" and list(new[-1].operands) == handles):
                nbytes = STATE_BYTES * len(handles)
                state = Value(TensorType(_BYTE, (nbytes,)), "state")
                new.append(Op(OPS["generator_state"], tuple(handles), {"nbytes": nbytes}, (state,), (), op.loc))
        new.append(op)
    return new


def _handles(op: Op) -> list[Value]:
    """The handles from outside that the regions of an op draw from."""
    inside = {v for region in op.regions for v in inner_values(region)}
    found: dict[Value, None] = {}

    def visit(block: Block) -> None:
        for inner in block.ops:
            if inner.name in _TAKE_HANDLES:
                taken = inner.operands if inner.name == "generator_state" else inner.operands[:1]
                found.update((v, None) for v in taken if v not in inside)
            for region in inner.regions:
                visit(region)

    for region in op.regions:
        visit(region)
    return list(found)


def replayed(b: Builder, op: Op, before: Op | None) -> dict[Value, Value]:
    """Emit new generators for an op that runs again, in the states that the op before it has saved. Returns the new
    handles by the old ones."""
    handles = _handles(op) if op.effects else []
    if not handles:
        return {}
    assert before is not None and before.name == "generator_state" and list(before.operands) == handles
    restored = b.emit_op("restore_generators", [before.result], {"count": len(handles), "site": new_site()})
    return dict(zip(handles, restored.results, strict=True))


def silent(op: Op) -> Op:
    """An op of a run that is not the first, without what prints in its regions. Its results stay the same values."""
    if not op.effects or not op.regions:
        return op
    regions = tuple(
        Block(r.params, [silent(inner) for inner in r.ops if inner.name != "show"], r.results) for r in op.regions
    )
    return Op(op.opdef, op.operands, op.attrs, op.results, regions, op.loc)
