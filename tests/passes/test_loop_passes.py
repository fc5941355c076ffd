"""The passes that rewrite loops and updates of arrays: values are kept, on random nests and on chosen ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.verify import verify
from jitgrad.passes import pipeline
from jitgrad.passes.dce import dce
from jitgrad.passes.licm import licm
from jitgrad.passes.pieces import pieces
from jitgrad.passes.rotate import rotate
from jitgrad.passes.unwrap import unwrap
from jitgrad.passes.vectorise import vectorise
from tests.fuzz.random_loops import Features, Loops, random_loops

PASSES: dict[str, Callable[[Graph], Graph]] = {
    "vectorise": vectorise,
    "pieces": pieces,
    "licm": licm,
    "rotate": rotate,
    "unwrap": unwrap,
    "prepare": pipeline.prepare,
    "optimise": pipeline.optimise,
}


def check_kept(run: Callable[[Graph], Graph], graph: Graph, arrays: list[np.ndarray], what: str) -> Graph:
    new = run(graph)
    verify(new, what)
    for a, b in zip(interpret(graph, *arrays), interpret(new, *arrays), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-11, err_msg=what)
    return new


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("seed", range(12))
def test_values_of_random_nests_are_kept(name, seed):
    graph, arrays = random_loops(seed)
    check_kept(PASSES[name], graph, arrays, f"{name}, seed {seed}")


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("seed", range(6))
def test_values_of_random_static_nests_are_kept(name, seed):
    """Seed 1 has a loop that may be empty, with a slice that is in bounds only where it is not."""
    made = Loops(seed, Features(whiles=False, branches=False, traced=False))
    check_kept(PASSES[name], made.graph, list(made.arrays), f"{name}, seed {seed}")


@pytest.mark.slow
@pytest.mark.parametrize("name", PASSES)
def test_values_of_many_random_nests_are_kept(name):
    for seed in range(1000, 1600):
        graph, arrays = random_loops(seed)
        check_kept(PASSES[name], graph, arrays, f"{name}, seed {seed}")


def traced(fun, *args):
    with jg.config.using(unroll_limit=0):
        return dce(unwrap(jg.trace(fun, *args)))


def loops_left(graph: Graph) -> int:
    return sum(op.name in ("for", "while") for op in graph.ops)


def stencil(a):
    b = np.zeros_like(a)
    for i in range(1, len(a) - 1):
        for j in range(1, len(a) - 1):
            b[i, j] = a[i - 1, j] + a[i + 1, j] - 2.0 * a[i, j - 1] * a[j, i]
    return b


def shifted_forwards(a):
    for i in range(len(a) - 1):
        a[i] = a[i + 1] * 2.0
    return a


def shifted_backwards(a):
    for i in range(1, len(a)):
        a[i] = a[i - 1] * 2.0
    return a


def reversed_order(a):
    for i in range(len(a) - 1, 0, -1):
        a[i] = a[i - 1] * 2.0
    return a


def sums(a):
    total, largest = 1.0, -1.0
    for i in range(len(a)):
        total += a[i] * a[i]
        largest = np.maximum(largest, a[i])
    return total, largest


def two_writes(a):
    for i in range(len(a) - 1):
        a[i] = 1.0 + a[i]
        a[i + 1] = a[i + 1] * 3.0
    return a


def columns(a):
    b = np.zeros_like(a)
    for j in range(len(a)):
        b[:, j] = a[:, j] * (j + 1) + np.sum(a[j, :])
    return b


def triangular(a):
    b = np.copy(a)
    for i in range(len(a)):
        for j in range(i):
            b[i, j] = a[j, i] * j
    return b


def backwards(a):
    b = np.zeros(len(a))
    for i in range(len(a)):
        b[len(a) - 1 - i] = a[i] + i
    return b


def accumulate(a):
    s = 0.0
    for i in range(len(a)):
        s = s + a[i]
        a[i] = s
    return a


MATRIX = [stencil, columns, triangular]
INDEPENDENT = [stencil, columns, shifted_forwards, reversed_order, sums, backwards]
DEPENDENT = [shifted_backwards, two_writes, accumulate]


@pytest.mark.parametrize("fun", INDEPENDENT, ids=lambda f: f.__name__)
def test_independent_loops_become_arrays(fun):
    a = np.random.default_rng(0).normal(size=(6, 6) if fun in MATRIX else 9)
    graph = check_kept(vectorise, traced(fun, a), [a], fun.__name__)
    assert loops_left(graph) == 0
    expected = fun(a.copy())
    results = expected if isinstance(expected, tuple) else (expected,)
    for found, wanted in zip(interpret(graph, a), results, strict=False):  # a function may also change its argument
        np.testing.assert_allclose(found, wanted)


@pytest.mark.parametrize("fun", DEPENDENT, ids=lambda f: f.__name__)
def test_dependent_loops_stay(fun):
    a = np.random.default_rng(0).normal(size=9)
    graph = check_kept(vectorise, traced(fun, a), [a], fun.__name__)
    assert loops_left(graph) == 1


def test_a_triangle_has_rows_of_growing_extent():
    a = np.random.default_rng(0).normal(size=(5, 5))
    graph = check_kept(vectorise, traced(triangular, a), [a], "triangular")
    (outer,) = (op for op in graph.ops if op.name == "for")
    assert not any(op.regions for op in outer.regions[0].ops)


def test_sums_of_shifted_pieces_are_gathered():
    """Five sweeps over the array become one, and strips at the borders."""
    text = """graph f(%d: f64[20,20], %g: f64[18,18]) {
      %zero: f64[] = constant() {value=f64[] 0.0}
      %zeros: f64[18,18] = broadcast_to(%zero) {shape=(18, 18)}
      %d0: f64[20,20] = set_slice(%d, %zeros) {starts=(1, 1), steps=(1, 1)}
      %d1: f64[20,20] = add_slice(%d0, %g) {starts=(1, 1), steps=(1, 1)}
      %d2: f64[20,20] = add_slice(%d1, %g) {starts=(0, 1), steps=(1, 1)}
      %d3: f64[20,20] = add_slice(%d2, %g) {starts=(2, 1), steps=(1, 1)}
      %d4: f64[20,20] = add_slice(%d3, %g) {starts=(1, 0), steps=(1, 1)}
      %d5: f64[20,20] = add_slice(%d4, %g) {starts=(1, 2), steps=(1, 1)}
      return %d5
    }"""
    graph = jg.parse(text)
    rng = np.random.default_rng(0)
    new = check_kept(lambda g: dce(pieces(g)), graph, [rng.normal(size=(20, 20)), rng.normal(size=(18, 18))], "pieces")
    large = [op for op in new.ops if op.name in ("add_slice", "set_slice") and op.operands[1].type.size > 60]
    assert [op.name for op in large] == ["set_slice"]


def test_zeroing_moves_to_its_first_use():
    """So that what was read before need not be kept."""
    text = """graph f(%d: f64[9], %e: f64[9]) {
      %g: f64[4] = slice(%d) {starts=(2,), sizes=(4,), steps=(1,)}
      %zero: f64[4] = constant() {value=f64[4] [0.0, 0.0, 0.0, 0.0]}
      %d1: f64[9] = set_slice(%d, %zero) {starts=(2,), steps=(1,)}
      %e1: f64[9] = add_slice(%e, %g) {starts=(0,), steps=(1,)}
      return %d1, %e1
    }"""
    graph = pipeline.optimise(jg.parse(text))
    new = check_kept(pieces, graph, [np.arange(9.0), np.ones(9)], "pieces")
    assert [op.name for op in new.ops if op.name.endswith("_slice")] == ["add_slice", "set_slice"]
