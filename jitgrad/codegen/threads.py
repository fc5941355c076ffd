"""Loops on Numba's threading layer.

The body of a parallel loop becomes a function of its own over a range of iterations. A launch cuts the iterations into
chunks and hands one task a thread to ``numba_parallel_for``, the function behind Numba's own parallel loops; each task
takes chunks from a counter until none are left, so a thread that comes late delays nobody's chunks.

One launch runs at a time in a process. A loop that is reached while another one is on the threads, in this thread or in
another one, runs serially in its own thread: the "workqueue" layer ends the process if it is entered twice, and more
threads than cores help nobody.

A launch returns when all threads of the layer have. Where other processes keep the cores busy, that can take time
slices of milliseconds (measured: 8 ms a launch on OpenMP, for loops of 30 microseconds). So each launch takes the time
that it waited without need, and none follows until a multiple of that has passed, a larger one each time in a row;
loops run serially meanwhile.

None of that has any influence on results.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from llvmlite import binding, ir

I8, I32, I64 = (ir.IntType(n) for n in (8, 32, 64))
I8P = I8.as_pointer()


class Control(ctypes.Structure):
    """What launches look at, in place of arguments.

    busy : whether one is under way.
    threads : how many threads there are; with 1, there are no launches.
    least : the work that pays for a launch, in operations on bytes.
    rest : no launch before this time, in cycles.
    factor : for how many times the time that a launch waits without need there is to be none.
    launches : how many there have been.
    """

    _fields_ = [(name, ctypes.c_int64) for name in ("busy", "threads", "least", "rest", "factor", "launches")]


#: The least and the greatest value of ``control.factor``.
REST = (16, 512)
control = Control(threads=1, factor=REST[0])

#: Chunks a thread: 1 where all iterations take equally long, else this.
UNEVEN = 8

LAYOUT = ir.ArrayType(I64, len(Control._fields_))
#: ``void task(env, first, last)``: iterations ``first <= k < last``.
TASK = ir.FunctionType(ir.VoidType(), [I8P, I64, I64])
#: What the threads of a launch share: task, its env, iterations, chunks, iterations a grain, the next chunk, the
#: time when one of them found no chunk.
_JOB = ir.LiteralStructType([TASK.as_pointer(), I8P, I64, I64, I64, I64, I64])


#: The symbols of ``control``, and of the function that runs a task on threads.
CONTROL, LAYER = "jitgrad_threads", "numba_parallel_for"


@functools.cache
def bind() -> None:
    """Bind the symbol that emitted code refers to; those of the layer are bound when it is started."""
    binding.add_symbol(CONTROL, ctypes.addressof(control))


def launch(b: Any, task: ir.Function, env: Any, iterations: Any, work: Any, *, grain: int, uneven: bool) -> None:
    """Run all iterations of a task, on threads if ``work`` pays for a launch and they are free."""
    bind()
    arguments = [task, env, iterations, work, I64(grain), I64(UNEVEN if uneven else 1)]
    b.call(_launcher(b.module), arguments)


def _declare(module: ir.Module, name: str, result: ir.Type, *args: ir.Type) -> Any:
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, args), name)


def internal(module: ir.Module, name: str, type: ir.FunctionType) -> ir.Function:
    """A function of the module that is compiled quickly: it runs once a chunk of work or a call of a library."""
    function = ir.Function(module, type, name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("optnone")
    return function


def _launcher(module: ir.Module) -> Any:
    """``void launch(task, env, iterations, work, grain, chunks a thread)``, an internal function of the module."""
    known = module.globals.get("jitgrad.launch")
    if known is not None:
        return known
    type = ir.FunctionType(ir.VoidType(), [TASK.as_pointer(), I8P, I64, I64, I64, I64])
    function = internal(module, "jitgrad.launch", type)
    task, env, iterations, work, grain, per_thread = function.args
    control = module.globals.get(CONTROL) or ir.GlobalVariable(module, LAYOUT, CONTROL)
    entry, ready, free, held, serial = (
        function.append_basic_block(name) for name in ("entry", "ready", "free", "held", "serial")
    )
    b: Any = ir.IRBuilder(entry)
    busy, wanted, least, rest, factor, launches = (b.gep(control, [I32(0), I32(k)]) for k in range(6))
    job = b.alloca(_JOB)
    size = b.alloca(I64)
    b.cbranch(b.icmp_signed(">=", work, b.load_atomic(least, "monotonic", 8)), ready, serial)

    b.position_at_end(ready)
    threads = b.load_atomic(wanted, "monotonic", 8)
    grains = b.udiv(b.add(iterations, b.sub(grain, I64(1))), grain)
    chunks = b.mul(threads, per_thread)
    chunks = b.select(b.icmp_signed("<", chunks, grains), chunks, grains)
    several = b.and_(b.icmp_signed(">", threads, I64(1)), b.icmp_signed(">", chunks, I64(1)))
    start = _cycles(b)
    rested = b.icmp_signed(">=", start, b.load_atomic(rest, "monotonic", 8))
    b.cbranch(b.and_(several, rested), free, serial)

    b.position_at_end(free)
    before = b.atomic_rmw("xchg", busy, I64(1), "acquire")
    b.cbranch(b.icmp_signed("==", before, I64(0)), held, serial)

    b.position_at_end(held)
    for k, value in enumerate((task, env, iterations, chunks, grain, I64(0), I64(0))):
        b.store(value, b.gep(job, [I32(0), I32(k)]))
    b.store(threads, size)
    # The layer gives the calling thread the number of threads of the launch, and the user may have set another one.
    users = b.call(_declare(module, "get_num_threads", I32), [])
    parameters = (I8P, I8P.as_pointer(), *[I64.as_pointer()] * 2, I8P, I64, I64, I32)
    run = _declare(module, LAYER, ir.VoidType(), *parameters)
    nothing = (I8P.as_pointer()(None), size, I64.as_pointer()(None))
    body = b.bitcast(_worker(module), I8P)
    b.call(run, [body, *nothing, b.bitcast(job, I8P), I64(0), I64(0), b.trunc(threads, I32)])
    b.call(_declare(module, "set_num_threads", ir.VoidType(), I32), [users])
    b.store(b.add(b.load(launches), I64(1)), launches)
    end, idle = _cycles(b), b.load(b.gep(job, [I32(0), I32(6)]))
    # Others may have been in their last chunk for as long as all before took; beyond that they only came late.
    late = b.sub(b.sub(end, idle), b.sub(idle, start))
    is_late = b.icmp_signed(">", late, I64(0))
    times = b.load(factor)
    with b.if_then(is_late):
        b.store_atomic(b.add(end, b.mul(late, times)), rest, "monotonic", 8)
    more = b.mul(times, I64(2))
    more = b.select(b.icmp_signed("<", more, I64(REST[1])), more, I64(REST[1]))
    b.store(b.select(is_late, more, I64(REST[0])), factor)
    b.store_atomic(I64(0), busy, "release", 8)
    b.ret_void()

    b.position_at_end(serial)
    b.call(task, [env, I64(0), iterations])
    b.ret_void()
    return function


def _worker(module: ir.Module) -> ir.Function:
    """What a thread runs, in the form that Numba calls: it takes chunks until there are none."""
    pointers = [I8P.as_pointer(), I64.as_pointer(), I64.as_pointer(), I8P]
    function = internal(module, "jitgrad.worker", ir.FunctionType(ir.VoidType(), pointers))
    entry, again, chunk, done = (function.append_basic_block(name) for name in ("entry", "again", "chunk", "done"))
    b: Any = ir.IRBuilder(entry)
    job = b.bitcast(function.args[3], _JOB.as_pointer())
    task, env, iterations, chunks, grain = (b.load(b.gep(job, [I32(0), I32(k)])) for k in range(5))
    counter = b.gep(job, [I32(0), I32(5)])
    grains = b.udiv(b.add(iterations, b.sub(grain, I64(1))), grain)
    b.branch(again)

    b.position_at_end(again)
    mine = b.atomic_rmw("add", counter, I64(1), "monotonic")
    b.cbranch(b.icmp_signed("<", mine, chunks), chunk, done)

    b.position_at_end(chunk)
    first, last = (b.mul(b.udiv(b.mul(k, grains), chunks), grain) for k in (mine, b.add(mine, I64(1))))
    b.call(task, [env, first, b.select(b.icmp_signed("<", last, iterations), last, iterations)])
    b.branch(again)

    b.position_at_end(done)
    b.cmpxchg(b.gep(job, [I32(0), I32(6)]), I64(0), _cycles(b), "monotonic")
    b.ret_void()
    return function


def _cycles(b: Any) -> Any:
    """The time, in cycles of the processor or of its timer."""
    return b.call(_declare(b.module, "llvm.readcyclecounter", I64), [])
