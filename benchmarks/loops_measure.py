"""Measuring the corpus: who competes, what is compared before, and the times.

Value and gradient: jitgrad on the plain NumPy function, JAX on its own version (``loops_jax``), Numba by hand where it
is written (``hand``). Value alone: jitgrad, and ``numba.njit`` of the same source.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import statistics
import time
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np

from benchmarks import hand, harness, peers
from benchmarks.corpus.kernel import Kernel, with_value_and_gradients
from benchmarks.process import FAILURES, first_line
from benchmarks.session import come_to_rest, sample

Call = Callable[[], Any]


@dataclasses.dataclass
class Row:
    """What was measured of a kernel: by contestant, for the gradient and for the value alone; and what failed."""

    size: tuple[int, ...]
    gradient: dict[str, harness.Timing] = dataclasses.field(default_factory=dict)
    forward: dict[str, harness.Timing] = dataclasses.field(default_factory=dict)
    errors: dict[str, str] = dataclasses.field(default_factory=dict)


def numba_version(fun: Callable[..., Any]) -> Callable[..., Any]:
    """``numba.njit`` of a function and of the functions of its own module that it calls; default flags."""
    assert isinstance(fun, types.FunctionType)
    names = dict(fun.__globals__)
    for name in fun.__code__.co_names:
        helper = names.get(name)
        if isinstance(helper, types.FunctionType) and helper.__module__ == fun.__module__:
            names[name] = numba_version(helper)
    return numba.njit(types.FunctionType(fun.__code__, names, fun.__name__, fun.__defaults__))


@contextlib.contextmanager
def numba_warnings_off() -> Iterator[None]:
    """Numba warns of products with columns; they are as the kernel has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", numba.NumbaPerformanceWarning)
        yield


class Contestants:
    """Makes calls of kernels, by name of the contestant. ``names``: of those for the gradient."""

    def __init__(self, names: tuple[str, ...], threads: int) -> None:
        self.names = names
        self.jitgrad = peers.Jitgrad(threads)
        self.jitgrad.jg.grad(lambda x: x * x)(3.0)  # a library's one-time work is not part of a first call
        if "jax" in names:
            self.jax = peers.Jax(threads)
            self.jax.jax.jit(self.jax.jax.grad(lambda x: x * x))(3.0)
        numba.njit(lambda x: x * x)(3.0)

    def gradient(self, name: str, kernel: Kernel, args: tuple) -> Call | None:
        """A call that gives the value and the gradients; None if there is no such version."""
        if name == "hand":
            fun = hand.version_of(kernel.name)
            return fun and functools.partial(fun, *args)
        argnums = peers.only_or_tuple(kernel.argnums)
        if name == "jitgrad":
            jg = self.jitgrad.jg
            made = jg.value_and_grad(kernel.fun, argnums=argnums)
            return functools.partial(jg.jit(made, static_argnums=kernel.static), *args)
        from benchmarks import loops_jax

        jax, fun = self.jax.jax, loops_jax.version_of(kernel.name)
        if fun is None:
            return None
        compiled = jax.jit(jax.value_and_grad(fun, argnums), static_argnums=kernel.static)
        inputs = [a if k in kernel.static else self.jax.jnp.asarray(a) for k, a in enumerate(args)]
        return lambda: jax.block_until_ready(compiled(*inputs))

    def forward(self, name: str, kernel: Kernel, args: tuple) -> Call:
        """A call that gives the value."""
        if name == "numba":
            return functools.partial(numba_version(kernel.fun), *args)
        return functools.partial(self.jitgrad.jg.jit(kernel.fun, static_argnums=kernel.static), *args)


def check_slope(kernel: Kernel, args: tuple, found: list[np.ndarray], fun: Callable[..., Any]) -> None:
    """Compare with a function that gives the value: the value itself, and the slope along the gradient.

    Raises harness.MismatchError.
    """
    value, *grads = found
    expected = float(fun(*args))
    if not abs(float(value) - expected) <= kernel.tolerance * max(1.0, abs(expected)):
        raise harness.MismatchError(f"value {float(value):.9g}, NumPy's program gives {expected:.9g}")
    for k, grad in zip(kernel.argnums, grads, strict=True):
        if np.shape(grad) != np.shape(args[k]):
            raise harness.MismatchError(f"gradient of shape {np.shape(grad)} for argument {k}")
    slope = float(np.sqrt(sum(np.sum(g * g) for g in grads)))
    largest = max(float(np.max(np.abs(g))) for g in grads) / slope
    h = 1e-6 / largest  # the largest move of an element is 1e-6
    moved = []
    for sign in (1, -1):
        shifted = list(args)
        for k, grad in zip(kernel.argnums, grads, strict=True):
            moved_argument = args[k] + sign * h / slope * grad
            shifted[k] = moved_argument if isinstance(args[k], np.ndarray) else float(moved_argument)
        moved.append(float(fun(*shifted)))
    difference = (moved[0] - moved[1]) / (2 * h)
    if not abs(difference - slope) <= 1e-3 * slope:
        raise harness.MismatchError(f"slope {slope:.6g}, central difference {difference:.6g}")


def first_call(make: Callable[[], Call | None]) -> tuple[float, Call, Any] | None:
    """``(seconds, call, result)`` of making a call and calling it once; None where there is no version."""
    start = time.perf_counter()
    call = make()
    if call is None:
        return None
    result = call()
    return time.perf_counter() - start, call, result


def interleaved(calls: dict[str, Call], repeat: int, first: dict[str, float]) -> dict[str, harness.Timing]:
    """Times of some calls, sample by sample in turn."""
    counts = {}
    for name, call in calls.items():
        call()
        counts[name] = max(1, min(2000, round(harness.SAMPLE_SECONDS / sample(call, 1))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeat):
        order = list(calls)
        order = order[turn % len(order) :] + order[: turn % len(order)] if order else order
        for name in order:
            calls[name]()
            times[name].append(sample(calls[name], counts[name]))
            come_to_rest()
    return {
        name: harness.Timing(min(seconds), statistics.median(seconds), repeat, counts[name], first[name])
        for name, seconds in times.items()
    }


def measure(kernel: Kernel, size: tuple[int, ...], contestants: Contestants, repeat: int) -> Row:
    """Compare and time one kernel. What fails, or is wrong, is noted in ``errors`` and not timed."""
    row = Row(size)
    args = kernel.arguments(size)
    calls, first, values = {}, {}, {}
    with numba_warnings_off():
        for name in ("numba", *(n for n in contestants.names if n == "jitgrad")):
            try:
                done = first_call(functools.partial(contestants.forward, name, kernel, args))
            except FAILURES as error:
                row.errors[f"forward {name}"] = first_line(error)
                continue
            assert done is not None
            first[name], calls[name], values[name] = done
    reference = calls["numba"].func if "numba" in calls else kernel.fun
    if len(values) == 2:
        error = abs(float(values["jitgrad"]) - values["numba"])
        if not error <= kernel.tolerance * max(1.0, abs(values["numba"])):
            row.errors["forward jitgrad"] = f"value {values['jitgrad']}, numba.njit gives {values['numba']}"
            del calls["jitgrad"]
    row.forward = interleaved(calls, repeat, first)

    calls, first, results = {}, {}, {}
    for name in sorted(contestants.names, key=("jax", "hand", "jitgrad").index):
        try:
            done = first_call(functools.partial(contestants.gradient, name, kernel, args))
            if done is None:
                continue
            seconds, call, (value, grads) = done
            found = with_value_and_gradients(kernel, value, grads)
            check_slope(kernel, args, found, reference)
            for other, result in results.items():
                harness.check_equal(kernel.tolerance, {other: result, name: found})
        except FAILURES as error:
            row.errors[name] = first_line(error)
            continue
        first[name], calls[name], results[name] = seconds, call, found
    row.gradient = interleaved(calls, repeat, first)
    return row
