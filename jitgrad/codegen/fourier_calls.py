"""What the code of ``codegen.fourier`` refers to by symbols: a function that calls SciPy, and tables of factors.

Compiled code calls back into Python with the addresses of the arrays; ctypes takes the interpreter's lock for the call.
What there is to do is kept by the text that describes it, so a call parses nothing.
"""

from __future__ import annotations

import ctypes
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding

from jitgrad.loopir.failures import PENDING, RAISED_OUTSIDE

PREFIX = "jitgrad_fourier_"
CALL = PREFIX + "call"
TWIDDLES = PREFIX + "twiddles_"


def fourier_python(
    outs: Sequence[np.ndarray],
    ins: Sequence[np.ndarray],
    *,
    kind: str,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    inverse: bool,
    **_: Any,
) -> int:
    """The transform; see ``codegen.fourier``. Returns 0."""
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
    if np.iscomplexobj(found):
        outs[0].reshape(found.shape)[...], outs[1].reshape(found.shape)[...] = found.real, found.imag
    else:
        outs[0].reshape(found.shape)[...] = found
    return 0


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


def table(dtype: np.dtype, form: str, n: int, passes: Sequence[int]) -> np.ndarray:
    """The factors ``w^(p j)``, j > 0, of the passes of a transform of n elements; see ``fourier_kernels``.

    With form "rows" those of the first pass lie by j, and for each j first all real parts, then the imaginary ones. All
    others lie by p, real and imaginary parts next to each other. With form "real": ``exp(-2 pi i k / n)`` for
    k < n / 2, first the real parts.
    """
    if form == "real":
        w: Any = _roots(np.arange(n // 2), n)
        return np.concatenate([w.real, w.imag]).astype(dtype)
    parts: list[np.ndarray] = []
    for i, r in enumerate(passes):
        m = n // r
        w: Any = _roots(np.outer(np.arange(m), np.arange(1, r)), n)
        if form == "rows" and i == 0:
            parts += [a for column in w.T for a in (column.real, column.imag)]
        else:
            parts.append(np.stack([w.real, w.imag], axis=-1).ravel())
        n = m
    return np.concatenate(parts).astype(dtype)


def _roots(k: np.ndarray, n: int) -> np.ndarray:
    """``exp(-2 pi i k / n)``, by quarters of a turn: angles stay small, so their rounding does too."""
    quarter, rest = np.divmod(4 * (k % n), n)
    angle = rest * (np.pi / (2.0 * n))
    return (np.cos(angle) - 1j * np.sin(angle)) * np.array([1, -1j, -1, 1j])[quarter]


@functools.cache
def _kept(symbol: str) -> np.ndarray:
    """The table of a symbol, which is there as long as the process."""
    kind, form, n, *passes = symbol.removeprefix(TWIDDLES).split("_")
    return table(np.dtype(kind), form, int(n), [int(r) for r in passes])


def bind(symbol: str) -> None:
    """Bind a symbol in this process."""
    address = ctypes.cast(_callback(), ctypes.c_void_p).value if symbol == CALL else _kept(symbol).ctypes.data
    binding.add_symbol(symbol, address)
