"""How long lists get in a ``while`` by its condition, as in ``while len(xs) < n``: it needs no run to count then.

The condition may also ask for a number that the loop counts up whenever it appends an item.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jitgrad.ir.core import Op, Value
from jitgrad.ir.index import add, expr, mul
from jitgrad.ir.symbols import COMPARISONS, index_of, named_values, positives, symbol_of
from jitgrad.ir.types import TensorType, i64


class Limit(NamedTuple):
    """The count of list number ``of`` is less than ``below`` whenever the body runs. ``ends``: the loop ends for no
    other reason."""

    of: int
    below: int
    ends: bool


def limit_by_condition(loop: Op, counts: Mapping[int, Value]) -> Limit | None:
    """The limit that the condition of a ``while`` sets to the count of a list. ``counts`` are those of lists, as
    parameters of the condition, by their numbers."""
    test, _ = loop.regions
    decision = test.results[0]
    places = {k: test.params.index(v) for k, v in counts.items() if v in test.params}
    for positive in positives(decision):
        for v in named_values((positive,)):
            below = add(positive, expr(symbol_of(v)))
            if not isinstance(below, int) or v not in test.params:
                continue
            ends = decision.op is not None and decision.op.name in COMPARISONS
            for k, place in places.items():
                more = _more(loop, place, test.params.index(v))
                if more is not None:
                    return Limit(k, below + more, ends)
    return None


def _more(loop: Op, place: int, other: int) -> int | None:
    """By how much the count at a place is always greater than another number that the loop carries, if it is."""
    if place == other:
        return 0
    if loop.operands[other].type != TensorType(i64):
        return None
    body = loop.regions[1]
    more = add(index_of(loop.operands[place]), mul(index_of(loop.operands[other]), -1))
    same = {body.params[place]: body.params[other]}
    moved = _difference(body.results[place], body.results[other], same)
    return more if moved == 0 and isinstance(more, int) else None


def _difference(count: Value, other: Value, same: Mapping[Value, Value]) -> int | None:
    """By how much a count is greater than another number, where some values are the same. None if that may vary."""
    (a, of_a), (b, of_b) = _parts(count), _parts(other)
    inner = None
    if of_a is None or of_b is None:
        inner = 0 if of_a is of_b else None
    elif same.get(of_a, of_a) is of_b:
        inner = 0
    elif (unclipped := _unclipped(of_a)) is not None:
        inner = _difference(unclipped, of_b, same)
    elif of_a.op is of_b.op and of_a.op is not None and of_a.op.name == "cond":
        k, j = (of_a.op.results.index(v) for v in (of_a, of_b))
        found = {_difference(r.results[k], r.results[j], same) for r in of_a.op.regions}
        (inner,) = found if len(found) == 1 else (None,)
    return None if inner is None else inner + a - b


def _parts(number: Value) -> tuple[int, Value | None]:
    """A number as a constant and what is added to it, if anything."""
    d = index_of(number)
    if isinstance(d, int):
        return d, None
    for v in named_values((d,)):
        constant = add(d, mul(expr(symbol_of(v)), -1))
        if isinstance(constant, int):
            return constant, v
    return 0, number


def _unclipped(count: Value) -> Value | None:
    """The count that is kept within the room for its list (``growing.clipped``), if it is one."""
    if count.op is None or count.op.name != "minimum":
        return None
    inner = count.op.operands[0].op
    if inner is None or inner.name != "maximum" or index_of(inner.operands[1]) != 0:
        return None
    return inner.operands[0]
