"""Functions rewritten from their source behave as the originals, and their control flow reaches the runtime."""

from __future__ import annotations

import copy
import types

import pytest
import syntax_programs
from plain_runtime import outcome, rewritten

from jitgrad.frontend import syntax


@pytest.mark.parametrize("fun, arguments", syntax_programs.PROGRAMS, ids=lambda v: getattr(v, "__name__", ""))
def test_a_rewritten_function_does_what_the_original_does(fun: types.FunctionType, arguments: list[tuple]) -> None:
    new = rewritten(fun)
    for given in arguments:
        expected = outcome(fun, copy.deepcopy(given))
        assert outcome(new, copy.deepcopy(given)) == expected, syntax.rewritten_source(fun)
