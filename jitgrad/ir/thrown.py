"""Exceptions that a compiled program may raise: those of the ``raise`` and ``assert`` statements that it records.

An exception is made once, while the function is traced, and raised when the program runs. What it says of traced values
is known only then: each such place is a :class:`Hole`, which is filled with the value.
"""

from __future__ import annotations

import builtins
import contextlib
import re
import string
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

#: How a hole is written inside a string, and found there: a number between characters that no message has.
_MARK = "\0{}\0"
_MARKED = re.compile("\0([0-9]+)\0")
#: The flag of classes that are made while Python runs (``Py_TPFLAGS_HEAPTYPE``).
MADE_IN_PYTHON = 1 << 9


def mark(number: int) -> str:
    """A hole as part of a string."""
    return _MARK.format(number)


def plain(text: str, words: Sequence[str]) -> str:
    """A string with words in its holes."""
    return _MARKED.sub(lambda m: words[int(m[1])], text)


def braced(text: str, specs: Sequence[str]) -> str:
    """A string with holes as a format string, by the formats of the holes."""
    text = text.replace("{", "{{").replace("}", "}}")
    return _MARKED.sub(lambda m: f"{{{m[1]}:{specs[int(m[1])]}}}".replace(":}", "}"), text)


def with_imaginary(number: int, spec: str) -> str:
    """The format of the hole for the real part of a complex value, whose imaginary part has a number of its own."""
    return f"&{number}:{spec}" if spec else f"&{number}"


def formatted(text: str, values: Sequence[Any]) -> str:
    """A format string with these values; by ``str`` where a value does not take the format that it is given."""
    found = []
    for literal, number, spec, _ in string.Formatter().parse(text):
        found.append(literal)
        if number is not None:
            found.append(_word(values, int(number), spec or ""))
    return "".join(found)


def _value(values: Sequence[Any], number: int, spec: str) -> tuple[Any, str]:
    """What fills a hole, and the format of that."""
    if not spec.startswith("&"):
        return values[number], spec
    other, _, spec = spec[1:].partition(":")
    re, im = np.asarray(values[number]), np.asarray(values[int(other)])
    value = np.empty(re.shape, np.result_type(re.dtype, np.complex64))
    value.real, value.imag = re, im
    return value[()], spec


def _word(values: Sequence[Any], number: int, spec: str) -> str:
    value, spec = _value(values, number, spec)
    try:
        return format(value, spec)
    except (TypeError, ValueError):
        return str(value)


class Hole(NamedTuple):
    """A traced value that is an argument of an exception by itself."""

    number: int


class Thrown:
    """An exception to be raised. ``specs`` are the formats of its holes, in the order of their numbers.

    Two are equal if they read alike; so do one and what :meth:`parse` makes of its text.
    """

    __slots__ = ("error", "specs", "text")

    def __init__(self, error: BaseException, specs: Sequence[str] = ()) -> None:
        self.error, self.specs = error, tuple(specs)
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        words = ", ".join(self._shown(a if isinstance(a, (str, Hole)) else repr(a)) for a in error.args)
        self.text = f"{name}: {words}" if words else name

    def _shown(self, word: str | Hole) -> str:
        return braced(mark(word.number) if isinstance(word, Hole) else word, self.specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thrown) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Thrown:
        """What prints as this text. A class that is not built in becomes RuntimeError, as its module may not be there.
        Raises ValueError."""
        name, _, words = text.partition(": ")
        kind = getattr(builtins, name, RuntimeError)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ValueError(f"{name} is no exception")
        message, specs = "", {}
        for literal, number, spec, _ in string.Formatter().parse(words):
            message += literal
            if number is not None:
                specs[int(number)] = spec or ""
                message += mark(int(number))
        imaginary = [int(s[1:].partition(":")[0]) for s in specs.values() if s.startswith("&")]
        count = 1 + max([*specs, *imaginary], default=-1)  # some may be values that the message does not show
        return cls(kind(message) if message else kind(), [specs.get(k, "") for k in range(count)])

    def exception(self, values: Sequence[Any] | None = None) -> BaseException:
        """The exception with its holes filled; question marks where the values are not known."""

        def filled(item: Any) -> Any:
            if isinstance(item, Hole):
                return "?" if values is None else _value(values, item.number, self.specs[item.number])[0]
            if isinstance(item, str):
                return _MARKED.sub(lambda m: self._formatted(int(m[1]), values), item)
            return item

        return copied(self.error, filled)

    def _formatted(self, number: int, values: Sequence[Any] | None) -> str:
        return "?" if values is None else _word(values, number, self.specs[number])


def copied(error: BaseException, change: Callable[[Any], Any]) -> BaseException:
    """A copy of an exception with other arguments and attributes."""
    kind = type(error)
    # Not by the constructor of a user's class, which need not take what the exception keeps in ``args``.
    base: Any = next(c for c in kind.__mro__ if not c.__flags__ & MADE_IN_PYTHON)
    _, arguments, *state = base.__reduce__(error)
    arguments = tuple(map(change, arguments))
    new = base.__new__(kind, *arguments)
    with contextlib.suppress(TypeError):  # of a class with fields that can't be holes
        base.__init__(new, *arguments)
    new.args = tuple(map(change, error.args))
    attributes = {name: change(value) for name, value in (state[0] if state else {}).items()}
    if "__notes__" in attributes:
        attributes["__notes__"] = list(attributes["__notes__"])
    new.__setstate__(attributes)
    new.__cause__, new.__suppress_context__ = error.__cause__, error.__suppress_context__
    return new
