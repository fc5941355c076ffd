"""Runs the native form of one library function, without a compiler around it."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llvmlite import binding, ir

from jitgrad.codegen import libcalls
from jitgrad.codegen.externs import I64, llvm_type
from jitgrad.loopir.nodes import Buffer
from jitgrad.runtime import kernels

binding.initialize_native_target()
binding.initialize_native_asmprinter()


def run_native(name: str, outs: list[np.ndarray], ins: list[np.ndarray], **static: Any) -> int:
    """Emit the call in a function of its own, compile that, run it on the arrays' storage; returns the status."""
    arrays = [*outs, *ins]
    assert all(a.flags.c_contiguous for a in arrays)
    module = ir.Module("harness")
    module.triple = binding.get_process_triple()
    fn = ir.Function(module, ir.FunctionType(I64, [I64] * len(arrays)), "main")
    builder = ir.IRBuilder(fn.append_basic_block("entry"))
    pointers = [builder.inttoptr(v, llvm_type(a.dtype).as_pointer()) for v, a in zip(fn.args, arrays, strict=True)]
    buffers = [Buffer(f"t{k}", a.dtype, a.shape) for k, a in enumerate(arrays)]
    k = len(outs)
    status = libcalls.get(name).emit(builder, pointers[:k], pointers[k:], static, buffers[:k], buffers[k:])
    builder.ret(I64(0) if status is None else status)
    kernels.bind(module.globals)
    compiled = binding.parse_assembly(str(module))
    compiled.verify()
    machine = binding.Target.from_default_triple().create_target_machine(opt=2)
    engine = binding.create_mcjit_compiler(compiled, machine)
    engine.finalize_object()
    call = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(arrays))(engine.get_function_address("main"))
    return call(*(a.ctypes.data for a in arrays))
