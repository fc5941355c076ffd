"""What programs do with numbers in plain Python: lists times a number, ``is True``, digits, recursion, ``bisect``."""

from __future__ import annotations

import bisect
from bisect import bisect_right

import numpy as np
import pytest
from compared import assert_same

import jitgrad as jg
from jitgrad.errors import ConcretizationError, UnsupportedError
from jitgrad.frontend import syntax


def check(fun, *args):
    expected = fun(*(np.copy(a) if isinstance(a, np.ndarray) else a for a in args))
    got = jg.jit(fun)(*(np.copy(a) if isinstance(a, np.ndarray) else a for a in args))
    assert_same(got, expected)


# -- a list times a number ---------------------------------------------------------------------------------------------


def ways(coins, amount):
    table = [1] + amount * [0]
    for c in coins:
        for k in range(c, amount + 1):
            table[k] += table[k - c]
    return table[amount]


def repeated(n):
    row = [1.5, 2.0]
    row *= n
    return np.array([0.0] * n), np.array((1,) * (n + 1)), len("ab" * n), row


def test_a_list_is_repeated():
    check(ways, np.array([1, 2, 5]), 11)
    check(repeated, 3)
    check(repeated, np.int64(2))
    assert jg.grad(lambda x, n: np.sum(np.array([x] * n)))(1.0, 4) == 4


def test_an_array_of_no_axes_is_multiplied():
    check(lambda n: [1.0, 2.0] * n, np.array(3))


def test_a_list_can_not_be_repeated_as_often_as_only_the_run_tells():
    with pytest.raises(ConcretizationError, match="a list times a number"):
        jg.jit(lambda x: [0] * (max(x) + 1))(np.array([1, 2]))


# -- is True, is False -------------------------------------------------------------------------------------------------


def bubbles(x, up):
    done = False
    while done is False:
        done = True
        for k in range(len(x) - 1):
            if (x[k] > x[k + 1]) if up is True else (x[k] < x[k + 1]):
                x[k], x[k + 1] = x[k + 1], x[k]
                done = False
    return x if up is not False else -x


def reachable(x, total):
    found = [False for _ in range(total + 1)]
    found[0] = True
    for v in x:
        for k in range(total, v - 1, -1):
            if found[k - v] is True:
                found[k] = True
    return [k for k in range(total + 1) if found[k] is True][-1]


@pytest.mark.parametrize("up", [True, False])
def test_bools_are_compared_by_identity(up):
    check(bubbles, np.random.default_rng(0).random(12), up)


def test_bools_of_lists_are_compared_by_identity():
    check(reachable, np.array([4, 9, 5]), 12)


def test_a_number_is_not_true():
    check(lambda x: (x is True, x is not False), 1.0)


def test_a_bool_of_numpy_may_be_neither():
    with pytest.raises(UnsupportedError, match="compared with True by 'is'"):
        jg.jit(lambda x: 1.0 if np.any(x > 0) is True else 2.0)(np.ones(3))


# -- texts of numbers --------------------------------------------------------------------------------------------------


def digits(n):
    text = str(n)
    return len(text), int(text[::-1]), sum(int(c) ** len(str(abs(n))) for c in text), text == text[::-1]


def written(n):
    return f"{n}".count("1"), ("n" + str(n)).endswith("1"), str(n).zfill(7).startswith("0"), "2" in f"n{n}"


def test_characters_of_a_number():
    check(digits, 1213)
    check(written, 1213)
    assert jg.jit(lambda layers, n: layers["w" + str(n)] * layers[f"b{n}"])({"w1": 2.0, "b1": 3.0}, 1) == 6.0


@pytest.mark.parametrize("use", [len, hash, lambda s: s == "1.0", lambda s: s + "0" < "2", lambda s: s.split(".")[0]])
def test_characters_of_what_is_known_when_the_program_runs(use):
    with pytest.raises(ConcretizationError, match="characters"):
        jg.jit(lambda x: (use(str(x[0])), x))(np.ones(1))


def test_texts_are_joined_in_messages():
    def fun(x):
        what = f"{x[0]:.2f}" + "!"
        if x[0] > 5:
            raise ValueError("not " + str(x[0]) + " = " + what)
        return x

    check(fun, np.array([1.0]))
    with pytest.raises(ValueError, match=r"not 7.5 = 7.50!"):
        jg.jit(fun)(np.array([7.5]))


# -- recursion ---------------------------------------------------------------------------------------------------------


def power(x, n):
    if n == 0:
        return 1.0
    if n % 2 == 1:
        return power(x, n - 1) * x
    root = power(x, n // 2)
    return root * root


def test_recursion_that_an_integer_ends():
    check(power, 1.5, 11)
    assert jg.grad(power)(2.0, 5) == 80


# -- bisect ------------------------------------------------------------------------------------------------------------


def places(x, values):
    found = []
    for v in values:
        k = min(bisect.bisect(x, v), len(x) - 1)
        found.append(x[k] + bisect.bisect_left(x, v) * 10 + bisect_right(x, v, 1, 3) * 100)
    return np.array(found)


def longest_increasing(x):
    ends, size = np.zeros(len(x)), 0
    for v in x:
        k = bisect.bisect_left(ends, v, 0, size)
        ends[k] = v
        size = max(size, k + 1)
    return size


def grown(x):
    edges = [0.0]
    for v in x:
        edges.append(edges[-1] + v)
    return bisect.bisect_right(edges, 3.0), bisect.bisect([1, 2, 3], 2)


def test_bisect():
    x = np.array([1.0, 2.0, 2.0, 5.0])
    check(places, x, np.array([0.0, 1.0, 2.0, 4.0, 5.0, 6.0]))
    check(lambda values: places([1.0, 2.0, 2.0, 5.0], values), np.array([2.0, 3.0]))
    check(longest_increasing, np.random.default_rng(3).random(40))
    check(grown, x)


def test_bounds_of_bisect_and_nan():
    bounds = (0, None), (1, 3), (3, 2), (2, 2), (0, -2), (3, None)

    def f(x, v):
        return [g(x, v, lo, hi) for g in (bisect.bisect_left, bisect.bisect_right) for lo, hi in bounds]

    def between(x, v, lo, hi):
        return bisect.bisect_left(x, v, lo, hi), bisect.bisect_right(x, v, lo, hi)

    for v in (2.0, 9.0, np.nan):
        check(f, [1.0, 2.0, 2.0], v)
        check(between, np.array([1.0, 2.0, 2.0]), v, 1, 3)
    with pytest.raises(ValueError, match="lo must be non-negative"):
        jg.jit(lambda x: bisect.bisect(x, 2.0, -1))(np.ones(3))
    with pytest.raises(IndexError, match="out of range"):
        jg.jit(lambda x: bisect.bisect(x, 2.0, 0, 9))(np.ones(3))


def test_what_bisect_does_not_do():
    with pytest.raises(UnsupportedError, match="key="):
        jg.jit(lambda x: bisect.bisect_left(x, 1.0, key=abs))(np.ones(3))
    with pytest.raises(UnsupportedError, match="Append the item and sort"):
        jg.jit(lambda x: bisect.insort([1.0], x))(1.0)


# -- lists that begin with None ----------------------------------------------------------------------------------------


def doubled(x):
    out = [None] * len(x)
    for k in range(len(x)):
        out[k] = 2 * x[k]
    return out[0], out[-1]


def test_items_that_are_none_at_first():
    check(doubled, np.arange(20.0))


# -- names -------------------------------------------------------------------------------------------------------------


def test_variables_of_comprehensions_and_functions_beside_those_of_loops():
    """What a loop hands to functions under such a name is no list of the function around it."""

    def fun(x):
        for _ in range(20):
            x = x + max([abs(i) for i in x]) + min(x, key=lambda i: abs(i))

            def inside(x):
                i = x[0]
                return abs(i)

            if inside(x) > 1e6:
                break
        for i in range(30):
            x = x + i
        return x

    assert syntax.rewrite(fun) is not None
    check(fun, np.array([1.0, -2.0]))


# -- lists of numbers --------------------------------------------------------------------------------------------------


def test_a_list_of_integers_and_floats_at_a_traced_index():
    check(lambda k, x: [0, 2.5, x, 3][k] + (1, x)[k % 2], np.array([0, 1, 3])[2], 1.5)
    with pytest.raises(UnsupportedError, match="at a traced index"):
        jg.jit(lambda k, x: [0, x][k[0]])(np.array([0]), np.float32(1))
