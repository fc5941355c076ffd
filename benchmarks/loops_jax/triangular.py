"""``corpus.triangular`` for JAX: whole rows, columns or matrices an iteration, masked where NumPy has short slices."""

# pyright: reportMissingImports=false
from __future__ import annotations

import jax.numpy as jnp
from jax import lax


def lu(a, w):
    """Right-looking: a column of L and a rank-one update an iteration."""
    n = a.shape[0]
    index = jnp.arange(n)

    def column(k, A):
        below = index > k
        lower = jnp.where(below, A[:, k] / A[k, k], 0.0)
        upper = jnp.where(below, A[k], 0.0)
        A = A - jnp.outer(lower, upper)
        return A.at[:, k].set(jnp.where(below, lower, A[:, k]))

    return jnp.sum(w * lax.fori_loop(0, n, column, a))


def cholesky(a, w):
    """Right-looking: a column of L and a rank-one update an iteration; the columns are stacked by the scan."""
    n = a.shape[0]
    index = jnp.arange(n)

    def column(A, k):
        c = jnp.where(index >= k, A[:, k] / jnp.sqrt(A[k, k]), 0.0)
        return A - jnp.outer(c, c), c

    _, transposed = lax.scan(column, a, index)
    return jnp.sum(w * transposed.T)


def forward_substitution(L, b, w):
    """One row an iteration; the elements not yet known are zero, so that no mask is needed."""

    def row(x, inputs):
        i, a, bi, d = inputs
        return x.at[i].set((bi - a @ x) / d), None

    x, _ = lax.scan(row, jnp.zeros_like(b), (jnp.arange(len(b)), L, b, jnp.diagonal(L)))
    return jnp.sum(w * x)


def back_substitution(U, b, w):
    """As ``forward_substitution``, from the last row."""

    def row(x, inputs):
        i, a, bi, d = inputs
        return x.at[i].set((bi - a @ x) / d), None

    x, _ = lax.scan(row, jnp.zeros_like(b), (jnp.arange(len(b)), U, b, jnp.diagonal(U)), reverse=True)
    return jnp.sum(w * x)


def trmm(A, b, w):
    """One row an iteration, stacked by the scan: the rows below, which it needs, are still those of b.

    Carrying B and writing ``B.at[i].set(...)`` takes ten times as long.
    """
    index = jnp.arange(b.shape[0])

    def row(_, inputs):
        i, column, b_i = inputs
        return None, 1.5 * (b_i + jnp.where(index > i, column, 0.0) @ b)

    _, B = lax.scan(row, None, (index, A.T, b))
    return jnp.sum(w * B)


def durbin(r, w):
    """y and r reversed are kept padded by zeros, so that their first k elements are a dynamic slice."""
    n = len(r)
    zeros = jnp.zeros(n)
    reversed_r = jnp.concatenate([r[::-1], zeros])

    def step(carry, k):
        y, alpha, beta = carry
        beta = beta * (1.0 - alpha * alpha)
        r_k = lax.dynamic_slice(reversed_r, (n - k,), (n,))
        y_k = lax.dynamic_slice(jnp.concatenate([y[::-1], zeros]), (n - k,), (n,))
        alpha = -(r[k] + r_k @ y) / beta
        y = (y + alpha * y_k).at[k].set(alpha)
        return (y, alpha, beta), None

    (y, _, _), _ = lax.scan(step, (zeros.at[0].set(-r[0]), -r[0], 1.0), jnp.arange(1, n))
    return jnp.sum(w * y)


def gram_schmidt(a, wq, wr):
    """One column of Q and one row of R an iteration, stacked by the scan."""
    index = jnp.arange(a.shape[1])

    def column(A, k):
        c = A[:, k]
        norm = jnp.sqrt(jnp.sum(c * c))
        q = c / norm
        r = jnp.where(index > k, q @ A, 0.0)
        return A - jnp.outer(q, r), (q, r.at[k].set(norm))

    _, (Q, R) = lax.scan(column, a, index)
    return jnp.sum(wq * Q.T) + jnp.sum(wr * R)
