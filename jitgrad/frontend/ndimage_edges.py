"""What lies beyond the ends of an axis, as the modes of ``scipy.ndimage`` say, and the dtypes of its results."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, ShapeError, UnsupportedError
from jitgrad.frontend.functions_join import extended_along
from jitgrad.frontend.primitives import broadcast_to, cast, concatenate, emit, lift_one
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
    return extended_along(x, axis, places, low)


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
