"""Memory of large results, kept for the next call: the system maps, zeroes and unmaps the pages of an array that is
made and dropped, which takes longer than computing it.

A pool is a handler behind NumPy's arrays (NEP 49), for results of ``LARGE`` bytes or more. A block goes to the pool
when the array that owns it is dropped, and from there to the next result of the same size. What is held never makes a
process larger than its results once were together: where no block fits, as many bytes are given back to the system as
are taken from it. Nor is it more than ``share()`` of the memory. ``release`` gives all of it back.

``jitgrad.runtime.direct`` compiles the code when the first large result is made.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

#: Smaller results are left to NumPy: the C library keeps their memory.
LARGE = 1 << 20
#: Blocks that a pool holds at most.
BLOCKS = 64
#: Of the machine's memory, what a pool may hold.
SHARE = 8
#: Large pages, which Linux gives where they are asked for.
_PAGE = 1 << 21
_MADV_HUGEPAGE = 14

#: The words of a pool: a lock, the place of the next block, bytes held, the most of them; each block: address and size.
_LOCK, _NEXT, _HELD, _MOST, _FIRST = range(5)

CODE = f"""
define internal ptr @pool_word(ptr %pool, i64 %k) {{
  %word = getelementptr i64, ptr %pool, i64 %k
  ret ptr %word
}}

define internal ptr @pool_block(ptr %pool, i64 %k) {{
  %twice = shl i64 %k, 1
  %place = add i64 %twice, {_FIRST}
  %block = getelementptr i64, ptr %pool, i64 %place
  ret ptr %block
}}

define internal void @pool_lock(ptr %pool) {{
start:
  br label %try
try:
  %pair = cmpxchg ptr %pool, i64 0, i64 1 acquire monotonic
  %got = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %got, label %end, label %try
end:
  ret void
}}

define internal void @pool_unlock(ptr %pool) {{
  store atomic i64 0, ptr %pool release, align 8
  ret void
}}

; Give back blocks of so many bytes, the oldest first: from the next place on, around the ring.
define internal void @pool_drop(ptr %pool, i64 %bytes) {{
start:
  %next.at = call ptr @pool_word(ptr %pool, i64 {_NEXT})
  %held.at = call ptr @pool_word(ptr %pool, i64 {_HELD})
  %next = load i64, ptr %next.at
  br label %look
look:
  %given = phi i64 [ 0, %start ], [ %given.new, %following ]
  %k = phi i64 [ %next, %start ], [ %k.next, %following ]
  %held = load i64, ptr %held.at
  %empty = icmp eq i64 %held, 0
  %enough = icmp uge i64 %given, %bytes
  %done = or i1 %empty, %enough
  br i1 %done, label %end, label %block
block:
  %block.at = call ptr @pool_block(ptr %pool, i64 %k)
  %size.at = getelementptr i64, ptr %block.at, i64 1
  %address = load ptr, ptr %block.at
  %size = load i64, ptr %size.at
  %none = icmp eq ptr %address, null
  br i1 %none, label %following, label %free
free:
  store ptr null, ptr %block.at
  %held.less = sub i64 %held, %size
  store i64 %held.less, ptr %held.at
  call void @jitgrad_free(ptr %address)
  br label %following
following:
  %gone = phi i64 [ 0, %block ], [ %size, %free ]
  %given.new = add i64 %given, %gone
  %k.one = add i64 %k, 1
  %k.next = urem i64 %k.one, {BLOCKS}
  br label %look
end:
  ret void
}}

define ptr @pool_malloc(ptr %pool, i64 %size) {{
start:
  call void @pool_lock(ptr %pool)
  br label %look
look:
  %k = phi i64 [ 0, %start ], [ %k.next, %other ]
  %all = icmp eq i64 %k, {BLOCKS}
  br i1 %all, label %new, label %compare
compare:
  %block.at = call ptr @pool_block(ptr %pool, i64 %k)
  %size.at = getelementptr i64, ptr %block.at, i64 1
  %address = load ptr, ptr %block.at
  %block.size = load i64, ptr %size.at
  %full = icmp ne ptr %address, null
  %same = icmp eq i64 %block.size, %size
  %fits = and i1 %full, %same
  br i1 %fits, label %take, label %other
other:
  %k.next = add i64 %k, 1
  br label %look
take:
  store ptr null, ptr %block.at
  %held.at = call ptr @pool_word(ptr %pool, i64 {_HELD})
  %held = load i64, ptr %held.at
  %held.less = sub i64 %held, %size
  store i64 %held.less, ptr %held.at
  call void @pool_unlock(ptr %pool)
  ret ptr %address
new:
  call void @pool_drop(ptr %pool, i64 %size)
  call void @pool_unlock(ptr %pool)
  %more = add i64 %size, {_PAGE - 1}
  %rounded = and i64 %more, -{_PAGE}
  %huge = icmp uge i64 %size, {2 * _PAGE}
  %alignment = select i1 %huge, i64 {_PAGE}, i64 64
  %bytes = select i1 %huge, i64 %rounded, i64 %size
  %fresh = call ptr @jitgrad_aligned_alloc(i64 %alignment, i64 %bytes)
  %got = icmp ne ptr %fresh, null
  %advise = and i1 %huge, %got
  br i1 %advise, label %pages, label %end
pages:
  %ignored = call i32 @jitgrad_madvise(ptr %fresh, i64 %bytes, i32 {_MADV_HUGEPAGE})
  br label %end
end:
  ret ptr %fresh
}}

define void @pool_free(ptr %pool, ptr %address, i64 %size) {{
start:
  %most.at = call ptr @pool_word(ptr %pool, i64 {_MOST})
  %held.at = call ptr @pool_word(ptr %pool, i64 {_HELD})
  %next.at = call ptr @pool_word(ptr %pool, i64 {_NEXT})
  %most = load i64, ptr %most.at
  %small = icmp ult i64 %size, {LARGE}
  %large = icmp ugt i64 %size, %most
  %none = icmp eq ptr %address, null
  %unfit = or i1 %small, %large
  %away = or i1 %unfit, %none
  br i1 %away, label %free, label %keep
free:
  call void @jitgrad_free(ptr %address)
  ret void
keep:
  call void @pool_lock(ptr %pool)
  %held = load i64, ptr %held.at
  %with = add i64 %held, %size
  %over = icmp ugt i64 %with, %most
  br i1 %over, label %room, label %place
room:
  %excess = sub i64 %with, %most
  call void @pool_drop(ptr %pool, i64 %excess)
  br label %place
place:
  %k = load i64, ptr %next.at
  %block.at = call ptr @pool_block(ptr %pool, i64 %k)
  %size.at = getelementptr i64, ptr %block.at, i64 1
  %old = load ptr, ptr %block.at
  %taken = icmp ne ptr %old, null
  br i1 %taken, label %evict, label %put
evict:  ; this is the oldest, so it goes
  call void @pool_drop(ptr %pool, i64 1)
  br label %put
put:
  store ptr %address, ptr %block.at
  store i64 %size, ptr %size.at
  %before = load i64, ptr %held.at
  %after = add i64 %before, %size
  store i64 %after, ptr %held.at
  %k.one = add i64 %k, 1
  %k.next = urem i64 %k.one, {BLOCKS}
  store i64 %k.next, ptr %next.at
  call void @pool_unlock(ptr %pool)
  ret void
}}

define ptr @pool_calloc(ptr %pool, i64 %count, i64 %size) {{
  %address = call ptr @jitgrad_calloc(i64 %count, i64 %size)
  ret ptr %address
}}

define ptr @pool_realloc(ptr %pool, ptr %address, i64 %size) {{
  %new = call ptr @jitgrad_realloc(ptr %address, i64 %size)
  ret ptr %new
}}

define void @pool_release(ptr %pool) {{
  call void @pool_lock(ptr %pool)
  call void @pool_drop(ptr %pool, i64 -1)
  call void @pool_unlock(ptr %pool)
  ret void
}}

declare ptr @jitgrad_aligned_alloc(i64, i64)
declare ptr @jitgrad_calloc(i64, i64)
declare ptr @jitgrad_realloc(ptr, i64)
declare void @jitgrad_free(ptr)
declare i32 @jitgrad_madvise(ptr, i64, i32)
"""

EXPORTS = ("pool_malloc", "pool_calloc", "pool_realloc", "pool_free", "pool_release")
_CALLED = ("aligned_alloc", "calloc", "realloc", "free", "madvise")


class _Handler(ctypes.Structure):
    """PyDataMem_Handler."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p),
        ("calloc", ctypes.c_void_p),
        ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    )


class Pool:
    """The pool of this process, given the addresses of the code. ``capsule`` is what NumPy takes as a handler.

    It is never freed, as arrays may live longer than all modules.
    """

    def __init__(self, addresses: dict[str, int]) -> None:
        self._words = (ctypes.c_int64 * (_FIRST + 2 * BLOCKS))()
        self._words[_MOST] = share()
        self._release = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(addresses["pool_release"])
        functions = (addresses[f"pool_{name}"] for name in ("malloc", "calloc", "realloc", "free"))
        handler = _Handler(b"jitgrad", 1, ctypes.addressof(self._words), *functions)
        new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        self.capsule: Any = new(("PyCapsule_New", ctypes.pythonapi))(ctypes.addressof(handler), b"mem_handler", None)
        for kept in (self._words, handler, self.capsule):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))

    @property
    def held(self) -> int:
        """Bytes that no array uses."""
        return self._words[_HELD]

    def release(self) -> None:
        """Give back what is held."""
        self._release(ctypes.addressof(self._words))


def share() -> int:
    """The most bytes that a pool holds."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE


def available() -> bool:
    """Whether results can have a pool here: on Linux, whose calls for memory it uses."""
    return sys.platform == "linux"


def symbols() -> dict[str, int | None]:
    """The addresses of what the code calls, by name."""
    process = ctypes.CDLL(None)
    return {f"jitgrad_{name}": ctypes.cast(getattr(process, name), ctypes.c_void_p).value for name in _CALLED}
