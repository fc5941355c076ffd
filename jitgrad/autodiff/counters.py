"""Counts of iterations: where the tape of a loop lies whose number of iterations only it knows.

A loop that stands in another one, such as the one over the edges of a node, has a number of iterations in each run that
depends on values. Its tape is *ragged*: flat, with one slot for each iteration that there was, of one run after the
other. So it needs how many iterations there were before each run, a number that the loops around carry, and, before the
nest runs, how many there will be altogether. For that the nest runs once more, ahead, without all that does not decide
how often its loops run: of a ``for`` over ``range(start[v], start[v + 1])`` only the differences are left to add up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from jitgrad.ir.core import Block, Builder, Op, Value, operations
from jitgrad.ir.index import Sym, expr
from jitgrad.ir.liveness import live_values, pruned
from jitgrad.ir.nest import Frame, Nest
from jitgrad.ir.reruns import silent
from jitgrad.ir.symbols import copied_op, loop_of, named_values, symbol_of, trip_count, used_values
from jitgrad.ir.types import TensorType, i64


class Counter(NamedTuple):
    """``before``: how many iterations a loop had in all its earlier runs, known where a run starts; ``total``: how many
    it has in all runs, known before the nest."""

    before: Value
    total: Value


def trial() -> Counter:
    """A counter that stands for one that is not there yet, to find out what tapes with it would take."""
    return Counter(Value(TensorType(i64), "before"), Value(TensorType(i64), "total"))


def with_counters(
    b: Builder, root: Op, loops: Collection[Op], handles: Mapping[Value, Value]
) -> tuple[Op, dict[Op, Counter], dict[Op, Op]]:
    """The nest ``root`` with a count of the iterations of each of ``loops``, which all regions around that one carry.
    Its results stay the same values, and the counts are more of them.

    Emits what has to stand before the nest: the run that counts. ``handles`` are the generators that that run draws
    from, by those that the nest draws from. Returns the new nest, the counters by the loops in it, and the loops that
    had to be made anew, by the old ones.
    """
    zero = b.constant(0, i64)
    before: dict[Op, Value] = {}
    changed: dict[Op, Op] = {}
    with b.region() as scratch:
        _carry(b, root, dict.fromkeys(loops, zero), before, changed)
    (new,) = scratch.ops
    run = silent(copied_op(new, dict(handles)))
    ends = run.results[-len(loops) :]
    b.ops.extend(pruned(Block((), (run,), ends), live_values(Block((), (run,), ()), ends)).ops)
    ends = b.ops[-1].results[-len(loops) :]
    counters: dict[Op, Counter] = {}
    for loop, end in zip(loops, ends, strict=True):
        total, start = b.emit("maximum", end, zero), before[loop]
        if start is not zero:
            start.symbol = Sym("before", 0, expr(symbol_of(total)), payload=start)
        counters[changed.get(loop, loop)] = Counter(start, total)
    return new, counters, changed


def _carry(b: Builder, op: Op, counts: dict[Op, Value], before: dict[Op, Value], changed: dict[Op, Op]) -> None:
    """Emit ``op``, which has the loops ``counts`` in it, with their counts carried through it, and enter the new ones.
    ``before`` gets those that each loop starts with, ``changed`` the ops that are made anew."""
    is_loop = op.name in ("for", "while")
    blocks: list[Block] = []
    for region in op.regions:
        with b.region() as new:
            new.params = list(region.params)
            inner = {loop: new.param(TensorType(i64), "before") if is_loop else n for loop, n in counts.items()}
            if op.name == "while" and region is op.regions[0]:
                b.ops.extend(region.ops)
                new.finish(*region.results)
                blocks.append(new.block)
                continue
            for child in region.ops:
                if child in inner:
                    before[child] = inner[child]
                below = {loop: n for loop, n in inner.items() if _is_in(loop, child)}
                if below:
                    _carry(b, child, below, before, changed)
                    inner.update(below)
                else:
                    b.ops.append(child)
                if child in inner:
                    inner[child] = _after(b, changed.get(child, child), inner[child])
            new.finish(*region.results, *inner.values())
        blocks.append(new.block)
    results = [Value(TensorType(i64), "iterations") for _ in counts]
    operands = (*op.operands, *counts.values()) if is_loop else op.operands
    changed[op] = Op(op.opdef, operands, op.attrs, (*op.results, *results), tuple(blocks), op.loc)
    b.ops.append(changed[op])
    counts.update(zip(counts, results, strict=True))


def _after(b: Builder, op: Op, count: Value) -> Value:
    """The count after a loop."""
    loop = loop_of(op)
    assert loop is not None and loop.end is not None
    with b.at(op.loc):
        trips = b.emit("index", value=trip_count(loop.lo, loop.end, loop.step))
        return b.emit("add", count, b.emit("maximum", trips, b.constant(0, i64)))


def _is_in(loop: Op, op: Op) -> bool:
    return any(inner is loop for region in op.regions for inner in operations(region.ops))


def inputs(nest: Nest, loop: Op, wanted: Iterable[Value]) -> list[Value]:
    """What a loop of the nest would take from the regions around it if it ran again, for those of its inner values that
    are wanted."""

    def is_inside(frame: Frame | None) -> bool:
        while frame is not None and frame.op is not loop:
            frame = frame.parent
        return frame is not None

    found: dict[Value, None] = {}
    seen: set[Value] = set()
    stack: list[Value] = []

    def take(values: Sequence[Value]) -> None:
        for v in values:
            if v not in seen:
                seen.add(v)
                stack.append(v)

    def controls(op: Op) -> None:
        """What decides which regions of an op run, and how often."""
        take([v for attr in op.attrs.values() for v in named_values(attr)])
        if op.name == "while":
            take(op.regions[0].results)
        elif op.name != "for":
            take(op.operands)

    controls(loop)
    take([v for v in wanted if is_inside(nest.home.get(v))])
    while stack:
        v = stack.pop()
        frame = nest.home.get(v)
        if not is_inside(frame):
            if frame is not None:
                found.setdefault(v)
            continue
        assert frame is not None
        op = v.op
        if op is None:  # a parameter of a loop: a carried value, or the index of a `for`
            controls(frame.op)
            k = frame.block.params.index(v) - (len(frame.block.params) - len(frame.op.results))
            if k >= 0:
                take((frame.op.operands[k], frame.op.regions[-1].results[k]))
        elif op.regions:
            controls(op)
            k = op.results.index(v)
            take([region.results[k] for region in op.regions[-1 if op.name == "while" else 0 :]])
            if op.name in ("for", "while"):
                take((op.operands[k],))
        else:
            take(list(used_values(op)))
    return list(found)
