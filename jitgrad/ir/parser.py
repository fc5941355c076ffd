"""Reads the text form of graphs that ``jitgrad.ir.printer`` describes. Tokens, then recursive descent; no ``eval``.

graph    = "graph" NAME params ["where" bound {"," bound}] "{" ops "return" [values] "}" {location}
params   = "(" [typed {"," typed}] ")"
typed    = VALUE ":" type
type     = DTYPE "[" [dim {"," dim}] "]"
bound    = (VALUE | SYMBOL) "in" BOUNDS
op       = [typed {"," typed} "="] NAME "(" [values] ")" [attrs] [LABEL] {region}
attrs    = "{" NAME "=" attr {"," NAME "=" attr} "}"
attr     = NUMBER | STRING | "True" | "False" | "None" | DTYPE | dim | array | "(" [attr {"," attr}] [","] ")"
array    = type (nested | "base64" STRING), the extents of the type being INT
nested   = NUMBER | "True" | "False" | "[" [nested {"," nested}] "]"
region   = params "{" ops "yield" [values] "}"
dim      = ["-"] product {("+" | "-") product}
product  = INT | [INT "*"] atom {"*" atom}
atom     = VALUE | SYMBOL | "(" dim [("//" | "%") INT] ")"
location = LABEL "=" STRING "in" STRING ["line" INT]
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np

from jitgrad.errors import DtypeError, ParseError
from jitgrad.ir import index
from jitgrad.ir.core import OPS, Block, Graph, Op, OpDef, Value
from jitgrad.ir.generators import Source
from jitgrad.ir.index import Dim, IndexExpr, Sym
from jitgrad.ir.location import Location
from jitgrad.ir.printer import location_of_label
from jitgrad.ir.thrown import Thrown
from jitgrad.ir.types import BFLOAT16, DTYPES, TensorType, dtype_named

_TOKEN = re.compile(
    r"""
      (?P<space>  \s+ )
    | (?P<value>  %[\w.]+ )
    | (?P<symbol> \$[\w.]+ )
    | (?P<label>  \#[ \t]*[\w.:<>~-]+ )
    | (?P<string> "(?:[^"\\\n]|\\.)*" )
    | (?P<bounds> -?\d*\.\.(?!\.)(?:-?\d+)? )
    | (?P<float>  \d+\.\d*(?:[eE][+-]?\d+)? | \d+[eE][+-]?\d+ )
    | (?P<int>    \d+ )
    | (?P<name>   [^\W\d][\w.]* )
    | (?P<punct>  \.\.\. | // | [(){}\[\],:=*+%-] )
    """,
    re.VERBOSE,
)
_COMMENT = re.compile(r"^[ \t]*//[^\n]*", re.MULTILINE)


class Token(NamedTuple):
    """A piece of text, its kind, and the offset at which it starts."""

    kind: str
    text: str
    start: int


def parse(text: str) -> Graph:
    """The graph that a text describes. The types are taken as written; ``verify`` checks them.

    Raises ParseError, which names line and column and shows the line.
    """
    parser = _Parser(text)
    try:
        return parser.graph()
    except RecursionError:
        parser.fail("this is nested too deeply")


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokenize()
        self.position = 0
        self.values: dict[str, Value] = {}  # those in scope
        self.symbols: dict[str, Sym] = {}
        self.bounds = self._find_bounds()
        self.labels: list[tuple[Op, str]] = []

    # Tokens

    def _tokenize(self) -> list[Token]:
        # Comments are blanked out, so offsets stay true.
        text = _COMMENT.sub(lambda m: " " * len(m[0]), self.text)
        tokens, start = [], 0
        while start < len(text):
            match = _TOKEN.match(text, start)
            if match is None or match.lastgroup is None:
                self._fail_at(start, f"unexpected character {text[start]!r}")
            if match.lastgroup != "space":
                tokens.append(Token(match.lastgroup, match[0], start))
            start = match.end()
        tokens.append(Token("end", "", len(text)))
        return tokens

    def _find_bounds(self) -> dict[str, tuple[int | None, int | None]]:
        """The bounds that are stated after the parameters. They are needed before: a symbol is made with them."""
        bounds: dict[str, tuple[int | None, int | None]] = {}
        for name, word, interval in zip(self.tokens, self.tokens[1:], self.tokens[2:], strict=False):
            if name.kind in ("value", "symbol") and word.text == "in" and interval.kind == "bounds":
                lo, _, hi = interval.text.partition("..")
                bounds[name.text] = (int(lo) if lo else None, int(hi) if hi else None)
        return bounds

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    def at(self, text: str) -> bool:
        return self.token.text == text and self.token.kind in ("punct", "name")

    def take(self, text: str) -> bool:
        """Step over a punctuation mark or word if it is next."""
        if self.at(text):
            self.position += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.take(text):
            self.fail(f"expected {text!r}, found {self.token.text or 'the end'!r}")

    def next(self, kind: str, what: str) -> str:
        """The text of the next token, which must be of this kind."""
        token = self.token
        if token.kind != kind:
            self.fail(f"expected {what}, found {token.text or 'the end'!r}")
        self.position += 1
        return token.text

    def fail(self, message: str) -> NoReturn:
        self._fail_at(self.token.start, message)

    def _fail_at(self, offset: int, message: str) -> NoReturn:
        begin = self.text.rfind("\n", 0, offset) + 1
        end = self.text.find("\n", offset)
        line = self.text[begin : len(self.text) if end < 0 else end]
        number = self.text.count("\n", 0, offset) + 1
        column = offset - begin
        # Show a window of a long line.
        first = max(0, column - 80)
        shown = line[first : first + 120]
        raise ParseError(f"line {number}, column {column + 1}: {message}\n    {shown}\n    {' ' * (column - first)}^")

    def separated(self, end: str) -> Iterator[None]:
        """Once for each item of a list with commas, up to and including ``end``. A last comma is allowed."""
        while not self.take(end):
            yield
            if not self.at(end):
                self.expect(",")

    # Graphs, blocks, ops

    def graph(self) -> Graph:
        self.expect("graph")
        name = self.next("name", "the name of the graph")
        params = self.params()
        if self.take("where"):
            self.bounds_clause()
        self.expect("{")
        block = self.block(params, "return")
        table = self.location_table()
        if self.token.kind != "end":
            self.fail(f"expected the end, found {self.token.text!r}")
        for op, label in self.labels:
            op.loc = table.get(label) or location_of_label(label)
        for text, symbol in self.symbols.items():
            if text.startswith("%") and symbol.payload is None:
                self.fail(f"an extent names {text}, which is not defined anywhere")
        return Graph(name, block)

    def bounds_clause(self) -> None:
        while True:
            if self.token.kind not in ("value", "symbol"):
                self.fail("expected a symbol: %n or $n")
            self.position += 1
            self.expect("in")
            self.next("bounds", "bounds such as 0..8")
            if not self.take(","):
                return

    def location_table(self) -> dict[str, Location]:
        table: dict[str, Location] = {}
        while self.token.kind == "label":
            label = _label(self.next("label", "a label"))
            self.expect("=")
            file = self.string()
            self.expect("in")
            table[label] = Location(file, location_of_label(label).line, self.string())
        return table

    def params(self) -> list[Value]:
        self.expect("(")
        return [self.typed() for _ in self.separated(")")]

    def typed(self) -> Value:
        token = self.token
        text = self.next("value", "a value such as %x")
        if text in self.values:
            self._fail_at(token.start, f"{text} is defined twice")
        self.expect(":")
        # A symbol that stands for this value may occur before it.
        value = Value(self.type(), None if text[1:].isdecimal() else text[1:])
        self.values[text] = value
        if text in self.symbols and self.symbols[text].payload is None:
            value.symbol = self.symbols[text]
            value.symbol.payload = value
        return value

    def block(self, params: list[Value], end: str) -> Block:
        """Ops up to ``return`` or ``yield``, its values, and the closing brace."""
        ops: list[Op] = []
        while not self.take(end):
            ops.append(self.op())
        results = [] if self.at("}") else self.value_list()
        self.expect("}")
        return Block(params, ops, results)

    def value_list(self) -> list[Value]:
        values = [self.use()]
        while self.take(","):
            values.append(self.use())
        return values

    def use(self) -> Value:
        token = self.token
        text = self.next("value", "a value such as %x")
        if text not in self.values:
            self._fail_at(token.start, f"{text} is not defined before this use")
        return self.values[text]

    def op(self) -> Op:
        # Results come into scope after the op.
        start = self.position
        if self.token.kind == "value":
            while not self.take("="):
                if self.token.kind in ("end", "label"):
                    self.fail("expected '=' after the results")
                self.position += 1
        token = self.token
        opdef = self.opdef(self.next("name", "the name of an op"), token.start)
        self.expect("(")
        operands = [self.use() for _ in self.separated(")")]
        attrs: dict[str, Any] = {}
        if self.take("{"):
            for _ in self.separated("}"):
                key = self.next("name", "the name of an attribute")
                self.expect("=")
                attrs[key] = self.attribute()
        label = _label(self.next("label", "a label")) if self.token.kind == "label" else None
        regions = []
        while self.at("("):
            regions.append(self.region(opdef, attrs))
        end, self.position = self.position, start
        results: list[Value] = []
        if self.token.kind == "value":
            results.append(self.typed())
            while self.take(","):
                results.append(self.typed())
            self.expect("=")
        self.position = end
        op = Op(opdef, tuple(operands), attrs, tuple(results), tuple(regions))
        if label is not None:
            self.labels.append((op, label))
        return op

    def opdef(self, name: str, start: int) -> OpDef:
        found = OPS.get(name)
        if found is None:
            close = difflib.get_close_matches(name, OPS, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            self._fail_at(start, f"there is no op named {name!r}{hint}")
        return found

    def region(self, opdef: OpDef, attrs: dict[str, Any]) -> Block:
        outer = dict(self.values)
        params = self.params()
        opdef.bind_params(params, attrs)
        self.expect("{")
        block = self.block(params, "yield")
        self.values = outer
        return block

    # Types and extents

    def dtype(self, name: str, start: int) -> np.dtype:
        try:
            return dtype_named(name)
        except DtypeError as error:  # bfloat16, and no ml_dtypes
            self._fail_at(start, error.message)

    def type(self) -> TensorType:
        token = self.token
        name = self.next("name", "a dtype")
        if name not in DTYPES and name != BFLOAT16:
            self._fail_at(token.start, f"there is no dtype {name!r}; the dtypes are {', '.join((*DTYPES, BFLOAT16))}")
        self.expect("[")
        return TensorType(self.dtype(name, token.start), tuple(self.dim() for _ in self.separated("]")))

    def dim(self) -> Dim:
        negative = self.take("-")
        total = self.product()
        if negative:
            total = index.mul(total, -1)
        while self.at("+") or self.at("-"):
            sign = 1 if self.take("+") else -1
            if sign < 0:
                self.expect("-")
            total = index.add(total, index.mul(self.product(), sign))
        return total

    def product(self) -> Dim:
        total = self.atom()
        while self.take("*"):
            total = index.mul(total, self.atom())
        return total

    def atom(self) -> Dim:
        token = self.token
        if token.kind == "int":
            self.position += 1
            return int(token.text)
        if token.kind in ("value", "symbol"):
            self.position += 1
            return index.expr(self.symbol(token.text))
        if not self.take("("):
            self.fail(f"expected an extent, found {token.text or 'the end'!r}")
        base = self.dim()
        if self.at("//") or self.at("%"):
            function = index.floordiv if self.take("//") else index.mod
            if function is index.mod:
                self.expect("%")
            divisor = int(self.next("int", "a divisor"))
            if divisor < 1:
                self.fail("a divisor must be positive")
            base = function(base, divisor)
        self.expect(")")
        return base

    def symbol(self, text: str) -> Sym:
        """The symbol of that name, made with the bounds that are stated for it."""
        value = self.values.get(text)
        found = self.symbols.get(text) if value is None else value.symbol
        if found is None:
            lo, hi = self.bounds.get(text, (None, None))
            found = Sym(text[1:], lo, hi, value)
            if value is not None:
                value.symbol = found
        self.symbols[text] = found
        return found

    # Attributes

    def string(self) -> str:
        token = self.token
        text = self.next("string", "a string in double quotes")
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            self._fail_at(token.start, f"a bad string: {error.msg}")

    def attribute(self) -> Any:
        token = self.token
        if token.kind == "string":
            return self.string()
        if token.kind == "name" and token.text in _WORDS:
            self.position += 1
            return _WORDS[token.text]
        if self.take("raises"):
            return self.thrown()
        if self.take("draws"):
            self.next("name", "'from'")
            return self.source()
        if token.kind == "name" and (token.text in DTYPES or token.text == BFLOAT16):
            if self.tokens[self.position + 1].text == "[":
                return self.array()
            self.position += 1
            return self.dtype(token.text, token.start)
        after_sign = self.tokens[self.position + (token.text == "-")]
        if after_sign.kind == "float" or after_sign.text in ("inf", "nan"):
            return self.number()
        if token.text == "(":
            return self.parenthesis()
        if token.kind in ("int", "value", "symbol") or token.text == "-":
            return self.dim()
        self.fail(f"expected an attribute's value, found {token.text or 'the end'!r}")

    def thrown(self) -> Thrown:
        start = self.token.start
        try:
            return Thrown.parse(self.string())
        except ValueError as error:
            self._fail_at(start, f"no exception: {error}")

    def source(self) -> Source:
        start = self.token.start
        try:
            return Source.parse(self.string())
        except ValueError as error:
            self._fail_at(start, str(error))

    def parenthesis(self) -> Any:
        """A tuple, or an extent that begins with a parenthesis: ``(%n // 4) + 1``."""
        start = self.position
        try:
            d = self.dim()
            if self.at(",") or self.at(")") or self.at("}"):
                return d
        except ParseError:
            pass  # then it is a tuple
        self.position = start
        self.expect("(")
        return tuple(self.attribute() for _ in self.separated(")"))

    def number(self) -> int | float:
        negative = self.take("-")
        token = self.token
        if token.kind not in ("int", "float") and token.text not in ("inf", "nan"):
            self.fail(f"expected a number, found {token.text or 'the end'!r}")
        self.position += 1
        value = int(token.text) if token.kind == "int" else float(token.text)
        return -value if negative else value

    def array(self) -> np.ndarray:
        token = self.token
        type = self.type()
        shape = tuple(d for d in type.shape if not isinstance(d, IndexExpr))
        if len(shape) != len(type.shape):
            self._fail_at(token.start, "the shape of an array must be numbers")
        if self.take("base64"):
            array = self.payload(type.dtype, shape, token.start)
        else:
            numbers: list[Any] = []
            self.nested(shape, numbers)
            try:
                array = np.array(numbers, type.dtype).reshape(shape)
            except (OverflowError, TypeError, ValueError) as error:
                self._fail_at(token.start, f"these numbers are not {type}: {error}")
        array.flags.writeable = False
        return array

    def payload(self, dtype: np.dtype, shape: tuple[int, ...], start: int) -> np.ndarray:
        try:
            data = base64.b64decode(self.string(), validate=True)
            array = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
        except (binascii.Error, ValueError) as error:
            self._fail_at(start, f"a payload that does not fit its type: {error}")
        return array

    def nested(self, shape: tuple[int, ...], into: list[Any]) -> None:
        """Numbers in as many brackets as the array has axes."""
        if not shape:
            word = self.token.text
            into.append(self.number() if word not in ("True", "False") else self.take("True") or not self.take("False"))
            return
        self.expect("[")
        start, count = self.token.start, 0
        for _ in self.separated("]"):
            if self.at("..."):
                self.fail("this array was shortened for reading; print the graph without elide")
            self.nested(shape[1:], into)
            count += 1
        if count != shape[0]:
            self._fail_at(start, f"expected {shape[0]} elements along this axis, found {count}")


_WORDS: dict[str, Any] = {"True": True, "False": False, "None": None}


def _label(text: str) -> str:
    return text[1:].strip()
