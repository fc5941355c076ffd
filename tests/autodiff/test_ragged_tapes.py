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
from jitgrad.errors import DifferentiationError
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


@pytest.mark.parametrize(
    "fun", [sums_over_edges, three_deep, inner_break, sweeps, of_integers], ids=lambda f: f.__name__
)
def test_second_derivatives(fun):
    w, start, to = arguments(12, 4)
    check_grads(lambda w: fun(w, start, to), (w,), order=2)


@pytest.mark.parametrize("fun", [breadth_first, three_deep, inner_while], ids=lambda f: f.__name__)
def test_a_graph_without_edges(fun):
    """No inner loop runs even once."""
    w = np.linspace(0.4, 1.1, 9)
    start, to = np.zeros(10, dtype=int), np.zeros(1, dtype=int)
    value, grad = jg.value_and_grad(fun)(w, start, to)
    d = np.cos(np.arange(9.0))
    np.testing.assert_allclose(value, fun(w, start, to), rtol=1e-13)
    np.testing.assert_allclose(grad @ d, difference(fun, w, d, start, to), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("fun", [sums_over_edges, three_deep, inner_while, sweeps], ids=lambda f: f.__name__)
def test_the_joint_graph_is_sound(fun):
    """It verifies, and gives the same when it is interpreted, op by op, where nothing reads past the end of a tape."""
    w, start, to = arguments(60, 2)
    joint = vjp_graph(jg.trace(fun, w, start, to), [0])
    verify(joint)
    value, grad = jg.value_and_grad(fun)(w, start, to)
    expected = interpret(joint, w, start, to)
    np.testing.assert_allclose(value, expected[0], rtol=1e-12)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-10, atol=1e-12)


def test_a_tape_has_a_slot_for_each_iteration():
    lines = tape_lines(sums_over_edges, *arguments(701, 1))
    ragged = [line for line in lines if "[v + 1]" in line]
    assert len(ragged) == 2  # the cosine, and the element of x that is overwritten
    assert all("[701]" in line for line in lines if line not in ragged)


def test_an_array_of_unlimited_extent_is_refused():
    """Iterations are counted, elements are not."""

    def f(s, counts):
        for k in range(20):
            y = np.zeros(counts[k]) + s
            for _ in range(12):
                y = np.sin(y * s)
            s = s * 0.5 + np.sum(y)
        return s

    with pytest.raises(DifferentiationError, match="How large it is at most is not known before the loop") as error:
        jg.grad(f)(0.3, np.arange(20) % 4)
    assert "y of every iteration" in str(error.value)


def test_what_starts_with_a_few_numbers_runs_again():
    """Its tapes are as long as one run, and not as all of them."""

    def roots(a):
        total = 0.0
        for k in range(20):
            x = a + k
            while np.abs(x * x - a - k) > 1e-9:
                x = 0.5 * (x + (a + k) / x)
            total += np.sin(x)
        return total

    assert not any("+ 1]" in line for line in tape_lines(roots, 2.0))
    check_grads(roots, (2.0,), order=2)


@pytest.mark.parametrize("extent", [4, 400])
def test_random_numbers_are_drawn_once(extent):
    """Those that decide how often an inner loop runs are the same when it is counted."""

    def walk(x, rng):
        x = x.copy()
        for v in range(extent):
            u = v
            while rng.random() < 0.6:
                u = (u * 7 + 1) % extent
                x[u] = np.sin(x[u] * x[v]) + rng.normal() * x[u]
        return np.sum(x)

    x = np.linspace(0.2, 1.0, extent)
    ours, numpys = np.random.default_rng(3), np.random.default_rng(3)
    value, grad = jg.value_and_grad(walk)(x, ours)
    np.testing.assert_allclose(value, walk(x, numpys), rtol=1e-12)
    assert ours.bit_generator.state == numpys.bit_generator.state
    d = np.cos(np.arange(float(extent)))
    up, down = (walk(x + h * d, np.random.default_rng(3)) for h in (1e-6, -1e-6))
    np.testing.assert_allclose(grad @ d, (up - down) / 2e-6, rtol=1e-5)


def test_nothing_is_printed_twice(capsys):
    def noisy(w, start, to):
        x = w.copy()
        for v in range(len(w)):
            for e in range(start[v], start[v + 1]):
                if e == 5:
                    print("edge", e)
                x[to[e]] = np.sin(x[to[e]] * x[v])
        t = x[0]
        while t < 3.0:
            t = t * t + 1.0
            print(f"t {t:.6f}")
        return t * np.sum(x)

    args = arguments(701, 0)
    jg.grad(noisy)(*args)
    ours = capsys.readouterr().out
    noisy(*args)
    assert ours == capsys.readouterr().out


def test_a_budget_and_a_pullback():
    w, start, to = arguments(300, 3)
    expected = jg.grad(sums_over_edges)(w, start, to)
    tight = jg.jit(jg.grad(sums_over_edges), memory_budget=1000)(w, start, to)
    np.testing.assert_allclose(tight, expected, rtol=1e-10)
    _, pullback = jg.vjp(lambda w: sums_over_edges(w, start, to), w)
    np.testing.assert_allclose(pullback(2.0)[0], 2.0 * expected, rtol=1e-10)
