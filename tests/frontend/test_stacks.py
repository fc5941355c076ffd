"""Stacks and queues: lists in ``while`` loops whose lengths are known only when the program runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import RollError
from tests.searches import graph_search

A = np.array([1.3, 0.7, 2.1])
#: A binary tree in arrays, and a graph whose edges lie in one array behind each other.
NODES = 300
LEFT, RIGHT = (np.where(2 * np.arange(NODES) + k < NODES, 2 * np.arange(NODES) + k, -1) for k in (1, 2))
WEIGHTS = np.random.default_rng(0).uniform(0.1, 1.0, NODES)
EDGES = [np.random.default_rng(k).choice(NODES, 4, replace=False) for k in range(NODES)]
EDGES[7] = np.arange(NODES)  # more than there is room for at first
START, NEIGHBOURS = np.cumsum([0, *map(len, EDGES)]), np.concatenate(EDGES)


def check(fun: Callable[..., Any], x: np.ndarray, *others: Any, how: str = "auto") -> None:
    """The value as Python's, the gradient as the slope, and as forward mode's."""
    value, gradient = jg.jit(jg.value_and_grad(fun), loops=how)(x, *others)
    np.testing.assert_allclose(value, fun(x, *others), rtol=1e-12)
    np.testing.assert_allclose(jg.jit(fun, loops=how)(x, *others), value, rtol=1e-13)
    direction, step = np.random.default_rng(1).normal(size=x.shape), 1e-6
    slope = (fun(x + step * direction, *others) - fun(x - step * direction, *others)) / (2 * step)
    found = np.sum(gradient * direction)
    np.testing.assert_allclose(found, slope, rtol=1e-6, atol=1e-7)
    _, forward = jg.jvp(lambda x: fun(x, *others), (x,), (direction,))
    np.testing.assert_allclose(forward, found, rtol=1e-9)


def adaptive_quadrature(a):
    def f(x):
        return np.exp(-a[0] * x * x) * np.cos(a[1] * x)

    stack = [(0.0, 4.0, f(0.0), f(4.0))]
    total = 0.0
    while stack:
        left, right, at_left, at_right = stack.pop()
        middle = 0.5 * (left + right)
        at_middle = f(middle)
        coarse = 0.5 * (right - left) * (at_left + at_right)
        fine = 0.25 * (right - left) * (at_left + 2 * at_middle + at_right)
        if abs(coarse - fine) < 1e-6 * (right - left):
            total = total + fine
        else:
            stack.append((left, middle, at_left, at_middle))
            stack.append((middle, right, at_middle, at_right))
    return total


def deep(a):
    """More items than there is room for at first."""
    stack, total = [(a[0], 0)], 0.0
    while len(stack) > 0:
        v, depth = stack.pop()
        total = total * 0.99 + np.sin(v)
        if v > 0.5 and depth < 150:
            stack.append((v * 0.1, depth))
            stack += [(v * 0.2, depth), (0.9 + 0.1 * v * a[1], depth + 1)]
    return total


def bisection(a):
    intervals, roots = [(0.1, 7.0)], []
    while intervals:
        left, right = intervals.pop()
        if np.sin(a[0] * left) * np.sin(a[0] * right) > 0 and right - left < 0.5:
            continue
        middle = left - np.sin(a[0] * left) * (right - left) / (np.sin(a[0] * right) - np.sin(a[0] * left))
        if right - left < 1e-3:
            roots.append(middle)
            continue
        middle = 0.5 * (left + right)
        intervals.append((middle, right))
        intervals.append((left, middle))
    return np.sum(np.array(roots) ** 2) + len(roots)


def items_that_are_arrays(a):
    stack, total = [(a, 0)], np.zeros(3)
    while len(stack):
        v, depth = stack.pop()
        total = total + np.sin(v) * (depth + 1)
        if np.sum(v**2) > 0.1:
            stack.append((v * 0.5, depth + 1))
            stack.append((v[::-1] * 0.4, depth + 1))
    return np.sum(total**2)


def top_and_bottom(a):
    s, t, n = [a[0]], 0.0, 0
    while s:
        n += 1
        if s[-1] < 0.2 or n > 100:
            t = t * 0.9 + s.pop()
            continue
        s[-1] = s[-1] * 0.5
        s.append(s[0] * 0.9 + 0.1 * s[len(s) // 2])
        if len(s) > 40:
            t = t + sum(s) + np.sum(np.array(s[-3:]) ** 2)
            s.clear()
    return t


def queue_with_a_break(a):
    queue, total, n = [a[0], a[1]], 0.0, 0
    while True:
        if not queue:
            break
        v = queue.pop(0)
        total = total + np.tanh(v) * (n + 1)
        n += 1
        if n > 90:
            return total * 2
        if v > 0.1:
            queue.append(v * 0.6)
            queue.append(v * 0.55 * a[2])
    return total


def put_in_front(a):
    queue, total = [a[0]], 0.0
    while queue:
        v = queue.pop()
        total = total * 0.9 + v
        if v > 0.02:
            queue.insert(0, v * 0.6)
            queue.insert(0, v * 0.5)
    return total


def both_ends(a):
    items, total = [a[0], a[1], a[2]], 0.0
    while len(items) > 1:
        first, last = items.pop(0), items.pop()
        total = total + np.sin(first) * last
        if first * last > 0.05:
            items.append(first * 0.5)
            items.insert(0, last * 0.7)
            items.append(0.3 * first * last)
    return total


def deleted_in_front(a):
    queue, total = [a[0], a[1]], 0.0
    while queue:
        total = total + queue[0] ** 2
        if queue[0] > 0.05:
            queue.append(queue[0] * 0.5)
        del queue[0]
    return total


def an_inner_list_each_time(a):
    total = 0.0
    for i in range(12):
        stack = [a[i % 3] * (1 + 0.1 * i)]
        while stack:
            v = stack.pop()
            total = total + v**2
            if v > 0.2:
                stack.append(v * 0.5)
                stack.append(v * 0.3)
    return total


def a_queue_in_a_while(a):
    total, x = 0.0, a[0] + 3.0
    while x > 0.5:
        queue = [x]
        while queue:
            v = queue.pop(0)
            total = total + np.cos(v)
            if v > 0.4:
                queue.append(v * 0.5)
        x = x * 0.8
    return total


class Integral:
    def __init__(self, a):
        self.todo, self.a, self.total = [(0.0, 1.0)], a, 0.0

    def step(self):
        left, right = self.todo.pop()
        middle = (left + right) / 2
        if (right - left) * self.a < 0.1:
            self.total += np.sin(self.a * middle) * (right - left)
        else:
            self.todo.append((left, middle))
            self.todo.append((middle, right))


def of_an_attribute(a):
    integral = Integral(a[0] + a[1])
    while integral.todo:
        integral.step()
    return integral.total


@pytest.mark.parametrize(
    "fun",
    [
        adaptive_quadrature, deep, bisection, items_that_are_arrays, top_and_bottom, queue_with_a_break, put_in_front,
        both_ends, deleted_in_front, an_inner_list_each_time, a_queue_in_a_while, of_an_attribute,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_of_lengths_known_when_the_program_runs(fun):
    check(fun, A)


def test_an_array_is_pushed_that_is_made_before():
    """It is copied: nobody writes it."""
    with pytest.raises(RollError, match="made before, or written again"):
        jg.jit(array_from_before)(A)


def array_from_before(a):
    b, stack = a * 2.0, [(a * 1.0, 1)]
    while stack:
        v, n = stack.pop()
        if np.sum(v) > n:
            b[0] = b[0] + 1.0
            stack.append((b, n + 3))
            b[1] = 2.0
    return np.sum(b)


# -- trees and graphs --------------------------------------------------------------------------------------------------


def depth_first(w, left, right):
    order, stack, depth = [], [0], [0]
    while stack:
        v, d = stack.pop(), depth.pop()
        order.append(w[v] * (d + 1) * (1 + 0.1 * len(order)))
        for child in (right[v], left[v]):
            if child >= 0 and w[child] > 0.2:
                stack.append(child)
                depth.append(d + 1)
    return np.mean(np.array(order) ** 2)


def breadth_first(w, left, right):
    queue, total, order = [(0, 1.0)], 0.0, []
    while len(queue) > 0:
        v, path = queue.pop(0)
        order.append(v)
        total = total + w[v] * path * np.log(1.0 + total)
        if left[v] >= 0:
            queue.append((left[v], path * w[v]))
        if right[v] >= 0:
            queue.append((right[v], path + w[v]))
        total = total + 1e-3 * order[len(order) // 2]
    return total


@pytest.mark.parametrize(
    ("fun", "others"),
    [(depth_first, (LEFT, RIGHT)), (breadth_first, (LEFT, RIGHT)), (graph_search, (START, NEIGHBOURS))],
)
def test_searches_in_trees_and_graphs(fun, others):
    check(fun, WEIGHTS, *others)


def test_a_graph_that_is_known():
    """The first nodes are visited while the function is traced, and the arrays that they write are known so far."""
    check(lambda w: graph_search(w, START, NEIGHBOURS), WEIGHTS)


def next_greater(x):
    """The stack belongs to the loop around the one that pops, and is empty in its first iteration."""
    stack, total = [], 0.0
    for i in range(len(x)):
        while stack and x[stack[-1]] < x[i]:
            j = stack.pop()
            total = total + x[j] * (i - j)
        stack.append(i)
    return total + len(stack)


@pytest.mark.parametrize("how", ["auto", "roll"])
def test_a_stack_of_the_loop_around(how):
    check(next_greater, np.random.default_rng(3).normal(size=50), how=how)
    notes = jg.jit(next_greater, loops=how).explain(np.arange(50.0))
    assert "rolled" in notes
    assert "unrolled" not in notes


# -- what is no stack --------------------------------------------------------------------------------------------------


def test_a_pop_of_an_empty_list_is_an_index_error():
    def empties(a):
        stack = [a[0]]
        while a[1] > 0.0:
            a = a - 0.5
            v = stack.pop()
            if v > 10.0:
                stack.append(v)
        return a[1]

    with pytest.raises(IndexError):
        empties(A)
    with pytest.raises(IndexError):
        jg.jit(empties)(A)


def test_an_item_in_the_middle_is_not_taken():
    def middle(a):
        items = [a[0], a[1], a[2]]
        while len(items) > 1:
            v = items.pop(1)
            if v > 1.0:
                items.append(v * 0.5)
        return items[0]

    with pytest.raises(RollError, match=r"needs the list itself"):
        jg.jit(middle)(A)


def conditional_appends(x):
    """The length gets known when the program runs, which shows after a first attempt."""
    seen, found = np.zeros(5), [x[0]]
    for i in range(20):
        if seen[i % 5] + x[0] < 3.5:
            seen[i % 5] += 1.0
            found.append(x[1] * i * seen[i % 5])
    return sum(found) + np.sum(seen)


def test_an_attempt_to_record_a_loop_leaves_nothing_in_arrays():
    check(conditional_appends, A)
