"""What the CUDA target asks of one device, and the driver that ``config.cuda_driver`` chooses.

A driver is the one way to a device: memory, copies, streams, kernels, graphs. ``driver_cuda`` has the real one,
``driver_simulated`` one whose device exists only in the memory of the host. Addresses are integers. Work goes to a
stream, in order, and runs some time later; ``stream`` is always optional, and None stands for the ``main`` stream of
the device, on which everything is that does not say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jitgrad.config import current
from jitgrad.errors import DeviceError

#: Addresses of allocations are multiples of this.
ALIGNMENT = 256


def aligned(nbytes: int) -> int:
    """The least multiple of :data:`ALIGNMENT` that is not less."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


class Properties(NamedTuple):
    """What a device is. ``arch`` is as compilers have it (``"sm_90"``), ``capability`` the same as two numbers;
    ``total_memory`` and ``shared_memory`` (the most that a block can have) are bytes."""

    name: str
    arch: str
    capability: tuple[int, int]
    total_memory: int
    multiprocessors: int
    shared_memory: int
    threads_per_multiprocessor: int
    cooperative: bool


class Span(NamedTuple):
    """A pointer argument of a kernel with the bytes that belong to it. The simulated device reports what a kernel does
    beyond them; the real one takes the address."""

    address: int
    nbytes: int


class Code(NamedTuple):
    """Kernels in the three forms that drivers take: the source text; the signature of each kernel by name (a tuple with
    a dtype for a pointer and ``("scalar", dtype)`` for a scalar); and the machine code, which the simulated driver
    does without. ``cubin`` has ``code``, the bytes, and ``kernels``, by name, with the attribute ``symbol``."""

    source: str
    signatures: Mapping[str, tuple[Any, ...]]
    cubin: Any = None


class Stream:
    """A queue of work on a device. ``handle`` is what CUDA knows it by."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.capturing = False
        self.captured_owners: set[Any] = set()  # of the kernels that are captured


class Kernel:
    """A kernel that has been loaded on a device. ``function`` is what the driver knows it by; ``owner`` keeps the code
    loaded that it belongs to."""

    def __init__(self, name: str, signature: tuple[Any, ...], function: Any, owner: Any) -> None:
        self.name, self.signature, self.function, self.owner = name, signature, function, owner


class Module(NamedTuple):
    """Loaded code: its kernels by name. It stays loaded as long as one of them, or a graph that launches one, lives."""

    kernels: Mapping[str, Kernel]


class Driver(Protocol):
    """One device; see the module's docstring. Errors that the device reports are raised as DeviceError, by whatever
    call comes to know of them first."""

    kind: str
    ordinal: int
    properties: Properties
    main: Stream
    #: Whether :meth:`load` needs ``Code.cubin``.
    needs_cubin: bool

    def allocate(self, nbytes: int) -> int | None:
        """The address of new memory, a multiple of :data:`ALIGNMENT`; None where there is none. What is in it is any
        garbage. ``nbytes`` is positive."""
        ...

    def free(self, address: int) -> None:
        """Give memory back that :meth:`allocate` returned, after waiting for the work of the main stream."""
        ...

    def discard(self, address: int, nbytes: int) -> None:
        """Say that what is in this memory is not needed after the work given to the main stream so far. The simulated
        device then overwrites it, to show who still reads it."""
        ...

    def memory_info(self) -> tuple[int, int]:
        """Bytes that are free, and all bytes."""
        ...

    def copy_in(self, target: int, source: np.ndarray, stream: Stream | None = None) -> None:
        """Copy a contiguous array of the host. The caller may write to the array as soon as this returns. Not while
        the stream is captured."""
        ...

    def copy_out(self, target: np.ndarray, source: int, stream: Stream | None = None) -> None:
        """Fill a contiguous array of the host; waits until it is there. Not while the stream is captured."""
        ...

    def copy(self, target: int, source: int, nbytes: int, stream: Stream | None = None) -> None:
        """Copy on the device. The ranges do not overlap."""
        ...

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
        """Copy ``height`` rows of ``width`` bytes each; the pitches are the bytes from one row to the next."""
        ...

    def copy_from(self, target: int, other: Driver, source: int, nbytes: int) -> None:
        """Copy from another device of the same kind, after its main stream's work and before what comes later on
        either."""
        ...

    def fill(self, address: int, byte: int, nbytes: int, stream: Stream | None = None) -> None:
        """Set every byte."""
        ...

    def load(self, code: Code) -> Module:
        """Load kernels."""
        ...

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
        """Run a kernel. Arguments are addresses or :class:`Span` for pointers, numbers for scalars. ``shared`` is
        bytes of dynamic shared memory; ``cooperative`` lets all blocks wait for one another."""
        ...

    def blocks_per_multiprocessor(self, kernel: Kernel, block: int, shared: int = 0) -> int:
        """How many blocks of a kernel fit on a multiprocessor at once. A cooperative launch can have that many times
        ``properties.multiprocessors``."""
        ...

    def enqueue(self, work: Callable[[int], None], stream: Stream | None = None) -> None:
        """Let a library add its work to a stream: ``work`` gets the stream's handle, with the device current. It is
        called once, at once, where the device is real; on the simulated device it *is* the work, and is called when
        that runs, every time that it does."""
        ...

    def capture(self, record: Callable[[Stream], None]) -> Any:
        """A graph of the work that ``record`` gives to the stream it is called with; none of it runs. What it raises
        ends the capture and is raised."""
        ...

    def replay(self, graph: Any, stream: Stream | None = None) -> None:
        """Run a graph of :meth:`capture`."""
        ...

    def new_stream(self) -> Stream:
        """Another stream; it runs beside the main stream."""
        ...

    def record(self, stream: Stream | None = None) -> Any:
        """An event: the moment when the work given to a stream so far is done."""
        ...

    def wait(self, event: Any, stream: Stream | None = None) -> None:
        """Let the work that a stream gets from now on run only after an event."""
        ...

    def wait_foreign(self, handle: int) -> None:
        """Let the main stream wait for the work that another library's stream has so far."""
        ...

    def foreign_waits(self, handle: int) -> None:
        """Let another library's stream wait for the work that the main stream has so far."""
        ...

    def elapsed(self, start: Any, end: Any) -> float:
        """Seconds between two events; waits for the second."""
        ...

    def synchronise(self, stream: Stream | None = None) -> None:
        """Wait until all work of a stream is done."""
        ...

    def owns(self, address: int) -> bool:
        """Whether an address, of whichever library's memory, is on this device."""
        ...


def refuse_capture(stream: Stream, what: str) -> None:
    """Raise DeviceError while a stream is captured. For what needs the host, which no graph can replay."""
    if stream.capturing:
        raise DeviceError(
            f"{what} is not possible while work is captured into a graph. A graph replays what the device does, "
            "without the host. Do it before the capture or after the replay."
        )


def count_devices() -> int:
    """How many devices the chosen driver has. Raises DeviceError, with the reason, where it can't be asked."""
    if current().cuda_driver == "simulated":
        from jitgrad.cuda import driver_simulated

        return driver_simulated.COUNT
    from jitgrad.cuda import driver_cuda

    return driver_cuda.count()


def open_driver(ordinal: int) -> Driver:
    """The chosen driver of a device. Raises DeviceError where there is none."""
    if current().cuda_driver == "simulated":
        from jitgrad.cuda import driver_simulated

        return driver_simulated.SimulatedDriver(ordinal)
    from jitgrad.cuda import driver_cuda

    return driver_cuda.CudaDriver(ordinal)
