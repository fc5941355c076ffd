"""Keys of ``sorted``, ``min`` and ``max`` that are tuples of numbers: the first number that differs decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad.frontend.indexing import length
from jitgrad.frontend.items import as_array
from jitgrad.frontend.registry import call
from jitgrad.frontend.tracer import Collection, Tracer, innermost_trace


def columns_of(keys: Any) -> list[Tracer] | None:
    """Such keys, as an array for each number in them; None for others, and for keys of several lengths."""
    if isinstance(keys, Collection):
        tree, found = keys.columns()
        flat = tree.type in (tuple, list) and tree.num_children == tree.num_leaves
        return found if flat and all(x.ndim == 1 for x in found) else None
    rows = [_numbers(key) for key in keys]
    if not rows or any(row is None or len(row) != len(rows[0] or ()) for row in rows) or not rows[0]:
        return None
    trace = innermost_trace(rows)
    stacks = [(as_array(trace, column), column) for column in map(list, zip(*rows, strict=True))]  # pyright: ignore
    return [trace.lift(column) if many is None else many for many, column in stacks]


def _numbers(key: Any) -> list[Any] | None:
    if type(key) not in (tuple, list):
        return None
    plain = all(isinstance(x, (Tracer, bool, int, float, np.generic)) and not np.ndim(x) for x in key)
    return list(key) if plain else None


def places(columns: Sequence[Tracer], *, reverse: bool) -> Tracer:
    """The places of the keys in their order; equal ones stay in theirs."""
    if reverse:
        turned = places([x[::-1] for x in columns], reverse=False)
        return (length(columns[0]) - 1) - turned[::-1]
    if len(columns) == 1:
        return call(np.argsort, (columns[0],), {"kind": "stable"})
    return call(np.lexsort, (tuple(reversed(columns)),), {})
