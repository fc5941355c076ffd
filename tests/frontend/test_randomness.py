"""Where generators are found in traced functions: each call of the program draws anew, from the very generator."""

from __future__ import annotations

import copy
import dataclasses
import random
import warnings

import numpy as np
import pytest
from numpy.random import normal
from random_cases import state_of

import jitgrad as jg
from jitgrad.errors import ConcretizationError, DifferentiationError, JitgradError, UnsupportedError

rng = np.random.default_rng(0)
default = np.random.default_rng(5)
STATES = [g.bit_generator.state for g in (rng, default)]
X = np.ones(3)


def seed_all():
    np.random.seed(5)
    random.seed(5)
    for generator, state in zip((rng, default), STATES, strict=True):
        generator.bit_generator.state = state


def by_module(x):
    return x + np.random.rand(3) * np.random.normal(size=3)


def by_name(x):
    return x + normal(size=3)


def by_global_generator(x):
    return x + rng.normal(size=3)


def by_python(x):
    return x + random.random() + random.gauss(0.0, 1.0)


def by_default(x, generator=default):
    return x + generator.normal(size=3)


def by_closure():
    generator = np.random.RandomState(0)
    return lambda x: x + generator.uniform(size=3)


class Noisy:
    def __init__(self):
        self.rng = np.random.default_rng(1)
        self.others = [np.random.default_rng(2), random.Random(3)]

    def __call__(self, x):
        return x + self.rng.normal(size=3) + self.others[0].random() + self.others[1].random()


@pytest.mark.parametrize(
    "make",
    [
        lambda: by_module,
        lambda: by_name,
        lambda: by_global_generator,
        lambda: by_python,
        lambda: by_default,
        by_closure,
        Noisy,
    ],
)
def test_each_call_draws_anew(make):
    seed_all()
    plain = make()
    expected = [plain(X) for _ in range(3)]
    seed_all()
    f = jg.jit(make())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [f(X) for _ in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert not np.array_equal(found[0], found[1])


def test_a_generator_is_an_argument_of_any_program():
    @jg.jit
    def f(x, generator):
        return x + generator.normal(size=3)

    for seed in range(4):
        generator = np.random.default_rng(seed)
        np.testing.assert_array_equal(f(0.0, generator), np.random.default_rng(seed).normal(size=3))
        np.testing.assert_array_equal(f(0.0, generator=generator), np.random.default_rng(seed).normal(size=6)[3:])
    assert f.cache_info().compilations == 1
    np.testing.assert_array_equal(f(0.0, np.random.RandomState(3)), np.random.RandomState(3).normal(size=3))
    assert f.cache_info().compilations == 2


def test_generators_in_trees():
    @dataclasses.dataclass
    class State:
        rng: np.random.Generator
        x: np.ndarray

    f = jg.jit(lambda t: t["s"].x + t["s"].rng.normal() + t["more"][0].random())

    def at(seed):
        return {"s": State(np.random.default_rng(seed), X), "more": [random.Random(seed)]}

    for seed in range(3):
        t = at(seed)
        expected = X + t["s"].rng.normal() + t["more"][0].random()
        np.testing.assert_allclose(f(at(seed)), expected, rtol=1e-15)
    assert f.cache_info().compilations == 1


def test_one_generator_passed_twice_is_one():
    f = jg.jit(lambda a, b: (a.random(), b.random(), a.random()))
    g, n = np.random.default_rng(1), np.random.default_rng(1)
    assert f(g, g) == (n.random(), n.random(), n.random())
    assert state_of(g) == state_of(n)


@pytest.mark.parametrize("seed", [3, [1, 2, 3]])
@pytest.mark.parametrize(
    "make",
    [
        np.random.default_rng,
        np.random.RandomState,
        lambda s: np.random.Generator(np.random.PCG64(s)),
        lambda s: np.random.Generator(np.random.MT19937(s)),
        lambda s: np.random.Generator(np.random.Philox(s)),
        lambda s: np.random.Generator(np.random.SFC64(s)),
    ],
)
def test_a_generator_that_the_function_makes(make, seed):
    def f(x):
        g = make(seed)
        return x + g.normal(size=3) + g.random()

    compiled = jg.jit(f)
    for _ in range(2):
        np.testing.assert_allclose(compiled(X), f(X), rtol=1e-15)


def test_a_traced_seed():
    def f(seed):
        g, p, q = np.random.default_rng(seed), random.Random(seed), np.random.RandomState(seed)
        return g.normal() + p.random(), q.rand(2)

    compiled = jg.jit(f)
    for seed in range(3):
        for a, b in zip(compiled(seed), f(seed), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-15)
    assert compiled.cache_info().compilations == 1


def test_generators_made_in_a_loop():
    def f(n):
        total, outer = 0.0, np.random.default_rng(99)
        for k in range(n):
            inner = np.random.default_rng(k)
            total += inner.normal() * inner.random() + outer.normal()
        return total

    np.testing.assert_allclose(jg.jit(f)(2000), f(2000), rtol=1e-12)


def test_no_seed_draws_anew():
    f = jg.jit(lambda: np.random.default_rng().normal(size=4))
    assert not np.array_equal(f(), f())


def test_np_random_seed():
    def f(x):
        np.random.seed(7)
        return x + np.random.rand(3)

    compiled = jg.jit(f)
    np.random.seed(0)
    np.testing.assert_array_equal(compiled(X), f(X))
    after = np.random.rand()
    f(X)
    assert after == np.random.rand()


def test_tracing_and_showing_draw_nothing():
    generator = np.random.default_rng(1)
    before = state_of(generator)
    f = jg.jit(lambda x: x + generator.normal(size=3) + generator.choice(x) + generator.permutation(3))
    f.ir(X), f.explain(X), f.source(X), f.llvm(X)
    jg.trace(lambda x: x * generator.random(), X)

    def fails(x):
        y = generator.normal(size=3)
        return x.sum(y)

    with pytest.raises((JitgradError, TypeError)):
        jg.jit(fails)(X)
    assert state_of(generator) == before


def test_a_program_called_while_another_is_traced_draws_when_that_runs():
    generator, numpys = np.random.default_rng(1), np.random.default_rng(1)
    noise = jg.jit(lambda n: generator.normal(size=3) * n)
    noise(1.0)
    numpys.normal(size=3)
    f = jg.jit(lambda x: x + noise(1.0) + noise(1.0))
    for _ in range(2):
        expected = numpys.normal(size=3)
        np.testing.assert_allclose(f(0.0), expected + numpys.normal(size=3), rtol=1e-15)
    assert state_of(generator) == state_of(numpys)


def test_a_method_by_another_name_and_partial():
    def f(g):
        draw = g.normal
        return draw(size=2), list(map(g.uniform, [0.0, 1.0], [1.0, 2.0]))

    a, b = np.random.default_rng(1), np.random.default_rng(1)
    found, expected = jg.jit(f)(a), f(b)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize(
    "fun, error, match",
    [
        (lambda g, x: g.spawn(2), UnsupportedError, "spawn of a generator is used"),
        (lambda g, x: g.bit_generator.state, UnsupportedError, "bit_generator of a generator is used"),
        (lambda g, x: g.bytes(3), UnsupportedError, "bytes"),
        (lambda g, x: copy.deepcopy(g), UnsupportedError, "can't be copied"),
        (lambda g, x: g.nothing, AttributeError, "has no attribute 'nothing'"),
        (lambda g, x: g.normal(nothing=3), TypeError, "unexpected keyword argument 'nothing'"),
        (lambda g, x: g.normal(1, 2, 3, 4), TypeError, "at most 3 arguments"),
        (lambda g, x: g.normal(size=x), ConcretizationError, "the size of Generator.normal is the traced value"),
        (lambda g, x: g.normal(x[x > 0]), UnsupportedError, "shape is known only when the program runs"),
        (lambda g, x: g.choice(["a", "b"], size=3), UnsupportedError, "Draw indices"),
        (lambda g, x: np.random.default_rng("a"), UnsupportedError, "is seeded with a str"),
        (lambda g, x: g, JitgradError, "arrays, numbers, or trees"),
    ],
)
def test_what_is_not_supported_says_so(fun, error, match):
    with pytest.raises(error, match=match):
        jg.jit(fun)(np.random.default_rng(0), X)


@pytest.mark.parametrize(
    "fun, match",
    [
        (lambda g, s: g.normal(0.0, s), "scale < 0"),
        (lambda g, s: g.exponential(s), "scale < 0"),
        (lambda g, s: g.poisson(s), "lam < 0"),
        (lambda g, s: g.uniform(0.0, s), "high - low < 0"),
    ],
)
def test_errors_of_numpy_are_raised_when_the_program_runs_and_nothing_is_drawn(fun, match):
    f = jg.jit(lambda g, s: g.random() + fun(g, s) + g.random())
    a, b = np.random.default_rng(1), np.random.default_rng(1)
    with pytest.raises(ValueError, match=match):
        f(a, -1.0)
    b.random()
    assert state_of(a) == state_of(b)
    with pytest.raises(ValueError, match=match):
        fun(b, -1.0)
    assert f(a, 1.0) == pytest.approx(b.random() + fun(b, 1.0) + b.random(), rel=1e-15)


def test_a_draw_behind_an_exception_is_not_drawn():
    @jg.jit
    def f(g, x):
        first = g.normal()
        if x < 0:
            raise ArithmeticError("negative")
        return first + g.normal()

    a, b = np.random.default_rng(1), np.random.default_rng(1)
    with pytest.raises(ArithmeticError):
        f(a, -1.0)
    b.normal()
    assert state_of(a) == state_of(b)


def test_a_parameter_without_a_derivative_says_so():
    with pytest.raises(DifferentiationError, match="no derivative with respect to the order or shape parameter"):
        jg.grad(lambda a, g: g.gamma(a))(2.0, np.random.default_rng(0))
    with pytest.raises(DifferentiationError, match="no derivative"):
        jg.jvp(lambda a: rng.beta(a, 2.0), (2.0,), (1.0,))
    # As a constant, and where it is stopped, it is no matter.
    assert np.isfinite(jg.grad(lambda a, g: a * g.gamma(2.0))(2.0, np.random.default_rng(0)))
    assert np.isfinite(jg.grad(lambda a, g: a * g.gamma(jg.stop_gradient(a)))(2.0, np.random.default_rng(0)))


def test_a_generator_is_no_argument_to_differentiate():
    with pytest.raises(DifferentiationError):
        jg.grad(lambda g: g.normal())(np.random.default_rng(0))
