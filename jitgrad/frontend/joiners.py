"""``np.r_`` and ``np.c_`` of traced arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import UnsupportedError
from jitgrad.frontend.namespace import adopt_made
from jitgrad.frontend.primitives import lift, reshape, transpose
from jitgrad.frontend.registry import call
from jitgrad.frontend.tracer import Tracer, contains_tracer
from jitgrad.ir.location import user_location


class Joiner:
    """An object whose items are arrays joined along an axis. NumPy's own makes those without traced values.

    ``axis`` is the axis, ``ndmin`` the least number of axes of what is joined, and ``place`` where the axes of a part
    with fewer go among those.
    """

    def __init__(self, original: Any, axis: int, ndmin: int, place: int) -> None:
        self._original, self._defaults = original, (axis, ndmin, place)

    def __getitem__(self, key: Any) -> Any:
        if not contains_tracer(key):
            return adopt_made(self._original.__getitem__, (key,), {})
        parts = list(key) if isinstance(key, tuple) else [key]
        axis, ndmin, place = self._defaults
        if isinstance(parts[0], str):
            axis, ndmin, place = self._directive(parts.pop(0))
        joined = [_part(p, ndmin, place) for p in lift(*map(_expanded, parts))]
        return call(np.concatenate, (joined,), {"axis": axis})

    def _directive(self, text: str) -> tuple[int, int, int]:
        """Up to three integers, in NumPy's order."""
        try:
            numbers = [int(n) for n in text.split(",")]
        except ValueError:
            raise UnsupportedError(
                f"np.r_ with the directive {text!r} makes a matrix, which is not supported on traced values. Use "
                "np.concatenate.",
                user_location(),
            ) from None
        axis, ndmin, place = (*numbers, *self._defaults[len(numbers) :])
        return axis, ndmin, place

    def __len__(self) -> int:
        return 0


def _expanded(part: Any) -> Any:
    """A slice is the numbers of a range."""
    return np.r_[part] if isinstance(part, slice) else part


def _part(x: Tracer, ndmin: int, place: int) -> Tracer:
    """With axes of extent 1 where it has fewer than ``ndmin``; its own go to ``place`` (from the end, if negative)."""
    missing = ndmin - x.ndim
    if missing <= 0:
        return x
    if x.ndim == 0:
        return reshape(x, (1,) * ndmin)
    first = place if place >= 0 else place + missing + 1
    own = range(missing, ndmin)
    ones = range(missing)
    return transpose(reshape(x, (*[1] * missing, *x.dims)), (*ones[:first], *own, *ones[first:]))


r_ = Joiner(np.r_, 0, 1, -1)
c_ = Joiner(np.c_, -1, 2, 0)
