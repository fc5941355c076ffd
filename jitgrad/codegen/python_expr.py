"""Python text of scalar expressions, names, and the analysis of what is computed once.

:class:`Versions` tells whether an expression still has the value it had before.
"""

from __future__ import annotations

import builtins
import functools
import keyword
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import CompilationError
from jitgrad.ir.types import bool_, f64, i64, is_float
from jitgrad.loopir import scalars
from jitgrad.loopir.nodes import (
    Assign,
    Block,
    Const,
    Expr,
    If,
    Index,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Scalar,
    Stmt,
    Store,
    While,
)
from jitgrad.loopir.printer import ATOM, COMPARE, PRODUCT, SUM, UNARY, Text, roots
from jitgrad.loopir.walk import written

TERNARY, NOT = 0, 3
#: Infix operators and how tightly they bind.
PRECEDENCE: dict[str, int] = {
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), COMPARE),
    "|": 5,
    "^": 6,
    "&": 7,
    "+": SUM,
    "-": SUM,
    "*": PRODUCT,
    "/": PRODUCT,
}


class Spelling:
    """How constants and scalar functions are written. This one is for NumPy; other targets derive theirs."""

    def dtype(self, dtype: np.dtype) -> str:
        """What converts a number to a dtype."""
        return scalars.numpy_name(dtype)

    def integer(self, text: str) -> Text:
        """An int64 value as an index."""
        return Text(f"int({text})")

    def literal(self, c: Const) -> Text:
        """A constant in its own dtype."""
        return literal(c)

    def bare(self, c: Const, comparing: bool) -> Text | None:
        """A constant as a plain number, where that means the same beside an operand of its dtype; else None."""
        return bare(c, comparing)

    def stored(self, c: Const) -> Text:
        """A constant that is stored into an array."""
        return stored(c)

    def template(self, e: Scalar) -> str | None:
        """The format string of a scalar operation over its operands, or None where its formula is rendered instead."""
        return template(e)

    def scalar(self, e: Scalar, args: Sequence[Text]) -> Text:
        """A scalar operation on operands whose texts are given; literals among them are put in the form that fits."""
        form = self.template(e)
        assert form is not None
        if form == _MULTIPLY_ADD:
            a, b, c = args
            return Text(f"{a.within(PRODUCT)} * {b.within(PRODUCT + 1)} + {c.within(SUM + 1)}", SUM)
        infix, prefix = _INFIX.fullmatch(form), _PREFIX.fullmatch(form)
        if infix and infix[1] in PRECEDENCE:
            operator, p = infix[1], PRECEDENCE[infix[1]]
            if infix[2] == "{1}":
                args = self._bare_operands(e, args, p == COMPARE)
                right = args[1].within(p + 1)
            else:
                right = infix[2]
            return Text(f"{args[0].within(p + 1 if p == COMPARE else p)} {operator} {right}", p)
        if prefix:
            p = NOT if prefix[1] == "not " else UNARY
            return Text(prefix[1] + args[0].within(p), p)
        if form == _CHOICE:
            cond, x, y = args
            return Text(f"{x.within(TERNARY + 1)} if {cond.within(TERNARY + 1)} else {y.within(TERNARY)}", TERNARY)
        return Text(_OPERAND.sub(lambda m: _operand(form, m, args), form))

    def _bare_operands(self, e: Scalar, args: Sequence[Text], comparing: bool) -> Sequence[Text]:
        """The operands with a constant in short form where the other operand has the dtype."""
        found = list(args)
        for k, other in ((0, 1), (1, 0)):
            a = e.args[k]
            if isinstance(a, Const) and not isinstance(e.args[other], Const):
                found[k] = self.bare(a, comparing) or found[k]
        return found


_OPERAND = re.compile(r"\{(\d)\}")


def _operand(form: str, place: re.Match[str], args: Sequence[Text]) -> str:
    """The text of an operand for its place in a form: in parentheses, unless it is all of an argument of a call."""
    text = args[int(place[1])]
    alone = form[: place.start()].endswith(("(", ", ")) and form[place.end() :].startswith((")", ","))
    return text.text if alone else text.within(UNARY + 1)


# Literals


def literal(c: Const) -> Text:
    """A constant in its own dtype: ``np.float32(0.5)``."""
    if c.dtype == bool_:
        return Text("True" if c.value else "False")
    return Text(f"{scalars.numpy_name(c.dtype)}({number_text(c.value)})")


def bare(c: Const, comparing: bool) -> Text | None:
    """A constant as a plain number, where that means the same beside an operand of its dtype; else None.

    Numba takes a plain number for a 64-bit one, so narrower constants need their dtype; in a comparison, only those
    that are not exact as a 64-bit number do.
    """
    digits = number_text(c.value)
    if c.dtype not in (f64, i64):
        exact = c.dtype.kind == "i" or (is_float(c.dtype) and "n" not in digits and float(digits) == float(c.value))
        if not comparing or not exact:
            return None
    return Text(digits, UNARY if digits.startswith("-") else ATOM)


def stored(c: Const) -> Text:
    """A constant that is stored into an array, which converts it."""
    return Text("True" if c.value else "False") if c.dtype == bool_ else Text(number_text(c.value))


def number_text(value: np.generic) -> str:
    """The shortest decimal number that NumPy reads back as this value, or ``np.inf`` and the like."""
    if not is_float(value.dtype):
        return str(int(value))  # pyright: ignore[reportArgumentType]
    number = float(value)  # pyright: ignore[reportArgumentType]
    if np.isnan(number):
        return "np.nan"
    if np.isinf(number):
        return "np.inf" if number > 0 else "-np.inf"
    short = repr(value.item()) if value.dtype == f64 else str(value)
    if value.dtype.type(float(short)) != value:
        short = repr(number)
    return short if any(ch in short for ch in ".e") else short + ".0"


# Scalar functions


@functools.cache
def _template(op: str, dtype: np.dtype, operand_dtype: np.dtype) -> str | None:
    if op not in scalars.SCALARS:
        raise CompilationError(f"there is no scalar function named {op!r}. See jitgrad.loopir.scalars for all of them.")
    places = [f"{{{k}}}" for k in range(scalars.SCALARS[op].arity)]
    form = scalars.python_source(op, places, dtype, operand_dtype)
    # The table writes "h" for the module of helpers, a name that users like for themselves.
    return None if form is None else re.sub(r"\bh\.", "helpers.", form)


def template(e: Scalar) -> str | None:
    """The format string of a scalar operation over its operands, or None where its formula is rendered instead."""
    return _template(e.op, e.dtype, e.args[-1 if e.op == "where" else 0].dtype)


_INFIX = re.compile(r"\(\{0\} (\S+) (.+)\)")
_PREFIX = re.compile(r"\((-|~|not )\{0\}\)")
_CHOICE = "({1} if {0} else {2})"
_MULTIPLY_ADD = "({0} * {1} + {2})"


# What is computed once


class Expressions:
    """The expression graph as it is rendered: a function without Python spelling has its formula for only operand."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._formulas: dict[Scalar, Expr] = {}
        self._reads: dict[Expr, frozenset[Any]] = {}

    def formula(self, e: Scalar) -> Expr | None:
        """The expression that is rendered in place of ``e``, or None where ``e`` has a spelling of its own."""
        if self._spelling.template(e) is not None:
            return None
        if e not in self._formulas:
            compose = scalars.SCALARS[e.op].compose
            if compose is None:
                raise CompilationError(f"{e.op} of {e.args[0].dtype} has neither source nor a formula.")
            self._formulas[e] = compose(*e.args)
        return self._formulas[e]

    def children(self, e: Expr) -> tuple[Expr, ...]:
        if isinstance(e, Scalar):
            formula = self.formula(e)
            return e.args if formula is None else (formula,)
        return e.children()

    def postorder(self, root: Expr, known: Callable[[Expr], bool]) -> Iterator[Expr]:
        """Expressions below and including ``root``, operands first; does not look below the known ones."""
        stack = [(root, False)]
        seen: set[Expr] = set()
        while stack:
            e, ready = stack.pop()
            if ready:
                yield e
            elif e not in seen and not known(e):
                seen.add(e)
                stack.append((e, True))
                stack.extend((c, False) for c in reversed(self.children(e)))

    def reads(self, e: Expr) -> frozenset[Any]:
        """Root buffers and locals that the value depends on."""
        if e not in self._reads:
            for x in self.postorder(e, self._reads.__contains__):
                own: frozenset[Any] = frozenset()
                if isinstance(x, Load):
                    own = frozenset((x.buffer.root,))
                elif isinstance(x, Local):
                    own = frozenset((x,))
                self._reads[x] = own.union(*(self._reads[c] for c in self.children(x)))
        return self._reads[e]


def bindable(e: Expr) -> bool:
    """Whether giving the value a name of its own makes sense."""
    return isinstance(e, (Load, Scalar)) or (isinstance(e, Index) and not isinstance(e.index, int))


class Versions:
    """A clock that ticks at each write. An expression has the value it had before while its version is the same."""

    def __init__(self, expressions: Expressions) -> None:
        self._expressions = expressions
        self._now = 0
        self._changed: dict[Any, int] = {}

    def clone(self) -> Versions:
        other = Versions(self._expressions)
        other._now, other._changed = self._now, dict(self._changed)
        return other

    def of(self, e: Expr) -> int:
        return max((self._changed.get(d, 0) for d in self._expressions.reads(e)), default=0)

    def touch(self, written_things: Iterable[Any]) -> None:
        """Something wrote these root buffers and locals."""
        self._now += 1
        self._changed.update((d, self._now) for d in written_things)

    def after(self, s: Stmt) -> None:
        """A statement without a body was executed."""
        if isinstance(s, Store):
            self.touch((s.buffer.root,))
        elif isinstance(s, (Let, Assign)):
            self.touch((s.local,))
        elif isinstance(s, LibCall):
            self.touch(t.root for t in s.outs)


Uses = Counter[tuple[Expr, int]]


def count_uses(stmts: Sequence[Stmt], expressions: Expressions, versions: Versions) -> Uses:
    """How often each (expression, version) is used in a block and the blocks inside it.

    ``versions`` is left as it was. An expression below one that is used twice counts once: the latter gets a name.
    """
    uses: Uses = Counter()
    _count_block(stmts, expressions, versions.clone(), uses)
    return uses


def _count_block(stmts: Sequence[Stmt], expressions: Expressions, versions: Versions, uses: Uses) -> None:
    for s in stmts:
        if isinstance(s, While):
            versions.touch(written(s.body))  # the condition is evaluated anew, after the body too
        stack = list(roots(s))
        while stack:
            e = stack.pop()
            key = (e, versions.of(e))
            uses[key] += 1
            if uses[key] == 1:
                stack.extend(expressions.children(e))
        if isinstance(s, Loop):
            versions.touch(written(s.body))
        if isinstance(s, (Loop, While)):
            _count_block(s.body, expressions, versions, uses)
            versions.touch(written(s.body))
        elif isinstance(s, Block):
            _count_block(s.body, expressions, versions, uses)
        elif isinstance(s, If):
            _count_block(s.then, expressions, versions, uses)
            _count_block(s.orelse, expressions, versions, uses)
        else:
            versions.after(s)


# Names


_RESERVED = frozenset(keyword.kwlist) | frozenset(dir(builtins)) | {"np", "math", "helpers", "lib", "status"}


def identifier(name: str) -> str:
    """A Python identifier near ``name``."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII) or "v"
    return "_" + text if text[0].isdigit() else text


class Names:
    """Hands out names that are unique while they are in scope.

    A name may come back later for a variable of the same ``kind`` (a dtype): Numba wants one type a name.
    """

    def __init__(self) -> None:
        self._active: set[str] = set(_RESERVED)
        self._kinds: dict[str, Any] = {}

    def fresh(self, wanted: str, kind: Any) -> str:
        """``wanted`` if it is free, else that with a number."""
        wanted = identifier(wanted)
        stem, n = wanted, 0
        while wanted in self._active or self._kinds.get(wanted, kind) != kind:
            n += 1
            wanted = f"{stem}{'_' if stem[-1].isdigit() else ''}{n}"
        self._active.add(wanted)
        self._kinds[wanted] = kind
        return wanted

    def first(self, candidates: Iterable[str], kind: Any) -> str:
        """The first free one of several names."""
        for name in candidates:
            if name not in self._active and self._kinds.get(name, kind) == kind:
                return self.fresh(name, kind)
        return self.fresh("i", kind)

    def release(self, names: Iterable[str]) -> None:
        self._active.difference_update(names)
