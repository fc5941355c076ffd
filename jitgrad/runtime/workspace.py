"""The arena: one block of scratch memory a thread, reused from call to call."""

from __future__ import annotations

import threading

import numpy as np

_ALIGNMENT = 64


class _Arena(threading.local):
    """``address`` is aligned to a cache line and valid for ``size`` bytes while ``block`` lives."""

    def __init__(self) -> None:
        self.block = np.empty(0, np.uint8)
        self.address = 0
        self.size = 0


_arena = _Arena()


def arena_address(nbytes: int) -> int:
    """The address of at least ``nbytes`` bytes, this thread's until its next call of this function."""
    if nbytes > _arena.size:
        size = max(nbytes, 2 * _arena.size)
        _arena.block = np.empty(size + _ALIGNMENT, np.uint8)
        start = _arena.block.__array_interface__["data"][0]
        _arena.address = -(-start // _ALIGNMENT) * _ALIGNMENT
        _arena.size = size
    return _arena.address


def arena_size() -> int:
    """Bytes that this thread's arena holds."""
    return _arena.size


def release_arena() -> None:
    """Give this thread's arena back to the system; the next call makes a new one."""
    _arena.__init__()
