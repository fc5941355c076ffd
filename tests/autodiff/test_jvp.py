"""Forward mode on graphs built by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jitgrad import ops  # noqa: F401  (fills the table of ops)
from jitgrad.autodiff.jvp import jvp_graph
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.errors import DifferentiationError
from jitgrad.ir.core import Builder, Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, f64, i64
from jitgrad.ir.verify import verify


def example() -> Graph:
    """Two results: ``exp(x) * y`` and ``sum(where(x > y, x, y))``."""
    b = Builder("f")
    x, y = (b.param(TensorType(f64, (3,)), name) for name in "xy")
    chosen = b.emit("where", b.emit("greater", x, y), x, y)
    return b.build(b.emit("multiply", b.emit("exp", x), y), b.emit("reduce_sum", chosen, axes=(0,)))


POINT = (np.array([0.5, -1.0, 2.0]), np.array([1.0, -2.0, 0.5]))
DIRECTION = (np.array([1.0, 2.0, -1.0]), np.array([0.5, -3.0, 2.0]))


def test_values_then_tangents() -> None:
    graph = jvp_graph(example(), [0, 1])
    verify(graph)
    (x, y), (s, t) = POINT, DIRECTION
    a, b, da, db = interpret(graph, *POINT, *DIRECTION)
    np.testing.assert_allclose(a, np.exp(x) * y)
    np.testing.assert_allclose(da, np.exp(x) * (y * s + t))
    assert b == np.sum(np.maximum(x, y))
    assert db == np.sum(np.where(x > y, s, t))


def test_one_parameter_only() -> None:
    x, y = POINT
    *_, da, db = interpret(jvp_graph(example(), [1]), x, y, DIRECTION[1])
    np.testing.assert_allclose(da, np.exp(x) * DIRECTION[1])
    assert db == np.sum(np.where(x > y, 0, DIRECTION[1]))


def test_forward_and_reverse_mode_are_transposes() -> None:
    graph = example()
    cotangents = (np.array([1.0, -1.0, 0.5]), np.array(2.0))
    *_, da, db = interpret(jvp_graph(graph, [0, 1]), *POINT, *DIRECTION)
    *_, dx, dy = interpret(vjp_graph(graph, [0, 1], seed="param"), *POINT, *cotangents)
    forward = np.sum(da * cotangents[0]) + db * cotangents[1]
    assert forward == pytest.approx(np.sum(dx * DIRECTION[0]) + np.sum(dy * DIRECTION[1]))


def test_results_that_do_not_depend_have_zero_tangents() -> None:
    b = Builder("f")
    x = b.param(TensorType(f64, (2,)), "x")
    graph = b.build(b.constant([1.0, 2.0]), b.emit("isnan", x))
    *_, first, second = interpret(jvp_graph(graph, [0]), np.ones(2), np.ones(2))
    np.testing.assert_array_equal(first, [0, 0])
    assert second.dtype == np.bool_ and not second.any()


def test_a_tangent_of_infinity_behind_a_select_does_not_spread() -> None:
    b = Builder("f")
    x = b.param(TensorType(f64, (2,)), "x")
    zero = b.constant(0.0)
    graph = b.build(b.emit("where", b.emit("greater", x, zero), b.emit("sqrt", x), zero))
    *_, t = interpret(jvp_graph(graph, [0]), np.array([0.0, 4.0]), np.ones(2))
    np.testing.assert_array_equal(t, [0, 0.25])


def test_tangents_of_ops_with_several_results() -> None:
    b = Builder("f")
    a = b.param(TensorType(f64, (2, 2)), "a")
    op = b.emit_op("slogdet", [a], {})
    matrix, direction = np.array([[2.0, 1.0], [0.5, 3.0]]), np.array([[1.0, 0.0], [2.0, -1.0]])
    *_, t = interpret(jvp_graph(b.build(op.results[1]), [0]), matrix, direction)
    assert t == pytest.approx(np.trace(np.linalg.solve(matrix, direction)))


def test_an_integer_parameter_is_refused() -> None:
    b = Builder("f")
    n = b.param(TensorType(i64), "n")
    with pytest.raises(DifferentiationError, match="Only floats"):
        jvp_graph(b.build(n), [0])
