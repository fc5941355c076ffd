"""The text form of graphs. ``jitgrad.ir.parser`` reads it back.

    graph loss(%x: f64[4,3], %w: f64[3]) {
      %0: f64[4] = einsum(%x, %w) {spec="ij,j->i"}  # train.py:12
      %h: f64[4] = tanh(%0)  # train.py:12
      %1: f64[] = reduce_sum(%h) {axes=(0,)}  # train.py:13
      return %1
    }
    # train.py:12 = "/home/me/train.py" in "loss"
    # train.py:13 = "/home/me/train.py" in "loss"

* One op a line: results with their types, ``=``, op, operands, attributes in braces, and after ``#`` the user's line.
* Attributes: ``3``, ``0.5``, ``nan``, ``True``, ``None``, ``"text"``, ``(0, 1)``, a dtype ``f32``, an extent
  ``2*%n + 1``, and arrays: a type and the elements, ``f64[2,2] [[1.0, 2.0], [3.0, 4.0]]``, or a payload,
  ``f64[1000] base64"..."``, for large ones.
* Extents may name values (``f64[%n]``) and free symbols (``f64[$batch]``). The bounds of both are stated after the
  parameters: ``where $batch in 1.., %n in 0..8``.
* A region follows its op on lines of its own: ``(%i: i64[]) {``, ops, ``yield %y``, ``}``.
* The table at the end gives the full path and the function of each of the user's lines. A line that
  starts with ``//`` is a comment.

Values keep the user's names, made unique by a suffix; values without a name are numbered.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import numpy as np

from jitgrad.ir.core import Block, Graph, Op, Value
from jitgrad.ir.custom import CustomRule
from jitgrad.ir.generators import Source
from jitgrad.ir.index import Dim, IndexExpr, Product, Quotient, Remainder, Sym, Term
from jitgrad.ir.location import Location
from jitgrad.ir.thrown import Thrown
from jitgrad.ir.types import SHORT_NAMES, TensorType

#: Arrays of more elements than this are printed as a payload, not as numbers.
MAX_NUMBERS = 64
#: Arrays of more elements than this are shortened when ``elide`` is on.
MAX_ELIDED = 8


def print_graph(graph: Graph, *, elide: bool = False, locations: bool = True, digests: bool = False) -> str:
    """A graph as text.

    elide : for reading only: shorten large arrays to ``...`` and leave out the table of locations.
    locations : print the user's lines.
    digests : print a hash of a large array in place of its contents: enough to tell two graphs apart.
    """
    p = Printer(elide=elide, locations=locations, digests=digests)
    for v in graph.params:
        p.name(v)
    params = ", ".join(p.typed(v) for v in graph.params)
    body = p.block_lines(graph.block, "  ", "return")
    bounds = p.bounds()
    where = f" where {', '.join(bounds)}" if bounds else ""
    lines = [f"graph {_identifier(graph.name)}({params}){where} {{", *body, "}"]
    if locations and not elide:
        lines += p.location_table()
    return "\n".join(lines)


class Printer:
    """Names and labels that have been given out so far, and the text of each part of a graph."""

    def __init__(self, *, elide: bool = False, locations: bool = True, digests: bool = False) -> None:
        self.elide, self.locations, self.digests = elide, locations, digests
        self.names: dict[Value, str] = {}
        self.symbols: dict[Sym, str] = {}
        self.labels: dict[Location, str] = {}
        self._taken: set[str] = set()
        self._next = 0

    def name(self, value: Value) -> str:
        """``%name``, given when first asked for."""
        found = self.names.get(value)
        if found is None:
            if value.name:
                found = self._unique(_identifier(value.name), "%")
            else:
                found = f"%{self._next}"
                self._next += 1
            self.names[value] = found
        return found

    def _unique(self, base: str, sigil: str) -> str:
        name, count = sigil + base, 0
        while name in self._taken:
            count += 1
            name = f"{sigil}{base}_{count}"
        self._taken.add(name)
        return name

    def bounds(self) -> list[str]:
        """``%n in 0..8`` for each symbol that has been printed and has bounds, sorted."""
        texts = []
        for symbol, name in self.symbols.items():
            lo, hi = ("" if b is None else str(b) for b in symbol.bounds)
            if lo or hi:
                texts.append(f"{name} in {lo}..{hi}")
        return sorted(texts)

    def block_lines(self, block: Block, indent: str, end: str) -> list[str]:
        lines = [line for op in block.ops for line in self.op_lines(op, indent)]
        results = " " + ", ".join(self.name(v) for v in block.results) if block.results else ""
        return [*lines, f"{indent}{end}{results}"]

    def op_head(self, op: Op, indent: str) -> str:
        """An op without its regions, on one line."""
        results = ", ".join(self.typed(r) for r in op.results)
        text = f"{indent}{results} = " if results else indent
        text += f"{op.name}({', '.join(self.name(v) for v in op.operands)})"
        if op.attrs:
            text += " {" + ", ".join(f"{k}={self.attribute(v)}" for k, v in op.attrs.items()) + "}"
        if self.locations and op.loc is not None:
            text += f"  # {self.label(op.loc)}"
        return text

    def op_lines(self, op: Op, indent: str) -> list[str]:
        """An op and its regions."""
        lines = [self.op_head(op, indent)]
        for region in op.regions:
            lines.append(f"{indent}  ({', '.join(self.typed(v) for v in region.params)}) {{")
            lines += self.block_lines(region, indent + "    ", "yield")
            lines.append(f"{indent}  }}")
        return lines

    def typed(self, value: Value) -> str:
        return f"{self.name(value)}: {self.type(value.type)}"

    def type(self, type: TensorType) -> str:
        return f"{SHORT_NAMES[type.dtype]}[{','.join(self.dim(d) for d in type.shape)}]"

    def symbol(self, symbol: Sym) -> str:
        """``%name`` for a symbol that stands for a value, else ``$name``."""
        found = self.symbols.get(symbol)
        if found is None:
            value = symbol.payload
            found = self.name(value) if isinstance(value, Value) else self._unique(_identifier(symbol.name), "$")
            self.symbols[symbol] = found
        return found

    def dim(self, d: Dim) -> str:
        """An extent: ``2*%n + (%m // 4) - 1``. Terms are sorted by their text, so equal extents print alike."""
        if not isinstance(d, IndexExpr):
            return str(int(d))
        text = ""
        for term, c in sorted(((self._term(t), c) for t, c in d.terms), key=lambda item: item[0]):
            sign = (" - " if c < 0 else " + ") if text else ("-" if c < 0 else "")
            text += sign + (term if abs(c) == 1 else f"{abs(c)}*{term}")
        if d.constant:
            text += f" {'-' if d.constant < 0 else '+'} {abs(d.constant)}"
        return text

    def _term(self, term: Term) -> str:
        if isinstance(term, Sym):
            return self.symbol(term)
        if isinstance(term, Quotient):
            return f"({self.dim(term.base)} // {term.divisor})"
        if isinstance(term, Remainder):
            return f"({self.dim(term.base)} % {term.divisor})"
        if isinstance(term, Product):
            return "*".join(f"({text})" for text in sorted((self.dim(term.left), self.dim(term.right))))
        raise TypeError(f"no text form for a {type(term).__name__}")

    def attribute(self, value: Any) -> str:
        """An attribute's value. Raises TypeError for one that has no text form."""
        if isinstance(value, (bool, np.bool_)) or value is None:
            return str(bool(value)) if value is not None else "None"
        if isinstance(value, (int, np.integer, IndexExpr)):
            return self.dim(value)  # pyright: ignore[reportArgumentType]
        if isinstance(value, float):
            return _float_text(value)
        if isinstance(value, str):
            return json.dumps(value)
        if isinstance(value, np.dtype):
            return SHORT_NAMES[value]
        if isinstance(value, tuple):
            return "(" + ", ".join(self.attribute(v) for v in value) + (",)" if len(value) == 1 else ")")
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, Thrown):
            return f"raises {json.dumps(value.text)}"
        if isinstance(value, Source):
            return f"draws from {json.dumps(value.kind if self.digests else value.text)}"
        if isinstance(value, CustomRule):
            return f"rule of {json.dumps(value.name)}"
        raise TypeError(f"no text form for an attribute of type {type(value).__name__}")

    def _array(self, array: np.ndarray) -> str:
        head = f"{SHORT_NAMES[array.dtype]}[{','.join(str(n) for n in array.shape)}]"
        if self.elide and array.size > MAX_ELIDED:
            first = ", ".join(_number_text(x) for x in array.reshape(-1)[:3])
            return f"{head} [{first}, ...]"
        if array.size > MAX_NUMBERS and self.digests:
            content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            return f"{head} {hashlib.sha256(content).hexdigest()}"
        if array.size > MAX_NUMBERS or not _numbers_suffice(array):
            payload = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            return f'{head} base64"{base64.b64encode(payload).decode("ascii")}"'
        return f"{head} {_nested(array)}"

    def label(self, loc: Location) -> str:
        """The short form of a location, ``train.py:12``; a suffix tells apart two that would look the same."""
        found = self.labels.get(loc)
        if found is None:
            base = re.sub(r"[^\w.:<>-]+", "_", loc.short())
            found, count = base, 1
            taken = set(self.labels.values())
            while found in taken:
                count += 1
                found = f"{base}~{count}"
            self.labels[loc] = found
        return found

    def location_table(self) -> list[str]:
        """One line for each label that does not say everything itself."""
        return [
            f"# {label} = {json.dumps(loc.file)} in {json.dumps(loc.function)}"
            for loc, label in self.labels.items()
            if location_of_label(label) != loc
        ]


def location_of_label(label: str) -> Location:
    """What a label means that the table does not list: a bare file name and line."""
    file, _, line = label.partition("~")[0].rpartition(":")
    return Location(file or "?", int(line) if line.isdecimal() else 0, "?")


def _identifier(name: str) -> str:
    """A name with everything but letters, digits, ``_`` and ``.`` replaced, which starts with a letter or ``_``."""
    clean = re.sub(r"[^\w.]+", "_", name).strip(".") or "_"
    return clean if clean[0].isalpha() or clean[0] == "_" else "_" + clean


def _numbers_suffice(array: np.ndarray) -> bool:
    """False when an element is a NaN that is neither ``nan`` nor ``-nan``, whose bits numbers would not keep."""
    if array.dtype.kind != "f" or not np.isnan(array).any():
        return True
    quiet = np.abs(np.array(np.nan, array.dtype)).tobytes()
    return all(np.abs(x).tobytes() == quiet for x in array.reshape(-1)[np.isnan(array.reshape(-1))])


def _nested(array: np.ndarray) -> str:
    if array.ndim == 0:
        return _number_text(array[()])
    return "[" + ", ".join(_nested(part) for part in array) + "]"


def _number_text(x: Any) -> str:
    """The shortest text that gives the element back exactly."""
    if isinstance(x, np.ndarray):
        x = x[()]
    if x.dtype.kind == "b":
        return str(bool(x))
    if x.dtype.kind in "iu":
        return str(int(x))
    if x.dtype.itemsize < 8 and np.isfinite(x):
        short = str(x)
        # Reading goes through float64; keep the short form only where that second rounding does no harm.
        return short if x.dtype.type(float(short)) == x else repr(float(x))
    return _float_text(float(x))


def _float_text(x: float) -> str:
    if np.isnan(x):
        return "-nan" if np.signbit(x) else "nan"
    return repr(float(x))
