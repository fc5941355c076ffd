"""A ``while`` that appends what it draws: rejection sampling, thinning, arrivals."""

import random

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import RollError, UnsupportedError

COUNT = 12


def by_length(s, rng):
    xs, ys, tries = [], [], 0
    while len(xs) < COUNT:
        x, y = rng.normal(0.0, s), rng.random(2)
        tries += 1
        if x > 0:
            xs.append(x)
            ys.append(y)
    return np.array(xs) @ np.arange(COUNT), np.array(ys), tries


def by_counter(s, rng):
    xs, n = [], 2
    while n <= COUNT + 1:
        x = rng.normal(0.0, s)
        if x > 0:
            n += 1
            xs.append(x * x)
    return np.array(xs).reshape(3, -1)


def with_a_break(s, rng):
    xs = []
    while len(xs) < COUNT:
        x = rng.random()
        if x > 0.97:
            break
        if x < s and x not in xs:
            xs.append(x)
    return np.array(xs), len(xs)


def apart(s, rng):
    points = []
    while len(points) < COUNT // 2:
        p = rng.random(2)
        if all(np.sqrt(np.sum((p - q) ** 2)) > 0.1 * s for q in points):
            points.append(p)
    return np.array(points)


def both_kept(s, rng):
    accepted, rejected = [], []
    while len(accepted) < COUNT:
        x = rng.random()
        if x < s:
            accepted.append(x)
        else:
            rejected.append(x)
    return np.array(accepted).reshape(2, -1), sum(rejected), len(rejected)


def in_lots(s, rng):
    xs = []
    while len(xs) < COUNT:
        for x in rng.random(4):
            if x < s:
                xs.append(x)  # noqa: PERF401
    return sum(xs), len(xs)


def already_long(s, rng):
    xs = [1.0, 2.0, 3.0]
    while len(xs) < 3:
        if rng.random() < s:
            xs.append(s)
    return xs


@pytest.mark.parametrize("fun", [by_length, by_counter, with_a_break, apart, both_kept, in_lots, already_long])
def test_values_and_what_is_drawn_afterwards(fun):
    def with_more(s, rng):
        return fun(s, rng), rng.random()

    compiled = jg.jit(with_more)
    for s, seed in ((0.7, 0), (0.4, 3)):
        got = compiled(s, np.random.default_rng(seed))
        expected = with_more(s, np.random.default_rng(seed))
        for a, b in zip(leaves(got), leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
            assert np.shape(a) == np.shape(b)


def leaves(value):
    return [x for v in value for x in leaves(v)] if isinstance(value, (tuple, list)) else [value]


def assert_gradient(fun, x, eps=1e-6):
    """By differences of the function itself; ``jg.vjp`` keeps nothing of a loop of unknown length that draws."""
    expected = (fun(x + eps) - fun(x - eps)) / (2 * eps)
    np.testing.assert_allclose(jg.grad(fun)(x), expected, rtol=1e-6)
    np.testing.assert_allclose(jg.jvp(fun, (x,), (1.0,))[1], expected, rtol=1e-6)


def arrivals(rate):
    """How many there are, nothing limits; the generator is seeded here, so the program can run again."""
    rng = np.random.default_rng(1)
    t, times = 0.0, []
    while t < 8.0:
        t += rng.exponential(1 / rate)
        times.append(t)
    return np.array(times)


def test_arrivals():
    np.testing.assert_allclose(jg.jit(arrivals)(2.0), arrivals(2.0), rtol=1e-12)
    assert jg.jit(arrivals)(400.0).shape == arrivals(400.0).shape  # more than there is room for at first
    assert_gradient(lambda r: np.sum(arrivals(r) ** 2), 2.0)


def test_arrivals_from_the_caller_have_no_room():
    def times(rate, rng):
        t, found = 0.0, []
        while t < 8.0:
            t += rng.exponential(1 / rate)
            found.append(t)
        return found

    with pytest.raises(UnsupportedError, match="draws from a generator that it does not seed"):
        jg.jit(times)(2.0, np.random.default_rng(0))


def test_derivatives_and_examples():
    """The length is known, so results have known shapes."""

    def f(s):
        value, more = by_length(s, np.random.default_rng(0)), by_counter(s, np.random.default_rng(1))
        return value[0] + np.sum(more**2)

    assert_gradient(f, 0.7)
    np.testing.assert_allclose(jg.vmap(f)(np.array([0.5, 0.7])), [f(0.5), f(0.7)], rtol=1e-12)
    with jg.config.using(backend="python"):
        np.testing.assert_allclose(jg.jit(f)(0.7), f(0.7), rtol=1e-12)


def test_python_generator():
    def f(s):
        xs = []
        while len(xs) < COUNT:
            x = random.gauss(0, 1)
            if abs(x) < s:
                xs.append(x)
        return sum(xs) / len(xs)

    compiled = jg.jit(f)
    random.seed(0)
    got = compiled(1.0)
    random.seed(0)
    np.testing.assert_allclose(got, f(1.0), rtol=1e-12)


def test_a_generator_without_a_seed_in_the_loop():
    def f(s):
        xs = [s]
        while xs[-1] < 5:
            xs.append(xs[-1] + np.random.default_rng().random())
        return len(xs)

    with pytest.raises(RollError, match="makes a generator without a seed"):
        jg.jit(f)(1.0)
