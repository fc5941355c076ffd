"""Machine code of an earlier process: object files, linked and loaded by LLVM alone.

Numba's compiler is not needed for that, nor what it sets up when it compiles for the first time. Unlike code that Numba
compiles, code that is loaded here is given back to the system when nothing refers to it any more.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from llvmlite import binding
from llvmlite.binding import orcjit
from numba import _dynfunc  # pyright: ignore[reportAttributeAccessIssue]

from jitgrad.codegen.externs import register_symbols
from jitgrad.codegen.threads import LAYER
from jitgrad.runtime import threads


class ObjectCode(NamedTuple):
    """An object file, and what must be known to load it.

    entry : the symbol of the function that Python calls, which Numba made.
    environment : the symbol of a variable that this function wants set: Numba keeps a function's globals there.
    externals : the functions and variables that the program refers to.
    """

    code: bytes
    entry: str
    environment: str
    externals: tuple[str, ...]


#: Object files that one linker takes: it keeps a little of each, until it and all of them are dropped.
UNITS = 64


class _Linker:
    """LLVM's, which binds symbols to addresses."""

    def __init__(self) -> None:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        self.jit = orcjit.create_lljit_compiler(suppress_errors=True)
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


def link(code: bytes, exports: Sequence[str], externals: Iterable[str]) -> Linked:
    """Link an object file. ``externals`` are symbols that are known to LLVM.

    Raises RuntimeError where LLVM can't link it. Not for use by two threads at once.
    """
    global _linker
    library = orcjit.JITLibraryBuilder().add_object_img(code).add_current_process()
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
    """The entry of an object file, ready to be called. The code lives as long as that.

    Raises RuntimeError where LLVM can't link it. Not for use by two threads at once.
    """
    if LAYER in unit.externals:
        threads.start()
    register_symbols(unit.externals)
    linked = link(unit.code, (unit.entry, unit.environment), unit.externals)
    environment = _dynfunc.Environment({})
    ctypes.c_void_p.from_address(linked.addresses[unit.environment]).value = id(environment)
    this, entry = sys.modules[__name__], linked.addresses[unit.entry]
    return _dynfunc.make_function(this, "program", "A compiled program.", entry, environment, linked.owners)
