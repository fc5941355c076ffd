"""bfloat16: every value and dtype is that of NumPy with ml_dtypes; gradients are those of float64 to its precision.

Where NumPy rounds each partial sum, sums are of float32 here, so those are compared with float64's.
"""

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
from jitgrad import testing
from jitgrad.errors import CompilationError, DtypeError
from jitgrad.ir.core import OPS
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.printer import print_graph
from tests.test_float16 import WITHOUT

ml_dtypes = pytest.importorskip("ml_dtypes")
BF16 = ml_dtypes.bfloat16
#: Every bfloat16 there is, NaNs with one payload only.
ALL = np.arange(65536, dtype=np.uint16)
ALL = ALL[(ALL & 0x7FFF) <= 0x7FC0]
ALL = ALL[((ALL & 0x7FFF) <= 0x7F80) | (ALL == 0x7FC0)].view(BF16)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(BF16)


def wide(a: object) -> np.ndarray:
    return np.asarray(a).astype(np.float64)


def ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many bfloat16 lie between; 0 for two NaNs, and many for one."""
    bits = [x.view(np.uint16).astype(int) for x in (a, b)]
    places = [np.where(x & 0x8000, -(x & 0x7FFF), x) for x in bits]
    nans = [(x & 0x7FFF) > 0x7F80 for x in bits]
    far = np.where(nans[0] != nans[1], 99999, np.abs(places[0] - places[1]))
    return np.where(nans[0] & nans[1], 0, far)


def same(found: object, expected: object) -> None:
    """Equal in type, dtype, shape and every bit, NaN with NaN."""
    assert type(found) is type(expected)
    f, e = np.asarray(found), np.asarray(expected)
    assert (f.dtype, f.shape) == (e.dtype, e.shape)
    if e.dtype == BF16:
        assert ulps(f, e).max(initial=0) == 0
        f, e = f.view(np.uint16), e.view(np.uint16)
        number = (e & 0x7FFF) <= 0x7F80
        np.testing.assert_array_equal(np.where(number, f, 0), np.where(number, e, 0))
    else:
        np.testing.assert_array_equal(f, e)


# Values

EXACT = [np.negative, np.absolute, np.square, np.sqrt, np.reciprocal, np.floor, np.ceil, np.rint, np.trunc, np.isnan,
         np.isinf, np.isfinite, np.signbit]  # fmt: skip
ROUNDED = [np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sin, np.cos, np.tan, np.arcsin, np.arccos,
           np.arctan, np.sinh, np.cosh, np.tanh, np.arcsinh, np.arccosh, np.arctanh, np.cbrt, np.rad2deg,
           np.deg2rad]  # fmt: skip


@pytest.mark.parametrize("f", EXACT, ids=lambda f: f.__name__)
def test_every_value_exactly(f: Callable[..., Any]) -> None:
    with np.errstate(all="ignore"):
        expected = f(ALL)
    same(jg.jit(f)(ALL), expected)


def test_signs() -> None:
    """0 for -0.0, as NumPy's own floats have it; ml_dtypes has -0.0."""
    same(jg.jit(np.sign)(ALL), np.where(ALL == 0, BF16(0), np.sign(ALL)))


@pytest.mark.parametrize("f", ROUNDED, ids=lambda f: f.__name__)
def test_every_value_to_an_ulp(f: Callable[..., Any]) -> None:
    with np.errstate(all="ignore"):
        expected = f(ALL)
    found = jg.jit(f)(ALL)
    assert found.dtype == BF16
    assert ulps(found, expected).max() <= 1


PAIRS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.lt, operator.ge, operator.eq, operator.ne,
         np.maximum, np.minimum, np.fmax, np.fmin, np.copysign]  # fmt: skip


@pytest.mark.parametrize("f", PAIRS, ids=lambda f: f.__name__)
def test_pairs_exactly(f: Callable[..., Any]) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.permutation(ALL), rng.permutation(ALL)
    with np.errstate(all="ignore"):
        expected = f(x, y)
    found = jg.jit(f)(x, y)
    if f in (np.maximum, np.minimum, np.fmax, np.fmin):  # which zero is the greater is not said
        zeros = (wide(x) == 0) & (wide(y) == 0)
        found, expected = np.where(zeros, BF16(0), found), np.where(zeros, BF16(0), expected)
    same(found, expected)


@pytest.mark.parametrize("backend", ["llvm", "python"])
def test_each_operation_rounds(backend: str) -> None:
    def f(x, y):
        return (x + y) * x / (y - BF16(0.3)) - np.sqrt(abs(x)) * x

    x, y = draw(31, 17), draw(31, 17, seed=1)
    with jg.config.using(backend=backend):
        same(jg.jit(f)(x, y), f(x, y))


@pytest.mark.parametrize("n", [2, 3, 4, -1, -2])
def test_powers(n: int) -> None:
    x = np.abs(draw(300)) + BF16(0.05)
    assert ulps(jg.jit(lambda x: x**n)(x), x**n).max() <= 1


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


def test_from_and_to_integers_and_bool() -> None:
    small = np.linspace(-100, 100, 77).astype(BF16)
    for dtype in (np.int8, np.int16, np.int32, np.int64, bool):
        same(jg.jit(lambda x, d=dtype: x.astype(d))(small), small.astype(dtype))
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        same(jg.jit(lambda x, d=dtype: x.astype(d))(abs(small)), abs(small).astype(dtype))
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, bool):
        info = np.iinfo(dtype) if dtype is not bool else np.iinfo(np.int8)
        x = np.random.default_rng(2).integers(max(info.min, -(2**62)), min(info.max, 2**62), 999).astype(dtype)
        x[:400] = x[:400] % 97
        same(jg.jit(lambda x: x.astype(BF16))(x), x.astype(BF16))


def test_complex_parts() -> None:
    x, y = draw(9), draw(9, seed=1)

    def f(x, y):
        z = x + 1j * y
        return z, z.real.astype(BF16), z * np.complex64(2j)

    for found, expected in zip(jg.jit(f)(x, y), f(x, y), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found.astype(np.complex128), expected.astype(np.complex128), rtol=1e-6)


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


@pytest.mark.parametrize("number", [2, 0.5, True, np.float64(2), np.float32(2), np.int8(2), np.int64(2)], ids=repr)
def test_promotion_with_numbers(number: Any) -> None:
    """A Python float makes it float32, an int leaves it."""
    x = draw(5)
    for f in (operator.mul, operator.add, operator.gt, np.maximum):
        same(jg.jit(lambda x, f=f: f(x, number))(x), f(x, number))
        same(jg.jit(f)(x, number), f(x, number))


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
    same(jg.jit(lambda s: s * 2)(BF16(1.5)), BF16(3))
    same(jg.jit(lambda s: BF16(s) * 3)(1.1), BF16(1.1) * 3)
    same(jg.jit(lambda s: ml_dtypes.bfloat16(s) + s)(np.float16(1.1)), BF16(np.float16(1.1)) + np.float16(1.1))
    same(jg.jit(lambda x: x[0])(draw(3)), draw(3)[0])
    same(jg.jit(lambda x: x * ml_dtypes.finfo(x.dtype).eps)(draw(3)), draw(3) * ml_dtypes.finfo(BF16).eps)
    assert jg.jit(lambda x: x.itemsize * x.nbytes)(draw(3)) == 12
    assert jg.jit(lambda x: 1 if x.dtype == BF16 and isinstance(x[0], BF16) else 2)(draw(3)) == 1


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


# Sums and products


def test_long_sums() -> None:
    """A running sum in bfloat16 would stop at 256, and NumPy's does."""
    x = np.ones(10_000, BF16)
    same(jg.jit(np.sum)(x), BF16(10_000))
    same(jg.jit(np.mean)(x), BF16(1))
    assert wide(jg.jit(np.var)(x)) == 0
    same(jg.grad(np.mean)(x[:1000]), np.full(1000, BF16(1e-3)))


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "prod", "max", "min", "median"])
def test_reductions(name: str, axis: int | None) -> None:
    x = draw(67, 43) if name != "prod" else np.exp2(draw(67, 43) / BF16(16))
    found = jg.jit(lambda x: getattr(np, name)(x, axis=axis))(x)
    assert found.dtype == BF16
    np.testing.assert_allclose(wide(found), getattr(np, name)(wide(x), axis=axis), rtol=8e-3, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 5), (64, 300, 48)])
def test_products(shape: tuple[int, int, int]) -> None:
    """``@`` gives float32, ``np.dot`` bfloat16, as in NumPy; both add up in float32."""
    n, k, m = shape
    x, y = draw(n, k), draw(k, m, seed=1)
    expected = wide(x) @ wide(y)
    single, short = jg.jit(operator.matmul)(x, y), jg.jit(np.dot)(x, y)
    assert (single.dtype, short.dtype) == (np.float32, BF16)
    np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(wide(short), expected, rtol=4e-3, atol=1e-3)


# Arrays


def test_arrays() -> None:
    def moved(x, y, i):
        z = np.zeros(12, BF16)
        z[2:9] = x[0, :7] * 2
        z[i] += y[0, :4]
        z[0] = 2.7
        np.add.at(z, i, y[1, :4])
        z *= 1.5
        np.exp(z, out=z)
        return (
            z, x[:, ::2].T, x[1:3][:, i], np.where(x > y, x, y), np.sort(x, axis=0), np.argsort(x, axis=1),
            np.concatenate([x, y]), np.pad(x, 1), np.roll(x, 3), np.tril(x), np.searchsorted(np.sort(x[0]), y[0]),
            np.full_like(x, 2.7), x[0] > 0.3, x.astype("bfloat16"), x.reshape(3, 27), x[::-1], np.add(x, y, dtype="f4"),
        )  # fmt: skip

    args = draw(9, 9), draw(9, 9, seed=1), np.array([3, 1, 4, 7])
    for backend in ("llvm", "python"):
        with jg.config.using(backend=backend):
            for found, expected in zip(jg.jit(moved)(*args), moved(*args), strict=True):
                assert found.dtype == expected.dtype
                np.testing.assert_allclose(wide(found), wide(expected), rtol=1e-2)


def test_changed_arguments() -> None:
    def f(x, y):
        x += 1
        x[1:3] += y[:2]
        x *= 0.5

    x, z, y = draw(5), draw(5), np.ones(5, np.float32)
    jg.jit(f)(x, y)
    f(z, y)
    same(x, z)


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


def test_a_recurrence() -> None:
    """Each step rounds, as the array does that it is kept in."""

    def f(v):
        a = np.zeros(len(v), BF16)
        total = BF16(0)
        a[0] = v[0]
        for i in range(1, len(v)):
            a[i] = a[i - 1] * BF16(0.9) + v[i]
            total = total + a[i] * v[i]
        return a, total

    v = draw(200)
    for found, expected in zip(jg.jit(f)(v), f(v), strict=True):
        same(found, expected)


def test_static_zeros_have_signs() -> None:
    f = jg.jit(lambda x, s: x + 1 if np.signbit(s) else x, static_argnames="s")
    x = draw(3)
    same(f(x, BF16(0.0)), x)
    same(f(x, BF16(-0.0)), x + 1)


def test_printing(capfd: pytest.CaptureFixture[str]) -> None:
    jg.jit(lambda x: print(x, x[0]))(np.array([1.5, -2], BF16))
    assert capfd.readouterr().out == "[1.5 -2] 1.5\n"


# Gradients


def network(w, v, x):
    h = np.tanh(np.dot(x, w))
    z = np.dot(h, v)
    z = z - np.max(z, axis=1, keepdims=True)
    return np.mean(np.log(np.sum(np.exp(z), axis=1)) - z[:, 0]) + np.sum(w[2:4] ** 2) / 64


def recurrence(x):
    a = np.zeros(8, x.dtype)
    a[0] = x[0]
    for i in range(1, 8):
        a[i] = a[i - 1] * x[i] + np.where(x[i] > 0, np.sqrt(abs(x[i])), 0)
    return np.sum(a * a)


def test_gradients() -> None:
    args = draw(6, 9) / BF16(3), draw(9, 4, seed=1) / BF16(3), draw(11, 6, seed=2)
    value, found = jg.value_and_grad(network, argnums=(0, 1, 2))(*args)
    exact, expected = jg.value_and_grad(network, argnums=(0, 1, 2))(*map(wide, args))
    assert value.dtype == BF16
    np.testing.assert_allclose(wide(value), exact, rtol=2e-2)
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == BF16
        np.testing.assert_allclose(wide(f), e, rtol=1e-1, atol=1e-2 * np.abs(e).max())


@pytest.mark.peers
def test_gradients_are_those_of_jax() -> None:
    jax = pytest.importorskip("jax")
    jnp = pytest.importorskip("jax.numpy")

    def theirs(w, v, x):
        h = jnp.tanh(jnp.dot(x, w))
        z = jnp.dot(h, v)
        z = z - jnp.max(z, axis=1, keepdims=True)
        return jnp.mean(jnp.log(jnp.sum(jnp.exp(z), axis=1)) - z[:, 0]) + jnp.sum(w[2:4] ** 2) / 64

    args = draw(6, 9) / BF16(3), draw(9, 4, seed=1) / BF16(3), draw(11, 6, seed=2)
    expected = jax.grad(theirs, argnums=(0, 1, 2))(*map(jnp.asarray, args))
    for f, e in zip(jg.grad(network, argnums=(0, 1, 2))(*args), expected, strict=True):
        assert f.dtype == np.asarray(e).dtype == BF16
        np.testing.assert_allclose(wide(f), wide(e), rtol=1e-1, atol=1e-2 * np.abs(wide(e)).max())


def test_gradient_of_a_loop() -> None:
    x = draw(8)
    found, expected = jg.grad(recurrence)(x), jg.grad(recurrence)(wide(x))
    assert found.dtype == BF16
    np.testing.assert_allclose(wide(found), expected, rtol=1e-1, atol=2e-2)
    testing.check_grads(lambda x: np.sum(np.tanh(x) * x), (x,), order=1)


def test_checks_notice_a_wrong_gradient() -> None:
    @jg.custom_vjp
    def f(x):
        return x * x

    f.defvjp(lambda x: (x * x, x), lambda x, g: (g * x,))
    with pytest.raises(AssertionError):
        testing.check_grads(f, (draw(8) + BF16(1),), order=1, modes=("rev",))


def test_other_derivatives() -> None:
    x = np.array([-1, 0.5, 2], BF16)
    for found in (jg.jvp(lambda x: x * x * x, (x,), (x,))[1], jg.vjp(lambda x: x * x * x, x)[1](x)[0]):
        same(found, np.array([-3, 0.375, 24], BF16))
    same(jg.hessian(lambda x: np.sum(x * x * x))(x).diagonal().copy(), np.array([-6, 3, 12], BF16))
    same(jg.vmap(lambda x: x * x)(x), x * x)


def test_gradient_through_a_conversion() -> None:
    """Parameters in float32, arithmetic in bfloat16: the usual mixed precision."""
    w = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    x = draw(5, 3)
    found = jg.grad(lambda w: np.sum((x @ w.astype(BF16)) ** 2))(w)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 2 * wide(x).T @ (wide(x) @ w), rtol=3e-2, atol=5e-2)


# Stages


def shortened(a: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return a.astype(BF16) if a.dtype.kind == "f" else a


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op(name: str) -> None:
    """The compiled op agrees with the interpreter's, which computes in float32 by NumPy and rounds."""
    floating = [s for s in testing.op_samples(name) if any(np.asarray(a).dtype == np.float64 for a in s.args)]
    if not floating:
        pytest.skip("takes no floats")
    short, graphs, arrays = np.dtype(BF16), [], []
    for s in floating:
        attrs = {k: short if isinstance(v, np.dtype) and v.kind == "f" else v for k, v in s.attrs.items()}
        sample = s._replace(args=tuple(shortened(np.asarray(a)) for a in s.args), attrs=attrs)
        if name in WITHOUT:
            with pytest.raises(DtypeError, match=r"bfloat16|bf16"):
                testing.op_graph(name, sample)
        else:
            graphs.append(testing.op_graph(name, sample))
            arrays += sample.args
    if graphs:
        testing.check_compiled(testing.merge_graphs(graphs, name), arrays, what=name)


def test_the_interpreter_rounds_once() -> None:
    graph = parse("graph f(%x: bf16[1000]) {\n  %0: bf16[] = reduce_sum(%x) {axes=(0,)}\n  return %0\n}")
    same(interpret(graph, np.ones(1000, BF16))[0][()], BF16(1000))


def test_text_round_trip() -> None:
    b = jg.ir.core.Builder("f")
    x = b.param(jg.TensorType(np.dtype(BF16), (3,)), "x")
    c = b.constant(np.array([0.1, -0.0, np.inf], BF16))
    text = print_graph(b.build(b.emit("add", x, c)))
    assert "bf16[3] [0.100098, -0.0, inf]" in text
    assert print_graph(parse(text)) == text
    every = b.build(b.constant(np.arange(65536, dtype=np.uint16).view(BF16)))
    (found,) = interpret(parse(print_graph(every)), draw(3))
    np.testing.assert_array_equal(found.view(np.uint16), np.arange(65536))


def test_source_says_where_it_rounds() -> None:
    text = jg.jit(lambda x: x * x + x).source(draw(4))
    assert "ml_dtypes.bfloat16(" in text and "np.float32(" in text


def test_the_cache_on_disk(tmp_path) -> None:
    """In a process that comes later too."""
    program = textwrap.dedent("""
        import numpy as np, ml_dtypes, jitgrad as jg, sys
        jg.config.update(cache=True, cache_dir=sys.argv[1])
        c = np.linspace(0, 1, 40).astype(ml_dtypes.bfloat16)
        f = jg.jit(lambda x: (x * c + x, np.sum(x)))
        x = np.linspace(-1, 1, 40).astype(ml_dtypes.bfloat16)
        a, b = f(x)
        assert a.dtype == b.dtype == ml_dtypes.bfloat16
        assert (a == x * c + x).all()
        print(len(list(__import__("pathlib").Path(sys.argv[1]).rglob("*"))))
        """)
    path = tmp_path / "program.py"
    path.write_text(program)
    counts = [
        subprocess.run(
            [sys.executable, str(path), str(tmp_path / "cache")], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert counts[0] == counts[1] != "0\n"


def test_the_numba_backend_refuses_it() -> None:
    with jg.config.using(backend="numba"), pytest.raises(CompilationError, match="bfloat16"):
        jg.jit(lambda x: x + x)(draw(3))
    with jg.config.using(backend="numba"), pytest.raises(CompilationError, match="bfloat16"):
        jg.jit(lambda x: x.astype(BF16).astype(np.float32))(np.ones(3, np.float32))


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
