"""Relaxation and diffusion on grids: PolyBench's stencils and their relatives.

Sources: PolyBench/C 4.2 (jacobi-1d, jacobi-2d, seidel-2d, adi), and the usual textbook forms of Gauss-Seidel and
red-black relaxation (Golub and Van Loan, Matrix Computations, section 11.2).
"""

from __future__ import annotations

import numpy as np

from benchmarks.corpus.kernel import Kernel


def jacobi_1d(a, steps):
    """PolyBench jacobi-1d: two sweeps of a three-point mean each step. a: (n,)."""
    A = a.copy()
    B = a.copy()
    for _t in range(steps):
        B[1:-1] = 0.33333 * (A[:-2] + A[1:-1] + A[2:])
        A[1:-1] = 0.33333 * (B[:-2] + B[1:-1] + B[2:])
    return np.sum(A * A)


def jacobi_2d(a, steps):
    """PolyBench jacobi-2d in slices: two sweeps of a five-point mean each step. a: (n, n)."""
    A = a.copy()
    B = a.copy()
    for _t in range(steps):
        B[1:-1, 1:-1] = 0.2 * (A[1:-1, 1:-1] + A[1:-1, :-2] + A[1:-1, 2:] + A[2:, 1:-1] + A[:-2, 1:-1])
        A[1:-1, 1:-1] = 0.2 * (B[1:-1, 1:-1] + B[1:-1, :-2] + B[1:-1, 2:] + B[2:, 1:-1] + B[:-2, 1:-1])
    return np.sum(A * A)


def jacobi_2d_loops(a, steps):
    """``jacobi_2d`` as PolyBench's C has it: a statement an element."""
    n, m = a.shape
    A = a.copy()
    B = a.copy()
    for _t in range(steps):
        for i in range(1, n - 1):
            for j in range(1, m - 1):
                B[i, j] = 0.2 * (A[i, j] + A[i, j - 1] + A[i, j + 1] + A[i + 1, j] + A[i - 1, j])
        for i in range(1, n - 1):
            for j in range(1, m - 1):
                A[i, j] = 0.2 * (B[i, j] + B[i, j - 1] + B[i, j + 1] + B[i + 1, j] + B[i - 1, j])
    return np.sum(A * A)


def seidel_2d(a, steps):
    """PolyBench seidel-2d: a nine-point mean, in place, in row order. a: (n, n)."""
    n = a.shape[0]
    A = a.copy()
    for _t in range(steps):
        for i in range(1, n - 1):
            for j in range(1, n - 1):
                A[i, j] = (
                    A[i - 1, j - 1] + A[i - 1, j] + A[i - 1, j + 1]
                    + A[i, j - 1] + A[i, j] + A[i, j + 1]
                    + A[i + 1, j - 1] + A[i + 1, j] + A[i + 1, j + 1]
                ) / 9.0  # fmt: skip
    return np.sum(A * A)


def gauss_seidel(A, b, sweeps):
    """Gauss-Seidel relaxation of A x = b from zero. A: (n, n), diagonally dominant; b: (n,)."""
    n = len(b)
    x = np.zeros(n)
    for _k in range(sweeps):
        for i in range(n):
            x[i] = (b[i] - A[i, :i] @ x[:i] - A[i, i + 1 :] @ x[i + 1 :]) / A[i, i]
    return np.sum(x * x)


def red_black(u0, f, sweeps):
    """Red-black Gauss-Seidel for Poisson's equation with right-hand side -f, in slices. u0, f: (n, n), n even."""
    u = u0.copy()
    for _k in range(sweeps):
        u[1:-1:2, 1:-1:2] = 0.25 * (
            u[:-2:2, 1:-1:2] + u[2::2, 1:-1:2] + u[1:-1:2, :-2:2] + u[1:-1:2, 2::2] + f[1:-1:2, 1:-1:2]
        )
        u[2:-1:2, 2:-1:2] = 0.25 * (
            u[1:-2:2, 2:-1:2] + u[3::2, 2:-1:2] + u[2:-1:2, 1:-2:2] + u[2:-1:2, 3::2] + f[2:-1:2, 2:-1:2]
        )
        u[1:-1:2, 2:-1:2] = 0.25 * (
            u[:-2:2, 2:-1:2] + u[2::2, 2:-1:2] + u[1:-1:2, 1:-2:2] + u[1:-1:2, 3::2] + f[1:-1:2, 2:-1:2]
        )
        u[2:-1:2, 1:-1:2] = 0.25 * (
            u[1:-2:2, 1:-1:2] + u[3::2, 1:-1:2] + u[2:-1:2, :-2:2] + u[2:-1:2, 2::2] + f[2:-1:2, 1:-1:2]
        )
    return np.sum(u * u)


def red_black_loops(u0, f, sweeps):
    """``red_black`` with a statement an element; the columns of a row start at its parity."""
    n, m = u0.shape
    u = np.copy(u0)
    for _k in range(sweeps):
        for colour in range(2):
            for i in range(1, n - 1):
                for j in range(1 + (i + 1 + colour) % 2, m - 1, 2):
                    u[i, j] = 0.25 * (u[i - 1, j] + u[i + 1, j] + u[i, j - 1] + u[i, j + 1] + f[i, j])
    return np.sum(u * u)


def adi(u0, steps):
    """PolyBench adi: alternating direction implicit heat flow; a column sweep, then a row sweep. u0: (n, n)."""
    n = u0.shape[0]
    u = u0.copy()
    v = np.zeros((n, n))
    p = np.zeros((n, n))
    q = np.zeros((n, n))
    dx = 1.0 / n
    dt = 1.0 / steps
    mul1 = 2.0 * dt / (dx * dx)
    mul2 = dt / (dx * dx)
    a = -mul1 / 2.0
    b = 1.0 + mul1
    c = a
    d = -mul2 / 2.0
    e = 1.0 + mul2
    f = d
    for _t in range(steps):
        v[0, 1 : n - 1] = 1.0
        p[1 : n - 1, 0] = 0.0
        q[1 : n - 1, 0] = v[0, 1 : n - 1]
        for j in range(1, n - 1):
            p[1 : n - 1, j] = -c / (a * p[1 : n - 1, j - 1] + b)
            q[1 : n - 1, j] = (
                -d * u[j, 0 : n - 2] + (1.0 + 2.0 * d) * u[j, 1 : n - 1] - f * u[j, 2:n] - a * q[1 : n - 1, j - 1]
            ) / (a * p[1 : n - 1, j - 1] + b)
        v[n - 1, 1 : n - 1] = 1.0
        for j in range(n - 2, 0, -1):
            v[j, 1 : n - 1] = p[1 : n - 1, j] * v[j + 1, 1 : n - 1] + q[1 : n - 1, j]

        u[1 : n - 1, 0] = 1.0
        p[1 : n - 1, 0] = 0.0
        q[1 : n - 1, 0] = u[1 : n - 1, 0]
        for j in range(1, n - 1):
            p[1 : n - 1, j] = -f / (d * p[1 : n - 1, j - 1] + e)
            q[1 : n - 1, j] = (
                -a * v[0 : n - 2, j] + (1.0 + 2.0 * a) * v[1 : n - 1, j] - c * v[2:n, j] - d * q[1 : n - 1, j - 1]
            ) / (d * p[1 : n - 1, j - 1] + e)
        u[1 : n - 1, n - 1] = 1.0
        for j in range(n - 2, 0, -1):
            u[1 : n - 1, j] = p[1 : n - 1, j] * u[1 : n - 1, j + 1] + q[1 : n - 1, j]
    return np.sum(u * u)


def diffusion(u0, k, steps):
    """Diffusion that is slower in cells above a threshold: an ``if`` on the cell. u0: (n, n); k: a rate below 0.25."""
    n, m = u0.shape
    u = u0.copy()
    new = u0.copy()
    for _t in range(steps):
        for i in range(1, n - 1):
            for j in range(1, m - 1):
                flow = u[i - 1, j] + u[i + 1, j] + u[i, j - 1] + u[i, j + 1] - 4.0 * u[i, j]
                if u[i, j] > 0.5:
                    new[i, j] = u[i, j] + 0.1 * k * flow
                else:
                    new[i, j] = u[i, j] + k * flow * (1.0 - u[i, j])
        for i in range(1, n - 1):
            for j in range(1, m - 1):
                u[i, j] = new[i, j]
    return np.sum(u * u)


def _vector(rng, n, steps):
    return rng.normal(size=n), steps


def _grid(rng, n, steps):
    return rng.normal(size=(n, n)), steps


def _poisson(rng, n, sweeps):
    return rng.normal(size=(n, n)), rng.normal(size=(n, n)), sweeps


def _dominant_system(rng, n, sweeps):
    return rng.normal(size=(n, n)) / n + 2 * np.eye(n), rng.normal(size=n), sweeps


def _cells(rng, n, steps):
    return rng.random((n, n)), 0.2, steps


KERNELS = (
    Kernel(jacobi_1d, _vector, (12, 3), (400, 40), (4000, 1000), static=(1,)),
    Kernel(jacobi_2d, _grid, (7, 3), (60, 20), (300, 100), static=(1,)),
    Kernel(jacobi_2d_loops, _grid, (7, 3), (60, 20), (300, 100), static=(1,)),
    Kernel(seidel_2d, _grid, (7, 3), (40, 10), (120, 20), static=(1,)),
    Kernel(gauss_seidel, _dominant_system, (6, 4), (60, 10), (400, 20), argnums=(0, 1), static=(2,)),
    Kernel(red_black, _poisson, (8, 3), (40, 10), (300, 50), argnums=(0, 1), static=(2,)),
    Kernel(red_black_loops, _poisson, (7, 3), (40, 10), (300, 50), argnums=(0, 1), static=(2,)),
    Kernel(adi, _grid, (7, 3), (40, 5), (100, 20), static=(1,)),
    Kernel(diffusion, _cells, (7, 3), (40, 10), (120, 40), argnums=(0, 1), static=(2,)),
)
