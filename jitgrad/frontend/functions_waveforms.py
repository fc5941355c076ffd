"""Waveforms and frequency responses of ``scipy.signal`` on traced values. Loaded with ``functions_signal``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.signal

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.frontend.primitives import cast, lift_one, static_int
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import f64


def _phase(t: Any, share: Any) -> tuple[Any, Any, Any]:
    """The phase in [0, 2 pi), the share of the period, and where that is a share at all."""
    x = cast(lift_one(t, share), f64)
    w = cast(lift_one(share, x), f64)
    return jnp.remainder(x, 2 * math.pi), w, (w >= 0) & (w <= 1)


@implements(scipy.signal.sawtooth)
def sawtooth(t: Any, width: Any = 1) -> Tracer:
    phase, w, good = _phase(t, width)
    rising = phase < w * 2 * math.pi
    up = phase / (math.pi * jnp.where(rising, w, 1.0)) - 1.0
    down = (math.pi * (w + 1.0) - phase) / (math.pi * jnp.where(rising, 1.0, 1.0 - w))
    return jnp.where(good, jnp.where(rising, up, down), np.nan)


@implements(scipy.signal.square)
def square(t: Any, duty: Any = 0.5) -> Tracer:
    phase, w, good = _phase(t, duty)
    return jnp.where(good, jnp.where(phase < w * 2 * math.pi, 1.0, -1.0), np.nan)


@implements(scipy.signal.chirp)
def chirp(
    t: Any, f0: Any, t1: Any, f1: Any, method: str = "linear", phi: Any = 0, vertex_zero: Any = True, *,
    complex: Any = False,
) -> Tracer:  # fmt: skip
    if complex:
        raise ArgumentError("scipy.signal.chirp with complex=True is not supported on traced values.", user_location())
    t = lift_one(t, f0, t1, f1, phi)
    if method in ("linear", "lin", "li"):
        turns = f0 * t + 0.5 * ((f1 - f0) / t1) * t * t
    elif method in ("quadratic", "quad", "q"):
        by = (f1 - f0) / t1**2
        turns = f0 * t + by * t**3 / 3 if vertex_zero else f1 * t + by * ((t1 - t) ** 3 - t1**3) / 3
    elif method in ("logarithmic", "log", "lo", "hyperbolic", "hyp") and f0 is f1:
        turns = f0 * t
    elif method in ("logarithmic", "log", "lo"):
        ratio = f1 / f0
        turns = f0 * t1 / jnp.log(ratio) * (ratio ** (t / t1) - 1.0)
    elif method in ("hyperbolic", "hyp"):
        pole = -f1 * t1 / (f0 - f1)
        turns = -pole * f0 * jnp.log(jnp.abs(1 - t / pole))
    else:
        raise ArgumentError(
            f"scipy.signal.chirp with method={method!r}. It is 'linear', 'quadratic', 'logarithmic' or 'hyperbolic'.",
            user_location(),
        )
    return jnp.cos(2 * math.pi * turns + phi * (math.pi / 180))


def _response(w: Any, factors: Any) -> Any:
    """``sum(c[k] exp(-i w k))``."""
    c = jnp.atleast_1d(factors)
    if np.ndim(c) != 1:
        raise ShapeError(
            f"scipy.signal.freqz of factors of shape {np.shape(c)}. On traced values they are vectors.", user_location()
        )
    angles = jnp.asarray(w)[:, None] * np.arange(float(np.shape(c)[0]))
    return jnp.exp(-1j * angles) @ c


@implements(scipy.signal.freqz)
def freqz(
    b: Any, a: Any = 1, worN: Any = 512, whole: Any = False, plot: Any = None, fs: Any = 2 * math.pi,
    include_nyquist: Any = False,
) -> tuple[Any, Any]:  # fmt: skip
    w = _frequencies(worN, whole, fs, include_nyquist)
    return w * (fs / (2 * math.pi)), _response(w, b) / _response(w, a)


def _frequencies(count: Any, whole: Any, fs: Any, include_nyquist: Any) -> Any:
    """In radians a sample."""
    count = 512 if count is None else count
    if np.ndim(count):
        return 2 * math.pi * jnp.asarray(count) / fs
    end = 2 * math.pi if whole else math.pi
    return np.linspace(0, end, static_int(count, "worN"), endpoint=bool(include_nyquist and not whole))


@implements(scipy.signal.freqz_sos, scipy.signal.sosfreqz)
def freqz_sos(sos: Any, worN: Any = 512, whole: Any = False, fs: Any = 2 * math.pi) -> tuple[Any, Any]:
    w = _frequencies(worN, whole, fs, False)
    h: Any = 1.0
    for k in range(np.shape(sos)[0]):
        h = h * (_response(w, sos[k, :3]) / _response(w, sos[k, 3:]))
    return w * (fs / (2 * math.pi)), h
