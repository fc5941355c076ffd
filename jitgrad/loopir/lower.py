"""From the graph IR to Loop IR: a program for a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jitgrad.errors import CompilationError, UnsupportedError
from jitgrad.ir.core import Graph, Value
from jitgrad.ir.types import TensorType
from jitgrad.loopir.build import LoopBuilder, Tensor
from jitgrad.loopir.nodes import Block, Buffer, Program, Stmt
from jitgrad.loopir.regions import GraphLowering
from jitgrad.loopir.walk import with_lists


def lower(graph: Graph, notes: list[str] | None = None, donated: Mapping[int, int] | None = None) -> Program:
    """A program with one or more statements an op, and a buffer for every value that does not take over another's.

    Every result gets storage of its own: a result that is a parameter, a constant, or shares storage with another
    result is copied. Every copy of a whole array is put into ``notes`` with its reason.

    donated : by parameter, the result that is its new value: the parameter's storage is overwritten with that. The
        caller passes arrays that nothing else shares storage with.
    """
    donated = donated or {}
    b = LoopBuilder()
    lowering = GraphLowering(b)
    params = []
    for k, p in enumerate(graph.params):
        kind = "inout" if k in donated else "arg"
        buffer = Buffer(b.name_for(p.name or f"p{k}"), p.type.dtype, static_shape(p.type), kind)
        params.append(buffer)
        lowering.bind(p, Tensor(buffer))
    tensors = lowering.block(graph.block, {params[k] for k in donated})
    results = [t.buffer for t in tensors]
    returned = {r: params[p] for p, r in donated.items()}
    for k, (value, t) in enumerate(zip(graph.results, tensors, strict=True)):
        check_result(value)
        if k in returned:
            continue
        b.loc, b.hint = None, f"out{k}"
        if t.buffer.root in lowering.blank:
            t = b.pointwise(t.shape, t.dtype, lambda *_, t=t: b.const(0, t.dtype))
        elif t.buffer.root.kind != "temp" or t.buffer.root in lowering.pinned:
            b.keeps = lambda *_: "it is an argument, a constant or a result"
            t = b.copy(t)
        t.buffer.root.kind = "out"
        results[k] = t.buffer
    # Last, as other results may be computed from what the parameters were.
    lowering.move([Tensor(t) for t in returned.values()], [tensors[k] for k in returned])
    for k, t in returned.items():
        results[k] = t
    if notes is not None:
        notes.extend(b.notes)
    record = None if b.record is None else b.record.buffer
    return Program(graph.name, tuple(params), (*results, *(() if record is None else (record,))), b.body, record)


def static_shape(t: TensorType) -> tuple[int, ...]:
    """The shape as ints; symbolic extents occur inside the program only."""
    if not all(isinstance(d, int) for d in t.shape):
        raise CompilationError(f"a value of type {t} has an extent that is not known at compile time")
    return t.shape  # pyright: ignore[reportReturnType]


def check_result(value: Value) -> None:
    """Raise UnsupportedError for a result whose shape is known only when the program runs."""
    unknown = [str(d) for d in value.type.shape if not isinstance(d, int)]
    if unknown:
        raise UnsupportedError(
            f"a result of type {value.type} has an extent ({', '.join(unknown)}) that is traced. The arrays that a "
            "compiled program returns have one shape for all values of its arguments. Return an array with room for "
            "all, or make what the extent depends on static with jit(static_argnames=...).",
            None if value.op is None else value.op.loc,
        )


def with_body(program: Program, body: Any) -> Program:
    """The program with other statements."""
    return dataclasses.replace(program, body=tuple(body))


def with_loops(program: Program, replaced: Callable[[Stmt], list[Stmt] | None], notes: list[str], what: str) -> Program:
    """The program with the statements that ``replaced`` gives in the place of a statement, where it does not give None;
    how many were goes into ``notes``, after ``what``. What is inside a statement comes before it."""
    count = 0

    def inside(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        nonlocal count
        result: list[Stmt] = []
        changed = False
        for s in body:
            new = with_lists(s, inside)
            found = replaced(new)
            count += found is not None
            changed |= found is not None or new is not s
            result += [new] if found is None else found
        return tuple(result) if changed else body

    body = []
    for s in program.body:
        new = inside((s,))
        body.append(new[0] if len(new) == 1 else Block(new))
    if not count:
        return program
    notes.append(f"{what}: {count}")
    return with_body(program, body)
