"""A device that exists only in the memory of the host, for tests without a GPU.

Its memory is a set of allocations with made-up addresses, which no processor can use by mistake. Each is filled with
garbage when it is made (every byte 0xFF: NaN as a float, -1 as an integer). An access to memory that was freed, or
beyond an allocation, is a DeviceError that names it. Kernels are run by the simulator of the kernel language, library
calls by NumPy and SciPy.

Work runs at once, or, with ``lazy``, when something waits for it, as on a real device. A stream that is captured
collects its work in a list, which a replay runs again.
"""

from __future__ import annotations

import bisect
import functools
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.cuda.driver import (
    ALIGNMENT,
    Code,
    Driver,
    Kernel,
    Module,
    Properties,
    Span,
    Stream,
    aligned,
    refuse_capture,
)
from jitgrad.errors import DeviceError

#: How many simulated devices there are.
COUNT = 2

GARBAGE = 0xFF

#: The first address of the first device, and how far the devices are apart. No processor has such addresses.
_FIRST, _APART = 1 << 60, 1 << 56
#: Bytes between allocations.
_GAP = 1 << 20

Work = Callable[[], None]


class _Allocation:
    def __init__(self, number: int, address: int, nbytes: int) -> None:
        self.number, self.address, self.nbytes = number, address, nbytes
        raw = np.full(nbytes + ALIGNMENT, GARBAGE, np.uint8)
        start = -raw.__array_interface__["data"][0] % ALIGNMENT
        self.data = raw[start : start + nbytes]
        self.alive = True

    def __str__(self) -> str:
        return f"allocation {self.number} ({self.nbytes} bytes at {self.address:#x})"


class _Queue(Stream):
    """A stream. ``recorded`` is the work of a capture, ``pending`` what a lazy stream has still to do."""

    def __init__(self, handle: int) -> None:
        super().__init__(handle)
        self.pending: deque[Work] = deque()
        self.recorded: list[Work] = []


class _Event:
    def __init__(self, stream: _Queue) -> None:
        self.stream, self.time = stream, float("nan")


class SimulatedDriver(Driver):
    """The driver of a simulated device; see the module's docstring.

    ``seed`` chooses the order in which the simulator runs threads. ``launches`` counts the kernels that were run.
    """

    kind = "simulated"
    needs_cubin = False

    def __init__(
        self, ordinal: int = 0, total_memory: int = 1 << 32, arch: str = "sm_90", seed: int = 0, lazy: bool = False
    ) -> None:
        capability = divmod(int(arch.removeprefix("sm_")), 10)
        self.ordinal, self.seed, self.lazy = ordinal, seed, lazy
        self.properties = Properties("simulated", arch, capability, total_memory, 4, 100_000, 2048, True)
        self.main: Stream = _Queue(_FIRST + ordinal * _APART)
        self.launches = 0
        self._next = _FIRST + ordinal * _APART + _GAP
        self._addresses: list[int] = []  # of all allocations ever made, ascending
        self._allocations: dict[int, _Allocation] = {}
        self._used = 0

    # Memory

    def allocate(self, nbytes: int) -> int | None:
        if nbytes < 1:
            raise DeviceError(
                f"{nbytes} bytes can't be allocated. Allocations have at least one byte. Ask for no memory for an "
                "empty array."
            )
        if self._used + nbytes > self.properties.total_memory:
            return None
        address = self._next
        self._next += aligned(nbytes) + _GAP
        self._addresses.append(address)
        self._allocations[address] = _Allocation(len(self._addresses), address, nbytes)
        self._used += nbytes
        return address

    def free(self, address: int) -> None:
        allocation = self._allocations.get(address)
        if allocation is None or not allocation.alive:
            what = f"{allocation} was freed before" if allocation else f"{address:#x} is not the start of an allocation"
            raise DeviceError(f"memory can't be freed: {what}. Free every allocation once, by its own address.")
        self.synchronise()
        allocation.alive = False
        allocation.data = allocation.data[:0]
        self._used -= allocation.nbytes

    def discard(self, address: int, nbytes: int) -> None:
        self.fill(address, GARBAGE, nbytes)

    def memory_info(self) -> tuple[int, int]:
        return self.properties.total_memory - self._used, self.properties.total_memory

    def view(self, address: int, nbytes: int | None = None, dtype: Any = np.uint8) -> np.ndarray:
        """The memory at an address as a flat array: ``nbytes`` of it, or all to the end of the allocation.

        Raises DeviceError where that is not memory of one allocation that is in use.
        """
        itemsize = np.dtype(dtype).itemsize
        if nbytes == 0:
            return np.empty(0, dtype)
        k = bisect.bisect_right(self._addresses, address) - 1
        allocation = self._allocations[self._addresses[k]] if k >= 0 else None
        start = address - allocation.address if allocation else 0
        if allocation is None or start >= allocation.nbytes + _GAP:
            raise DeviceError(
                f"{address:#x} is no address of simulated device {self.ordinal}. No allocation is there. Pass the "
                "address of device memory."
            )
        if not allocation.alive:
            raise DeviceError(
                f"{address:#x} is in {allocation}, which was freed. Its memory may belong to another array by now. "
                "Keep the memory until the work on it is done."
            )
        size = (allocation.nbytes - start) // itemsize * itemsize if nbytes is None else nbytes
        if start + size > allocation.nbytes or start >= allocation.nbytes:
            raise DeviceError(
                f"an access to {size} bytes from byte {start} of {allocation} is out of bounds. What lies beyond is "
                "not known. Access only what was allocated."
            )
        if start % itemsize:
            raise DeviceError(
                f"byte {start} of {allocation} can't be the start of elements of {np.dtype(dtype)}. A device reads "
                f"elements at multiples of their size, {itemsize}. Align the address."
            )
        return allocation.data[start : start + size].view(dtype)

    def live(self) -> list[tuple[int, int]]:
        """Address and size of every allocation that has not been freed."""
        return [(a.address, a.nbytes) for a in self._allocations.values() if a.alive]

    def check_leaks(self) -> None:
        """Raise DeviceError where an allocation has not been freed."""
        leaks = [str(a) for a in self._allocations.values() if a.alive]
        if leaks:
            raise DeviceError(
                f"{len(leaks)} allocations were not freed: {'; '.join(leaks[:8])}. Nothing will free them any more. "
                "Free what is allocated."
            )

    def owns(self, address: int) -> bool:
        return 0 <= address - _FIRST - self.ordinal * _APART < _APART

    # Copies

    def copy_in(self, target: int, source: np.ndarray, stream: Stream | None = None) -> None:
        refuse_capture(stream or self.main, "a copy from the host")
        data = _bytes(source).copy()  # the caller may write to the array
        self._add(lambda: _assign(self.view(target, data.nbytes), data), stream)

    def copy_out(self, target: np.ndarray, source: int, stream: Stream | None = None) -> None:
        refuse_capture(stream or self.main, "a copy to the host")
        self.synchronise(stream)
        _assign(_bytes(target), self.view(source, target.nbytes))

    def copy(self, target: int, source: int, nbytes: int, stream: Stream | None = None) -> None:
        self._add(lambda: _assign(self.view(target, nbytes), self.view(source, nbytes)), stream)

    def copy_rows(
        self,
        target: int,
        target_pitch: int,
        source: int,
        source_pitch: int,
        width: int,
        height: int,
        stream: Stream | None = None,
    ) -> None:
        if min(target_pitch, source_pitch) < width:
            raise DeviceError(
                f"rows of {width} bytes can't be {min(target_pitch, source_pitch)} bytes apart. They would overlap. "
                "Pass pitches of at least the width."
            )

        def work() -> None:
            for row in range(height):
                _assign(self.view(target + row * target_pitch, width), self.view(source + row * source_pitch, width))

        self._add(work, stream)

    def copy_from(self, target: int, other: Driver, source: int, nbytes: int) -> None:
        assert isinstance(other, SimulatedDriver)
        other.synchronise()
        self.copy_in(target, other.view(source, nbytes))

    def fill(self, address: int, byte: int, nbytes: int, stream: Stream | None = None) -> None:
        self._add(lambda: self.view(address, nbytes).fill(byte), stream)

    # Kernels

    def load(self, code: Code) -> Module:
        from jitgrad.cuda.simulator import Simulator  # pyright: ignore[reportMissingImports]

        simulator = Simulator(code.source, self.seed)
        kernels = {name: Kernel(name, signature, simulator, simulator) for name, signature in code.signatures.items()}
        return Module(kernels)

    def launch(
        self,
        kernel: Kernel,
        grid: int,
        block: int,
        args: Sequence[Any],
        shared: int = 0,
        cooperative: bool = False,
        stream: Stream | None = None,
    ) -> None:
        if len(args) != len(kernel.signature):
            raise DeviceError(
                f"the kernel {kernel.name} got {len(args)} arguments, not {len(kernel.signature)}. It has that many "
                "parameters. Pass one for each."
            )
        if grid < 1 or not 1 <= block <= 1024:
            raise DeviceError(
                f"the kernel {kernel.name} can't run on {grid} blocks of {block} threads. A grid has at least one "
                "block, and a block 1 to 1024 threads. Launch nothing for no work."
            )
        args = tuple(args)

        def work() -> None:
            values = [self._argument(a, kind) for a, kind in zip(args, kernel.signature, strict=True)]
            kernel.function.launch(kernel.name, grid, block, values, cooperative=cooperative)
            self.launches += 1

        self._add(work, stream)

    def _argument(self, value: Any, kind: Any) -> Any:
        """An argument as the simulator takes it: a flat array, or a number of the dtype."""
        if isinstance(kind, tuple):
            return kind[1].type(value)
        address, nbytes = value if isinstance(value, Span) else (value, None)
        return np.empty(0, kind) if address == 0 else self.view(address, nbytes, kind)

    def blocks_per_multiprocessor(self, kernel: Kernel, block: int, shared: int = 0) -> int:
        return max(1, self.properties.threads_per_multiprocessor // block)

    # Streams

    def enqueue(self, work: Callable[[int], None], stream: Stream | None = None) -> None:
        self._add(lambda: work((stream or self.main).handle), stream)

    def _add(self, work: Work, stream: Stream | None) -> None:
        queue = stream or self.main
        assert isinstance(queue, _Queue)
        if queue.capturing:
            queue.recorded.append(work)
        elif self.lazy:
            queue.pending.append(work)
        else:
            work()

    def capture(self, record: Callable[[Stream], None]) -> list[Work]:
        queue = _Queue(self.main.handle + 1)
        queue.capturing = True
        try:
            record(queue)
        finally:
            queue.capturing = False
        return queue.recorded

    def replay(self, graph: list[Work], stream: Stream | None = None) -> None:
        for work in graph:
            self._add(work, stream)

    def new_stream(self) -> Stream:
        return _Queue(self.main.handle + 2)

    def record(self, stream: Stream | None = None) -> _Event:
        queue = stream or self.main
        assert isinstance(queue, _Queue)
        event = _Event(queue)

        def happen() -> None:
            event.time = time.perf_counter()

        self._add(happen, queue)
        return event

    def wait(self, event: _Event, stream: Stream | None = None) -> None:
        self._add(functools.partial(self.synchronise, event.stream), stream)

    def wait_foreign(self, handle: int) -> None:
        """Nothing: no other library has a stream here."""

    def foreign_waits(self, handle: int) -> None:
        self.synchronise()

    def elapsed(self, start: _Event, end: _Event) -> float:
        self.synchronise(start.stream)
        self.synchronise(end.stream)
        return end.time - start.time

    def synchronise(self, stream: Stream | None = None) -> None:
        queue = stream or self.main
        refuse_capture(queue, "waiting for a stream")
        assert isinstance(queue, _Queue)
        while queue.pending:
            queue.pending.popleft()()


def _bytes(array: np.ndarray) -> np.ndarray:
    """The elements of a C-contiguous array as bytes, without a copy."""
    assert array.flags.c_contiguous
    return array.reshape(-1).view(np.uint8)


def _assign(target: np.ndarray, source: np.ndarray) -> None:
    target[...] = source
