"""Loops over strips, in which functions between other loops are vectorised."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.loopir import distribute

NOTE = "functions between loops vectorised"


def logistic(w, b, x, y):
    z = x @ w + b
    return np.mean(np.logaddexp(0, z) - y * z)


def poisson(w, b, x, y):
    """Each row's rate is used twice, and kept."""
    rate = np.exp(x @ w + b)
    return np.sum(rate - y * (x @ w)) / len(y) + np.max(np.sin(rate))


def twice(w, b, x, y):
    """Functions, loops, functions, loops."""
    first = np.tanh(x @ w + b)
    second = np.exp(-(((x * first[:, None]) @ w) ** 2))
    return np.sum(second * y) + np.sum(first)


def by_hand(w, b, x, y):
    """The same in loops, with a function of the row in its inner loop."""
    total = 0.0
    g = np.zeros(len(w))
    for i in range(len(y)):
        z = b
        for j in range(len(w)):
            z += x[i, j] * w[j]
        total += np.log1p(z * z)
        for j in range(len(w)):
            g[j] += x[i, j] * np.sin(z + y[i])
    return total + np.sum(g * w)


def arguments(n, d, dtype=np.float64):
    rng = np.random.default_rng(0)
    w, x, y = rng.normal(size=d) / d, rng.normal(size=(n, d)), 1.0 * (rng.random(n) > 0.5)
    return w.astype(dtype), dtype(0.3), x.astype(dtype), y.astype(dtype)


@pytest.mark.parametrize("fun", [logistic, poisson, twice, by_hand])
@pytest.mark.parametrize("rows", [128, 129, 1000, 1023])
def test_values_and_gradients(fun, rows, monkeypatch):
    args = arguments(rows, 20)
    f = jg.value_and_grad(fun, (0, 1, 2))
    value, grads = f(*args)
    assert NOTE in f.explain(*args)
    np.testing.assert_allclose(value, fun(*args), rtol=1e-12)
    monkeypatch.setattr(distribute, "WORTH", np.inf)
    plain = jg.value_and_grad(fun, (0, 1, 2))
    for g, h in zip(grads, plain(*args)[1], strict=True):
        np.testing.assert_allclose(g, h, rtol=1e-10, atol=1e-13)
    assert NOTE not in plain.explain(*args)


@pytest.mark.parametrize("fun", [logistic, twice])
def test_single_precision(fun):
    args = arguments(300, 24, np.float32)
    value, (gw, gb) = jg.value_and_grad(fun, (0, 1))(*args)
    exact, (ew, eb) = jg.value_and_grad(fun, (0, 1))(*(np.asarray(a, np.float64) for a in args))
    assert value.dtype == gw.dtype == np.float32
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    np.testing.assert_allclose(gw, ew, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gb, eb, rtol=1e-4, atol=1e-5)


def test_gradients_against_central_differences():
    jg.testing.check_grads(twice, arguments(130, 9))


def test_iterations_that_need_each_other_stay():
    @jg.jit
    def recurrent(w, x):
        h = 0.0
        for i in range(200):
            z = h
            for j in range(20):
                z += x[i, j] * w[j]
            h = np.tanh(z)
        return h

    w, _, x, _ = arguments(200, 20)
    np.testing.assert_allclose(recurrent(w, x), recurrent.__wrapped__(w, x), rtol=1e-12)
    assert NOTE not in recurrent.explain(w, x)


def test_functions_of_what_the_inner_loop_writes_stay():
    """``exp(g[0])`` is another number in each iteration of the inner loop."""

    @jg.jit
    def updates(x):
        g = np.zeros((200, 12))
        total = 0.0
        for i in range(200):
            for j in range(12):
                g[i, j] = x[i, j] + np.exp(-g[i, 0])
            total += np.sin(g[i, 3])
            for j in range(12):
                g[i, j] *= x[i, 0]
        return g, total

    x = arguments(200, 12)[2]
    found, expected = updates(x), updates.__wrapped__(x)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-12)


def test_threads_sum_up_the_same():
    """Each chunk has its own strips."""
    args = arguments(40_000, 24)
    f = jg.value_and_grad(logistic, (0, 1))
    value, (gw, gb) = f(*args)
    assert "runs on threads, in" in f.explain(*args)
    with jg.config.using(parallel=False):
        serial, (sw, sb) = f(*args)
    np.testing.assert_allclose(value, serial, rtol=1e-12)
    np.testing.assert_allclose(gw, sw, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(gb, sb, rtol=1e-9, atol=1e-13)
    assert all(np.array_equal(gw, f(*args)[1][0]) for _ in range(5))
