"""The library call ``fourier``: transforms of :mod:`jitgrad.ops.fourier`.

Static parameters: ``kind`` ("fft", "rfft", "irfft", or "dct" or "dst" with its type), ``shape``, that of the operands,
``axes``, and ``inverse``, the sign of the exponent of "fft". The operands are (re, im), or (x,) for transforms of real
numbers, the results likewise, all contiguous.

``passes`` are the radices of a transform that is machine code, along one axis (``fourier_kernels``). The results are
followed by a workspace then, and ``columns`` is how many columns are transformed at a time where the axis is not the
last one. Without passes, SciPy is called (``callbacks``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba.core import cgutils

from jitgrad.codegen import fourier_kernels
from jitgrad.codegen.callbacks import Function, Kind, python_libcall
from jitgrad.codegen.externs import I64, llvm_type, offset


def _transforming(
    _: Sequence[Kind], *, kind: str, shape: Sequence[int], axes: Sequence[int], inverse: bool, **__: Any
) -> Function:
    """What SciPy is asked for."""
    shape, axes = tuple(shape), tuple(axes)

    def run(outs: Sequence[np.ndarray], ins: Sequence[np.ndarray]) -> None:
        import scipy.fft

        arrays = [a.reshape(shape) for a in ins]
        z = arrays[0]
        if len(arrays) == 2:
            z = np.empty(shape, np.complex64 if z.dtype.itemsize == 4 else np.complex128)
            z.real, z.imag = arrays
        found: Any
        if kind == "fft":
            transform, norm = (scipy.fft.ifftn, "forward") if inverse else (scipy.fft.fftn, "backward")
            found = transform(z, axes=axes, norm=norm, overwrite_x=True)
        elif kind == "rfft":
            found = scipy.fft.rfft(z, axis=axes[0])
        elif kind == "irfft":
            n = outs[0].size // (z.size // shape[axes[0]])
            found = scipy.fft.irfft(z, n, axis=axes[0], norm="forward", overwrite_x=True)
        else:
            found = getattr(scipy.fft, kind[:3])(z, int(kind[3]), axis=axes[0])
        parts = (found.real, found.imag) if np.iscomplexobj(found) else (found,)
        for out, part in zip(outs, parts, strict=False):  # a workspace may follow
            out.reshape(part.shape)[...] = part

    return run


fourier_python, _call_emit = python_libcall("fourier", _transforming)


def fourier_emit(b: Any, outs: Any, ins: Any, static: dict[str, Any], out_buffers: Any, in_buffers: Any) -> Any:
    """Calls of kernels, or one call of Python; the status of that."""
    if static.get("passes"):
        _Transform(b, out_buffers[0].dtype, static).emit(outs, ins)
        return None
    return _call_emit(b, outs, ins, static, out_buffers, in_buffers)


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
