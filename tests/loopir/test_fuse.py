"""Fusion: what becomes one nest, what must not, and that values stay right."""

from __future__ import annotations

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.compiler import compile_graph
from jitgrad.ir.core import Builder, Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.types import TensorType, f64
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.loopir.nodes import Block, LibCall, Loop, Program, Store
from jitgrad.loopir.verify import verify
from jitgrad.loopir.walk import statements
from jitgrad.passes.pipeline import optimise, prepare


def fused(text: str) -> Program:
    program = fuse(lower(parse(text)))
    verify(program, "fused")
    return program


def loops(program: Program) -> int:
    return sum(isinstance(s, Loop) for s in statements(program.body))


def check(text: str, seed: int = 0) -> None:
    graph: Graph = parse(text)
    rng = np.random.default_rng(seed)
    args = [rng.standard_normal(p.type.shape).astype(p.type.dtype) for p in graph.params]
    for got, want in zip(compile_graph(graph)(*args), interpret(graph, *args), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_elementwise_chain_is_one_loop_without_temporaries():
    text = """
    graph f(%x: f64[7,5], %y: f64[7,5]) {
      %0: f64[7,5] = multiply(%x, %y)
      %1: f64[7,5] = add(%0, %x)
      %2: f64[7,5] = negative(%1)
      return %2
    }"""
    program = fused(text)
    assert loops(program) == 1  # collapsed from two
    assert not program.temporaries
    check(text)


def test_row_softmax_is_one_nest_with_a_row_of_scratch():
    text = """
    graph f(%x: f64[9,6]) {
      %0: f64[9] = reduce_max(%x) {axes=(1,)}
      %1: f64[9,1] = reshape(%0) {shape=(9, 1)}
      %2: f64[9,6] = subtract(%x, %1)
      %3: f64[9,6] = exp(%2)
      %4: f64[9] = reduce_sum(%3) {axes=(1,)}
      %5: f64[9,1] = reshape(%4) {shape=(9, 1)}
      %6: f64[9,6] = divide(%3, %5)
      return %6
    }"""
    program = fused(text)
    assert len(program.body) == 1
    assert [t.shape for t in program.temporaries] == [(6,)]
    check(text)


def test_row_and_column_and_full_sums_share_one_pass():
    text = """
    graph f(%x: f64[8,5]) {
      %0: f64[8,5] = exp(%x)
      %1: f64[8] = reduce_sum(%0) {axes=(1,)}
      %2: f64[5] = reduce_sum(%0) {axes=(0,)}
      %3: f64[] = reduce_sum(%0) {axes=(0, 1)}
      return %0, %1, %2, %3
    }"""
    program = fused(text)
    nests = [s for s in program.body if not (isinstance(s, Loop) and isinstance(s.body[0], Store))]
    assert len(nests) == 1
    assert isinstance(nests[0], Block)
    check(text)


def test_a_reversed_read_is_not_fused_into_its_producer():
    # Iteration i of the second nest needs what iteration 5-i of the first one wrote.
    text = """
    graph f(%x: f64[6]) {
      %0: f64[6] = exp(%x)
      %1: f64[6] = slice(%0) {starts=(5,), sizes=(6,), steps=(-1,)}
      %2: f64[6] = multiply(%0, %1)
      return %0, %2
    }"""
    assert loops(fused(text)) == 2
    check(text)


def test_a_shifted_sum_keeps_its_order():
    text = """
    graph f(%x: f64[6], %v: f64[5]) {
      %0: f64[6] = exp(%x)
      %1: f64[6] = add_slice(%0, %v) {starts=(1,), steps=(1,)}
      %2: f64[6] = add_slice(%1, %v) {starts=(0,), steps=(1,)}
      %3: f64[6] = multiply(%2, %0)
      return %2, %3
    }"""
    check(text)


def test_a_product_separates_nests():
    text = """
    graph f(%x: f64[12,12], %w: f64[12,12]) {
      %0: f64[12,12] = exp(%x)
      %1: f64[12,12] = einsum(%0, %w) {spec="ij,jk->ik"}
      %2: f64[12,12] = multiply(%1, %0)
      return %2
    }"""
    program = fused(text)
    assert sum(isinstance(s, LibCall) for s in program.body) == 1
    check(text)


def test_scalar_program_is_one_kernel():
    text = """
    graph f(%x: f64[]) {
      %0: f64[] = exp(%x)
      %1: f64[] = sin(%0)
      %2: f64[] = cos(%0)
      %3: f64[] = multiply(%0, %2)
      return %1, %3
    }"""
    assert len(fused(text).body) == 1
    check(text)


def test_an_expensive_value_is_not_computed_again_for_every_column():
    text = """
    graph f(%x: f64[4], %y: f64[9,4,30]) {
      %0: f64[4] = tanh(%x)
      %1: f64[4,1] = reshape(%0) {shape=(4, 1)}
      %2: f64[9,4,30] = multiply(%1, %y)
      return %2
    }"""
    program = fused(text)
    assert [t.shape for t in program.temporaries] == [(4,)]
    check(text)


@pytest.mark.parametrize("shape", [(0,), (1,), (0, 3), (3, 0), (1, 1, 1)])
def test_empty_and_unit_extents(shape):
    b = Builder("f")
    x = b.param(TensorType(f64, shape), "x")
    y = b.emit("exp", x)
    graph = b.build(y, b.emit("reduce_sum", y, axes=tuple(range(len(shape)))), b.emit("multiply", y, x))
    args = [np.ones(shape)]
    for got, want in zip(compile_graph(graph)(*args), interpret(graph, *args), strict=True):
        np.testing.assert_allclose(got, want)


def test_refusals_have_reasons():
    notes: list[str] = []
    graph = parse("""
    graph f(%x: f64[50,50]) {
      %0: f64[50,50] = tanh(%x)
      %1: f64[50,50] = transpose(%0) {perm=(1, 0)}
      %2: f64[50,50] = multiply(%0, %1)
      return %2
    }""")
    fuse(lower(graph), notes)
    assert any("is stored" in n for n in notes)


@pytest.mark.parametrize("shape", ["", "5"])
def test_a_long_chain_compiles(shape):
    """Fusion must not build an expression too deep to walk, nor a stack overflow in LLVM's passes."""
    ops = ["%0: f64[S] = sin(%x)", *(f"%{k}: f64[S] = tanh(%{k - 1})" for k in range(1, 300))]
    text = "graph f(%x: f64[S]) {\n" + "\n".join(ops) + "\nreturn %299\n}"
    check(text.replace("S", shape))


def test_softmax_cross_entropy_is_one_pass_without_one_hot_arrays():
    def loss(z, labels):
        z = z - np.max(z, axis=1, keepdims=True)
        return np.mean(np.log(np.sum(np.exp(z), axis=1)) - z[np.arange(len(labels)), labels])

    rng = np.random.default_rng(0)
    z, labels = rng.standard_normal((40, 30)), rng.integers(-30, 30, 40)
    program = fuse(lower(optimise(vjp_graph(prepare(jg.trace(loss, z, labels)), [0]))))
    assert len([s for s in program.body if isinstance(s, (Loop, Block))]) == 1
    assert all(t.size <= 30 for t in program.temporaries)
    value, grad = jg.value_and_grad(loss)(z, labels)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = np.arange(40)
    np.testing.assert_allclose(value, -np.mean(np.log(p[rows, labels])), rtol=1e-12)
    p[rows, labels] -= 1
    np.testing.assert_allclose(grad, p / 40, rtol=1e-10, atol=1e-15)


def test_fills_stay_apart_from_nests_that_carry_values_from_row_to_row():
    """In one nest they would only keep the rows from running together."""

    @jg.jit
    def table(x):
        h = np.zeros((61, 71))
        for i in range(1, 61):
            for j in range(1, 71):
                h[i, j] = np.maximum(h[i - 1, j - 1] + x[i - 1, j - 1], np.maximum(h[i - 1, j], h[i, j - 1]) - 0.1)
        return h.max()

    x = np.random.default_rng(0).standard_normal((60, 70))
    np.testing.assert_allclose(table(x), table.__wrapped__(x), rtol=1e-14)
    assert "rows run together" in table.explain(x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "fun",
    [
        lambda x, y: x * y - np.max(x * y),
        lambda x, y: -(x * y) - np.min(-(x * y)),
        lambda x, y: x**2 - np.min(x**2),
        lambda x, y: x[:, None] * y - np.max(x[:, None] * y, axis=1, keepdims=True),
    ],
)
def test_a_product_that_is_computed_again_is_the_same_number(fun, dtype):
    """Fused with the difference, its rounding error would be left where NumPy's result is 0."""
    x, y = np.random.default_rng(3).normal(size=(2, 50)).astype(dtype)
    np.testing.assert_array_equal(jg.jit(fun)(x, y), fun(x, y))


def test_loops_that_share_a_variable_side_by_side_are_not_put_into_each_other():
    """The recurrences run side by side, next to the fill: both loops have its variable, which the merge behind it let
    the loop around the second one have too."""
    check("""
graph f(%A: f64[16,16], %B: f64[16,16]) where %i in 0..15, %j in 0..15, %k in 0..15 {
  %0: f64[] = constant() {value=f64[] 0.0}
  %1: f64[16,16] = broadcast_to(%0) {shape=(16, 16)}
  %2: f64[16,16] = for(%1) {lo=0, hi=16, step=1}
    (%i: i64[], %3: f64[16,16]) {
      %4: f64[16,16] = for(%3) {lo=0, hi=16, step=1}
        (%j: i64[], %5: f64[16,16]) {
          %6: f64[16,16] = for(%5) {lo=0, hi=16, step=1}
            (%k: i64[], %7: f64[16,16]) {
              %8: f64[1,1] = slice(%A) {starts=(%i, %k), sizes=(1, 1), steps=(1, 1)}
              %9: f64[1,1] = slice(%B) {starts=(%k, %j), sizes=(1, 1), steps=(1, 1)}
              %10: f64[1,1] = multiply(%8, %9)
              %11: f64[1,1] = slice(%7) {starts=(%i, %j), sizes=(1, 1), steps=(1, 1)}
              %12: f64[1,1] = add(%11, %10)
              %13: f64[16,16] = set_slice(%7, %12) {starts=(%i, %j), steps=(1, 1)}
              yield %13
            }
          yield %6
        }
      yield %4
    }
  %14: f64[1,16] = slice(%2) {starts=(3, 0), sizes=(1, 16), steps=(1, 1)}
  %15: f64[1,1] = slice(%2) {starts=(5, 2), sizes=(1, 1), steps=(1, 1)}
  return %14, %15
}""")
