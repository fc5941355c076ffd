"""Durbin by hand. The tape is every y before its update, as a triangle of n (n - 1) / 2 numbers, and 2 n scalars.

The triangle is kept from call to call, as jitgrad keeps its arena: fresh pages would take as long as all the rest.
"""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled

_tape = np.empty(0)


def value_and_grad(r, w):
    """As ``corpus.triangular.durbin``."""
    global _tape
    size = len(r) * (len(r) + 1) // 2
    if len(_tape) < size:
        _tape = np.empty(size)
    return _value_and_grad(r, w, _tape[:size])


@compiled
def _value_and_grad(r, w, tape):
    """``tape``: y of length k is kept from k (k - 1) / 2 on."""
    n = len(r)
    reverse = r[::-1].copy()  # reverse[n - k :] is r[:k] reversed
    alphas = np.empty(n)
    betas = np.empty(n)
    alpha = -r[0]
    beta = 1.0
    tape[0] = alpha
    alphas[0], betas[0] = alpha, beta
    for k in range(1, n):
        start = k * (k - 1) // 2
        y = tape[start : start + k]
        new = tape[start + k : start + 2 * k + 1]
        tail = reverse[n - k :]
        beta *= 1.0 - alpha * alpha
        s = r[k]
        for j in range(k):
            s += tail[j] * y[j]
        alpha = -s / beta
        for j in range(k):
            new[j] = y[j] + alpha * y[k - 1 - j]
        new[k] = alpha
        alphas[k], betas[k] = alpha, beta
    y = tape[n * (n - 1) // 2 :]
    value = np.sum(w * y)

    g = w.copy()
    h = np.empty(n)
    G = np.zeros(n)  # of r reversed
    g_alpha = 0.0
    g_beta = 0.0
    for k in range(n - 1, 0, -1):
        start = k * (k - 1) // 2
        y = tape[start : start + k]
        alpha, beta = alphas[k], betas[k]
        g_alpha += g[k]
        for j in range(k):
            g_alpha += g[j] * y[k - 1 - j]
        s = -g_alpha / beta
        g_beta += s * alpha
        tail, g_tail = reverse[n - k :], G[n - k :]
        for j in range(k):
            h[j] = g[j] + alpha * g[k - 1 - j] + s * tail[j]
        for j in range(k):
            g_tail[j] += s * y[j]
        G[n - 1 - k] += s
        g, h = h, g
        before = alphas[k - 1]
        g_alpha = -2.0 * before * betas[k - 1] * g_beta
        g_beta *= 1.0 - before * before
    G[n - 1] -= g[0] + g_alpha
    return value, G[::-1].copy()
