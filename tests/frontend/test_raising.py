"""``raise`` and ``assert`` that traced values decide about: compiled programs raise what plain Python raises."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import config
from jitgrad.errors import ConcretizationError, UnsupportedError
from jitgrad.ir.parser import parse
from jitgrad.ir.thrown import Thrown
from tests.frontend.raising_programs import (
    ALWAYS,
    ARGUMENTS,
    KNOWN_TO_FAIL,
    PROGRAMS,
    CustomError,
    asserted_in_a_loop,
    converges,
    for_else,
    guarded,
    helper,
    in_a_loop,
    in_an_unrolled_loop,
    nested,
    noted,
    only_asserted,
    with_value,
)
from tests.fuzz.random_sources import make


def outcome(fun: Any, x: np.ndarray) -> tuple[str, Any]:
    """What a call returns or raises."""
    try:
        with np.errstate(all="ignore"):
            result = fun(x.copy())
    except Exception as error:  # noqa: BLE001
        return type(error).__name__, (str(error), vars(error), repr(error.__cause__))
    return "result", result


def same(a: tuple[str, Any], b: tuple[str, Any]) -> None:
    assert a[0] == b[0]
    if a[0] == "result":
        for x, y in zip(np.atleast_1d(a[1]), np.atleast_1d(b[1]), strict=True):
            assert (x is None and y is None) or x == pytest.approx(y, rel=1e-12)
    else:
        b[1][1].pop("__notes__", None)
        assert a[1] == b[1]


@pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("backend", ["llvm", "python"])
def test_a_compiled_program_raises_what_python_raises(fun: Any, backend: str) -> None:
    with config.using(backend=backend):
        compiled = jg.jit(fun)
        kinds = {outcome(fun, x)[0] for x in ARGUMENTS}
        assert len(kinds) > 1
        for x in ARGUMENTS:
            same(outcome(fun, x), outcome(compiled, x))
        same(outcome(fun, ARGUMENTS[0]), outcome(compiled, ARGUMENTS[0]))  # it goes on to work


@pytest.mark.parametrize("fun", PROGRAMS, ids=lambda f: f.__name__)
def test_loops_that_are_recorded_or_unrolled_raise_alike(fun: Any) -> None:
    for loops in ("roll", "unroll"):
        if loops == "roll" and fun is in_an_unrolled_loop:
            continue
        compiled = jg.jit(fun, loops=loops)
        for x in ARGUMENTS:
            same(outcome(fun, x), outcome(compiled, x))


@pytest.mark.parametrize("fun", [f for f in PROGRAMS if f not in (only_asserted, asserted_in_a_loop)])
def test_derivatives_raise_what_the_function_raises(fun: Any) -> None:
    def scalar(x: np.ndarray) -> Any:
        found = fun(x)
        return np.sum(found[0] if isinstance(found, tuple) else found) + np.sum(x**3)

    gradient = jg.grad(scalar)
    for x in ARGUMENTS:
        plain = outcome(scalar, x)
        found = outcome(gradient, x)
        if plain[0] != "result":
            same(plain, found)
            continue
        for k in range(3):
            h = np.zeros(3)
            h[k] = 1e-6
            sides = [outcome(scalar, x + s * h) for s in (1, -1)]
            if all(s[0] == "result" for s in sides):
                expected = (sides[0][1] - sides[1][1]) / 2e-6
                assert found[1][k] == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("fun", [guarded, in_a_loop, nested, for_else])
def test_other_transformations(fun: Any) -> None:
    good, bad = np.array([4.0, 1.0, 1.0]), np.array([-4.0, -1.0, -1.0])
    bad = np.zeros(3) if fun is for_else else bad
    expected = outcome(fun, bad)[0]
    assert expected != "result"
    tangent = np.array([1.0, 2.0, 3.0])
    transformed = [
        lambda x: jg.jvp(fun, (x,), (tangent,)),
        lambda x: jg.vjp(fun, x)[1](1.0),
        jg.hessian(fun),
        jg.jit(jg.checkpoint(fun)),
        jg.grad(lambda x: jg.checkpoint(fun)(x) * 2),
        jg.value_and_grad(lambda x: fun(x) ** 2),
    ]
    for transform in transformed:
        assert outcome(transform, good)[0] == "result"
        assert outcome(transform, bad)[0] == expected


def test_a_result_that_nobody_uses_does_not_keep_a_check_from_running() -> None:
    @jg.jit
    def unused(x: np.ndarray) -> Any:
        for i in range(len(x)):
            helper(np.log(x[i]), "log")
        return 1.0

    assert unused(np.ones(100)) == 1.0
    with pytest.raises(FloatingPointError, match="log has 1 bad values"):
        unused(-np.ones(100))


def test_arguments_are_as_they_were_where_the_program_ends() -> None:
    @jg.jit
    def scale(a: np.ndarray, by: float) -> None:
        if by == 0:
            raise ZeroDivisionError("by is 0")
        a[:] = a / by
        if by > 100:
            raise ValueError("late")

    a = np.ones(1000)
    with pytest.raises(ZeroDivisionError, match="by is 0"):
        scale(a, 0.0)
    assert (a == 1).all()
    scale(a, 2.0)
    assert (a == 0.5).all()


def test_an_exception_is_a_new_one_for_each_call_and_names_the_line() -> None:
    compiled = jg.jit(with_value)
    found = []
    for factor in (3.0, 4.0):
        with pytest.raises(ValueError, match="norm") as info:
            compiled(np.array([factor, 0.0]))
        found.append(info.value)
    assert found[0] is not found[1]
    assert "norm 3.000" in str(found[0]) and "norm 4.000" in str(found[1])
    (note,) = found[1].__notes__
    assert "raising_programs.py:" in note and "raise ValueError" in note


def test_notes_of_the_function_come_first_and_once() -> None:
    compiled = jg.jit(noted)
    for x in (-1.0, -2.0, -3.0):
        with pytest.raises(ValueError, match="negative") as info:
            compiled(x)
        assert info.value.args == ("negative", x)
        first, place = info.value.__notes__
        assert first == "a note" and "raising_programs.py:" in place


@pytest.mark.parametrize("backend", ["llvm", "python"])
def test_many_exceptions_of_one_loop(backend: str) -> None:
    checks = "".join(f"        if x[{k}] < 0: raise ValueError('element {k}')\n" for k in range(230))
    fun = make(f"def f(x):\n    s = 0.0\n    for k in range(20):\n{checks}        s += x[0]\n    return s\n")
    with config.using(backend=backend):
        compiled = jg.jit(fun)
        for bad in (3, 191, 229):
            with pytest.raises(ValueError) as info:
                compiled(np.where(np.arange(230) == bad, -1.0, 1.0))
            assert info.value.args == (f"element {bad}",)


def test_threads_get_their_own_messages() -> None:
    compiled = jg.jit(with_value)
    compiled(np.ones(2))
    wrong: list[str] = []

    def run(n: int) -> None:
        for k in range(200):
            try:
                compiled(np.array([n * 1000.0 + k, 0.0]))
            except ValueError as error:
                if f"norm {n * 1000 + k}.000" not in str(error):
                    wrong.append(str(error))

    threads = [threading.Thread(target=run, args=(n,)) for n in (3, 4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_integers_bools_and_what_is_too_large() -> None:
    @jg.jit
    def fun(x: np.ndarray, k: int) -> Any:
        if k > 3:
            raise ValueError(f"{k:03d} {k > 5} {x.astype(np.float32)[0]!r}", x)
        return x

    with pytest.raises(ValueError) as info:
        fun(np.arange(4.0), 7)
    assert info.value.args[0] == "007 True np.float32(0.0)" or info.value.args[0] == "007 True 0.0"
    np.testing.assert_array_equal(info.value.args[1], np.arange(4.0))
    with pytest.raises(ValueError) as info:
        fun(np.arange(1000.0), 7)
    assert info.value.args[1] == "?"


def test_what_may_be_caught_can_not_be_recorded() -> None:
    @jg.jit
    def fun(x: float) -> Any:
        try:
            if x > 0:
                raise ValueError("positive")
        except ValueError:
            x = -x
        return x

    with pytest.raises(UnsupportedError, match=r"ValueError \(positive\) is raised in a branch.*'try'"):
        fun(1.0)


@pytest.mark.parametrize("fun", ALWAYS, ids=lambda f: f.__name__)
def test_a_function_that_always_raises(fun: Any) -> None:
    pairs = jg.value_and_grad(lambda x: (fun(x), x), has_aux=True)
    inner = jg.jit(lambda x: jg.grad(fun)(x) + 1.0)
    for transformed in (jg.jit(fun), jg.grad(fun), pairs, inner):
        for x in (-1.0, 0.25, 0.75, 2.0):
            with pytest.raises(Exception) as expected:
                fun(x)
            with pytest.raises(expected.type) as found:
                transformed(x)
            assert found.value.args == expected.value.args


@pytest.mark.parametrize("fun", KNOWN_TO_FAIL, ids=lambda f: f.__name__)
def test_an_assertion_that_is_known_to_fail_in_a_branch(fun: Any) -> None:
    compiled = jg.jit(fun)
    np.testing.assert_allclose(compiled(4.0), fun(4.0))
    with pytest.raises(AssertionError) as expected:
        fun(-4.0)
    with pytest.raises(AssertionError) as found:
        compiled(-4.0)
    assert found.value.args == expected.value.args


def test_an_assertion_about_an_array_is_ambiguous() -> None:
    @jg.jit
    def fun(x: np.ndarray) -> Any:
        assert x > 0
        return x

    with pytest.raises(ConcretizationError, match=r"condition of assert is an array.*np.all"):
        fun(np.ones(3))


def test_a_check_in_the_text_of_a_graph() -> None:
    for fun in (with_value, guarded, in_a_loop, converges):
        graph = parse(jg.jit(fun).ir(np.ones(3), stage="optimised"))
        assert "check(" in str(graph) and "raises " in str(graph)
        again = parse(str(graph))
        assert str(again) == str(graph)
    for error in (ValueError("a {b} }{", 1), KeyError(), CustomError(1, 2), OSError(2, "no file")):
        assert Thrown.parse(Thrown(error).text).text.partition(":")[2] == Thrown(error).text.partition(":")[2]
    with pytest.raises(ValueError, match="no exception"):
        Thrown.parse("print: hello")


def test_a_program_from_the_cache_raises_the_same(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import numpy as np
            import jitgrad as jg

            @jg.grad
            def fun(x):
                s = 0.0
                for i in range(len(x)):
                    if x[i] < 0:
                        raise ValueError(f"element {i} is {x[i]:.2f}")
                    s += x[i] ** 2
                assert s < 1e3, f"sum {s}"
                return s

            print(fun(np.ones(50))[:2])
            for x in (-np.ones(50), 30 * np.ones(50)):
                try:
                    fun(x)
                except (ValueError, AssertionError) as error:
                    print(type(error).__name__, error)
            print(jg.cache_info().hits)
            """
        )
    )
    env = {"JITGRAD_CACHE_DIR": str(tmp_path / "cache"), "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    lines = []
    for _ in range(2):
        done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines.append(done.stdout.splitlines())
    assert lines[0][:-1] == ["[2. 2.]", "ValueError element 0 is -1.00", "AssertionError sum 45000.0"]
    assert lines[1][:-1] == lines[0][:-1]
    assert lines[0][-1] == "0" and lines[1][-1] != "0"


def test_the_first_iteration_that_raises_comes_first() -> None:
    @jg.jit
    def fun(a: np.ndarray) -> Any:
        out = np.zeros(len(a))
        for i in range(a.shape[0]):
            s = 0.0
            for j in range(a.shape[1]):
                if a[i, j] < 0:
                    raise ValueError("negative")
                if a[i, j] > 5:
                    raise OverflowError("large")
                s += np.sqrt(a[i, j])
            out[i] = s
        return out

    a = np.random.default_rng(0).uniform(0, 5, size=(2000, 2000))
    np.testing.assert_allclose(fun(a), np.sqrt(a).sum(1))
    a[10, 7], a[1900, 3], a[1999, 0] = -1, 9, -3
    with pytest.raises(ValueError, match="negative"):
        fun(a)
    a[10, 7], a[3, 1998] = 1, 7
    with pytest.raises(OverflowError, match="large"):
        fun(a)
    assert "it may raise" in fun.explain(a)


def test_the_first_loop_that_raises_comes_first() -> None:
    @jg.jit
    def fun(x: np.ndarray) -> Any:
        y, z = np.zeros_like(x), np.zeros_like(x)
        for i in range(len(x)):
            if x[i] > 1:
                raise ValueError("first")
            y[i] = np.sin(x[i])
        for i in range(len(x)):
            if x[i] > 0.5:
                raise OverflowError("second")
            z[i] = np.cos(x[i])
        return y + z

    x = np.linspace(0, 0.4, 50)
    np.testing.assert_allclose(fun(x), np.sin(x) + np.cos(x))
    x[3], x[40] = 0.7, 2
    with pytest.raises(ValueError, match="first"):
        fun(x)


def test_a_check_of_the_program_comes_before_that_of_an_index() -> None:
    @jg.jit
    def fun(x: np.ndarray, at: np.ndarray) -> Any:
        if np.any(at >= len(x)) or np.any(at < 0):
            raise ValueError(f"there is no element {at.max()}")
        return x[at].sum()

    x, at = np.arange(50.0), np.arange(40)
    assert fun(x, at) == x[at].sum()
    at[3] = 70
    with pytest.raises(ValueError, match="there is no element 70"):
        fun(x, at)

    @jg.jit
    def other(x: np.ndarray, at: np.ndarray) -> Any:
        y = x[at]
        if np.any(at > 10):
            raise ValueError("far")
        return y.sum()

    with pytest.raises(IndexError):
        other(x, at)
    with pytest.raises(ValueError, match="far"):
        other(x, np.arange(40))
