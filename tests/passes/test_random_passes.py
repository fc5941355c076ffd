"""Every pass keeps the value of random graphs, and their text form round-trips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_graphs import arrays, graphs

from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.printer import print_graph
from jitgrad.ir.verify import verify
from jitgrad.passes.cse import cse
from jitgrad.passes.dce import dce
from jitgrad.passes.erase import erase
from jitgrad.passes.fold import fold
from jitgrad.passes.pipeline import optimise, prepare
from jitgrad.passes.simplify import simplify
from jitgrad.passes.stable import stable

PASSES = [cse, dce, erase, fold, simplify, stable, prepare, optimise]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, -0.75, np.inf, -np.inf, np.nan]


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_text_round_trip(graph: Graph) -> None:
    verify(graph)
    text = print_graph(graph)
    again = parse(text)
    verify(again)
    assert print_graph(again) == text
    assert [op.loc for op in again.ops] == [op.loc for op in graph.ops]


@pytest.mark.parametrize("run", PASSES, ids=lambda f: f.__name__)
@settings(max_examples=400, deadline=None)
@given(graphs(), st.integers(0, 10**6))
def test_value_is_kept(run, graph: Graph, seed: int) -> None:
    result = run(graph)
    verify(result, run.__name__)
    args = arrays(graph, seed)
    for x, y in zip(interpret(graph, *args), interpret(result, *args), strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        # What overflows may do so at another point.
        tame = np.abs(x) < 1e80
        scale = np.max(np.abs(x), where=tame, initial=1.0)
        np.testing.assert_allclose(y[tame], x[tame], rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("run", [fold, simplify, optimise], ids=lambda f: f.__name__)
@settings(max_examples=400, deadline=None)
@given(graphs(elementwise=True), st.integers(0, 10**6))
def test_elementwise_rules_are_exact(run, graph: Graph, seed: int) -> None:
    """Bit by bit, the signs of zeros included, for NaN, infinities and both zeros."""
    args = arrays(graph, seed, SPECIAL)
    for x, y in zip(interpret(graph, *args), interpret(run(graph), *args), strict=True):
        np.testing.assert_array_equal(y, x)
        numbers = ~np.isnan(x)
        np.testing.assert_array_equal(np.signbit(y[numbers]), np.signbit(x[numbers]))
