"""Loops that may end early, but not after more iterations than are known before: they run once, and write their tapes
as they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.ir.core import Graph, Op
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.symbols import loop_of
from jitgrad.ir.verify import verify
from jitgrad.testing import check_grads

X = np.array([0.7, 1.3, -0.4, 0.9, 0.2])


def breaks(x):
    t = x[0]
    for k in range(30):
        t = t * 1.1 + np.sin(x[1] * t)
        if t > 5.0 + x[2]:
            break
        t += 0.01 * k
    return t * x[3]


def runs_to_the_end(x):
    t = x[0]
    for _ in range(12):
        t = np.sin(t) + x[1]
        if t > 100.0:
            break
    return t


def never_runs(x):
    t = x[0]
    for _ in range(12):
        if x[1] > 0:
            break
        t = t * t
    return t * x[1]


def range_is_empty(x):
    t, n = x[0], x.shape[0] - 5
    k = 0
    while t < 9.0 and k < n:
        t = t * t
        k += 1
    return t * x[1]


def returns(x):
    t = x[0]
    for k in range(20):
        new = 0.5 * (t + (x[1] + k * 0.01) / t)
        if abs(new - t) < 1e-3:
            return new * x[2]
        t = new
    return t * x[3]


def continues(x):
    t = x[0]
    for k in range(15):
        if k % 3 == 1:
            continue
        t = np.sin(t * x[1]) + t
        if t > 2.5:
            break
    return t


def counts_by_itself(x):
    t, k = x[0], 0
    while k < 40 and t * t < 20.0:
        t = t * 1.2 + 0.1 * x[1] * t * t
        k += 1
    return t


def counts_down_by_twos(x):
    t, k = x[0], 21
    while t < 6.0 and k >= 3:
        t = t + np.exp(-t) * x[1] + 0.02 * k
        k -= 2
    return t * k


def starts_later(x):
    t = x[0]
    for k in range(3, 33, 3):
        t = np.cos(t * x[1]) + t + x[k % 5] * 0.1
        if t > 6.0:
            break
    return t


def in_loops(x):
    total = 0.0
    for i in range(9):
        for j in range(10):
            t = x[0] * (i + 1) / 9.0
            for _ in range(25):
                t = t + np.cos(t) * x[1] * 0.3 + 0.01 * j
                if t > 1.5:
                    break
            total += t * t
    return total


def triangular(x):
    total = 0.0
    for i in range(12):
        t = x[0]
        for _ in range(i):
            t = t * x[1] + np.sin(t)
            if t > 3.0:
                break
        total += t * x[2]
    return total


def loop_inside(x):
    t, s = x[0], 0.0
    for k in range(14):
        for j in range(k):
            s = s * 0.5 + np.sin(t * x[j % 5])
        t = t * 1.2 + 0.1 * s
        if t > 4.0:
            break
    return t * s


def break_in_break(x):
    total = x[0]
    for _ in range(11):
        t = total
        for _ in range(13):
            t = t + np.sin(t) * x[1]
            if t > 2.0:
                break
        total = total * 0.9 + 0.3 * t
        if total > 2.5:
            break
    return total


def in_an_endless_one(x):
    total = x[0]
    while total < 8.0:
        t = total
        for _ in range(13):
            t = t + np.sin(t) * 0.2
            if t > 3.0:
                break
        total = total * 1.1 + 0.3 * np.abs(t) + x[1] ** 2
    return total


def writes_arrays(x):
    a = np.zeros(16)
    a[0] = x[0]
    for k in range(1, 16):
        a[k] = np.sin(a[k - 1] * x[1]) + a[k - 1]
        a[k // 2] *= x[2]
        if a[k] > 2.4:
            break
    return np.sum(a * a)


def carries_vectors(x):
    y = x.copy()
    for _ in range(20):
        y = y * x + np.sin(y[::-1])
        if np.sum(y * y) > 30.0:
            break
    return np.sum(y**3)


def newton(x):
    """The square of a root, which is found to the last bit before the bound."""
    t = 2.0
    for _ in range(60):
        change = (t**3 + t - 7.0 - x[2]) / (3 * t**2 + x[1])
        t -= change
        if np.abs(change) < 1e-15:
            break
    return t**2 * x[0]


def under_a_condition(x):
    t = x[0]
    if x[1] > 0:
        for _ in range(18):
            t = t * x[1] + 0.1
            if t > 2.0:
                break
    return t * t


PROGRAMS: list[Callable[..., Any]] = [
    *(breaks, runs_to_the_end, never_runs, range_is_empty, returns, continues, counts_by_itself, counts_down_by_twos),
    *(starts_later, in_loops, triangular, loop_inside, break_in_break, in_an_endless_one, writes_arrays),
    *(carries_vectors, newton, under_a_condition),
]
every_program = pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)


def every_op(ops: Sequence[Op]) -> Iterator[Op]:
    for op in ops:
        yield op
        for region in op.regions:
            yield from every_op(region.ops)


def count(graph: Graph, name: str) -> int:
    return sum(op.name == name for op in every_op(graph.ops))


@every_program
def test_value_and_derivatives(fun):
    np.testing.assert_allclose(jg.jit(fun)(X), fun(X), rtol=1e-13)
    check_grads(fun, (X,), order=1)


@pytest.mark.parametrize(
    "fun",
    [breaks, returns, counts_down_by_twos, in_loops, triangular, loop_inside, in_an_endless_one, writes_arrays],
    ids=lambda f: f.__name__,
)
def test_second_derivatives(fun):
    check_grads(fun, (X,), order=2)


@every_program
def test_loops_run_once_in_each_direction(fun):
    graph = jg.trace(fun, X)
    joint = vjp_graph(graph, [0])
    verify(joint)
    assert (count(graph, "while") > 0) == (fun is not range_is_empty), "one that does not run is seen while tracing"
    if fun is in_an_endless_one:  # which runs again, with the inner one
        assert count(joint, "while") == 3
        return
    assert count(joint, "while") == count(graph, "while")
    assert count(joint, "while") + count(joint, "for") <= 2 * (count(graph, "while") + count(graph, "for"))


def test_explain_lists_the_tape():
    lines = [line for line in jg.grad(breaks).explain(X).splitlines() if "tape of t" in line]
    assert len(lines) == 1
    assert "f64[30], 240 bytes" in lines[0]
    lines = [line for line in jg.grad(in_loops).explain(X).splitlines() if "tape of t" in line]
    assert any("f64[25,9,10], 18000 bytes" in line for line in lines)
    assert not any(
        line.startswith("tape_t") and "laid out" in line for line in jg.grad(in_loops).explain(X).splitlines()
    )
    lines = [line for line in jg.grad(triangular).explain(X).splitlines() if "tape of t" in line]
    assert any("f64[66], 528 bytes" in line for line in lines)


def test_a_large_bound_makes_no_large_tape():
    def f(x, limit):
        t, k = x, 0
        while k < limit and t < 50.0:
            t = t * 1.1 + 0.05 * np.sin(t)
            k += 1
        return t

    x = np.float64(0.3)
    for limit, twice in ((1000, False), (10**9, True)):
        g = jg.jit(jg.grad(f), static_argnums=1)
        text = g.explain(x, limit)
        assert ("f64[1000]" in text) is not twice
        assert ("8*" in text) is twice
        slope = (f(x + 1e-6, limit) - f(x - 1e-6, limit)) / 2e-6
        assert g(x, limit) == pytest.approx(slope, rel=1e-7)


def test_a_memory_budget_makes_no_larger_tape():
    text = jg.jit(jg.grad(breaks), memory_budget=200).explain(X)
    assert "f64[30]" not in text
    found = jg.jit(jg.grad(breaks), memory_budget=200)(X)
    np.testing.assert_allclose(found, jg.grad(breaks)(X), rtol=1e-13)


def test_a_traced_bound_makes_no_tape_before_the_loop():
    def f(x, n):
        t = x[0]
        for _ in range(n):
            t = np.sin(t) + x[1]
            if t > 2.05:
                break
        return t * t

    g = jg.jit(jg.grad(f))
    for n in (0, 1, 7, 40):
        expected = [(f(X + e, n) - f(X - e, n)) / 2e-6 for e in 1e-6 * np.eye(len(X))]
        np.testing.assert_allclose(g(X, n), expected, rtol=1e-6, atol=1e-8)


WHILE = """
graph f(%x: f64[], %n: i64[]) {{
  %start: i64[] = constant() {{value=i64[] {start}}}
  %edge: i64[] = constant() {{value=i64[] {edge}}}
  %step: i64[] = constant() {{value=i64[] {step}}}
  %ten: f64[] = constant() {{value=f64[] 10.0}}
  %false: bool[] = constant() {{value=bool[] False}}
  %k: i64[], %y: f64[] = while(%start, %x)
    (%i: i64[], %a: f64[]) {{
      %small: bool[] = less(%a, %ten)
      {test}
      %go: bool[] = logical_and(%more, %small)
      yield %go
    }}
    (%j: i64[], %b: f64[]) {{
      %c: f64[] = add(%b, %x)
      %next: i64[] = add(%j, %step)
      yield %next, %c
    }}
  return %y
}}
"""


@pytest.mark.parametrize(
    ("start", "edge", "step", "test", "most"),
    [
        (0, 7, 1, "%more: bool[] = less(%i, %edge)", 7),
        (0, 7, 2, "%more: bool[] = less_equal(%i, %edge)", 4),
        (9, 7, 1, "%more: bool[] = less(%i, %edge)", 0),
        (9, 2, -3, "%more: bool[] = greater(%i, %edge)", 3),
        (9, 3, -3, "%more: bool[] = less_equal(%edge, %i)", 3),
        (0, 7, 1, "%less: bool[] = less(%i, %edge)\n%more: bool[] = logical_not(%less)", None),
        (0, 7, 1, "%less: bool[] = greater_equal(%i, %edge)\n%more: bool[] = logical_not(%less)", 7),
        (0, 7, -1, "%more: bool[] = less(%i, %edge)", None),
        (0, 7, 1, "%more: bool[] = greater(%i, %edge)", None),
        (0, 7, 1, "%more: bool[] = less(%i, %n)", None),
        (0, 7, 1, "%sum: i64[] = add(%i, %edge)\n%more: bool[] = less(%sum, %edge)", 0),
        (0, 7, 1, "%twice: i64[] = add(%i, %i)\n%more: bool[] = less(%twice, %edge)", None),
        (0, 7, 1, "%less: bool[] = less(%i, %edge)\n%more: bool[] = logical_or(%less, %small)", None),
    ],
)
def test_how_often_a_loop_runs_at_most(start, edge, step, test, most):
    text = WHILE.format(start=start, edge=edge, step=step, test=test)
    graph = parse(text)
    verify(graph)
    (op,) = (op for op in graph.ops if op.name == "while")
    loop = loop_of(op)
    assert loop is not None
    assert loop.most() == most
    runs = int(interpret(graph, 0.25, 5)[0] / 0.25) - 1
    assert most is None or runs <= most
