"""Random programs with every loop on threads that can be, and temporaries in results wherever they may lie: the bits of
a serial run, and the interpreter's numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from jitgrad import compiler
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.codegen.threads import control
from jitgrad.compiler import compile_graph
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import is_float
from jitgrad.loopir import buffers, schedule, share, strips
from jitgrad.passes.pipeline import prepare
from jitgrad.runtime import threads
from tests.fuzz.random_loops import Features, Loops
from tests.fuzz.random_regions import RegionGraphs, arguments


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All loops that can be are parallel, and all launches pay."""
    for name, value in {"FEW": 1, "CHUNKED": 0, "COMBINED": 1e-9, "LEAST_CHUNKS": 1}.items():
        monkeypatch.setattr(schedule, name, value)
    monkeypatch.setattr(share, "LEAST_BYTES", 0)
    monkeypatch.setattr(buffers, "LARGE", 1)
    monkeypatch.setattr(strips, "WIDTH", 1)
    monkeypatch.setattr(compiler, "schedule", lambda program, notes: schedule.schedule(program, notes, least=1))
    monkeypatch.setattr(threads, "LEAST", 0)
    yield
    monkeypatch.undo()
    threads.start()


def check(graph: Graph, args: list[np.ndarray]) -> None:
    program = compile_graph(graph)
    if not any(True for _ in schedule.parallel_loops(program.program)):
        return
    most = control.threads
    control.threads = 1
    serial = program(*args)
    control.threads, control.rest = most, 0
    for found, wanted, expected in zip(program(*args), serial, interpret(graph, *args), strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg=str(graph))
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8, err_msg=str(graph))


@pytest.mark.parametrize("seed", range(2000, 2008))
def test_regions(seed: int) -> None:
    graph = RegionGraphs(seed).graph()
    check(graph, arguments(graph, seed))


@pytest.mark.parametrize("seed", range(4))
def test_gradients_of_loops(seed: int) -> None:
    made = Loops(seed, Features(traced=False, depth=2), statements=3)
    floats = [k for k, p in enumerate(made.graph.params) if is_float(p.type.dtype)]
    joint = vjp_graph(prepare(made.graph), floats, seed="param")
    rng = np.random.default_rng(seed)
    args = [*made.arrays, *(np.asarray(rng.normal(size=p.type.shape)) for p in joint.params[len(made.arrays) :])]
    check(joint, args)
