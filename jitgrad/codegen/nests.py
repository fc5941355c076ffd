"""Nests of loops as functions of their own, in statements that have many of them.

LLVM takes more than twice the time for a function that is twice as long, and a loop whose body is a whole program (a
step of a solver, the V-cycle of a multigrid method) is one statement. Its nests are called there as the statements at
top level are: each is a function whose parameters are the buffers that it touches and the numbers that it uses from
around, and equal ones are one. A call takes some nanoseconds, so loops of a few iterations stay where they are.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from jitgrad.codegen.llvm_scalar import I64, memory_type
from jitgrad.ir.index import Sym
from jitgrad.loopir.nodes import Alloc, Assign, Fail, Let, LibCall, Local, Loop, Stmt, Store, While
from jitgrad.loopir.walk import buffers_of, statement_key_and_names, statements

if TYPE_CHECKING:
    from jitgrad.codegen.llvm import KernelEmitter

#: Loops in a statement that has many, and in a nest that becomes a function.
MANY, FEW = 40, 8
#: Iterations of a nest that are worth a call.
LEAST = 4


def is_crowded(stmt: Stmt) -> bool:
    """Whether a statement has many loops."""
    return sum(isinstance(s, Loop) for s in statements((stmt,))) > MANY


class Nests:
    """The nests of one module that have become functions."""

    def __init__(self, module: ir.Module, name: str) -> None:
        self.module, self.name = module, name
        self._functions: dict[Hashable, ir.Function] = {}

    def takes(self, s: Loop) -> bool:
        """Whether a loop becomes a function: it can neither fail nor change locals from around, is not too large, and
        runs for long enough."""
        loops, changed, own = 0, set[Local](), set[Local]()
        for x in statements((s,)):
            if isinstance(x, (Fail, LibCall, Alloc, While)) or (isinstance(x, Loop) and x.kind == "parallel"):
                return False
            if isinstance(x, Store) and x.streamed:
                return False
            loops += isinstance(x, Loop)
            if isinstance(x, Assign):
                changed.add(x.local)
            elif isinstance(x, Let):
                own.add(x.local)
        return loops <= FEW and changed <= own and _iterations(s) >= LEAST

    def call(self, around: KernelEmitter, s: Loop) -> None:
        """Call the function of a loop."""
        key, names = statement_key_and_names(s)
        buffers = buffers_of(s)
        bound = {x.var if isinstance(x, Loop) else x.local for x in statements((s,)) if isinstance(x, (Loop, Let))}
        free = [x for x in names if x not in bound]
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = self._made(around, s, free)
        values = [around.term(x) if isinstance(x, Sym) else around.b.load(around.locals[x]) for x in free]
        around.b.call(function, [*(around.pointers[t] for t in buffers), *values])

    def _made(self, around: KernelEmitter, s: Loop, free: list[Sym | Local]) -> ir.Function:
        buffers = buffers_of(s)
        types = [around.pointers[t].type for t in buffers]
        types += [I64 if isinstance(x, Sym) else memory_type(x.dtype) for x in free]
        name = self.module.get_unique_name(f"{self.name}.nest{len(self._functions)}")
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), types), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        for argument, buffer in zip(function.args, buffers, strict=False):
            argument.name = buffer.name
            argument.add_attribute("noalias")
        inside: Any = around.__class__(function, dict(zip(buffers, function.args, strict=False)))
        for x, value in zip(free, function.args[len(buffers) :], strict=True):
            if isinstance(x, Sym):
                inside.env[x] = value
            else:
                slot = inside.locals[x] = inside.b.alloca(memory_type(x.dtype), name=x.name)
                inside.b.store(value, slot)
        inside.statement(s)
        inside.b.ret_void()
        return function


def _iterations(s: Stmt) -> float:
    """How many iterations the innermost loops of a nest have together; infinity where that is not known here."""
    inner = [x for x in s.body if isinstance(x, Loop)] if isinstance(s, Loop) else []
    if not isinstance(s, Loop):
        return 0
    known = isinstance(s.lo, int) and isinstance(s.hi, int)
    trips = len(range(s.lo, s.hi, s.step)) if known else math.inf  # pyright: ignore[reportArgumentType]
    return trips * max(1, sum(map(_iterations, inner)))
