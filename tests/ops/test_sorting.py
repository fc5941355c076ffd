"""sort and argsort: values in every rendering, derivatives, masks."""

from __future__ import annotations

import numpy as np
import pytest
from native_checks import check_derivatives, check_graph_derivatives, check_value, graph_of, run_everywhere

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
