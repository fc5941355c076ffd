"""The pipeline, one step a line: from a graph to an executable."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jitgrad import ops  # noqa: F401  (fills the table of ops)
from jitgrad.codegen import python
from jitgrad.config import current
from jitgrad.ir.core import Graph
from jitgrad.ir.verify import verify
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.loopir.nodes import Program
from jitgrad.loopir.printer import print_program
from jitgrad.loopir.schedule import schedule
from jitgrad.loopir.verify import verify as verify_program
from jitgrad.passes import pipeline
from jitgrad.runtime.compiled import Executable

_compiling = threading.RLock()


def optimise(graph: Graph, notes: list[str] | None = None) -> Graph:
    """Fold, simplify, share and drop ops, to a fixpoint."""
    return pipeline.optimise(graph, notes=notes)


class Compiled:
    """A compiled graph, with every stage that led to it.

    Calling it takes one array a parameter and returns a tuple of arrays. ``call`` is the fast entry of the executable.
    """

    def __init__(
        self, graph: Graph, scalar_params: tuple[bool, ...] | None = None, donated: Mapping[int, int] | None = None
    ) -> None:
        self.notes: list[str] = []
        self.graph = optimise(graph, self.notes)
        program = self._checked(lower(self.graph, self.notes, donated), "lowered")
        program = self._checked(fuse(program, self.notes), "fused")
        if current().parallel:
            program = self._checked(schedule(program, self.notes), "scheduled")
        self.program = program
        self.executable = Executable(program, scalar_params)
        self.call: Callable[[tuple[Any, ...]], Sequence[Any]] = self.executable.call

    def _checked(self, program: Program, stage: str) -> Program:
        if current().verify:
            verify_program(program, stage)
        return program

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        return self.executable(*arrays)

    @property
    def stages(self) -> list[tuple[str, str]]:
        """Title and text of every stage below the source graph."""
        return [("optimised", str(self.graph)), ("loop", print_program(self.program))]

    def source(self) -> str:
        """The kernels as readable Python."""
        return python.render(self.program)

    def llvm(self) -> str:
        """The optimised LLVM text."""
        return self.executable.llvm()

    def asm(self) -> str:
        """The machine code as assembly text."""
        return self.executable.asm()

    def explain(self) -> str:
        """What was rewritten, fused, kept, copied and placed, one line each."""
        place = self.executable.placement
        nests = sum(1 for _ in self.program.body)
        head = [
            f"kernels and library calls: {nests}",
            f"arena {place.nbytes} bytes for {len(place.offsets)} temporaries ({place.total} bytes without reuse)",
            f"results {sum(r.nbytes for r in self.program.results)} bytes, "
            f"constants {sum(np.asarray(c.data).nbytes for c in self.program.constants)} bytes",
        ]
        if self.executable.shared_kernels:
            head.append(f"{self.executable.shared_kernels} nests share the code of an equal one")
        return "\n".join(head + self.notes)


def compile_graph(
    graph: Graph, scalar_params: tuple[bool, ...] | None = None, donated: Mapping[int, int] | None = None
) -> Compiled:
    """Compile a graph.

    ``scalar_params`` tells for each parameter whether it comes as a scalar object (a float or NumPy scalar, for 0-d
    parameters) rather than as an array. ``donated`` gives, by parameter, the result that is its new value: that is
    written into the array that is passed.
    """
    with _compiling:  # expressions are shared by all programs, and so is Numba's compiler
        if current().verify:
            verify(graph, "source")
        return Compiled(graph, scalar_params, donated)
