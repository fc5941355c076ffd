"""The split of joint graphs: the halves agree with the whole, and the cut is the smallest one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from jitgrad import ops  # noqa: F401  (fills the table of ops)
from jitgrad.autodiff.residuals import Split, split
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.errors import IRError
from jitgrad.ir.core import Builder, Graph, Value
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, f64
from jitgrad.ir.verify import verify
from jitgrad.passes.pipeline import optimise


def graph_of(*shapes: tuple[int, ...], body: Callable[..., Value]) -> Graph:
    b = Builder("f")
    return b.build(body(b, *(b.param(TensorType(f64, s), f"x{k}") for k, s in enumerate(shapes))))


def chain(b: Builder, x: Value) -> Value:
    return b.emit("tanh", b.emit("exp", b.emit("sin", x)))


def product(b: Builder, x: Value, y: Value) -> Value:
    return b.emit("tanh", b.emit("einsum", x, y, spec="ij,jk->ik"))


def wide(b: Builder, x: Value) -> Value:
    """A small vector, blown up to a matrix and reduced again."""
    grown = b.emit("broadcast_to", x, shape=(50, 4))
    return b.emit("reduce_sum", b.emit("exp", b.emit("sin", grown)), axes=(0, 1))


CASES = {
    "chain": (graph_of((5,), body=chain), [(5,)]),
    "product": (graph_of((3, 4), (4, 2), body=product), [(3, 4), (4, 2)]),
    "wide": (graph_of((4,), body=wide), [(4,)]),
}


def split_of(graph: Graph) -> tuple[Graph, Split]:
    joint = vjp_graph(graph, range(len(graph.params)), seed="param")
    return joint, split(optimise(joint), 1, 1)


@pytest.mark.parametrize("case", CASES)
def test_the_halves_give_what_the_whole_gives(case: str) -> None:
    graph, shapes = CASES[case]
    joint, halves = split_of(graph)
    verify(halves.forward)
    verify(halves.backward)
    rng = np.random.default_rng(0)
    args = [rng.normal(size=s) for s in shapes]
    seed = rng.normal(size=graph.results[0].type.shape)
    value, *saved = interpret(halves.forward, *args)
    gradients = interpret(halves.backward, *saved, seed)
    expected = interpret(joint, *args, seed)
    np.testing.assert_allclose(value, expected[0])
    for found, right in zip(gradients, expected[1:], strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-12)


def test_a_chain_saves_one_array_and_recomputes_the_rest() -> None:
    _, halves = split_of(CASES["chain"][0])
    assert halves.n_residuals == 1
    assert halves.recomputed


def test_products_are_not_computed_twice() -> None:
    _, halves = split_of(CASES["product"][0])
    assert all(op.name != "einsum" for op in halves.recomputed)
    saved = [p.type.shape for p in halves.backward.params[: halves.n_residuals]]
    assert sorted(saved) == [(3, 2), (3, 4), (4, 2)]


def test_the_small_side_of_a_broadcast_is_saved() -> None:
    _, halves = split_of(CASES["wide"][0])
    assert [p.type.shape for p in halves.backward.params[: halves.n_residuals]] == [(4,)]


def test_a_linear_function_saves_nothing() -> None:
    graph = graph_of((3,), body=lambda b, x: b.emit("multiply", x, b.constant([1.0, 2.0, 3.0])))
    _, halves = split_of(graph)
    assert halves.n_residuals == 0
    (dx,) = interpret(halves.backward, np.ones(3))
    np.testing.assert_array_equal(dx, [1, 2, 3])


def test_a_gradient_of_zeros_needs_no_residual() -> None:
    graph = graph_of((3,), body=lambda b, x: b.emit("floor", x))
    _, halves = split_of(graph)
    assert halves.n_residuals == 0
    (dx,) = interpret(halves.backward, np.ones(3))
    np.testing.assert_array_equal(dx, np.zeros(3))


def test_a_long_chain_does_not_overflow_the_stack() -> None:
    def long(b: Builder, x: Value) -> Value:
        for _ in range(1500):
            x = b.emit("sin", x)
        return x

    joint = vjp_graph(graph_of((), body=long), [0], seed="param")
    assert split(joint, 1, 1).n_residuals == 1


def test_a_result_that_depends_on_a_seed_is_refused() -> None:
    b = Builder("f")
    x, g = b.param(TensorType(f64), "x"), b.param(TensorType(f64), "g")
    with pytest.raises(IRError, match="not a joint graph"):
        split(b.build(b.emit("multiply", x, g)), 1, 1)
