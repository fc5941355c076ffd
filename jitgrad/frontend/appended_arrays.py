"""Which other names the arrays have that an iteration of a recorded loop appends to lists (see ``growth``).

Behind the loop an item of a list is a part of its room, and what else stands for the array is another one. Where it is
known which item that is, a variable stands for it; elsewhere it can be read, but not be changed, nor be used once the
room has changed (``chosen``)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence, Set
from types import CellType
from typing import Any

import numpy as np
import optree

from jitgrad.errors import RollError
from jitgrad.frontend.carries import UNBOUND, is_array
from jitgrad.frontend.chosen import Chosen, origins
from jitgrad.frontend.copied_items import Copy, Source, all_sources, with_sources
from jitgrad.frontend.fixed import fixed, objects_in
from jitgrad.frontend.objects import attributes, flatten_opened, held_by, put
from jitgrad.frontend.opening import opens, why_closed
from jitgrad.frontend.references import other_references
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer
from jitgrad.frontend.views import share_memory
from jitgrad.ir.core import Value
from jitgrad.ir.location import user_location


def arrays_in(value: Any) -> list[Tracer]:
    """The traced arrays that a value is, or holds."""
    if isinstance(value, Tracer):
        return [value] if is_array(value) and not isinstance(value, Collection) else []
    if value is UNBOUND or isinstance(value, (Collection, int, float, np.ndarray)):
        return []
    return [x for x in flatten_opened(value)[0] if is_array(x) and not isinstance(x, Collection)]


def refuse_named(trace: Trace, items: Sequence[Any]) -> None:
    """Raise RollError for a list that stays in its room, and has objects before the loop whose arrays have other names:
    the room has copies of these."""
    found = [x for item in items for one in objects_in(item) for x in (one, *arrays_in(one))]
    if any(is_array(x) for x in found) and any(n > 0 for n in other_references(trace, found)):
        raise RollError("a list of unknown length has objects whose arrays have other names.", user_location())


def refuse_twice(appended: Sequence[Tracer]) -> None:
    """Raise RollError where two of the arrays that an iteration appends are one, or share elements."""
    if any(share_memory(a, b) for a, b in itertools.combinations(appended, 2)):
        raise RollError("it appends an array twice, or to two lists.", user_location())


def other_names(
    trace: Trace, begun: Sequence[Any], state: Sequence[Any], appended: Sequence[tuple[Tracer, bool]], known: Set[int]
) -> dict[int, list[int]]:
    """The variables that hold arrays which this iteration or an earlier one has appended: the numbers of the leaves.
    ``begun`` are the variables at its start, ``state`` those at its end; ``appended`` says of each array whether an
    object holds it in the list. Of the variables ``known`` it is known which items they are behind the loop. Raises
    RollError for what holds such an array and can be changed itself."""
    if not appended:
        return {}
    roots = [(x.root, strict) for x, strict in appended]
    _refuse_from_before(trace, begun, state, [root for root, _ in roots])
    found: dict[int, list[int]] = {}
    names: set[int] = set()
    while True:
        before = len(names)
        for n, value in enumerate(state):
            if n in names:
                continue
            hits = [strict for x in arrays_in(value) for root, strict in roots if x.root is root]
            if hits:
                names.add(n)
                roots += [(x.root, any(hits)) for x in arrays_in(begun[n])]
        if len(names) == before:
            break
    for n in names:
        value = state[n]
        if fixed(trace, value) is not None:
            continue  # it is a copy of an item, or one
        strict = any(s for x in arrays_in(value) for root, s in roots if x.root is root)
        leaves, tree = flatten(value)
        if objects_in(value) or not _of_tuples(tree):
            if strict:
                raise RollError("it appends an array to a list that is held elsewhere too.", user_location())
            continue
        found[n] = [k for k, x in enumerate(leaves) if is_array(x) and any(x.root is root for root, _ in roots)]
    if any(n in found for n in names - known) and not opens():
        raise RollError(f"another variable holds an array that it appends, and {why_closed()}.", user_location())
    strict_roots = [root for root, strict in roots if strict]
    for owner, name, _ in trace.scope.changed if strict_roots else ():
        if fixed(trace, owner) is not None or type(owner) is CellType:
            continue
        values = list(held_by((owner,))) if name is None else [attributes(owner).get(name)]
        for value in values:
            if fixed(trace, value) is None and any(x.root is root for x in arrays_in(value) for root in strict_roots):
                raise RollError("it appends an array to a list that is held elsewhere too.", user_location())
    return found


def _refuse_from_before(trace: Trace, begun: Sequence[Any], state: Sequence[Any], appended: Sequence[Tracer]) -> None:
    """Raise RollError for an appended array that a variable has from the iteration before, where that lets the variable
    stand for an array which was there before the loop, or variables exchange it: then it is appended again later."""
    for start in appended:
        left, seen = [start], set[int]()
        while left:
            root = left.pop()
            if id(root) in seen:
                continue
            seen.add(id(root))
            for first, last in zip(begun, state, strict=False):
                if not any(x.root is root for x in arrays_in(first)):
                    continue
                before = [y for x in arrays_in(last) for y in origins(x)]
                left += before
                if any(y is start or (y.scope.open and y.scope is not trace.scope) for y in before):
                    raise RollError("it appends an array to a list that is made before.", user_location())


def _of_tuples(tree: optree.PyTreeSpec) -> bool:
    if tree.is_leaf():
        return True
    return tree.type is tuple and all(map(_of_tuples, optree.treespec_children(tree)))


def as_names(trace: Trace, value: Any, places: Sequence[int], rooms: Sequence[Tracer]) -> Any:
    """The value behind the loop, of which these leaves may be parts of the rooms."""
    leaves, tree = flatten(value)
    changed = {k: _name(trace, leaves[k], rooms) for k in places if k < len(leaves) and is_array(leaves[k])}
    return unflatten(tree, [changed.get(k, x) for k, x in enumerate(leaves)]) if changed else value


def close_copies(trace: Trace, source: Any, rooms: Sequence[Tracer]) -> None:
    """Let the arrays of objects that are copies of items of the list ``source`` be names of parts of its rooms."""
    copies = [one.obj for one in trace.scope.fixed.values() if one.source is source]
    for x, n in zip(copies, other_references(trace, copies), strict=True):
        for name, value in attributes(x).items() if n >= 0 else ():
            if is_array(value) and not isinstance(value, Collection) and type(value) is not Chosen:
                put(x, name, _name(trace, value, rooms))


def _name(trace: Trace, array: Tracer, rooms: Sequence[Tracer]) -> Tracer:
    if any(array.root is room.root for room in rooms):
        return array  # a part of one that is known
    own = Tracer(trace, array.value)
    own.boxed = True
    return Chosen(trace, own.value, [own, *rooms])


def chosen_leaves(trace: Trace, value: Any) -> list[int]:
    """The leaves that are arrays which the iteration has put into lists, as an inner loop or branch has left them."""
    if not arrays_in(value):
        return []
    roots = [x.root if is_array(x) else None for x in flatten(value)[0]]
    return [k for k, x in enumerate(roots) if type(x) is Chosen and all(s.scope is trace.scope for s in x.sources)]


def seen_arrays(trace: Trace, items: Sequence[Tracer]) -> list[Source]:
    """The arrays among some items of a list that have other names, or parts of them."""
    others = other_references(trace, items)
    return with_sources((), [x for x, n in zip(items, others, strict=True) if n > 0 or type(x) is not Tracer])


def refuse_written(g: Any, trace: Trace, first: int) -> None:
    """Raise RollError where an array that was appended is written again, or was made before the loop; but of one that
    no loop here writes the list may have copies."""
    for kept in g.kept[first:]:
        leaf, value, *_ = kept
        root = leaf.root
        if type(root) is Copy:
            _note_copies(g, root.of)
        inner = _scopes_inside(trace, g)
        inside = root.owner is trace and (not root.scope.open or any(root.scope is s for s in inner))
        if not inside or (root.scope.open and root.value is not value):
            if not _copies(g, trace, leaf, value):
                raise RollError("it appends an array to a list that is made before, or written again.", user_location())
            g.kept[:] = [other for other in g.kept if other is not kept]


def _scopes_inside(trace: Trace, g: Any) -> Sequence[Scope]:
    """The scopes of the loop that a list grows in, and in it."""
    first = next((k for k, s in enumerate(trace.scopes) if s is g.region), len(trace.scopes))
    return trace.scopes[first:]


def _copies(g: Any, trace: Trace, leaf: Tracer, value: Value) -> bool:
    """Can the list have a copy of a part of an array, which nobody changes?"""
    root = leaf.root
    plain = type(root) is Tracer and root.owner is trace and root.scope.open and leaf.scope.open
    if not plain or root.value is not value or (g.item is not None and g.item.of_objects):
        return False
    inner = _scopes_inside(trace, g) or trace.scopes  # what loops around it write is compared when the list is read
    if any(root in scope.written for scope in inner) or not opens():
        return False
    g.aliased = True
    _note_copies(g, with_sources((), [root]))
    return True


def _note_copies(g: Any, sources: Sequence[Source]) -> None:
    """Take note of arrays of which the loop has put copies into a list."""
    g.sources, g.copied = all_sources(g.sources, sources), all_sources(g.copied, sources)
