"""The library call ``fourier``: transforms of :mod:`jitgrad.ops.fourier`, by SciPy's pocketfft.

Static parameters: ``kind`` ("fft", "rfft", "irfft", or "dct" or "dst" with its type), ``shape``, that of the operands,
``axes``, and ``inverse``, the sign of the exponent of "fft". The operands are (re, im), or (x,) for transforms of real
numbers, the results likewise, all contiguous.

Compiled code calls back into Python with the addresses of the arrays; ctypes takes the interpreter's lock for the call.
What there is to do is kept by the text that describes it, so a call parses nothing.
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils

from jitgrad.loopir.failures import PENDING, RAISED_OUTSIDE
from jitgrad.loopir.nodes import Buffer

SYMBOL = "jitgrad_fourier"

_I8P, _I32 = ir.IntType(8).as_pointer(), ir.IntType(32)


def fourier_python(
    outs: Sequence[np.ndarray],
    ins: Sequence[np.ndarray],
    *,
    kind: str,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    inverse: bool,
) -> int:
    """The transform; see the module's docstring. Returns 0."""
    import scipy.fft

    arrays = [a.reshape(shape) for a in ins]
    if len(arrays) == 2:
        z = np.empty(shape, np.complex64 if arrays[0].dtype.itemsize == 4 else np.complex128)
        z.real, z.imag = arrays
    else:
        (z,) = arrays
    axis = axes[0]
    found: Any
    if kind == "fft":
        run, norm = (scipy.fft.ifftn, "forward") if inverse else (scipy.fft.fftn, "backward")
        found = run(z, axes=axes, norm=norm, overwrite_x=True)
    elif kind == "rfft":
        found = scipy.fft.rfft(z, axis=axis)
    elif kind == "irfft":
        n = outs[0].size // (z.size // shape[axis])
        found = scipy.fft.irfft(z, n, axis=axis, norm="forward", overwrite_x=True)
    else:
        found = getattr(scipy.fft, kind[:3])(z, int(kind[3]), axis=axis)
    if len(outs) == 2:
        outs[0].reshape(found.shape)[...], outs[1].reshape(found.shape)[...] = found.real, found.imag
    else:
        outs[0].reshape(found.shape)[...] = found
    return 0


def fourier_emit(b: Any, outs: Any, ins: Any, static: dict[str, Any], out_buffers: Any, in_buffers: Any) -> Any:
    """A call with what to do as JSON, and a table of the addresses: results first."""
    bind()

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
        b.store(b.bitcast(pointer, _I8P), b.gep(table, [_I32(k)]))
    signature = ir.FunctionType(ir.IntType(64), [_I8P, _I8P.as_pointer()])
    function = cgutils.get_or_insert_function(b.module, signature, SYMBOL)
    return b.call(function, [b.bitcast(constant, _I8P), table])


@functools.cache
def _plan(what: bytes) -> Callable[[Any], None]:
    """The work that a text describes, as a function of the addresses."""
    known = json.loads(what)
    static = known["static"]
    static["shape"], static["axes"] = tuple(static["shape"]), tuple(static["axes"])
    dtype = np.dtype(known["dtype"])
    kinds = [ctypes.c_char * (n * dtype.itemsize) for n in (*known["outs"], *known["ins"])]
    results = len(known["outs"])

    def run(addresses: Any) -> None:
        arrays = [np.frombuffer(kind.from_address(addresses[k]), dtype) for k, kind in enumerate(kinds)]
        fourier_python(arrays[:results], arrays[results:], **static)

    return run


def _transform(what: bytes, addresses: Any) -> int:
    """What the call does; the status."""
    try:
        _plan(what)(addresses)
    except BaseException as error:  # noqa: BLE001  (no exception can pass through the program)
        PENDING.error = error
        return RAISED_OUTSIDE
    return 0


@functools.cache
def _callback() -> Any:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p))(_transform)


def bind() -> None:
    """Bind the symbol in this process."""
    address = ctypes.cast(_callback(), ctypes.c_void_p).value
    binding.add_symbol(SYMBOL, address)
