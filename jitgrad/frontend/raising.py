"""``raise`` and ``assert`` where traced values decide whether the program comes there.

A branch that raises has no values: the program goes on in the other one, behind a ``check`` that ends it where the
first is taken. What the exception says of traced values becomes holes in its message, which are filled when it is
raised.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jitgrad.errors import UnsupportedError
from jitgrad.frontend.complex_pair import Pair
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import Scope
from jitgrad.frontend.texts import Text, hole_maker
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import SHOWING, Tracer, has_traced, innermost_trace
from jitgrad.ir.core import Block
from jitgrad.ir.location import Location, user_location
from jitgrad.ir.thrown import Hole, Thrown, copied, mark, plain, with_imaginary
from jitgrad.ir.types import bool_

#: The attribute of an exception that a ``raise`` statement of a traced function made: a :class:`_Raised`.
_RAISED = "__jitgrad_raised__"


class _Raised(NamedTuple):
    """Where it was raised, and the traced values that its message shows, each with a format."""

    location: Location | None
    shown: list[tuple[Tracer, str]]


class _State(threading.local):
    """``handlers``: how many ``try`` statements with handlers are around."""

    handlers: int = 0


_state = _State()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """The body of a ``try`` statement that has handlers."""
    _state.handlers += 1
    try:
        yield
    finally:
        _state.handlers -= 1


def thrown(make: Callable[[], Any]) -> Any:
    """What ``raise make()`` raises. It remembers its place, and what its message shows."""
    trace: Trace | None = HOOKS["current_trace"]()
    if trace is None:
        return make()
    found: list[tuple[Tracer, str]] = []
    token = SHOWING.set(hole_maker(found) if not _state.handlers else lambda x, spec: x.described())
    try:
        made = make()
    finally:
        SHOWING.reset(token)
    return _placed(made, found)


def _placed(made: Any, found: list[tuple[Tracer, str]]) -> Any:
    error = made() if isinstance(made, type) and issubclass(made, Exception) else made
    if isinstance(error, Exception):
        error.__dict__[_RAISED] = _Raised(user_location(), found)
    return error


def was_raised(error: BaseException) -> bool:
    """Was it made by a ``raise`` statement of a traced function?"""
    return _RAISED in getattr(error, "__dict__", ())


def never_raised(error: BaseException, what: str) -> UnsupportedError:
    """The error for a ``raise`` that can't be recorded."""
    location, found = error.__dict__[_RAISED]
    text = plain(str(error), [repr(x) for x, _ in found])
    name = f"{type(error).__name__} ({text})" if text else type(error).__name__
    why = "It is raised on every way through that code, and how often it runs is traced."
    if _state.handlers:
        why = "A 'try' around it may catch it, and a compiled program can't go on in a handler."
    return UnsupportedError(
        f"{name} is raised in {what} that is recorded. {why} Raise it under an 'if' that is in no 'try', or return a "
        "flag beside the result and raise where the function is called.",
        location,
    )


HOOKS["was_raised"] = was_raised
HOOKS["never_raised"] = never_raised


class Failing(NamedTuple):
    """A branch that raises. ``values`` fill the holes; a branch that computes some of them has a ``block``, which ends
    the program itself."""

    error: Thrown
    location: Location | None
    values: list[Tracer]
    block: Block | None


def sealed(trace: Trace, scope: Scope, error: BaseException) -> Failing | None:
    """The branch that is recorded in ``scope``, and has just raised; None if it can't be recorded. To be called while
    the scope is open."""
    if not was_raised(error) or _state.handlers:
        return None
    made, location, values = _taken_apart(trace, error)
    inside = any(x.scope is scope for x in values) or scope.written or any(op.effects for op in scope.ops)
    block = None
    if inside:
        _check(trace, Tracer(trace, trace.scalar(False, bool_)), made, values, location)
        block = scope.finish(())
    return Failing(made, location, values, block)


def _taken_apart(trace: Trace, error: BaseException) -> tuple[Thrown, Location | None, list[Tracer]]:
    """An exception with holes, where it was raised, and the values that fill them."""
    location, found = error.__dict__[_RAISED]
    values = [x for x, _ in found]
    specs = [spec for _, spec in found]

    def change(item: Any) -> Any:
        if isinstance(item, Text):
            number = len(values)
            values.extend(x for x, _ in item.shown)
            specs.extend(spec for _, spec in item.shown)
            marks = iter(range(number, len(values)))
            return item.by(lambda x, spec: mark(next(marks)))
        if isinstance(item, Tracer):
            values.append(item)
            specs.append("")
            return Hole(len(values) - 1)
        if isinstance(item, Pair) and has_traced(item):
            values.extend([item.re, item.im])
            specs.extend([with_imaginary(len(values) - 1, ""), ""])
            return Hole(len(values) - 2)
        return item

    made = copied(error, change)
    del made.__dict__[_RAISED]
    return Thrown(made, specs), location, [trace.lift(x) for x in values]


def ends(trace: Trace, error: Exception) -> bool:
    """Let the program end with an exception that the traced function raises whatever its arguments are. False where
    there is no need to run it: nothing that it does before may fail, and the message shows no traced values."""
    if not was_raised(error):
        return False
    made, location, values = _taken_apart(trace, error)
    if not values and not any(op.effects for op in trace.top.ops):
        return False
    _check(trace, Tracer(trace, trace.scalar(False, bool_)), made, values, location)
    return True


def fail_in(trace: Trace, selector: Tracer, number: int, failing: Failing) -> None:
    """End the program where the selector takes branch ``number``: 0 where it is True, 1 where it is False."""
    if failing.block is not None:
        with trace.region() as scope:
            other = scope.finish(())
        trace.builder.loc = failing.location
        blocks = (failing.block, other) if number == 0 else (other, failing.block)
        trace.builder.emit_op("cond", [trace.own(selector)], {}, blocks)
        return
    if number == 0:
        (value,) = trace.emit("logical_not", [selector], {})
        selector = Tracer(trace, value)
    _check(trace, selector, failing.error, failing.values, failing.location)


def demand(ok: Tracer, error: Exception, *values: Tracer) -> None:
    """End the program where ``ok``, a bool scalar, is False. Holes in the message (:func:`jitgrad.ir.thrown.mark`) are
    filled with the values. No handler of the traced function gets the exception."""
    _check(innermost_trace(ok, *values), ok, Thrown(error, [""] * len(values)), list(values), user_location())


def _check(trace: Trace, ok: Tracer, error: Thrown, values: list[Tracer], location: Location | None) -> None:
    operands = [trace.own(x) for x in (ok, *values)]
    trace.builder.loc = location
    trace.builder.emit_op("check", operands, {"error": error})
