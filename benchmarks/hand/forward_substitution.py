"""Forward substitution by hand. The solution is all that the reverse sweep needs: nothing is taped."""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled


@compiled
def value_and_grad(L, b, w):
    """As ``corpus.triangular.forward_substitution``."""
    n = len(b)
    x = np.empty(n)
    for i in range(n):
        row = L[i]
        s = 0.0
        for k in range(i):
            s += row[k] * x[k]
        x[i] = (b[i] - s) / row[i]

    G = np.empty((n, n))
    g = w.copy()
    for i in range(n - 1, -1, -1):
        row, h = L[i], G[i]
        s = g[i] / row[i]
        g[i] = s
        for k in range(i):
            h[k] = -s * x[k]
            g[k] -= s * row[k]
        h[i] = -s * x[i]
        h[i + 1 :] = 0.0
    return np.sum(w * x), (G, g)
