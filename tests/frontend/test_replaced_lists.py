# ruff: noqa: PERF401 - loops that append are what is tested
"""Lists that a loop replaces by others which it has filled, and lists whose growth nothing limits before the loop runs:
values, gradients, and that the work is linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import JitgradError


def graph_of(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A random graph in CSR form: where the edges of each node begin, and where they lead. Some nodes have none."""
    rng = np.random.default_rng(seed)
    degrees = rng.integers(0, 5, n) * (rng.random(n) < 0.8)
    degrees[0] = 3
    start = np.concatenate([[0], np.cumsum(degrees)])
    return start, rng.integers(0, n, start[-1])


def chosen_edges(w, start, to):
    out = []
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            if w[to[e]] > 0.6:
                out.append(w[to[e]] * np.sin(w[v]))
    return sum(out)


def two_lists_of_edges(w, start, to):
    near, far = [], []
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            if w[to[e]] > w[v]:
                near.append((w[to[e]], v))
            else:
                far.append(w[v] ** 2)
    total = np.sum(np.array(far))
    for x, v in near:
        total += x * x * np.cos(w[v])
    return total


def paths_of_two_edges(w, start, to):
    out = []
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            for f in range(start[to[e]], start[to[e] + 1]):
                if to[f] != v:
                    out.append(w[to[f]] * w[to[e]] * w[v])
    return np.sum(np.array(out) ** 2)


def twelve_of_each_edge(w, start, to):
    out = []
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            for k in range(12):
                out.append(w[to[e]] * k * w[k % len(w)])
    return sum(out)


def until_enough(w, start, to):
    out = []
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            out.append(w[to[e]] * w[v])
        if len(out) > 60:
            break
    return sum(out) * len(out)


def read_while_it_grows(w, start, to):
    out = [w[0]]
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            if out[len(out) // 2] < w[to[e]]:
                out.append(np.sin(w[to[e]] + out[-1]))
    return np.sum(np.array(out))


def lists_of_their_own(w, start, to):
    total = 0.0
    for v in range(len(w)):
        near = []
        for e in range(start[v], start[v + 1]):
            for f in range(start[to[e]], start[to[e] + 1]):
                if to[f] != v:
                    near.append(w[to[f]] * w[v])
        s = 0.0
        for x in near:
            s += np.sin(x)
        total += s * s
    return total


def levels(w, start, to):
    seen, gain = np.zeros(len(w), dtype=bool), w.copy()
    seen[0] = True
    front, depth = [0], 0
    while front:
        nxt = []
        for v in front:
            for e in range(start[v], start[v + 1]):
                u = to[e]
                if not seen[u]:
                    seen[u] = True
                    gain[u] = gain[v] * np.cos(w[u]) + w[u] * depth
                    nxt.append(u)
        front = nxt
        depth += 1
    return np.sum(gain * gain) * depth


def levels_with_costs(w, start, to):
    """The items are tuples, of which one is differentiated."""
    seen = np.zeros(len(w), dtype=bool)
    seen[0] = True
    front, total = [(0, w[0])], 0.0
    while len(front) > 0:
        later = []
        for v, cost in front:
            total += cost * w[v]
            for e in range(start[v], start[v + 1]):
                u = to[e]
                if not seen[u]:
                    seen[u] = True
                    later.append((u, np.sin(cost + w[u])))
        front = later
    return total


def a_number_of_levels(w, start, to):
    """All walks of three edges."""
    front, total = [0, 1], 0.0
    for k in range(12):
        nxt = []
        for v in front:
            for e in range(start[v], start[v + 1]):
                total += w[v] * w[to[e]] / (k + 1)
                if len(nxt) < 20:
                    nxt.append(to[e])
        front = nxt
    return total


def exchanged_with_none(w, start, to):
    """Both lists are there before the loop."""
    seen = np.zeros(len(w), dtype=bool)
    front, nxt, total = [0], [], 0.0
    while front:
        for v in front:
            if not seen[v]:
                seen[v] = True
                total += w[v] ** 2
                for e in range(start[v], start[v + 1]):
                    nxt.append(to[e])
        front, nxt = nxt, []
    return total


def thinned(w, start, to):
    """Filled from itself, without edges."""
    xs = [w[0], w[1], w[2], w[3], w[4]]
    total = 0.0
    while len(xs) > 1:
        rest = []
        for x in xs:
            if x > 0.4:
                rest.append(x * 0.8)
            total += x * x
        xs = rest
    return total


PROGRAMS: list[Callable[..., Any]] = [
    *(chosen_edges, two_lists_of_edges, paths_of_two_edges, twelve_of_each_edge, until_enough, read_while_it_grows),
    *(lists_of_their_own, levels, levels_with_costs, a_number_of_levels, exchanged_with_none, thinned),
]
every_program = pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)


def arguments(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (np.random.default_rng(seed + 100).uniform(0.3, 1.2, n), *graph_of(n, seed))


@every_program
def test_value_and_gradient(fun):
    compiled = jg.value_and_grad(fun)
    for seed in (1, 2):
        w, start, to = arguments(40, seed)
        to = np.resize(to, 200)  # one program for all graphs
        value, grad = compiled(w, start, to)
        np.testing.assert_allclose(value, fun(w, start, to), rtol=1e-12)
        d = np.random.default_rng(seed).normal(size=40)
        h = 1e-6
        expected = (fun(w + h * d, start, to) - fun(w - h * d, start, to)) / (2 * h)
        np.testing.assert_allclose(grad @ d, expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("fun", [chosen_edges, paths_of_two_edges, levels], ids=lambda f: f.__name__)
def test_a_graph_without_edges(fun):
    """No list gets an item."""
    w = np.linspace(0.4, 1.1, 40)
    start, to = np.zeros(41, dtype=int), np.zeros(1, dtype=int)
    value, grad = jg.value_and_grad(fun)(w, start, to)
    d, h = np.cos(np.arange(40.0)), 1e-6
    np.testing.assert_allclose(value, fun(w, start, to), rtol=1e-13)
    np.testing.assert_allclose(grad @ d, (fun(w + h * d, start, to) - fun(w - h * d, start, to)) / (2 * h), atol=1e-8)


@pytest.mark.parametrize("fun", [chosen_edges, paths_of_two_edges, twelve_of_each_edge], ids=lambda f: f.__name__)
def test_the_loop_is_recorded(fun):
    """Its length does not show in the size of the program, and `explain` comes back."""
    sizes = []
    for n in (40, 400):
        w, start, to = arguments(n, 1)
        sizes.append(len(str(jg.trace(fun, w, start, to)).splitlines()))
        assert "unrolled" not in jg.grad(fun).explain(w, start, to)
    assert sizes[0] == sizes[1] < 400


def test_rooms_are_enlarged():
    """A binary tree, so that a level is twice as large as the one before: the first rooms are too small for most."""
    n = 3000
    w = np.random.default_rng(0).uniform(0.3, 1.2, n)
    start, to = np.arange(n + 1) * 2, np.minimum(np.arange(2 * n) + 1, n - 1)
    value, grad = jg.value_and_grad(levels)(w, start, to)
    d, h = np.cos(np.arange(float(n))), 1e-6
    np.testing.assert_allclose(value, levels(w, start, to), rtol=1e-12)
    expected = (levels(w + h * d, start, to) - levels(w - h * d, start, to)) / (2 * h)
    np.testing.assert_allclose(grad @ d, expected, rtol=1e-6)


def test_levels_copy_no_arrays():
    """What the search changes is copied once, for the run that counts the levels, and not in each of them."""
    lines = jg.jit(levels).explain(*arguments(400, 1)).splitlines()
    assert sum("it is used in other iterations" in line for line in lines) == 1


def test_a_list_of_the_loop_around():
    """The inner loop, which runs ahead for the room of one list, appends to another one too."""

    def f(w, start, to):
        found, total = [(0, w[0])], 0.0
        for k in range(20):
            near = []
            for v in range(k, len(w) - k):
                for e in range(start[v], start[v + 1]):
                    if to[e] > v:
                        near.append(w[to[e]])
                        found.append((v, w[v] * w[to[e]]))
            for x in near:
                total += x**3
        for k, (v, x) in enumerate(found):
            total += x * np.cos(0.1 * k + v)
        return total

    w, start, to = arguments(60, 2)
    value, grad = jg.value_and_grad(f)(w, start, to)
    d, h = np.cos(np.arange(60.0)), 1e-6
    np.testing.assert_allclose(value, f(w, start, to), rtol=1e-12)
    expected = (f(w + h * d, start, to) - f(w - h * d, start, to)) / (2 * h)
    np.testing.assert_allclose(grad @ d, expected, rtol=1e-6)


def test_a_second_name_is_refused():
    """What the old list is called besides would change with it."""

    def f(w, start, to):
        front, old, total = [0], [0], 0.0
        while front:
            nxt = []
            for v in front:
                for e in range(start[v], start[v + 1]):
                    if to[e] > v:
                        nxt.append(to[e])
                total += w[v]
            old = front
            front = nxt
        return total + len(old)

    with pytest.raises(JitgradError, match=r"test_replaced_lists\.py"):
        jg.jit(f)(*arguments(40, 1))


def test_printing_once(capfd):
    """The loop runs more than once, and prints in the last run."""

    def f(w, start, to):
        out = []
        for v in range(len(w)):
            for e in range(start[v], start[v + 1]):
                if w[to[e]] > 0.6:
                    print(v)
                    out.append(w[v])
        return sum(out)

    given = arguments(40, 1)
    expected = f(*given), capfd.readouterr().out
    assert expected[1]
    np.testing.assert_allclose(jg.jit(f, loops="roll")(*given), expected[0], rtol=1e-12)
    assert capfd.readouterr().out == expected[1]
