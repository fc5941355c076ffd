"""Fourier transforms as machine code, for lengths that are products of 2, 3 and 5.

Stockham's form of the fast Fourier transform (Van Loan, Computational Frameworks for the Fast Fourier Transform, 1.7):
a pass of radix r takes

    y[q + s (r p + j)] = w^(p j) sum over k of x[q + s (p + m k)] exp(-2 pi i j k / r),   w = exp(-2 pi i / (r m))

for q < s, p < m, where s is the product of the radices of earlier passes and r m s = n; passes go from one array to
another, and there is no reversal of bits. Real and imaginary parts are separate arrays, so lanes of a vector are
consecutive q, with nothing to shuffle. Only the first pass, where s is 1, takes consecutive p and interleaves what it
stores. A transform along an axis that is not the last one is the same with s starting at the number of columns.

A kernel is a function of the module, emitted once a radix, dtype and variant; lengths and strides are its arguments.
Factors come from tables that ``fourier_tables`` makes, once a process and length; code refers to them by symbols.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from jitgrad.codegen import fourier_tables
from jitgrad.codegen.externs import I32, I64, llvm_type, offset
from jitgrad.codegen.llvm_metadata import loop

#: Bytes of a vector. Where the processor has less, LLVM splits them.
VECTOR = 32

Pair = tuple[Any, Any]


def factors(module: ir.Module, dtype: np.dtype, form: str, n: int, passes: Sequence[int]) -> Any:
    """The table of :func:`jitgrad.codegen.fourier_tables.table`, as a pointer."""
    symbol = fourier_tables.PREFIX + "_".join(map(str, (dtype.str[1:], form, n, *passes)))
    known = module.globals.get(symbol)
    if known is None:
        fourier_tables.bind(symbol)
        known = ir.GlobalVariable(module, llvm_type(dtype), symbol)
        known.global_constant = True
    return known


# Arithmetic on pairs (re, im) of numbers or vectors


class _Complex:
    """Complex arithmetic on values of one LLVM type."""

    def __init__(self, b: Any, kind: Any) -> None:
        self.b, self.kind = b, kind

    def const(self, value: float) -> Any:
        if isinstance(self.kind, ir.VectorType):
            return ir.Constant(self.kind, [value] * self.kind.count)
        return ir.Constant(self.kind, value)

    def add(self, x: Pair, y: Pair) -> Pair:
        return tuple(self.b.fadd(p, q, flags=("contract",)) for p, q in zip(x, y, strict=True))

    def sub(self, x: Pair, y: Pair) -> Pair:
        return tuple(self.b.fsub(p, q, flags=("contract",)) for p, q in zip(x, y, strict=True))

    def scale(self, x: Pair, by: float) -> Pair:
        return tuple(self.b.fmul(p, self.const(by), flags=("contract",)) for p in x)

    def sub_i(self, x: Pair, y: Pair) -> Pair:
        """``x - i y``"""
        add, sub = self.b.fadd, self.b.fsub
        return add(x[0], y[1], flags=("contract",)), sub(x[1], y[0], flags=("contract",))

    def add_i(self, x: Pair, y: Pair) -> Pair:
        """``x + i y``"""
        add, sub = self.b.fadd, self.b.fsub
        return sub(x[0], y[1], flags=("contract",)), add(x[1], y[0], flags=("contract",))

    def mul(self, x: Pair, w: Pair) -> Pair:
        mul = functools.partial(self.b.fmul, flags=("contract",))
        re = self.b.fsub(mul(x[0], w[0]), mul(x[1], w[1]), flags=("contract",))
        return re, self.b.fadd(mul(x[0], w[1]), mul(x[1], w[0]), flags=("contract",))

    def transform(self, x: Sequence[Pair]) -> list[Pair]:
        """The transform of 2, 3, 4, 5 or 8 elements."""
        add, sub, scale = self.add, self.sub, self.scale
        if len(x) == 2:
            return [add(*x), sub(*x)]
        if len(x) == 3:
            t, u = add(x[1], x[2]), scale(sub(x[1], x[2]), math.sqrt(0.75))
            m = sub(x[0], scale(t, 0.5))
            return [add(x[0], t), self.sub_i(m, u), self.add_i(m, u)]
        if len(x) == 4:
            a, b, c, d = add(x[0], x[2]), sub(x[0], x[2]), add(x[1], x[3]), sub(x[1], x[3])
            return [add(a, c), self.sub_i(b, d), sub(a, c), self.add_i(b, d)]
        if len(x) == 5:
            c1, c2, s1, s2 = (f(k * 0.4 * math.pi) for f in (math.cos, math.sin) for k in (1, 2))
            t1, t2, t3, t4 = add(x[1], x[4]), add(x[2], x[3]), sub(x[1], x[4]), sub(x[2], x[3])
            m1 = add(x[0], add(scale(t1, c1), scale(t2, c2)))
            m2 = add(x[0], add(scale(t1, c2), scale(t2, c1)))
            n1, n2 = add(scale(t3, s1), scale(t4, s2)), sub(scale(t3, s2), scale(t4, s1))
            return [add(x[0], add(t1, t2)), *(f(m, n) for f, m, n in (
                (self.sub_i, m1, n1), (self.sub_i, m2, n2), (self.add_i, m2, n2), (self.add_i, m1, n1)))]  # fmt: skip
        even, odd = self.transform(x[::2]), self.transform(x[1::2])
        zero, half = (self.const(0.0),) * 2, math.sqrt(0.5)
        odd[1] = scale(self.sub_i(odd[1], odd[1]), half)  # (1 - i) / sqrt(2)
        odd[2] = self.sub_i(zero, odd[2])
        odd[3] = scale(self.sub_i(self.sub(zero, odd[3]), odd[3]), half)  # (-1 - i) / sqrt(2)
        return [*map(add, even, odd), *map(sub, even, odd)]


# Memory


class _Memory:
    """Loads and stores of ``lanes`` consecutive numbers."""

    def __init__(self, b: Any, dtype: np.dtype, lanes: int) -> None:
        self.b, self.lanes, self.align = b, lanes, dtype.itemsize
        self.number = llvm_type(dtype)
        self.kind = ir.VectorType(self.number, lanes) if lanes > 1 else self.number

    def _place(self, pointer: Any, at: Any, lanes: int) -> Any:
        kind = ir.VectorType(self.number, lanes) if lanes > 1 else self.number
        return self.b.bitcast(offset(self.b, pointer, at), kind.as_pointer())

    def shuffle(self, x: Any, y: Any, lanes: Sequence[int]) -> Any:
        return self.b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(lanes)), [I32(k) for k in lanes]))

    def load(self, pointer: Any, at: Any) -> Any:
        return self.b.load(self._place(pointer, at, self.lanes), align=self.align)

    def store(self, value: Any, pointer: Any, at: Any) -> None:
        self.b.store(value, self._place(pointer, at, self.lanes), align=self.align)

    def load_two(self, pointer: Any, at: Any) -> Pair:
        """The even and the odd ones of twice as many numbers."""
        if self.lanes == 1:
            return self.load(pointer, at), self.load(pointer, self.b.add(at, I64(1)))
        wide = self.b.load(self._place(pointer, at, 2 * self.lanes), align=self.align)
        return self.shuffle(wide, wide, range(0, 2 * self.lanes, 2)), self.shuffle(
            wide, wide, range(1, 2 * self.lanes, 2)
        )

    def store_interleaved(self, values: Sequence[Any], pointer: Any, at: Any) -> None:
        """The first number of each, then the second of each, and so on."""
        if self.lanes == 1:
            for k, value in enumerate(values):
                self.store(value, pointer, self.b.add(at, I64(k)))
            return
        v, wide, count = self.lanes, values[0], 1
        for value in values[1:]:
            size = v * count
            if count > 1:  # both operands of a shuffle have one length
                value = self.shuffle(value, value, [min(k, v - 1) for k in range(size)])
            wide, count = self.shuffle(wide, value, range(size + v)), count + 1
        order = [j * v + lane for lane in range(v) for j in range(count)]
        wide = self.shuffle(wide, wide, order)
        self.b.store(wide, self._place(pointer, at, v * count), align=self.align)

    def reverse(self, value: Any) -> Any:
        return value if self.lanes == 1 else self.shuffle(value, value, range(self.lanes - 1, -1, -1))

    def spread(self, value: Any) -> Any:
        """A number in every lane."""
        if self.lanes == 1:
            return value
        one = self.b.insert_element(ir.Constant(self.kind, ir.Undefined), value, I32(0))
        return self.shuffle(one, one, [0] * self.lanes)


class Lanes(NamedTuple):
    """How many elements are computed at once, and whether all are: the number of elements is a multiple."""

    count: int
    exact: bool

    def __str__(self) -> str:
        return f"{self.count}{'' if self.exact else 'rest'}"


def _strips(b: Any, count: Any, lanes: Lanes, body: Callable[[int, Any], None]) -> None:
    """``body(lanes, i)`` for i in steps over ``count`` elements, and ``body(1, i)`` for what is left."""
    whole = count if lanes.exact else b.and_(count, I64(-lanes.count))
    with loop(b, I64(0), whole, lanes.count) as i:
        body(lanes.count, i)
    if not lanes.exact:
        with loop(b, whole, count) as i:
            body(1, i)


# Kernels


def _kernel(module: ir.Module, name: str, dtype: np.dtype, integers: int, body: Callable[..., None]) -> ir.Function:
    """``void name(xr, xi, yr, yi, table, integers...)``, an internal function of the module."""
    name = f"jitgrad.fourier.{dtype.str[1:]}.{name}"
    known = module.globals.get(name)
    if known is not None:
        return known
    pointer = llvm_type(dtype).as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer] * 5 + [I64] * integers), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    body(b, *function.args)
    b.ret_void()
    return function


def first(module: ir.Module, dtype: np.dtype, r: int, lanes: Lanes, paired: bool) -> ir.Function:
    """The first pass along rows: (m). Where ``paired``, ``xr`` has real and imaginary parts in turn."""

    def body(b: Any, xr: Any, xi: Any, yr: Any, yi: Any, w: Any, m: Any) -> None:
        def step(lanes: int, p: Any) -> None:
            memory = _Memory(b, dtype, lanes)
            at = [b.add(p, b.mul(m, I64(k))) for k in range(r)]
            if paired:
                x = [memory.load_two(xr, b.mul(i, I64(2))) for i in at]
            else:
                x = [(memory.load(xr, i), memory.load(xi, i)) for i in at]
            z = _Complex(b, memory.kind)
            y = z.transform(x)
            for j in range(1, r):
                here = b.add(p, b.mul(m, I64(2 * (j - 1))))
                y[j] = z.mul(y[j], (memory.load(w, here), memory.load(w, b.add(here, m))))
            for part, target in ((0, yr), (1, yi)):
                memory.store_interleaved([v[part] for v in y], target, b.mul(p, I64(r)))

        _strips(b, m, lanes, step)

    return _kernel(module, f"first{r}.{lanes}{'.paired' * paired}", dtype, 1, body)


def later(module: ir.Module, dtype: np.dtype, r: int, lanes: Lanes, turned: bool, paired: bool) -> ir.Function:
    """Any other pass: (p's, q's, the steps of p and k in x, the steps of p and j in y). Without ``turned`` the factors
    are 1. Where ``paired``, imaginary and real parts are stored in turn: only inverse transforms end so, whose parts
    are swapped."""

    def body(b: Any, xr: Any, xi: Any, yr: Any, yi: Any, w: Any, *sizes: Any) -> None:
        ps, qs, xp, xk, yp, yj = sizes
        with loop(b, I64(0), ps) as p:
            row = b.mul(p, I64(2 * (r - 1)))
            factors = []
            if turned:
                factors = [b.load(offset(b, w, b.add(row, I64(k)))) for k in range(2 * (r - 1))]
            source, target = b.mul(p, xp), b.mul(p, yp)

            def step(lanes: int, q: Any) -> None:
                memory = _Memory(b, dtype, lanes)
                at = [b.add(b.add(source, q), b.mul(xk, I64(k))) for k in range(r)]
                z = _Complex(b, memory.kind)
                y = z.transform([(memory.load(xr, i), memory.load(xi, i)) for i in at])
                for j in range(1, r) if turned else ():
                    y[j] = z.mul(y[j], tuple(memory.spread(f) for f in factors[2 * j - 2 : 2 * j]))
                for j, (re, im) in enumerate(y):
                    to = b.add(b.add(target, q), b.mul(yj, I64(j)))
                    if paired:
                        memory.store_interleaved([im, re], yr, b.mul(to, I64(2)))
                    else:
                        memory.store(re, yr, to)
                        memory.store(im, yi, to)

            _strips(b, qs, lanes, step)

    name = f"later{r}.{lanes}{'.turned' * turned}{'.paired' * paired}"
    return _kernel(module, name, dtype, 6, body)


def halves(module: ir.Module, dtype: np.dtype, lanes: Lanes, columns: bool, inverse: bool) -> ir.Function:
    """Between the transform X of n = 2 h real numbers and that, Z, of the h complex numbers that they make in pairs:

        2 X[k] = Z[k] + conj(Z[h - k]) - i w^k (Z[k] - conj(Z[h - k])),   Z[k] = X[k] + conj(X[h - k]) + i w^-k (...)

    for (h, rows of x apart, rows of y apart, columns); one of the two with ``inverse``. X has h + 1 elements."""

    def body(b: Any, xr: Any, xi: Any, yr: Any, yi: Any, w: Any, h: Any, xs: Any, ys: Any, count: Any) -> None:
        def ends(lanes: int, q: Any) -> None:
            memory = _Memory(b, dtype, lanes)
            last_x, last_y = b.add(q, b.mul(h, xs)), b.add(q, b.mul(h, ys))
            first = memory.load(xr, q)
            other = memory.load(xr, last_x) if inverse else memory.load(xi, q)
            total, gap = b.fadd(first, other), b.fsub(first, other)
            memory.store(total, yr, q)
            if inverse:
                memory.store(gap, yi, q)
            else:
                zero = _Complex(b, memory.kind).const(0.0)
                memory.store(gap, yr, last_y)
                memory.store(zero, yi, q)
                memory.store(zero, yi, last_y)

        def one(memory: _Memory, x: Pair, mirrored: Pair, factor: Pair) -> Pair:
            z = _Complex(b, memory.kind)
            conj = mirrored[0], b.fneg(mirrored[1])
            total, gap = z.add(x, conj), z.sub(x, conj)
            if inverse:
                return z.add_i(total, z.mul(gap, (factor[0], b.fneg(factor[1]))))
            return z.scale(z.sub_i(total, z.mul(gap, factor)), 0.5)

        _strips(b, count, lanes if columns else Lanes(1, True), ends)
        if columns:
            with loop(b, I64(1), h) as k:
                pair = b.load(offset(b, w, k)), b.load(offset(b, w, b.add(k, h)))
                source, mirror, target = b.mul(k, xs), b.mul(b.sub(h, k), xs), b.mul(k, ys)

                def step(lanes: int, q: Any) -> None:
                    memory = _Memory(b, dtype, lanes)
                    x = memory.load(xr, b.add(source, q)), memory.load(xi, b.add(source, q))
                    other = memory.load(xr, b.add(mirror, q)), memory.load(xi, b.add(mirror, q))
                    factor = memory.spread(pair[0]), memory.spread(pair[1])
                    re, im = one(memory, x, other, factor)
                    memory.store(re, yr, b.add(target, q))
                    memory.store(im, yi, b.add(target, q))

                _strips(b, count, lanes, step)
            return

        def along(lanes: int, i: Any) -> None:
            memory, k = _Memory(b, dtype, lanes), b.add(i, I64(1))
            back = b.sub(h, b.add(i, I64(lanes)))
            x = memory.load(xr, k), memory.load(xi, k)
            other = memory.reverse(memory.load(xr, back)), memory.reverse(memory.load(xi, back))
            re, im = one(memory, x, other, (memory.load(w, k), memory.load(w, b.add(k, h))))
            memory.store(re, yr, k)
            memory.store(im, yi, k)

        _strips(b, b.sub(h, I64(1)), lanes, along)

    name = f"halves.{lanes}{'.columns' * columns}{'.inverse' * inverse}"
    return _kernel(module, name, dtype, 4, body)
