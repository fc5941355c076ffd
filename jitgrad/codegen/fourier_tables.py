"""Tables of factors of Fourier transforms, which the code of ``codegen.fourier_kernels`` refers to by symbols."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import binding

PREFIX = "jitgrad_twiddles_"


def table(dtype: np.dtype, form: str, n: int, passes: Sequence[int]) -> np.ndarray:
    """The factors ``w^(p j)``, j > 0, of the passes of a transform of n elements; see ``fourier_kernels``.

    With form "rows" those of the first pass lie by j, and for each j first all real parts, then the imaginary ones. All
    others lie by p, real and imaginary parts next to each other. With form "real": ``exp(-2 pi i k / n)`` for
    k < n / 2, first the real parts.
    """
    if form == "real":
        w: Any = _roots(np.arange(n // 2), n)
        return np.concatenate([w.real, w.imag]).astype(dtype)
    parts: list[np.ndarray] = []
    for i, r in enumerate(passes):
        m = n // r
        w: Any = _roots(np.outer(np.arange(m), np.arange(1, r)), n)
        if form == "rows" and i == 0:
            parts += [a for column in w.T for a in (column.real, column.imag)]
        else:
            parts.append(np.stack([w.real, w.imag], axis=-1).ravel())
        n = m
    return np.concatenate(parts).astype(dtype)


def _roots(k: np.ndarray, n: int) -> np.ndarray:
    """``exp(-2 pi i k / n)``, by quarters of a turn: angles stay small, so their rounding does too."""
    quarter, rest = np.divmod(4 * (k % n), n)
    angle = rest * (np.pi / (2.0 * n))
    return (np.cos(angle) - 1j * np.sin(angle)) * np.array([1, -1j, -1, 1j])[quarter]


@functools.cache
def _kept(symbol: str) -> np.ndarray:
    """The table of a symbol, which is there as long as the process."""
    kind, form, n, *passes = symbol.removeprefix(PREFIX).split("_")
    return table(np.dtype(kind), form, int(n), [int(r) for r in passes])


def bind(symbol: str) -> None:
    """Bind a symbol in this process."""
    binding.add_symbol(symbol, _kept(symbol).ctypes.data)
