"""What lies beyond the ends of an axis, as the modes of ``scipy.ndimage`` say, and the dtypes of its results."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend.primitives import broadcast_to, cast, concatenate, emit, lift_one, take_slice
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.location import user_location

#: Mode of SciPy -> mode of ``np.pad`` that extends in the same way.
PADDING = {
    "reflect": "symmetric",
    "grid-mirror": "symmetric",
    "constant": "constant",
    "grid-constant": "constant",
    "nearest": "edge",
    "mirror": "reflect",
    "wrap": "wrap",
    "grid-wrap": "wrap",
}
#: An axis is extended by at most so many pieces; else by one gather.
_PIECES = 8


def one_mode(mode: Any) -> str:
    """Raises ArgumentError for what is no mode."""
    if not isinstance(mode, str) or mode not in PADDING:
        raise ArgumentError(
            f"mode {mode!r} of a function of scipy.ndimage. Use one of {', '.join(map(repr, PADDING))}; filters that "
            "are not separable take one for all axes.",
            user_location(),
        )
    return mode


def typed(x: Tracer, output: Any) -> Tracer:
    """The array as what ``output=`` asks for: a dtype, or None for its own. Raises UnsupportedError for an array."""
    if output is None:
        return x
    if isinstance(output, np.ndarray):
        raise UnsupportedError(
            "output= with an array is not supported on traced values. It may be a dtype. Assign the result into the "
            "array: out[...] = ...",
            user_location(),
        )
    return cast(x, np.dtype(output))


def extended(x: Tracer, axis: int, low: int, high: int, mode: str, cval: Any) -> Tracer:
    """The array with that many more elements before and after those of an axis."""
    n = x.dims[axis]
    if not low and not high:
        return x
    if mode in ("constant", "grid-constant"):
        return _with_constants(x, axis, low, high, cval)
    if not n:
        raise ShapeError(f"a filter along axis {axis} of an array of shape {x.dims}, which is empty.", user_location())
    places = np.pad(np.arange(n), (low, high), mode=PADDING[mode])  # pyright: ignore[reportArgumentType, reportCallIssue]
    runs = [*_runs(places[:low]), (0, 1, n), *_runs(places[low + n :])]
    if len(runs) > _PIECES:
        return x[(slice(None),) * axis + (places,)]
    return concatenate([_run(x, axis, *run) for run in runs], axis)


def _with_constants(x: Tracer, axis: int, low: int, high: int, cval: Any) -> Tracer:
    if not isinstance(cval, Tracer) and cval == 0:
        widths = [(low, high) if k == axis else (0, 0) for k in range(x.ndim)]
        return emit("pad", x, low=tuple(a for a, _ in widths), high=tuple(b for _, b in widths))
    value = cast(lift_one(cval, x), x.dtype)
    shape = list(x.dims)
    pieces = [x]
    for width in (low, high):
        shape[axis] = width
        piece = broadcast_to(value, shape)
        pieces = [piece, *pieces] if len(pieces) == 1 else [*pieces, piece]
    return concatenate([p for p in pieces if p.dims[axis]], axis)


def _runs(places: np.ndarray) -> list[tuple[int, int, int]]:
    """Index arrays as runs: first place, step (1, -1 or 0), and length."""
    found: list[tuple[int, int, int]] = []
    for place in places.tolist():
        if found:
            first, step, count = found[-1]
            if count == 1 and abs(place - first) <= 1:
                found[-1] = (first, place - first, 2)
                continue
            if count > 1 and place == first + step * count:
                found[-1] = (first, step, count + 1)
                continue
        found.append((place, 1, 1))
    return found


def _run(x: Tracer, axis: int, first: int, step: int, count: int) -> Tracer:
    if step == 0:
        shape = [count if k == axis else d for k, d in enumerate(x.dims)]
        return broadcast_to(take_slice(x, axis, first, first + 1), shape)
    return take_slice(x, axis, first, first + step * count, step)
