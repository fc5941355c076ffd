"""Loops over generators of the user's: the generator runs as a plain function that calls the body of the loop for what
it yields (``syntax_yields``). Its own loops and branches are then recorded, with the variables of the loop that
consumes it as the attributes of an object, :class:`Sink`.

One of which items have been taken runs from its beginning again, and the body is left out for those, if what it is made
from is as it was and it has no effects. One that is rewritten for no loop, or whose loop can't be recorded in this way,
is iterated over by Python.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

from jitgrad.errors import RollError
from jitgrad.frontend.branches import if_, ifexp
from jitgrad.frontend.carries import UNBOUND
from jitgrad.frontend.consumable import CHANGED, EXHAUSTED, Generated
from jitgrad.frontend.junctions import not_
from jitgrad.frontend.loop_choices import failure, is_much
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import drop, put
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, is_traced
from jitgrad.ir.core import operations
from jitgrad.ir.location import user_location

State = tuple[Any, ...]
Listed = tuple[Sequence[Any], Sequence[Any], Sequence[tuple[Any, ...]]]

#: The attribute of a sink that counts the items; no variable has that name.
_TAKEN = "items taken"
#: Python runs a loop that ends a generator early for at most so many items, to see whether it does so at a known place.
_TRIED = 64
#: Items that Python takes from a generator under a condition.
_MOST = 10_000


class Sink:
    """Where a generator sends what it yields: the body of a loop, whose variables are the attributes."""

    def __init__(self, names: Sequence[str], state: State) -> None:
        self.__dict__.update((n, value) for n, value in zip(names, state, strict=True) if value is not UNBOUND)


class Consumer:
    """The loop that consumes a generator: its ``sink``, and the ``lists`` that its body changes, as a loop of the
    generator's has to know them. It has no use for the first items, ``skipped`` in number; ``counts``: it counts them.
    """

    def __init__(
        self,
        trace: Trace,
        body: Callable[..., State],
        state: State,
        names: Sequence[str],
        flag: str | None,
        lists: Callable[[], Listed],
        skipped: Any = 0,
        *,
        counts: bool = False,
    ) -> None:
        self.trace, self.body, self.names, self.flag, self._lists = trace, body, names, flag, lists
        self.skipped, self.counts = skipped, counts or is_traced(skipped) or skipped != 0
        self.sink = Sink(names, state)
        if self.counts:
            put(self.sink, _TAKEN, 0)

    def state(self) -> State:
        held = self.sink.__dict__
        return tuple(held.get(name, UNBOUND) for name in self.names)

    def ended(self) -> Any:
        """Has the loop ended by itself?"""
        return False if self.flag is None else self.sink.__dict__[self.flag]

    def position(self) -> Any:
        """How many items have been taken."""
        if not self.counts:
            return EXHAUSTED
        return ifexp(self.ended(), lambda: self.sink.__dict__[_TAKEN], lambda: EXHAUSTED, 0)

    def take(self, item: Any) -> Any:
        """The body of the loop, for an item. Has the loop ended?"""
        before = self.state()
        number = 0
        if self.counts:
            number = self.sink.__dict__[_TAKEN]
            self._set(_TAKEN, number + 1)
        wanted = not self.counts or number >= self.skipped
        new = if_(wanted, lambda *s: self.body(item, *s), lambda *s: s, before, self.names, 0)
        for name, old, value in zip(self.names, before, new, strict=True):
            if value is not old:
                self._set(name, value)
        return self.ended()

    def _set(self, name: str, value: Any) -> None:
        self.trace.scope.note_change(self.sink, name)
        if value is not UNBOUND:
            put(self.sink, name, value)
        elif name in self.sink.__dict__:
            drop(self.sink, name)

    def lists(self) -> Listed:
        """The lists that the body changes; what the loop carries is found in the sink."""
        only, read, variables = self._lists()
        return only, read, [self._in_sink(*v) if v[0] in self.names else v for v in variables]

    def _in_sink(self, name: str, _get: Any, _put: Any, use: str) -> tuple[Any, ...]:
        return name, lambda: self.sink.__dict__.get(name), functools.partial(self._set, name), use


def consume(
    trace: Trace,
    generator: Generated,
    body: Callable[..., State],
    state: State,
    names: Sequence[str],
    flag: str | None,
    lists: Callable[[], Listed],
    *,
    kept: bool,
) -> State | None:
    """The loop's variables behind it; None if it can't be recorded in this way, with nothing recorded. ``kept``: the
    generator may be used again."""
    start, plain = generator.position, generator.plain
    if plain is None or (not is_traced(start) and start == EXHAUSTED):
        return None
    begins, leaves = generator.begins(), kept and flag is not None
    # A loop in what is tried already is not tried once more: that would take time exponential in their depth.
    key = ("consumed", plain.func.__code__, code_of(body), begins, leaves)
    known = trace.tried.get(key) if trace.consuming else None
    if known is False:
        return None

    def whole() -> Consumer:
        consumer = Consumer(trace, body, state, names, flag, lists, start, counts=leaves)
        _run(consumer, plain)
        return consumer

    with consuming(trace):
        if begins:
            generator.note_inputs()
        elif not generator.can_start_again() or not _is_pure(trace, plain):
            if is_traced(start):
                generator.refuse(CHANGED)
            return None
        if known is None:
            tried = not (leaves and _ends_soon(trace, generator, body, state, names, flag)) and _is_recorded(
                trace, whole
            )
            trace.tried[key] = tried
            if not tried:
                return None
        consumer = whole()
    generator.move(consumer.position())
    return consumer.state()


@contextlib.contextmanager
def consuming(trace: Trace) -> Iterator[None]:
    """While a loop over a generator is recorded, or tried."""
    trace.consuming += 1
    try:
        yield
    finally:
        trace.consuming -= 1


def _run(consumer: Consumer, plain: Callable[[], Any]) -> None:
    trace = consumer.trace
    trace.consumers.append(consumer)
    try:
        plain()
    finally:
        trace.consumers.pop()


def _is_recorded(trace: Trace, whole: Callable[[], Any]) -> bool:
    try:
        return failure(trace, whole) is None
    except UnboundLocalError:  # Python says of which variable
        return False


def _is_pure(trace: Trace, plain: Callable[[], Any]) -> bool:
    """Has it no effects, and does it change nothing? Then it may run again."""
    pure = False

    def run() -> None:
        nonlocal pure
        (value,) = trace.emit("equal", [trace.lift(0), trace.lift(1)], {})
        ends = Tracer(trace, value, "bool")  # as far as the generator knows
        consumer = Consumer(trace, lambda *_: (ends,), (False,), ("ended",), "ended", lambda: ((), (), ()))
        _run(consumer, plain)
        scope = trace.scope
        scope.forget(consumer.sink)
        pure = not scope.written and not any(op.effects for op in operations(scope.ops)) and not scope.outer_changes()

    return _is_recorded(trace, run) and pure


def _ends_soon(
    trace: Trace,
    generator: Generated,
    body: Callable[..., State],
    state: State,
    names: Sequence[str],
    flag: str | None,
) -> bool:
    """Does the loop end the generator early at a place that is known, after few items? Then Python runs it."""
    assert flag is not None
    place, found = names.index(flag), False

    def run() -> None:
        nonlocal found
        values, first = state, len(trace.builder.ops)
        for _ in range(_TRIED):
            try:
                item = next(generator)
            except StopIteration:
                return
            values = body(item, *values)
            if is_traced(values[place]) or is_much(trace.builder.ops[first:], 2):
                return
            if values[place]:
                found = True
                return

    return _is_recorded(trace, run) and found


def sent(value: Any) -> Any:
    """Give what a generator yields to the loop that consumes it. Has that ended?"""
    trace: Trace = HOOKS["current_trace"]()
    consumer = trace.consumers.pop()  # the body may run other generators, or be one itself
    try:
        return consumer.take(value)
    finally:
        trace.consumers.append(consumer)


class Taken:
    """How many items Python takes from an iterator in a loop, which may end where a traced value says."""

    def __init__(self, iterable: Any) -> None:
        self._generator = iterable if type(iterable) is Generated else None
        self._count: Any = None
        self._number, self._endless = 0, hasattr(iterable, "__next__")

    def under(self, stop: Any) -> None:
        """An item more has been taken, which counts unless ``stop``."""
        self._number += 1
        if self._number > _MOST and self._endless:
            raise RollError(
                f"a loop has taken {_MOST} items of an iterator that Python runs, and where it ends is known only when "
                "the program runs. Write the iterator as a generator function, or the loop as a while loop.",
                user_location(),
            )
        if self._generator is None:
            return
        if self._count is None:
            self._count = self._generator.position - 1
        count = self._count
        self._count = ifexp(not_(stop), lambda: count + 1, lambda: count, 0)

    def end(self, stop: Any) -> None:
        """The loop has ended, early if ``stop``."""
        if self._generator is not None and self._count is not None:
            count = self._count
            self._generator.move(ifexp(stop, lambda: count, lambda: EXHAUSTED, 0))


def unrolled(
    iterable: Iterable[Any], body: Callable[..., State], state: State, names: Sequence[str], flag: str | None
) -> State:
    """The loop run by Python. Once the flag is traced, the iterations that are left run under a condition."""
    place, taken = None if flag is None else names.index(flag), Taken(iterable)
    if place is not None and _is_sure(state[place]):
        return state
    for item in iterable:
        stop = False if place is None else state[place]
        if is_traced(stop):
            taken.under(stop)
            state = if_(not_(stop), lambda *s, item=item: body(item, *s), lambda *s: s, state, names, 0)
            continue
        state = body(item, *state)
        if place is not None and _is_sure(state[place]):  # no further item is taken
            return state
    if place is not None:
        taken.end(state[place])
    return state


def _is_sure(stop: Any) -> bool:
    return not is_traced(stop) and bool(stop)


def code_of(body: Callable[..., State]) -> Any:
    """What tells a loop from others."""
    return getattr(body, "__code__", body)


def loop_key(trace: Trace, body: Callable[..., State], count: int) -> Hashable:
    """A loop of so many iterations, in the generators that it is in."""
    return ("unrolled", code_of(body), count, *(code_of(c.body) for c in trace.consumers))


def with_consumers(trace: Trace | None, lists: Callable[[], Listed]) -> Callable[[], Listed]:
    """The lists that a loop changes: those of the loop that consumes the generator it is in, too."""
    if trace is None or not trace.consumers:
        return lists
    consumers = tuple(trace.consumers)

    def found() -> Listed:
        only, read, variables = map(list, lists())
        for consumer in consumers:
            more = consumer.lists()
            only, read, variables = [*only, *more[0]], [*read, *more[1]], [*variables, *more[2]]
        return only, read, variables

    return found
