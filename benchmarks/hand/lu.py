"""LU by hand, by rows (the i-k-j order), where the kernel takes dot products with columns.

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
            upper = A[k]
            s = row[k] / upper[k]
            row[k] = s
            for j in range(k + 1, n):
                row[j] -= s * upper[j]
    value = np.sum(w * A)

    G = w.copy()
    for i in range(n - 1, -1, -1):
        row, g = A[i], G[i]
        for k in range(i - 1, -1, -1):
            upper, h = A[k], G[k]
            s = row[k]
            t = 0.0
            for j in range(k + 1, n):
                h[j] -= s * g[j]
                t += g[j] * upper[j]
            t = (g[k] - t) / upper[k]
            g[k] = t
            h[k] -= t * s
    return value, G
