"""Random programs about branches that give what differs in length: the value is Python's, or there is one clear
error."""

from __future__ import annotations

import numpy as np
import pytest
from random_sources import make
from random_uneven import program

import jitgrad as jg
from jitgrad.errors import JitgradError


def check_seed(seed: int) -> bool:
    """Does the program agree with Python, for several arguments? False where there is an error."""
    text = program(seed)
    f, rng = make(text, "program"), np.random.default_rng(seed)
    given = [(rng.random(6), rng.random()) for _ in range(4)]
    try:
        graph = jg.jit(f).traced_graph(*given[0])
    except JitgradError:
        return False
    for x, t in given:
        got = np.array([float(v) for v in jg.interpret(graph, x.copy(), t)[:9]])
        np.testing.assert_allclose(got, np.array(f(x.copy(), t), float), rtol=1e-9, err_msg=f"seed {seed}\n{text}")
    return True


def test_random_programs_about_lengths() -> None:
    assert sum(map(check_seed, range(320, 350))) > 12


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 3000, 100))
def test_many_random_programs_about_lengths(first) -> None:
    assert sum(map(check_seed, range(first, first + 100))) > 30
