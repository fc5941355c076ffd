"""Parallel loops on threads: results, the number of threads, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ArgumentError

ROOT = Path(__file__).parent.parent.parent
SCRIPT = Path(__file__).parent / "threads_script.py"


def in_process(*arguments: str, **environment: str) -> str:
    """What a Python process prints. It may fork while threads run, which Python warns of from 3.12 on."""
    env = os.environ | environment | {"PYTHONPATH": os.pathsep.join((*sys.path, str(ROOT)))}
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_layers(layer: str) -> None:
    expected = [layer] if layer == "workqueue" else [layer, "unavailable"]  # OpenMP may not be installed
    assert in_process(str(SCRIPT), NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="4") in expected


def test_a_layer_that_does_not_exist() -> None:
    code = """
import numpy as np, jitgrad as jg
f = lambda x: np.exp(x)
try:
    jg.jit(f)(np.ones((1000, 1000)))
except jg.errors.CompilationError as error:
    print(error)
with jg.config.using(parallel=False):
    print(jg.jit(lambda x: np.exp(x))(np.zeros((1000, 1000))).sum())
"""
    text = in_process("-c", code, NUMBA_THREADING_LAYER="nonsense")
    assert "'nonsense' is unknown to Numba" in text and "NUMBA_THREADING_LAYER to 'default'" in text
    assert text.endswith("1000000.0")


def test_rows_are_sorted_on_threads() -> None:
    code = """
import numpy as np, jitgrad as jg
from jitgrad.codegen.threads import control
x = np.random.default_rng(0).normal(size=(37, 2000))
x[x > 2] = np.nan
f = jg.jit(lambda x: (np.sort(x, axis=1), np.argsort(x, axis=1, kind="stable")))
for n in (4, 1, 3):
    jg.set_num_threads(n)
    control.rest = 0  # launches are put off where other processes have the cores
    values, order = f(x)
    np.testing.assert_array_equal(values, np.sort(x, axis=1))
    np.testing.assert_array_equal(order, np.argsort(x, axis=1, kind="stable"))
print(control.launches > 0)
with jg.config.using(parallel=False):
    before = control.launches
    np.testing.assert_array_equal(jg.jit(lambda x: np.sort(x, axis=1))(x), np.sort(x, axis=1))
    print(control.launches == before)
"""
    assert in_process("-c", code, NUMBA_NUM_THREADS="4").split() == ["True", "True"]


def test_large_loops_run_on_threads() -> None:
    x = np.random.default_rng(0).normal(size=(1200, 1000))
    f = jg.jit(lambda x: (np.exp(x), np.sum(x * x)))
    wanted = np.exp(x), np.sum(x * x)
    before = jg.get_num_threads()
    results = []
    for n in sorted({1, before}):
        jg.set_num_threads(n)
        assert jg.get_num_threads() == n
        results.append(f(x))
    jg.set_num_threads(before)
    for y, s in results:
        np.testing.assert_allclose(y, wanted[0], rtol=1e-14)
        np.testing.assert_allclose(s, wanted[1], rtol=1e-12)
        np.testing.assert_array_equal(y, results[0][0])
        assert s == results[0][1]


@pytest.mark.parametrize("n", [0, -1, 10**6, 1.5, "2", None, True])
def test_numbers_of_threads_that_are_refused(n: object) -> None:
    before = jg.get_num_threads()
    most = numba.config.NUMBA_NUM_THREADS  # pyright: ignore
    with pytest.raises(ArgumentError, match=f"can't be {n!r}. It is an integer from 1 to {most}"):
        jg.set_num_threads(n)  # pyright: ignore
    assert jg.get_num_threads() == before


def test_integers_of_numpy_are_numbers_of_threads() -> None:
    before = jg.get_num_threads()
    jg.set_num_threads(np.int64(1))  # pyright: ignore
    assert jg.get_num_threads() == 1
    jg.set_num_threads(before)


@pytest.mark.parametrize("bad", [[0], [199_999], [77_777], [5, 100_000, 150_000], range(0, 200_000, 3)])
def test_a_loop_on_threads_ends_with_the_error_of_an_iteration(bad) -> None:
    @jg.jit
    def total(x, k, y):
        return np.sum(np.sin(x[k]) * y)

    rng = np.random.default_rng(0)
    x, k, y = rng.standard_normal(1000), rng.integers(-1000, 1000, 200_000), rng.standard_normal(200_000)
    expected = np.sum(np.sin(x[k]) * y)
    np.testing.assert_allclose(total(x, k, y), expected, rtol=1e-9)
    assert "runs on threads" in total.explain(x, k, y)
    wrong = k.copy()
    wrong[list(bad)] = 1000
    for _ in range(5):
        with pytest.raises(IndexError, match="out of bounds"):
            total(x, wrong, y)
        np.testing.assert_allclose(total(x, k, y), expected, rtol=1e-9)
