"""The LSTM by hand. Products with the inputs are one product before the loop, those for the weights one after it.

The tape is the gates, the cells and their tanh, and the outputs, at each time.
"""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled


@compiled
def _gates(z, c, new_c, tanh_c, h):
    """One time: z (batch, 4n) becomes the gates in place; new cells, their tanh, and outputs are (batch, n)."""
    batch, n = c.shape
    for s in range(batch):
        row = z[s]
        for q in range(3 * n):
            row[q] = 1.0 / (1.0 + np.exp(-row[q]))
        for q in range(3 * n, 4 * n):
            row[q] = np.tanh(row[q])
        i, f, o, g = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]
        old, new, tanh, out = c[s], new_c[s], tanh_c[s], h[s]
        for q in range(n):
            new[q] = f[q] * old[q] + i[q] * g[q]
        for q in range(n):
            tanh[q] = np.tanh(new[q])
        for q in range(n):
            out[q] = o[q] * tanh[q]


@compiled
def _gates_adjoint(z, c, tanh_c, gh, gc):
    """Gates become the adjoints of z in place; gc, of the new cells, becomes that of the old ones."""
    batch, n = c.shape
    for s in range(batch):
        row = z[s]
        i, f, o, g = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]
        old, tanh, out, cell = c[s], tanh_c[s], gh[s], gc[s]
        for q in range(n):
            iq, fq, oq, gq, t = i[q], f[q], o[q], g[q], tanh[q]
            d = cell[q] + out[q] * oq * (1.0 - t * t)
            i[q] = d * gq * iq * (1.0 - iq)
            f[q] = d * old[q] * fq * (1.0 - fq)
            o[q] = out[q] * t * oq * (1.0 - oq)
            g[q] = d * iq * (1.0 - gq * gq)
            cell[q] = d * fq


@compiled
def value_and_grad(W, U, b, xs, w):
    """As ``corpus.sequences.lstm``."""
    steps, batch, d = xs.shape
    n = U.shape[0]
    flat = xs.reshape(steps * batch, d)
    Z = np.dot(flat, W)
    for s in range(len(Z)):
        Z[s] += b
    Z = Z.reshape(steps, batch, 4 * n)
    H = np.zeros((steps + 1, batch, n))
    C = np.zeros((steps + 1, batch, n))
    T = np.empty((steps, batch, n))
    product = np.empty((batch, 4 * n))
    for t in range(steps):
        np.dot(H[t], U, product)
        z = Z[t]
        z += product
        _gates(z, C[t], C[t + 1], T[t], H[t + 1])
    value = np.sum(w * H[steps])

    gh = w.copy()
    gc = np.zeros((batch, n))
    UT = U.T.copy()
    for t in range(steps - 1, -1, -1):
        _gates_adjoint(Z[t], C[t], T[t], gh, gc)
        np.dot(Z[t], UT, gh)
    Z = Z.reshape(steps * batch, 4 * n)
    before = H[:steps].reshape(steps * batch, n)
    return value, (np.dot(flat.T, Z), np.dot(before.T, Z), np.sum(Z, axis=0))
