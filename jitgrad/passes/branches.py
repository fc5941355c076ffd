"""Loops without conditionals: both branches are computed, and their results selected.

    if u[i] > 0.5:                          a = u[i] + k
        v[i] = u[i] + k            =>       b = u[i] * k
    else:                                   v[i] = where(u[i] > 0.5, a, b)
        v[i] = u[i] * k

That costs the branch that is not taken, and makes every iteration the same: so the loop can become array operations.
Only for branches of a few operations that can't fail, and that write nothing but one piece of an array, the same in
both. What a selection did not choose has no influence on derivatives, as with a branch that is not taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from jitgrad.ir.core import Builder, Op, Value
from jitgrad.ir.nest import Box, written_box
from jitgrad.ir.symbols import copied_op, renamed_param, used_values
from jitgrad.ops.op import Elementwise

#: Most operations of all branches of a loop.
_MOST = 60
_HARMLESS = {"constant", "index", "where", "cast", "stop_gradient", "reshape", "transpose", "broadcast_to", "slice"}
_HARMLESS |= {"set_slice"}


class _Stays(Exception):
    """A conditional that can't be a selection."""


def without_branches(b: Builder, loop: Op) -> Op | None:
    """A copy of a ``for`` with the conditionals of its body as selections; None where there are none, or where one
    can't be. Nothing is added to what is being built."""
    (body,) = loop.regions
    if not any(op.name == "cond" for op in body.ops):
        return None
    if sum(len(region.ops) for op in body.ops for region in op.regions) > _MOST:
        return None
    env: dict[Value, Value] = {}
    with b.region() as new:
        for p in body.params:
            env[p] = renamed_param(p, env)
            new.params.append(env[p])
        try:
            _copy(b, body.ops, env, branch=False)
        except _Stays:
            return None
        new.finish(*(env.get(v, v) for v in body.results))
    results = tuple(Value(r.type, r.name) for r in loop.results)
    return Op(loop.opdef, loop.operands, loop.attrs, results, (new.block,), loop.loc)


def _copy(b: Builder, ops: Sequence[Op], env: dict[Value, Value], *, branch: bool) -> None:
    for op in ops:
        if op.name == "cond":
            first = len(b.ops)
            for region in op.regions:
                _copy(b, region.ops, env, branch=True)
            pred = env.get(op.operands[0], op.operands[0])
            yes, no = ([env.get(v, v) for v in region.results] for region in op.regions)
            for r, x, y in zip(op.results, yes, no, strict=True):
                with b.at(op.loc):
                    env[r] = _selected(b, pred, x, y, first)
                    env[r].name = env[r].name or r.name
        elif op.regions or (branch and not _harmless(op)):
            raise _Stays
        else:
            b.ops.append(copied_op(op, env))


def _harmless(op: Op) -> bool:
    """Whether an op may be computed where its branch is not taken."""
    return op.name in _HARMLESS or isinstance(op.opdef, Elementwise)


def _selected(b: Builder, pred: Value, x: Value, y: Value, first: int) -> Value:
    """One result of a conditional. Its branches are the ops that were emitted from ``first`` on."""
    if x is y:
        return x
    if x.type.ndim == 0:
        return b.emit("where", pred, x, y)
    # An array: one piece of it is written in one branch, or the same piece in both.
    made = [_write(b, v, first) for v in (x, y)]
    given = [op for op in made if op is not None]
    base, box = given[0].operands[0] if given else None, written_box(given[0]) if given else None
    if base is None or box is None or any(op.operands[0] is not base or written_box(op) != box for op in given):
        raise _Stays
    if any(op is None and v is not base for op, v in zip(made, (x, y), strict=True)):
        raise _Stays
    for op in given:
        b.ops.remove(op)
        if any(op.result in used_values(other) for other in b.ops[first:]):
            raise _Stays
    pieces = [_read(b, base, box) if op is None else op.operands[1] for op in made]
    return b.emit("set_slice", base, b.emit("where", pred, *pieces), starts=box.starts, steps=box.steps)


def _write(b: Builder, v: Value, first: int) -> Op | None:
    """The write that a value is the result of, if a branch made it."""
    return v.op if v.op is not None and v.op.name == "set_slice" and v.op in b.ops[first:] else None


def _read(b: Builder, array: Value, box: Box) -> Value:
    return b.emit("slice", array, starts=box.starts, sizes=box.sizes, steps=box.steps)
