"""The ops. Importing this package enters all of them into ``jitgrad.ir.core.OPS``."""

from jitgrad.ops import (
    arithmetic,
    control,
    creation,
    eigen,
    elementwise,
    indexing,
    linalg,
    logic,
    products,
    reduction,
    scans,
    shape,
    sorting,
    special,
    special_scipy,
    transcendental,
)

__all__ = [
    "arithmetic",
    "control",
    "creation",
    "eigen",
    "elementwise",
    "indexing",
    "linalg",
    "logic",
    "products",
    "reduction",
    "scans",
    "shape",
    "sorting",
    "special",
    "special_scipy",
    "transcendental",
]
