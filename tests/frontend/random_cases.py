"""Calls of methods of generators, for tests: each as a function of the generator and a traced number."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

ARRAY = np.linspace(0.5, 2.0, 6)
TABLE = ARRAY.reshape(3, 2)
P = np.array([0.1, 0.2, 0.3, 0.4])
COV = np.array([[1.0, 0.3], [0.3, 2.0]])

#: What both NumPy's Generator and RandomState have.
BOTH: dict[str, Callable[[Any, Any], Any]] = {
    "random": lambda g, x: g.random(size=3),
    "random, a number": lambda g, x: g.random(),
    "random, no axes": lambda g, x: g.random(size=()),
    "random, of a traced shape": lambda g, x: g.random(size=(x * ARRAY).shape),
    "uniform": lambda g, x: g.uniform(size=3),
    "uniform, traced": lambda g, x: g.uniform(-x, x + ARRAY),
    "uniform, a traced number": lambda g, x: g.uniform(-1.0, x),
    "normal": lambda g, x: g.normal(size=(2, 2)),
    "normal, a number": lambda g, x: g.normal(),
    "normal, constants": lambda g, x: g.normal(1.0, 2.0),
    "normal, traced": lambda g, x: g.normal(x, 2 * x),
    "normal, broadcast": lambda g, x: g.normal(x + ARRAY, x, size=(2, 6)),
    "normal, by name": lambda g, x: g.normal(scale=x, size=2),
    "normal, arrays": lambda g, x: g.normal(ARRAY, ARRAY),
    "standard_normal": lambda g, x: g.standard_normal(4),
    "standard_exponential": lambda g, x: g.standard_exponential(4),
    "standard_cauchy": lambda g, x: g.standard_cauchy(4),
    "exponential": lambda g, x: g.exponential(2.0, 4),
    "exponential, traced": lambda g, x: g.exponential(x * ARRAY),
    "choice": lambda g, x: g.choice(10),
    "choice of several": lambda g, x: g.choice(10, size=4),
    "choice without replacement": lambda g, x: g.choice(10, size=4, replace=False),
    "choice by weights": lambda g, x: g.choice(4, size=5, p=P),
    "choice by traced weights": lambda g, x: g.choice(4, size=5, p=P * x / x),
    "choice from an array": lambda g, x: g.choice(x * ARRAY, size=3),
    "choice of one from an array": lambda g, x: g.choice(x * ARRAY),
    "choice from a list": lambda g, x: g.choice([x, 2 * x, 3 * x]),
    "choice of several from a list": lambda g, x: g.choice([1.5, 2.5, 3.5], size=(2, 2), replace=True),
    "permutation": lambda g, x: g.permutation(5),
    "permutation of an array": lambda g, x: g.permutation(x * ARRAY),
    "permutation of rows": lambda g, x: g.permutation(x * TABLE),
    "shuffle": lambda g, x: shuffled(g, x * ARRAY),
    "shuffle of rows": lambda g, x: shuffled(g, x * TABLE),
    "shuffle of a list": lambda g, x: np.array(shuffled(g, [x, 2 * x, 3 * x, 4 * x])),
    "lognormal": lambda g, x: g.lognormal(0.5, 0.5, 3),
    "lognormal, traced": lambda g, x: g.lognormal(x, x / 2, 3),
    "laplace": lambda g, x: g.laplace(1.0, 2.0, 3),
    "laplace, traced": lambda g, x: g.laplace(x, x * ARRAY),
    "gumbel, traced": lambda g, x: g.gumbel(x, x * ARRAY),
    "gumbel": lambda g, x: g.gumbel(size=3),
    "logistic, traced": lambda g, x: g.logistic(x, x * ARRAY),
    "rayleigh, traced": lambda g, x: g.rayleigh(x, size=3),
    "rayleigh": lambda g, x: g.rayleigh(),
    "weibull": lambda g, x: g.weibull(x, size=3),
    "pareto": lambda g, x: g.pareto(x, size=3),
    "power": lambda g, x: g.power(x, size=3),
    "gamma": lambda g, x: g.gamma(x, size=3),
    "gamma, traced scale": lambda g, x: g.gamma(2.0, x * ARRAY),
    "standard_gamma": lambda g, x: g.standard_gamma(x * ARRAY),
    "beta": lambda g, x: g.beta(x, 2.0, size=3),
    "chisquare": lambda g, x: g.chisquare(x, size=3),
    "standard_t": lambda g, x: g.standard_t(x, size=3),
    "f": lambda g, x: g.f(x, 3.0, size=3),
    "noncentral_chisquare": lambda g, x: g.noncentral_chisquare(3.0, x, size=3),
    "noncentral_f": lambda g, x: g.noncentral_f(3.0, 4.0, x, size=3),
    "poisson": lambda g, x: g.poisson(x * ARRAY),
    "poisson, a number": lambda g, x: g.poisson(3.5),
    "binomial": lambda g, x: g.binomial(10, x / 4, size=5),
    "bernoulli": lambda g, x: g.binomial(1, 0.5),
    "negative_binomial": lambda g, x: g.negative_binomial(5, x / 4, size=3),
    "geometric": lambda g, x: g.geometric(x / 4, size=3),
    "hypergeometric": lambda g, x: g.hypergeometric(5, 6, 4, size=3),
    "logseries": lambda g, x: g.logseries(x / 4, size=3),
    "zipf": lambda g, x: g.zipf(x + 1, size=3),
    "multinomial": lambda g, x: g.multinomial(20, P),
    "multinomial, several": lambda g, x: g.multinomial(20, P * (x / x), size=2),
    "dirichlet": lambda g, x: g.dirichlet(x * P, size=2),
    "multivariate_normal": lambda g, x: g.multivariate_normal([1.0, 2.0], COV),
    "multivariate_normal, traced": lambda g, x: g.multivariate_normal(x * np.ones(2), COV, size=3),
    "triangular": lambda g, x: g.triangular(0.0, x, 4.0, size=3),
    "vonmises": lambda g, x: g.vonmises(x, 2.0, size=3),
    "wald": lambda g, x: g.wald(x, 2.0, size=3),
    "many": lambda g, x: g.normal(size=5000),
    "several": lambda g, x: g.normal() + g.random() + x + g.exponential() - g.uniform(size=2),
}

#: What Generator alone has.
GENERATOR: dict[str, Callable[[Any, Any], Any]] = {
    "random, float32": lambda g, x: g.random(4, dtype=np.float32),
    "standard_normal, float32": lambda g, x: g.standard_normal(3, dtype=np.float32),
    "standard_exponential, inv": lambda g, x: g.standard_exponential(3, method="inv"),
    "random, out": lambda g, x: into(g.random, x * ARRAY),
    "standard_normal, out": lambda g, x: into(g.standard_normal, x * ARRAY),
    "integers": lambda g, x: g.integers(10),
    "integers, several": lambda g, x: g.integers(-5, 5, size=(2, 3)),
    "integers, int8": lambda g, x: g.integers(10, size=7, dtype=np.int8),
    "integers, int32": lambda g, x: g.integers(0, 10, size=3, dtype=np.int32),
    "integers, with the end": lambda g, x: g.integers(1, 6, size=5, endpoint=True),
    "integers, traced": lambda g, x: g.integers(0, np.int64(x * 100), size=3),
    "integers, arrays": lambda g, x: g.integers([1, 2, 3], [10, 20, 30]),
    "choice without shuffle": lambda g, x: g.choice(10, 4, replace=False, shuffle=False),
    "choice of columns": lambda g, x: g.choice(x * TABLE, 3, axis=1),
    "permutation of columns": lambda g, x: g.permutation(x * TABLE, axis=1),
    "permuted": lambda g, x: g.permuted(x * TABLE),
    "permuted rows": lambda g, x: g.permuted(x * TABLE, axis=1),
    "shuffle of columns": lambda g, x: shuffled(g, x * TABLE, axis=1),
    "multivariate_hypergeometric": lambda g, x: g.multivariate_hypergeometric([5, 6, 7], 8),
    "multivariate_normal by cholesky": lambda g, x: g.multivariate_normal(x * np.ones(2), COV, method="cholesky"),
}

#: What RandomState alone has.
LEGACY: dict[str, Callable[[Any, Any], Any]] = {
    "rand": lambda g, x: g.rand(2, 3) * x,
    "rand, a number": lambda g, x: g.rand(),
    "randn": lambda g, x: g.randn(3),
    "randint": lambda g, x: g.randint(10),
    "randint, several": lambda g, x: g.randint(1, 10, size=4),
    "randint, int8": lambda g, x: g.randint(1, 10, 4, np.int8),
    "random_sample": lambda g, x: g.random_sample(3),
}

#: What Python's Random has.
PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "random": lambda g, x: g.random() * x,
    "uniform": lambda g, x: g.uniform(1.0, 2.0),
    "uniform, traced": lambda g, x: g.uniform(-x, x),
    "gauss": lambda g, x: g.gauss(0.0, 1.0) + g.gauss(0.0, 2.0) + g.gauss(1.0, 1.0),
    "gauss, traced": lambda g, x: g.gauss(x, 2 * x),
    "normalvariate": lambda g, x: g.normalvariate(x, 2.0),
    "randint": lambda g, x: g.randint(1, 6),
    "randrange": lambda g, x: g.randrange(10) + g.randrange(2, 20, 3),
    "choice": lambda g, x: g.choice([x, 2 * x, 3 * x]),
    "choice of numbers": lambda g, x: g.choice(range(5, 50, 5)),
    "choices": lambda g, x: np.array(g.choices([x, 2 * x, 3 * x], k=4)),
    "sample": lambda g, x: np.array(g.sample(range(20), 5)),
    "shuffle": lambda g, x: np.array(shuffled(g, [x, 2 * x, 3 * x, 4 * x])),
    "triangular": lambda g, x: g.triangular(0.0, 2.0, x),
    "betavariate": lambda g, x: g.betavariate(x, 2.0),
    "expovariate": lambda g, x: g.expovariate(x),
    "gammavariate": lambda g, x: g.gammavariate(2.0, x),
    "lognormvariate": lambda g, x: g.lognormvariate(x, 0.5),
    "vonmisesvariate": lambda g, x: g.vonmisesvariate(x, 2.0),
    "paretovariate": lambda g, x: g.paretovariate(x),
    "weibullvariate": lambda g, x: g.weibullvariate(x, 2.0),
    "getrandbits": lambda g, x: g.getrandbits(40),
}


def shuffled(generator: Any, a: Any, **axis: int) -> Any:
    generator.shuffle(a, **axis)
    return a


def into(method: Any, a: Any) -> Any:
    method(out=a)
    return a


def all_cases() -> list[tuple[str, Callable[[], Any], Callable[[Any, Any], Any]]]:
    """Name, what makes the generator, and the call."""
    makers: list[tuple[str, Callable[[], Any], dict[str, Any]]] = [
        ("Generator", lambda: np.random.default_rng(3), {**BOTH, **GENERATOR}),
        ("MT19937", lambda: np.random.Generator(np.random.MT19937(3)), {k: BOTH[k] for k in ("normal", "random")}),
        ("RandomState", lambda: np.random.RandomState(3), {**BOTH, **LEGACY}),
        ("Random", lambda: random.Random(3), PYTHON),
    ]
    return [(f"{kind}: {name}", make, call) for kind, make, calls in makers for name, call in calls.items()]


def state_of(generator: Any) -> Any:
    """What decides what a generator draws next."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return repr(generator.get_state())
    return repr(generator.bit_generator.state)
