"""Which reversed region belongs to which."""

from __future__ import annotations

from typing import NamedTuple

from jitgrad.ir.core import Block, Op, Value


class Link(NamedTuple):
    """The reversed region of a region of ``op``. ``index`` is the index of the reversed loop (None for a branch)."""

    op: Op
    forward: Block
    backward: Block
    index: Value | None


#: The links by reversed region.
Links = dict[Block, Link]
