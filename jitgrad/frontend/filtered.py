"""List comprehensions with a condition: ``[element for target in iterable if test]``.

Python runs one as long as its tests are known. From the first traced test on, it is the loop that it stands for, in
rewritten form, as if the user had written it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from typing import Any

from jitgrad.frontend.iteration import Steps, steps_of
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.staying import comprehension_iter
from jitgrad.frontend.syntax import rewrite
from jitgrad.frontend.syntax_nodes import RUNTIME
from jitgrad.frontend.tracer import is_traced

#: A function of an item: the test, and a function that gives the element.
Choice = Callable[[Any], tuple[Any, Callable[[], Any]]]


def _kept(iterable, choose, before):  # pyright: ignore[reportMissingParameterType]
    found = [*before]
    for item in iterable:
        test, element = choose(item)
        if test:
            found.append(element())
    return found


def filtered(iterable: Any, choose: Choice, line: int) -> Any:
    """``[element for item in iterable if test]``."""
    steps = steps_of(iterable) if HOOKS["current_trace"]() is not None else None
    if steps is not None and not isinstance(steps.count, int):
        return _recorded(iterable, choose, [])
    items: Iterable[Any] = iter(comprehension_iter(iterable, line))
    found: list[Any] = []
    for k, item in enumerate(items):
        test, element = choose(item)
        if is_traced(test):
            if steps is None:
                return _recorded([item, *items], choose, found)
            rest = iterable if k == 0 else Steps(steps.lo + k * steps.step, steps.hi, steps.step, steps.item)
            return _recorded(rest, choose, found)
        if test:
            found.append(element())
    return found


def _recorded(iterable: Any, choose: Choice, before: list[Any]) -> Any:
    code = rewrite(_kept)
    assert code is not None
    return types.FunctionType(code, {RUNTIME: HOOKS["runtime"]()})(iterable, choose, before)
