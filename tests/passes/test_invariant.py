"""What ``invariant`` says of random graphs: where it stops a derivative, shifting the maximum changes no result."""

import random
from collections import Counter

import numpy as np

from jitgrad.ir.core import Builder, Graph, Value
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, f64
from jitgrad.passes.invariant import invariant
from jitgrad.passes.rewrite import Rewriter

N = 3


def random_graph(lot: random.Random) -> Graph:
    """A few ops on square arrays and rows, so that rows and columns are easily taken for each other."""
    b = Builder("f")
    x = b.param(TensorType(f64, (N, N)), "x")
    w = b.param(TensorType(f64, (N, N)), "w")
    i = b.constant(np.array(lot.choice([(0, 1, 2), (1, 0, 2), (0, 0, 0)])))
    top = b.emit("reduce_max", x, axes=lot.choice([(0,), (1,), (0, 1)]))
    values: list[Value] = [x, w, top]

    def pick(*shapes: tuple[int, ...]) -> Value | None:
        """One of the last values of these shapes."""
        fitting = [v for v in values if not shapes or v.type.shape in shapes]
        return fitting[-1 - min(int(lot.expovariate(0.7)), len(fitting) - 1)] if fitting else None

    for _ in range(lot.randrange(3, 14)):
        kind = lot.choice(
            ["binary"] * 8 + ["exp", "log", "negative", "sum", "sum", "shape", "shape", "move", "product"]
        )
        a = pick()
        assert a is not None
        shape = a.type.shape
        if kind == "binary":
            c = pick()
            assert c is not None
            new = b.emit(lot.choice(["add", "subtract", "subtract", "multiply", "divide", "divide"]), a, c)
        elif kind == "sum" and shape:
            new = b.emit("reduce_sum", a, axes=(lot.randrange(len(shape)),))
        elif kind == "shape" and len(shape) == 1:
            new = b.emit("reshape", a, shape=lot.choice([(*shape, 1), (1, *shape)]))
        elif kind == "shape" and 1 in shape:
            new = b.emit("reshape", a, shape=tuple(n for n in shape if n != 1))
        elif kind == "move" and len(shape) == 2:
            new = b.emit("transpose", a, perm=(1, 0))
            if shape == (N, N) and lot.random() < 0.6:
                j = b.constant(np.arange(N))
                new = b.emit("gather", a, *lot.choice([(i, j), (j, i), (j, j)]), axes=(0, 1), at=0)
        elif kind == "product" and shape == (N, N):
            new = b.emit(
                "einsum", *lot.choice([(a, w), (w, a)]), spec=lot.choice(["ij,jk->ik", "ij,jk->ki", "ij,kj->ik"])
            )
        elif kind in ("exp", "log", "negative"):
            new = b.emit(kind, a)
        else:
            continue
        if len(new.type.shape) <= 2:
            values.append(new)
    return b.build(values[-1])


class Shifted(Rewriter):
    """Adds random numbers to every stopped value."""

    def __init__(self, graph: Graph, rng: np.random.Generator) -> None:
        def shift(r, node):
            d = r.constant(rng.normal(size=node.type.shape))
            return r.append("add", node.operands[0], d)

        super().__init__(graph, {"stop_gradient": [shift]})


def test_what_is_stopped_does_not_matter():
    lot, rng = random.Random(5), np.random.default_rng(5)
    met = Counter()
    for _ in range(4000):
        graph = random_graph(lot)
        found = invariant(graph)
        stopped = [op for op in found.ops if op.name == "stop_gradient"]
        if not stopped:
            continue
        used = {v for op in found.ops for v in op.operands}
        met[stopped[0].result in used] += 1
        x, w = rng.normal(size=(N, N)), rng.uniform(0.5, 2.0, size=(N, N))
        with np.errstate(all="ignore"):
            (expected,) = interpret(graph, x, w)
            for _ in range(3):
                (result,) = interpret(Shifted(found, rng).run(found), x, w)
                np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-9)
    assert met[True] >= 20
