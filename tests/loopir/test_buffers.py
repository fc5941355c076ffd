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
            lo, hi = sorted((a, b), key=placement.offsets.__getitem__)
            assert placement.offsets[lo] + lo.nbytes <= placement.offsets[hi]


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
