"""Lists in the results of a compiled function whose length only the run tells: in the structure of the result each is a
node, with an array for each leaf of the items. What the caller gets is a list."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from jitgrad.frontend.signature import register_node
from jitgrad.frontend.tracer import Collection
from jitgrad.frontend.unpacking import builder


class Listed:
    """``columns`` are the arrays, ``tree`` is the structure of an item."""

    __slots__ = ("columns", "tree")

    def __init__(self, tree: optree.PyTreeSpec, columns: Sequence[Any]) -> None:
        self.tree, self.columns = tree, columns


class _Kind(NamedTuple):
    tree: optree.PyTreeSpec


def listed(items: Collection) -> Any:
    """What stands for a list in a result. Raises RollError for items that are no trees of numbers and arrays."""
    tree, columns = items.columns()
    return Listed(tree, columns) if columns else []


def _split(node: Listed) -> tuple[tuple[Any, ...], _Kind, tuple[str, ...]]:
    return tuple(node.columns), _Kind(node.tree), tuple(f"column{k}" for k in range(len(node.columns)))


def _joined(kind: _Kind, columns: Sequence[Any]) -> Any:
    """The list, of arrays; of anything else, the node."""
    if not all(type(c) is np.ndarray or hasattr(c, "__cuda_array_interface__") for c in columns):
        return Listed(kind.tree, columns)
    return list(columns[0] if kind.tree.is_leaf() else map(_builder(kind.tree), zip(*columns, strict=True)))


#: One function for each structure of items, made once: a result is put together at each call.
_builder = functools.lru_cache(maxsize=256)(builder)


register_node(Listed, _split, _joined)
