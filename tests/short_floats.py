"""float16 and bfloat16, for tests of what is alike for both. Those of bfloat16 are skipped without ml_dtypes.

A test takes the scalar type as ``short``: it makes numbers, ``short(0.3)``, and NumPy takes it for the dtype.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest

from jitgrad import testing
from jitgrad.ops.op import Sample

_INSTALLED = importlib.util.find_spec("ml_dtypes") is not None

FLOAT16: Any = np.float16
BFLOAT16: Any = importlib.import_module("ml_dtypes").bfloat16 if _INSTALLED else None

#: As a module's ``pytestmark``: all its tests are of both.
EACH = pytest.mark.parametrize(
    "short",
    [
        pytest.param(FLOAT16, id="float16"),
        pytest.param(
            BFLOAT16, id="bfloat16", marks=pytest.mark.skipif(not _INSTALLED, reason="ml_dtypes is not installed")
        ),
    ],
)

#: What LAPACK and the Fourier transforms compute has no short floats.
WITHOUT = {"adjugate", "banded_solve", "cholesky", "dct", "det", "dst", "eig", "eigh", "eigh_complex", "eigvals",
           "eigvalsh", "fft", "inv", "irfft", "lu", "pinv", "qr", "rfft", "slogdet", "slogdet_complex", "solve",
           "svd", "svdvals", "triangular_solve"}  # fmt: skip


def eps(short: Any) -> float:
    """From 1 to the next number."""
    return 2.0**-10 if short is FLOAT16 else 2.0**-7


def every(short: Any) -> np.ndarray:
    """Every number that there is, and one NaN."""
    numbers = np.arange(65536, dtype=np.uint16).view(short)
    with np.errstate(invalid="ignore"):
        return np.append(numbers[~np.isnan(numbers)], short(np.nan))


def draw(short: Any, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(short)


def cast(a: Any, short: Any) -> np.ndarray:
    """Floats in the dtype; others as they are."""
    a = np.asarray(a)
    with np.errstate(over="ignore"):
        return a.astype(short) if a.dtype.kind == "f" else a


def samples(name: str, short: Any) -> list[Sample]:
    """The samples of an op that have operands in float64, cast to the dtype."""
    found = [s for s in testing.op_samples(name) if any(np.asarray(a).dtype == np.float64 for a in s.args)]
    return [
        s._replace(
            args=tuple(cast(a, short) for a in s.args),
            attrs={k: np.dtype(short) if isinstance(v, np.dtype) and v.kind == "f" else v for k, v in s.attrs.items()},
        )
        for s in found
    ]


def wide(a: Any) -> np.ndarray:
    return np.asarray(a).astype(np.float64)


def ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many numbers of their dtype lie between; 0 for two NaNs, and many for one."""
    assert a.dtype == b.dtype
    magnitude = 2 ** (8 * a.itemsize - 1) - 1
    bits = [x.view(f"i{x.itemsize}").astype(np.int64) for x in (a, b)]
    places = [np.where(x < 0, -(x & magnitude), x) for x in bits]
    with np.errstate(invalid="ignore"):
        nans = [np.isnan(x) for x in (a, b)]
    far = np.where(nans[0] != nans[1], 99999, np.abs(places[0] - places[1]))
    return np.where(nans[0] & nans[1], 0, far)


def same(found: object, expected: object) -> None:
    """Equal in type, dtype, shape and every bit, NaN with NaN."""
    assert type(found) is type(expected)
    f, e = np.asarray(found), np.asarray(expected)
    assert (f.dtype, f.shape) == (e.dtype, e.shape)
    if e.dtype.kind == "V":  # bfloat16
        f, e = wide(f), wide(e)
    np.testing.assert_array_equal(f, e)
    if e.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(f) & ~np.isnan(f), np.signbit(e) & ~np.isnan(e))
