"""QR, singular values and eigenvalues on a device: by the simulated implementation, and by cuSOLVER's calls on a
stand-in of it, against NumPy, the host, and central differences."""

from __future__ import annotations

import ctypes
import importlib.util
import pathlib
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import jitgrad as jg
from jitgrad import config
from jitgrad.cuda import blas, orthogonal, solver
from jitgrad.cuda.blas import Blas
from jitgrad.cuda.compiler import compile_kernels, ptx
from jitgrad.cuda.driver import Driver
from jitgrad.cuda.driver_simulated import SimulatedDriver
from jitgrad.cuda.libraries import CudaLibraries, Libraries, Operand, SimulatedLibraries, statuses
from jitgrad.cuda.solver import Solver
from jitgrad.errors import KernelError, LinAlgError
from tests.cuda.column_major import FakeBlas, FakeSolver, Through
from tests.cuda.conftest import REAL, real_driver


def stood_in(driver: SimulatedDriver) -> CudaLibraries:
    library = CudaLibraries(driver)
    library._blas = Blas(driver, Through(FakeBlas(driver), blas._FUNCTIONS))
    library._solver = Solver(driver, library._blas, Through(FakeSolver(driver), solver._FUNCTIONS))
    return library


@pytest.fixture(params=["simulated", "stand-in", REAL])
def on(request: pytest.FixtureRequest) -> tuple[Driver, Libraries]:
    """A driver with its libraries."""
    if request.param == "cuda":
        driver = real_driver()
        return driver, CudaLibraries(driver)
    simulated = SimulatedDriver()
    return simulated, SimulatedLibraries(simulated) if request.param == "simulated" else stood_in(simulated)


def run(
    on: tuple[Driver, Libraries], name: str, outs: list[Any], ins: list[np.ndarray], **static: Any
) -> tuple[list[np.ndarray], bool]:
    """The results of a call and whether it failed. ``outs`` are arrays, or shapes; one that is in ``ins`` too is the
    same buffer."""
    driver, library = on
    dtype = ins[0].dtype

    def put(array: np.ndarray) -> Operand:
        address = driver.allocate(max(array.nbytes, 1))
        assert address
        driver.copy_in(address, np.ascontiguousarray(array))
        return Operand(address, array.dtype, array.size)

    shared = {id(a): put(a) for a in ins}
    arrays = [a if isinstance(a, np.ndarray) else np.full(a, 77, dtype) for a in outs]
    targets = [shared[id(a)] if id(a) in shared else put(a) for a in arrays]
    info = put(np.full(max(statuses(name, static), 1), 77, np.int32))
    scratch = put(np.zeros(library.scratch(name, dtype, static), np.uint8))
    library.call(name, targets, [shared[id(a)] for a in ins], static, info.address, scratch.address)
    found = [np.empty(a.shape, a.dtype) for a in arrays]
    for array, target in zip(found, targets, strict=True):
        driver.copy_out(array, target.address)
    flags = np.empty(info.size, np.int32)
    driver.copy_out(flags, info.address)
    return found, bool(statuses(name, static)) and bool(flags.any())


def numbers(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def by_columns(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.swapaxes(a, -1, -2))


def near(got: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 if got.dtype == np.float32 else 1e-12)


DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SHAPES = pytest.mark.parametrize(("count", "m", "n"), [
    (1, 4, 4), (3, 5, 2), (3, 2, 5), (2, 1, 1), (1, 1, 4), (1, 4, 1), (2, 33, 20), (1, 20, 33),
])  # fmt: skip


@DTYPES
@SHAPES
def test_orthonormal_factors(on: tuple[Driver, Libraries], count: int, m: int, n: int, dtype: Any) -> None:
    a, k = numbers(count, m, n, dtype=dtype), min(m, n)
    factored = by_columns(a)
    (found, tau, _), _ = run(on, "geqrf", [factored, (count, k), (n * 64,)], [factored], m=m, n=n, count=count)
    r = np.triu(np.swapaxes(found, -1, -2))
    for columns in {k, m}:
        q = np.zeros((count, columns, m), dtype)
        q[:, :k] = found[:, :k]
        static = {"m": m, "n": columns, "k": k, "count": count}
        (q, _), _ = run(on, "orgqr", [q, (columns * 64,)], [q, tau], **static)
        near(q @ np.swapaxes(q, -1, -2), np.broadcast_to(np.eye(columns), (count, columns, columns)))
        near(np.swapaxes(q, -1, -2) @ r[:, :columns], a)


@DTYPES
@SHAPES
@pytest.mark.parametrize("job", ["N", "S", "A"])
def test_singular_values(on: tuple[Driver, Libraries], count: int, m: int, n: int, job: str, dtype: Any) -> None:
    a, k = numbers(count, m, n, dtype=dtype), min(m, n)
    columns, rows = (m, n) if job == "A" else (k, k)
    matrix = by_columns(a)
    outs: list[Any] = [matrix, (count, k), (4 * k * k + 99,), np.zeros(8 * k, np.int32)]
    if job != "N":
        outs += [(count, columns, m), (count, n, rows)]
    found, failed = run(on, "gesdd", outs, [matrix], m=m, n=n, count=count, job=job)
    assert not failed
    near(found[1], np.linalg.svd(a, compute_uv=False))
    if job != "N":
        u, vt = np.swapaxes(found[4], -1, -2), np.swapaxes(found[5], -1, -2)
        near(np.swapaxes(u, -1, -2) @ u, np.broadcast_to(np.eye(columns), (count, columns, columns)))
        near(vt @ np.swapaxes(vt, -1, -2), np.broadcast_to(np.eye(rows), (count, rows, rows)))
        near(u[..., :k] * found[1][:, None] @ vt[:, :k], a)


@DTYPES
@pytest.mark.parametrize(("count", "n"), [(1, 1), (3, 4), (1, 20)])
@pytest.mark.parametrize("vectors", [False, True])
def test_eigenvalues(on: tuple[Driver, Libraries], count: int, n: int, vectors: bool, dtype: Any) -> None:
    a = numbers(count, n, n, dtype=dtype)
    a = a + np.swapaxes(a, -1, -2)
    lower = by_columns(np.tril(a))  # no more is read
    outs: list[Any] = [lower, (count, n), (1 + 6 * n + 2 * n * n,), np.zeros(3 + 5 * n, np.int32)]
    found, failed = run(on, "syevd", outs, [lower], n=n, count=count, vectors=vectors)
    assert not failed
    near(found[1], np.linalg.eigvalsh(a))
    if vectors:
        v = np.swapaxes(found[0], -1, -2)
        near(v * found[1][:, None] @ found[0], a)


@pytest.mark.parametrize("shape", [(3, 4, 2), (3, 2, 4)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_does_not_converge(shape: tuple[int, ...], value: float) -> None:
    """A NaN is found whatever the library does; an infinity is what the stand-in does not converge for."""
    driver = SimulatedDriver()
    on, (count, m, n) = (driver, stood_in(driver)), shape
    for z in range(count + 1):
        a = numbers(*shape)
        if z < count:
            a[z, 1, 0] = value
        matrix = by_columns(a)
        outs: list[Any] = [matrix, (count, 2), (99,), np.zeros(16, np.int32)]
        _, failed = run(on, "gesdd", outs, [matrix], m=m, n=n, count=count, job="N")
        assert failed == (z < count)
    a = np.full((1, 3, 3), np.inf)
    outs = [a, (1, 3), (99,), np.zeros(99, np.int32)]
    assert run(on, "syevd", outs, [a], n=3, count=1, vectors=True)[1]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("i >= rows * columns", "i > rows * columns"),
        ("i % columns * rows + i // columns", "i % rows * columns + i // rows"),
        ("value != value", "value == value"),
        ("atomic_max(info, z,", "atomic_max(info, int64(0),"),
    ],
)
def test_planted_bugs_are_caught(right: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = orthogonal.kernels

    def planted(dtype: np.dtype) -> Any:
        code = kernels(dtype)
        assert right in code.source
        return code._replace(source=code.source.replace(right, wrong))

    monkeypatch.setattr(orthogonal, "kernels", planted)
    driver = SimulatedDriver()
    on = (driver, stood_in(driver))
    with pytest.raises((AssertionError, KernelError)):
        test_singular_values(on, 2, 3, 5, "S", np.float64)
        check_flags(on[1], driver)


def check_flags(library: CudaLibraries, driver: SimulatedDriver) -> None:
    """Which of three matrices have a NaN?"""
    a = numbers(3, 20, 20)
    a[1, 2, 2] = np.nan
    size, info, address = a[0].size, driver.allocate(12), driver.allocate(a.nbytes)
    assert info and address and library._solver
    driver.copy_in(address, a)
    driver.fill(info, 0, 12)
    library._solver.launch("has_nan", a.dtype, 3, [address, info, size], driver.main, orthogonal.kernels)
    flags = np.empty(3, np.int32)
    driver.copy_out(flags, info)
    assert list(flags) == [0, 1, 0]


def test_flags() -> None:
    driver = SimulatedDriver()
    library = stood_in(driver)
    check_flags(library, driver)


@DTYPES
@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_100"])
def test_kernels_compile(arch: str, dtype: Any) -> None:
    pytest.importorskip("numba_cuda", reason="kernels are compiled by numba-cuda, which is not installed")
    code = orthogonal.kernels(np.dtype(dtype))
    for kernel in compile_kernels(code.source, code.signatures, arch).kernels.values():
        assert kernel.spill_bytes == kernel.stack_bytes == 0 and kernel.registers <= 64
    assert dtype == np.float64 or ".f64" not in "".join(ptx(code.source, code.signatures, arch).values())


_KINDS = {"*": "P", "int": "I", "signed char": "C", "int64_t": "L", "size_t": "U"}
_KINDS |= {"float": "F", "double": "F", "long long": "L", "long long int": "L"}


def _kind(parameter: str) -> str:
    """How a parameter of C is passed."""
    if "*" in parameter or "Handle_t" in parameter or "cudaStream_t" in parameter:
        return "P"
    words = re.sub(r"\bconst\b", "", parameter).split()
    name = " ".join(words[:-1]) or words[0]
    return _KINDS.get(name, "I")  # the others are enumerations


@pytest.mark.parametrize(
    ("package", "header", "functions"),
    [("cublas", "cublas_api.h", blas._FUNCTIONS), ("cusolver", "cusolverDn.h", solver._FUNCTIONS)],
)
def test_the_functions_are_declared_as_in_the_headers(package: str, header: str, functions: Any) -> None:
    spec = importlib.util.find_spec("nvidia")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    found = [path for place in places for path in pathlib.Path(place).rglob(header)]
    if not found:
        pytest.skip(f"the package nvidia-{package} is not installed")
    text = found[0].read_text()
    for name, arguments in functions.items():
        declared = re.search(rf"\b{name}\s*\(([^)]*)\)", text)
        assert declared, name
        kinds = "".join(_kind(p.strip()) for p in declared[1].split(","))
        codes = {ctypes.c_void_p: "P", ctypes.c_int: "I", ctypes.c_byte: "C", ctypes.c_int64: "L", ctypes.c_size_t: "U"}
        assert kinds == "".join(codes[a] for a in arguments), name


# Programs


@pytest.fixture(params=["simulated", "stand-in"])
def library(simulated: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries that programs use."""
    if request.param == "stand-in":
        where: Any = jg.device()
        monkeypatch.setitem(where.__dict__, "libraries", stood_in(where.driver))


def weights(*shape: int) -> np.ndarray:
    return np.cos(np.arange(float(np.prod(shape)))).reshape(shape)


def projections(x: Any) -> Any:
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    return np.sum(((u * s[..., None, :] ** 2) @ vh) ** 2 * 0.01) + np.sum(u[..., :1] @ vh[..., :1, :])


def full_vectors(x: Any) -> Any:
    u, s, _ = np.linalg.svd(x)
    k = s.shape[-1]
    return np.sum(s**3) + np.sum(weights(x.shape[-2], x.shape[-2]) * (u[..., :k] @ np.swapaxes(u[..., :k], -1, -2)))


def nuclear(x: Any) -> Any:
    return np.sum(np.linalg.norm(x, "nuc", axis=(-2, -1))) + np.sum(np.linalg.cond(x))


def pseudo_inverse(x: Any) -> Any:
    return np.sum(np.linalg.pinv(x) * weights(x.shape[-1], x.shape[-2]))


def least_squares(x: Any) -> Any:
    if x.ndim == 3:
        return np.sum(np.linalg.lstsq(x[0], x[1, :, :1], rcond=None)[0] ** 2)
    return np.sum(np.linalg.lstsq(x, np.arange(float(x.shape[0])), rcond=None)[0] ** 2)


def factors(x: Any) -> Any:
    q, r = np.linalg.qr(x)
    return np.sum(np.abs(r) * weights(*r.shape[-2:])) + np.sum((q * weights(*q.shape[-2:])) ** 2)


def complete(x: Any) -> Any:
    q, r = np.linalg.qr(x, "complete")
    n = min(x.shape[-2:])
    return np.sum(r**2 * weights(*r.shape[-2:])) + np.sum((q[..., :n] * weights(x.shape[-2], n)) ** 2)


def spectrum(x: Any) -> Any:
    w, v = np.linalg.eigh(x @ np.swapaxes(x, -1, -2))
    return np.sum(w**2) * 0.01 + np.sum((v[..., -1:] * weights(x.shape[-2], 1)) ** 2)


def eigenvalues(x: Any) -> Any:
    w = np.linalg.eigvalsh(x @ np.swapaxes(x, -1, -2))
    return np.sum(w * weights(x.shape[-2]))


FUNCTIONS = [
    projections,
    full_vectors,
    nuclear,
    pseudo_inverse,
    least_squares,
    factors,
    complete,
    spectrum,
    eigenvalues,
]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5), (2, 4, 3), (2, 3, 4)])
@pytest.mark.parametrize("f", FUNCTIONS)
def test_programs_and_gradients(f: Callable[..., Any], shape: tuple[int, ...]) -> None:
    x = numbers(*shape)
    with warnings.catch_warnings(), config.using(strict_device=True):
        warnings.simplefilter("error")
        value, slope = jg.value_and_grad(f, target="cuda")(x)
    np.testing.assert_allclose(value.numpy(), f(x), rtol=1e-9)
    direction = np.random.default_rng(5).normal(size=shape)
    step = 1e-6
    difference = (f(x + step * direction) - f(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(np.sum(slope.numpy() * direction), difference, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("library")
def test_single_precision_and_ranks() -> None:
    x = numbers(4, 6, dtype=np.float32)
    singular = np.stack([x, x])
    singular[1, 3] = singular[1, 0] + singular[1, 1]
    with config.using(strict_device=True):
        value, slope = jg.value_and_grad(projections, target="cuda")(x)
        ranks = jg.jit(np.linalg.matrix_rank, target="cuda")(singular)
        span = jg.jit(scipy.linalg.svdvals, target="cuda")(x)
    assert value.dtype == slope.dtype == span.dtype == np.float32
    want, wanted = jg.value_and_grad(projections)(x)
    np.testing.assert_allclose(value.numpy(), want, rtol=1e-4)
    np.testing.assert_allclose(slope.numpy(), wanted, rtol=1e-3, atol=1e-3)
    assert list(ranks.numpy()) == [4, 3]


@pytest.mark.usefixtures("library")
def test_failures_are_those_of_the_host() -> None:
    def f(x: Any) -> Any:
        return np.linalg.svd(x, full_matrices=False)[1]

    program = jg.jit(f, target="cuda")
    x = np.ones((2, 3, 2))
    program(x)
    x[1, 2, 0] = np.nan
    g = jg.jit(lambda x: np.linalg.pinv(x), target="cuda")
    for _ in range(2):
        with pytest.raises(LinAlgError, match=r"SVD did not converge(.|\n)*test_device_factorizations\.py"):
            g(x)
    x[1, 2, 0] = 1
    g(x)
