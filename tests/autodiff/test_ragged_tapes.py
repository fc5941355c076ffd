"""Loops whose inner loops have numbers of iterations that depend on values: what their gradients give, and what they
save."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.verify import verify
from jitgrad.testing import check_grads


def graph_of(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A random graph in CSR form: where the edges of each node begin, and where they lead. Some nodes have none."""
    rng = np.random.default_rng(seed)
    degrees = rng.integers(0, 5, n) * (rng.random(n) < 0.8)
    start = np.concatenate([[0], np.cumsum(degrees)])
    return start, rng.integers(0, n, start[-1])


def breadth_first(w, start, to):
    distance, gain = np.full(len(w), -1), np.zeros(len(w))
    distance[0], gain[0] = 0, w[0]
    queue = [0]
    while queue:
        v = queue.pop(0)
        for e in range(start[v], start[v + 1]):
            u = to[e]
            if distance[u] < 0:
                distance[u] = distance[v] + 1
                gain[u] = gain[v] * np.cos(w[u]) + w[u]
                queue.append(u)
    return np.sum(gain * distance)


def depth_first(w, start, to):
    seen, gain = np.zeros(len(w), dtype=bool), w.copy()
    stack = [0, 1]
    total = 0.0
    while stack:
        v = stack.pop()
        if seen[v]:
            continue
        seen[v] = True
        total += gain[v] ** 2
        for e in range(start[v], start[v + 1]):
            u = to[e]
            if not seen[u]:
                gain[u] += np.sin(gain[v] * w[u])
                stack.append(u)
    return total


def sums_over_edges(w, start, to):
    x = w.copy()
    for v in range(len(w)):
        s = 0.0
        for e in range(start[v], start[v + 1]):
            s += np.sin(x[to[e]]) * w[v]
            x[to[e]] = 0.9 * x[to[e]] + 0.1 * x[v] * w[v]
        x[v] = np.tanh(s) + 0.5 * x[v]
    return np.sum(x * x)


def backwards_by_twos(w, start, to):
    x = w.copy()
    for v in range(len(w) - 1, -1, -1):
        for e in range(start[v + 1] - 1, start[v] - 1, -2):
            x[to[e]] = x[to[e]] * x[v] + np.cos(x[v])
    return np.sum(x * w)


def three_deep(w, start, to):
    x = w.copy()
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            u = to[e]
            for f in range(start[u], start[u + 1]):
                x[to[f]] = np.sin(x[to[f]] + x[v] * x[u])
            x[u] = x[u] * w[v] + 0.3
    return np.sum(x * w)


def fixed_inside(w, start, to):
    x = w.copy()
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            for k in range(12):
                x[(to[e] + k) % len(w)] = np.sin(x[to[e]] * w[k % len(w)]) + 0.1 * k
    return np.sum(x)


def two_loops_in_turn(w, start, to):
    x, y = w.copy(), w * 2.0
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            x[to[e]] = x[to[e]] * y[v] * 0.7
        if v % 3 != 1:
            for e in range(start[v], start[v + 1]):
                y[to[e]] = np.cos(y[to[e]] * x[v])
    return np.sum(x * y)


def inner_while(w, start, to):
    x = w.copy()
    for v in range(len(w)):
        u, steps = v, 0
        while x[u] < 1.3 and start[u] < start[u + 1]:
            x[u] = x[u] * 1.2 + 0.3 * w[v] ** 2 + 0.2
            u = to[start[u]]
            steps += 1
        x[v] = x[v] * 0.8 + 0.01 * steps
    return np.sum(x * w)


def inner_break(w, start, to):
    x = w.copy()
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            u = to[e]
            x[u] = x[u] * w[v] + 0.2
            if x[u] > 0.9:
                break
            if x[u] < 0.3:
                continue
            x[v] = np.sin(x[v] + x[u])
    return np.sum(x * w)


def early_return(w, start, to):
    x = w.copy()
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            x[to[e]] = x[to[e]] * 1.3 + 0.3 * w[v]
            if x[to[e]] > 2.2:
                return x[to[e]] * np.sum(x)
    return np.sum(x * w)


def sweeps(w, start, to):
    """An outer loop of unknown length around all."""
    x, change = w.copy(), 1.0
    while change > 0.05:
        change = 0.0
        for v in range(len(w)):
            s, n = 0.2 * w[v], 1
            for e in range(start[v], start[v + 1]):
                s += 0.5 * np.sin(x[to[e]])
                n += 1
            change += (s / n - x[v]) ** 2
            x[v] = s / n
    return np.sum(x * w)


def rows(w, start, to):
    """A row of a matrix is overwritten, not an element."""
    x = np.outer(w, np.array([1.0, 0.5, -0.3]))
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            x[to[e]] = np.sin(x[to[e]] * w[v]) + x[v]
    return np.sum(x * x)


def under_conditions(w, start, to):
    x = w.copy()
    if w[0] > 0:
        for v in range(len(w)):
            if x[v] > 0.5:
                for e in range(start[v], start[v + 1]):
                    x[to[e]] = x[to[e]] * x[v] * 0.9
            else:
                x[v] += 0.2 * w[v]
    else:
        x = x * w
    return np.sum(x * w)


def checkpointed(w, start, to):
    def relax(x):
        x = x.copy()
        for v in range(len(w)):
            for e in range(start[v], start[v + 1]):
                x[to[e]] = np.sin(x[to[e]] * x[v]) + w[v]
        return x

    return np.sum(jg.checkpoint(relax)(w * 0.5) * w)


def of_integers(w, start, to):
    """Integers that the derivatives depend on are changed element by element, too."""
    x, visits = w.copy(), np.zeros(len(w), dtype=int)
    for v in range(len(w)):
        for e in range(start[v], start[v + 1]):
            visits[to[e]] += 1
            x[to[e]] = x[to[e]] * np.cos(w[v] * visits[to[e]]) + visits[v]
    return np.sum(x * visits)


PROGRAMS: list[Callable[..., Any]] = [
    *(breadth_first, depth_first, sums_over_edges, backwards_by_twos, three_deep, fixed_inside, two_loops_in_turn),
    *(inner_while, inner_break, early_return, sweeps, rows, under_conditions, checkpointed, of_integers),
]
every_program = pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)


def arguments(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (np.random.default_rng(seed + 100).uniform(0.3, 1.2, n), *graph_of(n, seed))


def tape_lines(fun, *args) -> list[str]:
    return [line for line in jg.grad(fun).explain(*args).splitlines() if ": tape of" in line]


def difference(fun, w, d, *rest, h=1e-6) -> float:
    return (fun(w + h * d, *rest) - fun(w - h * d, *rest)) / (2 * h)


@every_program
@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient(fun, seed):
    w, start, to = arguments(40, seed)
    plain = (lambda w, *rest: fun.__wrapped__(w, *rest)) if hasattr(fun, "__wrapped__") else fun
    value, grad = jg.value_and_grad(fun)(w, start, to)
    np.testing.assert_allclose(value, plain(w, start, to), rtol=1e-12)
    d = np.random.default_rng(seed).normal(size=40)
    np.testing.assert_allclose(grad @ d, difference(plain, w, d, start, to), rtol=2e-6, atol=1e-7)


@every_program
def test_no_array_is_saved_in_each_iteration(fun):
    n = 1501
    lines = tape_lines(fun, *arguments(n, 1))
    assert lines
    assert not any(f"{n},{n}" in line or re.search(rf"\[v[^\]]*,{n}\]", line) for line in lines), lines
