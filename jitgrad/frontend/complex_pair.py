"""What a complex array is in a traced function: a pair of real ones. This module tells which values are complex; the
class of traced ones is :class:`~jitgrad.frontend.complex_tracer.ComplexTracer`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: Complex dtypes, and those of their parts.
PARTS = {np.dtype(np.complex64): np.dtype(np.float32), np.dtype(np.complex128): np.dtype(np.float64)}
WHOLE = {part: whole for whole, part in PARTS.items()}
_NUMBERS = frozenset((complex, np.complex64, np.complex128))
#: Names that a ``dtype`` argument may have when it is passed by position.
_NAMES = frozenset(("complex", "complex64", "complex128"))


class Pair:
    """A complex value as its real and its imaginary part."""

    __slots__ = ("__weakref__", "im", "re")
    re: Any
    im: Any


def is_plain_complex(obj: Any) -> bool:
    """Is it a complex number or array of Python or NumPy?"""
    cls = type(obj)
    if cls is np.ndarray:
        return obj.dtype.kind == "c"
    return cls in _NUMBERS or (issubclass(cls, np.ndarray) and obj.dtype.kind == "c")


def is_complex(obj: Any) -> bool:
    """Is it a complex value, traced or not?"""
    return isinstance(obj, Pair) or is_plain_complex(obj)


def holds_complex(obj: Any) -> bool:
    """Is there a complex value in these nested lists, tuples and dicts?"""
    if isinstance(obj, (list, tuple)):
        return any(map(holds_complex, obj))
    if isinstance(obj, dict):
        return any(map(holds_complex, obj.values()))
    return is_complex(obj)


def names_complex(dtype: Any) -> bool:
    """Does a ``dtype`` argument ask for complex numbers?"""
    if isinstance(dtype, type):
        return issubclass(dtype, (complex, np.complexfloating))
    if isinstance(dtype, str):
        return dtype in _NAMES
    return isinstance(dtype, np.dtype) and dtype.kind == "c"


def asks_for_complex(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Is a complex value among the arguments of a function, or the dtype of one?"""
    return any(is_complex(a) or names_complex(a) or holds_complex(a) for a in (*args, *kwargs.values()))


def whole_dtype(dtype: Any) -> np.dtype:
    """The complex dtype for parts of a real one, as NumPy promotes it."""
    return np.result_type(dtype, np.complex64)


def joined(re: Any, im: Any) -> Any:
    """The complex number or array with these parts, which are NumPy's or Python's."""
    if type(re) is float and type(im) is float:
        return complex(re, im)
    dtype = whole_dtype(np.result_type(re, im))
    if not isinstance(re, np.ndarray) and not isinstance(im, np.ndarray):
        return dtype.type(complex(re, im))
    out = np.empty(np.broadcast_shapes(np.shape(re), np.shape(im)), dtype)
    out.real, out.imag = re, im
    return out


def split(z: Any) -> tuple[Any, Any] | None:
    """The parts of a complex argument as native code takes them: arrays are copied. None for anything else."""
    cls = type(z)
    if cls is np.ndarray:
        return (z.real.copy(), z.imag.copy()) if z.dtype.kind == "c" and z.dtype.isnative else None
    return (z.real, z.imag) if cls in _NUMBERS else None
