"""Loops and branches in which lists grow, recorded: see ``growth``.

A ``while`` has no bound. It is recorded once to count its iterations, with the last items of the lists that it reads as
variables, and once more as a ``for`` of that many: the same is done for its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jitgrad.errors import RollError
from jitgrad.frontend.carries import is_array
from jitgrad.frontend.chosen import Chosen
from jitgrad.frontend.growing import MANY, Growing
from jitgrad.frontend.grown_arrays import hidden, seen
from jitgrad.frontend.growth import Growth, Held, clipped, outside, refuse_written
from jitgrad.frontend.indexing import as_value
from jitgrad.frontend.iteration import Steps
from jitgrad.frontend.loop_choices import accept
from jitgrad.frontend.loops import For, While
from jitgrad.frontend.primitives import strong
from jitgrad.frontend.recording import condition, record_for, record_while
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.core import Block, Op
from jitgrad.ir.index import Dim, Sym, add
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import index_of

State = tuple[Any, ...]


class _Early(Exception):
    """The flag that ends a loop is traced."""


def grow_for(loop: For, held: Sequence[Held], *, open_end: bool = True) -> State:
    """A loop in which lists grow. Raises OpenEnd for a list whose length is not known behind the loop, unless
    ``open_end``: before it is recorded, as arrays and objects have what it leaves in them from then on."""
    trace, body, begins = loop.trace, loop.body, loop.begins
    count, item, flagged = loop.steps.count, loop.item, loop.flagged
    size = len(loop.state)
    early = False

    with Growth(trace, held, open_end=open_end) as growth:
        state = growth.replaced(loop.state)
        hints = [h for h in loop.hints if not any(h is x.value for x in held)]

        def iteration(number: Tracer, *values: Any) -> State:
            growth.enter(index_of(trace.own(number)), values[size:])
            new = body(item(number), *seen(values[:size]))
            if flagged is not None and not early and new[flagged] is not False:
                raise _Early
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
        growth.refuse_open_ends(None if early else count)
        growth.furnish(count)
        result, trips = run()
        if early:  # a loop with an open end asks nobody
            growth.check()
        return growth.finish(result[:size], trips, result[size:])


def grow_while(loop: While, held: Sequence[Held]) -> State:
    """A ``while`` in which lists grow: its iterations are counted, then they are run."""
    trace, test, body, state, names, hints = loop
    size = len(state)
    with trace.region("a loop whose iterations are counted") as scope, Growth(trace, held) as growth:
        for g in growth.new:
            g.window = []
        start = growth.replaced(state)
        objects = [h for h in hints if not any(h is x.value for x in held)]

        def head(number: Tracer, *values: Any) -> Any:
            growth.enter(_counted(trace, number), values[size:])
            for g in growth.all:
                g.scope = None
            return test(*seen(values[:size]))

        def numbered(number: Tracer, *values: Any) -> State:
            growth.enter(_counted(trace, number), values[size:])
            new = body(*seen(values[:size]))
            return (number + 1, *growth.leave(new))

        def run() -> Tracer:
            first = Tracer(trace, as_value(trace, 0).value, "int")
            counts = growth.counts
            labels = ("k", *names, *("count" for _ in counts))
            return record_while(trace, head, numbered, (first, *start, *counts), labels, objects)[0]

        growth.probe(run)
        done = run().value
        growth.put_back()
        scope.restore()
    if any(_shows(op) for op in scope.ops):
        raise RollError(
            "a while loop that makes a list longer prints or draws random numbers. Its iterations are counted before "
            "they are run. Write into an array that is long enough, and count.",
            user_location(),
        )
    trace.builder.ops.extend(scope.ops)
    (count,) = trace.emit("maximum", [Tracer(trace, done), as_value(trace, 0)], {})
    steps = Steps(0, index_of(count), 1, lambda _: None)
    return grow_for(For(trace, steps, lambda _, *s: body(*s), state, names, None, hints, accept), held)


def _counted(trace: Trace, number: Tracer) -> Dim:
    """The number of an iteration, which is never negative."""
    value = trace.own(number)
    value.symbol = Sym(value.name or "k", 0, None, payload=value)
    return index_of(value)


def _shows(op: Op) -> bool:
    """Does the op print, or draw random numbers? It must not do so twice."""
    seen = op.name in ("show", "draw")
    return seen or any(_shows(inner) for block in op.regions for inner in block.ops)


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
    ends: dict[int, list[Dim]] = {}
    around_them = trace.scope
    most: list[Dim] = [0 for _ in lists]

    def around(n: int, thunk: Callable[[], State]) -> State:
        for g, window, (count, scope, _, kept) in zip(lists, windows, before, strict=True):
            g.count, g.most, g.window = count, 0, window
            g.scope = trace.scope if scope is around_them else None
            del g.kept[kept:]
        state = list(hidden(thunk(), lists))
        ends[n] = [g.count for g in lists]
        for k, (g, (*_, kept)) in enumerate(zip(lists, before, strict=True)):
            most[k] = _greater(most[k], outside(trace, g.most))
            refuse_written(g, trace, kept)
            for j, value in enumerate(state):
                if is_array(value) and any(value.root is leaf.root for leaf, *_ in g.kept[kept:]):
                    own = Tracer(trace, value.value)
                    own.boxed = True
                    state[j] = Chosen(trace, own.value, [own])
        return (*state, *(g.length() for g in lists), *(leaf for g in lists for leaf in g.last))

    around_all = [lambda n=n, thunk=thunk: around(n, thunk) for n, thunk in enumerate(thunks)]
    try:
        last = ["an item of a list" for g in lists for _ in g.last]
        result = record(around_all, (*names, *("count" for _ in lists), *last))
    except BaseException:
        for g, window, (count, _, added, _) in zip(lists, windows, before, strict=True):
            g.count, g.most, g.window = count, added, window
        raise
    finally:
        for g, (_, scope, _, _) in zip(lists, before, strict=True):
            g.scope = scope
    size = len(result) - len(lists) - len(last)
    given = iter(result[size + len(lists) :])
    for g in lists:
        g.set_last(given)
    for k, (g, counted) in enumerate(zip(lists, result[size : size + len(lists)], strict=True)):
        same = {n[k] for n in ends.values()}
        like = next((j for j in range(k) if _difference(ends, k, j) is not None), None)
        if len(same) == 1:
            (g.count,) = same
        elif like is not None:
            g.count = add(lists[like].count, _difference(ends, k, like) or 0)
        else:
            g.count = clipped(trace, trace.lift(counted), g.rooms[0].dims[0] if g.rooms else MANY)
        g.most = add(before[k][2], most[k])
    return seen(result[:size])


def _difference(ends: dict[int, list[Dim]], k: int, j: int) -> int | None:
    """How many items one list has more than another at the end of each branch."""
    found = {add(n[k], -n[j]) for n in ends.values()}
    (more,) = found if len(found) == 1 else (None,)
    return more if isinstance(more, int) else None


def _greater(a: Dim, b: Dim) -> Dim:
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else b if a == 0 else a if b == 0 else add(a, b)
