"""Integers that a program must know: extents, numbers of steps, axes, flags. They are found, and taken as numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import JitgradWarning, ShapeError, UnsupportedError

V = np.arange(1.0, 7.0)


def path(x, n):
    """The multiples of x."""
    out = np.zeros(n)
    for i in range(n):
        out[i] = x * i
    return out


def energy(x, n):
    return np.sum(np.linspace(0, x, n) ** 2)


def appended(x, n):
    found = []
    for i in range(n):
        found.append(x * i)  # noqa: PERF401
    return np.array(found)


def doubled(x, n):
    for _ in range(n):
        x = np.concatenate([x, x])
    return x


PROGRAMS = {
    "zeros": lambda x, n: path(x[0], n),
    "matrix": lambda x, n: np.zeros((n, n + 1)) + x[0],
    "eye": lambda x, n: np.eye(n) * x[1],
    "arange": lambda x, n: np.arange(n) * x[1],
    "linspace": lambda x, n: np.linspace(x[0], x[1], n),
    "reshape": lambda x, n: x.reshape(n, -1),
    "slice": lambda x, n: x[:n],
    "split": lambda x, n: np.split(x, n),
    "tile": lambda x, n: np.tile(x, n),
    "repeat": lambda x, n: np.repeat(x, n),
    "roll": lambda x, n: np.roll(x, n),
    "diff": lambda x, n: np.diff(x, n=n),
    "axis": lambda x, n: np.cumsum(x.reshape(1, 2, 3), axis=n),
    "matrix power": lambda x, n: np.linalg.matrix_power(np.outer(x, x), n),
    "polyfit": lambda x, n: np.polyfit(V, x, n),
    "appended": lambda x, n: appended(x[1], n),
    "comprehension": lambda x, n: np.array([x[k] * math.comb(n, k) for k in range(n + 1)]),
    "doubled": doubled,
    "structure": lambda x, n: (x, x) if n > 1 else x,
    "factorial": lambda x, n: x**n / math.factorial(n),
    "combinations": lambda x, n: np.array([x[i] * x[j] for i, j in itertools.combinations(range(n + 1), 2)]),
    "islice": lambda x, n: sum(itertools.islice(x, n)),
    "functions": lambda x, n: {1: np.sin, 2: np.cos}[n](x),
    "names": lambda x, n: getattr(np, ["sin", "cos", "tan"][n])(x),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("kind", [int, np.int64, np.int32])
def test_programs_as_written(name, kind):
    f = PROGRAMS[name]
    compiled = jg.jit(f)
    got, want = compiled(V, kind(2)), f(V, 2)
    assert type(got) is type(want) or not isinstance(want, (tuple, list))
    for a, b in zip(got, want, strict=True) if isinstance(want, (tuple, list)) else [(got, want)]:
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert compiled.cache_info().compilations == 1


def test_each_value_has_its_program():
    f = jg.jit(path)
    for n in (3, 5, 3, 0, 5):
        np.testing.assert_array_equal(f(2.0, n), path(2.0, n))
    assert f.cache_info() == (3, 3, 0)
    assert len(f._fast[float, int]) == 3


def test_later_calls_are_traced_once():
    traced = []

    @jg.jit
    def f(x, n):
        traced.append(n)
        return np.zeros(n) + x

    f(1.0, 3)
    assert len(traced) == 2 and traced[1] == 3
    f(1.0, 4)
    f(V[:1], 5)
    assert traced[2:] == [4, 5]


def test_derivatives():
    steps = np.linspace(0, 1, 4)
    assert jg.grad(energy)(1.5, 4) == pytest.approx(3 * np.sum(steps**2))
    value, slope = jg.value_and_grad(energy)(1.5, n=4)
    assert (value, slope) == (pytest.approx(energy(1.5, 4)), pytest.approx(3 * np.sum(steps**2)))
    assert jg.hessian(energy)(1.5, 4) == pytest.approx(2 * np.sum(steps**2))
    np.testing.assert_allclose(jg.jacobian(path)(1.5, 4), np.arange(4.0))
    np.testing.assert_allclose(jg.jacobian(path)(1.5, n=3), np.arange(3.0))
    by_rows = jg.jacobian(lambda x, n: np.sum(x.reshape(n, -1), 0))
    np.testing.assert_allclose(by_rows(V, 3), np.tile(np.eye(2), 3))
    np.testing.assert_allclose(by_rows(V, 2), np.tile(np.eye(3), 2))


def test_pointwise_derivatives_in_a_function():
    @jg.jit
    def f(x, n):
        out, pullback = jg.vjp(lambda y: path(y, n), x)
        along = jg.jvp(lambda y: path(y, n), (x,), (1.0,))[1]
        return out, pullback(np.ones(n))[0], along

    out, back, along = f(2.0, 4)
    np.testing.assert_allclose(out, path(2.0, 4))
    assert back == 6
    np.testing.assert_allclose(along, np.arange(4.0))


def test_defaults_and_keywords():
    f = jg.jit(lambda x, n=3, *, m=2: np.zeros((n, m)) + x)
    assert f(1.0).shape == (3, 2)
    assert f(1.0, 4).shape == (4, 2)
    assert f(1.0, m=5).shape == (3, 5)
    assert f(1.0, m=6, n=1).shape == (1, 6)


@dataclasses.dataclass
class Settings:
    rows: int
    columns: int
    scale: float
    seed: int = 0


def test_leaves_of_trees():
    @jg.grad
    def f(x, settings):
        return np.sum(np.linspace(0, x * settings["scale"], settings["n"]) * settings["k"])

    assert f(1.0, {"n": 3, "scale": 2.0, "k": 2}) == pytest.approx(6.0)
    assert f(1.0, {"n": 3, "scale": 2.0, "k": 4}) == pytest.approx(12.0)  # k is traced: the same program
    assert f.cache_info().compilations == 1
    assert f(1.0, {"n": 2, "scale": 2.0, "k": 2}) == pytest.approx(4.0)

    g = jg.jit(lambda x, s: np.zeros((s.rows, s.columns)) + x * s.scale * s.seed)
    assert g(1.0, Settings(2, 3, 0.5)).shape == (2, 3)
    np.testing.assert_array_equal(g(1.0, Settings(2, 3, 2.0, 4)), np.full((2, 3), 8.0))
    assert g.cache_info().compilations == 1
    assert g(1.0, Settings(3, 2, 0.5)).shape == (3, 2)
    text = g.explain(1.0, Settings(3, 2, 0.5))
    assert "argument s.rows is the number 3" in text and "argument s.columns is the number 2" in text
    assert "s.seed is the number" not in text


def test_only_what_is_needed():
    f = jg.jit(lambda x, step, n: np.ones(n) * x / (1 - 0.9**step))
    for step in range(1, 5):
        np.testing.assert_allclose(f(1.0, step, 3), np.ones(3) / (1 - 0.9**step))
    assert f.cache_info().compilations == 1


def test_flags():
    f = jg.jit(lambda x, full: (x, x + 1) if full else x)
    assert f(1.0, True) == (1.0, 2.0)
    assert f(1.0, False) == 1.0
    assert f(1.0, np.bool_(True)) == (1.0, 2.0)


def test_nested_functions():
    inner, static = jg.jit(path), jg.jit(path, static_argnames="n")
    outer = jg.jit(lambda x, n: (inner(x, n) + static(x, n), jg.grad(energy)(x, n)))
    total, slope = outer(2.0, 3)
    np.testing.assert_array_equal(total, 2 * path(2.0, 3))
    assert slope == pytest.approx(4 * np.sum(np.linspace(0, 1, 3) ** 2))


def test_methods():
    class Model:
        scale = 2.0

        @jg.jit
        def run(self, x, n):
            return np.zeros(n) + x * self.scale

    model = Model()
    assert model.run(1.0, 3).shape == (3,)
    np.testing.assert_array_equal(model.run(1.0, 2), [2.0, 2.0])


def test_reading():
    f = jg.grad(energy)
    assert "f64[4]" in f.ir(1.5, 4)
    assert "def " in f.source(1.5, 5)
    assert "argument n is the number 6 in this program" in f.explain(1.5, 6)
    assert "num of np.linspace is the traced value" in f.explain(1.5, 6)
    assert f.cache_info().compilations == 3
    assert [p.name for p in jg.trace(energy, 1.5, 4).params] == ["x", "n"]
    assert "f64[%n]" in str(jg.trace(path, 1.5, 4))  # a graph may have results of any extent


def test_loops_that_python_runs_have_a_limit(monkeypatch):
    names = {"np": np}
    exec("def f(x, n):\n    s = 0.0\n    for i in range(n):\n        s = s + np.sin(x) * i\n    return s", names)
    monkeypatch.setattr(jg.known, "MOST_OPS", 600)
    f = jg.jit(names["f"])  # without source
    np.testing.assert_allclose(f(1.0, 50), names["f"](1.0, 50))
    with pytest.raises(UnsupportedError, match=r"f is traced for n=1000000, .* more than 600 operations"):
        f(1.0, 10**6)
    meant = jg.jit(names["f"], static_argnames="n")
    np.testing.assert_allclose(meant(1.0, 400), names["f"](1.0, 400))


def test_floats_and_arrays_stay_traced():
    for three, four in ((3.0, 4.0), (np.array(3), np.array(4)), (np.float64(3), np.float64(4))):
        f = jg.jit(lambda x, n: np.zeros(int(n)) + x)
        for n in (three, four):
            np.testing.assert_array_equal(f(1.0, n), np.ones(int(n)))
        assert f.cache_info().programs == 1


def test_what_is_wrong_with_the_numbers_too():
    with pytest.raises(ShapeError, match=r"shapes \(3,\) and \(6,\)"):
        jg.jit(lambda x, n: np.zeros(n) + x)(V, 3)
    with pytest.raises(ShapeError, match=r"size 6 .*into shape \(4, -1\)|reshape"):
        jg.jit(lambda x, n: x.reshape(n, -1))(V, 4)


def test_errors_of_the_user_are_as_they_were():
    def f(x, n, m):
        if isinstance(n, str):
            raise TypeError("never")
        raise ValueError("always")

    with pytest.raises(ValueError, match="always"):
        jg.jit(f)(V, 3, 4)


def test_ever_new_values_warn():
    f = jg.jit(path)
    with jg.config.using(warn_recompiles=5), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(6):
            f(1.0, n)
    found = [w for w in caught if issubclass(w.category, JitgradWarning)]
    assert len(found) == 1 and "has been compiled 5 times" in str(found[0].message)
    assert found[0].filename == __file__


def test_globals_are_guarded_as_before():
    state = {"scale": 2.0}

    @jg.jit
    def f(x, n):
        return np.zeros(n) + x * state["scale"]

    assert f(1.0, 2)[0] == 2.0
    state["scale"] = 3.0
    assert f(1.0, 2)[0] == 3.0
    assert "recompiled, because" in f.explain(1.0, 2)


def test_cuda():
    with jg.config.using(cuda_driver="simulated"):
        f = jg.jit(path, target="cuda")
        for n in (3, 4, 3):
            np.testing.assert_array_equal(np.asarray(f(2.0, n).numpy()), path(2.0, n))
        assert f.cache_info().compilations == 2
        assert float(jg.grad(energy, target="cuda")(1.5, 4)) == pytest.approx(jg.grad(energy)(1.5, 4))


SCRIPT = """
import numpy as np, jitgrad as jg
f = jg.jit(lambda x, n: np.zeros(n) + x)
print([f(1.0, n).shape for n in (3, 4)], jg.cache_info().hits)
"""


def test_disk_cache(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "JITGRAD_CACHE": "1", "JITGRAD_CACHE_DIR": str(tmp_path / "cache")}
    runs = [
        subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs == ["[(3,), (4,)] 0\n", "[(3,), (4,)] 2\n"]
