"""trmm by hand, by rows, where the kernel takes dot products with columns; four rows at a time.

Rows below the one that is made are still those of b, so the reverse sweep reads b: nothing is taped.
"""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled


@compiled
def value_and_grad(A, b, w):
    """As ``corpus.triangular.trmm``."""
    m, n = b.shape
    value = 0.0
    row = np.empty(n)
    for i in range(m):
        row[:] = b[i]
        k = i + 1
        while k + 4 <= m:
            s0, s1, s2, s3 = A[k, i], A[k + 1, i], A[k + 2, i], A[k + 3, i]
            r0, r1, r2, r3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            for j in range(n):
                row[j] += s0 * r0[j] + s1 * r1[j] + s2 * r2[j] + s3 * r3[j]
            k += 4
        for q in range(k, m):
            s0, r0 = A[q, i], b[q]
            for j in range(n):
                row[j] += s0 * r0[j]
        for j in range(n):
            value += w[i, j] * row[j]
    value *= 1.5

    # The adjoint of a row is 1.5 w, its own and what the rows above it take from it: also a triangular product.
    GA = np.zeros((m, m))
    GB = np.empty((m, n))
    for k in range(m):
        row = GB[k]
        for j in range(n):
            row[j] = 1.5 * w[k, j]
        source, ga, i = b[k], GA[k], 0
        while i + 4 <= k:
            s0, s1, s2, s3 = 1.5 * A[k, i], 1.5 * A[k, i + 1], 1.5 * A[k, i + 2], 1.5 * A[k, i + 3]
            r0, r1, r2, r3 = w[i], w[i + 1], w[i + 2], w[i + 3]
            t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
            for j in range(n):
                row[j] += s0 * r0[j] + s1 * r1[j] + s2 * r2[j] + s3 * r3[j]
                t0 += source[j] * r0[j]
                t1 += source[j] * r1[j]
                t2 += source[j] * r2[j]
                t3 += source[j] * r3[j]
            ga[i], ga[i + 1], ga[i + 2], ga[i + 3] = 1.5 * t0, 1.5 * t1, 1.5 * t2, 1.5 * t3
            i += 4
        for q in range(i, k):
            s0, r0, t0 = 1.5 * A[k, q], w[q], 0.0
            for j in range(n):
                row[j] += s0 * r0[j]
                t0 += source[j] * r0[j]
            ga[q] = 1.5 * t0
    return value, (GA, GB)
