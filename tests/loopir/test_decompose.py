"""Expanded transcendental functions: error in ulps against long double, and special values."""

from __future__ import annotations

import numpy as np
import pytest

from jitgrad.compiler import compile_graph
from jitgrad.ir.core import Builder
from jitgrad.ir.types import type_of
from jitgrad.loopir.decompose import EXPANSIONS

RANGES = {"exp": (-104, 89), "log": (0, 50), "tanh": (-12, 12), "expm1": (-20, 88), "log1p": (-0.999, 40)}
LIMITS = {"exp": 1.0, "log": 1.0, "tanh": 1.5, "expm1": 2.0, "log1p": 2.6}
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-310, -1e-310, 1e-40, -1e-40, 88.7, 88.73, -87.4, -103.9, -104.0,
           709.78, 709.79, -745.0, -746.0, 1.0, -1.0, 1e30, -1e30]  # fmt: skip


def apply(name: str, x: np.ndarray) -> np.ndarray:
    b = Builder("f")
    return compile_graph(b.build(b.emit(name, b.param(type_of(x), "x"))))(x)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(EXPANSIONS))
def test_ulps(name, dtype):
    rng = np.random.default_rng(0)
    lo, hi = RANGES[name]
    hi = hi if dtype == np.float32 else hi * (8 if name in ("exp", "expm1") else 1) - (2 if name == "exp" else 0)
    x = np.concatenate([
        rng.uniform(lo, hi, 20000),
        rng.uniform(-0.1, 0.1, 20000),
        np.exp(rng.uniform(-80, 80, 20000)) * rng.choice([-1, 1], 20000),
    ]).astype(dtype)  # fmt: skip
    with np.errstate(all="ignore"):
        exact = getattr(np, name)(x.astype(np.longdouble))
        rounded = exact.astype(dtype)
    got = apply(name, x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(rounded))
    fine = np.isfinite(rounded)
    ulps = np.abs(got[fine] - exact[fine]) / np.spacing(np.abs(rounded[fine]))
    assert ulps.max() <= LIMITS[name]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(EXPANSIONS))
def test_special_values(name, dtype):
    x = np.array(SPECIAL).astype(dtype)
    with np.errstate(all="ignore"):
        want = getattr(np, name)(x)
    got = apply(name, x)
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).smallest_subnormal)
    np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))
