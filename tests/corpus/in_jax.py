"""The programs of ``corpus.programs`` for JAX, those that it can differentiate in reverse."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from benchmarks.loops_jax.triangular import cholesky, lu

cholesky_views = cholesky_loops = cholesky
lu_in_place = lu


def escape(real, imaginary):
    """All points at once; those that have escaped are masked."""

    def step(_k, z):
        x, y = z
        gone = x * x + y * y > 4.0
        return jnp.where(gone, x, x * x - y * y + real), jnp.where(gone, y, 2.0 * x * y + imaginary)

    x, y = lax.fori_loop(0, 20, step, (jnp.zeros_like(real), jnp.zeros_like(real)))
    return jnp.sum(jnp.log(1.0 + x * x + y * y))


def seidel_in_place(A, steps):
    """Element by element."""
    n = A.shape[0]

    def element(i, j, A):
        value = 0.2 * (A[i - 1, j] + A[i, j - 1] + A[i, j] * A[i, j] + A[i, j + 1] + A[i + 1, j])
        return A.at[i, j].set(value)

    def row(i, A):
        return lax.fori_loop(1, n - 1, lambda j, A: element(i, j, A), A)

    A = lax.fori_loop(0, steps, lambda _t, A: lax.fori_loop(1, n - 1, row, A), A)
    return jnp.sum(A * A)


def recurrence_in_place(x, y):
    """Two scans."""

    def forward(before, inputs):
        xi, yi = inputs
        value = yi + xi * before
        return value, value

    def backward(after, inputs):
        xi, yi = inputs
        value = yi * after + xi
        return value, value

    _, inner = lax.scan(forward, y[0], (x[1:], y[1:]))
    y = jnp.concatenate([y[:1], inner])
    _, inner = lax.scan(backward, y[-1], (x[:-1], y[:-1]), reverse=True)
    return jnp.sum(inner) + y[-1]
