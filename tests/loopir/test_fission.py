"""Loops of stores as several loops: what they leave in memory, and which statements stay together."""

from __future__ import annotations

import numpy as np
import pytest

from jitgrad.ir.index import Dim, Sym, add, expr, mul
from jitgrad.loopir import fission
from jitgrad.loopir.fission import parts_of
from jitgrad.loopir.nodes import Buffer, Const, Expr, Load, Loop, Scalar, Store

N = 9
F64 = np.dtype(np.float64)


def number(e: Expr, memory: dict[Buffer, np.ndarray], var: Sym, i: int) -> float:
    if isinstance(e, Load):
        return memory[e.buffer][place(e.index, var, i)]
    if isinstance(e, Const):
        return float(e.value)
    assert isinstance(e, Scalar)
    x, y = (number(arg, memory, var, i) for arg in e.args)
    return x + y if e.op == "add" else x * y


def place(index: tuple[Dim, ...], var: Sym, i: int) -> int:
    offset = add(index[0], mul(expr(var), -1))
    assert isinstance(offset, int)
    return i + offset


def ran(loops: list[Loop], memory: dict[Buffer, np.ndarray]) -> dict[Buffer, np.ndarray]:
    """Memory after some loops, statement by statement."""
    memory = {t: a.copy() for t, a in memory.items()}
    for s in loops:
        for i in range(s.lo, s.hi, s.step):  # pyright: ignore
            for x in s.body:
                assert isinstance(x, Store)
                value, at = number(x.value, memory, s.var, i), place(x.index, s.var, i)
                memory[x.buffer][at] = value + (memory[x.buffer][at] if x.mode == "+=" else 0)
    return memory


def random_loop(seed: int) -> tuple[Loop, dict[Buffer, np.ndarray]]:
    """Two to four stores into two arrays, of what is beside in either and in a third one."""
    rng = np.random.default_rng(seed)
    arrays = [Buffer(name, F64, (N,)) for name in "abc"]
    up = bool(rng.integers(2))
    var = Sym("i", 1, N - 2)
    at = expr(var)

    def load() -> Expr:
        return Load(arrays[rng.integers(3)], (add(at, int(rng.integers(-1, 2))),))

    body = []
    for _ in range(rng.integers(2, 5)):
        value = load() * Const(0.5, F64) + load() * Const(-0.25, F64)
        mode = "+=" if rng.integers(2) else "="
        body.append(Store(arrays[rng.integers(2)], (add(at, int(rng.integers(-1, 2))),), value, mode))
    loop = Loop(var, 1, N - 1, tuple(body)) if up else Loop(var, N - 2, 0, tuple(body), -1)
    return loop, {t: rng.normal(size=N) for t in arrays}


def check(count: int) -> int:
    """Compare loops with their parts; returns how many have some."""
    split = 0
    for seed in range(count):
        loop, memory = random_loop(seed)
        parts = parts_of(loop)
        assert sorted(loop.body, key=id) == sorted((x for part in parts for x in part.body), key=id)
        split += len(parts) > 1
        want = ran([loop], memory)
        for t, found in ran(parts, memory).items():
            np.testing.assert_allclose(found, want[t], rtol=1e-12, atol=1e-12, err_msg=f"seed {seed}")
    return split


def test_random_loops_of_stores() -> None:
    assert check(600) > 100


@pytest.mark.parametrize("name", ["_ordered", "_commute"])
def test_planted_bugs_are_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fission, name, lambda *_: name == "_commute")
    with pytest.raises(AssertionError):
        check(300)


def test_circles_stay_together() -> None:
    i = Sym("i", 1, N - 1)
    at, before = (expr(i),), (add(expr(i), -1),)
    x, y, z = (Buffer(name, F64, (N,)) for name in "xyz")
    first, second = Store(x, at, Load(y, before)), Store(y, at, Load(x, at))
    third = Store(z, at, Load(x, at))
    bodies = [part.body for part in parts_of(Loop(i, 1, N, (third, first, second)))]
    assert bodies == [(third,), (first, second)], "it reads what x was"
    bodies = [part.body for part in parts_of(Loop(i, 1, N, (first, third, second)))]
    assert bodies == [(first, second), (third,)]
