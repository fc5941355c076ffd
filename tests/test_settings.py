"""Settings count for functions that are compiled already."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg


@pytest.mark.parametrize(("setting", "value"), [("parallel", False), ("unroll_limit", 50), ("check_bounds", False)])
def test_a_setting_counts_for_functions_that_are_compiled_already(setting, value):
    @jg.jit
    def fun(x):
        total = 0.0
        for i in range(20):
            total = total + x[i] * i
        return total

    x = np.ones(20)
    before = fun(x), fun.cache_info().compilations
    with jg.config.using(**{setting: value}):
        assert (fun(x), fun.cache_info().compilations) == (before[0], before[1] + 1)
    assert (fun(x), fun.cache_info().compilations) == (before[0], before[1] + 1)
