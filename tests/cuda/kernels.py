"""Kernels written by hand, of every kind that programs are made of, with how to call them and what must come out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

f32, f64, i32, i64, u32, u64 = (np.dtype(t) for t in ("f4", "f8", "i4", "i8", "u4", "u8"))
n_type = ("scalar", u64)

SOURCE = '''
@device
def warp_sum(v):
    """The sum over the lanes of a warp."""
    v = v + cuda.shfl_xor_sync(0xffffffff, v, 16)
    v = v + cuda.shfl_xor_sync(0xffffffff, v, 8)
    v = v + cuda.shfl_xor_sync(0xffffffff, v, 4)
    v = v + cuda.shfl_xor_sync(0xffffffff, v, 2)
    v = v + cuda.shfl_xor_sync(0xffffffff, v, 1)
    return v

@device
def block_sum(v):
    """The sum over the threads of a block, for every thread."""
    parts = cuda.shared.array(32, float32)
    v = warp_sum(v)
    warp = uint32(cuda.threadIdx.x) >> uint32(5)
    if cuda.laneid == int32(0):
        parts[warp] = v
    cuda.syncthreads()
    total = float32(0.0)
    if uint32(cuda.laneid) < (uint32(cuda.blockDim.x) >> uint32(5)):
        total = parts[cuda.laneid]
    total = warp_sum(total)
    cuda.syncthreads()
    return total

@device
def swap(a, b):
    return b, a

def axpy(x, y, a, n):
    i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
    if i < n:
        y[i] = libdevice.expf(x[i]) * a + y[i]

def axpy4(x, y, a, n):
    i = (uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)) * uint64(4)
    if i + uint64(4) <= n:
        p, q, r, s = load4(x, i)
        t, u, v, w = load4(y, i)
        store4(y, i, p * a + t, q * a + u, r * a + v, s * a + w)
    else:
        while i < n:
            y[i] = x[i] * a + y[i]
            i = i + uint64(1)

def scale2(x, y, n):
    i = (uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)) * uint64(2)
    if i < n:
        a, b = load2(x, i)
        a, b = swap(a, b)
        store2(y, i, a * float64(0.5), b * float64(2.0))

def sums(x, out, n):
    """The sum of a block's stretch of x."""
    i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
    stride = uint64(cuda.blockDim.x) * uint64(cuda.gridDim.x)
    total = float32(0.0)
    while i < n:
        total = total + x[i]
        i = i + stride
    total = block_sum(total)
    if cuda.threadIdx.x == int32(0):
        out[cuda.blockIdx.x] = total

def rows(x, out, n):
    """The largest entry of each row; a block a row."""
    best = cuda.shared.array(128, float32)
    t = uint64(cuda.threadIdx.x)
    row = uint64(cuda.blockIdx.x) * n
    m = float32(-3.4e38)
    for j in range(t, n, uint64(cuda.blockDim.x)):
        v = x[row + j]
        m = v if v > m else m
    best[t] = m
    cuda.syncthreads()
    half = uint64(64)
    while half > uint64(0):
        if t < half:
            v = best[t + half]
            best[t] = v if v > best[t] else best[t]
        cuda.syncthreads()
        half = half >> uint64(1)
    if t == uint64(0):
        out[cuda.blockIdx.x] = best[0]

def scan(x, y, n):
    """Cumulative sums of each row of 128; a block a row."""
    line = cuda.shared.array(128, float64)
    t = uint64(cuda.threadIdx.x)
    base = uint64(cuda.blockIdx.x) * n
    v = float64(0.0)
    if t < n:
        v = x[base + t]
    lane = cuda.laneid
    step = int32(1)
    while step < int32(32):
        u = cuda.shfl_up_sync(0xffffffff, v, step)
        if lane >= step:
            v = v + u
        step = int32(step * int32(2))
    if lane == int32(31):
        line[t >> uint64(5)] = v
    cuda.syncthreads()
    for w in range(t >> uint64(5)):
        v = v + line[w]
    if t < n:
        y[base + t] = v

def transpose(x, y, m, n):
    """A block of 256 threads moves tiles of 32 by 32."""
    tile = cuda.shared.array(1056, float32)
    col = uint64(cuda.threadIdx.x) & uint64(31)
    row = uint64(cuda.threadIdx.x) >> uint64(5)
    across = (n + uint64(31)) // uint64(32)
    i0 = (uint64(cuda.blockIdx.x) // across) * uint64(32)
    j0 = (uint64(cuda.blockIdx.x) % across) * uint64(32)
    for k in range(row, uint64(32), uint64(8)):
        if i0 + k < m and j0 + col < n:
            tile[k * uint64(33) + col] = x[(i0 + k) * n + j0 + col]
    cuda.syncthreads()
    for k in range(row, uint64(32), uint64(8)):
        if j0 + k < n and i0 + col < m:
            y[(j0 + k) * m + i0 + col] = tile[col * uint64(33) + k]

def scatter(index, x, out, largest, counts, n):
    i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
    if i < n:
        k = uint64(index[i])
        atomic_add(out, k, x[i])
        atomic_max(largest, k, x[i])
        atomic_add(counts, k, uint32(1))

def relax(x, y, n, steps):
    """Steps of averaging with neighbours, the whole grid step by step."""
    i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
    for step in range(steps):
        if uint64(0) < i and i + uint64(1) < n:
            y[i] = (x[i - uint64(1)] + x[i + uint64(1)]) * float32(0.5)
        grid_sync()
        if uint64(0) < i and i + uint64(1) < n:
            x[i] = y[i]
        grid_sync()

def bits(x, y, flags, n):
    """A few rounds of a counter-based generator, in 32 bits."""
    i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
    if i < n:
        a = uint32(i)
        b = uint32(a ^ uint32(0x1BD11BDA))
        for r in range(4):
            a = uint32(a + b)
            b = uint32(uint32(b << uint32(13)) | (b >> uint32(19)))
            b = uint32(b ^ a)
        x[i] = b
        y[i] = float32(b >> uint32(8)) * float32(5.9604644775390625e-08)
        flags[i] = y[i] < float32(0.5) and not flags[i]
'''


class Case(NamedTuple):
    """One launch. ``expected`` takes the arguments as they were, and returns what must be in those that are written, by
    position."""

    kernel: str
    signature: tuple[Any, ...]
    grid: int
    block: int
    args: Callable[[], list[Any]]
    expected: Callable[..., dict[int, np.ndarray]]
    registers: int
    cooperative: bool = False


def _uniform(*shape: int, dtype: np.dtype = f32) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(dtype)


def _scatter_args() -> list[Any]:
    index = np.random.default_rng(3).integers(0, 7, 500).astype(i32)
    return [index, _uniform(500), np.zeros(7, f32), np.full(7, -9, f32), np.zeros(7, u32), np.uint64(500)]


def _scattered(index: np.ndarray, x: np.ndarray, out: np.ndarray, largest: np.ndarray, counts: np.ndarray, n: Any):
    out, largest = out.copy(), largest.copy()
    np.add.at(out, index, x)
    np.maximum.at(largest, index, x)
    return {2: out, 3: largest, 4: np.bincount(index, minlength=7).astype(u32)}


def _relaxed(x: np.ndarray, y: np.ndarray, n: Any, steps: Any) -> dict[int, np.ndarray]:
    x = x.copy()
    for _ in range(int(steps)):
        x[1:-1] = (x[:-2] + x[2:]) * np.float32(0.5)
    return {0: x}


def _bits(x: np.ndarray, y: np.ndarray, flags: np.ndarray, n: Any) -> dict[int, np.ndarray]:
    a = np.arange(int(n), dtype=u32)
    b = a ^ np.uint32(0x1BD11BDA)
    for _ in range(4):
        a = a + b
        b = (b << np.uint32(13)) | (b >> np.uint32(19))
        b = b ^ a
    uniform = (b >> np.uint32(8)).astype(f32) * np.float32(2.0**-24)
    return {0: b, 1: uniform, 2: (uniform < 0.5) & ~flags}


CASES = [
    Case("axpy", (f32, f32, ("scalar", f32), n_type), 5, 128,
         lambda: [_uniform(515), _uniform(515), np.float32(0.3), np.uint64(515)],
         lambda x, y, a, n: {1: np.exp(x) * a + y}, 24),
    Case("axpy4", (f32, f32, ("scalar", f32), n_type), 2, 128,
         lambda: [_uniform(515), _uniform(515), np.float32(0.3), np.uint64(515)],
         lambda x, y, a, n: {1: x * a + y}, 32),
    Case("scale2", (f64, f64, n_type), 3, 64,
         lambda: [_uniform(302, dtype=f64), np.zeros(302), np.uint64(302)],
         lambda x, y, n: {1: (x.reshape(-1, 2)[:, ::-1] * [0.5, 2.0]).ravel()}, 24),
    Case("sums", (f32, f32, n_type), 3, 96,
         lambda: [_uniform(2000), np.zeros(3, f32), np.uint64(2000)],
         lambda x, out, n: {1: np.array([sum(x[b * 96 + k : b * 96 + k + 96].sum() for k in range(0, 2000, 288))
                                         for b in range(3)], f32)}, 32),
    Case("rows", (f32, f32, n_type), 5, 128,
         lambda: [_uniform(5, 301), np.zeros(5, f32), np.uint64(301)],
         lambda x, out, n: {1: x.max(axis=1)}, 40),
    Case("scan", (f64, f64, n_type), 4, 128,
         lambda: [_uniform(4, 101, dtype=f64), np.zeros((4, 101)), np.uint64(101)],
         lambda x, y, n: {1: np.cumsum(x, axis=1)}, 40),
    Case("transpose", (f32, f32, n_type, n_type), 6, 256,
         lambda: [_uniform(45, 70), np.zeros((70, 45), f32), np.uint64(45), np.uint64(70)],
         lambda x, y, m, n: {1: x.T}, 48),
    Case("scatter", (i32, f32, f32, f32, u32, n_type), 4, 128, _scatter_args, _scattered, 24),
    Case("relax", (f32, f32, n_type, n_type), 3, 64,
         lambda: [_uniform(150), np.zeros(150, f32), np.uint64(150), np.uint64(3)], _relaxed, 24, True),
    Case("bits", (u32, f32, np.dtype(bool), n_type), 3, 128,
         lambda: [np.zeros(300, u32), np.zeros(300, f32), np.arange(300) % 2 == 0, np.uint64(300)], _bits, 24),
]  # fmt: skip
SIGNATURES = {case.kernel: case.signature for case in CASES}
