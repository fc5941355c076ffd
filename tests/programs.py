"""Programs as users write them, in plain NumPy and SciPy, with data: scalar functions of arrays and trees of arrays.

``PROGRAMS`` maps names to :class:`Program`. Nothing here knows of jitgrad.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.lib.stride_tricks import sliding_window_view
from scipy import special


class Program(NamedTuple):
    """``fun(*args)`` is a float. The first ``wrt`` arguments are differentiated.

    ``smooth`` is False where the second derivative jumps, or is not worth checking. ``single`` bounds the relative
    error of the gradient in float32. Keys of dicts are sorted, so that all tree libraries agree on the order of leaves.
    """

    fun: Callable[..., Any]
    args: tuple[Any, ...]
    wrt: int = 1
    smooth: bool = True
    single: float = 2e-4


PROGRAMS: dict[str, Program] = {}
Entry = Callable[[np.random.Generator], tuple[Any, ...]]


def program(make: Entry, wrt: int = 1, *, smooth: bool = True, single: float = 2e-4) -> Any:
    """Decorator: enter a function with the arguments that ``make`` draws."""

    def enter(fun: Callable[..., Any]) -> Callable[..., Any]:
        rng = np.random.default_rng(len(PROGRAMS))
        PROGRAMS[fun.__name__] = Program(fun, make(rng), wrt, smooth, single)
        return fun

    return enter


# Classification


@program(lambda r: (r.normal(size=(6, 4)), r.normal(size=4), r.normal(size=(9, 6)), np.eye(4)[r.integers(0, 4, 9)]), 2)
def softmax_cross_entropy(w: Any, b: Any, x: Any, onehot: Any) -> Any:
    z = x @ w + b
    z = z - np.max(z, axis=1, keepdims=True)
    p = np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)
    return -np.mean(np.sum(onehot * np.log(p), axis=1))


@program(lambda r: (r.normal(size=(6, 4)), r.normal(size=(9, 6)), r.integers(0, 4, 9)))
def cross_entropy_by_gather(w: Any, x: Any, labels: Any) -> Any:
    z = x @ w
    log_norm = np.log(np.sum(np.exp(z), axis=-1))
    return np.mean(log_norm - z[np.arange(len(labels)), labels])


@program(lambda r: (r.normal(size=5), 0.3, r.normal(size=(12, 5)), (r.random(12) > 0.5).astype(float)), 2)
def logistic_regression(w: Any, b: Any, x: Any, y: Any) -> Any:
    p = 1 / (1 + np.exp(-(x @ w + b)))
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)) + 0.01 * np.sum(w**2)


@program(lambda r: (r.normal(size=30), r.integers(0, 30, (12, 4)), np.sign(r.normal(size=12))))
def sparse_logistic_regression(w: Any, features: Any, sign: Any) -> Any:
    margin = sign * w[features].sum(axis=1)
    return np.logaddexp(0, -margin).mean()


# Layers of networks


@program(lambda r: (r.normal(size=(5, 7)), r.normal(size=7), r.normal(size=7), r.normal(size=(5, 7))), 3)
def layer_norm(x: Any, scale: Any, shift: Any, target: Any) -> Any:
    mean = x.mean(axis=-1, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return ((((x - mean) / np.sqrt(var + 1e-5)) * scale + shift - target) ** 2).sum()


@program(lambda r: (r.normal(size=(2, 5, 7)), r.normal(size=7)), 2)
def rms_norm(x: Any, scale: Any) -> Any:
    y = x * scale / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return np.sum(np.tanh(y) * np.arange(7))


@program(
    lambda r: (
        {
            "down": [r.normal(size=(8, 4))],
            "gate": r.normal(size=(4, 8)),
            "norm": r.normal(size=4),
            "up": r.normal(size=(4, 8)),
        },
        r.normal(size=(6, 4)),
    ),
    2,
)
def swiglu_and_gelu(p: Any, x: Any) -> Any:
    gate = x @ p["gate"]
    h = gate * special.expit(gate) * (x @ p["up"])
    y = x + h @ p["down"][0]
    exact = 0.5 * y * (1 + special.erf(y / np.sqrt(2)))
    approximate = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    return np.mean(exact * p["norm"] + approximate**2)


@program(lambda r: ({k: r.normal(size=(8, 8)) / 3 for k in "koqv"}, r.normal(size=(2, 5, 8))), 2)
def causal_attention(p: Any, x: Any) -> Any:
    batch, length, width = x.shape
    heads = 2

    def split(y: Any) -> Any:
        return y.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)

    q, k, v = (split(x @ p[name]) for name in "qkv")
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(width // heads)
    mask = np.tril(np.ones((length, length), dtype=bool))
    scores = np.where(mask, scores, -np.inf)
    scores = scores - scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores)
    weights = weights / weights.sum(axis=-1, keepdims=True)
    y = (weights @ v).transpose(0, 2, 1, 3).reshape(batch, length, width) @ p["o"]
    return np.sum((x + y) ** 2) / x.size


@program(lambda r: (r.normal(size=(3, 2, 3, 3)), r.normal(size=3), r.normal(size=(2, 2, 8, 7))), 3)
def convolution_by_windows(kernel: Any, bias: Any, x: Any) -> Any:
    windows = sliding_window_view(x, (3, 3), axis=(2, 3))
    y = np.einsum("bchwij,kcij->bkhw", windows, kernel) + bias[:, None, None]
    y = y * special.expit(y)
    return np.mean(y**2)


@program(lambda r: (r.normal(size=(3, 3, 2, 4)), r.normal(size=(2, 8, 8, 2))), 2, smooth=False)
def convolution_by_slices_and_pooling(kernel: Any, x: Any) -> Any:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    n, m = x.shape[1:3]
    y = 0
    for i in range(3):
        for j in range(3):
            y = y + padded[:, i : i + n, j : j + m] @ kernel[i, j]
    y = np.maximum(y, 0)
    pooled = y.reshape(y.shape[0], n // 2, 2, m // 2, 2, 4).max(axis=(2, 4))
    other = np.maximum(np.maximum(y[:, ::2, ::2], y[:, 1::2, ::2]), np.maximum(y[:, ::2, 1::2], y[:, 1::2, 1::2]))
    return np.sum(pooled**2) + np.sum(np.sin(other))


@program(lambda r: (r.normal(size=(11, 3)), r.normal(size=3), r.normal(size=3), r.normal(size=(11, 3))), 3)
def batch_norm(x: Any, gamma: Any, beta: Any, target: Any) -> Any:
    y = gamma * (x - np.mean(x, axis=0)) / (np.std(x, axis=0) + 1e-3) + beta
    return np.mean(np.abs(np.sin(y) - target) ** 2)


@program(
    lambda r: (
        {
            "b": r.normal(size=(4, 3)),
            "u": r.normal(size=(4, 16, 16))[:, :3, :3] * 0.4,
            "w": r.normal(size=(4, 3, 16)) * 0.4,
        },
        r.normal(size=(3, 2, 16)),
    )
)
def lstm(p: Any, xs: Any) -> Any:
    h = c = np.zeros((2, 3))
    loss = 0.0
    for x in xs:
        i, f, o = (special.expit(x @ p["w"][k].T + h @ p["u"][k] + p["b"][k]) for k in range(3))
        c = f * c + i * np.tanh(x @ p["w"][3].T + h @ p["u"][3] + p["b"][3])
        h = o * np.tanh(c)
        loss = loss + np.mean(h**2)
    return loss


@program(lambda r: (r.normal(size=(10, 3)), r.normal(size=(3, 4)), np.array([[1, 4, 4], [0, 9, -1]]), np.array([2, 0])))
def embedding(table: Any, w: Any, tokens: Any, labels: Any) -> Any:
    h = np.tanh(table[tokens].mean(axis=1)) @ w
    z = h - np.log(np.sum(np.exp(h), axis=1, keepdims=True))
    return -np.take_along_axis(z, labels[:, None], axis=1).sum() + 0.1 * np.sum(table[tokens] ** 2)


# Statistics


@program(
    lambda r: (
        r.normal(size=(6, 3)),
        r.normal(size=(7, 3)),
        r.integers(0, 6, 15),
        r.integers(0, 7, 15),
        r.normal(size=15),
    ),
    2,
)
def matrix_factorisation(users: Any, items: Any, i: Any, j: Any, rating: Any) -> Any:
    predicted = np.sum(users[i] * items[j], axis=1)
    return np.sum((predicted - rating) ** 2) + 0.1 * (np.sum(users**2) + np.sum(items**2))


@program(lambda r: (r.normal(size=3), r.normal(size=(3, 2)), r.normal(size=(3, 2)) * 0.3, r.normal(size=(20, 2))), 3)
def gaussian_mixture(logits: Any, means: Any, log_scales: Any, x: Any) -> Any:
    log_weights = logits - special.logsumexp(logits)
    z = (x[:, None, :] - means) / np.exp(log_scales)
    log_p = -0.5 * np.sum(z**2 + np.log(2 * np.pi), axis=-1) - log_scales.sum(axis=-1)
    return -special.logsumexp(log_weights + log_p, axis=1).mean()


@program(lambda r: (np.array([0.1, -0.2, -1.0]), r.normal(size=(8, 2)), r.normal(size=8)), 2, single=2e-3)
def gaussian_process(theta: Any, x: Any, y: Any) -> Any:
    d2 = ((x[:, None] - x[None]) ** 2).sum(-1)
    k = np.exp(theta[0]) * np.exp(-0.5 * d2 / np.exp(2 * theta[1])) + np.exp(theta[2]) * np.eye(len(x))
    chol = np.linalg.cholesky(k)
    alpha = scipy.linalg.solve_triangular(chol, y, lower=True)
    return 0.5 * alpha @ alpha + np.sum(np.log(np.diag(chol))) + 0.5 * len(x) * np.log(2 * np.pi)


@program(lambda r: (r.normal(size=(6, 3)),))
def pairwise_distances(x: Any) -> Any:
    d = x[:, None, :] - x[None, :, :]
    return np.sum(np.tanh(np.sqrt(np.sum(d**2, axis=-1))))


@program(lambda r: (r.normal(size=(7, 3)), r.normal(size=(5, 3)), r.normal(size=7)), 2)
def rbf_kernel(x: Any, z: Any, y: Any) -> Any:
    d2 = np.sum(x**2, axis=1)[:, None] + np.sum(z**2, axis=1) - 2 * x @ z.T
    k = np.exp(-0.3 * d2)
    return np.sum((k @ np.ones(len(z)) - y) ** 2)


@program(lambda r: (r.normal(size=(3, 2)), r.normal(size=(20, 2))), smooth=False)
def k_means(centres: Any, x: Any) -> Any:
    d2 = np.sum((x[:, None] - centres) ** 2, axis=2)
    return np.mean(np.min(d2, axis=1))


@program(lambda r: (r.normal(size=4), r.normal(size=(15, 4)), r.normal(size=15)), smooth=False)
def huber_and_quantile(w: Any, x: Any, y: Any) -> Any:
    e = y - x @ w
    huber = np.where(np.abs(e) <= 0.8, 0.5 * e**2, 0.8 * (np.abs(e) - 0.4))
    pinball = np.maximum(0.9 * e, (0.9 - 1) * e)
    return huber.mean() + pinball.mean()


@program(lambda r: (r.normal(size=11), r.normal(size=11)), smooth=False)
def sorting_loss(x: Any, y: Any) -> Any:
    wasserstein = np.mean((np.sort(x) - np.sort(y)) ** 2)
    order = np.argsort(x)
    lorenz = np.cumsum(np.exp(x)[order]) / np.sum(np.exp(x))
    middle = np.sort(x)[len(x) // 4 : -len(x) // 4]
    return wasserstein + lorenz.mean() + middle.mean() ** 2 + np.median(x) * np.sort(x)[3]


@program(lambda r: (r.normal(size=9), r.normal(size=9)), 2)
def soft_ranks(x: Any, y: Any) -> Any:
    def ranks(v: Any) -> Any:
        return special.expit((v[:, None] - v[None, :]) / 0.2).sum(axis=1)

    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    return np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))


@program(
    lambda r: (0.1 * r.normal(size=(3, 3)), np.eye(2)[:, :1].T @ np.eye(2, 3) + 0.2, r.normal(size=(3, 1))),
    2,
    single=1e-3,
)
def kalman_filter(a: Any, c: Any, ys: Any) -> Any:
    mean, cov = np.zeros(3), np.eye(3)
    loss = 0.0
    for y in ys:
        mean, cov = (np.eye(3) + a) @ mean, (np.eye(3) + a) @ cov @ (np.eye(3) + a).T + 0.1 * np.eye(3)
        s = c @ cov @ c.T + 0.2 * np.eye(1)
        residual = y - c @ mean
        loss = loss + residual @ np.linalg.solve(s, residual) + np.linalg.slogdet(s)[1]
        gain = np.linalg.solve(s, c @ cov).T
        mean, cov = mean + gain @ residual, cov - gain @ c @ cov
    return loss


# Mathematics and physics


@program(lambda r: (r.normal(size=8),), single=1e-3)
def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@program(
    lambda r: (np.stack(np.meshgrid(*[np.arange(2) * 1.2] * 3), -1).reshape(8, 3) + 0.1 * r.normal(size=(8, 3)),),
    single=1e-2,
)
def lennard_jones(x: Any) -> Any:
    i, j = np.triu_indices(len(x), 1)
    r2 = np.sum((x[i] - x[j]) ** 2, axis=-1)
    s6 = 1 / r2**3
    return 4 * np.sum(s6**2 - s6)


@program(lambda r: (r.normal(size=6), r.uniform(-1, 1, 10)), 2)
def polynomials(c: Any, x: Any) -> Any:
    horner = 0
    for k in range(len(c) - 1, -1, -1):
        horner = horner * x + c[k]
    powers = x[:, None] ** np.arange(len(c))
    return np.sum(np.sin(horner)) + np.sum((powers @ c[::-1]) ** 2) + (x**3 * horner)[::-2].sum()


@program(lambda r: (r.normal(size=4), r.normal(size=(4, 5)), r.normal(size=5), r.normal(size=(3, 4, 5))), 4)
def bilinear_forms(x: Any, a: Any, y: Any, t: Any) -> Any:
    return (
        x @ a @ y + np.sum(np.tanh(np.einsum("kij,i,j->k", t, x, y))) + np.trace(a @ a.T) + np.vdot(a, np.outer(x, y))
    )


@program(
    lambda r: (r.normal(size=(3, 4, 2)), r.normal(size=(4, 5, 3)), r.normal(size=(2, 5, 6)), r.normal(size=6)),
    4,
    single=1e-3,
)
def tensor_network(a: Any, b: Any, c: Any, v: Any) -> Any:
    ab = np.tensordot(a, b, axes=([0, 1], [2, 0]))
    abc = np.einsum("ij,ijk->k", ab, c)
    ring = np.einsum("iaj,akl,jkm->ilm", a, b, c[:, :, :2])
    return abc @ v + np.sum(ring**2) / ring.size + np.einsum("iji->j", ring[:2, :, :2]).sum()


@program(lambda r: (r.uniform(80, 120, 6), 100.0, r.uniform(0.1, 0.4, 6), 0.03, r.uniform(0.2, 2, 6)), 5)
def black_scholes(spot: Any, strike: Any, vol: Any, rate: Any, time: Any) -> Any:
    def cdf(z: Any) -> Any:
        return 0.5 * (1 + special.erf(z / np.sqrt(2.0)))

    d1 = (np.log(spot / strike) + (rate + vol**2 / 2) * time) / (vol * np.sqrt(time))
    d2 = d1 - vol * np.sqrt(time)
    return np.sum(spot * cdf(d1) - strike * np.exp(-rate * time) * cdf(d2))


@program(lambda r: (np.array([1.0, 1.5, 0.8, 1.2]), np.array([1.2, 0.9])), 2)
def runge_kutta(params: Any, start: Any) -> Any:
    def field(u: Any) -> Any:
        a, b, c, d = params
        return np.stack([a * u[0] - b * u[0] * u[1], c * u[0] * u[1] - d * u[1]])

    u, h, loss = start, 0.1, 0.0
    for _ in range(2):
        k1 = field(u)
        k2 = field(u + h / 2 * k1)
        k3 = field(u + h / 2 * k2)
        k4 = field(u + h * k3)
        u = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        loss = loss + np.sum((u - 1) ** 2)
    return loss


@program(lambda r: (r.normal(size=(6, 5)), np.cumsum(r.random(7))), 2)
def cumulative_sums(x: Any, t: Any) -> Any:
    path = np.cumsum(x * np.diff(t)[:, None], axis=0)
    decay = np.exp(-np.cumsum(np.abs(t)[::-1])[::-1])
    growth = np.cumprod(1 + 0.1 * x, axis=1)
    return np.sum(np.sin(path)) + decay.sum() + np.mean(growth[:, -1] * path[::-1, 0]) + np.sum(np.cumsum(x.T)[::3])


@program(lambda r: (r.normal(size=(8, 9)),), smooth=False)
def total_variation(u: Any) -> Any:
    lap = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4 * u[1:-1, 1:-1]
    flux = np.sqrt((u[1:, :-1] - u[:-1, :-1]) ** 2 + (u[:-1, 1:] - u[:-1, :-1]) ** 2 + 1e-3)
    clipped = np.clip(np.roll(u, 1, axis=0), -0.5, 0.7)
    return 0.1 * np.sum(lap**2) + flux.sum() + np.sum(np.abs(np.diff(clipped, axis=1)))


@program(lambda r: (r.normal(size=(4, 4)) / 4, r.normal(size=(3, 4, 4)), r.normal(size=(3, 4))), 3, single=2e-3)
def linear_algebra(a: Any, b: Any, y: Any) -> Any:
    spd = b @ b.swapaxes(1, 2) + 2 * np.eye(4)
    x = np.linalg.solve(spd + a, y[..., None])[..., 0]
    return (
        np.sum(x**2) + np.sum(np.log(np.linalg.det(spd))) + np.trace(np.linalg.inv(np.eye(4) + a)) + np.linalg.norm(a)
    )
