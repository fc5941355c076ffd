"""Convolutions and correlations of ``scipy.signal`` on traced values. Loaded when a program uses it."""

from __future__ import annotations

import types
from typing import Any

import scipy.signal

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.frontend import functions_filtering, functions_spectral, functions_waveforms
from jitgrad.frontend.complex_calls import BILINEAR
from jitgrad.frontend.namespace import wrap
from jitgrad.frontend.primitives import floating, floats, lift
from jitgrad.frontend.registry import ADVICE, FUNCTIONS, implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import is_float

_modules = (functions_filtering, functions_waveforms)  # their handlers


def _windows(x: Tracer, y: Tracer) -> Tracer:
    """The sums of products of ``y`` with all windows of ``x`` that lie in it: a matrix product."""
    views = jnp.lib.stride_tricks.sliding_window_view(x, y.shape)
    return jnp.tensordot(views, y, axes=y.ndim)


def _convolved(name: str, in1: Any, in2: Any, mode: str, late: int = 0, fast: bool = False) -> Tracer:
    """Directly: O(n m) for n and m elements; or by Fourier transforms where ``fast`` and both arrays are long. With
    ``late`` = 1 the middle of what has two starts at the later one."""
    x, y = lift(in1, in2)
    if x.ndim != y.ndim:
        raise ShapeError(
            f"scipy.signal.{name} of arrays with {x.ndim} and {y.ndim} axes. They need as many. Reshape one of them.",
            user_location(),
        )
    if mode not in ("full", "same", "valid"):
        raise ArgumentError(f"scipy.signal.{name} got mode {mode!r}. Use 'full', 'same' or 'valid'.", user_location())
    if x.ndim == 0:
        return x * y
    shape = x.shape
    if mode == "valid":
        if all(n <= m for n, m in zip(x.shape, y.shape, strict=True)):
            x, y = y, x
        if any(n < m for n, m in zip(x.shape, y.shape, strict=True)):
            raise ShapeError(
                f"scipy.signal.{name} in mode 'valid' of shapes {x.shape} and {y.shape}. One of them must be at least "
                "as large as the other along every axis. Use mode 'full' or 'same'.",
                user_location(),
            )
    if fast and is_float(x.dtype) and is_float(y.dtype) and min(x.size, y.size) >= functions_spectral.LONG:
        out = functions_spectral.convolved(floating(x), floating(y))
        if mode == "valid":
            return out[tuple(slice(m - 1, n) for n, m in zip(x.shape, y.shape, strict=True))]
    elif mode == "valid":
        return _windows(x, jnp.flip(y))
    else:
        out = _windows(jnp.pad(x, [(m - 1, m - 1) for m in y.shape]), jnp.flip(y))
    if mode == "same":  # the middle of the full result
        starts = [(full - n + late) // 2 for full, n in zip(out.shape, shape, strict=True)]
        out = out[tuple(slice(s, s + n) for s, n in zip(starts, shape, strict=True))]
    return out


@implements(scipy.signal.convolve)
def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Tracer:
    return _convolved("convolve", in1, in2, mode, fast=method == "fft")


@implements(scipy.signal.fftconvolve)
def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: None = None) -> Tracer:
    """Without a Fourier transform where one array is short."""
    if axes is not None:
        raise ArgumentError("scipy.signal.fftconvolve with axes= is not supported on traced values.", user_location())
    x, y = floats(in1, in2)
    return _convolved("fftconvolve", x, y, mode, fast=True)


@implements(scipy.signal.oaconvolve)
def oaconvolve(in1: Any, in2: Any, mode: str = "full", axes: None = None) -> Tracer:
    """As fftconvolve: in one block."""
    if axes is not None:
        raise ArgumentError("scipy.signal.oaconvolve with axes= is not supported on traced values.", user_location())
    x, y = floats(in1, in2)
    return _convolved("oaconvolve", x, y, mode, fast=True)


@implements(scipy.signal.convolve2d)
def convolve2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Tracer:
    _only_zeros("convolve2d", boundary, fillvalue)
    return _convolved("convolve2d", in1, in2, mode)


@implements(scipy.signal.correlate)
def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Tracer:
    x, y = lift(in1, in2)
    return _convolved("correlate", x, jnp.flip(y), mode, fast=method == "fft")


@implements(scipy.signal.correlate2d)
def correlate2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Tracer:
    _only_zeros("correlate2d", boundary, fillvalue)
    x, y = lift(in1, in2)
    return _convolved("correlate2d", x, jnp.flip(y), mode, late=1)


def _only_zeros(name: str, boundary: str, fillvalue: Any) -> None:
    if boundary != "fill" or fillvalue != 0:
        raise ArgumentError(
            f"scipy.signal.{name} on traced values takes what is outside as zeros only. Pad the array with np.pad, and "
            "use mode 'valid'.",
            user_location(),
        )


BILINEAR |= dict.fromkeys((scipy.signal.convolve, scipy.signal.fftconvolve, scipy.signal.convolve2d))
BILINEAR |= dict.fromkeys((scipy.signal.correlate, scipy.signal.correlate2d), 1)


_PEAKS = (
    "How many there are depends on the data. np.nonzero of a comparison with the neighbours gives an array of a length"
)
_PEAKS += " that the run tells: np.nonzero((x[1:-1] > x[:-2]) & (x[1:-1] > x[2:]))[0] + 1."
ADVICE |= dict.fromkeys(
    (scipy.signal.find_peaks, scipy.signal.argrelmax, scipy.signal.argrelmin, scipy.signal.argrelextrema), _PEAKS
)


def stand_in(value: Any) -> Any:
    """The wrapped function; None for one without a handler, and for the module."""
    known = isinstance(value, types.FunctionType) and (value in FUNCTIONS or value in ADVICE)
    return wrap(value) if known else None
