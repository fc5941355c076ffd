"""What Cython's capsules hold: C functions that a module exports, as ``__pyx_capi__`` has them."""

from __future__ import annotations

import ctypes
from typing import Any

_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def capsule_contents(capsule: Any) -> tuple[str, int]:
    """The C signature, which is the capsule's name, and the address."""
    signature = _name(capsule)
    return signature.decode(), _pointer(capsule, signature)
