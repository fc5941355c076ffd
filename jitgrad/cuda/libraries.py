"""Library calls of Loop IR on a device: those of :mod:`jitgrad.codegen.libcalls` that NVIDIA's libraries have, and the
sorts of :mod:`jitgrad.cuda.sorting`.

Operands are as there, contiguous and flat, but on the device. A call fails on the device, later: it leaves an int32 for
each matrix at ``info``, and one that is not 0 means the status :data:`STATUS` of the call. Whoever runs a program reads
them when it is done.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jitgrad.codegen import libcalls
from jitgrad.codegen.lapack import NO_CONVERGENCE, NOT_POSITIVE_DEFINITE, SINGULAR
from jitgrad.codegen.lapack_orthogonal import NO_SVD
from jitgrad.config import current
from jitgrad.cuda import blas, fourier, orthogonal, solver
from jitgrad.cuda.driver import Driver, Stream
from jitgrad.cuda.driver_simulated import SimulatedDriver
from jitgrad.cuda.sorting import SORTS, Sorter

#: What a call that left something other than 0 at ``info`` failed with. The others can't fail.
STATUS = {
    **dict.fromkeys(("getrs", "trtrs", "getri"), SINGULAR),
    "potrf": NOT_POSITIVE_DEFINITE,
    "syevd": NO_CONVERGENCE,
    "gesdd": NO_SVD,
}

#: Functions that can be captured into a graph. NVIDIA's documentation says so of cuBLAS and of cuFFT ("CUDA Graphs
#: Support"), and does not of cuSOLVER's routines.
CAPTURABLE = frozenset(("gemm", "trtrs", "fourier")) | SORTS


class Operand(NamedTuple):
    """A contiguous buffer on a device."""

    address: int
    dtype: np.dtype
    size: int

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


class _Call(NamedTuple):
    """A call of a library function, as :meth:`Libraries.call` is given it."""

    name: str
    outs: Sequence[Operand]
    ins: Sequence[Operand]
    static: dict[str, Any]
    info: int
    scratch: int


def statuses(name: str, static: dict[str, Any]) -> int:
    """How many int32 a call needs at ``info``."""
    if name in ("gemm", "adjugate", "fourier", "geqrf", "orgqr", *SORTS):
        return 0
    return solver.matrices(static) * (2 if name == "gesdd" else 1)


class Libraries(abc.ABC):
    """The library functions of one device: kernels that sort, and what ``_scratch`` and ``_call`` give."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.sorter = Sorter(driver)

    def scratch(self, name: str, dtype: np.dtype, static: dict[str, Any]) -> int:
        """Bytes of scratch memory that a call needs; the dtype is that of the first operand. This starts the library,
        which can't be done while a stream is captured."""
        return (self.sorter.scratch if name in SORTS else self._scratch)(name, dtype, static)

    def call(
        self,
        name: str,
        outs: Sequence[Operand],
        ins: Sequence[Operand],
        static: dict[str, Any],
        info: int = 0,
        scratch: int = 0,
        stream: Stream | None = None,
    ) -> None:
        """Add a call to a stream. ``info`` is the address of :func:`statuses` int32, ``scratch`` that of
        :meth:`scratch` bytes. Raises DeviceError where the library is missing."""
        queue = stream or self._driver.main
        if name in SORTS:
            self.sorter.call(name, ins[0].dtype, [o.address for o in outs], static, scratch, queue)
        else:
            self._call(_Call(name, outs, ins, static, info, scratch), queue)

    @abc.abstractmethod
    def _scratch(self, name: str, dtype: np.dtype, static: dict[str, Any]) -> int: ...

    @abc.abstractmethod
    def _call(self, call: _Call, stream: Stream) -> None: ...


class CudaLibraries(Libraries):
    """cuBLAS, cuSOLVER and cuFFT, each started when it is first needed."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self._lock = threading.RLock()  # a handle is for one thread at a time
        self._blas: blas.Blas | None = None
        self._solver: solver.Solver | None = None
        self._orthogonal: orthogonal.Orthogonal | None = None
        self._fourier: fourier.Fourier | None = None

    def _started(self) -> blas.Blas:
        if self._blas is None:
            self._blas = blas.Blas(self._driver)
        return self._blas

    def _started_solver(self) -> solver.Solver:
        if self._solver is None:
            self._solver = solver.Solver(self._driver, self._started())
        return self._solver

    def _started_orthogonal(self) -> orthogonal.Orthogonal:
        if self._orthogonal is None:
            self._orthogonal = orthogonal.Orthogonal(self._started_solver())
        return self._orthogonal

    def _started_fourier(self) -> fourier.Fourier:
        if self._fourier is None:
            self._fourier = fourier.Fourier(self._driver)
        return self._fourier

    def _scratch(self, name: str, dtype: np.dtype, static: dict[str, Any]) -> int:
        found: list[int] = []

        def ask(_: int) -> None:
            if name == "gemm":
                self._started()
                found.append(0)
            elif name == "fourier":
                found.append(self._started_fourier().scratch(dtype, static))
            elif name in orthogonal.CALLS:
                found.append(self._started_orthogonal().scratch(name, dtype, static))
            else:
                found.append(self._started_solver().scratch(name, dtype, static))

        with self._lock:
            self._driver.enqueue(ask)  # libraries need their device to be current
        return found[0]

    def _call(self, call: _Call, stream: Stream) -> None:
        with self._lock:
            self._driver.enqueue(lambda _: self._run(call, stream), stream)

    def _run(self, call: _Call, stream: Stream) -> None:
        name, outs, ins, static, info, scratch = call
        out, dtype = outs[0].address, outs[0].dtype
        if name == "gemm":
            dtypes = (dtype, ins[0].dtype, ins[1].dtype)
            tf32 = current().tf32
            self._started().gemm(stream.handle, out, ins[0].address, ins[1].address, dtypes, static, tf32)
            return
        if name == "fourier":
            addresses, sizes = [o.address for o in outs], [o.size for o in outs]
            self._started_fourier().run(stream, addresses, sizes, [o.address for o in ins], scratch, dtype, **static)
            return
        if name in orthogonal.CALLS:
            targets, sources = [o.address for o in outs], [o.address for o in ins]
            self._started_orthogonal().run(stream, name, targets, sources, info, scratch, dtype, static)
            return
        run = self._started_solver()
        if name == "potrf":
            run.potrf(stream, out, info, scratch, dtype, **static)
        elif name == "getrf":
            run.getrf(stream, out, outs[1].address, info, scratch, dtype, **static)
        elif name == "getrs":
            run.getrs(stream, out, ins[1].address, ins[2].address, info, scratch, dtype, **static)
        elif name == "trtrs":
            run.trtrs(stream, out, ins[1].address, info, dtype, **static)
        elif name == "getri":
            run.getri(stream, out, ins[1].address, info, scratch, dtype, **static)
        else:
            run.adjugate(stream, out, ins[0].address, ins[1].address, ins[2].address, scratch, dtype, **static)


class SimulatedLibraries(Libraries):
    """The functions of the CPU on the memory of a simulated device."""

    _driver: SimulatedDriver

    def _scratch(self, name: str, dtype: np.dtype, static: dict[str, Any]) -> int:
        return 0 if name in ("gemm", "trtrs") else 256  # some, so that callers that forget it are found

    def _call(self, call: _Call, stream: Stream) -> None:
        name, outs, ins, static, info, scratch = call
        function, count = libcalls.get(name).python, statuses(name, static)
        needed = self._scratch(name, ins[0].dtype, static)

        def work(_: int) -> None:
            if needed:
                self._driver.view(scratch, needed).fill(0)
            targets = [self._view(operand) for operand in outs]
            sources = [self._view(operand) for operand in ins]
            if outs[0].dtype.itemsize == 2 or ins[0].dtype.itemsize == 2:
                sources = [source.astype(np.float32) for source in sources]  # sums are float32's
            status = function(targets, sources, **static)
            if count:
                self._driver.view(info, 4 * count, np.int32).fill(status != 0)

        self._driver.enqueue(work, stream)

    def _view(self, operand: Operand) -> np.ndarray:
        return self._driver.view(operand.address, operand.nbytes, operand.dtype)


def libraries(driver: Driver) -> Libraries:
    """The library functions of a device."""
    return SimulatedLibraries(driver) if isinstance(driver, SimulatedDriver) else CudaLibraries(driver)
