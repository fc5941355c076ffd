"""Types of values: a dtype and a shape whose extents are ``Dim = int | IndexExpr``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jitgrad.errors import DtypeError, ShapeError
from jitgrad.ir.index import Dim

#: The dtypes of NumPy's own that flow through jitgrad, by their short names in printed IR. bfloat16 flows too.
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
#: bfloat16's short name. The dtype is that of the package ml_dtypes, which is imported by those who have such arrays,
#: and need not be there.
BFLOAT16 = "bf16"


class _ShortNames(dict[np.dtype, str]):
    """The short name of each dtype, that of bfloat16 from when it is first asked for."""

    def __contains__(self, dtype: object) -> bool:
        return super().__contains__(dtype) or (isinstance(dtype, np.dtype) and is_bfloat16(dtype) and dtype.isnative)

    def __missing__(self, dtype: np.dtype) -> str:
        if dtype not in self:
            raise KeyError(dtype)
        self[dtype] = BFLOAT16
        return BFLOAT16


SHORT_NAMES: dict[np.dtype, str] = _ShortNames({dtype: name for name, dtype in DTYPES.items()})

f64, f32, f16, i64, i32, bool_ = (DTYPES[n] for n in ("f64", "f32", "f16", "i64", "i32", "bool"))


def is_bfloat16(dtype: np.dtype) -> bool:
    return dtype.kind == "V" and dtype.type.__name__ == "bfloat16"


def kind_letter(dtype: np.dtype) -> str:
    """NumPy's ``dtype.kind``, but ``"f"`` for bfloat16, for which NumPy says ``"V"``, as it is none of its own."""
    return "f" if is_bfloat16(dtype) else dtype.kind


def is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or is_bfloat16(dtype)


def is_short(dtype: np.dtype) -> bool:
    """Is it float16 or bfloat16, which are formats of memory? What computes on them does so in float32."""
    return dtype.itemsize == 2 and is_float(dtype)


def digits(dtype: np.dtype) -> int:
    """How many binary digits the numbers of a float dtype have."""
    return 8 if is_bfloat16(dtype) else int(np.finfo(dtype).nmant) + 1


def smallest_normal(dtype: np.dtype) -> np.generic:
    """The smallest positive number of a float dtype with all of its digits. bfloat16 has the exponents of float32."""
    return np.finfo(f32 if is_bfloat16(dtype) else dtype).tiny


def largest(dtype: np.dtype) -> float:
    """The greatest finite number of a float dtype."""
    return (2.0 - 2.0**-7) * 2.0**127 if is_bfloat16(dtype) else float(np.finfo(dtype).max)


def bfloat16() -> np.dtype:
    """The dtype bfloat16. Raises DtypeError where ml_dtypes is not installed."""
    try:
        import ml_dtypes
    except ImportError as error:
        raise DtypeError(
            "the dtype bfloat16 is not known. NumPy has it from the package ml_dtypes, which can't be imported: "
            f"{error}. Install ml_dtypes."
        ) from None
    return np.dtype(ml_dtypes.bfloat16)


def dtype_named(name: str) -> np.dtype:
    """The dtype with a short name. Raises KeyError, and DtypeError for bfloat16 where ml_dtypes is not installed."""
    return bfloat16() if name == BFLOAT16 else DTYPES[name]


def dtype_of_text(text: str) -> np.dtype:
    """The dtype with a ``dtype.str``. Two bytes of no kind are bfloat16, as in PyTorch's array interface."""
    return bfloat16() if text[1:] == "V2" else np.dtype(text)


def supported_names() -> str:
    """The dtypes that flow through jitgrad, for messages."""
    return ", ".join(map(str, DTYPES.values())) + " and bfloat16"


def check_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype in native byte order; raises DtypeError for one that jitgrad does not support."""
    native = dtype.newbyteorder("=")
    if native not in SHORT_NAMES:
        raise DtypeError(
            f"dtype {dtype} is not supported. jitgrad computes with {supported_names()}. "
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
