"""Names that a branch or a loop may not have bound: NaN or Python's own error where they are read unbound."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg


def bound_in_one_branch(x):
    if x[0] > 0:
        y = x[1] * 2
        row = x * x
    return y + row[0]


def bound_when_needed(x):
    s = 0.0
    for i in range(20):
        if x[i] > 0.5:
            last = x[i] * 2
        if i > 0 and x[i - 1] > 0.5:
            s += last * x[i]
    return s


def bound_in_a_loop(x, n):
    for i in range(n):
        y, j = x[i] * x[i], i
    return y * 10 + j


def bound_before_an_index(x, n):
    for i in range(n):
        j = i
    return x[j]


def unbound_anyway(x):
    if x > 0:
        y = x
        del y
    return y


def test_what_a_branch_or_loop_did_not_bind_shows() -> None:
    x = np.array([0.25, 3.0])
    value, grad = jg.value_and_grad(bound_in_one_branch)(x)
    assert value == bound_in_one_branch(x)
    np.testing.assert_array_equal(grad, [0.5, 2])
    with pytest.raises(UnboundLocalError):
        bound_in_one_branch(-x)
    assert np.isnan(jg.jit(bound_in_one_branch)(-x))

    assert jg.jit(bound_in_a_loop)(x, 2) == bound_in_a_loop(x, 2)
    assert np.isnan(jg.jit(bound_in_a_loop)(x, 0))
    np.testing.assert_array_equal(jg.grad(bound_in_a_loop)(x, 2), [0, 60])
    with pytest.raises(IndexError):
        jg.jit(bound_before_an_index)(x, 0)
    with pytest.raises(UnboundLocalError, match="'y'"):
        jg.jit(unbound_anyway)(1.0)


def test_what_is_read_only_where_it_is_bound_is_right() -> None:
    x = np.linspace(0, 1, 20)
    value, grad = jg.value_and_grad(bound_when_needed)(x)
    np.testing.assert_allclose(value, bound_when_needed(x), rtol=1e-13)
    step, h = np.cos(np.arange(20.0)), 1e-6
    slope = (bound_when_needed(x + h * step) - bound_when_needed(x - h * step)) / (2 * h)
    np.testing.assert_allclose(grad @ step, slope, rtol=1e-7)
