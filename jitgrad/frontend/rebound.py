"""Arrays that a loop binds names to, where it is not known whether the loop runs.

After ``while ...: u = f(u)`` the name ``u`` stands for an array that the loop made, or for the one from before where it
did not run. What is written by the name must then change that one, and what is written into that one shows by the name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from jitgrad.errors import MutationError
from jitgrad.frontend.concrete import Concrete, is_captured
from jitgrad.frontend.primitives import cast, emit, where
from jitgrad.frontend.raising import demand
from jitgrad.frontend.trace import Trace
from jitgrad.frontend.tracer import Tracer, leaked
from jitgrad.frontend.views import Box
from jitgrad.ir.core import Value


class Rebound(Tracer):
    """The array ``own`` where the loop ran, which ``ran()`` tells, and ``start`` where it did not.

    Where it ran or not, ``own`` has the elements as long as both are written by this name only, and all of it or all
    along. ``_notes`` has the values of the two, a value that has the elements then, and the scope in which it was made.
    """

    __slots__ = ()

    def __init__(self, trace: Trace, own: Tracer, start: Tracer, ran: Callable[[], Tracer]) -> None:
        self.owner, self.scope, self.weak, self.boxed = trace, trace.scope, None, True
        self._array: Any = [own, start, ran]
        self._base = self._lens = None
        self._notes: Any = own.value, start.root.value, own.value, trace.scope

    @property
    def own(self) -> Tracer:
        return self._array[0]

    @property
    def start(self) -> Tracer | None:
        """The array from before the loop; None where it can't be seen any more."""
        return self._array[1]

    @property
    def value(self) -> Value:  # pyright: ignore[reportIncompatibleVariableOverride]
        if not self.scope.open:
            raise leaked(self)
        own, start, ran = self._array
        if start is None:
            return own.value
        now = own.value, start.root.value
        *seen, value, scope = self._notes
        if now == (*seen,) and scope.open:
            return value
        value = where(ran(), own, self._of_start(start)).value
        self._notes = *now, value, self.owner.scope
        return value

    def _of_start(self, start: Tracer) -> Tracer:
        """What the first array holds, in the dtype that the loop has given the name."""
        trace = self.owner
        return cast(Tracer(trace, trace.own(start)), self.dtype)

    @property
    def type(self):
        return self.own.type

    @property
    def dtype(self):
        return self.own.dtype

    @property
    def dims(self):
        return self.own.dims

    def store(self, new: Tracer) -> None:
        self.own.store(new)
        self._write_back(lambda old: new, lambda x: x, lambda x, v: x.store(v))
        self._note_equal()
        self.forget_unseen()

    def update(self, box: Box, v: Tracer, mode: str, write: Callable[[str, Tracer, Box, Tracer], None]) -> None:
        """Write or add values to a box by ``write``, which does that for other arrays."""
        self.forget_unseen()
        equal = self.value is self.own.value
        write(mode, self.own, box, v)
        added = (lambda old: emit("add", old, v)) if mode == "add" else (lambda old: v)
        self._write_back(added, box.read, lambda x, v: write("set", x, box, v))
        if equal:
            self._note_equal()

    def _write_back(
        self,
        change: Callable[[Tracer], Tracer],
        read: Callable[[Tracer], Tracer],
        write: Callable[[Tracer, Tracer], None],
    ) -> None:
        """Let the first array change too, or the part that ``read`` and ``write`` are about, if the loop did not run.
        Where it can't be written the program ends in that case."""
        _, start, ran = self._array
        if start is None:
            return
        try:
            old = read(self._of_start(start))
            write(start, cast(where(ran(), old, change(old)), start.dtype))
        except MutationError as error:
            demand(ran(), error)

    def _note_equal(self) -> None:
        own, start, _ = self._array
        if start is not None:
            self._notes = own.value, start.root.value, own.value, self.owner.scope

    def forget_unseen(self) -> None:
        """Forget the first array if nothing else can see it. Not in a region: its writes are undone when it is left."""
        if self.owner.scope is not self.scope or sys.getrefcount(self._array[1]) != _HERE_ONLY:
            return
        if not _holds_its_elements(self._array[1]):
            return
        if self.value is not self.own.value:
            self.own.store(Tracer(self.owner, self.value))
        self._array[1] = None

    def rebind(self, value: Value) -> None:
        raise TypeError("its two arrays are carried. This is a bug in jitgrad.")


#: The references to an object that only one list holds, with the argument of ``getrefcount``.
_HERE_ONLY = 2


def _holds_its_elements(x: Tracer) -> bool:
    """Is it an array that the function has made, and no other name of one?"""
    return type(x) is Tracer or (type(x) is Concrete and x.root is x and not is_captured(x))


def parts(root: Tracer) -> list[Tracer]:
    """The arrays that hold the elements of this one."""
    if type(root) is not Rebound:
        return [root]
    root.forget_unseen()
    return [root.own] if root.start is None else [root.own, *parts(root.start.root)]
