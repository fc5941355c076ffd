"""np.linalg.eig, eigvals and np.roots: values and dtypes are NumPy's, gradients against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg

import jitgrad as jg
from jitgrad.errors import DifferentiationError, NotRealError, NotSquareError, ShapeError, UnsupportedError
from jitgrad.testing import check_grads

TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def general(n: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, n))


def with_real_values(n: int = 4) -> np.ndarray:
    return np.diag(np.arange(1.0, n + 1)) + 0.1 * general(n)


def same(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def test_the_values_decide_the_dtype_at_each_call() -> None:
    f = jg.jit(lambda a: (*np.linalg.eig(a), np.linalg.eigvals(a)))
    for a in (general(), with_real_values(), general() + general().T, general(seed=2), np.eye(4)):
        same(f(a), (*np.linalg.eig(a), np.linalg.eigvals(a)))
    assert f.cache_info().compilations == 1
    assert "another one runs" in f.explain(np.eye(4))
    result = jg.jit(np.linalg.eig)(TURN)
    assert type(result) is type(np.linalg.eig(TURN))
    same(result, np.linalg.eig(TURN))


def test_stacks_single_precision_integers_and_nothing() -> None:
    f = jg.jit(np.linalg.eigvals)
    stack = np.stack([general(3), with_real_values(3)])
    same((f(stack),), (np.linalg.eigvals(stack),))
    same((jg.jit(jg.vmap(np.linalg.eigvals))(stack),), (np.linalg.eigvals(stack),))
    whole = np.array([[2, 1], [1, 3]])
    same((f(whole),), (np.linalg.eigvals(whole),))
    same((f(np.zeros((0, 0))),), (np.linalg.eigvals(np.zeros((0, 0))),))
    for a in (general(3), with_real_values(3)):
        a = a.astype(np.float32)
        same(jg.jit(np.linalg.eig)(a), np.linalg.eig(a), 1e-5)


def test_the_python_backend() -> None:
    with jg.config.using(backend="python"):
        for a in (general(3), with_real_values(3)):
            same(jg.jit(np.linalg.eig)(a), np.linalg.eig(a))


def components(x: Any) -> Any:
    w, v = np.linalg.eig(x)
    k = np.arange(1.0, v.size + 1).reshape(v.shape)
    return np.sum(np.sin(w.real)) + np.sum(w.imag**3) + np.sum(np.cos(v.real) * k) + np.sum(np.sin(v.imag) * k)


@pytest.mark.parametrize("a", [general(5, 7), with_real_values(3)])
def test_gradients_of_values_vectors_and_phases(a: np.ndarray) -> None:
    check_grads(components, (a,))
    check_grads(lambda x: np.max(np.abs(np.linalg.eigvals(x))), (a,))


def test_vjp_and_jvp_have_numpy_s_dtypes() -> None:
    for a in (general(3, 3), with_real_values(3)):
        t, w = general(3, 4), np.linalg.eigvals(a)
        value, change = jg.jvp(np.linalg.eigvals, (a,), (t,))
        expected = np.diagonal(np.linalg.solve(np.linalg.eig(a)[1], t @ np.linalg.eig(a)[1]))
        same((value, change), (w, expected), 1e-10)
        found, pullback = jg.vjp(np.linalg.eigvals, a)
        same((found,), (w,))
        g = np.arange(1.0, 4) * (1 if w.dtype == np.float64 else 1 + 2j)
        np.testing.assert_allclose(np.sum(pullback(g)[0] * t), np.sum((np.conj(g) * expected).real))


def test_gradient_where_values_are_equal() -> None:
    """That of the trace of the projection onto both vectors and of the sum of the values."""
    a = np.diag([1.0, 1.0, 3.0])
    np.testing.assert_allclose(jg.grad(lambda x: np.sum(np.linalg.eigvals(x)))(a), np.eye(3), atol=1e-14)

    def part(x: Any) -> Any:
        v = np.linalg.eig(x)[1]
        return (v[:, :2] @ v[:, :2].T)[0, 2]

    np.testing.assert_allclose(jg.grad(part)(a)[[0, 2], [2, 0]].sum(), -0.5)


def test_principal_components_and_discriminants() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((12, 4)), rng.standard_normal((12, 4)) + 1

    def components_of(x: Any) -> Any:
        x = x - x.mean(axis=0)
        w, v = np.linalg.eig(np.cov(x.T))
        order = np.argsort(w)[::-1]
        return w[order] / np.sum(w), x @ v[:, order[:2]]

    def discriminant(x: Any, y: Any) -> Any:
        d = x.mean(axis=0) - y.mean(axis=0)
        w, v = np.linalg.eig(np.linalg.inv(np.cov(x.T) + np.cov(y.T)) @ np.outer(d, d))
        return np.abs(np.real(v[:, np.argmax(np.abs(w))]))

    same(jg.jit(components_of)(x), components_of(x), 1e-10)
    np.testing.assert_allclose(jg.jit(discriminant)(x, y), discriminant(x, y))


def test_in_a_recorded_loop() -> None:
    def radii(a: Any) -> Any:
        total = 0.0
        for k in range(100):
            total += np.max(np.abs(np.linalg.eigvals(a * (k + 1.0))))
        return total

    np.testing.assert_allclose(jg.jit(radii)(TURN), radii(TURN))


def test_writes_into_arguments_happen_once() -> None:
    def f(a: Any) -> Any:
        a += 1.0
        return np.linalg.eigvals(a)

    a, b = TURN * 3, TURN * 3
    same((jg.jit(f)(a), a), (f(b), b))


def test_roots() -> None:
    f = jg.jit(np.roots)
    for p in ([1.0, -6.0, 11.0, -6.0], [2.0, -4.0, 1.0, 5.0], [1, 0, 0, 1], [3.0, 6.0], [4.0]):
        same((f(np.array(p)),), (np.roots(p),))
    zeros = f(np.array([1.0, -3.0, 2.0, 0.0, 0.0]))
    np.testing.assert_allclose(np.sort(zeros), [0.0, 0.0, 1.0, 2.0], atol=1e-14)
    check_grads(lambda p: np.sum(np.roots(p).real ** 2 * np.arange(1.0, 4)), (np.array([1.0, -6.0, 11.0, -6.0]),))
    check_grads(lambda b: np.sum(np.abs(np.roots([1.0, b, 4.0]) - 1) ** 3), (1.5,))


def test_scipy_has_complex_values_and_real_vectors() -> None:
    both = jg.jit(lambda a: (*scipy.linalg.eig(a), scipy.linalg.eigvals(a)))
    for a in (with_real_values(3), general(3)):
        same(both(a), (*scipy.linalg.eig(a), scipy.linalg.eigvals(a)))


def test_errors() -> None:
    nan = np.full((2, 2), np.nan)
    with pytest.raises(np.linalg.LinAlgError, match="infs or NaNs"):
        jg.jit(np.linalg.eigvals)(nan)
    with pytest.raises(ValueError, match="infs or NaNs"):
        jg.jit(scipy.linalg.eigvals)(nan)
    with pytest.raises(NotSquareError, match=r"eig of an array of shape \(2, 3\)"):
        jg.jit(np.linalg.eig)(np.ones((2, 3)))
    with pytest.raises(ShapeError, match="one polynomial"):
        jg.jit(np.roots)(np.eye(2))
    with pytest.raises(UnsupportedError, match="first is 0"):
        jg.jit(np.roots)(np.array([0.0, 1.0, 2.0]))
    with pytest.raises(DifferentiationError, match="complex value"):
        jg.grad(lambda a: np.linalg.eigvals(a)[0])(TURN)
    with pytest.raises(UnsupportedError, match="complex"):
        jg.jit(lambda a: np.linalg.eigvals(a * 1j))(TURN)


def test_a_program_that_prints_is_run_once(capsys: pytest.CaptureFixture[str]) -> None:
    def f(a: Any) -> Any:
        print(a[0, 0])
        return np.linalg.eigvals(a)

    same((jg.jit(f)(np.eye(2)),), (np.ones(2),))
    with pytest.raises(NotRealError, match="prints or draws"):
        jg.jit(f)(TURN)
    assert capsys.readouterr().out == "1.0\n0.0\n"
