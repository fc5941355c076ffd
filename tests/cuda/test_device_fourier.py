"""Fourier transforms on a device: by the simulated implementation, and by cuFFT's calls on a stand-in of it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.fft

import jitgrad as jg
from jitgrad import config
from jitgrad.cuda import fourier
from jitgrad.cuda.compiler import compile_kernels, ptx
from jitgrad.cuda.driver import Driver, Stream
from jitgrad.cuda.driver_simulated import SimulatedDriver
from jitgrad.cuda.fourier import Fourier
from jitgrad.cuda.libraries import CudaLibraries, Libraries, Operand, SimulatedLibraries
from jitgrad.errors import KernelError
from tests.cuda.column_major import Through
from tests.cuda.conftest import REAL, real_driver
from tests.cuda.device_programs import close
from tests.cuda.fake_fourier import FakeFourier


def stood_in(driver: SimulatedDriver) -> CudaLibraries:
    library = CudaLibraries(driver)
    library._fourier = Fourier(driver, Through(FakeFourier(driver), fourier._FUNCTIONS))
    return library


@pytest.fixture(params=["simulated", "stand-in", REAL])
def on(request: pytest.FixtureRequest) -> tuple[Driver, Libraries]:
    """A driver with its libraries."""
    if request.param == "cuda":
        driver = real_driver()
        return driver, CudaLibraries(driver)
    simulated = SimulatedDriver()
    return simulated, SimulatedLibraries(simulated) if request.param == "simulated" else stood_in(simulated)


def run(on: tuple[Driver, Libraries], outs: list[Any], ins: list[np.ndarray], **static: Any) -> list[np.ndarray]:
    """The results of a call, of these shapes; a workspace that the device does not need comes after them."""
    driver, library = on
    dtype = ins[0].dtype

    def put(array: np.ndarray) -> Operand:
        address = driver.allocate(array.nbytes)
        assert address
        driver.copy_in(address, np.ascontiguousarray(array))
        return Operand(address, array.dtype, array.size)

    sources = [put(a) for a in ins]
    targets = [put(np.full(shape, 77, dtype)) for shape in (*outs, (3,))]
    scratch = put(np.zeros(library.scratch("fourier", dtype, static), np.uint8))
    library.call("fourier", targets, sources, static, 0, scratch.address)
    found = [np.empty(math.prod(shape), dtype) for shape in outs]
    for array, target in zip(found, targets, strict=False):
        driver.copy_out(array, target.address)
    for a, source in zip(ins, sources, strict=True):
        kept = np.empty(a.size, dtype)
        driver.copy_out(kept, source.address)
        np.testing.assert_array_equal(kept.reshape(a.shape), a)
    return [a.reshape(shape) for a, shape in zip(found, outs, strict=True)]


def numbers(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((8,), (0,)),
        ((1,), (0,)),
        ((3, 7), (1,)),
        ((5, 6), (0,)),
        ((2, 5, 3), (1,)),
        ((4, 6), (0, 1)),
        ((2, 3, 4), (0, 2)),
    ],
)
def test_complex(on: tuple[Driver, Libraries], shape: tuple[int, ...], axes: tuple[int, ...], dtype: Any) -> None:
    re, im = numbers(*shape, dtype=dtype), numbers(*shape, dtype=dtype)[::-1].copy()
    for inverse in (False, True):
        want = scipy.fft.ifftn(re + 1j * im, axes=axes, norm="forward") if inverse else None
        want = scipy.fft.fftn(re + 1j * im, axes=axes) if want is None else want
        found = run(on, [shape, shape], [re, im], kind="fft", shape=shape, axes=axes, inverse=inverse)
        close(found[0], want.real.astype(dtype))
        close(found[1], want.imag.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "axis"), [((8,), 0), ((7,), 0), ((1,), 0), ((3, 6), 1), ((5, 4), 0), ((2, 9, 3), 1)])
def test_real(on: tuple[Driver, Libraries], shape: tuple[int, ...], axis: int, dtype: Any) -> None:
    x = numbers(*shape, dtype=dtype)
    want = scipy.fft.rfft(x, axis=axis)
    halved = want.shape
    found = run(on, [halved, halved], [x], kind="rfft", shape=shape, axes=(axis,), inverse=False)
    close(found[0], want.real.astype(dtype))
    close(found[1], want.imag.astype(dtype))
    re, im = numbers(*halved, dtype=dtype), numbers(*halved, dtype=dtype) + 1  # its ends are not real
    want = scipy.fft.irfft(re + 1j * im, shape[axis], axis=axis, norm="forward").astype(dtype)
    (got,) = run(on, [shape], [re, im], kind="irfft", shape=halved, axes=(axis,), inverse=False)
    close(got, want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "axis"), [((8,), 0), ((7,), 0), ((2,), 0), ((3, 6), 1), ((5, 4), 0), ((2, 9, 3), 1)])
@pytest.mark.parametrize("kind", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["dct", "dst"])
def test_cosines_and_sines(
    on: tuple[Driver, Libraries], name: str, kind: int, shape: tuple[int, ...], axis: int, dtype: Any
) -> None:
    x = numbers(*shape, dtype=dtype)
    want = getattr(scipy.fft, name)(x, kind, axis=axis)
    (got,) = run(on, [shape], [x], kind=f"{name}{kind}", shape=shape, axes=(axis,), inverse=False)
    close(got, want)


@pytest.mark.parametrize("kind", [f"{name}{k}" for name in ("dct", "dst") for k in (1, 2, 3, 4)])
def test_cosines_and_sines_of_one_element(on: tuple[Driver, Libraries], kind: str) -> None:
    if kind != "dct1":
        x = numbers(3, 1)
        want = getattr(scipy.fft, kind[:3])(x, int(kind[3]), axis=1)
        close(run(on, [x.shape], [x], kind=kind, shape=x.shape, axes=(1,), inverse=False)[0], want)


def test_angles_of_long_transforms() -> None:
    """In single precision an angle has the error of its own rounding, whatever the length."""
    simulated = SimulatedDriver()
    x = numbers(3000, dtype=np.float32)
    for name, kind in (("dct", 2), ("dct", 3), ("dst", 4)):
        static = {"kind": f"{name}{kind}", "shape": x.shape, "axes": (0,), "inverse": False}
        (got,) = run((simulated, stood_in(simulated)), [x.shape], [x], **static)
        want = getattr(scipy.fft, name)(x.astype(np.float64), kind)
        assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()


def test_plans_are_made_once() -> None:
    driver = SimulatedDriver()
    fake = FakeFourier(driver)
    library = CudaLibraries(driver)
    library._fourier = Fourier(driver, Through(fake, fourier._FUNCTIONS))
    x = numbers(4, 6, 5)
    for _ in range(2):
        run((driver, library), [x.shape] * 2, [x, x], kind="fft", shape=x.shape, axes=(1, 2), inverse=False)
    assert len(fake.plans) == 2 and fake.executed == 2 * (4 + 1), "a call for each outer index, or for all rows"


def test_one_plan_serves_all_streams() -> None:
    driver = SimulatedDriver()
    fake, double = FakeFourier(driver), np.dtype(np.float64)
    transforms = Fourier(driver, Through(fake, fourier._FUNCTIONS))
    handle = transforms._plan(fourier._Plan(8, 1, 8, 1), double)
    address = driver.allocate(128)
    assert address

    def record(stream: Stream) -> None:
        driver.enqueue(lambda _: transforms._along(0, [8], address, double, stream, -1), stream)

    graph = driver.capture(record)
    x = numbers(8) + 1j
    for _ in range(2):
        driver.copy_in(address, x)
        driver.replay(graph)
        found = np.empty_like(x)
        driver.copy_out(found, address)
        np.testing.assert_allclose(found, np.fft.fft(x))
    assert len(fake.plans) == 1 and fake.streams[handle] != driver.main.handle


@pytest.mark.usefixtures("simulated")
@pytest.mark.parametrize("library", ["simulated", "stand-in"])
def test_transforms_are_captured(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where: Any = jg.device()
    if library == "stand-in":
        monkeypatch.setitem(where.__dict__, "libraries", stood_in(where.driver))
    program = jg.value_and_grad(smoothed, target="cuda")
    held = jg.device_put(numbers(6, 4))
    for k in range(4):  # step by step, captured, replayed with other numbers
        x = numbers(6, 4) + k
        where.driver.copy_in(held.address, x)
        value, slope = program(held)
        close(value.numpy(), np.asarray(smoothed(x)))
        close(slope.numpy(), np.asarray(jg.grad(smoothed)(x)))
        del value, slope
    (loaded,) = program._specialise((held,), {}).compiled.executable._loaded.values()  # pyright: ignore
    assert loaded.captured and any(graphs is not None for graphs in loaded.graphs.values())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("if i >= count:", "if i > count:"),  # one element too many
        ("j = k if k < h else n - k", "j = k if k < h else n - k - 1"),
        ("else -im[at]", "else im[at]"),  # not the conjugate
        ("z[2 * i + 1] = im", "z[2 * i] = im"),
        ("(i // (inner * h) * n", "(i // (inner * h) * h"),  # the rows of all of them
        ("% length - shift", "% length"),
        ("j < n:", "j <= n:"),
        ("lone & int64(2)", "lone & int64(1)"),
        ("im = -re *", "im = re *"),
        ("int64(2) * (j + shift)", "int64(2) * j"),
        ("int64(2) * k + half", "int64(2) * k"),
        ("re * s - im * c", "im * c - re * s"),
        ("% n + shift", "% n"),
    ],
)
def test_planted_bugs_are_caught(monkeypatch: pytest.MonkeyPatch, right: str, wrong: str) -> None:
    kernels = fourier._kernels

    def planted(dtype: np.dtype) -> Any:
        code = kernels(dtype)
        assert right in code.source
        return code._replace(source=code.source.replace(right, wrong))

    monkeypatch.setattr(fourier, "_kernels", planted)
    driver = SimulatedDriver()
    with pytest.raises((AssertionError, KernelError)):
        test_real((driver, stood_in(driver)), (2, 8, 3), 1, np.float64)
        for kind in (1, 2, 3, 4):
            for name in ("dct", "dst"):
                test_cosines_and_sines((driver, stood_in(driver)), name, kind, (2, 5, 3), 1, np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_100"])
def test_kernels_compile(arch: str, dtype: Any) -> None:
    pytest.importorskip("numba_cuda", reason="kernels are compiled by numba-cuda, which is not installed")
    code = fourier._kernels(np.dtype(dtype))
    for kernel in compile_kernels(code.source, code.signatures, arch).kernels.values():
        assert kernel.spill_bytes == kernel.stack_bytes == 0 and kernel.registers <= 64
    assert dtype == np.float64 or ".f64" not in "".join(ptx(code.source, code.signatures, arch).values())


# Programs


def spectrum(x: Any) -> Any:
    z = np.fft.rfft(x)
    return np.sum(z.real**2 + 0.5 * z.imag**2)


def smoothed(x: Any) -> Any:
    z = np.fft.fft(x, axis=0)
    return np.sum(np.fft.ifft(z * np.linspace(1, 0, x.shape[0])[:, None], axis=0).real ** 3)


def filtered(x: Any) -> Any:
    return np.sum(np.fft.irfft(np.fft.rfft(x) * 0.5, x.shape[-1]) ** 4)


@pytest.mark.usefixtures("simulated")
@pytest.mark.parametrize(
    ("f", "shape"),
    [(spectrum, (3, 8)), (spectrum, (14,)), (smoothed, (6, 4)), (filtered, (12,)), (filtered, (2, 7))],
)
def test_programs_and_gradients(f: Callable[..., Any], shape: tuple[int, ...]) -> None:
    x = numbers(*shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = jg.value_and_grad(f, target="cuda")
        value, slope = program(x)
    assert "call fourier" in program.explain(x)
    close(value.numpy(), np.asarray(f(x)))
    close(slope.numpy(), np.asarray(jg.grad(f)(x)))


def compressed(x: Any) -> Any:
    y = scipy.fft.dct(x, norm="ortho")
    return np.sum(scipy.fft.idct(y * (np.abs(y) > 0.5), norm="ortho") ** 3) + np.sum(scipy.fft.dctn(x, 3) ** 2)


def poisson(x: Any) -> Any:
    k = np.arange(1.0, x.shape[-1] + 1)
    return np.sum(scipy.fft.idst(scipy.fft.dst(x, 1) / k**2, 1) ** 2) + np.sum(scipy.fft.dst(x, 4) ** 3)


@pytest.mark.usefixtures("simulated")
@pytest.mark.parametrize("library", ["simulated", "stand-in"])
@pytest.mark.parametrize("shape", [(8,), (3, 5)])
@pytest.mark.parametrize("f", [compressed, poisson])
def test_programs_of_cosines_and_sines(
    f: Callable[..., Any], shape: tuple[int, ...], library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: Any = jg.device()
    if library == "stand-in":
        monkeypatch.setitem(where.__dict__, "libraries", stood_in(where.driver))
    x = numbers(*shape)
    with config.using(strict_device=True):
        value, slope = jg.value_and_grad(f, target="cuda")(x)
    close(value.numpy(), np.asarray(f(x)))
    direction, step = np.random.default_rng(3).normal(size=shape), 1e-6
    difference = (f(x + step * direction) - f(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(np.sum(slope.numpy() * direction), difference, rtol=1e-5)
