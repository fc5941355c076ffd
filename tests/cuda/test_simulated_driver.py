"""The simulated driver: what it reports, and when lazy work runs."""

import numpy as np
import pytest

from jitgrad.cuda.driver import Driver, Span
from jitgrad.cuda.driver_simulated import SimulatedDriver
from jitgrad.errors import DeviceError
from tests.cuda.test_drivers import CODE

X = np.arange(10, dtype=np.float32)


def put(driver: Driver, array: np.ndarray) -> int:
    address = driver.allocate(array.nbytes)
    assert address
    driver.copy_in(address, array)
    return address


def get(driver: Driver, address: int, like: np.ndarray) -> np.ndarray:
    out = np.empty_like(like)
    driver.copy_out(out, address)
    return out


def test_memory_is_garbage_until_it_is_written(driver: SimulatedDriver) -> None:
    address = driver.allocate(40)
    assert address and address % 256 == 0
    assert np.all(np.isnan(get(driver, address, X)))


def test_rows_that_overlap_are_refused(driver: SimulatedDriver) -> None:
    with pytest.raises(DeviceError, match="would overlap"):
        driver.copy_rows(1, 4, 2, 24, 8, 4)


def test_use_after_free(driver: SimulatedDriver) -> None:
    address = put(driver, X)
    driver.free(address)
    with pytest.raises(DeviceError, match=r"allocation 1 \(40 bytes at .*\), which was freed"):
        get(driver, address, X)


def test_a_second_free(driver: SimulatedDriver) -> None:
    address = put(driver, X)
    driver.free(address)
    with pytest.raises(DeviceError, match="was freed before"):
        driver.free(address)
    with pytest.raises(DeviceError, match="not the start of an allocation"):
        driver.free(address + 1)


def test_out_of_bounds(driver: SimulatedDriver) -> None:
    address = put(driver, X)
    with pytest.raises(DeviceError, match="40 bytes from byte 4 of allocation 1"):
        get(driver, address + 4, X)
    with pytest.raises(DeviceError, match="from byte 40 of allocation 1"):
        get(driver, address + 40, X)
    with pytest.raises(DeviceError, match="is no address"):
        get(driver, 4096, X)


def test_leaks(driver: SimulatedDriver) -> None:
    a, b = put(driver, X), put(driver, X)
    driver.free(a)
    with pytest.raises(DeviceError, match=r"1 allocations were not freed: allocation 2 \(40 bytes"):
        driver.check_leaks()
    driver.free(b)
    driver.check_leaks()


def test_no_more_memory(driver: SimulatedDriver) -> None:
    assert driver.allocate(driver.properties.total_memory + 1) is None
    with pytest.raises(DeviceError, match="0 bytes can't be allocated"):
        driver.allocate(0)


def test_a_kernel(driver: SimulatedDriver) -> None:
    kernel = driver.load(CODE).kernels["axpy"]
    x, y = put(driver, X), put(driver, X)
    driver.launch(kernel, 2, 8, [Span(y, 40), x, 2.0, 10])
    assert driver.launches == (0 if driver.lazy else 1)
    assert np.array_equal(get(driver, y, X), 3 * X)
    assert driver.launches == 1


def test_bad_launches(driver: SimulatedDriver) -> None:
    kernel = driver.load(CODE).kernels["axpy"]
    with pytest.raises(DeviceError, match="got 2 arguments, not 4"):
        driver.launch(kernel, 1, 8, [1, 2])
    with pytest.raises(DeviceError, match="0 blocks of 8 threads"):
        driver.launch(kernel, 0, 8, [1, 2, 3, 4])
    with pytest.raises(DeviceError, match="1 blocks of 2048 threads"):
        driver.launch(kernel, 1, 2048, [1, 2, 3, 4])


def test_misaligned_pointers(driver: SimulatedDriver) -> None:
    kernel, x = driver.load(CODE).kernels["axpy"], put(driver, X)
    with pytest.raises(DeviceError, match="multiples of their size, 4"):
        driver.launch(kernel, 1, 8, [x + 2, x, 2.0, 1])
        driver.synchronise()


def test_lazy_work_waits() -> None:
    driver = SimulatedDriver(lazy=True)
    x, stream = put(driver, X), driver.new_stream()
    seen: list[int] = []
    driver.enqueue(lambda _: seen.append(1), stream)
    event = driver.record(stream)
    driver.wait(event)
    driver.enqueue(lambda _: seen.append(2))
    assert seen == []
    get(driver, x, X)
    assert seen == [1, 2]
    assert driver.elapsed(event, driver.record()) >= 0


def test_an_error_of_lazy_work_shows_where_it_is_waited_for() -> None:
    driver = SimulatedDriver(lazy=True)
    driver.fill(4096, 0, 1)
    with pytest.raises(DeviceError, match="is no address"):
        driver.synchronise()


def test_devices_have_addresses_of_their_own() -> None:
    first, second = SimulatedDriver(0), SimulatedDriver(1)
    a, b = put(first, X), second.allocate(40)
    assert b
    second.copy_from(b, first, a, 40)
    assert np.array_equal(get(second, b, X), X)
    assert first.owns(a) and not first.owns(b) and second.owns(b)
    with pytest.raises(DeviceError, match="no address of simulated device 1"):
        get(second, a, X)
