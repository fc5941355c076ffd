"""Shape, joining and padding functions on traced values agree with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from traced import check, trace

import jitgrad as jg
from jitgrad.errors import ArgumentError, ConcretizationError, IndexBoundsError, ShapeError

V = np.arange(5.0)
M = np.arange(12.0, dtype=np.float32).reshape(3, 4)
T = np.arange(24.0).reshape(2, 3, 4)
S = np.array(2.5)
E = np.zeros((0, 3))
B = M > 4
I = np.arange(6, dtype=np.int32).reshape(2, 3)  # noqa: E741

CASES = {
    "reshape": (lambda x: (x.reshape(4, 3), x.reshape((2, -1)), np.reshape(x, -1), x.reshape(3, 2, 2)), M),
    "reshape order": (lambda x: (np.reshape(x, (6, 2), order="F"), x.reshape(4, 3, order="F")), M),
    "reshape empty": (lambda x: (x.reshape(3, 0), x.reshape(0), np.reshape(x, (-1, 3))), E),
    "ravel": (lambda x: (x.ravel(), np.ravel(x, "F"), x.flatten(), x.flatten("F"), x.flat[2], np.copy(x)), M),
    "expand": (lambda x: (np.expand_dims(x, 0), np.expand_dims(x, -1), np.expand_dims(x, (0, 2)), x[None]), M),
    "squeeze": (lambda x: (x[None, :, None].squeeze(), np.squeeze(x[None], 0), x[:, None].squeeze(axis=(1,))), M),
    "atleast": (lambda x, y: (np.atleast_1d(x), np.atleast_2d(x, y), np.atleast_3d(y, x)), S, V),
    "transpose": (lambda x: (x.T, np.transpose(x), x.transpose(2, 0, 1), x.transpose((1, 0, 2)), x.mT), T),
    "permute": (lambda x: (np.permute_dims(x, (-1, 0, 1)), np.matrix_transpose(x), x.transpose()), T),
    "swapaxes": (lambda x: (x.swapaxes(0, 2), np.swapaxes(x, -1, 0), np.moveaxis(x, 0, -1), np.rollaxis(x, 2)), T),
    "moveaxis": (lambda x: (np.moveaxis(x, (0, 1), (-1, 0)), np.moveaxis(x, [2], [0]), np.rollaxis(x, 0, 3)), T),
    "broadcast_to": (lambda x: (np.broadcast_to(x, (2, 5)), np.broadcast_to(x[:, None], (5, 3))), V),
    "broadcast_arrays": (lambda x, y: np.broadcast_arrays(x[:, None], y, 2.0), V, M[0]),
    "meshgrid": (lambda x, y: [*np.meshgrid(x, y), *np.meshgrid(x, y, indexing="ij"), *np.meshgrid(x, y, sparse=True)],
                 V, M[0]),
    "flip": (lambda x: (np.flip(x), np.flip(x, 0), np.flip(x, (0, 2)), np.fliplr(x), np.flipud(x)), T),
    "rot90": (lambda x: [np.rot90(x, k) for k in range(-1, 5)] + [np.rot90(x, axes=(1, 0))], M),
    "roll": (lambda x: (np.roll(x, 2), np.roll(x, -1, 1), np.roll(x, (1, 2), (0, 1)), np.roll(x, 9, axis=0)), M),
    "diagonal": (lambda x: (x.diagonal(), np.diagonal(x, 1), np.diagonal(x, -2), np.diagonal(x, 9), x.trace()), M),
    "diagonal 3d": (lambda x: (np.diagonal(x), x.diagonal(1, 0, 2), np.trace(x, axis1=2, axis2=0)), T),
    "linalg diagonal": (lambda x: (np.linalg.diagonal(x), np.linalg.trace(x), np.linalg.diagonal(x, offset=1)), T),
    "diag": (lambda x: (np.diag(x), np.diag(x, 2), np.diag(x, -1), np.diag(np.diag(x)), np.diagflat(x)), V),
    "trace of ints": (lambda x: (x.trace(), np.trace(x, dtype=np.float32)), I),
    "tri": (lambda x: (np.tril(x), np.triu(x), np.tril(x, 1), np.triu(x, -1), np.tril(x[0, 0])), T),
    "attributes": (lambda x: (x.shape[0], x.ndim, x.size, len(x), x.itemsize, x.nbytes, np.shape(x)[1], np.ndim(x),
                              np.size(x), np.size(x, 1), x.real, x.imag), M),
    "like": (lambda x: (np.zeros_like(x), np.ones_like(x, dtype=int), np.full_like(x, 2.5), np.full_like(x, x[0, 0]),
                        np.zeros_like(x, shape=(2,)), np.empty_like(x) * 0), M),
    "astype": (lambda x: (x.astype(np.float64), x.astype(int), x.astype(bool), np.astype(x, np.float64)), M),
    "concatenate": (lambda x, y: (np.concatenate([x, y]), np.concatenate((x, y), axis=1),
                                  np.concatenate([x, y], axis=None), np.concatenate([x, M], dtype=np.float64)), M, M),
    "concatenate dtypes": (lambda x: (np.concatenate([x, np.arange(3)]), np.append(x, 1.0), np.append(x, [[1.0]])), V),
    "append": (lambda x: np.append(x, x, axis=1), M),
    "stack": (lambda x, y: (np.stack([x, y]), np.stack([x, y], -1), np.stack((x, y), axis=1), np.stack([x])), M, M),
    "stacks": (lambda x, y: (np.vstack([x, y]), np.hstack([x, y]), np.dstack([x, y]), np.column_stack([x, y]),
                             np.vstack([M, x[:1]])), M, M),
    "stacks 1d": (lambda x, y: (np.vstack([x, y]), np.hstack([x, 1.0, y]), np.dstack([x, y]),
                                np.column_stack([x, y, np.ones((5, 2))])), V, V),
    "block": (lambda x: (np.block([[x, x], [x, np.ones((3, 4))]]), np.block([x, x])), M),
    "split": (lambda x: [*np.split(x, 2, axis=1), *np.split(x, [1, 2]), *np.array_split(x, 3, 1), *np.hsplit(x, 2),
                         *np.vsplit(x, 3)], M),
    "array_split": (lambda x: [*np.array_split(x, 3), *np.array_split(x, [2, 9]), *np.array_split(x, 7)], V),
    "dsplit": (lambda x: [*np.dsplit(x, 2), *np.unstack(x), *np.unstack(x, axis=1)], T),
    "tile": (lambda x: (np.tile(x, 2), np.tile(x, (2, 1)), np.tile(x, (2, 1, 3)), np.tile(x, 0)), M),
    "repeat": (lambda x: (np.repeat(x, 2), x.repeat(2, 0), np.repeat(x, 3, axis=1), np.repeat(x, [1, 0, 2], axis=0),
                          x.repeat(1)), M),
    "resize": (lambda x: (np.resize(x, (2, 4)), np.resize(x, 2)), V),
    "insert": (lambda x: (np.insert(x, 1, 9.0), np.insert(x, -1, 9.0), np.insert(x, 2, [7.0, 8.0])), V),
    "insert 2d": (lambda x: (np.insert(x, 1, 9.0, axis=0), np.insert(x, 1, [1, 2, 3], axis=1)), M),
    "delete": (lambda x: (np.delete(x, 1, axis=0), np.delete(x, [0, 2], axis=1), np.delete(x, slice(1, 5))), M),
    "pad": (lambda x: (np.pad(x, 1), np.pad(x, (1, 2)), np.pad(x, ((0, 1), (2, 0))), np.pad(x, 1, constant_values=3),
                       np.pad(x, 1, constant_values=((1, 2), (3, 4)))), M),
    "pad dict": (lambda x: np.pad(x, {-1: (1, 2)}), M),
    "pad bool": (lambda x: np.pad(x, 1), B),
    "windows": (lambda x: (sliding_window_view(x, (2, 2)), sliding_window_view(x, 3, axis=1),
                           sliding_window_view(x, 2, axis=0)), M),
    "windows 3d": (lambda x: (sliding_window_view(x, (2, 3), axis=(1, 2)), sliding_window_view(x, (2, 2, 2))), T),
    "gathering": (lambda x: np.gradient(x, axis=0), M),
    "apply_along_axis": (lambda x: (np.apply_along_axis(lambda r: r[:2] * 2, 1, x),
                                    np.apply_along_axis(lambda c: c.sum(), 0, x)), M),
    "unpacking": (lambda x: [row * k for k, row in enumerate(x)], M),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_numpy(case) -> None:
    check(*case)


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap", "mean", "maximum", "minimum"])
def test_pad_modes(mode: str) -> None:
    check(lambda x: (np.pad(x, 2, mode=mode), np.pad(x, ((1, 0), (0, 3)), mode)), M)
    check(lambda x: np.pad(x, (7, 4), mode=mode), V)


def test_what_is_known_without_tracing() -> None:
    def f(x):
        assert np.result_type(x, np.float64) == np.float64
        assert np.result_type(x, 1.0) == np.float32
        assert np.can_cast(x, np.float64)
        assert not np.iscomplexobj(x)
        assert np.isrealobj(x)
        assert np.common_type(x) is np.float32
        assert np.diag_indices_from(x[:, :3])[0].shape == (3,)
        return x

    trace(f, M)


ERRORS = {
    "reshape": (lambda x: x.reshape(5, 2), ShapeError, r"can't reshape an array of shape \(3, 4\) into \(5, 2\)"),
    "two unknown": (lambda x: x.reshape(-1, -1), ShapeError, "at most one"),
    "reshape traced": (lambda x: x.reshape(x[0, 0], -1), ConcretizationError, "known at trace time"),
    "squeeze": (lambda x: x.squeeze(0), ShapeError, "not 1"),
    "axis": (lambda x: np.flip(x, 2), IndexBoundsError, "out of bounds for an array of dimension 2"),
    "axis twice": (lambda x: np.expand_dims(x, (0, 0)), ArgumentError, "twice"),
    "transpose": (lambda x: x.transpose(0, 0), ArgumentError, "permutation"),
    "broadcast_to": (lambda x: np.broadcast_to(x, (4, 4)), ShapeError, "broadcast"),
    "concatenate": (lambda x: np.concatenate([x, x.T]), ShapeError, "joined along axis 0"),
    "stack": (lambda x: np.stack([x, x.T]), ShapeError, "one shape"),
    "split": (lambda x: np.split(x, 2), ShapeError, "array_split"),
    "repeat": (lambda x: np.repeat(x, [1, 2], axis=0), ShapeError, "one for each"),
    "repeat traced": (lambda x: np.repeat(x[0], x[0].astype(int)), ConcretizationError, "repeats"),
    "window": (lambda x: sliding_window_view(x, (4, 4)), ShapeError, "does not fit"),
    "add": (lambda x: x + x.T, ShapeError, "broadcast"),
    "axis type": (lambda x: np.flip(x, 1.5), ArgumentError, "must be an integer"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_errors(case) -> None:
    f, error, message = case
    with pytest.raises(error, match=message) as info:
        trace(f, M)
    assert "test_numpy_shape.py" in str(info.value)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: np.r_[x],
        lambda x: np.r_[x, 1.0, x[0], 1:4, x],
        lambda x: np.r_[1:2:3j, x, [0, 2], np.arange(3.0)],
        lambda x: np.c_[x, x, np.arange(4)],
        lambda x: np.c_[x.reshape(4, 1), x.reshape(2, 2).repeat(2, axis=0)],
        lambda x: np.c_[x.reshape(2, 1, 2), x.reshape(2, 1, 2)],
        lambda x: np.c_[x[:1], 2.0],
        lambda x: np.r_["1", x.reshape(2, 2), x.reshape(2, 2)],
        lambda x: np.r_["0,2", x, x],
        lambda x: np.r_["1,2,0", x, x],
        lambda x: np.r_["0,3,0", x.reshape(2, 2), x.reshape(2, 2)],
        lambda x: np.r_["0,3,1", x.reshape(2, 2), x.reshape(2, 2)],
        lambda x: np.r_[1:4] @ x[:3] + len(np.r_),
    ],
)
def test_r_and_c(fun):
    x = np.array([0.5, -1.0, 2.0, 3.0])
    np.testing.assert_array_equal(jg.jit(fun)(x), fun(x))
    jg.testing.check_grads(fun, (x,), order=1)


def test_r_makes_no_matrix():
    with pytest.raises(jg.errors.UnsupportedError, match="makes a matrix"):
        jg.jit(lambda x: np.r_["r", x])(np.ones(3))
