"""``corpus.sequences`` for JAX."""

# pyright: reportMissingImports=false
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def floyd_warshall(d, w):
    """One intermediate node an iteration, all pairs at once."""

    def through(k, path):
        other = path[:, k, None] + path[k, None, :]
        return jnp.where(other < path, other, path)  # three times faster to differentiate than minimum

    return jnp.sum(w * lax.fori_loop(0, d.shape[0], through, d))


def soft_floyd_warshall(d, w):
    """In place element by element, as NumPy has it: row and column k change while they are read."""
    n = d.shape[0]

    def through(k, path):
        def row(i, path):
            # Element (i, k) changes at its own turn, and the elements to its right see it changed. So does row k.
            new_ik = -jnp.logaddexp(-path[i, k], -path[i, k] - path[k, k])
            new_kk = -jnp.logaddexp(-path[k, k], -path[k, k] - path[k, k])
            j = jnp.arange(n)
            ik = jnp.where(j > k, new_ik, path[i, k])
            kj = jnp.where((i == k) & (j == k), path[k, k], path[k])
            ik = jnp.where((i == k) & (j > k), new_kk, ik)
            return path.at[i].set(-jnp.logaddexp(-path[i], -ik - kj))

        return lax.fori_loop(0, n, row, path)

    return jnp.sum(w * lax.fori_loop(0, n, through, d))


def smith_waterman(s, gap):
    """Antidiagonals, as is usual where the scores must be differentiated."""
    m, n = s.shape
    i = np.arange(1, m + 1)
    columns = np.arange(2, m + n + 1)[:, None] - i  # of row i on each antidiagonal, from 1
    inside = (columns >= 1) & (columns <= n)
    skewed = s[i - 1, np.clip(columns - 1, 0, n - 1)]

    def diagonal(carry, inputs):
        before, last = carry  # H on the two antidiagonals before this one, rows 0 to m
        scores, valid = inputs
        skipped = jnp.logaddexp(last[:-1] - gap, last[1:] - gap)
        h = jnp.logaddexp(jnp.logaddexp(0.0, before[:-1] + scores), skipped)
        new = jnp.concatenate([jnp.zeros(1), jnp.where(valid, h, 0.0)])
        return (last, new), new[1:]

    zeros = jnp.zeros(m + 1)
    _, H = lax.scan(diagonal, (zeros, zeros), (skewed, inside))
    cells = jnp.where(inside, H, -jnp.inf)
    border = jnp.log(m + n + 1.0)  # row 0 and column 0 are zeros
    return jnp.logaddexp(jax.nn.logsumexp(cells), border)


def hmm_forward(start, transition, emission, observed):
    """A scan over the observations."""
    emitted = emission.T[observed]

    def step(alpha, e):
        scale = jnp.sum(alpha)
        return (alpha / scale) @ transition * e, jnp.log(scale)

    alpha, logs = lax.scan(step, start * emitted[0], emitted[1:])
    return jnp.sum(logs) + jnp.log(jnp.sum(alpha))


def kalman(F, H, Q, R, z):
    """A scan over the observations."""
    n = F.shape[0]

    def step(carry, zt):
        x, P = carry
        x = F @ x
        P = F @ P @ F.T + Q
        y = zt - H @ x
        S = H @ P @ H.T + R
        K = jnp.linalg.solve(S, H @ P).T
        term = 0.5 * (jnp.linalg.slogdet(S)[1] + y @ jnp.linalg.solve(S, y))
        return (x + K @ y, P - K @ H @ P), term

    _, terms = lax.scan(step, (jnp.zeros(n), jnp.eye(n)), z)
    return -jnp.sum(terms)


def lstm(W, U, b, xs, w):
    """A scan over time; the products with the inputs are one product before it."""
    n = U.shape[0]

    def step(carry, xw):
        h, c = carry
        z = xw + h @ U
        i, f, o = jnp.split(jax.nn.sigmoid(z[:, : 3 * n]), 3, axis=1)
        c = f * c + i * jnp.tanh(z[:, 3 * n :])
        return (o * jnp.tanh(c), c), None

    zeros = jnp.zeros((xs.shape[1], n))
    (h, _), _ = lax.scan(step, (zeros, zeros), xs @ W + b)
    return jnp.sum(w * h)


def k_means(x, centres, steps):
    """All distances at once; sums over clusters by a product with one-hot labels."""
    k = centres.shape[0]

    def step(_t, carry):
        c, _ = carry
        distances = jnp.sum((x[:, None, :] - c[None, :, :]) ** 2, axis=-1)
        labels = jax.nn.one_hot(jnp.argmin(distances, axis=1), k, dtype=x.dtype)
        counts = jnp.sum(labels, axis=0)
        means = labels.T @ x / jnp.maximum(counts, 1.0)[:, None]
        return jnp.where(counts[:, None] > 0, means, c), jnp.sum(jnp.min(distances, axis=1))

    _, loss = lax.fori_loop(0, steps, step, (centres, jnp.zeros(())))
    return loss / len(x)
