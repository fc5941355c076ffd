"""Accesses through another shape of an array, as accesses of the array itself.

    for v < 200*n:                              for i < n:
        y[v + c] = x_flat[v]            =>          for j < 200:
                                                        y[200*i + j + c] = x[i, j]

Later steps compare indices: two accesses must be of one shape for them to be known as the same element.
"""

from __future__ import annotations

from collections.abc import Sequence

from jitgrad.ir.index import Dim, IndexExpr, Quotient, Remainder, Sym, add, as_sym, expr, mul
from jitgrad.loopir.build import reshaped_index
from jitgrad.loopir.deps import without
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import Buffer, Expr, Load, Loop, Program, Stmt, Store
from jitgrad.loopir.substitute import Place, substituted, with_accesses
from jitgrad.loopir.walk import expressions, subexpressions, with_lists


def unview(program: Program) -> Program:
    """Rewrite every access through a view that needs no division to one of the root, and give loops that walk a whole
    array by one flat index the axes of the array."""
    return with_body(program, (with_accesses(_unflattened(s), _direct) for s in program.body))


# Loops over a flat index


def _unflattened(s: Stmt) -> Stmt:
    s = with_lists(s, lambda body: _same(body, tuple(_unflattened(x) for x in body)))
    if not isinstance(s, Loop) or s.lo != 0 or s.step != 1 or not all(isinstance(x, Store) for x in s.body):
        return s
    shape = _walked(s)
    return s if shape is None else _nest(s, shape)


def _same(old: tuple[Stmt, ...], new: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    return old if all(a is b for a, b in zip(old, new, strict=True)) else new


def _walked(loop: Loop) -> tuple[Dim, ...] | None:
    """The shape, without extents of 1, of an array that a loop walks from end to end through a flat view."""
    if not _affine(loop):
        return None
    for s in loop.body:
        assert isinstance(s, Store)
        places = [(e.buffer, e.index) for e in subexpressions(expressions(s)) if isinstance(e, Load)]
        for t, index in (*places, (s.buffer, s.index)):
            if len(index) != 1 or as_sym(index[0]) is not loop.var or t.shape != (loop.hi,):
                continue
            shape = tuple(n for n in t.root.shape if n != 1)
            if len(shape) > 1 and all(isinstance(n, int) for n in shape[1:]):
                return shape
    return None


def _affine(loop: Loop) -> bool:
    """Whether all indices are affine in the loop's variable: no division by an extent comes about."""
    indices: list[Dim] = []
    for s in loop.body:
        assert isinstance(s, Store)
        indices += s.index
        for e in subexpressions(expressions(s)):
            indices += e.index if isinstance(e, Load) else ()
    return all(without(e, loop.var)[0] is not None for e in indices)


def _nest(loop: Loop, shape: Sequence[Dim]) -> Loop:
    """A loop an axis, in place of one over the flat index."""
    variables = [Sym(f"{loop.var.name}_{k}", 0, add(n, -1)) for k, n in enumerate(shape)]
    flat: Dim = 0
    for v, n in zip(variables, shape, strict=True):
        flat = add(mul(flat, n), expr(v))
    env: dict[Sym, Dim] = {loop.var: flat}
    memo: dict[Expr, Expr] = {}
    body: tuple[Stmt, ...] = tuple(substituted(s, env, memo) for s in loop.body)
    for v, n in zip(reversed(variables), reversed(shape), strict=True):
        body = (Loop(v, 0, n, body, 1, loop.kind),)
    (nest,) = body
    assert isinstance(nest, Loop)
    return nest


# Accesses


def _direct(t: Buffer, index: tuple[Dim, ...]) -> Place | None:
    """An access in the root of its buffer; None where it is the root or where that takes a division."""
    if t.base is None:
        return None
    own = reshaped_index(t.root.shape, t.shape, index)
    if own is None or _divisions(own) > _divisions(index):
        return None
    return t.root, own


def _divisions(index: Sequence[Dim]) -> int:
    return sum(
        isinstance(term, (Quotient, Remainder)) for e in index if isinstance(e, IndexExpr) for term, _ in e.terms
    )
