"""LLVM's linker: object files in memory become code that can be called.

The code is given back to the system when nothing refers to it any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from llvmlite import binding
from llvmlite.binding import orcjit

from jitgrad.runtime.target import NEAR

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
