"""Which objects, lists and dicts the variables of a recorded loop or branch stand for.

A *cell* is what can be changed in place: an object that is carried attribute by attribute, a dataclass, a list, a dict.
In a recorded body another one, with the same contents, takes the place of each cell that a variable stands for when an
iteration begins. What the variables stand for at its end is seen there: the cell of some variable, or another object.
From this follows what they stand for behind the loop, as for arrays in ``identity``.

A cell that the body changes is another object in each iteration perhaps. The first one has to change too, if it has
other names. What it holds is known behind the loop only if a variable stands for it then; while the loop runs it is
never known. A value that can't be used takes the place of what is not known (:class:`Hidden`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import optree

from jitgrad.errors import CarryError, MutationError
from jitgrad.frontend.carries import UNBOUND, Variable
from jitgrad.frontend.chosen import Lost, set_class
from jitgrad.frontend.chosen_containers import note_choice
from jitgrad.frontend.objects import Opened, attributes, put
from jitgrad.frontend.places import Places, SeveralNames
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.signature import NAMESPACE, is_complex_node
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.core import Value
from jitgrad.ir.location import user_location
from jitgrad.ir.types import i64

#: A place in a cell: a name, or an index or key with True.
Key = tuple[Any, bool]


class Hidden(Lost):
    """Stands in an object for what it holds, which is not known."""

    __slots__ = ()

    @property
    def value(self) -> Value:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise MutationError(
            "an object or container is used by another name, in or behind a recorded loop that changes it and lets its "
            "own name stand for others as well. What it holds is not known while the function is traced. Copy "
            "it before, or let the loop make a new one instead of changing it.",
            user_location(),
        )


def _hidden(trace: Trace) -> Hidden:
    x = Tracer(trace, trace.scalar(0, i64))
    set_class(x, Hidden)
    return x  # pyright: ignore[reportReturnType]


# -- cells of a value --------------------------------------------------------------------------------------------------


def _is_cell(spec: optree.PyTreeSpec) -> bool:
    """Is what has this structure changed in place?"""
    kind = spec.type
    if kind is None or kind is type(None) or issubclass(kind, tuple):
        return False
    params = getattr(kind, "__dataclass_params__", None)
    return params is None or not params.frozen


def _is_end(spec: optree.PyTreeSpec) -> bool:
    return spec.is_leaf() or is_complex_node(spec)


def _children(spec: optree.PyTreeSpec, value: Any) -> Sequence[Any]:
    if value is UNBOUND:
        return [UNBOUND] * spec.num_children
    if spec.type is Opened:
        found = attributes(value)
        return [found[name] for name in spec.entries()]
    return optree.tree_flatten_one_level(value, namespace=NAMESPACE)[0]


def cells_of(variables: Sequence[Variable], state: Sequence[Any]) -> list[Any]:
    """The cells in the values of some variables; UNBOUND for those of a variable that has none."""
    found: list[Any] = []
    for variable, value in zip(variables, state, strict=True):
        _gather(variable.tree, value, found)
    return found


def _gather(spec: optree.PyTreeSpec, value: Any, found: list[Any]) -> None:
    if _is_end(spec):
        return
    if _is_cell(spec):
        found.append(value)
    for child, inner in zip(optree.treespec_children(spec), _children(spec, value), strict=True):
        _gather(child, inner, found)


class _Replacing:
    """Puts others in the places of cells: ``instead[k]`` for cell ``k``."""

    def __init__(self, instead: Sequence[Any]) -> None:
        self._instead = iter(instead)

    def walk(self, spec: optree.PyTreeSpec, value: Any) -> Any:
        if _is_end(spec):
            return value
        instead = next(self._instead) if _is_cell(spec) else value
        children = _children(spec, value)
        new = [self.walk(child, x) for child, x in zip(optree.treespec_children(spec), children, strict=True)]
        changed = [k for k, (x, y) in enumerate(zip(children, new, strict=True)) if x is not y]
        if changed and _is_cell(spec):
            for k in changed:
                _put(value, (spec.entries()[k], _has_items(value)), new[k])
        elif changed:
            _, metadata, _, unflatten = optree.tree_flatten_one_level(value, namespace=NAMESPACE)
            instead = unflatten(metadata, new)
        return instead


def _has_items(cell: Any) -> bool:
    return hasattr(type(cell), "__setitem__") and not attributes(cell)


def _put(cell: Any, key: Key, value: Any) -> None:
    where, item = key
    if item:
        cell[where] = value
    else:
        put(cell, where, value)


def _get(cell: Any, key: Key) -> Any:
    where, item = key
    return cell[where] if item else attributes(cell).get(where, UNBOUND)


# -- loops -------------------------------------------------------------------------------------------------------------


class LoopCells:
    """The cells of the variables of a loop: ``start`` are those before it, ``entered`` what takes their places in the
    body, ``ended`` those that the variables stand for after it. ``lost`` are the places that the loop changes, by the
    number of the cell. ``begins``: the program may run the first iteration apart."""

    def __init__(self, trace: Trace, *, begins: bool) -> None:
        self.trace, self.begins = trace, begins
        self.start: list[Any] = []
        self.entered: list[Any] = []
        self.ended: list[Any] = []
        self.lost: dict[int, set[Key]] = {}
        self.outside: set[int] = set()  # the cells for which an iteration ends with one from outside
        self._changes: list[tuple[int, Key]] = []

    def enter(self, variables: Sequence[Variable], start: Sequence[Any], entered: Sequence[Any]) -> None:
        """Take note of what an iteration begins with."""
        self.start, self.entered = cells_of(variables, start), cells_of(variables, entered)

    @contextlib.contextmanager
    def hiding(self) -> Iterator[None]:
        """While a body is recorded: what is known to change of the first cells can't be seen by other names."""
        before: list[tuple[Any, Key, Any]] = []
        try:
            for cell, key in self._lost_places():
                before.append((cell, key, _get(cell, key)))
                _put(cell, key, _hidden(self.trace))
            yield
        finally:
            for cell, key, value in reversed(before):
                _put(cell, key, value)

    def _lost_places(self, but: Sequence[Any] = ()) -> Iterator[tuple[Any, Key]]:
        for k, keys in self.lost.items():
            cell = self.start[k]
            if cell is UNBOUND or any(cell is x for x in but):
                continue
            for key in keys:
                if _get_or_unbound(cell, key) is not UNBOUND:
                    yield cell, key

    def note_changes(self, scope: Scope) -> None:
        """Take note of what the body has changed of the cells that it began with."""
        self._changes = scope.changes_of(self.entered)

    def settle(self, variables: Sequence[Variable], new: Sequence[Any], owners: Sequence[Any]) -> bool:
        """Take note of what an iteration ends with, and has changed; ``owners`` are the objects from outside in which
        it changes something. False if more changes than was known when it was recorded. Raises RollError for cells
        that are changed and may have other names in the loop, and CarryError where these are names of first ones that
        the first iteration apart would be rid of."""
        before, self.ended = self.ended, cells_of(variables, new)
        again = len(before) == len(self.ended)  # what an iteration makes is another object each time
        self.outside = {k for k, x in enumerate(self.ended) if again and x is before[k] and self._number(x) is None}
        changed = self._closure()
        if held := [owner for owner in owners if any(owner is x for x in (*self.start, *self.ended))]:
            raise SeveralNames(held)
        if not changed:
            self.lost = {}
            return True
        for k in changed:
            first, last = self.start[k], self.ended[k]
            source = self._number(last)
            if first is not UNBOUND:
                shared = any(first is x for j, x in enumerate(self.start) if j != k)
                if (shared or source is None) and self.begins:
                    raise CarryError(SeveralNames().message, user_location())
                if shared:
                    raise SeveralNames
            others = [*self.start, *(x for j, x in enumerate(self.ended) if j != k)]
            if k in self.outside or any(last is x for x in others):
                raise SeveralNames
        known = changed == self.lost
        self.lost = changed
        return known

    def _closure(self) -> dict[int, set[Key]]:
        """What changes of the objects that the cells are when an iteration begins, in it or in a later one."""
        found: dict[int, set[Key]] = {}
        for k, key in self._changes:
            found.setdefault(k, set()).add(key)
        grows = True
        while grows:
            grows = False
            for k, cell in enumerate(self.ended):
                source = self._number(cell)
                more = found.get(k, set())
                if source is not None and not more <= found.get(source, set()):
                    found[source] = found.get(source, set()) | more
                    grows = True
        return found

    def _number(self, cell: Any) -> int | None:
        """The number of the variable's cell that an object in the body is."""
        return next((k for k, x in enumerate(self.entered) if x is cell), None)

    def leave(self, variables: Sequence[Variable], values: Sequence[Any], trips: Any, runs: bool) -> tuple[Any, ...]:
        """The variables behind the loop, from new ``values`` with what they hold; ``trips`` is how often it ran, where
        that is known, and ``runs`` says that it did."""
        cells = cells_of(variables, values)
        if not cells:
            return tuple(values)
        finals = [self._final(k, trips, runs) for k in range(len(cells))]
        instead: list[Any] = []
        kept: list[tuple[int, Any]] = []
        for k, (cell, final) in enumerate(zip(cells, finals, strict=True)):
            one = final[0]
            if len(final) == 1 and one[0] is not UNBOUND and one[1] is None:
                kept.append((k, one[0]))
                instead.append(one[0])
                continue
            same = [j for j in range(k) if _are_same(finals[j], final) and (len(final) == 1 or self._end_alike(j, k))]
            instead.append(instead[same[0]] if same else cell)
            if not same:
                note_choice(self.trace, cell, [x for x, _ in final if x is not UNBOUND])
                for j in range(k):
                    if _overlap(finals[j], final):
                        note_choice(self.trace, cell, [instead[j]])
        replacing = _Replacing(instead)
        result = tuple(replacing.walk(v.tree, value) for v, value in zip(variables, values, strict=True))
        for cell, key in self._lost_places([cell for _, cell in kept]):
            self._change(cell, key, _hidden(self.trace))
        for k, cell in kept:
            number = next((j for j, x in enumerate(self.start) if x is cell), None)
            for key in self.lost.get(number, ()):  # pyright: ignore
                self._change(cell, key, _get(cells[k], key))
        self.start, self.entered, self.ended = [], [], []  # who asks for references to them finds none here
        return result

    def _change(self, cell: Any, key: Key, value: Any) -> None:
        """A change that the scope around the loop takes note of."""
        if not key[1]:
            self.trace.scope.note_change(cell, key[0])
        elif self.trace.scopes:
            self.trace.scope.note_change(cell)
        _put(cell, key, value)

    def _end_alike(self, j: int, k: int) -> bool:
        return self.ended[j] is self.ended[k]

    def _final(self, k: int, trips: Any, runs: bool) -> list[tuple[Any, int | None]]:
        """What a cell may be behind the loop: one from before it, with None, or an object that a variable has at the
        end of an iteration, with the number of iterations since then."""
        path, cycle = [k], None
        while cycle is None:
            after = self._number(self.ended[path[-1]])
            if after is None:
                break
            if after in path:
                cycle = path.index(after)
            else:
                path.append(after)
        firsts: list[tuple[Any, int | None]] = [(self.start[j], None) for j in path]
        last = self.ended[path[-1]]
        known = path[-1] in self.outside or any(last is x for x in self.start)
        made: tuple[Any, int | None] = last, None if known else len(path) - 1
        if isinstance(trips, int):
            if trips < len(path):
                return [firsts[trips]]
            return [made if cycle is None else firsts[cycle + (trips - cycle) % (len(path) - cycle)]]
        found = firsts[int(runs and cycle != 0) :] + ([made] if cycle is None else [])
        return [one for k, one in enumerate(found) if not _overlap([one], found[:k])]


def _get_or_unbound(cell: Any, key: Key) -> Any:
    try:
        return _get(cell, key)
    except LookupError:
        return UNBOUND


def _are_same(a: Sequence[tuple[Any, Any]], b: Sequence[tuple[Any, Any]]) -> bool:
    return len(a) == len(b) and all(x is y and m == n for (x, m), (y, n) in zip(a, b, strict=True))


def _overlap(a: Sequence[tuple[Any, Any]], b: Sequence[tuple[Any, Any]]) -> bool:
    return any(x is y and x is not UNBOUND and m == n for x, m in a for y, n in b)


# -- branches ----------------------------------------------------------------------------------------------------------


def chosen_cells(
    trace: Trace,
    variables: Sequence[Variable],
    values: Sequence[Any],
    outcomes: Sequence[Sequence[Any]],
    places: Places,
) -> tuple[Any, ...]:
    """Variables behind branches that end with these ``outcomes``: with the objects and containers that they are in all
    of them, or else new ones, of which the trace takes note. Raises RollError for one that a branch changes besides."""
    cells = cells_of(variables, values)
    if not cells:
        return tuple(values)
    found = list(zip(*(cells_of(variables, state) for state in outcomes), strict=True))
    instead: list[Any] = []
    for k, (cell, ways) in enumerate(zip(cells, found, strict=True)):
        if all(x is ways[0] for x in ways) and ways[0] is not UNBOUND:
            instead.append(ways[0])
            continue
        if any(place.owner is x for place in places.all for x in ways):
            raise SeveralNames
        same = [j for j in range(k) if all(x is y for x, y in zip(found[j], ways, strict=True))]
        instead.append(instead[same[0]] if same else cell)
        if not same:
            note_choice(trace, cell, [x for x in ways if x is not UNBOUND])
            for j in range(k):
                if any(x is y and x is not UNBOUND for x, y in zip(found[j], ways, strict=True)):
                    note_choice(trace, cell, [instead[j]])
    replacing = _Replacing(instead)
    return tuple(replacing.walk(v.tree, value) for v, value in zip(variables, values, strict=True))
