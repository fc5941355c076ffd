"""LU by hand, forward by rows (the i-k-j order), where the kernel takes dot products with columns; backward by columns.

The factors themselves are all that the reverse sweep needs: nothing is taped.
"""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled


@compiled
def value_and_grad(a, w):
    """As ``corpus.triangular.lu``."""
    n = a.shape[0]
    A = a.copy()
    for i in range(n):
        row = A[i]
        for k in range(i):
            s = row[k] / A[k, k]
            row[k] = s
            right, upper = row[k + 1 :], A[k, k + 1 :]
            for j in range(len(right)):
                right[j] -= s * upper[j]
    value = np.sum(w * A)

    G = w.copy()
    for k in range(n - 2, -1, -1):
        upper, h = A[k, k + 1 :], G[k, k + 1 :]
        diagonal, g_diagonal = A[k, k], G[k, k]
        for i in range(k + 1, n):
            s, g, t = A[i, k], G[i, k + 1 :], 0.0
            for j in range(len(g)):
                h[j] -= s * g[j]
                t += g[j] * upper[j]
            t = (G[i, k] - t) / diagonal
            G[i, k] = t
            g_diagonal -= t * s
        G[k, k] = g_diagonal
    return value, G
