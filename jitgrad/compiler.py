"""The pipeline, one step a line: from a graph to an executable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jitgrad import ops  # noqa: F401  (fills the table of ops)
from jitgrad.codegen import python
from jitgrad.config import current
from jitgrad.errors import CompilationError
from jitgrad.ir.core import Block, Builder, Graph, Op
from jitgrad.ir.custom import resolve
from jitgrad.ir.printer import print_graph
from jitgrad.ir.verify import verify
from jitgrad.loopir.fetch import fetch
from jitgrad.loopir.fuse import fuse
from jitgrad.loopir.lower import lower
from jitgrad.loopir.nodes import Fail, LibCall, Program
from jitgrad.loopir.printer import print_program
from jitgrad.loopir.schedule import schedule
from jitgrad.loopir.share import share
from jitgrad.loopir.stream import stream
from jitgrad.loopir.verify import verify as verify_program
from jitgrad.loopir.walk import statements
from jitgrad.passes import pipeline
from jitgrad.runtime import cache
from jitgrad.runtime.compiled import Executable
from jitgrad.runtime.native import compiling

if TYPE_CHECKING:
    from jitgrad.cuda.program import CudaExecutable


def optimise(graph: Graph, notes: list[str] | None = None, target: str = "cpu") -> Graph:
    """Fold, simplify, share and drop ops, to a fixpoint."""
    return pipeline.optimise(graph, notes=notes, target=target)


class Stages:
    """What a graph becomes on the way to machine code. Made when it is first asked for: machine code that comes from
    the cache needs none of it. ``donated`` as in :func:`compile_graph`."""

    def __init__(self, source: Graph, donated: Mapping[int, int] | None, target: str) -> None:
        self.source, self.target = source, target
        self.donated = dict(donated or {}) if target == "cpu" else {}
        self.parallel = current().parallel and target == "cpu"
        self._made: tuple[Graph, Program, list[str]] | None = None

    @property
    def graph(self) -> Graph:
        """The optimised graph."""
        return self._all()[0]

    @property
    def program(self) -> Program:
        """The loop program."""
        return self._all()[1]

    @property
    def notes(self) -> list[str]:
        """What was done, one line each."""
        return self._all()[2]

    def _all(self) -> tuple[Graph, Program, list[str]]:
        with compiling:
            if self._made is None:
                notes: list[str] = []
                graph = optimise(self.source, notes, self.target)
                program = _checked(_lowered(graph, notes, self.donated), "lowered")
                program = _checked(fuse(program, notes, wide=self.target == "cuda"), "fused")
                if self.target == "cpu":
                    program = _checked(share(program, notes), "shared")
                if self.parallel:
                    program = _checked(schedule(program, notes), "scheduled")
                if self.target == "cpu":
                    program = _checked(stream(program, notes), "streamed")
                    program = _checked(fetch(program, notes), "fetching")
                self._made = graph, program, notes
            return self._made


def _lowered(graph: Graph, notes: list[str], donated: Mapping[int, int]) -> Program:
    """The program for a graph. Arguments are given away only to one that can't fail, and leave them half written."""
    if donated:
        made: list[str] = []
        program = lower(graph, made, donated)
        if not any(isinstance(s, (Fail, LibCall)) for s in statements(program.body)):
            notes += made
            return program
    return lower(graph, notes)


def _checked(program: Program, stage: str) -> Program:
    if current().verify:
        verify_program(program, stage)
    return program


class Compiled:
    """A compiled graph, with every stage that led to it.

    Calling it takes one array a parameter and returns a tuple of arrays. ``call`` is the fast entry of the executable.
    """

    def __init__(
        self,
        graph: Graph,
        scalar_params: tuple[bool, ...] | None = None,
        donated: Mapping[int, int] | None = None,
        target: str = "cpu",
    ) -> None:
        self._stages = Stages(graph, donated, target)
        self.executable: Executable | CudaExecutable
        self.call: Callable[[tuple[Any, ...]], Sequence[Any]]
        self._why: list[str] = []  # a line, of a program for a device that runs on the host
        if target == "cuda":
            self._for_device(scalar_params)
        else:
            self.executable = _executable(self._stages, scalar_params)
            self.call = self.executable.call

    def _for_device(self, scalar_params: tuple[bool, ...] | None) -> None:
        from jitgrad.cuda.grid import NotOnDevice
        from jitgrad.cuda.host import on_host
        from jitgrad.cuda.program import CudaExecutable

        graph = self._stages.source
        try:
            self.executable = CudaExecutable(self._stages.program)
            self.call = self.executable.call
        except NotOnDevice as reason:
            self._stages = Stages(graph, None, "cpu")
            self._why = [f"{graph.name} runs on the host: {reason.message}"]
            self.call = on_host(graph.name, reason, lambda *arrays: self.executable(*arrays))
            self.executable = _executable(self._stages, scalar_params)

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        if self._why:
            return tuple(self.call(arrays))
        return tuple(self.executable(*arrays))

    @property
    def graph(self) -> Graph:
        """The optimised graph."""
        return self._stages.graph

    @property
    def program(self) -> Program:
        """The loop program."""
        return self._stages.program

    @property
    def notes(self) -> list[str]:
        """What was rewritten, fused, kept and copied, one line each."""
        return self._stages.notes

    @property
    def stages(self) -> list[tuple[str, str]]:
        """Title and text of every stage below the source graph."""
        return [("optimised", str(self.graph)), ("loop", print_program(self.program))]

    def source(self) -> str:
        """The kernels as readable Python."""
        with compiling:
            return python.render(self.program) if isinstance(self.executable, Executable) else self.executable.source()

    def llvm(self) -> str:
        """The optimised LLVM text."""
        with compiling:
            return self.executable.llvm()

    def asm(self) -> str:
        """The machine code as assembly text: PTX for CUDA."""
        with compiling:
            return self.executable.asm()

    def explain(self) -> str:
        """What was rewritten, fused, kept, copied and placed, one line each."""
        if not isinstance(self.executable, Executable):
            return "\n".join(self.executable.explain() + self.notes)
        with compiling:
            place = self.executable.placement
        nests = sum(1 for _ in self.program.body)
        head = [
            f"kernels and library calls: {nests}",
            f"arena {place.nbytes} bytes for {len(place.places)} temporaries ({place.total} bytes without reuse)",
            f"results {sum(r.nbytes for r in self.program.results)} bytes, "
            f"constants {sum(np.asarray(c.data).nbytes for c in self.program.constants)} bytes",
        ]
        if self.executable.shared_kernels:
            head.append(f"{self.executable.shared_kernels} nests share the code of an equal one")
        if self.executable.is_loaded:
            head.append("the machine code is from the cache on disk")
        return "\n".join(self._why + head + self.notes)


def _executable(stages: Stages, scalar_params: tuple[bool, ...] | None) -> Executable:
    """From the cache, else compiled and put there."""
    key = _key(stages, scalar_params)
    if key is None:
        return Executable(stages.program, scalar_params)
    constants = _constants(stages.source.block)
    entry = cache.find(key)
    if entry is not None:
        try:
            return Executable.loaded(entry, constants, lambda: stages.program)
        except CompilationError:  # the threads that it needs can't be started
            raise
        except (RuntimeError, LookupError, TypeError, ValueError):  # it can't be linked, or is none of ours
            cache.reject(key)
    executable = Executable(stages.program, scalar_params)
    cache.keep(key, executable.stored(constants))
    return executable


def _key(stages: Stages, scalar_params: tuple[bool, ...] | None) -> str | None:
    """The key of a program in the cache; None where it can't be there."""
    if not current().cache or current().backend != "llvm":
        return None
    graph = stages.source
    if not all(type(op.opdef).__module__.startswith("jitgrad.") for op in _ops(graph.block)):
        return None  # what the user's own ops are compiled to may change from run to run
    names = [graph.name, *(v.name for v in graph.params)]  # error messages have them; those in the text are changed
    try:
        text = print_graph(graph, locations=False, digests=True)
    except TypeError:  # an attribute has no text
        return None
    facts = (names, scalar_params, sorted(stages.donated.items()), stages.parallel)
    return cache.key_of([text, repr(facts)])


def _ops(block: Block) -> Iterator[Op]:
    """All ops of a block and of its regions."""
    for op in block.ops:
        yield op
        for region in op.regions:
            yield from _ops(region)


def _constants(block: Block) -> list[np.ndarray]:
    """The arrays that are constants of a graph, in order; and the handles of the generators that it draws from."""
    found = (op.attrs.get("value") if op.name == "constant" else _handle(op) for op in _ops(block))
    return [array for array in found if array is not None]


def _handle(op: Op) -> np.ndarray | None:
    return op.attrs["source"].array if op.name == "generator" else None


def _with_sites(graph: Graph) -> Graph:
    """The graph with the ops that make generators numbered in order, so that equal graphs have equal texts; the graph
    itself where there are none."""
    if not any("site" in op.attrs for op in _ops(graph.block)):
        return graph
    b = Builder(graph.name)
    env = {p: b.param(p.type, p.name) for p in graph.params}
    for op in graph.ops:
        b.copy(op, env)
    new = b.build(*(env[r] for r in graph.results))
    for k, op in enumerate(op for op in _ops(new.block) if "site" in op.attrs):
        op.attrs = {**op.attrs, "site": k}
    return new


def compile_graph(
    graph: Graph,
    scalar_params: tuple[bool, ...] | None = None,
    donated: Mapping[int, int] | None = None,
    target: str | None = None,
) -> Compiled:
    """Compile a graph for a target, that of ``config`` unless it is given.

    ``scalar_params`` tells for each parameter whether it comes as a scalar object (a float or NumPy scalar, for 0-d
    parameters) rather than as an array. ``donated`` gives, by parameter, the result that is its new value: that is
    written into the array that is passed, which then is the result. If the program may fail, it is an array of its own.
    """
    with compiling:
        if current().verify:
            verify(graph, "source")
        return Compiled(_with_sites(resolve(graph)), scalar_params, donated, target or current().target)
