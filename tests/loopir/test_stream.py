"""Which stores go past the caches, and that they write what ordinary ones do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import compiler
from jitgrad.compiler import optimise
from jitgrad.loopir import stream as module
from jitgrad.loopir.fetch import fetch
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.loopir.nodes import Store
from jitgrad.loopir.printer import print_program
from jitgrad.loopir.stream import stream
from jitgrad.loopir.verify import verify
from jitgrad.loopir.walk import statements


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """All stores go past the caches that can."""
    monkeypatch.setattr(module, "SHORTEST", 1)
    monkeypatch.setattr(compiler, "stream", functools.partial(stream, least=1))
    monkeypatch.setattr(compiler, "fetch", functools.partial(fetch, least=1))


def streamed(fun: Callable[..., Any], *args: np.ndarray, least: int = 1) -> list[str]:
    """The arrays that a function writes past the caches."""
    program = stream(fuse(lower(optimise(jg.trace(fun, *args)))), least=least)
    return [x.buffer.name for x in statements(program.body) if isinstance(x, Store) and x.streamed]


def test_large_arrays_are_written_past_the_caches() -> None:
    x = np.ones(1000)
    assert len(streamed(lambda x: 2 * x + 1, x, least=8000)) == 1
    assert streamed(lambda x: 2 * x + 1, x, least=8001) == []
    assert streamed(lambda x: 2 * x + 1, x[:255]) == []  # too short a loop
    assert len(streamed(lambda x: x - x.mean(1, keepdims=True), np.ones((3, 300)))) == 1
    assert len(streamed(lambda x: (2 * x, np.sum(x)), x)) == 1


def test_what_does_not_pay_is_written_as_usual() -> None:
    x = np.ones((300, 300))
    assert streamed(lambda x: np.tanh(x), x) == []  # arithmetic
    assert streamed(lambda x: x.T.copy(), x) != []
    assert streamed(lambda x: np.cumsum(x.ravel()), x) == []  # carried from one element to the next

    def read_again(x: Any) -> Any:
        y = np.exp(x)
        return y / np.sum(y, axis=1, keepdims=True)

    program = fuse(lower(optimise(jg.trace(read_again, x))))
    temporaries = {t.name for t in program.temporaries}
    assert not temporaries & set(streamed(read_again, x))


@pytest.mark.usefixtures("always")
def test_programs_that_fail() -> None:
    @jg.jit
    def f(x: Any, i: Any) -> Any:
        return np.concatenate([2 * x[k] + 1 + x[i[k]] for k in range(3)])

    x = np.random.default_rng(0).random((3, 300))
    assert "nontemporal" in f.llvm(x, np.array([0, 2, 1]))
    np.testing.assert_array_equal(f(x, np.array([0, 2, 1])), np.ravel(2 * x + 1 + x[[0, 2, 1]]))
    with pytest.raises(IndexError):
        f(x, np.array([0, 2, 3]))


def test_it_is_printed_and_explained() -> None:
    @jg.jit
    def f(x: Any) -> Any:
        return 2 * x + 1

    x = np.ones((16 << 20) // 8)
    assert "# past the caches" in f.ir(x, stage="loop")
    assert "written past the caches" in f.explain(x)
    assert "nontemporal" in f.llvm(x)
    small = x[:1000]
    assert "past the caches" not in f.ir(small, stage="loop") + f.explain(small)
    np.testing.assert_array_equal(f(x), 2 * x + 1)


EPS = {np.dtype(t): np.finfo(t).eps for t in (np.float32, np.float64)}

PROGRAMS: dict[str, Callable[..., Any]] = {
    "scaled": lambda x: 2 * x + 1,
    "rows": lambda x: x - x.mean(-1, keepdims=True),
    "two": lambda x: (x + 1, x - 1),
    "four": lambda x: (x + 1, x - 1, 2 * x, -x),
    "of two dtypes": lambda x: (x > 0.5, x * x),
    "outer": lambda x: x[..., None] * np.arange(71.0),
    "transposed": lambda x: x.T + 1,
    "with its sum": lambda x: (2 * x, np.sum(x), np.max(x)),
    "a part": lambda x: np.concatenate([2 * x, x], axis=-1)[..., 3:],
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8])
@pytest.mark.usefixtures("always")
def test_values_are_those_of_ordinary_stores(name: str, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, fun = np.random.default_rng(0), PROGRAMS[name]
    shapes = ((63,), (64,), (200,), (1003,), (7, 129), (3, 1, 130))
    xs = [(10 * rng.random(shape)).astype(dtype) for shape in shapes]

    def for_each(*xs: Any) -> Any:
        results = [fun(x) for x in xs]
        return [t for r in results for t in (r if isinstance(r, tuple) else (r,))]

    new = jg.jit(for_each)
    found = new(*xs)
    assert "nontemporal" in new.llvm(*xs)
    monkeypatch.setattr(compiler, "stream", lambda program, notes: program)
    for a, b in zip(found, jg.jit(lambda *xs: for_each(*xs))(*xs), strict=True):
        if a.ndim:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=8 * EPS.get(a.dtype, 0))


@pytest.mark.usefixtures("always")
def test_arguments_that_begin_anywhere() -> None:
    """What is written in place begins where the caller's array does."""

    @jg.jit
    def fill(x: Any, y: Any) -> None:
        x[:] = 3 * y

    assert "nontemporal" in fill.llvm(np.ones(300), np.ones(300))
    for size in (100, 300):
        for offset in range(9):
            memory = np.zeros(size + 20)
            fill(memory[offset : offset + size], np.arange(float(size)))
            expected = np.zeros(size + 20)
            expected[offset : offset + size] = 3 * np.arange(float(size))
            np.testing.assert_array_equal(memory, expected)


@pytest.mark.usefixtures("always")
def test_a_sum_does_not_depend_on_addresses() -> None:
    @jg.jit
    def doubled(x: Any, y: Any) -> Any:
        x[:] = 2 * y
        return np.sum(y)

    y = np.random.default_rng(0).random(1003)
    memory = np.zeros(len(y) + 20)
    found = set()
    for offset in range(9):
        found.add(doubled(memory[offset : offset + len(y)], y).item())
        np.testing.assert_array_equal(memory[offset : offset + len(y)], 2 * y)
    assert "nontemporal" in doubled.llvm(y.copy(), y)
    assert len(found) == 1
    np.testing.assert_allclose(found.pop(), np.sum(y), rtol=1e-14)


def test_threads_see_what_others_wrote() -> None:
    """A second loop reads in another order, on other threads, what the first one wrote."""

    @jg.jit
    def f(x: Any) -> Any:
        y = 2 * x + 1
        return y, np.sort(y)[:5], y[::-1] + y

    x = np.random.default_rng(0).random((20 << 20) // 8)
    for _ in range(5):
        y, least, both = f(x)
        np.testing.assert_array_equal(y, 2 * x + 1)
        np.testing.assert_array_equal(least, np.sort(y)[:5])
        np.testing.assert_array_equal(both, y[::-1] + y)


def fetched(fun: Callable[..., Any], *args: np.ndarray, least: int = 1) -> list[str]:
    """The rows that a function brings into the caches before they are needed."""
    program = fetch(stream(fuse(lower(optimise(jg.trace(fun, *args)))), least=1), least=least)
    verify(program)
    return [" ".join(str(x).split()) for x in print_program(program).splitlines() if "fetch" in x]


def centred(x: Any) -> Any:
    return x - x.mean(1, keepdims=True)


def test_rows_are_fetched_ahead() -> None:
    x = np.ones((5, 300))
    assert fetched(centred, x) == ["fetch x[i0 + 1, i1]"]
    assert fetched(centred, x, least=12001) == []
    assert fetched(centred, np.ones((3, 20000))) == []  # would not stay in the caches
    assert fetched(lambda x: 2 * x + 1, x) == []  # read once, as it comes
    assert fetched(lambda x: x - x.mean(0), x) == []  # rows are not read again one by one
    weighted = fetched(lambda x, w: x - (w * x).mean(1, keepdims=True), x, x.copy())
    assert sorted(weighted) == ["fetch w[i0 + 1, i1]", "fetch x[i0 + 1, i1]"]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [64, 300, 513])
def test_values_with_fetches(dtype: type, columns: int) -> None:
    f = jg.jit(centred)
    x = np.random.default_rng(0).random((7, columns)).astype(dtype)
    assert "prefetch" in f.llvm(x)
    np.testing.assert_allclose(f(x), centred(x), atol=8 * np.finfo(dtype).eps)
    assert "fetch" not in f.source(x)
