"""Scalar functions of Loop IR as LLVM instructions, intrinsics and calls of libm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from jitgrad.codegen import llvm_bfloat16, llvm_half, scipy_special
from jitgrad.errors import CompilationError
from jitgrad.ir.types import is_bfloat16, is_float, is_short, kind_letter
from jitgrad.loopir.nodes import Expr, Scalar
from jitgrad.loopir.scalars import SCALARS

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()
_MEMORY = {
    "f2": I16,  # its bits: float16 is moved and converted, never computed with
    "V2": I16,  # bfloat16
    "f4": F32,
    "f8": F64,
    "b1": I8,
    "i1": I8,
    "i2": I16,
    "i4": I32,
    "i8": I64,
    "u1": I8,
    "u2": I16,
    "u4": I32,
    "u8": I64,
}

# frem, not a call of fmod: LLVM gives such a call the flag nnan where it knows that x is finite and y is not 0,
# though y may be NaN; the result is then undefined.
_FLOAT_BINARY = {"add": "fadd", "subtract": "fsub", "multiply": "fmul", "divide": "fdiv", "fmod": "frem"}
_INT_BINARY = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "bitwise_and": "and_",
    "bitwise_or": "or_",
    "bitwise_xor": "xor",
}
_BOOL_BINARY = {
    "logical_and": "and_", "logical_or": "or_", "logical_xor": "xor", "bitwise_and": "and_", "bitwise_or": "or_",
    "bitwise_xor": "xor", "multiply": "and_", "add": "or_", "maximum": "or_", "minimum": "and_", "not_equal": "xor",
}  # fmt: skip
_COMPARE = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!="}
#: Float intrinsics that are single instructions on every target, or that LLVM expands well in vectors.
_INTRINSICS = {
    "sqrt": "sqrt", "absolute": "fabs", "floor": "floor", "ceil": "ceil", "rint": "nearbyint", "trunc": "trunc",
    "copysign": "copysign", "maximum": "maximum", "minimum": "minimum", "fma": "fma", "safe_sqrt": "sqrt",
    "fmax": "maxnum", "fmin": "minnum",
}  # fmt: skip


def memory_type(dtype: np.dtype) -> ir.Type:
    """How an element lies in memory; a bool is a byte."""
    return _MEMORY[dtype.str[1:]]


def llvm_type(dtype: np.dtype) -> ir.Type:
    """The type of a value in a register; a bool is one bit."""
    return I1 if dtype == np.bool_ else memory_type(dtype)


class ScalarEmitter:
    """Emits scalar operations through one IRBuilder."""

    def __init__(self, b: Any) -> None:
        self.b = b

    def constant(self, value: np.generic, dtype: np.dtype) -> ir.Constant:
        if is_short(dtype):
            return I16(int(value.view(np.uint16)))
        return ir.Constant(llvm_type(dtype), float(value) if is_float(dtype) else int(value))

    def intrinsic(self, name: str, type: ir.Type, args: list[Any]) -> Any:
        function = self.b.module.declare_intrinsic(f"llvm.{name}", [type], ir.FunctionType(type, [type] * len(args)))
        return self.b.call(function, args)

    def libm(self, name: str, dtype: np.dtype, args: list[Any]) -> Any:
        """A call of the C library, declared free of side effects so that loops may hoist it."""
        name = name + "f" if dtype == np.float32 else name
        t = llvm_type(dtype)
        return self._call_pure(name, ir.FunctionType(t, [t] * len(args)), args)

    def scipy(self, name: str, dtype: np.dtype, args: list[Any]) -> Any:
        """A call of a function of SciPy's, which computes in double precision."""
        name, flags = scipy_special.symbol(name, len(args))
        type = ir.FunctionType(F64, [F64] * len(args) + [I32] * flags)
        wide = [a if dtype == np.float64 else self.b.fpext(a, F64) for a in args]
        result = self._call_pure(name, type, [*wide, *[I32(0)] * flags])
        return result if dtype == np.float64 else self.b.fptrunc(result, F32)

    def _call_pure(self, name: str, type: ir.FunctionType, args: list[Any]) -> Any:
        """A call of a function from outside that does nothing but compute its result."""
        function = self.b.module.globals.get(name)
        if function is None:
            function = ir.Function(self.b.module, type, name)
            function.attributes.add("readnone")
            function.attributes.add("nounwind")
        return self.b.call(function, args)

    def update(self, op: str, old: Any, new: Any, dtype: np.dtype) -> Any:
        """One step of a reduction. Sums and products may be reassociated, so that the loop vectorises."""
        if is_short(dtype):
            single = np.dtype(np.float32)
            found = self.update(op, self.cast(old, dtype, single), self.cast(new, dtype, single), single)
            return self.cast(found, single, dtype)
        if is_float(dtype) and op in _FLOAT_BINARY:
            return getattr(self.b, _FLOAT_BINARY[op])(old, new, flags=("reassoc", "contract"))
        return self.apply(op, [old, new], [dtype, dtype], dtype)

    def emit(self, e: Scalar, value: Callable[[Expr], Any]) -> Any:
        """The value of a scalar operation; ``value`` gives that of an operand."""
        if self._builtin(e):
            return self.apply(e.op, [value(a) for a in e.args], [a.dtype for a in e.args], e.dtype)
        spec = SCALARS.get(e.op)
        if spec is not None and spec.compose is not None:
            return value(spec.compose(*e.args))
        if spec is not None and spec.libm is not None and is_float(e.dtype):
            return self.libm(spec.libm, e.dtype, [value(a) for a in e.args])
        if spec is not None and spec.scipy is not None and is_float(e.dtype):
            return self.scipy(spec.scipy, e.dtype, [value(a) for a in e.args])
        raise CompilationError(f"the scalar function {e.op} of {e.args[0].dtype} has no LLVM rendering")

    def is_call(self, e: Expr) -> bool:
        """Whether an operation becomes a call of a function from outside."""
        if not isinstance(e, Scalar) or not is_float(e.dtype) or self._builtin(e):
            return False
        spec = SCALARS.get(e.op)
        return spec is not None and spec.compose is None and (spec.libm or spec.scipy) is not None

    def _builtin(self, e: Scalar) -> bool:
        """Whether :meth:`apply` knows the operation."""
        kind = kind_letter(e.args[0].dtype)
        if e.op in (
            "where",
            "cast",
            "bitcast",
            "product",
            "logical_not",
            "negative",
            "stop_gradient",
            "square",
            "reciprocal",
        ):
            return True
        if kind == "b":
            return e.op in _BOOL_BINARY or e.op in _COMPARE
        if e.op in _COMPARE:
            return True
        if kind == "f":
            return e.op in _FLOAT_BINARY or e.op in _INTRINSICS or e.op in ("isnan", "isinf", "isfinite", "signbit")
        return e.op in _INT_BINARY or e.op in _INTEGER_OPS

    def apply(self, op: str, args: list[Any], dtypes: list[np.dtype], dtype: np.dtype) -> Any:
        """One operation on LLVM values whose dtypes are ``dtypes``; the result has ``dtype``."""
        b, kind = self.b, kind_letter(dtypes[0])
        if op == "where":
            return b.select(*args)
        if op == "cast":
            return self.cast(args[0], dtypes[0], dtype)
        if op == "bitcast":
            return b.bitcast(args[0], llvm_type(dtype))
        if op == "product":
            return b.fmul(*args)  # never fused with a sum
        if op == "logical_not":
            return b.not_(args[0])
        if op == "stop_gradient":
            return args[0]
        if kind == "b":
            return self._bool(op, args)
        if op in _COMPARE:
            return self.compare(op, args, dtypes[0])
        if op == "square":
            return b.fmul(args[0], args[0], flags=("contract",)) if kind == "f" else b.mul(args[0], args[0])
        if kind == "f":
            return self._float(op, args, dtypes[0])
        return self._integer(op, args, dtypes[0])

    def _float(self, op: str, args: list[Any], dtype: np.dtype) -> Any:
        b, t = self.b, llvm_type(dtype)
        if op in _FLOAT_BINARY:
            return getattr(b, _FLOAT_BINARY[op])(*args, flags=("contract",))
        if op == "negative":
            return b.fneg(args[0])
        if op == "reciprocal":
            return b.fdiv(t(1.0), args[0])
        if op in _INTRINSICS:
            return self.intrinsic(_INTRINSICS[op], t, args)
        if op == "isnan":
            return b.fcmp_unordered("uno", args[0], args[0])
        magnitude = self.intrinsic("fabs", t, [args[0]])
        if op == "isinf":
            return b.fcmp_ordered("==", magnitude, t(float("inf")))
        if op == "isfinite":
            return b.fcmp_ordered("<", magnitude, t(float("inf")))
        assert op == "signbit", op
        bits = I32 if dtype == np.float32 else I64
        return b.icmp_signed("<", b.bitcast(args[0], bits), bits(0))

    def _bool(self, op: str, args: list[Any]) -> Any:
        if op == "equal":
            return self.b.not_(self.b.xor(*args))
        if op in _BOOL_BINARY:
            return getattr(self.b, _BOOL_BINARY[op])(*args)
        return self.b.icmp_unsigned(_COMPARE[op], *args)

    def compare(self, op: str, args: list[Any], dtype: np.dtype) -> Any:
        if is_float(dtype):
            # `!=` is true for NaN; every other comparison is false.
            test = self.b.fcmp_unordered if op == "not_equal" else self.b.fcmp_ordered
            return test(_COMPARE[op], *args)
        test = self.b.icmp_unsigned if dtype.kind in "ub" else self.b.icmp_signed
        return test(_COMPARE[op], *args)

    def _integer(self, op: str, args: list[Any], dtype: np.dtype) -> Any:
        b = self.b
        if op in _INT_BINARY:
            return getattr(b, _INT_BINARY[op])(*args)
        return _INTEGER_OPS[op](b, dtype, *args)

    def cast(self, value: Any, source: np.dtype, target: np.dtype) -> Any:
        """Conversion as by ``astype``; a float out of an integer's range gives some value, as in C."""
        b, t = self.b, llvm_type(target)
        if source == target:
            return value
        if is_short(source):
            short = llvm_bfloat16 if is_bfloat16(source) else llvm_half
            return self.cast(short.to_float32(b, value), np.dtype(np.float32), target)
        if is_bfloat16(target):
            return llvm_bfloat16.from_float32(b, self.cast(value, source, np.dtype(np.float32)))
        if target == np.float16:
            if source == np.float64:
                return llvm_half.from_float64(b, value)
            return llvm_half.from_float32(b, self.cast(value, source, np.dtype(np.float32)))
        if target.kind == "b":
            zero = llvm_type(source)(0.0 if is_float(source) else 0)
            return b.fcmp_unordered("!=", value, zero) if is_float(source) else b.icmp_unsigned("!=", value, zero)
        if is_float(source):
            if is_float(target):
                return b.fpext(value, t) if target.itemsize > source.itemsize else b.fptrunc(value, t)
            # Through a wide signed integer first, as NumPy does for the small and unsigned types.
            if target.kind == "i" and target.itemsize == 8:
                return b.fptosi(value, t)
            if target.kind == "u" and target.itemsize == 8:
                return b.select(
                    b.fcmp_ordered("<", value, llvm_type(source)(0.0)),
                    b.fptosi(value, I64),
                    b.fptoui(value, I64),
                )
            return b.trunc(b.fptosi(value, I64), t)
        unsigned = source.kind in "ub"
        if is_float(target):
            return b.uitofp(value, t) if unsigned else b.sitofp(value, t)
        width, new = (1 if source.kind == "b" else 8 * source.itemsize), 8 * target.itemsize
        if new == width:
            return value
        if new < width:
            return b.trunc(value, t)
        return b.zext(value, t) if unsigned else b.sext(value, t)


def _int_division(b: ir.IRBuilder, dtype: np.dtype, x: Any, y: Any) -> tuple[Any, Any]:
    """Floor quotient and remainder; both 0 where y is 0, as in NumPy. The smallest integer over -1 must not trap."""
    t = llvm_type(dtype)
    by_zero = b.icmp_signed("==", y, t(0))
    if dtype.kind == "u":
        d = b.select(by_zero, t(1), y)
        return b.select(by_zero, t(0), b.udiv(x, d)), b.select(by_zero, t(0), b.urem(x, d))
    minus_one = b.icmp_signed("==", y, t(-1))
    d = b.select(b.or_(by_zero, minus_one), t(1), y)
    q, r = b.sdiv(x, d), b.srem(x, d)
    adjust = b.and_(b.icmp_signed("!=", r, t(0)), b.icmp_signed("<", b.xor(r, d), t(0)))
    q = b.select(adjust, b.sub(q, t(1)), q)
    r = b.select(adjust, b.add(r, d), r)
    q = b.select(minus_one, b.neg(x), q)
    return b.select(by_zero, t(0), q), b.select(by_zero, t(0), r)


def _int_fmod(b: ir.IRBuilder, dtype: np.dtype, x: Any, y: Any) -> Any:
    t = llvm_type(dtype)
    by_zero = b.icmp_signed("==", y, t(0))
    if dtype.kind == "u":
        return b.select(by_zero, t(0), b.urem(x, b.select(by_zero, t(1), y)))
    safe = b.select(b.or_(by_zero, b.icmp_signed("==", y, t(-1))), t(1), y)
    return b.select(by_zero, t(0), b.srem(x, safe))


def _int_pick(test: str) -> Callable[..., Any]:
    def emit(b: ir.IRBuilder, dtype: np.dtype, x: Any, y: Any) -> Any:
        compare = b.icmp_unsigned if dtype.kind == "u" else b.icmp_signed
        return b.select(compare(test, x, y), x, y)

    return emit


def _int_absolute(b: ir.IRBuilder, dtype: np.dtype, x: Any) -> Any:
    return x if dtype.kind == "u" else b.select(b.icmp_signed("<", x, llvm_type(dtype)(0)), b.neg(x), x)


def _int_sign(b: ir.IRBuilder, dtype: np.dtype, x: Any) -> Any:
    t = llvm_type(dtype)
    positive = b.zext(b.icmp_signed("!=", x, t(0)), t)
    return positive if dtype.kind == "u" else b.select(b.icmp_signed("<", x, t(0)), t(-1), positive)


def _int_shift(left: bool) -> Callable[..., Any]:
    def emit(b: ir.IRBuilder, dtype: np.dtype, x: Any, y: Any) -> Any:
        """Shifts by the width or more give 0, or the sign, as in NumPy (in LLVM they would be undefined)."""
        t, bits = llvm_type(dtype), 8 * dtype.itemsize
        inside = b.icmp_unsigned("<", y, t(bits))
        if left:
            return b.select(inside, b.shl(x, b.select(inside, y, t(0))), t(0))
        if dtype.kind == "u":
            return b.select(inside, b.lshr(x, b.select(inside, y, t(0))), t(0))
        return b.ashr(x, b.select(inside, y, t(bits - 1)))

    return emit


def _int_power(b: ir.IRBuilder, dtype: np.dtype, x: Any, y: Any) -> Any:
    """Repeated squaring, in a function of its own; a negative exponent gives 0 (NumPy raises for arrays of them)."""
    t, module = llvm_type(dtype), b.module
    name = f"jitgrad.power.{dtype.str[1:]}"
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(t, [t, t]), name)
        function.linkage = "internal"
        entry, head, body, done = (function.append_basic_block(n) for n in ("entry", "head", "body", "done"))
        f = ir.IRBuilder(entry)
        negative = f.icmp_signed("<", function.args[1], t(0)) if dtype.kind == "i" else I1(0)
        f.branch(head)
        f.position_at_end(head)
        base, n, result = f.phi(t), f.phi(t), f.phi(t)
        f.cbranch(f.icmp_unsigned("!=", n, t(0)), body, done)
        f.position_at_end(body)
        odd = f.trunc(n, I1)
        product = f.select(odd, f.mul(result, base), result)
        square, half = f.mul(base, base), f.lshr(n, t(1))
        f.branch(head)
        for phi, first, following in (
            (base, function.args[0], square),
            (n, function.args[1], half),
            (result, t(1), product),
        ):
            phi.add_incoming(first, entry)
            phi.add_incoming(following, body)
        f.position_at_end(done)
        f.ret(f.select(negative, t(0), result))
    return b.call(function, [x, y])


_INTEGER_OPS: dict[str, Callable[..., Any]] = {
    "floor_divide": lambda b, dtype, x, y: _int_division(b, dtype, x, y)[0],
    "remainder": lambda b, dtype, x, y: _int_division(b, dtype, x, y)[1],
    "fmod": _int_fmod,
    "maximum": _int_pick(">"),
    "minimum": _int_pick("<"),
    "fmax": _int_pick(">"),
    "fmin": _int_pick("<"),
    "absolute": _int_absolute,
    "sign": _int_sign,
    "negative": lambda b, dtype, x: b.neg(x),
    "invert": lambda b, dtype, x: b.not_(x),
    "left_shift": _int_shift(True),
    "right_shift": _int_shift(False),
    "power": _int_power,
}
