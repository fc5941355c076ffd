"""Random numbers: a call back into Python, which calls the method of the generator and copies the result.

The program runs without the interpreter's lock; ctypes takes it for the call. Loops that do so are never shared by
threads, so the numbers come in the order of the program.
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils

from jitgrad.ir.generators import Draw, generator_of, make, restored, saved
from jitgrad.loopir.failures import PENDING, RAISED_OUTSIDE
from jitgrad.loopir.nodes import Buffer

SYMBOL = "jitgrad_draw"

_I8P, _I32, _I64 = ir.IntType(8).as_pointer(), ir.IntType(32), ir.IntType(64)

#: What a call does with the arrays that it reads; the new contents of those that it writes.
Action = Callable[[Sequence[np.ndarray]], Sequence[Any]]


def _drawing(outs: Sequence[Any], *, method: str, args: Sequence[Any]) -> Action:
    dtype, shape = (outs[0][0], outs[0][1]) if outs else (None, ())
    draw = Draw(method, args, dtype, shape)
    if not outs:

        def act(ins: Sequence[np.ndarray]) -> Sequence[Any]:
            draw(generator_of(int(ins[0])), ins[1:])
            return ()

        return act
    if not shape:  # no array is made of a number
        return lambda ins: (draw(generator_of(int(ins[0])), ins[1:]),)
    return lambda ins: (draw.array(generator_of(int(ins[0])), ins[1:]),)


def _making(outs: Sequence[Any], *, kind: str, site: int) -> Action:
    return lambda ins: (make(kind, site, *ins),)


def _saving(outs: Sequence[Any]) -> Action:
    (nbytes,) = outs[0][1]
    return lambda ins: (saved([int(h) for h in ins], nbytes),)


def _restoring(outs: Sequence[Any], *, site: int) -> Action:
    return lambda ins: restored(ins[0], site)


#: Library function -> what makes its action, from the dtypes and shapes of what it writes and its static arguments.
FUNCTIONS: dict[str, Callable[..., Action]] = {
    "draw": _drawing,
    "make_generator": _making,
    "generator_state": _saving,
    "restore_generators": _restoring,
}


def python_form(name: str) -> Callable[..., int]:
    """The form of a library function that works on arrays."""

    def run(outs: Sequence[np.ndarray], ins: Sequence[np.ndarray], **static: Any) -> int:
        action = FUNCTIONS[name]([(a.dtype, a.shape) for a in outs], **static)
        for out, new in zip(outs, action(ins), strict=True):
            out[...] = new
        return 0

    return run


def emitter(name: str) -> Callable[..., Any]:
    """The form of a library function that writes LLVM: a call with the number of its action, and a table of the
    addresses of what it writes and reads; or one that gives the number that is drawn."""

    def emit(
        b: Any,
        outs: Sequence[Any],
        ins: Sequence[Any],
        static: dict[str, Any],
        out_buffers: Sequence[Buffer],
        in_buffers: Sequence[Buffer],
    ) -> Any:
        bind()
        types = [[(t.dtype.str, t.static_shape) for t in side] for side in (out_buffers, in_buffers)]
        number = _number(b, json.dumps([name, static, *types]).encode())
        is_number = len(ins) == len(outs) == 1 and out_buffers[0].shape == () and out_buffers[0].dtype in _FAST
        if name == "draw" and is_number:
            return _emit_fast(b, number, outs[0], b.load(ins[0]), out_buffers[0].dtype)
        table = cgutils.alloca_once(b, _I8P, max(len(outs) + len(ins), 1))
        for k, pointer in enumerate((*outs, *ins)):
            b.store(b.bitcast(pointer, _I8P), b.gep(table, [_I32(k)]))
        return _call(b, SYMBOL, _I64, number, table)

    return emit


def _call(b: Any, symbol: str, result: Any, *args: Any) -> Any:
    signature = ir.FunctionType(result, [a.type for a in args])
    return b.call(cgutils.get_or_insert_function(b.module, signature, symbol), args)


def _number(b: Any, what: bytes) -> Any:
    """The number of an action: it is asked for once, by its description, and kept in a variable of the module."""
    text = ir.Constant(ir.ArrayType(ir.IntType(8), len(what) + 1), bytearray(what + b"\0"))
    constant = cgutils.global_constant(b, "drawn", text)
    kept = ir.GlobalVariable(b.module, _I64, b.module.get_unique_name("drawn.number"))
    kept.linkage, kept.initializer = "internal", _I64(0)  # pyright: ignore[reportAttributeAccessIssue]
    with b.if_then(b.icmp_unsigned("==", b.load(kept), _I64(0)), likely=False):
        b.store(_call(b, SYMBOL + "_number", _I64, b.bitcast(constant, _I8P)), kept)
    return b.load(kept)


def _emit_fast(b: Any, number: Any, out: Any, handle: Any, dtype: np.dtype) -> Any:
    """A number is what the call gives. One value says that there may be none: then the status is asked for."""
    kind = "float" if dtype.kind == "f" else "int"
    value = _call(b, f"{SYMBOL}_{kind}", out.type.pointee, number, handle)
    b.store(value, out)
    odd = b.fcmp_unordered("uno", value, value) if kind == "float" else b.icmp_signed("==", value, _I64(_NONE))
    status = cgutils.alloca_once_value(b, _I64(0))
    b.store(_I64(0), status)
    with b.if_then(odd, likely=False):
        b.store(_call(b, SYMBOL + "_status", _I64), status)
    return b.load(status)


class _Prepared:
    """An action with all that is known of its arrays. ``bound`` are functions without arguments that draw a number, by
    the handle of the generator: as long as one is kept, so is its generator, and no other has that handle."""

    def __init__(self, what: bytes) -> None:
        name, static, outs, ins = json.loads(what)
        types = [(np.dtype(d), tuple(shape)) for d, shape in outs]
        self.action = FUNCTIONS[name](types, **static)
        self.readers = [_reader(np.dtype(d), tuple(shape)) for d, shape in ins]
        self.writers = [_writer(d, shape) for d, shape in types]
        self.bound: dict[int, Callable[[], Any]] = {}
        self.draw = Draw(static["method"], static["args"]) if name == "draw" else None

    def run(self, table: Any) -> None:
        """Read, act, write."""
        first = len(self.writers)
        found = self.action([read(table[first + k]) for k, read in enumerate(self.readers)])
        for k, (write, new) in enumerate(zip(self.writers, found, strict=True)):
            write(table[k], new)

    def bind(self, handle: int) -> Callable[[], Any]:
        """What draws a number from the generator with this handle."""
        assert self.draw is not None
        if len(self.bound) >= _MOST_BOUND:
            self.bound.clear()
        found = self.bound[handle] = self.draw.bound(generator_of(handle))
        return found


#: Generators that an action keeps alive at most.
_MOST_BOUND = 4
_prepared: list[Any] = [None]  # by number; 0 is none
_numbers: dict[bytes, int] = {}


def _number_of(what: bytes) -> int:
    """The number of an action, from 1 on. Equal descriptions have one number."""
    try:
        found = _numbers.get(what)
        if found is None:
            _prepared.append(_Prepared(what))
            found = _numbers[what] = len(_prepared) - 1
        return found
    except BaseException as error:  # noqa: BLE001  (no exception can pass through the program)
        PENDING.error = error
        return 0


def _reader(dtype: np.dtype, shape: tuple[int, ...]) -> Callable[[int], Any]:
    if dtype == np.int64 and not shape:
        place = ctypes.c_int64.from_address
        return lambda address: np.int64(place(address).value)
    size = math.prod(shape) * dtype.itemsize
    return lambda address: np.frombuffer(ctypes.string_at(address, size), dtype).reshape(shape)


def _writer(dtype: np.dtype, shape: tuple[int, ...]) -> Callable[[int, Any], None]:
    if not shape and dtype in _NUMBERS:
        place = _NUMBERS[dtype].from_address

        def write_number(address: int, value: Any) -> None:
            place(address).value = value

        return write_number
    size = math.prod(shape) * dtype.itemsize

    def write(address: int, value: Any) -> None:
        array = np.ascontiguousarray(value, dtype)
        ctypes.memmove(address, array.__array_interface__["data"][0], size)

    return write


_NUMBERS: dict[np.dtype, Any] = {np.dtype(np.float64): ctypes.c_double, np.dtype(np.int64): ctypes.c_int64}
_FAST = frozenset(_NUMBERS)
#: The integer that says that there is none.
_NONE = -(2**63)


def _draw(number: int, table: Any) -> int:
    """Do an action; the status."""
    try:
        if number:
            _prepared[number].run(table)
            return 0
    except BaseException as error:  # noqa: BLE001
        PENDING.error = error
    return RAISED_OUTSIDE


def _draw_float(number: int, handle: int) -> float:
    """Draw a number; NaN where that fails."""
    try:
        return _prepared[number].bound[handle]()
    except BaseException as error:  # noqa: BLE001
        return _slowly(number, handle, error, math.nan)


def _draw_int(number: int, handle: int) -> int:
    """Draw an integer; ``_NONE`` where that fails."""
    try:
        found = _prepared[number].bound[handle]()
        if _NONE <= found < -_NONE:
            return found
        raise OverflowError(f"{found} was drawn, and a compiled program has integers of 64 bits")
    except BaseException as error:  # noqa: BLE001
        return _slowly(number, handle, error, _NONE)


def _slowly(number: int, handle: int, error: BaseException, none: Any) -> Any:
    """The first draw from a generator; or the end, where a draw has failed."""
    try:
        if number == 0:
            return none
        prepared = _prepared[number]
        if handle in prepared.bound:
            PENDING.error = error
            return none
        found = prepared.bind(handle)()
        if none == _NONE and not _NONE <= found < -_NONE:
            raise OverflowError(f"{found} was drawn, and a compiled program has integers of 64 bits")
        return found
    except BaseException as other:  # noqa: BLE001
        PENDING.error = other
        return none


def _status() -> int:
    """Whether a draw of this thread has failed."""
    return RAISED_OUTSIDE if "error" in PENDING.__dict__ else 0


@functools.cache
def _callbacks() -> dict[str, Any]:
    number, handle = ctypes.c_int64, ctypes.c_int64
    return {
        "": ctypes.CFUNCTYPE(ctypes.c_int64, number, ctypes.POINTER(ctypes.c_void_p))(_draw),
        "_number": ctypes.CFUNCTYPE(number, ctypes.c_char_p)(_number_of),
        "_float": ctypes.CFUNCTYPE(ctypes.c_double, number, handle)(_draw_float),
        "_int": ctypes.CFUNCTYPE(ctypes.c_int64, number, handle)(_draw_int),
        "_status": ctypes.CFUNCTYPE(ctypes.c_int64)(_status),
    }


@functools.cache
def bind() -> None:
    """Bind the symbols in this process."""
    for name, callback in _callbacks().items():
        binding.add_symbol(SYMBOL + name, ctypes.cast(callback, ctypes.c_void_p).value)
