"""What LLVM is told of a loop beyond its instructions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from llvmlite.ir.values import MDValue


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


def mark_parallel(branch: Any, blocks: Iterable[ir.Block]) -> None:
    """Say of a loop, given the branch back to its start and its blocks, that no iteration depends on another one
    through memory (``llvm.loop.parallel_accesses``, LLVM Language Reference)."""
    module = branch.function.module
    group = _Distinct(module)
    for block in blocks:
        for instruction in block.instructions:
            if instruction.opname in ("load", "store"):
                instruction.set_metadata("llvm.access.group", group)
    _describe(branch, "llvm.loop.parallel_accesses", group)


def keep_rolled(branch: Any) -> None:
    """Say of a loop, given the branch back to its start, that it is not unrolled (``llvm.loop.unroll.disable``)."""
    _describe(branch, "llvm.loop.unroll.disable")


def _describe(branch: Any, what: str, *more: Any) -> None:
    module = branch.function.module
    loop = _Distinct(module)
    loop.operands = (loop, module.add_metadata([ir.MetaDataString(module, what), *more]))
    branch.set_metadata("llvm.loop", loop)
