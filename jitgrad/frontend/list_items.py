"""What the items of a list are that becomes longer in recorded code (see ``growing``): the leaves of each, which are
numbers and arrays of one type in all items, and the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import optree

from jitgrad.errors import JitgradError, RollError
from jitgrad.frontend.carries import Slot, Variable, is_array, is_number, join
from jitgrad.frontend.primitives import strong
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.signature import flatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer, contains_tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType


class Leaf(NamedTuple):
    """One leaf of the items: its type, whether it is a number (not an array of no axes), one of Python's perhaps."""

    type: TensorType
    scalar: bool
    weak: str | None


class Item(NamedTuple):
    """What all items of a list are. ``depth`` is that of lists of numbers, which are one leaf; else 0."""

    tree: optree.PyTreeSpec
    leaves: tuple[Leaf, ...]
    depth: int = 0

    def joined(self, other: Item) -> Item:
        """What either is. Raises CarryError where they have nothing in common."""
        if self == other:
            return self
        if self.depth != other.depth:
            raise RollError("the items of a list are of different structure.", user_location())
        a, b = (
            Variable("an item of a list", x.tree, tuple(Slot(v.type, v.weak) for v in x.leaves)) for x in (self, other)
        )
        slots = join(a, b, "in another item").slots
        pairs = zip(slots, self.leaves, other.leaves, strict=True)
        return Item(
            self.tree, tuple(Leaf(s.type, x.scalar and y.scalar, s.weak) for s, x, y in pairs if s.type), self.depth
        )


#: The structure of a number or an array.
LEAF = flatten(0)[1]


def described(trace: Trace, value: Any) -> tuple[Item, list[Any]]:
    """What an item is, and its leaves. Raises RollError for what can't be stored in arrays."""
    if type(value) is list:
        return _row(trace, value)
    leaves, tree = flatten(value)
    found = []
    for leaf in leaves:
        if (
            isinstance(leaf, Collection)
            or not is_number(leaf)
            or (isinstance(leaf, np.ndarray) and not isinstance(leaf, Tracer))
        ):
            raise RollError("a list gets items that are no numbers or traced arrays.", user_location())
        dims = leaf.dims if isinstance(leaf, Tracer) else ()
        if not all(isinstance(n, int) for n in dims):
            raise RollError("a list gets arrays of shapes that are not known.", user_location())
        found.append(_leaf(leaf))
    return Item(tree, tuple(found)), leaves


def _leaf(leaf: Any) -> Leaf:
    if isinstance(leaf, Tracer):
        return Leaf(leaf.type, not is_array(leaf), leaf.weak)
    weak = type(leaf).__name__ if type(leaf) in (bool, int, float) else None
    try:
        return Leaf(TensorType(np.asarray(leaf, np.int64 if weak == "int" else None).dtype), True, weak)
    except OverflowError:
        raise RollError("a list has integers of more than 64 bits.", user_location()) from None


def _row(trace: Trace, value: list[Any]) -> tuple[Item, list[Any]]:
    """A list of numbers, or of such lists of one length, as an item."""
    shape: list[int] = []
    level: list[Any] = [value]
    while all(type(x) is list for x in level):
        if len({len(x) for x in level}) != 1 or not level[0]:
            raise RollError("a list has lists of different lengths.", user_location())
        shape.append(len(level[0]))
        level = [y for x in level for y in x]
    if not all(is_number(x) and not is_array(x) and not isinstance(x, np.ndarray) for x in level):
        raise RollError("a list has lists of other things than numbers.", user_location())
    kinds = {_leaf(x)[2] for x in level}
    weak = None if None in kinds else max(kinds, key=("bool", "int", "float").index)
    try:
        array = (
            strong(HOOKS["array"](value)) if contains_tracer(value) else Tracer(trace, trace.array(np.asarray(value)))
        )
    except JitgradError:
        raise RollError("a list has lists of numbers that are no array.", user_location()) from None
    if array.dims != tuple(shape):
        raise RollError("a list has lists of arrays.", user_location())
    return Item(LEAF, (Leaf(array.type, True, weak),), len(shape)), [array]


def inner(item: Item, leaf: Leaf) -> Item:
    """What the items of a row are."""
    return Item(LEAF, (Leaf(TensorType(leaf.type.dtype, leaf.type.shape[1:]), True, leaf.weak),), item.depth - 1)


def types_of(tree: optree.PyTreeSpec) -> Iterator[Any]:
    yield tree.type
    for child in optree.treespec_children(tree) if not tree.is_leaf() else ():
        yield from types_of(child)
