"""``bisect`` in sorted lists and arrays with traced elements, or for a traced value."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.errors import UnsupportedError
from jitgrad.frontend.functions_reduce import searchsorted, sum_
from jitgrad.frontend.namespace import Mirror
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.tracer import Collection, Tracer, has_traced
from jitgrad.ir.location import user_location


def _check_bounds(values: Any, lo: int, hi: int | None) -> None:
    """Raise what Python raises for bounds that are known."""
    if lo < 0:
        raise ValueError("lo must be non-negative")
    if hi is not None and isinstance(n := values.shape[0], int) and hi > n:
        raise IndexError("list index out of range")


def _search(side: str) -> Callable[..., Any]:
    known = getattr(bisect, f"bisect_{side}")

    def search(a: Any, x: Any, lo: Any = 0, hi: Any = None, *, key: Any = None) -> Any:
        if not isinstance(a, Collection) and not has_traced((a, x, lo, hi)):
            return known(a, x, lo, hi, key=key)
        if key is not None:
            raise UnsupportedError(
                f"bisect.bisect_{side} of traced values does not take key=. Search in the list of the keys.",
                user_location(),
            )
        traced = isinstance(a, Collection) or (not isinstance(a, Tracer) and has_traced(a))
        values = HOOKS["array"](a) if traced else a if isinstance(a, Tracer) else np.asarray(a)
        if not has_traced((lo, hi)):
            _check_bounds(values, lo, hi)
            found = searchsorted(values[lo : hi if hi is None else max(lo, hi)], x, side)
            found = (found * (x == x) if side == "left" else found) + lo
        else:  # only between the two need the elements be in order
            places = np.arange(len(values))
            inside = (places >= lo) & (places < (len(values) if hi is None else hi))
            found = sum_(inside & (values < x if side == "left" else ~(x < values))) + lo
        return Tracer(found.owner, found.value, "int")

    return search


def _insort(name: str) -> Callable[..., Any]:
    known = getattr(bisect, name)

    def insert(a: Any, x: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(a, Collection) or has_traced((a, x, args)):
            raise UnsupportedError(
                f"bisect.{name} is not supported on traced values. The place is not known while the function is "
                "traced. Append the item and sort the list, or use heapq.",
                user_location(),
            )
        known(a, x, *args, **kwargs)

    return insert


_LEFT, _RIGHT = _search("left"), _search("right")
_INSERT = {name: _insort(name) for name in ("insort_left", "insort_right")}
#: What the functions of ``bisect`` become in traced functions; ``bisect`` and ``insort`` are those to the right.
BISECT_FUNCTIONS: dict[Any, Any] = {
    bisect.bisect_left: _LEFT,
    bisect.bisect_right: _RIGHT,
    bisect.insort_left: _INSERT["insort_left"],
    bisect.insort_right: _INSERT["insort_right"],
}
_NAMES = ("bisect", "bisect_left", "bisect_right", "insort", "insort_left", "insort_right")
BISECT = Mirror(bisect, "bisect", {}, {name: BISECT_FUNCTIONS[getattr(bisect, name)] for name in _NAMES})
