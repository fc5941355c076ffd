"""A graph with loops as the ops that it runs for given arguments: no regions, all positions numbers.

Its derivatives are those of the graph at these arguments, and straight-line code is easy to differentiate: the sure
reference for derivatives of loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad import ops  # noqa: F401  (registers the ops)
from jitgrad.ir.core import Block, Builder, Graph, Op, Value
from jitgrad.ir.index import IndexExpr, evaluate
from jitgrad.ir.types import type_of


class _Recorder:
    """Runs ops and writes down each of them."""

    def __init__(self, name: str) -> None:
        self.b = Builder(name)
        self.env: dict[Value, Value] = {}
        self.arrays: dict[Value, np.ndarray] = {}  # by value of the new graph

    def concrete(self, item: Any) -> Any:
        if isinstance(item, IndexExpr):
            return evaluate(item, {s: int(self.array(s.payload)) for s in item.syms()})
        if isinstance(item, tuple):
            return tuple(self.concrete(part) for part in item)
        return item

    def array(self, value: Value) -> np.ndarray:
        return self.arrays[self.env[value]]

    def enter(self, value: Value, new: Value, array: np.ndarray) -> None:
        self.env[value], self.arrays[new] = new, array

    def block(self, block: Block, args: list[Value]) -> list[Value]:
        self.env.update(zip(block.params, args, strict=True))
        for op in block.ops:
            self.op(op)
        return [self.env[v] for v in block.results]

    def op(self, op: Op) -> None:
        attrs = {k: self.concrete(v) for k, v in op.attrs.items()}
        carried = [self.env[v] for v in op.operands]
        if op.name == "for":
            for i in range(attrs["lo"], attrs["hi"], attrs["step"]):
                index = self.b.constant(i, np.int64)
                self.arrays[index] = np.asarray(i)
                carried = self.block(op.regions[0], [index, *carried])
        elif op.name == "while":
            while self.arrays[self.block(op.regions[0], carried)[0]]:
                carried = self.block(op.regions[1], carried)
        elif op.name == "cond":
            carried = self.block(op.regions[0 if self.arrays[carried[0]] else 1], [])
        elif op.name == "switch":
            number = min(max(int(self.arrays[carried[0]]), 0), len(op.regions) - 1)
            carried = self.block(op.regions[number], [])
        else:
            new = self.b.emit_op(op.opdef, carried, attrs)
            out = op.opdef.eval(*(self.arrays[v] for v in carried), **attrs)  # pyright: ignore
            outs = out if isinstance(out, tuple) else (out,)
            for old, value, array in zip(op.results, new.results, outs, strict=True):
                self.enter(old, value, np.asarray(array))
            return
        self.env.update(zip(op.results, carried, strict=True))


def straight(graph: Graph, *arrays: Any) -> Graph:
    """The ops that run for these arguments, in order. Results that are parameters stay so."""
    recorder = _Recorder(f"{graph.name}_straight")
    for p, a in zip(graph.params, arrays, strict=True):
        recorder.enter(p, recorder.b.param(type_of(np.asarray(a)), p.name), np.asarray(a))
    with np.errstate(all="ignore"):
        results = recorder.block(Block((), graph.ops, graph.results), [])
    return recorder.b.build(*results)
