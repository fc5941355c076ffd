"""Calls from compiled programs back into Python: draws of random numbers, texts, transforms that SciPy computes.

What a call is to do, its *action*, is described by a text. A program asks once for the number of the action, which a
variable of its module keeps, and from then on gives the number and a place: the address of a table of the addresses of
its arrays, or whatever else the action knows places by. Code refers to the functions here by symbols, so machine code
from a cache stays valid once they are bound, and numbers are those of the process that runs it.

The program runs without the interpreter's lock; ctypes takes it for the call. Loops that make such calls are never
shared by threads, so calls come in the order of the program.
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils

from jitgrad.ir.types import dtype_of_text
from jitgrad.loopir.failures import PENDING, RAISED_OUTSIDE
from jitgrad.loopir.nodes import Buffer

#: Of the symbols that emitted code refers to.
PREFIX = "jitgrad_call_"

_I8P, _I32, _I64 = ir.IntType(8).as_pointer(), ir.IntType(32), ir.IntType(64)

#: Dtype and shape of an array.
Kind = tuple[np.dtype, tuple[int, ...]]
#: Writes the first arrays, from the second ones.
Function = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], None]


#: What makes an action's work at a place, as a function without arguments.
Action = Callable[[int], Callable[[], Any]]

#: Name -> what makes the action, from the kinds of the arrays that are written, of those that are read, and the static
#: arguments.
_MAKERS: dict[str, Callable[..., Action]] = {}


def register(name: str, make: Callable[..., Action]) -> None:
    """Give an action a name, by which emitted code refers to it."""
    _MAKERS[name] = make


class _OnArrays:
    """A function of arrays. A place is the address of a table of their addresses: those that it writes, then those that
    it reads. The arrays are there only while it runs."""

    def __init__(self, function: Function, outs: Sequence[Kind], ins: Sequence[Kind]) -> None:
        self.function, self.results = function, len(outs)
        self.table = (ctypes.c_size_t * (len(outs) + len(ins))).from_address
        self.arrays: list[tuple[tuple[int, ...], np.dtype, Callable[[int], Any]]] = [
            (shape, dtype, (ctypes.c_char * (math.prod(shape) * dtype.itemsize)).from_address)
            for dtype, shape in (*outs, *ins)
        ]

    def __call__(self, place: int) -> Callable[[], int]:
        return functools.partial(self.run, self.table(place))

    def run(self, addresses: Any) -> int:
        known = zip(self.arrays, addresses, strict=True)
        arrays = [np.ndarray(shape, dtype, memory(address)) for (shape, dtype, memory), address in known]
        self.function(arrays[: self.results], arrays[self.results :])
        return 0


def python_libcall(name: str, make: Callable[..., Function]) -> tuple[Callable[..., int], Callable[..., Any]]:
    """The two forms of a library function (``codegen.libcalls``) that is Python in compiled code too: ``make`` gives
    it, for the kinds of what it writes and its static arguments."""
    register(name, lambda outs, ins, **static: _OnArrays(make(outs, **static), outs, ins))

    def python(outs: Sequence[np.ndarray], ins: Sequence[np.ndarray], **static: Any) -> int:
        make([(a.dtype, a.shape) for a in outs], **static)(outs, ins)
        return 0

    def emit(
        b: Any,
        outs: Sequence[Any],
        ins: Sequence[Any],
        static: dict[str, Any],
        out_buffers: Sequence[Buffer],
        in_buffers: Sequence[Buffer],
    ) -> Any:
        pointers = (*outs, *ins)
        table = cgutils.alloca_once(b, _I8P, max(len(pointers), 1))
        for k, pointer in enumerate(pointers):
            b.store(b.bitcast(pointer, _I8P), b.gep(table, [_I32(k)]))
        return call(b, "status", _I64, number(b, name, static, out_buffers, in_buffers), b.bitcast(table, _I8P))

    return python, emit


# -- emitted code ------------------------------------------------------------------------------------------------------


def call(b: Any, symbol: str, result: ir.Type, *args: Any) -> Any:
    """A call of one of the functions below (``_callbacks``)."""
    bind()
    signature = ir.FunctionType(result, [a.type for a in args])
    return b.call(cgutils.get_or_insert_function(b.module, signature, PREFIX + symbol), args)


def number(b: Any, name: str, static: dict[str, Any], outs: Sequence[Buffer], ins: Sequence[Buffer]) -> Any:
    """The number of an action: it is asked for once, and kept in a variable of the module."""
    kinds = [[(t.dtype.str, t.static_shape) for t in side] for side in (outs, ins)]
    what = json.dumps([name, static, *kinds]).encode() + b"\0"
    text = cgutils.global_constant(b, "action", ir.Constant(ir.ArrayType(ir.IntType(8), len(what)), bytearray(what)))
    kept = ir.GlobalVariable(b.module, _I64, b.module.get_unique_name("action.number"))
    kept.linkage, kept.initializer = "internal", _I64(0)  # pyright: ignore[reportAttributeAccessIssue]
    with b.if_then(b.icmp_unsigned("==", b.load(kept), _I64(0)), likely=False):
        b.store(call(b, "number", _I64, _I64(_NUMBERS), b.bitcast(text, _I8P)), kept)
    return b.load(kept)


# -- what it calls -----------------------------------------------------------------------------------------------------


def _fail(place: int) -> Any:
    """The action of a program that got no number: it ends as that did."""
    raise PENDING.__dict__.pop("error")


class _Numbers:
    """Gives actions numbers. A place is the address of a description; equal ones have one number."""

    def __init__(self) -> None:
        self.known: dict[bytes, int] = {}
        self.lock = threading.RLock()  # making an action may import modules, and so run anything

    def __call__(self, place: int) -> Callable[[], int]:
        return lambda: self.number(ctypes.string_at(place))

    def number(self, what: bytes) -> int:
        with self.lock:
            found = self.known.get(what)
            if found is None:
                name, static, *sides = json.loads(what)
                outs, ins = ([(dtype_of_text(d), tuple(shape)) for d, shape in side] for side in sides)
                action = _MAKERS[name](outs, ins, **static)
                _made.append({})
                found = self.known[what] = len(_actions)
                _actions.append(action)
            return found


#: By number. 0 is what a program has that got none.
_actions: list[Action] = [_fail, _Numbers()]
_NUMBERS = 1
#: The work of each at the places where it was done last, of which there are a few. A draw has it bound to a generator,
#: which lives as long.
_made: list[dict[int, Callable[[], Any]]] = [{}, {}]
_MOST_MADE = 4


def _make(number: int, place: int) -> Callable[[], Any]:
    made = _made[number]
    if len(made) >= _MOST_MADE:
        made.clear()
    work = made[place] = _actions[number](place)
    return work


#: The integer that says that there is none.
NO_INTEGER = -(2**63)


def _guarded(none: Any) -> Callable[[int, int], Any]:
    """Does an action at a place. ``none`` is the result where that raises."""

    def act(number: int, place: int) -> Any:
        try:
            try:
                work = _made[number][place]
            except KeyError:
                work = None
            return work() if work is not None else _make(number, place)()
        except BaseException as error:  # noqa: BLE001  (no exception can pass through compiled code: it is raised after)
            traceback.clear_frames(error.__traceback__)  # they have arrays of memory that is given back by then
            PENDING.error = error
            return none

    return act


def _failed() -> int:
    """Whether an action of this thread has raised, as a status. A result cannot say so where any number may be one."""
    return RAISED_OUTSIDE if "error" in PENDING.__dict__ else 0


@functools.cache
def _callbacks() -> dict[str, Any]:
    integer, real = ctypes.c_int64, ctypes.c_double
    return {
        "number": ctypes.CFUNCTYPE(integer, integer, ctypes.c_size_t)(_guarded(0)),
        "status": ctypes.CFUNCTYPE(integer, integer, ctypes.c_size_t)(_guarded(RAISED_OUTSIDE)),
        "float": ctypes.CFUNCTYPE(real, integer, integer)(_guarded(math.nan)),
        "int": ctypes.CFUNCTYPE(integer, integer, integer)(_guarded(NO_INTEGER)),
        "failed": ctypes.CFUNCTYPE(integer)(_failed),
    }


@functools.cache
def bind() -> None:
    """Bind the symbols in this process."""
    for name, callback in _callbacks().items():
        binding.add_symbol(PREFIX + name, ctypes.cast(callback, ctypes.c_void_p).value)
