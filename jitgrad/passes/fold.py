"""Constant folding: evaluate ops whose operands are all constants, and find constants that are one number throughout.

An op is folded when its result has at most ``LIMIT`` elements and at most ``GROWTH`` times as many as its operands
together: a broadcast number stays a number, which costs neither memory nor memory traffic. Ops without operands
(``iota``) and with regions stay. So does one that fails to evaluate (a singular matrix, an index out of bounds): the
program then fails when it runs, as NumPy would.

A constant array whose elements are equal bit by bit becomes a broadcast number, which simplification sees through.
The values are those of the ops' ``eval``, so folding is as exact as NumPy.
"""

from __future__ import annotations

import functools

import numpy as np

from jitgrad.ir.core import OPS, Graph, Value
from jitgrad.ir.interpret import evaluate_op
from jitgrad.ir.symbols import named_values
from jitgrad.passes.rewrite import Node, Rewriter, Rules, array_of

LIMIT = 4096
GROWTH = 2


def fold(graph: Graph) -> Graph:
    """The graph with its constant parts evaluated."""
    return Rewriter(graph, _rules(tuple(OPS))).run(graph)


@functools.lru_cache(maxsize=1)
def _rules(names: tuple[str, ...]) -> Rules:
    """The rewrite table for ops of these names."""
    table = {name: [_evaluate] for name in names if name not in ("iota", "stop_gradient")}
    return {**table, "constant": [_splat]}


def _splat(r: Rewriter, node: Node) -> Value | None:
    array: np.ndarray = node.attrs["value"]
    if array.size < 2:
        return None
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, -1)
    if not (data == data[0]).all():
        return None
    return r.emit("broadcast_to", r.constant(array.reshape(-1)[0]), shape=array.shape)


def _evaluate(r: Rewriter, node: Node) -> Value | None:
    size = node.type.size
    if not node.operands or not isinstance(size, int) or size > LIMIT:
        return None
    if any(named_values(a) for a in node.attrs.values()):
        return None  # it depends on values that are not operands
    arrays: list[np.ndarray] = []
    for v in node.operands:
        array = array_of(v)
        if array is None:
            return None
        arrays.append(array)
    if OPS[node.name].effects:
        return node.operands[0] if node.name == "check" and arrays[0] else None  # one that holds
    total = sum(a.size for a in arrays)
    if size > GROWTH * total or (node.name == "broadcast_to" and size > total):
        return None
    try:
        with np.errstate(all="ignore"):
            value = evaluate_op(OPS[node.name], arrays, node.attrs)
    except (ArithmeticError, IndexError, ValueError):  # LinAlgError is a ValueError
        return None
    return r.constant(value, node.type.dtype)
