"""Temporaries of rows in the shared memory of blocks: which, how many, and what would go wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.cuda import bodies, shared
from jitgrad.cuda.grid import LEAST
from jitgrad.cuda.program import CudaExecutable
from jitgrad.cuda.shared import with_shared
from jitgrad.cuda.steps import Launch, Repeat
from jitgrad.errors import KernelError, KernelRaceError
from jitgrad.ir.index import Sym, expr
from jitgrad.ir.types import f32
from jitgrad.loopir.nodes import Buffer, Load, Loop, Store
from tests.cuda.device_programs import PROGRAMS, close, executable, floats, normal, ran, softmax


def compiled(function: Callable[..., Any], *args: np.ndarray, least: int = 0) -> CudaExecutable:
    """A program, which gives what NumPy gives."""
    program = executable(jg.trace(function, *args), least)
    close(program.call(args)[0].numpy(), function(*args))
    return program


def arena(program: CudaExecutable) -> int:
    return program.placement.nbytes


def sums_of_rows(x: Any) -> Any:
    """What needs the whole row a second time, with its neighbours in another order."""
    y = np.tanh(x - x.mean(1, keepdims=True))
    return y * y.sum(1, keepdims=True) + y[:, ::-1]


@pytest.mark.parametrize("shape", [(3, 33), (9, 40), (5, 300), (2, 70)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_warps_and_blocks(shape: tuple[int, int], dtype: Any) -> None:
    for function in (softmax, sums_of_rows):
        assert arena(compiled(function, normal(*shape, dtype=dtype))) == 0


def test_a_warp_has_a_slice() -> None:
    source = compiled(softmax, normal(9, 40)).source()
    assert "t2 = cuda.shared.array(160, float32)" in source and "t2[40 * warp + j]" in source
    assert "cuda.shared.array(300, float32)" in compiled(softmax, normal(5, 300)).source()


def test_bools_are_bytes() -> None:
    def function(x: Any) -> Any:
        above = np.tanh(np.sin(x - x.mean(1, keepdims=True))) > 0
        return np.where(above[:, ::-1], x, above.sum(1, keepdims=True))

    assert "cuda.shared.array(300, uint8)" in compiled(function, normal(6, 300)).source()


def test_elements_that_threads_share_are_updated_in_shared_memory() -> None:
    def histograms(x: Any, k: Any) -> Any:
        out = np.zeros((40, 9), np.float32)
        for i in range(40):
            h = np.zeros(9, np.float32)
            np.add.at(h, k[i], x[i])
            out[i] = np.exp(h) * h.sum()
        return out

    k = np.random.default_rng(0).integers(0, 9, (40, 50))
    source = compiled(histograms, normal(40, 50), k).source()
    assert "cuda.shared.array(36, float32)" in source and "atomic_add(t4, 9 * warp + " in source


def test_what_does_not_fit_stays_in_the_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal(3, 50)
    assert arena(compiled(softmax, x)) == 0
    monkeypatch.setattr(shared, "BYTES", 4 * 4 * 50 - 1)  # four warps
    program = compiled(softmax, x)
    assert arena(program) > 0 and "shared.array(200" not in program.source()
    monkeypatch.undo()
    large = executable(jg.trace(softmax, np.ones((2, 12000), np.float32)), LEAST)
    assert arena(large) == 2 * 12000 * 4


def test_all_arrays_of_a_block_are_counted() -> None:
    def running(x: Any) -> Any:
        return np.logaddexp.accumulate(x, axis=1)  # by way of some ten temporaries

    program = executable(jg.trace(running, np.ones((200, 3000), np.float32)))
    (launch,) = (s for s in program.plans.steps if isinstance(s, Launch))
    assert shared.BYTES - 12000 < sum(t.nbytes for t in launch.shared) <= shared.BYTES and arena(program) > 0


def test_what_others_read_stays_in_the_arena() -> None:
    function, args = PROGRAMS["layer_norm"]
    program = executable(jg.trace(jg.value_and_grad(function, floats(args)), *args), 0)
    touched = [t for t in program.placement.places if "parts" in t.name]
    assert touched, "sums of blocks are read by the next launch"
    for s in program.plans.steps:
        assert isinstance(s, Launch) and not any("parts" in t.name for t in s.shared)


def test_sequences_of_launches() -> None:
    def repeated(w: Any, h: Any) -> Any:
        for _ in range(20):
            h = softmax(h @ w)
        return h

    program = compiled(repeated, normal(40, 40), normal(300, 40), least=LEAST)
    assert any(isinstance(s, Repeat) for s in program.plans.steps)
    assert "cuda.shared.array(160, float32)" in program.source(), "each launch fills it"


def test_what_the_next_launch_of_a_sequence_needs_stays_in_the_arena() -> None:
    x, y, t = Buffer("x", f32, (64,), "arg"), Buffer("y", f32, (64,), "out"), Buffer("t", f32, (64,))

    def copy(to: Buffer, source: Buffer) -> Loop:
        i = Sym("i", 0, 63)
        return Loop(i, 0, 64, (Store(to, (expr(i),), Load(source, (expr(i),))),))

    read, fill = copy(y, t), copy(t, x)
    times = Sym("k", 0, 4)

    def moved(*body: Loop) -> bool:
        (s,) = with_shared([Repeat(Loop(times, 0, 5, ()), (Launch("f", (), body, 32, 32),))])
        assert isinstance(s, Repeat) and isinstance(s.steps[0], Launch)
        return bool(s.steps[0].shared)

    assert moved(fill, read) and not moved(read, fill)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("t3[-j + 299]", "t3[-j + 298]"),  # the element beside, and one outside
        ("    cuda.syncthreads()\n    a = parts", "    a = parts"),  # no barrier, which the sum brings along
        ("shared.array(300", "shared.array(299"),  # too small
    ],
)
def test_planted_bugs_in_blocks_are_caught(right: str, wrong: str) -> None:
    _planted(normal(3, 300), right, wrong)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    cuda.syncwarp()\n", ""),  # no barrier
        ("40 * warp", "39 * warp"),  # slices overlap
        ("[40 * warp + ", "["),  # all warps use one slice
        ("shared.array(160", "shared.array(120"),  # no slice for the last one
    ],
)
def test_planted_bugs_in_warps_are_caught(right: str, wrong: str) -> None:
    _planted(normal(9, 40), right, wrong)


def _planted(x: np.ndarray, right: str, wrong: str) -> None:
    program = compiled(sums_of_rows, x)
    text = program.source()
    assert right in text, text
    close(ran(program, text, x)[0], sums_of_rows(x))
    with pytest.raises((AssertionError, KernelError)):
        close(ran(program, text.replace(right, wrong), x)[0], sums_of_rows(x))


def test_barriers_are_where_threads_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal(3, 40)
    assert compiled(sums_of_rows, x).source().count("cuda.syncwarp()") == 1
    assert "syncthreads" not in compiled(sums_of_rows, normal(3, 300)).source().split("def t")[-1], "sums are barriers"
    monkeypatch.setattr(bodies, "may_meet", lambda *_: False)
    with pytest.raises(KernelRaceError):
        compiled(sums_of_rows, x)
