"""The memory pool of a device: what an array gives back is kept for the next one.

Sizes are rounded up to classes at most an eighth apart, and a block serves its own class only: programs ask for the
same sizes again and again. Blocks are never split. Everything runs on the one main stream of the device, so a block can
be handed on as soon as its array is dropped, while work on it is still under way: what comes later runs later. Who uses
an array on another stream keeps it until that work is done.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from jitgrad.cuda.driver import Driver
from jitgrad.errors import OutOfMemoryError

_LEAST = 512
#: Steps between a power of two and the next.
_STEPS = 8


def size_class(nbytes: int) -> int:
    """The size of the block that holds so many bytes."""
    if nbytes <= _LEAST:
        return _LEAST
    step = max(_LEAST, (1 << (nbytes - 1).bit_length() - 1) // _STEPS)
    return -(-nbytes // step) * step


class Memory:
    """Memory that goes back to its pool when this is dropped. ``address`` is 0 where there are no bytes."""

    __slots__ = ("__weakref__", "_pool", "address", "nbytes")

    def __init__(self, pool: Pool | None, address: int, nbytes: int) -> None:
        self._pool, self.address, self.nbytes = pool, address, nbytes

    def __del__(self) -> None:
        if self._pool is not None:
            self._pool._returned.append(self.address)  # no lock: the garbage collector may run this anywhere


class PoolStatistics(NamedTuple):
    """Bytes and blocks that are in use and that are kept for reuse; the most bytes ever in use; how many blocks were
    asked for, and how many of those had been kept. Bytes are those of the blocks."""

    in_use: int
    blocks_in_use: int
    cached: int
    blocks_cached: int
    peak: int
    requests: int
    reused: int


class Pool:
    """The pool of one device. Any thread may use it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._lock = threading.RLock()
        self._returned: deque[int] = deque()
        self._used: dict[int, tuple[int, str]] = {}  # address: size, what for
        self._free: dict[int, list[int]] = {}  # size: addresses
        self._in_use = self._cached = self._peak = self._requests = self._reused = 0

    def allocate(self, nbytes: int, what: str = "an array") -> Memory:
        """Memory for ``nbytes``; ``what`` names it in errors.

        Raises OutOfMemoryError where the device has none, after everything that was kept has been given back.
        """
        if nbytes == 0:
            return Memory(None, 0, 0)
        size = size_class(nbytes)
        with self._lock:
            self._collect()
            self._requests += 1
            kept = self._free.get(size)
            if kept:
                address = kept.pop()
                self._cached -= size
                self._reused += 1
            else:
                address = self._driver.allocate(size)
                if address is None and self._cached:
                    self.empty()
                    address = self._driver.allocate(size)
                if address is None:
                    raise OutOfMemoryError(self._report(nbytes, what))
            self._used[address] = size, what
            self._in_use += size
            self._peak = max(self._peak, self._in_use)
        return Memory(self, address, nbytes)

    def _collect(self) -> None:
        """Take in what was dropped."""
        while self._returned:
            address = self._returned.popleft()
            size, _ = self._used.pop(address)
            self._driver.discard(address, size)
            self._free.setdefault(size, []).append(address)
            self._in_use -= size
            self._cached += size

    def empty(self) -> int:
        """Give everything that is kept back to the device; returns the bytes."""
        with self._lock:
            self._collect()
            free, self._free, given, self._cached = self._free, {}, self._cached, 0
            for addresses in free.values():
                for address in addresses:
                    self._driver.free(address)
        return given

    def statistics(self) -> PoolStatistics:
        """The pool's state."""
        with self._lock:
            self._collect()
            blocks = sum(map(len, self._free.values()))
            return PoolStatistics(
                self._in_use, len(self._used), self._cached, blocks, self._peak, self._requests, self._reused
            )

    def _report(self, nbytes: int, what: str) -> str:
        """The text of an OutOfMemoryError."""
        free, total = self._driver.memory_info()
        largest = sorted(self._used.values(), reverse=True)[:3]
        blocks = ", ".join(f"{readable(size)} for {use}" for size, use in largest) or "none"
        return (
            f"there is no memory for {what} of {readable(nbytes)} on device {self._driver.ordinal} "
            f"({self._driver.properties.name}). Of its {readable(total)}, {readable(free)} are free, and arrays here "
            f"have {readable(self._in_use)} in {len(self._used)} blocks ({readable(self._cached)} more are "
            f"kept for reuse); the largest blocks: {blocks}. Drop arrays that are not needed, or use smaller ones."
        )


def readable(nbytes: int) -> str:
    """A number of bytes as text: ``"3.2 GiB"``."""
    size = float(nbytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{nbytes} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
