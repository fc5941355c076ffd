"""Lists of numbers that a loop carries as one array.

Each number of a list is a value of its own while the function is traced. A loop with a list of many among its
variables, or with a list of such lists, would carry them all. It carries an array instead, whose elements the body
finds in the list. What it leaves there becomes an array again, which costs nothing where it is one: loops over the
list's items inside the body have made one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from jitgrad.frontend.carries import UNBOUND, Slot, Variable, fit
from jitgrad.frontend.items import MANY, in_rows, nested, table
from jitgrad.frontend.primitives import cast, reshape
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, contains_tracer
from jitgrad.ir.types import TensorType


class Part(NamedTuple):
    """Traced leaves of a variable that are one value: from number ``first`` on those of a list, as an array of
    ``shape``; or the leaf itself, where that is None. Its slot, or that of each number."""

    first: int
    slot: Slot
    shape: tuple[int, ...] | None = None

    @property
    def type(self) -> TensorType:
        """Of the value."""
        assert self.slot.type is not None
        return self.slot.type if self.shape is None else TensorType(self.slot.type.dtype, self.shape)

    def of(self, leaves: Sequence[Any]) -> Sequence[Any]:
        """The leaves of this part, of all those of the variable."""
        return leaves[self.first : self.first + (1 if self.shape is None else math.prod(self.shape))]

    def numbers(self, array: Tracer) -> list[Tracer]:
        """The leaves of this part, of its value."""
        assert self.shape is not None
        found = table(nested(array, self.slot.weak, len(self.shape)))
        assert found is not None
        return found[0]

    def value(self, trace: Trace, leaves: Sequence[Any], name: str) -> Tracer:
        """The value of these leaves, in the scope that is recorded now."""
        if self.shape is None:
            return fit(trace, leaves[0], self.slot, name)
        if any(x is UNBOUND for x in leaves):
            leaves = [fit(trace, x, self.slot, name) for x in leaves]
        rows = in_rows(leaves, self.shape)
        dtype = self.type.dtype
        found = HOOKS["array"](rows) if contains_tracer(rows) else Tracer(trace, trace.array(np.asarray(rows, dtype)))
        return Tracer(trace, trace.own(reshape(cast(found, dtype), self.shape)))


def parts_of(v: Variable) -> list[Part]:
    """What is carried for a variable, in order."""
    return list(_parts(v.tree, v.slots, 0))


def _parts(tree: optree.PyTreeSpec, slots: Sequence[Slot], first: int) -> Iterator[Part]:
    if tree.is_leaf():
        if slots[first].type is not None:
            yield Part(first, slots[first])
        return
    count = tree.num_leaves
    if count >= MANY and _alike(slots[first : first + count]) and (shape := _shape(tree)) is not None:
        yield Part(first, slots[first], shape)
        return
    for child in optree.treespec_children(tree):
        yield from _parts(child, slots, first)
        first += child.num_leaves


def _alike(slots: Sequence[Slot]) -> bool:
    kind = slots[0]
    return kind.type is not None and not kind.type.shape and all(s[:2] == kind[:2] for s in slots)


def _shape(tree: optree.PyTreeSpec) -> tuple[int, ...] | None:
    """The extents of a list of numbers, or of lists of equal extents; None for anything else."""
    if tree.is_leaf():
        return ()
    if tree.type is not list:
        return None
    shapes = {_shape(child) for child in optree.treespec_children(tree)}
    inner = shapes.pop() if len(shapes) == 1 else None
    return None if inner is None else (tree.num_children, *inner)
