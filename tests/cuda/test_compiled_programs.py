"""Whole programs compiled offline: registers, spills, and no double precision in single precision programs."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.cuda import adjugates
from jitgrad.cuda.compiler import Cubin, compile_kernels, ptx
from jitgrad.cuda.grid import LEAST
from jitgrad.cuda.program import CudaExecutable
from jitgrad.cuda.sorting import kernels
from tests.cuda.device_programs import PROGRAMS, executable, floats

pytest.importorskip("numba_cuda", reason="kernels are compiled by numba-cuda, which is not installed")

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")
#: In single precision throughout.
SINGLE = (
    "layer_norm",
    "attended",
    "cross_entropy",
    "mlp",
    "scan",
    "totals",
    "discounted",
    "transposes",
    "transposed_softmax",
    "columns",
    "embedding",
    "heat",
)


@functools.cache
def made(name: str, least: int) -> CudaExecutable:
    function, args = PROGRAMS[name]
    return executable(jg.trace(jg.value_and_grad(function, floats(args)), *args), least)


def frugal(cubin: Cubin, most: int = 128) -> None:
    """No kernel puts registers into memory, or needs so many that few threads fit."""
    for kernel in cubin.kernels.values():
        assert kernel.spill_bytes == 0 and kernel.stack_bytes == 0, kernel.name
        assert 0 < kernel.registers <= most, kernel.name


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(
    "name",
    [
        "layer_norm",
        "cross_entropy",
        "columns",
        "transposes",
        "transposed_softmax",
        "attended",
        "scan",
        "totals",
        "discounted",
    ],
)
def test_kernels_for_every_architecture(name: str, arch: str) -> None:
    for least in (LEAST, 0):
        frugal(made(name, least).cubin(arch))


@pytest.mark.parametrize("name", SINGLE)
def test_single_precision_stays_single(name: str) -> None:
    program = made(name, 0)
    frugal(program.cubin("sm_80"), 255 if name == "mlp" else 128)  # all of its small loops are unrolled
    for kernel, text in ptx(program.module.text, program.signatures, "sm_80").items():
        assert ".f64" not in text, kernel


@pytest.mark.parametrize("name", [n for n in SINGLE if n != "mlp"])
def test_half_precision(name: str) -> None:
    """In memory only: it is converted from and to single precision, and nothing is double."""
    function, args = PROGRAMS[name]
    arrays = [a.astype(np.float16) if a.dtype.kind == "f" else a for a in args]
    program = executable(jg.trace(jg.value_and_grad(function, floats(args)), *arrays), 0)
    for arch in ("sm_75", "sm_90"):
        frugal(program.cubin(arch))
    texts = ptx(program.module.text, program.signatures, "sm_80")
    assert not any(".f64" in text for text in texts.values())
    assert any("cvt.rn.f16.f32" in text for text in texts.values())


def test_four_elements_of_half_precision_are_one_access() -> None:
    x = np.ones(64, np.float16)
    program = executable(jg.trace(lambda x: x * x + x, x), 0)
    frugal(program.cubin("sm_75"))
    (text,) = ptx(program.module.text, program.signatures, "sm_80").values()
    assert re.search(r"ld\.global\S*(v4\.[ub]16|v2\.[ub]32|[ub]64)", text), text
    assert "cvt.rn.f16.f32" in text


def bfloat16() -> np.dtype:
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)


@pytest.mark.parametrize("name", [n for n in SINGLE if n != "mlp"])
def test_bfloat16(name: str) -> None:
    """As float16, but its bits are converted by integer operations, on GPUs that have no instructions for it too."""
    function, args = PROGRAMS[name]
    arrays = [a.astype(bfloat16()) if a.dtype.kind == "f" else a for a in args]
    program = executable(jg.trace(jg.value_and_grad(function, floats(args)), *arrays), 0)
    for arch in ("sm_75", "sm_100"):
        frugal(program.cubin(arch))
    texts = ptx(program.module.text, program.signatures, "sm_80")
    assert not any(".f64" in text for text in texts.values())


def test_four_elements_of_bfloat16_are_one_access() -> None:
    x = np.ones(64, bfloat16())
    program = executable(jg.trace(lambda x: x * x + x, x), 0)
    for arch in ("sm_75", "sm_80", "sm_90", "sm_100"):
        frugal(program.cubin(arch))
    (text,) = ptx(program.module.text, program.signatures, "sm_80").values()
    assert re.search(r"ld\.global\S*(v4\.[ub]16|v2\.[ub]32|[ub]64)", text), text


def test_bfloat16_beside_other_dtypes() -> None:
    """Conversions, sums over a team, updates in place and of what threads share."""
    short = bfloat16()

    def f(x: np.ndarray, k: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, ...]:
        a = np.zeros(9, short)
        np.add.at(a, k % 9, x)
        return a, x.astype(np.int32), k.astype(short), w.astype(short), x.astype(bool), np.max(x), np.sum(x), np.sort(x)

    arrays = np.ones(4096, short), np.arange(4096), np.ones(4096)
    for least in (LEAST, 0):
        program = executable(jg.trace(f, *arrays), least)
        for arch in ("sm_75", "sm_100"):
            frugal(program.cubin(arch))


def test_shared_arrays_are_in_shared_memory() -> None:
    program = made("attended", 0)
    (kernel,) = (k for k in program.module.kernels.values() if k.launch.shared)
    most = program.cubin("sm_80").kernels[kernel.name].shared_bytes
    assert most == sum(t.nbytes for t in kernel.launch.shared) > 0


def test_integers_and_bools_compile() -> None:
    def f(x: np.ndarray, k: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
        return np.where(b, x, 1), (k * 3) // 5 % 7, b & (k > 2), k.astype(np.int8) << 2, np.max(k), np.any(b)

    arrays = np.ones(9, np.float32), np.arange(9), np.arange(9) > 3
    for least in (LEAST, 0):
        frugal(executable(jg.trace(f, *arrays), least).cubin("sm_80"))


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(("name", "dtype"), [("sort_rows", "float32"), ("argsort_rows", "float64")])
def test_sorts(name: str, dtype: str, arch: str) -> None:
    code = kernels(name, np.dtype(dtype))
    cubin = compile_kernels(code.source, code.signatures, arch)
    frugal(cubin)
    assert all(k.shared_bytes <= 48 * 1024 for k in cubin.kernels.values())


def test_sorts_of_other_dtypes() -> None:
    for name, dtype in (("sort_rows", "uint64"), ("argsort_rows", "int8"), ("argsort_rows", "bool")):
        code = kernels(name, np.dtype(dtype))
        frugal(compile_kernels(code.source, code.signatures, "sm_80"))


def test_the_assembly_of_a_program_has_its_sorts() -> None:
    text = executable(jg.trace(lambda x: np.sort(x), np.ones(9, np.float32))).asm("sm_80")
    assert ".entry jitgrad_merge_runs" in text and ".f64" not in text


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_adjugates(arch: str) -> None:
    for dtype in (np.float32, np.float64):
        code = adjugates.kernels(np.dtype(dtype), 256)
        frugal(compile_kernels(code.source, code.signatures, arch))
        assert dtype == np.float64 or ".f64" not in "".join(ptx(code.source, code.signatures, arch).values())
