"""``corpus.stencils`` for JAX."""

# pyright: reportMissingImports=false
from __future__ import annotations

import jax.numpy as jnp
from jax import lax


def jacobi_1d(a, steps):
    """Slices; the two arrays are rebuilt at every sweep."""

    def sweep(x, y):
        return y.at[1:-1].set(0.33333 * (x[:-2] + x[1:-1] + x[2:]))

    def step(_t, carry):
        A, B = carry
        B = sweep(A, B)
        return sweep(B, A), B

    A, _ = lax.fori_loop(0, steps, step, (a, a))
    return jnp.sum(A * A)


def jacobi_2d(a, steps):
    """Slices; the two arrays are rebuilt at every sweep."""

    def sweep(x, y):
        return y.at[1:-1, 1:-1].set(0.2 * (x[1:-1, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] + x[2:, 1:-1] + x[:-2, 1:-1]))

    def step(_t, carry):
        A, B = carry
        B = sweep(A, B)
        return sweep(B, A), B

    A, _ = lax.fori_loop(0, steps, step, (a, a))
    return jnp.sum(A * A)


jacobi_2d_loops = jacobi_2d


def seidel_2d(a, steps):
    """Rows by a scan that carries the row above, elements by a scan that carries the element to the left."""

    def row(above, rows):
        this, below = rows
        rest = above[:-2] + above[1:-1] + above[2:] + this[1:-1] + this[2:] + below[:-2] + below[1:-1] + below[2:]

        def element(left, r):
            value = (left + r) / 9.0
            return value, value

        _, inner = lax.scan(element, this[0], rest)
        new = jnp.concatenate([this[:1], inner, this[-1:]])
        return new, new

    def step(_t, A):
        _, inner = lax.scan(row, A[0], (A[1:-1], A[2:]))
        return jnp.concatenate([A[:1], inner, A[-1:]])

    A = lax.fori_loop(0, steps, step, a)
    return jnp.sum(A * A)


def gauss_seidel(A, b, sweeps):
    """A sweep is a scan over the rows that carries x."""
    diagonal = jnp.diagonal(A)
    index = jnp.arange(len(b))

    def row(x, inputs):
        i, a, bi, d = inputs
        return x.at[i].add((bi - a @ x) / d), None

    def sweep(_k, x):
        return lax.scan(row, x, (index, A, b, diagonal))[0]

    x = lax.fori_loop(0, sweeps, sweep, jnp.zeros_like(b))
    return jnp.sum(x * x)


def red_black(u0, f, sweeps):
    """Both colours by masks over the whole grid."""
    i, j = jnp.indices(u0.shape)
    inside = (i > 0) & (i < u0.shape[0] - 1) & (j > 0) & (j < u0.shape[1] - 1)
    colours = inside & ((i + j) % 2 == 0), inside & ((i + j) % 2 == 1)

    def relax(u, mask):
        mean = 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] + f[1:-1, 1:-1])
        return jnp.where(mask, jnp.pad(mean, 1), u)

    u = lax.fori_loop(0, sweeps, lambda _k, u: relax(relax(u, colours[0]), colours[1]), u0)
    return jnp.sum(u * u)


red_black_loops = red_black


def adi(u0, steps):
    """The sweeps are scans over columns that carry one column."""
    n = u0.shape[0]
    dx, dt = 1.0 / n, 1.0 / steps
    mul1, mul2 = 2.0 * dt / (dx * dx), dt / (dx * dx)
    a, b, d, e = -mul1 / 2.0, 1.0 + mul1, -mul2 / 2.0, 1.0 + mul2
    zeros, ones = jnp.zeros(n - 2), jnp.ones(n - 2)

    def solve(low, middle, right):
        """The tridiagonal systems with the right-hand sides of the columns ``right``; the columns of the solution."""

        def forward(carry, r):
            p, q = carry
            denominator = low * p + middle
            p, q = -low / denominator, (r - low * q) / denominator
            return (p, q), (p, q)

        def backward(x, pq):
            x = pq[0] * x + pq[1]
            return x, x

        _, pq = lax.scan(forward, (zeros, ones), right)
        return lax.scan(backward, ones, pq, reverse=True)[1]

    def framed(inner):
        return jnp.concatenate([ones[None], inner, ones[None]])

    def step(_t, u):
        right = -d * u[1:-1, :-2] + (1.0 + 2.0 * d) * u[1:-1, 1:-1] - d * u[1:-1, 2:]
        v = framed(solve(a, b, right))
        right = -a * v[:-2] + (1.0 + 2.0 * a) * v[1:-1] - a * v[2:]
        inner = framed(solve(d, e, right.T)).T
        return jnp.concatenate([u[:1], inner, u[-1:]])

    u = lax.fori_loop(0, steps, step, u0)
    return jnp.sum(u * u)


def diffusion(u0, k, steps):
    """Both branches everywhere, chosen by a mask."""

    def step(_t, u):
        c = u[1:-1, 1:-1]
        flow = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4.0 * c
        return u.at[1:-1, 1:-1].set(jnp.where(c > 0.5, c + 0.1 * k * flow, c + k * flow * (1.0 - c)))

    u = lax.fori_loop(0, steps, step, u0)
    return jnp.sum(u * u)
