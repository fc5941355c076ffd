"""cuFFT as its documentation describes it, on the memory of a simulated device."""

import ctypes
from typing import Any

import numpy as np

from jitgrad.cuda.driver_simulated import SimulatedDriver


class FakeFourier:
    """One dimension, in place or not; a plan is for one type of numbers, and reads and writes its elements only."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self.driver = driver
        self.plans: list[Any] = []
        self.executed = 0
        self.streams: dict[int, int] = {}  # of each plan

    def cufftCreate(self, handle: Any) -> int:
        ctypes.c_int.from_address(handle).value = len(self.plans)
        self.plans.append(None)
        return 0

    def cufftSetStream(self, handle: int, stream: int) -> int:
        assert self.plans[handle] is not None, "before there is a plan"
        self.streams[handle] = stream
        return 0

    def cufftMakePlanMany64(
        self, handle: int, rank: int, n: int, inner: int, step: int, distance: int, outer: int, out_step: int,
        out_distance: int, kind: int, count: int, size: int,
    ) -> int:  # fmt: skip
        assert rank == 1 and inner and outer and self.plans[handle] is None
        assert (step, distance) == (out_step, out_distance) and kind in (0x29, 0x69)
        ctypes.c_size_t.from_address(size).value = 0
        self.plans[handle] = (ctypes.c_longlong.from_address(n).value, step, distance, kind, count)
        return 0

    def _execute(self, handle: int, kind: int, dtype: Any, source: int, target: int, sign: int) -> int:
        n, step, distance, planned, count = self.plans[handle]
        assert planned == kind and sign in (-1, 1) and handle in self.streams
        self.executed += 1

        def elements(address: int) -> np.ndarray:
            itemsize = np.dtype(dtype).itemsize
            flat = self.driver.view(address, ((n - 1) * step + (count - 1) * distance + 1) * itemsize, dtype)
            return np.lib.stride_tricks.as_strided(flat, (count, n), (distance * itemsize, step * itemsize))

        x = elements(source).astype(complex)
        elements(target)[...] = np.fft.fft(x, axis=1) if sign == -1 else np.fft.ifft(x, axis=1) * n
        return 0

    def cufftExecC2C(self, handle: int, source: int, target: int, sign: int) -> int:
        return self._execute(handle, 0x29, np.complex64, source, target, sign)

    def cufftExecZ2Z(self, handle: int, source: int, target: int, sign: int) -> int:
        return self._execute(handle, 0x69, np.complex128, source, target, sign)
