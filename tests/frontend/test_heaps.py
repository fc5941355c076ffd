"""``heapq`` with traced items, in recorded and unrolled loops; objects returned out of loops."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import UnsupportedError
from tests.frontend.test_stacks import A, check

NODES = 60
TARGETS = [np.random.default_rng(k).choice(NODES, 4, replace=False) for k in range(NODES)]
START, NEIGHBOURS = np.cumsum([0, *map(len, TARGETS)]), np.concatenate(TARGETS)
LENGTHS = np.random.default_rng(5).uniform(0.1, 2.0, len(NEIGHBOURS))


def shortest_paths(length, start, neighbours):
    """Dijkstra's algorithm."""
    distance = np.full(len(start) - 1, np.inf)
    distance[0] = 0.0
    heap = [(0.0, 0)]
    while heap:
        d, v = heapq.heappop(heap)
        if d > distance[v]:
            continue
        for e in range(start[v], start[v + 1]):
            u, through = neighbours[e], d + length[e]
            if through < distance[u]:
                distance[u] = through
                heapq.heappush(heap, (through, u))
    return np.sum(np.sqrt(distance + 1.0))


def test_shortest_paths():
    check(shortest_paths, LENGTHS, START, NEIGHBOURS)


def test_shortest_paths_in_a_known_graph():
    check(lambda length: shortest_paths(length, START, NEIGHBOURS), LENGTHS)


def sorted_by_a_heap(x):
    heap, total = [], 0.0
    for i in range(len(x)):
        heappush(heap, (x[i], 2.0 * i))
    for _ in range(len(x)):
        v, i = heappop(heap)
        total = total * 0.7 + v * (i + 1.0)
    return total


def ties(x):
    """Equal first items: the second ones decide."""
    heap, total = [], 0.0
    for i in range(len(x)):
        heappush(heap, (np.floor(x[i]), x[i]))
    for _ in range(len(x) - 1):
        total = total * 0.7 + np.sin(heappop(heap)[1])
    return total + heap[0][1] * len(heap)


@pytest.mark.parametrize("fun", [sorted_by_a_heap, ties])
@pytest.mark.parametrize(
    ("n", "how"), [(1, "auto"), (2, "auto"), (7, "unroll"), (7, "auto"), (23, "roll"), (23, "auto")]
)
def test_heaps_of_known_lengths(fun, n, how):
    check(fun, np.random.default_rng(n).normal(size=n) * 2, how=how)


def best_first(a):
    """Numbers, and a length that depends on them."""
    heap, total = [a[0], a[1], a[2]], 0.0
    while heap:
        v = heapq.heappop(heap)
        total = total * 0.8 + np.sin(v)
        if v < 4.0:
            heapq.heappush(heap, v * 1.9)
            if v < 1.0:
                heapq.heappush(heap, v + 0.7)
    return total


def test_a_heap_of_numbers():
    check(best_first, A)


@pytest.mark.parametrize("name", ["heapify", "nsmallest", "heapreplace"])
def test_other_functions_say_so(name):
    arguments: dict[str, Any] = {
        "heapify": lambda h: (h,), "nsmallest": lambda h: (2, h), "heapreplace": lambda h: (h, 1.0)
    }  # fmt: skip

    def fun(x):
        return getattr(heapq, name)(*arguments[name]([x[0], x[1], x[2]]))

    with pytest.raises(UnsupportedError, match=f"heapq.{name} is not supported on traced values"):
        jg.jit(fun)(A)


def test_known_heaps_are_pythons():
    def fun(x):
        heap = [3, 1, 2]
        heapq.heapify(heap)
        heapq.heappush(heap, 0)
        return x * heapq.heappop(heap) + x * heapq.heappop(heap)

    assert jg.jit(fun)(2.0) == 2.0


# -- objects that are returned out of loops ----------------------------------------------------------------------------


class Plain:
    def __init__(self, x, i):
        self.x, self.i = x, i


@dataclass
class Data:
    x: Any
    i: Any


def search(a, make):
    x = a[0]
    for i in range(30):
        x = x * 0.8 + 0.01 * a[1]
        if x < 0.4:
            return make(x * a[2], i)
    return make(x * 2.0, -1)


def until(a, make):
    x = a[0]
    while x < 50.0:
        x = x * 1.3
        if x > 9.0 * a[1]:
            return make(x * a[2], 3)
    return make(x, 7)


@pytest.mark.parametrize("search", [search, until])
@pytest.mark.parametrize(
    ("make", "read"),
    [
        (Plain, lambda r: r.x * (r.i + 1)),
        (Data, lambda r: r.x * (r.i + 1)),
        (lambda x, i: {"x": x, "i": i}, lambda r: r["x"] * (r["i"] + 1)),
        (lambda x, i: (x, i), lambda r: r[0] * (r[1] + 1)),
        (lambda x, i: Plain({"x": x}, (i, x)), lambda r: r.x["x"] * r.i[0] + r.i[1]),
    ],
)
@pytest.mark.parametrize("a", [A, A * 5.0])
def test_objects_returned_out_of_loops(search, make, read, a):
    check(lambda a: read(search(a, make)), a)


def test_a_returned_object_is_a_result():
    found, expected = jg.jit(lambda a: search(a, Data))(A), search(A, Data)
    assert type(found) is Data
    assert found.i == expected.i
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-13)
