"""What lists whose length only the run tells do like others: ``reverse``, ``sort``, ``+``, ``copy``, ``index``, ...

In the loop that makes a list longer these are not followed; behind it the list has other rooms from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad.errors import RollError
from jitgrad.frontend.assign import write_box
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.copied_items import Source, all_sources, refuse_changed, with_sources
from jitgrad.frontend.indexing import as_value, slice_extent
from jitgrad.frontend.items import as_array
from jitgrad.frontend.list_items import LEAF, Item, described
from jitgrad.frontend.primitives import cast, concatenate, iota, strong
from jitgrad.frontend.raising import demand
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.frontend.signature import flatten
from jitgrad.frontend.tracer import Collection, Tracer, extent, has_traced
from jitgrad.frontend.views import view_slice
from jitgrad.ir.index import add
from jitgrad.ir.location import user_location

if TYPE_CHECKING:
    from jitgrad.frontend.growing import Growing


def refused() -> RollError:
    return RollError("it uses a list that it changes in a way that needs the list itself.", user_location())


def _plain_columns(xs: Growing) -> list[Tracer]:
    """The arrays of what the items consist of, which are no rows and no objects."""
    if xs.item is None or xs.item.depth or xs.item.of_objects or xs.item.same or xs.item.holds_containers:
        raise refused()
    return xs.columns()[1]


def of_columns(like: Growing, item: Item, columns: Sequence[Tracer], sources: Sequence[Source] = ()) -> Growing:
    """A new list. Arrays in it are copies, so they can't be changed: of those that ``like`` has, and of ``sources``."""
    trace = like.trace
    found = type(like)(trace, item, columns[0].dims[0])
    found.rooms = [_room(trace, c) for c in columns]
    found.home = trace.scope
    found.copies = not all(leaf.scalar for leaf in item.leaves)
    found.sources = all_sources(like.sources, sources)
    return found


def _room(trace: Any, column: Tracer) -> Tracer:
    room = Tracer(trace, trace.own(strong(column)))
    room.boxed = True
    return room


def copied(xs: Growing) -> Any:
    """``xs.copy()``."""
    return [] if xs.item is None else of_columns(xs, xs.item, _plain_columns(xs))  # pyright: ignore[reportArgumentType]


def joined(first: Any, second: Any) -> Any:
    """``first + second``; one of them at least is such a list."""
    like: Any = first if isinstance(first, Collection) else second
    parts = [_of_any(like, part) for part in (first, second)]
    parts = [part for part in parts if part is not None]
    if not parts:
        return []
    item = parts[0][0]
    for other, _ in parts[1:]:
        item = item.joined(other)
    columns = [
        concatenate([cast(p, leaf.type.dtype) for p in pieces], 0)
        for leaf, *pieces in zip(item.leaves, *(columns for _, columns in parts), strict=True)
    ]
    sources: list[Source] = []
    for part in (first, second):
        if isinstance(part, Collection):
            sources = all_sources(sources, part.sources)  # pyright: ignore[reportAttributeAccessIssue]
        else:
            sources = with_sources(sources, [x for x in flatten(part)[0] if is_array(x)])
    return of_columns(like, item, columns, sources)


def _of_any(like: Growing, part: Any) -> tuple[Item, list[Tracer]] | None:
    """What the items of a list are, and its columns; None for an empty one."""
    if isinstance(part, Collection):
        return None if part.item is None else (part.item, _plain_columns(part))  # pyright: ignore
    if type(part) is not list:
        raise TypeError(f'can only concatenate list (not "{type(part).__name__}") to list')
    if not part:
        return None
    item, rows = None, []
    for value in part:
        found, leaves = described(like.trace, value)
        item = found if item is None else item.joined(found)
        rows.append(leaves)
    assert item is not None
    if item.depth or item.of_objects or item.same:
        raise refused()
    return item, [strong(like.trace.lift(list(column))) for column in zip(*rows, strict=True)]


def become(xs: Growing, other: Growing) -> None:
    """Let a list that no loop changes now have the items of another one."""
    if xs.scope is not None or xs.home is not xs.trace.scope or xs.whole is not None or xs.maxlen is not None:
        raise refused()
    xs._rewrite()
    xs.item, xs.rooms, xs.first, xs.count = other.item, other.rooms, 0, other.count
    xs.copies |= other.copies
    xs.sources = all_sources(xs.sources, other.sources)
    xs.touched = True


#: By so many items a deque is rotated whose length is not known.
_FEW = 16


def rotate(xs: Growing, n: Any = 1) -> None:
    """By a constant number of items. An empty deque whose length is not known is an IndexError."""
    if type(n) is not int or (abs(n) > _FEW and not isinstance(xs.size, int)):
        raise refused()
    for _ in range(abs(n) % max(xs.size, 1) if isinstance(xs.size, int) else abs(n)):
        if n > 0:
            xs.appendleft(xs.pop())
        else:
            xs.append(xs.pop(0))


def reverse(xs: Growing) -> None:
    if xs.item is not None:
        columns = _plain_columns(xs)
        size = columns[0].dims[0]
        places = extent(xs.trace, add(size, -1)) - iota(columns[0], (size,), 0)
        become(xs, of_columns(xs, xs.item, [column[places] for column in columns]))


def sort(xs: Growing, *, key: Any = None, reverse: bool = False) -> None:
    if xs.item is not None:
        places = HOOKS["sorted_places"](xs, key, reverse)
        become(xs, of_columns(xs, xs.item, [column[places] for column in _plain_columns(xs)]))


def extend_by_elements(xs: Growing, values: list[Any]) -> bool:
    """Append numbers that are elements of arrays at once; False where they are not, or few."""
    item = xs.item
    plain = item is None or (item.tree == LEAF and item.leaves[0].scalar and not item.depth)
    if not plain or xs.width or xs.maxlen is not None or xs.bursts or not has_traced(values):
        return False
    kinds = {x.weak if isinstance(x, Tracer) and not x.boxed else "" for x in values}
    column = as_array(xs.trace, values) if len(kinds) == 1 and "" not in kinds else None
    if column is None or column.ndim != 1 or column.dtype != values[0].dtype:
        return False
    xs._change_length()
    xs._accepted(values[0])
    size = len(values)
    if xs.window is None:
        box = xs._box(xs.rooms[0], xs.count, size)
        write_box("set", xs.rooms[0], box, cast(strong(column), xs._leaves[0].type.dtype))
    xs.count, xs.most = add(xs.count, size), add(xs.most, size)
    return True


def for_each(items: Any, use: Callable[[Any], object], lists: Callable[[], Any] = lambda: ((), (), ())) -> None:
    """``for x in items: use(x)``, recorded; ``lists`` as of any loop."""

    def body(x: Any) -> tuple[()]:
        use(x)
        return ()

    HOOKS["runtime"]().for_(items, body, (), (), None, lambda: (), 0, 1, lists)


def equal(xs: Growing, value: Any) -> Tracer | None:
    """Which items equal a number, or a tuple of numbers; None where none can."""
    if xs.item is None:
        return None
    columns = _plain_columns(xs)
    leaves, tree = flatten(value)
    if tree != xs.item.tree:
        return None
    if not all(leaf.scalar for leaf in xs.item.leaves) or any(np.ndim(x) for x in leaves):
        raise refused()
    found: Any = True
    for column, x in zip(columns, leaves, strict=True):
        found = np.logical_and(found, column == x)
    return found


def index(xs: Growing, value: Any, *bounds: Any) -> Any:
    hits = equal(xs, value)
    if bounds or hits is None:
        raise refused()
    demand(np.any(hits), ValueError("a value is not in list"))  # pyright: ignore[reportArgumentType]
    return call(np.argmax, (hits,), {})


def part(xs: Growing, index: slice) -> Any:
    """A slice: a list where its length is known."""
    if xs.item is None:
        raise refused()
    if index == slice(None) and xs.scope is None and not xs.item.depth and xs.whole is None:
        return xs.copy()
    xs._need_all()
    refuse_changed(xs.sources)
    first, size, step = slice_extent(xs.trace, index, xs.shown)
    start = add(xs.first, first)
    if isinstance(size, int):
        return [xs._item_at(add(start, k * step)) for k in range(size)]
    found = type(xs)(xs.trace, xs.item, size, xs)
    found.sources = xs.sources
    if step != 1 or len(xs.rooms) != 1:
        columns, places = xs.columns()[1], index
        if step != 1:
            places = iota(columns[0], (size,), 0) * step + as_value(xs.trace, first)
        found.rooms = [HOOKS["getitem"](column, places) for column in columns]
    elif xs.item.depth:
        raise refused()
    else:
        found.rooms = [Tracer(xs.trace, view_slice(r, 0, start, size).value) for r in xs.rooms]
    return found
