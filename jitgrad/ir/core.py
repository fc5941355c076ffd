"""The graph IR: typed tensor SSA with regions.

Everything is immutable once built. A pass makes a new graph with a :class:`Builder`, copying what it keeps through an
environment from old values to new ones, so every stage of a program stays alive and printable.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import IRError
from jitgrad.ir.index import Sym
from jitgrad.ir.location import Location
from jitgrad.ir.types import TensorType, type_of


class OpDef:
    """What the IR must know of an op: its name, and how to infer its result types.

    The subclasses in ``jitgrad.ops`` add evaluation, derivatives and lowering.
    """

    name: str
    #: True where an op does more than to compute its results, and so stays where it is though nobody uses them.
    effects: bool = False
    #: True where an effect shows in the results only: it stays where it is, and goes if nobody uses them.
    discardable: bool = False
    #: The attribute with blocks that are to take the op's place, if it has one: their effects are the op's.
    holds: str | None = None
    #: True where the op computes: on float16 and bfloat16 operands in float32, with such results rounded once at its
    #: end. False where it only moves elements, or rounds each element that it adds to (see ``jitgrad.passes.widen``).
    wide: bool = True

    def infer(self, *types: TensorType, **attrs: Any) -> TensorType | tuple[TensorType, ...]:
        """Result types from operand types; raises a ShapeError or DtypeError that a user can read."""
        raise NotImplementedError

    def bind_params(self, params: Sequence[Value], attrs: Mapping[str, Any]) -> None:
        """Tell the parameters of a region, which was read from text, what the op knows of them."""


#: Every op by name.
OPS: dict[str, OpDef] = {}


class Value:
    """An SSA value: a block parameter (``op`` is None) or a result of ``op``. Equal only to itself."""

    __slots__ = ("name", "op", "symbol", "type")

    def __init__(self, type: TensorType, name: str | None = None) -> None:
        self.type = type
        self.name = name  # the user's name for it, where there is one; need not be unique
        self.op: Op | None = None
        self.symbol: Sym | None = None  # what stands for it in index expressions; see jitgrad.ir.symbols

    def __repr__(self) -> str:
        return f"<%{self.name or '?'}: {self.type}>"


class Op:
    """One operation. ``regions`` is empty but for control flow. ``effects``: it has one, or an op in its regions;
    ``stays``: one for which it must stay though nobody uses its results."""

    __slots__ = ("attrs", "effects", "loc", "opdef", "operands", "regions", "results", "stays")

    def __init__(
        self,
        opdef: OpDef,
        operands: tuple[Value, ...],
        attrs: Mapping[str, Any],
        results: tuple[Value, ...],
        regions: tuple[Block, ...] = (),
        loc: Location | None = None,
    ) -> None:
        self.opdef, self.operands, self.attrs, self.results = opdef, operands, attrs, results
        self.regions, self.loc = regions, loc
        blocks = self.blocks
        self.effects: bool = opdef.effects or (bool(blocks) and any(block.effects for block in blocks))
        self.stays = self.effects
        if self.effects:
            inner = (op for block in blocks for op in block.ops)
            self.stays = any(op.stays for op in inner) or (opdef.effects and not opdef.discardable)
        for r in results:
            r.op = self

    @property
    def name(self) -> str:
        return self.opdef.name

    @property
    def blocks(self) -> Sequence[Block]:
        """The regions, or the blocks that are to take the op's place."""
        return self.regions if self.opdef.holds is None else self.attrs[self.opdef.holds].blocks

    @property
    def result(self) -> Value:
        """The only result."""
        (r,) = self.results
        return r


class Block:
    """Parameters, ops in order, and the values that the block yields."""

    __slots__ = ("ops", "params", "results")

    def __init__(self, params: Sequence[Value], ops: Sequence[Op], results: Sequence[Value]) -> None:
        self.params, self.ops, self.results = tuple(params), tuple(ops), tuple(results)

    @property
    def effects(self) -> bool:
        """Whether an op in it has an effect."""
        return any(op.effects for op in self.ops)


def operations(ops: Iterable[Op]) -> Iterator[Op]:
    """The ops, and those in their regions."""
    for op in ops:
        yield op
        for region in op.regions:
            yield from operations(region.ops)


class Graph:
    """A function of tensors: one block with a name."""

    __slots__ = ("block", "name")

    def __init__(self, name: str, block: Block) -> None:
        self.name, self.block = name, block

    @property
    def params(self) -> tuple[Value, ...]:
        return self.block.params

    @property
    def ops(self) -> tuple[Op, ...]:
        return self.block.ops

    @property
    def results(self) -> tuple[Value, ...]:
        return self.block.results

    def __str__(self) -> str:
        from jitgrad.ir.printer import print_graph

        return print_graph(self)

    __repr__ = __str__


def attribute_key(value: Any) -> Any:
    """A hashable stand-in for an attribute; equal exactly when two attributes are the same, bit by bit."""
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, float):
        return ("float", value.hex())
    if isinstance(value, tuple):
        return tuple(attribute_key(v) for v in value)
    return (type(value).__name__, value)


def attributes_key(attrs: Mapping[str, Any]) -> tuple[Any, ...]:
    """A hashable stand-in for all attributes of an op."""
    return tuple((k, attribute_key(attrs[k])) for k in sorted(attrs))


def check_attributes(op: OpDef, n_operands: int, attrs: Mapping[str, Any]) -> None:
    """Raise IRError for attributes or a number of operands that an op does not take."""
    signature = inspect.signature(op.infer)
    try:
        signature.bind(*(None,) * n_operands, **attrs)
    except TypeError as error:
        takes = ", ".join(str(p) for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY) or "none"
        raise IRError(
            f"{op.name} of {n_operands} operands with the attributes {', '.join(attrs) or 'none'}: {error}. Its "
            f"attributes are: {takes}. Give all of them, by these names."
        ) from None


class Region:
    """A block that is being built; see :meth:`Builder.region`. ``block`` is there once it is finished."""

    def __init__(self, ops: list[Op]) -> None:
        self.ops = ops
        self.params: list[Value] = []
        self.block: Block = Block((), (), ())

    def param(self, type: TensorType, name: str | None = None) -> Value:
        """A new parameter of the block."""
        self.params.append(Value(type, name))
        return self.params[-1]

    def finish(self, *results: Value) -> Block:
        """The block, which yields these values."""
        self.block = Block(self.params, self.ops, results)
        return self.block


class Builder:
    """Builds a graph op by op.

    >>> b = Builder("f")
    >>> x = b.param(TensorType(f64, (3,)), "x")
    >>> y = b.emit("tanh", x)
    >>> graph = b.build(y)

    ``loc`` is given to every op that is emitted; passes set it to that of the op they copy or differentiate.
    """

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.loc: Location | None = None
        self._params: list[Value] = []
        self.ops: list[Op] = []

    def param(self, type: TensorType, name: str | None = None) -> Value:
        """A new parameter."""
        value = Value(type, name)
        self._params.append(value)
        return value

    def constant(self, value: Any, dtype: Any = None) -> Value:
        """A constant array or scalar. The array is copied, so later changes to it do not reach the graph."""
        array = np.array(value, dtype=dtype)
        array = np.ascontiguousarray(array.astype(type_of(array).dtype, copy=False)).reshape(array.shape)
        array.flags.writeable = False
        return self.emit("constant", value=array)

    def emit(self, op: str | OpDef, *operands: Value, **attrs: Any) -> Value:
        """Append an op with one result and return it."""
        (result,) = self.emit_op(op, operands, attrs).results
        return result

    def emit_op(
        self, op: str | OpDef, operands: Sequence[Value], attrs: Mapping[str, Any], regions: tuple[Block, ...] = ()
    ) -> Op:
        """Append an op with any number of results."""
        if isinstance(op, str):
            if op not in OPS:
                raise IRError(f"there is no op named {op!r}. See jitgrad.ir.core.OPS for all of them.")
            op = OPS[op]
        every = {**attrs, "regions": regions} if regions else attrs
        try:
            inferred = op.infer(*(v.type for v in operands), **every)
        except TypeError:
            check_attributes(op, len(operands), every)
            raise
        types = (inferred,) if isinstance(inferred, TensorType) else inferred
        node = Op(op, tuple(operands), dict(attrs), tuple(Value(t) for t in types), regions, self.loc)
        self.ops.append(node)
        return node

    def copy(self, op: Op, env: dict[Value, Value]) -> Op:
        """Append a copy of an op and its regions, with the values it uses renamed; its results are entered into
        ``env``."""
        from jitgrad.ir.symbols import copied_op

        node = copied_op(op, env)
        self.ops.append(node)
        return node

    @contextlib.contextmanager
    def region(self) -> Iterator[Region]:
        """Collect the ops that are emitted inside the ``with`` block in a region, for :meth:`emit_op`.

        >>> with b.region() as body:
        ...     i = body.param(TensorType(i64))
        ...     x = body.param(init.type)
        ...     body.finish(b.emit("sin", x))
        >>> b.emit_op("for", [init], {"lo": 0, "hi": 8, "step": 1}, (body.block,))
        """
        outer, self.ops = self.ops, []
        region = Region(self.ops)
        try:
            yield region
        finally:
            self.ops = outer

    def inline(self, graph: Graph, args: Sequence[Value]) -> tuple[Value, ...]:
        """Append all ops of a graph, with ``args`` for its parameters; returns its results."""
        if len(args) != len(graph.params):
            raise IRError(f"{graph.name} takes {len(graph.params)} values, not {len(args)}")
        env = dict(zip(graph.params, args, strict=True))
        for op in graph.ops:
            self.copy(op, env)
        return tuple(env[r] for r in graph.results)

    @contextlib.contextmanager
    def at(self, loc: Location | None) -> Iterator[None]:
        """Give ``loc`` to the ops emitted inside the ``with`` block."""
        before, self.loc = self.loc, loc
        try:
            yield
        finally:
            self.loc = before

    def build(self, *results: Value) -> Graph:
        """The finished graph. Raises IRError where it uses values of another one."""
        defined = {*self._params, *(r for op in self.ops for r in op.results)}
        for v in itertools.chain(results, *(op.operands for op in self.ops)):
            if v not in defined:
                raise IRError(
                    f"graph {self.name} uses {v!r}, which is no value of its builder. A graph uses its own parameters "
                    "and results of its own ops. Pass the value as a parameter."
                )
        return Graph(self.name, Block(self._params, self.ops, results))
