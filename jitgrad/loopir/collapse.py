"""Nested loops that walk memory as one loop become one loop, which vectorises whatever the inner extent is."""

from __future__ import annotations

from jitgrad.ir.index import Dim, Sym, coefficients, expr, substitute
from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import Buffer, Expr, Index, Load, Loop, Program, Stmt, Store, payloads
from jitgrad.loopir.rewrite import rewrite
from jitgrad.loopir.walk import expressions, rebuild, statements, subexpressions, with_lists


def collapse(program: Program) -> Program:
    """Collapse every pair of perfectly nested loops ``for i in range(n): for j in range(m)`` in which all accesses
    have an offset that is affine in ``m*i + j``."""
    flat: dict[Buffer, Buffer] = {}
    variables: dict[tuple[Sym, Sym], Sym] = {}
    return with_body(program, (_collapse(s, flat, variables) for s in program.body))


def _collapse_all(
    body: tuple[Stmt, ...], flat: dict[Buffer, Buffer], variables: dict[tuple[Sym, Sym], Sym]
) -> tuple[Stmt, ...]:
    new = tuple(_collapse(x, flat, variables) for x in body)
    return body if all(a is b for a, b in zip(new, body, strict=True)) else new


def _collapse(s: Stmt, flat: dict[Buffer, Buffer], variables: dict[tuple[Sym, Sym], Sym]) -> Stmt:
    s = with_lists(s, lambda body: _collapse_all(body, flat, variables))
    if not isinstance(s, Loop) or len(s.body) != 1:
        return s
    (inner,) = s.body
    if not isinstance(inner, Loop) or not _plain(s) or not _plain(inner):
        return s
    assert isinstance(s.hi, int) and isinstance(inner.hi, int)
    if any(isinstance(x, Loop) for x in inner.body) or not all(_joint(x, s.var, inner) for x in inner.body):
        return s
    return _merge(s, inner, flat, variables)


def _plain(loop: Loop) -> bool:
    return loop.lo == 0 and loop.step == 1 and isinstance(loop.hi, int) and loop.hi > 0


def _joint(s: Stmt, outer: Sym, inner: Loop) -> bool:
    """Whether every access depends on the two variables only through ``extent*outer + inner``."""

    def fits(e: Dim) -> bool:
        view = coefficients(e)
        return view is not None and view[1].get(outer, 0) == inner.hi * view[1].get(inner.var, 0)

    for x in statements((s,)):
        if isinstance(x, Store) and not fits(flatten_index(x.buffer.shape, x.index)):
            return False
        if isinstance(x, Store) and any(True for i in x.index for _ in payloads(i)):
            return False  # a scatter: its index holds expressions of its own
        for e in subexpressions(expressions(x)):
            if isinstance(e, Load) and not fits(flatten_index(e.buffer.shape, e.index)):
                return False
            if isinstance(e, Index) and not fits(e.index):
                return False
            if isinstance(e, Load) and any(True for _ in e.children()):
                return False  # a gather: its index holds expressions of its own
    return True


def _merge(s: Loop, inner: Loop, flat: dict[Buffer, Buffer], variables: dict[tuple[Sym, Sym], Sym]) -> Loop:
    assert isinstance(s.hi, int) and isinstance(inner.hi, int)
    extent = s.hi * inner.hi
    var = variables.setdefault((s.var, inner.var), Sym(inner.var.name, 0, extent - 1))
    env: dict[Sym, Dim] = {s.var: 0, inner.var: expr(var)}

    def flat_view(b: Buffer) -> Buffer:
        root = b.root
        if len(root.shape) == 1:
            return root
        if root not in flat:
            flat[root] = Buffer(f"{root.name}_flat", root.dtype, (root.size,), root.kind, data=root.data, base=root)
        return flat[root]

    def offset(b: Buffer, index: tuple[Dim, ...]) -> tuple[Dim, ...]:
        return (substitute(flatten_index(b.shape, index), env),)

    done: dict[Expr, Expr] = {}

    def visit(e: Expr) -> Expr:
        if e not in done:
            hits: dict[Expr, Expr] = {
                p: Load(flat_view(p.buffer), offset(p.buffer, p.index))
                for p in subexpressions((e,))
                if isinstance(p, Load) and p.buffer.root.shape
            }
            done[e] = rewrite(e, env, dict(hits))
        return done[e]

    def store(x: Store) -> Stmt:
        if not x.buffer.root.shape:
            return x
        return Store(flat_view(x.buffer), offset(x.buffer, x.index), x.value, x.mode)

    return Loop(var, 0, extent, tuple(rebuild(x, visit, store) for x in inner.body), 1, s.kind)
