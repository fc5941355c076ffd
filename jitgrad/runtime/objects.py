"""Object files, linked and loaded by LLVM: programs that this process has compiled, or an earlier one.

The code is given back to the system when nothing refers to it any more.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

from jitgrad.codegen.libcalls import register_symbols
from jitgrad.codegen.threads import LAYER
from jitgrad.runtime import kernels, threads
from jitgrad.runtime.linker import link

#: The symbol of a program's entry: a C function that Python calls with its arguments in an array (METH_FASTCALL).
ENTRY = "jitgrad.entry"


class ObjectCode(NamedTuple):
    """Object files of which one exports :data:`ENTRY`; ``externals`` are the functions and variables that they refer
    to outside."""

    code: tuple[bytes, ...]
    externals: tuple[str, ...]


class MethodDef(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


#: How Python calls a C function: with an array of arguments, with one, with none.
FASTCALL, ONE, NONE = 0x80, 0x8, 0x4


def builtin(method: MethodDef, owner: Any) -> Any:
    """A C function as one of Python's. It is passed ``owner`` and keeps that alive, which must keep ``method``."""
    prototype = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    new = prototype(("PyCFunction_NewEx", ctypes.pythonapi))
    return new(ctypes.addressof(method), owner, None)


def load(unit: ObjectCode) -> Callable[..., int]:
    """The entry of object files, ready to be called. The code lives as long as that.

    Raises RuntimeError where LLVM can't link it. Not for use by two threads at once.
    """
    if LAYER in unit.externals:
        threads.start()
    kernels.bind(unit.externals)
    register_symbols(unit.externals)
    linked = link(unit.code, (ENTRY,), unit.externals)
    method = MethodDef(b"program", linked.addresses[ENTRY], FASTCALL, b"A compiled program.")
    return builtin(method, (method, linked))
