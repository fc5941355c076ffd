"""Programs with loops, branches and assignments, as they are written in NumPy.

Those of ``benchmarks.corpus``, which are timed, and those of ``corpus.programs``, which are only tested.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))  # after site-packages: for benchmarks

from benchmarks import corpus as timed
from benchmarks.corpus.kernel import Kernel
from corpus import programs

KERNELS: dict[str, Kernel] = {**timed.KERNELS, **programs.KERNELS}


def jax_version(name: str) -> Callable[..., Any] | None:
    """The JAX version of a program; None where there is none."""
    from benchmarks.loops_jax import version_of  # only now: imports JAX
    from corpus import in_jax

    return version_of(name) or getattr(in_jax, name, None)
