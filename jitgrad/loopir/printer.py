"""Loop IR as compact text: the buffers with their sizes, then the tree of statements.

    program f: 1 parameter, 1 result, 0 temporaries
      arg  x    f64[4]  32 bytes
      out  t0   f64[4]  32 bytes  model.py:7
    for i0 < 4:
      %0 = exp(x[i0])
      t0[i0] = %0 * %0 + 1.0

A scalar expression that is used more than once in a statement, or is long, gets a line and a number of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from jitgrad.ir.index import Dim, IndexExpr, Product, Quotient, Remainder, Sym, Term
from jitgrad.ir.types import SHORT_NAMES
from jitgrad.loopir.nodes import (
    Alloc,
    Assign,
    Block,
    Buffer,
    Comment,
    Const,
    Expr,
    Fail,
    Fetch,
    If,
    Index,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    While,
    payloads,
)
from jitgrad.loopir.walk import statements, subexpressions

#: How tightly operators bind.
COMPARE, SUM, PRODUCT, UNARY, ATOM = 4, 9, 10, 11, 13
_INFIX = {
    "add": ("+", SUM),
    "subtract": ("-", SUM),
    "multiply": ("*", PRODUCT),
    "product": ("*", PRODUCT),
    "divide": ("/", PRODUCT),
    "less": ("<", COMPARE),
    "less_equal": ("<=", COMPARE),
    "greater": (">", COMPARE),
    "greater_equal": (">=", COMPARE),
    "equal": ("==", COMPARE),
    "not_equal": ("!=", COMPARE),
}
_MAX_LENGTH = 90


class Text(NamedTuple):
    """Source text and the precedence of its outermost operator."""

    text: str
    precedence: int = ATOM

    def within(self, precedence: int) -> str:
        """The text, in parentheses unless it binds at least this tightly."""
        return self.text if self.precedence >= precedence else f"({self.text})"


#: Writes a division of an index by a number: the base, its text, the operator, the divisor.
Divide = Callable[[IndexExpr, Text, str, int], Text]


def _divided(base: IndexExpr, text: Text, operator: str, divisor: int) -> Text:
    return Text(f"{text.within(PRODUCT)} {operator} {divisor}", PRODUCT)


def index_text(e: Dim, symbol: Callable[[Sym], Text], divide: Divide = _divided) -> Text:
    """An index expression in Python's syntax; ``symbol`` gives the text of a symbol."""
    if not isinstance(e, IndexExpr):
        return Text(str(e), ATOM if e >= 0 else UNARY)
    text, precedence = "", ATOM
    # Positive terms first, so that no expression begins with a sign if it can be helped.
    for term, c in sorted(e.terms, key=lambda pair: pair[1] < 0):
        t = _term_text(term, symbol, divide)
        if abs(c) != 1:
            t = Text(f"{abs(c)} * {t.within(UNARY)}", PRODUCT)
        if not text:
            text = t.text if c > 0 else f"-{t.within(UNARY)}"
            precedence = t.precedence if c > 0 else UNARY
        else:
            text += f" {'+' if c > 0 else '-'} {t.within(PRODUCT)}"
            precedence = SUM
    if e.constant:
        text += f" {'+' if e.constant > 0 else '-'} {abs(e.constant)}"
        precedence = SUM
    return Text(text, precedence)


def _term_text(t: Term, symbol: Callable[[Sym], Text], divide: Divide) -> Text:
    if isinstance(t, Sym):
        return symbol(t)
    if isinstance(t, Product):
        left, right = index_text(t.left, symbol, divide), index_text(t.right, symbol, divide)
        return Text(f"{left.within(PRODUCT)} * {right.within(UNARY)}", PRODUCT)
    if isinstance(t, (Quotient, Remainder)):
        operator = "//" if isinstance(t, Quotient) else "%"
        return divide(t.base, index_text(t.base, symbol, divide), operator, t.divisor)
    raise TypeError(f"unknown index term {t!r}")


def buffers(program: Program) -> list[Buffer]:
    """Every buffer that the program mentions, aliases included: parameters, results, then in order of use."""
    found: dict[Buffer, None] = dict.fromkeys((*program.params, *program.results))
    seen: set[Expr] = set()
    for s in statements(program.body):
        if isinstance(s, (Store, Alloc)):
            found.setdefault(s.buffer)
        elif isinstance(s, LibCall):
            found.update(dict.fromkeys(s.outs + s.ins))
        # Sorted by name: sets of symbols have no order that can be relied on.
        loaded = {e.buffer for e in subexpressions(roots(s), seen) if isinstance(e, Load)}
        found.update(dict.fromkeys(sorted(loaded, key=lambda t: t.name)))
    return list(found)


def roots(s: Stmt) -> Iterator[Expr]:
    """The expressions that a statement evaluates itself, in the order in which they are written."""
    if isinstance(s, Store):
        for k in (*s.index, *s.buffer.shape[1:]):
            yield from payloads(k)
    if isinstance(s, Alloc):
        for k in s.buffer.shape:
            yield from payloads(k)
    if isinstance(s, (Store, Let, Assign)):
        yield s.value
    elif isinstance(s, (If, While)):
        yield s.cond
    elif isinstance(s, Loop):
        yield from payloads(s.lo)
        yield from payloads(s.hi)


def print_program(program: Program) -> str:
    """The whole program as text."""
    return "\n".join([*_header(program), *StatementPrinter(program.body).lines])


def describe(t: Buffer) -> str:
    """``x: f32[16,64]``."""
    return f"{t.name}: {SHORT_NAMES[t.dtype]}[{','.join(map(str, t.shape))}]"


def _plural(n: int, word: str) -> str:
    plural = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{n} {word if n == 1 else plural}"


def _header(program: Program) -> Iterator[str]:
    found = buffers(program)
    temps = [t for t in found if t.kind == "temp" and t.base is None]
    yield (
        f"program {program.name}: {_plural(len(program.params), 'parameter')}, "
        f"{_plural(len(program.results), 'result')}, {_plural(len(temps), 'temporary')}"
    )
    order = ("arg", "inout", "const", "out", "temp")
    listed = sorted((t for t in found if t.base is None), key=lambda t: order.index(t.kind))
    listed += [t for t in found if t.base is not None]
    names = max((len(t.name) for t in listed), default=0)
    types = {t: describe(t).split(": ", 1)[1] for t in listed}
    width = max(map(len, types.values()), default=0)
    for t in listed:
        size = "heap" if t.capacity is None else _plural(t.nbytes, "byte")
        size = size if t.base is None else f"of {t.root.name}"
        kind = t.kind if t.base is None else "view"
        place = f"  {t.loc.short()}" if t.loc is not None else ""
        yield f"  {kind:5}  {t.name:{names}}  {types[t]:{width}}  {size}{place}"


class StatementPrinter:
    """The lines of a statement tree; ``places`` maps a statement to the range of its own lines (not its body's)."""

    def __init__(self, stmts: Iterable[Stmt]) -> None:
        self.lines: list[str] = []
        self.places: dict[Stmt, range] = {}
        self._count = 0
        self._block(tuple(stmts), 0)

    def _block(self, stmts: Sequence[Stmt], depth: int) -> None:
        if not stmts:
            self.lines.append("  " * depth + "pass")
        for s in stmts:
            self._statement(s, depth)

    def _statement(self, s: Stmt, depth: int) -> None:
        start = len(self.lines)
        line = _Line(self._count)
        text = line.statement(s)
        self._count = line.count
        self.lines += ["  " * depth + t for t in (*line.named, *text.splitlines())]
        self.places[s] = range(start, len(self.lines))
        if isinstance(s, (Loop, While, Block)):
            self._block(s.body, depth + 1)
        elif isinstance(s, If):
            self._block(s.then, depth + 1)
            if s.orelse:
                self.lines.append("  " * depth + "else:")
                self._block(s.orelse, depth + 1)


class _Line:
    """The text of one statement. Shared and long expressions are put into ``named``, each a line ``%n = ...``."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.named: list[str] = []
        self.texts: dict[Expr, Text] = {}
        self.uses: Counter[Expr] = Counter()

    def statement(self, s: Stmt) -> str:
        self._prepare(list(roots(s)))
        if isinstance(s, Loop):
            lo, hi = self._dim(s.lo).text, self._dim(s.hi).text
            head = f"for {s.var.name} < {hi}" if lo == "0" and s.step == 1 else f"for {s.var.name} in {lo} .. {hi}"
            step = f" step {s.step}" if s.step != 1 else ""
            return f"{'' if s.kind == 'serial' else s.kind + ' '}{head}{step}:"
        if isinstance(s, Store):
            past = "  # past the caches" if s.streamed else ""
            return f"{s.buffer.name}{self._subscript(s.index)} {s.mode} {self.texts[s.value].text}{past}"
        if isinstance(s, Let):
            return f"let {s.local.name}: {SHORT_NAMES[s.local.dtype]} = {self.texts[s.value].text}"
        if isinstance(s, Assign):
            return f"{s.local.name} {s.mode} {self.texts[s.value].text}"
        if isinstance(s, (If, While)):
            return f"{'if' if isinstance(s, If) else 'while'} {self.texts[s.cond].text}:"
        if isinstance(s, LibCall):
            static = "".join(f", {k}={v!r}" for k, v in s.static)
            outs, ins = (", ".join(t.name for t in side) for side in (s.outs, s.ins))
            return f"call {s.fn}({ins}{static}) -> {outs}"
        if isinstance(s, Fail):
            return f"fail {s.code}" if s.error is None else f"fail {s.code}  # {s.error}"
        if isinstance(s, Alloc):
            return f"alloc {describe(s.buffer)}"
        if isinstance(s, Fetch):
            return f"fetch {s.buffer.name}{self._subscript(s.index)}"
        if isinstance(s, Block):
            return "block:"
        if isinstance(s, Comment):
            return "\n".join(f"# {text}" for text in s.text.splitlines())
        return f"? {s!r}"  # not a statement; the verifier shows it

    def _prepare(self, roots: Sequence[Expr]) -> None:
        """Texts of all expressions below ``roots``, operands first, without recursion."""
        order: list[Expr] = []
        seen: set[Expr] = set()
        stack = [(e, False) for e in reversed(roots)]
        while stack:
            e, ready = stack.pop()
            if ready:
                order.append(e)
                continue
            self.uses[e] += 1
            if e not in seen:
                seen.add(e)
                stack.append((e, True))
                stack.extend((c, False) for c in reversed(e.children()))
        for e in order:
            text = self._text(e)
            shared = self.uses[e] > 1 and isinstance(e, Scalar)
            if shared or (len(text.text) > _MAX_LENGTH and e not in roots):
                self.named.append(f"%{self.count} = {text.text}")
                text = Text(f"%{self.count}")
                self.count += 1
            self.texts[e] = text

    def _text(self, e: Expr) -> Text:
        if isinstance(e, Const):
            return Text(str(e.value), ATOM if e.value >= 0 else UNARY)  # pyright: ignore[reportOperatorIssue]
        if isinstance(e, Load):
            return Text(e.buffer.name + self._subscript(e.index))
        if isinstance(e, Index):
            return self._dim(e.index)
        if isinstance(e, Local):
            return Text(e.name)
        assert isinstance(e, Scalar)
        args = [self.texts[a] for a in e.args]
        if e.op in _INFIX and len(args) == 2:
            operator, p = _INFIX[e.op]
            return Text(f"{args[0].within(p + (p == COMPARE))} {operator} {args[1].within(p + 1)}", p)
        if e.op == "negative" and len(args) == 1:
            return Text(f"-{args[0].within(UNARY)}", UNARY)
        name = SHORT_NAMES[e.dtype] if e.op == "cast" else e.op
        if e.op == "bitcast":
            name = f"bits_{SHORT_NAMES[e.dtype]}"
        return Text(f"{name}({', '.join(a.text for a in args)})")

    def _subscript(self, index: Sequence[Dim]) -> str:
        return f"[{', '.join(self._dim(k).text for k in index)}]"

    def _dim(self, e: Dim) -> Text:
        return index_text(e, lambda s: Text(s.name) if s.payload is None else self.texts[s.payload])
