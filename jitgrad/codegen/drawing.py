"""Random numbers: calls of Python (``callbacks``), which call the method of the generator.

A number is what such a call gives. Other results are arrays, which it writes.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from jitgrad.codegen import callbacks
from jitgrad.codegen.callbacks import NO_INTEGER, Action, Function, Kind
from jitgrad.ir.generators import Draw, generator_of, make, restored, saved
from jitgrad.ir.types import f64, i64
from jitgrad.loopir.nodes import Buffer

_I64 = ir.IntType(64)


def _drawing(outs: Sequence[Kind], *, method: str, args: Sequence[Any]) -> Function:
    dtype, shape = outs[0] if outs else (None, ())
    draw = Draw(method, args, dtype, shape)

    def run(outs: Sequence[np.ndarray], ins: Sequence[np.ndarray]) -> None:
        generator = generator_of(int(ins[0]))
        if not shape:  # no array is made of a number
            found = draw(generator, ins[1:])
            for out in outs:
                out[...] = found
        else:
            outs[0][...] = draw.array(generator, ins[1:])

    return run


def _making(_: Sequence[Kind], *, kind: str, site: int) -> Function:
    def run(outs: Sequence[np.ndarray], ins: Sequence[np.ndarray]) -> None:
        outs[0][...] = make(kind, site, *ins)

    return run


def _saving(kinds: Sequence[Kind]) -> Function:
    (nbytes,) = kinds[0][1]

    def run(outs: Sequence[np.ndarray], ins: Sequence[np.ndarray]) -> None:
        outs[0][...] = saved([int(h) for h in ins], nbytes)

    return run


def _restoring(_: Sequence[Kind], *, site: int) -> Function:
    def run(outs: Sequence[np.ndarray], ins: Sequence[np.ndarray]) -> None:
        for out, handle in zip(outs, restored(ins[0], site), strict=True):
            out[...] = handle

    return run


# -- numbers -----------------------------------------------------------------------------------------------------------

#: The dtypes of the numbers that a call gives.
_NUMBERS = (f64, i64)


def _number(outs: Sequence[Kind], _: Sequence[Kind], *, method: str, args: Sequence[Any]) -> Action:
    """A draw of one number without operands. A place is the handle of a generator: what is made for it keeps that, so
    no other gets the handle meanwhile."""
    draw, integer = Draw(method, args), outs[0][0] == i64

    def bound(handle: int) -> Callable[[], Any]:
        generator = generator_of(handle)
        found = draw.bound(generator)
        if integer and isinstance(generator, random.Random):  # whose integers may be of any size
            return functools.partial(_fitting, found)
        return found

    return bound


def _fitting(draw: Callable[[], int]) -> int:
    found = draw()
    if -(2**63) <= found < 2**63:
        return found
    raise OverflowError(f"{found} was drawn, and a compiled program has integers of 64 bits")


callbacks.register("number", _number)


def _number_emit(b: Any, number: Any, out: Any, handle: Any, dtype: np.dtype) -> Any:
    """One value of the call says that there may be none: then it is asked whether the draw has failed."""
    value = callbacks.call(b, "float" if dtype == f64 else "int", out.type.pointee, number, handle)
    b.store(value, out)
    odd = b.fcmp_unordered("uno", value, value) if dtype == f64 else b.icmp_signed("==", value, _I64(NO_INTEGER))
    status = cgutils.alloca_once_value(b, _I64(0))
    b.store(_I64(0), status)
    with b.if_then(odd, likely=False):
        b.store(callbacks.call(b, "failed", _I64), status)
    return b.load(status)


# -- the library functions ---------------------------------------------------------------------------------------------

_draw_python, _draw_emit = callbacks.python_libcall("draw", _drawing)


def _any_draw_emit(
    b: Any,
    outs: Sequence[Any],
    ins: Sequence[Any],
    static: dict[str, Any],
    out_buffers: Sequence[Buffer],
    in_buffers: Sequence[Buffer],
) -> Any:
    if len(ins) == len(outs) == 1 and out_buffers[0].shape == () and out_buffers[0].dtype in _NUMBERS:
        number = callbacks.number(b, "number", static, out_buffers, in_buffers)
        return _number_emit(b, number, outs[0], b.load(ins[0]), out_buffers[0].dtype)
    return _draw_emit(b, outs, ins, static, out_buffers, in_buffers)


#: The two forms of each.
FUNCTIONS: dict[str, tuple[Callable[..., int], Callable[..., Any]]] = {
    "draw": (_draw_python, _any_draw_emit),
    "make_generator": callbacks.python_libcall("make_generator", _making),
    "generator_state": callbacks.python_libcall("generator_state", _saving),
    "restore_generators": callbacks.python_libcall("restore_generators", _restoring),
}
