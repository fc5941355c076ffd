"""float16 in LLVM: its bits are an i16, which is converted from and to float32 and float64.

Conversions are by instructions where the processor has them (F16C on x86-64, and every 64-bit Arm), in vectors too.
LLVM's own fallback calls a function of compiler-rt, which need not be there, so without them the bits are taken apart
here; that vectorises as well. All round to nearest, ties to even.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import binding, ir
from numba.core import config
from numba.core.codegen import get_host_cpu_features

I16, I32, I64 = (ir.IntType(n) for n in (16, 32, 64))
HALF, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()


@functools.cache
def in_hardware() -> bool:
    """Whether the processor that programs are compiled for converts between float16 and float32."""
    triple: str = binding.get_process_triple()
    if triple.startswith(("aarch64", "arm64")):
        return True
    named = config.CPU_FEATURES  # pyright: ignore[reportAttributeAccessIssue]
    return triple.startswith("x86_64") and "+f16c" in (get_host_cpu_features() if named is None else named).split(",")


def to_float32(b: ir.IRBuilder, bits: Any) -> Any:
    """The float32 that is equal to a float16."""
    if in_hardware():
        return b.fpext(b.bitcast(bits, HALF), F32)
    return _expand(b, bits)


def from_float32(b: ir.IRBuilder, value: Any) -> Any:
    """The bits of the float16 nearest to a float32."""
    if in_hardware():
        return b.bitcast(b.fptrunc(value, HALF), I16)
    return _shorten(b, value)


def from_float64(b: ir.IRBuilder, value: Any) -> Any:
    """The bits of the float16 nearest to a float64.

    By a float32 that is rounded to odd: where it is inexact, it is the neighbour whose last bit is 1. Rounding that
    again gives what rounding once would (S. Boldo and G. Melquiond, Emulation of FMA and correctly rounded sums:
    proved algorithms using rounding to odd, IEEE Transactions on Computers 57, 2008).
    """
    near = b.fptrunc(value, F32)
    back, bits = b.fpext(near, F64), b.bitcast(near, I32)
    inexact = b.fcmp_ordered("!=", back, value)
    even = b.icmp_signed("==", b.and_(bits, I32(1)), I32(0))
    magnitude = b.module.declare_intrinsic("llvm.fabs", [F64], ir.FunctionType(F64, [F64]))
    short = b.fcmp_ordered("<", b.call(magnitude, [back]), b.call(magnitude, [value]))
    odd = b.add(bits, b.select(short, I32(1), I32(-1)))
    return from_float32(b, b.bitcast(b.select(b.and_(inexact, even), odd, bits), F32))


def _expand(b: ir.IRBuilder, bits: Any) -> Any:
    """A product with 2**112 moves the exponent to float32's bias, and makes normal numbers of subnormal ones."""
    wide = b.zext(bits, I32)
    magnitude = b.shl(b.and_(wide, I32(0x7FFF)), I32(13))
    scaled = b.bitcast(b.fmul(b.bitcast(magnitude, F32), F32(2.0**112)), I32)
    special = b.icmp_unsigned(">=", magnitude, I32(0x7C00 << 13))
    found = b.select(special, b.or_(magnitude, I32(0x7F800000)), scaled)
    return b.bitcast(b.or_(found, b.shl(b.and_(wide, I32(0x8000)), I32(16))), F32)


def _shorten(b: ir.IRBuilder, value: Any) -> Any:
    """Normal results are rounded in the integer; subnormal ones by the sum with 0.5, whose last bit is theirs."""
    whole = b.bitcast(value, I32)
    magnitude = b.and_(whole, I32(0x7FFFFFFF))
    odd = b.and_(b.lshr(magnitude, I32(13)), I32(1))
    normal = b.lshr(b.add(b.sub(magnitude, I32((112 << 23) - 0xFFF)), odd), I32(13))
    tiny = b.sub(b.bitcast(b.fadd(b.bitcast(magnitude, F32), F32(0.5)), I32), I32(126 << 23))
    found = b.select(b.icmp_unsigned("<", magnitude, I32(113 << 23)), tiny, normal)
    found = b.select(b.icmp_unsigned(">=", magnitude, I32(143 << 23)), I32(0x7C00), found)
    payload = b.or_(b.and_(b.lshr(magnitude, I32(13)), I32(0x3FF)), I32(0x7E00))
    found = b.select(b.icmp_unsigned(">", magnitude, I32(0x7F800000)), payload, found)
    return b.trunc(b.or_(found, b.and_(b.lshr(whole, I32(16)), I32(0x8000))), I16)
