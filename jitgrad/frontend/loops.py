"""Loops to record: what the functions that record them, each in its own way, have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jitgrad.frontend.iteration import Steps
from jitgrad.frontend.trace import Trace
from jitgrad.ir.core import Block

State = tuple[Any, ...]


class For(NamedTuple):
    """``for item in steps: state = body(item, *state)``, where ``names`` are those of the variables, and ``flag`` names
    the one that ends it, if any does. ``hints`` are objects in which lie arrays that it may write into. ``look`` gets
    the recorded body, and may raise an error if that should not be a loop. ``begins``: its first iteration may be run
    apart, and is the first of the program's."""

    trace: Trace
    steps: Steps
    body: Callable[..., State]
    state: State
    names: Sequence[str]
    flag: str | None
    hints: Sequence[Any]
    look: Callable[[Block], None]
    begins: bool = False

    @property
    def flagged(self) -> int | None:
        """The number of the variable that ends the loop."""
        return None if self.flag is None else self.names.index(self.flag)

    @property
    def item(self) -> Callable[[Any], Any]:
        """The item of an iteration, by its number from 0."""
        steps = self.steps
        return steps.item if (steps.lo, steps.step) == (0, 1) else steps.at


class While(NamedTuple):
    """``while test(*state): state = body(*state)``; names and hints as of a :class:`For`."""

    trace: Trace
    test: Callable[..., Any]
    body: Callable[..., State]
    state: State
    names: Sequence[str]
    hints: Sequence[Any]
