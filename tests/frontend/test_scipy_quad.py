"""Integrals of functions and of samples by ``scipy.integrate``: SciPy's values, and gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
from compared import agrees, check
from scipy.integrate import cumulative_simpson, dblquad, fixed_quad, quad, romb

import jitgrad as jg
from jitgrad.errors import ShapeError, UnsupportedError
from jitgrad.testing import check_grads

A = np.array([2.5, 0.7])


def test_quad() -> None:
    def integrals(a):
        return (
            quad(lambda x: np.exp(-a[0] * x) * np.sin(5 * a[1] * x), 0, 4 * a[1])[0],
            quad(lambda x: np.exp(-a[0] * x * x), a[1], np.inf)[0],
            quad(lambda x, k: np.exp(-k * x * x) * np.cos(x), -np.inf, np.inf, args=(a[0],))[0],
            quad(lambda x: np.abs(x - a[1]) * x, 3, 0, points=[a[1], 1.3])[0],
            quad(lambda x: x * a[0] if x > 0.5 else np.sin(x), 1, 0)[0],
        )

    agrees(integrals, A, 1e-8, eps=1e-5)


def test_derivatives_of_quad() -> None:
    bell = lambda a: quad(lambda x: np.exp(-a[0] * x * x), 0, a[1])  # noqa: E731
    check_grads(lambda a: bell(a)[0], (A,), order=1, modes=("fwd",))
    np.testing.assert_allclose(jg.jit(bell)(A)[1], bell(A)[1], rtol=0.1)
    f = lambda a: quad(lambda x: np.exp(-a * x * x), 0, a)[0]  # noqa: E731
    np.testing.assert_allclose(jg.vmap(f)(A), [f(x) for x in A], rtol=1e-9)
    with jg.config.using(backend="python"):
        assert jg.jit(f)(1.0) == pytest.approx(f(1.0))
    tail = lambda a: quad(lambda x: np.exp(a * x), a, -np.inf)[0]  # noqa: E731
    assert jg.jit(tail)(0.7) == pytest.approx(tail(0.7))


def test_singular_ends() -> None:
    f = lambda a: quad(lambda x: a / np.sqrt(x) + np.log(x), 0, a)[0]  # noqa: E731
    value, slope = jg.value_and_grad(f)(0.7)
    np.testing.assert_allclose(value, 2 * 0.7**1.5 + 0.7 * (np.log(0.7) - 1), rtol=1e-8)
    np.testing.assert_allclose(slope, 3 * 0.7**0.5 + np.log(0.7), rtol=1e-7)
    with pytest.warns(scipy.integrate.IntegrationWarning, match="may be inaccurate"):
        assert jg.jit(lambda a: quad(lambda x: a / x, 0, 1))(1.0)[1] > 1


def test_double_and_fixed() -> None:
    def integrals(a):
        return (
            dblquad(lambda y, x: np.exp(-a[0] * x * y), 0, a[1], lambda x: x / 2, lambda x: 1 + x)[0],
            fixed_quad(lambda x: np.exp(-a[0] * x), a[1], 4, n=7)[0],
        )

    agrees(integrals, A, 1e-8, eps=1e-5)


@pytest.mark.parametrize(
    ("fun", "error", "words"),
    [
        (lambda a: quad(lambda x: x * a, 0, 1, weight="cos", wvar=1.0)[0], UnsupportedError, "weight"),
        (lambda a: quad(lambda x: np.array([x, x]) * a, 0, 1)[0], ShapeError, "needs a number"),
        (lambda a: romb(a * np.ones(4)), ValueError, "power of 2"),
        (lambda a: cumulative_simpson(a * np.ones(3), x=np.array([0.0, 2.0, 1.0])), ValueError, "increasing"),
        (lambda a: fixed_quad(lambda x: x * a, 0, np.inf)[0], ValueError, "finite"),
    ],
)
def test_errors(fun, error, words) -> None:
    with pytest.raises(error, match=words):
        jg.jit(fun)(2.0)


def test_samples() -> None:
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.uniform(0.1, 1.0, 6))
    y = rng.normal(size=(2, 6, 3))

    def running(y, x):
        start = np.full((2, 1, 3), 2.0)
        return (
            cumulative_simpson(y, x=x, axis=1),
            cumulative_simpson(y[:, :5], dx=0.3, axis=1, initial=start),
            [cumulative_simpson(y[0, :n], x=x[:n], axis=0) for n in (2, 3, 4)],
            [romb(y[:, :n], 0.2, axis=1) for n in (2, 3, 5)],
        )

    check(running, y, x)
    check_grads(jg.jit(lambda y, x: np.sum(np.sin(cumulative_simpson(y, x=x)))), (y[0, :, 0], x), order=1)


def test_nothing_traced_is_scipys() -> None:
    check(lambda a: a * np.array(quad(lambda x: x * np.exp(-x), 0, 1, weight="cos", wvar=2.0)), 2.0)
