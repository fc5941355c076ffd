"""``python -m benchmarks.layouts``: what expressions cost an element in arrays of many shapes and memory layouts.

    python -m benchmarks.layouts                          all, with JAX's beside them where it is installed
    python -m benchmarks.layouts softmax --layouts n,10   some expressions (whose names start so), some layouts
    python -m benchmarks.layouts --cliffs                 prints those that are marked only
    python -m benchmarks.layouts --quick                  an expression a layout, on small arrays: checked, hardly timed

Every expression is computed in float64 by NumPy, by jitgrad and by JAX, and so are jitgrad's and JAX's value and
gradient of the sum of its squares. Values are compared with NumPy's before anything is timed, and gradients with a
central difference along a random direction. A figure is the least of some samples, which are taken in turn, in ns an
element of the argument; beside it are its ratios to NumPy, to JAX and to jitgrad's own figure for the same expression
of an array with one axis, where it means the same there. A ratio above 1.5 to NumPy or JAX is a cliff, and marked with
``<``. JAX has arrays of its own, which are contiguous, so it does not pay for a layout; jitgrad and NumPy do.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import jitgrad as jg
from benchmarks.session import sample

#: A ratio above which there is a cliff.
CLIFF = 1.5
#: Elements of an array, samples, and about how many seconds one takes.
ELEMENTS, SAMPLES, SECONDS = 192_000, 30, 1e-3


def _shaped(*shape: int) -> Callable[[Any], np.ndarray]:
    """Contiguous arrays of a shape with one -1."""
    return lambda x: x.reshape(shape)


def _every_second(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((x.size // 10, 20))
    wide[:, ::2] = x.reshape(-1, 10)
    return wide[:, ::2]


#: From numbers in a row to an array, by what its shape or its layout is.
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "n": _shaped(-1),
    "n,2": _shaped(-1, 2),
    "n,3": _shaped(-1, 3),
    "n,10": _shaped(-1, 10),
    "n,48": _shaped(-1, 48),
    "n,100": _shaped(-1, 100),
    "10,n": _shaped(10, -1),
    "n,3,16": _shaped(-1, 3, 16),
    "n,16,3": _shaped(-1, 16, 3),
    "transposed 48,n": lambda x: x.reshape(48, -1).T,
    "Fortran n,10": lambda x: np.asfortranarray(x.reshape(-1, 10)),
    "n,10 of n,20": _every_second,
    "n reversed": lambda x: x[::-1],
}


class Expression(NamedTuple):
    """``fun(xp, x)`` with NumPy or ``jax.numpy`` for ``xp``. ``axes`` is how many the array has at least; ``alike``,
    whether it is the same work for each element in one dimension; ``smooth``, whether it has a gradient. ``constant``
    makes an array for an argument of a shape, which ``fun`` takes as well."""

    fun: Callable[..., Any]
    axes: int = 1
    alike: bool = True
    smooth: bool = True
    constant: Callable[[tuple[int, ...]], np.ndarray] | None = None

    def of(self, xp: Any, shape: tuple[int, ...]) -> Callable[[Any], Any]:
        """As a function of the array alone."""
        fun = self.fun
        if self.constant is None:
            return lambda x: fun(xp, x)
        constant = self.constant(shape)
        return lambda x: fun(xp, x, constant)


def _softmax(xp: Any, x: Any, axis: int) -> Any:
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def _normalise(xp: Any, x: Any, axis: int) -> Any:
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred**2, axis=axis, keepdims=True) + 1e-5)


def _places(n: int) -> np.ndarray:
    return np.random.default_rng(1).permutation(n)


def _weights(n: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((n, 4)) / np.sqrt(n)


EXPRESSIONS: dict[str, Expression] = {
    "2x + 1": Expression(lambda xp, x: 2 * x + 1),
    "polynomial": Expression(lambda xp, x: ((x * 0.1 + 0.2) * x - 0.3) * x + 1),
    "where": Expression(lambda xp, x: xp.where(x > 0, x, 0.1 * x)),
    "exp": Expression(lambda xp, x: xp.exp(x)),
    "sin": Expression(lambda xp, x: xp.sin(x)),
    "tanh": Expression(lambda xp, x: xp.tanh(x)),
    "sum": Expression(lambda xp, x: xp.sum(x)),
    "sum of exp": Expression(lambda xp, x: xp.sum(xp.exp(x))),
    "sum, axis 0": Expression(lambda xp, x: xp.sum(x, axis=0), alike=False),
    "sum, axis 1": Expression(lambda xp, x: xp.sum(x, axis=1), axes=2, alike=False),
    "sum, axis -1": Expression(lambda xp, x: xp.sum(x, axis=-1)),
    "max, axis -1": Expression(lambda xp, x: xp.max(x, axis=-1)),
    "softmax, axis -1": Expression(lambda xp, x: _softmax(xp, x, -1)),
    "softmax, axis 0": Expression(lambda xp, x: _softmax(xp, x, 0), alike=False),
    "normalise, axis -1": Expression(lambda xp, x: _normalise(xp, x, -1)),
    "normalise, axis 0": Expression(lambda xp, x: _normalise(xp, x, 0), alike=False),
    "argmax, axis -1": Expression(lambda xp, x: xp.argmax(x, axis=-1), smooth=False),
    "argmax, axis 0": Expression(lambda xp, x: xp.argmax(x, axis=0), alike=False, smooth=False),
    "cumsum, axis -1": Expression(lambda xp, x: xp.cumsum(x, axis=-1)),
    "cumsum, axis 0": Expression(lambda xp, x: xp.cumsum(x, axis=0), alike=False),
    "x @ w": Expression(lambda xp, x, w: x @ w, axes=2, alike=False, constant=lambda shape: _weights(shape[-1])),
    "pad": Expression(lambda xp, x: xp.pad(x, 1)),
    "gather, axis 0": Expression(lambda xp, x, at: x[at], constant=lambda shape: _places(shape[0])),
    "gather, axis -1": Expression(lambda xp, x, at: x[..., at], constant=lambda shape: _places(shape[-1])),
    "columns": Expression(lambda xp, x: x[..., 0] * x[..., 1] + xp.sin(x[..., 1]), axes=2, alike=False),
    "differences": Expression(lambda xp, x: x[1:] - x[:-1]),
    "transpose": Expression(lambda xp, x: x.T + 1.0),
}


class Row(NamedTuple):
    """Nanoseconds an element. ``jax``, and ``numpy`` for a gradient, are None where there is none to compare with, and
    ``line`` where there is no such expression of one dimension."""

    expression: str
    layout: str
    what: str
    jitgrad: float
    numpy: float | None = None
    jax: float | None = None
    line: float | None = None

    def ratios(self) -> list[float | None]:
        """To NumPy, to JAX and to one dimension."""
        return [None if x is None else self.jitgrad / x for x in (self.numpy, self.jax, self.line)]

    @property
    def is_cliff(self) -> bool:
        return any(r is not None and r > CLIFF for r in self.ratios()[:2])


def squares(fun: Callable[[Any], Any], xp: Any) -> Callable[[Any], Any]:
    """The sum of the squares."""
    return lambda x: xp.sum(fun(x) ** 2)


def check(name: str, fun: Callable[[Any], Any], x: np.ndarray, value: Any, gradient: Any) -> None:
    """Raise AssertionError where jitgrad's results are not those of a function in NumPy."""
    np.testing.assert_allclose(value, fun(x), rtol=1e-9, atol=1e-9, err_msg=name)
    if gradient is None:
        return
    f = squares(fun, np)
    np.testing.assert_allclose(gradient[0], f(x), rtol=1e-9, err_msg=name)
    direction = np.random.default_rng(3).standard_normal(x.shape)
    step = 1e-6
    slope = (f(x + step * direction) - f(x - step * direction)) / (2 * step)
    found = np.sum(gradient[1] * direction)
    scale = np.sqrt(np.sum(gradient[1] ** 2)) + np.abs(f(x))
    if not abs(found - slope) <= 1e-5 * scale:
        raise AssertionError(f"{name}: the gradient's slope is {found}, and should be {slope}")


def calls_of(name: str, x: np.ndarray, *, with_jax: bool) -> dict[str, dict[str, Callable[[], Any]]]:
    """What is timed, by what it computes and who does; all of it has run once and was found right."""
    expression = EXPRESSIONS[name]
    fun = expression.of(np, x.shape)
    value = jg.jit(fun)
    gradient = jg.value_and_grad(squares(fun, np)) if expression.smooth else None
    check(name, fun, x, value(x), None if gradient is None else gradient(x))
    calls = {"value": {"jitgrad": lambda: value(x), "numpy": lambda: fun(x)}}
    if gradient is not None:
        calls["gradient"] = {"jitgrad": lambda: gradient(x)}
    if with_jax:
        import jax  # pyright: ignore[reportMissingImports]

        jax.config.update("jax_enable_x64", True)
        own, theirs = jax.numpy.asarray(x), expression.of(jax.numpy, x.shape)
        compiled = {"value": jax.jit(theirs), "gradient": jax.jit(jax.value_and_grad(squares(theirs, jax.numpy)))}
        for what, found in calls.items():
            found["jax"] = lambda fun=compiled[what]: jax.block_until_ready(fun(own))
            found["jax"]()
    return calls


def least(calls: dict[str, Callable[[], Any]], samples: int, seconds: float) -> dict[str, float]:
    """Seconds a call, the least of samples of about so many seconds."""
    counts = {}
    for who, call in calls.items():
        start = time.perf_counter()
        call()
        counts[who] = max(1, int(seconds / max(time.perf_counter() - start, 1e-7)))
    best = dict.fromkeys(calls, np.inf)
    for _ in range(samples):
        for who, call in calls.items():
            best[who] = min(best[who], sample(call, counts[who]))
    return best


def measure(
    names: list[str], layouts: list[str], *, elements: int, samples: int, with_jax: bool, one_each: bool = False
) -> list[Row]:
    """A row for each expression, layout, and of value and gradient; with ``one_each``, for one layout an expression."""
    numbers = np.random.default_rng(0).standard_normal(elements)
    rows: list[Row] = []
    for k, name in enumerate(names):
        lines: dict[str, float] = {}
        fit = [y for y in layouts if LAYOUTS[y](numbers).ndim >= EXPRESSIONS[name].axes]
        for layout in fit[k % len(fit) :][:1] if one_each else fit:
            x = LAYOUTS[layout](numbers)
            for what, calls in calls_of(name, x, with_jax=with_jax).items():
                ns = {who: 1e9 * s / x.size for who, s in least(calls, samples, SECONDS).items()}
                if layout == "n":
                    lines[what] = ns["jitgrad"]
                line = lines.get(what) if EXPRESSIONS[name].alike and layout != "n" else None
                rows.append(Row(name, layout, what, ns["jitgrad"], ns.get("numpy"), ns.get("jax"), line))
    return rows


def table(rows: list[Row]) -> str:
    """The rows as text."""
    lines = [f"{'ns an element':20}{'layout':17}{'':10}{'jitgrad':>9}{'/ NumPy':>9}{'/ JAX':>9}{'/ 1-D':>9}"]
    for row in rows:
        ratios = "".join(f"{'' if r is None else f'{r:.2f}':>9}" for r in row.ratios())
        mark = " <" if row.is_cliff else ""
        lines.append(f"{row.expression:20}{row.layout:17}{row.what:10}{row.jitgrad:9.2f}{ratios}{mark}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> list[Row]:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.layouts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"expressions (default: all): {', '.join(EXPRESSIONS)}"
    )
    parser.add_argument("--layouts", nargs="+", metavar="LAYOUT", choices=list(LAYOUTS), default=list(LAYOUTS))
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--elements", type=int, default=ELEMENTS, help="a multiple of 9600")
    parser.add_argument("--no-jax", action="store_true")
    parser.add_argument("--cliffs", action="store_true", help="print rows that are marked only")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(argv)
    names = [n for n in EXPRESSIONS if not options.names or n.startswith(tuple(options.names))]
    with_jax = not options.no_jax and not options.quick and importlib.util.find_spec("jax") is not None
    elements, samples = (9600, 1) if options.quick else (options.elements, options.samples)
    rows = measure(
        names, options.layouts, elements=elements, samples=samples, with_jax=with_jax, one_each=options.quick
    )
    print(table([row for row in rows if row.is_cliff] if options.cliffs else rows))
    print(f"{sum(row.is_cliff for row in rows)} of {len(rows)} are marked")
    return rows


if __name__ == "__main__":
    main()
