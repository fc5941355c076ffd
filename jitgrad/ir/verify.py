"""Checks that a graph obeys the rules of the IR. Run after every pass when ``config.verify`` is on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from jitgrad.errors import IRError, JitgradError
from jitgrad.ir.core import OPS, Block, Graph, Op, Value
from jitgrad.ir.custom import CustomRule
from jitgrad.ir.generators import Source
from jitgrad.ir.index import IndexExpr
from jitgrad.ir.printer import Printer
from jitgrad.ir.thrown import Thrown
from jitgrad.ir.types import SHORT_NAMES, TensorType

#: How many lines of context to show before and after the offending op.
CONTEXT = 3


def verify(graph: Graph, stage: str = "", known: set[Op] | None = None) -> None:
    """Raise IRError unless the graph is well formed.

    Checked: every op is registered; every value is defined once, and before its uses, in its own block or one around
    it; every result has the type that ``infer`` gives and points back to its op; every attribute is of an immutable
    type that has a text form. The error shows the op inside its neighbours, the user's line, and ``stage``, the name
    of the pass that was just run.

    Ops never change once they are built, and graphs share those that a pass leaves alone. So what can be said of an op
    by itself, its attributes and the types that ``infer`` gives, is checked once for those in ``known``, to which all
    ops of a graph that is well formed are added.
    """
    _Verifier(graph, stage, set() if known is None else known).block(graph.block, set())


class _Verifier:
    def __init__(self, graph: Graph, stage: str, known: set[Op]) -> None:
        self.graph, self.stage, self.known = graph, stage, known
        self.defined: set[Value] = set()

    def block(self, block: Block, outer: set[Value]) -> None:
        """Check one block; ``outer`` holds the values of the blocks around it."""
        visible = set(outer)
        for v in block.params:
            if v.op is not None:
                self.fail(f"the parameter {v!r} is the result of an op", None)
            self.define(v, visible, None)
        for v in block.params:
            self.symbols(v.type.shape, visible, None)
        for op in block.ops:
            self.op(op, visible)
        for v in block.results:
            if v not in visible:
                self.fail(f"the block returns {v!r}, which is not defined in it", None)

    def define(self, value: Value, visible: set[Value], op: Op | None) -> None:
        if value in self.defined:
            self.fail(f"{value!r} is defined twice", op)
        type = value.type
        if not isinstance(type, TensorType) or type.dtype not in SHORT_NAMES:
            shown = tuple(type) if isinstance(type, tuple) else type
            self.fail(f"{value.name or 'a value'} is {shown!r}, which is not a TensorType of a known dtype", op)
        for d in type.shape:
            if isinstance(d, bool) or not isinstance(d, (int, IndexExpr)) or (isinstance(d, int) and d < 0):
                self.fail(f"{value!r} has the extent {d!r}; extents are ints from 0 on, or index expressions", op)
        self.defined.add(value)
        visible.add(value)

    def symbols(self, item: Any, visible: set[Value], op: Op | None) -> None:
        """Check that the values which extents and attributes name are visible."""
        if isinstance(item, tuple):
            for part in item:
                self.symbols(part, visible, op)
        elif isinstance(item, IndexExpr):
            for symbol in item.syms():
                if isinstance(symbol.payload, Value) and symbol.payload not in visible:
                    self.fail(f"an extent names {symbol.payload!r}, which is not defined before", op)

    def op(self, op: Op, visible: set[Value]) -> None:
        if OPS.get(op.opdef.name) is not op.opdef:
            self.fail(f"the op {op.opdef.name!r} is not the registered one", op)
        for number, v in enumerate(op.operands):
            if v not in visible:
                self.fail(f"operand {number} of {op.name} is not defined before it, in its block or one around it", op)
        if op not in self.known:
            self.attributes(op)
        for value in op.attrs.values():
            self.symbols(value, visible, op)
        for region in op.regions:
            self.block(region, visible)
        if op not in self.known:
            self.types(op)
        for number, result in enumerate(op.results):
            if result.op is not op:
                self.fail(f"result {number} of {op.name} belongs to another op", op)
            self.symbols(result.type.shape, visible, op)
            self.define(result, visible, op)
        self.known.add(op)

    def attributes(self, op: Op) -> None:
        for key, value in op.attrs.items():
            problem = _attribute_problem(value)
            if problem:
                self.fail(f"attribute {key!r} of {op.name} {problem}", op)

    def types(self, op: Op) -> None:
        """Check that the results have the types that ``infer`` gives."""
        inferred = self.infer(op)
        if len(inferred) != len(op.results):
            self.fail(f"{op.name} has {len(op.results)} results where infer gives {len(inferred)}", op)
        for number, (result, type) in enumerate(zip(op.results, inferred, strict=True)):
            if result.op is op and result.type != type:
                self.fail(f"result {number} of {op.name} is {result.type} where infer gives {type}", op)

    def infer(self, op: Op) -> tuple[TensorType, ...]:
        types = [v.type for v in op.operands]
        regions: Mapping[str, Any] = {"regions": op.regions} if op.regions else {}
        try:
            inferred = op.opdef.infer(*types, **regions, **op.attrs)
        except JitgradError as error:
            self.fail(f"{op.name} does not take these operands: {error.message}", op)
        except TypeError as error:  # a missing or superfluous attribute or operand
            self.fail(f"{op.name} does not take these operands and attributes: {error}", op)
        return (inferred,) if isinstance(inferred, TensorType) else tuple(inferred)

    def fail(self, problem: str, op: Op | None) -> NoReturn:
        stage = f" after {self.stage}" if self.stage else ""
        text = excerpt(self.graph, op)
        location = None if op is None else op.loc
        raise IRError(
            f"graph {self.graph.name} is not well formed{stage}: {problem}. A pass, or the code that built it by "
            f"hand, broke a rule of the IR. Here is the place.\n{text}",
            location,
        )


def excerpt(graph: Graph, op: Op | None) -> str:
    """The lines of the graph around an op, which is marked with ``>``; the first and last lines without an op."""
    printer = _LenientPrinter(elide=True)
    for v in graph.params:
        printer.name(v)
    params = ", ".join(printer.typed(v) for v in graph.params)
    lines = [f"graph {graph.name}({params}) {{"]
    marked: list[int] = []

    def add(block: Block, indent: str, end: str) -> None:
        for each in block.ops:
            if each is op:
                marked.append(len(lines))
            lines.append(printer.op_head(each, indent))
            for region in each.regions:
                lines.append(f"{indent}  ({', '.join(printer.typed(v) for v in region.params)}) {{")
                add(region, indent + "    ", "yield")
                lines.append(f"{indent}  }}")
        lines.append(f"{indent}{end} {', '.join(printer.name(v) for v in block.results)}")

    add(graph.block, "  ", "return")
    lines.append("}")
    if not marked:
        shown = lines if len(lines) <= 2 * CONTEXT + 1 else [*lines[:CONTEXT], "  ...", *lines[-CONTEXT:]]
        return "\n".join("    " + line for line in shown)
    at = marked[0]
    first, last = max(0, at - CONTEXT), min(len(lines), at + CONTEXT + 1)
    return "\n".join(("  > " if k == at else "    ") + lines[k] for k in range(first, last))


class _LenientPrinter(Printer):
    """Prints what has no text form by ``repr``: the graph to show may be broken."""

    def attribute(self, value: Any) -> str:
        return super().attribute(value) if _attribute_problem(value) is None else f"<{value!r}>"

    def type(self, type: TensorType) -> str:
        if not isinstance(type, TensorType):
            return f"<{type!r}>"
        if type.dtype not in SHORT_NAMES or not all(isinstance(d, (int, IndexExpr)) for d in type.shape):
            return f"<{type.dtype} {type.shape}>"
        return super().type(type)


def _attribute_problem(value: Any) -> str | None:
    """Why this can't be an attribute, or None."""
    if isinstance(value, np.ndarray):
        if value.flags.writeable:
            return "is a writeable array; an attribute must never change"
        return None if value.dtype in SHORT_NAMES else f"is an array of {value.dtype}"
    if isinstance(value, tuple):
        return next((p for p in map(_attribute_problem, value) if p), None)
    if isinstance(value, np.dtype):
        return None if value in SHORT_NAMES else f"is the dtype {value}"
    known = (bool, int, float, str, IndexExpr, Thrown, Source, CustomRule)
    plain = isinstance(value, known) and not isinstance(value, np.generic)
    if value is None or plain:
        return None
    allowed = "numbers, strings, dtypes, arrays, exceptions, and tuples of them"
    return f"is a {type(value).__name__}; attributes are {allowed}"
