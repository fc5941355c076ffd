"""``python -m jitgrad doctor`` where everything is there, and where nothing is."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from jitgrad import config
from jitgrad.cuda import doctor


def by_name(lines: list[doctor.Line]) -> dict[str, doctor.Line]:
    return {line.what: line for line in lines}


class Driver:
    """The library of a driver with such a status, version and number of devices."""

    def __init__(self, status: int = 0, version: int = 13_010, count: int = 2) -> None:
        self.status, self.version, self.count = status, version, count

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDriverGetVersion(self, out: Any) -> None:
        out._obj.value = self.version

    def cuDeviceGetCount(self, out: Any) -> None:
        out._obj.value = self.count

    def cuDeviceGet(self, out: Any, ordinal: int) -> None:
        out._obj.value = ordinal

    def cuDeviceGetName(self, out: Any, size: int, device: Any) -> None:
        out.value = b"NVIDIA Test %d" % device.value

    def cuDeviceTotalMem_v2(self, out: Any, device: Any) -> None:
        assert isinstance(out._obj, ctypes.c_size_t)
        out._obj.value = 80 << 30

    def cuDeviceGetAttribute(self, out: Any, key: int, device: Any) -> None:
        out._obj.value = {75: 9, 76: 0}[key]

    def cuGetErrorName(self, status: int, out: Any) -> None:
        out._obj.value = b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that takes a process of its own is left to the test of the command."""
    monkeypatch.setattr(doctor, "_program", lambda: doctor.Line("a gradient", "compiled, and right"))


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch, no_program: None) -> None:
    monkeypatch.setattr(doctor, "_driver_library", Driver)
    monkeypatch.setattr(doctor, "_version", lambda package: "13.0.1")
    pathfinder = SimpleNamespace(load_nvidia_dynamic_lib=lambda name: SimpleNamespace(abs_path=f"/lib/lib{name}.so"))
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", pathfinder)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, no_program: None) -> None:
    monkeypatch.setattr(doctor, "_driver_library", lambda: None)
    monkeypatch.setattr(doctor, "_version", lambda package: "")
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", None)  # pyright: ignore[reportArgumentType]


def test_everything_is_there(everything: None) -> None:
    lines = by_name(doctor.cuda())
    assert not any(line.advice for line in lines.values())
    assert lines["driver"].found == "for CUDA 13.1"
    assert lines["GPU 1"].found == "NVIDIA Test 1, sm_90, 80.0 GiB"
    assert lines["cublas"].found == "13.0.1 (matrix products), /lib/libcublas.so"
    text, fine = doctor.report()
    assert fine and text.endswith("Programs run on the CPU.\nPrograms run on a GPU.")


def test_nothing_is_there(nothing: None, capsys: pytest.CaptureFixture[str]) -> None:
    lines = by_name(doctor.cuda())
    assert set(lines) == {
        "driver",
        "numba-cuda",
        "cuda-core",
        "cuda-bindings",
        "nvvm",
        "nvjitlink",
        "cublas",
        "cufft",
        "cusolver",
    }
    assert all(line.advice for line in lines.values())
    assert "install NVIDIA's driver" in lines["driver"].advice
    assert 'pip install "jitgrad[cuda]"' in lines["numba-cuda"].advice
    assert doctor.main() == 0
    assert "Programs do not run on a GPU: driver, numba-cuda," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("driver", "what", "found"),
    [
        (Driver(100), "GPU", "none that CUDA can use"),
        (Driver(count=0), "GPU", "none that CUDA can use"),
        (Driver(803), "driver", "for CUDA 13.1, but it does not start: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
        (Driver(version=12_080), "driver", "for CUDA 12.8, older than the packages for CUDA 13"),
        (SimpleNamespace(), "driver", "AttributeError: 'types.SimpleNamespace' object has no attribute 'cuInit'"),
    ],
    ids=["no GPU", "hidden GPU", "broken driver", "old driver", "no driver at all"],
)
def test_an_unfit_driver(everything: None, monkeypatch: pytest.MonkeyPatch, driver: Any, what: str, found: str) -> None:
    monkeypatch.setattr(doctor, "_driver_library", lambda: driver)
    line = by_name(doctor.cuda())[what]
    assert line.found == found and line.advice


def test_a_library_that_is_not_found(everything: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> Any:
        raise RuntimeError("no such file")

    monkeypatch.setattr(sys.modules["cuda.pathfinder"], "load_nvidia_dynamic_lib", find)
    assert by_name(doctor.cuda())["cublas"] == doctor.Line("cublas", "not found (matrix products)", doctor._ADVICE)


def test_the_cpu(tmp_path: Any, no_program: None) -> None:
    with config.using(cache=True, cache_dir=str(tmp_path)):
        lines = by_name(doctor.cpu())
    assert list(lines) == ["LLVM", "BLAS", "threads", "cache", "a gradient"]
    assert not any(line.advice for line in lines.values())
    assert lines["cache"].found == f"{tmp_path}: 0 programs, 0 bytes"
    assert by_name([doctor._cache()])["cache"].found == "off (JITGRAD_CACHE)"


def test_a_broken_part_is_a_line_and_a_status(nothing: None, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def broken() -> doctor.Line:
        raise ArithmeticError("dgemm computes wrong numbers\nand more")

    monkeypatch.setattr(doctor, "_blas", broken)
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert "missing BLAS            ArithmeticError: dgemm computes wrong numbers\n" in out
    assert "Programs may not run on the CPU." in out


@pytest.mark.parametrize(("arguments", "status"), [(["doctor"], 0), ([], 2), (["nurse"], 2), (["--help"], 0)])
def test_the_command(arguments: list[str], status: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-W", "error", "-m", "jitgrad", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    if arguments == ["doctor"]:
        assert "\nCPU\n" in done.stdout and "\nCUDA\n" in done.stdout and "a gradient" in done.stdout
    else:
        assert "usage: python -m jitgrad doctor" in done.stdout + done.stderr
