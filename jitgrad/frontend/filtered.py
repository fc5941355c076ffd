"""List comprehensions with a condition, ``[element for target in iterable if test]``, the first item of such, and
``any`` and ``all`` of a generator.

Python runs one as long as its tests are known. From the first traced test on, it is the loop that it stands for, in
rewritten form, as if the user had written it; ``any`` and ``all`` look at all items from there on.
"""

from __future__ import annotations

import builtins
import itertools
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from jitgrad.frontend.consumable import consumable
from jitgrad.frontend.consumed import consuming
from jitgrad.frontend.copied_items import Sources
from jitgrad.frontend.growing import Growing
from jitgrad.frontend.iteration import Steps, steps_of
from jitgrad.frontend.iterators import generator_of
from jitgrad.frontend.junctions import and_, not_, truth
from jitgrad.frontend.loop_choices import failure, is_unrollable
from jitgrad.frontend.python_functions import BUILTINS
from jitgrad.frontend.recording import condition
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.staying import comprehension_iter, opaque_test
from jitgrad.frontend.syntax import rewrite
from jitgrad.frontend.syntax_nodes import RUNTIME
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, is_traced
from jitgrad.frontend.users_protocols import iterated

#: A function of an item: the test, and a function that gives the element.
Choice = Callable[[Any], tuple[Any, Callable[[], Any]]]
#: So many items of a generator Python looks at to find that it ends.
_MOST = 10_000


def _kept(iterable, choose, before):  # pyright: ignore[reportMissingParameterType]
    found = [*before]
    for item in iterable:
        test, element = choose(item)
        if test:
            found.append(element())
    return found


def filtered(iterable: Any, choose: Choice, line: int) -> Any:
    """``[element for item in iterable if test]``."""
    iterable = iterated(iterable)
    steps = steps_of(iterable) if HOOKS["current_trace"]() is not None else None
    if consumable(iterable) or (steps is not None and not isinstance(steps.count, int)):
        return _recorded(iterable, choose, [])
    items: Iterable[Any] = iter(comprehension_iter(iterable, line))
    found: list[Any] = []
    for k, item in enumerate(items):
        test, element = choose(item)
        if is_traced(test):
            if steps is None:
                return _recorded([item, *items], choose, found)
            return _recorded(iterable if k == 0 else _behind(steps, k), choose, found)
        if test:
            found.append(element())
    return found


def flattened(iterable: Any, choose: Choice, line: int, size: int) -> Any:
    """``[x for item in iterable if test for x in element]``, where the elements are lists: the loop that this stands
    for. ``size`` counts the operations that are written in it."""
    runtime, found = HOOKS["runtime"](), []

    def put(items: Any) -> None:
        nonlocal found
        found = items

    def listed() -> Any:
        return (), (), (("a list", lambda: found, put, "appended"),)

    def body(item: Any) -> tuple[()]:
        test, element = choose(item)

        def extend() -> tuple[()]:
            runtime.called(found, "extend")(element())
            return ()

        runtime.if_(test, extend, lambda: (), (), (), line, listed)
        return ()

    runtime.for_(iterable, body, (), (), None, lambda: (), line, size, listed)
    return found


def gathered(iterable: Any, element: Callable[[Any], Any]) -> list[Any]:
    """``[element(item) for item in iterable]`` of a generator that a loop can consume. Where Python knows how long that
    is, it is no list whose length gets known when the program runs."""
    trace: Trace = HOOKS["current_trace"]()
    run, known = rewritten(_mapped), False

    def recorded() -> None:
        nonlocal known
        known = type(run(iterable, element)) is list

    with consuming(trace):
        if failure(trace, recorded) is None and not known and _ends(trace, iterable, element):
            return [element(item) for item in iterable]
        return run(iterable, element)


def _ends(trace: Trace, iterable: Any, element: Callable[[Any], Any]) -> bool:
    """Can Python make the list of a generator's items?"""
    return is_unrollable(trace, lambda: [element(item) for item in itertools.islice(iterable, _MOST)])


HOOKS["gathered"] = gathered
#: ``next`` of a generator, as a loop that ends after an item.
HOOKS["first"] = lambda iterable, *default: first(iterable, lambda item: (True, lambda: item), 0, *default)


def expression(iterable: Any, choose: Choice, line: int) -> Any:
    """``(element for item in iterable if test)``."""
    iterable = iterated(iterable)

    def by_python() -> Iterator[Any]:
        for item in comprehension_iter(iterable, line):
            test, element = choose(item)
            if opaque_test(test, "it is the condition of a comprehension", line):
                yield element()

    return by_python() if HOOKS["current_trace"]() is None else generator_of(iterable, choose, by_python)


def _mapped(iterable, element):  # pyright: ignore[reportMissingParameterType]
    found = []
    for item in iterable:
        found.append(element(item))  # noqa: PERF401  (a loop, which records generators)
    return found


def _behind(steps: Steps, k: int) -> Steps:
    """All but the first ``k``."""
    return Steps(steps.lo + k * steps.step, steps.hi, steps.step, steps.item)


def _recorded(iterable: Any, choose: Choice, before: list[Any]) -> Any:
    """``[*before, *those that are chosen]``, of a length that only the run tells. Parts of arrays that were there
    before, as in ``[x[i] for i in places]``, are copied."""
    if consumable(iterable) or before:
        return rewritten(_kept)(iterable, choose, before)
    sources = Sources(HOOKS["current_trace"]())

    def choose_own(item: Any) -> tuple[Any, Callable[[], Any]]:
        test, element = choose(item)
        return test, lambda: sources.own(element())

    found = rewritten(_kept)(iterable, choose_own, before)
    if type(found) is Growing:
        found.sources = sources.arrays
    elif sources.arrays:
        return rewritten(_kept)(iterable, choose, before)
    return found


def rewritten(fun: types.FunctionType) -> types.FunctionType:
    """A function of the package, without variables of a closure, in the form in which the user's are run."""
    code = rewrite(fun)
    assert code is not None
    return types.FunctionType(code, {**fun.__globals__, RUNTIME: HOOKS["runtime"]()})


def _first(iterable, choose, default):  # pyright: ignore[reportMissingParameterType]
    for item in iterable:
        test, element = choose(item)
        if test:
            return element()
    return default


def _first_of_some(iterable, choose):  # pyright: ignore[reportMissingParameterType]
    for item in iterable:
        test, element = choose(item)
        if test:
            return element()
    raise StopIteration


def first(iterable: Any, choose: Choice, line: int, *default: Any) -> Any:
    """``next((element for item in iterable if test), default)``."""
    iterable = iterated(iterable)
    if HOOKS["current_trace"]() is None:
        return next((element() for test, element in map(choose, iterable) if test), *default)
    fun: Any = _first if default else _first_of_some
    return rewritten(fun)(iterable, choose, *default)


def quantified(function: Any, iterable: Any, choose: Choice, line: int, size: int) -> Any:
    """``any(element for item in iterable if test)``, or ``all``: ``function`` is what the name means there."""
    iterable = iterated(iterable)
    name = next((n for n in ("any", "all") if function in (getattr(builtins, n), BUILTINS[n])), None)
    if name is None:
        return function(element() for test, element in map(choose, iterable) if test)

    def decides(item: Any) -> Any:
        """Does the item make ``any`` true, or ``all`` false?"""
        test, element = choose(item)
        return truth(and_(test, element if name == "any" else lambda: not_(element())))

    trace = HOOKS["current_trace"]()
    steps = steps_of(iterable) if trace is not None else None
    if consumable(iterable) or (steps is not None and not isinstance(steps.count, int)):
        return rewritten(_first)(iterable, lambda item: (decides(item), lambda: name == "any"), name != "any")
    items: Iterable[Any] = iter(comprehension_iter(iterable, line))
    for k, item in enumerate(items):
        decided = decides(item)
        if trace is not None and is_traced(decided):
            rest = list(items) if steps is None else _behind(steps, k + 1)
            others = HOOKS["runtime"]().collect(rest, decides, line, size)
            found: Any = np.logical_or(condition(trace, decided, name), BUILTINS["any"](others))
            found = found if name == "any" else np.logical_not(found)
            return Tracer(found.owner, found.value, "bool")
        if decided:
            return name == "any"
    return name != "any"
