"""Matrix products that are only added to an array add to it themselves.

    call gemm(x, y) -> t                    call gemm(x, y, d, add=True) -> d
    for i < n:                       =>
        d[i] = d[i] + t[i]

A weight's gradient in a loop over time steps is such a sum. The product is neither stored nor read once more. In the
same way a product that is only added to another one adds to that: ``x @ w + h @ u``, or a convolution that sums up a
product for each offset.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from jitgrad.loopir.buffers import whole_store
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import Block, Buffer, Expr, LibCall, Load, Program, Scalar, Stmt, Store
from jitgrad.loopir.rewrite import rewrite
from jitgrad.loopir.walk import buffers_of, expressions, lists_of, rebuild, statements, subexpressions, with_lists


def add_products(program: Program, notes: list[str]) -> Program:
    """Let products add to arrays where that is all that becomes of them."""
    if not any(isinstance(s, LibCall) and s.fn == "gemm" for s in statements(program.body)):
        return program
    count = 0
    while pairs := _pairs(program):
        program = _joined(program, pairs)
        count += len(pairs)
    uses: Counter[Buffer] = Counter()
    for s in statements(program.body):
        if not lists_of(s):
            uses.update(buffers_of(s))

    def inside(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        nonlocal count
        new: list[Stmt] = [with_lists(s, inside) for s in body]
        for k, s in enumerate(body):
            found = _added(s)
            if found is None or found[1].kind != "temp" or uses[found[1]] != 2:
                continue
            target, product = found
            place = _call(new[:k], target, product)
            if place is not None:
                new[place] = _adding(new[place], target)
                new[k] = Block(())
                count += 1
        new = [s for s in new if not (isinstance(s, Block) and not s.body)]
        return body if len(new) == len(body) and all(a is b for a, b in zip(new, body, strict=True)) else tuple(new)

    program = with_body(program, inside(program.body))
    if count:
        notes.append(f"matrix products that add to an array themselves: {count}")
    return program


def _is_product(s: Stmt) -> bool:
    return isinstance(s, LibCall) and s.fn == "gemm" and not dict(s.static).get("add")


def _adding(call: Stmt, target: Buffer) -> Stmt:
    """The call of a product with the array that it adds to."""
    assert isinstance(call, LibCall)
    static = tuple(sorted({**dict(call.static), "add": True}.items()))
    return dataclasses.replace(call, outs=(target,), ins=(*call.ins[:2], target), static=static)


def _pairs(program: Program) -> dict[Buffer, Buffer]:
    """Products that are read nowhere but where they are added to another one of which the same is true: by the one of
    the two whose call comes later in one list, the other."""
    places: dict[Buffer, tuple[int, int]] = {}  # of a product's own call: its list, and the place there
    refused: set[Buffer] = set()
    numbers = itertools.count()

    def visit(body: Sequence[Stmt]) -> None:
        number = next(numbers)
        for k, s in enumerate(body):
            if isinstance(s, LibCall):
                adds = s.fn == "gemm" and not _is_product(s)
                refused.update(t.root for t in (s.ins[:2] if adds else s.ins))
                for t in s.outs:
                    before = places.setdefault(t.root, (number, k))
                    later = adds and before[0] == number and before[1] < k
                    if t.root.kind != "temp" or not (later or (_is_product(s) and before == (number, k))):
                        refused.add(t.root)
            elif isinstance(s, Store):
                refused.add(s.buffer.root)
            for inner in lists_of(s):
                visit(inner)

    visit(program.body)
    partners: dict[Buffer, set[Buffer | None]] = {}
    seen: set[Expr] = set()
    for s in statements(program.body):
        tops = set(expressions(s))
        refused |= {e.buffer.root for e in tops if isinstance(e, Load)}
        inside = tops.union(subexpressions(tops, seen))
        sums = {e for e in tops if _is_sum(e)}
        for e in inside:
            for c in () if _is_sum(e) else e.children():
                if _is_sum(c):
                    sums.add(c)
                elif isinstance(c, Load):
                    partners.setdefault(c.buffer.root, set()).add(None)
        for e in sums:
            for group in _alike(e):
                group = sorted((t for t in group if t in places), key=lambda t: places[t])
                for k, t in enumerate(group):
                    other = group[k ^ 1] if k ^ 1 < len(group) else None
                    partners.setdefault(t, set()).add(None if other is t else other)
    found: dict[Buffer, Buffer] = {}
    for t, those in partners.items():
        (partner,) = those if len(those) == 1 else (None,)
        if partner is None or {t, partner} & refused or partner not in places or partners.get(partner) != {t}:
            continue
        same = t.size == partner.size and t.dtype == partner.dtype and t.is_static
        if same and places[t][0] == places[partner][0] and places[t][1] > places[partner][1]:
            found[t] = partner
    return found


def _is_sum(e: Expr) -> bool:
    return isinstance(e, Scalar) and e.op == "add"


def _alike(e: Expr) -> Iterator[list[Buffer]]:
    """The arrays that a sum of any number of terms adds up at one place, in groups of those in one shape."""
    groups: dict[object, list[Buffer]] = {}
    terms = [e]
    while terms:
        e = terms.pop()
        if _is_sum(e):
            terms += e.children()
        elif isinstance(e, Load):
            groups.setdefault((e.buffer.shape, e.index), []).append(e.buffer.root)
    yield from groups.values()


def _joined(program: Program, pairs: Mapping[Buffer, Buffer]) -> Program:
    """The program with these products added to their partners where they are computed."""
    memo: dict[Expr, Expr] = {}
    gone: set[Expr] = set()

    def visit(e: Expr) -> Expr:
        return rewrite(e, {}, memo)

    for s in statements(program.body):
        for e in sorted(subexpressions(expressions(s)), key=lambda e: e.depth):
            if isinstance(e, Load) and e.buffer.root in pairs:
                gone.add(e)
            elif _is_sum(e) and e not in memo:
                left = [c for c in e.children() if c not in gone]
                if not left:
                    gone.add(e)
                elif len(left) == 1:
                    memo[e] = visit(left[0])

    def new(s: Stmt) -> Stmt:
        if isinstance(s, LibCall) and s.fn == "gemm" and s.outs[0].root in pairs:
            return _adding(s, pairs[s.outs[0].root])
        return with_lists(s, lambda body: tuple(map(new, body)))

    return with_body(program, (new(rebuild(s, visit)) for s in program.body))


def _added(s: Stmt) -> tuple[Buffer, Buffer] | None:
    """``(target, source)`` where a statement adds one whole array to another one of its size."""
    found = whole_store(s, ("=", "+="))
    if found is None:
        return None
    store = found[0]
    value = store.value
    own = Load(store.buffer, store.index)
    if store.mode == "=" and isinstance(value, Scalar) and value.op == "add" and own in value.args:
        value = value.args[value.args[0] is own]
    elif store.mode == "=":
        return None
    if not isinstance(value, Load) or value.buffer.shape != store.buffer.shape or value.index != store.index:
        return None
    if value.buffer.root is store.buffer.root or not store.buffer.is_static:
        return None
    return store.buffer.root, value.buffer.root


def _call(before: list[Stmt], target: Buffer, product: Buffer) -> int | None:
    """The place of the call that makes a product, if nothing touches the target after it."""
    for k in range(len(before) - 1, -1, -1):
        s = before[k]
        touched = buffers_of(s)
        if isinstance(s, LibCall) and _is_product(s) and s.outs[0].root is product:
            fits = s.outs[0].size == target.size and target not in touched and target.dtype == product.dtype
            return k if fits else None
        if target in touched or product in touched:
            return None
    return None
