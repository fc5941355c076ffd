"""Random loop nests: derivatives in both modes, and of second order, are those of the straight-line program that runs.

What a reversed loop reads from a kept array, computes again or puts on a tape depends on proofs about which elements
are written when; a wrong proof gives a wrong number here. Arrays that are made without contents hold NaN, so that a
place of a tape that was never written shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from random_loops import Features, Loops

from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.compiler import compile_graph
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.printer import print_graph
from jitgrad.ir.verify import verify
from jitgrad.passes.pipeline import optimise, prepare
from tests.regions import floats, forward, reverse
from tests.straight import straight

pytestmark = pytest.mark.usefixtures("empty_arrays_hold_nan")

#: Programs in a test of the normal suite.
PROGRAMS = 12
FEATURES: dict[str, dict[str, Any]] = {
    "everything": {},
    "no while": {"whiles": False},
    "static": {"whiles": False, "traced": False},
    "single elements": {"whiles": False, "traced": False, "pieces": False, "whole": False},
}


def expect_close(graph: Graph, what: str, found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    for k, (x, y) in enumerate(zip(found, expected, strict=True)):
        scale = max(1.0, float(np.max(np.abs(y), initial=0.0)))
        if not np.all(np.abs(x - y) <= 1e-8 * scale):
            raise AssertionError(f"{what}: result {k} is\n{x}\nnot\n{y}\nof\n{graph}")


def arguments(graph: Graph, first: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    return [*first, *(np.asarray(rng.normal(size=p.type.shape)) for p in graph.params[len(first) :])]


@pytest.mark.parametrize("name", FEATURES)
def test_derivatives_of_first_order(name: str) -> None:
    for seed in range(PROGRAMS):
        made = Loops(seed, Features(**FEATURES[name]))
        graph, args = made.graph, made.arrays
        verify(graph)
        rng = np.random.default_rng(seed)
        line = straight(graph, *args)
        expect_close(graph, f"value, seed {seed}", interpret(line, *args), interpret(graph, *args))
        prepared = prepare(graph, verify=True)
        for mode in (reverse, forward):
            expected = mode(line)
            given = arguments(expected, args, rng)
            want = interpret(expected, *given)
            derived = mode(graph)
            verify(derived)
            expect_close(graph, f"{mode.__name__}, seed {seed}", interpret(derived, *given), want)
            best = optimise(mode(prepared), verify=True)
            expect_close(graph, f"{mode.__name__} optimised, seed {seed}", interpret(best, *given), want)


@pytest.mark.parametrize("name", ["everything", "static"])
def test_derivatives_of_second_order(name: str) -> None:
    for seed in range(PROGRAMS):
        made = Loops(seed, Features(depth=2, **FEATURES[name]), statements=3)
        graph, args = made.graph, made.arrays
        rng = np.random.default_rng(seed)
        line = straight(graph, *args)
        graph = prepare(graph)
        for outer, inner in ((reverse, reverse), (forward, reverse), (reverse, forward)):
            expected = outer(inner(line))
            given = arguments(expected, args, rng)
            derived = outer(inner(graph))
            verify(derived)
            what = f"{outer.__name__} of {inner.__name__}, seed {seed}"
            expect_close(graph, what, interpret(derived, *given), interpret(expected, *given))


@pytest.mark.parametrize("seed", range(4))
def test_compiled_gradients(seed: int) -> None:
    made = Loops(seed, Features(depth=2), statements=3)
    joint = vjp_graph(prepare(made.graph), floats(made.graph), seed="param")
    given = arguments(joint, made.arrays, np.random.default_rng(seed))
    expect_close(made.graph, f"compiled, seed {seed}", compile_graph(joint)(*given), interpret(joint, *given))


def test_text_round_trip() -> None:
    for seed in range(PROGRAMS):
        made = Loops(seed)
        joint = vjp_graph(made.graph, floats(made.graph), seed="param")
        for graph in (made.graph, joint):
            text = print_graph(graph)
            again = parse(text)
            verify(again)
            assert print_graph(again) == text
        given = arguments(joint, made.arrays, np.random.default_rng(seed))
        for x, y in zip(interpret(parse(print_graph(joint)), *given), interpret(joint, *given), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEATURES)
def test_many(name: str) -> None:
    for seed in range(100, 600):
        made = Loops(seed, Features(**FEATURES[name]))
        graph, args = made.graph, made.arrays
        expected = reverse(straight(graph, *args))
        given = arguments(expected, args, np.random.default_rng(seed))
        best = optimise(reverse(prepare(graph)))
        expect_close(graph, f"seed {seed}", interpret(best, *given), interpret(expected, *given))
