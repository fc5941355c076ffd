"""The programs that are timed, by family."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.program import DTYPES, TIMED_SIZES, Case, Program
from benchmarks.program import select as select_from
from benchmarks.suite import convolution, elementwise, indexing, kernels, networks, physics, rows, statistics, training

FAMILIES = (elementwise, rows, networks, convolution, statistics, kernels, physics, indexing, training)
PROGRAMS: dict[str, Program] = {program.name: program for family in FAMILIES for program in family.PROGRAMS}


def select(
    names: Sequence[str] | None = None, sizes: Sequence[str] | None = None, dtypes: Sequence[str] | None = None
) -> list[Case]:
    """The cases whose name starts with one of ``names``.

    Without ``sizes`` and ``dtypes`` those of the default selection and those named in full, or all if that is none.
    """
    cases = select_from(PROGRAMS.values(), names, sizes or TIMED_SIZES, dtypes or tuple(DTYPES))
    if sizes or dtypes:
        return cases
    chosen = [c for c in cases if (c.dtype, c.size) in c.program.default or c.name in (names or ())]
    return chosen or cases
