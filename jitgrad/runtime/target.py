"""The processor that programs are compiled for, and what LLVM does to them.

Both are those of Numba's code generator, with the settings that Numba reads. Its compiler is not used: programs come as
LLVM, so there are no types to infer and nothing to lower, and no counts of references to move out of the way, for which
Numba optimises every program twice.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import binding, ir
from llvmlite.binding.ffi import ObjectRef
from llvmlite.binding.newpassmanagers import ModulePassManager, NewPassManager
from numba.core.codegen import JITCPUCodegen

# A pass manager of llvmlite is never freed, 0.65 MB for every program: among its bases the one whose `_dispose` does
# nothing comes first.
if ModulePassManager._dispose is ObjectRef._dispose:
    ModulePassManager._dispose = NewPassManager._dispose


@functools.cache
def _codegen() -> Any:
    return JITCPUCodegen("jitgrad")


def machine() -> binding.TargetMachine:
    """What makes machine code of LLVM."""
    return _codegen()._tm


def new_module(name: str) -> ir.Module:
    """An empty module for this processor."""
    return _codegen()._create_empty_module(name)


def optimise(module: ir.Module) -> binding.ModuleRef:
    """The module after LLVM's passes."""
    text = str(module).encode().decode("latin-1")  # in which llvmlite writes it
    parsed = binding.parse_assembly(text)
    parsed.verify()
    builder = _codegen()._pass_builder()
    builder.getModulePassManager().run(parsed, builder)
    return parsed
