"""Random numbers that are drawn while a function is traced are constants, and a warning says so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.random import normal

import jitgrad as jg
from jitgrad.errors import JitgradWarning

rng = np.random.default_rng(0)
X = np.ones(3)


def by_module(x):
    return x + np.random.rand(3)


def by_name(x):
    return x + normal(size=3)


def by_global_generator(x):
    return x + rng.normal(size=3)


def by_fresh_generator(x):
    return x + np.random.default_rng().normal(size=3)


def by_closure():
    generator = np.random.RandomState(0)
    return lambda x: x + generator.uniform(size=3)


class Noisy:
    def __init__(self):
        self.rng = np.random.default_rng(1)

    def __call__(self, x):
        return x + self.rng.normal(size=3)


@pytest.mark.parametrize(
    "fun, what",
    [
        (by_module, "np.random.rand"),
        (by_name, "np.random.normal"),
        (by_global_generator, "rng.normal"),
        (by_fresh_generator, "np.random.default_rng"),
        (by_closure(), "generator.uniform"),
        (Noisy(), "rng.normal"),
    ],
)
def test_drawing_warns_once_a_trace(fun, what):
    f = jg.jit(fun)
    with pytest.warns(JitgradWarning, match=f"{what} draws random numbers while .* is traced") as caught:
        first = f(X)
    assert len(caught) == 1 and caught[0].filename == __file__
    np.testing.assert_array_equal(f(X), first)  # the same numbers again, and no warning
    with pytest.warns(JitgradWarning):
        f(np.ones((2, 3)))  # another trace


def test_the_warning_is_for_the_line_that_draws():
    with pytest.warns(JitgradWarning) as caught:
        jg.grad(lambda x: np.sum(by_module(x)))(X)
    assert caught[0].lineno == by_module.__code__.co_firstlineno + 1


def test_several_draws_give_one_warning():
    with pytest.warns(JitgradWarning) as caught:
        jg.jit(lambda x: by_module(by_module(x)) + np.random.uniform())(X)
    assert len(caught) == 1


def test_what_does_not_draw_is_silent():
    @jg.jit
    def f(x):
        return x + np.random.default_rng(3).normal(size=3) + np.random.default_rng(seed=3).normal(size=3)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(f(X), f(X))
        jg.numpy.random.rand(3)  # no function is traced
        jg.jit(lambda x: x * isinstance(rng, np.random.Generator))(X)
