"""Every method of a generator draws the same numbers in a compiled program as it does without, and leaves the generator
in the same state."""

from __future__ import annotations

import numpy as np
import pytest
from random_cases import all_cases, state_of

import jitgrad as jg

CASES = all_cases()


def check_equal(found, expected):
    assert np.shape(found) == np.shape(expected)
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("make, call", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_method_draws_the_same_numbers(make, call):
    ours, numpys = make(), make()
    f = jg.jit(lambda x: call(ours, x))
    for _ in range(3):
        check_equal(f(1.7), call(numpys, 1.7))
        assert state_of(ours) == state_of(numpys)


@pytest.mark.parametrize("make, call", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_method_of_an_argument(make, call):
    ours, numpys = make(), make()
    with jg.config.using(backend="python"):
        f = jg.jit(call)
        check_equal(f(ours, 1.7), call(numpys, 1.7))
    assert state_of(ours) == state_of(numpys)
    check_equal(jg.interpret(jg.trace(call, ours, 1.7), ours, 1.7)[0], call(numpys, 1.7))
    assert state_of(ours) == state_of(numpys)
