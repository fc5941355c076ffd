"""What LLVM is told of a loop beyond its instructions; and loops of which it is told to leave them as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from llvmlite import ir
from llvmlite.ir.values import MDValue

from jitgrad.codegen.llvm_scalar import I1, I32, I64


class _Distinct(MDValue):
    """A metadata node that is equal to itself only."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, (), name=str(len(module.metadata)))

    def descr(self, buf: Any) -> None:
        buf += (f"distinct !{{ {', '.join(operand.get_reference() for operand in self.operands)} }}", "\n")

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)


#: What is said of a loop: makes the parts of a metadata node in a module (LLVM Language Reference, ``llvm.loop``).
Hint = Callable[[ir.Module], Sequence[Any]]


def parallel_accesses(blocks: Iterable[ir.Block]) -> Hint:
    """No iteration depends on another one through memory. ``blocks`` are those of the loop."""

    def parts(module: ir.Module) -> Sequence[Any]:
        group = _Distinct(module)
        for block in blocks:
            for instruction in block.instructions:
                if instruction.opname in ("load", "store"):
                    instruction.set_metadata("llvm.access.group", group)
        return ir.MetaDataString(module, "llvm.loop.parallel_accesses"), group

    return parts


def keep_rolled(module: ir.Module) -> Sequence[Any]:
    """The loop is not unrolled."""
    return (ir.MetaDataString(module, "llvm.loop.unroll.disable"),)


def not_vectorised(module: ir.Module) -> Sequence[Any]:
    """The loop stays one iteration at a time."""
    return (ir.MetaDataString(module, "llvm.loop.vectorize.enable"), I1(0))


def interleaved(count: int) -> Hint:
    """So many vectors of iterations are computed at once."""
    return lambda module: (ir.MetaDataString(module, "llvm.loop.interleave.count"), I32(count))


def in_lanes(count: int) -> Hint:
    """So many iterations are a vector, whatever LLVM takes that to cost."""
    return lambda module: (ir.MetaDataString(module, "llvm.loop.vectorize.width"), I32(count))


def describe(branch: Any, hints: Sequence[Hint]) -> None:
    """Tell LLVM of a loop, given the branch back to its start."""
    if not hints:
        return
    module = branch.function.module
    loop = _Distinct(module)
    loop.operands = (loop, *(module.add_metadata(list(hint(module))) for hint in hints))
    branch.set_metadata("llvm.loop", loop)


@contextlib.contextmanager
def loop(b: Any, start: Any, stop: Any, step: int = 1) -> Iterator[Any]:
    """``for i in range(start, stop, step)``. LLVM is told to leave it as it is: it has vectors already."""
    before = b.block
    head, body, done = (b.append_basic_block(name) for name in ("for", "body", "done"))
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(I64)
    i.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", i, stop), body, done)
    b.position_at_end(body)
    yield i
    i.add_incoming(b.add(i, I64(step)), b.block)
    describe(b.branch(head), (keep_rolled, _keep_scalar))
    b.position_at_end(done)


def _keep_scalar(module: ir.Module) -> Sequence[Any]:
    return ir.MetaDataString(module, "llvm.loop.vectorize.width"), I32(1)
