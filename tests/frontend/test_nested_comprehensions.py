"""Comprehensions with several ``for``, and what reads the items of such: recorded like loops, with any conditions."""

from __future__ import annotations

import functools
from functools import reduce

import numpy as np
import pytest
from frontend.test_uneven_branches import GIVEN, assert_alike, check

import jitgrad as jg
from jitgrad.testing import check_grads

MANY = np.random.default_rng(0).random(40)


def inversions(a):
    return sum(1 for i in range(len(a)) for j in range(i) if a[i] > a[j])


def products_in_order(a):
    return [a[i] * a[j] for i in range(len(a)) for j in range(i) if a[i] > a[j]]


def all_products(a):
    return [x * y for x in a for y in a]


def farthest(a):
    return max(abs(x - y) for x in a for y in a)


def nearest(a):
    return min((a[i] - a[j]) ** 2 for i in range(len(a)) for j in range(len(a)) if i != j)


def known_pairs(a):
    pairs = [(i, j) for i in range(len(a)) for j in range(i)]
    return pairs[:3], len(pairs), a.sum()


def flat(a):
    rows = [[v * 2 for v in a] for _ in range(3)]
    return [v for row in rows for v in row]


def pair_sum(a):
    return sum(a[i] * a[j] for i in range(len(a)) for j in range(i + 1, len(a)))


def both_conditions(a):
    return [x + y for x in a if x > 0.3 for y in a if y < x if y > 0.1]


def three_deep(a):
    return [x * y + k for x in a[:4] if x > 0.2 for y in a[:3] for k in range(2)]


def one_name(a):
    x = 2.0
    return [x for x in a for x in (x, x * 2)], x


def of_the_one_before(a):
    return [y for x in a for y in [x, x + 1] if y > 0.5]


def texts(a):
    names = [f"{p}{q}" for p in "ab" for q in "cd"]
    return {name: a[k] for k, name in enumerate(names)}


def quantified(a):
    return any(x + y > 1.9 for x in a for y in a), all(x * y >= 0 for x in a for y in a)


PROGRAMS = [
    inversions, products_in_order, all_products, farthest, nearest, known_pairs, flat, pair_sum, both_conditions,
    three_deep, one_name, of_the_one_before, texts, quantified,
]  # fmt: skip


@pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("given", [GIVEN[:3], [MANY]], ids=["few", "many"])
def test_values(fun, given):
    check(fun, given)


@pytest.mark.parametrize("fun", [products_in_order, all_products, farthest, both_conditions], ids=lambda f: f.__name__)
def test_gradients(fun):
    check_grads(lambda x: np.sum(np.array(fun(x)) ** 2), (GIVEN[0],), order=1)


def test_the_number_of_ops_does_not_grow_with_the_items():
    sizes = [len(jg.jit(all_products).ir(np.ones(n), stage="traced").splitlines()) for n in (60, 120)]
    assert sizes[0] == sizes[1]


def test_draws_come_in_the_order_of_python():
    def draws(x):
        rng = np.random.default_rng(3)
        return [rng.random() + v for v in x for _ in range(2)]

    check(draws, [GIVEN[0], GIVEN[1]])


@pytest.mark.parametrize("count", [5, 30])
@pytest.mark.parametrize("bad", [(), (0,), (3,), (0, 4), range(5)])
def test_extremes_of_lists_with_nan(count, bad):
    x = np.random.default_rng(count).random(count)
    x[list(bad)] = np.nan
    for fun in (
        lambda x: max([v for v in x]),  # noqa: C416
        lambda x: min(v * 2 for v in x),
        lambda x: max([float(v) for v in x]),
        lambda x: min([v for v in x], default=1.0),  # noqa: C416
    ):
        np.testing.assert_array_equal(jg.jit(fun)(x), fun(x))


def test_the_first_of_equal_extremes_gets_the_gradient():
    x = np.arange(20.0) % 7
    got = jg.grad(lambda x: max([v * v for v in x]))(x)
    np.testing.assert_array_equal(got, np.where(np.arange(20) == 6, 12.0, 0.0))


def test_sorted_by_keys_of_which_the_first_part_is_known():
    def by_name(x):
        table = {"b": {"w": x[0]}, "a": {"w": x[1]}, "c": {"w": x[2]}}
        rows = [(ord(name), row["w"]) for name, row in sorted(table.items())]
        return rows, sorted([(3, x[0]), (1, x[1])], reverse=True)

    assert_alike(jg.jit(by_name)(GIVEN[0]), by_name(GIVEN[0]))

    def by_value(x):
        return sorted([(1, x[0]), (1, x[1])])

    assert_alike(jg.jit(by_value)(GIVEN[0]), by_value(GIVEN[0]))


def test_reduce():
    def conditional(x):
        out = 0.0
        for i in range(len(x)):
            terms = [x[i]]
            if i >= 1:
                terms.append(x[i - 1])
            if i >= 2 and x[i] > 0.5:
                terms.append(x[i - 2])
            out += reduce(np.logaddexp, terms)
        return out

    def functions(x):
        larger = functools.reduce(lambda a, b: a if a > b else b, x)
        return larger, reduce(lambda a, b: a * 0.5 + b, [v for v in x if v > 0.3], 0.0), reduce(max, x)

    def tuples(x):
        return reduce(lambda s, v: (s[0] + v, s[1] * v), x, (0.0, 1.0))

    def generators(x):
        return reduce(lambda s, v: s + v, (v * 2 for v in x)), reduce(lambda s, v: s + v, (v * 2 for v in x), 1.0)

    def matrices(x):
        return reduce(np.dot, [np.full((2, 2), x[k]) for k in range(3)]), reduce(lambda a, b: a + b, np.outer(x, x))

    for fun in (conditional, functions, tuples, generators, matrices):
        check(fun)
        check(fun, [MANY])
    check_grads(lambda x: conditional(x) + functions(x)[1] + tuples(x)[0], (GIVEN[0],), order=1)
    with pytest.raises(TypeError, match="empty"):
        jg.jit(lambda x: reduce(np.add, x[:0]))(GIVEN[0])
    with pytest.raises(IndexError):
        jg.jit(lambda x: reduce(np.add, [v for v in x if v > 10]))(GIVEN[0])
