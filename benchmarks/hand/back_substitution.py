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
        row, known = U[i, i + 1 :], x[i + 1 :]
        s = 0.0
        for k in range(len(row)):
            s += row[k] * known[k]
        x[i] = (b[i] - s) / U[i, i]

    G = np.empty((n, n))
    g = w.copy()
    for i in range(n):
        s = g[i] / U[i, i]
        g[i] = s
        G[i, :i] = 0.0
        G[i, i] = -s * x[i]
        row, known, h, rest = U[i, i + 1 :], x[i + 1 :], G[i, i + 1 :], g[i + 1 :]
        for k in range(len(row)):
            h[k] = -s * known[k]
            rest[k] -= s * row[k]
    return np.sum(w * x), (G, g)
