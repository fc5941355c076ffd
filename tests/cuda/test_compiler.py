"""Kernels compiled offline: what the machine code takes, what is in the PTX, the cache, and errors."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jitgrad import config
from jitgrad.cuda import compiler
from jitgrad.cuda.namespace import kernel_globals
from jitgrad.cuda.simulator import Simulator
from jitgrad.cuda.simulator_libdevice import LIBDEVICE
from jitgrad.errors import ArgumentError, CompilationError
from jitgrad.runtime import cache
from tests.cuda.kernels import CASES, SIGNATURES, SOURCE, f32, f64, i32, i64, n_type, u32, u64

pytest.importorskip("numba_cuda", reason="kernels are compiled by numba-cuda, which is not installed")

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")
F16, BOOL = np.dtype("f2"), np.dtype(bool)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The PTX of every kernel."""
    return compiler.ptx(SOURCE, SIGNATURES, "sm_80")


def one(body: str, *signature: Any, parameters: str = "x, y", arch: str = "sm_80") -> str:
    """The PTX of a kernel of a few lines."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    source = f"def k({parameters}):\n    i = uint64(cuda.threadIdx.x)\n{lines}"
    return compiler.ptx(source, {"k": signature}, arch)["k"]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_all_kernels_in_one_cubin(arch: str) -> None:
    cubin = compiler.compile_kernels(SOURCE, SIGNATURES, arch)
    assert cubin.code.startswith(b"\x7fELF")
    assert cubin.arch == arch
    assert list(cubin.kernels) == list(SIGNATURES)
    for case in CASES:
        kernel = cubin.kernels[case.kernel]
        assert kernel.signature == case.signature
        assert kernel.symbol.encode() in cubin.code
        assert kernel.spill_bytes == 0
        assert kernel.stack_bytes == 0
        assert 0 < kernel.registers <= case.registers
    reserved = 1024 if arch == "sm_90" else 0  # by the system
    assert cubin.kernels["transpose"].shared_bytes == 1056 * 4 + reserved
    assert cubin.kernels["axpy"].shared_bytes == 0


def test_float32_stays_float32(texts: dict[str, str]) -> None:
    for case in CASES:
        kinds = [p[1] if isinstance(p, tuple) else p for p in case.signature]
        assert (".f64" in texts[case.kernel]) == (f64 in kinds), case.kernel


def test_a_stray_float64_would_show() -> None:
    assert ".f64" in one("y[i] = x[i] * 0.1", f32, f32)


def test_vector_accesses(texts: dict[str, str]) -> None:
    assert texts["axpy4"].count("ld.global.v4.f32") == 2
    assert texts["axpy4"].count("st.global.v4.f32") == 1
    assert texts["scale2"].count("ld.global.v2.f64") == 1
    assert texts["scale2"].count("st.global.v2.f64") == 1


def test_vector_accesses_of_integers_and_shared_memory() -> None:
    body = """s = cuda.shared.array(128, uint32)
a, b, c, d = load4(x, i * uint64(4))
store4(s, i * uint64(4), d, c, b, a)
cuda.syncthreads()
a, b, c, d = load4(s, i * uint64(4))
store4(y, i * uint64(4), a, b, c, d)"""
    code = one(body, u32, u32)
    for access in ("ld.global.v4.u32", "st.shared.v4.u32", "ld.shared.v4.u32", "st.global.v4.u32"):
        assert access in code
    assert ".v2.u64" in one("a, b = load2(x, i)\nstore2(y, i, b, a)", i64, i64)


def test_constant_data_is_read_through_its_cache() -> None:
    body = "y[i] = x[i]"
    assert "ld.global.nc.f32" in one(body, ("const", f32), f32)
    assert ".nc" not in one(body, f32, f32)
    vectors = "a, b, c, d = load4(x, i * uint64(4))\nstore4(y, i * uint64(4), d, c, b, a)"
    assert "ld.global.nc.v4.f32" in one(vectors, ("const", f32), f32)


def test_atomics(texts: dict[str, str]) -> None:
    assert "red.global.add.f32" in texts["scatter"]
    assert re.search(r"(red|atom)\.global\.add\.u32", texts["scatter"])
    assert "cas.b32" in texts["scatter"]  # the maximum of floats


@pytest.mark.parametrize("arch", ["sm_75", "sm_100"])
@pytest.mark.parametrize("dtype", [f32, f64, i32, i64, u32, u64], ids=str)
@pytest.mark.parametrize("name", ["add", "mul", "max", "min", "or", "and"])
def test_every_atomic_of_every_dtype(name: str, dtype: np.dtype, arch: str) -> None:
    body = f"s = cuda.shared.array(4, {dtype.name})\natomic_{name}(s, i, x[i])\natomic_{name}(y, i, s[i])"
    if name in ("or", "and") and dtype not in (i32, u32):
        with pytest.raises(CompilationError, match="kernel 'k' can't be compiled"):
            one(body, dtype, dtype, arch=arch)
        return
    code = one(body, dtype, dtype, arch=arch)
    if name == "add" and dtype.kind == "f":
        for space in ("shared", "global"):
            assert f"red.{space}.add.f{8 * dtype.itemsize}" in code
    by_swapping = name == "mul" or (dtype.kind == "f" and name != "add")
    assert ("cas.b" in code) == by_swapping
    if name in ("max", "min"):
        assert by_swapping or f".{name}.{'s' if dtype.kind == 'i' else 'u'}{8 * dtype.itemsize}" in code


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
def test_pointers_to_every_dtype(dtype: str) -> None:
    kind = np.dtype(dtype)
    name = "bool_" if dtype == "?" else kind.name
    code = one(f"y[i] = x[i]\ny[i + uint64(1)] = {name}(float32(x[i + uint64(1)]))\ny[i + uint64(2)] = a",
               kind, kind, ("scalar", kind), parameters="x, y, a")  # fmt: skip
    assert len(re.findall(rf"st\.global\.[usbf]{8 * kind.itemsize}\s", code)) == 3


@pytest.mark.parametrize("dtype", [f32, f64, i32, i64], ids=str)
def test_shuffles_of_every_dtype(dtype: np.dtype) -> None:
    body = """v = cuda.shfl_xor_sync(0xffffffff, x[i], 16)
v = cuda.shfl_up_sync(0xffffffff, v, 1)
v = cuda.shfl_down_sync(0xffffffff, v, uint32(2))
cuda.syncwarp()
y[i] = cuda.shfl_sync(0xffffffff, v, 0)"""
    assert one(body, dtype, dtype).count("shfl.sync") == 4 * dtype.itemsize // 4


def test_products_and_sums_are_contracted_and_nothing_else_is_relaxed() -> None:
    code = one("y[i] = libdevice.sqrtf(x[i] * x[i] + y[i]) / x[i]", f32, f32)
    assert "fma.rn.f32" in code
    assert "sqrt.rn.f32" in code
    assert re.search(r"div\.rn\.f32", code)
    assert ".approx" not in code
    assert ".ftz" not in code


def test_the_simulator_has_no_function_that_libdevice_lacks() -> None:
    known = kernel_globals()["libdevice"]
    assert [name for name in LIBDEVICE if not hasattr(known, name)] == []


def test_the_simulator_has_every_name() -> None:
    simulated = Simulator("def k():\n    return\n").kernels["k"].function.__globals__
    waits = {"grid_sync", "device"}  # these are rewritten
    assert set(kernel_globals()) - waits <= set(simulated)


@pytest.mark.parametrize(
    "text",
    ["u * u", "u + 1", "j + j", "f * 0.5", "f * j", "f ** 2", "j / j", "u << uint32(8)", "j << 4", "~u", "-u", "j // 2",
     "uint32(u * u)", "b & b", "~b", "u == u", "b + b", "libdevice.umulhi(j, j)", "libdevice.expf(f)",
     "libdevice.float2ll_rn(f)", "cuda.threadIdx.x", "cuda.laneid", "u - h", "h * h"],
)  # fmt: skip
def test_the_simulators_types_are_the_compilers(text: str) -> None:
    """A tuple is unpacked only if its element has the dtype of the place: each type has its own store."""
    seen: list[Any] = []
    source = f"def k(y, u, j, f, b, h):\n    look({text})\n"
    sim = Simulator(source)
    sim.kernels["k"].function.__globals__["look"] = seen.append
    numbers = [np.zeros(1), np.uint32(7), np.int32(5), np.float32(0.5), np.bool_(True), np.uint8(3)]
    sim.launch("k", 1, 1, numbers)
    inferred = []
    namespace = kernel_globals()
    cuda = namespace["cuda"]

    @cuda.extending.intrinsic
    def look(typingctx: Any, value: Any) -> Any:
        inferred.append(str(value))
        return cuda.types.void(value), lambda context, builder, signature, args: context.get_dummy_value()

    exec(source, namespace | {"look": look}, namespace)
    namespace["look"] = look
    kinds = [("scalar", np.dtype(t)) for t in ("u4", "i4", "f4", "?", "u1")]
    compiler._lowered(namespace["k"], "k", (f64, *kinds), (8, 0), None)
    assert type(seen[0]).__name__.rstrip("_") == inferred[0]


def test_a_kernel_takes_no_more_registers_than_its_threads_can_have() -> None:
    loads = [f"v{k} = x[i + uint64({k})]" for k in range(70)]
    steps = [f"    v{k} = v{k} * v{(k + 1) % 70} + y[j]" for k in range(70)]  # all are alive in the loop
    stores = [f"y[i + uint64({k})] = v{k}" for k in range(70)]
    body = ["i = uint64(cuda.threadIdx.x)", *loads, "for j in range(uint64(cuda.blockDim.x)):", *steps, *stores]
    source = "def k(x, y):\n" + "".join(f"    {line}\n" for line in body)
    free = compiler.compile_kernels(source, {"k": (f32, f32)}, "sm_90").kernels["k"]
    bound = compiler.compile_kernels(source, {"k": (f32, f32)}, "sm_90", threads={"k": 1024}).kernels["k"]
    assert free.registers > 64
    assert bound.registers <= 64
    assert bound.spill_bytes > 0  # which the linker tells


# The cache on disk.


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    with config.using(cache=True, cache_dir=str(tmp_path / "store")):
        yield tmp_path / "store"
    cache.fingerprint.cache_clear()


def test_cubins_are_kept_on_disk(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signatures = {"axpy": SIGNATURES["axpy"]}
    first = compiler.compile_kernels(SOURCE, signatures, "sm_80")
    other = compiler.compile_kernels(SOURCE, signatures, "sm_90")
    compiler.compile_kernels(SOURCE, {"axpy": (f64, f64, ("scalar", f64), n_type)}, "sm_80")
    assert len(list(store.glob("*.jitgrad"))) == 3
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_front", None)
        assert compiler.compile_kernels(SOURCE, signatures, "sm_80") == first
        assert compiler.compile_kernels(SOURCE, signatures, "sm_90") == other
    monkeypatch.setattr(compiler, "_versions", lambda: ("another",))
    compiler.compile_kernels(SOURCE, signatures, "sm_80")
    assert len(list(store.glob("*.jitgrad"))) == 4


def test_a_damaged_cubin_is_compiled_anew(store: Path) -> None:
    signatures = {"axpy": SIGNATURES["axpy"]}
    first = compiler.compile_kernels(SOURCE, signatures, "sm_80")
    (path,) = store.glob("*.jitgrad")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again = compiler.compile_kernels(SOURCE, signatures, "sm_80")
    assert again.kernels == first.kernels
    assert path.read_bytes() != bytes(data)


def test_a_cubin_from_disk_needs_no_compiler(store: Path) -> None:
    compiler.compile_kernels(SOURCE, SIGNATURES, "sm_80")
    code = (
        "import sys\n"
        "from jitgrad.cuda.compiler import compile_kernels\n"
        "from tests.cuda.kernels import SIGNATURES, SOURCE\n"
        "assert len(compile_kernels(SOURCE, SIGNATURES, 'sm_80').kernels) == len(SIGNATURES)\n"
        "assert not [name for name in sys.modules if name.startswith(('numba.cuda', 'cuda.'))]\n"
    )
    environment = {"JITGRAD_CACHE": "1", "JITGRAD_CACHE_DIR": str(store), "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


# Errors.


def test_a_text_that_does_not_compile_names_the_kernel_and_the_line() -> None:
    source = "def first(x):\n    x[0] = float32(1.0)\n\ndef second(x):\n    y = x[0]\n    x[1] = y + nothing\n"
    with pytest.raises(CompilationError, match=r"(?s)kernel 'second'.*nothing.*line|kernel 'second'") as caught:
        compiler.compile_kernels(source, {"first": (f32,), "second": (f32,)}, "sm_80")
    assert caught.value.location is not None
    assert (caught.value.location.line, caught.value.location.function) == (6, "second")
    assert "x[1] = y + nothing" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("y[i] = x[i] +", 3),
        ("y[i] = x + y", 3),
        ("y[i] = libdevice.nothing(x[i])", 3),
        ("a, b = load2(x, i)", 3),
        ("store4(y, i, x[i], x[i])", 3),
        ("y[i] = x[i]\nreturn y[i]", None),
        ("y[i] = cuda.shfl_xor_sync(0xffffffff, uint32(i), 1)", 3),
    ],
)
def test_mistakes(body: str, line: int | None) -> None:
    with pytest.raises(CompilationError) as caught:
        one(body, f32, f32)
    assert (caught.value.location and caught.value.location.line) == line


def test_a_kernel_without_text_and_architectures_that_are_none() -> None:
    with pytest.raises(CompilationError, match="kernel 'z'"):
        compiler.compile_kernels("def k(x):\n    x[0] = x[1]\n", {"z": (f32,)}, "sm_80")
    with pytest.raises(ArgumentError, match="no architecture"):
        compiler.compile_kernels(SOURCE, SIGNATURES, "h100")
    with pytest.raises(CompilationError):
        compiler.compile_kernels(SOURCE, {"axpy": SIGNATURES["axpy"]}, "sm_10")


def test_too_much_shared_memory() -> None:
    source = "def k(x):\n    s = cuda.shared.array(20000, float32)\n    s[0] = x[0]\n    x[1] = s[cuda.threadIdx.x]\n"
    with pytest.raises(CompilationError, match="can't be linked for sm_80"):
        compiler.compile_kernels(source, {"k": (f32,)}, "sm_80")


def test_importing_jitgrad_imports_no_cuda() -> None:
    code = (
        "import sys, jitgrad, jitgrad.cuda.compiler, jitgrad.cuda.simulator\nassert 'numba.cuda' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=True, timeout=120)
