"""What the items of a list are that becomes longer in recorded code (see ``growing``): the leaves of each, which are
numbers and arrays of one type in all items, and the rows of a table. Objects of plain classes are opened: their
attributes are leaves."""

from __future__ import annotations

import collections
import enum
import types
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from jitgrad.errors import JitgradError, RollError
from jitgrad.frontend.carries import Slot, Variable, is_array, is_number, join
from jitgrad.frontend.fixed import objects_in
from jitgrad.frontend.namespace import UfuncWrapper
from jitgrad.frontend.objects import Opened, closed, flatten_opened
from jitgrad.frontend.opening import opens, why_closed
from jitgrad.frontend.primitives import strong
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer, contains_tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import TensorType


class Leaf(NamedTuple):
    """One leaf of the items: its type, whether it is a number (not an array of no axes), one of Python's perhaps."""

    type: TensorType
    scalar: bool
    weak: str | None


class Same(NamedTuple):
    """A leaf of objects that is the same in all items. ``text`` tells numbers apart, of which 0.0 equals -0.0."""

    value: Any
    kind: type
    text: str | None

    @classmethod
    def of(cls, value: Any) -> Same:
        return cls(value, type(value), repr(value) if is_number(value) else None)


class Item(NamedTuple):
    """What all items of a list are. ``depth`` is that of lists of numbers, which are one leaf; else 0. Objects are
    opened in the tree; ``same`` are their leaves that lie in no array, with their positions: numbers that are known
    while the function is traced, and no numbers."""

    tree: optree.PyTreeSpec
    leaves: tuple[Leaf, ...]
    depth: int = 0
    same: tuple[tuple[int, Same], ...] = ()

    @property
    def holds_containers(self) -> bool:
        """Are there lists or dicts in it, which can be changed in many ways?"""
        return any(isinstance(n, type) and issubclass(n, _CONTAINERS) for n in _types_of(self.tree))

    @property
    def of_objects(self) -> bool:
        """Is it an object of a plain class, or are there such in it?"""
        return any(n is Opened for n in _types_of(self.tree))

    def made(self, leaves: Sequence[Any]) -> Any:
        """The item with these leaves."""
        return closed(unflatten(self.tree, [x.value if type(x) is Same else x for x in self._all(leaves)]))

    def leaves_of(self, value: Any) -> list[Any]:
        """The leaves that lie in arrays, of a value that is such an item, and no row of a table."""
        same = dict(self.same)
        return [leaf for k, leaf in enumerate(flatten_opened(value)[0]) if k not in same]

    def joined(self, other: Item) -> Item:
        """What either is. Raises CarryError where they have nothing in common, RollError for objects that differ."""
        if self == other:
            return self
        objects = bool(self.same or other.same or self.of_objects or other.of_objects)
        if self.depth != other.depth or (objects and self.tree != other.tree):
            raise RollError("the items of a list are of different structure.", user_location())
        mine, its, trees = [*self.leaves], [*other.leaves], [self.tree, other.tree]
        same: list[tuple[int, Same]] = []
        if objects:
            pairs = [*zip(self._all(self.leaves), other._all(other.leaves), strict=True)]
            same = [(k, a) for k, (a, b) in enumerate(pairs) if type(a) is Same and type(b) is Same and a == b]
            left = [pair for k, pair in enumerate(pairs) if k not in dict(same)]
            mine, its = [_as_leaf(a) for a, _ in left], [_as_leaf(b) for _, b in left]
            trees = [flatten([0.0] * len(left))[1]] * 2
        a, b = (
            Variable("an item of a list", tree, tuple(Slot(v.type, v.weak) for v in leaves))
            for tree, leaves in zip(trees, (mine, its), strict=True)
        )
        both = join(a, b, "in another item")
        if both.tree != a.tree:
            raise RollError(
                "a list has items that are None, and others. Begin with numbers (0.0, np.nan, -1) in their place.",
                user_location(),
            )
        slots = zip(both.slots, mine, its, strict=True)
        leaves = tuple(Leaf(s.type, x.scalar and y.scalar, s.weak) for s, x, y in slots if s.type)
        return Item(self.tree, leaves, self.depth, tuple(same))

    def _all(self, leaves: Sequence[Any]) -> list[Any]:
        """These leaves, and those that are the same in all items, in their places."""
        given, same = iter(leaves), dict(self.same)
        return [same[k] if k in same else next(given) for k in range(self.tree.num_leaves)]


#: The structure of a number or an array.
LEAF = flatten(0)[1]
#: Nodes of a tree that can be changed.
_CONTAINERS = (list, dict, collections.deque)
#: Objects that are the same ones where they are equal, besides those that compare by identity.
_CONSTANTS = (str, bytes, np.dtype, enum.Enum, types.BuiltinFunctionType, UfuncWrapper)


def described(trace: Trace, value: Any) -> tuple[Item, list[Any]]:
    """What an item is, and its leaves. Raises RollError for what can't be stored in arrays."""
    if type(value) is list:
        return _row(trace, value)
    objects = bool(objects_in(value))
    if objects and not opens():
        raise RollError(f"a list gets objects, and {why_closed()}.", user_location())
    leaves, tree = flatten_opened(value)
    found: list[Leaf] = []
    same: list[tuple[int, Same]] = []
    own: list[Any] = []
    for k, leaf in enumerate(leaves):
        number = is_number(leaf) and not (isinstance(leaf, np.ndarray) and not isinstance(leaf, Tracer))
        constant = type(leaf).__eq__ is object.__eq__ or isinstance(leaf, _CONSTANTS)
        if isinstance(leaf, Collection) or not (number or (objects and constant)):
            raise RollError("a list gets items that are no numbers or traced arrays.", user_location())
        if objects and not isinstance(leaf, Tracer):
            same.append((k, Same.of(leaf)))
            continue
        dims = leaf.dims if isinstance(leaf, Tracer) else ()
        if not all(isinstance(n, int) for n in dims):
            raise RollError("a list gets arrays of shapes that are not known.", user_location())
        found.append(_leaf(leaf))
        own.append(leaf)
    return Item(tree, tuple(found), 0, tuple(same)), own


def _as_leaf(leaf: Any) -> Leaf:
    """One that is not the same in all items. Raises RollError for what is no number."""
    if type(leaf) is not Same:
        return leaf
    if not is_number(leaf.value):
        raise RollError("the items of a list are of different structure.", user_location())
    return _leaf(leaf.value)


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


def _types_of(tree: optree.PyTreeSpec) -> Iterator[Any]:
    yield tree.type
    for child in optree.treespec_children(tree) if not tree.is_leaf() else ():
        yield from _types_of(child)
