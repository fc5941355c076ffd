"""List comprehensions without conditions: loops that append to a list of their own, recorded where that pays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.frontend.collected import OfObjects, Own, record_collecting
from jitgrad.frontend.consumable import consumable
from jitgrad.frontend.filtered import filtered, gathered
from jitgrad.frontend.grown_loops import grow_for
from jitgrad.frontend.growth import Held
from jitgrad.frontend.iteration import steps_of
from jitgrad.frontend.loop_choices import (
    LONGEST,
    UNROLLABLE,
    accept,
    copied,
    is_short,
    is_static,
    may_stream,
    note_loop,
    refuse_streams,
)
from jitgrad.frontend.loops import For
from jitgrad.frontend.recording import attempt
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.staying import comprehension_iter
from jitgrad.frontend.users_protocols import iterated

State = tuple[Any, ...]


def collect(iterable: Any, element: Callable[[Any], Any], line: int, size: int) -> list[Any]:
    """``[element(item) for item in iterable]``; ``size`` counts the operations that are written in it."""
    found: list[Any] = []
    iterable = iterated(iterable)
    if consumable(iterable):
        return gathered(iterable, element)

    def body(item: Any) -> State:
        found.append(element(item))
        return ()

    def run() -> list[Any]:
        found.clear()
        for item in comprehension_iter(iterable, line):
            body(item)
        return found

    steps, trace = steps_of(iterable), HOOKS["current_trace"]()
    if steps is None or trace is None:
        return run()
    if not isinstance(steps.count, int):
        return filtered(iterable, lambda item: (True, lambda: element(item)), line)
    if trace.options.loops == "unroll":
        return run()
    automatic = trace.options.loops == "auto"
    if automatic and is_short(trace, len(steps), size):
        with copied(trace, len(steps)):
            return run()
    if automatic and is_static(trace, steps, body, (), ()):
        return run()
    found.clear()
    look = refuse_streams if may_stream(trace, len(steps)) else accept
    loop = For(trace, steps, body, (), (), None, (), look)

    def put(value: Any) -> None:
        nonlocal found
        found = value

    try:
        try:
            with attempt(trace):
                record_collecting(loop, Own([found], []))
        except OfObjects:
            found.clear()
            with attempt(trace):
                grow_for(loop, [Held(found, put)])
    except UNROLLABLE as error:
        if not automatic or len(steps) > LONGEST:
            raise
        note_loop(trace, line, "comprehension", f"unrolled, {len(steps)} iterations: {error.message.split('. ')[0]}")
        return run()
    note_loop(trace, line, "comprehension", "rolled")
    return found
