"""The corpus as an experienced JAX user would write it: loops kept as ``fori_loop`` or ``scan``, float64.

What is independent is vectorized; slices whose length depends on a loop index are masks; an array that is written in a
loop is carried, or better, stacked by ``scan``. Where several forms were natural, the one that is faster under
``jit(value_and_grad)`` on a CPU is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.loops_jax import sequences, simulations, stencils, triangular


def version_of(name: str) -> Callable[..., Any] | None:
    """The JAX version of a kernel; None where there is none."""
    for module in (stencils, triangular, simulations, sequences):
        if hasattr(module, name):
            return getattr(module, name)
    return None
