"""``python -m benchmarks.dispatch``: what a call of a compiled gradient costs besides the native code.

    python -m benchmarks.dispatch                all calls, with JAX's beside them where it is installed
    python -m benchmarks.dispatch --samples 20   fewer samples

Arrays have 4 elements, and the gradient of the sum of their squares is taken with respect to all of them. ``kernel``
is the native entry alone, on one set of argument and result arrays; ``call`` is the call as users write it, which
gives new NumPy arrays; ``over`` is the difference. JAX gets its own arrays and is waited for. Each figure is the
minimum of many samples, which are taken in turn. The calls have 2 us over the kernel as their aim for up to 8 arrays,
and 4 us for a tree of 8 leaves.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optree

import jitgrad as jg
from benchmarks.session import sample

#: Calls in a sample.
CALLS = 1000


class Case(NamedTuple):
    """A call: its arguments, and the most that it should cost over the kernel, in microseconds."""

    name: str
    args: tuple[Any, ...]
    limit: float


class Row(NamedTuple):
    """Seconds a call; ``jax`` is None where it is not installed."""

    case: Case
    kernel: float
    call: float
    jax: float | None

    @property
    def over(self) -> float:
        """Microseconds over the kernel."""
        return 1e6 * (self.call - self.kernel)


def vectors(count: int) -> list[np.ndarray]:
    """Arrays of 4 elements."""
    return [np.arange(4.0) + k for k in range(count)]


def cases() -> list[Case]:
    """The calls that are measured."""
    flat = [Case(f"{n} array{'s' if n > 1 else ''}", tuple(vectors(n)), 2.0) for n in (1, 2, 4, 8)]
    a, b, c, d, e, f, g, h = vectors(8)
    return [
        Case("scalar", (1.5,), 2.0),
        *flat,
        Case("dict of 8", ({f"w{k}": v for k, v in enumerate(vectors(8))},), 4.0),
        Case("nested, 8 leaves", ({"first": {"w": a, "b": b}, "layers": [(c, d), (e, f)], "last": [g, h]},), 4.0),
    ]


def squares(*args: Any) -> Any:
    """The sum of the squares of all elements."""
    total = 0.0
    for leaf in optree.tree_leaves(args):  # pyright: ignore[reportArgumentType]
        total = total + (leaf * leaf).sum()
    return total


def measure(case: Case, samples: int, *, with_jax: bool) -> Row:
    """Time one case. Raises AssertionError if the gradient is wrong."""
    numbers = tuple(range(len(case.args)))
    fun = jg.grad(squares, argnums=numbers)
    result = fun(*case.args)
    leaves = tuple(optree.tree_leaves(case.args))  # pyright: ignore[reportArgumentType]
    for leaf, gradient in zip(leaves, optree.tree_leaves(result), strict=True):
        if not np.array_equal(gradient, 2 * leaf):
            raise AssertionError(f"{case.name}: the gradient at {leaf} is {gradient}")
    calls: dict[str, Callable[[], Any]] = {
        "kernel": fun._specialise(case.args, {}).compiled.executable.alone(leaves),
        "call": lambda args=case.args: fun(*args),
    }
    if with_jax:
        calls["jax"] = jax_call(case, numbers)
    best = dict.fromkeys(calls, np.inf)
    for _ in range(samples):
        for name, call in calls.items():
            best[name] = min(best[name], sample(call, CALLS))
    return Row(case, best["kernel"], best["call"], best.get("jax"))


def jax_call(case: Case, numbers: tuple[int, ...]) -> Callable[[], Any]:
    """The same call by JAX."""
    import jax  # pyright: ignore[reportMissingImports]

    jax.config.update("jax_enable_x64", True)
    fun = jax.jit(jax.grad(squares, argnums=numbers))
    args = case.args if isinstance(case.args[0], float) else jax.tree.map(jax.numpy.asarray, case.args)
    fun(*args)
    return lambda: jax.block_until_ready(fun(*args))


def table(rows: list[Row]) -> str:
    """The rows as text, in microseconds."""
    lines = [f"{'us a call':18}{'kernel':>8}{'call':>8}{'over':>8}{'aim':>6}{'jax':>8}"]
    for row in rows:
        jax = "" if row.jax is None else f"{1e6 * row.jax:.2f}"
        figures = f"{1e6 * row.kernel:8.2f}{1e6 * row.call:8.2f}{row.over:8.2f}{row.case.limit:6.0f}{jax:>8}"
        lines.append(f"{row.case.name:18}{figures}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> list[Row]:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dispatch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100)
    options = parser.parse_args(argv)
    with_jax = importlib.util.find_spec("jax") is not None
    rows = [measure(case, options.samples, with_jax=with_jax) for case in cases()]
    print(table(rows))
    return rows


if __name__ == "__main__":
    main()
