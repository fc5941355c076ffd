"""Reverse mode on graphs built by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jitgrad import ops  # noqa: F401  (fills the table of ops)
from jitgrad.autodiff.vjp import active_values, vjp_graph
from jitgrad.errors import DifferentiationError
from jitgrad.ir.core import Builder, Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.location import Location
from jitgrad.ir.types import TensorType, f64, i64
from jitgrad.ir.verify import verify


def scalar_graph(*names: str) -> tuple[Builder, list]:
    b = Builder("f")
    return b, [b.param(TensorType(f64), name) for name in names]


def names(graph: Graph) -> list[str]:
    return [op.name for op in graph.ops]


def test_the_gradient_follows_the_values() -> None:
    b, (x, y) = scalar_graph("x", "y")
    graph = b.build(b.emit("multiply", x, b.emit("sin", y)))
    joint = vjp_graph(graph, [0, 1])
    verify(joint)
    value, dx, dy = interpret(joint, np.array(2.0), np.array(0.5))
    assert value == pytest.approx(2 * np.sin(0.5))
    assert dx == pytest.approx(np.sin(0.5))
    assert dy == pytest.approx(2 * np.cos(0.5))


def test_without_value_only_cotangents_are_results() -> None:
    b, (x,) = scalar_graph("x")
    graph = b.build(b.emit("exp", x))
    (dx,) = interpret(vjp_graph(graph, [0], with_value=False), np.array(1.0))
    assert dx == pytest.approx(np.e)


def test_a_value_used_twice_gets_the_sum() -> None:
    b, (x,) = scalar_graph("x")
    graph = b.build(b.emit("multiply", b.emit("sin", x), b.emit("cos", x)))
    _, dx = interpret(vjp_graph(graph, [0]), np.array(0.3))
    assert dx == pytest.approx(np.cos(0.6))


def test_a_parameter_that_does_not_matter_gets_zeros() -> None:
    b = Builder("f")
    x = b.param(TensorType(f64), "x")
    b.param(TensorType(f64, (2, 3)), "y")
    joint = vjp_graph(b.build(b.emit("sin", x)), [1])
    _, dy = interpret(joint, np.array(1.0), np.ones((2, 3)))
    np.testing.assert_array_equal(dy, np.zeros((2, 3)))


def test_a_constant_result_has_gradient_zero() -> None:
    b = Builder("f")
    b.param(TensorType(f64, (3,)), "x")
    _, dx = interpret(vjp_graph(b.build(b.constant(7.0)), [0]), np.ones(3))
    np.testing.assert_array_equal(dx, np.zeros(3))


def test_a_result_that_is_the_parameter_has_gradient_one() -> None:
    b, (x,) = scalar_graph("x")
    _, dx = interpret(vjp_graph(b.build(x), [0]), np.array(4.0))
    assert dx == 1


def test_ops_off_the_path_are_not_differentiated() -> None:
    b, (x, y) = scalar_graph("x", "y")
    graph = b.build(b.emit("add", b.emit("sin", x), b.emit("tanh", y)))
    joint = vjp_graph(graph, [0])
    assert names(joint).count("tanh") == 1
    assert "square" not in names(joint)  # tanh' would need 1 - tanh**2
    assert len(joint.ops) == len(graph.ops) + 3  # the seed, cos, and their product


def test_active_values_end_at_integers() -> None:
    b, (x,) = scalar_graph("x")
    whole = b.emit("cast", x, dtype=i64)
    back = b.emit("cast", whole, dtype=f64)
    graph = b.build(back)
    assert active_values(graph, [0]) == {x}
    _, dx = interpret(vjp_graph(graph, [0]), np.array(2.5))
    assert dx == 0


def test_seeds_as_parameters() -> None:
    b = Builder("f")
    x = b.param(TensorType(f64, (3,)), "x")
    graph = b.build(b.emit("exp", x), b.emit("reduce_sum", x, axes=(0,)), b.emit("isnan", x))
    joint = vjp_graph(graph, [0], seed="param")
    assert [p.type.shape for p in joint.params] == [(3,), (3,), ()]
    point, g = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])
    *_, dx = interpret(joint, point, g, np.array(10.0))
    np.testing.assert_allclose(dx, g * np.exp(point) + 10)


def test_aux_results_take_no_cotangent() -> None:
    b, (x,) = scalar_graph("x")
    graph = b.build(b.emit("sin", x), b.emit("exp", x))
    *_, dx = interpret(vjp_graph(graph, [0]), np.array(0.5))
    assert dx == pytest.approx(np.cos(0.5))


def test_many_slices_share_one_buffer() -> None:
    b = Builder("f")
    x = b.param(TensorType(f64, (6,)), "x")
    total = None
    for k in range(6):
        piece = b.emit("slice", x, starts=(k,), sizes=(1,), steps=(1,))
        term = b.emit("reduce_sum", b.emit("multiply", piece, b.constant([k + 1.0])), axes=(0,))
        total = term if total is None else b.emit("add", total, term)
    assert total is not None
    joint = vjp_graph(b.build(total), [0])
    assert names(joint).count("add_slice") == 6
    assert "pad" not in names(joint)
    _, dx = interpret(joint, np.ones(6))
    np.testing.assert_array_equal(dx, np.arange(1.0, 7.0))


def test_slices_and_whole_uses_add_up() -> None:
    b = Builder("f")
    x = b.param(TensorType(f64, (4,)), "x")
    head = b.emit("reduce_sum", b.emit("slice", x, starts=(0,), sizes=(2,), steps=(1,)), axes=(0,))
    graph = b.build(b.emit("add", head, b.emit("reduce_sum", b.emit("multiply", x, x), axes=(0,))))
    point = np.array([1.0, 2.0, 3.0, 4.0])
    _, dx = interpret(vjp_graph(graph, [0]), point)
    np.testing.assert_allclose(dx, 2 * point + [1, 1, 0, 0])


def test_a_gather_accumulates_duplicates() -> None:
    b = Builder("f")
    x = b.param(TensorType(f64, (3,)), "x")
    index = b.constant(np.array([2, 0, 2]))
    picked = b.emit("gather", x, index, axes=(0,), at=0)
    _, dx = interpret(vjp_graph(b.build(b.emit("reduce_sum", picked, axes=(0,))), [0]), np.ones(3))
    np.testing.assert_array_equal(dx, [1, 0, 2])


@pytest.mark.parametrize("op", ["sqrt", "log"])
def test_elements_that_were_not_read_get_zero_where_the_partial_is_infinite(op: str) -> None:
    b = Builder("f")
    x = b.param(TensorType(f64, (3,)), "x")
    tail = b.emit("slice", b.emit(op, x), starts=(1,), sizes=(2,), steps=(1,))
    _, dx = interpret(vjp_graph(b.build(b.emit("reduce_sum", tail, axes=(0,))), [0]), np.array([0.0, 1.0, 4.0]))
    assert dx[0] == 0
    np.testing.assert_allclose(dx[1:], [0.5, 0.25] if op == "sqrt" else [1, 0.25])


def where_graph(unmasked: bool) -> Graph:
    """``sum(where(x > 0, sqrt(x), 0))``, plus ``sqrt(x[2])`` read without a mask."""
    b = Builder("f")
    x = b.param(TensorType(f64, (3,)), "x")
    root = b.emit("sqrt", x)
    zero = b.constant(0.0)
    total = b.emit("reduce_sum", b.emit("where", b.emit("greater", x, zero), root, zero), axes=(0,))
    if unmasked:
        last = b.emit("slice", root, starts=(2,), sizes=(1,), steps=(1,))
        total = b.emit("add", total, b.emit("reduce_sum", last, axes=(0,)))
    return b.build(total)


@pytest.mark.parametrize("unmasked", [False, True])
def test_the_branch_not_taken_gives_zero_and_not_nan(unmasked: bool) -> None:
    _, dx = interpret(vjp_graph(where_graph(unmasked), [0]), np.array([0.0, -1.0, 4.0]))
    np.testing.assert_array_equal(dx, [0, 0, 0.5 if unmasked else 0.25])


def test_two_masks_add_to_their_union() -> None:
    b = Builder("f")
    x = b.param(TensorType(f64, (3,)), "x")
    root, zero = b.emit("sqrt", x), b.constant(0.0)
    first = b.emit("where", b.constant(np.array([False, True, False])), root, zero)
    second = b.emit("where", b.constant(np.array([False, False, True])), root, zero)
    graph = b.build(b.emit("reduce_sum", b.emit("add", first, second), axes=(0,)))
    _, dx = interpret(vjp_graph(graph, [0]), np.array([0.0, 1.0, 4.0]))
    np.testing.assert_allclose(dx, [0, 0.5, 0.25])


def test_gradient_ops_carry_the_users_line() -> None:
    b, (x,) = scalar_graph("x")
    with b.at(Location("user.py", 7, "f")):
        y = b.emit("sin", x)
    joint = vjp_graph(b.build(y), [0])
    assert [op.loc.line for op in joint.ops if op.name == "cos" and op.loc] == [7]


def test_cotangents_are_named_after_their_values() -> None:
    b, (x,) = scalar_graph("x")
    joint = vjp_graph(b.build(b.emit("sin", x)), [0])
    assert joint.results[-1].name == "d_x"


def test_second_order_by_differentiating_the_gradient_graph() -> None:
    b, (x,) = scalar_graph("x")
    first = vjp_graph(b.build(b.emit("sin", x)), [0], with_value=False)
    second = vjp_graph(first, [0], with_value=False)
    verify(second)
    (found,) = interpret(second, np.array(0.7))
    assert found == pytest.approx(-np.sin(0.7))


def test_an_integer_parameter_is_refused() -> None:
    b = Builder("f")
    n = b.param(TensorType(i64), "n")
    x = b.param(TensorType(f64), "x")
    graph = b.build(b.emit("multiply", x, b.emit("cast", n, dtype=f64)))
    with pytest.raises(DifferentiationError, match="parameter 0"):
        vjp_graph(graph, [0])


def test_a_vector_result_needs_a_seed() -> None:
    b = Builder("f")
    x = b.param(TensorType(f64, (2,)), "x")
    with pytest.raises(DifferentiationError, match="needs a scalar"):
        vjp_graph(b.build(b.emit("sin", x)), [0])


def test_an_integer_result_is_refused() -> None:
    b, (x,) = scalar_graph("x")
    with pytest.raises(DifferentiationError, match="Only floats"):
        vjp_graph(b.build(b.emit("isnan", x)), [0])
