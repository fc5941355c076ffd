"""Runge-Kutta by hand, on a ring that is padded by two at each end. The tape is the state at each step."""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled


@compiled
def _close(x):
    """Fill the pads from the other end."""
    n = len(x) - 4
    x[0], x[1], x[n + 2], x[n + 3] = x[n], x[n + 1], x[2], x[3]


@compiled
def _slope(x, k):
    """Lorenz's 1996 model."""
    behind2, behind, here, ahead, out = x, x[1:], x[2:], x[3:], k[2:]
    for i in range(len(x) - 4):
        out[i] = (ahead[i] - behind2[i]) * behind[i] - here[i] + 8.0


@compiled
def _pullback(x, g, out):
    """The adjoint of x for the adjoint g of the slope."""
    _close(g)
    g_behind, g_here, g_ahead, g_ahead2 = g[1:], g[2:], g[3:], g[4:]
    behind2, behind, ahead, ahead2, inner = x, x[1:], x[3:], x[4:], out[2:]
    for i in range(len(x) - 4):
        inner[i] = g_behind[i] * behind2[i] - g_ahead2[i] * ahead[i] + g_ahead[i] * (ahead2[i] - behind[i]) - g_here[i]


@compiled
def _stage(x, factor, k, out):
    """A stage's point."""
    inner, here, slope = out[2:], x[2:], k[2:]
    for i in range(len(x) - 4):
        inner[i] = here[i] + factor * slope[i]
    _close(out)


@compiled
def value_and_grad(x0, w, steps):
    """As ``corpus.simulations.rk4``."""
    h = 0.002
    n = len(x0)
    tape = np.empty((steps + 1, n + 4))
    tape[0, 2 : n + 2] = x0
    _close(tape[0])
    k = np.empty((4, n + 4))
    x2, x3, x4 = np.empty(n + 4), np.empty(n + 4), np.empty(n + 4)
    k1, k2, k3, k4 = k
    for t in range(steps):
        x, new = tape[t], tape[t + 1]
        _slope(x, k1)
        _stage(x, 0.5 * h, k1, x2)
        _slope(x2, k2)
        _stage(x, 0.5 * h, k2, x3)
        _slope(x3, k3)
        _stage(x, h, k3, x4)
        _slope(x4, k4)
        for i in range(2, n + 2):
            new[i] = x[i] + h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i])
        _close(new)
    value = np.sum(w * tape[steps, 2 : n + 2])

    g = np.zeros(n + 4)
    g[2 : n + 2] = w
    u, p2, p3, p4 = np.empty(n + 4), np.empty(n + 4), np.empty(n + 4), np.empty(n + 4)
    for t in range(steps - 1, -1, -1):
        x = tape[t]
        _slope(x, k1)
        _stage(x, 0.5 * h, k1, x2)
        _slope(x2, k2)
        _stage(x, 0.5 * h, k2, x3)
        _slope(x3, k3)
        _stage(x, h, k3, x4)
        for i in range(2, n + 2):
            u[i] = h / 6.0 * g[i]
        _pullback(x4, u, p4)
        for i in range(2, n + 2):
            u[i] = h / 3.0 * g[i] + h * p4[i]
        _pullback(x3, u, p3)
        for i in range(2, n + 2):
            u[i] = h / 3.0 * g[i] + 0.5 * h * p3[i]
        _pullback(x2, u, p2)
        for i in range(2, n + 2):
            u[i] = h / 6.0 * g[i] + 0.5 * h * p2[i]
            g[i] += p2[i] + p3[i] + p4[i]
        _pullback(x, u, p2)
        for i in range(2, n + 2):
            g[i] += p2[i]
    return value, g[2 : n + 2].copy()
