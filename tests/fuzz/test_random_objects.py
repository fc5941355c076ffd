"""Random programs that change objects: results, exceptions, and derivatives."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from agreement import check_derivatives, check_same, check_seeds, outcome, weighted
from random_objects import ObjectGenerator
from random_sources import make

import jitgrad as jg
from jitgrad.errors import CarryError, JitgradWarning, MutationError, RollError, UnsupportedError

#: What says that a program can't be recorded.
REFUSED = (CarryError, MutationError, RollError, UnsupportedError)


def derived(f: Any, args: list[Any], seed: int, what: str) -> bool:
    def plain(*args: Any) -> Any:
        found, _ = outcome(f, list(args))
        return np.nan if isinstance(found, Exception) else weighted(found)

    return check_derivatives(lambda *xs: weighted(f(*xs)), plain, args[:4], args[4:], seed, what)


def check(seed: int) -> tuple[int, int]:
    """How many calls have agreed, and how many derivatives."""
    program = ObjectGenerator(seed)
    f = make(program.text)
    loops = "auto" if seed % 3 else "roll" if seed % 2 else "unroll"
    compiled, agreed, derivatives = jg.jit(f, loops=loops), 0, 0
    for number in (2 * seed, 2 * seed + 1):
        args = program.args(number)
        what = f"seed {seed}, arguments {number}, loops {loops}\n{program.text}"
        with warnings.catch_warnings():  # of objects that hold each other, which do not go by themselves
            warnings.filterwarnings("ignore", "f sets .* to a traced value", JitgradWarning)
            expected, found = outcome(f, args), outcome(compiled, args)
        if isinstance(found[0], REFUSED):
            break
        if isinstance(expected[0], UnboundLocalError):
            continue
        check_same(found, expected, what)
        agreed += 1
        if number % 4 == 0 and not isinstance(expected[0], Exception):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".* sets .* to a traced value", JitgradWarning)
                derivatives += derived(f, args, seed, what)
    return agreed, derivatives


def test_random_programs_that_change_objects() -> None:
    check_seeds(check, range(14), values=0.6, derivatives=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 2000, 50))
def test_many_random_programs_that_change_objects(start: int) -> None:
    check_seeds(check, range(start, start + 50), values=0.6, derivatives=0.1)
