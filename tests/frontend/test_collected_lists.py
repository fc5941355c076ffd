"""Lists that loops append to: recorded where nothing else is done with them, unrolled otherwise, right in any case."""

# ruff: noqa: PERF401
from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from compared import check_slope

import jitgrad as jg

X = np.random.default_rng(0).normal(size=(20, 4))
W = np.random.default_rng(1).normal(size=(4, 4)) / 3


def states(x, w):
    """The states of a recurrent network."""
    h, hs = np.zeros(4), []
    for t in range(20):
        h = np.tanh(w @ h + x[t])
        hs.append(h)
    return hs


def stacked(x, w):
    return np.stack(states(x, w))


def stacked_last(x, w):
    return np.stack(states(x, w), axis=-1) * np.arange(20)


def joined(x, w):
    hs = states(x, w)
    return np.concatenate(hs) * np.concatenate([h * h for h in hs])


def joined_along_rows(x, w):
    rows = []
    for t in range(20):
        rows.append(np.outer(x[t], x[t]) + w)
    return np.concatenate(rows, axis=1), np.vstack(rows), np.hstack(rows), np.array(rows[3:15]), np.array(rows[::2])


def elements(x, w):
    hs = states(x, w)
    return hs[0] + hs[-1] * hs[7], len(hs), sum(hs), np.mean(hs, axis=0)


def numbers(x, w):
    losses, times = [0.5], []
    for t, row in enumerate(x):
        losses.append(np.sum(row**2))
        times.append(0.1 * t)
    return np.array(losses), np.array(times), losses[4] * times[3], max(losses)


def single_precision(x, w):
    """Python's numbers stay such: they take no part in promotion."""
    scales = []
    x = x.astype(np.float32)
    for t in range(20):
        scales.append(0.5 * t)
    return x[3] * scales[3]


def tuples(x, w):
    h, c, path = x[0], x[1], []
    for t in range(20):
        h, c = np.tanh(w @ c + h), 0.5 * c + x[t] * h
        path.append((h, c.sum()))
    total = 0.0
    for a, s in path:
        total = total + a[0] * s
    return total, path[2][0] * path[-1][1]


def several_lists(x, w):
    a, b = [], [x[0] * 2]
    for row in x:
        y = row @ w
        a.append(y)
        b.append(y)
        b.append(np.sin(y))
    return np.array(a) @ w, np.stack(b), len(b)


def looped_over(x, w):
    out = 0.0
    for k, (h, row) in enumerate(zip(states(x, w), x)):  # noqa: B905
        out = out + k * h @ row
    backwards = x[0]
    for h in reversed(states(x, w)):
        backwards = np.sin(backwards) * h
    return out, backwards


def nested(x, w):
    rows = []
    for i in range(10):
        row = []
        for j in range(12):
            row.append(np.sin(x[i] * x[j]))
        rows.append(np.array(row).sum(axis=0))
    return np.array(rows)


def flat_from_nested(x, w):
    found = []
    for i in range(9):
        for j in range(10):
            found.append(x[i] * w[1] + x[j])
    return np.array(found)


def steps_down(x, w):
    found = []
    for t in range(19, 0, -2):
        found.append(x[t] * t)
    return np.stack(found)


def copied(x, w):
    h, hs = x[0].copy(), []
    for t in range(20):
        h += x[t]
        hs.append(h.copy())
    return np.array(hs)


def before_the_update(x, w):
    h, hs = x[0] * 1.0, []
    for t in range(20):
        hs.append(h)
        h = np.cos(h) + x[t]
    return np.array(hs) * h


def written_after_it_is_appended(x, w):
    rows = []
    for t in range(20):
        row = np.zeros(5)
        rows.append(row)
        row[1:] = x[t] ** 2
    return np.array(rows)


def one_array_in_two_lists(x, w):
    a, b = [], []
    for t in range(20):
        y = x[t] * 2
        a.append(y)
        b.append(y)
    a[3][0] = 7.0
    return np.array(a), np.array(b)


def changed_afterwards(x, w):
    h, hs = x[0], []
    for t in range(20):
        h = h * 0.5 + x[t]
        hs.append(h)
    h += 5.0
    hs[2][:] = 1.0
    return np.array(hs), h


def comprehension(x, w):
    return np.array([np.sum(np.sin(row) @ w) for row in x]), np.stack([np.cos(x[t]) * t for t in range(20)], axis=1)


def comprehension_of_pairs(x, w):
    pairs = [(k * row.sum(), np.sin(a) * row) for k, (row, a) in enumerate(zip(x, x[::-1]))]  # noqa: B905
    return np.array([s for s, _ in pairs]), np.sum([v @ w for _, v in pairs], axis=0), pairs[3][1]


def table(x, w):
    return np.array([[np.exp(-((x[i] - x[j]) ** 2).sum()) for j in range(19)] for i in range(20)])


def table_in_a_list(x, w):
    rows = []
    for i in range(15):
        row = []
        for j in range(16):
            row.append(np.sin(x[i]) @ x[j])
        rows.append(row)
    return np.array(rows), rows[3][4], sum(rows[2])


def sum_of_a_comprehension(x, w):
    return sum([np.tanh(row @ w) for row in x]), max([np.sum(row) for row in x])


def sums(x, w):
    """By Python's sum, of elements, of rows, from a start."""
    total = sum(np.exp(-np.sum((row @ w) ** 2)) for row in x)
    return total, sum(x), sum(x[:, 0] ** 2), sum([row @ w for row in x], x[0]), sum(0.5 * k for k in range(20))


def extremes(x, w):
    return max(np.sum(row) for row in x), min(np.sin(row @ w[0]) for row in x), tuple(row * 2 for row in x)[3]


def read_inside(x, w):
    path = [x[0]]
    for t in range(20):
        path.append(np.sin(path[-1]) + x[t])
    return np.array(path)


def inside_an_object(x, w):
    log = {"x": []}
    for t in range(20):
        log["x"].append(x[t] * 2)
    return np.array(log["x"])


def length_inside(x, w):
    found = []
    for t in range(20):
        found.append(x[t] * (2.0 if len(found) > 7 else 1.0))
    return np.array(found)


RECORDED = [
    sums, extremes,
    comprehension, comprehension_of_pairs, table, table_in_a_list, sum_of_a_comprehension,
    stacked, stacked_last, joined, joined_along_rows, elements, numbers, single_precision, tuples, several_lists,
    looped_over, nested, flat_from_nested, steps_down, copied, before_the_update, written_after_it_is_appended,
    one_array_in_two_lists, changed_afterwards, read_inside, inside_an_object, length_inside,
]  # fmt: skip


def another_name(x, w):
    found = []
    other = found
    for t in range(20):
        found.append(x[t] * 2)
    other.append(x[0] * 1)
    return np.array(found)


def read_by_a_function(x, w):
    found = [x[0] * 3]

    def last():
        return found[-1]

    for t in range(20):
        found.append(np.cos(last()) * x[t])
    return np.array(found)


def the_same_array(x, w):
    h, hs = np.zeros(4), []
    for t in range(20):
        h += x[t]
        hs.append(h)
    return np.array(hs)


def views_of_an_argument(x, w):
    rows = []
    x = x * 1.0
    for t in range(20):
        rows.append(x[t])
    x[2] = 5.0
    return np.array(rows)


def of_changing_shape(x, w):
    found = []
    for t in range(1, 20):
        found.append(np.sum(x[:t], axis=0) if t < 10 else np.sum(x, axis=0) * 0.5)
        found.append(x[:t, 0] * 2)
    return found[2], found[-1]


def sometimes(x, w):
    found = []
    for t in range(20):
        if t % 3 == 0:
            found.append(x[t] * 2)
    return np.array(found)


def popped(x, w):
    found = []
    for t in range(20):
        found.append(x[t] * 3)
        if len(found) > 4:
            found.pop(0)
    return np.array(found)


def comprehension_that_fails_on_the_way(x, w):
    """Elements of different shapes, a condition, a static list."""
    some = [x[k] for k in range(20) if k % 3]
    parts = [x[k, : k % 3 + 1] * 2 for k in range(20)]
    return np.array(some) * np.array([0.5 * k for k in range(4)]), parts[4], parts[5]


UNROLLED = [
    comprehension_that_fails_on_the_way,
    another_name, the_same_array, views_of_an_argument,
    of_changing_shape, sometimes, popped,
]  # fmt: skip


def check(fun: Callable) -> None:
    check_slope(fun, X, W, rtol=1e-2 if fun is single_precision else 1e-6)


def loops(fun: Callable) -> list[str]:
    lines = jg.jit(fun).explain(X, W).splitlines()
    return [line.split(": ", 1)[1] for line in lines if line.startswith(("for at", "comprehension at"))]


@pytest.mark.parametrize("fun", RECORDED, ids=lambda f: f.__name__)
def test_recorded(fun):
    check(fun)
    assert all(how == "rolled" for how in loops(fun)), loops(fun)


@pytest.mark.parametrize("fun", UNROLLED, ids=lambda f: f.__name__)
def test_unrolled(fun):
    check(fun)
    assert not any(how == "rolled" for how in loops(fun)), loops(fun)


def test_a_list_that_a_function_reads():
    check(read_by_a_function)
    assert loops(read_by_a_function) == ["rolled"]


def test_the_number_of_ops_does_not_grow_with_the_iterations():
    def path(n):
        def fun(x):
            xs = []
            for _ in range(n):
                x = np.sin(x) * 0.9
                xs.append(x)
            return np.sum(np.stack(xs) ** 2) + sum_of(xs)

        return fun

    def sum_of(xs):
        total = 0.0
        for x in xs:
            total = total + np.prod(x)
        return total

    sizes = [len(jg.grad(path(n)).ir(X[0], stage="traced").splitlines()) for n in (50, 500)]
    assert sizes[0] == sizes[1]


def test_large_arrays_are_not_kept_in_a_list_for_a_sum():
    def powers(x):
        return sum([c * np.sin(x) ** c for c in range(20)])

    x = np.linspace(0.0, 1.0, 50_000)
    np.testing.assert_allclose(jg.jit(powers)(x), powers(x), rtol=1e-12)
    arena = re.search(r"arena (\d+) bytes", jg.jit(powers).explain(x))
    assert arena is not None and int(arena[1]) <= x.nbytes


def test_the_first_iteration_may_be_apart():
    def fun(x):
        path = []
        for t in range(20):
            if t == 0:
                y = x * 2
            y = np.sin(y) + x
            path.append(y)
        return np.array(path)

    np.testing.assert_allclose(jg.jit(fun)(X[0]), fun(X[0]), rtol=1e-13)


def test_elements_that_are_returned():
    def fun(x, w):
        return states(x, w)

    for a, b in zip(jg.jit(fun)(X, W), fun(X, W), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_second_derivatives_and_forward_mode():
    def energy(x):
        path = []
        for t in range(12):
            x = np.sin(x * 1.1) + 0.1 * t
            path.append(x)
        return np.sum(np.array(path) ** 3)

    x = X[0]
    hessian = jg.hessian(energy)(x)
    gradient = jg.grad(energy)
    rows = [(gradient(x + 1e-6 * e) - gradient(x - 1e-6 * e)) / 2e-6 for e in np.eye(4)]
    np.testing.assert_allclose(hessian, rows, rtol=1e-5, atol=1e-6)
    _, slope = jg.jvp(energy, (x,), (np.ones(4),))
    np.testing.assert_allclose(slope, np.sum(gradient(x)), rtol=1e-12)


def test_a_list_of_the_caller_is_left_alone():
    def fun(x, found):
        for t in range(12):
            found.append(x * t)
        return np.array(found)

    given = [np.ones(4)]
    np.testing.assert_allclose(jg.jit(fun)(X[0], given), fun(X[0], [np.ones(4)]))
    assert len(given) == 1


def test_a_failing_loop_leaves_its_list():
    def fun(x):
        found = []
        try:
            for t in range(12):
                found.append(x * t)
                np.reshape(x, (3, 3))
        except ValueError:
            return np.sum(x) + len(found)
        return np.sum(x)

    assert float(jg.jit(fun)(X[0])) == float(fun(X[0]))


def test_a_comprehension_unpacks_as_python_does():
    def fun(x):
        return np.array([a + b for a, b in x])

    with pytest.raises(ValueError, match="too many values to unpack"):
        jg.jit(fun)(X)
