"""What only a real GPU can show: other libraries' arrays, two devices, the speed of a replay, large sorts, errors of
the device. Run with ``pytest -m cuda``."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import config
from jitgrad.cuda.libraries import Operand
from tests.cuda.test_drivers import CODE, load

pytestmark = pytest.mark.cuda

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture(autouse=True)
def real(simulated: None) -> Iterator[None]:
    with config.using(cuda_driver="cuda"):
        yield


def test_devices() -> None:
    devices = jg.devices()
    assert devices and jg.device() is devices[0]
    assert devices[0].arch.startswith("sm_") and devices[0].name in repr(devices[0])


def test_a_free_block_is_used_again_while_the_device_works() -> None:
    gpu = jg.device()
    kernel = load(gpu, CODE, "axpy")
    total, n = gpu.put(np.zeros(1 << 20, np.float32)), 1 << 20
    for step in range(50):
        x = gpu.put(np.full(n, step, np.float32))
        gpu.driver.launch(kernel, n // 256, 256, [total.address, x.address, 1.0, n])
        del x
    assert np.all(total.numpy() == sum(range(50)))
    assert gpu.memory().reused >= 40


def test_a_graph_costs_less_than_its_launches() -> None:
    gpu = jg.device()
    kernel, x, y = load(gpu, CODE, "axpy"), gpu.put(X), gpu.put(X)
    arguments = [y.address, x.address, 0.0, 24]

    def record(stream: Any) -> None:
        for _ in range(20):
            gpu.driver.launch(kernel, 1, 32, arguments, stream=stream)

    graph = gpu.driver.capture(record)
    for _ in range(3):
        gpu.driver.replay(graph)
    start = gpu.driver.record()
    for _ in range(100):
        gpu.driver.replay(graph)
    replays = gpu.driver.elapsed(start, gpu.driver.record())
    start = gpu.driver.record()
    for _ in range(100):
        record(gpu.driver.main)
    assert replays < gpu.driver.elapsed(start, gpu.driver.record())


def test_products_are_captured() -> None:
    gpu = jg.device()
    a, b, c = gpu.put(np.arange(4.0)), gpu.put(np.eye(2)), gpu.put(np.zeros(4))
    operands = [Operand(x.address, x.dtype, 4) for x in (c, a, b)]
    static = {"m": 2, "n": 2, "k": 2, "a": (2, 1), "b": (2, 1), "c": (2, 1)}
    gpu.libraries.call("gemm", operands[:1], operands[1:], static)  # starts cuBLAS
    graph = gpu.driver.capture(lambda s: gpu.libraries.call("gemm", operands[:1], operands[1:], static, stream=s))
    gpu.driver.copy_in(b.address, 3 * np.eye(2))
    gpu.driver.replay(graph)
    assert np.array_equal(c.numpy(), 3 * np.arange(4.0))


def test_tf32_rounds_and_float32_does_not() -> None:
    gpu, n = jg.device(), 256
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((n, n)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b
    out, static = gpu.empty((n, n), np.float32), {"m": n, "n": n, "k": n, "a": (n, 1), "b": (n, 1), "c": (n, 1)}
    arrays = [out, gpu.put(a), gpu.put(b)]
    operands = [Operand(x.address, x.dtype, x.size) for x in arrays]
    errors = []
    for allowed in (False, True):
        with config.using(tf32=allowed):
            gpu.libraries.call("gemm", operands[:1], operands[1:], static)
        errors.append(np.abs(out.numpy() - exact).max())
    assert errors[0] < 1e-3 and (gpu.driver.properties.capability < (8, 0) or errors[1] > 2 * errors[0])


def test_large_sorts() -> None:
    """Many blocks and merges, in blocks of the usual size."""
    f = jg.jit(lambda x: (np.sort(x), np.argsort(x)), target="cuda")
    rng = np.random.default_rng(0)
    for x in (rng.standard_normal((2, 1 << 20)).astype(np.float32), rng.integers(0, 1 << 16, (1, 1_000_003))):
        for _ in range(3):  # at first, captured, replayed
            keys, order = f(jg.device_put(x))
        np.testing.assert_array_equal(keys.numpy(), np.sort(x))
        np.testing.assert_array_equal(order.numpy(), np.argsort(x, kind="stable"))


def test_gradients_of_singular_determinants() -> None:
    a = np.random.default_rng(0).standard_normal((4, 40, 40))
    a[1, :, 7] = a[2, 3] = a[3, :2] = 0
    want = jg.grad(lambda a: np.sum(np.linalg.det(a)))(a)
    found = jg.grad(lambda a: np.sum(np.linalg.det(a)), target="cuda")(a).numpy()
    np.testing.assert_allclose(found, want, rtol=1e-8, atol=1e-10 * np.abs(want).max())


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    ours = jg.device_put(X)
    theirs = torch.from_dlpack(ours)
    assert theirs.data_ptr() == ours.address and np.array_equal(theirs.cpu().numpy(), X)
    theirs += 1  # on torch's stream, which is the default one
    assert np.array_equal(ours.numpy(), X + 1)
    tensor = torch.arange(6.0, device="cuda").reshape(2, 3).T
    back = jg.device_put(tensor)
    assert back.address == tensor.data_ptr() and np.array_equal(back.numpy(), tensor.cpu().numpy())
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        other = torch.from_dlpack(jg.device_put(X)) * 2
        assert np.array_equal(jg.device_put(other).numpy(), 2 * X)


def test_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    ours = jg.device_put(X)
    theirs = cupy.asarray(ours)
    assert theirs.data.ptr == ours.address and np.array_equal(theirs.get(), X)
    assert np.array_equal(cupy.from_dlpack(ours[:, 1]).get(), X[:, 1])
    array = cupy.arange(6.0).reshape(2, 3).T
    back = jg.device_put(array)
    assert back.address == array.data.ptr and np.array_equal(back.numpy(), array.get())


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "gpu":
        pytest.skip("JAX has no GPU here")
    array = jax.numpy.arange(6.0).reshape(2, 3)
    back = jg.device_put(array)
    assert np.array_equal(back.numpy(), np.asarray(array)) and back.address == array.unsafe_buffer_pointer()
    assert np.array_equal(np.asarray(jax.dlpack.from_dlpack(jg.device_put(X))), X)


def test_two_devices() -> None:
    if len(jg.devices()) < 2:
        pytest.skip("there is one GPU")
    x = jg.device_put(X, 1)
    y = jg.device_put(x, 0)
    assert y.device is jg.device(0) and np.array_equal(y.numpy(), X)


def test_an_illegal_address_is_reported() -> None:
    """In a process of its own: the device is lost to the process."""
    code = """
import numpy as np, jitgrad as jg
from tests.cuda.test_drivers import CODE, load
gpu = jg.device()
kernel = load(gpu, CODE, "axpy")
gpu.driver.launch(kernel, 1, 32, [1 << 40, 1 << 40, 1.0, 10])
try:
    gpu.synchronise()
except jg.errors.DeviceError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in done.stdout, done.stderr
