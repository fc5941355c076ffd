"""The forward loop with tapes carried through it, and the reversed one with what it needs at the start of each region.

What is needed, and how each value is supplied, is decided by :class:`jitgrad.autodiff.tapes.Plan`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jitgrad.autodiff.links import Links
from jitgrad.autodiff.tapes import Plan, Tape
from jitgrad.ir.core import Block, Builder, Op, Value
from jitgrad.ir.index import Dim, expr, never_negative
from jitgrad.ir.nest import Frame
from jitgrad.ir.symbols import (
    copied_op,
    named_values,
    renamed_attribute,
    renamed_attributes,
    renamed_dim,
    renamed_param,
    renamed_type,
    symbol_of,
    used_values,
)
from jitgrad.ir.types import TensorType, i64


def resolve(b: Builder, plan: Plan, forward: Op, reverse: Op, notes: list[str] | None = None) -> int | None:
    """Supply everything that ``reverse`` names of the regions of ``forward``, as ``plan`` has it. Both stand in the
    block that is being built, and both are replaced there; their results stay the same values.

    Returns the bytes of the tapes, None where that is not known.
    """
    if notes is not None:
        notes += plan.describe()
    outputs = dict.fromkeys(plan.tapes)
    at = b.ops.index(forward)
    with b.region() as scratch:
        current: dict[Tape, Value] = {}
        for t in outputs:
            shape = tuple(_not_negative(b, d) for d in t.layout.shape)
            current[t] = b.emit("empty", shape=shape, dtype=t.value.type.dtype)
            current[t].name = f"tape_{t.value.name}" if t.value.name else "tape"
        if outputs:
            _augment(b, plan, forward, list(outputs), current)
        else:
            b.ops.append(forward)
    b.ops[at : at + 1] = scratch.ops
    at = b.ops.index(reverse)
    with b.region() as scratch:
        _Rebuilder(b, plan, current, plan.links).op(reverse, {}, keep=True)
    b.ops[at : at + 1] = scratch.ops
    sizes = [math.prod(t.layout.shape) * t.value.type.dtype.itemsize for t in plan.tapes]
    known = [n for n in sizes if isinstance(n, int)]
    return sum(known) if len(known) == len(sizes) else None


def _not_negative(b: Builder, d: Dim) -> Dim:
    """An extent that may come out negative, for a loop that does not run, as one that is 0 there."""
    if never_negative(d):
        return d
    return expr(symbol_of(b.emit("maximum", b.emit("index", value=d), b.constant(0, np.int64))))


# The forward loops, with tapes


def _below(op: Op, tapes: Sequence[Tape]) -> list[Tape]:
    """The tapes whose value is made in a region of ``op``."""
    return [t for t in tapes if _is_below(t.frame, op)]


def _is_below(frame: Frame | None, op: Op) -> bool:
    while frame is not None:
        if frame.op is op:
            return True
        frame = frame.parent
    return False


def _augment(b: Builder, plan: Plan, op: Op, tapes: Sequence[Tape], current: dict[Tape, Value]) -> None:
    """Emit ``op`` with the tapes carried through it, and enter their new versions into ``current``."""
    loop = op.name in ("for", "while")
    blocks = []
    for region in op.regions:
        with b.region() as new:
            new.params = list(region.params)
            inner = {t: new.param(current[t].type, current[t].name) for t in tapes} if loop else dict(current)
            if op.name == "while" and region is op.regions[0]:
                b.ops.extend(region.ops)
                new.finish(*region.results)
                blocks.append(new.block)
                continue
            extra = [t for t in tapes if t.value in plan.extra and t.frame.block is region]
            _save(b, region.params, tapes, inner)
            _save_extra(b, plan, [t for t in extra if plan.ready_at(t.value) < 0], inner)
            for k, child in enumerate(region.ops):
                below = _below(child, tapes) if child.regions else []
                if below:
                    _augment(b, plan, child, below, inner)
                else:
                    b.ops.append(child)
                _save(b, child.results, tapes, inner)
                _save_extra(b, plan, [t for t in extra if plan.ready_at(t.value) == k], inner)
            new.finish(*region.results, *(inner[t] for t in tapes))
        blocks.append(new.block)
    extra = tuple(Value(current[t].type, current[t].name) for t in tapes)
    operands = (*op.operands, *(current[t] for t in tapes)) if loop else op.operands
    b.ops.append(Op(op.opdef, operands, op.attrs, (*op.results, *extra), tuple(blocks), op.loc))
    current.update(zip(tapes, extra, strict=True))


def _save(b: Builder, values: Sequence[Value], tapes: Sequence[Tape], current: dict[Tape, Value]) -> None:
    for t in tapes:
        if t.value in values:
            _write(b, t, t.value, current)


def _save_extra(b: Builder, plan: Plan, tapes: Sequence[Tape], current: dict[Tape, Value]) -> None:
    """Compute ops of the reversed region in the forward one, and save their results."""
    env: dict[Value, Value] = {}

    def compute(v: Value) -> None:
        op = plan.extra.get(v)
        if op is None or v in env:
            return
        for u in used_values(op):
            compute(u)
        b.ops.append(copied_op(op, env))

    for t in tapes:
        compute(t.value)
        _write(b, t, env[t.value], current)


def _write(b: Builder, t: Tape, piece: Value, current: dict[Tape, Value]) -> None:
    with b.at(t.value.op.loc if t.value.op is not None else None):
        if piece.type.shape != t.layout.sizes:
            piece = b.emit("reshape", piece, shape=t.layout.sizes)
        steps = (1,) * len(t.layout.shape)
        current[t] = b.emit("set_slice", current[t], piece, starts=t.layout.starts, steps=steps)


# The reversed loops, with what they need


class _Rebuilder:
    """Copies the reversed op, with supplies at the start of each region and names resolved."""

    def __init__(self, b: Builder, plan: Plan, tapes: dict[Tape, Value], links: Links) -> None:
        self.b, self.plan, self.tapes, self.links = b, plan, tapes, links

    def op(self, op: Op, env: dict[Value, Value], *, keep: bool = False) -> None:
        """Emit a copy of an op; its results are entered into ``env``, or kept as they are. One of forward values only
        was supplied before, where it is needed."""
        if op.results and op.results[0] in self.plan.extra:
            return
        if not op.regions:
            self.b.ops.append(copied_op(op, env))
            return
        regions = tuple(self.block(region, env) for region in op.regions)
        operands = tuple(env.get(v, v) for v in op.operands)
        results = op.results if keep else tuple(Value(renamed_type(r.type, env), r.name) for r in op.results)
        self.b.ops.append(Op(op.opdef, operands, renamed_attributes(op.attrs, env), results, regions, op.loc))
        if not keep:
            env.update(zip(op.results, results, strict=True))

    def block(self, block: Block, outer: dict[Value, Value]) -> Block:
        env = dict(outer)
        with self.b.region() as new:
            for p in block.params:
                env[p] = renamed_param(p, env)
                new.params.append(env[p])
            link = self.links.get(block)
            if link is not None and link.forward in self.plan.nest.frames:
                loop = self.plan.nest.frames[link.forward].loop
                if link.index is not None and loop is not None:
                    env[loop.index] = env[link.index]
                for v in self.plan.supplies.get(link.forward, ()):
                    if v not in env:
                        with self.b.at(v.op.loc if v.op is not None else None):
                            self.supply(v, env)
            for op in block.ops:
                self.op(op, env)
            new.finish(*(env.get(v, v) for v in block.results))
        return new.block

    def supply(self, v: Value, env: dict[Value, Value]) -> None:
        """Emit what gives the value, and enter it into ``env``."""
        tape = self.plan.by_value.get(v)
        if tape is not None:
            self._read(v, self.tapes[tape], tape.layout.starts, tape.layout.sizes, None, env)
            return
        way = self.plan.way(v)
        if way.read is not None:
            box = way.read.box
            self._read(v, env.get(way.read.array, way.read.array), box.starts, box.sizes, box.steps, env)
        else:
            assert way.op is not None, way
            before = {r: env[r] for r in way.op.results if r in env}
            self.b.ops.append(copied_op(way.op, env))
            env.update(before)

    def _read(
        self,
        v: Value,
        array: Value,
        starts: tuple[Dim, ...],
        sizes: tuple[Dim, ...],
        steps: tuple[int, ...] | None,
        env: dict[Value, Value],
    ) -> None:
        starts, sizes = renamed_attribute(starts, env), renamed_attribute(sizes, env)
        piece = array
        if sizes != array.type.shape or any(s != 0 for s in starts) or (steps and any(s != 1 for s in steps)):
            piece = self.b.emit("slice", array, starts=starts, sizes=sizes, steps=steps or (1,) * len(starts))
        shape = renamed_attribute(v.type.shape, env)
        if piece.type.shape != shape:
            piece = self.b.emit("reshape", piece, shape=shape)
        env[v] = self._limited(piece, v, env)

    def _limited(self, piece: Value, v: Value, env: dict[Value, Value]) -> Value:
        """An integer that was read from a tape, in terms that still tell what limits it, such as a count of
        iterations."""
        if v.type != TensorType(i64) or v.symbol is None:
            return piece
        low, high = v.symbol.limits
        for limit, name in ((high, "minimum"), (low, "maximum")):  # in bounds even where an extent may be 0
            inside = (u for u in named_values(limit) if u in self.plan.nest.home)
            if limit is not None and all(u in env for u in inside):
                piece = self.b.emit(name, piece, self.b.emit("index", value=renamed_dim(limit, env)))
        return piece
