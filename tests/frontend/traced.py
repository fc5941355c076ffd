"""Runs a function traced and in plain NumPy, and compares value, dtype and shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import jitgrad.frontend  # noqa: F401  # fills the tables
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.core import Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.types import TensorType, type_of


def leaves(result: Any) -> list[Any]:
    """The arrays and numbers of a result."""
    if isinstance(result, (tuple, list)):
        return [leaf for r in result for leaf in leaves(r)]
    return [result]


def trace(f: Callable[..., Any], *args: Any) -> tuple[Graph, Any]:
    """The graph of a function, and what the function returned."""
    t = Trace(getattr(f, "__name__", "f"))
    tracers = []
    for k, a in enumerate(args):
        weak = type(a).__name__ if type(a) in (bool, int, float) else None
        tracers.append(t.param(type_of(a), f"x{k}", weak))
    result = f(*tracers)
    return t.finish(leaves(result)), result


def check(f: Callable[..., Any], *args: Any, rtol: float | None = None) -> None:
    """The traced function, interpreted, agrees with NumPy; Python scalars stay Python scalars."""
    with np.errstate(all="ignore"):
        expected = leaves(f(*args))
    graph, result = trace(f, *args)
    got = interpret(graph, *(np.asarray(a) for a in args))
    assert len(got) == len(expected)
    for g, e, r in zip(got, expected, leaves(result), strict=True):
        e_array = np.asarray(e)
        assert g.dtype == e_array.dtype, f"{g.dtype}, not {e_array.dtype}"
        assert g.shape == e_array.shape, f"{g.shape}, not {e_array.shape}"
        if isinstance(r, Tracer):
            assert r.weak == (type(e).__name__ if type(e) in (bool, int, float) else None)
        default, atol = {2: (1e-3, 1e-3), 4: (1e-5, 1e-6)}.get(e_array.dtype.itemsize, (1e-12, 1e-12))
        if e_array.dtype.kind != "f":
            default = atol = 0
        np.testing.assert_allclose(g, e_array, rtol=default if rtol is None else rtol, atol=atol)


def params(*types: TensorType) -> tuple[Trace, list[Tracer]]:
    """A trace with parameters of these types."""
    t = Trace("f")
    return t, [t.param(ty, f"x{k}") for k, ty in enumerate(types)]
