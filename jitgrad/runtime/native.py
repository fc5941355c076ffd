"""Machine code for a program: LLVM built inside a Numba intrinsic, linked and loaded by Numba.

The compiled entry takes four arguments: the argument leaves, the result arrays and the constants, each a tuple, and
the address of the arena. It reads the data pointers out of the objects itself, so one call costs the same for one
argument as for twenty, and nothing is unpacked in Python.

That reads two object layouts of CPython and NumPy: the items of a tuple follow its basic size, and right after the
object header lie the data pointer of an ``ndarray`` and the number itself in a float and in every NumPy scalar. Both
are checked once a process, at the first compilation.
"""

from __future__ import annotations

import collections
import ctypes
import functools
import hashlib
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from llvmlite.binding import newpassmanagers as passes
from llvmlite.binding.ffi import ObjectRef
from numba.core import types
from numba.extending import NativeValue, intrinsic, models, register_model, unbox

from jitgrad.codegen.llvm import ProgramEmitter, called
from jitgrad.codegen.llvm_scalar import I8, I64
from jitgrad.errors import CompilationError
from jitgrad.loopir.buffers import Place
from jitgrad.loopir.nodes import Buffer, Program
from jitgrad.loopir.walk import buffers_of, statement_key
from jitgrad.runtime.objects import ObjectCode
from jitgrad.runtime.target import compile_intrinsic

_TUPLE_ITEMS = tuple.__basicsize__
_PAYLOAD = object.__basicsize__
_I8P = I8.as_pointer()


class _Reference(types.Opaque):
    """A Python object, passed as its address."""

    def __init__(self) -> None:
        super().__init__("jitgrad_reference")


@unbox(_Reference)
def _unbox_reference(typ: Any, obj: Any, c: Any) -> NativeValue:
    return NativeValue(obj)


# A pass manager of llvmlite is never freed, 0.65 MB for every function that Numba compiles: among its bases
# the one whose `_dispose` does nothing comes first.
for manager in (passes.ModulePassManager, passes.FunctionPassManager):
    if manager._dispose is ObjectRef._dispose:
        manager._dispose = passes.NewPassManager._dispose

register_model(_Reference)(models.OpaqueModel)
_REFERENCE = _Reference()

#: Machine code by :func:`program_key`, the most recently used last.
_compiled: collections.OrderedDict[Hashable, NativeCode] = collections.OrderedDict()
_KEPT = 256
#: Held while a program is made or compiled: expressions are shared by all programs, and so is Numba's compiler.
compiling = threading.RLock()
_SIGNATURE = types.int64(_REFERENCE, _REFERENCE, _REFERENCE, types.intp)


Entry = Callable[[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...], int], int]


class NativeCode(NamedTuple):
    """``entry(leaves, outs, consts, arena_address) -> status``; ``compiled`` is what Numba made, ``externals`` are the
    symbols that the program refers to, and ``shared`` statements were found equal to another one."""

    entry: Entry
    compiled: Any
    externals: tuple[str, ...]
    shared: int

    @property
    def library(self) -> Any:
        """Numba's, for reading the code."""
        return self.compiled.library

    def object_code(self) -> ObjectCode:
        """The code in a form that another process can load."""
        descriptor = self.compiled.fndesc
        environment = self.compiled.target_context.get_env_name(descriptor)
        code = self.library._get_compiled_object()
        return ObjectCode(code, descriptor.llvm_cpython_wrapper_name, environment, self.externals)


@functools.cache
def _check_layouts() -> None:
    """Verify the object layouts that the entry relies on."""
    array = np.array([1.5, 2.5])
    pair = (array, 2.5)

    def word(address: int) -> int:
        return ctypes.c_int64.from_address(address).value

    scalars = (2.5, np.float64(2.5), np.float32(2.5), np.int64(7))
    kinds = (ctypes.c_double, ctypes.c_double, ctypes.c_float, ctypes.c_int64)
    fine = (
        word(id(pair) + _TUPLE_ITEMS) == id(array)
        and word(id(pair) + _TUPLE_ITEMS + 8) == id(pair[1])
        and word(id(array) + _PAYLOAD) == array.__array_interface__["data"][0]
        and all(t.from_address(id(s) + _PAYLOAD).value == s for s, t in zip(scalars, kinds, strict=True))
    )
    if not fine:
        raise CompilationError(
            "the memory layout of Python's objects is not the expected one. jitgrad's native calls need a CPython of "
            "64 bits with the usual object header. Use config.update(backend='python') on this interpreter."
        )


def compile_native(program: Program, scalar_params: tuple[bool, ...], places: Mapping[Buffer, Place]) -> NativeCode:
    """Compile a program whose temporaries lie at ``places``.

    ``scalar_params`` tells for each parameter whether it comes as a scalar object or as an array. A program equal to
    one of the last ones compiled gets the code of that one. The caller holds ``compiling``.
    """
    key = program_key(program, scalar_params, places)
    found = _compiled.get(key)
    if found is None:
        found = _compiled[key] = _compile(program, scalar_params, places)
        if len(_compiled) > _KEPT:
            _compiled.popitem(last=False)
    _compiled.move_to_end(key)
    return found


def program_key(program: Program, scalar_params: tuple[bool, ...], places: Mapping[Buffer, Place]) -> Hashable:
    """Equal for programs that have the same machine code: the same statements over the same places, and one name."""
    numbers = {r.root: k for k, r in enumerate(program.results)}
    keys: dict[Buffer, Hashable] = {
        t: ("temporary", -1 if at.result is None else numbers[at.result], at.offset) for t, at in places.items()
    }
    heap = tuple(t for t in program.temporaries if t.capacity is None)
    kinds = {"argument": program.params, "result": program.results, "constant": program.constants, "heap": heap}
    for kind, found in kinds.items():
        keys.update({t.root: (kind, k) for k, t in enumerate(found)})
    return (
        program.name,
        scalar_params,
        tuple((statement_key(s), *(keys[t] for t in buffers_of(s))) for s in called(program)),
    )


def program_digest(program: Program, scalar_params: tuple[bool, ...], places: Mapping[Buffer, Place]) -> str:
    """A hash of :func:`program_key` that is the same in every process."""
    return hashlib.sha256(repr(program_key(program, scalar_params, places)).encode()).hexdigest()


def _compile(program: Program, scalar_params: tuple[bool, ...], places: Mapping[Buffer, Place]) -> NativeCode:
    _check_layouts()
    shared = 0
    externals: tuple[str, ...] = ()

    def emit(builder: ir.IRBuilder, args: Any) -> Any:
        nonlocal shared, externals
        pointers = _pointers(builder, program, scalar_params, places, args)
        emitter = ProgramEmitter(builder.module, program)
        status = emitter.emit(builder, pointers.__getitem__)
        shared, externals = emitter.shared, _externals(builder.module)
        return status

    def entry(leaves: Any, outs: Any, consts: Any, arena: Any) -> Any:
        return _run(leaves, outs, consts, arena)  # pyright: ignore[reportCallIssue]

    entry.__name__ = entry.__qualname__ = program.name if program.name.isidentifier() else "program"
    _emitting.append(emit)
    try:
        compiled = compile_intrinsic(entry, _SIGNATURE)
    finally:
        _emitting.pop()
    return NativeCode(compiled.entry_point, compiled, externals, shared)


def _externals(module: ir.Module) -> tuple[str, ...]:
    """The functions and variables that a module only declares, without LLVM's own."""
    return tuple(
        name
        for name, x in module.globals.items()
        if not name.startswith("llvm.") and (x.is_declaration if isinstance(x, ir.Function) else x.initializer is None)
    )


#: What :func:`_run` is to emit: the program that is compiled now.
_emitting: list[Callable[[ir.IRBuilder, Any], Any]] = []


@intrinsic
def _run(typingctx: Any, leaves: Any, outs: Any, consts: Any, arena: Any) -> Any:
    """The program. One intrinsic for all, as Numba keeps every intrinsic for good."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return _emitting[-1](builder, args)

    return types.int64(leaves, outs, consts, arena), codegen


def _pointers(
    b: ir.IRBuilder,
    program: Program,
    scalar_params: tuple[bool, ...],
    places: Mapping[Buffer, Place],
    args: Any,
) -> dict[Buffer, Any]:
    """The address of every root buffer, as an ``i8*``."""
    leaves, outs, consts, arena = args

    def item(items: Any, k: int) -> Any:
        slot = b.gep(b.bitcast(items, _I8P), [I64(_TUPLE_ITEMS + 8 * k)])
        return b.load(b.bitcast(slot, _I8P.as_pointer()))

    def data(obj: Any) -> Any:
        return b.load(b.bitcast(b.gep(obj, [I64(_PAYLOAD)]), _I8P.as_pointer()))

    pointers: dict[Buffer, Any] = {}
    for k, (p, is_scalar) in enumerate(zip(program.params, scalar_params, strict=True)):
        obj = item(leaves, k)
        pointers[p] = b.gep(obj, [I64(_PAYLOAD)]) if is_scalar else data(obj)
    for k, r in enumerate(program.results):
        pointers[r.root] = data(item(outs, k))
    for k, c in enumerate(program.constants):
        pointers[c] = data(item(consts, k))
    base = b.inttoptr(arena, _I8P)
    for buffer, at in places.items():
        pointers[buffer] = b.gep(base if at.result is None else pointers[at.result], [I64(at.offset)])
    return pointers
