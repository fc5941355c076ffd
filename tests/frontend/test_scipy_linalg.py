"""Factorizations, systems and functions of matrices of scipy.linalg: against SciPy, differences and JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from compared import check, check_slope, normal

import jitgrad as jg
from jitgrad.errors import ArgumentError, LinAlgError, NotSquareError, ShapeError, UnsupportedError


@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-9), (np.float32, 3e-3)])
@pytest.mark.parametrize("shape", [(5, 5), (5, 3), (3, 5)])
def test_factorizations(shape: tuple[int, int], dtype: Any, tol: float) -> None:
    def f(a: Any, b: Any) -> Any:
        x, residuals, _, s = scipy.linalg.lstsq(a, b)
        return (
            scipy.linalg.svd(a),
            scipy.linalg.svd(a, full_matrices=False),
            scipy.linalg.svd(a, compute_uv=False),
            scipy.linalg.svdvals(a),
            scipy.linalg.qr(a),
            scipy.linalg.qr(a, mode="economic"),
            scipy.linalg.qr(a, mode="r"),
            scipy.linalg.polar(a),
            scipy.linalg.polar(a, side="left"),
            scipy.linalg.pinv(a),
            scipy.linalg.pinv(a, rtol=0.3, return_rank=True)[0],
            (x, residuals, s),
            scipy.linalg.lstsq(a, b[:, 0])[:2],
        )

    check(f, normal(*shape).astype(dtype), normal(shape[0], 2, seed=1).astype(dtype), tol=tol)


def test_lu() -> None:
    a, b = normal(5, 5), normal(5, 2, seed=1)

    def f(a: Any, b: Any) -> Any:
        factors = scipy.linalg.lu_factor(a)
        solved = [scipy.linalg.lu_solve(factors, v, trans=t) for v in (b, b[:, 0]) for t in (0, 1)]
        return factors, solved, scipy.linalg.lu(a), scipy.linalg.lu(a, permute_l=True)

    check(f, a, b)
    check(f, a.astype(np.float32), b.astype(np.float32), tol=1e-3)
    check(lambda a: scipy.linalg.lu(a, p_indices=True), normal(2, 4, 4))
    check(lambda a: scipy.linalg.lu(a), normal(2, 4, 4))
    jg.testing.check_grads(lambda a, b: (f(a, b)[1], f(a, b)[2][1:]), (a, b), order=1)


def test_pseudo_inverse_of_symmetric_matrices() -> None:
    a = normal(4, 2)
    a = a @ a.T
    check(lambda a: scipy.linalg.pinvh(a, rtol=1e-10), a)
    check(lambda a: scipy.linalg.pinvh(a, lower=False, rtol=1e-10, return_rank=True)[0], a)
    x = normal(4, 4)
    jg.testing.check_grads(lambda x: scipy.linalg.pinvh(x + x.T), (x,), order=1)


# Matrices of a form


@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-10), (np.float32, 1e-3)])
@pytest.mark.parametrize(("below", "above", "n"), [(1, 1, 6), (2, 1, 5), (0, 2, 4), (3, 0, 5), (2, 2, 2)])
def test_banded(below: int, above: int, n: int, dtype: Any, tol: float) -> None:
    ab, b = normal(below + above + 1, n).astype(dtype), normal(n, 2, seed=1).astype(dtype)
    ab[above] += 4

    def f(ab: Any, b: Any) -> Any:
        solve = scipy.linalg.solve_banded
        return solve((below, above), ab, b), solve((below, above), ab, b[:, 0])

    check(f, ab, b, tol=tol)
    if dtype == np.float64:
        jg.testing.check_grads(f, (ab, b), order=1)


@pytest.mark.parametrize("lower", [False, True])
def test_symmetric_banded(lower: bool) -> None:
    ab, b = normal(3, 6), normal(6, 2, seed=1)
    ab[0 if lower else 2] += 9

    def f(ab: Any, b: Any) -> Any:
        return scipy.linalg.solveh_banded(ab, b, lower=lower)

    check(f, ab, b)
    jg.testing.check_grads(f, (ab, b), order=1)


def test_matrices_of_a_form() -> None:
    c, r, b = normal(4) + np.array([6.0, 0, 0, 0]), normal(4, seed=1), normal(4, 2, seed=2)
    check(lambda c, r, b: scipy.linalg.solve_toeplitz((c, r), b), c, r, b)
    check(lambda c, b: (scipy.linalg.solve_toeplitz(c, b[:, 0]), scipy.linalg.circulant(c)), c, b)
    check(lambda c, r: (scipy.linalg.hankel(c), scipy.linalg.hankel(c, r[:3])), c, r)
    jg.testing.check_grads(lambda c, r, b: scipy.linalg.solve_toeplitz((c, r), b), (c, r, b), order=1)


def test_singular_bands_raise() -> None:
    with pytest.raises(LinAlgError, match="Singular matrix"):
        jg.jit(lambda ab, b: scipy.linalg.solve_banded((1, 1), ab, b))(np.zeros((3, 4)), np.ones(4))


# The exponential


@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-11), (np.float32, 1e-3)])
def test_exponential(dtype: Any, tol: float) -> None:
    for scale in (0.0, 1e-3, 1.0, 5.0, 20.0):
        check(scipy.linalg.expm, (scale * (normal(4, 4) - 2 * np.eye(4))).astype(dtype), tol=tol)
    stack = normal(2, 3, 3, 3) * np.array([1e-3, 1.0, 9.0])[:, None, None]
    check(scipy.linalg.expm, stack.astype(dtype), tol=10 * tol)
    check(scipy.linalg.expm, np.array([[0, 1], [-1, 0]]))
    check(scipy.linalg.expm, np.zeros((0, 0)))
    check(scipy.linalg.expm, normal(1, 1).astype(dtype), tol=tol)


def test_exponential_where_there_is_none() -> None:
    with pytest.raises(NotSquareError, match="square matrix"):
        jg.jit(scipy.linalg.expm)(normal(2, 3))
    assert np.isnan(jg.jit(scipy.linalg.expm)(np.full((2, 2), np.nan))).all()


def test_derivatives_of_the_exponential() -> None:
    jg.testing.check_grads(scipy.linalg.expm, (6 * normal(2, 2) / 3 - 6 * np.eye(2),))
    jg.testing.check_grads(scipy.linalg.expm, (normal(2, 2, 2) * np.array([0.1, 5.0])[:, None, None],), order=1)
    a, t = 4 * normal(5, 5) / 3, normal(5, 5, seed=1)
    wanted = scipy.linalg.expm_frechet(a, t)
    for found, value in zip(jg.jvp(scipy.linalg.expm, (a,), (t,)), wanted, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-10, atol=1e-10 * np.abs(value).max())


# Equations, and matrices of a form


def test_matrix_equations() -> None:
    def f(a: Any, b: Any, q: Any, d: Any, e: Any) -> Any:
        definite = b @ np.swapaxes(b, -1, -2) + np.eye(2)
        symmetric = [np.swapaxes(m, -1, -2) + m for m in (b, 2.0 * definite)]
        pairs = [scipy.linalg.eigh(*symmetric, type=t) for t in (1, 2, 3)]
        w, v = scipy.linalg.eigh_tridiagonal(d, e)
        return (
            scipy.linalg.solve_sylvester(a, b, q),
            scipy.linalg.solve_continuous_lyapunov(b, definite),
            scipy.linalg.solve_discrete_lyapunov(0.3 * b, b),
            [(w, v * v) for w, v in pairs],
            scipy.linalg.eigvalsh(*symmetric),
            (w, v * v),
            scipy.linalg.eigvalsh_tridiagonal(d, e, select="i", select_range=(1, 1)),
        )

    shapes = ((3, 3), (2, 2), (3, 2), (3,), (2,))
    check(f, *(normal(*shape, seed=k) for k, shape in enumerate(shapes)))
    check(f, *(normal(2, *shape, seed=k + 5) for k, shape in enumerate(shapes)), tol=1e-8, grads=True)
    read = lambda a, b: scipy.linalg.eigh(a, b @ b.T + np.eye(3), lower=False, eigvals_only=True)  # noqa: E731
    check(read, normal(3, 3), normal(3, 3, seed=1))


def test_other_matrices_of_a_form() -> None:
    def f(a: Any, b: Any, m: Any) -> Any:
        return (
            scipy.linalg.companion(a), scipy.linalg.leslie(a, b), scipy.linalg.fiedler(a),
            [scipy.linalg.convolution_matrix(a, n, mode) for n in (2, 6) for mode in ("full", "valid", "same")],
            scipy.linalg.khatri_rao(m, m[..., :1, :]),
        )  # fmt: skip

    check(f, normal(4), normal(3, seed=1), normal(3, 3), grads=True)
    check(f, normal(2, 4), normal(2, 3, seed=1), normal(2, 3, 3))
    check(f, normal(4).astype(np.float32), normal(3).astype(np.float32), normal(3, 3).astype(np.float32), tol=1e-5)
    check(lambda a: (scipy.linalg.leslie(a, a[1:]), scipy.linalg.fiedler(a)), np.arange(4))


def test_circulant_systems_angles_and_functions() -> None:
    def f(c: Any, b: Any, m: Any) -> Any:
        square = m[:, :3] @ m.T[:3]
        return (
            scipy.linalg.solve_circulant(c, b), scipy.linalg.solve_circulant(c, m),
            scipy.linalg.solve_circulant(m.T[:2], b, baxis=-1, outaxis=-1),
            scipy.linalg.matmul_toeplitz((c, b), m), scipy.linalg.orthogonal_procrustes(m, 2 * m[::-1]),
            scipy.linalg.subspace_angles(m[:, :2], m[::-1, 1:]), scipy.linalg.subspace_angles(m, m[:, :1] + 1),
            [g(0.2 * square) for g in (scipy.linalg.cosm, scipy.linalg.sinm, scipy.linalg.tanm)],
            [g(0.2 * square) for g in (scipy.linalg.coshm, scipy.linalg.sinhm, scipy.linalg.tanhm)],
        )  # fmt: skip

    args = normal(6), normal(6, seed=1), normal(6, 3, seed=2)
    check(f, *args, tol=1e-7)
    check_slope(lambda *args: f(*args)[:7], *args, rtol=1e-5)
    near = np.array([1.0, 1.0, 0.0, 0.0])
    check(lambda c: scipy.linalg.solve_circulant(c, np.arange(4.0), singular="lstsq"), near)
    with pytest.raises(np.linalg.LinAlgError, match="near singular"):
        jg.jit(scipy.linalg.solve_circulant)(near, near)


# Errors


ERRORS = {
    "sylvester": (lambda a: scipy.linalg.solve_sylvester(a, a, a[:2]), ShapeError, "right side of shape"),
    "tridiagonal": (lambda a: scipy.linalg.eigh_tridiagonal(a[0], a[0]), ShapeError, "one element less"),
    "angles": (lambda a: scipy.linalg.subspace_angles(a, a[:2]), ShapeError, "as many rows"),
    "circulant": (lambda a: scipy.linalg.solve_circulant(a[0], a[0, :2]), ShapeError, "lengths along"),
    "pivoting": (lambda a: scipy.linalg.qr(a, pivoting=True), UnsupportedError, "without pivoting"),
    "side": (lambda a: scipy.linalg.polar(a, "up"), ArgumentError, "'right' or 'left'"),
    "trans": (lambda a: scipy.linalg.lu_solve(scipy.linalg.lu_factor(a), a, trans=5), ArgumentError, "Use 0, 1 or 2"),
    "atol": (lambda a: scipy.linalg.pinv(a, atol=0.1), UnsupportedError, "Give rtol="),
    "lu": (lambda a: scipy.linalg.lu(a[:2]), NotSquareError, "square matrix"),
    "sqrtm": (lambda a: scipy.linalg.sqrtm(a), UnsupportedError, "complex.*eigh"),
    "eig": (lambda a: scipy.linalg.eig(a, left=True), UnsupportedError, "left="),
    "bands": (lambda a: scipy.linalg.solve_banded((1, 2), a, a), ShapeError, "each of the 4 diagonals"),
    "right side": (lambda a: scipy.linalg.solve_banded((1, 1), a, a[:2]), ShapeError, "matrix of 3 rows"),
    "null_space": (lambda a: scipy.linalg.null_space(a), UnsupportedError, "depends on the rank"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_errors(case: Any) -> None:
    f, error, message = case
    with pytest.raises(error, match=message) as info:
        jg.jit(f)(normal(3, 3))
    assert "test_scipy_linalg.py" in str(info.value)


def test_gradient_of_lu_at_a_singular_matrix_raises() -> None:
    singular = np.ones((3, 3))
    jg.jit(scipy.linalg.lu)(singular)
    with pytest.raises(LinAlgError, match="Singular"):
        jg.grad(lambda a: np.sum(scipy.linalg.lu(a)[1]))(singular)


# As JAX does it

PEERS = {
    "expm": lambda np, sl, a: np.sum(np.sin(sl.expm(a))),
    "lu": lambda np, sl, a: np.sum(np.sin(sl.lu(a)[1])) + np.sum(sl.lu(a)[2] ** 2),
    "lu_solve": lambda np, sl, a: np.sum(sl.lu_solve(sl.lu_factor(a), np.cos(a)) ** 2),
    "qr": lambda np, sl, a: np.sum(np.sin(sl.qr(a, mode="economic")[1] ** 2)),
}


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PEERS)
def test_as_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    pytest.importorskip("jax.scipy.linalg")
    a = normal(4, 4, seed=5)
    value, grad = jg.value_and_grad(lambda a: PEERS[name](np, scipy.linalg, a))(a)
    jax.config.update("jax_enable_x64", True)
    try:
        expected = jax.value_and_grad(lambda a: PEERS[name](jax.numpy, jax.scipy.linalg, a))(jax.numpy.asarray(a))
    finally:
        jax.config.update("jax_enable_x64", False)
    np.testing.assert_allclose(value, expected[0], rtol=1e-11)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-9, atol=1e-11)
