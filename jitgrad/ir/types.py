"""Types of values: a dtype and a shape whose extents are ``Dim = int | IndexExpr``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.index import Dim

#: The dtypes that flow through jitgrad, by their short names in printed IR.
DTYPES: dict[str, np.dtype] = {
    "f64": np.dtype(np.float64),
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "i64": np.dtype(np.int64),
    "i32": np.dtype(np.int32),
    "i16": np.dtype(np.int16),
    "i8": np.dtype(np.int8),
    "u64": np.dtype(np.uint64),
    "u32": np.dtype(np.uint32),
    "u16": np.dtype(np.uint16),
    "u8": np.dtype(np.uint8),
    "bool": np.dtype(np.bool_),
}
SHORT_NAMES: dict[np.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}

f64, f32, f16, i64, i32, bool_ = (DTYPES[n] for n in ("f64", "f32", "f16", "i64", "i32", "bool"))


def is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f"


def check_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype in native byte order; raises DtypeError for one that jitgrad does not support."""
    native = dtype.newbyteorder("=")
    if native not in SHORT_NAMES:
        raise DtypeError(
            f"dtype {dtype} is not supported. jitgrad computes with {', '.join(str(d) for d in SHORT_NAMES)}. "
            "Convert the array with astype() first."
        )
    return native


class TensorType(NamedTuple):
    """An array type: ``f32[16,64]``. ``()`` is the shape of a scalar."""

    dtype: np.dtype
    shape: tuple[Dim, ...] = ()

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Dim:
        total: Dim = 1
        for d in self.shape:
            total = total * d
        return total

    def __str__(self) -> str:
        return f"{SHORT_NAMES[self.dtype]}[{','.join(str(d) for d in self.shape)}]"

    __repr__ = __str__


def type_of(array: object) -> TensorType:
    """The type of a NumPy array or scalar."""
    a = np.asarray(array)
    return TensorType(check_dtype(a.dtype), a.shape)


def broadcast_shapes(*shapes: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """NumPy's broadcasting rule on ``Dim``. Raises ShapeError."""
    ndim = max((len(s) for s in shapes), default=0)
    result: list[Dim] = [1] * ndim
    for shape in shapes:
        for k, d in enumerate(shape, start=ndim - len(shape)):
            if result[k] == 1:
                result[k] = d
            elif d != 1 and d != result[k]:
                text = " and ".join(str(tuple(s)) for s in shapes)
                if not (isinstance(d, int) and isinstance(result[k], int)):
                    raise ShapeError(
                        f"shapes {text} can't be broadcast together. Some of the extents depend on traced values, and "
                        "they are not known to be equal. Take both operands by one slice or by one mask."
                    )
                raise ShapeError(
                    f"shapes {text} can't be broadcast together. The extents {result[k]} and {d} differ and neither "
                    "is 1. Reshape one operand, or insert an axis with None."
                )
    return tuple(result)
