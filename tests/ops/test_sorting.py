"""sort and argsort: values in every rendering, derivatives, masks."""

from __future__ import annotations

import numpy as np
import pytest
from native_checks import check_derivatives, check_graph_derivatives, check_value, graph_of, run_everywhere

import jitgrad as jg
from jitgrad.codegen.rowsort import LONG
from jitgrad.errors import ShapeError
from jitgrad.ir.core import OPS, Builder
from jitgrad.ir.types import TensorType, f64
from jitgrad.ops.op import Cotangent, Sample, Var
from jitgrad.ops.sorting import Sort

SAMPLES = Sort.samples(np.random.default_rng(0))


def _id(s: Sample) -> str:
    return f"{s.args[0].dtype}-{s.args[0].shape}-{s.attrs['axis']}"


@pytest.mark.parametrize("name", ["sort", "argsort"])
@pytest.mark.parametrize("sample", SAMPLES, ids=_id)
def test_values(name: str, sample: Sample) -> None:
    (out,) = check_value(name, sample)
    if name == "argsort":
        ordered = np.take_along_axis(sample.args[0], out, sample.attrs["axis"])
        np.testing.assert_array_equal(ordered, np.sort(sample.args[0], axis=sample.attrs["axis"], kind="stable"))


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.grad], ids=_id)
def test_derivatives(sample: Sample) -> None:
    check_derivatives("sort", sample)


def test_native_derivatives() -> None:
    x = np.random.default_rng(1).permutation(24).reshape(2, 4, 3) / 5.0
    check_graph_derivatives(graph_of("sort", (x,), {"axis": 1}), [x], 2)


@pytest.mark.parametrize(
    ("n", "dtype"),
    [*((n, np.float64) for n in (2, 16, 17, 33, 1000)), (40, np.float32), (40, np.int32), (40, np.uint64)],
)
def test_many_lengths(n: int, dtype: type) -> None:
    rng = np.random.default_rng(n)
    x = rng.integers(0, 200, (3, n)).astype(dtype)
    run_everywhere(graph_of("argsort", (x,), {"axis": 1}), x)
    run_everywhere(graph_of("sort", (x,), {"axis": 1}), x)


def test_sorted_and_reversed_input() -> None:
    up = np.repeat(np.arange(50.0), 2)
    for x in (up, up[::-1].copy(), np.zeros(100)):
        run_everywhere(graph_of("argsort", (x,), {"axis": 0}), x)


def test_zeros_of_both_signs_keep_their_order() -> None:
    x = np.array([1.0, 0.0, -0.0, 0.0, -0.0, -1.0])
    (out,) = run_everywhere(graph_of("sort", (x,), {"axis": 0}), x)
    np.testing.assert_array_equal(np.signbit(out), [True, False, True, False, True, False])


DTYPES = [np.float64, np.float32, np.int64, np.uint64, np.int32, np.uint16, np.int8, np.uint8, np.bool_]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("n", [1, -1], ids=["long", "short"])
def test_long_rows(n: int, dtype: type) -> None:
    """On both sides of the length from which on rows are sorted by bytes."""
    columns = LONG * np.dtype(dtype).itemsize + min(n, 0)
    rng = np.random.default_rng(columns)
    x = _everything(rng, dtype, columns)
    order, values = (run_everywhere(graph_of(name, (x,), {"axis": 1}), x)[0] for name in ("argsort", "sort"))
    np.testing.assert_array_equal(order, np.argsort(x, axis=1, kind="stable"))
    bits = f"u{np.dtype(dtype).itemsize}"  # zeros of both signs keep their order
    np.testing.assert_array_equal(values.view(bits), np.sort(x, axis=1, kind="stable").view(bits))


def _everything(rng: np.random.Generator, dtype: type, n: int) -> np.ndarray:
    """Rows of numbers of all sizes, of few different ones, of special ones, and of one number only."""
    if np.dtype(dtype).kind != "f":
        low, high = (0, 1) if dtype is np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        x = rng.integers(low, high, (4, n), dtype=dtype, endpoint=True)
        x[1], x[2], x[3] = x[1] % 5 if dtype is not np.bool_ else x[1], np.sort(x[2])[::-1], high
        return x
    tiny = float(np.finfo(dtype).smallest_subnormal)
    special = [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, tiny, -tiny, 1.0, -1.0]
    x = rng.normal(size=(4, n)) * 10.0 ** rng.integers(-30, 30, size=(4, n))
    x[1], x[2], x[3] = np.round(rng.normal(size=n)), rng.choice(special, size=n), -2.5
    return x.astype(dtype)


def test_one_order_for_value_and_derivative() -> None:
    """The derivative of a sort needs the order, by which the value is gathered then."""
    x = np.random.default_rng(2).permutation(40).reshape(4, 10) / 7.0
    weight = np.arange(10.0)
    program = jg.value_and_grad(lambda x: np.sum(np.sort(x, axis=1) * weight))
    text = program.ir(x, stage="optimised")
    assert text.count(" argsort(") == 1 and " sort(" not in text, text
    value, gradient = program(x)
    np.testing.assert_allclose(value, np.sum(np.sort(x, axis=1) * weight), rtol=1e-14)
    np.testing.assert_array_equal(gradient, np.argsort(np.argsort(x, axis=1), axis=1))
    assert " sort(" in jg.jit(lambda x: np.sort(x, axis=1)).ir(x, stage="optimised")


def test_an_order_is_not_checked() -> None:
    """Where it is used as an index, it is known to be in bounds, on the axis that it is an order of."""
    x = np.random.default_rng(3).normal(size=(3, 8))
    assert "fail" not in jg.jit(lambda x: np.take_along_axis(x, np.argsort(x, axis=1), axis=1)).ir(x, stage="loop")
    other = jg.jit(lambda x, y: y[np.argsort(x[0])])
    assert "fail" in other.ir(x, x[0, :5], stage="loop")
    with pytest.raises(IndexError):
        other(x, x[0, :5])


def test_masks_move_with_the_elements() -> None:
    x = np.array([3.0, 1.0, 2.0])
    b = Builder("g")
    v = Var(b, b.param(TensorType(f64, (3,)), "x"))
    out = Var(b, b.emit("sort", v.value, axis=0))
    g = Cotangent(Var(b, b.constant([10.0, 20.0, 30.0])), Var(b, b.constant([True, False, True])))
    (back,) = OPS["sort"].pullback(g, out, v, axis=0)  # pyright: ignore
    value, mask = run_everywhere(b.build(back.value.value, back.mask.value), x)
    np.testing.assert_array_equal(value, [30, 10, 20])
    np.testing.assert_array_equal(mask, [True, True, False])


def test_errors() -> None:
    with pytest.raises(ShapeError, match="sort along axis 2 of an array of shape"):
        OPS["sort"].infer(TensorType(f64, (3, 4)), axis=2)
