"""What loops cost: memory grows with the tape only, programs do not grow with trip counts, and budgets are kept."""

from __future__ import annotations

import re

import numpy as np
import pytest

import jitgrad as jg
from benchmarks.corpus import KERNELS


def arena(transformed, *args) -> int:
    return int(re.search(r"arena (\d+) bytes", transformed.explain(*args))[1])


def tapes(transformed, *args) -> list[str]:
    return [line for line in transformed.explain(*args).splitlines() if line.startswith("reverse of the")]


def gradient(fun, steps, **options):
    def loss(x):
        return fun(x, steps)

    return jg.jit(jg.value_and_grad(loss), **options)


def test_jacobi_2d_takes_the_same_memory_for_any_number_of_steps():
    a = np.random.default_rng(0).normal(size=(30, 30))
    fun = KERNELS["jacobi_2d"].fun
    few, many = (arena(gradient(fun, steps), a) for steps in (10, 1000))
    assert few == many
    assert many <= 4 * a.nbytes + 8192  # the two arrays, their adjoints, and rows


@pytest.mark.parametrize("name", ["lu", "cholesky", "forward_substitution", "back_substitution", "seidel_2d", "trmm"])
def test_no_tape(name):
    kernel = KERNELS[name]
    args = kernel.arguments(kernel.small, 0)
    lines = tapes(jg.jit(jg.value_and_grad(kernel.fun, kernel.argnums), static_argnums=kernel.static), *args)
    assert not any("tape of" in line for line in lines), lines


def test_relaxation_saves_two_vectors_a_sweep():
    """Not the rest of the vector for every element: it is what it was at the start of the sweep."""
    kernel = KERNELS["gauss_seidel"]
    n, sweeps = 30, 12
    lines = tapes(jg.value_and_grad(lambda A, b: kernel.fun(A, b, sweeps)), *kernel.arguments((n, sweeps), 0)[:2])
    numbers = sum(int(m[1]) // 8 for line in lines if (m := re.search(r"(\d+) bytes$", line)))
    assert 0 < numbers <= 2 * n * sweeps


def test_durbin_saves_a_triangle():
    kernel = KERNELS["durbin"]
    n = 40
    args = kernel.arguments((n,) if isinstance(kernel.small, tuple) else n, 0)
    lines = tapes(jg.jit(jg.value_and_grad(kernel.fun, kernel.argnums), static_argnums=kernel.static), *args)
    numbers = sum(int(m[1]) // 8 for line in lines if (m := re.search(r"(\d+) bytes$", line)))
    assert numbers <= n * (n - 1) // 2 + 4 * n


def logistic(x, steps):
    for _ in range(steps):
        x = 3.5 * x * (1.0 - x) * np.exp(-0.01 * x)
    return np.sum(x * x)


def test_a_tape_grows_with_the_steps():
    x = np.random.default_rng(0).uniform(0.2, 0.8, size=100)
    few, many = (arena(gradient(logistic, steps), x) for steps in (50, 500))
    assert many - few == pytest.approx(450 * x.nbytes, rel=0.01)


@pytest.mark.parametrize("steps", [50, 64, 67])
def test_a_budget_saves_less_and_changes_no_bit_of_the_value(steps):
    x = np.random.default_rng(0).uniform(0.2, 0.8, size=100)
    plain, tight = gradient(logistic, steps), gradient(logistic, steps, memory_budget=20_000)
    value, grad = plain(x)
    value_tight, grad_tight = tight(x)
    assert value == value_tight
    np.testing.assert_allclose(grad_tight, grad, rtol=1e-12)
    assert arena(tight, x) < 25_000 < arena(plain, x)
    assert "memory budget of 20000 bytes" in tight.explain(x)


def test_a_budget_that_is_kept_changes_nothing():
    x = np.ones(10)
    assert "memory budget" not in gradient(logistic, 50, memory_budget=10**6).explain(x)


@pytest.mark.parametrize("budget", [-1, 1.5, True, "1 MB"])
def test_a_budget_is_a_number_of_bytes(budget):
    with pytest.raises(jg.errors.ArgumentError, match="number of bytes"):
        jg.jit(logistic, memory_budget=budget)


def test_loops_is_one_of_three():
    with pytest.raises(jg.errors.ArgumentError, match="'auto', 'roll' or 'unroll'"):
        jg.jit(logistic, loops="sometimes")


def test_checkpoint_computes_again_and_gives_the_same():
    def inner(x, k):
        y = np.sin(x + k)
        return np.tanh(y * np.exp(y)) * np.cos(x)

    def loss(x, step):
        for k in range(40):
            x = step(x, k)
        return np.sum(x * x)

    x = np.random.default_rng(0).normal(size=20)
    plain = jg.value_and_grad(lambda x: loss(x, inner))
    again = jg.value_and_grad(lambda x: loss(x, jg.checkpoint(inner)))
    for a, b in zip(plain(x), again(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert sum("tape of" in line for line in tapes(again, x)) == 1  # what is carried
    np.testing.assert_allclose(jg.checkpoint(inner)(x, 1), inner(x, 1))
    with pytest.raises(jg.errors.ArgumentError, match="takes a function"):
        jg.checkpoint(3)


def test_checkpoint_outside_of_loops_keeps_the_second_run():
    def f(x):
        return np.sin(np.exp(x) * x)

    x = np.linspace(0.1, 1.0, 5)
    graph = jg.vjp_graph(jg.trace(lambda x: np.sum(jg.checkpoint(f)(x)), x), [0])
    runs = [op for op in graph.ops if op.name == "checkpoint"]
    assert len(runs) == 2
    assert any(op.name == "exp" for op in runs[1].regions[0].ops)
    expected = jg.grad(lambda x: np.sum(f(x)))(x)
    np.testing.assert_allclose(jg.grad(lambda x: np.sum(jg.checkpoint(f)(x)))(x), expected, rtol=1e-12)
    hessian = jg.hessian(lambda x: np.sum(jg.checkpoint(f)(x)))(x)
    np.testing.assert_allclose(hessian, jg.hessian(lambda x: np.sum(f(x)))(x), rtol=1e-10)


@pytest.mark.parametrize("steps", [10, 10**6])
def test_the_program_does_not_grow_with_the_number_of_iterations(steps):
    x = np.ones(3)
    graph = jg.trace(jg.grad(lambda x: logistic(x, steps)), x)
    count = sum(1 + sum(len(region.ops) for region in op.regions) for op in graph.ops)
    reference = jg.trace(jg.grad(lambda x: logistic(x, 100)), x)
    assert count == sum(1 + sum(len(region.ops) for region in op.regions) for op in reference.ops)
