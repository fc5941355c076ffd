"""How constants and scalar functions are written in kernels, and the device functions that kernels may call.

Functions of floats are those of libdevice, in the dtype of the operand. Constants are written in their dtype: beside
a bare number, Numba would compute in double precision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from jitgrad.codegen.python_expr import Spelling, number_text
from jitgrad.cuda.teams import WARP
from jitgrad.errors import CompilationError
from jitgrad.ir.types import bool_, f16, f32, f64, i32, i64, is_bfloat16, is_float, is_short
from jitgrad.loopir import scalars
from jitgrad.loopir.build import IDENTITIES
from jitgrad.loopir.nodes import Const, Scalar
from jitgrad.loopir.printer import Text

#: Functions of floats that libdevice has under NumPy's names; the others have those of C.
_SAME = frozenset(("sqrt", "floor", "ceil", "rint", "trunc", "copysign"))
_INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
_BITS = {"bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^"}
_COMPARE = {
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}
_LOGICAL = {
    "logical_and": "({0} and {1})",
    "logical_or": "({0} or {1})",
    "logical_xor": "({0} != {1})",
    "logical_not": "(not {0})",
}

#: Device functions for what takes more than an expression, by name.
FUNCTIONS = {
    "maximum": """\
def maximum(x, y):
    return x if x >= y or x != x else y
""",
    "minimum": """\
def minimum(x, y):
    return x if x <= y or x != x else y
""",
    "integer_absolute": """\
def integer_absolute(x):
    return x if x >= 0 else -x
""",
    "integer_fmod": """\
def integer_fmod(x, y):
    if y == 0:
        return y
    r = x % y
    return r - y if r != 0 and (x < 0) != (y < 0) else r
""",
    "floor_quotient": """\
def floor_quotient(x, y):
    return x // y if y != 0 else y
""",
    "floor_remainder": """\
def floor_remainder(x, y):
    return x % y if y != 0 else y
""",
    "left_shift": """\
def left_shift(x, n, bits):
    return x << n if 0 <= n and n < bits else x ^ x
""",
    "right_shift": """\
def right_shift(x, n, bits):
    if 0 <= n and n < bits:
        return x >> n
    return x >> (bits - 1) if x < 0 else x ^ x
""",
    "integer_power": """\
def integer_power(x, n, one):
    result = one
    if n < 0:
        return one ^ one
    while n > 0:
        if n & 1:
            result = result * x
        x = x * x
        n = n >> 1
    return result
""",
}
#: bfloat16 is its bits in kernels, a uint16, as not every compiler and not every GPU knows it. See
#: ``jitgrad.codegen.llvm_bfloat16``.
FUNCTIONS |= {
    "bfloat16_value": """\
def bfloat16_value(bits):
    return libdevice.int_as_float(int32(uint32(bits) << 16))
""",
    "bfloat16_bits": """\
def bfloat16_bits(x):
    bits = int64(uint32(libdevice.float_as_int(x)))
    if x != x:
        return uint16((bits >> 16) | 64)
    return uint16((bits + 32767 + ((bits >> 16) & 1)) >> 16)
""",
}
_CALLED = re.compile(rf"\b({'|'.join(FUNCTIONS)})\(")


def in_memory(dtype: np.dtype) -> np.dtype:
    """The dtype in which kernels keep elements: bytes for bool, the bits of bfloat16."""
    if is_bfloat16(dtype):
        return np.dtype(np.uint16)
    return np.dtype(np.uint8) if dtype == bool_ else dtype


def conversion(source: np.dtype, target: np.dtype) -> str:
    """A conversion as the format string of its operand."""
    value = "bfloat16_value({0})" if is_bfloat16(source) else "{0}"
    if target == bool_:
        return f"({value} != 0)"
    if is_bfloat16(target):
        return "bfloat16_bits({0})" if source == f32 else f"bfloat16_bits(float32({value}))"
    return value if is_bfloat16(source) and target == f32 else f"{target.name}({value})"


class CudaSpelling(Spelling):
    """Spelling in the kernel language. A bool is stored as a byte, and bfloat16 is its bits."""

    def dtype(self, dtype: np.dtype) -> str:
        return dtype.name if dtype != bool_ else "bool_"

    def integer(self, text: str) -> Text:
        return Text(text if text.isidentifier() else f"int64({text})")

    def literal(self, c: Const) -> Text:
        if c.dtype == bool_:
            return Text("True" if c.value else "False")
        if is_bfloat16(c.dtype):
            return Text(f"uint16({int(c.value.view(np.uint16))})")
        text = number_text(c.value).replace("np.", "")
        if c.dtype == f16:  # a bare number is a float64
            text = f"float32({text})"
        return Text(f"{c.dtype.name}({text})")

    def bare(self, c: Const, comparing: bool) -> Text | None:
        text = number_text(c.value)
        if c.dtype not in (f64, i64) or "n" in text:
            return None
        return Text(text if c.value >= 0 else f"({text})")  # pyright: ignore[reportOperatorIssue]

    def stored(self, c: Const) -> Text:
        return Text("uint8(1)" if c.value else "uint8(0)") if c.dtype == bool_ else self.literal(c)

    def template(self, e: Scalar) -> str | None:
        operand = e.args[-1 if e.op == "where" else 0].dtype
        form = _template(e.op, e.dtype, operand)
        if form is None and scalars.SCALARS[e.op].compose is None:
            raise CompilationError(f"{e.op} of {operand} has no spelling in kernels.")
        return form


def _template(op: str, dtype: np.dtype, operand: np.dtype) -> str | None:
    if op not in scalars.SCALARS:
        raise CompilationError(f"there is no scalar function named {op!r}. See jitgrad.loopir.scalars for all of them.")
    wide = is_float(operand) or operand.itemsize == 8
    own = "bool_" if dtype == bool_ else dtype.name
    if op in _COMPARE:
        return f"({{0}} {_COMPARE[op]} {{1}})"
    if op in _LOGICAL:
        return _LOGICAL[op]
    if op == "where":
        return "({1} if {0} else {2})"
    if op == "cast":
        return conversion(operand, dtype)
    if op in ("maximum", "minimum"):
        if dtype == bool_:
            return _LOGICAL["logical_or" if op == "maximum" else "logical_and"]
        return f"{op}({{0}}, {{1}})" if wide else f"{own}({op}({{0}}, {{1}}))"
    if operand == bool_:
        return _of_bools(op, own)
    if is_float(operand):
        return _of_floats(op, operand)
    return _of_integers(op, own, 8 * operand.itemsize, wide)


def _of_floats(op: str, operand: np.dtype) -> str | None:
    if op in _INFIX:
        return f"({{0}} {_INFIX[op]} {{1}})"
    if op == "negative":
        return "(-{0})"
    suffix = "f" if operand == f32 else ""
    if op == "product":
        return f"libdevice.{'f' if operand == f32 else 'd'}mul_rn({{0}}, {{1}})"
    if op == "fma":
        return f"libdevice.fma{suffix}({{0}}, {{1}}, {{2}})"
    if op == "absolute":
        return f"libdevice.fabs{suffix}({{0}})"
    function = scalars.SCALARS[op]
    name = op if op in _SAME else function.libm
    if name is not None:
        return f"libdevice.{name}{suffix}({', '.join(f'{{{k}}}' for k in range(function.arity))})"
    return None


def _of_integers(op: str, own: str, bits: int, wide: bool) -> str | None:
    """Narrow integers wrap around: Numba computes with 64 bits, so that each result is converted."""
    form = None
    if op in _INFIX or op in _BITS:
        form = f"({{0}} {(_INFIX | _BITS)[op]} {{1}})"
    elif op == "negative":
        form = "(-{0})"
    elif op == "invert":
        form = "(~{0})"
    elif op == "absolute":
        form = "{0}" if own.startswith("u") else "integer_absolute({0})"
    elif op == "floor_divide":
        form = "floor_quotient({0}, {1})"
    elif op == "fmod":
        form = "integer_fmod({0}, {1})"
    elif op == "remainder":
        form = "floor_remainder({0}, {1})"
    elif op in ("left_shift", "right_shift"):
        form = f"{op}({{0}}, {{1}}, {bits})"
    elif op == "power":
        form = f"integer_power({{0}}, {{1}}, {own}(1))"
    elif op in ("floor", "ceil", "rint", "trunc"):
        return "{0}"
    if form is None or wide:
        return form
    return f"{own}{form if form.startswith('(') else f'({form})'}"


def _of_bools(op: str, own: str) -> str | None:
    if op in ("add", "bitwise_or", "absolute"):
        return "{0}" if op == "absolute" else _LOGICAL["logical_or"]
    if op in ("multiply", "bitwise_and", "power"):
        return _LOGICAL["logical_and"]
    if op in ("bitwise_xor", "subtract"):
        return _LOGICAL["logical_xor"]
    return _LOGICAL["logical_not"] if op == "invert" else None


def called(text: str) -> list[str]:
    """The names of the device functions that some source calls."""
    return sorted(set(_CALLED.findall(text)))


# Sums over a team

_COMBINE = {
    "+=": "a + b",
    "*=": "a * b",
    "max=": "maximum(a, b)",
    "min=": "minimum(a, b)",
    "or=": "a | b",
    "and=": "a & b",
}
_NAMES = {"+=": "sum", "*=": "product", "max=": "max", "min=": "min", "or=": "any", "and=": "all"}


def carrier(dtype: np.dtype) -> np.dtype:
    """The dtype in which threads hand on a number: shuffles know these."""
    if dtype in (f32, f64, i32, i64):
        return dtype
    if is_short(dtype):
        return f32
    return i32 if dtype == bool_ or dtype.itemsize < 4 else i64


def team_function(mode: str, dtype: np.dtype, team: int) -> tuple[str, str]:
    """Name and source of the device function that combines one number a thread over a team, for all of its threads.

    A butterfly of shuffles in each warp; the warps of a block meet in shared memory. Both orders of two operands give
    the same sum, but not the same maximum of two zeros: such are taken from the first lane.
    """
    carried = carrier(dtype)
    own = carried.name
    name = f"{'warp' if team == WARP else 'block'}_{_NAMES[mode]}_{own}" + (f"_{team}" if team > WARP else "")
    zero = number_text(carried.type(IDENTITIES[mode](bool_ if dtype == bool_ else carried))).replace("np.", "")

    def butterfly(width: int) -> list[str]:
        lines = []
        while width > 1:
            width //= 2
            other = f"cuda.shfl_xor_sync(0xFFFFFFFF, a, {width})"
            lines += [f"    b = {own}({other})", f"    a = {own}({_COMBINE[mode]})"]
        if mode in ("max=", "min=") and is_float(carried):
            lines.append(f"    a = {own}(cuda.shfl_sync(0xFFFFFFFF, a, 0))")
        return lines

    lines = [f"def {name}(a):", *butterfly(WARP)]
    if team > WARP:
        warps = team // WARP
        lines += [
            f"    parts = cuda.shared.array({warps}, {own})",
            "    lane = cuda.threadIdx.x & 31",
            "    cuda.syncthreads()  # those of the call before have been read",
            "    if lane == 0:",
            "        parts[cuda.threadIdx.x >> 5] = a",
            "    cuda.syncthreads()",
            f"    a = parts[lane] if lane < {warps} else {own}({zero})",
            *butterfly(WARP),
        ]
    return name, "\n".join([*lines, "    return a", ""])


def scan_functions(mode: str, dtype: np.dtype, team: int) -> tuple[str, dict[str, str]]:
    """Name of the device function that takes one number a thread, and returns those of the threads before it combined,
    in their order, and those of the whole team; and the source of that function and of what it calls, by name.

    In a warp each lane combines its number with that of the lane 1, 2, 4, 8 and 16 below; the warps of a block meet in
    shared memory.
    """
    own = dtype.name
    zero = f"{own}({number_text(dtype.type(IDENTITIES[mode](dtype))).replace('np.', '')})"
    return _scan(f"{_NAMES[mode]}_{own}", own, team, {"b": ("a", zero)}, {"b": _COMBINE[mode]})


def affine_scan_functions(mode: str, dtype: np.dtype, team: int) -> tuple[str, dict[str, str]]:
    """As :func:`scan_functions`, for steps ``x = f * x + a``: a function of the factor and what is added, which returns
    those of the threads before together, and those of the whole team. ``mode`` is that of what is added.

    Both steps of two lanes are ``f * (f0 * x + a0) + a``; what is added stays as it is where ``a0`` is 0, whatever a
    product of factors is.
    """
    assert mode == "+="
    own = dtype.name
    zero, one = (f"{own}({k}{'.0' if is_float(dtype) else ''})" for k in (0, 1))
    steps = {"a": f"f * a0 + a if a0 != {zero} else a", "f": "f * f0"}
    return _scan(f"affine_{own}", own, team, {"f": ("f0", one), "a": ("a0", zero)}, steps)


def _scan(
    name: str, own: str, team: int, variables: Mapping[str, tuple[str, str]], steps: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """A scan of a few numbers a thread: ``variables`` has, for each, what it is called in the lane below and the value
    that changes nothing; ``steps`` combines both, one number after another."""
    mine, below = tuple(variables), [lower for lower, _ in variables.values()]
    totals = [f"total_{v}" for v in mine]
    warp = f"warp_scan_{name}"
    lines = [f"def {warp}({', '.join(mine)}):", "    lane = cuda.threadIdx.x & 31"]
    for step in (1, 2, 4, 8, 16):
        lines += [
            f"    {b} = {own}(cuda.shfl_up_sync(0xFFFFFFFF, {v}, {step}))" for v, b in zip(mine, below, strict=True)
        ]
        lines += [f"    if lane >= {step}:", *(f"        {v} = {own}({text})" for v, text in steps.items())]
    lines += [f"    {t} = {own}(cuda.shfl_sync(0xFFFFFFFF, {v}, 31))" for v, t in zip(mine, totals, strict=True)]
    lines += [f"    {v} = {own}(cuda.shfl_up_sync(0xFFFFFFFF, {v}, 1))" for v in mine]
    first = [f"({v} if lane >= 1 else {nothing})" for v, (_, nothing) in variables.items()]
    functions = {warp: "\n".join([*lines, f"    return {', '.join([*first, *totals])}", ""])}
    if team == WARP:
        return warp, functions
    whole, warps = f"block_scan_{name}_{team}", team // WARP
    lines = [f"def {whole}({', '.join(mine)}):", f"    {', '.join([*mine, *totals])} = {warp}({', '.join(mine)})"]
    lines += [f"    parts_{v} = cuda.shared.array({warps}, {own})" for v in mine]
    lines += ["    lane = cuda.threadIdx.x & 31", "    warp = cuda.threadIdx.x >> 5"]
    lines += ["    cuda.syncthreads()  # those of the call before have been read", "    if lane == 0:"]
    lines += [f"        parts_{v}[warp] = {t}" for v, t in zip(mine, totals, strict=True)]
    lines += ["    cuda.syncthreads()", f"    inside = lane < {warps}"]
    parts = [f"parts_{v}[lane] if inside else {nothing}" for v, (_, nothing) in variables.items()]
    lines += [f"    {', '.join([*below, *totals])} = {warp}({', '.join(parts)})"]
    lines += [f"    {b} = {own}(cuda.shfl_sync(0xFFFFFFFF, {b}, warp))" for b in below]
    lines += [f"    {v} = {own}({text})" for v, text in steps.items()]
    functions[whole] = "\n".join([*lines, f"    return {', '.join([*mine, *totals])}", ""])
    return whole, functions
