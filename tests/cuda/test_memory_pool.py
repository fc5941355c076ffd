"""The memory pool: reuse, the report of a full device, and random use against a model."""

import random
import threading

import numpy as np
import pytest

from jitgrad.cuda.driver_simulated import SimulatedDriver
from jitgrad.cuda.pool import Memory, Pool, readable, size_class
from jitgrad.errors import OutOfMemoryError

MIB = 1 << 20


@pytest.fixture
def pool(driver: SimulatedDriver) -> Pool:
    return Pool(driver)


@pytest.mark.parametrize("nbytes", [1, 512, 513, 4096, 4097, 10_000, MIB - 1, MIB, MIB + 1, 37 * MIB + 5])
def test_size_classes_are_close(nbytes: int) -> None:
    size = size_class(nbytes)
    assert nbytes <= size <= max(512, nbytes + max(512, nbytes // 8)) and size % 256 == 0
    assert size_class(size) == size


def test_memory_comes_back(pool: Pool) -> None:
    first = pool.allocate(1000)
    address = first.address
    del first
    assert pool.allocate(900).address == address
    assert pool.allocate(100).address != address
    assert pool.statistics().reused == 1


def test_memory_in_use_is_not_shared(pool: Pool) -> None:
    blocks = [pool.allocate(1000) for _ in range(5)]
    assert len({b.address for b in blocks}) == 5


def test_no_bytes(pool: Pool) -> None:
    assert pool.allocate(0).address == 0
    assert pool.statistics().requests == 0


def test_dropped_memory_becomes_garbage(pool: Pool, driver: SimulatedDriver) -> None:
    block = pool.allocate(8)
    address = block.address
    driver.copy_in(address, np.zeros(1))
    del block
    again, out = pool.allocate(8), np.empty(1)
    assert again.address == address
    driver.copy_out(out, address)
    assert np.isnan(out[0])


def test_statistics_and_empty(pool: Pool, driver: SimulatedDriver) -> None:
    kept, dropped = pool.allocate(3 * MIB), pool.allocate(MIB)
    del dropped
    assert pool.statistics() == (3 * MIB, 1, MIB, 1, 4 * MIB, 2, 0)
    assert pool.empty() == MIB
    assert driver.live() == [(kept.address, 3 * MIB)]
    assert pool.statistics().cached == 0
    del kept
    pool.empty()
    driver.check_leaks()


def test_what_is_kept_makes_room(pool: Pool) -> None:
    del_me = [pool.allocate(4 * MIB) for _ in range(3)]
    del del_me
    assert pool.allocate(15 * MIB).nbytes == 15 * MIB


def test_a_full_device_says_what_fills_it(pool: Pool) -> None:
    held = [pool.allocate(8 * MIB, "the weights"), pool.allocate(4 * MIB, "an array")]
    with pytest.raises(OutOfMemoryError) as error:
        pool.allocate(5 * MIB, "the result")
    text = str(error.value)
    for part in (
        "no memory for the result of 5.0 MiB on device 0 (simulated)",
        "16.0 MiB, 4.0 MiB are free",
        "12.0 MiB in 2 blocks",
        "8.0 MiB for the weights, 4.0 MiB for an array",
    ):
        assert part in text
    assert isinstance(error.value, MemoryError)
    del held
    assert pool.allocate(5 * MIB).address


@pytest.mark.parametrize("seed", range(5))
def test_random_use_against_a_model(seed: int, pool: Pool, driver: SimulatedDriver) -> None:
    rng = random.Random(seed)
    held: list[tuple[Memory, int]] = []
    for number in range(400):
        if held and rng.random() < 0.45:
            block, mark = held.pop(rng.randrange(len(held)))
            out = np.empty(block.nbytes, np.uint8)
            driver.copy_out(out, block.address)
            assert np.all(out == mark)  # nobody else wrote there
            del block
        else:
            try:
                block = pool.allocate(rng.choice([1, 700, 5000, 60_000, rng.randrange(1, 2 * MIB)]))
            except OutOfMemoryError:
                assert sum(size_class(b.nbytes) for b, _ in held) > driver.properties.total_memory - 3 * MIB
                held.clear()
                continue
            driver.fill(block.address, number % 251, block.nbytes)
            held.append((block, number % 251))
        state = pool.statistics()
        assert state.in_use == sum(size_class(b.nbytes) for b, _ in held) and state.blocks_in_use == len(held)
        assert state.in_use + state.cached == sum(size for _, size in driver.live())
        if rng.random() < 0.02:
            pool.empty()
    held.clear()
    block = None
    pool.empty()
    driver.check_leaks()


def test_threads_share_a_pool(pool: Pool) -> None:
    def use() -> None:
        for n in range(200):
            held = [pool.allocate(1000 + n), pool.allocate(5000)]
            assert held[0].address != held[1].address

    workers = [threading.Thread(target=use) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert pool.statistics().in_use == 0 and pool.statistics().requests == 1600


def test_readable() -> None:
    assert [readable(n) for n in (5, 2048, 3 * MIB, 5 << 40)] == ["5 bytes", "2.0 KiB", "3.0 MiB", "5120.0 GiB"]
