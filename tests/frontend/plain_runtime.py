"""Runtimes for rewritten functions that compute with plain Python values, and a comparison with the originals."""

from __future__ import annotations

import contextlib
import operator
import traceback
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jitgrad.frontend import syntax

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.iadd,
    "-": operator.isub,
    "*": operator.imul,
    "/": operator.itruediv,
    "//": operator.ifloordiv,
    "%": operator.imod,
    "**": operator.ipow,
    "@": operator.imatmul,
    "&": operator.iand,
    "|": operator.ior,
    "^": operator.ixor,
    "<<": operator.ilshift,
    ">>": operator.irshift,
}

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "@": operator.matmul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Unbound:
    def __repr__(self) -> str:
        return "UNBOUND"

    def __bool__(self) -> bool:
        raise AssertionError("the value of an unbound variable was used")


class Index:
    def __getitem__(self, index: Any) -> Any:
        return index


class PlainRuntime:
    """Does what Python does."""

    UNBOUND = Unbound()
    s_ = Index()

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.reasons: list[tuple[str, int]] = []
        self.hints: list[list[Any]] = []
        self.states: list[tuple[str, tuple[str, ...]]] = []

    def _note(self, word: str, line: int, names: tuple[str, ...], writes: Callable | None = None) -> None:
        self.calls.append(f"{word} {line}")
        self.states.append((f"{word} {line}", names))
        if writes is not None:
            self.hints.append(list(writes()))

    def callee(self, function: Any) -> Any:
        return function

    def binary(self, a: Any, op: str, b: Any) -> Any:
        return BINARY[op](a, b)

    def in_place(self, a: Any, op: str, b: Any) -> Any:
        return OPERATORS[op](a, b)

    def read(self, owner: Any, name: str) -> Any:
        return getattr(owner, name)

    called = read

    def unpacked(self, a: Any) -> Any:
        return a

    managed = unpacked

    def unary(self, op: str, a: Any) -> Any:
        return {"-": operator.neg, "+": operator.pos, "~": operator.invert}[op](a)

    def text(self, make: Callable[[], str]) -> str:
        return make()

    def is_none(self, value: Any) -> bool:
        return value is None

    def is_same(self, a: Any, b: Any) -> bool:
        return a is b

    def contains(self, value: Any, container: Any) -> bool:
        return value in container

    def attribute(self, owner: Any, name: str) -> Any:
        return owner

    def own_variables(self, read: Callable[[], Any]) -> None:
        assert read.__closure__

    def note_variables(self, read: Callable[[], Any]) -> Any:
        assert read.__closure__
        return read

    def handed_over(self, noted: Any, state: tuple) -> tuple:
        assert set(noted.__code__.co_freevars)
        return state

    def bound(self, value: Any, name: str) -> Any:
        if value is self.UNBOUND:
            raise UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value")
        return value

    def bound_free(self, value: Any, name: str) -> Any:
        if value is self.UNBOUND:
            raise NameError(
                f"cannot access free variable '{name}' where it is not associated with a value in enclosing scope"
            )
        return value

    def if_(self, test, then, orelse, state, names, line, lists=None) -> tuple:
        self._note("if", line, names)
        return then(*state) if test else orelse(*state)

    def if_return(self, test: Any, then: Callable, orelse: Callable, line: int) -> Any:
        self.calls.append(f"return {line}")
        return then() if test else orelse()

    def for_(
        self,
        iterable: Iterable,
        body: Callable,
        state: tuple,
        names: tuple[str, ...],
        flag: str | None,
        writes: Callable[[], tuple],
        line: int,
        size: int,
        lists: Callable[[], list],
    ) -> tuple:
        self._note("for", line, names, writes)
        for item in iterable:
            state = body(item, *state)
            if flag is not None and state[names.index(flag)]:
                break
        return state

    def augmented(self, a: Any) -> None:
        pass

    def while_(
        self,
        test: Callable,
        body: Callable,
        state: tuple,
        names: tuple[str, ...],
        flag: str | None,
        writes: Callable[[], tuple],
        line: int,
        lists: Callable[[], tuple],
    ) -> tuple:
        self._note("while", line, names, writes)
        while test(*state):
            state = body(*state)
            if flag is not None and state[names.index(flag)]:
                break
        return state

    def range_(self, function: Callable, *arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **keywords)

    enumerate_ = zip_ = reversed_ = range_

    def and_(self, value: Any, thunk: Callable, decides: bool = False) -> Any:
        return value and thunk()

    def or_(self, value: Any, thunk: Callable, decides: bool = False) -> Any:
        return value or thunk()

    def not_(self, value: Any) -> bool:
        return not value

    def ifexp(self, test: Any, then: Callable, orelse: Callable, line: int) -> Any:
        return then() if test else orelse()

    def assert_(self, test: Any, message: Callable | None, line: int) -> None:
        if not test:
            raise AssertionError if message is None else AssertionError(message())

    def thrown(self, make: Callable[[], Any]) -> Any:
        return make()

    def handled(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def getitem(self, value: Any, index: Any) -> Any:
        return value[index]

    def table(self, value: Any) -> Any:
        return value

    def set_of(self, members: list[Any]) -> Any:
        return set(members)

    def dict_of(self, items: list[Any]) -> Any:
        made = {}
        for item in items:
            made.update([item] if type(item) is tuple else item)
        return made

    def augmented_attribute(self, owner: Any, name: str) -> Any:
        return self.attribute(owner, name)

    def delete_attribute(self, owner: Any, name: str) -> None:
        delattr(owner, name)

    def delitem(self, target: Any, index: Any) -> None:
        del target[index]

    def setitem(self, target: Any, index: Any, value: Any) -> None:
        target[index] = value

    def augitem(self, target: Any, index: Any, op: str, value: Any) -> None:
        target[index] = OPERATORS[op](target[index], value)

    def collect(self, iterable: Any, element: Callable, line: int, size: int) -> list:
        return [element(item) for item in iterable]

    def expression(self, iterable: Any, choose: Callable, line: int) -> Iterator[Any]:
        return (element() for test, element in map(choose, iterable) if test)

    def filtered(self, iterable: Any, choose: Callable, line: int) -> list:
        return [element() for test, element in map(choose, iterable) if test]

    def owned(self, x: Any) -> Any:
        return x

    def flattened(self, iterable: Any, choose: Callable, line: int, size: int) -> list:
        return [x for test, element in map(choose, iterable) if test for x in element()]

    def quantified(self, function: Any, iterable: Any, choose: Callable, line: int, size: int) -> Any:
        return function(element() for test, element in map(choose, iterable) if test)

    def comprehension_iter(self, iterable: Any, line: int) -> Any:
        return iterable

    def opaque_iter(self, iterable: Any, reason: str, line: int) -> Any:
        self.reasons.append((reason, line))
        return iterable

    def opaque_test(self, test: Any, reason: str, line: int) -> Any:
        self.reasons.append((reason, line))
        return test

    def hint(self, *thunks: Callable) -> tuple:
        found = []
        for thunk in thunks:
            try:
                value = thunk()
            except (NameError, AttributeError):
                continue
            if value is not self.UNBOUND:
                found.append(value)
        return tuple(found)


class TracingRuntime(PlainRuntime):
    """Runs what is not taken too, as a tracer does: both branches of every ``if``, from the state on entry, and the
    body of every loop once before the loop and once behind it. Only what passes through the state may survive. For
    programs without exceptions and without effects beside their variables."""

    def if_(self, test, then, orelse, state, names, line, lists=None) -> tuple:
        results = then(*state), orelse(*state)
        return results[0] if test else results[1]

    def if_return(self, test: Any, then: Callable, orelse: Callable, line: int) -> Any:
        results = then(), orelse()
        return results[0] if test else results[1]

    def for_(self, iterable, body, state, names, flag, writes, line, size, lists) -> tuple:  # type: ignore[override]
        items = list(iterable)
        body(items[0] if items else 7, *state)
        after = super().for_(items, body, state, names, flag, writes, line, size, lists)
        body(7, *state)
        return after

    def while_(self, test, body, state, names, flag, writes, line, lists) -> tuple:  # type: ignore[override]
        test(*state)
        body(*state)
        after = super().while_(test, body, state, names, flag, writes, line, lists)
        body(*state)
        return after


def rewritten(fun: types.FunctionType, runtime: Any = None) -> types.FunctionType:
    """The function in its rewritten form, with a runtime of its own; it has to be rewritable."""
    code = syntax.rewrite(fun)
    assert code is not None, syntax.why_not(fun.__code__) or "there was nothing to rewrite"
    variables = {**fun.__globals__, "__jitgrad__": runtime or PlainRuntime()}
    made = types.FunctionType(code, variables, fun.__name__, fun.__defaults__, fun.__closure__)
    made.__kwdefaults__ = fun.__kwdefaults__
    return made


def outcome(fun: Callable, arguments: tuple) -> tuple:
    """What a call gives: its result, or the exception with its message and the line that raised it; and what it printed
    into the list ``log``, if the last argument is one."""
    try:
        result: Any = ("result", fun(*arguments))
    except Exception as error:  # noqa: BLE001  (any exception is an outcome here)
        frames = [f for f in _frames(error) if f.filename == fun.__code__.co_filename]
        result = ("raised", type(error), str(error), frames[-1].lineno if frames else None)
    return (*result, repr(arguments))


def _frames(error: Exception) -> Iterator[traceback.FrameSummary]:
    yield from traceback.extract_tb(error.__traceback__)
