"""From the graph IR to Loop IR: every op's ``lower`` under one builder."""

from __future__ import annotations

import dataclasses
from typing import Any

from jitgrad.errors import CompilationError
from jitgrad.ir.core import Graph, Value
from jitgrad.ir.types import TensorType
from jitgrad.loopir.build import LoopBuilder, Tensor
from jitgrad.loopir.nodes import Buffer, Program


def lower(graph: Graph) -> Program:
    """A program with one or more top-level statements an op, and a buffer for every value.

    Every result gets storage of its own: a result that is a parameter, a constant, or shares storage with another
    result is copied.
    """
    b = LoopBuilder()
    env: dict[Value, Tensor] = {}
    params = []
    for k, p in enumerate(graph.params):
        buffer = Buffer(b.name_for(p.name or f"p{k}"), p.type.dtype, static_shape(p.type), "arg")
        params.append(buffer)
        env[p] = Tensor(buffer)
    for op in graph.ops:
        b.loc = op.loc
        b.hint = op.results[0].name
        with b.kernel():
            lowered: Any = op.opdef.lower(b, *(env[v] for v in op.operands), **op.attrs)  # pyright: ignore[reportAttributeAccessIssue]
        tensors = lowered if isinstance(lowered, tuple) else (lowered,)
        for r, t in zip(op.results, tensors, strict=True):
            if t.shape != static_shape(r.type) or t.dtype != r.type.dtype:
                raise CompilationError(f"{op.name} was lowered to {t.buffer!r}, but its type is {r.type}", op.loc)
            env[r] = t
    results = []
    for k, value in enumerate(graph.results):
        t = env[value]
        if t.buffer.root.kind != "temp":
            b.loc, b.hint = None, f"out{k}"
            t = b.copy(t)
        t.buffer.root.kind = "out"
        results.append(t.buffer)
    return Program(graph.name, tuple(params), tuple(results), b.body)


def static_shape(t: TensorType) -> tuple[int, ...]:
    """The shape as ints; symbolic extents occur inside loops only."""
    if not all(isinstance(d, int) for d in t.shape):
        raise CompilationError(f"a value of type {t} has an extent that is not known at compile time")
    return t.shape  # pyright: ignore[reportReturnType]


def with_body(program: Program, body: Any) -> Program:
    """The program with other statements."""
    return dataclasses.replace(program, body=tuple(body))
