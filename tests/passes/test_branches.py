"""Conditionals on an element in loops: selections where both branches are harmless, conditionals elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.testing import check_grads

X = np.random.default_rng(0).normal(size=20)


def both_write(x):
    y = np.zeros(20)
    for i in range(20):
        if x[i] > 0.2:
            y[i] = x[i] * x[i]
        else:
            y[i] = np.sin(x[i])
    return y


def one_writes(x):
    y = x.copy()
    for i in range(1, 20):
        if x[i] < x[i - 1]:
            y[i] = 2.0 * x[i - 1]
    return y


def nested(x):
    y = np.ones(20)
    for i in range(20):
        if x[i] > 0.0:
            if x[i] > 1.0:
                y[i] = x[i] ** 3
            else:
                y[i] = -x[i]
        else:
            y[i] = np.exp(x[i])
    return y


def number(x):
    total = 0.0
    for i in range(20):
        a = x[i] * 3.0 if x[i] > 0.0 else x[i] / 2.0
        total += a * a
    return np.full(2, total)


def guarded(x):
    """The branch that is not taken has an infinite derivative."""
    y = np.zeros(20)
    for i in range(20):
        if x[i] > 0.0:
            y[i] = np.sqrt(x[i])
        else:
            y[i] = 0.0
    return y


def pieces_differ(x):
    y = np.zeros(21)
    for i in range(20):
        if x[i] > 0.0:
            y[i] = x[i]
        else:
            y[i + 1] = x[i]
    return y


def may_fail(x, places):
    y = np.zeros(20)
    for i in range(20):
        if x[i] > 0.0:
            y[i] = x[places[i]]
        else:
            y[i] = x[i]
    return y


def conditionals(fun: Callable, *args) -> int:
    return jg.jit(fun).ir(*args, stage="optimised").count("= cond(")


@pytest.mark.parametrize("fun", [both_write, one_writes, nested, number, guarded])
def test_selections(fun):
    assert conditionals(fun, X) == 0
    np.testing.assert_allclose(jg.jit(fun)(X), fun(X), rtol=1e-14)
    check_grads(fun, (X,), order=2)


@pytest.mark.parametrize("fun", [pieces_differ])
def test_what_stays_a_conditional(fun):
    assert conditionals(fun, X) == 1
    np.testing.assert_allclose(jg.jit(fun)(X), fun(X), rtol=1e-14)
    check_grads(fun, (X,))


def test_a_branch_that_may_fail_is_not_run_where_it_is_not_taken():
    places = np.where(X > 0.0, np.arange(20)[::-1], 99)
    assert conditionals(may_fail, X, places) == 1
    np.testing.assert_array_equal(jg.jit(may_fail)(X, places), may_fail(X, places))


def test_what_was_not_chosen_has_no_influence_on_the_gradient():
    x = np.array([0.0, 4.0] * 10)
    np.testing.assert_array_equal(jg.grad(lambda x: np.sum(guarded(x)))(x), [0.0, 0.25] * 10)
