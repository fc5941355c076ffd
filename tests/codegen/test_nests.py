"""Nests of loops that are functions of their own in a statement that has many."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.testing import check_grads


def once(u: Any, factor: Any, i: Any) -> Any:
    u = u - factor * np.cumsum(u, axis=1)[:, ::-1] / (i + 2)
    u = u / (1.0 + np.max(np.abs(u), axis=0))
    u = u + factor * np.cumsum(u[:, ::-1], axis=1)
    return u / (2.0 + np.max(np.abs(u), axis=1, keepdims=True))


def steps(u: Any, scale: Any, rounds: int, trips: int) -> Any:
    """A loop with about ``6 * rounds`` loops in it, which need a number and the loop's variable from around."""
    for i in range(trips):
        for _ in range(rounds):
            u = once(u, scale[i] * 0.5, i)
    return u


def functions(rounds: int, size: int) -> list[str]:
    u, scale = np.linspace(-1.0, 1.0, 3 * size).reshape(3, size), np.linspace(0.1, 0.2, 12)
    text = jg.jit(lambda u, s: steps(u, s, rounds, 12)).llvm(u, scale)
    return re.findall(r'^define .*@"?([^"(]*\.nest\d+)', text, re.MULTILINE)


def test_equal_nests_are_one_function() -> None:
    found = functions(8, 40)
    assert len(set(found)) == len(found)
    assert 2 <= len(found) < 24  # of 8 rounds, which but for the first and the last are equal
    assert not functions(2, 40)  # not many loops


@pytest.mark.parametrize("size", [3, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_gradients_as_without(size: int, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    u, scale = rng.normal(size=(3, size)).astype(dtype), rng.uniform(0.1, 0.3, 12).astype(dtype)
    want = steps(u.astype(np.float64), scale.astype(np.float64), 8, 12)
    got = jg.jit(lambda u, s: steps(u, s, 8, 12))(u, scale)
    np.testing.assert_allclose(got, want, rtol=1e-10 if dtype is np.float64 else 2e-3, atol=1e-4)
    if dtype is np.float64:
        check_grads(lambda u, s: steps(u, s, 8, 12), (u, scale), order=1)
