"""The driver of real devices, through the bindings of CUDA, on a stand-in of the driver's library (``fake_driver.c``).

Each test is a process that finds the stand-in where the system's library would be. The tests that need a GPU run on it,
but for those of what it does not compute: other kernels and NVIDIA's libraries.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc")
HAS_BINDINGS = importlib.util.find_spec("cuda") is not None and importlib.util.find_spec("cuda.bindings") is not None

pytestmark = pytest.mark.skipif(
    not (COMPILER and HAS_BINDINGS and sys.platform == "linux"), reason="needs a C compiler and cuda-bindings"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the stand-in."""
    directory = tmp_path_factory.mktemp("driver")
    command = [COMPILER or "cc", "-shared", "-fPIC", "-o", directory / "libcuda.so.1", HERE / "fake_driver.c", "-ldl"]
    subprocess.run(command, check=True)
    return directory


def run(library: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library), **settings}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=HERE.parent.parent)


def test_what_a_gpu_does(library: Path) -> None:
    files = [str(HERE / f"test_{name}.py") for name in ("drivers", "arrays")]
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "cuda", *files]
    done = run(library, *command, PYTEST_ADDOPTS="")  # it may ask for xdist
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout and "there is no CUDA driver" not in done.stdout


def test_devices(library: Path) -> None:
    code = """
import gc, os, sys
import numpy as np
import jitgrad as jg
x = np.arange(6.0)
print(jg.devices())
a = jg.device_put(x, 1)
b = jg.device_put(a, 0)
assert b.device is jg.device(0) and a.device is jg.device(1) and np.array_equal(b.numpy(), x)

class Other:
    def __init__(self, array):
        self.array, self.__cuda_array_interface__ = array, {**array.__cuda_array_interface__, "stream": None}

taken = jg.device_put(Other(a))
assert taken.address == a.address and taken.device is jg.device(1)
try:
    jg.device(0).driver.copy(1 << 50, b.address, 8)
except jg.errors.DeviceError as error:
    print(error)
try:
    other = Other(a)
    other.__cuda_array_interface__["data"] = (64, False)
    jg.device_put(other)
except jg.errors.DeviceError as error:
    print(error)
del a, b, taken, other
from cuda.bindings import driver as cu
graph = jg.device(1).driver.capture(lambda stream: None)
jg.device(0).driver.synchronise()
before = int(cu.cuCtxGetCurrent()[1])
del graph
gc.collect()
assert int(cu.cuCtxGetCurrent()[1]) == before == 1
assert jg.device(1).release_memory() and jg.device(1).memory().in_use == 0
sys.stdout.flush()
if os.fork() == 0:
    try:
        jg.device_put(x)
    except jg.errors.DeviceError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""
    done = run(library, "-W", "error", "-c", code, JITGRAD_CUDA_DRIVER="cuda")
    assert done.returncode == 0 and not done.stderr, done.stderr
    devices, error, unknown, forked = done.stdout.splitlines()
    assert devices == "(Device(0, 'Fake GPU', sm_90, 64.0 MiB), Device(1, 'Fake GPU', sm_90, 64.0 MiB))"
    assert "a copy failed: CUDA_ERROR_OF_THE_FAKE (an error of the fake driver)" in error
    assert "0x40 is no memory of a GPU" in unknown
    assert "forked after its parent had used it" in forked


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"FAKE_INIT": "100"}, "there is no GPU that CUDA can use"),
        ({"FAKE_INIT": "803"}, "the CUDA driver can't be started: CUDA_ERROR_OF_THE_FAKE"),
        ({"FAKE_VERSION": "11080"}, "the CUDA driver is too old: it is for CUDA 11.8"),
    ],
    ids=["no GPU", "broken", "old"],
)
def test_drivers_that_do_not_do(library: Path, settings: dict[str, str], text: str) -> None:
    code = "import jitgrad as jg\ntry: jg.device()\nexcept jg.errors.DeviceError as e: print(e)\nprint(jg.devices())"
    done = run(library, "-c", code, JITGRAD_CUDA_DRIVER="cuda", **settings)
    assert done.stdout.startswith(text) and done.stdout.endswith("()\n"), done.stderr


def test_the_doctor(library: Path) -> None:
    done = run(library, "-W", "error", "-m", "jitgrad", "doctor", FAKE_VERSION="99010")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert {"ok driver for CUDA 99.1", "ok GPU 1 Fake GPU, sm_90, 64.0 MiB"} <= set(lines), done.stdout
    done = run(library, "-m", "jitgrad", "doctor", FAKE_INIT="803")
    assert "but it does not start: CUDA_ERROR_OF_THE_FAKE" in done.stdout
