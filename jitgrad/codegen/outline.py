"""Parallel loops: the body as a function of its own, and what it needs from around."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from jitgrad.codegen import threads
from jitgrad.codegen.llvm_scalar import I32, I64, memory_type
from jitgrad.ir.index import IndexExpr, Sym, add, expr, mul
from jitgrad.loopir.nodes import Buffer, Fail, If, Let, Local, Loop, Stmt, Store, While, loop_syms
from jitgrad.loopir.schedule import GRAIN, is_innermost
from jitgrad.loopir.walk import buffers_of, expressions, statements, subexpressions

if TYPE_CHECKING:
    from jitgrad.codegen.llvm import KernelEmitter


def emit_parallel(emitter: KernelEmitter, s: Loop) -> None:
    """Run a parallel loop, on threads where that pays.

    Its body becomes a function over a range of iterations. The buffers that it touches are parameters of their own,
    ``noalias`` as those of a kernel; they, and the numbers that it reads, travel in a struct on the stack. Each chunk
    runs until it fails; of the codes of those that do, the greatest ends the program.
    """
    b = emitter.b
    start = emitter.index(s.lo)
    iterations = _count(b, start, emitter.index(s.hi), s.step)
    work = b.mul(emitter.index(s.work), iterations)
    buffers = buffers_of(s)
    variables, locals_ = _free(s)
    values = [start]
    values += [emitter.pointers[t] for t in buffers]
    values += [emitter.env[v] for v in variables]
    values += [b.load(emitter.locals[x]) for x in locals_]
    body = _body(emitter, s, values, buffers, variables, locals_)
    values.append(I64(0))  # the greatest status
    env_type = ir.LiteralStructType([v.type for v in values])
    with b.goto_entry_block():
        env = b.alloca(env_type)
    for k, value in enumerate(values):
        b.store(value, b.gep(env, [I32(0), I32(k)], inbounds=True))
    task = _task(body, env_type)
    threads.launch(
        b,
        task,
        b.bitcast(env, threads.I8P),
        iterations,
        work,
        grain=_grain(s),
        uneven=any(map(_varies, statements(s.body))),
    )
    if any(isinstance(x, Fail) for x in statements(s.body)):
        status = b.load(b.gep(env, [I32(0), I32(len(values) - 1)], inbounds=True))
        with b.if_then(b.icmp_signed("!=", status, I64(0)), likely=False):
            emitter.leave(status)


def _grain(s: Loop) -> int:
    """A loop is cut at multiples of this many iterations."""
    return GRAIN if is_innermost(s) else 1


def _varies(x: Stmt) -> bool:
    """Whether a statement may take longer in some iterations of a loop around than in others."""
    if isinstance(x, Loop):
        return isinstance(x.lo, IndexExpr) or isinstance(x.hi, IndexExpr)
    return isinstance(x, (If, While))


def _count(b: Any, lo: Any, hi: Any, step: int) -> Any:
    """How many iterations a loop has, as an i64."""
    n = b.sub(hi, lo) if step > 0 else b.sub(lo, hi)
    if abs(step) != 1:
        n = b.sdiv(b.add(n, I64(abs(step) - 1)), I64(abs(step)))
    return b.select(b.icmp_signed(">", n, I64(0)), n, I64(0))


def _body(
    emitter: KernelEmitter,
    s: Loop,
    values: list[Any],
    buffers: list[Buffer],
    variables: list[Sym],
    locals_: list[Local],
) -> ir.Function:
    """``i64 body(first, last, values...)``: the iterations ``first <= k < last``; the status."""
    module = emitter.function.module
    name = module.get_unique_name(f"{emitter.function.name}.loop")
    type = ir.FunctionType(I64, [I64, I64, *(v.type for v in values)])
    function = ir.Function(module, type, name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    first, last, start, *rest = function.args
    pointers = dict(zip(buffers, rest, strict=False))
    for t, pointer in pointers.items():
        pointer.name = t.name
        pointer.add_attribute("noalias")
    inside = emitter.__class__(function, pointers)
    inside.streams, inside.rare = emitter.streams, emitter.rare
    rest = rest[len(buffers) :]
    begin, end, origin = Sym("first"), Sym("last"), Sym("start")
    inside.env.update(zip((begin, end, origin, *variables), (first, last, start, *rest), strict=False))
    for local, value in zip(locals_, rest[len(variables) :], strict=True):
        slot = inside.locals[local] = inside.b.alloca(memory_type(local.dtype), name=local.name)
        inside.b.store(value, slot)
    if isinstance(s.lo, int) and isinstance(s.hi, int):
        # LLVM does not know of the grains: where they leave no iterations, neither does the code.
        whole = math.gcd(_grain(s), len(range(s.lo, s.hi, s.step)))
        for k in (begin, end) if whole > 1 else ():
            inside.env[k] = inside.b.and_(inside.env[k], I64(-whole))
    lo, hi = (add(s.lo if isinstance(s.lo, int) else expr(origin), mul(expr(k), s.step)) for k in (begin, end))
    inside.statement(Loop(s.var, lo, hi, s.body, s.step))
    inside.leave(I64(0))
    return function


def _task(body: ir.Function, env_type: ir.Type) -> ir.Function:
    """The function that calls the body with what is in the struct."""
    module = body.module
    function = threads.internal(module, module.get_unique_name(f"{body.name}.task"), threads.TASK)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    env, first, last = function.args
    env = b.bitcast(env, env_type.as_pointer())
    count = len(body.args) - 2
    values = [b.load(b.gep(env, [I32(0), I32(k)], inbounds=True)) for k in range(count)]
    status = b.call(body, [first, last, *values])
    with b.if_then(b.icmp_signed("!=", status, I64(0)), likely=False):
        b.atomic_rmw("umax", b.gep(env, [I32(0), I32(count)], inbounds=True), status, "monotonic")
    b.ret_void()
    return function


def _free(s: Loop) -> tuple[list[Sym], list[Local]]:
    """The loop variables and the locals from around that a loop's body uses, in a fixed order."""
    variables: dict[Sym, None] = {}
    locals_: dict[Local, None] = {}
    bound: set[object] = {s.var}
    for x in statements(s.body):
        for e in subexpressions(expressions(x)):
            if isinstance(e, Local):
                locals_[e] = None
            variables.update(dict.fromkeys(e._own_syms()))
        variables.update(dict.fromkeys(_index_syms(x)))
        if isinstance(x, Loop):
            bound.add(x.var)
        elif isinstance(x, Let):
            bound.add(x.local)

    def by_name(found: dict[Any, None], name: Callable[[Any], str] = lambda x: x.name) -> list[Any]:
        return sorted((x for x in found if x not in bound), key=name)

    return by_name(variables), by_name(locals_)


def _index_syms(x: Stmt) -> set[Sym]:
    """The loop variables in the bounds or the index of a statement itself."""
    dims = (x.lo, x.hi) if isinstance(x, Loop) else (*x.index, *x.buffer.shape[1:]) if isinstance(x, Store) else ()
    return {v for e in dims for v in loop_syms(e)}
