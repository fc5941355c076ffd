"""Gathers whose gradients are scattered."""

from __future__ import annotations

import numpy as np

from benchmarks.program import Program


def embedding(table, tokens, weight):
    """Rows of a table looked up and added up in bags."""
    return np.mean(weight * np.sum(table[tokens], axis=1))


def embedding_torch(torch, table, tokens, weight):
    """``embedding`` for torch."""
    return torch.mean(weight * torch.nn.functional.embedding_bag(tokens, table, mode="sum"))


def matrix_factorisation(users, items, i, j, rating):
    """Mean squared error of observed ratings, with a ridge penalty."""
    error = np.sum(users[i] * items[j], axis=1) - rating
    return np.mean(error**2) + 1e-3 * (np.sum(users**2) + np.sum(items**2)) / len(rating)


def matrix_factorisation_torch(torch, users, items, i, j, rating):
    """``matrix_factorisation`` for torch."""
    lookup = torch.nn.functional.embedding
    error = torch.sum(lookup(i, users) * lookup(j, items), 1) - rating
    return torch.mean(error**2) + 1e-3 * (torch.sum(users**2) + torch.sum(items**2)) / len(rating)


def _bags(rng, bags, length, words, width):
    return rng.normal(size=(words, width)), rng.integers(0, words, (bags, length)), rng.normal(size=(bags, width))


def _ratings(rng, n, users, items, rank):
    u, v = rng.normal(size=(users, rank)) / np.sqrt(rank), rng.normal(size=(items, rank))
    return u, v, rng.integers(0, users, n), rng.integers(0, items, n), rng.normal(size=n)


PROGRAMS = (
    Program(
        name="embedding", fun=embedding, inputs=_bags, torch=embedding_torch,
        sizes={"tiny": (3, 2, 5, 2), "small": (8, 4, 50, 8), "cache": (128, 16, 1000, 32),
               "memory": (8192, 32, 100_000, 64)},
    ),
    Program(
        name="matrix_factorisation", fun=matrix_factorisation, inputs=_ratings, argnums=(0, 1),
        torch=matrix_factorisation_torch,
        sizes={"tiny": (8, 3, 4, 2), "small": (100, 20, 30, 4), "cache": (3000, 500, 800, 16),
               "memory": (500_000, 100_000, 50_000, 32)},
    ),
)  # fmt: skip
