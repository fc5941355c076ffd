"""Random loop nests with loops exchanged, turned, distributed, jammed, skewed and tiled, and arrays laid out anew
and put where others were, wherever that is legal, whether it pays or not."""

from __future__ import annotations

import random

import numpy as np
import pytest
from random_loops import Features, Loops

from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.codegen.python import compile_python
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import is_float
from jitgrad.loopir import distribute, interchange, jam, layout, share, skew, tile
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.passes.pipeline import optimise, prepare

PROGRAMS = 28
NOTES = (
    "loops that went outside",
    "loops that run several iterations at once",
    "last: loops walk",
    "apart: loops walk",
    "rows run together",
    "over tiles of cache lines",
    "takes the place of",
)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> random.Random:
    """Costs are drawn by lot; the seed is that of the generator."""
    lot = random.Random(0)
    monkeypatch.setattr(interchange, "FEW", 0.0)
    monkeypatch.setattr(interchange, "MANY_LANES", 1)
    monkeypatch.setattr(interchange, "_pays", lambda *_: lot.random() < 0.5)
    monkeypatch.setattr(layout, "SMALL", 0)
    monkeypatch.setattr(layout, "COPY", 0.0)
    monkeypatch.setattr(layout, "CLEARLY", 0.5)
    monkeypatch.setattr(jam, "SHORT", 0.0)
    monkeypatch.setattr(jam, "_factor", lambda *_: lot.choice((2, 3, 4)))
    monkeypatch.setattr(distribute, "STRIP", 2)
    monkeypatch.setattr(distribute, "LEAST", 2)
    monkeypatch.setattr(distribute, "TRANSCENDENTAL", 1)
    monkeypatch.setattr(distribute, "_pays", lambda *_: lot.random() < 0.5)
    monkeypatch.setattr(share, "LEAST_BYTES", 0)
    monkeypatch.setattr(skew, "OUTSIDE", 1.0)
    monkeypatch.setattr(skew, "ROWS", 2)
    monkeypatch.setattr(skew, "LANES", 3)
    monkeypatch.setattr(skew, "_pointless", lambda _: lot.random() < 0.2)
    monkeypatch.setattr(skew, "_heavy", lambda _: lot.random() < 0.5)
    monkeypatch.setattr(tile, "LINE", 16)
    monkeypatch.setattr(tile, "SHORT", 1)
    monkeypatch.setattr(tile, "_conflict", lambda *_: lot.random() < 0.5)
    return lot


def transformed(graph: Graph, arrays: list[np.ndarray]) -> set[str]:
    """Check a graph; which of the transformations were made."""
    notes: list[str] = []
    program = share.share(fuse(lower(graph), notes), notes)
    with np.errstate(all="ignore"):
        found = compile_python(program)(*arrays)
        for x, y in zip(found, interpret(graph, *arrays), strict=True):
            scale = max(1.0, float(np.max(np.abs(y), initial=0.0)))
            assert np.all(np.abs(x - y) <= 1e-8 * scale), f"{x}\nis not\n{y}\n{graph}\n{program}"
    return {title for title in NOTES if any(title in n for n in notes)}


def check(seed: int, lot: random.Random, features: Features) -> set[str]:
    lot.seed(seed)
    made = Loops(seed, features)
    graph = prepare(made.graph)
    done = transformed(optimise(graph), list(made.arrays))
    floats = [k for k, p in enumerate(graph.params) if is_float(p.type.dtype)]
    joint = optimise(vjp_graph(graph, floats, seed="param"))
    rng = np.random.default_rng(seed)
    seeds = [np.asarray(rng.normal(size=p.type.shape)) for p in joint.params[len(made.arrays) :]]
    return done | transformed(joint, [*made.arrays, *seeds])


def test_transformations_keep_values(eager: random.Random) -> None:
    done: set[str] = set()
    for seed in range(PROGRAMS):
        done |= check(seed, eager, Features(whiles=seed % 2 == 0, branches=seed % 3 == 0))
    assert done == set(NOTES)  # otherwise this tests nothing


@pytest.mark.parametrize(
    "seed, features",
    [
        pytest.param(1307, Features(branches=False, whiles=False, traced=False), id="tiles where a loop ends early"),
        pytest.param(1218, Features(traced=False), id="two uses that overwrite"),
        pytest.param(1476, Features(traced=False), id="a number that is a sum, set before the sum"),
        pytest.param(
            1967, Features(branches=False, whiles=False, traced=False), id="a result that goes from row to row"
        ),
    ],
)
def test_found(seed: int, features: Features, eager: random.Random) -> None:
    """Programs that were compiled wrongly, or for ever."""
    check(seed, eager, features)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_many(part: int, eager: random.Random) -> None:
    for seed in range(1000 + 250 * part, 1250 + 250 * part):
        check(seed, eager, Features(whiles=seed % 2 == 0, branches=seed % 3 == 0, traced=seed % 5 == 0))
