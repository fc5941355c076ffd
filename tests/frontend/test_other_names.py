"""Arrays that have several names, some of which a recorded loop lets stand for others."""

from __future__ import annotations

import numpy as np
import pytest
from compared import same

import jitgrad as jg
from jitgrad.errors import MutationError, RollError

X = np.array([0.5, 1.0, 2.0])


# Names by which a loop reads what it writes by others.


def other_name_is_a_view(x, n):
    a, b = x.copy(), 2 * x
    view = a[1:]
    s = 0.0
    for _ in range(n):
        a, b = b, a
        a[1] = a[0] + 1.0
        s += view[0]
    return s


def other_name_in_a_closure(x, n):
    a, b = x.copy(), 2 * x
    first = a
    s = 0.0
    for _ in range(n):
        a[0] += 1.0
        a, b = b, a
        s += (lambda: first[0])()
    return s


def other_name_in_a_list(x, n):
    a, b = x.copy(), 2 * x
    both = [a, b]
    s = 0.0
    for _ in range(n):
        a[0] += 1.0
        a, b = b, a
        s += both[1][0]
    return s


def other_name_in_a_condition(x, n):
    a, b = x.copy(), 2 * x
    view = b[:1]
    while view[0] < n:
        a[0] += 1.0
        a, b = b, a
    return a + b


def other_name_is_assigned(x, n):
    a, b = x.copy(), 2 * x
    old = a
    for _ in range(n):
        a[0] += 1.0
        a, b = b, old
    return a + b


def other_name_of_an_element(x, n):
    A = x[:, None] * x
    a, b = A[0], A[:, 0]
    for _ in range(n):
        a[0] += b[0] * 0.1
        a, b = b, a
    return np.sum(A)


OTHER_NAMES = [
    other_name_of_an_element,
    other_name_is_a_view,
    other_name_in_a_closure,
    other_name_in_a_list,
    other_name_in_a_condition,
    other_name_is_assigned,
]


@pytest.mark.parametrize("fun", OTHER_NAMES, ids=lambda f: f.__name__)
def test_an_array_read_by_another_name_than_a_loop_writes_it(fun):
    with pytest.raises(RollError, match="another name"):
        jg.jit(fun)(X, np.array(5))  # an int would be taken as a number, and the loop unrolled
    if fun is not other_name_in_a_condition:  # whose length depends on the array
        same(fun, X, 5)


@pytest.mark.parametrize("fun", OTHER_NAMES[:4], ids=lambda f: f.__name__)
def test_such_a_loop_is_unrolled_where_its_length_is_known(fun):
    same(fun, X, 20, static_argnums=1)


def test_an_array_that_only_the_first_iteration_writes():
    def f(x, n):
        a = first = x.copy()
        for _ in range(n):
            a[0] += 1.0
            a = a * 2.0
        return a, first

    with pytest.raises(MutationError, match="after a loop that wrote into it"):
        jg.jit(f)(X, np.array(5))
    same(f, X, 5)
    assert jg.jit(lambda x, n: f(x, n)[0], static_argnums=1)(X, 5)[0] == f(X, 5)[0][0]


# Names that a loop lets stand for other arrays, which are written after it.


def named_anew(a, b):
    for _ in range(12):
        b = a
    b += 1.0


def swapped_only(a, b):
    for _ in range(11):
        a, b = b, a
    b[1:] = b[:-1] * 2
    a[0] = 7.0
    return a + 10 * b


def swapped_in_a_dict(a, b):
    pair = {"u": a, "v": b}
    for _ in range(11):
        pair = {"u": pair["v"], "v": pair["u"]}
    pair["u"][0] = 9.0


def two_names_of_a_new_array(a, b):
    for _ in range(12):
        b = a = a * 0.5
    b += 1.0
    return a


def one_iteration_late(a, b):
    c = b
    for _ in range(12):
        c = b
        b = a
    c[0] += 5.0
    return b


def written_in_between(a, b):
    s = 0.0
    for _ in range(12):
        a[0] += 1.0
        s += b[0]
        b = a
    return s


def written_by_the_new_name(a, b):
    for _ in range(12):
        b[0] += 1.0
        b = a


def named_anew_in_a_loop_in_a_loop(a, b):
    for i in range(11):
        for _ in range(9):
            b = a
        b[0] += i


def items_beside_swaps(a, b):
    s = 0.0
    for x, _ in zip([*a, *a, *a, *a], [*b, *b, *b, *b], strict=True):
        a, b = b, a
        s += x
    a *= 2
    return s


RENAMED = [
    named_anew,
    swapped_only,
    swapped_in_a_dict,
    two_names_of_a_new_array,
    one_iteration_late,
    written_in_between,
    written_by_the_new_name,
    named_anew_in_a_loop_in_a_loop,
    items_beside_swaps,
]


@pytest.mark.parametrize("fun", RENAMED, ids=lambda f: f.__name__)
def test_names_that_a_loop_lets_stand_for_other_arrays(fun):
    same(lambda a, b: [r for r in [fun(a, b)] if r is not None], X, np.array([0.25, 3.0, -1.0]))


def named_anew_some_times(a, b, n):
    for _ in range(n):
        b = a
    b += 1.0


def swapped_some_times(a, b, n):
    for _ in range(n):
        a, b = b, a
    a[0] = 7.0


def while_something_holds(a, b, n):
    while n < 10:
        b = a
        n += 1
    b[0] += 3.0


def a_view_of_another(a, b, n):
    for _ in range(12):
        b = a[::-1]
    b[0] += n


def one_of_two(a, b, n):
    c = a
    for i in range(12):
        c = a if i % 2 == n else b
    c[0] += 5.0


def chosen_in_a_branch_in_a_branch(a, b, n):
    if n > 0:
        n += 1
        if a[0] > 0:
            b = a
    a[0] += n
    return b * 1.0


def read_after_its_other_name_was_written(a, b, n):
    for _ in range(n):
        b = a
    a[0] += 3.0
    return b * 1.0


UNKNOWN = [
    named_anew_some_times,
    swapped_some_times,
    while_something_holds,
    a_view_of_another,
    one_of_two,
    chosen_in_a_branch_in_a_branch,
    read_after_its_other_name_was_written,
]


@pytest.mark.parametrize("fun", UNKNOWN, ids=lambda f: f.__name__)
def test_names_of_which_it_is_not_known_what_they_stand_for_after_a_loop(fun):
    with pytest.raises(MutationError, match="chosen among others"):
        jg.jit(fun)(X.copy(), 2 * X, np.array(3))
