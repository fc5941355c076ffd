"""Arrays of which it is not known, while a function is traced, which of several they are.

``c = a if t else b`` makes ``c`` another name of ``a`` or of ``b``. Its elements can be read, as long as neither has
changed; but a write into it would have to change one of the two, and which is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from jitgrad.errors import MutationError
from jitgrad.frontend.rebound import Rebound
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, leaked
from jitgrad.ir.core import Value
from jitgrad.ir.location import user_location


class Chosen(Tracer):
    """One of ``sources``, with the elements that it had when it was chosen."""

    __slots__ = ()

    def __init__(self, trace: Trace, value: Value, sources: Sequence[Tracer]) -> None:
        self.owner, self.scope, self.weak, self.boxed = trace, trace.scope, None, True
        arrays = {id(origin): origin for s in sources for origin in origins(s)}
        self._array = (value, [(s, s.value) for s in arrays.values() if s.scope.open])

    @property
    def value(self) -> Value:  # pyright: ignore[reportIncompatibleVariableOverride]
        if not self.scope.open:
            raise leaked(self)
        value, sources = self._array
        for source, before in sources:
            if source.scope.open and source.value is not before:
                raise MutationError(
                    "an array that a traced condition or index has chosen among others is used after one of them has "
                    "changed. Whether it has changed too is not known while the function is traced. Copy it when it is "
                    "chosen: (a if t else b).copy().",
                    user_location(),
                )
        return value

    @property
    def sources(self) -> list[Tracer]:
        """The arrays that it may be, of which none is chosen in turn."""
        return [source for source, _ in self._array[1]]

    @property
    def type(self):
        return self._array[0].type

    @property
    def dtype(self):
        return self._array[0].type.dtype

    @property
    def dims(self):
        return self._array[0].type.shape

    def store(self, new: Tracer) -> NoReturn:
        raise self._no_write()

    def rebind(self, value: Value) -> NoReturn:
        raise self._no_write()

    def _no_write(self) -> MutationError:
        return MutationError(
            "a write into an array that a traced condition or index has chosen among others. Which one would change is "
            "not known while the function is traced. Write in each branch, or copy() the array when it is chosen.",
            user_location(),
        )


def origins(x: Tracer) -> list[Tracer]:
    """The arrays that may hold the elements of ``x``: one, unless it is chosen among several."""
    root = x.root
    if type(root) is Rebound:
        return [root] if root.start is None else [root, *origins(root.start)]
    return root.sources if type(root) is Chosen else [root]


class Lost(Tracer):
    """An array whose contents a recorded loop has left unknown."""

    __slots__ = ()

    @property
    def value(self) -> Value:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise MutationError(
            "an array is used after a loop that wrote into it and let its name stand for other arrays as well (as in "
            "u, v = v, u), a number of times that is not known. What it holds now is not known while the function is "
            "traced. Copy the arrays before the loop, and use what the names stand for after it.",
            user_location(),
        )

    def restore(self, value: Value) -> None:
        set_class(self, Tracer)
        self.restore(value)  # a Tracer by now


set_class = object.__dict__["__class__"].__set__


def lose(x: Tracer) -> None:
    """Let every later use of an array be an error."""
    set_class(x, Lost)
