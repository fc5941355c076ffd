"""Fourier, cosine and sine transforms of real pairs: values in every rendering, the rules of their derivatives, what
they refuse."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.fft
from native_checks import check_value, graph_of, run_everywhere

from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.codegen import libcalls
from jitgrad.compiler import Compiled
from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.core import OPS, Builder
from jitgrad.ir.types import TensorType, f32, f64, i64, type_of
from jitgrad.loopir.nodes import LibCall
from jitgrad.loopir.walk import statements
from jitgrad.ops.op import Sample

NAMES = ["fft", "rfft", "irfft", "dct", "dst"]
SAMPLES = [(name, s) for name in NAMES for s in OPS[name].samples(np.random.default_rng(3))]  # pyright: ignore


def _id(value: Any) -> str:
    if isinstance(value, Sample):
        return "-".join(str(a.shape) for a in value.args) + "".join(f"-{k}={v}" for k, v in value.attrs.items())
    return str(value)


@pytest.mark.parametrize(("name", "sample"), SAMPLES, ids=_id)
def test_values(name: str, sample: Sample) -> None:
    check_value(name, sample, tol=1e-5 if sample.args[0].dtype == np.float32 else 1e-12)


def _close(found: np.ndarray, wanted: np.ndarray) -> None:
    """Up to rounding relative to the whole array, which is what a transform promises."""
    eps = 1e-6 if found.dtype == np.float32 else 1e-14
    np.testing.assert_allclose(found, wanted, rtol=0, atol=20 * eps * max(1.0, float(np.max(np.abs(wanted)))))


#: Products of small primes, primes, their doubles, powers of two with every number of passes.
LENGTHS = [*range(1, 41), 48, 49, 60, 64, 81, 97, 100, 120, 125, 128, 210, 243, 256, 360, 500, 512, 625, 1000, 1009]
LENGTHS += [1024, 1155, 1536, 2018, 2048, 3000, 4096, 8192, 3**8, 5**5, 10000, 2**14, 2**15, 2**16, 120000, 2**17]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_lengths_against_numpy(dtype: Any) -> None:
    """One compiled program with all three transforms a length."""
    rng = np.random.default_rng(1)
    for n in LENGTHS:
        re, im, x = (rng.standard_normal(n).astype(dtype) for _ in range(3))
        half = n // 2 + 1
        b = Builder(f"transforms_of_{n}")
        p, q, r = (b.param(type_of(a)) for a in (re, im, x))
        results = [v for way in (False, True) for v in b.emit_op("fft", [p, q], {"axes": (0,), "inverse": way}).results]
        results += b.emit_op("rfft", [r], {"axis": 0}).results
        starts = {"starts": (0,), "sizes": (half,), "steps": (1,)}
        cut = [b.emit("slice", v, **starts) for v in (p, q)]
        results.append(b.emit("irfft", *cut, n=n, axis=0))
        found = Compiled(b.build(*results))(re, im, x)
        # In double precision: NumPy's own error is as large as ours.
        z = re.astype(np.complex128) + 1j * im
        forward, back, real = np.fft.fft(z), np.fft.ifft(z) * n, np.fft.rfft(x.astype(np.float64))
        wanted = [forward.real, forward.imag, back.real, back.imag, real.real, real.imag]
        for f, w in zip(found, [*wanted, np.fft.irfft(z[:half], n) * n], strict=True):
            _close(f, w)


@pytest.mark.parametrize("shape", [(3, 64), (64, 3), (16, 32), (5, 30, 7), (2, 3, 128), (8, 97), (1, 256), (256, 1)])
def test_stacks_along_every_axis(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    z = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    re, im = z.real.copy(), z.imag.copy()
    for axis in range(len(shape)):
        attrs: dict[str, Any] = {"axes": (axis,), "inverse": False}
        found = run_everywhere(graph_of("fft", (re, im), attrs), re, im, tol=1e-12)
        _close(found[0] + 1j * found[1], np.fft.fft(z, axis=axis))
        found = run_everywhere(graph_of("rfft", (re,), {"axis": axis}), re, tol=1e-12)
        _close(found[0] + 1j * found[1], np.fft.rfft(re, axis=axis))
        n = 2 * shape[axis] - 1
        (back,) = run_everywhere(graph_of("irfft", (re, im), {"n": n, "axis": axis}), re, im, tol=1e-12)
        _close(back, np.fft.irfft(z, n, axis=axis, norm="forward"))
    for axes in itertools.permutations(range(len(shape)), 2):
        found = run_everywhere(graph_of("fft", (re, im), {"axes": axes, "inverse": True}), re, im, tol=1e-12)
        _close(found[0] + 1j * found[1], np.fft.ifftn(z, axes=axes, norm="forward"))


def test_the_transpose_is_a_transform() -> None:
    """No loop that would build a matrix: one more library call, and factors."""
    x = np.ones(64)
    for name, args, attrs in (
        ("fft", (x, x), {"axes": (0,), "inverse": False}),
        ("rfft", (x,), {"axis": 0}),
        ("irfft", (x, x), {"n": 126, "axis": 0}),
        ("dct", (x,), {"type": 2, "axis": 0}),
    ):
        graph = vjp_graph(graph_of(name, args, attrs), [0], with_value=False, seed="param")
        names = [op.name for op in graph.block.ops]
        assert sum(n in NAMES for n in names) <= 2 and "einsum" not in names


def test_equal_transforms_are_computed_once_and_unused_ones_never() -> None:
    b = Builder("twice")
    x = b.param(TensorType(f64, (16,)))
    first, second = (b.emit_op("rfft", [x], {"axis": 0}).results[0] for _ in range(2))
    b.emit_op("dct", [x], {"type": 2, "axis": 0})
    program = Compiled(b.build(b.emit("add", first, second)))
    calls = [s for s in statements(program.program.body) if isinstance(s, LibCall)]
    assert [s.fn for s in calls] == ["fourier"]


def test_the_imaginary_parts_of_both_ends_do_not_count() -> None:
    re, im = np.ones(5), np.zeros(5)
    graph = graph_of("irfft", (re, im), {"n": 8, "axis": 0})
    im[[0, 4]] = 7.0
    (found,) = run_everywhere(graph, re, im)
    np.testing.assert_allclose(found, np.fft.irfft(re, 8) * 8, atol=1e-14)


@pytest.mark.parametrize("kind", ["dct", "dst"])
def test_cosine_and_sine_transforms_of_larger_arrays(kind: str) -> None:
    x = np.random.default_rng(5).standard_normal((4, 101))
    for type_, axis in itertools.product((1, 2, 3, 4), (0, 1)):
        (found,) = run_everywhere(graph_of(kind, (x,), {"type": type_, "axis": axis}), x)
        np.testing.assert_allclose(found, getattr(scipy.fft, kind)(x, type_, axis=axis), atol=1e-11)


def test_threads_share_a_program() -> None:
    rng = np.random.default_rng(6)
    arrays = [rng.standard_normal((2, 16, 97)) for _ in range(8)]
    program = Compiled(graph_of("fft", (arrays[0][0], arrays[0][1]), {"axes": (0, 1), "inverse": False}))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda a: [program(a[0], a[1]) for _ in range(20)][-1], arrays))
    for (re, im), a in zip(found, arrays, strict=True):
        _close(re + 1j * im, np.fft.fft2(a[0] + 1j * a[1]))


def test_python_form_of_the_call() -> None:
    """By itself, on flat arrays as compiled code has them."""
    re, im = np.random.default_rng(7).standard_normal((2, 12))
    outs = [np.empty(12), np.empty(12)]
    static = {"shape": (3, 4), "axes": (1,), "inverse": True}
    assert libcalls.get("fourier").python(outs, [re, im], kind="fft", **static) == 0
    wanted = np.fft.ifft((re + 1j * im).reshape(3, 4)) * 4
    np.testing.assert_allclose(outs[0] + 1j * outs[1], wanted.ravel(), rtol=1e-12)


def test_errors() -> None:
    t = TensorType(f64, (4, 3))
    axes = {"axes": (1,), "inverse": False}
    for name, types, attrs, error, text in (
        ("fft", (t, TensorType(f32, (4, 3))), axes, DtypeError, "one dtype and shape"),
        ("fft", (t, t), {"axes": (0, 0), "inverse": True}, ShapeError, "named once"),
        ("fft", (t, t), {"axes": (), "inverse": True}, ShapeError, "named once"),
        ("rfft", (TensorType(i64, (4,)),), {"axis": 0}, DtypeError, "takes float32 or float64"),
        ("rfft", (TensorType(f64, (0,)),), {"axis": 0}, ShapeError, "of 0 elements"),
        ("rfft", (t,), {"axis": 2}, ShapeError, "one of the array's"),
        ("irfft", (t, t), {"n": 8, "axis": 1}, ShapeError, r"takes n // 2 \+ 1 elements"),
        ("dct", (TensorType(f64, (1,)),), {"type": 1, "axis": 0}, ShapeError, "at least 2 elements"),
    ):
        with pytest.raises(error, match=text):
            OPS[name].infer(*types, **attrs)
