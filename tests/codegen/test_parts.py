"""Modules cut into parts: nothing is lost or there twice, and the results are those of one part."""

from __future__ import annotations

import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.codegen import parts
from jitgrad.runtime import native, target
from jitgrad.runtime import threads as runtime_threads


def program(x, w):
    """Loops with threads and without, calls of the BLAS, a sort, sums that go on, checks of indices."""
    order = np.argsort(x)
    y = np.cumsum(np.sin(x[order]) * np.exp(-x))
    z = np.tanh(y @ w) @ w.T
    outer = np.log1p(np.exp(-((z[:, None] - x[None, :]) ** 2)))
    return outer.sum() + np.linalg.norm(np.linalg.solve(np.eye(len(x)) + 0.01 * outer, z))


@pytest.fixture
def arguments():
    rng = np.random.default_rng(0)
    return rng.normal(size=60), rng.normal(size=(60, 60)) / 8


@pytest.fixture
def many(monkeypatch):
    """Parts are as small as a function, and there are threads for them."""
    native._compiled.clear()
    monkeypatch.setattr(parts, "LEAST", 500)
    monkeypatch.setattr(runtime_threads, "get_num_threads", lambda: 4)
    with jg.config.using(cache=False):
        yield
    native._compiled.clear()


def compiled():
    """The last program that was compiled."""
    return next(reversed(native._compiled.values()))


def functions(code) -> list[list[str]]:
    """The names of what is defined in each part."""
    return [re.findall(r"^define [^@]*@\"?([^\"(]+)", part.llvm(), re.MULTILINE) for part in code.parts]


def test_results_are_those_of_one_part(many, monkeypatch, arguments):
    value, gradients = jg.value_and_grad(program, argnums=(0, 1))(*arguments)
    code = compiled()
    assert len(code.parts) == 4
    np.testing.assert_allclose(value, program(*arguments), rtol=1e-12)
    native._compiled.clear()
    monkeypatch.setattr(parts, "LEAST", 10**9)
    alone, expected = jg.value_and_grad(program, argnums=(0, 1))(*arguments)
    assert len(compiled().parts) == 1
    assert value == alone
    for a, b in zip(gradients, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    in_parts, whole = functions(code), functions(compiled())[0]
    kernels = [name for names in in_parts for name in names if re.search(r"kernel\d+$", name)]
    assert sorted(kernels) == sorted(name for name in whole if re.search(r"kernel\d+$", name))
    assert {name for names in in_parts for name in names} == set(whole)
    assert sum("jitgrad.entry" in names for names in in_parts) == 1


def test_text_and_assembly_have_all_parts(many, arguments):
    f = jg.grad(program)
    f(*arguments)
    names = [name for part in functions(compiled()) for name in part]
    llvm, asm = f.llvm(*arguments), f.asm(*arguments)
    assert len(names) > 10
    assert all(name in llvm and name in asm for name in names)


def test_small_programs_are_one_part(monkeypatch):
    monkeypatch.setattr(runtime_threads, "get_num_threads", lambda: 4)
    native._compiled.clear()
    with jg.config.using(cache=False):
        jg.jit(lambda x: x + 1)(np.ones(3))
    assert len(compiled().parts) == 1


def test_failures_of_kernels_in_other_parts_arrive(many, arguments):
    def fun(x, k):
        return np.tanh(x)[k].sum() + program(x, arguments[1])

    with pytest.raises(IndexError):
        jg.jit(fun)(arguments[0], np.array([3, 60]))


def test_parts_are_kept_on_disk(many, tmp_path, arguments):
    with jg.config.using(cache=True, cache_dir=str(tmp_path)):
        expected = jg.grad(program)(*arguments)
        before = jg.cache_info()
        native._compiled.clear()
        f = jg.grad(lambda x, w: program(x, w))
        again = jg.grad(program)
        np.testing.assert_array_equal(again(*arguments), expected)
        np.testing.assert_array_equal(f(*arguments), expected)
        assert jg.cache_info().hits > before.hits


def test_errors_of_llvm_are_raised(many):
    good = str(target.new_module("good"))
    with pytest.raises(RuntimeError, match="parsing"):
        target.compile_parts([good, good, "define nothing"])
    assert len(target.compile_parts([good, good])) == 2


def test_without_threads_parts_are_compiled_in_turn(many, monkeypatch, arguments):
    def start(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    expected = jg.grad(program)(*arguments)
    native._compiled.clear()
    monkeypatch.setattr(threading.Thread, "start", start)
    np.testing.assert_array_equal(jg.grad(program)(*arguments), expected)
    assert len(compiled().parts) == 4


def test_parts_are_compiled_as_python_ends():
    code = """
import atexit, numpy as np, jitgrad as jg
from jitgrad.codegen import parts
from jitgrad.runtime import threads
parts.LEAST, threads.get_num_threads = 500, lambda: 2
f = jg.grad(lambda x: np.sum(np.sort(np.cumsum(np.sin(x)))[:, None] * np.exp(x)))
atexit.register(lambda: print(f(np.ones(3))))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")


def test_what_is_done_meanwhile_is_done_once_here(monkeypatch):
    done = []
    good = str(target.new_module("good"))

    def meanwhile():
        done.append(threading.current_thread())

    def start(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    assert len(target.compile_parts([good], meanwhile)) == 1
    assert len(target.compile_parts([good, good], meanwhile)) == 2
    monkeypatch.setattr(threading.Thread, "start", start)
    assert len(target.compile_parts([good], meanwhile)) == 1
    assert done == [threading.current_thread()] * 3


@pytest.mark.parametrize("number", [1, 2])
def test_threads_that_cannot_be_started_are_an_error(monkeypatch, number):
    def start():
        raise jg.errors.CompilationError("no threads")

    monkeypatch.setattr(runtime_threads, "get_num_threads", lambda: number)
    monkeypatch.setattr(runtime_threads, "start", start)
    native._compiled.clear()
    x = np.linspace(0.0, 1.0, 400_000)
    with jg.config.using(cache=False), pytest.raises(jg.errors.CompilationError, match="no threads"):
        jg.jit(lambda x: np.exp(np.sin(x)))(x)


def test_a_program_that_is_compiled_already_has_its_results_made(arguments):
    x, _ = arguments
    with jg.config.using(cache=False):
        first, second = (jg.jit(lambda x: np.exp(x) + 1.25) for _ in range(2))
        np.testing.assert_array_equal(first(x), second(x))
