"""Runs a graph with NumPy, op by op, in the order in which the ops stand. The oracle for everything below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, IRError
from jitgrad.ir.core import Block, Graph, Op, OpDef, Value
from jitgrad.ir.generators import handle, is_generator
from jitgrad.ir.index import Dim, IndexExpr, Sym, as_sym, evaluate
from jitgrad.ir.types import TensorType, f32, is_short

#: What is known while a block runs: an array for each value, an int for each symbol of the types.
Env = tuple[dict[Value, np.ndarray], dict[Sym, int]]


def interpret(graph: Graph, *arrays: Any) -> tuple[np.ndarray, ...]:
    """The results of a graph for these arguments.

    Each argument must have exactly the dtype and shape of its parameter (ArgumentError otherwise); a generator of
    random numbers stands for its handle. Every op is
    evaluated by its ``eval`` with floating point warnings off, and what it returns is held against the type that the
    graph states (IRError: the op's ``eval`` and ``infer`` disagree). Results are fresh arrays.
    """
    if len(arrays) != len(graph.params):
        raise ArgumentError(
            f"graph {graph.name} takes {len(graph.params)} arrays, not {len(arrays)}. Each parameter needs one. "
            f"Pass an array for each of {', '.join(p.name or '?' for p in graph.params)}."
        )
    inputs = [np.asarray(handle(a) if is_generator(a) else a) for a in arrays]
    env: Env = ({}, {})
    with np.errstate(all="ignore"):
        for number, (param, array) in enumerate(zip(graph.params, inputs, strict=True)):
            _bind(param, array, env, f"argument {number} ({param.name or '?'}) of graph {graph.name}")
        results = _run(graph.block, env)
    return tuple(r.copy() for r in results)


def evaluate_op(opdef: OpDef, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> Any:
    """What an op evaluates to. One that computes takes float16 and bfloat16 operands as float32, and rounds its
    results of those dtypes once at its end."""
    run: Callable[..., Any] = opdef.eval  # pyright: ignore[reportAttributeAccessIssue]
    if not opdef.wide or not any(is_short(a.dtype) for a in arrays):
        return run(*arrays, **attrs)
    stated = opdef.infer(*(TensorType(a.dtype, a.shape) for a in arrays), **attrs)
    out = run(*(a.astype(f32) if is_short(a.dtype) else a for a in arrays), **attrs)
    if isinstance(stated, TensorType):
        return np.asarray(out).astype(stated.dtype, copy=False)
    return tuple(np.asarray(a).astype(t.dtype, copy=False) for a, t in zip(out, stated, strict=True))


def _bind(param: Value, array: np.ndarray, env: Env, what: str) -> None:
    """Give a parameter its array; symbols that stand alone as an extent are learned from the array's shape."""
    arrays, symbols = env
    if len(param.type.shape) == array.ndim:
        for d, n in zip(param.type.shape, array.shape, strict=True):
            symbol = as_sym(d)
            if symbol is not None and symbol not in symbols and not isinstance(symbol.payload, Value):
                symbols[symbol] = n
    if not _fits(array, param.type, env):
        raise ArgumentError(
            f"{what} is {array.dtype}{list(array.shape)}, but the parameter is {param.type}. A graph is made for fixed "
            "types. Convert the array with astype() and reshape(), or trace the function again."
        )
    arrays[param] = array


def _run(block: Block, env: Env) -> tuple[np.ndarray, ...]:
    for op in block.ops:
        _step(op, env)
    return tuple(env[0][r] for r in block.results)


def _step(op: Op, env: Env) -> None:
    arrays = env[0]
    operands = [arrays[v] for v in op.operands]
    attrs = {k: _concrete(v, env) for k, v in op.attrs.items()}
    if op.regions:
        attrs["regions"] = tuple(_callable(region, env) for region in op.regions)
    out = evaluate_op(op.opdef, operands, attrs)
    outs = out if isinstance(out, tuple) else (out,)
    if len(outs) != len(op.results):
        raise IRError(f"{op.name} evaluates to {len(outs)} arrays but has {len(op.results)} results", op.loc)
    for value, item in zip(op.results, outs, strict=True):
        array = np.asarray(item)
        if not _fits(array, value.type, env):
            raise IRError(
                f"{op.name} evaluates to {array.dtype}{list(array.shape)} where its type is {value.type}. Its eval and "
                "infer disagree. Correct one of them.",
                op.loc,
            )
        arrays[value] = array


def _callable(block: Block, env: Env) -> Callable[..., tuple[np.ndarray, ...]]:
    """A region as a function of arrays, which sees the values around it."""

    def run(*args: Any) -> tuple[np.ndarray, ...]:
        inner: Env = (dict(env[0]), dict(env[1]))
        for param, array in zip(block.params, args, strict=True):
            _bind(param, np.asarray(array), inner, f"block parameter {param.name or '?'}")
        return _run(block, inner)

    return run


def _fits(array: np.ndarray, type: TensorType, env: Env) -> bool:
    if array.dtype != type.dtype or array.ndim != len(type.shape):
        return False
    return all(_extent(d, env) == n for d, n in zip(type.shape, array.shape, strict=True))


def _extent(d: Dim, env: Env) -> int:
    if not isinstance(d, IndexExpr):
        return d
    arrays, symbols = env
    bound: Mapping[Sym, int] = {
        s: int(arrays[s.payload]) if isinstance(s.payload, Value) else symbols[s]
        for s in d.syms()
        if s in symbols or (isinstance(s.payload, Value) and s.payload in arrays)
    }
    return evaluate(d, bound)


def _concrete(attr: Any, env: Env) -> Any:
    """An attribute with its index expressions evaluated."""
    if isinstance(attr, IndexExpr):
        return _extent(attr, env)
    if isinstance(attr, tuple) and _has_index(attr):
        return tuple(_concrete(a, env) for a in attr)
    return attr


def _has_index(items: Sequence[Any]) -> bool:
    return any(isinstance(a, IndexExpr) or (isinstance(a, tuple) and _has_index(a)) for a in items)
