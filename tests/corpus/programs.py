"""Programs whose control flow depends on the data, and programs that write into their arguments."""

from __future__ import annotations

import numpy as np

from benchmarks.corpus.kernel import Kernel


def newton(mean_anomaly, eccentricity):
    """Kepler's equation E - e sin E = M for each M by Newton's method, until the step is small. mean_anomaly: (n,)."""
    total = 0.0
    for i in range(len(mean_anomaly)):
        E = mean_anomaly[i]
        step = 1.0
        while abs(step) > 1e-10:
            step = (E - eccentricity * np.sin(E) - mean_anomaly[i]) / (1.0 - eccentricity * np.cos(E))
            E -= step
        total += E * E
    return total


def newton_system(a, b):
    """a x + x^3 = b by Newton's method for all x at once, until the residual is small. a, b: (n,)."""
    x = b / a
    residual = a * x + x**3 - b
    iterations = 0
    while np.sqrt(np.sum(residual**2)) > 1e-9 and iterations < 50:
        x = x - residual / (a + 3.0 * x**2)
        residual = a * x + x**3 - b
        iterations += 1
    return np.sum(x * x)


def escape(real, imaginary):
    """Smoothed escape of z^2 + c at many points, with a ``break``. real, imaginary: (n,)."""
    total = 0.0
    for i in range(len(real)):
        x = 0.0
        y = 0.0
        for _k in range(20):
            if x * x + y * y > 4.0:
                break
            x, y = x * x - y * y + real[i], 2.0 * x * y + imaginary[i]
        total += np.log(1.0 + x * x + y * y)
    return total


def adaptive_heun(x0, rate):
    """x' = rate - x^3 from 0 to 1 by Heun's method with an adaptive step; steps that are too large are repeated."""
    x = x0
    t = 0.0
    h = 0.05
    while t < 1.0:
        if t + h > 1.0:
            h = 1.0 - t
        k1 = rate - x**3
        k2 = rate - (x + h * k1) ** 3
        error = abs(h * (k2 - k1)) / 2.0
        if error > 1e-3:
            h = 0.5 * h
            continue
        x += h * (k1 + k2) / 2.0
        t += h
        if error < 1e-4:
            h = 1.5 * h
    return x * x


def first_crossing(x, level):
    """The time at which a polygon first rises above a level: an early ``return``. x: (n,)."""
    for i in range(1, len(x)):
        if x[i] > level:
            return i - 1 + (level - x[i - 1]) / (x[i] - x[i - 1])
    return 1.0 * len(x)


def cholesky_views(a, w):
    """Cholesky column by column through a view of the column. a, w: (n, n)."""
    n = a.shape[0]
    A = a.copy()
    for j in range(n):
        column = A[j:, j]
        column -= A[j:, :j] @ A[j, :j]
        column /= np.sqrt(column[0])
    return np.sum(w * np.tril(A))


def cholesky_loops(a, w):
    """PolyBench cholesky with a statement an element. a, w: (n, n)."""
    n = a.shape[0]
    A = a.copy()
    for i in range(n):
        for j in range(i):
            for k in range(j):
                A[i, j] -= A[i, k] * A[j, k]
            A[i, j] /= A[j, j]
        for k in range(i):
            A[i, i] -= A[i, k] * A[i, k]
        A[i, i] = np.sqrt(A[i, i])
    return np.sum(w * np.tril(A))


def lu_in_place(A, w):
    """LU in place of the argument, by rank-one updates. A, w: (n, n)."""
    n = A.shape[0]
    for k in range(n):
        A[k + 1 :, k] /= A[k, k]
        for i in range(k + 1, n):
            A[i, k + 1 :] -= A[i, k] * A[k, k + 1 :]
    return np.sum(w * A)


def seidel_in_place(A, steps):
    """``seidel_2d`` with five points, in the argument itself. A: (n, n)."""
    n = A.shape[0]
    for _t in range(steps):
        for i in range(1, n - 1):
            for j in range(1, n - 1):
                A[i, j] = 0.2 * (A[i - 1, j] + A[i, j - 1] + A[i, j] * A[i, j] + A[i, j + 1] + A[i + 1, j])
    return np.sum(A * A)


def recurrence_in_place(x, y):
    """A non-linear recurrence that overwrites y, forward and then backward. x, y: (n,)."""
    n = len(x)
    for i in range(1, n):
        y[i] += x[i] * y[i - 1]
    for i in range(n - 2, -1, -1):
        y[i] = y[i] * y[i + 1] + x[i]
    return np.sum(y)


def _orbits(rng, n):
    return rng.uniform(0.2, 2.8, size=n), 0.6


def _cubics(rng, n):
    return rng.uniform(0.5, 2.0, size=n), rng.normal(size=n)


def _points(rng, n):
    """In turn well inside the set and well outside: on its border the value is chaotic."""
    angle, inside = rng.uniform(-1.0, 1.0, size=n), np.arange(n) % 2 == 0
    radius = np.where(inside, 0.2, 1.2) + 0.05 * rng.random(n)
    return radius * np.cos(angle), radius * np.sin(angle)


def _number(rng):
    return float(rng.uniform(1.0, 2.0)), float(rng.uniform(2.0, 3.0))


def _signal(rng, n):
    return np.sin(np.arange(n) / 2.0) + 0.1 * rng.normal(size=n), 0.7


def _definite(rng, n):
    x = rng.normal(size=(n, n))
    return x @ x.T / n + np.eye(n), rng.normal(size=(n, n))


def _dominant(rng, n):
    return rng.normal(size=(n, n)) / np.sqrt(n) + 3 * np.eye(n), rng.normal(size=(n, n))


def _grid(rng, n, steps):
    return rng.normal(size=(n, n)), steps


def _two(rng, n):
    return 0.5 * rng.normal(size=n), 1.0 + 0.5 * rng.random(n)


_LISTED = (
    Kernel(newton, _orbits, (5,), (50,), (1000,), argnums=(0, 1)),
    Kernel(newton_system, _cubics, (5,), (50,), (1000,), argnums=(0, 1)),
    Kernel(escape, _points, (12,), (100,), (1000,), argnums=(0, 1)),
    Kernel(adaptive_heun, _number, (), (), (), argnums=(0, 1)),
    Kernel(first_crossing, _signal, (12,), (12,), (12,), argnums=(0, 1)),
    Kernel(cholesky_views, _definite, (6,), (60,), (300,)),
    Kernel(cholesky_loops, _definite, (6,), (60,), (300,)),
    Kernel(lu_in_place, _dominant, (6,), (50,), (200,), writes=(0,)),
    Kernel(seidel_in_place, _grid, (6, 3), (40, 10), (120, 20), static=(1,), writes=(0,)),
    Kernel(recurrence_in_place, _two, (6,), (50,), (1000,), argnums=(0, 1), writes=(1,)),
)
KERNELS = {kernel.name: kernel for kernel in _LISTED}
