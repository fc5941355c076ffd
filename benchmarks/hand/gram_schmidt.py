"""Modified Gram-Schmidt by hand, on the transposed matrix, whose rows are the columns.

Nothing is taped but Q and R: the reverse sweep unwinds the columns in place, by adding back what was taken off.
"""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled


@compiled
def value_and_grad(a, wq, wr):
    """As ``corpus.triangular.gram_schmidt``."""
    m, n = a.shape
    A = a.T.copy()
    R = np.zeros((n, n))
    for k in range(n):
        q = A[k]
        s = 0.0
        for i in range(m):
            s += q[i] * q[i]
        norm = np.sqrt(s)
        R[k, k] = norm
        for i in range(m):
            q[i] /= norm
        for j in range(k + 1, n):
            c = A[j]
            s = 0.0
            for i in range(m):
                s += q[i] * c[i]
            R[k, j] = s
            for i in range(m):
                c[i] -= q[i] * s
    # Row k of A is now column k of Q.
    G = wq.T.copy()
    value = np.sum(wr * R) + np.sum(A * G)

    C = np.empty((n, m))  # the columns as they were, while they are unwound
    for k in range(n - 1, -1, -1):
        q, gq = A[k], G[k]
        for j in range(k + 1, n):
            c, g, r = C[j], G[j], R[k, j]
            s = wr[k, j]
            for i in range(m):
                s -= q[i] * g[i]
            for i in range(m):
                c[i] += r * q[i]
                gq[i] += s * c[i] - r * g[i]
                g[i] += s * q[i]
        norm, c = R[k, k], C[k]
        s = 0.0
        for i in range(m):
            s += gq[i] * q[i]
        s = wr[k, k] - s / norm
        for i in range(m):
            c[i] = norm * q[i]
            gq[i] = gq[i] / norm + s * q[i]
    return value, G.T.copy()
