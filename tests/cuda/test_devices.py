"""Devices, ``device_put``, and the errors of what is missing."""

import dataclasses
import importlib
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import config
from jitgrad.cuda import driver_cuda
from jitgrad.errors import ArgumentError, DeviceError, DtypeError

X = np.arange(6.0)


def test_devices() -> None:
    first, second = jg.devices()
    assert jg.device() is first is jg.device(0) and jg.device(1) is second
    assert (first.ordinal, first.name, first.arch) == (0, "simulated", "sm_90")
    assert repr(second) == "Device(1, 'simulated', sm_90, 4.0 GiB)"


def test_a_default_device() -> None:
    with jg.device(1) as second:
        assert jg.device() is second and jg.device_put(X).device is second
        with jg.device(0):
            assert jg.device().ordinal == 0
        assert jg.device() is second
    assert jg.device().ordinal == 0


@pytest.mark.parametrize("index", [-1, 1.5, "0", True])
def test_what_is_no_device(index: Any) -> None:
    with pytest.raises(ArgumentError, match="there is no device"):
        jg.device(index)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="there is no device 7: this machine has 2"):
        jg.device(7)


@dataclasses.dataclass
class Layer:
    w: Any
    name: str


def test_trees_are_put() -> None:
    tree = {"w": X, "b": [1.5, np.float32(2)], "layer": Layer(X, "first")}
    put = jg.device_put(tree)
    assert list(put) == ["w", "b", "layer"] and put["layer"].name == "first"
    for leaf in (put["w"], *put["b"], put["layer"].w):
        assert isinstance(leaf, jg.DeviceArray)
    assert put["b"][1].dtype == np.float32 and np.array_equal(put["layer"].w.numpy(), X)


def test_arrays_stay_where_they_are() -> None:
    x = jg.device_put(X, 1)
    assert jg.device_put(x) is x and jg.device_put(x, jg.device(1)) is x


def test_arrays_move() -> None:
    x = jg.device_put(X, 1)
    y = jg.device_put(x[::-1], 0)
    assert y.device.ordinal == 0 and np.array_equal(y.numpy(), X[::-1])


def test_what_is_no_number() -> None:
    with pytest.raises(DtypeError, match="str of dtype <U1 can't be put on a device"):
        jg.device_put(["a"])


def test_memory_of_a_device() -> None:
    gpu = jg.device(0)
    gpu.release_memory()
    before = gpu.memory()
    x = jg.device_put(np.zeros(1 << 16))
    assert gpu.memory().in_use == before.in_use + (1 << 19)
    del x
    gpu.synchronise()
    assert gpu.release_memory() == 1 << 19 and gpu.memory().cached == 0


@pytest.mark.parametrize("name", ["target", "cuda_driver"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} can't be 'tpu'"), config.using(**{name: "tpu"}):
        pass


def test_settings_come_from_the_environment() -> None:
    code = "from jitgrad.config import current as c; print(c().target, c().cuda_driver, c().strict_device, c().tf32)"
    environment = {f"JITGRAD_{k}": v for k, v in {"TARGET": "cuda", "CUDA_DRIVER": "simulated", "TF32": "1"}.items()}
    out = subprocess.run(
        [sys.executable, "-c", code], env={**_environment(), **environment}, check=True, capture_output=True, text=True
    )
    assert out.stdout.split() == ["cuda", "simulated", "False", "True"]


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": ":".join(p for p in sys.path if p)}


def test_jitgrad_imports_nothing_of_cuda() -> None:
    code = "import jitgrad, sys; print([m for m in sys.modules if 'cuda' in m.split('.')[:2] or 'numba.cuda' in m])"
    out = subprocess.run([sys.executable, "-c", code], env=_environment(), check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


def test_names_that_jitgrad_lacks() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = jg.nonsense  # pyright: ignore[reportAttributeAccessIssue]


# What is missing


class Bindings(SimpleNamespace):
    """The bindings of a CUDA driver whose ``cuInit`` and version are given."""

    def __init__(self, init: Any = 0, version: int = 13_000) -> None:
        def start(flags: int) -> tuple[int]:
            if isinstance(init, Exception):
                raise init
            return (init,)

        super().__init__(
            cuInit=start,
            cuDriverGetVersion=lambda: (0, version),
            cuGetErrorName=lambda status: (0, b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
            cuDeviceGetCount=lambda: (0, 1),
        )


@pytest.fixture
def bindings(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Chooses the real driver, on top of such bindings, or of none."""
    original = importlib.import_module

    def choose(module: Any) -> None:
        def imported(name: str) -> Any:
            if name == "cuda.bindings.driver":
                if module is None:
                    raise ModuleNotFoundError(f"No module named {name!r}")
                return module
            return SimpleNamespace(__version__="13.1.0") if name == "cuda.bindings" else original(name)

        monkeypatch.setattr(driver_cuda.importlib, "import_module", imported)

    driver_cuda._bindings.cache_clear()
    with config.using(cuda_driver="cuda"):
        yield choose
    driver_cuda._bindings.cache_clear()


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (None, r"the bindings of the CUDA driver are missing \(No module named 'cuda.bindings.driver'\).*pip install"),
        (Bindings(RuntimeError("libcuda.so.1 not found")), "there is no CUDA driver on this machine.*Install NVIDIA's"),
        (Bindings(100), "there is no GPU that CUDA can use.*CUDA_VISIBLE_DEVICES"),
        (Bindings(803), "can't be started: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH.*nvidia-smi"),
        (Bindings(0, 12_080), r"too old: it is for CUDA 12\.8, and.*for CUDA 13.*jitgrad\[cuda12\]"),
    ],
    ids=["no bindings", "no driver", "no GPU", "broken driver", "old driver"],
)
def test_what_is_missing_is_said(bindings: Any, module: Any, text: str) -> None:
    bindings(module)
    assert jg.devices() == ()
    for use in (jg.device, lambda: jg.device_put(X)):
        with pytest.raises(DeviceError, match=text) as error:
            use()
        assert str(error.value).count(". ") >= 2  # what, why, what to do


def test_a_driver_that_is_new_enough(bindings: Any) -> None:
    bindings(Bindings())
    assert driver_cuda.count() == 1


def test_errors_of_the_device(bindings: Any) -> None:
    module = Bindings()
    module.cuGetErrorString = lambda status: (0, b"an illegal memory access was encountered")
    module.cuGetErrorName = lambda status: (0, b"CUDA_ERROR_ILLEGAL_ADDRESS")
    module.cuDeviceGetCount = lambda: (700, None)
    bindings(module)
    with pytest.raises(DeviceError, match=r"CUDA_ERROR_ILLEGAL_ADDRESS \(an illegal memory access was encountered\)"):
        driver_cuda.count()


def test_arguments_of_kernels_are_packed() -> None:
    import ctypes

    from jitgrad.cuda.driver import Span

    f4, i1 = np.dtype(np.float32), np.dtype(np.int8)
    signature = (f4, f4, ("scalar", f4), ("scalar", i1), ("scalar", np.dtype(np.int64)), ("scalar", np.dtype(bool)))
    _words, pointers = driver_cuda.pack(signature, [1 << 47, Span(512, 4), 2.5, -3, -(1 << 40), True])
    kinds = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_float, ctypes.c_int8, ctypes.c_int64, ctypes.c_bool)
    got = [kind.from_address(address).value for kind, address in zip(kinds, pointers, strict=True)]
    assert got == [1 << 47, 512, 2.5, -3, -(1 << 40), True]
    assert len(driver_cuda.pack((), ())[1]) == 1
