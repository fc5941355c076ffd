"""Matrix products that are only added to an array add to it themselves.

    call gemm(x, y) -> t                    call gemm(x, y, d, add=True) -> d
    for i < n:                       =>
        d[i] = d[i] + t[i]

A weight's gradient in a loop over time steps is such a sum. The product is neither stored nor read once more.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from jitgrad.loopir.buffers import whole_store
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import Block, Buffer, LibCall, Load, Program, Scalar, Stmt
from jitgrad.loopir.walk import buffers_of, lists_of, statements, with_lists


def add_products(program: Program, notes: list[str]) -> Program:
    """Let products add to arrays where that is all that becomes of them."""
    if not any(isinstance(s, LibCall) and s.fn == "gemm" for s in statements(program.body)):
        return program
    uses: Counter[Buffer] = Counter()
    for s in statements(program.body):
        if not lists_of(s):
            uses.update(buffers_of(s))
    count = 0

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
                call = new[place]
                assert isinstance(call, LibCall)
                static = tuple(sorted((*call.static, ("add", True))))
                new[place] = dataclasses.replace(call, outs=(target,), ins=(*call.ins, target), static=static)
                new[k] = Block(())
                count += 1
        new = [s for s in new if not (isinstance(s, Block) and not s.body)]
        return body if len(new) == len(body) and all(a is b for a, b in zip(new, body, strict=True)) else tuple(new)

    program = with_body(program, inside(program.body))
    if count:
        notes.append(f"matrix products that add to an array themselves: {count}")
    return program


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
        if isinstance(s, LibCall) and s.fn == "gemm" and s.outs[0].root is product:
            fits = s.outs[0].size == target.size and target not in touched and target.dtype == product.dtype
            return k if fits and not dict(s.static).get("add") else None
        if target in touched or product in touched:
            return None
    return None
