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
from typing import Any, NamedTuple

import optree

from jitgrad.errors import CarryError, MutationError
from jitgrad.frontend.carries import UNBOUND, Variable
from jitgrad.frontend.chosen import Lost, set_class
from jitgrad.frontend.chosen_containers import cells_in, note_choice
from jitgrad.frontend.fixed import fix, fixed
from jitgrad.frontend.objects import Opened, attributes, opened, put
from jitgrad.frontend.optional import Optional, OptionalTuple
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
    return spec.is_leaf() or spec.type in (Optional, OptionalTuple) or is_complex_node(spec)


def _children(spec: optree.PyTreeSpec, value: Any) -> Sequence[Any]:
    if value is UNBOUND:
        return [UNBOUND] * spec.num_children
    if spec.type is Opened:
        found = opened(value)
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
        self._fixed: dict[int, Any] = {}  # the lists of which the cells are items when an iteration ends

    def enter(self, variables: Sequence[Variable], start: Sequence[Any], entered: Sequence[Any]) -> None:
        """Take note of what an iteration begins with."""
        self.start, self.entered = cells_of(variables, start), cells_of(variables, entered)
        for k, source in self._fixed.items():
            if k < len(self.entered):
                fix(self.trace, self.entered[k], source, lasts=False)

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
        items = [fixed(self.trace, x) for x in self.ended]
        before, self._fixed = self._fixed, {k: one.source for k, one in enumerate(items) if one is not None}
        again = self._fixed.keys() == before.keys()
        if held := [owner for owner in owners if any(owner is x for x in (*self.start, *self.ended))]:
            raise SeveralNames(held)
        if not changed:
            self.lost = {}
            return again
        for k in changed:
            first, last = self.start[k], self.ended[k]
            source = self._number(last)
            if k in self._fixed or fixed(self.trace, first) is not None:
                raise SeveralNames
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
        return known and again

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
        paths = [self._path(k) for k in range(len(cells))]
        instead: list[Any] = []
        kept: list[tuple[int, Any]] = []
        for k, (cell, path) in enumerate(zip(cells, paths, strict=True)):
            final = path.outcomes([*_numbers(trips, runs, path, path)])
            if len(final) == 1 and final[0][0] is not UNBOUND and final[0][1] is None:
                kept.append((k, final[0][0]))
                instead.append(final[0][0])
                continue
            meet = [[_meet(path.at(n), p.at(n)) for n in _numbers(trips, runs, path, p)] for p in paths[:k]]
            same = [j for j, found in enumerate(meet) if all(found)]
            instead.append(instead[same[0]] if same else cell)
            if not same:
                ways = [x for x, _ in final if x is not UNBOUND]
                note_choice(self.trace, cell, [*ways, *self._chosen_from(ways)])
                for j in (j for j, found in enumerate(meet) if any(found)):
                    note_choice(self.trace, cell, [instead[j]])
                self._fix_as(path.last, cell)
        replacing = _Replacing(instead)
        result = tuple(replacing.walk(v.tree, value) for v, value in zip(variables, values, strict=True))
        for cell, key in self._lost_places([cell for _, cell in kept]):
            self._change(cell, key, _hidden(self.trace))
        for k, cell in kept:
            keys = next((self.lost.get(j, ()) for j, x in enumerate(self.start) if x is cell), ())
            for key in keys:
                self._change(cell, key, _get(cells[k], key))
        self.start, self.entered, self.ended = [], [], []  # who asks for references to them finds none here
        return result

    def _chosen_from(self, cells: Sequence[Any]) -> list[Any]:
        """What cells may be that the body has chosen among others."""
        found = [x for value, *others in self.trace.alternatives if any(value is y for y in cells) for x in others]
        return [
            *found,
            *(x for x, inside in zip(self.start, self.entered, strict=True) if any(inside is y for y in found)),
        ]

    def _fix_as(self, k: int, cell: Any) -> None:
        """Let a cell behind the loop stay as it is, if cell ``k`` is an item of a list when an iteration ends."""
        if k not in self._fixed:
            return
        source = self._fixed[k]
        fix(self.trace, cell, source)
        if type(source) is list:
            note_choice(self.trace, cell, cells_in(source))

    def _change(self, cell: Any, key: Key, value: Any) -> None:
        """A change that the scope around the loop takes note of."""
        if not key[1]:
            self.trace.scope.note_change(cell, key[0])
        elif self.trace.scopes:
            self.trace.scope.note_change(cell)
        _put(cell, key, value)

    def _path(self, k: int) -> _Path:
        """What a cell is, followed back from the end of the loop."""
        path, cycle = [k], None
        while cycle is None:
            after = self._number(self.ended[path[-1]])
            if after is None:
                break
            if after in path:
                cycle = path.index(after)
            else:
                path.append(after)
        last = self.ended[path[-1]]
        known = path[-1] in self.outside or any(last is x for x in self.start)
        return _Path([self.start[j] for j in path], cycle, (last, None if known else len(path) - 1), path[-1])


#: A cell from before the loop, or from outside, with None; or an object that a variable has at the end of an iteration,
#: with the number of iterations since then.
_Identity = tuple[Any, int | None]


class _Path(NamedTuple):
    """What a cell is after a number of iterations: ``firsts[n]`` after few. After more they repeat from ``cycle`` on;
    where that is None it is ``made``, as
    cell ``last`` is when an iteration ends."""

    firsts: list[Any]
    cycle: int | None
    made: _Identity
    last: int

    def at(self, n: int) -> _Identity:
        """What it is after ``n`` iterations."""
        if n < len(self.firsts):
            return self.firsts[n], None
        if self.cycle is None:
            return self.made
        return self.firsts[self.cycle + (n - self.cycle) % (len(self.firsts) - self.cycle)], None

    def outcomes(self, numbers: Sequence[int]) -> list[_Identity]:
        """What it may be after one of these numbers of iterations."""
        found: list[_Identity] = []
        for one in map(self.at, numbers):
            if not any(_is_one(one, x) for x in found):
                found.append(one)
        return found


def _is_one(a: _Identity, b: _Identity) -> bool:
    return a[0] is b[0] and a[1] == b[1]


def _meet(a: _Identity, b: _Identity) -> bool:
    return a[0] is not UNBOUND and _is_one(a, b)


def _numbers(trips: Any, runs: bool, a: _Path, b: _Path) -> range:
    """Numbers of iterations that show all that two cells may be at the same time."""
    if isinstance(trips, int):
        return range(trips, trips + 1)
    return range(int(runs), len(a.firsts) + len(b.firsts) + len(a.firsts) * len(b.firsts) + 1)


def _get_or_unbound(cell: Any, key: Key) -> Any:
    try:
        return _get(cell, key)
    except LookupError:
        return UNBOUND


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
            for one in filter(None, (fixed(trace, x) for x in ways)):
                fix(trace, cell, one.source)
    replacing = _Replacing(instead)
    return tuple(replacing.walk(v.tree, value) for v, value in zip(variables, values, strict=True))
