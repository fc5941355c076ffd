"""Which loops are unrolled, and which are recorded once."""

from __future__ import annotations

from typing import Any

import numpy as np

import jitgrad as jg
from jitgrad.testing import check_grads

RNG = np.random.default_rng(5)
TABLE = RNG.normal(size=(40, 40))


def windows(x: Any, w: Any) -> Any:
    out = np.empty((x.shape[0] - w.shape[0] + 1, x.shape[1] - w.shape[1] + 1))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = np.sum(x[i : i + w.shape[0], j : j + w.shape[1]] * w)
    return out


def how(fun: Any, *args: Any) -> list[str]:
    lines = [line for line in jg.jit(fun).explain(*args).splitlines() if line.startswith("for at")]
    return [line.partition(": ")[2] for line in lines]


def test_short_loops_in_each_other_do_not_multiply() -> None:
    w = RNG.normal(size=(3, 2))
    few, many = RNG.normal(size=(6, 8)), RNG.normal(size=(10, 9))
    assert all(line.startswith("unrolled") for line in how(windows, few, w))  # 4 * 7 copies
    assert "rolled" in how(windows, many, w)  # 8 * 8 would be too many
    for x in (few, many):
        np.testing.assert_allclose(jg.jit(windows)(x, w), windows(x, w), rtol=1e-12)
        check_grads(windows, (x, w), order=1)
    assert len(list(jg.trace(windows, many, w).block.ops)) < 3 * len(list(jg.trace(windows, few, w).block.ops))


def pairs(x: Any) -> Any:
    """A triangle whose first row is empty, of an array that is known until something is written into it."""
    table = np.zeros((len(x), len(x)))
    for i in range(len(x) - 1, -1, -1):
        for j in range(i + 1, len(x)):
            table[i, j] = max(table[i, j - 1], table[i + 1, j]) + x[i] * x[j]
    return table


def test_a_loop_whose_first_iteration_does_nothing_is_recorded() -> None:
    x = TABLE[0]
    assert how(pairs, x) == ["rolled", "rolled"]
    np.testing.assert_allclose(jg.jit(pairs)(x), pairs(x), rtol=1e-12)
    check_grads(pairs, (x[:12],), order=1)


def from_before(x: Any) -> Any:
    """The loop fills a dict for the tracing itself: the last iteration needs what the one before it has done."""
    found = {0: 1}
    for k in range(1, 20):
        found[k] = found[k - 1] + k
    return x * found[19]


def test_a_loop_without_traced_values_runs_in_python() -> None:
    assert how(from_before, 2.0) == []
    assert jg.jit(from_before)(2.0) == from_before(2.0)


def guarded(x: Any) -> Any:
    y = x.copy()
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            if j - 1 >= 0:  # always
                y[i] += x[j]
            if j <= i:  # never
                y[i] *= 2
            if i + j < len(x):  # sometimes
                y[j] -= x[i]
    return y


def test_conditions_that_the_bounds_of_loops_decide_are_gone() -> None:
    x = TABLE[0]
    np.testing.assert_allclose(jg.jit(guarded)(x), guarded(x), rtol=1e-12)
    optimised = jg.jit(guarded).ir(x, stage="optimised")
    assert "less(" in optimised and "less_equal" not in optimised and "greater" not in optimised


def counted(x: Any) -> Any:
    """A counter has other values in the condition of its loop than in the body."""
    k, total = 0, 0.0
    while k < len(x) and x[k] < 1e9:
        if k >= 0:
            total = total + x[k]
        k += 1
    for j in range(len(x)):
        if x[j] > 1.5:
            break
        total = total + j
    return total, k


def test_a_loop_that_counts_still_ends() -> None:
    x = TABLE[1]
    np.testing.assert_allclose(jg.jit(counted)(x), counted(x), rtol=1e-12)
