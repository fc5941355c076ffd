"""Rows in groups: sums of arrays that are read in two orders, what goes along with them, and what would go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.cuda import bodies
from jitgrad.cuda.grid import LEAST
from jitgrad.cuda.program import CudaExecutable
from jitgrad.cuda.steps import Launch
from jitgrad.errors import KernelError, KernelRaceError
from tests.cuda.device_programs import close, executable, ran


def array(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Numbers that differ from their neighbours."""
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape) * 7 % 101
    return (values % 3 != 0) if dtype is bool else values.astype(dtype) / (1 if np.dtype(dtype).kind in "iu" else 50)


def compiled(function: Callable[..., Any], *args: np.ndarray, least: int = 0) -> CudaExecutable:
    return executable(jg.trace(function, *args), least)


def groups(program: CudaExecutable) -> list[Launch]:
    return [s for s in program.plans.steps if isinstance(s, Launch) and s.unit.startswith("groups")]


def in_groups(function: Callable[..., Any], *args: np.ndarray) -> str:
    """The source of a function with a launch over groups of rows, whose results are NumPy's."""
    program = compiled(function, *args)
    assert groups(program), program.source()
    want = function(*args)
    for found, y in zip(program.call(args), want if isinstance(want, tuple) else (want,), strict=True):
        close(found.numpy(), np.asarray(y))
    return program.source()


@pytest.mark.parametrize("shape", [(64, 8), (128, 16), (70, 131), (129, 9), (257, 33)])
def test_shapes(shape: tuple[int, int]) -> None:
    x, y = array(*shape), array(*shape[::-1])
    source = in_groups(lambda x, y: (x.T * y).sum(1), x, y)
    assert source.count("cuda.shared.array(1056, ") == 1, "one of the two arrays"


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.int32, np.int16, np.uint8, bool])
def test_dtypes(dtype: Any) -> None:
    x, y = array(70, 20, dtype=dtype), array(20, 70, dtype=dtype)
    in_groups(lambda x, y: np.where(y > 1, y, x.T).sum(1), x, y)
    in_groups(lambda x, y: np.where(y > 1, y, x.T).max(1), x, y)


def test_random_shapes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        batch, n, m = int(rng.integers(1, 4)), int(rng.integers(64, 150)), int(rng.integers(8, 40))
        x, y = rng.normal(size=(batch, n, m)), rng.normal(size=(batch, m, n))
        in_groups(lambda x, y: (np.swapaxes(x, 1, 2) * y).sum(2), x, y)


def softmax(x: Any, y: Any) -> Any:
    z = x.T - y
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def normalised(x: Any, y: Any) -> Any:
    z = x.T * y
    mean = z.mean(1, keepdims=True)
    return (z - mean) / np.sqrt(((z - mean) ** 2).mean(1, keepdims=True) + 1e-3)


def two_sums(x: Any, y: Any) -> Any:
    return (x.T * y).sum(1), np.minimum(x.T, y).min(1), (x.T + y)[:, 0]


@pytest.mark.parametrize("function", [softmax, normalised, two_sums])
def test_rows_with_more_in_them(function: Callable[..., Any]) -> None:
    in_groups(function, array(70, 19, dtype=np.float64), array(19, 70, dtype=np.float64))


def test_sums_over_everything_and_columns() -> None:
    x, y = array(70, 131), array(131, 70)
    in_groups(lambda x, y: (x.T * y).sum(), x, y)
    in_groups(lambda x, y: (x.T * y).sum(0), x, y)
    in_groups(lambda x, y: ((x[::-1, 3:130].T - y[3:130]) ** 2).sum(1)[::-1], x, y)


@pytest.mark.parametrize("function", [softmax, normalised])
def test_gradients(function: Callable[..., Any]) -> None:
    def loss(x: Any, y: Any) -> Any:
        return (function(x, y) ** 3).sum()

    x, y = array(66, 12, dtype=np.float64) / 2, array(12, 66, dtype=np.float64) / 3
    program = compiled(jg.grad(loss, (0, 1)), x, y)
    assert groups(program)
    for found, want in zip(program.call([x, y]), jg.grad(loss, (0, 1))(x, y), strict=True):
        close(found.numpy(), np.asarray(want))


def across(x: Any) -> Any:
    """Sums of columns, written as a loop over them."""
    sums = np.zeros(x.shape[1])
    for i in range(x.shape[1]):
        total = 1.0
        for j in range(x.shape[0]):
            total += x[j, i] ** 2
        sums[i] = total
    return sums


def test_threads_lie_as_most_arrays_want_it() -> None:
    x, y = array(66, 20, dtype=np.float64), array(20, 66, dtype=np.float64)
    source = in_groups(across, x)
    assert "_tile" not in source and "% uint32(8)" in source
    source = in_groups(lambda x, y: (x.T * y * np.sin(x.T[::-1])).sum(1), x, y)
    assert source.count("y_tile = ") == 1 and "x_tile" not in source


def test_how_many_rows_make_groups() -> None:
    for shape, wanted in (((64, 512), 1), ((64, 500), 0), ((20, 4000), 0)):
        x, y = array(*shape), array(*shape[::-1])
        program = compiled(lambda x, y: np.exp(x.T * y).sum(1), x, y, least=LEAST)
        assert len(groups(program)) == wanted, shape
    x, y = array(512, 64), array(512, 64)
    assert not groups(compiled(lambda x, y: (x * y).sum(1), x, y, least=LEAST)), "all is in order"


def test_what_stays_as_it_is() -> None:
    def triangle(x: Any) -> Any:
        sums = np.zeros(x.shape[1])
        for i in range(x.shape[1]):
            total = 0.0
            for j in range(i + 1):
                total += x[j, i]
            sums[i] = total
        return sums

    x, k = array(80, 80), np.arange(80) * 7 % 80
    for function, args in (
        (triangle, (x,)),
        (lambda x, k: (x[:, k].T + x).sum(1), (x, k)),  # checked
        (lambda x: np.cumsum(x.T, axis=1).sum(1), (x,)),
    ):
        program = compiled(function, *args)
        assert not groups(program)
        close(program.call(args)[0].numpy(), np.asarray(function(*args)))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("        cuda.syncthreads()\n        k = lane", "        k = lane"),  # the tile is not there yet
        (
            "        acc0_parts[k] += acc\n        cuda.syncthreads()",
            "        acc0_parts[k] += acc",
        ),  # it is overwritten
        ("+ tr) < 20", "+ tr) <= 20"),  # bounds of the last groups and tiles
        ("+ 32 * l) < 150", "+ 32 * l) <= 150"),
        ("132 * tr + tc", "127 * tr + tc"),  # rows overlap
        ("range(4)", "range(3)"),  # the last columns are left out
        ("range(32)", "range(31)"),  # a thread's sum is
        ("for j in range(2):", "for j in range(1):"),  # a tile is
        ("// uint32(32)", "// uint32(16)"),  # threads of other rows
        ("acc0_parts[32 * j + k]", "acc0_parts[32 * k + j]"),  # sums of other rows
        ("acc0_parts[k] += acc", "acc0_parts[k] = acc"),  # of the last tile only
        ("    acc0_parts[j] = float32(0.0)\n", ""),  # from garbage
    ],
)
def test_planted_bugs_are_caught(right: str, wrong: str) -> None:
    def function(x: Any, y: Any) -> Any:
        return 1 + (x.T * y).sum(1)

    x, y = array(150, 20), array(20, 150)
    program = compiled(function, x, y)
    text = program.source()
    assert right in text, text
    close(ran(program, text, x, y)[0], function(x, y))
    with pytest.raises((AssertionError, KernelError)):
        close(ran(program, text.replace(right, wrong), x, y)[0], function(x, y))


def test_barriers_are_where_elements_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = array(70, 20), array(20, 70)
    monkeypatch.setattr(bodies, "may_meet", lambda *_: False)
    with pytest.raises(KernelRaceError):
        compiled(lambda x, y: (x.T * y).sum(1), x, y).call([x, y])
