"""Texts that a program makes of traced values: by ``print``, ``str()``, f-strings and ``%``.

A traced value has no number while the function is traced. What is printed has a hole for it, which is filled when the
program runs. Other texts are made to be used, ``params["W" + str(layer)]`` for one: an integer of a recorded
loop refuses to become one, and the loop is unrolled if it can be.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from jitgrad.errors import ConcretizationError
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import SHOWING, Tracer, has_traced, is_traced
from jitgrad.ir.location import user_location
from jitgrad.ir.thrown import braced, mark, plain

#: A place in a text for a value, by ``%``: with a name in parentheses, flags, width and precision.
_PLACE = re.compile(r"%(\([^)]*\))?[#0\- +]*(?:\d+|\*)?(?:\.(?:\d+|\*))?[hlL]?([diouxXeEfFgGcrsa])")


def show(function: Callable[..., Any], arguments: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]) -> Any:
    """``print(*args, **kwargs)``, of which the arguments are evaluated here: it prints when the program runs, with the
    values of then. What goes to a file, and arrays whose shapes are known only then, are shown while it is traced."""
    trace: Trace | None = HOOKS["current_trace"]()
    if trace is None:
        args, kwargs = arguments()
        return function(*args, **kwargs)
    shown: list[tuple[Tracer, str]] = []

    def hole(x: Tracer, spec: str) -> str:
        shown.append((x, spec))
        return mark(len(shown) - 1)

    token = SHOWING.set(hole)
    try:
        args, kwargs = arguments()
        words = [str(a) for a in args]
    finally:
        SHOWING.reset(token)
    values = [trace.lift(x) for x, _ in shown]
    if kwargs.get("file") is not None or not all(isinstance(n, int) for x in values for n in x.dims):
        return _once(trace, function, [plain(word, [x.described() for x, _ in shown]) for word in words], kwargs)
    given = {name: text for name, text in kwargs.items() if text is not None}
    text = given.get("sep", " ").join(words) + given.get("end", "\n")
    trace.emit("show", values, {"text": braced(text, [spec for _, spec in shown])})
    return None


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
    places = [m for m in _PLACE.finditer(text) if m[2] != "%"]
    if isinstance(values, dict) or any("*" in m[0] for m in places):
        return _PLACE.sub(r"%\1s", text) % values
    given = values if isinstance(values, tuple) else (values,)
    for place, value in reversed(list(zip(places, given, strict=False))):
        if is_traced(value):
            text = text[: place.start()] + "%s" + text[place.end() :]
    specs = [m[0][1:].rstrip("sra").replace("-", "<") for m in places]
    new = [format(v, spec) if is_traced(v) else v for v, spec in zip(given, specs, strict=False)]
    return text % (*new, *given[len(new) :])
