"""Programs that draw run on the host, with a warning that says why."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import JitgradWarning


@pytest.mark.usefixtures("simulated")
def test_a_program_that_draws_runs_on_the_host():
    f = jg.jit(lambda x, g: x + g.normal(size=3), target="cuda")
    g = np.random.default_rng(1)
    said = r"Drawing random numbers has no form for a GPU. So .* runs on the host(.|\n)*test_random_on_host\.py"
    with pytest.warns(JitgradWarning, match=said) as found:
        first = f(np.ones(3), g)
    assert len(found) == 1
    expected = np.random.default_rng(1).normal(size=6)
    np.testing.assert_array_equal(np.asarray(first.numpy()), 1 + expected[:3])
    np.testing.assert_array_equal(np.asarray(f(np.ones(3), g).numpy()), 1 + expected[3:])
