"""Back substitution by hand. The solution is all that the reverse sweep needs: nothing is taped."""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled


@compiled
def value_and_grad(U, b, w):
    """As ``corpus.triangular.back_substitution``."""
    n = len(b)
    x = np.empty(n)
    for i in range(n - 1, -1, -1):
        row = U[i]
        s = 0.0
        for k in range(i + 1, n):
            s += row[k] * x[k]
        x[i] = (b[i] - s) / row[i]

    G = np.empty((n, n))
    g = w.copy()
    for i in range(n):
        row, h = U[i], G[i]
        s = g[i] / row[i]
        g[i] = s
        h[:i] = 0.0
        h[i] = -s * x[i]
        for k in range(i + 1, n):
            h[k] = -s * x[k]
            g[k] -= s * row[k]
    return np.sum(w * x), (G, g)
