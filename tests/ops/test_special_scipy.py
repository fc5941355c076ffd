"""Functions that SciPy's own code computes: derivatives with parameters held, on every backend, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special

import jitgrad as jg
from jitgrad.testing import check_grads

X = np.array([0.3, 0.9, 1.7, 3.1])

#: The number is the last argument; the others are held.
WITH_PARAMETERS: list[tuple[Any, tuple[Any, ...], np.ndarray]] = [
    (special.jv, (2.5,), X),
    (special.jv, (-1,), X),
    (special.jn, (2,), X),
    (special.yv, (1.5,), X),
    (special.yn, (2,), X),
    (special.iv, (0.5,), X),
    (special.ive, (1.5,), X - 2),
    (special.ive, (2,), X - 2),
    (special.kv, (2.5,), X),
    (special.kn, (2,), X),
    (special.kve, (0.5,), X),
    (special.gammainc, (1.5,), X),
    (special.gammaincc, (np.array([0.5, 1.0, 2.0, 5.0]),), X),
    (special.betainc, (1.5, np.array([0.5, 1.0, 2.0, 5.0])), X / 4),
    (special.betaincc, (2.0, 0.7), X / 4),
    (special.stdtr, (3.0,), X - 1),
    (special.gammaincinv, (1.5,), X / 4),
    (special.gammainccinv, (0.5,), X / 4),
    (special.betaincinv, (1.5, 0.5), X / 4),
    (special.betainccinv, (1.5, 2.0), X / 4),
    (special.stdtrit, (3.0,), X / 4),
    (special.hyp2f1, (0.5, 1.0, 2.3), X / 4),
    (special.hyp1f1, (0.5, 1.2), X - 1),
    (special.hyp0f1, (0.5,), X - 1),
    (special.hyperu, (0.5, 1.2), X),
    (special.expn, (0,), X),
    (special.expn, (3,), X),
    (special.struve, (0.0,), X),
    (special.modstruve, (1.5,), X),
]


@pytest.mark.parametrize(("fun", "held", "x"), WITH_PARAMETERS, ids=lambda v: getattr(v, "__name__", ""))
def test_derivative_with_parameters_held(fun: Any, held: tuple[Any, ...], x: np.ndarray) -> None:
    x = x[x > 0] if fun is special.iv else x
    held = tuple(h if np.ndim(h) == 0 else h[: len(x)] for h in held)
    np.testing.assert_allclose(jg.jit(lambda v: fun(*held, v))(x), fun(*held, x), rtol=1e-13)
    check_grads(lambda v: fun(*held, v), (x,))


@pytest.mark.parametrize(
    "fun", [special.gammainc, special.jv, special.stdtr, lambda a, x: special.betainc(2.0, a, x / 4)]
)
def test_a_parameter_has_no_derivative(fun: Any) -> None:
    with pytest.raises(jg.errors.DifferentiationError, match="order or shape parameter"):
        jg.grad(lambda a: np.sum(fun(a, X)))(1.5)
    np.testing.assert_allclose(jg.jit(lambda a: fun(a, X))(1.5), fun(1.5, X), rtol=1e-13)
    assert jg.grad(lambda a: np.sum(fun(jg.stop_gradient(a), X)))(1.5) == 0


@pytest.mark.parametrize("backend", ["llvm", "numba", "python"])
def test_backends(backend: str) -> None:
    def f(x: Any) -> Any:
        total = special.betainc(1.5, 2.0, x / 4) + special.jv(2, x) * special.erfinv(x / 4) + special.gamma(x)
        return total + special.hyp2f1(0.5, 1.0, 2.3, x / 4)

    with jg.config.using(backend=backend):
        np.testing.assert_allclose(jg.jit(f)(X), f(X), rtol=1e-13)
        np.testing.assert_allclose(jg.jit(f)(X.astype(np.float32)), f(X), rtol=2e-6)
        check_grads(f, (X,), order=1)


def test_log_ndtr_far_to_the_left() -> None:
    x = np.array([-40.0, -5.0, 0.0, 5.0])
    h = 1e-5
    found = jg.grad(lambda v: np.sum(special.log_ndtr(v)))(x)
    np.testing.assert_allclose(found, (special.log_ndtr(x + h) - special.log_ndtr(x - h)) / (2 * h), rtol=1e-6)


def test_gammasgn_polygamma_and_multigammaln() -> None:
    x = np.array([0.0, -0.0, -1.0, -2.0, -0.5, -1.5, -2.5, 3.0, np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(jg.jit(special.gammasgn)(x), special.gammasgn(x))
    for n in range(5):
        np.testing.assert_allclose(
            jg.jit(lambda v, n=n: special.polygamma(n, v))(X), special.polygamma(n, X), rtol=1e-12
        )
    for d in (1, 2, 3):
        np.testing.assert_allclose(
            jg.jit(lambda v, d=d: special.multigammaln(v, d))(X + 1), special.multigammaln(X + 1, d), rtol=1e-12
        )
    check_grads(lambda v: special.multigammaln(v, 3), (X + 1,))
    check_grads(lambda v: special.polygamma(2, v), (X,))
    check_grads(np.i0, (X,))


def test_a_loop_may_call_them() -> None:
    def f(x: Any) -> Any:
        total = 0.0
        for k in range(20):
            total = total + special.j0(x + k) * special.ndtri(0.2 + 0.03 * k)
        return np.sum(total)

    check_grads(f, (X,))
