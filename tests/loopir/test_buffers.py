"""Buffer placement: lifetimes, reuse, copies that go and copies that stay."""

from __future__ import annotations

import itertools

import numpy as np

from jitgrad.compiler import compile_graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.loopir.buffers import copy_of, place
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.loopir.walk import buffers_of

CHAIN = """
graph f(%x: f64[20,20]) {
  %0: f64[20,20] = einsum(%x, %x) {spec="ij,jk->ik"}
  %1: f64[20,20] = einsum(%0, %x) {spec="ij,jk->ik"}
  %2: f64[20,20] = einsum(%1, %x) {spec="ij,jk->ik"}
  %3: f64[20,20] = einsum(%2, %x) {spec="ij,jk->ik"}
  %4: f64[20,20] = einsum(%3, %x) {spec="ij,jk->ik"}
  return %4
}"""


def test_two_slots_serve_a_chain():
    placement = place(fuse(lower(parse(CHAIN))))
    assert placement.total == 4 * 3200
    assert placement.nbytes == 2 * 3200


def test_buffers_that_live_together_do_not_overlap():
    program = fuse(lower(parse(CHAIN)))
    placement = place(program)
    for s in program.body:
        live = [t for t in buffers_of(s) if t.kind == "temp"]
        for a, b in itertools.combinations(live, 2):
            lo, hi = sorted((a, b), key=placement.places.__getitem__)
            assert placement.places[lo].offset + lo.nbytes <= placement.places[hi].offset


RESULTS = """
graph f(%x: f64[128,128]) {
  %0: f64[128,128] = einsum(%x, %x) {spec="ij,jk->ik"}
  %1: f64[128,128] = einsum(%0, %x) {spec="ij,jk->ik"}
  %2: f64[128,128] = einsum(%1, %x) {spec="ij,jk->ik"}
  %3: f64[128] = reduce_sum(%2) {axes=(0,)}
  %4: f64[128,128] = einsum(%x, %x) {spec="ij,kj->ik"}
  %5: f64[128,128] = einsum(%x, %x) {spec="ji,jk->ik"}
  return %3, %4, %5
}"""


def test_temporaries_lie_in_results_that_are_written_later():
    program = fuse(lower(parse(RESULTS)))
    placement = place(program)
    results = program.results
    assert placement.nbytes == 0
    hosts = {at.result for at in placement.places.values()}
    assert hosts == {results[1], results[2]}
    for t, at in placement.places.items():
        used = [k for k, s in enumerate(program.body) if t in buffers_of(s)]
        written = [k for k, s in enumerate(program.body) if at.result in buffers_of(s)]
        assert max(used) < min(written)
        assert at.offset + t.nbytes <= at.result.nbytes
    x = np.random.default_rng(0).normal(size=(128, 128)) / 10
    for got, want in zip(compile_graph(parse(RESULTS))(x), interpret(parse(RESULTS), x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


UPDATES = """
graph f(%x: f64[30], %v: f64[10]) {
  %0: f64[30] = add_slice(%x, %v) {starts=(0,), steps=(1,)}
  %1: f64[30] = add_slice(%0, %v) {starts=(5,), steps=(2,)}
  %2: f64[30] = set_slice(%1, %v) {starts=(20,), steps=(1,)}
  return %2
}"""


def test_a_chain_of_updates_is_in_place():
    notes: list[str] = []
    program = fuse(lower(parse(UPDATES)), notes)
    assert [copy_of(s) is not None for s in program.body] == [True, False, False, False]
    assert not program.temporaries
    x, v = np.arange(30.0), np.arange(10.0)
    keep = x.copy()
    (got,) = compile_graph(parse(UPDATES))(x, v)
    (want,) = interpret(parse(UPDATES), x, v)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(x, keep)


def test_an_old_version_that_is_read_later_is_kept():
    text = """
    graph f(%x: f64[30], %v: f64[10]) {
      %0: f64[30] = add_slice(%x, %v) {starts=(0,), steps=(1,)}
      %1: f64[30] = add_slice(%0, %v) {starts=(5,), steps=(1,)}
      %2: f64[30] = slice(%0) {starts=(29,), sizes=(30,), steps=(-1,)}
      %3: f64[30] = multiply(%2, %1)
      return %3
    }"""
    notes: list[str] = []
    lower(parse(text), notes)
    assert any("read later" in n for n in notes)
    x, v = np.arange(30.0), np.arange(10.0)
    np.testing.assert_array_equal(compile_graph(parse(text))(x, v)[0], interpret(parse(text), x, v)[0])
