"""The memory of large results, which is kept for the next ones."""

import gc
import pickle
import subprocess
import sys
import textwrap
import threading
import tracemalloc

import numpy as np
import pytest
from numpy._core.multiarray import get_handler_name

import jitgrad as jg
from jitgrad import config
from jitgrad.runtime import direct, pool
from jitgrad.runtime.direct import allocator

pytestmark = pytest.mark.skipif(not pool.available(), reason="results have a pool on Linux")

LARGE = pool.LARGE // 8
F64 = np.dtype(np.float64)


def made(*sizes):
    return allocator([((n,), F64) for n in sizes])


def address(array):
    return array.__array_interface__["data"][0]


@pytest.fixture(autouse=True)
def empty():
    gc.collect()
    jg.release_memory()
    yield the_pool()
    jg.release_memory()


def the_pool():
    found = direct._pool()
    assert found is not None
    return found


def test_a_dropped_result_is_the_memory_of_the_next(empty):
    make = made(LARGE, 3 * LARGE, LARGE - 1)
    results = make()
    first = [address(a) for a in results]
    assert empty.held == 0
    assert all(p % 64 == 0 for p in first[:2])
    del results
    assert empty.held == 4 * pool.LARGE  # the third is too small
    again = make()
    assert [address(a) for a in again[:2]] == first[:2]
    assert empty.held == 0


def test_results_alive_are_apart():
    make = made(LARGE, LARGE)
    results = [a for _ in range(5) for a in make()]
    for k, a in enumerate(results):
        a[:] = k
    assert all((a == k).all() for k, a in enumerate(results))
    assert not any(np.shares_memory(a, b) for i, a in enumerate(results) for b in results[:i])


def test_a_view_keeps_the_memory(empty):
    (result,) = made(LARGE)()
    view = result[5:]
    del result
    assert empty.held == 0
    del view
    assert empty.held == pool.LARGE


def test_what_is_held_never_adds_to_what_results_needed(empty):
    """Where no block fits, as much is given back, the oldest first."""
    drop = [*made(LARGE, 2 * LARGE, 4 * LARGE)()]
    while drop:
        drop.pop(0)
    assert empty.held == 7 * pool.LARGE
    (result,) = made(3 * LARGE)()
    assert empty.held == 4 * pool.LARGE  # the first two went
    (larger,) = made(100 * LARGE)()
    assert empty.held == 0
    del result, larger


def test_no_more_than_a_share_is_held(empty):
    most = empty._words[pool._MOST]
    assert most == pool.share() > 0
    empty._words[pool._MOST] = 5 * pool.LARGE
    try:
        drop = [*made(2 * LARGE, 2 * LARGE, 2 * LARGE, 6 * LARGE)()]
        last = address(drop[2])
        while drop:
            drop.pop(0)
        assert empty.held == 4 * pool.LARGE  # the first went for the third; the last is larger than all
        results = [*made(2 * LARGE, 2 * LARGE)()]
        assert last in map(address, results)
    finally:
        empty._words[pool._MOST] = most


def test_more_blocks_than_places(empty):
    many = made(*[LARGE] * (pool.BLOCKS + 10))
    for _ in range(3):
        results = list(many())
        assert len({address(a) for a in results}) == pool.BLOCKS + 10
        del results
        assert empty.held == pool.BLOCKS * pool.LARGE


def test_release_gives_all_back(empty):
    made(LARGE, LARGE)()
    assert empty.held == 2 * pool.LARGE
    assert jg.release_memory() >= 2 * pool.LARGE
    assert empty.held == 0
    assert jg.release_memory() == 0


def test_arrays_are_as_others(empty):
    """What NumPy does with memory that an array owns."""
    (a,) = made(LARGE)()
    a[:] = np.arange(LARGE)
    assert a.flags.owndata and a.flags.writeable and a.flags.c_contiguous and a.base is None
    assert np.array_equal(pickle.loads(pickle.dumps(a)), a)
    a.resize(2 * LARGE, refcheck=False)
    assert np.array_equal(a[:LARGE], np.arange(LARGE)) and not a[LARGE:].any()
    a.resize(7, refcheck=False)
    assert np.array_equal(a, np.arange(7))
    del a
    assert empty.held == 0  # by now it is small


def test_the_handler_is_set_for_results_alone():
    (a,) = made(LARGE)()
    assert get_handler_name(a) == "jitgrad"
    assert get_handler_name(np.empty(LARGE)) == get_handler_name(made(8)()[0]) == "default_allocator"
    assert get_handler_name() == "default_allocator"


def test_programs_use_it_and_a_setting_ends_that(empty):
    f = jg.jit(lambda x: np.sin(x) * 2)
    x = np.linspace(0, 1, LARGE)
    y = f(x)
    where, expected = address(y), y.copy()
    assert get_handler_name(y) == "jitgrad"
    del y
    y = f(x)
    assert address(y) == where and np.array_equal(y, expected)
    with config.using(pool=False):
        assert get_handler_name(f(x)) == "default_allocator"


def test_memory_is_traced():
    tracemalloc.start()
    try:
        make = made(LARGE)
        before = tracemalloc.get_traced_memory()[0]
        a = make()
        assert tracemalloc.get_traced_memory()[0] - before >= pool.LARGE
        del a
        assert tracemalloc.get_traced_memory()[0] - before < pool.LARGE
    finally:
        tracemalloc.stop()


def test_no_memory_is_an_error(empty):
    made(LARGE)()
    with pytest.raises(MemoryError):
        made(1 << 50)()
    assert np.empty(LARGE).size == LARGE


def test_many_threads():
    failures = []

    def work(k):
        make = made(LARGE, LARGE + k % 2)
        for n in range(40):
            a, b = make()
            a[:], b[:] = k, n
            if not ((a == k).all() and (b == n).all()):
                failures.append((k, n))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


def run(text):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True, timeout=120)


def test_results_outlive_everything():
    """At the end of the interpreter arrays are dropped in any order."""
    done = run(
        f"""
        import sys, atexit
        import numpy as np, jitgrad as jg
        f = jg.jit(lambda x: x + 1)
        kept = [f(np.zeros({LARGE})) for _ in range(3)]
        np.kept = kept
        sys.kept = [kept[0], f]
        loop = [f(np.ones({LARGE}))]
        loop.append(loop)
        atexit.register(kept.clear)
        print("end")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_forked_processes_have_their_own():
    done = run(
        f"""
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import numpy as np, jitgrad as jg
        f = jg.jit(lambda x: x + 1)
        with jg.config.using(parallel=False):
            y = f(np.zeros({LARGE}))
            del y
            child = os.fork()
            y = f(np.full({LARGE}, 2.0 if child else 3.0))
            assert (y == (3.0 if child else 4.0)).all()
            del y
            jg.release_memory()
            if child:
                print(os.waitpid(child, 0)[1])
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_memory_stays_what_the_results_need():
    """A loop over results of growing size, of which one is alive at a time."""
    done = run(
        f"""
        import resource
        import numpy as np, jitgrad as jg
        from jitgrad.runtime.direct import allocator
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        allocator([((8,), np.dtype(float))])()
        before = peak()
        for n in range(1, 33):
            (y,) = allocator([((n * {LARGE},), np.dtype(float))])()
            y[:] = 1
            del y
        print(peak() - before <= 34 * {pool.LARGE})
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
