"""bfloat16 in LLVM: its bits are an i16, the upper half of those of a float32.

So what it is equal to is a shift away, and the nearest one is found by integer arithmetic, which vectorises. What is no
float32 is made one first, as ml_dtypes does, so a float64 is rounded twice.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

I16, I32 = (ir.IntType(n) for n in (16, 32))
F32 = ir.FloatType()


def to_float32(b: ir.IRBuilder, bits: Any) -> Any:
    """The float32 that is equal to a bfloat16."""
    return b.bitcast(b.shl(b.zext(bits, I32), I32(16)), F32)


def from_float32(b: ir.IRBuilder, value: Any) -> Any:
    """The bits of the bfloat16 nearest to a float32, of two the even one. NaN keeps its sign and is quiet.

    The sum carries into the upper half where the lower one is more than half of its range, or half of it and the upper
    one odd. It carries from the largest finite numbers into the exponent of infinity.
    """
    whole = b.bitcast(value, I32)
    odd = b.and_(b.lshr(whole, I32(16)), I32(1))
    near = b.add(whole, b.add(odd, I32(0x7FFF)))
    nan = b.fcmp_unordered("uno", value, value)
    return b.trunc(b.lshr(b.select(nan, b.or_(whole, I32(0x400000)), near), I32(16)), I16)
