"""jacobi-2d by hand. The sweeps are linear in the grids: nothing is taped."""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled


@compiled
def _forward(A, B):
    """B's interior from A."""
    n, m = A.shape
    for i in range(1, n - 1):
        middle, left, right = A[i, 1 : m - 1], A[i, : m - 2], A[i, 2:]
        below, above, out = A[i + 1, 1 : m - 1], A[i - 1, 1 : m - 1], B[i, 1 : m - 1]
        for j in range(len(out)):
            out[j] = 0.2 * (middle[j] + left[j] + right[j] + below[j] + above[j])


@compiled
def _backward(G, H, edge):
    """The adjoint H of the grid that was read, from the adjoint G of the grid that was written.

    Both hold the interior in a frame of zeros; what flows to the frame is added to ``edge``.
    """
    n, m = G.shape
    _forward(G, H)
    for j in range(1, m - 1):
        edge[0, j] += 0.2 * G[1, j]
        edge[n - 1, j] += 0.2 * G[n - 2, j]
    for i in range(1, n - 1):
        edge[i, 0] += 0.2 * G[i, 1]
        edge[i, m - 1] += 0.2 * G[i, m - 2]


@compiled
def value_and_grad(a, steps):
    """As ``corpus.stencils.jacobi_2d``."""
    A = a.copy()
    B = a.copy()
    for _t in range(steps):
        _forward(A, B)
        _forward(B, A)
    value = np.sum(A * A)
    edge = 2.0 * A
    edge[1:-1, 1:-1] = 0.0
    A *= 2.0
    for grid in (A, B):
        grid[0] = 0.0
        grid[-1] = 0.0
        grid[:, 0] = 0.0
        grid[:, -1] = 0.0
    for _t in range(steps):
        _backward(A, B, edge)
        _backward(B, A, edge)
    A += edge
    return value, A
