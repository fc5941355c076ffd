"""Convolutions, correlations and filters of ``scipy.signal`` on traced values. Loaded when a program uses it."""

from __future__ import annotations

import types
from typing import Any

import scipy.signal

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend import functions_spectral
from jitgrad.frontend.complex_calls import BILINEAR, LINEAR
from jitgrad.frontend.control_flow import current_trace
from jitgrad.frontend.namespace import wrap
from jitgrad.frontend.primitives import axis_index, floating, floats, lift
from jitgrad.frontend.recording import record_for
from jitgrad.frontend.registry import FUNCTIONS, implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import is_float


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


@implements(scipy.signal.lfilter)
def lfilter(b: Any, a: Any, x: Any, axis: int = -1, zi: None = None) -> Tracer:
    """``a[0] y[n] = sum(b[k] x[n - k]) - sum(a[k] y[n - k], k > 0)``: a sum of shifted arrays, and a recorded loop over
    n where a has more than one element."""
    if zi is not None:
        raise UnsupportedError(
            "scipy.signal.lfilter with zi= is not supported on traced values. The state before the first element is 0. "
            "Put earlier elements before x.",
            user_location(),
        )
    ahead, back, signal = floats(b, a, x)
    if ahead.ndim != 1 or back.ndim != 1 or not ahead.dims[0] or not back.dims[0] or not signal.ndim:
        raise ShapeError(
            f"scipy.signal.lfilter of b and a of shapes {ahead.dims} and {back.dims}, x of shape {signal.dims}. b and "
            "a are vectors that are not empty, and x has at least one axis. Check the shapes.",
            user_location(),
        )
    axis = axis_index(axis, signal.ndim)
    rows = jnp.moveaxis(signal, axis, 0)
    n, order = rows.shape[0], back.dims[0] - 1
    ahead, back = ahead / back[0], back / back[0]
    padded = jnp.pad(rows, [(ahead.dims[0] - 1, 0), *[(0, 0)] * (rows.ndim - 1)])
    driven: Any = 0.0
    for k in range(ahead.dims[0]):
        start = ahead.dims[0] - 1 - k
        driven = driven + ahead[k] * padded[start : start + n]
    if order == 0:
        return jnp.moveaxis(driven, 0, axis)

    def step(i: Any, y: Any) -> tuple[Any]:
        value = driven[i]
        for k in range(1, order + 1):
            value = value - back[k] * y[i + (order - k)]
        y[i + order] = value
        return (y,)

    y = jnp.zeros_like(driven, shape=(n + order, *driven.shape[1:]))
    (y,) = record_for(current_trace() or driven.owner, 0, n, 1, step, (y,), ("the filtered array",))
    return jnp.moveaxis(y[order:], 0, axis)


LINEAR[scipy.signal.lfilter] = ("x",)
BILINEAR |= dict.fromkeys((scipy.signal.convolve, scipy.signal.fftconvolve, scipy.signal.convolve2d))
BILINEAR |= dict.fromkeys((scipy.signal.correlate, scipy.signal.correlate2d), 1)


def stand_in(value: Any) -> Any:
    """The wrapped function; None for one without a handler, and for the module."""
    return wrap(value) if isinstance(value, types.FunctionType) and value in FUNCTIONS else None
