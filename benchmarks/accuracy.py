"""``python -m benchmarks.accuracy``: the worst errors found of elementary functions, in units in the last place.

    python -m benchmarks.accuracy                 all functions, in float32 and float64, beside NumPy's and JAX's
    python -m benchmarks.accuracy sin exp         some of them
    python -m benchmarks.accuracy --points 20000  fewer arguments are looked at

Every function is evaluated at many arguments: evenly over the intervals where it has features, over the whole range
with random exponents, and at adversarial ones (around 0 and 1, thresholds, multiples of pi/4, integers and their
neighbours). Where the results of jitgrad and NumPy are furthest apart, and at a sample of the others, each is compared
with mpmath's in 50 digits. An error is the distance to the exact value in units of the last place of the nearest
number. JAX takes subnormal numbers for zeros, so arguments and results of that kind are left out of its column, which
is there where JAX is installed. Needs mpmath.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import scipy.special

from jitgrad.compiler import compile_graph
from jitgrad.ir.core import Builder
from jitgrad.ir.types import type_of
from jitgrad.loopir.expansions import EXPANSIONS, trigonometric

#: The exact functions, on numbers of mpmath.
EXACT: dict[str, Callable[..., Any]] = {
    **{n: getattr(mpmath, n) for n in ("exp", "expm1", "log", "log10", "log1p", "sin", "cos", "tan")},
    **{n: getattr(mpmath, n) for n in ("sinh", "cosh", "tanh", "power", "erf")},
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x, 2),
    "log1p_unit": mpmath.log1p,
    "arcsin": mpmath.asin,
    "arccos": mpmath.acos,
    "arctan": mpmath.atan,
    "arctan2": mpmath.atan2,
    "arcsinh": mpmath.asinh,
    "arccosh": mpmath.acosh,
    "arctanh": mpmath.atanh,
    "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
    "hypot": lambda x, y: mpmath.sqrt(x * x + y * y),
    "erfc": lambda x: mpmath.erfc(x) if abs(x) < 1000 else mpmath.mpf(0 if x > 0 else 2),
    "gammaln": lambda x: mpmath.loggamma(x).real,
    "expit": lambda x: 1 / (1 + mpmath.exp(-x)),
}
#: Arguments that are looked at, where that is not the whole line. gammaln has zeros below 0, and is small there in the
#: absolute sense only.
DOMAINS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("log", "log2", "log10", "gammaln"), (0.0, np.inf)),
    **dict.fromkeys(("arcsin", "arccos", "arctanh"), (-1.0, 1.0)),
    "log1p": (-1.0, np.inf),
    "log1p_unit": (0.0, 1.0),
    "arccosh": (1.0, np.inf),
}
TWO_ARGUMENTS = ("arctan2", "hypot", "power")
NAMES = sorted(set(EXACT) - {"log1p_unit"})
_NUMPY = {n: getattr(scipy.special, n) for n in ("erf", "erfc", "expit", "gammaln")}


def arguments(name: str, dtype: Any, count: int, seed: int = 0) -> list[np.ndarray]:
    """About ``count`` arguments (pairs of them) inside the domain."""
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)
    low, high = np.log(float(info.smallest_subnormal)), np.log(float(info.max))
    n = count // 8
    turns = np.arange(1, n + 1) * (np.pi / 4)
    with np.errstate(over="ignore"):
        parts = [np.linspace(-s, s, n) + rng.uniform(-s, s, n) / n for s in (1.0, 8.0, 100.0, 800.0)]
        parts += [np.exp(rng.uniform(low, high, n)) * rng.choice([-1, 1], n)]
        parts += [1 + np.exp(rng.uniform(-37, 0, n)) * rng.choice([-1, 1], n)]
        parts += [turns, rng.permutation(turns)[: n // 2] * 2.0 ** rng.integers(0, 40, n // 2)]
        parts += [np.arange(-n // 4, n // 4) / 2.0]
        x = np.concatenate(parts).astype(dtype)
        x = np.concatenate([x, np.nextafter(x[::7], dtype(np.inf)), np.nextafter(x[::7], dtype(-np.inf))])
        x = rng.permutation(x[np.isfinite(x) & (x != 0)])
        if name == "power":
            x = np.abs(x)
            x = x[x != 1]
            y = (rng.uniform(-1, 1, x.size) * high / np.abs(np.log(x.astype(float)))).astype(dtype)
            return [x[np.isfinite(y)], y[np.isfinite(y)]]
        if name in TWO_ARGUMENTS:
            near = (x / 4 * rng.uniform(-3, 3, x.size)).astype(dtype)
            return [x, np.where(np.arange(x.size) % 4 == 0, rng.permutation(x), near)]
    lo, hi = DOMAINS.get(name, (-np.inf, np.inf))
    return [x[(x > lo) & (x < hi)]]


def evaluated(name: str, *args: np.ndarray) -> np.ndarray:
    """By jitgrad, compiled, in one loop; arguments for which the loop would take calls, in one of their own."""

    def run(*args: np.ndarray) -> np.ndarray:
        b = Builder(name)
        operands = [b.param(type_of(x), f"x{k}") for k, x in enumerate(args)]
        return compile_graph(b.build(b.emit(name, *operands)))(*args)[0]

    if EXPANSIONS[name].outside is None:
        return run(*args)
    large = np.abs(args[0]) > trigonometric.LIMIT
    result = np.empty_like(args[0])
    for part in (large, ~large):
        result[part] = run(*(x[part] for x in args))
    return result


def errors(name: str, points: list[np.ndarray], *values: np.ndarray) -> list[np.ndarray]:
    """For each array of values at the points, the errors in units in the last place; infinite where a result is not a
    number but should be, or is infinite and should not be."""
    dtype = values[0].dtype.type
    found = [np.zeros(v.size) for v in values]
    with mpmath.workdps(50), np.errstate(all="ignore"):
        for k, point in enumerate(zip(*points, strict=True)):
            exact = EXACT[name](*(mpmath.mpf(float(p)) for p in point))
            nearest = dtype(float(exact))
            for v, e in zip(values, found, strict=True):
                if not np.isfinite(nearest) or not np.isfinite(v[k]):
                    e[k] = 0.0 if v[k] == nearest else np.inf
                    continue
                unit = mpmath.mpf(float(np.spacing(np.abs(nearest))))
                e[k] = float(abs(mpmath.mpf(float(v[k])) - exact) / unit)
    return found


def _jax() -> Callable[..., np.ndarray] | None:
    try:
        import jax  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    special = {n: getattr(jax.scipy.special, n) for n in ("erf", "erfc", "expit", "gammaln")}
    return lambda name, *args: np.asarray(jax.jit(special.get(name) or getattr(jax.numpy, name))(*args))


def worst(name: str, dtype: Any, count: int, compared: int, peer: Callable[..., np.ndarray] | None) -> list[Any]:
    """A row of the table: the function, the dtype, the worst errors of jitgrad, NumPy and JAX, jitgrad's argument."""
    args = arguments(name, dtype, count)
    with np.errstate(all="ignore"):
        mine, numpys = evaluated(name, *args), _NUMPY.get(name, getattr(np, name, None))(*args)  # pyright: ignore
        distance = np.abs(mine - numpys) / np.spacing(np.abs(numpys))
        distance = np.nan_to_num(distance, nan=0.0)
    # The furthest apart in each of many intervals: one where NumPy is bad would take all places else.
    intervals = np.array_split(np.argsort(args[0], kind="stable"), 32)
    chosen = np.concatenate([part[np.argsort(-distance[part])[: compared // 64]] for part in intervals])
    chosen = np.union1d(chosen, np.linspace(0, mine.size - 1, compared // 2).astype(int))
    values = [mine[chosen], numpys[chosen]] + ([peer(name, *args)[chosen]] if peer is not None else [])
    points = [x[chosen] for x in args]
    found = errors(name, points, *values)
    at = int(np.argmax(found[0]))
    tiny = np.finfo(dtype).tiny
    normal = np.all([np.abs(x) >= tiny for x in (*points, numpys[chosen])], axis=0)
    found[2:] = [np.where(normal, e, 0.0) for e in found[2:]]
    largest: list[float | None] = [float(e.max()) for e in found]
    return [name, np.dtype(dtype).name, *largest, *[None] * (3 - len(found)), [float(x[at]) for x in points]]


def table(rows: list[list[Any]]) -> str:
    """As text."""

    def cell(x: Any) -> str:
        if x is None:
            return "-"
        if isinstance(x, list):
            return ", ".join(f"{v:.9g}" for v in x)
        return x if isinstance(x, str) else f"{x:.2f}" if x < 1e4 else f"{x:.1e}"

    lines = [["function", "dtype", "jitgrad", "NumPy", "JAX", "jitgrad's worst argument"]]
    lines += [[cell(x) for x in row] for row in rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description="errors of functions in ulps")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"functions (default: all): {' '.join(NAMES)}")
    parser.add_argument("--points", type=int, default=400_000, help="arguments a function and dtype")
    parser.add_argument("--compared", type=int, default=2000, help="how many of them are compared with mpmath")
    args = parser.parse_args(argv)
    peer = _jax()
    rows = []
    for name in args.names or NAMES:
        for dtype in (np.float32, np.float64):
            rows.append(worst(name, dtype, args.points, args.compared, peer))
            print(f"{name} {rows[-1][1]}: {rows[-1][2]:.2f}", flush=True)
    print("\n" + table(rows))


if __name__ == "__main__":
    main()
