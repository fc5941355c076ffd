"""Filters and changes of the sampling rate, of ``scipy.signal``, on traced values. Loaded with ``functions_signal``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.signal

import jitgrad.numpy as jnp
from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend import functions_ndimage
from jitgrad.frontend.complex_calls import LINEAR
from jitgrad.frontend.control_flow import current_trace
from jitgrad.frontend.primitives import axis_index, cast, floating, floats, lift_one, static_int, windows
from jitgrad.frontend.recording import record_for
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import Tracer, contains_tracer
from jitgrad.ir.location import user_location

# -- recursive filters -------------------------------------------------------------------------------------------------


def _coefficients(b: Any, a: Any, x: Any, *others: Any) -> tuple[Tracer, Tracer, Tracer]:
    """The factors of a filter, those of the first output 1, and the signal. Raises ShapeError."""
    ahead, back, signal, *_ = floats(jnp.atleast_1d(b), jnp.atleast_1d(a), x, *others)
    if ahead.ndim != 1 or back.ndim != 1 or not ahead.dims[0] or not back.dims[0] or not signal.ndim:
        raise ShapeError(
            f"scipy.signal.lfilter of b and a of shapes {ahead.dims} and {back.dims}, x of shape {signal.dims}. b and "
            "a are vectors that are not empty, and x has at least one axis. Check the shapes.",
            user_location(),
        )
    return ahead / back[0], back / back[0], signal


def _filtered(ahead: Any, back: Any, rows: Any, state: Any = None) -> Any:
    """The filtered first axis: a sum of shifted arrays, and a recorded loop where the filter is recursive. The initial
    state adds to the first outputs."""
    n, order = rows.shape[0], back.shape[0] - 1
    padded = jnp.pad(rows, [(ahead.shape[0] - 1, 0), *[(0, 0)] * (rows.ndim - 1)])
    driven: Any = 0.0
    for k in range(ahead.shape[0]):
        start = ahead.shape[0] - 1 - k
        driven = driven + ahead[k] * padded[start : start + n]
    if state is not None and state.shape[0]:
        given = jnp.broadcast_to(state, (state.shape[0], *rows.shape[1:]))[:n]
        driven = driven + jnp.pad(given, [(0, n - given.shape[0]), *[(0, 0)] * (rows.ndim - 1)])
    if order == 0:
        return driven

    def step(i: Any, y: Any) -> tuple[Any]:
        value = driven[i]
        for k in range(1, order + 1):
            value = value - back[k] * y[i + (order - k)]
        y[i + order] = value
        return (y,)

    y = jnp.zeros_like(driven, shape=(n + order, *driven.shape[1:]))
    (y,) = record_for(current_trace() or driven.owner, 0, n, 1, step, (y,), ("the filtered array",))
    return y[order:]


def _final(ahead: Any, back: Any, x: Any, y: Any, state: Any) -> Any:
    """The state after the last element."""
    n, count = x.shape[0], max(ahead.shape[0], back.shape[0]) - 1
    found = []
    for k in range(count):
        total = state[k + n] + y[0] * 0.0 if k + n < count else y[0] * 0.0
        for j in range(k + 1, count + 1):
            place = n + k - j
            if place >= 0 and j < ahead.shape[0]:
                total = total + ahead[j] * x[place]
            if place >= 0 and j < back.shape[0]:
                total = total - back[j] * y[place]
        found.append(total)
    return jnp.stack(found) if found else y[:0]


@implements(scipy.signal.lfilter)
def lfilter(b: Any, a: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    """``a[0] y[n] = sum(b[k] x[n - k]) - sum(a[k] y[n - k], k > 0)``, and with ``zi`` the final state too."""
    ahead, back, signal = _coefficients(b, a, x, *(() if zi is None else (zi,)))
    axis = axis_index(axis, signal.ndim)
    rows = jnp.moveaxis(signal, axis, 0)
    if zi is None:
        return jnp.moveaxis(_filtered(ahead, back, rows), 0, axis)
    state = cast(lift_one(zi, signal), signal.dtype)
    count = max(ahead.dims[0], back.dims[0]) - 1
    if state.ndim != signal.ndim or state.dims[axis] != count:
        raise ShapeError(
            f"scipy.signal.lfilter with zi of shape {state.dims}. It has as many axes as x, and {count} elements along "
            "the axis.",
            user_location(),
        )
    state = jnp.moveaxis(state, axis, 0)
    y = _filtered(ahead, back, rows, state)
    final = _final(ahead, back, rows, y, state)
    return jnp.moveaxis(y, 0, axis), jnp.moveaxis(final, 0, axis)


@implements(scipy.signal.lfilter_zi)
def lfilter_zi(b: Any, a: Any) -> Tracer:
    """The state of a filter whose input has always been 1."""
    ahead, back, _ = _coefficients(b, a, np.zeros(1))
    n = max(ahead.dims[0], back.dims[0])
    ahead, back = (jnp.pad(t, (0, n - t.shape[0])) for t in (ahead, back))
    rest = ahead[1:] - back[1:] * ahead[0]
    first = jnp.sum(rest) / jnp.sum(back)
    return jnp.cumsum(back)[:-1] * first - jnp.concatenate([rest[:1] * 0.0, jnp.cumsum(rest)[:-1]])


def _sections(name: str, sos: Any) -> Any:
    if np.ndim(sos) != 2 or np.shape(sos)[1] != 6:
        raise ShapeError(
            f"scipy.signal.{name} with sos of shape {np.shape(sos)}. It has a row of 6 factors for each section.",
            user_location(),
        )
    return sos if contains_tracer(sos) else np.asarray(sos)


@implements(scipy.signal.sosfilt)
def sosfilt(sos: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    sos = _sections("sosfilt", sos)
    y, finals = lift_one(x, sos, zi), []
    for k in range(np.shape(sos)[0]):
        found = lfilter(sos[k, :3], sos[k, 3:], y, axis, None if zi is None else zi[k])
        y = found if zi is None else found[0]
        if zi is not None:
            finals.append(found[1])
    return y if zi is None else (y, jnp.stack(finals))


@implements(scipy.signal.sosfilt_zi)
def sosfilt_zi(sos: Any) -> Tracer:
    sos, scale, found = _sections("sosfilt_zi", sos), 1.0, []
    for k in range(np.shape(sos)[0]):
        found.append(scale * lfilter_zi(sos[k, :3], sos[k, 3:]))
        scale = scale * jnp.sum(sos[k, :3]) / jnp.sum(sos[k, 3:])
    return jnp.stack(found)


def _lengthened(name: str, rows: Any, padtype: Any, padlen: Any, taps: int) -> tuple[Any, int]:
    """The signal with more elements on both sides of its first axis, and how many. Raises ArgumentError."""
    if padtype not in ("even", "odd", "constant", None):
        raise ArgumentError(
            f"scipy.signal.{name} with padtype={padtype!r}. It is 'even', 'odd', 'constant' or None.", user_location()
        )
    edge = 0 if padtype is None else 3 * taps if padlen is None else static_int(padlen, "padlen")
    n = rows.shape[0]
    if not 0 <= edge < n:
        raise ArgumentError(
            f"scipy.signal.{name} of {n} elements: there must be more than padlen, which is {edge}. Give a smaller "
            "padlen.",
            user_location(),
        )
    if not edge:
        return rows, 0
    low, high = rows[edge:0:-1], rows[n - 2 : n - 2 - edge : -1] if edge < n - 1 else rows[n - 2 :: -1]
    if padtype == "odd":
        low, high = 2.0 * rows[:1] - low, 2.0 * rows[-1:] - high
    elif padtype == "constant":
        low, high = (jnp.broadcast_to(end, low.shape) for end in (rows[:1], rows[-1:]))
    return jnp.concatenate([low, rows, high]), edge


@implements(scipy.signal.filtfilt)
def filtfilt(
    b: Any, a: Any, x: Any, axis: int = -1, padtype: Any = "odd", padlen: Any = None, method: str = "pad",
    irlen: Any = None,
) -> Tracer:  # fmt: skip
    if method != "pad":
        raise UnsupportedError(
            f"scipy.signal.filtfilt with method={method!r} is not supported on traced values. Use 'pad'.",
            user_location(),
        )
    ahead, back, signal = _coefficients(b, a, x)
    axis = axis_index(axis, signal.ndim)
    rows = jnp.moveaxis(signal, axis, 0)
    rows, edge = _lengthened("filtfilt", rows, padtype, padlen, max(ahead.dims[0], back.dims[0]))
    state = lfilter_zi(ahead, back)
    state = jnp.reshape(state, (-1, *[1] * (rows.ndim - 1)))
    for _ in range(2):
        rows = _filtered(ahead, back, rows, state * rows[:1])[::-1]
    return jnp.moveaxis(rows[edge : rows.shape[0] - edge], 0, axis)


@implements(scipy.signal.sosfiltfilt)
def sosfiltfilt(sos: Any, x: Any, axis: int = -1, padtype: Any = "odd", padlen: Any = None) -> Tracer:
    """Traced sections count as full ones: by default the signal is made longer accordingly."""
    sos = _sections("sosfiltfilt", sos)
    signal = floating(lift_one(x, sos))
    axis = axis_index(axis, signal.ndim)
    count = np.shape(sos)[0]
    missing = 0 if isinstance(sos, Tracer) else min(np.sum(sos[:, 2] == 0), np.sum(sos[:, 5] == 0))
    rows = jnp.moveaxis(signal, axis, 0)
    rows, edge = _lengthened("sosfiltfilt", rows, padtype, padlen, 2 * count + 1 - int(missing))
    state = sosfilt_zi(sos) if isinstance(sos, Tracer) else scipy.signal.sosfilt_zi(sos)
    state = jnp.reshape(state, (count, 2, *[1] * (rows.ndim - 1)))
    for _ in range(2):
        starts = [jnp.broadcast_to(state[k] * rows[:1], (2, *rows.shape[1:])) for k in range(count)]
        for k in range(count):
            ahead, back, rows = _coefficients(sos[k, :3], sos[k, 3:], rows)
            rows = _filtered(ahead, back, rows, starts[k])
        rows = rows[::-1]
    return jnp.moveaxis(rows[edge : rows.shape[0] - edge], 0, axis)


@implements(scipy.signal.savgol_filter)
def savgol_filter(
    x: Any, window_length: Any, polyorder: Any, deriv: Any = 0, delta: Any = 1.0, axis: Any = -1,
    mode: str = "interp", cval: Any = 0.0,
) -> Tracer:  # fmt: skip
    """At the ends, in mode "interp", the polynomial of the first or last window is a known matrix times that window."""
    signal = floating(lift_one(x))
    axis, size = axis_index(axis, signal.ndim), static_int(window_length, "window_length")
    weights = scipy.signal.savgol_coeffs(size, polyorder, deriv=deriv, delta=delta)
    if mode != "interp":
        return functions_ndimage.convolve1d(signal, weights, axis, None, mode, cval)
    if size > signal.dims[axis]:
        raise ShapeError(
            f"scipy.signal.savgol_filter of {signal.dims[axis]} elements with a window of {size}. In mode 'interp' it "
            "is not longer. Give a shorter one.",
            user_location(),
        )
    rows = jnp.moveaxis(functions_ndimage.convolve1d(signal, weights, axis, None, "constant"), axis, 0)
    ends = np.asarray(scipy.signal.savgol_filter(np.eye(size), size, polyorder, deriv, delta, axis=0), signal.dtype)
    source, half, n = jnp.moveaxis(signal, axis, 0), size // 2, signal.dims[axis]
    first = jnp.tensordot(ends[:half], source[:size], axes=1)
    last = jnp.tensordot(ends[size - half :], source[n - size :], axes=1)
    return jnp.moveaxis(jnp.concatenate([first, rows[half : n - half], last]), 0, axis)


@implements(scipy.signal.detrend)
def detrend(data: Any, axis: int = -1, type: str = "linear", bp: Any = 0, overwrite_data: bool = False) -> Tracer:
    if type not in ("linear", "l", "constant", "c"):
        raise ArgumentError(f"scipy.signal.detrend with type={type!r}. It is 'linear' or 'constant'.", user_location())
    x = floating(lift_one(data))
    axis = axis_index(axis, x.ndim)
    if type in ("constant", "c"):
        return x - jnp.mean(x, axis=axis, keepdims=True)
    rows = jnp.moveaxis(x, axis, 0)
    n = rows.shape[0]
    breaks = np.unique([0, *np.atleast_1d(bp).tolist(), n])
    if breaks[-1] > n:
        raise ArgumentError("the breakpoints of scipy.signal.detrend lie within the data.", user_location())
    pieces = []
    for start, end in zip(breaks[:-1].tolist(), breaks[1:].tolist(), strict=True):
        m = end - start
        lines = np.column_stack([np.arange(1.0, m + 1) / m, np.ones(m)])
        piece = rows[start:end]
        fit = jnp.tensordot(np.linalg.pinv(lines).astype(x.dtype), piece, axes=1)
        pieces.append(piece - jnp.tensordot(lines.astype(x.dtype), fit, axes=1))
    return jnp.moveaxis(jnp.concatenate(pieces), 0, axis)


# -- sampling rates ----------------------------------------------------------------------------------------------------


@implements(scipy.signal.upfirdn)
def upfirdn(
    h: Any, x: Any, up: Any = 1, down: Any = 1, axis: int = -1, mode: Any = "constant", cval: Any = 0
) -> Tracer:
    """Each phase of the output is a product of windows of x with every ``up``-th weight."""
    if mode not in ("constant", None) or cval != 0:
        raise UnsupportedError(
            "scipy.signal.upfirdn on traced values takes what is outside as zeros only. Pad the array with np.pad.",
            user_location(),
        )
    weights, signal = floats(h, x)
    up, down = static_int(up, "up"), static_int(down, "down")
    if weights.ndim != 1 or not weights.dims[0] or not signal.ndim or up < 1 or down < 1:
        raise ShapeError(
            f"scipy.signal.upfirdn of weights of shape {weights.dims}, up={up} and down={down}. The weights are a "
            "vector that is not empty, and up and down are at least 1.",
            user_location(),
        )
    axis = axis_index(axis, signal.ndim)
    rows = jnp.moveaxis(signal, axis, -1)
    n, size = rows.shape[-1], weights.dims[0]
    total = ((n - 1) * up + size - 1) // down + 1
    phases, step = up // math.gcd(up, down), down // math.gcd(up, down)
    count, length = -(-total // phases), -(-size // up)
    weights = jnp.pad(weights, (0, length * up - size))
    high = max(0, (count - 1) * step + (phases - 1) * down // up + 1 - n)
    padded = jnp.pad(rows, [*[(0, 0)] * (rows.ndim - 1), (length - 1, high)])
    found = []
    for s in range(phases):
        start, phase = divmod(s * down, up)
        views = windows(padded, (count, length), (step, -1), start + length - 1, padded.ndim - 1)
        found.append(views @ weights[phase::up])
    out = jnp.reshape(jnp.stack(found, axis=-1), (*rows.shape[:-1], count * phases))[..., :total]
    return jnp.moveaxis(out, -1, axis)


_BACKGROUND = {"mean": jnp.mean, "median": jnp.median, "minimum": jnp.min, "maximum": jnp.max}


def _low_pass(taps: int, rate: int, window: Any, dtype: np.dtype) -> np.ndarray:
    """The weights that leave what a rate lower by that factor can hold."""
    return np.asarray(scipy.signal.firwin(taps, 1.0 / rate, window=window), dtype)


@implements(scipy.signal.resample_poly)
def resample_poly(
    x: Any, up: Any, down: Any, axis: int = 0, window: Any = ("kaiser", 5.0), padtype: Any = "constant",
    cval: Any = None,
) -> Tracer:  # fmt: skip
    signal = floating(lift_one(x, window))
    axis, up, down = axis_index(axis, signal.ndim), static_int(up, "up"), static_int(down, "down")
    if padtype not in ("constant", *_BACKGROUND) or cval not in (None, 0):
        raise UnsupportedError(
            f"scipy.signal.resample_poly with padtype={padtype!r} and cval={cval!r} is not supported on traced values. "
            f"Use 'constant' (zeros), {', '.join(map(repr, _BACKGROUND))}.",
            user_location(),
        )
    up, down = up // math.gcd(up, down), down // math.gcd(up, down)
    if up == down == 1:
        return signal * 1.0
    n = signal.dims[axis]
    wanted = -(-n * up // down)
    if isinstance(window, (str, tuple)):
        rate = max(up, down)
        weights: Any = _low_pass(20 * rate + 1, rate, window, signal.dtype)
    else:
        weights = jnp.asarray(window)
    half = (np.shape(weights)[0] - 1) // 2
    before = down - half % down
    removed = (half + before) // down
    # The output is as long as it must be: ((n - 1) up + taps - 1) // down + 1 elements.
    after = max(0, (wanted + removed - 1) * down + 1 - (n - 1) * up - before - np.shape(weights)[0])
    weights = jnp.pad(weights * up, (before, after))
    back = _BACKGROUND[padtype](signal, axis=axis, keepdims=True) if padtype in _BACKGROUND else None
    out = upfirdn(weights, signal if back is None else signal - back, up, down, axis)
    out = out[(slice(None),) * axis + (slice(removed, removed + wanted),)]
    return out if back is None else out + back


@implements(scipy.signal.decimate)
def decimate(x: Any, q: Any, n: Any = None, ftype: Any = "iir", axis: int = -1, zero_phase: Any = True) -> Tracer:
    signal, q = floating(lift_one(x)), static_int(q, "q")
    axis = axis_index(axis, signal.ndim)
    at = (slice(None),) * axis
    if ftype == "fir":
        b = _low_pass((20 * q if n is None else n) + 1, q, "hamming", signal.dtype)
        if zero_phase:
            return resample_poly(signal, 1, q, axis=axis, window=b)
        return upfirdn(b, signal, 1, q, axis)[(*at, slice(0, -(-signal.dims[axis] // q)))]
    if ftype != "iir":
        raise UnsupportedError(
            f"scipy.signal.decimate with ftype={ftype!r} is not supported on traced values. Use 'iir' or 'fir'.",
            user_location(),
        )
    sos = np.asarray(scipy.signal.cheby1(8 if n is None else n, 0.05, 0.8 / q, output="sos"), signal.dtype)
    out = (sosfiltfilt if zero_phase else sosfilt)(sos, signal, axis)
    return out[(*at, slice(None, None, q))]


for _f, _names in {
    scipy.signal.lfilter: ("x", "zi"), scipy.signal.sosfilt: ("x", "zi"), scipy.signal.filtfilt: ("x",),
    scipy.signal.sosfiltfilt: ("x",), scipy.signal.detrend: ("data",), scipy.signal.savgol_filter: ("x", "cval"),
    scipy.signal.upfirdn: ("x",), scipy.signal.resample_poly: ("x",), scipy.signal.decimate: ("x",),
}.items():  # fmt: skip
    LINEAR[_f] = _names
