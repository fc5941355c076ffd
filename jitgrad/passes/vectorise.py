"""Loops whose iterations do not depend on each other, as array operations.

``for j in range(1, n - 1): b[j] = 0.5 * (a[j - 1] + a[j + 1])`` is ``b[1:-1] = 0.5 * (a[:-2] + a[2:])``. As arrays the
statements of a loop can be fused, reversed and gathered like any others, and nested loops become nested axes, from the
inside out. Sums over the iterations, and products, maxima and minima, become reductions; conditionals on an element,
selections (``jitgrad.passes.branches``).

An element that another array picks, ``x[i, k[i]]``, is gathered, in an array that the loop does not carry.

Shown for each read of an array that the loop writes: no earlier iteration writes the element (a later one may, as all
reads come before all writes), nor does the same iteration before. Shown for each pair of writes: no later iteration of
the first writes an element that the second has written. Limits, steps and distances of indices decide it, by
``jitgrad.ir.polyhedra``. What is not shown stays a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jitgrad.ir.core import Graph, Op, Value
from jitgrad.ir.index import Dim, IndexExpr, coefficients, expr, never_negative, substitute
from jitgrad.ir.nest import Box, Chain, Frame, Nest, written_box
from jitgrad.ir.symbols import may_be_empty, named_values, symbol_of, trip_count, used_values
from jitgrad.ir.types import TensorType, i64
from jitgrad.ops.op import Elementwise
from jitgrad.passes.branches import without_branches
from jitgrad.passes.licm import must_not_be_negative
from jitgrad.passes.rewrite import Rewriter

#: Larger bodies stay loops: as arrays, what they compute may not stay in registers.
_MOST_OPS = 120
_REDUCTIONS = {"add": "reduce_sum", "multiply": "reduce_prod", "maximum": "reduce_max", "minimum": "reduce_min"}
_SCATTER = {"add_slice": "scatter_add", "set_slice": "scatter_set"}
_REDUCE = frozenset((*_REDUCTIONS.values(), "reduce_any", "reduce_all"))


class _Stays(Exception):
    """The loop can't be shown to be independent, or has an op without a rule here."""


class Lane(NamedTuple):
    """A value of the body: for all iterations at once, with a leading axis, or the same for all."""

    value: Value
    batched: bool


def vectorise(graph: Graph) -> Graph:
    """The graph with such loops as array operations; the graph itself where there are none."""
    if not any(op.regions for op in graph.ops):
        return graph
    new = _Vectoriser(graph, {}).run(graph)
    same = len(new.ops) == len(graph.ops) and all(a is b for a, b in zip(new.ops, graph.ops, strict=True))
    return graph if same else new


class _Vectoriser(Rewriter):
    def _region_op(self, op: Op) -> None:
        super()._region_op(op)
        loop = self.ops[-1]
        if loop.name != "for" or len(loop.regions[0].ops) > _MOST_OPS:
            return
        before = len(self.ops)
        try:
            values = _Body(self, without_branches(self, loop) or loop).run()
        except _Stays:
            del self.ops[before:]
            return
        del self.ops[before - 1]
        for old, inner, new in zip(op.results, loop.results, values, strict=True):
            if new.name is None:
                new.name = inner.name
            self.env[old] = new
            self.uses[new] = self.uses.get(new, 0) + self.uses.get(inner, 0)


class _Body:
    """One loop on its way to array operations."""

    def __init__(self, r: Rewriter, op: Op) -> None:
        self.r, self.op = r, op
        (self.body,) = op.regions
        self.index = symbol_of(self.body.params[0])
        self.lo, self.step = op.attrs["lo"], op.attrs["step"]
        self.count = trip_count(op.attrs["lo"], op.attrs["hi"], self.step)
        self.may_be_empty = may_be_empty(op.attrs["lo"], op.attrs["hi"], self.step)
        self.nest = Nest(op)
        self.frame: Frame = self.nest.frames[self.body]
        self.lanes: dict[Value, Lane] = {}
        self.arrays: dict[Value, tuple[Chain, int]] = {}  # versions of arrays that the loop writes
        self.sums: dict[Value, tuple[int, str]] = {}  # what is reduced: the carried value, and how
        self.totals: dict[int, Value] = {}
        self.positions: dict[Dim, Value] = {}  # indices that were computed, as arrays use them, and their values
        self.checked: set[Dim] = set()  # those of which a gather or scatter checks the bounds

    def run(self) -> list[Value]:
        if any(inner.regions or inner.effects for inner in self.body.ops) or not self.body.ops:
            raise _Stays
        if not never_negative(self.count) or self.count == 0:
            raise _Stays
        self._classify()
        for inner in self.body.ops:
            self.r.loc = inner.loc
            self._op(inner)
        if len(self.checked) < len(self.positions):
            raise _Stays
        return [self.totals[k] for k in range(len(self.op.results))]

    # What is carried

    def _classify(self) -> None:
        for k, (param, result) in enumerate(zip(self.body.params[1:], self.body.results, strict=True)):
            if not self._is_sum(k, param, result):
                self._array(k, param)
        for chain, _ in {id(c): (c, n) for c, n in self.arrays.values()}.values():
            self._check_writes(chain)

    def _is_sum(self, k: int, param: Value, result: Value) -> bool:
        op = result.op
        if op is None or self.nest.home.get(result) is not self.frame or op.name not in _REDUCTIONS:
            return False
        users = [inner for inner in self.body.ops if param in used_values(inner)]
        others = [inner for inner in self.body.ops if result in used_values(inner)]
        once = sum(v is param for v in op.operands) == 1 and list(self.body.results).count(result) == 1
        if users != [op] or others or not once or param in self.body.results or result.type.dtype.kind not in "fiu":
            return False
        if op.operands[0].type != op.operands[1].type:
            return False
        self.sums[result] = (k, op.name)
        return True

    def _array(self, k: int, param: Value) -> None:
        chain = self.nest.chain(self.frame, k)
        if chain is None or not chain.steps or param.type.ndim == 0:
            raise _Stays
        for n, version in enumerate(chain.versions):
            self.arrays[version] = (chain, n)
        self.totals[k] = self.op.operands[k]

    def _check_writes(self, chain: Chain) -> None:
        writes = [step.op for step in chain.steps]
        if any(op.name not in ("set_slice", "add_slice") for op in writes):
            raise _Stays
        outer = self.frame.loops[:-1]
        for n, first in enumerate(writes):
            for second in writes[n + 1 :]:
                if first.name == second.name == "add_slice":
                    continue
                if self.nest.may_meet(written_box(second), first, outer, (self.frame.loops[-1], True)):
                    raise _Stays

    # Ops

    def _op(self, op: Op) -> None:
        if self.may_be_empty and not all(map(never_negative, must_not_be_negative(op))):
            raise _Stays  # valid only where the loop runs
        if op.results[0] in self.sums:
            self._sum(op)
        elif op.name in ("set_slice", "add_slice") and op.results[0] in self.arrays:
            self._write(op)
        elif any(v in self.arrays for v in op.operands):
            self._read(op)
        elif any(v in self.sums for v in used_values(op)):
            raise _Stays
        else:
            self._plain(op)

    def lane(self, v: Value) -> Lane:
        """The value for all iterations."""
        if v is self.body.params[0]:
            return Lane(self._line(expr(self.index)), True)
        if v in self.arrays or v in self.sums or self._is_position(v):
            raise _Stays
        if v.op is None and self.nest.home.get(v) is self.frame:
            raise _Stays
        return self.lanes.get(v) or Lane(v, False)

    def _line(self, e: Dim) -> Value:
        """An affine index expression for all iterations."""
        start, stride = self._affine(e)
        line = self._numbers()
        if stride != 1:
            line = self.r.append("multiply", line, self.r.constant(stride, i64))
        return line if start == 0 else self.r.append("add", line, self.r.append("index", value=start))

    def _affine(self, e: Dim) -> tuple[Dim, int]:
        """The value in the first iteration, and how much it grows with each."""
        found = coefficients(e)
        if found is None:
            raise _Stays
        if any(v in self.nest.home and v is not self.body.params[0] for v in named_values(e)):
            raise _Stays
        return substitute(e, {self.index: self.lo}), found[1].get(self.index, 0) * self.step

    def _moves(self, e: Any) -> bool:
        """Does an attribute depend on the iteration?"""
        if isinstance(e, tuple):
            return any(map(self._moves, e))
        return isinstance(e, IndexExpr) and any(v in self.nest.home for v in named_values(e))

    def _plain(self, op: Op) -> None:
        lanes = [self.lane(v) for v in op.operands]
        attrs = dict(op.attrs)
        if op.name == "index" and self._moves(attrs["value"]):
            self.lanes[op.result] = Lane(self._line(attrs["value"]), True)
            return
        if op.name == "wrap_index" and lanes[0].batched:
            self.positions[expr(symbol_of(op.result))] = lanes[0].value
            return
        if "starts" in attrs and not self.positions.keys().isdisjoint(attrs["starts"]):
            self.lanes[op.result] = Lane(self._picked(op, lanes), True)
            return
        if op.name == "slice" and not lanes[0].batched and self._moves(attrs["starts"]):
            self.lanes[op.result] = self._slice(op, lanes[0].value)
            return
        if any(self._moves(a) for a in attrs.values()) or any(self._moves(r.type.shape) for r in op.results):
            raise _Stays
        if op.name == "wrap_index" or op.effects or len(op.results) != 1:
            raise _Stays
        if not any(lane.batched for lane in lanes):
            self.lanes[op.result] = Lane(self.r.append(op.name, *(lane.value for lane in lanes), **attrs), False)
            return
        self.lanes[op.result] = Lane(self._batched(op, lanes, attrs), True)

    def _batched(self, op: Op, lanes: Sequence[Lane], attrs: dict[str, Any]) -> Value:
        r, ndim, shape = self.r, op.result.type.ndim, op.result.type.shape
        if isinstance(op.opdef, Elementwise) or op.name in ("where", "cast", "stop_gradient"):
            return r.append(op.name, *(self._aligned(lane, ndim) for lane in lanes), **attrs)
        x = lanes[0].value
        if op.name == "reshape":
            return r.append("reshape", x, shape=(self.count, *shape))
        if op.name == "broadcast_to":
            return r.append("broadcast_to", self._aligned(lanes[0], ndim), shape=(self.count, *shape))
        if op.name == "transpose":
            return r.append("transpose", x, perm=(0, *(k + 1 for k in attrs["perm"])))
        if op.name in _REDUCE:
            return r.append(op.name, x, axes=tuple(k + 1 for k in attrs["axes"]))
        if op.name == "slice":
            starts, sizes, steps = (attrs[k] for k in ("starts", "sizes", "steps"))
            return r.append("slice", x, starts=(0, *starts), sizes=(self.count, *sizes), steps=(1, *steps))
        if op.name == "einsum":
            letter = next((c for c in "abcdefghijklmnopqrstuvwxyz" if c not in attrs["spec"]), None)
            if letter is not None:
                operands, out = attrs["spec"].split("->")
                parts = [letter + p if lane.batched else p for p, lane in zip(operands.split(","), lanes, strict=True)]
                return r.append("einsum", *(lane.value for lane in lanes), spec=f"{','.join(parts)}->{letter}{out}")
        raise _Stays

    def _aligned(self, lane: Lane, ndim: int) -> Value:
        """A batched value with as many inner axes as the result has, so that broadcasting pairs the right ones."""
        shape = lane.value.type.shape
        if not lane.batched or len(shape) == ndim + 1:
            return lane.value
        return self.r.append("reshape", lane.value, shape=(shape[0], *(1,) * (ndim + 1 - len(shape)), *shape[1:]))

    # Elements at computed indices

    def _is_position(self, v: Value) -> bool:
        return v.symbol is not None and expr(v.symbol) in self.positions

    def _picked(self, op: Op, lanes: Sequence[Lane]) -> Value:
        """A slice at computed indices for all iterations, or an array with one added or set: each iteration has its own
        element, or its own piece of whole axes."""
        r, x, starts, shape = self.r, lanes[0], op.attrs["starts"], op.operands[0].type.shape
        sizes = op.attrs["sizes"] if op.name == "slice" else op.operands[1].type.shape
        axes, indices = [], []
        for k, (start, size, extent) in enumerate(zip(starts, sizes, shape, strict=True)):
            if start in self.positions:
                self.checked.add(start)
                indices.append(self.positions[start])
            elif size == extent and op.attrs["steps"][k] == 1:  # all of the axis
                continue
            else:
                indices.append(self._line(start))
            if size != 1:
                raise _Stays
            axes.append(k)
        rest = tuple(n for k, n in enumerate(shape) if k not in axes)
        array = x.value
        if op.name != "slice" and not x.batched:
            array = r.append("broadcast_to", array, shape=(self.count, *shape))
        if x.batched or op.name != "slice":
            axes, indices = [0, *(k + 1 for k in axes)], [self._numbers(), *indices]
        attrs: dict[str, Any] = {"axes": tuple(axes), "at": 0}
        if op.name == "slice":
            piece = r.append("gather", array, *indices, **attrs)
            return r.append("reshape", piece, shape=(self.count, *op.result.type.shape))
        value = lanes[1].value
        if not lanes[1].batched:
            value = r.append("broadcast_to", value, shape=(self.count, *sizes))
        value = r.append("reshape", value, shape=(self.count, *rest))
        return r.append(_SCATTER[op.name], array, value, *indices, **attrs)

    def _numbers(self) -> Value:
        return self.r.append("iota", shape=(self.count,), axis=0, dtype=i64)

    # Arrays

    def _box(self, box: Box) -> tuple[Box, int]:
        """The elements that all iterations have together, and along which axis they lie one after another."""
        moving = [k for k, e in enumerate(box.starts) if self._moves(e)]
        if len(moving) != 1 or self._moves(box.sizes) or box.sizes[moving[0]] != 1:
            raise _Stays
        (axis,) = moving
        start, stride = self._affine(box.starts[axis])
        if stride == 0:
            raise _Stays
        starts, sizes, steps = list(box.starts), list(box.sizes), list(box.steps)
        starts[axis], sizes[axis], steps[axis] = start, self.count, stride
        return Box(tuple(starts), tuple(sizes), tuple(steps)), axis

    def _slice(self, op: Op, x: Value) -> Lane:
        whole, axis = self._box(Box(op.attrs["starts"], op.attrs["sizes"], op.attrs["steps"]))
        piece = self.r.append("slice", x, starts=whole.starts, sizes=whole.sizes, steps=whole.steps)
        if axis:
            piece = self.r.append("transpose", piece, perm=(axis, *(k for k in range(x.type.ndim) if k != axis)))
        return Lane(self.r.append("reshape", piece, shape=(self.count, *op.result.type.shape)), True)

    def _read(self, op: Op) -> None:
        version = op.operands[0]
        if op.name != "slice" or version not in self.arrays:
            raise _Stays
        chain, place = self.arrays[version]
        box = Box(op.attrs["starts"], op.attrs["sizes"], op.attrs["steps"])
        last = chain.steps[place - 1].op if place else None
        if last is not None and last.name == "set_slice" and written_box(last) == box:
            self.lanes[op.result] = self.lane(last.operands[1])
            return
        if self.nest.touched(box, chain.steps[:place], self.frame.loops, None):
            raise _Stays
        if self.nest.touched(box, chain.steps, self.frame.loops[:-1], (self.frame.loops[-1], False)):
            raise _Stays
        source = self.op.operands[list(self.body.params[1:]).index(chain.versions[0])]
        if self._moves(box.starts):
            self.lanes[op.result] = self._slice(op, source)
        else:
            attrs = {"starts": box.starts, "sizes": box.sizes, "steps": box.steps}
            if self._moves(box.sizes):
                raise _Stays
            self.lanes[op.result] = Lane(self.r.append("slice", source, **attrs), False)

    def _write(self, op: Op) -> None:
        chain, _ = self.arrays[op.result]
        k = list(self.body.params[1:]).index(chain.versions[0])
        whole, axis = self._box(written_box(op))
        lane = self.lane(op.operands[1])
        value, piece = lane.value, op.operands[1].type.shape
        if not lane.batched:
            value = self.r.append("broadcast_to", value, shape=whole.sizes)
        else:
            inner = [n for j, n in enumerate(piece) if j != axis]
            value = self.r.append("reshape", value, shape=(self.count, *inner))
            if axis:
                value = self.r.append("transpose", value, perm=(*range(1, axis + 1), 0, *range(axis + 1, len(piece))))
        attrs = {"starts": whole.starts, "steps": whole.steps}
        self.totals[k] = self.r.append(op.name, self.totals[k], value, **attrs)

    def _sum(self, op: Op) -> None:
        k, name = self.sums[op.result]
        param = self.body.params[k + 1]
        (term,) = [v for v in op.operands if v is not param]
        lane = self.lane(term)
        if not lane.batched or lane.value.type.dtype != op.result.type.dtype:
            raise _Stays
        reduced = self.r.append(_REDUCTIONS[name], lane.value, axes=(0,))
        if reduced.type != TensorType(op.result.type.dtype, op.result.type.shape):
            raise _Stays
        self.totals[k] = self.r.append(name, self.op.operands[k], reduced)
