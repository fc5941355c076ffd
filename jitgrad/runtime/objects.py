"""Object files, linked and loaded by LLVM: programs that this process has compiled, or an earlier one.

The code is given back to the system when nothing refers to it any more.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from llvmlite import binding
from llvmlite.binding import orcjit

from jitgrad.codegen.libcalls import register_symbols
from jitgrad.codegen.threads import LAYER
from jitgrad.runtime import threads
from jitgrad.runtime.target import NEAR

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


#: Object files that one linker takes: it keeps a little of each, until it and all of them are dropped.
UNITS = 64


class _Linker:
    """LLVM's, which binds symbols to addresses."""

    def __init__(self) -> None:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        self.jit = orcjit.create_lljit_compiler(suppress_errors=True, use_jit_link=NEAR)
        self.units = 0

    def link(self, builder: Any) -> Any:
        self.units += 1
        return builder.link(self.jit, f"jitgrad.{self.units}")


_linker: _Linker | None = None


class Linked(NamedTuple):
    """The addresses of what an object file exports, and what they live as long as: dropped from the last to the
    first."""

    addresses: dict[str, int]
    owners: tuple[Any, ...]


def link(code: Sequence[bytes], exports: Sequence[str], externals: Iterable[str]) -> Linked:
    """Link object files. ``externals`` are symbols that are known to LLVM.

    Raises RuntimeError where LLVM can't link it. Not for use by two threads at once.
    """
    global _linker
    library = orcjit.JITLibraryBuilder().add_current_process()
    for file in code:
        library.add_object_img(file)
    for name in externals:
        address = binding.address_of_symbol(name)
        if address is not None:
            library.import_symbol(name, address)
    for name in exports:
        library.export_symbol(name)
    if _linker is None or _linker.units == UNITS:
        _linker = _Linker()
    linked = _linker.link(library)
    return Linked({name: linked[name] for name in exports}, (_linker, linked))


def load(unit: ObjectCode) -> Callable[..., int]:
    """The entry of object files, ready to be called. The code lives as long as that.

    Raises RuntimeError where LLVM can't link it. Not for use by two threads at once.
    """
    if LAYER in unit.externals:
        threads.start()
    register_symbols(unit.externals)
    linked = link(unit.code, (ENTRY,), unit.externals)
    method = MethodDef(b"program", linked.addresses[ENTRY], FASTCALL, b"A compiled program.")
    return builtin(method, (method, linked))
