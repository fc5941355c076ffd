"""Generators of the user's in traced functions. What stands for one knows how many items have been taken from it: so a
trial of a loop can be taken back, and a later loop goes on where an earlier one has stopped."""

from __future__ import annotations

import collections
import collections.abc
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from jitgrad.errors import RollError
from jitgrad.frontend.registry import HOOKS
from jitgrad.frontend.scopes import CELL, held
from jitgrad.frontend.syntax import rewrite_generator
from jitgrad.frontend.tracer import Tracer, is_traced
from jitgrad.frontend.usercode import is_user_class
from jitgrad.ir.location import user_location

#: The position behind the last item.
EXHAUSTED = sys.maxsize
#: Why a generator can't go on.
RUN_TIME = "how far it has come is known only when the program runs"
CHANGED = "it has effects, or what it was made from has been changed since"
#: What it may change, besides objects of the user's.
_HOLDERS = (list, dict, set, collections.deque, types.CellType)
#: Up to so many objects are compared to see whether what a generator is made from is as it was.
_COMPARED = 4096
#: Up to so many bytes of an array of NumPy's.
_BYTES = 1 << 20


class Generated(collections.abc.Generator[Any, Any, Any]):
    """What a generator function of the user's gives in a traced function.

    start : makes Python's own generator, at its beginning.
    plain : runs the function as one that hands on what it yields to the loop that consumes it (``syntax_yields``); None
        where there is no such form of it.
    inputs : what the function gets and refers to.
    """

    def __init__(
        self, start: Callable[[], Iterator[Any]], plain: Callable[[], Any] | None, inputs: Sequence[Any]
    ) -> None:
        self.plain, self.inputs, self._start = plain, inputs, start
        #: How many items have been taken: a traced number where a recorded loop or branch decides.
        self.position: Any = 0
        self._seen: list[Any] = []  # the inputs at the start
        self._running: Any = None  # Python's generator, what was sent to it, and the scope in which it ran last
        self._sent: list[Any] = []
        self._scope: Any = None
        self._effects = False  # has it drawn or printed, while Python ran it?

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """The next item, by Python. Raises RollError where it isn't known which one that is."""
        if not is_traced(self.position) and self.position == EXHAUSTED:
            raise StopIteration
        return self._resumed(lambda running: running.send(value), value)

    def throw(self, *args: Any) -> Any:
        """Raise an exception where the generator stands."""
        return self._resumed(lambda running: running.throw(*args), self)  # what can't be done again

    def close(self) -> None:
        """No more items; its ``finally`` clauses run."""
        running, self._running = self._running, None
        if running is not None:
            running.close()
        self.move(EXHAUSTED)

    def move(self, position: Any) -> None:
        """Items have been taken from it. That is a change of an object: a trial takes it back, and a recorded loop or
        branch around carries it."""
        trace = HOOKS["current_trace"]()
        if trace is not None:
            trace.scope.note_change(self, "position")
        self.position = position

    def begins(self) -> bool:
        """Is it at its beginning?"""
        return not is_traced(self.position) and self.position == 0

    def note_inputs(self) -> None:
        """It starts now."""
        self._seen = _contents(self.inputs)

    def can_start_again(self) -> bool:
        """Is what it is made from as it was, and did it draw and print nothing? Then it gives the items again that have
        been taken from it."""
        now = _contents(self.inputs)
        same = len(now) == len(self._seen) and all(_is_same(a, b) for a, b in zip(now, self._seen, strict=True))
        return same and not self._effects and not any(x is self for x in self._sent)

    def refuse(self, why: str) -> NoReturn:
        """Raise RollError: the generator can't go on."""
        raise RollError(
            f"a generator is used again, and the place where it has stopped can't be found again: {why}. Make another "
            "one, or use one loop for all that it gives.",
            user_location(),
        )

    def _resumed(self, resume: Callable[[Any], Any], sent: Any) -> Any:
        running, before = self._at_position(), len(self._sent)
        ops = _ops()
        first = len(ops)
        try:
            item = resume(running)
        except BaseException:
            self._running = None
            self.move(EXHAUSTED)
            raise
        self._effects = self._effects or any(op.effects for op in ops[first:])
        self._sent[before:] = [sent]
        self.move(self.position + 1)
        return item

    def _at_position(self) -> Any:
        """Python's generator, from which as many items have been taken as from this one. A trial that was taken back
        may have gone on with it, and recorded loops and branches leave values behind that can't be used."""
        if is_traced(self.position):
            self.refuse(RUN_TIME)
        trace = HOOKS["current_trace"]()
        scope = None if trace is None else trace.scope
        live = self._running is not None and len(self._sent) == self.position
        live = live and (self._scope is None or self._scope.open)
        if not (live and self._scope is scope) and not self.begins() and not self.can_start_again():
            # In a scope inside, which may be a trial, it must not go on either: it can't be brought back.
            self.refuse(CHANGED)
        if not live:
            if self.begins():
                self.note_inputs()
            sent = self._sent[: self.position]
            sent += [None] * (self.position - len(sent))
            self._running, self._sent = self._start(), sent
            for value in sent:
                self._running.send(value)
        if trace is not None and trace.scopes and not (live and self._scope is scope):
            _note_contents(self.inputs)  # Python's own generator takes no note of what it changes
        self._scope = scope
        return self._running


def _ops() -> Sequence[Any]:
    trace = HOOKS["current_trace"]()
    return () if trace is None else trace.builder.ops


def noting(function: Any) -> Any:
    """A prepared generator function of the user's, or a method that is one, whose generators are :class:`Generated`.
    Other functions are given back."""
    plain = function.__func__ if isinstance(function, types.MethodType) else function
    if not isinstance(plain, types.FunctionType) or not plain.__code__.co_flags & inspect.CO_GENERATOR:
        return function
    code = rewrite_generator(plain)
    owner = (function.__self__,) if isinstance(function, types.MethodType) else ()
    run: Any = None
    if code is not None:
        run = types.FunctionType(code, plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__)
        run.__kwdefaults__ = plain.__kwdefaults__

    @functools.wraps(plain, assigned=(), updated=())
    def call(*args: Any, **kwargs: Any) -> Any:
        inputs = (*owner, *args, *kwargs.values(), plain)
        plainly = None if run is None else functools.partial(run, *owner, *args, **kwargs)
        first = [function(*args, **kwargs)]  # so that Python says what is wrong with the arguments here

        def start() -> Any:
            return first.pop() if first else function(*args, **kwargs)

        return Generated(start, plainly, inputs)

    return call


def consumable(iterable: Any) -> bool:
    """Is it a generator that a recorded loop can consume?"""
    return type(iterable) is Generated and iterable.plain is not None


# -- what generators are made from -------------------------------------------------------------------------------------


def _note_contents(inputs: Sequence[Any]) -> None:
    """Let the scope that is recorded now take note of what the containers and objects hold that can be reached."""
    holders: list[Any] = []
    _contents(inputs, holders)
    scope = HOOKS["current_trace"]().scope
    for holder in holders:
        if type(holder) is types.CellType:
            scope.note_change(holder, CELL)
        elif type(holder) in _HOLDERS:
            scope.note_change(holder)
        else:
            for name in [*vars(holder)]:
                scope.note_change(holder, name)


def _contents(inputs: Sequence[Any], holders: list[Any] | None = None) -> list[Any]:
    """All that can be reached from some objects and may be changed, in an order of its own. ``holders`` gets the
    containers and objects that can be."""
    found: list[Any] = []
    known: dict[int, Any] = {}
    todo = list(inputs)
    while todo:
        obj = todo.pop()
        if id(obj) in known:
            found.append(id(obj))
            continue
        if not isinstance(obj, (int, float, str, bytes)):
            known[id(obj)] = obj
        if len(found) > _COMPARED:
            return [object()]
        found += _parts(obj, todo)
        if holders is not None and (type(obj) in _HOLDERS or (is_user_class(type(obj)) and hasattr(obj, "__dict__"))):
            holders.append(obj)
    return found


def _parts(obj: Any, todo: list[Any]) -> list[Any]:
    """What tells whether an object has been changed; ``todo`` gets the objects that it holds."""
    match obj:
        case Tracer():
            return [obj, obj.value]
        case np.ndarray():
            return [obj, obj.tobytes() if obj.nbytes <= _BYTES else object()]
        case Generated():
            return [obj, obj.position]
        case dict():
            todo += obj.values()
            return [*obj]
        case list() | tuple() | set() | frozenset() | collections.deque():
            todo += obj
            return [type(obj), len(obj)]
        case types.FunctionType():
            todo += obj.__closure__ or ()
            return [obj.__code__]
        case types.CellType():
            todo.append(held(obj, CELL, None))
            return []
        case types.MethodType():
            todo += (obj.__func__, obj.__self__)
            return []
        case type() | types.ModuleType():
            return [obj]
    if hasattr(obj, "__next__") or type(obj).__module__.startswith("numpy.random"):
        return [object()]  # what it gives next isn't known
    attributes = getattr(obj, "__dict__", {})
    todo += attributes.values()
    todo += [getattr(obj, n) for c in type(obj).__mro__ for n in _slots(c) if n[:2] != "__" and hasattr(obj, n)]
    return [obj, *attributes]


def _slots(cls: type) -> Sequence[str]:
    found = cls.__dict__.get("__slots__", ())
    return (found,) if isinstance(found, str) else tuple(found)


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, (int, float, str, bytes)) and a == b)
