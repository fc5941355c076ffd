"""Lists and dicts that have several names, where traced conditions and recorded loops choose which."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import MutationError


def one_list_either_way(x, n):
    a = [x[0], 1.0]
    c = a
    if x[1] > 0:
        c = a
    c[0] = 7.0
    return np.array(a + c)


def one_list_in_a_loop(x, n):
    a = [x[0], 1.0]
    c = a
    for _ in range(20):
        c = a
    c[0] = 7.0
    return np.array(a + c)


def a_list_that_one_name_is_left_of(x, n):
    p, q = [x[0], 2.0], [x[1], x[2]]
    if x[3] > 0:
        p = [p[1], p[0]]
    else:
        p = list(q)
    p[0] = p[0] + 5.0
    return np.array(p + q)


def swapped_lists(x, n):
    a, c = [x[0], 1.0], [x[1], 2.0]
    for _ in range(n):
        a, c = c, a
    a[0] = 7.0
    return np.array(a + c)


def rows_in_tuples(x, n):
    t = [[x[0], 1.0], [x[1], 2.0]]
    pair = (t[0], 1.0)
    if x[2] > 0:
        pair = (t[0], x[3])
    pair[0][1] = 9.0
    return np.array(t) * pair[1]


@pytest.mark.parametrize(
    "fun",
    [one_list_either_way, one_list_in_a_loop, a_list_that_one_name_is_left_of, swapped_lists, rows_in_tuples],
    ids=lambda f: f.__name__,
)
def test_lists_stay_what_they_are_behind_branches_and_loops(fun) -> None:
    for x in (np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, -2.0, -3.0, -4.0])):
        for n in (4, np.array(3)):
            np.testing.assert_array_equal(jg.jit(fun)(x, n), fun(x, n))


def chosen_is_written(x, n):
    a, b = [x[0], 1.0], [2.0, x[1]]
    c = a if x[2] > 0 else b
    c[0] = 7.0
    return np.array(a + b + c)


def one_of_the_chosen_is_written(x, n):
    a, b = [x[0], 1.0], [2.0, x[1]]
    c = a if x[2] > 0 else b
    b.append(7.0)
    return np.array(a + c)


def a_chosen_dict(x, n):
    a, b = {"p": x[0]}, {"p": x[1]}
    if x[2] > 0:
        c = a
    else:
        c = b
    c["p"] = 7.0
    return a["p"] + b["p"]


def a_row_at_a_traced_index(x, n):
    t = [[0.1, x[0]], [0.2, 0.3]]
    row = t[n]
    row[0] = 7.0
    return np.array(t)


def a_row_before_its_list_changes(x, n):
    t = [[0.1, x[0]], [0.2, 0.3]]
    row = t[n]
    t[1][0] = 7.0
    return np.array(row)


def a_row_after_a_loop(x, n):
    t = [[0.1, x[0]], [0.2, 0.3]]
    row = t[0]
    for _ in range(20):
        row = t[n]
    row[0] = 7.0
    return np.array(t)


@pytest.mark.parametrize(
    "fun",
    [
        chosen_is_written,
        one_of_the_chosen_is_written,
        a_chosen_dict,
        a_row_at_a_traced_index,
        a_row_before_its_list_changes,
        a_row_after_a_loop,
    ],
    ids=lambda f: f.__name__,
)
def test_a_change_that_another_name_would_have_to_see_is_an_error(fun) -> None:
    with pytest.raises(MutationError, match=r"[Cc]opy") as caught:
        jg.jit(fun)(np.array([1.0, 2.0, 3.0, 4.0]), np.array(1))
    assert " = 7.0" in str(caught.value) or "append(7.0)" in str(caught.value)


def test_lists_that_are_chosen_among_can_be_read_and_forgotten() -> None:
    def fun(x):
        best = [x[0], x[1]]
        for k in range(6):
            new = [x[k] * 2, x[k] + 1]
            if new[0] > best[0]:
                best = new
        s = best[0] * best[1]
        best = [s, s]
        best[0] = 1.0
        return np.array(best)

    x = np.array([0.3, -0.2, 0.9, 0.1, 0.5, 0.6])
    np.testing.assert_array_equal(jg.jit(fun)(x), fun(x))
