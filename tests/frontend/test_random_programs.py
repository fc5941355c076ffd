"""Programs that draw: values and states as without jitgrad, gradients against differences of the same numbers."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from random_cases import state_of
from random_programs import PROGRAMS, paths

import jitgrad as jg
from jitgrad import config

#: Programs with a loop that is recorded.
LOOPS = [name for name in PROGRAMS if name not in ("option", "checkpointed")]
#: Programs that jump where a draw is accepted or not: no differences are taken.
JUMPS = {"metropolis"}


def fresh(seed=1):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_states(name):
    f, x = PROGRAMS[name]
    compiled, ours, numpys = jg.jit(f), fresh(), fresh()
    for _ in range(3):
        np.testing.assert_allclose(compiled(x, ours), f(x, numpys), rtol=1e-12)
        assert state_of(ours) == state_of(numpys)


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_recorded(name):
    f, x = PROGRAMS[name]
    text = jg.jit(f).explain(x, fresh())
    assert "rolled" in text
    assert "draw(" in jg.jit(f).ir(x, fresh(), stage="optimised")


@pytest.mark.parametrize("name", PROGRAMS)
def test_interpreter_and_python_backend(name):
    f, x = PROGRAMS[name]
    expected = f(x, fresh())
    graph = jg.trace(f, x, fresh())
    ours = fresh()
    np.testing.assert_allclose(jg.interpret(graph, np.asarray(x), ours)[0], expected, rtol=1e-12)
    np.testing.assert_allclose(jg.interpret(jg.parse(str(graph)), np.asarray(x), fresh())[0], expected, rtol=1e-12)
    np.testing.assert_allclose(jg.compile(graph)(x, fresh())[0], expected, rtol=1e-12)
    with config.using(backend="python"):
        np.testing.assert_allclose(jg.jit(f)(x, fresh()), expected, rtol=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_draw_once(name):
    f, x = PROGRAMS[name]
    ours, numpys = fresh(), fresh()
    value, gradient = jg.value_and_grad(f)(x, ours)
    np.testing.assert_allclose(value, f(x, numpys), rtol=1e-12)
    assert state_of(ours) == state_of(numpys)
    if name in JUMPS:
        return
    d = np.cos(np.arange(np.size(x))).reshape(np.shape(x))
    slope = (f(x + 1e-6 * d, fresh()) - f(x - 1e-6 * d, fresh())) / 2e-6
    np.testing.assert_allclose(np.sum(gradient * d), slope, rtol=2e-5, atol=1e-7)
    tangent = jg.jvp(lambda x: f(x, ours), (x,), (d,))[1]
    f(x, numpys)
    assert state_of(ours) == state_of(numpys)
    assert np.isfinite(tangent)


@pytest.mark.parametrize("name", [n for n in PROGRAMS if n not in JUMPS | {"mini_batches", "dropout"}])
def test_second_derivatives_draw_once(name):
    f, x = PROGRAMS[name]
    ours, numpys = fresh(), fresh()
    second = jg.grad(jg.grad(f))(x, ours)
    f(x, numpys)
    assert state_of(ours) == state_of(numpys)
    slope = (jg.grad(f)(x + 1e-5, fresh()) - jg.grad(f)(x - 1e-5, fresh())) / 2e-5
    np.testing.assert_allclose(second, slope, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["paths", "rejection", "checkpointed", "checkpoints_in_a_loop", "langevin"])
def test_a_pullback_draws_nothing(name):
    f, x = PROGRAMS[name]
    ours, numpys = fresh(), fresh()
    value, pullback = jg.vjp(lambda x: f(x, ours) * np.ones(2), x)
    np.testing.assert_allclose(value, f(x, numpys) * np.ones(2), rtol=1e-12)
    expected = jg.grad(f)(x, fresh())
    for scale in (1.0, 2.0):
        np.testing.assert_allclose(pullback(np.full(2, scale))[0], 2 * scale * expected, rtol=1e-10)
    assert state_of(ours) == state_of(numpys)


def test_a_memory_budget_draws_nothing_more():
    ours, numpys = fresh(), fresh()
    f = jg.jit(lambda x, g: jg.value_and_grad(paths)(x, g), memory_budget=4000)
    expected = jg.value_and_grad(paths)(1.0, numpys)
    np.testing.assert_allclose(f(1.0, ours), expected, rtol=1e-12)
    assert state_of(ours) == state_of(numpys)
    assert "memory budget of 4000 bytes" in f.explain(1.0, fresh())


@pytest.mark.parametrize("maker", [np.random.RandomState, lambda s: np.random.Generator(np.random.MT19937(s))])
def test_what_runs_again_with_a_generator_of_a_large_state(maker):
    f = PROGRAMS["checkpointed"][0]
    ours, numpys = maker(1), maker(1)
    gradient = jg.grad(f)(0.7, ours)
    f(0.7, numpys)
    assert state_of(ours) == state_of(numpys)
    slope = (f(0.7 + 1e-6, maker(1)) - f(0.7 - 1e-6, maker(1))) / 2e-6
    np.testing.assert_allclose(gradient, slope, rtol=1e-6)


def test_jacobians_draw_once():
    generator = fresh()

    def f(v):
        return np.tanh(v * generator.normal(size=3)) + v[0]

    v, z = np.array([0.1, 0.2, 0.3]), fresh().normal(size=3)
    expected = np.diag(z / np.cosh(v * z) ** 2)
    expected[:, 0] += 1
    after = fresh()
    after.normal(size=3)
    for run in (
        lambda: jg.jacobian(f)(v),
        lambda: jg.jit(jg.jacobian(f))(v),
        lambda: jg.jit(lambda: jg.jacobian(f)(v))(),
    ):
        generator = fresh()
        np.testing.assert_allclose(run(), expected, rtol=1e-12)
        assert state_of(generator) == state_of(after)
    generator = fresh()
    hessian = jg.hessian(lambda v: np.sum(np.sin(v * generator.normal(size=3))))(v)
    np.testing.assert_allclose(hessian, np.diag(-z * z * np.sin(v * z)), rtol=1e-12)
    assert state_of(generator) == state_of(after)


@pytest.mark.parametrize("method", ["weibull", "pareto", "power", "rayleigh", "exponential"])
def test_derivatives_through_the_value(method):
    def f(a, g):
        return np.sum(np.sin(getattr(g, method)(a * np.ones(4))))

    slope = (f(1.7 + 1e-6, fresh()) - f(1.7 - 1e-6, fresh())) / 2e-6
    np.testing.assert_allclose(jg.grad(f)(1.7, fresh()), slope, rtol=1e-6)
    generator = fresh()
    np.testing.assert_allclose(jg.jvp(lambda a: f(a, generator), (1.7,), (1.0,))[1], slope, rtol=1e-6)


@pytest.mark.parametrize(
    "draw",
    [
        lambda g, a, b: g.normal(a, b, size=4),
        lambda g, a, b: g.lognormal(a, b, size=4),
        lambda g, a, b: g.laplace(a, b, size=4),
        lambda g, a, b: g.gumbel(a, b, size=4),
        lambda g, a, b: g.logistic(a, b, size=4),
        lambda g, a, b: g.uniform(a, a + b, size=4),
        lambda g, a, b: a + g.gamma(2.0, b, size=4),
        lambda g, a, b: g.multivariate_normal(a * np.ones(2), np.eye(2)) * b,
    ],
)
@pytest.mark.parametrize("rounded", [True, False])
def test_derivatives_of_moved_and_stretched_distributions(draw, rounded, monkeypatch):
    # Where NumPy fuses multiply-adds, the method itself gives the value, and the derivative goes through it.
    monkeypatch.setattr("jitgrad.frontend.random_methods.separately_rounded", lambda: rounded)

    def f(p, g):
        return np.sum(np.cos(draw(g, p[0], p[1])))

    p = np.array([0.7, 0.4])
    ours = fresh()
    value, gradient = jg.value_and_grad(f)(p, ours)
    numpys = fresh()
    np.testing.assert_allclose(value, f(p, numpys), rtol=1e-13)
    assert state_of(ours) == state_of(numpys)
    for k in range(2):
        e = 1e-6 * np.eye(2)[k]
        np.testing.assert_allclose(gradient[k], (f(p + e, fresh()) - f(p - e, fresh())) / 2e-6, rtol=1e-5, atol=1e-8)


def test_what_is_discrete_has_no_derivative():
    def f(lam, g):
        return lam * np.sum(g.poisson(lam, size=5)) + np.sum(g.binomial(5, lam / 10, size=3))

    assert jg.grad(f)(2.0, fresh()) == np.sum(fresh().poisson(2.0, size=5))


def test_training_with_dropout():
    @jg.jit
    def step(w, x, y, rng):
        def loss(w):
            h = np.tanh(x @ w["a"])
            h = h * (rng.random(h.shape) < 0.7) / 0.7
            return np.mean((h @ w["b"] - y) ** 2)

        value, g = jg.value_and_grad(loss)(w)
        return value, {k: w[k] - 0.1 * g[k] for k in w}

    data = np.random.default_rng(0)
    x = data.normal(size=(50, 4))
    y = np.sin(x[:, 0])
    w = {"a": 0.5 * data.normal(size=(4, 8)), "b": 0.1 * data.normal(size=8)}
    generator, plain = fresh(), fresh()
    losses = []
    for _ in range(150):
        h = np.tanh(x @ w["a"])
        h = h * (plain.random(h.shape) < 0.7) / 0.7
        expected = np.mean((h @ w["b"] - y) ** 2)
        value, w = step(w, x, y, generator)
        np.testing.assert_allclose(value, expected, rtol=1e-10)
        losses.append(value)
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:20])
    assert state_of(generator) == state_of(plain)


def test_threads_share_a_generator():
    generator = fresh()
    f = jg.jit(lambda g: g.normal(size=100))
    f(fresh())
    found, lock = [], threading.Lock()

    def work():
        for _ in range(20):
            x = f(generator)
            with lock:
                found.append(x)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    every = fresh().normal(size=8000)
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.sort(every))


def test_loops_with_draws_are_not_shared_by_threads():
    def f(g):
        x = np.zeros((200, 3000))
        for k in range(200):
            x[k] = g.normal(size=3000)
        return x

    with config.using(parallel=True):
        compiled, ours = jg.jit(f), fresh()
        np.testing.assert_array_equal(compiled(ours), f(fresh()))
        assert "it draws random numbers" in compiled.explain(ours)


def test_long_loops_of_numbers():
    def f(g, n):
        total = 0
        for _ in range(n):
            total += g.integers(0, 6) + g.random() * g.normal()
        return total

    ours, numpys = fresh(), fresh()
    np.testing.assert_allclose(jg.jit(f)(ours, 3000), f(numpys, 3000), rtol=1e-11)
    assert state_of(ours) == state_of(numpys)
