"""Random nests of loops and branches over arrays that are updated in place, well-conditioned and in bounds.

A program has a few variables: two vectors, a matrix and two scalars, some of which each region carries. Positions are
affine in the loop indices around. All points of the iteration space are enumerated while a program is made, so every
access is in bounds whatever the analysis of jitgrad thinks of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from jitgrad import ops  # noqa: F401  (registers the ops)
from jitgrad.ir.core import Builder, Graph, Value
from jitgrad.ir.index import Dim, Sym, add, evaluate, expr, mul
from jitgrad.ir.symbols import set_limits, symbol_of
from jitgrad.ir.types import TensorType, f64, i64

T = TypeVar("T")
Point = dict[Sym, int]
#: Extents of the vectors and of the matrix.
LENGTH, ROWS, COLUMNS = 7, 4, 5
SCALAR, VECTOR, MATRIX = (TensorType(f64, s) for s in ((), (LENGTH,), (ROWS, COLUMNS)))
#: More iterations than this, of all loops around, are not made.
MAX_POINTS = 150


@dataclasses.dataclass(frozen=True)
class Features:
    """What a program may have besides loops, reads and writes."""

    branches: bool = True
    whiles: bool = True
    traced: bool = True  # bounds and positions that are only known when the program runs
    whole: bool = True  # ops on whole arrays
    swaps: bool = True
    pieces: bool = True  # slices of more than one element, also of extents that depend on an index
    depth: int = 3


@dataclasses.dataclass
class Scope:
    """What can be used at a place: the variables, other values by type, loop indices, and the points they run over."""

    variables: dict[str, Value]
    values: list[Value]
    indices: list[Value]
    points: list[Point]

    def inner(self, names: Iterable[str]) -> Scope:
        """A region in which these variables can be assigned; the others can be read."""
        names = set(names)
        fixed = [v for name, v in self.variables.items() if name not in names]
        kept = {name: v for name, v in self.variables.items() if name in names}
        return Scope(kept, [*self.values, *fixed], list(self.indices), self.points)


class Loops:
    """One random program. ``graph`` and ``arrays`` are the program and its arguments."""

    def __init__(self, seed: Any, features: Features = Features(), statements: int = 4) -> None:
        self.rng = np.random.default_rng(seed)
        self.features = features
        self.b = Builder("f")
        types = {"A": VECTOR, "B": VECTOR, "C": MATRIX, "s": SCALAR, "t": SCALAR}
        variables = {name: self.b.param(type, name) for name, type in types.items()}
        self.arrays = [self.rng.uniform(-1.0, 1.0, t.shape) for t in types.values()]
        scope = Scope(variables, list(variables.values()), [], [{}])
        if features.traced:
            n = self.b.param(TensorType(i64), "n")
            self.arrays.append(np.asarray(self.rng.integers(1, 5)))
            scope.indices.append(n)
            scope.points = [{symbol_of(n): int(self.arrays[-1])}]
        self.statements(scope, 0, statements)
        if not any(op.regions for op in self.b.ops):
            self.step_for(scope, 0)
        self.graph: Graph = self.b.build(*scope.variables.values())

    # Choices

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def choice(self, items: Sequence[T]) -> T:
        return items[int(self.rng.integers(len(items)))]

    def values(self, scope: Scope, test: Callable[[TensorType], bool]) -> list[Value]:
        return [v for v in (*scope.variables.values(), *scope.values) if test(v.type)]

    def array(self, scope: Scope) -> Value | None:
        """An array to read: mostly a variable as it is now."""
        current = [v for v in scope.variables.values() if v.type.shape]
        if current and self.chance(0.7):
            return self.choice(current)
        found = self.values(scope, lambda t: t in (VECTOR, MATRIX))
        return self.choice(found) if found else None

    def scalar(self, scope: Scope) -> Value:
        found = self.values(scope, lambda t: t == SCALAR)
        if not found or self.chance(0.1):
            if scope.indices and self.chance(0.5):
                k = self.b.emit("index", value=expr(symbol_of(self.choice(scope.indices))))
                return self.b.emit("multiply", self.b.emit("cast", k, dtype=f64), self.b.constant(0.2))
            return self.b.constant(float(self.rng.choice([0.5, -0.7, 1.25])))
        return self.choice(found[-6:] if self.chance(0.7) else found)

    # Positions

    def affine(self, scope: Scope) -> Dim:
        """A random combination of loop indices."""
        total: Dim = 0
        for _ in range(1 + self.chance(0.3)):
            if scope.indices:
                index = expr(symbol_of(self.choice(scope.indices)))
                total = add(total, mul(index, int(self.rng.choice([1, 1, 1, -1, 2]))))
        return total

    def span(self, scope: Scope, e: Dim) -> tuple[int, int]:
        found = [evaluate(e, point) for point in scope.points]
        return min(found), max(found)

    def position(self, scope: Scope, extent: int, reach: int = 0) -> Dim:
        """An index expression that lies, like itself plus ``reach``, in ``[0, extent)`` at every point."""
        low, high = max(0, -reach), extent - 1 - max(0, reach)
        for _ in range(4):
            e = self.affine(scope)
            least, most = self.span(scope, e)
            if low - least <= high - most:
                return add(e, int(self.rng.integers(low - least, high - most + 1)))
        return int(self.rng.integers(low, high + 1))

    def wrapped(self, e: Dim, extent: int) -> Dim:
        """A position that the analysis knows nothing of, but for its extent."""
        k = self.b.emit("index", value=e)
        k = self.b.emit("where", self.b.emit("less", k, self.b.constant(2, i64)), k, k)  # hides what it is
        return expr(symbol_of(self.b.emit("wrap_index", k, extent=extent, check=True)))

    def box(self, scope: Scope, shape: Sequence[int], sizes: Sequence[int]) -> dict[str, Any]:
        starts, steps = [], []
        for n, size in zip(shape, sizes, strict=True):
            step = int(self.rng.choice([1, 1, 1, -1, 2])) if size > 1 else 1
            step = step if abs(step) * (size - 1) < n else 1
            start = self.position(scope, n, step * (size - 1))
            if self.features.traced and size == 1 and self.chance(0.1):
                start = self.wrapped(start, n)
            starts.append(start)
            steps.append(step)
        return {"starts": tuple(starts), "steps": tuple(steps)}

    def sizes(self, shape: Sequence[int]) -> tuple[int, ...]:
        if not self.features.pieces or self.chance(0.6):
            return (1,) * len(shape)
        return tuple(int(self.rng.integers(1, n)) if self.chance(0.6) else 1 for n in shape)

    # Statements

    def statements(self, scope: Scope, depth: int, count: int) -> None:
        steps = [self.step_read, self.step_compute, self.step_write, self.step_write, self.step_assign]
        deeper: list[Callable[[Scope, int], None]] = []
        if depth < self.features.depth:
            deeper += [self.step_for] * 3
            deeper += [self.step_cond] * self.features.branches
            deeper += [self.step_while] * self.features.whiles
        if self.features.whole:
            steps.append(self.step_whole)
        if self.features.pieces:
            steps += [self.step_dot, self.step_prefix]
        for _ in range(count):
            if deeper and self.chance(0.45):
                self.choice(deeper)(scope, depth)
            else:
                self.choice(steps)(scope)

    def step_read(self, scope: Scope) -> None:
        x = self.array(scope)
        if x is None:
            return
        shape = [int(n) for n in x.type.shape]  # pyright: ignore[reportArgumentType]
        sizes = self.sizes(shape)
        piece = self.b.emit("slice", x, sizes=sizes, **self.box(scope, shape, sizes))
        if all(n == 1 for n in sizes):
            piece = self.b.emit("reshape", piece, shape=())
        scope.values.append(piece)

    def step_compute(self, scope: Scope) -> None:
        scope.values.append(self.formula(scope))

    def formula(self, scope: Scope) -> Value:
        """A scalar of modest size."""
        x = self.scalar(scope)
        kind = self.rng.integers(5)
        if kind == 0:
            return self.b.emit(self.choice(["sin", "tanh", "cos"]), x)
        y = self.scalar(scope)
        if kind == 1:
            return self.b.emit("tanh", self.b.emit("multiply", x, y))
        if kind == 2:
            return self.b.emit("sin", self.b.emit(self.choice(["add", "subtract"]), x, y))
        if kind == 3:
            below = self.b.emit("add", self.b.constant(1.5), self.b.emit("square", y))
            return self.b.emit("divide", x, below)
        return self.b.emit("multiply", self.b.emit("add", x, y), self.b.constant(0.4))

    def step_write(self, scope: Scope) -> None:
        names = [name for name, v in scope.variables.items() if v.type.shape]
        if not names:
            return
        name = self.choice(names)
        x = scope.variables[name]
        if self.chance(0.08):  # another version, or another array
            x = self.choice(self.values(scope, lambda t: t == x.type))
        shape = [int(n) for n in x.type.shape]  # pyright: ignore[reportArgumentType]
        pieces = self.values(scope, lambda t: t.ndim == len(shape) and all(isinstance(n, int) for n in t.shape))
        pieces = [p for p in pieces if all(m <= n for m, n in zip(p.type.shape, shape, strict=True))]  # pyright: ignore
        if pieces and self.features.pieces and self.chance(0.4):
            piece = self.choice(pieces)
            if self.chance(0.5):
                piece = self.b.emit("sin", piece)
        else:
            value = self.formula(scope) if self.chance(0.8) else self.scalar(scope)
            piece = self.b.emit("reshape", value, shape=(1,) * len(shape))
        sizes = [int(n) for n in piece.type.shape]  # pyright: ignore[reportArgumentType]
        op = self.choice(["set_slice", "set_slice", "add_slice"])
        scope.values.append(x)
        scope.variables[name] = self.b.emit(op, x, piece, **self.box(scope, shape, sizes))

    def step_assign(self, scope: Scope) -> None:
        names = [name for name, v in scope.variables.items() if v.type == SCALAR]
        if names:
            name = self.choice(names)
            scope.values.append(scope.variables[name])
            scope.variables[name] = self.formula(scope) if self.chance(0.8) else self.scalar(scope)

    def step_whole(self, scope: Scope) -> None:
        names = [name for name, v in scope.variables.items() if v.type.shape]
        if not names or self.chance(0.6):
            return
        name = self.choice(names)
        x = scope.variables[name]
        kind = self.rng.integers(3)
        if kind == 0:
            new = self.b.emit("sin", x)
        elif kind == 1:
            new = self.b.emit("multiply", x, self.formula(scope))
        else:
            y = self.choice(self.values(scope, lambda t: t == x.type))
            new = self.b.emit("multiply", self.b.emit("add", x, y), self.b.constant(0.5))
        scope.values.append(x)
        scope.variables[name] = new

    def extent(self, scope: Scope, most: int) -> Dim | None:
        """An extent that depends on an index and lies in ``[0, most]``."""
        e = self.affine(scope)
        least, greatest = self.span(scope, e)
        if isinstance(e, int) or greatest - least > most:
            return None
        return add(e, int(self.rng.integers(-least, most - greatest + 1)))

    def prefix(self, scope: Scope, x: Value, size: Dim) -> Value:
        """``x[start:start + size]`` of a vector, or of a row of a matrix."""
        shape = [int(n) for n in x.type.shape]  # pyright: ignore[reportArgumentType]
        start = int(self.rng.integers(0, shape[-1] - self.span(scope, size)[1] + 1))
        row = tuple(self.position(scope, n) for n in shape[:-1])
        sizes = (1,) * len(row) + (size,)
        piece = self.b.emit("slice", x, starts=(*row, start), sizes=sizes, steps=(1,) * len(shape))
        return piece if len(shape) == 1 else self.b.emit("reshape", piece, shape=(size,))

    def step_dot(self, scope: Scope) -> None:
        x, y = self.array(scope), self.array(scope)
        if x is None or y is None:
            return
        size = self.extent(scope, min(int(x.type.shape[-1]), int(y.type.shape[-1])))  # pyright: ignore
        if size is not None:
            u, v = self.prefix(scope, x, size), self.prefix(scope, y, size)
            scope.values.append(self.b.emit("tanh", self.b.emit("einsum", u, v, spec="k,k->")))

    def step_prefix(self, scope: Scope) -> None:
        """A piece, whose extent depends on an index, of one array into another."""
        names = [name for name, v in scope.variables.items() if v.type == VECTOR]
        x = self.array(scope)
        if not names or x is None:
            return
        name = self.choice(names)
        size = self.extent(scope, int(x.type.shape[-1]))  # pyright: ignore[reportArgumentType]
        if size is None:
            return
        piece = self.b.emit("multiply", self.prefix(scope, x, size), self.formula(scope))
        start = int(self.rng.integers(0, LENGTH - self.span(scope, size)[1] + 1))
        target = scope.variables[name]
        scope.values.append(target)
        op = self.choice(["set_slice", "add_slice"])
        scope.variables[name] = self.b.emit(op, target, piece, starts=(start,), steps=(1,))

    # Regions

    def carried(self, scope: Scope) -> list[str]:
        names = [name for name in scope.variables if self.chance(0.65)]
        return names or [self.choice(list(scope.variables))]

    def inits(self, scope: Scope, names: Sequence[str]) -> list[Value]:
        found = []
        for name in names:
            v = scope.variables[name]
            found.append(self.choice(self.values(scope, lambda t, v=v: t == v.type)) if self.chance(0.08) else v)
        return found

    def yields(self, inner: Scope, names: Sequence[str]) -> list[Value]:
        found = [inner.variables[name] for name in names]
        if self.features.swaps and self.chance(0.15):
            i, j = (int(k) for k in self.rng.integers(len(found), size=2))
            if found[i].type == found[j].type:
                found[i], found[j] = found[j], found[i]
        return found

    def leave(self, scope: Scope, names: Sequence[str], results: Sequence[Value]) -> None:
        for name, result in zip(names, results, strict=True):
            scope.values.append(scope.variables[name])
            scope.variables[name] = result

    def bounds(self, scope: Scope) -> tuple[Dim, Dim, int]:
        """Of a loop with at most six iterations at any point."""
        step = int(self.rng.choice([1, 1, 1, -1, -1, 2, -2, 3]))
        for _ in range(4):
            lo = self.affine(scope) if self.chance(0.4) else 0
            hi = self.affine(scope) if self.chance(0.4) else 0
            lo = add(lo, -self.span(scope, lo)[0] + int(self.rng.integers(0, 3)))
            hi = add(hi, -self.span(scope, hi)[0] + int(self.rng.integers(0, 7)))
            if step < 0:
                lo, hi = add(hi, -1), add(lo, -1)
            counts = [len(self.steps(point, lo, hi, step)) for point in scope.points]
            if max(counts) <= 6 and sum(counts) <= MAX_POINTS and self._clipped(scope, lo, hi, step):
                return lo, hi, step
        return 0, int(self.rng.integers(0, 4)), 1

    def _clipped(self, scope: Scope, lo: Dim, hi: Dim, step: int) -> bool:
        """A range over traced numbers is never "less than empty": the frontend sees to that."""
        names = {s for d in (lo, hi) if not isinstance(d, int) for s in d.syms()}
        if all(s.bounds != (None, None) for s in names):
            return True
        return all((evaluate(hi, p) - evaluate(lo, p)) * step >= 0 for p in scope.points)

    @staticmethod
    def steps(point: Point, lo: Dim, hi: Dim, step: int) -> range:
        return range(evaluate(lo, point), evaluate(hi, point), step)

    def step_for(self, scope: Scope, depth: int) -> None:
        lo, hi, step = self.bounds(scope)
        names = self.carried(scope)
        inits = self.inits(scope, names)
        with self.b.region() as region:
            index = region.param(TensorType(i64), "ijklmn"[depth])
            set_limits(index, lo, hi, step)
            inner = scope.inner(names)
            inner.variables = {name: region.param(v.type, name) for name, v in zip(names, inits, strict=True)}
            symbol = symbol_of(index)
            inner.points = [{**p, symbol: i} for p in scope.points for i in self.steps(p, lo, hi, step)]
            if inner.points:
                inner.indices = [*inner.indices, index]
            else:
                inner.points = scope.points  # never runs
            self.statements(inner, depth + 1, int(self.rng.integers(2, 6)))
            region.finish(*self.yields(inner, names))
        op = self.b.emit_op("for", inits, {"lo": lo, "hi": hi, "step": step}, (region.block,))
        self.leave(scope, names, op.results)

    def predicate(self, scope: Scope) -> Value:
        if scope.indices and self.chance(0.4):
            k = self.b.emit("index", value=self.affine(scope))
            return self.b.emit("less", k, self.b.constant(int(self.rng.integers(0, 4)), i64))
        edge = self.b.constant(float(self.rng.uniform(-0.3, 0.5)))
        return self.b.emit(self.choice(["less", "greater"]), self.scalar(scope), edge)

    def step_cond(self, scope: Scope, depth: int) -> None:
        names = self.carried(scope)
        if self.chance(0.25):
            n = 3
            k = self.b.emit("index", value=self.affine(scope))
            op, selector = "switch", self.b.emit("remainder", k, self.b.constant(4, i64))
        else:
            n, op, selector = 2, "cond", self.predicate(scope)
        blocks = []
        for _ in range(n):
            with self.b.region() as region:
                inner = scope.inner(names)
                self.statements(inner, depth + 1, int(self.rng.integers(0, 4)))
                region.finish(*self.yields(inner, names))
            blocks.append(region.block)
        results = self.b.emit_op(op, [selector], {}, tuple(blocks)).results
        self.leave(scope, names, results)

    def step_while(self, scope: Scope, depth: int) -> None:
        """Counts up to a limit, and ends early for a value."""
        names = self.carried(scope)
        inits = self.inits(scope, names)
        limit = int(self.rng.integers(0, 5))
        if limit * len(scope.points) > MAX_POINTS:
            return
        zero = self.b.constant(0, i64)
        early = self.chance(0.5)
        with self.b.region() as head:
            k = head.param(TensorType(i64), "k")
            inner = scope.inner(names)
            inner.variables = {name: head.param(v.type, name) for name, v in zip(names, inits, strict=True)}
            go_on = self.b.emit("less", k, self.b.constant(limit, i64))
            if early:
                edge = self.b.constant(float(self.rng.uniform(0.3, 0.9)))
                go_on = self.b.emit("logical_and", go_on, self.b.emit("less", self.scalar(inner), edge))
            head.finish(go_on)
        with self.b.region() as body:
            k = body.param(TensorType(i64), "k")
            k.symbol = Sym("k", 0, limit - 1, payload=k) if limit else None
            inner = scope.inner(names)
            inner.variables = {name: body.param(v.type, name) for name, v in zip(names, inits, strict=True)}
            if limit:
                inner.points = [{**p, symbol_of(k): i} for p in scope.points for i in range(limit)]
                inner.indices = [*inner.indices, k]
            self.statements(inner, depth + 1, int(self.rng.integers(2, 5)))
            after = self.b.emit("add", k, self.b.constant(1, i64))
            body.finish(after, *self.yields(inner, names))
        op = self.b.emit_op("while", [zero, *inits], {}, (head.block, body.block))
        self.leave(scope, names, op.results[1:])


def random_loops(seed: Any, **features: Any) -> tuple[Graph, list[np.ndarray]]:
    """A random program and its arguments."""
    made = Loops(seed, Features(**features))
    return made.graph, made.arrays
