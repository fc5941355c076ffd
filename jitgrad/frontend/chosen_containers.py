"""Lists and dicts of which it is not known, while a function is traced, which of several they are.

``c = a if t else b`` makes ``c`` another name of ``a`` or of ``b``. Behind a recorded branch or loop a new list takes
its place, which has what it holds. It can be read; but a change of it, or of one that it may be, would have to be seen
by the other names. Where all ways through the code lead to one and the same list, that is what it stays.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from jitgrad.errors import MutationError
from jitgrad.frontend.fixed import is_cell, refuse_fixed
from jitgrad.frontend.objects import held_by
from jitgrad.frontend.references import other_references
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection
from jitgrad.ir.location import user_location

#: From so many containers on, those that are gone are left out.
_MANY = 64


def note_choice(trace: Trace, value: Any, containers: Sequence[Any]) -> None:
    """Take note that a value is what one of some containers held when it was chosen."""
    if not containers:
        return
    if len(trace.alternatives) >= _MANY:  # leave out those that nothing refers to
        trace.alternatives = [x for x in trace.alternatives if other_references(trace, list(x))[0] >= 0]
    of_these = (known[1:] for known in trace.alternatives if any(known[0] is x for x in containers))
    trace.alternatives.append((value, *containers, *itertools.chain.from_iterable(of_these)))


def note_copies(trace: Trace, source: Any, items: Sequence[Any]) -> None:
    """Take note that objects of the list ``source`` which can still be reached are copies of some of its items, as the
    loop that has read or appended them is left."""
    copies = [one.obj for one in trace.scope.fixed.values() if one.source is source]
    alive = [x for x, n in zip(copies, other_references(trace, copies), strict=True) if n >= 0]
    for x in alive:
        note_choice(trace, x, cells_in(items))


class _Chosen(NamedTuple):
    """Objects that were made of items of a list, each by a choice among them, and these items; by identity, with what
    they hold that can be changed."""

    made: dict[int, Any]
    items: dict[int, Any]
    parts: tuple[frozenset[int], frozenset[int]]


def note_chosen(trace: Trace, made: Sequence[Any], items: Sequence[Any]) -> None:
    """Take note of what ``sorted``, ``min`` and ``max`` choose by traced values among some items: it holds what they
    held. A change of an object is refused then that can be reached by both."""
    if cells_in(made) and cells_in(items):
        trace.chosen_items.append(_Chosen(_by_identity(made), _by_identity(items), (_ids(made), _ids(items))))


def _by_identity(values: Sequence[Any]) -> dict[int, Any]:
    return {id(x): x for x in values if is_cell(x)}


def _ids(values: Sequence[Any]) -> frozenset[int]:
    return frozenset(map(id, cells_in(values)))


def cells_in(items: Sequence[Any]) -> list[Any]:
    """What can be changed in some items."""
    return [x for x in held_by(tuple(items)) if is_cell(x)]


def refuse_change(trace: Trace, container: Any) -> None:
    """Raise MutationError for a change of a list or dict that is one of several by another name, or of an
    object that has to stay as it is."""
    refuse_fixed(trace, container)
    for chosen in trace.chosen_items:
        others = [
            list(side.values())
            for parts, side in zip(chosen.parts, (chosen.items, chosen.made), strict=True)
            if id(container) in parts
        ]
        if any(n >= 0 for side in others for n in other_references(trace, side)):
            raise _several(container)
    refuse_several(trace, container)


def refuse_several(trace: Trace, container: Any) -> None:
    """Raise MutationError for a change of what is one of several by another name."""
    for known in trace.alternatives:
        if not any(container is x for x in known):
            continue
        seen = other_references(trace, list(known))
        if seen[0] >= 0 and any(n >= 0 for n in seen[1:]):
            raise _several(container)
    if not isinstance(container, Collection):
        return
    mine = [x for known in trace.alternatives if known[0] is container for x in known[1:]]
    for known in trace.alternatives if mine else ():  # two of unknown length may be one and the same
        alike = (
            known[0] is not container
            and isinstance(known[0], Collection)
            and any(x is y for x in known[1:] for y in mine)
        )
        if alike and other_references(trace, [known[0]])[0] >= 0:
            raise _several(container)


def _several(container: Any) -> MutationError:
    kind = "list" if isinstance(container, list) else type(container).__name__
    return MutationError(
        f"a {kind} is changed that has another name perhaps: a traced condition, or a "
        "recorded loop, has chosen one of several for that name. Which one is not known while the function is "
        "traced. Copy it when it is chosen: list(a), a.copy().",
        user_location(),
    )
