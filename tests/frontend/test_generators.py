"""Loops that consume generators of the user's, recorded with the loops and branches around their ``yield``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
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
