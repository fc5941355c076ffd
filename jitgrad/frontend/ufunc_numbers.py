"""Ufuncs on the digits of numbers, made of other ops: common divisors, exponents and mantissas, neighbours among the
floats, bits that are set."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.frontend.primitives import broadcast_to, broadcast_together, cast, dtype_argument, emit, lift
from jitgrad.frontend.recording import record_while
from jitgrad.frontend.tracer import ArrayLike, Tracer, innermost_trace
from jitgrad.frontend.ufuncs import descriptor, loop_operands, resolve, special
from jitgrad.ir.types import f16, f64, i64, is_bfloat16, is_short

# -- divisors ----------------------------------------------------------------------------------------------------------


def _magnitudes(ufunc: np.ufunc, x: ArrayLike, y: ArrayLike, dtype: Any) -> tuple[Any, Any, np.dtype]:
    """The operands without signs, of one shape, and the dtype of NumPy's loop. Unsigned dtypes hold the magnitude of
    the least integer, too."""
    operands, dtypes = loop_operands(ufunc, [x, y], dtype_argument(dtype), innermost_trace(x, y))
    shape = broadcast_together(*(t.dims for t in operands))
    kind = dtypes[-1]
    unsigned = np.dtype(f"u{kind.itemsize}")
    a, b = (broadcast_to(cast(t if kind.kind == "u" else emit("absolute", t), unsigned), shape) for t in operands)
    return a, b, kind


def _euclid(a: Any, b: Any) -> Any:
    """The greatest common divisor; that of a number and 0 is the number."""

    def left(a: Any, b: Any) -> Any:
        return np.any(b != 0)

    def step(a: Any, b: Any) -> tuple[Any, Any]:
        done = b == 0
        return np.where(done, a, b), np.where(done, b, np.remainder(a, np.where(done, 1, b)))

    return record_while(innermost_trace(a, b), left, step, (a, b), ("the divisor", "the remainder"))[0]


@special(np.gcd)
def _gcd(x: ArrayLike, y: ArrayLike, dtype: Any = None) -> Tracer:
    """By Euclid's algorithm."""
    a, b, kind = _magnitudes(np.gcd, x, y, dtype)
    return cast(_euclid(a, b), kind)


@special(np.lcm)
def _lcm(x: ArrayLike, y: ArrayLike, dtype: Any = None) -> Tracer:
    a, b, kind = _magnitudes(np.lcm, x, y, dtype)
    divisor = _euclid(a, b)
    return cast(np.floor_divide(a, np.where(divisor == 0, 1, divisor)) * b, kind)


# -- floats ------------------------------------------------------------------------------------------------------------


def _limits(dtype: np.dtype) -> Any:
    """The limits of a float dtype; bfloat16 is there only where ml_dtypes is installed."""
    if not is_bfloat16(dtype):
        return np.finfo(dtype)
    from ml_dtypes import finfo

    return finfo(dtype)


def _wide(x: Tracer) -> Any:
    """float16 and bfloat16 as float64, in which nothing of what follows is rounded."""
    return cast(x, f64) if is_short(x.dtype) else x


def _float(ufunc: np.ufunc, x: ArrayLike, dtype: Any, *others: ArrayLike) -> list[Tracer]:
    """The operands in the dtype of NumPy's loop."""
    return loop_operands(ufunc, [x, *others], dtype_argument(dtype), innermost_trace(x, *others))[0]


def _scaled(x: Any, n: Any) -> Any:
    """``x * 2**n``, rounded once: factors that are normal numbers, and such that what is not the last product is
    either normal or so small that the last one is 0."""
    info = np.finfo(x.dtype)
    lowest, highest = int(info.minexp), int(info.maxexp) - 1
    for last in (False, False, True):
        few: Any = np.minimum(n, highest)
        few = np.maximum(few, lowest) if last else np.where(n < lowest, lowest + info.nmant + 1, few)
        x = x * np.exp2(cast(few, x.dtype))
        n = n - few
    return x


@special(np.ldexp)
def _ldexp(x: ArrayLike, n: ArrayLike, dtype: Any = None) -> Tracer:
    target = resolve(np.ldexp, (descriptor(x), descriptor(n)), dtype_argument(dtype))[-1]
    x, n = lift(x, n)
    return cast(_scaled(_wide(cast(x, target)), cast(n, i64)), target)


def _parts(x: Any) -> tuple[Any, Any]:
    """The fraction, from 0.5 to 1 without its sign, and the exponent of ``x``. The logarithm that tells it may be
    rounded, which the fraction shows."""
    info = np.finfo(x.dtype)
    size: Any = np.abs(x)
    plain = np.logical_and(size > 0, size < np.inf)
    low = np.logical_and(plain, size < info.smallest_normal)
    raised = np.where(low, x * 2.0 ** (info.nmant + 2), x)
    size = np.where(plain, np.abs(raised), 1)
    whole: Any = np.floor(np.log2(emit("stop_gradient", size)))
    n: Any = cast(whole, i64) + 1
    m = _scaled(raised, -n)
    above, below = np.abs(m) >= 1, np.abs(m) < 0.5
    m = np.where(above, m * 0.5, np.where(below, m * 2, m))
    n = n + above - below - np.where(low, info.nmant + 2, 0)
    return np.where(plain, m, x), np.where(plain, n, 0)


@special(np.frexp)
def _frexp(x: ArrayLike, dtype: Any = None) -> tuple[Tracer, Tracer]:
    """The derivative of the fraction is that of ``x`` over the power of 2."""
    (t,) = _float(np.frexp, x, dtype)
    m, n = _parts(_wide(t))
    return cast(m, t.dtype), cast(n, np.int32)


def _steps(x: Any, dtype: np.dtype) -> tuple[Any, Any]:
    """How far the neighbours of ``x`` among the numbers of a dtype are, away from 0 and towards 0."""
    info = _limits(dtype)
    least = int(info.minexp) - int(info.nmant)
    m, n = _parts(emit("stop_gradient", x))
    n = np.where(x == 0, least, n - info.nmant - 1)
    one = np.ones_like(m)
    away = _scaled(one, np.maximum(n, least))
    return away, _scaled(one, np.maximum(n - (np.abs(m) == 0.5), least))


@special(np.nextafter)
def _nextafter(x: ArrayLike, y: ArrayLike, dtype: Any = None) -> Tracer:
    """The derivative by ``x`` is 1, that by ``y`` 0."""
    first, second = _float(np.nextafter, x, dtype, y)
    a, b = np.broadcast_arrays(_wide(first), emit("stop_gradient", _wide(second)))
    away, back = _steps(a, first.dtype)
    up = b > a
    step = np.where(np.logical_xor(up, a < 0), away, back)
    moved: Any = a + np.where(a == b, 0, np.where(up, step, -step))
    highest = float(_limits(first.dtype).max)
    moved = np.where(np.logical_and(np.isinf(a), a != b), np.copysign(highest, a), moved)
    toward = np.where(
        a == 0, b if first.dtype != f16 else np.where(b == 0, a, b), a
    )  # of two zeros float16 has its own
    moved = np.where(moved == 0, np.copysign(moved, toward), moved)
    moved = np.where(np.isnan(b), b, moved)
    return cast(moved, first.dtype)


@special(np.spacing)
def _spacing(x: ArrayLike, dtype: Any = None) -> Tracer:
    (t,) = _float(np.spacing, x, dtype)
    a: Any = _wide(emit("stop_gradient", t))
    away, back = _steps(a, t.dtype)
    away = np.where(np.abs(a) == float(_limits(t.dtype).max), np.inf, away)
    if t.dtype == f16:  # upwards, where that of the others is away from 0
        found = np.where(a < 0, back, away)
    else:
        found = np.where(np.signbit(a) if is_bfloat16(t.dtype) else a < 0, -away, away)
    found: Any = np.where(np.isfinite(a), found, np.nan)
    return cast(found, t.dtype)


# -- bits --------------------------------------------------------------------------------------------------------------


@special(np.bitwise_count)
def _bitwise_count(x: ArrayLike, dtype: Any = None) -> Tracer:
    """Of the magnitude: counts of 2 bits, of 4 and of 8, whose sum is the highest byte of a product (Warren, Hacker's
    Delight, 5-1)."""
    (t,) = lift(x)
    resolve(np.bitwise_count, (t.dtype,), dtype_argument(dtype))  # an error for floats
    n: Any = cast(t if t.dtype.kind in "ub" else emit("absolute", t), np.dtype(f"u{t.dtype.itemsize}"))
    n = cast(n, np.uint64)
    n = n - ((n >> np.uint64(1)) & np.uint64(0x5555555555555555))
    n = (n & np.uint64(0x3333333333333333)) + ((n >> np.uint64(2)) & np.uint64(0x3333333333333333))
    n = (n + (n >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return cast((n * np.uint64(0x0101010101010101)) >> np.uint64(56), np.uint8)
