"""Functions of ``scipy.signal`` that are Fourier transforms: values against SciPy's, derivatives, errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import signal

import jitgrad as jg
from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.testing import check_grads

RNG = np.random.default_rng(0)


def same(function: Callable[..., Any], *args: Any) -> None:
    found, wanted = jg.jit(function)(*args), function(*args)
    if not isinstance(wanted, tuple):
        found, wanted = (found,), (wanted,)
    for f, w in zip(found, wanted, strict=True):
        assert np.shape(f) == np.shape(w)
        np.testing.assert_allclose(f, w, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize(("a", "b"), [((300,), (120,)), ((120,), (301,)), ((30, 41), (12, 15)), ((11, 12), (11, 12))])
def test_long_convolutions_go_by_transforms(a: tuple[int, ...], b: tuple[int, ...], mode: str) -> None:
    x, y = RNG.normal(size=a), RNG.normal(size=b)

    def all_three(x: Any, y: Any) -> Any:
        return (
            signal.fftconvolve(x, y, mode),
            signal.convolve(x, y, mode, "fft"),
            signal.correlate(x, y, mode, "fft"),
        )

    same(all_three, x, y)
    assert " rfft(" in jg.jit(lambda x, y: signal.fftconvolve(x, y, mode)).ir(x, y, stage="optimised")
    check_grads(lambda x, y: np.sum(signal.fftconvolve(x, y, mode) ** 2) / x.size, (x, y), order=1)


def test_short_convolutions_are_direct() -> None:
    assert " rfft(" not in jg.jit(lambda x, y: signal.fftconvolve(x, y)).ir(np.ones(300), np.ones(9), stage="optimised")


def test_complex_convolutions() -> None:
    x, y = RNG.normal(size=(2, 150)) + 1j * RNG.normal(size=(2, 150))
    same(lambda x, y: signal.fftconvolve(x, y), x, y)
    same(lambda x, y: signal.convolve(x, y[:3], "same"), x, y)
    same(lambda x, y: signal.correlate(x, y[:4], "valid"), x, y)
    same(lambda x, y: signal.convolve(x, y), x, y.real.copy())


def test_hilbert() -> None:
    for n in (1, 2, 7, 8):
        same(lambda x: signal.hilbert(x), RNG.normal(size=n))
    x = RNG.normal(size=(5, 6))
    for n, axis in itertools.product((None, 4, 9), (0, 1)):
        same(lambda x, n=n, axis=axis: signal.hilbert(x, n, axis), x)
    check_grads(lambda x: np.sum(np.abs(signal.hilbert(x)) ** 3), (x,), order=2)


def test_power_spectra() -> None:
    x = RNG.normal(size=(3, 300))
    for scaling, detrend in itertools.product(("density", "spectrum"), ("constant", False)):
        options = {"scaling": scaling, "detrend": detrend, "fs": 10.0}
        for f in (signal.periodogram, signal.welch, signal.spectrogram):
            same(lambda x, f=f, options=options: f(x, **options), x)
    for f in (signal.welch, signal.spectrogram):
        same(lambda x, f=f: f(x, 2.0, "hamming", 30, 10, 45), x)
        same(lambda x, f=f: f(x, 2.0, np.hanning(20)), x)
        same(lambda x, f=f: f(x, nperseg=64, axis=0), x.T.copy())
        same(lambda x, f=f: f(x, nperseg=33), x[0])
    for nfft in (128, 301, 512):
        same(lambda x, nfft=nfft: signal.periodogram(x, 4.0, "hann", nfft), x)
    check_grads(lambda x: np.sum(np.log(signal.welch(x, nperseg=16)[1])), (x[0, :64].copy(),), order=1)
    check_grads(lambda x: np.sum(signal.spectrogram(x, nperseg=16)[2] ** 2), (x[0, :64].copy(),), order=1)
    check_grads(lambda x: np.sum(signal.periodogram(x)[1] ** 2), (x[0, :30].copy(),), order=1)


def test_errors() -> None:
    x = np.ones(16)
    cases: list[tuple[Callable[..., Any], type[Exception], str]] = [
        (lambda x: signal.hilbert(x * 1j), UnsupportedError, "hilbert is not supported on traced complex"),
        (lambda x: signal.welch(x, return_onesided=False), ArgumentError, "one-sided"),
        (lambda x: signal.welch(x, scaling="other"), ArgumentError, "scaling='other'"),
        (lambda x: signal.welch(x, average="median"), ArgumentError, "average='median'"),
        (lambda x: signal.welch(x, detrend="linear"), ArgumentError, "detrend='linear'"),
        (lambda x: signal.welch(x, nperseg=8, noverlap=8), ArgumentError, "noverlap"),
        (lambda x: signal.welch(x, nperseg=8, nfft=4), ArgumentError, "nfft"),
        (lambda x: signal.welch(x, window=np.ones(20)), ShapeError, "window of shape"),
        (lambda x: signal.spectrogram(x, mode="phase"), ArgumentError, "mode='phase'"),
    ]
    for function, error, text in cases:
        with pytest.raises(error, match=text):
            jg.jit(function)(x)
