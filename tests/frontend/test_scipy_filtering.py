"""Filters, sampling rates and waveforms of ``scipy.signal``: values, derivatives, and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compared import check, normal
from scipy import signal

import jitgrad as jg
from jitgrad import errors
from jitgrad.testing import check_grads

X, ROWS = normal(60), normal(3, 50, seed=1)
B, A = signal.butter(3, 0.3)
SOS = signal.butter(4, 0.3, output="sos")


def test_recursive_filters() -> None:
    def f(x: Any, rows: Any, b: Any, a: Any) -> Any:
        found = [signal.filtfilt(b, a, x), signal.filtfilt(b, a, rows.T, axis=0, padtype="even", padlen=5)]
        found += [signal.filtfilt(b, a, rows, padtype=None), signal.filtfilt(b, a, rows, padtype="constant")]
        found += [signal.filtfilt([1.0, 0.5], [2.0], x, padlen=59), *signal.lfilter(b, a, x[:2], zi=np.arange(3.0))]
        found += [*signal.lfilter(b, a, x, zi=signal.lfilter_zi(b, a) * x[0]), signal.sosfilt(SOS, x)]
        found += [signal.sosfiltfilt(SOS, rows), signal.sosfiltfilt(signal.butter(3, 0.3, output="sos"), x)]
        return [*found, *signal.sosfilt(SOS, x, zi=signal.sosfilt_zi(SOS) * x[0])]

    check(f, X, ROWS, B, A, tol=1e-9)
    check_grads(lambda x, b, a: signal.filtfilt(b, a, x), (X[:20], B, A), order=1, modes=("rev",))
    check_grads(lambda x: signal.sosfiltfilt(SOS, x), (X,), order=1, modes=["rev"])
    check(lambda z: [signal.filtfilt(B, A, z), signal.sosfilt(SOS, z)], X + 1j * X[::-1])


def test_fits() -> None:
    def f(x: Any, rows: Any) -> Any:
        found = [signal.detrend(x), signal.detrend(rows, 0), signal.detrend(rows, type="constant")]
        found += [
            signal.detrend(x, bp=[20, 40]),
            signal.savgol_filter(x, 7, 2),
            signal.savgol_filter(rows, 3, 1, axis=0),
        ]
        return [*found, signal.savgol_filter(rows, 5, 3, 1, 0.1), signal.savgol_filter(x, 7, 2, mode="nearest")]

    check(f, X, ROWS, tol=1e-9)
    check_grads(lambda x: [signal.detrend(x), signal.savgol_filter(x, 5, 2)], (X,), order=1, modes=("rev",))


def test_sampling_rates() -> None:
    def f(x: Any, h: Any, rows: Any) -> Any:
        found = [signal.upfirdn(h, x, u, d) for u, d in ((1, 1), (2, 1), (1, 3), (4, 6), (7, 5), (9, 2))]
        found += [signal.resample_poly(x, u, d) for u, d in ((1, 2), (4, 6), (5, 7), (2, 2))]
        found += [signal.resample_poly(rows, 3, 2, axis=1, padtype="mean"), signal.resample_poly(x, 3, 2, window=h)]
        found += [signal.decimate(x, 2), signal.decimate(rows, 3, ftype="fir"), signal.decimate(x, 4, zero_phase=False)]
        return [*found, signal.decimate(x, 4, ftype="fir", zero_phase=False), signal.oaconvolve(x, h, "same")]

    check(f, X, normal(7), ROWS, tol=1e-7)
    check_grads(lambda x, h: signal.upfirdn(h, x, 3, 2), (X[:9], normal(7)), order=1, modes=("rev",))


def test_waveforms() -> None:
    def f(x: Any, w: Any) -> Any:
        found = [signal.sawtooth(x), signal.sawtooth(x, w), signal.square(x, 0.2), signal.gausspulse(x, 2.0)]
        found += [signal.chirp(x * x, 1.0, 3.0, 2.0, m) for m in ("linear", "quadratic", "log")]
        return [*found, signal.chirp(x * 0.1, 1.0, 3.0, 2.0, "hyp"), x * signal.get_window("hann", 60)]

    check(f, X, np.array(0.3))
    check_grads(
        lambda x, w: [signal.sawtooth(x, w), signal.chirp(x, 1.0, 3.0, 2.0, "log")], (X, np.array(0.3)), order=1
    )


def test_frequency_responses() -> None:
    def f(b: Any, a: Any) -> Any:
        found = [*signal.freqz(b, a), *signal.freqz(b, worN=7, whole=True), *signal.freqz(b, a, [0.1, 0.7], fs=2.0)]
        return [*found, np.abs(signal.freqz(b + 0.3, a, 9, include_nyquist=True)[1])]

    check(f, B, A, tol=1e-9)
    check_grads(lambda b, a: np.abs(signal.freqz(b + 0.3, a, 9)[1]), (B, A), order=1, modes=("rev",))
    check(lambda s: signal.freqz_sos(s, 9)[1], SOS)


def test_joined_columns() -> None:
    def f(x: Any) -> Any:
        return np.concatenate([x.T[:2], x.T, x.T[:0]])

    check(f, ROWS)


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda x: signal.find_peaks(x), errors.UnsupportedError, "np.nonzero"),
        (lambda x: signal.filtfilt(B, A, x[:5]), errors.ArgumentError, "padlen, which is 12"),
        (lambda x: signal.filtfilt(B, A, x, method="gust"), errors.UnsupportedError, "Use 'pad'"),
        (lambda x: signal.upfirdn(B, x, mode="wrap"), errors.UnsupportedError, "zeros only"),
        (lambda x: signal.sosfilt(B, x), errors.ShapeError, "row of 6"),
        (lambda x: signal.savgol_filter(x[:3], 5, 2), errors.ShapeError, "not longer"),
        (lambda x: signal.stft(x), errors.UnsupportedError, "scipy.signal.stft"),
    ],
)
def test_errors(function: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        jg.jit(function)(X)
