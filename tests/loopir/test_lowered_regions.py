"""Region ops in Loop IR: interpreter, Python rendering and machine code agree."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad.ops  # noqa: F401  (registers the ops)
from jitgrad.codegen.python import compile_python
from jitgrad.errors import IndexBoundsError
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.verify import verify as verify_graph
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.loopir.printer import print_program
from jitgrad.loopir.verify import verify
from jitgrad.runtime.compiled import Executable
from tests.loopir.region_graphs import GRAPHS
from tests.regions import arguments


def close(found, expected):
    assert len(found) == len(expected)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", GRAPHS)
def test_interpreter_and_python_and_machine_code_agree(name):
    graph = parse(GRAPHS[name])
    verify_graph(graph, name)
    args = arguments(graph)
    keep = [a.copy() for a in args]
    expected = interpret(graph, *args)
    lowered = lower(graph)
    verify(lowered, "lowered")
    close(compile_python(lowered)(*args), expected)
    fused = fuse(lowered)
    verify(fused, "fused")
    close(compile_python(fused)(*args), expected)
    for _ in range(2):
        close(Executable(fused)(*args), expected)
    for a, k in zip(args, keep, strict=True):
        np.testing.assert_array_equal(a, k)


def test_an_index_that_is_out_of_bounds_ends_the_loop():
    program = fuse(lower(parse(GRAPHS["checked index"])))
    x = np.arange(6.0)
    with pytest.raises(IndexBoundsError):
        Executable(program)(x, np.array([0, 1, 6, 2]))
    with pytest.raises(IndexBoundsError):
        compile_python(program)(x, np.array([0, 1, 6, 2]))


UPDATED = """
graph f(%x: f64[6], %y: f64[6]) {
  %z: f64[6] = add(%x, %y)
  %a: f64[6] = for(%x) {lo=1, hi=6, step=1}
    (%i: i64[], %p: f64[6]) {
      %e: f64[1] = slice(%p) {starts=(%i - 1,), sizes=(1,), steps=(1,)}
      %q: f64[6] = add_slice(%p, %e) {starts=(%i,), steps=(1,)}
      yield %q
    }
  return %z, %a, %x
}
"""
EXCHANGED = """
graph f(%x: f64[6], %y: f64[6]) {
  %z: f64[6] = exp(%x)
  return %y, %z
}
"""


@pytest.mark.parametrize("text, donated", [(UPDATED, {0: 1}), (EXCHANGED, {0: 0, 1: 1}), (EXCHANGED, {1: 1})])
def test_an_argument_that_is_given_away_becomes_the_result(text, donated):
    graph = parse(text)
    x = [np.linspace(0.1, 1.0, 6), np.linspace(-1.0, 1.0, 6)]
    expected = interpret(graph, *x)
    program = fuse(lower(graph, donated=donated))
    verify(program, "fused")
    for run in (compile_python(program), Executable(program)):
        args = [a.copy() for a in x]
        close(run(*args), expected)
        for p, a in enumerate(args):
            np.testing.assert_allclose(a, expected[donated[p]] if p in donated else x[p], rtol=1e-12)


def test_a_loop_over_an_argument_that_is_given_away_copies_nothing():
    graph = parse(UPDATED.replace("return %z, %a, %x", "return %a"))
    notes: list[str] = []
    program = fuse(lower(graph, notes, {0: 0}))
    assert not notes and len(program.body) == 1 and not program.temporaries
    x = np.ones(6)
    (found,) = Executable(program)(x, x.copy())
    assert found is x


def test_arrays_that_are_walked_down_columns_are_stored_by_columns():
    notes: list[str] = []
    program = fuse(lower(parse(GRAPHS["columns of matrices"])), notes)
    assert any("laid out with axis 0 last" in n for n in notes)  # the result
    assert any("copy of w into w_t" in n for n in notes)
    assert {t.shape for t in program.temporaries} == {(30, 40)}


def test_the_adjoint_of_a_stencil_is_one_pass_without_temporaries():
    notes: list[str] = []
    program = fuse(lower(parse(GRAPHS["adjoint of a stencil"])), notes)
    assert any("one pass: 5" in n for n in notes)
    assert all(len(t.shape) == 2 for t in program.temporaries)
    assert len(program.temporaries) <= 1  # to exchange the two


def test_sums_that_may_meet_stay_in_a_register():
    text = print_program(fuse(lower(parse(GRAPHS["sums that may meet"]))))
    assert "for j < 9:" in text and "let p_: f64 = 0.0" in text and "p[i1] += p_" in text


@pytest.mark.parametrize("name", ["dot products with columns", "pushed down columns of a triangle"])
def test_loops_change_places_where_the_inner_one_walks_down_columns(name):
    notes: list[str] = []
    fuse(lower(parse(GRAPHS[name])), notes)
    assert any("went outside" in n for n in notes)
