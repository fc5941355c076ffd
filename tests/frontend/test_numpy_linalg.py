"""Products and linear algebra on traced values agree with NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from traced import check, trace

import jitgrad as jg
from jitgrad.errors import ArgumentError, ShapeError
from jitgrad.scipy import linalg as jsl

RNG = np.random.default_rng(0)


def arr(*shape: int, dtype: object = float) -> np.ndarray:
    return RNG.normal(size=shape).astype(dtype)


V, W = arr(3), arr(4)
A, B = arr(2, 3), arr(3, 4, dtype=np.float32)
S, S2 = arr(5, 3, 3), arr(3, 3)
SPD = S2 @ S2.T + np.eye(3)
SPDS = S @ np.swapaxes(S, -1, -2) + np.eye(3)
INT = RNG.integers(-5, 5, (3, 3))
BOOL = INT > 0

CASES = {
    "matmul": (lambda a, b: (a @ b, np.matmul(a, b), b.T @ a.T, a[0] @ b, a @ b[:, 0], a[0] @ b[:, 0]), A, B),
    "matmul constant": (lambda a: (a @ B, A[:, :2] @ a, a @ [1.0, 2.0, 3.0], np.linalg.matmul(a, B)), A),
    "matmul batched": (
        lambda a, b: (a @ b, a @ b[0], b[0].T @ a, a[:, :1] @ b, a[:1] @ b, a @ b[:, :, 0].T[:, :4]),
        S,
        arr(5, 3, 2),
    ),
    "matmul broadcast": (lambda a, b: a @ b, arr(2, 1, 3, 4), arr(5, 4, 2)),
    "matmul 1": (lambda a, b: (a @ b, b @ a), arr(1, 1), arr(1, 1)),
    "matmul ints": (lambda a: (a @ a, a @ a[0], a[0] @ a[0]), INT),
    "matmul bool": (lambda a: (a @ a, np.dot(a, a)), BOOL),
    "matmul mixed": (lambda a, b: (a @ b, b @ a), INT, S2.astype(np.float32)),
    "matmul empty": (lambda a, b: (a @ b, b[:0] @ a[:, :2]), np.zeros((3, 0)), np.zeros((0, 3))),
    "dot": (
        lambda a, b, v: (a.dot(b), np.dot(a, b), np.dot(v, b), np.dot(v, v), np.dot(2.0, v), np.dot(v, 3)),
        A,
        B,
        V,
    ),
    "dot nd": (lambda a, b: (np.dot(a, b), np.dot(a, b[0]), np.dot(b[0, :, :1].T, b), np.inner(a, b)), arr(2, 4, 3), S),
    "inner": (lambda a, v: (np.inner(a, v), np.inner(v, v), np.inner(a, a), np.inner(a, 2.0)), A, V),
    "outer": (lambda v, w: (np.outer(v, w), np.linalg.outer(v, w), np.outer(v, [[1, 2], [3, 4]]), np.vdot(v, v)), V, W),
    "vdot": (lambda a: np.vdot(a, a + 1), A),
    "vecdot": (
        lambda a, v: (np.vecdot(a, v), np.linalg.vecdot(a, a), np.vecdot(v, v), np.linalg.vecdot(a, a, axis=0)),
        A,
        V,
    ),
    "tensordot": (
        lambda s, a: (
            np.tensordot(s, a, 1),
            np.tensordot(s, a.T, (2, 0)),
            np.tensordot(s, s, ([0, 1], [0, 1])),
            np.tensordot(a, s, 0),
            np.tensordot(s, s, 3),
            np.tensordot(s, a, axes=([-1], [-1])),
        ),
        S,
        S2,
    ),
    "kron": (lambda a, v: (np.kron(a, v), np.kron(v, v), np.kron(a, np.eye(2))), A, V),
    "cross": (
        lambda v, s: (
            np.cross(v, v[::-1]),
            np.cross(s, v),
            np.cross(s, s[::-1], axis=1),
            np.linalg.cross(v, s),
            np.cross(s, s[::-1], axisc=0),
        ),
        V,
        S2,
    ),
    "trace": (lambda a: (np.trace(a), np.linalg.trace(a), a.trace(1)), S2),
    "solve": (
        lambda a, b: (np.linalg.solve(a, b), np.linalg.solve(a, b[:, 0]), np.linalg.solve(a, np.eye(3))),
        S2,
        arr(3, 2),
    ),
    "solve batched": (
        lambda a, b: (
            np.linalg.solve(a, b),
            np.linalg.solve(a, b[0]),
            np.linalg.solve(a[0], b),
            np.linalg.solve(a, b[0, :, 0]),
        ),
        S,
        arr(5, 3, 2),
    ),
    "solve ints": (
        lambda a: (np.linalg.solve(a, [1, 2, 3]), np.linalg.inv(a), np.linalg.det(a)),
        INT + 9 * np.eye(3, dtype=int),
    ),
    "inverse": (
        lambda a, s: (
            np.linalg.inv(a),
            np.linalg.det(a),
            *np.linalg.slogdet(a),
            np.linalg.inv(s),
            np.linalg.det(s),
            np.linalg.slogdet(s).logabsdet,
        ),
        S2,
        S,
    ),
    "cholesky": (lambda a, s: (np.linalg.cholesky(a), np.linalg.cholesky(s)), SPD, SPDS),
    "matrix_power": (
        lambda a, s: [np.linalg.matrix_power(a, n) for n in (0, 1, 2, 5, -1, -2)] + [np.linalg.matrix_power(s, 3)],
        S2,
        S,
    ),
    "matrix_power ints": (lambda a: (np.linalg.matrix_power(a, 3), np.linalg.matrix_power(a, 0)), INT),
    "multi_dot": (
        lambda a, b, v: (
            np.linalg.multi_dot([a, b, b.T, v]),
            np.linalg.multi_dot([a, b]),
            np.linalg.multi_dot([v, b, b.T, v]),
            np.linalg.multi_dot([v, b]),
        ),
        A,
        arr(3, 4),
        V,
    ),
    "norm": (lambda v: [np.linalg.norm(v, o) for o in (None, 2, 1, np.inf, -np.inf, 0, 3, 2.5, -1)], V),
    "norm matrix": (
        lambda a: (
            [np.linalg.norm(a, o) for o in (None, "fro", 1, -1, np.inf, -np.inf)]
            + [
                np.linalg.norm(a, axis=0),
                np.linalg.norm(a, axis=1, keepdims=True),
                np.linalg.norm(a, 1, axis=-1),
                np.linalg.norm(a, "fro", axis=(0, 1)),
                np.linalg.norm(a, keepdims=True),
            ]
        ),
        A,
    ),
    "norm 3d": (
        lambda s: (
            np.linalg.norm(s),
            np.linalg.norm(s, axis=(1, 2)),
            np.linalg.norm(s, 1, (0, 2)),
            np.linalg.norm(s, np.inf, (2, 0), keepdims=True),
            np.linalg.vector_norm(s),
            np.linalg.matrix_norm(s),
            np.linalg.vector_norm(s, axis=1, ord=1),
        ),
        S,
    ),
    "norm ints": (lambda a: np.linalg.norm(a), INT),
    "norm f32": (lambda a: (np.linalg.norm(a), np.linalg.norm(a, axis=0), np.linalg.norm(a, 3, axis=1)), B),
    "cov": (
        lambda a, v: (
            np.cov(a),
            np.cov(v),
            np.cov(a, rowvar=False),
            np.cov(a, bias=True),
            np.cov(v, v[::-1]),
            np.corrcoef(a),
        ),
        A,
        V,
    ),
    "convolve": (
        lambda v, w: (
            [np.convolve(v, w, m) for m in ("full", "same", "valid")]
            + [np.convolve(w, v[:2], m) for m in ("full", "same", "valid")]
            + [np.correlate(w, v, m) for m in ("full", "same", "valid")]
        ),
        V,
        W,
    ),
    "polyval": (lambda p, x: (np.polyval(p, x), np.polyval([1, 2.0, 3], x), np.polyval(p, 2.0)), V, W),
    "vander": (lambda v: (np.vander(v), np.vander(v, 2), np.vander(v, increasing=True)), V),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_numpy(case) -> None:
    check(*case, rtol=1e-5 if any(a.dtype == np.float32 for a in case[1:]) else 1e-9)


EINSUM = [
    "ij,jk->ik",
    "ij,jk",
    "ij->ji",
    "ij",
    "ij->",
    "ij->j",
    "ii",
    "ii->i",
    "ij,ij->ij",
    "ij,ij",
    "i,j->ij",
    "i,i",
    "ij,kj->ik",
    "...j,jk->...k",
    "...ij,...jk->...ik",
    "i...->...",
    "bij,bjk->bik",
    "bij,bij->b",
    "bii->b",
    "bii->bi",
    "iij->j",
    "ij,jk,kl->il",
    "ij,jk,kl,lm->im",
    "i,ij,j",
    "ij,jk,ki->",
    "a,a,a->a",
    "ij,kl->",
    "ij,kl->ik",
    "ji,jk->ki",
    "bij,jk->bik",
    "bi,bj->bij",
    "ijk,k->ij",
    "ij...,jk->k...i",
]
SIZES = dict(zip("abijklm", (3, 2, 3, 4, 5, 2, 3), strict=True))


@pytest.mark.parametrize("spec", EINSUM)
def test_einsum(spec: str) -> None:
    operands = []
    for s in spec.split("->")[0].split(","):
        shape = [n for c in s.replace("...", ".") for n in ((2, 3) if c == "." else (SIZES[c],))]
        operands.append(arr(*shape))
    check(lambda *x: np.einsum(spec, *x), *operands, rtol=1e-10)
    check(lambda x: np.einsum(spec, x, *operands[1:], optimize=True), operands[0], rtol=1e-10)


def test_einsum_forms() -> None:
    check(lambda a, b: np.einsum(a, [0, 1], b, [1, 2], [2, 0]), A, B, rtol=1e-5)
    check(lambda a, b: np.einsum(a, [0, 1], b, [1, 2]), A, B, rtol=1e-5)
    check(lambda a: np.einsum(a, [Ellipsis, 0, 1], [Ellipsis, 1, 0]), S)
    check(lambda a, b: np.einsum("ij,jk->ik", a, b), A[:, :1], arr(3, 4), rtol=1e-10)  # extent 1 stretches
    check(lambda a: np.einsum("...,...", a, a[0]), S, rtol=1e-10)
    check(lambda a: np.einsum("ij,jk", a, a), INT)
    check(lambda a: np.einsum("ij,ij->i", a, a), BOOL)
    check(lambda a: np.einsum(" i j , j k -> i k ", a, a), S2)
    check(lambda a: np.einsum("ii->i", a), np.zeros((0, 0)))


def test_products_without_a_sum_are_elementwise() -> None:
    graph, _ = trace(lambda a, b: np.einsum("ij,j->ij", a, b), A, V)
    assert [op.name for op in graph.ops] == ["reshape", "multiply"]
    graph, _ = trace(lambda a, b: a @ b, A, A.T)
    assert [op.name for op in graph.ops] == ["einsum"]


LOWER = np.tril(S2) + 2 * np.eye(3)

SCIPY = {
    "triangular": (
        lambda a, b: (
            jsl.solve_triangular(a, b, lower=True),
            jsl.solve_triangular(a, b[:, 0], lower=True),
            jsl.solve_triangular(a, b, trans=1, lower=True),
            jsl.solve_triangular(a.T, b),
            jsl.solve_triangular(a, b, trans="T", lower=True, unit_diagonal=True),
        ),
        LOWER,
        arr(3, 2),
    ),
    "solve": (
        lambda a, b: (jsl.solve(a, b), jsl.solve(a, b, transposed=True), jsl.solve(a @ a.T, b, assume_a="pos")),
        S2,
        arr(3, 2),
    ),
    "cholesky": (lambda a: (jsl.cholesky(a), jsl.cholesky(a, lower=True), jsl.inv(a), jsl.det(a)), SPD),
    "cho_solve": (
        lambda a, b: (
            jsl.cho_solve((jsl.cholesky(a), False), b),
            jsl.cho_solve((jsl.cholesky(a, lower=True), True), b),
        ),
        SPD,
        arr(3, 2),
    ),
    "norm": (lambda a: (jsl.norm(a), jsl.norm(a, axis=0)), S2),
}


@pytest.mark.parametrize("case", SCIPY.values(), ids=SCIPY)
def test_against_scipy(case) -> None:
    check(*case, rtol=1e-9)


def test_upper_cholesky() -> None:
    check(lambda a: np.linalg.cholesky(a, upper=True), SPD, rtol=1e-9)
    check(lambda a: jsl.cho_factor(a)[0], np.eye(3) * 4.0)


def test_dtypes_of_scipy() -> None:
    check(lambda a: (jsl.det(a), jsl.inv(a), jsl.cholesky(a), jsl.solve(a, a[0])), SPD.astype(np.float32), rtol=1e-4)


ERRORS = {
    "matmul": (lambda a: a @ a, ShapeError, r"extents 3 and 2, which must be equal"),
    "matmul scalar": (lambda a: a @ a[0, 0], ShapeError, "scalars"),
    "dot": (lambda a: np.dot(a, a), ShapeError, "np.dot"),
    "inv": (lambda a: np.linalg.inv(a), ShapeError, "square matrix"),
    "solve": (lambda a: np.linalg.solve(a[:, :2], np.ones(3)), ShapeError, "2 rows"),
    "norm 3d": (lambda a: np.linalg.norm(a[None], 1), ArgumentError, "one or two"),
    "einsum count": (lambda a: np.einsum("ij,jk", a), ArgumentError, "names 2 operands"),
    "einsum letters": (lambda a: np.einsum("i", a), ArgumentError, "has 2 axes"),
    "einsum extents": (lambda a: np.einsum("ii", a), ShapeError, "letter 'i'"),
    "einsum output": (lambda a: np.einsum("ij->ik", a), ArgumentError, "output"),
    "cross": (lambda a: np.cross(a[:, :1], a[:, :1]), ShapeError, "2 or 3 components"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_errors(case) -> None:
    f, error, message = case
    with pytest.raises(error, match=message) as info:
        trace(f, A)
    assert "test_numpy_linalg.py" in str(info.value)


def _symmetric(a):
    return (a + np.swapaxes(a, -1, -2)) / 2


@pytest.mark.parametrize("shape", [(4, 4), (1, 1), (2, 3, 3)])
def test_eigh(shape):
    """Squares of the eigenvectors, as their signs are arbitrary."""

    def f(a):
        w, v = np.linalg.eigh(_symmetric(a))
        return w, v**2

    a = np.random.default_rng(0).normal(size=shape)
    for found, wanted in zip(jg.jit(f)(a), f(a), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)
    jg.testing.check_grads(lambda a: (*f(a), np.linalg.eigvalsh(_symmetric(a))), (a,))


def test_forms_of_eigh():
    a = np.random.default_rng(0).normal(size=(4, 4))  # either half is read alone
    for fun in (
        lambda a: np.linalg.eigh(a).eigenvalues,
        lambda a: np.linalg.eigh(a, "U")[0],
        lambda a: np.linalg.eigvalsh(a, UPLO="U"),
        lambda a: scipy.linalg.eigh(a)[0],
        lambda a: scipy.linalg.eigh(a, lower=False, eigvals_only=True),
        lambda a: scipy.linalg.eigvalsh(a, lower=False),
    ):
        np.testing.assert_allclose(jg.jit(fun)(a), fun(a), rtol=1e-12)
        np.testing.assert_allclose(jg.jit(fun)(a.astype(np.float32)), fun(a), rtol=1e-4)
    with pytest.raises(jg.errors.ArgumentError, match="UPLO"):
        jg.jit(lambda a: np.linalg.eigvalsh(a, "X"))(a)
    with pytest.raises(jg.errors.LinAlgError, match="not positive definite"):
        jg.jit(lambda a: scipy.linalg.eigh(a, a))(a)


def test_eigenvectors_of_equal_eigenvalues():
    """What does not depend on how they are turned has its derivative: here the gradient of ``trace(a**3)``."""

    def f(a):
        w, v = np.linalg.eigh(a)
        return np.trace((v * w**3) @ v.T)

    a = np.diag([1.0, 1.0, 2.0])
    np.testing.assert_allclose(jg.grad(f)(a), 3 * a @ a, rtol=1e-12)


def test_block_diag_and_toeplitz():
    a, b, x = np.arange(6.0).reshape(2, 3), np.ones((1, 1)), np.array([1.0, 2.0, 4.0])
    for fun in (
        lambda a, b, x: scipy.linalg.block_diag(a, b, x, a),
        lambda a, b, x: scipy.linalg.block_diag(a),
        lambda a, b, x: scipy.linalg.toeplitz(x),
        lambda a, b, x: scipy.linalg.toeplitz(x, a[0, :2]),
        lambda a, b, x: scipy.linalg.toeplitz(x[:1], x),
    ):
        np.testing.assert_array_equal(jg.jit(fun)(a, b, x), fun(a, b, x))
        jg.testing.check_grads(fun, (a, b, x), order=1)


@pytest.mark.parametrize("order", [2, -2, "nuc"])
def test_norms_of_one_row_or_column_need_no_svd(order):
    column = np.array([[3.0], [4.0]])
    for f, a in ((lambda a: np.linalg.norm(a, order), column), (lambda a: np.linalg.norm(a, order), column.T)):
        compiled = jg.jit(f)
        np.testing.assert_allclose(compiled(a), 5.0)
        assert "svd" not in compiled.ir(a)
        np.testing.assert_allclose(jg.grad(f)(a), a / 5)
    np.testing.assert_allclose(jg.jit(lambda a: np.linalg.norm(a, order, keepdims=True))(column), [[5.0]])


def test_angles_of_real_numbers_are_constant():
    np.testing.assert_array_equal(jg.grad(lambda x: np.sum(np.angle(x)))(np.array([0.0, 1.0, -2.0])), np.zeros(3))
