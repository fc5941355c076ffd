"""The least that runs a kernel without barriers: its threads one after the other."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np


def _atomic_max(p: np.ndarray, i: int, v: Any) -> None:
    p[i] = max(p[i], v)


class Simulator:
    def __init__(self, source: str, seed: int) -> None:
        self._cuda = SimpleNamespace()
        self._globals: dict[str, Any] = {"cuda": self._cuda, "atomic_max": _atomic_max}
        self._globals |= {d: getattr(np, d) for d in ("int32", "int64", "float32", "float64")}
        exec(source, self._globals)

    def launch(self, name: str, grid: int, block: int, args: Sequence[Any], cooperative: bool = False) -> None:
        self._cuda.blockDim, self._cuda.gridDim = SimpleNamespace(x=block), SimpleNamespace(x=grid)
        for b in range(grid):
            for t in range(block):
                self._cuda.blockIdx, self._cuda.threadIdx = SimpleNamespace(x=b), SimpleNamespace(x=t)
                self._globals[name](*args)
