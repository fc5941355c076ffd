"""Compiles some programs, and prints what came of it as JSON: run by the tests of the cache, in processes of its own.

``compiled`` is how often a step of the compiler ran, ``hits`` and ``misses`` count look-ups in the cache, ``results``
are the bits of all results.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import scipy.fft

import jitgrad as jg
from jitgrad import compiler
from jitgrad.codegen.threads import control
from jitgrad.runtime import compiled, native

calls: list[str] = []


def counted(module: Any, name: str) -> None:
    function = getattr(module, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return function(*args, **kwargs)

    setattr(module, name, wrapper)


for module, name in (
    (compiler, "optimise"),
    (compiler, "lower"),
    (compiler, "fuse"),
    (compiler, "schedule"),
    (compiled, "decompose"),
    (native, "_compile"),
):
    counted(module, name)

TABLE = np.random.default_rng(1).normal(size=(20, 20))  # a constant of the program


def network(w, x):
    """A matrix product by the BLAS, and a captured array."""
    return np.sum(np.tanh(x @ w) @ TABLE)


def spd(a, b):
    """Cholesky and LU factorizations by LAPACK."""
    c = np.linalg.cholesky(a @ a.T + 3 * np.eye(len(a)))
    return np.sum(np.linalg.solve(c, b) ** 2)


def recurrence(x):
    """A loop, with a while loop in it."""
    total = 0.0
    for i in range(1, len(x)):
        y = x[i]
        while y * y > 2.0:
            y = y / 2.0
        total = total + y * x[i - 1]
    return total


def many(x):
    """Enough work for threads."""
    return np.sum(np.exp(x) * np.sin(x))


def fill(x):
    """Writes into its argument."""
    x[1:] = x[:-1] * 2.0
    return np.sum(x)


def transforms(x):
    """Fourier transforms by loops of its own, with factors from tables, and by calls of SciPy."""
    return np.sum(np.abs(np.fft.rfft(x)) ** 4) + np.sum(scipy.fft.dct(x[:31]) ** 3) + np.sum(np.fft.fft2(x[:21]).imag)


rng = np.random.default_rng(0)
results: list[Any] = [
    jg.value_and_grad(network, argnums=(0, 1))(rng.normal(size=(30, 20)), rng.normal(size=(40, 30))),
    jg.value_and_grad(spd, argnums=(0, 1))(rng.normal(size=(9, 9)), rng.normal(size=9)),
    jg.value_and_grad(recurrence)(rng.normal(size=40)),
    jg.value_and_grad(lambda x: np.sin(x) * x)(0.7),
    jg.value_and_grad(transforms)(rng.normal(size=(36, 3))),
]
written = rng.normal(size=9)
results += [jg.jit(fill)(written), written]
large = rng.normal(size=400_000)
launches = control.launches
for threads in (1, jg.get_num_threads()):
    jg.set_num_threads(threads)
    results.append(jg.value_and_grad(many)(large))
compilations = len(calls)


def bits(x: Any) -> Any:
    return [bits(y) for y in x] if isinstance(x, (list, tuple)) else np.asarray(x).tobytes().hex()


info = jg.cache_info()
print(
    json.dumps(
        {
            "compiled": compilations,
            "hits": info.hits,
            "misses": info.misses,
            "entries": info.entries,
            "launches": control.launches - launches,
            "results": bits(results),
        }
    ),
    file=sys.stdout,
)
