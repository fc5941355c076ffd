"""Scalars of simulated kernels: NumPy scalars that follow the compiler's rules of types, which are not NumPy's.

Integers are computed in 64 bits, signed where an operand is: ``uint32 * uint32`` is a uint64, and wraps around at 32
bits only when it is converted. A literal is an int64 or a float64, and pulls what it meets up to that.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

_SIGNED = (np.int8, np.int16, np.int32, np.int64)
_UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64)
_INTEGERS = frozenset(_SIGNED + _UNSIGNED)
_FLOATS = (np.float16, np.float32, np.float64)
#: Types that arithmetic leaves as they are.
_WIDE = frozenset((np.int64, np.uint64, *_FLOATS))
#: Types that a warp can shuffle.
SHUFFLED = frozenset((np.int32, np.int64, np.float32, np.float64))


def _to_float(dtype: type) -> Callable[[Any], Any]:
    def convert(x: Any) -> Any:
        if type(x) is dtype:
            return x
        return dtype(float(x)) if type(x) in _FLOATS else dtype(x)  # by way of Python's float it takes half the time

    return convert


def _to_integer(dtype: type) -> Callable[[Any], Any]:
    modulus, top = 1 << np.iinfo(dtype).bits, np.iinfo(dtype).max

    def convert(x: Any) -> Any:
        if type(x) is dtype:
            return x
        if type(x) not in _INTEGERS:
            return x.astype(dtype)
        value = int(x) % modulus
        return dtype(value if value <= top else value - modulus)

    return convert


#: The conversions that kernels call by the names of dtypes.
CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "bool_": np.bool_,
    **{dtype.__name__: _to_float(dtype) for dtype in _FLOATS},
    **{dtype.__name__: _to_integer(dtype) for dtype in (*_SIGNED, *_UNSIGNED)},
}
#: The dtype that a conversion stands for in ``cuda.shared.array(n, dtype)``.
DTYPES = {function: np.dtype(name.rstrip("_")) for name, function in CONVERSIONS.items()}


def _common(a: type, b: type) -> type:
    """The type in which two operands are computed."""
    if a in _FLOATS or b in _FLOATS:
        return np.result_type(a, b).type
    return np.uint64 if a in _UNSIGNED and b in _UNSIGNED else np.int64


_TYPES = (np.bool_, *_SIGNED, *_UNSIGNED, *_FLOATS)
_COMMON = {(a, b): CONVERSIONS[_common(a, b).__name__] for a, b in itertools.product(_TYPES, _TYPES)}
_float32, _float64 = CONVERSIONS["float32"], CONVERSIONS["float64"]
_int64, _uint64 = CONVERSIONS["int64"], CONVERSIONS["uint64"]


def _refuse(*operands: Any) -> TypeError:
    return TypeError(f"kernels have no such operation on {' and '.join(type(x).__name__ for x in operands)}")


def _arithmetic(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(a: Any, b: Any) -> Any:
        kind = type(a)
        if kind is type(b) and kind in _WIDE:
            return function(a, b)
        convert = _COMMON.get((kind, type(b)))
        if convert is None:
            raise _refuse(a, b)
        return function(convert(a), convert(b))

    return apply


def _bitwise(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    general = _arithmetic(function)

    def apply(a: Any, b: Any) -> Any:
        if type(a) is type(b) is np.bool_:
            return function(a, b)
        if type(a) in _FLOATS or type(b) in _FLOATS:
            raise _refuse(a, b)
        return general(a, b)

    return apply


def _shift(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A shift has the sign of its first operand. One by 64 bits or more has no defined result."""

    def apply(a: Any, b: Any) -> Any:
        if type(a) not in _INTEGERS or type(b) not in _INTEGERS:
            raise _refuse(a, b)
        if not 0 <= b < 64:
            raise ValueError(f"a shift by {b} bits has no defined result")
        convert = _uint64 if type(a) in _UNSIGNED else _int64
        return function(convert(a), convert(b))

    return apply


def _divide(a: Any, b: Any) -> Any:
    if type(a) in _FLOATS or type(b) in _FLOATS:
        return _true_divide(a, b)
    return _float64(a) / _float64(b)


def _power(a: Any, b: Any) -> Any:
    if type(a) in _FLOATS and type(b) in _INTEGERS:  # by repeated products
        return np.power(a, b, dtype=type(a))
    return _general_power(a, b)


def _negate(a: Any) -> Any:
    return -a if type(a) in _WIDE else -_COMMON[type(a), type(a)](a)


def _invert(a: Any) -> Any:
    return ~a if type(a) in _WIDE or type(a) is np.bool_ else ~_COMMON[type(a), type(a)](a)


_true_divide = _arithmetic(operator.truediv)
_general_power = _arithmetic(operator.pow)

#: Functions for the operators of Python's syntax trees.
OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": _arithmetic(operator.add),
    "Sub": _arithmetic(operator.sub),
    "Mult": _arithmetic(operator.mul),
    "Div": _divide,
    "FloorDiv": _arithmetic(operator.floordiv),
    "Mod": _arithmetic(operator.mod),
    "Pow": _power,
    "LShift": _shift(operator.lshift),
    "RShift": _shift(operator.rshift),
    "BitAnd": _bitwise(operator.and_),
    "BitOr": _bitwise(operator.or_),
    "BitXor": _bitwise(operator.xor),
    "USub": _negate,
    "Invert": _invert,
}


def kernel_range(*bounds: Any) -> Any:
    """``range``: its numbers are uint64 where all bounds are unsigned, int32 where all are narrow, else int64."""
    kinds = {type(bound) for bound in bounds}
    if not kinds <= _INTEGERS:
        raise TypeError(f"the bounds of a range must be integers, not {', '.join(sorted(k.__name__ for k in kinds))}")
    signed = kinds & frozenset(_SIGNED)
    if not signed:
        dtype = np.uint64
    elif np.int64 in kinds:
        dtype = np.int64
    elif kinds & frozenset(_UNSIGNED):  # the compiler takes int32 then, and cuts the unsigned bound
        raise TypeError("a range with bounds that are unsigned and others of 32 bits is cut to 32 bits")
    else:
        dtype = np.int32
    return map(dtype, range(*map(int, bounds)))
