"""Sorts on a device: the kernels by themselves against NumPy, planted bugs, and programs that sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jitgrad as jg
from jitgrad.cuda import sorting
from jitgrad.cuda.driver import Driver, Stream
from jitgrad.cuda.driver_simulated import SimulatedDriver
from jitgrad.cuda.sorting import EACH, SORTS, THREADS, Sorter, describe
from jitgrad.errors import JitgradError, KernelBarrierError, KernelBoundsError, KernelRaceError
from jitgrad.ir.types import DTYPES, i64
from tests.cuda.conftest import REAL, real_driver
from tests.cuda.device_programs import close

FLOATS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 5e-324, 1e300, 0.5]


@pytest.fixture(params=["simulated", REAL])
def sorter(request: pytest.FixtureRequest) -> tuple[Driver, Sorter]:
    """Sorts in blocks of two threads, so that few elements need many blocks."""
    driver = SimulatedDriver() if request.param == "simulated" else real_driver()
    return driver, Sorter(driver, threads=2)


def run(driver: Driver, sorter: Sorter, x: np.ndarray, name: str, slots: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The sorted rows, and their order, as :func:`jitgrad.codegen.rowsort.argsort_rows_python` has them."""
    rows, n = x.shape
    static = {"rows": rows, "n": n, "slots": slots}
    keys, order = x.copy(), np.full(x.shape, -1, np.int64)
    nbytes = [
        keys.nbytes,
        slots * n * x.itemsize,
        order.nbytes,
        slots * n * i64.itemsize,
        sorter.scratch(name, x.dtype, static),
    ]
    places = [driver.allocate(max(count, 1)) or 0 for count in nbytes]
    if x.size:
        driver.copy_in(places[0], keys)
        driver.copy_in(places[2], order)
    outs = places[:2] if name == "sort_rows" else [places[2], places[0], places[3], places[1]]
    sorter.call(name, x.dtype, outs, static, places[4], driver.main)
    if x.size:
        driver.copy_out(keys, places[0])
        driver.copy_out(order, places[2])
    for place in places:
        driver.free(place)
    return keys, order


def check(driver: Driver, sorter: Sorter, x: np.ndarray, slots: int = 1) -> None:
    """Both sorts give what NumPy gives, bit for bit: signed zeros and NaN keep their order."""
    want = np.argsort(x, axis=1, kind="stable")
    expected = np.take_along_axis(x, want, axis=1)
    alone, _ = run(driver, sorter, x, "sort_rows", slots)
    keys, order = run(driver, sorter, x, "argsort_rows", slots)
    np.testing.assert_array_equal(order, want)
    assert alone.tobytes() == keys.tobytes() == expected.tobytes()


def numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, few: bool = True) -> np.ndarray:
    """Numbers with many ties, and the least and greatest ones of the dtype."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.choice(np.array(FLOATS), shape).astype(dtype) if few else rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    limits = np.iinfo(dtype)
    if few:
        return rng.choice(np.array([limits.min, limits.min + 1, 0, 1, limits.max - 1, limits.max], dtype), shape)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_every_dtype(sorter: tuple[Driver, Sorter], dtype: np.dtype, few: bool) -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 40), (3, 17), (7, 4)):
        check(*sorter, numbers(rng, shape, dtype, few))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 6),
    n=st.integers(1, 70),
    threads=st.sampled_from([2, 4, 8, 32]),
    dtype=st.sampled_from(["f4", "f8", "i4", "i8", "u1", "?"]),
    few=st.booleans(),
    slots=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
def test_any_rows(rows: int, n: int, threads: int, dtype: str, few: bool, slots: bool, seed: int) -> None:
    with np.errstate(over="ignore"):
        x = numbers(np.random.default_rng(seed), (rows, n), dtype, few)
    driver = SimulatedDriver(seed=seed)
    check(driver, Sorter(driver, threads), x, rows if slots else 1)
    driver.check_leaks()


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (9, 1), (1, 14), (1, 15), (1, 28), (1, 29), (2, 57)])
def test_edges(sorter: tuple[Driver, Sorter], shape: tuple[int, int]) -> None:
    check(*sorter, np.arange(np.prod(shape), 0.0, -1).reshape(shape) // 2)


def test_sorted_reversed_and_equal(sorter: tuple[Driver, Sorter]) -> None:
    up = np.arange(45.0)
    check(*sorter, np.stack([up, up[::-1], np.zeros(45), np.full(45, np.nan), np.where(up % 2, np.nan, -up)]))


def test_blocks_of_the_usual_size() -> None:
    driver = SimulatedDriver()
    rng = np.random.default_rng(1)
    check(driver, Sorter(driver), rng.integers(0, 500, (1, THREADS * EACH + 300)))
    check(driver, Sorter(driver), rng.standard_normal((50, 9)).astype(np.float32))


def test_scratch_memory() -> None:
    """Where the workspaces of the call have no room for all rows, and there is something to merge."""
    driver = SimulatedDriver()
    sorter, f32 = Sorter(driver, 2), np.dtype(np.float32)
    assert sorter.scratch("sort_rows", f32, {"rows": 3, "n": 14, "slots": 1}) == 0
    assert sorter.scratch("sort_rows", f32, {"rows": 3, "n": 15, "slots": 3}) == 0
    assert sorter.scratch("sort_rows", f32, {"rows": 3, "n": 15, "slots": 1}) == 256
    assert sorter.scratch("argsort_rows", f32, {"rows": 3, "n": 15, "slots": 1}) == 256 + 8 * 45


def test_what_is_launched() -> None:
    assert describe({"rows": 1, "n": 7}) == "sort_tiles, 1 block of 1 threads"
    assert describe({"rows": 1000, "n": 20}) == "sort_tiles, 16 blocks of 256 threads"
    assert describe({"rows": 3, "n": 1792}) == "sort_tiles, 3 blocks of 256 threads"
    merged = "sort_tiles, 6 blocks of 256 threads; once merge_runs, 6 blocks of 256 threads"
    assert describe({"rows": 3, "n": 1793}) == merged
    assert describe({"rows": 0, "n": 5}) == "nothing to sort"


# Planted bugs


def planted(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]) -> tuple[Driver, Sorter]:
    """A sorter whose kernels are not what they should be."""
    correct = sorting._source

    def changed(dtype: np.dtype, indexed: bool, threads: int) -> str:
        text = correct(dtype, indexed, threads)
        assert change(text) != text
        return change(text)

    monkeypatch.setattr(sorting, "_source", changed)
    driver = SimulatedDriver()
    return driver, Sorter(driver, 4)


def without(text: str, what: str, which: int) -> str:
    """A text without one of the lines that have ``what``."""
    lines = text.split("\n")
    del lines[[k for k, line in enumerate(lines) if what in line][which]]
    return "\n".join(lines)


def test_every_barrier_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((1, 90))
    driver = SimulatedDriver()
    check(driver, Sorter(driver, 4), x)
    count = sorting._source(x.dtype, True, 4).count("cuda.syncthreads()")
    assert count == 6
    for name in sorted(SORTS):
        for which in range(count):
            with monkeypatch.context() as patch, pytest.raises((KernelRaceError, KernelBoundsError)):
                run(*planted(patch, lambda text, k=which: without(text, "syncthreads", k)), x, name)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x == x and not x >= y", "return not x >= y"),  # NaN before numbers
        ("return x == x and not x >= y", "return x == x and not x > y"),  # not stable
        ("not before(key[source + j], key[source + i])", "before(key[source + i], key[source + j])"),
        ("if before(keys[right + diagonal - 1 - k], keys[left + k])",
         "if not before(keys[left + k], keys[right + diagonal - 1 - k])"),
        ("count = minimum(size, n - first) if row < rows else 0", "count = size"),
        ("count = minimum(28, n - first)", "count = 28"),
        ("low = lane * 7", "low = lane * 6"),
        ("        if low < count:\n            merge(", "        if low < count and half < 2:\n            merge("),
        ("        half = 2 * half", "        half = 2 * half\n        if lane > 1:\n            cuda.syncthreads()"),
    ],
)  # fmt: skip
def test_planted_bugs_are_seen(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    x = np.random.default_rng(0).choice(np.array(FLOATS), (2, 75))
    with pytest.raises((AssertionError, JitgradError)):
        check(*planted(monkeypatch, lambda text: text.replace(old, new)), x)


def test_barriers_that_some_threads_do_not_come_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(text: str) -> str:
        return text.replace("        cuda.syncthreads()\n", "        if low < count:\n            cuda.syncthreads()\n")

    with pytest.raises(KernelBarrierError):
        run(*planted(monkeypatch, change), np.arange(20.0)[None], "sort_rows")


# Programs


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs sort in blocks of two threads."""
    monkeypatch.setattr(jg.device().libraries.sorter, "threads", 2)  # pyright: ignore


def ranked(x: Any) -> Any:
    """A loss of order statistics."""
    return ranked_only(x) + np.median(x) ** 2


def ranked_only(x: Any) -> Any:
    return np.sum(np.sort(x, axis=1) * np.arange(x.shape[1]))


def sliced(x: Any, y: Any) -> Any:
    """Distance of two samples, and weights by the order of one of them."""
    return np.sum((np.sort(x) - np.sort(y)) ** 2) + np.sum(y[np.argsort(x)] * np.arange(x.shape[0]))


def trimmed(x: Any) -> Any:
    return np.mean(np.sort(np.abs(x), axis=0)[2:-2])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("function", "shapes"), [(ranked, [(3, 40)]), (sliced, [(50,), (50,)]), (trimmed, [(31, 2)])])
def test_gradients_of_losses_that_sort(function: Any, shapes: Any, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    args = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    wrt = tuple(range(len(args)))
    value, gradients = jg.value_and_grad(function, wrt)(*args)
    rtol = 2e-5 if dtype == np.float32 else 1e-10
    on_device = jg.value_and_grad(function, wrt, target="cuda")
    for _ in range(3):  # at first, captured, replayed
        found, cotangents = on_device(*map(jg.device_put, args))
        close(found.numpy(), np.asarray(value), rtol)
        for x, y in zip(cotangents, gradients, strict=True):
            close(x.numpy(), y, rtol)


@pytest.mark.usefixtures("small")
def test_ties_are_differentiated_in_their_order() -> None:
    x, w = np.array([2.0, 1.0, 2.0, 1.0, 2.0] * 5), np.arange(25.0)
    g = jg.grad(lambda x: np.sum(np.sort(x) * w), target="cuda")
    want = np.empty(25)
    want[np.argsort(x, kind="stable")] = w
    np.testing.assert_array_equal(g(x).numpy(), want)


@pytest.mark.usefixtures("small")
def test_sorts_are_captured() -> None:
    f = jg.jit(lambda x: np.sort(x * 2), target="cuda")
    x = jg.device_put(np.random.default_rng(0).normal(size=100))
    for _ in range(12):
        np.testing.assert_array_equal(f(x).numpy(), np.sort(x.numpy() * 2))
    (loaded,) = f._specialise((x,), {}).compiled.executable._loaded.values()  # pyright: ignore
    assert loaded.captured and any(graph is not None for graph in loaded.graphs.values())


def test_a_captured_sort_is_replayed() -> None:
    driver = SimulatedDriver(lazy=True)
    sorter, x = Sorter(driver, 2), np.arange(40.0)[::-1].copy()
    static = {"rows": 1, "n": 40, "slots": 1}
    keys, work = driver.allocate(x.nbytes) or 0, driver.allocate(x.nbytes) or 0

    def record(stream: Stream) -> None:
        sorter.call("sort_rows", x.dtype, [keys, work], static, 0, stream)

    sorter.scratch("sort_rows", x.dtype, static)
    graph = driver.capture(record)
    out = np.empty_like(x)
    for sign in (1, -1):
        driver.copy_in(keys, sign * x)
        driver.replay(graph)
        driver.copy_out(out, keys)
        np.testing.assert_array_equal(out, np.sort(sign * x))


def test_gradients_of_sorts_are_not_waited_for() -> None:
    """The order of a sort is in bounds: nothing is checked, so that a call can't fail."""
    g = jg.grad(ranked_only, target="cuda")
    x = np.random.default_rng(0).normal(size=(3, 5))
    assert "fail" not in g.ir(x) and "waits" not in g.explain(x)
    order = np.argsort(np.argsort(x, axis=1), axis=1)
    np.testing.assert_array_equal(g(x).numpy(), order)


def test_axes_and_dtypes_of_programs() -> None:
    x = np.array([[3, 1, 2], [1, 3, 1]], np.int32)
    f = jg.jit(lambda x: (np.sort(x, axis=0), np.argsort(x), np.sort(x > 1)), target="cuda")
    found = f(x)
    for got, want in zip(found, (np.sort(x, axis=0), np.argsort(x, kind="stable"), np.sort(x > 1)), strict=True):
        close(got.numpy(), want)


def test_what_is_printed() -> None:
    f = jg.jit(lambda x: (np.sort(x), np.argsort(3 * x), np.sort(2 * x)), target="cuda")
    x = np.ones((3, 2000), np.float32)
    source = f.source(x)
    assert source.count("\n# sort_rows of float32\n") == source.count("\n# argsort_rows of float32\n") == 1
    assert source.count("def sort_tiles(") == source.count("def merge_runs(") == 2
    sort = "sort_tiles, 6 blocks of 256 threads; once merge_runs, 6 blocks of 256 threads"
    assert f.explain(x).count(f"call sort_rows: {sort}") == 2
    assert f.explain(x).count(f"call argsort_rows: {sort}") == 1
