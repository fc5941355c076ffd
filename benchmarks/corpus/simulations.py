"""Time integration, iteration and simulation, mostly a statement an element."""

from __future__ import annotations

import numpy as np

from benchmarks.corpus.kernel import Kernel


def accelerations(x, m):
    """Softened gravity of every body on every other. x: (n, 3); m: (n,)."""
    n = len(m)
    a = np.zeros((n, 3))
    for i in range(n):
        for j in range(n):
            dx = x[j, 0] - x[i, 0]
            dy = x[j, 1] - x[i, 1]
            dz = x[j, 2] - x[i, 2]
            r2 = dx * dx + dy * dy + dz * dz + 0.01
            s = m[j] / (r2 * np.sqrt(r2))
            a[i, 0] += s * dx
            a[i, 1] += s * dy
            a[i, 2] += s * dz
    return a


def nbody(x0, v0, m, w, steps):
    """Leapfrog (kick, drift, kick) of n bodies, pair by pair. x0, v0, w: (n, 3); m: (n,)."""
    dt = 0.01
    x = x0.copy()
    v = v0.copy()
    a = accelerations(x, m)
    for _t in range(steps):
        v += 0.5 * dt * a
        x += dt * v
        a = accelerations(x, m)
        v += 0.5 * dt * a
    return np.sum(w * x) + np.sum(w * v)


def nbody_rows(x0, v0, m, w, steps):
    """``nbody`` with the force on one body in slices."""
    n = len(m)
    dt = 0.01
    x = x0.copy()
    v = v0.copy()
    for _t in range(steps):
        x += 0.5 * dt * v
        for i in range(n):
            d = x - x[i]
            r2 = d[:, 0] ** 2 + d[:, 1] ** 2 + d[:, 2] ** 2 + 0.01
            s = m / (r2 * np.sqrt(r2))
            v[i] += dt * (s @ d)
        x += 0.5 * dt * v
    return np.sum(w * x) + np.sum(w * v)


def lorenz96(x):
    """Lorenz's 1996 model of a ring of n variables."""
    return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + 8.0


def rk4(x0, w, steps):
    """Lorenz's 1996 model by the classical Runge-Kutta method of fourth order. x0, w: (n,)."""
    h = 0.002
    x = x0
    for _t in range(steps):
        k1 = lorenz96(x)
        k2 = lorenz96(x + 0.5 * h * k1)
        k3 = lorenz96(x + 0.5 * h * k2)
        k4 = lorenz96(x + h * k3)
        x = x + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return np.sum(w * x)


def lotka_volterra(rates, start, data):
    """Squared error of predators and prey against data, ten Euler steps a datum.

    rates: (4,); start: (2,); data: (n, 2).
    """
    prey = start[0]
    predators = start[1]
    loss = 0.0
    for k in range(len(data)):
        for _t in range(10):
            growth = (rates[0] - rates[1] * predators) * prey
            decline = (rates[2] * prey - rates[3]) * predators
            prey += 0.01 * growth
            predators += 0.01 * decline
        loss += (prey - data[k, 0]) ** 2 + (predators - data[k, 1]) ** 2
    return loss / len(data)


def horner(c, x):
    """A polynomial at many points, all points at a time. c: (m,), the constant first; x: (n,)."""
    y = np.zeros(len(x))
    for k in range(len(c) - 1, -1, -1):
        y = y * x + c[k]
    return np.sum(y * y)


def horner_loops(c, x):
    """``horner`` point by point."""
    total = 0.0
    for i in range(len(x)):
        y = 0.0
        for k in range(len(c) - 1, -1, -1):
            y = y * x[i] + c[k]
        total += y * y
    return total


def asian_option(s0, rate, volatility, z):
    """Price of an Asian call by Monte Carlo over Black-Scholes paths; a year. z: (steps, paths), standard normal."""
    steps, paths = z.shape
    dt = 1.0 / steps
    s = np.full(paths, s0)
    total = np.zeros(paths)
    for row in z:
        s = s * np.exp((rate - 0.5 * volatility**2) * dt + volatility * np.sqrt(dt) * row)
        total += s
    return np.exp(-rate) * np.mean(np.maximum(total / steps - 100.0, 0.0))


def ray_march(centre, radius, light, width):
    """Brightness of a sphere, by sphere tracing from the origin, lit from a direction. centre, light: (3,)."""
    total = 0.0
    for row in range(width):
        for column in range(width):
            x = (column + 0.5) / width - 0.5
            y = (row + 0.5) / width - 0.5
            length = np.sqrt(x * x + y * y + 1.0)
            x /= length
            y /= length
            z = 1.0 / length
            t = 0.0
            for _k in range(60):
                px = t * x - centre[0]
                py = t * y - centre[1]
                pz = t * z - centre[2]
                distance = np.sqrt(px * px + py * py + pz * pz) - radius
                if distance < 1e-8 or t > 10.0:
                    break
                t += distance
            if t < 10.0:
                shade = (px * light[0] + py * light[1] + pz * light[2]) / radius
                total += max(shade, 0.0)
    return total / width**2


def _bodies(rng, n, steps):
    return rng.normal(size=(n, 3)), 0.1 * rng.normal(size=(n, 3)), rng.random(n) / n, rng.normal(size=(n, 3)), steps


def _ring(rng, n, steps):
    return 8.0 + rng.normal(size=n), rng.normal(size=n), steps


def _populations(rng, n):
    return np.array([1.1, 0.4, 0.1, 0.4]), np.array([1.0, 0.5]), 1.0 + rng.random((n, 2))


def _polynomial(rng, m, n):
    return rng.normal(size=m) / (1 + np.arange(m)), rng.uniform(-1, 1, size=n)


def _paths(rng, steps, paths):
    return 100.0, 0.05, 0.2, rng.normal(size=(steps, paths))


def _scene(rng, width):
    return np.array([0.1, -0.05, 3.0]), 0.9, np.array([0.3, 0.4, -0.8]), width


KERNELS = (
    Kernel(nbody, _bodies, (4, 3), (16, 10), (128, 100), argnums=(0, 1), static=(4,)),
    Kernel(nbody_rows, _bodies, (4, 3), (16, 10), (128, 100), argnums=(0, 1), static=(4,)),
    Kernel(rk4, _ring, (6, 4), (40, 100), (40, 2000), static=(2,), tolerance=1e-7),
    Kernel(lotka_volterra, _populations, (5,), (50,), (1000,), argnums=(0, 1)),
    Kernel(horner, _polynomial, (5, 6), (20, 200), (100, 4000), argnums=(0, 1)),
    Kernel(horner_loops, _polynomial, (5, 6), (20, 200), (100, 4000), argnums=(0, 1)),
    Kernel(asian_option, _paths, (4, 8), (20, 200), (100, 5000), argnums=(0, 1, 2)),
    Kernel(ray_march, _scene, (5,), (20,), (100,), argnums=(0, 1, 2), static=(3,), tolerance=1e-7),
)
