"""Every method of a generator draws the same numbers in a compiled program as it does without, and leaves the generator
in the same state."""

from __future__ import annotations

import random

import numpy as np
import pytest
from random_cases import all_cases, state_of

import jitgrad as jg
from jitgrad.errors import ConcretizationError

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


def greedy(q):
    rng, picked = np.random.default_rng(4), []
    for _ in range(12):
        picked.append(np.random.choice(np.where(q == q.max())[0]))
        picked.append(np.random.choice([k for k, v in enumerate(q) if v == np.max(q)]))
        picked.append(rng.choice(np.flatnonzero(q < 2)))
        picked.append(random.choice([k for k, v in enumerate(q) if v > 0]))
    several = rng.choice(q[q > 0], size=4), np.random.choice([v for v in q if v > 0], 3), random.choice(q[q > 1])
    return np.array(picked), *several


def test_a_choice_among_as_many_as_the_run_tells():
    q = np.array([1.0, 3.0, 3.0, 0.0, 3.0])
    results = []
    for fun in (greedy, jg.jit(greedy)):
        np.random.seed(1)
        random.seed(1)
        results.append(fun(q))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ConcretizationError, match="the length of the array"):
        jg.jit(lambda q: np.random.choice(q[q > 0], 2, replace=False))(q)
