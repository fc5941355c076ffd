"""Random programs whose loops make lists longer and shorter, and write into lists and tables."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from agreement import check_derivatives, check_same, check_seeds, copied, outcome, weighted
from random_lists import ListGenerator
from random_sources import make

import jitgrad as jg
from jitgrad.errors import CarryError, JitgradError, MutationError, RollError, UnsupportedError

#: What says that lists, or their names, can't be followed.
REFUSED = (CarryError, MutationError, RollError, UnsupportedError)


def moderate(results: Any) -> bool:
    return not isinstance(results, Exception) and all(np.all(np.abs(x) < 50) for x in results)


def check_seed(seed: int) -> tuple[bool, bool]:
    """Do the values agree with NumPy's, and the derivatives with differences? Whether each was compared."""
    program = ListGenerator(seed)
    f, what = make(program.text, "program"), f"seed {seed}\n{program.text}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = outcome(f, program.args)
    if not moderate(expected[0]):
        return False, False

    def plain(*args: Any) -> Any:
        results, _ = outcome(f, args)
        return weighted(results) if moderate(results) else np.nan

    with jg.config.using(unroll_limit=(8, 0, 20)[seed % 3]):
        try:
            found = jg.jit(f)(*copied(program.args))
        except JitgradError as error:
            assert isinstance(error, REFUSED), f"{error!r}: {what}"
            return False, False
        check_same((found, []), (expected[0], []), what)
        first, rest = program.args[:3], program.args[3:]
        return True, check_derivatives(lambda *xs: weighted(f(*xs)), plain, first, rest, seed, what)


@pytest.mark.parametrize("start", [0, 100])
def test_random_programs_with_lists(start: int) -> None:
    check_seeds(check_seed, range(start, start + 6), values=0.3, derivatives=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("start", [0, 100, *range(1000, 2000, 50)])
def test_many_random_programs_with_lists(start: int) -> None:
    check_seeds(check_seed, range(start, start + 50), values=0.3, derivatives=0.2)


def test_a_list_that_lacks_an_item_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(ListGenerator):
        def __init__(self, seed: int) -> None:
            super().__init__(seed)
            self.text = "def program(a, s, t, k):\n    xs = [s, t * STEPS()]\n    return s, xs[-1]\n"

    calls: list[int] = []

    def steps() -> float:
        calls.append(1)
        return float(len(calls))

    monkeypatch.setitem(globals(), "ListGenerator", Fixed)
    monkeypatch.setitem(globals(), "make", lambda text, name: make_with(text, name, {"STEPS": steps}))
    with pytest.raises(AssertionError, match="seed 0"):
        check_seed(0)


make_with = make
