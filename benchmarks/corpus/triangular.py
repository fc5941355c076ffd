"""Factorizations and triangular systems, from PolyBench/C 4.2 (lu, cholesky, trisolv, trmm, durbin, gramschmidt).

The losses are weighted sums of the results, so that no element is left out and none is special.
"""

from __future__ import annotations

import numpy as np

from benchmarks.corpus.kernel import Kernel


def lu(a, w):
    """PolyBench lu: the two triangular factors without pivoting, in place of a copy. a, w: (n, n)."""
    n = a.shape[0]
    A = a.copy()
    for i in range(n):
        for j in range(i):
            A[i, j] -= A[i, :j] @ A[:j, j]
            A[i, j] /= A[j, j]
        for j in range(i, n):
            A[i, j] -= A[i, :i] @ A[:i, j]
    return np.sum(w * A)


def cholesky(a, w):
    """PolyBench cholesky: the lower factor, row by row, in place of a copy's lower triangle. a, w: (n, n)."""
    n = a.shape[0]
    A = a.copy()
    for i in range(n):
        for j in range(i):
            A[i, j] -= A[i, :j] @ A[j, :j]
            A[i, j] /= A[j, j]
        A[i, i] -= A[i, :i] @ A[i, :i]
        A[i, i] = np.sqrt(A[i, i])
    return np.sum(w * np.tril(A))


def forward_substitution(L, b, w):
    """PolyBench trisolv: L x = b with L lower triangular. L: (n, n); b, w: (n,)."""
    n = len(b)
    x = np.zeros(n)
    for i in range(n):
        x[i] = (b[i] - L[i, :i] @ x[:i]) / L[i, i]
    return np.sum(w * x)


def back_substitution(U, b, w):
    """U x = b with U upper triangular, from the last row up. U: (n, n); b, w: (n,)."""
    n = len(b)
    x = np.zeros(n)
    for i in range(n - 1, -1, -1):
        x[i] = (b[i] - U[i, i + 1 :] @ x[i + 1 :]) / U[i, i]
    return np.sum(w * x)


def trmm(A, b, w):
    """PolyBench trmm: B = 1.5 A^T B in place, A unit lower triangular. A: (m, m); b, w: (m, n)."""
    m, n = b.shape
    B = b.copy()
    for i in range(m):
        for j in range(n):
            B[i, j] += A[i + 1 :, i] @ B[i + 1 :, j]
            B[i, j] *= 1.5
    return np.sum(w * B)


def durbin(r, w):
    """PolyBench durbin: the Toeplitz system T y = -r by Levinson's recursion. r, w: (n,)."""
    n = len(r)
    y = np.zeros(n)
    y[0] = -r[0]
    beta = 1.0
    alpha = -r[0]
    for k in range(1, n):
        beta *= 1.0 - alpha * alpha
        alpha = -(r[k] + np.dot(r[:k][::-1], y[:k])) / beta
        y[:k] += alpha * y[:k][::-1]
        y[k] = alpha
    return np.sum(w * y)


def gram_schmidt(a, wq, wr):
    """PolyBench gramschmidt: modified Gram-Schmidt, A = Q R. a, wq: (m, n); wr: (n, n)."""
    m, n = a.shape
    A = a.copy()
    Q = np.zeros((m, n))
    R = np.zeros((n, n))
    for k in range(n):
        R[k, k] = np.sqrt(np.sum(A[:, k] * A[:, k]))
        Q[:, k] = A[:, k] / R[k, k]
        for j in range(k + 1, n):
            R[k, j] = np.sum(Q[:, k] * A[:, j])
            A[:, j] -= Q[:, k] * R[k, j]
    return np.sum(wq * Q) + np.sum(wr * R)


def _dominant(rng, n):
    return rng.normal(size=(n, n)) / np.sqrt(n) + 3 * np.eye(n), rng.normal(size=(n, n))


def _definite(rng, n):
    x = rng.normal(size=(n, n))
    return x @ x.T / n + np.eye(n), rng.normal(size=(n, n))


def _lower_system(rng, n):
    return rng.normal(size=(n, n)) / n + 2 * np.eye(n), rng.normal(size=n), rng.normal(size=n)


def _product(rng, m, n):
    return rng.normal(size=(m, m)) / np.sqrt(m), rng.normal(size=(m, n)), rng.normal(size=(m, n))


def _toeplitz(rng, n):
    """Correlations that fall quickly, so that the Toeplitz matrix is well conditioned."""
    lag = np.arange(1, n + 1)
    return 0.5 * np.cos(lag) * np.exp(-0.3 * lag) + 1e-3 * rng.normal(size=n) / lag, rng.normal(size=n)


def _tall(rng, m, n):
    return rng.normal(size=(m, n)), rng.normal(size=(m, n)), rng.normal(size=(n, n))


KERNELS = (
    Kernel(lu, _dominant, (6,), (50,), (200,)),
    Kernel(cholesky, _definite, (6,), (60,), (300,)),
    Kernel(forward_substitution, _lower_system, (7,), (200,), (1000,), argnums=(0, 1)),
    Kernel(back_substitution, _lower_system, (7,), (200,), (1000,), argnums=(0, 1)),
    Kernel(trmm, _product, (6, 5), (40, 30), (200, 200), argnums=(0, 1)),
    Kernel(durbin, _toeplitz, (8,), (400,), (4000,), tolerance=1e-7),
    Kernel(gram_schmidt, _tall, (7, 5), (40, 30), (200, 150)),
)
