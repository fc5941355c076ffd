"""Programs of loops and branches, with arguments: what Python users write. Each returns float arrays or numbers.

Arguments that are Python ints are traced too, so ranges over them have traced bounds.
"""

from . import arrays, branches, carries, functions, iteration, jumps, nones, ranges, whiles  # noqa: F401  # fill the table
from .registry import PROGRAMS, X

__all__ = ["PROGRAMS", "X"]
