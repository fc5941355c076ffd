"""Compiled programs for CUDA, and how they run.

A program is a list of steps (``grid``): launches of its kernels, library calls, sequences of those. Its temporaries lie
in one arena on the device, which it keeps; results are new arrays from the device's pool. All of it goes to the main
stream of the device, and a call returns before it is done, unless the program may fail: then the call waits, to raise
the error.

Calls with the same arguments' and results' memory, as in a training loop, are captured into a graph the second time
and replayed from then on. Library calls that can't be captured stay between graphs of what is before and after them.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.config import current
from jitgrad.cuda.array import DeviceArray, contiguous_strides, is_foreign
from jitgrad.cuda.compiler import Cubin, compile_kernels, ptx
from jitgrad.cuda.devices import Device, device, put_leaf
from jitgrad.cuda.driver import Code, Span, Stream, aligned
from jitgrad.cuda.grid import LEAST, plan
from jitgrad.cuda.libraries import CAPTURABLE, STATUS, Operand, statuses
from jitgrad.cuda.render import Module, render
from jitgrad.cuda.sorting import SORTS, describe, kernels
from jitgrad.cuda.steps import Launch, Repeat, Step
from jitgrad.cuda.teams import static_trips
from jitgrad.cuda.vectors import BYTES
from jitgrad.errors import ArgumentError, CompilationError, DeviceError
from jitgrad.ir.index import Sym
from jitgrad.loopir.buffers import Placement, place
from jitgrad.loopir.failures import exception
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import Block, Buffer, LibCall, Program, Stmt

#: Graphs kept for one program: sets of addresses that it is called with.
_GRAPHS = 8
#: Threads of a block that the registers must be enough for: 128 registers each, or 255.
THREADS = (512, 1)


class CudaExecutable:
    """A compiled program for CUDA, with the interface of ``jitgrad.runtime.compiled.Executable``."""

    backend = "cuda"
    is_loaded = False
    shared_kernels = 0

    def __init__(self, program: Program, least: int = LEAST) -> None:
        self.program = program
        self.plans = plan(program, least)
        self.module = render(self.plans)
        self._strides = [contiguous_strides(t.static_shape, t.dtype.itemsize) for t in program.params]
        self._lock = threading.RLock()
        self._loaded: dict[Device, _Loaded] = {}

    @functools.cached_property
    def placement(self) -> Placement:
        """Where the temporaries lie in the arena."""
        return place(with_body(self.program, map(_as_statement, self.plans.steps)))

    @functools.cached_property
    def sorts(self) -> dict[tuple[str, np.dtype], Code]:
        """The kernels of the sorts that are called, by the library function and the dtype of the keys."""
        found = dict.fromkeys((s.fn, s.ins[0].dtype) for s in _calls(self.plans.steps) if s.fn in SORTS)
        return {key: kernels(*key) for key in found}

    @property
    def signatures(self) -> dict[str, tuple[Any, ...]]:
        """The parameters of each kernel, as the kernel compiler takes them."""
        return {k.name: k.signature for k in self.module.kernels.values()}

    def cubin(self, arch: str) -> Cubin:
        """The machine code of the kernels. Registers are bounded as if blocks had more threads, so that many threads
        fit on a multiprocessor; less so where registers would go to memory otherwise."""
        cubin = None
        for least in THREADS:
            threads = {k.name: max(k.launch.block, least) for k in self.module.kernels.values()}
            cubin = compile_kernels(self.module.text, self.signatures, arch, threads=threads)
            if not any(k.spill_bytes for k in cubin.kernels.values()):
                break
        assert cubin is not None
        return cubin

    def on(self, where: Device) -> _Loaded:
        """The program on a device, compiled and loaded when it is first asked for."""
        with self._lock:
            if where not in self._loaded:
                self._loaded[where] = _Loaded(self, where)
            return self._loaded[where]

    def call(self, leaves: Sequence[Any]) -> list[DeviceArray]:
        """Run on arrays and numbers; those of the host are copied to the device. Returns arrays on the device.

        Raises DeviceError for arrays on different devices, and what the program raises.
        """
        where = common_device(leaves)
        arrays = []
        for leaf, t, strides in zip(leaves, self.program.params, self._strides, strict=True):
            if type(leaf) is not DeviceArray:
                leaf = put_leaf(np.asarray(leaf, t.dtype) if not is_foreign(leaf) else leaf, where)
            if leaf.strides != strides:
                leaf = leaf.contiguous()
            arrays.append(leaf.copy() if leaf.address % BYTES else leaf)  # a slice may start anywhere
        loaded = self._loaded.get(where)
        return (loaded or self.on(where)).run(arrays)

    def __call__(self, *arrays: Any) -> list[DeviceArray]:
        """As :meth:`call`, with the arrays as arguments."""
        params = self.program.params
        if len(arrays) != len(params):
            raise ArgumentError(
                f"{self.program.name} takes {len(params)} arrays, not {len(arrays)}. Compiled graphs take one array "
                "for each parameter. Pass them in the order of the parameters."
            )
        return self.call(arrays)

    def source(self) -> str:
        """The kernels, and those of library calls that are jitgrad's own."""
        texts = [f"# {name} of {dtype}\n{code.source}" for (name, dtype), code in self.sorts.items()]
        return "\n\n".join([self.module.text, *texts] if self.module.text else texts)

    def asm(self, arch: str | None = None) -> str:
        """The kernels as PTX, for the default device or another architecture."""
        own = Code(self.module.text, self.signatures)
        found = [ptx(code.source, code.signatures, arch or device().arch) for code in (own, *self.sorts.values())]
        return "\n".join(text for kernels in found for text in kernels.values())

    def llvm(self) -> str:
        """Raises CompilationError: there is no such text."""
        raise CompilationError(
            f"there is no LLVM text of {self.program.name}: its kernels are compiled by NVIDIA's compiler. "
            "source() gives their Python, asm() their PTX."
        )

    def explain(self) -> list[str]:
        """What runs on the device, one line each."""
        place = self.placement
        lines = [
            f"launches and library calls: {len(self.plans.steps)}",
            f"arena {place.nbytes} bytes for {len(place.places)} temporaries ({place.total} bytes without reuse)",
            f"results {sum(r.nbytes for r in self.program.results)} bytes, "
            f"constants {sum(np.asarray(c.data).nbytes for c in self.program.constants)} bytes",
        ]
        for s in self.plans.steps:
            lines += _described(s)
        if self.module.slots or any(_statuses(s) for s in _calls(self.plans.steps)):
            lines.append("a call waits until the program is done, because it may fail")
        return lines


def _described(s: Step, indent: str = "") -> list[str]:
    if isinstance(s, Launch):
        return [f"{indent}{s.name}: {s.describe()}"]
    if isinstance(s, LibCall):
        if s.fn in SORTS:
            return [f"{indent}call {s.fn}: {describe(dict(s.static))}"]
        return [f"{indent}call {s.fn}"]
    lines = [f"{indent}{static_trips(s.loop)} times:"]
    for x in s.steps:
        lines += _described(x, indent + "  ")
    return lines


def _calls(steps: Sequence[Step]) -> list[LibCall]:
    return [s for s, _ in _with_times(steps) if isinstance(s, LibCall)]


def _as_statement(s: Step) -> Stmt:
    """What a step does, as one statement: temporaries live for whole steps."""
    if isinstance(s, Launch):
        return Block(s.body)
    return s if isinstance(s, LibCall) else Block(tuple(map(_as_statement, s.steps)))


def _statuses(s: LibCall) -> int:
    """How many words a library call may leave a failure in."""
    return statuses(s.fn, dict(s.static))


def common_device(leaves: Sequence[Any]) -> Device:
    """The device of the arrays; the default device where they are all on the host."""
    found = {x.device: k for k, x in reversed(list(enumerate(leaves))) if isinstance(x, DeviceArray)}
    if len(found) > 1:
        (first, j), (second, k), *_ = sorted(found.items(), key=lambda pair: pair[1])
        raise DeviceError(
            f"array {j} of the arguments is on {first}, array {k} on {second}. A program runs on one device. Move one "
            "with jitgrad.device_put(x, device)."
        )
    return next(iter(found), None) or device()


class _Check(NamedTuple):
    """Words of the status area that say whether a step failed. ``call`` is the library call, None for a kernel."""

    first: int
    count: int
    call: LibCall | None


class _Loaded:
    """A program on one device."""

    def __init__(self, executable: CudaExecutable, where: Device) -> None:
        self.program, self.plans, self.module = executable.program, executable.plans, executable.module
        self.device, self.driver = where, where.driver
        signatures = executable.signatures
        cubin = executable.cubin(where.arch) if self.driver.needs_cubin else None
        self.kernels = self.driver.load(Code(self.module.text, signatures, cubin)).kernels
        self.constants = {t: where.put(np.ascontiguousarray(t.data)) for t in executable.program.constants}
        self.lock = threading.Lock()  # the arena is one call's at a time
        self.graphs: OrderedDict[tuple[int, ...], list[Any] | None] = OrderedDict()
        self.checks: list[_Check] = []
        self.words: dict[LibCall, int] = {}
        count = self.module.slots
        for s, times in _with_times(self.plans.steps):
            if isinstance(s, LibCall) and _statuses(s):
                self.words[s] = count
                self.checks.append(_Check(count, _statuses(s) * times, s))
                count += _statuses(s) * times
            elif isinstance(s, Launch) and _fails(self.module, s):
                self.checks.append(_Check(self.module.kernels[s].status or 0, 1, None))
        self.count = count
        calls = _calls(self.plans.steps)
        self.parts = _parts(self.plans.steps)
        self.captured = all(part.captured for part in self.parts)
        place = executable.placement
        self.places = place.places
        self.status_at = aligned(place.nbytes)
        scratch = [where.libraries.scratch(s.fn, s.ins[0].dtype, dict(s.static)) for s in calls]
        self.scratch_at = self.status_at + aligned(4 * count)
        nbytes = self.scratch_at + max(scratch, default=0)
        self.arena = where.pool.allocate(nbytes, f"the temporaries of {self.program.name}") if nbytes else None
        self.blocks, self.results = _result_blocks(self.program)

    def run(self, arrays: Sequence[DeviceArray]) -> list[DeviceArray]:
        """Run on contiguous arrays of this device."""
        results = []
        memories = [self.device.pool.allocate(nbytes, what) for nbytes, what in self.blocks]
        for shape, dtype, strides, block, offset in self.results:
            results.append(DeviceArray(self.device, memories[block], shape, dtype, strides, offset))
        addresses = (current().tf32, *[a.address for a in arrays], *[a.address for a in results])
        with self.lock:
            graphs = self.graphs.get(addresses)
            if graphs is None:
                self._enqueue(self._memory(arrays, results), addresses)
            else:
                self.graphs.move_to_end(addresses)
                self._replay(graphs, {} if self.captured else self._memory(arrays, results))
            if self.count:
                self._check(results)
        return results if self.program.record is None else results[:-1]

    def _memory(self, arrays: Sequence[DeviceArray], results: Sequence[DeviceArray]) -> dict[Buffer, int]:
        """The address of every root buffer."""
        memory = {t: a.address for t, a in zip(self.program.params, arrays, strict=True)}
        memory |= {t.root: a.address for t, a in zip(self.program.results, results, strict=True)}
        memory |= {t: a.address for t, a in self.constants.items()}
        hosts: dict[Buffer | None, int] = {None: 0 if self.arena is None else self.arena.address, **memory}
        return memory | {t: hosts[result] + offset for t, (result, offset) in self.places.items()}

    def _enqueue(self, memory: Mapping[Buffer, int], addresses: tuple[int, ...]) -> None:
        """Give a call to the device that is no replay. What is in ``addresses`` is fixed in its graphs."""
        if not any(part.captured for part in self.parts):
            self._replay([None] * len(self.parts), memory)
            return
        if addresses in self.graphs:
            self._times: dict[LibCall, int] = {}
            graphs = [self._captured(part, memory) if part.captured else None for part in self.parts]
            self.graphs[addresses] = graphs
            self._replay(graphs, memory)
        else:
            self.graphs[addresses] = None
            self._replay([None] * len(self.parts), memory)
        self.graphs.move_to_end(addresses)
        while len(self.graphs) > _GRAPHS:
            self.graphs.popitem(last=False)

    def _captured(self, part: _Part, memory: Mapping[Buffer, int]) -> Any:
        """A graph of a part of a call."""

        def record(stream: Stream) -> None:
            if part is self.parts[0]:
                self._clear(stream)
            self._steps(part.steps, memory, {}, stream)

        return self.driver.capture(record)

    def _replay(self, graphs: Sequence[Any], memory: Mapping[Buffer, int]) -> None:
        """A call: graphs of its parts, or None where the steps are given to the device one by one."""
        self._times = {}
        for part, graph in zip(self.parts, graphs, strict=True):
            if graph is not None:
                self.driver.replay(graph)
                continue
            if part is self.parts[0]:
                self._clear(None)
            self._steps(part.steps, memory, {}, None)

    def _clear(self, stream: Stream | None) -> None:
        """No step has failed yet."""
        if self.count:
            assert self.arena is not None
            self.driver.fill(self.arena.address + self.status_at, 0, 4 * self.count, stream)

    def _steps(
        self, steps: Sequence[Step], memory: Mapping[Buffer, int], values: dict[Sym, int], stream: Stream | None
    ) -> None:
        for s in steps:
            if isinstance(s, Launch):
                self._launch(s, memory, values, stream)
            elif isinstance(s, LibCall):
                self._call(s, memory, stream)
            else:
                assert isinstance(s.loop.lo, int) and isinstance(s.loop.hi, int)
                for value in range(s.loop.lo, s.loop.hi, s.loop.step):
                    self._steps(s.steps, memory, {**values, s.loop.var: value}, stream)

    def _launch(
        self, s: Launch, memory: Mapping[Buffer, int], values: Mapping[Sym, int], stream: Stream | None
    ) -> None:
        if not s.grid:
            return
        kernel = self.module.kernels[s]
        args: list[Any] = [Span(memory[root], root.nbytes) for root, _ in kernel.pointers]
        if kernel.status is not None:
            assert self.arena is not None
            args.append(Span(self.arena.address + self.status_at, 4 * self.count))
        args += [values[v] for v in kernel.variables]
        self.driver.launch(self.kernels[s.name], s.grid, s.block, args, stream=stream)

    def _call(self, s: LibCall, memory: Mapping[Buffer, int], stream: Stream | None) -> None:
        outs, ins = (
            [Operand(memory[t.root], t.dtype, math.prod(t.static_shape)) for t in ts] for ts in (s.outs, s.ins)
        )
        static = dict(s.static)
        base = self.arena.address if self.arena is not None else 0
        info = 0
        if s in self.words:
            done = self._times.get(s, 0)
            self._times[s] = done + 1
            info = base + self.status_at + 4 * (self.words[s] + done * _statuses(s))
        self.device.libraries.call(s.fn, outs, ins, static, info, base + self.scratch_at, stream)

    def _check(self, results: Sequence[DeviceArray]) -> None:
        """Wait for the status, and raise what it says: the failure that comes first in the program."""
        assert self.arena is not None
        found = np.empty(self.count, np.int32)
        self.driver.copy_out(found, self.arena.address + self.status_at)
        for first, count, call in self.checks:
            words = found[first : first + count]
            if not words.any():
                continue
            if call is not None:
                raise exception(STATUS[call.fn], [call], None)
            failure = self.module.failures[len(self.module.failures) - int(words.max())]
            record = None if self.program.record is None else results[-1].numpy()
            raise exception(failure.code, [failure], record)


class _Part(NamedTuple):
    """Steps that follow each other, and whether they can be captured into a graph."""

    steps: tuple[Step, ...]
    captured: bool


def _parts(steps: Sequence[Step]) -> list[_Part]:
    """A program in as few parts as possible; there is at least one."""
    groups = itertools.groupby(steps, lambda s: all(call.fn in CAPTURABLE for call in _calls((s,))))
    return [_Part(tuple(group), captured) for captured, group in groups] or [_Part((), captured=True)]


#: Results up to so many bytes share one block of memory.
_SMALL = 1 << 16


class _Result(NamedTuple):
    """What a result is, and where: at which offset of which of the blocks."""

    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]
    block: int
    offset: int


def _result_blocks(program: Program) -> tuple[list[tuple[int, str]], list[_Result]]:
    """The blocks of memory for the results of a call: bytes, and what for; and the results."""
    blocks: list[tuple[int, str]] = []
    results: list[_Result] = []
    shared, used = None, 0
    for t in program.results:
        strides = contiguous_strides(t.static_shape, t.dtype.itemsize)
        if t.nbytes > _SMALL:
            results.append(_Result(t.static_shape, t.dtype, strides, len(blocks), 0))
            blocks.append((t.nbytes, f"result {t.name} of {program.name}"))
            continue
        if shared is None or used + t.nbytes > 4 * _SMALL:
            shared, used = len(blocks), 0
            blocks.append((0, f"results of {program.name}"))
        results.append(_Result(t.static_shape, t.dtype, strides, shared, used))
        used += aligned(t.nbytes)
        blocks[shared] = used, blocks[shared][1]
    return blocks, results


def _fails(module: Module, s: Launch) -> bool:
    status = module.kernels[s].status
    return status is not None and status >= 0


def _with_times(steps: Sequence[Step], times: int = 1) -> list[tuple[Launch | LibCall, int]]:
    """Launches and library calls, with how often each runs."""
    found: list[tuple[Launch | LibCall, int]] = []
    for s in steps:
        if isinstance(s, Repeat):
            found += _with_times(s.steps, times * (static_trips(s.loop) or 0))
        else:
            found.append((s, times))
    return found
