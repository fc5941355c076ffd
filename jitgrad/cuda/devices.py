"""The devices of this machine, and how arrays get there."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from jitgrad.config import current
from jitgrad.cuda.array import DeviceArray, from_foreign, is_foreign
from jitgrad.cuda.driver import Driver, count_devices, open_driver
from jitgrad.cuda.libraries import Libraries, libraries
from jitgrad.cuda.pool import Pool, PoolStatistics, readable
from jitgrad.errors import ArgumentError, DeviceError, DtypeError
from jitgrad.ir.types import kind_letter


class Device:
    """A GPU: its driver and its memory pool. ``jitgrad.device(i)`` gives it; there is one object a GPU.

    In a ``with`` block it is the default device.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver, self.pool = driver, Pool(driver)
        self._blocks: list[Any] = []

    @property
    def ordinal(self) -> int:
        """Its number."""
        return self.driver.ordinal

    @property
    def name(self) -> str:
        """What its maker calls it."""
        return self.driver.properties.name

    @property
    def arch(self) -> str:
        """Its architecture, as ``"sm_90"``."""
        return self.driver.properties.arch

    @functools.cached_property
    def libraries(self) -> Libraries:
        """The library functions of the device: matrix products, factorizations, sorts."""
        return libraries(self.driver)

    def __repr__(self) -> str:
        memory = readable(self.driver.properties.total_memory)
        return f"Device({self.ordinal}, {self.name!r}, {self.arch}, {memory})"

    def __enter__(self) -> Device:
        block = _as_default(self)
        block.__enter__()
        self._blocks.append(block)
        return self

    def __exit__(self, *error: object) -> None:
        self._blocks.pop().__exit__(None, None, None)

    def empty(self, shape: tuple[int, ...], dtype: Any, what: str = "an array") -> DeviceArray:
        """A new array with any values. Raises OutOfMemoryError; ``what`` names the array there."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        return DeviceArray(self, self.pool.allocate(nbytes, f"{what} {dtype}{list(shape)}"), tuple(shape), dtype)

    def put(self, value: Any) -> DeviceArray:
        """An array on this device with the values of an array or number: itself where it is here already, a view of
        another library's array that is here, a copy otherwise."""
        if is_foreign(value):
            value = from_foreign(value, _find)
        if isinstance(value, DeviceArray):
            return value if value.device is self else self._from_other(value.contiguous())
        array = np.asarray(value)
        if kind_letter(array.dtype) not in "biufc":
            raise DtypeError(
                f"{type(value).__name__} of dtype {array.dtype} can't be put on a device. Device arrays hold numbers "
                "and booleans. Convert it."
            )
        array = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
        out = self.empty(array.shape, array.dtype)
        if array.nbytes:
            self.driver.copy_in(out.address, array)
        return out

    def _from_other(self, array: DeviceArray) -> DeviceArray:
        out = self.empty(array.shape, array.dtype)
        if array.device.driver.kind != self.driver.kind:
            raise DeviceError(
                f"an array on {array.device} can't be moved to {self}. One is simulated. Take a copy on the host with "
                "x.numpy()."
            )
        if array.nbytes:
            self.driver.copy_from(out.address, array.device.driver, array.address, array.nbytes)
        return out

    def synchronise(self) -> None:
        """Wait for all work on the device."""
        self.driver.synchronise()

    def memory(self) -> PoolStatistics:
        """The state of the memory pool."""
        return self.pool.statistics()

    def release_memory(self) -> int:
        """Give memory that no array uses back to the device, for other programs; returns the bytes."""
        return self.pool.empty()


@functools.cache
def _open(kind: str, ordinal: int) -> Device:
    return Device(open_driver(ordinal))


_default: contextvars.ContextVar[int] = contextvars.ContextVar("default device", default=0)


@contextlib.contextmanager
def _as_default(device: Device) -> Iterator[None]:
    token = _default.set(device.ordinal)
    try:
        yield
    finally:
        _default.reset(token)


def devices() -> tuple[Device, ...]:
    """All GPUs that programs can run on; none where CUDA can't be used (``python -m jitgrad doctor`` says why)."""
    try:
        return tuple(device(k) for k in range(count_devices()))
    except DeviceError:
        return ()


def device(index: int | None = None) -> Device:
    """A GPU by its number, from 0; without a number the default device: that of the innermost ``with
    jitgrad.device(i):`` block, else device 0.

    Raises DeviceError where CUDA can't be used or there is no such device.
    """
    if index is None:
        index = _default.get()
    try:
        number = operator.index(index)
    except TypeError:
        number = -1
    if isinstance(index, bool) or number < 0:
        raise ArgumentError(
            f"there is no device {index!r}. Devices have numbers from 0. Pass an integer, or one of jitgrad.devices()."
        )
    count = count_devices()
    if number >= count:
        raise DeviceError(
            f"there is no device {number}: this machine has {count}. Devices have numbers from 0, and "
            "CUDA_VISIBLE_DEVICES can hide some. Choose one of jitgrad.devices()."
        )
    return _open(current().cuda_driver, number)


def _find(ordinal: int | None, address: int | None) -> Device:
    """The device with a number, or with an address of memory on it."""
    if ordinal is not None:
        return device(ordinal)
    if not address:  # an empty array
        return device()
    for each in (device(k) for k in range(count_devices())):
        if each.driver.owns(address):
            return each
    raise DeviceError(
        f"{address:#x} is no memory of a GPU that is used here. Another library made the array in another way. Copy it "
        "to the host and pass that."
    )


def put_leaf(leaf: Any, where: Device | None) -> DeviceArray:
    """:meth:`Device.put`; where no device is given, arrays that are on one stay there, and others go to the default
    device."""
    if where is not None:
        return where.put(leaf)
    if is_foreign(leaf):
        return from_foreign(leaf, _find)
    return leaf if isinstance(leaf, DeviceArray) else device().put(leaf)
