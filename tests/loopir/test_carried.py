"""Innermost loops over rows of one array that may or may not be the same: what LLVM is told of them."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.ir.interpret import interpret
from jitgrad.loopir.deps import carries_nothing
from jitgrad.loopir.nodes import Loop, Program
from jitgrad.loopir.walk import statements


def rows(a):
    """Each row takes part of another one, which may be itself."""
    for i in range(len(a)):
        for j in range(len(a)):
            a[j, :] = np.minimum(a[j, :], 0.5 * a[i, :] + a[j, i])
    return a


def along(a):
    """Each element takes part of the one before it, in a row that may be its own."""
    for i in range(len(a)):
        for j in range(len(a)):
            for k in range(1, len(a)):
                a[j, k] = np.minimum(a[j, k], 0.5 * a[i, k - 1])
    return a


def innermost(program: Program) -> list[Loop]:
    loops = [s for s in statements(program.body) if isinstance(s, Loop)]
    return [s for s in loops if not any(isinstance(x, Loop) for x in statements(s.body))]


@pytest.mark.parametrize(("fun", "expected"), [(rows, True), (along, False)])
def test_iterations_are_known_to_be_independent(fun, expected):
    a = np.random.default_rng(0).normal(size=(13, 13))
    graph = jg.trace(fun, a)
    compiled = jg.compile(graph)
    assert any(map(carries_nothing, innermost(compiled.program))) == expected
    assert ("parallel_accesses" in compiled.llvm()) <= expected
    for found, wanted in zip(compiled(a), interpret(graph, a), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-14)
