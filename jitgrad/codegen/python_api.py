"""Functions of Python's C interface as external LLVM functions."""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import binding, ir

#: Of the symbols that emitted code refers to, in place of addresses.
PREFIX = "jitgrad_Py"


def bind(symbol: str) -> None:
    """Bind a symbol to the address of the function that it stands for."""
    function = getattr(ctypes.pythonapi, "Py" + symbol.removeprefix(PREFIX))
    binding.add_symbol(symbol, ctypes.cast(function, ctypes.c_void_p).value)


def call(b: Any, name: str, result: ir.Type, *args: Any) -> Any:
    """Call a function by its name in C."""
    symbol = PREFIX + name.removeprefix("Py")
    known = b.module.globals.get(symbol)
    if known is None:
        known = ir.Function(b.module, ir.FunctionType(result, [a.type for a in args]), symbol)
    return b.call(known, args)
