"""The driver of real devices, over the bindings of the CUDA driver (the package ``cuda-bindings``).

Each device is used in its primary context, which all libraries of a process share: CuPy, torch and JAX can use its
memory. The main stream is one that waits for the legacy default stream and is waited for by it, so that work of
libraries that use that needs no events between. Captures are made on a stream of their own that does not: no stream
that does may be captured while another thread uses the legacy stream.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.cuda.driver import Code, Driver, Kernel, Module, Properties, Span, Stream, refuse_capture
from jitgrad.errors import DeviceError

_OUT_OF_MEMORY = 2
#: Static shared memory that every kernel may have; more must be asked for.
_SHARED = 48 << 10

_INSTALL = 'Install them with: pip install "jitgrad[cuda]". "python -m jitgrad doctor" shows what is found.'


@functools.cache
def _bindings() -> Any:
    """The module ``cuda.bindings.driver``, after ``cuInit``. Raises DeviceError where CUDA can't be used."""
    try:
        cu = importlib.import_module("cuda.bindings.driver")
    except ImportError as error:
        raise DeviceError(
            f"the bindings of the CUDA driver are missing ({error}). The target 'cuda' runs kernels through the "
            f"packages cuda-bindings and cuda-core, and compiles them with numba-cuda. {_INSTALL}"
        ) from error
    try:
        status, *_ = cu.cuInit(0)
    except RuntimeError as error:  # the bindings look for the library when the first function is called
        raise DeviceError(
            "there is no CUDA driver on this machine: its library, libcuda, was not found. The driver belongs to the "
            'system and is not installed by pip. Install NVIDIA\'s driver, or use target="cpu"; "python -m jitgrad '
            'doctor" shows what is found.'
        ) from error
    if int(status) == 100:
        raise DeviceError(
            "there is no GPU that CUDA can use. The driver found none, or CUDA_VISIBLE_DEVICES hides them. Make one "
            'visible, or use target="cpu".'
        )
    if int(status):
        _, name = cu.cuGetErrorName(status)
        raise DeviceError(
            f"the CUDA driver can't be started: {_text(name)}. The driver's library and the kernel's module may be of "
            'different versions, or the GPU may be lost. Look at nvidia-smi and at "python -m jitgrad doctor".'
        )
    _check_version(cu)
    return cu


def _check_version(cu: Any) -> None:
    """Raise DeviceError where the driver is older than the bindings."""
    _, version = cu.cuDriverGetVersion()
    wanted = int(importlib.import_module("cuda.bindings").__version__.split(".")[0])
    if version // 1000 < wanted:
        have = f"{version // 1000}.{version % 1000 // 10}"
        raise DeviceError(
            f"the CUDA driver is too old: it is for CUDA {have}, and the packages that are installed are for CUDA "
            f"{wanted}. Code of a newer major version does not run on an older driver. Update NVIDIA's driver, or "
            'install packages for it: pip install "jitgrad[cuda12]".'
        )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _call(what: str, function: Any, *args: Any) -> Any:
    """Call a function of the driver: its value, if it has one. Raises DeviceError for an error."""
    status, *values = function(*args)
    if int(status):
        _raise(what, status)
    return values[0] if len(values) == 1 else values or None


def _raise(what: str, status: Any) -> None:
    cu = _bindings()
    (_, name), (_, text) = cu.cuGetErrorName(status), cu.cuGetErrorString(status)
    raise DeviceError(
        f"{what} failed: {_text(name)} ({_text(text)}). The device reported it now, but an earlier kernel may have "
        "caused it. After an illegal address or a failed launch, the device can't be used any more in this process."
    )


def count() -> int:
    """The number of devices."""
    return _call("counting the devices", _bindings().cuDeviceGetCount)


class CudaDriver(Driver):
    """The driver of a real device; see the module's docstring."""

    kind = "cuda"
    needs_cubin = True

    def __init__(self, ordinal: int = 0) -> None:
        self._cu = cu = _bindings()
        self.ordinal, self._process = ordinal, os.getpid()
        device = _call("opening the device", cu.cuDeviceGet, ordinal)
        self._context = _call("opening the device", cu.cuDevicePrimaryCtxRetain, device)
        self._enter()
        self.properties = self._properties(device)
        self.main = Stream(int(_call("making a stream", cu.cuStreamCreate, cu.CUstream_flags.CU_STREAM_DEFAULT)))

    def _properties(self, device: Any) -> Properties:
        cu = self._cu

        def attribute(name: str) -> int:
            key = getattr(cu.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
            return _call("asking for properties", cu.cuDeviceGetAttribute, key, device)

        name = _call("asking for the name", cu.cuDeviceGetName, 256, device).split(b"\0")[0].decode()
        major, minor = attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")
        return Properties(
            name,
            f"sm_{major}{minor}",
            (major, minor),
            _call("asking for the memory", cu.cuDeviceTotalMem, device),
            attribute("MULTIPROCESSOR_COUNT"),
            attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
            attribute("MAX_THREADS_PER_MULTIPROCESSOR"),
            bool(attribute("COOPERATIVE_LAUNCH")),
        )

    def _enter(self) -> None:
        """Make the context current on this thread."""
        if os.getpid() != self._process:
            raise DeviceError(
                "the GPU can't be used in a process that was forked after its parent had used it. CUDA does not "
                "survive a fork. Start processes with the method 'spawn', or use the GPU in one of the two only."
            )
        _call("entering the device", self._cu.cuCtxSetCurrent, self._context)

    def _stream(self, stream: Stream | None) -> int:
        return (stream or self.main).handle

    # Memory

    def allocate(self, nbytes: int) -> int | None:
        self._enter()
        status, address = self._cu.cuMemAlloc(nbytes)
        if int(status) == _OUT_OF_MEMORY:
            return None
        if int(status):
            _raise(f"allocating {nbytes} bytes", status)
        return int(address)

    def free(self, address: int) -> None:
        self.synchronise()  # not the whole context: another stream of it may be captured
        _call("freeing memory", self._cu.cuMemFree, address)

    def discard(self, address: int, nbytes: int) -> None:
        """Nothing: a real device's memory is left as it is."""

    def memory_info(self) -> tuple[int, int]:
        self._enter()
        free, total = _call("asking for the memory", self._cu.cuMemGetInfo)
        return free, total

    def owns(self, address: int) -> bool:
        self._enter()
        key = self._cu.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        status, *values = self._cu.cuPointerGetAttribute(key, address)
        return not int(status) and int(values[0]) == self.ordinal

    # Copies

    def copy_in(self, target: int, source: np.ndarray, stream: Stream | None = None) -> None:
        refuse_capture(stream or self.main, "a copy from the host")
        self._enter()
        # From memory that is not pinned, which NumPy's is not, the driver takes the data before it returns.
        _call(
            "a copy to the device",
            self._cu.cuMemcpyHtoDAsync,
            target,
            _data(source),
            source.nbytes,
            self._stream(stream),
        )

    def copy_out(self, target: np.ndarray, source: int, stream: Stream | None = None) -> None:
        refuse_capture(stream or self.main, "a copy to the host")
        self._enter()
        handle = self._stream(stream)
        _call("a copy from the device", self._cu.cuMemcpyDtoHAsync, _data(target), source, target.nbytes, handle)
        _call("waiting for the device", self._cu.cuStreamSynchronize, handle)

    def copy(self, target: int, source: int, nbytes: int, stream: Stream | None = None) -> None:
        self._enter()
        _call("a copy", self._cu.cuMemcpyDtoDAsync, target, source, nbytes, self._stream(stream))

    def copy_rows(
        self,
        target: int,
        target_pitch: int,
        source: int,
        source_pitch: int,
        width: int,
        height: int,
        stream: Stream | None = None,
    ) -> None:
        self._enter()
        cu = self._cu
        # The driver has a greatest pitch, of which it says only that it is large; a single row needs none.
        block = cu.CUDA_MEMCPY2D()
        block.srcMemoryType = block.dstMemoryType = cu.CUmemorytype.CU_MEMORYTYPE_DEVICE
        block.srcDevice, block.srcPitch = source, source_pitch if height > 1 else width
        block.dstDevice, block.dstPitch = target, target_pitch if height > 1 else width
        block.WidthInBytes, block.Height = width, height
        _call("a copy of rows", cu.cuMemcpy2DAsync, block, self._stream(stream))

    def copy_from(self, target: int, other: Driver, source: int, nbytes: int) -> None:
        assert isinstance(other, CudaDriver)
        other.synchronise()
        self._enter()
        handle = self.main.handle
        _call(
            "a copy between devices",
            self._cu.cuMemcpyPeerAsync,
            target,
            self._context,
            source,
            other._context,
            nbytes,
            handle,
        )
        self.synchronise()

    def fill(self, address: int, byte: int, nbytes: int, stream: Stream | None = None) -> None:
        self._enter()
        _call("filling memory", self._cu.cuMemsetD8Async, address, byte, nbytes, self._stream(stream))

    # Kernels

    def load(self, code: Code) -> Module:
        self._enter()
        cu, image = self._cu, bytes(code.cubin.code)
        module = _call("loading kernels", cu.cuModuleLoadData, image)
        owner = _Owner(self, cu.cuModuleUnload, module)
        kernels = {}
        for name, signature in code.signatures.items():
            symbol = code.cubin.kernels[name].symbol.encode()
            function = _call(f"loading {name}", cu.cuModuleGetFunction, module, symbol)
            kernels[name] = Kernel(name, signature, function, owner)
        return Module(kernels)

    def launch(
        self,
        kernel: Kernel,
        grid: int,
        block: int,
        args: Sequence[Any],
        shared: int = 0,
        cooperative: bool = False,
        stream: Stream | None = None,
    ) -> None:
        self._enter()
        if stream is not None and stream.capturing:
            stream.captured_owners.add(kernel.owner)
        if shared > _SHARED:
            key = self._cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            _call("asking for shared memory", self._cu.cuFuncSetAttribute, kernel.function, key, shared)
        words, pointers = pack(kernel.signature, args)  # the launch copies them
        sizes = (grid, 1, 1, block, 1, 1, shared, self._stream(stream), ctypes.addressof(pointers))
        if cooperative:
            _call(f"launching {kernel.name}", self._cu.cuLaunchCooperativeKernel, kernel.function, *sizes)
        else:
            _call(f"launching {kernel.name}", self._cu.cuLaunchKernel, kernel.function, *sizes, 0)
        del words

    def blocks_per_multiprocessor(self, kernel: Kernel, block: int, shared: int = 0) -> int:
        self._enter()
        ask = self._cu.cuOccupancyMaxActiveBlocksPerMultiprocessor
        return _call("asking for the occupancy", ask, kernel.function, block, shared)

    # Streams

    def enqueue(self, work: Callable[[int], None], stream: Stream | None = None) -> None:
        self._enter()
        work(self._stream(stream))

    def capture(self, record: Callable[[Stream], None]) -> Any:
        self._enter()
        cu = self._cu
        stream = Stream(int(_call("making a stream", cu.cuStreamCreate, cu.CUstream_flags.CU_STREAM_NON_BLOCKING)))
        try:
            # Relaxed: memory may be allocated, and freed by the garbage collector, during the capture.
            mode = cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
            _call("capturing", cu.cuStreamBeginCapture, stream.handle, mode)
            stream.capturing = recorded = True
            try:
                record(stream)
            except BaseException:
                recorded = False
                raise
            finally:
                stream.capturing = False
                status, graph = cu.cuStreamEndCapture(stream.handle)  # also after an error: it ends the capture
                if not recorded and not int(status):
                    cu.cuGraphDestroy(graph)
            if int(status):
                _raise("capturing", status)
            try:
                executable = _call("making a graph", cu.cuGraphInstantiate, graph, 0)
            finally:
                _call("dropping a graph", cu.cuGraphDestroy, graph)
        finally:
            _call("dropping a stream", cu.cuStreamDestroy, stream.handle)
        return _Owner(self, cu.cuGraphExecDestroy, executable, stream.captured_owners)

    def replay(self, graph: Any, stream: Stream | None = None) -> None:
        self._enter()
        _call("launching a graph", self._cu.cuGraphLaunch, graph.handle, self._stream(stream))

    def new_stream(self) -> Stream:
        self._enter()
        flags = self._cu.CUstream_flags.CU_STREAM_NON_BLOCKING
        stream = Stream(int(_call("making a stream", self._cu.cuStreamCreate, flags)))
        weakref.finalize(stream, _drop, self, self._cu.cuStreamDestroy, stream.handle).atexit = False
        return stream

    def record(self, stream: Stream | None = None) -> _Owner:
        return self._record(self._stream(stream))

    def _record(self, handle: int) -> _Owner:
        self._enter()
        event = _call("making an event", self._cu.cuEventCreate, 0)
        _call("recording an event", self._cu.cuEventRecord, event, handle)
        return _Owner(self, self._cu.cuEventDestroy, event)

    def wait(self, event: Any, stream: Stream | None = None) -> None:
        self._wait(event, self._stream(stream))

    def _wait(self, event: _Owner, handle: int) -> None:
        self._enter()
        _call("waiting for an event", self._cu.cuStreamWaitEvent, handle, event.handle, 0)

    def wait_foreign(self, handle: int) -> None:
        self._wait(self._record(handle), self.main.handle)

    def foreign_waits(self, handle: int) -> None:
        self._wait(self._record(self.main.handle), handle)

    def elapsed(self, start: _Owner, end: _Owner) -> float:
        self._enter()
        _call("waiting for an event", self._cu.cuEventSynchronize, end.handle)
        return _call("timing", self._cu.cuEventElapsedTime, start.handle, end.handle) / 1e3

    def synchronise(self, stream: Stream | None = None) -> None:
        refuse_capture(stream or self.main, "waiting for a stream")
        self._enter()
        _call("waiting for the device", self._cu.cuStreamSynchronize, self._stream(stream))


class _Owner:
    """Something of the driver that is destroyed when this is dropped; a process that ends destroys it anyhow."""

    def __init__(self, driver: CudaDriver, destroy: Any, handle: Any, needs: Any = ()) -> None:
        self.handle = handle
        # The arguments live until the call is made: what this needs goes after it.
        weakref.finalize(self, _drop, driver, destroy, handle, needs).atexit = False


def _drop(driver: CudaDriver, destroy: Any, handle: Any, needs: Any = ()) -> None:
    if os.getpid() != driver._process:  # a forked child has nothing to destroy
        return
    cu = driver._cu
    _, before = cu.cuCtxGetCurrent()  # the garbage collector may run this between two calls for another device
    driver._enter()
    cu.cuStreamSynchronize(driver.main.handle)  # work that uses it may be under way
    destroy(handle)
    cu.cuCtxSetCurrent(before)


def _data(array: np.ndarray) -> int:
    """The address of a C-contiguous array of the host."""
    assert array.flags.c_contiguous
    return array.__array_interface__["data"][0]


def pack(signature: Sequence[Any], args: Sequence[Any]) -> tuple[Any, Any]:
    """Arguments as a launch takes them: 8 bytes for each, and an array of their addresses."""
    words = (ctypes.c_uint64 * max(len(signature), 1))()
    start = ctypes.addressof(words)
    for k, (kind, value) in enumerate(zip(signature, args, strict=True)):
        if isinstance(kind, tuple):  # a scalar: its bytes come first
            words[k] = int.from_bytes(kind[1].type(value).tobytes(), "little")
        else:
            words[k] = value.address if isinstance(value, Span) else value
    pointers = (ctypes.c_void_p * len(words))(*(start + 8 * k for k in range(len(words))))
    return words, pointers
