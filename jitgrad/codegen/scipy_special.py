"""Functions of ``scipy.special`` that compiled code calls: those of ``cython_special``, on numbers in double precision.

Code refers to them by symbols (``jitgrad_special_2_jv`` takes two numbers), as in ``externs``. Nothing of SciPy is
imported before the first one is needed.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Callable
from typing import Any

from llvmlite import binding

from jitgrad.codegen.capsules import capsule_contents
from jitgrad.errors import CompilationError

PREFIX = "jitgrad_special_"


@functools.cache
def _exported(name: str, arity: int) -> tuple[int, int]:
    """The address, and how many integers the function takes after its numbers: Cython adds one, which is 0 for all
    callers but its own. Of a function that is there for several types, the one in double precision."""
    from scipy.special import cython_special

    capsules: dict[str, Any] = cython_special.__pyx_capi__  # pyright: ignore[reportAttributeAccessIssue]
    for spelling in (name, f"__pyx_fuse_0{name}", f"__pyx_fuse_1{name}"):
        if spelling in capsules:
            signature, address = capsule_contents(capsules[spelling])
            if match := re.fullmatch(rf"double \(double(?:, double){{{arity - 1}}}(, int \w+)?\)", signature):
                return address, 1 if match[1] else 0
    raise CompilationError(
        f"SciPy's cython_special has no {name} of {arity} numbers in double precision. jitgrad calls it from compiled "
        "code. Install a SciPy wheel from PyPI."
    )


def symbol(name: str, arity: int) -> tuple[str, int]:
    """The symbol of a function, bound in this process, and how many zeros follow its arguments."""
    address, flags = _exported(name, arity)
    full = f"{PREFIX}{arity}_{name}"
    binding.add_symbol(full, address)
    return full, flags


def bind(full: str) -> None:
    """Bind a symbol that machine code of another process refers to."""
    arity, _, name = full.removeprefix(PREFIX).partition("_")
    symbol(name, int(arity))


@functools.cache
def pointer(name: str, arity: int) -> Callable[..., float]:
    """The function for ctypes, and so for ``numba.njit``."""
    address, flags = _exported(name, arity)
    kinds = [ctypes.c_double] * arity + [ctypes.c_int] * flags
    return ctypes.CFUNCTYPE(ctypes.c_double, *kinds)(address)
