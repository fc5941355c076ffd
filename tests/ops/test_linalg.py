"""Linear algebra: values in every rendering, derivatives to second order, singular and empty matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from native_checks import check_derivatives, check_graph_derivatives, check_value, graph_of, run_everywhere

from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.codegen import python
from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.core import OPS, Builder, Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, f32, f64, i64, type_of
from jitgrad.loopir.lower import lower
from jitgrad.loopir.nodes import LibCall
from jitgrad.ops import linalg
from jitgrad.ops.op import Sample
from jitgrad.runtime.compiled import Executable

NAMES = ["cholesky", "solve", "triangular_solve", "inv", "adjugate", "det", "slogdet"]
SAMPLES = [(name, s) for name in NAMES for s in OPS[name].samples(np.random.default_rng(3))]  # pyright: ignore


def _id(value: Any) -> str:
    if isinstance(value, Sample):
        return "-".join(str(a.shape) for a in value.args) + "".join(f"-{k}" for k, v in value.attrs.items() if v)
    return str(value)


@pytest.mark.parametrize(("name", "sample"), SAMPLES, ids=_id)
def test_values(name: str, sample: Sample) -> None:
    check_value(name, sample)


@pytest.mark.parametrize(("name", "sample"), SAMPLES, ids=_id)
def test_values_in_float32(name: str, sample: Sample) -> None:
    args = tuple(a.astype(np.float32) for a in sample.args)
    check_value(name, Sample(args, sample.attrs), tol=2e-4)


@pytest.mark.parametrize(("name", "sample"), [c for c in SAMPLES if c[1].grad], ids=_id)
def test_derivatives(name: str, sample: Sample) -> None:
    singular = name == "det" and not np.all(np.abs(np.linalg.det(sample.args[0])) > 1e-6)
    check_derivatives(name, sample, order=2)
    if singular:
        check_derivatives(name, sample, order=3)


@pytest.mark.parametrize("name", ["solve", "det", "slogdet", "inv", "triangular_solve"])
def test_native_derivatives(name: str) -> None:
    sample = next(s for n, s in SAMPLES if n == name and s.args[0].ndim == 3)
    check_graph_derivatives(graph_of(name, sample.args, sample.attrs), list(sample.args), 1)


def symmetric_cholesky(shape: tuple[int, ...]) -> Graph:
    """``cholesky((a + a^T) / 2)``: here every entry may be moved alone."""
    b = Builder("g")
    a = b.param(TensorType(f64, shape), "a")
    n = len(shape)
    t = b.emit("transpose", a, perm=(*range(n - 2), n - 1, n - 2))
    return b.build(b.emit("cholesky", b.emit("multiply", b.emit("add", a, t), b.constant(0.5))))


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4), (1, 1)])
def test_cholesky_derivatives(shape: tuple[int, ...]) -> None:
    a = np.random.default_rng(4).standard_normal(shape)
    a = a @ np.swapaxes(a, -1, -2) + np.eye(shape[-1])
    check_graph_derivatives(symmetric_cholesky(shape), [a], 2)


def test_cholesky_gradient_is_symmetric_and_ignores_the_upper_cotangent() -> None:
    rng = np.random.default_rng(5)
    a = rng.standard_normal((4, 4))
    a = a @ a.T + np.eye(4)
    graph = vjp_graph(graph_of("cholesky", (a,), {}), [0], with_value=False, seed="param")
    g = rng.standard_normal((4, 4))
    (full,) = interpret(graph, a, g)
    (lower_only,) = interpret(graph, a, np.tril(g))
    np.testing.assert_allclose(full, full.T, rtol=1e-12)
    np.testing.assert_allclose(full, lower_only, rtol=1e-12)


def test_cholesky_reads_the_lower_triangle_only() -> None:
    a = np.array([[4.0, np.nan], [2.0, 5.0]])
    (factor,) = run_everywhere(graph_of("cholesky", (a,), {}), a)
    np.testing.assert_allclose(factor, [[2.0, 0.0], [1.0, 2.0]])


@pytest.mark.parametrize("lower_", [False, True])
@pytest.mark.parametrize("trans", [False, True])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("columns", [1, 3])
def test_triangular_solve_is_scipys(lower_: bool, trans: bool, unit: bool, columns: int) -> None:
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((5, 5)) + 3 * np.eye(5), rng.standard_normal((5, columns))
    attrs = {"lower": lower_, "trans": trans, "unit": unit}
    (x,) = run_everywhere(graph_of("triangular_solve", (a, b), attrs), a, b)
    np.testing.assert_allclose(
        x, scipy.linalg.solve_triangular(a, b, trans=int(trans), lower=lower_, unit_diagonal=unit), rtol=1e-12
    )


def fails(name: str, *args: np.ndarray, **attrs: Any) -> None:
    """The op raises LinAlgError in the interpreter and in both renderings."""
    graph = graph_of(name, args, attrs)
    for run in (lambda: interpret(graph, *args), lambda: python.run(lower(graph), *args)):
        with pytest.raises(np.linalg.LinAlgError):
            run()
    with pytest.raises(np.linalg.LinAlgError):
        Executable(lower(graph))(*args)


def test_singular_and_indefinite_matrices_raise() -> None:
    good = np.eye(3)
    singular = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    stack = np.stack([good, singular, good])
    for trans in (False, True):
        fails("solve", singular, np.ones((3, 1)), trans=trans)
        fails("solve", stack, np.ones((3, 3, 2)), trans=trans)
    fails("inv", singular)
    fails("inv", stack)
    fails("triangular_solve", np.diag([1.0, 0.0]), np.ones((2, 1)), lower=True, trans=False, unit=False)
    fails("cholesky", -good)
    fails("cholesky", np.stack([good, -good]))


def test_determinants_of_singular_matrices() -> None:
    singular = np.zeros((2, 4, 4))
    singular[1] = np.eye(4)
    singular[1, 2, 2] = 0.0
    np.testing.assert_array_equal(run_everywhere(graph_of("det", (singular,), {}), singular)[0], [0, 0])
    sign, logdet = run_everywhere(graph_of("slogdet", (singular,), {}), singular)
    np.testing.assert_array_equal(sign, [0, 0])
    np.testing.assert_array_equal(logdet, [-np.inf, -np.inf])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("drop", [1, 2])
def test_gradient_of_det_at_singular_matrices(n: int, drop: int) -> None:
    """Against cofactors by definition, at rank n - 1 and n - 2."""
    rng = np.random.default_rng(n)
    rank = max(n - drop, 0)
    a = rng.integers(-3, 4, (n, rank)).astype(float) @ rng.integers(-3, 4, (rank, n)).astype(float)
    if n > 3:
        a[:, 1] = a[:, 0]  # an exactly zero pivot, in the middle
    minors = [[np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(n)] for i in range(n)]
    cofactors = np.array(minors) * (-1.0) ** np.add.outer(np.arange(n), np.arange(n))
    graph = vjp_graph(graph_of("det", (a,), {}), [0], with_value=False)
    scale = max(np.abs(a).max(), 1.0) ** (n - 1) * n
    for run in (interpret, lambda g, x: python.run(lower(g), x), lambda g, x: Executable(lower(g))(x)):
        np.testing.assert_allclose(run(graph, a)[0], cofactors, rtol=1e-9, atol=1e-12 * scale)


def test_gradient_of_slogdet_at_a_singular_matrix_raises() -> None:
    b = Builder("g")
    a = b.param(TensorType(f64, (2, 2)), "a")
    op = b.emit_op("slogdet", [a], {})
    graph = vjp_graph(b.build(op.results[1]), [0], with_value=False)
    with pytest.raises(np.linalg.LinAlgError):
        Executable(lower(graph))(np.zeros((2, 2)))


def test_the_factors_are_computed_once() -> None:
    """solve, its gradient and the determinant of one matrix share one LU factorization."""
    b = Builder("g")
    a, y = b.param(TensorType(f64, (9, 9)), "a"), b.param(TensorType(f64, (9, 1)), "y")
    x = b.emit("solve", a, y)
    total = b.emit("add", b.emit("reduce_sum", x, axes=(0, 1)), b.emit_op("slogdet", [a], {}).results[1])
    graph = vjp_graph(b.build(total), [0, 1])
    calls = [s.fn for s in lower(graph).body if isinstance(s, LibCall)]
    assert calls.count("getrf") == 1 and calls.count("getrs") == 2 and calls.count("getri") == 1
    rng = np.random.default_rng(7)
    run_everywhere(graph, rng.standard_normal((9, 9)), rng.standard_normal((9, 1)), tol=1e-11)


@pytest.mark.parametrize("n", [2, 33, 150])
def test_larger_orders(n: int) -> None:
    rng = np.random.default_rng(8)
    a = linalg.matrices(rng, n, n) + np.eye(n) * np.sqrt(n)
    check_value("solve", Sample((a, rng.standard_normal((n, 7)))), tol=1e-10)
    check_value("solve", Sample((a, rng.standard_normal((n, 1))), {"trans": True}), tol=1e-10)
    check_value("inv", Sample((a,)), tol=1e-10)
    check_value("slogdet", Sample((a,)), tol=1e-10)
    check_value("cholesky", Sample((a @ a.T,)), tol=1e-10)
    check_value("adjugate", Sample((a / (2 * np.sqrt(n)),)), tol=1e-8)


def test_errors() -> None:
    square, wide = TensorType(f64, (3, 3)), TensorType(f64, (3, 2))
    for name in ("cholesky", "inv", "det", "slogdet", "adjugate"):
        with pytest.raises(ShapeError, match=rf"{name} got an array of shape \(3, 2\)"):
            OPS[name].infer(wide)
        with pytest.raises(DtypeError, match="takes float32 or float64"):
            OPS[name].infer(TensorType(i64, (3, 3)))
    with pytest.raises(ShapeError, match="as many rows as the matrix"):
        OPS["solve"].infer(square, TensorType(f64, (4, 1)))
    with pytest.raises(DtypeError, match="float64 and float32"):
        OPS["solve"].infer(square, TensorType(f32, (3, 1)))
    with pytest.raises(ShapeError, match="can't be broadcast"):
        OPS["solve"].infer(TensorType(f64, (2, 3, 3)), TensorType(f64, (4, 3, 1)))


def test_nan_flows() -> None:
    a = np.eye(4)
    a[0, 0] = np.nan
    b = Builder("g")
    x = b.param(type_of(a), "a")
    graph = b.build(b.emit("det", x), b.emit("inv", x))
    det, inverse = Executable(lower(graph))(a)
    assert np.isnan(det) and np.isnan(inverse[0, 0])
