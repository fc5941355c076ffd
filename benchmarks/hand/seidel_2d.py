"""seidel-2d by hand. The sweeps are linear in the grid: nothing is taped."""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled


@compiled
def _forward_row(above, row, below, rest):
    """One row in place: first the part that can be vectorized, then the chain from left to right."""
    n = len(row)
    for j in range(1, n - 1):
        rest[j] = above[j - 1] + above[j] + above[j + 1] + row[j] + row[j + 1] + below[j - 1] + below[j] + below[j + 1]
    left = row[0]
    for j in range(1, n - 1):
        left = (rest[j] + left) / 9.0
        row[j] = left


@compiled
def _backward_row(above, row, below, g):
    """The adjoint of ``_forward_row``: the chain from right to left, then the neighbours' shares of it."""
    n = len(row)
    right = 0.0
    for j in range(n - 2, 0, -1):
        right = (row[j] + right) / 9.0
        g[j] = right
    row[0] += right
    for j in range(1, n - 1):
        row[j] = g[j - 1] + g[j]
    row[n - 1] += g[n - 2]
    for j in range(1, n - 1):
        s = g[j - 1] + g[j] + g[j + 1]
        above[j] += s
        below[j] += s
    above[0] += g[1]
    below[0] += g[1]
    above[n - 1] += g[n - 2]
    below[n - 1] += g[n - 2]


@compiled
def value_and_grad(a, steps):
    """As ``corpus.stencils.seidel_2d``."""
    n, m = a.shape
    A = a.copy()
    buffer = np.zeros(m)
    for _t in range(steps):
        for i in range(1, n - 1):
            _forward_row(A[i - 1], A[i], A[i + 1], buffer)
    value = np.sum(A * A)
    G = 2.0 * A
    buffer[:] = 0.0
    for _t in range(steps):
        for i in range(n - 2, 0, -1):
            _backward_row(G[i - 1], G[i], G[i + 1], buffer)
    return value, G
