"""What the machine or its GPU can do at most: memory bandwidth and the rate of matrix products, measured in the same
run."""

from __future__ import annotations

import time
from collections.abc import Callable

import numba
import numpy as np

import jitgrad

TRIAD_ELEMENTS = 16_000_000
COPY_BYTES = 1 << 28
PRODUCT_SIZE = 2048


def best(call: Callable[[], object], repeat: int) -> float:
    """The least seconds of some calls, after one that is not counted."""
    call()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _triad(a, b, c, s):
    for i in numba.prange(len(a)):
        a[i] = b[i] + s * c[i]


def bandwidth(threads: int) -> float:
    """Bytes a second of STREAM's triad ``a = b + s * c`` (McCalpin), which counts three arrays of float64."""
    numba.set_num_threads(threads)
    triad = numba.njit(_triad, parallel=True)
    a, b, c = np.zeros(TRIAD_ELEMENTS), np.ones(TRIAD_ELEMENTS), np.ones(TRIAD_ELEMENTS)
    return 3 * a.nbytes / best(lambda: triad(a, b, c, 3.0), 10)


def product_rate(dtype: type) -> float:
    """Operations a second of the product of two large square matrices, by NumPy's BLAS or by jitgrad's own kernels:
    whichever is faster."""
    x = np.random.default_rng(0).normal(size=(PRODUCT_SIZE, PRODUCT_SIZE)).astype(dtype)
    out = np.empty_like(x)
    own = jitgrad.jit(lambda x: x @ x)
    seconds = min(best(lambda: np.matmul(x, x, out=out), 5), best(lambda: own(x), 5))
    return 2 * PRODUCT_SIZE**3 / seconds


def gpu() -> str:
    """What the GPU is that programs for the target "cuda" run on. Raises jitgrad's DeviceError, which says why there is
    none."""
    device = jitgrad.device()
    return repr(device) + (", which is simulated: its times mean nothing" if device.driver.kind == "simulated" else "")


def copy_bandwidth() -> float:
    """Bytes a second of a copy from device memory to device memory, those read and those written."""
    device = jitgrad.device()
    source, target = (device.put(np.zeros(COPY_BYTES, np.uint8)) for _ in range(2))

    def call() -> None:
        device.driver.copy(target.address, source.address, COPY_BYTES)
        device.synchronise()

    seconds = best(call, 10)
    return 2 * COPY_BYTES / seconds


def gpu_product_rate(dtype: type) -> float:
    """Operations a second of the product of two large square matrices on the GPU."""
    x = jitgrad.device_put(np.random.default_rng(0).normal(size=(PRODUCT_SIZE, PRODUCT_SIZE)).astype(dtype))
    product = jitgrad.jit(lambda x: x @ x, target="cuda")
    return 2 * PRODUCT_SIZE**3 / best(lambda: product(x).block_until_ready(), 5)


def measure(threads: int, target: str = "cpu") -> dict[str, float]:
    """``bandwidth`` in bytes, ``f32`` and ``f64`` in operations a second."""
    if target == "cuda":
        found = {
            "bandwidth": copy_bandwidth(),
            "f32": gpu_product_rate(np.float32),
            "f64": gpu_product_rate(np.float64),
        }
        jitgrad.device().release_memory()
        return found
    return {
        "bandwidth": bandwidth(threads),
        "f32": product_rate(np.float32),
        "f64": product_rate(np.float64),
    }
