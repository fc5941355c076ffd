"""Loops and branches in which lists grow, recorded: see ``growth``.

A ``while`` has no bound. It is recorded once to count its iterations, with the last items of the lists that it reads as
variables, and once more as a ``for`` of that many: the same is done for its gradient. So is a ``for`` in which nothing
limits how many items a list gets, as in one over the edges of each node: that shows when it is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jitgrad.errors import RollError
from jitgrad.frontend.appended_arrays import refuse_written
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.chosen import Chosen
from jitgrad.frontend.growing import MANY, Growing, clipped, summed
from jitgrad.frontend.grown_arrays import hidden, seen
from jitgrad.frontend.growth import Growth, Held, outside
from jitgrad.frontend.indexing import as_value
from jitgrad.frontend.iteration import Steps
from jitgrad.frontend.junctions import and_, not_, truth
from jitgrad.frontend.list_limits import Limit, limit_by_condition
from jitgrad.frontend.loop_choices import LONGEST, accept
from jitgrad.frontend.loops import For, While
from jitgrad.frontend.primitives import strong
from jitgrad.frontend.recording import condition, record_for, record_while
from jitgrad.frontend.references import SEQUENCES
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, extent
from jitgrad.ir.core import Block, Op, Value, operations
from jitgrad.ir.generators import STATE_BYTES, new_site
from jitgrad.ir.index import Dim, Sym, add, as_sym
from jitgrad.ir.location import user_location
from jitgrad.ir.reruns import from_handles, handles_of, silent
from jitgrad.ir.symbols import index_of

State = tuple[Any, ...]

#: So many items more than it has before a loop, and twice as many as an iteration adds, a list has room for at first.
_LEAST_ROOM = 64
#: Ops that print, or draw random numbers: a loop that is run for its numbers only does neither.
_SHOW = ("show", "draw")


class _NoLimit(Exception):
    """The condition of a ``while`` does not limit how long all of its lists get; ``ends`` is what it tells of some."""

    def __init__(self, ends: dict[int, int] | None = None) -> None:
        super().__init__()
        self.ends = ends or {}


class _Early(Exception):
    """The flag that ends a loop is traced."""


def grow_for(
    loop: For, held: Sequence[Held], *, open_end: bool = True, elastic: Sequence[bool] = (), extra: Dim | None = None,
    ends: Mapping[int, int] | None = None,
) -> State:  # fmt: skip
    """A loop in which lists grow. Raises OpenEnd for a list whose length is not known behind the loop, unless
    ``open_end``: before it is recorded, as arrays and objects have what it leaves in them from then on. Those that are
    ``elastic`` need ``extra`` room; of some it is known how long they are at the ``ends``."""
    trace, body, begins = loop.trace, loop.body, loop.begins
    count, item, flagged = loop.steps.count, loop.item, loop.flagged
    size = len(loop.state)
    early = False

    with Growth(trace, held) as growth:
        growth.extra, growth.ends = extra, dict(ends or {})
        for g in growth.new:
            g.unrolls = isinstance(count, int) and count <= LONGEST and trace.options.loops == "auto"
        for g, one in zip(growth.new, elastic, strict=False):
            g.elastic = one
        state = growth.replaced(loop.state)
        hints = [h for h in loop.hints if not any(h is x.value for x in held)]

        def iteration(number: Tracer, *values: Any) -> State:
            growth.enter(index_of(trace.own(number)), values[size:], values[:size])
            new = body(item(number), *seen(values[:size]))
            if flagged is not None and not early and new[flagged] is not False:
                raise _Early
            new = _moved(growth, new)  # no other tuple refers to what the variables are
            return growth.leave(new)

        def test(number: Tracer, *values: Any) -> Any:
            growth.enter(index_of(trace.own(number)), values[size:])
            for g in growth.all:
                g.scope = None
            go_on = Tracer(trace, trace.emit("less", [strong(number), as_value(trace, count)], {})[0], "bool")
            stop = values[:size][flagged]  # pyright: ignore[reportCallIssue, reportArgumentType]
            stop = condition(trace, stop, "while")
            (again,) = trace.emit("logical_not", [stop], {})
            return Tracer(trace, trace.emit("logical_and", [go_on, Tracer(trace, again)], {})[0], "bool")

        def look(block: Block) -> None:
            growth.check()
            loop.look(block)

        def run() -> tuple[State, Dim]:
            nonlocal early
            start, rooms = (*state, *growth.counts), [g.rooms for g in growth.all]
            labels = (*loop.names, *("count" for _ in growth.counts))
            if not early:
                try:
                    objects = (*hints, rooms)
                    result = record_for(trace, 0, count, 1, iteration, start, labels, objects, look=look, begins=begins)
                    return result, count
                except _Early:
                    early = True
            first = Tracer(trace, as_value(trace, 0).value, "int")

            def numbered(k: Any, *values: Any) -> State:
                return k + 1, *iteration(k, *values)

            limits = {0: (0, add(count, -1))}
            done, *result = record_while(
                trace, test, numbered, (first, *start), ("k", *labels), (*hints, rooms), limits=limits
            )
            return tuple(result), index_of(trace.own(done))

        growth.probe(run)
        growth.refuse_ends(None if early else count, open_end=open_end)
        needs = [g.elastic for g in growth.new]
        if extra is not None or not any(needs):
            growth.furnish(count)
            result, trips = run()
            if early:  # a loop with an open end asks nobody
                growth.check()
            return growth.finish(result[:size], trips, result[size:])
        growth.put_back()
    growth.held = ()  # references to the lists count
    extra = None if early else _tally(loop, held)
    if extra is None:
        _, extra, needs = _ahead_of_for(loop, held, needs)
    return grow_for(loop, held, open_end=open_end, elastic=needs, extra=extra)


def _ahead_of_for(loop: For, held: Sequence[Held], elastic: Sequence[bool]) -> Any:
    trace, count, flagged = loop.trace, loop.steps.count, loop.flagged

    def go_on(number: Tracer, *values: Any) -> Any:
        before_end = Tracer(trace, trace.emit("less", [strong(number), as_value(trace, count)], {})[0], "bool")
        if flagged is None:
            return before_end
        stop = values[flagged]
        return and_(before_end, lambda: not_(stop))

    return _ahead(loop, held, go_on, count, elastic)


def grow_while(loop: While, held: Sequence[Held]) -> State:
    """A ``while`` in which lists grow: its iterations are counted, then they are run, but where its condition limits
    how long the lists get."""
    trace, test, body, state, names, hints = loop
    try:
        return _grow_limited(loop, held)
    except _NoLimit as error:
        ends = error.ends
    ahead = For(trace, Steps(0, 0, 1, lambda _: None), lambda _, *s: body(*s), state, names, None, hints, accept)
    done, extra, elastic = _ahead(ahead, held, lambda _, *values: truth(test(*values)), None)
    (count,) = trace.emit("maximum", [Tracer(trace, done), as_value(trace, 0)], {})
    again = ahead._replace(steps=Steps(0, index_of(count), 1, lambda _: None))
    return grow_for(again, held, elastic=elastic, extra=extra, ends=ends)


def _grow_limited(loop: While, held: Sequence[Held]) -> State:
    """A ``while`` whose condition limits how long its lists get. Raises _NoLimit for another one, before any of it is
    recorded."""
    trace, test, body, state, names, hints = loop
    size = len(state)
    limit: Limit | None = None

    with Growth(trace, held) as growth:
        start = growth.replaced(state)
        objects = [h for h in hints if not any(h is x.value for x in held)]

        def go_on(number: Tracer, *values: Any) -> Any:
            growth.enter(_counted(trace, number), values[size:])
            for g in growth.all:
                g.scope = None
            heads.update({k: v for k, g in enumerate(growth.all) if (v := _variable(g.count)) is not None})
            return truth(test(*seen(values[:size])))

        def iteration(number: Tracer, *values: Any) -> State:
            growth.enter(_counted(trace, number), values[size:], values[:size])
            new = _moved(growth, body(*seen(values[:size])))
            return (number + 1, *growth.leave(new))

        def run() -> tuple[State, Dim]:
            nonlocal limit
            heads.clear()
            first = (Tracer(trace, as_value(trace, 0).value, "int"), *start, *growth.counts)
            labels = ("k", *names, *("count" for _ in growth.counts))
            rooms = [g.rooms for g in growth.all]
            done, *result = record_while(trace, go_on, iteration, first, labels, (*objects, rooms))
            recorded = next(op for op in reversed(trace.builder.ops) if op.name == "while")
            limit = limit_by_condition(recorded, heads)
            if growth.trying and limit is None:
                raise _NoLimit
            return tuple(result), index_of(trace.own(done))

        heads: dict[int, Value] = {}
        growth.probe(run)
        most = _most_items(growth, limit)
        growth.refuse_ends(None, open_end=True)
        growth.furnish(most)
        result, trips = run()
        return growth.finish(result[:size], trips, result[size:])


def _most_items(growth: Growth, limit: Limit | None) -> int:
    """How many items each list that grows gets at most, which are as many for all of them. Lets the growth know how
    long those are behind the loop that the limit tells of. Raises _NoLimit where others grow too."""
    if limit is None:
        raise _NoLimit
    first, more = growth.tied.get(limit.of, (limit.of, 0))
    alike = {k: m for k in range(len(growth.all)) for root, m in [growth.tied.get(k, (k, 0))] if root == first}
    plain = [not (g.popped or g.shifts or g.elastic or g.leftward or g.full) for g in growth.all]
    start, below = growth.start[first], limit.below - more
    if not isinstance(start, int) or not all(plain[k] and growth.found[k] == 1 for k in alike):
        raise _NoLimit
    if limit.ends:
        growth.ends = {k: max(start, below) + more for k, more in alike.items()}
    grow = {k for k, n in enumerate(growth.found) if n != 0 or not plain[k]}
    if grow != set(alike) or min(alike) < len(growth.all) - len(growth.new):
        raise _NoLimit(growth.ends)
    return max(below - start, 0)


def _variable(count: Dim) -> Value | None:
    """The variable that a count is."""
    symbol = as_sym(count)
    return None if symbol is None else symbol.payload


def _ahead(
    loop: For, held: Sequence[Held], test: Callable[..., Any], count: Dim | None, elastic: Sequence[bool] = ()
) -> tuple[Value, Dim | None, list[bool]]:
    """Run a loop ahead, for the numbers that it shows: it goes on where ``test(number, *state)`` holds, for at most
    ``count`` iterations where that is known. Returns how many iterations there are, how much room besides what they
    hold before the lists need that are elastic, and which are: those of ``elastic``, and what else turns out to be."""
    trace, _, body, state, names, _, hints, _, _ = loop
    size, limits = len(state), None if count is None else {0: (0, add(count, -1))}

    def numbered(number: Tracer) -> Dim:
        return _counted(trace, number) if count is None else index_of(trace.own(number))

    with Growth(trace, held) as growth, trace.region("a loop whose iterations are counted") as scope:
        for k, g in enumerate(growth.new):
            g.elastic = k < len(elastic) and elastic[k]
            g.window = None if g.elastic else []
        start = growth.replaced(state)
        objects = [h for h in hints if not any(h is x.value for x in held)]

        def head(number: Tracer, *values: Any) -> Any:
            growth.enter(numbered(number), values[size:])
            for g in growth.all:
                g.scope = None
            return test(number, *seen(values[:size]))

        def iteration(number: Tracer, *values: Any) -> State:
            growth.enter(numbered(number), values[size:])
            new = _moved(growth, body(loop.item(number), *seen(values[:size])))
            return (number + 1, *growth.leave(new))

        def run(fits: Callable[[], Any] = lambda: True) -> tuple[Tracer, Any]:
            first = Tracer(trace, as_value(trace, 0).value, "int")
            counts = growth.counts
            labels = ("k", *names, *("count" for _ in counts))
            hints = (*objects, [g.rooms for g in growth.all])

            def go_on(number: Tracer, *values: Any) -> Any:
                decision = head(number, *values)
                return and_(fits(), lambda: decision)

            done, *last = record_while(trace, go_on, iteration, (first, *start, *counts), labels, hints, limits=limits)
            growth.enter(index_of(trace.own(done)), last[size:])
            for g in growth.all:
                g.scope = None
            return done, fits()

        growth.probe(run)
        found = [g.elastic for g in growth.new]
        done, extra = _in_enough_room(growth, run) if any(found) else (run()[0].value, None)
        growth.put_back()
        growth.rewind()
        scope.restore()
    emit_ahead(trace, scope.ops)
    if extra is None:
        return done, None, found
    (room,) = trace.emit("maximum", [Tracer(trace, extra), as_value(trace, 0)], {})
    return done, index_of(room), found


def _moved(growth: Growth, new: State) -> State:
    """The variables after an iteration, of which some have other lists than before: those get the items of these, as if
    it were written ``xs.clear(); xs.extend(others)``. Raises RollError where a list has two names then."""
    state, left = list(new), []
    for held, g in zip(growth.held, growth.new, strict=True):
        k = next((k for k, v in enumerate(growth.state) if v is g), None)
        if held.put is None and k is not None and state[k] is not g and type(state[k]) in (*SEQUENCES, Growing):
            left.append((k, g, state[k]))
    stay = [g for g in growth.all if not any(g is x for _, x, _ in left)]
    sources = [x for _, _, x in left]
    if any(x is other for x in sources for other in stay) or len({id(x) for x in sources}) < len(sources):
        raise RollError("it gives a list that it makes longer or shorter a second name.", user_location())
    while left:
        free = [n for n, (_, g, _) in enumerate(left) if not any(x is g for _, _, x in left)]
        if not free:
            raise RollError("it exchanges lists that it makes longer or shorter.", user_location())
        k, g, source = left.pop(free[0])
        state[k] = g
        _take(growth.trace, g, source)
    if any(sum(v is g for v in state) > 1 for g in growth.new):
        raise RollError("it gives a list that it makes longer or shorter a second name.", user_location())
    return tuple(state)


def _take(trace: Trace, g: Growing, source: Any) -> None:
    """Let a list have the items of another one, and no others."""
    g.clear()
    if not isinstance(source, Growing):
        g.extend(source)
    elif source.item is not None:
        count, item = source.as_items()

        def body(k: Any) -> State:
            g.append(item(k))
            return ()

        grow_for(For(trace, Steps(0, count, 1, lambda k: k), body, (), (), None, (), accept), ())


def _in_enough_room(growth: Growth, run: Callable[[Callable[[], Any]], tuple[Tracer, Any]]) -> tuple[Value, Value]:
    """Run a loop with more and more room for the lists that are elastic, each time twice as much, until there is
    enough. Returns how many iterations there are, and how much room besides what the lists hold before.

    A run that lacks room ends before the iteration that may need more. Where it is not limited how much one needs, it
    ends behind the one that did."""
    trace = growth.trace
    for g, most in zip(growth.all, growth.found, strict=True):
        g.bursts = g.elastic and isinstance(most, int) and most >= MANY
    limits = [n if isinstance(n, int) and n < MANY else 0 for n in growth.found]
    least = _LEAST_ROOM + 2 * max(limits)

    def attempt(_: Any, extra: Tracer, __: Any) -> State:
        with trace.region("a loop whose iterations are counted") as scope:
            growth.extra = index_of(trace.own(extra))
            growth.furnish(0)

            def fits() -> Any:
                enough: Any = True
                for g, most in zip(growth.all, growth.found, strict=True):
                    if not g.elastic or not g.rooms:
                        continue
                    more = most if not isinstance(most, int) or most < MANY else 0
                    room = add(g.rooms[0].dims[0], -add(g.count, more))
                    pairs = [room, add(g.first, -more)] if g.leftward else [room]
                    for left in pairs:
                        (one,) = trace.emit("greater_equal", [as_value(trace, left), as_value(trace, 0)], {})
                        enough = and_(enough, lambda one=one: Tracer(trace, one, "bool"))
                return enough

            found = [(x.value, x.weak) for x in run(fits)]
            scope.restore()
        emit_ahead(trace, scope.ops)
        done, enough = (Tracer(trace, *x) for x in found)
        return done, extra * 2, not_(enough)

    none, first = (Tracer(trace, as_value(trace, n).value, "int") for n in (0, least))
    (yes,) = trace.emit("equal", [none, none], {})
    state = (none, first, Tracer(trace, yes, "bool"))
    names = ("k", "room", "go on")
    done, twice, _ = record_while(trace, lambda _, __, more: more, attempt, state, names)
    (extra,) = trace.emit("floor_divide", [twice, as_value(trace, 2)], {})
    return done.value, extra


def _tally(loop: For, held: Sequence[Held]) -> Dim | None:
    """How many items a loop appends to its lists at most: the sum of what limits each iteration, as the number of
    edges of a node does. None where nothing does, as nothing limits a ``while`` that asks for the last item, and where
    the lists are read in the loop.

    Whether an item is appended is not asked. So what is left of the loop that adds them up needs none of the arrays
    that it changes, and no copies of them, which an inner loop would make in each of its runs."""
    trace, _, body, state, names, _, hints, _, _ = loop
    size, count = len(state), loop.steps.count
    notes = len(trace.notes)
    limited = True
    with Growth(trace, held) as growth, trace.region("a loop whose items are counted") as scope:
        for g in growth.new:
            g.window, g.tallied = [], True
        start = growth.replaced(state)
        objects = [h for h in hints if not any(h is x.value for x in held)]

        def iteration(number: Tracer, *values: Any) -> State:
            nonlocal limited
            growth.enter(index_of(trace.own(number)), values[size:-1])
            new = growth.leave(_moved(growth, body(loop.item(number), *seen(values[:size]))))
            total = values[-1]
            for g in growth.new:
                limited = limited and not (isinstance(g.most, int) and g.most >= MANY)
                total = total + Tracer(trace, as_value(trace, g.most).value, "int")
            return (*new, total)

        def run() -> Any:
            first = (*start, *growth.counts, Tracer(trace, as_value(trace, 0).value, "int"))
            labels = (*names, *("count" for _ in first[size:-1]), "items")
            return record_for(trace, 0, count, 1, iteration, first, labels, objects)[-1]

        try:
            growth.probe(run)
            limited = limited and not any(g.elastic or g.popped or g.leftward for g in growth.new)
            total = run().value if limited else None
        finally:
            growth.put_back()
            growth.rewind()
            scope.restore()
    del trace.notes[notes:]
    if total is None or _has(scope.ops, "while", *_SHOW):
        return None
    trace.builder.ops.extend(scope.ops)
    (room,) = trace.emit("maximum", [Tracer(trace, total), as_value(trace, 0)], {})
    return index_of(room)


def emit_ahead(trace: Trace, ops: Sequence[Op]) -> None:
    """Emit the ops of a run for its numbers only. It prints nothing, and draws from copies of the generators, so that
    the run that counts draws the same. Raises RollError where it could not."""
    if any(op.name == "make_generator" and not op.operands for op in operations(ops)):
        raise RollError(
            "a loop that makes a list longer makes a generator without a seed. Its iterations are counted before they "
            "are run, with the same random numbers. Make the generator before the loop.",
            user_location(),
        )
    ops = [silent(op) for op in ops if op.name != "show"]
    handles = handles_of(ops)
    if handles:
        nbytes = STATE_BYTES * len(handles)
        (state,) = trace.emit("generator_state", [Tracer(trace, h) for h in handles], {"nbytes": nbytes})
        attrs = {"count": len(handles), "site": new_site()}
        copies = trace.emit("restore_generators", [Tracer(trace, state)], attrs)
        ops = [from_handles(op, dict(zip(handles, copies, strict=True))) for op in ops]
    trace.builder.ops.extend(ops)


def _counted(trace: Trace, number: Tracer) -> Dim:
    """The number of an iteration, which is never negative."""
    value = trace.own(number)
    value.symbol = Sym(value.name or "k", 0, None, payload=value)
    return index_of(value)


def _has(ops: Sequence[Op], *names: str) -> bool:
    """Is there an op of these names, in regions too?"""
    return any(op.name in names for op in operations(ops))


def branches(
    trace: Trace, record: Callable[[Sequence[Callable[[], State]], Sequence[str]], State],
    thunks: Sequence[Callable[[], State]], names: Sequence[str],
) -> State:  # fmt: skip
    """``record(thunks, names)``, of branches in which lists may grow."""
    lists: list[Growing] = trace.growing
    if not lists:
        return record(thunks, names)
    before = [(g.count, g.scope, g.most, len(g.kept)) for g in lists]
    windows = [g.window for g in lists]
    fronts = [g.first for g in lists]
    inside = [g.branched for g in lists]
    ends: dict[int, list[Dim]] = {}
    firsts: dict[int, list[Dim]] = {}
    around_them = trace.scope
    most: list[Dim] = [0 for _ in lists]
    appended: list[list[Any]] = [[] for _ in lists]

    def around(n: int, thunk: Callable[[], State]) -> State:
        for g, window, front, (count, scope, _, kept) in zip(lists, windows, fronts, before, strict=True):
            g.first, g.count, g.most, g.window = front, count, 0, window
            g.scope = trace.scope if scope is around_them else None
            g.branched = True
            del g.kept[kept:]
        state = list(hidden(thunk(), lists))
        ends[n], firsts[n] = [g.count for g in lists], [g.first for g in lists]
        for k, (g, (*_, kept)) in enumerate(zip(lists, before, strict=True)):
            most[k] = _greater(most[k], outside(trace, g.most, g))
            refuse_written(g, trace, kept)
            appended[k] += g.kept[kept:]
            for j, value in enumerate(state):
                if is_array(value) and any(value.root is leaf.root for leaf, *_ in g.kept[kept:]):
                    own = Tracer(trace, value.value)
                    own.boxed = True
                    state[j] = Chosen(trace, own.value, [own])
        places = [extent(trace, d) for g in lists for d in (g.count, g.first)]
        return (*state, *places, *(leaf for g in lists for leaf in g.last))

    around_all = [lambda n=n, thunk=thunk: around(n, thunk) for n, thunk in enumerate(thunks)]
    try:
        last = ["an item of a list" for g in lists for _ in g.last]
        result = record(around_all, (*names, *("count" for _ in lists for _ in range(2)), *last))
    except BaseException:
        for g, window, front, (count, _, added, _) in zip(lists, windows, fronts, before, strict=True):
            g.first, g.count, g.most, g.window = front, count, added, window
        raise
    finally:
        for g, (_, scope, _, _), branched in zip(lists, before, inside, strict=True):
            g.scope, g.branched = scope, branched
    size = len(result) - 2 * len(lists) - len(last)
    given = iter(result[size + 2 * len(lists) :])
    for g in lists:
        g.set_last(given)
    places = result[size : size + 2 * len(lists)]
    for k, (g, counted, front) in enumerate(zip(lists, places[::2], places[1::2], strict=True)):
        g.kept[before[k][3] :] = appended[k]
        fronts_after = {n[k] for n in firsts.values()}
        g.first = fronts_after.pop() if len(fronts_after) == 1 else clipped(trace, trace.lift(front), g.limit)
        same = {n[k] for n in ends.values()}
        like = next((j for j in range(k) if _difference(ends, k, j) is not None), None)
        if len(same) == 1:
            (g.count,) = same
        elif like is not None:
            g.count = add(lists[like].count, _difference(ends, k, like) or 0)
        else:
            g.count = clipped(trace, trace.lift(counted), g.limit)
        if g.full:
            g.first = add(g.count, -(g.maxlen or 0))
        g.most = summed(before[k][2], most[k])
    return seen(result[:size])


def _difference(ends: dict[int, list[Dim]], k: int, j: int) -> int | None:
    """How many items one list has more than another at the end of each branch."""
    found = {add(n[k], -n[j]) for n in ends.values()}
    (more,) = found if len(found) == 1 else (None,)
    return more if isinstance(more, int) else None


def _greater(a: Dim, b: Dim) -> Dim:
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else b if a == 0 else a if b == 0 else summed(a, b)
