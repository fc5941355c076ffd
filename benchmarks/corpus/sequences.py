"""Dynamic programming, filters, recurrent networks and clustering."""

from __future__ import annotations

import numpy as np

from benchmarks.corpus.kernel import Kernel


def floyd_warshall(d, w):
    """PolyBench floyd-warshall: shortest paths between all pairs, row by row. d, w: (n, n)."""
    n = d.shape[0]
    path = d.copy()
    for k in range(n):
        for i in range(n):
            path[i, :] = np.minimum(path[i, :], path[i, k] + path[k, :])
    return np.sum(w * path)


def soft_floyd_warshall(d, w):
    """``floyd_warshall`` with a smooth minimum, element by element."""
    n = d.shape[0]
    path = d.copy()
    for k in range(n):
        for i in range(n):
            for j in range(n):
                path[i, j] = -np.logaddexp(-path[i, j], -path[i, k] - path[k, j])
    return np.sum(w * path)


def smith_waterman(s, gap):
    """Smith-Waterman's local alignment with a smooth maximum (log-sum-exp). s: (m, n), scores of pairs."""
    m, n = s.shape
    H = np.zeros((m + 1, n + 1))
    for i in range(1, m + 1):
        for j in range(1, n + 1):
            aligned = H[i - 1, j - 1] + s[i - 1, j - 1]
            skipped = np.logaddexp(H[i - 1, j] - gap, H[i, j - 1] - gap)
            H[i, j] = np.logaddexp(np.logaddexp(0.0, aligned), skipped)
    top = np.max(H)
    return top + np.log(np.sum(np.exp(H - top)))


def hmm_forward(start, transition, emission, observed):
    """Log-likelihood of a hidden Markov model by the scaled forward algorithm (Rabiner 1989).

    start: (k,); transition: (k, k); emission: (k, symbols); observed: (n,) ints.
    """
    alpha = start * emission[:, observed[0]]
    log_likelihood = 0.0
    for t in range(1, len(observed)):
        scale = np.sum(alpha)
        log_likelihood += np.log(scale)
        alpha = (alpha / scale) @ transition * emission[:, observed[t]]
    return log_likelihood + np.log(np.sum(alpha))


def kalman(F, H, Q, R, z):
    """Log-likelihood of observations by a Kalman filter, a constant left out.

    F, Q: (n, n); H: (m, n); R: (m, m); z: (steps, m).
    """
    n = F.shape[0]
    x = np.zeros(n)
    P = np.eye(n)
    log_likelihood = 0.0
    for t in range(len(z)):
        x = F @ x
        P = F @ P @ F.T + Q
        y = z[t] - H @ x
        S = H @ P @ H.T + R
        K = np.linalg.solve(S, H @ P).T
        log_likelihood -= 0.5 * (np.linalg.slogdet(S)[1] + y @ np.linalg.solve(S, y))
        x = x + K @ y
        P = P - K @ H @ P
    return log_likelihood


def sigmoid(z):
    """The logistic function."""
    return 1.0 / (1.0 + np.exp(-z))


def lstm(W, U, b, xs, w):
    """An LSTM with forget gates (Gers et al. 2000) over time, from zero.

    W: (d, 4h); U: (h, 4h); b: (4h,); xs: (steps, batch, d); w: (batch, h).
    """
    steps, batch, _d = xs.shape
    n = U.shape[0]
    h = np.zeros((batch, n))
    c = np.zeros((batch, n))
    for t in range(steps):
        z = xs[t] @ W + h @ U + b
        i = sigmoid(z[:, :n])
        f = sigmoid(z[:, n : 2 * n])
        o = sigmoid(z[:, 2 * n : 3 * n])
        g = np.tanh(z[:, 3 * n :])
        c = f * c + i * g
        h = o * np.tanh(c)
    return np.sum(w * h)


def k_means(x, centres, steps):
    """Squared distance to the nearest centre after some steps of Lloyd's algorithm. x: (n, d); centres: (k, d)."""
    n, d = x.shape
    k = centres.shape[0]
    c = centres.copy()
    loss = 0.0
    for _t in range(steps):
        sums = np.zeros((k, d))
        counts = np.zeros(k)
        loss = 0.0
        for i in range(n):
            best = np.inf
            nearest = 0
            for j in range(k):
                distance = np.sum((x[i] - c[j]) ** 2)
                if distance < best:
                    best = distance
                    nearest = j
            loss += best
            sums[nearest] += x[i]
            counts[nearest] += 1.0
        for j in range(k):
            if counts[j] > 0:
                c[j] = sums[j] / counts[j]
    return loss / n


def _distances(rng, n):
    return rng.uniform(0.5, 2.0, size=(n, n)), rng.normal(size=(n, n))


def _soft_distances(rng, n):
    """Far enough apart that the smooth minimum over all paths stays bounded."""
    return rng.uniform(2.0, 4.0, size=(n, n)) + np.log(n), rng.normal(size=(n, n))


def _scores(rng, m, n):
    return rng.normal(size=(m, n)) - 1.0, 1.5


def _markov(rng, k, symbols, n):
    def rows(*shape):
        p = rng.random(shape) + 0.1
        return p / np.sum(p, axis=-1, keepdims=True)

    return rows(k), rows(k, k), rows(k, symbols), rng.integers(0, symbols, n)


def _linear_system(rng, n, m, steps):
    F = 0.9 * np.linalg.qr(rng.normal(size=(n, n)))[0]
    return F, rng.normal(size=(m, n)), 0.1 * np.eye(n), 0.5 * np.eye(m), rng.normal(size=(steps, m))


def _network(rng, steps, batch, d, h):
    W, U = rng.normal(size=(d, 4 * h)) / np.sqrt(d), rng.normal(size=(h, 4 * h)) / np.sqrt(h)
    return W, U, 0.1 * rng.normal(size=4 * h), rng.normal(size=(steps, batch, d)), rng.normal(size=(batch, h))


def _clusters(rng, n, k, d, steps):
    centres = 3 * rng.normal(size=(k, d))
    return centres[np.arange(n) % k] + rng.normal(size=(n, d)), centres + 0.5 * rng.normal(size=(k, d)), steps


KERNELS = (
    Kernel(floyd_warshall, _distances, (6,), (30,), (120,)),
    Kernel(soft_floyd_warshall, _soft_distances, (5,), (20,), (60,)),
    Kernel(smith_waterman, _scores, (5, 6), (30, 30), (200, 200), argnums=(0, 1)),
    Kernel(hmm_forward, _markov, (3, 4, 7), (8, 10, 100), (16, 20, 2000), argnums=(0, 1, 2)),
    Kernel(kalman, _linear_system, (3, 2, 5), (4, 2, 50), (4, 2, 1000), argnums=(0, 1, 2, 3)),
    Kernel(lstm, _network, (4, 2, 3, 4), (20, 4, 8, 16), (100, 16, 32, 64), argnums=(0, 1, 2)),
    Kernel(k_means, _clusters, (9, 3, 2, 2), (100, 4, 3, 4), (2000, 8, 4, 10), static=(2,)),
)
