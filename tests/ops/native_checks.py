"""Checks of one op: its value in every rendering, and its derivatives against differences."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.autodiff.jvp import jvp_graph
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.codegen import python
from jitgrad.compiler import Compiled
from jitgrad.ir.core import Builder, Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import is_float, type_of
from jitgrad.loopir.lower import lower
from jitgrad.ops.op import Sample


def graph_of(name: str, args: tuple[np.ndarray, ...], attrs: dict[str, Any]) -> Graph:
    """The graph of one op applied to parameters."""
    b = Builder(name)
    params = [b.param(type_of(a), f"x{k}") for k, a in enumerate(args)]
    return b.build(*b.emit_op(name, params, attrs).results)


def run_everywhere(graph: Graph, *args: np.ndarray, tol: float = 1e-12) -> tuple[np.ndarray, ...]:
    """The results by the interpreter, after checking that two others agree with them: the lowered graph as Python, and
    the whole pipeline to machine code."""
    expected = interpret(graph, *args)
    before = [a.copy() for a in args]
    for results in (python.run(lower(graph), *args), Compiled(graph)(*args)):
        assert len(results) == len(expected)
        for r, e in zip(results, expected, strict=True):
            assert r.dtype == e.dtype and r.shape == e.shape
            scale = np.max(np.abs(e), initial=1.0, where=np.isfinite(e)) if e.dtype.kind == "f" else 1.0
            np.testing.assert_allclose(r, e, rtol=tol, atol=tol * scale)
    for a, old in zip(args, before, strict=True):
        np.testing.assert_array_equal(a, old)
    return expected


def check_value(name: str, sample: Sample, tol: float = 1e-12) -> tuple[np.ndarray, ...]:
    """The op's value agrees in the interpreter and both renderings."""
    return run_everywhere(graph_of(name, sample.args, sample.attrs), *sample.args, tol=tol)


def difference(graph: Graph, args: list[np.ndarray], ts: list[np.ndarray], step: float = 1e-5) -> list[np.ndarray]:
    """Directional derivatives by central differences of fourth order."""

    def at(k: float) -> tuple[np.ndarray, ...]:
        moved = [a + k * step * t if is_float(a.dtype) else a for a, t in zip(args, ts, strict=True)]
        return interpret(graph, *moved)

    sums = zip(at(-2), at(-1), at(1), at(2), strict=True)
    return [(a - 8 * b + 8 * c - d) / (12 * step) for a, b, c, d in sums]


def check_graph_derivatives(
    graph: Graph, args: list[np.ndarray], order: int, seed: int = 0, native: bool = True
) -> None:
    """Forward mode agrees with differences, reverse mode with forward mode, to the given order."""
    rng = np.random.default_rng(seed)
    wrt = [k for k, a in enumerate(args) if is_float(a.dtype)]
    ts = [rng.standard_normal(a.shape) if k in wrt else np.zeros_like(a) for k, a in enumerate(args)]
    expected = difference(graph, args, ts)
    forward = jvp_graph(graph, wrt, with_value=False)
    run = run_everywhere if native else interpret
    tangents = run(forward, *args, *(ts[k] for k in wrt))
    for t, e in zip(tangents, expected, strict=True):
        np.testing.assert_allclose(t, e, rtol=1e-6, atol=1e-6)
    gs = [rng.standard_normal(t.shape) for t in tangents]
    reverse = vjp_graph(graph, wrt, seed="param")
    inputs = [*args, *gs]
    cotangents = run(reverse, *inputs)[-len(wrt) :]
    left = sum(np.vdot(g, t) for g, t in zip(gs, tangents, strict=True))
    right = sum(np.vdot(c, ts[k]) for c, k in zip(cotangents, wrt, strict=True))
    np.testing.assert_allclose(right, left, rtol=1e-8, atol=1e-8)
    if order > 1:
        check_graph_derivatives(reverse, inputs, order - 1, seed + 1, native)


def check_derivatives(name: str, sample: Sample, order: int = 2) -> None:
    """Both modes of an op, to second order."""
    check_graph_derivatives(graph_of(name, sample.args, sample.attrs), list(sample.args), order, native=False)
