"""Arrays and objects keep their identity through recorded loops and branches, or an error says that they can't."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from compared import same

import jitgrad as jg
from jitgrad.errors import JitgradWarning, MutationError, UnsupportedError

X = np.array([0.5, 1.0, 2.0])


class Box:
    pass


def double_buffer(u, v, n):
    for _ in range(n):
        v[1:-1] = 0.5 * (u[2:] + u[:-2])
        u, v = v, u
    return u


@pytest.mark.parametrize("n", [0, 1, 2, 8, 9, 10, 11])
@pytest.mark.parametrize("static", [True, False])
def test_buffers_that_a_loop_swaps_are_the_callers(n, static):
    u, v = np.arange(5.0) ** 2, np.arange(5.0) ** 2
    same(double_buffer, u, v, n, **({"static_argnums": 2} if static else {}))


def rotate(a, b, c, n):
    for _ in range(n):
        a[0] += 1.0
        a, b, c = b, c, a
    return a + 10 * b + 100 * c


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 10])
def test_three_arrays_that_a_loop_rotates(n):
    same(rotate, X, 2 * X, 3 * X, n)


def test_a_view_taken_before_the_swaps():
    def f(x):
        a, b = x.copy(), 2 * x
        view = a[:1]
        for _ in range(9):
            a, b = b, a
            view[0] += 1.0
        return a + 10 * b

    same(f, X)


def test_in_place_operators_change_the_array_that_has_other_names():
    def f(x, n):
        alias = x
        for _ in range(n):
            x += 1.0
        return alias * 1.0

    same(f, X, 12)
    same(f, X, 12, static_argnums=1)


def test_arrays_without_axes():
    def f(x):
        s = np.zeros(())
        t = s
        for _ in range(12):
            s += x[0]
            s[...] = s * 2
        return t + s

    same(f, X)


def chosen_array(x):
    a, b = x.copy(), np.ones(3)
    c = a if x[0] > 0 else b
    c[1] = 7.0
    return a


def chosen_view(x):
    a = x.copy()
    if x[0] > 0:
        c = a[:1]
    else:
        c = a[1:2]
    c *= 10
    return a


def copied_on_demand(x):
    if x[0] < 0:
        x = x.copy()
    x[1] = 9.0
    return x


def chosen_by_helper(x):
    def pick(a, b, t):
        if t > 0:
            return a
        return b

    a, b = x.copy(), np.ones(3)
    pick(a, b, x[0])[1] = 7.0
    return a


def chosen_row(x):
    rows = [np.zeros(2), np.zeros(2)]
    rows[np.argmax(x[:2])][0] = 5.0
    return rows[1]


def chosen_list(x):
    rows = [[0.0, 0.0], [0.0, 0.0]]
    rows[np.argmax(x[:2])][0] = x[0]
    return rows[1][0]


def read_after_a_change(x):
    a, b = x.copy(), np.ones(3)
    c = a if x[0] > 0 else b
    a[0] = 5.0
    return c * 2


CHOSEN = [chosen_array, chosen_view, copied_on_demand, chosen_by_helper, chosen_row, chosen_list, read_after_a_change]


@pytest.mark.parametrize("fun", CHOSEN, ids=lambda f: f.__name__)
def test_an_array_of_which_it_is_not_known_which_it_is(fun):
    with pytest.raises(MutationError, match=r"copy\(\)|Copy it"):
        jg.jit(fun)(X.copy())


def test_a_chosen_array_can_be_read():
    def f(x):
        a, b = x.copy(), np.ones(3)
        c = a if x[0] > 0 else b
        return c * 2 + c[0]

    same(f, X)
    same(f, -X)


def test_rows_of_a_list_are_written_in_an_unrolled_loop():
    def f(x):
        rows = [np.zeros(2), np.zeros(2)]
        for k in range(12):
            rows[k % 2][0] += x[k % 3]
        return rows[0] + 10 * rows[1]

    same(f, X)


def test_attributes_and_containers_that_a_body_changes():
    def f(x):
        box, names = Box(), collections.deque()
        box.n, box.s = 0, 0.0
        for k in range(12):
            box.n += 1
            box.s += x[k % 3]
            names.append(k)
        return x * box.n + box.s + len(names)

    same(f, X)


def test_an_iterator_in_a_body():
    def f(x):
        it = iter([1.0, 2.0, 3.0] * 4)
        s = 0.0
        for _ in range(12):
            s += next(it) * x[0]
        return s

    same(f, X)


def test_attributes_do_not_keep_traced_values():
    class Counter:
        def __init__(self):
            self.n = 0.0

        def step(self, x):
            self.n = self.n + x
            return self.n

    counter = Counter()
    with pytest.warns(JitgradWarning, match="Counter.n"):
        assert jg.jit(counter.step)(1.0) == 1.0
    assert counter.n == 0.0


def test_names_beside_those_that_a_loop_permutes():
    def f(x, n):
        a, b, c = x.copy(), 2 * x, 3 * x
        before = c
        s = 0.0
        for _ in range(n):
            b[1] = a[0] + s
            a, b = b, a
            c = c * 0.5
            s += before[1] * c[0]
        return s * before + a

    same(f, X, 6)


def test_a_branch_writes_an_array_and_another_binds_its_name_anew():
    def f(x, n):
        y = np.zeros(3)
        for i in range(n):
            if x[i] > 0.7:
                y[i] = x[i]
            else:
                y = y * 2 + 1.0
        return y

    same(f, X, 3)


def test_an_array_that_a_condition_chose_is_written_in_a_loop():
    def f(x, n):
        a, b = x + 0, x * 2
        c = a if x[0] > 0 else b
        for i in range(n):
            c[i] = 1.0
        return c

    with pytest.raises(MutationError, match="chosen among others"):
        jg.jit(f)(X, 3)


def test_rows_that_a_loop_swaps():
    def f(x, n):
        A = x[:, None] * x
        a, b = A[0], A[1]
        for _ in range(n):
            a[0] += b[1]
            a, b = b, a
        return A[0] + a + 10 * b

    same(f, X, 5)


def test_names_that_many_branches_choose():
    def f(a, b, u):
        for i in range(60):
            if a[i % 3] > 0.7:
                a, b = b, u
            else:
                u, b = a, u
        return a + 10 * b + 100 * u

    same(f, X, 2 * X, 3 * X, loops="unroll")


@pytest.mark.parametrize("x", [X, -X])
def test_two_names_of_an_array_that_is_made_in_a_branch(x):
    def f(a):
        if a[0] > 0:
            b = c = a * 2
        else:
            b = c = a * 3
        b += 1.0
        return c

    def g(a):
        if a[0] > 0:
            b = a * 2
            c = b[::-1]
        else:
            b = a * 3
            c = b[1:]
            c = b[::-1]
        b[0] = 7.0
        return c

    same(f, x)
    with pytest.raises(MutationError, match="chosen among others"):
        jg.jit(g)(x)


def test_a_loop_in_a_loop_that_leaves_an_array_unknown():
    def f(a, b):
        for i in range(1, 9):
            for _ in range(i, -1, -1):
                b[::-1] -= 0.25
                b = 0.5 * a
        return b

    with pytest.raises(MutationError, match="after a loop that wrote into it"):
        jg.jit(f, loops="roll")(X, X)
    same(f, X, 2 * X)


def test_a_new_array_in_what_a_loop_returns_early():
    def f(x, n):
        while n < 2:
            n += 1
            if x[0] > 0.2:
                x = 0.5 * x
                return x, n
            x = x + 1.0
        return x, n

    for start in (X, -X):
        found, expected = jg.jit(f)(start.copy(), 0), f(start.copy(), 0)
        np.testing.assert_allclose(found[0], expected[0])
        assert found[1] == expected[1]


def test_two_names_of_one_array_that_a_loop_swaps():
    def f(x, n):
        a = b = x.copy()
        s = 0.0
        for _ in range(n):
            a[0] += 1.0
            s += b[0]
            a, b = b, a
        return s * a + b

    same(f, X, 5)


def test_fields_of_a_structured_array_are_refused():
    def f(x):
        fields = np.zeros(3, [("u", np.float64), ("v", np.float64)])
        u, whole = fields["u"], fields["u"]
        for _ in range(12):
            u += x
        return whole

    with pytest.raises(MutationError, match="made outside of the traced function"):
        jg.jit(f)(X)
    with pytest.raises(MutationError, match="an array for each field"):
        jg.jit(f, loops="roll")(X)


def test_a_list_that_a_traced_index_takes_out_of_a_list():
    def f(x):
        clusters = [[], []]
        for k in range(12):
            clusters[np.argmin(np.abs(x[:2] - k))].append(k)
        return x * len(clusters[0])

    def shorter(x):
        clusters = [[], []]
        for k in range(12):
            nearest = clusters[np.argmin(np.abs(x[:2] - k))]
            nearest.append(k)
            nearest.pop()
        return x * len(clusters[0])

    np.testing.assert_allclose(jg.jit(f)(X), f(X))
    with pytest.raises(UnsupportedError, match="a table of lists, out of which a traced key takes one"):
        jg.jit(shorter)(X)


def test_what_a_generator_draws_has_views():
    def f(x):
        u = np.random.default_rng(0).normal(size=5)
        v = u[1:4]
        for _ in range(12):
            u += x[0]
        v *= x
        return u

    same(f, X)
