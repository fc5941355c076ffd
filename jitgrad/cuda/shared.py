"""Temporaries in shared memory: what one team alone writes and reads within one launch, as far as a block has room.

A team has one row. Of an array that all rows index by their number first it touches its own part only; where there is
one row, the whole array is its own. Shared memory is gone when the launch ends, and garbage when it begins: so an array
qualifies that no other step touches, and in a sequence of launches one that each launch fills before it reads it.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from jitgrad.cuda.steps import TEAM, Launch, Repeat, Step, body_of
from jitgrad.ir.index import Dim, expr
from jitgrad.loopir.nodes import Block, Buffer, Store
from jitgrad.loopir.private import own
from jitgrad.loopir.substitute import Place, with_accesses
from jitgrad.loopir.walk import buffers_of, loads, statements

#: Bytes of the arrays of a block. It can have 48 KB without asking for more, of which sums over it need a part.
BYTES = 40 << 10


def with_shared(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with temporaries of teams in shared memory."""
    return _placed(steps, _users(steps), repeated=False)


def _users(steps: Sequence[Step]) -> Counter[Buffer]:
    """How many launches and library calls touch a root."""
    found: Counter[Buffer] = Counter()
    for s in steps:
        found.update(_users(s.steps) if isinstance(s, Repeat) else buffers_of(Block(body_of(s))))
    return found


def _placed(steps: Sequence[Step], users: Mapping[Buffer, int], *, repeated: bool) -> tuple[Step, ...]:
    result: list[Step] = []
    for s in steps:
        if isinstance(s, Repeat):
            s = Repeat(s.loop, _placed(s.steps, users, repeated=True))
        elif isinstance(s, Launch) and s.team > 1:
            s = _launch(s, [t for t in buffers_of(Block(s.body)) if users[t] == 1], repeated)
        result.append(s)
    return tuple(result)


def _launch(s: Launch, candidates: Sequence[Buffer], repeated: bool) -> Launch:
    """A launch with those of the arrays in shared memory that are its teams' own, as long as there is room."""
    room = BYTES - sum(t.nbytes for t in s.shared)
    for t in candidates:
        part = _part(s, t)
        if part is None:
            continue
        teams = s.block // s.team
        nbytes = teams * math.prod(part) * t.dtype.itemsize
        if nbytes > room or (repeated and not _filled(s, t, part)):
            continue
        s, room = _moved(s, t, Buffer(t.name, t.dtype, (teams, *part) if teams > 1 else part, "shared")), room - nbytes
    return s


def _part(s: Launch, root: Buffer) -> tuple[int, ...] | None:
    """The shape of what one team touches of an array; None if that is not a part of its own."""
    if root.kind != "temp" or not root.is_static:
        return None
    n = len(s.rows)
    found = [x for x in statements(s.body) if isinstance(x, Store)]
    places = [(x.buffer, x.index) for x in (*found, *loads(s.body)) if x.buffer.root is root]
    first = places[0][1][:n]
    if set(first) != {expr(x.var) for x in s.rows}:
        return None
    alike = all(index[:n] == first and t.shape[:n] == root.shape[:n] and t.dtype == root.dtype for t, index in places)
    return root.static_shape[n:] if alike else None


def _filled(s: Launch, root: Buffer, part: tuple[int, ...]) -> bool:
    """Whether a team fills its part of an array before it reads it."""
    alone = Buffer(root.name, root.dtype, part, "shared")
    return own(alone, _moved(s, root, alone).body)


def _moved(s: Launch, root: Buffer, shared: Buffer) -> Launch:
    """A launch with a shared array in the place of another one. It has a part for each team of a block, or is one."""
    n = len(s.rows)
    new = {root: shared}
    several = len(shared.shape) > len(root.shape) - n
    teams, first = (shared.shape[:1], (expr(TEAM),)) if several else ((), ())

    def place(t: Buffer, index: tuple[Dim, ...]) -> Place | None:
        if t.root is not root:
            return None
        if t not in new:
            new[t] = Buffer(t.name, t.dtype, (*teams, *t.shape[n:]), "shared", base=shared)
        return new[t], (*first, *index[n:])

    return dataclasses.replace(s, body=tuple(with_accesses(x, place) for x in s.body))
