"""Runs one op, or one of its rules, on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jitgrad import ops  # noqa: F401  (fills the table of ops)
from jitgrad.autodiff.jvp import jvp_graph
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.codegen import python
from jitgrad.ir.core import OPS, Builder, Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import type_of
from jitgrad.loopir.lower import lower
from jitgrad.ops.op import Cotangent, OpRule, Var


def graph_of(name: str, *args: np.ndarray, **attrs: Any) -> Graph:
    """A graph of one op."""
    b = Builder("one")
    params = [b.param(type_of(a), f"x{k}") for k, a in enumerate(args)]
    return b.build(b.emit(name, *params, **attrs))


def run_both(graph: Graph, *args: np.ndarray) -> tuple[np.ndarray, ...]:
    """The results by the interpreter, after a check that its Loop IR gives the same."""
    expected = interpret(graph, *args)
    found = python.run(lower(graph), *args)
    for e, f in zip(expected, found, strict=True):
        assert (e.dtype, e.shape) == (f.dtype, f.shape)
        np.testing.assert_allclose(f, e, rtol=1e-6 if e.dtype == np.float32 else 1e-12, atol=1e-12)
    return expected


def value(name: str, *args: Any, **attrs: Any) -> np.ndarray:
    """The op's result, by its ``eval`` and by its ``lower``."""
    arrays = [np.asarray(a) for a in args]
    (out,) = run_both(graph_of(name, *arrays, **attrs), *arrays)
    return out


def floats(args: Sequence[np.ndarray]) -> list[int]:
    return [k for k, a in enumerate(args) if a.dtype.kind == "f"]


def cotangents(name: str, g: Any, *args: Any, **attrs: Any) -> tuple[np.ndarray, ...]:
    """The cotangents of the float operands for the result's cotangent ``g``."""
    arrays = [np.asarray(a) for a in args]
    graph = vjp_graph(graph_of(name, *arrays, **attrs), floats(arrays), with_value=False, seed="param")
    return run_both(graph, *arrays, np.asarray(g))


def tangent(name: str, ts: Sequence[Any], *args: Any, **attrs: Any) -> np.ndarray:
    """The result's tangent for the float operands' tangents ``ts``."""
    arrays = [np.asarray(a) for a in args]
    graph = jvp_graph(graph_of(name, *arrays, **attrs), floats(arrays), with_value=False)
    return run_both(graph, *arrays, *map(np.asarray, ts))[0]


def jacobian(name: str, x: Any, **attrs: Any) -> np.ndarray:
    """The Jacobian of an op of one float operand, by reverse mode, after a check that forward mode gives the same."""
    x = np.asarray(x)
    graph = graph_of(name, x, **attrs)
    shape = graph.results[0].type.shape
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    reverse = np.array([cotangents(name, u, x, **attrs)[0] for u in units]).reshape(*shape, *x.shape)
    columns = [tangent(name, [u], x, **attrs) for u in np.eye(x.size).reshape(-1, *x.shape)]
    forward = np.moveaxis(np.array(columns), 0, -1).reshape(*shape, *x.shape)
    np.testing.assert_allclose(forward, reverse, rtol=1e-12, atol=1e-12)
    return reverse


def hessian_product(name: str, g: Any, t: Any, x: Any, **attrs: Any) -> np.ndarray:
    """The derivative, along ``t``, of the cotangent of a float operand: reverse mode over reverse mode, after a check
    that forward over reverse gives the same."""
    x, g, t = np.asarray(x), np.asarray(g), np.asarray(t)
    gradient = vjp_graph(graph_of(name, x, **attrs), [0], with_value=False, seed="param")
    (reverse,) = run_both(vjp_graph(gradient, [0], with_value=False, seed="param"), x, g, t)
    (forward,) = run_both(jvp_graph(gradient, [0], with_value=False), x, g, t)
    np.testing.assert_allclose(forward, reverse, rtol=1e-12, atol=1e-12)
    return reverse


def pull_back(
    name: str, g: Any, mask: Any, *args: Any, **attrs: Any
) -> list[tuple[np.ndarray, np.ndarray | None] | None]:
    """What the op's ``pullback`` gives for each operand: the cotangent and its mask."""
    arrays = [np.asarray(a) for a in args]
    b = Builder("pullback")
    xs = [Var(b, b.param(type_of(a))) for a in arrays]
    seed = Cotangent(*(Var(b, b.constant(a)) if a is not None else None for a in (g, mask)))
    rule = OPS[name]
    assert isinstance(rule, OpRule)
    out = Var(b, b.emit(name, *(x.value for x in xs), **attrs))
    found = rule.pullback(seed, out, *xs, **attrs)
    flat = [v.value for c in found if c is not None for v in c if v is not None]
    results = iter(run_both(b.build(*flat), *arrays))
    return [None if c is None else (next(results), None if c.mask is None else next(results)) for c in found]
