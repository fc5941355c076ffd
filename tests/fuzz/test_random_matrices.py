"""Random programs of linear algebra: values against NumPy and SciPy, derivatives against differences."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from agreement import check_derivatives
from random_matrices import MatrixGenerator

import jitgrad as jg


def value(f: Any, *args: np.ndarray) -> Any:
    """What a program returns; NaN where there is no factorization, or the number is large."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = f(*args)
        except np.linalg.LinAlgError:
            return np.nan
    return found if abs(found) < 1e4 else np.nan


def check(seed: int) -> bool:
    """Do value and derivatives agree? False where they are not compared."""
    program = MatrixGenerator(seed)
    f, args, what = program.function(), program.args, f"seed {seed}\n{program.text}"
    expected = value(f, *args)
    if np.isnan(expected):
        return False
    found, gradients = jg.value_and_grad(f, argnums=(0, 1))(*args)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8, err_msg=what)
    if not check_derivatives(f, lambda *xs: value(f, *xs), args, (), seed, what, tolerance=1e-4):
        return False
    single, slopes = jg.value_and_grad(f, argnums=(0, 1))(*(x.astype(np.float32) for x in args))
    assert np.asarray(single).dtype == np.float32 and all(g.dtype == np.float32 for g in slopes), what
    scale = max(1.0, abs(expected), *(np.abs(g).max() for g in gradients))
    for x, y in zip([single, *slopes], [expected, *gradients], strict=True):
        assert np.max(np.abs(x - y)) <= 0.05 * scale, f"in float32 {x} instead of {y}: {what}"
    return True


def check_seeds(seeds: range) -> None:
    assert sum(map(check, seeds)) > 0.7 * len(seeds)


def test_random_programs_of_matrices() -> None:
    check_seeds(range(8))


@pytest.mark.slow
@pytest.mark.parametrize(("start", "count"), [(8, 8), *((start, 100) for start in range(1000, 3000, 100))])
def test_many_random_programs_of_matrices(start: int, count: int) -> None:
    check_seeds(range(start, start + count))
