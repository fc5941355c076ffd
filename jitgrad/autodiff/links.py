"""Which reversed region belongs to which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from jitgrad.ir.core import Block, Op, Value


def inner_values(block: Block) -> Iterator[Value]:
    """Every value that a block defines, in its regions too."""
    yield from block.params
    for op in block.ops:
        yield from op.results
        for region in op.regions:
            yield from inner_values(region)


class Link(NamedTuple):
    """The reversed region of a region of ``op``. ``index`` is the index of the reversed loop (None for a branch)."""

    op: Op
    forward: Block
    backward: Block
    index: Value | None


#: The links by reversed region.
Links = dict[Block, Link]
