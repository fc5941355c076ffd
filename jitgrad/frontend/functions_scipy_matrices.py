"""Matrix equations, matrices of a form, and tridiagonal eigenvalues of ``scipy.linalg`` on traced values."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg as spl

from jitgrad.errors import ShapeError
from jitgrad.frontend.functions_expm import expm
from jitgrad.frontend.functions_fourier import irfft, rfft
from jitgrad.frontend.functions_linalg import square_matrix
from jitgrad.frontend.functions_scipy_linalg import eigh, toeplitz
from jitgrad.frontend.primitives import axis_index, floats, lift, matrix_floats, static_int, windows
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.ir.location import user_location

# -- matrix equations --------------------------------------------------------------------------------------------------


def _same_shape(function: str, q: Tracer, shape: tuple[Any, ...]) -> None:
    """Raise ShapeError unless the right side is a matrix of that shape, or a stack of such."""
    if q.ndim >= 2 and q.dims[-2:] == shape:
        return
    raise ShapeError(
        f"{function} with a right side of shape {q.dims}, where the equation has the unknown of shape {shape}. Both "
        "have one shape. Check the shapes.",
        user_location(),
    )


def _solved(system: Tracer, q: Tracer) -> Any:
    """The matrix X for which the sum of ``system[i, j, k, l] X[k, l]`` is ``q[i, j]``."""
    n, m = q.dims[-2:]
    rows = np.reshape(q, (*q.dims[:-2], n * m, 1))
    found = np.linalg.solve(np.reshape(system, (*system.dims[:-4], n * m, n * m)), rows)
    return np.reshape(found, (*found.shape[:-2], n, m))


def _outer(left: Any, right: Any) -> Any:
    """``left[i, k] right[j, l]`` at ``[i, j, k, l]``."""
    return left[..., :, None, :, None] * right[..., None, :, None, :]


@implements(spl.solve_sylvester)
def solve_sylvester(a: ArrayLike, b: ArrayLike, q: ArrayLike) -> Any:
    """As one system of the n m elements: ``(n m)^2`` numbers and ``2/3 (n m)^3`` operations. SciPy's is by Schur forms,
    which take ``n^3``."""
    a, b, q = floats(a, b, q)
    (a,), (b,) = square_matrix("scipy.linalg.solve_sylvester", a), square_matrix("scipy.linalg.solve_sylvester", b)
    n, m = a.dims[-1], b.dims[-1]
    _same_shape("scipy.linalg.solve_sylvester", q, (n, m))
    system = _outer(a, np.eye(m, dtype=a.dtype)) + _outer(np.eye(n, dtype=a.dtype), np.swapaxes(b, -1, -2))
    return _solved(system, q)


@implements(spl.solve_continuous_lyapunov)
def solve_continuous_lyapunov(a: ArrayLike, q: ArrayLike) -> Any:
    """As ``solve_sylvester``: ``n^4`` numbers and ``2/3 n^6`` operations."""
    (a,) = square_matrix("scipy.linalg.solve_continuous_lyapunov", a)
    return solve_sylvester(a, np.swapaxes(a, -1, -2), q)


@implements(spl.solve_discrete_lyapunov)
def solve_discrete_lyapunov(a: ArrayLike, q: ArrayLike, method: Any = None) -> Any:
    """The direct method, also where the bilinear one is asked for: ``n^4`` numbers and ``2/3 n^6`` operations."""
    if method not in (None, "direct", "bilinear"):
        raise ValueError(f"Unknown solver {method}")
    a, q = floats(a, q)
    (a,) = square_matrix("scipy.linalg.solve_discrete_lyapunov", a)
    n = a.dims[-1]
    _same_shape("scipy.linalg.solve_discrete_lyapunov", q, (n, n))
    eye = np.eye(n, dtype=a.dtype)
    return _solved(_outer(eye, eye) - _outer(a, a), q)


@implements(spl.solve_circulant)
def solve_circulant(
    c: ArrayLike, b: ArrayLike, singular: Any = "raise", tol: Any = None, caxis: int = -1, baxis: int = 0,
    outaxis: int = 0,
) -> Any:  # fmt: skip
    """By Fourier transforms, as SciPy."""
    if singular not in ("lstsq", "raise"):
        raise ValueError("singular must be 'raise' or 'lstsq'.")
    c, b = (np.atleast_1d(x) for x in floats(c, b))
    n = c.dims[axis_index(caxis, c.ndim)]
    if b.dims[axis_index(baxis, b.ndim)] != n:
        raise ShapeError(
            f"scipy.linalg.solve_circulant with c of shape {c.dims} and b of shape {b.dims}: their lengths along caxis "
            "and baxis differ. Check the shapes.",
            user_location(),
        )
    values, right = rfft(np.moveaxis(c, caxis, -1)), rfft(np.moveaxis(b, baxis, -1))
    size = np.abs(values)
    limit = np.max(size, axis=-1, keepdims=True) * n * np.finfo(c.dtype).eps if tol is None else tol
    zero = size <= limit
    if singular == "raise":
        ok: Any = ~np.any(zero)
        demand(ok, np.linalg.LinAlgError("near singular matrix."))
    found = np.where(zero, 0.0, right / np.where(zero, 1.0, values))
    return np.moveaxis(irfft(found, n), -1, outaxis)


@implements(spl.matmul_toeplitz)
def matmul_toeplitz(c_or_cr: Any, x: ArrayLike, check_finite: bool = False, workers: Any = None) -> Any:
    """As a product with the matrix."""
    column, row = c_or_cr if isinstance(c_or_cr, tuple) else (c_or_cr, None)
    return toeplitz(column, row) @ lift(x, column)[0]


# -- eigenvalues and angles --------------------------------------------------------------------------------------------


def _tridiagonal(d: ArrayLike, e: ArrayLike) -> Any:
    """The symmetric matrix of a diagonal and the one beside it."""
    d, e = floats(d, e)
    n = d.dims[-1]
    if d.ndim != e.ndim or e.dims[-1] != n - 1:
        raise ShapeError(
            f"scipy.linalg.eigh_tridiagonal with diagonals of shapes {d.dims} and {e.dims}. The second one has one "
            "element less. Check the shapes.",
            user_location(),
        )
    below = np.concatenate([e, np.zeros_like(d[..., :1])], axis=-1)
    half = below[..., None, :] * np.eye(n, k=-1, dtype=d.dtype)
    return d[..., :, None] * np.eye(n, dtype=d.dtype) + half + np.swapaxes(half, -1, -2)


@implements(spl.eigh_tridiagonal)
def eigh_tridiagonal(
    d: ArrayLike, e: ArrayLike, eigvals_only: bool = False, select: Any = "a", select_range: Any = None,
    check_finite: bool = True, tol: Any = 0.0, lapack_driver: Any = "auto",
) -> Any:  # fmt: skip
    """As a dense matrix: ``n^3`` operations. With ``select="i"`` some of all eigenvalues are returned."""
    w, v = eigh(_tridiagonal(d, e))
    if select in ("i", 2):
        first, last = (static_int(k, "select_range") for k in select_range)
        w, v = w[..., first : last + 1], v[..., first : last + 1]
    elif select not in ("a", 0):
        raise ValueError(f"select={select!r} is not known for traced values. Use 'a' or 'i'.")
    return w if eigvals_only else (w, v)


@implements(spl.eigvalsh_tridiagonal)
def eigvalsh_tridiagonal(
    d: ArrayLike, e: ArrayLike, select: Any = "a", select_range: Any = None, check_finite: bool = True, tol: Any = 0.0,
    lapack_driver: Any = "auto",
) -> Any:  # fmt: skip
    return eigh_tridiagonal(d, e, True, select, select_range)


@implements(spl.subspace_angles)
def subspace_angles(A: ArrayLike, B: ArrayLike) -> Any:
    """Of matrices of full column rank; by sines where they are small and by cosines elsewhere (A. V. Knyazev,
    M. E. Argentati, SIAM Journal on Scientific Computing 23, 2002)."""
    a, b = matrix_floats("scipy.linalg.subspace_angles", A, B)
    if a.dims[-2] != b.dims[-2] or a.dims[-1] > a.dims[-2] or b.dims[-1] > b.dims[-2]:
        raise ShapeError(
            f"scipy.linalg.subspace_angles of matrices of shapes {a.dims} and {b.dims}. They have as many rows, and "
            "at most as many columns. Check the shapes.",
            user_location(),
        )
    first, second = np.linalg.qr(a)[0], np.linalg.qr(b)[0]
    if first.shape[-1] < second.shape[-1]:
        first, second = second, first
    across = np.swapaxes(first, -1, -2) @ second
    cosines = np.linalg.svd(across, compute_uv=False)[..., ::-1]
    sines = np.linalg.svd(second - first @ across, compute_uv=False)
    near = cosines**2 >= 0.5
    by_sine = np.arcsin(np.where(near, sines, 0.0))
    return np.where(near, by_sine, np.arccos(np.where(near, 0.0, cosines)))


@implements(spl.orthogonal_procrustes)
def orthogonal_procrustes(A: ArrayLike, B: ArrayLike, check_finite: bool = True) -> tuple[Any, Any]:
    a, b = matrix_floats("scipy.linalg.orthogonal_procrustes", A, B)
    u, s, vh = np.linalg.svd(np.swapaxes(b, -1, -2) @ a, full_matrices=False)
    return np.swapaxes(u @ vh, -1, -2), np.sum(s, axis=-1)


# -- functions of matrices ---------------------------------------------------------------------------------------------


@implements(spl.coshm)
def coshm(A: ArrayLike) -> Any:
    (a,) = square_matrix("scipy.linalg.coshm", A)
    return 0.5 * (expm(a) + expm(-a))


@implements(spl.sinhm)
def sinhm(A: ArrayLike) -> Any:
    (a,) = square_matrix("scipy.linalg.sinhm", A)
    return 0.5 * (expm(a) - expm(-a))


@implements(spl.tanhm)
def tanhm(A: ArrayLike) -> Any:
    return np.linalg.solve(coshm(A), sinhm(A))


def _rotation(function: str, A: ArrayLike) -> tuple[Any, Any]:
    """Cosine and sine, from the real form of ``exp(i A)``."""
    (a,) = square_matrix(function, A)
    n, zero = a.dims[-1], np.zeros_like(a)
    rows = [np.concatenate([zero, -a], axis=-1), np.concatenate([a, zero], axis=-1)]
    found = expm(np.concatenate(rows, axis=-2))
    return found[..., :n, :n], found[..., n:, :n]


@implements(spl.cosm)
def cosm(A: ArrayLike) -> Any:
    return _rotation("scipy.linalg.cosm", A)[0]


@implements(spl.sinm)
def sinm(A: ArrayLike) -> Any:
    return _rotation("scipy.linalg.sinm", A)[1]


@implements(spl.tanm)
def tanm(A: ArrayLike) -> Any:
    return np.linalg.solve(*_rotation("scipy.linalg.tanm", A))


# -- matrices of a form ------------------------------------------------------------------------------------------------


def _first_row(rows: Any, below: Any) -> Any:
    """A matrix of a first row and of what stands below the diagonal."""
    n = rows.shape[-1]
    first = np.concatenate([rows[..., None, :], np.zeros_like(rows, shape=(*rows.shape[:-1], n - 1, n))], axis=-2)
    return first + np.concatenate([below, np.zeros_like(rows[..., :1])], axis=-1)[..., None, :] * np.eye(
        n, k=-1, dtype=rows.dtype
    )


@implements(spl.companion)
def companion(a: ArrayLike) -> Any:
    """The leading coefficient is not looked at: where it is 0, the first row is not finite, and SciPy raises."""
    (a,) = floats(a)
    if a.dims[-1] < 2:
        raise ValueError(f"The length of `a` along the last axis must be at least 2; it has shape {a.dims}.")
    return _first_row(-a[..., 1:] / a[..., :1], np.ones_like(a[..., 2:]))


@implements(spl.leslie)
def leslie(f: ArrayLike, s: ArrayLike) -> Any:
    f, s = lift(f, s)
    if f.ndim == 0 or s.ndim == 0 or f.dims[-1] != s.dims[-1] + 1 or f.dims[-1] < 2:
        raise ValueError(
            "The length of s along the last axis must be one less than the length of f, and at least 1; their shapes "
            f"are {f.dims} and {s.dims}."
        )
    return _first_row(f, s)


@implements(spl.fiedler)
def fiedler(a: ArrayLike) -> Any:
    (a,) = lift(a)
    return np.abs(a[..., :, None] - a[..., None, :])


@implements(spl.khatri_rao)
def khatri_rao(a: ArrayLike, b: ArrayLike) -> Any:
    a, b = lift(a, b)
    if min(a.ndim, b.ndim) < 2 or a.dims[-1] != b.dims[-1]:
        raise ValueError(f"The number of columns of both arrays must be equal; their shapes are {a.dims}, {b.dims}.")
    found = a[..., :, None, :] * b[..., None, :, :]
    return np.reshape(found, (*found.shape[:-3], a.dims[-2] * b.dims[-2], a.dims[-1]))


@implements(spl.convolution_matrix)
def convolution_matrix(a: ArrayLike, n: Any, mode: Any = "full") -> Any:
    (a,), n = lift(a), static_int(n, "n")
    if n <= 0 or a.ndim == 0 or a.dims[-1] == 0:
        raise ValueError("n must be a positive integer, and a must have at least one element.")
    if mode not in ("full", "valid", "same"):
        raise ValueError("'mode' argument must be one of ('full', 'valid', 'same')")
    if a.ndim > 1:
        rows = np.reshape(a, (-1, a.dims[-1]))
        found = np.stack([convolution_matrix(row, n, mode) for row in rows])
        return np.reshape(found, (*a.dims[:-1], *found.shape[-2:]))
    m = a.dims[0]
    zeros: Any = np.zeros_like(a, shape=(n - 1,))
    padded: Any = np.concatenate([zeros, a, zeros])
    whole = windows(padded, (m + n - 1, n), (1, -1), n - 1)
    if mode == "full":
        return whole
    if mode == "same":
        first = (min(m, n) - 1) // 2
        return whole[first : first + max(m, n)]
    first = min(m, n) - 1
    return whole[first : first + max(m, n) - min(m, n) + 1]
