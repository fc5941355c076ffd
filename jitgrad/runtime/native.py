"""Machine code for a program: LLVM built with llvmlite, optimised and made an object file by Numba's code generator.

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

from jitgrad.codegen import python_api
from jitgrad.codegen.llvm import ProgramEmitter, called
from jitgrad.codegen.llvm_scalar import I8, I64
from jitgrad.codegen.parts import split
from jitgrad.errors import CompilationError
from jitgrad.loopir.buffers import Place
from jitgrad.loopir.nodes import Buffer, Program
from jitgrad.loopir.walk import buffers_of, statement_key
from jitgrad.runtime import kernels, target, threads
from jitgrad.runtime.objects import ENTRY, ObjectCode, load

_TUPLE_ITEMS = tuple.__basicsize__
_PAYLOAD = object.__basicsize__
_I8P = I8.as_pointer()

#: Machine code by :func:`program_key`, the most recently used last.
_compiled: collections.OrderedDict[ProgramKey, NativeCode] = collections.OrderedDict()
_KEPT = 256
#: Held while a program is made or compiled: expressions are shared by all programs, and so is LLVM's linker.
compiling = threading.RLock()


Entry = Callable[[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...], int], int]


class NativeCode(NamedTuple):
    """``entry(leaves, outs, consts, arena_address) -> status``; ``unit`` is what another process can load, ``parts``
    what it was made of, ``key`` that of the program, and ``shared`` statements were found equal to another one."""

    key: ProgramKey
    entry: Entry
    unit: ObjectCode
    parts: tuple[target.Part, ...]
    shared: int

    def llvm(self) -> str:
        """The optimised LLVM text."""
        return "\n".join(part.llvm() for part in self.parts)

    def asm(self) -> str:
        """The machine code as assembly text."""
        return "\n".join(part.asm() for part in self.parts)


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


def compile_native(
    program: Program,
    scalar_params: tuple[bool, ...],
    places: Mapping[Buffer, Place],
    meanwhile: Callable[[], object] | None = None,
) -> NativeCode:
    """Compile a program whose temporaries lie at ``places``.

    ``scalar_params`` tells for each parameter whether it comes as a scalar object or as an array. A program equal to
    one of the last ones compiled gets the code of that one. ``meanwhile`` is called in any case, while LLVM is at work
    if there is more than one thread. The caller holds ``compiling``.
    """
    key = program_key(program, scalar_params, places)
    found = _compiled.get(key)
    if found is None:
        found = _compiled[key] = _compile(key, program, scalar_params, places, meanwhile)
        if len(_compiled) > _KEPT:
            _compiled.popitem(last=False)
    elif meanwhile is not None:
        meanwhile()
    _compiled.move_to_end(key)
    return found


class ProgramKey(NamedTuple):
    """``statements`` has for each one that is called its own key, then those of the buffers that it touches."""

    name: str
    scalar_params: tuple[bool, ...]
    statements: tuple[tuple[Hashable, ...], ...]


def program_key(program: Program, scalar_params: tuple[bool, ...], places: Mapping[Buffer, Place]) -> ProgramKey:
    """Equal for programs that have the same machine code: the same statements over the same places, and one name."""
    numbers = {r.root: k for k, r in enumerate(program.results)}
    keys: dict[Buffer, Hashable] = {
        t: ("temporary", -1 if at.result is None else numbers[at.result], at.offset) for t, at in places.items()
    }
    heap = tuple(t for t in program.temporaries if t.capacity is None)
    kinds = {"argument": program.params, "result": program.results, "constant": program.constants, "heap": heap}
    for kind, found in kinds.items():
        keys.update({t.root: (kind, k) for k, t in enumerate(found)})
    return ProgramKey(
        program.name,
        scalar_params,
        tuple((statement_key(s), *(keys[t] for t in buffers_of(s))) for s in called(program)),
    )


def digest(key: ProgramKey) -> str:
    """A hash of what :func:`program_key` gives that is the same in every process."""
    return hashlib.sha256(repr(key).encode()).hexdigest()


def _compile(
    key: ProgramKey,
    program: Program,
    scalar_params: tuple[bool, ...],
    places: Mapping[Buffer, Place],
    meanwhile: Callable[[], object] | None,
) -> NativeCode:
    _check_layouts()
    module = target.new_module(program.name)
    function = ir.Function(module, ir.FunctionType(_I8P, [_I8P, _I8P.as_pointer(), I64]), ENTRY)
    function.attributes.add("nounwind")
    b: Any = ir.IRBuilder(function.append_basic_block("entry"))
    *objects, address = (b.load(b.gep(function.args[1], [I64(k)])) for k in range(4))
    arena = python_api.call(b, "PyLong_AsVoidPtr", _I8P, address)
    pointers = _pointers(b, program, scalar_params, places, (*objects, arena))
    state = python_api.call(b, "PyEval_SaveThread", _I8P)
    emitter = ProgramEmitter(module, program, [own for own, *_ in key.statements])
    status = emitter.emit(b, pointers.__getitem__)
    python_api.call(b, "PyEval_RestoreThread", ir.VoidType(), state)
    b.ret(python_api.call(b, "PyLong_FromLongLong", _I8P, status))
    externals = _externals(module)
    tasks = [] if meanwhile is None else [meanwhile]
    if kernels.needed(externals):
        tasks.append(lambda: kernels.bind(externals))

    def others() -> None:
        for task in tasks:
            task()

    count = threads.get_num_threads()
    if count == 1:
        others()
        tasks.clear()
    parts = target.compile_parts(split(module, function, count), others if tasks else None)
    unit = ObjectCode(tuple(part.code for part in parts), externals)
    return NativeCode(key, load(unit), unit, tuple(parts), emitter.shared)


def _externals(module: ir.Module) -> tuple[str, ...]:
    """The functions and variables that a module only declares, without LLVM's own."""
    return tuple(
        name
        for name, x in module.globals.items()
        if not name.startswith("llvm.") and (x.is_declaration if isinstance(x, ir.Function) else x.initializer is None)
    )


def _pointers(
    b: ir.IRBuilder,
    program: Program,
    scalar_params: tuple[bool, ...],
    places: Mapping[Buffer, Place],
    args: Any,
) -> dict[Buffer, Any]:
    """The address of every root buffer, as an ``i8*``."""
    leaves, outs, consts, base = args

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
    for buffer, at in places.items():
        pointers[buffer] = b.gep(base if at.result is None else pointers[at.result], [I64(at.offset)])
    return pointers
