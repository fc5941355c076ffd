"""Texts that a program makes of traced values: by ``print``, warnings, loggers, ``str()``, f-strings and ``%``.

A traced value has no number while the function is traced. What is printed has a hole for it, which is filled when the
program runs. Other texts are made to be used, ``params["W" + str(layer)]`` for one: an integer of a recorded
loop refuses to become one, and the loop is unrolled if it can be.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from jitgrad.errors import ConcretizationError
from jitgrad.frontend.complex_pair import Pair
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.shown import Shown
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import SHOWING, Tracer, has_traced, is_traced
from jitgrad.ir.location import user_location
from jitgrad.ir.messages import deliver
from jitgrad.ir.thrown import braced, mark, plain, with_imaginary
from jitgrad.ir.types import is_float

#: A place in a text for a value, by ``%``: a name in parentheses, flags, width and precision, and a kind. Where that is
#: ``%`` too, it is none.
_PLACE = re.compile(r"%(?:\(([^)]*)\))?([#0\- +]*)((?:\d+|\*)?(?:\.(?:\d+|\*))?)[hlL]?([diouxXeEfFgGcrsa%])")

Arguments = Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]

#: What writes to the logger at the root.
_OF_THE_ROOT = (logging.debug, logging.info, logging.warning, logging.error, logging.critical)


def receiver(function: Any) -> tuple[Any, ...] | None:
    """Where a function writes its text, in the form of ``jitgrad.ir.messages``; None for another function."""
    if function is print:
        return ("print",)
    where = user_location()
    place = ("?", 0) if where is None else (where.file, where.line)
    if function is warnings.warn:
        return ("warn", "builtins:UserWarning", *place)
    logger = getattr(function, "__self__", None)
    level = getattr(logging, getattr(function, "__name__", "").upper(), None)
    if isinstance(logger, logging.Logger) and isinstance(level, int):
        return ("log", logger.name, level, *place)
    return ("log", "root", level, *place) if any(function is f for f in _OF_THE_ROOT) else None


def hole_maker(found: list[tuple[Tracer, str]]) -> Callable[[Any, str], str]:
    """What makes a hole for a traced value and its format, and puts them into a list; a complex one has two places."""

    def hole(x: Any, spec: str) -> str:
        number = len(found)
        if isinstance(x, Pair):
            found.extend([(x.re, with_imaginary(number + 1, spec)), (x.im, "")])
        else:
            found.append((x, spec))
        return mark(number)

    return hole


class Text(Shown):
    """A text that shows traced values, which are described in it. In what is printed or raised later it has holes for
    them: ``marked`` is the text with holes, ``shown`` are the values and their formats."""

    __slots__ = ("marked", "shown")
    marked: str
    shown: list[tuple[Tracer, str]]

    @classmethod
    def of(cls, marked: str, shown: list[tuple[Tracer, str]]) -> Text:
        made = cls(plain(marked, [x.described() for x, _ in shown]))
        made.marked, made.shown = marked, shown
        made.unknown = lambda: shown[0][0]._as_text()
        return made

    def by(self, hole: Callable[[Any, str], str]) -> str:
        """The text with holes of another maker."""
        words = [hole(x, spec) for x, spec in self.shown]
        return plain(self.marked, words)

    def __str__(self) -> str:
        hole = SHOWING.get()
        return str.__str__(self) if hole is None else self.by(hole)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __add__(self, other: str) -> str:
        if SHOWING.get() is not None:  # the other one may have holes that are numbered
            return str.__add__(str(self), str(other))
        more = other if isinstance(other, Text) else Text.of(other, [])
        words = [mark(n + len(self.shown)) for n in range(len(more.shown))]
        return Text.of(self.marked + plain(more.marked, words), [*self.shown, *more.shown])

    def __radd__(self, other: str) -> str:
        if SHOWING.get() is not None:
            return str.__add__(other, str(self))
        return Text.of(other, []) + self


def text(make: Callable[[], str]) -> str:
    """The f-string that ``make()`` gives. One that shows traced values can be printed or raised later."""
    if HOOKS["current_trace"]() is None or SHOWING.get() is not None:
        return make()
    found: list[tuple[Tracer, str]] = []
    hole = hole_maker(found)

    def marked(x: Any, spec: str) -> str:
        if isinstance(x, Pair) or (x.weak == "int" and x.scope.region is not None):
            raise _NotShown  # it may be a key: see Tracer.__str__
        return hole(x, spec)

    token = SHOWING.set(marked)
    try:
        made = make()
    except _NotShown:
        made = None
    finally:
        SHOWING.reset(token)
    if made is None:
        return make()
    return Text.of(made, found) if found else made


class _NotShown(Exception):
    """A text shows a value that texts are not made of."""


def show(to: tuple[Any, ...], function: Callable[..., Any], arguments: Arguments) -> Any:
    """``print(*args, **kwargs)``, a warning or a message to a logger, of which the arguments are evaluated here: it is
    written when the program runs, with the values of then. What goes to a file, and arrays whose shapes are known only
    then, are shown while it is traced."""
    trace: Trace | None = HOOKS["current_trace"]()
    if trace is None:
        args, kwargs = arguments()
        return function(*args, **kwargs)
    shown: list[tuple[Tracer, str]] = []
    token = SHOWING.set(hole_maker(shown))
    try:
        args, kwargs = arguments()
        found = _WRITERS[to[0]](to, args, {name: v for name, v in kwargs.items() if v is not None})
        words = [str(a) for a in args] if found is None else []
    finally:
        SHOWING.reset(token)
    values = [trace.lift(x) for x, _ in shown]
    if found is None:
        return _once(trace, function, [plain(word, [x.described() for x, _ in shown]) for word in words], kwargs)
    text, to = found
    if not all(isinstance(n, int) for x in values for n in x.dims):
        deliver(to, plain(text, [x.described() for x, _ in shown]))
        return None
    trace.emit("show", values, {"text": braced(text, [spec for _, spec in shown]), "to": to})
    return None


def _printed(to: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, tuple[Any, ...]] | None:
    if "file" in kwargs:
        return None
    return kwargs.get("sep", " ").join(map(str, args)) + kwargs.get("end", "\n"), to


def _warned(to: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    given = {**dict(zip(("message", "category"), args, strict=False)), **kwargs}
    message = given["message"]
    category = type(message) if isinstance(message, Warning) else given.get("category") or UserWarning
    return str(message), (to[0], f"{category.__module__}:{category.__qualname__}", *to[2:])


def _logged(to: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, tuple[Any, ...]] | None:
    if kwargs.keys() - {"stacklevel"} or not args:
        return None
    message, *values = args
    return percent(str(message), tuple(values)) if values else str(message), to


_WRITERS: dict[str, Callable[..., tuple[str, tuple[Any, ...]] | None]]
_WRITERS = {"print": _printed, "warn": _warned, "log": _logged}


def _once(trace: Trace, function: Callable[..., Any], words: list[str], kwargs: dict[str, Any]) -> None:
    """Print now, once for each line that does, as code may be traced several times."""
    place = str(user_location())
    if place not in trace.printed:
        trace.printed.add(place)
        function(*words, **kwargs)


def percent(text: str, values: Any) -> str:
    """``text % values``."""
    if not has_traced(values):
        return text % values
    if SHOWING.get() is not None:
        return _shown(text, values)
    parts = values.values() if isinstance(values, dict) else values if isinstance(values, tuple) else (values,)
    try:
        return text % values
    except TypeError as error:
        traced = next((v for v in parts if is_traced(v)), values)
        raise ConcretizationError(
            f"the traced value {traced!r} was formatted ({text!r} % ...). While the function is traced its value is "
            "not known: one program is compiled for all values. Return the value, and make the text of it outside.",
            user_location(),
        ) from error


def _shown(text: str, values: Any) -> str:
    """``text % values`` with traced values as ``SHOWING`` makes them, each by the format of its place."""
    named: Any = values
    given = list(values) if isinstance(values, tuple) else [values]
    others: list[Any] = []  # the values that Python writes

    def word(place: re.Match[str]) -> str:
        name, flags, size, kind = place.group(1, 2, 3, 4)
        if kind == "%":
            return place[0]
        count = size.count("*") + (name is None)
        taken = [given.pop(0) for _ in range(min(count, len(given)))]
        value: Any = named[name] if name is not None else taken[-1] if len(taken) == count else None
        if not is_traced(value) and not (isinstance(value, Pair) and has_traced(value)):
            others.extend(taken)
            return place[0]
        for number in taken[:-1]:
            size = size.replace("*", str(number), 1)
        if kind in "diu" and isinstance(value, Tracer) and is_float(value.dtype):
            value = value.astype(np.int64)
        align = "<" if "-" in flags else ""
        kind = {"i": "d", "u": "d", "s": "", "r": "", "a": ""}.get(kind, kind)
        return format(value, align + flags.replace("-", "") + size + kind).replace("%", "%%")

    text = _PLACE.sub(word, text)
    return text % (values if isinstance(values, dict) else (*others, *given))
