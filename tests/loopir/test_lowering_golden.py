"""Golden tests of the way from graphs to loops: a graph, a line ``// ----``, and the program that it becomes.

``lower`` is the lowering alone, ``fuse`` is followed by fusion; ``place`` is the same, and about what is in place;
``share`` is fusion and what takes over storage; ``schedule`` is fusion and the choice of parallel loops, with a low
threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import jitgrad.ops  # noqa: F401  (registers the ops)
from jitgrad.codegen.python import compile_python
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.loopir.nodes import Program
from jitgrad.loopir.printer import print_program
from jitgrad.loopir.schedule import schedule
from jitgrad.loopir.share import share
from jitgrad.loopir.verify import verify

GOLDEN = Path(__file__).parent.parent / "golden"
SEPARATOR = "// ----\n"
STAGES: dict[str, Callable[[Graph], Program]] = {
    "lower": lower,
    "fuse": lambda g: fuse(lower(g)),
    "place": lambda g: fuse(lower(g)),
    "share": lambda g: share(fuse(lower(g)), []),
    "schedule": lambda g: schedule(fuse(lower(g)), least=4096),
}
FILES = sorted(path.relative_to(GOLDEN).as_posix() for name in STAGES for path in (GOLDEN / name).glob("*.ir"))


def read(file: str) -> tuple[Graph, Program, str]:
    """The graph, the program that it becomes, and the text expected of that."""
    before, separator, after = (GOLDEN / file).read_text().partition(SEPARATOR)
    assert separator, f"{file} has no separator"
    graph = parse(before)
    return graph, STAGES[file.split("/")[0]](graph), after


def test_there_are_files_for_every_stage() -> None:
    assert {file.split("/")[0] for file in FILES} == set(STAGES)


@pytest.mark.parametrize("file", FILES)
def test_golden_program(file: str) -> None:
    _, program, after = read(file)
    verify(program, file)
    assert print_program(program).strip() == after.strip()


@pytest.mark.parametrize("file", FILES)
def test_the_program_computes_what_the_graph_does(file: str) -> None:
    graph, program, _ = read(file)
    rng = np.random.default_rng(3)
    args = [rng.uniform(0, 3, p.type.shape).astype(p.type.dtype) for p in graph.params]
    for found, expected in zip(compile_python(program)(*args), interpret(graph, *args), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-14 if expected.dtype == np.float64 else 1e-6)
