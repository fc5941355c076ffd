"""Matrices of distances and kernels between points."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from benchmarks.program import Program


def pairwise_distances(x, y, weight):
    """Weighted mean of the Euclidean distances between two sets of points."""
    return np.mean(weight * np.sqrt(np.sum((x[:, None, :] - y) ** 2, axis=2)))


def pairwise_distances_torch(torch, x, y, weight):
    """``pairwise_distances`` for torch."""
    return torch.mean(weight * torch.cdist(x, y))


def pairwise_distances_pytensor(pt, x, y, weight):
    """``pairwise_distances`` for PyTensor."""
    return pt.mean(weight * pt.sqrt(pt.sum((x[:, None, :] - y) ** 2, axis=2)))


def rbf_kernel(x, y, log_length, a, b):
    """Bilinear form of a Gaussian kernel matrix, whose squared distances come from a product."""
    squares = np.sum(x * x, axis=1)[:, None] + np.sum(y * y, axis=1) - 2 * x @ y.T
    return a @ np.exp(-0.5 * np.exp(-2 * log_length) * squares) @ b


def rbf_kernel_torch(torch, x, y, log_length, a, b):
    """``rbf_kernel`` for torch."""
    squares = torch.sum(x * x, 1)[:, None] + torch.sum(y * y, 1) - 2 * x @ y.T
    return a @ torch.exp(-0.5 * torch.exp(-2 * log_length) * squares) @ b


def rbf_kernel_pytensor(pt, x, y, log_length, a, b):
    """``rbf_kernel`` for PyTensor."""
    squares = pt.sum(x * x, axis=1)[:, None] + pt.sum(y * y, axis=1) - 2 * x @ y.T
    return a @ pt.exp(-0.5 * pt.exp(-2 * log_length) * squares) @ b


def gaussian_process(log_scale, log_length, log_noise, x, y):
    """Negative log marginal likelihood, up to a constant, with a Gaussian kernel."""
    norms = np.sum(x * x, axis=1)
    squares = norms[:, None] + norms - 2 * x @ x.T
    k = np.exp(2 * log_scale - 0.5 * np.exp(-2 * log_length) * squares)
    factor = np.linalg.cholesky(k + np.exp(2 * log_noise) * np.eye(len(y), dtype=y.dtype))
    z = linalg.solve_triangular(factor, y, lower=True)
    return 0.5 * z @ z + np.sum(np.log(np.diag(factor)))


def gaussian_process_torch(torch, log_scale, log_length, log_noise, x, y):
    """``gaussian_process`` for torch."""
    norms = torch.sum(x * x, 1)
    squares = norms[:, None] + norms - 2 * x @ x.T
    k = torch.exp(2 * log_scale - 0.5 * torch.exp(-2 * log_length) * squares)
    factor = torch.linalg.cholesky(k + torch.exp(2 * log_noise) * torch.eye(len(y), dtype=y.dtype, device=y.device))
    z = torch.linalg.solve_triangular(factor, y[:, None], upper=False)[:, 0]
    return 0.5 * z @ z + torch.sum(torch.log(torch.diag(factor)))


def _distances(rng, n, m, d):
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)), rng.normal(size=(n, m))


def _kernel(rng, n, m, d):
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    return x, y, np.array(0.3), rng.normal(size=n), rng.normal(size=m)


def _process(rng, n, d):
    x = rng.normal(size=(n, d))
    return np.array(0.1), np.array(0.2), np.array(-0.5), x, np.sin(x.sum(axis=1)) + 0.1 * rng.normal(size=n)


PAIRS = {"tiny": (4, 5, 2), "small": (20, 30, 3), "cache": (250, 250, 3), "memory": (3000, 3000, 3)}

PROGRAMS = (
    Program(
        name="pairwise_distances", fun=pairwise_distances, inputs=_distances, sizes=PAIRS, argnums=(0, 1),
        torch=pairwise_distances_torch, pytensor=pairwise_distances_pytensor, memory_bound=True,
    ),
    Program(
        name="rbf_kernel", fun=rbf_kernel, inputs=_kernel, sizes=PAIRS, argnums=(0, 1, 2),
        torch=rbf_kernel_torch, pytensor=rbf_kernel_pytensor,
    ),
    Program(
        name="gaussian_process", fun=gaussian_process, inputs=_process, argnums=(0, 1, 2),
        torch=gaussian_process_torch,
        sizes={"tiny": (5, 2), "small": (20, 2), "cache": (200, 4), "memory": (2000, 8)},
        # About: the factor, and a product and two solves for its derivative.
        flops=lambda n, d: n**3 / 3 + 3 * n**3,
        tolerance={"f32": 3e-3, "f64": 1e-8},
    ),
)  # fmt: skip
