"""What ends a trial of a loop in which lists grow (see ``growth``), as it has shown something of a list that was not
known: the trial is made once more then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitgrad.errors import CarryError, RollError
from jitgrad.frontend.trace import Trace
from jitgrad.ir.location import user_location

if TYPE_CHECKING:
    from jitgrad.frontend.growing import Growing


class Again(RollError):
    """A trial has shown what is done with a list, and has to be made once more with that known."""

    why = "it puts items in front of a list, or takes them there."

    def __init__(self, of: Growing) -> None:
        super().__init__(self.why, user_location())
        self.of = of


class NoItems(CarryError):
    """Items of a list are used of which it is not known yet what they are."""

    def __init__(self, of: Growing, message: str) -> None:
        super().__init__(message, user_location())
        self.of = of


class Wider(Again):
    """An item is read that the window of a list does not have. ``width`` is what it should be, None for all."""

    def __init__(self, of: Growing, width: int | None) -> None:
        super().__init__(of)
        self.width = width


class Unlimited(Again):
    """Nothing that is known before a loop limits how many items a list gets in it: it is run to find out."""

    why = "how many items it appends to a list or an array is not limited."


def is_of_loop_around(trace: Trace, error: BaseException) -> bool:
    """Is it a loop around that is recorded again, as it makes the list longer?"""
    return isinstance(error, Again) and any(error.of is g for g in trace.growing)
