"""Expressions as lines: ``factor * x + rest``, where neither depends on ``x``.

A recurrence ``x = factor * x + rest`` is a scan: two steps one after the other are one such step again, with the factor
``f2 * f1`` and the rest ``f2 * r1 + r2`` (Blelloch, *Prefix Sums and Their Applications*, 1990, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jitgrad.ir.types import is_float
from jitgrad.loopir.nodes import MAX_DEPTH, Const, Expr, Local, Scalar, scalar
from jitgrad.loopir.walk import subexpressions


class Line(NamedTuple):
    """``factor * x + rest``; None is 0."""

    factor: Expr | None
    rest: Expr | None


#: Locals that depend on ``x``, as lines; None: as something else.
Lines = Mapping[Local, Line | None]


def scaled(factor: Expr, x: Expr) -> Expr:
    """``factor * x``, but 0 where x is 0 though a product of factors has become infinite."""
    return scalar("where", x.eq(0), x, factor * x)


def depends(e: Expr, known: Lines) -> bool:
    """Whether an expression mentions ``x``, or what depends on it."""
    return any(x in known for x in subexpressions((e,)) if isinstance(x, Local))


def line(e: Expr, known: Lines) -> Line | None:
    """An expression as a line, if it is written as one: by sums, products with what does not depend on ``x``, and
    choices that don't."""
    if not depends(e, known):
        return Line(None, e)
    if isinstance(e, Local):
        return known[e]
    if not isinstance(e, Scalar):
        return None
    found = _line(e, known)
    deep = found is not None and any(x is not None and x.depth > MAX_DEPTH for x in found)
    return None if deep else found


def is_scaled(e: Expr) -> bool:
    """Whether an expression is that of :func:`scaled`."""
    if not isinstance(e, Scalar) or e.op != "where":
        return False
    product = e.args[2]
    return isinstance(product, Scalar) and product.op == "multiply" and e is scaled(*product.args)


def _line(e: Scalar, known: Lines) -> Line | None:
    if is_scaled(e):
        return line(e.args[2], known)
    if e.op == "where":
        lines = [line(x, known) for x in e.args[1:]]
        if depends(e.args[0], known) or None in lines:
            return None
        return Line(*(_choice(e.args[0], x, y) for x, y in zip(*lines, strict=True)))  # pyright: ignore[reportArgumentType]
    if e.op == "negative":
        x = line(e.args[0], known)
        return None if x is None else _negative(x)
    if e.op in ("add", "subtract"):
        x, y = (line(arg, known) for arg in e.args)
        if x is None or y is None:
            return None
        if e.op == "subtract":
            y = _negative(y)
        return Line(_sum(x.factor, y.factor), _sum(x.rest, y.rest))
    if e.op in ("multiply", "product"):
        for x, y in (e.args, e.args[::-1]):
            if not depends(y, known):
                found = line(x, known)
                return None if found is None else Line(*(_product(part, y) for part in found))
    if e.op == "divide" and not depends(e.args[1], known) and is_float(e.dtype):
        found = line(e.args[0], known)
        return None if found is None else Line(*(None if p is None else p / e.args[1] for p in found))
    return None


def _negative(x: Line) -> Line:
    def negated(e: Expr | None) -> Expr | None:
        if isinstance(e, Const):
            return Const(np.negative(e.value), e.dtype)
        return None if e is None else -e

    return Line(negated(x.factor), negated(x.rest))


def _sum(x: Expr | None, y: Expr | None) -> Expr | None:
    return y if x is None else x if y is None else x + y


def _product(x: Expr | None, y: Expr) -> Expr | None:
    if x is None:
        return None
    return y if isinstance(x, Const) and x.value == 1 else x * y


def _choice(cond: Expr, x: Expr | None, y: Expr | None) -> Expr | None:
    if x is None and y is None:
        return None
    dtype = (x if x is not None else y).dtype  # pyright: ignore[reportOptionalMemberAccess]
    zero = Const(0, dtype)
    return scalar("where", cond, zero if x is None else x, zero if y is None else y)
