"""What the passes share: walking a graph forwards while replacing ops.

A pass shares what it does not change: parameters, and ops whose operands stay the same, belong to the old graph and to
the new one. Only what changes is built anew. That costs little, and extents that name parameters stay true.

Rules see one op at a time as a :class:`Node` and answer with a value that takes the place of its result, or None. What
a rule emits through :meth:`Rewriter.emit` is itself offered to the rules, so each op is brought to a fixpoint on the
way. ``FUEL`` bounds the number of ops that the rewriting of one op may emit, so a pass takes linear time whatever its
rules do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.errors import IRError
from jitgrad.ir.core import OPS, Block, Builder, Graph, Op, OpDef, Value
from jitgrad.ir.symbols import block_uses, renamed_attributes, renamed_param, renamed_type, used_values
from jitgrad.ir.types import TensorType, is_float

#: Ops that the rewriting of one op may try to emit before its rules are switched off.
FUEL = 64


class Node(NamedTuple):
    """An op that is about to be emitted: what a rule looks at."""

    name: str
    operands: tuple[Value, ...]
    attrs: Mapping[str, Any]
    type: TensorType


Rule = Callable[["Rewriter", Node], "Value | None"]
Rules = Mapping[str, Sequence[Rule]]


class Rewriter(Builder):
    """Builds the new graph. ``uses`` counts the uses of a value in the old graph (1 for values that are new)."""

    def __init__(self, graph: Graph, rules: Rules) -> None:
        super().__init__(graph.name)
        self._params = list(graph.params)
        self.rules = rules
        self.env: dict[Value, Value] = {}
        self.uses = count_uses(graph)
        self._fuel = 0

    def single(self, value: Value) -> bool:
        """True where the value has one use, so that the op behind it goes away when the use does."""
        return self.uses.get(value, 1) <= 1

    def emit(self, op: str | OpDef, *operands: Value, **attrs: Any) -> Value:
        """As ``Builder.emit``, after the rules had a look."""
        if isinstance(op, str):
            op = OPS[op]
        inferred = op.infer(*(v.type for v in operands), **attrs)
        if isinstance(inferred, TensorType):
            found = self._apply_rules(Node(op.name, operands, attrs, inferred))
            if found is not None:
                return found
        return super().emit(op, *operands, **attrs)

    def append(self, op: str, *operands: Value, **attrs: Any) -> Value:
        """Emit an op that the rules do not look at."""
        return super().emit(op, *operands, **attrs)

    def _apply_rules(self, node: Node) -> Value | None:
        for rule in self.rules.get(node.name, ()):
            if self._fuel <= 0:
                return None
            self._fuel -= 1
            found = rule(self, node)
            if found is None:
                continue
            if found.type != node.type:
                name = getattr(rule, "__name__", "?")
                raise IRError(f"rule {name} replaced a {node.type} by a {found.type}", self.loc)
            return found
        return None

    def run(self, graph: Graph) -> Graph:
        """Walk the graph once, regions included."""
        self._walk(graph.ops)
        return Graph(graph.name, Block(self._params, self.ops, [self.env.get(v, v) for v in graph.results]))

    def _walk(self, ops: Sequence[Op]) -> None:
        for op in ops:
            self.loc, self._fuel = op.loc, FUEL
            if op.regions:
                self._region_op(op)
                continue
            operands = tuple(self.env.get(v, v) for v in op.operands)
            attrs = renamed_attributes(op.attrs, self.env)
            before = len(self.ops)
            found: Value | None = None
            if len(op.results) == 1:
                type = renamed_type(op.result.type, self.env)
                found = self._apply_rules(Node(op.name, operands, attrs, type))
            if found is None:
                new = renamed(op, self.env)
                self.ops.append(new)
                self._rename(op.results, new.results)
                continue
            if found.name is None and any(found.op is made for made in self.ops[before:]):
                found.name = op.result.name
            self._rename(op.results, (found,))
        self.loc = None

    def _region_op(self, op: Op) -> None:
        """Walk the regions of an op. What does not change is shared."""
        regions = tuple(map(self._region, op.regions))
        operands = tuple(self.env.get(v, v) for v in op.operands)
        attrs = renamed_attributes(op.attrs, self.env)
        same = attrs is op.attrs and all(a is b for a, b in zip(regions, op.regions, strict=True))
        if same and all(a is b for a, b in zip(operands, op.operands, strict=True)):
            self.ops.append(op)
            return
        new = rebuilt(op, operands, attrs, regions, self.env)
        self.ops.append(new)
        self._rename(op.results, new.results)

    def _region(self, block: Block) -> Block:
        with self.region() as new:
            for p in block.params:
                q = renamed_param(p, self.env)
                limits = None if p.symbol is None or q.symbol is None else (p.symbol.limits, q.symbol.limits)
                if q.type == p.type and (limits is None or limits[0] == limits[1]):
                    q = p
                else:
                    self._rename((p,), (q,))
                new.params.append(q)
            self._walk(block.ops)
            new.finish(*(self.env.get(v, v) for v in block.results))
        if len(new.ops) == len(block.ops) and all(a is b for a, b in zip(new.ops, block.ops, strict=True)):
            pairs = zip((*new.params, *new.block.results), (*block.params, *block.results), strict=True)
            if all(a is b for a, b in pairs):
                return block
        return new.block

    def _rename(self, old: Sequence[Value], new: Sequence[Value]) -> None:
        for a, b in zip(old, new, strict=True):
            if a is not b:
                self.env[a] = b
                # Who used the old value now uses the new one.
                self.uses[b] = self.uses.get(b, 0) + self.uses.get(a, 0)


def renamed(op: Op, env: Mapping[Value, Value]) -> Op:
    """The op with its operands, and the values that its attributes, types and regions name, renamed; the op itself
    where nothing changes."""
    if not env or not any(v in env for v in used_values(op)):
        return op
    operands = tuple(env.get(v, v) for v in op.operands)
    regions = tuple(renamed_block(region, env) for region in op.regions)
    return rebuilt(op, operands, renamed_attributes(op.attrs, env), regions, env)


def rebuilt(
    op: Op,
    operands: tuple[Value, ...],
    attrs: Mapping[str, Any],
    regions: tuple[Block, ...],
    env: Mapping[Value, Value],
) -> Op:
    """The op with other parts, and with fresh results."""
    results = tuple(Value(renamed_type(r.type, env), r.name) for r in op.results)
    return Op(op.opdef, operands, attrs, results, regions, op.loc)


def renamed_block(block: Block, outer: Mapping[Value, Value]) -> Block:
    """The block with the values around it renamed; the block itself where it names none of them."""
    if not any(v in outer for v in block_uses(block)):
        return block
    env = dict(outer)
    params = []
    for p in block.params:
        new = renamed_param(p, env)
        fresh = new.type != p.type or (p.symbol is not None and new.symbol.limits != p.symbol.limits)  # pyright: ignore[reportOptionalMemberAccess]
        params.append(new if fresh else p)
        if fresh:
            env[p] = new
    ops = []
    for op in block.ops:
        new = renamed(op, env)
        env.update((a, b) for a, b in zip(op.results, new.results, strict=True) if a is not b)
        ops.append(new)
    return Block(params, ops, [env.get(v, v) for v in block.results])


def count_uses(graph: Graph) -> dict[Value, int]:
    """How often each value is used by an op or returned."""
    uses: dict[Value, int] = {}
    for op in graph.ops:
        for v in used_values(op):
            uses[v] = uses.get(v, 0) + 1
    for v in graph.results:
        uses[v] = uses.get(v, 0) + 1
    return uses


# What rules ask about values.


def made_by(value: Value, *names: str) -> Op | None:
    """The op behind a value if it is one of these, else None."""
    op = value.op
    return op if op is not None and op.name in names else None


def array_of(value: Value) -> np.ndarray | None:
    """The array of a constant, else None."""
    op = made_by(value, "constant")
    return None if op is None else op.attrs["value"]


def scalar_of(value: Value) -> Any:
    """The number that every element of the value has (a NumPy scalar), where it is a constant of one element or such
    a constant broadcast or reshaped; else None."""
    while (op := made_by(value, "broadcast_to", "reshape")) is not None:
        (value,) = op.operands
    array = array_of(value)
    return array.reshape(-1)[0] if array is not None and array.size == 1 else None


def is_number(value: Value, number: float) -> bool:
    """True where every element of the value is exactly this number; +0 and -0 differ."""
    found = scalar_of(value)
    if found is None or found != number:
        return False
    return number != 0 or not is_float(found.dtype) or bool(np.signbit(found)) == bool(np.signbit(number))


def full(r: Rewriter, number: Any, type: TensorType) -> Value:
    """An array of this type, every element of which is the number."""
    return fit(r, r.constant(number, type.dtype), type)


def fit(r: Rewriter, value: Value, type: TensorType) -> Value:
    """The value broadcast to the shape of the type."""
    return value if value.type.shape == type.shape else r.emit("broadcast_to", value, shape=type.shape)
