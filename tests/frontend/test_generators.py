"""Loops that consume generators of the user's, recorded with the loops and branches around their ``yield``."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import RollError
from jitgrad.testing import check_grads

X = np.random.default_rng(0).normal(size=30)


def above(xs, least=0.0):
    for k in range(len(xs)):
        if xs[k] > least:
            yield xs[k]


def newton(a):
    x = a
    while abs(x * x - a) > 1e-12:
        x = 0.5 * (x + a / x)
        yield x


def fibonacci():
    a, b = 0, 1
    while True:
        yield a
        a, b = b, a + b


def orbit(x, n):
    for k in range(n):
        x = 2.5 * x * (1 - x)
        yield k, x


def both(xs):
    yield from above(xs)
    for v in above(-xs):
        yield -v


def total(xs):
    s = 0.0
    for v in above(xs):
        s = s + v * v
    return s


def broken(xs):
    s = 0.0
    for k, v in enumerate(above(xs)):
        if v > 1.0:
            break
        s += k * v
    else:
        s = -1.0
    return s


def returned(xs):
    for v in above(xs):
        if v > 1.0:
            return v
    return -1.0


def third_root(xs):
    n, last = 0, 0.0
    for v in newton(np.abs(xs[0]) + 1.0):
        n, last = n + 1, v
        if n >= 3:
            break
    return last * n


def endless(xs):
    s = 0
    for f in fibonacci():
        if f > 1000 * np.abs(xs[0]):
            break
        s += f
    return s * xs[0]


def appended(xs):
    out = []
    for v in above(xs):
        out.append(2.0 * v)  # noqa: PERF401
    return np.sum(np.array(out)) * len(out)


def placed(xs):
    out = np.zeros(40)
    for k, x in orbit(0.3 + 0.01 * xs[0], 40):
        out[k] = x
    return out


def chained(xs):
    s = 0.0
    for v in both(xs):
        s = 0.5 * s + v
    return s


def squares_of(xs):
    def negative(y, power=2):
        for k in range(len(y)):
            if y[k] >= 0:
                continue
            yield y[k] ** power

    s = 0.0
    for a in negative(xs):
        for b in negative(-xs, power=3):
            s += a * b
    return s


def interleaved(xs):
    """The loop writes what the generator reads next."""
    xs = xs.copy()

    def rows():
        for k in range(len(xs) - 1):
            if xs[k] > 0:
                yield k

    for k in rows():
        xs[k + 1] = xs[k + 1] + 0.5 * xs[k]
    return np.sum(xs)


def asked(xs):
    """What ``yield`` gives in a ``for`` is None; a generator's ``return`` ends it."""

    def times(a):
        for k in range(20):
            got = yield k * a
            if got is not None or k * a > 5.0:
                return got

    s = 0.0
    for v in times(np.abs(xs[0])):
        s += v
    return s


def twice(xs):
    """The second loop finds nothing, and neither do later ones of a recorded loop."""
    once, s = above(xs), 0.0
    for v in once:
        s += v
    for v in once:
        s += 10.0 * v
    again = above(xs)
    for _ in range(20):
        s *= 0.9
        for v in again:
            s += v
    return s


class Tree:
    def __init__(self, values: Any) -> None:
        self.values, self.least = values.copy(), 0.0

    def __iter__(self):
        for k in range(len(self.values)):
            yield self.values[k]

    def places(self):
        for k in range(len(self.values)):
            if self.values[k] > self.least:
                yield k


def methods(xs):
    tree, s = Tree(xs), 0.0
    for k in tree.places():
        tree.least = tree.least + 0.1
        tree.values[k] = 0.0
    for v in tree:
        s = 0.9 * s + v
    return s + tree.least


PROGRAMS: list[Callable[..., Any]] = [
    *(total, broken, returned, third_root, endless, appended, placed, chained, squares_of, interleaved, asked, twice),
    *(methods, lambda xs: np.sum(np.array(list(above(xs)))), lambda xs: sum(above(xs)) + max(above(xs, least=0.2))),
    lambda xs: np.sum(np.array([v * v for v in above(xs)])),
    lambda xs: np.sum(np.array([v * v for v in above(xs) if v < 1.0])),
    lambda xs: next(v for v in above(xs) if v > 0.5) * any(v > 1.0 for v in above(xs)),
]


@pytest.mark.parametrize("fun", PROGRAMS)
def test_generators_in_loops(fun: Callable[..., Any]) -> None:
    want, got = fun(X), jg.jit(fun)(X)
    assert np.asarray(got).dtype == np.asarray(want).dtype
    np.testing.assert_allclose(got, want, rtol=1e-12)
    check_grads(lambda xs: np.sum(fun(xs)), (X,), order=1)


def test_their_loops_are_recorded_once() -> None:
    assert "unrolled" not in jg.jit(total).explain(X)
    small, large = (len(str(jg.jit(total).traced_graph(np.ones(n)))) for n in (40, 400))
    assert large < 1.1 * small


def test_batches_of_other_sizes() -> None:
    def batches(x, size):
        for k in np.arange(0, len(x), size):
            yield x[k : min(k + size, len(x))]

    def descent(xs):
        w, losses = 1.0, []
        for _ in range(3):
            for batch in batches(xs, 16):
                w = w - 0.1 * np.mean(w - batch)
                losses.append(w)
        return np.array(losses)

    np.testing.assert_allclose(jg.jit(descent)(X), descent(X), rtol=1e-12)
    check_grads(lambda xs: np.sum(descent(xs) ** 2), (X,), order=1)


def pairs(xs):
    for k in range(len(xs) - 1):
        yield xs[k], xs[k + 1]


def rest_behind_known_break(xs):
    given, s = pairs(xs), 0.0
    for k, (a, b) in enumerate(given):
        if k == 3:
            break
        s += a * b
    for a, b in given:
        s += 10 * a * b
    return s


def rest_behind_traced_breaks(xs):
    given, s, t, u = above(xs), 0.0, 0.0, 0.0
    for v in given:
        s += v
        if s > 1.0:
            break
    for v in given:
        t += v
        if t > 2.0:
            break
    for v in given:
        u += v
    return s + 2.0 * t + 3.0 * u


def next_behind_a_break(xs):
    given, s = above(xs), 0.0
    for v in given:
        if v > 0.3:
            break
        s += v
    return s + 100.0 * next(given, 0.0)


def first_and_rest(xs):
    given = newton(1.0 + xs[0] ** 2)
    first, s = next(given), 0.0
    for v in given:
        s += v - first
    return s


def in_one_branch(xs):
    given, s = pairs(xs), 0.0
    if xs[0] > 0.1:
        for a, b in given:
            s += a * b
            if b > 0.6:
                break
    for a, b in given:
        s += a - 2.0 * b
    return s


def left_in_each_iteration(xs):
    given, s = pairs(xs), 0.0
    for i in range(3):
        for a, b in given:
            s += (i + 1) * a * b
            if b > 0.2:
                break
    return s


def chunks(xs):
    given, out = (v * v for v in xs), []
    while chunk := list(itertools.islice(given, 7)):
        out.append(sum(chunk))
    return np.array(out)


def by_itertools(xs):
    s = sum(itertools.takewhile(lambda v: v < 1.0, xs)) + sum(itertools.dropwhile(lambda v: v < 1.0, xs))
    s += sum(a * b for a, b in itertools.chain(pairs(xs[:5]), pairs(xs[9:])))
    for k, v in enumerate(itertools.accumulate(v * v for v in xs)):  # noqa: B007
        if v > 3.0:
            break
    for n in itertools.count(1):
        s += v / n
        if n > 7 + (xs[0] > 0):
            break
    return s * k + n * sum(map(np.square, filter(lambda v: v > 0, xs)))


def zipped(xs):
    s = 0.0
    for v, (a, b), k in zip(xs[:9], pairs(xs), range(12), strict=False):
        s += v * a + b * k
    return s


def counted_effects(xs):
    """What the generator does to a list is done once for each item that is taken."""
    log, s = [], 0.0

    def each():
        for k in range(6):
            log.append(k)
            yield xs[k]

    given = each()
    for k, v in enumerate(given):
        if k == 2:
            break
        s += v
    s += len(log)
    for v in given:
        s += v * len(log)
    return s


def drawn(xs):
    rng = np.random.default_rng(0)

    def noise():
        while True:
            yield rng.normal()

    given, s = noise(), 0.0
    for _ in range(2):
        for k, v in enumerate(given):
            if k == 3:
                break
            s += v * xs[k]
    return s


def sent_to(xs):
    def mean():
        total, n, found = 0.0, 0, None
        while True:
            total, n = total + (yield found), n + 1
            found = total / n

    given, s = mean(), 0.0
    next(given)
    for v in xs[:6]:
        s += given.send(v) ** 2
    given.close()
    return s + next(given, 1.0)


AGAIN: list[Callable[..., Any]] = [
    *(rest_behind_known_break, rest_behind_traced_breaks, next_behind_a_break, first_and_rest, in_one_branch),
    *(left_in_each_iteration, chunks, by_itertools, zipped, counted_effects, drawn, sent_to),
]


@pytest.mark.parametrize("fun", AGAIN)
def test_generators_that_are_used_again(fun: Callable[..., Any]) -> None:
    compiled = jg.jit(fun)
    for xs in (X, -X):
        np.testing.assert_allclose(compiled(xs), fun(xs), rtol=1e-12)
    check_grads(lambda xs: np.sum(fun(xs)), (X,), order=1)


def test_what_cannot_go_on() -> None:
    def written(xs):
        values, s = xs.copy(), 0.0
        given = above(values)
        for v in given:
            if v > 1.0:
                break
        values[:] = 2.0 * values
        for v in given:
            s += v
        return s

    def numbers(xs):
        given, s = itertools.count(1), 0.0
        for v in xs[:5]:
            if v > 0:
                s += v * next(given)
        return s

    with pytest.raises(RollError, match=r"used again.* what it was made from has been changed since"):
        jg.jit(written)(X)
    with pytest.raises(RollError, match=r"used again.* known only when the program runs"):
        jg.jit(numbers)(X)


def test_trees_take_time_in_proportion_to_their_size() -> None:
    """A trial of each ``yield from`` would take time exponential in the depth."""
    calls = []

    def tree(depth, v):
        if depth == 0:
            yield v
            return
        calls.append(depth)
        yield from tree(depth - 1, v * 0.5)
        yield from tree(depth - 1, v + 1.0)

    def whole(xs):
        s = 0.0
        for v in tree(6, xs[0]):
            s = 0.9 * s + v * v
        return s

    want = whole(X)
    calls.clear()
    got = jg.jit(whole)(X)
    assert len(calls) < 20 * 63
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_what_stays_with_python() -> None:
    """A ``yield`` under ``try`` or in an expression, and what ``next`` has begun, with known lengths."""

    def guarded(xs):
        try:
            for k in range(3):
                yield xs[k]
        finally:
            pass

    def talking(xs):
        for k in range(3):
            print((yield xs[k]), end="")

    def begun(xs):
        given = orbit(0.3, 4)
        next(given)
        return sum(x * xs[k] for k, x in given)

    for fun in (lambda xs: sum(guarded(xs)), lambda xs: sum(v for v in talking(xs)), begun):
        np.testing.assert_allclose(jg.jit(fun)(X), fun(X), rtol=1e-12)


def test_lists_in_three_loops() -> None:
    """The loop in the middle changes the list by the inner one alone."""

    def sums(x):
        out = []
        for i in range(9):
            for j in range(10):
                for k in range(11):
                    out.append(x[i] + x[j] * x[k])  # noqa: PERF401
        return np.array(out)

    np.testing.assert_allclose(jg.jit(sums)(X), sums(X), rtol=1e-12)
    check_grads(lambda x: np.sum(sums(x) ** 2), (X,), order=1)
