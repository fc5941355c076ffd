"""``collections.deque``: in recorded loops, outside of them, and in arguments and results."""

from __future__ import annotations

import collections
from collections import deque

import numpy as np
import pytest

import jitgrad as jg
from tests.frontend.test_stacks import LEFT, RIGHT, WEIGHTS, A, check

X = np.random.default_rng(3).normal(size=20)


def outside_of_loops(x):
    d = deque([x[0], x[1]], maxlen=3)
    d.append(x[2])
    d.append(x[0] * x[1])
    d.appendleft(x[1] * 2)
    d.rotate(1)
    return sum(d) * len(d) + d[0] * d[-1] + d.pop() * d.popleft() + (1.0 if d else 0.0)


def moving_average(x):
    window, total = deque(maxlen=4), 0.0
    for i in range(len(x)):
        window.append(x[i])
        total = total + (sum(window) / len(window)) ** 2
    return total


def full_from_the_start(x):
    window, total = deque([0.0] * 4, maxlen=4), 0.0
    for i in range(len(x)):
        window.append(x[i])
        total = total + (sum(window) / len(window)) ** 2 + window[0] * window[-2]
    return total + window.popleft() * len(window)


def full_from_the_start_and_taken(x):
    window, total = deque([0.5, 1.0], maxlen=2), 0.0
    for i in range(len(x)):
        window.appendleft(x[i])
        if x[i] > 0 and len(window) > 1:
            total = total + window.popleft() * window[0]
    return total + len(window)


def some_of_the_last(x):
    window = deque(maxlen=5)
    for i in range(len(x)):
        if x[i] > 0:
            window.append(x[i] * 2)
    return np.sum(np.array(window) ** 2) + len(window)


def turned(x):
    d, total = deque([x[0], x[1], x[2]]), 0.0
    for i in range(30):
        d.rotate(1)
        d.rotate(-2)
        total = total * 0.9 + d[0] * i
    return total + d[-1]


def extended_in_front(x):
    d, total = deque([x[0]]), 0.0
    for i in range(1, 20):
        d.extendleft([x[i], x[i] * d[0]])
        total = total + d[len(d) // 2] * d.pop()
    return total + len(d)


class Smoother:
    def __init__(self):
        self.window = deque(maxlen=3)

    def push(self, v):
        self.window.append(v)
        return sum(self.window) / len(self.window)


def of_an_attribute(x):
    smoother, total = Smoother(), 0.0
    for i in range(len(x)):
        total = total + smoother.push(x[i]) ** 2
    return total


class Log:
    def __init__(self):
        self.values = []

    def push(self, v):
        self.values.append(v)
        return sum(self.values) / len(self.values)


def list_of_a_method_without_branches(x):
    log, total = Log(), 0.0
    for i in range(len(x)):
        total = total + log.push(x[i]) ** 2
    return total


def queue_of_pairs(a):
    queue, total = deque([(a[0], 1), (a[2], 0)]), 0.0
    while queue:
        v, n = queue.popleft()
        total += v * n
        if v > 0.1:
            queue.extend([(v * 0.5, n + 1), (v * 0.4 * a[1], n + 2)])
    return total


def both_ends(a):
    queue, total = collections.deque(), 0.0
    queue.append(a[0])
    while queue:
        v = queue.pop()
        total = total * 0.9 + v
        if v > 0.02:
            queue.appendleft(v * 0.6)
            queue.appendleft(v * 0.5)
    return total


def breadth_first(w, left, right):
    queue, total = collections.deque([0]), 0.0
    while len(queue) > 0:
        v = queue.popleft()
        total = total + w[v] ** 2 * np.log(1.0 + total)
        if left[v] >= 0:
            queue.append(left[v])
        if right[v] >= 0:
            queue.append(right[v])
    return total


@pytest.mark.parametrize(
    "fun",
    [
        outside_of_loops, moving_average, full_from_the_start, full_from_the_start_and_taken, some_of_the_last, turned,
        extended_in_front, of_an_attribute, list_of_a_method_without_branches,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
@pytest.mark.parametrize("how", ["auto", "roll"])
def test_in_loops_of_known_lengths(fun, how):
    check(fun, X, how=how)


@pytest.mark.parametrize("fun", [queue_of_pairs, both_ends], ids=lambda f: f.__name__)
def test_in_while_loops(fun):
    check(fun, A)


def test_a_search_in_a_tree():
    check(breadth_first, WEIGHTS, LEFT, RIGHT)


def test_windows_are_recorded():
    notes = jg.jit(full_from_the_start).explain(X)
    assert "rolled" in notes
    assert "unrolled" not in notes


def test_arguments_and_results():
    def last_two(x, d):
        d = deque(d, maxlen=2)
        d.append(x * 2.0)
        return d

    given = deque([1.0, 3.0], maxlen=4)
    result = jg.jit(last_two)(5.0, given)
    assert isinstance(result, deque)
    assert result == deque([3.0, 10.0], maxlen=2)
    assert result.maxlen == 2
    assert given == deque([1.0, 3.0])
    gradient = jg.grad(lambda d: sum(d) * d[0])(given)
    assert gradient == deque([5.0, 1.0])
