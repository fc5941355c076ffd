"""Simulated devices for the tests of the CUDA target."""

import importlib.util
import sys
from collections.abc import Iterator

import pytest

from jitgrad import config
from jitgrad.cuda.devices import Device
from jitgrad.cuda.driver_simulated import SimulatedDriver
from tests.cuda import threads


@pytest.fixture(autouse=True)
def simulated() -> Iterator[None]:
    with config.using(cuda_driver="simulated"):
        yield


@pytest.fixture(autouse=True)
def kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels without barriers run also where there is no simulator."""
    if importlib.util.find_spec("jitgrad.cuda.simulator") is None:
        monkeypatch.setitem(sys.modules, "jitgrad.cuda.simulator", threads)


@pytest.fixture(params=["at once", "lazy"])
def driver(request: pytest.FixtureRequest) -> SimulatedDriver:
    return SimulatedDriver(total_memory=1 << 24, lazy=request.param == "lazy")


@pytest.fixture
def gpu(driver: SimulatedDriver) -> Device:
    return Device(driver)
