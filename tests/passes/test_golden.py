"""Golden tests: each file in ``tests/golden/<pass>`` is a graph, a line ``// ----``, and what the pass makes of it.

Dead ops are removed from what a pass returns, so that a file shows what matters.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import jitgrad.ops  # noqa: F401  (registers the ops)
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.printer import print_graph
from jitgrad.ir.types import TensorType
from jitgrad.ir.verify import verify
from jitgrad.passes.cse import cse
from jitgrad.passes.dce import dce
from jitgrad.passes.erase import erase
from jitgrad.passes.fold import fold
from jitgrad.passes.invariant import invariant
from jitgrad.passes.licm import licm
from jitgrad.passes.pieces import pieces
from jitgrad.passes.pipeline import optimise, prepare
from jitgrad.passes.rotate import rotate
from jitgrad.passes.simplify import simplify
from jitgrad.passes.stable import stable
from jitgrad.passes.unwrap import unwrap

GOLDEN = Path(__file__).parent.parent / "golden"
SEPARATOR = "// ----\n"
PASSES: dict[str, Callable[[Graph], Graph]] = {
    "cse": cse,
    "dce": dce,
    "erase": erase,
    "fold": fold,
    "invariant": invariant,
    "licm": licm,
    "optimise": optimise,
    "pieces": pieces,
    "prepare": prepare,
    "rotate": rotate,
    "simplify": simplify,
    "stable": stable,
    "unwrap": unwrap,
}
FILES = sorted(path.relative_to(GOLDEN).as_posix() for name in PASSES for path in (GOLDEN / name).glob("*.ir"))


def read(file: str) -> tuple[Callable[[Graph], Graph], str, str]:
    """The pass, the text of its input, and the text expected of it."""
    before, separator, after = (GOLDEN / file).read_text().partition(SEPARATOR)
    assert separator, f"{file} has no separator"
    return PASSES[file.split("/")[0]], before, after


def array(type: TensorType, rng: np.random.Generator) -> np.ndarray:
    shape = tuple(int(n) for n in type.shape)  # pyright: ignore[reportArgumentType]
    if type.dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    return np.asarray(rng.uniform(0.5, 3.0, shape)).astype(type.dtype)


def test_there_are_files_for_every_pass() -> None:
    assert {file.split("/")[0] for file in FILES} == set(PASSES)
    on_disk = {path.relative_to(GOLDEN).as_posix() for name in PASSES for path in (GOLDEN / name).iterdir()}
    assert on_disk == set(FILES), "a file that no test runs"


@pytest.mark.parametrize("file", FILES)
def test_golden(file: str) -> None:
    run, before, after = read(file)
    graph = parse(before)
    verify(graph, "parsing")
    result = run(graph)
    verify(result, file)
    assert print_graph(dce(result), locations=False) == after.strip()


@pytest.mark.parametrize("file", [f for f in FILES if f != "pieces/stencil.ir"])  # strips at borders meet once more
def test_the_pass_leaves_its_own_result_alone(file: str) -> None:
    run, _, after = read(file)
    assert print_graph(dce(run(parse(after))), locations=False) == after.strip()


@pytest.mark.parametrize("file", FILES)
def test_the_pass_leaves_its_input_alone(file: str) -> None:
    run, before, _ = read(file)
    graph = parse(before)
    text = print_graph(graph)
    run(graph)
    assert print_graph(graph) == text


@pytest.mark.parametrize("file", FILES)
def test_text_round_trip(file: str) -> None:
    _, *texts = read(file)
    for text in texts:
        graph = parse(text)
        lines = [line for line in text.strip().splitlines() if not line.startswith("//")]
        assert print_graph(graph, locations=False).splitlines() == lines
        assert print_graph(parse(print_graph(graph))) == print_graph(graph)


@pytest.mark.parametrize("file", [f for f in FILES if not f.endswith("failure_stays.ir")])
def test_value_is_kept(file: str) -> None:
    _, before, after = read(file)
    graph, expected = parse(before), parse(after)
    rng = np.random.default_rng(7)
    for _ in range(3):
        args = [array(p.type, rng) for p in graph.params]
        for x, y in zip(interpret(graph, *args), interpret(expected, *args), strict=True):
            np.testing.assert_allclose(y, x, rtol=1e-6 if x.dtype == np.float32 else 1e-13)
