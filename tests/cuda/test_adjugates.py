"""The kernels of adjugates of singular matrices by themselves. ``test_libraries`` has the whole call."""

from __future__ import annotations

import numpy as np
import pytest

from jitgrad.codegen.lapack import adjugate_matrix
from jitgrad.cuda import adjugates
from jitgrad.cuda.simulator import Simulator
from jitgrad.errors import KernelBoundsError, KernelRaceError

THREADS = 8


def adjugate(a: np.ndarray, source: str) -> np.ndarray:
    """The adjugates of a stack of matrices, all of them taken for singular."""
    count, n, _ = a.shape
    adj, lu = np.full_like(a, np.nan), np.full_like(a, np.nan)
    columns = np.ascontiguousarray(a.transpose(0, 2, 1))
    vectors, order = np.full((count, 2, n), np.nan, a.dtype), np.full((count, 2, n), -1, np.int32)
    flat = [x.reshape(-1) for x in (adj, columns, np.ones(count, np.int32), lu, vectors, order)]
    Simulator(source).launch("adjugate_of_singular", count, THREADS, [*flat, np.int64(n)])
    return adj.transpose(0, 2, 1)


def singular(n: int, seed: int) -> np.ndarray:
    """A matrix that lacks one rank."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, n))
    a[:, rng.integers(n)] = 0
    return a


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_singular_matrices(n: int) -> None:
    source = adjugates.kernels(np.dtype(np.float64), THREADS).source
    a = np.stack([singular(n, seed) for seed in range(6)])
    for found, matrix in zip(adjugate(a, source), a, strict=True):
        np.testing.assert_allclose(found, adjugate_matrix(matrix), atol=1e-13 * np.abs(matrix).max() ** (n - 1))


def test_numbers_of_very_different_sizes() -> None:
    """Small pivots are not taken for zeros."""
    source = adjugates.kernels(np.dtype(np.float64), THREADS).source
    (found,) = adjugate(np.diag([0.0, 1e-150, 1e150])[None], source)
    np.testing.assert_array_equal(found, np.diag([1.0, 0, 0]))


def test_every_barrier_is_needed() -> None:
    lines = adjugates.kernels(np.dtype(np.float64), THREADS).source.split("\n")
    barriers = [k for k, line in enumerate(lines) if "syncthreads" in line]
    assert len(barriers) == 6
    for k in barriers:
        with pytest.raises((KernelRaceError, KernelBoundsError)):  # or garbage is taken for an index
            adjugate(singular(6, 0)[None], "\n".join([*lines[:k], *lines[k + 1 :]]))
