"""What is alike for float16 and bfloat16: values and dtypes are NumPy's, gradients those of float64 to their precision.

Sums are of float32 and rounded once: NumPy rounds each partial sum of bfloat16, so those are compared with float64's.
"""

from __future__ import annotations

import operator
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import testing
from jitgrad.errors import CompilationError, DtypeError
from jitgrad.ir.core import OPS
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.printer import print_graph
from tests.short_floats import BFLOAT16, EACH, FLOAT16, WITHOUT, draw, eps, every, same, samples, ulps, wide

pytestmark = EACH

# Values

EXACT = [np.negative, np.absolute, np.square, np.sqrt, np.reciprocal, np.floor, np.ceil, np.rint, np.trunc, np.isnan,
         np.isinf, np.isfinite, np.signbit]  # fmt: skip
ROUNDED = [np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sin, np.cos, np.tan, np.arcsin, np.arccos,
           np.arctan, np.sinh, np.cosh, np.tanh, np.arcsinh, np.arccosh, np.arctanh, np.cbrt, np.rad2deg,
           np.deg2rad]  # fmt: skip
PAIRS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.lt, operator.ge, operator.eq, operator.ne,
         np.maximum, np.minimum, np.fmax, np.fmin, np.copysign]  # fmt: skip


@pytest.mark.parametrize("f", EXACT, ids=lambda f: f.__name__)
def test_every_value_exactly(short: Any, f: Callable[..., Any]) -> None:
    x = every(short)
    with np.errstate(all="ignore"):
        expected = f(x)
    same(jg.jit(f)(x), expected)


def test_signs(short: Any) -> None:
    """0 for -0.0, as NumPy's own floats have it; ml_dtypes has -0.0."""
    x = every(short)
    same(jg.jit(np.sign)(x), np.sign(x.astype(np.float32)).astype(short))


@pytest.mark.parametrize("f", ROUNDED, ids=lambda f: f.__name__)
def test_every_value_to_an_ulp(short: Any, f: Callable[..., Any]) -> None:
    x = every(short)
    with np.errstate(all="ignore"):
        expected = f(x)
    found = jg.jit(f)(x)
    assert found.dtype == short
    assert ulps(found, expected).max() <= 1


@pytest.mark.parametrize("f", PAIRS, ids=lambda f: f.__name__)
def test_pairs_exactly(short: Any, f: Callable[..., Any]) -> None:
    """No two zeros meet: which is the greater is not said."""
    rng = np.random.default_rng(1)
    x, y = rng.permutation(every(short)), rng.permutation(every(short))
    with np.errstate(all="ignore"):
        expected = f(x, y)
    same(jg.jit(f)(x, y), expected)


@pytest.mark.parametrize("backend", ["llvm", "python"])
def test_each_operation_rounds(short: Any, backend: str) -> None:
    def f(x, y):
        return (x + y) * x / (y - short(0.3)) - np.sqrt(abs(x)) * x

    x, y = draw(short, 31, 17), draw(short, 31, 17, seed=1)
    with jg.config.using(backend=backend):
        same(jg.jit(f)(x, y), f(x, y))


@pytest.mark.parametrize("n", [2, 3, 4, -1, -2, 0.5, 1.5, 2.5, -0.5])
def test_powers(short: Any, n: float) -> None:
    """By a float, those of bfloat16 are float32."""
    x = np.abs(draw(short, 300)) + short(0.05)
    with np.errstate(all="ignore"):
        expected = x**n
    assert ulps(jg.jit(lambda x: x**n)(x), expected).max() <= 1


# Conversions


def test_from_and_to_integers_and_bool(short: Any) -> None:
    small = np.linspace(-100, 100, 77).astype(short)
    for dtype in (np.int8, np.int16, np.int32, np.int64, bool):
        same(jg.jit(lambda x, d=dtype: x.astype(d))(small), small.astype(dtype))
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        same(jg.jit(lambda x, d=dtype: x.astype(d))(abs(small)), abs(small).astype(dtype))
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, bool):
        info = np.iinfo(dtype) if dtype is not bool else np.iinfo(np.int8)
        x = np.random.default_rng(2).integers(max(info.min, -(2**62)), min(info.max, 2**62), 999).astype(dtype)
        x[:400] = x[:400] % 97
        with np.errstate(over="ignore"):
            expected = x.astype(short)
        same(jg.jit(lambda x: x.astype(short))(x), expected)


def test_complex_parts(short: Any) -> None:
    x, y = draw(short, 9), draw(short, 9, seed=1)

    def f(x, y):
        z = x + 1j * y
        return z, z.real.astype(short), z * np.complex64(2j)

    for found, expected in zip(jg.jit(f)(x, y), f(x, y), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found.astype(np.complex128), expected.astype(np.complex128), rtol=1e-6)


# Numbers beside arrays


@pytest.mark.parametrize("number", [2, 0.5, True, np.float64(2), np.float32(2), np.int8(2), np.int64(2)], ids=repr)
def test_promotion_with_numbers(short: Any, number: Any) -> None:
    """A Python float makes bfloat16 float32, and leaves float16; an int leaves both."""
    x = draw(short, 5)
    for f in (operator.mul, operator.add, operator.gt, np.maximum):
        same(jg.jit(lambda x, f=f: f(x, number))(x), f(x, number))
        same(jg.jit(f)(x, number), f(x, number))


def test_scalars(short: Any) -> None:
    x = draw(short, 3)
    same(jg.jit(lambda s: s * 2)(short(1.5)), short(3))
    same(jg.jit(lambda s: short(s) * 3)(1.1), short(1.1) * 3)
    same(jg.jit(lambda x: x[0])(x), x[0])
    assert jg.jit(lambda x: x.itemsize * x.nbytes)(x) == 12
    assert jg.jit(lambda x: 1 if x.dtype == short and isinstance(x[0], short) else 2)(x) == 1


def test_static_zeros_have_signs(short: Any) -> None:
    f = jg.jit(lambda x, s: x + 1 if np.signbit(s) else x, static_argnames="s")
    x = draw(short, 3)
    same(f(x, short(0.0)), x)
    same(f(x, short(-0.0)), x + 1)


def test_printing(short: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def f(x):
        print(x, x[0])

    x = np.array([1.5, -2], short)
    f(x)
    expected = capfd.readouterr().out
    jg.jit(f)(x)
    assert capfd.readouterr().out == expected


# Sums and products


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "prod", "max", "min", "median"])
def test_reductions(short: Any, name: str, axis: int | None) -> None:
    """The nearest number to the exact value, or its neighbour."""
    x = draw(short, 67, 43) if name != "prod" else np.exp2(draw(short, 67, 43) / short(16))
    found = np.asarray(jg.jit(lambda x: getattr(np, name)(x, axis=axis))(x))
    assert found.dtype == getattr(np, name)(x, axis=axis).dtype == short
    exact = np.asarray(getattr(np, name)(wide(x), axis=axis))
    assert ulps(found, exact.astype(short)).max() <= 1
    np.testing.assert_allclose(wide(found), exact, rtol=eps(short), atol=1e-6)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("f", [np.argmax, np.argmin], ids=lambda f: f.__name__)
def test_places(short: Any, f: Callable[..., Any], axis: int | None) -> None:
    x = draw(short, 67, 43)
    same(jg.jit(lambda x: f(x, axis=axis))(x), f(wide(x), axis=axis))
    same(f(x, axis=axis), f(wide(x), axis=axis))


def test_long_sums(short: Any) -> None:
    """A running sum would stop at 2048 in float16 and at 256 in bfloat16, and the count does not fit into float16."""
    x = np.ones(100_000, short)
    same(jg.jit(np.mean)(x), short(1))
    for n in (10_000, 60_001, 100_000):
        with np.errstate(over="ignore"):
            expected = short(n)
        same(jg.jit(np.sum)(x[:n]), expected)
    assert wide(jg.jit(np.var)(x)) == 0
    same(jg.grad(np.mean)(x[:1000]), np.full(1000, short(1e-3)))


@pytest.mark.parametrize("shape", [(3, 4, 5), (64, 300, 48)])
def test_products(short: Any, shape: tuple[int, int, int]) -> None:
    """All add up in float32; ``@`` of bfloat16 stays there, as in NumPy."""
    n, k, m = shape
    x, y = draw(short, n, k), draw(short, k, m, seed=1)
    expected = wide(x) @ wide(y)
    for f in (operator.matmul, np.dot, lambda x, y: np.einsum("ij,jk->ik", x, y)):
        single = short is BFLOAT16 and f is operator.matmul
        found = jg.jit(f)(x, y)
        assert found.dtype == (np.float32 if single else short)
        rtol, atol = (1e-4, 1e-4) if single else (eps(short) / 2, 1e-3)
        np.testing.assert_allclose(wide(found), expected, rtol=rtol, atol=atol)


# Arrays


@pytest.mark.parametrize("backend", ["llvm", "python"])
def test_arrays(short: Any, backend: str) -> None:
    def moved(x, y, i):
        z = np.zeros(12, short)
        z[2:9] = x[0, :7] * 2
        z[i] += y[0, :4]
        z[0] = 2.7
        np.add.at(z, i, y[1, :4])
        added = z.copy()
        z *= 1.5
        np.exp(z, out=z)
        return (
            added, z, x[:, ::2].T, x[1:3][:, i], np.where(x > y, x, y), np.sort(x, axis=0), np.argsort(x, axis=1),
            np.concatenate([x, y]), np.pad(x, 1), np.roll(x, 3), np.clip(x, -0.5, 0.5), np.tril(x),
            np.searchsorted(np.sort(x[0]), y[0]), np.full_like(x, 2.7), np.arange(5, dtype=short) * x[0, 0],
            np.linspace(0, 1, 7, dtype=short) + x[0, 0], np.array([x[0, 0], 1.0]), x[0] > 0.3,
            x.astype(short.__name__), x.reshape(3, 27), x[::-1], np.add(x, y, dtype="f4"),
        )  # fmt: skip

    args = draw(short, 9, 9), draw(short, 9, 9, seed=1), np.array([3, 1, 4, 7])
    with jg.config.using(backend=backend):
        for found, expected in zip(jg.jit(moved)(*args), moved(*args), strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(wide(found), wide(expected), rtol=eps(short))


def test_changed_arguments(short: Any) -> None:
    def f(x, y):
        x += 1
        x[1:3] += y[:2]
        x *= 0.5

    x, z, y = draw(short, 5), draw(short, 5), np.ones(5, np.float32)
    jg.jit(f)(x, y)
    f(z, y)
    same(x, z)


def test_a_recurrence(short: Any) -> None:
    """Each step rounds, as the array does that it is kept in."""

    def f(v):
        a = np.zeros(len(v), short)
        total = short(0)
        a[0] = v[0]
        for i in range(1, len(v)):
            a[i] = a[i - 1] * short(0.9) + v[i]
            total = total + a[i] * v[i]
        return a, total

    v = draw(short, 200)
    for found, expected in zip(jg.jit(f)(v), f(v), strict=True):
        same(found, expected)


# Gradients


def network(w, v, x):
    h = np.tanh(np.dot(x, w))
    z = np.dot(h, v)
    z = z - np.max(z, axis=1, keepdims=True)
    return np.mean(np.log(np.sum(np.exp(z), axis=1)) - z[:, 0]) + np.sum(w[2:4] ** 2) / 64


def weights(short: Any) -> tuple[np.ndarray, ...]:
    """Arguments of the network."""
    return draw(short, 6, 9) / short(3), draw(short, 9, 4, seed=1) / short(3), draw(short, 11, 6, seed=2)


def recurrence(x):
    a = np.zeros(8, x.dtype)
    a[0] = x[0]
    for i in range(1, 8):
        a[i] = a[i - 1] * x[i] + np.where(x[i] > 0, np.sqrt(abs(x[i])), 0)
    return np.sum(a * a)


def test_gradients(short: Any) -> None:
    args = weights(short)
    value, found = jg.value_and_grad(network, argnums=(0, 1, 2))(*args)
    exact, expected = jg.value_and_grad(network, argnums=(0, 1, 2))(*map(wide, args))
    assert value.dtype == short
    np.testing.assert_allclose(wide(value), exact, rtol=2.5 * eps(short))
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == short
        np.testing.assert_allclose(wide(f), e, rtol=12 * eps(short), atol=eps(short) * min(1, np.abs(e).max()))


@pytest.mark.peers
def test_gradients_are_those_of_jax(short: Any) -> None:
    jax = pytest.importorskip("jax")
    jnp = pytest.importorskip("jax.numpy")

    def theirs(w, v, x):
        h = jnp.tanh(jnp.dot(x, w))
        z = jnp.dot(h, v)
        z = z - jnp.max(z, axis=1, keepdims=True)
        return jnp.mean(jnp.log(jnp.sum(jnp.exp(z), axis=1)) - z[:, 0]) + jnp.sum(w[2:4] ** 2) / 64

    args = weights(short)
    expected = jax.grad(theirs, argnums=(0, 1, 2))(*map(jnp.asarray, args))
    for f, e in zip(jg.grad(network, argnums=(0, 1, 2))(*args), expected, strict=True):
        assert f.dtype == np.asarray(e).dtype == short
        atol = eps(short) * np.abs(wide(e)).max()
        np.testing.assert_allclose(wide(f), wide(e), rtol=12 * eps(short), atol=atol)


def test_gradient_of_a_loop(short: Any) -> None:
    x = draw(short, 8)
    found, expected = jg.grad(recurrence)(x), jg.grad(recurrence)(wide(x))
    assert found.dtype == short
    np.testing.assert_allclose(wide(found), expected, rtol=12 * eps(short), atol=2 * eps(short))
    testing.check_grads(lambda x: np.sum(np.tanh(x) * x), (x,), order=1)


def test_checks_notice_a_wrong_gradient(short: Any) -> None:
    @jg.custom_vjp
    def f(x):
        return x * x

    f.defvjp(lambda x: (x * x, x), lambda x, g: (g * x,))
    with pytest.raises(AssertionError):
        testing.check_grads(f, (draw(short, 8) + short(1),), order=1, modes=("rev",))


def test_other_derivatives(short: Any) -> None:
    x = np.array([-1, 0.5, 2], short)
    for found in (jg.jvp(lambda x: x * x * x, (x,), (x,))[1], jg.vjp(lambda x: x * x * x, x)[1](x)[0]):
        same(found, np.array([-3, 0.375, 24], short))
    same(jg.hessian(lambda x: np.sum(x * x * x))(x).diagonal().copy(), np.array([-6, 3, 12], short))
    same(jg.vmap(lambda x: x * x)(x), x * x)


def test_gradient_through_a_conversion(short: Any) -> None:
    """Parameters in float32, arithmetic in short floats: the usual mixed precision."""
    w = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    x = draw(short, 5, 3)
    found = jg.grad(lambda w: np.sum((x @ w.astype(short)).astype(np.float32) ** 2))(w)
    assert found.dtype == np.float32
    expected = 2 * wide(x).T @ (wide(x) @ w)
    np.testing.assert_allclose(found, expected, rtol=3.8 * eps(short), atol=6.4 * eps(short))


# Stages


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op(short: Any, name: str) -> None:
    """The compiled op agrees with the interpreter's, which computes in float32 by NumPy and rounds."""
    floating = samples(name, short)
    if not floating:
        pytest.skip("takes no floats")
    if name in WITHOUT:
        for s in floating:
            with pytest.raises(DtypeError, match=rf"\b{short.__name__}\b"):
                testing.op_graph(name, s)
        return
    graph = testing.merge_graphs([testing.op_graph(name, s) for s in floating], name)
    testing.check_compiled(graph, [a for s in floating for a in s.args], what=name)


def test_the_interpreter_rounds_once(short: Any) -> None:
    dtype = "f16" if short is FLOAT16 else "bf16"
    for n in (1000, 60_001):
        graph = parse(f"graph f(%x: {dtype}[{n}]) {{\n  %0: {dtype}[] = reduce_sum(%x) {{axes=(0,)}}\n  return %0\n}}")
        same(interpret(graph, np.ones(n, short))[0][()], short(n))


def test_text_round_trip(short: Any) -> None:
    b = jg.ir.core.Builder("f")
    x = b.param(jg.TensorType(np.dtype(short), (3,)), "x")
    c = b.constant(np.array([0.1, -0.0, np.inf], short))
    text = print_graph(b.build(b.emit("add", x, c)))
    assert ("=f16[3] [0.1, -0.0, inf]" if short is FLOAT16 else "=bf16[3] [0.100098, -0.0, inf]") in text
    assert print_graph(parse(text)) == text
    bits = np.arange(65536, dtype=np.uint16)
    (found,) = interpret(parse(print_graph(b.build(b.constant(bits.view(short))))), draw(short, 3))
    assert found.dtype == short
    np.testing.assert_array_equal(found.view(np.uint16), bits)


def test_source_says_where_it_rounds(short: Any) -> None:
    text = jg.jit(lambda x: x * x + x).source(draw(short, 4))
    assert ("np.float16(" if short is FLOAT16 else "ml_dtypes.bfloat16(") in text
    assert "np.float32(" in text


def test_the_cache_on_disk(short: Any, tmp_path: Path) -> None:
    x = draw(short, 40)
    with jg.config.using(cache=True, cache_dir=str(tmp_path)):
        for _ in range(2):
            same(jg.jit(lambda x: x * short(3) + x)(x), x * short(3) + x)
    assert any(tmp_path.rglob("*"))


def test_the_cache_on_disk_in_a_process_that_comes_later(short: Any, tmp_path: Path) -> None:
    module = "numpy" if short is FLOAT16 else "ml_dtypes"
    program = textwrap.dedent(f"""
        import pathlib, sys
        import numpy as np, jitgrad as jg
        from {module} import {short.__name__} as short
        jg.config.update(cache=True, cache_dir=sys.argv[1])
        c = np.linspace(0, 1, 40).astype(short)
        f = jg.jit(lambda x: (x * c + x, np.sum(x)))
        x = np.linspace(-1, 1, 40).astype(short)
        a, b = f(x)
        assert a.dtype == b.dtype == short
        assert (a == x * c + x).all()
        print(len(list(pathlib.Path(sys.argv[1]).rglob("*"))))
        """)
    path = tmp_path / "program.py"
    path.write_text(program)
    command = [sys.executable, str(path), str(tmp_path / "cache")]
    counts = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert counts[0] == counts[1] != "0\n"


def test_the_numba_backend_refuses_it(short: Any) -> None:
    name = rf"\b{short.__name__}\b"
    with jg.config.using(backend="numba"), pytest.raises(CompilationError, match=name):
        jg.jit(lambda x: x + x)(draw(short, 3))
    with jg.config.using(backend="numba"), pytest.raises(CompilationError, match=name):
        jg.jit(lambda x: x.astype(short).astype(np.float32))(np.ones(3, np.float32))
