"""Random graphs with loops and branches: the interpreter, the Python rendering before and after fusion, and machine
code agree."""

from __future__ import annotations

import numpy as np
import pytest

from jitgrad.codegen.python import compile_python
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.verify import verify as verify_graph
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.loopir.verify import verify
from jitgrad.runtime.compiled import Executable
from tests.fuzz.random_regions import RegionGraphs, arguments


def check(seed: int, native: bool) -> None:
    graph = RegionGraphs(seed).graph()
    verify_graph(graph, "random")
    args = arguments(graph, seed)
    expected = interpret(graph, *args)

    def compare(found, stage):
        for k, (a, b) in enumerate(zip(found, expected, strict=True)):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10, err_msg=f"seed {seed}, {stage}, result {k}")

    lowered = lower(graph)
    verify(lowered, "lowered")
    compare(compile_python(lowered)(*args), "lowered")
    fused = fuse(lowered)
    verify(fused, "fused")
    compare(compile_python(fused)(*args), "fused")
    if native:
        compare(Executable(fused)(*args), "native")


@pytest.mark.parametrize("seed", range(30))
def test_rendered(seed):
    check(seed, native=False)


@pytest.mark.parametrize("seed", range(1000, 1012))
def test_native(seed):
    check(seed, native=True)


@pytest.mark.parametrize("seed", range(4))
def test_text(seed):
    graph = RegionGraphs(seed).graph()
    again = parse(str(graph))
    assert str(again) == str(graph)
    args = arguments(graph, seed)
    for a, b in zip(compile_python(fuse(lower(again)))(*args), interpret(graph, *args), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
