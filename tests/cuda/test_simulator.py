"""The simulator: what it computes, against NumPy, and every fault that it must find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jitgrad.cuda.simulator import Simulator
from jitgrad.cuda.simulator_libdevice import LIBDEVICE
from jitgrad.errors import (
    ArgumentError,
    KernelAlignmentError,
    KernelBarrierError,
    KernelBoundsError,
    KernelError,
    KernelRaceError,
)
from tests.cuda.kernels import CASES, SOURCE, Case

HEAD = "i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)"


def kernel(body: str, parameters: str = "x, y, n", before: str = "") -> str:
    """The text of a kernel ``k`` that starts with its global index ``i``."""
    lines = [HEAD, *body.strip("\n").split("\n")]
    return f"{before}\ndef k({parameters}):\n" + "\n".join("    " + line for line in lines) + "\n"


def launch(source: str, grid: int, block: int, *args: Any, seed: int = 0, cooperative: bool = False) -> None:
    Simulator(source, seed).launch("k", grid, block, args, cooperative=cooperative)


def numbers(n: int, dtype: str = "f4") -> np.ndarray:
    return np.arange(n, dtype=dtype)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kernel)
def test_kernels(case: Case, seed: int) -> None:
    args = case.args()
    expected = case.expected(*[x.copy() for x in args])
    Simulator(SOURCE, seed).launch(case.kernel, case.grid, case.block, args, cooperative=case.cooperative)
    for position, value in expected.items():
        tolerance = 1e-13 if value.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(args[position], value, rtol=tolerance, atol=tolerance)


def test_the_same_seed_gives_the_same_bits_and_another_one_another_order() -> None:
    source = kernel("atomic_add(y, 0, x[i])")
    x = np.random.default_rng(0).uniform(size=256).astype("f4")

    def total(seed: int) -> float:
        y = np.zeros(1, "f4")
        launch(source, 4, 64, x, y, np.uint64(256), seed=seed)
        return float(y[0])

    assert total(0) == total(0)
    assert len({total(seed) for seed in range(8)}) > 1


# Types.


@pytest.mark.parametrize(
    ("text", "dtype", "value"),
    [
        ("u * u", "uint64", 9_000_000_000_000_000_000),
        ("uint32(u * u)", "uint32", 9_000_000_000_000_000_000 % 2**32),
        ("u + 1", "int64", 3_000_000_001),
        ("j + j", "int64", 2**32 - 2),
        ("int32(j + j)", "int32", -2),
        ("uint64(j) + u", "uint64", 2**31 + 2_999_999_999),
        ("f * float32(0.5)", "float32", np.float32(0.05)),
        ("f * 0.5", "float64", np.float64(np.float32(0.1)) * 0.5),
        ("f * j", "float64", np.float64(np.float32(0.1)) * (2**31 - 1)),
        ("f ** 2", "float32", np.float32(0.1) ** np.float32(2)),
        ("j / j", "float64", 1.0),
        ("u << uint32(8)", "uint64", 3_000_000_000 << 8),
        ("j << 4", "int64", (2**31 - 1) << 4),
        ("-j // 2", "int64", -(2**30)),
        ("-j % 5", "int64", -(2**31 - 1) % 5),
        ("~u", "uint64", 2**64 - 1 - 3_000_000_000),
        ("uint8(300)", "uint8", 44),
        ("int8(200)", "int8", -56),
        ("uint32(-1)", "uint32", 2**32 - 1),
        ("int32(float32(-2.75))", "int32", -2),
        ("libdevice.expf(f)", "float32", np.exp(np.float32(0.1))),
        ("libdevice.exp(f)", "float64", np.exp(np.float64(np.float32(0.1)))),
        ("libdevice.float_as_int(f)", "int32", 1036831949),
        ("float16(f)", "float16", np.float16(0.1)),
    ],
)
def test_scalars_have_the_compilers_types(text: str, dtype: str, value: Any) -> None:
    seen: list[Any] = []
    sim = Simulator(f"def k(u, j, f):\n    look({text})\n")
    sim.kernels["k"].function.__globals__["look"] = seen.append
    sim.launch("k", 1, 1, [np.uint32(3_000_000_000), np.int32(2**31 - 1), np.float32(0.1)])
    assert type(seen[0]).__name__ == dtype
    assert seen[0] == np.dtype(dtype).type(value)


def test_nothing_warns_and_what_has_no_value_is_nan_or_infinite() -> None:
    y = np.ones(4, "f4")
    launch(
        kernel("y[0] = float32(1.0) / float32(0.0)\ny[1] = libdevice.logf(float32(-1.0))\ny[2] = float32(1e30) * x[0]"),
        1, 1, np.array([1e30], "f4"), y, np.uint64(0),
    )  # fmt: skip
    np.testing.assert_array_equal(y, [np.inf, np.nan, np.inf, 1.0])


@pytest.mark.parametrize("bounds", ["uint64(3)", "uint32(1), uint32(4)", "0, 3", "int32(3)", "2, -1, -1"])
def test_ranges(bounds: str) -> None:
    y = np.zeros(4)
    launch(kernel(f"for j in range({bounds}):\n    y[0] += float64(1.0)\ny[1] = float64(j)"), 1, 1, y, y, np.uint64(0))
    assert y[0] == 3


def test_an_element_is_found_once_by_an_augmented_assignment() -> None:
    y = np.zeros(4, "i4")
    launch(kernel("j = 0\ny[j] += int32(2)\ny[j] -= 5\nj += 1\ny[j] |= int32(6)"), 1, 1, y, y, np.uint64(0))
    assert y.tolist() == [-3, 6, 0, 0]


def test_atomics() -> None:
    source = """
def k(x, lo, hi, product, ors, ands):
    t = cuda.threadIdx.x
    atomic_min(lo, 0, x[t])
    atomic_max(hi, 0, x[t])
    atomic_mul(product, 0, x[t])
    atomic_or(ors, 0, uint32(uint32(1) << uint32(t)))
    atomic_and(ands, 0, int32(~(1 << t)))
"""
    x = np.linspace(0.5, 2.0, 32)
    lo, hi, product = np.full(1, np.inf), np.full(1, -np.inf), np.ones(1)
    ors, ands = np.zeros(1, "u4"), np.full(1, -1, "i4")
    launch(source, 1, 32, x, lo, hi, product, ors, ands)
    assert (lo[0], hi[0], ors[0], ands[0]) == (0.5, 2.0, 2**32 - 1, 0)
    np.testing.assert_allclose(product, np.prod(x))
    x[7] = np.nan
    launch(source, 1, 32, x, lo, hi, product, ors, ands)
    assert np.isnan(lo[0])
    assert np.isnan(hi[0])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("cuda.shfl_xor_sync(0xffffffff, v, 5)", np.arange(32) ^ 5),
        ("cuda.shfl_up_sync(0xffffffff, v, 3)", [0, 1, 2, *range(29)]),
        ("cuda.shfl_down_sync(0xffffffff, v, 3)", [*range(3, 32), 29, 30, 31]),
        ("cuda.shfl_sync(0xffffffff, v, 9)", np.full(32, 9)),
    ],
)
def test_shuffles(call: str, expected: Any) -> None:
    for dtype in ("f4", "f8", "i4", "i8"):
        x, y = numbers(32, dtype), np.zeros(32, dtype)
        launch(kernel(f"v = x[i]\ny[i] = {call}"), 1, 32, x, y, np.uint64(0))
        np.testing.assert_array_equal(y, expected)


def test_device_functions_return_values_through_barriers() -> None:
    before = """
@device
def both(v):
    s = cuda.shared.array(64, float32)
    s[cuda.threadIdx.x] = v
    cuda.syncthreads()
    other = s[63 - cuda.threadIdx.x]
    cuda.syncthreads()
    if v < float32(0.0):
        return other, v
    return v, other
"""
    x, y = numbers(128), np.zeros(128, "f4")
    launch(kernel("a, b = both(x[i])\ny[i] = a - b", before=before), 2, 64, x, y, np.uint64(0))
    np.testing.assert_array_equal(y.reshape(2, 64), 2 * np.tile(numbers(64), (2, 1)) - 63)


def test_libdevice() -> None:
    x = np.float64(0.3)
    for name, expected in {
        "erfinv": 0.27246271472675443, "lgamma": 1.0957979948180756, "exp10": 1.9952623149688795, "rsqrt": 0.3**-0.5,
        "sinpi": 0.8090169943749475, "normcdf": 0.6179114221889526, "isnand": 0, "ilogb": -2, "round": 0,
    }.items():  # fmt: skip
        np.testing.assert_allclose(LIBDEVICE[name](x), expected, rtol=1e-14)
    assert LIBDEVICE["fma"](np.float64(0.1), np.float64(10.0), np.float64(-1.0)) == 2.0**-54
    assert LIBDEVICE["umulhi"](np.uint32(2**31), np.uint32(6)) == 3
    assert LIBDEVICE["clz"](np.int32(1)) == 31
    assert LIBDEVICE["float2int_rz"](np.float32(-2.7)) == -2


# Faults.


def test_an_index_out_of_bounds_names_the_thread_and_the_line() -> None:
    with pytest.raises(KernelBoundsError, match="writes element 100 of y, which has 100") as caught:
        launch(kernel("if i <= n:\n    y[i] = x[i % n]"), 2, 64, numbers(100), numbers(100), np.uint64(100))
    error = caught.value
    assert (error.kernel, error.block, error.thread) == ("k", 1, 36)
    assert error.location is not None
    assert error.location.line == 5
    assert "y[i] = x[i % n]" in str(error)


@pytest.mark.parametrize("line", ["y[i] = x[int64(i) - 1]", "s = cuda.shared.array(31, float32)\ns[i] = x[i]"])
def test_negative_indices_and_shared_arrays_have_bounds(line: str) -> None:
    with pytest.raises(KernelBoundsError):
        launch(kernel(line), 1, 32, numbers(32), numbers(32), np.uint64(32))


REVERSE = """
s = cuda.shared.array(64, float32)
s[i] = x[i]
{barrier}
y[i] = s[63 - i]
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_missing_barrier_is_a_race(seed: int) -> None:
    x, y = numbers(64), numbers(64)
    launch(kernel(REVERSE.format(barrier="cuda.syncthreads()")), 1, 64, x, y, np.uint64(64), seed=seed)
    np.testing.assert_array_equal(y, x[::-1])
    for barrier in ("", "cuda.syncwarp()"):  # a warp's barrier does not order the two warps
        with pytest.raises(KernelRaceError, match="the shared array of line 4"):
            launch(kernel(REVERSE.format(barrier=barrier)), 1, 64, x, y, np.uint64(64), seed=seed)


def test_a_barrier_missing_between_readers_and_the_next_writer() -> None:
    body = """
s = cuda.shared.array(64, float32)
for step in range(2):
    s[i] = x[i]
    cuda.syncthreads()
    y[i] = s[63 - i]
    {barrier}
"""
    x, y = numbers(64), numbers(64)
    launch(kernel(body.format(barrier="cuda.syncthreads()")), 1, 64, x, y, np.uint64(64))
    with pytest.raises(KernelRaceError):
        launch(kernel(body.format(barrier="")), 1, 64, x, y, np.uint64(64))


def test_a_warps_barrier_orders_the_warp() -> None:
    body = "s = cuda.shared.array(32, float32)\ns[i] = x[i]\n{barrier}\ny[i] = s[31 - i]"
    x, y = numbers(32), numbers(32)
    launch(kernel(body.format(barrier="cuda.syncwarp()")), 1, 32, x, y, np.uint64(32))
    with pytest.raises(KernelRaceError):  # a shuffle orders nothing
        launch(kernel(body.format(barrier="v = cuda.shfl_xor_sync(0xffffffff, x[i], 1)")), 1, 32, x, y, np.uint64(32))


@pytest.mark.parametrize("body", ["y[0] = x[i]", "y[i % 64] += x[i]", "x[i] = x[(i + 64) % 128]"])
def test_races_between_blocks(body: str) -> None:
    for seed in range(3):
        with pytest.raises(KernelRaceError, match="of block"):
            launch(kernel(body), 2, 64, numbers(128), numbers(128), np.uint64(128), seed=seed)


def test_an_atomic_and_a_plain_access_race() -> None:
    with pytest.raises(KernelRaceError):
        launch(kernel("atomic_add(y, 0, x[i])\nx[i] = y[0]"), 1, 64, numbers(64), numbers(64), np.uint64(64))


def test_many_readers_and_a_writer_of_another_warp_race_whoever_comes_first() -> None:
    body = "v = x[0]\ncuda.syncwarp()\nif i == uint64(0):\n    x[0] = float32(1.0)\ny[i] = v"
    for seed in range(6):
        with pytest.raises(KernelRaceError):
            launch(kernel(body), 1, 128, numbers(128), numbers(128), np.uint64(128), seed=seed)


def test_arrays_that_share_memory_are_one() -> None:
    memory = numbers(96)
    with pytest.raises(KernelRaceError):
        launch(kernel("y[i] = x[i]"), 1, 64, memory[:64], memory[32:], np.uint64(64))
    launch(kernel("y[i] = x[i]"), 1, 64, memory[:64], memory[:64], np.uint64(64))
    launch(kernel("y[i] = float32(1.0)"), 1, 32, memory[32:64], memory[64:], np.uint64(64))
    with pytest.raises(KernelRaceError):  # halves of numbers
        launch(kernel("y[i] = int16(1)\nx[i] = float32(0.0)"), 1, 64, memory, memory.view("i2"), np.uint64(64))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("if i < uint64(40):\n    cuda.syncthreads()\ny[i] = x[i]", "threads 0 to 39 wait in syncthreads at line 5"),
        ("if i < uint64(40):\n    return\ncuda.syncthreads()", "threads 0 to 39 have returned"),
        ("if i < uint64(40):\n    cuda.syncthreads()\nelse:\n    cuda.syncthreads()", "at line 5.* at line 7"),
        ("for j in range(i // uint64(32)):\n    cuda.syncthreads()", "threads 0 to 31 have returned"),
        ("if i % 32 < 31:\n    y[i] = cuda.shfl_xor_sync(0xffffffff, x[i], 1)", "have returned"),
        ("if i % 32 < 31:\n    cuda.syncwarp()", "have returned"),
        ("y[i] = cuda.shfl_xor_sync(0x0000ffff, x[i], 1)", "not in the mask"),
        ("y[i] = cuda.shfl_sync(0xffffffff, x[i], 32)", "takes the value of lane 32"),
        ("if i % 32 < 16:\n    y[i] = cuda.shfl_xor_sync(0x0000ffff, x[i], 16)", "lanes 0 to 15"),
        ("grid_sync()", "was not cooperative"),
    ],
)
def test_barriers_that_threads_do_not_come_to(body: str, message: str) -> None:
    with pytest.raises(KernelBarrierError, match=message):
        launch(kernel(body), 1, 64, numbers(64), numbers(64), np.uint64(64))


def test_a_shuffle_with_lanes_that_a_block_lacks() -> None:
    with pytest.raises(KernelBarrierError, match="takes the value of lane 2"):
        launch(kernel("y[i] = cuda.shfl_xor_sync(0xffffffff, x[i], 16)"), 1, 20, *[numbers(20)] * 2, np.uint64(20))


def test_a_block_that_does_not_come_to_the_grids_barrier() -> None:
    with pytest.raises(KernelBarrierError, match="Of the threads of the grid"):
        launch(
            kernel("if i < uint64(64):\n    grid_sync()"), 2, 64, *[numbers(128)] * 2, np.uint64(1), cooperative=True
        )


def test_a_missing_grid_barrier_is_a_race() -> None:
    body = "x[i] = float32(1.0)\n{barrier}\ny[i] = x[(i + 64) % 128]"
    x, y = numbers(128), np.zeros(128, "f4")
    launch(kernel(body.format(barrier="grid_sync()")), 2, 64, x, y, np.uint64(1), cooperative=True)
    assert (y == 1).all()
    with pytest.raises(KernelRaceError):
        launch(kernel(body.format(barrier="cuda.syncthreads()")), 2, 64, x, y, np.uint64(1), cooperative=True)


def test_shared_memory_is_garbage_at_first() -> None:
    y, n = np.zeros(32, "f4"), np.zeros(32, "u4")
    body = "s = cuda.shared.array(32, float32)\nt = cuda.shared.array(32, uint32)\nx[i] = s[i]\ny[i] = t[i]"
    launch(kernel(body), 2, 16, y, n, np.uint64(0))
    assert np.isnan(y).all()
    assert (n == 0xAAAAAAAA).all()


@pytest.mark.parametrize("line", ["a, b, c, d = load4(x, 2)", "store4(x, 6, x[0], x[1], x[2], x[3])", "load2(x, 0)"])
def test_misaligned_vectors(line: str) -> None:
    with pytest.raises(KernelAlignmentError):
        launch(kernel(line), 1, 1, numbers(64), numbers(64), np.uint64(64))


def test_a_view_may_be_misaligned() -> None:
    x = numbers(64)
    launch(kernel("a, b, c, d = load4(x, 0)"), 1, 1, x[4:], x, np.uint64(0))
    with pytest.raises(KernelAlignmentError, match="4 bytes into its allocation"):
        launch(kernel("a, b, c, d = load4(x, 0)"), 1, 1, x[1:], x, np.uint64(0))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y[i] = open(x)", "NameError"),
        ("y[x[i]] = x[i]", "TypeError"),
        ("y[i] = float32(uint32(1) << uint32(64))", "shift by 64 bits"),
        ("y[i] = cuda.shfl_xor_sync(0xffffffff, uint32(i), 1)", "shuffles a uint32"),
        ("for j in range(n, cuda.threadIdx.x):\n    y[i] = x[i]", "cut to 32 bits"),
        ("s = cuda.shared.array(20000, float32)\ns[i] = x[i]", "49152"),
        ("atomic_or(y, i, 1)", "no such atomic"),
        ("y[i] = x[i] & x[i]", "no such operation"),
    ],
)
def test_what_the_language_does_not_have(body: str, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        launch(kernel(body), 1, 32, numbers(64), numbers(64), np.uint64(64))


@pytest.mark.parametrize("body", ["s = cuda.shared.array(n, float32)", "y[i] = float32(x=1)", "y[i] = x @ x"])
def test_text_that_is_refused(body: str) -> None:
    with pytest.raises(ArgumentError, match="line 4 of the kernels"):
        Simulator(kernel(body))


def test_launches_that_are_refused() -> None:
    source = kernel("y[i] = x[i]")
    x = numbers(64)
    with pytest.raises(ArgumentError, match="no kernel 'z'"):
        Simulator(source).launch("z", 1, 1, [])
    with pytest.raises(ArgumentError, match="2 arguments"):
        launch(source, 1, 64, x, x)
    with pytest.raises(ArgumentError, match="contiguous"):
        launch(source, 1, 64, x[::2], x, np.uint64(64))
    with pytest.raises(ArgumentError, match="n of k is int"):
        launch(source, 1, 64, x, x, 64)
    with pytest.raises(ArgumentError, match="1 to 1024"):
        launch(source, 1, 2048, x, x, np.uint64(64))
    y = numbers(64)
    y.flags.writeable = False
    with pytest.raises(KernelError, match="read-only"):
        launch(source, 1, 64, x, y, np.uint64(64))
