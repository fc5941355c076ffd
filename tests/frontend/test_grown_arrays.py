"""Arrays that recorded loops make longer: ``xs = np.append(xs, v)`` and its like."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import JitgradError
from tests.frontend.growing_lists import W, X, check, check_recorded, loops

# -- how parts are joined ----------------------------------------------------------------------------------------------


def appended(x, w):
    xs = np.array([1.0])
    for t in range(20):
        xs = np.append(xs, np.sin(xs[-1]) * x[t])
    return xs


def appended_to_nothing(x, w):
    xs = np.array([])
    for t in range(20):
        xs = np.append(xs, x[t] ** 2)
    return xs, len(xs), xs.shape[0]


def appended_to_a_list(x, w):
    xs = []
    for t in range(20):
        xs = np.append(xs, x[t] ** 2)
    return xs


def appended_several(x, w):
    xs = x[:2]
    for t in range(10):
        xs = np.append(xs, [x[t], x[t] * xs[-2]])
    return xs


def appended_rows(x, w):
    xs = np.array([0.5])
    for t in range(20):
        xs = np.append(xs, w[t] * xs[-1])
    return xs


def appended_along_an_axis(x, w):
    xs = np.zeros((1, 3))
    for t in range(20):
        xs = np.append(xs, w[t : t + 1] * x[t] + xs[-1], axis=0)
    return xs


def concatenated(x, w):
    xs = np.ones(1)
    for t in range(20):
        xs = np.concatenate((xs, [x[t] + xs[0]]))
    return xs


def concatenated_rows(x, w):
    rows = w[:1]
    for t in range(1, 20):
        row = np.tanh(rows[-1] + w[t]) * x[t]
        rows = np.concatenate([rows, row[None]])
    return rows, rows[-1]


def concatenated_three(x, w):
    xs = np.ones(1)
    for t in range(20):
        xs = np.concatenate([xs, x[t : t + 1], w[t] * xs[-1]])
    return xs


def hstacked(x, w):
    xs = np.array([0.0])
    for t in range(20):
        xs = np.hstack([xs, x[t] + 0.5 * xs[-1]])
    return xs


def hstacked_columns(x, w):
    xs = np.zeros((3, 1))
    for t in range(20):
        xs = np.hstack([xs, (w[t] + np.cos(xs[:, -1]))[:, None]])
    return xs


def vstacked(x, w):
    m = np.zeros((1, 3))
    for t in range(20):
        m = np.vstack([m, m[-1] * x[t] + w[t]])
    return m


def vstacked_on_a_row(x, w):
    m = w[0]
    for t in range(1, 20):
        m = np.vstack((m, m[-1] * x[t] + w[t]))
    return m


def vstacked_on_nothing(x, w):
    m = np.empty((0, 3))
    for t in range(20):
        m = np.vstack([m, w[t] * x[t]])
    return m


def columns(x, w):
    m = w[0]
    for t in range(1, 20):
        m = np.column_stack([m, w[t] * x[t]])
    return m


def along_the_last_axis(x, w):
    m = np.zeros((2, 3, 1))
    for t in range(12):
        m = np.concatenate([m, (x[t] * w[:2] + m[:, :, -1])[..., None]], axis=-1)
    return m


def in_front(x, w):
    xs = np.array([1.0])
    for t in range(20):
        xs = np.concatenate([[x[t] * xs[0] + xs[-1]], xs])
    return xs


def in_front_of_nothing(x, w):
    xs = np.zeros(0)
    for t in range(20):
        xs = np.append(x[t] ** 2, xs)
    return xs


def rows_in_front(x, w):
    m = w[:2]
    for t in range(20):
        m = np.concatenate([w[t : t + 1], np.sin(m[:1]), m])
    return m


# -- what the body does with it ----------------------------------------------------------------------------------------


def reads_items(x, w):
    xs = np.array([x[0], x[1]])
    for t in range(2, 20):
        xs = np.append(xs, xs[-1] * xs[t // 2] + 0.1 * xs[-2] + xs[0] / len(xs))
    return xs


def reads_all(x, w):
    xs = np.array([x[0]])
    for t in range(1, 20):
        xs = np.append(xs, np.tanh(np.sum(xs * xs[::-1])) * x[t] + np.max(xs) - xs.mean())
    return xs


def reads_parts(x, w):
    m = w[:2]
    for t in range(2, 20):
        m = np.vstack([m, 0.5 * m[-2:].sum(axis=0) + m[:, 0].sum() * w[t] - m[1:].mean(axis=0)])
    return m


def reads_the_one_before(x, w):
    xs = np.array([x[0]])
    for t in range(1, 20):
        before = xs
        xs = np.append(xs, x[t] * before[-1])
        xs = np.append(xs, np.sin(xs[-1] + before[-1] + before.sum()))
    return xs


def several_arrays(x, w):
    ts, ys, rows = np.array([0.0]), np.array([x[0]]), w[:1]
    for t in range(1, 20):
        y = ys[-1] + 0.1 * x[t] * np.cos(ts[-1])
        ts = np.append(ts, ts[-1] + 0.1)
        ys = np.append(ys, y)
        rows = np.concatenate([rows, [w[t] * y + rows[-1]]])
    return ts, ys, rows


def with_lists(x, w):
    xs, found = np.array([x[0]]), []
    for t in range(1, 20):
        xs = np.append(xs, xs[-1] * x[t])
        found.append(xs[-1] + len(found))
    return xs, np.array(found)


def parts_from_state(x, w):
    """The row is a variable as well, and part of other arrays."""
    row, rows = w[0], np.zeros((0, 3))
    for t in range(20):
        both = np.concatenate([row, x[t : t + 1]])
        row = np.sin(row + both[1:])
        rows = np.vstack([rows, row])
    return rows, row


def in_a_tuple(x, w):
    state = (np.array([x[0]]), 1.0)
    for t in range(1, 20):
        xs, total = state
        state = (np.append(xs, xs[-1] * x[t] + total), total + x[t])
    return state[0], state[1]


def push(xs, v):
    return np.append(xs, v)


def by_a_function(x, w):
    xs = np.array([x[0]])
    for t in range(1, 20):
        xs = push(xs, xs[-1] * x[t])
    return xs


def later_uses(x, w):
    xs = np.array([x[0]])
    for t in range(1, 20):
        xs = np.append(xs, xs[-1] * x[t])
    xs[3] = 2.0
    xs *= x[0]
    ys = np.append(xs, 1.0)
    return xs, ys, sum(v * k for k, v in enumerate(xs))


def in_a_loop(x, w):
    xs = np.array([1.0])
    for t in range(12):
        for k in range(10):
            xs = np.append(xs, np.sin(xs[-1] + x[t] * w[k, 0]))
        xs = np.append(xs, xs[t])
    return xs


def inner_arrays(x, w):
    total = 0.0
    for t in range(12):
        xs = np.array([x[t]])
        for k in range(10):
            xs = np.append(xs, np.sin(xs[-1] + w[k, 0]))
        total = total + np.sum(xs**2) * xs[-1]
    return total


def a_triangle(x, w):
    xs = np.zeros(0)
    for t in range(12):
        for k in range(t):
            xs = np.append(xs, x[t] * w[k, 0])
    return xs


def growing_parts(x, w):
    xs = x[:1]
    for t in range(1, 12):
        xs = np.append(xs, x[:t] * xs[-1])
    return xs


def integers(x, w):
    ks = np.array([1, 1])
    for t in range(20):
        ks = np.append(ks, ks[-1] + (x[t] > 0))
    return x * ks[:20], ks


def becomes_float(x, w):
    ks = np.array([1, 1])
    for t in range(20):
        ks = np.append(ks, ks[-1] + x[t])
    return ks


def starts_as_the_argument(x, w):
    for t in range(20):
        x = np.append(x, x[-1] * x[t] * 0.5)
    return x


def complex_numbers(x, w):
    zs = np.array([1.0 + 0.5j])
    for t in range(20):
        zs = np.append(zs, zs[-1] * np.exp(1j * x[t]))
    return np.abs(zs.sum()) + zs.real, zs.imag


# -- lengths that depend on values -------------------------------------------------------------------------------------


def some(x, w):
    xs = np.array([0.5])
    for t in range(20):
        if x[t] > 0:
            xs = np.append(xs, x[t] * xs[-1])
    return np.sum(xs**2), len(xs), xs[-1]


def push_some(xs, v):
    if v > 0:
        return np.append(xs, v)
    return xs


def some_by_a_function(x, w):
    xs = np.array([0.5])
    for t in range(20):
        xs = push_some(xs, x[t] * xs[-1])
    return np.sum(xs**2), len(xs)


def one_or_two(x, w):
    xs, m = np.array([]), np.zeros((0, 3))
    for t in range(20):
        if x[t] > 0:
            xs = np.append(xs, x[t])
            m = np.vstack([m, w[t]])
        else:
            xs = np.append(xs, [x[t] ** 2, 1.0])
            m = np.vstack([m, -w[t], w[t] * x[t]])
    return np.sum(xs**2) + np.sum(xs[-3:]), np.sum(xs @ m), len(m)


def as_many_either_way(x, w):
    xs = np.array([0.5])
    for t in range(20):
        if x[t] > 0:
            xs = np.append(xs, x[t])
        else:
            xs = np.append(xs, np.sin(xs[-1]))
    return xs


def some_in_a_loop(x, w):
    xs = np.array([0.5])
    for t in range(12):
        for k in range(10):
            if w[k, 0] > x[t]:
                xs = np.append(xs, np.sin(x[t] * xs[-1] + w[k, 1]))
    return np.sum(xs**2), len(xs)


def ends_early(x, w):
    xs = np.array([1.0])
    for t in range(20):
        xs = np.append(xs, xs[-1] + x[t] ** 2)
        if xs[-1] > 5:
            break
    return np.sum(xs**2), len(xs)


def traced_length(x, w):
    xs = np.array([1.0])
    n = int(np.sum(x > 0))
    for t in range(n):
        xs = np.append(xs, xs[-1] * x[t])
    return np.sum(xs**2), len(xs)


def while_far(x, w):
    xs = np.array([2.0, 1.0])
    while np.abs(xs[-1] - xs[-2]) > 1e-3 and len(xs) < 50:
        xs = np.append(xs, np.cos(xs[-1] + 0.1 * x[0]))
    return np.sum(xs**2), len(xs), xs[-1]


def while_rows(x, w):
    m, k = w[:1], 0
    while np.sum(m[-1] ** 2) > 1e-3:
        m = np.vstack([m, 0.7 * m[-1] * np.cos(x[0])])
        k += 1
    return np.sum(m * np.arange(3)), len(m) + k


def while_in_front(x, w):
    xs = np.array([x[0]])
    while xs[0] < 5:
        xs = np.concatenate([[xs[0] + 1 + x[1] ** 2], xs])
    return np.sum(xs**2), xs.shape[0]


RECORDED = [
    appended, appended_to_nothing, appended_to_a_list, appended_several, appended_rows, appended_along_an_axis,
    concatenated, concatenated_rows, concatenated_three, hstacked, hstacked_columns, vstacked, vstacked_on_a_row,
    vstacked_on_nothing, columns, along_the_last_axis, in_front, in_front_of_nothing, rows_in_front, reads_items,
    reads_all, reads_parts, reads_the_one_before, several_arrays, with_lists, parts_from_state, in_a_tuple,
    by_a_function, later_uses, in_a_loop, inner_arrays, a_triangle, growing_parts, integers, becomes_float,
    starts_as_the_argument, complex_numbers, some, some_by_a_function, one_or_two, as_many_either_way, some_in_a_loop,
    ends_early, traced_length, while_far, while_rows, while_in_front,
]  # fmt: skip


@pytest.mark.parametrize("fun", RECORDED)
def test_recorded(fun):
    check_recorded(fun)


# -- what is more than to join parts -----------------------------------------------------------------------------------


def written(x, w):
    xs = np.array([x[0]])
    for t in range(1, 20):
        xs = np.append(xs, x[t])
        xs[0] += xs[-1]
    return xs


def scaled(x, w):
    xs = np.array([x[0]])
    for t in range(1, 20):
        xs = 0.9 * np.append(xs, x[t])
    return xs


def at_both_ends(x, w):
    xs = np.array([x[0]])
    for t in range(1, 20):
        xs = np.concatenate([[x[t]], xs, [x[t]]])
    return xs


def the_one_before_stays(x, w):
    xs = before = np.array([x[0]])
    for t in range(1, 20):
        before = xs
        xs = np.append(xs, x[t] * before[-1])
    return xs, before


def last_row_stays(x, w):
    m, r = w[:1], w[0]
    for t in range(1, 20):
        r = m[-1]
        m = np.vstack([m, r * x[t]])
    return m, r


def two_that_swap(x, w):
    a, b = x[:1], x[1:2]
    for t in range(1, 20):
        a, b = np.append(b, x[t]), np.append(a, 2 * x[t])
    return a, b


def where_the_number_says(x, w):
    xs = x[:1]
    for t in range(20):
        if t % 3 == 0:
            xs = np.append(xs, x[t])
    return xs


#: What makes another array of the same length each time is recorded with copies (``resized_arrays``).
COPIED = [written, scaled, at_both_ends, the_one_before_stays, last_row_stays, two_that_swap]


@pytest.mark.parametrize("fun", COPIED)
def test_recorded_with_copies(fun):
    check_recorded(fun)


def test_unrolled():
    check(where_the_number_says)
    assert any("unrolled" in how for how in loops(where_the_number_says))


def several_names(x, w):
    xs = np.array([1.0])
    ys = xs
    for t in range(20):
        xs = np.append(xs, x[t])
        ys = xs
    return xs * ys


def another_name_from_before(x, w):
    xs = np.array([1.0])
    ys = xs
    for t in range(20):
        xs = np.append(xs, x[t])
    ys[0] = x[0]
    return xs, ys


def of_a_closure(x, w):
    xs = x[:1]

    def push(v):
        nonlocal xs
        xs = np.append(xs, v)

    for t in range(20):
        push(x[t])
    return xs


@pytest.mark.parametrize("fun", [several_names, another_name_from_before, of_a_closure])
def test_names(fun):
    check_recorded(fun)


def test_dtypes_are_numpys():
    def f(x, start):
        xs = start
        for t in range(20):
            xs = np.append(xs, x[t])
        return xs

    for start in (np.zeros(1, np.float32), np.zeros(1, np.int32), np.zeros(0, bool)):
        for x in (X, X.astype(np.float32), (10 * X).astype(np.int64)):
            found, expected = jg.jit(f)(x, start), f(x, start)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_compile_time_does_not_grow_with_the_number_of_iterations():
    def ops(fun, n):
        return len(str(jg.grad(lambda x: np.sum(fun(x, n) ** 2)).ir(0.9)).splitlines())

    def path(x, n):
        xs = np.array([1.0])
        for t in range(n):
            xs = np.append(xs, np.sin(xs[-1] * x) + xs[t // 2])
        return xs

    def rows(x, n):
        m = np.ones((1, 3))
        for _ in range(n):
            m = np.vstack([m, np.sin(m[-1] * x)])
        return m

    for fun in (path, rows):
        assert ops(fun, 500) == ops(fun, 50)


def test_second_derivatives():
    def total(x):
        return np.sum(reads_items(x, W) ** 2)

    found = jg.hessian(total)(X)
    step = 1e-6 * np.eye(20)
    gradient = jg.grad(total)
    slopes = [(gradient(X + d) - gradient(X - d)) / 2e-6 for d in step]
    np.testing.assert_allclose(found, slopes, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loops_are", ["roll", "auto"])
def test_a_while_loop_that_reads_other_items(loops_are):
    def f(x):
        xs = np.array([x])
        while np.sum(xs) < 10:
            xs = np.append(xs, xs[-1] + 1)
        return np.sum(xs**2)

    with pytest.raises(JitgradError, match="reads more of an array that it makes longer than its length") as caught:
        jg.jit(f, loops=loops_are)(0.5)
    assert "np.sum(xs) < 10" in str(caught.value)


def test_a_while_loop_in_a_loop():
    def f(x):
        xs = np.array([0.5])
        for t in range(12):
            while xs[-1] < t:
                xs = np.append(xs, xs[-1] + x[t])
        return np.sum(xs)

    for x in (np.ones(12), np.linspace(0.1, 0.8, 12)):
        np.testing.assert_allclose(jg.jit(f)(x), f(x), rtol=1e-13)
        d = np.cos(np.arange(12.0))
        expected = (f(x + 1e-7 * d) - f(x - 1e-7 * d)) / 2e-7
        np.testing.assert_allclose(jg.grad(f)(x) @ d, expected, rtol=1e-6)
