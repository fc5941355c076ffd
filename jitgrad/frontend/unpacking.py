"""Functions for one structure of arguments or results, written out for it: taking the leaves from arguments of that
structure, and making a result of its leaves.

optree's functions do the same for any structure. They take some 3 us for the arguments of a call with eight leaves,
where the functions made here take 0.6: ``{"w": a, "b": [c, d]}`` becomes ``w, b = args[0].values()`` and ``c, d = b``.
Structures with nodes other than tuples, lists, dicts and None, and very large ones, are left to optree.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import optree

from jitgrad.frontend.complex_pair import joined, split
from jitgrad.frontend.signature import NAMESPACE, is_complex_node, unflatten

Leaves = tuple[Any, ...]
_WRITTEN_OUT = (tuple, list, dict, type(None))
_LARGEST = 200  # nodes


def unpacker(
    tree: optree.PyTreeSpec, order: Sequence[int]
) -> Callable[[tuple[Any, ...], dict[str, Any]], Leaves | None]:
    """A function of ``args`` and ``kwargs``: their leaves in that order (positions among the leaves of the tree), or
    None where ``(args, kwargs)`` has another structure, as far as it is not known from the types of the arguments and
    the names of ``kwargs``.

    What stands at the place of a leaf is given back as it is: it may be anything.
    """
    straight = list(order) == [*range(tree.num_leaves)]
    if not _is_plain(tree):
        return _by_optree(tree, order)
    args, kwargs = optree.treespec_children(tree)
    if straight and not kwargs.num_children and all(c.is_leaf() for c in optree.treespec_children(args)):
        return lambda args, kwargs: args
    lines: list[str] = []
    leaves: list[str] = []
    constants: dict[str, Any] = {}
    names = (f"v{n}" for n in itertools.count())

    def visit(node: optree.PyTreeSpec, name: str) -> None:
        if node.is_leaf():
            leaves.append(name)
            return
        if node.type is type(None):
            lines.append(f"if {name} is not None: return None")
            return
        parts = [next(names) for _ in range(node.num_children)]
        if is_complex_node(node):
            lines.append(f"{parts[0]} = split({name})")
            lines.append(f"if {parts[0]} is None: return None")
            lines.append(f"{', '.join(parts)} = {parts[0]}")
            leaves.extend(parts)
            return
        kind = node.type.__name__ if node.type is not None else ""
        if node.type is dict:
            keys = f"k{len(constants)}"
            constants[keys] = tuple(optree.treespec_entries(node))
            lines.append(f"if type({name}) is not dict or (*{name},) != {keys}: return None")
        else:
            lines.append(f"if type({name}) is not {kind} or len({name}) != {len(parts)}: return None")
        if parts:
            lines.append(f"{', '.join(parts)}, = {name}{'.values()' if node.type is dict else ''}")
        for part, child in zip(parts, optree.treespec_children(node), strict=True):
            visit(child, part)

    visit(args, "args")
    visit(kwargs, "kwargs")
    result = ", ".join([*(leaves[k] for k in order), ""])
    return _made("def made(args, kwargs):", [*lines, f"return ({result})"], constants)


def builder(tree: optree.PyTreeSpec) -> Callable[[Sequence[Any]], Any]:
    """A function that makes a tree of its leaves."""
    if tree.is_leaf():
        return lambda leaves: leaves[0]
    if not _is_plain(tree):
        return lambda leaves: unflatten(tree, leaves)
    if tree.type is tuple and all(c.is_leaf() for c in optree.treespec_children(tree)):
        return tuple
    constants: dict[str, Any] = {}
    leaves = [f"v{k}" for k in range(tree.num_leaves)]

    def text(node: optree.PyTreeSpec, names: Iterator[str]) -> str:
        if node.is_leaf():
            return next(names)
        if node.type is type(None):
            return "None"
        parts = [text(child, names) for child in optree.treespec_children(node)]
        if is_complex_node(node):
            return f"joined({', '.join(parts)})"
        if node.type is dict:
            items = []
            for key, part in zip(optree.treespec_entries(node), parts, strict=True):
                constants[f"k{len(constants)}"] = key
                items.append(f"k{len(constants) - 1}: {part}")
            return f"{{{', '.join(items)}}}"
        return f"[{', '.join(parts)}]" if node.type is list else f"({', '.join([*parts, ''])})" if parts else "()"

    result = text(tree, iter(leaves))
    unpack = [f"{', '.join(leaves)}, = leaves"] if leaves else []
    return _made("def made(leaves):", [*unpack, f"return {result}"], constants)


def _is_plain(tree: optree.PyTreeSpec) -> bool:
    if tree.num_nodes > _LARGEST:
        return False
    return tree.is_leaf() or (
        (tree.type in _WRITTEN_OUT or is_complex_node(tree)) and all(_is_plain(child) for child in optree.treespec_children(tree))
    )


def _by_optree(
    tree: optree.PyTreeSpec, order: Sequence[int]
) -> Callable[[tuple[Any, ...], dict[str, Any]], Leaves | None]:
    def unpack(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Leaves | None:
        leaves, found = optree.tree_flatten((args, kwargs), namespace=NAMESPACE)  # pyright: ignore[reportArgumentType]
        return tuple(leaves[k] for k in order) if found == tree else None

    return unpack


def _made(head: str, lines: list[str], constants: dict[str, Any]) -> Any:
    """The function of that text. It holds names made here only: keys of dicts are constants."""
    namespace = {**constants, "split": split, "joined": joined}
    exec("\n    ".join([head, *lines]), namespace)
    return namespace["made"]
