"""BLAS and LAPACK routines as external LLVM functions, and small helpers to emit calls of them.

The routines are those that SciPy links to: ``scipy.linalg.cython_blas`` and ``cython_lapack`` export their addresses as
capsules, whose names are the C signatures. Emitted code refers to a symbol name (``jitgrad_dgemm``), never to an
address, so machine code from a cache stays valid once :func:`register_symbols` has bound the names.

Fortran's convention: every argument is a pointer, matrices are column-major, integers have 32 bits.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils

from jitgrad.codegen import blas_threads, callbacks, fourier_tables, python_api, scipy_special, threads
from jitgrad.codegen.capsules import capsule_contents
from jitgrad.errors import CompilationError
from jitgrad.ir.types import is_float

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)

#: The routines that are used, by name without the type letter, and the SciPy module that exports each.
ROUTINES: dict[str, str] = {
    "trsm": "cython_blas",
    "trsv": "cython_blas",
    "swap": "cython_blas",
    "potrf": "cython_lapack",
    "getrf": "cython_lapack",
    "getri": "cython_lapack",
    "getc2": "cython_lapack",
    "gesc2": "cython_lapack",
    "syevd": "cython_lapack",
    "heevd": "cython_lapack",
    "geev": "cython_lapack",
    "gbtrf": "cython_lapack",
    "gbtrs": "cython_lapack",
    "geqrf": "cython_lapack",
    "orgqr": "cython_lapack",
    "gesdd": "cython_lapack",
}

_PREFIX = "jitgrad_"

#: The type letter of a routine's name.
LETTERS: dict[np.dtype, str] = {
    np.dtype(np.float32): "s",
    np.dtype(np.float64): "d",
    np.dtype(np.complex64): "c",
    np.dtype(np.complex128): "z",
}


def llvm_type(dtype: np.dtype) -> Any:
    """The type of an element in memory; bool is one byte, and a complex number a pair of its parts."""
    if dtype.kind == "c":
        return ir.DoubleType() if dtype.itemsize == 16 else ir.FloatType()
    if is_float(dtype):
        return ir.DoubleType() if dtype.itemsize == 8 else ir.FloatType()
    return ir.IntType(8 * dtype.itemsize)


def _capsule(name: str) -> Any:
    """SciPy's capsule of a routine (``"dgemm"``)."""
    module = importlib.import_module(f"scipy.linalg.{ROUTINES[name[1:]]}")
    return module.__pyx_capi__[name]


def parse_signature(text: str, name: str) -> str:
    """The kinds of the arguments, from the C signature in a capsule's name: ``c`` for ``char *``, ``i`` for ``int *``,
    ``r`` for a pointer to float, double or complex. Raises CompilationError for anything else (a BLAS with 64-bit
    integers)."""
    kinds = ""
    match = re.fullmatch(r"void \((.*)\)", text)
    for argument in match[1].split(", ") if match else [text]:
        if argument == "char *":
            kinds += "c"
        elif argument == "int *":
            kinds += "i"
        elif re.fullmatch(r"(float|double|__pyx_t_\w+_[sd]|__pyx_t_(?:float|double)_complex) \*", argument):
            kinds += "r"
        else:
            raise CompilationError(
                f"SciPy's {name} has the signature {text!r}. jitgrad knows BLAS and LAPACK with 32-bit integers only. "
                "Install a SciPy wheel from PyPI."
            )
    return kinds


@functools.cache
def _bind(name: str) -> str:
    """Bind the symbol of a routine to its address, once a process; returns the kinds of its arguments."""
    signature, address = capsule_contents(_capsule(name))
    kinds = parse_signature(signature, name)
    binding.add_symbol(_PREFIX + name, address)
    return kinds


def register_symbols(names: Iterable[str]) -> None:
    """Bind those of the symbols that are jitgrad's own. Call it before machine code is loaded, with the symbols that
    it refers to: the code may have been made in another process."""
    for name in names:
        if name.startswith("jitgrad_blas_"):
            blas_threads.available()
        elif name == threads.CONTROL:
            threads.bind()
        elif name.startswith(python_api.PREFIX):
            python_api.bind(name)
        elif name.startswith(callbacks.PREFIX):
            callbacks.bind()
        elif name.startswith(fourier_tables.PREFIX):
            fourier_tables.bind(name)
        elif name.startswith(scipy_special.PREFIX):
            scipy_special.bind(name)
        elif name.startswith(_PREFIX):
            _bind(name.removeprefix(_PREFIX))


def routine(module: ir.Module, name: str, dtype: np.dtype) -> ir.Function:
    """The declaration of a routine for a dtype (``routine(m, "gemm", f64)`` is dgemm) in an LLVM module."""
    full = LETTERS[dtype] + name
    kinds = _bind(full)
    pointees = {"c": I8, "i": I32, "r": llvm_type(dtype)}
    signature = ir.FunctionType(ir.VoidType(), [pointees[k].as_pointer() for k in kinds])
    return cgutils.get_or_insert_function(module, signature, _PREFIX + full)


def constant_pointer(module: ir.Module, type_: Any, value: int | float) -> ir.GlobalVariable:
    """A pointer to a read-only constant; Fortran takes numbers by reference."""
    name = f".jitgrad.{type_}.{float(value).hex() if isinstance(value, float) else value}"
    known = module.globals.get(name)
    if known is None:
        known = ir.GlobalVariable(module, type_, name)
        known.linkage, known.global_constant, known.unnamed_addr = "private", True, True
        known.initializer = ir.Constant(type_, value)  # pyright: ignore[reportAttributeAccessIssue]
    return known


def call(builder: ir.IRBuilder, name: str, dtype: np.dtype, args: Sequence[Any]) -> None:
    """Call a routine. A ``str`` argument becomes a character, an ``int`` or ``float`` a constant by reference;
    pointers are passed on."""
    module = builder.module
    values = []
    for arg in args:
        if isinstance(arg, str):
            values.append(constant_pointer(module, I8, ord(arg)))
        elif isinstance(arg, int):
            values.append(constant_pointer(module, I32, arg))
        elif isinstance(arg, float):
            values.append(constant_pointer(module, llvm_type(dtype), arg))
        else:
            values.append(arg)
    builder.call(routine(module, name, dtype), values)


def offset(builder: ir.IRBuilder, pointer: Any, elements: Any) -> Any:
    """``pointer + elements``."""
    if isinstance(elements, int):
        elements = I64(elements)
    return builder.gep(pointer, [elements], inbounds=True)


def linear(builder: ir.IRBuilder, index: Sequence[Any], strides: Sequence[int]) -> Any:
    """``sum(i * s)`` as an i64 value."""
    total: Any = I64(0)
    for i, s in zip(index, strides, strict=True):
        if s:
            total = builder.add(total, builder.mul(i, I64(s)))
    return total


def load_element(builder: ir.IRBuilder, pointer: Any, index: Any) -> Any:
    """``pointer[index]``."""
    return builder.load(offset(builder, pointer, index))


def store_element(builder: ir.IRBuilder, pointer: Any, index: Any, value: Any) -> None:
    """``pointer[index] = value``."""
    builder.store(value, offset(builder, pointer, index))
