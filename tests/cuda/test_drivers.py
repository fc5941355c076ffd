"""What every driver does, on the simulated device and on a real one."""

import gc
import importlib.util

import numpy as np
import pytest

from jitgrad.cuda.devices import Device
from jitgrad.cuda.driver import Code, Kernel, Span, Stream
from jitgrad.errors import DeviceError

AXPY = """
def axpy(y, x, alpha, n):
    i = int64(cuda.blockIdx.x) * int64(cuda.blockDim.x) + int64(cuda.threadIdx.x)
    if i < n:
        y[i] = y[i] + alpha * x[i]
"""
F32 = np.dtype(np.float32)
CODE = Code(AXPY, {"axpy": (F32, F32, ("scalar", F32), ("scalar", np.dtype(np.int64)))})
X = np.arange(10, dtype=np.float32)

ROTATE = """
def rotate(x, y, n):
    i = int64(cuda.blockIdx.x) * int64(cuda.blockDim.x) + int64(cuda.threadIdx.x)
    for step in range(3):
        if i < n:
            y[i] = x[(i + int64(1)) % n]
        grid_sync()
        if i < n:
            x[i] = y[i]
        grid_sync()
"""


def load(gpu: Device, code: Code, name: str) -> Kernel:
    if gpu.driver.needs_cubin:
        compiler = pytest.importorskip("jitgrad.cuda.compiler")
        code = code._replace(cubin=compiler.compile_kernels(code.source, code.signatures, gpu.arch))
    return gpu.driver.load(code).kernels[name]


def test_properties(gpu: Device) -> None:
    properties = gpu.driver.properties
    assert properties.arch == "sm_{}{}".format(*properties.capability) and properties.multiprocessors > 0
    free, total = gpu.driver.memory_info()
    assert 0 < free <= total and properties.shared_memory >= 48 << 10


def test_addresses_are_aligned(gpu: Device) -> None:
    blocks = [gpu.pool.allocate(n) for n in (1, 100, 5000)]
    assert all(block.address % 256 == 0 for block in blocks)


def test_copies(gpu: Device) -> None:
    a, b = gpu.put(X), gpu.empty((10,), F32)
    gpu.driver.copy(b.address, a.address, 40)
    gpu.driver.fill(a.address, 0, 20)
    assert np.array_equal(b.numpy(), X) and np.array_equal(a.numpy(), np.where(X < 5, 0, X))


def test_the_host_may_change_an_array_after_its_copy(gpu: Device) -> None:
    array = np.zeros(1 << 20, np.float32)
    on_device = gpu.put(array)
    array[:] = -1
    assert not on_device.numpy().any()


def test_rows(gpu: Device) -> None:
    matrix = np.arange(24, dtype=np.float32).reshape(4, 6)
    source, target = gpu.put(matrix), gpu.empty((4, 2), F32)
    gpu.driver.copy_rows(target.address, 8, source.address + 4, 24, 8, 4)
    assert np.array_equal(target.numpy(), matrix[:, 1:3])


def test_no_memory(gpu: Device) -> None:
    with pytest.raises(MemoryError, match="no memory for the result"):
        gpu.pool.allocate(1 << 50, "the result")
    assert np.array_equal(gpu.put(X).numpy(), X)


def test_a_kernel(gpu: Device) -> None:
    kernel, x, y = load(gpu, CODE, "axpy"), gpu.put(X), gpu.put(X)
    gpu.driver.launch(kernel, 2, 8, [Span(y.address, 40), x.address, 2.0, 10])
    assert np.array_equal(y.numpy(), 3 * X)
    assert gpu.driver.blocks_per_multiprocessor(kernel, 256) >= 1


def test_shared_memory_beyond_the_usual(gpu: Device) -> None:
    kernel, x, y = load(gpu, CODE, "axpy"), gpu.put(X), gpu.put(X)
    gpu.driver.launch(kernel, 1, 32, [y.address, x.address, 1.0, 10], shared=60 << 10)
    assert np.array_equal(y.numpy(), 2 * X)


@pytest.mark.skipif(importlib.util.find_spec("jitgrad.cuda.simulator") is None, reason="threads would wait for others")
def test_a_cooperative_kernel(gpu: Device) -> None:
    count = ("scalar", np.dtype(np.int64))
    kernel = load(gpu, Code(ROTATE, {"rotate": (F32, F32, count)}), "rotate")
    x, y = gpu.put(np.arange(100, dtype=np.float32)), gpu.empty((100,), F32)
    gpu.driver.launch(kernel, 4, 32, [x.address, y.address, 100], cooperative=True)
    assert np.array_equal(x.numpy(), np.roll(np.arange(100), -3))


def test_a_graph_replays_what_was_captured(gpu: Device) -> None:
    driver, kernel, x, y = gpu.driver, load(gpu, CODE, "axpy"), gpu.put(X), gpu.put(X)

    def record(stream: Stream) -> None:
        driver.fill(y.address, 0, 40, stream)
        driver.launch(kernel, 2, 8, [y.address, x.address, 2.0, 10], stream=stream)
        driver.copy(y.address, x.address + 4, 4, stream)

    graph = driver.capture(record)
    assert np.array_equal(y.numpy(), X)
    for scale in (1, 5):
        driver.copy_in(x.address, scale * X)
        driver.replay(graph)
        assert np.array_equal(y.numpy(), np.where(X == 0, scale, 2 * scale * X))


def test_a_graph_keeps_its_kernels(gpu: Device) -> None:
    driver, x, y = gpu.driver, gpu.put(X), gpu.put(X)
    arguments = [y.address, x.address, 2.0, 10]
    graph = driver.capture(lambda s: driver.launch(load(gpu, CODE, "axpy"), 2, 8, arguments, stream=s))
    gc.collect()
    driver.replay(graph)
    assert np.array_equal(y.numpy(), 3 * X)


def test_a_capture_that_fails_leaves_the_device_usable(gpu: Device) -> None:
    x = gpu.put(X)

    def fail(stream: Stream) -> None:
        gpu.driver.fill(x.address, 0, 40, stream)
        raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        gpu.driver.capture(fail)
    assert np.array_equal(x.numpy(), X)


def test_the_host_is_not_captured(gpu: Device) -> None:
    driver, x = gpu.driver, gpu.put(X)
    with pytest.raises(DeviceError, match="a copy from the host is not possible while work is captured"):
        driver.capture(lambda stream: driver.copy_in(x.address, X, stream))
    with pytest.raises(DeviceError, match="a copy to the host is not possible"):
        driver.capture(lambda stream: driver.copy_out(X.copy(), x.address, stream))
    with pytest.raises(DeviceError, match="waiting for a stream is not possible"):
        driver.capture(driver.synchronise)
    assert np.array_equal(x.numpy(), X)


def test_memory_may_be_dropped_during_a_capture(gpu: Device) -> None:
    x, dropped = gpu.put(X), [gpu.put(X)]

    def record(stream: Stream) -> None:
        dropped.clear()
        gpu.pool.allocate(1 << 20)
        gpu.driver.fill(x.address, 0, 40, stream)

    gpu.driver.replay(gpu.driver.capture(record))
    assert not x.numpy().any()


def test_streams_and_events(gpu: Device) -> None:
    driver, x, stream = gpu.driver, gpu.put(X), gpu.driver.new_stream()
    start = driver.record()
    driver.wait(start, stream)
    driver.fill(x.address, 0, 40, stream)
    end = driver.record(stream)
    driver.wait(end)
    assert not x.numpy().any() and driver.elapsed(start, end) >= 0


def test_addresses_belong_to_their_device(gpu: Device) -> None:
    assert gpu.driver.owns(gpu.put(X).address) and not gpu.driver.owns(1 << 12)
