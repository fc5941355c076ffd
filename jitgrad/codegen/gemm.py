"""The library call ``gemm``: batched matrix products of strided views.

    C[z][i, j] = sum over p of A[z][i, p] * B[z][p, j]        z: a batch index, i < m, j < n, p < k

Buffers are flat. Static parameters: ``m``, ``n``, ``k``; ``batch``, a tuple of extents; ``a``, ``b`` and ``c``, the
(row, column) strides of one matrix, one of which is 1; ``a_batch``, ``b_batch`` and ``c_batch``, the strides along
each axis of ``batch`` (0 repeats a matrix). Strides count elements. The dtype is float32 or float64. With ``add`` the
product is added to what is in C, which then is also the last of the arrays that are read.

The products are computed by kernels of our own (``gemm_kernels``), each by one thread. They are no part of a program's
code, but bound to it as a symbol (:data:`PREFIX`). With ``threads``, each thread takes some of the pieces that the
matrices are cut into: strips of rows of a group of columns. How they are cut has no influence on the result.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features

from jitgrad.codegen import threads
from jitgrad.codegen.externs import I1, I32, I64, offset
from jitgrad.codegen.gemm_kernels import Shape, least, shape_for, signature
from jitgrad.loopir.schedule import gemm_work

Strides = tuple[int, int]

#: The symbols of the kernels, by the bits of an element.
PREFIX = "jitgrad.gemm.f"


def strided(flat: np.ndarray, shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    """A view of a contiguous array with strides in elements."""
    flat = flat.reshape(-1)
    return np.lib.stride_tricks.as_strided(flat, tuple(shape), tuple(s * flat.itemsize for s in strides))


def gemm_python(
    outs: Sequence[np.ndarray],
    ins: Sequence[np.ndarray],
    *,
    m: int,
    n: int,
    k: int,
    a: Strides,
    b: Strides,
    c: Strides,
    batch: tuple[int, ...] = (),
    a_batch: tuple[int, ...] = (),
    b_batch: tuple[int, ...] = (),
    c_batch: tuple[int, ...] = (),
    add: bool = False,
    threads: bool = False,
) -> int:
    """The product by ``np.matmul``; see the module's docstring. Returns 0."""
    left = strided(ins[0], (*batch, m, k), (*a_batch, *a))
    right = strided(ins[1], (*batch, k, n), (*b_batch, *b))
    target = strided(outs[0], (*batch, m, n), (*c_batch, *c))
    target[...] = np.matmul(left, right) + (target if add else 0)
    return 0


def shape_here(bits: int) -> Shape:
    """The kernel of floats of so many bits for this processor, or the one that Numba is told to compile for."""
    features = config.CPU_FEATURES  # pyright: ignore[reportAttributeAccessIssue]
    features = get_host_cpu_features() if features is None else features
    has = {x for x in features.split(",") if x.startswith("+")}
    if "+avx512f" in has:
        return shape_for(bits, 512, 32)
    if "+avx" in has:
        return shape_for(bits, 256, 16)
    return shape_for(bits, 128, 32 if "+neon" in has else 16)


class _Product:
    """One call, in a form in which the columns of C are contiguous."""

    def __init__(self, static: dict[str, Any], outs: Sequence[Any], ins: Sequence[Any], dtype: np.dtype) -> None:
        m, n, self.k, self.add = static["m"], static["n"], static["k"], static.get("add", False)
        self.batch = static.get("batch", ())
        left = (ins[0], _plain(static["a"], m, self.k), static.get("a_batch", ()))
        right = (ins[1], _plain(static["b"], self.k, n), static.get("b_batch", ()))
        c, c_batch = _plain(static["c"], m, n), static.get("c_batch", ())
        if c[1] != 1:  # C^T = B^T A^T
            m, n, c = n, m, c[::-1]
            left, right = ((x, strides[::-1], batch) for x, strides, batch in (right, left))
        self.m, self.n, self.left, self.right, self.out = m, n, left, right, (outs[0], c, c_batch)
        assert c[1] == 1 and all(1 in strides for _, strides, _ in (left, right)), static
        self.shape = shape_here(8 * dtype.itemsize)
        self.work = gemm_work(static, dtype)
        self.strips = -(-m // self.shape.rows)
        self.panels = -(-n // self.shape.width)

    @property
    def numbers(self) -> list[int]:
        """What is said of the call in numbers: the order is that of :class:`_Numbers`."""
        (_, a, a_batch), (_, right, b_batch), (_, c, c_batch) = self.left, self.right, self.out
        work = [self.m, self.n, self.k, self.strips, self.panels]
        axes = zip(self.batch, *(batch or (0,) * len(self.batch) for batch in (a_batch, b_batch, c_batch)), strict=True)
        return [*work, *a, *right, c[0], int(self.add), *(x for axis in axes for x in axis)]

    def pointers(self) -> list[Any]:
        return [self.left[0], self.right[0], self.out[0]]

    def serial(self, b: Any) -> Any:
        """One piece a matrix, in loops over the batch; the status."""
        with b.goto_entry_block():
            status = b.alloca(I64)
        b.store(I64(0), status)
        numbers = _Numbers(self.numbers, I64)
        with batch_loops(b, self.batch) as index:
            whole = (I64(0), numbers.m, I64(0), numbers.n)
            found = _call(b, self.shape, numbers, self.pointers(), index, whole)
            b.store(b.or_(b.load(status), found), status)
        return b.load(status)

    def parallel(self, b: Any) -> Any:
        """Pieces on threads; the status."""
        constants = self.constants(b.module)
        with b.goto_entry_block():
            env = b.alloca(_env(self.shape))
        groups = self.groups(b)
        for k, value in enumerate([*self.pointers(), groups, I64(0), constants]):
            b.store(value, b.gep(env, [I32(0), I32(k)], inbounds=True))
        count = b.mul(groups, I64(math.prod(self.batch) * self.strips))
        task = _task(b.module, self.shape, len(self.batch))
        threads.launch(b, task, b.bitcast(env, threads.I8P), count, I64(self.work), grain=1, uneven=False)
        return b.load(b.gep(env, [I32(0), I32(4)], inbounds=True))

    def constants(self, module: ir.Module) -> Any:
        """The address of the numbers."""
        array = ir.ArrayType(I64, len(self.numbers))
        name = module.get_unique_name("jitgrad.product.numbers")
        known = ir.GlobalVariable(module, array, name)
        known.linkage, known.global_constant, known.unnamed_addr = "private", True, True
        known.initializer = ir.Constant(array, self.numbers)  # pyright: ignore[reportAttributeAccessIssue]
        return known.gep([I32(0), I32(0)])

    def groups(self, b: Any) -> Any:
        """Into how many groups the columns are cut: a power of two.

        Every piece packs its part of B, and strips of A. Of ``t`` threads to a matrix, each has ``m * g / t`` rows and
        ``n / g`` columns if there are ``g`` groups. As long as the first is less than half the second, twice as many
        groups make the sum of both less.
        """
        control = b.module.globals.get(threads.CONTROL) or ir.GlobalVariable(b.module, threads.LAYOUT, threads.CONTROL)
        there = b.load_atomic(b.gep(control, [I32(0), I32(1)]), "monotonic", 8)
        groups, g = I64(1), 1
        while 2 * g <= self.panels:
            fewest = max(2 * g, -(-2 * self.m * g * g // self.n))
            enough = b.icmp_signed(">=", there, I64((fewest - 1) * math.prod(self.batch) + 1))
            groups = b.select(enough, I64(2 * g), groups)
            g *= 2
        return groups


class _Numbers:
    """The numbers of a call by name, as values of LLVM: each is made by ``value``, in order."""

    def __init__(self, given: Sequence[Any], value: Callable[[Any], Any]) -> None:
        first = [value(x) for x in given[:11]]
        self.m, self.n, self.k, self.strips, self.panels, *self.strides, self.add = first
        rest = [value(x) for x in given[11:]]
        self.axes = [rest[k : k + 4] for k in range(0, len(rest), 4)]  # extent, strides of A, B and C


def _call(b: Any, shape: Shape, numbers: _Numbers, pointers: Sequence[Any], index: Sequence[Any], piece: Any) -> Any:
    """The product of a matrix of the batch, of so many rows from one on and so many columns; the status."""
    first, rows, column, columns = piece
    a_row, a_column, b_row, b_column, c_row = numbers.strides
    one = I64(1)
    steps = ([(first, a_row)], [(column, b_column)], [(first, c_row), (column, one)])
    starts = []
    for k, (pointer, own) in enumerate(zip(pointers, steps, strict=True)):
        for i, stride in [*own, *((i, axis[1 + k]) for i, axis in zip(index, numbers.axes, strict=True))]:
            pointer = offset(b, pointer, b.mul(i, stride))
        starts.append(pointer)
    kernel = cgutils.get_or_insert_function(b.module, signature(shape), f"{PREFIX}{shape.bits}")
    left, right, out = starts
    strides = (left, a_row, a_column, right, b_row, b_column, out, c_row)
    return b.call(kernel, [rows, columns, numbers.k, *strides, b.trunc(numbers.add, I1)])


def _env(shape: Shape) -> ir.LiteralStructType:
    """A, B, C, how many groups of columns there are, the status, and the numbers."""
    p = shape.type.as_pointer()
    return ir.LiteralStructType([p, p, p, I64, I64, I64.as_pointer()])


def _task(module: ir.Module, shape: Shape, axes: int) -> Any:
    """The function that computes the pieces from ``first`` to ``last`` of a call with so many axes of a batch. They are
    numbered strip by strip in a group of columns, group by group in a matrix."""
    name = f"jitgrad.product.f{shape.bits}.{axes}"
    if name in module.globals:
        return module.globals[name]
    function = threads.internal(module, name, threads.TASK)
    b: Any = ir.IRBuilder(function.append_basic_block("entry"))
    raw, first, last = function.args
    env = b.bitcast(raw, _env(shape).as_pointer())
    *pointers, groups, _, given = (b.load(b.gep(env, [I32(0), I32(k)], inbounds=True)) for k in range(6))
    numbers = _Numbers(range(11 + 4 * axes), lambda k: b.load(offset(b, given, k)))
    place = b.alloca(I64)
    b.store(first, place)
    head, body, done = (function.append_basic_block(x) for x in ("head", "body", "done"))
    b.branch(head)
    b.position_at_end(head)
    now = b.load(place)
    b.cbranch(b.icmp_signed("<", now, last), body, done)
    b.position_at_end(body)
    strip, rest = b.urem(now, numbers.strips), b.udiv(now, numbers.strips)
    group, rest = b.urem(rest, groups), b.udiv(rest, groups)
    index: list[Any] = []
    for extent, *_ in reversed(numbers.axes):
        index.insert(0, b.urem(rest, extent))
        rest = b.udiv(rest, extent)

    def bounds(lo: Any, hi: Any, unit: int, extent: Any) -> tuple[Any, Any]:
        """The first of some rows or columns, and how many they are."""
        start, end = (b.mul(x, I64(unit)) for x in (lo, hi))
        return start, b.sub(least(b, end, extent), start)

    count = least(b, b.sub(numbers.strips, strip), b.sub(last, now))
    rows = bounds(strip, b.add(strip, count), shape.rows, numbers.m)
    start, end = (b.udiv(b.mul(x, numbers.panels), groups) for x in (group, b.add(group, I64(1))))
    columns = bounds(start, end, shape.width, numbers.n)
    status = _call(b, shape, numbers, pointers, index, (*rows, *columns))
    b.atomic_rmw("umax", b.gep(env, [I32(0), I32(4)], inbounds=True), status, "monotonic")
    b.store(b.add(now, count), place)
    b.branch(head)
    b.position_at_end(done)
    b.ret_void()
    return function


def _plain(strides: Strides, rows: int, columns: int) -> Strides:
    """The strides of a matrix; that of an axis of one element is 1 where the other one's is not."""
    if 1 not in strides:
        assert rows == 1 or columns == 1, strides
        return (strides[0], 1) if columns == 1 else (1, strides[1])
    return strides


@contextlib.contextmanager
def batch_loops(builder: ir.IRBuilder, batch: Sequence[int]) -> Any:
    """Emit a nest of loops over ``batch``; yields the index, one i64 an axis."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(cgutils.for_range(builder, I64(extent))).index for extent in batch]


def gemm_emit(
    builder: ir.IRBuilder,
    outs: Sequence[Any],
    ins: Sequence[Any],
    static: dict[str, Any],
    out_buffers: Sequence[Any],
    in_buffers: Sequence[Any],
) -> Any:
    """Calls of the kernels; the status."""
    product = _Product(static, outs, ins, out_buffers[0].dtype)
    return product.parallel(builder) if static.get("threads") else product.serial(builder)
