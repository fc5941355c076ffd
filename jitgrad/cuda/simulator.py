"""A simulator for CUDA kernels: their text run by CPython, thread by thread.

It needs no GPU and no compiler. Every access to memory is checked for bounds and races, every barrier and shuffle for
threads that don't come. Blocks and threads run in an order that a seed shuffles; threads run from one barrier to the
next in one go, and races are found from what is known of barriers, not from what happened to happen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np

from jitgrad.cuda.simulator_libdevice import LIBDEVICE
from jitgrad.cuda.simulator_memory import Clock, Fault, Pointer, Shadow, Stamp, pointers
from jitgrad.cuda.simulator_scalars import CONVERSIONS, DTYPES, SHUFFLED, kernel_range
from jitgrad.cuda.simulator_text import Kernel, load
from jitgrad.errors import ArgumentError, KernelBarrierError, KernelError
from jitgrad.ir.location import Location
from jitgrad.ir.types import is_float

WARP = 32
#: Bytes of shared memory that a block can have without asking for more.
_SHARED_LIMIT = 48 * 1024
_LANES = tuple(np.int32(lane) for lane in range(WARP))


class _Thread:
    """One thread of a kernel that waits. ``request`` is what it waits for, None once it has returned; ``reply`` is what
    it gets for its last request."""

    __slots__ = ("generator", "index", "reply", "request", "stamp")

    def __init__(self, generator: Any, stamp: Stamp) -> None:
        self.generator, self.stamp = generator, stamp
        self.index = np.int32(stamp.thread)
        self.request: Any = ("start", 0)
        self.reply: Any = None


class _Block:
    """One block: its threads, warp by warp, and its shared memory."""

    def __init__(self, number: int, threads: list[_Thread]) -> None:
        self.number = number
        self.threads = threads
        self.warps = [threads[i : i + WARP] for i in range(0, len(threads), WARP)]
        self.shared: dict[tuple[int, np.dtype], Pointer] = {}


class Simulator:
    """Runs the kernels of one text.

    Parameters: ``source`` is the text; ``seed`` decides the order of blocks and threads.
    """

    def __init__(self, source: str, seed: int = 0) -> None:
        self._order = random.Random(seed)
        self._clock = Clock()
        self._cuda = SimpleNamespace(
            threadIdx=SimpleNamespace(),
            blockIdx=SimpleNamespace(),
            blockDim=SimpleNamespace(),
            gridDim=SimpleNamespace(),
            shared=SimpleNamespace(),
        )
        self._shared: dict[tuple[int, np.dtype], Pointer] = {}
        self._file, self.kernels = load(source, self._namespace())
        self._name = ""

    def launch(
        self, kernel: str, grid: int, block: int, args: Sequence[np.ndarray | np.generic], cooperative: bool = False
    ) -> None:
        """Run a kernel on ``grid`` blocks of ``block`` threads. Arrays are written in place.

        Raises: a :class:`jitgrad.errors.KernelError` at the first fault, with the thread and the line.
        """
        found = self.kernels.get(kernel)
        if found is None:
            raise ArgumentError(
                f"there is no kernel {kernel!r}. The text has {', '.join(self.kernels) or 'none'}. Name one of them."
            )
        if grid < 1 or not 1 <= block <= 1024:
            raise ArgumentError(
                f"{kernel} can't be launched on {grid} blocks of {block} threads. A grid has a block at least, and a "
                "block 1 to 1024 threads. Do without the launch where there is nothing to do."
            )
        arguments = self._arguments(kernel, found, args)
        self._name = kernel
        self._cuda.gridDim.x, self._cuda.blockDim.x = np.int32(grid), np.int32(block)
        order = list(range(grid))
        self._order.shuffle(order)
        with np.errstate(all="ignore"):
            if not found.waits:
                self._run_plain(found.function, arguments, order, block)
            elif cooperative:
                self._run_cooperative([self._start(found.function, arguments, n, block) for n in order])
            else:
                for number in order:
                    self._run_alone(self._start(found.function, arguments, number, block))

    # What kernels see.

    def _namespace(self) -> dict[str, Any]:
        return {
            "__builtins__": {},
            "range": kernel_range,
            "cuda": self._cuda,
            "libdevice": SimpleNamespace(**LIBDEVICE),
            "inf": np.float64("inf"),
            "nan": np.float64("nan"),
            "<shared>": self._shared_array,
            **CONVERSIONS,
            **_MEMORY,
        }

    def _shared_array(self, site: int, line: int, length: int, dtype: Callable[[Any], Any]) -> Pointer:
        """The array of one place in the text and the block that runs, full of garbage at first."""
        kind = DTYPES[dtype]
        found = self._shared.get((site, kind))
        if found is not None:
            return found
        size = sum(p.values.nbytes for p in self._shared.values()) + length * kind.itemsize
        if size > _SHARED_LIMIT:
            raise Fault(
                KernelError,
                f"asks for {size} bytes of shared memory in all. A block can have {_SHARED_LIMIT}. Use smaller arrays.",
            )
        values = np.frombuffer(bytearray(b"\xaa" * (length * kind.itemsize)), kind)
        if is_float(kind):
            values.fill(np.nan)
        pointer = Pointer(f"the shared array of line {line}", values, Shadow(self._clock))
        self._shared[site, kind] = pointer
        return pointer

    def _arguments(self, name: str, kernel: Kernel, args: Sequence[Any]) -> list[Any]:
        if len(args) != len(kernel.parameters):
            raise ArgumentError(
                f"{name} was launched with {len(args)} arguments. It takes {len(kernel.parameters)}: "
                f"{', '.join(kernel.parameters)}. Pass one for each."
            )
        for parameter, value in zip(kernel.parameters, args, strict=True):
            flat = isinstance(value, np.ndarray) and value.flags.c_contiguous
            if not flat and not isinstance(value, np.generic):
                raise ArgumentError(
                    f"{parameter} of {name} is {type(value).__name__}, or an array with gaps. Kernels take flat memory "
                    "and scalars of a dtype. Pass a contiguous array, or a NumPy scalar as np.uint64(n)."
                )
        arrays = [i for i, value in enumerate(args) if isinstance(value, np.ndarray)]
        made = pointers([kernel.parameters[i] for i in arrays], [args[i] for i in arrays], self._clock)
        result = list(args)
        for i, pointer in zip(arrays, made, strict=True):
            result[i] = pointer
        return result

    # How threads run.

    def _run_plain(self, function: Callable[..., Any], arguments: list[Any], order: list[int], size: int) -> None:
        """Threads that wait for nobody are calls, one after the other."""
        cuda, clock = self._cuda, self._clock
        threads = list(range(size))
        for number in order:
            cuda.blockIdx.x = np.int32(number)
            self._shared = {}
            self._order.shuffle(threads)
            for thread in threads:
                clock.now = Stamp(number, thread // WARP, thread)
                cuda.threadIdx.x, cuda.laneid = np.int32(thread), _LANES[thread % WARP]
                try:
                    function(*arguments)
                except Exception as error:  # noqa: BLE001  (raised again, as a fault of the kernel)
                    raise self._fault(error) from _cause(error)

    def _start(self, function: Callable[..., Any], arguments: list[Any], number: int, size: int) -> _Block:
        stamps = [Stamp(number, thread // WARP, thread) for thread in range(size)]
        return _Block(number, [_Thread(function(*arguments), stamp) for stamp in stamps])

    def _run_alone(self, block: _Block) -> None:
        if self._advance(block):
            return
        thread = block.threads[0]
        self._clock.now = thread.stamp
        raise self._described(
            KernelBarrierError,
            "waits for the whole grid. The launch was not cooperative, so a block can't wait for others. Launch it "
            "with cooperative=True, or split the kernel.",
            thread.request[1],
        )

    def _run_cooperative(self, blocks: list[_Block]) -> None:
        """All blocks are there at once, and wait for each other at ``grid_sync()``."""
        barriers = 0
        while True:
            finished = [self._advance(block) for block in blocks]
            if all(finished):
                return
            threads = [thread for block in blocks for thread in block.threads]
            self._meet(threads, "the threads of the grid")
            barriers += 1
            for thread in threads:
                thread.stamp = thread.stamp._replace(grid_barriers=barriers)
            self._order.shuffle(blocks)

    def _advance(self, block: _Block) -> bool:
        """Run a block until all of its threads have returned (True) or wait for the grid."""
        self._cuda.blockIdx.x = np.int32(block.number)
        self._shared = block.shared
        ready = list(block.threads)
        barriers = block.threads[0].stamp.block_barriers
        while True:
            self._order.shuffle(ready)
            for thread in ready:
                self._resume(thread)
            ready = [thread for warp in block.warps for thread in self._released(warp)]
            if ready:
                continue
            if all(thread.request is None for thread in block.threads):
                return True
            if self._meet(block.threads, f"the threads of block {block.number}") == "grid_sync":
                return False
            barriers += 1
            ready = list(block.threads)
            for thread in ready:
                thread.stamp = thread.stamp._replace(block_barriers=barriers)

    def _resume(self, thread: _Thread) -> None:
        """Run a thread until it waits or returns."""
        cuda = self._cuda
        self._clock.now = thread.stamp
        cuda.threadIdx.x, cuda.laneid = thread.index, _LANES[thread.stamp.thread % WARP]
        reply, thread.reply = thread.reply, None
        try:
            thread.request = thread.generator.send(reply)
        except StopIteration:
            thread.request = None
        except Exception as error:  # noqa: BLE001  (raised again, as a fault of the kernel)
            raise self._fault(error) from _cause(error)

    def _meet(self, threads: Iterable[_Thread], who: str) -> str:
        """The barrier that all threads wait at. Anything else is a fault."""
        places: dict[tuple[str, int], list[_Thread]] = {}
        for thread in threads:
            request = thread.request or ("", 0)
            places.setdefault((request[0], request[1]), []).append(thread)
        (kind, line), first = next(iter(places.items()))
        if len(places) == 1 and kind in ("syncthreads", "grid_sync"):
            return kind
        (kind, line), first = next(item for item in places.items() if item[0][0])
        self._clock.now = first[0].stamp
        found = "; ".join(f"{_some(group)} {_standing(*place)}" for place, group in places.items())
        raise self._described(
            KernelBarrierError,
            f"waits for threads that don't come. Of {who}, {found}. Make all of them come to the same barrier: take it "
            "out of the branch or loop that only some enter.",
            line,
        )

    def _released(self, warp: list[_Thread]) -> Iterator[_Thread]:
        """The threads of a warp whose shuffle or ``syncwarp`` has all lanes that it waits for."""
        groups: dict[tuple[str, int, int], list[_Thread]] = {}
        for thread in warp:
            request = thread.request
            if request is None or request[0] in ("syncthreads", "grid_sync"):
                continue
            mask = int(request[2]) if len(request) > 2 else 0xFFFFFFFF
            groups.setdefault((request[0], request[1], mask), []).append(thread)
        for (kind, line, mask), group in groups.items():
            expected = [thread for lane, thread in enumerate(warp) if mask >> lane & 1]
            if len(group) < len(expected):
                continue  # the others may still come
            if group != expected:
                self._clock.now = group[0].stamp
                raise self._described(
                    KernelBarrierError,
                    f"is not in the mask {mask:#x} of its own {kind}. A lane that calls it must be named. Add its bit.",
                    line,
                )
            if kind == "syncwarp":
                for thread in group:
                    thread.stamp = thread.stamp._replace(warp_barriers=thread.stamp.warp_barriers + 1)
            else:
                self._shuffle(kind, line, warp, group)
            yield from group

    def _shuffle(self, kind: str, line: int, warp: list[_Thread], group: list[_Thread]) -> None:
        requests = {thread.stamp.thread % WARP: thread.request for thread in group}
        for thread in group:
            lane, value, operand = thread.stamp.thread % WARP, thread.request[3], int(thread.request[4])
            self._clock.now = thread.stamp
            if type(value) not in SHUFFLED:
                raise self._described(
                    KernelError,
                    f"shuffles a {type(value).__name__}. Warps shuffle int32, int64, float32 and float64. Convert it.",
                    line,
                )
            source = _source(kind, lane, operand)
            if source not in requests:
                raise self._described(
                    KernelBarrierError,
                    f"takes the value of lane {source} by {kind}. The lanes that take part are "
                    f"{_some(group, WARP, 'lane')}, so the result is undefined. Launch whole warps, and shuffle within "
                    "them.",
                    line,
                )
            thread.reply = requests[source][3]

    # What is said of faults.

    def _fault(self, error: Exception) -> KernelError:
        """An error inside a kernel, with its place."""
        line = _line(error.__traceback__, self._file)
        if isinstance(error, Fault):
            return self._described(error.kind, error.message, line)
        return self._described(
            KernelError,
            f"fails: {type(error).__name__}: {error}. The text is not in the language of kernels, or computes what has "
            "no value. Correct the line.",
            line,
        )

    def _described(self, kind: type[KernelError], message: str, line: int) -> KernelError:
        stamp = self._clock.now
        text = f"thread {stamp.thread} of block {stamp.block} of kernel {self._name!r} {message}"
        result = kind(text, Location(self._file, line, self._name))
        result.kernel, result.block, result.thread = self._name, stamp.block, stamp.thread
        return result


def _cause(error: Exception) -> Exception | None:
    return None if isinstance(error, Fault) else error


def _line(traceback: TracebackType | None, file: str) -> int:
    """The innermost line of the kernels' text that a traceback passes."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _source(kind: str, lane: int, operand: int) -> int:
    """The lane that a shuffle takes its value from."""
    if kind == "shfl_xor_sync":
        return lane ^ operand
    if kind == "shfl_sync":
        return operand
    if not 0 <= operand < WARP:
        return -1
    source = lane - operand if kind == "shfl_up_sync" else lane + operand
    return source if 0 <= source < WARP else lane


def _some(threads: list[_Thread], modulus: int = 1 << 30, noun: str = "thread") -> str:
    """A few of the threads by number."""
    numbers = sorted(thread.stamp.thread % modulus for thread in threads)
    shown = f"{numbers[0]} to {numbers[-1]}" if numbers == list(range(numbers[0], numbers[-1] + 1)) else ""
    shown = shown or ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
    return f"{noun} {numbers[0]}" if len(numbers) == 1 else f"{noun}s {shown}"


def _standing(kind: str, line: int) -> str:
    return f"wait in {kind} at line {line}" if kind else "have returned"


# Functions on memory that kernels call by name. Of a maximum or minimum, NaN wins.


def _atomic(function: Callable[[Any, Any], Any], kinds: str) -> Callable[[Pointer, Any, Any], None]:
    def atomic(p: Pointer, i: Any, v: Any) -> None:
        if p.dtype.name not in kinds.split():
            raise TypeError(f"there is no such atomic operation on {p.dtype}")
        p.update(i, v, function)

    return atomic


_NUMBERS = "float32 float64 int32 int64 uint32 uint64"
_MEMORY: dict[str, Callable[..., Any]] = {
    "atomic_add": _atomic(np.add, _NUMBERS),
    "atomic_mul": _atomic(np.multiply, _NUMBERS),
    "atomic_max": _atomic(np.maximum, _NUMBERS),
    "atomic_min": _atomic(np.minimum, _NUMBERS),
    "atomic_or": _atomic(np.bitwise_or, "int32 uint32"),
    "atomic_and": _atomic(np.bitwise_and, "int32 uint32"),
    "load2": lambda p, i: p.load(i, 2),
    "load4": lambda p, i: p.load(i, 4),
    "store2": lambda p, i, a, b: p.store(i, a, b),
    "store4": lambda p, i, a, b, c, d: p.store(i, a, b, c, d),
}
