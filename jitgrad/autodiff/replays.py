"""Random numbers in what runs again in reverse: it draws the same numbers from generators of its own.

Before each region that may run again, the states of the generators that it draws from are saved (``generator_state``);
where it does run again, it gets new generators in those states. States of what does not run again are dead. So reverse
mode never draws from the program's generators, and a region that runs again needs no memory for what it has drawn.

Nor does it print again: see :func:`jitgrad.ir.reruns.silent`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jitgrad.errors import DifferentiationError
from jitgrad.ir.core import OPS, Block, Builder, Op, Value
from jitgrad.ir.custom import CustomRule
from jitgrad.ir.generators import STATE_BYTES, new_site
from jitgrad.ir.reruns import handles_of
from jitgrad.ir.types import TensorType

_BYTE = np.dtype(np.uint8)


def with_states(ops: Sequence[Op]) -> list[Op]:
    """The ops of a block with the states of generators before each loop and checkpoint that draws, in regions too.
    Results stay the same values."""
    new: list[Op] = []
    for op in ops:
        if op.regions and op.effects:
            regions = tuple(Block(r.params, with_states(r.ops), r.results) for r in op.regions)
            if any(r.ops != q.ops for r, q in zip(regions, op.regions, strict=True)):
                op = Op(op.opdef, op.operands, op.attrs, op.results, regions, op.loc)
            handles = handles_of([op]) if op.name in ("for", "while", "checkpoint") else []
            if handles and not (new and new[-1].name == "generator_state" and list(new[-1].operands) == handles):
                nbytes = STATE_BYTES * len(handles)
                state = Value(TensorType(_BYTE, (nbytes,)), "state")
                new.append(Op(OPS["generator_state"], tuple(handles), {"nbytes": nbytes}, (state,), (), op.loc))
        new.append(op)
    return new


def replayed(b: Builder, op: Op, before: Op | None) -> dict[Value, Value]:
    """Emit new generators for an op that runs again, in the states that the op before it has saved. Returns the new
    handles by the old ones."""
    handles = handles_of([op]) if op.effects else []
    _check_draws(op)
    if not handles:
        return {}
    assert before is not None and before.name == "generator_state" and list(before.operands) == handles
    restored = b.emit_op("restore_generators", [before.result], {"count": len(handles), "site": new_site()})
    return dict(zip(handles, restored.results, strict=True))


def _check_draws(op: Op, rule: CustomRule | None = None) -> None:
    """Raise DifferentiationError for an op that runs again with a function in it that has a rule and draws from a
    generator of the program's: no state of that is saved."""
    if not op.effects:
        return
    if op.name == "custom":
        rule = op.attrs["rule"]
    origin = op.operands[0].op if op.name == "draw" else None
    if rule is not None and origin is not None and origin.name == "generator":
        raise DifferentiationError(
            f"{rule.name} has a rule for its derivative and draws random numbers where it runs again in reverse, as "
            "under checkpoint or a memory budget: it would draw others. Draw outside of it, and pass the numbers.",
            op.loc,
        )
    for block in op.blocks:
        for inner in block.ops:
            _check_draws(inner, rule)
