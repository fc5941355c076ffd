"""Transposes: tiles in shared memory, of any shape and dtype, and what would go wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.cuda import bodies
from jitgrad.cuda.program import CudaExecutable
from jitgrad.cuda.steps import Launch
from jitgrad.errors import IndexBoundsError, KernelError, KernelRaceError
from tests.cuda.device_programs import close, executable, ran


def array(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Numbers that differ from their neighbours."""
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape) * 7 % 101
    return (values % 2 == 0) if dtype is bool else values.astype(dtype)


def compiled(function: Callable[..., Any], *args: np.ndarray) -> CudaExecutable:
    return executable(jg.trace(function, *args), 0)


def tiled(program: CudaExecutable) -> list[Launch]:
    return [s for s in program.plans.steps if isinstance(s, Launch) and s.unit == "tiles"]


def verify(program: CudaExecutable, function: Callable[..., Any], *args: np.ndarray) -> None:
    want = function(*args)
    for found, y in zip(program.call(args), want if isinstance(want, tuple) else (want,), strict=True):
        close(found.numpy(), np.asarray(y))


def in_tiles(function: Callable[..., Any], *args: np.ndarray) -> str:
    """The source of a function that is one launch over tiles, with the results of NumPy."""
    program = compiled(function, *args)
    assert len(tiled(program)) == len(program.plans.steps) == 1, program.source()
    verify(program, function, *args)
    return program.source()


@pytest.mark.parametrize("shape", [(32, 32), (33, 31), (17, 70), (64, 16), (47, 95)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int16, np.uint8, bool])
def test_shapes_and_dtypes(shape: tuple[int, int], dtype: Any) -> None:
    x, y = array(*shape, dtype=dtype), array(*shape[::-1], dtype=dtype)
    source = in_tiles(lambda x, y: np.where(y > 50, y, x.T), x, y)
    assert source.count("cuda.shared.array(1056, ") == 1 and source.count("syncthreads") == 1


def test_random_shapes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        batch, n, m = int(rng.integers(1, 4)), *map(int, rng.integers(16, 80, 2))
        x, y = rng.normal(size=(batch, n, m)), rng.normal(size=(batch, m, n))
        in_tiles(lambda x, y: np.swapaxes(x, 1, 2) * y, x, y)


@pytest.mark.parametrize("axes", [(0, 2, 1), (2, 1, 0), (2, 0, 1), (1, 2, 0)])
def test_axes(axes: tuple[int, ...]) -> None:
    in_tiles(lambda x: np.transpose(x, axes) + 1, array(17, 20, 35))


def test_slices_and_turns() -> None:
    x, y = array(40, 66), array(33, 40)
    in_tiles(lambda x, y: x[::-1, :33].T[::-1] - y, x, y)
    in_tiles(lambda x, y: x[:, 20:53].T * y[::-1, ::-1], x, y)


def test_several_arrays_and_results() -> None:
    s, t, u = array(40, 50), array(40, 50, dtype=np.float64), array(50, 40)
    source = in_tiles(lambda s, t, u: (s.T + u, t.T * u + s.T, np.sin(u)), s, t, u)
    assert source.count("shared.array(1056, float32)") == source.count("shared.array(1056, float64)") == 1
    in_tiles(lambda s: (s + s.T, s - s.T), array(37, 37))


def test_tiles_have_room_in_a_block() -> None:
    arrays = [array(33, 40, dtype=np.float64) for _ in range(5)]

    def added(*arrays: Any) -> Any:
        return sum((x.T for x in arrays), np.zeros((40, 33))) * 2

    assert in_tiles(added, *arrays).count("shared.array") == 2, "what does not fit is read as it was"


def test_gathered_rows() -> None:
    x, k = array(9, 40), np.arange(30) * 5 % 9
    program = compiled(lambda x, k: x[k].T + 1, x, k)
    assert len(tiled(program)) == 1
    verify(program, lambda x, k: x[k].T + 1, x, k)
    with pytest.raises(IndexBoundsError):
        program.call([x, k + 1])


def test_what_is_not_worth_a_tile() -> None:
    for function, x in (
        (lambda x: x + 1, array(40, 40)),
        (lambda x: x.T + 1, array(500, 3)),  # a tile would be nearly empty
        (lambda x: np.swapaxes(x, 0, 1) + 1, array(20, 20, 33)),  # rows stay as they are
    ):
        program = compiled(function, x)
        assert not tiled(program)
        verify(program, function, x)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    cuda.syncthreads()\n", ""),  # no barrier
        ("+ 8 * m) < 40", "+ 8 * m) <= 40"),  # bounds of the last tiles
        ("+ tx) < 33", "+ tx) <= 33"),
        ("[33 * tx + ty", "[32 * tx + ty"),  # rows of another length, once and throughout
        ("33 * t", "31 * t"),
        ("[33 * tx + ty", "[33 * ty + tx"),  # an element for its transpose
        ("range(4)", "range(3)"),  # the last rows are left out
        ("// uint32(32)", "// uint32(16)"),  # threads overlap
        ("+ 264 * m", "+ 231 * m"),  # rows of other threads
    ],
)
def test_planted_bugs_are_caught(right: str, wrong: str) -> None:
    x = array(3, 40, 33)
    program = compiled(lambda x: np.swapaxes(x, 1, 2) + 1, x)
    text = program.source()
    assert right in text, text
    want = np.swapaxes(x, 1, 2) + 1
    np.testing.assert_array_equal(ran(program, text, x)[0], want)
    with pytest.raises((AssertionError, KernelError)):
        np.testing.assert_array_equal(ran(program, text.replace(right, wrong), x)[0], want)


def test_the_barrier_is_where_elements_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    x = array(40, 33)
    monkeypatch.setattr(bodies, "may_meet", lambda *_: False)
    with pytest.raises(KernelRaceError):
        compiled(lambda x: x.T + 1, x).call([x])
