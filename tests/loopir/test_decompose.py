"""Functions whose expansion holds for a part of the arguments: every way in which the other arguments are seen to."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.ir.index import Sym, add, expr
from jitgrad.ir.types import f64
from jitgrad.loopir.decompose import RUN, decompose
from jitgrad.loopir.nodes import (
    Assign,
    Block,
    Buffer,
    Const,
    Expr,
    If,
    Let,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    scalar,
)
from jitgrad.loopir.walk import expressions, lists_of, statements, subexpressions
from jitgrad.runtime.compiled import Executable

N = 300
HUGE = [1e22, -3e200, 2.0**31]


def calls(stmts: Any) -> set[str]:
    """The functions that are left as calls."""
    parts = subexpressions(e for s in statements(stmts) for e in expressions(s))
    return {e.op for e in parts if isinstance(e, Scalar)} & {"sin", "cos", "tan"}


def values(huge: bool, n: int = N) -> np.ndarray:
    x = np.random.default_rng(0).uniform(-50, 50, n)
    if huge:
        x[[3, n // 2, n - 1]] = HUGE
    return x


def loop(n: int, *body: Stmt, var: Sym, kind: str = "serial") -> Loop:
    return Loop(var, 0, n, body, kind=kind)


def sine_of(x: Buffer, i: Sym) -> Expr:
    return scalar("sin", Load(x, (expr(i),)))


@pytest.mark.parametrize("huge", [False, True])
def test_loop_is_repeated_with_calls(huge: bool) -> None:
    x, y, i = Buffer("x", f64, (N,), "arg"), Buffer("y", f64, (N,), "out"), Sym("i", 0, N - 1)
    program = Program("f", (x,), (y,), (loop(N, Store(y, (expr(i),), sine_of(x, i)), var=i),))
    (block,) = decompose(program).body
    assert isinstance(block, Block)
    start, first, again = block.body
    assert isinstance(start, Let)
    assert isinstance(again, If)
    assert not calls((first,))
    assert calls(again.then) == {"sin"}
    data = values(huge)
    np.testing.assert_allclose(Executable(program)(data)[0], np.sin(data), rtol=4e-16)


@pytest.mark.parametrize("huge", [False, True])
def test_repeated_sum_starts_anew(huge: bool) -> None:
    x, y, i = Buffer("x", f64, (N,), "arg"), Buffer("y", f64, (), "out"), Sym("i", 0, N - 1)
    total = Local("total", f64)
    body = Block(
        (
            Let(total, Const(1.0, f64)),
            loop(N, Assign(total, sine_of(x, i), "+="), var=i),
            Store(y, (), total),
        )
    )
    data = values(huge)
    np.testing.assert_allclose(Executable(Program("f", (x,), (y,), (body,)))(data)[0], 1 + np.sin(data).sum())


@pytest.mark.parametrize("huge", [False, True])
def test_loop_that_overwrites_its_arguments_looks_first(huge: bool) -> None:
    x, i = Buffer("x", f64, (N,), "inout"), Sym("i", 0, N - 1)
    half = Local("half", f64)
    nest = loop(
        N,
        Let(half, Load(x, (expr(i),)) * 0.5),
        Store(x, (expr(i),), scalar("sin", half) + scalar("cos", Load(x, (expr(i),)))),
        var=i,
    )
    program = Program("f", (x,), (x,), (nest,))
    (block,) = decompose(program).body
    assert isinstance(block, Block)
    _, look, choice = block.body
    assert not any(isinstance(s, Store) for s in statements((look,)))
    assert isinstance(choice, If)
    assert calls(choice.then) == {"sin", "cos"}
    assert not calls(choice.orelse)
    data = values(huge)
    want = np.sin(data * 0.5) + np.cos(data)
    Executable(program)(data)
    np.testing.assert_allclose(data, want, rtol=1e-13)


def test_arguments_that_the_loop_stores_are_left_to_calls() -> None:
    """The second statement reads what the first one wrote in the same iteration."""
    x, i = Buffer("x", f64, (N,), "inout"), Sym("i", 0, N - 1)
    at = (expr(i),)
    nest = loop(N, Store(x, at, Load(x, at) * 1e10), Store(x, at, sine_of(x, i)), var=i)
    program = Program("f", (x,), (x,), (nest,))
    assert calls(decompose(program).body) == {"sin"}
    data = values(False)
    want = np.sin(data * 1e10)
    Executable(program)(data)
    np.testing.assert_allclose(data, want, rtol=4e-16)


def test_sequential_loop_keeps_its_calls() -> None:
    x, i = Buffer("x", f64, (N,), "inout"), Sym("i", 0, N - 2)
    nest = loop(N - 1, Store(x, (add(expr(i), 1),), sine_of(x, i)), var=i)
    program = Program("f", (x,), (x,), (nest,))
    assert calls(decompose(program).body) == {"sin"}
    assert not any(isinstance(s, If) for s in statements(decompose(program).body))


@pytest.mark.parametrize("huge", [False, True])
def test_sequential_outer_loop_has_notes_inside(huge: bool) -> None:
    """Row k + 1 is made of row k: only the inner loop can be run again."""
    rows = 4
    x, y = Buffer("x", f64, (N,), "arg"), Buffer("y", f64, (rows + 1, N), "out")
    k, i, j = Sym("k", 0, rows - 1), Sym("i", 0, N - 1), Sym("j", 0, N - 1)
    step = Store(y, (add(expr(k), 1), expr(j)), scalar("sin", Load(y, (expr(k), expr(j))) * 3.0))
    nests = (
        loop(N, Store(y, (0, expr(i)), Load(x, (expr(i),))), var=i),
        loop(rows, loop(N, step, var=j), var=k),
    )
    program = Program("f", (x,), (y,), nests)
    outer = decompose(program).body[1]
    assert isinstance(outer, Loop)
    assert any(isinstance(s, If) for s in lists_of(outer)[0])
    data = values(huge)
    want = [data]
    for _ in range(rows):
        want.append(np.sin(want[-1] * 3.0))
    np.testing.assert_allclose(Executable(program)(data)[0], want, rtol=1e-12)


@pytest.mark.parametrize(("n", "copies"), [(100, 4), (RUN, 2), (50_000, 2), (2 * RUN + 77, 4), (2 * RUN + 4, 2)])
def test_parallel_loop_notes_in_runs(n: int, copies: int) -> None:
    x, y, i = Buffer("x", f64, (n,), "arg"), Buffer("y", f64, (n,), "out"), Sym("i", 0, n - 1)
    nest = loop(n, Store(y, (expr(i),), sine_of(x, i)), var=i, kind="parallel")
    program = Program("f", (x,), (y,), (nest,))
    for s in statements(decompose(program).body):
        if isinstance(s, Loop) and s.kind == "parallel":
            inside = {v.local for v in statements(s.body) if isinstance(v, Let)}
            assert all(v.local in inside for v in statements(s.body) if isinstance(v, Assign))
    inner = [s for s in statements(decompose(program).body) if isinstance(s, Loop) and s.kind == "serial"]
    assert len(inner) == copies  # with calls and without, for the runs and for what they leave
    data = values(True, n)
    np.testing.assert_allclose(Executable(program)(data)[0], np.sin(data), rtol=4e-16)


def test_elements_do_not_depend_on_their_neighbours() -> None:
    x, y, i = Buffer("x", f64, (N,), "arg"), Buffer("y", f64, (N,), "out"), Sym("i", 0, N - 1)
    run = Executable(Program("f", (x,), (y,), (loop(N, Store(y, (expr(i),), sine_of(x, i)), var=i),)))
    usual, data = values(False), values(True)
    same = usual == data
    np.testing.assert_array_equal(run(data)[0][same], run(usual)[0][same])


def test_a_number_takes_the_call() -> None:
    x, y = Buffer("x", f64, (), "arg"), Buffer("y", f64, (), "out")
    program = Program("f", (x,), (y,), (Store(y, (), scalar("tan", Load(x, ()))),))
    for v in (0.3, *HUGE):
        assert Executable(program)(np.array(v))[0] == pytest.approx(np.tan(v), rel=4e-16)


@pytest.mark.parametrize("shape", [(4000,), (40, 100), (1333, 3), (3, 4, 5, 60)])
def test_arrays_of_several_axes_are_vectorised(shape):
    """Their loops are one, over a view of all elements."""
    x = np.random.default_rng(0).normal(size=shape)
    f = jg.jit(lambda x: np.cos(x) + np.tan(x))
    np.testing.assert_allclose(f(x), np.cos(x) + np.tan(x), rtol=1e-13, atol=1e-14)
    text = f.llvm(x)
    assert re.search(r"@llvm\.fma\.v\d+f64", text)
    assert not re.search(r"@llvm\.(cos|tan)\.v", text)
