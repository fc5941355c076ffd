"""Library calls on a device: by the simulated implementation, and by cuBLAS's and cuSOLVER's calls on stand-ins of
those libraries, against NumPy and against the functions of the CPU."""

import itertools
from typing import Any

import numpy as np
import pytest

from jitgrad import config
from jitgrad.codegen import libcalls
from jitgrad.codegen.lapack import adjugate_matrix
from jitgrad.cuda import blas, solver
from jitgrad.cuda.blas import Blas, plan
from jitgrad.cuda.driver import Driver, Stream
from jitgrad.cuda.driver_simulated import SimulatedDriver
from jitgrad.cuda.libraries import (
    STATUS,
    CudaLibraries,
    Libraries,
    Operand,
    SimulatedLibraries,
    libraries,
    statuses,
)
from jitgrad.cuda.solver import Solver
from jitgrad.errors import DeviceError, DtypeError, JitgradError
from tests.cuda.column_major import FakeBlas, FakeSolver, Through
from tests.cuda.conftest import REAL, real_driver


@pytest.fixture
def driver() -> SimulatedDriver:
    return SimulatedDriver()


@pytest.fixture(scope="module")
def real() -> tuple[Driver, Libraries]:
    driver = real_driver()
    return driver, CudaLibraries(driver)


@pytest.fixture(params=["simulated", "stand-in", REAL])
def on(request: pytest.FixtureRequest) -> tuple[Driver, Libraries]:
    """A driver with its libraries."""
    if request.param == "cuda":
        return request.getfixturevalue("real")
    driver = SimulatedDriver()
    return driver, SimulatedLibraries(driver) if request.param == "simulated" else stood_in(driver)


def stood_in(driver: SimulatedDriver) -> CudaLibraries:
    library = CudaLibraries(driver)
    library._blas = Blas(driver, Through(FakeBlas(driver), blas._FUNCTIONS))
    library._solver = Solver(driver, library._blas, Through(FakeSolver(driver), solver._FUNCTIONS))
    return library


def operand(driver: Driver, array: np.ndarray) -> Operand:
    address = driver.allocate(max(array.nbytes, 1))
    assert address
    if array.size:
        driver.copy_in(address, array)
    return Operand(address, array.dtype, array.size)


def read(driver: Driver, o: Operand) -> np.ndarray:
    out = np.empty(o.size, o.dtype)
    if o.size:
        driver.copy_out(out, o.address)
    return out


def run(
    driver: Driver,
    library: Libraries,
    name: str,
    outs: list[np.ndarray],
    ins: list[np.ndarray],
    static: dict[str, Any],
) -> tuple[list[np.ndarray], int]:
    """The results and the status of a call, where an array that is in both is one buffer."""
    buffers = {id(a): operand(driver, np.ascontiguousarray(a)) for a in (*outs, *ins)}
    targets, sources = ([buffers[id(a)] for a in arrays] for arrays in (outs, ins))
    info = operand(driver, np.full(statuses(name, static), 77, np.int32))
    scratch = operand(driver, np.zeros(library.scratch(name, outs[0].dtype, static), np.uint8))
    library.call(name, targets, sources, static, info.address, scratch.address)
    status = STATUS[name] if name in STATUS and np.any(read(driver, info)) else 0
    results = [read(driver, t).reshape(o.shape) for t, o in zip(targets, outs, strict=True)]
    for buffer in (*buffers.values(), info, scratch):
        driver.free(buffer.address)
    return results, status


def expect(name: str, outs: list[np.ndarray], ins: list[np.ndarray], static: dict[str, Any]) -> Any:
    """The same by the CPU's function."""
    copies = {id(a): a.copy() for a in (*outs, *ins)}
    targets, sources = ([copies[id(a)] for a in arrays] for arrays in (outs, ins))
    status = libcalls.get(name).python(targets, sources, **static)
    return targets, status


# Matrix products


def layout(rows: int, columns: int, by: str) -> tuple[int, int]:
    """Strides of a matrix that lies by rows or columns, closely or in a larger one."""
    pad = 3 if by.endswith("+") else 0
    return (columns + pad, 1) if by[0] == "r" else (1, rows + pad)


def numbers(shape: Any, dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def product_of(rng_seed: int, dtype: Any, static: dict[str, Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Buffers that are large enough for a product."""
    m, n, k, batch = static["m"], static["n"], static["k"], static.get("batch", ())

    def length(rows: int, columns: int, strides: Any, steps: Any) -> int:
        extents = [*zip((rows, columns, *batch), (*strides, *steps), strict=True)]
        return 1 + sum((e - 1) * s for e, s in extents)

    sizes = [
        length(m, n, static["c"], static.get("c_batch", ())),
        length(m, k, static["a"], static.get("a_batch", ())),
        length(k, n, static["b"], static.get("b_batch", ())),
    ]
    c, a, b = (numbers(size, dtype, rng_seed + q) for q, size in enumerate(sizes))
    return [c], [a, b]


LAYOUTS = ["r", "c", "r+", "c+"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("a", "b", "c"), list(itertools.product(LAYOUTS, repeat=3)))
def test_products(on: tuple[Driver, Libraries], dtype: Any, a: str, b: str, c: str) -> None:
    for m, n, k in [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 5), (1, 1, 1)]:
        static = {"m": m, "n": n, "k": k, "a": layout(m, k, a), "b": layout(k, n, b), "c": layout(m, n, c)}
        check_product(on, dtype, {**static, "add": m == 3})


def check_product(on: tuple[Driver, Libraries], dtype: Any, static: dict[str, Any]) -> None:
    outs, ins = product_of(1, dtype, static)
    # What OpenBLAS finds beside the operands in its buffers may raise the flag "invalid", of which NumPy warns.
    with np.errstate(invalid="ignore"):
        (got,), status = run(*on, "gemm", outs, ins, static)
        (want,), _ = expect("gemm", outs, ins, static)
    assert status == 0
    np.testing.assert_allclose(got, want, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-5)


@pytest.mark.parametrize("case", [
    {"m": 4, "n": 1, "k": 3, "a": (3, 1), "b": (7, 1), "c": (5, 1)},  # vectors with gaps
    {"m": 1, "n": 4, "k": 3, "a": (9, 2), "b": (4, 1), "c": (9, 3)},
    {"m": 2, "n": 3, "k": 4, "a": (4, 1), "b": (3, 1), "c": (3, 1), "batch": (5,), "a_batch": (8,), "b_batch": (12,),
     "c_batch": (6,)},
    {"m": 2, "n": 3, "k": 4, "a": (4, 1), "b": (3, 1), "c": (3, 1), "batch": (5,), "a_batch": (8,), "b_batch": (0,),
     "c_batch": (6,)},  # one matrix B for all
    {"m": 2, "n": 3, "k": 4, "a": (4, 1), "b": (3, 1), "c": (3, 1), "batch": (5,), "a_batch": (0,), "b_batch": (12,),
     "c_batch": (6,)},
    {"m": 2, "n": 3, "k": 4, "a": (1, 2), "b": (1, 4), "c": (1, 2), "batch": (2, 5), "a_batch": (40, 8),
     "b_batch": (60, 12), "c_batch": (30, 6)},
    {"m": 2, "n": 3, "k": 4, "a": (20, 1), "b": (3, 1), "c": (15, 1), "batch": (2, 3, 5), "a_batch": (120, 40, 4),
     "b_batch": (0, 12, 0), "c_batch": (90, 30, 3)},
    {"m": 2, "n": 3, "k": 4, "a": (4, 1), "b": (1, 4), "c": (3, 1), "batch": (3, 1, 2), "a_batch": (0, 0, 8),
     "b_batch": (12, 0, 0), "c_batch": (12, 0, 6)},
], ids=list(range(8)))  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_strides_and_batches(on: tuple[Driver, Libraries], dtype: Any, case: dict[str, Any]) -> None:
    for add in (False, True):
        check_product(on, dtype, {**case, "add": add})


@pytest.mark.parametrize("seed", range(40))
def test_random_batches(on: tuple[Driver, Libraries], seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, n, k = (int(e) for e in rng.integers(1, 5, 3))
    batch = tuple(int(e) for e in rng.integers(1, 4, rng.integers(0, 4)))
    static: dict[str, Any] = {"m": m, "n": n, "k": k, "batch": batch, "add": bool(rng.integers(2))}
    for name, rows, columns in (("a", m, k), ("b", k, n), ("c", m, n)):
        static[name] = layout(rows, columns, LAYOUTS[rng.integers(4)])
        size = max(rows, columns) * max(static[name])
        repeated = [name != "c" and rng.random() < 0.4 for _ in batch]
        steps = []
        for axis in rng.permutation(len(batch)):
            steps.append((axis, 0 if repeated[axis] else size))
            size *= 1 if repeated[axis] else batch[axis]
        static[f"{name}_batch"] = tuple(step for _, step in sorted(steps))
    check_product(on, np.float64, static)


def test_no_terms_and_no_results(driver: SimulatedDriver) -> None:
    static = {"m": 2, "n": 3, "k": 0, "a": (1, 1), "b": (3, 1), "c": (3, 1)}
    (got,), _ = run(driver, stood_in(driver), "gemm", [np.ones(6)], [np.ones(1), np.ones(1)], static)
    assert not got.any()
    assert list(plan(**{**static, "m": 0})) == [] == list(plan(**{**static, "batch": (0,), "a_batch": (0,)},
                                                               b_batch=(0,), c_batch=(0,)))  # fmt: skip


def test_one_call_where_one_is_enough() -> None:
    rows = {"a": (4, 1), "b": (3, 1), "c": (3, 1)}
    linear = list(plan(m=2, n=3, k=4, **rows, batch=(5, 7), a_batch=(56, 8), b_batch=(0, 0), c_batch=(42, 6)))
    assert len(linear) == 1 and (linear[0].rows, linear[0].columns, linear[0].count) == (3, 70, 1)
    stack = list(plan(m=2, n=3, k=4, **rows, batch=(5, 7), a_batch=(56, 8), b_batch=(84, 12), c_batch=(42, 6)))
    assert len(stack) == 1 and stack[0].count == 35
    mixed = list(plan(m=2, n=3, k=4, **rows, batch=(5, 7), a_batch=(0, 8), b_batch=(12, 0), c_batch=(42, 6)))
    assert len(mixed) == 1 and (mixed[0].columns, mixed[0].count) == (14, 5)
    loop = list(plan(m=2, n=3, k=4, **rows, batch=(2, 7), a_batch=(0, 8), b_batch=(12, 84), c_batch=(6, 12)))
    assert [(p.count, p.first.offset) for p in loop] == [(7, 0), (7, 12)]


def test_strides_that_no_library_takes() -> None:
    for a in ((8, 2), (0, 1), (2, 1)):
        with pytest.raises(JitgradError, match=r"strides \(\d, \d\) can't be multiplied by cuBLAS"):
            list(plan(m=2, n=3, k=4, a=a, b=(3, 1), c=(3, 1)))


def test_half_precision_adds_up_in_single(on: tuple[Driver, Libraries]) -> None:
    n = 4096
    a, b = np.full((1, n), 1.0, np.float16), np.full((n, 1), 1.0, np.float16)
    static = {"m": 1, "n": 1, "k": n, "a": (n, 1), "b": (1, 1), "c": (1, 1)}
    for dtype in (np.float16, np.float32):
        (got,), _ = run(*on, "gemm", [np.zeros(1, dtype)], [a, b], static)
        assert got[0] == n and got.dtype == dtype


def test_bfloat16_adds_up_in_single(on: tuple[Driver, Libraries]) -> None:
    short = pytest.importorskip("ml_dtypes").bfloat16
    n = 4096
    static = {"m": 1, "n": 1, "k": n, "a": (n, 1), "b": (1, 1), "c": (1, 1)}
    for dtype in (short, np.float32):
        (got,), _ = run(*on, "gemm", [np.zeros(1, dtype)], [np.ones((1, n), short), np.ones((n, 1), short)], static)
        assert got[0] == n and got.dtype == dtype


def test_tf32_is_an_option(driver: SimulatedDriver) -> None:
    library = stood_in(driver)
    static = {"m": 2, "n": 2, "k": 2, "a": (2, 1), "b": (2, 1), "c": (2, 1)}
    for dtype, allowed, kind in ((np.float32, True, "tf32"), (np.float32, False, "gemm"), (np.float64, True, "gemm")):
        with config.using(tf32=allowed):
            x = np.ones(4, dtype)
            run(driver, library, "gemm", [x.copy()], [x, x.copy()], static)
        assert library._blas and library._blas._library.library.calls[-1] == kind


def test_a_dtype_without_a_product(driver: SimulatedDriver) -> None:
    x, static = np.ones(1, np.int32), {"m": 1, "n": 1, "k": 1, "a": (1, 1), "b": (1, 1), "c": (1, 1)}
    with pytest.raises(DtypeError, match="no matrix product for int32"):
        run(driver, stood_in(driver), "gemm", [x], [x, x], static)


# Factorizations and solves


def check(on: tuple[Driver, Libraries], name: str, outs: Any, ins: Any, static: Any) -> Any:
    """Compare with the CPU; returns the results."""
    got, status = run(*on, name, outs, ins, static)
    want, expected = expect(name, outs, ins, static)
    assert status == expected
    if not status:
        for mine, theirs in zip(got, want, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=2e-3 if mine.dtype == np.float32 else 1e-9, atol=1e-4)
    return got, status


def factors(count: int, n: int, dtype: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    lu = numbers((count, n, n), dtype, seed) + np.eye(n, dtype=dtype) * 3
    pivots = np.zeros((count, n), np.int32)
    libcalls.get("getrf").python([lu, pivots], [lu], n=n, count=count)
    return lu, pivots


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("n", [1, 4])
def test_factorizations(on: tuple[Driver, Libraries], dtype: Any, count: int, n: int) -> None:
    a = numbers((count, n, n), dtype)
    spd = a @ a.transpose(0, 2, 1) + np.eye(n, dtype=dtype)
    spd[:, 0, 1:] = 99  # not read, and left alone
    got, _ = check(on, "potrf", [spd], [spd], {"n": n, "count": count})
    assert np.all(got[0][:, 0, 1:] == 99)
    pivots = np.zeros((count, n), np.int32)
    check(on, "getrf", [a, pivots], [a], {"n": n, "count": count})


def test_failed_factorizations(on: tuple[Driver, Libraries]) -> None:
    pair = np.stack([np.eye(3), np.diag([1.0, -1.0, 1.0])])
    _, status = check(on, "potrf", [pair], [pair], {"n": 3, "count": 2})
    assert status == 3
    singular = np.zeros((1, 3, 3))
    _, status = check(on, "getrf", [singular, np.zeros((1, 3), np.int32)], [singular], {"n": 3, "count": 1})
    assert status == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("trans", [False, True])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("batch", "lu_batch"), [((), ()), ((3,), (1,)), ((2, 3), (0, 1)), ((2, 3), (1, 0))])
def test_solves(on: tuple[Driver, Libraries], dtype: Any, trans: bool, k: int, batch: Any, lu_batch: Any) -> None:
    n, count = 4, 3
    lu, pivots = factors(count, n, dtype)
    x = numbers((*batch, n, k), dtype, 5)
    static = {"n": n, "k": k, "batch": batch, "lu_batch": lu_batch, "trans": trans}
    check(on, "getrs", [x], [x, lu, pivots], static)


def test_singular_solves(on: tuple[Driver, Libraries]) -> None:
    lu, pivots = factors(2, 3, np.float64)
    lu[1, 2, 2] = 0
    x = np.ones((2, 3, 2))
    static = {"n": 3, "k": 2, "batch": (2,), "lu_batch": (1,), "trans": False}
    assert check(on, "getrs", [x], [x, lu, pivots], static)[1] == 2
    work = np.zeros(3 * 64)
    assert check(on, "getri", [lu, work], [lu, pivots], {"n": 3, "count": 2})[1] == 2
    lower = np.tril(np.ones((3, 3)))
    lower[0, 0] = 0
    static = {"n": 3, "k": 2, "batch": (), "a_batch": (), "lower": True, "trans": False}
    y = np.ones((3, 2))
    assert check(on, "trtrs", [y], [y, lower], {**static, "unit": False})[1] == 2
    assert check(on, "trtrs", [y], [y, lower], {**static, "unit": True})[1] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("lower", "trans", "unit"), list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize(("batch", "a_batch", "k"), [((), (), 1), ((2,), (1,), 3), ((2, 2), (0, 1), 2)])
def test_triangular_solves(
    on: tuple[Driver, Libraries], dtype: Any, lower: bool, trans: bool, unit: bool, batch: Any,
    a_batch: Any, k: int,
) -> None:  # fmt: skip
    a = numbers((2, 4, 4), dtype) + 4 * np.eye(4, dtype=dtype)
    x = numbers((*batch, 4, k), dtype, 5)
    flags = {"lower": lower, "trans": trans, "unit": unit}
    check(on, "trtrs", [x], [x, a], {"n": 4, "k": k, "batch": batch, "a_batch": a_batch, **flags})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inverses(on: tuple[Driver, Libraries], dtype: Any) -> None:
    lu, pivots = factors(2, 4, dtype)
    work = np.zeros(4 * 64, dtype)
    check(on, "getri", [lu, work], [lu, pivots], {"n": 4, "count": 2})


def singular_matrices(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    """Some that lack one rank, some that lack more."""
    column, row, equal, integers, last = (rng.standard_normal((n, n)) for _ in range(5))
    column[:, n // 2] = 0
    row[n // 3] = 0
    equal[-1] = equal[0]
    integers = np.round(2 * integers)
    integers[:, 0] = integers[:, -1]
    last[0] = last[:, 0] = 0
    none = np.outer(row[0], column[0])
    none[0] = 0
    return [column, row, equal, integers, none, np.zeros((n, n)), np.ones((n, n)), np.diag(np.arange(n) * 1.0), last]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_adjugates(on: tuple[Driver, Libraries], n: int, dtype: Any) -> None:
    rng = np.random.default_rng(n)
    regular = [rng.standard_normal((n, n)), np.eye(n), -np.eye(n)[::-1], 3 * np.eye(n) + rng.standard_normal((n, n))]
    a = np.stack([*regular, *singular_matrices(rng, n)]).astype(dtype)
    columns = np.ascontiguousarray(a.transpose(0, 2, 1))
    lu, pivots = columns.copy(), np.zeros((len(a), n), np.int32)
    libcalls.get("getrf").python([lu, pivots], [lu], n=n, count=len(a))
    outs = [np.zeros_like(a), np.zeros(64 * n, dtype), np.zeros((n, n), dtype), np.zeros(2 * n, np.int32)]
    (got, *_), status = run(*on, "adjugate", outs, [columns, lu, pivots], {"n": n, "count": len(a)})
    assert status == 0
    for matrix, found in zip(a, got, strict=True):
        want = adjugate_matrix(matrix.astype(np.float64)).T
        scale = max(float(np.abs(matrix).max()) ** (n - 1), 1.0)
        np.testing.assert_allclose(found, want, rtol=0, atol=200 * np.finfo(dtype).eps * scale)


# Streams and failures


def test_captured_calls_are_replayed(driver: SimulatedDriver) -> None:
    library = libraries(driver)
    a = operand(driver, np.arange(4.0))
    b, c = operand(driver, np.eye(2).reshape(-1)), operand(driver, np.zeros(4))
    static = {"m": 2, "n": 2, "k": 2, "a": (2, 1), "b": (2, 1), "c": (2, 1)}

    def record(stream: Stream) -> None:
        library.call("gemm", [c], [a, b], static, stream=stream)

    graph = driver.capture(record)
    assert not read(driver, c).any()
    driver.copy_in(b.address, 3 * np.eye(2))
    driver.replay(graph)
    assert np.array_equal(read(driver, c), 3 * np.arange(4.0))


def test_forgotten_memory_is_found(driver: SimulatedDriver) -> None:
    a = operand(driver, np.eye(2).reshape(-1))
    with pytest.raises(DeviceError, match="is no address"):
        SimulatedLibraries(driver).call("potrf", [a], [a], {"n": 2, "count": 1})


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(blas.importlib, "import_module", missing)
    with pytest.raises(DeviceError, match=r"the library cublas can't be used \(No module named 'cuda.pathfinder'\)"):
        blas.load_library("cublas", {})


def test_statuses_of_cublas() -> None:
    blas.check(0, "a product")
    with pytest.raises(DeviceError, match="a product failed with status 13"):
        blas.check(13, "a product")
