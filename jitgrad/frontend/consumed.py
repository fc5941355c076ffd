"""Loops over generators of the user's: the generator runs as a plain function that calls the body of the loop for what
it yields (``syntax_yields``). Its own loops and branches are then recorded, with the variables of the loop that
consumes
it as the attributes of an object, :class:`Sink`.

A generator that has been started, that is rewritten for no loop, or whose loop can't be recorded in this way, is
iterated over by Python.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from jitgrad.frontend.carries import UNBOUND
from jitgrad.frontend.consumable import Generator
from jitgrad.frontend.loop_choices import failure
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import drop, put
from jitgrad.frontend.trace import Trace

State = tuple[Any, ...]
Listed = tuple[Sequence[Any], Sequence[Any], Sequence[tuple[Any, ...]]]


class Sink:
    """Where a generator sends what it yields: the body of a loop, whose variables are the attributes."""

    def __init__(self, names: Sequence[str], state: State) -> None:
        self.__dict__.update((n, value) for n, value in zip(names, state, strict=True) if value is not UNBOUND)


class Consumer:
    """The loop that consumes a generator: its ``sink``, and the ``lists`` that its body changes, as a loop of the
    generator's has to know them."""

    def __init__(
        self,
        trace: Trace,
        body: Callable[..., State],
        state: State,
        names: Sequence[str],
        flag: str | None,
        lists: Callable[[], Listed],
    ) -> None:
        self.trace, self.body, self.names, self.flag, self._lists = trace, body, names, flag, lists
        self.sink = Sink(names, state)

    def state(self) -> State:
        held = self.sink.__dict__
        return tuple(held.get(name, UNBOUND) for name in self.names)

    def take(self, item: Any) -> Any:
        """The body of the loop, for an item. Has the loop ended?"""
        before = self.state()
        new = self.body(item, *before)
        for name, old, value in zip(self.names, before, new, strict=True):
            if value is not old:
                self._set(name, value)
        return False if self.flag is None else new[self.names.index(self.flag)]

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
    generator: Generator,
    body: Callable[..., State],
    state: State,
    names: Sequence[str],
    flag: str | None,
    lists: Callable[[], Listed],
) -> State | None:
    """The loop's variables behind it; None if it can't be recorded in this way, with nothing recorded."""

    def whole() -> State:
        consumer = Consumer(trace, body, state, names, flag, lists)
        trace.consumers.append(consumer)
        try:
            generator.run()
        finally:
            trace.consumers.pop()
        return consumer.state()

    if failure(trace, whole) is not None:
        return None
    after = whole()
    generator.leave(trace, False if flag is None else after[names.index(flag)])
    return after


def sent(value: Any) -> Any:
    """Give what a generator yields to the loop that consumes it. Has that ended?"""
    trace: Trace = HOOKS["current_trace"]()
    consumer = trace.consumers.pop()  # the body may run other generators, or be one itself
    try:
        return consumer.take(value)
    finally:
        trace.consumers.append(consumer)


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
