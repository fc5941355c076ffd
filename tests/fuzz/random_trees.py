"""Random trees of numbers, arrays, None, and the containers that arguments and results may be."""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Pair(NamedTuple):
    p: Any
    q: Any


@dataclasses.dataclass
class Record:
    u: Any
    w: Any = None


def random_tree(draw: random.Random, rng: np.random.Generator, depth: int = 2) -> Any:
    """A tree of at most that depth."""
    if depth == 0 or draw.random() < 0.3:
        pick = draw.random()
        if pick < 0.3:
            return float(rng.normal())
        if pick < 0.7:
            return rng.normal(size=draw.choice([(), (2,), (2, 3)]))
        return None if pick < 0.85 else rng.normal(size=3).astype(np.float32)

    def part() -> Any:
        return random_tree(draw, rng, depth - 1)

    kinds: list[Callable[[], Any]] = [
        lambda: [part(), part()],
        lambda: (part(),),
        lambda: {"b": part(), "a": part()},
        lambda: Pair(part(), part()),
        lambda: Record(part(), part()),
        dict,
        list,
        lambda: collections.OrderedDict(z=part(), a=part()),
    ]
    return draw.choice(kinds)()


def leaves(tree: Any) -> list[Any]:
    """The numbers and arrays of a tree, in its order."""
    if isinstance(tree, Record):
        return leaves(tree.u) + leaves(tree.w)
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [leaf for part in tree for leaf in leaves(part)]
    return [] if tree is None else [tree]


def mapped(f: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with ``f`` of its leaves."""
    if isinstance(tree, Record):
        return Record(mapped(f, tree.u), mapped(f, tree.w))
    if isinstance(tree, Pair):
        return Pair(mapped(f, tree.p), mapped(f, tree.q))
    if isinstance(tree, dict):
        return type(tree)((key, mapped(f, value)) for key, value in tree.items())
    if isinstance(tree, (list, tuple)):
        return type(tree)([mapped(f, part) for part in tree])
    return None if tree is None else f(tree)


def shape_of(tree: Any) -> Any:
    """The structure of a tree: equal for two that differ only in their leaves."""
    if isinstance(tree, Record):
        return Record, shape_of(tree.u), shape_of(tree.w)
    if isinstance(tree, dict):
        return type(tree), [(key, shape_of(value)) for key, value in tree.items()]
    if isinstance(tree, (list, tuple)):
        return type(tree), [shape_of(part) for part in tree]
    return tree is None
