"""What is special to bfloat16: dtypes are those of NumPy with ml_dtypes, and without that nothing of it is imported."""

from __future__ import annotations

import operator
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.special

import jitgrad as jg
from jitgrad.errors import DtypeError
from tests import short_floats
from tests.short_floats import same, wide

ml_dtypes = pytest.importorskip("ml_dtypes")
BF16 = ml_dtypes.bfloat16
ALL = short_floats.every(BF16)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return short_floats.draw(BF16, *shape, seed=seed)


# Conversions


def test_from_and_to_other_floats() -> None:
    """As ml_dtypes, by way of float32: a float64 beside the middle of two bfloat16 is rounded to the middle first."""
    finite = np.sort(wide(ALL[np.isfinite(ALL)]))
    middle = (finite[1:] + finite[:-1]) / 2
    beside = [np.nextafter(middle.astype(np.float32), np.float32(s)).astype(np.float64) for s in (np.inf, -np.inf)]
    ends = [3.3895e38, 3.4e38, 1e39, 1e300, 1e-45, 1e-300, np.inf, -np.inf, np.nan, 0.0, -0.0]
    x = np.concatenate([finite, middle, *beside, middle * (1 + 2.0**-40), ends])
    for dtype in (np.float64, np.float32, np.float16):
        with np.errstate(all="ignore"):
            given = x.astype(dtype)
            expected = given.astype(BF16)
        same(jg.jit(lambda x: x.astype(BF16))(given), expected)
        with np.errstate(all="ignore"):
            expected = ALL.astype(dtype)
        same(jg.jit(lambda x, d=dtype: x.astype(d))(ALL), expected)


def test_nan_stays_nan() -> None:
    """A payload in the lower half alone is not shifted out."""
    x = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0x7FC00000, 0x7F80FFFF], np.uint32).view(np.float32)
    found = jg.jit(lambda x: x.astype(BF16))(x).view(np.uint16)
    assert ((found & 0x7FC0) == 0x7FC0).all()
    np.testing.assert_array_equal(found >> 15, [0, 1, 0, 0, 0])


def test_conversions_are_vectors_of_integers() -> None:
    text = jg.jit(lambda x, y: x * y + x).llvm(draw(64, 64), draw(64, 64))
    assert "x i16>" in text and "call" not in "".join(line for line in text.splitlines() if "bf" in line)


# Dtypes

DTYPES = [BF16, np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16,
          np.uint32, np.uint64, np.bool_]  # fmt: skip


def outcome(f: Callable[..., Any], *args: Any) -> Any:
    """The dtype of a result, or that there is none."""
    try:
        return np.asarray(f(*args)).dtype
    except TypeError:
        return TypeError


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_promotion(dtype: type) -> None:
    """Arithmetic of bfloat16 and int64 is in float64, but they have no common dtype: that is NumPy's rule."""
    x, y = np.ones(3, BF16), np.ones(3, dtype)
    arithmetic = (operator.add, operator.mul, operator.truediv, operator.lt, np.maximum, np.arctan2, operator.matmul)
    for f in (*arithmetic, np.dot, lambda a, b: np.where(a > 0, a, b), lambda a, b: np.concatenate([a, b])):
        for a, b in ((x, y), (y, x)):
            if f is np.dot and outcome(np.result_type, a, b) is TypeError:
                assert outcome(f, a, b) == np.float64  # what NumPy falls back on, without a word
                assert outcome(jg.jit(f), a, b) is TypeError
                continue
            assert outcome(jg.jit(f), a, b) == outcome(f, a, b), (f, a.dtype, b.dtype)
    for a, b in ((x, y[0]), (x[0], y)):
        assert outcome(jg.jit(operator.mul), a, b) == outcome(operator.mul, a, b)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "clip": lambda x, p, v: (np.clip(x, 0, 1), np.clip(x, -0.5, 0.5), np.clip(x, 0, None), np.clip(x, v, 1)),
    "products": lambda x, p, v: (x @ x, x @ v, np.dot(x, x), np.inner(x, v), np.outer(v, v), np.vecdot(x, x)),
    "more products": lambda x, p, v: (np.tensordot(x, x, 1), np.kron(v, v), np.trace(x), np.linalg.matrix_power(x, 2)),
    "sums": lambda x, p, v: (np.sum(x), np.prod(p, axis=0), np.mean(x), np.var(x, axis=1), np.std(x), np.ptp(x)),
    "sums in float32": lambda x, p, v: (np.sum(x, dtype=np.float32), np.mean(x, dtype=np.float32), x.sum(0)),
    "places": lambda x, p, v: (np.max(x), np.argmax(x, axis=0), np.argmin(x), np.argsort(v), np.sort(x, axis=0)),
    "quantiles": lambda x, p, v: (np.median(x), np.quantile(x, 0.3), np.percentile(x, 30, axis=0)),
    "weighted": lambda x, p, v: (np.average(x), np.average(x, weights=p)),
    "running": lambda x, p, v: (np.cumsum(v), np.cumprod(v), np.diff(x), np.maximum.accumulate(x)),
    "choices": lambda x, p, v: (np.where(x > 0, x, 0), np.where(x > 0, x, 0.0), np.select([x > 0], [x], 0)),
    "moved": lambda x, p, v: (np.concatenate([x, p]), np.pad(x, 1), np.roll(x, 2), np.tril(x), np.repeat(v, 2), x.T),
    "made": lambda x, p, v: (np.full_like(x, 2.5), np.zeros_like(x), np.linspace(v[0], v[1], 4),
                             np.arange(4, dtype=BF16) * v[0], np.linspace(0, 1, 5, dtype=BF16) * v[0],
                             np.eye(3, dtype="bfloat16") * v[0], np.array([v[0], 1.0]), np.array([v[0], v[1]])),
    "slopes": lambda x, p, v: (np.gradient(v), np.interp(v, np.sort(v), v), np.trapezoid(v), np.convolve(v, v)),
    "numbers": lambda x, p, v: (x + 1, x + 1.0, 2**x, 2.0**x, x // 2, x % 2, x / 3, 1 / x, p**0.5, v[0] * 2.0, x**2),
    "angles": lambda x, p, v: (np.degrees(x), np.radians(x), np.rad2deg(x), np.deg2rad(x), np.unwrap(v), np.sinc(x)),
    "odd ones": lambda x, p, v: (np.hypot(x, p), np.ldexp(x, 2), np.divmod(x, p)[0], np.modf(x)[1],
                                 np.float_power(p, 2), np.heaviside(x, 1), np.i0(v), np.round(x, 1)),
    "tests": lambda x, p, v: (np.isclose(x, p), x > 0.5, x == 1, np.any(x), np.count_nonzero(x), np.signbit(x)),
    "linear algebra": lambda x, p, v: (np.linalg.norm(x), np.linalg.inv(x), np.linalg.solve(x, v), np.linalg.det(x),
                                       scipy.linalg.expm(x), scipy.linalg.solve(x, v), np.linalg.norm(v)),
    "special functions": lambda x, p, v: (scipy.special.erf(x), scipy.special.expit(x), scipy.special.logsumexp(x)),
    "transforms": lambda x, p, v: (np.fft.fft(v), np.fft.rfft(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_dtypes_and_values_of_functions(name: str) -> None:
    f, x = FUNCTIONS[name], draw(6, 6)
    args = (x, np.abs(x) + BF16(0.5), x[0].copy())
    for k, (found, expected) in enumerate(zip(jg.jit(f)(*args), f(*args), strict=True)):
        found, expected = np.asarray(found), np.asarray(expected)
        assert (k, found.dtype, found.shape) == (k, expected.dtype, expected.shape)
        kind = np.complex128 if expected.dtype.kind == "c" else np.float64
        np.testing.assert_allclose(found.astype(kind), expected.astype(kind), rtol=3e-2, atol=3e-2, err_msg=str(k))


def test_what_numpy_takes_for_no_float() -> None:
    """NaN is found in bfloat16 too, though NumPy looks for it in its own floats only, and so is the largest number."""
    x = np.array([1, np.nan, 3, np.inf, -np.inf], BF16)
    found = jg.jit(np.nan_to_num)(x)
    same(found, np.array([1, 0, 3, ml_dtypes.finfo(BF16).max, ml_dtypes.finfo(BF16).min], BF16))
    same(jg.jit(np.nansum)(x[:3]), BF16(4))
    same(jg.jit(np.nanmean)(x[:3]), BF16(2))
    same(jg.jit(lambda x: np.einsum("i,i", x, x))(x[::2][:2]), BF16(10))


def test_scalars() -> None:
    same(jg.jit(lambda s: ml_dtypes.bfloat16(s) + s)(np.float16(1.1)), BF16(np.float16(1.1)) + np.float16(1.1))
    same(jg.jit(lambda x: x * ml_dtypes.finfo(x.dtype).eps)(draw(3)), draw(3) * ml_dtypes.finfo(BF16).eps)


@pytest.mark.parametrize("other", [np.float16, np.int32])
def test_no_common_dtype(other: type) -> None:
    def f(x, y):
        return np.where(x > 0, x, y)

    x = draw(3)
    with pytest.raises(TypeError):
        f(x, x.astype(other))
    with pytest.raises(DtypeError, match=f"bfloat16 and {other.__name__} have no common dtype") as caught:
        jg.jit(f)(x, x.astype(other))
    assert caught.value.location is not None


def test_no_common_dtype_of_a_carried_value() -> None:
    def f(v):
        t = BF16(0)
        for i in range(len(v)):
            if v[i] > 0:
                t = np.int32(3)
        return t

    with pytest.raises(DtypeError, match="have no common dtype"):
        jg.jit(f)(draw(5))


def test_calls_with_other_dtypes_and_layouts() -> None:
    """The entry of compiled code tells bfloat16 from all others, those of ml_dtypes too."""
    f = jg.jit(lambda x: x * 2)
    x = draw(6)
    for given in (x, x, x.astype(np.float32), x.astype(np.float16), x.view(np.int16), x[::2], x[:, None],
                  x.astype(x.dtype.newbyteorder(">")), x.astype(x.dtype.newbyteorder("=")), x):  # fmt: skip
        same(f(given), np.asarray(given).astype(given.dtype.newbyteorder("=")) * 2)
    with pytest.raises(DtypeError, match="float8_e4m3fn, which is not supported"):
        f(np.ones(6, ml_dtypes.float8_e4m3fn))
    with pytest.raises(DtypeError, match="which is not supported"):
        f(np.ones(6, "V2"))


# The package that has it


def test_jitgrad_does_not_import_it() -> None:
    program = "import sys, jitgrad, numpy as np; jitgrad.jit(np.sin)(1.0); assert 'ml_dtypes' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_the_package() -> None:
    """A process in which it can't be imported, and a graph with bfloat16."""
    program = textwrap.dedent("""
        import sys
        sys.modules["ml_dtypes"] = None
        from jitgrad.ir.parser import parse
        from jitgrad.errors import ParseError
        try:
            parse("graph f(%x: bf16[3]) {\\n  return %x\\n}")
        except ParseError as error:
            assert "Install ml_dtypes" in str(error)
        else:
            raise AssertionError
        """)
    subprocess.run([sys.executable, "-c", program], check=True)
