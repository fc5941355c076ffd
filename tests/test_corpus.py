"""Programs as they are written: values, gradients against central differences and JAX; and the benchmark of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import KERNELS, jax_version
from corpus.programs import KERNELS as UNTIMED

import jitgrad as jg
from benchmarks import hand, harness, loops, loops_measure
from benchmarks.corpus.kernel import Kernel, with_value_and_gradients

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1)

every_kernel = pytest.mark.parametrize("name", KERNELS)
WITH_STEPS = [name for name, kernel in KERNELS.items() if kernel.static]
BY_HAND = [name for name in KERNELS if name not in UNTIMED and hand.version_of(name)]


def copied(args: tuple) -> tuple:
    """Arguments of their own for a program that may write into them."""
    return tuple(a.copy() if isinstance(a, np.ndarray) else a for a in args)


def plain(kernel: Kernel, args: tuple) -> float:
    """The value in plain NumPy; the arguments stay as they are."""
    return float(kernel.fun(*copied(args)))


def check_against_differences(kernel: Kernel, args: tuple, value: Any, grads: Any, seed: int = 0) -> None:
    """A value and gradients against plain NumPy, along two random directions with one step of extrapolation."""
    _, *grads = with_value_and_gradients(kernel, value, grads)
    np.testing.assert_allclose(value, plain(kernel, args), rtol=1e-10, atol=1e-12)
    for k, grad in zip(kernel.argnums, grads, strict=True):
        assert np.shape(grad) == np.shape(args[k])
    rng = np.random.default_rng(100 + seed)
    for _ in range(2):
        directions = [rng.normal(size=np.shape(args[k])) for k in kernel.argnums]

        def moved(h: float, directions: list = directions) -> float:
            shifted = list(args)
            for k, d in zip(kernel.argnums, directions, strict=True):
                shifted[k] = args[k] + h * d
            return plain(kernel, tuple(shifted))

        coarse, fine = ((moved(h) - moved(-h)) / (2 * h) for h in (1e-4, 5e-5))
        found = sum(np.sum(g * d) for g, d in zip(grads, directions, strict=True))
        size = sum(np.sum(np.abs(g * d)) for g, d in zip(grads, directions, strict=True))
        assert abs(found - (4 * fine - coarse) / 3) <= 1e-6 * (1 + size)


def value_and_grad(kernel: Kernel) -> Callable[..., Any]:
    """jitgrad's, with numbers of steps known when it compiles."""
    argnums = kernel.argnums[0] if len(kernel.argnums) == 1 else kernel.argnums
    return jg.jit(jg.value_and_grad(kernel.fun, argnums), static_argnums=kernel.static)


@every_kernel
def test_programs_write_where_they_say(name: str) -> None:
    kernel = KERNELS[name]
    args = kernel.arguments(kernel.small)
    before = copied(args)
    kernel.fun(*args)
    changed = [k for k, (a, b) in enumerate(zip(args, before, strict=True)) if not np.array_equal(a, b)]
    assert changed == list(kernel.writes)


@every_kernel
def test_value(name: str) -> None:
    kernel = KERNELS[name]
    fun = jg.jit(kernel.fun, static_argnums=kernel.static)
    for seed in SEEDS:
        args = kernel.arguments(kernel.small, seed)
        found, expected = copied(args), copied(args)
        np.testing.assert_allclose(fun(*found), kernel.fun(*expected), rtol=1e-10, atol=1e-12)
        for a, b in zip(found, expected, strict=True):  # as NumPy writes into arguments, so does the compiled program
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@every_kernel
def test_gradient(name: str) -> None:
    kernel = KERNELS[name]
    fun = value_and_grad(kernel)
    for seed in SEEDS:
        args = kernel.arguments(kernel.small, seed)
        given = copied(args)
        value, grads = fun(*given)
        for a, b in zip(given, args, strict=True):  # gradients leave the caller's arrays alone
            np.testing.assert_array_equal(a, b)
        check_against_differences(kernel, args, value, grads, seed)


@pytest.mark.parametrize("name", WITH_STEPS)
def test_gradient_with_a_traced_number_of_steps(name: str) -> None:
    kernel = KERNELS[name]
    argnums = kernel.argnums[0] if len(kernel.argnums) == 1 else kernel.argnums
    args = kernel.arguments(kernel.small)
    value, grads = jg.value_and_grad(kernel.fun, argnums)(*copied(args))
    check_against_differences(kernel, args, value, grads)


def jax_value_and_grad(kernel: Kernel, args: tuple) -> list[np.ndarray] | None:
    """JAX's value and gradients in float64; None where there is no JAX version."""
    jax = pytest.importorskip("jax")
    fun = jax_version(kernel.name)
    if fun is None:
        return None
    jax.config.update("jax_enable_x64", True)
    try:
        compiled = jax.jit(jax.value_and_grad(fun, kernel.argnums), static_argnums=kernel.static)
        value, grads = compiled(*copied(args))
        return with_value_and_gradients(kernel, value, grads)
    finally:
        jax.config.update("jax_enable_x64", False)


def assert_equal(kernel: Kernel, found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * float(np.max(np.abs(b))))


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@every_kernel
def test_jax_versions_are_right(name: str) -> None:
    kernel = KERNELS[name]
    for seed in SEEDS:
        args = kernel.arguments(kernel.small, seed)
        result = jax_value_and_grad(kernel, args)
        if result is None:
            pytest.skip("JAX cannot differentiate it in reverse, or it has no JAX version")
        check_against_differences(kernel, args, result[0], result[1:], seed)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@every_kernel
def test_gradient_is_that_of_jax(name: str) -> None:
    kernel = KERNELS[name]
    args = kernel.arguments(kernel.small)
    expected = jax_value_and_grad(kernel, args)
    if expected is None:
        pytest.skip("JAX cannot differentiate it in reverse, or it has no JAX version")
    value, grads = value_and_grad(kernel)(*copied(args))
    assert_equal(kernel, with_value_and_gradients(kernel, value, grads), expected)


@pytest.mark.parametrize(
    ("name", "compiled"),
    [
        *((name, False) for name in BY_HAND),
        *(pytest.param(name, True, marks=[] if name == "lu" else [pytest.mark.slow]) for name in BY_HAND),
    ],
)
def test_gradients_by_hand_are_right(name: str, compiled: bool) -> None:
    """As Python, and compiled by Numba, which takes seconds each."""
    kernel = KERNELS[name]
    fun: Any = hand.version_of(name)
    assert fun is not None
    if not compiled:
        fun = getattr(fun, "py_func", fun)  # one is a Python function around a compiled one
    for seed, size in ((0, kernel.small), (1, tuple(n + 1 for n in kernel.small))):
        args = kernel.arguments(size, seed)
        given = copied(args)
        value, grads = fun(*given)
        for a, b in zip(given, args, strict=True):
            np.testing.assert_array_equal(a, b)
        check_against_differences(kernel, args, value, grads, seed)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BY_HAND)
def test_gradients_by_hand_are_those_of_jax(name: str) -> None:
    kernel = KERNELS[name]
    fun = hand.version_of(name)
    assert fun is not None
    args = kernel.arguments(kernel.quick)
    expected = jax_value_and_grad(kernel, args)
    assert expected is not None
    value, grads = fun(*args)
    assert_equal(kernel, with_value_and_gradients(kernel, value, grads), expected)


def test_a_wrong_gradient_is_noticed() -> None:
    kernel = KERNELS["lu"]
    args = kernel.arguments(kernel.small)
    value, grad = hand.version_of("lu")(*args)
    loops_measure.check_slope(kernel, args, [value, grad], kernel.fun)
    wrong = grad.copy()
    wrong[2, 1] += 0.2
    with pytest.raises(harness.MismatchError, match="central difference"):
        loops_measure.check_slope(kernel, args, [value, wrong], kernel.fun)
    with pytest.raises(harness.MismatchError, match="shape"):
        loops_measure.check_slope(kernel, args, [value, grad[:3]], kernel.fun)
    with pytest.raises(harness.MismatchError, match="value"):
        loops_measure.check_slope(kernel, args, [value + 1e-3, grad], kernel.fun)


def test_what_fails_is_reported_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_gradient(self, name, kernel, args):
        if name == "jitgrad":
            raise RuntimeError("no such luck\nand more")
        return lambda: (kernel.fun(*args), np.ones_like(args[0]))

    monkeypatch.setattr(loops_measure.Contestants, "gradient", no_gradient)
    kernel = KERNELS["lu"]
    contestants = loops_measure.Contestants(("jitgrad", "hand"), 1)
    row = loops_measure.measure(kernel, kernel.small, contestants, 2)
    assert row.errors["jitgrad"] == "RuntimeError: no such luck"
    assert "central difference" in row.errors["hand"]
    assert row.gradient == {}
    assert "lu, jitgrad: RuntimeError: no such luck" in loops.table({"lu": row})


def test_ratios_and_their_means() -> None:
    def row(jitgrad: float, jax: float) -> loops_measure.Row:
        times = {"jitgrad": harness.Timing(jitgrad, jitgrad, 1, 1, 1.0), "jax": harness.Timing(jax, jax, 1, 1, 1.0)}
        return loops_measure.Row((4,), times, {"jitgrad": times["jitgrad"], "numba": times["jax"]})

    rows = {"a": row(1e-3, 2e-3), "b": row(1e-3, 8e-3)}
    means = loops.geometric_means(rows)
    assert means == {
        "jax/jitgrad": pytest.approx(4.0),
        "jitgrad/hand": None,
        "jax/hand": None,
        "fwd jitgrad/numba": pytest.approx(0.25),
    }
    last = loops.table(rows).splitlines()[-1].split()
    assert last == ["geometric", "mean", "4.00", "-", "-", "0.25"]


def command(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.loops", *args], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_command_line(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "out.json"
    done = command("lu", "--quick", "--repeat", "2", "--peers", "jitgrad", "hand", "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    case = json.loads(path.read_text())["cases"]["lu"]
    assert case["size"] == [50]
    assert case["errors"] == {}
    assert case["gradient"]["hand"]["minimum"] > 0
    assert case["ratios"]["fwd jitgrad/numba"] > 0


def test_command_line_refuses_unknown_names() -> None:
    done = command("no_such_kernel")
    assert done.returncode == 2
    assert "no_such_kernel" in done.stderr
