"""``python -m benchmarks.fourier``: Fourier transforms of single arrays and of stacks, beside those of others.

    python -m benchmarks.fourier                 all sizes, in double precision
    python -m benchmarks.fourier --samples 5     fewer samples

``jitgrad`` is a compiled program that transforms a pair of real arrays (``fft``) or a real one (``rfft``); ``call`` is
the same program with its transform left to SciPy, as lengths with large prime factors are. NumPy, SciPy, JAX and torch
transform complex arrays, JAX and torch those of their own. ``loss`` is a function of a power spectrum with its
gradient, which NumPy and SciPy lack. Each figure is the minimum of samples that are taken in turn, with one thread.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import scipy.fft

import jitgrad as jg
from benchmarks.session import sample
from jitgrad import config
from jitgrad.compiler import Compiled
from jitgrad.ir.core import Builder
from jitgrad.ir.types import type_of
from jitgrad.ops import fourier

#: Shapes, and the axis that is transformed.
SHAPES: list[tuple[tuple[int, ...], int]] = [
    *(((n,), 0) for n in (64, 256, 1000, 1024, 4096, 1 << 14, 1 << 16, 1 << 18, 1 << 20)),
    ((1000, 16), 1),
    ((64, 64), 1),
    ((64, 64), 0),
    ((256, 256), 1),
    ((256, 256), 0),
    ((64, 1024), 1),
]
COLUMNS = ("jitgrad", "call", "numpy", "scipy", "jax", "torch")

Calls = dict[str, Callable[[], Any]]


def compiled(name: str, args: tuple[np.ndarray, ...], attrs: dict[str, Any]) -> Callable[[], Any]:
    """A program of one op, ready to be called."""
    b = Builder(name)
    params = [b.param(type_of(a)) for a in args]
    program = Compiled(b.build(*b.emit_op(name, params, attrs).results))
    program(*args)
    return lambda: program(*args)


def left_to_scipy(name: str, args: tuple[np.ndarray, ...], attrs: dict[str, Any]) -> Callable[[], Any]:
    """The same without code of its own, which the cache on disk must not give."""
    with mock.patch.object(fourier, "radices", lambda n: ()), config.using(cache=False):
        return compiled(name, args, attrs)


def transforms(name: str, shape: tuple[int, ...], axis: int, peers: tuple[str, ...]) -> Calls:
    """The calls to compare. Raises AssertionError if jitgrad's result is wrong."""
    rng = np.random.default_rng(0)
    re, im = rng.standard_normal((2, *shape))
    x: np.ndarray = re + 1j * im if name == "fft" else re
    args, attrs = ((re, im), {"axes": (axis,), "inverse": False}) if name == "fft" else ((re,), {"axis": axis})
    calls: Calls = {
        "jitgrad": compiled(name, args, attrs),
        "call": left_to_scipy(name, args, attrs),
        "numpy": lambda: getattr(np.fft, name)(x, axis=axis),
        "scipy": lambda: getattr(scipy.fft, name)(x, axis=axis),
    }
    wanted = calls["numpy"]()
    for key in ("jitgrad", "call"):
        found = calls[key]()
        np.testing.assert_allclose(found[0] + 1j * found[1], wanted, rtol=0, atol=1e-12 * np.max(np.abs(wanted)))
    if "jax" in peers:
        import jax  # pyright: ignore[reportMissingImports]

        transform, given = jax.jit(lambda x: getattr(jax.numpy.fft, name)(x, axis=axis)), jax.numpy.asarray(x)
        calls["jax"] = lambda: jax.block_until_ready(transform(given))
    if "torch" in peers:
        import torch  # pyright: ignore[reportMissingImports]

        tensor = torch.from_numpy(x)
        calls["torch"] = lambda: getattr(torch.fft, name)(tensor, dim=axis)
    return calls


def losses(n: int, peers: tuple[str, ...]) -> Calls:
    """A function of a power spectrum and its gradient."""
    x = np.random.default_rng(0).standard_normal(n)

    def loss(x: Any, np: Any = np) -> Any:
        return np.mean(np.log(np.abs(np.fft.rfft(x)) ** 2 + 1.0))

    fun = jg.value_and_grad(loss)
    calls: Calls = {"jitgrad": lambda: fun(x)}
    if "jax" in peers:
        import jax  # pyright: ignore[reportMissingImports]

        theirs, given = jax.jit(jax.value_and_grad(lambda x: loss(x, jax.numpy))), jax.numpy.asarray(x)
        np.testing.assert_allclose(fun(x)[1], theirs(given)[1], rtol=1e-8, atol=1e-10)
        calls["jax"] = lambda: jax.block_until_ready(theirs(given))
    if "torch" in peers:
        import torch  # pyright: ignore[reportMissingImports]

        def run() -> Any:
            tensor = torch.from_numpy(x).requires_grad_()
            value = torch.mean(torch.log(torch.abs(torch.fft.rfft(tensor)) ** 2 + 1.0))
            value.backward()
            return value, tensor.grad

        calls["torch"] = run
    return calls


def measure(calls: Calls, samples: int) -> dict[str, float]:
    """The least seconds of each call."""
    count = max(1, int(2e-3 / max(min(sample(call, 1) for _ in range(3)) for call in calls.values())))
    best = dict.fromkeys(calls, math.inf)
    for _ in range(samples):
        for name, call in calls.items():
            best[name] = min(best[name], sample(call, count))
    return best


def line(title: str, row: dict[str, float]) -> str:
    cells = (f"{1e6 * row[c]:10.1f}" if c in row else f"{'':10}" for c in COLUMNS)
    return f"{title:22}" + "".join(cells)


def main(argv: list[str] | None = None) -> list[dict[str, float]]:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fourier", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--largest", type=int, default=1 << 20, help="most elements of an array")
    parser.add_argument("--alone", action="store_true", help="without JAX and torch")
    options = parser.parse_args(argv)
    peers = tuple(p for p in ("jax", "torch") if not options.alone and importlib.util.find_spec(p) is not None)
    if "jax" in peers:
        import jax  # pyright: ignore[reportMissingImports]

        jax.config.update("jax_enable_x64", True)
    if "torch" in peers:
        import torch  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(1)
    print(f"{'us a call':22}" + "".join(f"{c:>10}" for c in COLUMNS))
    rows = []
    for shape, axis in SHAPES:
        if math.prod(shape) > options.largest:
            continue
        size = "x".join(map(str, shape))
        for name in ("fft", "rfft"):
            rows.append(measure(transforms(name, shape, axis, peers), options.samples))
            print(line(f"{name} {size}, axis {axis}", rows[-1]), flush=True)
        if len(shape) == 1:
            rows.append(measure(losses(shape[0], peers), options.samples))
            print(line(f"loss {size}", rows[-1]), flush=True)
    return rows


if __name__ == "__main__":
    main()
