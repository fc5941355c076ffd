"""Lists of many numbers among the arguments, which the program takes as arrays.

Each number of a list is an argument of its own otherwise. The traced function gets a list all the same, of the array's
elements. So do lists in lists of equal lengths, and lists of tuples; the numbers of one, or of a place in the tuples,
have to be of one type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from jitgrad.frontend.items import elements, nested, table
from jitgrad.frontend.list_items import LEAF
from jitgrad.frontend.listed import lists
from jitgrad.frontend.signature import flatten, register_node
from jitgrad.frontend.tracer import Tracer

#: Numbers in a list that is packed, at least: a call takes up to so many faster one by one.
LEAST = 100
_CONTAINERS = (list, tuple, dict)
_PYTHON = {float: np.dtype(np.float64), int: np.dtype(np.int64), bool: np.dtype(np.bool_)}


class Given:
    """``columns`` are the arrays, ``kind`` says what the items of the list are."""

    __slots__ = ("columns", "kind")

    def __init__(self, kind: _Kind, columns: Sequence[Any]) -> None:
        self.kind, self.columns = kind, columns


class _Kind(NamedTuple):
    """The structure of an item, along how many axes there are lists, and of which of Python's types the numbers are,
    for each column; None for NumPy's."""

    tree: optree.PyTreeSpec
    depth: int
    weak: tuple[str | None, ...]


def packed(x: Any) -> Any:
    """A tree with lists packed; itself where there are none to pack."""
    if type(x) is list and (found := _given(x)) is not None:
        return found
    if type(x) is tuple and not any(type(y) in _CONTAINERS for y in x):
        return x
    if type(x) in (list, tuple):
        new = [packed(y) for y in x]
        return x if all(a is b for a, b in zip(x, new, strict=True)) else type(x)(new)
    if type(x) is dict:
        new = {key: packed(y) for key, y in x.items()}
        return x if all(x[key] is y for key, y in new.items()) else new
    return x


def _given(items: list[Any]) -> Given | None:
    if not items:
        return None
    if type(items[0]) is tuple:
        n = len(items[0])
        if n * len(items) < LEAST or not n or any(type(x) is not tuple or len(x) != n for x in items):
            return None
        columns = [_array(column) for column in zip(*items, strict=True)]
        if any(c is None for c in columns):
            return None
        return Given(_Kind(flatten((0,) * n)[1], 1, tuple(_weak(x) for x in items[0])), columns)
    if not (type(items[0]) in _PYTHON or isinstance(items[0], (list, np.generic))):
        return None
    found = table(items)
    if found is None or len(found[0]) < LEAST:
        return None
    leaves, shape = found
    array = _array(leaves)
    return None if array is None else Given(_Kind(LEAF, len(shape), (_weak(leaves[0]),)), [array.reshape(shape)])


def _array(leaves: Sequence[Any]) -> np.ndarray | None:
    """Numbers of one type as an array; None for anything else."""
    kinds = set(map(type, leaves))
    kind = kinds.pop()
    if kinds:
        return None
    dtype = _PYTHON.get(kind)
    if dtype is None and (not issubclass(kind, np.generic) or leaves[0].dtype.kind not in "biuf"):
        return None
    try:
        return np.array(leaves, dtype)
    except OverflowError:
        return None


def _weak(leaf: Any) -> str | None:
    return type(leaf).__name__ if type(leaf) in _PYTHON else None


def _split(node: Given) -> tuple[tuple[Any, ...], _Kind, tuple[str, ...]]:
    names = [f"numbers{k}" if len(node.columns) > 1 else "numbers" for k in range(len(node.columns))]
    return tuple(node.columns), node.kind, tuple(names)


def _joined(kind: _Kind, columns: Sequence[Any]) -> Any:
    """The list, of arrays; of anything else, the node."""
    if all(isinstance(c, Tracer) for c in columns):
        if kind.tree.is_leaf():
            return nested(columns[0], kind.weak[0], kind.depth)
        parts = [elements(c, scalar=True, weak=w) for c, w in zip(columns, kind.weak, strict=True)]
        return list(zip(*parts, strict=True))
    if all(type(c) is np.ndarray or hasattr(c, "__cuda_array_interface__") for c in columns):
        return lists(kind.tree, columns, kind.depth)
    return Given(kind, columns)


register_node(Given, _split, _joined)
