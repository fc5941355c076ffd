"""Walks over Loop IR: what a statement reads and writes, and a key that is equal for equal statements."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from jitgrad.ir.index import Dim, IndexExpr, Product, Quotient, Remainder, Sym, Term
from jitgrad.loopir.nodes import (
    Alloc,
    Assign,
    Block,
    Buffer,
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
    Scalar,
    Stmt,
    Store,
    While,
)
from jitgrad.loopir.rewrite import map_payloads


def _kept(compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of a statement whose result is kept with the statement, which never changes: passes ask the same of
    the same statements again and again."""
    name = f"_{compute.__name__}"

    def get(s: Stmt) -> Any:
        known = s.__dict__
        if name not in known:
            known[name] = compute(s)
        return known[name]

    return functools.update_wrapper(get, compute)


def statements(stmts: Iterable[Stmt]) -> Iterator[Stmt]:
    """All statements of a tree, outer ones first."""
    for s in stmts:
        yield s
        if s.__class__ in _WITH_LISTS:
            yield from _inside(s)


_WITH_LISTS = frozenset((Loop, While, Block, If))


@_kept
def _inside(s: Stmt) -> tuple[Stmt, ...]:
    """The statements in a statement, outer ones first."""
    return tuple(x for body in lists_of(s) for x in statements(body))


@_kept
def expressions(s: Stmt) -> tuple[Expr, ...]:
    """The expressions that a statement itself evaluates (not those of its body), dynamic indices included."""
    if isinstance(s, Store):
        return (*_dynamic_parts((*s.index, *s.buffer.shape[1:])), s.value)
    if isinstance(s, (Let, Assign)):
        return (s.value,)
    if isinstance(s, (If, While)):
        return (s.cond,)
    if isinstance(s, Loop):
        return tuple(_dynamic_parts((s.lo, s.hi)))
    if isinstance(s, Alloc):
        return tuple(_dynamic_parts(s.buffer.shape))
    return ()


def _dynamic_parts(dims: Iterable[Dim]) -> Iterator[Expr]:
    for e in dims:
        if isinstance(e, IndexExpr):
            for s in e.syms():
                if s.payload is not None:
                    yield s.payload


def subexpressions(roots: Iterable[Expr], seen: set[Expr] | None = None) -> Iterable[Expr]:
    """Every distinct expression below ``roots``, roots included, but those that were seen before."""
    roots = tuple(roots)
    if seen is None:
        if len(roots) == 1:
            return (*roots, *roots[0].below())
        seen = set()
    found: list[Expr] = []
    for root in reversed(roots):
        if root not in seen:
            new = [root, *(e for e in root.below() if e not in seen)]
            seen.update(new)
            found += new
    return found


def postorder(
    e: Expr, done: Callable[[Expr], bool], children: Callable[[Expr], Sequence[Expr]] | None = None
) -> Iterator[Expr]:
    """The subexpressions of ``e`` that are not done, operands first, without recursion.

    The caller makes ``done`` true of each one before it asks for the next. ``children`` gives operands in an order of
    its own.
    """
    stack = [e]
    while stack:
        top = stack[-1]
        if done(top):
            stack.pop()
            continue
        operands = top.children() if children is None else children(top)
        missing = [c for c in operands if not done(c)]
        if missing:
            stack.extend(reversed(missing))
        else:
            stack.pop()
            yield top


def loads(stmts: Iterable[Stmt]) -> Iterator[Load]:
    """Every distinct load of a tree."""
    seen: set[Expr] = set()
    for s in statements(stmts):
        for e in subexpressions(expressions(s), seen):
            if isinstance(e, Load):
                yield e


def read_roots(stmts: Iterable[Stmt]) -> set[Buffer]:
    """Root buffers that are read (by loads, library calls and read-modify-write stores)."""
    return set().union(*map(_read, stmts))


@_kept
def _read(s: Stmt) -> frozenset[Buffer]:
    """As :func:`read_roots`, of one statement with all that is in it."""
    found = {e.buffer.root for e in subexpressions(expressions(s)) if isinstance(e, Load)}
    if isinstance(s, LibCall):
        found.update(t.root for t in s.ins)
    elif isinstance(s, Store) and s.mode != "=":
        found.add(s.buffer.root)
    return frozenset(found.union(*(_read(x) for body in lists_of(s) for x in body)))


def written(stmts: Iterable[Stmt]) -> set[Any]:
    """Root buffers and locals that are written."""
    return set().union(*map(_written, stmts))


@_kept
def _written(s: Stmt) -> frozenset[Any]:
    """As :func:`written`, by one statement with all that is in it."""
    if isinstance(s, Store):
        return frozenset((s.buffer.root,))
    if isinstance(s, (Let, Assign)):
        return frozenset((s.local,))
    if isinstance(s, LibCall):
        return frozenset(t.root for t in s.outs)
    return frozenset().union(*(_written(x) for body in lists_of(s) for x in body))


def written_roots(stmts: Iterable[Stmt]) -> set[Buffer]:
    """Root buffers that are written."""
    return {t for t in written(stmts) if isinstance(t, Buffer)}


@_kept
def buffers_of(stmt: Stmt) -> tuple[Buffer, ...]:
    """Root buffers that a statement touches, in an order that depends on its structure only."""
    order: dict[Buffer, None] = {}
    seen: set[Expr] = set()

    def visit(root: Expr) -> None:
        stack = [root]
        while stack:
            e = stack.pop()
            if e not in seen:
                seen.add(e)
                if isinstance(e, Load):
                    order.setdefault(e.buffer.root)
                stack.extend(reversed(_ordered_children(e)))

    for s in statements((stmt,)):
        if isinstance(s, LibCall):
            for t in s.outs + s.ins:
                order.setdefault(t.root)
        if isinstance(s, Fetch):
            order.setdefault(s.buffer.root)
        if isinstance(s, Store):
            order.setdefault(s.buffer.root)
            for i in (*s.index, *s.buffer.shape[1:]):
                for p in _ordered_payloads(i):
                    visit(p)
        if isinstance(s, Alloc):
            order.setdefault(s.buffer.root)
            for i in s.buffer.shape:
                for p in _ordered_payloads(i):
                    visit(p)
        if isinstance(s, Loop):
            for i in (s.lo, s.hi):
                for p in _ordered_payloads(i):
                    visit(p)
        elif not isinstance(s, (Fail, Alloc)):
            for e in expressions(s) if not isinstance(s, Store) else (s.value,):
                visit(e)
    return tuple(order)


def _ordered_payloads(e: Dim) -> Iterator[Expr]:
    """As ``payloads``, in the order of the terms (a set of symbols has no order that can be relied on)."""
    if isinstance(e, IndexExpr):
        for term, _ in e.terms:
            yield from _term_payloads(term)


def _term_payloads(t: Term) -> Iterator[Expr]:
    if isinstance(t, Sym):
        if t.payload is not None:
            yield t.payload
    elif isinstance(t, Product):
        yield from _ordered_payloads(t.left)
        yield from _ordered_payloads(t.right)
    elif isinstance(t, (Quotient, Remainder)):
        yield from _ordered_payloads(t.base)


def _ordered_children(e: Expr) -> Sequence[Expr]:
    if isinstance(e, Load):
        return [p for i in (*e.index, *e.buffer.shape[1:]) for p in _ordered_payloads(i)]
    if isinstance(e, Index):
        return list(_ordered_payloads(e.index))
    return e.children()


class _Keys:
    """Numbers buffers, loop variables, locals and expressions in the order in which they are met."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.entries: list[Any] = []

    def number(self, thing: Any, describe: Callable[[], Any] | None = None) -> int:
        n = self.numbers.get(thing)
        if n is None:
            entry = describe() if describe else ()
            n = self.numbers[thing] = len(self.numbers)
            self.entries.append((n, entry))
        return n

    def buffer(self, t: Buffer) -> tuple[Any, ...]:
        return (self.number(t.root, lambda: (t.dtype.str,)), tuple(map(self.dim, t.shape)))

    def dim(self, e: Dim) -> Any:
        if not isinstance(e, IndexExpr):
            return e
        return (e.constant, tuple((self.term(t), c) for t, c in e.terms))

    def term(self, t: Term) -> Any:
        if isinstance(t, Sym):
            return ("s", self.number(t)) if t.payload is None else ("e", self.expr(t.payload))
        if isinstance(t, Product):
            return ("*", self.dim(t.left), self.dim(t.right))
        assert isinstance(t, (Quotient, Remainder))
        return (type(t).__name__, self.dim(t.base), t.divisor, t.base.bounds[0])

    def expr(self, e: Expr) -> int:
        for part in postorder(e, self.numbers.__contains__, _ordered_children):
            self.number(part, lambda part=part: self._describe(part))
        return self.numbers[e]

    def _describe(self, e: Expr) -> Any:
        if isinstance(e, Const):
            return ("const", e.dtype.str, e.value.tobytes())
        if isinstance(e, Scalar):
            return (e.op, e.dtype.str, tuple(self.expr(a) for a in e.args))
        if isinstance(e, Load):
            return ("load", self.buffer(e.buffer), tuple(self.dim(i) for i in e.index))
        if isinstance(e, Index):
            return ("index", self.dim(e.index))
        assert isinstance(e, Local)
        return ("local", e.dtype.str)

    def stmt(self, s: Stmt) -> Any:
        if isinstance(s, Loop):
            head = (self.dim(s.lo), self.dim(s.hi), s.step, s.kind, self.dim(s.work), self.number(s.var))
            return ("loop", *head, tuple(self.stmt(x) for x in s.body))
        if isinstance(s, Store):
            index = tuple(self.dim(i) for i in s.index)
            return ("store", self.buffer(s.buffer), index, s.mode, s.streamed, self.expr(s.value))
        if isinstance(s, (Let, Assign)):
            return (type(s).__name__, self.number(s.local), getattr(s, "mode", ""), self.expr(s.value))
        if isinstance(s, If):
            return ("if", s.rare, self.expr(s.cond), tuple(map(self.stmt, s.then)), tuple(map(self.stmt, s.orelse)))
        if isinstance(s, While):
            return ("while", self.expr(s.cond), tuple(map(self.stmt, s.body)))
        if isinstance(s, Block):
            return ("block", tuple(map(self.stmt, s.body)))
        if isinstance(s, LibCall):
            return ("lib", s.fn, tuple(map(self.buffer, s.outs)), tuple(map(self.buffer, s.ins)), s.static)
        if isinstance(s, Fail):
            return ("fail", s.code)
        if isinstance(s, Alloc):
            return ("alloc", self.buffer(s.buffer))
        if isinstance(s, Fetch):
            return ("fetch", self.buffer(s.buffer), tuple(self.dim(i) for i in s.index))
        return ("comment",)


def statement_key(stmt: Stmt) -> Any:
    """Equal for two statements exactly when they are the same up to names; then ``buffers_of`` lists the buffers of
    both in corresponding order."""
    return statement_key_and_names(stmt)[0]


def statement_key_and_names(stmt: Stmt) -> tuple[Any, list[Sym | Local]]:
    """As :func:`statement_key`, with the loop variables and locals in the order in which they are met: the same one for
    equal statements."""
    keys = _Keys()
    order = [keys.number(t.root, lambda t=t: (t.dtype.str,)) for t in buffers_of(stmt)]
    tree = keys.stmt(stmt)
    return (tuple(order), tree, tuple(keys.entries)), [x for x in keys.numbers if isinstance(x, (Sym, Local))]


def rebuild(s: Stmt, expr: Callable[[Expr], Expr], store: Callable[[Store], Stmt] | None = None) -> Stmt:
    """The statement with every expression mapped by ``expr``, those in the bounds of loops included (indices of stores
    are left to ``store``, which maps whole stores, their values mapped already)."""
    if isinstance(s, Loop):
        lo, hi = map_payloads(s.lo, expr), map_payloads(s.hi, expr)
        body = rebuild_all(s.body, expr, store)
        same = body is s.body and lo is s.lo and hi is s.hi
        return s if same else dataclasses.replace(s, lo=lo, hi=hi, body=body)
    if isinstance(s, Block):
        body = rebuild_all(s.body, expr, store)
        return s if body is s.body else Block(body)
    if isinstance(s, While):
        return While(expr(s.cond), rebuild_all(s.body, expr, store))
    if isinstance(s, If):
        return If(expr(s.cond), rebuild_all(s.then, expr, store), rebuild_all(s.orelse, expr, store), s.rare)
    if isinstance(s, Store):
        value = expr(s.value)
        new = s if value is s.value else dataclasses.replace(s, value=value)
        return store(new) if store else new
    if isinstance(s, (Let, Assign)):
        value = expr(s.value)
        return s if value is s.value else dataclasses.replace(s, value=value)
    return s


def rebuild_all(
    stmts: tuple[Stmt, ...], expr: Callable[[Expr], Expr], store: Callable[[Store], Stmt] | None = None
) -> tuple[Stmt, ...]:
    """As :func:`rebuild`; the same tuple where nothing changes."""
    new = tuple(rebuild(x, expr, store) for x in stmts)
    return stmts if all(a is b for a, b in zip(new, stmts, strict=True)) else new


def with_lists(s: Stmt, fn: Callable[[tuple[Stmt, ...]], tuple[Stmt, ...]]) -> Stmt:
    """The statement with the lists of statements in it mapped; the same object where nothing changes."""
    if isinstance(s, If):
        then, orelse = fn(s.then), fn(s.orelse)
        return s if then is s.then and orelse is s.orelse else dataclasses.replace(s, then=then, orelse=orelse)
    if isinstance(s, (Loop, While, Block)):
        body = fn(s.body)
        return s if body is s.body else dataclasses.replace(s, body=body)
    return s


def lists_of(s: Stmt) -> tuple[tuple[Stmt, ...], ...]:
    """The lists of statements in a statement."""
    if isinstance(s, If):
        return s.then, s.orelse
    return (s.body,) if isinstance(s, (Loop, While, Block)) else ()
