"""Cholesky by hand, row by row. The factor itself is all that the reverse sweep needs: nothing is taped.

I. Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527, its unblocked form by rows.
"""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled


@compiled
def value_and_grad(a, w):
    """As ``corpus.triangular.cholesky``."""
    n = a.shape[0]
    L = a.copy()
    value = 0.0
    for i in range(n):
        row = L[i]
        for j in range(i):
            other = L[j]
            s = 0.0
            for k in range(j):
                s += row[k] * other[k]
            row[j] = (row[j] - s) / other[j]
        s = 0.0
        for k in range(i):
            s += row[k] * row[k]
        row[i] = np.sqrt(row[i] - s)
        for k in range(i + 1):
            value += w[i, k] * row[k]

    G = np.zeros((n, n))
    for i in range(n):
        G[i, : i + 1] = w[i, : i + 1]
    for i in range(n - 1, -1, -1):
        row, g = L[i], G[i]
        s = 0.5 * g[i] / row[i]
        g[i] = s
        for k in range(i):
            g[k] -= 2.0 * s * row[k]
        for j in range(i - 1, -1, -1):
            other, h = L[j], G[j]
            s = g[j] / other[j]
            g[j] = s
            h[j] -= s * row[j]
            for k in range(j):
                g[k] -= s * other[k]
                h[k] -= s * row[k]
    return value, G
