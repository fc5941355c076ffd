"""What the text of kernels sees when it is compiled: Numba's CUDA compiler, and operations that it lacks.

It has atomic operations for arrays but not for pointers, no accesses of several elements at once, and a barrier of the
grid only in a library. They are written here as LLVM instructions.

numba-cuda is an optional dependency, and imported when it is first needed.

The text imports nothing. Besides plain control flow, arithmetic and tuples it has these names:

* ``cuda.threadIdx.x``, ``blockIdx``, ``blockDim``, ``gridDim``, ``cuda.laneid``, all int32; grids have one dimension
* ``cuda.syncthreads()``, ``cuda.syncwarp()``, ``grid_sync()`` in cooperative launches, ``cuda.shfl_*_sync``
* ``cuda.shared.array(32, float32)`` of a literal length, garbage at first
* dtypes as conversions, ``libdevice.expf`` and the like, ``@device`` before a function that kernels call
* ``atomic_add(p, i, v)``, ``mul``, ``max``, ``min``, ``or``, ``and``; ``load4(p, i)``, ``store4(p, i, a, b, c, d)`` for
  dtypes of 4 bytes, float16 and uint16, ``load2`` and ``store2`` for those of 8

Numba's types hold: integers are computed in 64 bits, signed if an operand is, so what is to wrap around at 32 bits is
converted (``uint32(a * b)``); a literal that is not converted is an int64 or a float64.
"""

from __future__ import annotations

import functools
import importlib
import operator
import warnings
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from jitgrad.errors import CompilationError

DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_NUMBERS = "float32 float64 int32 int64 uint32 uint64"

_i1, _i32, _i64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


@functools.cache
def numba_cuda() -> Any:
    """The module ``numba.cuda`` of numba-cuda; that which comes with Numba is an old one.

    Its warnings, of what it deprecates and of drivers that are missing, are dropped.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import numba_cuda  # noqa: F401  # pyright: ignore[reportMissingImports]
            from cuda.bindings import nvjitlink, nvvm  # pyright: ignore[reportMissingImports]
            from numba import cuda
            from numba.cuda import extending, libdevice, types  # noqa: F401  # pyright: ignore[reportMissingImports]

            for library in (nvvm, nvjitlink):
                library.version()  # loads it
    except (ImportError, OSError, RuntimeError) as error:
        raise CompilationError(
            f"kernels can't be compiled for CUDA ({_first_line(error)}). Numba's CUDA compiler is a package of its "
            'own, and it or a part of it is not installed. Install it with: pip install "jitgrad[cuda]", or '
            '"jitgrad[cuda12]" for a driver of CUDA 12.'
        ) from error
    return cuda


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__


def numba_module(name: str) -> Any:
    """A module of ``numba.cuda`` by its name in it."""
    numba_cuda()
    return importlib.import_module(f"numba.cuda.{name}")


def kernel_globals() -> dict[str, Any]:
    """The globals of one text of kernels. Device functions are compiled with each text anew."""
    device = numba_cuda().jit(device=True)
    return {**_namespace(), "device": device, "grid_sync": device(_grid_barrier())}


@functools.cache
def _namespace() -> dict[str, Any]:
    cuda = numba_cuda()
    names: dict[str, Any] = {name: getattr(cuda.types, name) for name in DTYPES}
    names |= {"bool_": cuda.types.boolean, "cuda": cuda, "libdevice": cuda.libdevice}
    names |= {f"atomic_{name}": _atomic(name) for name in ("add", "mul", "max", "min", "or", "and")}
    names |= {"inf": float("inf"), "nan": float("nan")}
    names |= {"load2": _load(2), "load4": _load(4), "store2": _store2(), "store4": _store4()}
    return names


# Pointers.


@functools.cache
def _pointer_class() -> Any:
    """The type of pointers. Numba's own can't point to bools, which are bits in registers and bytes in memory.

    What ``const`` pointers lead to does not change while the kernel runs, and is read through the cache for such data.
    """
    cuda = numba_cuda()
    types, extending = cuda.types, cuda.extending

    class Pointer(types.CPointer):
        def __init__(self, dtype: Any, const: bool) -> None:
            super().__init__(dtype)
            self.const = const
            self.name = f"{'const_' if const else ''}{dtype}*"

        @property
        def key(self) -> Any:
            return self.dtype, self.const

    extending.register_model(Pointer)(extending.core_models.PointerModel)

    @extending.lower_builtin(operator.getitem, Pointer, types.Integer)
    def getitem(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        value = _read(builder, kind, builder.gep(*_split(args)))
        return context.data_model_manager[kind.dtype].from_data(builder, value)

    @extending.lower_builtin(operator.setitem, Pointer, types.Integer, types.Any)
    def setitem(context: Any, builder: Any, signature: Any, args: Any) -> None:
        kind = signature.args[0]
        value = context.data_model_manager[kind.dtype].as_data(builder, args[2])
        builder.store(value, builder.gep(*_split(args)))

    return Pointer


def _split(args: Any) -> tuple[Any, list[Any]]:
    return args[0], [args[1]]


def pointer_type(dtype: Any, const: bool) -> Any:
    """Numba's type of a pointer to elements of one of its types."""
    return _pointer_class()(dtype, const)


def _read(builder: Any, pointer: Any, address: Any, align: int | None = None) -> Any:
    if not getattr(pointer, "const", False):
        return builder.load(address, align=align)
    value = builder.load(builder.addrspacecast(address, address.type.pointee.as_pointer(1)), align=align)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


# Places in memory.


def _named(function: Callable[..., Any], name: str) -> Any:
    """An intrinsic that errors call by the name that kernels have for it."""
    function.__name__ = name
    return numba_cuda().extending.intrinsic(function)


def _is_place(pointer: Any, index: Any) -> bool:
    types = numba_cuda().types
    return isinstance(pointer, (types.CPointer, types.Array)) and isinstance(index, types.Integer)


def _address(context: Any, builder: Any, kinds: tuple[Any, ...], pointer: Any, index: Any) -> Any:
    """The address of an element."""
    types = numba_cuda().types
    if isinstance(kinds[0], types.Array):
        pointer = context.make_array(kinds[0])(context, builder, pointer).data
    wide = types.int64 if kinds[1].signed else types.uint64
    return builder.gep(pointer, [context.cast(builder, index, kinds[1], wide)])


# Atomic operations.


def _atomic(name: str) -> Any:
    """``atomic_NAME(p, i, v)``: one element is replaced by its combination with a value, in one step."""
    cuda = numba_cuda()
    allowed = ("int32 uint32" if name in ("or", "and") else _NUMBERS).split()

    def atomic(typingctx: Any, pointer: Any, index: Any, value: Any) -> Any:
        if not _is_place(pointer, index) or str(pointer.dtype) not in allowed:
            return None
        signature = cuda.types.void(pointer, index, pointer.dtype)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = pointer.dtype
            address = _address(context, builder, signature.args, args[0], args[1])
            if isinstance(kind, cuda.types.Integer) and name != "mul":
                sign = "" if kind.signed or name not in ("max", "min") else "u"
                builder.atomic_rmw(sign + name, address, args[2], "monotonic")
            elif name == "add":
                _add_float(builder, address, args[2], isinstance(pointer, cuda.types.Array))
            else:
                _replace(builder, address, args[2], _COMBINATIONS[name])
            return context.get_dummy_value()

        return signature, generate

    return _named(atomic, f"atomic_{name}")


def _add_float(builder: Any, address: Any, value: Any, shared: bool) -> None:
    """In assembly: of LLVM's two ways to say it, no version of NVVM takes the same one for all architectures."""
    space, where = (3, "shared") if shared else (1, "global")
    letter, bits = ("f", 32) if isinstance(value.type, ir.FloatType) else ("d", 64)
    place = builder.addrspacecast(address, address.type.pointee.as_pointer(space))
    _assembly(builder, ir.VoidType(), f"red.{where}.add.f{bits} [$0], $1;", f"l,{letter},~{{memory}}", [place, value])


def _largest(builder: Any, old: Any, value: Any) -> tuple[Any, Any]:
    """Whether a value replaces the old one, and by what. A NaN does, and is not replaced."""
    wins = builder.fcmp_ordered(">", value, old)
    return builder.or_(wins, builder.fcmp_unordered("uno", value, value)), value


def _smallest(builder: Any, old: Any, value: Any) -> tuple[Any, Any]:
    wins = builder.fcmp_ordered("<", value, old)
    return builder.or_(wins, builder.fcmp_unordered("uno", value, value)), value


def _product(builder: Any, old: Any, value: Any) -> tuple[Any, Any]:
    multiply = builder.mul if isinstance(value.type, ir.IntType) else builder.fmul
    return _i1(1), multiply(old, value)


_COMBINATIONS: dict[str, Callable[..., tuple[Any, Any]]] = {"max": _largest, "min": _smallest, "mul": _product}


def _replace(builder: Any, address: Any, value: Any, combine: Callable[..., tuple[Any, Any]]) -> None:
    """An atomic operation by compare-and-swap: again and again until nobody came between."""
    kind = value.type
    bits = _i64 if isinstance(kind, ir.DoubleType) else _i32 if isinstance(kind, ir.FloatType) else kind
    place = builder.bitcast(address, bits.as_pointer())
    first = builder.load(place)
    before = builder.block
    loop, swap = builder.append_basic_block("loop"), builder.append_basic_block("swap")
    done = builder.append_basic_block("done")
    builder.branch(loop)

    builder.position_at_end(loop)
    old = builder.phi(bits)
    replaces, new = combine(builder, builder.bitcast(old, kind), value)
    builder.cbranch(replaces, swap, done)

    builder.position_at_end(swap)
    result = builder.cmpxchg(place, old, builder.bitcast(new, bits), "monotonic", "monotonic")
    seen = builder.extract_value(result, 0)
    builder.cbranch(builder.icmp_unsigned("==", seen, old), done, loop)
    old.add_incoming(first, before)
    old.add_incoming(seen, swap)
    builder.position_at_end(done)


# Accesses of 16 bytes.


def _is_vector(pointer: Any, index: Any, width: int) -> bool:
    if not _is_place(pointer, index):
        return False
    return getattr(pointer.dtype, "bitwidth", 0) * width == 128 or (
        str(pointer.dtype) in ("float16", "uint16") and width == 4
    )


def _vector(builder: Any, address: Any, width: int) -> Any:
    return builder.bitcast(address, ir.VectorType(address.type.pointee, width).as_pointer())


def _load(width: int) -> Any:
    """``load4(p, i)``: four elements from ``p[i]`` on."""
    cuda = numba_cuda()

    def load(typingctx: Any, pointer: Any, index: Any) -> Any:
        if not _is_vector(pointer, index, width):
            return None
        signature = cuda.types.UniTuple(pointer.dtype, width)(pointer, index)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            address = _address(context, builder, signature.args, *args)
            vector = _read(builder, pointer, _vector(builder, address, width), pointer.dtype.bitwidth * width // 8)
            elements = [builder.extract_element(vector, _i32(k)) for k in range(width)]
            return context.make_tuple(builder, signature.return_type, elements)

        return signature, generate

    return _named(load, f"load{width}")


def _store2() -> Any:
    """``store2(p, i, a, b)``: two elements from ``p[i]`` on."""

    def store(typingctx: Any, pointer: Any, index: Any, a: Any, b: Any) -> Any:
        return _store_signature(pointer, index, 2)

    return _named(store, "store2")


def _store4() -> Any:
    def store(typingctx: Any, pointer: Any, index: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return _store_signature(pointer, index, 4)

    return _named(store, "store4")


def _store_signature(pointer: Any, index: Any, width: int) -> Any:
    if not _is_vector(pointer, index, width):
        return None
    return numba_cuda().types.void(pointer, index, *[pointer.dtype] * width), _store


def _store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = _address(context, builder, signature.args, args[0], args[1])
    values = args[2:]
    vector = ir.Constant(ir.VectorType(values[0].type, len(values)), ir.Undefined)
    for k, value in enumerate(values):
        vector = builder.insert_element(vector, value, _i32(k))
    bits = signature.args[0].dtype.bitwidth * len(values)
    builder.store(vector, _vector(builder, address, len(values)), align=bits // 8)
    return context.get_dummy_value()


# The barrier of the grid.


@functools.cache
def _grid_barrier() -> Callable[[], None]:
    """``grid_sync()``, as a function to compile.

    The driver gives each cooperative launch a word that starts at any value. The blocks together add 2**31 to it: all
    but the first add 1, which is what the first leaves out. So its top bit turns when the last of them has come.
    """
    cuda = numba_cuda()
    uint32, word, arrive, look = cuda.types.uint32, _barrier_word(), _arrive(), _look()

    def grid_sync() -> None:
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            cuda.threadfence()
            others = uint32(cuda.gridDim.x) - uint32(1)
            mine = uint32(0x80000000) - others if cuda.blockIdx.x == 0 else uint32(1)
            place = word()
            before = arrive(place, uint32(mine))
            while ((look(place) ^ before) & uint32(0x80000000)) == 0:
                pass
            cuda.threadfence()
        cuda.syncthreads()

    return grid_sync


def _assembly(builder: Any, result: Any, text: str, constraints: str, args: list[Any]) -> Any:
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), args)


def _barrier_word() -> Any:
    """The address of the word: the second of the launch's workspace, whose address is in two registers."""
    cuda = numba_cuda()

    @cuda.extending.intrinsic
    def barrier_word(typingctx: Any) -> Any:
        pointer = cuda.types.CPointer(cuda.types.uint32)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            high, low = (_assembly(builder, _i32, f"mov.u32 $0, %envreg{n};", "=r", []) for n in (1, 2))
            address = builder.or_(builder.shl(builder.zext(high, _i64), _i64(32)), builder.zext(low, _i64))
            return builder.inttoptr(builder.add(address, _i64(4)), _i32.as_pointer())

        return pointer(), generate

    return barrier_word


def _arrive() -> Any:
    cuda = numba_cuda()

    @cuda.extending.intrinsic
    def arrive(typingctx: Any, place: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.atomic_rmw("add", args[0], args[1], "monotonic")

        return cuda.types.uint32(place, cuda.types.uint32), generate

    return arrive


def _look() -> Any:
    cuda = numba_cuda()

    @cuda.extending.intrinsic
    def look(typingctx: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _assembly(builder, _i32, "ld.volatile.u32 $0, [$1];", "=r,l", [args[0]])

        return cuda.types.uint32(place), generate

    return look
