"""Loops that write past the caches.

Such a store has to write whole lines, and LLVM makes vectors of it only where it knows that it is aligned. So the loop
runs in strips, which write into a buffer on the stack, and each strip is copied from there to where it belongs: what is
before the first line and behind the last one by ordinary stores, and the lines by non-temporal ones. The buffer is in
the nearest cache, and costs next to nothing beside the traffic that is saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from jitgrad.codegen.llvm_scalar import I8, I32, I64, memory_type
from jitgrad.ir.index import Sym, add, expr, mul
from jitgrad.loopir.nodes import Buffer, Loop, Store
from jitgrad.loopir.walk import written

if TYPE_CHECKING:
    from jitgrad.codegen.llvm import KernelEmitter

#: Bytes that the buffers of a loop have together, and of a line.
STAGED, LINE = 8192, 64
_I8P = I8.as_pointer()


def emit_streamed(emitter: KernelEmitter, s: Loop) -> None:
    """A loop, some of whose stores are ``streamed``."""
    b = emitter.b
    stores = [x for x in s.body if isinstance(x, Store) and x.streamed]
    size = STAGED // sum(x.buffer.dtype.itemsize for x in stores) // LINE * LINE
    staged = {x: Buffer(f"{x.buffer.name}_strip", x.buffer.dtype, (size,)) for x in stores}
    for t in staged.values():
        with b.goto_entry_block():
            area = b.alloca(memory_type(t.dtype), size, name=t.name)
        area.align = LINE
        emitter.pointers[t] = area
    emitter.forget(written(s.body))
    lo, hi = emitter.index(s.lo), emitter.index(s.hi)
    before = b.block
    body, done = (emitter.function.append_basic_block(name) for name in ("strip", "done"))
    b.cbranch(b.icmp_signed("<", lo, hi), body, done)
    b.position_at_end(body)
    start = b.phi(I64, name="strip")
    start.add_incoming(lo, before)
    end = b.add(start, I64(size), flags=("nsw",))
    end = b.select(b.icmp_signed("<", end, hi), end, hi)
    first, last = Sym("first"), Sym("last")
    emitter.env[first], emitter.env[last] = start, end
    place = (add(expr(s.var), mul(expr(first), -1)),)
    inside = (Store(staged[x], place, x.value) if x in staged else x for x in s.body)
    with emitter.scope():
        emitter.loop(Loop(s.var, expr(first), expr(last), tuple(inside)))
        emitter.env[s.var] = start
        for x, t in staged.items():
            count = b.mul(b.sub(end, start), I64(t.dtype.itemsize))
            to, source = (b.bitcast(p, _I8P) for p in (emitter.address(x.buffer, x.index), emitter.pointers[t]))
            b.call(_copy(b.module), [to, source, count])
    start.add_incoming(end, b.block)
    b.cbranch(b.icmp_signed("<", end, hi), body, done)
    b.position_at_end(done)
    emitter.streams = True


def wait_for_streams(b: Any) -> None:
    """What was written past the caches is there before anything that comes later: ordinary stores keep that order by
    themselves."""
    b.fence("seq_cst")


def _copy(module: ir.Module) -> ir.Function:
    """``void copy(to, from, bytes)``, past the caches."""
    name = "jitgrad.stream"
    found = module.globals.get(name)
    if isinstance(found, ir.Function):
        return found
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_I8P, _I8P, I64]), name)
    function.linkage = "internal"
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    for argument in function.args[:2]:
        argument.add_attribute("noalias")
    to, source, count = function.args
    b: Any = ir.IRBuilder(function.append_basic_block("entry"))
    head = b.and_(b.neg(b.ptrtoint(to, I64)), I64(LINE - 1))
    head = b.select(b.icmp_unsigned("<", head, count), head, count)
    whole = b.sub(count, head)
    tail = b.and_(whole, I64(LINE - 1))
    stop = b.sub(count, tail)
    _plain_copy(b, to, source, head)
    before = b.block
    loop, done = (function.append_basic_block(name) for name in ("lines", "done"))
    b.cbranch(b.icmp_unsigned("<", head, stop), loop, done)
    b.position_at_end(loop)
    at = b.phi(I64)
    at.add_incoming(head, before)
    line = ir.VectorType(I64, LINE // 8).as_pointer()
    value = b.load(b.bitcast(b.gep(source, [at], inbounds=True), line), align=1)
    store = b.store(value, b.bitcast(b.gep(to, [at], inbounds=True), line), align=LINE)
    store.set_metadata("nontemporal", module.add_metadata([I32(1)]))
    following = b.add(at, I64(LINE), flags=("nuw",))
    at.add_incoming(following, loop)
    b.cbranch(b.icmp_unsigned("<", following, stop), loop, done)
    b.position_at_end(done)
    _plain_copy(b, b.gep(to, [stop], inbounds=True), b.gep(source, [stop], inbounds=True), tail)
    b.ret_void()
    return function


def _plain_copy(b: Any, to: Any, source: Any, count: Any) -> None:
    """Less than a line."""
    copy = b.module.declare_intrinsic("llvm.memcpy", [_I8P, _I8P, I64])
    with b.if_then(b.icmp_unsigned("!=", count, I64(0))):
        b.call(copy, [to, source, count, ir.Constant(ir.IntType(1), 0)])
