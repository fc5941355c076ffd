"""Devices for the tests of the CUDA target: simulated ones, and with ``-m cuda`` a real one too."""

from collections.abc import Callable, Iterator

import pytest

from jitgrad import config
from jitgrad.cuda.devices import Device
from jitgrad.cuda.driver import Driver
from jitgrad.cuda.driver_simulated import SimulatedDriver
from jitgrad.cuda.libraries import CudaLibraries, Libraries, SimulatedLibraries
from jitgrad.errors import DeviceError


@pytest.fixture(autouse=True)
def simulated() -> Iterator[None]:
    with config.using(cuda_driver="simulated"):
        yield


@pytest.fixture(params=["at once", "lazy"])
def driver(request: pytest.FixtureRequest) -> SimulatedDriver:
    return SimulatedDriver(total_memory=1 << 24, lazy=request.param == "lazy")


REAL = pytest.param("cuda", marks=pytest.mark.cuda)


def real_driver() -> Driver:
    """A driver of a real GPU."""
    from jitgrad.cuda.driver_cuda import CudaDriver

    return CudaDriver(0)


def with_libraries(kind: str, stood_in: Callable[[SimulatedDriver], CudaLibraries]) -> tuple[Driver, Libraries]:
    """A driver with its libraries: a real one, or a simulated one whose libraries are simulated or stood in for."""
    if kind == "cuda":
        driver = real_driver()
        return driver, CudaLibraries(driver)
    simulated = SimulatedDriver()
    return simulated, SimulatedLibraries(simulated) if kind == "simulated" else stood_in(simulated)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a GPU are skipped where there is none."""
    needing = [item for item in items if item.get_closest_marker("cuda")]
    if not needing:
        return
    try:
        real_driver()
    except DeviceError as error:
        for item in needing:
            item.add_marker(pytest.mark.skip(reason=error.message.split(". ")[0]))


@pytest.fixture(params=["at once", "lazy", REAL])
def gpu(request: pytest.FixtureRequest) -> Device:
    """A device with a pool of its own."""
    if request.param == "cuda":
        return Device(real_driver())
    return Device(SimulatedDriver(total_memory=1 << 24, lazy=request.param == "lazy"))
