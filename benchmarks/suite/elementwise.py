"""Elementwise programs: a chain for each transcendental function, option prices, polynomials, Rosenbrock's function."""

from __future__ import annotations

import numpy as np
from scipy import special

from benchmarks.program import SAME, Program


def scalar(x):
    """One float."""
    return np.sin(x) * np.exp(-x * x)


def chain_mixed(x):
    """Several functions and a quotient."""
    return np.sum(np.tanh(0.5 * x + 1) * np.exp(-x * x) / (1 + np.abs(x)))


def chain_exp(x):
    """A Gaussian."""
    return np.sum(x * np.exp(-0.5 * x * x))


def chain_log(x):
    """Cauchy's log-likelihood."""
    return np.sum(np.log(1 + x * x))


def chain_log1p(x):
    """``log1p`` and ``expm1``."""
    return np.sum(np.log1p(x * x) * np.expm1(-x * x))


def chain_sin(x):
    """``sin`` and ``cos``."""
    return np.sum(np.sin(x) * np.cos(2 * x + 1))


def chain_tan(x):
    """``tan``."""
    return np.sum(x * np.tan(0.7 * x))


def chain_arcsin(x):
    """``arcsin`` and ``arccos``."""
    return np.sum(np.arcsin(0.9 * x) * np.arccos(0.5 * x))


def chain_arctan(x, y):
    """Angles, and the radius times one."""
    return np.sum(np.arctan(x) * y + np.arctan2(y, x) * np.hypot(x, y))


def chain_tanh(x):
    """``tanh``."""
    return np.sum(x * np.tanh(0.5 * x + 1))


def chain_sinh(x):
    """``sinh`` and ``cosh``."""
    return np.sum(np.sinh(x) / (1 + np.cosh(0.5 * x)))


def chain_arcsinh(x):
    """``arcsinh`` and ``arctanh``."""
    return np.sum(np.arcsinh(3 * x) * np.arctanh(0.9 * x))


def chain_power(x, y):
    """A general power, and a square root."""
    return np.sum(x**y + np.sqrt(x + y * y))


def chain_erf(x):
    """The error function."""
    return np.sum(x * special.erf(x))


def chain_gammaln(x, y):
    """Logarithm of the beta function, as in beta-binomial likelihoods."""
    return np.sum(special.gammaln(x) + special.gammaln(y) - special.gammaln(x + y))


def black_scholes(spot, strike, rate, volatility, time):
    """Prices of European calls; the gradient holds all first-order Greeks of every option."""
    spread = volatility * np.sqrt(time)
    d1 = (np.log(spot / strike) + rate * time) / spread + 0.5 * spread
    inside = 0.5 * (1 + special.erf(0.7071067811865476 * d1))
    paid = 0.5 * (1 + special.erf(0.7071067811865476 * (d1 - spread)))
    return np.sum(spot * inside - strike * np.exp(-rate * time) * paid)


def polynomial(coefficients, x):
    """Horner's rule; derivatives with respect to the coefficients and the points."""
    y = 0 * x
    for c in coefficients:
        y = y * x + c
    return np.sum(y * y)


def rosenbrock(x):
    """Rosenbrock's function of n variables."""
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def _normal(rng, n):
    return (rng.normal(size=n),)


def _unit(rng, n):
    return (rng.uniform(-1, 1, n),)


def _right_half(rng, n):
    return rng.uniform(0.5, 4, n), rng.normal(size=n)  # away from arctan2's cut


def _positive(rng, n):
    return rng.uniform(0.5, 4, n), rng.uniform(0.5, 4, n)


def _options(rng, n):
    spot, strike = rng.uniform(50, 150, (2, n))
    return spot, strike, rng.uniform(0, 0.1, n), rng.uniform(0.1, 0.5, n), rng.uniform(0.1, 2, n)


VECTOR = {"tiny": (7,), "small": (100,), "cache": (50_000,), "memory": (8_000_000,)}


def _chain(fun, inputs=_normal, *, argnums=(0,), **more):
    return Program(
        name=fun.__name__, fun=fun, inputs=inputs, sizes=VECTOR, argnums=argnums, memory_bound=True,
        **{"pytensor": SAME, "default": (("f32", "cache"),), **more},
    )  # fmt: skip


PROGRAMS = (
    Program(
        name="scalar", fun=scalar, inputs=lambda rng: (float(rng.normal()),), sizes={"tiny": (), "small": ()},
        dtypes=("f64",), default=(("f64", "small"),), pytensor=SAME,
    ),
    _chain(chain_mixed, default=(("f32", "cache"), ("f64", "memory"))),
    _chain(chain_exp),
    _chain(chain_log),
    _chain(chain_log1p),
    _chain(chain_sin),
    _chain(chain_tan, _unit),
    _chain(chain_arcsin, _unit),
    _chain(chain_arctan, _right_half, argnums=(0, 1), autograd=False, pytensor=None),
    _chain(chain_tanh),
    _chain(chain_sinh),
    _chain(chain_arcsinh, _unit),
    _chain(chain_power, _positive, argnums=(0, 1)),
    _chain(chain_erf),
    _chain(chain_gammaln, _positive, argnums=(0, 1)),
    Program(
        name="black_scholes", fun=black_scholes, inputs=_options, argnums=(0, 1, 2, 3, 4), pytensor=SAME,
        sizes={"tiny": (5,), "small": (100,), "cache": (10_000,), "memory": (2_000_000,)}, memory_bound=True,
    ),
    Program(
        name="polynomial", fun=polynomial, inputs=lambda rng, n: (rng.normal(size=9), rng.uniform(-1, 1, n)),
        argnums=(0, 1), sizes=VECTOR, memory_bound=True,
    ),
    Program(
        name="rosenbrock", fun=rosenbrock, inputs=_normal, pytensor=SAME,
        sizes={"tiny": (3,), "small": (2,), "cache": (10_000,), "memory": (1_000_000,)},
    ),
)  # fmt: skip
