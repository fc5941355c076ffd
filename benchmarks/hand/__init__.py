"""Value and gradient of some of the corpus, written by hand in Numba: reverse mode as an expert would write it.

Each module has the name of its kernel and one function, ``value_and_grad``, with the kernel's arguments and the result
``(value, gradients)``. All are serial. Adjoints are updated in place, and a module's docstring says what is taped.
Loops run in the order that suits the memory, which is not always the kernel's, and over slices that start at 0: a loop
``range(k, n)`` over the whole array is not vectorized by Numba where k might be negative, as its index might wrap.

Flags: ``contract`` (fused multiply-add) and ``reassoc`` (vector sums), which jitgrad's own code has too; not ``nnan``,
``ninf``, ``nsz``, ``arcp`` or ``afn``. Division by zero gives infinity as in NumPy. Elementary functions are libm's.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numba

compiled = numba.njit(fastmath={"contract", "reassoc"}, error_model="numpy")
"""The decorator of all functions here."""

#: Kernels that compute what another does, in another style.
SAME = {"jacobi_2d_loops": "jacobi_2d"}


def version_of(name: str) -> Callable[..., Any] | None:
    """``value_and_grad`` of a kernel by hand; None where there is none."""
    name = f"{__name__}.{SAME.get(name, name)}"
    if importlib.util.find_spec(name) is None:
        return None
    return importlib.import_module(name).value_and_grad
