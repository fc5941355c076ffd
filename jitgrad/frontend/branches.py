"""What rewritten functions call for branches, conditional expressions and assertions (see ``jitgrad.frontend.syntax``).

Where the test is not traced, each does what Python does; a traced one is recorded as a ``cond``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jitgrad.frontend.branching import record_branches
from jitgrad.frontend.grown_loops import branches
from jitgrad.frontend.junctions import truth
from jitgrad.frontend.raising import fail_in, sealed, thrown
from jitgrad.frontend.recording import condition
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import innermost_trace, is_traced

State = tuple[Any, ...]


def current_trace() -> Trace | None:
    """The trace that runs in this thread."""
    return HOOKS["current_trace"]()


def if_(
    test: Any,
    then: Callable[..., State],
    orelse: Callable[..., State],
    state: State,
    names: Sequence[str],
    line: int,
) -> State:
    """``if test: state = then(*state) else: state = orelse(*state)``."""
    test = truth(test)
    if not is_traced(test):
        return then(*state) if test else orelse(*state)
    return _branches(test, [lambda: then(*state), lambda: orelse(*state)], names)


def _branches(test: Any, outcomes: Sequence[Callable[[], State]], names: Sequence[str]) -> State:
    trace = current_trace() or innermost_trace(test)
    selector = condition(trace, test, "if")
    return branches(
        trace, lambda thunks, labels: record_branches(trace, "cond", selector, thunks, labels), outcomes, names
    )


def if_return(test: Any, then: Callable[[], Any], orelse: Callable[[], Any], line: int) -> Any:
    """``if test: return then() else: return orelse()``."""
    return _choice(test, then, orelse, "the result")


def ifexp(test: Any, then: Callable[[], Any], orelse: Callable[[], Any], line: int) -> Any:
    """``then() if test else orelse()``."""
    return _choice(test, then, orelse, "the value of the conditional expression")


def _choice(test: Any, then: Callable[[], Any], orelse: Callable[[], Any], name: str) -> Any:
    test = truth(test)
    if not is_traced(test):
        return then() if test else orelse()
    (value,) = _branches(test, [lambda: (then(),), lambda: (orelse(),)], (name,))
    return value


def assert_(test: Any, message: Callable[[], Any] | None, line: int) -> None:
    """``assert test, message()``."""

    def error() -> AssertionError:
        return AssertionError(*([] if message is None else [message()]))

    test = truth(test)
    if not is_traced(test):
        if not test:
            raise thrown(error)
        return
    trace = current_trace() or innermost_trace(test)
    ok = condition(trace, test, "assert")
    with trace.region("an assertion") as scope:
        made = thrown(error)
        failing = sealed(trace, scope, made)
        if failing is None:
            raise made
    fail_in(trace, ok, 1, failing)
