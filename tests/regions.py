"""Arguments and derivatives of graphs with loops and branches."""

from __future__ import annotations

import numpy as np

from jitgrad.autodiff.jvp import jvp_graph
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.ir.core import Graph
from jitgrad.ir.types import is_float


def arguments(graph: Graph) -> list[np.ndarray]:
    """Well-conditioned arguments: a matrix that is square has a heavy diagonal, integers are small."""
    rng = np.random.default_rng(1)
    found = []
    for p in graph.params:
        if p.type.dtype.kind == "i":
            found.append(np.asarray(rng.integers(1, 4, p.type.shape), p.type.dtype))
        elif p.type.dtype.kind == "b":
            found.append(np.asarray(rng.random(p.type.shape) < 0.5))
        else:
            a = rng.uniform(0.3, 1.0, p.type.shape).astype(p.type.dtype)
            if a.ndim == 2 and a.shape[0] == a.shape[1]:
                a = a + a.T + 4 * len(a) * np.eye(len(a), dtype=a.dtype)
            found.append(np.asarray(a))
    return found


def floats(graph: Graph) -> list[int]:
    """The numbers of the parameters that can be differentiated."""
    return [k for k, p in enumerate(graph.params) if is_float(p.type.dtype)]


def reverse(graph: Graph) -> Graph:
    return vjp_graph(graph, floats(graph), seed="param", with_value=False)


def forward(graph: Graph) -> Graph:
    return jvp_graph(graph, floats(graph), with_value=False)
