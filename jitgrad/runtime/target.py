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
from numba.core import config
from numba.core.codegen import JITCPUCodegen

# A pass manager of llvmlite is never freed, 0.65 MB for every program: among its bases the one whose `_dispose` does
# nothing comes first.
if ModulePassManager._dispose is ObjectRef._dispose:
    ModulePassManager._dispose = NewPassManager._dispose

#: Of optimisation, at most. The next one unrolls so much that layer_norm took 0.31 s to become machine code in place of
#: 0.08, and ran no faster; k-means took 200 us in place of 48.
LEVEL = 2


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
    before = binding.create_new_module_pass_manager()
    before.add_loop_rotate_pass()  # more loops are vectorised when they have this form early
    before.add_instruction_combine_pass()
    before.run(parsed, _codegen()._pass_builder(opt=0))
    builder = _codegen()._pass_builder(opt=min(LEVEL, int(config.OPT)))  # pyright: ignore
    builder.getModulePassManager().run(parsed, builder)
    return parsed
