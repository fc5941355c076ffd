"""What every call does around the native program, as two builtin functions of machine code: look at the argument
arrays, and allocate the results. In Python they cost 0.2 and 0.15 us an array, more than all else together.

``matcher`` and ``allocator`` describe arrays in a ``bytes`` object. It is bound to a builtin function as its ``self``,
so that a call hands over nothing but the arguments. The code for all of them is compiled once a process, in a few
milliseconds, or comes from the cache on disk; that of the pool follows when a result is large. It reads the fields of
``ndarray`` and ``dtype`` objects, whose places are checked when it is loaded. Both run under the interpreter's lock, as
functions of an extension module do.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding

from jitgrad.config import current
from jitgrad.errors import CompilationError
from jitgrad.ir.types import is_bfloat16
from jitgrad.runtime import cache, pool
from jitgrad.runtime.linker import Linked, link
from jitgrad.runtime.objects import NONE, ONE, MethodDef, builtin
from jitgrad.runtime.pool import LARGE, Pool
from jitgrad.runtime.workspace import arena_size, release_arena

_HEADER = object.__basicsize__
_TYPE = _HEADER - 8
_ITEMS = tuple.__basicsize__
_BYTES = bytes.__basicsize__ - 1  # the last byte of the basic size is the final zero

# PyArrayObject_fields (numpy/ndarraytypes.h): data, nd, dimensions, strides, base, descr, flags.
_NDIM, _DIMS, _DTYPE, _FLAGS = (_HEADER + n for n in (8, 16, 40, 48))
# PyArray_Descr: typeobj, then the characters kind, type, byteorder, flags, and the number of the type.
_BYTEORDER, _NUMBER = _HEADER + 10, _HEADER + 12
#: C-contiguous and aligned.
_WANTED = 0x1 | 0x100

#: Records of ``matches``: how many; for each its type, the numbers of fitting dtypes as bits (0 for what is no array),
#: its extents. Records of ``allocate``: how many; for each its dtype object, the handler of its memory or 0, and its
#: extents. Extents are their number, then each.
_CODE = f"""
define ptr @matches(ptr %self, ptr %leaves) {{
start:
  %records = getelementptr i8, ptr %self, i64 {_BYTES}
  %count = load i64, ptr %records
  %first = getelementptr i64, ptr %records, i64 1
  %size.at = getelementptr i8, ptr %leaves, i64 {_HEADER}
  %size = load i64, ptr %size.at
  %size.fits = icmp eq i64 %size, %count
  br i1 %size.fits, label %next, label %end
next:
  %k = phi i64 [ 0, %start ], [ %k.next, %fits ]
  %record = phi ptr [ %first, %start ], [ %following, %fits ]
  %done = icmp eq i64 %k, %count
  br i1 %done, label %end, label %look
look:
  %items = getelementptr i8, ptr %leaves, i64 {_ITEMS}
  %item = getelementptr ptr, ptr %items, i64 %k
  %array = load ptr, ptr %item
  %type.at = getelementptr i8, ptr %array, i64 {_TYPE}
  %type = load ptr, ptr %type.at
  %type.wanted = load ptr, ptr %record
  %type.fits = icmp eq ptr %type, %type.wanted
  %bits.at = getelementptr i64, ptr %record, i64 1
  %bits = load i64, ptr %bits.at
  %ndim.wanted.at = getelementptr i64, ptr %record, i64 2
  %ndim.wanted = load i64, ptr %ndim.wanted.at
  %dims.wanted = getelementptr i64, ptr %record, i64 3
  br i1 %type.fits, label %kind, label %end
kind:
  %is.array = icmp ne i64 %bits, 0
  br i1 %is.array, label %fields, label %fits
fields:
  %flags.at = getelementptr i8, ptr %array, i64 {_FLAGS}
  %flags = load i32, ptr %flags.at
  %flags.wanted = and i32 %flags, {_WANTED}
  %flags.fit = icmp eq i32 %flags.wanted, {_WANTED}
  %dtype.at = getelementptr i8, ptr %array, i64 {_DTYPE}
  %dtype = load ptr, ptr %dtype.at
  %number.at = getelementptr i8, ptr %dtype, i64 {_NUMBER}
  %number = load i32, ptr %number.at
  %known = icmp ult i32 %number, 63
  %number.wide = zext i32 %number to i64
  %shift = select i1 %known, i64 %number.wide, i64 63
  %bit = shl i64 1, %shift
  %bits.common = and i64 %bits, %bit
  %number.among = icmp ne i64 %bits.common, 0
  %numbers = icmp sgt i64 %bits, 0
  %number.known = and i1 %numbers, %known
  %number.fits.1 = and i1 %number.known, %number.among
  %dtype.address = ptrtoint ptr %dtype to i64
  %address = or i64 %dtype.address, {-(2**63)}
  %number.fits.2 = icmp eq i64 %bits, %address
  %number.fits = or i1 %number.fits.1, %number.fits.2
  %byteorder.at = getelementptr i8, ptr %dtype, i64 {_BYTEORDER}
  %byteorder = load i8, ptr %byteorder.at
  %native = icmp eq i8 %byteorder, {ord("=")}
  %byte = icmp eq i8 %byteorder, {ord("|")}
  %order.fits = or i1 %native, %byte
  %ndim.at = getelementptr i8, ptr %array, i64 {_NDIM}
  %ndim = load i32, ptr %ndim.at
  %ndim.have = zext i32 %ndim to i64
  %ndim.fits = icmp eq i64 %ndim.have, %ndim.wanted
  %fit.1 = and i1 %flags.fit, %number.fits
  %fit.2 = and i1 %order.fits, %ndim.fits
  %fit = and i1 %fit.1, %fit.2
  %dims.at = getelementptr i8, ptr %array, i64 {_DIMS}
  %dims = load ptr, ptr %dims.at
  br i1 %fit, label %extent, label %end
extent:
  %axis = phi i64 [ 0, %fields ], [ %axis.next, %same ]
  %dims.done = icmp eq i64 %axis, %ndim.wanted
  br i1 %dims.done, label %fits, label %compare
compare:
  %have.at = getelementptr i64, ptr %dims, i64 %axis
  %have = load i64, ptr %have.at
  %wanted.at = getelementptr i64, ptr %dims.wanted, i64 %axis
  %wanted = load i64, ptr %wanted.at
  %equal = icmp eq i64 %have, %wanted
  br i1 %equal, label %same, label %end
same:
  %axis.next = add i64 %axis, 1
  br label %extent
fits:
  %k.next = add i64 %k, 1
  %following = getelementptr i64, ptr %dims.wanted, i64 %ndim.wanted
  br label %next
end:
  %answer = phi i64 [ 0, %start ], [ 1, %next ], [ 0, %look ], [ 0, %fields ], [ 0, %compare ]
  %result = call ptr @jitgrad_PyBool_FromLong(i64 %answer)
  ret ptr %result
}}

define ptr @allocate(ptr %self, ptr %nothing) {{
start:
  %records = getelementptr i8, ptr %self, i64 {_BYTES}
  %count = load i64, ptr %records
  %first = getelementptr i64, ptr %records, i64 1
  %tuple = call ptr @jitgrad_PyTuple_New(i64 %count)
  %none = icmp eq ptr %tuple, null
  br i1 %none, label %end, label %next
next:
  %k = phi i64 [ 0, %start ], [ %k.next, %keep ]
  %record = phi ptr [ %first, %start ], [ %following, %keep ]
  %done = icmp eq i64 %k, %count
  br i1 %done, label %end, label %make
make:
  %dtype = load ptr, ptr %record
  call void @jitgrad_Py_IncRef(ptr %dtype)
  %handler.at = getelementptr i64, ptr %record, i64 1
  %handler = load ptr, ptr %handler.at
  %ndim.at = getelementptr i64, ptr %record, i64 2
  %ndim = load i64, ptr %ndim.at
  %ndim.int = trunc i64 %ndim to i32
  %dims = getelementptr i64, ptr %record, i64 3
  %usual = icmp eq ptr %handler, null
  br i1 %usual, label %plain, label %pooled
plain:
  %array.plain = call ptr @jitgrad_PyArray_Empty(i32 %ndim.int, ptr %dims, ptr %dtype, i32 0)
  br label %made
pooled:
  %before = call ptr @jitgrad_PyDataMem_SetHandler(ptr %handler)
  %unset = icmp eq ptr %before, null
  br i1 %unset, label %fail, label %hold
hold:
  %array.pooled = call ptr @jitgrad_PyArray_Empty(i32 %ndim.int, ptr %dims, ptr %dtype, i32 0)
  %ours = call ptr @jitgrad_PyDataMem_SetHandler(ptr %before)
  call void @jitgrad_Py_DecRef(ptr %before)
  call void @jitgrad_Py_DecRef(ptr %ours)
  br label %made
made:
  %array = phi ptr [ %array.plain, %plain ], [ %array.pooled, %hold ]
  %failed = icmp eq ptr %array, null
  br i1 %failed, label %fail, label %keep
keep:
  %items = getelementptr i8, ptr %tuple, i64 {_ITEMS}
  %item = getelementptr ptr, ptr %items, i64 %k
  store ptr %array, ptr %item
  %k.next = add i64 %k, 1
  %following = getelementptr i64, ptr %dims, i64 %ndim
  br label %next
fail:
  call void @jitgrad_Py_DecRef(ptr %tuple)
  br label %end
end:
  %result = phi ptr [ null, %start ], [ %tuple, %next ], [ null, %fail ]
  ret ptr %result
}}

declare ptr @jitgrad_PyBool_FromLong(i64)
declare ptr @jitgrad_PyTuple_New(i64)
declare void @jitgrad_Py_IncRef(ptr)
declare void @jitgrad_Py_DecRef(ptr)
declare ptr @jitgrad_PyArray_Empty(i32, ptr, ptr, i32)
declare ptr @jitgrad_PyDataMem_SetHandler(ptr)
"""


class _Code(NamedTuple):
    """``linked`` owns the machine code of the two methods."""

    linked: Linked
    matches: MethodDef
    allocate: MethodDef


def matcher(leaves: Iterable[tuple[type, np.dtype | None, tuple[int, ...]]]) -> Callable[[tuple[Any, ...]], bool]:
    """A function of a tuple: has it as many items, and are they of these types, which must be there for good? Where
    there is a dtype the item is an array: is it of that dtype and shape, C-contiguous, aligned and in native byte
    order?"""
    words: list[int] = []
    expected = list(leaves)
    for cls, dtype, shape in expected:
        words += (id(cls), 0 if dtype is None else _numbers(dtype), len(shape), *shape)
    return _builtin(_code().matches, [len(expected), *words])


def allocator(arrays: Iterable[tuple[tuple[int, ...], np.dtype]]) -> Callable[[], tuple[np.ndarray, ...]]:
    """A function that makes a tuple of uninitialised arrays of these shapes and dtypes; large ones in the pool."""
    words: list[int] = []
    made, pooled = list(arrays), current().pool
    for shape, dtype in made:
        found = _pool() if pooled and math.prod(shape) * dtype.itemsize >= LARGE else None
        # the one object for the dtype, which stays
        one = np.dtype(dtype.type if is_bfloat16(dtype) else dtype.char)
        words += (id(one), 0 if found is None else id(found.capsule), len(shape), *shape)
    return _builtin(_code().allocate, [len(made), *words])


def release_memory() -> int:
    """Give back to the system what is kept for the next calls: the memory of large results that were dropped, and this
    thread's memory for temporaries. How many bytes that is."""
    size = arena_size()
    release_arena()
    kept = _pool() if _pool.cache_info().currsize else None  # nothing is compiled for this
    if kept is not None:
        size += kept.held
        kept.release()
    return size


def _numbers(dtype: np.dtype) -> int:
    """The numbers of the types that are this dtype, as bits: on some systems long and long long are the same. bfloat16
    has no number of its own: the address of its object, which stays, below bit 63."""
    if is_bfloat16(dtype):
        return id(np.dtype(dtype.type)) - 2**63
    return sum(
        1 << np.dtype(c).num
        for c in "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]
        if np.dtype(c) == dtype
    )


def _builtin(method: MethodDef, words: list[int]) -> Any:
    return builtin(method, np.array(words, np.int64).tobytes())


@functools.cache
def _code() -> _Code:
    _check_layouts()
    table = np._core._multiarray_umath._ARRAY_API  # pyright: ignore[reportAttributeAccessIssue]
    address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )(table, None)
    called = ("PyBool_FromLong", "PyTuple_New", "Py_IncRef", "Py_DecRef")
    known = {f"jitgrad_{name}": ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value for name in called}
    for name, place in (("PyArray_Empty", 184), ("PyDataMem_SetHandler", 304)):  # numpy/__multiarray_api.h
        known[f"jitgrad_{name}"] = _word(address + 8 * place)
    linked = _linked(_CODE, ("matches", "allocate"), known)
    matches = MethodDef(b"matches", linked.addresses["matches"], ONE, None)
    allocate = MethodDef(b"allocate", linked.addresses["allocate"], NONE, None)
    return _Code(linked, matches, allocate)


@functools.cache
def _pool() -> Pool | None:
    """The pool of this process, where there can be one."""
    if not pool.available():
        return None
    linked = _linked(pool.CODE, pool.EXPORTS, pool.symbols())
    # Arrays call it when they are dropped, after all modules perhaps.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(linked))
    return Pool(linked.addresses)


def _linked(text: str, exports: Sequence[str], known: Mapping[str, int | None]) -> Linked:
    """The machine code of a module that calls what is ``known`` by its address."""
    for name, value in known.items():
        binding.add_symbol(name, value)
    return link([_object_code(text)], exports, known)


def _object_code(text: str) -> bytes:
    """The machine code as an object file: from the cache, else compiled and put there."""
    key = cache.key_of([text]) if current().cache else None
    entry = cache.find(key, count=False) if key else None
    if entry is not None and len(entry.parts) == 1:
        return bytes(entry.parts[0])
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    # Without passes over the machine code: a call takes the same time, and this is done in 5 ms in place of 20.
    machine = binding.Target.from_default_triple().create_target_machine(opt=0, reloc="pic", jit=True)
    code = machine.emit_object(binding.parse_assembly(text))
    if key:
        cache.keep(key, cache.Entry({}, [code]))
    return code


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _check_layouts() -> None:
    """Verify the places of the fields that the code reads."""
    array, text = np.zeros((2, 3), np.float32)[:, ::1], b"jitgrad!"
    single, at = (array,), id(array)
    fine = (
        (_word(id(single) + _TYPE), _word(id(single) + _HEADER), _word(id(single) + _ITEMS)) == (id(tuple), 1, at)
        and ctypes.string_at(id(text) + _BYTES, len(text)) == text
        and ctypes.c_int32.from_address(at + _NDIM).value == 2
        and _word(at + _DTYPE) == id(array.dtype)
        and ctypes.c_int32.from_address(at + _FLAGS).value == array.flags.num
        and [_word(_word(at + _DIMS) + 8 * k) for k in range(2)] == [2, 3]
        and all(
            ctypes.c_int32.from_address(id(d) + _NUMBER).value == d.num
            and chr(ctypes.c_uint8.from_address(id(d) + _BYTEORDER).value) == d.byteorder
            for d in map(np.dtype, ("f8", "i4", "?", ">f8"))
        )
    )
    if not fine:
        raise CompilationError(
            "the memory layout of NumPy's arrays is not the expected one. jitgrad's native calls need a CPython of 64 "
            "bits with the usual objects. Use config.update(backend='python') on this interpreter."
        )
