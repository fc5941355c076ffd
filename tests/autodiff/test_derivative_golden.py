"""Golden tests of differentiation: a graph, a line ``// ----``, and its derivative, as the transformation leaves it.

``vjp`` files show the joint graph with respect to all float parameters. Its seed is 1 where the only result is scalar,
else a parameter. ``jvp`` files show the graph with tangents. Dead ops are removed from what is shown.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import jitgrad.ops  # noqa: F401  (registers the ops)
from jitgrad.autodiff.jvp import jvp_graph
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.printer import print_graph
from jitgrad.ir.types import is_float
from jitgrad.ir.verify import verify
from jitgrad.passes.dce import dce

GOLDEN = Path(__file__).parent.parent / "golden"
SEPARATOR = "// ----\n"
FILES = sorted(path.relative_to(GOLDEN).as_posix() for name in ("vjp", "jvp") for path in (GOLDEN / name).glob("*.ir"))


def wrt(graph: Graph) -> list[int]:
    return [k for k, p in enumerate(graph.params) if is_float(p.type.dtype)]


def derivative(file: str, graph: Graph) -> Graph:
    if file.startswith("jvp/"):
        return dce(jvp_graph(graph, wrt(graph)))
    scalar = len(graph.results) == 1 and not graph.results[0].type.shape
    return dce(vjp_graph(graph, wrt(graph), seed="ones" if scalar else "param"))


def read(file: str) -> tuple[Graph, str]:
    before, separator, after = (GOLDEN / file).read_text().partition(SEPARATOR)
    assert separator, f"{file} has no separator"
    return parse(before), after


def test_both_modes_have_files() -> None:
    assert {file.split("/")[0] for file in FILES} == {"vjp", "jvp"}


@pytest.mark.parametrize("file", FILES)
def test_golden_derivative(file: str) -> None:
    graph, after = read(file)
    result = derivative(file, graph)
    verify(result, file)
    assert print_graph(result, locations=False) == after.strip()


@pytest.mark.parametrize("file", [f for f in FILES if f not in ("jvp/maximum.ir", "vjp/inactive.ir")])
def test_the_expected_text_is_the_derivative(file: str) -> None:
    """Against central differences along a random direction (the files left out are for points without a derivative)."""
    graph, after = read(file)
    expected = parse(after)
    rng = np.random.default_rng(5)
    args = [np.asarray(rng.uniform(0.5, 2.0, p.type.shape)) for p in graph.params]
    along = [np.asarray(rng.normal(size=a.shape)) for a in args]
    eps = 1e-6
    ahead, behind = (interpret(graph, *(a + s * eps * t for a, t in zip(args, along, strict=True))) for s in (1, -1))
    change = [(p - q) / (2 * eps) for p, q in zip(ahead, behind, strict=True)]
    if file.startswith("jvp/"):
        tangents = interpret(expected, *args, *along)[len(graph.results) :]
        for found, t in zip(tangents, change, strict=True):
            np.testing.assert_allclose(found, t, rtol=1e-7, atol=1e-8)
        return
    seeds = [np.asarray(rng.normal(size=p.type.shape)) for p in expected.params[len(args) :]]
    gradients = interpret(expected, *args, *seeds)[len(graph.results) :]
    found = sum(np.vdot(g, t) for g, t in zip(gradients, along, strict=True))
    np.testing.assert_allclose(
        found, sum(np.vdot(s, t) for s, t in zip(seeds or [1.0], change, strict=True)), rtol=1e-6
    )
