"""Random programs that swap and replace rows of tables: the value is Python's, or there is one clear error."""

from __future__ import annotations

import numpy as np
import pytest
from random_rows import program
from random_sources import make

import jitgrad as jg
from jitgrad.errors import JitgradError


def flat(result) -> np.ndarray:
    return np.concatenate([np.ravel(np.array(x, float)) for x in result])


def check_seed(seed: int) -> bool:
    """Does the program agree with Python? False where either raises."""
    text = program(seed)
    f, rng = make(text, "program"), np.random.default_rng(seed)
    args = rng.integers(0, 9, (5, 3)).astype(float), rng.integers(0, 5, 21)
    try:
        want = flat(f(*args))
    except UnboundLocalError:
        return False
    if not np.all(np.abs(want) < 1e9):
        return False
    graph_of = jg.jit(f)
    try:
        graph = graph_of.traced_graph(*args)
    except JitgradError:
        return False
    got = np.concatenate([np.ravel(x) for x in jg.interpret(graph, *args)])
    np.testing.assert_allclose(got, want, rtol=1e-9, err_msg=f"seed {seed}\n{text}")
    return True


def test_random_programs_about_rows() -> None:
    assert sum(map(check_seed, range(220, 270))) > 20


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 4000, 100))
def test_many_random_programs_about_rows(first) -> None:
    assert sum(map(check_seed, range(first, first + 100))) > 30
