"""The table of the programs, and the arrays that they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

X = np.array([0.5, -1.2, 0.8, 1.5, -0.3, 0.7])
M = np.array([[0.5, -0.2, 0.9, 0.3], [1.1, 0.4, -0.6, 0.2], [-0.7, 0.8, 0.1, 0.6]])
TABLE = np.array([0.3, 1.7, -0.4, 0.9, 2.0, -1.0, 0.1, 0.6, 1.3, 0.2, 0.5, 0.8])
WEIGHTS = [0.5, 2.0, -1.0]


def program(*args: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(f: Callable[..., Any]) -> Callable[..., Any]:
        assert f.__name__ not in PROGRAMS
        PROGRAMS[f.__name__] = (f, args)
        return f

    return enter
