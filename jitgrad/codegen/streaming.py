"""Loops that write past the caches.

A non-temporal store writes a whole line, aligned, and LLVM makes vectors of such stores only where it knows that they
are. So the loop runs in strips of some lines, where lines begin. A strip has a fixed number of iterations, which write
into an array on the stack, and is copied from there: LLVM puts the vectors into registers, and the array vanishes. What
is before the first line and behind the last strip the loop writes as usual; and all, where the lines of several arrays
do not begin together.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from jitgrad.codegen.llvm_scalar import I32, I64, memory_type
from jitgrad.ir.index import Sym, add, expr
from jitgrad.loopir.nodes import Buffer, Expr, Loop, Stmt, Store
from jitgrad.loopir.substitute import substituted
from jitgrad.loopir.walk import written

if TYPE_CHECKING:
    from jitgrad.codegen.llvm import KernelEmitter

#: Iterations of a strip. Elements of at least a byte fill whole lines in it.
STRIP = 64
#: Bytes of a line.
LINE = 64


def emit_streamed(emitter: KernelEmitter, s: Loop) -> None:
    """A loop, some of whose stores are ``streamed``."""
    b = emitter.b
    stores = [x for x in s.body if isinstance(x, Store) and x.streamed]
    emitter.forget(written(s.body))
    lo, hi = emitter.index(s.lo), emitter.index(s.hi)
    before = b.block
    names = ("segment", "strip", "rest", "next", "done")
    segment, strip, rest, following, done = (emitter.function.append_basic_block(name) for name in names)
    b.cbranch(b.icmp_signed("<", lo, hi), segment, done)

    b.position_at_end(segment)
    first, last = Sym("first"), Sym("last")
    start = emitter.env[first] = b.phi(I64, name="first")
    start.add_incoming(lo, before)
    emitter.env[s.var] = start
    wait, apart = _to_lines(emitter, stores)
    behind = b.add(start, I64(STRIP), flags=("nsw",))
    aligned = b.and_(b.icmp_signed("==", b.or_(wait, apart), I64(0)), b.icmp_signed("<=", behind, hi))
    b.cbranch(aligned, strip, rest)

    b.position_at_end(strip)
    _strip(emitter, s, first)
    after_strip = b.block
    b.branch(following)

    b.position_at_end(rest)
    # Not aligned: up to where it is. Aligned, but less than a strip: all that is left.
    end = b.add(start, b.select(b.icmp_signed("==", wait, I64(0)), I64(STRIP), wait), flags=("nsw",))
    end = b.select(b.or_(b.icmp_signed("!=", apart, I64(0)), b.icmp_signed(">", end, hi)), hi, end)
    emitter.env[last] = end
    plain = tuple(dataclasses.replace(x, streamed=False) if isinstance(x, Store) else x for x in s.body)
    with emitter.scope():
        emitter.loop(Loop(s.var, expr(first), expr(last), plain))
    after_rest = b.block
    b.branch(following)

    b.position_at_end(following)
    reached = b.phi(I64)
    reached.add_incoming(behind, after_strip)
    reached.add_incoming(end, after_rest)
    start.add_incoming(reached, following)
    b.cbranch(b.icmp_signed("<", reached, hi), segment, done)
    b.position_at_end(done)


def wait_for_streams(b: Any) -> None:
    """What was written past the caches is there before anything that comes later: ordinary stores keep that order by
    themselves."""
    b.fence("seq_cst")


def _to_lines(emitter: KernelEmitter, stores: list[Store]) -> tuple[Any, Any]:
    """How many elements the first of the stores has to go until a line begins, and a number that is 0 if the others
    have to go as far."""
    b = emitter.b
    waits = []
    for x in stores:
        address = b.ptrtoint(emitter.address(x.buffer, x.index), I64)
        bits = x.buffer.dtype.itemsize.bit_length() - 1
        waits.append(b.lshr(b.and_(b.neg(address), I64(LINE - 1)), I64(bits)))
    apart = I64(0)
    for wait in waits[1:]:
        apart = b.or_(apart, b.xor(wait, waits[0]))
    return waits[0], apart


def _strip(emitter: KernelEmitter, s: Loop, first: Sym) -> None:
    """The iterations of a loop from ``first`` on, where the elements that they write begin a line."""
    b = emitter.b
    k = Sym("k", 0, STRIP - 1)
    staged: list[tuple[Store, Any]] = []
    body: list[Stmt] = []
    memo: dict[Expr, Expr] = {}
    for x in s.body:
        new = substituted(x, {s.var: add(expr(first), expr(k))}, memo)
        if isinstance(x, Store) and isinstance(new, Store) and x.streamed:
            t = Buffer(f"{x.buffer.name}_strip", x.buffer.dtype, (STRIP,))
            with b.goto_entry_block():
                area = emitter.pointers[t] = b.alloca(memory_type(t.dtype), STRIP, name=t.name)
            area.align = LINE
            staged.append((x, area))
            new = Store(t, (expr(k),), new.value)
        body.append(new)
    with emitter.scope():
        emitter.loop(Loop(k, 0, STRIP, tuple(body)))
    emitter.env[s.var] = emitter.env[first]
    line = ir.VectorType(I64, LINE // 8).as_pointer()
    mark = b.module.add_metadata([I32(1)])
    for x, area in staged:
        source, to = b.bitcast(area, line), b.bitcast(emitter.address(x.buffer, x.index), line)
        for j in range(STRIP * x.buffer.dtype.itemsize // LINE):
            value = b.load(b.gep(source, [I64(j)], inbounds=True), align=LINE)
            store = b.store(value, b.gep(to, [I64(j)], inbounds=True), align=LINE)
            store.set_metadata("nontemporal", mark)
