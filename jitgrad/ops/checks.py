"""What ops on matrices and signals ask of the types of their operands."""

from __future__ import annotations

from collections.abc import Sequence

from jitgrad.errors import DtypeError, UnsupportedError
from jitgrad.ir.index import Dim
from jitgrad.ir.location import user_location
from jitgrad.ir.symbols import is_static
from jitgrad.ir.types import TensorType, is_float, is_short


def check_float(name: str, t: TensorType) -> None:
    """Raise a DtypeError unless the elements are float32 or float64: LAPACK and Fourier transforms compute in those."""
    if not is_float(t.dtype) or is_short(t.dtype):
        raise DtypeError(
            f"{name} got dtype {t.dtype}. It takes float32 or float64. Convert the array with astype().",
            user_location(),
        )


def check_static(name: str, shape: Sequence[Dim], what: str) -> None:
    """Raise an UnsupportedError unless the extents are known. ``what`` is compiled for one shape."""
    if not is_static(*shape):
        raise UnsupportedError(
            f"{name} of an array of shape {tuple(shape)}, an extent of which depends on traced values. {what} are "
            "compiled for one shape. Pad the array with zeros to a known extent.",
            user_location(),
        )
