"""Machine code of an earlier process: object files, linked and loaded by LLVM alone.

Numba's compiler is not needed for that, nor what it sets up when it compiles for the first time. Unlike code that Numba
compiles, code that is loaded here is given back to the system when nothing refers to it any more.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import binding
from llvmlite.binding import orcjit
from numba import _dynfunc  # pyright: ignore[reportAttributeAccessIssue]

from jitgrad.codegen.externs import register_symbols
from jitgrad.codegen.threads import LAYER
from jitgrad.runtime import threads

_numbers = itertools.count()


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


@functools.cache
def _linker() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return orcjit.create_lljit_compiler()


def load(unit: ObjectCode) -> Callable[..., int]:
    """The entry of an object file, ready to be called. The code lives as long as that.

    Raises RuntimeError where LLVM can't link it.
    """
    if LAYER in unit.externals:
        threads.start()
    register_symbols(unit.externals)
    library = orcjit.JITLibraryBuilder().add_object_img(unit.code).add_current_process()
    for name in unit.externals:
        address = binding.address_of_symbol(name)
        if address is not None:
            library.import_symbol(name, address)
    library.export_symbol(unit.entry).export_symbol(unit.environment)
    linked = library.link(_linker(), f"jitgrad.{next(_numbers)}")
    environment = _dynfunc.Environment({})
    ctypes.c_void_p.from_address(linked[unit.environment]).value = id(environment)
    this = sys.modules[__name__]
    return _dynfunc.make_function(this, "program", "A compiled program.", linked[unit.entry], environment, (linked,))
