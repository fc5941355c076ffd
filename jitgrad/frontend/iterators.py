"""Generators that stand for iterators of Python's in traced functions: ``enumerate``, ``zip``, ``map`` and ``filter``
of generators, generator expressions, and those of ``itertools``. A loop consumes them as it does those of the user's
(``consumed``), and where it can't, Python runs them as they are written here.
"""

from __future__ import annotations

import functools
import itertools
import operator
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jitgrad.frontend.complex_pair import Pair
from jitgrad.frontend.consumable import Generated, consumable, noting
from jitgrad.frontend.iteration import Steps, bound_value, steps_of
from jitgrad.frontend.namespace import Mirror
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.syntax_nodes import RUNTIME
from jitgrad.frontend.tracer import Collection, Tracer
from jitgrad.frontend.users_protocols import iterated
from jitgrad.ir.location import user_location

# Their parameters have no types, as the rewritten forms run with traced values too.
# pyright: reportMissingParameterType=false


#: What is before the first item.
_NOTHING = object()


def generated(function: Any, *args: Any) -> Generated:
    """A generator of one of the functions below."""
    runtime = {**function.__globals__, RUNTIME: HOOKS["runtime"]()}
    return noting(types.FunctionType(function.__code__, runtime, function.__name__))(*args)


def _numbered(iterable, number):
    for item in iterable:
        yield number, item
        number = number + 1


def _zipped(iterable, before, after, joined):
    """``before`` and ``after``: how many items the arguments in front of the iterable have, and those behind it."""
    k = 0
    if k >= before:
        return
    for item in iterable:
        if k >= after:
            return
        yield joined(k, item)
        k = k + 1
        if k >= before:
            return


def _mapped(function, iterable):
    for item in iterable:
        yield function(item)


def _expression(iterable, choose):
    for item in iterable:
        test, element = choose(item)
        if test:
            yield element()


def _filtered(keeps, iterable):
    for item in iterable:
        if keeps(item):
            yield item


def _taken_while(keeps, iterable):
    for item in iterable:
        if not keeps(item):
            return
        yield item


def _dropped_while(drops, iterable):
    dropping = True
    for item in iterable:
        dropping = dropping and drops(item)
        if not dropping:
            yield item


def _accumulated(iterable, function, total):
    if total is not None:
        yield total
    for item in iterable:
        total = item if total is None else function(total, item)
        yield total


def _sliced(iterable, start, stop, step):
    k, wanted = 0, start
    if stop is not None and stop <= 0:
        return
    for item in iterable:
        if k == wanted:
            wanted = wanted + step
            yield item
        k = k + 1
        if stop is not None and k >= stop:
            return


def _chained(iterables):
    for iterable in iterables:
        yield from iterable


def _paired(iterable):
    before = _NOTHING
    for item in iterable:
        if before is not _NOTHING:
            yield before, item
        before = item


def _spread(function, iterable):
    for args in iterable:
        yield function(*args)


def _counted(number, step):
    while True:
        yield number
        number = number + step


# -- what is called in the place of Python's ---------------------------------------------------------------------------


def _is_recorded(iterable: Any) -> bool:
    """May a loop over it be recorded, and is it no list or array of Python's own?"""
    if consumable(iterable):
        return True
    return isinstance(iterable, (Tracer, Pair, Steps, Collection)) and steps_of(iterable) is not None


def numbered(iterable: Any, start: Any) -> Generated:
    """``enumerate`` of a generator."""
    return generated(_numbered, iterable, start)


def zipped(args: Sequence[Any]) -> Generated | None:
    """``zip`` of one generator and of arguments that have lengths; None for others."""
    places = [n for n, a in enumerate(args) if consumable(a)]
    steps = [None if consumable(a) else steps_of(a) for a in args]
    if len(places) != 1 or sum(s is None for s in steps) > 1:
        return None
    (place,) = places

    def least(some: Sequence[Steps | None]) -> Any:
        counts = [bound_value(s.count) for s in some if s is not None]
        if all(isinstance(n, int) for n in counts):
            return min(counts, default=1 << 62)
        found = counts[0]
        for n in counts[1:]:
            found = np.minimum(found, n)
        return found

    def joined(k: Any, item: Any) -> Any:
        return tuple(item if s is None else s.at(k) for s in steps)

    return generated(_zipped, args[place], least(steps[:place]), least(steps[place + 1 :]), joined)


def mapped(function: Any, iterable: Any) -> Generated:
    """``map`` of a generator."""
    return generated(_mapped, HOOKS["callee"](function), iterable)


def filtering(keeps: Any, iterable: Any, by_python: Callable[[], Iterator[Any]]) -> Generated:
    """``filter``; ``by_python`` makes what Python runs in its place."""
    found = generated(_filtered, keeps, iterable)
    return Generated(by_python, found.plain, found.inputs)


def generator_of(iterable: Any, choose: Callable[[Any], Any], by_python: Callable[[], Iterator[Any]]) -> Generated:
    """``(element for item in iterable if test)``; ``choose(item)`` gives the test, and a function for the element;
    ``by_python`` makes what Python runs in its place."""
    found = generated(_expression, iterable, choose)
    return Generated(by_python, found.plain, found.inputs)


def _in_trace(cls: type, ours: Callable[..., Any]) -> Callable[..., Any]:
    """``ours`` gets arguments as the class does, and gives None where Python's own will do."""

    def call(*args: Any, **kwargs: Any) -> Any:
        args = tuple(map(iterated, args))
        found = None if HOOKS["current_trace"]() is None else ours(*args, **kwargs)
        return cls(*args, **kwargs) if found is None else found

    return call


def _take_while(predicate: Any, iterable: Any) -> Any:
    return generated(_taken_while, HOOKS["callee"](predicate), iterable)


def _drop_while(predicate: Any, iterable: Any) -> Any:
    return generated(_dropped_while, HOOKS["callee"](predicate), iterable)


def _accumulate(iterable: Any, func: Any = None, *, initial: Any = None) -> Any:
    function = operator.add if func is None else HOOKS["callee"](func)
    return generated(_accumulated, iterable, function, initial) if _is_recorded(iterable) else None


def _islice(iterable: Any, *bounds: Any) -> Any:
    if not _is_recorded(iterable) or not 1 <= len(bounds) <= 3:
        return None
    start, stop, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, None)[:3]
    start, step = (0 if start is None else start), (1 if step is None else step)
    if any(isinstance(n, int) and n < least for n, least in ((start, 0), (stop, 0), (step, 1))):
        return None  # Python says what is wrong
    return generated(_sliced, iterable, start, stop, step)


def _chain(*iterables: Iterable[Any]) -> Any:
    return generated(_chained, iterables) if any(map(_is_recorded, iterables)) else None


def _reduce(function: Any, iterable: Any, /, *initial: Any) -> Any:
    """``functools.reduce``: over what a loop is recorded over, such a loop."""
    function, iterable = HOOKS["callee"](function), iterated(iterable)
    steps = steps_of(iterable) if _is_recorded(iterable) else None
    if (
        HOOKS["current_trace"]() is None
        or len(initial) > 1
        or (steps is None and not (initial and consumable(iterable)))
    ):
        return functools.reduce(function, iterable, *initial)
    if not initial and steps is not None:
        if isinstance(steps.count, int) and not steps.count:
            return functools.reduce(function, ())  # Python says what is wrong
        initial, iterable = (steps.at(0),), steps.behind(1)

    def body(item: Any, total: Any) -> tuple[Any, ...]:
        return (function(total, item),)

    location = user_location()
    line = 0 if location is None else location.line
    loop = HOOKS["runtime"]().for_
    return loop(iterable, body, initial, ("total",), None, lambda: (), line, 1, lambda: ((), (), ()))[0]


def _pairwise(iterable: Any) -> Any:
    if not _is_recorded(iterable):
        return None
    steps = steps_of(iterable)
    if steps is None:
        return generated(_paired, iterable)
    if not isinstance(steps.count, int):
        return None
    return Steps(0, max(steps.count - 1, 0), 1, lambda k: (steps.at(k), steps.at(k + 1)))


def _starmap(function: Any, iterable: Any) -> Any:
    return generated(_spread, HOOKS["callee"](function), iterable) if _is_recorded(iterable) else None


def _count(start: Any = 0, step: Any = 1) -> Any:
    return generated(_counted, start, step)


CLASSES: dict[type, Callable[..., Any]] = {
    itertools.takewhile: _in_trace(itertools.takewhile, _take_while),
    itertools.dropwhile: _in_trace(itertools.dropwhile, _drop_while),
    itertools.accumulate: _in_trace(itertools.accumulate, _accumulate),
    itertools.islice: _in_trace(itertools.islice, _islice),
    itertools.chain: _in_trace(itertools.chain, _chain),
    itertools.pairwise: _in_trace(itertools.pairwise, _pairwise),
    itertools.starmap: _in_trace(itertools.starmap, _starmap),
    itertools.count: _in_trace(itertools.count, _count),
}
FUNCTOOLS_FUNCTIONS: dict[Any, Any] = {functools.reduce: _reduce}
FUNCTOOLS = Mirror(functools, "functools", {}, {"reduce": _reduce})
HOOKS["numbered"], HOOKS["zipped"] = numbered, zipped
