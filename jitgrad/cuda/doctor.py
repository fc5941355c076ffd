"""What ``python -m jitgrad doctor`` prints: what is there for programs on the CPU and on GPUs, and what is missing.

It needs nothing of CUDA. No finding is an exception: whatever goes wrong is a line of the report.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jitgrad import config
from jitgrad.cuda.pool import readable
from jitgrad.version import __version__

#: The packages that may have each library, for CUDA 13 and 12, by the name that cuda.pathfinder knows it by; and what
#: it is for.
_LIBRARIES = {
    "nvvm": ("nvidia-nvvm", "nvidia-cuda-nvcc-cu12", "compiles kernels"),
    "nvJitLink": ("nvidia-nvjitlink", "nvidia-nvjitlink-cu12", "links kernels"),
    "cublas": ("nvidia-cublas", "nvidia-cublas-cu12", "matrix products"),
    "cufft": ("nvidia-cufft", "nvidia-cufft-cu12", "Fourier transforms"),
    "cusolver": ("nvidia-cusolver", "nvidia-cusolver-cu12", "factorizations and solves"),
}
_PACKAGES = {"numba-cuda": "compiles kernels", "cuda-core": "belongs to numba-cuda", "cuda-bindings": "runs kernels"}
#: Numbers of attributes of devices in the driver's interface.
_MAJOR, _MINOR = 75, 76


class Line(NamedTuple):
    """A finding: ``what`` it is about, what was found, and, where something is missing, the ``advice``."""

    what: str
    found: str
    advice: str = ""

    def __str__(self) -> str:
        mark = "missing" if self.advice else "ok"
        return f"  {mark:8}{self.what:16}{self.found}" + (f"\n{'':26}-> {self.advice}" if self.advice else "")


def _careful(what: str, look: Callable[[], Line], advice: str) -> Line:
    """The finding of ``look``, or what went wrong."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001  (a report must not end at the first thing that is broken)
        text = str(error).strip().splitlines()
        return Line(what, f"{type(error).__name__}: {text[0] if text else ''}", advice)


# The CPU


def _llvm() -> Line:
    import llvmlite
    import numba
    from llvmlite import binding

    version = ".".join(map(str, binding.llvm_version_info))
    return Line("LLVM", f"{version} (llvmlite {llvmlite.__version__}, numba {numba.__version__})")


def _blas() -> Line:
    import numpy as np
    import scipy
    from scipy.linalg import get_blas_funcs

    gemm: Any = get_blas_funcs("gemm", dtype=np.float64)
    if gemm(1.0, np.eye(2), np.full((2, 2), 3.0))[0, 0] != 3:
        raise ArithmeticError("gemm computes wrong numbers")
    built = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]  # pyright: ignore[reportOptionalSubscript]
    return Line("BLAS", f"{built.get('name', 'unknown')} {built.get('version', '')} (scipy {scipy.__version__})")


def _threads() -> Line:
    from jitgrad.runtime.threads import get_num_threads

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Line("threads", f"{get_num_threads()} on {cores} cores")


def _program() -> Line:
    """A small program, compiled and run."""
    code = (
        "import numpy as np, jitgrad as jg\n"
        "x = np.arange(5.0)\n"
        "assert np.allclose(jg.grad(lambda x: np.sum(np.sin(x) @ x))(x), np.cos(x) * x + np.sin(x))\n"
    )
    environment = {**os.environ, "JITGRAD_CACHE": "0", "JITGRAD_TARGET": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=300, capture_output=True)
    return Line("a gradient", "compiled, and right")


def _cache() -> Line:
    from jitgrad.runtime import cache

    if not config.current().cache:
        return Line("cache", "off (JITGRAD_CACHE)")
    info = cache.cache_info()
    state = f"{info.directory}: {info.entries} programs, {readable(info.nbytes)}"
    place = info.directory
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        return Line("cache", f"{state}; it can't be written", "set JITGRAD_CACHE_DIR to a directory of your own")
    return Line("cache", state)


def cpu() -> list[Line]:
    """What programs for the CPU need."""
    again = "install jitgrad again: pip install --force-reinstall jitgrad"
    return [
        _careful("LLVM", _llvm, again),
        _careful("BLAS", _blas, again),
        _careful("threads", _threads, again),
        _careful("cache", _cache, "set JITGRAD_CACHE_DIR to a directory of your own"),
        _careful("a gradient", _program, again),
    ]


# CUDA


def _driver_library() -> Any:
    """The library of the driver, by itself, so that it is found without any package."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    with contextlib.suppress(OSError):
        return ctypes.CDLL(name)
    return None


def _driver(library: Any) -> Iterator[Line]:
    """The driver and its devices."""
    advice = 'install NVIDIA\'s driver; programs run on the CPU without one (target="cpu")'
    if library is None:
        yield Line("driver", "its library (libcuda) was not found", advice)
        return
    version, status = ctypes.c_int(), library.cuInit(0)
    library.cuDriverGetVersion(ctypes.byref(version))
    text = f"for CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    if status not in (0, 100):  # 100: no device
        name = ctypes.c_char_p()
        library.cuGetErrorName(status, ctypes.byref(name))
        reason = (name.value or b"").decode() or f"error {status}"
        yield Line("driver", f"{text}, but it does not start: {reason}", "look at nvidia-smi, or install it again")
        return
    bindings = _version("cuda-bindings")
    major = int(bindings.split(".")[0]) if bindings else 0
    if version.value // 1000 < major:
        advice = f'update it to one for CUDA {major}, or: pip install "jitgrad[cuda12]"'
        yield Line("driver", f"{text}, older than the packages for CUDA {major}", advice)
    else:
        yield Line("driver", text)
    count = ctypes.c_int()
    if status == 0:
        library.cuDeviceGetCount(ctypes.byref(count))
    if count.value == 0:
        yield Line("GPU", "none that CUDA can use", "plug one in, or look at CUDA_VISIBLE_DEVICES")
    for k in range(count.value):
        yield _device(library, k)


def _device(library: Any, ordinal: int) -> Line:
    device, name, total = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.cuDeviceGet(ctypes.byref(device), ordinal)
    library.cuDeviceGetName(name, 256, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return Line(f"GPU {ordinal}", f"{name.value.decode()}, sm_{major.value}{minor.value}, {readable(total.value)}")


def _version(package: str) -> str:
    """The version of an installed package; empty for one that is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


_ADVICE = 'pip install "jitgrad[cuda]" (for a driver of CUDA 12: "jitgrad[cuda12]")'


def _package(package: str, purpose: str) -> Line:
    version = _version(package)
    return Line(package, f"{version} ({purpose})") if version else Line(package, f"not there ({purpose})", _ADVICE)


def _library(name: str) -> Line:
    package, older, purpose = _LIBRARIES[name]
    with contextlib.suppress(ImportError):
        pathfinder = importlib.import_module("cuda.pathfinder")
        try:
            found = pathfinder.load_nvidia_dynamic_lib(name)
        except RuntimeError:
            pass
        else:
            version = _version(package) or _version(older) or "of unknown version"
            return Line(name.lower(), f"{version} ({purpose}), {found.abs_path}")
    return Line(name.lower(), f"not found ({purpose})", _ADVICE)


def cuda() -> list[Line]:
    """What programs for a GPU need."""
    lines = list(_careful_all("driver", lambda: _driver(_driver_library()), "install NVIDIA's driver again"))
    lines += [_careful(p, lambda p=p, use=use: _package(p, use), _ADVICE) for p, use in _PACKAGES.items()]
    lines += [_careful(name.lower(), lambda name=name: _library(name), _ADVICE) for name in _LIBRARIES]
    return lines


def _careful_all(what: str, look: Callable[[], Iterator[Line]], advice: str) -> Iterator[Line]:
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001  (as above)
        yield Line(what, f"{type(error).__name__}: {error}", advice)


def report() -> tuple[str, bool]:
    """The whole report, and whether programs run on the CPU."""
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    on_cpu, on_gpu = cpu(), cuda()
    fine = not any(line.advice for line in on_cpu)
    missing = [line.what for line in on_gpu if line.advice]
    text = [f"jitgrad {__version__}, {system}", "", "CPU", *map(str, on_cpu), "", "CUDA", *map(str, on_gpu), ""]
    text.append("Programs run on the CPU." if fine else "Programs may not run on the CPU.")
    lacking = f"Programs do not run on a GPU: {', '.join(missing)} missing or unfit."
    text.append(lacking if missing else "Programs run on a GPU.")
    return "\n".join(text), fine


def main() -> int:
    """Print the report; the exit status is 0 where programs run on the CPU."""
    text, fine = report()
    print(text)
    return 0 if fine else 1
