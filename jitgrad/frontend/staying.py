"""What rewritten functions call for loops and conditions that stay Python's, and for variables that may be unbound."""

from __future__ import annotations

from typing import Any

from jitgrad.errors import UnsupportedError
from jitgrad.frontend.carries import UNBOUND
from jitgrad.frontend.iteration import Steps
from jitgrad.frontend.tracer import is_traced
from jitgrad.frontend.users_protocols import iterated, truth
from jitgrad.ir.location import user_location


def opaque_iter(iterable: Any, reason: str, line: int) -> Any:
    """The iterable of a loop that can't be recorded."""
    iterable = iterated(iterable)
    if isinstance(iterable, Steps) and not isinstance(iterable.count, int):
        raise UnsupportedError(
            f"the loop at line {line} runs over a range whose length is traced, and it can't be recorded: "
            f"{reason}. Only recorded loops can have a traced length. Move that part into a function of its own, or "
            "make the length static.",
            user_location(),
        )
    return iterable


def comprehension_iter(iterable: Any, line: int) -> Any:
    """The iterable of a comprehension, which Python runs."""
    iterable = iterated(iterable)
    if isinstance(iterable, Steps) and not isinstance(iterable.count, int):
        raise UnsupportedError(
            f"the comprehension or generator expression at line {line} runs over a range whose length is traced. "
            "Python runs it while the function is traced, when that length is not known. Write a for statement, which "
            "is recorded (s = 0.0, then for i in range(n): s += x[i]; or out[i] = ... in an array with room for all), "
            "or make the length static with jit(static_argnames=...).",
            user_location(),
        )
    return iterable


def opaque_test(test: Any, reason: str, line: int) -> Any:
    """The condition of an ``if`` or ``while`` that can't be recorded."""
    test = truth(test)
    if is_traced(test):
        raise UnsupportedError(
            f"the condition at line {line} is traced, and the statement can't be recorded: {reason}. Which "
            "way it goes is not known while the function is traced. Move that part into a function of its own, or use "
            "np.where.",
            user_location(),
        )
    return test


def bound(value: Any, name: str) -> Any:
    """The value of a variable, which must have one."""
    if value is UNBOUND:
        raise UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value")
    return value


def bound_free(value: Any, name: str) -> Any:
    """The value of a variable of a function around, which must have one."""
    if value is UNBOUND:
        raise NameError(f"cannot access free variable '{name}' where it is not associated with a value")
    return value
