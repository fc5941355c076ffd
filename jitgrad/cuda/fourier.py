"""cuFFT, by ctypes: Fourier transforms on device pointers, for the library call of :mod:`jitgrad.codegen.fourier`.

Arrays are pairs of real ones, and cuFFT has complex numbers: so the parts are joined in scratch memory, transformed
there, one axis after the other, and taken apart again. Transforms of real numbers are those of complex ones whose other
half is zero, or left out. That of more than one axis, not the last, is a call for each of the outer indices.

cuFFT has no cosine and sine transforms. They are real or imaginary parts of complex ones of about twice as many
numbers, the others zero, which are turned by angles before or after: see :class:`_Trigonometric`.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, NamedTuple

import numpy as np

from jitgrad.cuda.blas import check, load_library
from jitgrad.cuda.compiler import load
from jitgrad.cuda.driver import Code, Driver, Stream, aligned

_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
FORWARD, INVERSE = -1, 1
_TYPES = {"float32": 0x29, "float64": 0x69}
_LAYOUT = (_P, _L, _L)  # extents, elements from one to the next, and from one transform to the next
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cufftCreate": (_P,),
    "cufftMakePlanMany64": (_I, _I, _P, *_LAYOUT, *_LAYOUT, _I, _L, _P),
    "cufftSetStream": (_I, _P),
    "cufftExecC2C": (_I, _P, _P, _I),
    "cufftExecZ2Z": (_I, _P, _P, _I),
}

#: The dtypes that there are transforms for.
DTYPES = frozenset(_TYPES)

#: Threads of a block of the kernels below.
_BLOCK = 256


def _kernels(dtype: np.dtype) -> Code:
    """Joining the parts of complex arrays, and taking them apart. ``z`` is (outer, n, inner) by rows, the parts are
    (outer, h, inner). Where h is less than n, the elements from h on are the conjugates of those before, backwards.
    Those that are their own should be real; what they have besides only adds to imaginary parts, which are left out.

    ``spread`` and ``collect`` are those of cosine and sine transforms, of n elements each: :class:`_Trigonometric` has
    the other numbers. ``unit`` is a quarter turn by n, in half turns."""
    name, suffix = dtype.name, "f" if dtype.itemsize == 4 else ""
    first = "    i = int64(cuda.blockIdx.x) * int64(cuda.blockDim.x) + int64(cuda.threadIdx.x)\n    if i >= count:\n"
    source = f"""
def join(z, re, im, count, n, h, inner):
{first}        return
    k = i // inner % n
    j = k if k < h else n - k
    at = (i // (inner * n) * h + j) * inner + i % inner
    z[2 * i] = re[at]
    z[2 * i + 1] = im[at] if k < h else -im[at]


def join_real(z, x, count):
{first}        return
    z[2 * i] = x[i]
    z[2 * i + 1] = {name}(0.0)


def split(z, re, im, count, n, h, inner):
{first}        return
    at = (i // (inner * h) * n + i // inner % h) * inner + i % inner
    re[i] = z[2 * at]
    im[i] = z[2 * at + 1]


def split_real(z, x, count):
{first}        return
    x[i] = z[2 * i]


def spread(z, x, count, n, length, inner, shift, turned, lone, unit):
{first}        return
    j = i // inner % length - shift
    re = {name}(0.0)
    im = {name}(0.0)
    if j >= int64(0) and j < n:
        re = x[(i // (inner * length) * n + j) * inner + i % inner]
        first = j == int64(0) and lone & int64(1) != int64(0)
        last = j == n - int64(1) and lone & int64(2) != int64(0)
        if not first and not last:
            re = re * {name}(2.0)
        if turned != int64(0):
            angle = {name}(int64(2) * (j + shift)) * unit
            im = -re * libdevice.sinpi{suffix}(angle)
            re = re * libdevice.cospi{suffix}(angle)
    z[2 * i] = re
    z[2 * i + 1] = im


def collect(z, x, count, n, length, inner, shift, turned, half, sine, unit):
{first}        return
    k = i // inner % n + shift
    at = (i // (inner * n) * length + k) * inner + i % inner
    re = z[2 * at]
    im = z[2 * at + 1]
    c = {name}(1.0)
    s = {name}(0.0)
    if turned != int64(0):
        angle = {name}(int64(2) * k + half) * unit
        c = libdevice.cospi{suffix}(angle)
        s = libdevice.sinpi{suffix}(angle)
    x[i] = re * s - im * c if sine != int64(0) else re * c + im * s
"""
    scalar = ("scalar", np.dtype(np.int64))
    pair, one, unit = (dtype, dtype, dtype, *[scalar] * 4), (dtype, dtype, scalar), ("scalar", dtype)
    spread, collect = (dtype, dtype, *[scalar] * 7, unit), (dtype, dtype, *[scalar] * 8, unit)
    signatures = {"join": pair, "join_real": one, "split": pair, "split_real": one}
    return Code(source, {**signatures, "spread": spread, "collect": collect})


class _Trigonometric(NamedTuple):
    """A cosine or sine transform of n elements x by a complex one of ``length``::

        z[j + into] = w[j] x[j] exp(-i pi (j + into) / (2 n))     # w = 2, the angle where ``before``
        Z = fft(z)
        y[k] = Re(Z[k + out] exp(-i pi (2 (k + out) + half) / (4 n)))     # the angle where ``after``

    or minus the imaginary part for sines. ``lone`` has bit 0 where w[0] is 1, and bit 1 where w[n - 1] is."""

    length: int
    into: bool
    out: bool
    before: bool
    after: bool
    half: bool
    lone: int


def _trigonometric(kind: str, n: int) -> _Trigonometric:
    """From the sums in the documentation of ``scipy.fft``, with the products of sums in the angles multiplied out."""
    sine, number = kind.startswith("dst"), int(kind[3])
    length = (2 * n + 2 if sine else 2 * n - 2) if number == 1 else 2 * n
    into, out = sine and number in (1, 3), sine and number in (1, 2)
    lone = {"dct1": 3, "dct3": 1, "dst3": 2}.get(kind, 0)
    return _Trigonometric(length, into, out, number in (3, 4), number in (2, 4), number == 4, lone)


class _Plan(NamedTuple):
    """``count`` transforms of n elements that are ``step`` apart; the first ones of two are ``distance`` apart."""

    n: int
    step: int
    distance: int
    count: int


class Fourier:
    """cuFFT on one device. Its calls are made inside :meth:`Driver.enqueue`, one thread at a time."""

    def __init__(self, driver: Driver, library: Any = None) -> None:
        self._driver = driver
        self._library = library or load_library("cufft", _FUNCTIONS)
        self._loaded: dict[np.dtype, Any] = {}
        # They live as long as the process: graphs of their calls use their workspace. It is one call's at a time: all
        # calls go to the main stream, or are captured, and then replayed there.
        self._plans: dict[tuple[_Plan, np.dtype], int] = {}

    def scratch(self, dtype: np.dtype, static: dict[str, Any]) -> int:
        """Bytes of scratch memory for a call. Loads the kernels that it will need."""
        self._kernels_of(dtype)
        shape = static["shape"]
        elements = math.prod(shape)
        n = shape[static["axes"][0]]
        if static["kind"] == "irfft":  # of up to twice as many
            elements *= 2
        elif static["kind"][:3] in ("dct", "dst"):
            elements = elements // n * _trigonometric(static["kind"], n).length
        return aligned(2 * elements * dtype.itemsize)

    def run(
        self, stream: Stream, outs: list[int], sizes: list[int], ins: list[int], scratch: int, dtype: np.dtype,
        *, kind: str, shape: tuple[int, ...], axes: tuple[int, ...], inverse: bool, **_: Any,
    ) -> None:  # fmt: skip
        """One call: the addresses of the results, how many elements each has, and the addresses of the operands."""
        if kind[:3] in ("dct", "dst"):
            self._cosines(stream, outs[0], ins[0], scratch, dtype, kind, shape, axes[0])
            return
        full = list(shape)
        axis = axes[0]
        inner, rest = math.prod(shape[axis + 1 :]), math.prod(shape) // shape[axis]
        if kind == "irfft":
            full[axis] = sizes[0] // rest
        count = math.prod(full)
        if kind == "rfft":
            self._launch("join_real", dtype, count, [scratch, ins[0], count], stream)
        else:
            self._launch("join", dtype, count, [scratch, *ins, count, full[axis], shape[axis], inner], stream)
        for k in axes:
            self._along(k, full, scratch, dtype, stream, INVERSE if inverse or kind == "irfft" else FORWARD)
        if kind == "irfft":
            self._launch("split_real", dtype, count, [scratch, outs[0], count], stream)
        else:
            h = sizes[0] // rest
            self._launch("split", dtype, sizes[0], [scratch, *outs[:2], sizes[0], full[axis], h, inner], stream)

    def _cosines(
        self, stream: Stream, out: int, x: int, z: int, dtype: np.dtype, kind: str, shape: tuple[int, ...], axis: int
    ) -> None:
        """A cosine or sine transform."""
        n, inner, t = shape[axis], math.prod(shape[axis + 1 :]), _trigonometric(kind, shape[axis])
        full = [*shape[:axis], t.length, *shape[axis + 1 :]]
        count, elements, unit = math.prod(full), math.prod(shape), 1 / (4 * n)
        places = [n, t.length, inner]
        self._launch("spread", dtype, count, [z, x, count, *places, int(t.into), int(t.before), t.lone, unit], stream)
        self._along(axis, full, z, dtype, stream, FORWARD)
        flags = map(int, (t.out, t.after, t.half, kind.startswith("dst")))
        args = [z, out, elements, *places, *flags, unit]
        self._launch("collect", dtype, elements, args, stream)

    def _along(self, axis: int, shape: list[int], z: int, dtype: np.dtype, stream: Stream, sign: int) -> None:
        """Transform along one axis, in place."""
        n, outer, inner = shape[axis], math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        times, plan = (1, _Plan(n, 1, n, outer)) if inner == 1 else (outer, _Plan(n, inner, 1, inner))
        handle = self._plan(plan, dtype)
        check(self._library.cufftSetStream(handle, stream.handle), "choosing a stream for cuFFT")
        execute = self._library.cufftExecZ2Z if dtype == np.float64 else self._library.cufftExecC2C
        for k in range(times):
            at = z + k * 2 * n * inner * dtype.itemsize
            check(execute(handle, at, at, sign), "a Fourier transform")

    def _plan(self, plan: _Plan, dtype: np.dtype) -> int:
        """The handle of a plan. The first call makes it, which takes memory: so that one is not captured."""
        key = plan, dtype
        if key not in self._plans:
            handle, size, extent = _I(), ctypes.c_size_t(), (_L * 1)(plan.n)
            layout = (extent, plan.step, plan.distance)
            check(self._library.cufftCreate(ctypes.byref(handle)), "starting cuFFT")
            status = self._library.cufftMakePlanMany64(
                handle, 1, extent, *layout, *layout, _TYPES[dtype.name], plan.count, ctypes.byref(size)
            )
            check(status, "planning a Fourier transform")
            self._plans[key] = handle.value
        return self._plans[key]

    def _kernels_of(self, dtype: np.dtype) -> Any:
        if dtype not in self._loaded:
            self._loaded[dtype] = load(self._driver, _kernels(dtype))
        return self._loaded[dtype].kernels

    def _launch(self, name: str, dtype: np.dtype, count: int, args: list[Any], stream: Stream) -> None:
        self._driver.launch(self._kernels_of(dtype)[name], -(-count // _BLOCK), _BLOCK, args, stream=stream)
