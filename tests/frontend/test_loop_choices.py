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


def remembering(x: Any, n: int = 30, m: int = 3) -> Any:
    """The last ``m`` values are kept, as L-BFGS keeps its steps; ``same`` is another name of the list."""
    kept: list[Any] = []
    same = kept
    for k in range(n):
        g = np.cos(x) + 0.01 * k
        for old in reversed(list(kept)):
            g = g - 0.1 * (g @ old) * old
        kept.append(g)
        if len(kept) > m:
            kept.pop(0)
        x = x + 0.1 * g
    return x, kept[0], same[-1], len(same)


def test_a_list_that_keeps_its_length_from_some_iteration_on() -> None:
    x = RNG.normal(size=4)
    (unrolled,) = (line for line in how(remembering, x) if "30 iterations" in line)
    assert unrolled.endswith("The later 25 are alike: rolled")
    for a, b in zip(jg.jit(remembering)(x), remembering(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)
    check_grads(lambda x: remembering(x)[:3], (x,), order=1)
    assert len(jg.trace(remembering, x, 120).ops) == len(jg.trace(remembering, x, 60).ops)


def ended(x: Any, most: Any) -> Any:
    """As :func:`remembering`, and the loop may end at any time once it has run for a while."""
    kept: list[Any] = []
    for k in range(30):
        kept.append(x)
        if len(kept) > 2:
            kept.pop(0)
        x = x * 1.1 + kept[0]
        if k > 8 and x[0] > most:
            break
    return x, kept[0]


def test_a_loop_that_comes_to_repeat_itself_and_may_end() -> None:
    x = np.array([0.5, -0.25])
    (line,) = how(ended, x, 3.0)
    assert line.startswith("unrolled, 30 iterations") and line.endswith("alike: rolled")
    for most in (0.1, 3e3, 3e5, 1e30):
        for a, b in zip(jg.jit(ended)(x, most), ended(x, most), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def numbered(x: Any) -> Any:
    """Its iterations record the same ops, but need their own numbers."""
    table = {k: float(k) for k in range(20)}
    for k in range(20):
        x = np.sin(x) + table[k]
    return x


def test_a_loop_whose_iterations_need_their_numbers_stays_unrolled() -> None:
    (line,) = how(numbered, TABLE[0])
    assert line.startswith("unrolled, 20 iterations") and "alike" not in line
    np.testing.assert_allclose(jg.jit(numbered)(TABLE[0]), numbered(TABLE[0]), rtol=1e-12)


def smoothed(u: Any) -> Any:
    for _ in range(2):
        u = 0.5 * u + 0.25 * np.concatenate((u[1:], u[:1])) + 0.125 * np.sin(u)
    return u


def cycle(u: Any, depth: int) -> Any:
    u = smoothed(u)
    if depth > 0:
        u = u + np.repeat(cycle(u[::2] - u[1::2], depth - 1), 2)
    return smoothed(u)


def cycles(u: Any, depth: int) -> Any:
    norms = []
    for _ in range(6):
        u = cycle(u, depth)
        norms.append(np.sum(u * u))
    return u, norms


def test_a_short_loop_that_calls_much_is_recorded_from_its_second_iteration_on() -> None:
    u = RNG.normal(size=64)
    outer = [line for line in how(lambda u: cycles(u, 4), u) if "2 iterations" not in line]
    assert outer == ["the first iteration apart, and the others recorded, as an iteration has many ops", "rolled"]
    assert all(line.startswith("unrolled") for line in how(lambda u: cycles(u, 0), u))
    for depth in (0, 4):
        (got, norms), (want, expected) = jg.jit(lambda u, d=depth: cycles(u, d))(u), cycles(u, depth)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        np.testing.assert_allclose(norms, expected, rtol=1e-12)
    check_grads(lambda u: cycles(u, 4)[0], (u,), order=1)
