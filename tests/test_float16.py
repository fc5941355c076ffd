"""What is special to float16: NumPy's own conversions, dtypes, and what it refuses; the processor's instructions."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.codegen import llvm_half
from jitgrad.errors import DtypeError
from jitgrad.runtime import target
from tests import short_floats
from tests.short_floats import same, ulps

HALF = np.float16
ALL = short_floats.every(HALF)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return short_floats.draw(HALF, *shape, seed=seed)


@pytest.mark.parametrize("f", [np.degrees, np.radians], ids=lambda f: f.__name__)
def test_degrees_and_radians(f) -> None:
    """Of bfloat16 they are float32."""
    with np.errstate(all="ignore"):
        expected = f(ALL)
    found = jg.jit(f)(ALL)
    assert found.dtype == HALF
    assert ulps(found, expected).max() <= 1


# Conversions


def awkward() -> np.ndarray:
    """float64 numbers at, and a hair beside, the middle between two float16; and special ones."""
    finite = np.sort(ALL[np.isfinite(ALL)]).astype(np.float64)
    middle = (finite[1:] + finite[:-1]) / 2
    beside = [middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf), finite, middle * (1 + 2.0**-30)]
    ends = [65504, 65519.999, 65520, 65520.001, 1e300, 2.0**-25, 2.0**-25 * (1 + 2.0**-40), 1e-300, np.inf, np.nan, 0]
    return np.concatenate([*beside, ends, np.negative(ends)])


def test_from_and_to_other_floats() -> None:
    wide = awkward()
    with np.errstate(all="ignore"):
        single = wide.astype(np.float32)
        expected = [x.astype(HALF) for x in (wide, single)]
    for x, e in zip((wide, single), expected, strict=True):
        same(jg.jit(lambda x: x.astype(HALF))(x), e)
    for dtype in (np.float32, np.float64):
        same(jg.jit(lambda x, d=dtype: x.astype(d))(ALL), ALL.astype(dtype))


def test_conversions_without_instructions(monkeypatch) -> None:
    """Taken apart into bits, as on a processor without them, they give the same."""
    monkeypatch.setattr(llvm_half, "in_hardware", lambda: False)
    with jg.config.using(cache=False):
        wide = awkward()
        with np.errstate(all="ignore"):
            expected = wide.astype(HALF)

        # Programs are equal to those of other tests, whose code is kept: a constant makes them others.
        same(jg.jit(lambda x: x.astype(HALF) + HALF(0))(wide + 0), expected + HALF(0))
        compiled = jg.jit(lambda x: x.astype(np.float32) * np.float32(1.25))
        same(compiled(ALL), ALL.astype(np.float32) * np.float32(1.25))
        assert " half" not in compiled.llvm(ALL)


def test_vector_instructions() -> None:
    """A loop over float16 converts whole vectors, and calls nothing."""
    if not llvm_half.in_hardware():
        pytest.skip("no instructions for float16")
    text = jg.jit(lambda x, y: x * y + x).asm(draw(64, 64), draw(64, 64))
    assert "truncsfhf" not in text and "extendhfsf" not in text
    if target.machine().triple.startswith("x86_64"):
        assert any("vcvtps2ph" in line and ("%ymm" in line or "%zmm" in line) for line in text.splitlines())


# Dtypes

DTYPES = [HALF, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32,
          np.uint64, np.bool_]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_promotion(dtype) -> None:
    x, y = np.ones(3, HALF), np.ones(3, dtype)
    for f in (operator.add, operator.mul, lambda a, b: np.where(a > 0, a, b), lambda a, b: np.concatenate([a, b])):
        for a, b in ((x, y), (y, x), (x, y[0]), (x[0], y)):
            if np.ndim(a) != np.ndim(b) and f(x, x).size > 3:
                continue
            assert jg.jit(f)(a, b).dtype == np.result_type(a, b) == f(a, b).dtype
    assert (jg.jit(lambda a, b: a @ b)(x, y)).dtype == np.result_type(x, y)


def test_ufuncs_of_small_integers_are_float16() -> None:
    for dtype in (np.int8, np.uint8, np.bool_):
        x = np.array([1, 0, 1, 1], dtype)
        for f in (np.sqrt, np.exp, np.sin, np.tanh, np.cos):
            expected = f(x)
            found = jg.jit(f)(x)
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_eps() -> None:
    same(jg.jit(lambda x: x * np.finfo(x.dtype).eps)(draw(3)), draw(3) * np.finfo(HALF).eps)


# Sums and arrays


def test_long_sums() -> None:
    """NumPy's, which are of float32 too."""
    x = np.ones(100_000, HALF)
    same(jg.jit(np.mean)(x), np.mean(x))
    same(jg.jit(np.sum)(x[:60_001]), np.sum(x[:60_001]))
    same(jg.jit(np.sum)(x), HALF(np.inf))


def test_arrays() -> None:
    def f(x):
        return np.cumsum(x), np.array([x[0], 1.0, 2]), x.astype("e")

    x = draw(9)
    for found, expected in zip(jg.jit(f)(x), f(x), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=3e-3)  # NumPy rounds each sum of cumsum


# What has no float16


@pytest.mark.parametrize("f", [np.linalg.inv, np.linalg.svd, np.linalg.cholesky, np.linalg.det, np.linalg.eigvalsh])
def test_linear_algebra_refuses_it(f) -> None:
    m = np.eye(3, dtype=HALF)
    with pytest.raises(TypeError, match="array type float16 is unsupported in linalg"):
        f(m)
    with pytest.raises(DtypeError, match="array type float16 is unsupported in linalg") as caught:
        jg.jit(f)(m)
    assert caught.value.location is not None


def test_fourier_transforms_are_of_float32() -> None:
    x = draw(16)
    for f in (np.fft.fft, np.fft.rfft):
        assert jg.jit(f)(x).dtype == f(x).dtype == np.complex64
        np.testing.assert_allclose(jg.jit(f)(x), f(x), rtol=1e-4, atol=1e-5)
