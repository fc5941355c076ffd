"""QR, singular values and what is made of them: values against NumPy, derivatives against differences and JAX."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from compared import check, normal

import jitgrad as jg
from jitgrad.errors import ArgumentError, LinAlgError, ShapeError, UnsupportedError

SHAPES = [(3, 3), (5, 3), (2, 3, 4), (1, 1)]
DTYPES = [(np.float64, 1e-10), (np.float32, 3e-4)]


VALUES = {
    "svd": lambda a: (np.linalg.svd(a), np.linalg.svd(a, full_matrices=False)),
    "svdvals": lambda a: (np.linalg.svdvals(a), np.linalg.svd(a, compute_uv=False)),
    "qr": lambda a: (np.linalg.qr(a), np.linalg.qr(a, "complete"), np.linalg.qr(a, mode="r")),
    "pinv": lambda a: (np.linalg.pinv(a), np.linalg.pinv(a, 0.5), np.linalg.pinv(a, rtol=None)),
    "rank": lambda a: [np.linalg.matrix_rank(a, *k) for k in ((), (1.0,))] + [np.linalg.matrix_rank(a, rtol=0.5)],
    "cond": lambda a: (np.linalg.cond(a), np.linalg.cond(a, 2), np.linalg.cond(a, -2)),
    "norm": lambda a: (
        [np.linalg.norm(a, p, (-2, -1), k) for p in (2, -2, "nuc") for k in (False, True)]
        + [np.linalg.norm(a, 2, (0, -1)), np.linalg.matrix_norm(a, ord="nuc")]
    ),
}


@pytest.mark.parametrize(("dtype", "tol"), DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_values(shape: tuple[int, ...], dtype: Any, tol: float) -> None:
    check(lambda a: [f(a) for f in VALUES.values()], normal(*shape).astype(dtype), tol=tol)


def test_other_arguments() -> None:
    check(lambda a: (np.linalg.svdvals(a), np.linalg.qr(a), np.linalg.pinv(a)), np.arange(12).reshape(4, 3) % 5)
    check(lambda a: [np.linalg.cond(a, p) for p in (1, -1, np.inf, -np.inf, "fro", "nuc")], normal(2, 3, 3))
    check(lambda a: (np.linalg.matrix_rank(a[0]), np.linalg.matrix_rank(0 * a), np.linalg.cond(0 * a)), normal(3, 3))
    check(lambda a: np.linalg.matrix_rank(a, tol=np.array([0.1, 9.0])), normal(2, 3, 3))
    empty = np.zeros((0, 3))
    check(lambda a: (np.linalg.svd(a), np.linalg.qr(a), np.linalg.pinv(a), np.linalg.matrix_rank(a)), empty)
    check(lambda a: (np.linalg.norm(a, 2), np.linalg.norm(a, "nuc"), np.linalg.qr(a.T, "complete")), empty)
    assert jg.jit(np.linalg.svd)(normal(2, 2)).S.shape == (2,)
    assert jg.jit(np.linalg.qr)(normal(2, 2)).R.shape == (2, 2)


def test_hermitian() -> None:
    a = normal(2, 4, 4)
    a = a + np.swapaxes(a, 1, 2)
    check(lambda a: np.linalg.svd(a, hermitian=True), a)
    check(lambda a: (np.linalg.svd(a, compute_uv=False, hermitian=True), np.linalg.pinv(a, hermitian=True)), a)
    check(lambda a: np.linalg.matrix_rank(a, hermitian=True), a)


@pytest.mark.parametrize(("dtype", "tol"), DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (3, 3)])
def test_lstsq(shape: tuple[int, int], dtype: Any, tol: float) -> None:
    a, b = normal(*shape).astype(dtype), normal(shape[0], 2, seed=1).astype(dtype)
    check(lambda a, b: (np.linalg.lstsq(a, b), np.linalg.lstsq(a, b[:, 0], rcond=0.1)), a, b, tol=10 * tol)
    jg.testing.check_grads(lambda a, b: np.linalg.lstsq(a, b)[:2], (a.astype(float), b.astype(float)), order=1)


def test_lstsq_of_lower_rank() -> None:
    """The shortest solution. The residuals are there, where NumPy has none."""
    a, b = normal(5, 2) @ normal(2, 3, seed=1), normal(5, seed=2)
    (x, residuals, rank, s), wanted = jg.jit(np.linalg.lstsq)(a, b), np.linalg.lstsq(a, b)
    np.testing.assert_allclose(x, wanted[0], rtol=1e-10)
    np.testing.assert_allclose(residuals, [np.sum((a @ x - b) ** 2)])
    np.testing.assert_allclose(s, wanted[3], atol=1e-14)
    assert rank == wanted[2] == 2


def test_systems_of_tensors() -> None:
    a = normal(2, 3, 6)
    check(lambda a, b: np.linalg.tensorsolve(a, b), a, normal(2, 3))
    check(lambda a: (np.linalg.tensorinv(a, ind=2), np.linalg.tensorinv(np.moveaxis(a, -1, 0), ind=1)), a)
    jg.testing.check_grads(lambda a, b: np.linalg.tensorsolve(a, b), (a, normal(2, 3)), order=1)


# Derivatives


def _t(a: Any) -> Any:
    return np.swapaxes(a, -1, -2)


def _function(a: Any) -> Any:
    """A function of a matrix by its singular values: no sign matters."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return (u * np.log1p(s)[..., None, :]) @ vh


def _complements(a: Any) -> Any:
    """The projections onto what ``full_matrices`` adds."""
    u, s, vh = np.linalg.svd(a)
    k = s.shape[-1]
    return u[..., k:] @ _t(u[..., k:]), _t(vh[..., k:, :]) @ vh[..., k:, :]


def _qr_complement(a: Any) -> Any:
    q, r = np.linalg.qr(a, "complete")
    rest = q[..., a.shape[-1] :]
    return rest @ _t(rest), r**2


DERIVATIVES = {
    "singular values": lambda a: np.linalg.svdvals(a) ** 2,
    "singular vectors": lambda a: [x**2 for x in np.linalg.svd(a, full_matrices=False)],
    "function of a matrix": _function,
    "complements": _complements,
    "qr": lambda a: [x**2 for x in np.linalg.qr(a)],
    "complete qr": _qr_complement,
    "pinv": np.linalg.pinv,
    "norms": lambda a: [np.linalg.norm(a, p, (-2, -1)) for p in (2, -2, "nuc")],
    "cond": lambda a: np.linalg.cond(a),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives(name: str, shape: tuple[int, ...]) -> None:
    """Both modes. To second order the ops are checked in ``tests/ops``."""
    if name in ("complements", "cond") and shape == (1, 1):
        return  # constants
    order = 2 if name == "complements" and shape == (5, 3) else 1
    jg.testing.check_grads(DERIVATIVES[name], (normal(*shape, seed=3),), order=order)


def _polar(a: Any) -> Any:
    u, _, vh = np.linalg.svd(a, full_matrices=False)
    return u @ vh


def test_equal_singular_values() -> None:
    """What does not depend on how their vectors are turned has its derivative, also where they are equal but for
    rounding."""
    q = np.linalg.qr(normal(4, 4))[0]
    t = normal(4, 4, seed=1)
    skew = q.T @ t
    for matrix in (np.eye(4), q, q[:, :2]):
        _, moved = jg.jvp(_polar, (matrix,), (t[:, : matrix.shape[1]],))
        h = 1e-6
        wanted = (_polar(matrix + h * t[:, : matrix.shape[1]]) - _polar(matrix - h * t[:, : matrix.shape[1]])) / (2 * h)
        np.testing.assert_allclose(moved, wanted, atol=1e-8)
    np.testing.assert_allclose(jg.jvp(_polar, (q,), (t,))[1], q @ (skew - skew.T) / 2, atol=1e-12)


def test_eigenvectors_of_values_equal_but_for_rounding() -> None:
    """The projection onto the space of two of them."""

    def projection(a: Any) -> Any:
        _, v = np.linalg.eigh((a + a.T) / 2)
        return v[:, :2] @ v[:, :2].T

    q, t = np.linalg.qr(normal(4, 4))[0], normal(4, 4, seed=1)
    a = (q * np.array([1.0, 1.0, 3.0, 4.0])) @ q.T
    _, moved = jg.jvp(projection, (a,), (t,))
    wanted = (projection(a + 1e-6 * t) - projection(a - 1e-6 * t)) / 2e-6
    np.testing.assert_allclose(moved, wanted, atol=1e-8)


def test_pinv_of_lower_rank() -> None:
    """Along a change that keeps the rank."""
    left, right, t = normal(5, 2), normal(2, 3, seed=1), normal(5, 2, seed=2)
    jg.testing.check_grads(lambda x: np.linalg.pinv(x @ right, rtol=1e-10), (left,), order=1)
    _, moved = jg.jvp(lambda a: np.linalg.pinv(a, 1e-10), (left @ right,), (t @ right,))
    h = 1e-6
    wanted = (np.linalg.pinv((left + h * t) @ right, 1e-10) - np.linalg.pinv((left - h * t) @ right, 1e-10)) / (2 * h)
    np.testing.assert_allclose(moved, wanted, rtol=1e-6, atol=1e-7)


def test_norms_at_zero() -> None:
    for p in (2, "nuc"):
        np.testing.assert_array_equal(jg.grad(lambda a, p=p: np.linalg.norm(a, p))(np.zeros((3, 2))), 0.0)


def test_svd_in_a_loop() -> None:
    @jg.value_and_grad
    def f(a: Any) -> Any:
        total = 0.0
        for k in range(20):
            a = a + 0.1 * np.linalg.pinv(a).T
            total = total + np.linalg.norm(a, 2) + k * np.linalg.svdvals(a)[-1]
        return total

    jg.testing.check_grads(lambda a: f(a)[0], (normal(4, 3),), order=1)


# What LAPACK is asked for


def calls(f: Any, *args: Any) -> list[str]:
    return re.findall(r"\b(?:gesdd|syevd|geqrf|orgqr)\b", f.ir(*args, stage="loop"))


def test_what_is_not_needed_is_not_computed() -> None:
    a, s = normal(5, 3), normal(4, 4)
    assert " svdvals(" in jg.jit(np.linalg.svdvals).ir(a, stage="optimised")
    assert " eigvalsh(" in jg.jit(np.linalg.eigvalsh).ir(s, stage="optimised")
    assert " eigh(" in jg.value_and_grad(lambda a: np.linalg.eigvalsh(a)[0]).ir(s, stage="optimised")
    assert " svd(" in jg.value_and_grad(lambda a: np.linalg.norm(a, 2)).ir(s, stage="optimised")
    assert calls(jg.jit(lambda a: np.linalg.qr(a, "r")), a) == ["geqrf"]
    assert calls(jg.jit(np.linalg.qr), a) == ["geqrf", "orgqr"]
    assert calls(jg.jit(lambda a: np.linalg.lstsq(a, a[:, 0])), a) == ["gesdd"]
    assert calls(jg.value_and_grad(lambda a: np.linalg.norm(a, 2) + np.linalg.norm(a, "nuc")), a) == ["gesdd"]
    assert calls(jg.value_and_grad(lambda a: np.sum(np.linalg.eigvalsh(a) ** 2)), s) == ["syevd"]


# Errors


ERRORS = {
    "vector": (lambda a: np.linalg.svd(a[0]), ShapeError, "last two axes"),
    "qr mode": (lambda a: np.linalg.qr(a, "raw"), ArgumentError, "'reduced', 'complete' or 'r'"),
    "traced cutoff": (lambda a: np.linalg.pinv(a, a[0, 0]), UnsupportedError, "part of the derivative's formula"),
    "two cutoffs": (lambda a: np.linalg.pinv(a, 0.1, rtol=0.1), ArgumentError, "both rcond and rtol"),
    "two tolerances": (lambda a: np.linalg.matrix_rank(a, 0.1, rtol=0.1), ArgumentError, "both tol and rtol"),
    "empty cond": (lambda a: np.linalg.cond(a[:0]), ShapeError, "empty"),
    "lstsq": (lambda a: np.linalg.lstsq(a, np.ones(7)), ShapeError, "as many rows"),
    "tensorsolve": (lambda a: np.linalg.tensorsolve(a, np.ones(2)), ShapeError, "as many elements"),
    "tensorinv": (lambda a: np.linalg.tensorinv(a, 1), ShapeError, "as many elements"),
    "tensorinv ind": (lambda a: np.linalg.tensorinv(a, 0), ArgumentError, "at least 1"),
    "norm": (lambda a: np.linalg.norm(a, 3), ArgumentError, "no order of a matrix norm"),
    "unknown extent": (lambda a: np.linalg.svdvals(a[a[:, 0] > 0]), UnsupportedError, "depends on traced values"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_errors(case: Any) -> None:
    f, error, message = case
    with pytest.raises(error, match=message) as info:
        jg.jit(f)(normal(2, 3))
    assert "test_numpy_factors.py" in str(info.value)


def test_what_does_not_converge_raises() -> None:
    bad = np.full((2, 3, 3), np.nan)
    for f in (np.linalg.svd, np.linalg.svdvals, np.linalg.pinv, lambda a: np.linalg.norm(a, 2, (1, 2))):
        with pytest.raises(np.linalg.LinAlgError):
            f(bad)
        with pytest.raises(LinAlgError, match=r"SVD did not converge(.|\n)*test_numpy_factors\.py"):
            jg.jit(lambda a, f=f: f(a))(bad)


def test_gradient_of_qr_at_lower_rank_raises() -> None:
    with pytest.raises(LinAlgError, match="Singular"):
        jg.grad(lambda a: np.sum(np.linalg.qr(a)[0]))(np.zeros((3, 2)))


# As JAX does it

PEERS = {
    "svd": lambda np, a: np.sum(np.sin(np.linalg.svd(a, full_matrices=False)[0] ** 2)),
    "values": lambda np, a: np.sum(np.linalg.svd(a, compute_uv=False) ** 3),
    "qr": lambda np, a: np.sum(np.sin(np.linalg.qr(a)[0] ** 2)) + np.sum(np.cos(np.linalg.qr(a)[1] ** 2)),
    "pinv": lambda np, a: np.sum(np.sin(np.linalg.pinv(a))),
    "lstsq": lambda np, a: np.sum(np.linalg.lstsq(a, np.cos(np.arange(1.0 * a.shape[0])))[0] ** 2),
    "nuclear": lambda np, a: np.linalg.norm(a, "nuc") + np.linalg.norm(a, 2) + np.linalg.cond(a),
}
#: JAX has no derivative of a QR factorization for fewer rows than columns.
PEER_CASES = [(name, s) for name in PEERS for s in ((4, 4), (6, 3), (3, 6)) if (name, s) != ("qr", (3, 6))]


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "shape"), PEER_CASES)
def test_as_jax(name: str, shape: tuple[int, int]) -> None:
    jax = pytest.importorskip("jax")
    a = normal(*shape, seed=5)
    value, grad = jg.value_and_grad(lambda a: PEERS[name](np, a))(a)
    jax.config.update("jax_enable_x64", True)
    try:
        expected = jax.value_and_grad(lambda a: PEERS[name](jax.numpy, a))(jax.numpy.asarray(a))
    finally:
        jax.config.update("jax_enable_x64", False)
    np.testing.assert_allclose(value, expected[0], rtol=1e-11)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-9, atol=1e-11)
