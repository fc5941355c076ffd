"""Random programs that raise: which exception comes first, its message, and results where none is raised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_raising import RaisingGenerator
from random_sources import make

import jitgrad as jg
from jitgrad.errors import CarryError, MutationError, RollError, UnsupportedError

#: What says that a program can't be recorded.
REFUSED = (CarryError, MutationError, RollError, UnsupportedError)


def outcome(f: Any, args: list[Any]) -> tuple[Any, list[Any]]:
    """What a call raises or returns, and what it leaves in its arguments."""
    given = [np.array(a) if isinstance(a, np.ndarray) else a for a in args]
    try:
        with np.errstate(all="ignore"):
            return f(*given), given
    except Exception as error:  # noqa: BLE001
        return error, given


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
        if not isinstance(expected, Exception):
            assert not isinstance(found, Exception), f"{found!r} instead of a result: {what}"
            for x, y in zip([*found, *left], [*expected, *after], strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-9, err_msg=what)
            continue
        errors = [found] + ([outcome(gradient, args)[0]] if number % 4 == seed % 3 else [])
        for error in errors:
            assert type(error) is type(expected), f"{error!r} instead of {expected!r}: {what}"
            assert len(error.args) == len(expected.args), what
            for x, y in zip(error.args, expected.args, strict=True):
                assert x == y or abs(x - y) < 1e-8, f"{error!r} instead of {expected!r}: {what}"
    return agreed


def test_random_programs_that_raise() -> None:
    assert sum(map(check, range(12))) > 12


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1400, 50))
def test_many_random_programs_that_raise(start: int) -> None:
    assert sum(map(check, range(start, start + 50))) > 50
