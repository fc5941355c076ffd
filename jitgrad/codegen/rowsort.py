"""Library calls ``sort_rows`` and ``argsort_rows``: stable sorts of the rows of a matrix, NaN last.

* ``sort_rows``: outs (keys, key_work), ins (keys,). Each of the ``rows`` rows of ``n`` keys is sorted in place.
* ``argsort_rows``: outs (index, keys, index_work, key_work), ins (keys,). The rows of the int64 ``index`` get the
  order, and the keys are sorted too.

Where only the run tells how many rows there are, or how long they are, ``rows`` and ``n`` are None, and two int64
scalars with these numbers follow in ``ins``. There is one slot then.

The workspaces hold one row for each of ``slots``, which are shared out to threads with the rows. The sort is emitted
once a module, dtype and kind, of which there are two.

Short rows are merged: NaN is moved to the end, then come insertion sorts of short runs, then merges from one array to
the other. A merge step selects instead of branching: on random keys a branch would be mispredicted every other time.

Long rows are sorted by one byte of a key after the other, the least significant one first (radix sort; Knuth, The Art
of Computer Programming 3, 5.2.5). A byte costs one pass, none if it is the same in all keys. Keys stay as they are;
their bytes are those of an unsigned integer in the same order, :meth:`_Emitter.digits`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from jitgrad.codegen import threads
from jitgrad.codegen.externs import I64, llvm_type, load_element, offset, store_element
from jitgrad.ir.types import is_float
from jitgrad.loopir.nodes import Buffer

#: Length of the runs that are sorted by insertion.
RUN = 8
#: Elements of a row, for each byte of one, from which on rows are sorted by bytes. A row of float64 then takes, of its
#: time by merges: 1.2 with 512 elements, 0.8 with 2048, 0.4 with 50,000.
LONG = 96
#: What a comparison and a move cost, in operations on bytes.
COST = 16


def _rows_of(array: np.ndarray, ins: Sequence[np.ndarray], rows: int | None, n: int | None) -> np.ndarray:
    """The rows that an array of as many elements, or with room for more, starts with."""
    if rows is None or n is None:
        rows, n = (int(x[()]) for x in ins[1:])
    return array.reshape(-1)[: rows * n].reshape(rows, n)


def sort_rows_python(
    outs: Sequence[np.ndarray], ins: Sequence[np.ndarray], *, rows: int | None, n: int | None, slots: int = 1
) -> int:
    """Sort in place. Returns 0."""
    keys = _rows_of(outs[0], ins, rows, n)
    keys[...] = np.sort(keys, axis=1, kind="stable")
    return 0


def argsort_rows_python(
    outs: Sequence[np.ndarray], ins: Sequence[np.ndarray], *, rows: int | None, n: int | None, slots: int = 1
) -> int:
    """The order of each row, and the rows sorted in place. Returns 0."""
    keys = _rows_of(outs[1], ins, rows, n)
    order = np.argsort(keys, axis=1, kind="stable")
    _rows_of(outs[0], ins, rows, n)[...] = order
    keys[...] = np.take_along_axis(keys, order, axis=1)
    return 0


class _Emitter:
    """Emits the body of one sort function. An element is a key, or a (key, index) pair, as a list of values."""

    def __init__(self, builder: ir.IRBuilder, dtype: np.dtype) -> None:
        self.b, self.dtype = builder, dtype

    def cell(self, value: Any) -> Any:
        """A mutable variable."""
        return cgutils.alloca_once_value(self.b, value)

    @contextlib.contextmanager
    def repeat(self, condition: Callable[[], Any]) -> Iterator[None]:
        """``while condition():``"""
        head, body, done = (self.b.append_basic_block(name) for name in ("head", "body", "done"))
        self.b.branch(head)
        self.b.position_at_end(head)
        self.b.cbranch(condition(), body, done)
        self.b.position_at_end(body)
        yield
        self.b.branch(head)
        self.b.position_at_end(done)

    def less(self, x: Any, y: Any) -> Any:
        """``x < y``; neither is NaN."""
        if is_float(self.dtype):
            return self.b.fcmp_ordered("<", x, y)
        compare = self.b.icmp_signed if self.dtype.kind == "i" else self.b.icmp_unsigned
        return compare("<", x, y)

    def bump(self, cell: Any, step: Any = 1) -> None:
        step = I64(step) if isinstance(step, int) else step
        self.b.store(self.b.add(self.b.load(cell), step), cell)

    def minimum(self, x: Any, y: Any) -> Any:
        return self.b.select(self.b.icmp_unsigned("<", x, y), x, y)

    def read(self, arrays: Sequence[Any], at: Any) -> list[Any]:
        return [load_element(self.b, p, at) for p in arrays]

    def write(self, arrays: Sequence[Any], at: Any, element: Sequence[Any]) -> None:
        for p, value in zip(arrays, element, strict=True):
            store_element(self.b, p, at, value)

    def insertion(self, arrays: Sequence[Any], lo: Any, hi: Any) -> None:
        """Sort ``arrays[lo:hi]``."""
        b = self.b
        i = self.cell(b.add(lo, I64(1)))
        with self.repeat(lambda: b.icmp_unsigned("<", b.load(i), hi)):
            element = self.read(arrays, b.load(i))
            hole, moving = self.cell(b.load(i)), self.cell(ir.IntType(1)(1))
            with self.repeat(lambda: b.and_(b.icmp_unsigned(">", b.load(hole), lo), b.load(moving))):
                before = b.sub(b.load(hole), I64(1))
                other = self.read(arrays, before)
                smaller = self.less(element[0], other[0])
                b.store(smaller, moving)
                with b.if_then(smaller):
                    self.write(arrays, b.load(hole), other)
                    b.store(before, hole)
            self.write(arrays, b.load(hole), element)
            self.bump(i)

    def move(self, source: Sequence[Any], target: Sequence[Any], lo: Any, hi: Any, to: Any) -> None:
        """``target[to:] = source[lo:hi]``."""
        b = self.b
        count = b.sub(hi, lo)
        for s, t in zip(source, target, strict=True):
            bytes_each = 8 if s.type == I64.as_pointer() else self.dtype.itemsize
            size = b.mul(count, I64(bytes_each))
            cgutils.raw_memcpy(b, offset(b, t, to), offset(b, s, lo), size, 1)

    def merge(self, source: Sequence[Any], target: Sequence[Any], lo: Any, mid: Any, hi: Any) -> None:
        """Merge the sorted ``source[lo:mid]`` and ``source[mid:hi]`` into ``target[lo:hi]``."""
        b = self.b
        i, j, o = self.cell(lo), self.cell(mid), self.cell(lo)

        def both() -> Any:
            return b.and_(b.icmp_unsigned("<", b.load(i), mid), b.icmp_unsigned("<", b.load(j), hi))

        with self.repeat(both):
            left, right = self.read(source, b.load(i)), self.read(source, b.load(j))
            take = self.less(right[0], left[0])  # on a tie the left one comes first: that makes the sort stable
            self.write(target, b.load(o), [b.select(take, r, s) for r, s in zip(right, left, strict=True)])
            step = b.zext(take, I64)
            self.bump(j, step)
            self.bump(i, b.xor(step, I64(1)))
            self.bump(o)
        for cell, end in ((i, mid), (j, hi)):
            self.move(source, target, b.load(cell), end, b.load(o))
            self.bump(o, b.sub(end, b.load(cell)))

    def merge_from_both_ends(self, source: Sequence[Any], target: Sequence[Any], lo: Any, width: Any) -> None:
        """Merge the sorted runs of ``width`` elements at ``lo`` and behind that into ``target[lo:]``.

        The smaller half of the elements comes in order from the front, the larger half from the back: two chains of
        operations that do not wait for each other. Neither can pass the end of a run, as it takes ``width`` elements.
        """
        b = self.b
        i, j, k = self.cell(lo), self.cell(b.add(lo, width)), self.cell(lo)
        x, y, z = (self.cell(b.sub(b.add(b.load(cell), step), I64(1))) for cell, step in (
            (i, width), (j, width), (j, width)))  # fmt: skip
        with self.repeat(lambda: b.icmp_unsigned("<", b.load(k), b.add(lo, width))):
            left, right = self.read(source, b.load(i)), self.read(source, b.load(j))
            take = self.less(right[0], left[0])  # on a tie the left one comes first: that makes the sort stable
            self.write(target, b.load(k), [b.select(take, r, s) for r, s in zip(right, left, strict=True)])
            step = b.zext(take, I64)
            left, right = self.read(source, b.load(x)), self.read(source, b.load(y))
            keep = self.less(right[0], left[0])
            self.write(target, b.load(z), [b.select(keep, s, r) for r, s in zip(right, left, strict=True)])
            back = b.zext(keep, I64)
            self.bump(j, step)
            self.bump(i, b.xor(step, I64(1)))
            self.bump(k)
            self.bump(x, b.neg(back))
            self.bump(y, b.sub(back, I64(1)))
            self.bump(z, -1)

    def nan_last(self, arrays: Sequence[Any], work: Sequence[Any], n: Any) -> Any:
        """Move NaN behind the numbers, in order; returns how many numbers there are."""
        b = self.b
        i, numbers, others = self.cell(I64(0)), self.cell(I64(0)), self.cell(I64(0))
        with self.repeat(lambda: b.icmp_unsigned("<", b.load(i), n)):
            element = self.read(arrays, b.load(i))
            is_nan = b.fcmp_unordered("uno", element[0], element[0])
            with b.if_else(is_nan, likely=False) as (nan, number):
                with nan:
                    self.write(work, b.load(others), element)
                    self.bump(others)
                with number:
                    self.write(arrays, b.load(numbers), element)
                    self.bump(numbers)
            self.bump(i)
        self.move(work, arrays, I64(0), b.load(others), b.load(numbers))
        return b.load(numbers)

    def sort(self, arrays: Sequence[Any], work: Sequence[Any], n: Any) -> None:
        """Sort ``arrays[:n]``."""
        b = self.b
        if is_float(self.dtype):
            n = self.nan_last(arrays, work, n)
        lo = self.cell(I64(0))
        with self.repeat(lambda: b.icmp_unsigned("<", b.load(lo), n)):
            start = b.load(lo)
            self.insertion(arrays, start, self.minimum(b.add(start, I64(RUN)), n))
            self.bump(lo, RUN)
        source, target = [self.cell(p) for p in arrays], [self.cell(p) for p in work]
        width = self.cell(I64(RUN))
        with self.repeat(lambda: b.icmp_unsigned("<", b.load(width), n)):
            w, s, t = b.load(width), [b.load(c) for c in source], [b.load(c) for c in target]
            b.store(I64(0), lo)
            with self.repeat(lambda: b.icmp_unsigned("<", b.load(lo), n)):
                start = b.load(lo)
                with b.if_else(b.icmp_unsigned("<=", b.add(start, b.add(w, w)), n)) as (full, rest):
                    with full:
                        self.merge_from_both_ends(s, t, start, w)
                    with rest:
                        mid = self.minimum(b.add(start, w), n)
                        self.merge(s, t, start, mid, self.minimum(b.add(mid, w), n))
                self.bump(lo, b.add(w, w))
            self.exchange(source, target)
            b.store(b.add(w, w), width)
        self.bring_home(source, arrays, n)

    def exchange(self, source: Sequence[Any], target: Sequence[Any]) -> None:
        """Let cells with the addresses of arrays change places."""
        for x, y in zip(source, target, strict=True):
            s, t = self.b.load(x), self.b.load(y)
            self.b.store(t, x)
            self.b.store(s, y)

    def bring_home(self, source: Sequence[Any], arrays: Sequence[Any], n: Any) -> None:
        """Copy the sorted elements to ``arrays[:n]``, unless they are there: ``source`` are cells with addresses."""
        b, last = self.b, [self.b.load(c) for c in source]
        with b.if_then(b.icmp_unsigned("!=", b.ptrtoint(last[0], I64), b.ptrtoint(arrays[0], I64))):
            self.move(last, arrays, I64(0), n, I64(0))

    def digits(self, key: Any) -> Any:
        """An unsigned integer as wide as the key, and in the same order.

        Numbers with a sign bit are negative: those are flipped as a whole if they are floats, as more in them means
        less, and all others get that bit. Zeros are equal, and so is NaN of every kind, behind infinity.
        """
        b, bits = self.b, ir.IntType(8 * self.dtype.itemsize)
        top = 1 << bits.width - 1
        if not is_float(self.dtype):
            return b.xor(key, bits(top)) if self.dtype.kind == "i" else key
        whole = b.bitcast(key, bits)
        flipped = b.xor(whole, b.or_(b.ashr(whole, bits(bits.width - 1)), bits(top)))
        flipped = b.select(b.fcmp_ordered("==", key, key.type(0.0)), bits(top), flipped)
        return b.select(b.fcmp_unordered("uno", key, key), bits(2 * top - 1), flipped)

    def digit(self, digits: Any, place: int) -> Any:
        """A byte of :meth:`digits`, as an i64."""
        byte = self.b.lshr(digits, digits.type(8 * place)) if place else digits
        byte = self.b.trunc(byte, ir.IntType(8)) if digits.type.width > 8 else byte
        return self.b.zext(byte, I64)

    def radix_sort(self, arrays: Sequence[Any], work: Sequence[Any], n: Any) -> None:
        """Sort ``arrays[:n]``, of which there is one at least."""
        b, places = self.b, self.dtype.itemsize
        counts = b.alloca(I64, 256 * places)
        cgutils.memset(b, counts, I64(8 * 256 * places), 0)
        with cgutils.for_range(b, n) as loop:  # how often each byte is found in each place
            digits = self.digits(load_element(b, arrays[0], loop.index))
            for place in range(places):
                count = offset(b, counts, b.add(self.digit(digits, place), I64(256 * place)))
                b.store(b.add(b.load(count), I64(1)), count)
        source, target = [self.cell(p) for p in arrays], [self.cell(p) for p in work]
        for place in range(places):
            own = offset(b, counts, 256 * place)
            s, t = [b.load(c) for c in source], [b.load(c) for c in target]
            first = load_element(b, own, self.digit(self.digits(b.load(s[0])), place))
            with b.if_then(b.icmp_unsigned("!=", first, n)):
                self._pass(s, t, n, own, place)
                self.exchange(source, target)
        self.bring_home(source, arrays, n)

    def _pass(self, source: Sequence[Any], target: Sequence[Any], n: Any, counts: Any, place: int) -> None:
        """Write ``source[:n]`` to ``target`` in the order of a byte. ``counts`` become the places of the next ones."""
        b = self.b
        before = self.cell(I64(0))
        with cgutils.for_range(b, I64(256)) as loop:
            count = load_element(b, counts, loop.index)
            store_element(b, counts, loop.index, b.load(before))
            self.bump(before, count)
        with cgutils.for_range(b, n) as loop:
            element = self.read(source, loop.index)
            slot = offset(b, counts, self.digit(self.digits(element[0]), place))
            at = b.load(slot)
            b.store(b.add(at, I64(1)), slot)
            self.write(target, at, element)


def _sort_function(module: ir.Module, dtype: np.dtype, indexed: bool, long: bool) -> ir.Function:
    """``void sort(keys*, [index*,] key_work*, [index_work*,] n)`` for long rows or for short ones, emitted into the
    module at the first use."""
    name = f"jitgrad_{'radix_' if long else ''}{'argsort' if indexed else 'sort'}_{dtype}"
    known = module.globals.get(name)
    if known is not None:
        return known
    pointers = [llvm_type(dtype).as_pointer()] + ([I64.as_pointer()] if indexed else [])
    fn = ir.Function(module, ir.FunctionType(ir.VoidType(), [*pointers, *pointers, I64]), name)
    fn.linkage = "internal"
    for arg in fn.args[:-1]:
        arg.add_attribute("noalias")
    builder = ir.IRBuilder(fn.append_basic_block("entry"))
    half = len(pointers)
    emitter = _Emitter(builder, dtype)
    (emitter.radix_sort if long else emitter.sort)(fn.args[:half], fn.args[half:-1], fn.args[-1])
    builder.ret_void()
    return fn


def _call(b: Any, keys: Buffer, arguments: Sequence[Any], n: Any, limit: int | None) -> None:
    """Call the sort function for a row of ``n`` elements, of which there are ``limit`` at most if that is known."""
    least = LONG * keys.dtype.itemsize

    def call(*, long: bool) -> None:
        b.call(_sort_function(b.module, keys.dtype, len(arguments) > 2, long), [*arguments, n])

    if isinstance(n, ir.Constant) or (limit is not None and limit < least):
        call(long=limit is None or limit >= least)
        return
    with b.if_else(b.icmp_unsigned("<", n, I64(least))) as (few, many):
        with few:
            call(long=False)
        with many:
            call(long=True)


#: ``(builder, arrays, workspaces, row)``: emit the sort of a row.
RowSort = Callable[[Any, Sequence[Any], Sequence[Any], Any], None]


def _extents(builder: Any, static: Any, ins: Sequence[Any]) -> list[Any]:
    """The number of rows, and of the elements of one."""
    known = static["rows"], static["n"]
    return [builder.load(p) for p in ins[1:]] if None in known else [I64(k) for k in known]


def _each_row(builder: Any, static: Any, rows: Any, arrays: Sequence[Any], work: Sequence[Any], sort: RowSort) -> None:
    """Sort all rows; on threads if there are several slots."""
    n, slots = static["n"], static.get("slots", 1)
    if slots == 1:
        with cgutils.for_range(builder, rows) as loop:
            sort(builder, arrays, work, loop.index)
        return
    module = builder.module
    env_type = ir.LiteralStructType([p.type for p in (*arrays, *work)])
    task = ir.Function(module, threads.TASK, module.get_unique_name("jitgrad_sort.task"))
    task.linkage = "internal"
    b: Any = ir.IRBuilder(task.append_basic_block("entry"))
    env, first, last = task.args
    env = b.bitcast(env, env_type.as_pointer())
    pointers = [b.load(b.gep(env, [ir.IntType(32)(0), ir.IntType(32)(k)])) for k in range(len(env_type.elements))]
    mine, spaces = pointers[: len(arrays)], pointers[len(arrays) :]
    with cgutils.for_range_slice(b, first, last, I64(1)) as (slot, _):
        lo, hi = (b.udiv(b.mul(k, rows), I64(slots)) for k in (slot, b.add(slot, I64(1))))
        own = [offset(b, p, b.mul(slot, I64(n))) for p in spaces]
        with cgutils.for_range_slice(b, lo, hi, I64(1)) as (row, _):
            sort(b, mine, own, row)
    b.ret_void()
    with builder.goto_entry_block():
        env = builder.alloca(env_type)
    for k, p in enumerate((*arrays, *work)):
        builder.store(p, builder.gep(env, [ir.IntType(32)(0), ir.IntType(32)(k)]))
    amount = I64(rows.constant * n * n.bit_length() * COST)
    threads.launch(builder, task, builder.bitcast(env, threads.I8P), I64(slots), amount, grain=1, uneven=True)


def sort_rows_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> None:
    """One call a row."""
    rows, n = _extents(builder, static, ins)
    of, limit = out_buffers[0], static["n"] or out_buffers[0].capacity

    def sort(b: Any, arrays: Sequence[Any], work: Sequence[Any], row: Any) -> None:
        _call(b, of, [offset(b, arrays[0], b.mul(row, n)), work[0]], n, limit)

    _each_row(builder, static, rows, outs[:1], outs[1:], sort)


def argsort_rows_emit(builder: Any, outs: Any, ins: Any, static: Any, out_buffers: Any, in_buffers: Any) -> None:
    """One call a row, after numbering its elements."""
    rows, n = _extents(builder, static, ins)
    of, limit = out_buffers[1], static["n"] or out_buffers[1].capacity

    def sort(b: Any, arrays: Sequence[Any], work: Sequence[Any], row: Any) -> None:
        start = b.mul(row, n)
        index, keys = offset(b, arrays[0], start), offset(b, arrays[1], start)
        with cgutils.for_range(b, n) as element:
            store_element(b, index, element.index, element.index)
        _call(b, of, [keys, index, work[1], work[0]], n, limit)

    _each_row(builder, static, rows, outs[:2], outs[2:], sort)
