"""Random programs that raise: which exception comes first, its message, and results where none is raised."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import check_same, outcome
from random_raising import RaisingGenerator
from random_sources import make

import jitgrad as jg
from jitgrad.errors import CarryError, MutationError, RollError, UnsupportedError

#: What says that a program can't be recorded.
REFUSED = (CarryError, MutationError, RollError, UnsupportedError)


def check(seed: int) -> int:
    """How many calls have agreed."""
    program = RaisingGenerator(seed)
    f = make(program.text)
    compiled, agreed = jg.jit(f), 0
    gradient = jg.grad(lambda *args: sum(np.sum(np.sin(x)) for x in f(*args)), argnums=(0, 1, 2, 3))
    for number in range(4 * seed, 4 * seed + 3):
        args = program.args(number)
        what = f"seed {seed}, arguments {number}\n{program.text}"
        expected, after = outcome(f, args)
        found, left = outcome(compiled, args)
        if isinstance(found, REFUSED):
            break
        if isinstance(expected, UnboundLocalError):
            continue
        agreed += 1
        check_same((found, left), (expected, after), what)
        if isinstance(expected, Exception) and number % 4 == seed % 3:
            check_same(outcome(gradient, args), (expected, after), what)
    return agreed


def test_random_programs_that_raise() -> None:
    assert sum(map(check, range(12))) > 12


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1400, 50))
def test_many_random_programs_that_raise(start: int) -> None:
    assert sum(map(check, range(start, start + 50))) > 50
