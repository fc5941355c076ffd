"""Loops that write past the caches.

A non-temporal store writes a whole line, aligned, and LLVM makes vectors of such stores only where it knows that they
are. So the loop runs in strips of some lines. A strip has a fixed number of iterations, which write into an array on
the stack, and is copied from there: LLVM puts the vectors into registers, and the array vanishes. The first strip
begins where a line does, and what is before it and behind the last strip the loop writes as usual.

A strip also fetches the lines that its loop fetches ahead; one that is written as usual does without.

A loop that adds something up begins its first strip where it begins itself, so that the order of a sum does not depend
on addresses. Strips that begin within a line are written as usual.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from jitgrad.codegen.llvm_scalar import I8, I32, I64, memory_type
from jitgrad.ir.index import Sym, add, expr
from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.nodes import Assign, Buffer, Expr, Fetch, Loop, Stmt, Store
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
    sums = any(isinstance(x, Assign) for x in s.body)
    wait = I64(0) if sums else _to_line(emitter, stores[0])
    behind = b.add(start, I64(STRIP), flags=("nsw",))
    whole = b.and_(b.icmp_signed("==", wait, I64(0)), b.icmp_signed("<=", behind, hi))
    b.cbranch(whole, strip, rest)

    b.position_at_end(strip)
    _strip(emitter, s, first)
    after_strip = b.block
    b.branch(following)

    b.position_at_end(rest)
    # To where a line begins, or if one does here, and less than a strip is left, to the end.
    end = b.add(start, b.select(b.icmp_signed("==", wait, I64(0)), I64(STRIP), wait), flags=("nsw",))
    end = b.select(b.icmp_signed("<", end, hi), end, hi)
    emitter.env[last] = end
    usual = (x for x in s.body if not isinstance(x, Fetch))
    plain = tuple(dataclasses.replace(x, streamed=False) if isinstance(x, Store) else x for x in usual)
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


def _to_line(emitter: KernelEmitter, x: Store) -> Any:
    """How many elements a store has to go until a line begins."""
    b = emitter.b
    address = b.ptrtoint(emitter.address(x.buffer, x.index), I64)
    bits = x.buffer.dtype.itemsize.bit_length() - 1
    return b.lshr(b.and_(b.neg(address), I64(LINE - 1)), I64(bits))


def _strip(emitter: KernelEmitter, s: Loop, first: Sym) -> None:
    """The iterations of a loop from ``first`` on."""
    b = emitter.b
    k = Sym("k", 0, STRIP - 1)
    staged: list[tuple[Store, Any]] = []
    body: list[Stmt] = []
    memo: dict[Expr, Expr] = {}
    for x in s.body:
        if isinstance(x, Fetch):
            continue
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
    for x in s.body:
        if isinstance(x, Fetch):
            _fetch(emitter, x)
    for x, area in staged:
        aligned = b.icmp_signed("==", _to_line(emitter, x), I64(0))
        lines = STRIP * x.buffer.dtype.itemsize // LINE
        with b.if_else(aligned) as (past, usual):
            with past:
                _copy(b, area, emitter.address(x.buffer, x.index), lines, LINE, past=True)
            with usual:
                _copy(b, area, emitter.address(x.buffer, x.index), lines, x.buffer.dtype.itemsize, past=False)


def _fetch(emitter: KernelEmitter, x: Fetch) -> None:
    """The lines of a strip. The address may be past the end of the array, so nothing is said about its bounds."""
    b, pointer = emitter.b, emitter.pointers[x.buffer.root]
    start = b.bitcast(b.gep(pointer, [emitter.index(flatten_index(x.buffer.shape, x.index))]), I8.as_pointer())
    type = ir.FunctionType(ir.VoidType(), [start.type, I32, I32, I32])
    prefetch = b.module.declare_intrinsic("llvm.prefetch", [start.type], type)
    for j in range(STRIP * x.buffer.dtype.itemsize // LINE):
        b.call(prefetch, [b.gep(start, [I64(j * LINE)]), I32(0), I32(3), I32(1)])  # to read, into all caches, data


def _copy(b: Any, source: Any, to: Any, lines: int, alignment: int, past: bool) -> None:
    """Copy lines to an address of an alignment, past the caches or not."""
    line = ir.VectorType(I64, LINE // 8).as_pointer()
    source, to = b.bitcast(source, line), b.bitcast(to, line)
    for j in range(lines):
        value = b.load(b.gep(source, [I64(j)], inbounds=True), align=LINE)
        store = b.store(value, b.gep(to, [I64(j)], inbounds=True), align=alignment)
        if past:
            store.set_metadata("nontemporal", b.module.add_metadata([I32(1)]))
