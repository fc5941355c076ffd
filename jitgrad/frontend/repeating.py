"""Loops that are unrolled for some iterations, and recorded from there on: those that come to repeat themselves, and
short ones whose iterations record much.

A list that grows up to a length and keeps it from then on (the last five steps of L-BFGS), or a variable that gets its
type in the third iteration, keeps a loop from being recorded as a whole. Two iterations in a row that record the same
ops say that it may be by now. Containers that are changed are carried with all that they hold, since they hold the same
number of things after each iteration.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from jitgrad.frontend.iteration import Steps
from jitgrad.frontend.list_trials import is_of_loop_around
from jitgrad.frontend.loop_choices import is_much
from jitgrad.frontend.loops import For
from jitgrad.frontend.references import forget_frames
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import is_traced
from jitgrad.ir.core import Op

State = tuple[Any, ...]
#: How often a recording is tried. One that fails has cost no more than an iteration.
_ATTEMPTS = 2


def unrolled_until_alike(
    loop: For,
    one: Callable[[Any, State], State],
    record: Callable[[For], State],
    is_long: Callable[[int], bool],
    refused: tuple[type[Exception], ...],
) -> tuple[State, int]:
    """The state after a loop of a known length, and how many of its iterations were unrolled.

    one : runs an iteration, as ``state = one(item, state)``.
    record : records the loop that it gets; where it raises one of the errors ``refused``, unrolling goes on.
    is_long : whether so many iterations are worth it.
    """
    trace, steps, place, state = loop.trace, loop.steps, loop.flagged, loop.state
    before: Hashable = None
    left = _ATTEMPTS
    for number in range(len(steps)):
        stop = False if place is None else state[place]
        if stop is True:
            return state, number
        ops, first = trace.builder.ops, len(trace.builder.ops)
        state = one(steps.at(number), state)
        rest = len(steps) - number - 1
        if not left or is_traced(stop) or trace.builder.ops is not ops or not is_long(rest):
            continue
        found = _kinds(ops[first:])
        alike, before = found == before, found
        if not alike or not found:
            continue
        left -= 1
        before = None  # the next attempt comes after two more
        try:
            return record(loop._replace(steps=steps.behind(number + 1), state=state, begins=False)), number + 1
        except refused as error:
            if is_of_loop_around(trace, error):
                raise  # the loop around that counts its iterations is recorded again
            forget_frames(error)
    return state, len(steps)


def unrolled_if_small(
    trace: Trace,
    iterable: Iterable[Any],
    steps: Steps,
    run: Callable[[Iterable[Any], State], State],
    state: State,
    ends: int | None,
) -> tuple[State, Steps | None]:
    """The state after a short loop that Python runs; or after the first iteration, with the steps that are left, where
    that one has recorded so much that the others should not. ``steps`` are those of the iterable, ``run(items, state)``
    unrolls iterations, and ``ends`` is the number of the variable that ends the loop."""
    items, first = iter(iterable), len(trace.builder.ops)
    state = run(itertools.islice(items, 1), state)
    if (ends is None or state[ends] is False) and is_much(trace.builder.ops[first:], len(steps) - 1):
        return state, steps.behind(1)
    return run(items, state), None


def _kinds(ops: Sequence[Op]) -> tuple[Hashable, ...]:
    """What ops are, and what they give, without where that comes from."""
    return tuple(
        (op.name, tuple(r.type for r in op.results), tuple(_kinds(region.ops) for region in op.regions)) for op in ops
    )
