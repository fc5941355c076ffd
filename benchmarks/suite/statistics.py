"""Likelihoods and objectives of statistics."""

from __future__ import annotations

import numpy as np

from benchmarks.program import Program


def logistic_regression(w, b, x, y):
    """Mean log-loss with a ridge penalty."""
    score = x @ w + b
    return np.mean(np.logaddexp(0, score) - y * score) + 0.5e-3 * np.sum(w * w)


def logistic_regression_torch(torch, w, b, x, y):
    """``logistic_regression`` for torch."""
    log_loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ w + b, y)
    return log_loss + 0.5e-3 * torch.sum(w * w)


def logistic_regression_pytensor(pt, w, b, x, y):
    """``logistic_regression`` for PyTensor."""
    score = x @ w + b
    return pt.mean(pt.softplus(score) - y * score) + 0.5e-3 * pt.sum(w * w)


def logistic_gather(w, active, y):
    """Mean log-loss where each row has a few features, given by their numbers, that are 1."""
    score = np.sum(w[active], axis=1)
    return np.mean(np.logaddexp(0, score) - y * score)


def logistic_gather_torch(torch, w, active, y):
    """``logistic_gather`` for torch."""
    score = torch.sum(w[active], dim=1)
    return torch.nn.functional.binary_cross_entropy_with_logits(score, y)


def gaussian_mixture(logits, means, log_scales, x):
    """Negative mean log-likelihood under a mixture of Gaussians with diagonal covariances."""
    z = (x[:, None, :] - means) * np.exp(-log_scales)
    log_weights = logits - np.log(np.sum(np.exp(logits)))
    score = log_weights - 0.5 * np.sum(z * z, axis=2) - np.sum(log_scales, axis=1)
    top = np.max(score, axis=1)
    return -np.mean(top + np.log(np.sum(np.exp(score - top[:, None]), axis=1)))


def gaussian_mixture_torch(torch, logits, means, log_scales, x):
    """``gaussian_mixture`` for torch."""
    z = (x[:, None, :] - means) * torch.exp(-log_scales)
    score = torch.log_softmax(logits, 0) - 0.5 * torch.sum(z * z, 2) - torch.sum(log_scales, 1)
    return -torch.mean(torch.logsumexp(score, 1))


def gaussian_mixture_jax(jax, logits, means, log_scales, x):
    """``gaussian_mixture`` for JAX."""
    jnp = jax.numpy
    z = (x[:, None, :] - means) * jnp.exp(-log_scales)
    score = jax.nn.log_softmax(logits) - 0.5 * jnp.sum(z * z, axis=2) - jnp.sum(log_scales, axis=1)
    return -jnp.mean(jax.nn.logsumexp(score, axis=1))


def gaussian_mixture_pytensor(pt, logits, means, log_scales, x):
    """``gaussian_mixture`` for PyTensor."""
    z = (x[:, None, :] - means) * pt.exp(-log_scales)
    score = pt.special.log_softmax(logits) - 0.5 * pt.sum(z * z, axis=2) - pt.sum(log_scales, axis=1)
    return -pt.mean(pt.logsumexp(score, axis=1))


def kmeans(centres, x):
    """Mean squared distance to the nearest centre."""
    squares = np.sum((x[:, None, :] - centres) ** 2, axis=2)
    return np.mean(np.min(squares, axis=1))


def kmeans_torch(torch, centres, x):
    """``kmeans`` for torch."""
    return torch.mean(torch.amin(torch.sum((x[:, None, :] - centres) ** 2, 2), 1))


def kmeans_pytensor(pt, centres, x):
    """``kmeans`` for PyTensor."""
    return pt.mean(pt.min(pt.sum((x[:, None, :] - centres) ** 2, axis=2), axis=1))


def _logistic(rng, n, d):
    x = rng.normal(size=(n, d))
    return 0.2 * rng.normal(size=d), np.array(0.1), x, (rng.random(n) < 0.5).astype(float)


def _gather(rng, n, k, features):
    return 0.1 * rng.normal(size=features), rng.integers(0, features, (n, k)), (rng.random(n) < 0.5).astype(float)


def _mixture(rng, n, d, k):
    return rng.normal(size=k), 2 * rng.normal(size=(k, d)), 0.1 * rng.normal(size=(k, d)), rng.normal(size=(n, d))


def _clusters(rng, n, d, k):
    return rng.normal(size=(k, d)), rng.normal(size=(n, d))


POINTS = {"tiny": (6, 2, 3), "small": (50, 2, 3), "cache": (2000, 4, 8), "memory": (100_000, 8, 16)}

PROGRAMS = (
    Program(
        name="logistic_regression", fun=logistic_regression, inputs=_logistic, argnums=(0, 1),
        torch=logistic_regression_torch, pytensor=logistic_regression_pytensor,
        sizes={"tiny": (6, 3), "small": (100, 8), "cache": (3000, 32), "memory": (200_000, 64)}, memory_bound=True,
    ),
    Program(
        name="logistic_gather", fun=logistic_gather, inputs=_gather, torch=logistic_gather_torch,
        sizes={"tiny": (6, 2, 8), "small": (100, 5, 50), "cache": (5000, 10, 1000), "memory": (200_000, 32, 4_000_000)},
    ),
    Program(
        name="gaussian_mixture", fun=gaussian_mixture, inputs=_mixture, sizes=POINTS, argnums=(0, 1, 2),
        torch=gaussian_mixture_torch, jax=gaussian_mixture_jax, pytensor=gaussian_mixture_pytensor,
    ),
    Program(
        name="kmeans", fun=kmeans, inputs=_clusters, sizes=POINTS, torch=kmeans_torch, pytensor=kmeans_pytensor,
    ),
)  # fmt: skip
