"""The steps of a program on a device."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from jitgrad.cuda.teams import MOST_THREADS, WARP, static_trips
from jitgrad.ir.index import Sym
from jitgrad.loopir.nodes import Block, Buffer, LibCall, Loop, Stmt
from jitgrad.loopir.walk import buffers_of

#: The number of a team in its block.
TEAM = Sym("warp", 0, MOST_THREADS // WARP - 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Launch:
    """One kernel and its grid. The rows are the iterations of ``rows``, a perfect nest of independent loops whose
    bounds are numbers (none: there is one row). ``team`` threads run ``body`` for each; a block has ``block``. With
    ``lanes`` above 1 a thread runs that many neighbouring rows (see ``vectors``). ``unit`` is what rows are called.

    Arrays of kind ``"shared"`` are a team's own. Where a block has several teams, :data:`TEAM` indexes their parts."""

    name: str
    rows: tuple[Loop, ...]
    body: tuple[Stmt, ...]
    team: int
    block: int
    lanes: int = 1
    unit: str = "rows"

    @property
    def shared(self) -> list[Buffer]:
        """The arrays in shared memory."""
        return [t for t in buffers_of(Block(self.body)) if t.kind == "shared"]

    @property
    def count(self) -> int:
        """The number of rows; with lanes, of groups of rows."""
        return row_count(self.rows) // self.lanes

    @property
    def grid(self) -> int:
        """The number of blocks."""
        return -(-self.count // (self.block // self.team))

    def describe(self) -> str:
        """The grid, and what its threads do, in words."""
        if self.grid == self.block == 1:
            return "one thread"
        threads = f"{self.grid} {'block' if self.grid == 1 else 'blocks'} of {self.block} threads"
        if not self.rows:
            return f"{threads}, all together"
        rows = " x ".join(str(static_trips(s)) for s in self.rows)
        team = {1: "a thread", WARP: "a warp"}.get(self.team, "a block")
        return f"{threads}: {rows} {self.unit}, {f'a thread for {self.lanes}' if self.lanes > 1 else f'{team} each'}"


@dataclasses.dataclass(frozen=True, eq=False)
class Repeat:
    """Steps that run once for each value of the variable of a loop; kernels take it as a parameter."""

    loop: Loop
    steps: tuple[Step, ...]


Step = Launch | LibCall | Repeat


def body_of(s: Step) -> tuple[Stmt, ...]:
    """What a step does, as statements."""
    if isinstance(s, Launch):
        return s.body
    if isinstance(s, LibCall):
        return (s,)
    return (Loop(s.loop.var, s.loop.lo, s.loop.hi, tuple(x for step in s.steps for x in body_of(step)), s.loop.step),)


def mapped(steps: Sequence[Step], change: Callable[[Launch], Launch]) -> tuple[Step, ...]:
    """The steps with each launch changed."""

    def one(s: Step) -> Step:
        if isinstance(s, Repeat):
            return Repeat(s.loop, mapped(s.steps, change))
        return change(s) if isinstance(s, Launch) else s

    return tuple(map(one, steps))


def row_count(rows: Sequence[Loop]) -> int:
    """The number of rows of a perfect nest."""
    return math.prod(static_trips(s) or 0 for s in rows)
