"""Random graphs for Hypothesis: float64 values of small shapes, tied together by ops of every kind."""

from __future__ import annotations

import math
from random import Random

import numpy as np
from hypothesis import strategies as st

import jitgrad.ops  # noqa: F401  (registers the ops)
from jitgrad.errors import ShapeError
from jitgrad.ir.core import Builder, Graph, Value
from jitgrad.ir.location import Location
from jitgrad.ir.types import TensorType, broadcast_shapes, f64

SHAPES = [(), (1,), (3,), (2, 3), (1, 3), (2, 1), (3, 2), (2, 1, 3), (2, 3, 2), (4, 2, 3)]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, -0.25]
UNARY = ["negative", "absolute", "square", "tanh", "stop_gradient", "reciprocal", "sign", "floor"]
BINARY = ["add", "subtract", "multiply", "maximum", "minimum"]
LOCATIONS = [None, Location("/home/me/train.py", 3, "loss"), Location("/home/you/train.py", 3, "<lambda>")]
LOCATIONS += [Location("train.py", 4, "?"), Location("a b.py", 5, 'f"\\')]
NAMES = [None, None, "x", "h", "params.w1", "0", "a b", "x_1", "été"]


class _Maker:
    """Adds random ops to a builder."""

    def __init__(self, random: Random, *, elementwise: bool) -> None:
        self.random, self.elementwise = random, elementwise
        self.b = Builder(random.choice(["f", "loss", "a-b"]))
        self.values: list[Value] = []

    def param(self) -> None:
        shape = (3,) if self.elementwise else self.random.choice(SHAPES)
        self.values.append(self.b.param(TensorType(f64, shape), self.random.choice(NAMES)))

    def pick(self) -> Value:
        """Often the latest value, so that chains form for the rules to work on."""
        return self.values[-1] if self.random.random() < 0.5 else self.random.choice(self.values)

    def partner(self, x: Value) -> Value:
        """A value that broadcasts with x."""
        fitting = [v for v in self.values if _broadcasts(v, x)]
        return self.random.choice(fitting)

    def number(self) -> Value:
        return self.b.constant(self.random.choice(NUMBERS))

    def step(self) -> None:
        kinds = [self.unary, self.unary, self.binary, self.binary, self.scale, self.select]
        kinds += [] if self.elementwise else [self.power, self.double, *[self.move, self.reduce, self.product] * 3]
        self.b.loc = self.random.choice(LOCATIONS)
        value = self.random.choice(kinds)()
        value.name = self.random.choice(NAMES)
        self.values.append(value)

    def unary(self) -> Value:
        return self.b.emit(self.random.choice(UNARY), self.pick())

    def binary(self) -> Value:
        x = self.pick()
        names = ["add", "subtract", "multiply"] if self.elementwise else BINARY
        return self.b.emit(self.random.choice(names), x, self.partner(x))

    def double(self) -> Value:
        x = self.pick()
        return self.b.emit("multiply", x, x)

    def scale(self) -> Value:
        name = self.random.choice(["add", "subtract", "multiply", "divide"])
        pair = [self.pick(), self.number()]
        if name != "divide":
            self.random.shuffle(pair)
        return self.b.emit(name, *pair)

    def power(self) -> Value:
        return self.b.emit("power", self.pick(), self.b.constant(self.random.choice([0.0, 1.0, 2.0, 3.0, 4.0])))

    def select(self) -> Value:
        x = self.pick()
        c = self.b.emit(self.random.choice(["less", "equal"]), x, self.partner(x))
        if self.random.random() < 0.3:
            c = self.b.emit("logical_not", c)
        inner = self.b.emit("where", c, x, self.number())
        product = self.b.emit("multiply", inner, self.partner(inner))
        return self.b.emit("where", c, product, self.number())

    def move(self) -> Value:
        x = self.pick()
        shape = tuple(int(n) for n in x.type.shape)  # pyright: ignore[reportArgumentType]
        kind = self.random.choice(["reshape", "transpose", "broadcast_to", "slice", "concatenate"])
        if kind == "reshape":
            return self.b.emit(kind, x, shape=self.random.choice([(math.prod(shape),), (*shape, 1), (1, *shape)]))
        if kind == "transpose":
            return self.b.emit(kind, x, perm=tuple(self.random.sample(range(len(shape)), len(shape))))
        if kind == "broadcast_to":
            wide = tuple(self.random.choice([2, 3]) if n == 1 else n for n in shape)
            return self.b.emit(kind, x, shape=self.random.choice([wide, (2, *wide)]))
        if kind == "slice" and shape:
            starts = tuple(self.random.randrange(n) for n in shape)
            steps = tuple(self.random.choice([1, -1, 2]) for _ in shape)
            room = [(n - 1 - s) // d if d > 0 else s // -d for n, s, d in zip(shape, starts, steps, strict=True)]
            sizes = tuple(self.random.randint(1, k + 1) for k in room)
            return self.b.emit(kind, x, starts=starts, sizes=sizes, steps=steps)
        if not shape:
            return self.b.emit("broadcast_to", x, shape=(3,))
        same = [v for v in self.values if v.type.shape == shape]
        return self.b.emit("concatenate", x, self.random.choice(same), axis=self.random.randrange(len(shape)))

    def reduce(self) -> Value:
        x = self.pick()
        axes = tuple(k for k in range(x.type.ndim) if self.random.random() < 0.6)
        return self.b.emit(self.random.choice(["reduce_sum", "reduce_max"]), x, axes=axes)

    def product(self) -> Value:
        x, y = self.pick(), self.pick()
        letters = "abcdefgh"
        first = letters[: x.type.ndim]
        second = ""
        extents = dict(zip(first, x.type.shape, strict=True))
        fresh = iter(letters[x.type.ndim :])
        for n in y.type.shape:
            fitting = [c for c in first if extents[c] == n and c not in second]
            second += self.random.choice(fitting) if fitting and self.random.random() < 0.8 else next(fresh)
        out = [c for c in first + second if not (c in first and c in second and self.random.random() < 0.6)]
        out = list(dict.fromkeys(out))
        self.random.shuffle(out)
        return self.b.emit("einsum", x, y, spec=f"{first},{second}->{''.join(out)}")


def _broadcasts(x: Value, y: Value) -> bool:
    try:
        broadcast_shapes(x.type.shape, y.type.shape)
    except ShapeError:
        return False
    return True


def _small(value: Value) -> bool:
    return value.type.ndim <= 4 and isinstance(value.type.size, int) and value.type.size <= 200


@st.composite
def graphs(draw: st.DrawFn, *, elementwise: bool = False) -> Graph:
    """A graph with up to three parameters and up to ten random steps.

    elementwise : elementwise ops and shapes (3,) only, all exact in floating point.
    """
    # A seed, not Hypothesis's own random object: that repeats itself too much to pair ops that belong together.
    maker = _Maker(Random(draw(st.integers(0, 2**48))), elementwise=elementwise)
    for _ in range(draw(st.integers(1, 3))):
        maker.param()
    for _ in range(draw(st.integers(0, 12))):
        maker.step()
        if not _small(maker.values[-1]):
            maker.values.pop()
    results = [maker.pick() for _ in range(draw(st.integers(1, 2)))]
    return maker.b.build(maker.values[-1], *results)


def arrays(graph: Graph, seed: int, choices: list[float] | None = None) -> list[np.ndarray]:
    """Arguments: uniform in [-2, 2], or drawn from ``choices``."""
    rng = np.random.default_rng(seed)
    shapes = [tuple(int(n) for n in p.type.shape) for p in graph.params]  # pyright: ignore[reportArgumentType]
    if choices is None:
        return [rng.uniform(-2.0, 2.0, s) for s in shapes]
    return [rng.choice(np.array(choices), s) for s in shapes]
