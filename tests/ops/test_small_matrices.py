"""Linear algebra that is written out: pivots, special values, stacks longer than a vector, and what the code is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.ops import small_matrices
from jitgrad.testing import check_grads


def everything(a: np.ndarray, b: np.ndarray) -> Any:
    return np.linalg.solve(a, b[..., None])[..., 0], np.linalg.inv(a), np.linalg.det(a), *np.linalg.slogdet(a)


def difficult(rng: np.random.Generator, n: int) -> np.ndarray:
    """Matrices whose pivots are not where they are first looked for, or far from each other in size."""
    found = [np.eye(n)[rng.permutation(n)] * rng.choice([-1.0, 1.0], n) for _ in range(8)]
    found += [np.triu(rng.standard_normal((n, n)))[rng.permutation(n)] for _ in range(8)]
    hollow = rng.standard_normal((4, n, n)) * (1 - np.eye(n))  # no pivot is on the diagonal
    hollow = hollow + 3 * np.roll(np.eye(n), 1, axis=0)
    found += [*hollow, 1 / (np.arange(n)[:, None] + np.arange(n) + 1.0)]  # the Hilbert matrix
    found += [rng.standard_normal((n, n)) * 10.0 ** rng.integers(-60, 60, (n, 1)) for _ in range(4)]
    found += [np.round(3 * rng.standard_normal((n, n))) + 7 * np.eye(n) for _ in range(8)]
    return np.array(found)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_as_accurate_as_lapack(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = difficult(rng, n), rng.standard_normal((33, n))
    x, inverse, det, sign, logdet = jg.jit(everything)(a, b)
    want = everything(a, b)
    rows = np.abs(a).sum(-1)

    def error(x: np.ndarray) -> np.ndarray:
        """How large a change of the rows explains what is left over."""
        return np.max(np.abs(np.einsum("zij,zj->zi", a, x) - b) / (rows * np.abs(x).max(-1)[:, None]), axis=-1)

    eps = np.finfo(float).eps
    assert np.all(error(x) <= np.maximum(2 * error(want[0]), n * eps))
    scale = eps * n * np.linalg.cond(a / rows[..., None])  # of entries by rows of one size
    off = np.abs(inverse - want[1]).max((-1, -2)) / np.abs(want[1]).max((-1, -2))
    assert np.all(off <= 10 * np.minimum(scale, 0.1) + 4 * eps)
    assert np.all(np.abs(det - want[2]) <= 10 * scale * np.abs(want[2]))
    np.testing.assert_array_equal(sign, want[3])
    assert np.all(np.abs(logdet - want[4]) <= 10 * scale + 4 * eps * np.abs(want[4]))
    np.testing.assert_array_equal(np.abs(det[:8]), 1.0)


def test_singular_matrices() -> None:
    rng = np.random.default_rng(1)
    for n in (1, 3, 5):
        regular = rng.standard_normal((20, n, n))
        broken = regular.copy()
        broken[7, :, 0] = 0.0
        for name in ("inv", "solve"):
            f = jg.jit(lambda a, name=name: getattr(np.linalg, name)(*((a, a) if name == "solve" else (a,))))
            assert np.all(np.isfinite(f(regular)))
            with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
                f(broken)
        det, (sign, logdet) = jg.jit(lambda a: (np.linalg.det(a), np.linalg.slogdet(a)))(broken)
        np.testing.assert_allclose(det, np.linalg.det(broken), rtol=1e-10)
        assert det[7] == sign[7] == 0.0 and logdet[7] == -np.inf
        assert np.all(np.isfinite(np.delete(logdet, 7)))
    # A zero pivot in the middle, behind which LAPACK goes on.
    middle = np.array([[1.0, 2, 3], [2, 4, 7], [3, 6, 1]])
    assert jg.jit(lambda a: np.linalg.det(np.kron(np.eye(2), a)[:5, :5]))(middle) == 0.0
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        jg.jit(np.linalg.cholesky)(np.array([np.eye(3)] * 20 + [-np.eye(3)]))


def test_special_values() -> None:
    """They spread in their own matrix, and are no error."""
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((18, 3, 3)) + 4 * np.eye(3), rng.standard_normal((18, 3))
    a[3, 1, 1], a[5, 2, 0], a[11, 0, 2] = np.nan, np.nan, np.inf
    tiny = a[13] * 1e-310
    with np.errstate(all="ignore"):
        want = everything(a, b)
        for got, expected in zip(jg.jit(everything)(a, b), want, strict=True):
            np.testing.assert_allclose(got[[0, 1, 13]], expected[[0, 1, 13]], rtol=1e-10)
            assert all(np.any(np.isnan(got[k])) for k in (3, 5) if np.any(np.isnan(expected[k])))
            assert np.array_equal(
                np.isfinite(np.delete(got, [3, 5, 11], 0)), np.isfinite(np.delete(expected, [3, 5, 11], 0))
            )
        # Subnormal pivots have no reciprocal, and are divided by.
        got = jg.jit(lambda a: np.linalg.slogdet(a)[1])(tiny)
        np.testing.assert_allclose(got, np.linalg.slogdet(a[13])[1] + 3 * np.log(1e-310), rtol=1e-13)
        lower = a @ np.swapaxes(a, -1, -2)
        lower[11] = np.inf * np.eye(3)[0]
        lower[0, 0, 2] = np.nan  # not read
        np.testing.assert_allclose(jg.jit(np.linalg.cholesky)(lower[:11]), np.linalg.cholesky(lower[:11]), rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_stacks(dtype: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Vectors of matrices, blocks of which are fetched, with some left over; LLVM has nothing to say to them."""
    rng = np.random.default_rng(3)
    tol = 1e-11 if dtype == np.float64 else 2e-4
    for count, n in ((100, 2), (16_001, 4) if dtype == np.float64 else (203, 5)):
        a = (rng.standard_normal((count, n, n)) + 2 * n * np.eye(n)).astype(dtype)
        b = rng.standard_normal((count, n)).astype(dtype)

        def f(a: np.ndarray, b: np.ndarray) -> Any:
            return np.linalg.solve(a, b[..., None])[..., 0], np.linalg.cholesky(a @ np.swapaxes(a, -1, -2))

        def loss(a: np.ndarray, b: np.ndarray) -> Any:
            x, lower = f(a, b)
            return np.sum(x**2) + np.sum(lower**2)

        for got, want in zip(jg.jit(f)(a, b), f(a, b), strict=True):
            assert got.dtype == dtype
            np.testing.assert_allclose(got, want, rtol=tol, atol=tol)
        ga, gb = jg.grad(loss, argnums=(0, 1))(a, b)
        wide = a.astype(np.float64)
        x, inverse = np.linalg.solve(wide, b[..., None].astype(np.float64)), np.linalg.inv(wide)
        expected = 2 * np.swapaxes(inverse, -1, -2) @ x
        np.testing.assert_allclose(gb, expected[..., 0], rtol=tol, atol=tol)
        want_a = 2 * wide - expected @ np.swapaxes(x, -1, -2)  # the squares of the factor sum up to those of a
        np.testing.assert_allclose(ga, want_a, rtol=10 * tol, atol=10 * tol)
    assert capfd.readouterr().err == ""


def test_stacks_that_broadcast_and_gradients() -> None:
    rng = np.random.default_rng(4)
    a, one = rng.standard_normal((18, 3, 3)) + 4 * np.eye(3), rng.standard_normal((5, 5)) + 9 * np.eye(5)
    b = rng.standard_normal((18, 5, 9))

    def f(a: np.ndarray, one: np.ndarray, b: np.ndarray) -> Any:
        x = np.linalg.solve(one, b)
        y = np.linalg.solve(a, b[0, :3])
        return x, y, np.linalg.solve(np.swapaxes(a, -1, -2), y[:, :, :1]), np.linalg.det(x[:, :4, :4])

    for got, want in zip(jg.jit(f)(a, one, b), f(a, one, b), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
    check_grads(
        lambda a, one, b: sum(np.sum(np.sin(x)) for x in f(a, one, b)[:3]), (a, one, b), order=1, modes=("rev",)
    )


def test_what_is_written_out() -> None:
    rng = np.random.default_rng(5)

    def source(count: int, n: int) -> str:
        shape = (count, n, n) if count else (n, n)
        return jg.jit(lambda a: np.linalg.solve(a, a[..., :1])).source(rng.standard_normal(shape))

    assert "getrf" not in source(0, small_matrices.ALONE) and "getrf" in source(0, small_matrices.ALONE + 1)
    assert "getrf" not in source(16, small_matrices.STACKED) and "getrf" in source(16, small_matrices.STACKED + 1)
    # The products of an inverse's gradient are straight lines too: no loop is in the loop over the stack.
    gradient = jg.value_and_grad(lambda a: np.sum(np.linalg.inv(a) ** 2)).source(np.zeros((100, 3, 3)))
    assert gradient.count("for ") == 1
    # Many right sides are a loop: the code does not grow with them.
    solve = jg.jit(np.linalg.solve)
    lines = [len(solve.source(np.eye(6), np.ones((6, k))).splitlines()) for k in (20, 200)]
    assert lines[0] == lines[1] < 400
