"""The processor that programs are compiled for, and what LLVM does to them.

Both are those of Numba's code generator, with the settings that Numba reads. Its compiler is not used: programs come as
LLVM, so there are no types to infer and nothing to lower, and no counts of references to move out of the way, for which
Numba optimises every program twice.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from llvmlite import binding, ir
from llvmlite.binding import ffi
from llvmlite.binding.ffi import ObjectRef
from llvmlite.binding.newpassmanagers import ModulePassManager, NewPassManager
from numba.core import config
from numba.core.codegen import JITCPUCodegen
from numba.core.llvm_bindings import create_pass_builder

from jitgrad.errors import CompilationError

# A pass manager of llvmlite is never freed, 0.65 MB for every program: among its bases the one whose `_dispose` does
# nothing comes first.
if ModulePassManager._dispose is ObjectRef._dispose:
    ModulePassManager._dispose = NewPassManager._dispose

#: Whether the parts of a program lie near each other in memory, as one of LLVM's linkers puts them. Then constants are
#: operands of vector instructions, and not loaded by their address before: Black-Scholes takes 0.85 of the time.
NEAR = sys.platform == "linux" and platform.machine() == "x86_64"

#: Of optimisation, at most. The next one unrolls so much that layer_norm took 0.31 s to become machine code in place of
#: 0.08, and ran no faster; k-means took 200 us in place of 48.
LEVEL = 2

#: Processors that take longer for a gather or a scatter than for as many loads or stores, by their names in LLVM, which
#: does not count with it: AMD's with AVX-512. The gradient of softmax of rows of ten takes 0.5 to 0.8 of the time
#: without.
SCATTERED_SLOWLY = ("znver4", "znver5")


def _setting(name: str) -> Any:
    """One of Numba's settings, which it reads from the environment."""
    return getattr(config, name)


@functools.cache
def _codegen() -> Any:
    return JITCPUCodegen("jitgrad")


@functools.cache
def machine(number: int = 0) -> binding.TargetMachine:
    """What makes machine code of LLVM, with Numba's settings. Two threads can't use one, so there are several."""
    options: dict[str, Any] = {"opt": _setting("OPT")}
    _codegen()._customize_tm_options(options)
    if options["cpu"].startswith(SCATTERED_SLOWLY):
        options["features"] += ",+prefer-no-gather,+prefer-no-scatter"
    if NEAR:
        options.update(codemodel="small", reloc="pic")
    return binding.Target.from_triple(binding.get_process_triple()).create_target_machine(**options)


def new_module(name: str) -> ir.Module:
    """An empty module for this processor."""
    return _codegen()._create_empty_module(name)


class Part(NamedTuple):
    """A module after LLVM's passes as bitcode, and its object file."""

    bitcode: bytes
    code: bytes

    def llvm(self) -> str:
        """The LLVM text."""
        return self._read(str)

    def asm(self) -> str:
        """The machine code as assembly text."""
        return self._read(machine().emit_assembly)

    def _read(self, read: Callable[[binding.ModuleRef], str]) -> str:
        with binding.create_context() as context, binding.parse_bitcode(self.bitcode, context) as module:
            return read(module)


def compile_parts(texts: Sequence[str], meanwhile: Callable[[], object] | None = None) -> list[Part]:
    """Compile modules, each in a thread of its own; this one does something else ``meanwhile``, or it compiles a module
    alone. Not for use by two threads at once."""
    if meanwhile is None and len(texts) == 1:
        return [_compile(texts[0], machine())]
    with ThreadPoolExecutor(len(texts), "jitgrad-compiler") as pool:
        try:
            made = [pool.submit(_compile, text, machine(k)) for k, text in enumerate(texts)]
        except RuntimeError:  # Python starts no threads any more, as it is about to end
            made = None
        if meanwhile is not None:
            meanwhile()
        if made is not None:
            return [part.result() for part in made]
    return [_compile(text, machine()) for text in texts]


def _compile(text: str, machine: binding.TargetMachine) -> Part:
    encoded = text.encode().decode("latin-1")  # in which llvmlite writes it
    # Closed in this order: a collection of garbage could end the context first.
    with binding.create_context() as context, binding.parse_assembly(encoded, context) as module:
        module.verify()
        before = binding.create_new_module_pass_manager()
        before.add_loop_rotate_pass()  # more loops are vectorised when they have this form early
        before.add_instruction_combine_pass()
        _run_passes(before, module, _passes(machine, 0))
        builder = _passes(machine, min(LEVEL, int(_setting("OPT"))))
        _run_passes(builder.getModulePassManager(), module, builder)
        bitcode = module.as_bitcode()  # what makes machine code changes the module a little
        return Part(bitcode, _object_code(module, machine))


def compile_as_written(text: str, machine: binding.TargetMachine) -> bytes:
    """The object file of a module to which LLVM's passes would do nothing of use."""
    with binding.create_context() as context, binding.parse_assembly(text, context) as module:
        module.verify()
        return _object_code(module, machine)


def _passes(machine: binding.TargetMachine, level: int) -> Any:
    loops, straight = _setting("LOOP_VECTORIZE"), _setting("SLP_VECTORIZE")
    return create_pass_builder(machine, opt=level, loop_vectorize=loops, slp_vectorize=straight)


def _unlocked(function: Any) -> Any:
    """A function of llvmlite without its lock, which lets one thread at a time into LLVM. Threads whose modules have
    contexts of their own don't need that."""
    return getattr(function, "_cfn", function)


_run_passes = _unlocked(ffi.lib.LLVMPY_RunNewModulePassManager)
_emit = _unlocked(ffi.lib.LLVMPY_TargetMachineEmitToMemory)


def _object_code(module: binding.ModuleRef, machine: binding.TargetMachine) -> bytes:
    with ffi.OutputString() as error:
        memory = _emit(machine, module, 1, error)
        if not memory:
            raise CompilationError(f"LLVM can't make machine code: {error}")
    try:
        return ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(memory), ffi.lib.LLVMPY_GetBufferSize(memory))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(memory)
