"""Random NumPy functions as source text, written line by line with the values at hand.

A line is taken if NumPy runs it and its value is finite, moderate and small. Kinks are not avoided here: the tests
leave out, and count, derivatives for which differences with two steps disagree.
"""

from __future__ import annotations

import dataclasses
import itertools
import linecache
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

LARGEST, MAX_SIZE = 15.0, 120

#: Lines over arrays X and Y. ``<axis>`` is an axis of X, ``<k>`` an index of its first axis.
ELEMENTWISE = """
np.sin(X)|np.cos(X) * Y|np.tanh(X + Y)|np.exp(0.3 * X)|X * Y|X + Y|X - 2 * Y|X / (1.5 + Y**2)|-X|+X|X**2|X**3 * 0.1
np.sqrt(X * X + 0.5)|np.log1p(X**2)|np.log(np.abs(X) + 0.2)|1 / (1 + X * X)|np.abs(X)|np.clip(X, -0.7, 0.8)
np.where(X > 0.1, X, 0.5 * X)|np.maximum(X, Y)|np.minimum(X, 0.4)|np.maximum(X, 0)|np.logaddexp(X, Y)
np.arctan2(X, 2 + Y * Y)|np.hypot(X, Y + 0.1)|np.power(np.abs(X) + 0.3, 1.7)|(X > Y) * X|np.where(X > 0, np.sqrt(X), 0)
np.square(X) - np.float32(2) * X|X * np.float64(0.5)|np.expm1(X / 4)|np.sinh(X / 3)|np.sign(X) * Y|np.floor(X) + X
np.heaviside(X, 0.5) * X|np.reciprocal(2 + X**2)|np.mod(X, 1.3)|X % 0.7|X // 0.9 + X|np.cbrt(X + 3)|np.arctan(X)
np.where(np.isnan(X), 0.0, X)|np.select([X < -0.5, X < 0.5], [X, X * X], -X)|np.fmax(X, Y)|np.copysign(X, Y)
(1 / (1 + np.exp(-X)))|np.log(1 + np.exp(X))|np.nan_to_num(X)|np.sinc(X)|np.deg2rad(X) + X|(abs(X) + 0.1) ** 0.5
""".replace("\n", "|")
REDUCTIONS = """
np.sum(X)|np.sum(X, axis=<axis>)|X.mean(axis=<axis>, keepdims=True)|np.prod(0.8 * X, axis=<axis>)
np.max(X, axis=<axis>)|X.min()|np.var(X, axis=<axis>)|np.std(X, axis=<axis>, ddof=0)|np.linalg.norm(X + 3)
np.cumsum(X, axis=<axis>)|np.cumprod(X, axis=<axis>)|X.sum(axis=-1)[..., None]|np.sort(X, axis=<axis>)
np.ptp(X, axis=<axis>)|np.diff(X, axis=<axis>)|np.average(X, axis=<axis>)|np.any(X > 0.5, axis=<axis>) * 1.0
np.argmax(X, axis=<axis>) * 0.1 + X.sum()|np.log(np.sum(np.exp(X), axis=<axis>))|np.mean(X ** 2)
X - X.max(axis=<axis>, keepdims=True)|np.trace(X @ X.T)
""".replace("\n", "|")
SHAPES = """
X.T|X.reshape(-1)|np.ravel(X)|X[::-1]|X[..., None]|X[None]|X[1:]|X[:-1] * 2|X[..., ::2]|X[..., -1]|X[<k>]|X[..., ::-1]
np.concatenate([X, X * 2], axis=<axis>)|np.stack([X, X * X], axis=<axis>)|np.flip(X, <axis>)|np.roll(X, 1, axis=<axis>)
np.pad(X, 1)|np.repeat(X, 2, axis=<axis>)|np.tile(X, 2)|np.swapaxes(X, 0, -1)|np.moveaxis(X, 0, -1)|np.squeeze(X)
np.expand_dims(X, <axis>)|np.broadcast_to(X, (2, *X.shape))|np.tril(X)|np.triu(X, 1)|np.diagonal(X)|np.vstack([X, X])
np.hstack([X, 3 * X])|np.split(X, [1], axis=<axis>)[1]|np.atleast_2d(X)|np.diag(X)|X[IDX % len(X)]|X[[0, -1, 0]]
np.take(X, [0, 0], axis=<axis>)|X[..., [0, -1]]|np.array([X.sum(), 1.0, X.mean()])|X[X.shape[0] // 2 :]|X.flatten()
np.take_along_axis(X, np.argsort(X, axis=<axis>), axis=<axis>)|X.astype(np.float64)|np.zeros_like(X) + X|X.copy()
""".replace("\n", "|")
PRODUCTS = """
X @ Y|X @ Y.T|X.T @ Y|np.dot(X, Y.T)|np.outer(X, Y)|np.einsum("i...,i...->...", X, Y)|np.tensordot(X, Y, axes=1)
np.inner(X, Y)|np.vdot(X, Y)|np.einsum("ij,kj->ik", X, Y)|np.matmul(X, Y)|np.linalg.inv(X @ X.T + 2 * np.eye(len(X)))
np.linalg.solve(X @ X.T + 2 * np.eye(len(X)), X)|np.linalg.det(X @ X.T + 2 * np.eye(len(X)))
np.linalg.cholesky(X @ X.T + 2 * np.eye(len(X)))|np.linalg.slogdet(X @ X.T + np.eye(len(X)))[1]|np.kron(X, Y)
""".replace("\n", "|")
GROUPS = [[t.strip() for t in g.split("|") if t.strip()] for g in (ELEMENTWISE, REDUCTIONS, SHAPES, PRODUCTS)]
ODDS = (0.5, 0.15, 0.23, 0.12)
#: What the functions see beside their arguments.
GLOBALS: dict[str, Any] = {"np": np, "IDX": np.array([2, 0, 1, 0])}

_serial = itertools.count()


@dataclasses.dataclass(frozen=True)
class SourceCase:
    """A function that returns a tuple of arrays, its text, and arguments for it."""

    text: str
    function: Callable[..., tuple[Any, ...]]
    args: tuple[Any, ...]


def make(text: str, name: str = "f", others: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """The function that this text defines; its lines are known to tracebacks and to ``inspect``. It sees ``others``
    too."""
    filename = f"<random {next(_serial)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    namespace = {**GLOBALS, **(others or {})}
    exec(compile(text, filename, "exec"), namespace)
    return namespace[name]


def alone(case: SourceCase, result: int) -> SourceCase:
    """The case of one result, without the lines that it does not need."""
    lines = case.text.splitlines()
    wanted = lines[-1].removeprefix("    return ").rstrip(",").split(", ")[result]
    needed, kept = {wanted}, []
    for line in reversed(lines[1:-1]):
        target, value = line.strip().split(" = ", 1)
        if target in needed:
            kept.append(line)
            needed.update(re.findall(r"\bt\d+\b", value))
    text = "\n".join([lines[0], *reversed(kept), f"    return {wanted},", ""])
    return SourceCase(text, make(text), case.args)


class SourceGenerator:
    """Makes one case with ``programs`` results."""

    def __init__(self, seed: Sequence[int], dtype: Any = np.float64) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype

    def case(self, programs: int, length: int = 6) -> SourceCase:
        shapes: list[tuple[int, ...]] = [(), (3,), (2, 3), self.choice([(3, 3), (3, 1), (1, 4), (5,), (2, 1, 3)])]
        args = tuple(np.asarray(self.rng.normal(size=s)).astype(self.dtype) for s in shapes)
        names = [f"a{k}" for k in range(len(args))]
        lines: list[str] = []
        results = []
        for _ in range(programs):
            scope: dict[str, Any] = dict(zip(names, args, strict=True))
            last = self.choice(names)
            for _ in range(int(self.rng.integers(2, length + 1))):
                line = self.line(scope, last)
                if line is None:
                    continue
                last = f"t{len(lines)}"
                lines.append(f"    {last} = {line[0]}")
                scope[last] = line[1]
            results.append(last)
        text = "\n".join([f"def f({', '.join(names)}):", *lines, f"    return {', '.join(results)},", ""])
        return SourceCase(text, make(text), args)

    def choice(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def line(self, scope: dict[str, Any], last: str) -> tuple[str, Any] | None:
        """An expression that runs, and its value."""
        for _ in range(30):
            template = self.choice(GROUPS[self.rng.choice(len(GROUPS), p=ODDS)])
            x = last if self.rng.random() < 0.8 else self.choice(list(scope))
            y = self.choice(list(scope))
            array = np.asarray(scope[x])
            if array.ndim == 0 and re.search("<axis>|<k>|axis=-1", template):
                continue  # NumPy lets a few functions name an axis that is not there
            text = re.sub(r"\bX\b", x, re.sub(r"\bY\b", y, template))
            text = text.replace("<axis>", str(self.rng.integers(-array.ndim, array.ndim) if array.ndim else 0))
            text = text.replace("<k>", str(self.rng.integers(array.shape[0]) if array.ndim and array.shape[0] else 0))
            value = self.run(text, scope)
            if value is not None:
                return text, value
        return None

    def run(self, text: str, scope: dict[str, Any]) -> Any:
        """The value of an expression, or None if it does not run or is out of bounds."""
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("error")  # as of the mean of nothing
                value = eval(text, dict(GLOBALS), dict(scope))
        except (ValueError, IndexError, TypeError, np.linalg.LinAlgError, RuntimeWarning):
            return None
        array = np.asarray(value)
        if array.dtype.kind != "f" or array.size > MAX_SIZE or not np.all(abs(array) < LARGEST):
            return None
        return value
