"""Lists that recorded loops make longer and use otherwise too; lists and tables at traced indices."""

# ruff: noqa: PERF401, B905
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

import jitgrad as jg
from tests.frontend.growing_lists import W, X, check, check_recorded, check_unrolled, loops

# -- loops of known length ---------------------------------------------------------------------------------------------


def its_length(x, w):
    xs = []
    for t in range(20):
        xs.append(x[t] * (2.0 if len(xs) > 7 else 1.0) + len(xs))
    return np.array(xs), len(xs)


def extended(x, w):
    xs, ys = [1.0], []
    for t in range(20):
        xs.extend([x[t], x[t] ** 2])
        ys.extend((np.sin(w[t]), w[t] * x[t]))
    return np.array(xs), np.array(ys)


def added_to(x, w):
    xs = [1.0]
    for t in range(20):
        xs += [x[t], x[t] * xs[-1]]
    return np.array(xs), len(xs)


def items_from_the_end(x, w):
    xs = [x[0], x[1], 0.5]
    for t in range(20):
        xs.append(np.sin(xs[-1]) + 0.5 * xs[-2] * x[t] - 0.1 * xs[-3])
    return np.array(xs), sum(xs), max(xs)


def items_from_the_start(x, w):
    xs = [x[0]]
    for t in range(1, 20):
        s = 0.0
        for j in range(t):
            s = s + xs[j] * xs[t - 1 - j]
        xs.append(0.1 * s + x[t] * xs[0])
    return np.array(xs), xs[3]


def arrays(x, w):
    rows = [w[0] * 1.0, w[1] * 2.0]
    for t in range(2, 20):
        rows.append(np.tanh(rows[-1] + 0.3 * rows[t - 2]) * w[t] + rows[0])
    return np.array(rows), np.stack(rows, axis=1), rows[4] * rows[-1]


def slices(x, w):
    xs = [x[0], x[1], x[2], x[3]]
    for t in range(4, 20):
        xs.append(np.mean(xs[-4:]) + x[t] * sum(xs[-2:]))
    return np.array(xs)


def all_so_far(x, w):
    xs = [x[0]]
    for t in range(1, 20):
        xs.append(np.sum(np.array(xs) ** 2) * 0.02 + x[t] + 0.1 * max(xs) + 0.1 * sum(xs))
    return np.array(xs)


def looped_over_inside(x, w):
    xs = [x[0]]
    for t in range(1, 20):
        s = 0.0
        for k, v in enumerate(xs):
            s = s + v * np.cos(k + x[t])
        xs.append(s * 0.2 + x[t])
    return np.array(xs)


def in_both_branches(x, w):
    xs = []
    for t in range(20):
        if x[t] > 0:
            xs.append(x[t] * 2)
        else:
            xs.append(np.sin(x[t]) * len(xs))
    return np.array(xs)


def nested(x, w):
    xs = []
    for i in range(10):
        for j in range(12):
            xs.append(x[i] * x[j] + len(xs))
        xs.append(xs[-3])
    return np.array(xs), len(xs)


def triangle(x, w):
    xs = [0.5]
    for i in range(12):
        for j in range(i):
            xs.append(x[i] * x[j] + 0.1 * xs[-1])
    return np.array(xs), len(xs)


def pairs(x, w):
    xs = [(x[0], 1.0)]
    for t in range(20):
        a, b = xs[-1]
        xs.append((a * 0.5 + x[t], b + len(xs)))
    p, q = zip(*xs)
    return np.array(p), np.array(q), np.array([a for a, _ in xs])


def dicts(x, w):
    xs = []
    for t in range(20):
        xs.append({"a": x[t] * len(xs), "b": w[t] * 2})
    return np.array([d["a"] for d in xs]), np.stack([d["b"] for d in xs])


def two_lists(x, w):
    xs, ys = [x[0]], [0.0, 0.0]
    for t in range(20):
        xs.append(xs[-1] * 0.5 + ys[-2])
        ys.append(x[t] - xs[-2])
    return np.array(xs), np.array(ys)


def by_a_function(x, w):
    def push(values, v):
        values.append(v + 0.1 * values[-2])

    xs = [x[0], x[1]]
    for t in range(20):
        push(xs, x[t] * 2)
    return np.array(xs)


@dataclass
class Record:
    losses: list = field(default_factory=list)


def of_an_attribute(x, w):
    r = Record([x[0], x[1]])
    for t in range(20):
        r.losses.append(r.losses[-1] - 0.5 * r.losses[-2] + x[t] * len(r.losses))
    return np.array(r.losses)


def integers_first(x, w):
    xs = [0, 1]
    for t in range(20):
        xs.append(xs[-1] + x[t] * xs[-2])
    return np.array(xs)


def stack(x, w):
    xs = [x[0]]
    for t in range(20):
        xs.append(x[t] * xs[-1])
        a = xs.pop()
        b = xs.pop()
        xs.append(a * 0.5 + b)
        xs.append(a - b)
    return np.array(xs), len(xs)


def with_the_first_apart(x, w):
    xs = []
    for t in range(20):
        before = xs[-1] if len(xs) > 0 else 0.0
        xs.append(before * 0.5 + x[t])
    return np.array(xs)


def under_a_condition_inside(x, w):
    xs = [x[0], x[1]]
    for t in range(20):
        y = x[t]
        if y > 0:
            y = y * xs[-2]
        xs.append(y)
    return np.array(xs)


def variable_of_the_last(x, w):
    rows = [w[0] * 1.0]
    for t in range(20):
        h = np.sin(rows[-1]) + w[t] * len(rows)
        rows.append(h)
    h += 1.0
    return np.array(rows), h


def first_taken(x, w):
    xs = [x[0]]
    for t in range(20):
        xs.append(x[t])
        if len(xs) > 4:
            xs.pop(0)
    return np.array(xs)


def deleted(x, w):
    xs = [x[0], x[1]]
    for t in range(20):
        xs.append(x[t])
        del xs[0]
    return np.array(xs)


GROWING = [
    its_length, extended, added_to, items_from_the_end, items_from_the_start, arrays, slices, all_so_far,
    looped_over_inside, in_both_branches, nested, triangle, pairs, dicts, two_lists, by_a_function, of_an_attribute,
    integers_first, stack, with_the_first_apart, under_a_condition_inside, variable_of_the_last, deleted,
]  # fmt: skip


# -- lists whose lengths are known when the program runs ---------------------------------------------------------------


def if_positive(x, w):
    xs = []
    for t in range(20):
        if x[t] > 0:
            xs.append(x[t] * 2)
    return np.sum(np.array(xs) ** 2), len(xs), sum(xs), max(xs), xs[-1] * xs[1], np.mean(xs)


def until_a_break(x, w):
    xs = [0.5]
    for t in range(20):
        if x[t] < -1.5:
            break
        xs.append(x[t] * xs[-1] + len(xs))
    return np.sum(np.array(xs) ** 2) * len(xs)


def with_continue(x, w):
    rows = []
    for t in range(20):
        if x[t] < 0:
            continue
        rows.append(w[t] * x[t])
    return np.array(rows).sum(axis=0), np.stack(rows).mean(), rows[0], rows[-1]


def newton(x, w):
    xs = [3.0 + x[0] ** 2]
    while abs(xs[-1] ** 2 - 2.0 - x[1] ** 2) > 1e-10:
        xs.append(0.5 * (xs[-1] + (2.0 + x[1] ** 2) / xs[-1]))
    return xs[-1], np.sum(np.array(xs)), len(xs)


def adaptive_steps(x, w):
    """Accepted and rejected steps."""
    t, y, h, ts, ys = 0.0, 1.0 + x[0] ** 2, 0.3, [0.0], []
    ys.append(y)
    while t < 2.0:
        slope = -y + x[1] * np.sin(t)
        error = abs(h * slope) * 0.3
        if error < 0.05:
            t, y = t + h, y + h * slope
            ts.append(t)
            ys.append(y)
            h = h * 1.1
        else:
            h = h * 0.5
    return np.sum(np.array(ys) * np.array(ts)), ys[-1], len(ts)


def arrays_in_a_while(x, w):
    v, rows = w[0] * 1.0, []
    while np.sum(v**2) > 0.01:
        v = v * 0.7
        rows.append(v)
    return np.sum(np.array(rows) * x[0]), v


def looped_over_behind(x, w):
    xs, s = [], 0.0
    for t in range(20):
        if x[t] > -0.5:
            xs.append(x[t])
    for k, v in enumerate(xs):
        s = s + v * np.sin(k * x[0])
    for k in range(len(xs)):
        s = s + xs[k] ** 2
    return s


def two_loops(x, w):
    xs = [x[0]]
    for t in range(20):
        if x[t] > 0.3:
            xs.append(x[t])
    for t in range(20):
        if x[t] < -0.3:
            xs.append(xs[-1] * x[t])
    xs.append(x[3])
    return np.sum(np.array(xs) * np.arange(len(xs))), len(xs)


def nested_conditions(x, w):
    xs = []
    for i in range(10):
        for j in range(i):
            if x[i] > x[j]:
                xs.append(x[i] - x[j])
        xs.append(x[i])
    return np.sum(np.array(xs) ** 2), len(xs)


def of_objects(x, w):
    r = Record()
    for t in range(20):
        if x[t] > 0:
            r.losses.append(x[t] ** 3)
    return np.sum(np.array(r.losses)), len(r.losses)


def if_any(x, w):
    xs, s = [], 0.0
    for t in range(20):
        if x[t] > 0.5:
            xs.append(x[t])
        if xs:
            s = s + xs[-1]
    return s


def pairs_if(x, w):
    xs = []
    for t in range(20):
        if x[t] > 0:
            xs.append((x[t], x[t] ** 2))
    return np.array(xs).sum(axis=0), len(xs)


def rows_if(x, w):
    xs = []
    for t in range(20):
        if x[t] > -0.2:
            xs.append([x[t], x[t] * t, w[t, 0]])
    return np.array(xs).sum(axis=0), np.array(xs).shape[0]


def last_in_a_branch(x, w):
    """The condition depends on the last item, which one branch appends."""
    rows, n, s = [w[0] * x[0], w[1] * 1.0], 0, 0.1
    while s < 3.0 and n < 9:
        n += 1
        rows.append(w[2] * s)
        if s > 0.5:
            rows.append(0.3 * w[3] + rows[-2])
        s = s + abs(rows[-1][0]) + 0.1
    return s, np.sum(np.array(rows))


def while_in_for(x, w):
    rows, n = [w[0] * x[0], w[1] + x[1]], 0
    for i in range(9):
        n = 0
        while np.sin(x[i]) > 0.4 + n * 0.1 and n < 9:
            n += 1
            rows.append(rows[-1] * 0.5 + 0.2 * rows[-2])
    return np.sum(np.array(rows)), len(rows)


def last_items_in_a_loop_inside(x, w):
    xs, ys, n, s = [x[0], 0.3], [x[1], 0.5], 0, 0.0
    while s < 3.0 and n < 9:
        n += 1
        for i in range(9):
            ys.append(0.1 * len(xs) + s)
            for k in range(9):
                s = s + (xs[-1] + xs[-2]) ** 2 + 0.1
                ys += [np.tanh(x[i + k]), 0.5 * ys[-1] + 0.1 * ys[-3]]
        xs.append(ys[-1])
    return s, np.sum(np.array(xs)), np.sum(np.array(ys))


OPEN = [
    if_positive, until_a_break, with_continue, newton, adaptive_steps, arrays_in_a_while, looped_over_behind, two_loops,
    nested_conditions, of_objects, if_any, pairs_if, rows_if, last_in_a_branch,
]  # fmt: skip


# -- what stays as it was ----------------------------------------------------------------------------------------------


def known_conditions(x, w):
    xs = []
    for t in range(20):
        if t % 3 == 0:
            xs.append(x[t] * 2)
    return np.array(xs)


def shared_rows(x, w):
    t = [[0.0] * 12] * 10
    for i in range(10):
        for j in range(12):
            t[i][j] = x[i] * x[j] + t[i - 1][j]
    return np.array(t)


def another_name(x, w):
    xs = []
    ys = xs
    for t in range(20):
        xs.append(x[t] * len(ys))
    return np.array(ys)


def of_changing_shape(x, w):
    xs = []
    for t in range(1, 20):
        xs.append(x[:t] * len(xs))
    return xs[3], xs[-1]


def texts(x, w):
    xs, s = [], 0.0
    for t in range(20):
        xs.append("a" * len(xs))
        s = s + x[t] * len(xs[-1])
    return s


def the_same_array(x, w):
    h, rows = np.zeros(3), []
    for t in range(20):
        h += w[t]
        rows.append(h)
        h *= 0.5
    return np.array(rows)


def written_after_it_is_read(x, w):
    rows = [w[0] * 1.0, w[1] * 1.0]
    for t in range(20):
        old = rows[-2]
        rows[-2] = w[t] * 2
        rows.append(old + rows[-2])
    return np.array(rows)


UNROLLED = [
    known_conditions, another_name, of_changing_shape, texts, the_same_array, first_taken,
    written_after_it_is_read,
]  # fmt: skip


def test_a_while_loop_in_an_unrolled_one():
    check(while_in_for)


def test_loops_in_a_while_loop_that_reads_last_items():
    check(last_items_in_a_loop_inside)


def rows_of_a_while(a, s, k):
    rs = [a * s, a + 0.5]
    while s < 3.0:
        for _ in range(1, 9, 4):  # short: whether it can be unrolled is tried
            for _ in range(k, 4):
                r = rs[-1] * 0.5
                rs.append(r * abs(a[-1]) - (a[1] if s > 0.8 else s))
        s = s + 0.7
    z = np.array(rs)
    return np.sum(z[-1]) + np.sum(z[3] * a)


@pytest.mark.parametrize("k", [1, 3])
def test_a_trial_of_a_loop_inside_leaves_no_items_in_the_lists_of_loops_around(k):
    value, (slope, of_s) = jg.value_and_grad(lambda a, s, k: rows_of_a_while(a, s, k), (0, 1))(X, 0.3, k)
    np.testing.assert_allclose(value, rows_of_a_while(X, 0.3, k), rtol=1e-12)
    moved = [rows_of_a_while(X + h * W[:, 0], 0.3 + h, k) for h in (1e-6, -1e-6)]
    np.testing.assert_allclose(np.sum(slope * W[:, 0]) + of_s, (moved[0] - moved[1]) / 2e-6, rtol=1e-7)


def grown_under_a_condition(x, n):
    xs = [x[0], x[1]]
    if x[2] > 0:
        for t in range(n):
            xs.append(x[t])
    return sum(xs)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_list_that_grows_by_any_number_of_items_in_a_branch(sign):
    x = np.abs(X) * sign
    for n in (0, 3):
        np.testing.assert_allclose(jg.jit(grown_under_a_condition)(x, np.array(n)), grown_under_a_condition(x, n))


def one_list_open_and_one_not(x, n):
    """That the length of ``ys`` is not known must not show in ``xs`` before the loop is recorded again."""
    xs, ys = [x[0], 0.3], [x[1]]
    for _ in range(n):
        ys.append(ys[-1] * 0.5)
    for t in range(12):
        xs.append(0.5 * xs.pop() + x[t])
        ys.extend([x[t], 0.3])
    return np.array(xs), sum(ys)


def test_lists_of_known_and_unknown_lengths_in_one_loop():
    for a, b in zip(jg.jit(one_list_open_and_one_not)(X, np.array(5)), one_list_open_and_one_not(X, 5)):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def of_each_iteration(x, n):
    s = 0.0
    for t in range(12):
        xs = [x[t], 1.0]
        for k in range(n):
            if x[k] > 0:
                xs.append(x[k] * xs[-1] + xs[0])
        s = s + sum(xs)
    return s


def test_a_list_that_an_iteration_makes_may_grow_by_any_number_of_items():
    np.testing.assert_allclose(jg.jit(of_each_iteration)(X, np.array(5)), of_each_iteration(X, 5))


@pytest.mark.parametrize("fun", [*GROWING, *OPEN], ids=lambda f: f.__name__)
def test_recorded(fun):
    check_recorded(fun)


@pytest.mark.parametrize("fun", UNROLLED, ids=lambda f: f.__name__)
def test_unrolled(fun):
    check(fun)
    assert not any(how == "rolled" for how in loops(fun)), loops(fun)


def test_rows_that_are_one_list():
    check(shared_rows)


@pytest.mark.parametrize("fun", GROWING, ids=lambda f: f.__name__)
def test_gradients_are_those_of_the_unrolled_loops(fun):
    check_unrolled(fun)
