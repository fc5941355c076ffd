"""The interpreter: values, checks of arguments, checks of the ops."""

import numpy as np
import pytest

import jitgrad.ops  # noqa: F401  (registers the ops)
from jitgrad.errors import ArgumentError, IRError
from jitgrad.ir.core import OPS, OpDef
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse


def test_a_network() -> None:
    graph = parse("""
graph f(%x: f64[4,3], %w: f64[3,2]) {
  %0: f64[4,2] = einsum(%x, %w) {spec="ij,jk->ik"}
  %h: f64[4,2] = tanh(%0)
  %1: f64[] = reduce_sum(%h) {axes=(0, 1)}
  return %1, %h
}""")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))
    total, h = interpret(graph, x, w)
    np.testing.assert_allclose(h, np.tanh(x @ w))
    np.testing.assert_allclose(total, np.tanh(x @ w).sum())


def test_results_are_fresh() -> None:
    graph = parse("graph f(%x: f64[3]) {\n  return %x, %x\n}")
    x = np.ones(3)
    a, b = interpret(graph, x)
    a[0] = 7
    assert x[0] == 1 and b[0] == 1


def test_no_warnings() -> None:
    graph = parse("graph f(%x: f64[]) {\n  %0: f64[] = log(%x)\n  %1: f64[] = divide(%x, %x)\n  return %0, %1\n}")
    log, quotient = interpret(graph, np.array(0.0))
    assert log == -np.inf and np.isnan(quotient)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "takes 1 arrays, not 0"),
        ((np.ones(4),), r"argument 0 \(x\) of graph f is float64\[4\], but the parameter is f64\[3\]"),
        ((np.ones(3, np.float32),), r"is float32\[3\], but the parameter is f64\[3\]"),
        ((np.ones((1, 3)),), r"is float64\[1, 3\]"),
    ],
    ids=["count", "shape", "dtype", "rank"],
)
def test_arguments_are_checked(args, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        interpret(parse("graph f(%x: f64[3]) {\n  return %x\n}"), *args)


def test_eval_that_disagrees_with_infer(monkeypatch) -> None:
    class Wrong(OpDef):
        name = "test.wrong"

        def infer(self, *types):
            return types[0]

        def eval(self, x):
            return x.astype(np.float32)

    monkeypatch.setitem(OPS, "test.wrong", Wrong())
    graph = parse("graph f(%x: f64[3]) {\n  %0: f64[3] = test.wrong(%x)  # t.py:4\n  return %0\n}")
    with pytest.raises(IRError, match=r"test.wrong evaluates to float32\[3\] where its type is f64\[3\]"):
        interpret(graph, np.ones(3))


def test_symbolic_extents() -> None:
    graph = parse("graph f(%x: f64[$n,2], %y: f64[2*$n]) where $n in 0.. {\n  %0: f64[$n,2] = exp(%x)\n  return %0\n}")
    for n in (0, 1, 5):
        (out,) = interpret(graph, np.zeros((n, 2)), np.zeros(2 * n))
        np.testing.assert_array_equal(out, np.ones((n, 2)))
    with pytest.raises(ArgumentError, match="argument 1"):
        interpret(graph, np.zeros((3, 2)), np.zeros(5))


def test_regions_are_functions_that_see_the_values_around_them(monkeypatch) -> None:
    class Repeat(OpDef):
        name = "test.repeat"

        def infer(self, *types, regions, count):
            return types[0]

        def eval(self, x, *, regions, count):
            for _ in range(count):
                (x,) = regions[0](x)
            return x

    monkeypatch.setitem(OPS, "test.repeat", Repeat())
    graph = parse("""
graph f(%x: f64[], %s: f64[]) {
  %y: f64[] = test.repeat(%x) {count=3}
    (%c: f64[]) {
      %n: f64[] = add(%c, %s)
      yield %n
    }
  return %y
}""")
    assert interpret(graph, np.array(1.0), np.array(10.0)) == (31.0,)
