"""Elementwise ops where they have no derivative, masks, corner cases, errors. Ordinary points are in test_table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from jitgrad import testing
from jitgrad.autodiff.jvp import jvp_graph
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.codegen import python
from jitgrad.errors import DifferentiationError, DtypeError, ShapeError
from jitgrad.ir.core import OPS, Builder, Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, f32, f64, type_of
from jitgrad.loopir.lower import lower
from jitgrad.ops.op import Sample, Var, apply

inf, nan = np.inf, np.nan


def build(fun: Callable[..., Var], *args: np.ndarray) -> Graph:
    """The graph of a rule-like function of Vars."""
    b = Builder("f")
    params = [Var(b, b.param(type_of(a), f"x{k}")) for k, a in enumerate(args)]
    return b.build(fun(*params).value)


def gradients(fun: Callable[..., Var], *args: Any) -> list[np.ndarray]:
    """Derivatives of an elementwise function of equal-shaped operands: reverse mode, checked against forward mode."""
    arrays = [np.asarray(a, float) for a in args]
    graph = build(fun, *arrays)
    wrt = list(range(len(arrays)))
    seed = np.ones_like(interpret(graph, *arrays)[0])
    reverse = interpret(vjp_graph(graph, wrt, with_value=False, seed="param"), *arrays, seed)
    for k in wrt:
        (forward,) = interpret(jvp_graph(graph, [k], with_value=False), *arrays, np.ones_like(arrays[k]))
        np.testing.assert_allclose(forward, reverse[k], rtol=1e-12)
    return list(reverse)


def second(fun: Callable[..., Var], *args: Any, wrt: tuple[int, int]) -> np.ndarray:
    """A second derivative of an elementwise function: reverse mode over reverse mode, checked against forward."""
    arrays = [np.asarray(a, float) for a in args]
    graph = build(fun, *arrays)
    first = vjp_graph(graph, [wrt[0]], with_value=False, seed="param")
    ones = np.ones_like(interpret(graph, *arrays)[0])
    (reverse,) = interpret(vjp_graph(first, [wrt[1]], with_value=False, seed="param"), *arrays, ones, ones)
    (forward,) = interpret(jvp_graph(first, [wrt[1]], with_value=False), *arrays, ones, ones)
    np.testing.assert_allclose(forward, reverse, rtol=1e-12)
    return reverse


def op(name: str) -> Callable[..., Var]:
    return lambda *xs: apply(name, *xs)


KINKS = [
    ("absolute", [[0.0, -2.0, 3.0]], [[0.0, -1.0, 1.0]]),
    ("sign", [[0.0, -2.0, 3.0]], [[0.0, 0.0, 0.0]]),
    ("floor", [[1.0, 1.5]], [[0.0, 0.0]]),
    ("ceil", [[1.0, 1.5]], [[0.0, 0.0]]),
    ("rint", [[1.5, 1.2]], [[0.0, 0.0]]),
    ("trunc", [[1.0, -1.5]], [[0.0, 0.0]]),
    ("floor_divide", [[4.0, 5.0], [2.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]),
    ("maximum", [[1.0, 2.0, 0.0], [1.0, 1.0, 3.0]], [[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]]),
    ("minimum", [[1.0, 2.0, 0.0], [1.0, 1.0, 3.0]], [[0.5, 0.0, 1.0], [0.5, 1.0, 0.0]]),
    ("fmax", [[1.0, 2.0, 0.0], [1.0, 1.0, 3.0]], [[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]]),
    ("fmin", [[1.0, 2.0, 0.0], [1.0, 1.0, 3.0]], [[0.5, 0.0, 1.0], [0.5, 1.0, 0.0]]),
    ("maximum", [[inf, -inf, inf], [inf, -inf, 1.0]], [[0.5, 0.5, 1.0], [0.5, 0.5, 0.0]]),
    ("maximum", [[nan, 1.0], [1.0, nan]], [[0.5, 0.5], [0.5, 0.5]]),
    ("minimum", [[nan, 1.0], [1.0, nan]], [[0.5, 0.5], [0.5, 0.5]]),
    ("fmax", [[nan, 1.0, nan], [1.0, nan, nan]], [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
    ("fmin", [[nan, 1.0, nan], [1.0, nan, nan]], [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
    ("hypot", [[0.0, 0.0, 3.0], [0.0, 2.0, 4.0]], [[0.0, 0.0, 0.6], [0.0, 1.0, 0.8]]),
    ("safe_sqrt", [[0.0, 4.0]], [[0.0, 0.25]]),
    ("sqrt", [[0.0, 4.0]], [[inf, 0.25]]),
    ("copysign", [[0.0, 2.0, -2.0], [-1.0, -1.0, 1.0]], [[0.0, -1.0, -1.0], [0.0, 0.0, 0.0]]),
    ("heaviside", [[0.0, 2.0, -2.0], [0.3, 0.3, 0.3]], [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]),
    ("remainder", [[5.0, -5.0], [3.0, 3.0]], [[1.0, 1.0], [-1.0, 2.0]]),
    ("fmod", [[5.0, -5.0], [3.0, 3.0]], [[1.0, 1.0], [-1.0, 1.0]]),
    ("logaddexp", [[-inf, inf, -inf, inf], [-inf, inf, 1.0, 1.0]], [[0.5, 0.5, 0.0, 1.0], [0.5, 0.5, 1.0, 0.0]]),
    ("logaddexp2", [[-inf, inf, -inf, inf], [-inf, inf, 1.0, 1.0]], [[0.5, 0.5, 0.0, 1.0], [0.5, 0.5, 1.0, 0.0]]),
    ("xlogy", [[0.0, 0.0, 2.0], [0.0, np.e, 1.0]], [[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]]),
    ("xlog1py", [[0.0, 0.0, 2.0], [-1.0, np.e - 1, 0.0]], [[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]]),
    ("softplus", [[-1000.0, 0.0, 1000.0]], [[0.0, 0.5, 1.0]]),
    ("log_expit", [[-1000.0, 0.0, 1000.0]], [[1.0, 0.5, 0.0]]),
    ("expit", [[-1000.0, 0.0, 1000.0]], [[0.0, 0.25, 0.0]]),
    ("tanh", [[-1000.0, 0.0, 1000.0]], [[0.0, 1.0, 0.0]]),
    # x ** y: (0, 0), (0, 1), (0, 2), (-2, 3), (2, 0), (-2, 0); d/dy of a negative base is NaN
    (
        "power",
        [[0.0, 0.0, 0.0, -2.0, 2.0, -2.0], [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]],
        [[0.0, 1.0, 0.0, 12.0, 0.0, 0.0], [0.0, 0.0, 0.0, nan, np.log(2.0), nan]],
    ),
    ("power", [[0.0, 0.0], [0.5, -1.0]], [[inf, -inf], [0.0, -inf]]),
]


@pytest.mark.parametrize(("name", "args", "expected"), KINKS, ids=[f"{k[0]}-{n}" for n, k in enumerate(KINKS)])
def test_sub_derivatives(name: str, args: list[Any], expected: list[Any]) -> None:
    for found, wanted in zip(gradients(op(name), *args), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-14)


def test_relu_at_zero_is_one_half() -> None:
    (g,) = gradients(lambda x: apply("maximum", x, 0.0), [0.0, -1.0, 2.0])
    np.testing.assert_array_equal(g, [0.5, 0.0, 1.0])


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0, 0.5, -1.0, -2.5])
def test_power_with_a_constant_exponent(exponent: float) -> None:
    x = np.array([0.5, 1.5])
    (g,) = gradients(lambda x: apply("power", x, exponent), x)
    np.testing.assert_allclose(g, exponent * x ** (exponent - 1), rtol=1e-14)
    found = second(lambda x: apply("power", x, exponent), x, wrt=(0, 0))
    np.testing.assert_allclose(found, exponent * (exponent - 1) * x ** (exponent - 2), rtol=1e-14)


def test_integer_powers_at_zero_and_below() -> None:
    for n, x, wanted in ((2.0, 0.0, 0.0), (3.0, -2.0, 12.0), (1.0, 0.0, 1.0), (0.0, 0.0, 0.0)):
        (g,) = gradients(lambda x, n=n: apply("power", x, n), [x])
        np.testing.assert_allclose(g, [wanted])


def test_mixed_second_derivatives_are_not_lost_at_guarded_points() -> None:
    # d2/dx dy x**y at y = 0 is 1/x; the guard of d/dx at y = 0 must leave it alone.
    x, y = [2.0, 0.5], [0.0, 0.0]
    for wrt in ((0, 1), (1, 0)):
        np.testing.assert_allclose(second(op("power"), x, y, wrt=wrt), [0.5, 2.0])
    # d2/dx dy x log(y) is 1/y, also at x = 0.
    for wrt in ((0, 1), (1, 0)):
        np.testing.assert_allclose(second(op("xlogy"), [0.0], [4.0], wrt=wrt), [0.25])
        np.testing.assert_allclose(second(op("xlog1py"), [0.0], [3.0], wrt=wrt), [0.25])
    # Two equal finite operands are no corner of logaddexp.
    np.testing.assert_allclose(second(op("logaddexp"), [1.0], [1.0], wrt=(0, 0)), [0.25])
    np.testing.assert_allclose(second(op("logaddexp"), [1.0], [1.0], wrt=(0, 1)), [-0.25])


def test_second_derivatives_at_guarded_points_are_finite() -> None:
    for name, args in (("safe_sqrt", ([0.0],)), ("hypot", ([0.0], [0.0])), ("power", ([0.0], [0.0]))):
        for wrt in {(0, 0), (0, len(args) - 1)}:
            assert np.isfinite(second(op(name), *args, wrt=wrt)).all(), (name, wrt)
    np.testing.assert_allclose(second(op("absolute"), [0.0, 1.0], wrt=(0, 0)), [0.0, 0.0])


MASKED = {
    "sqrt": lambda x: apply("sqrt", x),
    "log": lambda x: apply("log", x),
    "reciprocal": lambda x: apply("reciprocal", x),
    "divide": lambda x: 1.0 / x,
    "x log x": lambda x: x * apply("log", x),
    "a product after": lambda x: apply("log", x) * 3.0 + apply("sqrt", x),
    "tanh of log": lambda x: apply("tanh", apply("log", x)),
    "power": lambda x: apply("power", x, -0.5),
    "arcsin": lambda x: apply("arcsin", x + 1.0),
}


@pytest.mark.parametrize("name", list(MASKED))
@pytest.mark.parametrize("also_used", [False, True])
def test_the_branch_not_taken_never_makes_nan(name: str, also_used: bool) -> None:
    x = np.array([0.0, -1.0, nan, 0.25])
    inner = MASKED[name]

    def fun(x: Var) -> Var:
        if name == "arcsin":
            # The other way round: taken below zero, where x + 1 is in the domain.
            chosen = apply("where", x < 0.0, inner(x), 0.0)
        else:
            chosen = apply("where", x > 0.0, inner(x), 0.0)
        return chosen + x if also_used else chosen

    (g,) = gradients(fun, x)
    taken = x < 0 if name == "arcsin" else x > 0
    np.testing.assert_array_equal(g[~taken], float(also_used))
    if name != "arcsin":
        assert np.isfinite(g[taken]).all()
        assert np.isfinite(second(fun, x, wrt=(0, 0))).all()


def test_masks_pass_through_broadcasting() -> None:
    # One x for a row: some of the row's elements are masked, and the rest must survive.
    b = Builder("f")
    x = Var(b, b.param(TensorType(f64, (2, 1)), "x"))
    keep = Var(b, b.constant(np.array([[True, False, True], [False, False, False]])))
    graph = b.build(apply("where", keep, apply("sqrt", x) * np.float64(2.0), 0.0).value)
    (g,) = interpret(vjp_graph(graph, [0], with_value=False, seed="param"), np.array([[4.0], [0.0]]), np.ones((2, 3)))
    np.testing.assert_allclose(g, [[1.0], [0.0]])


def test_a_finite_constant_factor_needs_no_select() -> None:
    def count(factor: Any) -> int:
        b = Builder("f")
        x = Var(b, b.param(TensorType(f64, (3,)), "x"))
        y = x * factor if isinstance(factor, float) else x * Var(b, b.constant(factor))
        graph = b.build(apply("where", x > 0.0, y, 0.0).value)
        return sum(o.name == "where" for o in vjp_graph(graph, [0], with_value=False, seed="param").ops)

    assert count(2.0) == count(np.array([1.0, 2.0, 3.0])) == count(np.array([1.0, inf, 3.0])) - 1


def test_cotangents_of_where_are_selected_not_multiplied() -> None:
    graph = build(lambda x, y: apply("where", x > y, x, y), np.zeros(2), np.zeros(2))
    x, y, g = np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([inf, nan])
    gx, gy = interpret(vjp_graph(graph, [0, 1], with_value=False, seed="param"), x, y, g)
    np.testing.assert_array_equal(gx, [inf, 0.0])
    np.testing.assert_array_equal(gy, [0.0, nan])


def test_cast_gives_the_cotangent_the_operands_dtype() -> None:
    graph = build(lambda x: apply("cast", x, dtype=f32), np.zeros(3))
    (g,) = interpret(vjp_graph(graph, [0], with_value=False, seed="param"), np.ones(3), np.full(3, 2.0, np.float32))
    assert g.dtype == np.float64
    np.testing.assert_array_equal(g, 2.0)


def test_integers_and_stop_gradient_cut_the_derivative() -> None:
    (g,) = gradients(lambda x: x * apply("cast", apply("cast", x, dtype=np.dtype(np.int64)), dtype=f64), [2.5])
    np.testing.assert_array_equal(g, [2.0])
    (g,) = gradients(lambda x: x * apply("stop_gradient", x), [2.5])
    np.testing.assert_array_equal(g, [2.5])


def _by_loops(name: str, *args: np.ndarray) -> np.ndarray:
    sample = Sample(tuple(args))
    (out,) = python.run(lower(testing.op_graph(name, sample)), *args)
    return out


POLYGAMMA = {"digamma": 0, "trigamma": 1, "polygamma2": 2, "polygamma3": 3, "polygamma4": 4}


@pytest.mark.parametrize("name", list(POLYGAMMA))
def test_polygamma_against_mpmath(name: str) -> None:
    x = np.array([-20.3, -3.7, -1.5, -0.5, -0.01, 0.01, 0.5, 1.0, 1.4616, 3.3, 9.99, 10.0, 15.0, 1e3, 1e8])
    expected = np.array([float(mpmath.polygamma(POLYGAMMA[name], mpmath.mpf(float(v)))) for v in x])
    np.testing.assert_allclose(_by_loops(name, x), expected, rtol=3e-12, atol=1e-14)
    single = _by_loops(name, x.astype(np.float32))
    assert single.dtype == np.float32
    middle = (np.abs(x) > 0.1) & (np.abs(x) < 5.0) & (x > 0)
    np.testing.assert_allclose(single[middle], expected[middle], rtol=1e-5, atol=1e-5)


def test_polygamma_at_its_ends() -> None:
    x = np.array([0.0, -0.0, -1.0, inf, -inf, nan])
    np.testing.assert_array_equal(_by_loops("digamma", x), [-inf, inf, nan, inf, nan, nan])
    np.testing.assert_array_equal(_by_loops("trigamma", x), [inf, inf, inf, 0.0, nan, nan])


def test_the_first_derivative_of_polygamma3() -> None:
    sample = Sample((np.array([0.7, 2.0, 11.0]),))
    testing.check_op("polygamma3", sample, order=1, compiled=False)
    with pytest.raises(DifferentiationError, match="polygamma4"):
        testing.check_op("polygamma4", sample, order=1, compiled=False)


@pytest.mark.parametrize("name", ["add", "multiply", "maximum", "minimum", "fmax", "fmin"])
def test_arithmetic_on_bools_is_logic(name: str) -> None:
    flags = np.array([False, True])
    found = _by_loops(name, flags[:, None], flags)
    np.testing.assert_array_equal(found, OPS[name].numpy(flags[:, None], flags))  # pyright: ignore


class TestErrors:
    def test_mixed_dtypes(self) -> None:
        with pytest.raises(DtypeError, match="add of float64 and float32"):
            OPS["add"].infer(TensorType(f64), TensorType(f32))

    def test_wrong_arity(self) -> None:
        with pytest.raises(DtypeError, match="takes 2 operands, not 1"):
            OPS["add"].infer(TensorType(f64))
        with pytest.raises(DtypeError, match="takes 3 operands"):
            OPS["where"].infer(TensorType(f64))

    def test_a_dtype_that_is_not_taken(self) -> None:
        with pytest.raises(DtypeError, match="sqrt does not take i64"):
            OPS["sqrt"].infer(TensorType(np.dtype(np.int64)))
        with pytest.raises(DtypeError, match="subtract does not take bool"):
            OPS["subtract"].infer(TensorType(np.dtype(bool)), TensorType(np.dtype(bool)))

    def test_shapes_that_do_not_broadcast(self) -> None:
        with pytest.raises(ShapeError, match="3 and 4 differ"):
            OPS["add"].infer(TensorType(f64, (3,)), TensorType(f64, (4,)))

    def test_where(self) -> None:
        flag = TensorType(np.dtype(bool), (2,))
        with pytest.raises(DtypeError, match="must be bool"):
            OPS["where"].infer(TensorType(f64), TensorType(f64), TensorType(f64))
        with pytest.raises(DtypeError, match="one dtype"):
            OPS["where"].infer(flag, TensorType(f64), TensorType(f32))

    def test_cast_to_an_unsupported_dtype(self) -> None:
        with pytest.raises(DtypeError, match="complex128 is not supported"):
            OPS["cast"].infer(TensorType(f64), dtype=np.dtype(complex))
