"""Orthogonal, triangular and banded factorizations: values in every rendering, larger orders, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_checks import check_value, graph_of, run_everywhere

from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.core import OPS
from jitgrad.ir.types import TensorType, f32, f64, i64
from jitgrad.ops.op import Sample

NAMES = ["qr", "svd", "svdvals", "pinv", "eigvalsh", "lu", "pivot_order", "banded_solve"]
SAMPLES = [(name, s) for name in NAMES for s in OPS[name].samples(np.random.default_rng(3))]  # pyright: ignore


def _id(value: Any) -> str:
    if isinstance(value, Sample):
        return "-".join(str(a.shape) for a in value.args) + "".join(f"-{k}" for k, v in value.attrs.items() if v)
    return str(value)


@pytest.mark.parametrize(("name", "sample"), SAMPLES, ids=_id)
def test_values(name: str, sample: Sample) -> None:
    check_value(name, sample, tol=1e-10)


@pytest.mark.parametrize("shape", [(90, 40), (40, 90), (70, 70)])
def test_larger_orders(shape: tuple[int, int]) -> None:
    """More columns than LAPACK takes at a time."""
    a = np.random.default_rng(8).standard_normal(shape)
    for full in (False, True):
        q, r = run_everywhere(graph_of("qr", (a,), {"full": full}), a, tol=1e-10)
        np.testing.assert_allclose(q @ r, a, atol=1e-12)
        np.testing.assert_allclose(q.T @ q, np.eye(q.shape[1]), atol=1e-12)
    check_value("svdvals", Sample((a,)), tol=1e-10)
    check_value("pinv", Sample((a,), {"cutoff": 1e-14}), tol=1e-9)
    check_value("eigvalsh", Sample((a @ a.T,)), tol=1e-9)
    check_value("lu", Sample((a @ a.T + np.eye(shape[0]),)), tol=1e-7)
    check_value("banded_solve", Sample((a[:7] + 9.0 * (np.arange(7) == 4)[:, None], a.T[:, :3]), {
        "below": 2, "above": 4, "trans": True,
    }), tol=1e-9)  # fmt: skip


def test_errors() -> None:
    for name, attrs in (("qr", {"full": True}), ("svd", {"full": True}), ("svdvals", {}), ("pinv", {"cutoff": 0.0})):
        with pytest.raises(ShapeError, match=rf"{name} got an array of shape \(3,\)"):
            OPS[name].infer(TensorType(f64, (3,)), **attrs)
        with pytest.raises(DtypeError, match="takes float32 or float64"):
            OPS[name].infer(TensorType(i64, (3, 2)), **attrs)
    bands = {"below": 1, "above": 1, "trans": False}
    with pytest.raises(ShapeError, match="a row for each of the 3 diagonals"):
        OPS["banded_solve"].infer(TensorType(f64, (2, 4)), TensorType(f64, (4, 1)), **bands)
    with pytest.raises(DtypeError, match="float64 and float32"):
        OPS["banded_solve"].infer(TensorType(f64, (3, 4)), TensorType(f32, (4, 1)), **bands)
    with pytest.raises(DtypeError, match="Pivots are int32"):
        OPS["pivot_order"].infer(TensorType(i64, (3,)))
