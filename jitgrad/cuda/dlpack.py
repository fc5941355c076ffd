"""DLPack capsules: device arrays for other libraries, and theirs for us, without copies.

The structures are those of the DLPack specification, versions 0.x (``dltensor``) and 1.x (``dltensor_versioned``).
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Any, NamedTuple

import numpy as np

from jitgrad.errors import DtypeError, UnsupportedError
from jitgrad.ir.types import bfloat16, is_bfloat16

#: Kinds of devices. A simulated device is an "extension": no other library takes its addresses for a GPU's.
CUDA, CUDA_MANAGED, EXTENSION = 2, 13, 12

_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_KINDS = {code: kind for kind, code in _CODES.items()}
_BFLOAT = 4
_READ_ONLY = 1


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", _Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


#: What a capsule of each name holds. CPython keeps the address of a name, so these live as long as the module.
_FORMS: dict[bytes, Any] = {b"dltensor": _Managed, b"dltensor_versioned": _Versioned}
_USED = {name: b"used_" + name for name in _FORMS}

_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_python = ctypes.pythonapi
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _Destructor)(("PyCapsule_New", _python))
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", _python))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", _python))
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", _python))
# In a capsule's destructor the capsule has no references left, so that no Python object may be made of it.
_dying_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _python))
_dying_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _python))

#: What has been handed out and not been deleted yet, by the address of its structure: all that must stay alive.
_exported: dict[int, tuple[Any, ...]] = {}


@_Deleter
def _delete(address: int) -> None:
    _exported.pop(address, None)


@_Destructor
def _destroy(capsule: int) -> None:
    """A capsule that nobody took is dropped."""
    for name in _FORMS:
        if _dying_is_valid(capsule, name):
            _exported.pop(_dying_pointer(capsule, name), None)


class Imported(NamedTuple):
    """A tensor of another library. ``owner`` gives it back to that when it is dropped; ``strides`` are bytes."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype
    device: tuple[int, int]
    read_only: bool
    owner: Any


def export(
    owner: Any,
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: np.dtype,
    device: tuple[int, int],
    *,
    versioned: bool,
    read_only: bool,
) -> Any:
    """A capsule; ``owner`` lives until its consumer is done. ``strides`` are bytes."""
    if is_bfloat16(dtype):
        code = _BFLOAT
    elif dtype.kind in _CODES:
        code = _CODES[dtype.kind]
    else:
        raise DtypeError(
            f"arrays of dtype {dtype} can't be exchanged by DLPack. It has numbers and booleans. Convert the array."
        )
    name = b"dltensor_versioned" if versioned else b"dltensor"
    managed = _FORMS[name]()
    extents = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    steps = (ctypes.c_int64 * max(len(shape), 1))(*(s // dtype.itemsize for s in strides))
    managed.deleter = _delete
    managed.tensor = _Tensor(address or None, *device, len(shape), code, 8 * dtype.itemsize, 1, extents, steps, 0)
    if versioned:
        managed.major, managed.minor, managed.flags = 1, 0, _READ_ONLY if read_only else 0
    where = ctypes.addressof(managed)
    _exported[where] = managed, extents, steps, owner
    return _new(where, name, _destroy)


class _Foreign:
    """Calls the deleter of another library's tensor when it is dropped."""

    def __init__(self, managed: Any) -> None:
        self._managed = managed

    def __del__(self) -> None:
        # A null pointer to a function is false: its tensor needs no deleter.
        if self._managed.deleter and not sys.is_finalizing():
            self._managed.deleter(ctypes.addressof(self._managed))


def take(capsule: Any) -> Imported:
    """Take over the tensor of a capsule, which then is used up.

    Raises UnsupportedError for what is no capsule of DLPack or has a later version, DtypeError for a dtype that NumPy
    has not.
    """
    name = next((n for n in _FORMS if _is_valid(capsule, n)), None)
    if name is None:
        raise UnsupportedError(
            "this capsule holds no DLPack tensor, or one that was taken before. A capsule can be taken once. Ask its "
            "library for a new one."
        )
    managed = _FORMS[name].from_address(_pointer(capsule, name))
    if name == b"dltensor_versioned" and managed.major > 1:
        raise UnsupportedError(
            f"this DLPack tensor has version {managed.major}.{managed.minor}. Version 1 is the last that is known "
            "here. Ask its library for an older version."
        )
    tensor = managed.tensor
    dtype = _dtype(tensor.code, tensor.bits, tensor.lanes)
    _rename(capsule, _USED[name])
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(s * dtype.itemsize for s in tensor.strides[: tensor.ndim]) if tensor.strides else None
    return Imported(
        (tensor.data or 0) + tensor.byte_offset,
        shape,
        strides,
        dtype,
        (tensor.device_type, tensor.device_id),
        bool(name == b"dltensor_versioned" and managed.flags & _READ_ONLY),
        _Foreign(managed),
    )


def _dtype(code: int, bits: int, lanes: int) -> np.dtype:
    if lanes == 1 and code in _KINDS:
        with contextlib.suppress(TypeError):
            return np.dtype(f"{_KINDS[code]}{bits // 8}")
    if lanes == 1 and code == _BFLOAT and bits == 16:
        with contextlib.suppress(DtypeError):
            return bfloat16()
    raise DtypeError(
        f"a DLPack tensor of type {code} with {bits} bits and {lanes} lanes can't be taken. NumPy has no dtype for it "
        "(that for bfloat16 is in the package ml_dtypes). Convert the array."
    )
