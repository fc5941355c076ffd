"""What a kernel of the corpus is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A NumPy program with loops: ``fun(*make(rng, *size))`` is a scalar.

    argnums : the arguments that it is differentiated with respect to; all are float64.
    static : the arguments that are numbers of steps, Python ints.
    writes : the arguments that ``fun`` assigns into.
    small, quick, full : sizes for tests, for a short and for a real benchmark.
    tolerance : of a value and a gradient between two correct programs, relative to the largest element.
    """

    fun: Callable[..., Any]
    make: Callable[..., tuple]
    small: tuple[int, ...]
    quick: tuple[int, ...]
    full: tuple[int, ...]
    argnums: tuple[int, ...] = (0,)
    static: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()
    tolerance: float = 1e-9

    @property
    def name(self) -> str:
        """The function's name."""
        return self.fun.__name__

    def arguments(self, size: tuple[int, ...], seed: int = 0) -> tuple:
        """Arguments of one size, the same for the same seed."""
        return self.make(np.random.default_rng(seed), *size)


def with_value_and_gradients(kernel: Kernel, value: Any, grads: Any) -> list[np.ndarray]:
    """A value and the gradient or gradients as one list of arrays."""
    grads = list(grads) if isinstance(grads, (tuple, list)) else [grads]
    assert len(grads) == len(kernel.argnums)
    return [np.asarray(a) for a in (value, *grads)]
