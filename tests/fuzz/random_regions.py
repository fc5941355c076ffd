"""Random graphs with loops, branches, updates in place, and pieces whose extents are loop indices.

Every array is a vector of 6 or a matrix of 5 x 6, so that pieces meet; numbers stay within [-2, 2].
"""

from __future__ import annotations

import numpy as np

import jitgrad.ops  # noqa: F401  (registers the ops)
from jitgrad.ir.core import Builder, Graph, Value
from jitgrad.ir.index import Dim, add, interval, mul
from jitgrad.ir.symbols import index_of, set_limits
from jitgrad.ir.types import TensorType, f64, i64

N, M = 6, 5
SHAPES: tuple[tuple[int, ...], ...] = ((), (N,), (M, N))


class Scope:
    """The values of each shape that may be used, and the loop indices."""

    def __init__(self, outer: Scope | None = None) -> None:
        self.values: dict[tuple[int, ...], list[Value]] = {s: list(outer.values[s]) if outer else [] for s in SHAPES}
        self.indices: list[Value] = list(outer.indices) if outer else []

    def add(self, v: Value) -> None:
        self.values[v.type.shape].append(v)  # pyright: ignore[reportArgumentType]


class RegionGraphs:
    """Makes one graph from a seed."""

    def __init__(self, seed: int, ops: int = 10, depth: int = 3) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Builder("random")
        self.size, self.depth = ops, depth

    def graph(self) -> Graph:
        scope = Scope()
        for n, shape in enumerate((*SHAPES, *SHAPES)):
            scope.add(self.b.param(TensorType(f64, shape), f"x{n}"))
        n = self.b.param(TensorType(i64), "n")  # 1 to 4
        self.n = n
        self.body(scope, self.size, self.depth)
        results = [v for shape in SHAPES for v in self.pick(scope, shape, 2)]
        return self.b.build(*results)

    # Choices

    def choose(self, items: list) -> object:
        return items[int(self.rng.integers(len(items)))]

    def pick(self, scope: Scope, shape: tuple[int, ...], n: int) -> list[Value]:
        """Values of this shape, mostly new ones."""
        known = scope.values[shape]
        weights = np.arange(1, len(known) + 1, dtype=float) ** 2
        return [known[int(k)] for k in self.rng.choice(len(known), size=n, p=weights / weights.sum())]

    def shape(self) -> tuple[int, ...]:
        return SHAPES[int(self.rng.choice(3, p=(0.3, 0.4, 0.3)))]

    def position(self, scope: Scope, extent: int) -> Dim:
        """An index that is surely within the extent."""
        for _ in range(4):
            if not scope.indices:
                break
            i = index_of(self.choose(scope.indices))  # pyright: ignore[reportArgumentType]
            d = add(mul(i, int(self.choose([1, 1, -1]))), int(self.rng.integers(-2, 4)))
            lo, hi = interval(d)
            if lo is not None and hi is not None and lo >= 0 and hi < extent:
                return d
        return int(self.rng.integers(extent))

    # Ops

    def body(self, scope: Scope, n: int, depth: int) -> None:
        for _ in range(n):
            kinds = ["elementwise"] * 4 + ["piece", "read", "update", "update", "put", "put", "reduce", "prefix", "row"]
            if depth:
                kinds += ["loop", "loop", "branch", "while", "choice"]
            kind = str(self.choose(kinds))
            getattr(self, f"{kind}_")(scope, depth)

    def elementwise_(self, scope: Scope, depth: int) -> None:
        shape = self.shape()
        x, y = self.pick(scope, shape, 2)
        if self.rng.random() < 0.3 and shape:
            (y,) = self.pick(scope, (), 1)
        op = str(self.choose(["add", "multiply", "subtract", "maximum"]))
        self.emit(scope, op, x, y)

    def emit(self, scope: Scope, op: str, *operands: Value, **attrs: object) -> Value:
        """A value that is kept within [-1, 1]."""
        v = self.b.emit(op, *operands, **attrs)
        v = self.b.emit("sin", v) if self.rng.random() < 0.6 else self.b.emit("tanh", v)
        if v.type.shape in scope.values:
            scope.add(v)
        return v

    def piece_(self, scope: Scope, depth: int) -> None:
        """Two shifted pieces of one vector, combined and put back."""
        (x,) = self.pick(scope, (N,), 1)
        size = int(self.rng.integers(1, N))
        starts = [int(self.rng.integers(N - size + 1)) for _ in range(3)]
        a, c = (self.b.emit("slice", x, starts=(s,), sizes=(size,), steps=(1,)) for s in starts[:2])
        v = self.b.emit("sin", self.b.emit("add", a, c))
        op = str(self.choose(["set_slice", "add_slice"]))
        scope.add(self.clip(self.b.emit(op, x, v, starts=(starts[2],), steps=(1,))))

    def clip(self, v: Value) -> Value:
        return v if self.rng.random() < 0.7 else self.b.emit("tanh", v)

    def read_(self, scope: Scope, depth: int) -> None:
        shape = SHAPES[1 + int(self.rng.integers(2))]
        (x,) = self.pick(scope, shape, 1)
        starts = tuple(self.position(scope, n) for n in shape)
        one = self.b.emit("slice", x, starts=starts, sizes=(1,) * len(shape), steps=(1,) * len(shape))
        self.emit(scope, "reshape", one, shape=())

    def put_(self, scope: Scope, depth: int) -> None:
        """Store or add one element."""
        shape = SHAPES[1 + int(self.rng.integers(2))]
        (x,), (v,) = self.pick(scope, shape, 1), self.pick(scope, (), 1)
        starts = tuple(self.position(scope, n) for n in shape)
        v = self.b.emit("reshape", self.b.emit("sin", v), shape=(1,) * len(shape))
        op = str(self.choose(["set_slice", "set_slice", "add_slice"]))
        scope.add(self.clip(self.b.emit(op, x, v, starts=starts, steps=(1,) * len(shape))))

    def update_(self, scope: Scope, depth: int) -> None:
        """A row of a matrix, from another row or a vector."""
        (x,), (y,), (v,) = self.pick(scope, (M, N), 1), self.pick(scope, (M, N), 1), self.pick(scope, (N,), 1)
        step = int(self.choose([1, -1]))
        row = self.b.emit(
            "slice", y, starts=(self.position(scope, M), 0 if step > 0 else N - 1), sizes=(1, N), steps=(1, step)
        )
        row = self.b.emit("sin", self.b.emit("add", row, v))
        op = str(self.choose(["set_slice", "add_slice"]))
        scope.add(self.clip(self.b.emit(op, x, row, starts=(self.position(scope, M), 0), steps=(1, 1))))

    def reduce_(self, scope: Scope, depth: int) -> None:
        (x,) = self.pick(scope, (M, N), 1)
        axes = [(0,), (0, 1)][int(self.rng.integers(2))]
        op = str(self.choose(["reduce_sum", "reduce_max"]))
        self.emit(scope, op, x, axes=axes)

    def row_(self, scope: Scope, depth: int) -> None:
        (x,), (y,) = self.pick(scope, (M, N), 1), self.pick(scope, (N,), 1)
        v = self.b.emit("tanh", self.b.emit("einsum", x, y, spec="ij,j->i"))
        z = self.b.emit("einsum", x, v, spec="ij,i->j")
        self.emit(scope, "tanh", z)

    def prefix_(self, scope: Scope, depth: int) -> None:
        """A piece whose extent is an index: reduced, or shifted by one and put back."""
        if not scope.indices:
            return
        k = self.position(scope, N - 1)
        (x,), (y,) = self.pick(scope, (N,), 2)[:1], self.pick(scope, (N,), 1)
        a, c = (self.b.emit("slice", v, starts=(0,), sizes=(k,), steps=(1,)) for v in (x, y))
        if self.rng.random() < 0.5:
            self.emit(scope, "einsum", a, c, spec="i,i->")
            return
        back = self.b.emit("slice", y, starts=(add(k, -1),), sizes=(k,), steps=(-1,))
        v = self.b.emit("sin", self.b.emit("add", a, back))
        scope.add(self.clip(self.b.emit("set_slice", x, v, starts=(1,), steps=(1,))))

    # Regions

    def carried(self, scope: Scope) -> list[Value]:
        shapes = [self.shape() for _ in range(int(self.rng.integers(1, 4)))]
        return [self.pick(scope, s, 1)[0] for s in shapes]

    def yields(self, inner: Scope, types: list[TensorType], params: list[Value]) -> list[Value]:
        found = []
        for t in types:
            same = [p for p in params if p.type == t]
            if self.rng.random() < 0.3 and same:
                found.append(self.choose(same))
            else:
                found.append(self.pick(inner, t.shape, 1)[0])  # pyright: ignore[reportArgumentType]
        return found  # pyright: ignore[reportReturnType]

    def bounds(self, scope: Scope) -> tuple[Dim, Dim, int]:
        if self.rng.random() < 0.25:
            n = index_of(self.n)
            return (0, n, 1) if self.rng.random() < 0.5 else (add(n, 1), -1, -2)
        lo, hi = self.position(scope, 4), int(self.rng.integers(0, 5))
        step = int(self.choose([1, 1, 1, 2]))
        return (lo, hi, step) if self.rng.random() < 0.7 else (hi, add(lo, -1), -step)

    def loop_(self, scope: Scope, depth: int) -> None:
        init, (lo, hi, step) = self.carried(scope), self.bounds(scope)
        with self.b.region() as region:
            i = region.param(TensorType(i64), "i")
            set_limits(i, lo, hi, step)
            inner = Scope(scope)
            if not (isinstance(lo, int) and isinstance(hi, int) and (hi - lo) * step <= 0):
                inner.indices.append(i)
            params = [region.param(v.type) for v in init]
            for p in params:
                inner.add(p)
            self.body(inner, int(self.rng.integers(1, 5)), depth - 1)
            region.finish(*self.yields(inner, [v.type for v in init], params))
        for r in self.b.emit_op("for", init, {"lo": lo, "hi": hi, "step": step}, (region.block,)).results:
            scope.add(r)

    def branches(self, scope: Scope, n: int, depth: int) -> tuple:
        types = [v.type for v in self.carried(scope)]
        blocks = []
        for _ in range(n):
            with self.b.region() as region:
                inner = Scope(scope)
                self.body(inner, int(self.rng.integers(0, 4)), depth - 1)
                region.finish(*self.yields(inner, types, []))
            blocks.append(region.block)
        return tuple(blocks)

    def branch_(self, scope: Scope, depth: int) -> None:
        x, y = self.pick(scope, (), 2)
        test = self.b.emit("less", x, y)
        for r in self.b.emit_op("cond", [test], {}, self.branches(scope, 2, depth)).results:
            scope.add(r)

    def choice_(self, scope: Scope, depth: int) -> None:
        which = self.choose([self.n, *scope.indices])
        for r in self.b.emit_op("switch", [which], {}, self.branches(scope, 3, depth)).results:  # pyright: ignore
            scope.add(r)

    def while_(self, scope: Scope, depth: int) -> None:
        """A loop that counts, and may end before by what it computes."""
        init = [self.b.constant(0, i64), *self.pick(scope, (), 1), *self.carried(scope)]
        with self.b.region() as test:
            count, x, *_ = [test.param(v.type) for v in init]
            more = self.b.emit("less", count, self.b.constant(int(self.rng.integers(1, 4)), i64))
            small = self.b.emit("less", x, self.b.constant(0.8, f64))
            test.finish(self.b.emit("logical_and", more, small))
        with self.b.region() as region:
            params = [region.param(v.type) for v in init]
            inner = Scope(scope)
            for p in params[1:]:
                inner.add(p)
            # The count as an index.
            k = self.b.emit("wrap_index", params[0], extent=4, check=True)
            index_of(k)
            inner.indices.append(k)
            self.body(inner, int(self.rng.integers(1, 4)), depth - 1)
            following = self.b.emit("add", params[0], self.b.constant(1, i64))
            region.finish(following, *self.yields(inner, [v.type for v in init[1:]], params[1:]))
        for r in self.b.emit_op("while", init, {}, (test.block, region.block)).results[1:]:
            scope.add(r)


def arguments(graph: Graph, seed: int) -> list[np.ndarray]:
    """Numbers between -1 and 1; n is 1 to 4."""
    rng = np.random.default_rng(seed)
    return [
        np.asarray(rng.integers(1, 5)) if p.type.dtype == i64 else np.asarray(rng.uniform(-1, 1, p.type.shape))
        for p in graph.params
    ]
