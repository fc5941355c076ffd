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

_I8P, _I32 = ir.IntType(8).as_pointer(), ir.IntType(32)

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
    """The form of a library function that writes LLVM: a call with all that is known of it as JSON, and a table of the
    addresses of what it writes and reads."""

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
        what = json.dumps([name, static, *types]).encode() + b"\0"
        text = ir.Constant(ir.ArrayType(ir.IntType(8), len(what)), bytearray(what))
        constant = cgutils.global_constant(b, "drawn", text)
        table = cgutils.alloca_once(b, _I8P, max(len(outs) + len(ins), 1))
        for k, pointer in enumerate((*outs, *ins)):
            b.store(b.bitcast(pointer, _I8P), b.gep(table, [_I32(k)]))
        signature = ir.FunctionType(ir.IntType(64), [_I8P, _I8P.as_pointer()])
        function = cgutils.get_or_insert_function(b.module, signature, SYMBOL)
        return b.call(function, [b.bitcast(constant, _I8P), table])

    return emit


@functools.lru_cache(maxsize=4096)
def _prepared(what: bytes) -> Callable[[Any], None]:
    """What a call does with its table of addresses."""
    name, static, outs, ins = json.loads(what)
    action = FUNCTIONS[name]([(np.dtype(d), tuple(shape)) for d, shape in outs], **static)
    readers = [_reader(np.dtype(d), tuple(shape)) for d, shape in ins]
    writers = [_writer(np.dtype(d), tuple(shape)) for d, shape in outs]
    if len(outs) == len(ins) == 1:  # most draws
        (read,), (write,) = readers, writers
        return lambda table: write(table[0], action((read(table[1]),))[0])
    first = len(outs)

    def run(table: Any) -> None:
        found = action([read(table[first + k]) for k, read in enumerate(readers)])
        for k, (write, new) in enumerate(zip(writers, found, strict=True)):
            write(table[k], new)

    return run


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


def _draw(what: bytes, addresses: Any) -> int:
    """What the call does; the status."""
    try:
        _prepared(what)(addresses)
    except BaseException as error:  # noqa: BLE001  (no exception can pass through the program)
        PENDING.error = error
        return RAISED_OUTSIDE
    return 0


@functools.cache
def _callback() -> Any:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p))(_draw)


def bind() -> None:
    """Bind the symbol in this process."""
    address = ctypes.cast(_callback(), ctypes.c_void_p).value
    binding.add_symbol(SYMBOL, address)
