"""The builder of Loop IR, which every op's ``lower`` writes through.

A lowering rule is a closure over indices; the result is data. ``b.pointwise`` and ``b.reduce`` cover most ops; the
statement-level methods (``loop``, ``store``, ``let``, ...) cover the rest. Every result is a fresh buffer, except for
:meth:`LoopBuilder.copy` of an array that nobody reads later: fusion decides which buffers remain.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from jitgrad.ir.index import Dim, IndexExpr, Sym, add, combined, expr, floordiv, mod, mul
from jitgrad.ir.location import Location
from jitgrad.ir.thrown import Thrown
from jitgrad.ir.types import bool_, broadcast_shapes, f64, is_float
from jitgrad.loopir.failures import FIRST_RAISED, LAST_CODE, RECORDED
from jitgrad.loopir.nodes import (
    Alloc,
    Assign,
    Block,
    Buffer,
    Comment,
    Const,
    Expr,
    Fail,
    If,
    Index,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Stmt,
    Store,
    While,
    cast,
    dynamic,
    scalar,
)

#: How a reduction combines, and what it starts from.
IDENTITIES: dict[str, Callable[[np.dtype], Any]] = {
    "+=": lambda dtype: 0,
    "*=": lambda dtype: 1,
    "max=": lambda dtype: -np.inf if is_float(dtype) else False if dtype == bool_ else np.iinfo(dtype).min,
    "min=": lambda dtype: np.inf if is_float(dtype) else True if dtype == bool_ else np.iinfo(dtype).max,
    "or=": lambda dtype: False,
    "and=": lambda dtype: True,
}


def loop_limits(lo: Dim, hi: Dim, step: int) -> tuple[Dim, Dim]:
    """The least and the greatest value of the variable of a loop over ``range(lo, hi, step)``."""
    if isinstance(lo, int) and isinstance(hi, int):
        values = range(lo, hi, step)
        # Of an empty loop the limits must still be an interval.
        return (min(values[0], values[-1]), max(values[0], values[-1])) if values else (lo, lo)
    return (lo, add(hi, -1)) if step > 0 else (add(hi, 1), lo)


def flatten_index(shape: Sequence[Dim], index: Sequence[Dim]) -> Dim:
    """The row-major offset of an element."""
    if len(index) == len(shape) == 1:
        return index[0]
    strides: list[int] = []
    stride = 1
    for extent in reversed(shape):
        if not isinstance(extent, int):
            break
        strides.append(stride)
        stride *= extent
    if len(strides) >= len(shape) - 1:  # the first extent is no stride
        strides += [stride][: len(shape) - len(strides)]
        return combined(zip(index, reversed(strides), strict=True))
    offset: Dim = 0
    for extent, e in zip(shape, index, strict=True):
        offset = add(mul(offset, extent), e)
    return offset


def unflatten_index(shape: Sequence[Dim], offset: Dim) -> tuple[Dim, ...]:
    """The index of the element at a row-major offset. All extents but the first are numbers."""
    if 0 in shape:
        return (0,) * len(shape)  # there is no such element; the loop around this access never runs
    result: list[Dim] = []
    for extent in reversed(shape[1:]):
        assert isinstance(extent, int)
        result.append(mod(offset, extent))
        offset = floordiv(offset, extent)
    return (offset, *reversed(result)) if shape else ()


def reshaped_index(new: Sequence[Dim], old: Sequence[Dim], index: Sequence[Dim]) -> tuple[Dim, ...] | None:
    """The index in an array of shape ``new`` of the element that has ``index`` where the same storage has the shape
    ``old``; None where extents that are not numbers stand in the way."""
    if tuple(new) == tuple(old):
        return tuple(index)
    if [n for n in new if n != 1] == [n for n in old if n != 1] and not all(isinstance(n, int) for n in new):
        rest = iter([e for n, e in zip(old, index, strict=True) if n != 1])
        return tuple(0 if n == 1 else next(rest) for n in new)
    ones = next((k for k, n in enumerate(new) if n != 1), max(len(new) - 1, 0))
    inner = (*new[ones + 1 :], *old[next((k for k, n in enumerate(old) if n != 1), 0) + 1 :])
    if not all(isinstance(n, int) for n in inner):  # the first extent is no stride
        return None
    return (0,) * ones + unflatten_index(new[ones:], flatten_index(old, index))


class Tensor:
    """A lowered value, as a lowering rule sees it: index it to get a scalar expression."""

    __slots__ = ("buffer",)

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer

    @property
    def shape(self) -> tuple[Dim, ...]:
        return self.buffer.shape

    @property
    def ndim(self) -> int:
        return len(self.buffer.shape)

    @property
    def dtype(self) -> np.dtype:
        return self.buffer.dtype

    def __getitem__(self, index: Any) -> Expr:
        """``t[i, j]`` with one Dim an axis; ``t[()]`` for a scalar."""
        index = index if isinstance(index, tuple) else (index,)
        if self.buffer.kind == "const" and self.buffer.size == 1:
            return Const(self.buffer.data, self.dtype)  # a literal: nothing to load
        return Load(self.buffer, index)

    def at(self, index: Sequence[Dim]) -> Expr:
        """The element that broadcasting puts at ``index`` of a larger array."""
        own = index[len(index) - self.ndim :]
        return self[tuple(0 if n == 1 else e for n, e in zip(self.shape, own, strict=True))]


class LoopBuilder:
    """Collects statements. ``loc`` is the user's line that new buffers are put down to."""

    def __init__(self) -> None:
        self._stack: list[list[Stmt]] = [[]]
        self._kernel = False
        self._count = 0
        self._blocks = [0]  # a number for each list on the stack
        self._writes: dict[Buffer, int] = {}  # how many statements so far write into a root
        self._counts: dict[str, int] = {}
        self._variables: dict[tuple[int, Dim], Sym] = {}
        #: What lowering rules have computed from tensors, under their ``state`` and what else it depends on.
        self.known: dict[Hashable, Any] = {}
        self.loc: Location | None = None
        self.hint: str | None = None  # the user's name for the value that is being lowered
        #: Why the storage of a buffer may not be taken over by a copy of it; None if it may. Set by the lowering.
        self.keeps: Callable[[Buffer, Buffer | None], str | None] = lambda *_: "it is needed later"
        self.notes: list[str] = []
        #: What the program keeps for the message of an exception, if anything.
        self.record: Tensor | None = None
        self._raised: dict[tuple[Thrown, Location | None], int] = {}

    @property
    def body(self) -> tuple[Stmt, ...]:
        """The statements so far, at top level."""
        assert len(self._stack) == 1
        return tuple(self._stack[0])

    @property
    def depth(self) -> int:
        """How many loops and branches are around; 0 at top level."""
        return len(self._stack) - 1

    @property
    def in_kernel(self) -> bool:
        """Whether the next statement will be part of a kernel, and so may use locals."""
        return self._kernel or self.depth > 0

    @contextlib.contextmanager
    def kernel(self) -> Iterator[None]:
        """Keep the top-level statements emitted inside together if they share locals."""
        if self.in_kernel:
            yield
            return
        outer = self._stack[0]
        self._stack[0], self._kernel = [], True
        try:
            yield
        finally:
            inner, self._stack[0], self._kernel = self._stack[0], outer, False
        if any(isinstance(s, Let) for s in inner):
            outer.append(Block(tuple(inner)))
        else:
            outer.extend(inner)

    def name_for(self, name: str) -> str:
        """A name that no other buffer, loop variable or local of this program has."""
        return self._unique(name)

    def _unique(self, name: str) -> str:
        bare = name in ("t", "i", "acc", "v", "c")
        while True:
            n = self._counts.get(name, 0)
            self._counts[name] = n + 1
            candidate = f"{name}{n}" if n or bare else name
            if candidate == name or candidate not in self._counts:
                self._counts.setdefault(candidate, 1)
                return candidate

    # Values

    def empty(self, shape: Sequence[Dim], dtype: np.dtype) -> Tensor:
        """A new buffer, not yet written."""
        new = Buffer(self._unique(self.hint or "t"), dtype, tuple(shape), loc=self.loc)
        if new.capacity is None:
            self.emit(Alloc(new))
        return Tensor(new)

    def constant(self, data: np.ndarray) -> Tensor:
        """A read-only buffer with these values."""
        return Tensor(Buffer(self._unique("c"), data.dtype, data.shape, "const", data=data, loc=self.loc))

    def reshape(self, t: Tensor, shape: Sequence[Dim]) -> Tensor:
        """The same storage with another shape of the same size: no copy."""
        b = t.buffer
        if b.shape == tuple(shape):
            return t
        return Tensor(Buffer(self._unique(b.name), b.dtype, tuple(shape), b.kind, data=b.data, base=b, loc=self.loc))

    def const(self, value: Any, dtype: np.dtype) -> Expr:
        return Const(value, dtype)

    def scalar(self, op: str, *args: Expr, dtype: np.dtype | None = None) -> Expr:
        """A scalar function by name; the result has the dtype of the last operand, or bool for a predicate."""
        return scalar(op, *args, dtype=dtype)

    def cast(self, e: Expr, dtype: np.dtype) -> Expr:
        """Conversion as by ``astype``."""
        return cast(e, dtype)

    def index(self, e: Dim) -> Expr:
        """An index as an int64 scalar."""
        return Index(e)

    def dynamic(self, e: Expr, extent: Dim) -> Dim:
        """An int64 scalar as an index; the caller knows that it lies in ``[0, extent)``."""
        return dynamic(e, extent)

    # Whole-array forms

    def pointwise(self, shape: Sequence[Dim], dtype: np.dtype, fn: Callable[..., Expr]) -> Tensor:
        """``out[i, j, ...] = fn(i, j, ...)`` for every index."""
        out = self.empty(shape, dtype)
        with self.loops(out.shape) as index:
            self.store(out, index, fn(*index))
        return out

    def elementwise(self, op: str, *tensors: Tensor, dtype: np.dtype | None = None) -> Tensor:
        """A scalar function of broadcast operands."""
        shape = broadcast_shapes(*(t.shape for t in tensors))
        probe = scalar(op, *(Const(0, t.dtype) for t in tensors), dtype=dtype)
        return self.pointwise(shape, probe.dtype, lambda *i: scalar(op, *(t.at(i) for t in tensors), dtype=probe.dtype))

    def reduce(
        self,
        shape: Sequence[Dim],
        axes: Sequence[int],
        mode: str,
        dtype: np.dtype,
        fn: Callable[..., Expr],
        init: Any = None,
    ) -> Tensor:
        """Combine ``fn(*index)`` over ``axes`` of an index space of extents ``shape``; the result lacks those axes.

        ``mode`` is one of :data:`IDENTITIES`. Loops run in the order of ``shape``. Trailing reduced axes accumulate in
        a local variable; where a reduced axis comes before a kept one, the result accumulates in memory, so that the
        innermost loop still runs along the kept axis.
        """
        shape, reduced = tuple(shape), frozenset(axes)
        kept = [k for k in range(len(shape)) if k not in reduced]
        out = self.empty([shape[k] for k in kept], dtype)
        start = Const(IDENTITIES[mode](dtype) if init is None else init, dtype)
        outer = max(kept, default=-1) + 1  # loops before this one enclose the local accumulator
        in_memory = any(k in reduced for k in range(outer))
        if in_memory:
            with self.loops(out.shape) as index:
                self.store(out, index, start)
        with self.loops(shape[:outer]) as index:
            target = tuple(index[k] for k in kept)
            if outer == len(shape):
                self.store(out, target, fn(*index), mode if in_memory else "=")
                return out
            acc = self.let(start, "acc")
            with self.loops(shape[outer:]) as inner:
                self.assign(acc, fn(*index, *inner), mode)
            self.store(out, target, acc, mode if in_memory else "=")
        return out

    def copy(self, t: Tensor, of: Tensor | None = None) -> Tensor:
        """A tensor that starts as a copy of ``t`` and may be stored into afterwards: ``t`` itself where nobody reads
        it later, else a new buffer. ``of`` is what ``t`` was computed from, where ``t`` is shared by all that use that.
        """
        reason = self.keeps(t.buffer.root, None if of is None else of.buffer.root)
        if reason is None:
            return t
        if not reason:  # nobody has written it
            return self.empty(t.shape, t.dtype)
        out = self.pointwise(t.shape, t.dtype, lambda *i: t[i])
        self.note_copy(t.buffer, out.buffer, reason)
        return out

    def note_copy(self, source: Buffer, target: Buffer, reason: str) -> None:
        """Tell the user of a whole array that is copied."""
        if target.size == 1:
            return
        where = f" ({self.loc.short()})" if self.loc else ""
        self.notes.append(f"copy of {source.name} into {target.name}{where}: {reason}")

    # Statements

    def emit(self, stmt: Stmt) -> None:
        self._stack[-1].append(stmt)
        for t in (stmt.buffer,) if isinstance(stmt, Store) else stmt.outs if isinstance(stmt, LibCall) else ():
            self._writes[t.root] = self._writes.get(t.root, 0) + 1

    def indices_of(self, t: Tensor, extent: Dim) -> None:
        """Note that all elements are in bounds as indices on an axis of that extent, and not negative."""
        self.known[self.state(t), extent] = t

    def has_line(self, t: Tensor, start: int, steps: Sequence[int]) -> None:
        """Note that the elements are ``start`` plus the indices times the ``steps``."""
        self.known["line", t.buffer, self._writes.get(t.buffer.root, 0)] = start, tuple(steps)

    def line(self, t: Tensor) -> tuple[int, tuple[int, ...]] | None:
        """The start and the steps, as :meth:`has_line` has noted them."""
        return self.known.get(("line", t.buffer, self._writes.get(t.buffer.root, 0)))

    def state(self, t: Tensor) -> Hashable:
        """Equal for a tensor at two places of one block where it has the same contents."""
        return t.buffer, self._writes.get(t.buffer.root, 0), self._blocks[-1]

    @contextlib.contextmanager
    def collect(self) -> Iterator[list[Stmt]]:
        """A list that the statements emitted inside go to, instead of into the program."""
        stmts: list[Stmt] = []
        self._stack.append(stmts)
        self._count += 1
        self._blocks.append(self._count)
        try:
            yield stmts
        finally:
            self._stack.pop()
            self._blocks.pop()

    @contextlib.contextmanager
    def loop(self, hi: Dim, lo: Dim = 0, step: int = 1, name: str = "i", fresh: bool = False) -> Iterator[IndexExpr]:
        """``for i in range(lo, hi, step)``; a negative step counts down from ``lo`` while ``i > hi``.

        ``fresh`` asks for a variable of its own (see :meth:`_variable`).
        """
        var = self._variable(lo, hi, step, name, fresh)
        with self.collect() as body:
            yield expr(var)
        self.emit(Loop(var, lo, hi, tuple(body), step))

    def _variable(self, lo: Dim, hi: Dim, step: int, name: str, fresh: bool) -> Sym:
        """A loop variable with its limits.

        Plain loops ``for i in range(n)`` at one depth share one variable an extent, so that expressions over the same
        index space are the same objects, and fusing two nests renames nothing.
        """
        plain = lo == 0 and step == 1 and not fresh
        key = (len(self._stack), hi)
        if plain and key in self._variables:
            return self._variables[key]
        var = Sym(self._unique(name), *loop_limits(lo, hi, step))
        if plain:
            self._variables[key] = var
        return var

    @contextlib.contextmanager
    def loops(self, shape: Sequence[Dim]) -> Iterator[tuple[Dim, ...]]:
        """A nest over an index space; an axis of extent 1 has index 0 and no loop."""
        with contextlib.ExitStack() as stack:
            yield tuple(0 if n == 1 else stack.enter_context(self.loop(n)) for n in shape)

    def store(self, t: Tensor, index: Any, value: Expr, mode: str = "=") -> None:
        assert value.dtype == t.dtype, (value, value.dtype, t.buffer)
        self.emit(Store(t.buffer, index if isinstance(index, tuple) else (index,), value, mode))

    def let(self, value: Expr, name: str = "v") -> Local:
        """A new mutable local variable."""
        local = Local(self._unique(name), value.dtype)
        self.emit(Let(local, value))
        return local

    def assign(self, local: Local, value: Expr, mode: str = "=") -> None:
        assert value.dtype == local.dtype
        self.emit(Assign(local, value, mode))

    @contextlib.contextmanager
    def when(self, cond: Expr) -> Iterator[None]:
        """``if cond:``"""
        with self.collect() as body:
            yield
        self.emit(If(cond, tuple(body)))

    @contextlib.contextmanager
    def repeat(self, cond: Expr) -> Iterator[None]:
        """``while cond:`` with a condition over locals and loads, evaluated anew each time."""
        with self.collect() as body:
            yield
        self.emit(While(cond, tuple(body)))

    def fail_unless(self, ok: Expr, code: int) -> None:
        """End the program with status ``code`` (see :data:`jitgrad.loopir.failures.FAILURES`) where ``ok`` is False."""
        with self.when(~ok):
            self.emit(Fail(code, self.loc))

    @contextlib.contextmanager
    def require(self, ok: Expr, code: int) -> Iterator[None]:
        """What is emitted inside runs where ``ok`` is True; else the program ends with status ``code``."""
        with self.collect() as body:
            yield
        self.emit(If(ok, tuple(body), (Fail(code, self.loc),)))

    def raise_unless(self, ok: Expr, error: Thrown, values: Sequence[Tensor]) -> None:
        """End the program where ``ok`` is False, to raise ``error`` with these values in its holes."""
        code = self._raised.setdefault((error, self.loc), min(FIRST_RAISED + len(self._raised), LAST_CODE))
        kept: list[tuple[np.dtype, tuple[int, ...]] | None] = []
        place = 0
        never = isinstance(ok, Const) and not ok.value
        with contextlib.nullcontext() if never else self.when(~ok):
            for t in values:
                shape = t.buffer.static_shape if isinstance(t.buffer.size, int) else None
                if shape is None or place + math.prod(shape) > RECORDED:
                    kept.append(None)
                    continue
                kept.append((t.dtype, shape))
                if self.record is None:
                    self.record = Tensor(Buffer(self.name_for("record"), f64, (RECORDED,), "out"))
                for index in np.ndindex(*shape):
                    self.store(self.record, (place,), self.cast(t[index], f64))
                    place += 1
            self.emit(Fail(code, self.loc, error, tuple(kept)))

    def libcall(self, fn: str, outs: Sequence[Tensor], ins: Sequence[Tensor], **static: Any) -> None:
        """Call a library function on whole buffers; see ``jitgrad.codegen.libcalls``."""
        written, read = (tuple(t.buffer for t in side) for side in (outs, ins))
        self.emit(LibCall(fn, written, read, tuple(sorted(static.items())), self.loc))

    def comment(self, text: str) -> None:
        self.emit(Comment(text))
