"""Lists in the results of a compiled function that are arrays in the program: in the structure of the result each is a
node, with an array for each leaf of the items. What the caller gets is a list.

These are lists whose length only the run tells, and those of many items, which would be as many results.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from jitgrad.frontend.carries import is_array, is_number
from jitgrad.frontend.items import MANY, as_array, in_rows, table
from jitgrad.frontend.list_items import LEAF
from jitgrad.frontend.primitives import cast, reshape
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.signature import flatten, register_node
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer
from jitgrad.frontend.unpacking import builder


class Listed:
    """``columns`` are the arrays, ``tree`` is the structure of an item. The items of a table are lists themselves:
    ``depth`` counts the axes along which there are lists."""

    __slots__ = ("columns", "depth", "tree")

    def __init__(self, tree: optree.PyTreeSpec, columns: Sequence[Any], depth: int = 1) -> None:
        self.tree, self.columns, self.depth = tree, columns, depth


class _Kind(NamedTuple):
    tree: optree.PyTreeSpec
    depth: int


def listed(items: Collection) -> Any:
    """What stands for a list in a result. Raises RollError for items that are no trees of numbers and arrays."""
    tree, columns = items.columns()
    return Listed(tree, columns) if columns else []


def with_nodes(trace: Trace, result: Any) -> Any:
    """A result with nodes in the place of lists of many numbers, of tuples or dicts of them, of parts of an array."""
    if type(result) is list:
        found = _node(trace, result)
        return [with_nodes(trace, x) for x in result] if found is None else found
    if type(result) is tuple:
        return tuple(with_nodes(trace, x) for x in result)
    if type(result) is dict:
        return {key: with_nodes(trace, x) for key, x in result.items()}
    return result


def _node(trace: Trace, items: list[Any]) -> Listed | None:
    if not items:
        return None
    if type(items[0]) in (tuple, dict):
        found = [flatten(x) for x in items]
        tree = found[0][1]
        if len(items) * tree.num_leaves < MANY or any(t != tree for _, t in found):
            return None
        columns = [_column(trace, column) for column in zip(*(leaves for leaves, _ in found), strict=True)]
        return None if any(c is None for c in columns) else Listed(tree, columns)
    found = table(items)
    if found is None or len(found[0]) < MANY:
        return None
    leaves, shape = found
    column = _column(trace, leaves)
    return None if column is None else Listed(LEAF, [reshape(column, (*shape, *column.dims[1:]))], len(shape))


def _column(trace: Trace, leaves: Sequence[Any]) -> Tracer | None:
    """An array of numbers of one type, or of arrays that are parts of another one; None for anything else."""
    if is_array(leaves[0]):
        same = all(is_array(x) and x.dtype == leaves[0].dtype for x in leaves)
        return as_array(trace, leaves) if same else None
    kinds = {_kind(x) for x in leaves}
    dtype = kinds.pop() if len(kinds) == 1 else None
    if dtype is None:
        return None
    if any(isinstance(x, Tracer) for x in leaves):
        return cast(HOOKS["array"](list(leaves)), dtype)
    return Tracer(trace, trace.array(np.array(leaves, dtype)))


def _kind(leaf: Any) -> np.dtype | None:
    """The dtype of a number."""
    if is_array(leaf) or isinstance(leaf, np.ndarray) or not is_number(leaf):
        return None
    if isinstance(leaf, (Tracer, np.generic)):
        return leaf.dtype
    return np.dtype({bool: np.bool_, float: np.float64}.get(type(leaf), np.int64))


def _split(node: Listed) -> tuple[tuple[Any, ...], _Kind, tuple[str, ...]]:
    return tuple(node.columns), _Kind(node.tree, node.depth), tuple(f"column{k}" for k in range(len(node.columns)))


def _joined(kind: _Kind, columns: Sequence[Any]) -> Any:
    """The list, of arrays; of anything else, the node."""
    if not all(type(c) is np.ndarray or hasattr(c, "__cuda_array_interface__") for c in columns):
        return Listed(kind.tree, columns, kind.depth)
    return lists(kind.tree, columns, kind.depth)


def lists(tree: optree.PyTreeSpec, columns: Sequence[Any], depth: int) -> list[Any]:
    """A list of items of that structure, of an array for each leaf; or of numbers, along the first axes of one array,
    ``depth`` of them."""
    if not tree.is_leaf():
        return list(map(_builder(tree), zip(*columns, strict=True)))
    array = columns[0]
    if depth == 1:
        return list(array)
    if type(array) is np.ndarray and array.ndim == depth:
        return in_rows(list(array.reshape(-1)), array.shape)
    return [lists(tree, [row], depth - 1) for row in array]


#: One function for each structure of items, made once: a result is put together at each call.
_builder = functools.lru_cache(maxsize=256)(builder)


register_node(Listed, _split, _joined)
