"""What ``scipy.signal`` makes of Fourier transforms, on traced values: convolutions of long arrays, the analytic
signal, and power spectra of segments. Loaded with ``functions_signal``."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
import scipy.signal

from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.frontend import functions_fourier as ff
from jitgrad.frontend.primitives import axis_index, emit_all, move_axis, static_int, take_slice
from jitgrad.frontend.registry import call, implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location

#: Elements of the shorter array from which on convolutions go by transforms. Value and gradient of one with 1000
#: elements take 14 us directly and 11 by transforms with 16 elements, 24 and 11 with 32, 65 and 12 with 96.
LONG = 32


def convolved(x: Tracer, y: Tracer) -> Tracer:
    """The full convolution, by transforms of an even length whose factors are at most 5."""
    shape = [n + m - 1 for n, m in zip(x.dims, y.dims, strict=True)]
    fast: Any = scipy.fft.next_fast_len
    padded = [fast(n, real=True) for n in shape[:-1]]
    padded.append(2 * fast((shape[-1] + 1) // 2, real=True))
    transform, back = ff.TRANSFORMS["rfftn"], ff.TRANSFORMS["irfftn"]
    out = back(transform(x, padded) * transform(y, padded), padded)
    for axis, n in enumerate(shape):
        out = take_slice(out, axis, 0, n)
    return out


@implements(scipy.signal.hilbert)
def hilbert(x: Any, N: Any = None, axis: Any = -1) -> Any:
    """The analytic signal: what has negative frequencies is left out, and what has positive ones counts twice."""
    real = ff.real_signal("hilbert", x)
    axis = ff.one_axis("hilbert", real, axis)
    n = real.dims[axis] if N is None else ff.length("hilbert", N)
    factors = np.full(n // 2 + 1, 2.0 / n)
    factors[0] = 1.0 / n
    if n % 2 == 0:
        factors[-1] = 1.0 / n
    shape = [1] * real.ndim
    shape[axis] = len(factors)
    weights = factors.reshape(shape).astype(real.dtype)
    half = ff.Signal(*emit_all("rfft", ff.fitted(real, n, axis), axis=axis)).map(lambda p: p * weights)
    return ff.transformed(half.map(lambda p: ff.fitted(p, n, axis)), (axis,), inverse=True).value()


def _bad(name: str, what: str, instead: str) -> ArgumentError:
    return ArgumentError(f"scipy.signal.{name} on traced values {what}. {instead}", user_location())


def _segments(x: Tracer, size: int, step: int) -> Tracer:
    """Overlapping pieces of the last axis, as rows."""
    view = call(np.lib.stride_tricks.sliding_window_view, (x, size), {"axis": -1})
    return take_slice(view, view.ndim - 2, 0, view.dims[-2], step)


def _power(
    name: str, x: Any, fs: Any, window: Any, size: int | None, overlap: Any, nfft: Any, detrend: Any, onesided: Any,
    scaling: Any, axis: Any,
) -> tuple[np.ndarray, Tracer, int, int, int]:  # fmt: skip
    """The frequencies, and for each segment the power at each of them, in the last two axes of the array; the axis that
    was transformed, the length of a segment and the step from one to the next."""
    real = ff.real_signal(name, x)
    axis = axis_index(axis, real.ndim)
    real = move_axis(real, axis, real.ndim - 1)
    n = real.dims[-1]
    if not onesided:
        raise _bad(name, "gives one-sided spectra only", "Leave out return_onesided.")
    if scaling not in ("density", "spectrum"):
        raise _bad(name, f"got scaling={scaling!r}", "Use 'density' or 'spectrum'.")
    if isinstance(window, (str, tuple)):
        size = min(256 if size is None else static_int(size, "nperseg"), n)
        weights: np.ndarray = np.asarray(scipy.signal.get_window(window, size))
    else:
        weights = np.asarray(window)
        size = len(weights)
    if weights.ndim != 1 or not 0 < size <= n:
        raise ShapeError(
            f"scipy.signal.{name} with a window of shape {weights.shape} of {n} elements. It is a vector that is not "
            "longer. Give another window or nperseg.",
            user_location(),
        )
    step = size - (size // 2 if overlap is None else static_int(overlap, "noverlap"))
    if step < 1:
        raise _bad(name, "got a noverlap that is not less than nperseg", "Give a smaller one.")
    length = size if nfft is None else static_int(nfft, "nfft")
    if length < size:
        raise _bad(name, "got an nfft that is less than nperseg", "Give a greater one.")
    rows = _segments(real, size, step)
    if detrend == "constant":
        rows = rows - call(np.mean, (rows,), {"axis": -1, "keepdims": True})
    elif detrend is not False:
        raise _bad(name, f"got detrend={detrend!r}", "Use 'constant' or False, and detrend the array before.")
    rows = ff.fitted(rows * weights.astype(rows.dtype), length, rows.ndim - 1)
    re, im = emit_all("rfft", rows, axis=rows.ndim - 1)
    by = 1.0 / (fs * np.sum(weights**2)) if scaling == "density" else 1.0 / np.sum(weights) ** 2
    twice = np.full(length // 2 + 1, 2.0)
    twice[0] = 1.0
    if length % 2 == 0:
        twice[-1] = 1.0
    power = (re * re + im * im) * (by * twice).astype(re.dtype)
    return np.fft.rfftfreq(length, 1 / fs), power, axis, size, step


@implements(scipy.signal.welch)
def welch(
    x: Any, fs: Any = 1.0, window: Any = "hann", nperseg: Any = None, noverlap: Any = None, nfft: Any = None,
    detrend: Any = "constant", return_onesided: Any = True, scaling: Any = "density", axis: Any = -1,
    average: Any = "mean",
) -> tuple[np.ndarray, Tracer]:  # fmt: skip
    if average != "mean":
        raise _bad("welch", f"got average={average!r}", "Use 'mean'.")
    f, power, axis, _, _ = _power(
        "welch", x, fs, window, nperseg, noverlap, nfft, detrend, return_onesided, scaling, axis
    )
    mean = call(np.mean, (power,), {"axis": -2})
    return f, move_axis(mean, mean.ndim - 1, axis)


@implements(scipy.signal.periodogram)
def periodogram(
    x: Any, fs: Any = 1.0, window: Any = "boxcar", nfft: Any = None, detrend: Any = "constant",
    return_onesided: Any = True, scaling: Any = "density", axis: Any = -1,
) -> tuple[np.ndarray, Tracer]:  # fmt: skip
    real = ff.real_signal("periodogram", x)
    n = real.dims[axis_index(axis, real.ndim)]
    window = "boxcar" if window is None else window
    if nfft is not None and static_int(nfft, "nfft") < n:
        real = ff.fitted(real, static_int(nfft, "nfft"), axis_index(axis, real.ndim))
    return welch(real, fs, window, n, 0, nfft, detrend, return_onesided, scaling, axis)


@implements(scipy.signal.spectrogram)
def spectrogram(
    x: Any, fs: Any = 1.0, window: Any = ("tukey", 0.25), nperseg: Any = None, noverlap: Any = None, nfft: Any = None,
    detrend: Any = "constant", return_onesided: Any = True, scaling: Any = "density", axis: Any = -1,
    mode: Any = "psd",
) -> tuple[np.ndarray, np.ndarray, Tracer]:  # fmt: skip
    if mode != "psd":
        raise _bad("spectrogram", f"got mode={mode!r}", "Use 'psd', or np.fft.rfft of segments.")
    if noverlap is None:
        real = ff.real_signal("spectrogram", x)
        n = real.dims[axis_index(axis, real.ndim)]
        size = min(256 if nperseg is None else static_int(nperseg, "nperseg"), n)
        noverlap = (size if isinstance(window, (str, tuple)) else len(window)) // 8
    f, power, axis, size, step = _power(
        "spectrogram", x, fs, window, nperseg, noverlap, nfft, detrend, return_onesided, scaling, axis
    )
    times = (np.arange(power.dims[-2]) * step + size / 2) / fs
    power = move_axis(power, power.ndim - 1, power.ndim - 2)
    return f, times, power if axis == power.ndim - 2 else move_axis(power, power.ndim - 2, axis)
