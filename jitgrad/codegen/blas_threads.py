"""One BLAS thread for small factorizations.

OpenBLAS splits products, and what is made of them, among its threads from about 10^5 multiply-adds on and then waits
for all of them. For small ones the hand-over costs more than it gains, and where another process keeps a core busy,
each call waits for the scheduler: on 2 busy cores a product of 512x72 by 72x16, 10 us of work, took 2 to 4 ms. So
smaller calls run on one thread.

OpenBLAS has one number of threads for the whole process (``openblas_set_num_threads_local`` sets it and returns the old
one). The gate below counts the threads that are inside a small call: the first one in sets 1, the last one out sets
back what was there. A spin lock, held for a few instructions, guards the count. With another BLAS nothing is emitted.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Any

from llvmlite import binding, ir

from jitgrad.codegen.openblas import fblas
from jitgrad.codegen.threads import internal

I32 = ir.IntType(32)

#: Multiply-adds from which a call may use all threads. About 0.1 ms on one core.
THREADED_WORK = 3_000_000
#: What the gate holds: the lock, the number of threads inside, the number of BLAS threads to set back.
_gate = (ctypes.c_int32 * 3)()


@functools.cache
def available() -> bool:
    """Whether SciPy's BLAS can change its number of threads; binds the symbols of emitted code if so."""
    try:
        setter = ctypes.CDLL(fblas.__file__).openblas_set_num_threads_local
    except (OSError, AttributeError):
        return False
    address = ctypes.cast(setter, ctypes.c_void_p).value
    assert address is not None
    binding.add_symbol("jitgrad_blas_set_threads", address)
    binding.add_symbol("jitgrad_blas_gate", ctypes.addressof(_gate))
    return True


@contextlib.contextmanager
def threads_for(builder: ir.IRBuilder, work: int) -> Iterator[None]:
    """Calls emitted inside the ``with`` block use one thread if ``work`` multiply-adds do not pay for more."""
    if work >= THREADED_WORK or not available():
        yield
        return
    builder.call(_transition(builder.module, enter=True), [])
    yield
    builder.call(_transition(builder.module, enter=False), [])


def _transition(module: ir.Module, *, enter: bool) -> Any:
    """``void enter()`` or ``void leave()`` of the gate, an internal function of the module."""
    name = f"jitgrad.blas_{'enter' if enter else 'leave'}"
    known = module.globals.get(name)
    if known is not None:
        return known
    function = internal(module, name, ir.FunctionType(ir.VoidType(), []))
    gate = module.globals.get("jitgrad_blas_gate") or ir.GlobalVariable(
        module, ir.ArrayType(I32, 3), "jitgrad_blas_gate"
    )
    setter = module.globals.get("jitgrad_blas_set_threads") or ir.Function(
        module, ir.FunctionType(I32, [I32]), "jitgrad_blas_set_threads"
    )
    b: Any = ir.IRBuilder(function.append_basic_block("entry"))
    lock, count, saved = (b.gep(gate, [I32(0), I32(k)]) for k in range(3))
    acquire, held, edge, done = (function.append_basic_block(n) for n in ("acquire", "held", "edge", "done"))
    b.branch(acquire)
    b.position_at_end(acquire)
    free = b.icmp_signed("==", b.atomic_rmw("xchg", lock, I32(1), "acquire"), I32(0))
    b.cbranch(free, held, acquire)
    b.position_at_end(held)
    inside = b.load(count)
    after = b.add(inside, I32(1 if enter else -1))
    b.store(after, count)
    b.cbranch(b.icmp_signed("==", inside if enter else after, I32(0)), edge, done)
    b.position_at_end(edge)
    if enter:
        b.store(b.call(setter, [I32(1)]), saved)
    else:
        b.call(setter, [b.load(saved)])
    b.branch(done)
    b.position_at_end(done)
    b.store_atomic(I32(0), lock, "release", 4)
    b.ret_void()
    return function
