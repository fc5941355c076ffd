"""Bits of bytes as arrays, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import ArgumentError, DtypeError
from jitgrad.frontend.primitives import axis_index, cast, full, lift_one, reshape, static_int
from jitgrad.frontend.registry import implements
from jitgrad.frontend.tracer import ArrayLike, Tracer
from jitgrad.ir.location import user_location
from jitgrad.ir.types import bool_

_U8 = np.dtype(np.uint8)
Array = Any  # a Tracer, as NumPy's functions and operators take it


@implements(np.packbits)
def packbits(a: ArrayLike, axis: int | None = None, bitorder: str = "big") -> Array:
    """Whether each element is not zero; what lacks to a whole byte is 0."""
    x, axis = _flat(lift_one(a), axis)
    if x.dtype.kind not in "iub":
        raise DtypeError(f"np.packbits of {x.dtype}. It takes integers or booleans. Use a != 0.", user_location())
    taken: Array = cast(cast(x, bool_), _U8)
    bits: Array = np.moveaxis(taken, axis, -1)
    lacking = -bits.shape[-1] % 8
    bits = np.concatenate([bits, full(x, (*bits.shape[:-1], lacking), 0, _U8)], axis=-1) if lacking else bits
    rows = bits.reshape(*bits.shape[:-1], bits.shape[-1] // 8, 8)
    return np.moveaxis(np.sum(rows << _places(bitorder), axis=-1, dtype=_U8), -1, axis)


@implements(np.unpackbits)
def unpackbits(a: ArrayLike, axis: int | None = None, count: Any = None, bitorder: str = "big") -> Array:
    """``count`` bits, with zeros behind where there are less; a negative one counts from the end."""
    x, axis = _flat(lift_one(a), axis)
    if x.dtype != _U8:
        raise DtypeError(f"np.unpackbits of {x.dtype}. It takes uint8. Convert it with astype().", user_location())
    rows: Any = np.moveaxis(x, axis, -1)
    bits = (rows[..., None] >> _places(bitorder)) & _U8.type(1)
    bits = bits.reshape(*rows.shape[:-1], rows.shape[-1] * 8)
    n = None if count is None else static_int(count, "count")
    if n is not None and n > bits.shape[-1]:
        bits = np.concatenate([bits, full(x, (*bits.shape[:-1], n - bits.shape[-1]), 0, _U8)], axis=-1)
    return np.moveaxis(bits[..., :n], -1, axis)


def _flat(x: Tracer, axis: int | None) -> tuple[Array, int]:
    return (reshape(x, (x.count,)), 0) if axis is None else (x, axis_index(axis, x.ndim))


def _places(bitorder: str) -> np.ndarray:
    if bitorder not in ("big", "little"):
        raise ArgumentError(f"bitorder={bitorder!r}. It is 'big' or 'little'.", user_location())
    return np.arange(8, dtype=_U8)[:: -1 if bitorder == "big" else 1]
