"""float16: every value and dtype is NumPy's; gradients are those of float64 to float16's precision."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import testing
from jitgrad.codegen import llvm_half
from jitgrad.errors import CompilationError, DtypeError
from jitgrad.ir.core import OPS
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.printer import print_graph
from jitgrad.runtime import target

HALF = np.float16
#: Every float16 there is, NaNs with one payload only.
ALL = np.arange(65536, dtype=np.uint16).view(HALF)
ALL = np.concatenate([ALL[~np.isnan(ALL)], [HALF(np.nan)]])


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(HALF)


def ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many float16 lie between; 0 for two NaNs, and many for one."""
    places = [np.where(np.signbit(x), -(x.view(np.int16) & 0x7FFF).astype(int), x.view(np.int16)) for x in (a, b)]
    one = np.isnan(a) != np.isnan(b)
    return np.where(np.isnan(a) & np.isnan(b), 0, np.where(one, 99999, np.abs(places[0] - places[1])))


def same(found: object, expected: object) -> None:
    """Equal in type, dtype, shape and every bit, NaN with NaN."""
    assert type(found) is type(expected)
    f, e = np.asarray(found), np.asarray(expected)
    assert (f.dtype, f.shape) == (e.dtype, e.shape)
    np.testing.assert_array_equal(f, e)
    if e.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(f) & ~np.isnan(f), np.signbit(e) & ~np.isnan(e))


# Values

EXACT = [np.negative, np.absolute, np.square, np.sqrt, np.reciprocal, np.floor, np.ceil, np.rint, np.trunc, np.sign,
         np.isnan, np.isinf, np.isfinite, np.signbit]  # fmt: skip
ROUNDED = [np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sin, np.cos, np.tan, np.arcsin, np.arccos,
           np.arctan, np.sinh, np.cosh, np.tanh, np.arcsinh, np.arccosh, np.arctanh, np.cbrt, np.degrees,
           np.radians]  # fmt: skip


@pytest.mark.parametrize("f", EXACT, ids=lambda f: f.__name__)
def test_every_value_exactly(f) -> None:
    with np.errstate(all="ignore"):
        expected = f(ALL)
    same(jg.jit(f)(ALL), expected)


@pytest.mark.parametrize("f", ROUNDED, ids=lambda f: f.__name__)
def test_every_value_to_an_ulp(f) -> None:
    with np.errstate(all="ignore"):
        expected = f(ALL)
    found = jg.jit(f)(ALL)
    assert found.dtype == HALF
    assert ulps(found, expected).max() <= 1


@pytest.mark.parametrize(
    "f",
    [operator.add, operator.sub, operator.mul, operator.truediv, operator.lt, operator.ge, operator.eq, np.maximum,
     np.minimum, np.fmax, np.fmin, np.copysign],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_pairs_exactly(f) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.permutation(ALL), rng.permutation(ALL)
    with np.errstate(all="ignore"):
        expected = f(x, y)
    same(jg.jit(f)(x, y), expected)


def test_each_operation_rounds() -> None:
    def f(x, y):
        return (x + y) * x / (y - HALF(0.3)) - np.sqrt(abs(x)) * x

    x, y = draw(31, 17), draw(31, 17, seed=1)
    for backend in ("llvm", "python"):
        with jg.config.using(backend=backend):
            same(jg.jit(f)(x, y), f(x, y))


@pytest.mark.parametrize("n", [2, 3, 4, -1, -2, 0.5, 1.5, 2.5, -0.5])
def test_powers(n) -> None:
    x = np.abs(draw(300)) + HALF(0.05)
    with np.errstate(all="ignore"):
        expected = x**n
    assert ulps(jg.jit(lambda x: x**n)(x), expected).max() <= 1


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


def test_from_and_to_integers_and_bool() -> None:
    small = np.linspace(-100, 100, 77).astype(HALF)
    for dtype in (np.int8, np.int16, np.int32, np.int64, bool):
        same(jg.jit(lambda x, d=dtype: x.astype(d))(small), small.astype(dtype))
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        same(jg.jit(lambda x, d=dtype: x.astype(d))(abs(small)), abs(small).astype(dtype))
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, bool):
        info = np.iinfo(dtype) if dtype is not bool else np.iinfo(np.int8)
        x = np.random.default_rng(2).integers(max(info.min, -(2**62)), min(info.max, 2**62), 999).astype(dtype)
        x[:400] = x[:400] % 97
        with np.errstate(over="ignore"):
            expected = x.astype(HALF)
        same(jg.jit(lambda x: x.astype(HALF))(x), expected)


def test_complex_parts() -> None:
    x, y = draw(9), draw(9, seed=1)

    def f(x, y):
        z = x + 1j * y
        return z, z.real.astype(HALF), z * np.complex64(2j)

    for found, expected in zip(jg.jit(f)(x, y), f(x, y), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-6)


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


@pytest.mark.parametrize("number", [2, 0.5, True, np.float64(2), np.float32(2), np.int8(2), np.int64(2)], ids=repr)
def test_promotion_with_numbers(number) -> None:
    x = draw(5)
    same(jg.jit(lambda x: x * number)(x), x * number)
    same(jg.jit(lambda x, n: x * n)(x, number), x * number)


def test_ufuncs_of_small_integers_are_float16() -> None:
    for dtype in (np.int8, np.uint8, np.bool_):
        x = np.array([1, 0, 1, 1], dtype)
        for f in (np.sqrt, np.exp, np.sin, np.tanh, np.cos):
            expected = f(x)
            found = jg.jit(f)(x)
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_scalars() -> None:
    same(jg.jit(lambda s: s * 2)(HALF(1.5)), HALF(3))
    same(jg.jit(lambda s: HALF(s) * 3)(1.1), HALF(1.1) * 3)
    same(jg.jit(lambda x: x[0])(draw(3)), draw(3)[0])
    same(jg.jit(lambda x: x * np.finfo(x.dtype).eps)(draw(3)), draw(3) * np.finfo(HALF).eps)
    assert jg.jit(lambda x: x.itemsize * x.nbytes)(draw(3)) == 12


# Sums and products


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "prod", "max", "min", "argmax", "argmin", "median"])
def test_reductions(name: str, axis: int | None) -> None:
    """Sums are of float32 and rounded once: the nearest float16, or its neighbour."""
    x = draw(67, 43) if name != "prod" else np.exp2(draw(67, 43) / HALF(16))
    found = jg.jit(lambda x: getattr(np, name)(x, axis=axis))(x)
    assert found.dtype == getattr(np, name)(x, axis=axis).dtype
    expected = getattr(np, name)(x.astype(np.float64), axis=axis).astype(found.dtype)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_long_sums() -> None:
    """A running sum in float16 would stop at 2048, and the count does not fit."""
    x = np.ones(100_000, HALF)
    same(jg.jit(np.mean)(x), np.mean(x))
    same(jg.jit(np.sum)(x[:60_001]), np.sum(x[:60_001]))
    same(jg.jit(np.sum)(x), HALF(np.inf))
    assert jg.jit(np.var)(x) == 0
    np.testing.assert_array_equal(jg.grad(np.mean)(x[:1000]), np.full(1000, HALF(1e-3)))


@pytest.mark.parametrize("shape", [(3, 4, 5), (64, 300, 48)])
def test_products(shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    x, y = draw(n, k), draw(k, m, seed=1)
    expected = (x.astype(np.float64) @ y.astype(np.float64)).astype(HALF)
    for f in (operator.matmul, np.dot, lambda x, y: np.einsum("ij,jk->ik", x, y)):
        found = jg.jit(f)(x, y)
        assert found.dtype == HALF
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


# Arrays


def test_arrays() -> None:
    def moved(x, y, i):
        z = np.zeros(12, HALF)
        z[2:9] = x[0, :7] * 2
        z[i] += y[0, :4]
        np.add.at(z, i, y[1, :4])
        return (
            z, x[:, ::2].T, x[1:3][:, i], np.where(x > y, x, y), np.sort(x, axis=0), np.argsort(x, axis=1),
            np.concatenate([x, y]), np.pad(x, 1), np.roll(x, 3), np.cumsum(x[0]), np.clip(x, -0.5, 0.5), np.tril(x),
            np.searchsorted(np.sort(x[0]), y[0]), np.full_like(x, 2.7), np.arange(5, dtype=HALF) * x[0, 0],
            np.linspace(0, 1, 7, dtype=HALF) + x[0, 0], np.array([x[0, 0], 1.0, 2]), x[0] > 0.3, x.astype("e"),
        )  # fmt: skip

    args = draw(9, 9), draw(9, 9, seed=1), np.array([3, 1, 4, 7])
    for found, expected in zip(jg.jit(moved)(*args), moved(*args), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=3e-3)  # NumPy rounds each sum of cumsum


def test_a_recurrence() -> None:
    """Each step rounds, as the array does that it is kept in."""

    def f(v):
        a = np.zeros(len(v), HALF)
        total = HALF(0)
        a[0] = v[0]
        for i in range(1, len(v)):
            a[i] = a[i - 1] * HALF(0.9) + v[i]
            total = total + a[i] * v[i]
        return a, total

    v = draw(200)
    for found, expected in zip(jg.jit(f)(v), f(v), strict=True):
        same(found, expected)


# Gradients


def network(w, v, x):
    h = np.tanh(x @ w)
    z = h @ v
    z = z - np.max(z, axis=1, keepdims=True)
    return np.mean(np.log(np.sum(np.exp(z), axis=1)) - z[:, 0]) + np.sum(w[2:4] ** 2) / 64


def recurrence(x):
    a = np.zeros(8, x.dtype)
    a[0] = x[0]
    for i in range(1, 8):
        a[i] = a[i - 1] * x[i] + np.where(x[i] > 0, np.sqrt(abs(x[i])), 0)
    return np.sum(a * a)


def test_gradients() -> None:
    args = draw(6, 9) / HALF(3), draw(9, 4, seed=1) / HALF(3), draw(11, 6, seed=2)
    value, found = jg.value_and_grad(network, argnums=(0, 1, 2))(*args)
    exact, expected = jg.value_and_grad(network, argnums=(0, 1, 2))(*(a.astype(np.float64) for a in args))
    assert value.dtype == HALF
    np.testing.assert_allclose(value, exact, rtol=3e-3)
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == HALF
        np.testing.assert_allclose(f, e, rtol=2e-2, atol=1e-3)


def test_gradient_of_a_loop() -> None:
    x = draw(8)
    found, expected = jg.grad(recurrence)(x), jg.grad(recurrence)(x.astype(np.float64))
    assert found.dtype == HALF
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-3)
    testing.check_grads(lambda x: np.sum(np.tanh(x) * x), (x,), order=1)


def test_gradient_through_a_conversion() -> None:
    """Parameters in float32, arithmetic in float16: the usual mixed precision."""
    w = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    x = draw(5, 3)
    found = jg.grad(lambda w: np.sum((x @ w.astype(HALF)).astype(np.float32) ** 2))(w)
    assert found.dtype == np.float32
    wide = x.astype(np.float64)
    np.testing.assert_allclose(found, 2 * wide.T @ (wide @ w), rtol=1e-2, atol=1e-2)


# Stages

#: What LAPACK and the Fourier transforms compute has no float16.
WITHOUT = {"adjugate", "banded_solve", "cholesky", "dct", "det", "dst", "eigh", "eigh_complex", "eigvalsh", "fft",
           "inv", "irfft", "lu", "pinv", "qr", "rfft", "slogdet", "slogdet_complex", "solve", "svd", "svdvals",
           "triangular_solve"}  # fmt: skip


def halved(a: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return a.astype(HALF) if a.dtype.kind == "f" else a


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op(name: str) -> None:
    """The compiled op agrees with the interpreter's, which computes in float32 by NumPy and rounds."""
    floating = [s for s in testing.op_samples(name) if any(np.asarray(a).dtype == np.float64 for a in s.args)]
    if not floating:
        pytest.skip("takes no floats")
    half, graphs, arrays = np.dtype(HALF), [], []
    for s in floating:
        attrs = {k: half if isinstance(v, np.dtype) and v.kind == "f" else v for k, v in s.attrs.items()}
        sample = s._replace(args=tuple(halved(np.asarray(a)) for a in s.args), attrs=attrs)
        if name in WITHOUT:
            with pytest.raises(DtypeError, match="float16"):
                testing.op_graph(name, sample)
        else:
            graphs.append(testing.op_graph(name, sample))
            arrays += sample.args
    if graphs:
        testing.check_compiled(testing.merge_graphs(graphs, name), arrays, what=name)


def test_the_interpreter_rounds_once() -> None:
    x = np.ones(60_001, HALF)
    graph = parse(
        "graph f(%x: f16[60001]) {\n  %0: f16[] = reduce_sum(%x) {axes=(0,)}\n  return %0\n}"
    )  # fmt: skip
    same(interpret(graph, x)[0][()], np.sum(x))


def test_text_round_trip() -> None:
    b = jg.ir.core.Builder("f")
    x = b.param(jg.TensorType(np.dtype(HALF), (3,)), "x")
    c = b.constant(np.array([0.1, -0.0, np.inf], HALF))
    text = print_graph(b.build(b.emit("add", x, c)))
    assert "f16[3] [0.1, -0.0, inf]" in text
    assert print_graph(parse(text)) == text
    every = b.build(b.constant(ALL))
    (found,) = interpret(parse(print_graph(every)), draw(3))
    same(found, ALL)


def test_source_says_where_it_rounds() -> None:
    text = jg.jit(lambda x: x * x + x).source(draw(4))
    assert "np.float16(" in text and "np.float32(" in text


def test_the_cache_on_disk(tmp_path) -> None:
    x = draw(40)
    with jg.config.using(cache=True, cache_dir=str(tmp_path)):
        for _ in range(2):
            same(jg.jit(lambda x: x * HALF(3) + x)(x), x * HALF(3) + x)
    assert any(tmp_path.rglob("*"))


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


def test_the_numba_backend_refuses_it() -> None:
    with jg.config.using(backend="numba"), pytest.raises(CompilationError, match="float16"):
        jg.jit(lambda x: x + x)(draw(3))
    with jg.config.using(backend="numba"), pytest.raises(CompilationError, match="float16"):
        jg.jit(lambda x: x.astype(HALF).astype(np.float32))(np.ones(3, np.float32))
