"""Loop IR rendered as LLVM, with llvmlite's IRBuilder.

Every top-level statement becomes one internal function whose parameters are the buffers that it touches, all
``noalias``: two parameters never share storage that either writes (buffer placement gives one parameter to buffers
that share). Statements that are equal after renaming buffers, loop variables and locals become one function.

Floating point: ``contract`` on every sum and product but ``product``, so that multiply-adds fuse; ``reassoc`` only on
the update of a reduction, so that it vectorises. Nothing else is relaxed: NaN, infinities and signed zeros are kept.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeGuard

import numpy as np
from llvmlite import ir

from jitgrad.codegen.blas_threads import threads_for
from jitgrad.codegen.gathering import emit_blocks, rows
from jitgrad.codegen.libcalls import LIBRARY
from jitgrad.codegen.llvm_metadata import Hint, describe, keep_rolled, not_vectorised, parallel_accesses
from jitgrad.codegen.llvm_scalar import I8, I32, I64, ScalarEmitter, memory_type
from jitgrad.codegen.nests import Nests, internal_function, is_crowded
from jitgrad.codegen.outline import emit_parallel
from jitgrad.codegen.streaming import emit_streamed, wait_for_streams
from jitgrad.codegen.unrolling import unrolling
from jitgrad.errors import CompilationError
from jitgrad.ir.index import Dim, IndexExpr, Product, Quotient, Remainder, Sym, Term, combined
from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.deps import carries_nothing
from jitgrad.loopir.failures import CODE_BITS, OUT_OF_MEMORY
from jitgrad.loopir.nodes import (
    UPDATES,
    Alloc,
    Assign,
    Block,
    Buffer,
    Comment,
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
    Program,
    Scalar,
    Stmt,
    Store,
    While,
)
from jitgrad.loopir.walk import buffers_of, postorder, statements, written

#: LLVM is told of a loop's length that it is a multiple of a power of two from the one of these to the other: vectors
#: have so many elements.
NARROWEST, WIDEST = 8, 64
#: How often a rare branch is taken, and how often not, for LLVM.
RARE = (1, 99)


class KernelEmitter:
    """Emits the body of one function: ``stmts`` over parameters that are pointers to ``buffers``."""

    def __init__(self, function: ir.Function, pointers: dict[Buffer, Any]) -> None:
        self.function = function
        self.pointers = pointers
        self.b: Any = ir.IRBuilder(function.append_basic_block("entry"))
        self.scalars = ScalarEmitter(self.b)
        self.env: dict[Term, Any] = {}
        self.locals: dict[Local, Any] = {}
        self.slots: dict[Buffer, Any] = {}  # of the buffers in the heap that this kernel makes
        #: What is computed already, and in each scope around (a branch, a loop) what was computed there. A value is
        #: dropped when something it was computed from is written.
        self.values: dict[Expr, Any] = {}
        self.scopes: list[list[Expr]] = [[]]
        #: The known values that are computed from a root buffer, a local, or the value of an expression.
        self._users: dict[Buffer | Expr, list[Expr]] = {}
        self.around: Loop | None = None  # the innermost loop around what is emitted
        self.rare = False  # whether what is emitted hardly ever runs
        self.streams = False  # whether anything is written past the caches
        self.nests: Nests | None = None  # takes some of the loops out of the function, if that is large

    def leave(self, status: Any) -> None:
        """The end of the function."""
        if self.streams:
            wait_for_streams(self.b)
        self.b.ret(status)

    # Expressions

    def forget(self, changed: Iterable[Any]) -> None:
        """Drop every known value that was computed from the root buffers and locals in ``changed``."""
        stale = [e for x in changed for e in self._users.pop(x, ())]
        while stale:
            e = stale.pop()
            stale += self._users.pop(e, ())
            self.values.pop(e, None)

    def expr(self, e: Expr) -> Any:
        values, users = self.values, self._users
        found = values.get(e)
        if found is not None:
            return found
        for part in postorder(e, values.__contains__, self._first if self.rare else None):
            values[part] = self._compute(part)
            self.scopes[-1].append(part)
            for used in part.children():
                users.setdefault(used, []).append(part)
            if isinstance(part, Load):
                users.setdefault(part.buffer.root, []).append(part)
            elif isinstance(part, Local):
                users.setdefault(part, []).append(part)
        return values[e]

    def _first(self, e: Expr) -> Sequence[Expr]:
        """What is computed before an expression in rare code: not the calls that it may do without."""
        return (e.args[0], e.args[2]) if self._may_call(e) else e.children()

    def _may_call(self, e: Expr) -> TypeGuard[Scalar]:
        return isinstance(e, Scalar) and e.op == "where" and self.scalars.is_call(e.args[1])

    def _called_where(self, e: Scalar) -> Any:
        """A choice of a call or another value, which calls only where it must."""
        cond, call, other = e.args
        otherwise, before = self.expr(other), self.b.block
        with self.b.if_then(self.expr(cond), likely=False), self.scope():
            value, inside = self.expr(call), self.b.block
        result = self.b.phi(otherwise.type)
        result.add_incoming(otherwise, before)
        result.add_incoming(value, inside)
        return result

    def _compute(self, e: Expr) -> Any:
        if self.rare and self._may_call(e):
            return self._called_where(e)
        if isinstance(e, Scalar):
            return self.scalars.emit(e, self.expr)
        if isinstance(e, Load):
            return self._from_memory(self.b.load(self.address(e.buffer, e.index)), e.dtype)
        if isinstance(e, Const):
            return self.scalars.constant(e.value, e.dtype)
        if isinstance(e, Index):
            return self.index(e.index)
        if isinstance(e, Local):
            return self._from_memory(self.b.load(self.locals[e]), e.dtype)
        raise CompilationError(f"no LLVM for {e!r}")

    def _from_memory(self, value: Any, dtype: np.dtype) -> Any:
        return self.b.icmp_unsigned("!=", value, I8(0)) if dtype == np.bool_ else value

    def _to_memory(self, value: Any, dtype: np.dtype) -> Any:
        return self.b.zext(value, I8) if dtype == np.bool_ else value

    def index(self, e: Dim) -> Any:
        """An index expression as an i64."""
        if not isinstance(e, IndexExpr):
            return I64(e)
        total = None
        for term, c in e.terms:
            value = self.term(term)
            if c != 1:
                value = self.b.mul(value, I64(c), flags=("nsw",))
            total = value if total is None else self.b.add(total, value, flags=("nsw",))
        return self.b.add(total, I64(e.constant), flags=("nsw",)) if e.constant else total

    def term(self, t: Term) -> Any:
        if isinstance(t, Sym):
            return self.expr(t.payload) if t.payload is not None else self.env[t]
        if isinstance(t, Product):
            return self.b.mul(self.index(t.left), self.index(t.right), flags=("nsw",))
        assert isinstance(t, (Quotient, Remainder))
        base, d = self.index(t.base), I64(t.divisor)
        lo = t.base.bounds[0]
        if lo is not None and lo >= 0:
            return self.b.udiv(base, d) if isinstance(t, Quotient) else self.b.urem(base, d)
        r = self.b.srem(base, d)
        r = self.b.select(self.b.icmp_signed("<", r, I64(0)), self.b.add(r, d), r)
        return r if isinstance(t, Remainder) else self.b.sdiv(self.b.sub(base, r), d)

    def address(self, buffer: Buffer, index: Sequence[Dim]) -> Any:
        return self.b.gep(self.pointers[buffer.root], [self.index(flatten_index(buffer.shape, index))], inbounds=True)

    # Statements

    def block(self, stmts: Sequence[Stmt]) -> None:
        for s in stmts:
            self.statement(s)

    def statement(self, s: Stmt) -> None:
        if isinstance(s, Block):
            self.block(s.body)
        elif isinstance(s, Loop):
            self.loop(s)
        elif isinstance(s, Store):
            self.store(s)
        elif isinstance(s, Let):
            slot = self._alloca(s.local)
            self.b.store(self._to_memory(self.expr(s.value), s.local.dtype), slot)
            self.forget([s.local])
        elif isinstance(s, Assign):
            value = self.expr(s.value)
            if s.mode != "=":
                value = self.scalars.update(UPDATES[s.mode], self.expr(s.local), value, s.local.dtype)
            self.b.store(self._to_memory(value, s.local.dtype), self.locals[s.local])
            self.forget([s.local])
        elif isinstance(s, If):
            self.conditional(s)
        elif isinstance(s, While):
            self.repeat(s)
        elif isinstance(s, Fail):
            self.leave(I64(s.code))
            self.b.position_at_end(self.function.append_basic_block("unreachable"))
        elif isinstance(s, LibCall):
            self.libcall(s)
        elif isinstance(s, Alloc):
            self.allocate(s.buffer)
        elif not isinstance(s, (Comment, Fetch)):
            raise CompilationError(f"no LLVM for {s!r}")

    def _alloca(self, local: Local) -> Any:
        """A stack slot in the entry block, which LLVM turns into a register."""
        if local not in self.locals:
            with self.b.goto_entry_block():
                self.locals[local] = self.b.alloca(memory_type(local.dtype), name=local.name)
        return self.locals[local]

    def store(self, s: Store) -> None:
        value = self.expr(s.value)
        pointer = self.address(s.buffer, s.index)
        if s.mode != "=":
            old = self._from_memory(self.b.load(pointer), s.buffer.dtype)
            value = self.scalars.update(UPDATES[s.mode], old, value, s.buffer.dtype)
        self.b.store(self._to_memory(value, s.buffer.dtype), pointer)
        self.forget([s.buffer.root])

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """What is computed here is not known behind it: it may be in a branch, or in a loop."""
        self.scopes.append([])
        yield
        for e in self.scopes.pop():
            self.values.pop(e, None)

    def loop(self, s: Loop) -> None:
        if s.kind == "parallel":
            self.forget(written(s.body))
            emit_parallel(self, s)
            return
        if isinstance(s.lo, int) and isinstance(s.hi, int) and (s.hi - s.lo) * s.step <= 0:
            return
        if not self.rare and any(isinstance(x, Store) and x.streamed for x in s.body):
            emit_streamed(self, s)
            return
        found = {} if self.rare else rows(s)
        if found:
            emit_blocks(self, s, found)
            return
        self.plain_loop(s)

    def plain_loop(self, s: Loop) -> None:
        """A serial loop, as it is."""
        self.forget(written(s.body))
        if self.nests is not None and not self.rare and self.nests.takes(s):
            self.nests.call(self, s)
            return
        lo, step = self.index(s.lo), I64(s.step)
        test = "<" if s.step > 0 else ">"
        body = self.function.append_basic_block("loop")
        done = self.function.append_basic_block("done")
        before = self.b.block
        unit = 1 if self.rare or s.step != 1 else _common_unit(s.lo, s.hi)
        if unit > 1:
            hi, some = self._in_units(lo, combined(((s.hi, 1), (s.lo, -1))), unit)
            self.b.cbranch(some, body, done)
            test = "!="
        elif isinstance(s.lo, int) and isinstance(s.hi, int):
            hi = self.index(s.hi)
            self.b.branch(body)  # known to run at least once
        else:
            hi = self.index(s.hi)
            self.b.cbranch(self.b.icmp_signed(test, lo, hi), body, done)
        self.b.position_at_end(body)
        first = len(self.function.blocks)
        var = self.b.phi(I64, name=s.var.name)
        var.add_incoming(lo, before)
        self.env[s.var] = var
        around, self.around = self.around, s
        with self.scope():
            self.block(s.body)
        self.around = around
        following = self.b.add(var, step, flags=("nsw",))
        var.add_incoming(following, self.b.block)
        branch = self.b.cbranch(self.b.icmp_signed(test, following, hi), body, done)
        size = sum(len(block.instructions) for block in (body, *self.function.blocks[first:]))
        hints: list[Hint] = [keep_rolled, not_vectorised] if self.rare else unrolling(s, size, around)
        if carries_nothing(s):
            hints.append(parallel_accesses([body, *self.function.blocks[first:]]))
        describe(branch, hints)
        self.b.position_at_end(done)

    def _in_units(self, lo: Any, span: Dim, unit: int) -> tuple[Any, Any]:
        """The end of a loop whose length is a multiple of ``unit``, and whether it runs at all.

        LLVM is told so, and then leaves out the loop that takes what vectors don't: it would be compiled like the
        vectors and never run. What the length is computed from is hidden from it, as it would compute it anew, in terms
        that tell neither.
        """
        b = self.b
        units = _frozen(b, b.ashr(self.index(span), I64(unit.bit_length() - 1)))
        length = b.mul(units, I64(unit), flags=("nsw",))
        return b.add(lo, length, flags=("nsw",)), b.icmp_signed(">", length, I64(0))

    def conditional(self, s: If) -> None:
        cond = self.expr(s.cond)
        then = self.function.append_basic_block("then")
        orelse = self.function.append_basic_block("else")
        done = self.function.append_basic_block("endif")
        branch = self.b.cbranch(cond, then, orelse)
        if s.rare:
            branch.set_weights(RARE)
        around = self.rare
        for block, stmts, rare in ((then, s.then, around or s.rare), (orelse, s.orelse, around)):
            self.b.position_at_end(block)
            self.rare = rare
            with self.scope():
                self.block(stmts)
            if not self.b.block.is_terminated:
                self.b.branch(done)
        self.rare = around
        self.b.position_at_end(done)
        self.forget(written((s,)))

    def repeat(self, s: While) -> None:
        self.forget(written(s.body))
        head = self.function.append_basic_block("while")
        body = self.function.append_basic_block("body")
        done = self.function.append_basic_block("endwhile")
        self.b.branch(head)
        self.b.position_at_end(head)
        with self.scope():
            self.b.cbranch(self.expr(s.cond), body, done)
        self.b.position_at_end(body)
        with self.scope():
            self.block(s.body)
        self.b.branch(head)
        self.b.position_at_end(done)

    def libcall(self, s: LibCall) -> None:
        outs = [self.pointers[t.root] for t in s.outs]
        ins = [self.pointers[t.root] for t in s.ins]
        function, static = LIBRARY[s.fn], dict(s.static)
        with contextlib.ExitStack() as stack:
            if function.work is not None:
                stack.enter_context(threads_for(self.b, function.work(**static)))
            status = function.emit(self.b, outs, ins, static, s.outs, s.ins)
        if status is not None:
            bad = self.function.append_basic_block("failed")
            good = self.function.append_basic_block("succeeded")
            self.b.cbranch(self.b.icmp_signed("!=", status, I64(0)), bad, good)
            self.b.position_at_end(bad)
            self.leave(status)
            self.b.position_at_end(good)
        self.forget(t.root for t in s.outs)

    def allocate(self, t: Buffer) -> None:
        """Make room in the heap, unless what is there is large enough. The parameter of the buffer is a pair: the
        address, and how many bytes there are."""
        b, slot = self.b, self.slots[t]
        wanted = b.mul(self.index(t.size), I64(t.dtype.itemsize), flags=("nsw",))
        wanted = b.select(b.icmp_signed("<", wanted, I64(1)), I64(1), wanted)
        start, size = (b.gep(slot, [I32(0), I32(k)], inbounds=True) for k in (0, 1))
        with b.if_then(b.icmp_signed("<", b.load(size), wanted), likely=False):
            b.call(_extern(b.module, "free", ir.VoidType(), I8.as_pointer()), [b.load(start)])
            address = b.call(_extern(b.module, "malloc", I8.as_pointer(), I64), [wanted])
            missing = b.icmp_unsigned("==", address, I8.as_pointer()(None))
            b.store(address, start)
            b.store(b.select(missing, I64(0), wanted), size)
            with b.if_then(missing, likely=False):
                self.leave(I64(OUT_OF_MEMORY))
        self.pointers[t] = b.bitcast(b.load(start), memory_type(t.dtype).as_pointer())


def _common_unit(lo: Dim, hi: Dim) -> int:
    """The greatest power of two up to :data:`WIDEST` that divides the length of a loop. 1 where the length is a number,
    which LLVM knows, and where vectors may take more elements than that."""
    span = combined(((hi, 1), (lo, -1)))
    if not isinstance(span, IndexExpr):
        return 1
    unit = math.gcd(WIDEST, span.constant, *(c for _, c in span.terms))
    return unit if unit >= NARROWEST else 1


def _frozen(b: ir.IRBuilder, value: Any) -> Any:
    """A value of which LLVM does not know what it is computed from."""
    instruction = ir.instructions.Instruction(b.block, value.type, "freeze", [value])
    b._insert(instruction)
    return instruction


#: The address of a buffer in the heap, and its size in bytes.
SLOT = ir.LiteralStructType([I8.as_pointer(), I64])


def _extern(module: ir.Module, name: str, result: ir.Type, *args: ir.Type) -> ir.Function:
    """A function of the C library."""
    found = module.globals.get(name)
    return ir.Function(module, ir.FunctionType(result, args), name) if found is None else found


def in_heap(t: Buffer) -> bool:
    return t.kind == "temp" and t.capacity is None


class ProgramEmitter:
    """Emits a whole program into a module: one function a distinct top-level statement, and calls in order.

    ``keys`` are those of the statements that are :func:`called`, equal for equal ones: ``statement_key`` gives them."""

    def __init__(self, module: ir.Module, program: Program, keys: Sequence[Hashable]) -> None:
        self.module, self.program, self.keys = module, program, keys
        self._functions: dict[Any, ir.Function] = {}
        self._nests = Nests(module, program.name)
        self.shared = 0  # statements that were found equal to an earlier one

    def function_for(self, stmt: Stmt, buffers: Sequence[Buffer], key: Hashable) -> ir.Function:
        found = self._functions.get(key)
        if found is not None:
            self.shared += 1
            return found
        made = {s.buffer for s in statements((stmt,)) if isinstance(s, Alloc)}
        pointer_types = [(SLOT if t in made else memory_type(t.dtype)).as_pointer() for t in buffers]
        name = f"{self.program.name}.kernel{len(self._functions)}"
        function = internal_function(self.module, name, ir.FunctionType(I64, pointer_types), buffers)
        emitter = KernelEmitter(function, dict(zip(buffers, function.args, strict=True)))
        emitter.slots = {t: emitter.pointers.pop(t) for t in buffers if t in made}
        emitter.streams = any(isinstance(s, Store) and s.streamed for s in statements((stmt,)))
        emitter.nests = self._nests if is_crowded(stmt) else None
        emitter.block((stmt,))
        emitter.leave(I64(0))
        self._functions[key] = function
        return function

    def emit(self, b: ir.IRBuilder, pointer: Callable[[Buffer], Any]) -> Any:
        """Call every statement in order; returns the status, an i64: 0, or what :func:`failure` explains.

        ``pointer`` gives the address of a root buffer as an ``i8*``.
        """
        status = b.alloca(I64, name="status")
        done = b.append_basic_block("program.end")
        slots = {t: b.alloca(SLOT, name=t.name) for t in self.program.temporaries if in_heap(t)}
        for slot in slots.values():
            b.store(SLOT([I8.as_pointer()(None), I64(0)]), slot)
        for position, (stmt, key) in enumerate(zip(called(self.program), self.keys, strict=True)):
            buffers = buffers_of(stmt)
            function = self.function_for(stmt, buffers, key)
            args = [
                self._argument(b, t, type.pointee, slots, pointer)  # pyright: ignore[reportAttributeAccessIssue]
                for t, type in zip(buffers, (a.type for a in function.args), strict=True)
            ]
            code = b.call(function, args)
            if may_fail(stmt):
                b.store(b.or_(code, I64(position << CODE_BITS)), status)
                following = b.append_basic_block("next")
                b.cbranch(b.icmp_signed("==", code, I64(0)), following, done)
                b.position_at_end(following)
        b.store(I64(0), status)
        b.branch(done)
        b.position_at_end(done)
        for slot in slots.values():
            address = b.load(b.gep(slot, [I32(0), I32(0)], inbounds=True))
            b.call(_extern(self.module, "free", ir.VoidType(), I8.as_pointer()), [address])
        return b.load(status)

    def _argument(
        self, b: ir.IRBuilder, t: Buffer, type: ir.Type, slots: dict[Buffer, Any], pointer: Callable[[Buffer], Any]
    ) -> Any:
        """What a kernel is given for a buffer: its address, or the place for it."""
        if type == SLOT:
            return slots[t]
        address = b.load(b.gep(slots[t], [I32(0), I32(0)], inbounds=True)) if t in slots else pointer(t)
        return b.bitcast(address, type.as_pointer())


def called(program: Program) -> Iterator[Stmt]:
    """The top-level statements that do something."""
    return (s for s in program.body if not isinstance(s, Comment))


def failure(program: Program, status: int) -> tuple[int, list[Fail | LibCall]]:
    """What the nonzero status of a program says: the code, and the statements that it may come from."""
    code, position = status & ((1 << CODE_BITS) - 1), status >> CODE_BITS
    stmt = next(itertools.islice(called(program), position, None))
    inside = statements((stmt,))
    return code, [s for s in inside if isinstance(s, LibCall) or (isinstance(s, Fail) and s.code == code)]


def may_fail(stmt: Stmt) -> bool:
    """Whether a statement can end the program."""
    if isinstance(stmt, (Fail, LibCall, Alloc)):
        return True
    if isinstance(stmt, (Loop, While, Block)):
        return any(map(may_fail, stmt.body))
    if isinstance(stmt, If):
        return any(map(may_fail, stmt.then + stmt.orelse))
    return False
