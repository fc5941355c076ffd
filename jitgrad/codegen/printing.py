"""Texts that compiled programs write: a call back into Python, with the addresses of the arrays that are shown.

The program runs without the interpreter's lock; ctypes takes it for the call. Loops that do so are never shared by
threads, so lines come in the order of the program.
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils

from jitgrad.ir.messages import deliver
from jitgrad.ir.thrown import formatted
from jitgrad.loopir.failures import PENDING, RAISED_OUTSIDE
from jitgrad.loopir.nodes import Buffer

SYMBOL = "jitgrad_show"

_I8P, _I32 = ir.IntType(8).as_pointer(), ir.IntType(32)


def show_python(outs: Sequence[np.ndarray], ins: Sequence[np.ndarray], *, text: str, to: tuple[Any, ...]) -> int:
    deliver(to, formatted(text, [a[()] for a in ins]))
    return 0


def show_emit(b: Any, outs: Any, ins: Sequence[Any], static: dict[str, Any], _: Any, buffers: Sequence[Buffer]) -> Any:
    """A call with the text, the receiver and the types as JSON, and a table of the addresses."""
    bind()
    types = [(t.dtype.str, t.static_shape) for t in buffers]
    what = json.dumps({**static, "types": types}).encode() + b"\0"
    constant = cgutils.global_constant(b, "shown", ir.Constant(ir.ArrayType(ir.IntType(8), len(what)), bytearray(what)))
    table = cgutils.alloca_once(b, _I8P, max(len(ins), 1))
    for k, pointer in enumerate(ins):
        b.store(b.bitcast(pointer, _I8P), b.gep(table, [_I32(k)]))
    signature = ir.FunctionType(ir.IntType(64), [_I8P, _I8P.as_pointer()])
    function = cgutils.get_or_insert_function(b.module, signature, SYMBOL)
    return b.call(function, [b.bitcast(constant, _I8P), table])


def _show(what: bytes, addresses: Any) -> int:
    """What the call does; the status."""
    try:
        known = json.loads(what)
        values = []
        for k, (dtype, shape) in enumerate(known["types"]):
            size = math.prod(shape) * np.dtype(dtype).itemsize
            data = ctypes.string_at(addresses[k], size)
            values.append(np.frombuffer(data, dtype).reshape(shape)[()])
        deliver(known["to"], formatted(known["text"], values))
    except BaseException as error:  # noqa: BLE001  (no exception can pass through the program)
        PENDING.error = error
        return RAISED_OUTSIDE
    return 0


@functools.cache
def _callback() -> Any:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p))(_show)


def bind() -> None:
    """Bind the symbol in this process."""
    address = ctypes.cast(_callback(), ctypes.c_void_p).value
    binding.add_symbol(SYMBOL, address)
