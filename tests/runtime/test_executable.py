"""Calls of compiled programs: conversions, ownership, threads, backends."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from threads import in_threads

import jitgrad as jg
from jitgrad import config
from jitgrad.compiler import compile_graph
from jitgrad.errors import CompilationError
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.runtime import workspace

TEXT = """
graph f(%x: f64[4,3], %s: f64[]) {
  %0: f64[4,3] = multiply(%x, %s)
  %1: f64[] = reduce_sum(%0) {axes=(0, 1)}
  return %0, %1
}"""


def test_odd_storage_is_converted():
    program = compile_graph(parse(TEXT))
    base = np.arange(12.0).reshape(4, 3)
    read_only = base.copy()
    read_only.flags.writeable = False
    for x in (base, np.asfortranarray(base), base[::-1, ::-1], base.astype(">f8"), base.astype(np.float32), read_only):
        y, total = program(x, 2.0)
        np.testing.assert_allclose(y, x * 2.0)
        assert total == x.sum() * 2


def test_scalars_come_as_objects():
    program = compile_graph(parse(TEXT), scalar_params=(False, True))
    x = np.ones((4, 3))
    for s in (2.0, np.float64(2.0)):
        y, total = program.call((x, s))
        assert total == 24.0 and type(total) is np.float64
        np.testing.assert_array_equal(y, 2 * x)


def test_wrong_arguments_are_refused():
    program = compile_graph(parse(TEXT))
    with pytest.raises(TypeError, match="compiled for"):
        program(np.ones((3, 4)), 1.0)
    with pytest.raises(TypeError, match="takes 2 arrays"):
        program(np.ones((4, 3)))
    with pytest.raises(TypeError, match="compiled for"):
        program(np.ones((4, 3), complex), 1.0)


def test_results_are_fresh_and_arguments_untouched():
    program = compile_graph(parse("graph f(%x: f64[3]) {\n return %x, %x\n}"))
    x = np.arange(3.0)
    a, b = program(x)
    assert not np.shares_memory(a, x) and not np.shares_memory(a, b) and a.flags.owndata
    a[:] = 7
    np.testing.assert_array_equal(x, [0, 1, 2])
    np.testing.assert_array_equal(b, [0, 1, 2])


@pytest.mark.parametrize("backend", ["llvm", "numba", "python"])
def test_backends_agree(backend):
    with config.using(backend=backend):
        program = compile_graph(parse(TEXT))
    x = np.random.default_rng(0).standard_normal((4, 3))
    for got, want in zip(program(x, 3.0), interpret(parse(TEXT), x, 3.0), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-14)
    if backend != "llvm":
        with pytest.raises(CompilationError, match="backend"):
            program.asm()


def test_threads_do_not_share_scratch_memory():
    text = """
    graph f(%x: f64[60,60]) {
      %0: f64[60,60] = einsum(%x, %x) {spec="ij,jk->ik"}
      %1: f64[60,60] = tanh(%0)
      %2: f64[60,60] = einsum(%1, %x) {spec="ij,jk->ik"}
      return %2
    }"""
    program = compile_graph(parse(text))
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((60, 60)) for _ in range(4)]
    wanted = [program(x)[0] for x in inputs]
    wrong: list[int] = []

    def work(k: int) -> None:
        wrong.extend(k for _ in range(50) if not np.allclose(program(inputs[k])[0], wanted[k], rtol=1e-12))

    in_threads(work)
    assert not wrong


def test_arena_is_aligned_reused_and_released():
    address = workspace.arena_address(1000)
    assert address % 64 == 0
    assert workspace.arena_address(500) == address
    assert workspace.arena_size() >= 1000
    workspace.release_arena()
    assert workspace.arena_size() == 0


def test_equal_programs_are_compiled_once() -> None:
    def f(scale):
        return lambda x, y: np.sum(np.tanh(x) * scale) + np.sum(y)

    def native(fun, *args):
        return jg.jit(fun)._specialise(args, {}).compiled.executable._native

    x, y = np.linspace(0, 1, 7), np.linspace(1, 2, 7)
    first = native(f(np.arange(7.0)), x, y)
    assert native(f(-np.arange(7.0)), x, y) is first  # constants are data of a program
    assert native(f(np.arange(7.0)), x, y.astype(np.float32)) is not first
    assert native(f(np.arange(7.0)), x, 1.5) is not first
    swapped = f(np.arange(7.0))
    assert native(lambda y, x: swapped(x, y), x, y) is not first
    for c in (np.arange(7.0), -np.arange(7.0)):
        np.testing.assert_allclose(jg.jit(f(c))(x, y), np.sum(np.tanh(x) * c) + np.sum(y), rtol=1e-14)


def _resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of the process is read from /proc")
def test_functions_that_are_dropped_leave_little_behind() -> None:
    x = np.linspace(0.0, 1.0, 10)

    def made(k: int) -> weakref.ref:
        f = jg.jit(lambda x: np.sin(x * k).sum() * np.cos(x + k))
        f(x)
        return weakref.ref(f)

    for k in range(10):
        made(k)
    gc.collect()
    before = _resident()
    dropped = [made(k) for k in range(10, 50)]
    gc.collect()
    assert all(ref() is None for ref in dropped)
    assert _resident() - before < 40 * 400_000
