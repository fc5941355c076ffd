"""The library call ``fourier``: transforms of :mod:`jitgrad.ops.fourier`.

Static parameters: ``kind`` ("fft", "rfft", "irfft", or "dct" or "dst" with its type), ``shape``, that of the operands,
``axes``, and ``inverse``, the sign of the exponent of "fft". The operands are (re, im), or (x,) for transforms of real
numbers, the results likewise, all contiguous.

``passes`` are the radices of a transform that is machine code, along one axis (``fourier_kernels``). The results are
followed by a workspace then, and ``columns`` is how many columns are transformed at a time where the axis is not the
last one. Without passes, the call goes to SciPy (``fourier_calls``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from jitgrad.codegen import fourier_calls, fourier_kernels
from jitgrad.codegen.externs import I32, I64, llvm_type, offset
from jitgrad.codegen.fourier_calls import fourier_python
from jitgrad.loopir.nodes import Buffer

__all__ = ["fourier_emit", "fourier_python"]

_I8P = ir.IntType(8).as_pointer()


def fourier_emit(b: Any, outs: Any, ins: Any, static: dict[str, Any], out_buffers: Any, in_buffers: Any) -> Any:
    """Calls of kernels, or one call of Python; the status of that."""
    if static.get("passes"):
        _Transform(b, out_buffers[0].dtype, static).emit(outs, ins)
        return None
    return _call(b, outs, ins, static, out_buffers, in_buffers)


def _call(b: Any, outs: Any, ins: Any, static: dict[str, Any], out_buffers: Any, in_buffers: Any) -> Any:
    """A call with what to do as JSON, and a table of the addresses: results first."""
    fourier_calls.bind(fourier_calls.CALL)

    def sizes(buffers: Sequence[Buffer]) -> list[int]:
        return [math.prod(t.static_shape) for t in buffers]

    what = {"outs": sizes(out_buffers), "ins": sizes(in_buffers), "dtype": out_buffers[0].dtype.str, "static": static}
    text = json.dumps(what, sort_keys=True).encode() + b"\0"
    constant = cgutils.global_constant(
        b, "transform", ir.Constant(ir.ArrayType(ir.IntType(8), len(text)), bytearray(text))
    )
    pointers = (*outs, *ins)
    table = cgutils.alloca_once(b, _I8P, len(pointers))
    for k, pointer in enumerate(pointers):
        b.store(b.bitcast(pointer, _I8P), b.gep(table, [I32(k)]))
    signature = ir.FunctionType(I64, [_I8P, _I8P.as_pointer()])
    function = cgutils.get_or_insert_function(b.module, signature, fourier_calls.CALL)
    return b.call(function, [b.bitcast(constant, _I8P), table])


class _Rows(NamedTuple):
    """A complex array: real and imaginary parts, and how far rows are apart. Where ``paired`` the parts lie in turn,
    all in ``re``."""

    re: Any
    im: Any
    stride: int
    paired: bool = False

    def swapped(self) -> _Rows:
        """With this at both ends a transform is the inverse one."""
        return self._replace(re=self.im, im=self.re)


class _Transform:
    """Emits one transform along an axis. ``n`` is the length of the complex transform in it, ``inner`` how many columns
    there are."""

    def __init__(self, b: Any, dtype: np.dtype, static: dict[str, Any]) -> None:
        self.b, self.dtype, self.kind = b, dtype, static["kind"]
        self.passes: tuple[int, ...] = static["passes"]
        self.n, self.chunk = math.prod(self.passes), static["columns"]
        shape, (axis,) = static["shape"], static["axes"]
        self.outer, self.inner, self.inverse = math.prod(shape[:axis]), math.prod(shape[axis + 1 :]), static["inverse"]
        self.rows_in = shape[axis]
        self.rows_out = {"fft": self.n, "rfft": self.n + 1, "irfft": 2 * self.n}[self.kind]
        self.lanes = fourier_kernels.VECTOR // dtype.itemsize
        self.form = "rows" if self.inner == 1 else "columns"
        #: Where there are no factors to read.
        self.nothing = llvm_type(dtype).as_pointer()(None)

    def emit(self, outs: Sequence[Any], ins: Sequence[Any]) -> None:
        b = self.b
        *results, work = outs
        with cgutils.for_range(b, I64(self.outer)) as loop:
            source, target = (
                b.mul(loop.index, I64(self.rows_in * self.inner)),
                b.mul(loop.index, I64(self.rows_out * self.inner)),
            )

            def block(column: Any, count: int) -> None:
                at = [offset(b, x, b.add(source, column)) for x in ins]
                to = [offset(b, x, b.add(target, column)) for x in results]
                spaces = [
                    _Rows(offset(b, work, 2 * k * self.n * count), offset(b, work, (2 * k + 1) * self.n * count), count)
                    for k in (0, 1)
                ]
                getattr(self, f"_{self.kind}")(at, to, spaces, count)

            whole, rest = divmod(self.inner, self.chunk)
            with cgutils.for_range(b, I64(whole)) as chunks:
                block(b.mul(chunks.index, I64(self.chunk)), self.chunk)
            if rest:
                block(I64(whole * self.chunk), rest)

    def _fft(self, ins: Any, outs: Any, spaces: Sequence[_Rows], count: int) -> None:
        x, y = (_Rows(re, im, self.inner) for re, im in (ins, outs))
        if self.inverse:
            x, y = x.swapped(), y.swapped()
        # Rows can lie in the result between passes: there is nothing between them.
        self.run(x, y, spaces if self.inner > 1 else (spaces[0], y), count)

    def _rfft(self, ins: Any, outs: Any, spaces: Sequence[_Rows], count: int) -> None:
        rows, y = self.pairs(*ins), _Rows(outs[0], outs[1], self.inner)
        self.run(rows, spaces[0], (spaces[1] if self.inner > 1 else y, spaces[0]), count)
        self.halves(spaces[0], y, count)

    def _irfft(self, ins: Any, outs: Any, spaces: Sequence[_Rows], count: int) -> None:
        x, rows = _Rows(ins[0], ins[1], self.inner), self.pairs(*outs)
        start = spaces[(len(self.passes) + 1) % 2]  # the first pass goes to the other one
        self.halves(x, start, count)
        self.run(start.swapped(), rows.swapped(), spaces, count)

    def pairs(self, x: Any) -> _Rows:
        """Real rows as half as many complex ones."""
        if self.inner == 1:
            return _Rows(x, x, 1, paired=True)
        return _Rows(x, offset(self.b, x, self.inner), 2 * self.inner)

    def halves(self, x: _Rows, y: _Rows, count: int) -> None:
        inverse = self.kind == "irfft"
        w = fourier_kernels.factors(self.b.module, self.dtype, "real", 2 * self.n, ())
        lanes = self.lanes_for(count if self.inner > 1 else self.n - 1)
        kernel = fourier_kernels.halves(self.b.module, self.dtype, lanes, self.inner > 1, inverse)
        sizes = (self.n, x.stride, y.stride, count)
        self.b.call(kernel, [x.re, x.im, y.re, y.im, w, *map(I64, sizes)])

    def lanes_for(self, count: int) -> fourier_kernels.Lanes:
        """As many as there is work for."""
        lanes = min(self.lanes, 1 << max(count, 1).bit_length() - 1)
        return fourier_kernels.Lanes(lanes, count % lanes == 0)

    def run(self, x: _Rows, y: _Rows, spaces: Sequence[_Rows], count: int) -> None:
        """The passes, from x to y. Between them data are in one of two spaces in turn, in the first one before the last
        pass."""
        module, passes, at = self.b.module, self.passes, 0
        turned = len(passes) > 1 or (x.paired and self.inner == 1)
        w = fourier_kernels.factors(module, self.dtype, self.form, self.n, passes) if turned else self.nothing
        m, s, source = self.n, 1, x
        for i, r in enumerate(passes):
            m //= r
            last = i == len(passes) - 1
            target = y if last else spaces[(len(passes) - i) % 2]
            table = offset(self.b, w, at) if turned else w
            pointers = [source.re, source.im, target.re, target.im, table]
            if i == 0 and self.inner == 1 and (not last or x.paired):
                kernel = fourier_kernels.first(module, self.dtype, r, self.lanes_for(m), x.paired)
                self.b.call(kernel, [*pointers, I64(m)])
            else:
                # Rows t + s (p + m k) for t < s. At both ends columns are fewer than what lies between rows, so the
                # loop over t, or p, of which there is but one, becomes the outer one.
                a, c = source.stride, target.stride
                if last:
                    sizes = (s, count, a, s * a, c, s * c)
                else:
                    sizes = (m, s * count, s * a, s * m * a, s * r * c, s * c)
                if last and a == count and c == count:
                    sizes = (1, s * count, 0, s * count, 0, s * count)
                lanes = self.lanes_for(sizes[1])
                kernel = fourier_kernels.later(module, self.dtype, r, lanes, not last, target.paired)
                self.b.call(kernel, [*pointers, *map(I64, sizes)])
            at += 2 * (r - 1) * m
            s, source = s * r, target
