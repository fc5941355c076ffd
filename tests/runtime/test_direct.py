"""The builtin functions of machine code around a native program: checks of arguments, allocation of results."""

import gc
import pickle
import sys
import threading

import numpy as np
import pytest

from jitgrad.runtime.direct import allocator, matcher

F64, I64 = np.dtype(np.float64), np.dtype(np.int64)


def fits(a, dtype, shape):
    """What ``matcher`` is to say, by NumPy."""
    native = a.dtype == dtype and a.dtype.isnative
    return native and a.shape == shape and a.flags.c_contiguous and a.flags.aligned


BASE = np.arange(24.0).reshape(4, 6)
UNALIGNED = np.frombuffer(b"x" * 33, np.uint8)[1:].view(np.float64).reshape(2, 2)
ARRAYS = {
    "right": BASE[:2, :2].copy(),
    "read-only": np.broadcast_to(1.0, (2, 2)).copy(),
    "other shape": np.zeros((2, 3)),
    "flat": np.zeros(4),
    "more axes": np.zeros((2, 2, 1)),
    "0-d": np.zeros(()),
    "empty": np.zeros((0, 2)),
    "float32": np.zeros((2, 2), np.float32),
    "int64": np.zeros((2, 2), np.int64),
    "big-endian": np.zeros((2, 2), ">f8"),
    "objects": np.zeros((2, 2), object),
    "strings": np.full((2, 2), "a", np.dtypes.StringDType()),
    "dates": np.zeros((2, 2), "M8[s]"),
    "record": np.zeros((2, 2), [("x", "f8")]),
    "strided": BASE[:2, :2],
    "transposed": BASE[:2, :2].copy().T,
    "unaligned": UNALIGNED,
    "pickled": pickle.loads(pickle.dumps(BASE[:2, :2].copy())),
    "with metadata": np.zeros((2, 2), np.dtype("f8", metadata={"a": 1})),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_fits_as_numpy_says(name):
    a = ARRAYS[name]
    found = {(d, s): matcher([(np.ndarray, d, s)])((a,)) for d in (F64, I64) for s in ((2, 2), (4,), (), (0, 2))}
    assert found == {(d, s): fits(a, d, s) for d, s in found}
    assert name not in ("right", "read-only", "pickled", "with metadata") or found[F64, (2, 2)]


def test_longs_of_one_size_are_one_dtype():
    for code in "ilq":
        a = np.zeros(3, code)
        assert matcher([(np.ndarray, I64, (3,))])((a,)) == (a.dtype == I64)


def test_every_item_is_looked_at():
    expected = [(np.ndarray, F64, (2, 3)), (float, None, ()), (np.ndarray, I64, (1,)), (np.float64, None, ())]
    matches = matcher(expected)
    right = (np.ones((2, 3)), 1.5, np.ones(1, np.int64), np.float64(2.0))
    wrong = (np.ones((3, 2)), 1, np.ones(1), 2.0)
    assert matches(right) is True
    for k in range(4):
        assert matches((*right[:k], wrong[k], *right[k + 1 :])) is False
        assert matches(right[:k]) is False
    assert matches((*right, 1.0)) is False
    assert matcher([])(()) is True


def test_a_subclass_of_ndarray_is_another_type():
    class Mine(np.ndarray):
        pass

    assert not matcher([(np.ndarray, F64, (2,))])((np.zeros(2).view(Mine),))


def test_allocated_arrays_are_fresh_and_right():
    make = allocator([((2, 3), F64), ((), np.dtype(np.float32)), ((0, 4), np.dtype(bool)), ((5,), I64)])
    first, second = make(), make()
    assert type(first) is tuple
    assert [(a.shape, a.dtype) for a in first] == [((2, 3), F64), ((), "f4"), ((0, 4), "?"), ((5,), I64)]
    assert all(a.flags.owndata and a.flags.c_contiguous and a.flags.writeable for a in first)
    assert all(a.dtype is np.dtype(a.dtype.char) for a in first)
    assert not any(np.shares_memory(a, b) for a in first for b in second)
    assert allocator([])() == ()


def test_allocation_keeps_counts_of_references():
    make, matches = allocator([((2,), F64)] * 3), matcher([(np.ndarray, F64, (2,))] * 3)
    gc.collect()
    before = sys.getrefcount(F64), sys.getrefcount(np.ndarray)
    for _ in range(1000):
        arrays = make()
        assert matches(arrays)
    counts = [sys.getrefcount(a) for a in arrays]
    assert counts == [sys.getrefcount(a) for a in tuple(np.empty(2) for _ in range(3))]
    del arrays
    after = sys.getrefcount(F64), sys.getrefcount(np.ndarray)
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) < 100


def test_what_is_too_large_raises_as_numpy_does():
    make = allocator([((4,), F64), ((1 << 58,), F64)])
    for _ in range(3):
        with pytest.raises(MemoryError):
            make()


def test_threads_may_call_at_once():
    make, matches = allocator([((4,), F64)] * 4), matcher([(np.ndarray, F64, (4,))] * 4)
    wrong = []

    def run():
        for _ in range(2000):
            arrays = make()
            if not matches(arrays) or matches((*arrays[:3], np.zeros(3))):
                wrong.append(arrays)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
