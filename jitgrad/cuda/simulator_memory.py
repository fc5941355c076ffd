"""Memory of simulated kernels: every access is checked, and races between threads are found.

For each element the memory keeps who wrote it last, and two of those who have read it. An access is *ordered after*
another one if a barrier lies between them that both threads took part in, or if one thread makes both. Two accesses
that are not ordered race unless both are reads or both are atomic, whichever comes first: so races are found in any
order of the threads.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.cuda.simulator_scalars import CONVERSIONS
from jitgrad.errors import KernelAlignmentError, KernelBoundsError, KernelError, KernelRaceError


class Fault(Exception):
    """What is wrong with an access, for the simulator to raise with the place in the kernel."""

    def __init__(self, kind: type[KernelError], message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Stamp(NamedTuple):
    """Who accesses memory, and how many barriers came before."""

    block: int
    warp: int
    thread: int
    grid_barriers: int = 0
    block_barriers: int = 0
    warp_barriers: int = 0


class Clock:
    """The stamp of the thread that runs now."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = Stamp(0, 0, 0)


def _is_ordered(before: Stamp, now: Stamp) -> bool:
    if before.grid_barriers != now.grid_barriers:
        return True
    if before.block != now.block:
        return False
    if before.thread == now.thread or before.block_barriers != now.block_barriers:
        return True
    return before.warp == now.warp and before.warp_barriers != now.warp_barriers


def _distance(a: Stamp, b: Stamp) -> int:
    return 2 if a.block != b.block else int(a.warp != b.warp)


class Shadow:
    """The last accesses to every element of one piece of memory."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.writes: dict[int, Stamp] = {}
        self.reads: dict[int, tuple[Stamp, ...]] = {}
        self.atomics: dict[int, tuple[Stamp, ...]] = {}

    def read(self, place: int) -> Stamp | None:
        """Note that the thread reads; returns whom it races with."""
        now = self.clock.now
        before = self.writes.get(place)
        if before is not None and not _is_ordered(before, now):
            return before
        self._note(self.reads, place, now)
        return self._unordered(self.atomics, place, now)

    def write(self, place: int) -> Stamp | None:
        now = self.clock.now
        before = self.writes.get(place)
        if before is not None and not _is_ordered(before, now):
            return before
        self.writes[place] = now
        return self._unordered(self.reads, place, now) or self._unordered(self.atomics, place, now)

    def update(self, place: int) -> Stamp | None:
        """Note that the thread reads and writes in one atomic step."""
        now = self.clock.now
        before = self.writes.get(place)
        if before is not None and not _is_ordered(before, now):
            return before
        self._note(self.atomics, place, now)
        return self._unordered(self.reads, place, now)

    def _note(self, accesses: dict[int, tuple[Stamp, ...]], place: int, now: Stamp) -> None:
        """Two accesses that are not ordered are enough, as far apart as there are: what comes later and is ordered
        after both of different blocks comes after a barrier of the grid, so after all; and likewise for warps."""
        known = accesses.get(place)
        if known is None:
            accesses[place] = (now,)
            return
        if known[-1] is now:
            return
        kept = tuple(stamp for stamp in known if not _is_ordered(stamp, now))
        if len(kept) < 2:
            accesses[place] = (*kept, now)
        elif _distance(kept[0], now) > _distance(*kept):
            accesses[place] = (kept[0], now)

    def _unordered(self, accesses: dict[int, tuple[Stamp, ...]], place: int, now: Stamp) -> Stamp | None:
        for stamp in accesses.get(place, ()):
            if not _is_ordered(stamp, now):
                return stamp
        return None


class Pointer:
    """A flat piece of memory that kernels index.

    ``first`` and ``step`` say where elements lie in the shadow; ``offset`` is that of the first one in its
    allocation, in bytes.
    """

    __slots__ = ("dtype", "first", "name", "offset", "shadow", "size", "step", "values")

    def __init__(
        self, name: str, values: np.ndarray, shadow: Shadow, first: int = 0, step: int = 1, offset: int = 0
    ) -> None:
        self.name, self.values, self.size, self.dtype = name, values, values.size, values.dtype
        self.shadow, self.first, self.step, self.offset = shadow, first, step, offset

    def __getitem__(self, index: Any) -> Any:
        at = self._checked(index, "reads")
        self._access(at, self.shadow.read, "reads")
        return self.values[at]

    def __setitem__(self, index: Any, value: Any) -> None:
        at = self._checked(index, "writes")
        self._access(at, self.shadow.write, "writes")
        self.values[at] = value

    def __iter__(self) -> Any:
        raise TypeError("a pointer has no length")

    def update(self, index: Any, value: Any, function: Callable[[Any, Any], Any]) -> None:
        """``p[i] = function(p[i], value)`` as one atomic step."""
        at = self._checked(index, "writes")
        self._access(at, self.shadow.update, "updates")
        self.values[at] = function(self.values[at], CONVERSIONS[self.dtype.name](value))

    def load(self, index: Any, width: int) -> tuple[Any, ...]:
        at = self._vector(index, width, "reads")
        return tuple([self[at + k] for k in range(width)])

    def store(self, index: Any, *values: Any) -> None:
        at = self._vector(index, len(values), "writes")
        for k, value in enumerate(values):
            self[at + k] = value

    def _checked(self, index: Any, verb: str) -> int:
        at = operator.index(index)
        if not 0 <= at < self.size:
            raise Fault(
                KernelBoundsError,
                f"{verb} element {at} of {self.name}, which has {self.size}. A GPU would touch whatever memory lies "
                "there. Compare the index with the extent first, or launch fewer threads.",
            )
        if verb == "writes" and not self.values.flags.writeable:
            raise Fault(
                KernelError,
                f"writes to {self.name}, which is read-only. The array that was passed for it can't be written. "
                "Pass another one, or write elsewhere.",
            )
        return at

    def _access(self, at: int, note: Callable[[int], Stamp | None], verb: str) -> None:
        place = self.first + at * self.step
        for k in range(place, place + self.step):
            other = note(k)
            if other is not None:
                raise self._race(at, verb, other)

    def _race(self, at: int, verb: str, other: Stamp) -> Fault:
        if other.block != self.shadow.clock.now.block:
            who, remedy = f"thread {other.thread} of block {other.block}", "grid_sync(), another launch"
        else:
            who, remedy = f"thread {other.thread} of the same block", "cuda.syncthreads()"
        return Fault(
            KernelRaceError,
            f"{verb} element {at} of {self.name}, which {who} has touched too. Nothing orders the two, and one of "
            f"them at least is a write that is not atomic. Put {remedy} or an atomic between or around them.",
        )

    def _vector(self, index: Any, width: int, verb: str) -> int:
        at = operator.index(index)
        nbytes = self.dtype.itemsize * width
        if nbytes != 16 and not (self.dtype.name in ("float16", "uint16") and width == 4):
            raise Fault(
                KernelAlignmentError,
                f"{verb} {width} elements of {self.dtype} at once. Vectors have 16 bytes. Use load4 and store4 for "
                "dtypes of 4 bytes, float16 and uint16, load2 and store2 for those of 8.",
            )
        if (self.offset + at * self.dtype.itemsize) % nbytes:
            raise Fault(
                KernelAlignmentError,
                f"{verb} {width} elements of {self.name} from element {at} on, {self.offset} bytes into its "
                "allocation. A vector's address must be a multiple of {nbytes} bytes. Use single elements there.",
            )
        return at


def pointers(names: Sequence[str], arrays: Sequence[np.ndarray], clock: Clock) -> list[Pointer]:
    """Pointers to arrays, of which some may share memory: those have one shadow."""
    spans = [np.lib.array_utils.byte_bounds(a) if a.size else (a.ctypes.data,) * 2 for a in arrays]
    result: dict[int, Pointer] = {}
    group: list[int] = []
    end = 0
    for i in [*sorted(range(len(arrays)), key=lambda i: spans[i]), None]:
        if i is not None and (not group or spans[i][0] < end):
            group.append(i)
            end = max(end, spans[i][1])
            continue
        if group:
            start = spans[group[0]][0]
            grain = math.gcd(*[n for k in group for n in (arrays[k].itemsize, spans[k][0] - start)])
            shadow = Shadow(clock)
            for k in group:
                first, step = (spans[k][0] - start) // grain, arrays[k].itemsize // grain
                result[k] = Pointer(names[k], arrays[k].reshape(-1), shadow, first, step, _offset(arrays[k]))
        if i is not None:
            group, end = [i], spans[i][1]
    return [result[i] for i in range(len(arrays))]


def _offset(array: np.ndarray) -> int:
    """How many bytes into its allocation an array starts."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return array.ctypes.data - owner.ctypes.data
