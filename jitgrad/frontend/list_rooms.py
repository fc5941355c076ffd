"""The rooms of lists that grow in recorded code (see ``growing``): arrays that are made before a loop, with what a list
holds by then, and of which a list gets its items again behind it."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

from jitgrad.errors import RollError
from jitgrad.frontend.copied_items import Copy, Source
from jitgrad.frontend.growing import Growing, new_room
from jitgrad.frontend.grown_arrays import GrownArray
from jitgrad.frontend.items import element, nested
from jitgrad.frontend.primitives import cast, strong
from jitgrad.frontend.references import other_references
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.frontend.views import view_slice
from jitgrad.ir.index import Dim
from jitgrad.ir.location import user_location


def furnished(trace: Trace, g: Growing, value: Any, capacity: Dim) -> list[Tracer]:
    """The rooms of a list, with the items that it has."""
    assert g.item is not None
    had, first = g.size, g.first
    if type(g) is GrownArray:
        columns = [g.in_room(strong(trace.lift(value)))]
    elif isinstance(value, Growing):
        columns = [Tracer(trace, view_slice(r, 0, *value.span).value) for r in value.rooms]
    elif g.item.depth:
        columns = [strong(trace.lift(value))]
    else:
        columns = [strong(trace.lift(list(c))) for c in zip(*map(g.item.leaves_of, value), strict=True)]
    rooms = []
    for k, leaf in enumerate(g.item.leaves):
        if had != 0:
            column = cast(columns[k], leaf.type.dtype)
            if had == capacity:
                rooms.append(Tracer(trace, trace.own(column)))
                rooms[-1].boxed = True
                continue
        rooms.append(new_room(trace, capacity, leaf))
        if had != 0:
            view_slice(rooms[-1], 0, first, had).store(column)
    return rooms


def fill(trace: Trace, target: list[Any], g: Growing, copied: Sequence[Source]) -> None:
    """Give a list its items, as elements of the rooms. ``copied`` are arrays of which some of them are copies."""
    if g.item is None or (not g.touched and not g.rewritten):
        return
    if trace.scopes:
        trace.scopes[-1].note_change(target)
    item, count = g.item, g.size
    assert isinstance(count, int)
    if not isinstance(g.first, int) or not isinstance(g.count, int):
        g.rooms = [Tracer(trace, view_slice(r, 0, *g.span).value) for r in g.rooms]
        g.first, g.count = 0, count
    start = g.first
    rooms = g.rooms
    if copied:
        rooms = [r if x.scalar else Copy(trace, r, copied) for r, x in zip(g.rooms, item.leaves, strict=True)]

    def made(k: int) -> Any:
        if item.depth:
            return nested(element(g.rooms[0], start + k, scalar=False), item.leaves[0].weak, item.depth)
        pairs = zip(rooms, item.leaves, strict=True)
        return item.made([element(r, start + k, scalar=x.scalar, weak=x.weak) for r, x in pairs])

    if isinstance(target, collections.deque):
        items = [made(k) for k in range(count)]
        target.clear()
        target.extend(items)
        return
    first = 0 if g.rewritten else len(target)
    rows = target[:count] if item.depth and g.rewritten else []
    if g.moved:  # others than they were: nobody may know them by another name
        if any(n > 0 for n in other_references(trace, rows)):
            raise RollError("it replaces a row of a table that has another name.", user_location())
        rows = []
    target[first:] = [made(k) for k in range(first, count)]
    for k, row in enumerate(rows):  # they are the lists that they were
        _refill(trace, row, target[k])
        target[k] = row


def _refill(trace: Trace, row: list[Any], items: list[Any]) -> None:
    if trace.scopes:
        trace.scopes[-1].note_change(row)
    for k, (old, new) in enumerate(zip(row, items, strict=True)):
        if type(old) is list:
            _refill(trace, old, new)
        else:
            row[k] = new
