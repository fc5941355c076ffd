"""``heapq`` with traced items: numbers, or tuples of numbers, which compare as in Python.

A list whose length is known has its items exchanged where they are: of two that may be in the wrong order each becomes
a choice. What stands for a list in a recorded loop is sifted by loops that are recorded in turn. Which of several equal
items is taken does not matter: all that they are is compared.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.errors import UnsupportedError
from jitgrad.frontend.attributes import note_change
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.namespace import Mirror
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.tracer import Collection, Tracer, has_traced
from jitgrad.ir.location import user_location


def less(a: Any, b: Any) -> Any:
    """``a < b``, of tuples as Python has it: the first items that differ decide."""
    if not isinstance(a, tuple) or not a:
        return a < b
    found = a[-1] < b[-1]
    for x, y in zip(reversed(a[:-1]), reversed(b[:-1]), strict=True):
        found = operator.or_(x < y, operator.and_(x == y, found))
    return found


def _sifted_push(heap: Any, item: Any) -> None:
    heap.append(item)
    k = len(heap) - 1
    while k > 0 and less(item, heap[(k - 1) // 2]):
        heap[k] = heap[(k - 1) // 2]
        k = (k - 1) // 2
    heap[k] = item


def _sifted_pop(heap: Any) -> Any:
    top = heap[0]
    last = heap.pop()
    n = len(heap)
    k = 0
    done = n < 2
    while not done:
        c = 2 * k + 1
        if c + 1 < n and less(heap[c + 1], heap[c]):
            c = c + 1
        if less(heap[c], last):
            heap[k] = heap[c]
            k = c
            done = 2 * k + 1 >= n
        else:
            done = True
    if n > 0:
        heap[k] = last
    return top


def _known_push(heap: list[Any], item: Any) -> None:
    heap.append(item)
    k = len(heap) - 1
    while k > 0:
        parent = (k - 1) // 2
        _order(heap, parent, k, less(heap[k], heap[parent]))
        k = parent


def _known_pop(heap: list[Any]) -> Any:
    last = heap.pop()
    if not heap:
        return last
    top, heap[0] = heap[0], last
    for k in range(len(heap) // 2):  # each may be on the way that the last item takes down
        left, right = 2 * k + 1, 2 * k + 2
        if right < len(heap):
            to_right = less(heap[right], heap[left])
            _order(heap, k, left, operator.and_(np.logical_not(to_right), less(heap[left], heap[k])))
            _order(heap, k, right, operator.and_(to_right, less(heap[right], heap[k])))
        else:
            _order(heap, k, left, less(heap[left], heap[k]))
    return top


def _order(heap: list[Any], i: int, j: int, swap: Any) -> None:
    a, b = heap[i], heap[j]
    heap[i], heap[j] = _chosen(swap, b, a), _chosen(swap, a, b)


def _chosen(test: Any, a: Any, b: Any) -> Any:
    if isinstance(a, tuple):
        return tuple(_chosen(test, x, y) for x, y in zip(a, b, strict=True))
    if not isinstance(test, Tracer):
        return a if test else b
    found: Any = np.where(test, a, b)
    found.boxed = is_array(a) or is_array(b)
    return found


def _recorded(function: Callable[..., Any], heap: Any, *args: Any) -> Any:
    return HOOKS["current_recorder"]().rewritten(function)(heap, *args)


def _heappush(heap: Any, item: Any) -> None:
    if isinstance(heap, Collection):
        _recorded(_sifted_push, heap, item)
        return
    note_change(heap)
    if has_traced((heap, item)):
        _known_push(heap, item)
    else:
        heapq.heappush(heap, item)


def _heappop(heap: Any) -> Any:
    if isinstance(heap, Collection):
        return _recorded(_sifted_pop, heap)
    note_change(heap)
    return _known_pop(heap) if has_traced(heap) else heapq.heappop(heap)


def _without(name: str) -> Callable[..., Any]:
    function = getattr(heapq, name)

    def run(*args: Any, **kwargs: Any) -> Any:
        if has_traced((args, kwargs)):
            raise UnsupportedError(
                f"heapq.{name} is not supported on traced values. Their order is not known while the function is "
                "traced. Use heapq.heappush and heapq.heappop, or sorted().",
                user_location(),
            )
        return function(*args, **kwargs)

    return run


#: What the functions of ``heapq`` become in traced functions.
HEAPQ_FUNCTIONS: dict[Any, Any] = {
    heapq.heappush: _heappush,
    heapq.heappop: _heappop,
    **{getattr(heapq, n): _without(n) for n in ("heapify", "heappushpop", "heapreplace", "nlargest", "nsmallest")},
}
HEAPQ = Mirror(heapq, "heapq", {}, {f.__name__: ours for f, ours in HEAPQ_FUNCTIONS.items()})
