"""Lists that get longer or shorter under conditions, outside of recorded loops: in plain code, and in loops over the
items of short lists and tuples."""

from __future__ import annotations

import numpy as np
import pytest
from compared import assert_same

import jitgrad as jg
from jitgrad.errors import RollError
from jitgrad.testing import check_grads

POINTS = (0.513, 0.257, 0.709), (-0.51, 0.25, 0.7), (0.5, -0.25, -0.7), (-0.5, -0.25, 0.7)


def one_after_the_other(a, b, c):
    found = []
    if a > 0:
        found.append(a)
    if b > 0:
        found.append(b)
    if c > 0:
        found.append(2 * c)
    return sum(found), len(found), max(found, default=-1.0)


def in_several_ways(a, b, c):
    s = [a]
    if b > 0:
        s.append(b)
    elif c > 0:
        s.append(c)
        s.append(2 * c)
    else:
        s.pop()
    return sum(s), len(s)


def with_variables(a, b, c):
    s = []
    if a > 0:
        s.append(a)
        t = 1.0
        if b > 0:
            s.append(b)
    else:
        t = 2.0
    return sum(s) * t * c, len(s)


def tuples(a, b, c):
    points = []
    if a > 0:
        points.append((a, b))
    if b > 0:
        points += [(b, c)]
    total = 0.0
    for x, y in points:
        total += x * y
    return total


def arrays(a, b, c):
    rows = []
    if a > 0:
        rows.append(np.array([a, b]))
    rows.append(np.array([b, c]))
    return np.array(rows).sum(axis=0)


def roots(p, q, r):
    found = []
    d = q * q - 4 * p * r
    if d >= 0:
        found.append((-q + d**0.5) / (2 * p))
        found.append((-q - d**0.5) / (2 * p))
    return found


def of_another_function(a, b, c):
    return sum(roots(a, b, c)), max(roots(a, 3.0, -c), default=0.0)


def longer_and_read(a, b, c):
    s = [1.0, 2.0]
    if a > 0:
        s.append(a)
    for x in s:
        b = b + x
    if b > 3:
        s.append(b * c)
    return s, np.mean(s), s[-1], s[0]


def empty_or_not(a, b, c):
    s = []
    if a > 0:
        s.append(a)
    if len(s) == 0:
        return -1.0 * c
    return s[0] * b


def sorted_and_shorter(a, b, c):
    x = [a, b, c]
    if a > 0:
        x.sort()
    if b > 0:
        del x[0]
    return x


class Bag:
    def __init__(self):
        self.items = []

    def add(self, x):
        if x > 0:
            self.items.append(x)


def of_attributes(a, b, c):
    bag = Bag()
    bag.add(a)
    if b > 0:
        bag.items.append(b)
    for x in (a, b, c):
        bag.add(x)
    held = {"x": []}
    if c > 0:
        held["x"].append(c)
    return sum(bag.items), len(held["x"])


def of_two_loops(a, b, c):
    x = np.linspace(a, b, 40)
    bag = Bag()
    for k in range(40):
        bag.add(x[k])
    for k in range(40):
        bag.add(c - x[k])
    return sum(bag.items), len(bag.items)


def inside_a_loop(a, b, c):
    total = 0.0
    for k in range(40):
        s = []
        if a > k:
            s.append(a)
        if b > k / 100:
            s.append(b * c)
        total += sum(s) + len(s)
    return total


@pytest.mark.parametrize(
    "fun",
    [
        one_after_the_other, in_several_ways, with_variables, tuples, arrays, of_another_function, longer_and_read,
        empty_or_not, sorted_and_shorter, of_attributes, of_two_loops, inside_a_loop,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_lists_that_change_under_conditions(fun):
    compiled = jg.jit(fun)
    for x in POINTS:
        assert_same(compiled(*x), fun(*x))
    check_grads(lambda *x: _total(fun(*x)), POINTS[0], order=1)


def _total(x):
    return sum(_total(y) for y in x) if isinstance(x, tuple) else np.sum(x)


def filtered(p):
    pairs = [a * b for a, b in zip(p, p[1:], strict=False) if a > b]  # noqa: RUF007
    few = min([r for r in (p[0] - 1, p[1] + 1, 2 * p[2]) if r > 0], default=0.0)
    return [x for x in p if x > 0.3], pairs, sum(x * np.log2(x) for x in p if x > 0), few


def indexed(p):
    found = []
    for i, x in enumerate(p):
        if x > 0.3:
            found.append((i, x))
    return [i for i, _ in found], sum(x for _, x in found)


def in_two_lists(p):
    small, large = [], []
    for x in p:
        if x > 0.3:
            large.append(x)
        else:
            small.append(x)
    return sum(small), sum(large), len(small), len(large)


def of_intervals(p):
    hits = []
    for lo, hi in [(0.0, p[0]), (p[0], p[1]), (p[1], 1.0)]:
        if lo <= 0.3 < hi:
            hits.append((lo + hi) / 2)
    return hits[0] if hits else -1.0


def apart(p):
    seen = []
    for x in p:
        if all(abs(x - y) > 0.2 for y in seen):
            seen.append(x)
    return len(seen), sum(seen)


def of_values(p):
    parts = {"a": p[0], "b": p[1], "c": p[2]}
    return sum(v for v in parts.values() if v > 0.3), sum(v for _, v in parts.items() if v > 0.3)


@pytest.mark.parametrize(
    "fun", [filtered, indexed, in_two_lists, of_intervals, apart, of_values], ids=lambda f: f.__name__
)
def test_loops_over_few_numbers_that_append_under_conditions(fun):
    compiled = jg.jit(fun)
    for p in ([0.5, 0.25, 0.4, 0.7], [-0.5, 0.1, 0.2, 0.3], [0.9, 0.8, 0.35, -1.0]):
        assert_same(compiled(p), fun(p))


def test_an_entropy_of_a_list():
    def entropy(p):
        return -sum(x * np.log2(x) for x in p if x > 0)

    p = [0.5, 0.25, 0.0, 0.25] * 15
    np.testing.assert_allclose(jg.jit(entropy)(p), entropy(p), rtol=1e-14)
    slope = np.array(jg.grad(entropy)(p))
    np.testing.assert_allclose(slope, [-np.log2(x) - np.log2(np.e) if x else 0 for x in p], rtol=1e-12)


def texts(a):
    names = []
    if a > 0:
        names.append("positive")
    return len(names)


def by_another_name(a, b):
    def add(s, x):
        if x > 0:
            s.append(x)

    s = []
    add(s, a)
    add(s, b)
    return sum(s)


@pytest.mark.parametrize(("fun", "args"), [(texts, (1.0,)), (by_another_name, (1.0, 2.0))], ids=["texts", "names"])
def test_lists_that_cannot_be_followed_are_refused(fun, args):
    with pytest.raises(RollError, match="a list is list of 1 before and list of 0 in another branch"):
        jg.jit(fun)(*args)
