"""Recording loops and branches in which lists grow (see ``growing`` for what takes their place).

A loop is recorded in a trial first. It shows what the items are, how many an iteration appends, and how many at most.
Where the number is the same in all iterations, the count of a list is a closed form of the loop's index; otherwise it
is a variable of the loop. The rooms are made for the most that there can be. Behind the loop a list whose length is
known has its items again, as elements of the room; one whose length is known only when the program runs stays what took
its place. ``grown_loops`` records loops and branches with this,
and with arrays that grow (``grown_arrays``).
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.errors import RollError
from jitgrad.frontend.appended_arrays import (
    arrays_in,
    as_names,
    chosen_leaves,
    close_copies,
    other_names,
    refuse_named,
    refuse_twice,
    refuse_written,
    seen_arrays,
)
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.chosen import Chosen
from jitgrad.frontend.chosen_containers import note_copies, refuse_several
from jitgrad.frontend.copied_items import Copy, Source
from jitgrad.frontend.fixed import appended_objects, fix, objects_in, refuse_names
from jitgrad.frontend.growing import MANY, Growing, clipped, new_room, summed
from jitgrad.frontend.grown_arrays import GrownArray, Joined, hidden, mapped, refuse_other, seen
from jitgrad.frontend.indexing import as_value
from jitgrad.frontend.items import element, listed
from jitgrad.frontend.list_items import described
from jitgrad.frontend.list_rooms import fill, furnished
from jitgrad.frontend.list_trials import Again, Unlimited, Wider
from jitgrad.frontend.references import SEQUENCES, other_references
from jitgrad.frontend.table_rows import refuse_doubled
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.core import Value
from jitgrad.ir.index import Dim, Sym, add, as_sym, expr, interval, mul, substitute
from jitgrad.ir.location import user_location
from jitgrad.ir.sums import Polynomial, sum_below
from jitgrad.ir.symbols import index_of, named_values

State = tuple[Any, ...]

#: How often a loop is tried to find what the items of its lists are.
_TRIALS = 8
#: So many items from the end of a list the condition of a ``while`` may depend on.
_WIDEST = 16


class Held(NamedTuple):
    """A list that a loop may change, and how to let another object take its place: ``put`` is None for a variable of
    the loop. ``note`` says that the other object will stay there. For an array that the loop makes longer, ``joined``
    says how; it lies in a variable."""

    value: Any
    put: Callable[[Any], None] | None
    note: Callable[[], None] | None = None
    joined: Joined | None = None


class OpenEnd(RollError):
    """How long a list is will be known only when the program runs."""


class Step(NamedTuple):
    """How many items an iteration adds, as a polynomial in its number, the symbol."""

    items: Polynomial
    number: Sym

    def before(self, number: Dim) -> Dim:
        """How many the iterations before that one add."""
        n = Sym("n")  # in the place of the number, which may hold quotients
        numbers = Polynomial.of(expr(n))
        assert numbers is not None
        return substitute(sum_below(self.items, self.number, numbers).dim(), {n: number})

    def at(self, number: Dim) -> Dim:
        return self.items.at(self.number, Polynomial.of(number) or Polynomial({})).dim()


class Growth:
    """The lists that grow in a loop: those of loops around it, and ``new`` ones, which are ``held``."""

    def __init__(self, trace: Trace, held: Sequence[Held]) -> None:
        self.trace, self.held = trace, held
        self.new = [_stand_in(trace, h.value, h.joined) for h in held]
        self.all: list[Growing] = [*trace.growing, *self.new]
        self.start: list[Dim] = [g.count for g in self.all]
        self.fronts: list[Dim] = [g.first for g in self.all]
        self._before = [(g, g.first, g.count, g.most, g.scope, g.region, list(g.kept)) for g in self.all]
        self._sources = [(g.sources, g.copied) for g in self.all]
        self._windows = [g.window for g in trace.growing]
        #: Is its length followed in what the loop stands in? Not so where that is a loop that was recorded without it.
        self._followed = [g.scope is trace.scope or any(g is x for x in self.new) for g in self.all]
        #: How many items an iteration adds, where that is known; and how many at most.
        self.steps: list[Step | None] = [None for _ in self.all]
        self.most: list[Dim] = [0 for _ in self.all]
        #: By how much an iteration moves their first places, where that is known.
        self.shifts: list[Step | None] = [None for _ in self.all]
        #: How much room the lists get besides what they hold, where a run of the loop has shown it.
        self.extra: Dim | None = None
        #: Lists that get as many items as an earlier one: its number, and how many more they have.
        self.tied: dict[int, tuple[int, int]] = {}
        self._loose: list[int] = []
        self._tie_arrays()
        self._apart: list[int] = []  # that were tied, and were loose
        self.trying = False
        #: How many items lists have behind the loop, by its condition.
        self.ends: dict[int, int] = {}
        self.shared: dict[int, tuple[Growing, int, Dim | None]] = {}
        #: Variables that stand for an object which an iteration has appended: the list, and how far from its end.
        self.objects: dict[int, tuple[Growing, Dim]] = {}
        #: Variables that hold appended arrays otherwise, and which of their leaves do.
        self.names: dict[int, list[int]] = {}
        self._begun: State | None = None

    def __enter__(self) -> Growth:
        for held, stand_in in zip(self.held, self.new, strict=True):
            if held.put is not None:
                held.put(stand_in)
        self.trace.growing, self._outer = self.all, self.trace.growing
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.trace.growing = self._outer
        for g, first, count, most, scope, region, kept in self._before:
            if kind is not None:
                g.first, g.count, g.most = first, count, most
                self._restore_windows()
            g.scope, g.region = scope, region
            g.kept[:] = kept
        if kind is not None:
            self.put_back()
            self.held = ()  # who asks later for references to the lists finds none here

    def rewind(self) -> None:
        """Let the lists of the loops around be as before the loop: it was run ahead."""
        for g, first, count, most, *_, kept in self._before:
            g.first, g.count, g.most = first, count, most
            g.kept[:] = kept
        self._restore_windows()

    def _restore_windows(self) -> None:
        for g, window in zip(self.all, self._windows, strict=False):
            g.window = window

    def replaced(self, state: State) -> State:
        """The state with what takes the place of the lists in it."""
        for held, g in zip(self.held, self.new, strict=True):
            if held.put is None:
                state = _replaced(state, held.value, g)
        self.state = hidden(state, self.all)
        return self.state

    # -- an iteration ----------------------------------------------------------------------------------------------

    def enter(self, number: Dim, counts: Sequence[Any], state: State | None = None) -> None:
        """At the start of iteration ``number``; ``counts`` are those of the lists whose count is a variable. ``state``:
        the variables of the program, if what they are behind the loop is used."""
        given, self._begun = iter(counts), state
        for k, (g, start, step) in enumerate(zip(self.all, self.start, self.steps, strict=True)):
            if k in self.tied:
                first, more = self.tied[k]
                g.count = add(self.all[first].count, more)
            else:
                g.count = add(start, step.before(number)) if step is not None else self._counted(g, start, next(given))
            if g.full:
                g.first = add(g.count, -(g.maxlen or 0))
            elif g.shifts:
                shift, front = self.shifts[k], self.fronts[k]
                g.first = add(front, shift.before(number)) if shift else index_of(self.trace.own(next(given)))
            g.scope = self.trace.scope if self._followed[k] else None
            g.region, g.most, g.viewed = self.trace.scope, 0, False
            if g.window is not None and g.item is not None:
                n = len(g.item.leaves)
                g.window = [[next(given) for _ in range(n)] for _ in range(g.width)]
            g.kept.clear()
            g.sources, g.copied = self._sources[k]
        self._shifting = [(g.shifts, g.full) for g in self.all]
        self._entry, self._number = [(g.first, g.count) for g in self.all], number
        for held in self.held:
            for x in held.value if type(held.value) in SEQUENCES else ():
                fix(self.trace, x, held.value, lasts=False)

    def _counted(self, g: Growing, start: Dim, given: Any) -> Dim:
        """A count that is a variable."""
        value = self.trace.own(given)
        if type(g) is GrownArray:  # it never becomes shorter
            value.symbol = Sym(value.name or "count", interval(start)[0], None, payload=value)
        return index_of(value)

    def leave(self, state: State) -> State:
        """At the end of an iteration: the variables, and the counts that are."""
        trace = self.trace
        appended = appended_objects(trace, state)
        state = hidden(state, self.all)
        refuse_other(self.state, state)
        self.grown: list[Dim] = [add(g.count, -c) for g, (_, c) in zip(self.all, self._entry, strict=True)]
        shifted: list[Dim] = [add(g.first, -f) for g, (f, _) in zip(self.all, self._entry, strict=True)]
        for g, shifts in zip(self.all, self._shifting, strict=True):
            if (g.shifts, g.full) != shifts:
                raise Again(g)
        self.most = [outside(trace, g.most, g) for g in self.all]
        self.shared = {}
        self.objects = {
            n: (e.source, add(e.source.count, -e.appended))
            for n, e in appended.items()
            if e.appended is not None and e.certain and not e.held
        }
        for g in self.all:
            refuse_doubled(g)
            if g.written or g.moved:
                refuse_names(trace, g)
            refuse_written(g, trace, 0)
            self._leave_sources(g, state)
            for n, value in enumerate(state):
                if is_array(value) and (type(value.root) is Copy or any(value.root is room for room in g.rooms)):
                    raise RollError("it gives an array that is an item of a list a name.", user_location())
                for leaf, _, k, at in g.kept:
                    if is_array(value) and value.root is leaf.root:
                        g.aliased = True
                        self.shared[n] = g, k, add(g.count, -at) if value is leaf else None
        kept = [(x, g.item is not None and g.item.of_objects) for g in self.all for x, *_ in g.kept]
        refuse_twice([x for x, _ in kept])
        self.names = other_names(trace, self._begun, state, kept, self.shared.keys()) if self._begun is not None else {}
        for n, value in enumerate(state):
            if hits := chosen_leaves(trace, value):
                self.names[n] = sorted({*self.names.get(n, ()), *hits})
        self._forms = [_step(trace, n, self._number) for n in self.grown]
        self._shift_forms = [_step(trace, n, self._number) for n in shifted]
        known = zip((*self.steps, *self.shifts), (*self.grown, *shifted), strict=True)
        if any(s is not None and s.at(self._number) != n for s, n in known):
            raise RollError("the number of items that it appends to a list changes.", user_location())
        counts = [g.count for g in self.all]
        self._loose = [k for k, (first, more) in self.tied.items() if add(counts[k], -counts[first]) != more]
        if self._loose and not self.trying:
            raise RollError("how many items lists get differs from what a trial showed.", user_location())
        found = self._variables(counts, [g.first for g in self.all])
        for g in self.all:
            g.scope = None
        return (*state, *found)

    def _leave_sources(self, g: Growing, state: State) -> None:
        """At the end of an iteration: raise RollError where an array of which the list has copies is written in the
        loop, or is one of this iteration that has another name behind it."""
        for x, value in g.sources:
            own = x.scope is self.trace.scope
            named = own and any(y.root is x for v in state for y in arrays_in(v))
            if x in self.trace.scope.written or named or (own and x.value is not value):
                raise RollError("it appends an array to a list that is made before, or written again.", user_location())
        g.sources, g.copied = (
            [(x, value) for x, value in sources if x.scope is not self.trace.scope] for sources in (g.sources, g.copied)
        )

    @property
    def counts(self) -> State:
        """What the variables are before the loop."""
        for held, g in zip(self.held, self.new, strict=True):
            if g.window is not None and g.item is not None:
                if type(g) is GrownArray:
                    had = g.last_of(g.width)
                else:
                    had = _last_items(held.value, g) if g.width else []
                none = [np.zeros(x.type.shape, x.type.dtype)[()] for x in g.item.leaves]  # pyright: ignore[reportArgumentType, reportCallIssue]
                g.window = [none] * (g.width - len(had)) + had
        return self._variables(self.start, self.fronts)

    def _variables(self, counts: Sequence[Dim], fronts: Sequence[Dim]) -> State:
        """The counts and first places that are variables, and the windows."""
        found: list[Any] = []
        for k, (g, count, step) in enumerate(zip(self.all, counts, self.steps, strict=True)):
            if step is None and k not in self.tied:
                found.append(Tracer(self.trace, as_value(self.trace, count).value, "int"))
            if g.shifts and not g.full and self.shifts[k] is None:
                found.append(Tracer(self.trace, as_value(self.trace, fronts[k]).value, "int"))
            found += g.last
        return tuple(found)

    # -- before and behind the loop --------------------------------------------------------------------------------

    def probe(self, run: Callable[[], object]) -> None:
        """Record the loop as a trial, to find what the items are and how many an iteration appends."""
        notes = len(self.trace.notes)
        for _ in range(_TRIALS):
            del self.trace.notes[notes:]
            before = self._shown()
            self.steps, self.shifts = [None for _ in self.all], [None for _ in self.all]
            self.trying = True
            with self.trace.region("a trial of a loop body") as scope:
                for g in self.new:
                    g.home, g.probing = self.trace.scope, True
                    g.rooms = []
                    self._begin(g, MANY // 2)
                    if g.item is not None and g.window is None:
                        g.rooms = [new_room(self.trace, MANY, leaf) for leaf in g.item.leaves]
                try:
                    run()
                except Again as error:
                    if not any(error.of is g for g in self.new):
                        raise  # a list of a loop around this one
                    if isinstance(error, Wider) and error.width is not None and error.width <= _WIDEST:
                        error.of.width = error.width
                    elif isinstance(error, (Wider, Unlimited)):
                        error.of.width, error.of.elastic = 0, True
                finally:
                    for g in self.new:
                        g.probing, g.rooms = False, []
                    for g, front, start in zip(self.all, self.fronts, self.start, strict=True):
                        g.first, g.count = front, start
                    self._restore_windows()
                    scope.restore()
            for g in self.new:
                g.window = None if g.elastic else g.window
            if before != self._shown():
                continue
            for k in self._loose:
                del self.tied[k]
            self._apart += self._loose
            if not self._loose and not self._tie():
                break
            self._loose = []
        del self.trace.notes[notes:]
        self.steps, self.shifts, self.trying = list(self._forms), list(self._shift_forms), False
        self.found = list(self.most)

    def _tie_arrays(self) -> None:
        """Take arrays for ones that get as many parts as another one, until a trial shows that they don't: programs
        compute with two of them."""
        arrays = [k for k, g in enumerate(self.all) if k >= len(self.trace.growing) and type(g) is GrownArray]
        for k in arrays[1:]:
            more = add(self.start[k], -self.start[arrays[0]])
            if isinstance(more, int):
                self.tied[k] = arrays[0], more

    def _shown(self) -> list[Any]:
        """What trials have shown of the lists."""
        return [(g.item, g.width, g.elastic, g.shifts, g.leftward, g.full, g.copies, g.aliased) for g in self.all]

    def _begin(self, g: Growing, lead: Dim) -> None:
        """Let a list that is put something in front of start with so much room there."""
        if g.leftward:
            k = next(k for k, x in enumerate(self.all) if x is g)
            self.fronts[k], self.start[k] = lead, add(lead, g.size)
            g.first, g.count = self.fronts[k], self.start[k]

    def _tie(self) -> bool:
        """Take lists for ones that get as many items as another one, where the numbers are variables. True if that is
        to be tried."""
        before = dict(self.tied)
        carried = [k for k, form in enumerate(self._forms) if form is None]
        for k in (k for k in carried[1:] if k not in self._apart):
            more = add(self.start[k], -self.start[carried[0]])
            if isinstance(more, int):
                self.tied[k] = carried[0], more
        return self.tied != before

    def refuse_ends(self, trips: Dim | None, *, open_end: bool) -> None:
        """Raise an error for lists whose lengths won't be known behind the loop: OpenEnd, unless ``open_end``, and
        RollError where they have to be. ``trips`` is None where it may end early. It is asked after the trial, since
        what a recorded loop has written is not taken back."""
        for k, (held, g) in enumerate(zip(self.held, self.new, strict=True), len(self.all) - len(self.new)):
            if g.full or k in self.ends:
                continue
            steps = [self.steps[self.tied.get(k, (k, 0))[0]], *([self.shifts[k]] if g.shifts else [])]
            ends = [None if s is None or (trips is None and s.items.terms) else s.before(trips or 0) for s in steps]
            if None not in ends and isinstance(add(g.size, add(ends[0], -ends[1]) if g.shifts else ends[0]), int):  # pyright: ignore[reportArgumentType, reportOptionalOperand]
                continue
            if not open_end:
                raise OpenEnd("how long a list or an array is gets known when the program runs.", user_location())
            if any(held.value is x for lists in self.trace.collecting for x in lists):
                raise RollError("a loop around it appends to the same list.", user_location())
            if type(held.value) in SEQUENCES:
                refuse_named(self.trace, held.value)

    def furnish(self, trips: Dim) -> None:
        """Make the rooms, for so many iterations."""
        offset = len(self.all) - len(self.new)
        for k, (held, g) in enumerate(zip(self.held, self.new, strict=True), offset):
            if g.item is None:
                continue
            step = self.steps[k]
            exact = step if not g.popped else None
            room = exact.before(trips) if exact is not None else mul(trips, self.found[k])
            if g.elastic and self.extra is not None:
                room = self.extra
            self._begin(g, mul(trips, self.found[k]) if room is not self.extra else room)
            g.rooms = furnished(self.trace, g, held.value, add(g.count, room))

    def check(self) -> None:
        """The body was recorded, not in a trial: has it appended no more than there is room for?"""
        if self.trying:
            return
        if any(a != b and not g.elastic for g, a, b in zip(self.all, self.most, self.found, strict=True)):
            raise RollError("the number of items that it appends to a list is not known.", user_location())

    def finish(self, result: State, trips: Dim, counts: Sequence[Tracer]) -> State:
        """The counts behind the loop, and what the variables are that stand for what was appended."""
        trace, given = self.trace, iter(counts)
        outer = len(self.all) - len(self.new)
        for n, (g, start, step, most) in enumerate(zip(self.all, self.start, self.steps, self.found, strict=True)):
            if n >= outer:
                g.elastic = False
            if n in self.tied:
                g.count = add(self.all[self.tied[n][0]].count, self.tied[n][1])
            elif step is not None:
                g.count = add(start, step.before(trips))
            else:
                g.count = clipped(trace, next(given), g.limit)
            g.count = self.ends.get(n, g.count)
            if g.full:
                g.first = add(g.count, -(g.maxlen or 0))
            elif g.shifts:
                shift = self.shifts[n]
                front = self.fronts[n]
                g.first = add(front, shift.before(trips)) if shift else clipped(trace, next(given), g.limit)
            g.set_last(given)
            if n < outer:
                all_of_them = most if isinstance(most, int) and most >= MANY else mul(trips, most)
                g.most = summed(self._before[n][3], all_of_them)
        final = list(result)
        for n, (g, k, back) in self.shared.items():
            if n >= len(final) or not is_array(final[n]):
                continue
            own = any(g is x for x in self.new)
            known = own and not _copied(g) and isinstance(trips, int) and trips > 0
            if known and isinstance(g.count, int) and isinstance(back, int):
                final[n] = element(g.rooms[k], g.count - back, scalar=False)
            else:
                array = Tracer(trace, final[n].value)
                array.boxed = True
                final[n] = Chosen(trace, array.value, [array, *(g.rooms if own else ())])
        rooms = [room for g in self.new for room in g.rooms]
        for n in (n for n in self.names.keys() - self.shared.keys() if n < len(final)):
            final[n] = as_names(trace, final[n], self.names[n], rooms)
        for g in self.new:
            close_copies(trace, g, g.rooms)
        state = self._with_objects(self._given_back(tuple(final)), trips)
        for held, g in zip(self.held, self.new, strict=True):
            if g.touched or g.rewritten or g.written:
                refuse_several(trace, held.value)
            if isinstance(g.size, int) and type(held.value) in SEQUENCES:
                note_copies(trace, g, held.value)
        return state

    def _with_objects(self, state: State, trips: Dim) -> State:
        """The state with the very objects that are in the lists, where they are known to be there."""
        final = list(state)
        for n, (g, back) in self.objects.items():
            held = next((h for h, x in zip(self.held, self.new, strict=True) if x is g), None)
            known = isinstance(trips, int) and trips > 0 and isinstance(g.size, int) and not g.rewritten
            if known and n < len(final) and held is not None and isinstance(back, int):
                final[n] = held.value[-back]
        return tuple(final)

    def _given_back(self, state: State) -> State:
        """Give the lists their items, where their lengths are known."""
        for held, g in zip(self.held, self.new, strict=True):
            if type(g) is GrownArray:
                array = g.final()
                state = mapped(state, lambda x, g=g, array=array: array if x is g else x)
                continue
            if isinstance(g.size, int):
                fill(self.trace, held.value, g, _copied(g))
                if held.put is not None:
                    held.put(held.value)
                else:
                    state = _replaced(state, g, held.value)
                continue
            rows = g.item is not None and g.item.depth  # they have no other names
            for x in held.value if type(held.value) in SEQUENCES and not rows else ():
                fix(self.trace, x, g)  # the list has a copy of it from now on
            if held.note is not None and held.put is not None:
                held.put(held.value)  # which it gets back where the code around it is recorded again
                held.note()
                held.put(g)
            elif held.put is not None and self.trace.scopes:
                self.trace.scope.grown.append((held.put, held.value))
            g.home = self.trace.scope
        return seen(state)

    def put_back(self) -> None:
        """Let the lists have their places again, as they were."""
        for held in self.held:
            if held.put is not None:
                held.put(held.value)


def _last_items(value: Any, g: Growing) -> list[Any]:
    """The leaves of the last items of a list before a loop, as many as the window has."""
    if isinstance(value, Growing) and not isinstance(value.size, int):
        raise Wider(g, None)
    item = g.item
    assert item is not None
    return [described(g.trace, x)[1] if item.depth else item.leaves_of(x) for x in list(value)[-g.width :]]


def _step(trace: Trace, grown: Dim, number: Dim) -> Step | None:
    """How many items an iteration adds, if it depends on nothing but its number and what is known before the loop."""
    symbol, items = as_sym(number), Polynomial.of(grown)
    if symbol is None or items is None:
        return None
    if any(v is not symbol.payload for v in _made_inside(trace, grown)):
        return None
    return Step(items, symbol)


def _replaced(state: State, old: Any, new: Any) -> State:
    """The state with another object in the place of one: a list that is a variable, or an array that is part of one."""
    if isinstance(old, list):
        return tuple(new if v is old else v for v in state)
    return mapped(state, lambda x: new if x is old else x)


def _copied(g: Growing) -> Sequence[Source]:
    """The arrays of which items are copies that a list gets behind the loop."""
    return g.sources if g.rewritten else g.copied


def _stand_in(trace: Trace, value: Any, joined: Joined | None) -> Growing:
    """What takes the place of a list, or of an array that grows, without its rooms. Raises RollError for one that has
    other names, or holds what can't be in an array."""
    if joined is not None:
        for noted in trace.joined:  # it may be that of a variable of a loop around
            noted.append(joined._replace(array=value))
        return GrownArray(trace, value, joined.axis, joined.front)
    if isinstance(value, Growing):
        g = Growing(trace, value.item, value.size)
        g.rewritten, g.maxlen, g.sources, g.copied = value.rewritten, value.maxlen, value.sources, value.sources
        g.shifts = value.maxlen is not None
        return g
    sources = seen_arrays(trace, [x for item in value for x in arrays_in(item)])
    objects = [x for item in value for x in objects_in(item)]
    named = any(n > 0 for n in other_references(trace, objects))
    maxlen = None
    if isinstance(value, collections.deque):  # a list itself stays: the references to its rows count
        maxlen, value = value.maxlen, list(value)
    rows = [x for x in value if type(x) is list]
    if rows and (len({id(x) for x in rows}) < len(rows) or any(n > 0 for n in other_references(trace, rows))):
        raise RollError("a list has lists that have several names.", user_location())
    item = None
    for x in _samples(value):
        found, _ = described(trace, x)
        item = found if item is None else item.joined(found)
    g = Growing(trace, item, len(value))
    g.maxlen, g.shifts, g.full = maxlen, maxlen is not None, maxlen == len(value)
    g.named = named
    g.sources = sources
    return g


def _samples(items: Sequence[Any]) -> Sequence[Any]:
    """Items that tell what all of a list are: of elements of one array the first and the last do."""
    if len(items) > 2 and (found := listed(items)) is not None and found.dims:
        return [items[0], items[-1]]
    return items


def outside(trace: Trace, d: Dim, g: Growing) -> Dim:
    """By how much a list becomes longer, or how much at most, by numbers that are known before the region that is
    recorded now. Raises Unlimited where it is not limited, but for a list that is elastic: MANY."""
    if isinstance(d, int):
        return d
    if _made_inside(trace, d):
        most = interval(d)[1]
        if most is None and (g.elastic or g.tallied):
            return MANY
        if most is None:
            raise Unlimited(g)
        return most
    return d


def _made_inside(trace: Trace, d: Dim) -> list[Value]:
    """The values in an extent that the region makes which is recorded now."""
    if isinstance(d, int) or not trace.scopes:
        return []
    region = trace.scope
    inner = {id(v) for op in region.ops for v in op.results}
    inner |= {id(v) for v in (region.region.params if region.region is not None else ())}
    return [v for v in named_values((d,)) if id(v) in inner]
