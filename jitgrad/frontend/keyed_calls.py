"""Where dicts of numbers, sets and counters are made whose keys turn out to be traced: see ``keyed_tables``."""

from __future__ import annotations

import collections
import types
from collections.abc import Callable
from typing import Any

from jitgrad.frontend.bucket_tables import table
from jitgrad.frontend.consumable import consumable
from jitgrad.frontend.keyed_tables import KeyedCounter, KeyedDict, KeyedSet
from jitgrad.frontend.python_functions import CLASSES
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.tracer import contains_tracer


def _keyed(value: Any) -> Any:
    """The table with traced keys that holds what a dict, set or counter does."""
    make: Callable[..., Any] = HOOKS["callee"]
    if isinstance(value, set):
        made = make(KeyedSet)()
        for key in value:
            make(made.add)(key)
        return made
    if isinstance(value, collections.Counter):
        made = make(KeyedCounter)()
    elif isinstance(value, collections.defaultdict):
        default = None if value.default_factory is None else value.default_factory()
        if not isinstance(default, (bool, int, float)):
            return value
        made = make(KeyedDict)(default, True)
    else:
        made = make(KeyedDict)()
    for key, item in value.items():
        make(made.__setitem__)(key, item)
    return made


def _of_pairs(pairs: list[Any]) -> Any:
    """A dict that is written with traced keys."""
    make: Callable[..., Any] = HOOKS["callee"]
    made = make(KeyedDict)()
    for key, value in (p for x in pairs for p in ([x] if type(x) is tuple else x.items())):
        make(made.__setitem__)(key, value)
    return made


def _of_members(cls: type, keyed: type) -> Callable[..., Any]:
    """``set(x)`` and ``Counter(x)``."""
    plain = CLASSES.get(cls, cls)

    def convert(*args: Any, **kwargs: Any) -> Any:
        if HOOKS["current_trace"]() is None or kwargs or len(args) > 1:
            return plain(*args, **kwargs)
        if not args:
            return table(plain())
        (values,) = args
        if consumable(values):
            values = HOOKS["gathered"](values, lambda item: item)
        if not contains_tracer(values) and not hasattr(type(values), "ordered"):
            return table(plain(values))
        return HOOKS["callee"](keyed)(values)

    return convert


def _defaultdict(*args: Any, **kwargs: Any) -> Any:
    """``defaultdict(int)``, or with a function of the user's; one of lists is noted where it is written."""
    made = collections.defaultdict(*args, **kwargs)
    of_numbers = made.default_factory in (int, float) or isinstance(made.default_factory, types.FunctionType)
    return table(made) if of_numbers and HOOKS["current_trace"]() is not None else made


CLASSES[set] = _of_members(set, KeyedSet)
CLASSES[collections.Counter] = _of_members(collections.Counter, KeyedCounter)
CLASSES[collections.defaultdict] = _defaultdict
HOOKS["keyed_table"] = _keyed
HOOKS["keyed_pairs"] = _of_pairs
