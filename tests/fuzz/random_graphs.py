"""Random typed graphs, built op by op with their values at hand.

Every op is evaluated while the graph is built, and taken only if its value is finite and moderate and if no operand
is near a point where the op jumps or has a kink. So gradients can be held against differences at that point.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.ir.core import OPS, Block, Builder, Graph, Value
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, bool_, f32, f64, i32, i64, type_of
from jitgrad.passes.dce import dce

#: How far operands stay away from jumps and kinks, how large values may be, and how many elements they may have.
MARGIN, LARGEST, MAX_SIZE = 0.03, 20.0, 200
EXTENTS = (1, 1, 2, 3, 3, 4, 5)

Check = Callable[[np.ndarray], Any]

#: Functions of one float, and where they are taken.
UNARY: dict[str, Check] = {
    **dict.fromkeys(("negative", "sin", "cos", "tanh", "arctan", "arcsinh", "erf", "erfc"), lambda x: True),
    **dict.fromkeys(("expit", "softplus", "log_expit", "square", "safe_sqrt"), lambda x: True),
    **dict.fromkeys(("exp", "exp2", "expm1", "sinh", "cosh"), lambda x: x < 2.5),
    **dict.fromkeys(("log", "log2", "log10", "sqrt"), lambda x: x > 0.1),
    **dict.fromkeys(("digamma", "trigamma", "gammaln"), lambda x: x > 0.3),
    **dict.fromkeys(("arcsin", "arccos", "arctanh"), lambda x: abs(x) < 0.9),
    **dict.fromkeys(("absolute", "sign", "cbrt"), lambda x: abs(x) > MARGIN),
    **dict.fromkeys(("floor", "ceil", "trunc"), lambda x: abs(x - np.rint(x)) > MARGIN),
    "rint": lambda x: abs(abs(x - np.floor(x)) - 0.5) > MARGIN,
    "reciprocal": lambda x: abs(x) > 0.25,
    "log1p": lambda x: x > -0.8,
    "tan": lambda x: abs(np.cos(x)) > 0.3,
    "arccosh": lambda x: x > 1.1,
    "logit": lambda x: (x > 0.05) & (x < 0.95),
}
UNARY["safe_sqrt"] = UNARY["sqrt"]


def _apart(x: np.ndarray, y: np.ndarray) -> Any:
    return abs(x - y) > MARGIN


def _divides(x: np.ndarray, y: np.ndarray) -> Any:
    with np.errstate(all="ignore"):
        q = x / y
        return (abs(y) > 0.3) & (abs(q - np.rint(q)) > MARGIN)


BINARY: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    **dict.fromkeys(("add", "subtract", "multiply", "logaddexp", "logaddexp2"), lambda x, y: True),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), _apart),
    **dict.fromkeys(("arctan2", "hypot"), lambda x, y: x * x + y * y > 0.1),
    **dict.fromkeys(("floor_divide", "remainder", "fmod"), _divides),
    "divide": lambda x, y: abs(y) > 0.3,
    "power": lambda x, y: (x > 0.1) & (abs(y) < 3),
    "xlogy": lambda x, y: y > 0.1,
    "xlog1py": lambda x, y: y > -0.8,
    "copysign": lambda x, y: (abs(x) > MARGIN) & (abs(y) > MARGIN),
    "heaviside": lambda x, y: abs(x) > MARGIN,
}
COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
INTEGER = (
    "add",
    "subtract",
    "multiply",
    "floor_divide",
    "remainder",
    "maximum",
    "minimum",
    "bitwise_and",
    "bitwise_xor",
)
LOGICAL = ("logical_and", "logical_or", "logical_xor")


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """A value of the graph, what it is at the sample point, and the values that it was computed from."""

    value: Value
    array: np.ndarray
    history: frozenset[Value] = frozenset()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype


@dataclasses.dataclass(frozen=True)
class Case:
    """A graph whose results are independent programs over shared parameters, with arguments for it."""

    graph: Graph
    arrays: list[np.ndarray]


class Generator:
    """Makes one case. The steps are the methods named ``step_...``; each returns a new node, or None."""

    def __init__(self, seed: int | Sequence[int], dtypes: Sequence[np.dtype] = (f64,)) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtypes = dtypes
        self.b = Builder("fuzz")
        self.params: list[Node] = []
        self.pool: list[Node] = []
        self.steps = [getattr(self, n) for n in sorted(dir(type(self))) if n.startswith("step_")]
        weights = {"step_unary": 6, "step_binary": 8, "step_reduce": 3, "step_einsum": 2, "step_where": 2}
        odds = np.array([weights.get(s.__name__, 1) for s in self.steps], float)
        self.odds = odds / odds.sum()

    def case(self, programs: int, length: int = 12) -> Case:
        """``programs`` results, each a program of up to ``length`` random ops over the same parameters."""
        self.add_params()
        results = []
        for _ in range(programs):
            self.pool = list(self.params)
            results.append(self.program(int(self.rng.integers(2, length + 1))))
        return Case(self.b.build(*(r.value for r in results)), [p.array for p in self.params])

    def add_params(self) -> None:
        shapes = [(), self.shape(1, 1), self.shape(2, 2), self.shape(1, 3)]
        if self.chance(0.15):
            shapes.append((0, 3))
        types = [(s, self.choice(self.dtypes)) for s in shapes] + [(self.shape(1, 2), i64), (self.shape(0, 2), i32)]
        for k, (shape, dtype) in enumerate(types):
            floats = np.abs(self.rng.normal(size=shape)) + 0.2 if k % 2 else self.rng.normal(size=shape)
            array = np.asarray(floats if dtype.kind == "f" else self.rng.integers(-4, 5, shape)).astype(dtype)
            self.params.append(Node(self.b.param(type_of(array), f"p{k}"), array))

    def program(self, length: int) -> Node:
        """The value that took most ops to compute, mostly a float, after ``length`` random ops."""
        for _ in range(20 * length):
            step = self.steps[self.rng.choice(len(self.steps), p=self.odds)]
            node = step()
            if node is None or node.array.size > MAX_SIZE:
                continue
            self.pool.append(node)
            if len(self.pool) - len(self.params) >= length:
                break
        kinds = "fib" if self.chance(0.2) else "f"
        return max((n for n in self.pool if n.dtype.kind in kinds), key=lambda n: len(n.history))

    # Choosing

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def choice(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def shape(self, low: int, high: int) -> tuple[int, ...]:
        return tuple(self.choice(EXTENTS) for _ in range(int(self.rng.integers(low, high + 1))))

    def pick(self, test: Callable[[Node], bool]) -> Node | None:
        """A node that passes; the later ones are likelier, so that programs become deep."""
        found = [n for n in self.pool if test(n)]
        if not found:
            return None
        return found[-1] if self.chance(0.6) else self.choice(found)

    def floats(self, test: Callable[[Node], bool] = lambda n: True) -> Node | None:
        return self.pick(lambda n: n.dtype.kind == "f" and test(n))

    def peer(self, x: Node) -> Node | None:
        """Another operand for an elementwise op with ``x``: of its dtype, its shape broadcasts."""

        def fits(n: Node) -> bool:
            try:
                np.broadcast_shapes(n.shape, x.shape)
            except ValueError:
                return False
            return n.dtype == x.dtype

        if x.dtype.kind == "f" and self.chance(0.2):
            return self.constant(np.round(self.rng.normal(size=self.choice([(), x.shape, x.shape[-1:]])), 2), x.dtype)
        return self.pick(fits)

    # Emitting

    def emit(self, op: str, *nodes: Node, **attrs: Any) -> Node | None:
        """The op, if its value is finite and moderate."""
        with np.errstate(all="ignore"):
            array = np.asarray(OPS[op].eval(*(n.array for n in nodes), **attrs))
        if array.dtype.kind != "b" and not np.all(abs(array.astype(float)) < LARGEST):
            return None
        return self.node(self.b.emit(op, *(n.value for n in nodes), **attrs), array, *nodes)

    @staticmethod
    def node(value: Value, array: np.ndarray, *nodes: Node) -> Node:
        return Node(value, array, frozenset((value,)).union(*(n.history for n in nodes)))

    def constant(self, value: Any, dtype: np.dtype) -> Node:
        array = np.asarray(value, dtype)
        return Node(self.b.constant(array), array)

    # Elementwise

    def step_unary(self) -> Node | None:
        op = self.choice(list(UNARY))
        x = self.floats(lambda n: bool(np.all(UNARY[op](n.array))))
        return x and self.emit(op, x)

    def step_binary(self) -> Node | None:
        x = self.floats()
        y = x and self.peer(x)
        if x is None or y is None:
            return None
        if self.chance(0.5):
            x, y = y, x
        op = self.choice([n for n, test in BINARY.items() if np.all(test(x.array, y.array))])
        return self.emit(op, x, y)

    def step_integer(self) -> Node | None:
        x = self.pick(lambda n: n.dtype.kind == "i")
        y = x and self.peer(x)
        return self.emit(self.choice(INTEGER), x, y) if x is not None and y is not None else None

    def step_compare(self) -> Node | None:
        x = self.pick(lambda n: n.dtype.kind in "fi")
        y = x and self.peer(x)
        if x is None or y is None or (x.dtype.kind == "f" and not np.all(_apart(x.array, y.array))):
            return None
        return self.emit(self.choice(COMPARISONS), x, y)

    def step_logical(self) -> Node | None:
        x = self.pick(lambda n: n.dtype == bool_)
        y = x and self.peer(x)
        if x is None or y is None:
            return None
        return self.emit("logical_not", x) if self.chance(0.3) else self.emit(self.choice(LOGICAL), x, y)

    def step_where(self) -> Node | None:
        x = self.floats()
        y = x and self.peer(x)
        cond = self.pick(lambda n: n.dtype == bool_)
        if x is None or y is None or cond is None:
            return None
        try:
            np.broadcast_shapes(cond.shape, x.shape, y.shape)
        except ValueError:
            return None
        return self.emit("where", cond, x, y)

    def step_guarded(self) -> Node | None:
        """``where(x > a, f(x), c)`` with f singular where the condition is False: nothing may leak from there."""
        x = self.floats(lambda n: bool(np.all(abs(n.array - 0.2) > MARGIN)))
        if x is None:
            return None
        edge, other = self.constant(0.2, x.dtype), self.constant(-0.5, x.dtype)
        op = self.choice(("log", "sqrt", "arccosh", "reciprocal"))
        with np.errstate(all="ignore"):
            array = np.asarray(OPS[op].eval(x.array))
        inside = self.node(self.b.emit(op, x.value), array, x)
        cond = self.emit("greater", x, self.constant(1.2, x.dtype) if op == "arccosh" else edge)
        if cond is None or (op == "arccosh" and not np.all(abs(x.array - 1.2) > MARGIN)):
            return None
        return self.emit("where", cond, inside, other)

    def step_cast(self) -> Node | None:
        x = self.pick(lambda n: True)
        if x is None:
            return None
        if x.dtype.kind == "f" and self.chance(0.4):
            near = abs(x.array - np.rint(x.array)) < MARGIN
            return None if np.any(near) else self.emit("cast", x, dtype=self.choice((i32, i64)))
        return self.emit("cast", x, dtype=self.choice(self.dtypes))

    # Reductions and scans

    def _axes(self, x: Node) -> tuple[int, ...]:
        return tuple(k for k in range(len(x.shape)) if self.chance(0.6))

    def step_reduce(self) -> Node | None:
        x = self.pick(lambda n: len(n.shape) > 0)
        if x is None:
            return None
        axes = self._axes(x)
        if x.dtype == bool_:
            return self.emit(self.choice(("reduce_any", "reduce_all")), x, axes=axes)
        ops = ["reduce_sum", "reduce_prod"]
        if all(x.shape[k] for k in axes) and all(_separate(x.array, axes)):
            ops += ["reduce_max", "reduce_min"]
        return self.emit(self.choice(ops), x, axes=axes)

    def _separated(self) -> tuple[Node, int] | None:
        x = self.pick(lambda n: len(n.shape) > 0 and n.dtype.kind in "fi" and 0 not in n.shape)
        if x is None:
            return None
        axis = int(self.rng.integers(len(x.shape)))
        return (x, axis) if all(_separate(x.array, (axis,))) else None

    def step_arg(self) -> Node | None:
        found = self._separated()
        return found and self.emit(self.choice(("argmax", "argmin", "argsort")), found[0], axis=found[1])

    def step_sort(self) -> Node | None:
        found = self._separated()
        return found and self.emit("sort", found[0], axis=found[1])

    def step_scan(self) -> Node | None:
        x = self.floats(lambda n: len(n.shape) > 0)
        if x is None:
            return None
        axis = int(self.rng.integers(len(x.shape)))
        return self.emit(self.choice(("cumsum", "cumprod")), x, axis=axis, reverse=self.chance(0.3))

    # Shapes

    def step_reshape(self) -> Node | None:
        x = self.pick(lambda n: True)
        if x is None:
            return None
        shape = list(x.shape)
        self.rng.shuffle(shape)
        if len(shape) > 1 and self.chance(0.5):
            k = int(self.rng.integers(len(shape) - 1))
            shape[k : k + 2] = [shape[k] * shape[k + 1]]
        elif self.chance(0.5):
            shape.insert(int(self.rng.integers(len(shape) + 1)), 1)
        return self.emit("reshape", x, shape=tuple(int(n) for n in shape))

    def step_transpose(self) -> Node | None:
        x = self.pick(lambda n: len(n.shape) > 1)
        return x and self.emit("transpose", x, perm=tuple(int(k) for k in self.rng.permutation(len(x.shape))))

    def step_broadcast(self) -> Node | None:
        x = self.pick(lambda n: len(n.shape) < 3)
        if x is None:
            return None
        shape = tuple(self.choice(EXTENTS) if n == 1 else n for n in x.shape)
        return self.emit("broadcast_to", x, shape=(*self.shape(0, 1), *shape))

    def step_concatenate(self) -> Node | None:
        x = self.pick(lambda n: len(n.shape) > 0)
        if x is None:
            return None
        axis = int(self.rng.integers(len(x.shape)))

        def fits(n: Node) -> bool:
            same = [a for k, a in enumerate(n.shape) if k != axis] == [a for k, a in enumerate(x.shape) if k != axis]
            return n.dtype == x.dtype and len(n.shape) == len(x.shape) and same

        parts = [x, *(self.pick(fits) or x for _ in range(int(self.rng.integers(1, 3))))]
        return self.emit("concatenate", *parts, axis=axis)

    def _piece(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Random starts, sizes and steps of a slice that lies within ``shape``."""
        starts, sizes, steps = [], [], []
        for n in shape:
            step = self.choice((1, 1, 2, -1, -2))
            size = int(self.rng.integers(0 if self.chance(0.1) else min(n, 1), (n + abs(step) - 1) // abs(step) + 1))
            reach = max(size - 1, 0) * abs(step)
            low = int(self.rng.integers(max(n - reach, 1)))
            starts.append(low if step > 0 else low + reach)
            sizes.append(size)
            steps.append(step)
        return tuple(starts), tuple(sizes), tuple(steps)

    def step_slice(self) -> Node | None:
        x = self.pick(lambda n: len(n.shape) > 0 and 0 not in n.shape)
        if x is None:
            return None
        starts, sizes, steps = self._piece(x.shape)
        return self.emit("slice", x, starts=starts, sizes=sizes, steps=steps)

    def step_update(self) -> Node | None:
        x = self.floats(lambda n: len(n.shape) > 0 and 0 not in n.shape)
        if x is None:
            return None
        starts, sizes, steps = self._piece(x.shape)
        v = self.pick(lambda n: n.dtype == x.dtype and n.shape == sizes)
        if v is None:
            seed = self.pick(lambda n: n.dtype == x.dtype and n.shape in ((), (1,)))
            v = seed and self.emit("broadcast_to", seed, shape=sizes)
        if v is None:
            return None
        return self.emit(self.choice(("add_slice", "set_slice")), x, v, starts=starts, steps=steps)

    def step_pad(self) -> Node | None:
        x = self.pick(lambda n: len(n.shape) > 0)
        if x is None:
            return None
        low, high = (tuple(int(n) for n in self.rng.integers(0, 3, len(x.shape))) for _ in range(2))
        return self.emit("pad", x, low=low, high=high)

    # Indexing

    def _indices(self, x: Node) -> tuple[list[Node], tuple[int, ...], int]:
        """Index arrays for some axes of ``x``, in bounds; now and then a parameter brought into bounds."""
        count = 1 if len(x.shape) == 1 or self.chance(0.7) else 2
        axes = tuple(int(k) for k in self.rng.permutation(len(x.shape))[:count])
        batch = self.shape(0, 2)
        nodes = []
        for k in axes:
            n = x.shape[k]
            known = self.pick(lambda node, n=n: node.dtype == i64 and node.array.size > 0)
            if known is not None and count == 1 and self.chance(0.5):
                inside = self.emit("remainder", known, self.constant(n, i64))
                assert inside is not None
                nodes.append(inside)
            else:
                nodes.append(self.constant(self.rng.integers(-n, n, batch), i64))
        return nodes, axes, int(self.rng.integers(len(x.shape) - count + 1))

    def step_gather(self) -> Node | None:
        x = self.pick(lambda n: len(n.shape) > 0 and 0 not in n.shape)
        if x is None:
            return None
        nodes, axes, at = self._indices(x)
        return self.emit("gather", x, *nodes, axes=axes, at=at)

    def step_scatter(self) -> Node | None:
        x = self.floats(lambda n: len(n.shape) > 0 and 0 not in n.shape)
        if x is None:
            return None
        nodes, axes, at = self._indices(x)
        rest = [n for k, n in enumerate(x.shape) if k not in axes]
        shape = (*rest[:at], *nodes[0].shape, *rest[at:])
        if np.prod(shape) > MAX_SIZE:
            return None
        scale = self.constant(self.rng.normal(size=shape), x.dtype)
        seed = self.pick(lambda n: n.dtype == x.dtype and n.shape in ((), (1,), shape[-1:], shape))
        v = seed and self.emit("multiply", scale, seed)
        if v is None or v.shape != shape:
            return None
        return self.emit(self.choice(("scatter_add", "scatter_set")), x, v, *nodes, axes=axes, at=at)

    # Products

    def step_einsum(self) -> Node | None:
        x = self.floats(lambda n: len(n.shape) > 0)
        y = x and self.pick(lambda n: n.dtype == x.dtype)
        if x is None or y is None:
            return None
        left = list(string.ascii_lowercase[: len(x.shape)])
        right: list[str] = []
        for n in y.shape:
            same = [c for c, m in zip(left, x.shape, strict=True) if m == n and c not in right]
            right.append(self.choice(same) if same and self.chance(0.8) else string.ascii_lowercase[10 + len(right)])
        out = [c for c in left if c not in right] + [c for c in right if c not in left]
        out += [c for c in left if c in right and self.chance(0.4)]
        self.rng.shuffle(out)
        if len(out) > 4:
            return None
        return self.emit("einsum", x, y, spec=f"{''.join(left)},{''.join(right)}->{''.join(out)}")

    def step_linalg(self) -> Node | None:
        """``a @ a.T + 2 I`` and something of it."""
        a = self.floats(lambda n: len(n.shape) == 2 and 1 <= n.shape[0] <= 4)
        if a is None:
            return None
        square = self.emit("einsum", a, a, spec="ij,kj->ik") if self.chance(0.9) else None
        m = square and self.emit("add", square, self.constant(2 * np.eye(a.shape[0]), a.dtype))
        if m is None:
            return None
        op = self.choice(("cholesky", "inv", "det", "slogdet", "solve", "triangular_solve"))
        if op in ("cholesky", "inv", "det"):
            return self.emit(op, m)
        if op == "slogdet":
            results = self.b.emit_op(op, (m.value,), {}).results
            return self.node(results[1], np.asarray(OPS[op].eval(m.array)[1]), m)
        right = self.pick(lambda n: n.dtype == a.dtype and len(n.shape) == 2 and n.shape[0] == a.shape[0]) or a
        if op == "solve":
            return self.emit(op, m, right)
        flags = {name: self.chance(0.5) for name in ("lower", "trans", "unit")}
        return self.emit(op, m, right, **flags)


def _separate(array: np.ndarray, axes: tuple[int, ...]) -> list[bool]:
    """Whether the elements along ``axes`` are pairwise apart."""
    if array.size == 0:
        return []
    kept = [k for k in range(array.ndim) if k not in axes]
    rows = np.moveaxis(array, kept, range(len(kept))).reshape(int(np.prod([array.shape[k] for k in kept])), -1)
    return [bool(np.all(np.diff(np.sort(row)) > MARGIN)) for row in rows]


def only(graph: Graph, result: int) -> Graph:
    """The graph of one result, without the ops that it does not need: what to print for a failure."""
    b = Builder(graph.name)
    params = [b.param(p.type, p.name) for p in graph.params]
    return dce(b.build(b.inline(graph, params)[result]))


def shrink(case: Case, fails: Callable[[Case], bool]) -> Case:
    """A smaller case with one result that fails too, where there is one.

    First an earlier value is made the result, then ops are replaced by parameters that hold what they computed.
    """
    for op in case.graph.ops:
        for r in op.results:
            smaller = Graph(case.graph.name, Block(case.graph.params, case.graph.ops, (r,)))
            candidate = Case(only(smaller, 0), case.arrays)
            if fails(candidate):
                return _cut_inputs(candidate, fails)
    return case


def _cut_inputs(case: Case, fails: Callable[[Case], bool]) -> Case:
    number = 0
    while number < len(case.graph.ops) - 1:
        candidate = _without(case, number)
        if fails(candidate):
            case = candidate
            number = 0
        else:
            number += 1
    return case


def _without(case: Case, number: int) -> Case:
    """The case with one op replaced by parameters, without what is dead then."""
    removed = case.graph.ops[number]
    graph = Graph(case.graph.name, Block(case.graph.params, case.graph.ops, removed.results))
    arrays = [*case.arrays, *interpret(graph, *case.arrays)]
    b = Builder(graph.name)
    env = {p: b.param(p.type, p.name) for p in graph.params}
    env.update({r: b.param(r.type) for r in removed.results})
    for op in case.graph.ops:
        if op is not removed:
            env.update(zip(op.results, b.copy(op, env).results, strict=True))
    live = dce(b.build(*(env[r] for r in case.graph.results)))
    used = {v for op in live.ops for v in op.operands}
    kept = [k for k, p in enumerate(live.params) if p in used or p in live.results]
    block = Block([live.params[k] for k in kept], live.ops, live.results)
    return Case(Graph(live.name, block), [arrays[k] for k in kept])


def in_double(graph: Graph) -> Graph:
    """The same graph with float64 for float32 throughout."""

    def wide(t: TensorType) -> TensorType:
        return TensorType(f64, t.shape) if t.dtype == f32 else t

    b = Builder(graph.name)
    env: dict[Value, Value] = {p: b.param(wide(p.type), p.name) for p in graph.params}
    for op in graph.ops:
        attrs = dict(op.attrs)
        if attrs.get("dtype") == f32:
            attrs["dtype"] = f64
        if op.name == "constant" and attrs["value"].dtype == f32:
            value = attrs["value"].astype(f64)
            value.flags.writeable = False
            attrs["value"] = value
        env.update(zip(op.results, b.emit_op(op.opdef, [env[v] for v in op.operands], attrs).results, strict=True))
    return b.build(*(env[r] for r in graph.results))
