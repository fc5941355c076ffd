"""Indexing, set_at, add_at, take: every form of index, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from traced import check, params, trace

from jitgrad.errors import (
    ArgumentError,
    DtypeError,
    IndexBoundsError,
    ShapeError,
    UnsupportedError,
)
from jitgrad.frontend.assign import add_at, set_at
from jitgrad.ir.types import TensorType, f64, i64

V = np.arange(6.0)
M = np.arange(12.0).reshape(3, 4)
T = np.arange(60.0, dtype=np.float32).reshape(3, 4, 5)
I = np.array([2, 0, -1])  # noqa: E741
J = np.array([1, 1, 0])
IJ = np.array([[0, 2], [1, -1]])

BASIC = [
    0, -1, (1,), (2, 3), (-1, -4), slice(None), slice(1, 3), slice(None, None, 2), slice(None, None, -1),
    slice(5, 0, -2), slice(-2, None), slice(3, 1), slice(10, 20), Ellipsis, (Ellipsis, 0), (0, Ellipsis),
    (slice(1, 3), 2), (2, slice(None, None, -2)), None, (None, 0), (slice(None), None, slice(1, 3)),
    (Ellipsis, None), (Ellipsis, slice(None, 0, -1)), (None, Ellipsis, 1, None), np.int64(1), np.array(2),
]  # fmt: skip

ADVANCED = [
    I, [0, 2], [], IJ, (I, J), (I, 1), (1, I), (I, slice(1, 3)), (slice(None), I), (Ellipsis, I), (I, Ellipsis),
    (slice(0, 2), J), (IJ, I[:2]), (I[:, None], J), (None, I), (I, None), (I, None, J), (slice(None, None, -1), I),
    ([0, 1], [1, 2]), (np.array([True, False, True]),), (slice(None), np.array([True, False, True, True])),
    np.arange(12).reshape(3, 4) % 2 == 0, (np.array([True, True, False]), [1, 2]), np.array([2, 0], np.uint8),
    np.zeros(3, bool), np.ix_([0, 2], [1, 3]), np.zeros((0, 2), int),
]  # fmt: skip

THREE = [
    (I, slice(None), J), (0, slice(None), I), (slice(None), I, J), (slice(None), 1, I), (I, 2, slice(1, 4)),
    (I, J, I), (slice(1, 3), I, slice(None, None, 2)), (Ellipsis, I, 0), (0, I, slice(None)), (IJ, slice(None), 0),
    (I, None, slice(None), J), (slice(None), None, I, J), (0, None, I), (slice(None), slice(None), IJ),
    (np.arange(12).reshape(3, 4) > 5,), (slice(None), np.arange(20).reshape(4, 5) % 3 == 0), (1, Ellipsis, I),
    (-1, slice(None, None, -2), [4, 0]),
]  # fmt: skip

ALL = [(M, k) for k in BASIC + ADVANCED] + [(T, k) for k in BASIC + THREE]


@pytest.mark.parametrize("case", ALL, ids=lambda c: f"{c[0].ndim}d {c[1]!r}".replace("\n", ""))
def test_reading(case) -> None:
    x, index = case
    check(lambda a: a[index], x)


@pytest.mark.parametrize("case", ALL, ids=lambda c: f"{c[0].ndim}d {c[1]!r}".replace("\n", ""))
def test_writing(case) -> None:
    x, index = case
    piece = x[index]
    v = np.random.default_rng(1).normal(size=piece.shape)
    check(lambda a, b: (set_at(a, index, b), add_at(a, index, b)), x, v)
    check(lambda a: (set_at(a, index, 7.5), add_at(a, index, 1)), x)
    check(lambda b: set_at(x, index, b), v)
    if piece.ndim:
        check(lambda a, b: (set_at(a, index, b), add_at(a, index, b)), x, v[:1] if v.shape[0] else v)
        if not (isinstance(index, np.ndarray) and index.dtype == bool and index.ndim > 1):  # NumPy refuses those
            check(lambda a: set_at(a, index, np.float64(2.0) * np.ones((1, *piece.shape))), x)


def test_traced_indices() -> None:
    check(lambda a, i: (a[i], a[i, 1], a[:, i], a[i, i], a[..., i], a[1:, i], a[None, i]), M, I)
    check(lambda a, i: (a[i], a[i, i], a[:, i], a[i, ::-1], a[1, i]), M, np.int64(-1))
    check(lambda a, i: a[i, [0, 1, 2]], M, np.int64(1))
    check(lambda a, i: (a[[i, 0]], a[i + 1]), M, np.int64(1))
    check(lambda a, i, j: (a[i, :, j], a[:, i, j], a[i, 0], a[0, :, j]), T, I, J)
    check(lambda a, i: (a[i], a.take(i, 1)), M, I.astype(np.int32))
    check(lambda a: a[np.argsort(a, kind="stable")], V[::-1].copy())
    check(lambda a: a[[0, 1, 2], np.argmax(a, axis=1)], M)


def test_writing_at_traced_indices() -> None:
    check(lambda a, i, v: (set_at(a, i, v[:, None]), add_at(a, i, v[:, None])), M, I, V[:3])
    check(lambda a, i, v: (set_at(a, (slice(None), i), v), add_at(a, (slice(None), i), v)), M, I, V[:3])
    check(lambda a, i: (set_at(a, i, 2.0), add_at(a, (i, 1), 2.0), add_at(a, (i, slice(1, 3)), 1.0)), M, np.int64(-1))
    check(lambda a, i: add_at(a, i, 1.0), V, np.array([1, 1, 1, 3]))
    check(lambda i: set_at(V, i, 1.0), I)
    check(lambda i: add_at(M, (0, i), 1.0), I)


def test_masks() -> None:
    mask = M > 4
    check(lambda a, m: (set_at(a, m, -1.0), add_at(a, m, 2.0)), M, mask)
    check(lambda a: (set_at(a, a > 4, 0.0), set_at(a, (a > 4, Ellipsis), 1.0)), M)
    check(lambda a, m, v: (set_at(a, m, v), add_at(a, (m, slice(None)), v)), M, mask[:, 1], V[:4])
    check(lambda a, v: set_at(a, mask, v), M, np.arange(float(mask.sum())))
    check(lambda a: a[mask], M)


def test_set_at_of_plain_arrays() -> None:
    x = np.zeros(3)
    y = set_at(x, 1, 2.0)
    assert isinstance(y, np.ndarray)
    assert y.tolist() == [0, 2, 0]
    assert add_at(y, [1, 1], 1.0).tolist() == [0, 4, 0]
    assert x.tolist() == [0, 0, 0]


def test_dtypes_of_written_values() -> None:
    check(lambda a: (set_at(a, 0, 1.75), add_at(a, 0, 2)), I)  # as in NumPy, assignment truncates
    check(lambda a, v: set_at(a, 0, v), np.zeros(3, np.float32), np.float64(0.1))
    with pytest.raises(DtypeError, match="can't be stored"):
        trace(lambda a: add_at(a, 0, 1.5), I)


def test_take() -> None:
    check(lambda a: (np.take(a, [0, -1]), a.take(I, axis=0), np.take(a, IJ, axis=1), np.take(a, 2)), M)
    check(lambda a: (np.take(a, [0, 17], mode="wrap"), np.take(a, [-3, 17], mode="clip")), M)
    check(lambda a, i: (np.take(a, i, axis=1, mode="wrap"), np.take(a, i, mode="clip")), M, np.array([0, 7, -9]))
    order = np.argsort(-M, axis=1)
    check(lambda a: (np.take_along_axis(a, order, axis=1), np.take_along_axis(a, np.argsort(a, 0), 0)), M)
    check(lambda a, i: np.take_along_axis(a, i, axis=None), M, I)
    check(lambda a: np.take_along_axis(a, np.array([[0], [1], [3]]), 1), M)
    check(lambda a: np.take_along_axis(a, np.array([[0, 2]]), 1), M[:1])
    check(lambda i: np.choose(i, [V[:3], V[1:4], 9.0]), np.array([0, 2, 1]))
    check(lambda i, x: np.choose(i, [x, 2 * x], mode="clip"), np.array([[0, 5, -1]] * 2), V[:3])


def test_selections_by_what_is_known_while_tracing() -> None:
    mask = np.array([True, False, True])
    check(lambda a: (np.compress(mask, a, axis=0), a.compress([0, 1], axis=1), np.compress(mask, a)), M)
    check(lambda a: (np.extract(M % 3 == 1, a), np.extract([True, False], a)), M)
    counts = np.array([0, 5, 2, 2])
    check(lambda a: (np.bincount(counts, a[0]), np.bincount(counts, weights=a[1], minlength=9)), M)
    check(lambda a: np.bincount([1, 0, 1, 1], a.astype(np.float32)[0]), M)


def test_one_gather_for_adjacent_arrays() -> None:
    graph, _ = trace(lambda a: a[I, J], M)
    assert [op.name for op in graph.ops] == ["constant", "constant", "gather"]
    graph, _ = trace(lambda a: a[1:3, ::2], M)
    assert [op.name for op in graph.ops] == ["slice"]
    graph, _ = trace(lambda a: a[:], M)
    assert [op.name for op in graph.ops] == []


ERRORS = {
    "too many": (lambda x: x[0, 0, 0], IndexBoundsError, "too many indices: 3"),
    "integer": (lambda x: x[3], IndexBoundsError, "index 3 is out of bounds for axis 0 with size 3"),
    "negative": (lambda x: x[:, -5], IndexBoundsError, "index -5 is out of bounds for axis 1"),
    "array": (lambda x: x[[0, 9]], IndexBoundsError, "index 9"),
    "float": (lambda x: x[1.0], IndexBoundsError, "float64"),
    "shapes": (lambda x: x[[0, 1], [0, 1, 2]], IndexBoundsError, "np.ix_"),
    "mask shape": (lambda x: x[np.array([True, False])], IndexBoundsError, "boolean index"),
    "traced mask shape": (lambda x: x[x[:, 1:] > 1], IndexBoundsError, "boolean index"),
    "traced bool": (lambda x: x[x[0, 0] > 1], UnsupportedError, "traced bool"),
    "traced slice": (lambda x: x[: x[0, 0]], IndexBoundsError, "slice bound"),
    "two ellipses": (lambda x: x[..., ...], IndexBoundsError, "ellips"),
    "set shape": (lambda x: set_at(x, 0, x[:, 0]), ShapeError, r"shape \(3,\) can't be broadcast"),
    "set bounds": (lambda x: set_at(x, 5, 0.0), IndexBoundsError, "out of bounds"),
    "set mask values": (lambda x: set_at(x, x > 1, x[0, :3]), ShapeError, "known to be equal"),
    "transform of a mask": (lambda x: np.fft.fft(x[x > 1]), UnsupportedError, "compiled for one shape"),
    "two masks": (lambda x: x[x > 1] + x[x > 2], ShapeError, "not known to be equal"),
    "take bounds": (lambda x: np.take(x, 12), IndexBoundsError, "out of bounds"),
    "put": (lambda x: np.put(x, 20, 1.0), IndexBoundsError, "out of bounds"),
    "fill_diagonal": (lambda x: np.fill_diagonal(x[0], 1.0), ShapeError, "less than two axes"),
    "copyto": (lambda x: np.copyto(x.astype(int), 1.5 * x), ArgumentError, "forbids"),
    "bincount axes": (lambda x: np.bincount(x.astype(int)), ShapeError, "one axis"),
    "histogram bins": (lambda x: np.histogram(x, "auto"), UnsupportedError, "how many bins"),
    "histogram no bins": (lambda x: np.histogram(x, 0), ArgumentError, "at least one"),
    "histogram weights": (lambda x: np.histogram(x, weights=x[0]), ShapeError, "one weight"),
    "bincount weights": (lambda x: np.bincount([0, 1], x[0]), ShapeError, "one weight"),
    "bool scalar": (lambda x: x[True], UnsupportedError, "bool scalar"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_errors(case) -> None:
    f, error, message = case
    with pytest.raises(error, match=message) as info:
        trace(f, M)
    assert "test_numpy_index.py" in str(info.value)


def test_result_of_an_index_can_be_updated_alone() -> None:
    _, (x, i) = params(TensorType(f64, (3, 4)), TensorType(i64, (2,)))
    before = x.value
    y = x[i]  # a copy in NumPy
    y += 1.0
    assert x.value is before
    z = x[0]  # a view
    z += 1.0
    assert x.value is not before
