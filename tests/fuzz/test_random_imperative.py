"""Random loops, branches and writes into arrays with several names: values, arguments afterwards, and derivatives."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from agreement import check_derivatives, check_same, check_seeds, copied, weighted
from random_imperative import ImperativeGenerator
from random_sources import make

import jitgrad as jg
from jitgrad.errors import CarryError, MutationError, RollError

#: What says that the names of arrays, or types, can't be followed.
REFUSED = (CarryError, MutationError, RollError)


def in_numpy(f: Any, args: list[Any]) -> tuple[Any, ...] | None:
    """What a program returns; None where its values are not moderate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = f(*args)
    return outcome if all(np.all(np.abs(x) < 50) for x in outcome) else None


def check_values(f: Any, args: list[Any], what: str) -> bool:
    """Do results and arguments agree with NumPy? False where the program is refused, or its values are large."""
    plain, traced = copied(args), copied(args)
    expected = in_numpy(f, plain)
    if expected is None:
        return False
    try:
        found = jg.jit(f)(*traced)
    except REFUSED:
        return False
    check_same((found, traced), (expected, plain), what)
    return True


def derived(f: Any, args: list[Any], seed: int, what: str) -> bool:
    def plain(*args: Any) -> Any:
        outcome = in_numpy(f, list(args))
        return np.nan if outcome is None else weighted(outcome)

    return check_derivatives(lambda *xs: weighted(f(*xs)), plain, args[:5], args[5:], seed, what)


def check(seed: int) -> tuple[bool, bool]:
    """Whether values were compared, and derivatives."""
    program = ImperativeGenerator(seed)
    f, args = make(program.text), program.args
    what = f"seed {seed}\n{program.text}"
    with jg.config.using(unroll_limit=(8, 0, 20)[seed % 3]):
        if not check_values(f, args, what):
            return False, False
        return True, derived(f, args, seed, what)


@pytest.mark.parametrize("start", [0, 100])
def test_random_imperative_programs(start: int) -> None:
    check_seeds(check, range(start, start + 6), values=0.3, derivatives=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("start", [0, 100, *range(1000, 2000, 50)])
def test_many_random_imperative_programs(start: int) -> None:
    check_seeds(check, range(start, start + 50), values=0.3, derivatives=0.2)


def test_a_name_that_is_lost_is_found() -> None:
    text = "def f(a, b, A, s, t, k):\n    u = a\n    u[0] = s\n    return a, b, u, A, s, t\n"
    program = ImperativeGenerator(0)
    assert check_values(make(text), program.args, text)
    calls = []

    def apart(a, *args):
        calls.append(a)
        return make(text)(a if len(calls) == 1 else a.copy(), *args)

    with pytest.raises(AssertionError, match="u = a"):
        check_values(apart, program.args, text)
