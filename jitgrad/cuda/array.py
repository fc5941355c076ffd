"""Arrays on a device."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from jitgrad.cuda import dlpack
from jitgrad.cuda.pool import Memory
from jitgrad.errors import (
    DeviceError,
    DtypeError,
    MutationError,
    ShapeError,
    UnsupportedAttributeError,
    UnsupportedError,
)
from jitgrad.ir.types import dtype_of_text, kind_letter

if TYPE_CHECKING:
    from jitgrad.cuda.devices import Device

_JITTED = "Use it inside a function under jitgrad.jit, or take a copy on the host with x.numpy()."

#: Functions of NumPy that need the description of an array only.
_DESCRIBE = {np.shape: lambda a: a.shape, np.ndim: lambda a: a.ndim, np.size: lambda a: a.size}


class DeviceArray:
    """An array on a GPU: a view of device memory, described as NumPy describes arrays.

    It is what compiled programs for the target ``"cuda"`` take and return. It has no arithmetic of its own: that is for
    jitted functions. Slices, transposes and reshapes of contiguous arrays are views of the same memory. ``numpy()``
    copies to the host, and waits for the work that computes the values; nothing else waits.

    ``memory`` keeps the memory alive (``address`` of its first byte); the first element is ``offset`` bytes on.
    ``strides`` are bytes; None for C order.
    """

    __slots__ = ("__weakref__", "_memory", "address", "device", "dtype", "read_only", "shape", "strides")
    __hash__ = object.__hash__
    __array_ufunc__ = None  # NumPy's functions refuse it instead of copying it to the host unseen

    def __init__(
        self,
        device: Device,
        memory: Any,
        shape: tuple[int, ...],
        dtype: Any,
        strides: tuple[int, ...] | None = None,
        offset: int = 0,
        read_only: bool = False,
    ) -> None:
        self.device, self._memory, self.read_only = device, memory, read_only
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.strides = contiguous_strides(shape, self.dtype.itemsize) if strides is None else strides
        self.address: int = memory.address + offset

    # Description

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie one after the other in C order."""
        expected = contiguous_strides(self.shape, self.dtype.itemsize)
        pairs = zip(self.shape, self.strides, expected, strict=True)
        return self.size == 0 or all(extent == 1 or have == want for extent, have, want in pairs)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __repr__(self) -> str:
        text = np.array2string(self.numpy(), separator=", ", prefix="DeviceArray(")
        shape = "" if self.size else f"shape={self.shape}, "
        return f"DeviceArray({text}, {shape}dtype={self.dtype}, device={self.device.ordinal})"

    # To the host

    def numpy(self) -> np.ndarray:
        """A copy on the host; waits for the values."""
        if self.is_contiguous:
            out = np.empty(self.shape, self.dtype)
            if self.nbytes:
                self.device.driver.copy_out(out, self.address)
            return out
        if self._rows() is not None:
            return self.contiguous().numpy()
        # Everything from the first byte to the last.
        low = sum(min(0, s * (n - 1)) for s, n in zip(self.strides, self.shape, strict=True))
        high = sum(max(0, s * (n - 1)) for s, n in zip(self.strides, self.shape, strict=True)) + self.itemsize
        raw = np.empty(high - low, np.uint8)
        self.device.driver.copy_out(raw, self.address + low)
        first = raw[-low : -low + self.itemsize].view(self.dtype)
        return np.lib.stride_tricks.as_strided(first, self.shape, self.strides).copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array on a device can't be viewed from the host without a copy")
        return self.numpy() if dtype is None else self.numpy().astype(dtype, copy=False)

    def item(self, *index: int) -> Any:
        """One element as a Python number: the only one, or that at an index."""
        if index:
            at = np.unravel_index(index[0], self.shape) if len(index) == 1 else index
            return self[tuple(int(operator.index(i)) for i in at)].item()
        if self.size != 1:
            raise ValueError(f"an array of shape {self.shape} is not one number")
        return self.numpy().item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self.numpy().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __index__(self) -> int:
        return operator.index(self.item() if self.ndim == 0 else self.numpy())

    def block_until_ready(self) -> DeviceArray:
        """Wait until the values are there; returns the array. Errors of the kernels that compute it show here."""
        self.device.driver.synchronise()
        return self

    # Views

    def _like(self, view: np.ndarray) -> DeviceArray:
        """The view that was made of :meth:`_phantom`."""
        if view.size == 0:
            return DeviceArray(self.device, self._memory, view.shape, self.dtype, read_only=self.read_only)
        offset = view.__array_interface__["data"][0] - _PHANTOM.__array_interface__["data"][0]
        start = self.address - self._memory.address + offset
        return DeviceArray(self.device, self._memory, view.shape, self.dtype, view.strides, start, self.read_only)

    def _phantom(self) -> np.ndarray:
        """An array of the host with this shape and these strides: NumPy says what a view of it is. It must not be
        read."""
        return np.lib.stride_tricks.as_strided(_PHANTOM[: self.itemsize].view(self.dtype), self.shape, self.strides)

    def __getitem__(self, index: Any) -> DeviceArray:
        parts = index if isinstance(index, tuple) else (index,)
        for part in parts:
            if (
                isinstance(part, bool | np.bool_)
                or not (part is None or part is Ellipsis or isinstance(part, slice) or hasattr(part, "__index__"))
                or getattr(part, "ndim", 0)
            ):
                raise UnsupportedError(
                    f"an array on a device can't be indexed with {type(part).__name__}. Outside of a jitted function "
                    f"it takes integers, slices, None and ..., which are views. {_JITTED}"
                )
        if not any(part is Ellipsis for part in parts):
            parts = (*parts, Ellipsis)  # the result is an array then, also where all axes are indexed
        return self._like(self._phantom()[parts])

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise UnsupportedError(
            "elements of an array on a device can't be assigned outside of a jitted function. Device arrays have no "
            f"operations of their own. {_JITTED}"
        )

    def assign(self, new: DeviceArray) -> None:
        """Overwrite the values by those of another array of this device, shape and dtype: for jitted functions that
        assign into their arguments. Raises MutationError where the memory can't be written in one piece."""
        if self.read_only or not self.is_contiguous:
            raise MutationError(
                "the function assigns into an array on a device that is "
                f"{'read-only' if self.read_only else 'not contiguous'}. It is written as one piece. Pass a copy."
            )
        if self.nbytes:
            self.device.driver.copy(self.address, new.address, self.nbytes)

    def __iter__(self) -> Iterator[DeviceArray]:
        if not self.shape:
            raise TypeError("an array without axes can't be iterated over")
        return (self[k] for k in range(self.shape[0]))

    @property
    def T(self) -> DeviceArray:
        """The axes in reverse order: a view."""
        return self.transpose()

    def transpose(self, *axes: Any) -> DeviceArray:
        """The axes in another order: a view."""
        return self._like(self._phantom().transpose(*axes))

    def reshape(self, *shape: Any) -> DeviceArray:
        """The same elements in another shape: a view of a contiguous array, a copy of another."""
        if not self.is_contiguous:
            return self.contiguous().reshape(*shape)
        plain = np.lib.stride_tricks.as_strided(_PHANTOM[: self.itemsize].view(self.dtype), (self.size,))
        flat = DeviceArray(self.device, self._memory, (self.size,), self.dtype, None, self._start, self.read_only)
        try:
            return flat._like(plain.reshape(*shape))
        except ValueError as error:
            raise ShapeError(
                f"an array of shape {self.shape} can't have the shape {shape if len(shape) != 1 else shape[0]}. The "
                "numbers of elements differ. Give a shape for as many elements."
            ) from error

    @property
    def _start(self) -> int:
        return self.address - self._memory.address

    # Copies

    def copy(self) -> DeviceArray:
        """A contiguous copy on the device."""
        return self._copied()

    def __copy__(self) -> DeviceArray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> DeviceArray:
        return self.copy()

    def __reduce__(self) -> NoReturn:
        raise UnsupportedError(
            "an array on a device can't be pickled. Its memory belongs to this process. Pickle a copy on the host, "
            "x.numpy(), and put it on a device again with jitgrad.device_put."
        )

    def contiguous(self) -> DeviceArray:
        """The array itself, where it is contiguous; else a copy that is."""
        return self if self.is_contiguous else self._copied()

    def _copied(self) -> DeviceArray:
        """A contiguous copy. Rows of equal distance are copied on the device; other layouts go through the host."""
        out = self.device.empty(self.shape, self.dtype)
        if not self.size:
            return out
        rows = self._rows()
        if rows is None:
            self.device.driver.copy_in(out.address, self.numpy())
        elif rows[2] == 1:
            self.device.driver.copy(out.address, self.address, rows[0])
        else:
            width, pitch, height = rows
            self.device.driver.copy_rows(out.address, width, self.address, pitch, width, height)
        return out

    def _rows(self) -> tuple[int, int, int] | None:
        """The layout as rows: (bytes of a row, bytes from one to the next, rows), or None where it is none."""
        width = self.itemsize
        pitch = height = 0
        for extent, stride in zip(self.shape[::-1], self.strides[::-1], strict=True):
            if extent == 1:
                continue
            if not height and stride == width:
                width *= extent
            elif height and stride == pitch * height:
                height *= extent
            elif not height and stride > width:
                pitch, height = stride, extent
            else:
                return None
        return width, pitch or width, height or 1

    # Exchange with other libraries

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if kind_letter(self.dtype) not in "biufc":
            raise AttributeError(f"arrays of dtype {self.dtype} have no __cuda_array_interface__")
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address if self.size else 0, self.read_only),
            "strides": None if self.is_contiguous else self.strides,
            "stream": self.device.driver.main.handle,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        kind = dlpack.CUDA if self.device.driver.kind == "cuda" else dlpack.EXTENSION
        return kind, self.device.ordinal

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError(f"the array is on {self.device}; DLPack does not move it to device {dl_device}")
        array = self.copy() if copy else self
        # None, 1 (the legacy default stream) and -1 (no wish) need nothing: the main stream is ordered with that one.
        if stream is not None and stream not in (-1, 1):
            self.device.driver.foreign_waits(stream)
        versioned = max_version is not None and max_version[0] >= 1
        if array.read_only and not versioned:
            raise BufferError("a read-only array needs a DLPack version that can say so, 1.0 or later")
        return dlpack.export(
            array,
            array.address if array.size else 0,
            array.shape,
            array.strides,
            array.dtype,
            self.__dlpack_device__(),
            versioned=versioned,
            read_only=array.read_only,
        )

    # What it does not do

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in _DESCRIBE and len(args) == 1 and not kwargs:
            return _DESCRIBE[function](args[0])
        raise UnsupportedError(
            f"numpy.{function.__name__} does not take arrays on a device outside of a jitted function. NumPy would "
            f"compute on the host. {_JITTED}"
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"'DeviceArray' object has no attribute {name!r}")
        raise UnsupportedAttributeError(
            f"an array on a device has no {name!r} outside of a jitted function. Device arrays have no operations of "
            f"their own. {_JITTED}"
        )


#: A little memory of the host, so that NumPy has some to make views of (:meth:`DeviceArray._phantom`).
_PHANTOM = np.zeros(64, np.uint8)


def _refusing(name: str) -> Any:
    def operate(self: DeviceArray, *others: Any) -> NoReturn:
        raise UnsupportedError(
            f"an array on a device has no {name} outside of a jitted function. Device arrays have no operations of "
            f"their own. {_JITTED}"
        )

    operate.__name__ = name
    return operate


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul", "and", "or", "xor")
_SHIFTS = ("lshift", "rshift")
for _name in (
    *(f"__{side}{op}__" for op in (*_BINARY, *_SHIFTS) for side in ("", "r", "i") if (side, op) != ("i", "divmod")),
    *("__neg__", "__pos__", "__abs__", "__invert__"),
    *("__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__", "__contains__"),
):
    setattr(DeviceArray, _name, _refusing(_name))


def contiguous_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides of C order, in bytes."""
    strides, step = [], itemsize
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


class _Foreign:
    """Memory of another library; ``owner`` keeps it alive."""

    def __init__(self, address: int, owner: Any) -> None:
        self.address, self.owner = address, owner


def is_foreign(value: Any) -> bool:
    """Whether a value is a GPU array of another library."""
    if isinstance(value, DeviceArray | np.ndarray | np.generic):
        return False
    if hasattr(type(value), "__dlpack_device__"):
        return value.__dlpack_device__()[0] in (dlpack.CUDA, dlpack.CUDA_MANAGED)
    return hasattr(value, "__cuda_array_interface__")


def from_foreign(value: Any, find: Any) -> DeviceArray:
    """A view of another library's GPU array, by DLPack or ``__cuda_array_interface__``. ``find(ordinal, address)`` is
    the device, by its number, or, where that is None, by an address on it.

    What either library does to the memory later shows in both. Raises DtypeError and DeviceError.
    """
    if hasattr(type(value), "__dlpack__"):
        device = find(value.__dlpack_device__()[1], None)
        handle = device.driver.main.handle if device.driver.kind == "cuda" else None
        try:
            capsule = value.__dlpack__(stream=handle, max_version=(1, 0))
        except TypeError:  # a library from before DLPack 1.0
            capsule = value.__dlpack__(stream=handle)
        tensor = dlpack.take(capsule)
        memory = _Foreign(tensor.address, tensor.owner)
        return DeviceArray(device, memory, tensor.shape, tensor.dtype, tensor.strides, read_only=tensor.read_only)
    interface = value.__cuda_array_interface__
    address, read_only = interface["data"]
    dtype = dtype_of_text(interface["typestr"])
    if kind_letter(dtype) not in "biufc" or not dtype.isnative:
        raise DtypeError(
            f"an array of dtype {interface['typestr']} can't be used on a device. Arrays hold numbers and booleans in "
            "the byte order of the machine. Convert it."
        )
    if interface.get("mask") is not None:
        raise UnsupportedError(
            "a masked array can't be used on a device. Masks are not part of jitgrad's arrays. Fill the array first."
        )
    device = find(None, address)
    stream = interface.get("stream")
    if stream is not None and stream != 1:  # the main stream is ordered with the legacy default stream, 1
        device.driver.wait_foreign(stream)
    strides = interface.get("strides")
    shape = tuple(map(int, interface["shape"]))
    return DeviceArray(
        device, _Foreign(address, value), shape, dtype, None if strides is None else tuple(strides), 0, bool(read_only)
    )


def check_same_device(arrays: list[DeviceArray], what: str) -> None:
    """Raise DeviceError where arrays are on different devices; ``what`` names their use."""
    devices = {a.device.ordinal for a in arrays}
    if len(devices) > 1:
        places = ", ".join(f"argument {k} on device {a.device.ordinal}" for k, a in enumerate(arrays))
        raise DeviceError(
            f"{what} got arrays on different devices: {places}. A program runs on one device, and nothing is copied "
            "between devices unseen. Move them to one with jitgrad.device_put(x, device)."
        )


__all__ = ["DeviceArray", "Memory", "check_same_device", "contiguous_strides", "from_foreign", "is_foreign"]
