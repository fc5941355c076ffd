"""Device arrays: description, views, copies, printing, exchange, and what they refuse."""

import copy
import gc
import operator
import pickle
from typing import Any

import numpy as np
import pytest

from jitgrad.cuda import dlpack
from jitgrad.cuda.array import DeviceArray, check_same_device, from_foreign
from jitgrad.cuda.devices import Device, device
from jitgrad.cuda.driver_simulated import SimulatedDriver
from jitgrad.errors import DeviceError, DtypeError, ShapeError, UnsupportedError

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

INDICES: list[Any] = [
    0,
    -1,
    np.int64(1),
    (1, 2, 3),
    (1, ..., 3),
    np.s_[:],
    np.s_[:, 1],
    np.s_[:, 1:, ::2],
    np.s_[::-1],
    np.s_[..., ::-2],
    np.s_[:, None, 0],
    np.s_[..., None],
    np.s_[5:],
    np.s_[:, :0],
    (),
    ...,
    None,
]


def same_memory(a: DeviceArray, b: DeviceArray) -> bool:
    return a._memory is b._memory


def test_description(gpu: Device) -> None:
    x = gpu.put(X)
    assert (x.shape, x.dtype, x.ndim, x.size, x.nbytes, x.itemsize) == ((2, 3, 4), np.float32, 3, 24, 96, 4)
    assert x.strides == X.strides and x.device is gpu and len(x) == 2 and x.is_contiguous
    assert (np.shape(x), np.ndim(x), np.size(x)) == ((2, 3, 4), 3, 24)


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"])
def test_dtypes_come_back(gpu: Device, dtype: str) -> None:
    array = np.arange(5).astype(dtype)
    back = gpu.put(array).numpy()
    assert back.dtype == array.dtype and np.array_equal(back, array)


@pytest.mark.parametrize("value", [3, 2.5, True, [1, 2], np.float32(4), np.zeros((0, 3)), np.array(7), X.T, X[::-1]])
def test_values_come_back(gpu: Device, value: Any) -> None:
    back, expected = gpu.put(value).numpy(), np.asarray(value)
    assert back.dtype == expected.dtype and back.shape == expected.shape and np.array_equal(back, expected)


def test_other_byte_orders_are_turned(gpu: Device) -> None:
    assert np.array_equal(gpu.put(np.array([1, 2], ">i4")).numpy(), [1, 2])


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing_is_a_view(gpu: Device, index: Any) -> None:
    x = gpu.put(X)
    got, expected = x[index], X[index]
    assert got.shape == np.shape(expected) and np.array_equal(got.numpy(), expected)
    assert same_memory(got, x)


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("other", INDICES[:10], ids=str)
def test_views_of_views(gpu: Device, index: Any, other: Any) -> None:
    cube = np.arange(64, dtype=np.float32).reshape(4, 4, 4).T
    x, expected = gpu.put(cube.T).T, cube[index]
    try:
        expected = expected[other]
    except IndexError:
        with pytest.raises(IndexError):
            x[index][other]
        return
    got = x[index][other]
    assert np.array_equal(got.numpy(), expected) and same_memory(got, x)
    assert np.array_equal(got.copy().numpy(), expected) and got.copy().is_contiguous


@pytest.mark.parametrize("index", [[0, 1], np.array([0]), np.ones((2, 3, 4), bool), True, "a", 1.5])
def test_other_indices_are_refused(gpu: Device, index: Any) -> None:
    with pytest.raises(UnsupportedError, match="can't be indexed with"):
        gpu.put(X)[index]


@pytest.mark.parametrize("index", [2, -3, (0, 0, 0, 0), (0, 3)])
def test_indices_out_of_bounds(gpu: Device, index: Any) -> None:
    with pytest.raises(IndexError):
        gpu.put(X)[index]


def test_iteration(gpu: Device) -> None:
    assert [row.tolist() for row in gpu.put(X[0])] == X[0].tolist()
    with pytest.raises(TypeError):
        iter(gpu.put(1.0))
    with pytest.raises(TypeError):
        len(gpu.put(1.0))


@pytest.mark.parametrize("axes", [(), (1, 0, 2), ((2, 0, 1),)])
def test_transposes(gpu: Device, axes: Any) -> None:
    x = gpu.put(X).transpose(*axes)
    assert np.array_equal(x.numpy(), X.transpose(*axes)) and np.array_equal(x.contiguous().numpy(), X.transpose(*axes))


@pytest.mark.parametrize("shape", [(24,), (-1,), ((4, 6),), (6, -1), (1, 24, 1)])
def test_reshapes(gpu: Device, shape: Any) -> None:
    x = gpu.put(X)
    assert np.array_equal(x.reshape(*shape).numpy(), X.reshape(*shape)) and same_memory(x.reshape(*shape), x)
    assert np.array_equal(x.T.reshape(*shape).numpy(), X.T.reshape(*shape))
    assert np.array_equal(x[1].reshape(-1).numpy(), X[1].reshape(-1))


def test_a_wrong_reshape(gpu: Device) -> None:
    with pytest.raises(ShapeError, match=r"shape \(2, 3, 4\) can't have the shape \(5, 5\)"):
        gpu.put(X).reshape(5, 5)


def test_copies_are_of_their_own(gpu: Device) -> None:
    x = gpu.put(X)
    y = x.copy()
    gpu.driver.fill(x.address, 0, x.nbytes)
    assert np.array_equal(y.numpy(), X) and not x.numpy().any()
    assert x.contiguous() is x


def test_rows_are_copied_on_the_device(gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    x = gpu.put(X)
    views = [np.s_[:, 1], np.s_[..., 1:3], np.s_[..., 0], np.s_[0, :, 2], np.s_[:, :2], np.s_[1]]
    monkeypatch.setattr(gpu.driver, "copy_in", None)
    for view in views:
        assert np.array_equal(x[view].copy().numpy(), X[view])


def test_numbers(gpu: Device) -> None:
    x = gpu.put(X)
    assert x[1, 2, 3].item() == 23 and x.item(5) == 5 and x.item(1, 0, 0) == 12
    assert float(x[0, 0, 1]) == 1 and int(x[0, 0, 2]) == 2 and complex(x[0, 0, 1]) == 1 and bool(x[0, 0, 1])
    assert operator.index(gpu.put(3)) == 3 and x.tolist() == X.tolist()
    for convert in (float, int, bool, DeviceArray.item):
        with pytest.raises(ValueError, match="is not one number"):
            convert(x)
    with pytest.raises(TypeError):
        operator.index(gpu.put(2.0))


def test_printing(gpu: Device) -> None:
    assert repr(gpu.put([1.0, 2.5])) == "DeviceArray([1. , 2.5], dtype=float64, device=0)"
    assert repr(gpu.put(np.zeros((0, 2)))) == "DeviceArray([], shape=(0, 2), dtype=float64, device=0)"
    assert repr(gpu.put(np.int32(4))) == "DeviceArray(4, dtype=int32, device=0)"
    assert str(gpu.put([[1, 2], [3, 4]])).splitlines()[1] == "             [3, 4]], dtype=int64, device=0)"


def test_numpy_gets_a_copy_when_it_asks(gpu: Device) -> None:
    x = gpu.put(X)
    assert np.array_equal(np.asarray(x), X) and np.asarray(x, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(x, copy=False)


def test_waiting(gpu: Device) -> None:
    x = gpu.put(X)
    seen: list[int] = []
    gpu.driver.enqueue(lambda _: seen.append(1))
    assert x.block_until_ready() is x and seen == [1]


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x + 1,
        lambda x: 1 - x,
        lambda x: x @ x,
        lambda x: -x,
        lambda x: x == x,
        lambda x: x < 1,
        lambda x: np.ones(3) * x,
        lambda x: np.float64(2) * x,
        lambda x: 1 in x,
        lambda x: np.sin(x),
        lambda x: np.mean(x),
        lambda x: np.concatenate([x, x]),
        lambda x: operator.iadd(x, 1),
        lambda x: operator.setitem(x, 0, 1),
        lambda x: abs(x),
        lambda x: divmod(x, 2),
    ],
)
def test_no_arithmetic(gpu: Device, use: Any) -> None:
    with pytest.raises(TypeError) as error:
        use(gpu.put(X))
    assert "jit" in str(error.value) or "ufunc" in str(error.value)


def test_no_methods_that_compute(gpu: Device) -> None:
    x = gpu.put(X)
    with pytest.raises(AttributeError, match=r"no 'sum' outside of a jitted function.*x\.numpy\(\)"):
        _ = x.sum
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = x.nonsense
    assert not hasattr(x, "mean") and hash(x) == hash(x) and x in [x]


def test_memory_lives_as_long_as_its_views(gpu: Device) -> None:
    x = gpu.put(X)
    view = x[1, 0]
    del x
    assert gpu.memory().blocks_in_use == 1 and np.array_equal(view.numpy(), X[1, 0])
    del view
    assert gpu.memory().blocks_in_use == 0


# Exchange


class CudaInterface:
    """An array of a library that has ``__cuda_array_interface__`` alone."""

    def __init__(self, array: DeviceArray, **changes: Any) -> None:
        self.array = array
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, **changes}


class Library:
    """An array of a library that has DLPack: ``old`` is one from before version 1.0."""

    def __init__(self, array: DeviceArray, old: bool = False) -> None:
        self.array, self.old = array, old

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, 0

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        if self.old and options:
            raise TypeError("unexpected keyword argument")
        return self.array.__dlpack__(stream=stream, **options)


def test_cuda_array_interface(gpu: Device) -> None:
    x = gpu.put(X)
    interface = x.__cuda_array_interface__
    assert interface["shape"] == (2, 3, 4) and interface["typestr"] == "<f4" and interface["version"] == 3
    assert interface["data"] == (x.address, False) and interface["strides"] is None
    assert interface["stream"] == gpu.driver.main.handle
    assert x.T.__cuda_array_interface__["strides"] == X.T.strides
    assert x[:, :0].__cuda_array_interface__["data"][0] == 0


@pytest.mark.parametrize("view", [np.s_[...], np.s_[1], np.s_[:, ::-1], np.s_[..., 1], np.s_[:0]], ids=str)
@pytest.mark.parametrize("wrap", [CudaInterface, Library, lambda a: Library(a, old=True)])
def test_arrays_of_other_libraries_are_taken_without_copies(wrap: Any, view: Any) -> None:
    gpu = device(0)
    x = gpu.put(X)[view]
    y = gpu.put(wrap(x))
    assert np.array_equal(y.numpy(), X[view]) and y.dtype == x.dtype
    assert y.address == x.address or not y.size
    address = x.address
    del x
    if y.size:
        assert y.address == address and np.array_equal(y.numpy(), X[view])


def test_a_library_keeps_its_array_until_ours_is_dropped() -> None:
    gpu = device(0)
    gc.collect()
    before = gpu.memory().blocks_in_use
    y = gpu.put(Library(gpu.put(X)))
    assert gpu.memory().blocks_in_use == before + 1
    view = y[0]
    del y
    assert gpu.memory().blocks_in_use == before + 1
    del view
    assert gpu.memory().blocks_in_use == before and not dlpack._exported


@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (1, 3)])
def test_a_capsule_that_nobody_takes_lets_go(gpu: Device, version: Any) -> None:
    capsule = gpu.put(X).__dlpack__(max_version=version)
    assert gpu.memory().blocks_in_use == 1
    del capsule
    assert gpu.memory().blocks_in_use == 0


def test_a_capsule_is_taken_once(gpu: Device) -> None:
    capsule = gpu.put(X).__dlpack__()
    tensor = dlpack.take(capsule)
    assert (tensor.shape, tensor.strides, tensor.dtype) == (X.shape, X.strides, X.dtype)
    with pytest.raises(UnsupportedError, match="taken before"):
        dlpack.take(capsule)


def test_numpy_reads_our_capsules() -> None:
    """NumPy's own reader, on memory that it can read."""
    source = np.arange(12.0).reshape(3, 4)

    class Host:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

        def __dlpack__(self, **options: Any) -> Any:
            address = source.__array_interface__["data"][0]
            versioned = options.get("max_version") is not None
            return dlpack.export(
                source, address, (4, 3), source.T.strides, source.dtype, (1, 0), versioned=versioned, read_only=False
            )

    view = np.from_dlpack(Host())
    assert np.shares_memory(view, source) and np.array_equal(view, source.T)
    del view
    gc.collect()
    assert not dlpack._exported


def test_we_read_capsules_of_numpy() -> None:
    source = np.arange(12, dtype=np.int16).reshape(3, 4)[:, ::2]
    for options in ({}, {"max_version": (1, 0)}):
        try:
            tensor = dlpack.take(source.__dlpack__(**options))
        except TypeError:  # NumPy 2.0 has no versions
            continue
        assert tensor.address == source.__array_interface__["data"][0] and tensor.device == (1, 0)
        assert (tensor.shape, tensor.strides, tensor.dtype) == (source.shape, source.strides, source.dtype)


def test_torch_reads_our_capsules() -> None:
    torch = pytest.importorskip("torch")
    source = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    address = source.__array_interface__["data"][0]
    for versioned in (False, True):
        capsule = dlpack.export(
            source, address, (3, 4), source.strides, source.dtype, (1, 0), versioned=versioned, read_only=False
        )
        tensor = torch.utils.dlpack.from_dlpack(capsule)
        assert tensor.data_ptr() == address and tensor.shape == (3, 4)
        del tensor, capsule
        gc.collect()
        assert not dlpack._exported


def test_a_read_only_array_stays_so(gpu: Device) -> None:
    x = gpu.put(X)
    y = DeviceArray(gpu, x._memory, x.shape, x.dtype, read_only=True)
    assert y[0].read_only and y.T.read_only and y.reshape(-1).read_only and not y.copy().read_only
    assert y.__cuda_array_interface__["data"][1] is True
    assert dlpack.take(y.__dlpack__(max_version=(1, 0))).read_only
    with pytest.raises(BufferError, match="read-only"):
        y.__dlpack__()


def test_dlpack_moves_nothing(gpu: Device) -> None:
    x = gpu.put(X)
    with pytest.raises(BufferError, match="does not move it"):
        x.__dlpack__(dl_device=(1, 0))
    tensor = dlpack.take(x.__dlpack__(copy=True, dl_device=x.__dlpack_device__()))
    assert tensor.address != x.address


def test_streams_of_other_libraries_wait(gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(gpu.driver, "foreign_waits", lambda handle: calls.append(("theirs", handle)))
    monkeypatch.setattr(gpu.driver, "wait_foreign", lambda handle: calls.append(("ours", handle)))
    x = gpu.put(X)
    for stream in (None, -1, 1):
        x.__dlpack__(stream=stream)
    assert calls == []
    x.__dlpack__(stream=2)
    x.__dlpack__(stream=77)
    for stream in (None, 1, 88):
        from_foreign(CudaInterface(x, stream=stream), lambda *_: gpu)
    assert calls == [("theirs", 2), ("theirs", 77), ("ours", 88)]


def test_what_can_not_be_taken(gpu: Device) -> None:
    x = gpu.put(X)
    with pytest.raises(DtypeError, match=">f4"):
        from_foreign(CudaInterface(x, typestr=">f4"), lambda *_: gpu)
    with pytest.raises(UnsupportedError, match="masked"):
        from_foreign(CudaInterface(x, mask=x), lambda *_: gpu)
    with pytest.raises(DtypeError, match="dtype <U1"):
        gpu.put("a")
    with pytest.raises(DtypeError, match="object"):
        gpu.put(object())
    with pytest.raises(DtypeError, match="type 4 with 8 bits"):
        dlpack._dtype(4, 8, 1)


def test_arrays_on_different_devices() -> None:
    a, b = Device(SimulatedDriver(0)).put(X), Device(SimulatedDriver(1)).put(X)
    check_same_device([a, a], "f")
    with pytest.raises(DeviceError, match="f got arrays on different devices: argument 0 on device 0, argument 1 on"):
        check_same_device([a, b], "f")


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_copies_by_the_module_copy(gpu: Device, make: Any) -> None:
    x = gpu.put(X)
    y = make(x)
    assert np.array_equal(y.numpy(), X) and y.address != x.address


def test_no_pickles(gpu: Device) -> None:
    with pytest.raises(UnsupportedError, match="can't be pickled"):
        pickle.dumps(gpu.put(X))
