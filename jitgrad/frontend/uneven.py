"""Branches that make lists longer or shorter, or that give lists and arrays of different lengths.

A branch that can't be recorded as it is becomes the body of a loop that runs once: behind loops the lengths of lists
are followed. What the ways give that differs in length (``return []`` in one, in the other a list that a loop makes) is
appended, by each way, to one list; a trial of both shows where that is so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
import optree

from jitgrad.errors import CarryError, RollError
from jitgrad.frontend.attributes import called
from jitgrad.frontend.branches import current_trace
from jitgrad.frontend.branches import if_ as branch
from jitgrad.frontend.branches import if_return as branch_return
from jitgrad.frontend.branches import ifexp as branch_value
from jitgrad.frontend.carries import UNBOUND, is_array
from jitgrad.frontend.chosen import Chosen, origins
from jitgrad.frontend.chosen_containers import cells_in, note_choice
from jitgrad.frontend.consumed import Listed
from jitgrad.frontend.copied_items import Source, all_sources, with_sources
from jitgrad.frontend.growing import Growing
from jitgrad.frontend.grown_loops import emit_ahead
from jitgrad.frontend.indexing import as_value
from jitgrad.frontend.iteration import Steps
from jitgrad.frontend.junctions import truth
from jitgrad.frontend.list_holders import Variable, only_names
from jitgrad.frontend.list_items import Item, described
from jitgrad.frontend.list_methods import for_each, of_columns
from jitgrad.frontend.list_trials import is_of_loop_around
from jitgrad.frontend.loop_choices import UNROLLABLE, accept
from jitgrad.frontend.loops import For
from jitgrad.frontend.places import ChangesPlaces, forget_places
from jitgrad.frontend.primitives import broadcast_to, cast, iota, strong
from jitgrad.frontend.recording import attempt
from jitgrad.frontend.references import SEQUENCES, forget_frames
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import CELL, held, put
from jitgrad.frontend.signature import NAMESPACE, flatten
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Collection, Tracer, extent, is_traced
from jitgrad.ir.index import Dim
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import index_of

State = tuple[Any, ...]
Way = Callable[..., State]
#: The number of a variable, and of a leaf of it.
Key = tuple[int, int]
_EMPTY: Any = object()


def if_(
    test: Any, then: Way, orelse: Way, state: State, names: Sequence[str], line: int,
    lists: Callable[[], Listed] | None = None,
) -> State:  # fmt: skip
    """``if test: state = then(*state) else: state = orelse(*state)``. ``lists()`` tells as in a loop of the lists that
    this may make longer or shorter."""
    trace, test = current_trace(), truth(test)
    if trace is None or not is_traced(test) or trace.options.loops == "unroll":
        return branch(test, then, orelse, state, names, line)
    choice = _Choice(trace, test, (then, orelse), state, names, line, _key(then, orelse))
    variables = [] if lists is None else list(starmap(Variable, lists()[2]))
    return _recorded(choice, choice.recorded, variables, resizing=lists is not None)


def if_return(test: Any, then: Callable[[], Any], orelse: Callable[[], Any], line: int) -> Any:
    """``if test: return then() else: return orelse()``."""
    return _either(branch_return, test, then, orelse, line, "the result")


def ifexp(test: Any, then: Callable[[], Any], orelse: Callable[[], Any], line: int) -> Any:
    """``then() if test else orelse()``."""
    return _either(branch_value, test, then, orelse, line, "the value of the conditional expression")


def _either(
    record: Callable[..., Any], test: Any, then: Callable[[], Any], orelse: Callable[[], Any], line: int, name: str
) -> Any:
    trace, test = current_trace(), truth(test)
    if trace is None or not is_traced(test) or trace.options.loops == "unroll":
        return record(test, then, orelse, line)
    ways = (lambda _: (then(),)), (lambda _: (orelse(),))
    choice = _Choice(trace, test, ways, (UNBOUND,), (name,), line, _key(then, orelse))
    return _recorded(choice, lambda: (record(test, then, orelse, line),), _around(then, orelse), resizing=False)[0]


def _key(*ways: Callable[..., Any]) -> Hashable:
    """Where the program chooses, and between what."""
    return user_location(), *(getattr(way, "__code__", None) for way in ways)


class _Choice(NamedTuple):
    """A branch: two functions of the state that give the new one; ``key`` says which one of the program it is."""

    trace: Trace
    test: Any
    ways: tuple[Way, Way]
    state: State
    names: Sequence[str]
    line: int
    key: Hashable

    def recorded(self) -> State:
        return branch(self.test, *self.ways, self.state, self.names, self.line)

    def once(self, variables: Sequence[Variable]) -> State:
        """Recorded as a loop that runs once, which may change the lists of these variables."""

        def body(_: Any, *values: Any) -> State:
            return branch(self.test, *self.ways, values, self.names, self.line)

        steps = Steps(0, 1, 1, lambda k: k)
        loop = For(self.trace, steps, body, self.state, self.names, None, (), accept)
        return HOOKS["record_with_lists"](loop, variables)


def _recorded(choice: _Choice, record: Callable[[], State], variables: Sequence[Variable], *, resizing: bool) -> State:
    """``record()``, or what takes its place where that fails. Inside of other recorded code lists that become longer
    are seen to by the loop around it."""
    trace = choice.trace
    known = trace.uneven.get(choice.key)
    if known is not None:
        try:
            with attempt(trace, UNROLLABLE):
                return _of_known_lengths(choice, only_names(trace, variables, choice.state, choice.names), known)
        except UNROLLABLE as error:
            if is_of_loop_around(trace, error):
                raise
            forget_frames(error)
            forget_places(error)
    try:
        with attempt(trace, UNROLLABLE):
            return record()
    except UNROLLABLE as error:
        if trace.scopes and not (isinstance(error, CarryError) and error.unlike):
            raise
        forget_frames(error)
        forget_places(error)
        failed = error
    try:
        only = only_names(trace, variables, choice.state, choice.names)
        if (resizing or isinstance(failed, ChangesPlaces)) and not trace.scopes:
            try:
                with attempt(trace, UNROLLABLE):
                    return choice.once(only)
            except UNROLLABLE as error:
                forget_frames(error)
                forget_places(error)
        apart = _apart(choice)
        if apart is None:
            raise failed
        try:
            result = _of_known_lengths(choice, only, apart)
        except UNROLLABLE as error:
            if is_of_loop_around(trace, error):
                raise
            raise failed from None
        trace.uneven[choice.key] = apart
        return result
    finally:
        del failed  # and with it this frame, of which objects know that they are still referred to


def _around(*ways: Callable[[], Any]) -> list[Variable]:
    """The variables around some functions that hold lists."""
    cells = {id(cell): cell for way in ways for cell in getattr(way, "__closure__", None) or ()}
    return [
        Variable("a list", lambda cell=cell: held(cell, CELL, None), lambda x, cell=cell: put(cell, CELL, x), "passed")
        for cell in cells.values()
        if type(held(cell, CELL, None)) in (*SEQUENCES, Growing)
    ]


# -- what differs in length --------------------------------------------------------------------------------------------


class _Many(NamedTuple):
    """What differs in length: an array, or a list of items; None where these are not all numbers and arrays."""

    of_array: bool
    item: Item | None

    @property
    def count(self) -> int:
        """How many arrays it is."""
        return 1 if self.item is None else len(self.item.leaves)


class _Apart(NamedTuple):
    """Variables and their leaves that differ in length; how many leaves the variables have."""

    many: dict[Key, _Many]
    leaves: dict[int, int]

    @property
    def measurable(self) -> bool:
        return all(m.of_array or m.item is not None for m in self.many.values())


def _of_known_lengths(choice: _Choice, variables: Sequence[Variable], apart: _Apart) -> State:
    """The choice, with what differs in length as arrays whose length is found before: a trial run of the way that is
    taken tells. Or else, outside of other recorded code, gathered in lists, in a loop that runs once."""
    trace = choice.trace
    if apart.measurable:
        try:
            with attempt(trace, UNROLLABLE):
                return _measured(choice, apart)
        except UNROLLABLE as error:
            if trace.scopes:
                raise
            forget_frames(error)
            forget_places(error)
    gathered = {key: _Gathered(trace, many.of_array) for key, many in apart.many.items()}

    def fill(key: Key, leaf: Any) -> State:
        gathered[key].fill(leaf)
        return ()

    def recorded(inner: _Choice) -> State:
        return inner.once([*variables, *(g.variable() for g in gathered.values())])

    with _looking_after(trace, [g.was for g in gathered.values()]):
        outcome = _outcome(choice, apart, fill, lambda _: 0, recorded)
    return outcome.state({key: g.found() for key, g in gathered.items()})


@contextlib.contextmanager
def _looking_after(trace: Trace, lists: Sequence[Any]) -> Iterator[None]:
    """References from those lists count as the trace's, as those from what is one of several do."""
    trace.alternatives += lists  # each begins with what nothing else refers to: so it is refused nothing for them
    try:
        yield
    finally:
        trace.alternatives = [x for x in trace.alternatives if not any(x is y for y in lists)]


def _measured(choice: _Choice, apart: _Apart) -> State:
    trace = choice.trace
    growing = [(g, g.noted()) for g in trace.growing]
    with trace.region("branches whose lengths are found") as scope:
        try:
            ahead = _outcome(choice, apart, lambda _, leaf: (_length(trace, leaf),), lambda _: 1, _Choice.recorded)
        finally:
            for g, noted in growing:
                g.put_back(noted)
            scope.restore()
    emit_ahead(trace, scope.ops)
    lengths: dict[Key, Dim] = {}
    for key, (found,) in ahead.others.items():
        (length,) = trace.emit("maximum", [strong(trace.lift(found)), as_value(trace, 0)], {})
        lengths[key] = index_of(length)
    known = {key: _Known() for key in apart.many}

    def columns(key: Key, leaf: Any) -> State:
        known[key].note(trace, leaf)
        return tuple(_of_length(c, lengths[key]) for c in _columns(trace, leaf, apart.many[key].item))

    with _looking_after(trace, [k.was for k in known.values()]):
        outcome = _outcome(choice, apart, columns, lambda m: m.count, _Choice.recorded)
    found: dict[Key, Any] = {}
    for key, parts in outcome.others.items():
        item = apart.many[key].item
        if item is None:
            (array,) = parts
            found[key] = Chosen(trace, array.value, known[key].arrays) if known[key].arrays else array
        else:
            found[key] = of_columns(Growing(trace, item, lengths[key]), item, parts, known[key].sources)
            note_choice(trace, found[key], _changeable(known[key].was))
    return outcome.state(found)


class _Known:
    """What one of two ways gives may have other names: of a list what can be changed in it, and arrays of which it has
    copies; of an array those from outside that it may be."""

    def __init__(self) -> None:
        self.was: list[Any] = [object()]
        self.sources: list[Source] = []
        self.arrays: list[Tracer] = []

    def note(self, trace: Trace, leaf: Any) -> None:
        if type(leaf) is list:
            self.was.append(leaf)
            self.sources = with_sources(self.sources, [x for x in flatten(leaf)[0] if is_array(x)])
        elif isinstance(leaf, Growing):
            self.was.append(leaf)
            self.sources = all_sources(self.sources, leaf.sources)
        elif is_array(leaf):
            self.arrays += [x for x in origins(leaf) if x.scope is not trace.scope]


def _length(trace: Trace, leaf: Any) -> Any:
    if isinstance(leaf, Growing):
        return extent(trace, leaf.shown)
    return extent(trace, leaf.dims[0]) if isinstance(leaf, Tracer) else len(leaf)


def _columns(trace: Trace, leaf: Any, item: Item | None) -> list[Tracer]:
    """An array, or those of what the items of a list consist of."""
    if item is None:
        return [strong(trace.lift(leaf))]
    if isinstance(leaf, Growing):
        columns = [] if leaf.item is None else leaf.columns()[1]
    elif item.depth and leaf:
        columns = [strong(trace.lift(leaf))]
    else:
        columns = [strong(trace.lift(list(c))) for c in zip(*map(item.leaves_of, leaf), strict=True)]
    none = [Tracer(trace, trace.array(np.zeros((0, *x.type.shape), x.type.dtype))) for x in item.leaves]  # pyright: ignore
    return [cast(c, x.type.dtype) for c, x in zip(columns or none, item.leaves, strict=True)]


def _of_length(column: Tracer, length: Dim) -> Tracer:
    """An array that has this length, as its type says it then."""
    if column.dims[0] == length:
        return column
    if column.dims[0] == 0:  # so is the length
        zero = Tracer(column.owner, column.owner.scalar(0, column.dtype))
        return broadcast_to(zero, (length, *column.dims[1:]))
    return HOOKS["getitem"](column, iota(column, (length,), 0))


class _Gathered:
    """What one of two ways gives, in a list that either appends to; ``was`` are the lists themselves."""

    def __init__(self, trace: Trace, of_array: bool) -> None:
        self.trace, self.of_array = trace, of_array
        self.items: Any = []
        self.was: list[Any] = [object()]

    def variable(self) -> Variable:
        return Variable("a list", lambda: self.items, lambda x: setattr(self, "items", x), "appended")

    def fill(self, values: Any) -> None:
        if not self.of_array:
            self.was.append(values)
        if type(values) is list:
            for value in values:
                called(self.items, "append")(value)
            return
        if is_array(values) and any(x.scope is not self.trace.scope for x in origins(values)):
            raise CarryError(
                "a branch gives an array from outside, and another one of another length.", user_location()
            )
        for_each(values, lambda x: called(self.items, "append")(x), lambda: ([self.items], (), (self.variable(),)))

    def found(self) -> Any:
        items, self.items = self.items, None
        if self.of_array:
            return HOOKS["array"](items)
        note_choice(self.trace, items, _changeable(self.was))
        return items


def _changeable(was: Sequence[Any]) -> list[Any]:
    """Lists, and what they hold that can be changed."""
    return [x for x in was if isinstance(x, Growing)] + cells_in(was[1:])


class _Outcome(NamedTuple):
    """What is behind a choice: the variables, with structures in the place of those of which a part is apart, with the
    rest of their leaves; and what took the place of the leaves that are."""

    variables: list[Any]
    trees: dict[int, tuple[Any, list[Any]]]
    others: dict[Key, State]

    def state(self, found: Mapping[Key, Any]) -> State:
        """The variables, with these leaves."""
        new = list(self.variables)
        for n, (tree, rest) in self.trees.items():
            left = iter(rest)
            new[n] = tree.unflatten([found[n, k] if (n, k) in found else next(left) for k in range(tree.num_leaves)])
        return tuple(new)


def _outcome(
    choice: _Choice,
    apart: _Apart,
    replaced: Callable[[Key, Any], State],
    count: Callable[[_Many], int],
    record: Callable[[_Choice], State],
) -> _Outcome:
    """The choice recorded with what ``replaced`` makes of the leaves that are apart in their place, ``count`` values of
    each."""
    trace = choice.trace
    changed = sorted(apart.leaves)
    same = [n for n in range(len(choice.names)) if n not in changed]
    rest = [(n, k) for n in changed for k in range(apart.leaves[n]) if (n, k) not in apart.many]
    trees: dict[int, Any] = {}
    counts = {key: count(many) for key, many in apart.many.items()}

    def split(outcome: State) -> State:
        leaves: dict[Key, Any] = {}
        for n in changed:
            found, trees[n] = _leaves(outcome[n])
            if len(found) != apart.leaves[n]:
                raise CarryError(f"{choice.names[n]} has another structure than in a trial.", user_location())
            leaves.update({(n, k): leaf for k, leaf in enumerate(found)})
        others: list[Any] = []
        roots = [id(x.root if isinstance(x, Tracer) else x) for x in map(leaves.__getitem__, apart.many)]
        if len(set(roots)) != len(roots):
            raise CarryError("a list or array that a branch gives has two names in what it gives.", user_location())
        for key, many in apart.many.items():
            if _shape(leaves[key])[0] != ("array" if many.of_array else "list"):
                raise CarryError(f"{choice.names[key[0]]} has other parts than in a trial.", user_location())
            others += replaced(key, leaves.pop(key))
        return (*(outcome[n] for n in same), *(leaves[key] for key in rest), *others)

    def given(way: Way) -> Way:
        def run(*values: Any) -> State:
            state = list(choice.state)
            for n, value in zip(same, values, strict=False):
                state[n] = value
            result = split(way(*state))
            for n in changed:
                _forget(trace, way, choice.names[n], choice.state[n])
            return result

        return run

    more = [n for n, _ in rest] + [n for (n, _), times in counts.items() for _ in range(times)]
    names = [choice.names[n] for n in (*same, *more)]
    state = (*(choice.state[n] for n in same), *(UNBOUND for _ in more))
    then, orelse = choice.ways
    result = iter(record(choice._replace(ways=(given(then), given(orelse)), state=state, names=names)))
    variables = list(choice.state)
    for n in same:
        variables[n] = next(result)
    left = {n: (trees[n], [next(result) for m, _ in rest if m == n]) for n in changed}
    return _Outcome(variables, left, {key: tuple(next(result) for _ in range(counts[key])) for key in apart.many})


def _forget(trace: Trace, way: Way, name: str, before: Any) -> None:
    """Let a variable of the program not refer to what it stands for behind a way, then or when the way is left: it gets
    its value behind both."""
    cell = dict(zip(way.__code__.co_freevars, way.__closure__ or (), strict=True)).get(name)
    if cell is not None:
        put(cell, CELL, before)
        grown = trace.scope.grown
        grown[:] = [(_ignore if cell in (getattr(give, "__closure__", None) or ()) else give, x) for give, x in grown]


def _ignore(_: Any) -> None:
    pass


def _leaves(value: Any) -> tuple[list[Any], Any]:
    """A value as a tree whose leaves are lists too."""
    return optree.tree_flatten(value, _is_list, none_is_leaf=True, namespace=NAMESPACE)


def _is_list(x: Any) -> bool:
    return type(x) is list or isinstance(x, Collection)


#: Of a variable: what its leaves are, and its structure. A leaf is a list of a length and of items, an array of a
#: shape, or else.
_Shapes = list[tuple[list[tuple[str, Any, Any]], Any]]


def _apart(choice: _Choice) -> _Apart | None:
    """What differs in length, by a trial of both ways; None where nothing does."""
    shown = [_shapes(choice.trace, way, choice.state) for way in choice.ways]
    if shown[0] is None or shown[1] is None:
        return None
    many = _differing(shown[0], shown[1])
    return _Apart(many, {n: len(shown[0][n][0]) for n, _ in many}) if many else None


def _shapes(trace: Trace, way: Way, state: State) -> _Shapes | None:
    """What the variables are after one way; None where it fails."""
    try:
        with attempt(trace), trace.region("a trial of a branch") as scope:
            try:
                found = map(_leaves, way(*state))
                return [([(*_shape(x), _item_of(trace, x)) for x in leaves], tree) for leaves, tree in found]
            finally:
                scope.restore()
    except Exception as error:  # noqa: BLE001 - also one of the user's: it is raised where the branch is recorded
        forget_frames(error)
        return None


def _shape(leaf: Any) -> tuple[str, Any]:
    """The kind of a leaf, and the length of a list or the shape of an array."""
    if type(leaf) is list:
        return "list", len(leaf)
    if isinstance(leaf, Growing):
        return "list", leaf.size
    if isinstance(leaf, (Tracer, np.ndarray)) and np.ndim(leaf):
        return "array", leaf.dims if isinstance(leaf, Tracer) else leaf.shape
    return "other", None


def _item_of(trace: Trace, leaf: Any) -> Any:
    """What the items of a list are: EMPTY where there are none, None where they are not all numbers and arrays."""
    if isinstance(leaf, Growing):
        return _EMPTY if leaf.item is None else leaf.item
    found: Any = _EMPTY
    try:
        for value in leaf if type(leaf) is list else ():
            item = described(trace, value)[0]
            found = item if found is _EMPTY else found.joined(item)
    except (RollError, CarryError):
        return None
    return found


def _joined(a: Any, b: Any) -> Item | None:
    if a is _EMPTY or b is _EMPTY:
        found = b if a is _EMPTY else a
    else:
        try:
            found = None if a is None or b is None else a.joined(b)
        except (RollError, CarryError):
            found = None
    return None if found is _EMPTY or (found is not None and (found.of_objects or found.same)) else found


def _differing(a: _Shapes, b: _Shapes) -> dict[Key, _Many]:
    """Variables and their leaves that differ in length."""
    found: dict[Key, _Many] = {}
    for n, ((leaves, tree), (others, other)) in enumerate(zip(a, b, strict=True)):
        if tree != other:
            continue
        for k, ((kind, size, item), (kind_too, size_too, item_too)) in enumerate(zip(leaves, others, strict=True)):
            if kind != kind_too or kind == "other" or size == size_too:
                continue
            if kind == "array" and size[1:] == size_too[1:]:
                found[n, k] = _Many(True, None)
            elif kind == "list":
                found[n, k] = _Many(False, _joined(item, item_too))
    return found
