"""Random programs that view and write arrays agree with NumPy: all arrays that they made, and their arguments."""

from __future__ import annotations

import numpy as np
import pytest
from random_mutations import has_unknown_extents, random_program, run

import jitgrad as jg
from jitgrad.errors import ConcretizationError, MutationError, ShapeError, UnsupportedError
from jitgrad.ir.interpret import interpret

COUNT = 300


def check(seed: int, length: int) -> bool:
    """Does the traced program agree? False where it needs extents that are not known."""
    program, args = random_program(seed, length)
    unknown = has_unknown_extents(program)
    expected = run(program, args[0].copy(), args[1].copy(), *args[2:])

    def traced(A, B, i, j):
        return run(program, A, B, i, j)

    try:
        graph = jg.jit(traced).traced_graph(*args)
    except (ConcretizationError, MutationError, ShapeError, UnsupportedError):
        if unknown:
            return False
        raise
    if unknown and any(op[0] in ("ravel", "reshape") for op in program):
        return False  # whether NumPy makes a view may depend on the extent
    found = interpret(graph, *map(np.asarray, args))
    for op_number, (x, e) in enumerate(zip(found, expected, strict=False)):
        np.testing.assert_allclose(x, e, err_msg=f"array {op_number} of {program}")
        assert x.shape == e.shape
    return True


@pytest.mark.parametrize("start", range(0, COUNT, 50))
def test_short_programs(start) -> None:
    assert sum(check(seed, 8) for seed in range(start, start + 50)) > 25


@pytest.mark.parametrize("start", range(0, COUNT, 50))
def test_long_programs(start) -> None:
    assert sum(check(10_000 + seed, 20) for seed in range(start, start + 20)) > 4


def test_compiled_programs() -> None:
    for seed in range(20_000, 20_008):
        program, args = random_program(seed, 6)
        if has_unknown_extents(program):
            continue
        A, B = args[0].copy(), args[1].copy()
        expected = run(program, A, B, *args[2:])
        a, b = args[0].copy(), args[1].copy()
        found = jg.jit(lambda A, B, i, j, program=program: run(program, A, B, i, j))(a, b, *args[2:])
        for x, e in zip([*found, a, b], [*expected, A, B], strict=True):
            np.testing.assert_allclose(x, e, err_msg=str(program))
